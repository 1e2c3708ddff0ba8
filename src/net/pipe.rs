//! Pipes: whatever carries a stream peer of a server, a TCP socket or a WebSocket of another thread.
//!
//! A server's loop knows streams by two things: the pure half
//! ([`crate::protocol::connection::stream::Connection`]: framings, queues, bounds, the end) and a [`Pipe`], which
//! moves bytes or whole messages. `crate::net::stream` is the pipe of a TCP socket. A second kind is written
//! beside it without touching the loop:
//!
//! 1. Take [`Server::entrance`](crate::Server::entrance), an [`Entrance`] that any thread can keep.
//! 2. When a connection is there (a WebSocket after its upgrade, say), describe it as an [`Arrival`] and call
//!    [`Entrance::arrive`] with a function that makes its pipe from a [`Bell`]. The server's loop takes it in at its next
//!    turn: block list, limits, password and the host's decision are as for every other peer, and
//!    [`Pipe::seated`] tells the peer's number. From then on it *is* a peer: same events, same `send`.
//! 3. When the pipe has something to read, or room to write again, ring the bell from any thread: the loop then calls
//!    [`Pipe::read`] until it says [`Incoming::Nothing`], and [`Pipe::write`] until that takes no more. Rings coalesce, and
//!    a ring is a system call only if the loop may sleep. The loop reads no more than it has room for; what it has not read
//!    is left in the pipe, so **bound the pipe's own inbox and stop reading from the network while it is full**: that is
//!    the back-pressure. The loop rings itself when it has room again.
//! 4. What the host sends waits in the peer's bounded queue (`WouldBlock` above it). `write` takes it one message at a time;
//!    answering 0 ("no room") leaves it there. Bound the outbox, and ring when there is room again: the peer is ended as
//!    stalled when it takes nothing for the door's stall timeout. (`Arrival::stall_timeout`.)
//! 5. The end: [`Incoming::Gone`] with the other side's code and reason (a WebSocket's 4000 "bored" becomes the
//!    `app_code` and the text of the disconnect event), or [`Pipe::close`] with what the host said.
//!
//! All methods of a pipe are called on the loop's thread, never with a lock of the server's held, and must not wait.
//!
//! [`channel`] is such a pipe, made for a thread that has messages and wants messages: a bounded inbox and a
//! bounded outbox, with a [`Remote`](channel::Remote) for the other thread. A WebSocket door needs no other:
//!
//! ```ignore
//! let remote = channel::open(&server.entrance(), arrival, 64, move || notify.notify_one())?;
//! // on the thread of the WebSocket:
//! remote.push(bytes, Some(Content::of("text/plain")))?;     // Full: stop reading until `on_change` was called
//! while let Some((payload, content)) = remote.pop() { /* content.kind begins with "text/": a text message */ }
//! remote.leave(Farewell { code: 1001, ..Farewell::default() }); // it closed its side
//! if let Some(farewell) = remote.ended() { /* the server's side is closed: send a close frame with its code and text */ }
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::net::event_loop::Waker;
use crate::protocol::connection::{Door, Farewell};
use crate::protocol::framing::{Content, Framing};
use crate::protocol::payload::Payload;

pub mod channel;

/// Connections that wait to be taken in by the loop; above it [`Entrance::arrive`] refuses.
pub const MAX_ARRIVALS: usize = 1024;
/// Least number of a pipe: those below are the event loop's own.
const FIRST_KEY: usize = 16;

/// What a pipe has for its peer.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Nothing now. The loop asks again when the bell has rung, or the socket is readable.
    Nothing,
    /// What protects the stream is agreed: the peer may come in. Only where [`Arrival::opens_later`].
    Opened,
    /// Bytes of a stream with a framing, at the head of the buffer that was given.
    Bytes(&'a [u8]),
    /// A message, whole, and what it is. Only where the framing is [`Framing::Whole`].
    Message(Vec<u8>, Option<Box<Content>>),
    /// The other side sends no more; it may still read.
    End,
    /// It is gone, with the goodbye that it said, if it did.
    Gone(Option<Farewell>),
}

/// What a pipe is to carry to the other side.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    /// Bytes of a stream with a framing.
    Bytes(&'a [u8]),
    /// A message, whole, and what it is.
    Message(&'a Payload, Option<&'a Content>),
}

/// How far the end of a pipe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It can be dropped.
    Over,
    /// It waits for the other side: the bell (or the socket) tells.
    Waits,
    /// It has more to do at once, when others have had their turn.
    Busy,
}

/// Why a pipe is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its words are all that is known.
    Unknown,
    /// Nobody listens where it was to lead.
    NobodyListens,
    /// Who is there did not prove to be the one.
    Untrusted,
}

/// Carries one peer. See the module.
pub trait Pipe: Send {
    /// It is a peer from now on, with this number ([`PeerId::to_bits`](crate::server::events::PeerId::to_bits)).
    fn seated(&mut self, peer: u64) {
        let _ = peer;
    }

    /// What came. `buffer` is as long as one read is to be.
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Incoming<'a>;

    /// Takes of what is to go out: so many bytes, or 1 for the message. Fewer (0 for the message): there is no room for
    /// more, and the bell (or the socket) tells when there is. Errors: the stream is broken; the peer ends.
    fn write(&mut self, out: Outgoing<'_>) -> io::Result<usize>;

    /// Moves on what the pipe itself still holds of what was written. `false`: not all of it, for want of room.
    /// Errors: as `write`.
    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// The peer has ended: `farewell` is for the other side, where it can be told.
    fn close(&mut self, farewell: &Farewell) -> Closing;

    /// After [`close`](Self::close), for a short while, as long as it has not been over.
    fn go_on_closing(&mut self) -> Closing {
        Closing::Over
    }

    /// Why it is gone, where that means something to a client.
    fn trouble(&self) -> Trouble {
        Trouble::Unknown
    }

    /// What the event loop is to wait for, where it is a socket.
    fn source(&mut self) -> Option<&mut dyn mio::event::Source> {
        None
    }
}

/// A connection that wants to become a peer.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Through which door it comes.
    pub door: Door,
    /// Where it comes from.
    pub address: SocketAddr,
    /// How its messages are told apart; [`Framing::Whole`] where the pipe does that.
    pub framing: Framing,
    /// Whether its first message is to be the server's password. Where it is not, `password` counts.
    pub asks_password: bool,
    /// The password that it brought some other way: a server that wants one refuses who has none.
    pub password: Option<Vec<u8>>,
    /// What its join brings to the host's `authorise` (a WebSocket's path and query, say); bounded by the door.
    pub data: Vec<u8>,
    /// Whether the pipe says [`Incoming::Opened`] first, within the server's `authorise_timeout`.
    pub opens_later: bool,
    /// A message that has begun, or one that waits to be written, may stand still for so long.
    pub stall_timeout: Duration,
    /// Bytes that one read takes at most.
    pub read_bytes: usize,
}

/// Where other threads bring connections to a server. Clones are the same one. It may outlive its server, and then
/// refuses.
#[derive(Clone, Debug)]
pub struct Entrance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: AtomicUsize,
    waker: Waker,
    has_news: AtomicBool,
    news: Mutex<News>,
}

/// What came from other threads since the loop looked last.
#[derive(Default)]
pub(crate) struct News {
    /// Connections: their number, and what there is of them.
    pub(crate) arrivals: VecDeque<(usize, Arrival, Box<dyn Pipe>)>,
    /// Pipes whose bell has rung.
    pub(crate) rung: Vec<usize>,
    pending: Vec<Arc<AtomicBool>>,
    closed: bool,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "News({} arrivals, {} rung)", self.arrivals.len(), self.rung.len())
    }
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// [`MAX_ARRIVALS`] wait already.
    Busy,
    /// The server has stopped.
    Stopped,
}

/// Tells the loop that a pipe has something to read, or room to write.
#[derive(Clone, Debug)]
pub struct Bell {
    key: usize,
    pending: Arc<AtomicBool>,
    inner: Arc<Inner>,
}

impl Entrance {
    /// Of the loop that this wakes.
    pub(crate) fn new(waker: Waker) -> Entrance {
        Entrance(Arc::new(Inner {
            keys: AtomicUsize::new(FIRST_KEY),
            waker,
            has_news: AtomicBool::new(false),
            news: Mutex::default(),
        }))
    }

    /// Brings a connection. `make` makes its pipe, which may ring the bell that it gets at once. Errors: see [`Refused`].
    pub fn arrive<P: Pipe + 'static>(
        &self,
        arrival: Arrival,
        make: impl FnOnce(Bell) -> P,
    ) -> Result<(), Refused> {
        let key = self.next_key();
        let bell = Bell { key, pending: Arc::default(), inner: self.0.clone() };
        let pipe = Box::new(make(bell));
        let mut news = self.0.news.lock();
        if news.closed {
            return Err(Refused::Stopped);
        }
        if news.arrivals.len() >= MAX_ARRIVALS {
            return Err(Refused::Busy);
        }
        news.arrivals.push_back((key, arrival, pipe));
        drop(news);
        self.0.tell();
        Ok(())
    }

    /// A number for a pipe; never given twice.
    pub(crate) fn next_key(&self) -> usize {
        self.0.keys.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether [`take`](Self::take) has something.
    pub(crate) fn has_news(&self) -> bool {
        self.0.has_news.load(Ordering::Acquire)
    }

    /// What came since the last call; of connections so many, and the others with the next one.
    pub(crate) fn take(&self, connections: usize) -> News {
        if !self.0.has_news.swap(false, Ordering::AcqRel) {
            return News::default();
        }
        let mut news = self.0.news.lock();
        // What changes from here on is to ring again.
        news.pending.drain(..).for_each(|pending| pending.store(false, Ordering::Release));
        let (closed, taken) = (news.closed, news.arrivals.len().min(connections));
        let arrivals = news.arrivals.split_off(taken);
        self.0.has_news.fetch_or(!arrivals.is_empty(), Ordering::AcqRel);
        std::mem::replace(&mut *news, News { closed, arrivals, ..News::default() })
    }

    /// Nobody is taken any more.
    pub(crate) fn close(&self) {
        let refused = std::mem::replace(&mut *self.0.news.lock(), News { closed: true, ..News::default() });
        // Pipes tell their threads when they go, and those may come back here.
        drop(refused);
    }
}

impl Inner {
    fn tell(&self) {
        self.has_news.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Bell {
    /// See the module. Any thread; never waits.
    pub fn ring(&self) {
        if self.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut news = self.inner.news.lock();
        if news.closed {
            return;
        }
        news.rung.push(self.key);
        news.pending.push(self.pending.clone());
        drop(news);
        self.inner.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::ListenAddress;
    use crate::net::event_loop::EventLoop;
    use crate::net::udp::UdpSocket;

    struct Silent;

    impl Pipe for Silent {
        fn read<'a>(&mut self, _: &'a mut [u8]) -> Incoming<'a> {
            Incoming::Nothing
        }

        fn write(&mut self, _: Outgoing<'_>) -> io::Result<usize> {
            Ok(0)
        }

        fn close(&mut self, _: &Farewell) -> Closing {
            Closing::Over
        }
    }

    #[test]
    fn a_crowd_comes_in_in_turns_and_in_order() {
        let address = ListenAddress::parse("127.0.0.1:0").unwrap();
        let event_loop = EventLoop::new(UdpSocket::bind(&address, 4096, 4096).unwrap()).unwrap();
        let entrance = Entrance::new(event_loop.waker());
        let arrive = |port: u16| {
            let arrival = Arrival {
                door: Door::Websocket,
                address: ([127, 0, 0, 1], port).into(),
                framing: Framing::Whole,
                asks_password: false,
                password: None,
                data: Vec::new(),
                opens_later: false,
                stall_timeout: Duration::from_secs(1),
                read_bytes: 1,
            };
            let mut kept = None;
            entrance.arrive(arrival, |bell| {
                kept = Some(bell);
                Silent
            })?;
            Ok::<_, Refused>(kept.unwrap())
        };
        let bells: Vec<Bell> = (1..=5).map(|port| arrive(port).unwrap()).collect();
        bells[0].ring();
        let mut ports = Vec::new();
        for (left, rung) in [(true, 1), (true, 0), (false, 0)] {
            let news = entrance.take(2);
            ports.extend(news.arrivals.iter().map(|(_, arrival, _)| arrival.address.port()));
            assert_eq!((entrance.has_news(), news.rung.len()), (left, rung));
        }
        assert_eq!(ports, [1, 2, 3, 4, 5]);
        assert!(entrance.take(2).arrivals.is_empty());
        entrance.close();
        assert_eq!(arrive(6).map(drop), Err(Refused::Stopped));
    }
}
