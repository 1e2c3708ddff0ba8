//! ENet, the system's library: one host with one channel on the server, one host and socket for each client, no
//! limits of bandwidth, no compression, no checksum; all else as it comes. It has no encryption.

use std::ffi::{c_int, c_void};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Crowd, Received, Result};
use crate::control;
use crate::game::{Book, Game, Outlet};
use crate::options::{Delivery, Options};
use crate::system::Waiter;

/// The few declarations of ENet 1.3 that are used. What only the library makes has its first fields alone.
mod c {
    use super::{c_int, c_void};

    #[repr(C)]
    pub struct Address {
        /// In network byte order.
        pub host: u32,
        /// In the machine's.
        pub port: u16,
    }

    #[repr(C)]
    pub struct Host {
        pub socket: c_int,
        pub address: Address,
    }

    #[repr(C)]
    pub struct Peer {
        _private: [u8; 0],
    }

    #[repr(C)]
    pub struct Packet {
        pub reference_count: usize,
        pub flags: u32,
        pub data: *mut u8,
        pub length: usize,
    }

    #[repr(C)]
    pub struct Event {
        pub kind: c_int,
        pub peer: *mut Peer,
        pub channel: u8,
        pub data: u32,
        pub packet: *mut Packet,
    }

    pub const CONNECT: c_int = 1;
    pub const DISCONNECT: c_int = 2;
    pub const RECEIVE: c_int = 3;
    pub const RELIABLE: u32 = 1;

    extern "C" {
        pub fn enet_initialize() -> c_int;
        pub fn enet_host_create(
            address: *const Address,
            peers: usize,
            channels: usize,
            incoming_bandwidth: u32,
            outgoing_bandwidth: u32,
        ) -> *mut Host;
        pub fn enet_host_destroy(host: *mut Host);
        pub fn enet_host_connect(
            host: *mut Host,
            address: *const Address,
            channels: usize,
            data: u32,
        ) -> *mut Peer;
        pub fn enet_host_service(host: *mut Host, event: *mut Event, milliseconds: u32) -> c_int;
        pub fn enet_packet_create(data: *const c_void, length: usize, flags: u32) -> *mut Packet;
        pub fn enet_packet_destroy(packet: *mut Packet);
        pub fn enet_peer_send(peer: *mut Peer, channel: u8, packet: *mut Packet) -> c_int;
        pub fn enet_socket_get_address(socket: c_int, address: *mut Address) -> c_int;
    }
}

/// The longest that a server waits for its socket where no tick is due.
const WAIT: Duration = Duration::from_millis(100);
/// Time between two looks at all clients' timers; ENet's own clock counts milliseconds. Many clients take longer.
const LEAST_SWEEP: Duration = Duration::from_millis(1);
const SWEEP_PER_CLIENT: Duration = Duration::from_micros(10);
/// Events taken from one host in a row.
const MAX_EVENTS: usize = 4096;

fn initialize() -> Result<()> {
    // SAFETY: no pointers; each process does it once, before anything else of the library.
    match unsafe { c::enet_initialize() } {
        0 => Ok(()),
        code => Err(format!("enet_initialize: {code}").into()),
    }
}

fn send(peer: *mut c::Peer, data: &[u8], delivery: Delivery) -> bool {
    let flags = if delivery == Delivery::Guaranteed { c::RELIABLE } else { 0 };
    // SAFETY: `peer` is one of a live host, whose peers live as long as it does; the packet is copied from live
    // bytes, and belongs to the library once it took it.
    unsafe {
        let packet = c::enet_packet_create(data.as_ptr().cast(), data.len(), flags);
        if packet.is_null() {
            return false;
        }
        let taken = c::enet_peer_send(peer, 0, packet) == 0;
        if !taken {
            c::enet_packet_destroy(packet);
        }
        taken
    }
}

enum Event {
    Connect,
    Disconnect,
    /// The bytes live until the closure that gets it returns.
    Receive(*const u8, usize),
}

/// Lets a host read, write and run its timers, waiting for at most `wait`, and hands out what happened.
fn service(host: *mut c::Host, wait: Duration, mut on: impl FnMut(*mut c::Peer, Event)) -> io::Result<()> {
    let mut event = c::Event { kind: 0, peer: ptr::null_mut(), channel: 0, data: 0, packet: ptr::null_mut() };
    // Rounded up: a wait that is cut short is followed by turns for nothing.
    let mut milliseconds = u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(0);
    for _ in 0..MAX_EVENTS {
        // SAFETY: `host` is live, and the event too.
        match unsafe { c::enet_host_service(host, &raw mut event, milliseconds) } {
            0 => return Ok(()),
            code if code < 0 => return Err(io::Error::other("enet_host_service failed")),
            _ => {}
        }
        match event.kind {
            c::CONNECT => on(event.peer, Event::Connect),
            c::DISCONNECT => on(event.peer, Event::Disconnect),
            c::RECEIVE => {
                // SAFETY: with this event comes a packet, which is ours to destroy.
                unsafe {
                    on(event.peer, Event::Receive((*event.packet).data, (*event.packet).length));
                    c::enet_packet_destroy(event.packet);
                }
            }
            _ => {}
        }
        milliseconds = 0;
    }
    Ok(())
}

// --- the server ---------------------------------------------------------------------------------------------

struct Out;

impl Outlet for Out {
    type Peer = *mut c::Peer;

    fn send(&mut self, peer: *mut c::Peer, data: &[u8], delivery: Delivery) -> bool {
        send(peer, data, delivery)
    }
}

pub fn serve(options: &Options, book: Arc<Book>) -> Result<()> {
    initialize()?;
    let mut game = Game::new(options, Arc::clone(&book));
    let address = c::Address { host: u32::from_ne_bytes([127, 0, 0, 1]), port: 0 };
    // SAFETY: the address is live.
    let host = unsafe { c::enet_host_create(&raw const address, options.clients + 1, 1, 0, 0) };
    if host.is_null() {
        return Err("enet_host_create failed".into());
    }
    let mut bound = c::Address { host: 0, port: 0 };
    // SAFETY: the host is live, its socket is its first field, and `bound` is live.
    if unsafe { c::enet_socket_get_address((*host).socket, &raw mut bound) } != 0 {
        return Err("the host has no address".into());
    }
    control::serve(SocketAddr::from(([127, 0, 0, 1], bound.port)), "", book);
    let interval = game.tick_interval();
    let mut next = Instant::now();
    // Until the end of standard input ends the process.
    loop {
        let wait = interval.map_or(WAIT, |_| next.saturating_duration_since(Instant::now()));
        service(host, wait, |peer, event| match event {
            Event::Connect => game.joined(peer),
            Event::Disconnect => game.left(peer),
            Event::Receive(data, length) => {
                // SAFETY: as `Event::Receive` says.
                let data = unsafe { std::slice::from_raw_parts(data, length) };
                game.message(&mut Out, peer, data);
            }
        })?;
        if let Some(interval) = interval.filter(|_| Instant::now() >= next) {
            game.tick(&mut Out);
            // As gamekeeper: what is late by more than a tick is not made up for.
            next = (next + interval).max(Instant::now());
        }
    }
}

// --- the clients --------------------------------------------------------------------------------------------

struct Client {
    host: *mut c::Host,
    peer: *mut c::Peer,
}

/// See [`Crowd`].
pub struct Clients {
    server: SocketAddr,
    clients: Vec<Client>,
    connected: usize,
    lost: usize,
    waiter: Waiter,
    next_sweep: Instant,
    /// Clients that something was queued at.
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
}

impl Clients {
    pub fn new(options: &Options) -> Result<Clients> {
        initialize()?;
        Ok(Clients {
            server: options.server.ok_or("no server is named")?,
            clients: Vec::new(),
            connected: 0,
            lost: 0,
            waiter: Waiter::new()?,
            next_sweep: Instant::now(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
        })
    }

    fn service(&mut self, number: usize, inbox: &mut Vec<Received>) -> io::Result<()> {
        let (connected, lost) = (&mut self.connected, &mut self.lost);
        service(self.clients[number].host, Duration::ZERO, |_, event| match event {
            Event::Connect => *connected += 1,
            Event::Disconnect => *lost += 1,
            Event::Receive(data, length) => {
                // SAFETY: as `Event::Receive` says.
                let data = unsafe { std::slice::from_raw_parts(data, length) };
                inbox.push(Received::new(number, data));
            }
        })
    }

    fn mark_dirty(&mut self, client: usize) {
        if !std::mem::replace(&mut self.is_dirty[client], true) {
            self.dirty.push(client);
        }
    }

    fn sweep_interval(&self) -> Duration {
        (SWEEP_PER_CLIENT * self.clients.len() as u32).max(LEAST_SWEEP)
    }
}

impl Crowd for Clients {
    fn connect(&mut self) -> Result<()> {
        let IpAddr::V4(ip) = self.server.ip() else { return Err("ENet knows IPv4 alone".into()) };
        let address = c::Address { host: u32::from_ne_bytes(ip.octets()), port: self.server.port() };
        // SAFETY: no address is given for the host, and that of the server is live.
        let (host, peer) = unsafe {
            let host = c::enet_host_create(ptr::null(), 1, 1, 0, 0);
            if host.is_null() {
                return Err("enet_host_create failed".into());
            }
            (host, c::enet_host_connect(host, &raw const address, 1, 0))
        };
        if peer.is_null() {
            return Err("enet_host_connect failed".into());
        }
        let number = self.clients.len();
        // SAFETY: the host is live, and its socket is its first field.
        self.waiter.add(unsafe { (*host).socket }, number)?;
        self.clients.push(Client { host, peer });
        self.is_dirty.push(false);
        self.mark_dirty(number);
        Ok(())
    }

    fn connected(&self) -> usize {
        self.connected
    }

    fn lost(&self) -> usize {
        self.lost
    }

    fn send(&mut self, client: usize, data: &[u8], delivery: Delivery) -> bool {
        self.mark_dirty(client);
        send(self.clients[client].peer, data, delivery)
    }

    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()> {
        for client in std::mem::take(&mut self.dirty) {
            self.is_dirty[client] = false;
            self.service(client, inbox)?;
        }
        let mut readable = Vec::new();
        self.waiter.wait(wait.min(self.next_sweep.saturating_duration_since(Instant::now())), &mut readable);
        for client in readable {
            self.service(client, inbox)?;
        }
        if Instant::now() >= self.next_sweep {
            for client in 0..self.clients.len() {
                self.service(client, inbox)?;
            }
            self.next_sweep = Instant::now() + self.sweep_interval();
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for client in &self.clients {
            // SAFETY: each was made by the library, and nothing uses it any more.
            unsafe { c::enet_host_destroy(client.host) };
        }
    }
}
