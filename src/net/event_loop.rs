//! Waiting for a socket, a wake from another thread, or the time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::net::batch::{ReceiveBatch, SendBatch, Sent};
use crate::net::udp::UdpSocket;

/// Longest time that one `wait` lasts; it returns early then, as it may at any time. The system's own limit
/// is an `int` of milliseconds, beyond which a time would turn negative: for ever.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Most events taken per wait; what does not fit stays for the next. There are two sources, but where there are streams.
const EVENT_CAPACITY: usize = 16;
/// The same where there are.
const STREAM_EVENT_CAPACITY: usize = 1024;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// What the system says of another source than the socket, once per change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number that it was [`watch`](EventLoop::watch)ed under.
    pub key: usize,
    /// A read may find something, or the end, or an error.
    pub readable: bool,
    /// A write may find room, or an error.
    pub writable: bool,
}

/// One poll with one socket, a [`Waker`], and whatever else is to be watched.
///
/// > The system tells of readiness once per change. The loop therefore remembers it: the socket counts as
/// > readable until a [`recv_from`](Self::recv_from) found nothing, and while it does, [`wait`](Self::wait)
/// > does not wait. Whoever stops reading before that loses nothing, but must not wait on
/// > [`descriptor`](Self::descriptor) then.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    /// `None` once closed.
    socket: Option<UdpSocket>,
    waker: Waker,
    readable: bool,
    /// The last wait saw a wake.
    woke: bool,
    /// The last send found no room, and no room was reported since.
    blocked: bool,
    /// News of other sources that nobody has taken yet.
    ready: Vec<Ready>,
}

impl EventLoop {
    /// A loop around `socket`. Errors: what the operating system says (too many open files, mostly).
    pub fn new(mut socket: UdpSocket) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        // Writability is asked for only while it is missed: otherwise each datagram sent would wake us.
        poll.registry().register(socket.source(), SOCKET, Interest::READABLE)?;
        let waker = Waker(Arc::new(WakerInner {
            pending: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), WAKE)?,
        }));
        let events = Events::with_capacity(EVENT_CAPACITY);
        // What arrived between bind and here: the first read finds out.
        Ok(EventLoop {
            poll,
            events,
            socket: Some(socket),
            waker,
            readable: true,
            blocked: false,
            woke: false,
            ready: Vec::new(),
        })
    }

    /// The socket, for its getters; none once it is closed. Reads and writes belong to the loop.
    pub fn socket(&self) -> Option<&UdpSocket> {
        self.socket.as_ref()
    }

    /// Closes the socket, whose port is free from then on. The rest lives on, so that the
    /// [`descriptor`](Self::descriptor) stays this loop's: reads find nothing, sends find no room.
    pub fn close(&mut self) {
        self.socket = None;
        self.readable = false;
    }

    /// Watches another source: [`wait`](Self::wait) returns when there is news of it, which
    /// [`take_ready`](Self::take_ready) hands out under `key`, above 1. It is told once per change, the state at the
    /// beginning included. It ends when the source is dropped. Errors: what the operating system says.
    pub fn watch(&mut self, source: &mut dyn mio::event::Source, key: usize) -> io::Result<()> {
        if self.events.capacity() < STREAM_EVENT_CAPACITY {
            self.events = Events::with_capacity(STREAM_EVENT_CAPACITY);
        }
        self.poll.registry().register(source, Token(key), Interest::READABLE | Interest::WRITABLE)
    }

    /// The same for a socket that listens, which is never written.
    pub fn watch_listener(&mut self, source: &mut dyn mio::event::Source, key: usize) -> io::Result<()> {
        self.poll.registry().register(source, Token(key), Interest::READABLE)
    }

    /// News of other sources since the last call.
    pub fn take_ready(&mut self) -> std::vec::Drain<'_, Ready> {
        self.ready.drain(..)
    }

    /// Whether there is any.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A handle that makes [`wait`](Self::wait) return, from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The poll's descriptor, readable when [`wait`](Self::wait) would return at once for the socket or a wake.
    /// It says nothing of what [`is_readable`](Self::is_readable) remembers.
    #[cfg(unix)]
    pub fn descriptor(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }

    /// Waits until the socket is readable (or, after a send found no room, writable), the waker was used, or
    /// `timeout` passed (rounded up to the system's resolution, often a millisecond; `None`: no limit). It may
    /// return early for no reason. Look at everything that a wake may stand for after it, never before:
    /// a wake that comes from then on ends the next wait. Errors: what the operating system says.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.readable || self.has_ready() {
            Duration::ZERO
        } else {
            timeout.unwrap_or(MAX_WAIT).min(MAX_WAIT)
        };
        let result = self.poll.poll(&mut self.events, Some(timeout));
        // From here on a wake needs a system call again. Whatever was queued before a wake that needed none
        // is visible to whoever looks after this.
        self.woke = self.waker.0.pending.swap(false, Ordering::AcqRel);
        match result {
            // A signal: the host's handler ran; it may want to be looked at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            if event.token() == WAKE {
                continue;
            }
            if event.token() != SOCKET {
                let ended = event.is_error() || event.is_read_closed() || event.is_write_closed();
                self.ready.push(Ready {
                    key: event.token().0,
                    readable: event.is_readable() || ended,
                    writable: event.is_writable() || ended,
                });
                continue;
            }
            // An error or a closed half shows at the next read or write.
            self.readable |= event.is_readable() || event.is_error();
            if self.blocked && (event.is_writable() || event.is_error()) {
                self.blocked = false;
                if let Some(socket) = &mut self.socket {
                    self.poll.registry().reregister(socket.source(), SOCKET, Interest::READABLE)?;
                }
            }
        }
        Ok(())
    }

    /// As [`wait`](Self::wait) without any time, and without a system call unless a wake or room to send is
    /// outstanding: the next read asks the socket itself.
    pub fn skip_wait(&mut self) -> io::Result<()> {
        if self.blocked || self.is_woken() {
            self.wait(Some(Duration::ZERO))?;
        }
        self.stay_readable();
        Ok(())
    }

    /// Whether a wake waits to be seen by the next [`wait`](Self::wait).
    pub fn is_woken(&self) -> bool {
        self.waker.0.pending.load(Ordering::Acquire)
    }

    /// Whether the last [`wait`](Self::wait) saw a wake.
    pub fn was_woken(&self) -> bool {
        self.woke
    }

    /// Whether a read may find something: false once one found nothing, until the system says otherwise.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether a send may find room: false once one found none, until the system says otherwise.
    pub fn is_writable(&self) -> bool {
        !self.blocked
    }

    /// As [`UdpSocket::recv_from`].
    pub fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let result = socket.recv_from(buffer);
        if matches!(result, Ok(None)) {
            self.readable = false;
        }
        result
    }

    /// As [`UdpSocket::receive`]; what is there says `batch`.
    pub fn receive(&mut self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        self.readable = socket.receive(batch)?;
        Ok(())
    }

    /// What was received is not all handled yet: the socket counts as readable until a read found nothing.
    pub fn stay_readable(&mut self) {
        self.readable |= self.socket.is_some();
    }

    /// As [`UdpSocket::send`]. After a datagram without room, [`wait`](Self::wait) returns when there is some.
    pub fn send(&mut self, batch: &mut SendBatch) -> Sent {
        let Some(socket) = &self.socket else {
            return Sent { failed: batch.discard(), ..Sent::default() };
        };
        let mut sent = socket.send(batch);
        if sent.blocked {
            // Without it the next wait lasts until something else ends it.
            sent.error = self.wait_for_room().err().or(sent.error);
        }
        sent
    }

    /// As [`UdpSocket::send_whole`].
    pub fn send_whole(&mut self, data: &[u8], target: SocketAddr) -> io::Result<bool> {
        self.socket.as_ref().map_or(Ok(false), |socket| socket.send_whole(data, target))
    }

    /// As [`UdpSocket::send_to`]. After `false`, [`wait`](Self::wait) returns when there is room.
    pub fn send_to(&mut self, data: &[u8], target: SocketAddr) -> io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(false) };
        let sent = socket.send_to(data, target)?;
        if !sent {
            self.wait_for_room()?;
        }
        Ok(sent)
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        if let Some(socket) = self.socket.as_mut().filter(|_| !self.blocked) {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().reregister(socket.source(), SOCKET, both)?;
            self.blocked = true;
        }
        Ok(())
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Ends a loop's wait, from any thread. Many wakes cost one system call until the loop has seen one. It may
/// outlive its loop, and does nothing then.
#[derive(Clone, Debug)]
pub struct Waker(Arc<WakerInner>);

#[derive(Debug)]
struct WakerInner {
    /// A wake is on its way that the loop has not seen yet.
    pending: AtomicBool,
    waker: mio::Waker,
}

impl Waker {
    /// Makes the loop's wait return: the running one, or else the next.
    pub fn wake(&self) {
        // Release: what the caller queued before is visible to the loop when it sees the flag.
        if self.0.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.0.waker.wake().is_err() {
            // Nothing is on its way: the next wake shall try again.
            self.0.pending.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::batch::Io;
    use crate::net::udp::tests::bind;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    /// Far longer than any test takes, so that a wait which ends was ended.
    const LONG: Option<Duration> = Some(Duration::from_secs(600));

    fn new_loop() -> EventLoop {
        EventLoop::new(bind("127.0.0.1:0")).unwrap()
    }

    /// A loop that knows that there is nothing to read.
    fn idle_loop() -> EventLoop {
        let mut idle = new_loop();
        assert!(idle.recv_from(&mut [0; 10]).unwrap().is_none());
        idle
    }

    /// Waits for a datagram; whatever wakes the loop early is no failure.
    fn receive(event_loop: &mut EventLoop) -> Vec<u8> {
        let mut buffer = [0; 100];
        for _ in 0..1000 {
            if let Some((length, _)) = event_loop.recv_from(&mut buffer).unwrap() {
                return buffer[..length].to_vec();
            }
            event_loop.wait(LONG).unwrap();
        }
        panic!("it wakes without end");
    }

    #[test]
    fn without_a_wait_a_read_still_finds_what_came() {
        let mut event_loop = idle_loop();
        let target = event_loop.socket().unwrap().local_address();
        bind("127.0.0.1:0").send_to(b"x", target).unwrap();
        // Over loopback it has arrived when the send has returned.
        event_loop.skip_wait().unwrap();
        assert!(event_loop.is_readable());
        assert_eq!(event_loop.recv_from(&mut [0; 10]).unwrap().map(|(length, _)| length), Some(1));
        assert_eq!(event_loop.recv_from(&mut [0; 10]).unwrap(), None);
        // A wake is not left for a later wait, which would end early for nothing.
        event_loop.waker().wake();
        event_loop.skip_wait().unwrap();
        assert!(!event_loop.waker.0.pending.load(Ordering::Acquire));
        event_loop.close();
        event_loop.skip_wait().unwrap();
        assert!(!event_loop.is_readable());
    }

    #[test]
    fn a_datagram_ends_a_wait_also_when_it_came_before_the_loop() {
        let (socket, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let target = socket.local_address();
        client.send_to(b"early", target).unwrap();
        let mut event_loop = EventLoop::new(socket).unwrap();
        assert_eq!(receive(&mut event_loop), b"early");
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            client.send_to(b"late", target).unwrap();
        });
        assert_eq!(receive(&mut event_loop), b"late");
        sender.join().unwrap();
    }

    #[test]
    fn what_was_left_unread_ends_the_next_wait() {
        let mut event_loop = idle_loop();
        let client = bind("127.0.0.1:0");
        for data in [b"1", b"2", b"3"] {
            client.send_to(data, event_loop.socket().unwrap().local_address()).unwrap();
        }
        for expected in [b"1", b"2", b"3"] {
            // Were the readiness not remembered, the second wait would last.
            event_loop.wait(LONG).unwrap();
            assert_eq!(receive(&mut event_loop), expected);
            assert!(event_loop.is_readable());
        }
        assert!(event_loop.recv_from(&mut [0; 10]).unwrap().is_none());
        assert!(!event_loop.is_readable());
    }

    #[test]
    fn a_timeout_ends_a_wait_and_not_too_early() {
        let mut event_loop = idle_loop();
        let start = Instant::now();
        // It may wake for no reason, but hardly a thousand times.
        for _ in 0..1000 {
            let rest = Duration::from_millis(30).saturating_sub(start.elapsed());
            if rest.is_zero() {
                return;
            }
            event_loop.wait(Some(rest)).unwrap();
        }
        panic!("it does not wait");
    }

    #[test]
    fn a_wake_before_or_during_a_wait_ends_it() {
        let mut event_loop = idle_loop();
        let waker = event_loop.waker();
        waker.wake();
        event_loop.wait(LONG).unwrap();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        event_loop.wait(None).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn wakes_coalesce_until_the_loop_has_seen_one() {
        let mut event_loop = idle_loop();
        let waker = event_loop.waker();
        let pending = || waker.0.pending.load(Ordering::SeqCst);
        assert!(!pending());
        for _ in 0..1000 {
            waker.wake();
        }
        assert!(pending());
        event_loop.wait(LONG).unwrap();
        assert!(!pending());
        // All of them were one: nothing is left to end this wait but its time.
        let start = Instant::now();
        event_loop.wait(Some(Duration::from_millis(5))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(5));
        waker.wake();
        event_loop.wait(LONG).unwrap();
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        let mut event_loop = idle_loop();
        let (produced, consumed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        const EACH: u64 = 5_000;
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (waker, produced, consumed) = (event_loop.waker(), produced.clone(), consumed.clone());
                std::thread::spawn(move || {
                    for i in 0..EACH {
                        let mine = produced.fetch_add(1, Ordering::SeqCst) + 1;
                        waker.wake();
                        // Now and then lets the loop fall asleep, so that the wake is what ends it.
                        while i % 16 == 0 && consumed.load(Ordering::SeqCst) < mine {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        // A lost wake would leave the loop in a wait with something produced and unseen, for ten minutes.
        let start = Instant::now();
        while consumed.load(Ordering::SeqCst) < 2 * EACH {
            event_loop.wait(LONG).unwrap();
            consumed.store(produced.load(Ordering::SeqCst), Ordering::SeqCst);
            assert!(start.elapsed() < Duration::from_secs(500), "a wake was lost");
        }
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_blocked_send_waits_for_room() {
        let mut event_loop = idle_loop();
        // What `send_to` does when the system has no room, which loopback cannot be made to lack.
        let both = Interest::READABLE | Interest::WRITABLE;
        event_loop
            .poll
            .registry()
            .reregister(event_loop.socket.as_mut().unwrap().source(), SOCKET, both)
            .unwrap();
        event_loop.blocked = true;
        assert!(!event_loop.is_writable());
        event_loop.wait(LONG).unwrap();
        assert!(event_loop.is_writable());
        // And then it asks no more: sending does not wake.
        let target = bind("127.0.0.1:0").local_address();
        assert!(event_loop.send_to(b"x", target).unwrap());
        let start = Instant::now();
        event_loop.wait(Some(Duration::from_millis(5))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn a_waker_outlives_its_loop() {
        let event_loop = new_loop();
        let waker = event_loop.waker();
        drop(event_loop);
        waker.wake();
        waker.wake();
    }

    #[test]
    fn handles_can_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<Waker>();
        fn check_send<T: Send>() {}
        check_send::<EventLoop>();
    }

    #[test]
    fn a_batch_that_is_not_handled_ends_the_next_wait() {
        for io in [Io::Batched, Io::Portable] {
            let (socket, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
            let target = socket.local_address();
            let mut inbound = ReceiveBatch::new(&socket, io, 100);
            let mut event_loop = EventLoop::new(socket).unwrap();
            client.send_to(b"1", target).unwrap();
            event_loop.receive(&mut inbound).unwrap();
            assert!(!inbound.is_empty() && !event_loop.is_readable(), "{io:?}");
            event_loop.stay_readable();
            event_loop.wait(LONG).unwrap();
            assert_eq!(inbound.next().unwrap().1, b"1");
            event_loop.receive(&mut inbound).unwrap();
            assert!(inbound.is_empty() && !event_loop.is_readable(), "{io:?}");
            // What comes after a read that saw the socket empty is told.
            client.send_to(b"2", target).unwrap();
            event_loop.wait(LONG).unwrap();
            assert!(event_loop.is_readable());
            event_loop.receive(&mut inbound).unwrap();
            assert_eq!(inbound.next().unwrap().1, b"2");
            let mut outbound = SendBatch::new(io, 4, 100);
            outbound.push(client.local_address());
            assert_eq!(event_loop.send(&mut outbound).failed, 0);
            event_loop.close();
            event_loop.stay_readable();
            assert!(!event_loop.is_readable());
            outbound.push(client.local_address());
            assert_eq!((event_loop.send(&mut outbound).failed, outbound.is_empty()), (1, true));
            event_loop.receive(&mut inbound).unwrap();
            assert!(inbound.is_empty());
        }
    }

    /// Whether the descriptor is readable now.
    #[cfg(unix)]
    fn is_ready(event_loop: &EventLoop) -> bool {
        let mut entry = libc::pollfd { fd: event_loop.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd, and the count says one.
        unsafe { libc::poll(&mut entry, 1, 0) == 1 }
    }

    #[cfg(unix)]
    #[test]
    fn the_descriptor_becomes_readable_for_datagrams_and_wakes() {
        let mut event_loop = idle_loop();
        assert!(!is_ready(&event_loop));
        event_loop.waker().wake();
        assert!(is_ready(&event_loop));
        event_loop.wait(Some(Duration::ZERO)).unwrap();
        assert!(!is_ready(&event_loop));
        bind("127.0.0.1:0").send_to(b"x", event_loop.socket().unwrap().local_address()).unwrap();
        for _ in 0..10_000 {
            if is_ready(&event_loop) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(is_ready(&event_loop));
        assert_eq!(receive(&mut event_loop), b"x");
        assert!(event_loop.recv_from(&mut [0; 10]).unwrap().is_none());
    }
}
