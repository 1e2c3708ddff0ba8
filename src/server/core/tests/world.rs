//! A server core, some clients and a wire between them that delays and nothing else, on one virtual clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::crypto::RingProvider;
use crate::keys::RootKey;
use crate::metrics::server::DropReason;
use crate::protocol::connection::native::Join;
use crate::protocol::connection::{CloseReason, Connection, Event as EndEvent, Room, State};
use crate::protocol::delivery::Mode;
use crate::protocol::time::Time;
use crate::server::config::Config;
use crate::server::core::{Core, Dispatch};
use crate::server::events::*;

/// Where the server is.
pub const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 255, 0, 1)), 1474);
/// One way over the wire.
const DELAY: Duration = Duration::from_millis(2);
/// Turns at one moment after which the core counts as spinning: a thousand hellos take some hundred.
const MAX_TURNS_AT_ONCE: usize = 20_000;

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn root() -> Arc<RootKey> {
    static ROOT: OnceLock<Arc<RootKey>> = OnceLock::new();
    ROOT.get_or_init(|| Arc::new(RootKey::generate().expect("the system has randomness"))).clone()
}

/// Client number `n`'s address: its own IPv4 address, so that no source's budget is shared.
pub fn address(n: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 4000))
}

/// A client.
pub struct End {
    pub address: SocketAddr,
    pub connection: Connection,
    pub events: Vec<EndEvent>,
    /// What it sends is lost.
    pub mute: bool,
    /// What it is sent is lost.
    pub deaf: bool,
}

impl End {
    pub fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|e| if let EndEvent::Closed(c) = e { Some(c.reason) } else { None })
    }

    pub fn messages(&self) -> Vec<&[u8]> {
        let messages = self.events.iter().filter_map(|e| match e {
            EndEvent::Message { data, .. } => Some(&data[..]),
            _ => None,
        });
        messages.collect()
    }
}

pub struct World {
    pub now: Time,
    pub core: Core,
    pub config: Config,
    pub ends: Vec<End>,
    /// Events that the core gave to callbacks.
    pub seen: Vec<Event>,
    /// Completions that it gave to callbacks.
    pub completed: Vec<(PeerId, Outcome)>,
    /// Whether a peer is retired when its disconnect has been seen, as the loop does it.
    pub retires: bool,
    /// Bytes that went to addresses, in the order of sending.
    pub sent: Vec<(SocketAddr, usize)>,
    wire: VecDeque<(Time, Option<usize>, SocketAddr, Vec<u8>)>,
    provider: RingProvider,
    turns_now: usize,
}

impl World {
    /// Its handler takes all events, unless the configuration has an event queue: then none.
    pub fn new(config: Config) -> World {
        let takes = if config.max_queued_events > 0 { Takes::default() } else { Takes::ALL };
        World::taking(takes, config)
    }

    /// Its handler is asked about every client; whoever tests decides.
    pub fn asking(config: Config) -> World {
        World::taking(Takes { authorise: true, raw: true, ..Takes::ALL }, config)
    }

    /// Its handler takes these.
    pub fn taking(takes: Takes, config: Config) -> World {
        config.validate().expect("a valid configuration");
        let now = Time::from_micros(1_700_000_000_000_000);
        let provider = Arc::new(RingProvider::new());
        let identity = root().native_identity(&*provider).expect("the system has randomness");
        let identity = config.wires.native.then_some(identity);
        World {
            now,
            core: Core::new(now, &config, takes, root(), identity, provider, None),
            config,
            ends: Vec::new(),
            seen: Vec::new(),
            completed: Vec::new(),
            retires: true,
            sent: Vec::new(),
            wire: VecDeque::new(),
            provider: RingProvider::new(),
            turns_now: 0,
        }
    }

    /// A client that begins to connect from its own address.
    pub fn client(&mut self) -> usize {
        self.client_from(address(self.ends.len() as u32))
    }

    pub fn client_from(&mut self, address: SocketAddr) -> usize {
        self.client_with(address, &self.config.clone())
    }

    /// A client on the native wire.
    pub fn native_client(&mut self, join: Join) -> usize {
        self.native_client_with(join, &self.config.clone())
    }

    /// The same with settings of its own.
    pub fn native_client_with(&mut self, join: Join, config: &Config) -> usize {
        self.native_client_from(address(self.ends.len() as u32), join, config)
    }

    /// The same from an address that may be somebody else's too.
    pub fn native_client_from(&mut self, address: SocketAddr, join: Join, config: &Config) -> usize {
        let (settings, pinned) = (config.protocol_settings(), Some(root().native_public()));
        let connection = Connection::native_connect(self.now, settings, pinned, join, &self.provider, SERVER);
        let connection = connection.expect("the system has randomness");
        self.ends.push(End { address, connection, events: Vec::new(), mute: false, deaf: false });
        self.ends.len() - 1
    }

    /// A client with settings of its own.
    pub fn client_with(&mut self, address: SocketAddr, config: &Config) -> usize {
        let pinned = Some(*root().public_key().point());
        let settings = config.protocol_settings();
        let connection = Connection::connect(self.now, settings, pinned, &self.provider, SERVER);
        let connection = connection.expect("the system has randomness");
        self.ends.push(End { address, connection, events: Vec::new(), mute: false, deaf: false });
        self.ends.len() - 1
    }

    /// A client that is connected, and its peer.
    pub fn join(&mut self) -> (usize, PeerId) {
        let end = self.client();
        (end, self.joined(end))
    }

    /// Waits until a client is connected and its peer announced.
    pub fn joined(&mut self, end: usize) -> PeerId {
        self.run_until(|w| {
            w.pull(usize::MAX);
            w.ends[end].connection.state() == State::Connected && w.peer_of(end).is_some()
        });
        self.peer_of(end).expect("it was announced")
    }

    /// A client that waits for a decision, and its id.
    pub fn knock(&mut self) -> (usize, PeerId) {
        let end = self.client();
        let asked = self.asked().len();
        self.run_until(|w| {
            w.pull(usize::MAX);
            w.asked().len() > asked
        });
        (end, self.asked()[asked])
    }

    /// The clients about which the host was asked, in order.
    pub fn asked(&self) -> Vec<PeerId> {
        let asked = |e: &Event| if let Event::Authorise(peer, _) = e { Some(*peer) } else { None };
        self.seen.iter().filter_map(asked).collect()
    }

    /// The peer that was announced last at a client's address, with the client's token.
    pub fn peer_of(&self, end: usize) -> Option<PeerId> {
        let (end, token) = (&self.ends[end], self.ends[end].connection.token());
        self.seen.iter().rev().find_map(|e| match e {
            Event::Connect(peer, info) if info.address == end.address && info.token == token => Some(*peer),
            _ => None,
        })
    }

    pub fn send(&mut self, end: usize, data: &[u8], mode: Mode) {
        self.ends[end].connection.send(self.now, data.into(), mode.into(), 0).expect("queued");
    }

    /// Puts a datagram before the core at this moment, as if `from` had sent it.
    pub fn inject(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.core.handle_datagram(self.now, from, &mut datagram.to_vec());
    }

    /// The datagrams that a client sends now, kept off the wire.
    pub fn take_datagrams(&mut self, end: usize) -> Vec<Vec<u8>> {
        let (mut all, mut out) = (Vec::new(), Vec::new());
        while self.ends[end].connection.poll_transmit(self.now, &mut out).is_some() {
            all.push(std::mem::take(&mut out));
        }
        all
    }

    /// One turn of the loop at this moment, as the runner has it.
    pub fn turn(&mut self) {
        self.dispatch();
        self.core.handle_timeout(self.now);
        self.dispatch();
        self.core.pump_files(self.now);
        let mut out = Vec::new();
        while let Some(to) = self.core.poll_transmit(self.now, &mut out) {
            assert!(!out.is_empty() && out.len() <= 1472, "{} bytes", out.len());
            self.sent.push((to, out.len()));
            // A client that came later from the same address gets what is sent to it, as in the world.
            if let Some(end) = self.ends.iter().rposition(|e| e.address == to) {
                self.wire.push_back((self.now + DELAY, Some(end), to, out.clone()));
            }
        }
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while let Some(next) = self.core.poll_dispatch() {
            match next {
                Dispatch::Sent(peer, _, outcome) => self.completed.push((peer, outcome)),
                Dispatch::FileProgress(..) | Dispatch::FileDone(..) => {}
                Dispatch::Event(event) => {
                    if let (Event::Disconnect(peer, _), true) = (&event, self.retires) {
                        self.core.retire(*peer);
                    }
                    self.seen.push(event);
                }
            }
        }
    }

    /// All that happens at this moment.
    pub fn settle(&mut self) {
        loop {
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let Some((_, to, address, mut datagram)) = self.wire.pop_front() else { break };
                match to.map(|end| &mut self.ends[end]) {
                    None => self.core.handle_datagram(self.now, address, &mut datagram),
                    Some(end) if end.deaf => {}
                    Some(end) => {
                        let mut room = Room::ENDLESS;
                        let _counted =
                            end.connection.handle_datagram(self.now, SERVER, &mut datagram, &mut room);
                    }
                }
            }
            for end in &mut self.ends {
                if end.connection.poll_timeout(self.now).is_some_and(|at| at <= self.now) {
                    end.connection.handle_timeout(self.now);
                }
                let mut out = Vec::new();
                while end.connection.poll_transmit(self.now, &mut out).is_some() {
                    let datagram = std::mem::take(&mut out);
                    if !end.mute {
                        self.wire.push_back((self.now + DELAY, None, end.address, datagram));
                    }
                }
                end.events.extend(std::iter::from_fn(|| end.connection.poll_event()));
            }
            self.turn();
            self.turns_now += 1;
            // Whoever wants to be called again at the moment at which it just was never lets the loop sleep.
            assert!(self.turns_now < MAX_TURNS_AT_ONCE, "the core spins");
            if self.core.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    /// Goes to the next moment at which something happens, at most to `limit`.
    fn step(&mut self, limit: Time) {
        self.settle();
        let ends = self.ends.iter().filter_map(|e| e.connection.poll_timeout(self.now)).min();
        let wire = self.wire.front().map(|(at, ..)| *at);
        let next = [ends, wire, self.core.poll_timeout(), Some(limit)].into_iter().flatten().min();
        let next = next.unwrap_or(limit).max(self.now);
        if next > self.now {
            self.turns_now = 0;
        }
        self.now = next;
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
        self.settle();
    }

    /// Lets a minute pass at most; panics when `done` never holds.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut World) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.now < end, "what was waited for did not come");
            self.step(end);
        }
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.core.stats().drops[reason as usize]
    }

    /// The disconnects seen, in order.
    pub fn disconnects(&self) -> Vec<(PeerId, DisconnectReason)> {
        let end = |e: &Event| if let Event::Disconnect(p, i) = e { Some((*p, i.reason)) } else { None };
        self.seen.iter().filter_map(end).collect()
    }

    /// The messages seen from a peer, in order.
    pub fn messages(&self, peer: PeerId) -> Vec<&[u8]> {
        let messages = self.seen.iter().filter_map(|e| match e {
            Event::Message(p, m) if *p == peer => Some(&m.data[..]),
            _ => None,
        });
        messages.collect()
    }

    /// Takes events out of the queue into `seen`, as a host that pulls in one batch; peers whose disconnect
    /// is among them are retired at once.
    pub fn pull(&mut self, max: usize) -> usize {
        let mut count = 0;
        while count < max {
            let Some(event) = self.core.poll_pulled() else { break };
            if let Event::Disconnect(peer, _) = &event {
                self.core.retire(*peer);
            }
            self.seen.push(event);
            count += 1;
        }
        count
    }
}
