//! What `GamekeeperMultiplayerPeer` adds to gamekeeper's messages: `README.md` beside this crate has every byte.
//! Pure: nothing of the engine, no clock, no socket.

use std::collections::BTreeMap;

use gamekeeper::server::events::RetryMode;

/// The bytes that a client's join data begins with: who it is, and the version of what stands in this file.
pub const JOIN: [u8; 5] = *b"GKGD\x01";

/// Largest channel of the engine that packets can be sent on. Half of gamekeeper's 256 channels, less the one for
/// control messages.
pub const MAX_CHANNEL: u8 = 126;
/// The gamekeeper channel of control messages, which travel ordered.
pub const CONTROL: u8 = 127;
/// Added to a packet's channel where it is unreliable and ordered.
const ORDERED_UNRELIABLE: u8 = 128;

/// First byte of the control message that tells a client its id.
const WELCOME: u8 = 1;

/// Smallest id of a client; the server's is 1.
pub const MIN_CLIENT_ID: i32 = 2;

/// Bytes before an unreliable ordered packet: its number.
pub const NUMBER_BYTES: usize = 4;

/// How a packet of the engine travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// At most once, in any order.
    Unreliable,
    /// At most once; what is older than the newest that arrived on its channel is dropped.
    UnreliableOrdered,
    /// Exactly once and in order, per channel, while the connection lives.
    Reliable,
}

/// Whether join data are those of a client that speaks this.
pub fn is_join(data: &[u8]) -> bool {
    data.starts_with(&JOIN)
}

/// The control message that tells a client its id.
pub fn welcome(id: i32) -> [u8; 5] {
    let [a, b, c, d] = id.to_le_bytes();
    [WELCOME, a, b, c, d]
}

/// The id that a control message tells. `None`: it is not a welcome, or tells no client's id. Bytes behind are passed
/// over, so that later versions can append.
pub fn read_welcome(data: &[u8]) -> Option<i32> {
    let (kind, rest) = data.split_first()?;
    let id = i32::from_le_bytes(*rest.first_chunk()?);
    (*kind == WELCOME && id >= MIN_CLIENT_ID).then_some(id)
}

/// How a packet is handed to gamekeeper: delivery and channel. `None`: there is no such channel.
pub fn outward(transfer: Transfer, channel: i32) -> Option<(RetryMode, u8)> {
    let channel = u8::try_from(channel).ok().filter(|channel| *channel <= MAX_CHANNEL)?;
    Some(match transfer {
        Transfer::Unreliable => (RetryMode::None, channel),
        Transfer::UnreliableOrdered => (RetryMode::None, channel | ORDERED_UNRELIABLE),
        Transfer::Reliable => (RetryMode::Ordered, channel),
    })
}

/// What the mode and channel of a message say of the packet in it. `None`: nothing that this version sends.
pub fn inward(mode: Option<RetryMode>, channel: u8) -> Option<(Transfer, u8)> {
    match (mode?, channel) {
        (RetryMode::None, 0..=MAX_CHANNEL) => Some((Transfer::Unreliable, channel)),
        (RetryMode::None, ORDERED_UNRELIABLE..=254) => {
            Some((Transfer::UnreliableOrdered, channel & !ORDERED_UNRELIABLE))
        }
        (RetryMode::Ordered, 0..=MAX_CHANNEL) => Some((Transfer::Reliable, channel)),
        _ => None,
    }
}

/// The numbers of unreliable ordered packets of one connection, both ways, per channel.
///
/// gamekeeper's own sequenced mode is for states of which only the newest counts: it replaces one that waits by the
/// next of its channel. The engine promises less loss: several calls of one frame share a channel, and all of them are
/// to arrive where the network loses none. So such packets travel unordered, with a number, and the receiver drops what
/// is late.
#[derive(Debug, Default)]
pub struct Numbers {
    sent: BTreeMap<u8, u32>,
    newest: BTreeMap<u8, u32>,
}

impl Numbers {
    /// A packet with its number before it.
    pub fn number(&mut self, channel: u8, packet: &[u8]) -> Vec<u8> {
        let number = self.sent.entry(channel).or_default();
        *number = number.wrapping_add(1);
        let mut message = Vec::with_capacity(NUMBER_BYTES + packet.len());
        message.extend_from_slice(&number.to_le_bytes());
        message.extend_from_slice(packet);
        message
    }

    /// The packet in a message. `None`: it is too late, or has no number.
    pub fn in_order<'a>(&mut self, channel: u8, message: &'a [u8]) -> Option<&'a [u8]> {
        let (number, packet) = message.split_first_chunk::<NUMBER_BYTES>()?;
        let number = u32::from_le_bytes(*number);
        let newest = self.newest.entry(channel).or_default();
        // Half of the numbers lie ahead: so they may wrap around.
        if !(1..=u32::MAX / 2).contains(&number.wrapping_sub(*newest)) {
            return None;
        }
        *newest = number;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_tells_an_id_and_nothing_else_does() {
        for id in [MIN_CLIENT_ID, 77, i32::MAX] {
            assert_eq!(read_welcome(&welcome(id)), Some(id));
        }
        for id in [i32::MIN, -1, 0, 1] {
            assert_eq!(read_welcome(&welcome(id)), None, "{id}");
        }
        assert_eq!(read_welcome(&[1, 2, 0, 0, 0, 9]), Some(2), "appended to");
        for wrong in [&[][..], &[1], &[1, 2, 0, 0], &[0, 2, 0, 0, 0], &[2, 2, 0, 0, 0]] {
            assert_eq!(read_welcome(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn join_data_may_be_longer_and_not_shorter_or_other() {
        assert!(is_join(b"GKGD\x01") && is_join(b"GKGD\x01more"));
        for wrong in [&b""[..], b"GKGD", b"GKGD\x02", b"gkgd\x01"] {
            assert!(!is_join(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_goes_out_comes_in_as_the_same() {
        for transfer in [Transfer::Unreliable, Transfer::UnreliableOrdered, Transfer::Reliable] {
            for channel in 0..=MAX_CHANNEL {
                let (mode, on) = outward(transfer, channel.into()).unwrap();
                assert_ne!(on, CONTROL);
                assert_eq!(inward(Some(mode), on), Some((transfer, channel)));
            }
            for channel in [-1, 127, 128, 255, 256, i32::MAX, i32::MIN] {
                assert_eq!(outward(transfer, channel), None, "{channel}");
            }
        }
    }

    #[test]
    fn what_is_never_sent_is_nothing() {
        assert_eq!(inward(None, 0), None);
        for channel in [CONTROL, 255] {
            assert_eq!(inward(Some(RetryMode::None), channel), None);
            assert_eq!(inward(Some(RetryMode::Ordered), channel), None);
        }
        for mode in [RetryMode::OnTimeout, RetryMode::BestEffort, RetryMode::Sequenced] {
            assert_eq!(inward(Some(mode), 0), None);
        }
    }

    #[test]
    fn late_packets_are_dropped_per_channel() {
        let (mut ours, mut theirs) = (Numbers::default(), Numbers::default());
        let [a, b, c] = [b"a", b"b", b"c"].map(|packet| ours.number(0, packet));
        let other = ours.number(5, b"other");
        assert_eq!(theirs.in_order(0, &a), Some(&b"a"[..]));
        assert_eq!(theirs.in_order(0, &c), Some(&b"c"[..]));
        assert_eq!(theirs.in_order(0, &b), None, "late");
        assert_eq!(theirs.in_order(0, &c), None, "twice");
        assert_eq!(theirs.in_order(5, &other), Some(&b"other"[..]));
        assert_eq!(theirs.in_order(0, &[1, 2, 3]), None, "no number");
    }

    #[test]
    fn numbers_wrap_around() {
        let mut numbers = Numbers::default();
        numbers.newest.insert(0, u32::MAX - 1);
        for (number, taken) in
            [(u32::MAX, true), (u32::MAX - 5, false), (0, true), (u32::MAX, false), (3, true)]
        {
            assert_eq!(numbers.in_order(0, &number.to_le_bytes()).is_some(), taken, "{number}");
        }
    }
}
