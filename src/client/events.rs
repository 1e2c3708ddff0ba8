//! What a client tells its host, and what the host's `Handler` may do with it.

use std::net::SocketAddr;

use crate::client::Client;

pub use crate::server::files::{FileEnd, FileEvent, FileId};

pub use crate::server::events::{
    refusal, Content, Door, LogLevel, Message, Outcome, Priority, RetryMode, Status,
};

/// Why a session ended. The host hears of each session's end once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// This end asked for it: `disconnect`, `reconnect` or `stop`.
    Local,
    /// The server said goodbye.
    Remote,
    /// The server fell silent, or never answered.
    Timeout,
    /// The system says that nobody listens at the address. Not all systems do: then it is `Timeout`.
    NobodyListens,
    /// The server did not let this client in; `code` and `text` say why. Native wire.
    Refused,
    /// The server's host ended the session. Native wire; on the other it is `Remote`.
    Kicked,
    /// The server ends. Native wire.
    Shutdown,
    /// One end could not read the other, or the server speaks other versions only. Native wire.
    Protocol,
    /// Another client took this one's place. Native wire.
    Replaced,
    /// The server blocks our address. Native wire.
    Blocked,
    /// The server was started anew and knows nothing of the session: `reconnect` begins another. Native wire.
    Restarted,
    /// The system has no way to the address.
    Unreachable,
    /// The host name has no address, or the resolver does not answer.
    Name,
    /// What answered does not have the pinned key: on mpgameserver's wire only. On the native one a server with another key
    /// cannot read the hello, and it is a `Timeout` whose text says that nobody answered who has the pinned key. In a stream
    /// with TLS: its certificate is not to be believed.
    Key,
}

/// A session's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisconnectInfo {
    /// Why.
    pub reason: DisconnectReason,
    /// The number that the server's host gave, or one of `refusal`; 0 without one. Native wire.
    pub code: u32,
    /// One sentence for a person.
    pub text: String,
}

/// A session's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectInfo {
    /// The server's address.
    pub address: SocketAddr,
    /// The session's public number, as the server knows it; 0 through a stream, which does not tell it.
    pub token: u32,
    /// Through which door of the server.
    pub door: Door,
}

/// Calls back with what became of a message; runs where the client's callbacks run.
pub type SentCallback = Box<dyn FnOnce(&Client, Outcome) + Send>;

/// Hears how much of a file the receiver has written, and how much there is; runs where the client's callbacks run.
pub type FileProgressFn = dyn Fn(&Client, FileId, u64, u64) + Send + Sync;

/// Hears how a file ended; runs where the client's callbacks run.
pub type FileDoneCallback = Box<dyn FnOnce(&Client, FileId, &FileEnd) + Send>;

/// How a file is to be sent.
pub type FileOptions = crate::server::files::FileOptionsWith<FileProgressFn, FileDoneCallback>;

/// How a message is to be sent.
pub type SendOptions = crate::server::events::SendOptionsWith<SentCallback>;

/// An event, as the event queue holds it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server's address is known, and it is being tried; the next of several after one that did not answer.
    Connecting(SocketAddr),
    /// The server let us in: messages flow.
    Connected(ConnectInfo),
    /// The session ended, or never came to be.
    Disconnected(DisconnectInfo),
    /// A message.
    Message(Message),
    /// A tick.
    Update {
        /// Seconds since the last update.
        seconds: f64,
        /// Number of this tick, from 1.
        tick: u64,
    },
    /// The queue that had refused a message has room again.
    Writable,
    /// What became of a message sent with a tag.
    Sent(u64, Outcome),
    /// The last event.
    Shutdown,
    /// A line for the log.
    Log(LogLevel, String),
    /// A file is offered, goes on, or ended.
    File(FileEvent),
}

/// Which events a handler takes itself. Those that it does not take go to the event queue where that is
/// enabled, and nowhere otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// An address is being tried.
    pub connecting: bool,
    /// Messages flow.
    pub connected: bool,
    /// The end of a session.
    pub disconnected: bool,
    /// A message.
    pub message: bool,
    /// A tick.
    pub update: bool,
    /// Room again.
    pub writable: bool,
    /// The last event.
    pub shutdown: bool,
    /// A line for the log.
    pub log: bool,
    /// What happens to files. Who takes it decides about those that are offered.
    pub file: bool,
}

impl Takes {
    /// All events but `file`, which is asked for by name.
    pub const ALL: Takes = Takes {
        connecting: true,
        connected: true,
        disconnected: true,
        message: true,
        update: true,
        writable: true,
        shutdown: true,
        log: true,
        file: false,
    };
}

/// A host's callbacks. All of them run on the thread that runs the client: its own after
/// [`Client::start`], the caller of [`Client::poll`] after [`Client::open`]. Any method of the client may
/// be called from inside one but `poll`, `next_events`, `wait` and `disconnect_wait`; `stop` takes effect when the
/// callback returns.
#[allow(unused_variables)]
pub trait Handler: Send {
    /// Which of the methods below are meant; asked once, at start.
    fn takes(&self) -> Takes {
        Takes::ALL
    }
    /// An address of the server is being tried.
    fn connecting(&mut self, client: &Client, address: SocketAddr) {}
    /// The server let us in: messages flow.
    fn connected(&mut self, client: &Client, info: &ConnectInfo) {}
    /// The session ended, or never came to be. [`Client::reconnect`] may be called from here.
    fn disconnected(&mut self, client: &Client, info: &DisconnectInfo) {}
    /// A message arrived.
    fn message(&mut self, client: &Client, message: &Message) {}
    /// One tick; `seconds` since the last one. They come also while there is no session.
    fn update(&mut self, client: &Client, seconds: f64, tick: u64) {}
    /// The queue that had refused a message has room again.
    fn writable(&mut self, client: &Client) {}
    /// The last call.
    fn shutdown(&mut self, client: &Client) {}
    /// A line for the log.
    fn log(&mut self, client: &Client, level: LogLevel, text: &str) {}
    /// A file is offered ([`Client::accept_file`] or [`Client::refuse_file`] decides, in here or later), goes on, or ended. Called
    /// only where [`takes`](Self::takes) says so; without it, and without an event queue, all offers are refused.
    fn file(&mut self, client: &Client, event: &FileEvent) {}
}

/// A handler that takes nothing: all events go to the event queue.
impl Handler for () {
    fn takes(&self) -> Takes {
        Takes::default()
    }
}
