//! Groups: who gets what, and when a membership ends.

use super::world::{ms, World};
use crate::protocol::connection::Farewell;
use crate::server::config::Config;
use crate::server::core::groups::{EVERYBODY, MAX_GROUPS_PER_PEER};
use crate::server::events::*;
use crate::ErrorKind;

fn send(w: &mut World, group: u32, except: Option<PeerId>, data: &[u8]) -> (usize, usize) {
    let reach = w.core.group_send(w.now, group, except, &data.into(), RetryMode::OnTimeout).expect("sent");
    (reach.sent, reach.refused)
}

fn add(w: &mut World, peer: PeerId, group: u32) -> Option<ErrorKind> {
    w.core.group_add(peer, group).err().map(|e| e.kind())
}

#[test]
fn a_message_reaches_the_members_but_one() {
    let mut w = World::new(Config::default());
    let all: Vec<_> = (0..4).map(|_| w.join()).collect();
    for (_, peer) in &all[..3] {
        assert_eq!(add(&mut w, *peer, 7), None);
        assert_eq!(add(&mut w, *peer, 7), None, "a second time changes nothing");
    }
    assert_eq!(send(&mut w, 7, Some(all[0].1), b"for two"), (2, 0));
    assert_eq!(send(&mut w, 8, None, b"for nobody"), (0, 0));
    assert_eq!(send(&mut w, EVERYBODY, Some(all[3].1), b"for three"), (3, 0));
    w.run(ms(300));
    let got: Vec<usize> = all.iter().map(|(end, _)| w.ends[*end].messages().len()).collect();
    assert_eq!(got, [1, 2, 2, 0]);
    assert_eq!(w.core.group_remove(all[1].1, 7).ok(), Some(true));
    assert_eq!(w.core.group_remove(all[1].1, 7).ok(), Some(false));
    assert_eq!(send(&mut w, 7, None, b"for two"), (2, 0));
}

#[test]
fn a_membership_ends_with_its_peer() {
    let mut w = World::new(Config::default());
    w.retires = false;
    let (end, peer) = w.join();
    let (_, other) = w.join();
    for group in [1, 2, u32::MAX] {
        assert_eq!((add(&mut w, peer, group), add(&mut w, other, group)), (None, None));
    }
    let now = w.now;
    w.ends[end].connection.close(now, false, Farewell::default());
    w.run(ms(100));
    assert_eq!(w.core.groups.all().len(), 3, "the disconnect is not even handled");
    assert_eq!(send(&mut w, 2, None, b"x"), (1, 0));
    assert_eq!(add(&mut w, peer, 1), Some(ErrorKind::Stale), "it has ended");
    w.core.retire(peer);
    assert_eq!(w.core.group_remove(peer, 1).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    w.core.close(w.now);
    w.run(ms(100));
    assert!(w.core.groups.all().is_empty());
}

#[test]
fn full_queues_are_counted_and_told_of() {
    let mut w = World::new(Config { max_queued_messages: 5, ..Config::default() });
    let all: Vec<_> = (0..3).map(|_| w.join()).collect();
    for (_, peer) in &all {
        add(&mut w, *peer, 1);
    }
    w.ends[all[2].0].deaf = true;
    for _ in 0..5 {
        w.core.send(w.now, all[2].1, b"fill"[..].into(), &mut guaranteed()).expect("room");
    }
    assert_eq!(send(&mut w, 1, None, b"news"), (2, 1));
    w.ends[all[2].0].deaf = false;
    w.run(ms(3000));
    assert!(w.seen.iter().any(|e| matches!(e, Event::Writable(p) if *p == all[2].1)));
    let large = vec![0; Config::default().max_message_size + 1];
    let refused = w.core.group_send(w.now, 1, None, &large.into(), RetryMode::None);
    assert_eq!(refused.err().map(|e| e.kind()), Some(ErrorKind::TooLarge));
}

fn guaranteed() -> SendOptions {
    SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() }
}

#[test]
fn a_peer_is_in_so_many_groups_and_everybody_is_none_of_them() {
    let mut w = World::new(Config::default());
    let (_, peer) = w.join();
    assert_eq!(add(&mut w, peer, EVERYBODY), Some(ErrorKind::Argument));
    for group in 1..=MAX_GROUPS_PER_PEER as u32 {
        assert_eq!(add(&mut w, peer, group), None);
    }
    assert_eq!(add(&mut w, peer, 1000), Some(ErrorKind::WouldBlock));
    assert_eq!(add(&mut w, peer, 1), None, "it is in it already");
    assert_eq!(w.core.group_remove(peer, 1).ok(), Some(true));
    assert_eq!(add(&mut w, peer, 1000), None);
}
