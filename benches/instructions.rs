//! The inner loops on `Core`, for counting instructions: `cargo bench --bench instructions -- echo` runs one and
//! tells its time; under `valgrind --tool=callgrind --toggle-collect='instructions::counted'` the server's part alone is counted,
//! which does not depend on how busy the machine is. `.ci/counts` compares the counts with those recorded.

#[path = "support/native.rs"]
mod native;

use std::time::{Duration, Instant};

use gamekeeper::server::events::RetryMode;
use native::{Host, Room, TICK};

/// Turns before anything is counted: windows are open, paths measured.
const WARM_UP: u32 = 120;

/// What a loop did.
struct Done {
    what: &'static str,
    count: u64,
    took: Duration,
}

/// `clients` play: each sends `count` messages of `bytes` per turn, and the host does its part.
fn play(room: &mut Room, turns: u32, clients: usize, count: usize, bytes: usize, host: Host) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..turns {
        room.now = room.now + (TICK - Duration::from_millis(1));
        room.speak(clients, count, &[1; 1200][..bytes], room.retry);
        room.listen();
        let start = Instant::now();
        if turns == WARM_UP {
            room.serve(host);
        } else {
            counted(room, host);
        }
        took += start.elapsed();
        room.tell();
    }
    took
}

fn run(name: &str) -> Option<Done> {
    // Callgrind is slow, and counts alike however often.
    let turns = if std::env::var_os("GAMEKEEPER_COUNTED").is_some() { 20 } else { 2000 };
    let (mode, rest) = name.split_once('-').unwrap_or((name, "once"));
    let retry = match rest {
        "guaranteed" => RetryMode::OnTimeout,
        "sequenced" => RetryMode::Sequenced,
        _ => RetryMode::None,
    };
    let done = match mode {
        "echo" => {
            let mut room = Room::with(16);
            room.retry = retry;
            play(&mut room, WARM_UP, 16, 32, 64, Host::Echo);
            let took = play(&mut room, turns, 16, 32, 64, Host::Echo);
            Done { what: "message", count: u64::from(turns) * 16 * 32, took }
        }
        "tick" => {
            let mut room = Room::with(128);
            room.retry = retry;
            play(&mut room, WARM_UP, 128, 1, 32, Host::Tick(200));
            let took = play(&mut room, turns, 128, 1, 32, Host::Tick(200));
            Done { what: "peer and tick", count: u64::from(turns) * 128, took }
        }
        "idle" => {
            let mut room = Room::with(4000);
            play(&mut room, WARM_UP, 10, 1, 32, Host::Echo);
            let took = play(&mut room, turns, 10, 1, 32, Host::Echo);
            Done { what: "turn", count: u64::from(turns), took }
        }
        "handshake" => {
            let mut room = Room::new();
            let (mut took, mut count) = (Duration::ZERO, 0);
            for _ in 0..turns.div_ceil(10) {
                room.clients.clear();
                room.begin(8);
                count += 8;
                for _ in 0..8 {
                    room.now = room.now + TICK;
                    room.listen();
                    let start = Instant::now();
                    counted(&mut room, Host::Idle);
                    took += start.elapsed();
                    room.tell();
                }
                // They leave, so that the table stays as long as it is.
                for client in &mut room.clients {
                    let farewell = gamekeeper::protocol::connection::Farewell::default();
                    client.connection.close(room.now, false, farewell);
                }
                room.peers.clear();
                room.turn(Host::Idle);
            }
            Done { what: "handshake", count, took }
        }
        _ => return None,
    };
    Some(done)
}

/// What callgrind is told to count: all but the warming up.
#[inline(never)]
fn counted(room: &mut Room, host: Host) {
    std::hint::black_box(room.serve(host));
}

fn main() {
    let names = ["echo-once", "echo-guaranteed", "tick-once", "tick-guaranteed", "idle", "handshake"];
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for name in names {
        if !asked.is_empty() && !asked.iter().any(|a| a == name) {
            continue;
        }
        let Some(Done { what, count, took }) = run(name) else { continue };
        println!("{name}: {:.3} µs per {what} ({count})", took.as_secs_f64() * 1e6 / count as f64);
    }
}
