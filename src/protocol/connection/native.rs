//! One end of one connection on the native wire.
//!
//! The contract and the families of methods are those of [`Connection`](super::Connection).

mod clock;
mod inbox;
mod mtu;
mod path;
mod transmit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CloseReason, Closing, Event, Farewell, FarewellKind, Room, SendError, Settings, State, MAX_FAREWELL_TEXT,
};
use crate::metrics::peer::PeerStats;
use crate::metrics::server::DropReason;
use crate::protocol::ack_ranges::{AckRanges, Urgency};
use crate::protocol::crypto::{is_equal, CryptoError, Provider, Traffic};
use crate::protocol::delivery::{Delivery, Mode, Planned, QueueError, Recovery, Sender};
use crate::protocol::handshake::native::{
    packet, ClientHandshake, NativeKey, Secrets, ServerHandshake, Welcome, RESET_LEN, RESET_TOKEN_LEN,
};
use crate::protocol::mutant;
use crate::protocol::payload::Payload;
use crate::protocol::phase::{ReceivePhase, SendPhase};
use crate::protocol::replay::{ReplayWindow, Verdict};
use crate::protocol::time::Time;
use crate::protocol::wire::native::{
    self as wire, AckFrame, DataHeader, Frame, Frames, MessageFrame, ACK_DELAY_UNIT, MAX_PACKET_NUMBER,
};
pub use clock::ServerClock;
use inbox::{Inbox, Taken};
use mtu::Mtu;
use path::Path;

/// How long the key is kept after the end, to answer goodbyes that come again.
pub const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Goodbyes said at most, while nobody answers: the first at once, then after twice as long each time.
pub const MAX_GOODBYES: u32 = 6;
/// Pause after the first.
const GOODBYE_PAUSE: Duration = Duration::from_millis(50);
/// Answers to goodbyes at most.
pub const MAX_GOODBYE_ANSWERS: u32 = 8;
/// An idle end asks for a sign of life so many times per connection timeout.
const PINGS_PER_TIMEOUT: u32 = 5;
/// The longest pause between two of these: it is also how soon a server learns of a silent client's new address.
const MAX_PING_INTERVAL: Duration = Duration::from_secs(1);
/// When no message came or left for so long, the memory for messages is given back.
const REST_AFTER: Duration = Duration::from_secs(2);
/// Packet numbers kept back for goodbyes and answers to them.
const FAREWELL_NUMBERS: u64 = (MAX_GOODBYES + MAX_GOODBYE_ANSWERS) as u64;
/// An end asks for an acknowledgement when none of its last so many packets was acknowledged: without one its packet numbers grow
/// longer, and its key never changes.
const UNASKED_PACKETS: u64 = 1 << 12;
/// How often a client repeats its wish to be let in, at first; each pause is twice as long, at most [`MAX_JOIN_PAUSE`].
const JOIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two wishes.
const MAX_JOIN_PAUSE: Duration = Duration::from_secs(1);
/// Least time of silence that a client takes from a server's welcome: what a server can be configured to.
const MIN_ANNOUNCED_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a client that was answered waits for the host's decision at most: as long as a server can give its host. It
/// ends a client's wait for a server that only acknowledges.
pub const MAX_DECISION_TIME: Duration = Duration::from_secs(60 * 60);
/// Password and data of a client's wish, together, at most: they travel in one packet.
pub const MAX_JOIN_BYTES: usize = 1024;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What a client says when it wants to be let in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// The password, for a host that asks for one. Never sent to a server whose key is not pinned.
    pub password: Option<Vec<u8>>,
    /// Opaque bytes for the host.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Join {
    /// Shows no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("password", &self.password.is_some()).field("data", &self.data).finish()
    }
}

/// Where a client's wish to be let in stands.
#[derive(Debug)]
enum Joining {
    /// The server's host has been asked about the client.
    Asked,
    /// The client is in, or the connection has ended.
    Over,
    /// The server has not heard a wish yet.
    Unasked,
    /// The client's wish, said until it is answered.
    Wish(Box<Join>),
}

/// One end of one connection on the native wire.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    role: Role,
    state: State,
    handshake: Option<Box<ClientHandshake>>,
    joining: Joining,
    /// When the wish is said again, and after which pause the time after that.
    join_due: Option<(Time, Duration)>,
    send_phase: Option<SendPhase>,
    receive_phase: Option<ReceivePhase>,
    welcome: Welcome,
    /// Silence that ends the connection: a client's own, or the server's where that is less.
    timeout: Duration,
    /// Longest message that is taken for sending: this end's own bound, at a client the server's where that is less.
    max_message: usize,
    server_key: Option<Box<NativeKey>>,
    /// Both ends have said that they take part in transfers of files.
    takes_files: bool,
    path: Path,
    mtu: Mtu,
    clock: ServerClock,
    sender: Sender,
    replay: ReplayWindow,
    acks: AckRanges,
    inbox: Inbox,
    events: VecDeque<Event>,
    packets_sent: u64,
    control: Control,
    started: Time,
    last_received: Time,
    /// When something that is acknowledged left last.
    last_asked: Time,
    /// Messages leave no earlier.
    held_until: Time,
    /// When a message came or left last; `None` once the memory for messages was given back.
    last_message: Option<Time>,
    /// Until when lingering lasts, or draining.
    deadline: Time,
    goodbye: Goodbye,
    stats: PeerStats,
    plan: Vec<Planned>,
    /// The newest tick, when it was, and when the server's clock began.
    tick: Option<(u64, Time, Time)>,
    is_probe: bool,
    /// The keys are ready for many packets: a message came or left since the memory for messages was given back last.
    keys_ready: bool,
}

/// Small things that wait for the next packet.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    accept: bool,
    time: Option<Time>,
    response: Option<[u8; 8]>,
    closed: bool,
}

/// What is said after the end.
#[derive(Clone, Debug, Default)]
struct Goodbye {
    farewell: Farewell,
    said: u32,
    next: Option<Time>,
    answers: u32,
}

impl Connection {
    /// The server's end, when a packet has opened under the handshake's secrets. The client still has to ask to be let in.
    pub fn accepted(
        now: Time,
        settings: Arc<Settings>,
        handshake: &ServerHandshake,
        welcome: Welcome,
    ) -> Result<Self, CryptoError> {
        let path = Path::new(handshake.address);
        let mut connection = Connection::new(now, settings, Role::Server, State::Joining, path);
        connection.establish(&handshake.secrets, welcome)?;
        Ok(connection)
    }

    /// A client's end. `pinned` is the server's key, without which whoever answers is believed. Fails when a password would
    /// go to such a stranger, or when password and data are longer than [`MAX_JOIN_BYTES`].
    pub fn connect(
        now: Time,
        settings: Arc<Settings>,
        pinned: Option<NativeKey>,
        join: Join,
        provider: &dyn Provider,
        server: SocketAddr,
    ) -> Result<Self, CryptoError> {
        let len = join.data.len() + join.password.as_ref().map_or(0, Vec::len);
        if len > MAX_JOIN_BYTES || (join.password.is_some() && pinned.is_none()) {
            return Err(CryptoError);
        }
        let handshake = ClientHandshake::new(now, pinned, provider)?;
        let path = Path::new(server);
        let mut connection = Connection::new(now, settings, Role::Client, State::Connecting, path);
        connection.handshake = Some(Box::new(handshake));
        connection.joining = Joining::Wish(Box::new(join));
        Ok(connection)
    }

    fn new(now: Time, settings: Arc<Settings>, role: Role, state: State, path: Path) -> Self {
        let recovery = Recovery::adaptive(now, wire::BASE_DATAGRAM);
        let mut sender = Sender::new(settings.limits.clone(), recovery, 1);
        sender.set_sizes(wire::sizes(wire::BASE_DATAGRAM));
        sender.set_redundancy(settings.redundancy);
        Connection {
            role,
            state,
            handshake: None,
            joining: Joining::Unasked,
            join_due: None,
            send_phase: None,
            receive_phase: None,
            welcome: Welcome::default(),
            timeout: settings.connection_timeout,
            max_message: settings.limits.max_message,
            server_key: None,
            takes_files: false,
            mtu: Mtu::new(now, settings.largest_datagram(path.remote())),
            path,
            clock: ServerClock::default(),
            sender,
            replay: ReplayWindow::default(),
            acks: AckRanges::default(),
            inbox: Inbox::new(
                settings.max_reassembly_bytes,
                settings.limits.max_message,
                settings.reassembly_timeout,
            ),
            events: VecDeque::new(),
            packets_sent: 0,
            control: Control::default(),
            started: now,
            last_received: now,
            last_asked: now,
            held_until: Time::default(),
            last_message: Some(now),
            deadline: now,
            goodbye: Goodbye::default(),
            stats: PeerStats::default(),
            plan: Vec::new(),
            tick: None,
            is_probe: false,
            keys_ready: false,
            settings,
        }
    }

    fn establish(&mut self, secrets: &Secrets, welcome: Welcome) -> Result<(), CryptoError> {
        let (to_server, to_client) = (Traffic::new(secrets.to_server), Traffic::new(secrets.to_client));
        let (out, inward) = match self.role {
            Role::Client => (to_server, to_client),
            Role::Server => (to_client, to_server),
        };
        self.path.set_secret(&out)?;
        self.receive_phase = Some(ReceivePhase::new(&inward)?);
        self.send_phase = Some(SendPhase::new(out)?);
        self.welcome = welcome;
        Ok(())
    }

    /// For tests: a client that proves itself, and never says what it wants.
    #[cfg(test)]
    pub(crate) fn never_join(&mut self) {
        self.joining = Joining::Unasked;
    }

    // --- getters --------------------------------------------------------------------------------------

    /// See [`Connection`](super::Connection); so are the others without a word of their own.
    pub fn state(&self) -> State {
        self.state
    }

    /// The session's public number; 0 before it is known.
    pub fn token(&self) -> u32 {
        self.welcome.token
    }

    /// What a client's data packets begin with.
    pub fn connection_id(&self) -> u32 {
        self.welcome.connection_id
    }

    /// The server's key, as a client knows it: pinned, or shown.
    pub fn server_key(&self) -> Option<NativeKey> {
        self.server_key.as_deref().copied()
    }

    /// What the server said when it answered.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Where the other end is, as far as is proven.
    pub fn remote(&self) -> SocketAddr {
        self.path.remote()
    }

    /// The server's clock and tick, as a client estimates them.
    pub fn server_clock(&self) -> &ServerClock {
        &self.clock
    }

    /// See [`super::Connection::takes_files`].
    pub fn takes_files(&self) -> bool {
        self.takes_files
    }

    /// The versions that the server is said to speak where ours is not among them; nobody vouches for that.
    pub fn versions(&self) -> &[u32] {
        self.handshake.as_ref().map_or(&[], |h| h.versions())
    }

    /// Largest datagram that this path is known to carry.
    pub fn datagram_size(&self) -> usize {
        self.mtu.current()
    }

    /// Bytes per second that the path takes, as far as is known.
    pub fn bandwidth(&self) -> Option<u64> {
        self.sender.recovery().bandwidth()
    }

    /// Longest message that is taken for sending.
    pub fn max_message(&self) -> usize {
        self.max_message
    }

    /// Half a round trip, smoothed.
    pub fn latency(&self) -> Duration {
        self.sender.rtt().latency()
    }

    /// Payload bytes queued and unacknowledged.
    pub fn queued_bytes(&self) -> usize {
        self.sender.queued_bytes()
    }

    /// Messages queued and unacknowledged.
    pub fn queued_messages(&self) -> usize {
        self.sender.queued_messages()
    }

    /// Bytes held of messages that cannot be delivered yet.
    pub fn reassembly_bytes(&self) -> usize {
        self.inbox.bytes()
    }

    /// Counts so far.
    pub fn stats(&self) -> PeerStats {
        let sender = self.sender.stats();
        PeerStats {
            sent: sender.queued,
            acked: sender.acked,
            timeouts: sender.timeouts,
            pending: self.sender.pending_packets() as u64,
            messages_resent: sender.resent,
            ..self.stats
        }
    }

    /// For tests: bytes of ordered messages that wait for older ones.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.inbox.held_bytes()
    }

    #[cfg(test)]
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// For tests of the ends of ranges: both ends go on from here.
    #[cfg(test)]
    pub(crate) fn skip_packets(&mut self, sent: u64, received: u64) {
        self.packets_sent = sent;
        self.replay.insert(received);
        self.acks.received(Time::default(), received, Urgency::None);
    }

    /// For tests: key phases of so many packets.
    #[cfg(test)]
    pub(crate) fn phase_every(&mut self, packets: u64) {
        self.send_phase.iter_mut().for_each(|p| p.every(packets));
    }

    // --- commands -------------------------------------------------------------------------------------

    /// Queues a message.
    pub fn send(
        &mut self,
        now: Time,
        payload: Payload,
        delivery: impl Into<Delivery>,
        tag: u64,
    ) -> Result<(), SendError> {
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        let delivery = delivery.into();
        if delivery.mode == Mode::Files && !self.takes_files {
            return Err(SendError::Unsupported);
        }
        if payload.len() > self.max_message {
            return Err(SendError::Queue(QueueError::TooLarge));
        }
        let result = self.sender.queue(now, payload, delivery, 0, tag);
        // It can have taken the place of another.
        self.drain_outcomes();
        result.map_err(SendError::Queue)
    }

    /// How many packets beside the first carry a copy of every short message that is resent.
    pub fn set_redundancy(&mut self, copies: u8) {
        self.sender.set_redundancy(copies);
    }

    /// The server's host lets the client in.
    pub fn accept(&mut self, now: Time) {
        if self.state == State::Joining {
            self.state = State::Connected;
            self.joining = Joining::Over;
            self.control.accept = true;
            self.control.time = Some(now);
        }
    }

    /// See [`super::Connection::hold`].
    pub fn hold(&mut self, until: Time) {
        self.held_until = until;
    }

    /// Ends the connection, at once or after what is queued is delivered.
    pub fn close(&mut self, now: Time, after_delivery: bool, farewell: Farewell) {
        match self.state {
            State::Connected | State::Lingering if after_delivery && !self.sender.is_idle() => {
                if self.state == State::Connected {
                    self.goodbye.farewell = farewell;
                    self.state = State::Lingering;
                    self.deadline = now + self.timeout;
                }
            }
            State::Draining | State::Closed => {}
            _ => self.end(now, CloseReason::Local, farewell),
        }
    }

    /// The end: outcomes first, then the event, then goodbyes.
    fn end(&mut self, now: Time, reason: CloseReason, farewell: Farewell) {
        if matches!(self.state, State::Draining | State::Closed) {
            return;
        }
        self.sender.close();
        self.inbox.clear();
        self.rest_keys();
        self.drain_outcomes();
        self.handshake = None;
        self.joining = Joining::Over;
        self.control = Control::default();
        self.goodbye = Goodbye { farewell: farewell.clone(), ..Goodbye::default() };
        self.events.push_back(Event::Closed(Closing { reason, farewell }));
        if self.send_phase.is_none() || reason == CloseReason::Restarted {
            self.state = State::Closed;
            return;
        }
        self.state = State::Draining;
        self.deadline = now + DRAIN_TIME;
        let heard = reason == CloseReason::Remote;
        self.control.closed = heard;
        self.goodbye.next = (!heard).then_some(now);
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// Takes a datagram in; it is decrypted in place.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        room: &mut Room,
    ) -> Result<(), DropReason> {
        let result = self.take_datagram(now, from, datagram, room);
        if result.is_err() {
            self.stats.dropped += 1;
        }
        result
    }

    fn take_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        room: &mut Room,
    ) -> Result<(), DropReason> {
        if self.role == Role::Client && from != self.path.remote() {
            return Err(DropReason::Unknown);
        }
        if !wire::is_data(datagram) {
            return self.handle_long(now, datagram);
        }
        let bytes = datagram.len();
        let header = DataHeader::parse(datagram, self.role == Role::Server, self.replay.newest())
            .ok_or(DropReason::Malformed)?;
        match self.replay.check(header.number) {
            Verdict::New => {}
            Verdict::Duplicate => return Err(DropReason::Duplicate),
            Verdict::Old => return Err(DropReason::Old),
        }
        let phase = self.receive_phase.as_mut().filter(|_| self.state != State::Closed);
        let payload = phase.ok_or(DropReason::Unknown)?.open(datagram, &header);
        let payload = payload.map_err(|_| DropReason::Forged)?;
        let is_newest = header.number > self.replay.newest();
        self.replay.insert(header.number);
        self.last_received = now;
        self.stats.received += 1;
        self.stats.bytes_received += bytes as u64;
        if self.role == Role::Server {
            self.path.received(now, from, bytes, is_newest);
        }
        self.handle_frames(now, from, header.number, payload, room);
        Ok(())
    }

    /// A packet of the handshake, or a reset.
    fn handle_long(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        if datagram.first() == Some(&packet::RESET) {
            return self.handle_reset(now, datagram);
        }
        let Some(handshake) = self.handshake.as_mut() else { return Err(DropReason::Clear) };
        let Some(established) = handshake.handle(now, datagram)? else { return Ok(()) };
        self.handshake = None;
        self.stats.received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        self.last_received = now;
        self.server_key = Some(Box::new(established.server_key));
        self.clock.start(now, &established.welcome);
        self.heed(&established.welcome);
        self.establish(&established.secrets, established.welcome).map_err(|_| DropReason::Malformed)?;
        self.join_due = Some((now, JOIN_PAUSE));
        Ok(())
    }

    /// What the server says of its bounds; 0 says nothing. What goes beyond them it would not take, and whoever it no longer
    /// hears for that long it has dropped.
    fn heed(&mut self, welcome: &Welcome) {
        self.takes_files = welcome.files && self.settings.files;
        if welcome.timeout_ms > 0 {
            let theirs = Duration::from_millis(welcome.timeout_ms.into()).max(MIN_ANNOUNCED_TIMEOUT);
            self.timeout = self.timeout.min(theirs);
        }
        if welcome.max_message > 0 {
            self.max_message =
                self.max_message.min(usize::try_from(welcome.max_message).unwrap_or(usize::MAX));
        }
    }

    /// The server knows nothing of this connection: it was started anew. Only who was told the token can say so.
    fn handle_reset(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        let live = self.send_phase.is_some() && !matches!(self.state, State::Draining | State::Closed);
        let token: &[u8; RESET_TOKEN_LEN] = datagram
            .get(1..)
            .and_then(|token| token.try_into().ok())
            .filter(|_| datagram.len() == RESET_LEN && self.role == Role::Client && live)
            .ok_or(DropReason::Unknown)?;
        if !is_equal(token, &self.welcome.reset_token) && !mutant!(ResetUnchecked) {
            return Err(DropReason::Forged);
        }
        self.end(now, CloseReason::Restarted, Farewell::default());
        Ok(())
    }

    fn handle_frames(&mut self, now: Time, from: SocketAddr, number: u64, payload: &[u8], room: &mut Room) {
        let (mut urgency, mut refused, mut acked) = (Urgency::None, false, false);
        let mut frames = Frames::new(payload);
        loop {
            while !matches!(self.state, State::Draining | State::Closed) {
                let Some(m) = frames.next_message() else { break };
                urgency = urgency.max(urgency_of_message(&m));
                refused |= !self.handle_message(now, number, &m, room);
            }
            if self.state == State::Closed {
                break;
            }
            let Some(frame) = frames.next() else { break };
            let Ok(frame) = frame else {
                self.stats.messages_malformed += 1;
                break;
            };
            if self.state == State::Draining {
                self.handle_frame_after_end(frame);
                continue;
            }
            urgency = urgency.max(urgency_of(&frame));
            match frame {
                Frame::Message(m) => refused |= !self.handle_message(now, number, &m, room),
                // One tells all: a packet full of them would have every packet under way looked up for each.
                Frame::Ack(_) if std::mem::replace(&mut acked, true) => self.stats.messages_malformed += 1,
                other => self.handle_control(now, from, other),
            }
        }
        if self.state == State::Draining || self.state == State::Closed {
            return;
        }
        self.stats.messages_malformed += self.inbox.take_left_behind();
        if !refused || mutant!(AckBeforeDelivery) {
            self.acks.received(now, number, urgency);
        } else if !mutant!(RefusedInSilence) {
            self.acks.refused(now);
        }
        self.drain_outcomes();
        self.finish_lingering(now);
        self.rest(now);
    }

    /// Gives memory back when no message came or left for a while. Signs of life come more often than that.
    fn rest(&mut self, now: Time) {
        let rests = self.last_message.is_some_and(|at| now.since(at) >= REST_AFTER);
        if rests && self.sender.is_idle() && self.events.is_empty() {
            self.last_message = None;
            self.rest_keys();
            self.sender.shrink();
            self.inbox.shrink();
            self.events = VecDeque::new();
            self.plan = Vec::new();
        }
    }

    /// A message came or leaves. Until the first does there is little to encrypt, and for many peers there never is.
    #[inline]
    fn note_message(&mut self, now: Time) {
        self.last_message = Some(now);
        if !self.keys_ready {
            self.keys_ready = true;
            self.send_phase.iter_mut().for_each(SendPhase::wake);
            self.receive_phase.iter_mut().for_each(ReceivePhase::wake);
        }
    }

    fn rest_keys(&mut self) {
        self.keys_ready = false;
        self.send_phase.iter_mut().for_each(SendPhase::rest);
        self.receive_phase.iter_mut().for_each(ReceivePhase::rest);
    }

    /// After the end only goodbyes matter.
    fn handle_frame_after_end(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Close(..) if self.goodbye.answers < MAX_GOODBYE_ANSWERS => {
                self.goodbye.answers += 1;
                self.control.closed = true;
                // Both have said goodbye: nobody needs to hear ours again.
                self.goodbye.next = None;
            }
            Frame::Closed => {
                self.goodbye.next = None;
                self.state = State::Closed;
                (self.send_phase, self.receive_phase) = (None, None);
            }
            _ => {}
        }
    }

    fn handle_control(&mut self, now: Time, from: SocketAddr, frame: Frame<'_>) {
        match frame {
            Frame::Ack(ack) => self.handle_ack(now, &ack),
            // Answered by the acknowledgement.
            Frame::Ping | Frame::Closed | Frame::Message(_) => {}
            Frame::PathChallenge(data) => self.control.response = Some(data),
            Frame::PathResponse(data) => {
                if self.role == Role::Server && self.path.confirmed(from, &data) {
                    self.on_new_path(now);
                }
            }
            Frame::Close(kind, code, text) => {
                let text = text.get(..text.len().min(MAX_FAREWELL_TEXT)).unwrap_or_default();
                let text = String::from_utf8_lossy(text).into_owned();
                self.end(
                    now,
                    CloseReason::Remote,
                    Farewell { kind: FarewellKind::from_wire(kind), code, text },
                );
            }
            Frame::Join(password, data, files) => self.handle_join(password, data, files),
            Frame::Accept => self.let_in(),
            Frame::Time(tick, since, clock) => {
                if self.role == Role::Client {
                    self.clock.update(now, self.sender.rtt().latency(), tick, since, clock);
                }
            }
        }
    }

    fn handle_join(&mut self, password: Option<&[u8]>, data: &[u8], files: bool) {
        if self.role != Role::Server {
            return;
        }
        if self.state != State::Joining {
            // It has not heard yet that it is in.
            self.control.accept = self.state == State::Connected;
            return;
        }
        // Asked once; the rest is repetition.
        let len = data.len() + password.map_or(0, <[u8]>::len);
        if matches!(self.joining, Joining::Unasked) && len <= MAX_JOIN_BYTES {
            self.joining = Joining::Asked;
            self.takes_files = files && self.settings.files;
            let password = password.map(<[u8]>::to_vec);
            self.events.push_back(Event::Join { password, data: data.to_vec() });
        }
    }

    /// A client is in: it was told, or a message shows it.
    fn let_in(&mut self) {
        if self.role == Role::Client && self.state == State::Connecting && self.send_phase.is_some() {
            self.state = State::Connected;
            self.joining = Joining::Over;
            self.join_due = None;
            self.events.push_back(Event::Connected);
        }
    }

    fn handle_ack(&mut self, now: Time, ack: &AckFrame<'_>) {
        let largest = wire::widen(u64::from(ack.largest), 16, self.packets_sent + 1);
        let Some(largest) = largest.filter(|n| *n <= self.packets_sent) else {
            // Of a packet that was never sent.
            self.stats.messages_malformed += 1;
            return;
        };
        let largest = largest - u64::from(mutant!(AckBitsShifted) && largest > 1);
        if let Some((low, high)) = ack.only_range(largest) {
            return self.take_ack(now, ack, low..=high, |n| (low..=high).contains(&n));
        }
        let mut ranges = [(1, 0); wire::MAX_ACK_RANGES + 1];
        let (mut lowest, mut count) = (largest, 0);
        for (slot, range) in ranges.iter_mut().zip(ack.ranges(largest)) {
            *slot = range;
            lowest = range.0;
            count += 1;
        }
        // The newest come first.
        let ranges = ranges.get(..count).unwrap_or_default();
        let acked = |n: u64| {
            let range = ranges.get(ranges.partition_point(|(low, _)| *low > n));
            range.is_some_and(|(_, high)| n <= *high)
        };
        self.take_ack(now, ack, lowest..=largest, acked);
    }

    /// Of packets within `reach`, those that `acked` says were received.
    fn take_ack(
        &mut self,
        now: Time,
        ack: &AckFrame<'_>,
        reach: RangeInclusive<u64>,
        acked: impl Fn(u64) -> bool + Copy,
    ) {
        if self.mtu.is_probing() && self.mtu.acknowledged(now, acked) {
            self.sender.set_sizes(wire::sizes(self.mtu.current()));
        }
        let delay = Duration::from_micros(ack.delay.saturating_mul(ACK_DELAY_UNIT).min(10_000_000));
        self.sender.on_ack(now, delay, reach, acked);
        self.check_path(now);
    }

    /// A path that has narrowed gets short datagrams; whatever is queued fits them.
    fn check_path(&mut self, now: Time) {
        if self.sender.take_narrowed() && self.mtu.fall_back(now) {
            self.sender.set_sizes(wire::sizes(self.mtu.current()));
        }
    }

    /// Whether the message was not refused.
    #[inline]
    fn handle_message(&mut self, now: Time, packet: u64, m: &MessageFrame<'_>, room: &mut Room) -> bool {
        self.let_in();
        self.note_message(now);
        if !matches!(self.state, State::Connected | State::Lingering) {
            self.stats.messages_refused += 1;
            return false;
        }
        if m.mode == Mode::Files && !self.takes_files {
            self.stats.messages_malformed += 1;
            return true;
        }
        let of_files = m.mode == Mode::Files;
        let (events, stats) = (&mut self.events, &mut self.stats);
        let mut sink = room.sink.take();
        let mut deliver = |event| {
            stats.messages_received += 1;
            match &mut sink {
                // Nothing that came before waits to be said. What is of files is not for the host.
                Some(sink) if events.is_empty() && !of_files => sink(event),
                _ => events.push_back(event),
            }
        };
        let taken = self.inbox.take(now, packet, m, room, &mut deliver);
        room.sink = sink;
        match taken {
            Taken::Accepted => {}
            Taken::Duplicate => self.stats.messages_duplicate += 1,
            Taken::Malformed => self.stats.messages_malformed += 1,
            Taken::Refused => {
                self.stats.messages_refused += 1;
                return false;
            }
        }
        true
    }

    /// The peer's new address is proven.
    fn on_new_path(&mut self, now: Time) {
        self.sender.on_path_change(now);
        self.mtu = Mtu::new(now, self.settings.largest_datagram(self.path.remote()));
        self.sender.set_sizes(wire::sizes(self.mtu.current()));
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Connecting if now >= self.connect_deadline() => {
                self.end(now, CloseReason::Timeout, Farewell::of(FarewellKind::Timeout));
            }
            State::Joining if now >= self.join_deadline() => {
                self.end(now, CloseReason::Timeout, Farewell::of(FarewellKind::Timeout));
            }
            State::Connecting | State::Joining => {}
            State::Connected | State::Lingering => self.handle_timeout_connected(now),
            State::Draining if now >= self.deadline => {
                self.state = State::Closed;
                (self.send_phase, self.receive_phase) = (None, None);
            }
            State::Draining | State::Closed => {}
        }
    }

    /// A client waits so long for an answer; then, while the server's host decides, as long as the server is heard, but
    /// not for ever.
    fn connect_deadline(&self) -> Time {
        let answer = self.started + self.settings.handshake_timeout;
        if self.send_phase.is_none() {
            return answer;
        }
        (self.last_received + self.timeout).min(answer + MAX_DECISION_TIME)
    }

    /// A client that has proven itself and does not ask to be let in is sent away; one that asked waits for the host.
    fn join_deadline(&self) -> Time {
        let silence = self.last_received + self.timeout;
        if matches!(self.joining, Joining::Asked) {
            silence
        } else {
            silence.min(self.started + self.settings.handshake_timeout)
        }
    }

    fn handle_timeout_connected(&mut self, now: Time) {
        if now >= self.last_received + self.timeout && !mutant!(TimeoutNever) {
            return self.end(now, CloseReason::Timeout, Farewell::of(FarewellKind::Timeout));
        }
        if self.packets_sent >= MAX_PACKET_NUMBER - FAREWELL_NUMBERS {
            return self.end(now, CloseReason::Protocol, Farewell::of(FarewellKind::Protocol));
        }
        self.sender.handle_timeout(now);
        self.check_path(now);
        self.mtu.handle_timeout(now);
        self.stats.messages_malformed += self.inbox.expire(now) as u64;
        self.drain_outcomes();
        if self.state == State::Lingering && now >= self.deadline {
            let farewell = std::mem::take(&mut self.goodbye.farewell);
            return self.end(now, CloseReason::Local, farewell);
        }
        self.finish_lingering(now);
    }

    fn finish_lingering(&mut self, now: Time) {
        if self.state == State::Lingering && self.sender.is_idle() {
            let farewell = std::mem::take(&mut self.goodbye.farewell);
            self.end(now, CloseReason::Local, farewell);
        }
    }

    #[inline]
    fn drain_outcomes(&mut self) {
        if self.sender.has_news() {
            self.drain_news();
        }
    }

    fn drain_news(&mut self) {
        while let Some((tag, outcome)) = self.sender.poll_outcome() {
            self.events.push_back(Event::Sent { tag, outcome });
        }
        if self.sender.take_writable() && self.state == State::Connected {
            self.events.push_back(Event::Writable);
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
}

fn urgency_of_message(m: &MessageFrame<'_>) -> Urgency {
    if m.mode.is_resent() {
        Urgency::Prompt
    } else {
        Urgency::Lazy
    }
}

fn urgency_of(frame: &Frame<'_>) -> Urgency {
    match frame {
        Frame::Message(m) => urgency_of_message(m),
        Frame::Ping | Frame::Join(..) | Frame::Accept | Frame::PathChallenge(_) => Urgency::Prompt,
        _ => Urgency::None,
    }
}
