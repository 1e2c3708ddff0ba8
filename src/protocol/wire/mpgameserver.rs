//! The datagram format of the Python package mpgameserver, version 1: header, sealing, message framing.
//!
//! PROTOCOL.md gives every byte. This module turns decisions into bytes and bytes into numbers; it knows
//! nothing of connections.

use crate::protocol::crypto::{Aead, TAG_LEN};
pub use crate::protocol::sizes::Sizes;

/// Most fragments of one message.
pub const MAX_FRAGMENTS: u16 = 0x2000;
/// Messages that may be resent stay within this many numbers of the newest: the package's receiver tells
/// copies apart over 256.
pub const NUMBER_WINDOW: u64 = 256;
/// Bytes of a header.
pub const HEADER_LEN: usize = 20;
/// Bytes of a clear datagram's checksum.
pub const CRC_LEN: usize = 4;
/// Most messages of one datagram.
pub const MAX_MESSAGES: usize = 255;
/// Bytes that UDP and IPv4 add to a datagram.
pub const UDP_OVERHEAD: usize = 28;
/// Bytes of a fragment's own header.
pub const FRAGMENT_HEADER_LEN: usize = 6;
/// Data of every fragment but the last, at most.
pub const FRAGMENT_LEN: usize = 1024;
/// Largest datagram that any client of the format sends.
pub const MAX_DATAGRAM: usize = 2048;

/// Message types, which are also datagram types.
pub mod kind {
    /// Client's first datagram, clear.
    pub const CLIENT_HELLO: u8 = 1;
    /// Server's answer, clear.
    pub const SERVER_HELLO: u8 = 2;
    /// Client's proof that it has the key.
    pub const CHALLENGE_RESP: u8 = 3;
    /// No message.
    pub const KEEP_ALIVE: u8 = 4;
    /// The end.
    pub const DISCONNECT: u8 = 5;
    /// A message of the application.
    pub const APP: u8 = 6;
    /// A part of one.
    pub const APP_FRAGMENT: u8 = 7;
}

/// Which way a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server, "FSOS".
    ToServer,
    /// Server to client, "FSOC".
    ToClient,
}

impl Direction {
    /// The first four bytes of its datagrams.
    pub fn magic(self) -> [u8; 4] {
        match self {
            Direction::ToServer => *b"FSOS",
            Direction::ToClient => *b"FSOC",
        }
    }

    /// The other way.
    pub fn reverse(self) -> Direction {
        match self {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }
}

impl Sizes {
    /// Of this wire, for IP packets of `mtu` bytes, 576 to 1500.
    pub fn new(mtu: u16) -> Sizes {
        let datagram = usize::from(mtu) - UDP_OVERHEAD;
        let payload = datagram - HEADER_LEN - TAG_LEN;
        let message = payload - 2;
        let last_fragment = message - FRAGMENT_HEADER_LEN - 1;
        Sizes {
            datagram,
            least_datagram: datagram,
            payload,
            message,
            fragment: FRAGMENT_LEN.min(last_fragment),
            filler: 0,
            last_fragment,
            hello: usize::from(mtu) - 62,
            most_fragments: MAX_FRAGMENTS,
            number_window: NUMBER_WINDOW,
            numbers_all: true,
        }
    }
}

/// Why a datagram cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Too short, wrong magic, wrong length, unknown type.
    Malformed,
    /// The checksum or the tag does not fit.
    Forged,
}

/// A datagram's header. `length` is not held: it follows from the datagram's own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Unix seconds at which the datagram was built.
    pub time: u32,
    /// Number of the datagram on the ring.
    pub seq: u16,
    /// Newest number received from the other side, 0 for none.
    pub ack: u16,
    /// Type of the first message; KEEP_ALIVE without one.
    pub kind: u8,
    /// Messages in the payload.
    pub count: u8,
    /// Bit `0x8000_0000 >> (d - 1)`: datagram `ack - d` was received.
    pub ack_bits: u32,
}

impl Header {
    /// Reads the header of a whole datagram whose payload is followed by `trailer` bytes.
    pub fn parse(datagram: &[u8], direction: Direction, trailer: usize) -> Result<Header, WireError> {
        let (Some(head), true) =
            (datagram.first_chunk::<HEADER_LEN>(), datagram.starts_with(&direction.magic()))
        else {
            return Err(WireError::Malformed);
        };
        let header = Header {
            time: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            seq: u16::from_be_bytes([head[8], head[9]]),
            ack: u16::from_be_bytes([head[10], head[11]]),
            kind: head[12],
            count: head[15],
            ack_bits: u32::from_be_bytes([head[16], head[17], head[18], head[19]]),
        };
        let length = usize::from(u16::from_be_bytes([head[13], head[14]]));
        if datagram.len() != HEADER_LEN + length + trailer
            || header.seq == 0
            || header.kind == 0
            || header.kind > kind::APP_FRAGMENT
        {
            return Err(WireError::Malformed);
        }
        Ok(header)
    }

    fn write(&self, direction: Direction, length: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&direction.magic());
        out.extend_from_slice(&self.time.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.ack.to_be_bytes());
        out.push(self.kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(self.count);
        out.extend_from_slice(&self.ack_bits.to_be_bytes());
    }
}

/// Which of the two kinds a datagram is, by its type alone: hellos travel in clear.
pub fn is_clear(datagram: &[u8]) -> bool {
    matches!(datagram.get(12), Some(&kind::CLIENT_HELLO) | Some(&kind::SERVER_HELLO))
}

/// Reads a clear datagram: its header and its payload, checksum verified.
pub fn open_clear(datagram: &[u8], direction: Direction) -> Result<(Header, &[u8]), WireError> {
    let header = Header::parse(datagram, direction, CRC_LEN)?;
    let (body, crc) = datagram.split_last_chunk::<CRC_LEN>().ok_or(WireError::Malformed)?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(WireError::Forged);
    }
    Ok((header, body.get(HEADER_LEN..).unwrap_or_default()))
}

/// Opens a sealed datagram in place: its payload. The header was read before, for the replay window.
pub fn open_sealed<'a>(datagram: &'a mut [u8], key: &Aead) -> Result<&'a mut [u8], WireError> {
    let (head, body) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(WireError::Malformed)?;
    key.open(nonce(head), head, body).map_err(|_| WireError::Forged)
}

/// Writes a clear datagram with one message.
pub fn write_clear(header: Header, direction: Direction, msgseq: u16, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = (body.len() + 2) as u16;
    Header { count: 1, ..header }.write(direction, length, out);
    out.extend_from_slice(&msgseq.to_be_bytes());
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// A message to be written: its type, its number and its body in two parts (a fragment's header and its data).
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// One of [`kind`].
    pub kind: u8,
    /// Number on the ring.
    pub msgseq: u16,
    /// What stands before the data: a fragment's header, or nothing.
    pub head: &'a [u8],
    /// The data.
    pub data: &'a [u8],
}

/// Bytes that `count` messages need around bodies of `bodies` bytes in all.
pub fn payload_len(count: usize, bodies: usize) -> usize {
    match count {
        0 => 0,
        1 => 2 + bodies,
        n => 5 * n + bodies,
    }
}

/// Writes and seals a datagram. `header.kind` and `header.count` are set from the messages.
pub fn write_sealed<'a>(
    header: Header,
    direction: Direction,
    messages: impl ExactSizeIterator<Item = Outgoing<'a>> + Clone,
    key: &Aead,
    out: &mut Vec<u8>,
) -> Result<(), crate::protocol::crypto::CryptoError> {
    let start = out.len();
    let count = messages.len();
    let bodies: usize = messages.clone().map(|m| m.head.len() + m.data.len()).sum();
    let first = messages.clone().next().map_or(kind::KEEP_ALIVE, |m| m.kind);
    Header { kind: first, count: count as u8, ..header }.write(
        direction,
        payload_len(count, bodies) as u16,
        out,
    );
    for m in messages {
        if count > 1 {
            out.extend_from_slice(&((m.head.len() + m.data.len()) as u16).to_be_bytes());
        }
        out.extend_from_slice(&m.msgseq.to_be_bytes());
        if count > 1 {
            out.push(m.kind);
        }
        out.extend_from_slice(m.head);
        out.extend_from_slice(m.data);
    }
    let (head, body) = out[start..].split_at_mut(HEADER_LEN);
    let tag = key.seal(nonce(head), head, body)?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// The first 12 bytes of the header: magic, time, seq, ack.
fn nonce(head: &[u8]) -> [u8; 12] {
    let mut iv = [0; 12];
    for (to, from) in iv.iter_mut().zip(head) {
        *to = *from;
    }
    iv
}

/// A message read from a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// One of [`kind`], or an unknown number.
    pub kind: u8,
    /// Number on the ring; 0 is malformed.
    pub msgseq: u16,
    /// The body.
    pub body: &'a [u8],
}

/// The messages of a payload, in order; ends with one `Err` where the payload breaks off.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    header_kind: u8,
    single: bool,
    left: usize,
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Over the payload of a datagram with this header.
    pub fn new(header: &Header, payload: &'a [u8]) -> Self {
        Messages {
            header_kind: header.kind,
            single: header.count == 1,
            left: usize::from(header.count),
            rest: payload,
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Incoming<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // Bytes behind the last message are as malformed as missing ones.
            return (!std::mem::take(&mut self.rest).is_empty()).then_some(Err(WireError::Malformed));
        }
        self.left -= 1;
        let message = if self.single {
            self.rest.split_first_chunk::<2>().map(|(seq, body)| {
                (
                    Incoming { kind: self.header_kind, msgseq: u16::from_be_bytes(*seq), body },
                    &body[body.len()..],
                )
            })
        } else {
            self.rest.split_first_chunk::<5>().and_then(|(head, rest)| {
                let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
                let (body, rest) = (rest.get(..len)?, rest.get(len..)?);
                Some((Incoming { kind: head[4], msgseq: u16::from_be_bytes([head[2], head[3]]), body }, rest))
            })
        };
        match message {
            Some((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            None => {
                self.left = 0;
                self.rest = &[];
                Some(Err(WireError::Malformed))
            }
        }
    }
}

/// A fragment's header: which message, which part, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// The fragmented message's own counter.
    pub id: u16,
    /// From 1.
    pub index: u16,
    /// Fragments in all.
    pub count: u16,
}

impl FragmentHeader {
    /// Splits a fragment's body. `None` where header or data cannot be right.
    pub fn parse(body: &[u8]) -> Option<(FragmentHeader, &[u8])> {
        let (head, data) = body.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
        let header = FragmentHeader {
            id: u16::from_be_bytes([head[0], head[1]]),
            index: u16::from_be_bytes([head[2], head[3]]),
            count: u16::from_be_bytes([head[4], head[5]]),
        };
        let right = !data.is_empty()
            && header.count <= MAX_FRAGMENTS
            && header.index >= 1
            && header.index <= header.count;
        right.then_some((header, data))
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; FRAGMENT_HEADER_LEN] {
        let ([a, b], [c, d], [e, f]) =
            (self.id.to_be_bytes(), self.index.to_be_bytes(), self.count.to_be_bytes());
        [a, b, c, d, e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_the_default_mtu() {
        let s = Sizes::new(1500);
        assert_eq!(
            (s.datagram, s.payload, s.message, s.fragment, s.last_fragment, s.hello),
            (1472, 1436, 1434, 1024, 1427, 1438)
        );
        assert_eq!(s.fragments(0), 1);
        assert_eq!(s.fragments(1434), 1);
        assert_eq!(s.fragments(1435), 2);
        assert_eq!(s.fragments(1427 + 1024), 2);
        assert_eq!(s.fragments(1427 + 1024 + 1), 3);
    }

    #[test]
    fn every_mtu_leaves_room() {
        for mtu in 576..=1500 {
            let s = Sizes::new(mtu);
            assert!(payload_len(1, FRAGMENT_HEADER_LEN + s.last_fragment) <= s.payload);
            assert!(s.fragment <= s.last_fragment && s.fragment > 0);
        }
    }

    #[test]
    fn a_broken_off_payload_ends_in_one_error() {
        let header = Header { time: 0, seq: 1, ack: 0, kind: kind::APP, count: 3, ack_bits: 0 };
        let mut payload = vec![0, 1, 0, 9, kind::APP, b'x'];
        payload.extend_from_slice(&[0, 9, 0, 10, kind::APP, b'y']);
        let all: Vec<_> = Messages::new(&header, &payload).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], Ok(Incoming { kind: kind::APP, msgseq: 9, body: b"x" }));
        assert_eq!(all[1], Err(WireError::Malformed));
        let trailing: Vec<_> = Messages::new(&Header { count: 0, ..header }, b"z").collect();
        assert_eq!(trailing, [Err(WireError::Malformed)]);
    }
}
