//! Peers that are proven and behave in many ways: what they may cost.

use super::world::{address, ms, World};
use crate::protocol::connection::State;
use crate::protocol::delivery::Mode;
use crate::server::config::Config;
use crate::server::events::*;

fn options(retry: RetryMode) -> SendOptions {
    SendOptions { retry, ..SendOptions::default() }
}

/// A time without end, for the side that shall not give up.
fn patient(config: &Config) -> Config {
    Config { connection_timeout: ms(3_600_000), ..config.clone() }
}

#[test]
fn timers_do_not_pile_up_however_peers_talk() {
    let slow =
        Config { keep_alive_interval: ms(60_000), connection_timeout: ms(3_600_000), ..Config::default() };
    let eager = Config { send_interval: ms(0), ..Config::default() };
    for config in [Config::default(), slow.clone(), Config { send_interval: ms(1), ..slow }, eager] {
        let mut w = World::new(config);
        let peers: Vec<_> = (0..5).map(|_| w.join()).collect();
        for i in 0..5000u32 {
            for (end, peer) in &peers {
                w.send(*end, &i.to_be_bytes(), Mode::Once);
                if i % 3 == 0 {
                    let retry = if i % 2 == 0 { RetryMode::OnTimeout } else { RetryMode::None };
                    w.core.send(w.now, *peer, [0; 40][..].into(), &mut options(retry)).expect("queued");
                }
            }
            w.run(ms(2));
            assert!(w.core.timer_count() <= 3 * 5 + 64, "{} timers", w.core.timer_count());
        }
        assert!(w.disconnects().is_empty());
    }
}

#[test]
fn a_peer_that_never_acknowledges_costs_bounded_memory() {
    let config = Config { max_queued_bytes: 100_000, max_queued_messages: 500, ..Config::default() };
    let mut w = World::new(config.clone());
    let end = w.client_with(address(0), &patient(&config));
    let peer = w.joined(end);
    w.ends[end].deaf = true;
    let (mut refused, mut most_bytes, mut most_pending) = (0, 0, 0);
    for i in 0..60 * 60 {
        let retry = [RetryMode::None, RetryMode::BestEffort, RetryMode::OnTimeout][i % 3];
        for _ in 0..4 {
            let on_sent: Option<SentCallback> = Some(Box::new(|_, _, _| ()));
            let options = SendOptions { retry, tag: None, on_sent, ..SendOptions::default() };
            refused += usize::from(w.core.send(w.now, peer, [9; 700][..].into(), &mut { options }).is_err());
        }
        w.run(ms(17));
        let info = w.core.peer_info(peer).expect("it talks, so it stays");
        most_bytes = most_bytes.max(info.queued_bytes);
        most_pending = most_pending.max(info.stats.pending);
        assert!(info.queued_messages <= 500);
        assert!(w.core.completions.len() <= 500);
    }
    assert!(refused > 1000, "{refused} refused");
    assert!(most_bytes <= 100_000, "{most_bytes} bytes queued");
    assert!(most_pending <= 4096, "{most_pending} packets remembered");
    assert_eq!(w.core.stats().peers, 1);
    // Each message that was taken is told its outcome in the end.
    let now = w.now;
    w.core.close(now);
    w.run(ms(10_000));
    assert_eq!(w.completed.len(), 4 * 60 * 60 - refused);
    assert!(w.core.completions.is_empty());
}

#[test]
fn one_that_falls_silent_is_dropped_in_time_and_not_before() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    w.run(ms(1000));
    w.ends[end].mute = true;
    w.run(w.config.connection_timeout - ms(150));
    assert!(w.disconnects().is_empty());
    w.run(ms(300));
    assert_eq!(w.disconnects(), [(peer, DisconnectReason::Timeout)]);
}

#[test]
fn idle_peers_are_kept_by_a_datagram_per_interval() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    w.run(ms(1000));
    let before = w.core.peer_info(peer).expect("live").stats;
    w.run(ms(100_000));
    let after = w.core.peer_info(peer).expect("live").stats;
    let (sent, received) = (after.assembled - before.assembled, after.received - before.received);
    // A datagram each 0.1 s each way, and now and then an acknowledgement beside them.
    assert!((900..=2200).contains(&sent) && (900..=2200).contains(&received), "{sent} {received}");
    assert_eq!(w.ends[end].connection.state(), State::Connected);
}

#[test]
fn a_peer_that_is_told_to_go_gets_what_was_queued_first() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    for _ in 0..20 {
        w.core.send(w.now, peer, [8; 20_000][..].into(), &mut options(RetryMode::OnTimeout)).expect("queued");
    }
    let info = DisconnectInfo::new(DisconnectReason::Host(1234), "bye");
    w.core.disconnect(w.now, peer, info, true).expect("live");
    assert_eq!(w.core.peer_info(peer).expect("live").status, Status::Disconnecting);
    w.run_until(|w| w.ends[end].closed().is_some());
    assert_eq!(w.ends[end].messages().len(), 20);
    assert_eq!(w.disconnects(), [(peer, DisconnectReason::Host(1234))]);
}

#[test]
fn a_datagram_replayed_or_reordered_by_another_does_no_harm() {
    let mut w = World::new(Config::default());
    let (end, peer) = w.join();
    let source = w.ends[end].address;
    w.run(ms(500));
    w.now = w.now + w.config.send_interval;
    w.send(end, b"once", Mode::Guaranteed);
    let datagrams = w.take_datagrams(end);
    assert_eq!(datagrams.len(), 1);
    for _ in 0..50 {
        w.inject(source, &datagrams[0]);
        // From elsewhere it is nobody's.
        w.inject(address(77), &datagrams[0]);
        w.run(ms(5));
    }
    assert_eq!(w.messages(peer), [b"once"]);
    assert_eq!(w.core.peers(), [peer]);
    let stats = w.core.stats();
    assert_eq!(stats.drops[crate::metrics::server::DropReason::Duplicate as usize], 49);
    assert_eq!(stats.drops[crate::metrics::server::DropReason::Unknown as usize], 50);
}
