//! Which messages have been received: exact over half of the 16-bit space, held sparsely.
//!
//! A message is told from its copies by its number. Copies go on for about a second after the first
//! arrived, so the memory must be long; but most of it is 'all received', which costs nothing to hold.

use std::collections::VecDeque;

use super::mutant;

/// Message numbers behind the newest that are remembered: half the ring, so that every 16-bit counter is
/// either in the window or ahead of it.
pub const DEDUP_WINDOW: u64 = 32_768;

const CHUNK: u64 = 512;

type Words = [u64; (CHUNK / 64) as usize];

#[derive(Clone, Debug)]
enum Chunk {
    Empty,
    Full,
    Some(Box<Words>),
}

/// The set of received message numbers. At most 65 chunks (the window's ends share none) and one spare: 4224 bytes, and
/// 128 chunk heads of 16 bytes.
#[derive(Clone, Debug, Default)]
pub struct Dedup {
    newest: u64,
    /// From this chunk on up to `first` all are full; a chunk's number is `n / CHUNK`.
    full_from: u64,
    /// Chunk number of the front.
    first: u64,
    chunks: VecDeque<Chunk>,
    /// Of a chunk that is full: the next one needs the same.
    spare: Option<Box<Words>>,
}

impl Dedup {
    /// The newest number inserted, 0 for none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether `n` was inserted, or is too old to know.
    pub fn contains(&self, n: u64) -> bool {
        if mutant!(DedupOff) {
            return false;
        }
        if n > self.newest || (mutant!(DedupForgets) && self.newest - n >= 16) {
            return false;
        }
        if self.newest - n >= DEDUP_WINDOW {
            return true;
        }
        // A chunk before the first was never touched: the numbers there were skipped when the set began.
        let Some(index) = (n / CHUNK).checked_sub(self.first) else { return n / CHUNK >= self.full_from };
        match self.chunks.get(index as usize) {
            None | Some(Chunk::Empty) => false,
            Some(Chunk::Full) => true,
            Some(Chunk::Some(words)) => words[(n % CHUNK / 64) as usize] & (1 << (n % 64)) != 0,
        }
    }

    /// Inserts `n`; false if it was there, or is too old to know.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        let chunk = n / CHUNK;
        if n > self.newest {
            self.newest = n;
            // Everything that falls out of the window goes.
            let keep = n.saturating_sub(DEDUP_WINDOW - 1) / CHUNK;
            while self.first < keep && !self.chunks.is_empty() {
                self.chunks.pop_front();
                self.first += 1;
            }
            self.full_from = self.full_from.max(keep).min(self.first);
            if self.chunks.is_empty() && self.first <= keep {
                (self.full_from, self.first) = (chunk, chunk);
            }
        }
        self.unfold(chunk);
        let index = (chunk - self.first) as usize;
        while self.chunks.len() <= index {
            self.chunks.push_back(Chunk::Empty);
        }
        let slot = &mut self.chunks[index];
        if matches!(slot, Chunk::Empty) {
            let mut words = self.spare.take().unwrap_or_default();
            // There is no number 0: it must not keep the first chunk from being full.
            words[0] = u64::from(chunk == 0);
            *slot = Chunk::Some(words);
        }
        if let Chunk::Some(words) = slot {
            let word = &mut words[(n % CHUNK / 64) as usize];
            *word |= 1 << (n % 64);
            if *word == u64::MAX && words.iter().all(|w| *w == u64::MAX) {
                **words = Words::default();
                if let Chunk::Some(words) = std::mem::replace(slot, Chunk::Full) {
                    self.spare = Some(words);
                }
            }
        }
        while let Some(Chunk::Full) = self.chunks.front() {
            self.chunks.pop_front();
            self.first += 1;
        }
        true
    }

    /// Makes `chunk` one of those that are held, one that was never touched.
    fn unfold(&mut self, chunk: u64) {
        while chunk < self.first {
            let is_full = self.full_from < self.first;
            self.chunks.push_front(if is_full { Chunk::Full } else { Chunk::Empty });
            self.first -= 1;
            self.full_from = self.full_from.min(self.first);
        }
    }

    /// Gives back what is not needed while nothing comes.
    pub fn shrink(&mut self) {
        self.spare = None;
        self.chunks.shrink_to_fit();
    }

    /// Bytes held, for the bounds' tests.
    pub fn heap_bytes(&self) -> usize {
        let some = self.chunks.iter().filter(|c| matches!(c, Chunk::Some(_))).count();
        let words = some + usize::from(self.spare.is_some());
        self.chunks.capacity() * std::mem::size_of::<Chunk>() + words * (CHUNK / 8) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, Rng, SeedableRng};

    #[test]
    fn borders() {
        let mut d = Dedup::default();
        assert!(d.insert(1));
        assert!(!d.insert(1));
        assert!(d.insert(DEDUP_WINDOW));
        assert!(d.contains(1), "received, and the oldest inside");
        assert!(!d.contains(2));
        assert!(d.insert(DEDUP_WINDOW + 2));
        assert!(d.contains(2), "too old to know counts as received");
        assert!(!d.contains(3));
        assert!(d.insert(3));
    }

    #[test]
    fn begins_anywhere_and_goes_back() {
        let mut d = Dedup::default();
        assert!(d.insert(40_000));
        assert!(d.insert(40_000 - DEDUP_WINDOW + 1));
        assert!(!d.insert(40_000 - DEDUP_WINDOW));
        assert!(d.insert(10_000));
        assert!(!d.insert(10_000));
        // A jump over everything.
        assert!(d.insert(10_000_000));
        assert!(!d.insert(40_000));
        assert!(d.insert(10_000_000 - DEDUP_WINDOW + 1));
        assert!(d.contains(10_000_000));
    }

    #[test]
    fn agrees_with_a_set_on_a_random_walk() {
        let mut rng = SmallRng::seed_from_u64(11);
        for reach in [3u64, 400, 40_000] {
            let (mut d, mut seen) = (Dedup::default(), std::collections::HashSet::new());
            for _ in 0..60_000 {
                let n = (d.newest() + rng.random_range(0..reach))
                    .saturating_sub(rng.random_range(0..reach))
                    .max(1);
                let expected = n > d.newest() || (d.newest() - n < DEDUP_WINDOW && !seen.contains(&n));
                assert_eq!(d.insert(n), expected, "{n} at {}", d.newest());
                seen.insert(n);
            }
            assert!(d.heap_bytes() <= 66 * 64 + 128 * 16, "{}", d.heap_bytes());
        }
    }

    #[test]
    fn a_gapless_stream_costs_next_to_nothing() {
        let mut d = Dedup::default();
        for n in 1..200_000 {
            assert!(d.insert(n));
        }
        assert!(d.heap_bytes() <= 128 * 16 + 2 * 64, "{}", d.heap_bytes());
    }
}
