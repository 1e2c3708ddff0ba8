//! How well it does, on the virtual clock: `cargo test --lib figures -- --nocapture` prints the figures.

use std::time::Duration;

use super::ledger::{quantile, Ledger};
use super::network::{Link, Network, Side};
use super::pair::{settings, Pace, Pair};
use crate::protocol::connection::Event;
use crate::protocol::delivery::Mode;
use crate::protocol::time::Time;

/// What became of a transfer.
struct Figures {
    /// How long the long message took, if it came.
    long: Option<Duration>,
    half: Duration,
    p99: Duration,
    most: Duration,
    timeouts: u64,
    datagrams: [u64; 2],
}

/// The server (or the client) sends a long message of `long` bytes and a short one every `pause`, for `time`.
fn transfer(from: Side, pace: Pace, link: Link, long: usize, pause: Duration, time: Duration) -> Figures {
    let mut p = Pair::new(5, [settings(), settings()], Network::new(5, link.clone(), link));
    p.pace(pace);
    assert!(p.drive(Duration::from_secs(4), |p| p.both_connected()));
    p.run_until(p.now + Duration::from_secs(1));
    let begin = p.now;
    let before = [Side::Client, Side::Server].map(|s| p.monitor.sent(s).0);
    if long > 0 {
        p.send(from, &vec![7; long], Mode::Guaranteed, 0).unwrap();
    }
    let mut book = Ledger::new("short", 5);
    let mut long_took = None;
    let mut take = |p: &mut Pair, book: &mut Ledger| {
        for (at, event) in std::mem::take(&mut p.end_mut(from.other()).events) {
            match event {
                Event::Message { data, .. } if data.len() == long => long_took = Some(at.since(begin)),
                Event::Message { data, .. } => book.message(at, &data),
                _ => {}
            }
        }
    };
    let mut next: Time = p.now;
    while p.now < begin + time {
        next = next + pause;
        while p.step(next) {
            take(&mut p, &mut book);
        }
        let (data, mode, tag) = book.compose(Mode::Guaranteed, 60, false);
        p.send(from, &data, mode, tag).unwrap();
        book.sent(p.now, &data, mode, tag);
    }
    p.run_until(p.now + Duration::from_secs(5));
    take(&mut p, &mut book);
    book.check_settled();
    assert!(book.violations.is_empty(), "{:?}", book.violations);
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
    let all = book.latencies(usize::MAX);
    let datagrams = [0, 1].map(|i| p.monitor.sent(Side::BOTH[i]).0 - before[i]);
    Figures {
        long: long_took,
        half: quantile(&all, 0.5),
        p99: quantile(&all, 0.99),
        most: quantile(&all, 1.0),
        timeouts: p.connection(from).stats().timeouts,
        datagrams,
    }
}

const MS: Duration = Duration::from_millis(1);

fn print(name: &str, f: &Figures) {
    let long = f.long.map_or("-".into(), |t| format!("{:.1} s", t.as_secs_f64()));
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    println!(
        "{name:44} long {long:8} short p50 {:4.0} p99 {:4.0} max {:4.0} ms, {} timeouts, datagrams {:?}",
        ms(f.half),
        ms(f.p99),
        ms(f.most),
        f.timeouts,
        f.datagrams
    );
}

#[test]
fn a_long_message_and_short_ones_to_every_reader() {
    // With what is asked of them: seconds for the long message (977 datagrams, one a frame), milliseconds for
    // 99 of 100 short ones.
    for (name, pace, delay, long, short) in [
        ("10 Hz reader, 5 ms", Pace::Frames(10.0), 5, 110, 1200),
        ("15 Hz reader, 5 ms", Pace::Frames(15.0), 5, 80, 500),
        ("30 Hz reader, 5 ms", Pace::Frames(30.0), 5, 36, 350),
        ("60 Hz reader, 5 ms", Pace::Frames(60.0), 5, 18, 300),
        ("60 Hz reader, 50 ms", Pace::Frames(60.0), 50, 20, 300),
        ("1000 Hz reader, 5 ms", Pace::Frames(1000.0), 5, 3, 50),
        ("immediate reader, 1 ms", Pace::Immediate, 1, 1, 20),
        ("immediate reader, 20 ms", Pace::Immediate, 20, 3, 100),
        ("immediate reader, 100 ms", Pace::Immediate, 100, 10, 250),
    ] {
        let time = Duration::from_secs(50.max(long));
        let f = transfer(Side::Server, pace, Link::delay(delay), 1_000_000, 97 * MS, time);
        print(name, &f);
        assert!(f.long.is_some_and(|t| t < Duration::from_secs(long)) && f.p99 < short * MS, "{name}");
        // Packets acknowledged more than a second late.
        assert!(f.timeouts <= if short < 500 { 0 } else { 20 }, "{name}: {} timeouts", f.timeouts);
    }
    for (name, delay) in [("from the client, 1 ms", 1), ("from the client, 20 ms", 20)] {
        let link = Link::delay(delay);
        let f = transfer(Side::Client, Pace::Immediate, link, 1_000_000, 97 * MS, Duration::from_secs(50));
        print(name, &f);
    }
}

#[test]
fn guaranteed_messages_under_loss() {
    for from in Side::BOTH {
        for (pause, loss) in [(200, 0.05), (50, 0.05), (16, 0.05), (50, 0.2)] {
            let time = Duration::from_secs(120);
            let f = transfer(from, Pace::Immediate, Link::lossy(20, loss), 0, pause * MS, time);
            print(&format!("{from:?} sends every {pause} ms, {} % loss", loss * 100.0), &f);
            assert!(f.half < 60 * MS && f.p99 < if loss < 0.1 { 400 * MS } else { 1000 * MS });
        }
    }
    let f = transfer(Side::Server, Pace::Immediate, Link::lossy(20, 0.05), 1_000_000, 97 * MS, 60_000 * MS);
    print("a long message, 5 % loss", &f);
}

#[test]
fn a_path_that_becomes_longer_delays_no_message_for_long() {
    for from in Side::BOTH {
        let (short, long) = (Link::delay(2), Link::delay(175));
        let mut p = Pair::new(3, [settings(), settings()], Network::new(3, short.clone(), short));
        assert!(p.drive(Duration::from_secs(4), |p| p.both_connected()));
        p.run_until(p.now + Duration::from_secs(5));
        p.network.links = [long.clone(), long];
        for later in [0, 500, 500] {
            p.run_until(p.now + later * MS);
            p.end_mut(from.other()).events.clear();
            p.send(from, &[1; 60], Mode::Guaranteed, 0).unwrap();
            let begin = p.now;
            p.run_until(begin + Duration::from_secs(3));
            let came =
                p.end_mut(from.other()).events.iter().find(|(_, e)| matches!(e, Event::Message { .. }));
            let took = came.map(|(at, _)| at.since(begin));
            println!("{from:?}: a message on a path of 350 ms that was one of 4 ms took {took:?}");
            // A round trip, and what it takes until the new one is known.
            assert!(took.is_some_and(|took| took <= 1400 * MS), "{took:?}");
        }
    }
}
