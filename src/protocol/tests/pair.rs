//! Both ends of one connection on one virtual clock, driven exactly by the contract on [`Connection`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::Monitor;
use super::network::{Network, Side};
use super::provider::{TestProvider, TestRoot};
use crate::metrics::server::DropReason;
use crate::protocol::connection::mpgameserver::Connection;
use crate::protocol::connection::{CloseReason, Event, Farewell, Room, SendError, Settings, State};
use crate::protocol::crypto::{Point, SigningKey};
use crate::protocol::delivery::{Limits, Mode};
use crate::protocol::handshake::mpgameserver::{Hello, ServerHandshake};
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{self as wire, kind, Direction, Sizes};

/// When a run begins: a Unix time in the middle of a second.
pub const START: Time = Time::from_micros(1_700_000_000_400_000);
const ADDRESS: &str = "192.0.2.1:4000";
/// What a kernel's default receive buffer holds, and what it counts per datagram beside its bytes.
const SOCKET_BYTES: usize = 212_992;
const SOCKET_COST: usize = 768;

/// How an end reads and writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Everything at once, as the contract has it.
    Immediate,
    /// One datagram read and at most one sent so many times a second, as the package's client does.
    Frames(f64),
}

pub fn settings() -> Settings {
    Settings {
        limits: Arc::new(Limits {
            sizes: Sizes::new(1500),
            keep_alive: Duration::from_millis(100),
            message_timeout: Duration::from_secs(1),
            max_messages: 4096,
            max_bytes: 16 << 20,
            max_message: 8 << 20,
        }),
        connection_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(2),
        send_interval: Duration::from_micros(16_667),
        reassembly_timeout: Duration::from_secs(5),
        max_reassembly_bytes: 16 << 20,
        redundancy: 0,
        files: false,
    }
}

/// One end.
pub struct End {
    pub connection: Option<Connection>,
    pub settings: Arc<Settings>,
    pub room: Room<'static>,
    /// What happened and when, for the test to take.
    pub events: Vec<(Time, Event)>,
    pub closed: Option<(Time, CloseReason)>,
    pub pace: Pace,
    socket: VecDeque<Vec<u8>>,
    socket_bytes: usize,
    next_frame: Time,
    /// Datagrams refused, with their reasons.
    pub drops: Vec<DropReason>,
    /// When a datagram was last taken.
    pub last_taken: Time,
}

pub struct Pair {
    pub now: Time,
    pub client: End,
    pub server: End,
    pub network: Network,
    pub monitor: Monitor,
    pub handshake: Option<ServerHandshake>,
    /// Handshakes that the server began: key exchanges paid for.
    pub accepted: usize,
    /// Bytes from and to the address before it was proven.
    pub unproven: [usize; 2],
    root: TestRoot,
    provider: TestProvider,
    /// Datagrams of the handshake that are lost, by sender and by its count from 0.
    pub lose: Vec<(Side, u64)>,
    sent: [u64; 2],
    /// All that was sent, if a test wants it.
    pub record: Option<Vec<(Side, Vec<u8>)>>,
    /// Whether an end that reads by frames now and then stands still.
    pub stalls: bool,
    spins: u32,
    scratch: Vec<u8>,
}

impl Pair {
    pub fn new(seed: u64, settings: [Settings; 2], network: Network) -> Pair {
        Pair::pinned(seed, settings, network, Some(TestRoot::from_seed(seed).public()))
    }

    /// With the root key that the client expects; the server's is that of the seed.
    pub fn pinned(seed: u64, settings: [Settings; 2], network: Network, pin: Option<Point>) -> Pair {
        let [client, server] = settings.map(Arc::new);
        let (root, provider) = (TestRoot::from_seed(seed), TestProvider::new(seed));
        let client_provider = TestProvider::new(seed ^ 0xc11e);
        let connection = Connection::connect(START, client.clone(), pin, &client_provider)
            .expect("the test provider never fails");
        let mut pair = Pair {
            now: START,
            client: End::new(client, Some(connection)),
            server: End::new(server.clone(), None),
            network,
            monitor: Monitor::new(server.limits.sizes),
            handshake: None,
            accepted: 0,
            unproven: [0; 2],
            root,
            provider,
            lose: Vec::new(),
            sent: [0; 2],
            record: None,
            stalls: false,
            spins: 0,
            scratch: Vec::new(),
        };
        pair.flush(Side::Client);
        pair
    }

    /// A pair over a good network, connected.
    pub fn connected(seed: u64, settings: [Settings; 2], network: Network) -> Pair {
        let mut pair = Pair::new(seed, settings, network);
        pair.drive(Duration::from_secs(3), |p| p.both_connected());
        assert!(pair.both_connected(), "{:?}", pair.monitor.violations);
        pair
    }

    pub fn plain(seed: u64) -> Pair {
        let link = || super::network::Link::delay(20);
        Pair::connected(seed, [settings(), settings()], Network::new(seed, link(), link()))
    }

    pub fn both_connected(&self) -> bool {
        Side::BOTH.iter().all(|s| self.end(*s).is(State::Connected))
    }

    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// From now on the client reads and writes like this.
    pub fn pace(&mut self, pace: Pace) {
        self.client.pace = pace;
        if matches!(pace, Pace::Frames(_)) {
            self.connection(Side::Client).acknowledge_late();
        }
    }

    /// The connection of an end that has one.
    pub fn connection(&mut self, side: Side) -> &mut Connection {
        self.end_mut(side).connection.as_mut().expect("this end has a connection")
    }

    /// Queues a message and lets out what may leave.
    pub fn send(&mut self, side: Side, data: &[u8], mode: Mode, tag: u64) -> Result<(), SendError> {
        let now = self.now;
        let result = self.connection(side).send(now, data.into(), mode, tag);
        self.flush(side);
        result
    }

    /// Ends the connection from one side.
    pub fn close(&mut self, side: Side, after_delivery: bool) {
        let now = self.now;
        self.connection(side).close(now, after_delivery, Farewell::default());
        self.flush(side);
    }

    /// The messages that came to `side` since this was last asked; other events are thrown away.
    pub fn messages(&mut self, side: Side) -> Vec<Vec<u8>> {
        let message = |(_, e)| match e {
            Event::Message { data, .. } => Some(data),
            _ => None,
        };
        self.end_mut(side).events.drain(..).filter_map(message).collect()
    }

    /// When something happens next.
    pub fn next_time(&self) -> Option<Time> {
        let mut next = self.network.next_arrival();
        let mut at = |t: Option<Time>| next = [next, t].into_iter().flatten().min();
        for side in Side::BOTH {
            let end = self.end(side);
            match end.pace {
                Pace::Immediate => at(end.connection.as_ref().and_then(|c| c.poll_timeout(self.now))),
                Pace::Frames(_) => at(Some(end.next_frame)),
            }
        }
        at(self.handshake.as_ref().and_then(|h| h.poll_timeout()));
        at(self.handshake.as_ref().map(|h| h.expires));
        next
    }

    /// Goes to the next thing that happens, but not beyond `limit`; whether there was one.
    pub fn step(&mut self, limit: Time) -> bool {
        let Some(next) = self.next_time().filter(|t| *t <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        if self.spins > 200 {
            self.monitor.violation(self.now, "a timer that is due stays due: the driver would spin".into());
            self.now = self.now + Duration::from_millis(1);
            self.spins = 0;
        }
        self.now = self.now.max(next);
        while let Some((to, datagram)) = self.network.receive(self.now) {
            match self.end(to).pace {
                Pace::Immediate => self.handle(to, datagram),
                Pace::Frames(_) => self.end_mut(to).store(datagram),
            }
        }
        for side in Side::BOTH {
            self.frame(side);
            let now = self.now;
            if let Some(c) = self.end_mut(side).immediate() {
                if c.poll_timeout(now).is_some_and(|t| t <= now) {
                    c.handle_timeout(now);
                }
            }
            self.flush(side);
        }
        self.flush_handshake();
        true
    }

    /// Everything up to `limit`.
    pub fn run_until(&mut self, limit: Time) {
        while self.step(limit) {}
    }

    /// Goes on until `done`, at most for `most`.
    pub fn drive(&mut self, most: Duration, mut done: impl FnMut(&mut Pair) -> bool) -> bool {
        let limit = self.now + most;
        while !done(self) {
            if !self.step(limit) {
                return done(self);
            }
        }
        true
    }

    fn frame(&mut self, side: Side) {
        let now = self.now;
        let stall = if self.stalls && self.end(side).next_frame <= now {
            self.network.stall()
        } else {
            Duration::ZERO
        };
        let end = self.end_mut(side);
        let Pace::Frames(hz) = end.pace else { return };
        if end.next_frame > now {
            return;
        }
        end.next_frame = now + Duration::from_secs_f64(1.0 / hz) + stall;
        let datagram = end.socket.pop_front();
        if let Some(datagram) = datagram {
            end.socket_bytes -= datagram.len() + SOCKET_COST;
            self.handle(side, datagram);
        }
        if let Some(c) = self.end_mut(side).connection.as_mut() {
            c.handle_timeout(now);
            let mut out = Vec::new();
            if c.poll_transmit(now, &mut out) {
                self.transmit(side, &out);
            }
        }
        self.take_events(side);
    }

    /// Drains the outputs of an end that keeps to the contract.
    pub fn flush(&mut self, side: Side) {
        let now = self.now;
        let mut sent = 0;
        while let Some(c) = self.end_mut(side).immediate() {
            let mut out = Vec::new();
            if !c.poll_transmit(now, &mut out) {
                break;
            }
            self.transmit(side, &out);
            sent += 1;
            if sent > 5000 {
                self.monitor.violation(now, format!("{side:?} sends without end"));
                break;
            }
        }
        self.take_events(side);
        let end = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        if let Some(connection) = end.connection.as_ref().filter(|_| end.pace == Pace::Immediate) {
            self.monitor.on_flushed(now, side, connection);
        }
    }

    fn flush_handshake(&mut self) {
        let (now, mut out) = (self.now, Vec::new());
        while self.handshake.as_mut().is_some_and(|h| h.poll_transmit(now, &mut out)) {
            self.monitor.learn_key(&self.provider, self.handshake.as_ref().map(|h| h.client), &out);
            self.transmit(Side::Server, &out);
            self.unproven[1] += out.len();
            out.clear();
        }
        if self.unproven[1] > self.unproven[0] {
            self.monitor.violation(now, format!("unproven address: {:?} bytes in and out", self.unproven));
        }
        if self.handshake.as_ref().is_some_and(|h| h.expires <= now) {
            self.handshake = None;
        }
    }

    fn transmit(&mut self, side: Side, datagram: &[u8]) {
        self.monitor.on_sent(self.now, side, datagram);
        let count = self.sent[side as usize];
        self.sent[side as usize] += 1;
        self.record.iter_mut().for_each(|r| r.push((side, datagram.to_vec())));
        if self.lose.contains(&(side, count)) {
            return;
        }
        self.network.send(self.now, side, datagram);
    }

    fn take_events(&mut self, side: Side) {
        let now = self.now;
        let mut late = 0;
        let end = self.end_mut(side);
        while let Some(event) = end.connection.as_mut().and_then(|c| c.poll_event()) {
            late += usize::from(end.closed.is_some());
            if let Event::Closed(closing) = &event {
                end.closed = Some((now, closing.reason));
            }
            end.events.push((now, event));
        }
        if late > 0 {
            self.monitor.violation(now, format!("{side:?}: {late} events after the end"));
        }
    }

    /// What an end does with a datagram.
    pub fn handle(&mut self, side: Side, mut datagram: Vec<u8>) {
        let result = match side {
            Side::Client => self.handle_connected(side, &mut datagram),
            Side::Server if self.server.connection.is_some() => self.handle_connected(side, &mut datagram),
            Side::Server => self.handle_stranger(&mut datagram),
        };
        if let Err(reason) = result {
            self.end_mut(side).drops.push(reason);
        }
    }

    fn handle_connected(&mut self, side: Side, datagram: &mut [u8]) -> Result<(), DropReason> {
        let now = self.now;
        let original = datagram.to_vec();
        let end = self.end_mut(side);
        let Some(connection) = end.connection.as_mut() else { return Err(DropReason::Unknown) };
        let refused = connection.stats().messages_refused;
        let result = connection.handle_datagram(now, datagram, &mut end.room);
        if result.is_ok() {
            if end.closed.is_none() {
                end.last_taken = now;
            }
            let refused = connection.stats().messages_refused > refused;
            self.monitor.on_taken(now, side, &original, refused);
        }
        result
    }

    /// The server's side of the handshake, as a server's admission does it.
    fn handle_stranger(&mut self, datagram: &mut [u8]) -> Result<(), DropReason> {
        self.unproven[0] += datagram.len();
        if !wire::is_clear(datagram) {
            let handshake = self.handshake.take().ok_or(DropReason::Unknown)?;
            if !handshake.proven_by(datagram, &mut self.scratch) {
                self.handshake = Some(handshake);
                return Err(DropReason::Forged);
            }
            let settings = self.server.settings.clone();
            self.server.connection = Some(Connection::accepted(self.now, settings, handshake.establish()));
            return self.handle_connected(Side::Server, datagram);
        }
        let sizes = self.server.settings.limits.sizes;
        let (header, payload) =
            wire::open_clear(datagram, Direction::ToServer).map_err(|_| DropReason::Malformed)?;
        let hello = Hello::parse(&header, payload, datagram.len(), &sizes).ok_or(DropReason::Hello)?;
        if header.kind != kind::CLIENT_HELLO {
            return Err(DropReason::Hello);
        }
        match &mut self.handshake {
            Some(handshake) if handshake.client == hello.client => handshake.repeated(&hello),
            Some(_) => return Err(DropReason::HelloBudget),
            None => {
                let address: SocketAddr = ADDRESS.parse().expect("an address");
                let (now, timeout) = (self.now, Duration::from_secs(2));
                let handshake = ServerHandshake::accept(
                    now,
                    address,
                    &hello,
                    0x4000_0001,
                    timeout,
                    &self.root,
                    &self.provider,
                );
                self.handshake = Some(handshake.map_err(|_| DropReason::Hello)?);
                self.accepted += 1;
            }
        }
        Ok(())
    }
}

impl End {
    fn new(settings: Arc<Settings>, connection: Option<Connection>) -> End {
        End {
            connection,
            settings,
            room: Room::ENDLESS,
            events: Vec::new(),
            closed: None,
            pace: Pace::Immediate,
            socket: VecDeque::new(),
            socket_bytes: 0,
            next_frame: START,
            drops: Vec::new(),
            last_taken: START,
        }
    }

    pub fn is(&self, state: State) -> bool {
        self.connection.as_ref().is_some_and(|c| c.state() == state)
    }

    fn immediate(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|_| self.pace == Pace::Immediate)
    }

    fn store(&mut self, datagram: Vec<u8>) {
        let cost = datagram.len() + SOCKET_COST;
        if self.socket_bytes + cost <= SOCKET_BYTES {
            self.socket_bytes += cost;
            self.socket.push_back(datagram);
        }
    }
}
