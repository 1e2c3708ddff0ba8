//! Messages that travel in parts: putting them together within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::mutant;
use super::time::Time;

/// Unfinished messages per peer at most. More than a sender of ours ever has under way: each takes two of
/// its 256 unacknowledged numbers.
pub const MAX_PARTIALS: usize = 256;
/// What holding a fragment costs beyond its data, for the bound on bytes.
pub const FRAGMENT_COST: usize = 64;
/// Bytes that the fragments of a newer message can have taken of the oldest one's own room when those of the
/// oldest come late: more than a sender has under way at once.
const LATECOMERS: usize = 64 * (1024 + FRAGMENT_COST);

/// How many times the timeout a message is kept while nothing newer comes.
pub const PATIENCE: u32 = 6;
/// What a pause between two fragments counts at most: about the longest between two copies of one.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Kept; others are missing.
    Kept,
    /// It was the last one missing: the message, the number of its first fragment, and the newest packet that brought one.
    Complete(Vec<u8>, u64, u64),
    /// It contradicts the message's other fragments, repeats one, or makes the message too long: dropped for good.
    Wrong,
    /// There is no room now: not to be acknowledged, so that it comes again.
    Refused,
}

/// A fragment as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// The sender's counter of fragmented messages.
    pub id: u16,
    /// From 0.
    pub index: u16,
    /// In all.
    pub count: u16,
    /// Its own message number, or whatever else grows with the order in which messages are begun.
    pub number: u64,
    /// The packet that it came in.
    pub packet: u64,
    /// Whether its sender repeats it for as long as the connection lives: its message is never given up.
    pub promised: bool,
    /// Its data, never empty.
    pub data: &'a [u8],
}

#[derive(Debug)]
struct Partial {
    count: u16,
    promised: bool,
    parts: BTreeMap<u16, Box<[u8]>>,
    bytes: usize,
    first: u64,
    /// Least number of its fragments so far: tells which message is the oldest.
    least: u64,
    newest_packet: u64,
    touched: Time,
    touched_age: Duration,
}

/// The unfinished messages of one peer.
///
/// They are bounded together, but the oldest one is always let in: a sender's newer messages wait for its
/// older ones, so that refusing those would stop both for good. Memory is therefore bounded by
/// [`most_bytes`](Self::most_bytes).
#[derive(Debug)]
pub struct Reassembly {
    partials: BTreeMap<u16, Partial>,
    bytes: usize,
    max_bytes: usize,
    max_message: usize,
    timeout: Duration,
    /// For how long fragments have been coming, and when one last did.
    age: Duration,
    last_fragment: Time,
    left_behind: u64,
    /// The age before which no message can be late.
    next_scan: Duration,
}

impl Reassembly {
    /// Bounded by bytes in all and by the length of a message. `timeout` is how long an unfinished message is
    /// kept without news of it while newer ones come.
    pub fn new(max_bytes: usize, max_message: usize, timeout: Duration) -> Self {
        Reassembly {
            partials: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            max_message,
            timeout,
            age: Duration::ZERO,
            last_fragment: Time::default(),
            left_behind: 0,
            next_scan: Duration::ZERO,
        }
    }

    /// What [`bytes`](Self::bytes) never exceeds: the bound, and the oldest message with what its fragments cost.
    pub fn most_bytes(max_bytes: usize, max_message: usize) -> usize {
        // Fragments of senders that keep to the format hold 1024 bytes; of those with the least MTU 503.
        max_bytes + max_message + (max_message / 503 + 1) * FRAGMENT_COST + LATECOMERS
    }

    /// Bytes held, counted with [`FRAGMENT_COST`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a fragment in. Memory grows by what arrived, never by what a header claims.
    pub fn insert(&mut self, now: Time, fragment: Fragment<'_>) -> Stored {
        let Fragment { id, count, number, data, .. } = fragment;
        let index = fragment.index ^ u16::from(mutant!(FragmentIndexOff) && fragment.index > 0);
        let cost = data.len() + FRAGMENT_COST;
        self.leave_behind(now, id, number);
        let room = self.has_room(id, number, cost);
        let crowded = self.partials.len() >= MAX_PARTIALS;
        let partial = match self.partials.entry(id) {
            std::collections::btree_map::Entry::Occupied(p) => p.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if crowded || !room => return Stored::Refused,
            std::collections::btree_map::Entry::Vacant(v) => v.insert(Partial {
                count,
                promised: fragment.promised,
                parts: BTreeMap::new(),
                bytes: 0,
                first: 0,
                least: number,
                newest_packet: 0,
                touched: now,
                touched_age: self.age,
            }),
        };
        if partial.count != count || partial.parts.contains_key(&index) {
            return Stored::Wrong;
        }
        if partial.bytes + data.len() > self.max_message {
            self.remove(id);
            return Stored::Wrong;
        }
        // A refused fragment comes again: its message is alive.
        (partial.touched, partial.touched_age) = (now, self.age);
        if !room {
            return Stored::Refused;
        }
        partial.least = partial.least.min(number);
        partial.newest_packet = partial.newest_packet.max(fragment.packet);
        partial.bytes += data.len();
        if index == 0 {
            partial.first = number;
        }
        partial.parts.insert(index, data.into());
        self.bytes += cost;
        if partial.parts.len() < usize::from(count) {
            return Stored::Kept;
        }
        let Some(done) = self.remove(id) else { return Stored::Wrong };
        let mut message = Vec::with_capacity(done.bytes);
        for part in done.parts.values() {
            message.extend_from_slice(part);
        }
        Stored::Complete(message, done.first, done.newest_packet)
    }

    /// Whether a fragment of message `id` may be held.
    fn has_room(&self, id: u16, number: u64, cost: usize) -> bool {
        let after = self.bytes + cost;
        if after <= self.max_bytes || mutant!(ReassemblyUnbounded) {
            return true;
        }
        let least = self.partials.get(&id).map_or(number, |p| p.least.min(number));
        let oldest = self.partials.iter().all(|(other, p)| *other == id || least < p.least);
        oldest && !mutant!(OldestRefused) && after <= Self::most_bytes(self.max_bytes, self.max_message)
    }

    fn remove(&mut self, id: u16) -> Option<Partial> {
        let partial = self.partials.remove(&id)?;
        self.bytes -= partial.bytes + partial.parts.len() * FRAGMENT_COST;
        Some(partial)
    }

    /// A fragment of message `id`, numbered `number`, came, whether it can be held or not. Gives up older
    /// messages of which nothing came during `timeout` of such comings.
    ///
    /// A sender begins a message in parts when it has sent all of the one before, and repeats first what is
    /// older: while newer fragments come, one that is still promised comes too. Only what is not promised stays
    /// away for long. A sender that is cut off, refused or out of its window lets nothing newer come, and then
    /// nothing may be given up: parts of it were acknowledged.
    fn leave_behind(&mut self, now: Time, id: u16, number: u64) {
        self.age += now.since(self.last_fragment).min(LONGEST_STEP);
        self.last_fragment = now;
        if self.age < self.next_scan {
            return;
        }
        let least = self.partials.get(&id).map_or(number, |p| p.least.min(number));
        let timeout = self.timeout;
        let late = self.give_up(|p, age| p.touched_age + timeout <= age && p.least < least);
        self.left_behind += late as u64;
        let oldest = self.partials.values().filter(|p| !p.promised).map(|p| p.touched_age).min();
        // What is late and newest is looked at again with the next fragment.
        self.next_scan = oldest.unwrap_or(self.age) + timeout;
    }

    /// How many messages were given up since this was last asked.
    pub fn take_left_behind(&mut self) -> u64 {
        std::mem::take(&mut self.left_behind)
    }

    /// The receiver has no room: that nothing more comes lies not at the sender.
    pub fn touch_all(&mut self, now: Time) {
        let age = self.age;
        for partial in self.partials.values_mut() {
            (partial.touched, partial.touched_age) = (now, age);
        }
    }

    /// Gives up messages of which nothing came for [`PATIENCE`] times the timeout, whatever else does; how many.
    pub fn expire(&mut self, now: Time) -> usize {
        let timeout = self.timeout;
        self.give_up(|p, _| p.touched + timeout * patience() <= now)
    }

    fn give_up(&mut self, late: impl Fn(&Partial, Duration) -> bool) -> usize {
        if mutant!(PartialsForEver) {
            return 0;
        }
        let age = self.age;
        let late = self.partials.iter().filter(|(_, p)| !p.promised && late(p, age));
        let late: Vec<u16> = late.map(|(id, _)| *id).collect();
        for id in &late {
            self.remove(*id);
        }
        late.len()
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_expiry(&self) -> Option<Time> {
        let timeout = self.timeout;
        let partials = self.partials.values().filter(|p| !p.promised && !mutant!(PartialsForEver));
        partials.map(|p| p.touched + timeout * patience()).min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.partials.clear();
        self.bytes = 0;
    }
}

fn patience() -> u32 {
    if mutant!(PartialsImpatient) {
        1
    } else {
        PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Duration = Duration::from_secs(5);

    fn fragment(id: u16, index: u16, count: u16, data: &[u8]) -> Fragment<'_> {
        Fragment { id, index, count, number: 100 + u64::from(index), packet: 7, promised: false, data }
    }

    #[test]
    fn any_order_gives_the_message_and_the_first_number() {
        let mut r = Reassembly::new(10_000, 10_000, FIVE);
        let t = Time::default();
        assert_eq!(r.insert(t, fragment(1, 2, 3, b"c")), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 0, 3, b"a")), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 0, 3, b"x")), Stored::Wrong, "repeats");
        assert_eq!(r.insert(t, fragment(1, 1, 4, b"x")), Stored::Wrong, "another count");
        assert_eq!(r.insert(t, fragment(1, 1, 3, b"b")), Stored::Complete(b"abc".to_vec(), 100, 7));
        assert_eq!((r.bytes(), r.partials.len()), (0, 0));
    }

    #[test]
    fn bounds_hold() {
        let mut r = Reassembly::new(2 * (10 + FRAGMENT_COST), 25, FIVE);
        let t = Time::default();
        assert_eq!(r.insert(t, fragment(1, 0, 0x2000, &[0; 10])), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 1, 0x2000, &[0; 10])), Stored::Kept);
        assert_eq!(r.insert(t, fragment(2, 3, 4, &[0; 10])), Stored::Refused);
        assert_eq!(r.insert(t, fragment(1, 2, 0x2000, &[0; 5])), Stored::Kept, "the oldest is let in");
        assert_eq!(r.insert(t, fragment(1, 3, 0x2000, &[0; 1])), Stored::Wrong, "the message is too long");
        assert_eq!(r.bytes(), 0, "and is given up");
        // Ever older messages, of which each is the oldest when it comes.
        let mut r = Reassembly::new(1000, 2000, FIVE);
        let (mut refused, mut number) = (false, 1 << 20);
        for id in 0..MAX_PARTIALS as u16 {
            number -= 1;
            let stored =
                r.insert(t, Fragment { index: 0, number, packet: 0, ..fragment(id, 0, 2, &[0; 1400]) });
            refused |= stored == Stored::Refused;
        }
        assert!(refused && r.bytes() <= Reassembly::most_bytes(1000, 2000), "{}", r.bytes());
        let mut r = Reassembly::new(1 << 20, 25, FIVE);
        for id in 0..MAX_PARTIALS as u16 {
            assert_eq!(r.insert(t, fragment(id, 0, 2, b"a")), Stored::Kept);
        }
        assert_eq!(r.insert(t, fragment(9999, 0, 2, b"a")), Stored::Refused);
        assert_eq!(r.next_expiry(), Some(t + Duration::from_secs(30)));
        assert_eq!(r.expire(t + Duration::from_secs(29)), 0);
        assert_eq!(r.expire(t + Duration::from_secs(30)), MAX_PARTIALS);
        assert_eq!(r.bytes(), 0);
    }

    #[test]
    fn what_is_promised_is_never_given_up() {
        let mut r = Reassembly::new(1 << 20, 1000, FIVE);
        let mut t = Time::from_micros(1);
        r.insert(t, Fragment { promised: true, ..fragment(1, 0, 2, b"old") });
        for index in 0..90 {
            t = t + Duration::from_millis(900);
            r.insert(t, Fragment { number: 300, ..fragment(2, index, 100, b"n") });
        }
        assert_eq!((r.take_left_behind(), r.expire(t + FIVE * 100), r.next_expiry()), (0, 1, None));
        let whole = Stored::Complete(b"old and new".to_vec(), 100, 7);
        assert_eq!(r.insert(t, Fragment { promised: true, ..fragment(1, 1, 2, b" and new") }), whole);
    }

    #[test]
    fn only_what_newer_messages_overtake_is_left_behind() {
        let mut r = Reassembly::new(1 << 20, 1000, FIVE);
        let mut t = Time::from_micros(1);
        assert_eq!(r.insert(t, fragment(1, 0, 2, b"old")), Stored::Kept);
        t = t + Duration::from_secs(20);
        let newer = |index| Fragment { number: 300 + u64::from(index), ..fragment(2, index, 100, b"n") };
        assert_eq!(r.insert(t, newer(0)), Stored::Kept);
        assert_eq!(r.take_left_behind(), 0, "a pause counts little");
        let mut steps = 0;
        while r.take_left_behind() == 0 {
            t = t + Duration::from_millis(100);
            steps += 1;
            assert_eq!(r.insert(t, newer(steps)), Stored::Kept);
        }
        assert_eq!(steps, 40, "one second for the pause, four of fragments");
        assert_eq!(r.partials.len(), 1);
        // The newest one stays, however long nothing comes but itself and older ones.
        for _ in 0..20 {
            t = t + Duration::from_millis(900);
            let older = Fragment { number: 7, ..fragment(3, 0, 2, b"o") };
            r.insert(t, older);
        }
        assert_eq!((r.take_left_behind(), r.partials.len()), (0, 2));
    }
}
