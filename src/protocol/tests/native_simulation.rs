//! Whole lives of native connections, from seeds, with what must hold in every one of them.
//!
//! `GAMEKEEPER_SEED=n` runs one seed, `GAMEKEEPER_SEEDS=n` so many from 0.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::ledger::{quantile, Ledger};
use super::native::NativePair;
use super::native_scenario::{Ending, NativeScenario};
use super::network::{Network, Side};
use super::pair::START;
use super::scenario::Class;
use super::simulation::{caught, run_seeds};
use crate::protocol::connection::native::Join;
use crate::protocol::connection::{CloseReason, Event, Farewell, FarewellKind, Room, SendError, State};
use crate::protocol::delivery::{Delivery, Mode, Outcome, QueueError};
use crate::protocol::fragment::Reassembly;
use crate::protocol::handshake::native::{packet, RESET_LEN};
use crate::protocol::time::Time;

/// Seeds per run of the tests, unless the environment says otherwise.
const SEEDS: u64 = 2000;
/// The longest stall in the middle of a run.
const LONGEST_STALL: Duration = Duration::from_secs(3);

/// What a run did, for the checks over all runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeReport {
    pub connected: bool,
    pub survived: bool,
    pub messages: usize,
    pub full: u32,
    pub refused: u64,
    pub datagrams: u64,
    /// Addresses that the server followed its client to, and keys that came after the first.
    pub moves: u32,
    pub phases: usize,
    /// The client learned that a restarted server knows nothing of it.
    pub restarted: bool,
}

struct Run {
    scenario: NativeScenario,
    rng: SmallRng,
    pair: NativePair,
    /// By the sender's side.
    books: [Ledger; 2],
    waits_for_room: [bool; 2],
    /// The longest message refused since.
    refused: [usize; 2],
    next_send: [Time; 2],
    no_room_until: [Time; 2],
    full: u32,
    ports: u16,
    joins: u32,
    welcomes: u32,
    restarted_at: Option<Time>,
    violations: Vec<String>,
}

/// One connection's life. An error names what did not hold.
pub fn simulate(seed: u64) -> Result<NativeReport, String> {
    let mut run = Run::new(NativeScenario::new(seed));
    let report = run.live();
    for book in &mut run.books {
        run.violations.append(&mut book.violations);
    }
    run.violations.append(&mut run.pair.monitor.violations);
    if run.violations.is_empty() {
        Ok(report)
    } else {
        let NativeScenario { class, ending, bad_ending, .. } = run.scenario;
        Err(format!("{class:?}, {ending:?}, bad: {bad_ending}\n  {}", run.violations.join("\n  ")))
    }
}

fn join() -> Join {
    Join { password: Some(b"open".to_vec()), data: vec![7; 300] }
}

impl Run {
    fn new(scenario: NativeScenario) -> Run {
        let seed = scenario.seed;
        let [a, b] = scenario.links.clone();
        let both = [scenario.settings.clone(), scenario.settings.clone()];
        let mut pair = NativePair::new(seed, both, Network::new(seed, a, b), join());
        pair.monitor.on = true;
        pair.accepts = false;
        (pair.mtu, pair.cookies, pair.forgets) = (scenario.mtu, scenario.cookies, scenario.forgets);
        let mut books = [Ledger::new("to server", seed), Ledger::new("to client", seed ^ 1)];
        let stalls = scenario.stalling > 0.0 || matches!(scenario.ending, Ending::Stall(_));
        for book in &mut books {
            book.slack = if stalls { Duration::from_secs(100) } else { Duration::from_millis(2) };
        }
        Run {
            rng: SmallRng::seed_from_u64(seed),
            pair,
            books,
            waits_for_room: [false; 2],
            refused: [0; 2],
            next_send: [START; 2],
            no_room_until: [START; 2],
            full: 0,
            ports: 5000,
            joins: 0,
            welcomes: 0,
            restarted_at: None,
            violations: Vec::new(),
            scenario,
        }
    }

    fn wrong(&mut self, text: impl Into<String>) {
        let at = self.pair.now.since(START);
        self.violations.push(format!("at {at:?}: {}", text.into()));
    }

    fn live(&mut self) -> NativeReport {
        let mut report = NativeReport { connected: self.connect(), ..NativeReport::default() };
        if report.connected {
            self.traffic(START + self.scenario.traffic());
            report.survived = self.both_connected();
        }
        if report.survived {
            report.survived = self.settle();
            if report.survived && self.violations.is_empty() {
                self.end();
            }
        }
        self.run_until(self.pair.now + Duration::from_secs(25));
        self.check_ended(report.survived);
        for side in Side::BOTH {
            report.messages += self.books[side as usize].count();
            report.datagrams += self.pair.sent[side as usize].0;
        }
        report.full = self.full;
        let server = self.pair.server.as_ref().or(self.pair.former.as_ref());
        report.refused =
            self.pair.client.stats().messages_refused + server.map_or(0, |s| s.stats().messages_refused);
        (report.moves, report.phases) = (self.pair.monitor.moves, self.pair.monitor.phase_count);
        report.restarted = self.reason(Side::Client) == Some(CloseReason::Restarted);
        report
    }

    fn both_connected(&self) -> bool {
        self.pair.both(State::Connected)
    }

    fn reason(&self, side: Side) -> Option<CloseReason> {
        self.pair.closed[side as usize].as_ref().map(|(_, closing)| closing.reason)
    }

    /// Until both ends are connected; whether they are.
    fn connect(&mut self) -> bool {
        let limit = START + Duration::from_secs(14);
        while self.joins == 0 && self.pair.step(limit) {
            self.take_events();
        }
        if self.joins == 0 {
            if matches!(self.scenario.class, Class::Plain | Class::Crowded) {
                self.wrong("never asked to be let in, on a network with a little loss");
            }
            return false;
        }
        self.run_until(self.pair.now + self.scenario.thinks);
        let now = self.pair.now;
        let Some(server) = self.pair.server.as_mut() else { return false };
        if self.scenario.ending == Ending::Refusal {
            server.close(now, false, Farewell { kind: FarewellKind::Refused, code: 9, text: "full".into() });
        } else {
            server.accept(now);
        }
        self.pair.flush();
        while !self.both_connected() && self.pair.step(limit) {
            self.take_events();
        }
        self.take_events();
        self.pair.monitor.key_life = self.scenario.phase_every;
        if let Some(every) = self.scenario.phase_every {
            for side in Side::BOTH {
                if side == Side::Client || self.pair.server.is_some() {
                    self.pair.end(side).phase_every(every);
                }
            }
        }
        self.both_connected()
    }

    /// Messages both ways until `until`, or until an end is gone.
    fn traffic(&mut self, until: Time) {
        self.next_send = [self.pair.now; 2];
        while self.pair.now < until {
            let next = self.next_send[0].min(self.next_send[1]).min(until);
            self.run_until(next);
            if !self.both_connected() {
                return;
            }
            if let Some((_, mtu)) = self.scenario.narrows.filter(|(after, _)| START + *after <= self.pair.now)
            {
                self.pair.mtu = self.pair.mtu.min(mtu);
            }
            for side in Side::BOTH {
                if self.next_send[side as usize] <= self.pair.now {
                    self.act(side);
                }
            }
        }
    }

    /// The application does something: sends, moves, stands still, or has no room for a while.
    fn act(&mut self, side: Side) {
        let (now, i) = (self.pair.now, side as usize);
        let plain = self.scenario.class == Class::Plain;
        let pause = self.rng.random_range(1000..if plain { 700_000 } else { 60_000 });
        self.next_send[i] = now + Duration::from_micros(pause);
        self.trouble(side);
        if self.pair.is_asleep(side) {
            return;
        }
        match self.rng.random_range(0..1000) {
            0..3 if !plain => (0..60).for_each(|_| self.send(side, usize::MAX)),
            3..5 if !plain => (0..500).for_each(|_| self.send(side, 40)),
            _ => self.send(side, usize::MAX),
        }
        if self.scenario.class == Class::Tight {
            if self.rng.random_bool(0.01) {
                let most = if self.rng.random_bool(0.35) { 4000 } else { 1500 };
                let ms = self.rng.random_range(100..most);
                self.no_room_until[i] = now + Duration::from_millis(ms);
            }
            self.pair.room[i] = if now < self.no_room_until[i] {
                Room::NONE
            } else {
                Room { messages: 20, bytes: 5000, buffers: None, sink: None }
            };
        }
        self.check_bounds();
    }

    /// Moves, stalls, and resets that somebody forges.
    fn trouble(&mut self, side: Side) {
        let now = self.pair.now;
        if side == Side::Client && self.rng.random_bool(self.scenario.roaming) {
            // Now and then back to where it was before.
            self.ports = if self.rng.random_bool(0.2) { self.ports - 1 } else { self.ports + 1 };
            self.pair.move_client(self.ports);
        }
        if self.scenario.stalling > 0.0 && self.rng.random_bool(self.scenario.stalling) {
            let ms = self.rng.random_range(200..LONGEST_STALL.as_millis() as u64);
            self.pair.sleep(side, now + Duration::from_millis(ms));
        }
        if side == Side::Client && self.rng.random_bool(0.005) && !self.pair.is_asleep(side) {
            let mut reset = vec![packet::RESET; RESET_LEN];
            self.rng.fill(&mut reset[1..]);
            self.pair.handle(Side::Client, reset);
            if self.pair.client.state() != State::Connected {
                self.wrong("a forged reset ended the connection");
            }
        }
    }

    fn send(&mut self, side: Side, longest: usize) {
        let i = side as usize;
        if self.waits_for_room[i] && self.scenario.wait_for_room {
            return;
        }
        let delivery = self.scenario.delivery(&mut self.rng);
        let len = self.scenario.length(&mut self.rng).min(longest);
        let tagged = self.rng.random_bool(0.5);
        let (data, mode, tag) = self.books[i].compose(delivery.mode, len, tagged);
        let delivery = Delivery { mode, ..delivery };
        let deadline = delivery.deadline.or(Some(self.scenario.settings.limits.message_timeout));
        self.take_events();
        match self.pair.try_send(side, &data, delivery, tag) {
            Ok(()) => self.books[i].sent(self.pair.now, &data, Delivery { deadline, ..delivery }, tag),
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
        for (side, channel, data) in std::mem::take(&mut self.pair.monitor.sequenced) {
            self.books[side as usize].left(channel, &data);
        }
        for side in Side::BOTH {
            for (at, event) in std::mem::take(&mut self.pair.events[side as usize]) {
                let other = &mut self.books[side.other() as usize];
                match event {
                    Event::Message { data, channel, .. } => other.message_on(at, channel, &data),
                    Event::Sent { tag, outcome } => self.outcome(side, at, tag, outcome),
                    Event::Writable if !self.waits_for_room[side as usize] => {
                        self.wrong("Writable without a refusal");
                    }
                    Event::Writable => self.check_writable(side),
                    Event::Connected => {
                        self.welcomes += 1;
                        if side == Side::Server || self.welcomes > 1 {
                            self.wrong(format!("{side:?} is connected, for the {}. time", self.welcomes));
                        }
                    }
                    Event::Join { password, data } => {
                        self.joins += 1;
                        if self.joins > 1 || (Join { password, data }) != join() {
                            self.wrong("another wish to be let in");
                        }
                    }
                    Event::Closed(_) => {}
                }
            }
        }
    }

    fn outcome(&mut self, side: Side, at: Time, tag: u64, outcome: Outcome) {
        self.books[side as usize].outcome_at(at, tag, outcome);
    }

    /// The queue says that there is room: as much as was refused.
    fn check_writable(&mut self, side: Side) {
        self.waits_for_room[side as usize] = false;
        let refused = std::mem::take(&mut self.refused[side as usize]);
        let limits = self.scenario.settings.limits.clone();
        let c = self.pair.end(side);
        let (messages, bytes) = (c.queued_messages(), c.queued_bytes());
        if messages >= limits.max_messages || (bytes > 0 && bytes + refused > limits.max_bytes) {
            self.wrong(format!("{side:?} is Writable, but {refused} bytes do not fit beside {bytes}"));
        }
    }

    fn check_bounds(&mut self) {
        let limits = self.scenario.settings.limits.clone();
        let most = self.scenario.settings.max_reassembly_bytes;
        // Parts, and as much again of what is held back, by one message more.
        let inward = Reassembly::most_bytes(most, limits.max_message) + most + limits.max_message + 64;
        for side in Side::BOTH {
            let c = self.pair.end(side);
            let (messages, bytes, parts) = (c.queued_messages(), c.queued_bytes(), c.reassembly_bytes());
            let held = c.held_bytes();
            if held > most + limits.max_message + 64 {
                self.wrong(format!("{side:?} holds {held} bytes of ordered messages"));
            }
            if messages > limits.max_messages || bytes > limits.max_bytes.max(limits.max_message) {
                self.wrong(format!("{side:?} holds {messages} messages, {bytes} bytes"));
            }
            if parts > inward {
                self.wrong(format!("{side:?} holds {parts} bytes that it cannot deliver"));
            }
        }
    }

    /// The network gets well and everybody has room: everything must come to its end.
    /// Whether it lived on.
    fn settle(&mut self) -> bool {
        let calm = self.pair.now;
        let asleep = Side::BOTH.iter().any(|s| self.pair.is_asleep(*s));
        self.pair.network.calm();
        self.pair.room = [Room::ENDLESS; 2];
        // What a receiver of little memory refuses comes again a few packets a second.
        let tight = matches!(self.scenario.class, Class::Tight | Class::Crowded);
        let limit = self.pair.now + Duration::from_secs(if tight { 600 } else { 60 });
        while !self.idle() && self.pair.step(limit) {
            self.take_events();
        }
        self.take_events();
        if !self.both_connected() {
            let reasons = Side::BOTH.map(|s| self.reason(s));
            // The silence can have begun before, and last until the next sign of life.
            let mercy = self.scenario.settings.connection_timeout.saturating_sub(Duration::from_millis(1500));
            let silent = Side::BOTH.iter().any(|s| calm.since(self.pair.last_taken[*s as usize]) > mercy);
            if !(silent || asleep) || !reasons.contains(&Some(CloseReason::Timeout)) {
                self.wrong(format!("died on a good network: {reasons:?}"));
            }
            return false;
        }
        if let Some(side) = Side::BOTH.into_iter().find(|s| self.waits_for_room[*s as usize]) {
            self.wrong(format!("{side:?} was refused and never told that there is room"));
        }
        if !self.idle() {
            let left = Side::BOTH.map(|s| self.pair.end(s).queued_messages());
            self.wrong(format!("stuck: {left:?} messages stay queued"));
            for side in Side::BOTH {
                let summary = self.pair.end(side).sender().summary();
                let stats = self.pair.end(side).stats();
                self.wrong(format!("{side:?}: {summary}, {stats:?}"));
            }
        }
        // What the network still holds back comes, and what is unfinished is given up. Somebody copies signs of life.
        self.pair.network.links[0].stray = if self.scenario.links[0].stray > 0.0 { 0.3 } else { 0.0 };
        self.run_until(self.pair.now + Duration::from_secs(35));
        if !self.both_connected() {
            self.wrong("died of boredom");
            return false;
        }
        for side in Side::BOTH {
            self.books[side as usize].check_settled();
            let held = self.pair.end(side).reassembly_bytes();
            if held > 0 {
                self.wrong(format!("{side:?} still holds {held} bytes"));
            }
        }
        let (known, address) = (self.pair.end(Side::Server).remote(), self.pair.client_address);
        if known != address {
            self.wrong(format!("the client is at {address}, and the server sends to {known}"));
        }
        self.check_phases();
        self.check_latency();
        true
    }

    /// Keys were changed where they had to be.
    fn check_phases(&mut self) {
        let Some(every) = self.scenario.phase_every else { return };
        let sent = Side::BOTH.map(|s| self.pair.monitor.sent(s));
        if sent.iter().all(|sent| *sent > 2 * every) && self.pair.monitor.phase_count < 2 {
            self.wrong(format!("{sent:?} packets, {every} a key, and no other key"));
        }
    }

    fn idle(&mut self) -> bool {
        self.pair.server.is_none()
            || Side::BOTH.iter().all(|s| self.pair.end(*s).queued_messages() == 0 && !self.pair.is_asleep(*s))
    }

    /// Loss costs little more than a round trip and a probe.
    fn check_latency(&mut self) {
        if self.scenario.class != Class::Plain || self.scenario.roaming > 0.0 {
            return;
        }
        for side in Side::BOTH {
            let all = self.books[side as usize].latencies(400);
            let (half, most) = (quantile(&all, 0.5), quantile(&all, 0.95));
            if all.len() > 60 && (half > Duration::from_millis(30) || most > Duration::from_millis(200)) {
                self.wrong(format!("{side:?}: half took {half:?}, 95 % {most:?}"));
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
        if !self.both_connected() {
            // The bad network was quicker.
            self.scenario.ending = Ending::Silence(None);
        }
        match self.scenario.ending {
            Ending::Close(side) => self.close(side, false),
            Ending::CloseAfterDelivery(side) => self.close(side, true),
            Ending::CloseBoth => Side::BOTH.iter().for_each(|s| self.close(*s, false)),
            Ending::Silence(None) => self.pair.network.links.iter_mut().for_each(|l| l.cut = true),
            Ending::Silence(Some(side)) => self.pair.network.links[side as usize].cut = true,
            Ending::Restart => {
                self.restarted_at = Some(self.pair.now);
                self.pair.restart_server();
            }
            Ending::Stall(side) => self.pair.sleep(side, self.pair.now + Duration::from_secs(60)),
            Ending::Refusal => {}
        }
        if matches!(self.scenario.ending, Ending::Stall(_)) {
            self.run_until(self.pair.now + Duration::from_secs(60));
        }
        self.run_until(self.pair.now + Duration::from_secs(25));
        // Where the receiver's memory is tight, a connection timeout can be too short for all.
        let roomy = matches!(self.scenario.class, Class::Plain | Class::Mixed);
        if let (Ending::CloseAfterDelivery(side), false, true) =
            (self.scenario.ending, self.scenario.bad_ending, roomy)
        {
            self.books[side as usize].check_settled();
        }
    }

    fn close(&mut self, side: Side, after_delivery: bool) {
        let now = self.pair.now;
        let farewell = Farewell { kind: FarewellKind::Shutdown, code: 77, text: "good night".into() };
        self.pair.end(side).close(now, after_delivery, farewell);
        self.pair.flush();
    }

    /// Both ends know that it is over, and for a reason.
    fn check_ended(&mut self, survived: bool) {
        for side in Side::BOTH {
            let gone = side == Side::Server && self.pair.server.is_none();
            if gone && (self.restarted_at.is_some() || self.pair.former.is_none()) {
                continue;
            }
            let state = if gone { State::Closed } else { self.pair.end(side).state() };
            let Some((at, closing)) = self.pair.closed[side as usize].clone() else {
                self.wrong(format!("{side:?} never ended, it is {state:?}"));
                continue;
            };
            if state != State::Closed {
                self.wrong(format!("{side:?} is {state:?} at the end"));
            }
            self.check_reason(side, survived, at, closing.reason);
        }
        self.check_agreement(survived);
        for book in &mut self.books {
            if book.count() > 0 && self.restarted_at.is_none() {
                book.check_outcomes();
            }
        }
    }

    fn check_reason(&mut self, side: Side, survived: bool, at: Time, reason: CloseReason) {
        let timeout = self.scenario.settings.connection_timeout;
        let last_taken = self.pair.last_taken[side as usize];
        let silent = at.since(last_taken.min(at));
        // A handshake has its own time, and a lingering end its own deadline.
        if reason == CloseReason::Timeout && silent < timeout && survived {
            self.wrong(format!("{side:?} timed out after {silent:?}"));
        }
        let asked = match self.scenario.ending {
            Ending::Close(by) | Ending::CloseAfterDelivery(by) => survived && by == side,
            Ending::CloseBoth => survived,
            Ending::Refusal => side == Side::Server && self.joins > 0,
            Ending::Silence(_) | Ending::Restart | Ending::Stall(_) => false,
        };
        // Who asked to leave after delivery can be left, or cut off, before that.
        let lingering = matches!(self.scenario.ending, Ending::CloseAfterDelivery(_) | Ending::Refusal);
        let overtaken = lingering && matches!(reason, CloseReason::Timeout | CloseReason::Remote);
        if (reason == CloseReason::Local) != asked && !overtaken {
            self.wrong(format!("{side:?} ended by {reason:?}"));
        }
        let restarts = self.restarted_at.is_some() || self.pair.former.is_some();
        if reason == CloseReason::Protocol || (reason == CloseReason::Restarted && !restarts) {
            self.wrong(format!("{side:?} ended by {reason:?}"));
        }
    }

    /// On a good network the other side knows why.
    fn check_agreement(&mut self, survived: bool) {
        let ending = self.scenario.ending;
        if !survived || self.scenario.bad_ending {
            return;
        }
        match ending {
            Ending::Close(side) | Ending::CloseAfterDelivery(side) => {
                let Some((_, closing)) = self.pair.closed[side.other() as usize].clone() else { return };
                let said = (closing.reason, closing.farewell.kind, closing.farewell.code);
                let text = &closing.farewell.text;
                if said != (CloseReason::Remote, FarewellKind::Shutdown, 77) || text != "good night" {
                    self.wrong(format!("{side:?} said goodbye, and the other end understood {closing:?}"));
                }
            }
            Ending::Restart => {
                let Some((at, closing)) = self.pair.closed[0].clone() else { return };
                let took = self.restarted_at.map(|since| at.since(since)).unwrap_or_default();
                // Its next packet is a sign of life at the latest, within a second, and the answer takes the way back.
                let most = Duration::from_millis(1500);
                if closing.reason != CloseReason::Restarted || took > most {
                    self.wrong(format!("the client learned by {closing:?} after {took:?}"));
                }
            }
            _ => {}
        }
    }
}

/// [`simulate`], with a panic as one more thing that must not happen.
pub fn attempt(seed: u64) -> Result<NativeReport, String> {
    caught(|| simulate(seed))
}

#[test]
fn seeds() {
    let reports = run_seeds("native_simulation::seeds", SEEDS, attempt);
    let count = |of: fn(&NativeReport) -> bool| reports.iter().filter(|r| of(r)).count();
    let [connected, survived] = [count(|r| r.connected), count(|r| r.survived)];
    let [full, refused] = [count(|r| r.full > 0), count(|r| r.refused > 0)];
    let [moved, phased] = [count(|r| r.moves > 1), count(|r| r.phases > 1)];
    let restarted = count(|r| r.restarted);
    let (ran, datagrams) = (reports.len(), reports.iter().map(|r| r.datagrams).sum::<u64>());
    let messages = reports.iter().map(|r| r.messages).sum::<usize>();
    println!("{ran} seeds: {connected} connected, {survived} lived on, {full} filled a queue, {refused} refused a message, {moved} moved, {phased} changed keys, {restarted} met a new server; {messages} messages, {datagrams} datagrams");
    if ran >= 100 {
        // The harness itself: what it is there for must have happened.
        assert!(connected * 100 >= ran * 90, "{connected} connected");
        assert!(survived * 100 >= ran * 80, "{survived} lived on");
        assert!(full * 100 >= ran * 5 && refused * 100 >= ran * 10, "{full} {refused}");
        assert!(moved * 100 >= ran * 15 && phased * 100 >= ran * 10, "{moved} {phased}");
        assert!(restarted * 100 >= ran * 3, "{restarted}");
        assert!(messages >= ran * 300, "{messages}");
    }
}

/// Which modes arrive how often is for the figures; here only that nothing of the unpromised is thrown away for nothing.
#[test]
fn on_a_good_network_everything_arrives() {
    let mut pair = NativePair::connected(3, super::network::Link::delay(10));
    let mut book = Ledger::new("to server", 3);
    for n in 0..400 {
        let mode = [Mode::Once, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered][n % 4];
        let (data, mode, tag) = book.compose(mode, 10 + n * 7, true);
        pair.try_send(Side::Client, &data, mode, tag).unwrap();
        book.sent(pair.now, &data, mode, tag);
        pair.run(Duration::from_millis(20));
    }
    pair.run(Duration::from_secs(2));
    for (at, event) in std::mem::take(&mut pair.events[1]) {
        if let Event::Message { data, channel, .. } = event {
            book.message_on(at, channel, &data);
        }
    }
    for (_, event) in std::mem::take(&mut pair.events[0]) {
        if let Event::Sent { tag, outcome } = event {
            assert_eq!(outcome, Outcome::Delivered);
            book.outcome(tag, outcome);
        }
    }
    book.check_settled();
    assert!(book.violations.is_empty(), "{:?}", book.violations);
    assert_eq!((book.arrived(Mode::Once), book.arrived(Mode::BestEffort)), (1.0, 1.0));
}
