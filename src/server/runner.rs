//! The loop: waits, reads, calls the host, ticks, writes. One turn at a time, on one thread.

use std::time::Duration;

use super::config::Config;
use super::core::{Dispatch, SHUTDOWN_TIME};
use super::events::*;
use super::tick::{Activity, Every, Ticker};
use super::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::net::event_loop::EventLoop;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;

/// Datagrams read before the host is called with what they brought.
const RECEIVE_BATCH: usize = 64;
/// Batches per turn: then ticks and writes come first again.
const BATCHES_PER_TURN: usize = 16;

/// The loop's own state.
pub struct Runner {
    event_loop: EventLoop,
    handler: Box<dyn Handler>,
    ticker: Ticker,
    reconcile: Every,
    /// The socket may hold more than was read.
    more: bool,
    inbound: Box<[u8]>,
    outbound: Vec<u8>,
    send_failures: u64,
}

impl Runner {
    /// Before the first turn.
    pub fn new(now: Time, config: &Config, event_loop: EventLoop, handler: Box<dyn Handler>) -> Self {
        Runner {
            event_loop,
            handler,
            ticker: Ticker::new(now, config.tick_rate_hz),
            reconcile: Every::new(now, config.reconcile_interval),
            // What came before the first wait is read all the same.
            more: true,
            // One byte more than any datagram that is read: a longer one shows.
            inbound: vec![0; MAX_DATAGRAM + 1].into(),
            outbound: Vec::with_capacity(MAX_DATAGRAM),
            send_failures: 0,
        }
    }

    /// One turn, waiting at most for `timeout`. Whether something was handed to the host, or somebody asked
    /// for its attention.
    pub fn turn(&mut self, server: &Server, timeout: Option<Duration>) -> Result<bool> {
        if server.stop_wanted() {
            self.shut_down(server)?;
            return Ok(true);
        }
        let mut happened = self.dispatch(server);
        self.wait(server, if happened { Some(Duration::ZERO) } else { timeout })?;
        happened |= self.read(server)?;
        happened |= self.time(server);
        self.flush(server)?;
        happened |= self.dispatch(server);
        let now = self.spent(server, Activity::Messages);
        let due = if self.more { now } else { self.ticker.due().min(self.reconcile.due()) };
        *server.0.next_turn.lock() = Some(due);
        *server.0.ticks.lock() = self.ticker.counts();
        let mut core = server.0.core.lock();
        Ok(happened | std::mem::take(&mut core.woken) | core.has_pulled())
    }

    fn spent(&mut self, server: &Server, activity: Activity) -> Time {
        let now = server.0.clock.now();
        server.0.profiler.lock().spent(now, activity);
        now
    }

    fn wait(&mut self, server: &Server, timeout: Option<Duration>) -> Result<()> {
        let now = self.spent(server, Activity::Messages);
        let core = server.0.core.lock().poll_timeout();
        let due = core.map_or(self.ticker.due(), |c| c.min(self.ticker.due())).min(self.reconcile.due());
        let until_due = if self.more { Duration::ZERO } else { due.since(now) };
        let timeout = timeout.map_or(until_due, |t| t.min(until_due));
        let waited = self.event_loop.wait(Some(timeout));
        self.spent(server, Activity::Idle);
        waited.map_err(|e| Error::new(ErrorKind::Io, format!("waiting for the socket failed: {e}")))
    }

    /// Reads until the socket is empty, or for a turn's worth.
    fn read(&mut self, server: &Server) -> Result<bool> {
        let mut happened = false;
        self.more = true;
        for _ in 0..BATCHES_PER_TURN {
            let mut core = server.0.core.lock();
            let now = server.0.clock.now();
            for _ in 0..RECEIVE_BATCH {
                let received = self.event_loop.socket().recv_from(&mut self.inbound);
                let received =
                    received.map_err(|e| Error::new(ErrorKind::Io, format!("reading failed: {e}")))?;
                let Some((len, from)) = received else {
                    self.more = false;
                    break;
                };
                if let Some(datagram) = self.inbound.get_mut(..len) {
                    core.handle_datagram(now, from, datagram);
                }
            }
            drop(core);
            happened |= self.dispatch(server);
            // A tick that is due comes before more datagrams.
            if !self.more || server.stop_wanted() || server.0.clock.now() >= self.ticker.due() {
                break;
            }
        }
        self.spent(server, Activity::Messages);
        Ok(happened)
    }

    /// Timers, the tick and the slow timer.
    fn time(&mut self, server: &Server) -> bool {
        let now = server.0.clock.now();
        // After a stall, what waits in the socket is read before anybody is found silent.
        if !self.more {
            server.0.core.lock().handle_timeout(now);
        }
        let mut happened = self.dispatch(server);
        if let Some((seconds, tick)) = self.ticker.tick(now) {
            happened = true;
            let now = self.spent(server, Activity::Messages);
            server.0.profiler.lock().tick(now);
            server.0.core.lock().emit(Event::Update { seconds, tick });
            self.dispatch(server);
            self.spent(server, Activity::Update);
        }
        if self.reconcile.fires(now) {
            happened = true;
            server.0.core.lock().emit(Event::Reconcile);
            server.0.core.lock().housekeeping(now);
            self.dispatch(server);
        }
        self.spent(server, Activity::Messages);
        happened
    }

    /// Writes whatever may leave.
    fn flush(&mut self, server: &Server) -> Result<()> {
        let mut core = server.0.core.lock();
        let now = server.0.clock.now();
        while let Some(to) = core.poll_transmit(now, &mut self.outbound) {
            match self.event_loop.socket().send_to(&self.outbound, to) {
                Ok(true) => {}
                // A datagram that the system has no room for, or no route, is lost like any other.
                Ok(false) | Err(_) => {
                    self.send_failures += 1;
                    core.send_failed();
                }
            }
        }
        drop(core);
        self.spent(server, Activity::Network);
        Ok(())
    }

    /// Calls the host with everything that waits. Callbacks may send, which makes no new events; those
    /// that disconnect do, and they are handled here too.
    fn dispatch(&mut self, server: &Server) -> bool {
        let mut happened = false;
        loop {
            let next = server.0.core.lock().poll_dispatch();
            let Some(next) = next else { return happened };
            happened = true;
            server.calling(|| self.call(server, next));
        }
    }

    fn call(&mut self, server: &Server, next: Dispatch) {
        let handler = &mut self.handler;
        match next {
            Dispatch::Sent(peer, callback, outcome) => callback(server, peer, outcome),
            Dispatch::Event(event) => match event {
                Event::Starting => handler.starting(server),
                Event::Connect(peer, info) => handler.connect(server, peer, &info),
                Event::Disconnect(peer, info) => {
                    handler.disconnect(server, peer, &info);
                    server.0.core.lock().retire(peer);
                }
                Event::Message(peer, message) => handler.message(server, peer, &message),
                Event::Update { seconds, tick } => handler.update(server, seconds, tick),
                Event::Writable(peer) => handler.writable(server, peer),
                Event::Reconcile => handler.reconcile(server),
                // Tagged messages are reported through the event queue only.
                Event::Sent(..) => {}
                Event::Shutdown => handler.shutdown(server),
                Event::Log(level, text) => handler.log(server, level, &text),
            },
        }
    }

    /// Ends everything: peers are disconnected and told, the host hears of each, `shutdown` comes last.
    fn shut_down(&mut self, server: &Server) -> Result<()> {
        // Starting comes first even if nothing else ever ran.
        self.dispatch(server);
        let start = server.0.clock.now();
        server.0.core.lock().close(start);
        self.dispatch(server);
        let end = start + SHUTDOWN_TIME;
        loop {
            self.flush(server)?;
            let now = server.0.clock.now();
            let farewells = server.0.core.lock().has_farewells();
            if now >= end || !farewells {
                break;
            }
            let due = server.0.core.lock().poll_timeout().unwrap_or(end).min(end);
            let waited = self.event_loop.wait(Some(due.since(now)));
            waited.map_err(|e| Error::new(ErrorKind::Io, format!("waiting for the socket failed: {e}")))?;
            self.read(server)?;
            let now = server.0.clock.now();
            server.0.core.lock().handle_timeout(now);
        }
        server.0.core.lock().emit(Event::Shutdown);
        self.dispatch(server);
        server.finish();
        Ok(())
    }
}
