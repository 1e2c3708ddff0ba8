//! How losses are found and how much may be under way: in this, and in sizes, the two wires differ.

use std::time::Duration;

pub use crate::protocol::congestion::Rate;
use crate::protocol::congestion::{Acked, Controller, DelayWindow, MAX_AGE, MAX_WINDOW};
use crate::protocol::rtt::Rtt;
use crate::protocol::time::Time;

/// Part of a round trip after which a packet is lost if a newer one was acknowledged: 9/8 (RFC 9002, 6.1.2).
const TIME_THRESHOLD: (u32, u32) = (9, 8);
/// Least of that time, for the granularity of timers.
const LEAST_LOSS_DELAY: Duration = Duration::from_millis(1);

/// How losses are found and how much may be under way.
#[derive(Debug)]
pub enum Recovery {
    /// For a reader of one datagram a frame that acknowledges with what it sends anyway: a window of packets by delay, one
    /// timeout for all losses.
    Steady(DelayWindow),
    /// For a reader that acknowledges in time: losses by packets and time, probes (RFC 9002), a window of bytes and a pace by a
    /// model of the path.
    Adaptive(Box<Controller>),
}

impl Recovery {
    /// For mpgameserver's wire.
    pub fn steady() -> Recovery {
        Recovery::Steady(DelayWindow::default())
    }

    /// For the native wire.
    pub fn adaptive(now: Time, datagram: usize) -> Recovery {
        Recovery::Adaptive(Box::new(Controller::new(now, datagram)))
    }

    /// Whether losses are found as RFC 9002 has it.
    pub fn is_adaptive(&self) -> bool {
        matches!(self, Recovery::Adaptive(_))
    }

    /// Whether messages that are not guaranteed are given up at an age, wherever they are.
    pub fn expires_by_age(&self) -> bool {
        self.is_adaptive()
    }

    /// Bytes per second that the path takes, as far as is known.
    pub fn bandwidth(&self) -> Option<u64> {
        match self {
            Recovery::Steady(_) => None,
            Recovery::Adaptive(c) => c.bandwidth(),
        }
    }

    pub(super) fn is_full(&self, packets: u32, bytes: u64) -> bool {
        match self {
            Recovery::Steady(window) => packets >= window.packets(),
            Recovery::Adaptive(c) => bytes >= c.window(),
        }
    }

    /// Whether data may ride with a packet that leaves in any case though the window is full.
    pub(super) fn may_ride(&self, packets: u32) -> bool {
        matches!(self, Recovery::Steady(_)) && packets < MAX_WINDOW
    }

    pub(super) fn send_at(&self, now: Time, bytes: usize) -> Time {
        match self {
            Recovery::Steady(_) => now,
            Recovery::Adaptive(c) => c.send_at(now, bytes as u64),
        }
    }

    /// New data waits while the oldest packet under way is older than this.
    pub(super) fn max_age(&self, rtt: &Rtt) -> Option<Duration> {
        match self {
            Recovery::Steady(_) => Some(MAX_AGE + rtt.min().unwrap_or_default()),
            Recovery::Adaptive(_) => None,
        }
    }

    pub(super) fn on_sent(&mut self, now: Time, bytes: u64, in_flight: u64) -> Rate {
        match self {
            Recovery::Steady(_) => Rate::default(),
            Recovery::Adaptive(c) => c.on_sent(now, bytes, in_flight),
        }
    }

    pub(super) fn app_limited(&mut self, in_flight: u64) {
        if let Recovery::Adaptive(c) = self {
            c.app_limited(in_flight);
        }
    }

    pub(super) fn on_ack(&mut self, now: Time, acked: Acked) {
        if let Recovery::Adaptive(c) = self {
            c.on_ack(now, acked);
        }
    }

    pub(super) fn on_loss(&mut self, now: Time, bytes: u64, in_flight: u64, persistent: bool) {
        if let Recovery::Adaptive(c) = self {
            c.on_loss(now, bytes, in_flight, persistent);
        }
    }

    pub(super) fn on_path_change(&mut self, now: Time) {
        if let Recovery::Adaptive(c) = self {
            c.on_path_change(now);
        }
    }
}

/// How long after its departure a packet is lost if a newer one was acknowledged.
pub(super) fn loss_delay(rtt: &Rtt) -> Duration {
    let longest = rtt.smoothed().unwrap_or_default().max(rtt.latest().unwrap_or_default());
    (longest * TIME_THRESHOLD.0 / TIME_THRESHOLD.1).max(LEAST_LOSS_DELAY)
}
