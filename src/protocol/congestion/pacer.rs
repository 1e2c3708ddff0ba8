//! When the next datagram may leave: a bucket of bytes that fills at the pacing rate.

use std::time::Duration;

use crate::protocol::time::Time;

/// How much of the rate may leave at once: a server's loop wakes about once per millisecond.
const BURST_TIME: f64 = 0.001;
/// Datagrams that may leave at once at any rate.
const BURST_DATAGRAMS: f64 = 2.0;
/// Longest wait for one datagram: a wrong estimate must not silence a connection.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The bucket. What leaves in spite of an empty one (acknowledgements, probes) is owed, at most one bucket.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// Bytes per second, above 0.
    rate: f64,
    /// Bytes that may leave at once.
    burst: f64,
    /// Bytes that could leave at `filled`.
    tokens: f64,
    filled: Time,
}

impl Pacer {
    /// A full bucket of `burst` bytes.
    pub fn new(now: Time, rate: f64, burst: f64) -> Self {
        Pacer { rate, burst, tokens: burst, filled: now }
    }

    /// From now on `rate` bytes per second; at once as many as the loop's period brings and at least `least`.
    pub fn set(&mut self, now: Time, rate: f64, datagram: f64, least: f64) {
        self.fill(now);
        self.rate = rate;
        self.burst = (rate * BURST_TIME).max(datagram * BURST_DATAGRAMS).max(least);
        self.tokens = self.tokens.min(self.burst);
    }

    /// At most `bytes` may leave at once, until the bucket has filled again.
    pub fn limit(&mut self, now: Time, bytes: f64) {
        self.fill(now);
        self.tokens = self.tokens.min(bytes);
    }

    /// A datagram left.
    pub fn on_sent(&mut self, now: Time, bytes: u64) {
        self.fill(now);
        self.tokens = (self.tokens - bytes as f64).max(-self.burst);
    }

    /// The earliest time for a datagram of `bytes`: `now` or later.
    pub fn send_at(&self, now: Time, bytes: u64) -> Time {
        let missing = (bytes as f64).min(self.burst) - self.tokens_at(now);
        if missing <= 0.0 {
            return now;
        }
        let wait = (missing / self.rate).min(MAX_WAIT.as_secs_f64());
        // Rounded up, or the caller would wake a microsecond early, for nothing.
        now + Duration::from_secs_f64(wait) + Duration::from_micros(1)
    }

    fn tokens_at(&self, now: Time) -> f64 {
        (self.tokens + self.rate * now.since(self.filled).as_secs_f64()).min(self.burst)
    }

    fn fill(&mut self, now: Time) {
        self.tokens = self.tokens_at(now);
        self.filled = self.filled.max(now);
    }
}
