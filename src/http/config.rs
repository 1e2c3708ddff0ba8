//! What a host can set about HTTP, each value with its unit, default, range and consequence.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::http::route::{Method, Pattern};

/// Most HTTP doors of a server.
pub const MAX_DOORS: usize = 16;
/// Most routes of a server.
pub const MAX_ROUTES: usize = 4096;
/// The body limit of routes for which none is said: 5 MiB.
pub const DEFAULT_MAX_BODY: usize = 5 << 20;

/// Where HTTP is spoken.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// As [`crate::Server::start`] takes it: `"127.0.0.1:8080"`.
    pub address: String,
    /// With it: HTTPS.
    pub tls: Option<TlsFiles>,
    /// Lets WebSockets bring the server's password also where others can read it on the way: without TLS and not on
    /// loopback.
    pub password_in_clear: bool,
}

/// The certificate of a door, and its key, as files. HTTP doors look at them again every two seconds, and new connections get
/// what stands in them then; doors for streams read them when the server starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, and those that lead from it to one that clients know.
    pub certificate: PathBuf,
    /// PEM: the private key of the first of them.
    pub key: PathBuf,
}

/// Who answers a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files below a directory, by what the pattern's last name stands for.
    Files(PathBuf),
    /// The host.
    Host,
    /// A WebSocket opens, if the host does not refuse it.
    WebSocket,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method that it takes.
    pub method: Method,
    /// The paths that it takes.
    pub pattern: Pattern,
    /// Who answers.
    pub kind: Kind,
    /// Longest body of a request in bytes, decompressed; a longer one is answered with 413.
    pub max_body: usize,
    /// The door that has it, by its place among the doors; `None`: all of them.
    pub door: Option<usize>,
}

impl Route {
    /// Whether a door has this route.
    pub fn is_at(&self, door: usize) -> bool {
        self.door.is_none_or(|only| only == door)
    }
}

/// The bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections of all doors at most; further ones are closed at once. Default 4096, range 1 to 1,000,000.
    pub max_connections: u32,
    /// The same of one source, an IPv4 address or an IPv6 /64. Default 1024, range 1 to 1,000,000. Behind a proxy all come
    /// from one.
    pub max_connections_per_source: u32,
    /// Requests that wait for the host's answer at most; further ones are answered with 503. Default 1024, range 1 to
    /// 65,536.
    pub max_requests: u32,
    /// Bytes of all bodies that are being read or wait for an answer at most; who would go beyond it is answered with 503. As
    /// many again of answers that wait for their clients to read them: beyond it those clients are cut off that were waited
    /// for longest, for two seconds at least, and where there are none the answer is a 503. Default 256 MiB, range 64 KiB to
    /// 64 GiB.
    pub max_body_bytes: usize,
    /// A request that the host has not answered after this long is answered with 504. Default 30 s, range 100 ms to 1 h.
    pub request_timeout: Duration,
    /// How long a client may take for the head of a request, counted from the opening of the connection or the answer
    /// before: so also how long one may rest between two. Default 15 s, range 100 ms to 1 h.
    pub head_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 4096,
            max_connections_per_source: 1024,
            max_requests: 1024,
            max_body_bytes: 256 << 20,
            request_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// Checks every value against its range.
    pub fn validate(&self) -> Result<()> {
        let integer = |name: &str, value: u64, least: u64, most: u64| match value {
            value if (least..=most).contains(&value) => Ok(()),
            value => Err(Error::new(
                ErrorKind::Argument,
                format!("{name} is {value}, allowed is {least} to {most}"),
            )),
        };
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        integer("http max_connections", self.max_connections.into(), 1, 1_000_000)?;
        integer("http max_connections_per_source", self.max_connections_per_source.into(), 1, 1_000_000)?;
        integer("http max_requests", self.max_requests.into(), 1, 65_536)?;
        integer("http max_body_bytes", self.max_body_bytes as u64, 64 << 10, 64 << 30)?;
        integer("http request_timeout in ms", milliseconds(self.request_timeout), 100, 3_600_000)?;
        integer("http head_timeout in ms", milliseconds(self.head_timeout), 100, 3_600_000)
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Where HTTP is spoken; nowhere by default, and then there is no thread for it.
    pub doors: Vec<DoorConfig>,
    /// What is answered; the first that matches counts.
    pub routes: Vec<Route>,
    /// The bounds.
    pub limits: Limits,
}
