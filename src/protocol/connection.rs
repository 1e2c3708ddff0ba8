//! One end of one connection.
//!
//! > The caller's contract: after any input (a command, [`Connection::handle_datagram`],
//! > [`Connection::handle_timeout`]) drain the outputs: [`Connection::poll_transmit`] until it gives no address,
//! > [`Connection::poll_event`] until it is empty, then arm a timer for [`Connection::poll_timeout`].
//!
//! The methods come in four families: getters, `handle_*` (input from the network and the clock), commands
//! (input from the application), `poll_*` (outputs). Times never go back.
//!
//! Two wires, one delivery engine, and beside them streams, which need none: a [`Connection`] is any of them, and its
//! owner need not know which.

pub mod mpgameserver;
pub mod native;
pub mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::crypto::{CryptoError, Point, Provider};
use super::delivery::{Delivery, Limits, Mode, Outcome, QueueError};
use super::framing::{Content, EncodeError};
use super::handshake::mpgameserver::Established;
use super::handshake::native as native_handshake;
use super::payload::{Buffers, Payload};
use super::time::Time;
use super::wire::native as native_wire;
use crate::metrics::peer::PeerStats;
use crate::metrics::server::DropReason;

/// What both ends of all connections of one server (or client) have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds and times of the delivery engine.
    pub limits: Arc<Limits>,
    /// See [`crate::server::config::Config`]; so are the others.
    pub connection_timeout: Duration,
    /// Of our client: when it gives up its handshake.
    pub handshake_timeout: Duration,
    /// Least time between datagrams that are not full.
    pub send_interval: Duration,
    /// When a message in reassembly is given up.
    pub reassembly_timeout: Duration,
    /// Bytes in reassembly.
    pub max_reassembly_bytes: usize,
    /// Native wire: how many packets beside the first carry a copy of every short message that is resent.
    pub redundancy: u8,
    /// Native wire: whether this end takes part in transfers of files.
    pub files: bool,
}

impl Settings {
    /// Largest datagram of the native wire that is tried on the way to `remote`: what the configured IP packet leaves.
    pub fn largest_datagram(&self, remote: SocketAddr) -> usize {
        // An IPv6 header is 20 bytes longer than the IPv4 header that the sizes are made for.
        let longer = if remote.is_ipv6() { 20 } else { 0 };
        self.limits
            .sizes
            .datagram
            .saturating_sub(longer)
            .clamp(native_wire::BASE_DATAGRAM, native_wire::MAX_DATAGRAM)
    }
}

/// How much more the receiver of events can take. Messages beyond it are refused: not acknowledged, so
/// that their sender repeats them where it promised to.
pub struct Room<'a> {
    /// Messages.
    pub messages: usize,
    /// Bytes; the last message may go beyond.
    pub bytes: usize,
    /// Where messages get their memory, if their receiver gives it back.
    pub buffers: Option<&'a mut Buffers>,
    /// Who takes messages at once, in the place of [`Connection::poll_event`].
    pub sink: Option<&'a mut dyn FnMut(Event)>,
}

impl std::fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room")
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Room<'_> {
    /// Enough for whatever one datagram can bring.
    pub const ENDLESS: Room<'static> =
        Room { messages: usize::MAX, bytes: usize::MAX, buffers: None, sink: None };
    /// None: all messages are refused.
    pub const NONE: Room<'static> = Room { messages: 0, bytes: 0, buffers: None, sink: None };

    /// The bytes of a message for its receiver.
    pub(crate) fn copy(&mut self, data: &[u8]) -> Vec<u8> {
        match &mut self.buffers {
            Some(buffers) => buffers.copy(data),
            None => data.to_vec(),
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Our client waits for the server's answer, or to be let in.
    Connecting,
    /// A server's end whose host has not let the client in yet.
    Joining,
    /// Messages flow.
    Connected,
    /// The end was asked for; what is queued is still being delivered.
    Lingering,
    /// It has ended; the key is kept for a while.
    Draining,
    /// Nothing is left to do.
    Closed,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Connection::close`] or the end of lingering.
    Local,
    /// The other side said goodbye; [`Farewell::kind`] has its reason.
    Remote,
    /// Nothing valid came for the connection timeout, or no answer for the handshake timeout.
    Timeout,
    /// The server was started anew and knows nothing of this connection.
    Restarted,
    /// The other side broke the protocol, or this end has used up its packet numbers.
    Protocol,
}

/// What kind of goodbye it is. The numbers are those of the native wire's CLOSE; mpgameserver's wire has none,
/// and reads as [`Left`](FarewellKind::Left).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FarewellKind {
    /// It left of its own will.
    #[default]
    Left = 0,
    /// A server did not let this client in.
    Refused = 1,
    /// A server's host ended the connection.
    Kicked = 2,
    /// The server, or the client's program, ends.
    Shutdown = 3,
    /// The other side broke the protocol.
    Protocol = 4,
    /// It gave up waiting.
    Timeout = 5,
    /// The same client came back, and took its own place.
    Replaced = 6,
    /// The address was blocked.
    Blocked = 7,
}

/// A goodbye: said on the way out, and read on the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Farewell {
    /// What kind it is.
    pub kind: FarewellKind,
    /// The host's own number.
    pub code: u32,
    /// The host's own words, at most [`MAX_FAREWELL_TEXT`] bytes on the wire.
    pub text: String,
}

/// Bytes of a goodbye's text; a longer one is cut.
pub const MAX_FAREWELL_TEXT: usize = 256;

impl FarewellKind {
    /// As a CLOSE has it; unknown numbers read as [`Left`](FarewellKind::Left).
    pub fn from_wire(kind: u8) -> FarewellKind {
        use FarewellKind::*;
        let all = [Left, Refused, Kicked, Shutdown, Protocol, Timeout, Replaced, Blocked];
        all.into_iter().find(|k| *k as u8 == kind).unwrap_or_default()
    }
}

impl Farewell {
    /// One of a kind, without code and text.
    pub fn of(kind: FarewellKind) -> Farewell {
        Farewell { kind, ..Farewell::default() }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Who ended it, or what.
    pub reason: CloseReason,
    /// The goodbye that came, or that was said.
    pub farewell: Farewell,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Our client has its answer.
    Connected,
    /// A message.
    Message {
        /// The sender's number of it, on the ring; of a fragmented one that of the first fragment.
        sequence: u16,
        /// The channel that it was sent on; 0 on a wire that has none.
        channel: u8,
        /// How it was sent; mpgameserver's wire does not tell.
        mode: Option<Mode>,
        /// The bytes.
        data: Vec<u8>,
        /// What they are; only a stream with JSON headers tells.
        content: Option<Box<Content>>,
    },
    /// A client asks to be let in; [`Connection::accept`] or [`Connection::close`] answers. Native wire, server's end.
    Join {
        /// The password that it gave.
        password: Option<Vec<u8>>,
        /// Opaque bytes of its host.
        data: Vec<u8>,
    },
    /// What became of a message sent with a tag.
    Sent {
        /// The tag.
        tag: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// The queue has room again.
    Writable,
    /// The end; the last event.
    Closed(Closing),
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// See [`QueueError`].
    Queue(QueueError),
    /// The connection is not connected.
    NotConnected,
    /// Its wire has no such mode.
    Unsupported,
    /// The framing of its stream cannot hold the message.
    Framing(EncodeError),
}

/// The datagram format that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// That of the Python package mpgameserver.
    Mpgameserver,
    /// Our own.
    Native,
    /// None: a stream of bytes.
    Stream,
}

/// The way by which a peer comes to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Door {
    /// Encrypted datagrams, of either wire.
    #[default]
    Udp = 1,
    /// A stream of bytes over TCP.
    Stream = 2,
    /// A WebSocket.
    Websocket = 3,
}

/// One end of one connection. See the module's contract.
#[derive(Debug)]
pub enum Connection {
    /// On mpgameserver's wire, to a fixed address.
    Mpgameserver(Box<mpgameserver::Connection>, SocketAddr),
    /// On the native wire, to an address that may change.
    Native(Box<native::Connection>),
    /// In a stream of bytes, from an address.
    Stream(Box<stream::Connection>, SocketAddr),
}

/// Calls a method that all have.
macro_rules! either {
    ($self:expr, $c:ident => $call:expr) => {
        match $self {
            Connection::Mpgameserver($c, _) => $call,
            Connection::Native($c) => $call,
            Connection::Stream($c, _) => $call,
        }
    };
}

impl Connection {
    /// The server's end of a proven handshake of mpgameserver's wire.
    pub fn accepted(now: Time, settings: Arc<Settings>, established: Established, from: SocketAddr) -> Self {
        Connection::Mpgameserver(
            Box::new(mpgameserver::Connection::accepted(now, settings, established)),
            from,
        )
    }

    /// The server's end on the native wire, when a packet has opened under the handshake's secrets.
    pub fn native_accepted(
        now: Time,
        settings: Arc<Settings>,
        handshake: &native_handshake::ServerHandshake,
        welcome: native_handshake::Welcome,
    ) -> Result<Self, CryptoError> {
        native::Connection::accepted(now, settings, handshake, welcome)
            .map(|c| Connection::Native(Box::new(c)))
    }

    /// A client's end on the native wire; see [`native::Connection::connect`].
    pub fn native_connect(
        now: Time,
        settings: Arc<Settings>,
        pinned: Option<native_handshake::NativeKey>,
        join: native::Join,
        provider: &dyn Provider,
        server: SocketAddr,
    ) -> Result<Self, CryptoError> {
        let connection = native::Connection::connect(now, settings, pinned, join, provider, server)?;
        Ok(Connection::Native(Box::new(connection)))
    }

    /// Whether the datagram that was given last probes the path: it must not be fragmented.
    pub fn is_probe(&self) -> bool {
        self.as_native().is_some_and(native::Connection::is_probe)
    }

    /// The native wire's own, where it is one.
    pub fn as_native(&self) -> Option<&native::Connection> {
        match self {
            Connection::Mpgameserver(..) | Connection::Stream(..) => None,
            Connection::Native(c) => Some(c),
        }
    }

    /// The same, to change it.
    pub fn as_native_mut(&mut self) -> Option<&mut native::Connection> {
        match self {
            Connection::Mpgameserver(..) | Connection::Stream(..) => None,
            Connection::Native(c) => Some(c),
        }
    }

    /// A stream, where it is one.
    pub fn as_stream_mut(&mut self) -> Option<&mut stream::Connection> {
        match self {
            Connection::Stream(c, _) => Some(c),
            _ => None,
        }
    }

    /// The same, to look at.
    pub fn as_stream(&self) -> Option<&stream::Connection> {
        match self {
            Connection::Stream(c, _) => Some(c),
            _ => None,
        }
    }

    /// A client's end on mpgameserver's wire, with the server's root key or none.
    pub fn connect(
        now: Time,
        settings: Arc<Settings>,
        pinned: Option<Point>,
        provider: &dyn Provider,
        server: SocketAddr,
    ) -> Result<Self, CryptoError> {
        let connection = mpgameserver::Connection::connect(now, settings, pinned, provider)?;
        Ok(Connection::Mpgameserver(Box::new(connection), server))
    }

    // --- getters --------------------------------------------------------------------------------------

    /// Which wire it speaks.
    pub fn wire(&self) -> Wire {
        match self {
            Connection::Mpgameserver(..) => Wire::Mpgameserver,
            Connection::Native(_) => Wire::Native,
            Connection::Stream(..) => Wire::Stream,
        }
    }

    /// Through which door it came in.
    pub fn door(&self) -> Door {
        match self {
            Connection::Mpgameserver(..) | Connection::Native(_) => Door::Udp,
            Connection::Stream(c, _) => c.door(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        either!(self, c => c.state())
    }

    /// The session's public number; 0 before it is known.
    pub fn token(&self) -> u32 {
        either!(self, c => c.token())
    }

    /// Where the other end is, as far as is proven.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Connection::Mpgameserver(_, remote) | Connection::Stream(_, remote) => *remote,
            Connection::Native(c) => c.remote(),
        }
    }

    /// Half a round trip, smoothed.
    pub fn latency(&self) -> Duration {
        either!(self, c => c.latency())
    }

    /// Payload bytes queued and unacknowledged.
    pub fn queued_bytes(&self) -> usize {
        either!(self, c => c.queued_bytes())
    }

    /// Messages queued and unacknowledged.
    pub fn queued_messages(&self) -> usize {
        either!(self, c => c.queued_messages())
    }

    /// Bytes held of messages that cannot be delivered yet, bookkeeping included.
    pub fn reassembly_bytes(&self) -> usize {
        either!(self, c => c.reassembly_bytes())
    }

    /// Whether the other side has acknowledged our goodbye. On the native wire that closes the connection.
    pub fn is_goodbye_acknowledged(&self) -> bool {
        match self {
            Connection::Mpgameserver(c, _) => c.is_goodbye_acknowledged(),
            Connection::Native(c) => c.state() == State::Closed,
            Connection::Stream(c, _) => c.is_closed(),
        }
    }

    /// Counts so far.
    pub fn stats(&self) -> PeerStats {
        either!(self, c => c.stats())
    }

    /// Whether both ends take part in transfers of files: messages of [`Mode::Files`] can be sent then.
    pub fn takes_files(&self) -> bool {
        match self {
            Connection::Mpgameserver(..) => false,
            Connection::Native(c) => c.takes_files(),
            Connection::Stream(c, _) => c.takes_files(),
        }
    }

    // --- commands -------------------------------------------------------------------------------------

    /// Queues a message; `tag` other than 0 asks for an [`Event::Sent`].
    pub fn send(
        &mut self,
        now: Time,
        payload: Payload,
        delivery: Delivery,
        tag: u64,
    ) -> Result<(), SendError> {
        either!(self, c => c.send(now, payload, delivery, tag))
    }

    /// The same, telling what the bytes are where the other side can be told: in a stream with JSON headers, or one
    /// whose messages come whole. Elsewhere `content` is passed over.
    pub fn send_content(
        &mut self,
        now: Time,
        payload: Payload,
        content: Option<Box<Content>>,
        delivery: Delivery,
        tag: u64,
    ) -> Result<(), SendError> {
        match self {
            Connection::Stream(c, _) => c.send_content(now, payload, content, delivery, tag),
            _ => self.send(now, payload, delivery, tag),
        }
    }

    /// Lets a client in that asked by [`Event::Join`]. On mpgameserver's wire it has never been outside.
    pub fn accept(&mut self, now: Time) {
        match self {
            Connection::Mpgameserver(..) => {}
            Connection::Native(c) => c.accept(now),
            Connection::Stream(c, _) => c.accept(),
        }
    }

    /// How many packets beside the first carry a copy of every short message that is resent. Native wire.
    pub fn set_redundancy(&mut self, copies: u8) {
        if let Connection::Native(c) = self {
            c.set_redundancy(copies);
        }
    }

    /// Messages leave no earlier than at `until`. Acknowledgements, keep-alives and goodbyes do.
    pub fn hold(&mut self, until: Time) {
        either!(self, c => c.hold(until))
    }

    /// Ends the connection: at once, or when what is queued is acknowledged, at most after the connection
    /// timeout. What is left then is cancelled.
    pub fn close(&mut self, now: Time, after_delivery: bool, farewell: Farewell) {
        either!(self, c => c.close(now, after_delivery, farewell))
    }

    // --- input from the network and the clock -----------------------------------------------------------

    /// Takes a datagram in; it is decrypted in place. An error says why it was thrown away: it has then
    /// changed nothing but counts.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        room: &mut Room,
    ) -> Result<(), DropReason> {
        match self {
            Connection::Mpgameserver(c, remote) if *remote == from => c.handle_datagram(now, datagram, room),
            Connection::Mpgameserver(..) | Connection::Stream(..) => Err(DropReason::Unknown),
            Connection::Native(c) => c.handle_datagram(now, from, datagram, room),
        }
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Time) {
        either!(self, c => c.handle_timeout(now))
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// Whether [`poll_event`](Self::poll_event) has one.
    pub fn has_events(&self) -> bool {
        either!(self, c => c.has_events())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        either!(self, c => c.poll_event())
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has
    /// something to do, if nothing else happens first. `None`: never.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        either!(self, c => c.poll_timeout(now))
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would give nothing at this moment, as far as can be told without asking it.
    pub fn is_done_for_now(&self, now: Time) -> bool {
        self.as_native().is_some_and(|c| c.is_done_for_now(now))
    }

    /// Appends the next datagram to `out` and says where it goes; `None` if there is none now.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Connection::Mpgameserver(c, remote) => c.poll_transmit(now, out).then_some(*remote),
            Connection::Native(c) => c.poll_transmit(now, out),
            Connection::Stream(..) => None,
        }
    }
}
