//! Reads a server once a second, and answers on a thread of its own: the server's waits for neither.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::http::config::{HttpConfig, Kind, Limits, Route};
use crate::http::message::Request;
use crate::http::route::{Method, Pattern};
use crate::metrics::peer::PeerStats;
use crate::net::address::ListenAddress;
use crate::net::http::{Doors, Surroundings};
use crate::net::pipe::Entrance;
use crate::panic_scope;
use crate::protocol::time::Time;
use crate::server::config::Config;
use crate::server::dashboard::answer::{self, Asked, Decision};
use crate::server::dashboard::history::History;
use crate::server::dashboard::log_tail::LogLine;
use crate::server::dashboard::{json, prometheus, Overview, PeerRow, PAGE};
use crate::server::events::{DisconnectInfo, DisconnectReason, PeerId};
use crate::server::password::Password;
use crate::server::{Inner, Server};

/// How often a server is read.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Connections to a dashboard at most.
const MAX_CONNECTIONS: u32 = 256;
/// Those of one source at most, an IPv4 address or an IPv6 /64: one that takes all it can leaves room for others. A browser
/// has six; behind a proxy all come from one.
const MAX_CONNECTIONS_PER_SOURCE: u32 = 64;
/// Requests that wait for an answer at most.
const MAX_REQUESTS: u32 = 64;
/// Longest body of a request; none is needed.
const MAX_BODY: usize = 1024;

/// What was read last, and what of the past is kept.
pub struct Watch {
    rate_hz: f64,
    max_peers: u32,
    history: History,
    log: VecDeque<LogLine>,
    rows: Vec<PeerRow>,
    overview: Overview,
}

impl Watch {
    /// Nothing read yet.
    pub fn new(now: Time, config: &Config) -> Watch {
        Watch {
            rate_hz: config.tick_rate_hz,
            max_peers: config.max_peers,
            history: History::new(now),
            log: VecDeque::new(),
            rows: Vec::new(),
            overview: Overview::default(),
        }
    }

    /// What was read last.
    pub fn overview(&self) -> &Overview {
        &self.overview
    }

    /// The peers as they were then.
    pub fn peers(&self) -> &[PeerRow] {
        &self.rows
    }

    /// Reads the server.
    pub fn sample(&mut self, server: &Server) {
        let now = server.0.life.clock.now();
        let now_s = now.as_micros() / 1_000_000;
        self.rows.clear();
        // The peers that are gone come first: one that leaves meanwhile is missing now, and counted the next time. The
        // other way round it would be counted twice, and counters went down again.
        let mut packets = server.0.core.lock().departed();
        let mut next = Some(0);
        while let Some(slot) = next {
            let mut core = server.0.core.lock();
            next = core.read_peers(now, slot, &mut self.rows, &mut packets);
            // To whoever waits: this thread would else have it again before that one has woken.
            MutexGuard::unlock_fair(core);
        }
        server.0.core.lock().collect_log(now_s, &mut self.log);
        let packets = never_less(packets, &self.overview.packets);
        self.history.sample(now, &self.rows, packets.timeouts, packets.acked);
        self.overview = Overview {
            now_s,
            uptime: now.since(server.0.started),
            address: server.local_address().to_string(),
            rate_hz: self.rate_hz,
            max_peers: self.max_peers,
            stats: server.stats(),
            packets,
            queued_messages: self.rows.iter().map(|row| u64::from(row.queued_messages)).sum(),
            queued_bytes: self.rows.iter().map(|row| row.queued_bytes as u64).sum(),
            series: server.series(),
            profile: server.profile_series(),
            quality: self.history.snapshot(now),
            log: self.log.iter().cloned().collect(),
        };
    }
}

/// The greater of each count: what only grows is never shown to shrink because a peer left while it was counted.
fn never_less(now: PeerStats, before: &PeerStats) -> PeerStats {
    PeerStats {
        assembled: now.assembled.max(before.assembled),
        sent: now.sent.max(before.sent),
        dropped: now.dropped.max(before.dropped),
        received: now.received.max(before.received),
        acked: now.acked.max(before.acked),
        timeouts: now.timeouts.max(before.timeouts),
        pending: now.pending,
        bytes_sent: now.bytes_sent.max(before.bytes_sent),
        bytes_received: now.bytes_received.max(before.bytes_received),
        messages_resent: now.messages_resent.max(before.messages_resent),
        messages_received: now.messages_received.max(before.messages_received),
        messages_duplicate: now.messages_duplicate.max(before.messages_duplicate),
        messages_malformed: now.messages_malformed.max(before.messages_malformed),
        messages_refused: now.messages_refused.max(before.messages_refused),
    }
}

/// What makes the thread look.
#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

#[derive(Default)]
struct Rung {
    asked: bool,
    stop: bool,
}

impl Bell {
    fn ring(&self, stop: bool) {
        let mut state = self.state.lock();
        state.asked = true;
        state.stop |= stop;
        drop(state);
        self.rung.notify_one();
    }

    /// Waits until somebody asks, at most so long. Whether it is over.
    fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.asked {
            let _timed_out = self.rung.wait_for(&mut state, timeout);
        }
        state.asked = false;
        state.stop
    }
}

/// The door and the thread of a server that is watched. Both end when it is dropped.
pub(crate) struct Dashboard {
    doors: Arc<Doors>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Dashboard {
    /// Binds the address. Errors: Address, AddressInUse, Io, Argument (an address that is not of the loopback, without a
    /// token).
    pub(crate) fn open(config: &Config, entrance: Entrance) -> Result<Option<Dashboard>> {
        let Some(address) = &config.dashboard else { return Ok(None) };
        let listen = ListenAddress::parse(address)?;
        if config.dashboard_token.is_none() && !listen.socket.ip().to_canonical().is_loopback() {
            let text = format!("a dashboard on {address}, which is not of the loopback, needs a token");
            return Err(Error::new(ErrorKind::Argument, text));
        }
        let route = |method| -> Result<Route> {
            Ok(Route {
                method,
                pattern: Pattern::parse("/:path*")?,
                kind: Kind::Host,
                max_body: MAX_BODY,
                door: None,
            })
        };
        let mut http = HttpConfig {
            routes: vec![route(Method::Get)?, route(Method::Post)?],
            limits: Limits {
                max_connections: MAX_CONNECTIONS,
                max_connections_per_source: MAX_CONNECTIONS_PER_SOURCE,
                max_requests: MAX_REQUESTS,
                ..Limits::default()
            },
            ..HttpConfig::default()
        };
        http.doors.push(crate::http::config::DoorConfig {
            address: address.clone(),
            tls: None,
            password_in_clear: false,
        });
        let bell = Arc::new(Bell::default());
        let rings = Arc::clone(&bell);
        let surroundings = Surroundings {
            wake: Box::new(move || rings.ring(false)),
            admit: Box::new(|_| true),
            // It has no routes of WebSockets.
            entrance,
            max_message: MAX_BODY,
        };
        let doors = Doors::open(&http, surroundings)?;
        Ok(Some(Dashboard { doors: Arc::new(doors), bell, thread: None }))
    }

    /// Starts to read and to answer.
    pub(crate) fn run(&mut self, server: &Server, config: &Config) -> Result<()> {
        let watch = Watch::new(server.0.life.clock.now(), config);
        let mut answering = Answering {
            doors: Arc::clone(&self.doors),
            watch,
            due: server.0.life.clock.now(),
            token: config.dashboard_token.clone(),
            policy: answer::content_security_policy(),
        };
        let (bell, server) = (Arc::clone(&self.bell), Arc::downgrade(&server.0));
        let body = move || {
            // A panic in here ends the dashboard, not the server.
            let _panicked = panic_scope::catch(|| answering.run(&bell, &server));
        };
        let thread = crate::net::thread::spawn("gamekeeper-watch", body)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start a thread: {error}")))?;
        self.thread = Some(thread);
        Ok(())
    }

    /// What it is bound to, with the real port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.doors.addresses().first().map(|(_, address)| *address)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.bell.ring(true);
        self.doors.close();
        if let Some(thread) = self.thread.take() {
            // The thread itself may be who let the server go.
            if thread.thread().id() != std::thread::current().id() {
                let _panicked = thread.join();
            }
        }
    }
}

/// The thread's own state.
struct Answering {
    doors: Arc<Doors>,
    watch: Watch,
    /// When the server is read next.
    due: Time,
    token: Option<Password>,
    policy: String,
}

impl Answering {
    fn run(&mut self, bell: &Bell, server: &Weak<Inner>) {
        loop {
            let Some(server) = server.upgrade().map(Server) else { return };
            let now = server.0.life.clock.now();
            if now >= self.due {
                self.watch.sample(&server);
                self.due = now + SAMPLE_INTERVAL;
            }
            // Lines for a log of the door's own are the refused connections of strangers.
            while self.doors.exchange().take_log().is_some() {}
            while let Some((id, _)) = self.doors.exchange().take() {
                // Who asked may have left.
                let _gone = self.answer(&server, id);
            }
            let wait = self.due.since(server.0.life.clock.now());
            drop(server);
            if bell.wait(wait) {
                return;
            }
        }
    }

    fn answer(&self, server: &Server, id: u64) -> Result<()> {
        let exchange = self.doors.exchange();
        let request = exchange.request(id)?;
        let decision = self.decide(&request);
        for (name, value) in answer::HEADERS {
            exchange.header(id, name, value)?;
        }
        let json = "application/json";
        let (status, kind, body) = match decision {
            Decision::Page => {
                exchange.header(id, "content-security-policy", &self.policy)?;
                (200, "text/html; charset=utf-8", PAGE.to_owned())
            }
            Decision::Stats => (200, json, json::stats(self.watch.overview())),
            Decision::Peers => (200, json, json::peers(self.watch.peers())),
            Decision::Metrics => (200, prometheus::CONTENT_TYPE, prometheus::metrics(self.watch.overview())),
            Decision::Disconnect(peer) => act(server.disconnect(PeerId::from_bits(peer), info(), false)),
            Decision::Block(peer) => act(block(server, PeerId::from_bits(peer))),
            Decision::Refuse(status, why) => {
                if status == 401 {
                    exchange.header(id, "www-authenticate", "Bearer")?;
                }
                (u32::from(status), "text/plain; charset=utf-8", format!("{why}\n"))
            }
        };
        exchange.header(id, "content-type", kind)?;
        exchange.answer(id, status, body.into_bytes())
    }

    fn decide(&self, request: &Request) -> Decision {
        let header = |name: &str| request.header(name);
        let asked = Asked { method: &request.method, path: &request.path, header: &header };
        answer::decide(&asked, self.token.as_ref())
    }
}

fn info() -> DisconnectInfo {
    DisconnectInfo::new(DisconnectReason::Host(0), "disconnected by the dashboard")
}

fn block(server: &Server, peer: PeerId) -> Result<()> {
    let address = server.peer_info(peer)?.address;
    server.block(address.ip())
}

/// What a page is told of an action.
fn act(done: Result<()>) -> (u32, &'static str, String) {
    let (status, text) = match done {
        Ok(()) => (200, "done\n".to_owned()),
        Err(error) if error.kind() == ErrorKind::Stale => (404, "this peer is gone\n".to_owned()),
        Err(error) => (409, format!("{error}\n")),
    };
    (status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::dashboard::add;

    #[test]
    fn what_only_grows_is_never_shown_to_shrink() {
        let before = PeerStats { acked: 10, pending: 5, ..PeerStats::default() };
        let mut now = PeerStats { acked: 9, pending: 1, received: 3, ..PeerStats::default() };
        now = never_less(now, &before);
        assert_eq!((now.acked, now.pending, now.received), (10, 1, 3));
        let mut sum = PeerStats::default();
        add(&mut sum, &now);
        assert_eq!(sum, now);
    }

    #[test]
    fn a_bell_that_rang_before_the_wait_is_heard() {
        let bell = Bell::default();
        bell.ring(false);
        assert!(!bell.wait(Duration::from_secs(3600)));
        assert!(!bell.wait(Duration::ZERO));
        bell.ring(true);
        assert!(bell.wait(Duration::from_secs(3600)));
    }
}
