//! The clock that the protocol's [`Time`] is read from.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::protocol::time::Time;

/// A clock that never goes back: it starts at the wall time and from there runs with the monotonic clock.
/// Setting the machine's clock later does not change it. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_time: Time,
}

impl Clock {
    /// Takes the wall time of this moment. A machine whose clock stands before 1970 starts at 1970.
    pub fn new() -> Clock {
        let start = Instant::now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { start, start_time: Time::default() + since_epoch }
    }

    /// This moment.
    pub fn now(&self) -> Time {
        self.start_time + self.start.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_wall_time() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let now = Clock::new().now().as_micros();
        // However slow this machine is, the clock was made after `before` and within the hour.
        assert!(now >= before && now - before < 3_600_000_000, "{before} {now}");
    }

    #[test]
    fn it_advances_and_never_goes_back_even_across_copies() {
        let clock = Clock::new();
        let copy = clock;
        let first = clock.now();
        let mut last = first;
        for i in 0..10_000 {
            let now = if i % 2 == 0 { clock.now() } else { copy.now() };
            assert!(now >= last);
            last = now;
        }
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now().since(first) >= Duration::from_millis(2));
    }
}
