//! One end of one connection in a stream of bytes: TCP, or whatever else keeps order and loses nothing.
//!
//! The contract and the families of methods are those of [`Connection`](super::Connection), but for bytes in the place
//! of datagrams: [`handle_bytes`](Connection::handle_bytes) takes what a read brought, as long as
//! [`wants_bytes`](Connection::wants_bytes) asks for any, and [`peek_bytes`](Connection::peek_bytes) shows what is to be
//! written. Where messages come whole ([`Framing::Whole`]) it is [`handle_message`](Connection::handle_message) and
//! [`peek_message`](Connection::peek_message) instead. All messages arrive, in the order in which they left, whatever mode they were sent in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The channel of text messages, where messages are text or binary: on a WebSocket.
pub const TEXT_CHANNEL: u8 = 1;

use crate::metrics::peer::PeerStats;
use crate::protocol::delivery::{Delivery, Mode, Outcome, QueueError};
use crate::protocol::files::MAX_MESSAGE;
use crate::protocol::framing::{self, Content, Decoder, Frame, FrameError, Framing};
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;

use super::{CloseReason, Closing, Door, Event, Farewell, FarewellKind, Room, SendError, Settings, State};

/// Longest password, bytes: before it nobody is given room for more.
const MAX_PASSWORD_BYTES: usize = 256;
/// Bytes that stand in a fixed order for the next write. What is more urgent overtakes what waits behind them.
const STAGED_BYTES: usize = 32 << 10;
/// Bytes that are written at once, at most.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes that came and were not taken by the host, above which no more are read.
const MAX_UNREAD_BYTES: usize = 64 << 10;
/// So much must move in a `stall_timeout`, bytes, of a message that does not end sooner: whoever is slower holds memory
/// for nothing.
pub const MIN_PROGRESS_BYTES: usize = 1024;
const PRIORITIES: usize = 4;

mod files;
use files::Files;

/// What differs from door to door.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Through which door it comes in.
    pub door: Door,
    /// How messages are told apart.
    pub framing: Framing,
    /// The first message is a password.
    pub password: bool,
    /// When the other side has ended its half, for how long the host may still answer what it said last: until the next
    /// [`handle_timeout`](Connection::handle_timeout) at least.
    pub answer_time: Duration,
    /// How long a message may stand still that has begun, and bytes that wait to be written.
    pub stall_timeout: Duration,
}

/// A message on its way out.
#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    payload: Payload,
    tail: &'static [u8],
    /// What it is, for whatever carries it whole.
    content: Option<Box<Content>>,
    tag: u64,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.head.len() + self.payload.len() + self.tail.len()
    }

    /// Its bytes from a place on, until there are as many as are wanted.
    fn append(&self, mut from: usize, out: &mut Vec<u8>) {
        for part in [&self.head[..], &self.payload[..], self.tail] {
            let rest = part.get(from..).unwrap_or_default();
            let room = WRITE_BYTES.saturating_sub(out.len());
            out.extend_from_slice(rest.get(..room).unwrap_or(rest));
            from = from.saturating_sub(part.len());
        }
    }
}

/// Notices that nothing moves any more.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// When it is given up; none while nothing is under way.
    deadline: Option<Time>,
    /// Bytes since that was set.
    moved: usize,
}

impl Progress {
    /// So many bytes moved, and more are awaited.
    fn moved(&mut self, now: Time, bytes: usize, patience: Duration) {
        self.moved += bytes;
        if self.deadline.is_none() || self.moved >= MIN_PROGRESS_BYTES {
            *self = Progress { deadline: Some(now + patience), moved: 0 };
        }
    }

    /// None are.
    fn rest(&mut self) {
        *self = Progress::default();
    }

    fn is_over(&self, now: Time) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }
}

/// One end of one connection in a stream.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    terms: Terms,
    state: State,
    token: u32,
    is_client: bool,
    /// Its carrier's number, which means something to its owner only.
    pipe: Option<usize>,
    /// The stream is there, and so is what protects it.
    opened: bool,
    decoder: Decoder,
    /// Messages by priority, and those whose order is fixed.
    queues: [VecDeque<Outgoing>; PRIORITIES],
    staged: VecDeque<Outgoing>,
    staged_bytes: usize,
    /// Bytes of the first of those that are written.
    written: usize,
    queued: (usize, usize),
    /// A send was refused for want of room.
    refused: bool,
    events: VecDeque<Event>,
    /// Messages handed up, on the ring of 16 bits.
    received: u16,
    password_given: bool,
    /// The other side sends no more.
    ended: bool,
    /// It broke; what came before that is handed up yet.
    failed: bool,
    /// It can be written no more.
    mute: bool,
    /// All that came before the end was handed up.
    drained: bool,
    /// Until when the host may answer whoever has ended its half.
    answers_until: Option<Time>,
    inward: Progress,
    outward: Progress,
    /// Until when lingering lasts, and bytes that left since that was set.
    deadline: Time,
    lingered: usize,
    held_until: Time,
    farewell: Farewell,
    stats: PeerStats,
    /// Whether messages about files pass, too, or nothing but a plain file.
    files: Files,
}

impl Connection {
    /// A server's end of a stream that was accepted. It is joining: [`Event::Join`] comes when what it brings is known,
    /// after [`handle_opened`](Self::handle_opened). Whoever says nothing is turned away by the server's own clock.
    pub fn accepted(now: Time, settings: Arc<Settings>, terms: Terms, token: u32) -> Connection {
        let mut connection = Connection::new(now, settings, terms, State::Joining, token);
        if terms.password {
            let most = connection.settings.limits.max_message.min(MAX_PASSWORD_BYTES);
            connection.decoder.set_max_message(most);
        }
        connection
    }

    /// A client's end of a stream that is being opened: [`handle_opened`](Self::handle_opened) connects it. A password
    /// goes first.
    pub fn opened(
        now: Time,
        settings: Arc<Settings>,
        terms: Terms,
        password: Option<&[u8]>,
    ) -> Result<Connection, SendError> {
        let terms = Terms { password: false, ..terms };
        let mut connection = Connection::new(now, settings, terms, State::Connected, 0);
        connection.is_client = true;
        connection.deadline = now + connection.settings.handshake_timeout;
        if let Some(password) = password {
            connection.send(now, password.into(), Mode::Ordered.into(), 0)?;
        }
        Ok(connection)
    }

    fn new(now: Time, settings: Arc<Settings>, terms: Terms, state: State, token: u32) -> Connection {
        Connection {
            decoder: Decoder::new(terms.framing, settings.limits.max_message),
            settings,
            terms,
            state,
            token,
            is_client: false,
            pipe: None,
            opened: false,
            queues: Default::default(),
            staged: VecDeque::new(),
            staged_bytes: 0,
            written: 0,
            queued: (0, 0),
            refused: false,
            events: VecDeque::new(),
            received: 0,
            password_given: false,
            ended: false,
            failed: false,
            mute: false,
            drained: false,
            answers_until: None,
            inward: Progress::default(),
            outward: Progress::default(),
            deadline: now,
            lingered: 0,
            held_until: Time::default(),
            farewell: Farewell::default(),
            stats: PeerStats::default(),
            files: Files::None,
        }
    }

    // --- getters --------------------------------------------------------------------------------------

    /// Where it stands.
    pub fn state(&self) -> State {
        match self.state {
            State::Connected if self.is_client && !(self.opened && self.files.are_settled()) => {
                State::Connecting
            }
            state => state,
        }
    }

    /// Through which door it came in.
    pub fn door(&self) -> Door {
        self.terms.door
    }

    /// The session's public number; 0 at a client's end, which is not told.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Its owner gives it the number of what carries it.
    pub fn set_pipe(&mut self, pipe: usize) {
        self.pipe = Some(pipe);
    }

    /// That number.
    pub fn pipe(&self) -> Option<usize> {
        self.pipe
    }

    /// Takes that number back; there is none from then on.
    pub fn take_pipe(&mut self) -> Option<usize> {
        self.pipe.take()
    }

    /// How messages are told apart.
    pub fn framing(&self) -> Framing {
        self.terms.framing
    }

    /// Nothing here measures it.
    pub fn latency(&self) -> Duration {
        Duration::ZERO
    }

    /// Payload bytes queued and not yet given to the system.
    pub fn queued_bytes(&self) -> usize {
        self.queued.1
    }

    /// Messages queued and not yet given to the system.
    pub fn queued_messages(&self) -> usize {
        self.queued.0
    }

    /// Bytes that came and make no message yet, or one that the host has no room for.
    pub fn reassembly_bytes(&self) -> usize {
        self.decoder.len()
    }

    /// Counts so far; reads and writes count as datagrams.
    pub fn stats(&self) -> PeerStats {
        self.stats
    }

    /// Whether bytes are to be read now. Where they are not, they wait with the system, and then with their sender.
    pub fn wants_bytes(&self) -> bool {
        let open = matches!(self.state, State::Joining | State::Connected) && !self.ended && !self.failed;
        // Of a message that has not ended, all is read: its length is bounded.
        let unread = self.inward.deadline.is_none() && !self.decoder.is_empty();
        open && !(unread && self.decoder.len() >= MAX_UNREAD_BYTES)
    }

    /// Whether the stream can be given back to the system.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    // --- commands -------------------------------------------------------------------------------------

    /// Queues a message, whatever its mode: all arrive, in order. `tag` other than 0 asks for an [`Event::Sent`], which
    /// says that the system has taken it.
    pub fn send(
        &mut self,
        now: Time,
        payload: Payload,
        delivery: Delivery,
        tag: u64,
    ) -> Result<(), SendError> {
        self.send_content(now, payload, None, delivery, tag)
    }

    /// The same, telling what it is.
    pub fn send_content(
        &mut self,
        now: Time,
        payload: Payload,
        content: Option<Box<Content>>,
        delivery: Delivery,
        tag: u64,
    ) -> Result<(), SendError> {
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        let limits = &self.settings.limits;
        let of_files = delivery.mode == Mode::Files;
        if of_files && self.files != Files::Agreed {
            return Err(SendError::Unsupported);
        }
        if payload.len() > if of_files { MAX_MESSAGE } else { limits.max_message } {
            return Err(SendError::Queue(QueueError::TooLarge));
        }
        framing::check(self.terms.framing, &payload, content.as_deref()).map_err(SendError::Framing)?;
        if self.mute {
            // As if it had been queued just before it broke.
            if tag != 0 {
                self.events.push_back(Event::Sent { tag, outcome: Outcome::Cancelled });
            }
            return Ok(());
        }
        let (messages, bytes) = self.queued;
        if messages >= limits.max_messages || (messages > 0 && bytes + payload.len() > limits.max_bytes) {
            self.refused = true;
            return Err(SendError::Queue(QueueError::Full));
        }
        let (head, tail) = match of_files {
            true => (framing::encode_of_files(&payload), &b""[..]),
            false => framing::encode(self.terms.framing, &payload, content.as_deref()),
        };
        // What carries whole messages tells text by its channel, too.
        let text = (delivery.channel == TEXT_CHANNEL).then(|| Box::new(Content::of("text/plain")));
        let content = content.or(text).filter(|_| self.terms.framing == Framing::Whole);
        self.queued = (messages + 1, bytes + payload.len());
        self.stats.sent += 1;
        if let Some(queue) = self.queues.get_mut(delivery.priority as usize) {
            queue.push_back(Outgoing { head, payload, tail, content, tag });
        }
        self.await_writing(now);
        Ok(())
    }

    /// Something is to be written.
    fn await_writing(&mut self, now: Time) {
        if self.outward.deadline.is_none() {
            self.outward.moved(now, 0, self.terms.stall_timeout);
        }
    }

    /// Lets a client in that asked by [`Event::Join`].
    pub fn accept(&mut self) {
        if self.state == State::Joining {
            self.state = State::Connected;
        }
    }

    /// Messages leave no earlier than at `until`.
    pub fn hold(&mut self, until: Time) {
        self.held_until = until;
    }

    /// Ends the connection: at once, or when what is queued was given to the system. Where the other side takes less than
    /// [`MIN_PROGRESS_BYTES`] of it in a connection timeout, what is left is cancelled. A stream has no room for a goodbye's number and words.
    pub fn close(&mut self, now: Time, after_delivery: bool, farewell: Farewell) {
        match self.state {
            State::Joining | State::Connected | State::Connecting => {}
            State::Lingering if !after_delivery => {}
            _ => return,
        }
        if self.state != State::Lingering {
            self.farewell = farewell;
        }
        if after_delivery && self.queued.0 > 0 {
            self.linger(now);
        } else {
            self.finish(CloseReason::Local);
        }
    }

    fn linger(&mut self, now: Time) {
        self.state = State::Lingering;
        self.deadline = now + self.settings.connection_timeout;
        self.lingered = 0;
    }

    fn finish(&mut self, reason: CloseReason) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.cancel_queued();
        self.decoder = Decoder::new(self.terms.framing, 0);
        let farewell = std::mem::take(&mut self.farewell);
        self.events.push_back(Event::Closed(Closing { reason, farewell }));
    }

    fn cancel_queued(&mut self) {
        let queues = self.queues.iter_mut().flat_map(std::mem::take);
        for message in std::mem::take(&mut self.staged).into_iter().chain(queues) {
            if message.tag != 0 {
                self.events.push_back(Event::Sent { tag: message.tag, outcome: Outcome::Cancelled });
            }
        }
        (self.queued, self.staged_bytes, self.written) = ((0, 0), 0, 0);
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// The stream is open, in both directions. What a client brings with that is what its door has to tell of it; a
    /// password that it has not given yet is its first message, where there must be one.
    pub fn handle_opened(&mut self, password: Option<Vec<u8>>, data: Vec<u8>) {
        if std::mem::replace(&mut self.opened, true) {
            return;
        }
        if self.is_client {
            if self.files.are_settled() {
                self.events.push_back(Event::Connected);
            }
        } else if !self.terms.password {
            self.events.push_back(Event::Join { password, data });
        }
    }

    /// A message that came whole.
    pub fn handle_message(
        &mut self,
        now: Time,
        data: Vec<u8>,
        content: Option<Box<Content>>,
        room: &mut Room,
    ) {
        if !matches!(self.state, State::Joining | State::Connected) {
            return;
        }
        self.stats.received += 1;
        self.stats.bytes_received += data.len() as u64;
        self.decoder.push_frame(Frame { data, content, of_files: false });
        self.pump(now, 0, room);
    }

    /// What a read brought.
    pub fn handle_bytes(&mut self, now: Time, bytes: &[u8], room: &mut Room) {
        if !matches!(self.state, State::Joining | State::Connected) {
            return;
        }
        self.stats.received += 1;
        self.stats.bytes_received += bytes.len() as u64;
        self.decoder.push(bytes);
        self.pump(now, bytes.len(), room);
    }

    /// The other side sends no more. What it sent is handed up, what is queued is still written to it; then the connection
    /// ends.
    pub fn handle_end(&mut self, now: Time, room: &mut Room) {
        self.ended = true;
        self.note_end();
        self.decoder.end();
        self.pump(now, 0, room);
    }

    /// The stream broke: it was reset. Or the other side said goodbye, where the stream has words for that. What came before
    /// that is handed up, as far as it is whole; then the connection ends.
    pub fn handle_failure(&mut self, now: Time, farewell: Option<Farewell>, room: &mut Room) {
        if self.state() != State::Connected {
            self.farewell = farewell.unwrap_or_default();
            return self.finish(CloseReason::Remote);
        }
        let farewell = farewell.unwrap_or_default();
        self.handle_write_failure(&farewell);
        self.farewell = farewell;
        self.failed = true;
        self.pump(now, 0, room);
    }

    /// The stream can be written no more: what is queued, or will be, is cancelled. What came can still be read, and then
    /// [`handle_failure`](Self::handle_failure) tells the end.
    pub fn handle_write_failure(&mut self, farewell: &Farewell) {
        if self.state() != State::Connected || self.drained {
            self.farewell = farewell.clone();
            return self.finish(CloseReason::Remote);
        }
        self.mute = true;
        self.refused = false;
        self.cancel_queued();
        self.outward.rest();
    }

    /// The host has room again for what came.
    pub fn resume(&mut self, now: Time, room: &mut Room) {
        self.pump(now, 0, room);
    }

    /// Whether messages may wait for [`resume`](Self::resume).
    pub fn is_waiting_for_room(&self) -> bool {
        let open = matches!(self.state, State::Joining | State::Connected);
        let over = (self.ended || self.failed) && !self.drained;
        open && !self.files.are_paused()
            && (over || (self.inward.deadline.is_none() && !self.decoder.is_empty()))
    }

    /// Hands up what is whole and has room.
    fn pump(&mut self, now: Time, came: usize, room: &mut Room) {
        loop {
            match self.state {
                State::Joining if self.terms.password && !self.password_given => {}
                State::Connected if self.files.are_paused() => return self.inward.rest(),
                // Until it is let in, what it says waits.
                State::Connected if room.messages > 0 && room.bytes > 0 => {}
                _ => return self.inward.rest(),
            }
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.take_frame(now, frame, room),
                Ok(None) => break,
                Err(error) => return self.broken(error),
            }
        }
        if self.failed {
            return self.finish(CloseReason::Remote);
        }
        if self.decoder.is_empty() {
            self.inward.rest();
        } else {
            self.inward.moved(now, came, self.terms.stall_timeout);
        }
        if self.ended {
            self.remote_ended(now);
        }
    }

    fn take_frame(&mut self, now: Time, frame: framing::Frame, room: &mut Room) {
        if self.state == State::Joining {
            self.password_given = true;
            self.decoder.set_max_message(self.settings.limits.max_message);
            self.heed_files();
            let password = match self.terms.framing {
                Framing::Raw => without_line_end(frame.data),
                _ => frame.data,
            };
            self.events.push_back(Event::Join { password: Some(password), data: Vec::new() });
            return;
        }
        room.messages = room.messages.saturating_sub(1);
        if frame.of_files || self.files == Files::Plain {
            return self.take_file_frame(now, frame.data);
        }
        room.bytes = room.bytes.saturating_sub(frame.data.len());
        self.received = self.received.wrapping_add(1).max(1);
        self.stats.messages_received += 1;
        let is_text = frame.content.as_ref().is_some_and(|content| content.kind.starts_with("text/"));
        let channel = if is_text && self.terms.framing == Framing::Whole { TEXT_CHANNEL } else { 0 };
        self.events.push_back(Event::Message {
            sequence: self.received,
            channel,
            mode: Some(Mode::Ordered),
            data: frame.data,
            content: frame.content,
        });
    }

    /// Where a message begins is not known any more.
    fn broken(&mut self, error: FrameError) {
        self.stats.messages_malformed += 1;
        let text = match error {
            FrameError::TooLarge => "a message is longer than max_message_size",
            FrameError::Header => "a message's header is malformed",
        };
        self.farewell = Farewell { text: text.into(), ..Farewell::of(FarewellKind::Protocol) };
        self.finish(CloseReason::Protocol);
    }

    /// All that the other side sent was handed up.
    fn remote_ended(&mut self, now: Time) {
        if self.files == Files::Plain {
            return self.plain_ended();
        }
        if self.state == State::Connected {
            let first = !std::mem::replace(&mut self.drained, true);
            if self.received > 0 {
                // The host has not seen yet what came last.
                if first {
                    self.answers_until = Some(now + self.terms.answer_time);
                }
                return;
            }
        }
        self.end_after_remote(now);
    }

    fn end_after_remote(&mut self, now: Time) {
        self.answers_until = None;
        match self.state {
            // The host has more to say than there was room for: it is told when there is, and asked again.
            State::Connected if self.refused && self.queued.0 > 0 => {}
            State::Connected if self.queued.0 > 0 => self.linger(now),
            State::Connected | State::Joining => self.finish(CloseReason::Remote),
            _ => {}
        }
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.state() == State::Connecting && self.deadline <= now {
            return self.finish(CloseReason::Timeout);
        }
        if self.held_until > now && self.outward.is_over(now) {
            // It is not the other side that keeps them.
            self.outward = Progress { deadline: Some(self.held_until + self.terms.stall_timeout), moved: 0 };
        }
        if self.answers_until.is_some_and(|until| until <= now) {
            self.end_after_remote(now);
        }
        let stalled = self.inward.is_over(now) || self.outward.is_over(now);
        let lingered = self.state == State::Lingering && self.deadline <= now;
        if lingered {
            self.finish(self.end_of_lingering());
        } else if stalled && self.state != State::Closed {
            self.farewell = Farewell::of(FarewellKind::Timeout);
            self.finish(CloseReason::Timeout);
        }
    }

    fn end_of_lingering(&self) -> CloseReason {
        if self.ended {
            CloseReason::Remote
        } else {
            CloseReason::Local
        }
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// Whether there is a next event.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`peek_bytes`](Self::peek_bytes) has something to do, if nothing
    /// else happens first.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.state == State::Closed {
            return None;
        }
        let waits = matches!(self.state(), State::Lingering | State::Connecting);
        let lingering = waits.then_some(self.deadline);
        let held = (self.queued.0 > 0 && self.held_until > now).then_some(self.held_until);
        let answers = self.answers_until.filter(|_| self.state == State::Connected);
        [lingering, held, answers, self.inward.deadline, self.outward.deadline].into_iter().flatten().min()
    }

    /// Replaces `out` by the next bytes to be written, some tens of kilobytes of them at most; empty: none now.
    pub fn peek_bytes(&mut self, now: Time, out: &mut Vec<u8>) {
        out.clear();
        if !self.stage(now) {
            return;
        }
        let mut from = self.written;
        for message in &self.staged {
            message.append(from, out);
            from = 0;
            if out.len() >= WRITE_BYTES {
                break;
            }
        }
    }

    /// The next message that is to be carried whole; [`handle_taken`](Self::handle_taken) says that it was taken.
    pub fn peek_message(&mut self, now: Time) -> Option<(Payload, Option<Box<Content>>)> {
        if !self.stage(now) {
            return None;
        }
        self.staged.front().map(|message| (message.payload.clone(), message.content.clone()))
    }

    /// Whether anything may leave now; it then stands in the order in which it does.
    fn stage(&mut self, now: Time) -> bool {
        // Who asks for files must say so before it is connected.
        let opened = self.opened || !self.is_client;
        let leaves = opened && matches!(self.state, State::Connected | State::Lingering);
        if !leaves || self.mute || self.held_until > now {
            return false;
        }
        while self.staged_bytes < STAGED_BYTES {
            let Some(next) = self.queues.iter_mut().find_map(VecDeque::pop_front) else { break };
            // One that is carried whole may have no bytes, and takes its place all the same.
            self.staged_bytes += next.len().max(1);
            self.staged.push_back(next);
        }
        true
    }

    /// The system has taken so many of the bytes that [`peek_bytes`](Self::peek_bytes) showed.
    pub fn handle_written(&mut self, now: Time, bytes: usize) {
        self.stats.assembled += 1;
        self.stats.acked += 1;
        self.stats.bytes_sent += bytes as u64;
        self.written += bytes;
        while self.staged.front().is_some_and(|m| m.len() <= self.written) {
            self.first_has_left();
        }
        self.has_moved(now, bytes);
    }

    /// The message that [`peek_message`](Self::peek_message) showed was taken.
    pub fn handle_taken(&mut self, now: Time) {
        let Some(length) = self.staged.front().map(Outgoing::len) else { return };
        self.stats.assembled += 1;
        self.stats.acked += 1;
        self.stats.bytes_sent += length as u64;
        self.written = length;
        self.first_has_left();
        self.has_moved(now, length.max(MIN_PROGRESS_BYTES));
    }

    fn first_has_left(&mut self) {
        let Some(message) = self.staged.pop_front() else { return };
        self.written = self.written.saturating_sub(message.len());
        self.staged_bytes = self.staged_bytes.saturating_sub(message.len().max(1));
        let (messages, bytes) = self.queued;
        self.queued = (messages.saturating_sub(1), bytes.saturating_sub(message.payload.len()));
        if message.tag != 0 {
            self.events.push_back(Event::Sent { tag: message.tag, outcome: Outcome::Delivered });
        }
    }

    fn has_moved(&mut self, now: Time, bytes: usize) {
        if self.queued.0 == 0 {
            self.outward.rest();
            // A connection that idles holds nothing.
            (self.queues, self.staged) = Default::default();
            if self.state == State::Lingering {
                return self.finish(self.end_of_lingering());
            }
        } else {
            self.outward.moved(now, bytes, self.terms.stall_timeout);
        }
        self.lingered += bytes;
        if self.state == State::Lingering && self.lingered >= MIN_PROGRESS_BYTES {
            self.linger(now);
        }
        let limits = &self.settings.limits;
        let room =
            self.queued.0 < limits.max_messages.div_ceil(2) && self.queued.1 < limits.max_bytes.div_ceil(2);
        if self.refused && room {
            self.refused = false;
            self.events.push_back(Event::Writable);
            if self.drained {
                self.answers_until = Some(now + self.terms.answer_time);
            }
        }
    }
}

/// The password of somebody who typed it, in a stream of raw bytes.
fn without_line_end(mut password: Vec<u8>) -> Vec<u8> {
    for end in [b'\n', b'\r'] {
        if password.last() == Some(&end) {
            password.pop();
        }
    }
    password
}
