//! What a stranger, a man in the middle and a peer that lies can send.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::network::{Link, Network, Side};
use super::pair::{settings, Pair};
use crate::metrics::server::DropReason;
use crate::protocol::connection::mpgameserver::Connection;
use crate::protocol::connection::{Event, Room, Settings, State};
use crate::protocol::crypto::{Aead, TAG_LEN};
use crate::protocol::delivery::{Mode, Outcome};
use crate::protocol::fragment::Reassembly;
use crate::protocol::wire::mpgameserver::{self as wire, kind, Direction, Header, HEADER_LEN};

/// A live server end, and a peer that holds the key and keeps to nothing.
struct Liar {
    pair: Pair,
    seq: u16,
}

impl Liar {
    fn new(settings: Settings) -> Liar {
        let network = Network::new(1, Link::delay(10), Link::delay(10));
        let mut pair = Pair::connected(1, [settings.clone(), settings], network);
        pair.run_until(pair.now + Duration::from_secs(1));
        pair.server.events.clear();
        Liar { pair, seq: 1000 }
    }

    fn key(&self) -> &Aead {
        self.pair.monitor.key().expect("the pair is connected")
    }

    fn server(&mut self) -> &mut Connection {
        self.pair.connection(Side::Server)
    }

    fn header(&mut self) -> Header {
        self.seq += 1;
        Header { time: 1, seq: self.seq, ack: 0, kind: kind::APP, count: 1, ack_bits: 0 }
    }

    /// Seals a payload as it is, under a header as it is.
    fn seal(&self, header: Header, payload: &[u8]) -> Vec<u8> {
        let mut out = b"FSOS".to_vec();
        out.extend_from_slice(&header.time.to_be_bytes());
        out.extend_from_slice(&header.seq.to_be_bytes());
        out.extend_from_slice(&header.ack.to_be_bytes());
        out.push(header.kind);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.push(header.count);
        out.extend_from_slice(&header.ack_bits.to_be_bytes());
        let nonce: [u8; 12] = out[..12].try_into().unwrap();
        let mut body = payload.to_vec();
        let tag = self.key().seal(nonce, &out, &mut body).unwrap();
        out.extend_from_slice(&body);
        out.extend_from_slice(&tag);
        out
    }

    fn deliver(&mut self, mut datagram: Vec<u8>) -> Result<(), DropReason> {
        let now = self.pair.now;
        self.server().handle_datagram(now, &mut datagram, &mut Room { ..Room::ENDLESS })
    }

    /// Delivers one message, or several with kinds of their own.
    fn say(&mut self, kind: u8, msgseq: u16, body: &[u8]) {
        let header = Header { kind, ..self.header() };
        let payload = [&msgseq.to_be_bytes(), body].concat();
        let datagram = self.seal(header, &payload);
        self.deliver(datagram).unwrap();
    }

    fn messages(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(event) = self.server().poll_event() {
            match event {
                Event::Message { data, .. } => all.push(data),
                other => panic!("{other:?}"),
            }
        }
        all
    }
}

fn fragment(id: u16, index: u16, count: u16, data: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &index.to_be_bytes(), &count.to_be_bytes(), data].concat()
}

#[test]
fn a_changed_or_cut_datagram_is_dropped_and_the_right_one_taken() {
    let mut liar = Liar::new(settings());
    let header = Header { kind: kind::APP, count: 2, ..liar.header() };
    let datagram = liar.seal(header, &[0, 1, 2, 0, kind::APP, b'x', 0, 1, 2, 1, kind::APP, b'y']);
    let before = liar.server().stats();
    for at in 0..datagram.len() {
        for change in 1..=255u8 {
            let mut other = datagram.clone();
            other[at] ^= change;
            assert!(liar.deliver(other).is_err(), "byte {at}");
        }
        assert!(liar.deliver(datagram[..at].to_vec()).is_err(), "cut to {at}");
        let longer = [&datagram[..], &vec![0; at + 1]].concat();
        assert_eq!(liar.deliver(longer), Err(DropReason::Malformed), "longer by {at}");
    }
    let after = liar.server().stats();
    assert_eq!((before.received, before.bytes_received), (after.received, after.bytes_received));
    assert_eq!(after.dropped - before.dropped, datagram.len() as u64 * 257);
    liar.deliver(datagram.clone()).unwrap();
    assert_eq!(liar.deliver(datagram), Err(DropReason::Duplicate));
    assert_eq!(liar.messages(), [b"x", b"y"]);
}

#[test]
fn replays_of_every_age_are_dropped() {
    let mut p = Pair::plain(2);
    p.record = Some(Vec::new());
    for n in 0..3000u32 {
        p.send(Side::Client, &n.to_be_bytes(), Mode::Once, 0).unwrap();
        p.run_until(p.now + Duration::from_millis(20));
    }
    p.run_until(p.now + Duration::from_millis(50));
    let sent = p.record.take().unwrap_or_default();
    let all: Vec<_> = sent.into_iter().filter(|(side, _)| *side == Side::Client).map(|(_, d)| d).collect();
    let received = p.connection(Side::Server).stats().messages_received;
    assert!(all.len() > 2900 && received > 2900, "{} {received}", all.len());
    let now = p.now;
    for (age, datagram) in all.iter().rev().enumerate() {
        let result = p.connection(Side::Server).handle_datagram(
            now,
            &mut datagram.clone(),
            &mut Room { ..Room::ENDLESS },
        );
        let expected = if age < 900 { DropReason::Duplicate } else { DropReason::Old };
        // Between the two lies the window's border.
        assert!(
            result == Err(expected) || (900..1100).contains(&age) && result.is_err(),
            "{age}: {result:?}"
        );
    }
    assert_eq!(p.connection(Side::Server).stats().messages_received, received);
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    let mut liar = Liar::new(settings());
    liar.pair.network.links[1].cut = true;
    liar.pair.send(Side::Server, b"unacknowledged", Mode::Guaranteed, 7).unwrap();
    let later = liar.pair.now + Duration::from_millis(50);
    liar.pair.run_until(later);
    let sent = liar.pair.monitor.sent(Side::Server).0 as u16;
    let acked = liar.server().stats().acked;
    for ack in (sent + 1..sent + 200).chain([30_000, 40_000, 65_535]) {
        let header = Header { ack, ack_bits: u32::MAX, kind: kind::KEEP_ALIVE, count: 0, ..liar.header() };
        let datagram = liar.seal(header, &[]);
        liar.deliver(datagram).unwrap();
    }
    assert_eq!(liar.server().stats().acked, acked);
    assert_eq!(liar.server().poll_event(), None);
    // The right one still counts, once.
    for _ in 0..3 {
        let header = Header { ack: sent, kind: kind::KEEP_ALIVE, count: 0, ..liar.header() };
        let datagram = liar.seal(header, &[]);
        liar.deliver(datagram).unwrap();
    }
    assert_eq!(liar.server().poll_event(), Some(Event::Sent { tag: 7, outcome: Outcome::Delivered }));
    assert_eq!(liar.server().poll_event(), None);
}

#[test]
fn fragments_that_lie_are_dropped_and_counted() {
    let mut liar = Liar::new(settings());
    let mut number = 100;
    let bad: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        fragment(1, 1, 2, b"")[..5].to_vec(),
        fragment(1, 1, 2, b""),
        fragment(1, 1, 0, b"x"),
        fragment(1, 0, 2, b"x"),
        fragment(1, 3, 2, b"x"),
        fragment(1, 1, 0x2001, b"x"),
        fragment(1, 1, u16::MAX, b"x"),
        fragment(1, u16::MAX, u16::MAX, b"x"),
    ];
    for (i, body) in bad.iter().enumerate() {
        number += 1;
        liar.say(kind::APP_FRAGMENT, number, body);
        assert_eq!(liar.server().stats().messages_malformed, i as u64 + 1, "{body:?}");
        assert_eq!(liar.server().reassembly_bytes(), 0, "{body:?}");
    }
    // A count that differs from the first one, and an index twice.
    for body in [fragment(5, 1, 3, b"a"), fragment(5, 2, 4, b"b"), fragment(5, 1, 3, b"c")] {
        number += 1;
        liar.say(kind::APP_FRAGMENT, number, &body);
    }
    assert_eq!(liar.server().stats().messages_malformed, bad.len() as u64 + 2);
    for body in [fragment(5, 3, 3, b"e"), fragment(5, 2, 3, b"d"), fragment(6, 1, 1, b"alone")] {
        number += 1;
        liar.say(kind::APP_FRAGMENT, number, &body);
    }
    assert_eq!(liar.messages(), [b"ade".to_vec(), b"alone".to_vec()]);
    assert_eq!(liar.server().reassembly_bytes(), 0);
}

#[test]
fn what_stands_before_a_malformed_message_is_delivered() {
    for (tail, counted) in [
        (vec![0u8, 9, 1, 9, kind::APP, b'y'], 1),
        (vec![0, 1, 1], 1),
        (vec![], 1),
        (vec![0, 1, 0, 0, kind::APP, b'z'], 1),
        (vec![0, 0, 1, 9, 200], 1),
        (vec![0, 0, 1, 9, kind::SERVER_HELLO], 1),
    ] {
        let mut liar = Liar::new(settings());
        let header = Header { count: 2, ..liar.header() };
        let payload = [&[0, 1, 1, 0, kind::APP, b'x'], &tail[..]].concat();
        let datagram = liar.seal(header, &payload);
        liar.deliver(datagram).unwrap();
        assert_eq!(liar.messages(), [b"x"], "{tail:?}");
        assert_eq!(liar.server().stats().messages_malformed, counted, "{tail:?}");
        assert_eq!(liar.server().state(), State::Connected);
    }
}

#[test]
fn clear_datagrams_do_nothing_to_a_live_connection() {
    let mut p = Pair::plain(3);
    let now = p.now;
    for (side, direction) in [(Side::Server, Direction::ToServer), (Side::Client, Direction::ToClient)] {
        for kind in [kind::CLIENT_HELLO, kind::SERVER_HELLO] {
            let header = Header { time: 1, seq: 9, ack: 1, kind, count: 1, ack_bits: u32::MAX };
            let mut datagram = Vec::new();
            wire::write_clear(header, direction, 9, &[0; 1412], &mut datagram);
            let before = p.connection(side).stats();
            let result =
                p.connection(side).handle_datagram(now, &mut datagram, &mut Room { ..Room::ENDLESS });
            assert_eq!(result, Err(DropReason::Clear));
            let after = p.connection(side).stats();
            assert_eq!((before.received, before.acked), (after.received, after.acked));
            assert_eq!(p.connection(side).poll_event(), None);
        }
    }
}

/// A peer with the key that sends anything at all: nothing panics, nothing grows beyond its bound, and the
/// connection works afterwards.
#[test]
fn a_lying_peer_harms_only_itself() {
    let limits = crate::protocol::delivery::Limits { max_message: 50_000, ..(*settings().limits).clone() };
    let small = Settings { limits: limits.into(), max_reassembly_bytes: 20_000, ..settings() };
    let most = Reassembly::most_bytes(20_000, 50_000);
    for seed in 0..40 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut liar = Liar::new(small.clone());
        for round in 0..600 {
            if round % 20 == 0 {
                liar.pair.now = liar.pair.now + Duration::from_millis(rng.random_range(0..400));
                let now = liar.pair.now;
                let _full =
                    liar.server().send(now, vec![1; rng.random_range(0..3000)].into(), Mode::Guaranteed, 1);
                liar.server().handle_timeout(now);
                let mut out = Vec::new();
                while liar.server().poll_transmit(now, &mut out) {}
            }
            let datagram = random_datagram(&mut liar, &mut rng);
            let _dropped = liar.deliver(datagram);
            assert!(liar.server().reassembly_bytes() <= most, "{}", liar.server().reassembly_bytes());
            while liar.server().poll_event().is_some() {}
            if liar.server().state() != State::Connected {
                break;
            }
        }
    }
}

fn random_datagram(liar: &mut Liar, rng: &mut SmallRng) -> Vec<u8> {
    let mut header = liar.header();
    if rng.random_bool(0.2) {
        header.seq = rng.random();
    }
    header.ack = rng.random_range(0..60);
    header.ack_bits = rng.random();
    header.kind = rng.random_range(3..9);
    let mut payload = Vec::new();
    if rng.random_bool(0.3) {
        payload = (0..rng.random_range(0..60)).map(|_| rng.random()).collect();
        header.count = rng.random();
    } else {
        header.count = rng.random_range(2..6);
        for _ in 0..header.count {
            let mut body: Vec<u8> = vec![rng.random(); rng.random_range(0..400)];
            let mut kind = rng.random_range(0..9u8);
            if rng.random_bool(0.6) {
                let count = rng.random_range(0..0x2100u16) >> rng.random_range(0..13);
                body = fragment(rng.random_range(0..50), rng.random_range(0..=count), count, &body);
                kind = kind::APP_FRAGMENT;
            }
            // Now and then a goodbye; mostly not, so that there is a life to go on.
            if kind == kind::DISCONNECT && rng.random_bool(0.99) {
                kind = kind::APP;
            }
            payload.extend_from_slice(&(body.len() as u16).to_be_bytes());
            payload.extend_from_slice(&rng.random::<u16>().to_be_bytes());
            payload.push(kind);
            payload.extend_from_slice(&body);
        }
    }
    let mut datagram = liar.seal(header, &payload);
    if rng.random_bool(0.02) {
        datagram.truncate(rng.random_range(0..datagram.len()));
    }
    debug_assert!(datagram.len() <= 2048 + HEADER_LEN + TAG_LEN);
    datagram
}

#[test]
fn noise_is_dropped() {
    let mut p = Pair::plain(4);
    let now = p.now;
    let mut rng = SmallRng::seed_from_u64(4);
    for _ in 0..30_000 {
        let mut datagram: Vec<u8> = (0..rng.random_range(0..80)).map(|_| rng.random()).collect();
        for (to, from) in datagram.iter_mut().zip(*b"FSOS") {
            if rng.random_bool(0.9) {
                *to = from;
            }
        }
        for side in Side::BOTH {
            let mut copy = datagram.clone();
            let result = p.connection(side).handle_datagram(now, &mut copy, &mut Room { ..Room::ENDLESS });
            result.unwrap_err();
        }
    }
    p.send(Side::Client, b"fine", Mode::Once, 0).unwrap();
    p.run_until(p.now + Duration::from_millis(100));
    assert_eq!(p.messages(Side::Server), [b"fine"]);
}
