//! renet over renet_netcode, secured by connect tokens: its default connection and channels, the unordered one for
//! guaranteed messages. The server runs as its documentation has it, once in a frame of a sixtieth of a second; the
//! load runs a client as soon as there is something for it. A server of netcode takes 1024 clients at most.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use renet::{ClientId, ConnectionConfig, DefaultChannel, RenetClient, RenetServer, ServerEvent};
use renet_netcode::{
    ClientAuthentication, ConnectToken, NetcodeClientTransport, NetcodeServerTransport, ServerAuthentication,
    ServerConfig,
};

use super::{Crowd, Received, Result};
use crate::control;
use crate::game::{Book, Game, Outlet};
use crate::options::{Delivery, Options};
use crate::system::{self, Waiter};

/// Clients that a server of netcode takes.
pub const MAX_CLIENTS: usize = 1024;
const PROTOCOL: u64 = 7;
/// Between the server and whoever makes the tokens.
const KEY: [u8; 32] = [7; 32];
const FRAME: Duration = Duration::from_nanos(16_666_667);
/// Validity of a token, and the silence after which a client is lost.
const TOKEN_SECONDS: u64 = 300;
const TIMEOUT_SECONDS: i32 = 15;
const SERVER_BUFFER: i32 = 4 << 20;

fn channel(delivery: Delivery) -> DefaultChannel {
    match delivery {
        Delivery::Unreliable => DefaultChannel::Unreliable,
        Delivery::Guaranteed => DefaultChannel::ReliableUnordered,
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Out<'a>(&'a mut RenetServer);

impl Outlet for Out<'_> {
    type Peer = ClientId;

    fn send(&mut self, peer: ClientId, data: &[u8], delivery: Delivery) -> bool {
        let has_room = self.0.can_send_message(peer, channel(delivery), data.len());
        if has_room {
            self.0.send_message(peer, channel(delivery), data.to_vec());
        }
        has_room
    }
}

pub fn serve(options: &Options, book: Arc<Book>) -> Result<()> {
    let mut game = Game::new(options, Arc::clone(&book));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    system::set_buffers(&socket, SERVER_BUFFER);
    let address = socket.local_addr()?;
    let config = ServerConfig {
        current_time: wall(),
        max_clients: MAX_CLIENTS,
        protocol_id: PROTOCOL,
        public_addresses: vec![address],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    };
    let mut transport = NetcodeServerTransport::new(config, socket)?;
    let mut server = RenetServer::new(ConnectionConfig::default());
    control::serve(address, &address.to_string(), book);
    let (mut last, mut next) = (Instant::now(), Instant::now());
    let interval = game.tick_interval();
    let mut tick = Instant::now();
    // Until the end of standard input ends the process.
    loop {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut last, now);
        server.update(passed);
        transport.update(passed, &mut server)?;
        while let Some(event) = server.get_event() {
            match event {
                ServerEvent::ClientConnected { client_id } => game.joined(client_id),
                ServerEvent::ClientDisconnected { client_id, .. } => game.left(client_id),
            }
        }
        for client in server.clients_id() {
            for channel in [Delivery::Unreliable, Delivery::Guaranteed].map(channel) {
                let channel = u8::from(channel);
                while let Some(message) = server.receive_message(client, channel) {
                    game.message(&mut Out(&mut server), client, &message);
                }
            }
        }
        if let Some(interval) = interval.filter(|_| now >= tick) {
            game.tick(&mut Out(&mut server));
            tick = (tick + interval).max(now);
        }
        transport.send_packets(&mut server);
        next = (next + FRAME).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

// --- the clients --------------------------------------------------------------------------------------------

struct Client {
    renet: RenetClient,
    transport: NetcodeClientTransport,
    last: Instant,
    is_connected: bool,
    is_lost: bool,
}

/// See [`Crowd`].
pub struct Clients {
    /// Where datagrams go, and where the server knows itself to be: tokens name both.
    servers: Vec<SocketAddr>,
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
        Ok(Clients {
            servers: vec![options.server.ok_or("no server is named")?, options.key.parse()?],
            clients: Vec::new(),
            connected: 0,
            lost: 0,
            waiter: Waiter::new()?,
            next_sweep: Instant::now(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
        })
    }

    fn run(&mut self, number: usize, inbox: &mut Vec<Received>) {
        let client = &mut self.clients[number];
        if client.is_lost {
            return;
        }
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut client.last, now);
        client.renet.update(passed);
        let mut result = client.transport.update(passed, &mut client.renet);
        for channel in [Delivery::Unreliable, Delivery::Guaranteed].map(channel) {
            let channel = u8::from(channel);
            while let Some(message) = client.renet.receive_message(channel) {
                inbox.push(Received::new(number, &message));
            }
        }
        if client.renet.is_connected() {
            result = result.and(client.transport.send_packets(&mut client.renet));
            self.connected += usize::from(!std::mem::replace(&mut client.is_connected, true));
        }
        if result.is_err() {
            client.is_lost = true;
            self.lost += 1;
        }
    }

    fn mark_dirty(&mut self, client: usize) {
        if !std::mem::replace(&mut self.is_dirty[client], true) {
            self.dirty.push(client);
        }
    }
}

impl Crowd for Clients {
    fn connect(&mut self) -> Result<()> {
        let number = self.clients.len();
        let (servers, client) = (self.servers.clone(), number as u64 + 1);
        let connect_token = ConnectToken::generate(
            wall(),
            PROTOCOL,
            TOKEN_SECONDS,
            client,
            TIMEOUT_SECONDS,
            servers,
            None,
            &KEY,
        )?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        self.waiter.add(socket.as_raw_fd(), number)?;
        let authentication = ClientAuthentication::Secure { connect_token };
        self.clients.push(Client {
            renet: RenetClient::new(ConnectionConfig::default()),
            transport: NetcodeClientTransport::new(wall(), authentication, socket)?,
            last: Instant::now(),
            is_connected: false,
            is_lost: false,
        });
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
        let renet = &mut self.clients[client].renet;
        let has_room = renet.can_send_message(channel(delivery), data.len());
        if has_room {
            renet.send_message(channel(delivery), data.to_vec());
        }
        self.mark_dirty(client);
        has_room
    }

    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()> {
        for client in std::mem::take(&mut self.dirty) {
            self.is_dirty[client] = false;
            self.run(client, inbox);
        }
        let mut readable = Vec::new();
        self.waiter.wait(wait.min(self.next_sweep.saturating_duration_since(Instant::now())), &mut readable);
        for client in readable {
            self.run(client, inbox);
        }
        if Instant::now() >= self.next_sweep {
            for client in 0..self.clients.len() {
                self.run(client, inbox);
            }
            self.next_sweep = Instant::now() + FRAME;
        }
        Ok(())
    }
}
