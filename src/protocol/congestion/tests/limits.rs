//! What holds whatever the path does.

use std::time::Duration;

use crate::protocol::congestion::{Acked, Controller, Rate, INITIAL_DATAGRAMS, MIN_DATAGRAMS};
use crate::protocol::time::Time;

const DATAGRAM: u64 = 1200;

fn at(us: u64) -> Time {
    Time::from_micros(1_000_000_000 + us)
}

/// Sends `count` datagrams each round trip and has them acknowledged, for `rounds`; gives the time after.
fn rounds(controller: &mut Controller, mut now: Time, rtt: Duration, rounds: u32, count: u64) -> Time {
    for _ in 0..rounds {
        let sent: Vec<Rate> = (0..count).map(|i| controller.on_sent(now, DATAGRAM, i * DATAGRAM)).collect();
        let started = now;
        now = now + rtt;
        for (i, newest) in sent.into_iter().enumerate() {
            let in_flight = (count - 1 - i as u64) * DATAGRAM;
            controller
                .on_ack(now, Acked { bytes: DATAGRAM, rtt: Some(rtt), newest, sent: started, in_flight });
        }
    }
    now
}

/// How many datagrams may leave at once.
fn burst(controller: &mut Controller, now: Time) -> u64 {
    let mut in_flight = 0;
    while in_flight + DATAGRAM <= controller.window() && controller.send_at(now, DATAGRAM) <= now {
        controller.on_sent(now, DATAGRAM, in_flight);
        in_flight += DATAGRAM;
    }
    in_flight / DATAGRAM
}

#[test]
fn a_new_connection_begins_with_the_initial_window() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    assert_eq!(controller.window(), INITIAL_DATAGRAMS * DATAGRAM);
    assert_eq!((controller.bandwidth(), controller.min_rtt()), (None, None));
    assert_eq!(burst(&mut controller, at(0)), INITIAL_DATAGRAMS);
    // The pace, not only the window, holds back what follows.
    let next = controller.send_at(at(0), DATAGRAM);
    assert!(next > at(0) && next <= at(10_000), "{next:?}");
}

#[test]
fn silence_saves_no_burst() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let rtt = Duration::from_millis(20);
    let mut now = at(0);
    for count in [10, 20, 40, 80, 160, 320] {
        now = rounds(&mut controller, now, rtt, 1, count);
    }
    now = rounds(&mut controller, now, rtt, 40, 320);
    assert!(controller.window() > 100 * DATAGRAM, "{}", controller.window());
    for silence in [1, 10, 3600] {
        let sent = burst(&mut controller, now + Duration::from_secs(silence));
        assert!((1..=INITIAL_DATAGRAMS).contains(&sent), "{sent} after {silence} s");
        now = now + Duration::from_secs(silence + 1);
    }
}

#[test]
fn the_pace_is_kept() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let mut now = rounds(&mut controller, at(0), Duration::from_millis(50), 30, 40);
    let rate = controller.bandwidth().expect("it was measured");
    assert!((900_000..=1_000_000).contains(&rate), "{rate}");
    let (start, mut sent) = (now, 0);
    while now < start + Duration::from_secs(1) {
        now = controller.send_at(now, DATAGRAM);
        // The window is not asked here.
        controller.on_sent(now, DATAGRAM, DATAGRAM);
        sent += DATAGRAM;
    }
    assert!(sent as f64 > rate as f64 && (sent as f64) < rate as f64 * 1.6, "{sent} at {rate}");
}

#[test]
fn an_estimate_in_want_of_data_limits_nothing() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let rtt = Duration::from_millis(20);
    let mut now = at(0);
    for count in [10, 20, 40, 80, 160] {
        now = rounds(&mut controller, now, rtt, 1, count);
    }
    now = rounds(&mut controller, now, rtt, 30, 160);
    let (window, rate) = (controller.window(), controller.bandwidth());
    for _ in 0..1000 {
        controller.app_limited(0);
        now = rounds(&mut controller, now, rtt, 1, 1);
        controller.app_limited(0);
    }
    assert_eq!(controller.bandwidth(), rate);
    assert!(controller.window() * 10 >= window * 9, "{} of {window}", controller.window());
}

#[test]
fn random_loss_does_not_shrink_the_window() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let rtt = Duration::from_millis(20);
    let mut now = rounds(&mut controller, at(0), rtt, 40, 100);
    let window = controller.window();
    for _ in 0..100 {
        controller.on_loss(now, DATAGRAM, 50 * DATAGRAM, false);
        now = rounds(&mut controller, now, rtt, 1, 100);
    }
    assert!(controller.window() >= window, "{} of {window}", controller.window());
}

#[test]
fn persistent_loss_leaves_the_least_window_and_the_way_up() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let rtt = Duration::from_millis(20);
    let now = rounds(&mut controller, at(0), rtt, 40, 100);
    controller.on_loss(now, 100 * DATAGRAM, 0, true);
    assert_eq!(controller.window(), MIN_DATAGRAMS * DATAGRAM);
    let mut now = now + Duration::from_secs(3);
    for _ in 0..8 {
        let count = controller.window() / DATAGRAM;
        now = rounds(&mut controller, now, rtt, 1, count);
    }
    assert!(controller.window() > 50 * DATAGRAM, "{}", controller.window());
}

#[test]
fn another_address_is_another_path() {
    let mut controller = Controller::new(at(0), DATAGRAM as usize);
    let rtt = Duration::from_millis(20);
    let mut now = rounds(&mut controller, at(0), rtt, 40, 100);
    let old = controller.on_sent(now, DATAGRAM, 0);
    let sent = now;
    now = now + Duration::from_millis(1);
    controller.on_path_change(now);
    assert_eq!(controller.window(), INITIAL_DATAGRAMS * DATAGRAM);
    assert_eq!((controller.bandwidth(), controller.min_rtt()), (None, None));
    // What was sent the old way tells nothing of the new.
    now = now + rtt;
    controller.on_ack(now, Acked { bytes: DATAGRAM, rtt: Some(rtt), newest: old, sent, in_flight: 0 });
    assert_eq!((controller.bandwidth(), controller.min_rtt()), (None, None));
    rounds(&mut controller, now, Duration::from_millis(80), 10, 10);
    assert_eq!(controller.min_rtt(), Some(Duration::from_millis(80)));
    assert!(controller.bandwidth().is_some());
}

#[test]
fn no_input_breaks_it() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below.max(1)
    };
    for datagram in [0, 1, 1200, 65_000] {
        let mut controller = Controller::new(at(0), datagram);
        let mut now = at(0);
        let mut token = (Rate::default(), now);
        for _ in 0..100_000 {
            // Times that stand still, jump, or (of packets) lie in the future.
            now = at((now.as_micros() - 1_000_000_000) + [0, 1, 20_000, 40_000_000][random(4) as usize]);
            let bytes = [0, 1, 1200, 1 << 40][random(4) as usize];
            let in_flight = [0, 1, 1 << 20, 1 << 60][random(4) as usize];
            match random(6) {
                0 => token = (controller.on_sent(now, bytes, in_flight), now),
                1 | 2 => {
                    let rtt = [None, Some(0), Some(5), Some(u64::MAX)][random(4) as usize];
                    let rtt = rtt.map(Duration::from_micros);
                    let (newest, sent) =
                        if random(8) == 0 { (Rate::default(), at(u64::MAX / 4)) } else { token };
                    controller.on_ack(now, Acked { bytes, rtt, newest, sent, in_flight });
                }
                3 => controller.on_loss(now, bytes, in_flight, random(50) == 0),
                4 => controller.app_limited(in_flight),
                _ if random(500) == 0 => controller.on_path_change(now),
                _ => {}
            }
            assert!(controller.window() >= MIN_DATAGRAMS);
            let next = controller.send_at(now, bytes);
            assert!(next >= now && next.since(now) <= Duration::from_secs(2));
            let _ = (controller.bandwidth(), controller.min_rtt());
        }
    }
}
