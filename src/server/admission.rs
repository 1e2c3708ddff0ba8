//! Strangers: hellos are budgeted, queued, answered a few at a time, and forgotten when nothing follows.
//!
//! A hello costs its sender one datagram and us a key exchange and a signature, so nothing here happens
//! without a bound: hellos per source and in total, hellos waiting, handshakes unproven, handshakes done
//! per turn of the loop.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::server::DropReason;
use crate::protocol::crypto::{Provider, SigningKey};
use crate::protocol::handshake::mpgameserver::{token_from, Hello, ServerHandshake};
use crate::protocol::time::Time;
use crate::server::budget::{Budgets, Rate};

/// Handshakes computed per turn of the loop: about 1.5 ms, so that a burst of hellos does not delay a tick.
pub const HANDSHAKES_PER_TURN: usize = 8;
/// Unproven handshakes of one address at most: clients behind one address and port follow each other at
/// best; a forger of the address can fill these and no more.
pub const HANDSHAKES_PER_ADDRESS: usize = 4;
/// How many handshake timeouts a handshake lasts at most, however often its hello is repeated: otherwise
/// one source could keep the table full for nothing but datagrams.
pub const MAX_TIMEOUTS: u32 = 3;
/// Hellos that a source, or all together, may send at once above their rate.
pub const HELLO_BURST: f64 = 4096.0;

/// What to do about a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It waits for its turn, or repeats one that does.
    Yes,
    /// Dropped.
    No(DropReason),
}

/// The handshakes of one address.
#[derive(Default)]
struct Strangers {
    handshakes: Vec<ServerHandshake>,
    /// The earliest timer that stands for them.
    armed: Option<Time>,
}

/// The table of strangers.
pub struct Admission {
    root: Arc<dyn SigningKey>,
    provider: Arc<dyn Provider>,
    budgets: Budgets,
    waiting: VecDeque<(SocketAddr, Hello)>,
    strangers: HashMap<SocketAddr, Strangers>,
    /// Tokens of the handshakes unproven, one each.
    tokens: HashSet<u32>,
    max: usize,
    timeout: Duration,
    scratch: Vec<u8>,
}

impl Admission {
    /// An empty one.
    pub fn new(
        now: Time,
        root: Arc<dyn SigningKey>,
        provider: Arc<dyn Provider>,
        config: &crate::server::config::Config,
    ) -> Self {
        Admission {
            root,
            provider,
            budgets: Budgets::new(
                now,
                Rate { hz: config.hellos_per_source_hz, burst: HELLO_BURST },
                Rate { hz: config.hellos_total_hz, burst: HELLO_BURST },
            ),
            waiting: VecDeque::new(),
            strangers: HashMap::new(),
            tokens: HashSet::new(),
            max: config.max_handshakes as usize,
            timeout: config.handshake_timeout,
            scratch: Vec::new(),
        }
    }

    /// Handshakes unproven, hellos waiting included.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.waiting.len()
    }

    /// Addresses with handshakes unproven.
    pub fn addresses(&self) -> usize {
        self.strangers.len()
    }

    /// The timers that stand: when, and for which address.
    pub fn armed(&self) -> impl Iterator<Item = (Time, SocketAddr)> + '_ {
        self.strangers.iter().filter_map(|(address, s)| Some((s.armed?, *address)))
    }

    /// Whether there is no handshake at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether hellos wait for [`work`](Self::work).
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the address has a handshake under way.
    pub fn knows(&self, address: SocketAddr) -> bool {
        !self.strangers.is_empty() && self.strangers.contains_key(&address)
    }

    /// A hello arrived. What costs much is done later, by [`work`](Self::work).
    pub fn hello(&mut self, now: Time, address: SocketAddr, hello: Hello) -> Admitted {
        if let Some(Strangers { handshakes: known, .. }) = self.strangers.get_mut(&address) {
            if let Some(handshake) = known.iter_mut().find(|h| h.client == hello.client) {
                handshake.repeated(&hello);
                handshake.expires = (now + self.timeout).min(handshake.started + self.timeout * MAX_TIMEOUTS);
                return Admitted::Yes;
            }
            if known.len() >= HANDSHAKES_PER_ADDRESS {
                return Admitted::No(DropReason::HelloBudget);
            }
        }
        if self.len() >= self.max || !self.budgets.take(now, address.ip()) {
            return Admitted::No(DropReason::HelloBudget);
        }
        self.waiting.push_back((address, hello));
        Admitted::Yes
    }

    /// Answers some of the waiting hellos; returns the addresses whose handshakes have something to send
    /// now, and how many hellos could not be answered. `token_free` tells whether a token is in use.
    pub fn work(&mut self, now: Time, token_free: impl Fn(u32) -> bool) -> (Vec<SocketAddr>, u64) {
        let (mut due, mut refused) = (Vec::new(), 0);
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((address, hello)) = self.waiting.pop_front() else { break };
            let known = self.strangers.get(&address).map_or(&[][..], |s| &s.handshakes);
            if known.iter().any(|h| h.client == hello.client) {
                // It was repeated while it waited.
                continue;
            }
            let accepted = (known.len() < HANDSHAKES_PER_ADDRESS)
                .then(|| self.token(&token_free))
                .flatten()
                .and_then(|token| {
                    let (root, provider) = (&*self.root, &*self.provider);
                    ServerHandshake::accept(now, address, &hello, token, self.timeout, root, provider).ok()
                });
            match accepted {
                Some(handshake) => {
                    self.tokens.insert(handshake.token);
                    self.strangers.entry(address).or_default().handshakes.push(handshake);
                    due.push(address);
                }
                None => refused += 1,
            }
        }
        (due, refused)
    }

    /// A token that no peer and no handshake has. 2^30 values and a bounded table: a few tries find one.
    fn token(&self, free: &impl Fn(u32) -> bool) -> Option<u32> {
        (0..64).find_map(|_| {
            let mut random = [0; 4];
            self.provider.random(&mut random).ok()?;
            let token = token_from(random);
            (free(token) && !self.tokens.contains(&token)).then_some(token)
        })
    }

    /// The handshake that a sealed datagram from `address` proves, taken out of the table.
    pub fn prove(&mut self, address: SocketAddr, datagram: &[u8]) -> Option<ServerHandshake> {
        let known = &mut self.strangers.get_mut(&address)?.handshakes;
        let index = known.iter().position(|h| h.proven_by(datagram, &mut self.scratch))?;
        let proven = known.swap_remove(index);
        self.tokens.remove(&proven.token);
        if known.is_empty() {
            self.strangers.remove(&address);
        }
        Some(proven)
    }

    /// Forgets handshakes of `address` that ran out of time; how many.
    pub fn expire(&mut self, now: Time, address: SocketAddr) -> usize {
        let Some(Strangers { handshakes: known, .. }) = self.strangers.get_mut(&address) else { return 0 };
        let before = known.len();
        let tokens = &mut self.tokens;
        known.retain(|h| {
            let stays = h.expires > now;
            if !stays {
                tokens.remove(&h.token);
            }
            stays
        });
        let gone = before - known.len();
        if known.is_empty() {
            self.strangers.remove(&address);
        }
        gone
    }

    /// Forgets all strangers, and the addresses that `blocked` names.
    pub fn forget(&mut self, blocked: impl Fn(IpAddr) -> bool) {
        self.waiting.retain(|(address, _)| !blocked(address.ip()));
        self.strangers.retain(|address, _| !blocked(address.ip()));
        self.tokens = self.strangers.values().flat_map(|s| &s.handshakes).map(|h| h.token).collect();
    }

    /// When the handshakes of `address` have something to do, if a timer must be set for it: one that
    /// stands already and is not later serves.
    pub fn arm(&mut self, address: SocketAddr) -> Option<Time> {
        let strangers = self.strangers.get_mut(&address)?;
        let due = strangers.handshakes.iter().flat_map(|h| [Some(h.expires), h.poll_timeout()]);
        let at = due.flatten().min()?;
        if strangers.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        strangers.armed = Some(at);
        Some(at)
    }

    /// A timer fired: whether it is the one that stands for `address`.
    pub fn fired(&mut self, at: Time, address: SocketAddr) -> bool {
        let Some(strangers) = self.strangers.get_mut(&address).filter(|s| s.armed == Some(at)) else {
            return false;
        };
        strangers.armed = None;
        true
    }

    /// Appends the next answer for `address` that is due.
    pub fn poll_transmit(&mut self, now: Time, address: SocketAddr, out: &mut Vec<u8>) -> bool {
        let Some(strangers) = self.strangers.get_mut(&address) else { return false };
        strangers.handshakes.iter_mut().any(|h| h.poll_transmit(now, out))
    }
}
