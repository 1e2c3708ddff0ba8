//! What a stranger, a man in the middle and a peer that lies can send on the native wire.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::ledger::Ledger;
use super::native::NativePair;
use super::network::{Link, Network, Side};
use super::pair::settings;
use crate::metrics::server::DropReason;
use crate::protocol::connection::native::{Connection, Join};
use crate::protocol::connection::{CloseReason, Event, FarewellKind, Room, Settings, State};
use crate::protocol::crypto::Traffic;
use crate::protocol::delivery::{Limits, Mode, Outcome, Part};
use crate::protocol::fragment::Reassembly;
use crate::protocol::handshake::native::{packet, RESET_LEN};
use crate::protocol::wire::native::{
    self as wire, frame, MessageFrame, PacketKey, CONNECTION_ID_LEN, MAX_PACKET_NUMBER,
};

const MS: Duration = Duration::from_millis(1);
const MAX_REASSEMBLY: usize = 20_000;
const MAX_MESSAGE: usize = 50_000;

/// A live server end, and a peer that holds the keys and keeps to nothing.
struct Liar {
    pair: NativePair,
    secret: Traffic,
    number: u64,
}

impl Liar {
    fn new() -> Liar {
        let limits = Limits { max_message: MAX_MESSAGE, ..(*settings().limits).clone() };
        let small = Settings { limits: limits.into(), max_reassembly_bytes: MAX_REASSEMBLY, ..settings() };
        let network = Network::new(1, Link::delay(10), Link::delay(10));
        let mut pair = NativePair::new(1, [small.clone(), small], network, Join::default());
        pair.run(MS * 300);
        assert!(pair.both(State::Connected));
        pair.events = Default::default();
        // From now on the client's end says nothing any more.
        pair.network.links[0].cut = true;
        let secret = pair.monitor.secrets.as_ref().expect("a handshake").to_server;
        Liar { pair, secret: Traffic::new(secret), number: 1000 }
    }

    fn server(&mut self) -> &mut Connection {
        self.pair.end(Side::Server)
    }

    fn seal_under(&self, secret: &Traffic, phase: bool, number: u64, frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = wire::put_header(&mut out, Some(0x0102_0304), phase, number, 0);
        out.extend_from_slice(frames);
        wire::seal(&mut out, 0, header, &PacketKey::new(secret).unwrap(), number).unwrap();
        out
    }

    fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        self.number += 1;
        self.seal_under(&self.secret, false, self.number, frames)
    }

    fn deliver_from(&mut self, from: SocketAddr, mut datagram: Vec<u8>) -> Result<(), DropReason> {
        let now = self.pair.now;
        let mut room = Room::ENDLESS;
        self.server().handle_datagram(now, from, &mut datagram, &mut room)
    }

    fn deliver(&mut self, datagram: Vec<u8>) -> Result<(), DropReason> {
        self.deliver_from(self.pair.client_address, datagram)
    }

    fn say(&mut self, frames: &[u8]) {
        let datagram = self.seal(frames);
        self.deliver(datagram).unwrap();
    }

    fn message(&mut self, m: &MessageFrame<'_>) {
        let mut frames = Vec::new();
        wire::put_message(&mut frames, m, true);
        self.say(&frames);
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

fn once(data: &[u8]) -> MessageFrame<'_> {
    MessageFrame { mode: Mode::Once, number: 0, channel: 0, sequence: 0, part: None, data }
}

fn frames(messages: &[MessageFrame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|m| wire::put_message(&mut out, m, false));
    out
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

#[test]
fn a_changed_or_cut_datagram_is_dropped_and_the_right_one_taken() {
    let mut liar = Liar::new();
    let datagram = liar.seal(&frames(&[once(b"x"), once(b"y")]));
    let before = liar.server().stats();
    let mut count = 0;
    for at in 0..datagram.len() {
        for change in 1..=255u8 {
            let mut other = datagram.clone();
            other[at] ^= change;
            // The id is not the connection's business: its owner looked it up. Nobody else's opens.
            let is_id = (1..=CONNECTION_ID_LEN).contains(&at);
            let result = liar.deliver(other);
            assert!(result.is_err(), "byte {at}, {is_id}");
            count += 1;
        }
        assert!(liar.deliver(datagram[..at].to_vec()).is_err(), "cut to {at}");
        assert!(liar.deliver([&datagram[..], &vec![0; at + 1]].concat()).is_err(), "longer by {at}");
        count += 2;
    }
    let after = liar.server().stats();
    assert_eq!((before.received, before.bytes_received), (after.received, after.bytes_received));
    assert_eq!(after.dropped - before.dropped, count);
    liar.deliver(datagram.clone()).unwrap();
    assert_eq!(liar.deliver(datagram), Err(DropReason::Duplicate));
    assert_eq!(liar.messages(), [b"x", b"y"]);
}

#[test]
fn replays_of_every_age_are_dropped() {
    let mut liar = Liar::new();
    let all: Vec<_> = (0..3000).map(|_| liar.seal(&frames(&[once(b"once")]))).collect();
    all.iter().for_each(|d| liar.deliver(d.clone()).unwrap());
    assert_eq!(liar.messages().len(), 3000);
    for (age, datagram) in all.iter().rev().enumerate() {
        let expected = if age < 1024 { DropReason::Duplicate } else { DropReason::Old };
        assert_eq!(liar.deliver(datagram.clone()), Err(expected), "{age}");
        assert!(liar.deliver_from(at(1), datagram.clone()).is_err());
    }
    assert_eq!(liar.messages().len(), 0);
    assert_eq!(liar.server().remote(), liar.pair.client_address);
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    let mut liar = Liar::new();
    liar.pair.network.links[1].cut = true;
    liar.pair.send(Side::Server, b"unacknowledged", Mode::Guaranteed, 7);
    liar.pair.run(MS * 20);
    let acked = liar.server().stats().acked;
    let sent = liar.pair.sent[1].0 as u16;
    let ack = |largest: u16, first: u64| {
        let mut out = vec![frame::ACK];
        out.extend_from_slice(&largest.to_be_bytes());
        wire::put_varint(&mut out, 0);
        wire::put_varint(&mut out, first);
        out
    };
    for largest in (sent + 1..sent + 200).chain([30_000, 65_535]) {
        liar.say(&ack(largest, 0));
    }
    // More below than there is, and ranges that go below the first packet.
    liar.say(&ack(1, 1 << 40));
    let mut endless = ack(1, 0);
    endless[0] = frame::ACK + 31;
    (0..62).for_each(|_| wire::put_varint(&mut endless, 1 << 61));
    liar.say(&endless);
    assert_eq!((liar.server().stats().acked, liar.server().poll_event()), (acked, None));
    assert_eq!(liar.server().state(), State::Connected);
    // The right ones still count, once.
    for _ in 0..3 {
        liar.say(&ack(liar.pair.sent[1].0 as u16 - 1, u64::from(sent) - 3));
    }
    assert_eq!(liar.server().poll_event(), Some(Event::Sent { tag: 7, outcome: Outcome::Delivered }));
    assert_eq!(liar.server().poll_event(), None);
}

#[test]
fn what_stands_before_a_malformed_frame_is_taken_and_the_connection_lives_on() {
    let part = |index: u8, count: &[u8]| [&[0x42, 0, 9, index], count, b"data"].concat();
    for tail in [
        vec![0x09],
        vec![0x1f],
        vec![0x80],
        vec![0xff],
        vec![frame::PATH_CHALLENGE, 1, 2, 3],
        vec![frame::PATH_RESPONSE],
        vec![frame::CLOSE],
        vec![frame::CLOSE, 1, 0, 5, b'x'],
        [&[frame::CLOSE, 1], &[0xff; 8][..], &[0]].concat(),
        vec![frame::JOIN, 1, 9],
        vec![frame::TIME, 1, 2],
        vec![frame::ACK, 0],
        vec![frame::ACK + 2, 0, 1, 0, 0, 1],
        vec![0x68, 0, 1],
        vec![0x44, 0x3f, b'x'],
        [&[0x44], &[0xff; 8][..], b"x"].concat(),
        vec![0x50, 1],
        vec![0x61, 0, 1, 2, 0],
        part(0, &[0]),
        part(0, &[1]),
        part(2, &[2]),
        part(0, &[0x60, 1]),
        part(0, &[0xff; 8]),
        vec![0x42, 0, 9, 0, 2],
    ] {
        let mut liar = Liar::new();
        let bytes = liar.server().reassembly_bytes();
        liar.say(&[&frames(&[once(b"x")])[..], &tail].concat());
        assert_eq!(liar.messages(), [b"x"], "{tail:?}");
        assert_eq!(liar.server().stats().messages_malformed, 1, "{tail:?}");
        assert_eq!((liar.server().state(), liar.server().reassembly_bytes()), (State::Connected, bytes));
    }
}

/// Frames that only the other side says, or that come at the wrong time.
#[test]
fn frames_out_of_place_change_nothing() {
    let mut liar = Liar::new();
    let mut out = Vec::new();
    wire::put_time(&mut out, 1 << 61, 5, 1 << 61);
    out.extend_from_slice(&[frame::ACCEPT, frame::CLOSED, frame::PATH_RESPONSE]);
    out.extend_from_slice(&[1; 8]);
    wire::put_join(&mut out, Some(b"again"), &[1; 900], false);
    for _ in 0..50 {
        liar.say(&out);
    }
    assert_eq!((liar.server().poll_event(), liar.server().state()), (None, State::Connected));
    // Answers to a flood of challenges are no more than what asked for them.
    let before = liar.pair.sent[1].0;
    for _ in 0..100 {
        liar.say(&[&[frame::PATH_CHALLENGE][..], &[7; 8]].concat());
        liar.pair.flush();
    }
    assert!(liar.pair.sent[1].0 - before <= 100);
}

#[test]
fn a_lying_peer_harms_only_itself() {
    for seed in 0..30 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut liar = Liar::new();
        for round in 0..500 {
            if round % 20 == 0 {
                let (now, len) = (liar.pair.now, rng.random_range(0..3000));
                let _full = liar.server().send(now, vec![1; len].into(), Mode::Guaranteed, 1);
                liar.pair.run(MS * rng.random_range(0..300));
            }
            let frames = random_frames(&mut rng);
            if rng.random_bool(0.2) {
                liar.number += rng.random_range(0..300);
            }
            let datagram = liar.seal(&frames);
            let port = rng.random_range(0..40_u16).max(30);
            let from = if port == 30 { liar.pair.client_address } else { at(port) };
            let _dropped = liar.deliver_from(from, datagram);
            liar.pair.flush();
            // Parts, and as much of what is held back, by a message more.
            let most =
                Reassembly::most_bytes(MAX_REASSEMBLY, MAX_MESSAGE) + MAX_REASSEMBLY + MAX_MESSAGE + 64;
            assert!(liar.server().reassembly_bytes() <= most, "{}", liar.server().reassembly_bytes());
            if liar.server().state() != State::Connected {
                break;
            }
        }
        liar.pair.run(MS * 30_000);
        assert_eq!(liar.server().state(), State::Closed);
        assert_eq!(ends(&mut liar), 1, "seed {seed}");
    }
}

/// How often the server's host was told that the connection ended.
fn ends(liar: &mut Liar) -> usize {
    let seen =
        std::mem::take(&mut liar.pair.events[Side::Server as usize]).into_iter().map(|(_, event)| event);
    let rest = std::iter::from_fn(|| liar.server().poll_event());
    seen.chain(rest).filter(|e| matches!(e, Event::Closed(_))).count()
}

#[test]
fn however_often_a_packet_says_goodbye_it_is_one_end() {
    let mut liar = Liar::new();
    let mut frames = Vec::new();
    for _ in 0..100 {
        wire::put_close(&mut frames, 0, 1, b"");
        frames.push(frame::CLOSED);
    }
    liar.say(&frames);
    assert_eq!(liar.server().state(), State::Closed);
    assert_eq!(ends(&mut liar), 1);
}

#[test]
fn of_many_acknowledgements_in_a_packet_one_is_heeded() {
    let mut liar = Liar::new();
    let before = liar.server().stats().messages_malformed;
    let mut frames = Vec::new();
    for _ in 0..100 {
        frames.extend_from_slice(&[frame::ACK, 0, 1, 0, 0]);
    }
    liar.say(&frames);
    assert_eq!(liar.server().stats().messages_malformed - before, 99);
}

fn random_frames(rng: &mut SmallRng) -> Vec<u8> {
    if rng.random_bool(0.2) {
        return (0..rng.random_range(1..60)).map(|_| rng.random()).collect();
    }
    let mut out = Vec::new();
    for _ in 0..rng.random_range(1..6) {
        let data = vec![rng.random(); rng.random_range(0..300)];
        let count = rng.random_range(1..=0x2000_u16) >> rng.random_range(0..13);
        let part = Part { id: rng.random_range(0..60), index: rng.random_range(0..=count), count };
        let modes = [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered];
        let m = MessageFrame {
            mode: modes[rng.random_range(0..5)],
            number: rng.random_range(0..3000),
            channel: rng.random(),
            sequence: rng.random_range(0..40),
            part: rng.random_bool(0.5).then_some(part),
            data: &data,
        };
        match rng.random_range(0..20) {
            0 => wire::put_varint(&mut out, rng.random::<u64>() >> 2),
            1 => out.extend_from_slice(&[frame::ACK + 3, 0, rng.random_range(0..90), 0, 1, 0, 1, 2, 3, 4, 5]),
            2 => out.extend_from_slice(&[frame::PING, frame::ACCEPT, frame::PADDING, frame::CLOSED]),
            3 if rng.random_bool(0.05) => {
                for _ in 0..3 {
                    wire::put_close(&mut out, rng.random(), 1, b"\xff\xfebye");
                    out.push(frame::CLOSED);
                }
            }
            _ => wire::put_message(&mut out, &m, false),
        }
    }
    out
}

/// Ordered messages on all channels there are, none of them the next.
pub fn what_is_held_back_has_a_bound() {
    let mut liar = Liar::new();
    let data = [5; 1000];
    let ordered = |number, channel, sequence| MessageFrame {
        mode: Mode::Ordered,
        number,
        channel,
        sequence,
        part: None,
        data: &data,
    };
    for i in 0..2000_u16 {
        liar.message(&ordered(i + 2, (i % 256) as u8, 2 + i / 256));
    }
    let held = liar.server().held_bytes();
    assert!(held > MAX_REASSEMBLY / 2 && held <= MAX_REASSEMBLY, "{held}");
    assert!(liar.server().stats().messages_refused > 1900);
    // The next ones always come in, and bring those with them that wait.
    for channel in 0..=255_u8 {
        liar.message(&ordered(3000 + u16::from(channel), channel, 1));
    }
    assert!(liar.messages().len() >= 256 + 18);
    assert_eq!(liar.server().held_bytes(), 0);
}

#[test]
fn held_back_messages_have_a_bound() {
    what_is_held_back_has_a_bound();
}

#[test]
fn parts_that_never_become_whole_have_a_bound() {
    for mode in [Mode::Once, Mode::Guaranteed] {
        let mut liar = Liar::new();
        for id in 1..5000_u16 {
            let part = Some(Part { id, index: 1, count: 8000 });
            let number = if mode == Mode::Guaranteed { id } else { 0 };
            liar.message(&MessageFrame { mode, number, part, ..once(&[3; 1000]) });
        }
        let held = liar.server().reassembly_bytes();
        assert!(held <= Reassembly::most_bytes(MAX_REASSEMBLY, MAX_MESSAGE), "{held}");
        liar.message(&once(b"short"));
        assert_eq!(liar.messages(), [b"short"]);
    }
}

/// An address that shows up once gets three times what came from there at most.
pub fn an_unproven_address_gets_little() {
    let mut liar = Liar::new();
    liar.pair.monitor.on = true;
    let datagram = liar.seal(&[frame::PING]);
    let most = datagram.len() as u64 * 3;
    liar.deliver_from(at(9), datagram).unwrap();
    let (now, mut went, mut out) = (liar.pair.now, 0, Vec::new());
    for ms in 0..4000 {
        while let Some(to) = liar.server().poll_transmit(now + MS * ms, &mut out) {
            went += if to == at(9) { out.len() as u64 } else { 0 };
            out.clear();
        }
    }
    assert!(went > 0 && went <= most, "{went} of {most}");
}

#[test]
fn unproven_addresses_get_little() {
    an_unproven_address_gets_little();
}

#[test]
fn packets_from_everywhere_move_nobody() {
    let mut liar = Liar::new();
    let (home, mut challenges, mut out) = (liar.pair.client_address, 0, Vec::new());
    for i in 0..10_000_u16 {
        let datagram = liar.seal(&[frame::PING]);
        liar.deliver_from(at(i + 1), datagram).unwrap();
        liar.pair.now = liar.pair.now + Duration::from_micros(200);
        let now = liar.pair.now;
        while let Some(to) = liar.server().poll_transmit(now, &mut out) {
            challenges += u32::from(to != home);
            out.clear();
        }
    }
    assert!((1..40).contains(&challenges), "{challenges} in two seconds");
    // Guessed answers prove nothing.
    for guess in 0..200_u8 {
        let datagram = liar.seal(&[&[frame::PATH_RESPONSE][..], &[guess; 8]].concat());
        liar.deliver_from(at(10_000), datagram).unwrap();
    }
    assert_eq!(liar.server().remote(), home);
}

#[test]
fn key_phases_cannot_be_played_with() {
    let mut liar = Liar::new();
    let mut phases = vec![liar.secret.clone()];
    for i in 0..4 {
        phases.push(phases[i].next().unwrap());
    }
    let frames = frames(&[once(b"x")]);
    let flipped = |liar: &Liar, phase: usize, flip: bool, number| {
        liar.seal_under(&phases[phase], (phase % 2 == 1) != flip, number, &frames)
    };
    for number in 2000..2050 {
        // A bit flipped, and phases that are not due.
        for (phase, flip) in [(0, true), (1, true), (2, false), (3, false), (3, true), (4, false)] {
            let datagram = flipped(&liar, phase, flip, number);
            assert_eq!(liar.deliver(datagram), Err(DropReason::Forged), "phase {phase}, {flip}");
        }
    }
    liar.deliver(flipped(&liar, 0, false, 2100)).unwrap();
    liar.deliver(flipped(&liar, 1, false, 2200)).unwrap();
    // The phase before is still read, below the first of this one alone.
    liar.deliver(flipped(&liar, 0, false, 2150)).unwrap();
    assert_eq!(liar.deliver(flipped(&liar, 0, false, 2300)), Err(DropReason::Forged));
    assert_eq!(liar.deliver(flipped(&liar, 3, false, 2300)), Err(DropReason::Forged));
    liar.deliver(flipped(&liar, 2, false, 2300)).unwrap();
    assert_eq!(liar.deliver(flipped(&liar, 0, false, 2160)), Err(DropReason::Forged), "two phases ago");
    assert_eq!(liar.messages().len(), 4);
}

#[test]
fn forged_resets_and_handshakes_do_nothing_to_a_live_connection() {
    let mut pair = NativePair::connected(3, Link::delay(10));
    let token = pair.client.welcome().reset_token;
    for bit in 0..128 {
        let mut reset = [&[packet::RESET], &token[..]].concat();
        reset[1 + bit / 8] ^= 1 << (bit % 8);
        pair.handle(Side::Client, reset.clone());
        pair.handle(Side::Client, reset[..RESET_LEN - 1].to_vec());
        pair.handle(Side::Server, reset);
    }
    for kind in 0xc0..=0xff_u8 {
        for len in [1, 17, 100, 1200] {
            pair.handle(Side::Client, vec![kind; len]);
        }
    }
    assert!(pair.both(State::Connected));
    // Not even the right one ends a server's end.
    let right = [&[packet::RESET], &token[..]].concat();
    let (now, from) = (pair.now, pair.client_address);
    let mut room = Room::ENDLESS;
    let result = pair.end(Side::Server).handle_datagram(now, from, &mut right.clone(), &mut room);
    assert!(result.is_err() && pair.both(State::Connected));
    pair.handle(Side::Client, right);
    assert_eq!(pair.client.state(), State::Closed);
}

#[test]
fn a_restarted_server_is_recognised_within_one_round_trip_of_the_next_packet() {
    for wait in [0, 300, 4000] {
        let mut pair = NativePair::connected(4, Link::delay(40));
        pair.run(MS * 500);
        pair.network.links[0].cut = true;
        pair.restart_server();
        pair.run(MS * wait);
        pair.network.links[0].cut = false;
        pair.send(Side::Client, b"are you there?", Mode::Guaranteed, 1);
        pair.run(MS * 81);
        let (_, closing) = pair.closed[0].clone().expect("it has ended");
        assert_eq!(closing.reason, CloseReason::Restarted);
        let outcomes = pair.events[0].iter().filter(|(_, e)| matches!(e, Event::Sent { .. })).count();
        assert_eq!((outcomes, pair.client.state()), (1, State::Closed));
    }
}

#[test]
fn noise_is_dropped() {
    let mut pair = NativePair::connected(5, Link::delay(10));
    let mut rng = SmallRng::seed_from_u64(5);
    for _ in 0..20_000 {
        let mut datagram: Vec<u8> = (0..rng.random_range(0..80)).map(|_| rng.random()).collect();
        if let Some(first) = datagram.first_mut().filter(|_| rng.random_bool(0.9)) {
            *first = 0x80 | (*first & 0x07);
        }
        let (now, from) = (pair.now, pair.client_address);
        for side in Side::BOTH {
            let from = if side == Side::Client { pair.client.remote() } else { from };
            let mut room = Room::ENDLESS;
            let result = pair.end(side).handle_datagram(now, from, &mut datagram.clone(), &mut room);
            result.unwrap_err();
        }
    }
    pair.send(Side::Client, b"fine", Mode::Once, 0);
    pair.run(MS * 100);
    assert_eq!(pair.messages(Side::Server), [b"fine"]);
}

#[test]
fn packet_numbers_end_with_a_goodbye() {
    let mut pair = NativePair::connected(6, Link::delay(10));
    pair.run(MS * 500);
    let last = MAX_PACKET_NUMBER - 300;
    pair.client.skip_packets(last, 1000);
    pair.end(Side::Server).skip_packets(1000, last);
    let mut sent = 0;
    while pair.client.state() == State::Connected && sent < 1000 {
        pair.send(Side::Client, b"one more", Mode::Guaranteed, 1);
        pair.run(MS * 20);
        sent += 1;
    }
    assert!((100..400).contains(&sent), "{sent}");
    pair.run(MS * 5000);
    let reasons = pair.closed.clone().map(|c| c.map(|(_, c)| (c.reason, c.farewell.kind)));
    assert_eq!(reasons[0], Some((CloseReason::Protocol, FarewellKind::Protocol)));
    assert_eq!(reasons[1], Some((CloseReason::Remote, FarewellKind::Protocol)));
    // The last one can have been queued when no number was left for it.
    assert!((sent - 1..=sent).contains(&pair.messages(Side::Server).len()));
}

/// Every 16-bit counter goes round twice: packets, messages, places in a channel; and keys change all the time.
#[test]
fn counters_of_16_bits_go_round_and_round() {
    let link = Link { loss: 0.01, duplicate: 0.02, jitter: MS * 2, ..Link::delay(1) };
    let network = Network::new(7, link.clone(), link);
    let limits = Limits { max_messages: 100_000, ..(*settings().limits).clone() };
    let roomy = Settings { limits: limits.into(), ..settings() };
    let mut pair = NativePair::new(7, [roomy.clone(), roomy], network, Join::default());
    pair.run(MS * 500);
    pair.client.skip_packets(200_000 - 30, 130_000 - 30);
    pair.end(Side::Server).skip_packets(130_000 - 30, 200_000 - 30);
    pair.client.phase_every(500);
    pair.end(Side::Server).phase_every(700);
    let mut books = [Ledger::new("to server", 7), Ledger::new("to client", 8)];
    let take = |pair: &mut NativePair, books: &mut [Ledger; 2]| {
        let mut outcomes = Vec::new();
        for side in Side::BOTH {
            for (at, event) in std::mem::take(&mut pair.events[side as usize]) {
                match event {
                    Event::Message { data, channel, .. } => {
                        books[side.other() as usize].message_on(at, channel, &data);
                    }
                    Event::Sent { tag, outcome } => outcomes.push((side, tag, outcome)),
                    _ => {}
                }
            }
        }
        outcomes.into_iter().for_each(|(side, tag, outcome)| books[side as usize].outcome(tag, outcome));
    };
    for n in 0..140_000_usize {
        for side in Side::BOTH {
            let book = &mut books[side as usize];
            let mode = if n % 20 == 0 { Mode::BestEffort } else { Mode::Ordered };
            let (data, mode, tag) = book.compose(mode, 12, n % 50 == 0);
            book.sent(pair.now, &data, mode, tag);
            let now = pair.now;
            pair.end(side).send(now, data.into(), mode, tag).unwrap();
        }
        if n % 20 == 19 {
            pair.flush();
            pair.run(Duration::from_micros(1500));
            take(&mut pair, &mut books);
        }
    }
    pair.run(MS * 3000);
    take(&mut pair, &mut books);
    for book in &mut books {
        book.check_settled();
        assert!(book.violations.is_empty(), "{:?}", book.violations);
    }
    assert!(pair.both(State::Connected));
}
