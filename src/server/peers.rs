//! The table of peers: slots, ids that are never reused, and who sits at which address.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::series::Series;
use crate::net::prefetch::prefetch;
use crate::protocol::connection::Connection;
use crate::protocol::time::Time;
use crate::server::events::{DisconnectInfo, PeerId, Status};
use crate::server::send_rate::SendRate;

/// Bits of an id that hold the slot; the rest is a serial number of the whole process.
const SLOT_BITS: u32 = 24;

/// Serial numbers of peers, of all servers of the process. 2^40 of them last for centuries.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A peer as the server holds it.
pub struct Peer {
    /// Its id.
    pub id: PeerId,
    /// Where its datagrams come from.
    pub address: SocketAddr,
    /// The protocol.
    pub connection: Connection,
    /// Times that its address changed.
    pub migrations: u64,
    /// When it proved itself.
    pub since: Time,
    /// Where it stands, for the host.
    pub status: Status,
    /// The host's own value.
    pub user_data: usize,
    /// Whether the host still may ask about it: until its disconnect event has been handled.
    pub visible: bool,
    /// What the disconnect event is to say, where the host or the server ended it.
    pub ending: Option<Box<DisconnectInfo>>,
    /// The earliest timer that stands in the heap for it.
    pub armed: Option<Time>,
    /// Whether the event queue holds a `writable` of it.
    pub writable_waits: bool,
    /// Of a stream: whether it is on the list of those to be served, and of those that wait for room in the event queue.
    pub stream_listed: bool,
    /// See `stream_listed`.
    pub stream_waits: bool,
    /// Whether it is on the list of those that may have something to send.
    pub dirty: bool,
    /// Per-second series, where the host asked for them.
    pub series: Option<Box<Series>>,
    /// Whether what it brings to its join is known.
    pub join_known: bool,
    /// Until when a decision about it must be made, while it is joining.
    pub join_deadline: Option<Time>,
    /// What it may be sent, where the configuration limits that.
    pub send_rate: Option<SendRate>,
    /// Whether it waits for its turn under the server's send rate.
    pub waits_for_turn: bool,
}

impl Peer {
    /// What is known of it is needed.
    pub fn prefetch(&self) {
        if let Some(native) = self.connection.as_native() {
            prefetch(native);
        }
    }

    /// Whether it has proved itself, and its JOIN has not come.
    pub fn is_unknown(&self) -> bool {
        self.status == Status::Joining && !self.join_known
    }
}

/// Hashes connection ids, which the server draws at random: they are as good as their hashes, and who asks for others finds
/// nothing and changes nothing.
#[derive(Default)]
struct DrawnHasher(u64);

impl Hasher for DrawnHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u32(&mut self, id: u32) {
        // The table takes its place from the low bits and a mark from the highest.
        self.0 = u64::from(id) << 32 | u64::from(id);
    }
}

/// The peers of one server.
#[derive(Default)]
pub struct Peers {
    slots: Vec<Option<Box<Peer>>>,
    free: Vec<usize>,
    by_address: HashMap<SocketAddr, usize>,
    by_connection: HashMap<u32, usize, BuildHasherDefault<DrawnHasher>>,
    tokens: HashSet<u32>,
    seated: usize,
    joining: usize,
    /// Of those, whose JOIN has not come; and each that ever was one, oldest first, until it is found to be none.
    unknown: usize,
    unknown_since: VecDeque<PeerId>,
}

impl Peers {
    /// Peers that have a place: that are connected, that end once what is queued is delivered, or about which
    /// nothing is decided yet.
    pub fn seated(&self) -> usize {
        self.seated
    }

    /// Those about which nothing is decided yet.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// Those whose JOIN has not come. They take no place from anybody: all that they have shown is a handshake.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// What a joining peer brings is known. Whether it was before.
    pub fn joins(&mut self, slot: usize) -> bool {
        let Some(peer) = self.at(slot).filter(|p| p.status == Status::Joining) else { return true };
        let known = std::mem::replace(&mut peer.join_known, true);
        self.unknown -= usize::from(!known);
        known
    }

    /// Whoever's JOIN has been missing for longest.
    pub fn oldest_unknown(&mut self) -> Option<usize> {
        while let Some(id) = self.unknown_since.front().copied() {
            match self.get(id) {
                Some(peer) if peer.is_unknown() => return self.slot_of(id),
                _ => self.unknown_since.pop_front(),
            };
        }
        None
    }

    /// All slots in use, those included that only say goodbye.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots that were ever in use: those in use have numbers below it.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token is in use.
    pub fn has_token(&self, token: u32) -> bool {
        self.tokens.contains(&token)
    }

    /// A new peer, which is joining until [`accepted`](Self::accepted). Whoever sat at the address before must have been [`unseat`](Self::unseat)ed.
    pub fn insert(&mut self, address: SocketAddr, connection: Connection) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        debug_assert!(slot < 1 << SLOT_BITS, "the configuration bounds peers below this");
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = PeerId(serial << SLOT_BITS | slot as u64);
        self.tokens.insert(connection.token());
        match &connection {
            Connection::Native(native) => self.by_connection.insert(native.connection_id(), slot),
            Connection::Mpgameserver(..) => self.by_address.insert(address, slot),
            // Its pipe finds it. A port of TCP is not the same port of UDP.
            Connection::Stream(..) => None,
        };
        self.seated += 1;
        self.joining += 1;
        self.unknown += 1;
        let peer = Peer {
            id,
            address,
            connection,
            migrations: 0,
            since: Time::default(),
            status: Status::Joining,
            user_data: 0,
            visible: true,
            ending: None,
            armed: None,
            writable_waits: false,
            stream_listed: false,
            stream_waits: false,
            dirty: false,
            series: None,
            join_known: false,
            join_deadline: None,
            send_rate: None,
            waits_for_turn: false,
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(peer));
        }
        self.unknown_since.push_back(id);
        if self.unknown_since.len() > 2 * self.unknown + 64 {
            let mut list = std::mem::take(&mut self.unknown_since);
            list.retain(|id| self.get(*id).is_some_and(Peer::is_unknown));
            self.unknown_since = list;
        }
        slot
    }

    /// The peer of a slot.
    pub fn at(&mut self, slot: usize) -> Option<&mut Peer> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    /// Somebody's turn is soon: with thousands of peers what is known of each is far from the processor otherwise.
    pub fn prefetch(&self, slot: usize) {
        if let Some(Some(peer)) = self.slots.get(slot) {
            peer.prefetch();
        }
    }

    /// The slot of a native connection's id.
    pub fn slot_of_connection(&self, id: u32) -> Option<usize> {
        self.by_connection.get(&id).copied()
    }

    /// The slot of an address of mpgameserver's wire; on the native one, ids find their peers.
    pub fn slot_at(&self, address: &SocketAddr) -> Option<usize> {
        self.by_address.get(address).copied()
    }

    /// Whether a peer that counts sits at an address: one that has not ended.
    pub fn is_live_at(&self, address: &SocketAddr) -> bool {
        let peer = self.slot_at(address).and_then(|slot| self.slots.get(slot)?.as_deref());
        peer.is_some_and(|p| p.status.is_seated())
    }

    /// The slot that an id was given for. Another peer may be in it since.
    pub fn place_of(id: PeerId) -> usize {
        (id.0 & ((1 << SLOT_BITS) - 1)) as usize
    }

    /// The slot of an id that the host gave.
    pub fn slot_of(&self, id: PeerId) -> Option<usize> {
        let slot = Peers::place_of(id);
        let peer = self.slots.get(slot)?.as_deref()?;
        (peer.id == id && peer.visible).then_some(slot)
    }

    /// The peer of an id that the host gave.
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slot_of(id).and_then(|slot| self.slots.get(slot)?.as_deref())
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slot_of(id).and_then(|slot| self.at(slot))
    }

    /// Slots in use.
    pub fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().enumerate().filter_map(|(slot, peer)| peer.is_some().then_some(slot))
    }

    /// The address of a slot's peer.
    pub fn address_of(&self, slot: usize) -> Option<SocketAddr> {
        self.slots.get(slot)?.as_deref().map(|p| p.address)
    }

    /// Peers in use.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().filter_map(|p| p.as_deref())
    }

    /// The timers that stand: when, and whose.
    pub fn armed(&self) -> impl Iterator<Item = (Time, PeerId)> + '_ {
        self.iter().filter_map(|p| Some((p.armed?, p.id)))
    }

    /// The peer ended: it no longer counts, and its token is free.
    pub fn ended(&mut self, slot: usize, status: Status) {
        let Some(peer) = self.at(slot) else { return };
        if peer.status.is_seated() {
            let unknown = peer.is_unknown();
            let joining = std::mem::replace(&mut peer.status, status) == Status::Joining;
            let token = peer.connection.token();
            self.tokens.remove(&token);
            self.seated -= 1;
            self.joining -= usize::from(joining);
            self.unknown -= usize::from(unknown);
        }
    }

    /// A joining peer was let in.
    pub fn accepted(&mut self, slot: usize) {
        let Some(peer) = self.at(slot).filter(|p| p.status == Status::Joining) else { return };
        let unknown = !peer.join_known;
        peer.status = Status::Connected;
        peer.join_known = true;
        peer.join_deadline = None;
        self.joining -= 1;
        self.unknown -= usize::from(unknown);
    }

    /// The address belongs to somebody else from now on.
    pub fn unseat(&mut self, slot: usize) {
        let Some(address) = self.at(slot).map(|p| p.address) else { return };
        if self.by_address.get(&address) == Some(&slot) {
            self.by_address.remove(&address);
        }
    }

    /// Frees a slot.
    pub fn remove(&mut self, slot: usize) {
        self.unseat(slot);
        if let Some(id) = self.at(slot).and_then(|p| p.connection.as_native()).map(|n| n.connection_id()) {
            self.by_connection.remove(&id);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            if place.take().is_some() {
                self.free.push(slot);
            }
        }
    }
}
