//! A crowd of connections that say nothing: a process of its own, so that its memory is theirs.
#![cfg(target_os = "linux")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use gamekeeper::server::config::{Config, Framing, StreamDoor};
use gamekeeper::Server;
use support::play::{Recorder, PATIENCE};

/// Bytes of memory that this process has of its own.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it lives");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux tells");
    let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("a number");
    kilobytes << 10
}

/// Descriptors that this process may have: all that the system lets it ask for.
fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one live rlimit, read and written by the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(30_000);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    usize::try_from(limit.rlim_cur).expect("a number")
}

fn echoes(stream: &mut TcpStream) -> bool {
    let (ping, mut back) = (b"\0\0\0\x04ping", [0; 8]);
    stream.write_all(ping).is_ok() && stream.read_exact(&mut back).is_ok() && &back == ping
}

#[test]
fn ten_thousand_idle_connections_stay_within_their_memory_and_disturb_nobody() {
    // Both ends of each are here.
    let wanted = (descriptors() - 100) / 2;
    let wanted = wanted.min(10_000);
    assert!(wanted >= 400, "so few connections show nothing: {wanted}");
    let config = Config {
        streams: vec![StreamDoor {
            max_connections_per_source: 20_000,
            ..StreamDoor::new("127.0.0.1:0", Framing::Length)
        }],
        max_peers: 20_000,
        hellos_per_source_hz: 1e6,
        hellos_total_hz: 1e6,
        ..Config::default()
    };
    let (handler, _seen) = Recorder::new(true);
    let server = Server::start(config, handler, "127.0.0.1:0").expect("a server");
    let open = || {
        let stream = TcpStream::connect(server.stream_addresses()[0]).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    let mut player = open();
    assert!(echoes(&mut player));
    let before = resident();
    let mut crowd: Vec<TcpStream> = (0..wanted).map(|_| open()).collect();
    let end = Instant::now() + PATIENCE;
    while (server.stats().peers as usize) < wanted + 1 {
        assert!(Instant::now() < end, "{} of {wanted} came in", server.stats().peers);
        std::thread::sleep(Duration::from_millis(5));
    }
    // Half of them have begun to say something.
    crowd.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"\0\0").expect("it listens"));
    for _ in 0..50 {
        assert!(echoes(&mut player));
    }
    let each = resident().saturating_sub(before) / wanted;
    println!("{wanted} connections, {each} bytes each");
    assert!(each < 6000, "{each} bytes per idle connection");
    drop(crowd);
    while server.stats().peers > 1 {
        assert!(Instant::now() < end, "{} have not left", server.stats().peers);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(echoes(&mut player));
}
