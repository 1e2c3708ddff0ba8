//! Between the proof and the connect event: the password, and the host's decision.
//!
//! A client that proved itself gets a seat (`Core::seat`) and is *joining*: it counts, it has an id, and
//! what it sends is left unacknowledged. When what it brings to its join is known (`Core::join`: at once on
//! mpgameserver's wire, which has nothing) the password is checked and the host is asked. Whoever is refused, or
//! leaves first, was never connected: no event tells of it.

use std::net::SocketAddr;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::server::access_log::AccessEvent;
use crate::server::budget::Rate;
use crate::server::events::*;

/// Passwords that one source (an IPv4 address or an IPv6 /64) may try: so many at once, and then per second
/// on average. Above it everybody from there is refused without a comparison. Right ones cost nothing.
pub const PASSWORD_GUESSES_PER_SOURCE: Rate = Rate { hz: 0.2, burst: 10.0 };
/// The same for all sources together, far above what people mistype.
pub const PASSWORD_GUESSES_TOTAL: Rate = Rate { hz: 10_000.0, burst: 10_000.0 };

/// What a client brings to its join.
#[derive(Clone, Copy, Debug, Default)]
pub struct Join<'a> {
    /// The password, where it gave one.
    pub password: Option<&'a [u8]>,
    /// A ticket or whatever else it has for the host.
    pub data: &'a [u8],
}

/// Why a client does not come in.
type Refusal = (u32, &'static str);

impl Core {
    /// Gives a client that proved itself a slot, in which it is joining. The seat is lost when
    /// `authorise_timeout` passes before [`accept_peer`](Self::accept_peer).
    pub(super) fn seat(&mut self, now: Time, address: SocketAddr, connection: Connection) -> usize {
        let full = self.closing || self.full();
        if self.peers.joining() >= self.max_joining || self.peers.len() >= self.max_slots() {
            self.forget_oldest_unknown();
        }
        let busy = self.peers.joining() >= self.max_joining;
        let slot = self.peers.insert(address, connection);
        let deadline = now + self.authorise_timeout;
        if let Some(peer) = self.peers.at(slot) {
            peer.join_deadline = Some(deadline);
            peer.since = now;
            peer.send_rate = self.rates.of_a_peer(now);
        }
        // It has passed the handshake, so it can be told.
        if full {
            self.drop_datagram(crate::metrics::server::DropReason::Full);
            self.turn_away(now, slot, refusal::FULL, "the server is full");
        } else if busy {
            self.turn_away(now, slot, refusal::BUSY, "too many clients wait for a decision");
        }
        slot
    }

    /// A client brings its JOIN in the packet that proves it, or soon after. Where there is no room for more that have
    /// not, the oldest of them goes, without a word: it has said none either.
    fn forget_oldest_unknown(&mut self) {
        if let Some(slot) = self.peers.oldest_unknown() {
            self.forget_unknown(slot);
        }
    }

    pub(super) fn forget_unknown(&mut self, slot: usize) {
        let id = self.peers.at(slot).map(|peer| peer.id);
        self.peers.ended(slot, Status::Dropped);
        self.stats.refusals += 1;
        self.vacate(slot);
        // At a door for plain files a transfer began with the connection.
        if let Some(id) = id {
            self.close_files(id);
        }
    }

    /// What a seated client brings is known: it is let in, refused, or the host is asked.
    pub(super) fn join(&mut self, now: Time, slot: usize, join: Join<'_>) {
        let asks = self.asks_about_joins();
        // Whoever repeats itself is asked about once.
        if self.peers.joins(slot) {
            return;
        }
        let Some(peer) = self.peers.at(slot) else { return };
        let (id, address, token) = (peer.id, peer.address, peer.connection.token());
        let (wire, door) = (peer.connection.wire(), peer.connection.door());
        let password = match self.check_password_of(now, address, join.password) {
            Ok(given) => given,
            // This wire has no way to give one: where the host decides about everybody, it decides here too.
            Err(_) if wire == Wire::Mpgameserver && asks => false,
            Err((code, text)) => return self.turn_away(now, slot, code, text),
        };
        // Others may have come in since it proved itself.
        if self.peers.seated() - self.peers.unknown() > self.max_peers {
            return self.turn_away(now, slot, refusal::FULL, "the server is full");
        }
        if asks {
            let data = join.data.to_vec();
            self.emit(Event::Authorise(id, JoinRequest { address, token, wire, door, password, data }));
        } else {
            self.let_in(now, slot);
        }
    }

    /// Whether the host decides about everybody.
    fn asks_about_joins(&self) -> bool {
        self.wants.takes.authorise || self.authorise
    }

    /// Whether a client may come in with this password, or without one: as far as that decides.
    pub fn check_password(&self, given: Option<&[u8]>) -> bool {
        match (&self.password, given) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(password), Some(guess)) => password.is(guess),
        }
    }

    /// Whether a right password was given; or why the client may not come in.
    pub(super) fn check_password_of(
        &mut self,
        now: Time,
        address: SocketAddr,
        given: Option<&[u8]>,
    ) -> std::result::Result<bool, Refusal> {
        if self.password.is_none() {
            return Ok(false);
        }
        if given.is_none() {
            return Err((refusal::PASSWORD_WANTED, "a password is wanted"));
        }
        if !self.guesses.take(now, address.ip()) {
            return Err((refusal::TOO_MANY_GUESSES, "too many guesses"));
        }
        if !self.check_password(given) {
            return Err((refusal::PASSWORD_WRONG, "the password is wrong"));
        }
        self.guesses.give_back(address.ip());
        Ok(true)
    }

    /// A joining client is connected from now on.
    fn let_in(&mut self, now: Time, slot: usize) {
        let Some(peer) = self.peers.at(slot).filter(|p| p.status == Status::Joining) else { return };
        let (id, address, token) = (peer.id, peer.address, peer.connection.token());
        let door = peer.connection.door();
        peer.connection.accept(now);
        self.peers.accepted(slot);
        self.stats.connects += 1;
        self.access(now, AccessEvent::Connect, address, Some(token), "");
        self.emit(Event::Connect(id, ConnectInfo { address, token, door }));
        self.let_stream_in(now, slot);
        self.touched(now, slot);
    }

    /// A joining client is told to go.
    pub(super) fn turn_away(&mut self, now: Time, slot: usize, code: u32, text: &str) {
        let Some(peer) = self.peers.at(slot).filter(|p| p.status == Status::Joining) else { return };
        let info = DisconnectInfo::new(DisconnectReason::Refused, text).with_code(code);
        peer.connection.close(now, false, info.farewell());
        peer.ending = Some(Box::new(info));
        self.touched(now, slot);
    }

    /// A joining client's connection ended: the host never heard that it connected, and its id is stale.
    pub(super) fn joining_ended(&mut self, now: Time, slot: usize, status: Status, why: &str) {
        self.peers.ended(slot, status);
        let Some(peer) = self.peers.at(slot) else { return };
        peer.visible = false;
        let (address, token) = (peer.address, peer.connection.token());
        self.stats.refusals += 1;
        self.access(now, AccessEvent::Refuse, address, Some(token), why);
    }

    /// Whether a decision about a peer is still to be made.
    pub fn is_joining(&self, id: PeerId) -> bool {
        self.peers.get(id).is_some_and(|p| p.status == Status::Joining)
    }

    fn joining_slot(&self, id: PeerId) -> Result<usize> {
        let slot = self.peers.slot_of(id);
        let peer = self.peers.get(id).filter(|p| p.status.is_seated());
        match (slot, peer) {
            (Some(slot), Some(peer)) if peer.status == Status::Joining => Ok(slot),
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::State, format!("{id:?} was let in already"))),
            _ => Err(Error::new(ErrorKind::Stale, format!("{id:?} is no client that waits for a decision"))),
        }
    }

    /// See [`crate::Server::accept`].
    pub fn accept_peer(&mut self, now: Time, id: PeerId) -> Result<()> {
        let slot = self.joining_slot(id)?;
        self.let_in(now, slot);
        Ok(())
    }

    /// See [`crate::Server::refuse`].
    pub fn refuse_peer(&mut self, now: Time, id: PeerId, code: u32, text: &str) -> Result<()> {
        let slot = self.joining_slot(id)?;
        self.turn_away(now, slot, code, text);
        Ok(())
    }

    /// What the host's handler said. Between the question and this the client may have gone.
    pub fn decided(&mut self, now: Time, id: PeerId, decision: Decision) {
        let _gone = match decision {
            Decision::Accept => self.accept_peer(now, id),
            Decision::Refuse { code, text } => self.refuse_peer(now, id, code, &text),
            Decision::Later => Ok(()),
        };
    }
}
