//! What comes back: acknowledgements, and the lack of them.

use std::ops::RangeInclusive;

use super::{Mode, PacketState, PieceRef, Sender, SentPacket, MAX_BACKOFF, PACKET_THRESHOLD};
use crate::protocol::mutant;
use crate::protocol::time::Time;

impl Sender {
    /// An acknowledgement arrived: it speaks of packets in `reach`, and `acked(n)` is whether it covers `n`.
    pub fn on_ack(&mut self, now: Time, reach: RangeInclusive<u64>, acked: impl Fn(u64) -> bool) {
        let (mut count, mut samples) = (0, None);
        for i in self.sent.partition_point(|p| p.number < *reach.start())..self.sent.len() {
            let packet = &mut self.sent[i];
            if packet.number > *reach.end() {
                break;
            }
            if packet.state == PacketState::Acked || !acked(packet.number) {
                continue;
            }
            if packet.state == PacketState::UnderWay {
                self.under_way -= 1;
            }
            packet.state = PacketState::Acked;
            count += 1;
            let sample = now.since(packet.at);
            samples = Some((sample, samples.map_or(sample, |(_, longest)| longest)));
            self.largest_acked = self.largest_acked.max(packet.number);
            for piece in std::mem::take(&mut packet.pieces) {
                match piece {
                    PieceRef::Numbered(number) => self.resolve(number),
                    PieceRef::Once(id) => self.piece_done(id),
                }
            }
        }
        self.stats.acked += u64::from(count);
        if let Some((sample, longest)) = samples {
            self.backoff = 0;
            self.rtt.sample(now, sample, longest);
            let least = self.rtt.min().unwrap_or_default();
            let smoothed = self.rtt.smoothed().unwrap_or(sample);
            self.window.on_ack(now, count, sample.saturating_sub(least), smoothed, self.window_limited);
        }
        self.window_limited &= count == 0;
        while self.sent.front().is_some_and(|p| p.state == PacketState::Acked) {
            self.sent.pop_front();
        }
        self.detect_losses(now, |p, largest| p.number + PACKET_THRESHOLD <= largest);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let rto = self.rto();
        if !mutant!(TimerNeverFires) && self.detect_losses(now, |p, _| p.at + rto <= now) {
            self.window.on_timeout(now, rto, self.backoff > 0);
            self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
        }
        while self.sent.front().is_some_and(|p| p.at + self.limits.message_timeout <= now) {
            self.give_up_front();
        }
    }

    /// Takes packets for lost; whether there were any.
    fn detect_losses(&mut self, _now: Time, lost: impl Fn(&SentPacket, u64) -> bool) -> bool {
        let largest = self.largest_acked;
        let mut any = false;
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
            self.under_way -= 1;
            let number = packet.number;
            for j in 0..self.sent[i].pieces.len() {
                if let PieceRef::Numbered(n) = self.sent[i].pieces[j] {
                    self.resend_if_last(n, number);
                }
            }
        }
        any
    }

    /// Where to look for packets under way: those before it are not.
    pub(super) fn first_under_way(&self) -> usize {
        self.sent.partition_point(|p| p.number < self.settled)
    }

    pub(super) fn oldest_under_way(&self) -> Option<&SentPacket> {
        self.sent.range(self.first_under_way()..).find(|p| p.state == PacketState::UnderWay)
    }

    /// The number that follows all sent ones.
    fn packets_end(&self) -> u64 {
        self.sent.back().map_or(self.settled, |p| p.number + 1)
    }

    /// A piece is sent again only if no later copy of it is under way.
    fn resend_if_last(&mut self, number: u64, packet: u64) {
        let Some(piece) = self.piece(number).filter(|p| p.last_packet == packet) else { return };
        let forgotten = mutant!(LastFragmentForgotten)
            && self.messages.get(&piece.message).is_some_and(|m| m.pieces > 1 && piece.index + 1 == m.pieces);
        if !forgotten {
            self.resend.insert(number);
        }
    }

    /// The oldest packet goes; what it carried expires, or waits for its next copy.
    pub(super) fn give_up_front(&mut self) {
        let Some(packet) = self.sent.pop_front() else { return };
        if packet.state == PacketState::UnderWay {
            self.under_way -= 1;
        }
        if packet.state == PacketState::Acked {
            return;
        }
        self.stats.timeouts += 1;
        for piece in packet.pieces {
            match piece {
                PieceRef::Once(id) => self.expire(id),
                PieceRef::Numbered(number) => {
                    let Some(p) = self.piece(number) else { continue };
                    let (id, first) = (p.message, p.first_packet);
                    let best_effort = self.messages.get(&id).is_some_and(|m| m.mode == Mode::BestEffort);
                    // A best-effort message's time runs from the first copy of each piece.
                    if best_effort && first == packet.number {
                        self.expire(id);
                    } else {
                        self.resend_if_last(number, packet.number);
                    }
                }
            }
        }
    }
}
