//! Groups of peers, and messages to many.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::connection::{SendError, State};
use crate::protocol::delivery::{Delivery, QueueError};
use crate::protocol::time::Time;
use crate::server::events::*;

/// The group of all connected peers, which nobody joins or leaves.
pub const EVERYBODY: u32 = 0;
/// Groups of a server at most; one without members is none.
pub const MAX_GROUPS: usize = 65_536;
/// Groups that one peer is in at most.
pub const MAX_GROUPS_PER_PEER: usize = 64;

/// Who is in which group.
#[derive(Debug, Default)]
pub struct Groups {
    /// Ordered, so that the order of sending is that of joining the server.
    members: HashMap<u32, BTreeSet<PeerId>>,
    of: HashMap<PeerId, Vec<u32>>,
}

impl Groups {
    fn add(&mut self, peer: PeerId, group: u32) -> Result<()> {
        let mine = self.of.get(&peer).map_or(&[][..], Vec::as_slice);
        if mine.contains(&group) {
            return Ok(());
        }
        if mine.len() >= MAX_GROUPS_PER_PEER {
            let text = format!("{peer:?} is in {MAX_GROUPS_PER_PEER} groups already");
            return Err(Error::new(ErrorKind::WouldBlock, text));
        }
        if !self.members.contains_key(&group) && self.members.len() >= MAX_GROUPS {
            let text = format!("the server has {MAX_GROUPS} groups already");
            return Err(Error::new(ErrorKind::WouldBlock, text));
        }
        self.members.entry(group).or_default().insert(peer);
        self.of.entry(peer).or_default().push(group);
        Ok(())
    }

    /// Whether it was in it.
    fn remove(&mut self, peer: PeerId, group: u32) -> bool {
        let Some(mine) = self.of.get_mut(&peer) else { return false };
        let Some(at) = mine.iter().position(|g| *g == group) else { return false };
        mine.swap_remove(at);
        if mine.is_empty() {
            self.of.remove(&peer);
        }
        self.leave(peer, group);
        true
    }

    fn leave(&mut self, peer: PeerId, group: u32) {
        if let Some(members) = self.members.get_mut(&group) {
            members.remove(&peer);
            if members.is_empty() {
                self.members.remove(&group);
            }
        }
    }

    /// A peer ended, and so did its memberships.
    pub fn forget(&mut self, peer: PeerId) {
        for group in self.of.remove(&peer).unwrap_or_default() {
            self.leave(peer, group);
        }
    }

    /// All memberships, for the books of tests.
    #[cfg(test)]
    pub fn all(&self) -> Vec<(u32, PeerId)> {
        let pairs = |(group, peers): (&u32, &BTreeSet<PeerId>)| peers.iter().map(|p| (*group, *p)).collect();
        let all: Vec<(u32, PeerId)> = self.members.iter().flat_map::<Vec<_>, _>(pairs).collect();
        assert_eq!(all.len(), self.of.values().map(Vec::len).sum::<usize>());
        all
    }
}

impl Core {
    /// See [`crate::Server::group_add`].
    pub fn group_add(&mut self, id: PeerId, group: u32) -> Result<()> {
        if group == EVERYBODY {
            return Err(Error::new(ErrorKind::Argument, "group 0 is everybody: nobody is added to it"));
        }
        let ended = |id| Error::new(ErrorKind::Stale, format!("{id:?} is no peer that groups can have"));
        let peer = self.peers.get(id).filter(|p| p.status.is_seated()).ok_or_else(|| ended(id))?;
        self.groups.add(peer.id, group)
    }

    /// See [`crate::Server::group_remove`].
    pub fn group_remove(&mut self, id: PeerId, group: u32) -> Result<bool> {
        self.live(id)?;
        Ok(self.groups.remove(id, group))
    }

    /// See [`crate::Server::group_send`].
    pub fn group_send(
        &mut self,
        now: Time,
        group: u32,
        except: Option<PeerId>,
        payload: &Arc<[u8]>,
        delivery: impl Into<Delivery>,
    ) -> Result<Reach> {
        let delivery = delivery.into();
        if payload.len() > self.settings.limits.max_message {
            return Err(Error::new(ErrorKind::TooLarge, "the message is longer than max_message_size"));
        }
        let slots: Vec<usize> = match group {
            EVERYBODY => self.peers.slots().collect(),
            group => {
                let members = self.groups.members.get(&group).into_iter().flatten();
                members.filter_map(|id| self.peers.slot_of(*id)).collect()
            }
        };
        let mut reach = Reach::default();
        for slot in slots {
            let Some(peer) = self.peers.at(slot) else { continue };
            let takes = peer.status == Status::Connected && peer.connection.state() == State::Connected;
            if Some(peer.id) == except || !takes {
                continue;
            }
            match peer.connection.send(now, payload.clone(), delivery, 0) {
                Ok(()) => {
                    reach.sent += 1;
                    self.touched(now, slot);
                }
                // Nor does it reach who is on a wire without such a mode, or in whose framing it cannot be told.
                Err(SendError::Queue(QueueError::Full) | SendError::Unsupported | SendError::Framing(_)) => {
                    reach.refused += 1
                }
                // What is too large for one is too large for all, and was refused above.
                Err(SendError::Queue(QueueError::TooLarge) | SendError::NotConnected) => {}
            }
        }
        Ok(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_so_many_groups() {
        let mut groups = Groups::default();
        for n in 0..MAX_GROUPS as u32 {
            let peer = PeerId::from_bits(u64::from(n) / MAX_GROUPS_PER_PEER as u64 + 1);
            groups.add(peer, n + 1).unwrap();
        }
        let (first, new) = (PeerId::from_bits(1), PeerId::from_bits(1 << 40));
        let refused = groups.add(new, u32::MAX).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        groups.add(new, 1).unwrap();
        assert!(groups.remove(first, 2) && !groups.remove(first, 2));
        groups.add(new, u32::MAX).unwrap();
        for peer in 1..=MAX_GROUPS as u64 {
            groups.forget(PeerId::from_bits(peer));
        }
        assert_eq!(groups.all().len(), 2);
        groups.forget(new);
        assert!(groups.all().is_empty() && groups.members.is_empty() && groups.of.is_empty());
    }
}
