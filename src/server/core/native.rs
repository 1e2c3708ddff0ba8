//! The native wire's way into the core: data packets find their peer by connection id, strangers go to the newcomers.

use std::net::SocketAddr;

use super::Core;
use crate::metrics::server::DropReason;
use crate::protocol::connection::Connection;
use crate::protocol::handshake::native::{packet, ServerHandshake, Welcome};
use crate::protocol::time::Time;
use crate::protocol::wire::native as wire;
use crate::server::newcomers::Announced;

impl Core {
    /// A datagram whose first byte says that it is native.
    pub(super) fn take_native(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        if self.newcomers.is_none() {
            return Err(DropReason::Malformed);
        }
        if datagram.first() == Some(&packet::HELLO) {
            return self.handle_native_hello(now, from, datagram);
        }
        // A query of somebody who looks for servers, where nobody answers those; answers of other servers.
        if !wire::is_data(datagram) {
            return Err(DropReason::Unknown);
        }
        let id = wire::connection_id(datagram).ok_or(DropReason::Malformed)?;
        let slot = match self.peers.slot_of_connection(id) {
            Some(slot) => slot,
            None => self.prove_native(now, from, id, datagram)?,
        };
        self.take_from_peer(now, slot, from, datagram)?;
        self.follow(now, slot);
        Ok(())
    }

    fn handle_native_hello(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        // Above its number of peers a server still answers, to say that it is full; above its number of slots it does not.
        let crowded = self.closing || self.peers.len() >= self.max_slots();
        let Some(newcomers) = &mut self.newcomers else { return Err(DropReason::Malformed) };
        if crowded {
            self.refuse(now, from, "the server is full");
            return Err(DropReason::Full);
        }
        let taken = newcomers.hello(now, from, datagram);
        if taken == Err(DropReason::HelloBudget) {
            self.refuse(now, from, "too many hellos");
        }
        taken
    }

    /// A data packet of nobody: the first one of a client that is welcome, or a stray.
    fn prove_native(
        &mut self,
        now: Time,
        from: SocketAddr,
        id: u32,
        datagram: &[u8],
    ) -> Result<usize, DropReason> {
        let Some(newcomers) = &mut self.newcomers else { return Err(DropReason::Unknown) };
        match newcomers.prove(id, datagram) {
            Some((handshake, welcome)) => self.promote_native(now, &handshake, welcome),
            None => Err(newcomers.stray(now, from, id, datagram.len())),
        }
    }

    /// A stranger showed that it has the key: it gets a seat, and its own packet brings what it has for its join.
    fn promote_native(
        &mut self,
        now: Time,
        handshake: &ServerHandshake,
        welcome: Welcome,
    ) -> Result<usize, DropReason> {
        // Its handshake may have begun while there was room. What is not answered here times out there.
        if self.peers.len() >= self.max_slots() {
            return Err(DropReason::Full);
        }
        let connection = Connection::native_accepted(now, self.settings.clone(), handshake, welcome);
        let connection = connection.map_err(|_| DropReason::Forged)?;
        let slot = self.seat(now, handshake.address, connection);
        self.touched(now, slot);
        Ok(slot)
    }

    /// A client that has proven a new address is found there from now on.
    fn follow(&mut self, now: Time, slot: usize) {
        let Some(peer) = self.peers.at(slot) else { return };
        let remote = peer.connection.remote();
        if remote == peer.address {
            return;
        }
        let (old, token) = (std::mem::replace(&mut peer.address, remote), peer.connection.token());
        peer.migrations += 1;
        self.stats.migrations += 1;
        let text = format!("from {old}");
        self.access(now, crate::server::access_log::AccessEvent::Move, remote, Some(token), &text);
    }

    /// Hellos of the native wire, a few per turn.
    pub(super) fn work_native(&mut self, now: Time) {
        let clock_us = now.since(self.started).as_micros() as u64;
        let announced = Announced { tick: self.tick.0, clock_us };
        let peers = &self.peers;
        let Some(newcomers) = &mut self.newcomers else { return };
        self.stats.handshake_timeouts += newcomers.handle_timeout(now);
        let free = |token, id| !peers.has_token(token) && peers.slot_of_connection(id).is_none();
        self.stats.drops[DropReason::Hello as usize] += newcomers.work(now, announced, free);
    }

    /// A tick begins.
    pub fn note_tick(&mut self, now: Time, tick: u64) {
        self.tick = (tick, now);
    }

    /// A native connection's packet may carry the tick and the clock.
    pub(super) fn announce_tick(&mut self, now: Time, slot: usize) {
        let (tick, started) = (self.tick, self.started);
        let peer = self.peers.at(slot).and_then(|p| p.connection.as_native_mut());
        if let Some(native) = peer.filter(|n| n.wants_tick(now)) {
            native.set_tick(tick.0, tick.1, started);
        }
    }

    /// Whether the datagram that was given last must not be fragmented: it asks whether the path carries it.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }
}
