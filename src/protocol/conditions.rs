//! A bad network to try things on: what a link does to the datagrams that pass it, exactly from a seed.
//!
//! A [`Link`] is one direction. Whoever drives it pushes each datagram in when it is sent and polls it out
//! when it arrives. What happens to one, in this order: a burst of losses or a single loss takes it, the queue
//! before the bottleneck takes it in or overflows, it is serialised at `rate`, perhaps doubled, and each
//! copy travels for `delay` ± `jitter`, is perhaps held back and perhaps damaged.
//!
//! As with Linux's netem, jitter is drawn for each datagram alone and evenly, so it reorders whatever is sent at
//! smaller distances than twice the jitter. Who wants late datagrams in order gives no jitter but a `rate`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::time::Time;

/// Datagrams that a link holds at most; beyond it they are dropped and counted as overflow.
pub const MAX_HELD_DATAGRAMS: usize = 65_536;
/// Bytes of datagrams that a link holds at most; beyond it they are dropped and counted as overflow.
pub const MAX_HELD_BYTES: usize = 32 << 20;
/// Longest `delay`, `jitter` and `reorder_delay`; a longer one is refused.
pub const MAX_DELAY: Duration = Duration::from_secs(60);
/// Longest mean of a burst, in datagrams; a longer one is refused.
pub const MAX_BURST_LENGTH: f32 = 10_000.0;
/// Bytes that wait before the bottleneck unless somebody says otherwise: what home routers have.
pub const DEFAULT_QUEUE_BYTES: usize = 64 << 10;

const MICROS_PER_SECOND: u128 = 1_000_000;

/// Which way datagrams go, as the end that simulates sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Those that it receives.
    Receive,
    /// Those that it sends.
    Send,
}

/// What a link does to datagrams. The default does nothing. Chances are per datagram, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Chance that a datagram is lost, each for itself.
    pub loss: f32,
    /// Chance that a burst of losses begins with a datagram (Gilbert and Elliott's model: all is lost in it).
    pub burst_loss: f32,
    /// Mean length of a burst in datagrams, 1 to [`MAX_BURST_LENGTH`]; lengths are geometric. Default 1.
    pub burst_length: f32,
    /// Time that every datagram travels, up to [`MAX_DELAY`].
    pub delay: Duration,
    /// How far the time of each may lie below or above `delay`, evenly, up to [`MAX_DELAY`]; it never gets
    /// below 0. It reorders.
    pub jitter: Duration,
    /// Chance that a datagram arrives twice. The copy has a jitter of its own, and costs nothing of `rate`.
    pub duplicate: f32,
    /// Chance that a datagram is held back by `reorder_delay` while later ones pass it.
    pub reorder: f32,
    /// For how long, up to [`MAX_DELAY`].
    pub reorder_delay: Duration,
    /// Bytes per second that pass, counted without headers of IP and UDP; 0: without limit.
    pub rate: u64,
    /// Bytes that wait for `rate` at most, up to [`MAX_HELD_BYTES`]: a datagram that finds others before it
    /// and does not fit is dropped. Default [`DEFAULT_QUEUE_BYTES`].
    pub queue_bytes: usize,
    /// Chance that one bit of a datagram is turned over.
    pub corrupt: f32,
    /// Where all chances come from: the same seed and the same datagrams at the same times give the same fate.
    pub seed: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            loss: 0.0,
            burst_loss: 0.0,
            burst_length: 1.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::ZERO,
            rate: 0,
            queue_bytes: DEFAULT_QUEUE_BYTES,
            corrupt: 0.0,
            seed: 0,
        }
    }
}

/// Gives the two directions different fates where a host gives both the same seed.
const RECEIVE_SEED: u64 = 0x7265_6365_6976_6521;

impl Conditions {
    /// What a host gave for a direction: checked, and with a seed of that direction's own. The error is that of
    /// [`validate`](Self::validate).
    pub fn for_direction(mut self, direction: Direction) -> Result<Conditions, String> {
        self.validate()?;
        if direction == Direction::Receive {
            self.seed ^= RECEIVE_SEED;
        }
        Ok(self)
    }

    /// Checks every value against its range. The error names the value and the range.
    pub fn validate(&self) -> Result<(), String> {
        let chances = [
            ("loss", self.loss),
            ("burst_loss", self.burst_loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (name, value) in chances {
            // NaN lies in no range.
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, allowed is 0 to 1"));
            }
        }
        if !(1.0..=MAX_BURST_LENGTH).contains(&self.burst_length) {
            return Err(format!("burst_length is {}, allowed is 1 to {MAX_BURST_LENGTH}", self.burst_length));
        }
        let times = [("delay", self.delay), ("jitter", self.jitter), ("reorder_delay", self.reorder_delay)];
        for (name, value) in times {
            if value > MAX_DELAY {
                return Err(format!("{name} is {value:?}, allowed is 0 to {MAX_DELAY:?}"));
            }
        }
        if self.queue_bytes > MAX_HELD_BYTES {
            return Err(format!("queue_bytes is {}, allowed is 0 to {MAX_HELD_BYTES}", self.queue_bytes));
        }
        Ok(())
    }
}

/// What a link did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams pushed in.
    pub pushed: u64,
    /// Datagrams lost, singly and in bursts.
    pub dropped: u64,
    /// Datagrams and copies that found no room: in the queue before the bottleneck, or in the link at all.
    pub overflowed: u64,
    /// Datagrams that were doubled.
    pub duplicated: u64,
    /// Datagrams and copies held back by `reorder_delay`.
    pub reordered: u64,
    /// Datagrams and copies with a bit turned over.
    pub corrupted: u64,
}

/// One direction of a path; `T` travels with each datagram, such as its address.
#[derive(Debug)]
pub struct Link<T> {
    conditions: Conditions,
    random: Random,
    /// A burst of losses is on.
    burst: bool,
    /// When the bottleneck has sent all that it took in, in microseconds times `rate`: so it is exact.
    busy_until: u128,
    /// What is under way, by the time of its arrival, and by the order of pushing where that is the same.
    held: BTreeMap<(Time, u64), (Vec<u8>, T)>,
    held_bytes: usize,
    next_serial: u64,
    stats: LinkStats,
}

impl<T: Clone> Link<T> {
    /// An empty link. The conditions must be valid (see [`Conditions::validate`]); values out of their
    /// ranges do no harm, but mean nothing.
    pub fn new(conditions: Conditions) -> Self {
        Link {
            random: Random(conditions.seed),
            conditions,
            burst: false,
            busy_until: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            next_serial: 0,
            stats: LinkStats::default(),
        }
    }

    /// Other conditions from now on, from the beginning of their seed. What is under way arrives as it would
    /// have, and counts go on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.random = Random(conditions.seed);
        self.conditions = conditions;
        self.burst = false;
        self.busy_until = 0;
    }

    /// A datagram is sent. It is copied.
    pub fn push(&mut self, now: Time, datagram: &[u8], to: T) {
        self.stats.pushed += 1;
        if self.is_lost() {
            self.stats.dropped += 1;
            return;
        }
        let Some(sent) = self.serialise(now, datagram.len()) else {
            self.stats.overflowed += 1;
            return;
        };
        if self.random.chance(self.conditions.duplicate) {
            self.stats.duplicated += 1;
            self.travel(sent, datagram, to.clone());
        }
        self.travel(sent, datagram, to);
    }

    /// The next datagram that has arrived by now.
    pub fn poll(&mut self, now: Time) -> Option<(Vec<u8>, T)> {
        if self.poll_timeout()? > now {
            return None;
        }
        let (_, (datagram, to)) = self.held.pop_first()?;
        self.held_bytes -= datagram.len();
        Some((datagram, to))
    }

    /// When [`poll`](Self::poll) has something.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.held.first_key_value().map(|((at, _), _)| *at)
    }

    /// What it did so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Whether bursts or chance take the next datagram.
    fn is_lost(&mut self) -> bool {
        if !self.burst {
            self.burst = self.random.chance(self.conditions.burst_loss);
        }
        if self.burst {
            // The chance to end behind each datagram makes the mean, and the first one always belongs to it.
            self.burst = !self.random.chance(1.0 / self.conditions.burst_length);
            return true;
        }
        self.random.chance(self.conditions.loss)
    }

    /// When the bottleneck has sent a datagram; none if its queue is full.
    fn serialise(&mut self, now: Time, len: usize) -> Option<Time> {
        let rate = u128::from(self.conditions.rate);
        if rate == 0 {
            return Some(now);
        }
        let start = u128::from(now.as_micros()) * rate;
        let cost = len as u128 * MICROS_PER_SECOND;
        let waiting = self.busy_until.saturating_sub(start);
        if waiting > 0 && waiting + cost > self.conditions.queue_bytes as u128 * MICROS_PER_SECOND {
            return None;
        }
        self.busy_until = start + waiting + cost;
        Some(Time::from_micros(u64::try_from(self.busy_until.div_ceil(rate)).unwrap_or(u64::MAX)))
    }

    /// Puts one copy under way, as far as there is room.
    fn travel(&mut self, sent: Time, datagram: &[u8], to: T) {
        let at = sent + self.latency();
        let mut datagram = datagram.to_vec();
        let bits = datagram.len() as u64 * 8;
        if bits > 0 && self.random.chance(self.conditions.corrupt) {
            let bit = self.random.below(bits);
            if let Some(byte) = datagram.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
                self.stats.corrupted += 1;
            }
        }
        if self.held.len() >= MAX_HELD_DATAGRAMS || self.held_bytes + datagram.len() > MAX_HELD_BYTES {
            self.stats.overflowed += 1;
            return;
        }
        self.held_bytes += datagram.len();
        self.held.insert((at, self.next_serial), (datagram, to));
        self.next_serial += 1;
    }

    /// How long one copy travels.
    fn latency(&mut self) -> Duration {
        let jitter = micros(self.conditions.jitter);
        let mut latency = micros(self.conditions.delay);
        if jitter > 0 {
            let drawn = self.random.below(jitter.saturating_mul(2).saturating_add(1));
            latency = latency.saturating_add(drawn).saturating_sub(jitter);
        }
        let mut latency = Duration::from_micros(latency);
        if self.random.chance(self.conditions.reorder) {
            self.stats.reordered += 1;
            latency = latency.saturating_add(self.conditions.reorder_delay);
        }
        latency
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// SplitMix64: a counter in steps of the golden ratio, its bits mixed. Good enough for chances, and no secret.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with a probability. One of 0 draws nothing.
    fn chance(&mut self, probability: f32) -> bool {
        // 53 bits are what a double holds exactly; all of them lie below 1.
        probability > 0.0 && ((self.next() >> 11) as f64) < f64::from(probability) * (1_u64 << 53) as f64
    }

    /// A number below `bound`, evenly but for a bias of `bound` in 2^64.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
