//! The protocol's clock: a number that its caller hands in.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment in microseconds. Its epoch is the Unix epoch as the machine's clock had it when the server
/// (or client) was made; from there it runs with the monotonic clock, so it never goes back and its
/// seconds can be stamped into datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment that is `us` microseconds after the epoch.
    pub const fn from_micros(us: u64) -> Self {
        Time(us)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as the wire carries them.
    pub const fn unix_seconds(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }

    /// How long after `earlier`; zero when it is not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Without the 128 bits of [`Duration::as_micros`].
fn micros(d: Duration) -> u64 {
    d.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(d.subsec_micros()))
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(micros(d)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(micros(d)))
    }
}
