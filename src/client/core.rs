//! The client without its socket: datagrams, addresses and times go in, datagrams and events come out.
//!
//! It lives behind one lock, which is never held while the host is called.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::{ClientConfig, KnownKeys};
use super::events::*;
use super::files::Files;
use super::session::{Session, SessionEvent};
use super::simulated::Simulated;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::peer::PeerStats;
use crate::metrics::series::{Second, Series};
use crate::net::address::RemoteAddress;
use crate::protocol::connection::native::ServerClock;
use crate::protocol::connection::{Room, Settings};
use crate::protocol::files::hub::Hub;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;
use crate::server::send_rate::SendRate;

/// Longest time that one address of several gets before the next one is tried; the last one gets the whole
/// handshake timeout.
pub const MAX_ATTEMPT: Duration = Duration::from_secs(1);
/// How long a host name may take to become an address: as long as resolvers commonly try.
pub const RESOLVE_TIME: Duration = Duration::from_secs(15);
/// Log lines kept for the host at most; those above it are left out.
const MAX_LOG_LINES: usize = 1024;

/// What the loop hands to the host.
pub(super) enum Dispatch {
    Event(Event),
    Sent(SentCallback, Outcome),
    FileProgress(Arc<FileProgressFn>, FileId, u64, u64),
    FileDone(super::files::FileWatcher, FileId, FileEnd),
}

enum Completion {
    Callback(SentCallback),
    Tag(u64),
}

/// See the module.
pub(super) struct Core {
    config: ClientConfig,
    pub(super) settings: Arc<Settings>,
    remote: RemoteAddress,
    pub(super) takes: Takes,
    /// Until when a host name may take to be resolved; `None`: nobody asks.
    resolving: Option<Time>,
    /// Addresses that are left to be tried.
    addresses: VecDeque<SocketAddr>,
    /// The session, until it has ended.
    pub(super) session: Option<Session>,
    /// Transfers; none where they are not enabled.
    pub(super) files: Option<Files>,
    /// When the next address gets its turn, if there is one.
    attempt_ends: Option<Time>,
    /// The one before, for as long as it has goodbyes to say, and for its counts.
    ended: Option<Session>,
    status: Status,
    /// A bad network that the host asked for.
    pub(super) simulated: Option<Box<Simulated>>,
    /// Whether the datagram that was given last probes the path: it must not be fragmented.
    pub(super) is_probe: bool,
    /// What may be sent, whatever session it is of.
    pub(super) send_rate: Option<SendRate>,
    pub(super) series: Series,
    /// Sessions begun; of addresses that were tried.
    sessions: u64,
    pub(super) attempts: u64,
    pub(super) dispatches: VecDeque<Dispatch>,
    pulled: VecDeque<Event>,
    pulled_bytes: usize,
    log_lines: usize,
    writable_waits: bool,
    completions: HashMap<u64, Completion>,
    next_tag: u64,
    /// Somebody asked for the host's attention.
    pub(super) woken: bool,
}

impl Core {
    /// From a validated configuration; the first session begins.
    pub(super) fn new(now: Time, config: ClientConfig, takes: Takes, remote: RemoteAddress) -> Core {
        let mut core = Core {
            settings: config.protocol_settings(),
            send_rate: SendRate::new(now, config.peer_send_rate),
            series: Series::new(now),
            files: config.files.map(|quota| Files::new(Hub::new(quota))),
            config,
            remote,
            takes,
            resolving: None,
            addresses: VecDeque::new(),
            session: None,
            simulated: None,
            is_probe: false,
            attempt_ends: None,
            ended: None,
            status: Status::Connecting,
            sessions: 0,
            attempts: 0,
            dispatches: VecDeque::new(),
            pulled: VecDeque::new(),
            pulled_bytes: 0,
            log_lines: 0,
            writable_waits: false,
            completions: HashMap::new(),
            next_tag: 1,
            woken: false,
        };
        core.begin(now);
        core
    }

    // --- beginning --------------------------------------------------------------------------------------

    fn begin(&mut self, now: Time) {
        self.sessions += 1;
        self.status = Status::Connecting;
        match self.remote {
            RemoteAddress::Address(address) => self.handle_addresses(now, Ok(vec![address])),
            RemoteAddress::Name(..) => self.resolving = Some(now + RESOLVE_TIME),
        }
    }

    /// The host name that is to be resolved, if one is, and for which session.
    pub(super) fn wants_addresses(&self) -> Option<(u64, &str, u16)> {
        match &self.remote {
            RemoteAddress::Name(name, port) if self.resolving.is_some() => Some((self.sessions, name, *port)),
            _ => None,
        }
    }

    /// The addresses to try, in turn.
    pub(super) fn handle_addresses(&mut self, now: Time, addresses: Result<Vec<SocketAddr>>) {
        self.resolving = None;
        match addresses {
            Ok(addresses) => {
                self.addresses = addresses.into();
                let none = DisconnectInfo {
                    code: 0,
                    reason: DisconnectReason::Name,
                    text: "the host name has no address".into(),
                };
                self.try_next(now, none);
            }
            Err(error) => self.finish(DisconnectInfo {
                reason: DisconnectReason::Name,
                code: 0,
                text: error.message().to_owned(),
            }),
        }
    }

    /// Tries the next address. Without one the session ends as `last` says.
    fn try_next(&mut self, now: Time, last: DisconnectInfo) {
        self.session = None;
        self.attempt_ends = None;
        let Some(address) = self.addresses.pop_front() else { return self.finish(last) };
        match Session::connect(now, &self.config, &self.settings, address) {
            Ok(session) => self.session = Some(session),
            Err(error) => {
                let reason = DisconnectReason::Unreachable;
                return self.finish(DisconnectInfo { reason, code: 0, text: error.message().to_owned() });
            }
        }
        self.attempts += 1;
        if !self.addresses.is_empty() {
            self.attempt_ends = Some(now + self.settings.handshake_timeout.min(MAX_ATTEMPT));
        }
        self.log(LogLevel::Info, format!("connecting to {address}"));
        self.emit(Event::Connecting(address));
    }

    /// The number of the attempt that runs, for whoever listens for refusals of it.
    pub(super) fn attempt(&self) -> Option<u64> {
        self.session.as_ref().filter(|s| s.is_unanswered()).map(|_| self.attempts)
    }

    /// The system cannot reach the address that is being tried. Later, when the server has proved that it is
    /// there, such news are worth nothing, however long its host takes to let us in.
    pub(super) fn handle_unreachable(&mut self, now: Time, reason: DisconnectReason, why: &str) {
        let Some(session) = self.session.as_ref().filter(|s| s.is_unanswered()) else { return };
        let text = format!("{} cannot be reached: {why}", session.server());
        self.try_next(now, DisconnectInfo { reason, code: 0, text });
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// A datagram arrived. It is decrypted in place.
    pub(super) fn receive(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        let mut room = self.room();
        // An attempt to open it spoils it: the session before gets a copy while it still listens.
        let copy = self.ended.as_ref().filter(|e| !e.is_closed()).map(|_| datagram.to_vec());
        // Why one was thrown away shows in the counts.
        let session = self.session.as_mut();
        let mut taken = session.is_some_and(|s| s.handle_datagram(now, from, datagram, &mut room).is_ok());
        if let (false, Some(ended), Some(mut copy)) = (taken, &mut self.ended, copy) {
            taken = ended.handle_datagram(now, from, &mut copy, &mut room).is_ok();
        }
        if taken {
            self.count_received(now, datagram.len());
        }
        self.collect(now);
    }

    fn count_received(&mut self, now: Time, bytes: usize) {
        self.series.received(now, bytes);
        let latency = self.latency();
        // Nothing was measured before the first acknowledgement.
        if !latency.is_zero() {
            self.series.latency(now, latency);
        }
    }

    /// What the host's event queue can still take; without one, events are handled before the next batch.
    pub(super) fn room(&self) -> Room<'static> {
        if self.queue() == 0 || self.takes.message {
            return Room::ENDLESS;
        }
        Room {
            messages: self.queue().saturating_sub(self.pulled.len() + self.dispatches.len()),
            bytes: self.config.max_queued_event_bytes.saturating_sub(self.pulled_bytes),
            buffers: None,
            sink: None,
        }
    }

    pub(super) fn queue(&self) -> usize {
        self.config.max_queued_events as usize
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.simulated.is_some() {
            self.receive_held(now);
        }
        if self.resolving.is_some_and(|until| now >= until) {
            let text = "the host name could not be resolved in time".to_owned();
            self.resolving = None;
            self.finish(DisconnectInfo { reason: DisconnectReason::Name, code: 0, text });
        }
        if self.attempt_ends.is_some_and(|at| now >= at) {
            self.attempt_ends = None;
            self.handle_unreachable(now, DisconnectReason::Timeout, "it does not answer");
        }
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        if let Some(ended) = &mut self.ended {
            ended.handle_timeout(now);
        }
        self.collect(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has something to do.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.files_can_go_on() {
            return Some(Time::default());
        }
        let of = |session: &Option<Session>| session.as_ref().and_then(|s| s.poll_timeout(now));
        let own = [self.resolving, self.attempt_ends, self.held_until(), of(&self.session), of(&self.ended)];
        own.into_iter().flatten().min()
    }

    // --- commands ---------------------------------------------------------------------------------------

    /// See [`crate::Client::send`]. The callback stays with the caller when this fails, to be dropped without
    /// the lock: its drop may be code of the host's that calls in here.
    pub(super) fn send(&mut self, now: Time, payload: Payload, options: &mut SendOptions) -> Result<()> {
        let pulls = options.on_sent.is_none() && options.tag.is_some();
        if pulls && self.queue() == 0 {
            return Err(Error::new(ErrorKind::State, "a tag needs an event queue (max_queued_events)"));
        }
        if pulls && self.pulled.len() >= self.queue() {
            return Err(Error::new(ErrorKind::WouldBlock, "the event queue is full: take events first"));
        }
        let delivery = options.delivery()?;
        let tag = if pulls || options.on_sent.is_some() { self.next_tag } else { 0 };
        let session = self.session.as_mut().filter(|s| s.is_connected());
        let session = session.ok_or_else(|| Error::new(ErrorKind::State, "the client is not connected"))?;
        session.send(now, payload, options.content.take(), delivery, tag)?;
        let callback = options.on_sent.take().map(Completion::Callback);
        if let Some(completion) = callback.or(options.tag.map(Completion::Tag)) {
            self.completions.insert(tag, completion);
            self.next_tag += 1;
        }
        self.collect(now);
        Ok(())
    }

    /// Ends the session: at once, or when what is queued is acknowledged. Without one it does nothing.
    pub(super) fn disconnect(&mut self, now: Time, after_delivery: bool) {
        self.addresses.clear();
        if after_delivery {
            self.say_last_of_files(now);
        }
        if self.resolving.take().is_some() {
            let text = "this end left".to_owned();
            return self.finish(DisconnectInfo { reason: DisconnectReason::Local, code: 0, text });
        }
        if let Some(session) = &mut self.session {
            session.close(now, after_delivery);
            if session.is_lingering() {
                self.status = Status::Disconnecting;
            }
        }
        self.collect(now);
    }

    /// See [`crate::Client::reconnect`].
    pub(super) fn reconnect(&mut self, now: Time) {
        self.disconnect(now, false);
        self.begin(now);
    }

    // --- getters ----------------------------------------------------------------------------------------

    /// Longest message that is taken.
    pub(super) fn max_message(&self) -> usize {
        self.settings.limits.max_message
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// The session that there is, or was last.
    fn latest(&self) -> Option<&Session> {
        self.session.as_ref().or(self.ended.as_ref())
    }

    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.latest().map(Session::server)
    }

    pub(super) fn token(&self) -> u32 {
        self.latest().map_or(0, Session::token)
    }

    pub(super) fn server_key(&self) -> KnownKeys {
        self.latest().map(Session::server_key).unwrap_or_default()
    }

    /// See [`crate::Client::server_clock`].
    pub(super) fn server_clock(&self) -> ServerClock {
        self.latest().map(Session::server_clock).unwrap_or_default()
    }

    pub(super) fn latency(&self) -> Duration {
        self.latest().map(Session::latency).unwrap_or_default()
    }

    /// Messages and bytes queued and unacknowledged.
    pub(super) fn queued(&self) -> (usize, usize) {
        self.latest().map(Session::queued).unwrap_or_default()
    }

    pub(super) fn stats(&self) -> PeerStats {
        self.latest().map(Session::stats).unwrap_or_default()
    }

    /// See [`crate::Client::series`].
    pub(super) fn series(&self, now: Time) -> Vec<Second> {
        self.series.snapshot(now)
    }

    /// The number of the session that began last.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Whether no session is under way, and the last one has said its goodbye.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.running() == 0 && self.is_farewell_over(now)
    }

    /// The number of the last session that is over, goodbye and callbacks included; so are those before it.
    pub(super) fn over(&self, now: Time) -> u64 {
        let told = self.dispatches.is_empty() && self.is_farewell_over(now);
        // A session that began says nothing about the end of the one before.
        (self.sessions - self.running()).saturating_sub(u64::from(!told))
    }

    /// Sessions under way.
    fn running(&self) -> u64 {
        u64::from(self.session.is_some() || self.resolving.is_some())
    }

    /// The last session that ended has said its goodbye.
    fn is_farewell_over(&self, now: Time) -> bool {
        self.ended.as_ref().is_none_or(|s| s.is_farewell_over(now))
    }

    // --- outputs ----------------------------------------------------------------------------------------

    /// Puts the next datagram into `out`, which is cleared first, and says where it goes.
    pub(super) fn next_datagram(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        self.is_probe = false;
        let held_until = self.send_rate.as_ref().map_or(Time::default(), SendRate::free_at);
        // The goodbye of the session before comes before the next one's hello.
        for session in [&mut self.ended, &mut self.session].into_iter().flatten() {
            session.hold(held_until);
            if let Some(to) = session.poll_transmit(now, out) {
                self.is_probe = session.is_probe();
                if let Some(rate) = &mut self.send_rate {
                    rate.spend(now, out.len());
                }
                self.series.sent(now, out.len());
                return Some(to);
            }
        }
        self.collect(now);
        None
    }

    /// The next thing for the host's callbacks.
    pub(super) fn poll_dispatch(&mut self) -> Option<Dispatch> {
        let next = self.dispatches.pop_front();
        if let Some(Dispatch::Event(Event::Log(..))) = next {
            self.log_lines -= 1;
        }
        next
    }

    /// The next event for a host that pulls.
    pub(super) fn poll_pulled(&mut self) -> Option<Event> {
        let event = self.pulled.pop_front()?;
        match &event {
            Event::Message(message) => self.pulled_bytes -= message.data.len(),
            Event::Log(..) => self.log_lines -= 1,
            Event::Writable => self.writable_waits = false,
            _ => {}
        }
        Some(event)
    }

    /// How many events wait for a host that pulls.
    pub(super) fn queued_events(&self) -> usize {
        self.pulled.len()
    }

    /// Whether events wait for a host that pulls.
    pub(super) fn has_pulled(&self) -> bool {
        !self.pulled.is_empty()
    }

    /// Turns the session's events into the client's.
    pub(super) fn collect(&mut self, now: Time) {
        while let Some(event) = self.session.as_mut().and_then(|s| s.poll_event(now)) {
            match event {
                SessionEvent::Connected => self.connected(),
                SessionEvent::File(message) => self.handle_file_message(now, &message),
                SessionEvent::Message(message) => self.emit(Event::Message(message)),
                SessionEvent::Sent(tag, outcome) => self.completed(tag, outcome),
                SessionEvent::Writable => self.emit(Event::Writable),
                SessionEvent::Closed(info) => self.closed(now, info),
            }
        }
    }

    fn connected(&mut self) {
        let Some(session) = &self.session else { return };
        let info = ConnectInfo { address: session.server(), token: session.token(), door: session.door() };
        self.status = Status::Connected;
        self.addresses.clear();
        self.attempt_ends = None;
        self.log(LogLevel::Info, format!("connected to {}", info.address));
        self.emit(Event::Connected(info));
    }

    fn completed(&mut self, tag: u64, outcome: Outcome) {
        match self.completions.remove(&tag) {
            Some(Completion::Callback(callback)) => {
                self.dispatches.push_back(Dispatch::Sent(callback, outcome));
            }
            Some(Completion::Tag(tag)) => self.emit(Event::Sent(tag, outcome)),
            None => {}
        }
    }

    fn closed(&mut self, now: Time, info: DisconnectInfo) {
        use DisconnectReason::{NobodyListens, Timeout, Unreachable};
        // Who was answered has found the server: what it said counts for all of its addresses.
        let unheard = matches!(info.reason, Timeout | Unreachable | NobodyListens)
            && !self.session.as_ref().is_some_and(Session::has_welcome);
        if unheard && !self.addresses.is_empty() {
            return self.try_next(now, info);
        }
        self.addresses.clear();
        self.close_files();
        self.ended = self.session.take();
        self.finish(info);
    }

    fn finish(&mut self, info: DisconnectInfo) {
        self.attempt_ends = None;
        let dropped = info.reason == DisconnectReason::Timeout;
        self.status = if dropped { Status::Dropped } else { Status::Disconnected };
        self.log(LogLevel::Info, format!("disconnected: {}", info.text));
        self.emit(Event::Disconnected(info));
    }

    /// Hands an event to the handler, to the event queue, or to nobody, as the host wished.
    pub(super) fn emit(&mut self, event: Event) {
        let takes = &self.takes;
        let taken = match &event {
            Event::Connecting(..) => takes.connecting,
            Event::Connected(..) => takes.connected,
            Event::Disconnected(..) => takes.disconnected,
            Event::Message(..) => takes.message,
            Event::Update { .. } => takes.update,
            Event::Writable => takes.writable,
            Event::Sent(..) => false,
            Event::Shutdown => takes.shutdown,
            Event::Log(..) => takes.log,
            Event::File(..) => takes.file,
        };
        if !taken && self.queue() == 0 {
            return;
        }
        if let Event::Log(..) = event {
            if self.log_lines >= MAX_LOG_LINES {
                return;
            }
            self.log_lines += 1;
        }
        if taken {
            self.dispatches.push_back(Dispatch::Event(event));
        } else {
            self.enqueue(event);
        }
    }

    fn enqueue(&mut self, event: Event) {
        match (&event, self.pulled.back_mut()) {
            (Event::Message(message), _) => self.pulled_bytes += message.data.len(),
            // That there is room is said once until the host has heard it.
            (Event::Writable, _) if std::mem::replace(&mut self.writable_waits, true) => return,
            // Ticks that nobody pulled are one.
            (Event::Update { seconds: more, tick: last }, Some(Event::Update { seconds, tick })) => {
                *seconds += more;
                *tick = *last;
                return;
            }
            _ => {}
        }
        self.pulled.push_back(event);
    }

    /// A line for the host's log.
    pub(super) fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        self.emit(Event::Log(level, text.into()));
    }
}

#[cfg(test)]
mod tests;
