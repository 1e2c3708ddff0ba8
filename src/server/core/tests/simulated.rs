//! The core with bad networks before its socket.

use std::time::Duration;

use super::world::{address, ms, World};
use crate::protocol::conditions::{Conditions, Direction, LinkStats, MAX_DELAY, MAX_HELD_DATAGRAMS};
use crate::protocol::connection::{CloseReason, Farewell};
use crate::protocol::delivery::Mode;
use crate::server::config::Config;
use crate::server::events::*;
use crate::ErrorKind;

/// More than a message waits for its datagram at either end and travels without a simulation.
const PACED: Duration = Duration::from_millis(80);

const BOTH: [Direction; 2] = [Direction::Receive, Direction::Send];

fn lost() -> Conditions {
    Conditions { loss: 1.0, ..Conditions::default() }
}

fn late(delay: Duration) -> Conditions {
    Conditions { delay, ..Conditions::default() }
}

fn simulate(w: &mut World, direction: Direction, conditions: Conditions) {
    w.core.simulate(direction, Some(conditions)).expect("valid");
}

fn stats(w: &World, peer: Option<PeerId>, direction: Direction) -> LinkStats {
    w.core.link_stats(peer, direction).expect("it is simulated")
}

fn say(w: &mut World, peer: PeerId, data: &[u8]) {
    let mut options = SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() };
    w.core.send(w.now, peer, data.into(), &mut options).expect("queued");
}

/// How long a message takes to a client, and one back.
fn times(w: &mut World, end: usize, peer: PeerId) -> (Duration, Duration) {
    // Whatever paces datagrams is over.
    w.run(ms(500));
    let (start, before) = (w.now, w.ends[end].messages().len());
    say(w, peer, b"there");
    w.run_until(|w| w.ends[end].messages().len() > before);
    let there = w.now.since(start);
    w.run(ms(500));
    let (start, before) = (w.now, w.messages(peer).len());
    w.send(end, b"back", Mode::Guaranteed);
    w.run_until(|w| w.messages(peer).len() > before);
    (there, w.now.since(start))
}

#[test]
fn strangers_pass_the_servers_network_too() {
    for direction in BOTH {
        let mut w = World::new(Config::default());
        simulate(&mut w, direction, lost());
        let end = w.client();
        w.run_until(|w| w.ends[end].closed().is_some());
        assert_eq!(w.ends[end].closed(), Some(CloseReason::Timeout));
        let (link, server) = (stats(&w, None, direction), w.core.stats());
        assert!(link.pushed > 0 && link.dropped == link.pushed);
        // What does not arrive is not received; what is lost behind the server was sent.
        match direction {
            Direction::Receive => assert_eq!(server.packets_received, 0),
            Direction::Send => assert_eq!(server.packets_sent, link.pushed),
        }
        w.core.simulate(direction, None).expect("ends");
        assert!(w.core.simulated.is_none(), "nothing is left of it");
        w.join();
    }
}

#[test]
fn each_direction_and_each_peer_has_its_own_delay() {
    let mut w = World::new(Config::default());
    let (far, near) = (w.join(), w.join());
    let (near_there, near_back) = times(&mut w, near.0, near.1);
    assert!(near_there < PACED && near_back < PACED, "{near_there:?} {near_back:?}");
    w.core.simulate_peer(far.1, Direction::Send, Some(late(ms(150)))).expect("valid");
    w.core.simulate_peer(far.1, Direction::Receive, Some(late(ms(70)))).expect("valid");
    let (there, back) = times(&mut w, far.0, far.1);
    assert!(
        (ms(152)..ms(152) + PACED).contains(&there) && (ms(72)..ms(72) + PACED).contains(&back),
        "{there:?} {back:?}"
    );
    let (there, back) = times(&mut w, near.0, near.1);
    assert!(there < PACED && back < PACED, "{there:?} {back:?}");
    // Half of 150 and 70 ms more than the near one's.
    w.run(ms(8000));
    let latency = |w: &mut World, peer| w.core.peer_info(peer).expect("live").latency;
    let more = latency(&mut w, far.1).saturating_sub(latency(&mut w, near.1));
    assert!((ms(80)..ms(140)).contains(&more), "{more:?}");
    assert!(w.disconnects().is_empty());
}

#[test]
fn a_peers_own_network_takes_the_place_of_the_servers() {
    let mut w = World::new(Config::default());
    let (spared, struck, other) = (w.join(), w.join(), w.join());
    w.core.simulate_peer(struck.1, Direction::Receive, Some(lost())).expect("valid");
    for direction in BOTH {
        w.core.simulate_peer(spared.1, direction, Some(Conditions::default())).expect("valid");
        simulate(&mut w, direction, late(ms(100)));
    }
    let (there, back) = times(&mut w, spared.0, spared.1);
    assert!(there < PACED && back < PACED, "{there:?} {back:?}");
    let (there, back) = times(&mut w, other.0, other.1);
    assert!(there > ms(100) && back > ms(100), "{there:?} {back:?}");
    w.run(ms(10_000));
    assert_eq!(w.disconnects(), [(struck.1, DisconnectReason::Timeout)]);
    // Without its own it has the server's again.
    for direction in BOTH {
        w.core.simulate_peer(spared.1, direction, None).expect("live");
    }
    let (there, back) = times(&mut w, spared.0, spared.1);
    assert!(there > ms(100) && back > ms(100), "{there:?} {back:?}");
}

#[test]
fn guaranteed_messages_pass_a_terrible_network_once() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    let conditions = Conditions {
        loss: 0.1,
        burst_loss: 0.01,
        burst_length: 3.0,
        delay: ms(40),
        jitter: ms(30),
        duplicate: 0.1,
        reorder: 0.1,
        reorder_delay: ms(100),
        rate: 200_000,
        queue_bytes: 20_000,
        corrupt: 0.05,
        seed: 5,
    };
    for direction in BOTH {
        simulate(&mut w, direction, conditions.clone());
    }
    for number in 0..300_u16 {
        say(&mut w, peer, &number.to_be_bytes());
        w.send(end, &number.to_be_bytes(), Mode::Guaranteed);
        w.run(ms(20));
    }
    w.run(ms(20_000));
    let all: Vec<[u8; 2]> = (0..300_u16).map(u16::to_be_bytes).collect();
    for mut got in [w.messages(peer), w.ends[end].messages()] {
        got.sort_unstable();
        assert_eq!(got, all);
    }
    let (receive, send) = (stats(&w, None, Direction::Receive), stats(&w, None, Direction::Send));
    for LinkStats { pushed: _, dropped, overflowed: _, duplicated, reordered, corrupted } in [receive, send] {
        assert!([dropped, duplicated, reordered, corrupted].iter().all(|count| *count > 0));
    }
    assert_ne!(receive, send, "one seed is two fates");
    assert!(w.core.stats().drops.iter().sum::<u64>() >= receive.corrupted, "what was damaged was refused");
    assert!(w.disconnects().is_empty());
}

#[test]
fn what_is_under_way_when_it_ends_still_arrives() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    for direction in BOTH {
        simulate(&mut w, direction, late(ms(1000)));
    }
    say(&mut w, peer, b"slow");
    w.send(end, b"slow too", Mode::Once);
    w.run(ms(100));
    for direction in BOTH {
        w.core.simulate(direction, None).expect("ends");
    }
    assert!(w.core.simulated.is_some());
    assert_eq!(w.core.link_stats(None, Direction::Send), None);
    w.run(ms(800));
    assert!(w.messages(peer).is_empty());
    w.run(ms(200));
    assert_eq!((w.messages(peer), w.ends[end].messages()), (vec![&b"slow too"[..]], vec![&b"slow"[..]]));
    assert!(w.core.simulated.is_none());
}

#[test]
fn peers_that_leave_take_their_networks_with_them() {
    let mut w = World::new(Config::default());
    for round in 0..10 {
        let (end, peer) = w.join();
        for direction in BOTH {
            w.core.simulate_peer(peer, direction, Some(late(ms(30)))).expect("valid");
        }
        w.run(ms(100));
        if round % 2 == 0 {
            w.ends[end].connection.close(w.now, false, Farewell::default());
        } else {
            (w.ends[end].mute, w.ends[end].deaf) = (true, true);
        }
    }
    w.run(ms(20_000));
    assert_eq!((w.disconnects().len(), w.core.peers.len()), (10, 0));
    assert!(w.core.simulated.is_none());
    assert_eq!(w.core.poll_timeout(), None);
}

#[test]
fn a_flood_into_a_slow_network_is_bounded_and_let_go_in_turns() {
    let mut w = World::new(Config::default());
    simulate(&mut w, Direction::Receive, late(ms(500)));
    for number in 0..100_000_u32 {
        w.inject(address(number % 1000), &[7; 30]);
    }
    assert_eq!(w.core.stats().packets_received, 0);
    assert_eq!(stats(&w, None, Direction::Receive).overflowed, 100_000 - MAX_HELD_DATAGRAMS as u64);
    let due = w.now + ms(500);
    assert_eq!(w.core.poll_timeout(), Some(due));
    w.core.handle_timeout(due);
    assert_eq!(w.core.stats().packets_received, 1024);
    assert_eq!(w.core.poll_timeout(), Some(due), "the rest is due");
    w.now = due;
    w.settle();
    assert_eq!(w.core.stats().packets_received, MAX_HELD_DATAGRAMS as u64);
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let mut w = World::new(Config::default());
    let (_, peer) = w.join();
    let wrong = Conditions { jitter: MAX_DELAY * 2, ..Conditions::default() };
    let kind = |result: crate::Result<()>| result.err().map(|e| (e.kind(), e.message().contains("jitter")));
    for direction in BOTH {
        assert_eq!(kind(w.core.simulate(direction, Some(wrong.clone()))), Some((ErrorKind::Argument, true)));
        let refused = w.core.simulate_peer(peer, direction, Some(wrong.clone()));
        assert_eq!(kind(refused), Some((ErrorKind::Argument, true)));
        let stranger = PeerId::from_bits(peer.to_bits() + (1 << 24));
        for conditions in [None, Some(lost())] {
            let refused = w.core.simulate_peer(stranger, direction, conditions);
            assert_eq!(kind(refused), Some((ErrorKind::Stale, false)));
        }
        assert_eq!(kind(w.core.simulate(direction, None)), None, "ending what is not there is no error");
    }
    assert!(w.core.simulated.is_none());
}
