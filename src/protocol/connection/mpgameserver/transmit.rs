//! Datagrams out: when one leaves, what it carries, and under which number.

use super::{Connection, FULL_WINDOW_PATIENCE, GOODBYES, MAX_PACKETS_PER_STAMP};
use crate::protocol::delivery::{Offer, Planned};
use crate::protocol::mutant;
use crate::protocol::seq;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, FragmentHeader, Header, FRAGMENT_HEADER_LEN, MAX_MESSAGES,
};

impl Connection {
    /// When an empty datagram leaves if nothing else does.
    pub(super) fn keep_alive_due(&self) -> Option<Time> {
        // A reader that has a whole window still to take is given time to do so.
        let times = if self.sender.is_window_full() { FULL_WINDOW_PATIENCE } else { 1 };
        (!mutant!(KeepAliveNever)).then(|| self.last_sent + self.settings.limits.keep_alive * times)
    }

    /// When an acknowledgement leaves at the latest, keep-alives aside.
    pub(super) fn ack_due(&self, now: Time) -> Option<Time> {
        if self.acks.due() {
            return Some(now);
        }
        self.acks.waiting().map(|since| since + self.ack_delay)
    }

    pub(super) fn transmit_data(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let may = self.sender.may_send(now);
        let due = may && self.data_due(now) <= now;
        let keep_alive = self.keep_alive_due().is_some_and(|at| at <= now);
        let ack = self.ack_due(now).is_some_and(|at| at <= now);
        if !(due || keep_alive || ack) || self.key.is_none() {
            return false;
        }
        // A datagram that leaves in any case carries what waits: it costs its reader no more.
        let may = self.held_until <= now && (may || self.sender.may_ride(now));
        let Some(header) = self.next_header(now) else { return false };
        let mut plan = std::mem::take(&mut self.plan);
        let payload = self.settings.limits.sizes.payload;
        let (mut count, mut bytes) = (0, 0);
        let fits = |offer: &Offer| {
            let len = offer.len + if offer.part.is_some() { FRAGMENT_HEADER_LEN } else { 0 };
            let fits = count < MAX_MESSAGES && wire::payload_len(count + 1, bytes + len) <= payload;
            count += usize::from(fits);
            bytes += if fits { len } else { 0 };
            fits
        };
        self.sender.assemble(now, self.packets_sent, may, fits, &mut plan);
        let heads: Vec<[u8; FRAGMENT_HEADER_LEN]> = plan.iter().map(fragment_head).collect();
        let messages = plan.iter().zip(&heads).map(|(p, head)| wire::Outgoing {
            kind: if p.fragment.is_some() { kind::APP_FRAGMENT } else { p.kind },
            msgseq: seq::to_wire(p.number),
            head: if p.fragment.is_some() { head } else { &[] },
            data: p.data(),
        });
        let before = out.len();
        let sealed = self.seal(header, messages, out);
        self.sender.on_sent(now, self.packets_sent, out.len() - before);
        self.plan = plan;
        self.plan.clear();
        // What is sent once has left the queue: there can be room again.
        self.drain_outcomes();
        sealed
    }

    pub(super) fn transmit_goodbye(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let scheduled =
            GOODBYES.get(self.goodbye.said).is_some_and(|after| self.goodbye.ended + *after <= now);
        if (!scheduled && !self.goodbye.answer_due) || mutant!(GoodbyeSilent) {
            return false;
        }
        let Some(header) = self.next_header(now) else { return false };
        if self.goodbye.packet == 0 {
            self.goodbye.packet = self.packets_sent;
        }
        self.goodbye.said += usize::from(scheduled);
        self.goodbye.answer_due = false;
        let goodbye = wire::Outgoing {
            kind: kind::DISCONNECT,
            msgseq: seq::to_wire(self.goodbye.number),
            head: &[],
            data: &[],
        };
        self.seal(header, std::iter::once(goodbye), out)
    }

    /// When a datagram can leave as far as numbers go: the past, or when the header's clock has its next second.
    pub(super) fn numbers_free(&self, now: Time) -> Time {
        if self.stamp_packets >= MAX_PACKETS_PER_STAMP && self.stamp >= now.unix_seconds() {
            Time::from_micros((u64::from(self.stamp) + 1) * 1_000_000)
        } else {
            Time::default()
        }
    }

    /// A header with a number that was never used under its time stamp. `None`: the second is used up.
    fn next_header(&mut self, now: Time) -> Option<Header> {
        let stamp = self.stamp.max(now.unix_seconds());
        if stamp != self.stamp {
            self.stamp = stamp;
            self.stamp_packets = 0;
        }
        if self.stamp_packets >= MAX_PACKETS_PER_STAMP {
            return None;
        }
        self.stamp_packets += 1;
        if !(mutant!(PacketNumberRepeats) && self.packets_sent % 64 == 63) {
            self.packets_sent += 1;
        }
        Some(Header {
            time: stamp,
            seq: seq::to_wire(self.packets_sent),
            ack: seq::to_wire(self.acks.newest()),
            kind: kind::KEEP_ALIVE,
            count: 0,
            ack_bits: self.acks.bits32(),
        })
    }

    fn seal<'a>(
        &mut self,
        header: Header,
        messages: impl ExactSizeIterator<Item = wire::Outgoing<'a>> + Clone,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        let Some(key) = &self.key else { return false };
        // Sealing fails only for lengths that no datagram has.
        if wire::write_sealed(header, self.outward, messages, key, out).is_err() {
            out.truncate(start);
            return false;
        }
        self.acks.sent();
        true
    }
}

fn fragment_head(planned: &Planned) -> [u8; FRAGMENT_HEADER_LEN] {
    planned.fragment.map_or([0; FRAGMENT_HEADER_LEN], |part| {
        FragmentHeader { id: part.id, index: part.index + 1, count: part.count }.to_bytes()
    })
}
