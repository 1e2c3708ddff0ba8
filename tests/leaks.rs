//! Servers that come and go leave nothing in their process. One test, since it counts what the process has.
#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use gamekeeper::client::driver::Mode;
use gamekeeper::server::config::Config;
use gamekeeper::Server;
use support::play::{connect, Recorder, PATIENCE};

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).expect("Linux has it").count()
}

/// Descriptors and threads of this process.
fn held() -> (usize, usize) {
    (entries("/proc/self/fd"), entries("/proc/self/task"))
}

#[test]
fn starting_and_stopping_a_hundred_times_leaves_nothing() {
    let round = |i: usize| {
        let (handler, _seen) = Recorder::new(true);
        let open = if i % 4 == 3 { Server::open } else { Server::start };
        let server = open(Config::default(), handler, "127.0.0.1:0").expect("a server");
        if i % 10 == 0 {
            let mut client = connect(&server);
            client.send(b"x", Mode::Guaranteed, 0).expect("queued");
            client.update().expect("the client's socket works");
        }
        server.stop().expect("stopped");
    };
    // What the first one makes for the whole process stays.
    round(0);
    let before = held();
    (0..100).for_each(round);
    // A thread that was joined may stand in the list for a moment yet.
    let end = Instant::now() + PATIENCE;
    while held() != before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(held(), before, "descriptors and threads");
}
