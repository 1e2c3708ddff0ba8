//! What one datagram costs, without sockets: `cargo bench --bench datagrams`.

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use gamekeeper::metrics::peer::PeerStats;
use gamekeeper::protocol::crypto::Aead;
use gamekeeper::protocol::wire::mpgameserver::{
    kind, open_sealed, write_sealed, Direction, Header, Outgoing,
};
use gamekeeper::server::core::watched::SLOTS_PER_READING;
use gamekeeper::server::events::RetryMode;
use support::{Hall, TICK};

/// Peers of the benchmarks that time a datagram or a flush: enough to be read between two looks at the clock.
const PEERS: usize = 64;

fn seal(key: &Aead, seq: u16, data: &[u8], out: &mut Vec<u8>) {
    let header = Header { time: 1_700_000_000, seq, ack: 1, kind: kind::APP, count: 1, ack_bits: 0 };
    let message = Outgoing { kind: kind::APP, msgseq: 1, head: &[], data };
    write_sealed(header, Direction::ToServer, std::iter::once(message), key, out).expect("it fits");
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    let key = Aead::new(&[7; 16]).expect("sixteen bytes are a key");
    for bytes in [64, 1200] {
        let data = vec![5; bytes];
        let mut out = Vec::with_capacity(2048);
        group.bench_function(format!("seal {bytes}"), |b| {
            b.iter(|| {
                out.clear();
                seal(&key, 1, black_box(&data), &mut out);
            });
        });
        let sealed = out.clone();
        // Opening is done in place: the copy, some nanoseconds, is counted in.
        group.bench_function(format!("open {bytes}"), |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&sealed));
                open_sealed(&mut out, &key).expect("its own").len()
            });
        });
    }
    group.finish();
}

/// Times only what `part` does between two looks at the clock, over so many rounds.
fn timed(rounds: u64, mut round: impl FnMut(&mut dyn FnMut(&mut dyn FnMut()))) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..rounds {
        round(&mut |part| {
            let start = Instant::now();
            part();
            sum += start.elapsed();
        });
    }
    sum
}

fn core(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(PEERS as u64));
    let mut hall = Hall::new(PEERS);
    group.bench_function("handle a datagram with 64 bytes (times 64)", |b| {
        b.iter_custom(|rounds| {
            timed(rounds, |time| {
                hall.now = hall.now + TICK;
                let mut datagrams = hall.datagrams(&[1; 64]);
                time(&mut || assert_eq!(hall.handle(&mut datagrams), PEERS));
                hall.core.handle_timeout(hall.now);
                hall.flush();
            })
        });
    });
    let mut hall = Hall::new(PEERS);
    group.bench_function("flush a peer with 200 bytes (times 64)", |b| {
        b.iter_custom(|rounds| {
            timed(rounds, |time| {
                hall.now = hall.now + TICK;
                let mut datagrams = hall.datagrams(&[1; 64]);
                hall.handle(&mut datagrams);
                hall.core.handle_timeout(hall.now);
                hall.send(&[2; 200], RetryMode::None);
                time(&mut || assert_eq!(hall.flush(), PEERS));
            })
        });
    });
    group.finish();
}

/// Each peer sends 32 bytes and is sent 200, sixty times a second.
fn tick(c: &mut Criterion) {
    const MANY: usize = 1000;
    let mut group = c.benchmark_group("tick");
    group.throughput(Throughput::Elements(MANY as u64));
    group.sample_size(20);
    for (name, retry) in [("once", RetryMode::None), ("guaranteed", RetryMode::OnTimeout)] {
        let mut hall = Hall::new(MANY);
        group.bench_function(format!("1000 peers, sent to {name}"), |b| {
            b.iter_custom(|rounds| {
                timed(rounds, |time| {
                    hall.now = hall.now + TICK;
                    let mut datagrams = hall.datagrams(&[1; 32]);
                    time(&mut || {
                        assert_eq!(hall.handle(&mut datagrams), MANY);
                        hall.core.handle_timeout(hall.now);
                        hall.send(&[2; 200], retry);
                        assert_eq!(hall.flush(), MANY);
                    });
                })
            });
        });
    }
    group.finish();
}

/// What a dashboard reads once a second: how long it holds the core for a piece of the peers, and how long all pieces take.
fn watched(c: &mut Criterion) {
    const MANY: usize = 5000;
    let mut group = c.benchmark_group("watched");
    let mut hall = Hall::new(MANY);
    let mut rows = Vec::with_capacity(MANY);
    let (mut sum, mut next) = (PeerStats::default(), 0);
    group.bench_function(format!("{SLOTS_PER_READING} of {MANY} peers, with the core held"), |b| {
        b.iter(|| {
            rows.clear();
            next = hall.core.read_peers(hall.now, next, &mut rows, &mut sum).unwrap_or(0);
            rows.len()
        });
    });
    group.bench_function(format!("all {MANY} peers"), |b| {
        b.iter(|| {
            rows.clear();
            let mut next = Some(0);
            while let Some(slot) = next {
                next = hall.core.read_peers(hall.now, slot, &mut rows, &mut sum);
            }
            assert_eq!(rows.len(), MANY);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = packets, core, tick, watched
}
criterion_main!(benches);
