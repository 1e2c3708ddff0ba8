//! A bad network between load and server: a process-wide thread that passes datagrams on late, or loses them.
//!
//! Every client and direction has its own sequence of fates from the seed, so that two runs lose the same datagrams of
//! each, whoever else talks.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::system::{self, Waiter};

/// Time that each datagram takes, each way.
pub const DELAY: Duration = Duration::from_millis(20);
/// Clients that are passed on at most.
const MAX_CLIENTS: usize = 1024;
/// Datagrams read from one socket before the others get their turn.
const BATCH: usize = 64;
/// Datagrams under way at most; more are lost, as in a router.
const MAX_UNDER_WAY: usize = 100_000;
/// The longest wait: then it is looked whether the end is wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The token of the socket that all clients send to.
const FRONT: usize = usize::MAX;

/// What came into the relay, before any loss.
#[derive(Default)]
pub struct Traffic {
    pub up_datagrams: AtomicU64,
    pub up_bytes: AtomicU64,
    pub down_datagrams: AtomicU64,
    pub down_bytes: AtomicU64,
}

/// A relay that runs until it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    pub traffic: Arc<Traffic>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(server: SocketAddr, loss: f64, seed: u64) -> io::Result<Relay> {
        let front = UdpSocket::bind("127.0.0.1:0")?;
        front.set_nonblocking(true)?;
        let (address, traffic, stop) = (front.local_addr()?, Arc::default(), Arc::default());
        let waiter = Waiter::new()?;
        waiter.add(front.as_raw_fd(), FRONT)?;
        let mut run = Run {
            front,
            waiter,
            server,
            loss,
            seed,
            links: Vec::new(),
            numbers: HashMap::new(),
            queue: VecDeque::new(),
            traffic: Arc::clone(&traffic),
        };
        let stopping: Arc<AtomicBool> = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            system::pin(system::LOAD_CORE);
            while !stopping.load(Ordering::Relaxed) {
                run.turn();
            }
        });
        Ok(Relay { address, traffic, stop, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

/// One client: the socket that the server knows it by, and the fates of its two directions.
struct Link {
    client: SocketAddr,
    back: UdpSocket,
    up: Fates,
    down: Fates,
}

/// A datagram under way.
struct Late {
    due: u64,
    link: usize,
    is_up: bool,
    data: Box<[u8]>,
}

struct Run {
    front: UdpSocket,
    waiter: Waiter,
    server: SocketAddr,
    loss: f64,
    seed: u64,
    links: Vec<Link>,
    numbers: HashMap<SocketAddr, usize>,
    /// In the order in which they are due: all take the same time.
    queue: VecDeque<Late>,
    traffic: Arc<Traffic>,
}

impl Run {
    fn turn(&mut self) {
        self.deliver();
        let wait = self.queue.front().map_or(LOOK_INTERVAL, |late| {
            Duration::from_nanos(late.due.saturating_sub(system::now())).min(LOOK_INTERVAL)
        });
        let mut readable = Vec::new();
        self.waiter.wait(wait, &mut readable);
        for token in readable {
            for _ in 0..BATCH {
                let read = if token == FRONT { self.read_front() } else { self.read_back(token) };
                if read.is_err() {
                    break;
                }
            }
        }
    }

    fn deliver(&mut self) {
        let now = system::now();
        while self.queue.front().is_some_and(|late| late.due <= now) {
            let Some(late) = self.queue.pop_front() else { break };
            let link = &self.links[late.link];
            // What the system refuses is lost like any other.
            let _ = if late.is_up {
                link.back.send(&late.data)
            } else {
                self.front.send_to(&late.data, link.client)
            };
        }
    }

    fn read_front(&mut self) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let (length, from) = self.front.recv_from(&mut buffer)?;
        let link = match self.numbers.get(&from) {
            Some(link) => *link,
            None => self.link(from)?,
        };
        self.traffic.up_datagrams.fetch_add(1, Ordering::Relaxed);
        self.traffic.up_bytes.fetch_add(length as u64, Ordering::Relaxed);
        if !self.links[link].up.is_lost(self.loss) {
            self.pass(link, true, &buffer[..length]);
        }
        Ok(())
    }

    fn read_back(&mut self, link: usize) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let length = self.links[link].back.recv(&mut buffer)?;
        self.traffic.down_datagrams.fetch_add(1, Ordering::Relaxed);
        self.traffic.down_bytes.fetch_add(length as u64, Ordering::Relaxed);
        if !self.links[link].down.is_lost(self.loss) {
            self.pass(link, false, &buffer[..length]);
        }
        Ok(())
    }

    fn pass(&mut self, link: usize, is_up: bool, data: &[u8]) {
        if self.queue.len() < MAX_UNDER_WAY {
            let due = system::now() + DELAY.as_nanos() as u64;
            self.queue.push_back(Late { due, link, is_up, data: data.into() });
        }
    }

    fn link(&mut self, client: SocketAddr) -> io::Result<usize> {
        let number = self.links.len();
        if number >= MAX_CLIENTS {
            return Err(io::Error::other("too many clients for the relay"));
        }
        let back = UdpSocket::bind("127.0.0.1:0")?;
        back.set_nonblocking(true)?;
        back.connect(self.server)?;
        self.waiter.add(back.as_raw_fd(), number)?;
        let fates = |direction| Fates(self.seed.wrapping_add((number as u64 * 2 + direction) << 32));
        self.links.push(Link { client, back, up: fates(0), down: fates(1) });
        self.numbers.insert(client, number);
        Ok(number)
    }
}

/// A sequence of fates: Weyl's sequence through a finaliser, as splitmix64 has it.
struct Fates(u64);

impl Fates {
    fn is_lost(&mut self, loss: f64) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) as f64) < loss * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_lost_is_the_one_asked_for_and_comes_back_from_its_seed() {
        let run = |loss: f64| {
            let mut fates = Fates(7);
            (0..100_000).map(|_| fates.is_lost(loss)).collect::<Vec<_>>()
        };
        for loss in [0.0, 0.01, 0.2, 1.0] {
            let lost = run(loss).into_iter().filter(|is_lost| *is_lost).count() as f64;
            assert!((lost / 100_000.0 - loss).abs() < 0.005, "{lost} of 100000 at {loss}");
        }
        assert_eq!(run(0.2), run(0.2));
    }

    #[test]
    fn a_datagram_passes_and_its_answer_comes_back_late() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let relay = Relay::start(server.local_addr().expect("its address"), 0.0, 1).expect("a relay");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        }
        let start = system::now();
        client.send_to(b"there", relay.address).expect("sent");
        let mut buffer = [0; 100];
        let (length, from) = server.recv_from(&mut buffer).expect("received");
        assert_eq!(&buffer[..length], b"there");
        server.send_to(b"and back", from).expect("sent");
        let (length, _) = client.recv_from(&mut buffer).expect("received");
        assert_eq!(&buffer[..length], b"and back");
        assert!(system::now() - start >= 2 * DELAY.as_nanos() as u64);
        assert_eq!(relay.traffic.up_bytes.load(Ordering::Relaxed), 5);
        assert_eq!(relay.traffic.down_bytes.load(Ordering::Relaxed), 8);
    }
}
