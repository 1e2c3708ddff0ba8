//! How well the native wire does, on the virtual clock: `cargo test --lib native_figures -- --nocapture` prints the figures.

mod transfers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ledger::quantile;
use super::native::NativePair;
use super::network::{Bottleneck, Link, Network, Side};
use super::pair::settings;
use crate::protocol::connection::{Event, Settings};
use crate::protocol::delivery::{Delivery, Limits, Mode};
use crate::protocol::mutants::{self, Mutant};
use crate::protocol::time::Time;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Megabits per second in bytes per second.
const MEGABIT: f64 = 125_000.0;
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

#[test]
fn a_single_message_is_asked_about() {
    for (loss, bound) in [(0.05, 110.0), (0.2, 300.0)] {
        let s = Stream { every: 700 * MS, ..Stream::of(Mode::Guaranteed, 0, 3000) };
        let all = pooled(&Link::lossy(20, loss), &s, 4);
        all.print(&format!("guaranteed, one in 0.7 s, {} % loss", loss * 100.0));
        assert_eq!(all.late.len(), all.sent as usize);
        assert!(all.ms(0.99) <= bound);
    }
}

/// Lengths of what `from` sends from now on while `act` lasts.
fn lengths(p: &mut NativePair, from: Side, act: impl FnOnce(&mut NativePair)) -> Vec<usize> {
    p.sizes = Some(Default::default());
    act(p);
    std::mem::take(&mut p.sizes.take().unwrap()[from as usize])
}

#[test]
fn packets_cost_few_bytes() {
    const LEN: usize = 20;
    let first = [24, 20];
    let with_ack = [30, 26];
    for side in Side::BOTH {
        let mut p = warm(1, 20 * MS, [None, None]);
        let i = side as usize;
        // Nothing waits to be acknowledged.
        p.run(500 * MS);
        let alone = lengths(&mut p, side, |p| p.send(side, &[1; LEN], Mode::Once, 0));
        let alone = alone[0] - LEN;
        p.run(500 * MS);
        p.send(side.other(), &[2; LEN], Mode::Once, 0);
        p.run(50 * MS);
        let acked = lengths(&mut p, side, |p| p.send(side, &[1; LEN], Mode::Once, 0));
        let acked = acked[0] - LEN;
        let further = |p: &mut NativePair, mode: Mode| {
            p.run(500 * MS);
            let now = p.now;
            let mut of = |count: usize| {
                let sizes = lengths(p, side, |p| {
                    for _ in 0..count {
                        p.end(side).send(now, vec![3; LEN].into(), mode, 0).unwrap();
                    }
                    p.flush();
                });
                assert_eq!(sizes.len(), 1);
                sizes[0]
            };
            let one = of(1);
            of(2) - one - LEN
        };
        let more = [Mode::Once, Mode::Guaranteed, Mode::Ordered].map(|mode| further(&mut p, mode));
        println!("{side:?}: {alone} bytes beside a message, {acked} with an acknowledgement, {more:?} per further one");
        assert!(alone <= first[i] && acked <= with_ack[i], "{alone} {acked}");
        assert!(more[0] <= 3 && more[1] <= 5, "{more:?}");
    }
    // Minutes later, with ranges of acknowledgements coming and going, they still do.
    let mut p = warm(1, 20 * MS, [None, None]);
    let mut most = [0; 2];
    for i in 0..20_000 {
        p.run(10 * MS);
        p.sizes = Some(Default::default());
        for side in Side::BOTH {
            p.send(side, &[1; LEN], Mode::Once, 0);
        }
        let sizes = p.sizes.take().unwrap();
        for (most, sizes) in most.iter_mut().zip(sizes) {
            if i % 100 != 0 {
                *most = sizes.into_iter().fold(*most, usize::max);
            }
        }
        p.events = Default::default();
    }
    println!("of 20,000 packets with acknowledgements the longest: {most:?}");
    // Once in a second the server tells its clock.
    assert!(most[0] <= with_ack[0] + LEN && most[1] <= with_ack[1] + LEN, "{most:?}");
}

#[test]
fn acknowledgements_of_unreliable_state_cost_no_datagrams() {
    for (hertz, loss) in [(20, 0.0), (20, 0.02), (60, 0.0), (60, 0.02)] {
        let mut p = warm(2, 30 * MS, [None, None]);
        p.network.links.iter_mut().for_each(|l| l.loss = loss);
        let before = p.sent;
        let count = 60 * hertz;
        let mut next = p.now;
        for _ in 0..count {
            next = next + SECOND / hertz;
            while p.step(next) {}
            for side in Side::BOTH {
                p.send(side, &[1; 50], Mode::Once, 0);
            }
        }
        let sent = [0, 1].map(|i| p.sent[i].0 - before[i].0);
        println!(
            "{hertz} Hz both ways, {} % loss: {sent:?} datagrams for {count} messages each way",
            loss * 100.0
        );
        assert!(sent.iter().all(|n| *n <= u64::from(count + count / 50 + 2)), "{sent:?}");
    }
}

#[test]
fn silence_and_rates_of_games_delay_nothing() {
    for side in Side::BOTH {
        let mut p = warm(4, 25 * MS, [None, None]);
        for mode in [Mode::Once, Mode::Guaranteed] {
            p.run(10 * SECOND);
            p.events = Default::default();
            let now = p.now;
            p.send(side, &message(now), mode, 0);
            p.run(SECOND);
            let mut late = Vec::new();
            take(&mut p, side.other(), &mut late);
            assert_eq!(late.iter().map(|(_, l)| *l).collect::<Vec<_>>(), [25 * MS], "{mode:?}");
        }
        for (loss, mode) in [(0.0, Mode::Once), (0.05, Mode::Once), (0.0, Mode::Guaranteed)] {
            let mut p = warm(5, 25 * MS, [None, None]);
            p.network.links.iter_mut().for_each(|l| l.loss = loss);
            let every = SECOND / 60;
            let m =
                stream(&mut p, &Stream { from: side, delivery: mode.into(), copies: 0, every, count: 3600 });
            m.print(&format!("{mode:?} at 60 Hz from the {side:?}, {} % loss", loss * 100.0));
            assert_eq!(m.late.last(), Some(&(25 * MS)), "no message waits for window or pace");
        }
    }
}

#[test]
fn the_path_s_size_is_found() {
    for (carried, found) in [(1472, 1472), (1471, 1452), (1279, 1200), (1280, 1280)] {
        let mut p = NativePair::connected(1, Link::delay(20));
        p.mtu = carried;
        p.run(20 * SECOND);
        let sizes = Side::BOTH.map(|side| p.end(side).datagram_size());
        assert_eq!(sizes, [found; 2], "a path of {carried} bytes");
        p.send(Side::Client, &vec![1; 100_000], Mode::Guaranteed, 0);
        p.run(5 * SECOND);
        assert_eq!(p.messages(Side::Server).len(), 1);
    }
}

/// How long a transfer of `bytes` takes, with messages in order beside it, if the path carries `carried` bytes of a datagram from
/// its midst on; and the sizes that are believed in afterwards.
fn narrowed(from: Side, link: Link, bytes: usize, carried: usize) -> (Duration, [usize; 2]) {
    let mut p = NativePair::connected(1, link);
    p.run(10 * SECOND);
    assert_eq!(Side::BOTH.map(|side| p.end(side).datagram_size()), [1472; 2]);
    let start = p.now;
    p.send(from, &vec![1; bytes], Mode::Guaranteed, 1);
    for i in 0..20_u8 {
        p.send(from, &[i; 1300], Mode::Ordered, 0);
        p.send(from, &[i; 100], Mode::Guaranteed, 0);
    }
    p.run(50 * MS);
    assert!(p.end(from).queued_messages() > 0, "it is under way");
    p.mtu = carried;
    while p.end(from).queued_messages() > 0 && p.now < start + 30 * SECOND {
        p.run(5 * MS);
    }
    let took = p.now.since(start);
    p.run(SECOND);
    assert_eq!(p.messages(from.other()).len(), 41, "each once");
    (took, Side::BOTH.map(|side| p.end(side).datagram_size()))
}

#[test]
fn a_path_that_narrows_costs_a_moment() {
    for (delay, bytes) in [(20, 2_000_000), (100, 1_000_000), (20, 50_000)] {
        for from in Side::BOTH {
            let (before, _) = narrowed(from, Link::delay(delay), bytes, 1472);
            for carried in [1200, 1300, 1400] {
                let (took, sizes) = narrowed(from, Link::delay(delay), bytes, carried);
                println!(
                    "{bytes} bytes, {delay} ms, {carried} of 1472 bytes: {took:?} instead of {before:?}"
                );
                assert_eq!(sizes[from as usize], 1200);
                // Two probes' times, what was lost again, and the path's rate to be found anew; then the rest in more datagrams.
                let most = before * 3 / 2 + SECOND + 5 * 2 * delay as u32 * MS;
                assert!(took < most, "{took:?} instead of {before:?}");
            }
        }
    }
    let unseen = mutants::with(Some(Mutant::NarrowPathUnseen), || {
        let mut p = NativePair::connected(1, Link::delay(20));
        p.run(10 * SECOND);
        p.mtu = 1300;
        p.send(Side::Client, &vec![1; 100_000], Mode::Guaranteed, 1);
        p.run(4 * SECOND);
        p.messages(Side::Server).is_empty()
    });
    assert!(unseen, "the test would not notice");
}

#[test]
fn a_path_that_narrows_is_noticed_by_what_is_sent_once_and_tried_again() {
    let mut p = NativePair::connected(1, Link::delay(20));
    p.run(10 * SECOND);
    p.mtu = 1300;
    // Nothing but long ones: no shorter one shows that the path is there at all.
    let start = p.now;
    while p.messages(Side::Client).is_empty() && p.now < start + 10 * SECOND {
        p.send(Side::Server, &[1; 1300], Mode::Once, 0);
        p.run(16 * MS);
    }
    let blind = p.now.since(start);
    println!("blind for {blind:?}");
    assert!(blind < SECOND * 3 / 2, "{blind:?}");
    assert_eq!(p.end(Side::Server).datagram_size(), 1200);
    p.mtu = 1472;
    p.run(90 * SECOND);
    assert_eq!(p.end(Side::Server).datagram_size(), 1472, "it has widened again");
    p.mtu = 1300;
    let start = p.now;
    p.messages(Side::Client);
    while !p.messages(Side::Client).iter().any(|m| m.len() == 1300) && p.now < start + 10 * SECOND {
        p.send(Side::Server, &[1; 1300], Mode::Once, 0);
        p.send(Side::Server, &[2; 30], Mode::Guaranteed, 0);
        p.run(16 * MS);
    }
    let blind = p.now.since(start);
    println!("blind for {blind:?} beside shorter ones");
    assert!(blind < SECOND / 4, "{blind:?}");
}

#[test]
fn losses_by_chance_are_no_narrow_path() {
    for seed in 0..5 {
        let mut p = NativePair::connected(seed, Link::delay(20));
        p.run(10 * SECOND);
        p.network.links = [Link::lossy(20, 0.1), Link::lossy(20, 0.1)];
        for _ in 0..4 {
            p.send(Side::Client, &vec![1; 500_000], Mode::Guaranteed, 0);
            for _ in 0..500 {
                p.send(Side::Client, &[1; 50], Mode::Once, 0);
                p.run(10 * MS);
            }
        }
        assert_eq!(p.end(Side::Client).datagram_size(), 1472, "seed {seed}");
    }
}

#[test]
fn jitter_costs_little() {
    let link = Link { jitter: 10 * MS, reorder: 0.02, ..Link::delay(20) };
    let mut worst: f64 = 0.0;
    for (mode, every) in [(Mode::Guaranteed, 10 * MS), (Mode::Guaranteed, 3 * MS), (Mode::Guaranteed, MS)] {
        let s = Stream { every, ..Stream::of(mode, 0, 10_000) };
        let all = pooled(&link, &s, 2);
        all.print(&format!("jitter of 10 ms, 2 % up to 300 ms late, every {every:?}"));
        let part = all.resent as f64 / f64::from(all.sent);
        println!("  {:.1} % sent again for nothing", part * 100.0);
        worst = worst.max(part);
    }
    assert!(worst < 0.1, "{worst}");
}

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/native_latency.md");

/// p50, p95 and p99 of one cell, and how many were lost, as text.
fn cell(link: &Link, rate: Option<f64>, mode: Mode, copies: u8, count: u32, seed: u64) -> String {
    let lines = [0, 1].map(|_| rate.map(|rate| Bottleneck::shared(rate, (rate * 0.2).max(6000.0))));
    let mut p = warm(seed, link.delay, lines);
    p.network.links = [link.clone(), link.clone()];
    let m = stream(&mut p, &Stream::of(mode, copies, count));
    assert!(mode == Mode::Once || m.late.len() == m.sent as usize, "{mode:?} {link:?}");
    format!("{:.0} / {:.0} / {:.0}", m.ms(0.5), m.ms(0.95), m.ms(0.99))
}

#[test]
fn the_grid_is_as_recorded() {
    const COUNT: u32 = 500;
    let mut text = String::from(
        "# Latency on the native wire\n\n\
         Milliseconds from the call that sends to the event that delivers, p50 / p95 / p99, on the virtual clock: 64-byte messages, \
         100 a second, from client to server. Loss is random and the same both ways, the delay is one way, the line's buffer holds 200 ms.\n\
         Made by `GAMEKEEPER_BLESS=1 cargo test --lib native_figures`, compared by every other run.\n",
    );
    for (name, rate) in
        [("unlimited", None), ("1 Mbit/s", Some(MEGABIT)), ("256 kbit/s", Some(0.256 * MEGABIT))]
    {
        text += &format!(
            "\n## {name}\n\n| loss % | delay ms | unreliable | guaranteed | ordered | guaranteed, one copy ahead |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for loss in [0, 1, 5, 10, 20] {
            for delay in [5, 20, 50, 100] {
                let link = Link::lossy(delay, f64::from(loss) / 100.0);
                let run = |mode, copies| cell(&link, rate, mode, copies, COUNT, 7);
                let cells =
                    [(Mode::Once, 0), (Mode::Guaranteed, 0), (Mode::Ordered, 0), (Mode::Guaranteed, 1)]
                        .map(|(mode, copies)| run(mode, copies));
                text += &format!("| {loss} | {delay} | {} |\n", cells.join(" | "));
            }
        }
    }
    println!("{text}");
    if std::env::var_os("GAMEKEEPER_BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(SNAPSHOT).parent().unwrap()).unwrap();
        return std::fs::write(SNAPSHOT, text).unwrap();
    }
    // The tests' random numbers are others on 32-bit machines.
    if cfg!(target_pointer_width = "64") {
        let recorded = std::fs::read_to_string(SNAPSHOT).unwrap_or_default().replace("\r\n", "\n");
        assert!(recorded == text, "figures changed: look at them, then GAMEKEEPER_BLESS=1");
    }
}
