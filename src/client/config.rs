//! What the host of a client can set, each value with its unit, default, range and consequence.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::keys::PublicKey;
use crate::protocol::connection::Settings;
use crate::protocol::files::Quota;
use crate::server::config::Config;
use crate::server::password::MAX_PASSWORD_BYTES;

pub use super::stream::{StreamClient, StreamTls, TlsTrust};
pub use crate::server::stream_door::Framing;

/// Longest join data in bytes: it travels in one datagram.
pub const MAX_JOIN_DATA: usize = 768;

/// How client and server talk. Both must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Wire {
    /// gamekeeper's own protocol.
    #[default]
    Native = 2,
    /// The protocol of mpgameserver, whose servers it reaches too. It has no join data and no password.
    Mpgameserver = 1,
    /// A stream of bytes over TCP, to a server's door for streams. Without [`StreamClient::tls`] nothing of it is protected on
    /// its way, and nothing proves who the server is.
    Stream = 3,
}

/// Public keys of one server, as far as they are known: one per wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeys {
    /// X25519, for the native wire.
    pub native: Option<[u8; 32]>,
    /// ECDSA P-256, for mpgameserver's wire: the public part of the server's root key.
    pub root: Option<PublicKey>,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerKey {
    /// A server that proves that it has the private part of this key, and nobody else.
    Pinned(KnownKeys),
    /// Whoever answers. What is sent cannot be read on the way, but who reads it at its end is not known: for
    /// development, or where something else tells.
    Any,
}

/// The configuration of a client. Inert: the client copies it when it starts. Values that a server has too
/// have its names, defaults and ranges; there is none for whom to believe.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How to talk. Default: native.
    pub wire: Wire,
    /// Of a client that talks in a stream: how.
    pub stream: StreamClient,
    /// Whom to believe. In a stream it can only be whoever answers: what proves a server there is [`StreamClient::tls`].
    pub server_key: ServerKey,
    /// What the server's host gets to see before it lets the client in: a name, a ticket. Default empty, at most
    /// 768 bytes (`MAX_JOIN_DATA`).
    pub join_data: Vec<u8>,
    /// The server's password, if it wants one: whatever bytes its host chose. Default none, 1 to 256 bytes
    /// (`MAX_PASSWORD_BYTES`).
    pub password: Option<Vec<u8>>,
    /// Native wire: as a server's, see [`Config::redundancy`]. Default 0, range 0 to 4.
    pub redundancy: u8,
    /// `update` events per second. Default 60, range 1 to 10,000.
    pub tick_rate_hz: f64,
    /// A server that got nothing for this long is sent an empty datagram, which carries acks.
    /// Default 0.1 s, range 10 ms to 60 s.
    pub keep_alive_interval: Duration,
    /// A server from which no valid datagram came for this long is taken for gone. Default 5 s, range 100 ms
    /// to 1 h.
    pub connection_timeout: Duration,
    /// An address that has not answered for this long is given up. Default 2 s, range 100 ms to 60 s. Of several
    /// addresses of a host name all but the last get at most a second (`MAX_ATTEMPT`). On the native wire a server that
    /// has answered may take longer to let the client in: the client waits while it hears it (`connection_timeout`), an
    /// hour more at most (`MAX_DECISION_TIME`).
    pub handshake_timeout: Duration,
    /// An unreliable or best-effort message whose datagram was not acknowledged for this long is
    /// reported as expired. Default 1 s, range 50 ms to 60 s.
    pub message_timeout: Duration,
    /// Least time between two datagrams that are not full. Default 1/60 s, range 0 to 1 s; 0 sends at once.
    pub send_interval: Duration,
    /// As a server's: see [`Config::reassembly_timeout`]. Default 5 s, range 100 ms to 10 min.
    pub reassembly_timeout: Duration,
    /// Largest IP packet in bytes; a datagram carries 28 less. Default 1500, range 576 to 1500.
    /// On mpgameserver's wire the server must use the same value: it answers no shorter hello.
    pub mtu: u16,
    /// Longest message in bytes, each way. Default 8 MiB, range 1 to that.
    pub max_message_size: usize,
    /// Messages queued and not yet acknowledged, at most; a full queue answers `WouldBlock`.
    /// Default 4096, range 1 to 1,000,000.
    pub max_queued_messages: u32,
    /// The same in bytes of payload. A message is taken when the queue is empty even if it is larger.
    /// Default 16 MiB, range 1024 to 1 GiB.
    pub max_queued_bytes: usize,
    /// Bytes of unfinished messages kept; a fragment above it is refused unacknowledged, so that the server
    /// repeats it. Default 16 MiB, range 2048 to 1 GiB.
    pub max_reassembly_bytes: usize,
    /// Events kept for a host that pulls them; 0 (the default): events go to callbacks only. Above it messages
    /// are refused unacknowledged and counted, and a send that asks for an event of its own answers
    /// `WouldBlock`. Range 0 to 10,000,000.
    pub max_queued_events: u32,
    /// Bytes of message payload kept for a host that pulls events; the consequence is the same.
    /// Default 64 MiB, range 64 KiB to 4 GiB.
    pub max_queued_event_bytes: usize,
    /// Bytes per second that the server, a client's only peer, is sent on average, in bursts of a tenth of a second.
    /// Messages beyond it wait in the queue; datagrams that carry none (acknowledgements, goodbyes) leave all the same,
    /// and count. Default 0 (no limit), range 0, or 1000 to 1,000,000,000.
    pub peer_send_rate: u64,
    /// How long after the last datagram the loop looks again and again without sleeping; as a server's, see
    /// [`Config::busy_poll`]. Default 0 (it sleeps at once), range 0 to 1 s.
    pub busy_poll: Duration,
    /// Bytes asked of the kernel for the socket's receive buffer. Default 4 MiB, range 4096 to 1 GiB.
    pub socket_receive_bytes: usize,
    /// The same for sending.
    pub socket_send_bytes: usize,
    /// Whether files can be sent to the server and received from it, where it takes part, too: on the native wire, and in a
    /// stream that says so ([`StreamClient::files`]); as a server's, see [`Config::files`]. Default none.
    pub files: Option<Quota>,
}

impl ClientConfig {
    /// All defaults, for a server with this key.
    pub fn new(server_key: ServerKey) -> ClientConfig {
        ClientConfig::of(&Config::default(), server_key)
    }

    /// The values that both ends have, from a server's configuration; the rest are defaults.
    pub fn of(config: &Config, server_key: ServerKey) -> ClientConfig {
        ClientConfig {
            wire: Wire::default(),
            stream: StreamClient::default(),
            server_key,
            join_data: Vec::new(),
            password: None,
            redundancy: config.redundancy,
            tick_rate_hz: config.tick_rate_hz,
            keep_alive_interval: config.keep_alive_interval,
            connection_timeout: config.connection_timeout,
            handshake_timeout: config.handshake_timeout,
            message_timeout: config.message_timeout,
            send_interval: config.send_interval,
            reassembly_timeout: config.reassembly_timeout,
            mtu: config.mtu,
            max_message_size: config.max_message_size,
            max_queued_messages: config.max_queued_messages,
            max_queued_bytes: config.max_queued_bytes,
            max_reassembly_bytes: config.max_reassembly_bytes,
            max_queued_events: config.max_queued_events,
            max_queued_event_bytes: config.max_queued_event_bytes,
            peer_send_rate: config.peer_send_rate,
            busy_poll: config.busy_poll,
            socket_receive_bytes: config.socket_receive_bytes,
            socket_send_bytes: config.socket_send_bytes,
            files: config.files,
        }
    }

    /// A server's configuration with these values: the ranges are the same, and so is what the protocol takes.
    fn as_servers(&self) -> Config {
        Config {
            redundancy: self.redundancy,
            tick_rate_hz: self.tick_rate_hz,
            keep_alive_interval: self.keep_alive_interval,
            connection_timeout: self.connection_timeout,
            handshake_timeout: self.handshake_timeout,
            message_timeout: self.message_timeout,
            send_interval: self.send_interval,
            reassembly_timeout: self.reassembly_timeout,
            mtu: self.mtu,
            max_message_size: self.max_message_size,
            max_queued_messages: self.max_queued_messages,
            max_queued_bytes: self.max_queued_bytes,
            max_reassembly_bytes: self.max_reassembly_bytes,
            max_queued_events: self.max_queued_events,
            max_queued_event_bytes: self.max_queued_event_bytes,
            peer_send_rate: self.peer_send_rate,
            busy_poll: self.busy_poll,
            socket_receive_bytes: self.socket_receive_bytes,
            socket_send_bytes: self.socket_send_bytes,
            files: self.files,
            ..Config::default()
        }
    }

    /// Checks every value against its range, and what the wire can carry; the error names the value. Errors:
    /// Argument, Key (no key of the server for this wire is pinned).
    pub fn validate(&self) -> Result<()> {
        self.as_servers().validate()?;
        if self.join_data.len() > MAX_JOIN_DATA {
            let text = format!("join_data has {} bytes, allowed are {MAX_JOIN_DATA}", self.join_data.len());
            return Err(Error::new(ErrorKind::Argument, text));
        }
        if let Some(len) =
            self.password.as_ref().map(Vec::len).filter(|n| !(1..=MAX_PASSWORD_BYTES).contains(n))
        {
            let text = format!("password has {len} bytes, allowed are 1 to {MAX_PASSWORD_BYTES}");
            return Err(Error::new(ErrorKind::Argument, text));
        }
        if self.wire == Wire::Mpgameserver && !(self.join_data.is_empty() && self.password.is_none()) {
            let text = "mpgameserver's wire carries no join data and no password";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        if self.wire == Wire::Stream && !self.join_data.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "a stream carries no join data"));
        }
        if self.wire == Wire::Stream {
            self.stream.validate()?;
        }
        if self.wire == Wire::Stream && self.stream.files {
            let text = match (self.stream.framing, self.files) {
                (Framing::Length, Some(_)) => "",
                (Framing::Length, None) => "a stream with files: the configuration has not enabled files",
                _ => "a stream with files needs the framing with lengths",
            };
            if !text.is_empty() {
                return Err(Error::new(ErrorKind::Argument, text));
            }
        }
        let protected = self.wire != Wire::Stream;
        if self.password.is_some() && self.server_key == ServerKey::Any && protected {
            let text = "a password is told to nobody but a server whose key is pinned";
            return Err(Error::new(ErrorKind::Key, text));
        }
        self.check_key()
    }

    fn check_key(&self) -> Result<()> {
        let ServerKey::Pinned(keys) = &self.server_key else { return Ok(()) };
        let (pinned, what) = match self.wire {
            Wire::Native => (keys.native.is_some(), "the native wire needs the server's X25519 key"),
            Wire::Mpgameserver => (keys.root.is_some(), "mpgameserver's wire needs the server's P-256 key"),
            Wire::Stream => {
                let text =
                    "a stream proves no key: nobody can be pinned there, only whoever answers believed";
                return Err(Error::new(ErrorKind::Key, text));
            }
        };
        if pinned {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Key, format!("{what}, and none is pinned")))
    }

    pub(super) fn protocol_settings(&self) -> Arc<Settings> {
        self.as_servers().protocol_settings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RootKey;

    #[test]
    fn defaults_are_the_servers_and_ranges_too() {
        let config = ClientConfig::new(ServerKey::Any);
        config.validate().unwrap();
        let theirs = format!("{:?}", Config::default());
        assert_eq!(format!("{:?}", config.as_servers()), theirs);
        let wrong = ClientConfig { mtu: 100, ..config };
        let error = wrong.validate().unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.message().starts_with("mtu is 100"), "{error}");
    }

    #[test]
    fn every_value_reaches_the_servers_configuration_and_comes_back() {
        let other = Config {
            tick_rate_hz: 30.0,
            keep_alive_interval: Duration::from_millis(111),
            connection_timeout: Duration::from_secs(7),
            handshake_timeout: Duration::from_secs(3),
            message_timeout: Duration::from_secs(4),
            send_interval: Duration::from_millis(5),
            reassembly_timeout: Duration::from_secs(6),
            mtu: 1400,
            max_message_size: 1001,
            max_queued_messages: 1002,
            max_queued_bytes: 1 << 17,
            max_reassembly_bytes: 1 << 18,
            max_queued_events: 1003,
            max_queued_event_bytes: 1 << 19,
            peer_send_rate: 1004,
            busy_poll: Duration::from_micros(1005),
            socket_receive_bytes: 1 << 15,
            socket_send_bytes: 1 << 16,
            ..Config::default()
        };
        let config = ClientConfig::of(&other, ServerKey::Any);
        assert_eq!(format!("{:?}", config.as_servers()), format!("{other:?}"));
    }

    #[test]
    fn what_the_wire_cannot_carry_is_refused() {
        let any = ClientConfig::new(ServerKey::Any);
        let kind = |config: &ClientConfig| config.validate().err().map(|error| error.kind());
        let mp = ClientConfig { wire: Wire::Mpgameserver, ..any.clone() };
        assert_eq!(kind(&mp), None);
        let refused = Some(ErrorKind::Argument);
        assert_eq!(kind(&ClientConfig { join_data: vec![1], ..mp.clone() }), refused);
        assert_eq!(kind(&ClientConfig { password: Some(b"x".to_vec()), ..mp.clone() }), refused);
        assert_eq!(kind(&ClientConfig { join_data: vec![1; MAX_JOIN_DATA], ..any.clone() }), None);
        assert_eq!(kind(&ClientConfig { join_data: vec![1; MAX_JOIN_DATA + 1], ..any.clone() }), refused);
        let root = RootKey::generate().unwrap().public_key();
        let keys = KnownKeys { native: None, root: Some(root) };
        let pinned = ClientConfig { server_key: ServerKey::Pinned(keys), ..any };
        assert_eq!(kind(&pinned), Some(ErrorKind::Key), "a key for the other wire");
        assert_eq!(kind(&ClientConfig { wire: Wire::Mpgameserver, ..pinned }), None);
    }

    #[test]
    fn passwords_are_any_bytes_within_their_range_and_for_pinned_servers() {
        let keys = KnownKeys { native: Some([7; 32]), root: None };
        let pinned = ClientConfig::new(ServerKey::Pinned(keys));
        let refused = Some(ErrorKind::Argument);
        for (len, wanted) in
            [(0, refused), (1, None), (MAX_PASSWORD_BYTES, None), (MAX_PASSWORD_BYTES + 1, refused)]
        {
            let config = ClientConfig { password: Some(vec![0xff; len]), ..pinned.clone() };
            assert_eq!(config.validate().err().map(|error| error.kind()), wanted, "{len} bytes");
        }
        let told = ClientConfig { password: Some(b"sesame".to_vec()), ..ClientConfig::new(ServerKey::Any) };
        assert_eq!(told.validate().unwrap_err().kind(), ErrorKind::Key);
    }
}
