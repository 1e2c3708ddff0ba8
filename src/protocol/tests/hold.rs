//! Messages that are held back: they wait, and nothing else does.

use std::time::Duration;

use super::native::NativePair;
use super::network::{Link, Side};
use super::pair::Pair;
use crate::protocol::connection::State;
use crate::protocol::delivery::Mode;
use crate::protocol::time::Time;

const HOLD: Duration = Duration::from_secs(20);

/// Four times the connection timeout: whoever kept silent that long would be gone.
fn held(now: Time) -> (Time, Time) {
    let until = now + HOLD;
    (until, until - Duration::from_millis(1))
}

#[test]
fn on_mpgameservers_wire() {
    let mut pair = Pair::plain(1);
    let (until, before) = held(pair.now);
    pair.connection(Side::Server).hold(until);
    for mode in [Mode::Once, Mode::BestEffort, Mode::Guaranteed] {
        pair.send(Side::Server, &[1; 3000], mode, 0).expect("queued");
        pair.send(Side::Client, &[2; 3000], mode, 0).expect("queued");
    }
    pair.run_until(before);
    assert!(pair.both_connected());
    assert_eq!(pair.messages(Side::Server).len(), 3);
    assert_eq!(pair.connection(Side::Client).queued_messages(), 0, "they were acknowledged");
    assert_eq!(pair.messages(Side::Client).len(), 0);
    pair.run_until(until + Duration::from_secs(2));
    assert_eq!(pair.messages(Side::Client).len(), 3);
    let far = pair.now + HOLD;
    pair.connection(Side::Server).hold(far);
    pair.close(Side::Server, false);
    pair.run_until(pair.now + Duration::from_secs(1));
    assert!(!pair.end(Side::Client).is(State::Connected), "goodbyes are not held");
}

#[test]
fn on_the_native_wire() {
    let mut pair = NativePair::connected(1, Link::delay(20));
    let (until, before) = held(pair.now);
    pair.end(Side::Server).hold(until);
    for mode in [Mode::Guaranteed, Mode::Ordered] {
        pair.send(Side::Server, &[1; 3000], mode, 0);
        pair.send(Side::Client, &[2; 3000], mode, 0);
    }
    pair.run(before.since(pair.now));
    assert!(pair.both(State::Connected));
    assert_eq!(pair.messages(Side::Server).len(), 2);
    assert_eq!(pair.end(Side::Client).queued_messages(), 0, "they were acknowledged");
    assert_eq!(pair.messages(Side::Client).len(), 0);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.messages(Side::Client).len(), 2);
}
