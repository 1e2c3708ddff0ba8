//! Messages in a stream of bytes: how a TCP door tells where one ends and the next begins.
//!
//! A [`Decoder`] takes bytes as reads bring them and gives messages; [`encode`] makes the bytes of one. Nothing is
//! reserved for what was only announced: memory grows with the bytes that came.

use std::collections::VecDeque;

use serde_json::Value;

use super::files::MAX_MESSAGE;

/// Read at once from a raw stream where the host says nothing else, bytes: the longest message there.
pub const DEFAULT_READ_BYTES: usize = 4096;
/// Bytes in front of a message with a length.
const LENGTH_BYTES: usize = 4;
/// The bit of a length that marks what is about files, where both ends have agreed on them: no message is that long.
const FILES_BIT: u32 = 1 << 31;
/// Bytes in front of a JSON header.
const HEADER_LENGTH_BYTES: usize = 2;
/// Longest content type, encoding and order of bytes, bytes; a header with a longer one is malformed, and a message with one
/// cannot be sent.
pub const MAX_CONTENT_TYPE: usize = 255;
/// What content is where its sender says nothing: bytes.
const BYTES: &str = "application/octet-stream";
/// The order of bytes in numbers of the content, where its sender says nothing.
const BYTE_ORDER: &str = "little";
/// What holding a message that came whole costs beside its bytes, counted where what is held is bounded.
const FRAME_BYTES: usize = 128;

/// How messages are told apart in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Framing {
    /// Not at all: whatever one read brought is a message.
    #[default]
    Raw = 0,
    /// Each has its length in front, 32 bits, the most significant first.
    Length = 1,
    /// Each is a line: ended by a line feed, which is no part of it, nor is a carriage return before that.
    Lines = 2,
    /// Each has a JSON header in front that tells the content's length, type and encoding, and before that the header's
    /// own length, 16 bits, the most significant first.
    Json = 3,
    /// They come and go whole: what carries them tells them apart itself, as a WebSocket does.
    Whole = 4,
}

/// What a JSON header says of the content behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `content-type`, as `text/json`.
    pub kind: String,
    /// `content-encoding`, as `utf-8` or `binary`.
    pub encoding: String,
    /// `byteorder`, as `little` or `big`: of numbers in the content.
    pub byte_order: String,
}

impl Default for Content {
    fn default() -> Content {
        Content::of(BYTES)
    }
}

impl Content {
    /// Of a type, with the encoding that goes with it: text is UTF-8, all else binary. Numbers begin with the least
    /// significant byte.
    pub fn of(kind: &str) -> Content {
        let encoding = if kind.starts_with("text/") { "utf-8" } else { "binary" };
        Content { kind: kind.into(), encoding: encoding.into(), byte_order: BYTE_ORDER.into() }
    }

    /// Whether a header can tell all of it.
    fn fits(&self) -> bool {
        [&self.kind, &self.encoding, &self.byte_order].iter().all(|text| text.len() <= MAX_CONTENT_TYPE)
    }
}

/// A message out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes.
    pub data: Vec<u8>,
    /// What they are; only JSON headers tell.
    pub content: Option<Box<Content>>,
    /// They are about files, and not for the host.
    pub of_files: bool,
}

/// What a stream may not bring. It cannot go on after that: nobody knows where the next message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A message is longer than the bound.
    TooLarge,
    /// A JSON header is no JSON, or lacks what it must have.
    Header,
}

/// Why a message cannot be sent in a framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Of a message without a byte nothing would be seen.
    Empty,
    /// A line cannot hold a line feed, nor end with a carriage return.
    LineFeed,
    /// It is longer than the framing can tell.
    TooLarge,
    /// What is said of it is longer than [`MAX_CONTENT_TYPE`].
    Content,
}

/// Finds messages in the bytes of one stream.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_message: usize,
    buffer: VecDeque<u8>,
    /// Of a line: bytes that hold no line feed.
    searched: usize,
    /// Of raw bytes: where reads ended.
    reads: VecDeque<usize>,
    /// Of those that come whole: all that wait.
    whole: VecDeque<Frame>,
    /// The header that was read, and the length of its content.
    header: Option<(Box<Content>, usize)>,
    ended: bool,
    /// Lengths may be marked as of files.
    files: bool,
}

impl Decoder {
    /// For messages of at most so many bytes.
    pub fn new(framing: Framing, max_message: usize) -> Decoder {
        Decoder {
            framing,
            max_message,
            buffer: VecDeque::new(),
            searched: 0,
            reads: VecDeque::new(),
            whole: VecDeque::new(),
            header: None,
            ended: false,
            files: false,
        }
    }

    /// Takes in what one read brought.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
        if self.framing == Framing::Raw && !bytes.is_empty() {
            self.reads.push_back(bytes.len());
        }
    }

    /// Takes in a message that came whole.
    pub fn push_frame(&mut self, frame: Frame) {
        self.whole.push_back(frame);
    }

    /// From the next message on the bound is another one.
    pub fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// From the next message on it may be one about files.
    pub fn allow_files(&mut self) {
        self.files = true;
    }

    /// Nothing comes any more: what is left is a line, too.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Bytes held, with what it costs to hold a message that came whole, be it empty.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.whole.iter().map(|frame| frame.data.len() + FRAME_BYTES).sum::<usize>()
    }

    /// Whether none are held: the stream stands between two messages.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.header.is_none() && self.whole.is_empty()
    }

    /// The next message; `None`: it is not whole yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let data = match self.framing {
            Framing::Raw => self.reads.pop_front().map(|length| self.take(length)),
            Framing::Length => return self.next_by_length(),
            Framing::Lines => self.next_line()?,
            Framing::Json => return self.next_by_header(),
            Framing::Whole => return self.next_whole(),
        };
        Ok(data.map(|data| Frame { data, content: None, of_files: false }))
    }

    fn next_whole(&mut self) -> Result<Option<Frame>, FrameError> {
        let next = self.whole.pop_front();
        if self.whole.is_empty() {
            self.whole = VecDeque::new();
        }
        self.check(next.as_ref().map_or(0, |frame| frame.data.len()))?;
        Ok(next)
    }

    fn next_by_length(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(number) = self.peek_number(LENGTH_BYTES) else { return Ok(None) };
        let bit = FILES_BIT as usize;
        let of_files = self.files && number & bit != 0;
        let length = if of_files { number & !bit } else { number };
        if of_files && length > MAX_MESSAGE {
            return Err(FrameError::TooLarge);
        }
        self.check(length)?;
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.take(LENGTH_BYTES);
        Ok(Some(Frame { data: self.take(length), content: None, of_files }))
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let found = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(end) = found.map(|at| self.searched + at) else {
            self.searched = self.buffer.len();
            // A carriage return may be the last of them, and is not counted.
            self.check(self.searched.saturating_sub(1))?;
            let last = self.ended && !self.buffer.is_empty();
            return Ok(last.then(|| {
                self.searched = 0;
                let length = self.buffer.len();
                without_return(self.take(length))
            }));
        };
        self.searched = 0;
        let line = without_return(self.take(end));
        self.take(1);
        self.check(line.len())?;
        Ok(Some(line))
    }

    fn next_by_header(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.header.is_none() {
            let Some(length) = self.peek_number(HEADER_LENGTH_BYTES) else { return Ok(None) };
            if self.buffer.len() < HEADER_LENGTH_BYTES + length {
                return Ok(None);
            }
            self.take(HEADER_LENGTH_BYTES);
            let (content, length) = parse_header(&self.take(length))?;
            self.check(length)?;
            self.header = Some((Box::new(content), length));
        }
        match self.header.take() {
            Some((content, length)) if self.buffer.len() >= length => {
                let data = self.take(length);
                Ok(Some(Frame { data, content: Some(content), of_files: false }))
            }
            waiting => {
                self.header = waiting;
                Ok(None)
            }
        }
    }

    fn check(&self, length: usize) -> Result<(), FrameError> {
        if length > self.max_message {
            return Err(FrameError::TooLarge);
        }
        Ok(())
    }

    /// The number in the next bytes, the most significant first.
    fn peek_number(&self, bytes: usize) -> Option<usize> {
        if self.buffer.len() < bytes {
            return None;
        }
        Some(self.buffer.iter().take(bytes).fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.buffer.drain(..length.min(self.buffer.len())).collect();
        // A connection that idles holds nothing.
        if self.buffer.is_empty() {
            self.buffer = VecDeque::new();
        }
        taken
    }
}

fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

/// The four members that a header must have.
fn parse_header(bytes: &[u8]) -> Result<(Content, usize), FrameError> {
    let header: Value = serde_json::from_slice(bytes).map_err(|_| FrameError::Header)?;
    let text = |name: &str| {
        let text = header.get(name).and_then(Value::as_str).filter(|t| t.len() <= MAX_CONTENT_TYPE);
        text.map(str::to_owned).ok_or(FrameError::Header)
    };
    let length = header.get("content-length").and_then(Value::as_u64).ok_or(FrameError::Header)?;
    let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
    let (kind, encoding) = (text("content-type")?, text("content-encoding")?);
    Ok((Content { kind, encoding, byte_order: text("byteorder")? }, length))
}

/// Whether a message of this content can be sent in a framing.
pub fn check(framing: Framing, payload: &[u8], content: Option<&Content>) -> Result<(), EncodeError> {
    match framing {
        Framing::Json if content.is_some_and(|content| !content.fits()) => Err(EncodeError::Content),
        Framing::Raw if payload.is_empty() => Err(EncodeError::Empty),
        Framing::Length if u32::try_from(payload.len()).is_err() => Err(EncodeError::TooLarge),
        Framing::Lines if payload.contains(&b'\n') || payload.last() == Some(&b'\r') => {
            Err(EncodeError::LineFeed)
        }
        _ => Ok(()),
    }
}

/// What stands before a message, and what behind it.
pub fn encode(framing: Framing, payload: &[u8], content: Option<&Content>) -> (Vec<u8>, &'static [u8]) {
    match framing {
        Framing::Raw | Framing::Whole => (Vec::new(), b""),
        // `check` has refused what is longer.
        Framing::Length => ((payload.len() as u32).to_be_bytes().to_vec(), b""),
        Framing::Lines => (Vec::new(), b"\n"),
        Framing::Json => (json_header(payload.len(), content), b""),
    }
}

/// What stands before a message about files, in a stream with lengths.
pub fn encode_of_files(payload: &[u8]) -> Vec<u8> {
    // None is longer than `MAX_MESSAGE`.
    (payload.len() as u32 | FILES_BIT).to_be_bytes().to_vec()
}

fn json_header(length: usize, content: Option<&Content>) -> Vec<u8> {
    let content = content.cloned().unwrap_or_default();
    let header = serde_json::json!({
        "byteorder": content.byte_order,
        "content-type": content.kind,
        "content-encoding": content.encoding,
        "content-length": length,
    });
    let header = header.to_string();
    let mut bytes = Vec::with_capacity(HEADER_LENGTH_BYTES + header.len());
    // `check` has refused longer strings: three of at most 255 bytes each, escaped, and a number do not reach 64 KiB.
    bytes.extend_from_slice(&(header.len() as u16).to_be_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Framing; 4] = [Framing::Raw, Framing::Length, Framing::Lines, Framing::Json];

    fn bytes_of(framing: Framing, payload: &[u8], content: Option<&Content>) -> Vec<u8> {
        let (mut bytes, end) = encode(framing, payload, content);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(end);
        bytes
    }

    fn all(decoder: &mut Decoder) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| decoder.next_frame().expect("well-formed")).map(|f| f.data).collect()
    }

    #[test]
    fn what_is_encoded_comes_out_however_it_is_cut() {
        let messages: [&[u8]; 4] = [b"one", b"", b"a longer message \xff\x00 with bytes", b"!"];
        for framing in [Framing::Length, Framing::Lines, Framing::Json] {
            let stream: Vec<u8> = messages.iter().flat_map(|m| bytes_of(framing, m, None)).collect();
            for cut in 1..=stream.len() {
                let mut decoder = Decoder::new(framing, 64);
                let mut out = Vec::new();
                for piece in stream.chunks(cut) {
                    decoder.push(piece);
                    out.extend(all(&mut decoder));
                }
                assert_eq!(out, messages, "{framing:?} in pieces of {cut}");
                assert!(decoder.is_empty(), "{framing:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn raw_bytes_are_a_message_a_read() {
        let mut decoder = Decoder::new(Framing::Raw, 64);
        decoder.push(b"two ");
        decoder.push(b"");
        decoder.push(b"reads");
        assert_eq!(all(&mut decoder), [b"two ".to_vec(), b"reads".to_vec()]);
        assert!(decoder.is_empty());
    }

    #[test]
    fn a_line_loses_its_carriage_return_and_the_last_needs_no_end() {
        let mut decoder = Decoder::new(Framing::Lines, 64);
        decoder.push(b"one\r\n\r\ntwo\rthree\nfour");
        assert_eq!(all(&mut decoder), [b"one".to_vec(), b"".to_vec(), b"two\rthree".to_vec()]);
        decoder.end();
        assert_eq!(all(&mut decoder), [b"four".to_vec()]);
        assert!(decoder.is_empty());
    }

    #[test]
    fn a_line_as_long_as_the_bound_is_taken_and_a_longer_one_is_not() {
        for end in ["\n", "\r\n"] {
            let mut decoder = Decoder::new(Framing::Lines, 8);
            decoder.push(b"12345678");
            assert_eq!(decoder.next_frame(), Ok(None));
            decoder.push(end.as_bytes());
            assert_eq!(all(&mut decoder), [b"12345678".to_vec()]);
            decoder.push(b"123456789");
            decoder.push(end.as_bytes());
            assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge));
        }
        let mut endless = Decoder::new(Framing::Lines, 8);
        endless.push(b"1234567890");
        assert_eq!(endless.next_frame(), Err(FrameError::TooLarge), "before its end comes");
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::new(Framing::Length, 1000);
        decoder.push(&1000u32.to_be_bytes());
        assert_eq!(decoder.next_frame(), Ok(None));
        let mut decoder = Decoder::new(Framing::Length, 1000);
        decoder.push(&1001u32.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge));
        let mut decoder = Decoder::new(Framing::Json, 1000);
        decoder.push(&json_header(1001, None));
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge));
    }

    #[test]
    fn a_json_header_tells_what_the_content_is() {
        let content = Content::of("text/json");
        let mut decoder = Decoder::new(Framing::Json, 64);
        decoder.push(&bytes_of(Framing::Json, br#"{"action":"search"}"#, Some(&content)));
        let frame = decoder.next_frame().expect("well-formed").expect("whole");
        assert_eq!(frame.content.as_deref(), Some(&content));
        assert_eq!(frame.data, br#"{"action":"search"}"#);
        // As the tutorial's own client writes it.
        let header = br#"{"byteorder": "little", "content-type": "binary/custom-client-binary-type", "content-encoding": "binary", "content-length": 3}"#;
        decoder.push(&(header.len() as u16).to_be_bytes());
        decoder.push(header);
        decoder.push(b"\x01\x02\x03");
        let frame = decoder.next_frame().expect("well-formed").expect("whole");
        assert_eq!(frame.content.map(|c| c.kind).as_deref(), Some("binary/custom-client-binary-type"));
        assert_eq!(frame.data, [1, 2, 3]);
    }

    #[test]
    fn bad_headers_are_refused() {
        let long = format!(
            r#"{{"byteorder":"little","content-type":"{}","content-encoding":"binary","content-length":1}}"#,
            "x".repeat(MAX_CONTENT_TYPE + 1)
        );
        let deep = "[".repeat(60_000);
        for header in [
            "",
            "{",
            "[]",
            "7",
            "\u{0}",
            r#"{"byteorder":"little","content-type":"a","content-encoding":"b"}"#,
            r#"{"byteorder":"little","content-type":"a","content-length":1}"#,
            r#"{"byteorder":"little","content-type":"a","content-encoding":"b","content-length":-1}"#,
            r#"{"byteorder":"little","content-type":"a","content-encoding":"b","content-length":1.5}"#,
            r#"{"byteorder":"little","content-type":"a","content-encoding":"b","content-length":"1"}"#,
            r#"{"byteorder":"little","content-type":7,"content-encoding":"b","content-length":1}"#,
            r#"{"content-type":"a","content-encoding":"b","content-length":1}"#,
            &long,
            &deep,
        ] {
            let mut decoder = Decoder::new(Framing::Json, 64);
            decoder.push(&(header.len() as u16).to_be_bytes());
            decoder.push(header.as_bytes());
            let shown: String = header.chars().take(80).collect();
            assert_eq!(decoder.next_frame(), Err(FrameError::Header), "{shown}");
        }
    }

    #[test]
    fn what_no_line_can_hold_is_refused_for_sending() {
        assert_eq!(check(Framing::Lines, b"a\nb", None), Err(EncodeError::LineFeed));
        assert_eq!(check(Framing::Lines, b"a\r", None), Err(EncodeError::LineFeed));
        assert_eq!(check(Framing::Lines, b"a\rb", None), Ok(()));
        for framing in [Framing::Raw, Framing::Length, Framing::Json] {
            assert_eq!(check(framing, b"a\nb\r", None), Ok(()));
        }
    }

    #[test]
    fn a_header_that_would_outgrow_its_length_is_refused_for_sending() {
        // The worst that is taken: each byte of it takes six when it is escaped.
        let worst = "\u{1}".repeat(MAX_CONTENT_TYPE);
        let content = Content { kind: worst.clone(), encoding: worst.clone(), byte_order: worst };
        assert_eq!(check(Framing::Json, b"x", Some(&content)), Ok(()));
        let mut decoder = Decoder::new(Framing::Json, 64);
        decoder.push(&bytes_of(Framing::Json, b"x", Some(&content)));
        let frame = decoder.next_frame().expect("well-formed").expect("whole");
        assert_eq!(frame.content.as_deref(), Some(&content));
        let long = "x".repeat(MAX_CONTENT_TYPE + 1);
        for content in [
            Content { kind: long.clone(), ..Content::default() },
            Content { encoding: long.clone(), ..Content::default() },
            Content { byte_order: long.clone(), ..Content::default() },
            Content::of(&"x".repeat(70_000)),
        ] {
            assert_eq!(check(Framing::Json, b"x", Some(&content)), Err(EncodeError::Content));
            // Where it is not told it does not matter.
            assert_eq!(check(Framing::Length, b"x", Some(&content)), Ok(()));
        }
    }

    #[test]
    fn random_bytes_end_in_messages_or_an_error_and_never_hold_more_than_came() {
        use rand::{rngs::SmallRng, Rng, SeedableRng};
        for seed in 0..2000 {
            let mut random = SmallRng::seed_from_u64(seed);
            let framing = ALL[random.random_range(0..ALL.len())];
            let mut decoder = Decoder::new(framing, 100);
            let (mut came, mut out) = (0, 0);
            'stream: for _ in 0..random.random_range(1..20) {
                let mut piece = vec![0; random.random_range(0..50)];
                random.fill(&mut piece[..]);
                if random.random_bool(0.5) {
                    piece.iter_mut().take(4).for_each(|b| *b = 0);
                }
                came += piece.len();
                decoder.push(&piece);
                loop {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => {
                            assert!(frame.data.len() <= 100 || framing == Framing::Raw);
                            out += frame.data.len();
                        }
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
            assert!(decoder.len() + out <= came, "seed {seed}");
        }
    }
}
