//! What a wire leaves room for, and how messages are cut to fit there.

use std::ops::Range;

/// What a wire leaves room for. Each wire makes its own; the delivery engine asks for nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Largest datagram.
    pub datagram: usize,
    /// Largest datagram that every path carries: nothing that is sent again is longer.
    pub least_datagram: usize,
    /// Largest payload of a sealed datagram.
    pub payload: usize,
    /// Largest body of a message that travels alone.
    pub message: usize,
    /// Data of every fragment but the last.
    pub fragment: usize,
    /// On a path that carries more than the least: data of every second fragment, which fills a datagram that the one before leaves
    /// room in. So both still fit when the path narrows. 0: all fragments are alike.
    pub filler: usize,
    /// Data of the last fragment, at most.
    pub last_fragment: usize,
    /// Bytes of a hello: a shorter one gets no answer.
    pub hello: usize,
    /// Fragments of one message, at most.
    pub most_fragments: u16,
    /// How far the newest message number may be ahead of the oldest that may be resent.
    pub number_window: u64,
    /// Whether messages that are sent once take numbers too.
    pub numbers_all: bool,
}

impl Sizes {
    /// How a message of `len` bytes is cut. `None`: it is longer than fragments can be counted.
    pub fn cut(&self, len: usize) -> Option<Cut> {
        if len <= self.message {
            return Some(Cut { pieces: 1, first: self.fragment, second: self.fragment });
        }
        let alike = Cut { pieces: self.fragments(len), first: self.fragment, second: self.fragment };
        let pair = self.fragment + self.filler;
        let (full, rest) = (len / pair, len % pair);
        let paired = Cut {
            pieces: 2 * full + usize::from(rest > 0) + usize::from(rest > self.fragment),
            first: self.fragment,
            second: self.filler,
        };
        let most = usize::from(self.most_fragments);
        let is_paired = self.filler > 0 && len > self.message && paired.pieces <= most;
        Some(if is_paired { paired } else { alike }).filter(|cut| cut.pieces <= most)
    }

    /// How many fragments a message of `len` bytes takes if all are alike; 1 where it travels whole.
    pub fn fragments(&self, len: usize) -> usize {
        if len <= self.message {
            return 1;
        }
        // Full ones until what is left fits into a last one.
        1 + (len - self.last_fragment).div_ceil(self.fragment)
    }
}

/// How a message is cut into pieces: by turns so many bytes, and so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many; 1 where it travels whole.
    pub pieces: usize,
    first: usize,
    second: usize,
}

impl Cut {
    /// Which bytes of its message, of `len` bytes, a piece carries. The last one carries the rest.
    pub fn range(&self, index: usize, len: usize) -> Range<usize> {
        let begin = |index: usize| (index / 2) * (self.first + self.second) + (index % 2) * self.first;
        let end = if index + 1 >= self.pieces { len } else { begin(index + 1) };
        begin(index).min(len)..end.min(len)
    }
}
