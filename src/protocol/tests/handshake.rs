//! Connecting, over a network that loses what matters.

use std::time::Duration;

use super::network::{Link, Network, Side};
use super::pair::{settings, Pair};
use crate::protocol::connection::{CloseReason, State};
use crate::protocol::delivery::Mode;

fn pair(seed: u64, lose: &[(Side, u64)]) -> Pair {
    let network = Network::new(seed, Link::delay(20), Link::delay(20));
    let mut pair = Pair::new(seed, [settings(), settings()], network);
    pair.lose = lose.to_vec();
    pair
}

#[test]
fn connects_and_carries_messages_both_ways() {
    let mut p = Pair::plain(1);
    p.send(Side::Client, b"question", Mode::Guaranteed, 0).unwrap();
    p.send(Side::Server, b"answer", Mode::Once, 0).unwrap();
    p.run_until(p.now + Duration::from_millis(500));
    assert_eq!(p.messages(Side::Server), [b"question"]);
    assert_eq!(p.messages(Side::Client), [b"answer"]);
    p.close(Side::Client, false);
    p.run_until(p.now + Duration::from_secs(10));
    assert_eq!(p.client.closed.unwrap().1, CloseReason::Local);
    assert_eq!(p.server.closed.unwrap().1, CloseReason::Remote);
    assert!(p.client.is(State::Closed) && p.server.is(State::Closed));
    assert!(p.monitor.violations.is_empty(), "{:?}", p.monitor.violations);
}
