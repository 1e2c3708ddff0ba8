//! What needs a process of its own: its descriptors, its memory.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::frames::{frame, received};
use crate::hostile::resident;
use crate::world::{get, world, Line, Seen, PATIENCE};

/// Says to the test that it is in a process of its own.
const ALONE: &str = "GAMEKEEPER_TEST_ALONE";

/// Whether this is the process of its own of this test. If not, that has run, and passed.
fn is_alone(test: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let output =
        Command::new(program).args(["--exact", test, "--nocapture"]).env(ALONE, test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    print!("{said}");
    false
}

/// Without a descriptor nothing is accepted, which is said once; what is open goes on, the game ticks, and who waits has its
/// turn when there are descriptors again.
#[test]
fn a_door_without_descriptors_rests_and_goes_on() {
    if !is_alone("alone::a_door_without_descriptors_rests_and_goes_on") {
        return;
    }
    let world = world(|_| {});
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
    // SAFETY: the struct is ours, and lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let mut open = world.connect();
    assert_eq!(open.send(get("/echo/x")).reply().unwrap().status, 200);
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!((100..256).contains(&files.len()), "{}", files.len());
    // The only one is for the client's end.
    files.pop();
    let mut waiting = Line::to(world.address);
    waiting.send(get("/echo/x"));
    world.logged("accepting HTTP connections pauses");
    let ticks = world.server.stats().ticks;
    assert_eq!(open.send(get("/echo/x")).reply().unwrap().status, 200);
    let deadline = Instant::now() + PATIENCE;
    while world.server.stats().ticks < ticks + 10 {
        assert!(Instant::now() < deadline, "no tick");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(files);
    assert_eq!(waiting.reply().unwrap().status, 200);
    world.logged("HTTP connections are accepted again");
    assert_eq!(world.connect().send(get("/echo/x")).reply().unwrap().status, 200);
}

/// WebSockets that have sent and got a long message, and say nothing more.
#[test]
fn idle_websockets_do_not_keep_their_longest_message() {
    if !is_alone("alone::idle_websockets_do_not_keep_their_longest_message") {
        return;
    }
    const COUNT: usize = 24;
    const LENGTH: usize = 8 << 20;
    let world = world(|_| {});
    let long = frame(0x82, &vec![7; LENGTH]);
    let mut lines: Vec<Line> = (0..COUNT).map(|_| world.connect().upgrade("/ws")).collect();
    let mut before = 0;
    for (at, line) in lines.iter_mut().enumerate() {
        line.send(&long);
        assert_eq!(received(line).unwrap().1.len(), LENGTH);
        line.forget();
        // Nor does the test keep what its host has seen.
        while !matches!(world.next(), Seen::Message(..)) {}
        // With the first comes what is used again for the others.
        if at == 3 {
            before = resident();
        }
    }
    let each = resident().saturating_sub(before) / (COUNT - 4);
    println!("{COUNT} WebSockets that had {} MiB each way keep {each} bytes each", LENGTH >> 20);
    assert!(each < LENGTH / 4, "{each}");
}
