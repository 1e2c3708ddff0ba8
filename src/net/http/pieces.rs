//! Long frames of a WebSocket in pieces, on their way to who reads frames: that keeps the memory of the longest frame that it
//! has ever read as long as the connection lasts. A long frame is the same message when it comes as fragments (RFC 6455,
//! 5.4); those are short, and the memory of the message is given back with it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Longest frame that is passed on as it is, and length of the fragments of a longer one, in bytes: a multiple of the mask's
/// four, which so begins anew with each.
pub const PIECE_BYTES: u64 = 4096;
/// Longest head of a frame, in bytes.
const MAX_HEAD_BYTES: usize = 14;
/// The bit of a frame's first byte that says that it is its message's last.
const LAST: u8 = 0x80;
/// The largest opcode of frames that have data; what is above it, and reserved, is passed on as it is.
const MAX_DATA_OPCODE: u8 = 2;

/// The head of a frame: its bytes, and how many of them are there.
#[derive(Clone, Copy, Default)]
struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    len: usize,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Bytes of the length behind the first two, and of the mask.
    fn widths(&self) -> (usize, usize) {
        let [_, second, ..] = self.bytes;
        let length = match second & 0x7f {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        (length, if second & 0x80 == 0 { 0 } else { 4 })
    }

    /// Bytes that are missing.
    fn missing(&self) -> usize {
        let (length, mask) = self.widths();
        let whole = if self.len < 2 { 2 } else { 2 + length + mask };
        whole.saturating_sub(self.len)
    }

    /// The length of the payload, and the mask, empty where there is none.
    fn parts(&self) -> (u64, &[u8]) {
        let [_, second, ..] = self.bytes;
        let (length, mask) = self.widths();
        let long = self.bytes.get(2..2 + length).unwrap_or_default();
        let number = long.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let number = if long.is_empty() { u64::from(second & 0x7f) } else { number };
        (number, self.bytes.get(2 + length..2 + length + mask).unwrap_or_default())
    }

    /// One for a fragment of at most [`PIECE_BYTES`].
    fn of_piece(first: u8, length: u64, mask: &[u8]) -> Head {
        let masked = if mask.is_empty() { 0 } else { 0x80 };
        let mut head = Head::default();
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        match u8::try_from(length) {
            Ok(short @ 0..=125) => head.push(&[first, masked | short]),
            _ => {
                head.push(&[first, masked | 126]);
                head.push(&length.to_be_bytes());
            }
        }
        head.push(mask);
        head
    }
}

/// A stream of which frames are read. What is written passes as it is.
pub struct Pieces<S> {
    stream: BufReader<S>,
    /// A longer frame is passed on as it is, to be refused.
    max_frame: u64,
    /// The head of the frame that comes, as far as it is there.
    head: Head,
    /// What is to be handed on before anything else, and how much of it was.
    out: Head,
    handed: usize,
    /// Bytes of payload that are left of the piece, and of the frame behind it.
    piece: u64,
    rest: u64,
    /// Bytes that came in all.
    came: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> Pieces<S> {
    /// Around a stream, of which so many bytes are read at once.
    pub fn new(stream: S, read_bytes: usize, max_frame: usize) -> Pieces<S> {
        Pieces {
            stream: BufReader::with_capacity(read_bytes, stream),
            max_frame: u64::try_from(max_frame).unwrap_or(u64::MAX),
            head: Head::default(),
            out: Head::default(),
            handed: 0,
            piece: 0,
            rest: 0,
            came: Arc::default(),
        }
    }

    /// How many bytes came in all, told as it grows.
    pub fn came(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.came)
    }

    /// The head is whole: what of it is handed on.
    fn begin(&mut self) {
        let [first, ..] = self.head.bytes;
        let (length, mask) = self.head.parts();
        let has_data = first & 0x0f <= MAX_DATA_OPCODE;
        if has_data && length > PIECE_BYTES && length <= self.max_frame {
            self.out = Head::of_piece(first & !LAST, PIECE_BYTES, mask);
            (self.piece, self.rest) = (PIECE_BYTES, length - PIECE_BYTES);
            // The head stays, for the others.
        } else {
            (self.out, self.piece, self.rest) = (self.head, length, 0);
            self.head = Head::default();
        }
        self.handed = 0;
    }

    /// The next fragment of the frame.
    fn go_on(&mut self) {
        let [first, ..] = self.head.bytes;
        self.piece = self.rest.min(PIECE_BYTES);
        self.rest -= self.piece;
        let last = if self.rest == 0 { first & LAST } else { 0 };
        self.out = Head::of_piece(last, self.piece, self.head.parts().1);
        self.handed = 0;
        if self.rest == 0 {
            self.head = Head::default();
        }
    }

    /// Takes bytes that came, at most so many; none: the stream has ended.
    fn take(
        &mut self,
        context: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&mut Self, &[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE_BYTES as usize];
        let came = ready!(Pin::new(&mut self.stream).poll_fill_buf(context))?;
        let count = came.len().min(most).min(piece.len());
        let (Some(room), Some(came)) = (piece.get_mut(..count), came.get(..count)) else {
            return Poll::Ready(Ok(0));
        };
        room.copy_from_slice(came);
        Pin::new(&mut self.stream).consume(count);
        self.came.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        take(self, room);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pieces<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let out = this.out.as_slice().get(this.handed..).unwrap_or_default();
            if !out.is_empty() {
                let count = out.len().min(buffer.remaining());
                buffer.put_slice(out.get(..count).unwrap_or_default());
                this.handed += count;
                return Poll::Ready(Ok(()));
            }
            if this.piece > 0 {
                let most = usize::try_from(this.piece).unwrap_or(usize::MAX).min(buffer.remaining());
                return this
                    .take(context, most, |this, bytes| {
                        buffer.put_slice(bytes);
                        this.piece -= bytes.len() as u64;
                    })
                    .map_ok(drop);
            }
            if this.rest > 0 {
                this.go_on();
                continue;
            }
            // Half a head at the end is nothing.
            let missing = this.head.missing();
            if ready!(this.take(context, missing, |this, bytes| this.head.push(bytes)))? == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.head.missing() == 0 {
                this.begin();
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pieces<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What is handed on of bytes that come in reads of so many.
    async fn passed(bytes: &[u8], reads: usize, max_frame: usize) -> Vec<u8> {
        let (mut out, mut pieces) = (Vec::new(), Pieces::new(bytes, reads, max_frame));
        pieces.read_to_end(&mut out).await.unwrap();
        assert_eq!(pieces.came().load(Ordering::Relaxed), bytes.len() as u64);
        out
    }

    fn frame(first: u8, second: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
        [&[first, second], length, &[9, 8, 7, 6], payload].concat()
    }

    #[tokio::test]
    async fn long_frames_come_as_fragments_and_others_as_they_are() {
        let payload: Vec<u8> = (0..10_000u16).map(|n| n as u8).collect();
        let long = frame(0x82, 0xfe, &10_000u16.to_be_bytes(), &payload);
        let wide = frame(0x82, 0xff, &10_000u64.to_be_bytes(), &payload);
        let fragments = [
            frame(0x02, 0xfe, &4096u16.to_be_bytes(), &payload[..4096]),
            frame(0x00, 0xfe, &4096u16.to_be_bytes(), &payload[4096..8192]),
            frame(0x80, 0xfe, &1808u16.to_be_bytes(), &payload[8192..]),
        ]
        .concat();
        // One that is not the last of its message stays so, and what follows is found.
        let middle = frame(0x00, 0xfe, &4200u16.to_be_bytes(), &payload[..4200]);
        let middles = [
            frame(0x00, 0xfe, &4096u16.to_be_bytes(), &payload[..4096]),
            frame(0x00, 0xe8, &[], &payload[4096..4200]),
        ]
        .concat();
        let short = [
            frame(0x81, 0x85, &[], b"hello"),
            frame(0x89, 0x80, &[], b""),
            frame(0x82, 0xfe, &4096u16.to_be_bytes(), &payload[..4096]),
        ]
        .concat();
        for reads in [1, 7, 4096] {
            assert_eq!(passed(&long, reads, 10_000).await, fragments, "{reads}");
            assert_eq!(passed(&wide, reads, 10_000).await, fragments, "{reads}");
            let both = [middle.clone(), short.clone(), long.clone()].concat();
            let expected = [middles.clone(), short.clone(), fragments.clone()].concat();
            assert_eq!(passed(&both, reads, 10_000).await, expected, "{reads}");
            // What is to be refused is not touched: it is too long, or no data, or breaks off.
            assert_eq!(passed(&long, reads, 9_999).await, long);
            for first in [0x88, 0x83, 0x8f] {
                let control = frame(first, 0xfe, &10_000u16.to_be_bytes(), &payload);
                assert_eq!(passed(&control, reads, 10_000).await, control);
            }
            let endless = frame(0x82, 0xff, &[0xff; 8], b"abc");
            assert_eq!(passed(&endless, reads, usize::MAX >> 1).await, endless);
        }
        // Reserved bits and a missing mask show in the first fragment.
        let reserved = frame(0xc1, 0xfe, &5000u16.to_be_bytes(), &payload[..5000]);
        assert_eq!(passed(&reserved, 100, 10_000).await[0], 0x41);
        let unmasked = [&[0x82, 126, 0x20, 0], &payload[..8192]].concat();
        assert_eq!(passed(&unmasked, 100, 10_000).await[..4], [0x02, 126, 0x10, 0]);
        assert_eq!(passed(&long[..5000], 100, 10_000).await.len(), 5000 + 8);
    }
}
