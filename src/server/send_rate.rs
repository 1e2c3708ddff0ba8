//! A send rate: how many bytes somebody is sent per second.
//!
//! It is an account that refills with time, holds a tenth of a second's worth, and may be overdrawn by
//! what must leave in any case: acknowledgements, handshakes, goodbyes. While it is overdrawn messages stay in
//! their queues.

use std::time::Duration;

use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;

/// What an account holds, as time at its rate.
const BURST: Duration = Duration::from_millis(100);
/// What it holds at least, in bytes: a full datagram can always leave at once.
const MIN_BURST: f64 = MAX_DATAGRAM as f64;
/// How far an account can be overdrawn, in times of what it holds: what must leave delays messages no longer.
const MAX_DEBT: f64 = 1.0;

/// What may be sent: bytes that come with time.
#[derive(Clone, Copy, Debug)]
pub struct SendRate {
    rate: f64,
    tokens: f64,
    at: Time,
}

impl SendRate {
    /// A full one; none without a rate.
    pub fn new(now: Time, bytes_per_second: u64) -> Option<SendRate> {
        let rate = bytes_per_second as f64;
        (bytes_per_second > 0).then(|| SendRate { rate, tokens: Self::most(rate), at: now })
    }

    fn most(rate: f64) -> f64 {
        (rate * BURST.as_secs_f64()).max(MIN_BURST)
    }

    /// Time passed.
    pub fn refill(&mut self, now: Time) {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.rate).min(Self::most(self.rate));
        self.at = self.at.max(now);
    }

    /// A datagram leaves.
    pub fn spend(&mut self, now: Time, bytes: usize) {
        self.refill(now);
        self.tokens = (self.tokens - bytes as f64).max(-MAX_DEBT * Self::most(self.rate));
    }

    /// Bytes of a stream leave, all of which count.
    pub fn spend_all(&mut self, now: Time, bytes: usize) {
        self.refill(now);
        self.tokens -= bytes as f64;
    }

    /// What it holds when it is full, in bytes.
    pub fn burst(&self) -> usize {
        Self::most(self.rate) as usize
    }

    /// From when on messages may leave: the past, if they may now.
    pub fn free_at(&self) -> Time {
        if self.tokens > 0.0 {
            return Time::default();
        }
        // A microsecond more, so that rounding leaves nobody a fraction of a byte short.
        self.at + Duration::from_secs_f64(-self.tokens / self.rate) + Duration::from_micros(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_000_000);

    /// Bytes that leave in `seconds` if there is always a datagram of `len` that may.
    fn drained(rate: u64, len: usize, seconds: u64) -> u64 {
        let mut account = SendRate::new(START, rate).unwrap();
        let (mut now, mut bytes) = (START, 0);
        while now < START + Duration::from_secs(seconds) {
            account.refill(now);
            if account.free_at() <= now {
                account.spend(now, len);
                bytes += len as u64;
            } else {
                now = account.free_at();
            }
        }
        bytes
    }

    #[test]
    fn what_leaves_is_the_rate_and_one_burst() {
        for (rate, len) in [(1000, 1472), (20_000, 100), (100_000, 1472), (10_000_000, 1472)] {
            let burst = (rate / 10).max(MAX_DATAGRAM as u64) + 1472;
            let bytes = drained(rate, len, 60);
            assert!(bytes >= 60 * rate - 1472 && bytes <= 60 * rate + burst, "{rate} {len}: {bytes}");
        }
    }

    #[test]
    fn what_must_leave_delays_messages_for_a_bounded_time() {
        let mut account = SendRate::new(START, 20_000).unwrap();
        for _ in 0..100_000 {
            account.spend(START, 50);
        }
        // It holds one datagram, which is more than a tenth of a second's worth.
        let wait = account.free_at().since(START);
        assert!(wait >= Duration::from_millis(100) && wait <= Duration::from_millis(110), "{wait:?}");
    }

    #[test]
    fn no_rate_is_no_account() {
        assert!(SendRate::new(START, 0).is_none());
    }
}
