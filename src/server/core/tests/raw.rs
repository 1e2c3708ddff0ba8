//! Datagrams of no wire, and those who look for servers.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::world::{address, ms, World};
use crate::metrics::server::DropReason;
use crate::protocol::wire::query;
use crate::server::config::Config;
use crate::server::core::raw::{MAX_RAW_QUESTIONS, RAW_ANSWER_TIME, RAW_PER_SOURCE, RAW_TOTAL};
use crate::server::events::*;
use crate::ErrorKind;

fn answer(w: &mut World, to: u32, data: &[u8]) -> Option<ErrorKind> {
    w.core.send_raw(w.now, address(to), data).err().map(|e| e.kind())
}

fn seen(w: &World) -> Vec<&[u8]> {
    let raw = w.seen.iter().filter_map(|e| match e {
        Event::Raw(_, data) => Some(&data[..]),
        _ => None,
    });
    raw.collect()
}

/// The datagrams that leave now.
fn leaving(w: &mut World) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
    let mut out = Vec::new();
    std::iter::from_fn(|| w.core.poll_transmit(w.now, &mut out).map(|to| (to, out.clone()))).collect()
}

fn query_of(len: usize) -> Vec<u8> {
    let mut query = Vec::new();
    query::write_query(&[5; 8], &mut query);
    query.truncate(len);
    query
}

#[test]
fn a_question_is_answered_once_and_with_no_more_bytes() {
    let mut w = World::asking(Config::default());
    w.inject(address(1), b"status?");
    w.inject(address(1), b"and the name?");
    w.turn();
    assert_eq!(seen(&w), [&b"status?"[..], b"and the name?"]);
    assert_eq!(answer(&mut w, 2, b""), Some(ErrorKind::State), "it has not asked");
    assert_eq!(answer(&mut w, 1, b"longer than either"), Some(ErrorKind::TooLarge));
    assert_eq!(answer(&mut w, 1, b"13 bytes long"), None);
    assert_eq!(answer(&mut w, 1, b"13 bytes long"), Some(ErrorKind::TooLarge), "that one was answered");
    assert_eq!(answer(&mut w, 1, b"fine"), None);
    assert_eq!(answer(&mut w, 1, b""), Some(ErrorKind::State));
    let expected = [(address(1), b"13 bytes long".to_vec()), (address(1), b"fine".to_vec())];
    assert_eq!(leaving(&mut w), expected);
    w.inject(address(1), b"again");
    w.now = w.now + RAW_ANSWER_TIME;
    assert_eq!(answer(&mut w, 1, b""), Some(ErrorKind::State), "too late");
    assert_eq!(w.core.raw_kept(), (0, 0));
}

#[test]
fn what_is_of_a_wire_is_not_raw() {
    let mut w = World::asking(Config::default());
    for datagram in [&b"FSOS and so on"[..], b"\x80data", b"\xC0hello", b"\xFF"] {
        w.inject(address(1), datagram);
    }
    assert_eq!(w.core.raw_kept(), (0, 0));
    for datagram in [&b""[..], b"F", b"FSOC", b"\x7F", &query_of(1200)] {
        w.inject(address(1), datagram);
    }
    w.turn();
    assert_eq!((seen(&w).len(), w.drops(DropReason::RawBudget)), (5, 0));
    let mut w = World::new(Config::default());
    w.inject(address(1), b"status?");
    w.inject(address(1), &query_of(1200));
    w.turn();
    assert!(seen(&w).is_empty() && w.drops(DropReason::Unknown) == 2, "nobody wants them");
}

#[test]
fn raw_datagrams_have_a_budget() {
    let mut w = World::asking(Config::default());
    for _ in 0..1000 {
        w.inject(address(1), b"x");
    }
    w.turn();
    let one = RAW_PER_SOURCE.burst as u64;
    assert_eq!((seen(&w).len() as u64, w.drops(DropReason::RawBudget)), (one, 1000 - one));
    for n in 2..10_000 {
        w.inject(address(n), b"x");
        assert!(w.core.raw_kept().0 <= MAX_RAW_QUESTIONS);
    }
    w.turn();
    assert_eq!(seen(&w).len() as u64, RAW_TOTAL.burst as u64);
}

#[test]
fn a_host_that_pulls_gets_them_too_while_there_is_room() {
    let config = Config { max_queued_events: 20, raw_datagrams: true, ..Config::default() };
    let mut w = World::new(config);
    for n in 0..100 {
        w.inject(address(n), b"x");
    }
    w.turn();
    w.pull(usize::MAX);
    assert_eq!((seen(&w).len(), w.drops(DropReason::RawBudget)), (20, 80));
}

#[test]
fn the_queue_has_its_bounds_also_where_messages_go_to_a_callback() {
    for config in [
        Config { max_queued_events: 20, ..Config::default() },
        Config { max_queued_events: 1000, max_queued_event_bytes: 64 << 10, ..Config::default() },
    ] {
        let takes = Takes { message: true, ..Takes::default() };
        let mut w = World::taking(takes, Config { raw_datagrams: true, ..config });
        for n in 0..500 {
            w.inject(address(n), &[b'x'; 1400]);
        }
        w.turn();
        let kept = w.core.pulled.len();
        assert!((20..=47).contains(&kept) && w.drops(DropReason::RawBudget) as usize == 500 - kept, "{kept}");
        w.pull(usize::MAX);
        assert_eq!(w.core.pulled_bytes, 0);
    }
}

#[test]
fn who_looks_for_servers_is_answered_within_the_length_of_the_query() {
    let info = b"name=Test players=3".to_vec();
    let mut w = World::asking(Config { discovery_info: Some(info.clone()), ..Config::default() });
    let fits = query::HEAD_LEN + info.len();
    w.inject(address(1), &query_of(1200));
    w.inject(address(2), &query_of(fits));
    w.inject(address(3), &query_of(fits - 1));
    w.inject(address(4), &query_of(12));
    let answers = leaving(&mut w);
    assert_eq!(answers.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [address(1), address(2)]);
    for (_, datagram) in &answers {
        assert_eq!(query::parse_answer(datagram), Some(([5; 8], &info[..])));
    }
    assert_eq!((w.drops(DropReason::RawBudget), w.drops(DropReason::Malformed)), (1, 1));
    w.core.set_discovery_info(Some(b"other".to_vec())).expect("short");
    w.inject(address(1), &query_of(1200));
    assert_eq!(query::parse_answer(&leaving(&mut w)[0].1), Some(([5; 8], &b"other"[..])));
    let long = w.core.set_discovery_info(Some(vec![0; query::MAX_INFO + 1]));
    assert_eq!(long.err().map(|e| e.kind()), Some(ErrorKind::Argument));
    w.turn();
    assert!(seen(&w).is_empty(), "the server answers by itself");
}

#[test]
fn nobody_gets_more_bytes_than_they_sent() {
    let mut random = SmallRng::seed_from_u64(3);
    let mut w = World::asking(Config { discovery_info: Some(vec![1; 600]), ..Config::default() });
    let (mut sent, mut got): (HashMap<_, usize>, HashMap<_, usize>) = Default::default();
    for _ in 0..20_000 {
        let from = random.random_range(0..30);
        let datagram = if random.random() {
            query_of(random.random_range(0..1200))
        } else {
            vec![b'x'; random.random_range(0..100)]
        };
        *sent.entry(address(from)).or_default() += datagram.len();
        w.inject(address(from), &datagram);
        let _refused = answer(&mut w, random.random_range(0..40), &vec![0; random.random_range(0..100)]);
        for (to, datagram) in leaving(&mut w) {
            *got.entry(to).or_default() += datagram.len();
        }
        if random.random_range(0..10) == 0 {
            w.now = w.now + ms(random.random_range(0..200));
        }
    }
    assert!(got.len() == 30 && got.iter().all(|(to, bytes)| *bytes <= sent[to]));
}
