//! What a host can set, each value with its unit, default, range and consequence.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::keys::RootKey;
pub use crate::net::batch::Io;
use crate::protocol::connection::Settings;
use crate::protocol::delivery::Limits;
use crate::protocol::files::{self, Quota};
use crate::protocol::wire::mpgameserver::{Sizes, MAX_FRAGMENTS};
use crate::protocol::wire::query::MAX_INFO;
use crate::server::block_list::BlockList;
use crate::server::http::Http;
use crate::server::password::Password;
pub use crate::server::stream_door::{Framing, StreamDoor, TlsFiles, MAX_STREAM_DOORS};

/// Copies that ride beside a message at most.
pub const MAX_REDUNDANCY: u8 = 4;

/// The datagram formats that a server speaks on its port; they are told apart by the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// That of the Python package mpgameserver.
    pub mpgameserver: bool,
    /// Our own.
    pub native: bool,
}

impl Default for Wires {
    /// Both.
    fn default() -> Wires {
        Wires { mpgameserver: true, native: true }
    }
}

/// The configuration of a server. Inert: the server copies what it needs when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key that proves the server's identity to clients that pinned its public part.
    /// `None`: one is generated at start, with a log line that says so; clients cannot pin it.
    pub root_key: Option<Arc<RootKey>>,
    /// The datagram formats that are spoken on the port. Default both; at least one.
    pub wires: Wires,
    /// Native wire: how many packets beside the first carry a copy of every short message (up to 512 bytes) that is resent, so
    /// that a single loss costs no round trip. Default 0, range 0 to 4. A message's own redundancy counts where it is more.
    pub redundancy: u8,
    /// `update` events per second. Default 60, range 1 to 10,000.
    pub tick_rate_hz: f64,
    /// A peer that got nothing for this long is sent an empty datagram, which carries acks; one that has as
    /// many unacknowledged datagrams as it may have, after three times this.
    /// Default 0.1 s, range 10 ms to 60 s.
    pub keep_alive_interval: Duration,
    /// A peer from which no valid datagram came for this long is dropped. Default 5 s, range 100 ms to 1 h.
    pub connection_timeout: Duration,
    /// A handshake that is not proven within this time is forgotten. Default 2 s, range 100 ms to 60 s.
    pub handshake_timeout: Duration,
    /// An unreliable or best-effort message whose datagram was not acknowledged for this long is
    /// reported as expired. Default 1 s, range 50 ms to 60 s.
    pub message_timeout: Duration,
    /// Time between two `reconcile` events. Default 5 s, range 10 ms to 1 h.
    pub reconcile_interval: Duration,
    /// Least time between two datagrams that are not full, to one peer of mpgameserver's wire, whose
    /// client reads one datagram a frame. Default 1/60 s, range 0 to 1 s; 0 sends at once.
    pub send_interval: Duration,
    /// A message in reassembly is given up when none of its fragments came for this long while its sender
    /// went on to newer messages; after six times this in any case.
    /// Default 5 s, range 100 ms to 10 min.
    pub reassembly_timeout: Duration,
    /// Largest IP packet in bytes; a datagram carries 28 less. Default 1500, range 576 to 1500.
    /// Clients must use the same value: with another one a hello of theirs can be too short for an answer.
    pub mtu: u16,
    /// Connected peers at most; above it, new handshakes are refused. Default 4096, range 1 to 1,000,000.
    pub max_peers: u32,
    /// Unproven handshakes at most; above it hellos are dropped and counted. Default 4096, range 1 to 65,536.
    pub max_handshakes: u32,
    /// Hellos that one source (an IPv4 /32 or an IPv6 /64) may have answered per second on average, with
    /// bursts of 4096. Default 256, range 1 to 1,000,000. Above it hellos are dropped and counted.
    pub hellos_per_source_hz: f64,
    /// Hellos answered per second in total on average, with bursts of 4096. Each costs a key exchange
    /// and a signature, about 0.2 ms. Default 1000, range 1 to 1,000,000.
    pub hellos_total_hz: f64,
    /// Longest message in bytes, each way. Default 8 MiB (what the wire can carry in its 8192 fragments; with
    /// an MTU below 1097 they are smaller, and so is the longest message), range 1 to that.
    pub max_message_size: usize,
    /// Messages queued and not yet acknowledged per peer, at most; a full queue answers `WouldBlock`.
    /// Default 4096, range 1 to 1,000,000.
    pub max_queued_messages: u32,
    /// The same in bytes of payload. A message is taken when the queue is empty even if it is larger.
    /// Default 16 MiB, range 1024 to 1 GiB.
    pub max_queued_bytes: usize,
    /// Bytes of unfinished messages kept per peer; a fragment above it is refused unacknowledged, so that
    /// its sender repeats it. The oldest unfinished message is always let in, so that a peer can take this
    /// and one longest message. Default 16 MiB, range 2048 to 1 GiB.
    pub max_reassembly_bytes: usize,
    /// Events kept for a host that pulls them; 0 (the default): events go to callbacks only.
    /// Above it messages are refused unacknowledged and counted, hellos are refused, and a send that asks for
    /// an event of its own answers `WouldBlock`. Range 0 to 10,000,000.
    pub max_queued_events: u32,
    /// Bytes of message payload kept for a host that pulls events; the consequence is the same.
    /// Default 64 MiB, range 64 KiB to 4 GiB.
    pub max_queued_event_bytes: usize,
    /// Bytes asked of the kernel for the socket's receive buffer. Default 4 MiB, range 4096 to 1 GiB.
    /// The kernel may grant less; a burst beyond what it grants is lost.
    pub socket_receive_bytes: usize,
    /// The same for sending: datagrams of a burst beyond what the kernel grants are lost and counted.
    pub socket_send_bytes: usize,
    /// How datagrams pass between the server and the system: many per system call (the default on Linux), or one, as
    /// elsewhere in any case. What is delivered is the same.
    pub io: Io,
    /// How long the loop asks the socket again and again, without sleeping, after the last datagram. It answers sooner by
    /// the time that waking takes, and a whole core is busy meanwhile: for ever, where somebody sends more often
    /// than this. Default 0: it sleeps at once. Range 0 to 1 s.
    pub busy_poll: Duration,
    /// Addresses whose datagrams are dropped unread.
    pub block_list: BlockList,
    /// File that gets one line per connect, refusal and disconnect; `None`: no such log.
    pub access_log: Option<PathBuf>,
    /// Whether every client that proved itself waits for the host's decision even if the handler does not
    /// take `authorise`: the question is then an event in the queue. Default no: without a handler that
    /// takes it everybody is let in.
    pub authorise: bool,
    /// Clients that wait for a decision at most; above it they are refused. Default 1024, range 1 to 1,000,000.
    pub max_joining: u32,
    /// A client about which nothing was decided within this time is refused. Default 10 s, range 100 ms to 1 h.
    pub authorise_timeout: Duration,
    /// What a client must know to come in; `None`: nothing. A client of mpgameserver's wire has no way to give
    /// one: it is refused, unless the host is asked about every client: then that decides.
    pub password: Option<Password>,
    /// Bytes per second that are sent to one peer at most on average, whole UDP payloads, with bursts of a
    /// tenth of a second; 0 (the default): no limit. Messages beyond it wait in the peer's queue; datagrams
    /// that carry none (acknowledgements, goodbyes) leave all the same, and count.
    /// Range 0, or 1000 to 1,000,000,000.
    pub peer_send_rate: u64,
    /// The same for all peers together, who take turns. What strangers are answered counts too.
    pub server_send_rate: u64,
    /// Whether datagrams that are of no wire are events in the queue even if the handler does not take `raw`.
    /// Default no.
    pub raw_datagrams: bool,
    /// Doors for streams, beside the one for datagrams. Default none, at most 16 ([`MAX_STREAM_DOORS`]).
    pub streams: Vec<StreamDoor>,
    /// What those who look for servers are told; `None` (the default): nothing. At most 1187 bytes
    /// ([`MAX_INFO`]).
    pub discovery_info: Option<Vec<u8>>,
    /// Doors for HTTP, and what is answered there. Default none.
    pub http: Http,
    /// Whether files can be sent to clients and received from those that take part, too, on the native wire and through doors
    /// for streams that say so ([`StreamDoor::files`]), and how much is received. Default none: who offers one gets an error at once. Needs a `max_message_size` of at least 32,781 bytes
    /// ([`MAX_MESSAGE`](crate::protocol::files::MAX_MESSAGE)).
    pub files: Option<Quota>,
    /// Where the dashboard is, as [`crate::Server::start`] takes addresses: `"127.0.0.1:8080"`. `None` (the default):
    /// nowhere, and then there is no thread for it. An address that is not of the loopback needs a token.
    pub dashboard: Option<String>,
    /// What who looks at the dashboard must know ([`crate::server::dashboard::answer::token`]); `None` (the default):
    /// nothing.
    pub dashboard_token: Option<Password>,
}

/// Least send rate other than none, in bytes per second: below it a full datagram takes seconds.
pub const MIN_SEND_RATE: u64 = 1000;
/// Largest send rate other than none.
pub const MAX_SEND_RATE: u64 = 1_000_000_000;

/// Largest value of [`Config::max_message_size`]: the fragments that the wire can count, full.
pub const MAX_MESSAGE_SIZE: usize = MAX_FRAGMENTS as usize * 1024;

impl Default for Config {
    fn default() -> Self {
        Config {
            root_key: None,
            wires: Wires::default(),
            redundancy: 0,
            tick_rate_hz: 60.0,
            keep_alive_interval: Duration::from_millis(100),
            connection_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(2),
            message_timeout: Duration::from_secs(1),
            reconcile_interval: Duration::from_secs(5),
            send_interval: Duration::from_nanos(16_666_667),
            reassembly_timeout: Duration::from_secs(5),
            mtu: 1500,
            max_peers: 4096,
            max_handshakes: 4096,
            hellos_per_source_hz: 256.0,
            hellos_total_hz: 1000.0,
            max_message_size: MAX_MESSAGE_SIZE,
            max_queued_messages: 4096,
            max_queued_bytes: 16 << 20,
            max_reassembly_bytes: 16 << 20,
            max_queued_events: 0,
            max_queued_event_bytes: 64 << 20,
            socket_receive_bytes: 4 << 20,
            socket_send_bytes: 4 << 20,
            io: Io::default(),
            busy_poll: Duration::ZERO,
            block_list: BlockList::default(),
            access_log: None,
            authorise: false,
            max_joining: 1024,
            authorise_timeout: Duration::from_secs(10),
            password: None,
            peer_send_rate: 0,
            server_send_rate: 0,
            raw_datagrams: false,
            streams: Vec::new(),
            discovery_info: None,
            http: Http::default(),
            files: None,
            dashboard: None,
            dashboard_token: None,
        }
    }
}

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Config {
    /// Checks every value against its range; the error names the value and the range.
    pub fn validate(&self) -> Result<()> {
        let minute = Duration::from_secs(60);
        if !self.wires.mpgameserver && !self.wires.native {
            return Err(Error::new(ErrorKind::Argument, "wires: at least one of them must be spoken"));
        }
        redundancy(self.redundancy)?;
        float("tick_rate_hz", self.tick_rate_hz, 1.0, 10_000.0)?;
        duration("keep_alive_interval", self.keep_alive_interval, 10 * MS, minute)?;
        duration("connection_timeout", self.connection_timeout, 100 * MS, HOUR)?;
        duration("handshake_timeout", self.handshake_timeout, 100 * MS, minute)?;
        duration("message_timeout", self.message_timeout, 50 * MS, minute)?;
        duration("reconcile_interval", self.reconcile_interval, 10 * MS, HOUR)?;
        duration("send_interval", self.send_interval, Duration::ZERO, 1000 * MS)?;
        duration("reassembly_timeout", self.reassembly_timeout, 100 * MS, 10 * minute)?;
        integer("mtu", self.mtu as u64, 576, 1500)?;
        integer("max_peers", self.max_peers as u64, 1, 1_000_000)?;
        integer("max_handshakes", self.max_handshakes as u64, 1, 65_536)?;
        float("hellos_per_source_hz", self.hellos_per_source_hz, 1.0, 1e6)?;
        float("hellos_total_hz", self.hellos_total_hz, 1.0, 1e6)?;
        integer("max_message_size", self.max_message_size as u64, 1, MAX_MESSAGE_SIZE as u64)?;
        integer("max_queued_messages", self.max_queued_messages as u64, 1, 1_000_000)?;
        integer("max_queued_bytes", self.max_queued_bytes as u64, 1024, 1 << 30)?;
        integer("max_reassembly_bytes", self.max_reassembly_bytes as u64, 2048, 1 << 30)?;
        integer("max_queued_events", self.max_queued_events as u64, 0, 10_000_000)?;
        integer("max_queued_event_bytes", self.max_queued_event_bytes as u64, 64 << 10, 4 << 30)?;
        integer("socket_receive_bytes", self.socket_receive_bytes as u64, 4096, 1 << 30)?;
        integer("socket_send_bytes", self.socket_send_bytes as u64, 4096, 1 << 30)?;
        duration("busy_poll", self.busy_poll, Duration::ZERO, 1000 * MS)?;
        integer("max_joining", self.max_joining as u64, 1, 1_000_000)?;
        duration("authorise_timeout", self.authorise_timeout, 100 * MS, HOUR)?;
        send_rate("peer_send_rate", self.peer_send_rate)?;
        send_rate("server_send_rate", self.server_send_rate)?;
        self.http.validate()?;
        if self.files.is_some() {
            let least = files::MAX_MESSAGE as u64;
            integer(
                "max_message_size with files",
                self.max_message_size as u64,
                least,
                MAX_MESSAGE_SIZE as u64,
            )?;
        }
        integer("streams", self.streams.len() as u64, 0, MAX_STREAM_DOORS as u64)?;
        self.streams.iter().try_for_each(StreamDoor::validate)?;
        self.check_file_doors()?;
        let info = self.discovery_info.as_ref().map_or(0, Vec::len);
        integer("discovery_info in bytes", info as u64, 0, MAX_INFO as u64)
    }

    /// Doors with files need a quota, and one for plain files has nobody to ask for a password.
    fn check_file_doors(&self) -> Result<()> {
        let mut doors = self.streams.iter().filter(|door| door.files);
        let text = if self.files.is_none() && doors.clone().next().is_some() {
            "a door for streams with files: the configuration has not enabled files"
        } else if self.password.is_some() && doors.any(|door| door.framing == Framing::Raw) {
            "a door for plain files takes no password: whoever sends there says a name and a file"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Argument, text))
    }

    /// What the protocol takes of it.
    pub(crate) fn protocol_settings(&self) -> Arc<Settings> {
        let sizes = Sizes::new(self.mtu);
        let limits = Limits {
            sizes,
            keep_alive: self.keep_alive_interval,
            message_timeout: self.message_timeout,
            max_messages: self.max_queued_messages as usize,
            max_bytes: self.max_queued_bytes,
            max_message: self.max_message_size.min(usize::from(MAX_FRAGMENTS) * sizes.fragment),
        };
        Arc::new(Settings {
            limits: Arc::new(limits),
            connection_timeout: self.connection_timeout,
            handshake_timeout: self.handshake_timeout,
            send_interval: self.send_interval,
            reassembly_timeout: self.reassembly_timeout,
            max_reassembly_bytes: self.max_reassembly_bytes,
            redundancy: self.redundancy,
            files: self.files.is_some(),
        })
    }
}

/// Whether so many copies ahead of a loss can be asked for, wherever that is. Errors: Argument.
pub(crate) fn redundancy(copies: u8) -> Result<()> {
    integer("redundancy", copies.into(), 0, MAX_REDUNDANCY.into())
}

fn send_rate(name: &str, value: u64) -> Result<()> {
    if value == 0 {
        return Ok(());
    }
    integer(name, value, MIN_SEND_RATE, MAX_SEND_RATE)
}

fn out_of_range(
    name: &str,
    value: impl std::fmt::Debug,
    low: impl std::fmt::Debug,
    high: impl std::fmt::Debug,
) -> Error {
    Error::new(ErrorKind::Argument, format!("{name} is {value:?}, allowed is {low:?} to {high:?}"))
}

fn float(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    // NaN lies in no range.
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(out_of_range(name, value, low, high))
    }
}

fn integer(name: &str, value: u64, low: u64, high: u64) -> Result<()> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(out_of_range(name, value, low, high))
    }
}

fn duration(name: &str, value: Duration, low: Duration, high: Duration) -> Result<()> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(out_of_range(name, value, low, high))
    }
}
