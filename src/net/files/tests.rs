//! The disk's thread with real files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ring::digest::{digest, SHA256};

use super::target::MAX_PARTIALS;
use super::*;
use crate::net::event_loop::EventLoop;
use crate::net::udp::tests::bind;
use crate::protocol::files::{Digest, Target};

/// A directory of its own that goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gk-files-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn disk() -> (EventLoop, Disk) {
    let event_loop = EventLoop::new(bind("127.0.0.1:0")).unwrap();
    let disk = Disk::start(event_loop.waker()).unwrap();
    (event_loop, disk)
}

fn reply(disk: &Disk) -> (Key, Reply) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(reply) = disk.poll() {
            return reply;
        }
        assert!(Instant::now() < until, "the disk does not answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn hash(data: &[u8]) -> Digest {
    digest(&SHA256, data).as_ref().try_into().unwrap()
}

fn into(number: u32) -> Key {
    (1, FileId::receiving(number))
}

fn prepare(disk: &Disk, key: Key, place: &Place, name: &str, data: &[u8]) -> Reply {
    let target = Target { directory: place.0.clone(), ..Target::default() };
    let (size, digest) = (Some(data.len() as u64), Some(hash(data)));
    disk.submit(key, Request::Prepare { target, name: name.into(), size, digest });
    reply(disk).1
}

fn write(disk: &Disk, key: Key, data: &[u8]) -> Reply {
    disk.submit(key, Request::Write { data: data.to_vec() });
    reply(disk).1
}

fn finish(disk: &Disk, key: Key) -> Reply {
    disk.submit(key, Request::Finish);
    reply(disk).1
}

fn failure(reply: &Reply) -> Option<Failure> {
    match reply {
        Reply::Failed { failure, .. } => Some(*failure),
        _ => None,
    }
}

#[test]
fn a_source_is_hashed_and_read_and_its_changes_are_seen() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    let path = place.0.join("a");
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
    fs::write(&path, &data).unwrap();
    let key = (1, FileId::sending(1));
    disk.submit(key, Request::Open { source: path.clone() });
    assert_eq!(reply(&disk), (key, Reply::Opened { size: 1_000_000, digest: hash(&data) }));
    disk.submit(key, Request::Read { offset: 999_990, len: 10 });
    assert_eq!(reply(&disk).1, Reply::Read { data: data[999_990..].to_vec() });
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    disk.submit(key, Request::Read { offset: 0, len: 10 });
    assert_eq!(failure(&reply(&disk).1), Some(Failure::Vanished));
    for source in [place.0.clone(), place.0.join("none")] {
        disk.submit(key, Request::Open { source });
        assert_eq!(failure(&reply(&disk).1), Some(Failure::Vanished));
    }
}

#[test]
fn a_target_is_written_beside_its_place_and_renamed_when_it_is_whole() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    assert_eq!(prepare(&disk, into(1), &place, "a.txt", b"hello"), Reply::Prepared { offset: 0 });
    assert_eq!(write(&disk, into(1), b"hello"), Reply::Written { len: 5 });
    assert!(matches!(&place.names()[..], [one] if one.starts_with(".gk-") && one.ends_with(".part")));
    assert_eq!(finish(&disk, into(1)), Reply::Finished { path: place.0.join("a.txt") });
    assert_eq!(place.names(), ["a.txt"]);
    // Another file of that name gets a number, unless it is to replace the first.
    prepare(&disk, into(2), &place, "a.txt", b"other");
    write(&disk, into(2), b"other");
    assert_eq!(finish(&disk, into(2)), Reply::Finished { path: place.0.join("a-1.txt") });
    let target = Target { directory: place.0.clone(), name: None, replace: true };
    let (size, digest) = (Some(3), Some(hash(b"new")));
    disk.submit(into(3), Request::Prepare { target, name: "a.txt".into(), size, digest });
    reply(&disk);
    write(&disk, into(3), b"new");
    finish(&disk, into(3));
    assert_eq!(fs::read(place.0.join("a.txt")).unwrap(), b"new");
    assert_eq!(place.names(), ["a-1.txt", "a.txt"]);
}

#[test]
fn two_of_one_name_and_of_one_hash_at_once_do_not_mix() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    let (_other_loop, other) = self::disk();
    for (disk, key, data) in [
        (&disk, into(1), b"aaaa"),
        (&disk, into(2), b"aaaa"),
        (&other, into(1), b"aaaa"),
        (&other, into(2), b"bbbb"),
    ] {
        assert_eq!(prepare(disk, key, &place, "same", data), Reply::Prepared { offset: 0 });
    }
    for half in 0..2 {
        for (disk, key, data) in [
            (&disk, into(1), b"aa"),
            (&disk, into(2), b"aa"),
            (&other, into(1), b"aa"),
            (&other, into(2), b"bb"),
        ] {
            assert_eq!(write(disk, key, data), Reply::Written { len: 2 }, "{half}");
        }
    }
    for (disk, key) in [(&disk, into(1)), (&disk, into(2)), (&other, into(1)), (&other, into(2))] {
        assert!(matches!(finish(disk, key), Reply::Finished { .. }));
    }
    assert_eq!(place.names(), ["same", "same-1", "same-2", "same-3"]);
    let contents = place.names().iter().map(|name| fs::read(place.0.join(name)).unwrap()).collect::<Vec<_>>();
    assert_eq!(contents, [b"aaaa", b"aaaa", b"aaaa", b"bbbb"]);
}

#[test]
fn what_is_kept_is_found_again_and_what_is_wrong_is_begun_anew() {
    let place = Place::new();
    let data = vec![7; 700_000];
    for (left, wrong) in [(&data[..300_000], false), (&[0; 300_000][..], true), (&[7; 800_000][..], false)] {
        let (_event_loop, disk) = disk();
        assert_eq!(prepare(&disk, into(1), &place, "a", &data), Reply::Prepared { offset: 0 });
        write(&disk, into(1), left);
        disk.submit(into(1), Request::Drop { keep: true });
        assert_eq!(reply(&disk).1, Reply::Dropped);
        let begun = if left.len() > data.len() { 0 } else { left.len() as u64 };
        assert_eq!(prepare(&disk, into(2), &place, "a", &data), Reply::Prepared { offset: begun });
        write(&disk, into(2), &data[begun as usize..]);
        if wrong {
            assert_eq!(finish(&disk, into(2)), Reply::Restarted);
            write(&disk, into(2), &data);
        }
        assert_eq!(finish(&disk, into(2)), Reply::Finished { path: place.0.join("a") });
        assert_eq!(fs::read(place.0.join("a")).unwrap(), data);
        fs::remove_file(place.0.join("a")).unwrap();
        assert!(place.names().is_empty());
    }
}

#[test]
fn what_fails_leaves_nothing() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    prepare(&disk, into(1), &place, "a", b"right");
    write(&disk, into(1), b"wrong");
    assert_eq!(failure(&finish(&disk, into(1))), Some(Failure::Mismatch));
    prepare(&disk, into(2), &place, "a", b"right");
    write(&disk, into(2), b"ri");
    disk.submit(into(2), Request::Drop { keep: false });
    prepare(&disk, into(3), &place, "a", b"right");
    disk.submit(into(3), Request::Drop { keep: true });
    drop(disk);
    assert!(place.names().is_empty(), "{:?}", place.names());
    let (_event_loop, disk) = self::disk();
    let nowhere = Place(place.0.join("none"));
    assert_eq!(failure(&prepare(&disk, into(1), &nowhere, "a", b"x")), Some(Failure::Disk));
}

#[cfg(unix)]
#[test]
fn links_that_somebody_put_there_are_not_followed() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    let victim = place.0.join("victim");
    fs::write(&victim, b"precious").unwrap();
    let hex: String = hash(b"new").iter().map(|byte| format!("{byte:02x}")).collect();
    std::os::unix::fs::symlink(&victim, place.0.join(format!(".gk-{hex}.part"))).unwrap();
    assert_eq!(failure(&prepare(&disk, into(1), &place, "a", b"new")), Some(Failure::Disk));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn old_unfinished_files_and_too_many_of_them_are_removed() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    let age = |path: &Path, age| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    for i in 0..MAX_PARTIALS + 10 {
        let path = place.0.join(format!(".gk-{i:04}.part"));
        fs::write(&path, b"x").unwrap();
        age(&path, Duration::from_secs(1000 - i as u64));
    }
    let old = place.0.join(".gk-old.part");
    fs::write(&old, b"x").unwrap();
    age(&old, PARTIAL_LIFETIME + Duration::from_secs(60));
    fs::write(place.0.join("mine.part"), b"x").unwrap();
    prepare(&disk, into(1), &place, "a", b"new");
    let names = place.names();
    assert!(!names.contains(&".gk-old.part".to_owned()) && names.contains(&"mine.part".to_owned()));
    // The newest stay, and the one that was just begun.
    assert_eq!(names.len(), MAX_PARTIALS + 2);
    assert!(!names.contains(&".gk-0009.part".to_owned()) && names.contains(&".gk-0010.part".to_owned()));
}

#[cfg(unix)]
#[test]
fn what_a_crash_left_between_two_steps_is_taken_away() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    let hex: String = hash(b"whole").iter().map(|byte| format!("{byte:02x}")).collect();
    let temporary = place.0.join(format!(".gk-{hex}.part"));
    fs::write(&temporary, b"whole").unwrap();
    fs::hard_link(&temporary, place.0.join("a")).unwrap();
    // The file that is in its place is nobody's temporary one.
    assert_eq!(prepare(&disk, into(1), &place, "a", b"whole"), Reply::Prepared { offset: 0 });
    assert!(!temporary.exists());
    write(&disk, into(1), b"whole");
    assert_eq!(finish(&disk, into(1)), Reply::Finished { path: place.0.join("a-1") });
    fs::write(place.0.join("a-1"), b"mine!").unwrap();
    assert_eq!(fs::read(place.0.join("a")).unwrap(), b"whole");
    assert_eq!(place.names(), ["a", "a-1"]);
}

#[test]
fn what_is_given_up_is_answered_in_any_case() {
    let (place, (_event_loop, disk)) = (Place::new(), disk());
    disk.submit(into(1), Request::Drop { keep: false });
    assert_eq!(reply(&disk), (into(1), Reply::Dropped));
    prepare(&disk, into(2), &place, "a", b"new");
    disk.submit(into(2), Request::Drop { keep: false });
    assert_eq!(reply(&disk), (into(2), Reply::Dropped));
    assert!(place.names().is_empty());
}
