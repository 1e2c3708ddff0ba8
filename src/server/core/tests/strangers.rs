//! What strangers can do, and what they cannot.

use std::collections::HashMap;
use std::net::SocketAddr;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use super::world::{address, ms, World};
use crate::crypto::RingProvider;
use crate::metrics::server::DropReason;
use crate::protocol::connection::{CloseReason, Farewell, State};
use crate::protocol::crypto::{Point, Provider};
use crate::protocol::delivery::Mode;
use crate::protocol::handshake::mpgameserver::{client_hello, CLIENT_HELLO_FIXED};
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, Header, Sizes, CRC_LEN, HEADER_LEN,
};
use crate::server::admission::{HANDSHAKES_PER_ADDRESS, HANDSHAKES_PER_TURN, HELLO_BURST};
use crate::server::block_list::BlockList;
use crate::server::config::Config;
use crate::server::events::*;

fn point() -> Point {
    RingProvider::new().ephemeral().expect("the system has randomness").public()
}

/// A hello as long as it must be to be answered.
fn hello(client: &Point, seq: u16) -> Vec<u8> {
    let padding = vec![0; Sizes::new(1500).hello - HEADER_LEN - 2 - CRC_LEN - CLIENT_HELLO_FIXED];
    clear(kind::CLIENT_HELLO, seq, &client_hello(client, &padding))
}

fn clear(kind: u8, seq: u16, body: &[u8]) -> Vec<u8> {
    let header = Header { time: 1_700_000_000, seq, ack: 0, kind, count: 1, ack_bits: 0 };
    let mut out = Vec::new();
    wire::write_clear(header, Direction::ToServer, 1, body, &mut out);
    out
}

fn from(source: &str, port: u16) -> SocketAddr {
    SocketAddr::new(source.parse().expect("an address"), port)
}

#[test]
fn above_the_maximum_newcomers_are_told_or_not_heard_at_all() {
    let mut w = World::new(Config { max_peers: 2, ..Config::default() });
    let ends = [w.client(), w.client(), w.client()];
    w.run_until(|w| ends.iter().all(|e| w.peer_of(*e).is_some() || w.ends[*e].closed().is_some()));
    let refused: Vec<_> = ends.into_iter().filter(|e| w.peer_of(*e).is_none()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(w.ends[refused[0]].closed(), Some(CloseReason::Remote), "it was proven, so it is told");
    let announced = w.seen.iter().filter(|e| matches!(e, Event::Connect(..))).count();
    assert_eq!((announced, w.disconnects().len(), w.core.stats().connects), (2, 0, 2));
    assert_eq!(w.drops(DropReason::Full), 1);
    assert_eq!(w.core.peers().len(), 2);
    // Now that the server is full, a hello is not answered.
    let late = w.client();
    w.run_until(|w| w.ends[late].closed().is_some());
    assert_eq!(w.ends[late].closed(), Some(CloseReason::Timeout));
    assert!(w.drops(DropReason::Full) > 1);
    assert!(w.sent.iter().all(|(to, _)| *to != w.ends[late].address));
    // When one leaves there is room, for as many as left.
    let stays = ends.into_iter().find(|e| *e != refused[0]).expect("two stayed");
    w.ends[stays].connection.close(w.now, false, Farewell::default());
    w.join();
    assert_eq!((w.core.peers().len(), w.core.stats().connects), (2, 3));
}

#[test]
fn a_full_server_takes_back_a_client_from_its_own_address() {
    let mut w = World::new(Config { max_peers: 1, ..Config::default() });
    let (old, old_peer) = w.join();
    let new = w.client_from(w.ends[old].address);
    let new_peer = w.joined(new);
    assert_eq!(w.disconnects(), [(old_peer, DisconnectReason::Replaced)]);
    assert_eq!(w.core.peers(), [new_peer]);
}

#[test]
fn hellos_are_budgeted_per_source() {
    let config = Config {
        hellos_per_source_hz: 1.0,
        hellos_total_hz: 1e6,
        max_handshakes: 65_536,
        ..Config::default()
    };
    let burst = HELLO_BURST as usize;
    for (greedy, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
    ] {
        let mut w = World::new(config.clone());
        let hello = hello(&point(), 1);
        for port in 0..burst as u16 + 100 {
            w.inject(from(greedy, 1 + port), &hello);
        }
        assert_eq!((w.core.admission.len(), w.drops(DropReason::HelloBudget)), (burst, 100));
        // The total refills in the meantime, the source does not.
        w.now = w.now + ms(20);
        w.inject(from(same, 60_001), &hello);
        assert_eq!(w.drops(DropReason::HelloBudget), 101);
        w.inject(from(other, 60_001), &hello);
        assert_eq!((w.core.admission.len(), w.drops(DropReason::HelloBudget)), (burst + 1, 101));
        // A hello a second.
        w.now = w.now + ms(3000);
        for port in 0..10 {
            w.inject(from(same, 61_000 + port), &hello);
        }
        assert_eq!((w.core.admission.len(), w.drops(DropReason::HelloBudget)), (burst + 4, 108));
    }
}

#[test]
fn hellos_are_budgeted_in_total() {
    let mut w = World::new(Config { hellos_total_hz: 2.0, max_handshakes: 65_536, ..Config::default() });
    let hello = hello(&point(), 1);
    let burst = HELLO_BURST as u32;
    for n in 0..burst + 50 {
        w.inject(address(n), &hello);
    }
    assert_eq!(w.drops(DropReason::HelloBudget), 50);
    w.now = w.now + ms(5000);
    for n in 0..20 {
        w.inject(address(100_000 + n), &hello);
    }
    assert_eq!((w.core.admission.len(), w.drops(DropReason::HelloBudget)), (burst as usize + 10, 60));
}

#[test]
fn the_table_of_handshakes_is_bounded_and_forgets() {
    let mut w = World::new(Config { max_handshakes: 10, ..Config::default() });
    let hello = hello(&point(), 1);
    for n in 0..50 {
        w.inject(address(1000 + n), &hello);
    }
    assert_eq!((w.core.admission.len(), w.drops(DropReason::HelloBudget)), (10, 40));
    w.settle();
    assert_eq!((w.core.stats().handshakes, w.core.stats().handshake_timeouts), (10, 0));
    let early = w.config.handshake_timeout - ms(1);
    w.run(early);
    assert_eq!((w.core.stats().handshakes, w.core.stats().handshake_timeouts), (10, 0));
    w.run(ms(2));
    assert_eq!((w.core.stats().handshakes, w.core.stats().handshake_timeouts), (0, 10));
    assert_eq!(w.core.timer_count(), 0);
    w.join();
}

#[test]
fn one_address_has_few_handshakes() {
    let mut w = World::new(Config::default());
    let victim = address(7);
    for _ in 0..20 {
        w.inject(victim, &hello(&point(), 1));
    }
    w.settle();
    assert_eq!(w.core.admission.len(), HANDSHAKES_PER_ADDRESS);
    assert_eq!(w.drops(DropReason::Hello), 20 - HANDSHAKES_PER_ADDRESS as u64);
    w.inject(victim, &hello(&point(), 1));
    assert_eq!(w.drops(DropReason::HelloBudget), 1);
}

#[test]
fn a_turn_answers_a_few_hellos_only() {
    let mut w = World::new(Config::default());
    let hello = hello(&point(), 1);
    for n in 0..20 {
        w.inject(address(n), &hello);
    }
    for answered in [HANDSHAKES_PER_TURN, 2 * HANDSHAKES_PER_TURN, 20, 20] {
        assert_eq!(w.core.poll_timeout().is_some_and(|at| at <= w.now), w.sent.len() < 20, "no waiting");
        w.turn();
        assert_eq!(w.sent.len(), answered);
    }
}

#[test]
fn repeated_hellos_cost_no_memory_and_are_not_answered_with_more() {
    // The longest timeout: whatever a repeat leaves behind stays for as long.
    let mut w = World::new(Config { handshake_timeout: ms(60_000), ..Config::default() });
    let addresses = 50;
    let hellos: Vec<_> = (0..addresses).map(|_| hello(&point(), 1)).collect();
    let (mut most, mut received) = (0, 0);
    for _ in 0..2000 {
        for n in 0..addresses {
            w.inject(address(n), &hellos[n as usize]);
            received += hellos[n as usize].len();
        }
        w.run(ms(3));
        most = most.max(w.core.timer_count());
    }
    assert!(most <= 4 * addresses as usize + 64, "{most} timers for {addresses} strangers");
    let sent: usize = w.sent.iter().map(|(_, bytes)| bytes).sum();
    assert!(sent > 0 && sent <= received, "{sent} {received}");
    assert_eq!(w.core.admission.len(), addresses as usize);
}

#[test]
fn a_stranger_that_repeats_itself_is_forgotten_all_the_same() {
    let mut w = World::new(Config::default());
    let hello = hello(&point(), 1);
    for _ in 0..100 {
        w.inject(address(1), &hello);
        w.run(ms(200));
    }
    // It may begin again, from its budget; but one handshake is not held for as long as it likes.
    assert!(w.core.stats().handshake_timeouts >= 3, "{}", w.core.stats().handshake_timeouts);
}

#[test]
fn a_hello_from_a_live_address_touches_nothing_until_it_is_proven() {
    let mut w = World::new(Config::default());
    let (old, old_peer) = w.join();
    let new = w.client_from(w.ends[old].address);
    w.ends[new].mute = true;
    for hello in w.take_datagrams(new) {
        w.inject(w.ends[old].address, &hello);
    }
    // Hellos of others besides, up to the bound.
    for _ in 0..10 {
        w.inject(w.ends[old].address, &hello(&point(), 1));
    }
    w.run(ms(100));
    assert_eq!(w.ends[new].connection.state(), State::Connected, "it has its answer");
    w.send(old, b"still here", Mode::Guaranteed);
    w.run(ms(100));
    assert_eq!(w.messages(old_peer), [b"still here"]);
    assert_eq!((w.core.peers(), w.disconnects().len()), (vec![old_peer], 0));
    w.ends[new].mute = false;
    let new_peer = w.joined(new);
    assert_eq!(w.disconnects(), [(old_peer, DisconnectReason::Replaced)]);
    let order: Vec<_> = w.seen.iter().filter(|e| !matches!(e, Event::Message(..) | Event::Log(..))).collect();
    assert!(
        matches!(order[..], [Event::Connect(a, _), Event::Disconnect(b, _), Event::Connect(c, _)]
            if (*a, *b, *c) == (old_peer, old_peer, new_peer)),
        "{order:?}"
    );
    w.send(new, b"and me", Mode::Guaranteed);
    w.run(ms(100));
    assert_eq!(w.messages(new_peer), [b"and me"]);
    assert_eq!(w.core.peer_info(old_peer).err().map(|e| e.kind()), Some(crate::ErrorKind::Stale));
    // The old one's datagrams are forgeries now.
    let before = w.drops(DropReason::Forged);
    w.send(old, b"a ghost", Mode::Once);
    w.run(ms(100));
    assert!(w.drops(DropReason::Forged) > before);
    assert_eq!((w.messages(old_peer).len(), w.messages(new_peer).len()), (1, 1));
    // All that is left of the old one goes.
    w.run(ms(10_000));
    assert_eq!((w.core.peers.len(), w.core.peers()), (1, vec![new_peer]));
}

#[test]
fn the_address_of_one_that_left_is_free_at_once() {
    let mut w = World::new(Config::default());
    let (old, old_peer) = w.join();
    w.ends[old].connection.close(w.now, false, Farewell::default());
    w.run(ms(10));
    assert_eq!(w.disconnects(), [(old_peer, DisconnectReason::Remote)]);
    assert_eq!(w.core.peers.len(), 1, "it drains");
    w.ends[old].mute = true;
    let new = w.client_from(w.ends[old].address);
    let new_peer = w.joined(new);
    assert_ne!(old_peer, new_peer);
    w.send(new, b"hello", Mode::Guaranteed);
    w.run(ms(10_000));
    assert_eq!(w.messages(new_peer), [b"hello"]);
    assert_eq!(w.disconnects().len(), 1, "once");
    assert_eq!(w.core.peers.len(), 1);
}

#[test]
fn clear_datagrams_bring_no_messages() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    let live = w.ends[end].address;
    let before: u64 = w.core.stats().drops.iter().sum();
    let mut sent = 0;
    for source in [live, address(99)] {
        for kind in 0..=8 {
            w.inject(source, &clear(kind, 9, b"a message for free"));
            // Two messages behind each other, as the package would take them.
            let body = [&[0, 9, 6, 0, 5][..], b"first", &[0, 2, 0, 10, 6], b"no"].concat();
            let mut two = clear(kind, 10, &body);
            two[HEADER_LEN - 5] = 2;
            let body = two.len() - CRC_LEN;
            let crc = crc32fast::hash(&two[..body]);
            two[body..].copy_from_slice(&crc.to_be_bytes());
            w.inject(source, &two);
            w.inject(source, &clear(kind::CLIENT_HELLO, 9, &[&[0, 130][..], b"xxxx"].concat()));
            sent += 3;
        }
    }
    w.run(ms(50));
    assert_eq!(w.core.stats().drops.iter().sum::<u64>() - before, sent);
    assert!(!w.seen.iter().any(|e| matches!(e, Event::Message(..) | Event::Disconnect(..))));
    assert_eq!(w.core.admission.len(), 0);
    w.send(end, b"alive", Mode::Guaranteed);
    w.run(ms(50));
    assert_eq!(w.messages(peer), [b"alive"]);
}

#[test]
fn no_unproven_address_is_ever_sent_more_than_it_sent() {
    for seed in 0..6 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mtu = [1500, 1280, 576][seed as usize % 3];
        let mut w = World::new(Config { mtu, ..Config::default() });
        let (live, peer) = w.join();
        let points = [point(), point(), point(), [4; 65]];
        let mut received: HashMap<SocketAddr, usize> = HashMap::new();
        let mut sent: HashMap<SocketAddr, usize> = HashMap::new();
        let mut looked_at = w.sent.len();
        for _ in 0..4000 {
            let source = address(1000 + random.random_range(0..40));
            let client = &points[random.random_range(0..points.len())];
            let mut datagram = hello(client, random.random());
            match random.random_range(0..6) {
                0 => {
                    datagram = vec![0; random.random_range(0..1600)];
                    random.fill_bytes(&mut datagram);
                }
                1 => datagram.truncate(random.random_range(0..datagram.len())),
                2 => {
                    let at = random.random_range(0..datagram.len());
                    datagram[at] ^= random.random::<u8>();
                }
                3 => datagram.resize(datagram.len() + random.random_range(0..300), 0),
                // A hello that its sender makes as short as it may be.
                4 => {
                    let hello = Sizes::new(mtu).hello - HEADER_LEN - 2 - CRC_LEN - CLIENT_HELLO_FIXED;
                    let padding = vec![0; hello];
                    datagram = clear(kind::CLIENT_HELLO, random.random(), &client_hello(client, &padding));
                }
                _ => {}
            }
            *received.entry(source).or_default() += datagram.len();
            w.inject(source, &datagram);
            if random.random_bool(0.3) {
                w.run(ms(random.random_range(0..300)));
            }
            for (to, bytes) in &w.sent[looked_at..] {
                *sent.entry(*to).or_default() += bytes;
            }
            looked_at = w.sent.len();
            for (to, bytes) in sent.iter().filter(|(to, _)| **to != w.ends[live].address) {
                assert!(*bytes <= received[to], "{to} sent {} and got {bytes}", received[to]);
            }
        }
        assert!(sent.len() > 20, "some were answered");
        assert_eq!(w.core.peers(), [peer], "and nobody but the one came in");
        assert!(w.core.timer_count() <= 64 + 4 * 41, "{}", w.core.timer_count());
    }
}

#[test]
fn the_block_list_comes_before_all_reading() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    let pending = address(500);
    w.inject(pending, &hello(&point(), 1));
    w.settle();
    assert_eq!(w.core.admission.len(), 1);
    w.core.set_block_list(w.now, BlockList::parse(["10.0.0.0/8"]).expect("a list"));
    w.settle();
    assert_eq!(w.core.admission.len(), 0, "handshakes go too");
    assert_eq!(w.disconnects(), [(peer, DisconnectReason::Blocked)]);
    let drops = w.core.stats().drops;
    for datagram in [&hello(&point(), 1)[..], b"", b"garbage", &[0; 2048]] {
        w.inject(address(600), datagram);
    }
    let mut expected = drops;
    expected[DropReason::Blocked as usize] += 4;
    assert_eq!(w.core.stats().drops, expected);
    assert_eq!(w.core.admission.len(), 0);
    // It hears that it was thrown out, though it is not heard itself.
    w.run_until(|w| w.ends[end].closed().is_some());
    assert_eq!(w.ends[end].closed(), Some(CloseReason::Remote));
    w.core.set_block_list(w.now, BlockList::default());
    w.join();
}

#[test]
fn what_is_clear_and_no_hello_is_counted_as_that() {
    let mut w = World::new(Config::default());
    let end = w.client();
    let (from, hello) = (address(1000), w.take_datagrams(end).remove(0));
    let forged = |at: usize, value: u8| {
        let mut datagram = hello.clone();
        datagram[at] = value;
        let body = datagram.len() - 4;
        let crc = crc32fast::hash(&datagram[..body]);
        datagram[body..].copy_from_slice(&crc.to_be_bytes());
        datagram
    };
    // A server's answer, and a datagram of several messages, of which a hello would be the first.
    for datagram in [forged(12, 2), forged(15, 2)] {
        w.inject(from, &datagram);
    }
    assert_eq!((w.drops(DropReason::Clear), w.core.stats().handshakes), (2, 0));
    w.inject(from, &forged(15, 1));
    assert_eq!((w.drops(DropReason::Clear), w.core.stats().handshakes), (2, 1));
}
