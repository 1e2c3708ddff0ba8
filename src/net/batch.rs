//! Many datagrams per system call: arenas that are filled by one and emptied by one.
//!
//! Where the system has no such calls, or the host wishes none, the same arenas are filled and emptied with one
//! call per datagram. Whoever uses them cannot tell the difference but by the time that it takes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;

#[cfg(target_os = "linux")]
use crate::net::mmsg;
#[cfg(target_os = "linux")]
use crate::net::udp::is_no_room;
use crate::net::udp::UdpSocket;

/// Messages taken by one call at most; each is a datagram, or a train of datagrams from one source.
pub const RECEIVE_MESSAGES: usize = 64;
/// Datagrams written by one call at most.
pub const SEND_DATAGRAMS: usize = 64;
/// Datagrams of one train at most: what every Linux since 4.18 takes.
pub const MAX_TRAIN_DATAGRAMS: usize = 64;
/// Bytes of one train at most: what one IPv4 packet would carry.
pub const MAX_TRAIN_BYTES: usize = 65_507;
/// Targets that take no trains, above which the socket sends none.
#[cfg(target_os = "linux")]
const MAX_ALONE: usize = 16;
/// Room for a received train. Not a power of two, so that the heads of all slots do not fall into the same few
/// lines of the processor's cache.
const TRAIN_SLOT: usize = 65_536 + 1_600;

/// How datagrams pass between the process and the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Many per system call, in trains where they go to one address or come from one; on Linux. Elsewhere as
    /// [`Portable`](Io::Portable).
    Batched,
    /// One per system call, as every system can.
    Portable,
}

impl Default for Io {
    /// Batched on Linux, and portable elsewhere and where the crate was built with the feature `portable-io`.
    fn default() -> Io {
        if cfg!(all(target_os = "linux", not(feature = "portable-io"))) {
            Io::Batched
        } else {
            Io::Portable
        }
    }
}

/// What one call brought into one slot: a datagram, or several of one length, of which the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train {
    pub source: SocketAddr,
    pub len: usize,
    /// Length of each datagram but the last.
    pub segment: usize,
}

impl Train {
    /// How many datagrams it is. An empty datagram is one, too.
    fn datagrams(&self) -> usize {
        self.len.div_ceil(self.segment.max(1)).max(1)
    }
}

/// Received datagrams, in the order in which they came.
pub struct ReceiveBatch {
    pub(super) io: Io,
    /// Bytes of a datagram that are handed out at most; the rest of a longer one is cut off.
    longest: usize,
    /// Bytes per message.
    pub(super) slot: usize,
    pub(super) arena: Vec<u8>,
    pub(super) trains: Vec<Train>,
    /// The train and the datagram of it that come next.
    next: (usize, usize),
}

impl ReceiveBatch {
    /// An arena for the datagrams of `socket`, which are cut after `longest` bytes. From here on they must be taken by
    /// [`UdpSocket::receive`] alone: the system may hand over whole trains, which nobody else could split.
    pub fn new(socket: &UdpSocket, io: Io, longest: usize) -> ReceiveBatch {
        let io = if cfg!(target_os = "linux") { io } else { Io::Portable };
        let trains = io == Io::Batched && socket.join_received();
        let slot = if trains { TRAIN_SLOT.max(longest) } else { longest };
        // Zeroed by the system, page by page when first used: slots that no train ever fills cost nothing.
        let arena = vec![0; RECEIVE_MESSAGES * slot];
        ReceiveBatch { io, longest, slot, arena, trains: Vec::with_capacity(RECEIVE_MESSAGES), next: (0, 0) }
    }

    /// The next datagram and its source.
    // Not an iterator: what it lends is its own.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<(SocketAddr, &mut [u8])> {
        let (at, datagram) = self.next;
        let train = *self.trains.get(at)?;
        let last = datagram + 1 >= train.datagrams();
        self.next = if last { (at + 1, 0) } else { (at, datagram + 1) };
        let start = datagram * train.segment;
        let len = train.len.saturating_sub(start).min(train.segment).min(self.longest);
        let start = at * self.slot + start;
        Some((train.source, self.arena.get_mut(start..start + len)?))
    }

    /// How many messages the last call brought, trains counted as one.
    pub fn messages(&self) -> usize {
        self.trains.len()
    }

    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.next.0 >= self.trains.len()
    }

    pub(super) fn clear(&mut self) {
        self.trains.clear();
        self.next = (0, 0);
    }
}

impl fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("io", &self.io)
            .field("trains", &self.trains)
            .finish_non_exhaustive()
    }
}

/// Datagrams to send, in the order in which they leave.
#[derive(Debug)]
pub struct SendBatch {
    pub(super) io: Io,
    /// One more than datagrams fit: the last is for the one that is being written.
    pub(super) buffers: Vec<Vec<u8>>,
    pub(super) targets: Vec<SocketAddr>,
    /// The way there takes no trains.
    #[cfg(target_os = "linux")]
    alone: Vec<SocketAddr>,
}

impl SendBatch {
    /// An arena for `datagrams` (at most [`SEND_DATAGRAMS`]) datagrams, which usually have up to `longest` bytes.
    pub fn new(io: Io, datagrams: usize, longest: usize) -> SendBatch {
        let io = if cfg!(target_os = "linux") { io } else { Io::Portable };
        let datagrams = datagrams.clamp(1, SEND_DATAGRAMS);
        let buffers = (0..=datagrams).map(|_| Vec::with_capacity(longest)).collect();
        SendBatch {
            io,
            buffers,
            targets: Vec::with_capacity(datagrams),
            #[cfg(target_os = "linux")]
            alone: Vec::new(),
        }
    }

    /// Where the next datagram is written, with whatever was there before.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        let at = self.targets.len().min(self.buffers.len() - 1);
        &mut self.buffers[at]
    }

    /// What stands in [`buffer`](Self::buffer) goes to `target`. A full batch takes none: it must be sent first.
    pub fn push(&mut self, target: SocketAddr) {
        if !self.is_full() {
            self.targets.push(target);
        }
    }

    /// Whether it must be sent before it takes another datagram.
    pub fn is_full(&self) -> bool {
        self.targets.len() + 1 >= self.buffers.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The datagrams from place `from` on, with their targets.
    pub(super) fn datagrams_from(&self, from: usize) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let (buffers, targets) = (self.buffers.get(from..), self.targets.get(from..));
        let buffers = buffers.unwrap_or_default().iter().map(Vec::as_slice);
        buffers.zip(targets.unwrap_or_default().iter().copied())
    }

    /// Whether datagrams to `target` make no trains.
    #[cfg(target_os = "linux")]
    pub(super) fn travels_alone(&self, target: SocketAddr) -> bool {
        !self.alone.is_empty() && self.alone.contains(&target)
    }

    /// Forgets all, and says how many that were. What is being written stays.
    pub(super) fn discard(&mut self) -> usize {
        let discarded = self.targets.len();
        self.clear();
        discarded
    }

    fn clear(&mut self) {
        let written = self.targets.len();
        self.buffers.swap(0, written);
        self.targets.clear();
    }
}

/// How many of the datagrams from the first on make a train: all to one target, all of one length but the last, which may be
/// shorter. At least one.
pub(super) fn train_len<'a>(datagrams: impl IntoIterator<Item = (&'a [u8], SocketAddr)>) -> usize {
    let mut datagrams = datagrams.into_iter();
    let Some((first, target)) = datagrams.next() else { return 1 };
    let (mut count, mut bytes) = (1, first.len());
    for (datagram, to) in datagrams.take(MAX_TRAIN_DATAGRAMS - 1) {
        let fits = bytes + datagram.len() <= MAX_TRAIN_BYTES;
        if to != target || datagram.is_empty() || datagram.len() > first.len() || !fits {
            break;
        }
        count += 1;
        bytes += datagram.len();
        if datagram.len() < first.len() {
            break;
        }
    }
    count
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Sent {
    /// Datagrams that were not sent: the system had no room, or refused them.
    pub failed: usize,
    /// The system had no room for one of them.
    pub blocked: bool,
    /// What it said of the last that it refused for another reason (no route, too long, forbidden, wrong family).
    pub error: Option<io::Error>,
    /// Targets whose trains the way out cannot make.
    #[cfg(target_os = "linux")]
    pub(super) alone: Vec<SocketAddr>,
}

impl Sent {
    /// Counts what [`UdpSocket::send_to`] said of so many datagrams.
    fn count(&mut self, datagrams: usize, result: io::Result<bool>) {
        match result {
            Ok(true) => return,
            Ok(false) => self.blocked = true,
            Err(error) => self.error = Some(error),
        }
        self.failed += datagrams;
    }
}

impl UdpSocket {
    /// Takes what waits into a batch, which must be empty. Whether there may be more. What does not fit the batch's
    /// datagrams is cut off. Errors: what the operating system says; the socket can be used further, and what came
    /// before is in the batch.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<bool> {
        match batch.io {
            Io::Batched => self.receive_many(batch),
            Io::Portable => self.receive_each(batch),
        }
    }

    fn receive_each(&self, batch: &mut ReceiveBatch) -> io::Result<bool> {
        batch.clear();
        for slot in batch.arena.chunks_exact_mut(batch.slot) {
            let Some((len, source)) = self.recv_from(slot)? else { return Ok(false) };
            batch.trains.push(Train { source, len, segment: len });
        }
        Ok(true)
    }

    #[cfg(target_os = "linux")]
    fn receive_many(&self, batch: &mut ReceiveBatch) -> io::Result<bool> {
        let descriptor = self.descriptor();
        match self.retrying(|| mmsg::receive(descriptor, batch)) {
            // A call that brings less than it could has seen the socket empty, or an error of an earlier datagram.
            Ok((received, most)) => Ok(received >= most || self.hears_refusals()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn receive_many(&self, batch: &mut ReceiveBatch) -> io::Result<bool> {
        self.receive_each(batch)
    }

    /// Sends a batch, and empties it. One datagram's failure does not stop those behind it.
    pub fn send(&self, batch: &mut SendBatch) -> Sent {
        let mut sent = Sent::default();
        // A call for many passes over an error of an earlier datagram, which then nobody hears of.
        if batch.io == Io::Batched && batch.targets.len() > 1 && !self.hears_refusals() {
            self.send_many(batch, &mut sent);
        } else {
            self.send_each(batch, 0..batch.targets.len(), &mut sent);
        }
        #[cfg(target_os = "linux")]
        self.note_alone(batch, &mut sent);
        batch.clear();
        sent
    }

    /// A way out without checksums, or one that IPsec takes, is that of some targets; where it is that of many, of all.
    #[cfg(target_os = "linux")]
    fn note_alone(&self, batch: &mut SendBatch, sent: &mut Sent) {
        for target in sent.alone.drain(..) {
            if batch.alone.len() < MAX_ALONE {
                batch.alone.push(target);
            } else {
                self.stop_trains();
            }
        }
    }

    fn send_each(&self, batch: &SendBatch, range: Range<usize>, sent: &mut Sent) {
        for (datagram, target) in batch.datagrams_from(range.start).take(range.len()) {
            sent.count(1, self.send_to(datagram, target));
        }
    }

    #[cfg(target_os = "linux")]
    fn send_many(&self, batch: &SendBatch, sent: &mut Sent) {
        mmsg::send(
            self.descriptor(),
            batch,
            self.sends_trains(),
            |target| self.outward(target),
            |call| self.retrying(call),
            |range, error| self.refused_message(batch, range, error, sent),
        );
    }

    #[cfg(not(target_os = "linux"))]
    fn send_many(&self, batch: &SendBatch, sent: &mut Sent) {
        self.send_each(batch, 0..batch.targets.len(), sent);
    }

    /// The system did not take a message. A train may be refused where each of its datagrams would be taken.
    #[cfg(target_os = "linux")]
    fn refused_message(&self, batch: &SendBatch, range: Range<usize>, error: io::Error, sent: &mut Sent) {
        if range.len() > 1 {
            match error.raw_os_error() {
                // The way out there cannot calculate checksums.
                Some(libc::EIO) => sent.alone.extend(batch.targets.get(range.start)),
                // The way to this one target is narrower than the datagrams, which anybody can bring about for
                // their own address: no reason to serve everybody else more slowly.
                Some(libc::EINVAL | libc::EMSGSIZE) => {}
                _ => return sent.count(range.len(), as_sent(error)),
            }
            return self.send_each(batch, range, sent);
        }
        sent.count(range.len(), as_sent(error));
    }
}

/// An error of sending, as [`UdpSocket::send_to`] tells it.
#[cfg(target_os = "linux")]
fn as_sent(error: io::Error) -> io::Result<bool> {
    if is_no_room(&error) {
        return Ok(false);
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp::tests::{bind, ipv6_is_available};
    use std::time::Duration;

    const LONGEST: usize = 1473;
    const BOTH: [Io; 2] = [Io::Batched, Io::Portable];

    type Received = Vec<(Vec<u8>, SocketAddr)>;

    /// A batch of these datagrams.
    fn batch_of<'a>(io: Io, datagrams: impl IntoIterator<Item = (&'a [u8], SocketAddr)>) -> SendBatch {
        let mut batch = SendBatch::new(io, SEND_DATAGRAMS, LONGEST);
        for (datagram, target) in datagrams {
            assert!(!batch.is_full());
            batch.buffer().clear();
            batch.buffer().extend_from_slice(datagram);
            batch.push(target);
        }
        batch
    }

    /// Takes so many datagrams, and looks whether there are more.
    fn receive(socket: &UdpSocket, batch: &mut ReceiveBatch, number: usize) -> Received {
        let mut received = Vec::new();
        for _ in 0..10_000 {
            while let Some((source, datagram)) = batch.next() {
                received.push((datagram.to_vec(), source));
            }
            let more = socket.receive(batch).unwrap();
            if received.len() >= number && batch.is_empty() {
                return received;
            }
            if !more && batch.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("{} of {number} arrived", received.len());
    }

    /// Datagrams numbered in their first bytes: trains of one length, single ones, shorter and longer ones, empty ones.
    fn mixed() -> Vec<Vec<u8>> {
        let lengths =
            [1200, 1200, 1200, 700, 1200, 0, 0, 30, 31, 30, 30, 30, 29, 1473, 1473, 1472, 2, 2, 2, 2];
        let datagram = |(number, len): (usize, &usize)| {
            let mut datagram = vec![number as u8; *len];
            datagram.iter_mut().enumerate().for_each(|(at, byte)| *byte = byte.wrapping_add(at as u8));
            datagram
        };
        lengths.iter().enumerate().map(datagram).collect()
    }

    #[test]
    fn both_ways_deliver_the_same_in_the_same_order() {
        for (sending, receiving) in BOTH.into_iter().flat_map(|s| BOTH.map(|r| (s, r))) {
            let (client, servers) = (bind("127.0.0.1:0"), [bind("127.0.0.1:0"), bind("127.0.0.1:0")]);
            let mut batches = servers.each_ref().map(|s| ReceiveBatch::new(s, receiving, LONGEST));
            let datagrams = mixed();
            // In runs of five for each server, in which there are trains, and then in turn, in which there are none.
            let runs =
                datagrams.iter().enumerate().map(|(at, d)| (&d[..], servers[at / 5 % 2].local_address()));
            let turns = datagrams.iter().enumerate().map(|(at, d)| (&d[..], servers[at % 2].local_address()));
            let mut batch = batch_of(sending, runs.chain(turns));
            let sent = client.send(&mut batch);
            assert!(sent.failed == 0 && !sent.blocked && sent.error.is_none(), "{sent:?}");
            assert!(batch.is_empty());
            for (number, (server, batch)) in servers.iter().zip(&mut batches).enumerate() {
                let runs = datagrams.iter().enumerate().filter(|(at, _)| at / 5 % 2 == number);
                let turns = datagrams.iter().enumerate().filter(|(at, _)| at % 2 == number);
                let expected: Received =
                    runs.chain(turns).map(|(_, d)| (d.clone(), client.local_address())).collect();
                let received = receive(server, batch, expected.len());
                assert!(received == expected, "{sending:?} to {receiving:?}, server {number}");
            }
        }
    }

    #[test]
    fn a_full_batch_to_one_target_is_one_train_and_comes_as_one() {
        let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let mut inbound = ReceiveBatch::new(&server, Io::Batched, LONGEST);
        let datagrams: Vec<_> = (0..SEND_DATAGRAMS).map(|n| vec![n as u8; 100]).collect();
        let all = datagrams.iter().map(|d| (&d[..], server.local_address()));
        assert_eq!(train_len(all.clone()), MAX_TRAIN_DATAGRAMS.min(SEND_DATAGRAMS));
        assert_eq!(client.send(&mut batch_of(Io::Batched, all)).failed, 0);
        // Over loopback all has arrived when the send has returned.
        server.receive(&mut inbound).unwrap();
        let joined = cfg!(target_os = "linux") && inbound.slot > LONGEST && client.sends_trains();
        if joined {
            assert_eq!(inbound.trains.len(), 1, "{inbound:?}");
        }
        // Half of them now, the others later: none is lost in between.
        let mut numbers = Vec::new();
        for _ in 0..SEND_DATAGRAMS {
            assert!(!inbound.is_empty());
            let (source, datagram) = inbound.next().unwrap();
            assert_eq!((source, datagram.len()), (client.local_address(), 100));
            numbers.push(datagram[0]);
        }
        assert!(inbound.is_empty() && inbound.next().is_none());
        assert_eq!(numbers, (0..SEND_DATAGRAMS as u8).collect::<Vec<_>>());
    }

    #[test]
    fn a_train_has_one_target_one_length_and_bounds() {
        let (here, there) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let train = |datagrams: &[(usize, SocketAddr)]| {
            let bytes = vec![0; 70_000];
            train_len(datagrams.iter().map(|(len, to)| (&bytes[..*len], *to)))
        };
        assert_eq!(train(&[(5, here)]), 1);
        assert_eq!(train(&[(5, here), (5, here), (5, there), (5, here)]), 2);
        assert_eq!(train(&[(5, here), (5, here), (4, here), (4, here)]), 3, "a shorter one ends it");
        assert_eq!(train(&[(5, here), (6, here)]), 1, "a longer one is not of it");
        assert_eq!(train(&[(5, here), (0, here)]), 1, "nor an empty one");
        assert_eq!(train(&[(0, here), (0, here)]), 1);
        assert_eq!(train(&vec![(5, here); 200]), MAX_TRAIN_DATAGRAMS);
        assert_eq!(train(&vec![(1472, here); 200]), MAX_TRAIN_BYTES / 1472);
        assert_eq!(train(&[(40_000, here), (30_000, here)]), 1);
    }

    #[test]
    fn a_datagram_that_cannot_leave_stops_no_other() {
        for io in BOTH {
            let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut inbound = ReceiveBatch::new(&server, io, LONGEST);
            let (here, long) = (server.local_address(), vec![0; 70_000]);
            let other_family = "[::1]:9".parse().unwrap();
            let mut batch = batch_of(
                io,
                [
                    (&b"1"[..], here),
                    (&long[..], here),
                    (b"2", here),
                    (b"lost", other_family),
                    (b"also", other_family),
                    (b"3", here),
                ],
            );
            let sent = client.send(&mut batch);
            assert!(sent.failed == 3 && !sent.blocked && sent.error.is_some(), "{io:?} {sent:?}");
            let received: Vec<_> = receive(&server, &mut inbound, 3).into_iter().map(|(d, _)| d).collect();
            assert_eq!(received, [b"1", b"2", b"3"], "{io:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_refused_train_leaves_in_pieces() {
        for (number, goes_on) in [(libc::EIO, false), (libc::EINVAL, true), (libc::EMSGSIZE, true)] {
            let elsewhere = "192.0.2.1:9".parse().unwrap();
            let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut inbound = ReceiveBatch::new(&server, Io::Batched, LONGEST);
            let mut batch =
                batch_of(Io::Batched, [(&b"a"[..], server.local_address()), (b"b", server.local_address())]);
            let (mut sent, before) = (Sent::default(), client.sends_trains());
            client.refused_message(&batch, 0..2, io::Error::from_raw_os_error(number), &mut sent);
            client.note_alone(&mut batch, &mut sent);
            // Others still get trains.
            assert_eq!((sent.failed, client.sends_trains()), (0, before));
            assert_eq!(batch.travels_alone(server.local_address()), !goes_on);
            assert!(!batch.travels_alone(elsewhere));
            let received: Vec<_> = receive(&server, &mut inbound, 2).into_iter().map(|(d, _)| d).collect();
            assert_eq!(received, [b"a", b"b"]);
            // As single datagrams all arrives as before.
            assert_eq!(client.send(&mut batch).failed, 0);
            assert_eq!(receive(&server, &mut inbound, 2).len(), 2);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_many_targets_take_no_trains_nobody_gets_any() {
        let client = bind("127.0.0.1:0");
        let (mut batch, before) =
            (SendBatch::new(Io::Batched, SEND_DATAGRAMS, LONGEST), client.sends_trains());
        for port in 1..=MAX_ALONE as u16 + 1 {
            assert_eq!(client.sends_trains(), before, "{port}");
            let target = ([192, 0, 2, 1], port).into();
            client.note_alone(&mut batch, &mut Sent { alone: vec![target], ..Sent::default() });
        }
        assert!(!client.sends_trains() && batch.alone.len() == MAX_ALONE);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_room_is_blocked_and_counts_every_datagram_of_the_message() {
        let client = bind("127.0.0.1:0");
        let batch =
            batch_of(Io::Batched, [(&b"a"[..], client.local_address()), (b"b", client.local_address())]);
        for number in [libc::EAGAIN, libc::ENOBUFS] {
            let mut sent = Sent::default();
            client.refused_message(&batch, 0..2, io::Error::from_raw_os_error(number), &mut sent);
            assert!(sent.failed == 2 && sent.blocked && sent.error.is_none(), "{sent:?}");
        }
        let mut sent = Sent::default();
        client.refused_message(&batch, 1..2, io::Error::from_raw_os_error(libc::ENETUNREACH), &mut sent);
        assert!(sent.failed == 1 && !sent.blocked && sent.error.is_some(), "{sent:?}");
    }

    #[test]
    fn a_full_batch_takes_no_more_and_what_is_being_written_survives_the_send() {
        for io in BOTH {
            let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut inbound = ReceiveBatch::new(&server, io, LONGEST);
            let mut batch = SendBatch::new(io, 3, LONGEST);
            for text in [b"1", b"2", b"3"] {
                assert!(!batch.is_full());
                batch.buffer().extend_from_slice(text);
                batch.push(server.local_address());
            }
            assert!(batch.is_full() && !batch.is_empty());
            batch.buffer().extend_from_slice(b"next");
            batch.push(server.local_address());
            assert_eq!(client.send(&mut batch).failed, 0);
            assert!(batch.is_empty() && !batch.is_full());
            assert_eq!(batch.buffer(), b"next");
            batch.push(server.local_address());
            assert_eq!(client.send(&mut batch).failed, 0);
            let received: Vec<_> = receive(&server, &mut inbound, 4).into_iter().map(|(d, _)| d).collect();
            assert_eq!(received, [&b"1"[..], b"2", b"3", b"next"], "{io:?}");
            assert_eq!(client.send(&mut batch).failed, 0, "an empty batch sends nothing");
            batch.push(server.local_address());
            assert_eq!((batch.discard(), batch.is_empty()), (1, true));
        }
    }

    #[test]
    fn a_longer_datagram_is_cut_and_hides_none_behind_it() {
        for io in BOTH {
            let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut inbound = ReceiveBatch::new(&server, io, 10);
            let here = server.local_address();
            let long = [7; 50];
            let datagrams =
                [(&long[..], here), (&long[..], here), (b"short", here), (b"", here), (b"x", here)];
            assert_eq!(client.send(&mut batch_of(io, datagrams)).failed, 0);
            let received: Vec<_> = receive(&server, &mut inbound, 5).into_iter().map(|(d, _)| d).collect();
            assert_eq!(received, [&[7; 10][..], &[7; 10], b"short", b"", b"x"], "{io:?}");
        }
    }

    #[test]
    fn a_dual_stack_socket_sends_to_both_families_and_shows_ipv4_as_ipv4() {
        if !ipv6_is_available("a_dual_stack_socket_sends_to_both_families_and_shows_ipv4_as_ipv4") {
            return;
        }
        for io in BOTH {
            let (server, v4, v6) = (bind("[::]:0"), bind("127.0.0.1:0"), bind("[::1]:0"));
            let mut inbound = ReceiveBatch::new(&server, io, LONGEST);
            let port = server.local_address().port();
            let all: [SocketAddr; 2] =
                [([127, 0, 0, 1], port).into(), (std::net::Ipv6Addr::LOCALHOST, port).into()];
            for (client, to) in [&v4, &v6].into_iter().zip(all) {
                assert_eq!(client.send(&mut batch_of(io, [(&b"a"[..], to), (b"b", to)])).failed, 0);
            }
            let sources: Vec<_> = receive(&server, &mut inbound, 4).into_iter().map(|(_, s)| s).collect();
            let expected = [v4.local_address(), v4.local_address(), v6.local_address(), v6.local_address()];
            assert_eq!(sources, expected, "{io:?}");
            let answers = expected.map(|to| (&b"answer"[..], to));
            assert_eq!(server.send(&mut batch_of(io, answers)).failed, 0);
            for client in [&v4, &v6] {
                let mut inbound = ReceiveBatch::new(client, io, LONGEST);
                assert_eq!(receive(client, &mut inbound, 2).len(), 2, "{io:?}");
            }
        }
    }

    #[test]
    fn a_read_tells_whether_there_may_be_more() {
        for io in BOTH {
            let (client, server) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let mut inbound = ReceiveBatch::new(&server, io, LONGEST);
            assert!(!server.receive(&mut inbound).unwrap() && inbound.is_empty());
            let here = server.local_address();
            // One at a time, so that none are joined.
            for n in 0..RECEIVE_MESSAGES + 1 {
                assert!(client.send_to(&[n as u8], here).unwrap());
            }
            assert!(server.receive(&mut inbound).unwrap(), "{io:?}");
            assert_eq!(std::iter::from_fn(|| inbound.next().map(|_| ())).count(), RECEIVE_MESSAGES);
            assert!(!server.receive(&mut inbound).unwrap(), "{io:?}");
            assert_eq!(inbound.next().unwrap().1, [RECEIVE_MESSAGES as u8]);
            assert!(inbound.is_empty());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_closed_port_is_told_and_disturbs_no_other() {
        for io in BOTH {
            let (client, server, gone) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let (here, nobody) = (server.local_address(), gone.local_address());
            drop(gone);
            client.hear_refusals(true);
            let mut inbound = ReceiveBatch::new(&server, io, LONGEST);
            let datagrams = [(&b"1"[..], here), (b"x", nobody), (b"2", here), (b"x", nobody), (b"3", here)];
            let sent = client.send(&mut batch_of(io, datagrams));
            assert_eq!(sent.failed, 0, "{io:?} {sent:?}");
            let received: Vec<_> = receive(&server, &mut inbound, 3).into_iter().map(|(d, _)| d).collect();
            assert_eq!(received, [b"1", b"2", b"3"], "{io:?}");
            let mut answers = ReceiveBatch::new(&client, io, LONGEST);
            server.send_to(b"answer", client.local_address()).unwrap();
            assert_eq!(receive(&client, &mut answers, 1)[0].0, b"answer");
            assert!(client.take_refused(), "{io:?}");
            client.hear_refusals(false);
        }
    }
}
