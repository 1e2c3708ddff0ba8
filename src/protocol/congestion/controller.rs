//! The native protocol's congestion control: a model of the path instead of a verdict on each loss.
//!
//! Two figures describe a path: the rate at which it delivers (`bandwidth`, the most of the last rounds) and
//! its round trip without a queue (`base`). Their product is what fits on the way. The window is that and a
//! small allowance that waits in the bottleneck's queue. The allowance grows with the root of the product,
//! so of two flows the slower keeps relatively more there, and that makes their rates equal: the same
//! balance that Vegas and FAST TCP find with a constant. All flows of this kind see the same queue,
//! allowance over rate, however many they are.
//!
//! The base can only be seen while the queue is empty. If it was not for [`BASE_INTERVAL`], the flow sends at
//! a third of its rate for about a round trip and takes the least round trip that follows for the new base: a
//! dip, which empties the queue for all who share it. Beside a flow that fills the queue whatever others do (Reno,
//! CUBIC) it does not; then the queue becomes part of the base, and the flow holds its share.
//!
//! A peer that reads once in a frame acknowledges a frame's worth at once, however short the way. What
//! comes together like this ([`Aggregation`]) must be under way besides.
//!
//! A round is the time in which what was sent at its start is acknowledged. Loss alone slows nothing down
//! until it is [`HEAVY_LOSS`] of a round.

use std::time::Duration;

use super::delivery::{Deliveries, Rate};
use super::pacer::Pacer;
use crate::protocol::time::Time;

/// Datagrams that may be under way at first, and leave at once after silence (RFC 6928, RFC 9002).
pub const INITIAL_DATAGRAMS: u64 = 10;
/// Datagrams that may always be under way.
pub const MIN_DATAGRAMS: u64 = 4;
/// Round trip to pace by before one is measured.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Startup's pace over the rate measured: the least that doubles the rate in each round, 4 ln 2.
const STARTUP_GAIN: f64 = 2.77;
/// Startup's window over the product: its end is seen a round late, with a queue of this less one.
const STARTUP_WINDOW: f64 = 1.8;
/// A round in which the rate grew by less has found no more room.
const STARTUP_GROWTH: f64 = 1.25;
/// So many rounds without growth end the startup; one does if there is a queue.
const STARTUP_ROUNDS: u32 = 3;
/// The pace while startup's queue drains.
const DRAIN_GAIN: f64 = 0.4;
/// Startup's queue has drained when so much of the product is under way.
const DRAINED: f64 = 0.9;
/// Rounds after which the drain ends in any case.
const DRAIN_ROUNDS: u32 = 3;
/// The pace of a dip.
const DIP_GAIN: f64 = 0.3;
/// The base is looked for when it was not seen for so long.
const BASE_INTERVAL: Duration = Duration::from_secs(5);
/// Rounds of which the fastest sample is the bandwidth.
const BANDWIDTH_ROUNDS: usize = 3;
/// The allowance in datagrams is this times the root of the product in datagrams.
const ALLOWANCE: f64 = 1.2;
/// Acknowledgements of so many datagrams come together anyway.
const ACK_DATAGRAMS: f64 = 4.0;
/// Longest time for which acknowledgements are expected to stay away and then come together, as those of a
/// peer that reads once in a frame do.
const MAX_AGGREGATION: f64 = 0.05;
/// Rounds after which the larger of two windows of aggregation is forgotten.
const AGGREGATION_ROUNDS: u32 = 5;
/// Most by which the window may exceed the product while the queue stays empty.
const MAX_BOOST: f64 = 0.15;
/// Rounds with (nearly) no queue after which the allowance doubles in each.
const BOOST_ROUNDS: u32 = 2;
/// Loss of a round that bounds the window if there is a queue besides.
const HEAVY_LOSS: f64 = 0.1;
/// Loss of a round that bounds the window in any case: somebody polices the rate.
const POLICED_LOSS: f64 = 0.25;
/// Fewer datagrams lost in a round are chance.
const HEAVY_LOSS_DATAGRAMS: f64 = 3.0;
/// What a round of heavy loss leaves of the window.
const LOSS_FACTOR: f64 = 0.85;
/// Most that is added to window and pace for what will be lost.
const MAX_EXPECTED_LOSS: f64 = 0.1;
/// Least difference of two round trips that is a queue and no jitter.
const JITTER: f64 = 0.002;

/// What an acknowledgement tells.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Bytes acknowledged for the first time, of all packets together.
    pub bytes: u64,
    /// The newest packet's round trip without the receiver's delay; none if it was not newly acknowledged.
    pub rtt: Option<Duration>,
    /// What [`Controller::on_sent`] gave for the newest of the packets.
    pub newest: Rate,
    /// When the newest of the packets was sent.
    pub sent: Time,
    /// Bytes still under way.
    pub in_flight: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Doubles the rate in each round.
    Startup,
    /// Lets startup's queue drain.
    Drain,
    /// Keeps the product and the allowance under way.
    Cruise,
    /// Sends at less than half the rate, to see the base.
    Dip,
    /// Waits for the dip's round trips, at the rate that was.
    Refill,
}

/// Rounds, and what is counted in each.
#[derive(Clone, Debug)]
struct Round {
    /// The round ends when a packet is acknowledged that left when so much had been delivered.
    end: u64,
    delivered: u64,
    lost: u64,
    /// Least round trip in seconds; infinite before the first.
    rtt: f64,
    /// Whether a rate was measured that the application did not limit.
    sampled: bool,
    /// Most bytes that were under way when some of them were lost.
    flight: u64,
    /// Rate at which the last full round looked for growth, and rounds without any.
    full_rate: f64,
    full_rounds: u32,
    /// Rounds in a row without a queue.
    empty: u32,
    /// Rounds since the mode began.
    in_mode: u32,
}

impl Round {
    fn new(end: u64) -> Self {
        Round {
            end,
            delivered: 0,
            lost: 0,
            rtt: f64::INFINITY,
            sampled: false,
            flight: 0,
            full_rate: 0.0,
            full_rounds: 0,
            empty: 0,
            in_mode: 0,
        }
    }

    fn loss(&self) -> f64 {
        self.lost as f64 / (self.lost + self.delivered).max(1) as f64
    }
}

/// How many more bytes are acknowledged at once than the rate explains: they must be under way besides.
#[derive(Clone, Debug, Default)]
struct Aggregation {
    /// Since when acknowledgements come faster than the rate, and how many bytes of them.
    since: Time,
    acked: f64,
    /// The most of the rounds counted here, and of those before.
    most: [f64; 2],
    rounds: u32,
}

impl Aggregation {
    fn on_ack(&mut self, now: Time, bytes: f64, rate: f64, datagram: f64) {
        let mut expected = rate * now.since(self.since).as_secs_f64();
        if self.acked <= expected {
            self.since = now;
            self.acked = 0.0;
            expected = 0.0;
        }
        self.acked += bytes;
        let more = (self.acked - expected - ACK_DATAGRAMS * datagram).min(rate * MAX_AGGREGATION);
        let [latest, _] = &mut self.most;
        *latest = latest.max(more);
    }

    fn on_round(&mut self) {
        self.rounds += 1;
        if self.rounds >= AGGREGATION_ROUNDS {
            self.rounds = 0;
            let [latest, before] = &mut self.most;
            *before = std::mem::take(latest);
        }
    }

    fn bytes(&self) -> f64 {
        self.most.iter().copied().fold(0.0, f64::max)
    }
}

/// Window and pace of one connection's way to its peer. Bytes are those of whole datagrams.
#[derive(Clone, Debug)]
pub struct Controller {
    datagram: f64,
    mode: Mode,
    mode_since: Time,
    deliveries: Deliveries,
    pacer: Pacer,
    window: f64,
    /// Bytes per second: the most of each of the last rounds that were not limited by the application.
    rates: [f64; BANDWIDTH_ROUNDS],
    round: Round,
    /// Least round trip in seconds, if measured, and when it was seen last.
    base: Option<f64>,
    base_seen: Time,
    /// Least round trip since the base was seen, or since the dip began.
    recent: f64,
    /// What is lost of what is sent, smoothed.
    loss: f64,
    aggregation: Aggregation,
    /// How much the allowance is multiplied.
    boost: f64,
    /// Bytes that heavy loss leaves of the window.
    bound: f64,
    /// Packets sent before this went another way.
    path_since: Time,
}

impl Controller {
    /// A way of which nothing is known, for datagrams of up to `datagram` bytes.
    pub fn new(now: Time, datagram: usize) -> Self {
        let datagram = datagram.max(1) as f64;
        let window = datagram * INITIAL_DATAGRAMS as f64;
        let rate = STARTUP_GAIN * window / INITIAL_RTT.as_secs_f64();
        Controller {
            datagram,
            mode: Mode::Startup,
            mode_since: now,
            deliveries: Deliveries::default(),
            pacer: Pacer::new(now, rate, window),
            window,
            rates: [0.0; BANDWIDTH_ROUNDS],
            round: Round::new(0),
            base: None,
            base_seen: now,
            recent: f64::INFINITY,
            loss: 0.0,
            aggregation: Aggregation::default(),
            boost: 1.0,
            bound: f64::INFINITY,
            path_since: now,
        }
    }

    /// Bytes that may be under way; at least [`MIN_DATAGRAMS`].
    pub fn window(&self) -> u64 {
        self.window as u64
    }

    /// The earliest time at which a datagram of `bytes` may leave: `now` or later. It asks no window.
    pub fn send_at(&self, now: Time, bytes: u64) -> Time {
        self.pacer.send_at(now, bytes)
    }

    /// Bytes per second that the path delivers, once something was delivered. A lower bound while the
    /// application sends less than it could.
    pub fn bandwidth(&self) -> Option<u64> {
        let rate = self.rate();
        (rate > 0.0).then_some(rate as u64)
    }

    /// The round trip without a queue, once measured.
    pub fn min_rtt(&self) -> Option<Duration> {
        self.base.map(Duration::from_secs_f64)
    }

    /// A packet of `bytes` leaves while `in_flight` bytes are under way. Its record keeps the result.
    pub fn on_sent(&mut self, now: Time, bytes: u64, in_flight: u64) -> Rate {
        if in_flight == 0 {
            self.pacer.limit(now, self.datagram * INITIAL_DATAGRAMS as f64);
        }
        self.pacer.on_sent(now, bytes);
        self.deliveries.on_sent(now, in_flight == 0)
    }

    /// There is nothing more to send while the window and the pace would allow it; `in_flight` bytes are under way.
    pub fn app_limited(&mut self, in_flight: u64) {
        self.deliveries.limit(in_flight);
    }

    /// Packets were acknowledged.
    pub fn on_ack(&mut self, now: Time, acked: Acked) {
        let floor = Duration::from_secs_f64(self.base.unwrap_or(0.0));
        let sample = self.deliveries.on_ack(now, acked.bytes, acked.newest, acked.sent, floor);
        if acked.sent < self.path_since {
            return;
        }
        self.round.delivered += acked.bytes;
        if let Some(rtt) = acked.rtt {
            self.on_rtt(now, rtt.as_secs_f64().max(1e-6));
        }
        let ended = acked.newest.delivered() >= self.round.end;
        if ended {
            self.on_round(now);
        }
        if let Some(sample) = sample {
            // What the application limits can only show that the path is faster than was known.
            if !sample.app_limited || sample.rate > self.rate() {
                let [newest, ..] = &mut self.rates;
                *newest = newest.max(sample.rate);
            }
            self.round.sampled |= !sample.app_limited;
        }
        if self.mode == Mode::Cruise {
            self.aggregation.on_ack(now, acked.bytes as f64, self.rate(), self.datagram);
        }
        self.advance(now, acked.in_flight);
        self.set_window(acked);
        self.set_pace(now);
    }

    /// `bytes` are lost, with `in_flight` bytes still under way. `persistent`: nothing that was sent over
    /// several round trips arrived, so that what was known of the path may hold no more.
    pub fn on_loss(&mut self, now: Time, bytes: u64, in_flight: u64, persistent: bool) {
        self.round.lost += bytes;
        self.round.flight = self.round.flight.max(in_flight + bytes);
        if persistent {
            self.rates = [0.0; BANDWIDTH_ROUNDS];
            self.round = Round::new(self.deliveries.delivered());
            self.enter(now, Mode::Startup);
            self.window = self.least();
            self.set_pace(now);
        }
    }

    /// The peer has another address: nothing is known of the way there.
    pub fn on_path_change(&mut self, now: Time) {
        let deliveries = std::mem::take(&mut self.deliveries);
        *self = Controller::new(now, self.datagram as usize);
        self.round.end = deliveries.delivered();
        self.deliveries = deliveries;
    }

    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    fn least(&self) -> f64 {
        self.datagram * MIN_DATAGRAMS as f64
    }

    /// Bytes that fit on the way, with what will be lost of them.
    fn product(&self) -> f64 {
        self.rate() * self.base.unwrap_or(INITIAL_RTT.as_secs_f64()) / self.delivered_part()
    }

    fn delivered_part(&self) -> f64 {
        1.0 - self.loss.min(MAX_EXPECTED_LOSS)
    }

    /// Bytes that shall wait in the bottleneck's queue.
    fn allowance(&self) -> f64 {
        ALLOWANCE * ((self.product() + self.aggregation.bytes()) * self.datagram).sqrt()
    }

    /// Seconds that the queue lasts if all flows there are like this one.
    fn expected_queue(&self) -> f64 {
        self.allowance() / self.rate().max(1.0)
    }

    fn enter(&mut self, now: Time, mode: Mode) {
        self.mode = mode;
        self.mode_since = now;
        self.round.in_mode = 0;
        self.boost = 1.0;
        self.round.empty = 0;
    }

    fn on_rtt(&mut self, now: Time, rtt: f64) {
        self.round.rtt = self.round.rtt.min(rtt);
        self.recent = self.recent.min(rtt);
        if self.base.is_none_or(|base| rtt <= base) {
            self.base = Some(rtt);
            self.base_seen = now;
            self.recent = f64::INFINITY;
        }
    }

    /// A round is over.
    fn on_round(&mut self, now: Time) {
        let base = self.base.unwrap_or(0.0);
        let queue = if self.round.rtt.is_finite() { self.round.rtt - base } else { 0.0 };
        let lost = self.round.loss();
        self.loss += (lost - self.loss) / 8.0;
        let many = self.round.lost as f64 > HEAVY_LOSS_DATAGRAMS * self.datagram;
        let queued = queue > self.expected_queue() + JITTER;
        let heavy = many && (lost >= POLICED_LOSS || (lost >= HEAVY_LOSS && queued));
        let limited = self.deliveries.app_limited();
        if self.mode == Mode::Startup {
            self.look_for_growth(now, queue > base / 8.0 + JITTER, heavy, limited);
        } else if heavy {
            self.bound = (self.window.min(self.round.flight as f64) * LOSS_FACTOR).max(self.least());
        } else if self.bound.is_finite() {
            self.bound += self.allowance();
            if self.bound > 2.0 * self.product() + self.least() {
                self.bound = f64::INFINITY;
            }
        }
        if self.mode == Mode::Cruise && !limited {
            self.look_for_room(queue);
        }
        if self.round.sampled && !matches!(self.mode, Mode::Dip | Mode::Refill) {
            self.rates.rotate_right(1);
            if let Some(newest) = self.rates.first_mut() {
                *newest = 0.0;
            }
        }
        if self.round.sampled {
            self.aggregation.on_round();
        }
        self.round.end = self.deliveries.delivered();
        self.round.delivered = 0;
        self.round.lost = 0;
        self.round.sampled = false;
        self.round.flight = 0;
        self.round.rtt = f64::INFINITY;
        self.round.in_mode += 1;
    }

    /// Startup ends when the rate grows no more.
    fn look_for_growth(&mut self, now: Time, queued: bool, heavy: bool, limited: bool) {
        let rate = self.rate();
        if rate >= self.round.full_rate * STARTUP_GROWTH {
            self.round.full_rate = rate;
            self.round.full_rounds = 0;
            return;
        }
        if limited {
            return;
        }
        self.round.full_rounds += 1;
        if self.round.full_rounds >= STARTUP_ROUNDS || queued || heavy {
            self.enter(now, Mode::Drain);
        }
    }

    /// While the queue stays empty, the allowance is too little to find out what the path can do.
    fn look_for_room(&mut self, queue: f64) {
        if queue > self.expected_queue() / 2.0 {
            self.round.empty = 0;
            self.boost = 1.0;
            return;
        }
        self.round.empty += 1;
        if self.round.empty > BOOST_ROUNDS {
            let most = MAX_BOOST * self.product() / self.allowance().max(1.0);
            self.boost = (self.boost * 2.0).min(most).max(1.0);
        }
    }

    /// Changes the mode when it is time.
    fn advance(&mut self, now: Time, in_flight: u64) {
        let base = self.base.unwrap_or(0.0);
        let lasted = now.since(self.mode_since).as_secs_f64();
        match self.mode {
            Mode::Startup => {
                if self.deliveries.app_limited() && now.since(self.base_seen) >= BASE_INTERVAL {
                    self.renew_base(now);
                }
            }
            Mode::Drain => {
                if in_flight as f64 <= DRAINED * self.product() || self.round.in_mode >= DRAIN_ROUNDS {
                    self.enter(now, Mode::Cruise);
                }
            }
            Mode::Cruise => {
                if now.since(self.base_seen) >= BASE_INTERVAL {
                    if self.deliveries.app_limited() {
                        self.renew_base(now);
                    } else {
                        self.recent = f64::INFINITY;
                        self.enter(now, Mode::Dip);
                    }
                }
            }
            Mode::Dip => {
                // So long the queue takes to drain at this pace, and one round trip besides for the queues of others.
                if lasted >= base + 1.5 * self.expected_queue().min(base) {
                    self.enter(now, Mode::Refill);
                }
            }
            Mode::Refill => {
                if lasted >= base && self.round.in_mode >= 1 {
                    self.renew_base(now);
                    self.enter(now, Mode::Cruise);
                }
            }
        }
    }

    /// The base is the least round trip seen since it was due.
    fn renew_base(&mut self, now: Time) {
        if self.recent.is_finite() {
            self.base = Some(self.recent);
        }
        self.base_seen = now;
        self.recent = f64::INFINITY;
    }

    fn set_window(&mut self, acked: Acked) {
        let product = self.product();
        let acknowledged = acked.bytes as f64;
        match self.mode {
            Mode::Startup => {
                let most = STARTUP_WINDOW * product + self.datagram * INITIAL_DATAGRAMS as f64;
                // A window that is not used is no proof that more fits.
                if (acked.in_flight as f64 + acknowledged) * 2.0 >= self.window {
                    self.window = (self.window + acknowledged).min(most).max(self.window);
                }
            }
            Mode::Drain => {}
            Mode::Cruise | Mode::Dip | Mode::Refill => {
                self.window = product + self.aggregation.bytes() + self.allowance() * self.boost;
            }
        }
        self.window = self.window.min(self.bound).max(self.least());
    }

    fn set_pace(&mut self, now: Time) {
        let base = self.base.unwrap_or(INITIAL_RTT.as_secs_f64());
        let product = self.product();
        let rate = self.rate() / self.delivered_part();
        let initial = self.datagram * INITIAL_DATAGRAMS as f64;
        let (rate, burst) = match self.mode {
            Mode::Startup => (STARTUP_GAIN * rate.max(initial.min(self.window) / base), initial),
            Mode::Drain => (DRAIN_GAIN * rate, 0.0),
            Mode::Cruise => {
                let above = 1.25 * self.allowance() * self.boost / product.max(1.0);
                (rate * (1.0 + above.clamp(0.05, 1.0)), 0.0)
            }
            Mode::Dip => (DIP_GAIN * rate, 0.0),
            Mode::Refill => (rate, 0.0),
        };
        self.pacer.set(now, rate.max(self.datagram / base), self.datagram, burst);
    }
}
