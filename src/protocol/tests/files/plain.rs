//! Plain files: a connection each, of which nobody knows the length.

use super::*;

const NOW: Time = Time::from_micros(0);

fn opened(quota: Quota) -> End {
    let mut end = End::new(quota);
    end.hub.open_plain(NOW, 3);
    end
}

impl Disk {
    /// As a disk of plain files, which have no hash.
    fn plain(&mut self, id: FileId, request: Request) -> Option<Reply> {
        match request {
            Request::Prepare { target, name, .. } => {
                let open = Open::Target { target, name, digest: [0; 32], data: Vec::new(), resumed: false };
                self.open.insert(id, open);
                Some(Reply::Prepared { offset: 0 })
            }
            Request::Finish => match self.open.remove(&id) {
                Some(Open::Target { target, name, data, .. }) => {
                    let path = target.directory.join(&*name);
                    self.files.insert(path.clone(), data);
                    Some(Reply::Finished { path })
                }
                _ => None,
            },
            other => self.handle(id, other),
        }
    }
}

/// As [`End::work`], over plain files.
fn work(end: &mut End) {
    loop {
        if let Some((of, id, request)) = end.hub.poll_request() {
            if let Some(reply) = end.disk.plain(id, request) {
                end.hub.handle_reply(NOW, of, id, reply);
            }
        } else if let Some((of, event)) = end.hub.poll_event(true) {
            match event {
                Event::Offered(id, offer) => {
                    assert_eq!((offer.size, offer.digest), (0, [0; 32]));
                    let target = Target { directory: "/in".into(), ..Target::default() };
                    end.hub.accept(of, id.number, target).unwrap();
                }
                Event::Progress { done, size, file } => {
                    assert!(done <= size);
                    end.progress.push((file, done));
                }
                Event::Ended(id, ended) => end.ended.push((id, ended)),
            }
        } else {
            return;
        }
    }
}

#[test]
fn a_plain_file_ends_where_its_sender_does() {
    for len in [0, 1, 5000, 3 << 20] {
        let mut end = opened(Quota::default());
        let data = bytes(len as u64, len);
        let mut all = b"../a\\notes.txt ".to_vec();
        all.extend_from_slice(&data);
        for read in all.chunks(4096) {
            assert!(end.hub.wants_plain(3));
            end.hub.handle_plain(3, NOW, read);
            work(&mut end);
        }
        assert!(end.hub.poll_over().is_none());
        end.hub.handle_plain_end(3);
        work(&mut end);
        assert_eq!(end.result(0), Ok(Some("/in/notes.txt".into())));
        assert_eq!(end.disk.files[Path::new("/in/notes.txt")], data);
        assert_eq!(end.hub.poll_over(), Some((3, None)));
        assert_eq!(end.hub.totals(), Totals { files: 0, bytes: len as u64, count: 1 });
        end.hub.close(3);
        assert_eq!(end.ended.len(), 1);
    }
}

#[test]
fn nothing_more_is_read_than_the_disk_keeps_up_with() {
    let mut end = opened(Quota::default());
    end.hub.handle_plain(3, NOW, b"a first");
    assert!(!end.hub.wants_plain(3), "the host decides");
    work(&mut end);
    let (mut reads, read) = (0, [7; 4096]);
    while end.hub.wants_plain(3) {
        end.hub.handle_plain(3, NOW, &read);
        reads += 1;
    }
    assert_eq!(reads, WINDOW / 4096, "the disk did nothing");
    work(&mut end);
    assert!(end.hub.wants_plain(3));
}

#[test]
fn a_plain_file_without_its_end_leaves_nothing() {
    let quota = Quota { max_file_bytes: 100, ..Quota::default() };
    type Act = fn(&mut End);
    let ways: [(Act, Option<Failure>); 5] = [
        (|end| end.hub.close(3), Some(Failure::Disconnected)),
        (|end| end.hub.handle_plain(3, NOW, &[1; 200]), Some(Failure::TooLarge)),
        (|end| end.hub.handle_timeout(NOW + STALL_TIME), Some(Failure::Stalled)),
        (|end| end.hub.cancel(3, FileId::receiving(1)).unwrap(), Some(Failure::Cancelled)),
        (
            |end| {
                end.disk.room = Some(0);
                end.hub.handle_plain(3, NOW, b"more");
            },
            Some(Failure::NoSpace),
        ),
    ];
    for (act, failure) in ways {
        let mut end = opened(quota);
        end.hub.handle_plain(3, NOW, b"a some");
        work(&mut end);
        act(&mut end);
        work(&mut end);
        assert_eq!(end.result(0).err(), failure);
        assert_eq!(end.ended.len(), 1);
        assert_eq!(end.hub.poll_over(), failure.map(|why| (3, Some(why))));
        assert!(end.disk.open.is_empty() && end.disk.files.is_empty() && end.disk.partials.is_empty());
        let totals = end.hub.totals();
        assert_eq!((totals.files, totals.count), (0, 0), "{failure:?}");
        assert!(!end.hub.wants_plain(3));
    }
}

#[test]
fn connections_without_a_name_are_over_and_nobody_hears_of_them() {
    for first in [&b"nospace"[..], &[b'x'; 5000]] {
        let mut end = opened(Quota::default());
        end.hub.handle_plain(3, NOW, first);
        assert_eq!(end.hub.poll_over(), Some((3, Some(Failure::Protocol))));
        assert!(end.hub.poll_event(true).is_none());
    }
    let mut end = opened(Quota::default());
    end.hub.handle_plain_end(3);
    assert_eq!(end.hub.poll_over(), Some((3, Some(Failure::Protocol))));
    let mut end = opened(Quota::default());
    end.hub.handle_timeout(NOW + STALL_TIME);
    assert_eq!(end.hub.poll_over(), Some((3, Some(Failure::Stalled))));
    assert!(end.hub.poll_event(true).is_none());
}

#[test]
fn plain_files_are_within_the_quota() {
    for (quota, failure) in [
        (Quota { files_total: 0, ..Quota::default() }, Failure::Busy),
        (Quota { bytes_per_peer: 3, ..Quota::default() }, Failure::Quota),
        (Quota { bytes_total: 3, ..Quota::default() }, Failure::Quota),
        (Quota { max_file_bytes: 3, ..Quota::default() }, Failure::TooLarge),
    ] {
        let mut end = opened(quota);
        end.hub.handle_plain(3, NOW, b"a 1234");
        work(&mut end);
        assert_eq!(end.hub.poll_over(), Some((3, Some(failure))));
        assert!(end.disk.files.is_empty());
        assert_eq!(end.hub.totals().files, 0);
    }
    // The host's word counts as well.
    let mut end = opened(Quota { count_total: 1, ..Quota::default() });
    end.hub.handle_plain(3, NOW, b"a 1234");
    end.hub.refuse(3, 1, "no").unwrap();
    assert_eq!(end.hub.poll_over(), Some((3, Some(Failure::Refused))));
    assert_eq!(end.hub.totals().files, 0);
}

#[test]
fn what_the_host_refuses_takes_nothing_of_a_quota() {
    let mut end = opened(Quota { bytes_total: 10, ..Quota::default() });
    end.hub.handle_plain(3, NOW, b"a 12345678");
    assert!(matches!(end.hub.poll_event(true), Some((3, Event::Offered(..)))));
    end.hub.refuse(3, 1, "no").unwrap();
    assert_eq!(end.hub.totals(), Totals::default());
}
