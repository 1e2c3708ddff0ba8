//! Whole sessions on the native wire, byte for byte: `tests/vectors/native/session_*.json`, for the checker that knows
//! PROTOCOL.md alone (`tests/interop/native_checker.py`).
//!
//! The files change only with what the wire carries; `GAMEKEEPER_BLESS=1` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};

use super::network::Side;
use super::pair::{settings, START};
use super::provider::FixedProvider;
use crate::protocol::connection::native::{Connection, Join};
use crate::protocol::connection::{CloseReason, Event, Farewell, FarewellKind, Room, Settings, State};
use crate::protocol::delivery::{Delivery, Mode};
use crate::protocol::handshake::native::{write_versions, Hello, Identity, ServerHandshake, Welcome};
use crate::protocol::time::Time;
use crate::protocol::wire::native as wire;

const ROOT: [u8; 32] = [0x17; 32];
const CLIENT_EPHEMERAL: u8 = 0x31;
const SERVER_EPHEMERAL: u8 = 0x62;
const COOKIE_KEY: u8 = 0x93;
const DELAY: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_micros(16_667);
const MS: Duration = Duration::from_millis(1);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn fixed(byte: u8) -> FixedProvider {
    FixedProvider { scalar: Vec::new(), random: vec![byte; 32] }
}

fn micros(at: Time) -> u64 {
    at.since(START).as_micros() as u64
}

/// Both ends, the way between them, and what is written down.
struct Stage {
    now: Time,
    settings: Arc<Settings>,
    identity: Identity,
    client: Connection,
    server: Option<Connection>,
    handshake: Option<(ServerHandshake, Welcome)>,
    address: SocketAddr,
    under_way: BTreeMap<(Time, u64), (Side, SocketAddr, Vec<u8>)>,
    /// Of what each side sends: whether it is lost, and by how much it is late.
    lose: [bool; 2],
    late: [Duration; 2],
    /// Largest datagram that arrives.
    mtu: usize,
    cookies: bool,
    refuse: Option<Farewell>,
    phase_every: Option<u64>,
    datagrams: Vec<Value>,
    sent: Vec<Value>,
    delivered: Vec<Value>,
    ends: Vec<Value>,
    welcomes: Vec<Value>,
    join: Value,
    /// When the server forgot everything.
    forgotten: Option<u64>,
}

impl Stage {
    fn new(pinned: bool, join: Join, settings: Settings) -> Stage {
        let identity = Identity::new(&ROOT, &fixed(COOKIE_KEY)).unwrap();
        let settings = Arc::new(settings);
        let said = json!({ "password": join.password.as_deref().map(hex), "data": hex(&join.data) });
        let key = pinned.then(|| identity.public());
        let client = Connection::connect(
            START,
            settings.clone(),
            key,
            join,
            &fixed(CLIENT_EPHEMERAL),
            server_address(),
        );
        Stage {
            now: START,
            settings,
            identity,
            client: client.unwrap(),
            server: None,
            handshake: None,
            address: SocketAddr::from(([192, 0, 2, 1], 4000)),
            under_way: BTreeMap::new(),
            lose: [false; 2],
            late: [Duration::ZERO; 2],
            mtu: 1472,
            cookies: false,
            refuse: None,
            phase_every: None,
            datagrams: Vec::new(),
            sent: Vec::new(),
            delivered: Vec::new(),
            ends: Vec::new(),
            welcomes: Vec::new(),
            join: said,
            forgotten: None,
        }
    }

    fn end(&mut self, side: Side) -> Option<&mut Connection> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Server => self.server.as_mut(),
        }
    }

    fn put_under_way(&mut self, from: Side, address: SocketAddr, datagram: Vec<u8>) {
        let i = from as usize;
        let there = from == Side::Client || address == self.address;
        let arrives = there && !self.lose[i] && datagram.len() <= self.mtu;
        let at = self.now + DELAY + self.late[i];
        self.datagrams.push(json!({
            "at": micros(self.now),
            "arrives": arrives.then(|| micros(at)),
            "from": format!("{from:?}").to_lowercase(),
            "client": address.to_string(),
            "bytes": hex(&datagram),
        }));
        if arrives {
            self.under_way.insert((at, self.datagrams.len() as u64), (from.other(), address, datagram));
        }
    }

    fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        for _ in 0..100_000 {
            self.flush();
            let server = self.server.as_ref().and_then(|s| s.poll_timeout(self.now));
            let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = [arrival, self.client.poll_timeout(self.now), server].into_iter().flatten().min();
            let Some(next) = next.filter(|t| *t <= limit) else {
                self.now = limit;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.under_way.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, from, datagram) = entry.remove();
                self.arrive(to, from, datagram);
            }
            let now = self.now;
            for side in Side::BOTH {
                if let Some(end) = self.end(side) {
                    end.handle_timeout(now);
                }
            }
        }
        panic!("a timer that is due stays due");
    }

    fn arrive(&mut self, to: Side, from: SocketAddr, mut datagram: Vec<u8>) {
        let (now, mut room) = (self.now, Room::ENDLESS);
        match (to, self.server.as_mut()) {
            (Side::Client, _) => {
                let _late = self.client.handle_datagram(now, server_address(), &mut datagram, &mut room);
            }
            (Side::Server, Some(server)) if wire::is_data(&datagram) => {
                let _late = server.handle_datagram(now, from, &mut datagram, &mut room);
            }
            (Side::Server, _) => self.handle_stranger(from, datagram),
        }
        self.take_events();
    }

    fn handle_stranger(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        let (now, mut out) = (self.now, Vec::new());
        if wire::is_data(&datagram) {
            let Some((handshake, welcome)) = self.handshake.take() else {
                self.identity.write_reset(wire::connection_id(&datagram).unwrap(), &mut out);
                return self.put_under_way(Side::Server, from, out);
            };
            let mut end = Connection::accepted(now, self.settings.clone(), &handshake, welcome).unwrap();
            end.handle_datagram(now, from, &mut datagram, &mut { Room::ENDLESS }).unwrap();
            if let Some(packets) = self.phase_every {
                end.phase_every(packets);
                self.client.phase_every(packets);
            }
            self.server = Some(end);
            return;
        }
        let Ok(hello) = Hello::parse(&datagram) else {
            write_versions(&datagram, &mut out);
            return self.put_under_way(Side::Server, from, out);
        };
        if self.cookies && !self.identity.cookie_valid(now, from, &hello) {
            self.identity.write_cookie(now, from, &hello, &mut out);
            return self.put_under_way(Side::Server, from, out);
        }
        if let Some((handshake, _)) = &mut self.handshake {
            return handshake.repeated();
        }
        let welcome = Welcome {
            connection_id: 0x0102_0304,
            token: 0x4000_0001,
            reset_token: self.identity.reset_token(0x0102_0304),
            tick_interval_us: TICK.as_micros() as u32,
            tick: clock(now).0,
            clock_us: now.since(epoch()).as_micros() as u64,
            timeout_ms: 5000,
            max_message: 8 << 20,
            max_join: 1024,
            wants_password: true,
            files: false,
        };
        let timeout = Duration::from_secs(2);
        let handshake =
            self.identity.accept(now, from, &hello, &welcome, timeout, &fixed(SERVER_EPHEMERAL)).unwrap();
        self.welcomes.push(json!({ "connection_id": welcome.connection_id, "token": welcome.token,
            "tick_interval_us": welcome.tick_interval_us, "tick": welcome.tick, "clock_us": welcome.clock_us,
            "timeout_ms": welcome.timeout_ms, "max_message": welcome.max_message, "max_join": welcome.max_join,
            "wants_password": welcome.wants_password, "reset_token": hex(&welcome.reset_token) }));
        self.handshake = Some((handshake, welcome));
    }

    fn take_events(&mut self) {
        let (now, refuse) = (self.now, self.refuse.clone());
        for side in Side::BOTH {
            let to = format!("{side:?}").to_lowercase();
            while let Some(end) = self.end(side) {
                let Some(event) = end.poll_event() else { break };
                match (event, &refuse) {
                    (Event::Join { .. }, None) => end.accept(now),
                    (Event::Join { .. }, Some(farewell)) => end.close(now, false, farewell.clone()),
                    (Event::Message { channel, data, .. }, _) => self.delivered.push(
                        json!({ "at": micros(now), "to": to, "channel": channel, "data": hex(&data) }),
                    ),
                    (Event::Closed(closing), _) => self.ends.push(json!({ "at": micros(now), "end": to,
                        "remote": closing.reason == CloseReason::Remote, "restarted": closing.reason == CloseReason::Restarted,
                        "reason": closing.farewell.kind as u8, "code": closing.farewell.code, "text": closing.farewell.text })),
                    _ => {}
                }
            }
        }
    }

    fn flush(&mut self) {
        let (now, mut out) = (self.now, Vec::new());
        self.take_events();
        let address = self.address;
        while self.handshake.as_mut().is_some_and(|(h, _)| h.poll_transmit(now, &mut out)) {
            self.put_under_way(Side::Server, address, std::mem::take(&mut out));
        }
        if let Some(server) = self.server.as_mut().filter(|s| s.wants_tick(now)) {
            let (tick, at) = clock(now);
            server.set_tick(tick, at, epoch());
        }
        for side in Side::BOTH {
            while let Some(to) = self.end(side).and_then(|end| end.poll_transmit(now, &mut out)) {
                let address = if side == Side::Client { self.address } else { to };
                self.put_under_way(side, address, std::mem::take(&mut out));
            }
        }
        self.take_events();
    }

    fn send(&mut self, side: Side, data: &[u8], delivery: impl Into<Delivery>) {
        let (now, delivery) = (self.now, delivery.into());
        self.sent.push(json!({ "at": micros(now), "from": format!("{side:?}").to_lowercase(),
            "mode": delivery.mode as u8, "channel": delivery.channel, "data": hex(data) }));
        self.end(side).expect("it is there").send(now, data.into(), delivery, 0).unwrap();
        self.flush();
    }

    fn close(&mut self, side: Side, farewell: Farewell) {
        let now = self.now;
        self.end(side).expect("it is there").close(now, false, farewell);
        self.run(Duration::from_secs(4));
    }

    fn connected(mut self) -> Stage {
        self.run(MS * 200);
        let server = self.server.as_ref().map(Connection::state);
        assert_eq!((self.client.state(), server), (State::Connected, Some(State::Connected)));
        self
    }

    /// Compares the file, or writes it.
    fn compare(self, name: &str, what: &str, pinned: bool) {
        let lines = |values: &[Value]| {
            let all: Vec<String> = values.iter().map(|value| format!("  {value}")).collect();
            if all.is_empty() {
                "[]".to_owned()
            } else {
                format!("[\n{}\n ]", all.join(",\n"))
            }
        };
        let text = format!(
            "{{\n \"what\": \"{what}\",\n \"pinned\": {pinned},\n \"root\": \"{}\",\n \"cookie_key\": \"{}\",\n \
             \"client_ephemeral\": \"{}\",\n \"server_ephemeral\": \"{}\",\n \"unix_micros\": {},\n \"join\": {},\n \"forgotten\": {},\n \"welcome\": {},\n \
             \"datagrams\": {},\n \"sent\": {},\n \"delivered\": {},\n \"ends\": {}\n}}\n",
            hex(&ROOT),
            hex(&[COOKIE_KEY; 32]),
            hex(&[CLIENT_EPHEMERAL; 32]),
            hex(&[SERVER_EPHEMERAL; 32]),
            START.as_micros(),
            self.join,
            json!(self.forgotten),
            self.welcomes.first().unwrap_or(&Value::Null),
            lines(&self.datagrams),
            lines(&self.sent),
            lines(&self.delivered),
            lines(&self.ends),
        );
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/native");
        let path = folder.join(format!("session_{name}.json"));
        if std::env::var_os("GAMEKEEPER_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{} is not what the wire carries; GAMEKEEPER_BLESS=1 writes it anew",
            path.display()
        );
    }
}

/// When the server's clock began.
fn epoch() -> Time {
    START - Duration::from_secs(16)
}

/// Its newest tick, and when that was.
fn clock(now: Time) -> (u64, Time) {
    let tick = now.since(epoch()).as_micros() / TICK.as_micros();
    (tick as u64, epoch() + TICK * tick as u32)
}

fn server_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 2021))
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add((i as u8).wrapping_mul(29))).collect()
}

fn on(mode: Mode, channel: u8) -> Delivery {
    Delivery { mode, channel, ..Delivery::default() }
}

const MODES: [Mode; 5] = [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered];

#[test]
fn every_mode() {
    let join = Join { password: Some(b"sesame".to_vec()), data: b"player one".to_vec() };
    let mut s = Stage::new(true, join, settings()).connected();
    for (i, mode) in MODES.into_iter().enumerate() {
        let i = i as u8;
        for side in Side::BOTH {
            s.send(side, &bytes(i, 20), mode);
            s.send(side, &bytes(i + 10, 70), on(mode, 3 + i));
            s.send(side, b"", mode);
            s.send(side, &bytes(i + 20, 1250), on(mode, 255 * (i % 2)));
        }
        s.run(MS * 60);
    }
    s.run(MS * 100);
    s.close(Side::Client, Farewell { kind: FarewellKind::Left, code: 77, text: "bye".into() });
    assert_eq!(s.delivered.len(), 2 * 5 * 4);
    s.compare("modes", "NK, JOIN with a password, all modes, channels, fragments, CLOSE and CLOSED", true);
}

#[test]
fn cookie_and_refusal() {
    let mut s = Stage::new(false, Join { password: None, data: vec![7; 100] }, settings());
    s.cookies = true;
    s.refuse = Some(Farewell { kind: FarewellKind::Refused, code: 70_000, text: "not today".into() });
    s.run(MS * 50);
    s.lose[Side::Server as usize] = true;
    s.run(MS * 50);
    s.lose[Side::Server as usize] = false;
    s.run(Duration::from_secs(4));
    assert_eq!(s.client.state(), State::Closed);
    s.compare("refused", "NX, COOKIE, a WELCOME that is lost, JOIN without a password, refused", false);
}

#[test]
fn losses() {
    let join = Join::default();
    let mut s = Stage::new(true, join, Settings { redundancy: 1, ..settings() }).connected();
    for i in 0..24_u8 {
        for side in Side::BOTH {
            s.lose[side as usize] = i % 5 == 1 || i % 7 == 3 + side as u8;
        }
        s.send(Side::Client, &bytes(i, 40), on(MODES[usize::from(i) % 5], i % 2));
        s.send(Side::Server, &bytes(i ^ 0x80, 30), on(MODES[usize::from(i + 3) % 5], i % 2));
        s.run(MS * 11);
    }
    s.lose = [false; 2];
    s.run(MS * 400);
    s.lose[Side::Client as usize] = true;
    s.close(Side::Server, Farewell { kind: FarewellKind::Kicked, code: 5, text: String::new() });
    s.compare(
        "losses",
        "losses both ways: ranges, probes, copies ahead of a loss, order kept, CLOSE said again",
        true,
    );
}

#[test]
fn another_address() {
    let mut s = Stage::new(true, Join::default(), settings()).connected();
    s.mtu = 1452;
    s.run(MS * 3000);
    assert_eq!(s.client.datagram_size(), 1452);
    s.address.set_port(4001);
    s.send(Side::Client, b"from elsewhere", Mode::Guaranteed);
    s.run(MS * 100);
    assert_eq!(s.server.as_ref().map(Connection::remote), Some(s.address));
    s.send(Side::Server, &bytes(1, 4000), Mode::Guaranteed);
    s.send(Side::Client, &bytes(2, 4000), Mode::Guaranteed);
    s.run(MS * 200);
    s.close(Side::Server, Farewell::of(FarewellKind::Shutdown));
    s.compare("moved", "path MTU probes, PING, TIME, a new address: PATH_CHALLENGE and PATH_RESPONSE", true);
}

#[test]
fn key_phases() {
    let mut s = Stage::new(true, Join::default(), settings());
    s.phase_every = Some(8);
    let mut s = s.connected();
    for i in 0..40_u8 {
        // Now and then one comes later than those after it, over the edge of a phase too.
        s.late[Side::Client as usize] = if i % 3 == 0 { MS * 25 } else { Duration::ZERO };
        s.send(Side::Client, &[i; 9], on(MODES[usize::from(i) % 5], 1));
        s.send(Side::Server, &[i; 7], Mode::Guaranteed);
        s.run(MS * 10);
    }
    s.run(MS * 100);
    s.close(Side::Client, Farewell::default());
    s.compare("phases", "key phases of a few packets, late packets over their edges", true);
}

#[test]
fn versions_and_reset() {
    let mut s = Stage::new(true, Join::default(), settings());
    let mut other = Vec::new();
    let mut copy = Stage::new(false, Join::default(), settings()).client;
    assert!(copy.poll_transmit(START, &mut other).is_some());
    other[4] = 2;
    s.put_under_way(Side::Client, SocketAddr::from(([192, 0, 2, 2], 9)), other);
    let mut s = s.connected();
    s.send(Side::Client, b"before", Mode::Ordered);
    s.run(MS * 100);
    // The server is started anew.
    s.server = None;
    s.forgotten = Some(micros(s.now));
    s.send(Side::Client, b"after", Mode::Ordered);
    s.run(MS * 300);
    assert_eq!(s.client.state(), State::Closed);
    s.compare(
        "reset",
        "a HELLO of another version, and a server that is started anew: VERSIONS, RESET",
        true,
    );
}
