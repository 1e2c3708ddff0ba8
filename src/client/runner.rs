//! The client's loop: waits, reads, calls the host, ticks, writes. One turn at a time, on one thread.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::core::{Core, Dispatch};
use super::events::*;
use super::stream::Streams;
use super::{Client, ClientConfig, FileFailure};
use crate::error::{Error, ErrorKind, Result};
use crate::hosting::Turns;
use crate::net::event_loop::EventLoop;
use crate::net::files::Disk;
use crate::net::resolve::Lookup;
use crate::net::udp::UdpSocket;
use crate::panic_scope;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;
use crate::server::tick::Ticker;

/// Room for one datagram: one byte more than any that is taken, so that a longer one shows.
const SLOT: usize = MAX_DATAGRAM + 1;
/// Datagrams read before the host is called with what they brought.
const RECEIVE_BATCH: usize = 64;
/// Batches per turn: then ticks and writes come first again.
const BATCHES_PER_TURN: usize = 16;
/// Turns in a row that found more to read than they took, after which timers run all the same: who floods
/// the socket must not stop them.
const MAX_BUSY_TURNS: u32 = 16;
/// Datagrams written before another thread that waits to send gets its turn.
const SEND_BATCH: usize = 32;
/// Answers of the disk taken per turn.
const DISK_BATCH: usize = 256;
/// How often transfers that stand still are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);
/// Failed reads in a row after which the socket counts as broken and the client ends.
const MAX_READ_ERRORS: u32 = 1000;
/// The longest that goodbyes of a stopping client take.
const SHUTDOWN_TIME: Duration = Duration::from_millis(200);

/// The loop's own state.
pub(super) struct Runner {
    event_loop: EventLoop,
    /// Where the client talks in a stream.
    streams: Option<Streams>,
    handler: Box<dyn Handler>,
    ticker: Ticker,
    inbound: Box<[u8]>,
    outbound: Vec<u8>,
    /// The lookup of the server's name, and the session that it is for.
    lookup: Option<(u64, Lookup)>,
    /// The attempt whose refusal the socket tells of.
    hearing: Option<u64>,
    /// How long after a datagram the loop does not sleep, and when the last was.
    busy_poll: Duration,
    last_datagram: Time,
    /// What the busy wait took from the socket, and nobody looked at yet.
    found: Option<io::Result<(usize, SocketAddr)>>,
    read_errors: u32,
    busy_turns: u32,
    /// The host's log has been told that the client broke.
    told: bool,
    /// The thread for files, once there was one.
    disk: Option<Disk>,
    /// When transfers that stand still are looked for next.
    expire: Time,
}

impl Turns<Client> for Runner {
    fn turn(&mut self, client: &Client, timeout: Option<Duration>) -> Result<bool> {
        if client.0.life.stop_wanted() {
            self.shut_down(client)?;
            return Ok(true);
        }
        let mut happened = self.dispatch(client);
        self.resolve(client);
        self.wait(client, if happened { Some(Duration::ZERO) } else { timeout })?;
        happened |= self.read(client)?;
        if let Some(streams) = &mut self.streams {
            streams.read(client, &mut self.event_loop);
            happened |= self.dispatch(client);
        }
        happened |= self.time(client);
        self.flush(client);
        if let Some(streams) = &mut self.streams {
            streams.write(client, &mut self.event_loop);
        }
        happened |= self.dispatch(client);
        let now = client.now();
        *client.0.next_turn.lock() = Some(if self.event_loop.is_readable() || self.has_streams(client) {
            now
        } else {
            self.own_due()
        });
        let mut core = client.0.core.lock();
        client.over(core.over(now));
        Ok(happened | std::mem::take(&mut core.woken) | core.has_pulled())
    }

    fn broke(&mut self, client: &Client, text: &str) {
        if !std::mem::replace(&mut self.told, true) {
            client.0.life.calling(|| self.handler.log(client, LogLevel::Error, text));
        }
    }
}

impl Runner {
    /// Whether the stream has something to be read.
    fn has_streams(&self, client: &Client) -> bool {
        self.streams.as_ref().is_some_and(|s| self.event_loop.has_ready() || s.have_work(client))
    }

    /// When the loop has something to do of its own.
    fn own_due(&self) -> Time {
        let due = self.ticker.due();
        self.streams.as_ref().and_then(Streams::poll_timeout).map_or(due, |streams| streams.min(due))
    }

    /// Before the first turn.
    pub(super) fn new(
        now: Time,
        config: &ClientConfig,
        event_loop: EventLoop,
        handler: Box<dyn Handler>,
        streams: Option<Streams>,
    ) -> Self {
        Runner {
            event_loop,
            streams,
            handler,
            ticker: Ticker::new(now, config.tick_rate_hz),
            inbound: vec![0; SLOT].into(),
            outbound: Vec::with_capacity(MAX_DATAGRAM),
            lookup: None,
            hearing: None,
            busy_poll: config.busy_poll,
            last_datagram: now,
            found: None,
            read_errors: 0,
            busy_turns: 0,
            told: false,
            disk: None,
            expire: now,
        }
    }

    // --- the only two places where datagrams come in and go out -------------------------------------------

    /// The next datagram, in `inbound`.
    fn receive(&mut self) -> io::Result<Option<(usize, SocketAddr)>> {
        self.event_loop.recv_from(&mut self.inbound)
    }

    /// Sends what is in `outbound`. `false`: the system has no room now.
    fn transmit(&mut self, to: SocketAddr, is_probe: bool) -> io::Result<bool> {
        if is_probe {
            return self.event_loop.send_whole(&self.outbound, to);
        }
        self.event_loop.send_to(&self.outbound, to)
    }

    // --- the parts of a turn ------------------------------------------------------------------------------

    /// Has the server's name looked up if that is wanted, and takes the answer.
    fn resolve(&mut self, client: &Client) {
        let mut core = client.0.core.lock();
        let Some((session, name, port)) = core.wants_addresses() else {
            self.lookup = None;
            return;
        };
        if self.lookup.as_ref().is_none_or(|(of, _)| *of != session) {
            match Lookup::start(name.to_owned(), port, self.event_loop.waker()) {
                Ok(lookup) => self.lookup = Some((session, lookup)),
                Err(error) => return core.handle_addresses(client.now(), Err(error)),
            }
        }
        if let Some(answer) = self.lookup.as_ref().and_then(|(_, lookup)| lookup.poll()) {
            self.lookup = None;
            core.handle_addresses(client.now(), answer);
        }
    }

    fn wait(&mut self, client: &Client, timeout: Option<Duration>) -> Result<()> {
        let failed = |e: io::Error| Error::new(ErrorKind::Io, format!("waiting for the socket failed: {e}"));
        if timeout.is_some_and(|t| t.is_zero()) {
            if self.streams.is_some() {
                return self.event_loop.wait(Some(Duration::ZERO)).map_err(failed);
            }
            return self.event_loop.skip_wait().map_err(failed);
        }
        let now = client.now();
        if self.has_streams(client) {
            return self.event_loop.wait(Some(Duration::ZERO)).map_err(failed);
        }
        let core = client.0.core.lock().poll_timeout(now);
        let until_due = core.map_or(self.own_due(), |c| c.min(self.own_due())).since(now);
        let timeout = timeout.map_or(until_due, |t| t.min(until_due));
        if let Some(left) = self.spin(client, now, timeout).map_err(failed)? {
            self.event_loop.wait(Some(left)).map_err(failed)?;
        }
        // The wake may have been the lookup's.
        self.resolve(client);
        Ok(())
    }

    /// Looks again and again for as long as the host wants no sleep. What is left of the timeout; `None`: something came.
    fn spin(&mut self, client: &Client, start: Time, timeout: Duration) -> io::Result<Option<Duration>> {
        let until = (self.last_datagram + self.busy_poll).min(start + timeout);
        let mut now = start;
        while now < until {
            if self.streams.is_some() {
                self.event_loop.wait(Some(Duration::ZERO))?;
                if self.event_loop.was_woken() || self.event_loop.has_ready() {
                    return Ok(None);
                }
            } else if self.event_loop.is_woken() || !self.event_loop.is_writable() {
                return Ok(Some(Duration::ZERO));
            } else {
                // Straight to the socket: the poll would be a call more.
                self.found = self.receive().transpose();
                if self.found.is_some() {
                    // The read that follows takes it.
                    self.event_loop.stay_readable();
                    return Ok(None);
                }
            }
            std::hint::spin_loop();
            now = client.now();
        }
        Ok(Some(timeout.saturating_sub(now.since(start))))
    }

    /// Reads until the socket is empty, or for a turn's worth.
    fn read(&mut self, client: &Client) -> Result<bool> {
        let mut happened = false;
        for _ in 0..BATCHES_PER_TURN {
            if !self.event_loop.is_readable() || client.0.life.stop_wanted() {
                break;
            }
            let now = client.now();
            for _ in 0..RECEIVE_BATCH {
                match self.found.take().map_or_else(|| self.receive(), |found| found.map(Some)) {
                    Ok(Some((len, from))) => {
                        self.read_errors = 0;
                        self.last_datagram = now;
                        if let Some(datagram) = self.inbound.get_mut(..len) {
                            client.0.core.lock().handle_datagram(now, from, datagram);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.read_failed(client, &error)?;
                        break;
                    }
                }
            }
            happened |= self.dispatch(client);
        }
        self.hear_refusal(client);
        Ok(happened)
    }

    /// One bad read is no reason to end a client; a socket that gives nothing but errors is.
    fn read_failed(&mut self, client: &Client, error: &io::Error) -> Result<()> {
        self.read_errors += 1;
        if self.read_errors == 1 {
            client.0.core.lock().log(LogLevel::Error, format!("reading failed: {error}"));
        }
        if self.read_errors < MAX_READ_ERRORS {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, format!("reading failed {MAX_READ_ERRORS} times in a row: {error}")))
    }

    /// Timers and the tick.
    fn time(&mut self, client: &Client) -> bool {
        let now = client.now();
        // After a stall of the host, what waited in the socket is read before the server is found silent.
        self.busy_turns = if self.event_loop.is_readable() { self.busy_turns + 1 } else { 0 };
        if self.busy_turns == 0 || self.busy_turns > MAX_BUSY_TURNS {
            self.busy_turns = 0;
            client.0.core.lock().handle_timeout(now);
        }
        self.hear_disk(client, now);
        let mut happened = self.dispatch(client);
        if let Some((seconds, tick)) = self.ticker.tick(now) {
            happened = true;
            client.0.core.lock().emit(Event::Update { seconds, tick });
            self.dispatch(client);
        }
        happened
    }

    /// Writes whatever may leave.
    fn flush(&mut self, client: &Client) {
        let mut core = client.0.core.lock();
        let now = client.now();
        core.pump_files(now);
        self.ask_disk(&mut core);
        for sent in 1.. {
            self.listen_for_refusals(core.attempt());
            let Some(to) = core.poll_transmit(now, &mut self.outbound) else { break };
            if sent % SEND_BATCH == 0 {
                MutexGuard::bump(&mut core);
            }
            // A datagram that the system has no room for is lost like any other.
            if let Err(error) = self.transmit(to, core.is_probe) {
                core.handle_unreachable(now, DisconnectReason::Unreachable, &error.to_string());
            }
        }
        drop(core);
        self.hear_refusal(client);
    }

    /// Passes on what files need of the disk.
    fn ask_disk(&mut self, core: &mut Core) {
        while let Some((session, file, request)) = core.poll_file_request() {
            if self.disk.is_none() {
                match Disk::start(self.event_loop.waker()) {
                    Ok(disk) => self.disk = Some(disk),
                    Err(error) => {
                        let reply = request.failed(FileFailure::Disk, error.message().to_owned());
                        core.handle_file_reply(self.expire, session, file, reply);
                        continue;
                    }
                }
            }
            if let Some(disk) = &self.disk {
                disk.submit((session, file), request);
            }
        }
    }

    /// Takes what the disk has answered.
    fn hear_disk(&mut self, client: &Client, now: Time) {
        if now >= self.expire {
            self.expire = now + EXPIRE_INTERVAL;
            client.0.core.lock().expire_files(now);
        }
        for _ in 0..DISK_BATCH {
            let Some(((session, file), reply)) = self.disk.as_ref().and_then(Disk::poll) else { return };
            client.0.core.lock().handle_file_reply(now, session, file, reply);
        }
        // The rest has its turn in the next.
        self.event_loop.waker().wake();
    }

    /// The system is asked to tell of closed ports while an address is tried, and at no other time.
    fn listen_for_refusals(&mut self, attempt: Option<u64>) {
        if attempt != self.hearing {
            self.hearing = attempt;
            if let Some(socket) = self.event_loop.socket() {
                socket.hear_refusals(attempt.is_some());
            }
        }
    }

    fn hear_refusal(&mut self, client: &Client) {
        if self.hearing.is_some() && self.event_loop.socket().is_some_and(UdpSocket::take_refused) {
            let mut core: MutexGuard<'_, Core> = client.0.core.lock();
            if core.attempt() == self.hearing {
                core.handle_unreachable(
                    client.now(),
                    DisconnectReason::NobodyListens,
                    "nobody listens there",
                );
            }
        }
    }

    /// Calls the host with everything that waits.
    fn dispatch(&mut self, client: &Client) -> bool {
        let mut happened = false;
        loop {
            let next = client.0.core.lock().poll_dispatch();
            let Some(next) = next else { return happened };
            happened = true;
            client.0.life.calling(|| panic_scope::outside(|| self.call(client, next)));
        }
    }

    fn call(&mut self, client: &Client, next: Dispatch) {
        let handler = &mut self.handler;
        match next {
            Dispatch::Sent(callback, outcome) => callback(client, outcome),
            Dispatch::FileProgress(callback, file, done, size) => callback(client, file, done, size),
            Dispatch::FileDone(watcher, file, end) => {
                if let Some(callback) = watcher.on_done {
                    callback(client, file, &end);
                }
            }
            Dispatch::Event(event) => match event {
                Event::Connecting(address) => handler.connecting(client, address),
                Event::Connected(info) => handler.connected(client, &info),
                Event::Disconnected(info) => handler.disconnected(client, &info),
                Event::Message(message) => handler.message(client, &message),
                Event::Update { seconds, tick } => handler.update(client, seconds, tick),
                Event::Writable => handler.writable(client),
                // Tagged messages are reported through the event queue only.
                Event::Sent(..) => {}
                Event::Shutdown => handler.shutdown(client),
                Event::Log(level, text) => handler.log(client, level, &text),
                Event::File(event) => handler.file(client, &event),
            },
        }
    }

    /// Ends everything: the session ends and the host hears of it, `shutdown` comes last.
    fn shut_down(&mut self, client: &Client) -> Result<()> {
        self.dispatch(client);
        let start = client.now();
        client.0.core.lock().disconnect(start, false);
        self.dispatch(client);
        let end = start + SHUTDOWN_TIME;
        loop {
            // A host that reconnects in its last callback is stopping all the same.
            client.0.core.lock().disconnect(client.now(), false);
            self.flush(client);
            let now = client.now();
            let core = client.0.core.lock();
            if now >= end || core.is_over(now) {
                break;
            }
            let due = core.poll_timeout(now).unwrap_or(end).min(end);
            drop(core);
            let waited = self.event_loop.wait(Some(due.since(now)));
            waited.map_err(|e| Error::new(ErrorKind::Io, format!("waiting for the socket failed: {e}")))?;
            while let (true, Ok(Some((len, from)))) = (client.now() < end, self.receive()) {
                if let Some(datagram) = self.inbound.get_mut(..len) {
                    client.0.core.lock().handle_datagram(client.now(), from, datagram);
                }
            }
            client.0.core.lock().handle_timeout(client.now());
        }
        // What was asked of the disk is done.
        self.disk = None;
        if let Some(streams) = &mut self.streams {
            streams.close();
        }
        // The port is free when `stop` returns, whoever still holds the handle.
        self.event_loop.close();
        client.0.core.lock().emit(Event::Shutdown);
        self.dispatch(client);
        client.0.life.finish();
        client.over(u64::MAX);
        Ok(())
    }
}
