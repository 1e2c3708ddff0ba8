//! The client's core and the server's on one virtual clock: several addresses, decisions that take their time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::client::config::ServerKey;
use crate::crypto::RingProvider;
use crate::keys::RootKey;
use crate::server::config::Config;
use crate::server::core as servers;
use crate::server::events as host;
use crate::server::password::Password;

/// Two addresses of a name.
const ADDRESSES: [&str; 2] = ["[2001:db8::1]:2021", "192.0.2.1:2021"];
/// From where the server sees the client that talks to one or the other.
const CLIENTS: [&str; 2] = ["[2001:db8::9]:4000", "192.0.2.9:4000"];
/// How far the clock goes at once.
const STEP: Duration = Duration::from_millis(5);
/// Datagrams of one step, above which an end counts as spinning.
const MAX_PER_STEP: usize = 1000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn parsed(addresses: [&str; 2]) -> [SocketAddr; 2] {
    addresses.map(|a| a.parse().expect("an address"))
}

fn position(addresses: [&str; 2], address: SocketAddr) -> usize {
    parsed(addresses).iter().position(|a| *a == address).expect("one of ours")
}

struct World {
    now: Time,
    server: servers::Core,
    client: Core,
    /// Which of the addresses lead to the server.
    reached: [bool; 2],
    seen: Vec<host::Event>,
    told: Vec<Event>,
}

impl World {
    /// A server that asks about everybody where `asks`, and a client that knows its two addresses.
    fn new(asks: bool, config: &Config, client: impl FnOnce(ClientConfig) -> ClientConfig) -> World {
        let now = Time::from_micros(1_700_000_000_000_000);
        let root = Arc::new(RootKey::generate().expect("randomness"));
        let provider = Arc::new(RingProvider::new());
        let identity = root.native_identity(&*provider).expect("randomness");
        let takes = host::Takes { authorise: asks, ..host::Takes::ALL };
        let keys = KnownKeys { native: Some(root.native_public()), root: None };
        let client = client(ClientConfig::of(config, ServerKey::Pinned(keys)));
        client.validate().expect("a valid configuration");
        let remote = RemoteAddress::parse("example.org:2021").expect("a name");
        let mut world = World {
            now,
            server: servers::Core::new(now, config, takes, root, Some(identity), provider, None),
            client: Core::new(now, client, Takes::ALL, remote),
            reached: [true; 2],
            seen: Vec::new(),
            told: Vec::new(),
        };
        world.client.handle_addresses(now, Ok(parsed(ADDRESSES).to_vec()));
        world
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.exchange();
            self.now = self.now + STEP;
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        self.exchange();
    }

    /// Both ends say all that they have to say now.
    fn exchange(&mut self) {
        for _ in 0..MAX_PER_STEP {
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            let sent = self.client.poll_transmit(self.now, &mut to_server);
            if let Some(which) = sent.map(|to| position(ADDRESSES, to)).filter(|w| self.reached[*w]) {
                self.server.handle_datagram(self.now, parsed(CLIENTS)[which], &mut to_server);
            }
            let answered = self.server.poll_transmit(self.now, &mut to_client);
            if let Some(to) = answered {
                let from = parsed(ADDRESSES)[position(CLIENTS, to)];
                self.client.handle_datagram(self.now, from, &mut to_client);
            }
            self.dispatch();
            if sent.is_none() && answered.is_none() {
                let due = self.client.poll_timeout(self.now);
                assert!(due.is_none_or(|due| due > self.now), "the client has something to do and does not");
                return;
            }
        }
        panic!("an end spins");
    }

    fn dispatch(&mut self) {
        while let Some(next) = self.server.poll_dispatch() {
            if let servers::Dispatch::Event(event) = next {
                self.seen.push(event);
            }
        }
        while let Some(next) = self.client.poll_dispatch() {
            if let Dispatch::Event(event) = next {
                self.told.push(event);
            }
        }
    }

    /// Whom the server's host was asked about.
    fn asked(&self) -> Vec<host::PeerId> {
        let asked = |e: &host::Event| if let host::Event::Authorise(peer, _) = e { Some(*peer) } else { None };
        self.seen.iter().filter_map(asked).collect()
    }

    fn connects(&self) -> usize {
        self.seen.iter().filter(|e| matches!(e, host::Event::Connect(..))).count()
    }

    fn tried(&self) -> Vec<SocketAddr> {
        let tried = |e: &Event| if let Event::Connecting(address) = e { Some(*address) } else { None };
        self.told.iter().filter_map(tried).collect()
    }

    fn ends(&self) -> Vec<DisconnectInfo> {
        let end = |e: &Event| if let Event::Disconnected(info) = e { Some(info.clone()) } else { None };
        self.told.iter().filter_map(end).collect()
    }
}

#[test]
fn the_next_address_gets_its_turn_when_the_first_is_silent() {
    let mut w = World::new(false, &Config::default(), |config| config);
    w.reached = [false, true];
    w.run(MAX_ATTEMPT - ms(10));
    assert_eq!(w.tried(), parsed(ADDRESSES)[..1]);
    w.run(ms(200));
    assert_eq!(w.tried(), parsed(ADDRESSES));
    assert_eq!((w.client.status(), w.connects()), (Status::Connected, 1));
    // Where nobody answers at all the last address has the last word.
    let mut w = World::new(false, &Config::default(), |config| config);
    w.reached = [false, false];
    w.run(ms(5000));
    let ends = w.ends();
    assert!(ends.len() == 1 && ends[0].reason == DisconnectReason::Timeout, "{ends:?}");
    assert!(ends[0].text.contains("192.0.2.1"), "{ends:?}");
}

#[test]
fn a_server_that_decides_is_not_left_for_another_address() {
    let mut w = World::new(true, &Config::default(), |config| config);
    w.run(ms(2000));
    assert_eq!(w.asked().len(), 1, "the host is asked once");
    w.server.accept_peer(w.now, w.asked()[0]).expect("it waits");
    w.run(ms(1000));
    assert_eq!(w.tried(), parsed(ADDRESSES)[..1]);
    assert_eq!((w.asked().len(), w.connects(), w.client.status()), (1, 1, Status::Connected));
    assert!(w.ends().is_empty());
}

#[test]
fn news_that_nobody_is_there_mean_nothing_once_the_server_has_answered() {
    let mut w = World::new(true, &Config::default(), |config| config);
    assert!(w.client.attempt().is_some(), "nobody has answered yet");
    w.run(ms(500));
    assert_eq!((w.client.status(), w.client.attempt()), (Status::Connecting, None));
    w.client.handle_unreachable(w.now, DisconnectReason::NobodyListens, "nobody listens there");
    w.server.accept_peer(w.now, w.asked()[0]).expect("it waits");
    w.run(ms(500));
    assert_eq!((w.tried().len(), w.asked().len(), w.client.status()), (1, 1, Status::Connected));
}

#[test]
fn a_refusal_is_the_answer_and_no_other_address_is_asked() {
    let config = Config { password: Some(Password::new(b"sesame").expect("one")), ..Config::default() };
    let mut w =
        World::new(false, &config, |client| ClientConfig { password: Some("simsim".into()), ..client });
    w.run(ms(3000));
    let ends = w.ends();
    assert_eq!((w.tried().len(), ends.len(), w.server.stats().refusals), (1, 1, 1), "{ends:?}");
    assert_eq!((ends[0].reason, ends[0].code), (DisconnectReason::Refused, refusal::PASSWORD_WRONG));
    assert_eq!(w.client.status(), Status::Disconnected);
}
