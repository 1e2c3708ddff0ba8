//! Beyond 65,535 packets and messages in both directions.

use std::time::Duration;

use super::ledger::Ledger;
use super::network::{Link, Network, Side};
use super::pair::{settings, Pair};
use crate::protocol::connection::{Event, Settings};
use crate::protocol::delivery::Mode;

/// Messages each way: with a packet each, both counters go twice round.
const MESSAGES: u64 = 140_000;

fn take(p: &mut Pair, books: &mut [Ledger; 2]) {
    for side in Side::BOTH {
        for (at, event) in std::mem::take(&mut p.end_mut(side).events) {
            match event {
                Event::Message { data, .. } => books[side.other() as usize].message(at, &data),
                Event::Sent { tag, outcome } => books[side as usize].outcome(tag, outcome),
                _ => {}
            }
        }
    }
}

#[test]
fn both_counters_go_twice_round_in_both_directions() {
    let link = Link {
        loss: 0.01,
        duplicate: 0.02,
        replay: 0.02,
        jitter: Duration::from_millis(2),
        ..Link::delay(1)
    };
    let eager = || Settings { send_interval: Duration::ZERO, ..settings() };
    let mut p = Pair::connected(8, [eager(), eager()], Network::new(8, link.clone(), link));
    let mut books = [Ledger::new("to server", 8), Ledger::new("to client", 9)];
    for n in 0..MESSAGES {
        for side in Side::BOTH {
            let book = &mut books[side as usize];
            let mode = [Mode::Once, Mode::BestEffort, Mode::Guaranteed][n as usize % 3];
            let (data, mode, tag) = book.compose(mode, 12, n % 2 == 0);
            book.sent(p.now, &data, mode, tag);
            p.send(side, &data, mode, tag).unwrap();
        }
        // Slow at the wraps, so that what goes wrong there alone cannot hide in a crowd.
        let near = (n % 65_535).min(65_535 - n % 65_535) < 400;
        let limit = p.now + Duration::from_micros(if near { 20_000 } else { 700 });
        while p.step(limit) {
            take(&mut p, &mut books);
        }
    }
    p.network.calm();
    let limit = p.now + Duration::from_secs(5);
    while p.step(limit) {
        take(&mut p, &mut books);
    }
    for side in Side::BOTH {
        let book = &mut books[side as usize];
        book.check_settled();
        assert!(book.violations.is_empty(), "{:?}", book.violations);
        let packets = p.monitor.sent(side).0;
        assert!(packets > 2 * 65_535 && book.count() > 2 * 65_535, "{side:?}: {packets} packets");
        assert!(book.arrived(Mode::Once) > 0.97 && book.arrived(Mode::BestEffort) > 0.999);
    }
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
}

/// Packets without a message in every second: only the packet counter wraps, acknowledgements with it.
#[test]
fn an_idle_connection_outlives_its_packet_counter() {
    let mut p = Pair::plain(9);
    let begin = p.now;
    // A keep-alive takes 0.1 s: 6,560 seconds make a round.
    p.run_until(begin + Duration::from_secs(6_700));
    for side in Side::BOTH {
        assert!(p.monitor.sent(side).0 > 65_535);
        p.send(side, b"still there", Mode::Guaranteed, 1).unwrap();
    }
    p.run_until(p.now + Duration::from_secs(1));
    assert_eq!(p.connection(Side::Client).stats().timeouts, 0, "every packet was acknowledged");
    for side in Side::BOTH {
        assert_eq!(p.messages(side), [b"still there"]);
    }
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
}
