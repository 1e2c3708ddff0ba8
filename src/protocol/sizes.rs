//! What a wire leaves room for.

/// What a wire leaves room for. Each wire makes its own; the delivery engine asks for nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Largest datagram.
    pub datagram: usize,
    /// Largest payload of a sealed datagram.
    pub payload: usize,
    /// Largest body of a message that travels alone.
    pub message: usize,
    /// Data of every fragment but the last.
    pub fragment: usize,
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
    /// How many fragments a message of `len` bytes takes; 1 where it travels whole.
    pub fn fragments(&self, len: usize) -> usize {
        if len <= self.message {
            return 1;
        }
        // Full ones until what is left fits into a last one.
        1 + (len - self.last_fragment).div_ceil(self.fragment)
    }
}
