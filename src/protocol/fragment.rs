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

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Kept; others are missing.
    Kept,
    /// It was the last one missing: the message, and the number of its first fragment.
    Complete(Vec<u8>, u64),
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
    /// Its own message number.
    pub number: u64,
    /// Its data, never empty.
    pub data: &'a [u8],
}

#[derive(Debug)]
struct Partial {
    count: u16,
    parts: BTreeMap<u16, Box<[u8]>>,
    bytes: usize,
    first: u64,
    touched: Time,
}

/// The unfinished messages of one peer.
#[derive(Debug)]
pub struct Reassembly {
    partials: BTreeMap<u16, Partial>,
    bytes: usize,
    max_bytes: usize,
    max_message: usize,
}

impl Reassembly {
    /// Bounded by bytes in all and by the length of a message.
    pub fn new(max_bytes: usize, max_message: usize) -> Self {
        Reassembly { partials: BTreeMap::new(), bytes: 0, max_bytes, max_message }
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
        let room = self.bytes + cost <= self.max_bytes || mutant!(ReassemblyUnbounded);
        let crowded = self.partials.len() >= MAX_PARTIALS;
        let partial = match self.partials.entry(id) {
            std::collections::btree_map::Entry::Occupied(p) => p.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if crowded || !room => return Stored::Refused,
            std::collections::btree_map::Entry::Vacant(v) => {
                v.insert(Partial { count, parts: BTreeMap::new(), bytes: 0, first: 0, touched: now })
            }
        };
        if partial.count != count || partial.parts.contains_key(&index) {
            return Stored::Wrong;
        }
        if partial.bytes + data.len() > self.max_message {
            self.remove(id);
            return Stored::Wrong;
        }
        if !room {
            return Stored::Refused;
        }
        partial.touched = now;
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
        Stored::Complete(message, done.first)
    }

    fn remove(&mut self, id: u16) -> Option<Partial> {
        let partial = self.partials.remove(&id)?;
        self.bytes -= partial.bytes + partial.parts.len() * FRAGMENT_COST;
        Some(partial)
    }

    /// Gives up messages of which nothing came for `timeout`; how many.
    pub fn expire(&mut self, now: Time, timeout: Duration) -> usize {
        let late: Vec<u16> =
            self.partials.iter().filter(|(_, p)| p.touched + timeout <= now).map(|(id, _)| *id).collect();
        for id in &late {
            self.remove(*id);
        }
        late.len()
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_expiry(&self, timeout: Duration) -> Option<Time> {
        self.partials.values().map(|p| p.touched + timeout).min()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.partials.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(id: u16, index: u16, count: u16, data: &[u8]) -> Fragment<'_> {
        Fragment { id, index, count, number: 100 + u64::from(index), data }
    }

    #[test]
    fn any_order_gives_the_message_and_the_first_number() {
        let mut r = Reassembly::new(10_000, 10_000);
        let t = Time::default();
        assert_eq!(r.insert(t, fragment(1, 2, 3, b"c")), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 0, 3, b"a")), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 0, 3, b"x")), Stored::Wrong, "repeats");
        assert_eq!(r.insert(t, fragment(1, 1, 4, b"x")), Stored::Wrong, "another count");
        assert_eq!(r.insert(t, fragment(1, 1, 3, b"b")), Stored::Complete(b"abc".to_vec(), 100));
        assert_eq!((r.bytes(), r.partials.len()), (0, 0));
    }

    #[test]
    fn bounds_hold() {
        let mut r = Reassembly::new(2 * (10 + FRAGMENT_COST), 25);
        let t = Time::default();
        assert_eq!(r.insert(t, fragment(1, 0, 0x2000, &[0; 10])), Stored::Kept);
        assert_eq!(r.insert(t, fragment(1, 1, 0x2000, &[0; 10])), Stored::Kept);
        assert_eq!(r.insert(t, fragment(2, 0, 2, &[0; 10])), Stored::Refused);
        assert_eq!(r.insert(t, fragment(1, 2, 0x2000, &[0; 5])), Stored::Refused);
        assert_eq!(r.insert(t, fragment(1, 2, 0x2000, &[0; 6])), Stored::Wrong, "the message is too long");
        assert_eq!(r.bytes(), 0, "and is given up");
        let mut r = Reassembly::new(1 << 20, 25);
        for id in 0..MAX_PARTIALS as u16 {
            assert_eq!(r.insert(t, fragment(id, 0, 2, b"a")), Stored::Kept);
        }
        assert_eq!(r.insert(t, fragment(9999, 0, 2, b"a")), Stored::Refused);
        assert_eq!(r.next_expiry(Duration::from_secs(5)), Some(t + Duration::from_secs(5)));
        assert_eq!(r.expire(t + Duration::from_secs(5), Duration::from_secs(5)), MAX_PARTIALS);
        assert_eq!(r.bytes(), 0);
    }
}
