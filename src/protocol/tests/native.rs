//! The native wire's ends on one virtual clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::native_monitor::{Facts, NativeMonitor};
use super::network::{Link, Network, Side, STRAY_PORT};
use super::pair::{settings, START};
use super::provider::TestProvider;
use crate::metrics::server::DropReason;
use crate::protocol::connection::native::{Connection, Join};
use crate::protocol::connection::{
    CloseReason, Closing, Event, Farewell, FarewellKind, Room, SendError, Settings, State,
};
use crate::protocol::delivery::{Delivery, Mode, Outcome};
use crate::protocol::handshake::native::{Hello, Identity, ServerHandshake, Welcome};
use crate::protocol::mutants;
use crate::protocol::time::Time;
use crate::protocol::wire::native as wire;

/// What a kernel's default receive buffer holds, and what it counts per datagram beside its bytes.
const SOCKET_BYTES: usize = 212_992;
const SOCKET_COST: usize = 768;

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
    pub room: [Room<'static>; 2],
    /// Datagrams and their bytes, by sender.
    pub sent: [(u64, u64); 2],
    /// Lengths of what each end sent, newest last, if a test wants them.
    pub sizes: Option<[Vec<usize>; 2]>,
    /// Long datagrams that left, by sender, while a short message went on waiting.
    pub overtook: [u64; 2],
    /// Largest datagram that the network carries.
    pub mtu: usize,
    pub accepts: bool,
    pub monitor: NativeMonitor,
    /// The server asks strangers for a cookie first.
    pub cookies: bool,
    /// The server forgets connections that have ended, and says so to whoever goes on.
    pub forgets: bool,
    /// Until when an end stands still, and what waits in its socket.
    asleep: [Option<Time>; 2],
    sockets: [VecDeque<(SocketAddr, Vec<u8>)>; 2],
    pub closed: [Option<(Time, Closing)>; 2],
    /// When a datagram was last taken.
    pub last_taken: [Time; 2],
    /// A server's ends that were forgotten.
    pub former: Option<Connection>,
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
            overtook: [0; 2],
            mtu: 1472,
            accepts: true,
            monitor: NativeMonitor::default(),
            cookies: false,
            forgets: false,
            asleep: [None; 2],
            sockets: Default::default(),
            closed: [None, None],
            last_taken: [START; 2],
            former: None,
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
        let awake = |side: Side, c: &Connection| match self.asleep[side as usize] {
            Some(until) => Some(until),
            None => c.poll_timeout(self.now),
        };
        let server = self.server.as_ref().and_then(|s| awake(Side::Server, s));
        let client = awake(Side::Client, &self.client);
        [self.network.next_arrival(), client, server].into_iter().flatten().min()
    }

    pub fn step(&mut self, limit: Time) -> bool {
        let Some(next) = self.next_time().filter(|t| *t <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        assert!(self.spins < 200, "a timer that is due stays due: the driver would spin");
        self.now = self.now.max(next);
        let now = self.now;
        for side in Side::BOTH {
            if self.asleep[side as usize].is_some_and(|until| until <= now) {
                self.wake(side);
            }
        }
        while let Some((to, port, datagram)) = self.network.receive_from(now) {
            let mut from = self.client_address;
            // Tests that change the address alone say nothing to the network.
            if port != self.network.port {
                from.set_port(port);
            }
            if self.asleep[to as usize].is_some() {
                self.store(to, from, datagram);
            } else {
                self.handle_from(to, from, datagram);
            }
        }
        for side in Side::BOTH {
            if (side == Side::Client || self.server.is_some()) && self.asleep[side as usize].is_none() {
                let end = self.end(side);
                if end.poll_timeout(now).is_some_and(|t| t <= now) {
                    end.handle_timeout(now);
                }
            }
        }
        self.flush();
        true
    }

    /// `side` stands still until then: a debugger, a window that is moved.
    pub fn sleep(&mut self, side: Side, until: Time) {
        self.asleep[side as usize] = Some(until);
    }

    pub fn is_asleep(&self, side: Side) -> bool {
        self.asleep[side as usize].is_some()
    }

    fn store(&mut self, to: Side, from: SocketAddr, datagram: Vec<u8>) {
        let held: usize = self.sockets[to as usize].iter().map(|(_, d)| d.len() + SOCKET_COST).sum();
        if held + datagram.len() + SOCKET_COST <= SOCKET_BYTES {
            self.sockets[to as usize].push_back((from, datagram));
        }
    }

    /// It goes on: what waits is read before the clock is looked at.
    fn wake(&mut self, side: Side) {
        self.asleep[side as usize] = None;
        self.monitor.excuse(self.now, side);
        while let Some((from, datagram)) = self.sockets[side as usize].pop_front() {
            self.handle_from(side, from, datagram);
        }
    }

    /// The client is at another address from now on.
    pub fn move_client(&mut self, port: u16) {
        self.client_address.set_port(port);
        self.network.port = port;
    }

    /// The server's process is killed and started again with the same root key.
    pub fn restart_server(&mut self) {
        self.former = self.server.take();
        self.handshake = None;
        self.forgets = true;
        self.identity = Identity::new(&[7; 32], &self.provider).unwrap();
    }

    /// Queues a message and lets out what may leave.
    pub fn try_send(
        &mut self,
        side: Side,
        data: &[u8],
        delivery: impl Into<Delivery>,
        tag: u64,
    ) -> Result<(), SendError> {
        let now = self.now;
        let result = self.end(side).send(now, data.into(), delivery, tag);
        self.flush();
        result
    }

    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    pub fn handle(&mut self, to: Side, datagram: Vec<u8>) {
        self.handle_from(to, self.client_address, datagram);
    }

    /// A datagram comes to `to`; where that is the server, from an address.
    pub fn handle_from(&mut self, to: Side, from: SocketAddr, mut datagram: Vec<u8>) {
        let now = self.now;
        let mut room = Room { buffers: None, sink: None, ..self.room[to as usize] };
        let original = if self.monitor.on { datagram.clone() } else { Vec::new() };
        let refused = self.refused(to);
        if self.forgets && self.server.as_ref().is_some_and(|s| s.state() == State::Closed) {
            self.former = self.server.take();
        }
        let result = match (to, self.server.as_mut()) {
            (Side::Client, _) => self.client.handle_datagram(now, server_address(), &mut datagram, &mut room),
            (Side::Server, Some(server)) if wire::is_data(&datagram) => {
                server.handle_datagram(now, from, &mut datagram, &mut room)
            }
            _ => self.handle_stranger(from, datagram),
        };
        match result {
            Ok(()) => {
                let is_data = original.first().is_none_or(|b| wire::is_data(&[*b]));
                if self.closed[to as usize].is_none() && (to == Side::Client || is_data) {
                    self.last_taken[to as usize] = now;
                }
                let refused = self.refused(to) > refused;
                let live = match to {
                    Side::Client => self.client.state(),
                    Side::Server => self.server.as_ref().map_or(State::Closed, Connection::state),
                };
                let live = !matches!(live, State::Draining | State::Closed);
                self.monitor.on_taken(now, to, from, &original, refused, live);
            }
            Err(reason) => {
                if reason == DropReason::Forged && wire::is_data(&original) {
                    self.monitor.on_forged(now, to, &original);
                }
                self.drops[to as usize].push(reason);
            }
        }
        self.take_events();
    }

    fn refused(&self, side: Side) -> u64 {
        match side {
            Side::Client => self.client.stats().messages_refused,
            Side::Server => self.server.as_ref().map_or(0, |s| s.stats().messages_refused),
        }
    }

    fn handle_stranger(&mut self, from: SocketAddr, mut datagram: Vec<u8>) -> Result<(), DropReason> {
        let now = self.now;
        if wire::is_data(&datagram) {
            let Some((handshake, welcome)) = self.handshake.take() else {
                self.answer_unknown(from, &datagram);
                return Err(DropReason::Unknown);
            };
            let mut end =
                Connection::accepted(now, self.settings[1].clone(), &handshake, welcome.clone()).unwrap();
            let result = end.handle_datagram(
                now,
                from,
                &mut datagram,
                &mut Room { buffers: None, sink: None, ..self.room[1] },
            );
            if result.is_ok() {
                self.server = Some(end);
            } else {
                self.handshake = Some((handshake, welcome));
            }
            return result;
        }
        let hello = Hello::parse(&datagram).map_err(|_| DropReason::Hello)?;
        self.monitor.credit(from, datagram.len());
        if self.cookies && !self.identity.cookie_valid(now, from, &hello) {
            let mut out = Vec::new();
            self.identity.write_cookie(now, from, &hello, &mut out);
            self.transmit(Side::Server, from, &out, None);
            return Ok(());
        }
        if self.cookies && from.port() == STRAY_PORT {
            self.monitor.violation(now, "a stolen cookie is taken".into());
        }
        if from.port() == STRAY_PORT {
            // A handshake of its own, which nobody will prove.
            return Err(DropReason::HelloBudget);
        }
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
            files: self.settings[1].files,
            ..Welcome::default()
        };
        let timeout = Duration::from_secs(2);
        let handshake = self.identity.accept(now, from, &hello, &welcome, timeout, &self.provider);
        let handshake = handshake.map_err(|_| DropReason::Hello)?;
        self.monitor.learn(&handshake.secrets, from);
        self.handshake = Some((handshake, welcome));
        Ok(())
    }

    /// Data for a connection that the server does not know.
    fn answer_unknown(&mut self, from: SocketAddr, datagram: &[u8]) {
        let Some(id) = wire::connection_id(datagram).filter(|_| self.forgets) else { return };
        let mut out = Vec::new();
        self.identity.write_reset(id, &mut out);
        self.monitor.credit(from, datagram.len());
        self.transmit(Side::Server, from, &out, None);
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
                if self.closed[side as usize].is_some() {
                    self.monitor.violation(now, format!("{side:?}: {event:?} after the end"));
                }
                if let Event::Closed(closing) = &event {
                    self.closed[side as usize] = Some((now, closing.clone()));
                }
                self.events[side as usize].push((now, event));
            }
        }
    }

    pub fn flush(&mut self) {
        let now = self.now;
        let mut out = Vec::new();
        self.take_events();
        let handshake = self.handshake.as_mut().filter(|_| self.asleep[1].is_none());
        if let Some((handshake, _)) = handshake {
            let to = handshake.address;
            if handshake.poll_transmit(now, &mut out) {
                let datagram = std::mem::take(&mut out);
                self.transmit(Side::Server, to, &datagram, None);
            }
        }
        for side in Side::BOTH {
            if (side == Side::Server && self.server.is_none()) || self.asleep[side as usize].is_some() {
                continue;
            }
            let mut count = 0;
            loop {
                let end = self.end(side);
                let (held_back, known_size) = (end.sender().holds_back(), Some(end.datagram_size()));
                let Some(to) = end.poll_transmit(now, &mut out) else { break };
                let facts = Facts { is_probe: end.is_probe(), held_back, known_size };
                let datagram = std::mem::take(&mut out);
                assert!((1..=1472).contains(&datagram.len()), "{} bytes", datagram.len());
                if datagram.len() >= 1000 && self.end(side).sender().waiting_short() > 0 {
                    self.overtook[side as usize] += 1;
                }
                count += 1;
                assert!(count < 5000, "{side:?} sends without end");
                self.transmit(side, to, &datagram, Some(facts));
            }
            let timeout = self.settings[side as usize].connection_timeout;
            let end = self.end(side);
            let (state, remote) = (end.state(), end.remote());
            if state == State::Connected {
                self.monitor.on_flushed(now, side, timeout, remote);
            }
        }
        self.take_events();
    }

    /// A datagram leaves; `facts` are those of the connection's end that sends it.
    fn transmit(&mut self, side: Side, to: SocketAddr, datagram: &[u8], facts: Option<Facts>) {
        let is_probe = facts.as_ref().is_some_and(|f| f.is_probe);
        let facts = facts.unwrap_or(Facts { is_probe, held_back: false, known_size: None });
        self.monitor.on_sent(self.now, side, to, datagram, &facts);
        let sent = &mut self.sent[side as usize];
        (sent.0, sent.1) = (sent.0 + 1, sent.1 + datagram.len() as u64);
        if let Some(sizes) = &mut self.sizes {
            sizes[side as usize].push(datagram.len());
        }
        if self.monitor.on && self.cookies && side == Side::Client && !wire::is_data(datagram) {
            // Whoever sees a hello may say it too.
            self.network.stray(self.now, side, datagram);
        }
        let there = side == Side::Client || to == self.client_address;
        if there && datagram.len() <= self.mtu {
            self.network.send(self.now, side, datagram);
        }
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

#[test]
fn a_long_message_that_is_sent_once_is_not_held_up_by_leisurely_acknowledgements() {
    let mut p = NativePair::connected(3, Link::delay(2));
    p.send(Side::Server, &vec![5; 300_000], Mode::Once, 1);
    p.run(MS * 200);
    assert_eq!(p.messages(Side::Client).iter().map(Vec::len).collect::<Vec<_>>(), [300_000]);
    let quick = mutants::with(Some(mutants::Mutant::WindowPatient), || {
        let mut p = NativePair::connected(3, Link::delay(2));
        p.send(Side::Server, &vec![5; 300_000], Mode::Once, 1);
        p.run(MS * 200);
        !p.messages(Side::Client).is_empty()
    });
    assert!(!quick, "the test would not notice");
}

#[test]
fn an_ordered_message_that_is_held_back_is_acknowledged_and_handed_over_in_its_turn() {
    let mut p = NativePair::connected(4, Link::delay(20));
    p.mtu = 0;
    p.send(Side::Client, b"first", Mode::Ordered, 1);
    p.mtu = 1472;
    p.send(Side::Client, b"second", Mode::Ordered, 2);
    let sent = |p: &NativePair| {
        let tag = |(_, e): &(Time, Event)| match e {
            Event::Sent { tag, outcome: Outcome::Delivered } => Some(*tag),
            _ => None,
        };
        p.events[0].iter().filter_map(tag).collect::<Vec<_>>()
    };
    while sent(&p).is_empty() && p.step(START + Duration::from_secs(10)) {}
    assert_eq!(sent(&p), [2], "its end of the connection has it");
    assert!(p.messages(Side::Server).is_empty() && p.end(Side::Server).held_bytes() > 0);
    p.run(MS * 1000);
    assert_eq!(
        (sent(&p), p.messages(Side::Server)),
        (vec![2, 1], vec![b"first".to_vec(), b"second".to_vec()])
    );
}
