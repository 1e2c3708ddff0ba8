//! Which packets have been seen: none is taken twice.

use super::mutant;

/// Packets that the window looks back over. An older one is dropped unread.
pub const REPLAY_WINDOW: u64 = 1024;

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// What the window says of a packet number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen yet.
    New,
    /// Seen.
    Duplicate,
    /// Too old to know.
    Old,
}

/// A bitmap over the newest [`REPLAY_WINDOW`] packet numbers.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    newest: u64,
    bits: [u64; WORDS],
}

impl ReplayWindow {
    /// The newest number inserted, 0 for none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether `n` may be taken.
    pub fn check(&self, n: u64) -> Verdict {
        if mutant!(ReplayOff) || n > self.newest {
            Verdict::New
        } else if self.newest - n >= REPLAY_WINDOW {
            Verdict::Old
        } else if self.bits[word(n)] & bit(n) != 0 {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Marks `n`, which must have passed [`check`](Self::check), as seen.
    pub fn insert(&mut self, n: u64) {
        if n > self.newest {
            if n - self.newest >= REPLAY_WINDOW {
                self.bits = [0; WORDS];
            } else {
                for gone in self.newest + 1..=n {
                    self.bits[word(gone)] &= !bit(gone);
                }
            }
            self.newest = n;
        }
        self.bits[word(n)] |= bit(n);
    }
}

fn word(n: u64) -> usize {
    (n / 64) as usize % WORDS
}

fn bit(n: u64) -> u64 {
    1 << (n % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders() {
        let mut w = ReplayWindow::default();
        assert_eq!(w.check(1), Verdict::New);
        w.insert(1);
        assert_eq!(w.check(1), Verdict::Duplicate);
        w.insert(REPLAY_WINDOW);
        assert_eq!(w.check(1), Verdict::Duplicate, "the oldest that is still inside");
        assert_eq!(w.check(2), Verdict::New);
        w.insert(REPLAY_WINDOW + 1);
        assert_eq!(w.check(1), Verdict::Old);
        w.insert(u64::MAX - 1);
        assert_eq!(w.check(REPLAY_WINDOW + 1), Verdict::Old);
        assert_eq!(w.check(u64::MAX), Verdict::New);
        w.insert(u64::MAX);
        assert_eq!(w.check(u64::MAX), Verdict::Duplicate);
    }

    #[test]
    fn agrees_with_a_set_on_a_random_walk() {
        use rand::{rngs::SmallRng, Rng, SeedableRng};
        let mut rng = SmallRng::seed_from_u64(7);
        let (mut w, mut seen, mut top) = (ReplayWindow::default(), std::collections::HashSet::new(), 2000u64);
        for _ in 0..50_000 {
            let n = (top + rng.random_range(0..40)).saturating_sub(rng.random_range(0..1500)).max(1);
            let expected = if n <= w.newest() && w.newest() - n >= REPLAY_WINDOW {
                Verdict::Old
            } else if seen.contains(&n) {
                Verdict::Duplicate
            } else {
                Verdict::New
            };
            assert_eq!(w.check(n), expected, "{n} at {}", w.newest());
            if expected == Verdict::New {
                w.insert(n);
                seen.insert(n);
                top = top.max(n);
            }
        }
    }
}
