//! What can be watched of a running server: one page, `/stats.json`, `/peers.json`, `/metrics`.
//!
//! Everything here but [`watch`] is a function of values: [`Overview`] and [`PeerRow`] are read once a second, however many
//! watch, and [`json`] and [`prometheus`] write them down. [`answer`] says which request gets which of them.

pub mod answer;
pub mod history;
pub mod json;
pub mod log_tail;
pub mod prometheus;
pub mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use self::history::Quality;
use self::log_tail::LogLine;
use crate::metrics::peer::PeerStats;
use crate::metrics::series::Second;
use crate::metrics::server::{ServerStats, TimeProfile, DROP_REASONS};
use crate::server::events::{Door, Status, Wire};

/// The page: markup, style and script in one, which asks for nothing but this server's own figures.
pub const PAGE: &str = include_str!("page.html");

/// What the reasons of [`crate::metrics::server::DropReason`] are called where figures are written down, in its order.
pub const DROP_NAMES: [&str; DROP_REASONS] = [
    "blocked",
    "malformed",
    "unknown",
    "forged",
    "duplicate",
    "old",
    "hello",
    "hello_budget",
    "full",
    "clear",
    "send_failed",
    "raw_budget",
];

/// A server as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The moment: seconds since 1970, which the last of each series is of.
    pub now_s: u64,
    /// How long the server has run.
    pub uptime: Duration,
    /// Where it listens for datagrams.
    pub address: String,
    /// The ticks per second that the host asked for.
    pub rate_hz: f64,
    /// Peers at most.
    pub max_peers: u32,
    /// Counts of the server.
    pub stats: ServerStats,
    /// Counts of all connections that ever were, added up; `pending` of those that are.
    pub packets: PeerStats,
    /// Messages and bytes queued for all peers.
    pub queued_messages: u64,
    /// Bytes of the same.
    pub queued_bytes: u64,
    /// The last 300 seconds, oldest first.
    pub series: Vec<Second>,
    /// Where these seconds went, and the ticks in them.
    pub profile: Vec<(TimeProfile, u32)>,
    /// Latencies and losses in them.
    pub quality: Vec<Quality>,
    /// The last lines of the log, oldest first.
    pub log: Vec<LogLine>,
}

/// A peer as it was at one moment.
#[derive(Clone, Debug)]
pub struct PeerRow {
    /// Its id, as [`crate::server::events::PeerId::to_bits`] gives it.
    pub id: u64,
    /// Where its datagrams come from.
    pub address: SocketAddr,
    /// Through which door it came.
    pub door: Door,
    /// What it speaks.
    pub wire: Wire,
    /// Where it stands.
    pub status: Status,
    /// The session's public number.
    pub token: u32,
    /// Smoothed half of the round trip; zero where nothing was measured.
    pub latency: Duration,
    /// Messages queued and not yet acknowledged.
    pub queued_messages: u32,
    /// Bytes of the same.
    pub queued_bytes: usize,
    /// Since it proved itself.
    pub age: Duration,
    /// Its counts.
    pub stats: PeerStats,
}

impl PeerRow {
    /// The share of its datagrams that were not acknowledged in time, of those whose fate is known; 0 without any.
    pub fn loss(&self) -> f64 {
        share(self.stats.timeouts, self.stats.acked)
    }
}

/// The part that `some` is of both.
pub(crate) fn share(some: u64, others: u64) -> f64 {
    match some.saturating_add(others) {
        0 => 0.0,
        all => some as f64 / all as f64,
    }
}

/// Adds one connection's counts to those of all.
pub fn add(sum: &mut PeerStats, more: &PeerStats) {
    let PeerStats {
        assembled,
        sent,
        dropped,
        received,
        acked,
        timeouts,
        pending,
        bytes_sent,
        bytes_received,
        messages_resent,
        messages_received,
        messages_duplicate,
        messages_malformed,
        messages_refused,
    } = more;
    for (sum, more) in [
        (&mut sum.assembled, assembled),
        (&mut sum.sent, sent),
        (&mut sum.dropped, dropped),
        (&mut sum.received, received),
        (&mut sum.acked, acked),
        (&mut sum.timeouts, timeouts),
        (&mut sum.pending, pending),
        (&mut sum.bytes_sent, bytes_sent),
        (&mut sum.bytes_received, bytes_received),
        (&mut sum.messages_resent, messages_resent),
        (&mut sum.messages_received, messages_received),
        (&mut sum.messages_duplicate, messages_duplicate),
        (&mut sum.messages_malformed, messages_malformed),
        (&mut sum.messages_refused, messages_refused),
    ] {
        *sum = sum.saturating_add(*more);
    }
}

/// What a door is called.
pub fn door_name(door: Door) -> &'static str {
    match door {
        Door::Udp => "udp",
        Door::Stream => "stream",
        Door::Websocket => "websocket",
    }
}

/// What a wire is called.
pub fn wire_name(wire: Wire) -> &'static str {
    match wire {
        Wire::Mpgameserver => "mpgameserver",
        Wire::Native => "native",
        Wire::Stream => "stream",
    }
}

/// What a state is called.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Connecting => "connecting",
        Status::Connected => "connected",
        Status::Disconnecting => "disconnecting",
        Status::Disconnected => "disconnected",
        Status::Dropped => "dropped",
        Status::Joining => "joining",
    }
}

#[cfg(test)]
pub(crate) mod tests;
