//! Latencies and losses of all peers, second by second.

use crate::metrics::series::Ring;
use crate::protocol::time::Time;
use crate::server::dashboard::{share, PeerRow};

/// How the peers' connections were in one second. Latencies are those of the peers that have one, in microseconds; 0
/// where nobody has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Half of the peers have less.
    pub p50_us: u32,
    /// Nine of ten have less.
    pub p90_us: u32,
    /// 99 of a hundred have less.
    pub p99_us: u32,
    /// Nobody has more.
    pub max_us: u32,
    /// The share of the datagrams whose fate was known in this second that were not acknowledged in time.
    pub loss: f32,
}

/// The last five minutes of it.
#[derive(Debug)]
pub struct History {
    ring: Ring<Quality>,
    /// Datagrams given up and acknowledged, as they were counted last.
    counted: (u64, u64),
    /// Memory that is used again.
    latencies: Vec<u32>,
}

impl History {
    /// An empty one.
    pub fn new(now: Time) -> History {
        History { ring: Ring::new(now), counted: (0, 0), latencies: Vec::new() }
    }

    /// Takes the figures of a second: the peers that are, and of all that ever were how many datagrams were given up and
    /// acknowledged.
    pub fn sample(&mut self, now: Time, peers: &[PeerRow], timeouts: u64, acked: u64) {
        let measured = peers.iter().filter(|peer| !peer.latency.is_zero());
        self.latencies.clear();
        self.latencies.extend(measured.map(|p| u32::try_from(p.latency.as_micros()).unwrap_or(u32::MAX)));
        self.latencies.sort_unstable();
        let (lost, told) = (timeouts.saturating_sub(self.counted.0), acked.saturating_sub(self.counted.1));
        self.counted = (timeouts, acked);
        *self.ring.at(now) = Quality {
            p50_us: percentile(&self.latencies, 50),
            p90_us: percentile(&self.latencies, 90),
            p99_us: percentile(&self.latencies, 99),
            max_us: self.latencies.last().copied().unwrap_or(0),
            loss: share(lost, told) as f32,
        };
    }

    /// The last 300 seconds, oldest first.
    pub fn snapshot(&self, now: Time) -> Vec<Quality> {
        self.ring.snapshot(now)
    }
}

/// The least of sorted values that `percent` of them do not exceed; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::dashboard::tests::peer;
    use std::time::Duration;

    #[test]
    fn percentiles_are_values_that_somebody_has() {
        let hundred: Vec<u32> = (1..=100).collect();
        for (values, expected) in
            [(&hundred[..], [50, 90, 99]), (&[7], [7, 7, 7]), (&[], [0, 0, 0]), (&[1, 2], [1, 2, 2])]
        {
            assert_eq!([50, 90, 99].map(|percent| percentile(values, percent)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_second_has_the_latencies_that_were_measured_and_the_losses_since_the_one_before() {
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        let mut history = History::new(at(10));
        let mut peers: Vec<PeerRow> = (1..=4).map(peer).collect();
        for (peer, ms) in peers.iter_mut().zip([40, 0, 10, 5000]) {
            peer.latency = Duration::from_millis(ms);
        }
        history.sample(at(10), &peers, 10, 90);
        history.sample(at(11), &[], 10, 90);
        // Counts never go down, but who asks in between is not to be answered with nonsense.
        history.sample(at(12), &peers[..1], 9, 97);
        let seen = history.snapshot(at(12));
        let [.., first, second, third] = seen.as_slice() else { panic!("{} seconds", seen.len()) };
        assert_eq!((first.p50_us, first.p99_us, first.max_us), (40_000, 5_000_000, 5_000_000));
        assert!((first.loss - 0.1).abs() < 1e-6);
        assert_eq!(*second, Quality::default());
        assert_eq!((third.p50_us, third.loss), (40_000, 0.0));
    }
}
