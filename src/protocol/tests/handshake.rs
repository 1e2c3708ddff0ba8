//! Connecting, over a network that loses and forges what matters.

use std::time::Duration;

use super::network::{Link, Network, Side};
use super::pair::{settings, Pair, START};
use super::provider::{FixedProvider, TestProvider, TestRoot};
use crate::protocol::connection::{CloseReason, State};
use crate::protocol::crypto::{Provider, SigningKey};
use crate::protocol::delivery::Mode;
use crate::protocol::handshake::mpgameserver::{
    client_hello, ClientHandshake, Hello, ServerHandshake, HELLO_ANSWERS,
};
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, Header, Sizes, CRC_LEN, HEADER_LEN,
};

fn network(seed: u64) -> Network {
    Network::new(seed, Link::delay(20), Link::delay(20))
}

fn pair(seed: u64, lose: &[(Side, u64)]) -> Pair {
    let mut pair = Pair::new(seed, [settings(), settings()], network(seed));
    pair.lose = lose.to_vec();
    pair
}

fn works(p: &mut Pair) {
    for side in Side::BOTH {
        p.send(side, b"are you there", Mode::Guaranteed, 0).unwrap();
    }
    p.run_until(p.now + Duration::from_millis(1500));
    for side in Side::BOTH {
        assert_eq!(p.messages(side), [b"are you there"], "{side:?}");
    }
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
}

#[test]
fn connects_and_carries_messages_both_ways_and_closes() {
    let mut p = Pair::plain(1);
    works(&mut p);
    p.close(Side::Client, false);
    p.run_until(p.now + Duration::from_secs(10));
    assert_eq!(p.client.closed.unwrap().1, CloseReason::Local);
    assert_eq!(p.server.closed.unwrap().1, CloseReason::Remote);
    assert!(p.client.is(State::Closed) && p.server.is(State::Closed));
    let said = Side::BOTH.map(|s| p.monitor.sent(s).2);
    assert!(said.iter().all(|n| *n >= 4 && *n <= 6), "goodbyes that do not answer each other: {said:?}");
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
}

#[test]
fn the_loss_of_any_one_packet_does_not_fail_a_connect() {
    let early: Vec<(Side, u64)> = Side::BOTH.into_iter().flat_map(|s| (0..5).map(move |n| (s, n))).collect();
    for one in &early {
        for other in &early {
            let mut p = pair(2, &[*one, *other]);
            let connected = p.drive(Duration::from_secs(2), |p| p.both_connected());
            assert!(connected, "without {one:?} and {other:?}");
            assert_eq!(p.accepted, 1, "key exchanges");
            works(&mut p);
        }
    }
}

#[test]
fn nobody_answers() {
    let cut = Link { cut: true, ..Link::delay(20) };
    let mut p = Pair::new(3, [settings(), settings()], Network::new(3, cut, Link::delay(20)));
    p.run_until(p.now + Duration::from_secs(3));
    assert_eq!(p.client.closed.unwrap(), (START + settings().handshake_timeout, CloseReason::Timeout));
    assert!(p.client.is(State::Closed));
    assert_eq!(p.next_time(), None, "nothing is left to do");
}

#[test]
fn another_root_key_is_refused_and_none_is_believed() {
    let wrong = TestRoot::from_seed(99).public();
    let mut p = Pair::pinned(4, [settings(), settings()], network(4), Some(wrong));
    p.run_until(p.now + Duration::from_secs(5));
    assert_eq!(p.client.closed.unwrap().1, CloseReason::Timeout);
    assert!(p.server.connection.is_none() && p.handshake.is_none());
    let mut p = Pair::pinned(4, [settings(), settings()], network(4), None);
    assert!(p.drive(Duration::from_secs(2), |p| p.both_connected()));
    works(&mut p);
}

/// A hello's datagram, and what it says.
fn hello(seed: u64, seq: u16, bytes: usize) -> (Vec<u8>, Hello) {
    let public = TestProvider::new(seed).ephemeral().unwrap().public();
    let body = client_hello(&public, &vec![1; bytes - HEADER_LEN - 2 - CRC_LEN - 101]);
    let mut out = Vec::new();
    let header = Header { time: 1, seq, ack: 0, kind: kind::CLIENT_HELLO, count: 1, ack_bits: 0 };
    wire::write_clear(header, Direction::ToServer, 1, &body, &mut out);
    (out, Hello { client: public, seq, bytes })
}

fn parse(datagram: &[u8]) -> Option<Hello> {
    let (header, payload) = wire::open_clear(datagram, Direction::ToServer).ok()?;
    Hello::parse(&header, payload, datagram.len(), &Sizes::new(1500))
}

#[test]
fn only_whole_hellos_of_this_version_are_read() {
    let (datagram, right) = hello(1, 1, 1438);
    assert_eq!(parse(&datagram).unwrap().client, right.client);
    assert!(parse(&hello(1, 1, 1437).0).is_none(), "shorter than what an answer may cost");
    for at in 0..datagram.len() {
        let mut cut = datagram[..at].to_vec();
        assert!(parse(&cut).is_none());
        cut.resize(1438, 0);
        assert!(parse(&cut).is_none() || cut == datagram);
        // Each byte changed, the checksum right: all but the padding and the header's free fields matter.
        let mut other = datagram.clone();
        other[at] ^= 0x41;
        recount(&mut other);
        let free = matches!(at, 4..8 | 8..12 | 16..20 | 20..22)
            || at >= HEADER_LEN + 2 + 101
            || (HEADER_LEN + 2 + 2 + 5 + 27..HEADER_LEN + 2 + 2 + 96).contains(&at);
        assert!(parse(&other).is_none() || free, "byte {at}");
    }
}

fn recount(datagram: &mut [u8]) {
    let (body, crc) = datagram.split_last_chunk_mut::<CRC_LEN>().unwrap();
    *crc = crc32fast::hash(body).to_be_bytes();
}

fn accept(hello: &Hello) -> Result<ServerHandshake, crate::protocol::crypto::CryptoError> {
    let (root, provider) = (TestRoot::from_seed(1), TestProvider::new(7));
    let address = "[::1]:9".parse().unwrap();
    ServerHandshake::accept(START, address, hello, 0x4000_0001, Duration::from_secs(2), &root, &provider)
}

#[test]
fn a_hello_with_a_key_off_the_curve_is_refused() {
    let (_, mut hello) = hello(1, 1, 1438);
    hello.client[40] ^= 1;
    assert!(accept(&hello).is_err());
}

#[test]
fn answers_never_outweigh_hellos() {
    for bytes in [1438, 514] {
        let (_, hello) = hello(1, 1, bytes);
        let mut handshake = accept(&hello).unwrap();
        let (mut now, mut out, mut answers) = (START, Vec::new(), 0);
        for repeats in 0..20usize {
            while now < START + Duration::from_millis(1300) * (repeats as u32 + 1) {
                while handshake.poll_transmit(now, &mut out) {
                    answers += 1;
                }
                assert!(out.len() <= bytes * (repeats + 1), "{} bytes for {repeats} repeats", out.len());
                now = now + Duration::from_millis(10);
            }
            if repeats == 0 {
                assert_eq!(answers, if bytes == 1438 { HELLO_ANSWERS.len() } else { 1 });
            }
            handshake.repeated(&hello);
        }
        assert!(answers >= 20, "each repeat is answered");
    }
}

#[test]
fn forged_numbers_of_clear_datagrams_do_no_harm() {
    // A copy of the hello under another number, before and after the real one is answered.
    for forged in [2u16, 300, 30_000, 65_535] {
        let mut p = pair(5, &[]);
        p.run_until(p.now + Duration::from_millis(30));
        assert!(p.handshake.is_some());
        let client = p.handshake.as_ref().unwrap().client;
        let body = client_hello(&client, &[0; 1438 - HEADER_LEN - 2 - CRC_LEN - 101]);
        let header = Header { time: 1, seq: forged, ack: 0, kind: kind::CLIENT_HELLO, count: 1, ack_bits: 0 };
        let mut copy = Vec::new();
        wire::write_clear(header, Direction::ToServer, 1, &body, &mut copy);
        p.handle(Side::Server, copy);
        assert!(p.drive(Duration::from_secs(2), |p| p.both_connected()), "hello {forged}");
        works(&mut p);
    }
    // The answer under another number.
    for forged in [2u16, 300, 30_000, 65_535] {
        let mut p = pair(6, &[(Side::Server, 0)]);
        p.run_until(p.now + Duration::from_millis(30));
        let mut answer = Vec::new();
        let handshake = p.handshake.as_mut().unwrap();
        assert!(handshake.poll_transmit(START + Duration::from_millis(250), &mut answer));
        answer[8..10].copy_from_slice(&forged.to_be_bytes());
        recount(&mut answer);
        p.handle(Side::Client, answer);
        p.flush(Side::Client);
        assert!(p.drive(Duration::from_secs(2), |p| p.both_connected()), "answer {forged}");
        p.send(Side::Server, b"through", Mode::Guaranteed, 0).unwrap();
        p.run_until(p.now + Duration::from_secs(1));
        assert_eq!(p.messages(Side::Client), [b"through"]);
    }
}

#[test]
fn a_changed_answer_is_refused_and_the_right_one_still_taken() {
    let (root, sizes) = (TestRoot::from_seed(1), Sizes::new(1500));
    let provider = FixedProvider { scalar: vec![3; 32], random: vec![9; 2000] };
    let mut client = ClientHandshake::new(START, Some(root.public()), &sizes, &provider).unwrap();
    let mut datagram = Vec::new();
    assert!(client.poll_transmit(START, &mut datagram));
    let mut server = accept(&parse(&datagram).unwrap()).unwrap();
    let mut answer = Vec::new();
    assert!(server.poll_transmit(START, &mut answer));
    for at in 0..answer.len() {
        for bit in 0..8 {
            let mut other = answer.clone();
            other[at] ^= 1 << bit;
            assert!(client.handle_answer(&other).is_err(), "byte {at}");
            recount(&mut other);
            // The header's free fields, and the root key that a pin makes superfluous, are not signed.
            let free = matches!(at, 4..12 | 16..22) || (55..120).contains(&at) || other == answer;
            assert!(free || client.handle_answer(&other).is_err(), "byte {at}, checksum right");
        }
        assert!(client.handle_answer(&answer[..at]).is_err());
        let mut cut = answer[..at].to_vec();
        cut.resize(cut.len().max(24) + CRC_LEN, 0);
        if at + CRC_LEN >= answer.len() {
            continue;
        }
        recount(&mut cut);
        assert!(client.handle_answer(&cut).is_err());
    }
    assert!(client.handle_answer(&answer).is_ok());
    assert!(client.handle_answer(&answer).is_err(), "once");
}
