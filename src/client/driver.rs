//! A bare client on the caller's loop: one socket, no events but the connection's own, hundreds to a thread.
//!
//! Tests, the demo and load drive crowds with it; it is hidden from the documentation and may change at any
//! time. A game uses [`crate::Client`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::RingProvider;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::PublicKey;
use crate::metrics::peer::PeerStats;
use crate::net::address::ListenAddress;
use crate::net::clock::Clock;
use crate::net::udp::UdpSocket;
use crate::protocol::connection::{Connection, Room, State};
use crate::protocol::delivery::Limits;
use crate::protocol::wire::mpgameserver::MAX_DATAGRAM;
use crate::server::config::Config;
use crate::server::send_refused::send_refused;

pub use crate::protocol::connection::{CloseReason, Closing, Event, Farewell, FarewellKind};
pub use crate::protocol::delivery::{Mode, Outcome};

/// Datagrams read per [`Client::update`]: then it is the caller's turn again.
const READS_PER_UPDATE: usize = 1024;

/// A client on a socket of its own. The host calls [`update`](Client::update) from its loop.
pub struct Client {
    clock: Clock,
    socket: UdpSocket,
    connection: Connection,
    limits: Arc<Limits>,
    buffer: Vec<u8>,
    outbound: Vec<u8>,
}

impl Client {
    /// Starts to connect. `pinned` is the server's public key; without one whoever answers is believed. Of
    /// `config` the intervals, the bounds and the MTU apply.
    pub fn connect(server: SocketAddr, pinned: Option<PublicKey>, config: &Config) -> Result<Client> {
        config.validate()?;
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(
            &ListenAddress::parse(local)?,
            config.socket_receive_bytes,
            config.socket_send_bytes,
        )?;
        let clock = Clock::new();
        let pinned = pinned.map(|key| *key.point());
        let settings = config.protocol_settings();
        let limits = settings.limits.clone();
        let connection = Connection::connect(clock.now(), settings, pinned, &RingProvider::new(), server);
        let connection =
            connection.map_err(|_| Error::new(ErrorKind::Io, "the system gives no randomness"))?;
        let (buffer, outbound) = (vec![0; MAX_DATAGRAM + 1], Vec::new());
        Ok(Client { clock, socket, connection, limits, buffer, outbound })
    }

    /// Reads what came, runs timers, writes what may leave. Never waits.
    pub fn update(&mut self) -> Result<()> {
        let io = |e: std::io::Error| Error::new(ErrorKind::Io, format!("the client's socket failed: {e}"));
        for _ in 0..READS_PER_UPDATE {
            let Some((len, from)) = self.socket.recv_from(&mut self.buffer).map_err(io)? else { break };
            let now = self.clock.now();
            if let Some(datagram) = self.buffer.get_mut(..len) {
                // Why a datagram was thrown away shows in the counts.
                let _thrown_away =
                    self.connection.handle_datagram(now, from, datagram, &mut { Room::ENDLESS });
            }
        }
        self.connection.handle_timeout(self.clock.now());
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        loop {
            self.outbound.clear();
            let Some(to) = self.connection.poll_transmit(self.clock.now(), &mut self.outbound) else {
                return Ok(());
            };
            // A datagram that the system refuses is lost like any other.
            let _sent = self.socket.send_to(&self.outbound, to);
        }
    }

    /// How long until [`update`](Self::update) has something to do even if nothing arrives.
    pub fn next_timeout(&self) -> Option<Duration> {
        let now = self.clock.now();
        Some(self.connection.poll_timeout(now)?.since(now))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.connection.poll_event()
    }

    /// Queues a message; `tag` other than 0 asks for an [`Event::Sent`]. Errors: State, WouldBlock, TooLarge.
    pub fn send(&mut self, data: &[u8], mode: Mode, tag: u64) -> Result<()> {
        let sent = self.connection.send(self.clock.now(), data.into(), mode.into(), tag);
        sent.map_err(|e| {
            send_refused(
                e,
                &"the client",
                ErrorKind::State,
                data.len(),
                &self.limits,
                self.limits.max_message,
            )
        })
    }

    /// Says goodbye, at once or after what is queued has been delivered.
    pub fn close(&mut self, after_delivery: bool) {
        self.connection.close(self.clock.now(), after_delivery, Farewell::default());
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.connection.state()
    }

    /// The session's public number.
    pub fn token(&self) -> u32 {
        self.connection.token()
    }

    /// Half an acknowledgement's round trip, smoothed.
    pub fn latency(&self) -> Duration {
        self.connection.latency()
    }

    /// Counts so far.
    pub fn stats(&self) -> PeerStats {
        self.connection.stats()
    }

    /// Where it sends from.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }
}
