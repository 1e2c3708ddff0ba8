//! gamekeeper, on either wire, through the calls that a game would use: a server on its own thread with callbacks,
//! clients that the load polls. All values are defaults, but for what each place says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gamekeeper::client::{
    self, Client, ClientConfig, ConnectInfo, DisconnectInfo, Handler as ClientHandler, KnownKeys, ServerKey,
    Wire,
};
use gamekeeper::keys::{PublicKey, RootKey};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{self, Handler, Message, PeerId, RetryMode, SendOptions, Takes};
use gamekeeper::Server;

use super::{Crowd, Peer, Received, Result};
use crate::control;
use crate::game::{Book, Game, Outlet};
use crate::options::{Delivery, Options};
use crate::system::Waiter;

/// How both ends send a message.
fn mode(peer: Peer, delivery: Delivery) -> RetryMode {
    match delivery {
        Delivery::Unreliable => RetryMode::None,
        Delivery::Guaranteed if peer == Peer::GamekeeperOrdered => RetryMode::Ordered,
        Delivery::Guaranteed => RetryMode::OnTimeout,
    }
}

/// How long both ends do not sleep after a datagram: longer than the other end takes.
fn busy_poll(peer: Peer) -> Duration {
    Duration::from_millis(if peer == Peer::GamekeeperBusy { 100 } else { 0 })
}

/// Copies of each guaranteed message beside the first.
fn redundancy(peer: Peer) -> u8 {
    u8::from(peer == Peer::GamekeeperRedundant)
}

// --- the server ---------------------------------------------------------------------------------------------

struct Application(Peer, Game<PeerId>);

struct Out<'a>(Peer, &'a Server);

impl Outlet for Out<'_> {
    type Peer = PeerId;

    fn send(&mut self, peer: PeerId, data: &[u8], delivery: Delivery) -> bool {
        let options = SendOptions { retry: mode(self.0, delivery), ..SendOptions::default() };
        self.1.send(peer, data, options).is_ok()
    }
}

impl Handler for Application {
    fn takes(&self) -> Takes {
        let update = self.1.tick_interval().is_some();
        Takes { connect: true, disconnect: true, message: true, update, ..Takes::default() }
    }

    fn connect(&mut self, _: &Server, peer: PeerId, _: &events::ConnectInfo) {
        self.1.joined(peer);
    }

    fn disconnect(&mut self, _: &Server, peer: PeerId, _: &events::DisconnectInfo) {
        self.1.left(peer);
    }

    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        self.1.message(&mut Out(self.0, server), peer, &message.data);
    }

    fn update(&mut self, server: &Server, _: f64, _: u64) {
        self.1.tick(&mut Out(self.0, server));
    }
}

pub fn serve(options: &Options, book: Arc<Book>) -> Result<()> {
    let game = Game::new(options, Arc::clone(&book));
    let root = Arc::new(RootKey::generate()?);
    let mut config = Config {
        redundancy: redundancy(options.peer),
        busy_poll: busy_poll(options.peer),
        root_key: Some(Arc::clone(&root)),
        // One source has all the clients here, and they come at once; the bound is there for strangers.
        hellos_per_source_hz: 1e6,
        hellos_total_hz: 1e6,
        ..Config::default()
    };
    if let Some(interval) = game.tick_interval() {
        config.tick_rate_hz = 1.0 / interval.as_secs_f64();
    }
    let server = Server::start(config, Box::new(Application(options.peer, game)), "127.0.0.1:0")?;
    let key = control::hex(&[&root.native_public()[..], &root.public_key().to_der()[..]].concat());
    control::serve(server.local_address(), &key, book);
    server.wait(None)?;
    Err("the server has stopped".into())
}

// --- the clients --------------------------------------------------------------------------------------------

/// What the callbacks of all clients write down.
#[derive(Default)]
struct Heard {
    inbox: Vec<Received>,
    connected: usize,
    lost: usize,
}

struct Ear {
    client: usize,
    heard: Arc<Mutex<Heard>>,
}

impl Ear {
    fn note(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ClientHandler for Ear {
    fn takes(&self) -> client::Takes {
        client::Takes { connected: true, disconnected: true, message: true, ..client::Takes::default() }
    }

    fn connected(&mut self, _: &Client, _: &ConnectInfo) {
        self.note(|heard| heard.connected += 1);
    }

    fn disconnected(&mut self, _: &Client, _: &DisconnectInfo) {
        self.note(|heard| heard.lost += 1);
    }

    fn message(&mut self, _: &Client, message: &client::Message) {
        self.note(|heard| heard.inbox.push(Received::new(self.client, &message.data)));
    }
}

/// See [`Crowd`].
pub struct Clients {
    peer: Peer,
    config: ClientConfig,
    server: String,
    clients: Vec<Client>,
    heard: Arc<Mutex<Heard>>,
    waiter: Waiter,
    /// When each client has something to do of itself; an entry of the heap that differs is void.
    due: Vec<Option<Instant>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Clients that something was queued at.
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
}

impl Clients {
    pub fn new(options: &Options) -> Result<Clients> {
        let bytes = control::unhex(&options.key).ok_or("the key cannot be read")?;
        let (native, root) = bytes.split_first_chunk::<32>().ok_or("the key is too short")?;
        let keys = KnownKeys { native: Some(*native), root: Some(PublicKey::from_der(root)?) };
        let wire = match options.peer {
            Peer::GamekeeperMpgameserver | Peer::Mpgameserver => Wire::Mpgameserver,
            _ => Wire::Native,
        };
        let config = ClientConfig {
            wire,
            redundancy: redundancy(options.peer),
            busy_poll: busy_poll(options.peer),
            // Nobody listens to the load's ticks.
            tick_rate_hz: 1.0,
            // Thousands of clients in one process are no sign of a server that does not answer.
            handshake_timeout: Duration::from_secs(20),
            connection_timeout: Duration::from_secs(20),
            // So many of the default's 4 MiB would not fit into memory.
            socket_receive_bytes: 256 << 10,
            socket_send_bytes: 256 << 10,
            ..ClientConfig::new(ServerKey::Pinned(keys))
        };
        Ok(Clients {
            peer: options.peer,
            config,
            server: options.server.ok_or("no server is named")?.to_string(),
            clients: Vec::new(),
            heard: Arc::default(),
            waiter: Waiter::new()?,
            due: Vec::new(),
            timers: BinaryHeap::new(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
        })
    }

    fn poll(&mut self, client: usize, wait: Duration) -> io::Result<()> {
        let running = &self.clients[client];
        running.poll(Some(wait)).map_err(io::Error::other)?;
        let due = running.next_timeout().map(|wait| Instant::now() + wait);
        if due != self.due[client] {
            self.due[client] = due;
            self.timers.extend(due.map(|due| Reverse((due, client))));
        }
        Ok(())
    }

    fn mark_dirty(&mut self, client: usize) {
        if !std::mem::replace(&mut self.is_dirty[client], true) {
            self.dirty.push(client);
        }
    }

    fn poll_dirty(&mut self) -> io::Result<()> {
        for client in std::mem::take(&mut self.dirty) {
            self.is_dirty[client] = false;
            self.poll(client, Duration::ZERO)?;
        }
        Ok(())
    }
}

impl Crowd for Clients {
    fn connect(&mut self) -> Result<()> {
        let number = self.clients.len();
        let ear = Ear { client: number, heard: Arc::clone(&self.heard) };
        let client = Client::open(self.config.clone(), Box::new(ear), &self.server)?;
        self.waiter.add(client.descriptor()?, number)?;
        self.clients.push(client);
        self.due.push(None);
        self.is_dirty.push(false);
        self.mark_dirty(number);
        Ok(())
    }

    fn connected(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).connected
    }

    fn lost(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).lost
    }

    fn send(&mut self, client: usize, data: &[u8], delivery: Delivery) -> bool {
        let options =
            client::SendOptions { retry: mode(self.peer, delivery), ..client::SendOptions::default() };
        let taken = self.clients[client].send(data, options).is_ok();
        self.mark_dirty(client);
        taken
    }

    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()> {
        self.poll_dirty()?;
        if self.peer == Peer::GamekeeperBusy && self.clients.len() == 1 {
            // One client waits itself, and does not sleep.
            self.poll(0, wait)?;
            inbox.append(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner).inbox);
            return Ok(());
        }
        let due = self.timers.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        let mut readable = Vec::new();
        self.waiter.wait(due.map_or(wait, |due| due.min(wait)), &mut readable);
        for client in readable {
            self.poll(client, Duration::ZERO)?;
        }
        let now = Instant::now();
        while let Some(Reverse((due, client))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            if self.due[client] == Some(due) {
                self.due[client] = None;
                self.poll(client, Duration::ZERO)?;
            }
        }
        inbox.append(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner).inbox);
        Ok(())
    }
}
