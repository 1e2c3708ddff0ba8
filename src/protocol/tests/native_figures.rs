//! How well the native wire does, on the virtual clock: `cargo test --lib native_figures -- --nocapture` prints the figures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ledger::quantile;
use super::native::NativePair;
use super::network::{Bottleneck, Link, Network, Side};
use super::pair::settings;
use crate::protocol::connection::{Event, Settings};
use crate::protocol::delivery::{Delivery, Limits, Mode};
use crate::protocol::time::Time;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of a game's message.
const MESSAGE: usize = 64;
/// Time of a run in which the path is found out before it is measured.
const WARM_UP: Duration = Duration::from_secs(4);

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

/// A pair that has found out its path's round trip and size, in a network that is good so far.
fn warm(seed: u64, delay: Duration, bottlenecks: [Option<Arc<Mutex<Bottleneck>>>; 2]) -> NativePair {
    let link = Link { delay, ..Link::default() };
    let mut network = Network::new(seed, link.clone(), link);
    network.bottlenecks = bottlenecks;
    let limits = Limits { max_bytes: 32 << 20, ..(*settings().limits).clone() };
    let settings = Settings { limits: Arc::new(limits), ..settings() };
    let mut p = NativePair::connected_with(seed, settings, network);
    p.run(WARM_UP);
    p
}

/// A stream of messages one way.
#[derive(Clone)]
struct Stream {
    from: Side,
    delivery: Delivery,
    copies: u8,
    every: Duration,
    count: u32,
}

impl Stream {
    fn of(mode: Mode, copies: u8, count: u32) -> Stream {
        Stream { from: Side::Client, delivery: mode.into(), copies, every: 10 * MS, count }
    }
}

/// What became of one.
#[derive(Clone, Debug, Default)]
struct Measured {
    late: Vec<Duration>,
    sent: u32,
    /// Bytes of all datagrams of the run, both ways.
    bytes: u64,
    datagrams: [u64; 2],
    resent: u64,
}

impl Measured {
    fn add(&mut self, other: Measured) {
        self.late.extend(other.late);
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.resent += other.resent;
        for (all, more) in self.datagrams.iter_mut().zip(other.datagrams) {
            *all += more;
        }
        self.late.sort_unstable();
    }

    fn ms(&self, q: f64) -> f64 {
        ms(quantile(&self.late, q))
    }

    fn print(&self, name: &str) {
        println!(
            "{name:48} {:6} of {:6}, p50 {:5.1} p95 {:5.1} p99 {:5.1} p99.9 {:5.1} max {:5.1} ms, {:.1} bytes each, {} resent",
            self.late.len(),
            self.sent,
            self.ms(0.5),
            self.ms(0.95),
            self.ms(0.99),
            self.ms(0.999),
            self.ms(1.0),
            self.bytes as f64 / f64::from(self.sent),
            self.resent,
        );
    }
}

/// Notes how late the messages are that came to `side`.
fn take(p: &mut NativePair, side: Side, late: &mut Vec<(Time, Duration)>) -> u64 {
    let mut long = 0;
    for (at, event) in std::mem::take(&mut p.events[side as usize]) {
        let Event::Message { data, .. } = event else { continue };
        if data.len() > MESSAGE {
            long += data.len() as u64;
            continue;
        }
        let made = Time::from_micros(u64::from_be_bytes(data[..8].try_into().unwrap()));
        late.push((made, at.since(made)));
    }
    long
}

fn message(now: Time) -> [u8; MESSAGE] {
    let mut data = [0x5a; MESSAGE];
    data[..8].copy_from_slice(&now.as_micros().to_be_bytes());
    data
}

fn stream(p: &mut NativePair, stream: &Stream) -> Measured {
    let mut late = Vec::new();
    let (from, before) = (stream.from, p.sent);
    p.end(from).set_redundancy(stream.copies);
    let resent = p.end(from).stats().messages_resent;
    p.events = Default::default();
    let mut next = p.now;
    for _ in 0..stream.count {
        next = next + stream.every;
        while p.step(next) {}
        p.send(from, &message(p.now), stream.delivery, 0);
        take(p, from.other(), &mut late);
    }
    let sums = |p: &NativePair| [0, 1].map(|i| (p.sent[i].0 - before[i].0, p.sent[i].1 - before[i].1));
    let sums = sums(p);
    p.run(3 * SECOND);
    take(p, from.other(), &mut late);
    let mut late: Vec<Duration> = late.into_iter().map(|(_, late)| late).collect();
    late.sort_unstable();
    Measured {
        late,
        sent: stream.count,
        bytes: sums[0].1 + sums[1].1,
        datagrams: [sums[0].0, sums[1].0],
        resent: p.end(from).stats().messages_resent - resent,
    }
}

/// The same over several seeds, from either side.
fn pooled(link: &Link, s: &Stream, seeds: u64) -> Measured {
    let mut all = Measured::default();
    for seed in 0..seeds {
        let mut p = warm(seed, link.delay, [None, None]);
        p.network.links = [link.clone(), link.clone()];
        let from = Side::BOTH[seed as usize % 2];
        all.add(stream(&mut p, &Stream { from, ..s.clone() }));
    }
    all
}

#[test]
fn latency_under_loss() {
    const COUNT: u32 = 12_600;
    for (loss, bounds) in [(0.05, [80.0, 110.0, 35.0]), (0.2, [200.0, 260.0, 200.0])] {
        let link = Link::lossy(20, loss);
        let run = |name: &str, mode, copies| {
            let all = pooled(&link, &Stream::of(mode, copies, COUNT), 8);
            all.print(&format!("{name}, {} % loss, 20 ms each way", loss * 100.0));
            assert_eq!(all.late.len(), all.sent as usize, "{name}: all of them arrive, once");
            all
        };
        let guaranteed = run("guaranteed", Mode::Guaranteed, 0);
        let ordered = run("ordered", Mode::Ordered, 0);
        let twice = run("guaranteed, with a copy", Mode::Guaranteed, 1);
        let p99 = [&guaranteed, &ordered, &twice].map(|m| m.ms(0.99));
        assert!(p99.iter().zip(bounds).all(|(is, most)| *is <= most), "{p99:?}");
        assert!(twice.bytes <= 2 * guaranteed.bytes, "{} {}", twice.bytes, guaranteed.bytes);
    }
}
