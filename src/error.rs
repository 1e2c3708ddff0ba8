//! The one error type that hosts see.

use std::fmt;

/// What kind of thing went wrong. The C ABI maps each to one `GK_ERR_…` number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is not an address, or names no local interface.
    Address,
    /// Another socket is bound to the address already.
    AddressInUse,
    /// A value is out of its range, or malformed.
    Argument,
    /// Another thread is inside the same call.
    Busy,
    /// The operating system refused: the message carries its words.
    Io,
    /// A key cannot be read, or is of an unsupported kind.
    Key,
    /// A panic was caught inside the server: it answers nothing but this from then on.
    Panic,
    /// The call is not allowed from inside a callback.
    Reentrant,
    /// A signature does not fit the key and the data.
    Signature,
    /// The peer is gone, or was never one of this server's.
    Stale,
    /// The object is not in the state that the call needs.
    State,
    /// The wait ended before what was waited for happened.
    Timeout,
    /// The message is longer than the configured maximum.
    TooLarge,
    /// A bounded queue is full; nothing was queued. Try again after the `writable` event.
    WouldBlock,
}

/// An error with its kind and one sentence for a person.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result of a fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// The kind, for a program.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence, for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
