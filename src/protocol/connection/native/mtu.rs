//! How large a datagram the path carries: 1200 bytes for certain, more if a probe arrives, until such datagrams are lost in a row.

use std::time::Duration;

use crate::protocol::mutant;
use crate::protocol::time::Time;
use crate::protocol::wire::native::BASE_DATAGRAM;

/// Sizes that are tried, one after the other: common tunnels, IPv6 over Ethernet, IPv4 over Ethernet.
const STEPS: [usize; 4] = [1280, 1392, 1452, 1472];
/// How long a connection lives before it probes, and between two steps.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// How long a probe is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A size that so many probes did not get through with is too large.
const PROBE_TRIES: u32 = 3;
/// After this a size that was too large is tried again: the way may have changed.
const RETRY: Duration = Duration::from_secs(600);
/// The same after a path has narrowed: it may have been but an outage.
const NARROWED_RETRY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Mtu {
    current: usize,
    most: usize,
    next: Time,
    tries: u32,
    /// The probe under way: its packet's number and size.
    probe: Option<(u64, usize)>,
}

impl Mtu {
    /// On a new path, for datagrams of at most `most` bytes.
    pub(super) fn new(now: Time, most: usize) -> Self {
        Mtu { current: BASE_DATAGRAM.min(most), most, next: now + PROBE_PAUSE, tries: 0, probe: None }
    }

    /// What is known to arrive.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    fn step(&self) -> Option<usize> {
        let most = self.most;
        STEPS.into_iter().map(|size| size.min(most)).find(|size| *size > self.current)
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Time> {
        self.step().map(|_| self.next)
    }

    /// The size of the probe that is due.
    pub(super) fn poll(&self, now: Time) -> Option<usize> {
        if self.probe.is_some() || self.next > now {
            return None;
        }
        self.step()
    }

    /// The probe left as packet `number`.
    pub(super) fn sent(&mut self, now: Time, number: u64, size: usize) {
        self.probe = Some((number, size));
        if mutant!(MtuUnproven) {
            self.current = size;
        }
        self.tries += 1;
        self.next = now + PROBE_TIMEOUT;
    }

    /// Whether a probe is under way.
    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Packets were acknowledged; whether larger datagrams are known to arrive now.
    pub(super) fn acknowledged(&mut self, now: Time, acked: impl Fn(u64) -> bool) -> bool {
        let Some((_, size)) = self.probe.filter(|(number, _)| acked(*number)) else { return false };
        self.current = size;
        self.probe = None;
        self.tries = 0;
        self.next = now + PROBE_PAUSE;
        true
    }

    /// Datagrams longer than the least are lost: the path has narrowed. Whether any were allowed.
    pub(super) fn fall_back(&mut self, now: Time) -> bool {
        if self.current <= BASE_DATAGRAM {
            return false;
        }
        let most = self.most;
        *self = Mtu { next: now + NARROWED_RETRY, ..Mtu::new(now, most) };
        true
    }

    /// Time passed: a probe that was waited for long enough is lost.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.probe.is_some() && self.next <= now {
            self.probe = None;
            if self.tries >= PROBE_TRIES {
                self.tries = 0;
                self.next = now + RETRY;
            }
        }
    }
}
