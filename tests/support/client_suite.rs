//! What holds for a client on either wire; `tests/client.rs` includes it once for each.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use super::support::play::{expect as expect_seen, Recorder, Seen, PATIENCE};
use gamekeeper::client::*;
use gamekeeper::keys::{PublicKey, RootKey};
use gamekeeper::server::config::Config;
use gamekeeper::server::events as host;
use gamekeeper::{Client, ErrorKind, Server};

/// The wire that this copy of the tests is about.
fn wire() -> Wire {
    if module_path!().ends_with("native") {
        Wire::Native
    } else {
        Wire::Mpgameserver
    }
}

/// A configuration for our tests: whoever answers is believed, events are to be pulled.
fn pulling() -> ClientConfig {
    ClientConfig { max_queued_events: 10_000, ..calling() }
}

fn calling() -> ClientConfig {
    ClientConfig { wire: wire(), ..ClientConfig::new(ServerKey::Any) }
}

fn pinned(keys: KnownKeys) -> ServerKey {
    ServerKey::Pinned(keys)
}

/// The keys of a server, as far as this wire has them.
fn key_of(server: &Server) -> KnownKeys {
    let root = PublicKey::from_der(&server.public_key_der()).expect("the server's own key");
    match wire() {
        Wire::Native => KnownKeys { native: Some(server.native_public_key()), root: None },
        Wire::Mpgameserver => KnownKeys { native: None, root: Some(root) },
        Wire::Stream => unreachable!("a stream proves no key"),
    }
}

/// A server that echoes, on its own thread.
fn echoing() -> (Server, mpsc::Receiver<Seen>) {
    let (handler, seen) = Recorder::new(true);
    (Server::start(Config::default(), handler, "127.0.0.1:0").expect("a server"), seen)
}

fn address(server: &Server) -> String {
    server.local_address().to_string()
}

/// The one peer of a server, which may hear of it a little later than the client.
fn peer_of(server: &Server) -> host::PeerId {
    let end = Instant::now() + PATIENCE;
    loop {
        if let [peer] = server.peers()[..] {
            return peer;
        }
        assert!(Instant::now() < end, "no peer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An address of this machine where nobody listens.
fn closed_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Polls until an event is the wanted one; ticks, lines for the log and what is not wanted are passed over.
fn pull<T>(client: &Client, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        client.poll(Some(Duration::from_millis(5))).expect("a poll");
        // One at a time: what follows the wanted one stays for the next question.
        while let Some(event) = client.next_events(1).expect("events").pop() {
            if let Some(found) = wanted(event) {
                return found;
            }
        }
        assert!(Instant::now() < end, "what was waited for did not come");
    }
}

fn connected(event: Event) -> Option<ConnectInfo> {
    if let Event::Connected(info) = event {
        Some(info)
    } else {
        None
    }
}

fn disconnected(event: Event) -> Option<DisconnectInfo> {
    if let Event::Disconnected(info) = event {
        Some(info)
    } else {
        None
    }
}

fn message(event: Event) -> Option<Vec<u8>> {
    if let Event::Message(message) = event {
        Some(message.data)
    } else {
        None
    }
}

/// What a handler saw, for clients on their own thread.
#[derive(Debug)]
enum Told {
    Connecting(SocketAddr),
    Connected(ConnectInfo),
    Disconnected(DisconnectInfo),
    Message(Vec<u8>),
    Update,
    Writable,
    Shutdown,
}

/// Hands all it is told to a closure, which may call the client.
struct Script<F: FnMut(&Client, Told) + Send>(F);

impl<F: FnMut(&Client, Told) + Send> Handler for Script<F> {
    fn connecting(&mut self, client: &Client, address: SocketAddr) {
        (self.0)(client, Told::Connecting(address));
    }
    fn connected(&mut self, client: &Client, info: &ConnectInfo) {
        (self.0)(client, Told::Connected(info.clone()));
    }
    fn disconnected(&mut self, client: &Client, info: &DisconnectInfo) {
        (self.0)(client, Told::Disconnected(info.clone()));
    }
    fn message(&mut self, client: &Client, message: &Message) {
        (self.0)(client, Told::Message(message.data.clone()));
    }
    fn update(&mut self, client: &Client, _: f64, _: u64) {
        (self.0)(client, Told::Update);
    }
    fn writable(&mut self, client: &Client) {
        (self.0)(client, Told::Writable);
    }
    fn shutdown(&mut self, client: &Client) {
        (self.0)(client, Told::Shutdown);
    }
}

fn telling() -> (Box<dyn Handler>, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    let script = move |_: &Client, what: Told| {
        if !matches!(what, Told::Update) {
            // A test that has heard enough may have dropped its end.
            let _nobody = tell.send(what);
        }
    };
    (Box::new(Script(script)), told)
}

fn heard<T>(told: &mpsc::Receiver<Told>, mut wanted: impl FnMut(Told) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let told = told.recv_timeout(left).expect("what is waited for comes");
        if let Some(found) = wanted(told) {
            return found;
        }
    }
}

#[test]
fn a_polled_client_joins_talks_and_leaves() {
    let (server, seen) = echoing();
    let config = ClientConfig { server_key: pinned(key_of(&server)), ..pulling() };
    let client = Client::open(config, Box::new(()), &address(&server)).expect("a client");
    assert_eq!((client.status(), client.token()), (Status::Connecting, 0));
    assert_eq!(client.server_key(), KnownKeys::default(), "nothing is proved yet");
    assert!(matches!(pull(&client, Some), Event::Log(..)));
    let info = pull(&client, connected);
    assert_eq!((info.address, info.token), (server.local_address(), client.token()));
    assert_eq!(client.server_address(), Some(server.local_address()));
    assert_eq!(client.server_key(), key_of(&server));
    assert_eq!(client.status(), Status::Connected);
    let long: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    client
        .send(
            &long,
            SendOptions {
                retry: RetryMode::OnTimeout,
                on_sent: None,
                tag: Some(7),
                ..SendOptions::default()
            },
        )
        .unwrap();
    client.send_guaranteed(b"short").unwrap();
    assert!(client.queued_bytes() > 300_000 && client.queued_messages() >= 2);
    let (mut sent, mut back) = (None, Vec::new());
    pull(&client, |event| {
        match event {
            Event::Sent(7, outcome) => sent = Some(outcome),
            Event::Message(message) => back.push(message.data),
            _ => {}
        }
        (sent.is_some() && back.len() == 2).then_some(())
    });
    assert_eq!(sent, Some(Outcome::Delivered));
    assert!(back.contains(&long) && back.contains(&b"short".to_vec()));
    assert!(client.stats().messages_received == 2 && client.latency() > Duration::ZERO);
    client.disconnect().unwrap();
    client.disconnect().expect("a second one is harmless");
    assert_eq!(pull(&client, disconnected).reason, DisconnectReason::Local);
    assert_eq!(client.status(), Status::Disconnected);
    assert_eq!(client.send_guaranteed(b"x").unwrap_err().kind(), ErrorKind::State);
    let end = expect_seen(&seen, |s| if let Seen::Disconnect(_, i) = s { Some(i) } else { None });
    assert_eq!(end.reason, host::DisconnectReason::Remote);
    client.stop().unwrap();
    client.stop().expect("a second stop is harmless");
    assert!(matches!(client.next_events(10_000).unwrap().pop(), Some(Event::Shutdown)), "the last event");
    assert_eq!(client.poll(None).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(client.reconnect().unwrap_err().kind(), ErrorKind::State);
    server.stop().unwrap();
}

#[test]
fn a_client_on_its_own_thread_is_called_back_in_order() {
    let (server, _seen) = echoing();
    let (handler, told) = telling();
    let client = Client::start(calling(), handler, &address(&server)).expect("a client");
    assert!(matches!(heard(&told, Some), Told::Connecting(to) if to == server.local_address()));
    assert!(matches!(heard(&told, Some), Told::Connected(info) if info.token == client.token()));
    let outcomes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&outcomes);
    let on_sent: SentCallback = Box::new(move |_, outcome| {
        assert_eq!(outcome, Outcome::Delivered);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let options = SendOptions {
        retry: RetryMode::BestEffort,
        on_sent: Some(on_sent),
        tag: None,
        ..SendOptions::default()
    };
    client.send(b"hello", options).unwrap();
    assert!(matches!(heard(&told, Some), Told::Message(data) if data == b"hello"));
    client.disconnect_wait(PATIENCE).expect("the server hears the goodbye");
    assert_eq!(outcomes.load(Ordering::SeqCst), 1, "told before the session was over");
    assert!(matches!(heard(&told, Some), Told::Disconnected(info) if info.reason == DisconnectReason::Local));
    assert_eq!(client.poll(None).unwrap_err().kind(), ErrorKind::State);
    client.stop().unwrap();
    assert!(matches!(heard(&told, Some), Told::Shutdown));
    assert!(told.try_recv().is_err(), "nothing follows");
    server.stop().unwrap();
}

#[test]
fn the_pinned_key_decides() {
    let (server, _seen) = echoing();
    let stranger = RootKey::generate().unwrap();
    let stranger = KnownKeys { native: Some(stranger.native_public()), root: Some(stranger.public_key()) };
    let timeout = Duration::from_millis(300);
    let config = ClientConfig { server_key: pinned(stranger), handshake_timeout: timeout, ..pulling() };
    let client = Client::open(config, Box::new(()), &address(&server)).unwrap();
    let info = pull(&client, disconnected);
    // On the native wire a server without the key cannot even read the hello.
    let reason = if wire() == Wire::Native { DisconnectReason::Timeout } else { DisconnectReason::Key };
    assert_eq!(info.reason, reason, "{}", info.text);
    assert!(info.text.contains("pinned key"), "{}", info.text);
    assert!(matches!(client.status(), Status::Disconnected | Status::Dropped));
    assert_eq!(client.server_key(), KnownKeys::default());
    assert!(server.peers().is_empty());
    server.stop().unwrap();
}

#[test]
fn nobody_there_is_one_disconnect_and_never_a_hang() {
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(300);
    let config = ClientConfig { handshake_timeout: timeout, ..pulling() };
    let silent = bound.local_addr().unwrap();
    let client = Client::open(config.clone(), Box::new(()), &silent.to_string()).unwrap();
    let info = pull(&client, disconnected);
    assert_eq!(info.reason, DisconnectReason::Timeout, "{}", info.text);
    assert_eq!(client.status(), Status::Dropped);
    let closed = closed_port();
    let config = ClientConfig { handshake_timeout: Duration::from_secs(60), ..config };
    let refused = Client::open(config, Box::new(()), &closed.to_string()).unwrap();
    let info = if cfg!(target_os = "linux") { Some(pull(&refused, disconnected)) } else { None };
    assert!(
        info.is_none_or(|i| i.reason == DisconnectReason::NobodyListens && i.text.contains("nobody listens"))
    );
    // Nothing more is said of either.
    for client in [&client, &refused] {
        for _ in 0..20 {
            client.poll(Some(Duration::from_millis(5))).unwrap();
        }
        assert!(!client.next_events(1000).unwrap().into_iter().any(|e| disconnected(e).is_some()));
    }
    for nonsense in ["", "127.0.0.1", ":2021", "0.0.0.0:2021", "127.0.0.1:0", "a b:1"] {
        let error = Client::open(pulling(), Box::new(()), nonsense).err().expect(nonsense);
        assert_eq!(error.kind(), ErrorKind::Address, "{nonsense}");
    }
}

#[test]
fn a_host_name_is_looked_up_off_the_loop_and_its_addresses_are_tried_in_turn() {
    // The name has 127.0.0.1, and often ::1 before it, where nobody listens.
    let (server, _seen) = echoing();
    let name = format!("localhost:{}", server.local_address().port());
    let client = Client::open(pulling(), Box::new(()), &name).unwrap();
    assert_eq!(client.server_address(), None, "the call has not waited for the resolver");
    let info = pull(&client, connected);
    assert_eq!(info.address, server.local_address());
    client.stop().unwrap();
    // A label longer than DNS has: the resolver need not ask anybody.
    let name = format!("{}:1", "a".repeat(64));
    let client = Client::open(pulling(), Box::new(()), &name).unwrap();
    let info = pull(&client, disconnected);
    assert_eq!(info.reason, DisconnectReason::Name, "{}", info.text);
    // Leaving while the name is looked up.
    client.reconnect().unwrap();
    client.disconnect().unwrap();
    assert_eq!(pull(&client, disconnected).reason, DisconnectReason::Local);
    server.stop().unwrap();
}

#[test]
fn reconnecting_makes_a_new_session_during_one_and_after_it() {
    let (server, seen) = echoing();
    let client = Client::open(pulling(), Box::new(()), &address(&server)).unwrap();
    let first = pull(&client, connected).token;
    client.reconnect().unwrap();
    assert_eq!(pull(&client, disconnected).reason, DisconnectReason::Local);
    let second = pull(&client, connected).token;
    assert_ne!(first, second);
    client.send_guaranteed(b"still here").unwrap();
    assert_eq!(pull(&client, message), b"still here");
    let gone = expect_seen(&seen, |s| if let Seen::Disconnect(p, _) = s { Some(p) } else { None });
    let peer = peer_of(&server);
    assert_ne!(gone, peer);
    server.disconnect(peer, kick(), true).unwrap();
    // mpgameserver's wire does not say why.
    let kicked = if wire() == Wire::Native { DisconnectReason::Kicked } else { DisconnectReason::Remote };
    assert_eq!(pull(&client, disconnected).reason, kicked);
    client.reconnect().unwrap();
    pull(&client, connected);
    client.send_guaranteed(b"and again").unwrap();
    assert_eq!(pull(&client, message), b"and again");
    server.stop().unwrap();
    let stopped = if wire() == Wire::Native { DisconnectReason::Shutdown } else { DisconnectReason::Remote };
    assert_eq!(pull(&client, disconnected).reason, stopped);
}

fn kick() -> host::DisconnectInfo {
    host::DisconnectInfo::new(host::DisconnectReason::Kicked, "out")
}

#[test]
fn a_waiting_disconnect_delivers_what_is_queued() {
    let (server, seen) = echoing();
    let client = Client::open(pulling(), Box::new(()), &address(&server)).unwrap();
    pull(&client, connected);
    for n in 0..200u8 {
        client.send_guaranteed(&[n; 2000]).unwrap();
    }
    client.disconnect_wait(PATIENCE).expect("all is delivered");
    assert_eq!((client.status(), client.queued_messages()), (Status::Disconnected, 0));
    let mut messages = 0;
    expect_seen(&seen, |s| {
        messages += usize::from(matches!(s, Seen::Message(..)));
        matches!(s, Seen::Disconnect(..)).then_some(())
    });
    assert_eq!(messages, 200);
    client.disconnect_wait(PATIENCE).expect("there is nothing to wait for");
    server.stop().unwrap();
}

#[test]
fn a_waiting_disconnect_ends_in_time_where_nobody_answers() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    for own_thread in [false, true] {
        let open = if own_thread { Client::start } else { Client::open };
        let client = open(pulling(), Box::new(()), &silent.local_addr().unwrap().to_string()).unwrap();
        client.disconnect_wait(PATIENCE).expect("an attempt has nothing to deliver");
        assert_eq!(client.status(), Status::Disconnected);
        client.stop().unwrap();
    }
    let polled = Config { connection_timeout: Duration::from_secs(60), ..Config::default() };
    let (handler, _seen) = Recorder::new(false);
    let server = Server::open(polled, handler, "127.0.0.1:0").unwrap();
    let config = ClientConfig { connection_timeout: Duration::from_secs(60), ..pulling() };
    let client = Client::start(config, Box::new(()), &address(&server)).unwrap();
    let end = Instant::now() + PATIENCE;
    while client.status() != Status::Connected {
        server.poll(Some(Duration::from_millis(1))).unwrap();
        assert!(Instant::now() < end);
    }
    // From here on nobody runs the server.
    client.send_guaranteed(b"never acknowledged").unwrap();
    let error = client.disconnect_wait(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(client.status(), Status::Disconnected);
    client.stop().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_waiting_disconnect_leaves_alone_what_its_own_callback_began() {
    let (server, seen) = echoing();
    for own_thread in [false, true] {
        let (tell, told) = mpsc::channel();
        let mut sessions = 0;
        let script = Script(move |client: &Client, what| match what {
            Told::Connected(info) => tell.send(info.token).expect("the test listens"),
            Told::Disconnected(_) => {
                sessions += 1;
                if sessions == 1 {
                    client.reconnect().expect("it is not being stopped");
                }
            }
            _ => {}
        });
        let open = if own_thread { Client::start } else { Client::open };
        let client = open(calling(), Box::new(script), &address(&server)).unwrap();
        let connected = || {
            let end = Instant::now() + PATIENCE;
            loop {
                if !own_thread {
                    client.poll(Some(Duration::from_millis(5))).expect("a poll");
                }
                match told.recv_timeout(Duration::from_millis(1)) {
                    Ok(token) => return token,
                    Err(_) => assert!(Instant::now() < end, "no session"),
                }
            }
        };
        let first = connected();
        client.send_guaranteed(b"the last word").unwrap();
        // The session that ends is over long before; the other one does not end at all.
        client.disconnect_wait(Duration::from_secs(3)).expect("the server has heard the goodbye");
        expect_seen(&seen, |s| matches!(s, Seen::Message(..)).then_some(()));
        expect_seen(&seen, |s| matches!(s, Seen::Disconnect(..)).then_some(()));
        assert_ne!(connected(), first);
        assert_eq!(client.status(), Status::Connected);
        client.send_guaranteed(b"still here").unwrap();
        let end = Instant::now() + PATIENCE;
        while client.queued_messages() > 0 {
            if !own_thread {
                client.poll(Some(Duration::from_millis(5))).expect("a poll");
            }
            assert!(Instant::now() < end, "not delivered");
            std::thread::yield_now();
        }
        expect_seen(&seen, |s| matches!(s, Seen::Message(_, _, data) if data == b"still here").then_some(()));
        client.stop().unwrap();
    }
    server.stop().unwrap();
}

#[test]
fn callbacks_may_call_all_but_what_runs_the_loop() {
    let (server, _seen) = echoing();
    let (tell, told) = mpsc::channel();
    let mut sessions = 0;
    let script = Script(move |client: &Client, what| match what {
        Told::Connected(_) => {
            sessions += 1;
            let kinds = [
                client.poll(None).unwrap_err().kind(),
                client.next_events(1).unwrap_err().kind(),
                client.wait(None).unwrap_err().kind(),
                client.disconnect_wait(PATIENCE).unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::Reentrant; 4]);
            client.send_guaranteed(b"from inside").unwrap();
        }
        Told::Message(_) if sessions == 1 => client.reconnect().unwrap(),
        Told::Message(_) => {
            client.stop().unwrap();
            tell.send(client.is_stopped()).unwrap();
        }
        _ => {}
    });
    let client = Client::open(calling(), Box::new(script), &address(&server)).unwrap();
    let end = Instant::now() + PATIENCE;
    while !client.is_stopped() {
        client.poll(Some(Duration::from_millis(5))).unwrap();
        assert!(Instant::now() < end);
    }
    assert_eq!(told.try_recv(), Ok(false), "the stop waits for its callback's end");
    server.stop().unwrap();
}

#[test]
fn a_full_queue_says_so_and_when_it_has_room() {
    let (server, _seen) = echoing();
    let config = ClientConfig { max_queued_messages: 4, max_message_size: 1000, ..pulling() };
    let client = Client::open(config, Box::new(()), &address(&server)).unwrap();
    pull(&client, connected);
    // The proof of the handshake may still be queued.
    let refused = (0..5).map(|_| client.send_guaranteed(b"x")).find_map(Result::err);
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    assert_eq!(client.send_guaranteed(&[0; 1001]).unwrap_err().kind(), ErrorKind::TooLarge);
    let many = SendOptions { redundancy: 5, ..SendOptions::default() };
    assert_eq!(client.send(b"x", many).unwrap_err().kind(), ErrorKind::Argument);
    pull(&client, |event| matches!(event, Event::Writable).then_some(()));
    client.send_guaranteed(b"x").unwrap();
    client.stop().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_full_event_queue_loses_no_guaranteed_message() {
    let (server, _seen) = echoing();
    let config = ClientConfig { max_queued_events: 20, ..pulling() };
    let client = Client::open(config, Box::new(()), &address(&server)).unwrap();
    pull(&client, connected);
    let peer = peer_of(&server);
    for n in 0..200u8 {
        let options = host::SendOptions { retry: host::RetryMode::OnTimeout, ..Default::default() };
        server.send(peer, &[n], options).unwrap();
    }
    // The host pulls nothing for a while.
    for _ in 0..20 {
        client.poll(Some(Duration::from_millis(5))).unwrap();
    }
    let mut seen = [0; 200];
    pull(&client, |event| {
        if let Some(data) = message(event) {
            seen[usize::from(data[0])] += 1;
        }
        seen.iter().all(|n| *n == 1).then_some(())
    });
    server.stop().unwrap();
}

#[test]
fn ticks_come_with_and_without_a_session_and_hosts_can_wait_for_a_client() {
    let config = ClientConfig { tick_rate_hz: 200.0, ..pulling() };
    let client = Client::open(config, Box::new(()), &closed_port().to_string()).unwrap();
    assert!(client.next_timeout().is_some());
    let ticks = |client: &Client| {
        pull(client, |event| if let Event::Update { tick, .. } = event { Some(tick) } else { None })
    };
    let first = ticks(&client);
    client.disconnect().unwrap();
    assert!(ticks(&client) > first);
    if cfg!(unix) {
        assert!(client.descriptor().unwrap() >= 0);
    }
    let waiting = client.clone();
    let poller = std::thread::spawn(move || waiting.poll(Some(PATIENCE)));
    client.wake();
    poller.join().unwrap().unwrap();
}

#[test]
fn a_hundred_polled_clients_share_a_thread() {
    let (server, _seen) = echoing();
    let config = ClientConfig { socket_receive_bytes: 1 << 16, socket_send_bytes: 1 << 16, ..pulling() };
    let clients: Vec<Client> =
        (0..100).map(|_| Client::open(config.clone(), Box::new(()), &address(&server)).unwrap()).collect();
    let mut echoed = [false; 100];
    let end = Instant::now() + PATIENCE;
    while !echoed.iter().all(|e| *e) {
        for (client, echoed) in clients.iter().zip(&mut echoed) {
            client.poll(Some(Duration::ZERO)).unwrap();
            for event in client.next_events(100).unwrap() {
                match event {
                    Event::Connected(_) => client.send_guaranteed(b"me").unwrap(),
                    Event::Message(_) => *echoed = true,
                    Event::Disconnected(info) => panic!("{}", info.text),
                    _ => {}
                }
            }
        }
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.peers().len(), 100);
    server.stop().unwrap();
}

#[test]
fn a_client_that_does_not_sleep_sees_datagrams_other_threads_and_its_end() {
    let (handler, seen) = Recorder::new(true);
    let busy_poll = Duration::from_secs(1);
    let busy = Config { busy_poll, ..Config::default() };
    let server = Server::start(busy, handler, "127.0.0.1:0").expect("a server");
    // No tick ends the client's waits.
    let config = ClientConfig { busy_poll, tick_rate_hz: 1.0, ..calling() };
    let late = ClientConfig { busy_poll: Duration::from_millis(1001), ..config.clone() };
    assert_eq!(late.validate().unwrap_err().kind(), ErrorKind::Argument);
    let (handler, told) = telling();
    let client = Client::start(config.clone(), handler, &address(&server)).unwrap();
    heard(&told, |told| matches!(told, Told::Connected(_)).then_some(()));
    let peer = peer_of(&server);
    let message = |told| if let Told::Message(data) = told { Some(data) } else { None };
    for i in 0..50 {
        // From a thread that is neither loop's.
        client.send_guaranteed(&[i]).unwrap();
        assert_eq!(heard(&told, message), [i]);
        let guaranteed = host::SendOptions { retry: host::RetryMode::OnTimeout, ..Default::default() };
        server.send(peer, &[i, i], guaranteed).unwrap();
        assert_eq!(heard(&told, message), [i, i]);
    }
    client.stop().unwrap();
    expect_seen(&seen, |seen| matches!(seen, Seen::Disconnect(..)).then_some(()));
    // A poll waits no longer than it may, and comes back when it is woken.
    let config = ClientConfig { max_queued_events: 1000, ..config };
    let client = Client::open(config, Box::new(()), &address(&server)).unwrap();
    pull(&client, connected);
    let end = Instant::now() + PATIENCE;
    for wait in [Duration::ZERO, Duration::from_millis(1)] {
        for _ in 0..100 {
            client.poll(Some(wait)).unwrap();
        }
    }
    assert!(Instant::now() < end, "polls lasted as long as the loop does not sleep");
    let waiting = client.clone();
    let poller = std::thread::spawn(move || waiting.poll(Some(PATIENCE)));
    client.wake();
    poller.join().unwrap().unwrap();
    client.stop().unwrap();
    server.stop().unwrap();
}

#[test]
fn a_panicking_handler_ends_its_client_and_not_the_process() {
    let (server, _seen) = echoing();
    let script =
        Script(|_: &Client, what| assert!(!matches!(what, Told::Connected(_)), "a defect of the host"));
    let client = Client::start(calling(), Box::new(script), &address(&server)).unwrap();
    client.wait(Some(PATIENCE)).expect("it ends");
    assert_eq!(client.send_guaranteed(b"x").unwrap_err().kind(), ErrorKind::Panic);
    assert_eq!(client.disconnect_wait(PATIENCE).unwrap_err().kind(), ErrorKind::Panic);
    server.stop().unwrap();
}

#[test]
fn a_client_plays_on_a_bad_network_as_long_as_it_is_asked_to() {
    let (server, seen) = echoing();
    let client = Client::open(pulling(), Box::new(()), &address(&server)).unwrap();
    pull(&client, connected);
    let deaf = Conditions { loss: 1.0, ..Conditions::default() };
    for direction in [Direction::Send, Direction::Receive] {
        client.simulate(direction, Some(deaf.clone())).unwrap();
        let before = client.stats();
        client.send(b"into the void", SendOptions::default()).unwrap();
        for _ in 0..20 {
            client.poll(Some(Duration::from_millis(5))).unwrap();
        }
        let after = client.stats();
        assert!(direction == Direction::Send || after.received == before.received, "it hears nothing");
        client.simulate(direction, None).unwrap();
    }
    client.send_guaranteed(b"heard").unwrap();
    let mut heard = Vec::new();
    pull(&client, |event| {
        heard.extend(message(event));
        heard.contains(&b"heard".to_vec()).then_some(())
    });
    // What was lost on its way out never came; what was lost on its way in did, and its echo was not heard.
    let mut messages = Vec::new();
    expect_seen(&seen, |s| {
        if let Seen::Message(_, _, data) = s {
            messages.push(data);
        }
        messages.contains(&b"heard".to_vec()).then_some(())
    });
    assert_eq!(messages.iter().filter(|m| **m == b"into the void").count(), 1);
    assert!(!heard.contains(&b"into the void".to_vec()));
    let wrong = Conditions { loss: 2.0, ..Conditions::default() };
    assert_eq!(client.simulate(Direction::Send, Some(wrong)).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(client.server_clock().is_some(), wire() == Wire::Native);
    server.stop().unwrap();
}
