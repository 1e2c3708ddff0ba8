//! When ticks are due, and where the time goes.

use std::time::Duration;

use crate::metrics::series::{Ring, SERIES_SECONDS};
use crate::metrics::server::TimeProfile;
use crate::protocol::time::Time;

/// A schedule of ticks on a fixed grid: a late tick does not delay the next one, and ticks that a slow
/// host missed are left out rather than made up for in a burst.
#[derive(Debug)]
pub struct Ticker {
    start: Time,
    rate_hz: f64,
    /// Grid position of the next tick, from 1.
    next: u64,
    last: Time,
    ticks: u64,
    missed: u64,
}

impl Ticker {
    /// The first tick is one interval from `now`.
    pub fn new(now: Time, rate_hz: f64) -> Self {
        Ticker { start: now, rate_hz, next: 1, last: now, ticks: 0, missed: 0 }
    }

    /// When the next tick is due.
    pub fn due(&self) -> Time {
        self.start + Duration::from_secs_f64(self.next as f64 / self.rate_hz)
    }

    /// If a tick is due: the seconds since the last one, and its number from 1.
    pub fn tick(&mut self, now: Time) -> Option<(f64, u64)> {
        if now < self.due() {
            return None;
        }
        let position = (now.since(self.start).as_secs_f64() * self.rate_hz) as u64;
        let position = position.max(self.next);
        self.missed += position - self.next;
        self.next = position + 1;
        self.ticks += 1;
        let seconds = now.since(self.last).as_secs_f64();
        self.last = now;
        Some((seconds, self.ticks))
    }

    /// Ticks so far, and ticks left out.
    pub fn counts(&self) -> (u64, u64) {
        (self.ticks, self.missed)
    }
}

/// A timer that fires every `interval`, at the earliest moment the loop gets to it.
#[derive(Debug)]
pub struct Every {
    interval: Duration,
    next: Time,
}

impl Every {
    /// The first time is one interval from `now`.
    pub fn new(now: Time, interval: Duration) -> Self {
        Every { interval, next: now + interval }
    }

    /// When it fires next.
    pub fn due(&self) -> Time {
        self.next
    }

    /// Whether it fires now.
    pub fn fires(&mut self, now: Time) -> bool {
        let fires = now >= self.next;
        if fires {
            self.next = now + self.interval;
        }
        fires
    }
}

const SECOND_US: u64 = 1_000_000;

/// What the server's thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Handles datagrams and the callbacks that they led to.
    Messages,
    /// Is inside the update callback.
    Update,
    /// Reads from or writes to the network.
    Network,
    /// Waits, or does the host's own work between two polls.
    Idle,
}

/// Splits the thread's time into activities, second by second.
pub struct Profiler {
    since: Time,
    seconds: Ring<(TimeProfile, u32)>,
}

impl Profiler {
    /// Starts counting.
    pub fn new(now: Time) -> Self {
        Profiler { since: now, seconds: Ring::new(now) }
    }

    /// All since the last call was `activity`: each second that it went on in gets its part.
    pub fn spent(&mut self, now: Time, activity: Activity) {
        // What lies further back than the ring reaches shows nowhere.
        let mut from = self.since.max(now - Duration::from_secs(SERIES_SECONDS as u64));
        while from < now {
            let next_second = Time::from_micros((from.as_micros() / SECOND_US + 1) * SECOND_US);
            let to = next_second.min(now);
            let profile = &mut self.seconds.at(from).0;
            *match activity {
                Activity::Messages => &mut profile.messages,
                Activity::Update => &mut profile.update,
                Activity::Network => &mut profile.network,
                Activity::Idle => &mut profile.idle,
            } += to.since(from).as_secs_f64();
            from = to;
        }
        self.since = self.since.max(now);
    }

    /// A tick happened.
    pub fn tick(&mut self, now: Time) {
        self.seconds.at(now).1 += 1;
    }

    /// The last whole second.
    pub fn last_whole(&self, now: Time) -> (TimeProfile, u32) {
        self.seconds.last_whole(now)
    }

    /// The last 300 seconds, oldest first.
    pub fn snapshot(&self, now: Time) -> Vec<(TimeProfile, u32)> {
        self.seconds.snapshot(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_to_the_grid() {
        let start = Time::from_micros(1_000_000_000);
        let mut ticker = Ticker::new(start, 60.0);
        let (mut now, mut sum, mut ticks) = (start, 0.0, 0);
        // Each wake-up is up to a millisecond late; after an hour the count is exact all the same.
        while now < start + Duration::from_secs(3600) {
            now = ticker.due() + Duration::from_micros(ticks % 997);
            let (seconds, number) = ticker.tick(now).expect("due");
            sum += seconds;
            ticks += 1;
            assert_eq!(number, ticks);
            assert!(ticker.tick(now).is_none(), "once");
        }
        assert_eq!(ticks, 3600 * 60);
        assert!((sum - 3600.0).abs() < 0.002, "{sum}");
    }

    #[test]
    fn what_lasts_for_seconds_is_spread_over_them() {
        let at = |ms: u64| Time::from_micros(1_000_000_000 + ms * 1000);
        let mut profiler = Profiler::new(at(500));
        profiler.spent(at(700), Activity::Network);
        profiler.spent(at(3_250), Activity::Update);
        profiler.spent(at(3_250), Activity::Messages);
        profiler.spent(at(4_000), Activity::Idle);
        let seen = profiler.snapshot(at(4_100));
        let sums: Vec<f64> = seen
            .iter()
            .map(|(p, _)| p.messages + p.update + p.network + p.idle)
            .skip(seen.len() - 5)
            .collect();
        for (sum, expected) in sums.iter().zip([0.5, 1.0, 1.0, 1.0, 0.0]) {
            assert!((sum - expected).abs() < 1e-9, "{sums:?}");
        }
        let (profile, _) = profiler.last_whole(at(4_100));
        assert!((profile.update - 0.25).abs() < 1e-9 && (profile.idle - 0.75).abs() < 1e-9);
        // A thread that was away for a year is not a year's work.
        profiler.spent(at(365 * 86_400_000), Activity::Idle);
        assert!(profiler
            .snapshot(at(365 * 86_400_000))
            .iter()
            .rev()
            .skip(1)
            .all(|(p, _)| (p.idle - 1.0).abs() < 1e-9));
    }

    #[test]
    fn a_stall_leaves_ticks_out_and_none_comes_twice() {
        let start = Time::from_micros(5);
        let mut ticker = Ticker::new(start, 10.0);
        let late = start + Duration::from_millis(1234);
        let (seconds, number) = ticker.tick(late).expect("due");
        assert_eq!((number, ticker.counts()), (1, (1, 11)));
        assert!((seconds - 1.234).abs() < 1e-9);
        assert!(ticker.tick(late).is_none());
        assert_eq!(ticker.due(), start + Duration::from_millis(1300));
    }
}
