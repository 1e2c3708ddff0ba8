//! Many peers, many threads, slow hosts and floods, over loopback.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use gamekeeper::client::driver::{Client, Event as ClientEvent, Mode};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::{ErrorKind, Server};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use support::play::{connect, drive, public, Recorder, Script, Seen, PATIENCE};

/// What the kernel gives a socket that asks for nothing, in the units in which it is asked.
const DEFAULT_BUFFER: usize = 212_992 / 2;

/// A thousand handshakes on a busy machine take their time.
fn patient() -> Config {
    Config { handshake_timeout: PATIENCE, ..Config::default() }
}

fn clients(server: &Server, config: &Config, count: usize) -> Vec<Client> {
    let key = public(server);
    let mut clients: Vec<_> =
        (0..count).map(|_| Client::connect(server.local_address(), key, config).expect("a client")).collect();
    let mut up = 0;
    drive(&mut clients.iter_mut().collect::<Vec<_>>(), |_, event| {
        assert!(!matches!(event, Some(ClientEvent::Closed(_))), "nobody is refused");
        up += usize::from(event == Some(ClientEvent::Connected));
        // A client is connected before its proof has arrived.
        up == count && server.peers().len() == count
    });
    clients
}

#[test]
fn a_callback_that_blocks_delays_and_loses_nobody() {
    let (tell, told) = mpsc::channel();
    let handler = Script(move |_: &Server, event: Seen| {
        if matches!(&event, Seen::Message(_, _, data) if data == b"block") {
            std::thread::sleep(Duration::from_secs(1));
        }
        let _nobody = tell.send(event);
    });
    let config = Config { socket_receive_bytes: DEFAULT_BUFFER, ..patient() };
    let server = Server::start(config.clone(), Box::new(handler), "127.0.0.1:0").expect("a server");
    let mut clients = clients(&server, &config, 50);
    let ticks = server.stats().ticks;
    // 180 frames at 60 Hz, of which one blocks the server for sixty.
    for frame in 0..180u32 {
        for client in &mut clients {
            client.send(&frame.to_be_bytes(), Mode::Guaranteed, 0).expect("queued");
        }
        if frame == 30 {
            clients[0].send(b"block", Mode::Guaranteed, 0).expect("queued");
        }
        let next = Instant::now() + Duration::from_micros(16_667);
        while Instant::now() < next {
            clients.iter_mut().for_each(|c| c.update().expect("the client's socket works"));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let mut arrived = 0;
    drive(&mut clients.iter_mut().collect::<Vec<_>>(), |_, event| {
        assert!(!matches!(event, Some(ClientEvent::Closed(_))));
        arrived += told
            .try_iter()
            .filter(|s| match s {
                Seen::Disconnect(peer, info) => panic!("{peer:?} was lost: {info:?}"),
                Seen::Message(_, _, data) => data.len() == 4,
                _ => false,
            })
            .count();
        arrived == 50 * 180
    });
    let stats = server.stats();
    assert_eq!((stats.peers, stats.disconnects), (50, 0));
    // Ticks that the host slept through are left out, not made up for.
    assert!(stats.ticks_missed >= 30 && stats.ticks > ticks, "{stats:?}");
    server.stop().expect("stopped");
}

#[test]
fn a_thousand_connect_at_once_into_buffers_of_default_size() {
    let (handler, _seen) = Recorder::new(false);
    let small =
        Config { socket_receive_bytes: DEFAULT_BUFFER, socket_send_bytes: DEFAULT_BUFFER, ..patient() };
    let server = Server::start(small.clone(), handler, "127.0.0.1:0").expect("a server");
    let clients = clients(&server, &small, 1000);
    assert_eq!((server.stats().peers, server.stats().disconnects), (1000, 0));
    drop(clients);
    server.stop().expect("stopped");
}

#[test]
fn one_poll_writes_to_everybody() {
    /// More than a server writes without a look into its socket.
    const CLIENTS: usize = 700;
    let (handler, _seen) = Recorder::new(false);
    let config = Config { socket_receive_bytes: DEFAULT_BUFFER, send_interval: Duration::ZERO, ..patient() };
    let server = Server::open(config.clone(), handler, "127.0.0.1:0").expect("a server");
    let key = public(&server);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client::connect(server.local_address(), key, &config).expect("a client"))
        .collect();
    let start = Instant::now();
    while server.peers().len() < CLIENTS {
        assert!(start.elapsed() < PATIENCE, "{} are connected", server.peers().len());
        server.poll(Some(Duration::ZERO)).expect("polled");
        for client in &mut clients {
            client.update().expect("the client's socket works");
            while client.poll_event().is_some() {}
        }
    }
    server.broadcast(None, b"all", SendOptions::default()).expect("queued");
    server.poll(Some(Duration::ZERO)).expect("polled");
    let mut heard = 0;
    for client in &mut clients {
        client.update().expect("the client's socket works");
        while let Some(event) = client.poll_event() {
            heard += usize::from(matches!(event, ClientEvent::Message { data, .. } if data == b"all"));
        }
    }
    assert_eq!(heard, CLIENTS);
    server.stop().expect("stopped");
}

#[test]
fn threads_send_while_another_stops() {
    for round in 0..6u64 {
        let (handler, _seen) = Recorder::new(false);
        let config = Config { max_queued_messages: 50, ..patient() };
        let server = Server::start(config.clone(), handler, "127.0.0.1:0").expect("a server");
        let mut clients = clients(&server, &config, 20);
        let peers = server.peers();
        let play = Arc::new(AtomicBool::new(true));
        let playing = play.clone();
        let players = std::thread::spawn(move || {
            while playing.load(Ordering::Relaxed) {
                clients.iter_mut().for_each(|c| c.update().expect("the client's socket works"));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let senders: Vec<_> = (0..6)
            .map(|thread| {
                let (server, peers) = (server.clone(), peers.clone());
                std::thread::spawn(move || send_until_stopped(&server, &peers, round * 100 + thread))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(SmallRng::seed_from_u64(round).random_range(1..120)));
        server.stop().expect("stopped");
        let mut asked = 0;
        for sender in senders {
            let told = sender.join().expect("no panic");
            assert!(told.iter().all(|t| t.load(Ordering::SeqCst) == 1), "each is told once");
            asked += told.len();
        }
        assert!(asked > 0);
        play.store(false, Ordering::Relaxed);
        players.join().expect("no panic");
    }
}

/// Sends to anybody until the server says that it has stopped. How often each message that was taken was told
/// its outcome: after the stop, for ever.
fn send_until_stopped(server: &Server, peers: &[PeerId], seed: u64) -> Vec<Arc<AtomicU32>> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut told = Vec::new();
    loop {
        let peer = peers[random.random_range(0..peers.len())];
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let on_sent: SentCallback = Box::new(move |_, id, _| {
            assert_eq!(id, peer);
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let retry = [RetryMode::None, RetryMode::BestEffort, RetryMode::OnTimeout][random.random_range(0..3)];
        let data = vec![1; random.random_range(0..3000)];
        let options = SendOptions { retry, on_sent: Some(on_sent), tag: None, ..SendOptions::default() };
        match server.send(peer, &data, options).map_err(|e| e.kind()) {
            Ok(()) => told.push(count),
            Err(ErrorKind::State) => break,
            Err(ErrorKind::WouldBlock | ErrorKind::Stale) => std::thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
        match random.random_range(0..3000) {
            0 => {
                let info = DisconnectInfo::new(DisconnectReason::Kicked, "out");
                // It may have gone, and so may the server.
                let _gone = server.disconnect(peer, info, random.random());
            }
            1 => _ = server.broadcast(None, b"to all", SendOptions::default()),
            2 => _ = (server.stats(), server.peers(), server.peer_info(peer)),
            _ => {}
        }
    }
    // The stop may still be running in the thread that asked for it.
    server.wait(Some(PATIENCE)).expect("it stops");
    told
}

#[test]
fn an_idle_server_keeps_its_tick_rate() {
    for rate in [60.0, 250.0] {
        let (handler, _seen) = Recorder::new(false);
        let config = Config { tick_rate_hz: rate, ..Config::default() };
        let server = Server::start(config, handler, "127.0.0.1:0").expect("a server");
        let (ticks, plain) = rates(&server, rate);
        assert!(ticks > 0.9 * plain.min(rate) && ticks < 1.1 * rate, "{ticks} of {rate} Hz, a loop: {plain}");
        server.stop().expect("stopped");
    }
}

/// Ticks per second over three seconds of the server, and of a loop that only sleeps, at the same time: on a
/// machine that is overloaded neither keeps its rate.
fn rates(server: &Server, rate: f64) -> (f64, f64) {
    let (start, before) = (Instant::now(), server.stats().ticks);
    let (mut next, mut count) = (1, 0);
    while start.elapsed() < Duration::from_secs(3) {
        let due = start + Duration::from_secs_f64(f64::from(next) / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        count += 1;
        // A grid, on which what was missed is left out.
        next = (start.elapsed().as_secs_f64() * rate) as u32 + 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    ((server.stats().ticks - before) as f64 / seconds, f64::from(count) / seconds)
}

/// Sends datagrams that `make` makes, `per_second` of them or as many as there can be, until told to stop.
fn flood(
    target: SocketAddr,
    per_second: Option<u32>,
    stop: &Arc<AtomicBool>,
    mut make: impl FnMut(&mut SmallRng, &mut Vec<u8>) + Send + 'static,
) -> std::thread::JoinHandle<u64> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut random = SmallRng::seed_from_u64(3);
        let (start, mut sent, mut datagram) = (Instant::now(), 0u64, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let due = per_second.map_or(u64::MAX, |n| (start.elapsed().as_secs_f64() * f64::from(n)) as u64);
            for _ in 0..due.saturating_sub(sent).min(100) {
                make(&mut random, &mut datagram);
                // Refused when the buffer is full.
                sent += u64::from(socket.send_to(&datagram, target).is_ok());
            }
            if per_second.is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        sent
    })
}

fn garbage(random: &mut SmallRng, out: &mut Vec<u8>) {
    out.resize(random.random_range(0..1472), 0);
    random.fill_bytes(out);
}

/// The hello of a client that goes nowhere.
fn recorded_hello() -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let target = socket.local_addr().expect("it is bound");
    let mut client = Client::connect(target, None, &Config::default()).expect("a client");
    client.update().expect("the client's socket works");
    let mut hello = vec![0; 2000];
    let len = socket.recv(&mut hello).expect("a hello");
    hello.truncate(len);
    hello
}

#[test]
fn ticks_and_peers_go_on_under_garbage_and_hellos() {
    let (handler, _seen) = Recorder::new(true);
    let server = Server::start(patient(), handler, "127.0.0.1:0").expect("a server");
    let mut client = connect(&server);
    let stop = Arc::new(AtomicBool::new(false));
    let hello = recorded_hello();
    let floods = [
        flood(server.local_address(), Some(10_000), &stop, garbage),
        // From one address with one key, and with keys that are no points of the curve.
        flood(server.local_address(), Some(1000), &stop, {
            let hello = hello.clone();
            move |_, out| out.clone_from(&hello)
        }),
        flood(server.local_address(), Some(1000), &stop, move |random, out| {
            out.clone_from(&hello);
            // The key begins behind header, number, type, tag, length and the key's own prefix.
            random.fill_bytes(&mut out[60..100]);
            let body = out.len() - 4;
            let crc = crc32fast::hash(&out[..body]);
            out[body..].copy_from_slice(&crc.to_be_bytes());
        }),
    ];
    let answered = Arc::new(AtomicU64::new(0));
    let (count, playing) = (answered.clone(), stop.clone());
    let player = std::thread::spawn(move || {
        while !playing.load(Ordering::Relaxed) {
            // A full queue shows as too few answers.
            let _full = client.send(b"ping", Mode::Guaranteed, 0);
            client.update().expect("the client's socket works");
            while let Some(event) = client.poll_event() {
                assert!(!matches!(event, ClientEvent::Closed(_)), "it was lost");
                count.fetch_add(u64::from(matches!(event, ClientEvent::Message { .. })), Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let (ticks, plain) = rates(&server, 60.0);
    assert!(ticks > 0.5 * plain.min(60.0), "{ticks} Hz, a loop beside it: {plain} Hz");
    stop.store(true, Ordering::Relaxed);
    let sent: Vec<u64> = floods.into_iter().map(|f| f.join().expect("no panic")).collect();
    player.join().expect("no panic");
    let stats = server.stats();
    assert!(stats.packets_received > 1000 && stats.drops[1] > 0, "{sent:?} {stats:?}");
    assert!(answered.load(Ordering::Relaxed) > 20, "{answered:?} answers");
    assert_eq!((stats.peers, stats.disconnects), (1, 0));
    server.stop().expect("stopped");
}

#[test]
fn newcomers_get_in_while_the_socket_is_never_empty() {
    // A host that is slower than what comes in: each of its ticks lasts longer than the socket needs to fill
    // with more than is read between two of them.
    let handler = Script(|_: &Server, event: Seen| {
        if let Seen::Update(_) = event {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let config = Config { tick_rate_hz: 1000.0, ..patient() };
    let server = Server::start(config.clone(), Box::new(handler), "127.0.0.1:0").expect("a server");
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| flood(server.local_address(), Some(30_000), &stop, |_, out| out.resize(20, 1)))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let mut client = Client::connect(server.local_address(), public(&server), &config).expect("a client");
    drive(&mut [&mut client], |_, e| {
        assert!(!matches!(e, Some(ClientEvent::Closed(_))), "it never got in");
        e == Some(ClientEvent::Connected)
    });
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().expect("no panic");
    }
    server.stop().expect("stopped");
}
