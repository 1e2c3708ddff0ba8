//! Between the library's values and the engine's.

use std::time::Duration;

use gamekeeper::client::{KnownKeys, ServerKey};
use gamekeeper::keys::parse_native_key;
use gamekeeper::metrics::peer::PeerStats;
use gamekeeper::metrics::server::ServerStats;
use gamekeeper::protocol::conditions::{Direction, LinkStats};
use gamekeeper::server::events::RetryMode;
use gamekeeper::ErrorKind;
use godot::global::Error;
use godot::prelude::*;

/// Most waiting events of one server or client, and so most work of one frame.
pub const MAX_QUEUED_EVENTS: u32 = 65_536;
/// Events that are taken from the queue at once.
pub const EVENTS_PER_BATCH: usize = 1024;
/// Batches that one frame takes at most: what came meanwhile waits for the next.
pub const BATCHES_PER_FRAME: usize = MAX_QUEUED_EVENTS as usize / EVENTS_PER_BATCH;

/// Reports an error of the library where the engine's programmers look, and gives the engine's number for it.
pub fn report(what: &str, error: &gamekeeper::Error) -> Error {
    godot_error!("gamekeeper: {what}: {error}");
    number(error)
}

/// An error of the library as the engine's number and its text.
pub fn failed(error: gamekeeper::Error) -> (Error, String) {
    (number(&error), error.to_string())
}

/// What is wrong with a property, as the engine's number and a text.
pub fn wrong(text: String) -> (Error, String) {
    (Error::ERR_INVALID_PARAMETER, text)
}

/// The engine's number for an error of the library.
pub fn number(error: &gamekeeper::Error) -> Error {
    match error.kind() {
        ErrorKind::Address => Error::ERR_CANT_RESOLVE,
        ErrorKind::AddressInUse => Error::ERR_ALREADY_IN_USE,
        ErrorKind::Argument | ErrorKind::TooLarge => Error::ERR_INVALID_PARAMETER,
        ErrorKind::Busy | ErrorKind::WouldBlock => Error::ERR_BUSY,
        ErrorKind::Io => Error::ERR_CANT_CREATE,
        ErrorKind::Key | ErrorKind::Signature => Error::ERR_UNAUTHORIZED,
        ErrorKind::Panic => Error::ERR_BUG,
        ErrorKind::Reentrant => Error::ERR_LOCKED,
        ErrorKind::Stale => Error::ERR_DOES_NOT_EXIST,
        ErrorKind::State => Error::ERR_UNCONFIGURED,
        ErrorKind::Timeout => Error::ERR_TIMEOUT,
        _ => Error::FAILED,
    }
}

/// The engine's number for a result, silently.
pub fn outcome(result: gamekeeper::Result<()>) -> Error {
    result.map_or_else(|error| number(&error), |()| Error::OK)
}

/// Where a server listens: `"*"` and an empty text are all interfaces, of both families.
pub fn listen_address(address: &GString, port: i32) -> String {
    match address.to_string().trim() {
        "" | "*" => format!(":{port}"),
        text => with_port(text, port),
    }
}

/// An address or a host name with its port.
pub fn with_port(host: &str, port: i32) -> String {
    if host.contains(':') && !host.starts_with('[') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

/// Whom a client believes. An empty text is nobody, unless `any` says that it is everybody.
pub fn server_key(text: &GString, any: bool) -> Result<ServerKey, String> {
    let text = text.to_string();
    if !text.trim().is_empty() {
        let key = parse_native_key(&text).map_err(|error| error.to_string())?;
        return Ok(ServerKey::Pinned(KnownKeys { native: Some(key), root: None }));
    }
    if any {
        return Ok(ServerKey::Any);
    }
    Err("no key of the server is given: give it, or set allow_any_server while you develop".into())
}

/// A time that a property gives in seconds. The error names the property.
pub fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{name} is {seconds}, which is no time"))
}

/// The direction of a number: 0 what is received, 1 what is sent.
pub fn direction(number: i64) -> Option<Direction> {
    match number {
        0 => Some(Direction::Receive),
        1 => Some(Direction::Send),
        _ => None,
    }
}

/// The mode of a number, as the constants of the nodes have it.
pub fn mode(number: i64) -> Option<RetryMode> {
    let modes = [
        RetryMode::OnTimeout,
        RetryMode::None,
        RetryMode::BestEffort,
        RetryMode::Sequenced,
        RetryMode::Ordered,
    ];
    modes.into_iter().find(|mode| *mode as i64 == number)
}

/// A count as the engine has it.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The counts of one connection.
pub fn peer_stats(stats: &PeerStats) -> VarDictionary {
    vdict! {
        "packets_sent" => count(stats.assembled),
        "packets_received" => count(stats.received),
        "packets_dropped" => count(stats.dropped),
        "packets_acked" => count(stats.acked),
        "packets_timed_out" => count(stats.timeouts),
        "packets_pending" => count(stats.pending),
        "bytes_sent" => count(stats.bytes_sent),
        "bytes_received" => count(stats.bytes_received),
        "messages_sent" => count(stats.sent),
        "messages_received" => count(stats.messages_received),
        "messages_resent" => count(stats.messages_resent),
        "messages_duplicate" => count(stats.messages_duplicate),
        "messages_malformed" => count(stats.messages_malformed),
        "messages_refused" => count(stats.messages_refused),
    }
}

/// The counts of a server.
pub fn server_stats(stats: &ServerStats) -> VarDictionary {
    vdict! {
        "peers" => i64::from(stats.peers),
        "joining" => i64::from(stats.joining),
        "handshakes" => i64::from(stats.handshakes),
        "connects" => count(stats.connects),
        "disconnects" => count(stats.disconnects),
        "refusals" => count(stats.refusals),
        "handshake_timeouts" => count(stats.handshake_timeouts),
        "packets_sent" => count(stats.packets_sent),
        "packets_received" => count(stats.packets_received),
        "packets_dropped" => count(stats.drops.iter().sum()),
        "bytes_sent" => count(stats.bytes_sent),
        "bytes_received" => count(stats.bytes_received),
        "ticks" => count(stats.ticks),
        "ticks_missed" => count(stats.ticks_missed),
        "tick_rate" => stats.tick_rate_hz,
        "migrations" => count(stats.migrations),
    }
}

/// What a simulated link did; empty where none is.
pub fn link_stats(stats: Option<LinkStats>) -> VarDictionary {
    stats.map_or_else(VarDictionary::new, |stats| {
        vdict! {
            "pushed" => count(stats.pushed),
            "dropped" => count(stats.dropped),
            "overflowed" => count(stats.overflowed),
            "duplicated" => count(stats.duplicated),
            "reordered" => count(stats.reordered),
            "corrupted" => count(stats.corrupted),
        }
    })
}
