//! What a host says of a door for streams.

use std::net::IpAddr;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::net::address::ListenAddress;
use crate::protocol::framing::DEFAULT_READ_BYTES;

pub use crate::net::tls::TlsFiles;
pub use crate::protocol::framing::Framing;

/// Doors for streams that a server can have.
pub const MAX_STREAM_DOORS: usize = 16;
/// Most bytes that one read can take.
pub const MAX_READ_BYTES: usize = 1 << 20;

/// Connections that one source may have at a door at least, where the host sets no bound: behind an address can be a school.
pub const MIN_DEFAULT_PER_SOURCE: u32 = 16;
/// Which part of a door's connections one source may have, where the host sets no bound.
const DEFAULT_SHARE: u32 = 4;

/// A door for streams: TCP.
#[derive(Clone, Debug)]
pub struct StreamDoor {
    /// Where it listens; the forms are those of [`crate::Server::start`].
    pub address: String,
    /// How messages are told apart.
    pub framing: Framing,
    /// Bytes that one read takes at most: the longest message of a raw stream. Default 4096, range 1 to 1 MiB.
    pub read_bytes: usize,
    /// Connections at once, at most. Who comes above it takes the place of the newcomer that has been silent for longest (its
    /// password, or its part of TLS, is still awaited), and is sent away where there is none. Default 0: as many as the server
    /// takes peers.
    pub max_connections: u32,
    /// Connections at once from one source (an IPv4 address or an IPv6 /64, loopback like any other), at most; who comes
    /// above it is sent away. Default 0: a quarter of the door's connections, at least 16 (`MIN_DEFAULT_PER_SOURCE`).
    pub max_connections_per_source: u32,
    /// How long a message may stand still that has begun, in either direction: less than a kilobyte of it in this time ends
    /// the connection. Silence between messages is no stall. Default 30 s, range 100 ms to 1 h.
    pub stall_timeout: Duration,
    /// The certificate and key by which it speaks TLS, and nothing else. Default none: nothing is protected.
    pub tls: Option<TlsFiles>,
    /// Takes the server's password also where others can read it on the way: without TLS and not on loopback. Default
    /// no: a server that has both does not start.
    pub password_in_clear: bool,
    /// Files come in here, within the server's quota ([`Config::files`](crate::server::config::Config::files), which must be
    /// set). Where messages have lengths, clients that ask for it send and receive them beside messages, and programs that
    /// do not ask notice nothing. A raw door is for nothing else then: what a program writes is one file in the plainest form, its
    /// name, a space and its bytes, up to the end of its half; a server with a password has no such door. Other framings have no room
    /// for files. Default no.
    pub files: bool,
}

impl StreamDoor {
    /// All defaults.
    pub fn new(address: impl Into<String>, framing: Framing) -> StreamDoor {
        StreamDoor {
            address: address.into(),
            framing,
            read_bytes: DEFAULT_READ_BYTES,
            max_connections: 0,
            max_connections_per_source: 0,
            stall_timeout: Duration::from_secs(30),
            tls: None,
            password_in_clear: false,
            files: false,
        }
    }

    /// Connections at once of a server with so many peers: in all, and from one source.
    pub(crate) fn bounds(&self, max_peers: u32) -> (u32, u32) {
        let all = if self.max_connections > 0 { self.max_connections } else { max_peers };
        let share = (all / DEFAULT_SHARE).max(MIN_DEFAULT_PER_SOURCE);
        let each = if self.max_connections_per_source > 0 { self.max_connections_per_source } else { share };
        (all, each)
    }

    /// Checks every value against its range; the error names the value and the range.
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Argument, text));
        if self.framing == Framing::Whole {
            return wrong("framing: TCP tells no messages apart by itself".into());
        }
        if !(1..=MAX_READ_BYTES).contains(&self.read_bytes) {
            let text = format!("read_bytes is {}, allowed is 1 to {MAX_READ_BYTES}", self.read_bytes);
            return wrong(text);
        }
        if self.files && !matches!(self.framing, Framing::Length | Framing::Raw) {
            return wrong("files: only doors with the framings raw and length have room for them".into());
        }
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(3600));
        if !(least..=most).contains(&self.stall_timeout) {
            let text = format!("stall_timeout is {:?}, allowed is {least:?} to {most:?}", self.stall_timeout);
            return wrong(text);
        }
        Ok(())
    }

    /// Where it listens. With a password it must be where nobody listens in, or be told that this does not matter.
    /// Errors: Address; Argument.
    pub(crate) fn listen_address(&self, password: bool) -> Result<ListenAddress> {
        let address = ListenAddress::parse(&self.address)?;
        if password && self.tls.is_none() && !self.password_in_clear && !is_loopback(address.socket.ip()) {
            let text = format!(
                "the door for streams at {} would take the password in clear: give it TLS, let it listen on \
                 loopback, or say that it may (password_in_clear)",
                self.address
            );
            return Err(Error::new(ErrorKind::Argument, text));
        }
        Ok(address)
    }
}

/// Whether nobody but this machine hears what is said there.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
