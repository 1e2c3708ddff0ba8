//! Native clients at the core: hellos and their floods, joining, moving, restarts, both wires side by side.

use std::net::SocketAddr;

use super::world::{address, ms, World};
use crate::metrics::server::DropReason;
use crate::protocol::connection::native::Join;
use crate::protocol::connection::{CloseReason, Event as EndEvent, Farewell, FarewellKind, State, Wire};
use crate::protocol::delivery::Mode;
use crate::protocol::handshake::native::{packet, HELLO_LEN};
use crate::server::config::{Config, Wires};
use crate::server::core::Dispatch;
use crate::server::events::*;
use crate::server::newcomers::MAX_ANSWERS;
use crate::server::password::Password;

fn drops(w: &World, reason: DropReason) -> u64 {
    w.core.stats().drops[reason as usize]
}

fn texts(w: &World, peer: PeerId) -> Vec<Vec<u8>> {
    let message = |e: &Event| match e {
        Event::Message(id, m) if *id == peer => Some(m.data.clone()),
        _ => None,
    };
    w.seen.iter().filter_map(message).collect()
}

#[test]
fn both_wires_share_the_port_and_the_callbacks() {
    let mut w = World::new(Config::default());
    let (old, old_peer) = w.join();
    let new = w.native_client(Join::default());
    let new_peer = w.joined(new);
    assert_eq!(w.ends[new].connection.wire(), Wire::Native);
    for (end, peer) in [(old, old_peer), (new, new_peer)] {
        w.send(end, b"hello", Mode::Guaranteed);
        w.core.send(w.now, peer, b"you too"[..].into(), &mut SendOptions::default()).unwrap();
        w.run(ms(300));
        assert_eq!(texts(&w, peer), [b"hello".to_vec()]);
        let got = |e: &EndEvent| matches!(e, EndEvent::Message { data, .. } if data == b"you too");
        assert!(w.ends[end].events.iter().any(got));
    }
    assert_eq!(w.core.stats().peers, 2);
    let now = w.now;
    w.ends[new].connection.close(
        now,
        false,
        Farewell { kind: FarewellKind::Left, code: 9, text: "bye".into() },
    );
    w.run(ms(100));
    let left = |e: &Event| matches!(e, Event::Disconnect(p, i) if *p == new_peer && i.code == 9 && &*i.text == "bye");
    assert!(w.seen.iter().any(left), "{:?}", w.seen);
    assert_eq!(w.ends[new].connection.state(), State::Closed, "its goodbye was answered");
    w.run(ms(10_000));
    assert_eq!(w.core.stats().peers, 1);
}

#[test]
fn a_wire_that_is_turned_off_is_not_there() {
    for wires in [Wires { mpgameserver: false, native: true }, Wires { mpgameserver: true, native: false }] {
        let mut w = World::new(Config { wires, ..Config::default() });
        let (old, new) = (w.client(), w.native_client(Join::default()));
        w.run(ms(1000));
        let connected = |end: usize| w.ends[end].connection.state() == State::Connected;
        assert_eq!((connected(old), connected(new)), (wires.mpgameserver, wires.native));
        assert!(drops(&w, DropReason::Malformed) > 0);
    }
}

#[test]
fn forged_hellos_over_budget_cost_a_cookie_each_and_leave_nothing_behind() {
    let config = Config {
        hellos_total_hz: 1.0,
        hellos_per_source_hz: 1.0,
        max_handshakes: 65_536,
        ..Config::default()
    };
    let mut w = World::new(config);
    let first = w.native_client(Join::default());
    let hello = w.take_datagrams(first).pop().unwrap();
    assert_eq!((hello[0], hello.len()), (packet::HELLO, HELLO_LEN));
    // The budget's burst goes to addresses that nobody answers from.
    let at = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(0xc000_0000 + n), 7));
    for n in 0..5000 {
        w.inject(at(n), &hello);
        if n % 500 == 499 {
            w.settle();
        }
    }
    let before = w.core.stats().handshakes;
    w.sent.clear();
    for n in 10_000..10_000 + 2 * MAX_ANSWERS as u32 {
        w.inject(at(n), &hello);
    }
    w.settle();
    assert!(w.core.stats().handshakes <= before + 2);
    assert!(w.sent.len() <= MAX_ANSWERS + 2, "{} answers", w.sent.len());
    assert!(w.sent.iter().all(|(_, len)| *len < 100), "cookies are short");
    // Who receives at its address gets in all the same: with the cookie's own budget.
    let real = w.native_client(Join::default());
    w.joined(real);
    w.run(ms(10_000));
    assert_eq!(w.core.stats().handshakes, 0);
}

#[test]
fn passwords_are_checked_and_refusals_say_why() {
    let config = Config { password: Some(Password::new(b"sesame").unwrap()), ..Config::default() };
    let mut w = World::new(config);
    let join = |password: &str| Join { password: Some(password.into()), data: b"ticket".to_vec() };
    let (right, wrong, none) =
        (w.native_client(join("sesame")), w.native_client(join("simsim")), w.native_client(Join::default()));
    w.run(ms(500));
    assert_eq!(w.ends[right].connection.state(), State::Connected);
    for (end, code) in [(wrong, refusal::PASSWORD_WRONG), (none, refusal::PASSWORD_WANTED)] {
        let closing = |e: &EndEvent| if let EndEvent::Closed(c) = e { Some(c.clone()) } else { None };
        let closing = w.ends[end].events.iter().find_map(closing).unwrap();
        assert_eq!((closing.reason, closing.farewell.kind), (CloseReason::Remote, FarewellKind::Refused));
        assert_eq!(closing.farewell.code, code);
        assert!(closing.farewell.text.contains("password"));
    }
    let connects = w.seen.iter().filter(|e| matches!(e, Event::Connect(..))).count();
    assert_eq!(connects, 1);
}

#[test]
fn the_host_decides_later_and_sees_what_the_client_brought() {
    let mut w = World::asking(Config::default());
    let end = w.native_client(Join { password: None, data: b"ticket 7".to_vec() });
    w.run(ms(300));
    let asked = |e: &Event| match e {
        Event::Authorise(peer, request) => Some((*peer, request.data.clone(), request.wire)),
        _ => None,
    };
    let (peer, data, wire) = w.seen.iter().find_map(asked).unwrap();
    assert_eq!((&data[..], wire), (&b"ticket 7"[..], Wire::Native));
    assert_eq!(w.ends[end].connection.state(), State::Connecting);
    w.core.accept_peer(w.now, peer).unwrap();
    w.run(ms(100));
    assert_eq!(w.ends[end].connection.state(), State::Connected);
}

#[test]
fn a_client_that_moves_is_followed_and_loses_nothing() {
    let mut w = World::new(Config::default());
    let end = w.native_client(Join::default());
    let peer = w.joined(end);
    for i in 0..200_u8 {
        w.send(end, &[i], Mode::Guaranteed);
        let options = SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() };
        w.core.send(w.now, peer, [i][..].into(), &mut { options }).unwrap();
        if i == 100 {
            w.ends[end].address = address(5000);
        }
        w.run(ms(10));
    }
    w.run(ms(3000));
    assert_eq!(texts(&w, peer).len(), 200);
    let got = w.ends[end].events.iter().filter(|e| matches!(e, EndEvent::Message { .. })).count();
    assert_eq!(got, 200);
    assert_eq!(w.core.peer_info(peer).unwrap().address, address(5000));
    assert_eq!(w.core.stats().migrations, 1);
    let info = w.core.peer_info(peer).unwrap();
    assert_eq!((info.wire, info.migrations), (Wire::Native, 1));
    let old = w.join().1;
    let info = w.core.peer_info(old).unwrap();
    assert_eq!((info.wire, info.migrations), (Wire::Mpgameserver, 0));
}

#[test]
fn a_restarted_server_is_recognised_at_once() {
    let mut w = World::new(Config::default());
    let end = w.native_client(Join::default());
    w.joined(end);
    // Another core with the same root key, where the first one was.
    let mut fresh = World::new(Config::default());
    std::mem::swap(&mut w.core, &mut fresh.core);
    w.seen.clear();
    w.send(end, b"are you there", Mode::Guaranteed);
    // A round trip takes 4 ms.
    w.run(ms(10));
    assert_eq!(w.ends[end].closed(), Some(CloseReason::Restarted));
    assert!(w.core.poll_dispatch().is_none_or(|d| !matches!(d, Dispatch::Event(Event::Connect(..)))));
    // One with another key cannot say so.
    let other = w.native_client(Join::default());
    w.joined(other);
    let reset = [&[packet::RESET][..], &[9; 16]].concat();
    let now = w.now;
    let mut room = crate::protocol::connection::Room::ENDLESS;
    let result =
        w.ends[other].connection.handle_datagram(now, super::world::SERVER, &mut reset.clone(), &mut room);
    assert_eq!(result, Err(DropReason::Forged));
    assert_eq!(w.ends[other].connection.state(), State::Connected);
}

#[test]
fn a_forger_learns_no_reset_token_of_a_handshake_under_way() {
    let mut w = World::new(Config::default());
    let end = w.native_client(Join::default());
    w.ends[end].mute = true;
    let hello = w.take_datagrams(end).pop().unwrap();
    let from = w.ends[end].address;
    w.inject(from, &hello);
    w.run(ms(20));
    // The welcome came, the client's first packet is lost; somebody who saw its connection id sends garbage under it.
    let id = w.ends[end].connection.as_native().unwrap().connection_id();
    assert_ne!(id, 0);
    let mut forged = vec![0x80];
    forged.extend_from_slice(&id.to_be_bytes());
    forged.resize(60, 7);
    w.sent.clear();
    w.inject(address(9), &forged);
    w.run(ms(5));
    assert!(w.sent.iter().all(|(to, _)| *to != address(9)), "{:?}", w.sent);
    assert_eq!(drops(&w, DropReason::Forged), 1);
}

#[test]
fn a_full_server_says_so() {
    let mut w = World::new(Config { max_peers: 1, ..Config::default() });
    let first = w.native_client(Join::default());
    w.joined(first);
    let second = w.native_client(Join::default());
    w.run(ms(300));
    let closing = |e: &EndEvent| if let EndEvent::Closed(c) = e { Some(c.farewell.clone()) } else { None };
    let farewell = w.ends[second].events.iter().find_map(closing).unwrap();
    assert_eq!((farewell.kind, farewell.code), (FarewellKind::Refused, refusal::FULL));
    assert_eq!(farewell.text, "the server is full");
}

#[test]
fn a_client_waits_for_the_host_longer_than_for_an_answer() {
    let mut w = World::asking(Config::default());
    let end = w.native_client(Join::default());
    w.run(ms(4000));
    assert_eq!(w.ends[end].connection.state(), State::Connecting);
    let asked = w.seen.iter().find_map(|e| if let Event::Authorise(p, _) = e { Some(*p) } else { None });
    w.core.accept_peer(w.now, asked.unwrap()).unwrap();
    w.run(ms(100));
    assert_eq!(w.ends[end].connection.state(), State::Connected);
}

#[test]
fn slots_are_bounded_however_many_handshakes_are_proven_at_once() {
    let mut w = World::new(Config { max_peers: 1, ..Config::default() });
    let most = w.core.max_slots();
    // All are welcome before one of them is a peer.
    let ends: Vec<usize> = (0..2 * most).map(|_| w.native_client(Join::default())).collect();
    let mut crowd = 0;
    for _ in 0..200 {
        w.run(ms(5));
        crowd = crowd.max(w.core.peers.len());
    }
    assert!(crowd <= most, "{crowd} slots of {most}");
    assert!(drops(&w, DropReason::Full) > 0, "the test would not notice");
    let connected = ends.iter().filter(|e| w.ends[**e].connection.state() == State::Connected);
    assert_eq!(connected.count(), 1);
}

#[test]
fn a_client_knows_the_servers_clock_and_tick() {
    let mut w = World::new(Config { tick_rate_hz: 20.0, ..Config::default() });
    w.run(ms(777));
    let end = w.native_client(Join::default());
    w.joined(end);
    let mut tick = 0;
    for _ in 0..100 {
        tick += 1;
        let now = w.now;
        w.core.note_tick(now, tick);
        w.run(ms(50));
    }
    let clock = *w.ends[end].connection.as_native().unwrap().server_clock();
    let (told, real) = (clock.now(w.now).unwrap(), w.now.since(w.core.started));
    assert!(told.abs_diff(real) <= ms(2), "{told:?}, it is {real:?}");
    // One tick began 50 ms ago, and the next begins now.
    let estimate = clock.tick(w.now).unwrap();
    assert!((estimate - (tick + 1) as f64).abs() < 0.1, "{estimate}, it is {}", tick + 1);
    let old = w.client();
    w.joined(old);
    assert!(w.ends[old].connection.as_native().is_none(), "mpgameserver's wire does not tell");
}
