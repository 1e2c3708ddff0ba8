//! The native handshake: HELLO, under load COOKIE and HELLO again, WELCOME; one round trip, or two.
//!
//! Noise NK when the client pins the server's key, NX when it asks for it; X25519, ChaCha20-Poly1305, SHA-256. The
//! server's side is [`Identity`], [`Hello`] and [`ServerHandshake`], the client's [`ClientHandshake`]. Every
//! answer is shorter than the hello that it answers, and whatever arrives that is not right leaves both sides as
//! they were: only silence ends a client's attempt.

mod client;
mod noise;
mod server;
mod welcome;

use std::fmt;

use zeroize::Zeroize;

pub use client::{ClientHandshake, Established, HELLO_REPEAT, MAX_HELLO_REPEAT, MAX_PROMPT_HELLOS};
pub use noise::{public_key, Pattern};
pub use server::{write_versions, Hello, HelloError, Identity, ServerHandshake, COOKIE_LIFETIME_S};
pub use welcome::Welcome;

/// The version of the protocol that hellos carry.
pub const VERSION: u32 = 1;

/// Bytes of a HELLO, exactly. No answer to one is longer.
pub const HELLO_LEN: usize = 1200;

/// Bytes of a cookie: when it was made, and its authenticator.
pub const COOKIE_LEN: usize = 20;

/// Bytes of a reset token.
pub const RESET_TOKEN_LEN: usize = 16;

/// Bytes of a RESET. A data packet to the server is longer, so that two ends that have forgotten each other do
/// not answer resets with resets.
pub const RESET_LEN: usize = 1 + RESET_TOKEN_LEN;

/// Bytes of the client's ephemeral key, or of its hello, that an answer repeats: whoever has not seen the hello
/// cannot guess them.
pub const ECHO_LEN: usize = 8;

/// Where the bytes stand in a hello that VERSIONS repeats: behind all that is the same in every version.
const VERSIONS_ECHO: std::ops::Range<usize> = 7..7 + ECHO_LEN;

/// A public key of X25519.
pub type NativeKey = [u8; 32];

/// The first bytes of packets outside a connection.
pub mod packet {
    /// From a client that wants to connect.
    pub const HELLO: u8 = 0xc0;
    /// To a client that shall show that it receives at its address.
    pub const COOKIE: u8 = 0xc1;
    /// To a client whose hello was accepted.
    pub const WELCOME: u8 = 0xc2;
    /// To a client of another version.
    pub const VERSIONS: u8 = 0xc3;
    /// To the sender of data for a connection that is not known.
    pub const RESET: u8 = 0xc4;
    /// From whoever looks for servers.
    pub const QUERY: u8 = 0xc5;
    /// To the sender of a query.
    pub const ANSWER: u8 = 0xc6;
}

/// The traffic secrets of both directions, from which keys are derived. Overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Of what the client sends.
    pub to_server: [u8; 32],
    /// Of what the server sends.
    pub to_client: [u8; 32],
}

impl fmt::Debug for Secrets {
    /// Shows nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.to_server.zeroize();
        self.to_client.zeroize();
    }
}

/// The next `N` bytes of `rest`; `None`, and nothing taken, when there are fewer.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

/// The first bytes of an ephemeral key, which tell a client that an answer is to its hello.
fn echo(client: &NativeKey) -> &[u8] {
    &client[..ECHO_LEN]
}
