//! What has been received, as acknowledgements tell it.

use std::time::Duration;

use super::mutant;
use super::time::Time;

/// Packets after which an acknowledgement is sent on its own: before a sender's 32 bits run out.
pub const ACK_EVERY: u32 = 16;

/// How long our client lets messages wait for their acknowledgement: a server reads all that comes.
pub const CLIENT_ACK_DELAY: Duration = Duration::from_millis(25);
/// How long a server does: as long as the package's keep-alive, since its client reads but one datagram a frame, and
/// every datagram of mere acknowledgements delays those behind it.
pub const SERVER_ACK_DELAY: Duration = Duration::from_millis(100);

/// The newest received packet and a bitmap over those before it. Apart from the replay window, since a
/// packet whose messages were refused is seen but not acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acks {
    newest: u64,
    /// Bit `d - 1`: packet `newest - d`.
    bits: u64,
    unsent: u32,
    /// When the oldest packet with messages came that no packet of ours has acknowledged yet.
    waiting: Option<Time>,
}

impl Acks {
    /// The newest packet to acknowledge, 0 for none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// mpgameserver's bits: the highest is the packet before the newest.
    pub fn bits32(&self) -> u32 {
        (self.bits as u32).reverse_bits() | u32::from(mutant!(AckUnseen)) << 31
    }

    /// Packet `n` is to be acknowledged.
    pub fn received(&mut self, n: u64) {
        self.unsent = self.unsent.saturating_add(1);
        if n > self.newest {
            let d = n - self.newest;
            self.bits = if self.newest == 0 || d > 64 {
                0
            } else {
                // The old newest becomes bit d - 1; a shift by 64 leaves nothing else.
                self.bits.checked_shl(d as u32).unwrap_or(0) | 1 << (d - 1)
            };
            self.newest = n;
        } else if let Some(d) = (self.newest - n).checked_sub(1).filter(|d| *d < 64) {
            self.bits |= 1 << d;
        }
    }

    /// The packet just [`received`](Self::received) carried messages: somebody waits to know.
    pub fn carried_messages(&mut self, now: Time) {
        self.waiting.get_or_insert(now);
    }

    /// Since when somebody waits.
    pub fn waiting(&self) -> Option<Time> {
        self.waiting
    }

    /// A packet left, and every packet carries acknowledgements.
    pub fn sent(&mut self) {
        self.unsent = 0;
        self.waiting = None;
    }

    /// Whether one must leave now.
    pub fn due(&self) -> bool {
        self.unsent >= ACK_EVERY && !mutant!(AckTooLate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_where_the_wire_wants_them() {
        let mut a = Acks::default();
        a.received(1);
        assert_eq!((a.newest(), a.bits32()), (1, 0));
        a.received(2);
        assert_eq!((a.newest(), a.bits32()), (2, 0x8000_0000));
        a.received(5);
        assert_eq!((a.newest(), a.bits32()), (5, 0x8000_0000 >> 2 | 0x8000_0000 >> 3));
        a.received(4);
        assert_eq!(a.bits32(), 0x8000_0000 | 0x8000_0000 >> 2 | 0x8000_0000 >> 3);
        a.received(37);
        assert_eq!(a.bits32(), 1, "5 is 32 behind 37");
        a.received(101);
        assert_eq!((a.newest(), a.bits32()), (101, 0));
        a.received(1000);
        assert_eq!((a.newest(), a.bits32()), (1000, 0));
    }
}
