//! Round trips: the smoothed one, its variance, the least one of late.

use std::time::Duration;

use super::time::Time;

/// The least round trip is that of this window and the one before.
const MIN_WINDOW: Duration = Duration::from_secs(10);
/// So many samples back the least recent round trip is looked for.
const RECENT: usize = 4;
/// Retransmission timeout while nothing is measured: three of the package's default keep-alives, at the
/// latest of which an idle client acknowledges.
const INITIAL_RTO: Duration = Duration::from_millis(300);
/// Least retransmission timeout: how late an acknowledgement can be while a peer of little traffic has acknowledged
/// early by chance.
const MIN_RTO: Duration = Duration::from_millis(100);
/// How long a reader of the native wire holds an acknowledgement back at most.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// Least allowance for variance in a probe's timeout.
const PROBE_GRANULARITY: Duration = Duration::from_millis(5);
/// Least allowance for variance.
const GRANULARITY: Duration = Duration::from_millis(10);

/// A round trip estimator (RFC 6298's weights).
///
/// One acknowledgement covers packets that the other side took over up to a keep-alive's time. The newest of
/// them tells the way's delay; the oldest, how long an acknowledgement can take, which is what the
/// retransmission timeout must allow for.
#[derive(Clone, Debug, Default)]
pub struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
    latency: Duration,
    latest: Option<Duration>,
    min_now: Option<Duration>,
    min_before: Option<Duration>,
    window_start: Time,
    /// The last samples in microseconds, a ring.
    recent: [u32; RECENT],
    samples: usize,
}

/// At most some years, so that ten times as much can be counted.
fn nanos(d: Duration) -> u64 {
    d.as_secs().min(1 << 29) * 1_000_000_000 + u64::from(d.subsec_nanos())
}

impl Rtt {
    /// An acknowledgement took `rtt` for the newest packet that it is the first to cover, `longest` for the oldest.
    pub fn sample(&mut self, now: Time, rtt: Duration, longest: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(longest);
                self.variance = longest / 2;
                self.latency = rtt / 2;
                self.window_start = now;
            }
            Some(smoothed) => {
                // In whole nanoseconds as durations are, without their seconds.
                let (variance, latency) = (nanos(self.variance), nanos(self.latency));
                let difference = nanos(smoothed.abs_diff(longest));
                self.variance = Duration::from_nanos((variance * 3 + difference) / 4);
                self.smoothed = Some(Duration::from_nanos((nanos(smoothed) * 7 + nanos(longest)) / 8));
                self.latency = Duration::from_nanos((latency * 9 + nanos(rtt) / 2) / 10);
            }
        }
        self.latest = Some(rtt);
        if let Some(slot) = self.recent.get_mut(self.samples % RECENT) {
            *slot = u32::try_from(nanos(rtt) / 1000).unwrap_or(u32::MAX);
        }
        self.samples = self.samples.wrapping_add(1);
        if now.since(self.window_start) >= MIN_WINDOW {
            self.min_before = self.min_now.take();
            self.window_start = now;
        }
        self.min_now = Some(self.min_now.map_or(rtt, |m| m.min(rtt)));
    }

    /// Half a round trip, smoothed with weight 0.1, as mpgameserver reports it. Zero while nothing is measured.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// The smoothed round trip of the oldest packet of each acknowledgement, once measured.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The newest round trip, once measured.
    pub fn latest(&self) -> Option<Duration> {
        self.latest
    }

    /// How long to wait for an acknowledgement before asking for one (RFC 9002, 6.2).
    pub fn probe_timeout(&self) -> Duration {
        let known = |s| s + (self.variance * 4).max(PROBE_GRANULARITY) + MAX_ACK_DELAY;
        self.smoothed.map_or(INITIAL_RTO, known)
    }

    /// The least round trip of the last ten to twenty seconds.
    pub fn min(&self) -> Option<Duration> {
        [self.min_now, self.min_before].into_iter().flatten().min()
    }

    /// The least of the last few round trips: it soon follows a path that has become longer, as [`min`](Self::min) does not.
    pub fn recent_min(&self) -> Option<Duration> {
        self.recent.iter().take(self.samples).min().map(|us| Duration::from_micros(u64::from(*us)))
    }

    /// How long a packet may stay unacknowledged before its messages are sent again.
    pub fn timeout(&self, most: Duration) -> Duration {
        let raw = self.smoothed.map_or(INITIAL_RTO, |s| s + (self.variance * 4).max(GRANULARITY));
        raw.max(MIN_RTO).min(most)
    }
}
