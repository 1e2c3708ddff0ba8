//! What goes into the next packet: what is resent first, then what is new by priority, then copies.

use std::ops::Range;

use super::{
    Delivery, Echo, Message, Mode, Numbers, Outcome, Part, Piece, PieceRef, Planned, Sender,
    ECHO_BYTES_PER_PACKET, ECHO_DELAY, MAX_ECHO_BYTES, MAX_SENT_PACKETS, MESSAGE_COST,
};
use super::{PacketState, SentPacket};
use crate::protocol::mutant;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;

/// Every so many packets a long message goes before short ones of its priority, so that neither starves.
const BULK_TURN: u64 = 4;
/// Every so many packets with resent pieces are for the others: for the message in parts that was begun first, and for those
/// pieces whose turn has not come yet. What a receiver without room refuses would otherwise be resent for ever, and
/// keep back what it waits for.
const RESEND_TURN: u64 = 4;
/// In most of these packets short new messages go first all the same; in every so many packets they do not, or they could keep
/// the others back.
const SHORT_TURN: u64 = 4 * RESEND_TURN;
/// Pieces to be resent that may be passed over because they do not fit, before the packet counts as full.
const MAX_MISFITS: usize = 16;
/// Pieces that are looked at to find the oldest that fit.
const MAX_OLDEST: usize = 64;
/// While so many copies wait, or pieces to be resent, none is added of what is sent again: then it is not a lost message here
/// and there, and copies would only take the place of others.
const MAX_RESENT_ECHOES: usize = 8;

/// A piece that would like to ride: the wire says whether it fits, and then counts it.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// How it is delivered.
    pub mode: Mode,
    /// Its channel.
    pub channel: u8,
    /// Where it stands in its message, of a message in several pieces.
    pub part: Option<Part>,
    /// Bytes of its data.
    pub len: usize,
}

/// A packet in the making.
pub(super) struct Packet<'a, F> {
    number: u64,
    pub(super) fits: F,
    pub(super) out: &'a mut Vec<Planned>,
}

impl<F: FnMut(&Offer) -> bool> Packet<'_, F> {
    fn fits(&mut self, planned: &Planned) -> bool {
        (self.fits)(&Offer {
            mode: planned.mode,
            channel: planned.channel,
            part: planned.fragment,
            len: planned.range.len(),
        })
    }
}

impl Sender {
    /// Chooses what goes into packet `number`. `fits` says whether a piece fits beside those that it said yes to.
    /// With `data` false the packet carries none. [`on_sent`](Self::on_sent) must follow.
    pub fn assemble(
        &mut self,
        now: Time,
        number: u64,
        data: bool,
        fits: impl FnMut(&Offer) -> bool,
        out: &mut Vec<Planned>,
    ) {
        out.clear();
        self.packets += 1;
        self.planned.clear();
        if !data {
            return;
        }
        let mut packet = Packet { number, fits, out };
        if self.recovery.is_adaptive() {
            return self.plan_by_class(now, &mut packet);
        }
        self.plan_resends(&mut packet, 0, 0, usize::MAX);
        for priority in 0..self.queues.len() {
            let bulk_first = self.packets % BULK_TURN == 0;
            self.plan_fresh(now, &mut packet, priority, bulk_first);
            self.plan_fresh(now, &mut packet, priority, !bulk_first);
        }
        self.plan_echoes(now, &mut packet);
    }

    /// By priority, short ones first, of equals what is sent again first. So a short message leaves with the next packet whatever
    /// a transfer has waiting; so do copies of short ones.
    fn plan_by_class<F: FnMut(&Offer) -> bool>(&mut self, now: Time, packet: &mut Packet<'_, F>) {
        let long_first = self.passed_over + 1 >= BULK_TURN as u32;
        let mut echoed = false;
        if self.take_turn() {
            if self.turns % SHORT_TURN != 0 {
                (0..self.queues.len()).for_each(|priority| self.plan_fresh(now, packet, priority, false));
            }
            self.plan_turn(now, packet);
        }
        if self.probes > 0 {
            self.plan_oldest(packet);
        }
        for priority in 0..self.queues.len() {
            let again = self.resend_len() > 0;
            if self.waiting == 0 && !again {
                break;
            }
            for long in [long_first, !long_first] {
                if long && !long_first && !echoed && self.long_waits(priority) {
                    self.plan_echoes(now, packet);
                    echoed = true;
                }
                if again {
                    self.plan_resends(packet, 2 * priority + usize::from(long), 0, usize::MAX);
                }
                if self.is_fresh(priority, long) {
                    self.plan_fresh(now, packet, priority, long);
                }
            }
        }
        if !echoed && (!self.echoes.is_empty() || self.echo_due.is_some()) {
            self.plan_echoes(now, packet);
        }
        if !self.echoes.is_empty() {
            self.echo_due.get_or_insert(now + ECHO_DELAY);
        }
        let waits = (0..self.queues.len()).any(|priority| self.long_waits(priority));
        let passed_over = waits && packet.out.iter().all(|p| p.fragment.is_none());
        self.passed_over = if passed_over { self.passed_over + 1 } else { 0 };
    }

    /// Whether messages wait that have not left yet, of a priority, and short or long ones.
    fn is_fresh(&self, priority: usize, long: bool) -> bool {
        let queues = self.queues.made().and_then(|queues| queues.get(priority));
        queues.is_some_and(|queues| !queues[usize::from(long)].is_empty())
            || (!long && self.fleeting.front(priority).is_some())
    }

    /// Whether pieces of long messages wait.
    fn long_waits(&self, priority: usize) -> bool {
        let fresh = self.queues.made().and_then(|queues| queues.get(priority));
        let again = self.resend.made().and_then(|classes| classes.get(2 * priority + 1));
        fresh.is_some_and(|[_, long]| !long.is_empty()) || again.is_some_and(|class| !class.is_empty())
    }

    /// Packet `number` left with what was chosen for it, `bytes` long.
    pub fn on_sent(&mut self, now: Time, number: u64, bytes: usize) {
        self.probes = self.probes.saturating_sub(1);
        let rate = self.recovery.on_sent(now, bytes as u64, self.under_way_bytes);
        self.under_way += 1;
        self.under_way_bytes += bytes as u64;
        let resent = self.planned.iter().any(|p| matches!(p, PieceRef::Numbered(_)));
        self.resent_under_way += u32::from(resent);
        self.window_limited = self.is_window_full();
        self.sent.push_back(SentPacket {
            number,
            at: now,
            state: PacketState::UnderWay,
            bytes: bytes as u32,
            rate,
            pieces_at: self.carried_first + self.carried.len() as u64,
            // A packet has room for some hundreds.
            pieces: self.planned.len() as u16,
            resent,
        });
        self.carried.extend(self.planned.drain(..));
        if self.sent.len() > MAX_SENT_PACKETS {
            // Only keep-alives get here, at a rate that the message timeout keeps far below the bound.
            self.give_up_front(now);
        }
        if !self.window_limited && self.resend_len() == 0 && self.waiting == 0 {
            self.recovery.app_limited(self.under_way_bytes);
        }
    }

    /// Whether this packet is one for those who would otherwise wait for others to be acknowledged.
    fn take_turn(&mut self) -> bool {
        if self.resend_len() == 0 || mutant!(TurnsNever) {
            return false;
        }
        self.turns += 1;
        self.turns % RESEND_TURN == 0
    }

    /// What goes first in such a packet.
    fn plan_turn<F: FnMut(&Offer) -> bool>(&mut self, now: Time, packet: &mut Packet<'_, F>) {
        let begun = |queues: &[_; 2]| {
            let [_, long]: &[std::collections::VecDeque<u64>; 2] = queues;
            let message = self.messages.get(*long.front()?)?;
            (message.sent > 0).then_some(message.begun)
        };
        let all = self.queues.iter().enumerate();
        let first = all.filter_map(|(priority, queues)| Some((begun(queues)?, priority))).min();
        if let Some((_, priority)) = first.filter(|_| self.turns % (2 * RESEND_TURN) == 0) {
            return self.plan_fresh(now, packet, priority, true);
        }
        if let Some((next, class)) = self.resend_from(self.turn_next).or_else(|| self.resend_from(0)) {
            // One alone: whether it fits must not depend on others before it.
            self.turn_next = self.plan_resends(packet, class, next, 1);
        }
    }

    /// The piece that is to be sent again with the least number from `next` on, and its class.
    fn resend_from(&self, next: u64) -> Option<(u64, usize)> {
        let classes = self.resend.iter().enumerate();
        classes.filter_map(|(class, all)| Some((all.next(next)?, class))).min()
    }

    /// While nothing is acknowledged what was sent first is sent again first, whatever its priority: it is what a receiver without
    /// room takes.
    fn plan_oldest<F: FnMut(&Offer) -> bool>(&mut self, packet: &mut Packet<'_, F>) {
        let mut next = 0;
        for _ in 0..MAX_OLDEST {
            let Some((number, class)) = self.resend_from(next) else { return };
            self.plan_resends(packet, class, number, 1);
            next = number + 1;
        }
    }

    /// Pieces of a class that are to be resent, from number `next` on, at most `most`; returns the number after the last of them.
    fn plan_resends<F: FnMut(&Offer) -> bool>(
        &mut self,
        packet: &mut Packet<'_, F>,
        class: usize,
        mut next: u64,
        most: usize,
    ) -> u64 {
        if self.resend.get(class).is_none_or(Numbers::is_empty) {
            return next;
        }
        let (mut misfits, mut count, mut end) = (0, 0, next);
        while misfits < MAX_MISFITS && count < most {
            let waiting = self.resend.get(class).and_then(|class| class.next(next));
            let Some(number) = waiting else { break };
            next = number + 1;
            let Some(planned) = self.planned(number) else {
                self.cancel_resend(number);
                continue;
            };
            if !packet.fits(&planned) {
                misfits += 1;
                continue;
            }
            self.cancel_resend(number);
            self.echo_resent(packet.number, &planned);
            if let Some(piece) = self.piece_mut(number) {
                piece.last_packet = packet.number;
            }
            (count, end) = (count + 1, next);
            self.stats.resent += 1;
            self.planned.push(PieceRef::Numbered(number));
            packet.out.push(if mutant!(ResendRenumbers) {
                Planned { number: self.take_number(), ..planned }
            } else {
                planned
            });
        }
        end
    }

    fn plan_fresh<F: FnMut(&Offer) -> bool>(
        &mut self,
        now: Time,
        packet: &mut Packet<'_, F>,
        priority: usize,
        long: bool,
    ) {
        while self.waiting > 0 && self.number_window_open() {
            let queues = self.queues.made().and_then(|queues| queues.get(priority));
            let first = queues.and_then(|queues| queues[usize::from(long)].front().copied());
            if !long && !self.plan_fleeting(packet, priority, first.unwrap_or(u64::MAX)) {
                return;
            }
            let Some(id) = first else { return };
            let queue = &mut self.queues[priority][usize::from(long)];
            let Some(message) = self.messages.get_mut(id) else {
                // It expired while parts of it waited.
                queue.pop_front();
                self.waiting -= 1;
                continue;
            };
            let numbered = message.delivery.mode.is_resent() || self.sizes.numbers_all;
            let index = message.sent;
            if message.pieces > 1 && index == 0 && message.fragment_id == 0 {
                message.fragment_id = self.next_fragment_id;
                self.next_fragment_id = self.next_fragment_id.checked_add(1).unwrap_or(1);
                self.begun += 1;
                message.begun = self.begun;
            }
            let planned = plan(message, index, if numbered { self.next_number } else { 0 });
            if !packet.fits(&planned) {
                return;
            }
            message.sent += 1;
            let whole = message.sent == message.pieces;
            if whole {
                queue.pop_front();
                self.waiting -= 1;
            }
            self.unsent_bytes = self.unsent_bytes.saturating_sub(planned.range.len() + MESSAGE_COST);
            self.next_number += u64::from(numbered);
            let (Delivery { mode, channel, .. }, tag) = (message.delivery, message.tag);
            if whole && mode.is_ordered() {
                self.release(mode.lane(channel));
            }
            if mode.is_resent() {
                self.remember(now, id, index, packet.number, &planned);
            } else {
                if tag != 0 {
                    self.planned.push(PieceRef::Once(id));
                }
                self.sent_once(id, whole);
                if numbered {
                    self.skip_number();
                }
            }
            packet.out.push(planned);
        }
    }

    /// A piece that may have to be sent again left for the first time.
    fn remember(&mut self, now: Time, id: u64, index: u16, packet: u64, planned: &Planned) {
        let number = planned.number;
        self.planned.push(PieceRef::Numbered(number));
        self.pieces.push_back(Some(Piece { message: id, index, first_packet: packet, last_packet: packet }));
        let copies = self.messages.get(id).map_or(0, |m| m.delivery.redundancy).max(self.redundancy);
        if copies > 0 && planned.fragment.is_none() && planned.range.len() <= MAX_ECHO_BYTES {
            self.echoes.push_back(Echo { number, left: copies, packet });
            self.echo_due.get_or_insert(now + ECHO_DELAY);
        }
    }

    /// What is short and lost, or asks whether anything arrives, goes twice: on a path of many losses once would often not do,
    /// and finding that out takes a round trip more.
    fn echo_resent(&mut self, packet: u64, planned: &Planned) {
        let pays = self.recovery.is_adaptive() && (self.lossiness.is_high() || self.probes > 0);
        let short = planned.fragment.is_none() && planned.range.len() <= MAX_ECHO_BYTES;
        let number = planned.number;
        let many = self.echoes.len().max(self.resend_len()) >= MAX_RESENT_ECHOES;
        if pays && short && !many && self.echoes.iter().all(|echo| echo.number != number) {
            self.echoes.push_back(Echo { number, left: 1, packet });
        }
    }

    /// Copies of what is still unacknowledged, oldest first, within their own budget.
    fn plan_echoes<F: FnMut(&Offer) -> bool>(&mut self, now: Time, packet: &mut Packet<'_, F>) {
        let mut bytes = 0;
        for _ in 0..self.echoes.len() {
            let Some(mut echo) = self.echoes.pop_front() else { break };
            if echo.packet == packet.number && !mutant!(EchoTwice) {
                self.echoes.push_back(echo);
                continue;
            }
            let Some(planned) = self.planned(echo.number) else { continue };
            let twice = packet.out.iter().any(|p| p.number == echo.number) && !mutant!(EchoTwice);
            bytes += planned.range.len();
            if twice || bytes > ECHO_BYTES_PER_PACKET || !packet.fits(&planned) {
                // It keeps its turn.
                self.echoes.push_back(echo);
                continue;
            }
            if let Some(piece) = self.piece_mut(echo.number) {
                piece.last_packet = packet.number;
            }
            // With this copy on its way it need not be sent again for an older one.
            self.cancel_resend(echo.number);
            self.stats.echoed += 1;
            self.planned.push(PieceRef::Numbered(echo.number));
            packet.out.push(planned);
            echo.left -= 1;
            echo.packet = packet.number;
            if echo.left > 0 {
                self.echoes.push_back(echo);
            }
        }
        self.echo_due = (!self.echoes.is_empty()).then(|| now + ECHO_DELAY);
    }

    /// A piece that is never resent holds no place in the window.
    fn skip_number(&mut self) {
        if self.pieces.is_empty() {
            self.first_piece = self.next_number;
        } else {
            self.pieces.push_back(None);
        }
    }

    /// A message that is sent once costs nothing more once it is out, but for its outcome.
    fn sent_once(&mut self, id: u64, whole: bool) {
        if !whole {
            return;
        }
        let Some(message) = self.messages.get_mut(id) else { return };
        self.queued_bytes -= message.counted;
        message.counted = 0;
        message.payload = Payload::default();
        if message.tag == 0 {
            self.finish(id, Outcome::Delivered);
        }
    }

    fn planned(&self, number: u64) -> Option<Planned> {
        let piece = self.piece(number)?;
        let message = self.messages.get(piece.message)?;
        Some(plan(message, piece.index, number))
    }
}

fn plan(message: &Message, index: u16, number: u64) -> Planned {
    let fragment =
        (message.pieces > 1).then_some(Part { id: message.fragment_id, index, count: message.pieces });
    Planned {
        kind: message.kind,
        mode: message.delivery.mode,
        channel: message.delivery.channel,
        sequence: message.sequence,
        number,
        fragment,
        payload: message.payload.clone(),
        range: piece_range(message, index),
    }
}

/// Which bytes of its message a piece carries.
pub(super) fn piece_range(message: &Message, index: u16) -> Range<usize> {
    let len = message.payload.len();
    if message.pieces == 1 {
        return 0..len;
    }
    message.cut.range(usize::from(index), len)
}
