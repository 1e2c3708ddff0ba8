//! The server: what a host holds.
//!
//! [`core`] is the server without its sockets; [`runner`] is the loop that feeds it and calls the host;
//! [`Server`] is the handle over both.

pub mod access_log;
pub mod admission;
pub mod block_list;
pub mod budget;
pub mod config;
pub mod core;
pub mod dashboard;
pub mod doors;
pub mod events;
pub mod files;
pub mod http;
pub mod many;
pub mod newcomers;
pub mod password;
pub mod peers;
pub mod runner;
pub mod send_rate;
pub mod send_refused;
pub mod stream_door;
pub mod tick;
pub mod timers;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::core::groups::MAX_GROUP_NAME_BYTES;
use self::core::Core;
use crate::crypto::RingProvider;
use crate::error::{Error, ErrorKind, Result};
use crate::hosting::{Hosting, Life};
use crate::keys::RootKey;
use crate::metrics::series::Second;
use crate::metrics::server::{ServerStats, TimeProfile};
use crate::net::address::ListenAddress;
use crate::net::batch::ReceiveBatch;
use crate::net::clock::Clock;
use crate::net::event_loop::EventLoop;
use crate::net::pipe::Entrance;
use crate::net::udp::UdpSocket;
use crate::protocol::conditions::{Conditions, Direction, LinkStats};
use crate::protocol::payload::{Payload, MAX_KEPT_BYTES};
use block_list::BlockList;
use config::Config;
use doors::Doors;
use events::*;
use files::{FileId, FileTarget, FileTotals};
use runner::Runner;
use tick::Profiler;

/// A server. Cheap to clone; every clone is the same server, which runs until [`stop`](Server::stop) is
/// called. All methods can be called from any thread.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

/// What the clones share.
pub(crate) struct Inner {
    pub(crate) core: Mutex<Core>,
    runner: Mutex<Runner>,
    pub(crate) profiler: Mutex<Profiler>,
    pub(crate) life: Life,
    local: SocketAddr,
    entrance: Entrance,
    stream_addresses: Vec<SocketAddr>,
    descriptor: i32,
    public_key: [u8; 91],
    native_key: [u8; 32],
    pulls: bool,
    /// Longest message that is taken.
    max_message: usize,
    /// Peers whose disconnect was in the batch of events taken last.
    leaving: Mutex<Vec<PeerId>>,
    /// When the loop has something to do, as it knew when it last went to sleep.
    pub(crate) next_turn: Mutex<Option<crate::protocol::time::Time>>,
    pub(crate) ticks: Mutex<(u64, u64)>,
    /// What its routes are, and who answers them.
    pub(crate) routes: Vec<(crate::http::config::Kind, http::RouteAction)>,
    /// The thread that speaks HTTP, where it does.
    pub(crate) http: Option<crate::net::http::Doors>,
    /// Who watches, where the host wants that.
    pub(crate) dashboard: Mutex<Option<dashboard::watch::Dashboard>>,
    /// When it was made.
    pub(crate) started: crate::protocol::time::Time,
    /// The block list as other threads than the loop's ask it.
    pub(crate) blocked: Arc<RwLock<BlockList>>,
    /// What the C ABI keeps alive between two calls.
    pub(crate) attachment: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Server {
    /// Binds `address` (`"0.0.0.0:1474"`, `"[::]:1474"` for both families, `":1474"` for all interfaces,
    /// port 0 for a free one) and runs the server on a thread of its own. Errors: Argument (a value of the
    /// configuration), Address, AddressInUse, Io.
    pub fn start(config: Config, handler: Box<dyn Handler>, address: &str) -> Result<Server> {
        let server = Server::new(config, handler, address, Hosting::OwnThread)?;
        // The first callback can come, and through the C ABI free the server, before this returns: it then
        // takes away the reference that is handed out below. This one keeps what is used here alive.
        let kept = server.clone();
        let running = server.clone();
        kept.0.life.spawn(move || running.0.life.run(&running.0.runner, &running))?;
        Ok(server)
    }

    /// Binds `address`; the host runs the server by calling [`poll`](Self::poll). Errors: as `start`.
    pub fn open(config: Config, handler: Box<dyn Handler>, address: &str) -> Result<Server> {
        Server::new(config, handler, address, Hosting::Polled)
    }

    fn new(config: Config, handler: Box<dyn Handler>, address: &str, hosting: Hosting) -> Result<Server> {
        config.validate()?;
        let socket = UdpSocket::bind(
            &ListenAddress::parse(address)?,
            config.socket_receive_bytes,
            config.socket_send_bytes,
        )?;
        let local = socket.local_address();
        let inbound = ReceiveBatch::new(&socket, config.io, runner::SLOT);
        let mut event_loop = EventLoop::new(socket)
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot wait for the socket: {e}")))?;
        let doors =
            Doors::open(&config.streams, config.password.is_some(), config.max_peers, &mut event_loop)?;
        let (entrance, stream_addresses) = (doors.entrance(), doors.addresses());
        let access_log = match &config.access_log {
            Some(path) => Some(access_log::AccessLog::open(path)?),
            None => None,
        };
        let (root, generated) = match &config.root_key {
            Some(key) => (key.clone(), false),
            None => (Arc::new(RootKey::generate()?), true),
        };
        let clock = Clock::new();
        let now = clock.now();
        let public_key = root.public_key().to_der();
        let native_key = root.native_public();
        let takes = handler.takes();
        if config.authorise && !takes.authorise && config.max_queued_events == 0 {
            let text = "authorise needs a handler that takes it, or an event queue (max_queued_events)";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        let provider = Arc::new(RingProvider::new());
        let identity = config.wires.native.then(|| root.native_identity(&*provider)).transpose()?;
        let mut core = Core::new(now, &config, takes, root, identity, provider, access_log);
        let max_message = core.settings().limits.max_message;
        core.emit(Event::Starting);
        if generated {
            let text = "no root key is set: one was made for this run, which clients cannot pin";
            core.log(LogLevel::Warn, text);
        }
        core.log(LogLevel::Info, format!("listening on {local}"));
        for address in &stream_addresses {
            core.log(LogLevel::Info, format!("listening on {address} for streams"));
        }
        let (waker, descriptor) = (event_loop.waker(), event_loop.descriptor());
        let blocked = Arc::new(RwLock::new(config.block_list.clone()));
        let http = http::open(&config, &blocked, &waker, entrance.clone())?;
        for (scheme, address) in http.iter().flat_map(|doors| doors.addresses()) {
            core.log(LogLevel::Info, format!("listening on {scheme}://{address}"));
        }
        let dashboard = dashboard::watch::Dashboard::open(&config, entrance.clone())?;
        if let Some(address) = dashboard.as_ref().and_then(dashboard::watch::Dashboard::address) {
            core.log(LogLevel::Info, format!("the dashboard is at http://{address}/"));
        }
        let runner = Runner::new(now, &config, event_loop, doors, inbound, handler);
        let server = Server(Arc::new(Inner {
            core: Mutex::new(core),
            runner: Mutex::new(runner),
            profiler: Mutex::new(Profiler::new(now)),
            life: Life::new("server", clock, waker, hosting),
            local,
            entrance,
            stream_addresses,
            descriptor,
            public_key,
            native_key,
            pulls: config.max_queued_events > 0,
            max_message,
            leaving: Mutex::new(Vec::new()),
            next_turn: Mutex::new(Some(now)),
            ticks: Mutex::new((0, 0)),
            routes: config.http.answered(),
            http,
            dashboard: Mutex::new(dashboard),
            started: now,
            blocked,
            attachment: Mutex::new(None),
        }));
        if let Some(dashboard) = server.0.dashboard.lock().as_mut() {
            dashboard.run(&server, &config)?;
        }
        Ok(server)
    }

    // --- running --------------------------------------------------------------------------------------

    /// The server answers nothing but this from now on.
    pub(crate) fn poison(&self, text: String) {
        self.0.life.poison(text);
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.0.life.check()
    }

    /// Runs the server until something was handed to the host, at most for `timeout` (`None`: without
    /// limit; zero: what is due now): reads what came, calls back, ticks, writes. Errors: Reentrant (inside
    /// a callback), Busy (another thread polls), State (stopped, or the server has its own thread), Panic.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<()> {
        self.0.life.poll(&self.0.runner, self, timeout)
    }

    /// Makes a [`poll`](Self::poll) that waits on another thread return.
    pub fn wake(&self) {
        self.0.core.lock().woken = true;
        self.0.life.waker.wake();
    }

    /// The descriptor that becomes readable when [`poll`](Self::poll) has something to read. It is for
    /// waiting only, and lives as long as the server. Errors: State where the system has none.
    pub fn descriptor(&self) -> Result<i32> {
        match self.0.descriptor {
            -1 => Err(Error::new(ErrorKind::State, "this system has no descriptor to wait on")),
            descriptor => Ok(descriptor),
        }
    }

    /// How long until [`poll`](Self::poll) has something to do even if nothing arrives; `None`: nothing is due.
    pub fn next_timeout(&self) -> Option<Duration> {
        let core = self.0.core.lock().poll_timeout();
        let due = [core, *self.0.next_turn.lock()].into_iter().flatten().min()?;
        Some(due.since(self.0.life.clock.now()))
    }

    /// Takes up to `max` events out of the queue. Peers whose disconnect was in the batch before are stale
    /// from now on. Errors: State (no event queue configured), Reentrant (inside a callback), Panic.
    pub fn next_events(&self, max: usize) -> Result<Vec<Event>> {
        self.0.life.check_outside("next_events")?;
        self.check()?;
        if !self.0.pulls {
            return Err(Error::new(
                ErrorKind::State,
                "no event queue is configured (max_queued_events is 0)",
            ));
        }
        let mut leaving = self.0.leaving.lock();
        let mut core = self.0.core.lock();
        for peer in leaving.drain(..) {
            core.retire(peer);
        }
        let mut events = Vec::new();
        while events.len() < max {
            let Some(event) = core.poll_pulled() else { break };
            if let Event::Disconnect(peer, _) = &event {
                leaving.push(*peer);
            }
            events.push(event);
        }
        let waits = core.has_waiting_streams();
        drop(core);
        if waits {
            // They have room again.
            self.0.life.waker.wake();
        }
        Ok(events)
    }

    /// Disconnects all peers, reports each, says goodbye to them (up to 0.2 s), calls `shutdown` last, and
    /// ends the thread. From inside a callback it takes effect when the callback returns; from outside it
    /// waits for the end, and where nobody polls a polled server the last callbacks run in here. A second
    /// stop is harmless. Errors: Panic.
    pub fn stop(&self) -> Result<()> {
        self.0.life.stop(&self.0.runner, self)
    }

    /// Waits until the server has stopped. Errors: Timeout, Reentrant (inside a callback).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        self.0.life.wait(timeout)
    }

    /// Whether it has stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.life.is_stopped()
    }

    /// The address that the socket is bound to, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }

    /// The addresses that its doors for streams are bound to, with the real ports, in the order of the configuration.
    pub fn stream_addresses(&self) -> &[SocketAddr] {
        &self.0.stream_addresses
    }

    /// The addresses that others can reach it at, with what they are of: `udp`, `tcp`, `http` or `https`. Where a door takes all
    /// interfaces, these are the ones that are up now, without loopback unless there is no other.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let streams = self.0.stream_addresses.iter().map(|address| ("tcp", *address));
        let http = self.0.http.iter().flat_map(|doors| doors.addresses().iter().copied());
        let doors = std::iter::once(("udp", self.0.local)).chain(streams).chain(http);
        let mut interfaces = None;
        doors
            .flat_map(|(what, bound)| {
                let reached = if bound.ip().is_unspecified() {
                    let all = interfaces.get_or_insert_with(crate::net::interfaces::addresses);
                    // An IPv6 socket on all interfaces takes IPv4, too, unless it was asked not to.
                    let fits = |ip: &&IpAddr| bound.is_ipv6() || ip.is_ipv4();
                    all.iter().filter(fits).map(|ip| SocketAddr::new(*ip, bound.port())).collect()
                } else {
                    vec![bound]
                };
                reached.into_iter().map(move |address| (what, address))
            })
            .collect()
    }

    /// Where other threads bring connections that become peers: see [`crate::net::pipe`].
    pub fn entrance(&self) -> Entrance {
        self.0.entrance.clone()
    }

    /// The server's public key as SubjectPublicKeyInfo, DER, 91 bytes.
    pub fn public_key_der(&self) -> [u8; 91] {
        self.0.public_key
    }

    /// The X25519 public key that clients of the native wire pin; it follows from the root key.
    pub fn native_public_key(&self) -> [u8; 32] {
        self.0.native_key
    }

    // --- peers ----------------------------------------------------------------------------------------

    /// The copy of a message that is queued: of a long one made before the core is locked, and not of what is refused.
    fn copied(&self, data: &[u8]) -> Result<Option<Payload>> {
        let (len, most) = (data.len(), self.0.max_message);
        if len > most {
            let text = format!("{len} bytes are more than max_message_size allows, {most}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok((len > MAX_KEPT_BYTES).then(|| data.into()))
    }

    /// Queues a copy of `data` for `peer`. Errors: Stale (gone, ending, or never here), WouldBlock (its
    /// queue is full: a `writable` event follows; or the event queue is, and `options` has a tag), TooLarge,
    /// State (stopped), Argument (a redundancy above 4; a mode that the peer's wire does not have), Panic.
    pub fn send(&self, peer: PeerId, data: &[u8], mut options: SendOptions) -> Result<()> {
        self.0.life.check_running()?;
        let payload = self.copied(data)?;
        let now = self.0.life.clock.now();
        let mut core = self.0.core.lock();
        let payload = payload.unwrap_or_else(|| core.copy(data));
        let sent = core.send(now, peer, payload, &mut options);
        drop(core);
        sent?;
        self.0.life.nudge();
        Ok(())
    }

    /// Queues `data` for all connected peers but `except`, held once. It tells for how many it was queued, and how
    /// many have a full queue: those get `writable` later. Errors: TooLarge, State, Panic, Argument
    /// (`options` has a callback or a tag: a broadcast has no outcome; or a redundancy above 4).
    pub fn broadcast(&self, except: Option<PeerId>, data: &[u8], options: SendOptions) -> Result<Reach> {
        self.0.life.check_running()?;
        if options.on_sent.is_some() || options.tag.is_some() {
            return Err(Error::new(ErrorKind::Argument, "a broadcast has no outcome to report"));
        }
        let payload = self.copied(data)?;
        let now = self.0.life.clock.now();
        let delivery = options.delivery()?;
        let mut core = self.0.core.lock();
        let payload = payload.unwrap_or_else(|| core.copy(data));
        let reach = core.broadcast(now, except, &payload, delivery);
        drop(core);
        let reach = reach?;
        self.0.life.nudge();
        Ok(reach)
    }

    /// Ends a peer's connection. `after_delivery`: once what is queued is acknowledged (at most the
    /// connection timeout); else at once, and what is queued is cancelled. A client that waits for a decision is
    /// refused by it. Errors: Stale, State, Panic.
    pub fn disconnect(&self, peer: PeerId, info: DisconnectInfo, after_delivery: bool) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        self.0.core.lock().disconnect(now, peer, info, after_delivery)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Lets a client in about which the handler said [`Decision::Later`], or of which an event in the queue
    /// told. Its `connect` event follows. Errors: Stale (it left, or was refused), State (it was let in already;
    /// the server has stopped), Panic.
    pub fn accept(&self, peer: PeerId) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        self.0.core.lock().accept_peer(now, peer)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Refuses such a client: it is told to go, with `code` and `text` where its wire has room for them, and no
    /// event follows. Errors: as [`accept`](Self::accept).
    pub fn refuse(&self, peer: PeerId, code: u32, text: &str) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        self.0.core.lock().refuse_peer(now, peer, code, text)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Sends a file to a peer: it is hashed, offered, and flows at bulk priority, beside everything else. Files beyond four to one
    /// peer wait. How it goes is told to the callbacks of `options`, or to [`Handler::file`]; that it ended is told once, at the
    /// latest before the peer's disconnect. A file that cannot be read is told there, too. A next try goes on where a broken
    /// connection left off. Errors: Stale, State (files are not enabled at one of the two ends, or the peer is on mpgameserver's
    /// wire; stopped), WouldBlock (1024 wait), Panic.
    pub fn send_file(&self, peer: PeerId, path: &Path, options: FileOptions) -> Result<FileId> {
        self.0.life.check_running()?;
        let (name, mut watcher) = options.split(path);
        let sent = self.0.core.lock().send_file(peer, path, &name, &mut watcher);
        let file = sent?;
        self.0.life.nudge();
        Ok(file)
    }

    /// Takes a file that a peer offered; it flows from now on. Errors: Stale (peer or file are gone, or it was decided), State,
    /// Panic. What does not work later, a directory that does not exist for instance, is told by [`Handler::file`].
    pub fn accept_file(&self, peer: PeerId, file: FileId, target: FileTarget) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().accept_file(self.0.life.clock.now(), peer, file, target)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Does not take a file that a peer offered; `text` (255 bytes at most) tells its host why, and no event follows.
    /// Errors: as [`accept_file`](Self::accept_file).
    pub fn refuse_file(&self, peer: PeerId, file: FileId, text: &str) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().refuse_file(self.0.life.clock.now(), peer, file, text)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
    /// Errors: Stale (peer or file are gone), State, Panic.
    pub fn cancel_file(&self, peer: PeerId, file: FileId) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().cancel_file(self.0.life.clock.now(), peer, file)?;
        self.0.life.nudge();
        Ok(())
    }

    /// What is being received, and was, from all peers together.
    pub fn file_totals(&self) -> FileTotals {
        self.0.core.lock().file_totals()
    }

    /// Puts a peer into the group of a name, 1 to 64 bytes ([`MAX_GROUP_NAME_BYTES`]) without NUL and told apart byte
    /// by byte. A group comes to be with its first member and ends with its last. A peer leaves all when it
    /// disconnects; to be in one already is no error.
    /// Errors: Stale, Argument (the name), WouldBlock (it is in 64 groups, or the server has 65,536), Panic.
    pub fn group_add(&self, group: &str, peer: PeerId) -> Result<()> {
        self.check()?;
        self.0.core.lock().group_add(group, peer)
    }

    /// Takes a peer out of a group; whether it was in it. Errors: Stale, Argument (the name), Panic.
    pub fn group_remove(&self, group: &str, peer: PeerId) -> Result<bool> {
        self.check()?;
        self.0.core.lock().group_remove(group, peer)
    }

    /// Queues `data` for all members of a group but `except`, held once; a group without members reaches nobody. It
    /// tells for how many it was queued, and how many have a full queue: those get `writable` later. Errors: TooLarge,
    /// State, Panic, Argument (the name; `options` has a callback or a tag: a message to many has no outcome; or a
    /// redundancy above 4).
    pub fn group_send(
        &self,
        group: &str,
        except: Option<PeerId>,
        data: &[u8],
        options: SendOptions,
    ) -> Result<Reach> {
        self.0.life.check_running()?;
        if options.on_sent.is_some() || options.tag.is_some() {
            return Err(Error::new(ErrorKind::Argument, "a message to many has no outcome to report"));
        }
        let payload = self.copied(data)?;
        let now = self.0.life.clock.now();
        let delivery = options.delivery()?;
        let mut core = self.0.core.lock();
        let payload = payload.unwrap_or_else(|| core.copy(data));
        let reach = core.group_send(now, group, except, &payload, delivery);
        drop(core);
        let reach = reach?;
        self.0.life.nudge();
        Ok(reach)
    }

    /// Answers a raw datagram, within five seconds, once, and with no more bytes than it had. Errors: State
    /// (`to` has not asked, or was answered; the server has stopped), TooLarge, WouldBlock (too many answers
    /// wait), Panic.
    pub fn send_raw(&self, to: SocketAddr, data: &[u8]) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        self.0.core.lock().send_raw(now, to, data)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Replaces what those who look for servers are told; `None`: nothing. Errors: Argument (longer than 1187
    /// bytes), State, Panic.
    pub fn set_discovery_info(&self, info: Option<Vec<u8>>) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().set_discovery_info(info)
    }

    /// All connected peers.
    pub fn peers(&self) -> Vec<PeerId> {
        self.0.core.lock().peers()
    }

    /// What is known of one peer now. Errors: Stale.
    pub fn peer_info(&self, peer: PeerId) -> Result<PeerInfo> {
        self.0.core.lock().peer_info(peer)
    }

    /// The host's own pointer-sized value for a peer; 0 until set. Errors: Stale.
    pub fn user_data(&self, peer: PeerId) -> Result<usize> {
        self.0.core.lock().user_data(peer).map(|value| *value)
    }

    /// Sets it. Errors: Stale.
    pub fn set_user_data(&self, peer: PeerId, value: usize) -> Result<()> {
        *self.0.core.lock().user_data(peer)? = value;
        Ok(())
    }

    /// From now on so many packets beside the first carry a copy of every short message for this peer that is of a mode
    /// that is resent, in the place of [`Config::redundancy`]; a message's own redundancy counts where it is more. Messages
    /// that have left keep what they had. Native wire: at a peer of the other it changes nothing. Range 0 to 4. Errors:
    /// Stale, Argument (more than 4).
    pub fn set_redundancy(&self, peer: PeerId, copies: u8) -> Result<()> {
        self.0.core.lock().set_redundancy(peer, copies)
    }

    /// Starts (or ends) keeping per-second series for a peer, 6 KB when full. Errors: Stale.
    pub fn set_peer_series(&self, peer: PeerId, on: bool) -> Result<()> {
        let now = self.0.life.clock.now();
        self.0.core.lock().set_peer_series(now, peer, on)
    }

    /// The last 300 seconds of a peer, oldest first. Errors: Stale, State where the host did not ask for them.
    pub fn peer_series(&self, peer: PeerId) -> Result<Vec<Second>> {
        let now = self.0.life.clock.now();
        self.0.core.lock().peer_series(now, peer)
    }

    // --- the whole ------------------------------------------------------------------------------------

    /// Counts and times of the server.
    pub fn stats(&self) -> ServerStats {
        let now = self.0.life.clock.now();
        let (profile, ticks_last) = self.0.profiler.lock().last_whole(now);
        let (ticks, ticks_missed) = *self.0.ticks.lock();
        let stats = self.0.core.lock().stats();
        ServerStats { ticks, ticks_missed, tick_rate_hz: f64::from(ticks_last), profile, ..stats }
    }

    /// The last 300 seconds of the server, oldest first.
    pub fn series(&self) -> Vec<Second> {
        let now = self.0.life.clock.now();
        self.0.core.lock().series(now)
    }

    /// Where each of the last 300 seconds went, and the ticks in it, oldest first.
    pub fn profile_series(&self) -> Vec<(TimeProfile, u32)> {
        let now = self.0.life.clock.now();
        self.0.profiler.lock().snapshot(now)
    }

    /// Replaces the block list; peers that are on the new one are disconnected. Errors: State, Panic.
    pub fn set_block_list(&self, list: BlockList) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        // The lock is held until both have it: of two calls at once none is lost.
        let mut blocked = self.0.blocked.write();
        blocked.clone_from(&list);
        self.0.core.lock().set_block_list(now, list);
        drop(blocked);
        self.end_unwanted();
        self.0.life.nudge();
        Ok(())
    }

    /// Puts one address on the block list, beside what is there; peers from there are disconnected. Errors: State, Panic.
    pub fn block(&self, address: IpAddr) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        let mut blocked = self.0.blocked.write();
        blocked.insert(address);
        self.0.core.lock().block(now, address);
        drop(blocked);
        self.end_unwanted();
        self.0.life.nudge();
        Ok(())
    }

    /// What the dashboard is bound to, with the real port; `None` without one.
    pub fn dashboard_address(&self) -> Option<SocketAddr> {
        self.0.dashboard.lock().as_ref().and_then(dashboard::watch::Dashboard::address)
    }

    /// Ends the dashboard.
    pub(crate) fn close_dashboard(&self) {
        let dashboard = self.0.dashboard.lock().take();
        drop(dashboard);
    }

    /// Lets everybody's datagrams of one direction pass a bad network from now on, strangers' included;
    /// `None` ends that. It is one link that all share, its `rate` too; a peer with conditions of its own
    /// ([`simulate_peer`](Self::simulate_peer)) does not take it. What is under way when conditions change or
    /// end arrives as it would have. Errors: Argument (a value of `conditions`), State (stopped), Panic.
    pub fn simulate(&self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().simulate(direction, conditions)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Gives a peer a bad network of its own in one direction, in the place of the server's; conditions that
    /// do nothing keep the server's away from it. `None`: the server's hold for it again. Errors: Stale,
    /// and those of [`simulate`](Self::simulate).
    pub fn simulate_peer(
        &self,
        peer: PeerId,
        direction: Direction,
        conditions: Option<Conditions>,
    ) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().simulate_peer(peer, direction, conditions)?;
        self.0.life.nudge();
        Ok(())
    }

    /// What the simulated link of a peer, or (`None`) the one of everybody else, did so far; none where
    /// nothing is simulated.
    pub fn link_stats(&self, peer: Option<PeerId>, direction: Direction) -> Option<LinkStats> {
        self.0.core.lock().link_stats(peer, direction)
    }
}
