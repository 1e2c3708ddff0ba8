//! The client's way through a stream: the half of the core that takes bytes, and the loop's half that moves them.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::core::Core;
use super::events::DisconnectReason;
use super::Client;
use crate::net::event_loop::EventLoop;
use crate::net::pipe::{Incoming, Outgoing, Pipe};
use crate::net::stream::TcpPipe;
use crate::protocol::connection::stream::Connection as Stream;
use crate::protocol::connection::{Farewell, Room};
use crate::protocol::framing::DEFAULT_READ_BYTES;
use crate::protocol::time::Time;
use crate::server::send_rate::SendRate;
use crate::server::stream_door::Framing;

/// Reads, and writes, per turn: then the tick comes first again.
const READS_PER_TURN: usize = 64;
const WRITES_PER_TURN: usize = 64;
/// Least number under which a stream is watched: those below are the event loop's own.
const FIRST_KEY: usize = 16;

/// How a client talks in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamClient {
    /// How messages are told apart: as at the server's door.
    pub framing: Framing,
    /// A message that has begun may stand still for so long, in either direction. Default 30 s.
    pub stall_timeout: Duration,
    /// The password is told also where others can read it on the way: to a server that is not on loopback. Default no: such
    /// a session ends before it is told.
    pub password_in_clear: bool,
    /// Files pass, too, within the client's quota ([`ClientConfig::files`](super::ClientConfig::files), which must be set). The
    /// framing must be that with lengths, and the server's door must have files: another ends the connection, since it finds
    /// the question too long. The client is connected when the server has agreed. Default no.
    pub files: bool,
}

impl Default for StreamClient {
    fn default() -> StreamClient {
        let stall_timeout = Duration::from_secs(30);
        StreamClient { framing: Framing::Raw, stall_timeout, password_in_clear: false, files: false }
    }
}

/// The stream of one attempt.
pub(super) struct Carrier {
    attempt: u64,
    pipe: TcpPipe,
    key: usize,
    readable: bool,
    writable: bool,
}

/// The loop's half.
#[derive(Default)]
pub(super) struct Streams {
    carrier: Option<Carrier>,
    buffer: Vec<u8>,
    out: Vec<u8>,
    keys: usize,
}

impl Streams {
    /// Whether there is something to read without waiting for the system.
    pub(super) fn have_work(&self, client: &Client) -> bool {
        self.carrier.as_ref().is_some_and(|c| c.readable) && client.0.core.lock().stream_is_hungry()
    }

    /// Opens, reads and closes: what is wanted now.
    pub(super) fn read(&mut self, client: &Client, event_loop: &mut EventLoop) {
        for ready in event_loop.take_ready() {
            if let Some(carrier) = self.carrier.as_mut().filter(|c| c.key == ready.key) {
                // That it is connected shows itself as room to write, and is read.
                carrier.readable |= ready.readable || ready.writable;
                carrier.writable |= ready.writable;
            }
        }
        self.follow(client, event_loop);
        let Some(carrier) = &mut self.carrier else { return };
        client.0.core.lock().resume_stream(client.now());
        self.buffer.resize(DEFAULT_READ_BYTES.max(self.buffer.len()), 0);
        for _ in 0..READS_PER_TURN {
            if !carrier.readable || !client.0.core.lock().stream_is_hungry() {
                return;
            }
            let incoming = carrier.pipe.read(&mut self.buffer);
            let now = client.now();
            let mut core = client.0.core.lock();
            if core.stream_target().is_none_or(|(attempt, _)| attempt != carrier.attempt) {
                return;
            }
            match incoming {
                Incoming::Bytes(bytes) => core.stream_bytes(now, bytes),
                Incoming::Opened => core.with_stream(now, |stream, _| stream.handle_opened(None, Vec::new())),
                Incoming::End => {
                    carrier.readable = false;
                    core.with_stream(now, |stream, room| stream.handle_end(now, room));
                }
                Incoming::Gone(farewell) => {
                    carrier.readable = false;
                    let refused = carrier.pipe.was_refused();
                    core.stream_gone(now, farewell.unwrap_or_default(), refused);
                }
                Incoming::Nothing | Incoming::Message(..) => carrier.readable = false,
            }
        }
    }

    /// Has the stream of the attempt that runs, and no other.
    fn follow(&mut self, client: &Client, event_loop: &mut EventLoop) {
        // An address that cannot be tried gives way to the next.
        for _ in 0..=crate::net::resolve::MAX_ADDRESSES {
            let mut core = client.0.core.lock();
            let target = core.stream_target();
            if self.carrier.as_ref().is_some_and(|c| target.is_none_or(|(attempt, _)| attempt != c.attempt)) {
                if let Some(mut carrier) = self.carrier.take() {
                    carrier.pipe.close(&Farewell::default());
                }
            }
            let Some((attempt, address)) = target.filter(|_| self.carrier.is_none()) else { return };
            self.keys = self.keys.wrapping_add(1);
            let key = FIRST_KEY + self.keys % (usize::MAX - FIRST_KEY);
            let opened = TcpPipe::connect(address).and_then(|mut pipe| {
                pipe.source().map_or(Ok(()), |source| event_loop.watch(source, key)).map(|()| pipe)
            });
            match opened {
                Ok(pipe) => {
                    self.carrier = Some(Carrier { attempt, pipe, key, readable: true, writable: false });
                    return;
                }
                Err(error) => {
                    core.handle_unreachable(client.now(), DisconnectReason::Unreachable, &error.to_string());
                }
            }
        }
    }

    /// Writes what may leave, and closes what has ended.
    pub(super) fn write(&mut self, client: &Client, event_loop: &mut EventLoop) {
        for _ in 0..WRITES_PER_TURN {
            let Some(carrier) = self.carrier.as_mut().filter(|c| c.writable) else { break };
            let mut core: MutexGuard<'_, Core> = client.0.core.lock();
            if core.stream_target().is_none_or(|(attempt, _)| attempt != carrier.attempt) {
                break;
            }
            core.peek_stream(client.now(), &mut self.out);
            if self.out.is_empty() {
                break;
            }
            drop(core);
            let taken = carrier.pipe.write(Outgoing::Bytes(&self.out));
            let mut core = client.0.core.lock();
            match taken {
                Ok(taken) => {
                    carrier.writable = taken == self.out.len();
                    core.stream_written(client.now(), taken);
                }
                Err(error) => {
                    carrier.writable = false;
                    let text = format!("the connection broke: {error}");
                    core.stream_gone(client.now(), Farewell { text, ..Farewell::default() }, false);
                }
            }
        }
        self.follow(client, event_loop);
    }

    /// The end of everything.
    pub(super) fn close(&mut self) {
        if let Some(mut carrier) = self.carrier.take() {
            carrier.pipe.close(&Farewell::default());
        }
    }
}

impl Core {
    /// The attempt that wants a stream, and where to; none once it has ended.
    pub(super) fn stream_target(&self) -> Option<(u64, SocketAddr)> {
        let session = self.session.as_ref()?;
        session.stream()?;
        (!session.is_closed()).then(|| (self.attempts, session.server()))
    }

    /// Whether more is to be read of it.
    pub(super) fn stream_is_hungry(&self) -> bool {
        let stream = self.session.as_ref().and_then(|s| s.stream());
        stream.is_some_and(Stream::wants_bytes)
    }

    /// Gives the stream some input.
    pub(super) fn with_stream(&mut self, now: Time, input: impl FnOnce(&mut Stream, &mut Room)) {
        let mut room = self.room();
        if let Some(stream) = self.session.as_mut().and_then(|s| s.stream_mut()) {
            input(stream, &mut room);
        }
        self.collect(now);
    }

    pub(super) fn stream_bytes(&mut self, now: Time, bytes: &[u8]) {
        self.series.received(now, bytes.len());
        self.with_stream(now, |stream, room| stream.handle_bytes(now, bytes, room));
    }

    /// Whether messages wait for room in the event queue.
    pub(super) fn stream_waits(&self) -> bool {
        let stream = self.session.as_ref().and_then(|s| s.stream());
        stream.is_some_and(Stream::is_waiting_for_room)
    }

    /// The host may have room again for what came.
    pub(super) fn resume_stream(&mut self, now: Time) {
        if self.stream_waits() {
            self.with_stream(now, |stream, room| stream.resume(now, room));
        }
    }

    /// It broke, or never came about.
    pub(super) fn stream_gone(&mut self, now: Time, farewell: Farewell, refused: bool) {
        if self.session.as_ref().is_some_and(|s| s.is_unanswered()) {
            let reason =
                if refused { DisconnectReason::NobodyListens } else { DisconnectReason::Unreachable };
            return self.handle_unreachable(now, reason, &farewell.text);
        }
        self.with_stream(now, |stream, _| stream.handle_failure(Some(farewell)));
    }

    /// Replaces `out` by the next bytes to be written; empty: none now.
    pub(super) fn peek_stream(&mut self, now: Time, out: &mut Vec<u8>) {
        out.clear();
        let (mut until, mut most) = (Time::default(), usize::MAX);
        if let Some(rate) = &mut self.send_rate {
            rate.refill(now);
            (until, most) = (rate.free_at(), rate.burst());
        }
        if let Some(stream) = self.session.as_mut().and_then(|s| s.stream_mut()) {
            stream.hold(until);
            stream.peek_bytes(now, out);
            out.truncate(most);
        }
    }

    pub(super) fn stream_written(&mut self, now: Time, bytes: usize) {
        if let Some(rate) = &mut self.send_rate {
            SendRate::spend_all(rate, now, bytes);
        }
        self.series.sent(now, bytes);
        self.with_stream(now, |stream, _| stream.handle_written(now, bytes));
    }
}
