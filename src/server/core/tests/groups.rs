//! Groups: who gets what, and when a membership ends.

use std::sync::Arc;

use super::world::{ms, World};
use crate::protocol::connection::Farewell;
use crate::server::config::Config;
use crate::server::core::groups::MAX_GROUPS_PER_PEER;
use crate::server::events::*;
use crate::ErrorKind;

fn send(w: &mut World, group: &str, except: Option<PeerId>, data: &[u8]) -> (usize, usize) {
    let reach = w.core.group_send(w.now, group, except, &data.into(), RetryMode::OnTimeout).expect("sent");
    (reach.sent, reach.refused)
}

fn add(w: &mut World, peer: PeerId, group: &str) -> Option<ErrorKind> {
    w.core.group_add(group, peer).err().map(|e| e.kind())
}

#[test]
fn a_message_reaches_the_members_but_one() {
    let mut w = World::new(Config::default());
    let all: Vec<_> = (0..4).map(|_| w.join()).collect();
    for (_, peer) in &all[..3] {
        assert_eq!(add(&mut w, *peer, "red"), None);
        assert_eq!(add(&mut w, *peer, "red"), None, "a second time changes nothing");
    }
    assert_eq!(send(&mut w, "red", Some(all[0].1), b"for two"), (2, 0));
    assert_eq!(send(&mut w, "Red", None, b"for nobody"), (0, 0));
    let three = b"for three"[..].into();
    let reach = w.core.broadcast(w.now, Some(all[3].1), &three, RetryMode::OnTimeout).expect("sent");
    assert_eq!((reach.sent, reach.refused), (3, 0));
    w.run(ms(300));
    let got: Vec<usize> = all.iter().map(|(end, _)| w.ends[*end].messages().len()).collect();
    assert_eq!(got, [1, 2, 2, 0]);
    assert_eq!(w.core.group_remove("red", all[1].1).ok(), Some(true));
    assert_eq!(w.core.group_remove("red", all[1].1).ok(), Some(false));
    assert_eq!(send(&mut w, "red", None, b"for two"), (2, 0));
}

#[test]
fn a_membership_ends_with_its_peer() {
    let mut w = World::new(Config::default());
    w.retires = false;
    let (end, peer) = w.join();
    let (_, other) = w.join();
    for group in ["1", "2", "3"] {
        assert_eq!((add(&mut w, peer, group), add(&mut w, other, group)), (None, None));
    }
    let now = w.now;
    w.ends[end].connection.close(now, false, Farewell::default());
    w.run(ms(100));
    assert_eq!(w.core.groups.all().len(), 3, "the disconnect is not even handled");
    assert_eq!(send(&mut w, "2", None, b"x"), (1, 0));
    assert_eq!(add(&mut w, peer, "1"), Some(ErrorKind::Stale), "it has ended");
    w.core.retire(peer);
    assert_eq!(w.core.group_remove("1", peer).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    w.core.close(w.now);
    w.run(ms(100));
    assert!(w.core.groups.all().is_empty());
}

#[test]
fn full_queues_are_counted_and_told_of() {
    let mut w = World::new(Config { max_queued_messages: 5, ..Config::default() });
    let all: Vec<_> = (0..3).map(|_| w.join()).collect();
    for (_, peer) in &all {
        add(&mut w, *peer, "1");
    }
    w.ends[all[2].0].deaf = true;
    for _ in 0..5 {
        w.core.send(w.now, all[2].1, b"fill"[..].into(), &mut guaranteed()).expect("room");
    }
    assert_eq!(send(&mut w, "1", None, b"news"), (2, 1));
    w.ends[all[2].0].deaf = false;
    w.run(ms(3000));
    assert!(w.seen.iter().any(|e| matches!(e, Event::Writable(p) if *p == all[2].1)));
    let large = vec![0; Config::default().max_message_size + 1];
    let refused = w.core.group_send(w.now, "1", None, &large.into(), RetryMode::None);
    assert_eq!(refused.err().map(|e| e.kind()), Some(ErrorKind::TooLarge));
}

fn guaranteed() -> SendOptions {
    SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() }
}

#[test]
fn a_peer_is_in_so_many_groups() {
    let mut w = World::new(Config::default());
    let (_, peer) = w.join();
    for group in 1..=MAX_GROUPS_PER_PEER {
        assert_eq!(add(&mut w, peer, &group.to_string()), None);
    }
    assert_eq!(add(&mut w, peer, "one more"), Some(ErrorKind::WouldBlock));
    assert_eq!(add(&mut w, peer, "1"), None, "it is in it already");
    assert_eq!(w.core.group_remove("1", peer).ok(), Some(true));
    assert_eq!(add(&mut w, peer, "one more"), None);
}

#[test]
fn a_bad_name_is_refused_by_every_call() {
    let mut w = World::new(Config::default());
    let (_, peer) = w.join();
    for name in ["", "a\0b", &"n".repeat(65)] {
        assert_eq!(add(&mut w, peer, name), Some(ErrorKind::Argument));
        let removed = w.core.group_remove(name, peer);
        assert_eq!(removed.err().map(|e| e.kind()), Some(ErrorKind::Argument));
        let sent = w.core.group_send(w.now, name, None, &b"x"[..].into(), RetryMode::None);
        assert_eq!(sent.err().map(|e| e.kind()), Some(ErrorKind::Argument));
    }
    assert!(w.core.groups.all().is_empty());
}

#[test]
fn the_payload_and_the_list_of_who_gets_it_are_held_once() {
    let mut w = World::new(Config::default());
    for _ in 0..8 {
        let (_, peer) = w.join();
        add(&mut w, peer, "all of them");
    }
    let payload: Arc<[u8]> = b"the same bytes"[..].into();
    let mut lists = Vec::new();
    for round in 1..=3 {
        let reach = w.core.group_send(w.now, "all of them", None, &payload, RetryMode::OnTimeout);
        assert_eq!(reach.ok(), Some(Reach { sent: 8, refused: 0 }));
        assert_eq!(Arc::strong_count(&payload), 1 + 8 * round, "each queue points at the same bytes");
        assert!(w.core.recipients.is_empty());
        lists.push((w.core.recipients.as_ptr(), w.core.recipients.capacity()));
    }
    assert!(lists[0].1 >= 8 && lists.iter().all(|list| *list == lists[0]), "a list was made anew: {lists:?}");
}
