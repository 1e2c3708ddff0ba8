//! `GamekeeperServer`: a server as a node, for games that send their own messages.

use gamekeeper::server::config::Config;
use gamekeeper::server::events::{
    DisconnectInfo, DisconnectReason, Event, PeerId, PeerInfo, SendOptionsWith,
};
use gamekeeper::server::password::Password;
use gamekeeper::Server;
use godot::global::Error;
use godot::prelude::*;

use crate::conditions::{apply, GamekeeperConditions};
use crate::convert::{self, failed, seconds, wrong, BATCHES_PER_FRAME, EVENTS_PER_BATCH, MAX_QUEUED_EVENTS};
use crate::key::{file_path, GamekeeperKey};
use crate::node::node;
use crate::running::{show, Quiet, Running, RunningServer, Runs};
use gamekeeper::protocol::conditions::Direction;

/// A game server as a node, for games that send their own messages instead of remote calls.
///
/// It listens on a thread of its own; its signals come in the engine's frame, while the node is in the tree and processes.
/// Clients of every language of gamekeeper can connect.
///
/// ```gdscript
/// func _ready():
///     var server := GamekeeperServer.new()
///     add_child(server)
///     server.message.connect(func(peer, data, channel, mode): server.send(peer, data, mode, channel))
///     server.start()
/// ```
///
/// A peer is a number that is never used again while the game runs. For the engine's remote calls see
/// [GamekeeperMultiplayerPeer].
#[derive(GodotClass)]
#[class(init, base = Node)]
pub struct GamekeeperServer {
    base: Base<Node>,
    /// The address to listen on; [code]"*"[/code] is all interfaces.
    #[export]
    #[init(val = GString::from("*"))]
    address: GString,
    /// The port, 0 to 65535; 0 is a free one: see [method get_local_port].
    #[export(range = (0.0, 65535.0, 1.0))]
    #[init(val = 1474)]
    port: i32,
    /// Clients at most, 1 to 1000000. Above it they are refused.
    #[export(range = (1.0, 1000000.0, 1.0, or_greater))]
    #[init(val = 32)]
    max_clients: i32,
    /// Whether it starts whenever it enters the tree. It stops when it leaves the tree.
    #[export]
    autostart: bool,
    /// How often [signal updated] is to come in a second, 1 to 10000; not oftener than frames.
    #[export(range = (1.0, 240.0, 1.0, or_greater))]
    #[init(val = 60.0)]
    tick_rate: f64,
    /// Seconds of silence after which a client is taken for gone, 0.1 to 3600.
    #[export(range = (0.1, 60.0, 0.1, or_greater, suffix = "s"))]
    #[init(val = 5.0)]
    connection_timeout: f64,
    /// The file of the key that proves the server's identity, for instance [code]user://server.pem[/code]; one is made there
    /// if there is none. Without a path and without [member root_key] a key is made for this run, which clients cannot know
    /// before.
    #[export(file = "*.pem")]
    key_file: GString,
    /// The key itself, instead of a file.
    #[var(pub)]
    root_key: Option<Gd<GamekeeperKey>>,
    /// What clients must know to come in, up to 256 bytes; empty: nothing.
    #[export]
    password: GString,
    /// Whether [signal joining] asks about every client, and [method accept] or [method refuse] decides.
    #[export]
    authorise: bool,
    /// A bad network for what is received; applied at the start, see [method simulate].
    #[export]
    simulate_receive: Option<Gd<GamekeeperConditions>>,
    /// A bad network for what is sent; applied at the start, see [method simulate].
    #[export]
    simulate_send: Option<Gd<GamekeeperConditions>>,
    server: Option<RunningServer>,
    /// Counts starts and stops.
    generation: u64,
}

/// A peer's number, as the engine has it.
fn bits(peer: PeerId) -> i64 {
    peer.to_bits().cast_signed()
}

fn peer(bits: i64) -> PeerId {
    PeerId::from_bits(bits.cast_unsigned())
}

/// Why a peer left, as the constants have it.
fn reason(reason: DisconnectReason) -> i64 {
    match reason {
        DisconnectReason::Remote => GamekeeperServer::LEFT,
        DisconnectReason::Kicked | DisconnectReason::Host(_) => GamekeeperServer::KICKED,
        DisconnectReason::Timeout => GamekeeperServer::TIMEOUT,
        DisconnectReason::Shutdown | DisconnectReason::Local => GamekeeperServer::STOPPED,
        DisconnectReason::Blocked => GamekeeperServer::BLOCKED,
        DisconnectReason::Replaced => GamekeeperServer::REPLACED,
        DisconnectReason::Protocol | DisconnectReason::Refused | DisconnectReason::Restarted => {
            GamekeeperServer::PROTOCOL
        }
    }
}

#[godot_api]
impl GamekeeperServer {
    /// The client left.
    #[constant]
    const LEFT: i64 = 1;
    /// [method disconnect_peer] was called.
    #[constant]
    const KICKED: i64 = 2;
    /// The client fell silent.
    #[constant]
    const TIMEOUT: i64 = 3;
    /// The server stopped.
    #[constant]
    const STOPPED: i64 = 4;
    /// Another client came from its address.
    #[constant]
    const REPLACED: i64 = 5;
    /// Its address is blocked.
    #[constant]
    const BLOCKED: i64 = 6;
    /// What it sent broke the protocol's rules.
    #[constant]
    const PROTOCOL: i64 = 7;

    /// A client is there. [param address] is where its datagrams come from.
    #[signal]
    fn connected(peer: i64, address: GString);
    /// A client is gone. [param reason] is one of the constants, [param code] the number that whoever ended it gave, [param
    /// text] one sentence for a person.
    #[signal]
    fn disconnected(peer: i64, reason: i64, code: i64, text: GString);
    /// A message came, sent with [param mode] on [param channel].
    #[signal]
    fn message(peer: i64, data: PackedByteArray, channel: i64, mode: i64);
    /// Ticks have passed, once a frame at most and after its other signals: [param delta] is the seconds since the last time,
    /// [param tick] the number of the last tick.
    #[signal]
    fn updated(delta: f64, tick: i64);
    /// A client wants to come in, if [member authorise] is set. [param data] is what it brought: check it. Call [method accept]
    /// or [method refuse] within ten seconds, now or later.
    #[signal]
    fn joining(peer: i64, address: GString, data: PackedByteArray);
    /// The queue of a peer that had refused a message ([constant ERR_BUSY]) has room again.
    #[signal]
    fn writable(peer: i64);
    /// The server failed: it runs no more, and its clients are gone without a word. [param text] is one sentence for a person.
    #[signal]
    fn broken(text: GString);

    /// Starts to listen. Returns [constant ERR_ALREADY_IN_USE] if it runs or somebody else has the port, [constant
    /// ERR_INVALID_PARAMETER] if a property is out of its range; what is wrong is reported.
    #[func]
    fn start(&mut self) -> Error {
        self.begin(Self::open)
    }

    /// Disconnects everybody and ends. It waits for the goodbyes, 0.2 seconds at most; no signal follows.
    #[func]
    fn stop(&mut self) {
        self.end();
    }

    /// The port that it listens on; 0 where it does not.
    #[func]
    fn get_local_port(&self) -> i32 {
        self.server.as_ref().map_or(0, |server| server.local_address().port().into())
    }

    /// What clients pin: 64 hexadecimal digits; empty where it does not run.
    #[func]
    fn get_public_key(&self) -> GString {
        self.server.as_ref().map_or_else(GString::new, |server| {
            GString::from(&gamekeeper::keys::native_key_text(&server.native_public_key()))
        })
    }

    /// Queues a message for a client. Returns [constant ERR_BUSY] if its queue is full, upon which [signal writable] follows,
    /// [constant ERR_DOES_NOT_EXIST] if there is no such client.
    #[func]
    fn send(
        &self,
        peer: i64,
        data: PackedByteArray,
        #[opt(default = 3)] mode: i64,
        #[opt(default = 0)] channel: i64,
    ) -> Error {
        let Some(server) = &self.server else { return Error::ERR_UNCONFIGURED };
        let Some(options) = options(mode, channel) else { return Error::ERR_INVALID_PARAMETER };
        convert::outcome(server.send(self::peer(peer), data.as_slice(), options))
    }

    /// Queues a message for all clients but one (0: nobody is left out). Returns how many queued it; those with a full queue
    /// did not. -1: it does not run, or a value is out of its range.
    #[func]
    fn broadcast(
        &self,
        data: PackedByteArray,
        #[opt(default = 3)] mode: i64,
        #[opt(default = 0)] channel: i64,
        #[opt(default = 0)] except: i64,
    ) -> i64 {
        let (Some(server), Some(options)) = (&self.server, options(mode, channel)) else { return -1 };
        let except = (except != 0).then(|| peer(except));
        let reach = server.broadcast(except, data.as_slice(), options);
        reach.map_or(-1, |reach| i64::try_from(reach.sent).unwrap_or(i64::MAX))
    }

    /// Disconnects a client, with a number of the game's own (1000 or more) and a sentence, when it has what was sent to it
    /// before, or [param at_once].
    #[func]
    fn disconnect_peer(
        &self,
        peer: i64,
        #[opt(default = 0)] code: u32,
        #[opt(default = "")] text: GString,
        #[opt(default = false)] at_once: bool,
    ) -> Error {
        let Some(server) = &self.server else { return Error::ERR_UNCONFIGURED };
        let info = DisconnectInfo::new(DisconnectReason::Kicked, text.to_string()).with_code(code);
        convert::outcome(server.disconnect(self::peer(peer), info, !at_once))
    }

    /// Lets a client in of which [signal joining] told.
    #[func]
    fn accept(&self, peer: i64) -> Error {
        let Some(server) = &self.server else { return Error::ERR_UNCONFIGURED };
        convert::outcome(server.accept(self::peer(peer)))
    }

    /// Refuses such a client, with a number of the game's own (1000 or more) and a sentence.
    #[func]
    fn refuse(
        &self,
        peer: i64,
        #[opt(default = 1000)] code: u32,
        #[opt(default = "")] text: GString,
    ) -> Error {
        let Some(server) = &self.server else { return Error::ERR_UNCONFIGURED };
        convert::outcome(server.refuse(self::peer(peer), code, &text.to_string()))
    }

    /// All clients.
    #[func]
    fn get_peers(&self) -> PackedInt64Array {
        let peers = self.server.as_ref().map(|server| server.peers()).unwrap_or_default();
        peers.into_iter().map(bits).collect()
    }

    /// The address and port of a client, as text; empty where there is no such client.
    #[func]
    fn get_peer_address(&self, peer: i64) -> GString {
        self.info(peer).map_or_else(GString::new, |info| GString::from(&info.address.to_string()))
    }

    /// How many seconds a message to a client takes one way, smoothed; 0 before it is known.
    #[func]
    fn get_peer_latency(&self, peer: i64) -> f64 {
        self.info(peer).map_or(0.0, |info| info.latency.as_secs_f64())
    }

    /// The counts of a client's connection by name; empty where there is no such client.
    #[func]
    fn get_peer_stats(&self, peer: i64) -> VarDictionary {
        self.info(peer).map_or_else(VarDictionary::new, |info| convert::peer_stats(&info.stats))
    }

    /// The counts of the server by name; empty where it does not run.
    #[func]
    fn get_stats(&self) -> VarDictionary {
        let stats = self.server.as_ref().map(|server| server.stats());
        stats.map_or_else(VarDictionary::new, |stats| convert::server_stats(&stats))
    }
}

/// How a message of a node is sent. `None`: there is no such mode or channel.
pub fn options<C>(mode: i64, channel: i64) -> Option<SendOptionsWith<C>> {
    let (retry, channel) = (convert::mode(mode)?, u8::try_from(channel).ok()?);
    Some(SendOptionsWith { retry, channel, ..Default::default() })
}

impl GamekeeperServer {
    fn info(&self, peer: i64) -> Option<PeerInfo> {
        self.server.as_ref()?.peer_info(self::peer(peer)).ok()
    }

    /// The key that the properties say; one that a file is to have and has not is made.
    fn key(&self) -> Result<Option<std::sync::Arc<gamekeeper::keys::RootKey>>, gamekeeper::Error> {
        use gamekeeper::keys::RootKey;
        if let Some(key) = &self.root_key {
            return Ok(Some(key.bind().key()));
        }
        if self.key_file.is_empty() {
            return Ok(None);
        }
        let path = file_path(&self.key_file);
        let key = if path.exists() {
            RootKey::load(&path)?
        } else {
            let key = RootKey::generate()?;
            key.save(&path)?;
            key
        };
        Ok(Some(std::sync::Arc::new(key)))
    }

    /// A server as the properties say.
    fn open(&self) -> Result<Server, (Error, String)> {
        let address = convert::listen_address(&self.address, self.port);
        Server::start(self.config()?, Box::new(Quiet { ticks: true }), &address).map_err(failed)
    }

    fn config(&self) -> Result<Config, (Error, String)> {
        if !(0..=65_535).contains(&self.port) {
            return Err(wrong(format!("port is {}, allowed is 0 to 65535", self.port)));
        }
        let password = self.password.to_string();
        let password = (!password.is_empty()).then(|| Password::new(password.as_bytes())).transpose();
        Ok(Config {
            root_key: self.key().map_err(failed)?,
            tick_rate_hz: self.tick_rate,
            connection_timeout: seconds("connection_timeout", self.connection_timeout).map_err(wrong)?,
            max_peers: u32::try_from(self.max_clients).unwrap_or_default(),
            max_queued_events: MAX_QUEUED_EVENTS,
            authorise: self.authorise,
            password: password.map_err(failed)?,
            ..Config::default()
        })
    }

    /// Tells the game that the server itself failed.
    fn tell_broken(&mut self, text: &str) {
        self.signals().broken().emit(&GString::from(text));
    }

    /// Tells the game of one event but ticks. Its code runs in here, and may call anything.
    fn tell(&mut self, event: Event) {
        match event {
            Event::Connect(peer, info) => {
                let address = GString::from(&info.address.to_string());
                self.signals().connected().emit(bits(peer), &address);
            }
            Event::Disconnect(peer, info) => {
                let text = GString::from(&info.text);
                self.signals().disconnected().emit(
                    bits(peer),
                    reason(info.reason),
                    i64::from(info.code),
                    &text,
                );
            }
            Event::Message(peer, message) => {
                // mpgameserver's wire does not tell the mode.
                let mode = message.mode.map_or(Self::UNRELIABLE, |mode| mode as i64);
                let data = PackedByteArray::from(message.data);
                self.signals().message().emit(bits(peer), &data, i64::from(message.channel), mode);
            }
            Event::Authorise(peer, request) => {
                let address = GString::from(&request.address.to_string());
                let data = PackedByteArray::from(request.data);
                self.signals().joining().emit(bits(peer), &address, &data);
            }
            Event::Writable(peer) => {
                self.signals().writable().emit(bits(peer));
            }
            Event::Log(level, text) => show(level, &text),
            _ => {}
        }
    }
}

node!(GamekeeperServer, server: Server);
