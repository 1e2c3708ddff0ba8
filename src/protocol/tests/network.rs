//! A bad network on the virtual clock: everything that happens follows from the seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::protocol::time::Time;

/// One of the two ends; as a direction, the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];

    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// What one direction does to datagrams. Probabilities are per datagram.
#[derive(Clone, Debug, Default)]
pub struct Link {
    pub loss: f64,
    /// Probability that a burst of losses begins, and its length at most.
    pub burst: (f64, Duration),
    pub delay: Duration,
    /// Added to the delay, evenly from zero; it reorders.
    pub jitter: Duration,
    pub duplicate: f64,
    /// Probability of an extra delay of up to 300 ms.
    pub reorder: f64,
    /// Probability of flipped bits or of a cut.
    pub corrupt: f64,
    /// Probability that an old datagram comes once more, up to seconds later.
    pub replay: f64,
    /// Bytes per second, with a queue of a quarter second. [`Bottleneck`] is exact to the byte.
    pub rate: Option<f64>,
    /// Nothing passes.
    pub cut: bool,
    /// Probability that a copy comes from a foreign address, before the original.
    pub stray: f64,
}

impl Link {
    pub fn delay(ms: u64) -> Link {
        Link { delay: Duration::from_millis(ms), ..Link::default() }
    }

    pub fn lossy(ms: u64, loss: f64) -> Link {
        Link { loss, ..Link::delay(ms) }
    }
}

/// What a datagram takes on a line beside its own bytes: the headers of IPv4 and UDP.
pub const LINE_COST: usize = 28;

/// A line of a fixed rate with a buffer of so many bytes: what does not fit is dropped. Networks can share one.
#[derive(Clone, Debug)]
pub struct Bottleneck {
    /// Bytes per second.
    pub rate: f64,
    /// Bytes that wait at most, the one on the line included.
    pub buffer: f64,
    queued: f64,
    at: Time,
    pub dropped: u64,
}

impl Bottleneck {
    pub fn new(rate: f64, buffer: f64) -> Bottleneck {
        Bottleneck { rate, buffer, queued: 0.0, at: Time::default(), dropped: 0 }
    }

    pub fn shared(rate: f64, buffer: f64) -> Arc<Mutex<Bottleneck>> {
        Arc::new(Mutex::new(Bottleneck::new(rate, buffer)))
    }

    /// How long a datagram of `len` bytes takes until it has left the line; `None`: it is dropped.
    pub fn push(&mut self, now: Time, len: usize) -> Option<Duration> {
        self.queued = (self.queued - self.rate * now.since(self.at).as_secs_f64()).max(0.0);
        self.at = now;
        let bytes = (len + LINE_COST) as f64;
        if self.queued + bytes > self.buffer {
            self.dropped += 1;
            return None;
        }
        self.queued += bytes;
        Some(Duration::from_secs_f64(self.queued / self.rate))
    }
}

/// Port of copies that somebody on the way sends.
pub const STRAY_PORT: u16 = 6666;

/// What the network did.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkStats {
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub corrupted: u64,
}

/// Datagrams under way in both directions.
pub struct Network {
    rng: SmallRng,
    pub links: [Link; 2],
    /// In front of a link.
    pub bottlenecks: [Option<Arc<Mutex<Bottleneck>>>; 2],
    under_way: BTreeMap<(Time, u64), (Side, u16, Vec<u8>)>,
    /// Port that the client sends from.
    pub port: u16,
    counter: u64,
    burst_until: [Time; 2],
    busy_until: [Time; 2],
    old: [Vec<Vec<u8>>; 2],
    pub stats: [NetworkStats; 2],
}

impl Network {
    pub fn new(seed: u64, to_server: Link, to_client: Link) -> Self {
        Network {
            rng: SmallRng::seed_from_u64(seed ^ 0x6e65_7477),
            links: [to_server, to_client],
            bottlenecks: [None, None],
            under_way: BTreeMap::new(),
            port: 4000,
            counter: 0,
            burst_until: [Time::default(); 2],
            busy_until: [Time::default(); 2],
            old: [Vec::new(), Vec::new()],
            stats: [NetworkStats::default(); 2],
        }
    }

    /// The end `from` sends.
    pub fn send(&mut self, now: Time, from: Side, datagram: &[u8]) {
        let i = from as usize;
        let link = self.links[i].clone();
        self.stats[i].sent += 1;
        if link.replay > 0.0 {
            if self.old[i].len() < 32 {
                self.old[i].push(datagram.to_vec());
            } else if self.rng.random_bool(0.1) {
                let slot = self.rng.random_range(0..32);
                self.old[i][slot] = datagram.to_vec();
            }
            if self.rng.random_bool(link.replay) && !link.cut {
                let old = self.old[i][self.rng.random_range(0..self.old[i].len())].clone();
                let late = Duration::from_millis(self.rng.random_range(0..3000));
                self.arrive(now + late, from, old);
            }
        }
        if link.burst.0 > 0.0 && self.rng.random_bool(link.burst.0) {
            self.burst_until[i] = now + link.burst.1.mul_f64(self.rng.random::<f64>());
        }
        if link.cut || now < self.burst_until[i] || self.rng.random_bool(link.loss) {
            self.stats[i].lost += 1;
            return;
        }
        let mut at = now + link.delay;
        if let Some(bottleneck) = &self.bottlenecks[i] {
            let Some(queued) = bottleneck.lock().unwrap().push(now, datagram.len()) else {
                self.stats[i].lost += 1;
                return;
            };
            at = at + queued;
        }
        if let Some(rate) = link.rate {
            let start = self.busy_until[i].max(now);
            if start.since(now) > Duration::from_millis(250) {
                self.stats[i].lost += 1;
                return;
            }
            self.busy_until[i] = start + Duration::from_secs_f64((datagram.len() + LINE_COST) as f64 / rate);
            at = self.busy_until[i] + link.delay;
        }
        if link.stray > 0.0 && self.rng.random_bool(link.stray) {
            let early = at.since(now).mul_f64(self.rng.random());
            self.stray(now + early, from, datagram);
        }
        let copies = if self.rng.random_bool(link.duplicate) { 2 } else { 1 };
        self.stats[i].duplicated += copies - 1;
        for _ in 0..copies {
            let mut late = link.jitter.mul_f64(self.rng.random::<f64>());
            if self.rng.random_bool(link.reorder) {
                late += Duration::from_millis(self.rng.random_range(0..300));
            }
            let mut datagram = datagram.to_vec();
            if self.rng.random_bool(link.corrupt) {
                self.stats[i].corrupted += 1;
                self.corrupt(&mut datagram);
            }
            self.arrive(at + late, from, datagram);
        }
    }

    fn corrupt(&mut self, datagram: &mut Vec<u8>) {
        match self.rng.random_range(0..4) {
            0 => datagram.truncate(self.rng.random_range(0..datagram.len())),
            1 => datagram.push(self.rng.random()),
            _ => {
                for _ in 0..self.rng.random_range(1..4) {
                    let bit = self.rng.random_range(0..datagram.len() * 8);
                    datagram[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Now and then a game stands still for a while: it loads, or its window is moved.
    pub fn stall(&mut self) -> Duration {
        let ms = if self.rng.random_bool(0.001) { self.rng.random_range(200..3000) } else { 0 };
        Duration::from_millis(ms)
    }

    /// Bursts of losses end, and nothing bad begins.
    pub fn calm(&mut self) {
        self.burst_until = [Time::default(); 2];
        for link in &mut self.links {
            let rate = link.rate.map(|r| r.max(200_000.0));
            *link = Link { delay: link.delay, rate, ..Link::default() };
        }
    }

    /// Puts a copy under way that comes from a foreign address.
    pub fn stray(&mut self, at: Time, from: Side, datagram: &[u8]) {
        self.counter += 1;
        self.under_way.insert((at, self.counter), (from.other(), STRAY_PORT, datagram.to_vec()));
    }

    /// Puts a datagram under way as it is.
    pub fn arrive(&mut self, at: Time, from: Side, datagram: Vec<u8>) {
        self.counter += 1;
        self.under_way.insert((at, self.counter), (from.other(), self.port, datagram));
    }

    pub fn next_arrival(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next datagram that has arrived, and where.
    pub fn receive(&mut self, now: Time) -> Option<(Side, Vec<u8>)> {
        self.receive_from(now).map(|(to, _, datagram)| (to, datagram))
    }

    /// The same, with the port that the client sent it from.
    pub fn receive_from(&mut self, now: Time) -> Option<(Side, u16, Vec<u8>)> {
        if self.next_arrival()? > now {
            return None;
        }
        self.under_way.pop_first().map(|(_, arrived)| arrived)
    }
}
