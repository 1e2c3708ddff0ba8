//! The doors beside the datagrams': sockets that listen, and the pipes of the peers that came in.
//!
//! It belongs to the loop. The core is locked for what is handed to it and taken from it, and never while a pipe is read
//! or written. Each turn has its bounds: connections accepted, pipes visited, reads per visit; what is left comes first in
//! the next turn, behind the tick.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::core::streams::{Appetite, StreamWork};
use super::events::{Door, LogLevel, PeerId};
use super::stream_door::StreamDoor;
use super::Server;
use crate::error::Result;
use crate::net::event_loop::{EventLoop, Ready};
use crate::net::pipe::{Arrival, Entrance, Incoming, Outgoing, Pipe};
use crate::net::stream::{Accepted, StreamListener};
use crate::net::tls::ServerTls;
use crate::protocol::connection::{Farewell, FarewellKind};
use crate::protocol::time::Time;

/// Connections accepted per turn of the loop, at each door; and taken in from other threads.
const ACCEPTS_PER_TURN: usize = 64;
/// Pipes read before the host is called with what they brought.
pub const PIPES_PER_BATCH: usize = 64;
/// Batches per turn: then ticks and writes come first again.
pub const BATCHES_PER_TURN: usize = 8;
/// Reads of one pipe before others have their turn.
const READS_PER_VISIT: usize = 8;
/// Writes to one pipe before others have theirs.
const WRITES_PER_VISIT: usize = 8;
/// How long a door rests that found no descriptor left: they return without a word.
const ACCEPT_REST: Duration = Duration::from_millis(250);
/// How long a pipe whose peer has ended may take to hand on what was written to it.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// What somebody is told who is turned away, where the pipe can tell. The log says why.
const REFUSED: &str = "the server takes no connection from here now";

/// A socket that listens.
struct Listener {
    key: usize,
    socket: StreamListener,
    door: StreamDoor,
    tls: Option<ServerTls>,
    /// Connections that came in by it.
    open: u32,
    /// Somebody may wait.
    readable: bool,
    /// There was no descriptor for who waits; when it is tried again.
    resting: Option<Time>,
}

/// The pipe of a peer.
struct Entry {
    peer: PeerId,
    pipe: Box<dyn Pipe>,
    /// The door that it came in by; none for those from other threads.
    listener: Option<usize>,
    whole: bool,
    read_bytes: usize,
    /// A read may find something; a write may find room.
    readable: bool,
    writable: bool,
    /// It stands in `ready`.
    listed: bool,
    /// Its peer has ended: until when it may take to hand on the rest.
    closing: Option<Time>,
}

/// See the module.
pub struct Doors {
    entrance: Entrance,
    listeners: Vec<Listener>,
    pipes: HashMap<usize, Entry>,
    /// Pipes that are to be read.
    ready: VecDeque<usize>,
    /// Pipes whose peers have ended, oldest first.
    closing: VecDeque<(Time, usize)>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl Doors {
    /// Opens the doors of a configuration. Errors: what [`StreamListener::bind`] says; Key (a
    /// certificate); Io.
    pub fn open(doors: &[StreamDoor], password: bool, event_loop: &mut EventLoop) -> Result<Doors> {
        let entrance = Entrance::new(event_loop.waker());
        let mut listeners = Vec::new();
        for door in doors {
            let mut socket = StreamListener::bind(&door.listen_address(password)?)?;
            let key = entrance.next_key();
            event_loop.watch_listener(socket.source(), key).map_err(|e| {
                let text = format!("cannot wait for connections at {}: {e}", socket.local_address());
                crate::error::Error::new(crate::error::ErrorKind::Io, text)
            })?;
            let tls = door.tls.as_ref().map(ServerTls::load).transpose()?;
            let door = door.clone();
            listeners.push(Listener { key, socket, door, tls, open: 0, readable: true, resting: None });
        }
        Ok(Doors {
            entrance,
            listeners,
            pipes: HashMap::new(),
            ready: VecDeque::new(),
            closing: VecDeque::new(),
            buffer: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Where other threads bring connections.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Where each door listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|l| l.socket.local_address()).collect()
    }

    /// Whether nothing can come in but datagrams, and nobody has.
    pub fn are_unused(&self) -> bool {
        let empty = self.listeners.is_empty() && self.pipes.is_empty() && self.closing.is_empty();
        empty && !self.entrance.has_news()
    }

    /// Whether there is something to do without waiting for the system.
    pub fn have_work(&self) -> bool {
        let accepts = |l: &Listener| l.readable && l.resting.is_none();
        !self.ready.is_empty() || self.entrance.has_news() || self.listeners.iter().any(accepts)
    }

    /// When there is, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        let closing = self.closing.front().map(|(until, _)| *until);
        self.listeners.iter().filter_map(|l| l.resting).chain(closing).min()
    }

    // --- input ------------------------------------------------------------------------------------------

    /// Takes in news of the system and of other threads, and whoever waits to come in.
    pub fn take_in(&mut self, server: &Server, event_loop: &mut EventLoop, now: Time) {
        for ready in event_loop.take_ready() {
            self.note(server, ready);
        }
        if self.entrance.has_news() {
            let news = self.entrance.take(ACCEPTS_PER_TURN);
            for (key, arrival, pipe) in news.arrivals {
                self.admit(server, event_loop, now, key, arrival, pipe, None);
            }
            for key in news.rung {
                self.note(server, Ready { key, readable: true, writable: true });
            }
        }
        for place in 0..self.listeners.len() {
            self.accept(server, event_loop, now, place);
        }
        while self.closing.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.closing.pop_front() {
                self.drop_pipe(key);
            }
        }
    }

    fn note(&mut self, server: &Server, ready: Ready) {
        if let Some(listener) = self.listeners.iter_mut().find(|l| l.key == ready.key) {
            listener.readable = true;
            return;
        }
        let Some(entry) = self.pipes.get_mut(&ready.key) else { return };
        entry.readable |= ready.readable;
        if entry.closing.is_some() {
            if !matches!(entry.pipe.flush(), Ok(false)) {
                self.drop_pipe(ready.key);
            }
            return;
        }
        if ready.writable && !std::mem::replace(&mut entry.writable, true) {
            server.0.core.lock().serve_stream(entry.peer);
        }
        self.list(ready.key);
    }

    /// Puts a pipe that may be read on the list.
    fn list(&mut self, key: usize) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        if entry.readable && entry.closing.is_none() && !std::mem::replace(&mut entry.listed, true) {
            self.ready.push_back(key);
        }
    }

    /// Accepts who waits at a door.
    fn accept(&mut self, server: &Server, event_loop: &mut EventLoop, now: Time, place: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get_mut(place) else { return };
            if !listener.readable || listener.resting.is_some_and(|until| until > now) {
                return;
            }
            match listener.socket.accept() {
                Accepted::Nobody => {
                    // Whoever waited for a descriptor has given up.
                    listener.resting = None;
                    listener.readable = false;
                }
                Accepted::Gone => {}
                Accepted::Exhausted(error) => {
                    let at = listener.socket.local_address();
                    if listener.resting.replace(now + ACCEPT_REST).is_none() {
                        let text = format!("no more connections are accepted at {at} for now: {error}");
                        server.0.core.lock().log(LogLevel::Error, text);
                    }
                    return;
                }
                Accepted::Stream(pipe, address) => {
                    if listener.resting.take().is_some() {
                        let at = listener.socket.local_address();
                        let text = format!("connections are accepted at {at} again");
                        server.0.core.lock().log(LogLevel::Info, text);
                    }
                    let most = listener.door.max_connections;
                    let full = most > 0 && listener.open >= most;
                    let arrival = arrival(&listener.door, address);
                    if full {
                        server.0.core.lock().refuse_stream(now, &arrival);
                        continue;
                    }
                    let wrapped = match &listener.tls {
                        None => Ok(Box::new(pipe) as Box<dyn Pipe>),
                        Some(tls) => tls.wrap(pipe).map(|pipe| Box::new(pipe) as Box<dyn Pipe>),
                    };
                    let pipe = match wrapped {
                        Ok(pipe) => pipe,
                        Err(error) => {
                            server.0.core.lock().log(LogLevel::Error, error.to_string());
                            continue;
                        }
                    };
                    let key = self.entrance.next_key();
                    self.admit(server, event_loop, now, key, arrival, pipe, Some(place));
                }
            }
        }
    }

    /// Makes a connection a peer that is joining, if it may be.
    #[allow(clippy::too_many_arguments)]
    fn admit(
        &mut self,
        server: &Server,
        event_loop: &mut EventLoop,
        now: Time,
        key: usize,
        arrival: Arrival,
        mut pipe: Box<dyn Pipe>,
        listener: Option<usize>,
    ) {
        let refused =
            Farewell { kind: FarewellKind::Refused, text: REFUSED.to_owned(), ..Farewell::default() };
        if !server.0.core.lock().may_open_stream(now, &arrival) {
            pipe.close(&refused);
            return;
        }
        if let Some(source) = pipe.source() {
            if let Err(error) = event_loop.watch(source, key) {
                let text = format!("{} cannot be waited for: {error}", arrival.address);
                server.0.core.lock().log(LogLevel::Error, text);
                return;
            }
        }
        let whole = arrival.framing == crate::protocol::framing::Framing::Whole;
        let read_bytes = arrival.read_bytes.max(1);
        let Some(peer) = server.0.core.lock().open_stream(now, key, arrival) else {
            pipe.close(&refused);
            return;
        };
        if let Some(listener) = listener.and_then(|place| self.listeners.get_mut(place)) {
            listener.open += 1;
            if listener.door.files {
                server.0.core.lock().open_files(now, peer);
            }
        }
        pipe.seated(peer.to_bits());
        let entry = Entry {
            peer,
            pipe,
            listener,
            whole,
            read_bytes,
            readable: true,
            writable: true,
            listed: false,
            closing: None,
        };
        self.pipes.insert(key, entry);
        self.list(key);
    }

    /// Reads up to [`PIPES_PER_BATCH`] pipes. Whether any was there to be read.
    pub fn read_batch(&mut self, server: &Server) -> bool {
        // Those that are left with more stand behind the others.
        let visits = self.ready.len().min(PIPES_PER_BATCH);
        for _ in 0..visits {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(entry) = self.pipes.get_mut(&key) {
                entry.listed = false;
                read_pipe(server, entry, &mut self.buffer);
                if entry.readable && server.0.core.lock().appetite(entry.peer) == Appetite::Hungry {
                    self.list(key);
                }
            }
        }
        visits > 0
    }

    // --- outputs ----------------------------------------------------------------------------------------

    /// Writes what may leave, and ends the pipes of peers that have ended.
    pub fn serve(&mut self, server: &Server) {
        // What comes up meanwhile has the next turn.
        let works = server.0.core.lock().stream_works();
        for _ in 0..works {
            let now = server.0.life.clock.now();
            let mut core = server.0.core.lock();
            let Some(work) = core.poll_stream() else { return };
            match work {
                StreamWork::End(key, farewell) => {
                    drop(core);
                    self.end(now, key, &farewell);
                }
                StreamWork::Serve(peer) => {
                    core.stream_served(peer);
                    let key = core.pipe_of(peer);
                    drop(core);
                    if let Some(entry) = key.and_then(|key| self.pipes.get_mut(&key)) {
                        write_pipe(server, entry, now, &mut self.out);
                        let mut core = server.0.core.lock();
                        core.rest_stream(now, peer);
                        let hungry = core.appetite(peer) == Appetite::Hungry;
                        drop(core);
                        if let Some(key) = key.filter(|_| hungry) {
                            self.list(key);
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self, now: Time, key: usize, farewell: &Farewell) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        if entry.pipe.close(farewell) {
            return self.drop_pipe(key);
        }
        let until = now + CLOSE_TIME;
        entry.closing = Some(until);
        self.closing.push_back((until, key));
    }

    fn drop_pipe(&mut self, key: usize) {
        let Some(entry) = self.pipes.remove(&key) else { return };
        if let Some(listener) = entry.listener.and_then(|place| self.listeners.get_mut(place)) {
            listener.open = listener.open.saturating_sub(1);
        }
        if self.pipes.is_empty() {
            // A crowd that has gone leaves nothing.
            (self.pipes, self.ready, self.buffer, self.out) = Default::default();
        }
    }

    /// The end of everything.
    pub fn close(&mut self) {
        self.entrance.close();
        self.listeners.clear();
        self.pipes.clear();
        self.ready.clear();
        self.closing.clear();
    }
}

/// Somebody at a door, from there.
fn arrival(door: &StreamDoor, address: SocketAddr) -> Arrival {
    Arrival {
        door: Door::Stream,
        address,
        framing: door.framing,
        asks_password: true,
        password: None,
        data: Vec::new(),
        opens_later: door.tls.is_some(),
        stall_timeout: door.stall_timeout,
        read_bytes: door.read_bytes,
    }
}

/// Reads a pipe, for a visit's worth.
fn read_pipe(server: &Server, entry: &mut Entry, buffer: &mut Vec<u8>) {
    if buffer.len() < entry.read_bytes {
        buffer.resize(entry.read_bytes, 0);
    }
    let peer = entry.peer;
    if server.0.core.lock().appetite(peer) == Appetite::Full {
        return;
    }
    for _ in 0..READS_PER_VISIT {
        let room = buffer.get_mut(..entry.read_bytes).unwrap_or_default();
        let incoming = entry.pipe.read(room);
        let now = server.0.life.clock.now();
        let appetite = match incoming {
            Incoming::Nothing => {
                entry.readable = false;
                break;
            }
            Incoming::Opened => server.0.core.lock().stream_opened(now, peer),
            Incoming::Bytes(bytes) => server.0.core.lock().stream_bytes(now, peer, bytes),
            Incoming::Message(data, content) => server.0.core.lock().stream_message(now, peer, data, content),
            Incoming::End => {
                entry.readable = false;
                return server.0.core.lock().stream_ended(now, peer);
            }
            Incoming::Gone(farewell) => {
                entry.readable = false;
                return server.0.core.lock().stream_gone(now, peer, farewell);
            }
        };
        if appetite == Appetite::Full {
            break;
        }
    }
    // What reading made it answer may have found no room.
    entry.writable &= !matches!(entry.pipe.flush(), Ok(false));
}

/// Writes to a pipe, for a visit's worth.
fn write_pipe(server: &Server, entry: &mut Entry, now: Time, out: &mut Vec<u8>) {
    let peer = entry.peer;
    let broken = |error: std::io::Error| {
        let text = format!("the connection broke: {error}");
        let farewell = Farewell { text, ..Farewell::default() };
        server.0.core.lock().stream_gone(now, peer, Some(farewell));
    };
    match entry.pipe.flush() {
        Ok(true) => {}
        Ok(false) => entry.writable = false,
        Err(error) => return broken(error),
    }
    for _ in 0..WRITES_PER_VISIT {
        if !entry.writable {
            return;
        }
        // What was written last may wait in the pipe.
        if matches!(entry.pipe.flush(), Ok(false)) {
            entry.writable = false;
            return;
        }
        let (wanted, written) = if entry.whole {
            let next = server.0.core.lock().peek_stream_message(now, peer);
            let Some((payload, content)) = next else { return };
            let taken = entry.pipe.write(Outgoing::Message(&payload, content.as_deref()));
            (1, taken.map(|taken| (taken, taken * payload.len())))
        } else {
            server.0.core.lock().peek_stream(now, peer, out);
            if out.is_empty() {
                return;
            }
            (out.len(), entry.pipe.write(Outgoing::Bytes(out)).map(|taken| (taken, taken)))
        };
        match written {
            Ok((taken, bytes)) => {
                entry.writable = taken >= wanted;
                if taken > 0 {
                    server.0.core.lock().stream_written(now, peer, bytes, entry.whole);
                }
            }
            Err(error) => return broken(error),
        }
    }
    // Others have their turn, and then it has another.
    server.0.core.lock().serve_stream(peer);
}
