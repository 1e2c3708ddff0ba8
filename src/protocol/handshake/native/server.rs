//! The server's side: its identity, the hellos that it reads, and what it remembers of those that it accepted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::noise::{self, Pattern, PrivateKey, StaticKey};
use super::{
    echo, packet, take, NativeKey, Secrets, Welcome, COOKIE_LEN, HELLO_LEN, RESET_TOKEN_LEN, VERSION,
    VERSIONS_ECHO,
};
use crate::protocol::crypto::{is_equal, CryptoError, Provider};
use crate::protocol::mutant;
use crate::protocol::time::Time;

/// How long a cookie is taken, in seconds. A client uses it after one round trip.
pub const COOKIE_LIFETIME_S: u32 = 10;

/// Bytes of a cookie that say when it was made.
const COOKIE_TIME_LEN: usize = 4;

/// Bytes of a cookie's authenticator.
const COOKIE_TAG_LEN: usize = COOKIE_LEN - COOKIE_TIME_LEN;

/// Bytes of the longest first message.
const MAX_HELLO_MESSAGE: usize = Pattern::Nk.hello_message_len();

const KEY_SALT: &[u8] = b"gamekeeper x25519";
const STATIC_KEY_INFO: &[u8] = b"native 1";
const RESET_KEY_INFO: &[u8] = b"reset 1";

/// Why a datagram is no hello for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// Not of the wire, or too short to be answered.
    Malformed,
    /// Of another version; [`write_versions`] answers it.
    Version,
}

/// What the server keeps of a hello until it has time for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What the client knows of the server.
    pub pattern: Pattern,
    /// The client's ephemeral key: tells a repeated hello from a new client's.
    pub client: NativeKey,
    message: [u8; MAX_HELLO_MESSAGE],
    cookie: Option<[u8; COOKIE_LEN]>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hello { pattern, client, message: _, cookie } = self;
        let mut shown = f.debug_struct("Hello");
        shown.field("pattern", pattern).field("client", &&client[..4]).field("cookie", &cookie.is_some());
        shown.finish_non_exhaustive()
    }
}

impl Hello {
    /// Reads a hello. One of another version is recognised if it is at least [`HELLO_LEN`] long; one of ours has
    /// exactly that length, and nothing but zeros behind its message.
    pub fn parse(datagram: &[u8]) -> Result<Hello, HelloError> {
        if datagram.len() < HELLO_LEN || datagram.first() != Some(&packet::HELLO) {
            return Err(HelloError::Malformed);
        }
        let mut rest = &datagram[1..];
        match take(&mut rest).map(u32::from_be_bytes) {
            Some(VERSION) if datagram.len() == HELLO_LEN => {}
            Some(VERSION) | None => return Err(HelloError::Malformed),
            Some(_) => return Err(HelloError::Version),
        }
        Hello::parse_body(rest).ok_or(HelloError::Malformed)
    }

    /// What stands behind the version.
    fn parse_body(mut rest: &[u8]) -> Option<Hello> {
        let [pattern, cookie_len] = take(&mut rest)?;
        let pattern = Pattern::from_wire(pattern)?;
        let cookie = match usize::from(cookie_len) {
            0 => None,
            COOKIE_LEN => Some(take(&mut rest)?),
            _ => return None,
        };
        let (used, padding) = rest.split_at_checked(pattern.hello_message_len())?;
        let mut message = [0; MAX_HELLO_MESSAGE];
        message.get_mut(..used.len())?.copy_from_slice(used);
        let client = *message.first_chunk()?;
        padding.iter().all(|byte| *byte == 0).then_some(Hello { pattern, client, message, cookie })
    }

    /// Whether it brings a cookie, right or wrong.
    pub fn has_cookie(&self) -> bool {
        self.cookie.is_some()
    }

    /// The first message of Noise.
    fn message(&self) -> &[u8] {
        &self.message[..self.pattern.hello_message_len()]
    }
}

/// Appends the answer to a hello of another version: the versions that are spoken here. Nothing, if the datagram is
/// shorter than a hello.
pub fn write_versions(hello: &[u8], out: &mut Vec<u8>) {
    let Some(echo) = hello.get(VERSIONS_ECHO).filter(|_| hello.len() >= HELLO_LEN) else { return };
    out.push(packet::VERSIONS);
    out.extend_from_slice(echo);
    out.extend_from_slice(&VERSION.to_be_bytes());
}

/// The server's private X25519 key, made from its root key's private number.
fn static_private_key(root: &[u8; 32]) -> Result<PrivateKey, CryptoError> {
    derive(root, STATIC_KEY_INFO)
}

fn derive(root: &[u8; 32], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, KEY_SALT)
        .extract(root)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .map_err(|_| CryptoError)?;
    Ok(key)
}

/// What a server is known by on this wire, and what it makes its stateless answers with.
pub struct Identity {
    key: StaticKey,
    reset: hmac::Key,
    cookie: hmac::Key,
}

impl fmt::Debug for Identity {
    /// Shows the public part only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.key.public).finish_non_exhaustive()
    }
}

impl Identity {
    /// From the private number of the root key (P-256, big-endian): with the same one, key and reset tokens are the
    /// same again. Cookies are of this identity alone.
    pub fn new(root: &[u8; 32], provider: &dyn Provider) -> Result<Self, CryptoError> {
        let key = StaticKey::new(&*static_private_key(root)?);
        let reset = hmac::Key::new(hmac::HMAC_SHA256, &*derive(root, RESET_KEY_INFO)?);
        let mut cookie = Zeroizing::new([0; 32]);
        provider.random(&mut *cookie)?;
        Ok(Identity { key, reset, cookie: hmac::Key::new(hmac::HMAC_SHA256, &*cookie) })
    }

    /// The public key that [`new`](Self::new) would give, for clients to pin.
    pub fn public_of(root: &[u8; 32]) -> Result<NativeKey, CryptoError> {
        Ok(noise::public_key(&*static_private_key(root)?))
    }

    /// The key for clients to pin.
    pub fn public(&self) -> NativeKey {
        self.key.public
    }

    /// What tells the peer of a connection that this server does not know it any more.
    pub fn reset_token(&self, connection_id: u32) -> [u8; RESET_TOKEN_LEN] {
        first_bytes(hmac::sign(&self.reset, &connection_id.to_be_bytes()).as_ref())
    }

    /// Appends a RESET: the answer to data for a connection that is not known.
    pub fn write_reset(&self, connection_id: u32, out: &mut Vec<u8>) {
        out.push(packet::RESET);
        out.extend_from_slice(&self.reset_token(connection_id));
    }

    /// Appends a COOKIE: the answer to a hello from an address that shall show first that it receives. Nothing is
    /// remembered of it.
    pub fn write_cookie(&self, now: Time, address: SocketAddr, hello: &Hello, out: &mut Vec<u8>) {
        let time = now.unix_seconds().to_be_bytes();
        out.push(packet::COOKIE);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(echo(&hello.client));
        out.extend_from_slice(&time);
        out.extend_from_slice(&self.cookie_tag(time, address, hello));
    }

    /// Whether the hello brings a cookie that was made for it, at this address, in the last
    /// [`COOKIE_LIFETIME_S`] seconds.
    pub fn cookie_valid(&self, now: Time, address: SocketAddr, hello: &Hello) -> bool {
        let Some(cookie) = &hello.cookie else { return false };
        let mut rest = &cookie[..];
        let (Some(time), Some(tag)) = (take(&mut rest), take(&mut rest)) else { return false };
        let age = now.unix_seconds().checked_sub(u32::from_be_bytes(time));
        age.is_some_and(|age| age <= COOKIE_LIFETIME_S)
            && (is_equal(&tag, &self.cookie_tag(time, address, hello)) || mutant!(CookieUnchecked))
    }

    fn cookie_tag(
        &self,
        time: [u8; COOKIE_TIME_LEN],
        address: SocketAddr,
        hello: &Hello,
    ) -> [u8; COOKIE_TAG_LEN] {
        let mut hash = hmac::Context::with_key(&self.cookie);
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                hash.update(&[4]);
                hash.update(&ip.octets());
            }
            IpAddr::V6(ip) => {
                hash.update(&[6]);
                hash.update(&ip.octets());
            }
        }
        hash.update(&address.port().to_be_bytes());
        hash.update(&time);
        hash.update(&VERSION.to_be_bytes());
        hash.update(&[hello.pattern.to_wire()]);
        hash.update(hello.message());
        first_bytes(hash.sign().as_ref())
    }

    /// Does the key exchange, the one costly thing that a stranger can ask for. Fails when the client pins another
    /// server's key, or its own cannot be agreed with. The handshake is to be forgotten `timeout` from now.
    pub fn accept(
        &self,
        now: Time,
        address: SocketAddr,
        hello: &Hello,
        welcome: &Welcome,
        timeout: Duration,
        provider: &dyn Provider,
    ) -> Result<ServerHandshake, CryptoError> {
        let mut payload = Vec::with_capacity(Welcome::LEN);
        welcome.write(&mut payload);
        let ephemeral = noise::draw(provider)?;
        let (message, secrets) =
            noise::respond(hello.pattern, &self.key, ephemeral, hello.message(), &payload)?;
        let mut answer = Vec::with_capacity(1 + 4 + super::ECHO_LEN + message.len());
        answer.push(packet::WELCOME);
        answer.extend_from_slice(&VERSION.to_be_bytes());
        answer.extend_from_slice(echo(&hello.client));
        answer.extend_from_slice(&message);
        Ok(ServerHandshake {
            address,
            client: hello.client,
            connection_id: welcome.connection_id,
            token: welcome.token,
            started: now,
            expires: now + timeout,
            secrets,
            answer,
            due: true,
        })
    }
}

/// The front of a hash of 32 bytes.
fn first_bytes<const N: usize>(hash: &[u8]) -> [u8; N] {
    const { assert!(N <= 32, "no more than the hash has") }
    std::array::from_fn(|i| hash.get(i).copied().unwrap_or_default())
}

/// A hello that the server accepted and whose client has not shown yet that it has the secrets: the first packet
/// that opens under them does. Costs about half a kilobyte; the table of these is bounded.
#[derive(Debug)]
pub struct ServerHandshake {
    /// Where the hello came from.
    pub address: SocketAddr,
    /// The client's ephemeral key: tells a repeated hello from a new client's.
    pub client: NativeKey,
    /// What the client's data packets will carry.
    pub connection_id: u32,
    /// The peer's public number.
    pub token: u32,
    /// When its hello was accepted.
    pub started: Time,
    /// When it is forgotten, unless a valid packet comes.
    pub expires: Time,
    /// What the packets of the connection are sealed with.
    pub secrets: Secrets,
    answer: Vec<u8>,
    /// A hello has come since the last answer.
    due: bool,
}

impl ServerHandshake {
    /// The same client's hello came again: the answer may have been lost.
    pub fn repeated(&mut self) {
        self.due = true;
    }

    /// When [`poll_transmit`](Self::poll_transmit) has something to say: at once, or not before the next hello.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.then_some(self.started)
    }

    /// Appends the WELCOME to `out` if one is due: always the same, once for a hello, so that never more bytes go
    /// to an unproven address than came from it.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.due = false;
            out.extend_from_slice(&self.answer);
        }
        due
    }
}

/// Answers are shorter than what they answer.
const _: () = {
    let head = 1 + 4 + super::ECHO_LEN;
    assert!(head + Pattern::Nx.welcome_message_overhead() + Welcome::LEN < HELLO_LEN);
    assert!(head + Pattern::Nk.welcome_message_overhead() + Welcome::LEN < HELLO_LEN);
    assert!(head + COOKIE_LEN < HELLO_LEN);
};
