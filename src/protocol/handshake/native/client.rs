//! The client's side: says hello until it is welcome.

use std::time::Duration;

use super::noise::{self, Initiator, Read};
use super::{
    echo, packet, take, NativeKey, Secrets, Welcome, COOKIE_LEN, ECHO_LEN, HELLO_LEN, VERSION, VERSIONS_ECHO,
};
use crate::metrics::server::DropReason;
use crate::protocol::crypto::{CryptoError, Provider};
use crate::protocol::time::Time;

/// Pause after which the hello is said again the first time; each further one is half as long again.
pub const HELLO_REPEAT: Duration = Duration::from_millis(250);

/// The longest such pause.
pub const MAX_HELLO_REPEAT: Duration = Duration::from_secs(2);

/// Cookies that are answered at once. Those after them, which only somebody else or a server that restarts all the
/// time would send, go out when the hello is due anyway.
pub const MAX_PROMPT_HELLOS: u32 = 4;

/// Versions that are read of a list; the rest is passed over.
const MAX_VERSIONS: usize = 16;

/// What the client has when it is welcome.
#[derive(Debug)]
pub struct Established {
    /// What the packets of the connection are sealed with.
    pub secrets: Secrets,
    /// What the server says of itself and of the connection.
    pub welcome: Welcome,
    /// The server's key: the pinned one, or the one that it showed.
    pub server_key: NativeKey,
    /// Whether the server has proven the key that was pinned. If none was, it may be anybody, and showing `server_key`
    /// to somebody who knows it is the only proof.
    pub pinned: bool,
}

/// One attempt to connect. Ends when its user gives it up: nothing that arrives does, but a right WELCOME.
pub struct ClientHandshake {
    initiator: Option<Initiator>,
    client: NativeKey,
    message: Vec<u8>,
    cookie: Option<[u8; COOKIE_LEN]>,
    next_hello: Time,
    pause: Duration,
    prompt_hellos: u32,
    versions: Vec<u32>,
}

impl std::fmt::Debug for ClientHandshake {
    /// Shows nothing of the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ClientHandshake");
        shown.field("cookie", &self.cookie.is_some()).field("next_hello", &self.next_hello);
        shown.finish_non_exhaustive()
    }
}

impl ClientHandshake {
    /// With the server's key, or none to believe whoever answers. Fails when there is no randomness, or the key is
    /// one that nobody can have.
    pub fn new(now: Time, pinned: Option<NativeKey>, provider: &dyn Provider) -> Result<Self, CryptoError> {
        let initiator = Initiator::new(pinned, noise::draw(provider)?);
        let message = initiator.message()?;
        let client = *message.first_chunk().ok_or(CryptoError)?;
        Ok(ClientHandshake {
            initiator: Some(initiator),
            client,
            message,
            cookie: None,
            next_hello: now,
            pause: HELLO_REPEAT,
            prompt_hellos: 0,
            versions: Vec::new(),
        })
    }

    /// The versions that somebody who saw the hello says the server speaks, ours not among them; empty when nobody
    /// did. Not authenticated: something to show when the attempt has failed, no reason to end it.
    pub fn versions(&self) -> &[u32] {
        &self.versions
    }

    /// When the next hello is due; `None` once the client is welcome.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.initiator.is_some().then_some(self.next_hello)
    }

    /// Appends a HELLO to `out` if one is due.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let Some(initiator) = self.initiator.as_ref().filter(|_| self.next_hello <= now) else {
            return false;
        };
        let end = out.len() + HELLO_LEN;
        self.write_hello(initiator.pattern().to_wire(), out);
        out.resize(end, 0);
        self.next_hello = now + self.pause;
        self.pause = (self.pause * 3 / 2).min(MAX_HELLO_REPEAT);
        true
    }

    /// The hello without its padding.
    fn write_hello(&self, pattern: u8, out: &mut Vec<u8>) {
        let cookie = self.cookie.as_ref().map_or(&[][..], |cookie| cookie);
        out.push(packet::HELLO);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(pattern);
        out.push(cookie.len() as u8);
        out.extend_from_slice(cookie);
        out.extend_from_slice(&self.message);
    }

    /// Reads a datagram from the server's address. `Ok(None)`: a cookie, or a hint about versions; poll on. An error
    /// says why it was thrown away and leaves everything as it was: a forged one costs nothing but its reading.
    pub fn handle(&mut self, now: Time, datagram: &[u8]) -> Result<Option<Established>, DropReason> {
        let Some(initiator) = &self.initiator else { return Err(DropReason::Unknown) };
        if datagram.len() > HELLO_LEN {
            return Err(DropReason::Malformed);
        }
        let (kind, rest) = datagram.split_first().ok_or(DropReason::Malformed)?;
        match *kind {
            packet::COOKIE => {
                let rest = self.answer_to_this(rest)?;
                let cookie = rest.try_into().map_err(|_| DropReason::Malformed)?;
                self.handle_cookie(now, cookie)?;
                Ok(None)
            }
            packet::VERSIONS => {
                self.handle_versions(initiator.pattern().to_wire(), rest)?;
                Ok(None)
            }
            packet::WELCOME => {
                let rest = self.answer_to_this(rest)?;
                // Before anything costly.
                if rest.len() < initiator.pattern().welcome_message_overhead() + Welcome::LEN {
                    return Err(DropReason::Malformed);
                }
                let Read { payload, secrets, server } =
                    initiator.read(rest).map_err(|_| DropReason::Forged)?;
                let welcome = Welcome::parse(&payload).ok_or(DropReason::Malformed)?;
                let pinned = initiator.pattern() == super::Pattern::Nk;
                self.initiator = None;
                Ok(Some(Established { secrets, welcome, server_key: server, pinned }))
            }
            _ => Err(DropReason::Unknown),
        }
    }

    /// What stands behind version and echo, if these fit.
    fn answer_to_this<'a>(&self, mut rest: &'a [u8]) -> Result<&'a [u8], DropReason> {
        let version = take(&mut rest).map(u32::from_be_bytes).ok_or(DropReason::Malformed)?;
        let repeated = take::<ECHO_LEN>(&mut rest).ok_or(DropReason::Malformed)?;
        if version != VERSION {
            return Err(DropReason::Malformed);
        }
        if repeated != echo(&self.client) {
            return Err(DropReason::Forged);
        }
        Ok(rest)
    }

    /// The hello is said again with the cookie, at once. Anybody who saw the hello can send a wrong cookie; the server
    /// answers that with a right one, and the newest is used.
    fn handle_cookie(&mut self, now: Time, cookie: [u8; COOKIE_LEN]) -> Result<(), DropReason> {
        if self.cookie == Some(cookie) {
            return Err(DropReason::Duplicate);
        }
        self.cookie = Some(cookie);
        if self.prompt_hellos < MAX_PROMPT_HELLOS {
            self.prompt_hellos += 1;
            self.next_hello = now;
            self.pause = HELLO_REPEAT;
        }
        Ok(())
    }

    fn handle_versions(&mut self, pattern: u8, mut rest: &[u8]) -> Result<(), DropReason> {
        let repeated = take::<ECHO_LEN>(&mut rest).ok_or(DropReason::Malformed)?;
        if rest.is_empty() || rest.len() % 4 != 0 {
            return Err(DropReason::Malformed);
        }
        let mut hello = Vec::with_capacity(HELLO_LEN);
        self.write_hello(pattern, &mut hello);
        if hello.get(VERSIONS_ECHO) != Some(&repeated[..]) {
            return Err(DropReason::Forged);
        }
        let versions = std::iter::from_fn(|| take(&mut rest).map(u32::from_be_bytes));
        let versions: Vec<u32> = versions.take(MAX_VERSIONS).collect();
        // A server that speaks ours would have answered otherwise.
        if versions.contains(&VERSION) {
            return Err(DropReason::Malformed);
        }
        self.versions = versions;
        Ok(())
    }
}
