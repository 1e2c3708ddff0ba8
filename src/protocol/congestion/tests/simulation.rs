//! One bottleneck on a virtual clock: flows in, a queue, a rate, losses; acknowledgements back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::protocol::congestion::{Acked, Controller, Rate};
use crate::protocol::time::Time;

/// Bytes of a full datagram.
pub const DATAGRAM: u64 = 1200;
/// Bytes of a game's message.
const MESSAGE: u64 = 100;
/// Packets after which, and time at which, the receiver acknowledges.
const ACK_EVERY: usize = 2;
const ACK_DELAY: u64 = 25_000;
/// The sender's guess of the round trip before the first, µs.
const INITIAL_RTT: u64 = 300_000;
/// Width of [`Flow::arrived`]'s columns.
pub const COLUMN: u64 = 100_000;

/// The path that all flows share.
#[derive(Clone)]
pub struct Path {
    /// Bytes per second from a time in microseconds on; the first at 0.
    pub rates: Vec<(u64, f64)>,
    /// Bytes that wait at most.
    pub buffer: u64,
    /// Round trip without a queue, µs.
    pub rtt: u64,
    /// Part of the packets that vanish.
    pub loss: f64,
    /// Acknowledgements arrive together at multiples of this, µs; 0: each by itself.
    pub ack_batch: u64,
    /// A packet takes up to so much longer on its way, µs; none overtakes another.
    pub jitter: u64,
    /// The sender's timer ticks at multiples of this, µs.
    pub timer: u64,
}

impl Path {
    /// `megabits` per second, `rtt` milliseconds, a buffer of one product, a timer of a millisecond.
    pub fn new(megabits: f64, rtt: u64, loss: f64) -> Self {
        let rate = megabits * 125_000.0;
        let buffer = (rate * rtt as f64 / 1000.0) as u64;
        let rates = vec![(0, rate)];
        Path {
            rates,
            buffer: buffer.max(4 * DATAGRAM),
            rtt: rtt * 1000,
            loss,
            ack_batch: 0,
            jitter: 0,
            timer: 1000,
        }
    }
}

/// Who decides what may be under way.
enum Control {
    Model(Box<Controller>),
    Reno(Reno),
}

/// NewReno without pacing: doubles, then adds a datagram per round trip, halves once per round of loss.
struct Reno {
    window: f64,
    threshold: f64,
    recovery_end: u64,
}

/// What a flow sends.
#[derive(Clone, Copy)]
pub struct Load {
    pub start: u64,
    /// Bytes of bulk; `u64::MAX` without end.
    pub bulk: u64,
    /// Messages per second, in bursts of so many.
    pub messages: (u64, u64),
    pub reno: bool,
}

impl Load {
    pub fn bulk(start_ms: u64, bulk: u64) -> Self {
        Load { start: start_ms * 1000, bulk, messages: (0, 1), reno: false }
    }

    pub fn messages(self, hertz: u64, burst: u64) -> Self {
        Load { messages: (hertz, burst), ..self }
    }

    pub fn reno(start_ms: u64) -> Self {
        Load { reno: true, ..Load::bulk(start_ms, u64::MAX) }
    }
}

struct Sent {
    at: Time,
    bytes: u64,
    bulk: bool,
    rate: Rate,
}

/// One flow: sender, receiver, and what they saw.
pub struct Flow {
    load: Load,
    control: Control,
    sent: BTreeMap<u64, Sent>,
    next: u64,
    in_flight: u64,
    bulk_in_flight: u64,
    bulk_delivered: u64,
    largest: u64,
    srtt: u64,
    timeouts: u32,
    heard: u64,
    armed: u64,
    waiting: VecDeque<u64>,
    unacknowledged: Vec<u64>,
    newest_arrival: u64,
    /// When the transfer was complete, µs.
    pub done: Option<u64>,
    /// Bytes that arrived in each column of time.
    pub arrived: Vec<u64>,
    /// When each message was made and how much longer than the way it took, µs.
    pub delays: Vec<(u64, u64)>,
    /// When each message was made and how long it waited for window and pace, µs.
    pub held: Vec<(u64, u64)>,
    /// Packets sent and lost.
    pub packets: u64,
    pub lost: u64,
}

struct Packet {
    flow: usize,
    number: u64,
    bytes: u64,
    born: Option<u64>,
}

enum Event {
    Start(usize),
    Departure,
    Arrival(Packet),
    AckTimer(usize, u64),
    Ack(usize, Vec<u64>, u64),
    Wake(usize),
    Message(usize),
    Timeout(usize),
}

/// The whole.
pub struct Simulation {
    path: Path,
    now: u64,
    seed: u64,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    queue: VecDeque<Packet>,
    queued: u64,
    last_arrival: u64,
    pub flows: Vec<Flow>,
}

fn time(us: u64) -> Time {
    // Not zero: nothing may depend on the epoch.
    Time::from_micros(1_000_000_000 + us)
}

impl Simulation {
    pub fn new(path: Path, seed: u64, loads: &[Load]) -> Self {
        let mut simulation = Simulation {
            path,
            now: 0,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            events: BTreeMap::new(),
            serial: 0,
            queue: VecDeque::new(),
            queued: 0,
            last_arrival: 0,
            flows: Vec::new(),
        };
        for (flow, load) in loads.iter().enumerate() {
            simulation.flows.push(Flow::new(*load));
            // Two flows never begin in the same microsecond.
            let start = load.start + simulation.random() % 20_000;
            simulation.at(start, Event::Start(flow));
        }
        simulation
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 11
    }

    fn at(&mut self, when: u64, event: Event) {
        self.serial += 1;
        self.events.insert((when, self.serial), event);
    }

    /// Runs to `until` µs, or until all transfers are complete.
    pub fn run(&mut self, until: u64) {
        while let Some((&(when, serial), _)) = self.events.first_key_value() {
            if when > until || self.flows.iter().all(|flow| flow.done.is_some()) {
                return;
            }
            self.now = when;
            let event = self.events.remove(&(when, serial)).expect("it is the first");
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(flow) => {
                self.flows[flow].start(self.now);
                if self.flows[flow].load.messages.0 > 0 {
                    self.at(self.now, Event::Message(flow));
                }
                self.at(self.now + 200_000, Event::Timeout(flow));
                self.send(flow);
            }
            Event::Departure => {
                let packet = self.queue.pop_front().expect("a packet departs");
                self.queued -= packet.bytes;
                if !self.queue.is_empty() {
                    self.depart();
                }
                if self.random() % 1_000_000 >= (self.path.loss * 1e6) as u64 {
                    let late = self.random() % (self.path.jitter + 1);
                    self.last_arrival = self.last_arrival.max(self.now + self.path.rtt / 2 + late);
                    self.at(self.last_arrival, Event::Arrival(packet));
                }
            }
            Event::Arrival(packet) => self.arrive(packet),
            Event::AckTimer(flow, number) => {
                if self.flows[flow].unacknowledged.first() == Some(&number) {
                    self.acknowledge(flow);
                }
            }
            Event::Ack(flow, numbers, delay) => {
                self.flows[flow].on_ack(self.now, &numbers, delay);
                self.send(flow);
            }
            Event::Wake(flow) => {
                if self.flows[flow].armed == self.now {
                    self.flows[flow].armed = u64::MAX;
                    self.send(flow);
                }
            }
            Event::Message(flow) => {
                let (hertz, burst) = self.flows[flow].load.messages;
                for _ in 0..burst {
                    self.flows[flow].waiting.push_back(self.now);
                }
                self.at(self.now + 1_000_000 / hertz, Event::Message(flow));
                self.send(flow);
            }
            Event::Timeout(flow) => {
                let next = self.flows[flow].on_timeout(self.now);
                self.at(next, Event::Timeout(flow));
                self.send(flow);
            }
        }
    }

    fn depart(&mut self) {
        let bytes = self.queue[0].bytes as f64;
        let rate = self.path.rates.iter().rev().find(|(from, _)| *from <= self.now).expect("a rate at 0").1;
        self.at(self.now + (bytes / rate * 1e6) as u64, Event::Departure);
    }

    fn send(&mut self, flow: usize) {
        loop {
            match self.flows[flow].poll(self.now) {
                Poll::Packet(number, bytes, born) => {
                    if self.queued + bytes > self.path.buffer {
                        continue;
                    }
                    self.queued += bytes;
                    self.queue.push_back(Packet { flow, number, bytes, born });
                    if self.queue.len() == 1 {
                        self.depart();
                    }
                }
                Poll::At(when) => {
                    let when = when.div_ceil(self.path.timer) * self.path.timer;
                    self.flows[flow].armed = when.max(self.now + 1);
                    return self.at(when.max(self.now + 1), Event::Wake(flow));
                }
                Poll::Nothing => return,
            }
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let way = self.path.rtt / 2;
        let flow = &mut self.flows[packet.flow];
        match packet.born {
            Some(born) => flow.delays.push((born, self.now - born - way)),
            None => {
                let column = (self.now / COLUMN) as usize;
                if flow.arrived.len() <= column {
                    flow.arrived.resize(column + 1, 0);
                }
                flow.arrived[column] += packet.bytes;
            }
        }
        flow.unacknowledged.push(packet.number);
        flow.newest_arrival = self.now;
        if flow.unacknowledged.len() >= ACK_EVERY {
            self.acknowledge(packet.flow);
        } else {
            self.at(self.now + ACK_DELAY, Event::AckTimer(packet.flow, packet.number));
        }
    }

    fn acknowledge(&mut self, flow: usize) {
        let numbers = std::mem::take(&mut self.flows[flow].unacknowledged);
        let delay = self.now - self.flows[flow].newest_arrival;
        let mut when = self.now + self.path.rtt / 2;
        if self.path.ack_batch > 0 {
            when = when.div_ceil(self.path.ack_batch) * self.path.ack_batch;
        }
        self.at(when, Event::Ack(flow, numbers, delay));
    }
}

enum Poll {
    Packet(u64, u64, Option<u64>),
    At(u64),
    Nothing,
}

impl Flow {
    fn new(load: Load) -> Self {
        let control = if load.reno {
            Control::Reno(Reno { window: 10.0 * DATAGRAM as f64, threshold: f64::INFINITY, recovery_end: 0 })
        } else {
            Control::Model(Box::new(Controller::new(time(0), DATAGRAM as usize)))
        };
        Flow {
            load,
            control,
            sent: BTreeMap::new(),
            next: 1,
            in_flight: 0,
            bulk_in_flight: 0,
            bulk_delivered: 0,
            largest: 0,
            srtt: 0,
            timeouts: 0,
            heard: 0,
            armed: u64::MAX,
            waiting: VecDeque::new(),
            unacknowledged: Vec::new(),
            newest_arrival: 0,
            done: None,
            arrived: Vec::new(),
            delays: Vec::new(),
            held: Vec::new(),
            packets: 0,
            lost: 0,
        }
    }

    fn start(&mut self, now: u64) {
        self.heard = now;
        if let Control::Model(controller) = &mut self.control {
            **controller = Controller::new(time(now), DATAGRAM as usize);
        }
    }

    fn poll(&mut self, now: u64) -> Poll {
        if now < self.load.start || self.done.is_some() {
            return Poll::Nothing;
        }
        let left = self.load.bulk.saturating_sub(self.bulk_delivered).saturating_sub(self.bulk_in_flight);
        let bulk = self.waiting.is_empty();
        if bulk && left == 0 {
            if let Control::Model(controller) = &mut self.control {
                controller.app_limited(self.in_flight);
            }
            return Poll::Nothing;
        }
        let bytes = if bulk { DATAGRAM } else { MESSAGE };
        let mut rate = Rate::default();
        match &mut self.control {
            Control::Model(controller) => {
                if self.in_flight + bytes > controller.window() {
                    return Poll::Nothing;
                }
                let at = controller.send_at(time(now), bytes);
                if at > time(now) {
                    return Poll::At(now + at.since(time(now)).as_micros() as u64);
                }
                rate = controller.on_sent(time(now), bytes, self.in_flight);
            }
            Control::Reno(reno) if (self.in_flight + bytes) as f64 > reno.window => return Poll::Nothing,
            Control::Reno(_) => {}
        }
        let born = self.waiting.pop_front();
        if let Some(born) = born {
            self.held.push((born, now - born));
        }
        let number = self.next;
        self.next += 1;
        self.packets += 1;
        if self.in_flight == 0 {
            self.heard = now;
        }
        self.in_flight += bytes;
        self.bulk_in_flight += if bulk { bytes } else { 0 };
        self.sent.insert(number, Sent { at: time(now), bytes, bulk, rate });
        Poll::Packet(number, bytes, born)
    }

    fn take(&mut self, number: u64) -> Option<Sent> {
        let sent = self.sent.remove(&number)?;
        self.in_flight -= sent.bytes;
        self.bulk_in_flight -= if sent.bulk { sent.bytes } else { 0 };
        Some(sent)
    }

    fn on_ack(&mut self, now: u64, numbers: &[u64], delay: u64) {
        let (mut bytes, mut newest) = (0, None);
        for number in numbers {
            let Some(sent) = self.take(*number) else { continue };
            bytes += sent.bytes;
            self.bulk_delivered += if sent.bulk { sent.bytes } else { 0 };
            newest = Some((sent.at, sent.rate));
            self.largest = self.largest.max(*number);
        }
        let Some((sent, rate)) = newest else { return };
        self.heard = now;
        self.timeouts = 0;
        let rtt = (time(now).since(sent).as_micros() as u64).saturating_sub(delay);
        self.srtt = if self.srtt == 0 { rtt } else { (self.srtt * 7 + rtt) / 8 };
        self.detect_loss(now, rtt);
        let acked = Acked {
            bytes,
            rtt: Some(Duration::from_micros(rtt)),
            newest: rate,
            sent,
            in_flight: self.in_flight,
        };
        match &mut self.control {
            Control::Model(controller) => controller.on_ack(time(now), acked),
            Control::Reno(reno) if reno.window < reno.threshold => reno.window += bytes as f64,
            Control::Reno(reno) => reno.window += DATAGRAM as f64 * bytes as f64 / reno.window,
        }
        if self.bulk_delivered >= self.load.bulk && self.load.bulk > 0 {
            self.done = Some(now);
        }
    }

    fn detect_loss(&mut self, now: u64, rtt: u64) {
        let age = self.srtt.max(rtt) * 9 / 8;
        let largest = self.largest;
        let late = |number: u64, sent: &Sent| {
            number + 3 <= largest || (number < largest && time(now).since(sent.at).as_micros() as u64 > age)
        };
        let lost: Vec<u64> =
            self.sent.iter().take_while(|(n, s)| late(**n, s)).map(|(number, _)| *number).collect();
        self.lose(now, &lost, false);
    }

    fn lose(&mut self, now: u64, numbers: &[u64], persistent: bool) {
        let mut bytes = 0;
        for number in numbers {
            bytes += self.take(*number).map_or(0, |sent| sent.bytes);
        }
        let Some(last) = numbers.last() else { return };
        self.lost += numbers.len() as u64;
        match &mut self.control {
            Control::Model(controller) => controller.on_loss(time(now), bytes, self.in_flight, persistent),
            Control::Reno(reno) if *last >= reno.recovery_end || persistent => {
                reno.window = (reno.window / 2.0).max(2.0 * DATAGRAM as f64);
                reno.threshold = reno.window;
                reno.recovery_end = self.next;
            }
            Control::Reno(_) => {}
        }
    }

    /// All that is under way is lost when nothing was heard for long; gives the time of the next look.
    fn on_timeout(&mut self, now: u64) -> u64 {
        let srtt = if self.srtt > 0 { self.srtt } else { INITIAL_RTT };
        let limit = (srtt * 2 + ACK_DELAY + 50_000) << self.timeouts.min(4);
        if self.in_flight > 0 && now >= self.heard + limit {
            self.timeouts += 1;
            self.heard = now;
            let all: Vec<u64> = self.sent.keys().copied().collect();
            self.lose(now, &all, self.timeouts >= 2);
        }
        (now + 10_000).max(self.heard + limit.min(200_000))
    }

    /// Bytes that arrived from `from` to `to`, µs.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        let columns = (from / COLUMN) as usize..(to / COLUMN) as usize;
        self.arrived.iter().enumerate().filter(|(i, _)| columns.contains(i)).map(|(_, bytes)| bytes).sum()
    }
}

/// The figure that `part` of the figures do not exceed, of those made in `from..to`, in milliseconds.
pub fn quantile(figures: &[(u64, u64)], part: f64, from: u64, to: u64) -> f64 {
    let mut chosen: Vec<u64> =
        figures.iter().filter(|(born, _)| (from..to).contains(born)).map(|(_, figure)| *figure).collect();
    chosen.sort_unstable();
    let at = ((chosen.len() as f64 * part).ceil() as usize).clamp(1, chosen.len().max(1));
    chosen.get(at - 1).map_or(f64::INFINITY, |figure| *figure as f64 / 1000.0)
}
