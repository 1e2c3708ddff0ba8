//! What a server without any library costs: sockets and the same cipher as gamekeeper's native wire, AES-128-GCM, and
//! nothing else. One key for everybody, no handshake, no losses noticed, no order. Messages stand in a datagram after
//! each other, each after its length.
//!
//! The plain floor does one receive, one open, one seal and one send for each message. The batched one receives and
//! sends up to 64 datagrams in one system call. The packed one puts up to 16 messages into a datagram besides. The busy
//! one never sleeps. The one for handshakes works as the batched one, and besides computes what a handshake of the native
//! wire consists of (`primitives.rs`) for everybody who comes, between two datagrams each way of the lengths that it has.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM};

use super::primitives::{Primitives, ANSWER, OPENING};
use super::{Crowd, Peer, Received, Result};
use crate::control;
use crate::game::{Book, Game, Outlet};
use crate::options::{Delivery, Options};
use crate::system::{self, Waiter};

/// Bytes before what is sealed: the number that the nonce is made of.
const NUMBER: usize = 8;
const TAG: usize = 16;
/// Longest datagram.
const DATAGRAM: usize = 1472;
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Messages in one datagram, where they are packed.
const PACK: usize = 16;
/// Bytes of the socket's buffers, as gamekeeper's.
const SERVER_BUFFER: i32 = 4 << 20;
/// What a client says until it is answered; nobody's message is empty otherwise.
const HELLO: &[u8] = &[];
const HELLO_INTERVAL: Duration = Duration::from_millis(100);

/// The cipher, and the number of the next datagram.
struct Cipher {
    key: LessSafeKey,
    next: u64,
}

impl Cipher {
    /// Both ends know the key; what each of them seals has numbers of its own.
    fn new(first: u64) -> Result<Cipher> {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "the key has another length")?;
        Ok(Cipher { key: LessSafeKey::new(key), next: first })
    }

    fn nonce(number: [u8; NUMBER]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals what stands after the room for the number.
    fn seal(&mut self, datagram: &mut Vec<u8>) {
        let number = self.next.to_be_bytes();
        self.next += 1;
        datagram[..NUMBER].copy_from_slice(&number);
        let sealed = self.key.seal_in_place_separate_tag(
            Self::nonce(number),
            Aad::from(number),
            &mut datagram[NUMBER..],
        );
        if let Ok(tag) = sealed {
            datagram.extend_from_slice(tag.as_ref());
        }
    }

    fn open<'a>(&self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        let number = *datagram.first_chunk::<NUMBER>()?;
        let sealed = datagram.get_mut(NUMBER..)?;
        self.key.open_in_place(Self::nonce(number), Aad::from(number), sealed).ok().map(|plain| &*plain)
    }
}

/// Appends a message to a datagram, which begins if it is empty.
fn append(datagram: &mut Vec<u8>, message: &[u8]) {
    if datagram.is_empty() {
        datagram.resize(NUMBER, 0);
    }
    datagram.extend_from_slice(&(message.len() as u16).to_be_bytes());
    datagram.extend_from_slice(message);
}

/// The messages of an opened datagram.
fn messages(mut plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = plain.split_first_chunk::<2>()?;
        let (message, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        plain = rest;
        Some(message)
    })
}

// --- the server ---------------------------------------------------------------------------------------------

/// What is to be sent, not sealed yet.
#[derive(Default)]
struct Outbound {
    to: Option<SocketAddr>,
    count: usize,
    data: Vec<u8>,
}

struct Out {
    pack: usize,
    waiting: Vec<Outbound>,
    used: usize,
}

impl Outlet for Out {
    type Peer = SocketAddr;

    fn send(&mut self, peer: SocketAddr, data: &[u8], _: Delivery) -> bool {
        let room = DATAGRAM - TAG - 2 - data.len();
        let last = self.waiting.get_mut(..self.used).and_then(|used| used.last_mut());
        if let Some(last) = last.filter(|l| l.to == Some(peer) && l.count < self.pack && l.data.len() < room)
        {
            append(&mut last.data, data);
            last.count += 1;
            return true;
        }
        if self.waiting.len() == self.used {
            self.waiting.push(Outbound::default());
        }
        let next = &mut self.waiting[self.used];
        self.used += 1;
        (next.to, next.count) = (Some(peer), 1);
        next.data.clear();
        append(&mut next.data, data);
        true
    }
}

struct Server {
    socket: UdpSocket,
    cipher: Cipher,
    out: Out,
    game: Game<SocketAddr>,
    known: HashMap<SocketAddr, ()>,
    batch: usize,
    calls: Calls,
    primitives: Option<Primitives>,
}

pub fn serve(options: &Options, book: Arc<Book>) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    system::set_buffers(&socket, SERVER_BUFFER);
    let game = Game::new(options, Arc::clone(&book));
    let (interval, busy) = (game.tick_interval(), options.peer == Peer::FloorBusy);
    socket.set_nonblocking(interval.is_some() || busy)?;
    control::serve(socket.local_addr()?, "", book);
    let mut server = Server {
        socket,
        cipher: Cipher::new(0)?,
        out: Out { pack: pack(options.peer), waiting: Vec::new(), used: 0 },
        game,
        known: HashMap::new(),
        batch: match options.peer {
            Peer::FloorBatched | Peer::FloorPacked | Peer::FloorHandshake => BATCH,
            _ => 1,
        },
        calls: Calls::new(),
        primitives: (options.peer == Peer::FloorHandshake).then(Primitives::new),
    };
    let mut next = Instant::now();
    // Until the end of standard input ends the process.
    loop {
        match server.turn() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !busy => {
                let wait = next.saturating_duration_since(Instant::now());
                system::wait_readable(server.socket.as_raw_fd(), wait);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(interval) = interval.filter(|_| Instant::now() >= next) {
            server.game.tick(&mut server.out);
            server.flush()?;
            next = (next + interval).max(Instant::now());
        }
    }
}

fn pack(peer: Peer) -> usize {
    if peer == Peer::FloorPacked {
        PACK
    } else {
        1
    }
}

impl Server {
    /// One receive, and all that follows from it.
    fn turn(&mut self) -> io::Result<()> {
        if self.batch == 1 {
            let mut buffer = [0; DATAGRAM];
            let (length, from) = self.socket.recv_from(&mut buffer)?;
            self.handle(from, &mut buffer[..length]);
            return self.flush();
        }
        let mut received = self.calls.receive(&self.socket)?;
        for (from, datagram) in &mut received {
            self.handle(*from, datagram);
        }
        self.calls.give_back(received);
        self.flush()
    }

    fn handle(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let Some(plain) = self.cipher.open(datagram) else { return };
        for message in messages(plain) {
            if message == HELLO {
                self.out.send(from, HELLO, Delivery::Unreliable);
                if self.known.insert(from, ()).is_none() {
                    self.game.joined(from);
                }
            } else if let Some(primitives) = &self.primitives {
                if message.len() == OPENING && primitives.exchange(message) {
                    self.out.send(from, &[1; ANSWER], Delivery::Unreliable);
                }
            } else {
                self.game.message(&mut self.out, from, message);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let used = std::mem::take(&mut self.out.used);
        let waiting = self.out.waiting.get_mut(..used).unwrap_or_default();
        for outbound in &mut *waiting {
            self.cipher.seal(&mut outbound.data);
        }
        if self.batch > 1 {
            for some in waiting.chunks_mut(BATCH) {
                self.calls.send(&self.socket, some);
            }
            return Ok(());
        }
        for outbound in waiting {
            if let Some(to) = outbound.to {
                // What the system refuses is lost.
                let _ = self.socket.send_to(&outbound.data, to);
            }
        }
        Ok(())
    }
}

/// The system calls for many datagrams, and their buffers.
struct Calls {
    buffers: Vec<Vec<u8>>,
    spare: Vec<(SocketAddr, Vec<u8>)>,
}

impl Calls {
    fn new() -> Calls {
        Calls { buffers: vec![vec![0; DATAGRAM]; BATCH], spare: Vec::new() }
    }

    /// Waits for one where the socket does, and takes what else is there.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<Vec<(SocketAddr, Vec<u8>)>> {
        // SAFETY: zero is a valid value of all these plain structs; each pointer is that of an element that lives and
        // does not move until the call returns.
        unsafe {
            let mut names: [libc::sockaddr_in; BATCH] = std::mem::zeroed();
            let mut parts: [libc::iovec; BATCH] = std::mem::zeroed();
            let mut heads: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            for place in 0..BATCH {
                parts[place].iov_base = self.buffers[place].as_mut_ptr().cast();
                parts[place].iov_len = DATAGRAM;
                let head = &mut heads[place].msg_hdr;
                head.msg_name = (&raw mut names[place]).cast();
                head.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                head.msg_iov = &raw mut parts[place];
                head.msg_iovlen = 1;
            }
            let number = libc::recvmmsg(
                socket.as_raw_fd(),
                heads.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            );
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut received = std::mem::take(&mut self.spare);
            for place in 0..number as usize {
                let ip = Ipv4Addr::from(u32::from_be(names[place].sin_addr.s_addr));
                let from = SocketAddrV4::new(ip, u16::from_be(names[place].sin_port));
                let mut buffer = std::mem::take(&mut self.buffers[place]);
                buffer.truncate(heads[place].msg_len as usize);
                received.push((SocketAddr::V4(from), buffer));
            }
            Ok(received)
        }
    }

    fn give_back(&mut self, mut received: Vec<(SocketAddr, Vec<u8>)>) {
        for (place, (_, mut buffer)) in received.drain(..).enumerate() {
            buffer.resize(DATAGRAM, 0);
            self.buffers[place] = buffer;
        }
        self.spare = received;
    }

    /// Sends at most `BATCH`.
    fn send(&self, socket: &UdpSocket, some: &mut [Outbound]) {
        // SAFETY: as in `receive`.
        unsafe {
            let mut names: [libc::sockaddr_in; BATCH] = std::mem::zeroed();
            let mut parts: [libc::iovec; BATCH] = std::mem::zeroed();
            let mut heads: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            for (place, outbound) in some.iter_mut().enumerate() {
                let Some(SocketAddr::V4(to)) = outbound.to else { continue };
                names[place].sin_family = libc::AF_INET as u16;
                names[place].sin_port = to.port().to_be();
                names[place].sin_addr.s_addr = u32::from(*to.ip()).to_be();
                parts[place].iov_base = outbound.data.as_mut_ptr().cast();
                parts[place].iov_len = outbound.data.len();
                let head = &mut heads[place].msg_hdr;
                head.msg_name = (&raw mut names[place]).cast();
                head.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                head.msg_iov = &raw mut parts[place];
                head.msg_iovlen = 1;
            }
            // What the system refuses is lost.
            libc::sendmmsg(socket.as_raw_fd(), heads.as_mut_ptr(), some.len() as u32, 0);
        }
    }
}

// --- the clients --------------------------------------------------------------------------------------------

struct Client {
    socket: UdpSocket,
    is_known: bool,
    /// What is to be sent, where messages are packed.
    pending: Vec<u8>,
    count: usize,
}

/// See [`Crowd`].
pub struct Clients {
    server: SocketAddr,
    cipher: Cipher,
    pack: usize,
    busy: bool,
    /// What a client says first: a hello, but where there are handshakes.
    opening: Vec<u8>,
    clients: Vec<Client>,
    connected: usize,
    waiter: Waiter,
    dirty: Vec<usize>,
    next_hello: Instant,
}

impl Clients {
    pub fn new(options: &Options) -> Result<Clients> {
        Ok(Clients {
            server: options.server.ok_or("no server is named")?,
            // Far from the server's.
            cipher: Cipher::new(1 << 63)?,
            pack: pack(options.peer),
            busy: options.peer == Peer::FloorBusy,
            opening: if options.peer == Peer::FloorHandshake {
                Primitives::opening()
            } else {
                HELLO.to_vec()
            },
            clients: Vec::new(),
            connected: 0,
            waiter: Waiter::new()?,
            dirty: Vec::new(),
            next_hello: Instant::now(),
        })
    }

    fn flush(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.count > 0 {
            self.cipher.seal(&mut client.pending);
            // What the system refuses is lost.
            let _ = client.socket.send(&client.pending);
            client.pending.clear();
            client.count = 0;
        }
    }

    fn queue(&mut self, client: usize, message: &[u8]) {
        let state = &mut self.clients[client];
        append(&mut state.pending, message);
        state.count += 1;
        if state.count >= self.pack || state.pending.len() + message.len() + 2 + TAG > DATAGRAM {
            self.flush(client);
        } else if self.clients[client].count == 1 {
            self.dirty.push(client);
        }
    }

    /// Says a client's first words.
    fn open(&mut self, client: usize) {
        let opening = std::mem::take(&mut self.opening);
        self.queue(client, &opening);
        self.flush(client);
        self.opening = opening;
    }

    fn read(&mut self, number: usize, inbox: &mut Vec<Received>) {
        let mut buffer = [0; DATAGRAM];
        for _ in 0..BATCH {
            let Ok(length) = self.clients[number].socket.recv(&mut buffer) else { return };
            let Some(plain) = self.cipher.open(&mut buffer[..length]) else { continue };
            for message in messages(plain) {
                if message != HELLO && !self.opening.is_empty() {
                    // The handshake's answer: now it says what it wants.
                    self.queue(number, HELLO);
                    self.flush(number);
                } else if message != HELLO {
                    inbox.push(Received::new(number, message));
                } else if !std::mem::replace(&mut self.clients[number].is_known, true) {
                    self.connected += 1;
                }
            }
        }
    }
}

impl Crowd for Clients {
    fn connect(&mut self) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        socket.connect(self.server)?;
        let number = self.clients.len();
        self.waiter.add(socket.as_raw_fd(), number)?;
        self.clients.push(Client { socket, is_known: false, pending: Vec::new(), count: 0 });
        self.open(number);
        Ok(())
    }

    fn connected(&self) -> usize {
        self.connected
    }

    fn lost(&self) -> usize {
        0
    }

    fn send(&mut self, client: usize, data: &[u8], _: Delivery) -> bool {
        self.queue(client, data);
        true
    }

    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()> {
        for client in std::mem::take(&mut self.dirty) {
            self.flush(client);
        }
        let mut readable = Vec::new();
        self.waiter.wait(if self.busy { Duration::ZERO } else { wait }, &mut readable);
        for client in readable {
            self.read(client, inbox);
        }
        if self.connected < self.clients.len() && Instant::now() >= self.next_hello {
            self.next_hello = Instant::now() + HELLO_INTERVAL;
            for client in 0..self.clients.len() {
                if !self.clients[client].is_known {
                    self.open(client);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again_and_nothing_else_does() {
        let (mut ours, theirs) = (Cipher::new(5).expect("a key"), Cipher::new(0).expect("a key"));
        let mut datagram = Vec::new();
        append(&mut datagram, b"one");
        append(&mut datagram, HELLO);
        append(&mut datagram, b"two");
        ours.seal(&mut datagram);
        let plain = theirs.open(&mut datagram.clone()).map(<[u8]>::to_vec).expect("it is ours");
        assert_eq!(messages(&plain).collect::<Vec<_>>(), [b"one".as_slice(), HELLO, b"two"]);
        datagram[NUMBER] ^= 1;
        assert!(theirs.open(&mut datagram).is_none());
    }
}
