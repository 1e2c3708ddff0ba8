//! What strangers do at the doors for streams does not make the game late: its own count of ticks beside that of a server
//! that is as busy, with clients that behave. A process of its own, so that no other test is in it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gamekeeper::client::{ClientConfig, ServerKey, StreamClient, StreamTls, TlsTrust, Wire};
use gamekeeper::server::config::{Config, Framing, StreamDoor, TlsFiles};
use gamekeeper::server::events::*;
use gamekeeper::{Client, Server};
use support::play::{Script, Seen, PATIENCE};

/// Ticks per second: one is missed when a turn takes this much time and more.
const TICK_RATE_HZ: f64 = 20.0;
/// Ticks of a round.
const TICKS: u64 = 60;
/// So many more may the flooded server miss than the other, of a round's. What a busy machine takes from the one it takes
/// from the other, but not at the same moments.
const MARGIN: u64 = 6;
/// Rounds of which one must be within that: whoever is late for its own reasons is in all of them.
const ROUNDS: usize = 3;

/// A host that takes its time over each message, as one in a slow language does.
fn server(streams: Vec<StreamDoor>) -> Server {
    let handler = Script(|server: &Server, seen| {
        if let Seen::Message(peer, _, data) = seen {
            // Not asleep: on a busy machine that lasts as long as others like.
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(20) {
                std::hint::spin_loop();
            }
            let _full = server.send(peer, &data, SendOptions::default());
        }
    });
    let config = Config {
        streams,
        tick_rate_hz: TICK_RATE_HZ,
        max_message_size: 100_000,
        max_queued_bytes: 1 << 20,
        // Nobody is kept out: all of it reaches the loop.
        hellos_per_source_hz: 1e6,
        hellos_total_hz: 1e6,
        ..Config::default()
    };
    Server::start(config, Box::new(handler), "127.0.0.1:0").expect("a server")
}

/// A certificate and its key, by openssl; and the directory that they are in.
fn certificate() -> (PathBuf, TlsFiles) {
    let directory = std::env::temp_dir().join(format!("gamekeeper-flood-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    // RSA: the dearest signatures that doors commonly make.
    let made = Command::new("openssl")
        .current_dir(&directory)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = TlsFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    (directory, files)
}

/// What a client of TLS says first, which makes a server sign.
fn client_hello() -> Vec<u8> {
    struct Nothing;
    impl gamekeeper::client::Handler for Nothing {}
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = StreamClient { tls: Some(StreamTls::new(TlsTrust::Anybody)), ..StreamClient::default() };
    let config = ClientConfig { wire: Wire::Stream, stream, ..ClientConfig::new(ServerKey::Any) };
    let address = listener.local_addr().expect("bound").to_string();
    let client = Client::start(config, Box::new(Nothing), &address).expect("a client");
    let (mut stream, _) = listener.accept().expect("it connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut hello = vec![0; 4096];
    let bytes = stream.read(&mut hello).expect("it speaks first");
    hello.truncate(bytes);
    client.stop().expect("stopped");
    hello
}

/// Clients that keep a server busy and read what it answers; they end with it.
fn behave(at: SocketAddr) {
    for _ in 0..4 {
        let mut stream = TcpStream::connect(at).expect("somebody listens");
        let mut reader = stream.try_clone().expect("a handle");
        std::thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|bytes| bytes > 0) {});
        std::thread::spawn(move || while stream.write_all(&b"hello\n".repeat(1000)).is_ok() {});
    }
}

/// The ways to be a nuisance, each by a thread until it is told to stop.
struct Floods {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Floods {
    fn begin() -> Floods {
        Floods { stop: Arc::default(), done: Arc::default(), threads: Vec::new() }
    }

    /// Does it again and again, with a new connection each time.
    fn add(&mut self, at: SocketAddr, mut nuisance: impl FnMut(TcpStream) + Send + 'static) {
        let (stop, done) = (self.stop.clone(), self.done.clone());
        self.threads.push(std::thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_secs(1)) else { continue };
                let _set = stream.set_write_timeout(Some(Duration::from_millis(200)));
                // None of them lies in TIME_WAIT afterwards, which would use up the ports.
                let _set = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                nuisance(stream);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }

    /// Ends them, and says how often something was done.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        self.done.load(Ordering::Relaxed)
    }
}

fn flood(doors: &[SocketAddr], hello: &[u8]) -> Floods {
    let [lines, length, tls] = doors else { panic!("three doors") };
    let mut floods = Floods::begin();
    let (hello, mut kept) = (hello.to_vec(), Vec::new());
    // Handshakes that make the server sign and end there, and what is no TLS at all.
    floods.add(*tls, move |mut stream| {
        let _gone = stream.write_all(&hello);
        kept.push(stream);
        if kept.len() > 200 {
            kept.clear();
        }
    });
    floods.add(*tls, |mut stream| drop(stream.write_all(&[0x47; 600])));
    // Frames that are too long, and messages that end in a reset.
    floods.add(*length, |mut stream| drop(stream.write_all(&[0xff; 100])));
    floods.add(*length, |mut stream| drop(stream.write_all(&[0, 0, 0x10, 0, 1, 2, 3])));
    // Connections that begin a message and say nothing more, some hundreds of them at any time.
    let mut half_open = Vec::new();
    floods.add(*length, move |mut stream| {
        let _gone = stream.write_all(&[0, 0]);
        half_open.push(stream);
        if half_open.len() > 300 {
            half_open.clear();
        }
    });
    // And thousands of messages in a read.
    floods.add(*lines, |mut stream| {
        for _ in 0..20 {
            if stream.write_all(&[b'\n'; 65_536]).is_err() {
                break;
            }
        }
    });
    floods
}

#[test]
fn a_flood_at_the_doors_costs_hardly_a_tick_more_than_guests_that_behave() {
    let (directory, files) = certificate();
    let hello = client_hello();
    let door = |framing, tls| StreamDoor {
        tls,
        max_connections_per_source: 10_000,
        ..StreamDoor::new("127.0.0.1:0", framing)
    };
    let flooded = server(vec![
        door(Framing::Lines, None),
        door(Framing::Length, None),
        door(Framing::Length, Some(files)),
    ]);
    let control = server(vec![door(Framing::Lines, None)]);
    behave(control.stream_addresses()[0]);
    let doors = flooded.stream_addresses();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (before, control_before) = (flooded.stats(), control.stats());
        let floods = flood(doors, &hello);
        let end = Instant::now() + PATIENCE;
        loop {
            // The grid: ticks, and those that were left out.
            let now = control.stats();
            let passed = now.ticks + now.ticks_missed - control_before.ticks - control_before.ticks_missed;
            if passed >= TICKS {
                break;
            }
            assert!(Instant::now() < end, "the other server has no ticks");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (after, control_after) = (flooded.stats(), control.stats());
        let done = floods.end();
        assert!(done > 100, "that is no flood: {done}");
        assert!(after.packets_received > before.packets_received, "nothing of it reached the server");
        let missed = after.ticks_missed - before.ticks_missed;
        let others = control_after.ticks_missed - control_before.ticks_missed;
        rounds.push((done, after.ticks - before.ticks, missed, others));
        println!("{done} nuisances, {missed} ticks missed of {TICKS}, {others} by the other server");
        if missed <= others + MARGIN {
            break;
        }
    }
    let _left = std::fs::remove_dir_all(directory);
    control.stop().expect("stopped");
    let (.., missed, others) = *rounds.last().expect("a round");
    assert!(missed <= others + MARGIN, "nuisances, ticks, missed, missed by the other: {rounds:?}");
}
