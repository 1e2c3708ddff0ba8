//! Transfers over two ends of the native wire on the virtual clock, and exchanges between which a test stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ring::digest::{digest, SHA256};

use super::native::NativePair;
use super::network::{Link, Network, Side};
use super::pair::settings;
use crate::protocol::connection::{SendError, Settings};
use crate::protocol::delivery::{Delivery, Mode, Priority};
use crate::protocol::files::hub::Hub;
use crate::protocol::files::message::Message;
use crate::protocol::files::*;
use crate::protocol::time::Time;

mod bounds;
mod plain;
mod streams;

const FILES: Delivery =
    Delivery { mode: Mode::Files, channel: 0, priority: Priority::Bulk, deadline: None, redundancy: 0 };

fn hash(data: &[u8]) -> Digest {
    digest(&SHA256, data).as_ref().try_into().unwrap()
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random()).collect()
}

/// A disk in memory. Files by path; unfinished ones by what they will be.
#[derive(Default)]
struct Disk {
    files: HashMap<PathBuf, Vec<u8>>,
    partials: HashMap<Digest, Vec<u8>>,
    open: HashMap<FileId, Open>,
    /// Bytes that it can still take.
    room: Option<usize>,
    /// Most bytes that any read of a file was for at once.
    writes: usize,
}

enum Open {
    Source(PathBuf),
    Target { target: Target, name: String, digest: Digest, data: Vec<u8>, resumed: bool },
}

impl Disk {
    fn failed(failure: Failure) -> Option<Reply> {
        Some(Reply::Failed { failure, text: "the disk".into() })
    }

    fn handle(&mut self, id: FileId, request: Request) -> Option<Reply> {
        match request {
            Request::Open { source } => {
                let Some(data) = self.files.get(&source) else { return Disk::failed(Failure::Vanished) };
                let (size, digest) = (data.len() as u64, hash(data));
                self.open.insert(id, Open::Source(source));
                Some(Reply::Opened { size, digest })
            }
            Request::Read { offset, len } => {
                let Some(Open::Source(path)) = self.open.get(&id) else { return None };
                let data = self.files.get(path).and_then(|d| d.get(offset as usize..offset as usize + len));
                match data {
                    Some(data) => Some(Reply::Read { data: data.to_vec() }),
                    None => Disk::failed(Failure::Vanished),
                }
            }
            Request::Close => {
                self.open.remove(&id);
                None
            }
            Request::Prepare { target, name, digest, .. } => {
                let digest = digest.unwrap();
                let data = self.partials.remove(&digest).unwrap_or_default();
                let (offset, resumed) = (data.len() as u64, !data.is_empty());
                self.open.insert(id, Open::Target { target, name, digest, data, resumed });
                Some(Reply::Prepared { offset })
            }
            Request::Write { data: more } => {
                self.writes += 1;
                let Some(Open::Target { data, .. }) = self.open.get_mut(&id) else { return None };
                if self.room.is_some_and(|room| room < more.len()) {
                    self.open.remove(&id);
                    return Disk::failed(Failure::NoSpace);
                }
                self.room.iter_mut().for_each(|room| *room -= more.len());
                data.extend_from_slice(&more);
                Some(Reply::Written { len: more.len() })
            }
            Request::Finish => {
                let Some(Open::Target { target, name, digest, data, resumed }) = self.open.get_mut(&id)
                else {
                    return None;
                };
                if hash(data) != *digest {
                    if std::mem::take(resumed) {
                        data.clear();
                        return Some(Reply::Restarted);
                    }
                    self.open.remove(&id);
                    return Disk::failed(Failure::Mismatch);
                }
                let path = target.directory.join(&*name);
                self.files.insert(path.clone(), std::mem::take(data));
                self.open.remove(&id);
                Some(Reply::Finished { path })
            }
            Request::Drop { keep } => {
                if let Some(Open::Target { digest, data, .. }) = self.open.remove(&id) {
                    if keep {
                        self.partials.insert(digest, data);
                    }
                }
                Some(Reply::Dropped)
            }
        }
    }
}

/// One end: exchange, disk, and a host that takes everything into `/in`.
struct End {
    hub: Hub<u64>,
    disk: Disk,
    ended: Vec<(FileId, Ended)>,
    progress: Vec<(FileId, u64)>,
    refuses: bool,
}

impl End {
    fn new(quota: Quota) -> End {
        let disk = Disk::default();
        End { hub: Hub::new(quota), disk, ended: Vec::new(), progress: Vec::new(), refuses: false }
    }

    /// Lets disk and host do what they are asked for; whether there was anything.
    fn work(&mut self, now: Time) -> bool {
        let mut worked = false;
        loop {
            if let Some((of, id, request)) = self.hub.poll_request() {
                if let Some(reply) = self.disk.handle(id, request) {
                    self.hub.handle_reply(now, of, id, reply);
                }
            } else if let Some((of, event)) = self.hub.poll_event(true) {
                match event {
                    Event::Offered(id, _) if self.refuses => {
                        self.hub.refuse(of, id.number, "not today").unwrap();
                    }
                    Event::Offered(id, _) => {
                        let target = Target { directory: "/in".into(), ..Target::default() };
                        self.hub.accept(of, id.number, target).unwrap();
                    }
                    Event::Progress { file, done, size } => {
                        assert!(done <= size);
                        self.progress.push((file, done));
                    }
                    Event::Ended(id, ended) => self.ended.push((id, ended)),
                }
            } else {
                return worked;
            }
            worked = true;
        }
    }

    fn result(&self, at: usize) -> Result<Option<PathBuf>, Failure> {
        self.ended[at].1.result.clone().map_err(|(failure, _)| failure)
    }
}

/// Two ends with nothing between them.
fn talk(ends: &mut [End; 2]) {
    let now = Time::default();
    loop {
        let mut said = false;
        for side in 0..2 {
            ends[side].work(now);
            while let Some(message) = ends[side].hub.poll_message(0) {
                assert!(message.len() <= MAX_MESSAGE);
                ends[1 - side].hub.handle_message(now, 0, &message);
                ends[1 - side].work(now);
                ends[side].work(now);
                said = true;
            }
        }
        if !said {
            return;
        }
    }
}

fn ends() -> [End; 2] {
    [End::new(Quota::default()), End::new(Quota::default())]
}

fn put(end: &mut End, path: &str, data: Vec<u8>) {
    end.disk.files.insert(path.into(), data);
}

#[test]
fn files_of_all_lengths_arrive() {
    for len in
        [0, 1, MIN_DATA, MAX_DATA - 1, MAX_DATA, MAX_DATA + 1, WINDOW as usize, 3 * WINDOW as usize + 17]
    {
        let mut ends = ends();
        let data = bytes(len as u64, len);
        put(&mut ends[0], "/out/a", data.clone());
        ends[0].hub.send(0, "dir/a", "/out/a".into()).unwrap();
        talk(&mut ends);
        assert_eq!(ends[0].result(0), Ok(None), "{len}");
        assert_eq!(ends[1].result(0), Ok(Some("/in/a".into())), "{len}");
        assert_eq!(ends[1].disk.files[Path::new("/in/a")], data, "{len}");
        assert_eq!(ends[1].hub.totals(), Totals { files: 0, bytes: len as u64, count: 1 });
        assert_eq!(ends[0].progress.last(), Some(&(FileId::sending(1), len as u64)));
        assert!(ends[0].progress.windows(2).all(|w| w[0].1 <= w[1].1), "progress goes on");
    }
}

#[test]
fn many_wait_for_each_other_and_all_arrive() {
    let mut ends = ends();
    for i in 0..20_u64 {
        let path = format!("/out/{i}");
        put(&mut ends[0], &path, bytes(i, 100_000 + i as usize));
        ends[0].hub.send(0, &i.to_string(), path.into()).unwrap();
    }
    talk(&mut ends);
    assert_eq!(ends[0].ended.len(), 20);
    assert_eq!(ends[1].ended.len(), 20);
    for i in 0..20_u64 {
        assert_eq!(ends[1].disk.files[Path::new(&format!("/in/{i}"))], bytes(i, 100_000 + i as usize));
    }
    for waiting in 0..=(MAX_WAITING + MAX_SENDING) {
        let taken = ends[0].hub.send(1, "x", "/nowhere".into()).is_some();
        assert_eq!(taken, waiting < MAX_WAITING + MAX_SENDING);
    }
}

#[test]
fn refusals_and_quotas_are_told_to_the_sender() {
    let quota = |change: fn(&mut Quota)| {
        let mut quota = Quota::default();
        change(&mut quota);
        quota
    };
    let cases = [
        (quota(|q| q.max_file_bytes = 999), Failure::TooLarge, 0),
        (quota(|q| q.bytes_per_peer = 999), Failure::Quota, 1),
        (quota(|q| q.bytes_total = 999), Failure::Quota, 1),
        (quota(|q| q.files_per_peer = 0), Failure::Busy, 0),
        (quota(|q| q.files_total = 0), Failure::Busy, 0),
    ];
    for (quota, failure, told) in cases {
        let mut ends = [End::new(Quota::default()), End::new(quota)];
        put(&mut ends[0], "/out/a", vec![1; 1000]);
        ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
        talk(&mut ends);
        assert_eq!(ends[0].result(0), Err(failure));
        assert_eq!(ends[1].ended.len(), told, "{failure:?}");
        assert_eq!(ends[1].hub.totals(), Totals::default(), "{failure:?}");
        assert!(ends[1].disk.open.is_empty() && ends[1].disk.files.is_empty());
    }
    let mut ends = ends();
    ends[1].refuses = true;
    put(&mut ends[0], "/out/a", vec![1; 1000]);
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    talk(&mut ends);
    assert_eq!(ends[0].ended[0].1.result, Err((Failure::Refused, "not today".into())));
    assert_eq!(ends[1].hub.totals(), Totals::default());
}

#[test]
fn bytes_of_a_peer_are_counted_while_it_is_connected() {
    let quota = Quota { bytes_per_peer: 2500, ..Quota::default() };
    let mut ends = [End::new(Quota::default()), End::new(quota)];
    for i in 0..3_u64 {
        put(&mut ends[0], "/out/a", bytes(i, 1000));
        ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
        talk(&mut ends);
    }
    assert_eq!([0, 1, 2].map(|i| ends[0].result(i).is_ok()), [true, true, false]);
    assert_eq!(ends[0].result(2), Err(Failure::Quota));
    assert_eq!(ends[1].hub.totals().bytes, 2000);
}

#[test]
fn a_full_disk_ends_it_at_both_ends_and_leaves_nothing() {
    let mut ends = ends();
    ends[1].disk.room = Some(500_000);
    put(&mut ends[0], "/out/a", bytes(1, 3_000_000));
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    talk(&mut ends);
    assert_eq!(ends[0].result(0), Err(Failure::NoSpace));
    assert_eq!(ends[1].result(0), Err(Failure::NoSpace));
    assert!(
        ends[1].disk.files.is_empty() && ends[1].disk.partials.is_empty() && ends[1].disk.open.is_empty()
    );
    assert!(ends[0].disk.open.is_empty());
    // What came counts, what never did does not.
    assert!(ends[1].hub.totals().bytes < 3_000_000 && ends[1].hub.totals().files == 0);
}

#[test]
fn a_file_that_vanishes_ends_it_at_both_ends_and_leaves_nothing() {
    let mut ends = ends();
    ends[0].hub.send(0, "a", "/out/none".into()).unwrap();
    talk(&mut ends);
    assert_eq!(ends[0].result(0), Err(Failure::Vanished));
    assert!(ends[1].ended.is_empty(), "it was never offered");

    put(&mut ends[0], "/out/a", bytes(1, 3_000_000));
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    let now = Time::default();
    // The offer, the answer, and the first pieces.
    for _ in 0..3 {
        for side in 0..2 {
            ends[side].work(now);
            if let Some(message) = ends[side].hub.poll_message(0) {
                ends[1 - side].hub.handle_message(now, 0, &message);
            }
        }
    }
    ends[0].disk.files.clear();
    talk(&mut ends);
    assert_eq!((ends[0].result(1), ends[1].result(0)), (Err(Failure::Vanished), Err(Failure::Vanished)));
    assert!(ends[1].disk.partials.is_empty() && ends[1].disk.open.is_empty());
}

#[test]
fn what_an_earlier_try_left_wrongly_is_sent_again_once() {
    let data = bytes(1, 2_000_000);
    for (left, good) in
        [(data[..700_000].to_vec(), true), (vec![0; 700_000], false), (vec![0; 2_000_000], false)]
    {
        let mut ends = ends();
        put(&mut ends[0], "/out/a", data.clone());
        ends[1].disk.partials.insert(hash(&data), left);
        ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
        talk(&mut ends);
        assert_eq!(ends[0].result(0), Ok(None));
        assert_eq!(ends[1].disk.files[Path::new("/in/a")], data);
        let again = ends[1].progress.iter().filter(|(_, done)| *done == 0).count();
        assert_eq!(again, usize::from(!good));
    }
}

#[test]
fn a_file_that_changes_behind_its_hash_does_not_arrive() {
    let mut ends = ends();
    put(&mut ends[0], "/out/a", bytes(1, 2_000_000));
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    ends[0].work(Time::default());
    put(&mut ends[0], "/out/a", bytes(2, 2_000_000));
    talk(&mut ends);
    assert_eq!((ends[0].result(0), ends[1].result(0)), (Err(Failure::Mismatch), Err(Failure::Mismatch)));
    assert!(
        ends[1].disk.files.is_empty() && ends[1].disk.open.is_empty() && ends[1].disk.partials.is_empty()
    );
}

#[test]
fn either_end_can_give_up_at_any_time() {
    for after in 0..12 {
        for side in 0..2 {
            let mut ends = ends();
            put(&mut ends[0], "/out/a", bytes(1, 3_000_000));
            let sent = ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
            let now = Time::default();
            for _ in 0..after {
                for from in 0..2 {
                    ends[from].work(now);
                    if let Some(message) = ends[from].hub.poll_message(0) {
                        ends[1 - from].hub.handle_message(now, 0, &message);
                    }
                }
            }
            let id = if side == 0 { sent } else { FileId::receiving(sent.number) };
            let cancelled = ends[side].hub.cancel(0, id);
            talk(&mut ends);
            if cancelled.is_ok() {
                assert_eq!(ends[0].result(0), Err(Failure::Cancelled), "{after} {side}");
                assert!(ends[1].ended.is_empty() || ends[1].result(0) == Err(Failure::Cancelled));
                assert!(ends[1].disk.open.is_empty() && ends[1].disk.files.is_empty());
            } else {
                assert!(side == 1 && after == 0, "the receiver has not heard of it yet: {after} {side}");
            }
            assert_eq!(ends[1].hub.totals().files, 0);
            assert!(ends[0].disk.open.is_empty());
        }
    }
}

/// A message of a peer that breaks the rules, after an offer of 1000 bytes was accepted.
fn after_breach(message: &Message<'_>) -> ([End; 2], Vec<Vec<u8>>) {
    let mut ends = ends();
    let now = Time::default();
    let offer = Message::Offer { file: 7, size: 100_000, digest: [1; 32], name: b"a" };
    ends[1].hub.handle_message(now, 0, &offer.write());
    ends[1].work(now);
    ends[1].hub.handle_message(now, 0, &message.write());
    ends[1].work(now);
    let said = std::iter::from_fn(|| ends[1].hub.poll_message(0)).collect();
    (ends, said)
}

#[test]
fn a_sender_that_breaks_the_rules_loses_its_file_and_no_more() {
    let data = [0; 2000];
    let breaches = [
        Message::Data { file: 7, offset: 1, data: &data },
        Message::Data { file: 7, offset: u64::MAX, data: &data },
        Message::Data { file: 7, offset: 0, data: &data[..MIN_DATA - 1] },
        Message::Offer { file: 7, size: 1, digest: [2; 32], name: b"b" },
    ];
    for breach in breaches {
        let (ends, said) = after_breach(&breach);
        assert_eq!(ends[1].result(0), Err(Failure::Protocol), "{breach:?}");
        let last = Message::read(said.last().unwrap()).unwrap();
        let end = Message::End { file: 7, by_sender: false, reason: Failure::Protocol as u8, text: b"" };
        assert_eq!(last, end);
        assert_eq!(ends[1].hub.totals(), Totals::default());
        assert!(ends[1].disk.open.is_empty());
    }
    for harmless in [
        Message::Data { file: 8, offset: 0, data: &data },
        Message::Accept { file: 7, offset: 0, limit: 1 },
        Message::Done { file: 7 },
        Message::Credit { file: 9, written: 0, limit: 0 },
        Message::End { file: 7, by_sender: false, reason: 1, text: b"" },
    ] {
        let (ends, said) = after_breach(&harmless);
        assert!(ends[1].ended.is_empty() && said.len() == 1, "{harmless:?}");
    }
}

#[test]
fn a_sender_may_not_go_beyond_the_window() {
    let mut end = End::new(Quota::default());
    let now = Time::default();
    let size = 10 * WINDOW;
    end.hub.handle_message(now, 0, &Message::Offer { file: 1, size, digest: [1; 32], name: b"a" }.write());
    end.work(now);
    let piece = vec![0; MAX_DATA];
    // The disk does nothing now: nothing more is granted.
    let mut offset = 0;
    while offset < WINDOW {
        end.hub.handle_message(now, 0, &Message::Data { file: 1, offset, data: &piece }.write());
        offset += MAX_DATA as u64;
    }
    assert!(end.ended.is_empty());
    end.hub.handle_message(now, 0, &Message::Data { file: 1, offset, data: &piece }.write());
    end.work(now);
    assert_eq!(end.result(0), Err(Failure::Protocol));
}

#[test]
fn a_receiver_that_breaks_the_rules_is_sent_no_more() {
    let breaches = [
        Message::Accept { file: 1, offset: 1001, limit: 2000 },
        Message::Credit { file: 1, written: 0, limit: 5 },
        Message::Done { file: 1 },
    ];
    for breach in breaches {
        let mut ends = ends();
        put(&mut ends[0], "/out/a", vec![1; 1000]);
        ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
        ends[0].work(Time::default());
        ends[0].hub.handle_message(Time::default(), 0, &breach.write());
        ends[0].work(Time::default());
        assert_eq!(ends[0].result(0), Err(Failure::Protocol), "{breach:?}");
        assert!(ends[0].disk.open.is_empty());
    }
}

#[test]
fn a_file_that_stands_still_gives_its_place_up_and_keeps_what_came() {
    let mut end = End::new(Quota::default());
    let now = Time::default();
    let data = bytes(1, 100_000);
    let offer = Message::Offer { file: 1, size: 100_000, digest: hash(&data), name: b"a" };
    end.hub.handle_message(now, 0, &offer.write());
    end.work(now);
    end.hub.handle_message(now, 0, &Message::Data { file: 1, offset: 0, data: &data[..5000] }.write());
    end.work(now);
    end.hub.handle_timeout(now + STALL_TIME / 2);
    end.work(now);
    assert!(end.ended.is_empty());
    end.hub.handle_timeout(now + STALL_TIME);
    end.work(now);
    assert_eq!(end.result(0), Err(Failure::Stalled));
    assert_eq!(end.disk.partials[&hash(&data)], &data[..5000]);
    assert_eq!(end.hub.totals(), Totals { files: 0, bytes: 5000, count: 0 });
}

#[test]
fn what_waits_to_leave_is_bounded() {
    let mut ends = ends();
    for i in 0..2 * MAX_SENDING {
        put(&mut ends[0], &format!("/out/{i}"), bytes(i as u64, 4_000_000));
        ends[0].hub.send(0, &i.to_string(), format!("/out/{i}").into()).unwrap();
    }
    let now = Time::default();
    let mut exchange = Exchange::new(Quota::default());
    exchange.send("a", "/out/0".into());
    for _ in 0..MAX_SENDING {
        ends[0].work(now);
    }
    while let Some(message) = ends[0].hub.poll_message(0) {
        ends[1].hub.handle_message(now, 0, &message);
    }
    ends[1].work(now);
    while let Some(message) = ends[1].hub.poll_message(0) {
        ends[0].hub.handle_message(now, 0, &message);
        ends[0].work(now);
    }
    // Nobody takes anything: no more is read than is to be read ahead.
    let mut waiting = 0;
    while let Some(message) = ends[0].hub.poll_message(0) {
        waiting += message.len();
        if waiting > 64 << 20 {
            break;
        }
    }
    assert!(waiting <= MAX_SENDING * READ_AHEAD as usize * MAX_MESSAGE, "{waiting}");
}

#[test]
fn messages_that_make_no_sense_do_nothing() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut ends = ends();
    for round in 0..20_000_u32 {
        let mut message: Vec<u8> = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
        if let Some(first) = message.first_mut() {
            *first %= 8;
        }
        if message.len() > 4 && round % 2 == 0 {
            message[1..5].copy_from_slice(&[0, 0, 0, (round % 5) as u8]);
        }
        ends[1].hub.handle_message(Time::from_micros(u64::from(round)), 0, &message);
        ends[1].work(Time::from_micros(u64::from(round)));
        while ends[1].hub.poll_message(0).is_some() {}
        assert!(ends[1].hub.totals().files <= Quota::default().files_per_peer);
    }
    ends[1].hub.close(0);
    ends[1].work(Time::default());
    assert_eq!(ends[1].hub.totals().files, 0);
    assert!(ends[1].disk.open.is_empty());
}

// --- over the native wire ------------------------------------------------------------------------------

fn with_files() -> Settings {
    Settings { files: true, ..settings() }
}

/// A pair of ends with files and the connections between them.
struct World {
    pair: NativePair,
    ends: [End; 2],
    /// Which connection this is: the disk outlives it.
    session: u64,
}

impl World {
    fn new(seed: u64, link: &Link) -> World {
        World { pair: World::connect(seed, link), ends: ends(), session: 0 }
    }

    fn connect(seed: u64, link: &Link) -> NativePair {
        let network = Network::new(seed, Link::delay(5), Link::delay(5));
        let mut pair = NativePair::connected_with(seed, with_files(), network);
        pair.network.links.iter_mut().for_each(|l| *l = link.clone());
        assert!(pair.client.takes_files() && pair.server.as_ref().unwrap().takes_files());
        pair
    }

    /// Both ends vanish, and meet again.
    fn break_off(&mut self, seed: u64, link: &Link) {
        for end in &mut self.ends {
            end.hub.close(self.session);
            end.work(self.pair.now);
        }
        self.session += 1;
        self.pair = World::connect(seed, link);
    }

    fn pump(&mut self) {
        let now = self.pair.now;
        for side in Side::BOTH {
            for (_, event) in std::mem::take(&mut self.pair.events[side as usize]) {
                if let crate::protocol::connection::Event::Message { mode, data, .. } = event {
                    assert_eq!(mode, Some(Mode::Files));
                    self.ends[side as usize].hub.handle_message(now, self.session, &data);
                }
            }
            let end = &mut self.ends[side as usize];
            end.work(now);
            while self.pair.end(side).queued_bytes() < 256 * 1024 {
                let Some(message) = end.hub.poll_message(self.session) else { break };
                self.pair.send(side, &message, FILES, 0);
                end.work(now);
            }
        }
    }

    /// Until both ends know how it ended, or for so long.
    fn run(&mut self, limit: Duration) -> bool {
        let limit = self.pair.now + limit;
        loop {
            self.pump();
            if self.ends.iter().all(|end| !end.ended.is_empty()) {
                return true;
            }
            if !self.pair.step(limit) {
                return false;
            }
        }
    }
}

fn rough(seed: u64) -> Link {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xf11e);
    Link {
        loss: rng.random_range(0.0..0.1),
        delay: Duration::from_millis(rng.random_range(1..80)),
        jitter: Duration::from_millis(rng.random_range(0..20)),
        duplicate: rng.random_range(0.0..0.05),
        reorder: rng.random_range(0.0..0.05),
        corrupt: rng.random_range(0.0..0.02),
        ..Link::default()
    }
}

#[test]
fn a_mebibyte_arrives_over_two_hundred_bad_networks() {
    let data = bytes(9, 1 << 20);
    for seed in 0..200 {
        let mut world = World::new(seed, &rough(seed));
        let from = (seed % 2) as usize;
        put(&mut world.ends[from], "/out/a", data.clone());
        world.ends[from].hub.send(0, "a", "/out/a".into()).unwrap();
        assert!(world.run(Duration::from_secs(120)), "seed {seed} takes too long");
        assert_eq!(world.ends[from].result(0), Ok(None), "seed {seed}");
        assert_eq!(world.ends[1 - from].disk.files[Path::new("/in/a")], data, "seed {seed}");
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_was() {
    let data = bytes(4, 4 << 20);
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let link = rough(seed);
        let mut world = World::new(seed, &link);
        let from = (seed % 2) as usize;
        put(&mut world.ends[from], "/out/a", data.clone());
        let mut breaks = 0;
        let written = loop {
            let session = world.session;
            world.ends[from].hub.send(session, "a", "/out/a".into()).unwrap();
            let patience = Duration::from_millis(rng.random_range(200..2500));
            let whole = world.run(if breaks == 5 { Duration::from_secs(300) } else { patience });
            if whole {
                break world.ends[1 - from].disk.writes;
            }
            breaks += 1;
            assert!(breaks <= 5, "seed {seed} takes too long");
            world.break_off(seed * 100 + breaks, &link);
            world.ends.iter_mut().for_each(|end| end.ended.clear());
        };
        assert_eq!(world.ends[1 - from].disk.files[Path::new("/in/a")], data, "seed {seed}");
        // What was written is not sent again.
        assert_eq!(written, data.len() / MAX_DATA, "seed {seed}, {breaks} breaks");
    }
}

#[test]
fn who_has_not_agreed_neither_sends_nor_takes() {
    for (client, server) in [(false, true), (true, false), (false, false)] {
        let of = |files| Settings { files, ..settings() };
        let network = Network::new(1, Link::delay(5), Link::delay(5));
        let mut pair = NativePair::new(1, [of(client), of(server)], network, Default::default());
        pair.run(Duration::from_secs(1));
        for side in Side::BOTH {
            assert!(!pair.end(side).takes_files());
            let sent = pair.try_send(side, b"x", FILES, 0);
            assert_eq!(sent, Err(SendError::Unsupported));
        }
    }
}

#[test]
fn messages_of_files_keep_apart_from_the_hosts_and_overtake_nothing() {
    let mut world = World::new(3, &Link { rate: Some(250_000.0), ..Link::delay(10) });
    put(&mut world.ends[0], "/out/a", bytes(1, 1 << 20));
    world.ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    let mut late = Vec::new();
    let mut sent_at = world.pair.now;
    for round in 0..100_u8 {
        world.pair.send(Side::Client, &[round], Mode::Ordered, 0);
        sent_at = sent_at.max(world.pair.now);
        let limit = world.pair.now + Duration::from_millis(50);
        loop {
            let events = &mut world.pair.events[Side::Server as usize];
            let hosts = events.iter().position(|(_, event)| {
                matches!(event, crate::protocol::connection::Event::Message { mode: Some(Mode::Ordered), .. })
            });
            if let Some((at, _)) = hosts.map(|at| events.remove(at)) {
                late.push(at.since(sent_at));
            }
            world.pump();
            if !world.pair.step(limit) {
                break;
            }
        }
        sent_at = world.pair.now;
    }
    assert!(late.len() >= 95, "{}", late.len());
    late.sort_unstable();
    let median = late[late.len() / 2];
    assert!(median < Duration::from_millis(50), "the host's messages wait behind a file: {median:?}");
}
