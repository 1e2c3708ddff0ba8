//! `GamekeeperMultiplayerPeer`: the engine's high-level networking over gamekeeper.
//!
//! One object is either end. What they have in common, and all that the engine asks, is here; `ServerEnd` and
//! `ClientEnd` know the library's servers and clients.

mod client_end;
mod server_end;

use std::collections::VecDeque;

use gamekeeper::client::Event as ClientEvent;
use gamekeeper::server::events::{Event as ServerEvent, Message};
use godot::classes::multiplayer_peer::{ConnectionStatus, TransferMode};
use godot::classes::{IMultiplayerPeerExtension, MultiplayerPeerExtension};
use godot::global::Error;
use godot::prelude::*;

use crate::conditions::{apply, GamekeeperConditions};
use crate::convert::{self, report, BATCHES_PER_FRAME, EVENTS_PER_BATCH};
use crate::key::GamekeeperKey;
use crate::wire::{self, Numbers, Transfer};
use client_end::ClientEnd;
use server_end::ServerEnd;

/// The id of a server.
const SERVER_ID: i32 = 1;
/// Packets that wait to be read at most: beyond it events stay in the library's queue, whose bounds then hold the senders.
const MAX_WAITING_PACKETS: usize = 65_536;

/// gamekeeper under the engine's high-level multiplayer: remote calls, spawners and synchronizers over encrypted UDP.
///
/// Use it where you would use [ENetMultiplayerPeer]; only the lines that make the peer change:
///
/// ```gdscript
/// # The server
/// var peer := GamekeeperMultiplayerPeer.new()
/// peer.root_key = GamekeeperKey.load_file("user://server.pem")
/// peer.create_server(7777)
/// multiplayer.multiplayer_peer = peer
///
/// # A client; the text is what the key's get_public_key() gives
/// var peer := GamekeeperMultiplayerPeer.new()
/// peer.create_client("example.org", 7777, "5a0c…64 digits…")
/// multiplayer.multiplayer_peer = peer
/// ```
///
/// Set the properties before you call [method create_server] or [method create_client].
///
/// Transfer modes are those of [MultiplayerPeer]. Reliable packets arrive in order per channel; unreliable ones at most
/// once; of unreliable ordered ones those that come late are dropped, per channel. Channels are 0 to 126. A packet can
/// have 8 MiB less 4 bytes.
///
/// The connection lives on a thread of its own: a game that loads for a few seconds loses nobody. Clients that the server
/// disconnects get what was sent to them before.
#[derive(GodotClass)]
#[class(init, tool, base = MultiplayerPeerExtension)]
pub struct GamekeeperMultiplayerPeer {
    base: Base<MultiplayerPeerExtension>,

    /// Server: the address to listen on; [code]"*"[/code] is all interfaces.
    #[var(pub)]
    #[init(val = GString::from("*"))]
    bind_address: GString,
    /// Server: the key that proves its identity. Without one a key is made for this run, which clients cannot know before.
    #[var(pub)]
    root_key: Option<Gd<GamekeeperKey>>,
    /// Server: what clients must know to come in; empty: nothing. Client: what it says; it is sent to a server whose key is
    /// pinned only. Up to 256 bytes.
    #[var(pub)]
    password: GString,
    /// Client: whether [method create_client] does without a server's key. What is sent is encrypted then, but nobody knows
    /// for whom: for development.
    #[var(pub)]
    allow_any_server: bool,
    /// Seconds of silence after which the other end is taken for gone, 0.1 to 3600.
    #[var(pub)]
    #[init(val = 5.0)]
    connection_timeout: f64,
    /// Seconds that a client waits for an address to answer, 0.1 to 60.
    #[var(pub)]
    #[init(val = 2.0)]
    handshake_timeout: f64,
    /// How many packets beside the first carry a copy of each short reliable packet, 0 to 4: a lost one then costs no time.
    #[var(pub)]
    redundancy: i32,
    /// Bytes per second that are sent to each peer at most, 1000 or more; 0: no limit.
    #[var(pub)]
    send_rate: i64,

    link: Link,
    events: VecDeque<Event>,
    packets: VecDeque<Packet>,
    /// The first of `events` is an end that waited a frame for the packets before it to be read.
    waited: bool,
    /// Counts links, so that who was in the middle of something sees that it ended meanwhile.
    generation: u64,
    status: Status,
    unique_id: i32,
    target: i32,
    channel: i32,
    #[init(val = TransferMode::RELIABLE)]
    mode: TransferMode,
    refuses: bool,
    end_text: GString,
    end_code: i64,
    refused_packets: i64,
}

/// What the object is.
#[derive(Default)]
enum Link {
    #[default]
    None,
    Server(ServerEnd),
    Client(ClientEnd),
}

/// Where a connection stands; a server is connected as soon as it listens.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Disconnected,
    Connecting,
    Connected,
}

/// An event of either end.
enum Event {
    Server(ServerEvent),
    Client(ClientEvent),
}

/// What an event means to the engine.
enum Effect {
    Nothing,
    /// A peer is there, whose packet may have been the proof of it.
    Joined(i32, Option<Packet>),
    Packet(Packet),
    Left(i32),
    /// The session with the server is over, or never came to be.
    Lost {
        code: u32,
        text: String,
    },
}

/// A packet that waits to be read.
struct Packet {
    from: i32,
    channel: u8,
    transfer: Transfer,
    data: Vec<u8>,
}

/// The packet in a message. `None`: it is late, empty (for which the engine's own multiplayer would leave all others of the
/// frame), or nothing that this version sends.
fn packet(from: i32, message: Message, numbers: &mut Numbers) -> Option<Packet> {
    let (transfer, channel) = wire::inward(message.mode, message.channel)?;
    let data = match transfer {
        Transfer::UnreliableOrdered => numbers.in_order(channel, &message.data)?.to_vec(),
        _ => message.data,
    };
    if data.is_empty() {
        return None;
    }
    Some(Packet { from, channel, transfer, data })
}

/// A packet as one connection carries it.
fn message<'a>(
    transfer: Transfer,
    channel: i32,
    data: &'a [u8],
    numbers: &mut Numbers,
) -> std::borrow::Cow<'a, [u8]> {
    match transfer {
        // `outward` has looked at the channel.
        Transfer::UnreliableOrdered => numbers.number(u8::try_from(channel).unwrap_or_default(), data).into(),
        _ => data.into(),
    }
}

#[godot_api]
impl GamekeeperMultiplayerPeer {
    /// Direction of [method simulate]: what this end receives.
    #[constant]
    const RECEIVE: i64 = 0;
    /// Direction of [method simulate]: what this end sends.
    #[constant]
    const SEND: i64 = 1;

    /// Listens on [param port] of [member bind_address] for up to [param max_clients] clients. Port 0 is a free one: see
    /// [method get_local_port]. Returns [constant ERR_ALREADY_IN_USE] if this object is in use or somebody else has the
    /// port, [constant ERR_INVALID_PARAMETER] if a property is out of its range, [constant ERR_CANT_CREATE] if the system
    /// refuses; what is wrong is reported.
    #[func]
    fn create_server(&mut self, port: i32, #[opt(default = 32)] max_clients: i32) -> Error {
        if !matches!(self.link, Link::None) {
            godot_error!("gamekeeper: the peer is in use: close it first");
            return Error::ERR_ALREADY_IN_USE;
        }
        match ServerEnd::new(self, port, max_clients) {
            Ok(end) => self.begin(Link::Server(end), Status::Connected, SERVER_ID),
            Err((error, text)) => {
                godot_error!("gamekeeper: no server: {text}");
                error
            }
        }
    }

    /// Starts to connect to a server. [param address] is an address or a host name, [param server_key] the server's public
    /// key ([method GamekeeperKey.get_public_key]), without which [member allow_any_server] must be set: else [constant
    /// ERR_UNAUTHORIZED] is returned. Whether it succeeds is told by [signal MultiplayerAPI.connected_to_server] or [signal
    /// MultiplayerAPI.connection_failed]; [method get_end_text] then says why.
    #[func]
    fn create_client(
        &mut self,
        address: GString,
        port: i32,
        #[opt(default = "")] server_key: GString,
    ) -> Error {
        if !matches!(self.link, Link::None) {
            godot_error!("gamekeeper: the peer is in use: close it first");
            return Error::ERR_ALREADY_IN_USE;
        }
        match ClientEnd::new(self, &address, port, &server_key) {
            Ok(end) => self.begin(Link::Client(end), Status::Connecting, 0),
            Err((error, text)) => {
                godot_error!("gamekeeper: no client: {text}");
                error
            }
        }
    }

    /// Why the last connection ended, in one sentence for a person; empty before. On a client; on a server only if it failed.
    #[func]
    fn get_end_text(&self) -> GString {
        self.end_text.clone()
    }

    /// The number that goes with it: 1001 where the server takes nobody any more, 1002 where it expects another version of
    /// this class, 1003 where it disconnected this client, one of 1 to 6 where gamekeeper refused (1 is a full server, 4
    /// and 5 a missing and a wrong password), else 0.
    #[func]
    fn get_end_code(&self) -> i64 {
        self.end_code
    }

    /// The port that this end has, for instance where 0 was asked for; 0 where there is none.
    #[func]
    fn get_local_port(&self) -> i32 {
        match &self.link {
            Link::None => 0,
            Link::Server(end) => end.server.local_address().port().into(),
            Link::Client(end) => end.client.local_address().port().into(),
        }
    }

    /// The server's public key, as clients pin it: on a server its own, on a client what the server has proved to have. Empty
    /// before it is known.
    #[func]
    fn get_server_key(&self) -> GString {
        let key = match &self.link {
            Link::None => None,
            Link::Server(end) => Some(end.server.native_public_key()),
            Link::Client(end) => end.client.server_key().native,
        };
        key.map_or_else(GString::new, |key| GString::from(&gamekeeper::keys::native_key_text(&key)))
    }

    /// The address and port of a peer, as text; empty where there is no such peer.
    #[func]
    fn get_peer_address(&self, id: i32) -> GString {
        let address = match &self.link {
            Link::None => None,
            Link::Server(end) => end.info(id).map(|info| info.address),
            Link::Client(end) => end.client.server_address().filter(|_| id == SERVER_ID),
        };
        address.map_or_else(GString::new, |address| GString::from(&address.to_string()))
    }

    /// How many seconds a message to a peer takes one way, smoothed; 0 before it is known.
    #[func]
    fn get_peer_latency(&self, id: i32) -> f64 {
        let latency = match &self.link {
            Link::None => None,
            Link::Server(end) => end.info(id).map(|info| info.latency),
            Link::Client(end) => Some(end.client.latency()).filter(|_| id == SERVER_ID),
        };
        latency.unwrap_or_default().as_secs_f64()
    }

    /// The counts of one connection since it began, by name: datagrams as [code]packets_…[/code], messages, bytes. Empty where
    /// there is no such peer.
    #[func]
    fn get_peer_stats(&self, id: i32) -> VarDictionary {
        let stats = match &self.link {
            Link::None => None,
            Link::Server(end) => end.info(id).map(|info| info.stats),
            Link::Client(end) => Some(end.client.stats()).filter(|_| id == SERVER_ID),
        };
        stats.map_or_else(VarDictionary::new, |stats| convert::peer_stats(&stats))
    }

    /// On a server its counts by name, on a client those of its connection. [code]refused_packets[/code] counts packets since it
    /// began that found a full queue and were not sent ([constant ERR_BUSY]).
    #[func]
    fn get_stats(&self) -> VarDictionary {
        let mut stats = match &self.link {
            Link::None => VarDictionary::new(),
            Link::Server(end) => convert::server_stats(&end.server.stats()),
            Link::Client(end) => convert::peer_stats(&end.client.stats()),
        };
        stats.set("refused_packets", self.refused_packets);
        stats
    }

    /// Lets the datagrams of one direction ([constant RECEIVE] or [constant SEND]) pass a bad network from now on, on a server
    /// those of all clients; [code]null[/code] ends it. Returns [constant ERR_INVALID_PARAMETER] where a value is out of its
    /// range, which is reported.
    #[func]
    fn simulate(&self, direction: i64, conditions: Option<Gd<GamekeeperConditions>>) -> Error {
        let Some(direction) = convert::direction(direction) else { return Error::ERR_INVALID_PARAMETER };
        match &self.link {
            Link::None => Error::ERR_UNCONFIGURED,
            Link::Server(end) => {
                apply(conditions.as_ref(), |conditions| end.server.simulate(direction, conditions))
            }
            Link::Client(end) => {
                apply(conditions.as_ref(), |conditions| end.client.simulate(direction, conditions))
            }
        }
    }

    /// What the bad network of a direction did so far, by name; empty where there is none.
    #[func]
    fn get_link_stats(&self, direction: i64) -> VarDictionary {
        let stats = convert::direction(direction).and_then(|direction| match &self.link {
            Link::None => None,
            Link::Server(end) => end.server.link_stats(None, direction),
            Link::Client(end) => end.client.link_stats(direction),
        });
        convert::link_stats(stats)
    }
}

impl GamekeeperMultiplayerPeer {
    fn begin(&mut self, link: Link, status: Status, id: i32) -> Error {
        self.link = link;
        self.status = status;
        self.unique_id = id;
        self.end_text = GString::new();
        self.end_code = 0;
        self.refused_packets = 0;
        Error::OK
    }

    /// Ends the link and forgets all that waits. It waits for the goodbye, 0.2 s at most.
    fn end(&mut self) {
        self.generation += 1;
        self.events.clear();
        self.packets.clear();
        self.waited = false;
        self.status = Status::Disconnected;
        self.unique_id = 0;
        self.link = Link::None;
    }

    /// Fetches events of the library. `false`: there are none.
    fn fetch(&mut self) -> bool {
        let events: gamekeeper::Result<Vec<Event>> = match &self.link {
            Link::None => return false,
            Link::Server(end) => end
                .server
                .next_events(EVENTS_PER_BATCH)
                .map(|all| all.into_iter().map(Event::Server).collect()),
            Link::Client(end) => end
                .client
                .next_events(EVENTS_PER_BATCH)
                .map(|all| all.into_iter().map(Event::Client).collect()),
        };
        match events {
            Ok(events) => self.events.extend(events),
            Err(error) => {
                report("the connection broke", &error);
                self.end();
                self.end_text = GString::from(&error.to_string());
            }
        }
        !self.events.is_empty()
    }

    /// Whether packets wait that whoever an event tells the end of sent before: the engine reads them after a poll, and takes
    /// none from somebody who left.
    fn is_too_early(&self, event: &Event) -> bool {
        if self.waited {
            return false;
        }
        match (event, &self.link) {
            (Event::Client(ClientEvent::Disconnected(_)), _) => !self.packets.is_empty(),
            (Event::Server(ServerEvent::Disconnect(peer, _)), Link::Server(end)) => {
                let id = end.id(*peer);
                self.packets.iter().any(|packet| Some(packet.from) == id)
            }
            _ => false,
        }
    }

    /// What one event means. It changes nothing that the engine sees.
    fn effect(&mut self, event: Event) -> Effect {
        match (event, &mut self.link) {
            (Event::Server(event), Link::Server(end)) => end.effect(event, self.refuses),
            (Event::Client(event), Link::Client(end)) => end.effect(event),
            _ => Effect::Nothing,
        }
    }

    /// Does it. The engine's own code runs in the signals, and may call anything here.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Packet(packet) => self.packets.push_back(packet),
            Effect::Joined(id, packet) => {
                if let Link::Client(end) = &self.link {
                    self.unique_id = end.id;
                    self.status = Status::Connected;
                }
                self.packets.extend(packet);
                self.tell("peer_connected", id);
            }
            Effect::Left(id) => self.tell("peer_disconnected", id),
            Effect::Lost { code, text } => {
                let was_connected = self.status == Status::Connected;
                self.end();
                self.end_code = code.into();
                self.end_text = GString::from(&text);
                if was_connected {
                    self.tell("peer_disconnected", SERVER_ID);
                }
            }
        }
    }

    fn tell(&mut self, signal: &str, id: i32) {
        self.base_mut().emit_signal(signal, &[id.to_variant()]);
    }

    /// Queues a packet for whom `target` says.
    fn send(&mut self, data: &[u8]) -> Error {
        let transfer = match self.mode {
            TransferMode::UNRELIABLE => Transfer::Unreliable,
            TransferMode::UNRELIABLE_ORDERED => Transfer::UnreliableOrdered,
            _ => Transfer::Reliable,
        };
        if wire::outward(transfer, self.channel).is_none() {
            godot_error!("gamekeeper: channel {} is not one of 0 to {}", self.channel, wire::MAX_CHANNEL);
            return Error::ERR_INVALID_PARAMETER;
        }
        if self.status != Status::Connected {
            return Error::ERR_UNCONFIGURED;
        }
        let sent = match &mut self.link {
            Link::None => return Error::ERR_UNCONFIGURED,
            Link::Server(end) => end.send(self.target, transfer, self.channel, data),
            Link::Client(end) => end.send(transfer, self.channel, data),
        };
        match sent {
            Ok(()) => Error::OK,
            Err(error) => {
                // Other errors are mistakes of the game's, which are not counted.
                if error == Error::ERR_BUSY {
                    self.refused_packets += 1;
                }
                error
            }
        }
    }
}

#[godot_api]
impl IMultiplayerPeerExtension for GamekeeperMultiplayerPeer {
    fn get_available_packet_count(&self) -> i32 {
        i32::try_from(self.packets.len()).unwrap_or(i32::MAX)
    }

    fn get_max_packet_size(&self) -> i32 {
        let most = gamekeeper::server::config::MAX_MESSAGE_SIZE - wire::NUMBER_BYTES;
        i32::try_from(most).unwrap_or(i32::MAX)
    }

    fn get_packet_script(&mut self) -> PackedByteArray {
        self.packets.pop_front().map_or_else(PackedByteArray::new, |packet| packet.data.into())
    }

    fn put_packet_script(&mut self, buffer: PackedByteArray) -> Error {
        self.send(buffer.as_slice())
    }

    fn get_packet_channel(&self) -> i32 {
        self.packets.front().map_or(0, |packet| packet.channel.into())
    }

    fn get_packet_mode(&self) -> TransferMode {
        match self.packets.front().map(|packet| packet.transfer) {
            Some(Transfer::Unreliable) => TransferMode::UNRELIABLE,
            Some(Transfer::UnreliableOrdered) => TransferMode::UNRELIABLE_ORDERED,
            Some(Transfer::Reliable) | None => TransferMode::RELIABLE,
        }
    }

    fn get_packet_peer(&self) -> i32 {
        self.packets.front().map_or(0, |packet| packet.from)
    }

    fn set_transfer_channel(&mut self, channel: i32) {
        self.channel = channel;
    }

    fn get_transfer_channel(&self) -> i32 {
        self.channel
    }

    fn set_transfer_mode(&mut self, mode: TransferMode) {
        self.mode = mode;
    }

    fn get_transfer_mode(&self) -> TransferMode {
        self.mode
    }

    fn set_target_peer(&mut self, peer: i32) {
        self.target = peer;
    }

    fn is_server(&self) -> bool {
        matches!(self.link, Link::Server(_))
    }

    fn poll(&mut self) {
        let generation = self.generation;
        let mut batches = 0;
        while self.packets.len() < MAX_WAITING_PACKETS {
            if self.events.is_empty() {
                batches += 1;
                if batches > BATCHES_PER_FRAME || !self.fetch() {
                    break;
                }
            }
            let Some(event) = self.events.pop_front() else { break };
            if self.is_too_early(&event) {
                self.events.push_front(event);
                self.waited = true;
                return;
            }
            self.waited = false;
            let effect = self.effect(event);
            self.apply(effect);
            if self.generation != generation {
                return;
            }
        }
        let overdue = matches!(&self.link, Link::Client(end) if end.is_overdue());
        if overdue {
            let text = "the server took this client in, and told it no id: is it one of this class?".into();
            self.apply(Effect::Lost { code: 0, text });
        }
    }

    fn close(&mut self) {
        self.end();
    }

    fn disconnect_peer(&mut self, peer: i32, force: bool) {
        match &mut self.link {
            Link::None => {}
            Link::Server(end) => {
                end.disconnect(peer, force);
                self.packets.retain(|packet| packet.from != peer);
            }
            Link::Client(end) if peer == SERVER_ID => {
                if force {
                    self.end();
                } else {
                    end.leave();
                    self.packets.clear();
                }
            }
            Link::Client(_) => {}
        }
    }

    fn get_unique_id(&self) -> i32 {
        self.unique_id
    }

    fn set_refuse_new_connections(&mut self, enable: bool) {
        self.refuses = enable;
    }

    fn is_refusing_new_connections(&self) -> bool {
        self.refuses
    }

    fn is_server_relay_supported(&self) -> bool {
        !matches!(self.link, Link::None)
    }

    fn get_connection_status(&self) -> ConnectionStatus {
        match self.status {
            Status::Disconnected => ConnectionStatus::DISCONNECTED,
            Status::Connecting => ConnectionStatus::CONNECTING,
            Status::Connected => ConnectionStatus::CONNECTED,
        }
    }
}
