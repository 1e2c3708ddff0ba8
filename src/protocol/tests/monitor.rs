//! Watches the wire between two ends with the session's key, and notes what no end may ever do.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::network::Side;
use super::provider::TestProvider;
use crate::protocol::ack::ACK_EVERY;
use crate::protocol::congestion::MAX_WINDOW;
use crate::protocol::connection::mpgameserver::Connection;
use crate::protocol::connection::State;
use crate::protocol::crypto::{self, Aead, Point, TAG_LEN};
use crate::protocol::handshake::mpgameserver::{parse_challenge_response, parse_server_hello};
use crate::protocol::seq;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, FragmentHeader, Header, Messages, Sizes, NUMBER_WINDOW,
};

/// Violations kept: the first ones tell.
const MAX_VIOLATIONS: usize = 20;

/// What one end has sent so far.
#[derive(Default)]
struct Outward {
    nonces: HashSet<[u8; 12]>,
    /// Packets of the other end that this one took, and those of them that it may acknowledge.
    seen: HashSet<u64>,
    taken: HashSet<u64>,
    newest_taken: u64,
    time: u32,
    packets: u64,
    newest_number: u64,
    bodies: HashMap<u64, u64>,
    fragments: HashMap<(u16, u16), u64>,
    last_sent: Option<Time>,
    taken_since_sent: u32,
    pub bytes: u64,
    pub goodbyes: u64,
}

pub struct Monitor {
    /// Of the newest handshake last: a late copy of a hello can begin another one.
    keys: Vec<Aead>,
    sizes: Sizes,
    sides: [Outward; 2],
    /// What went wrong, oldest first.
    pub violations: Vec<String>,
    /// Packet numbers may be forgotten by tests that handle millions of them.
    pub check_bodies: bool,
}

fn direction(side: Side) -> Direction {
    match side {
        Side::Client => Direction::ToServer,
        Side::Server => Direction::ToClient,
    }
}

impl Monitor {
    pub fn new(sizes: Sizes) -> Monitor {
        Monitor {
            keys: Vec::new(),
            sizes,
            sides: Default::default(),
            violations: Vec::new(),
            check_bodies: true,
        }
    }

    pub fn violation(&mut self, now: Time, text: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            let at = now.since(super::pair::START);
            self.violations.push(format!("at {at:?}: {text}"));
        }
    }

    /// Packets, bytes and goodbyes that `side` sent.
    pub fn sent(&self, side: Side) -> (u64, u64, u64) {
        let s = &self.sides[side as usize];
        (s.packets, s.bytes, s.goodbyes)
    }

    /// The session's key, once the server's answer was seen.
    pub fn key(&self) -> Option<&Aead> {
        self.keys.last()
    }

    pub fn learn_key(&mut self, server: &TestProvider, client: Option<Point>, answer: &[u8]) {
        let learn = || {
            let (_, payload) = wire::open_clear(answer, Direction::ToClient).ok()?;
            let hello = parse_server_hello(payload.get(2..)?, None).ok()?;
            let shared = server.agreed(&client?)?;
            Aead::new(&crypto::session_key(&shared, &hello.salt).ok()?).ok()
        };
        let (true, Some(key)) = (answer.get(8..10) == Some(&[0, 1]), learn()) else { return };
        self.keys.push(key);
        self.sides[Side::Server as usize] = Outward::default();
    }

    pub fn on_sent(&mut self, now: Time, side: Side, datagram: &[u8]) {
        if let Err(text) = self.check_sent(now, side, datagram) {
            self.violation(now, format!("{side:?} sent: {text}"));
        }
    }

    fn check_sent(&mut self, now: Time, side: Side, datagram: &[u8]) -> Result<(), String> {
        let s = &mut self.sides[side as usize];
        s.last_sent = Some(now);
        s.taken_since_sent = 0;
        s.bytes += datagram.len() as u64;
        if datagram.len() > self.sizes.datagram {
            return Err(format!("{} bytes", datagram.len()));
        }
        let clear = wire::is_clear(datagram);
        let trailer = if clear { wire::CRC_LEN } else { TAG_LEN };
        let header = Header::parse(datagram, direction(side), trailer).map_err(|e| format!("{e:?}"))?;
        s.packets += 1;
        if seq::to_wire(s.packets) != header.seq {
            return Err(format!("packet {} instead of {}", header.seq, seq::to_wire(s.packets)));
        }
        if header.time < s.time {
            return Err("the time goes back".into());
        }
        s.time = header.time;
        if clear {
            return Ok(());
        }
        let nonce: [u8; 12] = datagram[..12].try_into().map_err(|_| "short")?;
        if !s.nonces.insert(nonce) {
            return Err("a nonce twice".into());
        }
        self.check_acks(side, &header)?;
        let mut copy = Vec::new();
        let opening = self.keys.iter().find(|key| {
            copy = datagram.to_vec();
            wire::open_sealed(&mut copy, key).is_ok()
        });
        opening.ok_or("does not open")?;
        let payload = copy.get(wire::HEADER_LEN..copy.len() - TAG_LEN).ok_or("short")?;
        let s = &mut self.sides[side as usize];
        for message in Messages::new(&header, payload) {
            let message = message.map_err(|_| "a broken payload")?;
            s.check_message(&message, self.check_bodies)?;
        }
        Ok(())
    }

    fn check_acks(&mut self, side: Side, header: &Header) -> Result<(), String> {
        let s = &self.sides[side as usize];
        if header.ack == 0 {
            return Ok(());
        }
        let newest = seq::widen(header.ack, s.newest_taken).ok_or("ack of nothing")?;
        for d in 0..=32u64 {
            let claimed = d == 0 || header.ack_bits & (0x8000_0000u32 >> (d - 1)) != 0;
            // Number 1 and what follows at once are the hellos, which no connection takes.
            if claimed && newest > d && newest - d > 40 && !s.taken.contains(&(newest - d)) {
                return Err(format!("acknowledges {} which it never took", newest - d));
            }
        }
        Ok(())
    }

    /// `side` took a datagram of the other end; `refused`: but not all of its messages.
    pub fn on_taken(&mut self, now: Time, side: Side, datagram: &[u8], refused: bool) {
        let s = &mut self.sides[side as usize];
        let Ok(header) = Header::parse(datagram, direction(side.other()), TAG_LEN) else { return };
        if wire::is_clear(datagram) {
            return;
        }
        s.taken_since_sent += u32::from(!refused);
        let number = seq::widen(header.seq, s.newest_taken).unwrap_or(0);
        s.newest_taken = s.newest_taken.max(number);
        if !s.seen.insert(number) {
            self.violation(now, format!("{side:?} took packet {number} twice"));
        } else if !refused {
            s.taken.insert(number);
        }
    }

    /// `side` kept to the contract and has drained its outputs.
    pub fn on_flushed(&mut self, now: Time, side: Side, connection: &Connection) {
        if connection.state() != State::Connected {
            return;
        }
        let s = &self.sides[side as usize];
        let keep_alive = connection.longest_silence() + Duration::from_micros(1);
        let mut wrong = Vec::new();
        if s.last_sent.is_some_and(|t| now.since(t) > keep_alive) {
            wrong.push("no keep-alive".to_string());
        }
        if s.taken_since_sent > ACK_EVERY {
            wrong.push(format!("{} packets unacknowledged", s.taken_since_sent));
        }
        let under_way = connection.packets_under_way();
        // Keep-alives and acknowledgements leave whatever the window says.
        if under_way > MAX_WINDOW + 10 {
            wrong.push(format!("{under_way} packets under way"));
        }
        for text in wrong {
            self.violation(now, format!("{side:?}: {text}"));
        }
    }
}

impl Outward {
    fn check_message(&mut self, message: &wire::Incoming<'_>, check_bodies: bool) -> Result<(), String> {
        let number = seq::widen(message.msgseq, self.newest_number).ok_or("message number 0")?;
        if number + NUMBER_WINDOW <= self.newest_number {
            return Err(format!("message {number}, {} behind", self.newest_number - number));
        }
        self.newest_number = self.newest_number.max(number);
        match message.kind {
            kind::APP => {}
            kind::APP_FRAGMENT => {
                let (head, _) = FragmentHeader::parse(message.body).ok_or("a bad fragment")?;
                let first = *self.fragments.entry((head.id, head.index)).or_insert(number);
                if first != number && check_bodies {
                    return Err(format!("fragment {head:?} as {first} and as {number}"));
                }
            }
            kind::CHALLENGE_RESP => {
                parse_challenge_response(message.body).ok_or("a bad proof")?;
            }
            kind::DISCONNECT if message.body.is_empty() => self.goodbyes += 1,
            other => return Err(format!("a message of type {other}")),
        }
        if check_bodies {
            let mut hasher = DefaultHasher::new();
            (message.kind, message.body).hash(&mut hasher);
            let hash = hasher.finish();
            if *self.bodies.entry(number).or_insert(hash) != hash {
                return Err(format!("message {number} with two bodies"));
            }
        }
        Ok(())
    }
}
