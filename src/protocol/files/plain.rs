//! The plainest form of a transfer, for programs that know a stream and nothing else: of the first read, what stands before the
//! first space is the name, and everything after it until the sender closes is the file.
//!
//! Nobody says how long the file is or what its hash would be, so nothing can be checked or resumed: a connection that breaks
//! leaves nothing behind.

use super::{name, Failure, Offer};

/// Bytes of the first read in which the space must stand.
pub const MAX_PLAIN_NAME: usize = 1024;

/// What is to be done with what was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A file of this safe name begins; `data` are its first bytes.
    Begin {
        /// The name.
        name: String,
        /// What follows it in the same read; may be empty.
        data: &'a [u8],
    },
    /// The file goes on.
    Data(&'a [u8]),
    /// The rest of the connection is worth nothing.
    Fail(Failure),
}

/// Reads one connection.
#[derive(Debug, Default)]
pub struct PlainReader {
    begun: bool,
    failed: bool,
    bytes: u64,
    /// Longest file that is taken; 0: without bound.
    max_bytes: u64,
}

impl PlainReader {
    /// One that takes files up to a length; 0: any.
    pub fn new(max_bytes: u64) -> PlainReader {
        PlainReader { max_bytes, ..PlainReader::default() }
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What one read returned; it must not be empty. After a failure there is nothing but failures.
    pub fn handle_read<'a>(&mut self, read: &'a [u8]) -> Step<'a> {
        let (name, data) = if self.begun {
            (None, read)
        } else {
            let head = read.get(..read.len().min(MAX_PLAIN_NAME)).unwrap_or_default();
            let Some(space) = head.iter().position(|b| *b == b' ') else {
                self.failed = true;
                return Step::Fail(Failure::Protocol);
            };
            let (name, rest) = read.split_at_checked(space).unwrap_or_default();
            (Some(name::safe(&String::from_utf8_lossy(name))), rest.get(1..).unwrap_or_default())
        };
        self.begun = true;
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        self.failed |= self.max_bytes > 0 && self.bytes > self.max_bytes;
        match (self.failed, name) {
            (true, _) => Step::Fail(Failure::TooLarge),
            (false, Some(name)) => Step::Begin { name, data },
            (false, None) => Step::Data(data),
        }
    }

    /// The sender has closed its half: whether there is a whole file now.
    pub fn handle_end(&self) -> bool {
        self.begun && !self.failed
    }
}

/// What a sender says before the bytes of the file: to be written in one piece, together with some of them if there are any. Spaces
/// of the name become underscores, since the first one ends it.
pub fn header(offer: &Offer) -> Vec<u8> {
    let mut head = offer.name.replace(' ', "_").into_bytes();
    head.push(b' ');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_space_ends_the_name_and_the_rest_is_the_file() {
        let mut reader = PlainReader::new(0);
        let first = reader.handle_read(b"../notes.txt one two ");
        assert_eq!(first, Step::Begin { name: "notes.txt".into(), data: b"one two " });
        assert_eq!(reader.handle_read(b" three"), Step::Data(b" three"));
        assert!(reader.handle_end());
        assert_eq!(reader.bytes(), 14);
    }

    #[test]
    fn an_empty_file_is_one_and_a_connection_without_a_name_is_none() {
        let mut reader = PlainReader::new(0);
        assert!(!reader.handle_end());
        assert_eq!(reader.handle_read(b"empty "), Step::Begin { name: "empty".into(), data: b"" });
        assert!(reader.handle_end());
        for first in [&b"nospace"[..], &[b'x'; 5000]] {
            let mut reader = PlainReader::new(0);
            assert_eq!(reader.handle_read(first), Step::Fail(Failure::Protocol));
            assert!(!reader.handle_end());
        }
    }

    #[test]
    fn a_file_that_grows_too_long_fails_and_stays_failed() {
        let mut reader = PlainReader::new(3);
        assert!(matches!(reader.handle_read(b"a 123"), Step::Begin { .. }));
        assert_eq!(reader.handle_read(b"4"), Step::Fail(Failure::TooLarge));
        assert_eq!(reader.handle_read(b""), Step::Fail(Failure::TooLarge));
        assert!(!reader.handle_end());
    }

    #[test]
    fn what_a_sender_writes_is_read() {
        let offer = Offer { name: "two words.txt".into(), size: 2, digest: [0; 32] };
        let mut written = header(&offer);
        written.extend_from_slice(b"hi");
        let step = PlainReader::new(0).handle_read(&written);
        assert!(matches!(step, Step::Begin { name, data: b"hi" } if name == "two_words.txt"));
    }
}
