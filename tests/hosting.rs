//! What a host may do to its server, and from where: stopping, polling, re-entering, panicking, addresses.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gamekeeper::client::driver::{Client, CloseReason, Event as ClientEvent, Mode};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::{ErrorKind, Server};
use support::play::{connect, drive, expect, public, Recorder, Script, Seen, PATIENCE};

fn kind<T>(result: gamekeeper::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// A name for what was seen, without its contents.
fn name(seen: &Seen) -> &'static str {
    match seen {
        Seen::Starting => "starting",
        Seen::Connect(..) => "connect",
        Seen::Disconnect(..) => "disconnect",
        Seen::Message(..) => "message",
        Seen::Update(..) => "update",
        Seen::Writable(..) => "writable",
        Seen::Reconcile => "reconcile",
        Seen::Shutdown => "shutdown",
        Seen::Log(..) => "log",
    }
}

const CALLBACKS: [&str; 10] = [
    "starting",
    "connect",
    "disconnect",
    "message",
    "update",
    "writable",
    "reconcile",
    "log",
    "sent",
    "shutdown",
];

/// What every call that must not be made inside a callback answers there.
fn try_forbidden(server: &Server) {
    assert_eq!(kind(server.poll(Some(Duration::ZERO))), Some(ErrorKind::Reentrant));
    assert_eq!(kind(server.next_events(1)), Some(ErrorKind::Reentrant));
    assert_eq!(kind(server.wait(Some(Duration::ZERO))), Some(ErrorKind::Reentrant));
}

/// A server on which every kind of callback happens once a client connects, sends and leaves; the first one
/// of the kind `at` stops it.
fn stops_at(at: &'static str, polled: bool) -> (Server, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel();
    let fill = move |server: &Server, peer| {
        let tell = tell.clone();
        let on_sent: SentCallback = Box::new(move |server, _, _| {
            let _nobody = tell.send("sent");
            if at == "sent" {
                try_forbidden(server);
                server.stop().expect("a stop inside a callback");
            }
        });
        let options = SendOptions { retry: RetryMode::OnTimeout, on_sent: Some(on_sent), tag: None };
        server.send(peer, b"first", options).expect("queued");
        while server.send(peer, b"fill", SendOptions::default()).is_ok() {}
    };
    let (seen, all) = mpsc::channel();
    let handler = Script(move |server: &Server, event: Seen| {
        let _nobody = seen.send(name(&event));
        if let Seen::Connect(peer, _) = &event {
            fill(server, *peer);
        }
        if name(&event) == at {
            try_forbidden(server);
            server.stop().expect("a stop inside a callback");
        }
    });
    let config =
        Config { reconcile_interval: Duration::from_millis(10), max_queued_messages: 4, ..Config::default() };
    let open = if polled { Server::open } else { Server::start };
    let server = open(config, Box::new(handler), "127.0.0.1:0").expect("a server");
    drop(told);
    (server, all)
}

#[test]
fn stop_from_inside_each_kind_of_callback() {
    for polled in [false, true] {
        for at in CALLBACKS {
            let (server, seen) = stops_at(at, polled);
            let mut client = Client::connect(server.local_address(), public(&server), &Config::default())
                .expect("a client");
            let end = Instant::now() + PATIENCE;
            let mut said = false;
            while !server.is_stopped() {
                if polled {
                    let polled = kind(server.poll(Some(Duration::from_millis(1))));
                    assert!([None, Some(ErrorKind::State)].contains(&polled), "{polled:?}");
                }
                client.update().expect("the client's socket works");
                while let Some(event) = client.poll_event() {
                    match event {
                        ClientEvent::Connected => client.send(b"hello", Mode::Guaranteed, 0).expect("queued"),
                        ClientEvent::Message { .. } if !said => {
                            // It leaves once its message has arrived and the server's too.
                            client.close(true);
                            said = true;
                        }
                        _ => {}
                    }
                }
                if at == "shutdown" && said {
                    server.stop().expect("stopped");
                }
                assert!(Instant::now() < end, "{at} did not come");
                std::thread::sleep(Duration::from_millis(1));
            }
            server.stop().expect("stopped already");
            let seen: Vec<_> = seen.try_iter().collect();
            assert_eq!(seen.first(), Some(&"starting"), "{at}: {seen:?}");
            assert_eq!(seen.last(), Some(&"shutdown"), "{at}: {seen:?}");
            assert_eq!(seen.iter().filter(|s| **s == "shutdown").count(), 1, "{at}: {seen:?}");
            assert_eq!(kind(server.poll(Some(Duration::ZERO))), Some(ErrorKind::State));
        }
    }
}

#[test]
fn stop_from_many_threads() {
    for polled in [false, true] {
        let (handler, seen) = Recorder::new(false);
        let open = if polled { Server::open } else { Server::start };
        let server = open(Config::default(), handler, "127.0.0.1:0").expect("a server");
        let poller = polled.then(|| {
            let server = server.clone();
            std::thread::spawn(move || while server.poll(None).is_ok() {})
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let server = server.clone();
                std::thread::spawn(move || kind(server.stop()))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), None);
        }
        if let Some(poller) = poller {
            poller.join().expect("no panic");
        }
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen.iter().filter(|s| matches!(s, Seen::Shutdown)).count(), 1);
        assert!(matches!(seen.last(), Some(Seen::Shutdown)));
    }
}

#[test]
fn one_thread_polls_at_a_time() {
    let (handler, _seen) = Recorder::new(false);
    let server = Server::open(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let other = server.clone();
    let poller = std::thread::spawn(move || loop {
        match other.poll(None).err().map(|e| e.kind()) {
            None | Some(ErrorKind::Busy) => {}
            Some(end) => return end,
        }
    });
    let end = Instant::now() + PATIENCE;
    while kind(server.poll(Some(Duration::ZERO))) != Some(ErrorKind::Busy) {
        assert!(Instant::now() < end, "the two never met");
    }
    server.stop().expect("stopped");
    assert_eq!(poller.join().expect("no panic"), ErrorKind::State);
    let (handler, _seen) = Recorder::new(false);
    let own = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    assert_eq!(kind(own.poll(Some(Duration::ZERO))), Some(ErrorKind::State));
    assert_eq!(kind(own.next_events(1)), Some(ErrorKind::State));
    assert_eq!(kind(own.wait(Some(Duration::from_millis(1)))), Some(ErrorKind::Timeout));
    own.stop().expect("stopped");
}

#[test]
fn a_wake_ends_a_poll_that_waits() {
    struct Nothing;
    impl Handler for Nothing {
        fn takes(&self) -> Takes {
            Takes::default()
        }
    }
    let config = Config { tick_rate_hz: 1.0, ..Config::default() };
    let server = Server::open(config, Box::new(Nothing), "127.0.0.1:0").expect("a server");
    let other = server.clone();
    let (done, woken) = mpsc::channel();
    let poller = std::thread::spawn(move || {
        // Ticks, of which there is one a second, end it as well: hence more often than the test waits.
        for _ in 0..100 {
            other.poll(None).expect("polled");
        }
        done.send(()).expect("the test waits for it");
    });
    let end = Instant::now() + PATIENCE;
    while woken.try_recv().is_err() {
        server.wake();
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    poller.join().expect("no panic");
    server.stop().expect("stopped");
}

#[test]
fn a_peer_that_is_disconnected_while_it_connects() {
    let (tell, told) = mpsc::channel();
    let handler = Script(move |server: &Server, event: Seen| match event {
        Seen::Connect(peer, _) => {
            let info = DisconnectInfo::new(DisconnectReason::Host(1001), "not you");
            server.disconnect(peer, info.clone(), false).expect("a live peer");
            assert_eq!(kind(server.disconnect(peer, info, false)), Some(ErrorKind::Stale));
            assert_eq!(kind(server.send(peer, b"x", SendOptions::default())), Some(ErrorKind::Stale));
        }
        Seen::Disconnect(peer, info) => {
            assert_eq!(kind(server.send(peer, b"x", SendOptions::default())), Some(ErrorKind::Stale));
            assert_eq!(server.peer_info(peer).expect("it answers").status, Status::Disconnected);
            server.set_user_data(peer, 5).expect("it answers");
            tell.send((peer, info.reason)).expect("the test waits");
        }
        _ => {}
    });
    let server = Server::start(Config::default(), Box::new(handler), "127.0.0.1:0").expect("a server");
    let mut client =
        Client::connect(server.local_address(), public(&server), &Config::default()).expect("a client");
    drive(
        &mut [&mut client],
        |_, e| matches!(e, Some(ClientEvent::Closed(c)) if c.reason == CloseReason::Remote),
    );
    let (peer, reason) = told.recv_timeout(PATIENCE).expect("a disconnect");
    assert_eq!(reason, DisconnectReason::Host(1001));
    // The callback may just be returning.
    let end = Instant::now() + PATIENCE;
    while server.peer_info(peer).is_ok() {
        assert!(Instant::now() < end, "it is never stale");
        std::thread::yield_now();
    }
    assert_eq!(kind(server.peer_info(peer)), Some(ErrorKind::Stale));
    server.stop().expect("stopped");
}

#[test]
fn a_handler_that_panics_ends_its_server_and_nothing_else() {
    let (other, _seen) = Recorder::new(true);
    let other = Server::start(Config::default(), other, "127.0.0.1:0").expect("a server");
    let mut bystander = connect(&other);
    for (polled, in_completion) in [(false, false), (true, false), (false, true), (true, true)] {
        let handler = Script(move |server: &Server, event: Seen| match event {
            Seen::Message(..) if !in_completion => std::panic::panic_any("the handler's own"),
            Seen::Message(peer, ..) => {
                let on_sent: SentCallback = Box::new(|_, _, _| std::panic::panic_any("a completion's own"));
                let options = SendOptions { on_sent: Some(on_sent), ..SendOptions::default() };
                server.send(peer, b"x", options).expect("queued");
            }
            _ => {}
        });
        let open = if polled { Server::open } else { Server::start };
        let server = open(Config::default(), Box::new(handler), "127.0.0.1:0").expect("a server");
        let mut client =
            Client::connect(server.local_address(), public(&server), &Config::default()).expect("a client");
        let end = Instant::now() + PATIENCE;
        while !server.is_stopped() {
            if polled && server.poll(Some(Duration::from_millis(1))).is_err() {
                break;
            }
            client.update().expect("the client's socket works");
            while let Some(event) = client.poll_event() {
                if event == ClientEvent::Connected {
                    client.send(b"boom", Mode::Guaranteed, 0).expect("queued");
                }
            }
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(1));
        }
        let peer = PeerId::from_bits(1);
        assert_eq!(kind(server.send(peer, b"x", SendOptions::default())), Some(ErrorKind::Panic));
        assert_eq!(kind(server.broadcast(None, b"x", SendOptions::default())), Some(ErrorKind::Panic));
        assert_eq!(kind(server.poll(Some(Duration::ZERO))), Some(ErrorKind::Panic));
        assert_eq!(kind(server.stop()), Some(ErrorKind::Panic));
        assert_eq!(kind(server.stop()), Some(ErrorKind::Panic), "again");
        assert!(server.is_stopped() && server.wait(None).is_ok());
    }
    bystander.send(b"alive", Mode::Guaranteed, 0).expect("queued");
    drive(
        &mut [&mut bystander],
        |_, e| matches!(e, Some(ClientEvent::Message { data, .. }) if data == b"alive"),
    );
    other.stop().expect("stopped");
}

#[test]
fn many_servers_in_one_process() {
    let servers: Vec<_> = (0..20)
        .map(|_| {
            let (handler, seen) = Recorder::new(true);
            (Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server"), seen)
        })
        .collect();
    let mut clients: Vec<_> = servers.iter().map(|(server, _)| connect(server)).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&[i as u8], Mode::Guaranteed, 0).expect("queued");
    }
    let mut echoes = [0; 20];
    drive(&mut clients.iter_mut().collect::<Vec<_>>(), |i, event| {
        if let Some(ClientEvent::Message { data, .. }) = event {
            assert_eq!(data, [i as u8]);
            echoes[i] += 1;
        }
        echoes == [1; 20]
    });
    let ids: HashSet<PeerId> = servers.iter().flat_map(|(server, _)| server.peers()).collect();
    assert_eq!(ids.len(), 20);
    for (server, _) in &servers {
        let known = ids.iter().filter(|id| server.peer_info(**id).is_ok()).count();
        assert_eq!(known, 1, "a peer of another server is stale");
    }
    for (server, _) in &servers {
        server.stop().expect("stopped");
    }
}

#[test]
fn a_callback_may_run_another_server_which_knows_both() {
    let outer: Arc<Mutex<Option<Server>>> = Arc::default();
    let met = Arc::new(AtomicUsize::new(0));
    let (known, count) = (outer.clone(), met.clone());
    let inner = Script(move |inner: &Server, event: Seen| {
        if let Seen::Update(_) = event {
            let outer = known.lock().expect("no panic").clone().expect("it is there");
            try_forbidden(inner);
            try_forbidden(&outer);
            outer.stop().expect("it takes effect later");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let inner = Server::open(Config::default(), Box::new(inner), "127.0.0.1:0").expect("a server");
    let polled = inner.clone();
    let runs = Script(move |outer: &Server, event: Seen| {
        if let Seen::Update(_) = event {
            polled.poll(Some(Duration::from_secs(1))).expect("another server");
            try_forbidden(outer);
            assert_ne!(kind(polled.wait(Some(Duration::ZERO))), Some(ErrorKind::Reentrant));
        }
    });
    let server = Server::open(Config::default(), Box::new(runs), "127.0.0.1:0").expect("a server");
    *outer.lock().expect("no panic") = Some(server.clone());
    let end = Instant::now() + PATIENCE;
    while server.poll(None).is_ok() {
        assert!(Instant::now() < end, "it was told to stop");
    }
    assert!(server.is_stopped() && met.load(Ordering::SeqCst) > 0);
    inner.stop().expect("stopped");
    // Else the two keep each other.
    outer.lock().expect("no panic").take();
}

#[test]
fn callbacks_come_from_one_thread() {
    let threads = Arc::new(Mutex::new(HashSet::new()));
    let seen = threads.clone();
    let (tell, told) = mpsc::channel();
    let handler = Script(move |_: &Server, event: Seen| {
        seen.lock().expect("no panic").insert(std::thread::current().id());
        let _nobody = tell.send(event);
    });
    let server = Server::start(Config::default(), Box::new(handler), "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    client.send(b"x", Mode::Guaranteed, 0).expect("queued");
    drive(&mut [&mut client], |_, _| told.try_iter().any(|s| matches!(s, Seen::Message(..))));
    server.stop().expect("stopped");
    let threads = threads.lock().expect("no panic");
    assert_eq!(threads.len(), 1);
    assert!(!threads.contains(&std::thread::current().id()));
}

fn echo_over(server: &Server, target: std::net::SocketAddr) {
    let mut client = Client::connect(target, public(server), &Config::default()).expect("a client");
    drive(&mut [&mut client], |_, e| e == Some(ClientEvent::Connected));
    client.send(b"over", Mode::Guaranteed, 0).expect("queued");
    drive(&mut [&mut client], |_, e| matches!(e, Some(ClientEvent::Message { data, .. }) if data == b"over"));
}

#[test]
fn addresses_of_both_families() {
    let start = |address: &str| {
        let (handler, seen) = Recorder::new(true);
        Server::start(Config::default(), handler, address).map(|server| (server, seen))
    };
    let v4 = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let v6 = |port| std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    for (address, over_v4, over_v6) in [
        ("127.0.0.1:0", true, false),
        ("[::1]:0", false, true),
        ("[::]:0", true, true),
        (":0", true, has_ipv6),
    ] {
        if address.contains("::") && !has_ipv6 {
            eprintln!("NOT TESTED, this machine has no IPv6: {address}");
            continue;
        }
        let (server, seen) = start(address).expect("a server");
        let port = server.local_address().port();
        assert_ne!(port, 0);
        if over_v4 {
            echo_over(&server, v4(port));
            let info = expect(&seen, |s| if let Seen::Connect(_, info) = s { Some(info) } else { None });
            assert!(info.address.is_ipv4(), "{}", info.address);
        }
        if over_v6 {
            echo_over(&server, v6(port));
            let info = expect(&seen, |s| if let Seen::Connect(_, info) = s { Some(info) } else { None });
            assert!(info.address.is_ipv6(), "{}", info.address);
        }
        let again = start(&format!("127.0.0.1:{port}"));
        if over_v4 {
            assert_eq!(again.err().map(|e| e.kind()), Some(ErrorKind::AddressInUse));
        }
        server.stop().expect("stopped");
    }
    for bad in ["", "nowhere", "127.0.0.1", "127.0.0.1:99999", "192.0.2.77:0"] {
        assert_eq!(start(bad).err().map(|e| e.kind()), Some(ErrorKind::Address), "{bad}");
    }
}

#[test]
fn a_host_that_polls_late_loses_nobody_who_spoke() {
    let (handler, seen) = Recorder::new(false);
    let config = Config { connection_timeout: Duration::from_millis(600), ..Config::default() };
    let server = Server::open(config.clone(), handler, "127.0.0.1:0").expect("a server");
    let patient = Config { connection_timeout: Duration::from_secs(3600), ..config };
    let mut clients: Vec<_> = (0..10)
        .map(|_| Client::connect(server.local_address(), public(&server), &patient).expect("a client"))
        .collect();
    // All on this one thread: however slow the machine, clients speak between any two polls.
    let end = Instant::now() + PATIENCE;
    while server.peers().len() < 10 {
        clients.iter_mut().for_each(|c| c.update().expect("the client's socket works"));
        server.poll(Some(Duration::ZERO)).expect("polled");
        assert!(Instant::now() < end);
    }
    for _ in 0..3 {
        let late = Instant::now() + Duration::from_millis(900);
        while Instant::now() < late {
            clients.iter_mut().for_each(|c| c.update().expect("the client's socket works"));
            std::thread::sleep(Duration::from_millis(20));
        }
        for _ in 0..20 {
            server.poll(Some(Duration::ZERO)).expect("polled");
        }
    }
    assert_eq!(server.peers().len(), 10);
    // And those who do not speak are found out all the same.
    std::thread::sleep(Duration::from_millis(900));
    while !server.peers().is_empty() {
        server.poll(Some(Duration::ZERO)).expect("polled");
        assert!(Instant::now() < end);
    }
    let reasons = seen.try_iter().filter_map(|s| match s {
        Seen::Disconnect(_, info) => Some(info.reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [DisconnectReason::Timeout; 10]);
    server.stop().expect("stopped");
}

#[cfg(unix)]
#[test]
fn a_host_may_wait_on_the_descriptor_and_the_timeout() {
    let (handler, _seen) = Recorder::new(true);
    // Nothing but arriving datagrams wakes the host in time for this test to end.
    let rare = Config {
        tick_rate_hz: 1.0,
        keep_alive_interval: Duration::from_secs(1),
        send_interval: Duration::ZERO,
        ..Config::default()
    };
    let server = Server::open(rare.clone(), handler, "127.0.0.1:0").expect("a server");
    let (address, key) = (server.local_address(), public(&server));
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address, key, &rare).expect("a client");
        drive(&mut [&mut client], |_, e| e == Some(ClientEvent::Connected));
        for i in 0..200u8 {
            client.send(&[i], Mode::Guaranteed, 0).expect("queued");
            drive(
                &mut [&mut client],
                |_, e| matches!(e, Some(ClientEvent::Message { data, .. }) if data == [i]),
            );
        }
    });
    let fd = server.descriptor().expect("this system has one");
    while !client.is_finished() {
        let timeout = server.next_timeout().expect("there is always a tick").min(Duration::from_secs(1));
        let mut wait = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // Rounded up, as poll's milliseconds are few.
        let milliseconds = timeout.as_micros().div_ceil(1000) as libc::c_int;
        // SAFETY: one pollfd, alive for the call.
        assert!(unsafe { libc::poll(&raw mut wait, 1, milliseconds) } >= 0);
        server.poll(Some(Duration::ZERO)).expect("polled");
    }
    client.join().expect("all echoes came");
    server.stop().expect("stopped");
}

#[test]
fn a_hosts_own_time_between_two_polls_is_idle() {
    let (handler, _seen) = Recorder::new(false);
    let server = Server::open(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let pause = Duration::from_millis(200);
    for _ in 0..2 {
        server.poll(Some(Duration::ZERO)).expect("polled");
        std::thread::sleep(pause);
    }
    server.poll(Some(Duration::ZERO)).expect("polled");
    let idle: f64 = server.profile_series().iter().map(|(profile, _)| profile.idle).sum();
    assert!(idle >= (2 * pause).as_secs_f64(), "{idle}");
    server.stop().expect("stopped");
}

#[test]
fn a_long_message_callback_finds_nobody_silent() {
    let config = Config { connection_timeout: Duration::from_secs(2), ..Config::default() };
    let (tell, told) = mpsc::channel();
    let handler = Script(move |_: &Server, event: Seen| match event {
        Seen::Message(..) => {
            // Longer than the connection timeout: what the client sends meanwhile waits in the socket.
            std::thread::sleep(Duration::from_secs(3));
            let _nobody = tell.send("message");
        }
        Seen::Disconnect(_, info) => {
            let _nobody = tell.send(if info.reason == DisconnectReason::Remote { "left" } else { "dropped" });
        }
        _ => {}
    });
    let server = Server::start(config, Box::new(handler), "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    client.send(b"slow", Mode::Once, 0).expect("queued");
    let mut seen = Vec::new();
    let mut after = 0;
    drive(&mut [&mut client], |_, _| {
        seen.extend(told.try_iter());
        // Some more turns: then the timers have run.
        after += usize::from(!seen.is_empty());
        after > 100
    });
    assert_eq!(seen, ["message"]);
    client.close(false);
    drive(&mut [&mut client], |_, _| {
        seen.extend(told.try_iter());
        seen.len() > 1
    });
    assert_eq!(seen, ["message", "left"]);
    server.stop().expect("stopped");
}

#[test]
fn what_a_refused_send_drops_may_call_the_server() {
    struct Asks(Server, PeerId);
    impl Drop for Asks {
        fn drop(&mut self) {
            assert_eq!(self.0.peer_info(self.1).err().map(|e| e.kind()), Some(ErrorKind::Stale));
        }
    }
    let (handler, _seen) = Recorder::new(false);
    let server = Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server");
    let nobody = PeerId::from_bits(77);
    let asks = Asks(server.clone(), nobody);
    let on_sent: SentCallback = Box::new(move |_, _, _| drop(asks));
    let options = SendOptions { on_sent: Some(on_sent), ..SendOptions::default() };
    assert_eq!(server.send(nobody, b"x", options).err().map(|e| e.kind()), Some(ErrorKind::Stale));
    server.stop().expect("stopped");
}
