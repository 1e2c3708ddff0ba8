//! The server's application, the same for every library: what it does with a message and at a tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::control::Values;
use crate::message::{self, Part};
use crate::options::{Delivery, Options};
use crate::system;

/// Times that are kept at most: 8 MB.
const MAX_TIMES: usize = 2_000_000;
/// Ticks per second of the workload of that name, and the bytes that each client is sent at one.
pub const TICK_HZ: f64 = 20.0;
pub const TICK_BYTES: usize = 200;
/// The message sizes and the total of the workload `bulk`.
pub const BULK_MESSAGE: usize = 64 << 10;
pub const BULK_TOTAL: usize = 64 << 20;
/// Messages of `bulk` that are queued at once: what the application has ready, and no more than any library's queue.
const BULK_WINDOW: usize = 16;

/// How a library's server sends.
pub trait Outlet {
    type Peer: Copy;
    /// Queues a copy of `data`. `false`: there is no room now.
    fn send(&mut self, peer: Self::Peer, data: &[u8], delivery: Delivery) -> bool;
}

/// What the application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Notes how long messages were under way.
    Listen,
    /// Sends back what comes.
    Echo(Delivery),
    /// Sends to everybody at each tick.
    Tick,
    /// Sends much to whoever asks, the next piece for each that was confirmed.
    Bulk,
}

/// What the application has counted.
pub struct Book {
    /// Bytes in memory before the library was there.
    base: u64,
    messages: AtomicU64,
    measured: AtomicU64,
    ticks: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
    peers: AtomicU64,
    /// Microseconds that measured messages were under way.
    times: Mutex<Vec<u32>>,
}

impl Book {
    /// To be made before the library is started.
    pub fn new() -> Book {
        Book {
            base: system::resident_bytes(),
            messages: AtomicU64::default(),
            measured: AtomicU64::default(),
            ticks: AtomicU64::default(),
            sent: AtomicU64::default(),
            refused: AtomicU64::default(),
            peers: AtomicU64::default(),
            times: Mutex::default(),
        }
    }

    /// All counts so far, and what the process has used.
    pub fn values(&self) -> Values {
        let mut values = Values::default();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        values.set("messages", count(&self.messages));
        values.set("measured", count(&self.measured));
        values.set("ticks", count(&self.ticks));
        values.set("sent", count(&self.sent));
        values.set("refused", count(&self.refused));
        values.set("peers", count(&self.peers));
        values.set_times("", &mut self.times.lock().unwrap_or_else(PoisonError::into_inner).clone());
        values.set("base", self.base as f64);
        values.set("resident", system::resident_bytes() as f64);
        values.set("wall", system::now() as f64);
        values.set("cpu", system::processor_time() as f64);
        values
    }
}

/// The application of one server.
pub struct Game<P> {
    work: Work,
    book: Arc<Book>,
    peers: Vec<P>,
    bulk_left: usize,
    piece: Vec<u8>,
}

impl<P: Copy + PartialEq> Game<P> {
    pub fn new(options: &Options, book: Arc<Book>) -> Game<P> {
        let work = match options.workload.as_str() {
            "echo" | "ping" => Work::Echo(options.delivery),
            "tick" => Work::Tick,
            "memory" if options.in_flight > 0 => Work::Tick,
            "bulk" => Work::Bulk,
            _ => Work::Listen,
        };
        let piece = if work == Work::Bulk { BULK_MESSAGE } else { TICK_BYTES };
        Game { work, book, peers: Vec::new(), bulk_left: 0, piece: vec![7; piece] }
    }

    /// The time between two ticks, if there are any.
    pub fn tick_interval(&self) -> Option<Duration> {
        (self.work == Work::Tick).then(|| Duration::from_secs_f64(1.0 / TICK_HZ))
    }

    pub fn joined(&mut self, peer: P) {
        self.peers.push(peer);
        self.book.peers.store(self.peers.len() as u64, Ordering::Relaxed);
    }

    pub fn left(&mut self, peer: P) {
        if let Some(place) = self.peers.iter().position(|other| *other == peer) {
            self.peers.swap_remove(place);
        }
        self.book.peers.store(self.peers.len() as u64, Ordering::Relaxed);
    }

    pub fn message(&mut self, out: &mut impl Outlet<Peer = P>, peer: P, data: &[u8]) {
        self.book.messages.fetch_add(1, Ordering::Relaxed);
        match self.work {
            Work::Echo(delivery) => self.send(out, peer, data, delivery),
            Work::Tick => {}
            Work::Listen => self.note(data),
            Work::Bulk => self.bulk(out, peer, data),
        }
    }

    pub fn tick(&mut self, out: &mut impl Outlet<Peer = P>) {
        self.book.ticks.fetch_add(1, Ordering::Relaxed);
        // The game begins when somebody plays: until then thousands are still connecting.
        if self.book.messages.load(Ordering::Relaxed) == 0 {
            return;
        }
        for place in 0..self.peers.len() {
            let piece = std::mem::take(&mut self.piece);
            self.send(out, self.peers[place], &piece, Delivery::Unreliable);
            self.piece = piece;
        }
    }

    fn send(&self, out: &mut impl Outlet<Peer = P>, peer: P, data: &[u8], delivery: Delivery) {
        let counter = if out.send(peer, data, delivery) { &self.book.sent } else { &self.book.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, data: &[u8]) {
        let Some((under_way, Part::Measured)) = message::read(data) else { return };
        self.book.measured.fetch_add(1, Ordering::Relaxed);
        let mut times = self.book.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() < MAX_TIMES {
            times.push(u32::try_from(under_way / 1000).unwrap_or(u32::MAX));
        }
    }

    /// A first message asks for all; each further one confirms a piece and gets another.
    fn bulk(&mut self, out: &mut impl Outlet<Peer = P>, peer: P, data: &[u8]) {
        let first = data.get(9) == Some(&1);
        if first {
            self.bulk_left = BULK_TOTAL / BULK_MESSAGE;
        }
        for _ in 0..if first { BULK_WINDOW } else { 1 } {
            if self.bulk_left > 0 {
                self.bulk_left -= 1;
                self.send(out, peer, &self.piece, Delivery::Guaranteed);
            }
        }
    }
}
