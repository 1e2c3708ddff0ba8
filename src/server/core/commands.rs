//! What the host asks of the core: commands and getters. None of it calls the host.

use super::{Completion, Core};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::series::{Second, Series};
use crate::metrics::server::ServerStats;
use crate::protocol::connection::Settings;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;
use crate::server::access_log::AccessLog;
use crate::server::block_list::BlockList;
use crate::server::config;
use crate::server::events::*;
use crate::server::peers::{Peer, Peers};
use crate::server::send_refused::send_refused;

impl Core {
    // --- commands -------------------------------------------------------------------------------------

    pub(super) fn live(&mut self, id: PeerId) -> Result<&mut Peer> {
        let peer = self.peers.get_mut(id);
        peer.ok_or_else(|| Error::new(ErrorKind::Stale, format!("{id:?} is no peer of this server now")))
    }

    /// See [`crate::Server::send`].
    /// The callback stays with the caller when this fails, to be dropped without the lock: its drop may be
    /// code of the host's that calls in here.
    pub fn send(&mut self, now: Time, id: PeerId, payload: Payload, options: &mut SendOptions) -> Result<()> {
        let pulls = options.on_sent.is_none() && options.tag.is_some();
        if pulls && self.wants.queue == 0 {
            return Err(Error::new(ErrorKind::State, "a tag needs an event queue (max_queued_events)"));
        }
        if pulls && self.pulled.len() >= self.wants.queue {
            return Err(Error::new(ErrorKind::WouldBlock, "the event queue is full: take events first"));
        }
        let delivery = options.delivery()?;
        let tag = if pulls || options.on_sent.is_some() { self.next_tag } else { 0 };
        let len = payload.len();
        self.foresee(Peers::place_of(id));
        let peer = self.live(id)?;
        if peer.status == Status::Joining {
            return Err(Error::new(ErrorKind::State, format!("{id:?} was not let in yet")));
        }
        let sent = peer.connection.send_content(now, payload, options.content.take(), delivery, tag);
        sent.map_err(|error| {
            let limits = &self.settings.limits;
            let who = format_args!("{id:?}");
            send_refused(error, &who, ErrorKind::Stale, len, limits, limits.max_message)
        })?;
        if tag != 0 {
            let callback = options.on_sent.take().map(Completion::Callback);
            if let Some(completion) = callback.or(options.tag.map(Completion::Tag)) {
                self.completions.insert(tag, completion);
                self.next_tag += 1;
            }
        }
        self.touched(now, Peers::place_of(id));
        Ok(())
    }

    /// A host that sends to one after the other goes on with the next, mostly.
    fn foresee(&mut self, slot: usize) {
        let last = std::mem::replace(&mut self.sent_to, slot);
        if slot == last + 1 {
            self.peers.prefetch(slot + 1);
        }
    }

    /// A copy of what is to be sent, short enough to be made while the core is locked, in memory that is used again.
    pub fn copy(&mut self, data: &[u8]) -> Payload {
        self.payloads.copy(data)
    }

    /// See [`crate::Server::disconnect`].
    pub fn disconnect(
        &mut self,
        now: Time,
        id: PeerId,
        info: DisconnectInfo,
        after_delivery: bool,
    ) -> Result<()> {
        let peer = self.live(id)?;
        if peer.status == Status::Joining {
            return self.refuse_peer(now, id, info.wire_code(), &info.text);
        }
        if !peer.status.is_seated() {
            return Err(Error::new(ErrorKind::Stale, format!("{id:?} has disconnected already")));
        }
        if after_delivery {
            self.say_last_of_files(now, id);
        }
        let peer = self.live(id)?;
        peer.connection.close(now, after_delivery, info.farewell());
        peer.ending = Some(Box::new(info));
        peer.status = Status::Disconnecting;
        if let Some(slot) = self.peers.slot_of(id) {
            self.touched(now, slot);
        }
        Ok(())
    }

    /// Refuses newcomers and ends everybody.
    pub fn close(&mut self, now: Time) {
        self.closing = true;
        self.admission.forget(|_| true);
        self.newcomers.iter_mut().for_each(|n| n.forget(|_| true));
        let slots: Vec<usize> = self.peers.slots().collect();
        for slot in slots {
            if self.peers.at(slot).is_some_and(|p| p.status.is_seated()) {
                self.end(now, slot, DisconnectReason::Shutdown, "the server stopped");
            }
        }
    }

    /// Now and then: the access log may have something to tell.
    pub fn housekeeping(&mut self, now: Time) {
        if let Some(Err(error)) = self.access_log.as_mut().map(|log| log.tick(now)) {
            self.log(LogLevel::Error, format!("access log: {error}"));
        }
        self.expire_files(now);
    }

    /// See [`crate::Server::set_block_list`].
    pub fn set_block_list(&mut self, now: Time, list: BlockList) {
        self.block_list = list;
        self.heed_block_list(now);
    }

    /// See [`crate::Server::block`].
    pub fn block(&mut self, now: Time, address: std::net::IpAddr) {
        self.block_list.insert(address);
        self.heed_block_list(now);
    }

    /// Ends whoever is on the list now.
    fn heed_block_list(&mut self, now: Time) {
        let blocked: Vec<usize> = self
            .peers
            .slots()
            .filter(|slot| self.peers.address_of(*slot).is_some_and(|a| self.block_list.contains(a.ip())))
            .collect();
        for slot in blocked {
            self.end(now, slot, DisconnectReason::Blocked, "the address was blocked");
        }
        let list = &self.block_list;
        self.admission.forget(|address| list.contains(address));
        self.newcomers.iter_mut().for_each(|n| n.forget(|from| list.contains(from.ip())));
    }

    // --- getters --------------------------------------------------------------------------------------

    /// All connected peers.
    pub fn peers(&self) -> Vec<PeerId> {
        let connected =
            |p: &&Peer| matches!(p.status, Status::Connected | Status::Disconnecting) && p.visible;
        self.peers.iter().filter(connected).map(|p| p.id).collect()
    }

    /// Whether somebody is still being told that it has ended.
    pub fn has_farewells(&self) -> bool {
        !self.peers.is_empty()
    }

    /// See [`crate::Server::peer_info`].
    pub fn peer_info(&mut self, id: PeerId) -> Result<PeerInfo> {
        let peer = self.live(id)?;
        Ok(PeerInfo {
            address: peer.address,
            token: peer.connection.token(),
            status: peer.status,
            latency: peer.connection.latency(),
            queued_bytes: peer.connection.queued_bytes(),
            queued_messages: peer.connection.queued_messages() as u32,
            stats: peer.connection.stats(),
            wire: peer.connection.wire(),
            door: peer.connection.door(),
            migrations: peer.migrations,
        })
    }

    /// See [`crate::Server::user_data`].
    pub fn user_data(&mut self, id: PeerId) -> Result<&mut usize> {
        self.live(id).map(|p| &mut p.user_data)
    }

    /// See [`crate::Server::set_redundancy`].
    pub fn set_redundancy(&mut self, id: PeerId, copies: u8) -> Result<()> {
        config::redundancy(copies)?;
        self.live(id)?.connection.set_redundancy(copies);
        Ok(())
    }

    /// See [`crate::Server::set_peer_series`].
    pub fn set_peer_series(&mut self, now: Time, id: PeerId, on: bool) -> Result<()> {
        let peer = self.live(id)?;
        if on != peer.series.is_some() {
            peer.series = on.then(|| Box::new(Series::new(now)));
        }
        Ok(())
    }

    /// See [`crate::Server::peer_series`].
    pub fn peer_series(&mut self, now: Time, id: PeerId) -> Result<Vec<Second>> {
        let series = self.live(id)?.series.as_ref();
        let none = || Error::new(ErrorKind::State, format!("no series are kept for {id:?}: set_peer_series"));
        Ok(series.ok_or_else(none)?.snapshot(now))
    }

    /// See [`crate::Server::stats`]; the loop adds its own.
    pub fn stats(&self) -> ServerStats {
        let suppressed = self.access_log.as_ref().map_or(0, AccessLog::suppressed);
        ServerStats {
            peers: (self.peers.seated() - self.peers.joining()) as u32,
            joining: self.peers.joining() as u32,
            handshakes: (self.admission.len() + self.newcomers.as_ref().map_or(0, |n| n.len())) as u32,
            log_lines_suppressed: self.stats.log_lines_suppressed + suppressed,
            ..self.stats.clone()
        }
    }

    /// See [`crate::Server::series`].
    pub fn series(&self, now: Time) -> Vec<Second> {
        self.series.snapshot(now)
    }

    /// The bounds that connections were given.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
