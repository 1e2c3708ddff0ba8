//! Groups of peers, and messages to many.

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::connection::{SendError, State};
use crate::protocol::delivery::{Delivery, QueueError};
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;
use crate::server::events::*;

/// Bytes of a group's name at most, in UTF-8; a longer one is refused. It bounds what names take: 4 MiB.
pub const MAX_GROUP_NAME_BYTES: usize = 64;
/// Groups of a server at most; one without members is none.
pub const MAX_GROUPS: usize = 65_536;
/// Groups that one peer is in at most.
pub const MAX_GROUPS_PER_PEER: usize = 64;

/// Who is in which group.
#[derive(Debug, Default)]
pub struct Groups {
    /// Ordered, so that the order of sending is that of joining the server.
    members: HashMap<Arc<str>, BTreeSet<PeerId>>,
    /// The names are those of `members`: each is held once.
    of: HashMap<PeerId, Vec<Arc<str>>>,
}

/// Whether a text can be a group's name.
fn check_name(group: &str) -> Result<()> {
    let wrong = |text: String| Err(Error::new(ErrorKind::Argument, text));
    match group.len() {
        0 => wrong("a group has a name: it is empty".into()),
        1..=MAX_GROUP_NAME_BYTES if group.contains('\0') => wrong("a group's name has a NUL in it".into()),
        1..=MAX_GROUP_NAME_BYTES => Ok(()),
        len => wrong(format!("a group's name has {len} bytes, allowed are {MAX_GROUP_NAME_BYTES}")),
    }
}

impl Groups {
    fn add(&mut self, group: &str, peer: PeerId) -> Result<()> {
        let mine = self.of.get(&peer).map_or(&[][..], Vec::as_slice);
        if mine.iter().any(|name| **name == *group) {
            return Ok(());
        }
        if mine.len() >= MAX_GROUPS_PER_PEER {
            let text = format!("{peer:?} is in {MAX_GROUPS_PER_PEER} groups already");
            return Err(Error::new(ErrorKind::WouldBlock, text));
        }
        let name = match self.members.get_key_value(group) {
            Some((name, _)) => name.clone(),
            None if self.members.len() >= MAX_GROUPS => {
                let text = format!("the server has {MAX_GROUPS} groups already");
                return Err(Error::new(ErrorKind::WouldBlock, text));
            }
            None => Arc::from(group),
        };
        self.members.entry(name.clone()).or_default().insert(peer);
        self.of.entry(peer).or_default().push(name);
        Ok(())
    }

    /// Whether it was in it.
    fn remove(&mut self, group: &str, peer: PeerId) -> bool {
        let Some(mine) = self.of.get_mut(&peer) else { return false };
        let Some(at) = mine.iter().position(|name| **name == *group) else { return false };
        mine.swap_remove(at);
        if mine.is_empty() {
            self.of.remove(&peer);
        }
        self.leave(group, peer);
        true
    }

    fn leave(&mut self, group: &str, peer: PeerId) {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(&peer);
            if members.is_empty() {
                self.members.remove(group);
            }
        }
    }

    /// A peer ended, and so did its memberships.
    pub fn forget(&mut self, peer: PeerId) {
        for group in self.of.remove(&peer).unwrap_or_default() {
            self.leave(&group, peer);
        }
    }

    /// All memberships, for the books of tests.
    #[cfg(test)]
    pub fn all(&self) -> Vec<(Arc<str>, PeerId)> {
        let pairs = |(group, peers): (&Arc<str>, &BTreeSet<PeerId>)| {
            peers.iter().map(|p| (group.clone(), *p)).collect()
        };
        let all: Vec<(Arc<str>, PeerId)> = self.members.iter().flat_map::<Vec<_>, _>(pairs).collect();
        assert_eq!(all.len(), self.of.values().map(Vec::len).sum::<usize>());
        all
    }
}

impl Core {
    /// See [`crate::Server::group_add`].
    pub fn group_add(&mut self, group: &str, id: PeerId) -> Result<()> {
        check_name(group)?;
        let ended = |id| Error::new(ErrorKind::Stale, format!("{id:?} is no peer that groups can have"));
        let peer = self.peers.get(id).filter(|p| p.status.is_seated()).ok_or_else(|| ended(id))?;
        self.groups.add(group, peer.id)
    }

    /// See [`crate::Server::group_remove`].
    pub fn group_remove(&mut self, group: &str, id: PeerId) -> Result<bool> {
        check_name(group)?;
        self.live(id)?;
        Ok(self.groups.remove(group, id))
    }

    /// See [`crate::Server::group_send`].
    pub fn group_send(
        &mut self,
        now: Time,
        group: &str,
        except: Option<PeerId>,
        payload: &Payload,
        delivery: impl Into<Delivery>,
    ) -> Result<Reach> {
        check_name(group)?;
        self.check_length(payload)?;
        let mut slots = mem::take(&mut self.recipients);
        let members = self.groups.members.get(group).into_iter().flatten();
        slots.extend(members.filter_map(|id| self.peers.slot_of(*id)));
        Ok(self.send_to_slots(now, slots, except, payload, delivery.into()))
    }

    /// See [`crate::Server::broadcast`].
    pub fn broadcast(
        &mut self,
        now: Time,
        except: Option<PeerId>,
        payload: &Payload,
        delivery: impl Into<Delivery>,
    ) -> Result<Reach> {
        self.check_length(payload)?;
        let mut slots = mem::take(&mut self.recipients);
        slots.extend(self.peers.slots());
        Ok(self.send_to_slots(now, slots, except, payload, delivery.into()))
    }

    /// What is too large for one is too large for all.
    fn check_length(&self, payload: &[u8]) -> Result<()> {
        if payload.len() <= self.settings.limits.max_message {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, "the message is longer than max_message_size"))
    }

    /// Queues a message for the peers at `slots`, and keeps the list's memory for the next one.
    fn send_to_slots(
        &mut self,
        now: Time,
        mut slots: Vec<usize>,
        except: Option<PeerId>,
        payload: &Payload,
        delivery: Delivery,
    ) -> Reach {
        let mut reach = Reach::default();
        for slot in slots.drain(..) {
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
                // Too large was refused before.
                Err(SendError::Queue(QueueError::TooLarge) | SendError::NotConnected) => {}
            }
        }
        self.recipients = slots;
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_so_many_groups() {
        let mut groups = Groups::default();
        for n in 0..MAX_GROUPS {
            let peer = PeerId::from_bits((n / MAX_GROUPS_PER_PEER) as u64 + 1);
            groups.add(&format!("room {n}"), peer).unwrap();
        }
        let (first, new) = (PeerId::from_bits(1), PeerId::from_bits(1 << 40));
        let refused = groups.add("one more", new).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        groups.add("room 0", new).unwrap();
        assert!(groups.remove("room 1", first) && !groups.remove("room 1", first));
        groups.add("one more", new).unwrap();
        for peer in 1..=MAX_GROUPS as u64 {
            groups.forget(PeerId::from_bits(peer));
        }
        assert_eq!(groups.all().len(), 2);
        groups.forget(new);
        assert!(groups.all().is_empty() && groups.members.is_empty() && groups.of.is_empty());
    }

    #[test]
    fn a_name_has_so_many_bytes() {
        let longest = "é".repeat(MAX_GROUP_NAME_BYTES / 2);
        assert_eq!(longest.len(), MAX_GROUP_NAME_BYTES);
        for good in ["a", " ", "2 red/дверь", &longest] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a\0b", &format!("{longest}a")] {
            let refused = check_name(bad).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Argument, "{bad:?}");
            assert!(refused.to_string().contains("name"), "{refused}");
        }
    }

    #[test]
    fn a_name_is_held_once() {
        let mut groups = Groups::default();
        for peer in 1..=3 {
            groups.add("red", PeerId::from_bits(peer)).unwrap();
        }
        let (name, _) = groups.members.get_key_value("red").unwrap();
        assert_eq!(Arc::strong_count(name), 4);
    }
}
