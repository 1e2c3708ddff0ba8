//! One session with one address of the server: all that the client knows of [`Connection`] and of wires.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::{ClientConfig, KnownKeys, ServerKey, Wire};
use super::events::{DisconnectInfo, DisconnectReason, Message, Outcome, RetryMode};
use crate::crypto::RingProvider;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::peer::PeerStats;
use crate::metrics::server::DropReason;
use crate::protocol::connection::{
    mpgameserver::GOODBYES,
    native::{Join, ServerClock},
    stream::{Connection as Stream, Terms},
    CloseReason, Closing, Connection, Door, Event as ConnectionEvent, Farewell, FarewellKind, Room, Settings,
    State,
};
use crate::protocol::delivery::{Delivery, Mode, Outcome as Sent};
use crate::protocol::framing::Content;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;
use crate::server::send_refused::send_refused;

/// What a session has to tell.
pub(super) enum SessionEvent {
    Connected,
    Message(Message),
    /// One about files.
    File(Vec<u8>),
    Sent(u64, Outcome),
    Writable,
    /// The last one.
    Closed(DisconnectInfo),
}

/// See the module.
pub(super) struct Session {
    connection: Connection,
    settings: Arc<Settings>,
    server: SocketAddr,
    pinned: KnownKeys,
    connected: bool,
    /// Answers that nobody with the pinned key gave, on mpgameserver's wire.
    forged: u32,
    /// When it ended.
    ended: Option<Time>,
}

impl Session {
    /// Starts the handshake. Errors: Io (no randomness).
    pub(super) fn connect(
        now: Time,
        config: &ClientConfig,
        settings: &Arc<Settings>,
        server: SocketAddr,
    ) -> Result<Session> {
        let pinned = match &config.server_key {
            ServerKey::Pinned(keys) => keys.clone(),
            ServerKey::Any => KnownKeys::default(),
        };
        let (shared, provider) = (Arc::clone(settings), RingProvider::new());
        let connection = match config.wire {
            Wire::Native => {
                let join = Join { password: config.password.clone(), data: config.join_data.clone() };
                Connection::native_connect(now, shared, pinned.native, join, &provider, server)
            }
            Wire::Stream => {
                let connection = Session::open_stream(now, config, shared, server)?;
                Ok(Connection::Stream(Box::new(connection), server))
            }
            Wire::Mpgameserver => {
                let root = pinned.root.as_ref().map(|key| *key.point());
                Connection::connect(now, shared, root, &provider, server)
            }
        };
        let connection =
            connection.map_err(|_| Error::new(ErrorKind::Io, "the system gives no randomness"))?;
        let settings = Arc::clone(settings);
        Ok(Session { connection, settings, server, pinned, connected: false, forged: 0, ended: None })
    }

    /// The first half of a session in a stream, which nothing carries yet.
    fn open_stream(
        now: Time,
        config: &ClientConfig,
        settings: Arc<Settings>,
        server: SocketAddr,
    ) -> Result<Stream> {
        let told = config.stream.password_in_clear || config.stream.is_protected();
        if config.password.is_some() && !told && !server.ip().is_loopback() {
            let text = "the password would be told where others can read it: the server is not on loopback, and no TLS \
                        proves who it is";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        let terms = Terms {
            door: Door::Stream,
            framing: config.stream.framing,
            password: false,
            answer_time: Duration::ZERO,
            stall_timeout: config.stream.stall_timeout,
        };
        let limits = settings.limits.clone();
        let password = config.password.as_deref();
        let opened = Stream::opened(now, settings, terms, password).map(|mut stream| {
            if config.stream.files {
                stream.ask_for_files(now);
            }
            stream
        });
        opened.map_err(|error| {
            let len = password.map_or(0, <[u8]>::len);
            send_refused(error, &"the client", ErrorKind::Argument, len, &limits, limits.max_message)
        })
    }

    // --- getters --------------------------------------------------------------------------------------

    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Messages flow, and new ones are taken.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.state() == State::Connected
    }

    /// Both ends take part in transfers of files.
    pub(super) fn takes_files(&self) -> bool {
        self.connection.takes_files()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connection.state() == State::Connecting
    }

    /// Nobody has proved yet to be there. A server that has may take its time to let us in.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is_connecting() && !self.has_welcome()
    }

    /// The server has answered on the native wire, where that does not connect us yet.
    pub(super) fn has_welcome(&self) -> bool {
        self.connection.as_native().is_some_and(|native| native.server_key().is_some())
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.connection.state() == State::Lingering
    }

    /// Nothing is left to say or to answer.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.state() == State::Closed
    }

    /// The server has heard our goodbye, or we have said it as often as we do.
    pub(super) fn is_farewell_over(&self, now: Time) -> bool {
        let said = GOODBYES.last().copied().unwrap_or_default();
        self.is_closed()
            || self.connection.is_goodbye_acknowledged()
            || self.ended.is_some_and(|ended| now >= ended + said)
    }

    /// Its stream, where it is one.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.connection.as_stream()
    }

    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.connection.as_stream_mut()
    }

    pub(super) fn door(&self) -> Door {
        self.connection.door()
    }

    pub(super) fn token(&self) -> u32 {
        self.connection.token()
    }

    /// The keys that the server has proved to have.
    pub(super) fn server_key(&self) -> KnownKeys {
        if !self.connected {
            return KnownKeys::default();
        }
        match self.connection.as_native() {
            Some(native) => KnownKeys { native: native.server_key(), root: None },
            None => KnownKeys { native: None, root: self.pinned.root },
        }
    }

    pub(super) fn server_clock(&self) -> ServerClock {
        self.connection.as_native().map(|native| *native.server_clock()).unwrap_or_default()
    }

    /// Whether the datagram that was given last probes the path.
    pub(super) fn is_probe(&self) -> bool {
        self.connection.is_probe()
    }

    pub(super) fn latency(&self) -> Duration {
        self.connection.latency()
    }

    pub(super) fn queued(&self) -> (usize, usize) {
        (self.connection.queued_messages(), self.connection.queued_bytes())
    }

    pub(super) fn stats(&self) -> PeerStats {
        self.connection.stats()
    }

    // --- input and commands -----------------------------------------------------------------------------

    /// Takes a datagram in. Whose it is not is thrown away, and told.
    pub(super) fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
        room: &mut Room,
    ) -> std::result::Result<(), DropReason> {
        let connecting = self.is_connecting();
        let taken = self.connection.handle_datagram(now, from, datagram, room);
        // On the native wire nothing comes from a server with another key, which cannot read the hello: what is forged there is
        // somebody else's, and tells nothing of the server.
        let tells = matches!(self.connection, Connection::Mpgameserver(..));
        if connecting && tells && taken == Err(DropReason::Forged) {
            self.forged = self.forged.saturating_add(1);
        }
        taken
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.connection.handle_timeout(now);
    }

    /// Queues a message; a tag other than 0 asks for what becomes of it. Errors: State, WouldBlock, TooLarge.
    pub(super) fn send(
        &mut self,
        now: Time,
        payload: Payload,
        content: Option<Box<Content>>,
        delivery: Delivery,
        tag: u64,
    ) -> Result<()> {
        let (len, limits) = (payload.len(), &self.settings.limits);
        let most = self.connection.as_native().map_or(limits.max_message, |native| native.max_message());
        self.connection
            .send_content(now, payload, content, delivery, tag)
            .map_err(|error| send_refused(error, &"the client", ErrorKind::State, len, limits, most))
    }

    /// Keeps messages back until then.
    pub(super) fn hold(&mut self, until: Time) {
        self.connection.hold(until);
    }

    /// Ends it: at once, or when what is queued is acknowledged.
    pub(super) fn close(&mut self, now: Time, after_delivery: bool) {
        self.connection.close(now, after_delivery, Farewell::of(FarewellKind::Left));
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// Appends the next datagram to `out`, and says where it goes.
    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.connection.poll_transmit(now, out)
    }

    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        self.connection.poll_timeout(now)
    }

    pub(super) fn poll_event(&mut self, now: Time) -> Option<SessionEvent> {
        Some(match self.connection.poll_event()? {
            ConnectionEvent::Connected => {
                self.connected = true;
                SessionEvent::Connected
            }
            ConnectionEvent::Message { mode: Some(Mode::Files), data, .. } => SessionEvent::File(data),
            ConnectionEvent::Message { sequence, channel, mode, data, content } => {
                let door = self.connection.door();
                let mode = mode.map(RetryMode::of);
                SessionEvent::Message(Message { sequence, channel, mode, data, content, door })
            }
            // Only servers are asked.
            ConnectionEvent::Join { .. } => return self.poll_event(now),
            ConnectionEvent::Sent { tag, outcome } => SessionEvent::Sent(
                tag,
                match outcome {
                    Sent::Delivered => Outcome::Delivered,
                    Sent::Expired => Outcome::Expired,
                    Sent::Cancelled => Outcome::Cancelled,
                },
            ),
            ConnectionEvent::Writable => SessionEvent::Writable,
            ConnectionEvent::Closed(closing) => {
                self.ended = Some(now);
                SessionEvent::Closed(self.farewell(&closing))
            }
        })
    }

    fn farewell(&self, closing: &Closing) -> DisconnectInfo {
        let (server, said) = (self.server, &closing.farewell);
        let (reason, text) = match closing.reason {
            CloseReason::Local => (DisconnectReason::Local, "this end left".to_owned()),
            CloseReason::Remote => {
                let (reason, text) = match said.kind {
                    FarewellKind::Left => (DisconnectReason::Remote, "the server ended the session"),
                    FarewellKind::Refused => (DisconnectReason::Refused, "the server did not let us in"),
                    FarewellKind::Kicked => (DisconnectReason::Kicked, "the server's host sent us away"),
                    FarewellKind::Shutdown => (DisconnectReason::Shutdown, "the server ends"),
                    FarewellKind::Protocol => (DisconnectReason::Protocol, "the server could not read us"),
                    FarewellKind::Timeout => (DisconnectReason::Timeout, "the server heard nothing of us"),
                    FarewellKind::Replaced => (DisconnectReason::Replaced, "another client took our place"),
                    FarewellKind::Blocked => (DisconnectReason::Blocked, "the server blocks our address"),
                };
                (reason, if said.text.is_empty() { text.to_owned() } else { said.text.clone() })
            }
            CloseReason::Restarted => {
                let text = "the server was started anew and does not know us";
                (DisconnectReason::Restarted, text.to_owned())
            }
            CloseReason::Protocol => (DisconnectReason::Protocol, "the protocol was broken".to_owned()),
            CloseReason::Timeout if self.connected => {
                (DisconnectReason::Timeout, "the server fell silent".to_owned())
            }
            CloseReason::Timeout if self.has_welcome() => {
                let text = format!("the server at {server} answered, and did not let us in");
                (DisconnectReason::Timeout, text)
            }
            CloseReason::Timeout if self.forged > 0 => {
                (DisconnectReason::Key, format!("what answered at {server} does not have the pinned key"))
            }
            CloseReason::Timeout => match self.versions() {
                // Who does not have the key cannot read our hello.
                [] if self.pinned.native.is_some() => {
                    let text = format!("nobody answered at {server} who has the pinned key");
                    (DisconnectReason::Timeout, text)
                }
                [] => (DisconnectReason::Timeout, format!("nobody answered at {server}")),
                versions => {
                    let text =
                        format!("the server at {server} speaks version {versions:?} of the protocol only");
                    (DisconnectReason::Protocol, text)
                }
            },
        };
        DisconnectInfo { reason, code: said.code, text }
    }

    /// The versions that the server is said to speak where ours is not among them.
    fn versions(&self) -> &[u32] {
        self.connection.as_native().map_or(&[], |native| native.versions())
    }
}
