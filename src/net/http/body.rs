//! Bodies: reading them within bounds, and giving them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::{GzDecoder, GzEncoder, ZlibDecoder};
use flate2::Compression;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::net::http::crowd::Share;
use crate::net::http::exchange::{Exchange, Held};

/// Longest pause between two pieces of a body; who pauses longer is answered with 408.
const BODY_PAUSE: Duration = Duration::from_secs(15);
/// A body may take this long and a second for each [`BODY_BYTES_PER_SECOND`]; a slower one is answered with 408.
const BODY_TIME: Duration = Duration::from_secs(30);
/// See [`BODY_TIME`].
const BODY_BYTES_PER_SECOND: usize = 16 << 10;
/// What a compressed body may be longer than its route allows before it is unpacked, in bytes, beside an eighth of that: more is
/// no compression, but a stream of blocks in which nothing is.
const PACKED_SPARE_BYTES: usize = 64 << 10;
/// Bytes of a file that are read at once.
const FILE_PIECE: usize = 64 << 10;
/// Shorter bodies are not compressed, nor are longer ones: they would keep the thread.
pub const COMPRESSED_BYTES: std::ops::RangeInclusive<usize> = 256..=(8 << 20);

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than the route allows.
    TooLong,
    /// All bodies together are more than the server allows.
    NoRoom,
    /// It came too slowly.
    Slow,
    /// It is not what its headers say.
    Malformed,
}

/// What unpacks a body, as it comes in.
pub enum Unpacker {
    Plain(Bounded),
    Gzip(GzDecoder<Bounded>),
    Deflate(ZlibDecoder<Bounded>),
}

/// Bytes up to a limit.
pub struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacker {
    /// For a `Content-Encoding`; `None`: one that is not known.
    pub fn new(encoding: &str, limit: usize) -> Option<Unpacker> {
        let bounded = Bounded { bytes: Vec::new(), limit, full: false };
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Unpacker::Plain(bounded)),
            "gzip" | "x-gzip" => Some(Unpacker::Gzip(GzDecoder::new(bounded))),
            "deflate" => Some(Unpacker::Deflate(ZlibDecoder::new(bounded))),
            _ => None,
        }
    }

    fn bounded(&self) -> &Bounded {
        match self {
            Unpacker::Plain(bounded) => bounded,
            Unpacker::Gzip(decoder) => decoder.get_ref(),
            Unpacker::Deflate(decoder) => decoder.get_ref(),
        }
    }

    /// Most bytes that a body may come in.
    fn max_packed(&self) -> usize {
        let limit = self.bounded().limit;
        match self {
            Unpacker::Plain(_) => limit,
            _ => limit.saturating_add(limit / 8).saturating_add(PACKED_SPARE_BYTES),
        }
    }

    fn reason(&self) -> Unread {
        if self.bounded().full {
            Unread::TooLong
        } else {
            Unread::Malformed
        }
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Unread> {
        let written = match self {
            Unpacker::Plain(bounded) => bounded.write_all(piece),
            Unpacker::Gzip(decoder) => decoder.write_all(piece),
            Unpacker::Deflate(decoder) => decoder.write_all(piece),
        };
        written.map_err(|_| self.reason())
    }

    /// All of it, once the last piece is in.
    pub fn finish(mut self) -> Result<Vec<u8>, Unread> {
        let ended = match &mut self {
            Unpacker::Plain(_) => Ok(()),
            Unpacker::Gzip(decoder) => decoder.try_finish(),
            Unpacker::Deflate(decoder) => decoder.try_finish(),
        };
        ended.map_err(|_| self.reason())?;
        Ok(match self {
            Unpacker::Plain(bounded) => bounded.bytes,
            Unpacker::Gzip(mut decoder) => std::mem::take(&mut decoder.get_mut().bytes),
            Unpacker::Deflate(mut decoder) => std::mem::take(&mut decoder.get_mut().bytes),
        })
    }
}

/// Reads a body to its end. `held` grows with it.
pub async fn read(
    body: &mut Incoming,
    mut unpacker: Unpacker,
    exchange: &Exchange,
    held: &mut Held,
) -> Result<Vec<u8>, Unread> {
    let (start, max_packed) = (tokio::time::Instant::now(), unpacker.max_packed());
    let (mut came, mut counted) = (0usize, 0);
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = match tokio::time::timeout(BODY_PAUSE, next).await {
            Err(_paused) => return Err(Unread::Slow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Unread::Malformed),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are left out.
        let Ok(piece) = frame.into_data() else { continue };
        came = came.saturating_add(piece.len());
        if came > max_packed {
            return Err(Unread::TooLong);
        }
        let seconds = u64::try_from(came / BODY_BYTES_PER_SECOND).unwrap_or(u64::MAX);
        if start.elapsed() > BODY_TIME.saturating_add(Duration::from_secs(seconds)) {
            return Err(Unread::Slow);
        }
        unpacker.push(&piece)?;
        let unpacked = unpacker.bounded().bytes.len();
        if !exchange.grow(held, unpacked - counted) {
            return Err(Unread::NoRoom);
        }
        counted = unpacked;
    }
    unpacker.finish()
}

/// Compresses a body; as it is if that fails, which memory does not.
pub fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < body.len())
}

/// The body of an answer.
pub enum Outgoing {
    /// In memory.
    Whole(Option<Bytes>),
    /// The rest of a file, so many bytes, and the share of what is read of it at once.
    File(File, u64, Option<Arc<Share>>),
}

impl Outgoing {
    /// In memory.
    pub fn whole(bytes: Vec<u8>) -> Outgoing {
        Outgoing::Whole((!bytes.is_empty()).then(|| bytes.into()))
    }

    /// A file of so many bytes.
    pub fn file(file: File, length: u64) -> Outgoing {
        Outgoing::File(file, length, None)
    }

    /// Bytes of it that are in memory at once.
    pub fn in_memory(&self) -> usize {
        match self {
            Outgoing::Whole(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Outgoing::File(_, left, _) => piece_of(*left),
        }
    }

    /// The same; the share is given back when all of it was written.
    pub fn counted(self, share: Share) -> Outgoing {
        let share = Arc::new(share);
        match self {
            Outgoing::Whole(bytes) => Outgoing::Whole(bytes.map(|bytes| share.of(bytes))),
            Outgoing::File(file, left, _) => Outgoing::File(file, left, Some(share)),
        }
    }
}

/// What is read at once of a file of which so many bytes are left.
fn piece_of(left: u64) -> usize {
    usize::try_from(left).unwrap_or(FILE_PIECE).min(FILE_PIECE)
}

/// The next piece of a file.
fn read_piece(file: &mut File, left: &mut u64) -> io::Result<Bytes> {
    let mut piece = vec![0; piece_of(*left)];
    let read = file.read(&mut piece)?;
    if read == 0 {
        // A file that became shorter ends the connection: its length was said already.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= read as u64;
    piece.truncate(read);
    Ok(piece.into())
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match &mut *self {
            Outgoing::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Outgoing::File(_, 0, _) => None,
            Outgoing::File(file, left, share) => Some(read_piece(file, left).map(|piece| {
                let counted = share.as_ref().map(|share| share.of(piece.clone()));
                Frame::data(counted.unwrap_or(piece))
            })),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Outgoing::Whole(None) | Outgoing::File(_, 0, _))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Outgoing::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Outgoing::File(_, left, _) => *left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(encoding: &str, limit: usize, bytes: &[u8]) -> Result<Vec<u8>, Unread> {
        let mut unpacker = Unpacker::new(encoding, limit).unwrap();
        for piece in bytes.chunks(7) {
            unpacker.push(piece)?;
        }
        unpacker.finish()
    }

    #[test]
    fn bodies_are_unpacked_up_to_their_limit() {
        let bomb = gzip(&vec![0; 1 << 20]).unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(unpack("gzip", 1 << 20, &bomb).unwrap().len(), 1 << 20);
        assert_eq!(unpack("GZIP", (1 << 20) - 1, &bomb), Err(Unread::TooLong));
        assert_eq!(unpack("gzip", 1 << 20, &bomb[..bomb.len() / 2]), Err(Unread::Malformed));
        assert_eq!(unpack("gzip", 100, b"no gzip at all"), Err(Unread::Malformed));
        assert_eq!(unpack("deflate", 100, b"no zlib at all"), Err(Unread::Malformed));
        assert_eq!(unpack("", 5, b"12345").unwrap(), b"12345");
        assert_eq!(unpack("identity", 4, b"12345"), Err(Unread::TooLong));
        assert_eq!(unpack("", 0, b""), Ok(vec![]));
        assert!(Unpacker::new("br", 1).is_none() && Unpacker::new("gzip, gzip", 1).is_none());
    }
}
