//! How many packets may be under way to a peer that reads one datagram a frame.
//!
//! mpgameserver's client reads one datagram per `update`, so what limits it is its frame rate, and what
//! shows it is delay: packets wait in its socket. The window grows while acknowledgements come soon and
//! shrinks when they come late; it never exceeds what 32 acknowledgement bits can cover.

use std::time::Duration;

use crate::protocol::time::Time;

/// Packets under way at most: fewer than the 32 that one acknowledgement covers.
pub const MAX_WINDOW: u32 = 30;
/// Packets under way at first.
pub const INITIAL_WINDOW: u32 = 8;
/// Packets that are always allowed.
pub const MIN_WINDOW: u32 = 4;
/// A queue of this length at the reader is long enough; the window shrinks above it.
pub const TARGET_DELAY: Duration = Duration::from_millis(130);
/// New data waits while the oldest unacknowledged packet is older than this and the least round trip.
pub const MAX_AGE: Duration = Duration::from_millis(250);

/// The window.
#[derive(Clone, Debug)]
pub struct DelayWindow {
    packets: f32,
    shrunk: Time,
}

impl Default for DelayWindow {
    fn default() -> Self {
        DelayWindow { packets: INITIAL_WINDOW as f32, shrunk: Time::default() }
    }
}

impl DelayWindow {
    /// Packets that may be under way now.
    pub fn packets(&self) -> u32 {
        self.packets as u32
    }

    /// `count` packets were acknowledged, the newest `delay` later than the least round trip; `limited`
    /// says whether the window was what held the sender back.
    pub fn on_ack(&mut self, now: Time, count: u32, delay: Duration, round_trip: Duration, limited: bool) {
        if delay > TARGET_DELAY {
            self.shrink(now, round_trip, 0.85);
        } else if limited {
            self.packets = (self.packets + count as f32 / self.packets).min(MAX_WINDOW as f32);
        }
    }

    /// A packet was not acknowledged within the retransmission timeout; `stalled`: nor anything else since the
    /// one before. A loss alone says little of a reader's pace, silence much.
    pub fn on_timeout(&mut self, now: Time, round_trip: Duration, stalled: bool) {
        self.shrink(now, round_trip, if stalled { 0.5 } else { 0.85 });
    }

    fn shrink(&mut self, now: Time, round_trip: Duration, factor: f32) {
        // Once per round trip: what is under way cannot react sooner.
        if now.since(self.shrunk) >= round_trip {
            self.packets = (self.packets * factor).max(MIN_WINDOW as f32);
            self.shrunk = now;
        }
    }
}
