//! Key phases of the native wire: each direction goes on to a new key on its own, long before one key has sealed too much.

use super::crypto::{CryptoError, Traffic};
use super::mutant;
use super::wire::native::{open, DataHeader, PacketKey};

/// Packets sealed under one key at most before the next phase begins: an eighth of what AES-GCM allows for (RFC 9001, 6.6).
pub const PACKETS_PER_PHASE: u64 = 1 << 20;

/// The sending half.
#[derive(Debug)]
pub struct SendPhase {
    secret: Traffic,
    key: PacketKey,
    phase: bool,
    /// The first packet under this key.
    first: u64,
    every: u64,
}

impl SendPhase {
    /// The first phase, which packet 1 opens.
    pub fn new(secret: Traffic) -> Result<Self, CryptoError> {
        let key = PacketKey::new(&secret)?;
        Ok(SendPhase { secret, key, phase: false, first: 1, every: PACKETS_PER_PHASE })
    }

    /// For tests: phases of so many packets.
    #[cfg(test)]
    pub(crate) fn every(&mut self, packets: u64) {
        self.every = packets;
    }

    /// The key for packet `number` and the phase's bit. `acked` is the newest packet that the other side acknowledged: a phase
    /// follows only when the other side is known to be in this one.
    pub fn key_for(&mut self, number: u64, acked: u64) -> Result<(&PacketKey, bool), CryptoError> {
        let arrived = acked >= self.first || mutant!(PhaseEarly);
        if number >= self.first + self.every && arrived && !mutant!(PhaseNever) {
            self.secret = self.secret.next()?;
            self.key = PacketKey::like(&self.key, &self.secret)?;
            self.phase = !self.phase;
            self.first = number;
        }
        Ok((&self.key, self.phase))
    }

    /// The key and the bit of now.
    pub fn current(&self) -> (&PacketKey, bool) {
        (&self.key, self.phase)
    }

    /// See [`PacketKey::wake`].
    pub fn wake(&mut self) {
        self.key.wake();
    }

    /// See [`PacketKey::rest`].
    pub fn rest(&mut self) {
        self.key.rest();
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct ReceivePhase {
    /// The secret of the phase after the current one.
    next_secret: Traffic,
    previous: Option<Box<PacketKey>>,
    current: PacketKey,
    /// Made when a packet first claims to be of the next phase: most connections end before.
    next: Option<Box<PacketKey>>,
    phase: bool,
    /// The least number opened with the current key.
    first: u64,
}

impl ReceivePhase {
    /// The first phase.
    pub fn new(secret: &Traffic) -> Result<Self, CryptoError> {
        let next_secret = secret.next()?;
        Ok(ReceivePhase {
            previous: None,
            current: PacketKey::new(secret)?,
            next: None,
            phase: false,
            first: 0,
            next_secret,
        })
    }

    /// Opens a packet in place. A new phase begins only with a packet that its key opens.
    pub fn open<'a>(
        &mut self,
        datagram: &'a mut [u8],
        header: &DataHeader,
    ) -> Result<&'a mut [u8], CryptoError> {
        if header.phase == self.phase {
            let opened = open(datagram, header, &self.current)?;
            self.first = if self.first == 0 { header.number } else { self.first.min(header.number) };
            return Ok(opened);
        }
        match &self.previous {
            Some(key) if header.number < self.first => open(datagram, header, key),
            // Before anything of the current phase there is nothing older than it.
            _ if header.number < self.first => Err(CryptoError),
            _ => {
                let mut next = match self.next.take() {
                    Some(next) => next,
                    None => Box::new(PacketKey::like(&self.current, &self.next_secret)?),
                };
                let opened = match open(datagram, header, &next) {
                    Ok(opened) => opened,
                    Err(error) => {
                        // Who forges makes this end derive it once.
                        self.next = Some(next);
                        return Err(error);
                    }
                };
                self.next_secret = self.next_secret.next()?;
                std::mem::swap(&mut self.current, &mut next);
                self.previous = Some(next);
                if mutant!(OldKeyForgotten) {
                    self.previous = None;
                }
                self.phase = header.phase;
                self.first = header.number;
                Ok(opened)
            }
        }
    }

    /// See [`PacketKey::wake`].
    pub fn wake(&mut self) {
        self.current.wake();
    }

    /// See [`PacketKey::rest`]; of all that it has.
    pub fn rest(&mut self) {
        self.current.rest();
        self.previous.iter_mut().chain(&mut self.next).for_each(|key| key.rest());
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::native::{put_header, seal};
    use super::*;

    fn packet(sender: &mut SendPhase, number: u64, acked: u64) -> Vec<u8> {
        let (key, phase) = sender.key_for(number, acked).unwrap();
        let mut out = Vec::new();
        let header = put_header(&mut out, None, phase, number, number - 1);
        out.push(1);
        seal(&mut out, 0, header, key, number).unwrap();
        out
    }

    fn open_at(receiver: &mut ReceivePhase, mut datagram: Vec<u8>, newest: u64) -> bool {
        let header = DataHeader::parse(&datagram, false, newest).unwrap();
        receiver.open(&mut datagram, &header).is_ok_and(|payload| payload == [1])
    }

    #[test]
    fn phases_follow_each_other_and_late_packets_still_open() {
        let secret = Traffic::new([7; 32]);
        let (mut s, mut r) = (SendPhase::new(secret.clone()).unwrap(), ReceivePhase::new(&secret).unwrap());
        s.every(10);
        let mut late = Vec::new();
        for number in 1..=100_u64 {
            let datagram = packet(&mut s, number, number - 1);
            if number % 10 == 9 {
                late = datagram;
                continue;
            }
            assert!(open_at(&mut r, datagram, number - 1), "{number}");
            if number % 10 == 2 && number > 10 {
                // One of the phase before.
                assert!(open_at(&mut r, std::mem::take(&mut late), number), "late, at {number}");
            }
        }
        assert!(s.phase == r.phase && s.first == 91);
    }

    #[test]
    fn no_phase_begins_before_the_last_is_acknowledged_or_by_a_forgery() {
        let secret = Traffic::new([7; 32]);
        let (mut s, mut r) = (SendPhase::new(secret.clone()).unwrap(), ReceivePhase::new(&secret).unwrap());
        s.every(10);
        for number in 1..=50 {
            assert!(open_at(&mut r, packet(&mut s, number, 0), number - 1));
        }
        assert!(!s.phase, "nothing was acknowledged");
        let mut flipped = packet(&mut s, 51, 0);
        flipped[0] ^= 4;
        assert!(!open_at(&mut r, flipped, 50));
        assert!(!r.phase && open_at(&mut r, packet(&mut s, 52, 0), 50));
        assert!(open_at(&mut r, packet(&mut s, 53, 52), 52) && s.phase && r.phase);
        let mut flipped = packet(&mut s, 54, 52);
        flipped[0] ^= 4;
        assert!(!open_at(&mut r, flipped, 53));
    }

    #[test]
    fn keys_that_rest_and_keys_that_do_not_make_the_same_packets() {
        let secret = Traffic::new([7; 32]);
        let ends = || (SendPhase::new(secret.clone()).unwrap(), ReceivePhase::new(&secret).unwrap());
        let ((mut s, mut r), (mut awake, mut wakes)) = (ends(), ends());
        awake.wake();
        s.every(10);
        awake.every(10);
        for number in 1..=60_u64 {
            let datagram = packet(&mut s, number, number - 1);
            assert_eq!(datagram, packet(&mut awake, number, number - 1), "{number}");
            // One end that changes its mind in every phase, and one that never wakes.
            if number % 5 == 0 {
                wakes.wake();
            } else if number % 5 == 3 {
                wakes.rest();
                assert!(wakes.previous.iter().chain(&wakes.next).all(|key| key.rests()));
            }
            assert!(open_at(&mut r, datagram.clone(), number - 1));
            assert!(open_at(&mut wakes, datagram, number - 1));
        }
        assert!(s.key.rests() && r.current.rests() && s.phase == r.phase);
        assert!(!awake.key.rests(), "a new phase's key is as the one before it");
        assert!(s.first == 51 && awake.first == 51);
    }
}
