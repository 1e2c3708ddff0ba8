//! Transfers over one bottleneck: what they use of it, how they share it, what they do to short messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{message, ms, take, warm, MEGABIT, MS, SECOND};
use crate::protocol::delivery::Mode;
use crate::protocol::tests::ledger::quantile;
use crate::protocol::tests::native::NativePair;
use crate::protocol::tests::network::{Bottleneck, Link, Side};
use crate::protocol::time::Time;

/// Bytes of a message of a transfer.
const CHUNK: usize = 64 << 10;

/// A pair that transfers, with a game's messages beside.
struct Flow {
    p: NativePair,
    from: Side,
    /// Bytes that still have to be queued.
    left: u64,
    /// Pause between two messages, and when the next is due.
    every: Duration,
    next: Time,
    began: Time,
    mode: Mode,
    late: Vec<(Time, Duration)>,
    arrived: u64,
    done: Option<Time>,
    total: u64,
}

impl Flow {
    fn new(p: NativePair, from: Side, bytes: u64, hertz: u32) -> Flow {
        let (began, every) = (p.now, SECOND / hertz);
        let late = Vec::new();
        let mut flow = Flow {
            p,
            from,
            left: bytes,
            every,
            next: began,
            began,
            mode: Mode::Once,
            late,
            arrived: 0,
            done: None,
            total: bytes,
        };
        flow.top_up();
        flow
    }

    fn next_time(&self) -> Time {
        self.p.next_time().map_or(self.next, |at| at.min(self.next))
    }

    fn top_up(&mut self) {
        while self.left > 0 && self.p.end(self.from).queued_bytes() < 4 << 20 {
            let len = CHUNK.min(self.left as usize);
            self.p.send(self.from, &vec![7; len], Mode::Guaranteed, 0);
            self.left -= len as u64;
        }
    }

    fn step(&mut self) {
        let next = self.next;
        if !self.p.step(next) {
            self.top_up();
            let data = message(self.p.now);
            self.p.send(self.from, &data, self.mode, 0);
            self.next = next + self.every;
        }
        self.arrived += take(&mut self.p, self.from.other(), &mut self.late);
        if self.arrived == self.total && self.done.is_none() {
            self.done = Some(self.p.now);
        }
    }

    /// How late 99 of 100 messages were beyond `delay`, from `from` after the beginning until the end of the transfer.
    fn p99(&self, from: Duration, delay: Duration) -> f64 {
        let (from, to) = (self.began + from, self.done.unwrap_or(self.p.now));
        let chosen = self.late.iter().filter(|(made, _)| *made >= from && *made < to);
        let mut late: Vec<Duration> = chosen.map(|(_, late)| late.saturating_sub(delay)).collect();
        late.sort_unstable();
        ms(quantile(&late, 0.99))
    }
}

/// Steps all flows in the order of their times until `limit`, or until `over`.
fn drive(flows: &mut [&mut Flow], limit: Time, over: impl Fn(&[&mut Flow]) -> bool) {
    while !over(flows) {
        let first = flows.iter_mut().min_by_key(|f| f.next_time()).expect("there are flows");
        if first.next_time() > limit {
            return;
        }
        first.step();
    }
}

/// A line of `megabits`, with a buffer of one product.
fn line(megabits: f64, round_trip: Duration) -> Arc<Mutex<Bottleneck>> {
    let rate = megabits * MEGABIT;
    Bottleneck::shared(rate, rate * round_trip.as_secs_f64())
}

#[test]
fn a_transfer_uses_a_lossy_path_and_does_not_delay_messages() {
    const BYTES: u64 = 16 << 20;
    for seed in 0..4 {
        let from = Side::BOTH[seed as usize % 2];
        let line = line(20.0, 100 * MS);
        let mut lines = [None, None];
        lines[from as usize] = Some(line.clone());
        let mut p = warm(seed, 50 * MS, lines);
        p.network.links.iter_mut().for_each(|l| l.loss = 0.01);
        let sent = p.sent[from as usize].1;
        let mut flow = Flow::new(p, from, BYTES, 60);
        let limit = flow.began + 60 * SECOND;
        drive(&mut [&mut flow], limit, |f| f[0].done.is_some());
        let took = flow.done.expect("it arrives").since(flow.began);
        let used = BYTES as f64 / took.as_secs_f64() / (20.0 * MEGABIT);
        let p99 = flow.p99(2 * SECOND, 50 * MS);
        let overhead = (flow.p.sent[from as usize].1 - sent) as f64 / BYTES as f64 - 1.0;
        println!(
            "16 MiB from the {from:?}, 20 Mbit/s, 100 ms, 1 % loss: {:.2} s, {:.1} % of the rate, messages p99 {p99:.1} ms from 2 s on ({:.1} before), {:.1} % overhead, {} overflowed",
            took.as_secs_f64(),
            used * 100.0,
            flow.p99(Duration::ZERO, 50 * MS),
            overhead * 100.0,
            line.lock().unwrap().dropped,
        );
        assert!(used >= 0.7, "{used}");
        assert!(p99 <= 30.0, "{p99}");
    }
}

#[test]
fn a_fast_path_with_loss_is_used() {
    let line = line(100.0, 60 * MS);
    let mut p = warm(1, 30 * MS, [None, Some(line)]);
    p.network.links.iter_mut().for_each(|l| l.loss = 0.01);
    let mut flow = Flow::new(p, Side::Server, 64 << 20, 60);
    let limit = flow.began + 60 * SECOND;
    drive(&mut [&mut flow], limit, |f| f[0].done.is_some());
    let took = flow.done.expect("it arrives").since(flow.began).as_secs_f64();
    let used = (64 << 20) as f64 / took / (100.0 * MEGABIT);
    println!("64 MiB, 100 Mbit/s, 60 ms, 1 % loss: {took:.2} s, {:.1} % of the rate", used * 100.0);
    assert!(used >= 0.6, "{used}");
}

#[test]
fn two_transfers_share() {
    for (seed, later, loss) in [(1, 0, 0.01), (2, 1000, 0.01), (3, 0, 0.0), (4, 1500, 0.0)] {
        let line = line(20.0, 100 * MS);
        let one = |seed| {
            let mut p = warm(seed, 50 * MS, [None, Some(line.clone())]);
            p.network.links.iter_mut().for_each(|l| l.loss = loss);
            p
        };
        let (mut first, mut second) = (one(seed), one(seed + 100));
        second.run(later * MS);
        first.run(SECOND / 100);
        let mut a = Flow::new(first, Side::Server, 16 << 20, 60);
        let mut b = Flow::new(second, Side::Server, 16 << 20, 60);
        let limit = a.began + 60 * SECOND;
        // What comes before the second has begun belongs to nobody.
        let start = b.began;
        drive(&mut [&mut a], start, |_| false);
        let alone = a.arrived;
        drive(&mut [&mut a, &mut b], limit, |f| f.iter().any(|f| f.done.is_some()));
        let share = (a.arrived - alone) as f64 / (a.arrived - alone + b.arrived) as f64;
        let took = a.p.now.since(a.began).as_secs_f64();
        let used = (a.arrived + b.arrived) as f64 / took / (20.0 * MEGABIT);
        println!(
            "two transfers, {} % loss, the second {later} ms later: first {:.1} %, together {:.1} % of the rate",
            loss * 100.0,
            share * 100.0,
            used * 100.0
        );
        assert!((0.4..=0.6).contains(&share), "{share}");
    }
}

/// NewReno without end: doubles, then adds a packet per round trip, halves once per round of losses.
struct Reno {
    line: Arc<Mutex<Bottleneck>>,
    /// Back from the line to the sender.
    round_trip: Duration,
    window: f64,
    threshold: f64,
    recovery_end: u64,
    next: u64,
    /// Acknowledgements under way, by the time when they come, and the packets that they are for.
    acks: VecDeque<(Time, u64)>,
    under_way: u64,
    expected: u64,
    arrived: u64,
}

impl Reno {
    const PACKET: usize = 1452;

    fn new(line: Arc<Mutex<Bottleneck>>, round_trip: Duration, now: Time) -> Reno {
        let mut reno = Reno {
            line,
            round_trip,
            window: 10.0,
            threshold: f64::INFINITY,
            recovery_end: 0,
            next: 0,
            acks: VecDeque::new(),
            under_way: 0,
            expected: 0,
            arrived: 0,
        };
        reno.send(now);
        reno
    }

    fn send(&mut self, now: Time) {
        while (self.under_way as f64) < self.window {
            if let Some(queued) = self.line.lock().unwrap().push(now, Reno::PACKET) {
                self.acks.push_back((now + queued + self.round_trip, self.next));
            }
            self.under_way += 1;
            self.next += 1;
            // All lost: its timer would bring it back here.
            if self.acks.is_empty() {
                self.under_way = 0;
                return;
            }
        }
    }

    fn next_time(&self) -> Option<Time> {
        self.acks.front().map(|(at, _)| *at)
    }

    fn step(&mut self) {
        let Some((now, number)) = self.acks.pop_front() else { return };
        self.arrived += Reno::PACKET as u64;
        let lost = number - self.expected;
        self.expected = number + 1;
        self.under_way = self.under_way.saturating_sub(1 + lost);
        if lost > 0 && number >= self.recovery_end {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.recovery_end = self.next;
        } else if self.window < self.threshold {
            self.window += 1.0;
        } else {
            self.window += 1.0 / self.window;
        }
        self.send(now);
    }
}

#[test]
fn a_transfer_and_reno_live_side_by_side() {
    for later in [0, 2000] {
        let line = line(20.0, 100 * MS);
        let p = warm(9, 50 * MS, [None, Some(line.clone())]);
        let mut flow = Flow::new(p, Side::Server, u64::MAX, 60);
        let mut reno = Reno::new(line, 100 * MS, flow.began + later * MS);
        let end = flow.began + 60 * SECOND;
        while flow.p.now < end {
            if reno.next_time().is_some_and(|at| at < flow.next_time()) {
                reno.step();
            } else {
                flow.step();
            }
        }
        let share = flow.arrived as f64 / (flow.arrived + reno.arrived) as f64;
        let used = (flow.arrived + reno.arrived) as f64 / 60.0 / (20.0 * MEGABIT);
        println!(
            "beside Reno {later} ms later: {:.1} %, together {:.1} % of the rate",
            share * 100.0,
            used * 100.0
        );
        assert!((0.2..=0.8).contains(&share), "{share}");
    }
}

#[test]
fn a_transfer_delays_a_short_message_by_one_packet() {
    // The line takes 0.6 ms for a full packet.
    let packet = 1500.0 / (20.0 * MEGABIT) * 1000.0;
    for (loss, mode) in
        [(0.0, Mode::Once), (0.0, Mode::Guaranteed), (0.01, Mode::Once), (0.01, Mode::Guaranteed)]
    {
        // Measured where it leaves: beyond the first line the queue is the path's.
        let line = line(20.0, 100 * MS);
        let mut p = warm(3, 50 * MS, [None, Some(line)]);
        p.network.links.iter_mut().for_each(|l| l.loss = loss);
        let mut flow = Flow::new(p, Side::Server, u64::MAX, 5);
        flow.next = flow.began + 1000 * SECOND;
        let end = flow.began + 10 * SECOND;
        let begun = flow.began + 2 * SECOND;
        drive(&mut [&mut flow], begun, |_| false);
        let (mut held, mut packets) = (Vec::new(), Vec::new());
        while flow.p.now < end {
            let at = flow.p.now + Duration::from_micros(33_333);
            while flow.p.next_time().is_some_and(|t| t <= at) {
                flow.p.step(at);
            }
            flow.p.step(at);
            flow.top_up();
            let waiting = flow.p.end(Side::Server).sender().waiting_short();
            assert_eq!(waiting, 0);
            flow.p.overtook = [0; 2];
            let made = flow.p.now;
            flow.p.send(Side::Server, &message(made), mode, 0);
            while flow.p.end(Side::Server).sender().waiting_short() > 0 {
                assert!(flow.p.step(made + SECOND));
            }
            held.push(flow.p.now.since(made));
            packets.push(flow.p.overtook[1]);
            take(&mut flow.p, Side::Client, &mut flow.late);
        }
        held.sort_unstable();
        packets.sort_unstable();
        println!(
            "{mode:?} beside a transfer, {} % loss: held p50 {:.2} p99 {:.2} max {:.2} ms, a packet takes {packet:.2}; {} packets of the transfer left before it at most",
            loss * 100.0,
            ms(quantile(&held, 0.5)),
            ms(quantile(&held, 0.99)),
            ms(quantile(&held, 1.0)),
            packets.last().unwrap()
        );
        // What is resent has its turn now and then.
        assert!(packets.last() <= Some(&u64::from(loss > 0.0)), "it is in the next packet");
        // Two packets have to arrive until one is acknowledged; where some are lost the window opens one later.
        let most = packet * if loss > 0.0 { 3.0 } else { 2.0 };
        assert!(ms(quantile(&held, 0.99)) <= most);
    }
}

#[test]
fn jitter_costs_a_transfer_little() {
    let link = Link { jitter: 10 * MS, reorder: 0.02, ..Link::delay(20) };
    let mut p = warm(1, 20 * MS, [None, Some(line(20.0, 100 * MS))]);
    p.network.links = [link.clone(), link];
    let mut flow = Flow::new(p, Side::Server, 8 << 20, 60);
    let limit = flow.began + 60 * SECOND;
    drive(&mut [&mut flow], limit, |f| f[0].done.is_some());
    let took = flow.done.expect("it arrives").since(flow.began).as_secs_f64();
    let stats = flow.p.end(Side::Server).stats();
    let part = stats.messages_resent as f64 / stats.sent as f64;
    println!(
        "8 MiB, 20 Mbit/s, the same jitter: {took:.2} s, {:.1} % of the rate, {:.1} % sent again for nothing",
        (8 << 20) as f64 / took / (20.0 * MEGABIT) * 100.0,
        part * 100.0
    );
    assert!(part < 0.1, "{part}");
}
