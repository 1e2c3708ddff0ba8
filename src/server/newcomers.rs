//! Strangers on the native wire: their hellos are budgeted, answered with a cookie once there are too many, and a
//! few at a time with a welcome; whoever then sends a packet under its key becomes a peer.
//!
//! What is answered without a state of its own (cookies, versions, resets) waits in one bounded queue for the next flush.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::server::DropReason;
use crate::protocol::crypto::{Provider, Traffic};
use crate::protocol::handshake::mpgameserver::token_from;
use crate::protocol::handshake::native::{
    write_versions, Hello, HelloError, Identity, NativeKey, ServerHandshake, Welcome, HELLO_LEN, RESET_LEN,
};
use crate::protocol::phase::ReceivePhase;
use crate::protocol::time::Time;
use crate::protocol::wire::native::DataHeader;
use crate::server::admission::{HANDSHAKES_PER_TURN, HELLO_BURST, MAX_TIMEOUTS};
use crate::server::budget::{Budgets, Rate};
use crate::server::config::Config;

/// Of the table of handshakes, those whose senders have not shown that they receive at their address get one part in so
/// many: the rest is for those who have, however many addresses are made up.
pub const UNPROVEN_PART: usize = 2;
/// Answers without state that wait for the next flush at most; what would need one above it gets none.
pub const MAX_ANSWERS: usize = 1024;
/// Resets per second and source, and for all sources together: a forged packet costs a keyed hash and 17 bytes.
pub const RESETS_PER_SOURCE: Rate = Rate { hz: 10.0, burst: 100.0 };
/// The same for all sources together: clients of a restarted server come all at once.
pub const RESETS_TOTAL: Rate = Rate { hz: 5_000.0, burst: 20_000.0 };

/// What is said to a stranger without remembering it.
#[derive(Clone, Debug)]
enum Answer {
    Cookie(Hello),
    Versions(Vec<u8>),
    Reset(u32),
    Welcome(u32),
}

/// What a client is told that is welcome, beside what is its own.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// The newest tick.
    pub tick: u64,
    /// The server's clock, in microseconds since its start.
    pub clock_us: u64,
}

struct Pending {
    handshake: ServerHandshake,
    welcome: Welcome,
    receive: ReceivePhase,
}

/// The table of native strangers.
pub struct Newcomers {
    identity: Identity,
    provider: Arc<dyn Provider>,
    /// Of hellos without a cookie, and of those that brought one: their senders are where they say.
    unproven: Budgets,
    proven: Budgets,
    resets: Budgets,
    waiting: VecDeque<(SocketAddr, Hello)>,
    /// By connection id.
    pending: HashMap<u32, Pending>,
    /// Tokens of the handshakes unproven, one each.
    tokens: HashSet<u32>,
    /// The connection id of each client's key and address.
    clients: HashMap<(SocketAddr, NativeKey), u32>,
    /// In the order of their ends, as far as these were not put off.
    expiries: VecDeque<(Time, u32)>,
    answers: VecDeque<(SocketAddr, Answer)>,
    max: usize,
    timeout: Duration,
    template: Welcome,
    scratch: Vec<u8>,
}

impl Newcomers {
    /// An empty one.
    pub fn new(now: Time, identity: Identity, provider: Arc<dyn Provider>, config: &Config) -> Self {
        let burst = HELLO_BURST;
        let per_source = Rate { hz: config.hellos_per_source_hz, burst };
        let in_total = Rate { hz: config.hellos_total_hz, burst };
        let max_message = config.protocol_settings().limits.max_message;
        let template = Welcome {
            tick_interval_us: (1_000_000.0 / config.tick_rate_hz) as u32,
            timeout_ms: u32::try_from(config.connection_timeout.as_millis()).unwrap_or(u32::MAX),
            max_message: u32::try_from(max_message).unwrap_or(u32::MAX),
            max_join: crate::protocol::connection::native::MAX_JOIN_BYTES as u16,
            wants_password: config.password.is_some(),
            files: config.files.is_some(),
            ..Welcome::default()
        };
        Newcomers {
            identity,
            provider,
            unproven: Budgets::new(now, per_source, in_total),
            proven: Budgets::new(now, per_source, in_total),
            resets: Budgets::new(now, RESETS_PER_SOURCE, RESETS_TOTAL),
            waiting: VecDeque::new(),
            pending: HashMap::new(),
            tokens: HashSet::new(),
            clients: HashMap::new(),
            expiries: VecDeque::new(),
            answers: VecDeque::new(),
            max: config.max_handshakes as usize,
            timeout: config.handshake_timeout,
            template,
            scratch: Vec::with_capacity(HELLO_LEN),
        }
    }

    /// Handshakes unproven, hellos waiting included.
    pub fn len(&self) -> usize {
        self.pending.len() + self.waiting.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether hellos wait for [`work`](Self::work), or answers for the flush.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.answers.is_empty()
    }

    /// When the oldest handshake is to be looked at.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.expiries.front().map(|(at, _)| *at)
    }

    fn answer(&mut self, to: SocketAddr, answer: Answer) -> Result<(), DropReason> {
        if self.answers.len() >= MAX_ANSWERS {
            return Err(DropReason::HelloBudget);
        }
        self.answers.push_back((to, answer));
        Ok(())
    }

    /// A hello arrived. What costs much is done later, by [`work`](Self::work).
    pub fn hello(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        let hello = match Hello::parse(datagram) {
            Ok(hello) => hello,
            Err(HelloError::Malformed) => return Err(DropReason::Hello),
            Err(HelloError::Version) => {
                let mut versions = Vec::new();
                write_versions(datagram, &mut versions);
                self.answer(from, Answer::Versions(versions))?;
                return Err(DropReason::Hello);
            }
        };
        if let Some(&id) = self.clients.get(&(from, hello.client)) {
            return self.repeated(now, from, id);
        }
        // Addresses can be made up without end: what they fill is not all there is.
        let unproven_room = self.len() < self.max.div_ceil(UNPROVEN_PART);
        if unproven_room && self.unproven.take(now, from.ip()) {
            self.waiting.push_back((from, hello));
            return Ok(());
        }
        // Too many: from here on only who shows that it receives at its address costs more than a keyed hash.
        if !self.identity.cookie_valid(now, from, &hello) {
            self.answer(from, Answer::Cookie(hello))?;
            return Err(DropReason::HelloBudget);
        }
        if self.len() >= self.max || !self.proven.take(now, from.ip()) {
            return Err(DropReason::HelloBudget);
        }
        self.waiting.push_back((from, hello));
        Ok(())
    }

    fn repeated(&mut self, now: Time, from: SocketAddr, id: u32) -> Result<(), DropReason> {
        let timeout = self.timeout;
        if let Some(Pending { handshake: h, .. }) = self.pending.get_mut(&id) {
            h.repeated();
            h.expires = (now + timeout).min(h.started + timeout * MAX_TIMEOUTS);
        }
        self.answer(from, Answer::Welcome(id))
    }

    /// Answers some of the waiting hellos; how many could not be answered. `free` tells whether a token and a connection id
    /// are in use by nobody.
    pub fn work(&mut self, now: Time, announced: Announced, free: impl Fn(u32, u32) -> bool) -> u64 {
        let mut refused = 0;
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((from, hello)) = self.waiting.pop_front() else { break };
            // It may have been repeated while it waited.
            if self.clients.contains_key(&(from, hello.client)) {
                continue;
            }
            if self.accept(now, from, &hello, announced, &free).is_none() {
                refused += 1;
            }
        }
        refused
    }

    fn accept(
        &mut self,
        now: Time,
        from: SocketAddr,
        hello: &Hello,
        announced: Announced,
        free: &impl Fn(u32, u32) -> bool,
    ) -> Option<()> {
        let (token, connection_id) = self.numbers(free)?;
        let welcome = Welcome {
            connection_id,
            token,
            reset_token: self.identity.reset_token(connection_id),
            tick: announced.tick,
            clock_us: announced.clock_us,
            ..self.template.clone()
        };
        let handshake =
            self.identity.accept(now, from, hello, &welcome, self.timeout, &*self.provider).ok()?;
        let receive = ReceivePhase::new(&Traffic::new(handshake.secrets.to_server)).ok()?;
        self.expiries.push_back((handshake.expires, connection_id));
        self.clients.insert((from, hello.client), connection_id);
        self.tokens.insert(token);
        self.pending.insert(connection_id, Pending { handshake, welcome, receive });
        self.answer(from, Answer::Welcome(connection_id)).ok()
    }

    /// A token and a connection id that nobody has. Of 2^30 and 2^32 values a few tries find one.
    fn numbers(&self, free: &impl Fn(u32, u32) -> bool) -> Option<(u32, u32)> {
        (0..64).find_map(|_| {
            let mut random = [0; 8];
            self.provider.random(&mut random).ok()?;
            let [a, b, c, d, rest @ ..] = random;
            let (token, id) = (token_from([a, b, c, d]), u32::from_be_bytes(rest));
            let taken = self.pending.contains_key(&id) || self.tokens.contains(&token);
            (!taken && free(token, id)).then_some((token, id))
        })
    }

    /// The handshake that a data packet proves, taken out of the table.
    pub fn prove(&mut self, id: u32, datagram: &[u8]) -> Option<(ServerHandshake, Welcome)> {
        let pending = self.pending.get_mut(&id)?;
        let header = DataHeader::parse(datagram, true, 0)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(datagram);
        pending.receive.open(&mut self.scratch, &header).ok()?;
        self.take(id).map(|p| (p.handshake, p.welcome))
    }

    /// Whether a handshake under way has this connection id.
    pub fn has(&self, id: u32) -> bool {
        self.pending.contains_key(&id)
    }

    fn take(&mut self, id: u32) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.tokens.remove(&pending.handshake.token);
        self.clients.remove(&(pending.handshake.address, pending.handshake.client));
        Some(pending)
    }

    /// A data packet came for a connection that nobody has: its sender is told, if it is one of ours.
    pub fn stray(&mut self, now: Time, from: SocketAddr, id: u32, len: usize) -> DropReason {
        // The token of a handshake under way is its client's alone: who told it could end the connection.
        if self.has(id) {
            return DropReason::Forged;
        }
        if len > RESET_LEN && self.resets.take(now, from.ip()) {
            // With a full queue it will ask again.
            let _full = self.answer(from, Answer::Reset(id));
        }
        DropReason::Unknown
    }

    /// Forgets handshakes that ran out of time; how many.
    pub fn handle_timeout(&mut self, now: Time) -> u64 {
        let mut gone = 0;
        while let Some((_, id)) = self.expiries.front().copied().filter(|(at, _)| *at <= now) {
            self.expiries.pop_front();
            match self.pending.get(&id).map(|p| p.handshake.expires) {
                Some(at) if at > now => self.expiries.push_back((at, id)),
                Some(_) => gone += u64::from(self.take(id).is_some()),
                None => {}
            }
        }
        gone
    }

    /// Forgets strangers from addresses that `blocked` names.
    pub fn forget(&mut self, blocked: impl Fn(SocketAddr) -> bool) {
        self.waiting.retain(|(from, _)| !blocked(*from));
        self.pending.retain(|_, p| !blocked(p.handshake.address));
        self.clients.retain(|(from, _), _| !blocked(*from));
        self.tokens = self.pending.values().map(|p| p.handshake.token).collect();
        self.answers.retain(|(to, _)| !blocked(*to));
    }

    /// Appends the next answer to `out` and says where it goes. None is longer than what it answers.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        while let Some((to, answer)) = self.answers.pop_front() {
            match answer {
                Answer::Cookie(hello) => self.identity.write_cookie(now, to, &hello, out),
                Answer::Versions(versions) => out.extend_from_slice(&versions),
                Answer::Reset(id) => self.identity.write_reset(id, out),
                Answer::Welcome(id) => {
                    if let Some(p) = self.pending.get_mut(&id) {
                        p.handshake.poll_transmit(now, out);
                    }
                }
            }
            if !out.is_empty() {
                return Some(to);
            }
        }
        None
    }
}
