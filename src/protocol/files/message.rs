//! The messages of transfers, byte for byte as `PROTOCOL.md` has them.

use super::{Digest, MAX_DATA};

/// Bytes before the data of a DATA.
pub const DATA_HEADER: usize = 1 + 4 + 8;
/// Bytes of a name at most, as it is offered.
pub const MAX_NAME: usize = 255;
/// Bytes of an END's text at most; a longer one is cut.
pub const MAX_TEXT: usize = 255;

const OFFER: u8 = 1;
const ACCEPT: u8 = 2;
const CREDIT: u8 = 3;
const DATA: u8 = 4;
const DONE: u8 = 5;
const END: u8 = 6;

/// A message. Each names its file by the number that its sender, who offered it, gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Sender: will you take this?
    Offer {
        /// Which file.
        file: u32,
        /// Bytes.
        size: u64,
        /// Their SHA-256.
        digest: Digest,
        /// Its name, UTF-8.
        name: &'a [u8],
    },
    /// Receiver: yes, from this byte on.
    Accept {
        /// Which file.
        file: u32,
        /// What the receiver has already.
        offset: u64,
        /// Up to where it may be sent for now.
        limit: u64,
    },
    /// Receiver: go on.
    Credit {
        /// Which file.
        file: u32,
        /// What is written.
        written: u64,
        /// Up to where it may be sent for now.
        limit: u64,
    },
    /// Sender: a piece.
    Data {
        /// Which file.
        file: u32,
        /// Where it stands in the file.
        offset: u64,
        /// The bytes, at least one.
        data: &'a [u8],
    },
    /// Receiver: all of it is there, and right.
    Done {
        /// Which file.
        file: u32,
    },
    /// Either: it is over without that.
    End {
        /// Which file.
        file: u32,
        /// Whether its sender says so.
        by_sender: bool,
        /// Why: a [`Failure`](super::Failure).
        reason: u8,
        /// The host's words, UTF-8.
        text: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Reads one. `None`: it is none.
    pub fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut r = Reader(bytes);
        let kind = r.take::<1>()?[0];
        let file = u32::from_be_bytes(r.take()?);
        let message = match kind {
            OFFER => {
                let (size, digest) = (r.u64()?, r.take()?);
                let len = usize::from(r.take::<1>()?[0]);
                Message::Offer { file, size, digest, name: r.bytes(len)? }
            }
            ACCEPT => Message::Accept { file, offset: r.u64()?, limit: r.u64()? },
            CREDIT => Message::Credit { file, written: r.u64()?, limit: r.u64()? },
            DATA => {
                let offset = r.u64()?;
                let len = r.0.len();
                let data = Some(r.bytes(len)?).filter(|data| (1..=MAX_DATA).contains(&data.len()))?;
                Message::Data { file, offset, data }
            }
            DONE => Message::Done { file },
            END => {
                let ([by, reason], len) = (r.take()?, r.take::<1>()?[0]);
                let by_sender = [false, true].get(usize::from(by)).copied()?;
                Message::End { file, by_sender, reason, text: r.bytes(len.into())? }
            }
            _ => return None,
        };
        r.0.is_empty().then_some(message)
    }

    /// Its bytes. Names and texts that are too long are cut.
    pub fn write(&self) -> Vec<u8> {
        match *self {
            Message::Offer { file, size, digest, name } => {
                let mut out = head(OFFER, file, 8 + digest.len() + 1 + name.len());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&digest);
                put_counted(&mut out, name, MAX_NAME);
                out
            }
            Message::Accept { file, offset, limit } => two(ACCEPT, file, offset, limit),
            Message::Credit { file, written, limit } => two(CREDIT, file, written, limit),
            Message::Data { file, offset, data } => {
                let mut out = head(DATA, file, 8 + data.len());
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(data);
                out
            }
            Message::Done { file } => head(DONE, file, 0),
            Message::End { file, by_sender, reason, text } => {
                let mut out = head(END, file, 3 + text.len());
                out.extend_from_slice(&[u8::from(by_sender), reason]);
                put_counted(&mut out, text, MAX_TEXT);
                out
            }
        }
    }
}

/// Whether bytes of ours are a CREDIT of a file.
pub(super) fn is_credit(bytes: &[u8], file: u32) -> bool {
    bytes.starts_with(&head(CREDIT, file, 0))
}

fn head(kind: u8, file: u32, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + more);
    out.push(kind);
    out.extend_from_slice(&file.to_be_bytes());
    out
}

fn two(kind: u8, file: u32, first: u64, second: u64) -> Vec<u8> {
    let mut out = head(kind, file, 16);
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&second.to_be_bytes());
    out
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let bytes = bytes.get(..bytes.len().min(most)).unwrap_or_default();
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take()?))
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        let all = [
            Message::Offer { file: 1, size: u64::MAX, digest: [7; 32], name: b"a" },
            Message::Accept { file: 2, offset: 3, limit: 4 },
            Message::Credit { file: 2, written: 3, limit: 4 },
            Message::Done { file: 0xff00_0001 },
            Message::End { file: 9, by_sender: true, reason: 7, text: b"no" },
        ];
        for message in all {
            let bytes = message.write();
            assert_eq!(Message::read(&bytes), Some(message));
            for len in 0..bytes.len() {
                assert_eq!(Message::read(&bytes[..len]), None, "{message:?}");
            }
            assert_eq!(Message::read(&[&bytes[..], b"?"].concat()), None, "{message:?}");
        }
    }

    #[test]
    fn data_reach_to_the_end_within_bounds() {
        let written = |len| Message::Data { file: 5, offset: 6, data: &vec![1; len] }.write();
        assert_eq!(written(2), b"\x04\0\0\0\x05\0\0\0\0\0\0\0\x06\x01\x01");
        assert_eq!(Message::read(&written(0)), None);
        assert!(Message::read(&written(MAX_DATA)).is_some());
        assert_eq!(Message::read(&written(MAX_DATA + 1)), None);
        assert_eq!(written(MAX_DATA).len(), super::super::MAX_MESSAGE);
    }

    #[test]
    fn texts_that_are_too_long_are_cut() {
        let text = [b'x'; 300];
        let end = Message::End { file: 1, by_sender: false, reason: 2, text: &text }.write();
        let cut = Message::End { file: 1, by_sender: false, reason: 2, text: &text[..MAX_TEXT] };
        assert_eq!(Message::read(&end), Some(cut));
        assert_eq!(Message::read(&[6, 0, 0, 0, 1, 2, 1, 0]), None, "said by neither");
    }
}
