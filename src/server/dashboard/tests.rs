//! Values to write down.

use super::*;
use crate::metrics::series::SERIES_SECONDS;

/// A peer with figures of its own.
pub(crate) fn peer(number: u64) -> PeerRow {
    PeerRow {
        id: number << 24 | number,
        address: format!("[2001:db8::{number}]:{}", 4000 + number).parse().expect("an address"),
        door: Door::Udp,
        wire: if number % 2 == 0 { Wire::Native } else { Wire::Mpgameserver },
        status: Status::Connected,
        token: 0x1000 + number as u32,
        latency: Duration::from_millis(10 * number),
        queued_messages: number as u32,
        queued_bytes: 100 * number as usize,
        age: Duration::from_secs(60 * number),
        stats: PeerStats { assembled: 110, acked: 90, timeouts: 10, pending: 10, ..PeerStats::default() },
    }
}

/// A server with a different number in every place.
pub(crate) fn overview() -> Overview {
    let mut drops = [0; DROP_REASONS];
    drops.iter_mut().enumerate().for_each(|(at, count)| *count = 100 + at as u64);
    let second = |at: usize| Second {
        packets_sent: 1000 + at as u32,
        packets_received: 900 + at as u32,
        bytes_sent: 100_000 + at as u32,
        bytes_received: 90_000 + at as u32,
        latency_us: 20_000 + at as u32,
    };
    let profile = TimeProfile { messages: 0.2, update: 0.1, network: 0.15, idle: 0.55 };
    Overview {
        now_s: 1_800_000_000,
        uptime: Duration::from_secs(3723),
        address: "127.0.0.1:1474".to_owned(),
        rate_hz: 60.0,
        max_peers: 5000,
        stats: ServerStats {
            peers: 3,
            handshakes: 1,
            connects: 11,
            disconnects: 8,
            handshake_timeouts: 4,
            packets_sent: 123_456,
            packets_received: 98_765,
            bytes_sent: 12_345_678,
            bytes_received: 9_876_543,
            drops,
            ticks: 223_380,
            ticks_missed: 7,
            tick_rate_hz: 60.0,
            profile,
            migrations: 2,
            log_lines_suppressed: 5,
            joining: 6,
            refusals: 9,
        },
        packets: PeerStats {
            assembled: 120_000,
            sent: 130_000,
            dropped: 31,
            received: 90_000,
            acked: 118_000,
            timeouts: 1_900,
            pending: 100,
            bytes_sent: 12_000_000,
            bytes_received: 9_000_000,
            messages_resent: 1_700,
            messages_received: 88_000,
            messages_duplicate: 41,
            messages_malformed: 2,
            messages_refused: 3,
        },
        queued_messages: 17,
        queued_bytes: 4096,
        series: (0..SERIES_SECONDS).map(second).collect(),
        profile: (0..SERIES_SECONDS).map(|at| (profile, 59 + (at % 3) as u32)).collect(),
        quality: (0..SERIES_SECONDS as u32)
            .map(|at| Quality {
                p50_us: 20_000,
                p90_us: 40_000,
                p99_us: 80_000 + at,
                max_us: 90_000,
                loss: 0.01,
            })
            .collect(),
        log: vec![LogLine { at_s: 1_799_999_999, kind: "info", text: "listening".to_owned() }],
    }
}

#[test]
fn all_counts_are_added_up() {
    let mut sum = overview().packets;
    let one = sum;
    add(&mut sum, &one);
    assert_eq!((sum.assembled, sum.messages_refused), (240_000, 6));
    assert_eq!((sum.messages_duplicate, sum.bytes_received, sum.pending), (82, 18_000_000, 200));
    sum.acked = u64::MAX;
    add(&mut sum, &one);
    assert_eq!(sum.acked, u64::MAX);
}

#[test]
fn loss_is_a_share_of_what_is_known() {
    assert!((peer(1).loss() - 0.1).abs() < 1e-9);
    assert_eq!(PeerRow { stats: PeerStats::default(), ..peer(1) }.loss(), 0.0);
}

/// A page that asks for nothing from elsewhere, has no inline handlers, and never makes markup of texts.
#[test]
fn the_page_is_self_contained_and_makes_no_markup_of_texts() {
    // A name that nobody asks for.
    let page = PAGE.replace("http://www.w3.org/2000/svg", "");
    for forbidden in [
        "http://",
        "https://",
        "@import",
        "url(",
        "<link rel=\"stylesheet",
        "<img",
        "<iframe",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        " onclick=",
        " onload=",
        " style=",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!((PAGE.matches("<script>").count(), PAGE.matches("<style>").count()), (1, 1));
}

#[test]
fn every_reason_for_a_drop_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = DROP_NAMES.iter().collect();
    assert_eq!(names.len(), DROP_REASONS);
    use crate::metrics::server::DropReason;
    assert_eq!(DROP_NAMES[DropReason::HelloBudget as usize], "hello_budget");
    assert_eq!(DROP_NAMES[DropReason::RawBudget as usize], "raw_budget");
    assert_eq!(DROP_NAMES[DropReason::SendFailed as usize], "send_failed");
}
