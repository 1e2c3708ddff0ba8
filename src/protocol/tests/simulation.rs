//! Whole lives of connections, from seeds, with what must hold in every one of them.
//!
//! `GAMEKEEPER_SEED=n` runs one seed, `GAMEKEEPER_SEEDS=n` so many from 0.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::ledger::{quantile, Ledger};
use super::network::{Network, Side};
use super::pair::{Pair, START};
use super::scenario::{Class, Ending, Scenario};
use crate::protocol::connection::{CloseReason, Event, Room, SendError, State};
use crate::protocol::delivery::{Mode, QueueError};
use crate::protocol::fragment::Reassembly;
use crate::protocol::time::Time;

/// Seeds per run of the tests, unless the environment says otherwise.
const SEEDS: u64 = 1000;

/// What a run did, for the checks over all runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub connected: bool,
    pub survived: bool,
    pub messages: usize,
    pub full: u32,
    pub refused: u64,
    pub datagrams: u64,
}

struct Run {
    scenario: Scenario,
    rng: SmallRng,
    pair: Pair,
    /// By the sender's side.
    books: [Ledger; 2],
    waits_for_room: [bool; 2],
    /// The longest message refused since.
    refused: [usize; 2],
    next_send: [Time; 2],
    full: u32,
    attempts: [u32; 2],
    no_room_until: [Time; 2],
    violations: Vec<String>,
}

/// One connection's life. An error names what did not hold.
pub fn simulate(seed: u64) -> Result<Report, String> {
    let scenario = Scenario::new(seed);
    let mut run = Run::new(scenario);
    let report = run.live();
    run.collect();
    if run.violations.is_empty() {
        Ok(report)
    } else {
        Err(format!("{:?}\n  {}", run.scenario, run.violations.join("\n  ")))
    }
}

impl Run {
    fn new(scenario: Scenario) -> Run {
        let seed = scenario.seed;
        let [a, b] = scenario.links.clone();
        let both = [scenario.settings.clone(), scenario.settings.clone()];
        let mut pair = Pair::new(seed, both, Network::new(seed, a, b));
        pair.pace(scenario.pace);
        pair.stalls = true;
        Run {
            rng: SmallRng::seed_from_u64(seed),
            pair,
            books: [Ledger::new("to server", seed), Ledger::new("to client", seed ^ 1)],
            waits_for_room: [false; 2],
            refused: [0; 2],
            next_send: [START; 2],
            full: 0,
            attempts: [0; 2],
            no_room_until: [START; 2],
            violations: Vec::new(),
            scenario,
        }
    }

    fn wrong(&mut self, text: impl Into<String>) {
        let at = self.pair.now.since(START);
        self.violations.push(format!("at {at:?}: {}", text.into()));
    }

    fn collect(&mut self) {
        for book in &mut self.books {
            self.violations.append(&mut book.violations);
        }
        self.violations.append(&mut self.pair.monitor.violations);
    }

    fn live(&mut self) -> Report {
        let mut report = Report::default();
        let limit = START + Duration::from_secs(12);
        while !self.pair.both_connected() && self.pair.step(limit) {}
        report.connected = self.pair.both_connected();
        if report.connected {
            self.traffic(START + self.scenario.traffic());
            report.survived = self.pair.both_connected();
        }
        if report.survived {
            self.settle();
            if self.violations.is_empty() {
                self.end();
            }
        } else {
            self.run_until(self.pair.now + Duration::from_secs(20));
        }
        self.check_ended(report.survived);
        for side in Side::BOTH {
            report.messages += self.books[side as usize].count();
            report.datagrams += self.pair.monitor.sent(side).0;
            report.refused +=
                self.pair.end(side).connection.as_ref().map_or(0, |c| c.stats().messages_refused);
        }
        report.full = self.full;
        report
    }

    /// Messages both ways until `until`, or until an end is gone.
    fn traffic(&mut self, until: Time) {
        self.next_send = [self.pair.now; 2];
        while self.pair.now < until {
            let next = self.next_send[0].min(self.next_send[1]).min(until);
            self.run_until(next);
            if !self.pair.both_connected() {
                return;
            }
            for side in Side::BOTH {
                if self.next_send[side as usize] <= self.pair.now {
                    self.act(side);
                }
            }
        }
        if self.scenario.class != Class::Tight {
            for book in &self.books {
                assert!(book.count() >= 1000, "{} messages: too few to tell", book.count());
            }
        }
        assert!(self.attempts.iter().all(|n| *n >= 1000));
    }

    /// The application does something: sends, or has no room for a while.
    fn act(&mut self, side: Side) {
        let now = self.pair.now;
        let i = side as usize;
        let pause =
            self.rng.random_range(1000..(if self.scenario.class == Class::Plain { 450_000 } else { 80_000 }));
        self.next_send[i] = now + Duration::from_micros(pause);
        match self.rng.random_range(0..1000) {
            _ if self.scenario.class == Class::Plain => self.send(side, usize::MAX),
            0..3 => (0..60).for_each(|_| self.send(side, usize::MAX)),
            // So many that more numbers than a receiver may remember are under way at once.
            3..5 => (0..500).for_each(|_| self.send(side, 40)),
            _ => self.send(side, usize::MAX),
        }
        if self.scenario.class == Class::Tight {
            if self.rng.random_bool(0.005) {
                let most = if self.rng.random_bool(0.35) { 9000 } else { 2500 };
                let ms = self.rng.random_range(100..most);
                self.no_room_until[i] = now + Duration::from_millis(ms);
            }
            self.pair.end_mut(side).room = if now < self.no_room_until[i] {
                Room::NONE
            } else {
                Room { messages: 20, bytes: 5000, buffers: None, sink: None }
            };
        }
        self.check_bounds();
    }

    fn send(&mut self, side: Side, longest: usize) {
        let i = side as usize;
        self.attempts[i] += 1;
        if self.waits_for_room[i] && self.scenario.wait_for_room {
            return;
        }
        let mode = match self.rng.random_range(0..3) {
            0 => Mode::Once,
            1 => Mode::BestEffort,
            _ => Mode::Guaranteed,
        };
        let len = self.scenario.length(&mut self.rng).min(longest);
        let tagged = self.rng.random_bool(0.5);
        let (data, mode, tag) = self.books[i].compose(mode, len, tagged);
        match self.pair.send(side, &data, mode, tag) {
            Ok(()) => self.books[i].sent(self.pair.now, &data, mode, tag),
            Err(SendError::Queue(QueueError::Full)) => {
                self.full += 1;
                self.waits_for_room[i] = true;
                self.refused[i] = self.refused[i].max(data.len());
                if self.scenario.class == Class::Plain {
                    self.wrong("full");
                }
            }
            Err(error) => self.wrong(format!("send: {error:?}")),
        }
        self.take_events();
    }

    fn run_until(&mut self, until: Time) {
        while self.pair.step(until) {
            self.take_events();
        }
        self.take_events();
    }

    fn take_events(&mut self) {
        for side in Side::BOTH {
            for (at, event) in std::mem::take(&mut self.pair.end_mut(side).events) {
                match event {
                    Event::Message { data, .. } => self.books[side.other() as usize].message(at, &data),
                    Event::Sent { tag, outcome } => self.books[side as usize].outcome(tag, outcome),
                    Event::Writable if !self.waits_for_room[side as usize] => {
                        self.wrong("Writable without a refusal");
                    }
                    Event::Writable => self.check_writable(side),
                    Event::Connected | Event::Closed(_) | Event::Join { .. } => {}
                }
            }
        }
    }

    /// The queue says that there is room: as much as was refused.
    fn check_writable(&mut self, side: Side) {
        self.waits_for_room[side as usize] = false;
        let refused = std::mem::take(&mut self.refused[side as usize]);
        let limits = self.scenario.settings.limits.clone();
        let Some(c) = &self.pair.end(side).connection else { return };
        let (messages, bytes) = (c.queued_messages(), c.queued_bytes());
        if messages >= limits.max_messages || (bytes > 0 && bytes + refused > limits.max_bytes) {
            self.wrong(format!("{side:?} is Writable, but {refused} bytes do not fit beside {bytes}"));
        }
    }

    fn check_bounds(&mut self) {
        let limits = self.scenario.settings.limits.clone();
        let reassembly =
            Reassembly::most_bytes(self.scenario.settings.max_reassembly_bytes, limits.max_message);
        for side in Side::BOTH {
            let Some(c) = &self.pair.end(side).connection else { continue };
            let (messages, bytes, parts) = (c.queued_messages(), c.queued_bytes(), c.reassembly_bytes());
            if messages > limits.max_messages || bytes > limits.max_bytes.max(limits.max_message) {
                self.wrong(format!("{side:?} holds {messages} messages, {bytes} bytes"));
            }
            if parts > reassembly {
                self.wrong(format!("{side:?} holds {parts} bytes in reassembly"));
            }
        }
    }

    /// The network gets well and everybody has room: everything must come to its end.
    fn settle(&mut self) {
        self.pair.network.calm();
        Side::BOTH.iter().for_each(|s| self.pair.end_mut(*s).room = Room::ENDLESS);
        let limit = self.pair.now + Duration::from_secs(150);
        while !self.idle() && self.pair.step(limit) {
            self.take_events();
        }
        self.take_events();
        if !self.pair.both_connected() {
            return self.wrong("died on a good network");
        }
        if let Some(side) = Side::BOTH.into_iter().find(|s| self.waits_for_room[*s as usize]) {
            self.wrong(format!("{side:?} was refused and never told that there is room"));
        }
        if !self.idle() {
            let left = Side::BOTH.map(|s| self.pair.connection(s).queued_messages());
            self.wrong(format!("stuck: {left:?} messages stay queued"));
        }
        // What the network still holds back comes, and what is unfinished is given up.
        self.run_until(self.pair.now + Duration::from_secs(35));
        for side in Side::BOTH {
            self.books[side as usize].check_settled();
            let held = self.pair.connection(side).reassembly_bytes();
            if held > 0 {
                self.wrong(format!("{side:?} still holds {held} bytes in reassembly"));
            }
        }
        self.check_latency();
    }

    fn idle(&mut self) -> bool {
        Side::BOTH.iter().all(|s| self.pair.connection(*s).queued_messages() == 0)
    }

    /// Loss costs little more than a retransmission timeout.
    fn check_latency(&mut self) {
        if self.scenario.class != Class::Plain {
            return;
        }
        for side in Side::BOTH {
            let all = self.books[side as usize].latencies(400);
            let (half, most) = (quantile(&all, 0.5), quantile(&all, 0.95));
            if half > Duration::from_millis(60) || most > Duration::from_millis(780) {
                self.wrong(format!("{side:?}: half took {half:?}, 95 % {most:?}"));
            }
            let arrived = self.books[side as usize].arrived(Mode::BestEffort);
            if arrived < 0.98 {
                self.wrong(format!("{side:?}: of the best-effort messages {arrived} arrived"));
            }
        }
    }

    fn end(&mut self) {
        if self.scenario.bad_ending {
            self.pair.network.links = self.scenario.links.clone();
        }
        for side in Side::BOTH {
            for _ in 0..20 {
                self.send(side, usize::MAX);
            }
        }
        let pause = Duration::from_millis(self.rng.random_range(0..300));
        self.run_until(self.pair.now + pause);
        match self.scenario.ending {
            Ending::Close(side) => self.pair.close(side, false),
            Ending::CloseAfterDelivery(side) => self.pair.close(side, true),
            Ending::CloseBoth => Side::BOTH.iter().for_each(|s| self.pair.close(*s, false)),
            Ending::Silence(None) => self.pair.network.links.iter_mut().for_each(|l| l.cut = true),
            Ending::Silence(Some(side)) => self.pair.network.links[side as usize].cut = true,
        }
        self.run_until(self.pair.now + Duration::from_secs(25));
        if let (Ending::CloseAfterDelivery(side), false) = (self.scenario.ending, self.scenario.bad_ending) {
            self.books[side as usize].check_settled();
        }
    }

    /// Both ends know that it is over, and for a reason.
    fn check_ended(&mut self, survived: bool) {
        let timeout = self.scenario.settings.connection_timeout;
        for side in Side::BOTH {
            let end = self.pair.end(side);
            let Some(connection) = &end.connection else { continue };
            let state = connection.state();
            let (closed, last_taken) = (end.closed, end.last_taken);
            let Some((at, reason)) = closed else {
                self.wrong(format!("{side:?} never ended, it is {state:?}"));
                continue;
            };
            if state != State::Closed {
                self.wrong(format!("{side:?} is {state:?} at the end"));
            }
            let silent = at.since(last_taken.min(at));
            // A client's handshake has its own time, and a lingering end its own deadline.
            if reason == CloseReason::Timeout && silent < timeout && last_taken != START {
                self.wrong(format!("{side:?} timed out after {silent:?}"));
            }
            let asked = match self.scenario.ending {
                Ending::Close(by) | Ending::CloseAfterDelivery(by) => survived && by == side,
                Ending::CloseBoth => survived,
                Ending::Silence(_) => false,
            };
            // Who asked to leave after delivery can be left, or cut off, before that.
            let overtaken = matches!(self.scenario.ending, Ending::CloseAfterDelivery(_))
                && reason == CloseReason::Timeout;
            if (reason == CloseReason::Local) != asked && !overtaken {
                self.wrong(format!("{side:?} ended by {reason:?}"));
            }
        }
        if let (true, false, Ending::Close(side)) = (survived, self.scenario.bad_ending, self.scenario.ending)
        {
            let reason = self.pair.end(side.other()).closed.map(|(_, reason)| reason);
            if reason != Some(CloseReason::Remote) {
                self.wrong(format!("{side:?} said goodbye and {:?} ended by {reason:?}", side.other()));
            }
        }
        for book in &mut self.books {
            book.check_outcomes();
        }
    }
}

/// [`simulate`], with a panic as one more thing that must not happen.
pub fn attempt(seed: u64) -> Result<Report, String> {
    caught(|| simulate(seed))
}

/// What `run` says, or how it panicked.
pub fn caught<R>(run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
    })
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs the seeds that the environment asks for, or `default` of them, on two threads. `test` is how to name the caller to
/// repeat one. Returns the reports of many seeds, none of one.
pub fn run_seeds<R: std::fmt::Debug + Send>(
    test: &str,
    default: u64,
    attempt: impl Fn(u64) -> Result<R, String> + Sync,
) -> Vec<R> {
    let one = from_environment("GAMEKEEPER_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("GAMEKEEPER_SEEDS").unwrap_or(default),
    };
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let work = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds.end {
                return results;
            }
            results.push((seed, attempt(seed)));
        }
    };
    let results = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut all = work();
        all.extend(other.join().expect("panics are caught inside"));
        all
    });
    let (mut failed, mut reports) = (0, Vec::new());
    for (seed, result) in results {
        match result {
            Err(text) => {
                failed += 1;
                if failed <= 5 {
                    println!("seed {seed}: {text}");
                    println!("  GAMEKEEPER_SEED={seed} cargo test --lib {test} -- --nocapture");
                }
            }
            Ok(report) if one.is_some() => println!("{report:?}"),
            Ok(report) => reports.push(report),
        }
    }
    assert_eq!(failed, 0, "seeds that failed; {} did not", reports.len());
    reports
}

#[test]
fn seeds() {
    let reports = run_seeds("simulation::seeds", SEEDS, attempt);
    let count = |of: fn(&Report) -> bool| reports.iter().filter(|r| of(r)).count();
    let [connected, survived] = [count(|r| r.connected), count(|r| r.survived)];
    let [full, refused] = [count(|r| r.full > 0), count(|r| r.refused > 0)];
    let (ran, datagrams) = (reports.len(), reports.iter().map(|r| r.datagrams).sum::<u64>());
    println!("{ran} seeds: {connected} connected, {survived} lived on, {full} filled a queue, {refused} refused a message, {datagrams} datagrams");
    if ran >= 100 {
        // The harness itself: what it is there for must have happened.
        assert!(connected * 100 >= ran * 97, "{connected} connected");
        assert!(survived * 100 >= ran * 85, "{survived} lived on");
        assert!(full * 100 >= ran * 10 && refused * 100 >= ran * 10, "{full} {refused}");
    }
}
