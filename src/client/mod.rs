//! The client: what a player's program holds, one end in a game.
//!
//! `core` is the client without its socket; `runner` is the loop that feeds it and calls the host;
//! `session` is all that knows of connections and wires; [`Client`] is the handle over them.
//!
//! ```no_run
//! use gamekeeper::client::{Client, ClientConfig, Event, ServerKey};
//! use std::time::Duration;
//!
//! let mut config = ClientConfig::new(ServerKey::Any);
//! config.max_queued_events = 1000;
//! let client = Client::open(config, Box::new(()), "127.0.0.1:2021")?;
//! loop {
//!     client.poll(Some(Duration::ZERO))?; // Once a frame; it never waits with zero.
//!     for event in client.next_events(100)? {
//!         match event {
//!             Event::Connected(_) => client.send_guaranteed(b"hello")?,
//!             Event::Message(message) => println!("{} bytes", message.data.len()),
//!             Event::Disconnected(info) => return Ok(println!("{}", info.text)),
//!             _ => {}
//!         }
//!     }
//!     std::thread::sleep(Duration::from_millis(16));
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), gamekeeper::Error>(())
//! ```

pub mod config;
mod core;
pub mod discover;
#[doc(hidden)]
pub mod driver;
pub mod events;
mod files;
mod runner;
mod session;
mod simulated;
pub mod stream;

use std::any::Any;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::hosting::{Hosting, Life};
use crate::metrics::peer::PeerStats;
use crate::metrics::series::Second;
use crate::net::address::{ListenAddress, RemoteAddress};
use crate::net::clock::Clock;
use crate::net::event_loop::EventLoop;
use crate::net::udp::UdpSocket;
pub use crate::protocol::conditions::{Conditions, Direction, LinkStats};
use crate::protocol::time::Time;
use runner::Runner;
use stream::Streams;

pub use crate::server::files::{FileFailure, FileOffer, FileTarget, Quota};
pub use config::{ClientConfig, Framing, KnownKeys, ServerKey, StreamClient, StreamTls, TlsTrust, Wire};
pub use events::*;

/// How often a thread looks that waits for the end of a session which another one drives.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A client. Cheap to clone; every clone is the same client, which runs until [`stop`](Client::stop) is
/// called: beyond the end of a session, so that it can [`reconnect`](Client::reconnect). All methods can be
/// called from any thread.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// What the clones share.
pub(crate) struct Inner {
    core: Mutex<Core>,
    runner: Mutex<Runner>,
    pub(crate) life: Life,
    local: SocketAddr,
    descriptor: i32,
    pulls: bool,
    /// Longest message that is taken.
    max_message: usize,
    /// When the loop has something to do, as it knew when it last went to sleep.
    next_turn: Mutex<Option<Time>>,
    /// The number of the last session that is over, goodbye and callbacks included.
    over: Mutex<u64>,
    over_changed: Condvar,
    /// What the C ABI keeps alive between two calls.
    pub(crate) attachment: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Client {
    /// Starts to connect to `address` (`"example.org:2021"`, `"192.0.2.1:2021"`, `"[2001:db8::1]:2021"`) and runs
    /// the client on a thread of its own, which all callbacks come from. That the server cannot be reached is told
    /// by a `disconnected` event. Errors: Argument (a value of the configuration), Key (no key is pinned for the
    /// wire), Address (not an address), Io.
    pub fn start(config: ClientConfig, handler: Box<dyn Handler>, address: &str) -> Result<Client> {
        let client = Client::new(config, handler, address, Hosting::OwnThread)?;
        // The first callback can come, and through the C ABI free the client, before this returns: it then
        // takes away the reference that is handed out below. This one keeps what is used here alive.
        let kept = client.clone();
        let running = client.clone();
        kept.0.life.spawn(move || running.0.life.run(&running.0.runner, &running))?;
        Ok(client)
    }

    /// Starts to connect; the host runs the client by calling [`poll`](Self::poll). It costs no thread and a few
    /// kilobytes, so that hundreds fit into one thread. Errors: as `start`.
    pub fn open(config: ClientConfig, handler: Box<dyn Handler>, address: &str) -> Result<Client> {
        Client::new(config, handler, address, Hosting::Polled)
    }

    fn new(
        config: ClientConfig,
        handler: Box<dyn Handler>,
        address: &str,
        hosting: Hosting,
    ) -> Result<Client> {
        config.validate()?;
        let remote = RemoteAddress::parse(address)?;
        // A name may have addresses of both families.
        let local = match remote {
            RemoteAddress::Address(SocketAddr::V4(_)) => "0.0.0.0:0",
            RemoteAddress::Address(SocketAddr::V6(_)) => "[::]:0",
            RemoteAddress::Name(..) => ":0",
        };
        let local = ListenAddress::parse(local)?;
        let socket = UdpSocket::bind(&local, config.socket_receive_bytes, config.socket_send_bytes)?;
        let local = socket.local_address();
        let event_loop = EventLoop::new(socket)
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot wait for the socket: {e}")))?;
        let clock = Clock::new();
        let now = clock.now();
        let (waker, descriptor) = (event_loop.waker(), event_loop.descriptor());
        let life = Life::new("client", clock, waker, hosting);
        let pulls = config.max_queued_events > 0;
        let takes = handler.takes();
        let streams = match config.wire {
            Wire::Stream => Some(Streams::new(&config.stream, &remote.host())?),
            Wire::Native | Wire::Mpgameserver => None,
        };
        let runner = Runner::new(now, &config, event_loop, handler, streams);
        let core = Core::new(now, config, takes, remote);
        Ok(Client(Arc::new(Inner {
            max_message: core.max_message(),
            core: Mutex::new(core),
            runner: Mutex::new(runner),
            life,
            local,
            descriptor,
            pulls,
            next_turn: Mutex::new(Some(now)),
            over: Mutex::new(0),
            over_changed: Condvar::new(),
            attachment: Mutex::new(None),
        })))
    }

    fn now(&self) -> Time {
        self.0.life.clock.now()
    }

    // --- running --------------------------------------------------------------------------------------

    /// The client answers nothing but this from now on.
    pub(crate) fn poison(&self, text: String) {
        self.0.life.poison(text);
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.0.life.check()
    }

    /// Runs the client until something was handed to the host, at most for `timeout` (`None`: without
    /// limit; zero: what is due now, which costs one system call where nothing is): reads what came, calls back,
    /// ticks, writes. Errors: Reentrant (inside a callback), Busy (another thread polls), State (stopped, or the
    /// client has its own thread), Panic.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<()> {
        self.0.life.poll(&self.0.runner, self, timeout)
    }

    /// Makes a [`poll`](Self::poll) that waits on another thread return.
    pub fn wake(&self) {
        self.0.core.lock().woken = true;
        self.0.life.waker.wake();
    }

    /// The descriptor that becomes readable when [`poll`](Self::poll) has something to read. It is for
    /// waiting only, and lives as long as the client. Errors: State where the system has none.
    pub fn descriptor(&self) -> Result<i32> {
        match self.0.descriptor {
            -1 => Err(Error::new(ErrorKind::State, "this system has no descriptor to wait on")),
            descriptor => Ok(descriptor),
        }
    }

    /// How long until [`poll`](Self::poll) has something to do even if nothing arrives; `None`: nothing is due.
    pub fn next_timeout(&self) -> Option<Duration> {
        let now = self.now();
        let core = self.0.core.lock().poll_timeout(now);
        let due = [core, *self.0.next_turn.lock()].into_iter().flatten().min()?;
        Some(due.since(now))
    }

    /// Takes up to `max` events out of the queue. Errors: State (no event queue configured), Reentrant (inside a
    /// callback), Panic.
    pub fn next_events(&self, max: usize) -> Result<Vec<Event>> {
        self.0.life.check_outside("next_events")?;
        self.check()?;
        if !self.0.pulls {
            let text = "no event queue is configured (max_queued_events is 0)";
            return Err(Error::new(ErrorKind::State, text));
        }
        let mut core = self.0.core.lock();
        let events = std::iter::from_fn(|| core.poll_pulled()).take(max).collect();
        if core.stream_waits() {
            // Now there is room for it.
            self.0.life.waker.wake();
        }
        Ok(events)
    }

    /// Ends the session at once and reports it, says goodbye (up to 0.2 s), calls `shutdown` last, and
    /// ends the thread. From inside a callback it takes effect when the callback returns; from outside it
    /// waits for the end, and where nobody polls a polled client the last callbacks run in here. A second
    /// stop is harmless. Errors: Panic.
    pub fn stop(&self) -> Result<()> {
        self.0.life.stop(&self.0.runner, self)
    }

    /// Waits until the client has stopped. Errors: Timeout, Reentrant (inside a callback).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        self.0.life.wait(timeout)
    }

    /// Whether it has stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.life.is_stopped()
    }

    // --- the session ------------------------------------------------------------------------------------

    /// Queues a copy of `data`. Errors: State (not connected, or stopped), WouldBlock (the queue is full: a
    /// `writable` event follows; or the event queue is, and `options` has a tag), TooLarge, Argument (a redundancy above 4;
    /// a mode that the wire does not have), Panic.
    pub fn send(&self, data: &[u8], mut options: SendOptions) -> Result<()> {
        self.0.life.check_running()?;
        let (len, most) = (data.len(), self.0.max_message);
        if len > most {
            let text = format!("{len} bytes are more than max_message_size allows, {most}");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let payload = data.into();
        self.0.core.lock().send(self.now(), payload, &mut options)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Queues a copy of `data` that is sent again until it is acknowledged. Errors: as `send`.
    pub fn send_guaranteed(&self, data: &[u8]) -> Result<()> {
        self.send(data, SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() })
    }

    /// Sends a file to the server: it is hashed, offered, and flows at bulk priority, beside everything else. Files beyond four
    /// wait. How it goes is told to the callbacks of `options`, or to [`Handler::file`]; that it ended is told once, at the latest
    /// before the session's end is. A file that cannot be read is told there, too. A next try, in another session, goes on where
    /// a broken one left off. Errors: State (not connected; files are not enabled at one of the two ends, or the wire is
    /// mpgameserver's), WouldBlock (1024 wait), Panic.
    pub fn send_file(&self, path: &Path, options: FileOptions) -> Result<FileId> {
        self.0.life.check_running()?;
        let (name, mut watcher) = options.split(path);
        let sent = self.0.core.lock().send_file(path, &name, &mut watcher);
        let file = sent?;
        self.0.life.nudge();
        Ok(file)
    }

    /// Takes a file that the server offered. Errors: Stale (it is gone, or was decided), State, Panic. What does not work later is
    /// told by [`Handler::file`].
    pub fn accept_file(&self, file: FileId, target: FileTarget) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().accept_file(file, target)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Does not take a file that the server offered; `text` (255 bytes at most) tells its host why, and no event follows.
    /// Errors: as [`accept_file`](Self::accept_file).
    pub fn refuse_file(&self, file: FileId, text: &str) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().refuse_file(file, text)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
    /// Errors: Stale (it is gone), State, Panic.
    pub fn cancel_file(&self, file: FileId) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().cancel_file(file)?;
        self.0.life.nudge();
        Ok(())
    }

    /// Ends the session at once; what is queued is cancelled. The `disconnected` event follows. Where there is no
    /// session it does nothing. Errors: State (stopped), Panic.
    pub fn disconnect(&self) -> Result<()> {
        self.0.life.check_running()?;
        self.0.core.lock().disconnect(self.now(), false);
        self.0.life.nudge();
        Ok(())
    }

    /// Ends the session when what is queued is acknowledged, and waits until the server has heard the goodbye too,
    /// or it was said as often as the wire has it. Nothing more is taken for sending. When the time is over the
    /// session ends at once. A session that somebody begins meanwhile, as [`Handler::disconnected`] may, is left alone
    /// and not waited for. A polled client is run in here, callbacks included, where nobody else polls it.
    /// Errors: Timeout (not all was delivered, or the goodbye was not heard), Reentrant (inside a callback), State
    /// (stopped), Panic.
    pub fn disconnect_wait(&self, timeout: Duration) -> Result<()> {
        self.0.life.check_outside("disconnect_wait")?;
        self.0.life.check_running()?;
        let deadline = self.now() + timeout;
        let session = {
            let mut core = self.0.core.lock();
            core.disconnect(self.now(), true);
            core.sessions()
        };
        self.0.life.nudge();
        while *self.0.over.lock() < session && !self.is_stopped() {
            let left = deadline.since(self.now());
            if left.is_zero() {
                {
                    let mut core = self.0.core.lock();
                    if core.sessions() == session {
                        core.disconnect(self.now(), false);
                    }
                }
                self.0.life.nudge();
                self.drive(Duration::ZERO)?;
                let text = "the server has not acknowledged the end of the session in time";
                return Err(Error::new(ErrorKind::Timeout, text));
            }
            self.drive(left)?;
        }
        self.check()
    }

    /// Waits a little for the loop, or runs a turn of it where nobody else does.
    fn drive(&self, left: Duration) -> Result<()> {
        if self.0.life.hosting == Hosting::Polled {
            if let Some(mut runner) = self.0.runner.try_lock() {
                return self.0.life.turn_once(&mut *runner, self, Some(left)).map(|_| ());
            }
        }
        let mut over = self.0.over.lock();
        self.0.over_changed.wait_for(&mut over, left.min(LOOK_INTERVAL));
        Ok(())
    }

    /// The loop has seen the end of a session, and of all before it.
    fn over(&self, session: u64) {
        let mut over = self.0.over.lock();
        if *over < session {
            *over = session;
            self.0.over_changed.notify_all();
        }
    }

    /// Begins a new session with the same server and configuration; its name is looked up again. A session that is
    /// under way ends at once. Errors: State (stopped or stopping), Panic.
    pub fn reconnect(&self) -> Result<()> {
        self.0.life.check_running()?;
        if self.0.life.stop_wanted() {
            return Err(Error::new(ErrorKind::State, "the client is being stopped"));
        }
        self.0.core.lock().reconnect(self.now());
        self.0.life.nudge();
        Ok(())
    }

    // --- getters ----------------------------------------------------------------------------------------

    /// Where the session stands.
    pub fn status(&self) -> Status {
        self.0.core.lock().status()
    }

    /// Smoothed time that a message takes one way: half an acknowledgement's round trip. Zero before any.
    pub fn latency(&self) -> Duration {
        self.0.core.lock().latency()
    }

    /// The server's clock as this end estimates it: time since the server started. `None` before the server was heard, and on
    /// mpgameserver's wire, which does not tell.
    pub fn server_clock(&self) -> Option<Duration> {
        self.0.core.lock().server_clock().now(self.now())
    }

    /// The server's tick as this end estimates it, with the part of the next one that has passed. `None` as with
    /// [`server_clock`](Self::server_clock).
    pub fn server_tick(&self) -> Option<f64> {
        self.0.core.lock().server_clock().tick(self.now())
    }

    /// Lets the datagrams of one direction pass a bad network from now on, to see how the game plays on one; `None`
    /// ends it. What is under way then arrives as it would have. Errors: Argument (a value out of its range).
    pub fn simulate(&self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        self.0.core.lock().simulate(direction, conditions)?;
        self.wake();
        Ok(())
    }

    /// What the simulated link of one direction did so far; none where nothing is simulated.
    pub fn link_stats(&self, direction: Direction) -> Option<LinkStats> {
        self.0.core.lock().link_stats(direction)
    }

    /// Counts of the session, or of the last one.
    pub fn stats(&self) -> PeerStats {
        self.0.core.lock().stats()
    }

    /// The last 300 seconds of the client, all of its sessions together, oldest first, the running one last; seconds
    /// before it started are 0.
    pub fn series(&self) -> Vec<Second> {
        let now = self.now();
        self.0.core.lock().series(now)
    }

    /// Bytes of payload queued and not yet acknowledged.
    pub fn queued_bytes(&self) -> usize {
        self.0.core.lock().queued().1
    }

    /// Messages queued and not yet acknowledged.
    pub fn queued_messages(&self) -> usize {
        self.0.core.lock().queued().0
    }

    /// The session's public number, as the server knows it; 0 before it is known.
    pub fn token(&self) -> u32 {
        self.0.core.lock().token()
    }

    /// The address of the server that is being tried or was reached last; none while its name is looked up.
    pub fn server_address(&self) -> Option<SocketAddr> {
        self.0.core.lock().server()
    }

    /// The address that the socket is bound to: all interfaces, and the port that the system chose.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }

    /// The keys that the server has proved to have in this session, for instance to pin them from now on; empty
    /// before it is connected, and on mpgameserver's wire also where none was pinned.
    pub fn server_key(&self) -> KnownKeys {
        self.0.core.lock().server_key()
    }
}
