//! A pipe to another thread that has whole messages and wants whole messages.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Arrival, Bell, Closing, Entrance, Incoming, Outgoing, Pipe, Refused};
use crate::protocol::connection::Farewell;
use crate::protocol::framing::Content;
use crate::protocol::payload::Payload;

/// Bytes that each direction holds beside its last message: a queue of few long messages is full, too.
pub const MAX_CHANNEL_BYTES: usize = 256 << 10;

/// A message that waits, and what it is.
type Waiting<T> = VecDeque<(T, Option<Box<Content>>)>;

#[derive(Default)]
struct Shared {
    inbox: Waiting<Vec<u8>>,
    inbox_bytes: usize,
    outbox: Waiting<Payload>,
    outbox_bytes: usize,
    peer: u64,
    /// The other thread's goodbye.
    left: Option<Farewell>,
    /// The server's.
    ended: Option<Farewell>,
}

/// The other thread's end. Dropping it is leaving without a word.
pub struct Remote {
    shared: Arc<Mutex<Shared>>,
    bell: Bell,
    capacity: usize,
}

/// There is no room: `on_change` is called when there is.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub Vec<u8>);

struct Channel<F: Fn(), S> {
    shared: Arc<Mutex<Shared>>,
    capacity: usize,
    on_change: F,
    on_seated: S,
}

/// Brings a connection to a server. Either direction holds up to `capacity` messages. `on_change` is called on the server's
/// thread, and must not wait: there is something to [`pop`](Remote::pop), room to [`push`](Remote::push) again, or
/// the peer has [`ended`](Remote::ended). Errors: see [`Refused`].
pub fn open(
    entrance: &Entrance,
    arrival: Arrival,
    capacity: usize,
    on_change: impl Fn() + Send + 'static,
) -> Result<Remote, Refused> {
    open_seated(entrance, arrival, capacity, on_change, |_| {})
}

/// The same; `on_seated` gets the peer's number, on the server's thread, before the host hears of the peer.
pub fn open_seated(
    entrance: &Entrance,
    arrival: Arrival,
    capacity: usize,
    on_change: impl Fn() + Send + 'static,
    on_seated: impl Fn(u64) + Send + 'static,
) -> Result<Remote, Refused> {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let mut remote = None;
    entrance.arrive(arrival, |bell| {
        remote = Some(Remote { shared: shared.clone(), bell, capacity });
        Channel { shared, capacity, on_change, on_seated }
    })?;
    // It was made: nothing was refused.
    remote.ok_or(Refused::Stopped)
}

impl Remote {
    /// A message for the server. Errors: [`Full`], which gives it back; stop reading from the network then.
    pub fn push(&self, data: Vec<u8>, content: Option<Content>) -> Result<(), Full> {
        let mut shared = self.shared.lock();
        if shared.inbox.len() >= self.capacity || shared.inbox_bytes >= MAX_CHANNEL_BYTES {
            return Err(Full(data));
        }
        shared.inbox_bytes += data.len();
        shared.inbox.push_back((data, content.map(Box::new)));
        drop(shared);
        self.bell.ring();
        Ok(())
    }

    /// The next message of the server's.
    pub fn pop(&self) -> Option<(Payload, Option<Box<Content>>)> {
        let mut shared = self.shared.lock();
        let was_full = shared.outbox.len() >= self.capacity || shared.outbox_bytes >= MAX_CHANNEL_BYTES;
        let next = shared.outbox.pop_front()?;
        shared.outbox_bytes = shared.outbox_bytes.saturating_sub(next.0.len());
        drop(shared);
        if was_full {
            self.bell.ring();
        }
        Some(next)
    }

    /// The other side has left, with these words. What it said before is still handed to the host.
    pub fn leave(&self, farewell: Farewell) {
        self.shared.lock().left.get_or_insert(farewell);
        self.bell.ring();
    }

    /// The number of the peer that it is; 0 before it has one.
    pub fn peer(&self) -> u64 {
        self.shared.lock().peer
    }

    /// The server's goodbye, once the peer has ended; what was sent before it can still be [`pop`](Self::pop)ped.
    pub fn ended(&self) -> Option<Farewell> {
        self.shared.lock().ended.clone()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.leave(Farewell::default());
    }
}

impl<F: Fn() + Send, S: Fn(u64) + Send> Pipe for Channel<F, S> {
    fn seated(&mut self, peer: u64) {
        self.shared.lock().peer = peer;
        (self.on_seated)(peer);
        (self.on_change)();
    }

    fn read<'a>(&mut self, _buffer: &'a mut [u8]) -> Incoming<'a> {
        let mut shared = self.shared.lock();
        let was_full = shared.inbox.len() >= self.capacity || shared.inbox_bytes >= MAX_CHANNEL_BYTES;
        let Some((data, content)) = shared.inbox.pop_front() else {
            return match shared.left.clone() {
                Some(farewell) => Incoming::Gone(Some(farewell)),
                None => Incoming::Nothing,
            };
        };
        shared.inbox_bytes = shared.inbox_bytes.saturating_sub(data.len());
        drop(shared);
        if was_full {
            (self.on_change)();
        }
        Incoming::Message(data, content)
    }

    fn write(&mut self, out: Outgoing<'_>) -> io::Result<usize> {
        let Outgoing::Message(payload, content) = out else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut shared = self.shared.lock();
        if shared.outbox.len() >= self.capacity || shared.outbox_bytes >= MAX_CHANNEL_BYTES {
            return Ok(0);
        }
        shared.outbox_bytes += payload.len();
        shared.outbox.push_back((payload.clone(), content.cloned().map(Box::new)));
        drop(shared);
        (self.on_change)();
        Ok(1)
    }

    fn close(&mut self, farewell: &Farewell) -> Closing {
        self.shared.lock().ended.get_or_insert_with(|| farewell.clone());
        (self.on_change)();
        Closing::Over
    }
}

impl<F: Fn(), S> Drop for Channel<F, S> {
    fn drop(&mut self) {
        // However it came about: the other thread is not left waiting for somebody who has gone.
        self.shared.lock().ended.get_or_insert_with(Farewell::default);
        (self.on_change)();
    }
}
