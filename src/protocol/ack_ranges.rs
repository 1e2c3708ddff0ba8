//! What has been received, as the native wire's acknowledgements tell it, and when one must leave.

use std::collections::VecDeque;
use std::time::Duration;

use super::mutant;
use super::rtt::MAX_ACK_DELAY;
use super::time::Time;

/// Ranges remembered at most; the oldest go, and what they covered is sent again if it was not reported yet.
pub const MAX_RANGES: usize = 32;
/// Packets of one range that are reported at most, so that its length takes two bytes: no sender remembers more.
pub const MAX_RANGE: u64 = 1 << 14;
/// How often a range is reported before it counts as known to the other side.
pub const REPORTS: u8 = 8;
/// Packets with something that is sent again if lost after which an acknowledgement leaves at once.
pub const ACK_EVERY: u32 = 2;
/// Packets of messages that are sent once after which one leaves at once.
pub const LAZY_ACK_EVERY: u32 = 32;
/// How long those wait for an acknowledgement at most.
pub const LAZY_ACK_DELAY: Duration = Duration::from_millis(200);

/// How much its sender waits for a packet's acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all: it carried nothing but acknowledgements.
    #[default]
    None,
    /// Little: messages that are sent once.
    Lazy,
    /// Much: something that is sent again if it was lost.
    Prompt,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    low: u64,
    high: u64,
    reports: u8,
}

/// The received packets that are still worth reporting.
#[derive(Clone, Debug, Default)]
pub struct AckRanges {
    /// Newest first; no two touch.
    ranges: VecDeque<Range>,
    /// When the newest packet came.
    newest_at: Time,
    prompt: u32,
    lazy: u32,
    due: Option<Time>,
}

impl AckRanges {
    /// The newest packet, 0 for none.
    pub fn newest(&self) -> u64 {
        self.ranges.front().map_or(0, |r| r.high)
    }

    /// Whether a packet is among those remembered.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.iter().any(|r| (r.low..=r.high).contains(&number))
    }

    /// Packet `number`, which was never seen before, is to be acknowledged.
    pub fn received(&mut self, now: Time, number: u64, urgency: Urgency) {
        // A packet out of line shows that another is missing, or was: its sender wants to know.
        let in_line = number == self.newest() + 1;
        if number > self.newest() {
            self.newest_at = now;
        }
        self.insert(number);
        let at = match urgency {
            Urgency::None => return,
            Urgency::Lazy => {
                self.lazy += 1;
                match (in_line, self.lazy >= LAZY_ACK_EVERY) {
                    (_, true) => now,
                    (false, _) => now + MAX_ACK_DELAY,
                    (true, _) => now + LAZY_ACK_DELAY,
                }
            }
            Urgency::Prompt => {
                self.prompt += 1;
                if in_line && self.prompt < ACK_EVERY {
                    now + MAX_ACK_DELAY
                } else {
                    now
                }
            }
        };
        if !mutant!(AckTooLate) {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    /// A packet came that is not acknowledged, since there was no room for what is in it. Its sender hears all the same that
    /// somebody is there.
    pub fn refused(&mut self, now: Time) {
        if !mutant!(AckTooLate) {
            let at = now + LAZY_ACK_DELAY;
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    fn insert(&mut self, number: u64) {
        // The first range that does not lie wholly above the number.
        let at = self.ranges.iter().position(|r| r.low <= number + 1).unwrap_or(self.ranges.len());
        let below = self.ranges.get(at).copied().filter(|r| r.high + 1 >= number);
        let Some(range) = below else {
            self.ranges.insert(at, Range { low: number, high: number, reports: 0 });
            self.ranges.truncate(MAX_RANGES);
            return;
        };
        let mut merged = Range { low: range.low.min(number), high: range.high.max(number), reports: 0 };
        // It may close the gap to the range below.
        if let Some(next) = self.ranges.get(at + 1).copied().filter(|r| r.high + 1 == merged.low) {
            merged.low = next.low;
            self.ranges.remove(at + 1);
        }
        if let Some(slot) = self.ranges.get_mut(at) {
            *slot = merged;
        }
    }

    /// When an acknowledgement must leave; `None`: nobody waits for one.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// How long ago the newest packet came.
    pub fn delay(&self, now: Time) -> Duration {
        now.since(self.newest_at)
    }

    /// What to report, newest first: lowest and highest number of each range.
    pub fn report(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let unseen = u64::from(mutant!(AckUnseen));
        let worth = self.ranges.iter().enumerate().filter(|(i, r)| *i == 0 || r.reports < REPORTS);
        let low = |r: &Range| r.low.max((r.high + 1).saturating_sub(MAX_RANGE));
        worth.map(move |(_, r)| (low(r).saturating_sub(unseen).max(1), r.high))
    }

    /// A packet left with a report of `count` ranges.
    pub fn reported(&mut self, count: usize) {
        let worth = self.ranges.iter_mut().enumerate().filter(|(i, r)| *i == 0 || r.reports < REPORTS);
        worth.take(count).for_each(|(_, r)| r.reports = r.reports.saturating_add(1));
        (self.prompt, self.lazy, self.due) = (0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{rngs::SmallRng, seq::SliceRandom, Rng, SeedableRng};

    #[test]
    fn ranges_are_those_of_a_set() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let mut numbers: Vec<u64> = (1..60).filter(|_| rng.random_bool(0.7)).collect();
            let mut acks = AckRanges::default();
            numbers.shuffle(&mut rng);
            for n in &numbers {
                acks.received(Time::default(), *n, Urgency::Lazy);
            }
            numbers.sort_unstable();
            let mut told: Vec<u64> = acks.report().flat_map(|(low, high)| low..=high).collect();
            told.sort_unstable();
            assert_eq!(told, numbers);
            let edges: Vec<_> = acks.report().collect();
            assert!(edges.windows(2).all(|w| w[1].1 + 1 < w[0].0), "{edges:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_old_ranges_are_not_reported_for_ever() {
        let mut acks = AckRanges::default();
        for n in 1..1000 {
            acks.received(Time::default(), n * 2, Urgency::Prompt);
        }
        assert_eq!(acks.report().count(), MAX_RANGES);
        for _ in 0..REPORTS {
            acks.reported(MAX_RANGES);
        }
        assert_eq!(acks.report().collect::<Vec<_>>(), [(1998, 1998)]);
        acks.received(Time::default(), 1996 - 1, Urgency::Prompt);
        assert_eq!(acks.report().collect::<Vec<_>>(), [(1998, 1998), (1994, 1996)], "it changed");
    }

    #[test]
    fn a_long_range_is_reported_as_far_as_anybody_remembers() {
        let mut acks = AckRanges::default();
        for n in 1..=2 * MAX_RANGE {
            acks.received(Time::default(), n, Urgency::Lazy);
        }
        assert_eq!(acks.report().collect::<Vec<_>>(), [(MAX_RANGE + 1, 2 * MAX_RANGE)]);
    }

    #[test]
    fn acknowledgements_leave_when_somebody_waits() {
        let (t, ms) = (Time::from_micros(1), Duration::from_millis);
        let mut acks = AckRanges::default();
        acks.received(t, 1, Urgency::None);
        assert_eq!(acks.due(), None);
        acks.received(t, 2, Urgency::Lazy);
        assert_eq!(acks.due(), Some(t + LAZY_ACK_DELAY));
        acks.received(t, 3, Urgency::Prompt);
        assert_eq!(acks.due(), Some(t + MAX_ACK_DELAY));
        acks.received(t, 4, Urgency::Prompt);
        assert_eq!(acks.due(), Some(t), "every second");
        acks.reported(1);
        assert_eq!(acks.due(), None);
        acks.received(t, 6, Urgency::Prompt);
        assert_eq!(acks.due(), Some(t), "a gap");
        acks.reported(2);
        acks.received(t, 5, Urgency::Prompt);
        assert_eq!(acks.due(), Some(t), "and what fills it");
        acks.reported(1);
        for n in 7..7 + u64::from(LAZY_ACK_EVERY) - 1 {
            acks.received(t + ms(n), n, Urgency::Lazy);
        }
        assert_eq!(acks.due(), Some(t + ms(7) + LAZY_ACK_DELAY));
        acks.received(t + ms(90), 6 + u64::from(LAZY_ACK_EVERY), Urgency::Lazy);
        assert_eq!(acks.due(), Some(t + ms(90)));
    }
}
