//! At what rate the network delivered what was sent (draft-cheng-iccrg-delivery-rate-estimation).

use std::time::Duration;

use crate::protocol::time::Time;

/// What had been delivered when a packet left: kept in its record until it is acknowledged or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    app_limited: bool,
}

impl Rate {
    /// Bytes that had been delivered when the packet left.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Bytes per second.
    pub rate: f64,
    /// Whether the sender had less to send than it could have: the network may be faster.
    pub app_limited: bool,
}

/// Counts deliveries of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    /// What will have been delivered when the last packet sent in want of data is; 0 when there is none.
    limited_until: u64,
}

impl Deliveries {
    /// Bytes delivered so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether what is under way was sent in want of data.
    pub fn app_limited(&self) -> bool {
        self.limited_until > 0
    }

    /// The sender has nothing more to send while `in_flight` bytes are under way.
    pub fn limit(&mut self, in_flight: u64) {
        self.limited_until = (self.delivered + in_flight).max(1);
    }

    /// A packet leaves; `idle`: nothing else is under way.
    pub fn on_sent(&mut self, now: Time, idle: bool) -> Rate {
        if idle {
            self.first_sent = now;
            self.delivered_at = now;
        }
        Rate {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.app_limited(),
        }
    }

    /// `bytes` were acknowledged, the newest of them sent at `sent` with `newest`. No sample comes from less
    /// than the least round trip `floor`: acknowledgements that arrive at once look faster than any network.
    pub fn on_ack(
        &mut self,
        now: Time,
        bytes: u64,
        newest: Rate,
        sent: Time,
        floor: Duration,
    ) -> Option<Sample> {
        self.delivered += bytes;
        self.delivered_at = now;
        if self.limited_until > 0 && self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        self.first_sent = self.first_sent.max(sent);
        let interval = sent.since(newest.first_sent).max(now.since(newest.delivered_at));
        let delivered = self.delivered.saturating_sub(newest.delivered);
        if interval.is_zero() || interval < floor {
            return None;
        }
        Some(Sample { rate: delivered as f64 / interval.as_secs_f64(), app_limited: newest.app_limited })
    }
}
