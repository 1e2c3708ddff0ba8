//! How losses are found and how much may be under way: in this, and in sizes, the two wires differ.

use std::time::Duration;

use super::PACKET_THRESHOLD;
pub use crate::protocol::congestion::Rate;
use crate::protocol::congestion::{Acked, Controller, DelayWindow, MAX_AGE, MAX_WINDOW};
use crate::protocol::rtt::Rtt;
use crate::protocol::time::Time;

/// By so many eighths of a round trip a packet may be late before it is lost if a newer one was acknowledged (RFC 9002, 6.1.2).
const LATE_EIGHTHS: u32 = 1;
/// The same on a path that reorders, at most.
const MAX_LATE_EIGHTHS: u32 = 4;
/// By so many packets a packet is overtaken, at most, before it is lost, on a path that reorders.
const MAX_OVERTAKEN: u64 = 128;
/// A packet that took so many round trips says nothing about how the path reorders: waiting for its like would be too dear.
const STRAY_ROUND_TRIPS: u32 = 2;
/// How long a path counts as one that reorders after it last did.
const REORDERING_KEPT: Duration = Duration::from_secs(10);
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
            // The least round trip of late would keep silent who reads on at the end of a path that has become longer.
            Recovery::Steady(_) => Some(MAX_AGE + rtt.recent_min().unwrap_or_default()),
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

/// How far packets may be overtaken before they count as lost: more on a path that was seen to reorder them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reordering {
    packets: u64,
    eighths: u32,
    seen: Time,
}

impl Default for Reordering {
    fn default() -> Self {
        Reordering { packets: PACKET_THRESHOLD, eighths: LATE_EIGHTHS, seen: Time::default() }
    }
}

impl Reordering {
    /// A packet is lost when one that is this much newer was acknowledged.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// How long after its departure a packet is lost if a newer one was acknowledged.
    pub(super) fn loss_delay(&self, rtt: &Rtt) -> Duration {
        let longest = rtt.smoothed().unwrap_or_default().max(rtt.latest().unwrap_or_default());
        (longest * (8 + self.eighths) / 8).max(LEAST_LOSS_DELAY)
    }

    /// A packet was acknowledged, `took` after it left, that counted as lost: one that is `newer` newer had overtaken it.
    pub(super) fn on_overtaken(&mut self, now: Time, newer: u64, took: Duration, rtt: &Rtt) {
        if took > rtt.smoothed().unwrap_or_default() * STRAY_ROUND_TRIPS {
            return;
        }
        self.seen = now;
        self.packets = self.packets.max((newer + 1).min(MAX_OVERTAKEN));
        if took > self.loss_delay(rtt) {
            self.eighths = (self.eighths + 1).min(MAX_LATE_EIGHTHS);
        }
    }

    /// Forgets what was not seen for long.
    pub(super) fn on_time(&mut self, now: Time) {
        if now.since(self.seen) >= REORDERING_KEPT {
            *self = Reordering { seen: self.seen, ..Reordering::default() };
        }
    }
}

/// So many long packets lost in a row, while shorter ones that left later arrive, and the path carries them no more: less, and
/// chance would often do it; more, and what is sent only once is lost for longer.
const LONG_LOSSES: u32 = 4;
/// The same after so many probe timeouts in a row with long packets under way and no acknowledgement of any.
pub(super) const LONG_TIMEOUTS: u32 = 2;

/// Whether packets longer than every path carries still arrive (the black hole of RFC 8899, 4.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LongPackets {
    /// The newest that arrived; older ones that did not say nothing.
    arrived: u64,
    lost: u32,
}

impl LongPackets {
    /// From packet `number` on.
    pub(super) fn after(number: u64) -> LongPackets {
        LongPackets { arrived: number, lost: 0 }
    }

    pub(super) fn on_arrival(&mut self, number: u64) {
        if number > self.arrived {
            *self = LongPackets::after(number);
        }
    }

    pub(super) fn on_loss(&mut self, number: u64) {
        self.lost += u32::from(number > self.arrived);
    }

    /// Nothing is acknowledged any more, and this one is under way.
    pub(super) fn on_silence(&mut self, number: u64) {
        if number > self.arrived {
            self.lost = self.lost.max(LONG_LOSSES);
        }
    }

    pub(super) fn have_vanished(&self) -> bool {
        self.lost >= LONG_LOSSES
    }
}

/// What part of the packets is lost, of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lossiness(f64);

/// Packets over which it is smoothed.
const LOSSINESS_PACKETS: f64 = 128.0;
/// From so much on it pays to send a short message twice when it is sent again.
const LOSSY: f64 = 0.08;

impl Lossiness {
    pub(super) fn on_arrival(&mut self) {
        self.0 -= self.0 / LOSSINESS_PACKETS;
    }

    pub(super) fn on_loss(&mut self) {
        self.0 += (1.0 - self.0) / LOSSINESS_PACKETS;
    }

    /// What counted as lost arrived.
    pub(super) fn on_mistake(&mut self) {
        self.0 = (self.0 - 1.0 / LOSSINESS_PACKETS).max(0.0);
    }

    pub(super) fn is_high(&self) -> bool {
        self.0 >= LOSSY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_reorders_is_given_time_until_it_no_longer_does() {
        let (ms, t) = (Duration::from_millis, Time::from_micros(1_000_000));
        let (mut reordering, mut rtt) = (Reordering::default(), Rtt::default());
        rtt.sample(t, ms(40), ms(40));
        assert_eq!((reordering.packets(), reordering.loss_delay(&rtt)), (PACKET_THRESHOLD, ms(45)));
        reordering.on_overtaken(t, 9, ms(44), &rtt);
        assert_eq!((reordering.packets(), reordering.loss_delay(&rtt)), (10, ms(45)), "it came in time");
        reordering.on_overtaken(t, 500, ms(200), &rtt);
        assert_eq!((reordering.packets(), reordering.loss_delay(&rtt)), (10, ms(45)), "a stray");
        for _ in 0..20 {
            reordering.on_overtaken(t, 500, ms(79), &rtt);
        }
        assert_eq!((reordering.packets(), reordering.loss_delay(&rtt)), (MAX_OVERTAKEN, ms(60)), "bounds");
        reordering.on_time(t + REORDERING_KEPT - ms(1));
        assert_eq!(reordering.packets(), MAX_OVERTAKEN);
        reordering.on_time(t + REORDERING_KEPT);
        assert_eq!((reordering.packets(), reordering.loss_delay(&rtt)), (PACKET_THRESHOLD, ms(45)));
    }

    #[test]
    fn long_packets_vanish_when_several_in_a_row_are_lost_behind_the_newest_that_arrived() {
        let mut long = LongPackets::default();
        for number in 1..100 {
            if number % 4 == 0 {
                long.on_arrival(number);
            } else {
                long.on_loss(number);
            }
            assert!(!long.have_vanished(), "{number}");
        }
        (1..96).for_each(|number| long.on_loss(number));
        assert!(!long.have_vanished(), "older than one that arrived");
        (100..100 + u64::from(LONG_LOSSES)).for_each(|number| long.on_loss(number));
        assert!(long.have_vanished());
        long = LongPackets::after(200);
        long.on_silence(200);
        assert!(!long.have_vanished());
        long.on_silence(201);
        assert!(long.have_vanished());
    }

    #[test]
    fn losses_that_were_none_do_not_count() {
        let mut lossiness = Lossiness::default();
        for i in 0..2000 {
            if i % 5 == 0 {
                lossiness.on_loss();
            } else {
                lossiness.on_arrival();
            }
        }
        assert!(lossiness.is_high());
        for i in 0..2000 {
            if i % 5 == 0 {
                lossiness.on_loss();
                lossiness.on_mistake();
            } else {
                lossiness.on_arrival();
            }
        }
        assert!(!lossiness.is_high());
    }
}
