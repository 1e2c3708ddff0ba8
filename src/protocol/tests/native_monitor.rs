//! Watches the native wire between two ends with the keys of the connection, and notes what no end may ever do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use super::network::Side;
use super::pair::START;
use crate::protocol::ack_ranges::{Urgency, LAZY_ACK_DELAY};
use crate::protocol::connection::native::MAX_GOODBYES;
use crate::protocol::crypto::Traffic;
use crate::protocol::delivery::{Mode, Part};
use crate::protocol::handshake::native::{packet, Secrets, HELLO_LEN, RESET_LEN};
use crate::protocol::rtt::MAX_ACK_DELAY;
use crate::protocol::time::Time;
use crate::protocol::wire::native::{
    self as wire, open, widen, AckFrame, DataHeader, Frame, Frames, PacketKey, BASE_DATAGRAM, NUMBER_WINDOW,
};

/// Violations kept: the first ones tell.
const MAX_VIOLATIONS: usize = 20;
/// Datagrams that carry nothing but acknowledgements may be as many as those that came, and so many more.
const SPARE_ACKS: u64 = 16;
/// Numbers around the newest in which a genuine packet must open.
const NEAR: u64 = 100;

/// Numbers, as disjoint ranges.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Whether `n` is new.
    fn insert(&mut self, n: u64) -> bool {
        let below = self.0.range(..=n).next_back().map(|(low, high)| (*low, *high));
        if below.is_some_and(|(_, high)| high >= n) {
            return false;
        }
        let low = below.filter(|(_, high)| high + 1 == n).map_or(n, |(low, _)| low);
        let high = self.0.remove(&(n + 1)).unwrap_or(n);
        self.0.insert(low, high);
        true
    }

    fn covers(&self, low: u64, high: u64) -> bool {
        self.0.range(..=low).next_back().is_some_and(|(_, end)| *end >= high)
    }
}

/// One direction's keys, phase by phase.
struct Phases {
    keys: Vec<PacketKey>,
    next: Traffic,
}

impl Phases {
    fn new(secret: [u8; 32]) -> Phases {
        let mut phases = Phases { keys: Vec::new(), next: Traffic::new(secret) };
        phases.extend();
        phases.extend();
        phases
    }

    fn extend(&mut self) {
        self.keys.push(PacketKey::new(&self.next).expect("a key"));
        self.next = self.next.next().expect("a secret");
    }

    /// Opens a packet of the newest phase, or of one after it.
    fn open(&mut self, datagram: &[u8], header: &DataHeader) -> Option<Vec<u8>> {
        for phase in [self.keys.len() - 2, self.keys.len() - 1] {
            if (phase % 2 == 1) != header.phase {
                continue;
            }
            let mut copy = datagram.to_vec();
            if let Ok(frames) = open(&mut copy, header, &self.keys[phase]) {
                let frames = frames.to_vec();
                if phase + 1 == self.keys.len() {
                    self.extend();
                }
                return Some(frames);
            }
        }
        None
    }
}

/// What was sent in one direction, and what the other end took of it.
#[derive(Default)]
struct Way {
    sent: u64,
    /// Of each datagram its number, by its bytes.
    genuine: HashMap<u64, u64>,
    urgency: HashMap<u64, Urgency>,
    asked: Option<Time>,
    goodbyes: u32,
    acks_only: u64,
    messages: HashMap<u64, u64>,
    newest_message: u64,
    fragments: HashMap<(u16, u16), u64>,
    probes: HashMap<u64, usize>,
    /// Largest datagram that is known to arrive.
    proven: usize,
    // The other end's:
    seen: Ranges,
    taken: Ranges,
    newest_taken: u64,
    taken_count: u64,
    /// Since when an acknowledgement is due at the latest.
    owed: Option<Time>,
}

/// What an end knows when it sends.
pub struct Facts {
    pub is_probe: bool,
    /// The window lets no messages go.
    pub held_back: bool,
    /// The connection's end, where there is one yet.
    pub known_size: Option<usize>,
}

/// A sequenced message that left: by whom, its channel, its first bytes.
pub type Sequenced = (Side, u8, Vec<u8>);

#[derive(Default)]
pub struct NativeMonitor {
    /// Nothing is watched unless a test wants it.
    pub on: bool,
    /// What the newest handshake agreed on.
    pub secrets: Option<Secrets>,
    phases: Option<[Phases; 2]>,
    ways: [Way; 2],
    /// Bytes that came from an address, and that went there before it was proven.
    credit: HashMap<SocketAddr, (u64, u64)>,
    proven: HashSet<SocketAddr>,
    challenges: HashMap<SocketAddr, HashSet<[u8; 8]>>,
    responses: HashMap<u64, [u8; 8]>,
    /// Where the server's answer went: the first packet under its keys proves that it arrived there.
    welcomed: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// Packets under one key, where they are few.
    pub key_life: Option<u64>,
    pub sequenced: Vec<Sequenced>,
    pub moves: u32,
    pub phase_count: usize,
    /// What went wrong, oldest first.
    pub violations: Vec<String>,
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl NativeMonitor {
    pub fn violation(&mut self, now: Time, text: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!("at {:?}: {text}", now.since(START)));
        }
    }

    /// A handshake was accepted.
    pub fn learn(&mut self, secrets: &Secrets, address: SocketAddr) {
        self.secrets = Some(secrets.clone());
        self.phases = Some([Phases::new(secrets.to_server), Phases::new(secrets.to_client)]);
        self.ways = Default::default();
        self.remote = None;
        self.welcomed = Some(address);
    }

    /// A datagram that the server answers or takes came from `from`.
    pub fn credit(&mut self, from: SocketAddr, bytes: usize) {
        self.credit.entry(from).or_default().0 += bytes as u64;
    }

    /// `side` sends a datagram to `to`.
    pub fn on_sent(&mut self, now: Time, side: Side, to: SocketAddr, datagram: &[u8], facts: &Facts) {
        if !self.on {
            return;
        }
        if side == Side::Server && !self.proven.contains(&to) {
            let (came, went) = self.credit.entry(to).or_default();
            *went += datagram.len() as u64;
            // Before a connection not more than came; afterwards three times.
            let times = if wire::is_data(datagram) { 3 } else { 1 };
            if *went > *came * times {
                let text = format!("{went} bytes to an unproven address, {came} came from there");
                self.violation(now, text);
            }
        }
        let checked = if wire::is_data(datagram) {
            self.check_data(now, side, to, datagram, facts)
        } else {
            check_long(side, datagram)
        };
        if let Err(text) = checked {
            self.violation(now, format!("{side:?} sent: {text}"));
        }
    }

    fn check_data(
        &mut self,
        now: Time,
        side: Side,
        to: SocketAddr,
        datagram: &[u8],
        facts: &Facts,
    ) -> Result<(), String> {
        let way = &mut self.ways[side as usize];
        let number = way.sent + 1;
        let header = DataHeader::parse(datagram, side == Side::Client, way.sent)
            .ok_or("a header that nobody reads")?;
        if header.number != number {
            return Err(format!("packet {} instead of {number}", header.number));
        }
        let phases = self.phases.as_mut().ok_or("data before a handshake")?;
        let payload =
            phases[side as usize].open(datagram, &header).ok_or("a number twice, or under another key")?;
        self.phase_count = phases.iter().map(|p| p.keys.len() - 2).sum();
        way.sent = number;
        way.genuine.insert(hash_of(datagram), number);
        let mut sent = Sent::default();
        for frame in Frames::new(&payload) {
            let frame = frame.map_err(|_| "a frame that nobody reads")?;
            match &frame {
                Frame::PathChallenge(data) => {
                    self.challenges.entry(to).or_default().insert(*data);
                }
                Frame::PathResponse(data) => {
                    self.responses.insert(number, *data);
                }
                Frame::Message(m) if m.mode == Mode::Sequenced && m.part.is_none() => {
                    self.sequenced.push((side, m.channel, m.data.to_vec()));
                }
                _ => {}
            }
            self.check_frame(side, &frame, &mut sent)?;
        }
        let way = &mut self.ways[side as usize];
        way.urgency.insert(number, sent.urgency);
        if sent.urgency > Urgency::None {
            way.asked = Some(now);
        }
        if facts.held_back && sent.messages > 0 {
            return Err("messages though the window is full".into());
        }
        self.check_size(side, datagram, facts)?;
        self.check_chatter(side, &sent)
    }

    fn check_size(&mut self, side: Side, datagram: &[u8], facts: &Facts) -> Result<(), String> {
        let way = &mut self.ways[side as usize];
        if facts.is_probe {
            way.probes.insert(way.sent, datagram.len());
            return Ok(());
        }
        let known = facts.known_size.unwrap_or(BASE_DATAGRAM);
        if known > way.proven.max(BASE_DATAGRAM) {
            return Err(format!(
                "believes in {known} bytes, but no probe has shown more than {}",
                way.proven
            ));
        }
        if datagram.len() > known {
            return Err(format!("{} bytes, but {known} are known to arrive", datagram.len()));
        }
        Ok(())
    }

    fn check_chatter(&mut self, side: Side, sent: &Sent) -> Result<(), String> {
        let took = self.ways[side.other() as usize].taken_count;
        if sent.acks > 0 {
            self.ways[side.other() as usize].owed = None;
        }
        let way = &mut self.ways[side as usize];
        way.goodbyes += u32::from(sent.is_goodbye);
        if way.goodbyes > MAX_GOODBYES {
            return Err(format!("{} goodbyes", way.goodbyes));
        }
        if sent.acks > 1 {
            return Err(format!("{} acknowledgements in a packet", sent.acks));
        }
        if sent.frames == sent.acks {
            way.acks_only += 1;
            if way.acks_only > took + SPARE_ACKS {
                return Err(format!("{} acknowledgements of {took} packets", way.acks_only));
            }
        }
        Ok(())
    }

    fn check_frame(&mut self, side: Side, frame: &Frame<'_>, sent: &mut Sent) -> Result<(), String> {
        sent.frames += 1;
        let urgency = match frame {
            Frame::Ack(ack) => {
                sent.acks += 1;
                self.ways[side.other() as usize].check_ack(ack)?;
                Urgency::None
            }
            Frame::Message(m) => {
                sent.messages += 1;
                let number = if m.mode.is_resent() { Some(m.number) } else { None };
                if let Some(number) = number {
                    let content = (m.mode as u8, m.channel, m.sequence, m.part.map(as_tuple), m.data);
                    let way = &mut self.ways[side as usize];
                    let number = way.check_number(number, hash(content))?;
                    if !sent.numbers.insert(number) {
                        return Err(format!("message {number} twice in a packet"));
                    }
                    if let Some(part) = m.part {
                        way.check_fragment(number, part)?;
                    }
                    Urgency::Prompt
                } else {
                    Urgency::Lazy
                }
            }
            Frame::Ping | Frame::PathChallenge(_) | Frame::Join(..) | Frame::Accept => Urgency::Prompt,
            Frame::Close(..) => {
                sent.is_goodbye = true;
                Urgency::None
            }
            Frame::Closed | Frame::PathResponse(_) | Frame::Time(..) => Urgency::None,
        };
        sent.urgency = sent.urgency.max(urgency);
        Ok(())
    }

    /// `side` took a datagram from `from`; `refused`: but not all of its messages. `live`: the connection goes on.
    pub fn on_taken(
        &mut self,
        now: Time,
        side: Side,
        from: SocketAddr,
        datagram: &[u8],
        refused: bool,
        live: bool,
    ) {
        if !self.on || !wire::is_data(datagram) {
            return;
        }
        if side == Side::Server {
            self.credit(from, datagram.len());
            if self.remote.is_none() {
                self.remote = self.welcomed;
                self.proven.extend(self.welcomed);
            }
        }
        let way = &mut self.ways[side.other() as usize];
        let Some(number) = way.genuine.get(&hash_of(datagram)).copied() else {
            return self.violation(now, format!("{side:?} took a datagram that nobody sent"));
        };
        if let (Side::Server, Some(data)) = (side, self.responses.get(&number)) {
            if self.challenges.get(&from).is_some_and(|c| c.contains(data)) {
                self.proven.insert(from);
            }
        }
        way.taken_count += 1;
        way.newest_taken = way.newest_taken.max(number);
        if let Some(size) = way.probes.get(&number) {
            way.proven = way.proven.max(*size);
        }
        if !way.seen.insert(number) {
            return self.violation(now, format!("{side:?} took packet {number} twice"));
        }
        if refused || !live {
            return;
        }
        way.taken.insert(number);
        let longest = match way.urgency.get(&number) {
            Some(Urgency::Prompt) => MAX_ACK_DELAY,
            Some(Urgency::Lazy) => LAZY_ACK_DELAY,
            _ => return,
        };
        let due = now + longest;
        way.owed = Some(way.owed.map_or(due, |owed| owed.min(due)));
    }

    /// `side` threw a datagram away as forged.
    pub fn on_forged(&mut self, now: Time, side: Side, datagram: &[u8]) {
        let way = &self.ways[side.other() as usize];
        let Some(number) = way.genuine.get(&hash_of(datagram)).copied().filter(|_| self.on) else { return };
        // What is newer can always be read; what is late, while the key before is kept.
        let near = self.key_life.map_or(NEAR, |every| every.min(NEAR));
        if number + near > way.newest_taken {
            self.violation(
                now,
                format!("{side:?} took packet {number} for forged, after {}", way.newest_taken),
            );
        }
    }

    /// `side`, connected, has drained its outputs. `remote` is where a server sends.
    pub fn on_flushed(&mut self, now: Time, side: Side, timeout: Duration, remote: SocketAddr) {
        if !self.on {
            return;
        }
        if side == Side::Server && self.remote.is_some_and(|known| known != remote) {
            self.remote = Some(remote);
            self.moves += 1;
            if !self.proven.contains(&remote) {
                self.violation(now, format!("the server went over to {remote}, which has proven nothing"));
            }
            self.proven = HashSet::from([remote]);
            // Nothing is known of the new path.
            self.ways[Side::Server as usize].proven = 0;
        }
        let owed = self.ways[side.other() as usize].owed;
        if owed.is_some_and(|owed| owed < now) {
            self.ways[side.other() as usize].owed = None;
            self.violation(now, format!("{side:?} owes an acknowledgement"));
        }
        let asked = self.ways[side as usize].asked;
        let most = (timeout / 5).min(Duration::from_secs(1)) + Duration::from_millis(2);
        if side == Side::Client && asked.is_some_and(|asked| now.since(asked) > most) {
            self.ways[side as usize].asked = Some(now);
            self.violation(now, format!("{side:?} gives no sign of life"));
        }
    }

    /// An end stood still, or begins to: what it owes is excused.
    pub fn excuse(&mut self, now: Time, side: Side) {
        self.ways[side.other() as usize].owed = None;
        self.ways[side as usize].asked = self.ways[side as usize].asked.map(|_| now);
    }

    /// Packets that `side` sent on the connection.
    pub fn sent(&self, side: Side) -> u64 {
        self.ways[side as usize].sent
    }
}

fn as_tuple(part: Part) -> (u16, u16, u16) {
    (part.id, part.index, part.count)
}

fn hash(content: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

fn check_long(side: Side, datagram: &[u8]) -> Result<(), String> {
    match (side, datagram.first()) {
        (Side::Client, Some(&packet::HELLO)) if datagram.len() == HELLO_LEN => Ok(()),
        (Side::Server, Some(&(packet::COOKIE | packet::WELCOME))) if datagram.len() < HELLO_LEN => Ok(()),
        (Side::Server, Some(&packet::RESET)) if datagram.len() == RESET_LEN => Ok(()),
        (_, first) => Err(format!("{} bytes of type {first:?}", datagram.len())),
    }
}

/// What is in a packet.
#[derive(Default)]
struct Sent {
    urgency: Urgency,
    frames: u32,
    acks: u32,
    messages: u32,
    is_goodbye: bool,
    numbers: HashSet<u64>,
}

impl Way {
    /// An acknowledgement of what goes this way.
    fn check_ack(&self, ack: &AckFrame<'_>) -> Result<(), String> {
        let largest = widen(u64::from(ack.largest), 16, self.newest_taken).ok_or("ack of nothing")?;
        for (low, high) in ack.ranges(largest) {
            if !self.taken.covers(low, high) {
                return Err(format!("acknowledges {low} to {high}, not all of which it took"));
            }
        }
        Ok(())
    }

    fn check_number(&mut self, low: u16, hash: u64) -> Result<u64, String> {
        let number = widen(u64::from(low), 16, self.newest_message + 1).ok_or("message number 0")?;
        if number + NUMBER_WINDOW <= self.newest_message {
            return Err(format!("message {number}, {} behind", self.newest_message - number));
        }
        self.newest_message = self.newest_message.max(number);
        if *self.messages.entry(number).or_insert(hash) != hash {
            return Err(format!("message {number} with two bodies"));
        }
        Ok(number)
    }

    fn check_fragment(&mut self, number: u64, part: Part) -> Result<(), String> {
        let first = *self.fragments.entry((part.id, part.index)).or_insert(number);
        // Ids go round after 65535 messages in parts: none of these runs has so many.
        if first != number {
            return Err(format!("fragment {part:?} as {first} and as {number}"));
        }
        Ok(())
    }
}
