//! What comes back: acknowledgements, and the lack of them.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::recovery::{Recovery, LONG_TIMEOUTS};
use super::{
    Mode, PacketState, PieceRef, Sender, SentPacket, MAX_BACKOFF, MAX_SENT_PACKETS, PACKET_THRESHOLD,
};
use crate::protocol::congestion::Acked;
use crate::protocol::mutant;
use crate::protocol::time::Time;

/// Longest time between two probes.
const MAX_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Packets that a probe timeout lets go whatever the window says.
const PROBES: u8 = 2;
/// Packets under way that a probe timeout looks at for something to send again.
const PROBE_SCAN: usize = 64;
/// A packet is forgotten no sooner than so many probe timeouts after it left.
const KEPT_TIMEOUTS: u32 = 3;
/// From so many packets on those that are lost are no longer remembered in case that they arrive after all.
const CROWDED: usize = MAX_SENT_PACKETS / 2;

impl Sender {
    /// An acknowledgement arrived: it speaks of packets in `reach`, and `acked(n)` is whether it covers `n`. `delay` is how long
    /// its sender says that it held it back.
    pub fn on_ack(
        &mut self,
        now: Time,
        delay: Duration,
        reach: RangeInclusive<u64>,
        acked: impl Fn(u64) -> bool,
    ) {
        let (mut count, mut bytes, mut newest, mut longest) = (0, 0, None, None);
        let overtaken_by = self.largest_acked.max(*reach.end());
        let before = self.sent.front().is_some_and(|p| p.number < *reach.start());
        let start = if before { self.sent.partition_point(|p| p.number < *reach.start()) } else { 0 };
        for i in start..self.sent.len() {
            let packet = &mut self.sent[i];
            if packet.number > *reach.end() {
                break;
            }
            if packet.state == PacketState::Acked || !acked(packet.number) {
                continue;
            }
            if packet.state == PacketState::UnderWay {
                self.under_way -= 1;
                self.under_way_bytes -= u64::from(packet.bytes);
                self.resent_under_way -= u32::from(packet.resent);
                self.lossiness.on_arrival();
            } else {
                let (newer, took) = (overtaken_by - packet.number, now.since(packet.at));
                self.lossiness.on_mistake();
                self.reordering.on_overtaken(now, newer, took, &self.rtt);
            }
            packet.state = PacketState::Acked;
            if packet.bytes as usize > self.sizes.least_datagram {
                self.long_packets.on_arrival(packet.number);
            }
            count += 1;
            bytes += u64::from(packet.bytes);
            newest = Some((packet.number, packet.at, packet.rate));
            longest = longest.or(Some(packet.at));
            self.largest_acked = self.largest_acked.max(packet.number);
            let (first, pieces) = (packet.pieces_at, std::mem::take(&mut packet.pieces));
            for at in first..first + u64::from(pieces) {
                match self.carried(at) {
                    Some(PieceRef::Numbered(number)) => self.resolve(number),
                    Some(PieceRef::Once(id)) => self.piece_done(id),
                    None => {}
                }
            }
        }
        self.stats.acked += u64::from(count);
        if let (Some((number, at, rate)), Some(oldest)) = (newest, longest) {
            self.backoff = 0;
            self.probes = 0;
            let sample = self.sample(now, delay, number == *reach.end(), at, oldest);
            if let Recovery::Steady(window) = &mut self.recovery {
                let least = self.rtt.min().unwrap_or_default();
                let sample = now.since(at);
                let smoothed = self.rtt.smoothed().unwrap_or(sample);
                window.on_ack(now, count, sample.saturating_sub(least), smoothed, self.window_limited);
            }
            let in_flight = self.under_way_bytes;
            self.recovery.on_ack(now, Acked { bytes, rtt: sample, newest: rate, sent: at, in_flight });
        }
        self.window_limited &= count == 0;
        self.forget_settled(now);
        self.find_losses(now);
    }

    /// What is acknowledged is forgotten, and what is lost if there is too much of it: a fast path would have to wait.
    fn forget_settled(&mut self, now: Time) {
        while let Some(front) = self.sent.front() {
            match front.state {
                PacketState::Acked => {
                    self.sent.pop_front();
                }
                PacketState::Lost if self.recovery.is_adaptive() && self.sent.len() > CROWDED => {
                    self.give_up_front(now);
                }
                _ => break,
            }
        }
        self.trim_carried();
    }

    /// Takes a round trip from an acknowledgement's newest and oldest packet; returns the newest's, without delay.
    fn sample(
        &mut self,
        now: Time,
        delay: Duration,
        is_newest: bool,
        at: Time,
        oldest: Time,
    ) -> Option<Duration> {
        if !self.recovery.is_adaptive() {
            self.rtt.sample(now, now.since(at), now.since(oldest));
            return None;
        }
        // The delay is that of the newest packet that the acknowledgement covers; without it there is no sample.
        if !is_newest {
            return None;
        }
        let whole = now.since(at);
        let rtt = whole.saturating_sub(delay);
        // A delay that would leave less than the least round trip is not believed (RFC 9002, 5.3).
        let rtt = if rtt < self.rtt.min().unwrap_or_default() { whole } else { rtt };
        self.rtt.sample(now, rtt, rtt);
        Some(rtt)
    }

    fn find_losses(&mut self, now: Time) {
        if self.recovery.is_adaptive() {
            self.reordering.on_time(now);
            let (packets, delay) = (self.reordering.packets(), self.reordering.loss_delay(&self.rtt));
            self.detect_losses(now, |p, largest| {
                p.number < largest && (p.number + packets <= largest || p.at + delay <= now)
            });
        } else {
            self.detect_losses(now, |p, largest| p.number + PACKET_THRESHOLD <= largest);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.loss_timeout().is_some_and(|at| at <= now) && !mutant!(TimerNeverFires) {
            if self.recovery.is_adaptive() {
                self.find_losses(now);
                if self.probe_timeout().is_some_and(|at| at <= now) {
                    self.probe(now);
                }
            } else {
                self.handle_steady_timeout(now);
            }
        }
        let kept = self.kept_for();
        while self.sent.front().is_some_and(|p| p.at + kept <= now) {
            self.give_up_front(now);
        }
        self.expire_fleeting(now);
        while let Some(id) = self.deadlines.pop(now) {
            self.expire(id);
            self.deadlines.trim(&self.messages);
        }
    }

    fn handle_steady_timeout(&mut self, now: Time) {
        let rto = self.rto();
        if self.detect_losses(now, |p, _| p.at + rto <= now) {
            if let Recovery::Steady(window) = &mut self.recovery {
                window.on_timeout(now, rto, self.backoff > 0);
            }
            self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
        }
    }

    /// When losses are looked for without an acknowledgement.
    pub(super) fn loss_timeout(&self) -> Option<Time> {
        if !self.recovery.is_adaptive() {
            let rto = self.rto();
            return self.oldest_under_way().map(|p| p.at + rto);
        }
        let overtaken = self.oldest_under_way().filter(|p| p.number < self.largest_acked);
        let lost = overtaken.map(|p| p.at + self.reordering.loss_delay(&self.rtt));
        [lost, self.probe_timeout()].into_iter().flatten().min()
    }

    fn rto(&self) -> Duration {
        // Doubled for each time that it passed without any acknowledgement: a reader that stands still is not
        // buried under copies.
        let most = self.limits.message_timeout;
        (self.rtt.timeout(most) * (1 << self.backoff)).min(most)
    }

    /// How long a packet is remembered.
    pub(super) fn kept_for(&self) -> Duration {
        let least = self.limits.message_timeout;
        if self.recovery.is_adaptive() {
            least.max(self.rtt.probe_timeout() * KEPT_TIMEOUTS)
        } else {
            least
        }
    }

    /// When the other side is asked whether it got what is sent again if lost.
    fn probe_timeout(&self) -> Option<Time> {
        if self.resent_under_way == 0 || self.probes > 0 || mutant!(ProbeNever) {
            return None;
        }
        let oldest = self.sent.range(self.first_under_way()..).find(|p| p.is_resent_under_way())?;
        let timeout = (self.rtt.probe_timeout() * (1 << self.backoff.min(8)))
            .min(MAX_PROBE_TIMEOUT.max(self.rtt.probe_timeout()));
        Some(oldest.at.max(self.probed) + timeout)
    }

    /// No acknowledgement came: the oldest messages are sent again, which brings one if anything arrives.
    fn probe(&mut self, now: Time) {
        self.probed = now;
        let (mut packets, mut waits) = (0, false);
        let under_way = self.first_under_way()..self.sent.len();
        let first = under_way.into_iter().find(|i| self.sent[*i].is_resent_under_way());
        let start = first.unwrap_or(self.sent.len());
        for i in start..self.sent.len().min(start + PROBE_SCAN) {
            if packets == usize::from(PROBES) {
                break;
            }
            if !self.sent[i].is_resent_under_way() {
                continue;
            }
            if self.is_resolved(i) {
                // Another copy of all that is in it was acknowledged: nobody waits for this one.
                self.keep_once(i);
                self.resent_under_way -= 1;
                continue;
            }
            waits = true;
            let before = self.resend_len();
            self.resend_pieces(i);
            packets += usize::from(self.resend_len() > before);
        }
        if !waits {
            return;
        }
        self.backoff += 1;
        if self.backoff >= LONG_TIMEOUTS {
            let least = self.sizes.least_datagram;
            let long = |p: &&SentPacket| p.state == PacketState::UnderWay && p.bytes as usize > least;
            let newest = self.sent.iter().rev().find(long).map(|p| p.number);
            newest.into_iter().for_each(|number| self.long_packets.on_silence(number));
        }
        self.probes = PROBES;
        if self.resend_len() == 0 {
            // Their newest copies are under way: the timer runs on.
            self.probes = 0;
        }
    }

    /// Whether every piece that packet `i` carries and that would be sent again is known to have arrived.
    fn is_resolved(&self, i: usize) -> bool {
        let places = self.sent.get(i).map_or(0..0, SentPacket::places);
        places.filter_map(|at| self.carried(at)).all(|p| match p {
            PieceRef::Numbered(n) => self.piece(n).is_none(),
            PieceRef::Once(_) => true,
        })
    }

    /// Of packet `i` only what is sent once is still waited for.
    fn keep_once(&mut self, i: usize) {
        let Some(packet) = self.sent.get_mut(i) else { return };
        let first = (packet.pieces_at - self.carried_first) as usize;
        let mut kept = first;
        for at in first..first + usize::from(packet.pieces) {
            if matches!(self.carried.get(at), Some(PieceRef::Once(_))) {
                self.carried.swap(kept, at);
                kept += 1;
            }
        }
        packet.pieces = (kept - first) as u16;
        packet.resent = false;
    }

    fn resend_pieces(&mut self, i: usize) {
        let number = self.sent[i].number;
        for at in self.sent[i].places() {
            if let Some(PieceRef::Numbered(n)) = self.carried(at) {
                self.resend_if_last(n, number);
            }
        }
    }

    /// Takes packets for lost; whether there were any.
    fn detect_losses(&mut self, now: Time, lost: impl Fn(&SentPacket, u64) -> bool) -> bool {
        let largest = self.largest_acked;
        let (mut any, mut bytes) = (false, 0);
        let start = self.first_under_way();
        self.settled = self.packets_end();
        for i in start..self.sent.len() {
            let packet = &mut self.sent[i];
            if packet.state != PacketState::UnderWay {
                continue;
            }
            self.settled = packet.number;
            // Packets stand in the order of their numbers and times.
            if !lost(packet, largest) {
                break;
            }
            any = true;
            self.settled = packet.number + 1;
            packet.state = PacketState::Lost;
            bytes += u64::from(packet.bytes);
            if packet.bytes as usize > self.sizes.least_datagram {
                self.long_packets.on_loss(packet.number);
            }
            self.under_way -= 1;
            self.under_way_bytes -= u64::from(packet.bytes);
            self.resent_under_way -= u32::from(packet.resent);
            self.stats.lost += 1;
            self.lossiness.on_loss();
            self.resend_pieces(i);
        }
        if any {
            self.recovery.on_loss(now, bytes, self.under_way_bytes, false);
        }
        any
    }

    /// Where to look for packets under way: those before it are not.
    pub(super) fn first_under_way(&self) -> usize {
        // Most often the oldest of them is.
        if self.sent.front().is_none_or(|p| p.number >= self.settled) {
            return 0;
        }
        self.sent.partition_point(|p| p.number < self.settled)
    }

    pub(super) fn oldest_under_way(&self) -> Option<&SentPacket> {
        self.sent.range(self.first_under_way()..).find(|p| p.state == PacketState::UnderWay)
    }

    /// The number that follows all sent ones.
    pub(super) fn packets_end(&self) -> u64 {
        self.sent.back().map_or(self.settled, |p| p.number + 1)
    }

    /// A piece is sent again only if no later copy of it is under way.
    fn resend_if_last(&mut self, number: u64, packet: u64) {
        let Some(piece) = self.piece(number).filter(|p| p.last_packet == packet) else { return };
        let forgotten = mutant!(LastFragmentForgotten)
            && self.messages.get(piece.message).is_some_and(|m| m.pieces > 1 && piece.index + 1 == m.pieces);
        if !forgotten {
            let class = self.resend_class(piece.message);
            if let Some(class) = self.resend.get_mut(class) {
                class.insert(number);
            }
        }
    }

    /// The oldest packet goes; what it carried expires, or waits for its next copy.
    pub(super) fn give_up_front(&mut self, now: Time) {
        let Some(packet) = self.sent.pop_front() else { return };
        if packet.state == PacketState::UnderWay {
            if packet.bytes as usize > self.sizes.least_datagram {
                self.long_packets.on_loss(packet.number);
            }
            self.under_way -= 1;
            self.under_way_bytes -= u64::from(packet.bytes);
            self.resent_under_way -= u32::from(packet.resent);
            // Nothing was heard for longer than it takes to ask and to answer, several times.
            let persistent = self.backoff > 1 && self.under_way == 0;
            self.recovery.on_loss(now, u64::from(packet.bytes), self.under_way_bytes, persistent);
        }
        if packet.state != PacketState::Acked {
            self.stats.timeouts += 1;
            self.give_up_pieces(&packet);
        }
        self.trim_carried();
    }

    fn give_up_pieces(&mut self, packet: &SentPacket) {
        for at in packet.places() {
            let Some(piece) = self.carried(at) else { continue };
            match piece {
                PieceRef::Once(_) if self.recovery.expires_by_age() => {}
                PieceRef::Once(id) => self.expire(id),
                PieceRef::Numbered(number) => {
                    let Some(p) = self.piece(number) else { continue };
                    let (id, first) = (p.message, p.first_packet);
                    let best_effort =
                        self.messages.get(id).is_some_and(|m| m.delivery.mode == Mode::BestEffort);
                    // A best-effort message's time runs from the first copy of each piece.
                    if best_effort && first == packet.number && !self.recovery.expires_by_age() {
                        self.expire(id);
                    } else {
                        self.resend_if_last(number, packet.number);
                    }
                }
            }
        }
    }
}

impl SentPacket {
    fn is_resent_under_way(&self) -> bool {
        self.state == PacketState::UnderWay && self.resent
    }

    /// The places of its pieces among those of all packets.
    fn places(&self) -> Range<u64> {
        self.pieces_at..self.pieces_at + u64::from(self.pieces)
    }
}
