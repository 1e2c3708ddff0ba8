//! The loop: waits, reads, calls the host, ticks, writes. One turn at a time, on one thread.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::config::Config;
use super::core::{Core, Dispatch, SHUTDOWN_TIME};
use super::doors::{self, Doors};
use super::events::*;
use super::files::FileFailure;
use super::tick::{Activity, Every, Ticker};
use super::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::hosting::{Hosting, Turns};
use crate::net::batch::{ReceiveBatch, SendBatch, SEND_DATAGRAMS};
use crate::net::event_loop::EventLoop;
use crate::net::files::Disk;
use crate::net::udp::UdpSocket;
use crate::panic_scope;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;

/// Room for one datagram: one byte more than any that is taken, so that a longer one shows.
pub(super) const SLOT: usize = MAX_DATAGRAM + 1;
/// Datagrams handled before the host is called with what they brought.
const RECEIVE_BATCH: usize = 64;
/// Batches per turn: then ticks and writes come first again.
const BATCHES_PER_TURN: usize = 16;
/// Batches per turn even if a tick is due: a host whose ticks take all the time there is gets fewer ticks
/// rather than no datagrams.
const MIN_BATCHES_PER_TURN: usize = 8;
/// The least that a datagram, or a train of datagrams, takes of the socket's buffer, in bytes as they were asked for: with
/// this the buffer's size says how many may have waited in it.
const MIN_BUFFERED_BYTES: usize = 256;

/// Callbacks that took this long since the socket was last asked may have kept peers' datagrams waiting
/// there: it is asked again before anybody is found silent.
const LONG_CALLBACKS: Duration = Duration::from_millis(20);

/// Datagrams written before the socket is read again: what arrives meanwhile waits there, and is lost where there is no room.
const WRITES_PER_READING: usize = 512;
/// Such portions in a turn at most: then timers come first again.
const PORTIONS_PER_TURN: usize = 64;
/// Datagrams written before another thread that waits to send gets its turn.
const SEND_BATCH: usize = SEND_DATAGRAMS;
/// Answers of the disk taken per turn.
const DISK_BATCH: usize = 256;
/// Failed reads in a row after which the socket counts as broken and the server ends.
const MAX_READ_ERRORS: u32 = 1000;

/// The loop's own state.
pub struct Runner {
    event_loop: EventLoop,
    doors: Doors,
    handler: Box<dyn Handler>,
    ticker: Ticker,
    reconcile: Every,
    inbound: ReceiveBatch,
    outbound: SendBatch,
    /// What the host is being called with, and the messages that it has read.
    dispatches: VecDeque<Dispatch>,
    handled: Vec<Message>,
    /// What a read met that asked without sleeping.
    failed: Option<io::Error>,
    /// Failed reads in a row.
    read_errors: u32,
    /// The host's log has been told that the server broke.
    told: bool,
    /// The clock as it was read last: what takes no time between two uses needs no reading of its own.
    now: Time,
    /// When the socket was last asked for datagrams.
    asked: Time,
    /// How long after a datagram the loop does not sleep, and when the last was.
    busy_poll: Duration,
    last_datagram: Time,
    /// Datagrams read since timers ran last or the socket was empty; a train counts as one.
    read_before_timers: usize,
    /// The thread for files, once there was one.
    disk: Option<Disk>,
}

impl Turns<Server> for Runner {
    fn turn(&mut self, server: &Server, timeout: Option<Duration>) -> Result<bool> {
        if server.0.life.stop_wanted() {
            self.shut_down(server)?;
            return Ok(true);
        }
        // What passed since the turn before was not ours.
        self.spent(server, Activity::Idle);
        let mut happened = self.dispatch(server);
        if happened {
            self.spent(server, Activity::Messages);
        }
        let busy = happened || server.http_is_pending();
        self.wait(server, if busy { Some(Duration::ZERO) } else { timeout })?;
        happened |= self.read(server)?;
        if server.serve_http(self.ticker.due()) {
            happened = true;
            self.spent(server, Activity::Messages);
        }
        happened |= self.read_streams(server);
        happened |= self.time(server)?;
        happened |= self.write(server)?;
        if self.dispatch(server) {
            happened = true;
            self.spent(server, Activity::Messages);
        }
        let at_once = self.event_loop.is_readable()
            || self.event_loop.has_ready()
            || self.doors.have_work()
            || server.http_is_pending();
        let due = if at_once { self.now } else { self.own_due() };
        *server.0.next_turn.lock() = Some(due);
        *server.0.ticks.lock() = self.ticker.counts();
        let mut core = server.0.core.lock();
        Ok(happened | std::mem::take(&mut core.woken) | core.has_pulled())
    }

    fn broke(&mut self, server: &Server, text: &str) {
        if !std::mem::replace(&mut self.told, true) {
            server.0.life.calling(|| self.handler.log(server, LogLevel::Error, text));
        }
    }
}

impl Runner {
    /// Before the first turn.
    pub fn new(
        now: Time,
        config: &Config,
        event_loop: EventLoop,
        doors: Doors,
        inbound: ReceiveBatch,
        handler: Box<dyn Handler>,
    ) -> Self {
        Runner {
            event_loop,
            doors,
            handler,
            ticker: Ticker::new(now, config.tick_rate_hz),
            reconcile: Every::new(now, config.reconcile_interval),
            inbound,
            outbound: SendBatch::new(config.io, SEND_BATCH, MAX_DATAGRAM),
            dispatches: VecDeque::new(),
            handled: Vec::new(),
            failed: None,
            read_errors: 0,
            told: false,
            now,
            asked: now,
            busy_poll: config.busy_poll,
            last_datagram: now,
            read_before_timers: 0,
            disk: None,
        }
    }

    fn spent(&mut self, server: &Server, activity: Activity) -> Time {
        let now = server.0.life.clock.now();
        self.now = now;
        server.0.profiler.lock().spent(now, activity);
        now
    }

    /// When the loop has something to do of its own.
    fn own_due(&self) -> Time {
        let due = self.ticker.due().min(self.reconcile.due());
        self.doors.poll_timeout().map_or(due, |doors| doors.min(due))
    }

    fn wait(&mut self, server: &Server, timeout: Option<Duration>) -> Result<()> {
        let now = self.now;
        let core = server.0.core.lock().poll_timeout();
        let due = core.map_or(self.own_due(), |c| c.min(self.own_due()));
        let until_due = if self.doors.have_work() { Duration::ZERO } else { due.since(now) };
        let timeout = timeout.map_or(until_due, |t| t.min(until_due));
        let left = self.spin(server, now, timeout);
        let waited = self.wait_for_socket(left);
        self.asked = self.spent(server, Activity::Idle);
        waited
    }

    /// Asks the socket again and again for as long as the host wants no sleep. What is left of the timeout.
    fn spin(&mut self, server: &Server, start: Time, timeout: Duration) -> Duration {
        let until = (self.last_datagram + self.busy_poll).min(start + timeout);
        let mut now = start;
        while now < until && !self.event_loop.is_readable() && !self.event_loop.is_woken() {
            // Streams wait for no datagrams.
            if !self.doors.are_unused() {
                let failed = self.wait_for_socket(Duration::ZERO).is_err();
                if failed || self.event_loop.was_woken() || self.has_streams() {
                    return Duration::ZERO;
                }
            }
            self.failed = self.receive().err();
            if self.failed.is_some() || !self.inbound.is_empty() {
                // The read that follows takes it.
                self.event_loop.stay_readable();
                break;
            }
            std::hint::spin_loop();
            now = server.0.life.clock.now();
        }
        timeout.saturating_sub(now.since(start))
    }

    fn wait_for_socket(&mut self, timeout: Duration) -> Result<()> {
        let waited = self.event_loop.wait(Some(timeout));
        waited.map_err(|e| Error::new(ErrorKind::Io, format!("waiting for the socket failed: {e}")))
    }

    /// Reads until the socket is empty, or for a turn's worth.
    fn read(&mut self, server: &Server) -> Result<bool> {
        let mut happened = false;
        for batch in 1..=BATCHES_PER_TURN {
            let mut failed = self.failed.take();
            if failed.is_none() && self.inbound.is_empty() {
                if !self.event_loop.is_readable() {
                    break;
                }
                // The clock was read just before.
                self.asked = self.now;
                failed = self.receive().err();
            }
            let now = self.spent(server, Activity::Network);
            let mut core = server.0.core.lock();
            // What one call brings in trains may be more than the host is to wait for.
            for _ in 0..RECEIVE_BATCH {
                let Some((from, datagram)) = self.inbound.next() else { break };
                core.handle_datagram(now, from, datagram);
                self.last_datagram = now;
            }
            if let Some(error) = failed {
                self.read_failed(&mut core, &error)?;
            }
            drop(core);
            happened |= self.dispatch(server);
            let now = self.spent(server, Activity::Messages);
            // A tick that is due comes before more datagrams.
            let tick_due = batch >= MIN_BATCHES_PER_TURN && now >= self.ticker.due();
            if server.0.life.stop_wanted() || tick_due {
                break;
            }
        }
        if !self.inbound.is_empty() {
            self.event_loop.stay_readable();
        }
        Ok(happened)
    }

    /// Whether a stream has something to be read.
    fn has_streams(&self) -> bool {
        self.event_loop.has_ready() || self.doors.have_work()
    }

    /// Takes in who waits at the doors for streams, and reads who is there.
    fn read_streams(&mut self, server: &Server) -> bool {
        if self.doors.are_unused() {
            return false;
        }
        let now = self.spent(server, Activity::Network);
        let due = self.ticker.due();
        self.doors.take_in(server, &mut self.event_loop, now, due);
        server.0.core.lock().resume_streams(now);
        let mut happened = self.dispatch(server);
        self.spent(server, Activity::Messages);
        self.doors.shake_hands(server, due);
        for _ in 0..doors::BATCHES_PER_TURN {
            if !self.doors.read_batch(server, due) {
                break;
            }
            self.spent(server, Activity::Network);
            happened |= self.dispatch(server);
            let now = self.spent(server, Activity::Messages);
            // Unlike datagrams, what is not read now is not lost.
            if server.0.life.stop_wanted() || now >= self.ticker.due() {
                break;
            }
        }
        happened
    }

    /// Fills a batch, as far as there are datagrams. Errors: the one that ended it, if one did.
    fn receive(&mut self) -> io::Result<()> {
        let received = self.event_loop.receive(&mut self.inbound);
        self.read_before_timers += self.inbound.messages();
        if !self.inbound.is_empty() {
            self.read_errors = 0;
        }
        received
    }

    /// One bad read is no reason to end a server; a socket that gives nothing but errors is.
    fn read_failed(&mut self, core: &mut Core, error: &io::Error) -> Result<()> {
        self.read_errors += 1;
        if self.read_errors == 1 {
            core.log(LogLevel::Error, format!("reading failed: {error}"));
        }
        if self.read_errors < MAX_READ_ERRORS {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, format!("reading failed {MAX_READ_ERRORS} times in a row: {error}")))
    }

    /// Timers, the tick and the slow timer.
    fn time(&mut self, server: &Server) -> Result<bool> {
        let now = self.now;
        if now.since(self.asked) >= LONG_CALLBACKS {
            self.wait_for_socket(Duration::ZERO)?;
        }
        // After a stall, what waited in the socket is read before anybody is found silent; but whoever fills
        // it faster than it is read does not stop the timers.
        let buffered = self.event_loop.socket().map_or(0, UdpSocket::receive_bytes) / MIN_BUFFERED_BYTES;
        if !self.event_loop.is_readable() || self.read_before_timers > buffered {
            self.read_before_timers = 0;
            server.0.core.lock().handle_timeout(now);
        }
        self.hear_disk(server, now);
        let mut happened = self.dispatch(server);
        if let Some((seconds, tick)) = self.ticker.tick(now) {
            happened = true;
            let now = self.spent(server, Activity::Messages);
            server.0.profiler.lock().tick(now);
            let mut core = server.0.core.lock();
            core.note_tick(now, tick);
            core.emit(Event::Update { seconds, tick });
            drop(core);
            self.dispatch(server);
            self.spent(server, Activity::Update);
        }
        if self.reconcile.fires(now) {
            happened = true;
            server.0.core.lock().emit(Event::Reconcile);
            server.0.core.lock().housekeeping(now);
            self.dispatch(server);
        }
        Ok(happened)
    }

    /// Writes whatever may leave, and reads meanwhile where that is much.
    fn write(&mut self, server: &Server) -> Result<bool> {
        let mut happened = false;
        for _ in 0..PORTIONS_PER_TURN {
            if !self.flush(server, WRITES_PER_READING) {
                return Ok(happened);
            }
            self.event_loop.stay_readable();
            happened |= self.read(server)?;
            if server.0.life.stop_wanted() || self.now >= self.ticker.due() {
                break;
            }
        }
        // The rest leaves in the next turn, which comes at once; but for a host that polls that may be a frame later.
        if server.0.life.hosting == Hosting::Polled {
            self.flush(server, usize::MAX);
        }
        Ok(happened)
    }

    /// Writes so many datagrams, of those that may leave. Whether that was not all.
    fn flush(&mut self, server: &Server, most: usize) -> bool {
        let mut core = server.0.core.lock();
        let start = server.0.life.clock.now();
        core.pump_files(start);
        self.ask_disk(start, &mut core);
        let mut written = 0;
        while let Some(to) = core.poll_transmit(start, self.outbound.buffer()) {
            written += 1;
            if core.is_probe() {
                // It leaves behind what was written before it.
                self.send(&mut core);
                let sent = self.event_loop.send_whole(self.outbound.buffer(), to);
                if !matches!(sent, Ok(true)) {
                    core.send_failed();
                }
                continue;
            }
            self.outbound.push(to);
            if self.outbound.is_full() {
                self.send(&mut core);
            }
            if written >= most {
                break;
            }
        }
        self.send(&mut core);
        let streams = core.stream_works();
        drop(core);
        if streams > 0 {
            // Behind the last tick nothing is to be late for.
            let due =
                if server.0.life.stop_wanted() { Time::from_micros(u64::MAX) } else { self.ticker.due() };
            self.doors.serve(server, due);
        }
        self.now = server.0.life.clock.now();
        let mut profiler = server.0.profiler.lock();
        profiler.spent(start, Activity::Messages);
        profiler.spent(self.now, Activity::Network);
        written >= most
    }

    /// Passes on what files need of the disk.
    fn ask_disk(&mut self, now: Time, core: &mut Core) {
        while let Some((peer, file, request)) = core.poll_file_request() {
            if self.disk.is_none() {
                match Disk::start(self.event_loop.waker()) {
                    Ok(disk) => self.disk = Some(disk),
                    Err(error) => {
                        let reply = request.failed(FileFailure::Disk, error.message().to_owned());
                        core.handle_file_reply(now, peer, file, reply);
                        continue;
                    }
                }
            }
            if let Some(disk) = &self.disk {
                disk.submit((peer, file), request);
            }
        }
    }

    /// Takes what the disk has answered.
    fn hear_disk(&mut self, server: &Server, now: Time) {
        for _ in 0..DISK_BATCH {
            let Some(((peer, file), reply)) = self.disk.as_ref().and_then(Disk::poll) else { return };
            server.0.core.lock().handle_file_reply(now, peer, file, reply);
        }
        // The rest has its turn in the next.
        self.event_loop.waker().wake();
    }

    /// Sends what was written, while whoever waits for the core has it.
    fn send(&mut self, core: &mut MutexGuard<'_, Core>) {
        if self.outbound.is_empty() {
            return;
        }
        let (event_loop, outbound) = (&mut self.event_loop, &mut self.outbound);
        let sent = MutexGuard::unlocked_fair(core, || event_loop.send(outbound));
        // A datagram that the system has no room for, or no route, is lost like any other.
        for _ in 0..sent.failed {
            core.send_failed();
        }
    }

    /// Calls the host with everything that waits. Callbacks may send, which makes no new events; those
    /// that disconnect do, and they are handled here too. The core is locked once for all that waits.
    fn dispatch(&mut self, server: &Server) -> bool {
        let mut happened = false;
        loop {
            let mut core = server.0.core.lock();
            self.handled.drain(..).for_each(|message| core.recycle(message));
            core.poll_dispatches(&mut self.dispatches);
            drop(core);
            if self.dispatches.is_empty() {
                return happened;
            }
            happened = true;
            server.0.life.calling(|| {
                panic_scope::outside(|| {
                    while let Some(next) = self.dispatches.pop_front() {
                        let read = self.call(server, next);
                        self.handled.extend(read);
                    }
                });
            });
        }
    }

    /// Calls the host. A message comes back when it has read it: the next can have its memory.
    fn call(&mut self, server: &Server, next: Dispatch) -> Option<Message> {
        let handler = &mut self.handler;
        match next {
            Dispatch::Sent(peer, callback, outcome) => callback(server, peer, outcome),
            Dispatch::FileProgress(peer, callback, file, done, size) => {
                callback(server, peer, file, done, size)
            }
            Dispatch::FileDone(peer, watcher, file, end) => {
                if let Some(callback) = watcher.on_done {
                    callback(server, peer, file, &end);
                }
            }
            Dispatch::Event(event) => match event {
                Event::Starting => handler.starting(server),
                Event::Connect(peer, info) => handler.connect(server, peer, &info),
                Event::Disconnect(peer, info) => {
                    handler.disconnect(server, peer, &info);
                    server.0.core.lock().retire(peer);
                }
                Event::Message(peer, message) => {
                    handler.message(server, peer, &message);
                    return Some(message);
                }
                Event::Update { seconds, tick } => handler.update(server, seconds, tick),
                Event::Writable(peer) => handler.writable(server, peer),
                Event::Reconcile => handler.reconcile(server),
                // Tagged messages are reported through the event queue only.
                Event::Sent(..) => {}
                Event::Shutdown => handler.shutdown(server),
                Event::Log(level, text) => handler.log(server, level, &text),
                Event::Authorise(peer, request) => {
                    // It may have left since.
                    if server.0.core.lock().is_joining(peer) {
                        let decision = handler.authorise(server, peer, &request);
                        server.0.core.lock().decided(server.0.life.clock.now(), peer, decision);
                    }
                }
                Event::Raw(from, data) => handler.raw(server, from, &data),
                // They are functions of their own, or in the event queue.
                Event::Request(..) => {}
                Event::File(peer, event) => handler.file(server, peer, &event),
            },
        }
        None
    }

    /// Ends everything: peers are disconnected and told, the host hears of each, `shutdown` comes last.
    fn shut_down(&mut self, server: &Server) -> Result<()> {
        // Starting comes first even if nothing else ever ran.
        self.dispatch(server);
        if let Some(http) = &server.0.http {
            http.close();
        }
        server.close_dashboard();
        let start = server.0.life.clock.now();
        server.0.core.lock().close(start);
        self.dispatch(server);
        let end = start + SHUTDOWN_TIME;
        loop {
            self.flush(server, usize::MAX);
            let now = server.0.life.clock.now();
            let farewells = server.0.core.lock().has_farewells();
            if now >= end || !farewells {
                break;
            }
            let due = server.0.core.lock().poll_timeout().unwrap_or(end).min(end);
            self.wait_for_socket(due.since(now))?;
            // Nobody is left whom news of streams would concern.
            drop(self.event_loop.take_ready());
            self.read(server)?;
            let now = server.0.life.clock.now();
            server.0.core.lock().handle_timeout(now);
        }
        // What was asked of the disk is done.
        self.disk = None;
        self.doors.close();
        // The port is free when `stop` returns, whoever still holds the handle.
        self.event_loop.close();
        server.0.core.lock().emit(Event::Shutdown);
        self.dispatch(server);
        server.0.life.finish();
        Ok(())
    }
}
