//! Why a message was not queued, in words: for the hosts of both ends.

use crate::error::{Error, ErrorKind};
use crate::protocol::connection::SendError;
use crate::protocol::delivery::{Limits, QueueError};
use crate::protocol::framing::{EncodeError, MAX_CONTENT_TYPE};

/// Why a message was not queued, as both ends' hosts are told: `who` refuses it, and `gone` is what kind of error it is
/// that nobody is connected there; `most` is how many bytes a message can have.
pub(crate) fn send_refused(
    error: SendError,
    who: &dyn std::fmt::Display,
    gone: ErrorKind,
    len: usize,
    limits: &Limits,
    most: usize,
) -> Error {
    match error {
        SendError::Unsupported => {
            Error::new(ErrorKind::Argument, format!("{who} is on a wire that has no such mode"))
        }
        SendError::NotConnected => Error::new(gone, format!("{who} is not connected, or is disconnecting")),
        SendError::Queue(QueueError::Full) => {
            let (messages, bytes) = (limits.max_messages, limits.max_bytes);
            let text =
                format!("the queue of {who} is full: its bounds are {messages} messages and {bytes} bytes");
            Error::new(ErrorKind::WouldBlock, text)
        }
        SendError::Queue(QueueError::TooLarge) => Error::new(
            ErrorKind::TooLarge,
            format!("{len} bytes are more than max_message_size of this end or of the other, {most}"),
        ),
        SendError::Framing(EncodeError::TooLarge) => {
            Error::new(ErrorKind::TooLarge, format!("{len} bytes are more than the framing can tell"))
        }
        SendError::Framing(EncodeError::Content) => Error::new(
            ErrorKind::Argument,
            format!(
                "content: type, encoding and order of bytes have {MAX_CONTENT_TYPE} bytes each at most, for {who}"
            ),
        ),
        SendError::Framing(EncodeError::Empty) => {
            Error::new(ErrorKind::Argument, format!("{who} takes raw bytes, of which a message needs some"))
        }
        SendError::Framing(EncodeError::LineFeed) => Error::new(
            ErrorKind::Argument,
            format!("{who} takes lines: a message can hold no line feed, nor end with a carriage return"),
        ),
    }
}
