//! Send rates: how many bytes a peer, and all together, are sent per second. Under the server's rate peers with
//! messages take turns, a datagram each.

use std::collections::VecDeque;

use crate::protocol::time::Time;
use crate::server::config::Config;
use crate::server::events::PeerId;
use crate::server::send_rate::SendRate;

/// A time that does not come: whoever is held until then waits for its turn.
const HELD: Time = Time::from_micros(u64::MAX);

/// The rates of a server.
#[derive(Debug)]
pub struct Rates {
    peer_bytes_per_second: u64,
    server: Option<SendRate>,
    /// Peers that have messages and wait for their turn, longest first.
    turns: VecDeque<(usize, PeerId)>,
}

impl Rates {
    /// As the configuration says.
    pub fn new(now: Time, config: &Config) -> Self {
        Rates {
            peer_bytes_per_second: config.peer_send_rate,
            server: SendRate::new(now, config.server_send_rate),
            turns: VecDeque::new(),
        }
    }

    /// The account of a new peer, if there is a rate.
    pub fn of_a_peer(&self, now: Time) -> Option<SendRate> {
        SendRate::new(now, self.peer_bytes_per_second)
    }

    /// A datagram leaves.
    pub fn sent(&mut self, now: Time, bytes: usize, peer: Option<&mut SendRate>) {
        for account in self.server.as_mut().into_iter().chain(peer) {
            account.spend(now, bytes);
        }
    }

    /// Whether peers wait for turns at all.
    pub fn are_shared(&self) -> bool {
        self.server.is_some()
    }

    /// Until when messages are held back whose peer has this account, and whether it has its turn.
    pub fn hold(&self, account: Option<&SendRate>, its_turn: bool) -> Time {
        if self.are_shared() && !its_turn {
            return HELD;
        }
        account.map_or(Time::default(), SendRate::free_at)
    }

    /// Until when a stream's bytes are held back whose peer has this account, and how many may leave at once. Streams wait
    /// for the server's account, too, but in no line.
    pub fn hold_stream(&mut self, now: Time, account: Option<&mut SendRate>) -> (Time, usize) {
        let (mut until, mut most) = (Time::default(), usize::MAX);
        for account in self.server.as_mut().into_iter().chain(account) {
            account.refill(now);
            until = until.max(account.free_at());
            most = most.min(account.burst());
        }
        (until, most)
    }

    /// Bytes of a stream leave.
    pub fn stream_sent(&mut self, now: Time, bytes: usize, peer: Option<&mut SendRate>) {
        for account in self.server.as_mut().into_iter().chain(peer) {
            account.spend_all(now, bytes);
        }
    }

    /// A peer gets in line.
    pub fn wait(&mut self, slot: usize, peer: PeerId) {
        self.turns.push_back((slot, peer));
    }

    /// The peer whose turn it is, if messages may leave now. It leaves the line.
    pub fn next_turn(&mut self, now: Time) -> Option<(usize, PeerId)> {
        let server = self.server.as_mut()?;
        server.refill(now);
        if server.free_at() > now {
            return None;
        }
        self.turns.pop_front()
    }

    /// When the next turn is, if anybody waits for one.
    pub fn poll_timeout(&self) -> Option<Time> {
        let server = self.server.as_ref().filter(|_| !self.turns.is_empty())?;
        Some(server.free_at())
    }

    /// A peer in line has gone.
    pub fn forget(&mut self, peer: PeerId) {
        self.turns.retain(|(_, waiting)| *waiting != peer);
    }

    /// How many are in line.
    #[cfg(test)]
    pub fn in_line(&self) -> usize {
        self.turns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_000_000);

    #[test]
    fn no_rate_is_no_limit() {
        let mut rates = Rates::new(START, &Config::default());
        rates.sent(START, 1 << 30, None);
        assert!(!rates.are_shared() && rates.of_a_peer(START).is_none());
        assert_eq!(rates.hold(None, false), Time::default());
        assert_eq!((rates.next_turn(START), rates.poll_timeout()), (None, None));
    }
}
