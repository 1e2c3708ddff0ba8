//! Times at which something of somebody's is to be looked at.
//!
//! > A timer that an earlier one took the place of stays in the heap until its time, and is found then not to stand any
//! > more by its owner, who remembers the one that does. Where those are most of it, it is built anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::protocol::time::Time;

/// Timers in the heap per one that can stand, and beside them, above which those that no longer stand go.
const TIMERS_PER_STANDING: usize = 3;
const MIN_TIMERS: usize = 64;

/// The timers of one kind of owners.
#[derive(Debug)]
pub struct Timers<K>(BinaryHeap<Reverse<(Time, K)>>);

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers(BinaryHeap::new())
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// When the first is due.
    pub fn due(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that is due: for when it was set, and whose it is.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        self.due().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse(timer)| timer)
    }

    /// Sets one. `owners` can have one each, and those that do are `standing`.
    pub fn push(&mut self, at: Time, owner: K, owners: usize, standing: impl Iterator<Item = (Time, K)>) {
        self.0.push(Reverse((at, owner)));
        if self.0.len() > TIMERS_PER_STANDING * owners + MIN_TIMERS {
            self.0 = standing.map(Reverse).collect();
        }
    }

    /// How many there are, those included that no longer stand.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
