//! What the host sees and asks: ids, completions, the event queue, room, memory.

use std::collections::{HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::world::{ms, World};
use crate::protocol::connection::{CloseReason, Farewell};
use crate::protocol::delivery::Mode;
use crate::server::config::Config;
use crate::server::events::*;
use crate::ErrorKind;

fn kick(w: &mut World, peer: PeerId, after_delivery: bool) -> Option<ErrorKind> {
    let info = DisconnectInfo::new(DisconnectReason::Kicked, "out");
    w.core.disconnect(w.now, peer, info, after_delivery).err().map(|e| e.kind())
}

fn send(w: &mut World, peer: PeerId, data: &[u8], retry: RetryMode, tag: Option<u64>) -> Option<ErrorKind> {
    let options = SendOptions { retry, tag, on_sent: None, ..SendOptions::default() };
    w.core.send(w.now, peer, data.into(), &mut { options }).err().map(|e| e.kind())
}

fn info_error(w: &mut World, peer: PeerId) -> Option<ErrorKind> {
    w.core.peer_info(peer).err().map(|e| e.kind())
}

#[test]
fn ids_are_never_reused_and_foreign_ones_are_stale() {
    let (mut a, mut b) = (World::new(Config::default()), World::new(Config::default()));
    let mut ids = HashSet::new();
    for _ in 0..20 {
        for w in [&mut a, &mut b] {
            let (end, peer) = w.join();
            assert!(ids.insert(peer.to_bits()), "{peer:?} again");
            assert_ne!(peer.to_bits(), 0);
            w.ends[end].connection.close(w.now, false, Farewell::default());
            // Long enough for the slot to be taken again.
            w.run(ms(10_000));
            assert_eq!(w.core.peers.len(), 0);
        }
    }
    let (_, mine) = a.join();
    let (_, theirs) = b.join();
    let mut random = SmallRng::seed_from_u64(1);
    let old: Vec<u64> = ids.into_iter().collect();
    let invented = (0..1000).map(|_| random.random::<u64>());
    // Another generation of the live slot, another slot of the live generation.
    let near = [0, u64::MAX, mine.to_bits() + 1, mine.to_bits() + (1 << 24), mine.to_bits() & 0xff_ffff];
    for bits in old.into_iter().chain(invented).chain(near).chain([theirs.to_bits()]) {
        let id = PeerId::from_bits(bits);
        assert_eq!(info_error(&mut a, id), Some(ErrorKind::Stale), "{id:?}");
        assert_eq!(send(&mut a, id, b"x", RetryMode::None, None), Some(ErrorKind::Stale));
        assert_eq!(kick(&mut a, id, false), Some(ErrorKind::Stale));
        assert_eq!(a.core.user_data(id).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    }
    assert_eq!(info_error(&mut a, mine), None);
    assert_eq!(a.core.peers(), [mine]);
}

#[test]
fn a_peer_answers_until_its_disconnect_is_handled() {
    let mut w = World::new(Config::default());
    w.retires = false;
    let (end, peer) = w.join();
    *w.core.user_data(peer).expect("live") = 42;
    w.ends[end].connection.close(w.now, false, Farewell::default());
    w.run(ms(20_000));
    assert_eq!(w.disconnects(), [(peer, DisconnectReason::Remote)]);
    let info = w.core.peer_info(peer).expect("not retired yet");
    assert_eq!((info.status, *w.core.user_data(peer).expect("live")), (Status::Disconnected, 42));
    assert_eq!(send(&mut w, peer, b"late", RetryMode::None, None), Some(ErrorKind::Stale));
    assert_eq!(kick(&mut w, peer, false), Some(ErrorKind::Stale));
    assert!(w.core.peers().is_empty());
    assert_eq!(w.core.stats().peers, 0);
    w.core.retire(peer);
    assert_eq!(info_error(&mut w, peer), Some(ErrorKind::Stale));
    assert_eq!(w.core.peers.len(), 0);
    w.core.retire(peer);
    assert_eq!(w.core.peers.len(), 0, "a second time changes nothing");
}

#[test]
fn every_message_that_asked_is_told_once() {
    let mut random = SmallRng::seed_from_u64(7);
    let config = Config { max_queued_events: 100_000, max_queued_messages: 64, ..Config::default() };
    let mut w = World::new(config);
    let ends: Vec<_> = (0..8).map(|_| w.join()).collect();
    let mut asked: HashMap<u64, (PeerId, RetryMode)> = HashMap::new();
    let mut refused = 0;
    for tag in 1..=4000 {
        let (end, peer) = ends[random.random_range(0..ends.len())];
        let retry = [RetryMode::None, RetryMode::BestEffort, RetryMode::OnTimeout][random.random_range(0..3)];
        let len = [0, 10, 300, 5000][random.random_range(0..4)];
        match send(&mut w, peer, &vec![1; len], retry, Some(tag)) {
            None => assert!(asked.insert(tag, (peer, retry)).is_none()),
            Some(_) => refused += 1,
        }
        match random.random_range(0..200) {
            0 => w.ends[end].deaf ^= true,
            1 => w.ends[end].mute ^= true,
            2 if tag > 2000 => w.ends[end].connection.close(w.now, random.random(), Farewell::default()),
            3 if tag > 2000 => _ = kick(&mut w, peer, random.random()),
            _ => {}
        }
        w.run(ms(random.random_range(0..20)));
    }
    let now = w.now;
    w.core.close(now);
    w.run(ms(20_000));
    w.pull(usize::MAX);
    let mut outcomes: HashMap<Outcome, usize> = HashMap::new();
    let mut ended = HashSet::new();
    for event in &w.seen {
        match event {
            Event::Sent(peer, tag, outcome) => {
                let (to, retry) = asked.remove(tag).expect("asked, and not told yet");
                assert_eq!((to, ended.contains(peer)), (*peer, false), "before the peer's end");
                assert!((retry, *outcome) != (RetryMode::OnTimeout, Outcome::Expired));
                *outcomes.entry(*outcome).or_default() += 1;
            }
            Event::Disconnect(peer, _) => assert!(ended.insert(*peer), "{peer:?} ended twice"),
            _ => {}
        }
    }
    assert!(asked.is_empty(), "{} never told", asked.len());
    assert!(w.core.completions.is_empty());
    assert_eq!(ended.len(), ends.len());
    assert!(
        outcomes.len() == 3 && refused > 0,
        "the test meets all outcomes: {outcomes:?}, {refused} refused"
    );
}

#[test]
fn callbacks_are_told_at_the_end_too() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    w.ends[end].deaf = true;
    for _ in 0..10 {
        let options = SendOptions {
            retry: RetryMode::OnTimeout,
            tag: None,
            on_sent: Some(Box::new(|_, _, _| ())),
            ..SendOptions::default()
        };
        w.core.send(w.now, peer, [1; 4000][..].into(), &mut { options }).expect("queued");
    }
    w.run(ms(100));
    assert!(w.completed.is_empty());
    kick(&mut w, peer, false);
    w.settle();
    assert_eq!(w.completed, vec![(peer, Outcome::Cancelled); 10]);
    assert!(w.core.completions.is_empty());
    let tagged = SendOptions { tag: Some(1), ..SendOptions::default() };
    let (_, other) = w.join();
    let error = w.core.send(w.now, other, [1][..].into(), &mut { tagged }).err().map(|e| e.kind());
    assert_eq!(error, Some(ErrorKind::State), "there is no queue for it");
}

#[test]
fn a_full_event_queue_refuses_messages_and_takes_the_guaranteed_ones_later() {
    let config = Config { max_queued_events: 50, ..Config::default() };
    let mut w = World::new(config);
    let (end, peer) = w.join();
    for i in 0..200u8 {
        w.send(end, &[i], Mode::Guaranteed);
    }
    for i in 0..200u8 {
        w.send(end, &[i, 1], Mode::Once);
    }
    w.run(ms(3000));
    assert_eq!(w.core.pulled.len(), 50, "full and no fuller");
    let refused = w.core.peer_info(peer).expect("live").stats.messages_refused;
    assert!(refused > 0, "refused and counted");
    assert!(w.ends[end].connection.queued_messages() >= 150, "what was refused is not acknowledged");
    // A newcomer would need room for its events.
    let late = w.client();
    w.run_until(|w| w.ends[late].closed().is_some());
    assert_eq!(w.ends[late].closed(), Some(CloseReason::Timeout));
    // The host pulls, slowly.
    for _ in 0..600 {
        w.pull(3);
        assert!(w.core.pulled.len() <= 50);
        w.run(ms(50));
    }
    let guaranteed: Vec<u8> = w.messages(peer).iter().filter(|m| m.len() == 1).map(|m| m[0]).collect();
    let different: HashSet<u8> = guaranteed.iter().copied().collect();
    assert_eq!((guaranteed.len(), different.len()), (200, 200), "each once");
    assert_eq!(w.ends[end].connection.queued_messages(), 0);
    assert!(w.disconnects().is_empty());
}

#[test]
fn the_event_queue_is_bounded_in_bytes() {
    let config = Config { max_queued_events: 10_000, max_queued_event_bytes: 64 << 10, ..Config::default() };
    let mut w = World::new(config);
    let (end, peer) = w.join();
    for _ in 0..40 {
        w.send(end, &[5; 5000], Mode::Guaranteed);
    }
    w.run(ms(4000));
    // The last one may go beyond.
    assert!((64 << 10..(64 << 10) + 5000).contains(&w.core.pulled_bytes), "{}", w.core.pulled_bytes);
    for _ in 0..200 {
        w.pull(1);
        w.run(ms(50));
    }
    assert_eq!((w.messages(peer).len(), w.core.pulled_bytes), (40, 0));
}

#[test]
fn events_that_nobody_pulls_take_no_endless_memory() {
    let config = Config { max_queued_events: 100, ..Config::default() };
    let mut w = World::new(config);
    for _ in 0..3 {
        let (end, _) = w.join();
        w.ends[end].mute = true;
    }
    for tick in 1..=100_000 {
        w.core.emit(Event::Update { seconds: 0.125, tick });
        if tick % 7 == 0 {
            w.core.emit(Event::Reconcile);
        }
        w.core.log(LogLevel::Info, "something");
    }
    w.run(ms(30_000));
    assert_eq!(w.core.peers.len(), 3, "they are kept until their ends are pulled");
    // A tick or two between any two lines of the log, at worst.
    assert!(w.core.pulled.len() <= 3 * (100 + 1024), "{}", w.core.pulled.len());
    let before = w.seen.len();
    w.pull(usize::MAX);
    let updates = w.seen[before..].iter().filter_map(|e| match e {
        Event::Update { seconds, tick } => Some((*seconds, *tick)),
        _ => None,
    });
    let (sum, last) = updates.fold((0.0, 0), |(sum, _), (seconds, tick)| (sum + seconds, tick));
    assert_eq!((sum, last), (12_500.0, 100_000), "no time is lost");
    w.run(ms(10_000));
    assert_eq!(w.core.peers.len(), 0);
}

#[test]
fn a_queue_that_had_refused_tells_when_it_has_room() {
    let mut w = World::new(Config { max_queued_messages: 100, ..Config::default() });
    let (end, peer) = w.join();
    w.ends[end].deaf = true;
    for round in 1..=3 {
        let taken = (0..1000)
            .take_while(|_| send(&mut w, peer, b"state", RetryMode::OnTimeout, None).is_none())
            .count();
        assert_eq!(taken, 100);
        assert_eq!(send(&mut w, peer, b"", RetryMode::OnTimeout, None), Some(ErrorKind::WouldBlock));
        let count =
            |w: &World| w.seen.iter().filter(|e| matches!(e, Event::Writable(p) if *p == peer)).count();
        w.run(ms(300));
        assert_eq!(count(&w), round - 1, "not while it is full");
        w.ends[end].deaf = false;
        w.run(ms(3000));
        assert_eq!(count(&w), round, "once");
        assert_eq!(w.core.peer_info(peer).expect("live").queued_messages, 0);
        w.ends[end].deaf = true;
    }
    assert_eq!(w.ends[end].messages().len(), 300);
}

#[test]
fn thousands_come_and_go_and_leave_nothing() {
    let mut w = World::new(Config { max_peers: 100, ..Config::default() });
    let mut most = 0;
    for round in 0..60u64 {
        let first = w.ends.len();
        for _ in 0..50 {
            w.client();
        }
        w.run_until(|w| {
            (first..w.ends.len()).all(|e| w.peer_of(e).is_some() || w.ends[e].closed().is_some())
        });
        for end in first..w.ends.len() {
            if let Some(peer) = w.peer_of(end) {
                send(&mut w, peer, &[3; 3000], RetryMode::OnTimeout, None);
                match end % 3 {
                    0 => w.ends[end].connection.close(w.now, false, Farewell::default()),
                    1 => _ = kick(&mut w, peer, false),
                    // These fall silent.
                    _ => (w.ends[end].mute, w.ends[end].deaf) = (true, true),
                }
            }
        }
        w.run(ms(if round % 4 == 0 { 2500 } else { 300 }));
        most = most.max(w.core.peers.len());
        assert!(w.core.timer_count() <= 3 * (w.core.peers.len() + w.core.admission.len()) + 64);
        // The clients of rounds before are not simulated any further.
        let (now, seen) = (w.now, w.ends.len());
        w.ends[first..seen].iter_mut().for_each(|e| e.connection.close(now, false, Farewell::default()));
    }
    assert!(most <= 2 * 100 + 64 + 50, "{most} slots");
    let stats = w.core.stats();
    assert!(stats.connects > 1000, "{stats:?}");
    w.run(ms(20_000));
    let stats = w.core.stats();
    assert_eq!((stats.connects, stats.peers), (stats.disconnects, 0));
    assert_eq!((w.core.peers.len(), w.core.timer_count(), w.core.dirty.len()), (0, 0, 0));
    assert_eq!((w.core.admission.len(), w.core.completions.len(), w.core.answers.len()), (0, 0, 0));
}

#[test]
fn a_broadcast_reaches_all_but_one_and_those_with_room() {
    let mut w = World::new(Config { max_queued_messages: 5, ..Config::default() });
    let all: Vec<_> = (0..4).map(|_| w.join()).collect();
    w.ends[all[3].0].deaf = true;
    for _ in 0..5 {
        send(&mut w, all[3].1, b"fill", RetryMode::OnTimeout, None);
    }
    let sent = w.core.broadcast(w.now, Some(all[0].1), &b"news"[..].into(), RetryMode::OnTimeout);
    assert_eq!(sent.ok(), Some(Reach { sent: 2, refused: 1 }));
    w.run(ms(200));
    for (i, (end, _)) in all.iter().enumerate() {
        assert_eq!(w.ends[*end].messages().len(), usize::from(i == 1 || i == 2));
    }
    w.ends[all[3].0].deaf = false;
    w.run(ms(3000));
    assert!(w.seen.iter().any(|e| matches!(e, Event::Writable(p) if *p == all[3].1)));
}

#[test]
fn a_host_that_sends_and_never_pulls_fills_the_queue_no_further() {
    let config = Config { max_queued_events: 50, max_queued_messages: 4, ..Config::default() };
    let mut w = World::new(config);
    let (_, peer) = w.join();
    w.pull(usize::MAX);
    let (mut refused, mut blocked) = (0, 0);
    for n in 0..2_000 {
        // Each round fills the peer's queue, so that it has room to report.
        while send(&mut w, peer, b"x", RetryMode::None, None).is_none() {}
        blocked += 1;
        w.run(ms(20));
        refused +=
            usize::from(send(&mut w, peer, b"x", RetryMode::None, Some(n)) == Some(ErrorKind::WouldBlock));
    }
    // Those under way when it became full still report, and so do two timers.
    assert!(w.core.pulled.len() <= 50 + 4 + 2, "{}", w.core.pulled.len());
    assert!(refused > 1_000 && blocked == 2_000, "{refused} {blocked}");
    let writable = |w: &World| w.seen.iter().filter(|e| matches!(e, Event::Writable(_))).count();
    w.pull(usize::MAX);
    assert_eq!(writable(&w), 1, "said once until it was heard");
    while send(&mut w, peer, b"x", RetryMode::None, Some(7)).is_none() {}
    w.run(ms(100));
    w.pull(usize::MAX);
    assert_eq!(writable(&w), 2);
    assert!(w.seen.iter().any(|e| matches!(e, Event::Sent(_, 7, Outcome::Delivered))));
}
