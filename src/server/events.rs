//! What a server tells its host, and what the host's `Handler` may do with it.

use std::fmt;
use std::net::SocketAddr;

use crate::error::Result;
use crate::metrics::peer::PeerStats;
use crate::protocol::connection::{Farewell, FarewellKind};
use crate::protocol::delivery::{Delivery, Mode};
use crate::server::config;
use crate::server::http::RequestId;
use crate::server::Server;

pub use crate::protocol::connection::{Door, Wire};
pub use crate::protocol::framing::Content;
pub use crate::server::files::{FileEnd, FileEvent, FileId};

/// A remote client of a server: an integer that is never reused while the process lives, in no server
/// of the process. A stale one is answered with [`crate::ErrorKind::Stale`], never with another player.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) u64);

impl PeerId {
    /// The integer, for the C ABI or a log; never 0.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From an integer that [`to_bits`](Self::to_bits) gave. Any integer is safe: one that names no peer is stale.
    pub fn from_bits(bits: u64) -> Self {
        PeerId(bits)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer:{:x}", self.0)
    }
}

/// Where a peer stands. The numbers are mpgameserver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// The handshake is under way.
    Connecting = 1,
    /// Messages flow.
    Connected = 2,
    /// The end has been asked for; what is queued is still being delivered.
    Disconnecting = 3,
    /// Ended by one of the two sides.
    Disconnected = 4,
    /// Ended by silence.
    Dropped = 5,
    /// It proved itself, and nobody has decided yet whether it may come in.
    Joining = 6,
}

impl Status {
    /// Whether the peer has its place: it counts, and its token is taken.
    pub(crate) fn is_seated(self) -> bool {
        matches!(self, Status::Joining | Status::Connected | Status::Disconnecting)
    }
}

/// A client that proved itself and wants to come in.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Where its datagrams come from.
    pub address: SocketAddr,
    /// The session's public number, unique among the server's live peers.
    pub token: u32,
    /// What it speaks.
    pub wire: Wire,
    /// Through which door it comes.
    pub door: Door,
    /// Whether it gave the password. Only on a wire that has none to give does the host see who did not,
    /// where the configuration wants one.
    pub password: bool,
    /// What it brought, a ticket for instance; empty on mpgameserver's wire. It is what the client says:
    /// check it.
    pub data: Vec<u8>,
}

/// What the host says to a [`JoinRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is connected: a `connect` event follows.
    Accept,
    /// It is told to go, and no event follows.
    Refuse {
        /// A number of the host's own, 1000 or more by custom: those below are the library's ([`refusal`]).
        code: u32,
        /// One sentence for a person.
        text: String,
    },
    /// [`Server::accept`] or [`Server::refuse`] will say, from any thread.
    Later,
}

/// The library's own numbers for a refusal.
pub mod refusal {
    /// The server has as many peers as it may.
    pub const FULL: u32 = 1;
    /// As many clients as may be wait for a decision.
    pub const BUSY: u32 = 2;
    /// Nobody decided in time, or the client said nothing.
    pub const UNDECIDED: u32 = 3;
    /// A password is wanted, and none was given.
    pub const PASSWORD_WANTED: u32 = 4;
    /// The password is wrong.
    pub const PASSWORD_WRONG: u32 = 5;
    /// Too many passwords came from the same source.
    pub const TOO_MANY_GUESSES: u32 = 6;
}

pub use crate::protocol::delivery::Priority;

/// How a message is delivered. The first three numbers are mpgameserver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum RetryMode {
    /// Resent until acknowledged, for as long as the connection lives: exactly once. `send_guaranteed` uses it.
    OnTimeout = -1,
    /// Sent once: at most once.
    #[default]
    None = 0,
    /// Resent until acknowledged or until the message timeout: at most once.
    BestEffort = 1,
    /// Sent once, in a channel where a newer message drops older ones, unsent ones included: at most once. Native wire.
    Sequenced = 2,
    /// As `OnTimeout`, and delivered in the order in which its channel's messages were sent. Native wire.
    Ordered = 3,
}

impl From<RetryMode> for Delivery {
    fn from(retry: RetryMode) -> Delivery {
        retry.mode().into()
    }
}

impl RetryMode {
    pub(crate) fn of(mode: Mode) -> RetryMode {
        match mode {
            Mode::Once => RetryMode::None,
            Mode::Sequenced => RetryMode::Sequenced,
            Mode::BestEffort => RetryMode::BestEffort,
            Mode::Guaranteed => RetryMode::OnTimeout,
            Mode::Ordered | Mode::Files => RetryMode::Ordered,
        }
    }

    pub(crate) fn mode(self) -> Mode {
        match self {
            RetryMode::OnTimeout => Mode::Guaranteed,
            RetryMode::None => Mode::Once,
            RetryMode::BestEffort => Mode::BestEffort,
            RetryMode::Sequenced => Mode::Sequenced,
            RetryMode::Ordered => Mode::Ordered,
        }
    }
}

/// What became of a message. Each message that asked is told exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Outcome {
    /// The remote side acknowledged all of it: its end of the connection has it, and will not be sent it again. Its host may not have
    /// seen it yet: an ordered message can still wait there for older ones of its channel, and is handed over in its turn unless the
    /// connection ends first; events can wait to be pulled; a sequenced message is dropped if a newer one came before it. Where
    /// the host's having dealt with it matters, let it answer.
    Delivered = 1,
    /// The message timeout passed first. It may have arrived all the same.
    Expired = 2,
    /// The connection ended first. It may have arrived all the same.
    Cancelled = 3,
}

/// Why a peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The remote side said goodbye.
    Remote,
    /// The host called `disconnect`.
    Kicked,
    /// Nothing valid came for the connection timeout.
    Timeout,
    /// The server stopped.
    Shutdown,
    /// A new client proved itself from the same address.
    Replaced,
    /// The address came onto the block list.
    Blocked,
    /// It was not let in.
    Refused,
    /// What it sent breaks the protocol's rules.
    Protocol,
    /// This end left, seen from a client.
    Local,
    /// The server does not know the connection any more: it was started again.
    Restarted,
    /// A code of the host's own, 1000 or more, given to `disconnect`.
    Host(i32),
}

/// A peer's end.
#[derive(Clone, Debug)]
pub struct DisconnectInfo {
    /// Why.
    pub reason: DisconnectReason,
    /// A number that goes with it, as whoever ended it gave it; 0: none. Where the wire has room for it, the
    /// other side gets it. [`DisconnectReason::Host`] brings its own if this is 0.
    pub code: u32,
    /// One sentence for a person.
    pub text: String,
}

impl DisconnectInfo {
    /// An end without a number.
    pub fn new(reason: DisconnectReason, text: impl Into<String>) -> Self {
        DisconnectInfo { reason, code: 0, text: text.into() }
    }

    /// The number for the other side.
    pub(crate) fn wire_code(&self) -> u32 {
        match self.reason {
            DisconnectReason::Host(code) if self.code == 0 => u32::try_from(code).unwrap_or_default(),
            _ => self.code,
        }
    }

    /// What is said to the other side.
    pub(crate) fn farewell(&self) -> Farewell {
        let kind = match self.reason {
            DisconnectReason::Remote | DisconnectReason::Local => FarewellKind::Left,
            DisconnectReason::Kicked | DisconnectReason::Host(_) | DisconnectReason::Restarted => {
                FarewellKind::Kicked
            }
            DisconnectReason::Timeout => FarewellKind::Timeout,
            DisconnectReason::Shutdown => FarewellKind::Shutdown,
            DisconnectReason::Replaced => FarewellKind::Replaced,
            DisconnectReason::Blocked => FarewellKind::Blocked,
            DisconnectReason::Refused => FarewellKind::Refused,
            DisconnectReason::Protocol => FarewellKind::Protocol,
        };
        Farewell { kind, code: self.wire_code(), text: self.text.clone() }
    }

    /// The same with its number.
    pub fn with_code(mut self, code: u32) -> Self {
        self.code = code;
        self
    }
}

/// For how many peers a message was queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// So many queued it.
    pub sent: usize,
    /// So many have a full queue: they did not, and get `writable` later.
    pub refused: usize,
}

/// A new peer.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// Where its datagrams come from; IPv4-mapped addresses are given as IPv4.
    pub address: SocketAddr,
    /// The session's public number, unique among the server's live peers.
    pub token: u32,
    /// Through which door it came.
    pub door: Door,
}

/// A message from a peer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The sender's message number, 1 to 65535 on mpgameserver's wire; of a fragmented message that of its first fragment.
    pub sequence: u16,
    /// The channel that it was sent on; 0 on mpgameserver's wire, which has none.
    pub channel: u8,
    /// How it was sent; mpgameserver's wire does not tell.
    pub mode: Option<RetryMode>,
    /// The bytes.
    pub data: Vec<u8>,
    /// What they are, where the door tells: a stream with JSON headers does, and a WebSocket, on which it is text or
    /// binary.
    pub content: Option<Box<Content>>,
    /// Through which door it came.
    pub door: Door,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum LogLevel {
    /// Something broke.
    Error = 1,
    /// Something that the host should know of.
    Warn = 2,
    /// What happens, in outline.
    Info = 3,
    /// What happens, in detail.
    Debug = 4,
}

impl LogLevel {
    /// What it is called where lines are written down.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// Calls back with what became of a message; runs on the server's thread.
pub type SentCallback = Box<dyn FnOnce(&Server, PeerId, Outcome) + Send>;

/// Hears how much of a file the receiver has written, and how much there is; runs on the server's thread.
pub type FileProgressFn = dyn Fn(&Server, PeerId, FileId, u64, u64) + Send + Sync;

/// Hears how a file ended; runs on the server's thread.
pub type FileDoneCallback = Box<dyn FnOnce(&Server, PeerId, FileId, &FileEnd) + Send>;

/// How a file is to be sent.
pub type FileOptions = crate::server::files::FileOptionsWith<FileProgressFn, FileDoneCallback>;

/// How a message is to be sent.
pub type SendOptions = SendOptionsWith<SentCallback>;

/// The same for both ends, each with its own kind of callback.
pub struct SendOptionsWith<C> {
    /// How it is delivered.
    pub retry: RetryMode,
    /// The channel of sequenced and ordered messages, each of which has an order of its own. Default 0.
    pub channel: u8,
    /// Which of the messages that wait goes first. Default normal.
    pub priority: Priority,
    /// After this it is given up, if it is neither guaranteed nor ordered. Default: the message timeout.
    pub deadline: Option<std::time::Duration>,
    /// How many packets beside the first carry a copy of it, if it is short (512 bytes) and of a mode that is
    /// resent, before anybody knows of a loss. Native wire; others pass it over. Default 0, range 0 to 4 (more is an
    /// error of kind Argument); where the connection's own redundancy is more, that counts.
    pub redundancy: u8,
    /// Told what became of it.
    pub on_sent: Option<C>,
    /// What the bytes are, for a peer whose door can tell it so: a stream with JSON headers, or a WebSocket, where
    /// a type that begins with `text/` makes a text message. Other doors pass it over, and so does a message to many. Default
    /// none: bytes.
    pub content: Option<Box<Content>>,
    /// Without `on_sent`: asks for a `Sent` event with this tag in the event queue.
    pub tag: Option<u64>,
}

impl<C> Default for SendOptionsWith<C> {
    /// Sent once, and nobody is told.
    fn default() -> Self {
        SendOptionsWith {
            retry: RetryMode::default(),
            channel: 0,
            priority: Priority::default(),
            deadline: None,
            redundancy: 0,
            on_sent: None,
            content: None,
            tag: None,
        }
    }
}

impl<C> SendOptionsWith<C> {
    /// What the protocol is asked for. Errors: Argument (a value out of its range).
    pub(crate) fn delivery(&self) -> Result<Delivery> {
        config::redundancy(self.redundancy)?;
        Ok(Delivery {
            mode: self.retry.mode(),
            channel: self.channel,
            priority: self.priority,
            deadline: self.deadline,
            redundancy: self.redundancy,
        })
    }
}

/// An event, as the event queue holds it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first event.
    Starting,
    /// A peer proved itself.
    Connect(PeerId, ConnectInfo),
    /// A peer left; until the next batch of events is taken its id still answers questions.
    Disconnect(PeerId, DisconnectInfo),
    /// A message.
    Message(PeerId, Message),
    /// A tick: how many seconds since the last one, and its number, from 1.
    Update {
        /// Seconds since the last update.
        seconds: f64,
        /// Number of this tick, from 1.
        tick: u64,
    },
    /// A peer's queue that had refused a message has room again.
    Writable(PeerId),
    /// The slow timer.
    Reconcile,
    /// What became of a message sent with a tag.
    Sent(PeerId, u64, Outcome),
    /// The last event.
    Shutdown,
    /// A line for the log.
    Log(LogLevel, String),
    /// A client waits for a decision, until then its id answers questions.
    Authorise(PeerId, JoinRequest),
    /// A datagram that is of no wire. [`Server::send_raw`] can answer it.
    Raw(SocketAddr, Vec<u8>),
    /// A request came to a route that has no function but this tag. [`Server::answer`] answers it.
    Request(RequestId, u64),
    /// A file is offered, goes on, or ended.
    File(PeerId, FileEvent),
}

/// Which events a handler takes itself. Those that it does not take go to the event queue where that is
/// enabled, and nowhere otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// The first event.
    pub starting: bool,
    /// A peer joined.
    pub connect: bool,
    /// A peer left.
    pub disconnect: bool,
    /// A message.
    pub message: bool,
    /// A tick.
    pub update: bool,
    /// Room again.
    pub writable: bool,
    /// The slow timer.
    pub reconcile: bool,
    /// The last event.
    pub shutdown: bool,
    /// A line for the log.
    pub log: bool,
    /// A client that waits for a decision. Who takes it decides about everybody.
    pub authorise: bool,
    /// A datagram that is of no wire.
    pub raw: bool,
    /// What happens to files. Who takes it decides about those that are offered.
    pub file: bool,
}

impl Takes {
    /// All events but the three that change what the server does, and are asked for by name: `authorise`,
    /// `raw` and `file`.
    pub const ALL: Takes = Takes {
        starting: true,
        connect: true,
        disconnect: true,
        message: true,
        update: true,
        writable: true,
        reconcile: true,
        shutdown: true,
        log: true,
        authorise: false,
        raw: false,
        file: false,
    };
}

/// A host's callbacks. All of them run on the thread that runs the server: its own after
/// [`Server::start`], the caller of [`Server::poll`] after [`Server::open`]. Any method of the server may
/// be called from inside one but `poll` and `next_events`; `stop` takes effect when the callback returns.
#[allow(unused_variables)]
pub trait Handler: Send {
    /// Which of the methods below are meant; asked once, at start.
    fn takes(&self) -> Takes {
        Takes::ALL
    }
    /// The server runs; the first call.
    fn starting(&mut self, server: &Server) {}
    /// A client proved itself.
    fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {}
    /// A peer left. Its id still answers questions until this returns.
    fn disconnect(&mut self, server: &Server, peer: PeerId, info: &DisconnectInfo) {}
    /// A message arrived.
    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {}
    /// One tick; `seconds` since the last one.
    fn update(&mut self, server: &Server, seconds: f64, tick: u64) {}
    /// A queue that had refused a message has room again.
    fn writable(&mut self, server: &Server, peer: PeerId) {}
    /// A slow timer for housekeeping.
    fn reconcile(&mut self, server: &Server) {}
    /// The last call.
    fn shutdown(&mut self, server: &Server) {}
    /// A line for the log.
    fn log(&mut self, server: &Server, level: LogLevel, text: &str) {}
    /// A client proved itself: may it come in? Asked only where [`takes`](Self::takes) says so. Messages that
    /// it sends before the answer are left unacknowledged, so that it repeats them.
    fn authorise(&mut self, server: &Server, peer: PeerId, request: &JoinRequest) -> Decision {
        Decision::Accept
    }
    /// A datagram that is of no wire; whoever sent it proved nothing, not even its address. Called only where
    /// [`takes`](Self::takes) says so.
    fn raw(&mut self, server: &Server, from: SocketAddr, data: &[u8]) {}
    /// A file is offered ([`Server::accept_file`] or [`Server::refuse_file`] decides, in here or later), goes on, or ended. Called
    /// only where [`takes`](Self::takes) says so; without it, and without an event queue, all offers are refused.
    fn file(&mut self, server: &Server, peer: PeerId, event: &FileEvent) {}
}

/// Everything the server knows of one peer at one moment.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Where its datagrams come from.
    pub address: SocketAddr,
    /// The session's public number.
    pub token: u32,
    /// Where it stands.
    pub status: Status,
    /// Smoothed half of the acknowledgement's round trip.
    pub latency: std::time::Duration,
    /// Bytes of payload queued and not yet acknowledged.
    pub queued_bytes: usize,
    /// Messages queued and not yet acknowledged.
    pub queued_messages: u32,
    /// Lifetime counts.
    pub stats: PeerStats,
    /// Which wire it speaks.
    pub wire: Wire,
    /// Through which door it came in.
    pub door: Door,
    /// Times that it went on from another address; always 0 on mpgameserver's wire, where nobody can.
    pub migrations: u64,
}
