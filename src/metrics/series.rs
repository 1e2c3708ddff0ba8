//! Per-second series of the last five minutes.

use std::time::Duration;

use crate::protocol::time::Time;

/// Seconds kept.
pub const SERIES_SECONDS: usize = 300;

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Datagrams sent.
    pub packets_sent: u32,
    /// Datagrams received: by a server those thrown away included, by a peer or a client those taken.
    pub packets_received: u32,
    /// Bytes of the same.
    pub bytes_sent: u32,
    /// Bytes of the same.
    pub bytes_received: u32,
    /// Mean latency in microseconds, 0 where nothing was measured.
    pub latency_us: u32,
}

/// A ring of [`SERIES_SECONDS`] seconds of `T`; what was not written is `T::default()`.
///
/// Its memory grows with the seconds that passed since the first write, up to [`SERIES_SECONDS`] entries,
/// so that a peer that stays for a moment costs little.
///
/// Time that goes back counts as standing still: what is written then goes to the latest second seen.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    /// The latest second written to, since the epoch.
    latest: u64,
    /// When that ends, in microseconds.
    ends: u64,
    /// Up to `SERIES_SECONDS` entries. Empty before the first write. While it grows, the last entry is that
    /// of `latest`; once it is full, `head` is, and the one after it is the oldest.
    entries: Vec<T>,
    head: usize,
}

impl<T: Copy + Default> Ring<T> {
    /// An empty ring whose time is `now`.
    pub fn new(now: Time) -> Self {
        Ring { latest: second(now), ends: 0, entries: Vec::new(), head: 0 }
    }

    /// The entry of the second that `now` lies in, after clearing the seconds since the last call.
    pub fn at(&mut self, now: Time) -> &mut T {
        if now.as_micros() >= self.ends {
            self.advance_to(now);
        }
        // `head` is below the length: `advance` keeps it so, and the vector has at least one entry once time was advanced to.
        &mut self.entries[self.head]
    }

    /// It may be another second than before.
    fn advance_to(&mut self, now: Time) {
        let now = second(now).max(self.latest);
        if self.entries.is_empty() {
            // Nothing before the first write differs from the default.
            // All of its memory at once: what comes later finds it there.
            self.entries.reserve_exact(SERIES_SECONDS);
            self.entries.push(T::default());
        } else {
            // Beyond a whole ring there is nothing left to clear.
            for _ in 0..(now - self.latest).min(SERIES_SECONDS as u64) {
                self.advance();
            }
        }
        self.latest = now;
        self.ends = now.saturating_add(1).saturating_mul(1_000_000);
    }

    /// The last [`SERIES_SECONDS`] seconds, oldest first, the running one last.
    pub fn snapshot(&self, now: Time) -> Vec<T> {
        let now = second(now).max(self.latest);
        (0..SERIES_SECONDS as u64).rev().map(|age| self.get(now, age)).collect()
    }

    /// The last whole second before the one `now` lies in.
    pub fn last_whole(&self, now: Time) -> T {
        self.get(second(now).max(self.latest), 1)
    }

    /// Opens the next second, in the place of the oldest when the ring is full.
    fn advance(&mut self) {
        if self.entries.len() < SERIES_SECONDS {
            self.entries.push(T::default());
            self.head = self.entries.len() - 1;
        } else {
            self.head = (self.head + 1) % SERIES_SECONDS;
            self.entries[self.head] = T::default();
        }
    }

    /// The entry of the second that is `age` seconds before `now`, which is not before `latest`.
    fn get(&self, now: u64, age: u64) -> T {
        // Seconds before `latest`; none where the wanted one is after it.
        let back = age.checked_sub(now - self.latest).and_then(|back| usize::try_from(back).ok());
        match back {
            Some(back) if back < self.entries.len() => {
                self.entries[(self.head + self.entries.len() - back) % self.entries.len()]
            }
            _ => T::default(),
        }
    }
}

/// What a server, one of its peers or a client did, second by second.
#[derive(Clone, Debug)]
pub struct Series {
    seconds: Ring<Second>,
    /// The second that the two below are of.
    measured: u64,
    latency_sum_us: u64,
    latencies: u64,
}

impl Series {
    /// An empty one.
    pub fn new(now: Time) -> Self {
        Series { seconds: Ring::new(now), measured: 0, latency_sum_us: 0, latencies: 0 }
    }

    /// A datagram was sent.
    pub fn sent(&mut self, now: Time, bytes: usize) {
        let second = self.seconds.at(now);
        second.packets_sent = second.packets_sent.saturating_add(1);
        second.bytes_sent = saturating_sum(second.bytes_sent, bytes);
    }

    /// A datagram was received.
    pub fn received(&mut self, now: Time, bytes: usize) {
        let second = self.seconds.at(now);
        second.packets_received = second.packets_received.saturating_add(1);
        second.bytes_received = saturating_sum(second.bytes_received, bytes);
    }

    /// A datagram was received while the latency was this; zero is not a measurement.
    pub fn latency(&mut self, now: Time, latency: Duration) {
        if latency.is_zero() {
            return;
        }
        let running = second(now).max(self.seconds.latest);
        if running != self.measured {
            (self.measured, self.latency_sum_us, self.latencies) = (running, 0, 0);
        }
        let latency_us = latency.as_micros().min(u128::from(u32::MAX)) as u64;
        self.latency_sum_us = self.latency_sum_us.saturating_add(latency_us);
        self.latencies += 1;
        // A mean of 32-bit numbers.
        self.seconds.at(now).latency_us = (self.latency_sum_us / self.latencies) as u32;
    }

    /// As [`Ring::snapshot`].
    pub fn snapshot(&self, now: Time) -> Vec<Second> {
        self.seconds.snapshot(now)
    }
}

fn saturating_sum(sum: u32, more: usize) -> u32 {
    sum.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
}

fn second(time: Time) -> u64 {
    time.as_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn an_empty_ring_is_all_defaults_and_owns_no_memory() {
        let ring = Ring::<u32>::new(at_ms(5_000));
        assert_eq!(ring.snapshot(at_ms(9_000)), vec![0; SERIES_SECONDS]);
        assert_eq!(ring.last_whole(at_ms(5_000)), 0);
        assert_eq!(ring.entries.capacity(), 0);
    }

    #[test]
    fn a_second_ends_where_the_next_begins() {
        let mut ring = Ring::<u32>::new(at_ms(1_000));
        *ring.at(at_ms(1_000)) += 1;
        *ring.at(at_ms(1_999)) += 1;
        assert_eq!(ring.last_whole(at_ms(1_999)), 0);
        assert_eq!(ring.last_whole(at_ms(2_000)), 2);
        *ring.at(at_ms(2_000)) += 5;
        assert_eq!(ring.last_whole(at_ms(2_999)), 2);
        assert_eq!(ring.last_whole(at_ms(3_000)), 5);
        assert_eq!(ring.last_whole(at_ms(4_000)), 0);
        let seen = ring.snapshot(at_ms(4_500));
        assert_eq!(seen[SERIES_SECONDS - 4..], [2, 5, 0, 0]);
    }

    #[test]
    fn a_long_gap_clears_everything_and_costs_one_round_at_most() {
        let mut ring = Ring::<u32>::new(at_ms(0));
        for second in 0..1000 {
            *ring.at(at_ms(second * 1000)) = 7;
        }
        assert_eq!(ring.snapshot(at_ms(999_000)), vec![7; SERIES_SECONDS]);
        // Were each second of the gap a step, this would not end.
        *ring.at(Time::from_micros(u64::MAX)) = 1;
        let seen = ring.snapshot(Time::from_micros(u64::MAX));
        assert_eq!(seen[SERIES_SECONDS - 1], 1);
        assert_eq!(seen.iter().sum::<u32>(), 1);
        assert_eq!(ring.entries.len(), SERIES_SECONDS);
    }

    #[test]
    fn time_that_goes_back_stands_still() {
        let mut ring = Ring::<u32>::new(at_ms(10_000));
        *ring.at(at_ms(10_000)) += 1;
        *ring.at(at_ms(3_000)) += 1;
        *ring.at(Time::from_micros(0)) += 1;
        assert_eq!(ring.snapshot(at_ms(2_000))[SERIES_SECONDS - 1], 3);
        assert_eq!(ring.last_whole(at_ms(0)), 0);
        assert_eq!(ring.last_whole(at_ms(11_000)), 3);
    }

    #[test]
    fn the_latency_is_the_mean_of_what_was_measured() {
        let mut series = Series::new(at_ms(0));
        // Most datagrams measure nothing: thrown away, or too early.
        for _ in 0..1_000 {
            series.received(at_ms(100), 10);
            series.latency(at_ms(100), Duration::ZERO);
        }
        for i in 0..100_000 {
            series.latency(at_ms(200), Duration::from_micros(if i < 50_000 { 1_000 } else { 1_900 }));
        }
        series.latency(at_ms(1_100), Duration::from_secs(10_000));
        series.latency(at_ms(2_100), Duration::from_micros(7));
        series.received(at_ms(3_000), 1 << 33);
        let seen = series.snapshot(at_ms(3_000));
        let last: Vec<u32> = seen[SERIES_SECONDS - 4..].iter().map(|s| s.latency_us).collect();
        assert_eq!(last, [1_450, u32::MAX, 7, 0]);
        assert_eq!(
            (seen[SERIES_SECONDS - 4].packets_received, seen[SERIES_SECONDS - 4].bytes_received),
            (1_000, 10_000)
        );
        assert_eq!(seen[SERIES_SECONDS - 1].bytes_received, u32::MAX);
    }

    #[test]
    fn it_agrees_with_a_map_over_many_random_writes() {
        // A xorshift: seeded, no dependency.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut now = 1_000_000;
        let mut ring = Ring::<u32>::new(at_ms(now));
        let mut model = HashMap::<u64, u32>::new();
        for step in 0..20_000 {
            // Mostly small steps, at times a gap about as long as the ring.
            now += if random(200) == 0 { random(700_000) } else { random(2_500) };
            *ring.at(at_ms(now)) += 1;
            *model.entry(now / 1000).or_default() += 1;
            if step % 97 == 0 {
                let ahead = random(4) * 100_000;
                let last = (now + ahead) / 1000;
                let expected: Vec<u32> = (last + 1 - SERIES_SECONDS as u64..=last)
                    .map(|second| model.get(&second).copied().unwrap_or(0))
                    .collect();
                assert_eq!(ring.snapshot(at_ms(now + ahead)), expected, "step {step}");
                let whole = model.get(&(last - 1)).copied().unwrap_or(0);
                assert_eq!(ring.last_whole(at_ms(now + ahead)), whole, "step {step}");
            }
        }
        assert!(ring.entries.capacity() <= 2 * SERIES_SECONDS);
    }
}
