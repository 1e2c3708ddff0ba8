//! Between the proof and the connect event: decisions, passwords, and those who do not wait for them.

use super::world::{address, ms, World};
use crate::protocol::connection::{CloseReason, Farewell};
use crate::protocol::delivery::Mode;
use crate::server::block_list::BlockList;
use crate::server::config::Config;
use crate::server::core::joining::PASSWORD_GUESSES_PER_SOURCE;
use crate::server::events::*;
use crate::server::password::Password;
use crate::ErrorKind;

fn accept(w: &mut World, peer: PeerId) -> Option<ErrorKind> {
    w.core.accept_peer(w.now, peer).err().map(|e| e.kind())
}

fn refuse(w: &mut World, peer: PeerId) -> Option<ErrorKind> {
    w.core.refuse_peer(w.now, peer, 1234, "not today").err().map(|e| e.kind())
}

fn status(w: &mut World, peer: PeerId) -> Option<Status> {
    w.core.peer_info(peer).ok().map(|info| info.status)
}

/// Connects and disconnects that the host saw.
fn told(w: &World) -> usize {
    w.seen.iter().filter(|e| matches!(e, Event::Connect(..) | Event::Disconnect(..))).count()
}

fn password() -> Option<Password> {
    Some(Password::new(b"swordfish").expect("a password"))
}

#[test]
fn nothing_is_lost_while_a_decision_takes_its_time() {
    let mut w = World::asking(Config::default());
    let (end, peer) = w.knock();
    for n in 0..20u8 {
        w.send(end, &vec![n; if n % 5 == 0 { 30_000 } else { 10 }], Mode::Guaranteed);
    }
    w.run(ms(3000));
    assert_eq!((told(&w), status(&mut w, peer)), (0, Some(Status::Joining)));
    assert!(w.messages(peer).is_empty() && w.core.peers().is_empty());
    let stats = w.core.stats();
    assert_eq!((stats.peers, stats.joining, stats.connects), (0, 1, 0));
    let refused = w.core.send(w.now, peer, b"early"[..].into(), &mut SendOptions::default());
    assert_eq!(refused.err().map(|e| e.kind()), Some(ErrorKind::State));
    let reach = w.core.broadcast(w.now, None, &b"all"[..].into(), RetryMode::OnTimeout);
    assert_eq!(reach.ok(), Some(Reach::default()));
    *w.core.user_data(peer).expect("it answers questions") = 7;

    assert_eq!(accept(&mut w, peer), None);
    w.run(ms(5000));
    assert_eq!(w.peer_of(end), Some(peer), "the id is the same");
    assert_eq!(*w.core.user_data(peer).expect("connected"), 7);
    let mut numbers: Vec<u8> = w.messages(peer).iter().map(|m| m[0]).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<u8>>(), "each once");
    assert_eq!(accept(&mut w, peer), Some(ErrorKind::State), "it is in already");
    assert_eq!(refuse(&mut w, peer), Some(ErrorKind::State));
    let stats = w.core.stats();
    assert_eq!((stats.peers, stats.joining, stats.connects, stats.refusals), (1, 0, 1, 0));
}

#[test]
fn the_host_hears_no_more_of_whom_it_refused() {
    let mut w = World::asking(Config::default());
    let (end, peer) = w.knock();
    w.send(end, b"let me in", Mode::Guaranteed);
    assert_eq!(refuse(&mut w, peer), None);
    assert_eq!(status(&mut w, peer), None, "its id is stale at once");
    w.run(ms(500));
    assert_eq!(w.ends[end].closed(), Some(CloseReason::Remote), "it was told");
    assert_eq!(
        (accept(&mut w, peer), refuse(&mut w, peer)),
        (Some(ErrorKind::Stale), Some(ErrorKind::Stale))
    );
    w.run(ms(10_000));
    assert_eq!((told(&w), w.core.peers.len(), w.core.stats().refusals), (0, 0, 1));
    assert!(w.messages(peer).is_empty());
}

#[test]
fn disconnecting_it_is_refusing_it() {
    let mut w = World::asking(Config::default());
    let (end, peer) = w.knock();
    let info = DisconnectInfo::new(DisconnectReason::Host(1001), "no");
    w.core.disconnect(w.now, peer, info, true).expect("it is there");
    w.run(ms(500));
    assert_eq!((w.ends[end].closed(), told(&w)), (Some(CloseReason::Remote), 0));
}

#[test]
fn whoever_leaves_before_the_decision_was_never_there() {
    let mut w = World::asking(Config::default());
    let (leaves, first) = w.knock();
    let (silent, second) = w.knock();
    let now = w.now;
    w.ends[leaves].connection.close(now, false, Farewell::default());
    (w.ends[silent].mute, w.ends[silent].deaf) = (true, true);
    w.run(ms(8000));
    for peer in [first, second] {
        assert_eq!(accept(&mut w, peer), Some(ErrorKind::Stale));
    }
    assert_eq!((told(&w), w.core.stats().refusals, w.core.stats().joining), (0, 2, 0));
    w.run(ms(10_000));
    assert_eq!(w.core.peers.len(), 0);
}

#[test]
fn what_nobody_decides_is_decided_by_time() {
    let mut w = World::asking(Config { authorise_timeout: ms(3000), ..Config::default() });
    let (end, peer) = w.knock();
    w.run(ms(2900));
    assert_eq!(status(&mut w, peer), Some(Status::Joining));
    w.run(ms(200));
    assert_eq!((status(&mut w, peer), w.ends[end].closed()), (None, Some(CloseReason::Remote)));
    let (end, peer) = w.knock();
    assert_eq!(accept(&mut w, peer), None);
    w.run(ms(10_000));
    assert_eq!((status(&mut w, peer), w.ends[end].closed()), (Some(Status::Connected), None));
}

#[test]
fn those_who_wait_are_bounded_and_count() {
    let mut w = World::asking(Config { max_joining: 2, max_peers: 3, ..Config::default() });
    let (_, first) = w.knock();
    w.knock();
    let third = w.client();
    w.run(ms(500));
    assert_eq!(w.ends[third].closed(), Some(CloseReason::Remote), "two wait already");
    assert_eq!((w.asked().len(), w.core.stats().joining, w.core.stats().refusals), (2, 2, 1));
    assert_eq!(accept(&mut w, first), None);
    w.knock();
    assert_eq!(w.core.peers.seated(), 3);
    let fourth = w.client();
    w.run(ms(3000));
    assert_eq!(w.ends[fourth].closed(), Some(CloseReason::Timeout), "its hello was dropped: full");
    assert_eq!(w.asked().len(), 3);
}

#[test]
fn a_host_that_pulls_decides_too() {
    let config = Config { max_queued_events: 100, authorise: true, ..Config::default() };
    let mut w = World::new(config);
    let (end, peer) = w.knock();
    assert_eq!(told(&w), 0);
    assert_eq!(accept(&mut w, peer), None);
    assert_eq!(w.joined(end), peer);
    // Without the wish nobody asks.
    let mut w = World::new(Config { max_queued_events: 100, ..Config::default() });
    w.join();
    assert!(w.asked().is_empty());
}

#[test]
fn the_ends_of_joining_clients_are_silent() {
    let mut w = World::asking(Config::default());
    let (_, first) = w.knock();
    // Another client comes from the same address.
    let other = w.client_from(w.ends[0].address);
    w.run(ms(500));
    assert_eq!((accept(&mut w, first), w.asked().len()), (Some(ErrorKind::Stale), 2));
    let second = w.asked()[1];
    let list = BlockList::parse([w.ends[other].address.ip().to_string()]).expect("a list");
    w.core.set_block_list(w.now, list);
    assert_eq!(accept(&mut w, second), Some(ErrorKind::Stale));
    w.core.set_block_list(w.now, BlockList::default());
    let (_, third) = w.knock();
    w.core.close(w.now);
    assert_eq!(accept(&mut w, third), Some(ErrorKind::Stale));
    w.run(ms(10_000));
    assert_eq!((told(&w), w.core.peers.len(), w.core.stats().refusals), (0, 0, 3));
}

#[test]
fn a_password_keeps_out_whose_wire_has_none_unless_the_host_decides() {
    let config = Config { password: password(), ..Config::default() };
    let mut w = World::new(config.clone());
    let end = w.client();
    w.run(ms(500));
    assert_eq!((w.ends[end].closed(), told(&w)), (Some(CloseReason::Remote), 0));
    assert_eq!(w.core.stats().refusals, 1);

    let mut w = World::asking(config);
    let (end, peer) = w.knock();
    let request = w.seen.iter().find_map(|e| if let Event::Authorise(_, r) = e { Some(r) } else { None });
    let request = request.expect("the host was asked");
    assert_eq!((request.wire, request.password, request.data.len()), (Wire::Mpgameserver, false, 0));
    assert_eq!((request.address, request.token), (w.ends[end].address, w.ends[end].connection.token()));
    assert_eq!(accept(&mut w, peer), None);
    assert_eq!(w.joined(end), peer);
}

#[test]
fn passwords_are_compared_within_a_budget_per_source() {
    let mut w = World::new(Config { password: password(), ..Config::default() });
    let (mine, theirs) = (address(1), address(2));
    let guess = |w: &mut World, from, given: Option<&[u8]>| {
        w.core.check_password_of(w.now, from, given).map_err(|(code, _)| code)
    };
    assert_eq!(guess(&mut w, mine, None), Err(refusal::PASSWORD_WANTED));
    for _ in 0..1000 {
        assert_eq!(guess(&mut w, mine, Some(b"swordfish")), Ok(true), "right ones cost nothing");
    }
    for _ in 0..PASSWORD_GUESSES_PER_SOURCE.burst as usize {
        assert_eq!(guess(&mut w, mine, Some(b"sesame")), Err(refusal::PASSWORD_WRONG));
    }
    assert_eq!(guess(&mut w, mine, Some(b"sesame")), Err(refusal::TOO_MANY_GUESSES));
    assert_eq!(guess(&mut w, mine, Some(b"swordfish")), Err(refusal::TOO_MANY_GUESSES), "not compared");
    assert_eq!(guess(&mut w, theirs, Some(b"swordfish")), Ok(true), "another source");
    w.now = w.now + ms(5_100);
    assert_eq!(guess(&mut w, mine, Some(b"sesame")), Err(refusal::PASSWORD_WRONG));
    assert_eq!(guess(&mut w, mine, Some(b"sesame")), Err(refusal::TOO_MANY_GUESSES));
    let open = World::new(Config::default());
    assert!(open.core.check_password(None) && open.core.check_password(Some(b"anything")));
    assert!(!w.core.check_password(None) && w.core.check_password(Some(b"swordfish")));
}
