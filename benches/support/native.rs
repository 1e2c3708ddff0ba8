//! A core with peers on the native wire, whose clients' ends are real ones: so that every number, key and
//! acknowledgement is right. [`Room::serve`] is the server's part of a turn and nothing else.
#![allow(dead_code)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gamekeeper::crypto::RingProvider;
use gamekeeper::keys::RootKey;
use gamekeeper::protocol::connection::native::Join;
use gamekeeper::protocol::connection::{Connection, Event as EndEvent, Room as Space, State};
use gamekeeper::protocol::time::Time;
use gamekeeper::server::config::Config;
use gamekeeper::server::core::{Core, Dispatch};
use gamekeeper::server::events::{Event, PeerId, RetryMode, SendOptions, Takes};

/// One tick of 60 Hz.
pub const TICK: Duration = Duration::from_micros(16_667);
/// How long a datagram is under way.
const DELAY: Duration = Duration::from_millis(1);
/// Datagrams that the host is called after.
const BATCH: usize = 64;

/// A client's end.
pub struct Client {
    pub address: SocketAddr,
    pub connection: Connection,
}

/// Datagrams one behind the other, so that keeping one costs a copy.
#[derive(Default)]
pub struct Mail {
    bytes: Vec<u8>,
    letters: Vec<(SocketAddr, Range<usize>)>,
}

impl Mail {
    fn put(&mut self, address: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.letters.push((address, start..self.bytes.len()));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.letters.clear();
    }

    pub fn len(&self) -> usize {
        self.letters.len()
    }

    fn reserve(&mut self, datagrams: usize) {
        self.bytes.reserve(datagrams * 1500);
        self.letters.reserve(datagrams);
    }
}

/// What the host does in a turn.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    /// Sends every message back, in the mode in which it came.
    Echo,
    /// Sends so many bytes to each of its peers.
    Tick(usize),
    /// Nothing.
    Idle,
}

/// A core, clients, and the clock of both.
pub struct Room {
    pub now: Time,
    pub core: Core,
    pub clients: Vec<Client>,
    pub peers: Vec<PeerId>,
    /// How what the host sends of its own is delivered.
    pub retry: RetryMode,
    pub inbound: Mail,
    pub outbound: Mail,
    pub received: u64,
    by_address: HashMap<SocketAddr, usize>,
    root: Arc<RootKey>,
    out: Vec<u8>,
}

impl Room {
    /// An empty one.
    pub fn new() -> Room {
        let now = Time::from_micros(1_700_000_000_000_000);
        let root = Arc::new(RootKey::generate().expect("the system has randomness"));
        let provider = Arc::new(RingProvider::new());
        let config = Config { hellos_per_source_hz: 1e6, hellos_total_hz: 1e6, ..Config::default() };
        let identity = root.native_identity(&*provider).expect("the system has randomness");
        let core = Core::new(now, &config, Takes::ALL, root.clone(), Some(identity), provider, None);
        Room {
            now,
            core,
            clients: Vec::new(),
            peers: Vec::new(),
            retry: RetryMode::None,
            inbound: Mail::default(),
            outbound: Mail::default(),
            received: 0,
            by_address: HashMap::new(),
            root,
            out: Vec::with_capacity(2048),
        }
    }

    /// With so many connected clients.
    pub fn with(clients: usize) -> Room {
        let mut room = Room::new();
        while room.clients.len() < clients {
            let more = (clients - room.clients.len()).min(BATCH);
            room.begin(more);
            for _ in 0..60 {
                room.turn(Host::Idle);
            }
        }
        assert!(room.clients.iter().all(|c| c.connection.state() == State::Connected));
        assert_eq!(room.peers.len(), clients);
        room
    }

    /// More clients, which begin to connect.
    pub fn begin(&mut self, clients: usize) {
        let settings = Arc::new(self.core.settings().clone());
        for _ in 0..clients {
            let n = self.clients.len();
            let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + n as u32), 4000));
            let server = SocketAddr::from((Ipv4Addr::new(10, 255, 0, 1), 1474));
            let pinned = Some(self.root.native_public());
            let connection = Connection::native_connect(
                self.now,
                settings.clone(),
                pinned,
                Join::default(),
                &RingProvider::new(),
                server,
            );
            let connection = connection.expect("the system has randomness");
            self.by_address.insert(address, n);
            self.clients.push(Client { address, connection });
        }
    }

    /// What the clients have to say, collected for the server.
    pub fn listen(&mut self) {
        self.inbound.clear();
        for client in &mut self.clients {
            if client.connection.poll_timeout(self.now).is_none_or(|at| at > self.now) {
                continue;
            }
            client.connection.handle_timeout(self.now);
            loop {
                self.out.clear();
                if client.connection.poll_transmit(self.now, &mut self.out).is_none() {
                    break;
                }
                self.inbound.put(client.address, &self.out);
            }
        }
        self.outbound.clear();
        // So that keeping what the server says allocates nothing in the part that is counted.
        self.outbound.reserve(4 * self.clients.len() + 64);
        self.peers.reserve(self.clients.len());
    }

    /// What the server said is heard.
    pub fn tell(&mut self) {
        self.now = self.now + DELAY;
        let mut bytes = std::mem::take(&mut self.outbound.bytes);
        for (to, range) in &self.outbound.letters {
            let client = &mut self.clients[self.by_address[to]].connection;
            let heard = client.handle_datagram(
                self.now,
                SocketAddr::from((Ipv4Addr::new(10, 255, 0, 1), 1474)),
                &mut bytes[range.clone()],
                &mut { Space::ENDLESS },
            );
            heard.expect("the server's datagrams are good");
            while let Some(event) = client.poll_event() {
                self.received += u64::from(matches!(event, EndEvent::Message { .. }));
            }
        }
        self.outbound.bytes = bytes;
    }

    /// A whole turn.
    pub fn turn(&mut self, host: Host) {
        self.now = self.now + (TICK - DELAY);
        self.listen();
        self.serve(host);
        self.tell();
    }

    /// Each of the first `clients` sends `count` messages.
    pub fn speak(&mut self, clients: usize, count: usize, data: &[u8], retry: RetryMode) {
        for client in &mut self.clients[..clients] {
            for _ in 0..count {
                let sent = client.connection.send(self.now, data.into(), retry.into(), 0);
                sent.expect("there is room");
            }
        }
    }

    /// The server's part: what was collected is handled, the host is called, what may leave leaves.
    #[inline(never)]
    pub fn serve(&mut self, host: Host) -> usize {
        let Mail { bytes, letters } = &mut self.inbound;
        let mut messages = 0;
        let mut batches = letters.chunks(BATCH);
        loop {
            for (from, range) in batches.next().unwrap_or_default() {
                self.core.handle_datagram(self.now, *from, &mut bytes[range.clone()]);
            }
            messages += Self::call(&mut self.core, &mut self.peers, self.now, host);
            if batches.len() == 0 {
                break;
            }
        }
        if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now);
            messages += Self::call(&mut self.core, &mut self.peers, self.now, host);
        }
        if let Host::Tick(len) = host {
            let data = &[2; 1200][..len];
            for peer in &self.peers {
                let options = SendOptions { retry: self.retry, ..SendOptions::default() };
                let payload = self.core.copy(data);
                self.core.send(self.now, *peer, payload, &mut { options }).expect("there is room");
            }
        }
        while let Some(to) = self.core.poll_transmit(self.now, &mut self.out) {
            self.outbound.put(to, &self.out);
        }
        messages
    }

    /// Calls the host with what waits for it; how many messages.
    fn call(core: &mut Core, peers: &mut Vec<PeerId>, now: Time, host: Host) -> usize {
        let mut messages = 0;
        while let Some(next) = core.poll_dispatch() {
            match next {
                Dispatch::Event(Event::Connect(peer, _)) => peers.push(peer),
                Dispatch::Event(Event::Message(peer, message)) => {
                    messages += 1;
                    if matches!(host, Host::Echo) {
                        let retry = message.mode.expect("the native wire tells");
                        let options =
                            SendOptions { retry, channel: message.channel, ..SendOptions::default() };
                        let payload = core.copy(&message.data);
                        core.send(now, peer, payload, &mut { options }).expect("there is room");
                    }
                    core.recycle(message);
                }
                _ => {}
            }
        }
        messages
    }
}
