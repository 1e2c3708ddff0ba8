//! Peers that came in streams: what their pipes bring, and what is to be written to them.
//!
//! The core knows a stream's peer by its id and its pipe by a number of the loop's. What there is to do for pipes is a
//! list ([`Core::poll_stream`]), on which a peer stands once.

use std::time::Duration;

use super::Core;
use crate::metrics::server::DropReason;
use crate::net::pipe::Arrival;
use crate::protocol::connection::stream::{Connection as Stream, Terms};
use crate::protocol::connection::{Connection, Farewell, Room, State};
use crate::protocol::framing::Content;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;
use crate::server::events::*;
use crate::server::peers::Peers;

/// How long whoever has ended its half of a stream is kept for a host that pulls: it may answer what it finds in its queue.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Messages of one read, or of what waits in a stream, that are handed up at once, and streams of which what waits is handed
/// up in one turn: a read can hold thousands of empty ones, and the tick waits for all that were handed up.
const MESSAGES_AT_ONCE: usize = 32;
const RESUMED_AT_ONCE: usize = 64;
/// What the host is called with before the loop looks at its tick again: no more is read of streams while so much waits.
pub const MESSAGES_PER_BATCH: usize = 128;

/// What a pipe is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamWork {
    /// There may be something to write, or room for what is to be read.
    Serve(PeerId),
    /// The peer of this pipe has ended, with this goodbye.
    End(usize, Farewell),
}

/// What became of bytes or a message from a pipe, and what next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// More may be read.
    Hungry,
    /// No more is to be read before [`StreamWork::Serve`].
    Full,
}

impl Core {
    /// Whether somebody from this address may come in at all; counted and logged where not.
    pub fn may_open_stream(&mut self, now: Time, arrival: &Arrival) -> bool {
        let address = arrival.address;
        if self.block_list.contains(address.ip()) {
            self.drop_datagram(DropReason::Blocked);
            return false;
        }
        if self.closing || self.held_slots() >= self.max_slots() {
            self.drop_datagram(DropReason::Full);
            self.refuse(now, address, "the server is full");
            return false;
        }
        if !self.stream_budgets.take(now, address.ip()) {
            self.drop_datagram(DropReason::HelloBudget);
            self.refuse(now, address, "too many connections");
            return false;
        }
        true
    }

    /// Somebody was turned away at a door that has as many connections as it may, from there or in all.
    pub fn refuse_stream(&mut self, now: Time, arrival: &Arrival, why: &str) {
        self.drop_datagram(DropReason::Full);
        self.refuse(now, arrival.address, why);
    }

    /// A newcomer that has brought nothing to its join makes room for another, without a word: it has said none either.
    /// Whether it was one.
    pub fn forget_newcomer(&mut self, id: PeerId) -> bool {
        let Some(slot) = self.stream_slot(id) else { return false };
        let unknown = self.peers.at(slot).is_some_and(|peer| peer.is_unknown());
        if unknown {
            self.forget_unknown(slot);
        }
        unknown
    }

    /// What waits for the host to be called with it.
    pub fn waiting(&self) -> usize {
        self.dispatches.len()
    }

    /// A connection that a pipe carries becomes a peer that is joining.
    /// `None`: it was refused at once.
    pub fn open_stream(&mut self, now: Time, pipe: usize, arrival: Arrival) -> Option<PeerId> {
        // Between the check and this the host may have blocked it.
        if self.block_list.contains(arrival.address.ip()) {
            self.drop_datagram(DropReason::Blocked);
            return None;
        }
        let terms = Terms {
            door: arrival.door,
            framing: arrival.framing,
            password: arrival.asks_password && self.password.is_some(),
            answer_time: if self.wants.takes.message { Duration::ZERO } else { ANSWER_TIME },
            stall_timeout: arrival.stall_timeout,
        };
        let token = self.free_token();
        let stream = Stream::accepted(now, self.settings.clone(), terms, token);
        let connection = Connection::Stream(Box::new(stream), arrival.address);
        let slot = self.seat(now, arrival.address, connection);
        let peer = self.peers.at(slot).filter(|p| p.connection.token() == token)?;
        let id = peer.id;
        let stream = peer.connection.as_stream_mut()?;
        stream.set_pipe(pipe);
        if !arrival.opens_later {
            stream.handle_opened(arrival.password, arrival.data);
        }
        self.touched(now, slot);
        Some(id)
    }

    /// The public number of a stream's session. Those of datagrams are drawn at random and pass it over.
    fn free_token(&mut self) -> u32 {
        loop {
            self.next_stream_token = self.next_stream_token.wrapping_add(1).max(1);
            // There are fewer peers than numbers.
            if !self.peers.has_token(self.next_stream_token) {
                return self.next_stream_token;
            }
        }
    }

    /// The slot of a stream's peer, whether the host may still ask about it or not.
    fn stream_slot(&mut self, id: PeerId) -> Option<usize> {
        let slot = Peers::place_of(id);
        self.peers.at(slot).filter(|p| p.id == id).map(|_| slot)
    }

    /// What one input of a stream may bring the host.
    fn stream_room(&self) -> Room<'static> {
        let room = self.room();
        Room { messages: room.messages.min(MESSAGES_AT_ONCE), ..room }
    }

    /// Gives the stream of a peer some input.
    fn feed(
        &mut self,
        now: Time,
        id: PeerId,
        bytes: usize,
        input: impl FnOnce(&mut Stream, &mut Room),
    ) -> Appetite {
        let mut room = self.stream_room();
        let Some(slot) = self.stream_slot(id) else { return Appetite::Full };
        let Some(peer) = self.peers.at(slot) else { return Appetite::Full };
        if bytes > 0 {
            self.stats.packets_received += 1;
            self.stats.bytes_received += bytes as u64;
            self.series.received(now, bytes);
            if let Some(series) = &mut peer.series {
                series.received(now, bytes);
            }
        }
        let Some(stream) = peer.connection.as_stream_mut() else { return Appetite::Full };
        input(stream, &mut room);
        self.touched(now, slot);
        self.appetite(id)
    }

    /// Bytes of a read.
    pub fn stream_bytes(&mut self, now: Time, id: PeerId, bytes: &[u8]) -> Appetite {
        self.feed(now, id, bytes.len(), |stream, room| stream.handle_bytes(now, bytes, room))
    }

    /// A message that came whole.
    pub fn stream_message(
        &mut self,
        now: Time,
        id: PeerId,
        data: Vec<u8>,
        content: Option<Box<Content>>,
    ) -> Appetite {
        let bytes = data.len().max(1);
        self.feed(now, id, bytes, |stream, room| stream.handle_message(now, data, content, room))
    }

    /// What protects the stream is agreed.
    pub fn stream_opened(&mut self, now: Time, id: PeerId) -> Appetite {
        self.feed(now, id, 0, |stream, _| stream.handle_opened(None, Vec::new()))
    }

    /// The other side sends no more.
    pub fn stream_ended(&mut self, now: Time, id: PeerId) {
        self.feed(now, id, 0, |stream, room| stream.handle_end(now, room));
    }

    /// It is gone.
    pub fn stream_gone(&mut self, now: Time, id: PeerId, farewell: Option<Farewell>) {
        self.feed(now, id, 0, |stream, room| stream.handle_failure(now, farewell, room));
    }

    /// It can be written no more; what came can still be read.
    pub fn stream_mute(&mut self, now: Time, id: PeerId, farewell: &Farewell) -> Appetite {
        self.feed(now, id, 0, |stream, _| stream.handle_write_failure(farewell))
    }

    /// Whether more of a peer's stream is to be read now.
    pub fn appetite(&mut self, id: PeerId) -> Appetite {
        let hungry = self
            .stream_slot(id)
            .and_then(|slot| self.peers.at(slot))
            .and_then(|p| p.connection.as_stream())
            .is_some_and(Stream::wants_bytes);
        if hungry {
            Appetite::Hungry
        } else {
            Appetite::Full
        }
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// What is to be done next for pipes.
    pub fn poll_stream(&mut self) -> Option<StreamWork> {
        self.stream_work.pop_front()
    }

    /// How much there is to do.
    pub fn stream_works(&self) -> usize {
        self.stream_work.len()
    }

    /// The pipe of a peer, while it carries it.
    pub fn pipe_of(&mut self, id: PeerId) -> Option<usize> {
        let slot = self.stream_slot(id)?;
        self.peers.at(slot)?.connection.as_stream()?.pipe()
    }

    /// A pipe has room again, or was left with more to do.
    pub fn serve_stream(&mut self, id: PeerId) {
        if let Some(slot) = self.stream_slot(id) {
            self.list_stream(slot);
        }
    }

    /// A stream's peer is looked at once more by whoever moves bytes.
    pub(super) fn list_stream(&mut self, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        let id = peer.id;
        if !std::mem::replace(&mut peer.stream_listed, true) {
            self.stream_work.push_back(StreamWork::Serve(id));
        }
    }

    /// Whoever moves bytes has come to a peer of the list.
    pub fn stream_served(&mut self, id: PeerId) {
        if let Some(peer) = self.stream_slot(id).and_then(|slot| self.peers.at(slot)) {
            peer.stream_listed = false;
        }
    }

    /// Whoever moves bytes has done what can be done for a peer now: it waits for its timer.
    pub fn rest_stream(&mut self, now: Time, id: PeerId) {
        if let Some(slot) = self.stream_slot(id) {
            self.collect(now, slot);
            self.arm_peer(now, slot);
        }
    }

    /// The pipe of a peer that ends has nothing to carry any more.
    pub(super) fn end_stream(&mut self, slot: usize, farewell: &Farewell) {
        let Some(stream) = self.peers.at(slot).and_then(|p| p.connection.as_stream_mut()) else { return };
        if let Some(pipe) = stream.take_pipe() {
            self.stream_work.push_back(StreamWork::End(pipe, farewell.clone()));
        }
    }

    /// Replaces `out` by the next bytes for a peer; empty: none now.
    pub fn peek_stream(&mut self, now: Time, id: PeerId, out: &mut Vec<u8>) {
        out.clear();
        if let Some((stream, most)) = self.rated_stream(now, id) {
            stream.peek_bytes(now, out);
            out.truncate(most);
        }
    }

    /// The next message for a peer whose pipe takes them whole.
    pub fn peek_stream_message(&mut self, now: Time, id: PeerId) -> Option<(Payload, Option<Box<Content>>)> {
        self.rated_stream(now, id)?.0.peek_message(now)
    }

    /// The stream of a peer, held back as far as send rates say, and how many bytes they let go at once.
    fn rated_stream(&mut self, now: Time, id: PeerId) -> Option<(&mut Stream, usize)> {
        let slot = self.stream_slot(id)?;
        let peer = self.peers.at(slot)?;
        let (until, most) = self.rates.hold_stream(now, peer.send_rate.as_mut());
        let stream = peer.connection.as_stream_mut()?;
        stream.hold(until);
        Some((stream, most))
    }

    /// A pipe has taken so many bytes, or (`whole`) the message that was shown.
    pub fn stream_written(&mut self, now: Time, id: PeerId, bytes: usize, whole: bool) {
        let Some(slot) = self.stream_slot(id) else { return };
        let Some(peer) = self.peers.at(slot) else { return };
        if let Some(series) = &mut peer.series {
            series.sent(now, bytes);
        }
        self.rates.stream_sent(now, bytes, peer.send_rate.as_mut());
        if let Some(stream) = peer.connection.as_stream_mut() {
            if whole {
                stream.handle_taken(now);
            } else {
                stream.handle_written(now, bytes);
            }
        }
        self.count_sent(now, bytes);
        self.collect(now, slot);
        self.arm_peer(now, slot);
    }

    // --- messages that wait -----------------------------------------------------------------------------

    /// Peers whose messages found no room in the event queue, or were too many for once, are looked at again.
    pub fn resume_streams(&mut self, now: Time) {
        for _ in 0..self.stream_waiting.len().min(RESUMED_AT_ONCE) {
            let mut room = self.stream_room();
            if room.messages == 0 || room.bytes == 0 || self.waiting() >= MESSAGES_PER_BATCH {
                return;
            }
            let Some(id) = self.stream_waiting.pop_front() else { return };
            let Some(slot) = self.stream_slot(id) else { continue };
            let Some(peer) = self.peers.at(slot) else { continue };
            peer.stream_waits = false;
            if let Some(stream) = peer.connection.as_stream_mut() {
                stream.resume(now, &mut room);
            }
            self.touched(now, slot);
        }
    }

    /// Whether somebody's messages wait for which there is room.
    pub(super) fn can_resume_streams(&self) -> bool {
        let room = self.room();
        !self.stream_waiting.is_empty() && room.messages > 0 && room.bytes > 0
    }

    /// Whether a host that takes events makes room for somebody.
    pub fn has_waiting_streams(&self) -> bool {
        !self.stream_waiting.is_empty()
    }

    /// A stream was touched: it is served, and remembered if it waits for room.
    pub(super) fn note_stream(&mut self, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        let id = peer.id;
        let Some(stream) = peer.connection.as_stream() else { return };
        let connected = stream.state() == State::Connected;
        if connected && stream.is_waiting_for_room() && !std::mem::replace(&mut peer.stream_waits, true) {
            self.stream_waiting.push_back(id);
        }
        self.list_stream(slot);
    }

    /// What a stream said while it was joining is handed up when it was let in.
    pub(super) fn let_stream_in(&mut self, now: Time, slot: usize) {
        let mut room = self.stream_room();
        if let Some(stream) = self.peers.at(slot).and_then(|p| p.connection.as_stream_mut()) {
            stream.resume(now, &mut room);
        }
    }
}
