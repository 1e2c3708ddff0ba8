//! The native datagram format, version 1: data packets, frames, numbers.
//!
//! PROTOCOL.md gives every byte. This module turns decisions into bytes and bytes into numbers; it knows nothing of
//! connections. Packets of the handshake are in `handshake/native`.

use zeroize::Zeroizing;

use crate::protocol::crypto::{Aead, CryptoError, Traffic, TAG_LEN};
use crate::protocol::delivery::{Mode, Part};
use crate::protocol::mutant;
use crate::protocol::sizes::Sizes;

/// Every native datagram begins with a byte that has this bit: none of mpgameserver's does.
pub const NATIVE_BIT: u8 = 0x80;
/// Data packets have this of the first byte's two highest bits, packets of the handshake have both.
const DATA: u8 = 0x80;
const TYPE_BITS: u8 = 0xc0;
/// Bits of a data packet's first byte that are always zero.
const RESERVED: u8 = 0x38;
const PHASE: u8 = 0x04;
const NUMBER_LEN: u8 = 0x03;

/// Bytes of a connection id, which leads every data packet to a server.
pub const CONNECTION_ID_LEN: usize = 4;
/// Largest datagram before the path has proven more.
pub const BASE_DATAGRAM: usize = 1200;
/// Largest datagram at all.
pub const MAX_DATAGRAM: usize = 1472;
/// Packet numbers end here, and with them the connection.
pub const MAX_PACKET_NUMBER: u64 = (1 << 62) - 1;
/// Most fragments of one message.
pub const MAX_FRAGMENTS: u16 = 0x2000;
/// Messages that may be resent stay within this many numbers of the newest: a quarter of what 16 bits can tell.
pub const NUMBER_WINDOW: u64 = 16_384;
/// Further ranges of one acknowledgement.
pub const MAX_ACK_RANGES: usize = 31;
/// An acknowledgement's delay is counted in units of so many microseconds.
pub const ACK_DELAY_UNIT: u64 = 16;
/// Most bytes in front of a message's data: type, length, number, channel, its sequence.
pub const MESSAGE_HEADER_LEN: usize = 1 + 2 + 2 + 1 + 2;
/// Most bytes of what places a fragment: id, index, count.
pub const FRAGMENT_HEADER_LEN: usize = 2 + 2 + 2;
/// A shorter fragment beside another is not worth its header and its place in every list.
const MIN_FILLER: usize = 128;
/// Left free beside a fragment, so that an acknowledgement can ride with it.
const ACK_ROOM: usize = 24;
/// Most bytes of a header of a data packet.
const LONGEST_HEADER: usize = 1 + CONNECTION_ID_LEN + 4;

/// Types of frames.
pub mod frame {
    /// Nothing; fills a packet.
    pub const PADDING: u8 = 0x00;
    /// Asks for an acknowledgement.
    pub const PING: u8 = 0x01;
    /// Eight bytes that the other side is to repeat from where it is.
    pub const PATH_CHALLENGE: u8 = 0x02;
    /// The repetition.
    pub const PATH_RESPONSE: u8 = 0x03;
    /// The end.
    pub const CLOSE: u8 = 0x04;
    /// The end was heard.
    pub const CLOSED: u8 = 0x05;
    /// A client asks to be let in.
    pub const JOIN: u8 = 0x06;
    /// It is in.
    pub const ACCEPT: u8 = 0x07;
    /// The server's clock and tick.
    pub const TIME: u8 = 0x08;
    /// An acknowledgement; the low five bits count its further ranges.
    pub const ACK: u8 = 0x20;
    /// A message; the low six bits say how it is laid out.
    pub const MESSAGE: u8 = 0x40;
}

/// In the byte of a JOIN that tells whether there is a password: the client takes part in transfers of files.
const JOIN_FILES: u8 = 0x02;
const LENGTH_BIT: u8 = 0x04;
const FRAGMENT_BIT: u8 = 0x02;
const CHANNEL_BIT: u8 = 0x01;

/// Whether a datagram is of this wire at all, by its first byte.
pub fn is_native(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|b| b & NATIVE_BIT != 0)
}

/// Whether a native datagram is a data packet.
pub fn is_data(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|b| b & TYPE_BITS == DATA)
}

/// The connection id of a data packet to a server.
pub fn connection_id(datagram: &[u8]) -> Option<u32> {
    let id = datagram.get(1..)?.first_chunk::<CONNECTION_ID_LEN>()?;
    is_data(datagram).then(|| u32::from_be_bytes(*id))
}

/// What a datagram of `datagram` bytes, at least [`BASE_DATAGRAM`], leaves room for. Messages are cut so that each piece fits the
/// shortest: it could not be cut again when the path narrows.
pub fn sizes(datagram: usize) -> Sizes {
    let datagram = datagram.max(BASE_DATAGRAM);
    let message = BASE_DATAGRAM - LONGEST_HEADER - TAG_LEN - MESSAGE_HEADER_LEN;
    let fragment = message - FRAGMENT_HEADER_LEN - ACK_ROOM;
    let left = (datagram - BASE_DATAGRAM).saturating_sub(MESSAGE_HEADER_LEN + FRAGMENT_HEADER_LEN);
    Sizes {
        datagram,
        least_datagram: BASE_DATAGRAM,
        payload: datagram - LONGEST_HEADER - TAG_LEN,
        message,
        fragment,
        filler: if left < MIN_FILLER { 0 } else { left },
        last_fragment: fragment,
        hello: BASE_DATAGRAM,
        most_fragments: MAX_FRAGMENTS,
        number_window: NUMBER_WINDOW,
        numbers_all: false,
    }
}

// --- numbers ------------------------------------------------------------------------------------------

/// The number nearest to `expected` whose low `bits` bits are `low`. `None` where that would be below 1.
pub fn widen(low: u64, bits: u32, expected: u64) -> Option<u64> {
    let (span, mask) = (1_u64 << bits, (1_u64 << bits) - 1);
    let candidate = (expected & !mask) | (low & mask);
    let number = if candidate + span / 2 <= expected {
        candidate + span
    } else if candidate > expected + span / 2 && candidate >= span {
        candidate - span
    } else {
        candidate
    };
    (number > 0).then_some(number)
}

/// Bytes that packet `number` takes while `acked` is the newest that the reader is known to have.
fn number_len(number: u64, acked: u64) -> usize {
    match (number - acked.min(number)).saturating_mul(2) {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    }
}

/// Appends a variable-length integer (RFC 9000, 16); `value` is below 2^62.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Bytes of a variable-length integer.
pub fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Takes bytes off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A variable-length integer.
    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        match first >> 6 {
            0 => self.u8().map(u64::from),
            1 => self.u16().map(|v| u64::from(v & 0x3fff)),
            2 => self.array().map(|b| u64::from(u32::from_be_bytes(b) & 0x3fff_ffff)),
            _ => self.array().map(|b| u64::from_be_bytes(b) & 0x3fff_ffff_ffff_ffff),
        }
    }

    /// A length and as many bytes.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.bytes(len)
    }
}

// --- data packets -------------------------------------------------------------------------------------

/// The keys of one direction and one phase.
///
/// What the cipher computes from a key is over thirty times as long as the key. So a key rests at first and makes that for each
/// packet anew, which costs about as much as the packet's own encryption; who has more to say wakes it.
#[derive(Debug)]
pub struct PacketKey {
    key: Zeroizing<[u8; 16]>,
    iv: [u8; 12],
    /// The cipher ready for use, unless the key rests.
    aead: Option<Box<Aead>>,
}

impl PacketKey {
    /// From a phase's secret; it rests.
    pub fn new(secret: &Traffic) -> Result<PacketKey, CryptoError> {
        Ok(PacketKey { key: secret.key()?, iv: secret.iv()?, aead: None })
    }

    /// From a phase's secret; it rests if `other` does.
    pub fn like(other: &PacketKey, secret: &Traffic) -> Result<PacketKey, CryptoError> {
        let mut key = PacketKey::new(secret)?;
        if !other.rests() {
            key.wake();
        }
        Ok(key)
    }

    /// Whether each packet costs the key's setup.
    pub fn rests(&self) -> bool {
        self.aead.is_none()
    }

    /// From here on packets cost no more than they must.
    pub fn wake(&mut self) {
        if self.rests() {
            // A key that could not be set up would be one that opens and seals nothing, and says so there.
            self.aead = Aead::new(&self.key).ok().map(Box::new);
        }
    }

    /// Gives back the memory that makes packets cheap.
    pub fn rest(&mut self) {
        self.aead = None;
    }

    fn with<T>(&self, work: impl FnOnce(&Aead) -> Result<T, CryptoError>) -> Result<T, CryptoError> {
        match &self.aead {
            Some(aead) => work(aead),
            None => work(&Aead::new(&self.key)?),
        }
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (to, from) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *to ^= from;
        }
        nonce
    }
}

/// A data packet's header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The key phase's lowest bit.
    pub phase: bool,
    /// The packet's number.
    pub number: u64,
    /// Bytes of the header.
    pub len: usize,
}

impl DataHeader {
    /// Reads a header; `newest` is the newest number that was opened. `to_server` tells whether there is a connection id.
    pub fn parse(datagram: &[u8], to_server: bool, newest: u64) -> Option<DataHeader> {
        let first = *datagram.first()?;
        if first & (TYPE_BITS | RESERVED) != DATA {
            return None;
        }
        let at = 1 + if to_server { CONNECTION_ID_LEN } else { 0 };
        let bytes = usize::from(first & NUMBER_LEN) + 1;
        let low = datagram.get(at..at + bytes)?.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let number = widen(low, 8 * bytes as u32, newest + 1).filter(|n| *n <= MAX_PACKET_NUMBER)?;
        let len = at + bytes;
        // An empty packet says nothing, and is nobody's.
        (datagram.len() > len + TAG_LEN).then_some(DataHeader { phase: first & PHASE != 0, number, len })
    }
}

/// Appends a data packet's header and returns its length. `acked` is the newest packet of ours that was acknowledged.
pub fn put_header(out: &mut Vec<u8>, id: Option<u32>, phase: bool, number: u64, acked: u64) -> usize {
    let bytes = number_len(number, acked);
    out.push(DATA | if phase { PHASE } else { 0 } | (bytes as u8 - 1));
    if let Some(id) = id {
        out.extend_from_slice(&id.to_be_bytes());
    }
    out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
    1 + id.map_or(0, |_| CONNECTION_ID_LEN) + bytes
}

/// Seals the packet that begins at `start` of `out`, whose header has `header` bytes: frames become ciphertext, the tag follows.
pub fn seal(
    out: &mut Vec<u8>,
    start: usize,
    header: usize,
    key: &PacketKey,
    number: u64,
) -> Result<(), CryptoError> {
    let packet = out.get_mut(start..).ok_or(CryptoError)?;
    let (head, body) = packet.split_at_mut_checked(header).ok_or(CryptoError)?;
    let tag = key.with(|aead| aead.seal(key.nonce(number), head, body))?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// Opens a packet in place: its frames. After an error the datagram holds nothing of use.
pub fn open<'a>(
    datagram: &'a mut [u8],
    header: &DataHeader,
    key: &PacketKey,
) -> Result<&'a mut [u8], CryptoError> {
    let (head, body) = datagram.split_at_mut_checked(header.len).ok_or(CryptoError)?;
    key.with(|aead| aead.open(key.nonce(header.number), head, body))
}

// --- frames -------------------------------------------------------------------------------------------

/// A message, or a part of one, as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageFrame<'a> {
    /// How it is delivered.
    pub mode: Mode,
    /// The low bits of its number; 0 in modes that have none.
    pub number: u16,
    /// Its channel.
    pub channel: u8,
    /// The low bits of its place in the channel, of ordered ones.
    pub sequence: u16,
    /// Which part of a longer message it is.
    pub part: Option<Part>,
    /// The bytes.
    pub data: &'a [u8],
}

/// An acknowledgement as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckFrame<'a> {
    /// The low bits of the newest packet received.
    pub largest: u16,
    /// How long it was held back, in [`ACK_DELAY_UNIT`]s.
    pub delay: u64,
    first: u64,
    count: usize,
    ranges: &'a [u8],
}

impl AckFrame<'_> {
    /// The one range that most acknowledgements have, once `largest` is widened.
    pub fn only_range(&self, largest: u64) -> Option<(u64, u64)> {
        let low = largest.checked_sub(self.first).filter(|low| *low > 0 && self.count == 0)?;
        Some((low, largest))
    }

    /// The ranges, newest first, once `largest` is widened. Ends early where one would go below 1.
    pub fn ranges(&self, largest: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut reader = Reader(self.ranges);
        let mut left = self.count;
        let mut next = largest.checked_sub(self.first).filter(|low| *low > 0).map(|low| (low, largest));
        std::iter::from_fn(move || {
            let current = next?;
            next = None;
            if left > 0 {
                left -= 1;
                // Checked when the frame was read; a gap of 0 is one packet.
                let (gap, len) = (reader.varint()?, reader.varint()?);
                let high = current.0.checked_sub(gap + 2 + u64::from(mutant!(AckRangeOff)));
                next = high.and_then(|high| Some((high.checked_sub(len).filter(|low| *low > 0)?, high)));
            }
            Some(current)
        })
    }
}

/// A frame, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// See [`frame`]; so are the others.
    Ping,
    /// With its bytes.
    PathChallenge([u8; 8]),
    /// With its bytes.
    PathResponse([u8; 8]),
    /// With kind, code and text.
    Close(u8, u32, &'a [u8]),
    /// The other side has heard our goodbye.
    Closed,
    /// Password (if one was given) and data.
    Join(Option<&'a [u8]>, &'a [u8], bool),
    /// The server's host let us in.
    Accept,
    /// Tick, and how many microseconds ago it was; the server's clock in microseconds.
    Time(u64, u64, u64),
    /// An acknowledgement.
    Ack(AckFrame<'a>),
    /// A message.
    Message(MessageFrame<'a>),
}

/// The frames of a packet, padding left out; ends with one `Err` where they cannot be read on.
#[derive(Clone, Debug)]
pub struct Frames<'a>(Reader<'a>);

/// A packet's frames cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

impl<'a> Frames<'a> {
    /// Over an opened packet.
    pub fn new(payload: &'a [u8]) -> Self {
        Frames(Reader(payload))
    }

    /// The next frame if it is a message that can be read: most frames are. What it leaves is for `next`.
    #[inline]
    pub fn next_message(&mut self) -> Option<MessageFrame<'a>> {
        let mut r = self.0;
        let kind = r.u8().filter(|kind| (0x40..=0x7f).contains(kind))?;
        let message = read_message(&mut r, kind)?;
        self.0 = r;
        Some(message)
    }

    fn read(&mut self, kind: u8) -> Option<Frame<'a>> {
        let r = &mut self.0;
        Some(match kind {
            frame::PING => Frame::Ping,
            frame::PATH_CHALLENGE => Frame::PathChallenge(r.array()?),
            frame::PATH_RESPONSE => Frame::PathResponse(r.array()?),
            frame::CLOSE => Frame::Close(r.u8()?, u32::try_from(r.varint()?).ok()?, r.counted()?),
            frame::CLOSED => Frame::Closed,
            frame::JOIN => {
                let given = r.u8()?;
                // Who also takes files says so to a server that has said it first, and to no other.
                let (given, files) =
                    if given <= 3 { (given & 1, given & JOIN_FILES != 0) } else { (1, false) };
                let password = if given == 0 { None } else { Some(r.counted()?) };
                Frame::Join(password, r.counted()?, files)
            }
            frame::ACCEPT => Frame::Accept,
            frame::TIME => Frame::Time(r.varint()?, r.varint()?, r.varint()?),
            0x20..=0x3f => {
                let (largest, delay, first) = (r.u16()?, r.varint()?, r.varint()?);
                let (count, ranges) = (usize::from(kind & 0x1f), r.0);
                for _ in 0..count {
                    r.varint()?;
                    r.varint()?;
                }
                Frame::Ack(AckFrame { largest, delay, first, count, ranges })
            }
            0x40..=0x7f => Frame::Message(read_message(r, kind)?),
            _ => return None,
        })
    }
}

#[inline]
fn read_message<'a>(r: &mut Reader<'a>, kind: u8) -> Option<MessageFrame<'a>> {
    if kind & !LENGTH_BIT == frame::MESSAGE {
        // Sent once, whole, on no channel.
        let len = if kind & LENGTH_BIT != 0 { usize::try_from(r.varint()?).ok()? } else { r.0.len() };
        let data = r.bytes(len)?;
        return Some(MessageFrame { mode: Mode::Once, number: 0, channel: 0, sequence: 0, part: None, data });
    }
    read_any_message(r, kind)
}

fn read_any_message<'a>(r: &mut Reader<'a>, kind: u8) -> Option<MessageFrame<'a>> {
    let mode = match kind >> 3 & 7 {
        0 => Mode::Once,
        1 => Mode::Sequenced,
        2 => Mode::BestEffort,
        3 => Mode::Guaranteed,
        4 => Mode::Ordered,
        5 => Mode::Files,
        _ => return None,
    };
    let length = if kind & LENGTH_BIT != 0 { Some(usize::try_from(r.varint()?).ok()?) } else { None };
    let number = if mode.is_resent() { r.u16()? } else { 0 };
    let channel = if kind & CHANNEL_BIT != 0 { r.u8()? } else { 0 };
    let sequence = if mode.is_ordered() { r.u16()? } else { 0 };
    let part = if kind & FRAGMENT_BIT != 0 {
        let (id, index, count) = (r.u16()?, r.varint()?, r.varint()?);
        let right = count > 1 && count <= u64::from(MAX_FRAGMENTS) && index < count;
        Some(right.then_some(Part { id, index: index as u16, count: count as u16 })?)
    } else {
        None
    };
    let data = r.bytes(length.unwrap_or(r.0.len()))?;
    if part.is_some() && data.is_empty() {
        return None;
    }
    Some(MessageFrame { mode, number, channel, sequence, part, data })
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let kind = self.0.u8()?;
            if kind == frame::PADDING {
                continue;
            }
            let read = self.read(kind);
            if read.is_none() {
                self.0 = Reader(&[]);
            }
            return Some(read.ok_or(BadFrame));
        }
    }
}

/// Bytes of a message's frame with its length written out.
#[inline]
pub fn message_len(mode: Mode, channel: u8, part: Option<Part>, data: usize) -> usize {
    let part = part.map_or(0, |p| 2 + varint_len(u64::from(p.index)) + varint_len(u64::from(p.count)));
    let number = if mode.is_resent() { 2 } else { 0 };
    let sequence = if mode.is_ordered() { 2 } else { 0 };
    1 + varint_len(data as u64) + number + usize::from(channel != 0) + sequence + part + data
}

/// Appends a message's frame; the `last` of its packet needs no length.
#[inline]
pub fn put_message(out: &mut Vec<u8>, m: &MessageFrame<'_>, last: bool) {
    if m.mode == Mode::Once && m.channel == 0 && m.part.is_none() {
        // Nothing but a type and a length.
        out.push(frame::MESSAGE | if last { 0 } else { LENGTH_BIT });
        if !last {
            put_varint(out, m.data.len() as u64);
        }
        return out.extend_from_slice(m.data);
    }
    put_any_message(out, m, last);
}

fn put_any_message(out: &mut Vec<u8>, m: &MessageFrame<'_>, last: bool) {
    let length = if last { 0 } else { LENGTH_BIT };
    let fragment = if m.part.is_some() { FRAGMENT_BIT } else { 0 };
    let channel = if m.channel != 0 { CHANNEL_BIT } else { 0 };
    out.push(frame::MESSAGE | (m.mode as u8) << 3 | length | fragment | channel);
    if !last {
        put_varint(out, m.data.len() as u64);
    }
    if m.mode.is_resent() {
        out.extend_from_slice(&m.number.to_be_bytes());
    }
    if m.channel != 0 {
        out.push(m.channel);
    }
    if m.mode.is_ordered() {
        out.extend_from_slice(&m.sequence.to_be_bytes());
    }
    if let Some(part) = m.part {
        out.extend_from_slice(&part.id.to_be_bytes());
        put_varint(out, u64::from(part.index));
        put_varint(out, u64::from(part.count));
    }
    out.extend_from_slice(m.data);
}

/// Appends an acknowledgement of `ranges`, newest first and none empty, at most one and [`MAX_ACK_RANGES`]; as many as
/// `room` bytes hold, and at least the first. Returns how many.
pub fn put_ack(
    out: &mut Vec<u8>,
    delay_us: u64,
    ranges: impl Iterator<Item = (u64, u64)>,
    room: usize,
) -> usize {
    let start = out.len();
    let mut count = 0;
    let mut previous: Option<u64> = None;
    for (low, high) in ranges.take(MAX_ACK_RANGES + 1) {
        let before = out.len();
        match previous {
            None => {
                out.push(frame::ACK);
                out.extend_from_slice(&(high as u16).to_be_bytes());
                put_varint(out, delay_us / ACK_DELAY_UNIT);
                put_varint(out, high - low);
            }
            Some(lowest) => {
                put_varint(out, lowest - high - 2);
                put_varint(out, high - low);
                if out.len() - start > room {
                    out.truncate(before);
                    return count;
                }
                if let Some(kind) = out.get_mut(start) {
                    *kind += 1;
                }
            }
        }
        previous = Some(low);
        count += 1;
    }
    count
}

/// Appends a goodbye.
pub fn put_close(out: &mut Vec<u8>, kind: u8, code: u32, text: &[u8]) {
    out.extend_from_slice(&[frame::CLOSE, kind]);
    put_varint(out, u64::from(code));
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Appends a client's wish to be let in.
pub fn put_join(out: &mut Vec<u8>, password: Option<&[u8]>, data: &[u8], files: bool) {
    out.extend_from_slice(&[frame::JOIN, u8::from(password.is_some()) | if files { JOIN_FILES } else { 0 }]);
    for part in password.into_iter().chain([data]) {
        put_varint(out, part.len() as u64);
        out.extend_from_slice(part);
    }
}

/// Appends the server's tick, the time since it, and its clock, both in microseconds.
pub fn put_time(out: &mut Vec<u8>, tick: u64, since: u64, clock: u64) {
    out.push(frame::TIME);
    [tick, since, clock].into_iter().for_each(|v| put_varint(out, v & MAX_PACKET_NUMBER));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_rfc_9000() {
        for (value, bytes) in [
            (0_u64, &[0][..]),
            (63, &[0x3f]),
            (37, &[0x25]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            (MAX_PACKET_NUMBER, &[0xff; 8]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!((&out[..], varint_len(value)), (bytes, bytes.len()));
            assert_eq!(Reader(&out).varint(), Some(value));
            assert_eq!(Reader(&out[..out.len() - 1]).varint(), None);
        }
    }

    #[test]
    fn numbers_are_widened_to_the_nearest() {
        // RFC 9000, A.3.
        assert_eq!(widen(0x9b32, 16, 0xa82f_30ea + 1), Some(0xa82f_9b32));
        assert_eq!(widen(1, 8, 1), Some(1));
        assert_eq!(widen(0, 8, 1), None, "there is no packet 0");
        assert_eq!(widen(0xff, 8, 0x101), Some(0xff));
        assert_eq!(widen(0x02, 8, 0xfe), Some(0x102));
        for (bits, expected) in
            [(8, 1000_u64), (16, 1 << 40), (16, 70_000), (24, 1 << 61), (32, MAX_PACKET_NUMBER)]
        {
            let half = 1_u64 << (bits - 1);
            for number in [
                expected - 1,
                expected,
                expected + 1,
                expected + half - 1,
                expected.saturating_sub(half - 1).max(1),
            ] {
                assert_eq!(
                    widen(number & ((1 << bits) - 1), bits, expected),
                    Some(number),
                    "{bits} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_header_says_its_number_however_short() {
        for (number, acked) in [
            (1, 0),
            (127, 0),
            (128, 0),
            (40_000, 39_990),
            (1 << 40, (1 << 40) - 5000),
            (MAX_PACKET_NUMBER, MAX_PACKET_NUMBER - 9),
        ] {
            for id in [None, Some(0xdead_beef)] {
                let mut out = Vec::new();
                let len = put_header(&mut out, id, number % 2 == 0, number, acked);
                out.extend_from_slice(&[0; TAG_LEN + 1]);
                // The reader has anything from `acked` on.
                for newest in [acked, (acked + number) / 2, number - 1] {
                    let read = DataHeader::parse(&out, id.is_some(), newest);
                    assert_eq!(read, Some(DataHeader { phase: number % 2 == 0, number, len }), "{newest}");
                }
                assert_eq!(connection_id(&out).is_some() && id.is_some(), id.is_some());
                assert_eq!(DataHeader::parse(&out[..len + TAG_LEN], id.is_some(), acked), None, "empty");
            }
        }
        assert_eq!(DataHeader::parse(&[0x88; 40], false, 0), None, "a reserved bit");
    }

    #[test]
    fn acknowledgements_are_read_as_written() {
        let all = [(90, 100), (80, 85), (78, 78), (1, 2)];
        let mut out = Vec::new();
        put_ack(&mut out, 1234, all.into_iter(), 100);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&out).next() else { panic!("{out:?}") };
        assert_eq!((ack.largest, ack.delay), (100, 1234 / 16));
        assert_eq!(ack.ranges(100).collect::<Vec<_>>(), all);
        let mut short = Vec::new();
        put_ack(&mut short, 0, all.into_iter(), 7);
        let Some(Ok(Frame::Ack(ack))) = Frames::new(&short).next() else { panic!("{short:?}") };
        assert_eq!(ack.ranges(100).collect::<Vec<_>>(), all[..2]);
        // Ranges that would go below the first packet end there.
        assert_eq!(AckFrame { largest: 3, delay: 0, first: 3, count: 0, ranges: &[] }.ranges(3).count(), 0);
        assert_eq!(
            AckFrame { largest: 3, delay: 0, first: 0, count: 1, ranges: &[1, 0] }.ranges(3).count(),
            1
        );
    }

    #[test]
    fn messages_are_read_as_written() {
        let part = Some(Part { id: 65_535, index: 63, count: 8192 });
        for mode in [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered] {
            for (channel, part, data) in [(0, None, &b"abc"[..]), (7, part, &[1; 100]), (255, None, b"")] {
                let number = if mode.is_resent() { 0xfffe } else { 0 };
                let sequence = if mode == Mode::Ordered { 0x8001 } else { 0 };
                let m = MessageFrame { mode, number, channel, sequence, part, data };
                for last in [false, true] {
                    let mut out = Vec::new();
                    put_message(&mut out, &m, last);
                    let len = if last { out.len() + varint_len(data.len() as u64) } else { out.len() };
                    assert_eq!(len, message_len(mode, channel, part, data.len()));
                    let all: Vec<_> = Frames::new(&out).collect();
                    assert_eq!(all, [Ok(Frame::Message(m))]);
                }
            }
        }
    }

    #[test]
    fn broken_frames_end_in_one_error() {
        for bad in [
            &[0x09][..],
            &[0x80],
            &[frame::PATH_CHALLENGE, 1, 2],
            &[0x44, 9, 1],
            &[frame::CLOSE, 0, 0, 9],
            &[0x42, 0, 1, 1, 1],
        ] {
            let mut packet = vec![0, frame::PING, 0];
            packet.extend_from_slice(bad);
            let all: Vec<_> = Frames::new(&packet).collect();
            assert_eq!(all, [Ok(Frame::Ping), Err(BadFrame)], "{bad:?}");
        }
    }
}
