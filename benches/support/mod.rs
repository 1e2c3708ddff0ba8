//! What the benchmarks share: a core with peers whose keys are at hand, so that their datagrams can be made
//! at will.
#![allow(dead_code)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gamekeeper::crypto::RingProvider;
use gamekeeper::keys::RootKey;
use gamekeeper::protocol::crypto::Aead;
use gamekeeper::protocol::handshake::mpgameserver::{challenge_response, ClientHandshake};
use gamekeeper::protocol::time::Time;
use gamekeeper::protocol::wire::mpgameserver::{kind, write_sealed, Direction, Header, Outgoing, Sizes};
use gamekeeper::server::config::Config;
use gamekeeper::server::core::{Core, Dispatch};
use gamekeeper::server::events::{Event, PeerId, RetryMode, SendOptions, Takes};

/// One tick of 60 Hz.
pub const TICK: Duration = Duration::from_micros(16_667);

/// A client: just enough of one to say what a benchmark wants to hear.
pub struct Bot {
    pub address: SocketAddr,
    pub peer: PeerId,
    key: Aead,
    sent: u16,
    messages: u16,
    /// Newest datagram of the server.
    heard: u16,
}

impl Bot {
    /// A sealed datagram with one message, which acknowledges all that was heard.
    pub fn datagram(&mut self, now: Time, kind: u8, data: &[u8]) -> Vec<u8> {
        let next = |n: &mut u16| {
            *n = n.checked_add(1).unwrap_or(1);
            *n
        };
        let seq = next(&mut self.sent);
        let msgseq = next(&mut self.messages);
        let header =
            Header { time: now.unix_seconds(), seq, ack: self.heard, kind, count: 1, ack_bits: u32::MAX };
        let message = Outgoing { kind, msgseq, head: &[], data };
        let mut out = Vec::new();
        write_sealed(header, Direction::ToServer, std::iter::once(message), &self.key, &mut out)
            .expect("a short message");
        out
    }

    /// Takes note of a datagram of the server, whose number is not sealed.
    pub fn hear(&mut self, datagram: &[u8]) {
        self.heard = u16::from_be_bytes([datagram[8], datagram[9]]);
    }
}

/// A core and its peers on a clock of their own.
pub struct Hall {
    pub now: Time,
    pub core: Core,
    pub bots: Vec<Bot>,
    pub out: Vec<u8>,
}

impl Hall {
    pub fn new(peers: usize) -> Hall {
        let now = Time::from_micros(1_700_000_000_000_000);
        let root = Arc::new(RootKey::generate().expect("the system has randomness"));
        let config = Config {
            hellos_per_source_hz: 1e6,
            hellos_total_hz: 1e6,
            max_peers: Config::default().max_peers.max(peers as u32),
            ..Config::default()
        };
        let core = Core::new(now, &config, Takes::ALL, root, None, Arc::new(RingProvider::new()), None);
        let mut hall = Hall { now, core, bots: Vec::new(), out: Vec::new() };
        for n in 0..peers {
            // Of many, not all come at one moment: budgets of hellos fill up.
            hall.now = hall.now + Duration::from_micros(100);
            hall.join(SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + n as u32), 4000)));
        }
        hall
    }

    fn join(&mut self, address: SocketAddr) {
        let sizes = Sizes::new(1500);
        let mut handshake =
            ClientHandshake::new(self.now, None, &sizes, &RingProvider::new()).expect("randomness");
        let mut hello = Vec::new();
        assert!(handshake.poll_transmit(self.now, &mut hello));
        self.core.handle_datagram(self.now, address, &mut hello);
        self.core.handle_timeout(self.now);
        let mut answer = None;
        while let Some(to) = self.core.poll_transmit(self.now, &mut self.out) {
            if to == address {
                answer = Some(self.out.clone());
            }
        }
        let established = handshake.handle_answer(&answer.expect("an answer")).expect("a good one");
        let mut bot = Bot {
            address,
            peer: PeerId::from_bits(0),
            key: established.key,
            sent: established.packets_sent as u16,
            messages: established.messages_sent as u16,
            heard: established.newest_received as u16,
        };
        let mut proof = bot.datagram(self.now, kind::CHALLENGE_RESP, &challenge_response(established.token));
        self.core.handle_datagram(self.now, address, &mut proof);
        self.drain(|event| {
            if let Event::Connect(peer, _) = event {
                bot.peer = peer;
            }
        });
        assert_ne!(bot.peer.to_bits(), 0, "it was taken in");
        self.bots.push(bot);
        self.flush();
    }

    /// Takes what is there for the host.
    fn drain(&mut self, mut take: impl FnMut(Event)) {
        while let Some(next) = self.core.poll_dispatch() {
            if let Dispatch::Event(event) = next {
                take(event);
            }
        }
    }

    /// Lets the core handle datagrams, calling the host after each batch, as the loop does; how many messages
    /// they brought.
    pub fn handle(&mut self, datagrams: &mut [(SocketAddr, Vec<u8>)]) -> usize {
        let mut messages = 0;
        for batch in datagrams.chunks_mut(64) {
            for (from, datagram) in batch {
                self.core.handle_datagram(self.now, *from, datagram);
            }
            self.drain(|event| messages += usize::from(matches!(black_box(event), Event::Message(..))));
        }
        messages
    }

    /// Queues `data` for each peer.
    pub fn send(&mut self, data: &[u8], retry: RetryMode) {
        for bot in &self.bots {
            let options = SendOptions { retry, ..SendOptions::default() };
            self.core.send(self.now, bot.peer, data.into(), &mut { options }).expect("queued");
        }
    }

    /// Lets leave what may leave, heard by the bots, which costs a few nanoseconds; how many datagrams.
    pub fn flush(&mut self) -> usize {
        let mut count = 0;
        while let Some(to) = self.core.poll_transmit(self.now, &mut self.out) {
            // Addresses were given in the order of the bots.
            if let SocketAddr::V4(v4) = to {
                let n = u32::from(*v4.ip()) - 0x0a00_0000;
                self.bots[n as usize].hear(&self.out);
            }
            count += 1;
        }
        count
    }

    /// A datagram of each bot.
    pub fn datagrams(&mut self, data: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let now = self.now;
        self.bots.iter_mut().map(|b| (b.address, b.datagram(now, kind::APP, data))).collect()
    }
}
