//! The client's core and the server's on one virtual clock: several addresses, decisions that take their time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::client::config::ServerKey;
use crate::crypto::RingProvider;
use crate::keys::RootKey;
use crate::protocol::connection::native::MAX_DECISION_TIME;
use crate::server::config::Config;
use crate::server::core as servers;
use crate::server::events as host;
use crate::server::password::Password;

/// Two addresses of a name.
const ADDRESSES: [&str; 2] = ["[2001:db8::1]:2021", "192.0.2.1:2021"];
/// From where the server sees the client that talks to one or the other.
const CLIENTS: [&str; 2] = ["[2001:db8::9]:4000", "192.0.2.9:4000"];
/// How far the clock goes at once, where nothing else is said.
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
    /// Datagrams and bytes that the client sent, and was sent.
    sent: (u32, u32),
    received: (u32, u32),
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
            sent: (0, 0),
            received: (0, 0),
            seen: Vec::new(),
            told: Vec::new(),
        };
        world.client.handle_addresses(now, Ok(parsed(ADDRESSES).to_vec()));
        world
    }

    fn run(&mut self, time: Duration) {
        self.run_by(STEP, time);
    }

    fn run_by(&mut self, step: Duration, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.exchange();
            self.now = self.now + step;
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
            self.sent.0 += u32::from(sent.is_some());
            self.sent.1 += to_server.len() as u32;
            if let Some(which) = sent.map(|to| position(ADDRESSES, to)).filter(|w| self.reached[*w]) {
                self.server.handle_datagram(self.now, parsed(CLIENTS)[which], &mut to_server);
            }
            let answered = self.server.poll_transmit(self.now, &mut to_client);
            if let Some(to) = answered {
                self.received.0 += 1;
                self.received.1 += to_client.len() as u32;
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
        let asked =
            |e: &host::Event| if let host::Event::Authorise(peer, _) = e { Some(*peer) } else { None };
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

#[test]
fn a_password_is_whatever_bytes_the_server_takes() {
    let secret = [0xff, 0, 0x80, b'x'];
    let config = Config { password: Some(Password::new(&secret).expect("one")), ..Config::default() };
    let mut w =
        World::new(false, &config, |client| ClientConfig { password: Some(secret.to_vec()), ..client });
    w.run(ms(500));
    assert_eq!((w.client.status(), w.connects()), (Status::Connected, 1));
}

#[test]
fn a_client_waits_for_the_hosts_decision_while_it_hears_the_server_and_not_for_ever() {
    // A server that goes on acknowledging for longer than ours can be told to.
    let config = Config { authorise_timeout: 2 * MAX_DECISION_TIME, ..Config::default() };
    let mut w = World::new(true, &config, |config| config);
    let step = ms(100);
    w.run_by(step, 3 * config.connection_timeout);
    assert_eq!(
        (w.client.status(), w.asked().len()),
        (Status::Connecting, 1),
        "longer than a silence may last"
    );
    w.run_by(step, MAX_DECISION_TIME - 4 * config.connection_timeout);
    assert_eq!(w.client.status(), Status::Connecting);
    w.run_by(step, 2 * config.connection_timeout);
    let ends = w.ends();
    assert!(ends.len() == 1 && ends[0].reason == DisconnectReason::Timeout, "{ends:?}");
    assert!(ends[0].text.contains("did not let us in"), "{ends:?}");
    assert_eq!(w.tried().len(), 1, "no other address is asked");
    // One that is heard no more is not waited for.
    let mut w = World::new(true, &config, |config| config);
    w.run(ms(500));
    w.reached = [false; 2];
    w.run_by(step, 2 * config.connection_timeout);
    assert_eq!(w.ends().len(), 1);
}

#[test]
fn messages_keep_to_the_send_rate_and_arrive() {
    const RATE: u64 = 20_000;
    let mut w =
        World::new(false, &Config::default(), |client| ClientConfig { peer_send_rate: RATE, ..client });
    w.run(ms(200));
    assert_eq!(w.client.status(), Status::Connected);
    let mut options = SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() };
    w.client.send(w.now, vec![7; 100_000].into(), &mut options).expect("there is room");
    w.run(ms(1800));
    // Two seconds' worth, a burst of a datagram, and one more that overdraws the account.
    let most = 2 * RATE as u32 + 2 * 1472;
    assert!(w.sent.1 <= most && w.sent.1 >= RATE as u32, "{} bytes", w.sent.1);
    w.run(ms(8000));
    let whole = |e: &host::Event| matches!(e, host::Event::Message(_, m) if m.data.len() == 100_000);
    assert!(w.seen.iter().any(whole), "{} bytes were sent", w.sent.1);
}

#[test]
fn seconds_count_what_was_sent_and_taken_in_all_sessions() {
    let mut w = World::new(false, &Config::default(), |config| config);
    w.run(ms(1500));
    w.client.disconnect(w.now, false);
    w.run(ms(1000));
    let seconds = w.client.series(w.now);
    assert_eq!(seconds.len(), crate::metrics::series::SERIES_SECONDS);
    let sum = |of: fn(&Second) -> u32| seconds.iter().map(of).sum::<u32>();
    assert_eq!((sum(|s| s.packets_sent), sum(|s| s.bytes_sent)), w.sent);
    assert_eq!(
        (sum(|s| s.packets_received), sum(|s| s.bytes_received)),
        w.received,
        "nothing is thrown away"
    );
    let stats = w.client.stats();
    assert_eq!((stats.assembled as u32, stats.bytes_sent as u32), w.sent);
    assert_eq!((stats.received as u32, stats.bytes_received as u32), w.received);
    assert!(w.sent.0 > 0 && w.received.0 > 0);
    w.client.reconnect(w.now);
    w.client.handle_addresses(w.now, Ok(parsed(ADDRESSES).to_vec()));
    w.run(ms(500));
    assert_eq!(w.client.series(w.now).iter().map(|s| s.packets_sent).sum::<u32>(), w.sent.0);
}
