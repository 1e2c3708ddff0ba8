//! One end of one connection.
//!
//! > The caller's contract: after any input (a command, [`Connection::handle_datagram`],
//! > [`Connection::handle_timeout`]) drain the outputs: [`Connection::poll_transmit`] until it says false,
//! > [`Connection::poll_event`] until it is empty, then arm a timer for [`Connection::poll_timeout`].
//!
//! The methods come in four families: getters, `handle_*` (input from the network and the clock), commands
//! (input from the application), `poll_*` (outputs). Times never go back.

mod transmit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::ack::{Acks, CLIENT_ACK_DELAY, SERVER_ACK_DELAY};
use super::crypto::{Aead, CryptoError, Point, Provider, TAG_LEN};
use super::dedup::Dedup;
use super::delivery::{Limits, Mode, Outcome, Planned, QueueError, Sender};
use super::fragment::{Fragment, Reassembly, Stored};
use super::handshake::mpgameserver::{challenge_response, ClientHandshake, Established};
use super::mutant;
use super::replay::{ReplayWindow, Verdict};
use super::seq;
use super::time::Time;
use super::wire::mpgameserver::{self as wire, kind, Direction, FragmentHeader, Header, Messages, WireError};
use crate::metrics::peer::PeerStats;
use crate::metrics::server::DropReason;

/// How long the key is kept after the end, to answer what is still under way.
pub const DRAIN_TIME: Duration = Duration::from_secs(6);
/// When a goodbye is said, counted from the end. It is never acknowledged by the package's client.
pub const GOODBYES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];
/// Answers to datagrams that come after the end, at most.
pub const MAX_DRAIN_ANSWERS: u32 = 16;
/// How many times its keep-alive interval a connection stays silent while its window is full.
const FULL_WINDOW_PATIENCE: u32 = 3;
/// Answers to late goodbyes, at most.
pub const MAX_GOODBYE_ANSWERS: u32 = 2;
/// Datagrams per second of the header's clock: one more could repeat a nonce.
const MAX_PACKETS_PER_STAMP: u32 = 65_534;

/// What both ends of all connections of one server (or client) have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds and times of the delivery engine.
    pub limits: Arc<Limits>,
    /// See [`crate::server::config::Config`]; so are the others.
    pub connection_timeout: Duration,
    /// Of our client: when it gives up its handshake.
    pub handshake_timeout: Duration,
    /// Least time between datagrams that are not full.
    pub send_interval: Duration,
    /// When a message in reassembly is given up.
    pub reassembly_timeout: Duration,
    /// Bytes in reassembly.
    pub max_reassembly_bytes: usize,
}

/// How much more the receiver of events can take. Messages beyond it are refused: not acknowledged, so
/// that their sender repeats them where it promised to.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Messages.
    pub messages: usize,
    /// Bytes; the last message may go beyond.
    pub bytes: usize,
}

impl Room {
    /// Enough for whatever one datagram can bring.
    pub const ENDLESS: Room = Room { messages: usize::MAX, bytes: usize::MAX };
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Our client waits for the server's answer.
    Connecting,
    /// Messages flow.
    Connected,
    /// The end was asked for; what is queued is still being delivered.
    Lingering,
    /// It has ended; the key is kept for a while.
    Draining,
    /// Nothing is left to do.
    Closed,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Connection::close`] or the end of lingering.
    Local,
    /// The other side said goodbye.
    Remote,
    /// Nothing valid came for the connection timeout, or no answer for the handshake timeout.
    Timeout,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Our client has its answer.
    Connected,
    /// A message.
    Message {
        /// The sender's number of it, on the ring; of a fragmented one that of the first fragment.
        sequence: u16,
        /// The bytes.
        data: Vec<u8>,
    },
    /// What became of a message sent with a tag.
    Sent {
        /// The tag.
        tag: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// The queue has room again.
    Writable,
    /// The end; the last event.
    Closed(CloseReason),
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// See [`QueueError`].
    Queue(QueueError),
    /// The connection is not connected.
    NotConnected,
}

/// One end of one connection. See the module's contract.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    outward: Direction,
    state: State,
    handshake: Option<Box<ClientHandshake>>,
    key: Option<Aead>,
    token: u32,
    sender: Sender,
    replay: ReplayWindow,
    /// Number of the newest hello or answer, unproven as all that is clear.
    hello_received: u64,
    acks: Acks,
    /// How long messages wait for their acknowledgement.
    ack_delay: Duration,
    dedup: Dedup,
    reassembly: Reassembly,
    events: VecDeque<Event>,
    packets_sent: u64,
    stamp: u32,
    stamp_packets: u32,
    started: Time,
    last_received: Time,
    last_sent: Time,
    /// Until when lingering lasts, or draining.
    deadline: Time,
    goodbye: Goodbye,
    stats: PeerStats,
    plan: Vec<Planned>,
}

/// What is left to say after the end.
#[derive(Clone, Copy, Debug, Default)]
struct Goodbye {
    number: u64,
    ended: Time,
    said: usize,
    answers: u32,
    answer_due: bool,
    /// Packet that carried it first; 0: none yet. Those after it are goodbyes too.
    packet: u64,
    acknowledged: bool,
}

impl Connection {
    /// The server's end of a proven handshake.
    pub fn accepted(now: Time, settings: Arc<Settings>, established: Established) -> Self {
        let mut connection = Connection::new(now, settings, Direction::ToClient, State::Connected);
        connection.establish(now, established);
        connection
    }

    /// A client's end, with the server's root key or none.
    pub fn connect(
        now: Time,
        settings: Arc<Settings>,
        pinned: Option<Point>,
        provider: &dyn Provider,
    ) -> Result<Self, CryptoError> {
        let handshake = ClientHandshake::new(now, pinned, &settings.limits.sizes, provider)?;
        let mut connection = Connection::new(now, settings, Direction::ToServer, State::Connecting);
        connection.handshake = Some(Box::new(handshake));
        Ok(connection)
    }

    fn new(now: Time, settings: Arc<Settings>, outward: Direction, state: State) -> Self {
        Connection {
            outward,
            state,
            handshake: None,
            key: None,
            token: 0,
            sender: Sender::new(settings.limits.clone(), 2),
            replay: ReplayWindow::default(),
            hello_received: 0,
            acks: Acks::default(),
            ack_delay: match outward {
                Direction::ToServer => CLIENT_ACK_DELAY,
                Direction::ToClient => SERVER_ACK_DELAY,
            },
            dedup: Dedup::default(),
            reassembly: Reassembly::new(
                settings.max_reassembly_bytes,
                settings.limits.max_message,
                settings.reassembly_timeout,
            ),
            events: VecDeque::new(),
            packets_sent: 0,
            stamp: 0,
            stamp_packets: 0,
            started: now,
            last_received: now,
            last_sent: Time::default(),
            deadline: now,
            goodbye: Goodbye::default(),
            stats: PeerStats::default(),
            plan: Vec::new(),
            settings,
        }
    }

    fn establish(&mut self, now: Time, e: Established) {
        self.key = Some(e.key);
        self.token = e.token;
        self.packets_sent = e.packets_sent;
        self.sender = Sender::new(self.settings.limits.clone(), e.messages_sent + 1);
        // What a clear datagram claims is acknowledged, but must not reach into the replay window.
        self.hello_received = e.newest_received;
        self.acks.received(e.newest_received);
        // The hellos are message 1 of their direction.
        self.dedup.insert(1);
        self.last_received = now;
        // The first datagram under the key is not paced: it is the proof, or the proof's acknowledgement.
        self.last_sent = Time::default();
        self.state = State::Connected;
    }

    // --- getters --------------------------------------------------------------------------------------

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The session's public number; 0 before it is known.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Half an acknowledgement's round trip, smoothed.
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

    /// Bytes of unfinished messages, bookkeeping included.
    pub fn reassembly_bytes(&self) -> usize {
        self.reassembly.bytes()
    }

    /// Packets sent and neither acknowledged nor taken for lost.
    pub fn packets_under_way(&self) -> u32 {
        self.sender.packets_under_way()
    }

    /// The longest silence that this end keeps.
    pub fn longest_silence(&self) -> Duration {
        self.settings.limits.keep_alive * FULL_WINDOW_PATIENCE
    }

    /// Whether the other side has acknowledged our goodbye.
    pub fn is_goodbye_acknowledged(&self) -> bool {
        self.goodbye.acknowledged
    }

    /// Acknowledges as the package's client does: with its next datagram, at the latest its next keep-alive.
    #[cfg(test)]
    pub(crate) fn acknowledge_late(&mut self) {
        self.ack_delay = SERVER_ACK_DELAY;
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

    // --- commands -------------------------------------------------------------------------------------

    /// Queues a message; see [`Sender::queue`].
    pub fn send(&mut self, payload: Arc<[u8]>, mode: Mode, tag: u64) -> Result<(), SendError> {
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        self.sender.queue(payload, mode, kind::APP, tag).map_err(SendError::Queue)
    }

    /// Ends the connection: at once, or when what is queued is acknowledged, at most after the connection
    /// timeout. What is left then is cancelled.
    pub fn close(&mut self, now: Time, after_delivery: bool) {
        match self.state {
            State::Connected | State::Lingering if after_delivery && !self.sender.is_idle() => {
                if self.state == State::Connected {
                    self.state = State::Lingering;
                    self.deadline = now + self.settings.connection_timeout;
                }
            }
            State::Connecting | State::Connected | State::Lingering => self.end(now, CloseReason::Local),
            State::Draining | State::Closed => {}
        }
    }

    /// The end: outcomes first, then the event, then goodbyes.
    fn end(&mut self, now: Time, reason: CloseReason) {
        self.sender.close();
        self.reassembly.clear();
        self.drain_outcomes();
        self.events.push_back(Event::Closed(reason));
        if self.key.is_none() {
            self.state = State::Closed;
            return;
        }
        self.state = State::Draining;
        self.deadline = now + DRAIN_TIME;
        self.goodbye = Goodbye { number: self.sender.take_number(), ended: now, ..Goodbye::default() };
        self.dedup = Dedup::default();
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// Takes a datagram in; it is decrypted in place. An error says why it was thrown away: it has then
    /// changed nothing but counts.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        datagram: &mut [u8],
        room: &mut Room,
    ) -> Result<(), DropReason> {
        let result = self.take_datagram(now, datagram, room);
        if result.is_err() {
            self.stats.dropped += 1;
        }
        result
    }

    fn take_datagram(&mut self, now: Time, datagram: &mut [u8], room: &mut Room) -> Result<(), DropReason> {
        if wire::is_clear(datagram) {
            return self.handle_answer(now, datagram);
        }
        let Some(key) = self.key.as_ref().filter(|_| self.state != State::Closed) else {
            return Err(DropReason::Unknown);
        };
        let bytes = datagram.len();
        let header = Header::parse(datagram, self.outward.reverse(), TAG_LEN).map_err(drop_reason)?;
        let number = seq::widen(header.seq, self.replay.newest()).ok_or(DropReason::Malformed)?;
        match self.replay.check(number) {
            Verdict::New => {}
            Verdict::Duplicate => return Err(DropReason::Duplicate),
            Verdict::Old => return Err(DropReason::Old),
        }
        let payload = wire::open_sealed(datagram, key).map_err(drop_reason)?;
        if self.replay.newest() == 0 {
            // The first proven number. A hello's that does not lie before it was a lie.
            self.acks = Acks::default();
            if self.hello_received < number {
                self.acks.received(self.hello_received);
            }
        }
        self.replay.insert(number);
        self.last_received = now;
        self.stats.received += 1;
        self.stats.bytes_received += bytes as u64;
        if self.state == State::Draining {
            let heard = seq::widen(header.ack, self.packets_sent).filter(|n| *n <= self.packets_sent);
            let first = self.goodbye.packet;
            self.goodbye.acknowledged |= first > 0 && heard.is_some_and(|heard| heard >= first);
            // Messages that come now reach nobody. A late goodbye is acknowledged: the package waits for that.
            let goodbye = Messages::new(&header, payload).flatten().any(|m| m.kind == kind::DISCONNECT);
            if header.count == 0 || goodbye || mutant!(DrainAcks) {
                self.acks.received(number);
            }
            // Two ends that have both ended must not go on answering each other.
            let most = if goodbye { MAX_GOODBYE_ANSWERS } else { MAX_DRAIN_ANSWERS };
            if self.goodbye.answers < most {
                self.goodbye.answers += 1;
                self.goodbye.answer_due = true;
            }
            return Ok(());
        }
        self.handle_acks(now, &header);
        let refused = self.handle_messages(now, &header, payload, room);
        self.stats.messages_malformed += self.reassembly.take_left_behind();
        if !refused || mutant!(AckBeforeDelivery) {
            self.acks.received(number);
            if header.count > 0 {
                self.acks.carried_messages(now);
            }
        }
        self.drain_outcomes();
        self.finish_lingering(now);
        Ok(())
    }

    /// A clear datagram is taken by a client that waits for its answer, and by nobody else.
    fn handle_answer(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        let Some(handshake) = self.handshake.as_mut().filter(|_| self.state == State::Connecting) else {
            return Err(DropReason::Clear);
        };
        let established = handshake.handle_answer(datagram).map_err(|_| DropReason::Forged)?;
        self.handshake = None;
        self.stats.received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        let token = established.token;
        self.establish(now, established);
        // Eleven bytes in an empty queue.
        let _queued =
            self.sender.queue(challenge_response(token).into(), Mode::Guaranteed, kind::CHALLENGE_RESP, 0);
        self.events.push_back(Event::Connected);
        Ok(())
    }

    fn handle_acks(&mut self, now: Time, header: &Header) {
        let Some(newest) = seq::widen(header.ack, self.packets_sent).filter(|n| *n <= self.packets_sent)
        else {
            return;
        };
        let bits = header.ack_bits >> u32::from(mutant!(AckBitsShifted));
        // The bits reach 32 packets back.
        self.sender.on_ack(now, newest.saturating_sub(32)..=newest, |n| match newest - n {
            0 => true,
            d @ 1..=32 => bits & (0x8000_0000 >> (d - 1)) != 0,
            _ => false,
        });
    }

    /// Whether one of the messages was refused.
    fn handle_messages(&mut self, now: Time, header: &Header, payload: &[u8], room: &mut Room) -> bool {
        let mut refused = false;
        for message in Messages::new(header, payload) {
            let Ok(message) = message else {
                self.stats.messages_malformed += 1;
                break;
            };
            let Some(number) = seq::widen(message.msgseq, self.dedup.newest()) else {
                self.stats.messages_malformed += 1;
                continue;
            };
            if self.dedup.contains(number) {
                self.stats.messages_duplicate += 1;
                continue;
            }
            let taken = match message.kind {
                kind::APP => self.handle_app(message.msgseq, message.body, room),
                kind::APP_FRAGMENT => self.handle_fragment(now, number, message.body, room),
                kind::DISCONNECT => {
                    self.end(now, CloseReason::Remote);
                    return false;
                }
                kind::CHALLENGE_RESP | kind::KEEP_ALIVE => true,
                _ => {
                    self.stats.messages_malformed += 1;
                    true
                }
            };
            if taken {
                self.dedup.insert(number);
            } else {
                self.stats.messages_refused += 1;
                refused = true;
            }
        }
        refused
    }

    fn handle_app(&mut self, sequence: u16, body: &[u8], room: &mut Room) -> bool {
        if body.len() > self.settings.limits.max_message {
            self.stats.messages_malformed += 1;
            return true;
        }
        if room.messages == 0 || room.bytes == 0 {
            return false;
        }
        self.deliver(sequence, body.to_vec(), room);
        true
    }

    fn handle_fragment(&mut self, now: Time, number: u64, body: &[u8], room: &mut Room) -> bool {
        let Some((header, data)) = FragmentHeader::parse(body) else {
            self.stats.messages_malformed += 1;
            return true;
        };
        if room.messages == 0 || room.bytes == 0 {
            // It is this end that makes its sender wait, for all messages in parts alike.
            self.reassembly.touch_all(now);
            return false;
        }
        let fragment = Fragment { id: header.id, index: header.index - 1, count: header.count, number, data };
        match self.reassembly.insert(now, fragment) {
            Stored::Complete(message, first) => {
                self.deliver(seq::to_wire(first), message, room);
                true
            }
            Stored::Kept => true,
            Stored::Refused => false,
            Stored::Wrong => {
                self.stats.messages_malformed += 1;
                true
            }
        }
    }

    fn deliver(&mut self, sequence: u16, data: Vec<u8>, room: &mut Room) {
        room.messages -= 1;
        room.bytes = room.bytes.saturating_sub(data.len());
        self.stats.messages_received += 1;
        self.events.push_back(Event::Message { sequence, data });
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Connecting => {
                if now >= self.started + self.settings.handshake_timeout {
                    self.end(now, CloseReason::Timeout);
                }
            }
            State::Connected | State::Lingering => {
                if now >= self.last_received + self.settings.connection_timeout && !mutant!(TimeoutNever) {
                    return self.end(now, CloseReason::Timeout);
                }
                self.sender.handle_timeout(now);
                let expired = self.reassembly.expire(now);
                self.stats.messages_malformed += expired as u64;
                self.drain_outcomes();
                if self.state == State::Lingering && now >= self.deadline {
                    return self.end(now, CloseReason::Local);
                }
                self.finish_lingering(now);
            }
            State::Draining if now >= self.deadline => {
                self.state = State::Closed;
                self.key = None;
            }
            State::Draining | State::Closed => {}
        }
    }

    fn finish_lingering(&mut self, now: Time) {
        if self.state == State::Lingering && self.sender.is_idle() {
            self.end(now, CloseReason::Local);
        }
    }

    fn drain_outcomes(&mut self) {
        while let Some((tag, outcome)) = self.sender.poll_outcome() {
            self.events.push_back(Event::Sent { tag, outcome });
        }
        if self.sender.take_writable() && self.state == State::Connected {
            self.events.push_back(Event::Writable);
        }
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has
    /// something to do, if nothing else happens first. `None`: never.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        match self.state {
            State::Connecting => {
                let hello = self.handshake.as_ref().map(|h| h.poll_timeout());
                let end = self.started + self.settings.handshake_timeout;
                Some(hello.map_or(end, |h| h.min(end)))
            }
            State::Connected | State::Lingering => {
                let sends = [
                    self.keep_alive_due(),
                    self.ack_due(now),
                    self.sender.may_send(now).then(|| self.data_due(now)),
                ];
                let times = [
                    sends.into_iter().flatten().min().map(|at| at.max(self.numbers_free(now))),
                    (!mutant!(TimeoutNever)).then(|| self.last_received + self.settings.connection_timeout),
                    (self.state == State::Lingering).then_some(self.deadline),
                    self.sender.poll_timeout(),
                    self.reassembly.next_expiry(),
                ];
                times.into_iter().flatten().min()
            }
            State::Draining => {
                let next = GOODBYES
                    .get(self.goodbye.said)
                    .filter(|_| !mutant!(GoodbyeSilent))
                    .map(|after| self.goodbye.ended + *after);
                let next = if self.goodbye.answer_due && !mutant!(GoodbyeSilent) { Some(now) } else { next };
                Some(next.map_or(self.deadline, |n| n.max(self.numbers_free(now)).min(self.deadline)))
            }
            State::Closed => None,
        }
    }

    /// When waiting data leaves: at once if it fills a packet, else a send interval after the last one.
    fn data_due(&self, now: Time) -> Time {
        let paced = self.last_sent + self.settings.send_interval;
        if paced <= now || self.sender.full_packet_waits() {
            now
        } else {
            paced
        }
    }

    /// Appends the next datagram to `out`; false if there is none now.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let sent = match self.state {
            State::Connecting => self.handshake.as_mut().is_some_and(|h| h.poll_transmit(now, out)),
            State::Connected | State::Lingering => self.transmit_data(now, out),
            State::Draining => self.transmit_goodbye(now, out),
            State::Closed => false,
        };
        if sent {
            self.last_sent = now;
            self.stats.assembled += 1;
            self.stats.bytes_sent += (out.len() - start) as u64;
        }
        sent
    }
}

fn drop_reason(error: WireError) -> DropReason {
    match error {
        WireError::Malformed => DropReason::Malformed,
        WireError::Forged => DropReason::Forged,
    }
}
