//! Send rates: what leaves, for whom, and what leaves all the same.

use std::net::SocketAddr;

use super::world::{ms, World};
use crate::protocol::connection::{CloseReason, Farewell};
use crate::protocol::delivery::Mode;
use crate::server::config::Config;
use crate::server::events::*;

fn send(w: &mut World, peer: PeerId, data: &[u8]) {
    let mut options = SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() };
    w.core.send(w.now, peer, data.into(), &mut options).expect("its queue has room");
}

fn bytes_to(w: &World, to: SocketAddr) -> usize {
    w.sent.iter().filter(|(address, _)| *address == to).map(|(_, bytes)| bytes).sum()
}

#[test]
fn a_peer_gets_its_rate_and_in_the_end_everything() {
    let mut w = World::new(Config { peer_send_rate: 50_000, ..Config::default() });
    let (slow, free) = (w.join(), w.join());
    for _ in 0..10 {
        send(&mut w, slow.1, &[1; 100_000]);
    }
    let before = bytes_to(&w, w.ends[slow.0].address);
    w.run(ms(10_000));
    let bytes = bytes_to(&w, w.ends[slow.0].address) - before;
    assert!(bytes > 450_000 && bytes < 520_000, "{bytes}");
    let idle = bytes_to(&w, w.ends[free.0].address);
    assert!(idle < 50_000, "the other one has its own: {idle}");
    w.run(ms(15_000));
    assert_eq!(w.ends[slow.0].messages().len(), 10);
    assert_eq!(w.core.peer_info(slow.1).expect("live").queued_bytes, 0);
}

#[test]
fn peers_share_the_servers_rate_in_turns() {
    let mut w = World::new(Config { server_send_rate: 100_000, ..Config::default() });
    let all: Vec<_> = (0..8).map(|_| w.join()).collect();
    for (_, peer) in &all {
        send(&mut w, *peer, &[1; 1_000_000]);
    }
    let before: Vec<usize> = all.iter().map(|(end, _)| bytes_to(&w, w.ends[*end].address)).collect();
    w.run(ms(20_000));
    let after = all.iter().map(|(end, _)| bytes_to(&w, w.ends[*end].address));
    let shares: Vec<usize> = after.zip(before).map(|(after, before)| after - before).collect();
    let total: usize = shares.iter().sum();
    assert!(total > 1_900_000 && total < 2_050_000, "{total}");
    let (least, most) = (shares.iter().min(), shares.iter().max());
    assert!(most < least.map(|l| l + l / 4).as_ref(), "{shares:?}");
    // Somebody comes late, and does not wait for the others' megabytes.
    let (end, peer) = w.join();
    send(&mut w, peer, b"news");
    w.run(ms(1000));
    assert_eq!(w.ends[end].messages(), [b"news"]);
}

#[test]
fn what_must_leave_leaves_while_messages_wait() {
    let mut w = World::new(Config { server_send_rate: 5_000, ..Config::default() });
    let (greedy, quiet, leaver) = (w.join(), w.join(), w.join());
    send(&mut w, greedy.1, &[1; 4_000_000]);
    for n in 0..100u8 {
        w.send(quiet.0, &[n; 50], Mode::Guaranteed);
    }
    w.run(ms(2000));
    assert_eq!(w.messages(quiet.1).len(), 100);
    assert_eq!(w.ends[quiet.0].connection.queued_messages(), 0, "they were acknowledged");
    let now = w.now;
    w.core
        .disconnect(now, leaver.1, DisconnectInfo::new(DisconnectReason::Kicked, "out"), false)
        .expect("live");
    w.run(ms(1000));
    assert_eq!(w.ends[leaver.0].closed(), Some(CloseReason::Remote));
    // Newcomers are answered, and nobody falls silent for the other.
    w.join();
    w.run(ms(20_000));
    assert!(w.disconnects().iter().all(|(peer, _)| *peer == leaver.1));
    for end in [greedy.0, quiet.0] {
        assert_eq!(w.ends[end].closed(), None);
    }
}

#[test]
fn the_line_forgets_who_has_gone() {
    let mut w = World::new(Config { server_send_rate: 1_000, max_peers: 20, ..Config::default() });
    for _ in 0..20 {
        let all: Vec<_> = (0..5).map(|_| w.join()).collect();
        for (_, peer) in &all {
            send(&mut w, *peer, &[1; 100_000]);
        }
        w.run(ms(100));
        let waiting = w.core.peers.iter().filter(|p| p.waits_for_turn).count();
        assert!(waiting >= 4, "{waiting}");
        assert_eq!(w.core.rates.in_line(), waiting);
        let now = w.now;
        all.iter().for_each(|(end, _)| w.ends[*end].connection.close(now, false, Farewell::default()));
        w.run(ms(100));
        assert_eq!(w.core.rates.in_line(), 0);
        w.run(ms(7000));
    }
}
