//! One end of one connection on mpgameserver's wire.
//!
//! The contract and the families of methods are those of [`Connection`](super::Connection).

mod transmit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::peer::PeerStats;
use crate::metrics::server::DropReason;
use crate::protocol::ack::{Acks, CLIENT_ACK_DELAY, SERVER_ACK_DELAY};
use crate::protocol::crypto::{Aead, CryptoError, Point, Provider, TAG_LEN};
use crate::protocol::dedup::Dedup;
use crate::protocol::delivery::{Delivery, Mode, Planned, Recovery, Sender};
use crate::protocol::fragment::{Fragment, Reassembly, Stored};
use crate::protocol::handshake::mpgameserver::{challenge_response, ClientHandshake, Established};
use crate::protocol::mutant;
use crate::protocol::payload::Payload;
use crate::protocol::replay::{ReplayWindow, Verdict};
use crate::protocol::seq;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, FragmentHeader, Header, Messages, WireError,
};

use super::{CloseReason, Closing, Event, Farewell, Room, SendError, Settings, State};

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

/// One end of one connection on mpgameserver's wire.
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
    /// Messages leave no earlier.
    held_until: Time,
    /// Until when lingering lasts, or draining.
    deadline: Time,
    goodbye: Goodbye,
    /// What the host gave with its close, for its own disconnect event: this wire has no room for it.
    farewell: Farewell,
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
            sender: Sender::new(settings.limits.clone(), Recovery::steady(), 2),
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
            held_until: Time::default(),
            deadline: now,
            goodbye: Goodbye::default(),
            farewell: Farewell::default(),
            stats: PeerStats::default(),
            plan: Vec::new(),
            settings,
        }
    }

    fn establish(&mut self, now: Time, e: Established) {
        self.key = Some(e.key);
        self.token = e.token;
        self.packets_sent = e.packets_sent;
        self.sender = Sender::new(self.settings.limits.clone(), Recovery::steady(), e.messages_sent + 1);
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

    /// Acknowledges as the package's client does: with its next datagram, at the latest its next keep-alive.
    #[cfg(test)]
    pub(crate) fn acknowledge_late(&mut self) {
        self.ack_delay = SERVER_ACK_DELAY;
    }

    /// Whether the other side has acknowledged our goodbye.
    pub fn is_goodbye_acknowledged(&self) -> bool {
        self.goodbye.acknowledged
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
        if matches!(delivery.mode, Mode::Sequenced | Mode::Ordered | Mode::Files) {
            return Err(SendError::Unsupported);
        }
        self.sender.queue(now, payload, delivery, kind::APP, tag).map_err(SendError::Queue)
    }

    /// See [`super::Connection::hold`].
    pub fn hold(&mut self, until: Time) {
        self.held_until = until;
    }

    /// Ends the connection: at once, or when what is queued is acknowledged, at most after the connection
    /// timeout. What is left then is cancelled.
    pub fn close(&mut self, now: Time, after_delivery: bool, farewell: Farewell) {
        match self.state {
            State::Connected | State::Lingering if after_delivery && !self.sender.is_idle() => {
                if self.state == State::Connected {
                    self.farewell = farewell;
                    self.state = State::Lingering;
                    self.deadline = now + self.settings.connection_timeout;
                }
            }
            State::Draining | State::Closed => {}
            _ => {
                self.farewell = farewell;
                self.end(now, CloseReason::Local);
            }
        }
    }

    /// The end: outcomes first, then the event, then goodbyes.
    fn end(&mut self, now: Time, reason: CloseReason) {
        self.sender.close();
        self.reassembly.clear();
        self.drain_outcomes();
        let farewell = match reason {
            CloseReason::Local => std::mem::take(&mut self.farewell),
            _ => Farewell::default(),
        };
        self.events.push_back(Event::Closed(Closing { reason, farewell }));
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
        let proof = challenge_response(token)[..].into();
        let _queued = self.sender.queue(now, proof, Mode::Guaranteed.into(), kind::CHALLENGE_RESP, 0);
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
        self.sender.on_ack(now, Duration::ZERO, newest.saturating_sub(32)..=newest, |n| match newest - n {
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
        let data = room.copy(body);
        self.deliver(sequence, data, room);
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
        let fragment = Fragment {
            id: header.id,
            index: header.index - 1,
            count: header.count,
            number,
            packet: 0,
            promised: false,
            data,
        };
        match self.reassembly.insert(now, fragment) {
            Stored::Complete(message, first, _) => {
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
        self.events.push_back(Event::Message { sequence, channel: 0, mode: None, data, content: None });
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Connecting | State::Joining => {
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

    /// Whether there is a next event.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has
    /// something to do, if nothing else happens first. `None`: never.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        match self.state {
            State::Connecting | State::Joining => {
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
        let due = if paced <= now || self.sender.full_packet_waits() { now } else { paced };
        due.max(self.held_until)
    }

    /// Appends the next datagram to `out`; false if there is none now.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let sent = match self.state {
            State::Connecting | State::Joining => {
                self.handshake.as_mut().is_some_and(|h| h.poll_transmit(now, out))
            }
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
