//! A server on its own thread or polled, and our client, over loopback.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use gamekeeper::client::driver::{Client, CloseReason, Event as ClientEvent, Mode, Outcome as Sent};
use gamekeeper::keys::RootKey;
use gamekeeper::server::block_list::BlockList;
use gamekeeper::server::config::{Config, Io};
use gamekeeper::server::events::*;
use gamekeeper::{ErrorKind, Server};
use support::play::{connect, drive, expect, public, Recorder, Seen, PATIENCE};

fn connected(seen: Seen) -> Option<PeerId> {
    if let Seen::Connect(peer, _) = seen {
        Some(peer)
    } else {
        None
    }
}

#[test]
fn a_client_joins_talks_and_leaves() {
    let (handler, seen) = Recorder::new(true);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    assert!(matches!(seen.recv_timeout(PATIENCE), Ok(Seen::Starting)), "the first event");
    let mut client = connect(&server);
    client.send(b"hello", Mode::Guaranteed, 7).expect("queued");
    let (mut sent, mut echoed) = (false, false);
    drive(&mut [&mut client], |_, event| {
        sent |= event == Some(ClientEvent::Sent { tag: 7, outcome: Sent::Delivered });
        echoed |= matches!(&event, Some(ClientEvent::Message { data, .. }) if data == b"hello");
        sent && echoed
    });
    let (peer, info) = expect(&seen, |s| if let Seen::Connect(p, i) = s { Some((p, i)) } else { None });
    assert_eq!(info.token, client.token());
    assert_eq!(server.peers(), [peer]);
    let known = server.peer_info(peer).expect("a live peer");
    assert_eq!((known.status, known.token), (Status::Connected, client.token()));
    client.close(false);
    client.update().expect("the client's socket works");
    let end = expect(&seen, |s| if let Seen::Disconnect(p, i) = s { Some((p, i)) } else { None });
    assert_eq!((end.0, end.1.reason), (peer, DisconnectReason::Remote));
    server.stop().expect("stopped");
    server.stop().expect("a second stop is harmless");
    assert!(matches!(seen.try_iter().last(), Some(Seen::Shutdown)), "the last event");
    assert_eq!(server.peer_info(peer).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    assert_eq!(
        server.send(peer, b"x", SendOptions::default()).err().map(|e| e.kind()),
        Some(ErrorKind::State)
    );
    std::net::UdpSocket::bind(server.local_address()).expect("the port is free, although the handle lives");
}

#[test]
fn the_pinned_key_decides() {
    let (handler, _seen) = Recorder::new(false);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let wrong = RootKey::generate().expect("a key").public_key();
    let config = Config { handshake_timeout: Duration::from_millis(600), ..Config::default() };
    let mut client = Client::connect(server.local_address(), Some(wrong), &config).expect("a client");
    drive(&mut [&mut client], |_, event| {
        assert_ne!(event, Some(ClientEvent::Connected));
        matches!(event, Some(ClientEvent::Closed(c)) if c.reason == CloseReason::Timeout)
    });
    let mut trusting = Client::connect(server.local_address(), None, &Config::default()).expect("a client");
    drive(&mut [&mut trusting], |_, event| event == Some(ClientEvent::Connected));
    server.stop().expect("stopped");
}

#[test]
fn long_messages_both_ways_in_every_mode() {
    let (handler, seen) = Recorder::new(false);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    let peer = expect(&seen, connected);
    let outcomes = Arc::new(AtomicUsize::new(0));
    for (retry, mode) in [
        (RetryMode::None, Mode::Once),
        (RetryMode::BestEffort, Mode::BestEffort),
        (RetryMode::OnTimeout, Mode::Guaranteed),
    ] {
        for len in [0usize, 1, 1432, 1433, 1434, 1435, 2451, 100_000] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            let outcomes = outcomes.clone();
            let on_sent: SentCallback = Box::new(move |_, _, outcome| {
                assert_eq!(outcome, Outcome::Delivered);
                outcomes.fetch_add(1, Ordering::SeqCst);
            });
            server
                .send(
                    peer,
                    &data,
                    SendOptions { retry, on_sent: Some(on_sent), tag: None, ..SendOptions::default() },
                )
                .expect("queued");
            client.send(&data, mode, 0).expect("queued");
            drive(
                &mut [&mut client],
                |_, e| matches!(e, Some(ClientEvent::Message { data: d, .. }) if d == data),
            );
            let mut there = false;
            drive(&mut [&mut client], |_, _| {
                there |= seen.try_iter().any(|s| matches!(s, Seen::Message(_, _, d) if d == data));
                there
            });
        }
    }
    drive(&mut [&mut client], |_, _| outcomes.load(Ordering::SeqCst) == 24);
    server.stop().expect("stopped");
}

#[test]
fn a_polled_server_is_pulled_from_its_host_s_loop() {
    let (handler, _) = Recorder::new(false);
    struct Nothing;
    impl Handler for Nothing {
        fn takes(&self) -> Takes {
            Takes::default()
        }
    }
    drop(handler);
    let config = Config { max_queued_events: 1000, ..Config::default() };
    let server = Server::open(config, Box::new(Nothing), "127.0.0.1:0").expect("a server");
    let mut client =
        Client::connect(server.local_address(), public(&server), &Config::default()).expect("a client");
    let mut order = Vec::new();
    let mut peer = None;
    for _ in 0..30_000 {
        server.poll(Some(Duration::from_millis(1))).expect("polled");
        client.update().expect("the client's socket works");
        for event in server.next_events(2).expect("pulled") {
            match event {
                Event::Connect(p, _) => {
                    peer = Some(p);
                    let options = SendOptions {
                        retry: RetryMode::OnTimeout,
                        tag: Some(99),
                        on_sent: None,
                        ..SendOptions::default()
                    };
                    server.send(p, b"welcome", options).expect("queued");
                }
                Event::Message(p, m) => {
                    assert_eq!((Some(p), &m.data[..]), (peer, &b"thanks"[..]));
                    order.push("message");
                    client.close(false);
                }
                Event::Sent(_, tag, outcome) => {
                    assert_eq!((tag, outcome), (99, Outcome::Delivered));
                    order.push("sent");
                }
                Event::Disconnect(p, info) => {
                    assert_eq!(info.reason, DisconnectReason::Remote);
                    assert!(server.peer_info(p).is_ok(), "until the next batch is taken");
                    order.push("disconnect");
                }
                Event::Starting => order.push("starting"),
                _ => {}
            }
        }
        while let Some(event) = client.poll_event() {
            if matches!(&event, ClientEvent::Message { data, .. } if data == b"welcome") {
                client.send(b"thanks", Mode::Once, 0).expect("queued");
            }
        }
        if order.last() == Some(&"disconnect") {
            break;
        }
    }
    order.sort_unstable();
    assert_eq!(order, ["disconnect", "message", "sent", "starting"]);
    server.next_events(1000).expect("pulled");
    assert_eq!(server.peer_info(peer.expect("it connected")).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    server.stop().expect("stopped");
    let last = server.next_events(1000).expect("what is left can be taken after the stop");
    assert!(matches!(last.last(), Some(Event::Shutdown)), "{last:?}");
    assert_eq!(server.poll(None).err().map(|e| e.kind()), Some(ErrorKind::State));
}

#[test]
fn blocked_addresses_are_dropped_and_disconnected() {
    let (handler, seen) = Recorder::new(false);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    let peer = expect(&seen, connected);
    server.set_block_list(BlockList::parse(["127.0.0.0/8"]).expect("a list")).expect("set");
    let end = expect(&seen, |s| if let Seen::Disconnect(p, i) = s { Some((p, i)) } else { None });
    assert_eq!((end.0, end.1.reason), (peer, DisconnectReason::Blocked));
    drive(&mut [&mut client], |_, e| matches!(e, Some(ClientEvent::Closed(_))));
    let config = Config { handshake_timeout: Duration::from_millis(400), ..Config::default() };
    let mut late = Client::connect(server.local_address(), None, &config).expect("a client");
    drive(
        &mut [&mut late],
        |_, e| matches!(e, Some(ClientEvent::Closed(c)) if c.reason == CloseReason::Timeout),
    );
    assert!(server.stats().drops[0] >= 1, "counted");
    server.set_block_list(BlockList::default()).expect("set");
    let _again = connect(&server);
    server.stop().expect("stopped");
}

#[test]
fn a_stop_is_a_clean_disconnect_at_the_clients() {
    let (handler, seen) = Recorder::new(false);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    let peer = expect(&seen, connected);
    let told = Arc::new(AtomicUsize::new(0));
    let counted = told.clone();
    let on_sent: SentCallback = Box::new(move |_, _, outcome| {
        assert_eq!(outcome, Outcome::Cancelled);
        counted.fetch_add(1, Ordering::SeqCst);
    });
    // Nobody reads, so nothing is acknowledged.
    let options = SendOptions {
        retry: RetryMode::OnTimeout,
        on_sent: Some(on_sent),
        tag: None,
        ..SendOptions::default()
    };
    server.send(peer, &[1; 50_000], options).expect("queued");
    server.stop().expect("stopped");
    assert_eq!(told.load(Ordering::SeqCst), 1);
    let rest: Vec<Seen> = seen.try_iter().collect();
    let ends =
        rest.iter().filter(|s| matches!(s, Seen::Disconnect(_, i) if i.reason == DisconnectReason::Shutdown));
    assert_eq!(ends.count(), 1);
    assert!(matches!(rest.last(), Some(Seen::Shutdown)));
    drive(
        &mut [&mut client],
        |_, e| matches!(e, Some(ClientEvent::Closed(c)) if c.reason == CloseReason::Remote),
    );
}

#[test]
fn a_thousand_clients_connect_at_once() {
    let (handler, seen) = Recorder::new(true);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let key = public(&server);
    let mut clients: Vec<Client> = (0..1000)
        .map(|_| Client::connect(server.local_address(), key, &Config::default()).expect("a client"))
        .collect();
    for client in &mut clients {
        client.update().expect("the client's socket works");
    }
    let mut up = 0;
    let mut refs: Vec<&mut Client> = clients.iter_mut().collect();
    drive(&mut refs, |_, event| {
        assert!(!matches!(event, Some(ClientEvent::Closed(_))), "nobody is refused");
        up += usize::from(event == Some(ClientEvent::Connected));
        up == 1000
    });
    let mut met = 0;
    drive(&mut refs, |_, _| {
        met += seen.try_iter().filter(|s| matches!(s, Seen::Connect(..))).count();
        met == 1000
    });
    assert_eq!(server.stats().peers, 1000);
    server.stop().expect("stopped");
}

#[test]
fn both_ways_of_io_carry_the_same_and_nobody_waits_for_a_loop_that_does_not_sleep() {
    let ways = [
        (Io::Batched, Duration::ZERO),
        (Io::Portable, Duration::ZERO),
        (Io::Batched, Duration::from_secs(1)),
    ];
    for (io, busy_poll) in ways {
        let (handler, seen) = Recorder::new(true);
        let config = Config { io, busy_poll, ..Config::default() };
        let server = Server::start(config, handler, "127.0.0.1:0").expect("a server");
        let mut client = connect(&server);
        let peer = expect(&seen, connected);
        // In fragments, so that there are trains of datagrams each way; and one from another thread.
        let long: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        client.send(&long, Mode::Guaranteed, 1).expect("queued");
        server.send(peer, b"from another thread", SendOptions::default()).expect("queued");
        let (mut echoed, mut pushed) = (false, false);
        drive(&mut [&mut client], |_, event| {
            if let Some(ClientEvent::Message { data, .. }) = event {
                echoed |= data == long;
                pushed |= data == b"from another thread";
            }
            echoed && pushed
        });
        server.stop().expect("stopped");
    }
    let late = Config { busy_poll: Duration::from_millis(1001), ..Config::default() };
    assert_eq!(late.validate().err().map(|e| e.kind()), Some(ErrorKind::Argument));
}
