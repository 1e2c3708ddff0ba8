//! Bad networks between the core and its socket, for whoever wants to know how a game plays on one.
//!
//! They lie outside: a datagram counts as received when its link lets it go, and as sent when it goes into one.
//! Everybody shares the link that the server was given, as one line into a house; a peer with conditions
//! of its own has a link of its own instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::conditions::{Conditions, Direction, Link, LinkStats};
use crate::protocol::connection::Farewell;
use crate::protocol::time::Time;
use crate::protocol::wire::native as native_wire;
use crate::server::events::PeerId;

/// Datagrams that links let go in one turn of the loop at most; the others follow in the next turn, which
/// comes at once. As many as a turn reads from the socket.
const RELEASED_PER_TURN: usize = 1024;
/// Datagrams that links let go for each that comes in: itself and its copy.
const RELEASED_PER_DATAGRAM: usize = 2;

/// Whose link: a peer's own, or the one of everybody else.
type Owner = Option<PeerId>;

/// The links of a server.
#[derive(Default)]
pub(super) struct Simulated {
    receive: Links,
    send: Links,
}

/// Those of one direction.
#[derive(Default)]
struct Links {
    links: BTreeMap<Owner, Simulation>,
    /// When each link lets go of something next.
    due: BTreeSet<(Time, Owner)>,
}

struct Simulation {
    link: Link<SocketAddr>,
    /// Whether new datagrams take it; else it is there for what is still under way.
    on: bool,
}

impl Links {
    fn set(&mut self, owner: Owner, conditions: Option<Conditions>) {
        let Some(conditions) = conditions else { return self.end(owner) };
        match self.links.get_mut(&owner) {
            Some(simulation) => {
                simulation.link.set_conditions(conditions);
                simulation.on = true;
            }
            None => _ = self.links.insert(owner, Simulation { link: Link::new(conditions), on: true }),
        }
    }

    fn end(&mut self, owner: Owner) {
        let Some(simulation) = self.links.get_mut(&owner) else { return };
        simulation.on = false;
        if simulation.link.poll_timeout().is_none() {
            self.links.remove(&owner);
        }
    }

    /// Takes a datagram unless nothing is simulated for its peer.
    fn push(&mut self, now: Time, peer: Owner, datagram: &[u8], address: SocketAddr) -> bool {
        let is_on = |owner: &Owner| self.links.get(owner).is_some_and(|s| s.on);
        let Some(owner) = [peer, None].into_iter().find(is_on) else { return false };
        let Some(simulation) = self.links.get_mut(&owner) else { return false };
        let before = simulation.link.poll_timeout();
        simulation.link.push(now, datagram, address);
        let after = simulation.link.poll_timeout();
        self.rearm(owner, before, after);
        true
    }

    fn poll(&mut self, now: Time) -> Option<(Vec<u8>, SocketAddr)> {
        let &(at, owner) = self.due.first()?;
        if at > now {
            return None;
        }
        let simulation = self.links.get_mut(&owner)?;
        let next = simulation.link.poll(now);
        let after = simulation.link.poll_timeout();
        if after.is_none() && !simulation.on {
            self.links.remove(&owner);
        }
        self.rearm(owner, Some(at), after);
        next
    }

    fn rearm(&mut self, owner: Owner, before: Option<Time>, after: Option<Time>) {
        if before != after {
            before.map(|at| self.due.remove(&(at, owner)));
            after.map(|at| self.due.insert((at, owner)));
        }
    }
}

impl Simulated {
    fn of(&mut self, direction: Direction) -> &mut Links {
        match direction {
            Direction::Receive => &mut self.receive,
            Direction::Send => &mut self.send,
        }
    }

    /// When a link lets go of something.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        [&self.receive, &self.send].into_iter().filter_map(|links| links.due.first()).map(|(at, _)| *at).min()
    }

    fn is_over(&self) -> bool {
        self.receive.links.is_empty() && self.send.links.is_empty()
    }
}

impl Core {
    /// See [`crate::Server::simulate`].
    pub fn simulate(&mut self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        self.set_conditions(None, direction, conditions)
    }

    /// See [`crate::Server::simulate_peer`].
    pub fn simulate_peer(
        &mut self,
        id: PeerId,
        direction: Direction,
        conditions: Option<Conditions>,
    ) -> Result<()> {
        if self.peers.get(id).is_none() {
            return Err(Error::new(ErrorKind::Stale, format!("{id:?} is no peer of this server now")));
        }
        self.set_conditions(Some(id), direction, conditions)
    }

    /// See [`crate::Server::link_stats`].
    pub fn link_stats(&self, peer: Option<PeerId>, direction: Direction) -> Option<LinkStats> {
        let simulated = self.simulated.as_ref()?;
        let links = match direction {
            Direction::Receive => &simulated.receive,
            Direction::Send => &simulated.send,
        };
        links.links.get(&peer).filter(|s| s.on).map(|s| s.link.stats())
    }

    fn set_conditions(
        &mut self,
        owner: Owner,
        direction: Direction,
        conditions: Option<Conditions>,
    ) -> Result<()> {
        let conditions = conditions.map(|c| c.for_direction(direction)).transpose();
        let conditions = conditions.map_err(|text| Error::new(ErrorKind::Argument, text))?;
        self.simulated.get_or_insert_default().of(direction).set(owner, conditions);
        self.end_simulation();
        Ok(())
    }

    /// Without links there is nothing to ask for any more.
    fn end_simulation(&mut self) {
        if self.simulated.as_ref().is_some_and(|s| s.is_over()) {
            self.simulated = None;
        }
    }

    /// The peer whose conditions hold for a datagram from an address.
    fn owner_of(&mut self, from: SocketAddr, datagram: &[u8]) -> Owner {
        let native = native_wire::connection_id(datagram);
        let slot =
            native.map_or_else(|| self.peers.slot_at(&from), |id| self.peers.slot_of_connection(id))?;
        self.peers.at(slot).map(|p| p.id)
    }

    /// A datagram came out of the socket, and a link may lie before it.
    pub(super) fn receive_simulated(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        let owner = self.owner_of(from, datagram);
        let taken = self.simulated.as_mut().is_some_and(|s| s.receive.push(now, owner, datagram, from));
        if taken {
            self.release(now, RELEASED_PER_DATAGRAM);
        } else {
            self.receive(now, from, datagram);
        }
    }

    /// Time passed: what has come to the end of its link is received.
    pub(super) fn receive_held(&mut self, now: Time) {
        if self.simulated.is_some() {
            self.release(now, RELEASED_PER_TURN);
        }
    }

    fn release(&mut self, now: Time, most: usize) {
        for _ in 0..most {
            let next = self.simulated.as_mut().and_then(|s| s.receive.poll(now));
            let Some((mut datagram, from)) = next else { break };
            self.receive(now, from, &mut datagram);
        }
        self.end_simulation();
    }

    /// As `poll_transmit`, with links before the socket.
    pub(super) fn transmit_simulated(&mut self, now: Time, out: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            if let Some((datagram, to)) = self.simulated.as_mut().and_then(|s| s.send.poll(now)) {
                out.clear();
                out.extend_from_slice(&datagram);
                return Some(to);
            }
            self.end_simulation();
            let to = self.next_datagram(now, out)?;
            let owner = self.sent_by.and_then(|slot| self.peers.at(slot)).map(|p| p.id);
            if !self.simulated.as_mut().is_some_and(|s| s.send.push(now, owner, out, to)) {
                return Some(to);
            }
        }
    }

    /// Frees a peer's slot. Its links take nothing more, and end when they are empty.
    pub(super) fn vacate(&mut self, slot: usize) {
        if let Some(simulated) = &mut self.simulated {
            let owner = self.peers.at(slot).map(|p| p.id);
            // The one without an owner is everybody's.
            if owner.is_some() {
                simulated.receive.end(owner);
                simulated.send.end(owner);
            }
        }
        self.count_departed(slot);
        self.end_stream(slot, &Farewell::default());
        self.peers.remove(slot);
        self.end_simulation();
    }
}
