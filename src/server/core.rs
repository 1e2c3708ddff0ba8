//! The server without its sockets: datagrams and times go in, datagrams and events come out.
//!
//! It lives behind one lock. The loop takes it for a batch of datagrams at a time and lets go of it before
//! it calls the host; `send` from any thread takes it for the time of a copy.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::peer::PeerStats;
use crate::metrics::series::Series;
use crate::metrics::server::{DropReason, ServerStats};
use crate::protocol::connection::{
    CloseReason, Closing, Connection, Event as ConnectionEvent, Farewell, Room, Settings, State,
};
use crate::protocol::crypto::{Provider, SigningKey};
use crate::protocol::delivery::{Mode, Outcome as Delivery};
use crate::protocol::files::hub::Hub;
use crate::protocol::handshake::mpgameserver::{Hello, ServerHandshake};
use crate::protocol::handshake::native::Identity;
use crate::protocol::payload::{Buffers, Payloads};
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{self as wire, Direction, Sizes};
use crate::protocol::wire::native as native_wire;
use crate::server::access_log::{AccessEvent, AccessLog};
use crate::server::admission::{Admission, Admitted, HELLO_BURST};
use crate::server::block_list::BlockList;
use crate::server::budget::{Budgets, Rate};
use crate::server::config::Config;
use crate::server::dashboard::log_tail::LogTail;
use crate::server::events::*;
use crate::server::newcomers::Newcomers;
use crate::server::password::Password;
use crate::server::peers::Peers;
use crate::server::timers::Timers;

use groups::Groups;
use joining::{Join, PASSWORD_GUESSES_PER_SOURCE, PASSWORD_GUESSES_TOTAL};
use rate::Rates;
use raw::Raw;

mod commands;
mod files;
pub mod groups;
pub mod joining;
mod native;
pub mod rate;
pub mod raw;
mod simulated;
pub mod streams;
pub mod watched;

/// Log lines kept for the host at most; above it they are counted and left out.
const MAX_LOG_LINES: usize = 1024;

/// Slots beyond those of the peers in which refused clients are told so as often as it takes; above it once.
const REFUSED_SLOTS: usize = 32;

/// What the loop hands to the host.
pub enum Dispatch {
    /// An event for the handler or the event queue.
    Event(Event),
    /// A completion callback.
    Sent(PeerId, SentCallback, Outcome),
    /// A callback that hears how much of a file is there, of how much.
    FileProgress(PeerId, Arc<FileProgressFn>, FileId, u64, u64),
    /// A callback that hears how a file ended.
    FileDone(PeerId, files::FileWatcher, FileId, FileEnd),
}

enum Completion {
    Callback(SentCallback),
    Tag(u64),
}

/// Which events the host takes, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// What the handler takes itself.
    pub takes: Takes,
    /// Events that wait for a host that pulls; 0: none do.
    pub queue: usize,
    /// Bytes of the same.
    pub queue_bytes: usize,
}

/// See the module.
pub struct Core {
    settings: Arc<Settings>,
    sizes: Sizes,
    wants: Wants,
    max_peers: usize,
    block_list: BlockList,
    peers: Peers,
    admission: Admission,
    timers: Timers<PeerId>,
    handshake_timers: Timers<SocketAddr>,
    dirty: VecDeque<usize>,
    answers: VecDeque<SocketAddr>,
    dispatches: VecDeque<Dispatch>,
    pulled: VecDeque<Event>,
    pulled_bytes: usize,
    log_lines: usize,
    completions: HashMap<u64, Completion>,
    next_tag: u64,
    /// Whom the host sent to last.
    sent_to: usize,
    access_log: Option<AccessLog>,
    /// Strangers of the native wire; none where it is not spoken.
    newcomers: Option<Newcomers>,
    speaks_mpgameserver: bool,
    /// When the server's clock began, the newest tick, and when it was.
    started: Time,
    tick: (u64, Time),
    /// Of the datagram that was given last: whose it is, and whether it probes the path.
    sent_by: Option<usize>,
    is_probe: bool,
    /// Bad networks that the host asked for.
    simulated: Option<Box<simulated::Simulated>>,
    closing: bool,
    authorise: bool,
    max_joining: usize,
    authorise_timeout: Duration,
    password: Option<Password>,
    guesses: Budgets,
    groups: Groups,
    /// Slots of those who get the message to many that is being queued: between two, memory only, so that such a
    /// message allocates nothing per peer.
    recipients: Vec<usize>,
    rates: Rates,
    raw: Raw,
    /// Transfers; none where they are not enabled.
    files: Option<files::Files>,
    /// Connections that streams may open.
    stream_budgets: Budgets,
    next_stream_token: u32,
    /// What there is to do for pipes, and streams whose messages wait for room in the event queue.
    stream_work: VecDeque<streams::StreamWork>,
    stream_waiting: VecDeque<PeerId>,
    /// Memory of messages: of those that are sent, and of those that the host has handled.
    payloads: Payloads,
    buffers: Buffers,
    /// Somebody asked for the host's attention.
    pub woken: bool,
    stats: ServerStats,
    series: Series,
    /// What connections that are gone had counted.
    departed: PeerStats,
    /// The last lines of the log, where somebody watches.
    tail: Option<Box<LogTail>>,
}

impl Core {
    /// From a validated configuration.
    pub fn new(
        now: Time,
        config: &Config,
        takes: Takes,
        root: Arc<dyn SigningKey>,
        identity: Option<Identity>,
        provider: Arc<dyn Provider>,
        access_log: Option<AccessLog>,
    ) -> Self {
        let settings = config.protocol_settings();
        Core {
            sizes: settings.limits.sizes,
            settings,
            wants: Wants {
                takes,
                queue: config.max_queued_events as usize,
                queue_bytes: config.max_queued_event_bytes,
            },
            max_peers: config.max_peers as usize,
            block_list: config.block_list.clone(),
            peers: Peers::default(),
            admission: Admission::new(now, root, provider.clone(), config),
            timers: Timers::default(),
            handshake_timers: Timers::default(),
            dirty: VecDeque::new(),
            answers: VecDeque::new(),
            dispatches: VecDeque::new(),
            pulled: VecDeque::new(),
            pulled_bytes: 0,
            log_lines: 0,
            completions: HashMap::new(),
            next_tag: 1,
            sent_to: 0,
            access_log,
            newcomers: identity.map(|i| Newcomers::new(now, i, provider, config)),
            speaks_mpgameserver: config.wires.mpgameserver,
            started: now,
            tick: (0, now),
            sent_by: None,
            is_probe: false,
            simulated: None,
            closing: false,
            authorise: config.authorise,
            max_joining: config.max_joining as usize,
            authorise_timeout: config.authorise_timeout,
            password: config.password.clone(),
            guesses: Budgets::new(now, PASSWORD_GUESSES_PER_SOURCE, PASSWORD_GUESSES_TOTAL),
            groups: Groups::default(),
            recipients: Vec::new(),
            rates: Rates::new(now, config),
            raw: Raw::new(now, config, takes.raw),
            files: config.files.map(|quota| files::Files::new(Hub::new(quota))),
            stream_budgets: Budgets::new(
                now,
                Rate { hz: config.hellos_per_source_hz, burst: HELLO_BURST },
                Rate { hz: config.hellos_total_hz, burst: HELLO_BURST },
            ),
            next_stream_token: 0,
            stream_work: VecDeque::new(),
            stream_waiting: VecDeque::new(),
            payloads: Payloads::default(),
            buffers: Buffers::default(),
            woken: false,
            stats: ServerStats::default(),
            series: Series::new(now),
            departed: PeerStats::default(),
            tail: config.dashboard.is_some().then(Box::default),
        }
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// A datagram arrived. It is decrypted in place.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        if self.simulated.is_some() {
            return self.receive_simulated(now, from, datagram);
        }
        self.receive(now, from, datagram);
    }

    fn receive(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        self.stats.packets_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        self.series.received(now, datagram.len());
        if let Err(reason) = self.take_datagram(now, from, datagram) {
            self.drop_datagram(reason);
        }
    }

    fn drop_datagram(&mut self, reason: DropReason) {
        if let Some(count) = self.stats.drops.get_mut(reason as usize) {
            *count += 1;
        }
    }

    fn take_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> std::result::Result<(), DropReason> {
        if !self.block_list.is_empty() && self.block_list.contains(from.ip()) {
            return Err(DropReason::Blocked);
        }
        if let Some(taken) = self.take_raw(now, from, datagram) {
            return taken;
        }
        if native_wire::is_native(datagram) {
            return self.take_native(now, from, datagram);
        }
        if !self.speaks_mpgameserver {
            return Err(DropReason::Malformed);
        }
        if wire::is_clear(datagram) {
            return self.handle_hello(now, from, datagram);
        }
        if self.admission.knows(from) {
            if let Some(proven) = self.admission.prove(from, datagram) {
                self.promote(now, proven);
            }
        }
        let slot = self.peers.slot_at(&from).ok_or(DropReason::Unknown)?;
        self.take_from_peer(now, slot, from, datagram)
    }

    /// A datagram for the connection in a slot.
    fn take_from_peer(
        &mut self,
        now: Time,
        slot: usize,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> std::result::Result<(), DropReason> {
        let room = self.room();
        let peer = self.peers.at(slot).ok_or(DropReason::Unknown)?;
        peer.prefetch();
        let Room { messages, bytes, .. } = if peer.status == Status::Joining { Room::NONE } else { room };
        let mut room = Room { messages, bytes, buffers: None, sink: None };
        let (id, door, dispatches) = (peer.id, peer.connection.door(), &mut self.dispatches);
        let mut sink = |event| {
            if let ConnectionEvent::Message { sequence, channel, mode, data, content } = event {
                let mode = mode.map(RetryMode::of);
                let message = Message { sequence, channel, mode, data, content, door };
                dispatches.push_back(Dispatch::Event(Event::Message(id, message)));
            }
        };
        if self.wants.takes.message {
            // What a host pulls is its own.
            room.buffers = Some(&mut self.buffers);
            room.sink = Some(&mut sink);
        }
        peer.connection.handle_datagram(now, from, datagram, &mut room)?;
        let latency = peer.connection.latency();
        if let Some(series) = &mut peer.series {
            series.received(now, datagram.len());
            series.latency(now, latency);
        }
        self.series.latency(now, latency);
        self.touched(now, slot);
        Ok(())
    }

    fn handle_hello(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
    ) -> std::result::Result<(), DropReason> {
        let (header, payload) = wire::open_clear(datagram, Direction::ToServer).map_err(|e| match e {
            wire::WireError::Malformed => DropReason::Malformed,
            wire::WireError::Forged => DropReason::Forged,
        })?;
        if header.kind != wire::kind::CLIENT_HELLO || header.count != 1 {
            return Err(DropReason::Clear);
        }
        let hello = Hello::parse(&header, payload, datagram.len(), &self.sizes).ok_or(DropReason::Hello)?;
        // A client that comes back from a live address takes its own place.
        let returns = self.peers.is_live_at(&from);
        if self.closing || (self.full() && !returns) {
            self.refuse(now, from, "the server is full");
            return Err(DropReason::Full);
        }
        match self.admission.hello(now, from, hello) {
            Admitted::Yes => {
                // A repeated hello can make an answer due.
                self.arm_handshake(from);
                Ok(())
            }
            Admitted::No(reason) => {
                self.refuse(now, from, "too many hellos");
                Err(reason)
            }
        }
    }

    /// Slots in use at most, those included that only say goodbye.
    fn max_slots(&self) -> usize {
        2 * self.max_peers + 64
    }

    /// Slots that nothing can be taken back from.
    fn held_slots(&self) -> usize {
        self.peers.len() - self.peers.unknown()
    }

    fn full(&self) -> bool {
        self.peers.seated() - self.peers.unknown() >= self.max_peers
            || self.held_slots() >= self.max_slots()
            || (self.wants.queue > 0 && self.pulled.len() >= self.wants.queue)
    }

    /// Whether the host's event queue has room for one more that nobody has been promised.
    pub fn can_queue_event(&self) -> bool {
        self.pulled.len() + self.dispatches.len() < self.wants.queue
    }

    /// What the host's event queue can still take; without one, events are handled before the next batch.
    fn room(&self) -> Room<'static> {
        if self.wants.queue == 0 || self.wants.takes.message {
            return Room::ENDLESS;
        }
        Room {
            messages: self.wants.queue.saturating_sub(self.pulled.len() + self.dispatches.len()),
            bytes: self.wants.queue_bytes.saturating_sub(self.pulled_bytes),
            buffers: None,
            sink: None,
        }
    }

    /// A stranger showed that it has the key: it takes the place of whoever sat at its address. Its wire brings
    /// nothing to a join.
    fn promote(&mut self, now: Time, proven: ServerHandshake) {
        let address = proven.address;
        if let Some(old) = self.peers.slot_at(&address) {
            self.replace(now, old);
        }
        let connection = Connection::accepted(now, self.settings.clone(), proven.establish(), address);
        let slot = self.seat(now, address, connection);
        self.join(now, slot, Join::default());
        self.touched(now, slot);
    }

    /// Another client proved itself from a peer's address.
    fn replace(&mut self, now: Time, slot: usize) {
        self.end(now, slot, DisconnectReason::Replaced, "a new client connected from the same address");
        self.peers.unseat(slot);
    }

    /// Ends a peer now, with this reason in its disconnect event.
    fn end(&mut self, now: Time, slot: usize, reason: DisconnectReason, text: &str) {
        let Some(peer) = self.peers.at(slot) else { return };
        let info = DisconnectInfo::new(reason, text);
        peer.connection.close(now, false, info.farewell());
        peer.ending = Some(Box::new(info));
        self.touched(now, slot);
    }

    /// Time passed: timers that are due run.
    pub fn handle_timeout(&mut self, now: Time) {
        self.receive_held(now);
        while let Some((at, id)) = self.timers.pop_due(now) {
            self.peer_timeout(now, at, id);
        }
        while let Some((at, address)) = self.handshake_timers.pop_due(now) {
            if self.admission.fired(at, address) {
                self.stats.handshake_timeouts += self.admission.expire(now, address) as u64;
                self.answers.push_back(address);
            }
        }
        self.work_native(now);
        let peers = &self.peers;
        let (due, refused) = self.admission.work(now, |token| !peers.has_token(token));
        self.stats.drops[DropReason::Hello as usize] += refused;
        self.answers.extend(due);
    }

    fn peer_timeout(&mut self, now: Time, at: Time, id: PeerId) {
        let slot = Peers::place_of(id);
        let Some(peer) = self.peers.at(slot).filter(|p| p.id == id && p.armed == Some(at)) else { return };
        peer.armed = None;
        peer.connection.handle_timeout(now);
        let undecided = peer.join_deadline.is_some_and(|at| at <= now);
        self.touched(now, slot);
        if undecided {
            self.turn_away(now, slot, refusal::UNDECIDED, "nobody decided in time");
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let answers = !self.answers.is_empty() || self.raw.has_answers();
        let newcomers = self.newcomers.as_ref();
        if self.admission.has_work()
            || newcomers.is_some_and(Newcomers::has_work)
            || !self.dirty.is_empty()
            || answers
            || !self.stream_work.is_empty()
            || self.can_resume_streams()
            || self.files_can_go_on()
        {
            return Some(Time::default());
        }
        let held = self.simulated.as_ref().and_then(|s| s.poll_timeout());
        let unproven = newcomers.and_then(Newcomers::poll_timeout);
        let (peers, handshakes) = (self.timers.due(), self.handshake_timers.due());
        [peers, handshakes, held, unproven, self.rates.poll_timeout()].into_iter().flatten().min()
    }

    /// After any input to a peer: its events are collected, and it is put on the list for the next flush.
    fn touched(&mut self, now: Time, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        let streams = peer.connection.as_stream().is_some();
        if !streams && !std::mem::replace(&mut peer.dirty, true) {
            self.dirty.push_back(slot);
        }
        if peer.connection.has_events() {
            self.collect(now, slot);
        }
        if streams && self.peers.at(slot).is_some() {
            self.note_stream(slot);
            self.arm_peer(now, slot);
        }
    }

    fn arm_peer(&mut self, now: Time, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        if peer.connection.state() == State::Closed {
            if !peer.visible {
                self.vacate(slot);
            }
            return;
        }
        // It was refused and told so; where there are many of these, that is all that they get.
        let refused = !peer.visible && peer.join_deadline.is_some();
        if refused && self.peers.len() > self.max_peers + REFUSED_SLOTS {
            return self.vacate(slot);
        }
        let Some(peer) = self.peers.at(slot) else { return };
        // A timer that fires too early finds that out; one that would fire too late is set again.
        let deadline = peer.join_deadline.filter(|_| peer.status == Status::Joining);
        if let Some(at) = peer.connection.poll_timeout(now).into_iter().chain(deadline).min() {
            if peer.armed.is_none_or(|armed| at < armed) {
                peer.armed = Some(at);
                let id = peer.id;
                self.timers.push(at, id, self.peers.len(), self.peers.armed());
            }
        }
    }

    fn arm_handshake(&mut self, address: SocketAddr) {
        if let Some(at) = self.admission.arm(address) {
            let admission = &self.admission;
            self.handshake_timers.push(at, address, admission.addresses(), admission.armed());
        }
    }

    /// For tests: timers of peers and of handshakes, those included that no longer stand.
    #[cfg(test)]
    fn timer_count(&self) -> usize {
        self.timers.len() + self.handshake_timers.len()
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// Appends the next datagram to `out`, which is cleared first, and says where it goes.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if self.simulated.is_some() {
            return self.transmit_simulated(now, out);
        }
        self.next_datagram(now, out)
    }

    fn next_datagram(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        (self.sent_by, self.is_probe) = (None, false);
        if let Some(address) = self.answer_to_a_stranger(now, out) {
            self.rates.sent(now, out.len(), None);
            self.count_sent(now, out.len());
            return Some(address);
        }
        while let Some(&slot) = self.dirty.front() {
            if let Some(&next) = self.dirty.get(1) {
                self.peers.prefetch(next);
            }
            let sent = self.transmit(now, slot, false, out);
            if sent.is_none() || self.peers.at(slot).is_none_or(|p| p.connection.is_done_for_now(now)) {
                self.dirty.pop_front();
                self.rest(now, slot);
            }
            if sent.is_some() {
                return sent;
            }
        }
        while let Some((slot, id)) = self.rates.next_turn(now) {
            if let Some(address) = self.transmit(now, slot, true, out) {
                self.rates.wait(slot, id);
                return Some(address);
            }
            if let Some(peer) = self.peers.at(slot).filter(|p| p.id == id) {
                peer.waits_for_turn = false;
                self.collect(now, slot);
                self.arm_peer(now, slot);
            }
        }
        None
    }

    /// Appends what is said next to those who are no peers.
    fn answer_to_a_stranger(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let newcomers = self.newcomers.as_mut();
        if let Some(address) = newcomers.and_then(|n| n.poll_transmit(now, out)) {
            return Some(address);
        }
        if let Some(address) = self.raw.poll_transmit(out) {
            return Some(address);
        }
        while let Some(&address) = self.answers.front() {
            if self.admission.poll_transmit(now, address, out) {
                return Some(address);
            }
            self.answers.pop_front();
            self.arm_handshake(address);
        }
        None
    }

    /// Appends a peer's next datagram; with messages only if it is its turn, where peers take turns.
    fn transmit(&mut self, now: Time, slot: usize, its_turn: bool, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.announce_tick(now, slot);
        let peer = self.peers.at(slot)?;
        peer.connection.hold(self.rates.hold(peer.send_rate.as_ref(), its_turn));
        let address = peer.connection.poll_transmit(now, out)?;
        (self.sent_by, self.is_probe) = (Some(slot), peer.connection.is_probe());
        if let Some(series) = &mut peer.series {
            series.sent(now, out.len());
        }
        self.rates.sent(now, out.len(), peer.send_rate.as_mut());
        self.count_sent(now, out.len());
        Some(address)
    }

    /// A peer has nothing to send for now: it waits for its timer, or for its turn.
    fn rest(&mut self, now: Time, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        peer.dirty = false;
        let id = peer.id;
        if self.rates.are_shared() && !peer.waits_for_turn && peer.connection.queued_messages() > 0 {
            peer.waits_for_turn = true;
            self.rates.wait(slot, id);
        }
        self.collect(now, slot);
        self.arm_peer(now, slot);
    }

    fn count_sent(&mut self, now: Time, bytes: usize) {
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += bytes as u64;
        self.series.sent(now, bytes);
    }

    /// The operating system refused a datagram; it is lost like any other.
    pub fn send_failed(&mut self) {
        self.drop_datagram(DropReason::SendFailed);
    }

    /// The next thing for the host's callbacks.
    pub fn poll_dispatch(&mut self) -> Option<Dispatch> {
        let next = self.dispatches.pop_front();
        if let Some(Dispatch::Event(Event::Log(..))) = next {
            self.log_lines -= 1;
        }
        next
    }

    /// All of them at once, in the place of `handled`, which must be empty.
    pub fn poll_dispatches(&mut self, handled: &mut VecDeque<Dispatch>) {
        debug_assert!(handled.is_empty());
        std::mem::swap(&mut self.dispatches, handled);
        // They are what all log lines wait in where the handler takes those.
        if self.log_lines > 0 && self.wants.takes.log {
            self.log_lines = 0;
        }
    }

    /// The host has handled a message: its memory serves another.
    pub fn recycle(&mut self, message: Message) {
        self.buffers.give(message.data);
    }

    /// The next event for a host that pulls.
    pub fn poll_pulled(&mut self) -> Option<Event> {
        let event = self.pulled.pop_front()?;
        self.pulled_bytes -= bytes_from_outside(&event);
        match &event {
            Event::Log(..) => self.log_lines -= 1,
            Event::Writable(id) => {
                if let Some(peer) = self.peers.get_mut(*id) {
                    peer.writable_waits = false;
                }
            }
            _ => {}
        }
        Some(event)
    }

    /// Whether events wait for a host that pulls.
    pub fn has_pulled(&self) -> bool {
        !self.pulled.is_empty()
    }

    /// The host has handled a peer's disconnect event: the id is stale from now on.
    pub fn retire(&mut self, id: PeerId) {
        let Some(slot) = self.peers.slot_of(id) else { return };
        let Some(peer) = self.peers.at(slot) else { return };
        peer.visible = false;
        peer.series = None;
        if peer.connection.state() == State::Closed {
            self.vacate(slot);
        }
    }

    /// Turns a connection's events into the server's.
    fn collect(&mut self, now: Time, slot: usize) {
        while let Some(peer) = self.peers.at(slot) {
            let (id, door) = (peer.id, peer.connection.door());
            let Some(event) = peer.connection.poll_event() else { return };
            match event {
                // A server's end is connected from the start.
                ConnectionEvent::Connected => {}
                ConnectionEvent::Message { mode: Some(Mode::Files), data, .. } => {
                    self.handle_file_message(now, id, &data);
                    self.buffers.give(data);
                }
                ConnectionEvent::Message { sequence, channel, mode, data, content } => {
                    let mode = mode.map(RetryMode::of);
                    self.emit(Event::Message(id, Message { sequence, channel, mode, data, content, door }));
                }
                ConnectionEvent::Sent { tag, outcome } => self.completed(id, tag, outcome.into()),
                ConnectionEvent::Writable => self.emit(Event::Writable(id)),
                ConnectionEvent::Closed(closing) => self.closed(now, slot, closing),
                ConnectionEvent::Join { password, data } => {
                    self.join(now, slot, Join { password: password.as_deref(), data: &data });
                }
            }
        }
    }

    fn completed(&mut self, id: PeerId, tag: u64, outcome: Outcome) {
        match self.completions.remove(&tag) {
            Some(Completion::Callback(callback)) => {
                self.dispatches.push_back(Dispatch::Sent(id, callback, outcome));
            }
            Some(Completion::Tag(tag)) => self.emit(Event::Sent(id, tag, outcome)),
            None => {}
        }
    }

    fn closed(&mut self, now: Time, slot: usize, closing: Closing) {
        let reason = closing.reason;
        self.end_stream(slot, &closing.farewell);
        // A peer has one end, and one event that tells of it.
        let Some(peer) = self.peers.at(slot).filter(|p| p.status.is_seated()) else { return };
        let (id, address, token) = (peer.id, peer.address, peer.connection.token());
        let (visible, joining) = (peer.visible, peer.status == Status::Joining);
        let info = match (reason, peer.ending.take()) {
            (CloseReason::Remote, _) => left(closing.farewell),
            (CloseReason::Timeout, _) => info(DisconnectReason::Timeout, "the client fell silent"),
            (CloseReason::Protocol, _) => info(DisconnectReason::Protocol, "the client broke the protocol"),
            (CloseReason::Restarted, _) => info(DisconnectReason::Restarted, "the client was started anew"),
            (CloseReason::Local, Some(ending)) => *ending,
            (CloseReason::Local, None) => info(DisconnectReason::Kicked, "disconnected by the host"),
        };
        if std::mem::take(&mut peer.waits_for_turn) {
            self.rates.forget(id);
        }
        self.groups.forget(id);
        self.close_files(id);
        let dropped = reason == CloseReason::Timeout;
        let status = if dropped { Status::Dropped } else { Status::Disconnected };
        if joining {
            return self.joining_ended(now, slot, status, &info.text);
        }
        self.peers.ended(slot, status);
        if visible {
            self.stats.disconnects += 1;
            self.access(now, AccessEvent::Disconnect, address, Some(token), &info.text);
            self.emit(Event::Disconnect(id, info));
        }
    }

    /// Hands an event to the handler, to the event queue, or to nobody, as the host wished.
    pub fn emit(&mut self, event: Event) {
        let takes = &self.wants.takes;
        let (taken, silent) = match &event {
            Event::Starting => (takes.starting, false),
            Event::Connect(..) => (takes.connect, false),
            // A disconnect always passes the loop: it makes the peer's id stale.
            Event::Disconnect(..) => (takes.disconnect || self.wants.queue == 0, false),
            Event::Message(..) => (takes.message, false),
            Event::Update { .. } => (takes.update, false),
            Event::Writable(..) => (takes.writable, false),
            Event::Reconcile => (takes.reconcile, false),
            Event::Sent(..) => (false, false),
            Event::Shutdown => (takes.shutdown, false),
            Event::Log(..) => (takes.log, self.log_lines >= MAX_LOG_LINES),
            Event::Authorise(..) => (takes.authorise, false),
            Event::Raw(..) => (takes.raw, false),
            Event::Request(..) => (false, false),
            Event::File(..) => (takes.file, false),
        };
        if silent {
            self.stats.log_lines_suppressed += 1;
            return;
        }
        if !taken && self.wants.queue == 0 {
            return;
        }
        self.log_lines += usize::from(matches!(event, Event::Log(..)));
        if taken {
            self.dispatches.push_back(Dispatch::Event(event));
        } else {
            self.enqueue(event);
        }
    }

    fn enqueue(&mut self, event: Event) {
        self.pulled_bytes += bytes_from_outside(&event);
        if let Event::Writable(id) = &event {
            // That there is room is said once until the host has heard it.
            let waits = self.peers.get_mut(*id).map(|p| std::mem::replace(&mut p.writable_waits, true));
            if waits == Some(true) {
                return;
            }
        }
        // Ticks that nobody pulled are one, and so is housekeeping, also where the two alternate.
        let timers = |e: &&mut Event| matches!(e, Event::Update { .. } | Event::Reconcile);
        let merged =
            self.pulled.iter_mut().rev().take(2).take_while(timers).any(|waiting| match (waiting, &event) {
                (Event::Update { seconds, tick }, Event::Update { seconds: more, tick: last }) => {
                    *seconds += more;
                    *tick = *last;
                    true
                }
                (Event::Reconcile, Event::Reconcile) => true,
                _ => false,
            });
        if !merged {
            self.pulled.push_back(event);
        }
    }

    /// A line for the host's log.
    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        let text = text.into();
        if let Some(tail) = &mut self.tail {
            tail.push(level.name(), &text);
        }
        self.emit(Event::Log(level, text));
    }

    fn refuse(&mut self, now: Time, address: SocketAddr, reason: &str) {
        self.access(now, AccessEvent::Refuse, address, None, reason);
    }

    fn access(
        &mut self,
        now: Time,
        what: AccessEvent,
        address: SocketAddr,
        token: Option<u32>,
        reason: &str,
    ) {
        if let Some(tail) = &mut self.tail {
            match token {
                Some(token) => tail.push(what.name(), format_args!("{address} {token} {reason}")),
                None => tail.push(what.name(), format_args!("{address} - {reason}")),
            }
        }
        let Some(log) = &mut self.access_log else { return };
        if let Err(error) = log.line(now, what, address, token, reason) {
            self.log(LogLevel::Error, format!("access log: {error}"));
        }
    }
}

/// What of an event's memory is as much as the other side likes.
fn bytes_from_outside(event: &Event) -> usize {
    match event {
        Event::Message(_, message) => message.data.len(),
        Event::Authorise(_, request) => request.data.len(),
        Event::Raw(_, data) => data.len(),
        _ => 0,
    }
}

/// A goodbye as the host hears it: with the client's own number and words, if it had any.
fn left(farewell: Farewell) -> DisconnectInfo {
    let said = !farewell.text.is_empty();
    let text = if said { farewell.text } else { "the client left".into() };
    DisconnectInfo::new(DisconnectReason::Remote, text).with_code(farewell.code)
}

fn info(reason: DisconnectReason, text: &str) -> DisconnectInfo {
    DisconnectInfo::new(reason, text)
}

impl From<Delivery> for Outcome {
    fn from(outcome: Delivery) -> Outcome {
        match outcome {
            Delivery::Delivered => Outcome::Delivered,
            Delivery::Expired => Outcome::Expired,
            Delivery::Cancelled => Outcome::Cancelled,
        }
    }
}

/// The longest that goodbyes of a stopping server take.
pub const SHUTDOWN_TIME: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
