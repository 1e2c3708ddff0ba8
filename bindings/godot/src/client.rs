//! `GamekeeperClient`: a client as a node, for games that send their own messages.

use gamekeeper::client::{Client, ClientConfig, DisconnectReason, Event, Status};
use gamekeeper::protocol::conditions::Direction;
use godot::global::Error;
use godot::prelude::*;

use crate::conditions::{apply, GamekeeperConditions};
use crate::convert::{
    self, failed, seconds, server_key, with_port, wrong, BATCHES_PER_FRAME, EVENTS_PER_BATCH,
    MAX_QUEUED_EVENTS,
};
use crate::node::node;
use crate::running::{show, Quiet, Running, RunningClient, Runs};
use crate::server::options;

/// A client as a node, for games that send their own messages instead of remote calls.
///
/// It runs on a thread of its own; its signals come in the engine's frame, while the node is in the tree and processes.
///
/// ```gdscript
/// func _ready():
///     var client := GamekeeperClient.new()
///     client.host = "example.org"
///     client.server_key = "5a0c…64 digits…"
///     add_child(client)
///     client.connected.connect(func(): client.send("hello".to_utf8_buffer()))
///     client.disconnected.connect(func(reason, code, text): print(text))
///     client.start()
/// ```
///
/// For the engine's remote calls see [GamekeeperMultiplayerPeer].
#[derive(GodotClass)]
#[class(init, base = Node)]
pub struct GamekeeperClient {
    base: Base<Node>,
    /// The server's address or host name.
    #[export]
    #[init(val = GString::from("127.0.0.1"))]
    host: GString,
    /// Its port.
    #[export(range = (1.0, 65535.0, 1.0))]
    #[init(val = 1474)]
    port: i32,
    /// Its public key ([method GamekeeperServer.get_public_key]): whoever has another one is not believed.
    #[export]
    server_key: GString,
    /// Whether it does without a key. What is sent is encrypted then, but nobody knows for whom: for development.
    #[export]
    allow_any_server: bool,
    /// Whether it starts whenever it enters the tree. It stops when it leaves the tree.
    #[export]
    autostart: bool,
    /// The server's password, if it wants one, up to 256 bytes. It is told to a server whose key is pinned only.
    #[export]
    password: GString,
    /// What the server gets to see before it lets this client in, a name or a ticket: up to 768 bytes.
    #[export]
    join_data: PackedByteArray,
    /// How often [signal updated] is to come in a second, 1 to 10000; not oftener than frames.
    #[export(range = (1.0, 240.0, 1.0, or_greater))]
    #[init(val = 60.0)]
    tick_rate: f64,
    /// Seconds of silence after which the server is taken for gone, 0.1 to 3600.
    #[export(range = (0.1, 60.0, 0.1, or_greater, suffix = "s"))]
    #[init(val = 5.0)]
    connection_timeout: f64,
    /// Seconds that an address has to answer, 0.1 to 60.
    #[export(range = (0.1, 60.0, 0.1, suffix = "s"))]
    #[init(val = 2.0)]
    handshake_timeout: f64,
    /// A bad network for what is received; applied at the start, see [method simulate].
    #[export]
    simulate_receive: Option<Gd<GamekeeperConditions>>,
    /// A bad network for what is sent; applied at the start, see [method simulate].
    #[export]
    simulate_send: Option<Gd<GamekeeperConditions>>,
    client: Option<RunningClient>,
    /// Counts starts and stops.
    generation: u64,
}

/// Why a session ended, as the constants have it.
fn reason(reason: DisconnectReason) -> i64 {
    match reason {
        DisconnectReason::Local => GamekeeperClient::LEFT,
        DisconnectReason::Remote | DisconnectReason::Kicked => GamekeeperClient::KICKED,
        DisconnectReason::Timeout => GamekeeperClient::TIMEOUT,
        DisconnectReason::Shutdown => GamekeeperClient::STOPPED,
        DisconnectReason::Replaced => GamekeeperClient::REPLACED,
        DisconnectReason::Blocked => GamekeeperClient::BLOCKED,
        DisconnectReason::Protocol | DisconnectReason::Key => GamekeeperClient::PROTOCOL,
        DisconnectReason::Refused => GamekeeperClient::REFUSED,
        DisconnectReason::NobodyListens | DisconnectReason::Unreachable | DisconnectReason::Name => {
            GamekeeperClient::UNREACHABLE
        }
        DisconnectReason::Restarted => GamekeeperClient::RESTARTED,
    }
}

#[godot_api]
impl GamekeeperClient {
    /// This end left.
    #[constant]
    const LEFT: i64 = 1;
    /// The server's game ended the session.
    #[constant]
    const KICKED: i64 = 2;
    /// The server fell silent, or never answered, as one does that has not the key of [member server_key].
    #[constant]
    const TIMEOUT: i64 = 3;
    /// The server stopped.
    #[constant]
    const STOPPED: i64 = 4;
    /// Another client came from this one's address.
    #[constant]
    const REPLACED: i64 = 5;
    /// The server blocks this address.
    #[constant]
    const BLOCKED: i64 = 6;
    /// One end could not read the other.
    #[constant]
    const PROTOCOL: i64 = 7;
    /// The server did not let this client in.
    #[constant]
    const REFUSED: i64 = 8;
    /// Nobody listens there, there is no way to it, or no such name.
    #[constant]
    const UNREACHABLE: i64 = 9;
    /// The server was started anew and knows nothing of the session.
    #[constant]
    const RESTARTED: i64 = 10;
    /// This end failed, and runs no more.
    #[constant]
    const BROKEN: i64 = 11;

    /// The server let this client in: messages flow.
    #[signal]
    fn connected();
    /// The session ended, or never came to be. [param reason] is one of the constants, [param code] the number that the
    /// server's game gave, [param text] one sentence for a person.
    #[signal]
    fn disconnected(reason: i64, code: i64, text: GString);
    /// A message came, sent with [param mode] on [param channel].
    #[signal]
    fn message(data: PackedByteArray, channel: i64, mode: i64);
    /// Ticks have passed, once a frame at most and after its other signals: [param delta] is the seconds since the last time,
    /// [param tick] the number of the last tick.
    #[signal]
    fn updated(delta: f64, tick: i64);
    /// The queue that had refused a message ([constant ERR_BUSY]) has room again.
    #[signal]
    fn writable();

    /// Starts to connect; [signal connected] or [signal disconnected] follows. Returns [constant ERR_ALREADY_IN_USE] if it
    /// runs, [constant ERR_UNAUTHORIZED] if there is no key, [constant ERR_INVALID_PARAMETER] if a property is out of its
    /// range; what is wrong is reported.
    #[func]
    fn start(&mut self) -> Error {
        self.begin(Self::open)
    }

    /// Leaves, and ends. It waits for the goodbye, 0.2 seconds at most; no signal follows.
    #[func]
    fn stop(&mut self) {
        self.end();
    }

    /// Leaves; [signal disconnected] follows. What is queued is given up.
    #[func]
    fn leave(&self) -> Error {
        let Some(client) = &self.client else { return Error::ERR_UNCONFIGURED };
        convert::outcome(client.disconnect())
    }

    /// Begins a new session with the same server, for instance from [signal disconnected].
    #[func]
    fn reconnect(&self) -> Error {
        let Some(client) = &self.client else { return Error::ERR_UNCONFIGURED };
        convert::outcome(client.reconnect())
    }

    /// Whether messages flow.
    #[func]
    fn is_connected_to_server(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.status() == Status::Connected)
    }

    /// Queues a message. Returns [constant ERR_BUSY] if the queue is full, upon which [signal writable] follows, [constant
    /// ERR_UNCONFIGURED] if it is not connected.
    #[func]
    fn send(
        &self,
        data: PackedByteArray,
        #[opt(default = 3)] mode: i64,
        #[opt(default = 0)] channel: i64,
    ) -> Error {
        let Some(client) = &self.client else { return Error::ERR_UNCONFIGURED };
        let Some(options) = options(mode, channel) else { return Error::ERR_INVALID_PARAMETER };
        convert::outcome(client.send(data.as_slice(), options))
    }

    /// How many seconds a message takes one way, smoothed; 0 before it is known.
    #[func]
    fn get_latency(&self) -> f64 {
        self.client.as_ref().map_or(0.0, |client| client.latency().as_secs_f64())
    }

    /// Seconds since the server started, as this end estimates the server's clock; -1 before it is known.
    #[func]
    fn get_server_clock(&self) -> f64 {
        let clock = self.client.as_ref().and_then(|client| client.server_clock());
        clock.map_or(-1.0, |clock| clock.as_secs_f64())
    }

    /// The server's tick as this end estimates it, with the part of the next one that has passed; -1 before it is known.
    #[func]
    fn get_server_tick(&self) -> f64 {
        self.client.as_ref().and_then(|client| client.server_tick()).unwrap_or(-1.0)
    }

    /// The public key that the server has proved to have in this session, for instance to pin it from now on; empty before.
    #[func]
    fn get_proved_key(&self) -> GString {
        let key = self.client.as_ref().and_then(|client| client.server_key().native);
        key.map_or_else(GString::new, |key| GString::from(&gamekeeper::keys::native_key_text(&key)))
    }

    /// The counts of the connection by name; empty where it does not run.
    #[func]
    fn get_stats(&self) -> VarDictionary {
        let stats = self.client.as_ref().map(|client| client.stats());
        stats.map_or_else(VarDictionary::new, |stats| convert::peer_stats(&stats))
    }
}

impl GamekeeperClient {
    /// A client as the properties say.
    fn open(&self) -> Result<Client, (Error, String)> {
        let address = with_port(self.host.to_string().trim(), self.port);
        Client::start(self.config()?, Box::new(Quiet { ticks: true }), &address).map_err(failed)
    }

    fn config(&self) -> Result<ClientConfig, (Error, String)> {
        if !(1..=65_535).contains(&self.port) {
            return Err(wrong(format!("port is {}, allowed is 1 to 65535", self.port)));
        }
        let believed = server_key(&self.server_key, self.allow_any_server)
            .map_err(|text| (Error::ERR_UNAUTHORIZED, text))?;
        let password = self.password.to_string();
        let config = ClientConfig {
            join_data: self.join_data.to_vec(),
            password: (!password.is_empty()).then(|| password.into_bytes()),
            tick_rate_hz: self.tick_rate,
            connection_timeout: seconds("connection_timeout", self.connection_timeout).map_err(wrong)?,
            handshake_timeout: seconds("handshake_timeout", self.handshake_timeout).map_err(wrong)?,
            max_queued_events: MAX_QUEUED_EVENTS,
            ..ClientConfig::new(believed)
        };
        config.validate().map_err(failed)?;
        Ok(config)
    }

    /// Tells the game that the client itself failed: there is nothing to start again from but [method start].
    fn tell_broken(&mut self, text: &str) {
        self.signals().disconnected().emit(Self::BROKEN, 0, &GString::from(text));
    }

    /// Tells the game of one event but ticks. Its code runs in here, and may call anything.
    fn tell(&mut self, event: Event) {
        match event {
            Event::Connected(_) => self.signals().connected().emit(),
            Event::Disconnected(info) => {
                let text = GString::from(&info.text);
                self.signals().disconnected().emit(reason(info.reason), i64::from(info.code), &text);
            }
            Event::Message(message) => {
                let mode = message.mode.map_or(Self::UNRELIABLE, |mode| mode as i64);
                let data = PackedByteArray::from(message.data);
                self.signals().message().emit(&data, i64::from(message.channel), mode);
            }
            Event::Writable => self.signals().writable().emit(),
            Event::Log(level, text) => show(level, &text),
            _ => {}
        }
    }
}

node!(GamekeeperClient, client: Client);
