//! The server's clock and tick, as a client knows them.

use std::time::Duration;

use crate::protocol::handshake::native::Welcome;
use crate::protocol::time::Time;

/// A new estimate moves the old one by this part of their difference, unless they are further apart than [`JUMP_US`].
const WEIGHT: i64 = 8;
/// Further apart than this the new one is believed.
const JUMP_US: i64 = 250_000;

/// A clock as another end tells it, which may be anything.
fn positive(clock_us: u64) -> i64 {
    (clock_us & (i64::MAX as u64)) as i64
}

/// An estimate of the server's clock and tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    /// Server's microseconds since its start, less ours; `None` before the server was heard.
    offset_us: Option<i64>,
    interval_us: u32,
    /// The newest tick that was told, and the server's clock at it.
    tick: (u64, i64),
}

impl ServerClock {
    /// The server's answer to the hello came.
    pub(super) fn start(&mut self, now: Time, welcome: &Welcome) {
        self.interval_us = welcome.tick_interval_us;
        let clock = positive(welcome.clock_us);
        self.offset_us = Some(clock.saturating_sub(now.as_micros() as i64));
        self.tick = (welcome.tick, clock);
    }

    /// The server told its clock, `latency` ago.
    pub(super) fn update(&mut self, now: Time, latency: Duration, tick: u64, since_us: u64, clock_us: u64) {
        let clock = positive(clock_us);
        let new = clock.saturating_add(latency.as_micros() as i64).saturating_sub(now.as_micros() as i64);
        self.offset_us = Some(match self.offset_us {
            Some(old) if new.abs_diff(old) < JUMP_US as u64 => old + (new - old) / WEIGHT,
            _ => new,
        });
        if tick >= self.tick.0 {
            self.tick = (tick, clock.saturating_sub_unsigned(since_us));
        }
    }

    /// The server's clock now: time since it started. `None` before the server was heard.
    pub fn now(&self, now: Time) -> Option<Duration> {
        let us = self.offset_us?.saturating_add(now.as_micros() as i64);
        Some(Duration::from_micros(us.max(0) as u64))
    }

    /// The server's tick now, with the part of the next one that has passed. `None` before the server was heard, or where it
    /// has no ticks.
    pub fn tick(&self, now: Time) -> Option<f64> {
        let clock = self.now(now)?.as_micros() as i64;
        let since = clock.saturating_sub(self.tick.1).max(0) as f64;
        (self.interval_us > 0).then(|| self.tick.0 as f64 + since / f64::from(self.interval_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_breaks_nothing() {
        for clock_us in [0, 1 << 63, u64::MAX, i64::MAX as u64] {
            for tick in [0, u64::MAX] {
                let mut clock = ServerClock::default();
                let now = Time::default() + Duration::from_secs(3);
                clock.start(now, &Welcome { clock_us, tick, tick_interval_us: 1, ..Welcome::default() });
                clock.update(now, Duration::from_secs(1), tick, clock_us, clock_us);
                assert!(clock.now(now).is_some() && clock.tick(now).is_some_and(f64::is_finite));
            }
        }
    }
}
