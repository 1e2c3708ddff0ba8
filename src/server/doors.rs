//! The doors beside the datagrams': sockets that listen, and the pipes of the peers that came in.
//!
//! It belongs to the loop. The core is locked for what is handed to it and taken from it, and never while a pipe is read
//! or written. Each turn has its bounds: connections accepted, pipes visited, reads per visit; what is left comes first in
//! the next turn, behind the tick.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::source_of;
use super::core::streams::{Appetite, StreamWork, MESSAGES_PER_BATCH};
use super::events::{Door, LogLevel, PeerId};
use super::stream_door::StreamDoor;
use super::Server;
use crate::error::Result;
use crate::net::event_loop::{EventLoop, Ready};
use crate::net::pipe::{Arrival, Closing, Entrance, Incoming, Outgoing, Pipe};
use crate::net::stream::{Accepted, StreamListener, TcpPipe};
use crate::net::tls::ServerTls;
use crate::protocol::connection::{Farewell, FarewellKind};
use crate::protocol::time::Time;

/// Connections accepted per turn of the loop, at all doors together, and how many of them even if a tick is due.
const ACCEPTS_PER_TURN: usize = 64;
const MIN_ACCEPTS_PER_TURN: usize = 8;
/// Pipes read before the host is called with what they brought, and how many of them even if a tick is due: a host whose
/// ticks take all the time there is gets fewer ticks rather than no messages.
pub const PIPES_PER_BATCH: usize = 64;
const MIN_PIPES_PER_BATCH: usize = 8;
/// Batches per turn: then ticks and writes come first again.
pub const BATCHES_PER_TURN: usize = 8;
/// Pipes read per turn whose TLS is not agreed yet: each may cost a signature.
const TLS_VISITS_PER_TURN: usize = 8;
/// Reads of one pipe before others have their turn.
const READS_PER_VISIT: usize = 8;
/// Writes to one pipe before others have theirs.
const WRITES_PER_VISIT: usize = 8;
/// Bytes written to all pipes in a turn, about: what is left has the next, behind ticks and datagrams.
const WRITTEN_PER_TURN: usize = 16 << 20;
/// Pipes served in a turn even if a tick is due, or so much was written.
const MIN_SERVED_PER_TURN: usize = 64;
/// How long a door rests that found no descriptor left: they return without a word.
const ACCEPT_REST: Duration = Duration::from_millis(250);
/// How long a pipe whose peer has ended may take to hand on what was written to it, and to hear that the other side ends.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Pipes that do so, at most: above it the oldest is dropped.
const MAX_CLOSING: usize = 256;

/// What somebody is told who is turned away, where the pipe can tell. The log says why.
const REFUSED: &str = "the server takes no connection from here now";

/// A socket that listens.
struct Listener {
    key: usize,
    socket: StreamListener,
    door: StreamDoor,
    tls: Option<ServerTls>,
    /// Connections that it may have, in all and from one source.
    most: u32,
    most_per_source: u32,
    /// Those that it has, and how many of them from each source.
    open: u32,
    sources: HashMap<u64, u32>,
    /// Newcomers that had said nothing when they came, oldest first.
    newcomers: VecDeque<usize>,
    /// Somebody may wait.
    readable: bool,
    /// There was no descriptor for who waits; when it is tried again.
    resting: Option<Time>,
}

/// The pipe of a peer.
struct Entry {
    peer: PeerId,
    pipe: Box<dyn Pipe>,
    /// The door that it takes a place of, and from where; none for those from other threads.
    place: Option<(usize, u64)>,
    /// What protects it is not agreed yet.
    opening: bool,
    /// It cannot be written any more: what has come is read first.
    broken: Option<Farewell>,
    whole: bool,
    read_bytes: usize,
    /// A read may find something; a write may find room.
    readable: bool,
    writable: bool,
    /// It stands in `ready`, or in `opening`.
    listed: bool,
    /// Its peer has ended: until when it may take to hand on the rest.
    closing: Option<Time>,
}

/// See the module.
pub struct Doors {
    entrance: Entrance,
    listeners: Vec<Listener>,
    pipes: HashMap<usize, Entry>,
    /// Pipes that are to be read, and those of them whose TLS is not agreed yet.
    ready: VecDeque<usize>,
    opening: VecDeque<usize>,
    /// The listener that comes first in the next turn.
    first: usize,
    /// Pipes whose peers have ended, oldest first.
    closing: VecDeque<(Time, usize)>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl Doors {
    /// Opens the doors of a configuration. Errors: what [`StreamListener::bind`] says; Key (a
    /// certificate); Io.
    pub fn open(
        doors: &[StreamDoor],
        password: bool,
        max_peers: u32,
        event_loop: &mut EventLoop,
    ) -> Result<Doors> {
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
            let (most, most_per_source) = door.bounds(max_peers);
            listeners.push(Listener {
                key,
                socket,
                door,
                tls,
                most,
                most_per_source,
                open: 0,
                sources: HashMap::new(),
                newcomers: VecDeque::new(),
                readable: true,
                resting: None,
            });
        }
        Ok(Doors {
            entrance,
            listeners,
            pipes: HashMap::new(),
            ready: VecDeque::new(),
            opening: VecDeque::new(),
            first: 0,
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
        let listed = !self.ready.is_empty() || !self.opening.is_empty();
        listed || self.entrance.has_news() || self.listeners.iter().any(accepts)
    }

    /// When there is, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        let closing = self.closing.front().map(|(until, _)| *until);
        self.listeners.iter().filter_map(|l| l.resting).chain(closing).min()
    }

    // --- input ------------------------------------------------------------------------------------------

    /// Takes in news of the system and of other threads, and whoever waits to come in.
    pub fn take_in(&mut self, server: &Server, event_loop: &mut EventLoop, now: Time, due: Time) {
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
        let (doors, mut left) = (self.listeners.len(), ACCEPTS_PER_TURN);
        for place in 0..doors {
            left = self.accept(server, event_loop, due, (self.first + place) % doors, left);
        }
        self.first = (self.first + 1).checked_rem(doors).unwrap_or(0);
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
            return self.go_on_closing(ready.key);
        }
        if ready.writable && !std::mem::replace(&mut entry.writable, true) {
            server.0.core.lock().serve_stream(entry.peer);
        }
        self.list(ready.key);
    }

    /// Puts a pipe that may be read on the list.
    fn list(&mut self, key: usize) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        if entry.readable && !std::mem::replace(&mut entry.listed, true) {
            let list = if entry.opening { &mut self.opening } else { &mut self.ready };
            list.push_back(key);
        }
    }

    /// Accepts who waits at a door, and says how many more may come at others.
    fn accept(
        &mut self,
        server: &Server,
        event_loop: &mut EventLoop,
        due: Time,
        place: usize,
        mut left: usize,
    ) -> usize {
        while left > 0 {
            let now = server.0.life.clock.now();
            if now >= due && left + MIN_ACCEPTS_PER_TURN <= ACCEPTS_PER_TURN {
                return 0;
            }
            let Some(listener) = self.listeners.get_mut(place) else { break };
            if !listener.readable || listener.resting.is_some_and(|until| until > now) {
                break;
            }
            left -= 1;
            match listener.socket.accept() {
                Accepted::Nobody => {
                    // Whoever waited for a descriptor has given up.
                    listener.resting = None;
                    listener.readable = false;
                }
                Accepted::Gone => {}
                Accepted::Failed(error) => {
                    let at = listener.socket.local_address();
                    if listener.resting.replace(now + ACCEPT_REST).is_none() {
                        let text = format!("no more connections are accepted at {at} for now: {error}");
                        server.0.core.lock().log(LogLevel::Error, text);
                    }
                }
                Accepted::Stream(pipe, address) => {
                    if listener.resting.take().is_some() {
                        let at = listener.socket.local_address();
                        let text = format!("connections are accepted at {at} again");
                        server.0.core.lock().log(LogLevel::Info, text);
                    }
                    self.receive(server, event_loop, now, place, pipe, address);
                }
            }
        }
        left
    }

    /// Somebody has come to a door: takes it in, if there is a place.
    fn receive(
        &mut self,
        server: &Server,
        event_loop: &mut EventLoop,
        now: Time,
        place: usize,
        pipe: TcpPipe,
        address: SocketAddr,
    ) {
        let Some(listener) = self.listeners.get_mut(place) else { return };
        let source = source_of(address.ip());
        let arrival = arrival(&listener.door, address);
        let from_there = listener.sources.get(&source).copied().unwrap_or(0);
        if from_there >= listener.most_per_source {
            let why = "too many connections from there at this door";
            return server.0.core.lock().refuse_stream(now, &arrival, why);
        }
        let wrapped = match &listener.tls {
            None => Ok(Box::new(pipe) as Box<dyn Pipe>),
            Some(tls) => tls.wrap(pipe).map(|pipe| Box::new(pipe) as Box<dyn Pipe>),
        };
        let pipe = match wrapped {
            Ok(pipe) => pipe,
            Err(error) => return server.0.core.lock().log(LogLevel::Error, error.to_string()),
        };
        if listener.open >= listener.most && !self.make_room(server, place) {
            let why = "too many connections at this door";
            return server.0.core.lock().refuse_stream(now, &arrival, why);
        }
        let key = self.entrance.next_key();
        self.admit(server, event_loop, now, key, arrival, pipe, Some((place, source)));
    }

    /// A door is full: the newcomer that has been silent for longest goes. Whether there was one.
    fn make_room(&mut self, server: &Server, place: usize) -> bool {
        while let Some(key) = self.listeners.get_mut(place).and_then(|l| l.newcomers.pop_front()) {
            let Some(entry) = self.pipes.get(&key).filter(|entry| entry.place.is_some()) else { continue };
            if server.0.core.lock().forget_newcomer(entry.peer) {
                self.drop_pipe(key);
                return true;
            }
        }
        false
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
        place: Option<(usize, u64)>,
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
        let opening = arrival.opens_later;
        let Some(peer) = server.0.core.lock().open_stream(now, key, arrival) else {
            pipe.close(&refused);
            return;
        };
        if let Some((place, source)) = place {
            self.occupy(place, source, key);
            if self.listeners.get(place).is_some_and(|listener| listener.door.files) {
                server.0.core.lock().open_files(now, peer);
            }
        }
        pipe.seated(peer.to_bits());
        let entry = Entry {
            peer,
            pipe,
            place,
            opening,
            broken: None,
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

    /// A connection takes a place at a door.
    fn occupy(&mut self, place: usize, source: u64, key: usize) {
        let pipes = &self.pipes;
        let Some(listener) = self.listeners.get_mut(place) else { return };
        listener.open += 1;
        *listener.sources.entry(source).or_default() += 1;
        listener.newcomers.push_back(key);
        // Those that have gone since are left out before they are most.
        if listener.newcomers.len() > 2 * listener.open as usize + MAX_CLOSING {
            listener.newcomers.retain(|key| pipes.contains_key(key));
        }
    }

    /// And gives it back.
    fn leave(&mut self, place: Option<(usize, u64)>) {
        let Some((place, source)) = place else { return };
        let Some(listener) = self.listeners.get_mut(place) else { return };
        listener.open = listener.open.saturating_sub(1);
        if let Some(count) = listener.sources.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                listener.sources.remove(&source);
            }
        }
    }

    /// Goes on with the TLS of up to `TLS_VISITS_PER_TURN` pipes, until `due`.
    pub fn shake_hands(&mut self, server: &Server, due: Time) {
        for _ in 0..self.opening.len().min(TLS_VISITS_PER_TURN) {
            let Some(key) = self.opening.pop_front() else { return };
            self.visit(server, key);
            if server.0.life.clock.now() >= due {
                return;
            }
        }
    }

    /// Reads up to [`PIPES_PER_BATCH`] pipes, until `due` or until the host has enough to do. Whether any was there to be read.
    pub fn read_batch(&mut self, server: &Server, due: Time) -> bool {
        // Those that are left with more stand behind the others.
        let visits = self.ready.len().min(PIPES_PER_BATCH);
        for visit in 1..=visits {
            let Some(key) = self.ready.pop_front() else { break };
            self.visit(server, key);
            let late = visit >= MIN_PIPES_PER_BATCH && server.0.life.clock.now() >= due;
            if late || server.0.core.lock().waiting() >= MESSAGES_PER_BATCH {
                break;
            }
        }
        visits > 0
    }

    fn visit(&mut self, server: &Server, key: usize) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        entry.listed = false;
        if entry.closing.is_some() {
            return self.go_on_closing(key);
        }
        read_pipe(server, entry, &mut self.buffer);
        if entry.readable && server.0.core.lock().appetite(entry.peer) == Appetite::Hungry {
            self.list(key);
        }
    }

    // --- outputs ----------------------------------------------------------------------------------------

    /// Writes what may leave, and ends the pipes of peers that have ended: until `due`, or a turn's worth.
    pub fn serve(&mut self, server: &Server, due: Time) {
        // What comes up meanwhile has the next turn.
        let works = server.0.core.lock().stream_works();
        let mut written = 0;
        for served in 0..works {
            let now = server.0.life.clock.now();
            if served >= MIN_SERVED_PER_TURN && (now >= due || written >= WRITTEN_PER_TURN) {
                return;
            }
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
                        written += write_pipe(server, entry, now, &mut self.out);
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

    /// Closes the pipe of a peer that has ended. Its place is free; itself it is kept for a while where the other side has not
    /// ended yet, which would lose what was written to it last.
    fn end(&mut self, now: Time, key: usize, farewell: &Farewell) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        let closing = entry.pipe.close(farewell);
        // From whom nothing is to be heard nothing is read.
        if closing == Closing::Over || farewell.kind == FarewellKind::Blocked {
            return self.drop_pipe(key);
        }
        let until = now + CLOSE_TIME;
        entry.closing = Some(until);
        entry.readable = true;
        let place = entry.place.take();
        self.leave(place);
        if closing == Closing::Busy {
            self.list(key);
        }
        self.closing.push_back((until, key));
        if self.closing.len() > MAX_CLOSING {
            let pipes = &self.pipes;
            self.closing.retain(|(_, key)| pipes.contains_key(key));
            let oldest = self.closing.front().filter(|_| self.closing.len() > MAX_CLOSING).copied();
            if let Some((_, key)) = oldest {
                self.closing.pop_front();
                self.drop_pipe(key);
            }
        }
    }

    /// Something happened to a pipe whose peer has ended, or it had more to do.
    fn go_on_closing(&mut self, key: usize) {
        let Some(entry) = self.pipes.get_mut(&key) else { return };
        match entry.pipe.go_on_closing() {
            Closing::Over => self.drop_pipe(key),
            Closing::Waits => {}
            Closing::Busy => self.list(key),
        }
    }

    fn drop_pipe(&mut self, key: usize) {
        let Some(entry) = self.pipes.remove(&key) else { return };
        self.leave(entry.place);
        if self.pipes.is_empty() {
            // A crowd that has gone leaves nothing.
            (self.pipes, self.ready, self.opening, self.buffer, self.out) = Default::default();
            self.listeners.iter_mut().for_each(|l| (l.sources, l.newcomers) = Default::default());
        }
    }

    /// The end of everything.
    pub fn close(&mut self) {
        self.entrance.close();
        self.listeners.clear();
        self.pipes.clear();
        self.ready.clear();
        self.opening.clear();
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
                if let Some(farewell) = entry.broken.take() {
                    return server.0.core.lock().stream_gone(now, peer, Some(farewell));
                }
                break;
            }
            Incoming::Opened => {
                entry.opening = false;
                server.0.core.lock().stream_opened(now, peer)
            }
            Incoming::Bytes(bytes) => server.0.core.lock().stream_bytes(now, peer, bytes),
            Incoming::Message(data, content) => server.0.core.lock().stream_message(now, peer, data, content),
            Incoming::End => {
                entry.readable = false;
                let mut core = server.0.core.lock();
                return match entry.broken.take() {
                    Some(farewell) => core.stream_gone(now, peer, Some(farewell)),
                    None => core.stream_ended(now, peer),
                };
            }
            Incoming::Gone(farewell) => {
                entry.readable = false;
                let farewell = entry.broken.take().or(farewell);
                return server.0.core.lock().stream_gone(now, peer, farewell);
            }
        };
        if appetite == Appetite::Full || server.0.core.lock().waiting() >= MESSAGES_PER_BATCH {
            break;
        }
    }
    // What reading made it answer may have found no room.
    entry.writable &= !matches!(entry.pipe.flush(), Ok(false));
}

/// Writes to a pipe, for a visit's worth, and says how many bytes it took.
fn write_pipe(server: &Server, entry: &mut Entry, now: Time, out: &mut Vec<u8>) -> usize {
    let peer = entry.peer;
    let mut all = 0;
    for _ in 0..WRITES_PER_VISIT {
        if !entry.writable {
            return all;
        }
        // What was written last may wait in the pipe.
        match entry.pipe.flush() {
            Ok(true) => {}
            Ok(false) => {
                entry.writable = false;
                return all;
            }
            Err(error) => {
                broke(server, entry, now, &error);
                return all;
            }
        }
        let (wanted, written) = if entry.whole {
            let next = server.0.core.lock().peek_stream_message(now, peer);
            let Some((payload, content)) = next else { return all };
            let taken = entry.pipe.write(Outgoing::Message(&payload, content.as_deref()));
            (1, taken.map(|taken| (taken, taken * payload.len())))
        } else {
            server.0.core.lock().peek_stream(now, peer, out);
            if out.is_empty() {
                return all;
            }
            (out.len(), entry.pipe.write(Outgoing::Bytes(out)).map(|taken| (taken, taken)))
        };
        match written {
            Ok((taken, bytes)) => {
                entry.writable = taken >= wanted;
                all += bytes;
                if taken > 0 {
                    server.0.core.lock().stream_written(now, peer, bytes, entry.whole);
                }
            }
            Err(error) => {
                broke(server, entry, now, &error);
                return all;
            }
        }
    }
    // Others have their turn, and then it has another.
    server.0.core.lock().serve_stream(peer);
    all
}

/// A pipe can be written no more. What has come is read before its peer is told to have gone.
fn broke(server: &Server, entry: &mut Entry, now: Time, error: &std::io::Error) {
    let farewell = Farewell { text: format!("the connection broke: {error}"), ..Farewell::default() };
    server.0.core.lock().stream_mute(now, entry.peer, &farewell);
    (entry.writable, entry.readable, entry.broken) = (false, true, Some(farewell));
}
