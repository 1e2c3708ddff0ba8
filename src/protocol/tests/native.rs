//! The native wire's ends on one virtual clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::network::{Link, Network, Side};
use super::pair::{settings, START};
use super::provider::TestProvider;
use crate::metrics::server::DropReason;
use crate::protocol::connection::native::{Connection, Join};
use crate::protocol::connection::{CloseReason, Event, Farewell, FarewellKind, Room, Settings, State};
use crate::protocol::delivery::{Delivery, Mode, Outcome};
use crate::protocol::handshake::native::{Hello, Identity, ServerHandshake, Welcome};
use crate::protocol::time::Time;
use crate::protocol::wire::native as wire;

fn server_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 2021))
}

pub struct NativePair {
    pub now: Time,
    pub client: Connection,
    pub server: Option<Connection>,
    pub client_address: SocketAddr,
    pub network: Network,
    pub events: [Vec<(Time, Event)>; 2],
    pub drops: [Vec<DropReason>; 2],
    pub room: [Room; 2],
    /// Datagrams and their bytes, by sender.
    pub sent: [(u64, u64); 2],
    /// Lengths of what each end sent, newest last, if a test wants them.
    pub sizes: Option<[Vec<usize>; 2]>,
    /// Largest datagram that the network carries.
    pub mtu: usize,
    pub accepts: bool,
    settings: [Arc<Settings>; 2],
    identity: Identity,
    provider: TestProvider,
    handshake: Option<(ServerHandshake, Welcome)>,
    spins: u32,
}

impl NativePair {
    pub fn new(seed: u64, settings: [Settings; 2], network: Network, join: Join) -> NativePair {
        let provider = TestProvider::new(seed);
        let identity = Identity::new(&[7; 32], &provider).unwrap();
        let settings = settings.map(Arc::new);
        let client = Connection::connect(
            START,
            settings[0].clone(),
            Some(identity.public()),
            join,
            &TestProvider::new(seed ^ 0xc11e),
            server_address(),
        )
        .unwrap();
        let mut pair = NativePair {
            now: START,
            client,
            server: None,
            client_address: SocketAddr::from(([192, 0, 2, 1], 4000)),
            network,
            events: Default::default(),
            drops: Default::default(),
            room: [Room::ENDLESS; 2],
            sent: [(0, 0); 2],
            sizes: None,
            mtu: 1472,
            accepts: true,
            settings,
            identity,
            provider,
            handshake: None,
            spins: 0,
        };
        pair.flush();
        pair
    }

    pub fn connected(seed: u64, link: Link) -> NativePair {
        let network = Network::new(seed, link.clone(), link);
        NativePair::connected_with(seed, settings(), network)
    }

    pub fn connected_with(seed: u64, settings: Settings, network: Network) -> NativePair {
        let mut pair = NativePair::new(seed, [settings.clone(), settings], network, Join::default());
        let limit = START + Duration::from_secs(5);
        while !pair.both(State::Connected) && pair.step(limit) {}
        assert!(pair.both(State::Connected), "{:?}", pair.drops);
        pair
    }

    pub fn both(&self, state: State) -> bool {
        self.client.state() == state && self.server.as_ref().is_some_and(|s| s.state() == state)
    }

    pub fn end(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Client => &mut self.client,
            Side::Server => self.server.as_mut().expect("there is a server's end"),
        }
    }

    pub fn send(&mut self, side: Side, data: &[u8], delivery: impl Into<Delivery>, tag: u64) {
        let now = self.now;
        self.end(side).send(now, data.into(), delivery, tag).unwrap();
        self.flush();
    }

    /// The messages that came to `side` since this was last asked.
    pub fn messages(&mut self, side: Side) -> Vec<Vec<u8>> {
        let message = |(_, e)| match e {
            Event::Message { data, .. } => Some(data),
            _ => None,
        };
        self.events[side as usize].drain(..).filter_map(message).collect()
    }

    /// When something happens next.
    pub fn next_time(&self) -> Option<Time> {
        let server = self.server.as_ref().and_then(|s| s.poll_timeout(self.now));
        [self.network.next_arrival(), self.client.poll_timeout(self.now), server].into_iter().flatten().min()
    }

    pub fn step(&mut self, limit: Time) -> bool {
        let Some(next) = self.next_time().filter(|t| *t <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        assert!(self.spins < 200, "a timer that is due stays due: the driver would spin");
        self.now = self.now.max(next);
        while let Some((to, datagram)) = self.network.receive(self.now) {
            self.handle(to, datagram);
        }
        let now = self.now;
        for side in Side::BOTH {
            if side == Side::Client || self.server.is_some() {
                let end = self.end(side);
                if end.poll_timeout(now).is_some_and(|t| t <= now) {
                    end.handle_timeout(now);
                }
            }
        }
        self.flush();
        true
    }

    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    pub fn handle(&mut self, to: Side, mut datagram: Vec<u8>) {
        let (now, from) = (self.now, self.client_address);
        let mut room = self.room[to as usize];
        let result = match (to, self.server.as_mut()) {
            (Side::Client, _) => self.client.handle_datagram(now, server_address(), &mut datagram, &mut room),
            (Side::Server, Some(server)) if wire::is_data(&datagram) => {
                server.handle_datagram(now, from, &mut datagram, &mut room)
            }
            _ => self.handle_stranger(datagram),
        };
        if let Err(reason) = result {
            self.drops[to as usize].push(reason);
        }
        self.take_events();
    }

    fn handle_stranger(&mut self, mut datagram: Vec<u8>) -> Result<(), DropReason> {
        let (now, from) = (self.now, self.client_address);
        if wire::is_data(&datagram) {
            let (handshake, welcome) = self.handshake.take().ok_or(DropReason::Unknown)?;
            let mut end =
                Connection::accepted(now, self.settings[1].clone(), &handshake, welcome.clone()).unwrap();
            let result = end.handle_datagram(now, from, &mut datagram, &mut self.room[1].clone());
            if result.is_ok() {
                self.server = Some(end);
            } else {
                self.handshake = Some((handshake, welcome));
            }
            return result;
        }
        let hello = Hello::parse(&datagram).map_err(|_| DropReason::Hello)?;
        if let Some((handshake, _)) = self.handshake.as_mut().filter(|(h, _)| h.client == hello.client) {
            handshake.repeated();
            return Ok(());
        }
        if self.server.is_some() {
            return Err(DropReason::Hello);
        }
        let welcome = Welcome {
            connection_id: 0x0102_0304,
            token: 0x4000_0001,
            reset_token: self.identity.reset_token(0x0102_0304),
            tick_interval_us: 16_667,
            ..Welcome::default()
        };
        let timeout = Duration::from_secs(2);
        let handshake = self.identity.accept(now, from, &hello, &welcome, timeout, &self.provider);
        self.handshake = Some((handshake.map_err(|_| DropReason::Hello)?, welcome));
        Ok(())
    }

    fn take_events(&mut self) {
        for side in Side::BOTH {
            let (now, accepts) = (self.now, self.accepts);
            let Some(end) = (match side {
                Side::Client => Some(&mut self.client),
                Side::Server => self.server.as_mut(),
            }) else {
                continue;
            };
            while let Some(event) = end.poll_event() {
                if matches!(event, Event::Join { .. }) && accepts {
                    end.accept(now);
                }
                self.events[side as usize].push((now, event));
            }
        }
    }

    pub fn flush(&mut self) {
        let now = self.now;
        let mut out = Vec::new();
        self.take_events();
        if let Some((handshake, _)) = &mut self.handshake {
            while handshake.poll_transmit(now, &mut out) {
                self.network.send(now, Side::Server, &std::mem::take(&mut out));
            }
        }
        for side in Side::BOTH {
            if side == Side::Server && self.server.is_none() {
                continue;
            }
            let mut count = 0;
            while let Some(to) = self.end(side).poll_transmit(now, &mut out) {
                let datagram = std::mem::take(&mut out);
                assert!(datagram.len() <= 1472 && !datagram.is_empty());
                count += 1;
                assert!(count < 5000, "{side:?} sends without end");
                let sent = &mut self.sent[side as usize];
                (sent.0, sent.1) = (sent.0 + 1, sent.1 + datagram.len() as u64);
                if let Some(sizes) = &mut self.sizes {
                    sizes[side as usize].push(datagram.len());
                }
                let there = side == Side::Client || to == self.client_address;
                if there && datagram.len() <= self.mtu {
                    self.network.send(now, side, &datagram);
                }
            }
        }
        self.take_events();
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn every_mode_arrives_and_goodbyes_are_answered() {
    let mut p = NativePair::connected(1, Link::delay(20));
    for (i, mode) in [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered]
        .into_iter()
        .enumerate()
    {
        for side in Side::BOTH {
            p.send(side, &[i as u8; 30], mode, 10 + i as u64);
            p.send(side, &vec![i as u8; 5000], mode, 20 + i as u64);
            p.run(MS * 200);
            let got: Vec<usize> = p.messages(side.other()).iter().map(Vec::len).collect();
            assert_eq!(got, [30, 5000], "{mode:?}");
        }
    }
    p.run(MS * 1500);
    let now = p.now;
    p.client.close(now, false, Farewell { kind: FarewellKind::Left, code: 77, text: "bye".into() });
    p.flush();
    p.run(MS * 50);
    assert_eq!(p.client.state(), State::Closed, "it knows that it was heard");
    let closing = p.events[1]
        .iter()
        .find_map(|(_, e)| if let Event::Closed(c) = e { Some(c.clone()) } else { None })
        .unwrap();
    assert_eq!(
        (closing.reason, closing.farewell.code, &closing.farewell.text[..]),
        (CloseReason::Remote, 77, "bye")
    );
    assert!(p.drops.iter().all(Vec::is_empty), "{:?}", p.drops);
}

#[test]
fn all_arrives_through_loss_and_moves() {
    for seed in 0..20 {
        let mut p = NativePair::connected(
            seed,
            Link { jitter: MS * 10, duplicate: 0.05, reorder: 0.02, corrupt: 0.01, ..Link::lossy(20, 0.1) },
        );
        let mut expected = 0;
        for i in 0..600_u32 {
            let mode = if i % 2 == 0 { Mode::Guaranteed } else { Mode::Ordered };
            p.send(Side::Client, &i.to_be_bytes(), mode, 1);
            if i % 60 == 0 {
                p.send(Side::Client, &vec![9; 30_000], Mode::Guaranteed, 1);
                expected += 1;
            }
            expected += 1;
            if i == 300 {
                p.client_address.set_port(5000);
            }
            p.run(MS * 10);
        }
        p.run(MS * 5000);
        let outcomes = p.events[0]
            .iter()
            .filter(|(_, e)| matches!(e, Event::Sent { outcome: Outcome::Delivered, .. }))
            .count();
        assert_eq!(outcomes, expected, "seed {seed}");
        let got = p.messages(Side::Server);
        assert_eq!(got.len(), expected, "seed {seed}");
        let ordered: Vec<u32> = got
            .iter()
            .filter(|m| m.len() == 4)
            .map(|m| u32::from_be_bytes(m[..].try_into().unwrap()))
            .filter(|i| i % 2 == 1)
            .collect();
        assert!(ordered.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(p.server.as_ref().unwrap().remote(), p.client_address);
    }
}
