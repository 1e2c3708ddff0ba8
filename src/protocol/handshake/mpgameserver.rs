//! mpgameserver's handshake: hello, signed answer, proof.
//!
//! The server's half-open side is [`ServerHandshake`], kept apart from connections so that it stays small;
//! the client's is [`ClientHandshake`].

use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::crypto::{self, Aead, CryptoError, EphemeralKey, Point, Provider, SigningKey};
use crate::protocol::seq;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{self as wire, kind, Direction, Header, Sizes};

/// The version that hellos carry.
pub const VERSION: i64 = 1;
/// Bytes of the key derivation's salt.
pub const SALT_LEN: usize = 16;
/// Times at which the server's answer is sent, counted from the moment the hello is answered: once, and three times more until
/// the client is heard. All of them together stay within the bytes of the hello.
pub const HELLO_ANSWERS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(550), Duration::from_millis(1200)];
/// Pause after which our client repeats its hello.
pub const HELLO_REPEAT: Duration = Duration::from_millis(250);
/// Longest `bytes` value that is read.
const MAX_BYTES: usize = 1 << 20;

const TYPE_CLIENT_HELLO: u16 = 130;
const TYPE_SERVER_HELLO: u16 = 131;
const TYPE_CHALLENGE_RESP: u16 = 132;

/// A value of the package's serialisation: a tag, then the number.
pub(crate) fn put_int(n: i64, out: &mut Vec<u8>) {
    let magnitude = n.unsigned_abs();
    if magnitude <= 0x7f {
        out.extend_from_slice(&[0, 3]);
        out.push(n as i8 as u8);
    } else if magnitude <= 0x7fff {
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&(n as i16).to_be_bytes());
    } else if magnitude <= 0x7fff_ffff {
        out.extend_from_slice(&[0, 5]);
        out.extend_from_slice(&(n as i32).to_be_bytes());
    } else {
        out.extend_from_slice(&[0, 6]);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 14]);
    put_int(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// A reader of the same values.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn int(&mut self) -> Option<i64> {
        match self.u16()? {
            3 => self.array::<1>().map(|b| i64::from(i8::from_be_bytes(b))),
            4 => self.array().map(|b| i64::from(i16::from_be_bytes(b))),
            5 => self.array().map(|b| i64::from(i32::from_be_bytes(b))),
            6 => self.array().map(i64::from_be_bytes),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        if self.u16()? != 14 {
            return None;
        }
        let len = usize::try_from(self.int()?).ok().filter(|n| *n <= MAX_BYTES)?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}

/// A hello's body: the client's key, the version, padding to the size that answers may have.
pub fn client_hello(public: &Point, padding: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(104 + padding.len());
    body.extend_from_slice(&TYPE_CLIENT_HELLO.to_be_bytes());
    put_bytes(&crypto::spki(public), &mut body);
    put_int(VERSION, &mut body);
    body.extend_from_slice(padding);
    body
}

/// Bytes of [`client_hello`] before its padding.
pub const CLIENT_HELLO_FIXED: usize = 2 + 2 + 3 + 91 + 3;

/// The client's key out of a hello's body. `None`: not a hello of this version.
pub fn parse_client_hello(body: &[u8]) -> Option<Point> {
    let mut r = Reader(body);
    if r.u16()? != TYPE_CLIENT_HELLO {
        return None;
    }
    let point = crypto::point_of_spki(r.bytes()?)?;
    (r.int()? == VERSION).then_some(point)
}

/// What a server's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The root key that the server claims.
    pub root: Point,
    /// Its ephemeral key.
    pub ephemeral: Point,
    /// Salt of the key derivation.
    pub salt: Vec<u8>,
    /// The session's public number.
    pub token: u32,
}

/// An answer's body, signed by `root`.
pub fn server_hello(
    root: &dyn SigningKey,
    ephemeral: &Point,
    salt: &[u8],
    token: u32,
) -> Result<Vec<u8>, CryptoError> {
    let mut signed = Vec::with_capacity(128);
    put_bytes(&crypto::spki(ephemeral), &mut signed);
    put_bytes(salt, &mut signed);
    put_int(i64::from(token), &mut signed);
    let signature = root.sign(&signed)?;
    let mut body = Vec::with_capacity(340);
    body.extend_from_slice(&TYPE_SERVER_HELLO.to_be_bytes());
    put_bytes(&crypto::spki(&root.public()), &mut body);
    put_bytes(&signed, &mut body);
    put_bytes(&signature, &mut body);
    Ok(body)
}

/// Reads an answer's body and checks its signature with `pinned`, or, without one, with the key that the
/// answer itself brings (which proves nothing about who sent it).
pub fn parse_server_hello(body: &[u8], pinned: Option<&Point>) -> Result<ServerHello, CryptoError> {
    let read = || {
        let mut r = Reader(body);
        if r.u16()? != TYPE_SERVER_HELLO {
            return None;
        }
        let root = crypto::point_of_spki(r.bytes()?)?;
        let (signed, signature) = (r.bytes()?, r.bytes()?);
        let mut s = Reader(signed);
        let ephemeral = crypto::point_of_spki(s.bytes()?)?;
        let salt = s.bytes()?.to_vec();
        let token = u32::try_from(s.int()?).ok()?;
        Some((ServerHello { root, ephemeral, salt, token }, signed, signature))
    };
    let (hello, signed, signature) = read().ok_or(CryptoError)?;
    crypto::verify(pinned.unwrap_or(&hello.root), signed, signature)?;
    Ok(hello)
}

/// The proof's body.
pub fn challenge_response(token: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(11);
    body.extend_from_slice(&TYPE_CHALLENGE_RESP.to_be_bytes());
    put_int(1, &mut body);
    put_int(i64::from(token), &mut body);
    body
}

/// The token out of a proof's body.
pub fn parse_challenge_response(body: &[u8]) -> Option<u32> {
    let mut r = Reader(body);
    if r.u16()? != TYPE_CHALLENGE_RESP || r.int()? != 1 {
        return None;
    }
    u32::try_from(r.int()?).ok()
}

/// A token as the package makes them: bit 31 clear, bit 30 set.
pub fn token_from(random: [u8; 4]) -> u32 {
    u32::from_be_bytes(random) & 0x7fff_ffff | 0x4000_0000
}

/// What both sides have when the handshake is proven.
#[derive(Debug)]
pub struct Established {
    /// The session's key.
    pub key: Aead,
    /// The session's public number.
    pub token: u32,
    /// Datagrams that this side has sent so far.
    pub packets_sent: u64,
    /// Messages that this side has sent so far.
    pub messages_sent: u64,
    /// Newest datagram received so far.
    pub newest_received: u64,
}

/// A hello that the server answered and whose client has not shown yet that it has the key. Costs about a
/// kilobyte; the table of these is bounded.
#[derive(Debug)]
pub struct ServerHandshake {
    /// Where the hello came from.
    pub address: SocketAddr,
    /// The client's key: tells a repeated hello from a new client's.
    pub client: Point,
    /// The session's public number.
    pub token: u32,
    /// When it is forgotten, unless a valid datagram comes.
    pub expires: Time,
    /// When its hello was answered.
    pub started: Time,
    key: Aead,
    answer: Vec<u8>,
    answers: usize,
    packets_sent: u64,
    newest_received: u64,
    /// Bytes that may still be sent to the unproven address.
    budget: usize,
}

impl ServerHandshake {
    /// Does the key exchange and the signature: the one costly thing that a stranger can ask for.
    #[allow(clippy::too_many_arguments)]
    pub fn accept(
        now: Time,
        address: SocketAddr,
        hello: &Hello,
        token: u32,
        timeout: Duration,
        root: &dyn SigningKey,
        provider: &dyn Provider,
    ) -> Result<Self, CryptoError> {
        let ephemeral = provider.ephemeral()?;
        let public = ephemeral.public();
        let mut salt = [0; SALT_LEN];
        provider.random(&mut salt)?;
        let shared = ephemeral.agree(&hello.client)?;
        let key = Aead::new(&crypto::session_key(&shared, &salt)?)?;
        let answer = server_hello(root, &public, &salt, token)?;
        Ok(ServerHandshake {
            address,
            client: hello.client,
            token,
            expires: now + timeout,
            key,
            answer,
            started: now,
            answers: 0,
            packets_sent: 0,
            newest_received: u64::from(hello.seq),
            budget: hello.bytes,
        })
    }

    /// The same client's hello came again: an answer may have been lost, and what may be sent grows.
    pub fn repeated(&mut self, hello: &Hello) {
        if let Some(n) = seq::widen(hello.seq, self.newest_received) {
            self.newest_received = self.newest_received.max(n);
        }
        // Not above one hello's worth at a time: repeats buy no burst.
        self.budget = hello.bytes.min(self.budget + hello.bytes);
        self.answers = self.answers.min(HELLO_ANSWERS.len() - 1);
    }

    /// When [`poll_transmit`](Self::poll_transmit) has something to say; `None`: it has said it.
    pub fn poll_timeout(&self) -> Option<Time> {
        let at = HELLO_ANSWERS.get(self.answers).map(|after| self.started + *after)?;
        (self.budget >= self.answer_bytes()).then_some(at)
    }

    /// Appends an answer to `out` if one is due.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return false;
        }
        self.answers += 1;
        self.budget -= self.answer_bytes();
        self.packets_sent += 1;
        let header = Header {
            time: now.unix_seconds(),
            seq: seq::to_wire(self.packets_sent),
            ack: seq::to_wire(self.newest_received),
            kind: kind::SERVER_HELLO,
            count: 1,
            ack_bits: 0,
        };
        wire::write_clear(header, Direction::ToClient, 1, &self.answer, out);
        true
    }

    fn answer_bytes(&self) -> usize {
        wire::HEADER_LEN + 2 + self.answer.len() + wire::CRC_LEN
    }

    /// Whether a sealed datagram opens under this handshake's key: the proof. `scratch` is overwritten.
    pub fn proven_by(&self, datagram: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        scratch.extend_from_slice(datagram);
        wire::open_sealed(scratch, &self.key).is_ok()
    }

    /// Hands the session over to a connection.
    pub fn establish(self) -> Established {
        Established {
            key: self.key,
            token: self.token,
            packets_sent: self.packets_sent,
            messages_sent: 1,
            newest_received: self.newest_received,
        }
    }
}

/// What the server keeps of a hello until it has time for it.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The client's ephemeral key.
    pub client: Point,
    /// The datagram's number, from 1.
    pub seq: u16,
    /// The datagram's bytes: what may be sent to the address in all.
    pub bytes: usize,
}

impl Hello {
    /// Reads a hello. `None`: too short to be answered, another version, or no hello at all.
    pub fn parse(header: &Header, payload: &[u8], bytes: usize, sizes: &Sizes) -> Option<Hello> {
        if header.kind != kind::CLIENT_HELLO || header.count != 1 || bytes < sizes.hello {
            return None;
        }
        let (msgseq, body) = payload.split_first_chunk::<2>()?;
        if *msgseq == [0, 0] {
            return None;
        }
        Some(Hello { client: parse_client_hello(body)?, seq: header.seq, bytes })
    }
}

/// The client's side: says hello until it is answered.
pub struct ClientHandshake {
    pinned: Option<Point>,
    ephemeral: Option<Box<dyn EphemeralKey>>,
    hello: Vec<u8>,
    next_hello: Time,
    packets_sent: u64,
}

impl std::fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientHandshake").field("packets_sent", &self.packets_sent).finish_non_exhaustive()
    }
}

impl ClientHandshake {
    /// With the server's root key, or none to believe whoever answers.
    pub fn new(
        now: Time,
        pinned: Option<Point>,
        sizes: &Sizes,
        provider: &dyn Provider,
    ) -> Result<Self, CryptoError> {
        let ephemeral = provider.ephemeral()?;
        // The datagram is header, message number, body and checksum.
        let mut padding = vec![0; sizes.hello - wire::HEADER_LEN - 2 - wire::CRC_LEN - CLIENT_HELLO_FIXED];
        provider.random(&mut padding)?;
        let hello = client_hello(&ephemeral.public(), &padding);
        Ok(ClientHandshake { pinned, ephemeral: Some(ephemeral), hello, next_hello: now, packets_sent: 0 })
    }

    /// When the next hello is due.
    pub fn poll_timeout(&self) -> Time {
        self.next_hello
    }

    /// Appends a hello to `out` if one is due.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if self.next_hello > now {
            return false;
        }
        self.next_hello = now + HELLO_REPEAT;
        self.packets_sent += 1;
        let header = Header {
            time: now.unix_seconds(),
            seq: seq::to_wire(self.packets_sent),
            ack: 0,
            kind: kind::CLIENT_HELLO,
            count: 1,
            ack_bits: 0,
        };
        wire::write_clear(header, Direction::ToServer, 1, &self.hello, out);
        true
    }

    /// Reads an answer. An error leaves everything as it was: a forged answer costs nothing but its own reading.
    /// Only one that is signed rightly over a key that is no point of the curve ends the attempt.
    pub fn handle_answer(&mut self, datagram: &[u8]) -> Result<Established, CryptoError> {
        let (header, payload) = wire::open_clear(datagram, Direction::ToClient).map_err(|_| CryptoError)?;
        let (_, body) = payload.split_first_chunk::<2>().ok_or(CryptoError)?;
        if header.kind != kind::SERVER_HELLO || header.count != 1 {
            return Err(CryptoError);
        }
        let hello = parse_server_hello(body, self.pinned.as_ref())?;
        let shared = self.ephemeral.take().ok_or(CryptoError)?.agree(&hello.ephemeral)?;
        Ok(Established {
            key: Aead::new(&crypto::session_key(&shared, &hello.salt)?)?,
            token: hello.token,
            packets_sent: self.packets_sent,
            messages_sent: 1,
            newest_received: u64::from(header.seq),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_at_their_borders() {
        for n in [0i64, 1, -1, 0x7f, -0x7f, -0x80, 0x80, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, i64::MIN] {
            let mut out = Vec::new();
            put_int(n, &mut out);
            assert_eq!(Reader(&out).int(), Some(n), "{n}");
        }
        assert_eq!(challenge_response(0x4123_4567), [0, 132, 0, 3, 1, 0, 5, 0x41, 0x23, 0x45, 0x67]);
        assert_eq!(parse_challenge_response(&challenge_response(0x4123_4567)), Some(0x4123_4567));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut out = vec![0, 14];
        put_int(5, &mut out);
        out.extend_from_slice(b"four");
        assert_eq!(Reader(&out).bytes(), None);
        let mut out = vec![0, 14];
        put_int(-1, &mut out);
        assert_eq!(Reader(&out).bytes(), None);
    }

    #[test]
    fn the_hello_is_as_long_as_promised() {
        assert_eq!(client_hello(&[4; 65], &[]).len(), CLIENT_HELLO_FIXED);
    }
}
