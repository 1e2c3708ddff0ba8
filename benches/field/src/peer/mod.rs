//! The libraries that are compared, each behind the same two roles: a server around the application of `game.rs`, and
//! a crowd of clients that one loop drives.

#[cfg(enet)]
mod enet;
mod floor;
mod gamekeeper;
mod mpgameserver;
mod primitives;
mod quinn;
mod renet;

use std::io;
use std::time::Duration;

use crate::game::Book;
use crate::message::HEAD;
use crate::options::{Delivery, Options};

/// What can go wrong in a role; it ends the process.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A library, with one way of using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Gamekeeper,
    /// Each guaranteed message has one copy in another packet.
    GamekeeperRedundant,
    /// Guaranteed messages keep their order, as those of some other libraries always do.
    GamekeeperOrdered,
    /// Both ends ask again and again instead of sleeping.
    GamekeeperBusy,
    /// On mpgameserver's wire.
    GamekeeperMpgameserver,
    Enet,
    /// Guaranteed messages have a stream each.
    Quinn,
    /// Guaranteed messages share one stream.
    QuinnOrdered,
    Renet,
    /// The Python package.
    Mpgameserver,
    /// No library: sockets and a cipher.
    Floor,
    FloorBatched,
    FloorPacked,
    FloorBusy,
    /// What a handshake consists of, and nothing that holds it together.
    FloorHandshake,
}

impl Peer {
    /// In the order of the tables; the first is what others are compared with.
    pub const ALL: [Peer; 15] = [
        Peer::Gamekeeper,
        Peer::GamekeeperRedundant,
        Peer::GamekeeperOrdered,
        Peer::GamekeeperBusy,
        Peer::GamekeeperMpgameserver,
        Peer::Enet,
        Peer::Quinn,
        Peer::QuinnOrdered,
        Peer::Renet,
        Peer::Mpgameserver,
        Peer::Floor,
        Peer::FloorBatched,
        Peer::FloorPacked,
        Peer::FloorBusy,
        Peer::FloorHandshake,
    ];

    /// All but those for which `is_left_out`.
    pub fn all_but(is_left_out: impl Fn(Peer) -> bool) -> Vec<Peer> {
        Peer::ALL.into_iter().filter(|peer| !is_left_out(*peer)).collect()
    }

    /// A variant of another one, which differs from it in guaranteed messages alone, or in sleeping.
    pub fn is_variant(self) -> bool {
        let is_own =
            matches!(self, Peer::GamekeeperRedundant | Peer::GamekeeperOrdered | Peer::GamekeeperBusy);
        is_own || self == Peer::QuinnOrdered
    }

    /// Clients that one server of it takes.
    pub fn max_clients(self) -> usize {
        match self {
            Peer::Renet => renet::MAX_CLIENTS,
            Peer::Mpgameserver => mpgameserver::MAX_CLIENTS,
            _ => usize::MAX,
        }
    }

    pub fn is_own(self) -> bool {
        self.id().starts_with("gamekeeper")
    }

    pub fn is_floor(self) -> bool {
        self.id().starts_with("floor")
    }

    /// What it is called on command lines.
    pub fn id(self) -> &'static str {
        match self {
            Peer::Gamekeeper => "gamekeeper",
            Peer::GamekeeperRedundant => "gamekeeper-redundant",
            Peer::GamekeeperOrdered => "gamekeeper-ordered",
            Peer::GamekeeperBusy => "gamekeeper-busy",
            Peer::GamekeeperMpgameserver => "gamekeeper-mpgameserver",
            Peer::Enet => "enet",
            Peer::Quinn => "quinn",
            Peer::QuinnOrdered => "quinn-ordered",
            Peer::Renet => "renet",
            Peer::Mpgameserver => "mpgameserver",
            Peer::Floor => "floor",
            Peer::FloorBatched => "floor-batched",
            Peer::FloorPacked => "floor-packed",
            Peer::FloorBusy => "floor-busy",
            Peer::FloorHandshake => "floor-handshake",
        }
    }

    /// What it is called in tables.
    pub fn title(self) -> &'static str {
        match self {
            Peer::Gamekeeper => "gamekeeper",
            Peer::GamekeeperRedundant => "gamekeeper, redundancy 1",
            Peer::GamekeeperOrdered => "gamekeeper, ordered",
            Peer::GamekeeperBusy => "gamekeeper, busy",
            Peer::GamekeeperMpgameserver => "gamekeeper, mpgameserver's wire",
            Peer::Enet => "ENet (ordered, no encryption)",
            Peer::Quinn => "quinn",
            Peer::QuinnOrdered => "quinn, ordered",
            Peer::Renet => "renet",
            Peer::Mpgameserver => "mpgameserver (Python)",
            Peer::Floor => "floor",
            Peer::FloorBatched => "floor, 64 datagrams a call",
            Peer::FloorPacked => "floor, 64 a call, 16 messages a datagram",
            Peer::FloorBusy => "floor, busy",
            Peer::FloorHandshake => "floor: primitives and system calls of one",
        }
    }

    pub fn of(id: &str) -> Option<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.id() == id)
    }

    /// What is not there for it to run, in one sentence.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Peer::Enet if cfg!(not(enet)) => {
                Some("ENet was not found when this was built: apt-get install libenet-dev")
            }
            Peer::Mpgameserver if !mpgameserver::is_installed() => {
                Some("no virtual environment with it could be made: that needs python3-venv and the network")
            }
            _ => None,
        }
    }

    /// Runs its server until the process ends.
    pub fn serve(self, options: &Options, book: std::sync::Arc<Book>) -> Result<()> {
        match self {
            Peer::Gamekeeper
            | Peer::GamekeeperRedundant
            | Peer::GamekeeperOrdered
            | Peer::GamekeeperBusy
            | Peer::GamekeeperMpgameserver => gamekeeper::serve(options, book),
            Peer::Quinn | Peer::QuinnOrdered => quinn::serve(options, book),
            Peer::Renet => renet::serve(options, book),
            Peer::Mpgameserver => mpgameserver::serve(options),
            Peer::Floor | Peer::FloorBatched | Peer::FloorPacked | Peer::FloorBusy | Peer::FloorHandshake => {
                floor::serve(options, book)
            }
            #[cfg(enet)]
            Peer::Enet => enet::serve(options, book),
            #[cfg(not(enet))]
            Peer::Enet => Err("there is no ENet".into()),
        }
    }

    /// Its clients, none yet.
    pub fn crowd(self, options: &Options) -> Result<Box<dyn Crowd>> {
        match self {
            Peer::Gamekeeper
            | Peer::GamekeeperRedundant
            | Peer::GamekeeperOrdered
            | Peer::GamekeeperBusy
            | Peer::GamekeeperMpgameserver
            | Peer::Mpgameserver => Ok(Box::new(gamekeeper::Clients::new(options)?)),
            Peer::Quinn | Peer::QuinnOrdered => Ok(Box::new(quinn::Clients::new(options)?)),
            Peer::Renet => Ok(Box::new(renet::Clients::new(options)?)),
            Peer::Floor | Peer::FloorBatched | Peer::FloorPacked | Peer::FloorBusy | Peer::FloorHandshake => {
                Ok(Box::new(floor::Clients::new(options)?))
            }
            #[cfg(enet)]
            Peer::Enet => Ok(Box::new(enet::Clients::new(options)?)),
            #[cfg(not(enet))]
            Peer::Enet => Err("there is no ENet".into()),
        }
    }
}

/// A message that a client got, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub client: usize,
    pub length: usize,
    pub head: [u8; HEAD],
}

impl Received {
    pub fn new(client: usize, data: &[u8]) -> Received {
        let mut head = [0; HEAD];
        let length = data.len().min(HEAD);
        head[..length].copy_from_slice(&data[..length]);
        Received { client, length: data.len(), head }
    }
}

/// Many clients of one server, on the caller's thread.
pub trait Crowd {
    /// Starts to connect one more, whose number is how many there were.
    fn connect(&mut self) -> Result<()>;
    /// How many of them are connected.
    fn connected(&self) -> usize;
    /// How many lost their session, or never got one.
    fn lost(&self) -> usize;
    /// Queues a copy of `data` at one client. `false`: there is no room now.
    fn send(&mut self, client: usize, data: &[u8], delivery: Delivery) -> bool;
    /// Runs all of them, and waits for something to happen at most for `wait`; appends what came.
    fn turn(&mut self, wait: Duration, inbox: &mut Vec<Received>) -> io::Result<()>;
}
