//! The server's end of the engine's networking.

use std::collections::{BTreeMap, HashMap};

use gamekeeper::server::config::{Config, Wires};
use gamekeeper::server::events::{
    DisconnectInfo, DisconnectReason, Event, JoinRequest, Message, Outcome, PeerId, PeerInfo, RetryMode,
    SendOptions,
};
use gamekeeper::server::password::Password;
use gamekeeper::{ErrorKind, Server};
use godot::global::Error;
use godot::prelude::*;

use super::{message, packet, Effect, GamekeeperMultiplayerPeer};
use crate::convert::{failed, listen_address, number, seconds, wrong, MAX_QUEUED_EVENTS};
use crate::running::{show, Quiet, RunningServer};
use crate::wire::{self, Numbers, Transfer};

/// What a client is told that comes while nobody is let in.
const REFUSED_CLOSED: u32 = 1001;
/// What a client is told that is none of ours, or of another version.
const REFUSED_VERSION: u32 = 1002;
/// What a client is told that the game disconnects.
const DISCONNECTED: u32 = 1003;

/// Messages that wait for one client at most; a full queue refuses packets. The engine sends one per call, so that a
/// frame can bring thousands.
const MAX_QUEUED_MESSAGES: u32 = 65_536;

/// A server, and the ids of its clients.
pub struct ServerEnd {
    pub server: RunningServer,
    remotes: HashMap<PeerId, Remote>,
    /// By the engine's ids; in order, so that a packet for all goes the same way every time.
    ids: BTreeMap<i32, PeerId>,
    newest_id: u64,
}

/// A client.
struct Remote {
    id: i32,
    /// Whether the engine knows of it: it does when the client has its id.
    announced: bool,
    /// Its queue was full, and nothing has said since that it is not.
    full: bool,
    /// The game disconnected it: what it still sends is dropped.
    leaving: bool,
    numbers: Numbers,
}

impl ServerEnd {
    pub fn new(of: &GamekeeperMultiplayerPeer, port: i32, max_clients: i32) -> Result<Self, (Error, String)> {
        if !(0..=65_535).contains(&port) {
            return Err(wrong(format!("port is {port}, allowed is 0 to 65535")));
        }
        let password = of.password.to_string();
        let password = (!password.is_empty()).then(|| Password::new(password.as_bytes())).transpose();
        let config = Config {
            root_key: of.root_key.as_ref().map(|key| key.bind().key()),
            wires: Wires { mpgameserver: false, native: true },
            redundancy: u8::try_from(of.redundancy).unwrap_or(u8::MAX),
            // Nobody looks at ticks here.
            tick_rate_hz: 1.0,
            connection_timeout: seconds("connection_timeout", of.connection_timeout).map_err(wrong)?,
            max_peers: u32::try_from(max_clients).unwrap_or_default(),
            max_queued_messages: MAX_QUEUED_MESSAGES,
            max_queued_events: MAX_QUEUED_EVENTS,
            authorise: true,
            password: password.map_err(failed)?,
            peer_send_rate: u64::try_from(of.send_rate).map_err(|_| wrong("send_rate is below 0".into()))?,
            ..Config::default()
        };
        let address = listen_address(&of.bind_address, port);
        let server = Server::start(config, Box::new(Quiet { ticks: false }), &address).map_err(failed)?;
        Ok(ServerEnd {
            server: RunningServer::new(server),
            remotes: HashMap::new(),
            ids: BTreeMap::new(),
            newest_id: 0,
        })
    }

    /// The engine's id of a client.
    pub fn id(&self, peer: PeerId) -> Option<i32> {
        self.remotes.get(&peer).map(|remote| remote.id)
    }

    /// What is known of a client.
    pub fn info(&self, id: i32) -> Option<PeerInfo> {
        self.server.peer_info(*self.ids.get(&id)?).ok()
    }

    pub fn effect(&mut self, event: Event, refuses: bool) -> Effect {
        match event {
            Event::Authorise(peer, request) => {
                self.decide(peer, &request, refuses);
                Effect::Nothing
            }
            Event::Connect(peer, info) => {
                self.welcome(peer, info.token);
                Effect::Nothing
            }
            // The client's end has its welcome: whatever is sent from now on arrives after it.
            Event::Sent(peer, _, Outcome::Delivered) => self.announce(peer, None),
            Event::Message(peer, message) => self.message(peer, message),
            Event::Writable(peer) => {
                if let Some(remote) = self.remotes.get_mut(&peer) {
                    remote.full = false;
                }
                Effect::Nothing
            }
            Event::Disconnect(peer, _) => self.left(peer),
            Event::Log(level, text) => {
                show(level, &text);
                Effect::Nothing
            }
            _ => Effect::Nothing,
        }
    }

    fn decide(&self, peer: PeerId, request: &JoinRequest, refuses: bool) {
        let decided = if refuses {
            self.server.refuse(peer, REFUSED_CLOSED, "the server takes no new clients")
        } else if !wire::is_join(&request.data) {
            self.server.refuse(peer, REFUSED_VERSION, "the server is for clients of another version")
        } else {
            self.server.accept(peer)
        };
        // It may have left, or waited too long: then nothing is to be decided.
        let _ = decided;
    }

    /// Gives a client its id: that of its session where that is free, so that ids cannot be guessed.
    fn welcome(&mut self, peer: PeerId, token: u32) {
        let mut id = (token & 0x7fff_ffff).cast_signed();
        // There are fewer clients than ids.
        while id < wire::MIN_CLIENT_ID || self.ids.contains_key(&id) {
            id = id.wrapping_add(1) & i32::MAX;
        }
        self.newest_id += 1;
        let options = SendOptions {
            retry: RetryMode::Ordered,
            channel: wire::CONTROL,
            tag: Some(self.newest_id),
            ..SendOptions::default()
        };
        match self.server.send(peer, &wire::welcome(id), options) {
            Ok(()) => {
                let numbers = Numbers::default();
                let remote = Remote { id, announced: false, full: false, leaving: false, numbers };
                self.remotes.insert(peer, remote);
                self.ids.insert(id, peer);
            }
            // Gone already, or there is no room for the event that tells of the delivery.
            Err(_) => self.dismiss(peer, "the server is too busy to take clients"),
        }
    }

    fn dismiss(&self, peer: PeerId, text: &str) {
        let info = DisconnectInfo::new(DisconnectReason::Kicked, text).with_code(DISCONNECTED);
        // It may be gone already.
        let _ = self.server.disconnect(peer, info, true);
    }

    /// Tells the engine of a client, once.
    fn announce(&mut self, peer: PeerId, first: Option<super::Packet>) -> Effect {
        let Some(remote) = self.remotes.get_mut(&peer) else { return Effect::Nothing };
        if std::mem::replace(&mut remote.announced, true) || remote.leaving {
            return first.map_or(Effect::Nothing, Effect::Packet);
        }
        Effect::Joined(remote.id, first)
    }

    fn message(&mut self, peer: PeerId, message: Message) -> Effect {
        let Some(remote) = self.remotes.get_mut(&peer).filter(|remote| !remote.leaving) else {
            return Effect::Nothing;
        };
        let packet = packet(remote.id, message, &mut remote.numbers);
        // A client that sends has its id, also when the acknowledgement is still under way.
        self.announce(peer, packet)
    }

    fn left(&mut self, peer: PeerId) -> Effect {
        let Some(remote) = self.remotes.remove(&peer) else { return Effect::Nothing };
        self.ids.remove(&remote.id);
        if remote.announced {
            return Effect::Left(remote.id);
        }
        Effect::Nothing
    }

    /// Disconnects a client when it has what was sent to it; `silently` also for the engine, at once.
    pub fn disconnect(&mut self, id: i32, silently: bool) {
        let Some(peer) = self.ids.get(&id).copied() else { return };
        self.dismiss(peer, "the server disconnected this client");
        if silently {
            self.ids.remove(&id);
            self.remotes.remove(&peer);
        } else if let Some(remote) = self.remotes.get_mut(&peer) {
            remote.leaving = true;
        }
    }

    /// Queues a packet for one client, all (0), or all but one (negative). The error is the first of them.
    pub fn send(&mut self, target: i32, transfer: Transfer, channel: i32, data: &[u8]) -> Result<(), Error> {
        if target > 0 {
            let known = self.ids.get(&target).copied();
            return self.send_to(known.ok_or(Error::ERR_INVALID_PARAMETER)?, transfer, channel, data);
        }
        let but = target.checked_neg();
        let peers: Vec<PeerId> =
            self.ids.iter().filter(|(id, _)| Some(**id) != but).map(|(_, peer)| *peer).collect();
        let mut result = Ok(());
        for peer in peers {
            result = result.and(self.send_to(peer, transfer, channel, data));
        }
        result
    }

    fn send_to(&mut self, peer: PeerId, transfer: Transfer, channel: i32, data: &[u8]) -> Result<(), Error> {
        // To the engine it is not there yet, or any more.
        let Some(remote) = self.remotes.get_mut(&peer).filter(|remote| remote.announced && !remote.leaving)
        else {
            return Ok(());
        };
        let (retry, on) = wire::outward(transfer, channel).ok_or(Error::ERR_INVALID_PARAMETER)?;
        let message = message(transfer, channel, data, &mut remote.numbers);
        let options = SendOptions { retry, channel: on, ..SendOptions::default() };
        let Err(error) = self.server.send(peer, &message, options) else { return Ok(()) };
        match error.kind() {
            // It has just left: the event that tells of it waits.
            ErrorKind::Stale => Ok(()),
            ErrorKind::WouldBlock => {
                if !std::mem::replace(&mut remote.full, true) {
                    godot_warn!("gamekeeper: the queue of peer {} is full: packets are refused", remote.id);
                }
                Err(Error::ERR_BUSY)
            }
            _ => Err(number(&error)),
        }
    }
}
