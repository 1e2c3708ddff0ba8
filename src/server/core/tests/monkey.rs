//! Everything at random, from a seed, with the core's books checked after each step.

use std::collections::{HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use super::world::{address, ms, World};
use crate::protocol::connection::native::Join;
use crate::protocol::connection::{Farewell, State};
use crate::protocol::delivery::Mode;
use crate::server::block_list::BlockList;
use crate::server::config::Config;
use crate::server::events::*;

const GROUPS: [&str; 5] = ["0", "1", "red", "blue", "дверь"];

/// The books: what must hold between any two calls.
fn check(w: &World) {
    let core = &w.core;
    let counts = |p: &&crate::server::peers::Peer| p.status.is_seated();
    let connected: Vec<_> = core.peers.iter().filter(counts).collect();
    assert_eq!(connected.len(), core.peers.seated());
    let tokens: HashSet<u32> = connected.iter().map(|p| p.connection.token()).collect();
    assert_eq!(tokens.len(), connected.len(), "tokens are unique among the connected");
    let mut seated = 0;
    for peer in core.peers.iter() {
        // Whoever is not on the flush list has a timer, or nothing left to do.
        let rests = peer.connection.state() == State::Closed;
        assert!(peer.dirty || peer.armed.is_some() || rests, "{:?} is forgotten", peer.id);
        assert!(!rests || peer.visible || peer.dirty, "{:?} is kept for nothing", peer.id);
        if counts(&peer) {
            assert!(core.peers.has_token(peer.connection.token()));
            let slot = match peer.connection.as_native() {
                Some(native) => core.peers.slot_of_connection(native.connection_id()),
                None => core.peers.slot_at(&peer.address),
            };
            assert!(slot.is_some(), "who is connected is found by its address or its id");
            assert_eq!(core.peers.slot_of(peer.id), slot);
            seated += 1;
        }
    }
    assert_eq!(seated, connected.len());
    let unknown = connected.iter().filter(|p| p.is_unknown()).count();
    assert_eq!(unknown, core.peers.unknown());
    assert!(core.peers.seated() - unknown <= w.config.max_peers as usize);
    let joining = connected.iter().filter(|p| p.status == Status::Joining).count();
    assert_eq!(joining, core.peers.joining());
    assert!(joining <= w.config.max_joining as usize);
    for (group, id) in core.groups.all() {
        assert!(core.peers.get(id).is_some_and(|p| p.status.is_seated()), "{id:?} is in {group}");
    }
    let in_line = core.peers.iter().filter(|p| p.waits_for_turn).count();
    assert_eq!(core.rates.in_line(), in_line);
    assert!(core.timer_count() <= 3 * (core.peers.len() + core.admission.addresses()) + 2 * (64 + 1));
}

fn play(seed: u64, config: Config) {
    let mut random = SmallRng::seed_from_u64(seed);
    let asks = seed % 2 == 1;
    let mut w = match (asks, config.max_queued_events) {
        (true, 0) => World::asking(config.clone()),
        (asks, _) => World::new(Config { authorise: asks, raw_datagrams: asks, ..config.clone() }),
    };
    let mut asked: HashMap<u64, PeerId> = HashMap::new();
    let pulls = config.max_queued_events > 0;
    for step in 0..1500u64 {
        let ends = w.ends.len();
        let end = random.random_range(0..ends.max(1));
        let peers = w.core.peers();
        let peer = peers.get(random.random_range(0..peers.len().max(1))).copied();
        let waits = w.asked();
        let latest = waits.len().saturating_sub(8);
        match (random.random_range(0..48), peer) {
            // At most a few ends are alive at a time; some share an address.
            (0..4, _) if w.ends.iter().filter(|e| e.closed().is_none()).count() < 24 => {
                let from = address(random.random_range(0..20));
                match random.random() {
                    true => w.client_from(from),
                    false => w.native_client_from(from, Join::default(), &config),
                };
            }
            (4..6, _) if ends > 0 => w.ends[end].mute ^= true,
            (6..8, _) if ends > 0 => w.ends[end].deaf ^= true,
            (8, _) if ends > 0 => {
                let now = w.now;
                w.ends[end].connection.close(now, random.random(), Farewell::default());
            }
            (9..18, _) if ends > 0 => {
                let mode = [Mode::Once, Mode::BestEffort, Mode::Guaranteed][random.random_range(0..3)];
                let data = vec![1; [0, 20, 1500, 30_000][random.random_range(0..4)]];
                // It may not be connected, or its queue full.
                let _refused = w.ends[end].connection.send(w.now, data.into(), mode.into(), 0);
            }
            (18..30, Some(peer)) => {
                let retry =
                    [RetryMode::None, RetryMode::BestEffort, RetryMode::OnTimeout][random.random_range(0..3)];
                let data = vec![2; [0, 20, 1500, 30_000][random.random_range(0..4)]];
                let on_sent: Option<SentCallback> = if pulls { None } else { Some(Box::new(|_, _, _| ())) };
                let options =
                    SendOptions { retry, on_sent, tag: pulls.then_some(step), ..SendOptions::default() };
                if w.core.send(w.now, peer, data.into(), &mut { options }).is_ok() {
                    asked.insert(step, peer);
                }
            }
            (30, Some(peer)) => {
                let info = DisconnectInfo::new(DisconnectReason::Kicked, "");
                let now = w.now;
                // A second one finds it gone, or lingering.
                let _gone = w.core.disconnect(now, peer, info, random.random());
            }
            (31, _) => {
                let blocked = format!("10.0.0.{}", random.random_range(0..20));
                let list = BlockList::parse(if random.random() { vec![blocked] } else { vec![] });
                w.core.set_block_list(w.now, list.expect("a list"));
            }
            (32, _) => {
                // Nobody runs the loop for a while.
                w.now = w.now + ms(random.random_range(0..7000));
            }
            (33..36, _) => {
                let mut datagram = vec![0; random.random_range(0..1500)];
                random.fill_bytes(&mut datagram);
                if datagram.len() > 20 && random.random() {
                    datagram[..4].copy_from_slice(b"FSOS");
                }
                w.inject(address(random.random_range(0..22)), &datagram);
            }
            (36, _) => _ = w.core.broadcast(w.now, peer, &[3; 100][..].into(), RetryMode::OnTimeout),
            (37..41, _) if !waits.is_empty() => {
                let (one, now) = (waits[random.random_range(latest..waits.len())], w.now);
                // It may have gone, or been let in.
                let _late = match random.random_range(0..8) {
                    0 => w.core.refuse_peer(now, one, 1000, "no"),
                    1 => {
                        w.core.disconnect(now, one, DisconnectInfo::new(DisconnectReason::Kicked, ""), false)
                    }
                    2 => w.core.group_add("1", one),
                    _ => w.core.accept_peer(now, one),
                };
            }
            (41..43, Some(peer)) => _ = w.core.group_add(GROUPS[random.random_range(0..5)], peer),
            (43, Some(peer)) => _ = w.core.group_remove(GROUPS[random.random_range(0..5)], peer),
            (44..46, _) => {
                let payload = vec![4; [0, 20, 3000][random.random_range(0..3)]].into();
                let group = GROUPS[random.random_range(0..5)];
                let reach =
                    w.core.group_send(w.now, group, peer, &payload, RetryMode::BestEffort).expect("short");
                assert!(reach.sent + reach.refused <= peers.len());
            }
            (46, _) => {
                let from = address(random.random_range(0..22));
                w.inject(from, &vec![b'?'; random.random_range(0..50)]);
                // Nobody may have asked.
                let _refused = w.core.send_raw(w.now, from, &vec![b'!'; random.random_range(1..50)]);
            }
            _ => {}
        }
        check(&w);
        w.run(ms(random.random_range(0..60)));
        check(&w);
        if random.random_range(0..4) > 0 {
            w.pull(random.random_range(0..20));
        }
    }
    finish(w, &asked);
}

/// The end of everything, and the sums.
fn finish(mut w: World, asked: &HashMap<u64, PeerId>) {
    let now = w.now;
    w.core.close(now);
    w.ends.iter_mut().for_each(|e| e.connection.close(now, false, Farewell::default()));
    w.run(ms(20_000));
    w.pull(usize::MAX);
    w.run(ms(20_000));
    let asks = !w.asked().is_empty();
    let mut knocked = HashSet::new();
    let (mut alive, mut known, mut told) = (HashSet::new(), HashSet::new(), HashSet::new());
    for event in &w.seen {
        match event {
            Event::Authorise(peer, _) => assert!(knocked.insert(*peer) && !known.contains(peer)),
            Event::Connect(peer, _) => {
                assert!(known.insert(*peer) && alive.insert(*peer));
                assert!(!asks || knocked.contains(peer), "nobody let {peer:?} in");
            }
            Event::Disconnect(peer, _) => assert!(alive.remove(peer), "{peer:?} was not there"),
            Event::Message(peer, _) | Event::Writable(peer) => {
                assert!(alive.contains(peer), "{peer:?} is not there");
            }
            Event::Sent(peer, tag, _) => {
                assert!(alive.contains(peer) && asked.get(tag) == Some(peer) && told.insert(*tag));
            }
            _ => {}
        }
    }
    assert!(known.len() > 10, "the test meets peers: {}", known.len());
    assert!(alive.is_empty());
    assert_eq!(told.len() + w.completed.len(), asked.len(), "each was told once");
    let stats = w.core.stats();
    assert_eq!((stats.connects, stats.disconnects), (known.len() as u64, known.len() as u64));
    assert_eq!((w.core.peers.len(), w.core.completions.len(), w.core.admission.len()), (0, 0, 0));
    assert_eq!((w.core.timer_count(), w.core.dirty.len(), w.core.answers.len()), (0, 0, 0));
    assert_eq!((w.core.pulled.len(), w.core.pulled_bytes), (0, 0));
}

#[test]
fn at_random_with_callbacks() {
    for seed in 0..8 {
        play(seed, Config { max_peers: 10, max_queued_messages: 20, ..Config::default() });
    }
}

#[test]
fn at_random_with_an_event_queue() {
    for seed in 100..108 {
        let queue = Config { max_queued_events: 30, max_queued_event_bytes: 64 << 10, ..Config::default() };
        play(seed, Config { max_peers: 10, max_queued_messages: 20, max_handshakes: 6, ..queue });
    }
}

#[test]
fn at_random_with_send_rates() {
    for seed in 200..206 {
        let rates = Config { peer_send_rate: 40_000, server_send_rate: 100_000, ..Config::default() };
        play(seed, Config { max_peers: 10, max_queued_messages: 20, max_joining: 4, ..rates });
    }
}
