//! Where the other end is: a server follows its client to a new address once that has answered from there.

use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::crypto::{CryptoError, Traffic};
use crate::protocol::mutant;
use crate::protocol::time::Time;

/// Pause after the first challenge to an address, and how long other addresses are passed over for its sake; each further
/// pause is half as long again, at most [`MAX_CHALLENGE_PAUSE`].
pub const CHALLENGE_PAUSE: Duration = Duration::from_millis(100);
/// The longest of these pauses.
pub const MAX_CHALLENGE_PAUSE: Duration = Duration::from_secs(1);
/// How many times what came from an unproven address may go there.
pub const AMPLIFICATION: usize = 3;

/// An address that the newest packet came from, not proven yet.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    address: SocketAddr,
    data: [u8; 8],
    since: Time,
    /// Whether a challenge has left.
    asked: bool,
    next: Time,
    pause: Duration,
    /// Bytes that may still go there.
    credit: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Path {
    remote: SocketAddr,
    /// Few connections ever have one.
    candidate: Option<Box<Candidate>>,
    /// Makes challenges that nobody can guess.
    secret: Option<Traffic>,
}

impl Path {
    pub(super) fn new(remote: SocketAddr) -> Self {
        Path { remote, candidate: None, secret: None }
    }

    /// Challenges are derived from the connection's own secret.
    pub(super) fn set_secret(&mut self, secret: &Traffic) -> Result<(), CryptoError> {
        self.secret = Some(secret.challenges()?);
        Ok(())
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// An authenticated packet came from `from`. Only the newest says where its sender is: an older one may have been overtaken.
    pub(super) fn received(&mut self, now: Time, from: SocketAddr, bytes: usize, is_newest: bool) {
        if from == self.remote {
            if is_newest {
                // It is where it was: whoever showed up elsewhere was a ghost.
                self.candidate = None;
            }
            return;
        }
        if mutant!(PathUnproven) {
            self.remote = from;
        }
        match &mut self.candidate {
            Some(candidate) if candidate.address == from => {
                candidate.credit = candidate.credit.saturating_add(bytes * AMPLIFICATION);
            }
            // One address at a time, for a while: packets from ever new ones do not make us chase them.
            Some(candidate) if now < candidate.since + CHALLENGE_PAUSE => {}
            _ if is_newest => {
                let Some((data, next)) =
                    self.secret.as_ref().and_then(|s| Some((s.challenge().ok()?, s.next().ok()?)))
                else {
                    return;
                };
                self.secret = Some(next);
                let credit = bytes * AMPLIFICATION;
                self.candidate = Some(Box::new(Candidate {
                    address: from,
                    data,
                    since: now,
                    asked: false,
                    next: now,
                    pause: CHALLENGE_PAUSE,
                    credit,
                }));
            }
            _ => {}
        }
    }

    /// When a challenge is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.candidate.as_ref().filter(|c| c.credit > 0).map(|c| c.next)
    }

    /// The challenge that is due, and where it goes, if a packet of `bytes` may go there.
    pub(super) fn poll(&mut self, now: Time, bytes: usize) -> Option<(SocketAddr, [u8; 8])> {
        let candidate = self.candidate.as_mut()?;
        if candidate.next > now {
            return None;
        }
        if candidate.credit < bytes && !mutant!(CreditIgnored) {
            // More must come from there first.
            candidate.credit = 0;
            return None;
        }
        candidate.credit = candidate.credit.saturating_sub(bytes) + usize::from(mutant!(CreditIgnored));
        candidate.asked = true;
        candidate.next = now + candidate.pause;
        candidate.pause = (candidate.pause * 3 / 2).min(MAX_CHALLENGE_PAUSE);
        Some((candidate.address, candidate.data))
    }

    /// A response came from `from`: whether it proves a new address, which is then the peer's.
    pub(super) fn confirmed(&mut self, from: SocketAddr, data: &[u8; 8]) -> bool {
        let proven = self.candidate.as_ref().is_some_and(|c| c.address == from && c.data == *data && c.asked);
        if proven && !mutant!(PathNever) {
            self.remote = from;
            self.candidate = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn an_address_is_taken_when_it_answers_and_not_before() {
        let (t, mut p) = (Time::from_micros(1), Path::new(at(1)));
        p.set_secret(&Traffic::new([3; 32])).unwrap();
        p.received(t, at(2), 100, false);
        assert!(p.due().is_none(), "an older packet says nothing");
        p.received(t, at(2), 100, true);
        let (to, data) = p.poll(t, 40).unwrap();
        assert_eq!((to, p.poll(t, 40)), (at(2), None));
        assert!(!p.confirmed(at(3), &data) && !p.confirmed(at(2), &[0; 8]));
        assert!(p.confirmed(at(2), &data) && p.remote() == at(2));
        assert!(!p.confirmed(at(2), &data), "once");
    }

    #[test]
    fn challenges_are_few_and_cost_no_more_than_what_came() {
        let (mut t, mut p) = (Time::from_micros(1), Path::new(at(1)));
        p.set_secret(&Traffic::new([3; 32])).unwrap();
        p.received(t, at(2), 24, true);
        let mut sent = 0;
        for _ in 0..100 {
            t = t + Duration::from_millis(50);
            sent += usize::from(p.poll(t, 40).is_some()) * 40;
        }
        assert!(sent > 0 && sent <= 24 * AMPLIFICATION, "{sent}");
        // A flood from everywhere.
        let mut sent = 0;
        for i in 0..10_000_u16 {
            t = t + Duration::from_micros(100);
            p.received(t, at(1000 + i), 1200, true);
            sent += u32::from(p.poll(t, 40).is_some());
        }
        assert!((1..=10).contains(&sent), "{sent} in a second");
        p.received(t, at(1), 100, true);
        assert!(p.due().is_none(), "it is where it was");
    }
}
