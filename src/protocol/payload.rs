//! Bytes of messages in buffers that are used again: what is sent is shared by all who send it, what is received belongs
//! to one.

use std::ops::Deref;
use std::sync::Arc;

/// Longest message whose buffer is kept for another.
pub const MAX_KEPT_BYTES: usize = 2048;
/// Buffers kept of messages to send, those under way included, and of received ones, at most.
pub const MAX_KEPT_BUFFERS: usize = 4096;
/// Buffers that are looked at for one that nobody needs any more.
const LOOKS: usize = 4;
/// Least room of a buffer that is kept.
const MIN_ROOM: usize = 64;

/// The bytes of a message to send. Cloned without a copy.
#[derive(Clone, Debug, Default)]
pub struct Payload(Option<Arc<Vec<u8>>>);

#[cfg(test)]
impl Payload {
    /// How many hold these bytes.
    pub(crate) fn shared_by(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |bytes| bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload(Some(Arc::new(bytes)))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Payload {
        bytes.to_vec().into()
    }
}

/// Where short messages to send get their buffers. A buffer stays in it while it is in use, and is found again when the last
/// message that it was for is done: they are looked at in turn, so that nobody has to give anything back.
#[derive(Debug, Default)]
pub struct Payloads {
    buffers: Vec<Arc<Vec<u8>>>,
    /// Which is looked at next.
    next: usize,
}

impl Payloads {
    /// A copy of `bytes` to send.
    pub fn copy(&mut self, bytes: &[u8]) -> Payload {
        if bytes.len() > MAX_KEPT_BYTES {
            return bytes.into();
        }
        for _ in 0..LOOKS {
            if self.next >= self.buffers.len() {
                self.next = 0;
            }
            let Some(buffer) = self.buffers.get_mut(self.next) else { break };
            self.next += 1;
            if let Some(room) = Arc::get_mut(buffer) {
                room.clear();
                if room.capacity() < bytes.len() {
                    // Room as a new one would have: growing by itself it could be twice of what is kept.
                    room.reserve_exact(room_for(bytes.len()));
                }
                room.extend_from_slice(bytes);
                return Payload(Some(buffer.clone()));
            }
        }
        self.make(bytes)
    }

    /// A new one, which is kept.
    #[cold]
    fn make(&mut self, bytes: &[u8]) -> Payload {
        if self.next >= self.buffers.len() {
            self.next = 0;
        }
        let mut room = Vec::with_capacity(room_for(bytes.len()));
        room.extend_from_slice(bytes);
        let buffer = Arc::new(room);
        if self.buffers.len() < MAX_KEPT_BUFFERS {
            self.buffers.push(buffer.clone());
        } else if let Some(kept) = self.buffers.get_mut(self.next) {
            // One that is needed for long makes room: messages that nobody acknowledges do not take the pool from others.
            *kept = buffer.clone();
            self.next += 1;
        }
        Payload(Some(buffer))
    }
}

fn room_for(bytes: usize) -> usize {
    bytes.next_power_of_two().max(MIN_ROOM)
}

/// Buffers of received messages that were handled, for others.
#[derive(Debug, Default)]
pub struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// A copy of `bytes` that belongs to the caller.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let room = if bytes.len() <= MAX_KEPT_BYTES { self.0.pop() } else { None };
        let mut room = room.unwrap_or_else(|| Vec::with_capacity(bytes.len().max(MIN_ROOM)));
        room.extend_from_slice(bytes);
        room
    }

    /// A buffer that is needed no more.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        let worth = (MIN_ROOM..=2 * MAX_KEPT_BYTES).contains(&buffer.capacity());
        if worth && self.0.len() < MAX_KEPT_BUFFERS {
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_needs_it() {
        let mut pool = Payloads::default();
        let first = pool.copy(b"first");
        let second = pool.copy(b"second");
        let at = first.as_ptr();
        let shared = first.clone();
        drop(first);
        assert_ne!(pool.copy(b"third").as_ptr(), at, "it is shared still");
        assert_eq!((&*shared, &*second), (&b"first"[..], &b"second"[..]));
        drop(shared);
        let again: Vec<Payload> = (0..4).map(|_| pool.copy(b"again")).collect();
        assert!(again.iter().any(|p| p.as_ptr() == at));
        assert!(again.iter().all(|p| **p == b"again"[..]) && *second == b"second"[..]);
        assert!(Payload::default().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut payloads, mut buffers) = (Payloads::default(), Buffers::default());
        let held: Vec<Payload> = (0..MAX_KEPT_BUFFERS + 10).map(|_| payloads.copy(&[1; 10])).collect();
        assert_eq!((payloads.buffers.len(), held.len()), (MAX_KEPT_BUFFERS, MAX_KEPT_BUFFERS + 10));
        assert_eq!(payloads.copy(&[2; MAX_KEPT_BYTES + 1]).len(), MAX_KEPT_BYTES + 1);
        // Those that are held for long do not keep it from others for ever.
        let news: Vec<*const u8> = (0..MAX_KEPT_BUFFERS).map(|_| payloads.copy(&[3; 10]).as_ptr()).collect();
        let again: Vec<*const u8> = (0..MAX_KEPT_BUFFERS).map(|_| payloads.copy(&[4; 10]).as_ptr()).collect();
        assert!(again.iter().filter(|at| news.contains(at)).count() > MAX_KEPT_BUFFERS / 2);
        for len in [MIN_ROOM, 1000, 2000, MAX_KEPT_BYTES] {
            (0..2 * MAX_KEPT_BUFFERS).for_each(|_| drop(payloads.copy(&vec![5; len])));
        }
        drop(held);
        assert!(payloads.buffers.iter().all(|buffer| buffer.capacity() <= MAX_KEPT_BYTES));
        for _ in 0..MAX_KEPT_BUFFERS + 10 {
            buffers.give(vec![1; 100]);
        }
        buffers.give(vec![1; 1 << 20]);
        assert_eq!(buffers.0.len(), MAX_KEPT_BUFFERS);
        assert_eq!(buffers.copy(b"other"), b"other");
        assert_eq!(buffers.0.len(), MAX_KEPT_BUFFERS - 1);
    }
}
