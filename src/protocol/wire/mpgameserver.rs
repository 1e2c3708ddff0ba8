//! The datagram format of the Python package mpgameserver, version 1.

/// Most fragments of one message.
pub const MAX_FRAGMENTS: u16 = 0x2000;
