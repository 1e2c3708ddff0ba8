//! The delivery engine's sending half: queues, delivery modes, fragments, acknowledgements, completions.
//!
//! It knows messages and packets by 64-bit numbers and leaves bytes to the wire: [`Sender::assemble`] says
//! what goes into the next packet, [`Sender::on_ack`] what has arrived. A message travels as one or more
//! *pieces*; a piece keeps its number through all its copies, so that the receiver can tell them.
//!
//! One engine, two wires: what they do not have in common is in [`Sizes`], and in [`Recovery`].

mod assemble;
mod fleeting;
mod loss;
mod messages;
mod recovery;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::mutant;
use super::payload::Payload;
use super::rtt::Rtt;
use super::sizes::{Cut, Sizes};
use super::time::Time;
use assemble::piece_range;
pub use assemble::Offer;
use fleeting::Fleeting;
use messages::{Deadlines, Lazy, Messages, Numbers};
pub use recovery::Recovery;
use recovery::{LongPackets, Lossiness, Reordering};

/// A packet is taken for lost when one this much newer was acknowledged (RFC 9002).
pub const PACKET_THRESHOLD: u64 = 3;
/// Packets remembered for their acknowledgement at most; above it nothing but keep-alives leaves.
pub const MAX_SENT_PACKETS: usize = 4096;
/// How often the retransmission timeout doubles.
const MAX_BACKOFF: u32 = 3;
/// What a message costs in a packet beside its body, to tell whether a packet's worth waits.
const MESSAGE_COST: usize = 5;
/// What a short message takes in a packet of its own, beside its body.
const SHORT_COST: usize = 48;
/// How many priorities there are.
const PRIORITIES: usize = 4;
/// Short and long messages of each.
const RESEND_CLASSES: usize = 2 * PRIORITIES;
/// Longest message that is sent again before anybody knows of a loss; redundancy asked for a longer one is passed over.
pub const MAX_ECHO_BYTES: usize = 512;
/// Bytes of such copies in one packet, at most.
pub const ECHO_BYTES_PER_PACKET: usize = 512;
/// When copies leave in a packet of their own if no other does before.
pub const ECHO_DELAY: Duration = Duration::from_millis(20);

/// How a message is delivered. The numbers are those of the native wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Sent once: arrives at most once, in any order.
    #[default]
    Once = 0,
    /// Sent once, in a channel where newer messages drop older ones.
    Sequenced = 1,
    /// Resent until acknowledged or until its deadline: arrives at most once.
    BestEffort = 2,
    /// Resent until acknowledged: arrives exactly once while the connection lives, in any order.
    Guaranteed = 3,
    /// As guaranteed, and held back until all older messages of its channel are there.
    Ordered = 4,
    /// As ordered, in an order of its own: what the two ends say to each other about files. No host's message has it.
    Files = 5,
}

impl Mode {
    /// Whether it is sent again until acknowledged.
    pub fn is_resent(self) -> bool {
        matches!(self, Mode::BestEffort | Mode::Guaranteed | Mode::Ordered | Mode::Files)
    }

    /// Whether it is held back until older ones of its channel are there.
    pub fn is_ordered(self) -> bool {
        matches!(self, Mode::Ordered | Mode::Files)
    }

    /// Whose order it is in: files have channels of their own.
    pub(crate) fn lane(self, channel: u8) -> u16 {
        u16::from(channel) | if self == Mode::Files { 0x100 } else { 0 }
    }
}

/// Which of the messages that wait goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// Before all others.
    Urgent = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// After those.
    Low = 2,
    /// When nothing else waits: transfers.
    Bulk = 3,
}

/// All that a message's sender can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// How it is delivered.
    pub mode: Mode,
    /// The channel of sequenced and ordered messages: each has an order of its own.
    pub channel: u8,
    /// When it goes.
    pub priority: Priority,
    /// After this it is given up if it is neither guaranteed nor ordered; `None`: the message timeout.
    pub deadline: Option<Duration>,
    /// How many packets beside the first carry a copy of a short message that is resent, before anybody knows of a loss.
    pub redundancy: u8,
}

impl From<Mode> for Delivery {
    fn from(mode: Mode) -> Delivery {
        Delivery { mode, ..Delivery::default() }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was acknowledged.
    Delivered,
    /// The message timeout came first.
    Expired,
    /// The connection's end came first.
    Cancelled,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// The queue is at its bound; [`Sender::take_writable`] tells when it has room.
    Full,
    /// It is longer than the configured maximum.
    TooLarge,
}

/// Bounds and times of the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What fits where.
    pub sizes: Sizes,
    /// The longest silence that the connection keeps.
    pub keep_alive: Duration,
    /// When an unacknowledged packet is given up, and a message that has no other deadline.
    pub message_timeout: Duration,
    /// Messages queued and unacknowledged at most.
    pub max_messages: usize,
    /// Bytes of the same; one message is always taken.
    pub max_bytes: usize,
    /// Longest message.
    pub max_message: usize,
}

/// A piece chosen for a packet.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Type of the message, as the wire numbers them.
    pub kind: u8,
    /// How it is delivered.
    pub mode: Mode,
    /// Its channel.
    pub channel: u8,
    /// Its place among its channel's ordered messages, from 1.
    pub sequence: u64,
    /// The piece's number; 0 on a wire where messages that are sent once have none.
    pub number: u64,
    /// Where it stands in its message, of a message in several pieces.
    pub fragment: Option<Part>,
    payload: Payload,
    range: Range<usize>,
}

/// A piece's place in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The counter of fragmented messages, from 1, on the ring of 65535.
    pub id: u16,
    /// From 0.
    pub index: u16,
    /// In all.
    pub count: u16,
}

impl Planned {
    /// The bytes.
    pub fn data(&self) -> &[u8] {
        self.payload.get(self.range.clone()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Message {
    id: u64,
    payload: Payload,
    delivery: Delivery,
    kind: u8,
    tag: u64,
    fragment_id: u16,
    /// When its first fragment left, as a place among all messages in parts.
    begun: u64,
    pieces: u16,
    cut: Cut,
    sequence: u64,
    sent: u16,
    unresolved: u16,
    counted: usize,
}

#[derive(Debug)]
struct Piece {
    message: u64,
    index: u16,
    first_packet: u64,
    last_packet: u64,
}

#[derive(Clone, Copy, Debug)]
enum PieceRef {
    /// A piece that can be sent again.
    Numbered(u64),
    /// A piece of a message that is sent once but wants to know its outcome.
    Once(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketState {
    UnderWay,
    Lost,
    Acked,
}

#[derive(Debug)]
struct SentPacket {
    number: u64,
    at: Time,
    state: PacketState,
    /// Bytes of the whole datagram.
    bytes: u32,
    rate: recovery::Rate,
    /// Where its pieces are among those of all packets, and how many it has.
    pieces_at: u64,
    pieces: u16,
    /// Whether one of them is sent again if it is lost.
    resent: bool,
}

/// One channel's ordered messages: one at a time is in the queues, since none can be delivered before those ahead of it. What
/// overtook them would fill the receiver's memory, and keep out what it waits for.
#[derive(Debug, Default)]
struct Channel {
    /// How many were queued so far.
    count: u64,
    /// Whether one of them is in the queues, with pieces that were not sent yet.
    busy: bool,
    /// Those that come after it.
    waiting: VecDeque<u64>,
}

/// A copy that rides with later packets, unasked.
#[derive(Clone, Copy, Debug)]
struct Echo {
    number: u64,
    left: u8,
    /// The packet that carried the piece last.
    packet: u64,
}

/// Counts of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SenderStats {
    /// Pieces queued.
    pub queued: u64,
    /// Pieces sent again.
    pub resent: u64,
    /// Packets acknowledged.
    pub acked: u64,
    /// Packets given up.
    pub timeouts: u64,
    /// Packets taken for lost.
    pub lost: u64,
    /// Copies that were sent before anybody knew of a loss.
    pub echoed: u64,
}

type Queues = [[VecDeque<u64>; 2]; PRIORITIES];
type Resend = [Numbers; RESEND_CLASSES];

static NO_QUEUES: Queues = [const { [const { VecDeque::new() }; 2] }; PRIORITIES];
static NO_RESEND: Resend = [Numbers::EMPTY; RESEND_CLASSES];

/// The sending half of a connection.
#[derive(Debug)]
pub struct Sender {
    limits: Arc<Limits>,
    /// What fits where, now: a path can turn out to be wider than the least.
    sizes: Sizes,
    recovery: Recovery,
    messages: Messages,
    /// Messages with unsent pieces, by priority: those of one piece, and longer ones.
    queues: Lazy<Queues>,
    /// Messages that wait, fleeting ones included.
    waiting: usize,
    fleeting: Fleeting,
    /// Of each channel the sequenced message that waits.
    sequenced: BTreeMap<u8, u64>,
    /// Each channel's ordered messages.
    ordered: BTreeMap<u16, Channel>,
    deadlines: Deadlines,
    /// Pieces that can be resent: index 0 is number `first_piece`. At most a number window of them.
    pieces: VecDeque<Option<Piece>>,
    first_piece: u64,
    next_number: u64,
    next_fragment_id: u16,
    /// Pieces that are to be sent again, by their messages' priority and length, as [`queues`](Self::queues) are; all in the
    /// first on a wire where they go before anything else.
    resend: Lazy<Resend>,
    /// Packets in a row in which a long message waited and none of its pieces left.
    passed_over: u32,
    reordering: Reordering,
    lossiness: Lossiness,
    long_packets: LongPackets,
    /// Packets with copies of lost pieces, and the piece after the last one that had its turn.
    turns: u64,
    turn_next: u64,
    /// Messages in parts that were begun.
    begun: u64,
    echoes: VecDeque<Echo>,
    echo_due: Option<Time>,
    /// Copies of every short message that is resent, whatever it asks for itself.
    redundancy: u8,
    /// What was chosen for the packet that is about to leave.
    planned: Vec<PieceRef>,
    sent: VecDeque<SentPacket>,
    /// Their pieces, one packet's behind the other's, and the place of the first among all there ever were.
    carried: VecDeque<PieceRef>,
    carried_first: u64,
    under_way: u32,
    under_way_bytes: u64,
    /// Packets under way that carry something that is sent again.
    resent_under_way: u32,
    /// No packet with a lesser number is under way: spares looking at thousands that are lost or acknowledged.
    settled: u64,
    /// Retransmission timeouts since the last acknowledgement.
    backoff: u32,
    /// When the last probe was asked for.
    probed: Time,
    /// Packets that may leave whatever the window says: they ask for an acknowledgement that is overdue.
    probes: u8,
    largest_acked: u64,
    packets: u64,
    queued_bytes: usize,
    unsent_bytes: usize,
    /// Length of the longest message refused since the queue last told of room.
    refused: Option<usize>,
    outcomes: VecDeque<(u64, Outcome)>,
    rtt: Rtt,
    window_limited: bool,
    stats: SenderStats,
}

impl Sender {
    /// An empty one, whose first piece gets number `next_number`.
    pub fn new(limits: Arc<Limits>, recovery: Recovery, next_number: u64) -> Self {
        Sender {
            sizes: limits.sizes,
            limits,
            recovery,
            messages: Messages::default(),
            queues: Lazy::new(&NO_QUEUES),
            waiting: 0,
            fleeting: Fleeting::default(),
            sequenced: BTreeMap::new(),
            ordered: BTreeMap::new(),
            deadlines: Deadlines::default(),
            pieces: VecDeque::new(),
            first_piece: next_number,
            next_number,
            next_fragment_id: 1,
            resend: Lazy::new(&NO_RESEND),
            passed_over: 0,
            reordering: Reordering::default(),
            lossiness: Lossiness::default(),
            long_packets: LongPackets::default(),
            turns: 0,
            turn_next: 0,
            begun: 0,
            echoes: VecDeque::new(),
            echo_due: None,
            redundancy: 0,
            planned: Vec::new(),
            sent: VecDeque::new(),
            carried: VecDeque::new(),
            carried_first: 0,
            under_way: 0,
            under_way_bytes: 0,
            resent_under_way: 0,
            settled: 0,
            backoff: 0,
            probed: Time::default(),
            probes: 0,
            largest_acked: 0,
            packets: 0,
            queued_bytes: 0,
            unsent_bytes: 0,
            refused: None,
            outcomes: VecDeque::new(),
            rtt: Rtt::default(),
            window_limited: false,
            stats: SenderStats::default(),
        }
    }

    /// Payload bytes queued and not yet acknowledged (of messages sent once: not yet sent).
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Messages queued and not yet acknowledged.
    pub fn queued_messages(&self) -> usize {
        self.messages.len() + self.fleeting.len()
    }

    /// Packets neither acknowledged nor taken for lost.
    pub fn packets_under_way(&self) -> u32 {
        self.under_way
    }

    /// Packets neither acknowledged nor given up.
    pub fn pending_packets(&self) -> usize {
        self.sent.iter().filter(|p| p.state != PacketState::Acked).count()
    }

    /// The newest packet that was acknowledged.
    pub fn largest_acked(&self) -> u64 {
        self.largest_acked
    }

    /// Round trips measured.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Counts.
    pub fn stats(&self) -> &SenderStats {
        &self.stats
    }

    /// How losses are found and how much may be under way.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// For tests: messages of one piece that wait to be sent for the first time.
    #[cfg(test)]
    pub(crate) fn waiting_short(&self) -> usize {
        self.queues.iter().map(|[short, _]| short.len()).sum::<usize>() + self.fleeting.len()
    }

    /// Whether every message was resolved.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.fleeting.len() == 0
    }

    /// Takes a number for a message that the connection writes itself.
    pub fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    // --- commands -------------------------------------------------------------------------------------

    /// From now on so much fits. Messages that are queued keep their pieces.
    pub fn set_sizes(&mut self, sizes: Sizes) {
        self.sizes = sizes;
    }

    /// How many packets beside the first carry a copy of every short message that is resent.
    pub fn set_redundancy(&mut self, copies: u8) {
        self.redundancy = copies;
    }

    /// The peer has another address: what is known of the way there no longer holds.
    pub fn on_path_change(&mut self, now: Time) {
        self.rtt = Rtt::default();
        self.backoff = 0;
        self.reordering = Reordering::default();
        self.lossiness = Lossiness::default();
        self.long_packets = LongPackets::after(self.packets_end().saturating_sub(1));
        self.recovery.on_path_change(now);
    }

    /// Queues a message. `tag` other than 0 asks for an outcome, exactly one.
    pub fn queue(
        &mut self,
        now: Time,
        payload: Payload,
        delivery: Delivery,
        kind: u8,
        tag: u64,
    ) -> Result<(), QueueError> {
        let len = payload.len();
        if self.is_fleeting(len, &delivery, tag) {
            return self.queue_fleeting(now, payload, delivery);
        }
        let cut = self.sizes.cut(len).filter(|_| len <= self.limits.max_message);
        let cut = cut.ok_or(QueueError::TooLarge)?;
        let replaced = if delivery.mode == Mode::Sequenced { self.replaced(delivery.channel) } else { None };
        let (messages, bytes) = replaced.map_or((0, 0), |(_, bytes)| (1, bytes));
        self.make_room(len, self.queued_messages() - messages, self.queued_bytes - bytes)?;
        if let Some((id, _)) = replaced {
            self.replace(id);
        }
        // At most `most_fragments`.
        let pieces = cut.pieces as u16;
        let expires = match delivery.mode {
            Mode::Guaranteed | Mode::Ordered | Mode::Files => None,
            _ if mutant!(DeadlineIgnored) => None,
            _ => delivery
                .deadline
                .or_else(|| self.recovery.expires_by_age().then_some(self.limits.message_timeout))
                .map(|after| now + after),
        };
        let sequence = self.take_sequence(delivery);
        let id = self.messages.insert(Message {
            id: 0,
            payload,
            delivery,
            kind,
            tag,
            fragment_id: 0,
            begun: 0,
            pieces,
            cut,
            sequence,
            sent: 0,
            unresolved: pieces,
            counted: len,
        });
        if let Some(at) = expires {
            self.deadlines.insert(at, id);
        }
        self.queued_bytes += len;
        self.unsent_bytes += len + MESSAGE_COST * usize::from(pieces);
        self.stats.queued += u64::from(pieces);
        if delivery.mode == Mode::Sequenced {
            self.sequenced.insert(delivery.channel, id);
        }
        if delivery.mode.is_ordered() && !mutant!(OrderedOvertake) {
            let channel = self.ordered.entry(delivery.mode.lane(delivery.channel)).or_default();
            if std::mem::replace(&mut channel.busy, true) {
                channel.waiting.push_back(id);
                return Ok(());
            }
        }
        self.enqueue(id);
        Ok(())
    }

    /// Whether a message of `len` bytes may be queued beside so many messages and bytes. If not, the queue tells when it may.
    fn make_room(&mut self, len: usize, messages: usize, bytes: usize) -> Result<(), QueueError> {
        let crowded =
            messages >= self.limits.max_messages || (bytes > 0 && bytes + len > self.limits.max_bytes);
        if crowded && !mutant!(QueueUnbounded) {
            self.refused = Some(self.refused.map_or(len, |longest| longest.max(len)));
            return Err(QueueError::Full);
        }
        Ok(())
    }

    /// A message can be sent: it takes its place among those of its priority, by its age.
    fn enqueue(&mut self, id: u64) {
        let Some(message) = self.messages.get(id) else { return };
        let queue = &mut self.queues[message.delivery.priority as usize][usize::from(message.pieces > 1)];
        self.waiting += 1;
        if queue.back().is_none_or(|last| *last < id) {
            return queue.push_back(id);
        }
        let begun = queue.front().and_then(|front| self.messages.get(*front)).is_some_and(|m| m.sent > 0);
        let at = queue.partition_point(|waiting| *waiting < id).max(usize::from(begun));
        queue.insert(at, id);
    }

    /// All of an ordered message was sent: the next one of its channel may follow.
    fn release(&mut self, lane: u16) {
        let Some(channel) = self.ordered.get_mut(&lane) else { return };
        match channel.waiting.pop_front() {
            Some(id) => self.enqueue(id),
            None => channel.busy = false,
        }
    }

    fn take_sequence(&mut self, delivery: Delivery) -> u64 {
        if !delivery.mode.is_ordered() {
            return 0;
        }
        let channel = self.ordered.entry(delivery.mode.lane(delivery.channel)).or_default();
        channel.count += 1;
        channel.count
    }

    /// The message that a newer sequenced one takes the place of, and its bytes: what its channel has not sent.
    fn replaced(&self, channel: u8) -> Option<(u64, usize)> {
        let id = self.sequenced.get(&channel).filter(|_| !mutant!(SequencedKept))?;
        // What has left wholly waits for its outcome alone.
        let message = self.messages.get(*id).filter(|m| m.sent < m.pieces)?;
        Some((*id, message.counted))
    }

    fn replace(&mut self, id: u64) {
        let Some(message) = self.messages.get(id) else { return };
        let queue = &mut self.queues[message.delivery.priority as usize][usize::from(message.pieces > 1)];
        // One message per channel waits, so this moves few.
        if let Some(at) = queue.iter().rposition(|waiting| *waiting == id) {
            queue.remove(at);
            self.waiting -= 1;
        }
        self.finish(id, Outcome::Expired);
    }

    /// Whether datagrams longer than every path carries no longer arrive, though shorter ones do or nothing does. Told once.
    pub fn take_narrowed(&mut self) -> bool {
        let narrowed = self.long_packets.have_vanished() && !mutant!(NarrowPathUnseen);
        if narrowed {
            self.long_packets = LongPackets::after(self.packets_end().saturating_sub(1));
        }
        narrowed
    }

    /// Ends everything: what is left is cancelled.
    pub fn close(&mut self) {
        for message in self.messages.take() {
            if message.tag != 0 && !mutant!(CloseForgets) {
                self.outcomes.push_back((message.tag, Outcome::Cancelled));
            }
        }
        self.queues.clear();
        self.fleeting.clear();
        self.waiting = 0;
        self.sequenced = BTreeMap::new();
        self.ordered = BTreeMap::new();
        self.deadlines = Deadlines::default();
        self.first_piece = self.next_number;
        self.pieces = VecDeque::new();
        self.resend.clear();
        self.passed_over = 0;
        self.echoes = VecDeque::new();
        self.echo_due = None;
        self.sent = VecDeque::new();
        self.carried_first += self.carried.len() as u64;
        self.carried = VecDeque::new();
        self.under_way = 0;
        self.under_way_bytes = 0;
        self.resent_under_way = 0;
        self.probes = 0;
        self.queued_bytes = 0;
        self.unsent_bytes = 0;
        self.refused = None;
    }

    /// Gives back the memory that is not needed while nothing is sent.
    pub fn shrink(&mut self) {
        self.messages.shrink();
        self.deadlines.shrink();
        if self.resend_len() == 0 {
            self.resend.clear();
        }
        if self.waiting == 0 {
            self.queues.clear();
            self.fleeting.clear();
        }
        self.pieces.shrink_to_fit();
        self.sent.shrink_to_fit();
        self.carried.shrink_to_fit();
        self.outcomes.shrink_to_fit();
        self.echoes.shrink_to_fit();
        self.planned = Vec::new();
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// Whether there is an outcome, or may be room for what was refused.
    #[inline]
    pub fn has_news(&self) -> bool {
        !self.outcomes.is_empty() || self.refused.is_some()
    }

    /// The next outcome: a message's tag and what became of it.
    pub fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.pop_front()
    }

    /// Whether the queue has room again after having refused a message. Tells it once; 'room' is half of
    /// the bound, so that a host is not woken for every single message, and enough for what was refused.
    pub fn take_writable(&mut self) -> bool {
        let Some(refused) = self.refused else { return false };
        let room = self.queued_messages() <= self.limits.max_messages / 2
            && self.queued_bytes <= self.limits.max_bytes / 2
            && (self.queued_bytes == 0 || self.queued_bytes + refused <= self.limits.max_bytes);
        room && self.refused.take().is_some() && !mutant!(WritableLost)
    }

    /// Whether anything waits to be sent, whether it may leave or not.
    pub fn wants_to_send(&self) -> bool {
        self.waiting > 0 || self.echo_due.is_some() || self.resend_len() > 0
    }

    /// Whether there is something to send, and the window lets it go.
    pub fn may_send(&self, now: Time) -> bool {
        if self.sent.len() >= MAX_SENT_PACKETS || self.is_held_back() {
            return false;
        }
        self.resend_len() > 0 || (self.fresh_waits() && !self.stale(now))
    }

    /// When what waits may leave as far as the pace is concerned: the past, but for a transfer.
    pub fn paced_until(&self, now: Time) -> Time {
        if self.probes > 0 {
            return now;
        }
        self.recovery.send_at(now, self.next_bytes())
    }

    /// About how long the next packet is: a short message need not wait until the pace lets a full one go.
    fn next_bytes(&self) -> usize {
        for (priority, [short, _]) in self.queues.iter().enumerate() {
            let kept = short.front();
            let len = match self.fleeting.front(priority).filter(|(id, _)| kept.is_none_or(|kept| id < kept))
            {
                Some((_, len)) => Some(len),
                None => kept.and_then(|id| self.messages.get(*id)).map(|message| message.payload.len()),
            };
            if let Some(len) = len {
                return (len + SHORT_COST).min(self.sizes.datagram);
            }
        }
        self.sizes.datagram
    }

    /// When copies of short messages leave if no packet does before.
    pub fn echo_due(&self) -> Option<Time> {
        self.echo_due.filter(|_| !self.is_held_back() && self.sent.len() < MAX_SENT_PACKETS)
    }

    fn is_held_back(&self) -> bool {
        self.is_window_full() && self.probes == 0 && !mutant!(WindowIgnored)
    }

    /// For tests that find it stuck: what waits for what.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> String {
        let fronts: Vec<_> = self
            .queues
            .iter()
            .flatten()
            .map(|q| {
                (
                    q.len(),
                    q.front().and_then(|id| self.messages.get(*id)).map(|m| (m.sent, m.pieces, m.begun)),
                )
            })
            .collect();
        format!(
            "{} to resend, {} of {} packets ({} bytes) under way, full: {}, backoff {}, probes {}, queues {fronts:?}, pieces {}..{}",
            self.resend_len(),
            self.under_way,
            self.sent.len(),
            self.under_way_bytes,
            self.is_window_full(),
            self.backoff,
            self.probes,
            self.first_piece,
            self.next_number,
        )
    }

    /// Whether the window lets nothing go.
    #[cfg(test)]
    pub(crate) fn holds_back(&self) -> bool {
        self.is_window_full() && self.probes == 0
    }

    /// Whether as much is under way as may be.
    pub fn is_window_full(&self) -> bool {
        self.recovery.is_full(self.under_way, self.under_way_bytes)
    }

    /// Whether at least half as much is under way as may be.
    pub fn is_window_half_full(&self) -> bool {
        self.recovery.is_full(self.under_way * 2, self.under_way_bytes * 2)
    }

    /// Whether a packet that leaves in any case may carry data though the window is full.
    pub fn may_ride(&self, now: Time) -> bool {
        self.sent.len() < MAX_SENT_PACKETS && self.recovery.may_ride(self.under_way) && !self.stale(now)
    }

    /// Whether what waits fills a packet.
    pub fn full_packet_waits(&self) -> bool {
        let resend: usize =
            self.resend.iter().flat_map(Numbers::iter).filter_map(|n| self.piece_len(*n)).sum();
        resend + if self.fresh_waits() { self.unsent_bytes } else { 0 } >= self.sizes.payload
    }

    /// When the engine has something to do on its own; sending aside.
    pub fn poll_timeout(&self) -> Option<Time> {
        let purge = self.sent.front().map(|p| p.at + self.kept_for());
        let fleeting = self.fleeting.first().map(|at| at + self.limits.message_timeout);
        let deadline = self.deadlines.first();
        [purge, deadline, fleeting, self.loss_timeout().filter(|_| !mutant!(TimerNeverFires))]
            .into_iter()
            .flatten()
            .min()
    }

    fn fresh_waits(&self) -> bool {
        self.waiting > 0 && self.number_window_open()
    }

    /// The oldest piece that can be resent bounds the newest number.
    fn number_window_open(&self) -> bool {
        self.next_number < self.first_piece + self.sizes.number_window || mutant!(NumberWindowOpen)
    }

    /// Whether what is under way has been so for too long for more to follow.
    fn stale(&self, now: Time) -> bool {
        let Some(limit) = self.recovery.max_age(&self.rtt) else { return false };
        self.oldest_under_way().is_some_and(|p| now.since(p.at) > limit)
    }

    // --- packets --------------------------------------------------------------------------------------

    /// The piece at a place among those of all packets.
    fn carried(&self, at: u64) -> Option<PieceRef> {
        self.carried.get(at.checked_sub(self.carried_first)? as usize).copied()
    }

    /// Forgets the pieces of packets that are no longer remembered.
    fn trim_carried(&mut self) {
        let end = self.carried_first + self.carried.len() as u64;
        let keep = self.sent.front().map_or(end, |p| p.pieces_at);
        self.carried.drain(..((keep - self.carried_first) as usize).min(self.carried.len()));
        self.carried_first = keep;
    }

    // --- pieces and messages --------------------------------------------------------------------------

    fn piece(&self, number: u64) -> Option<&Piece> {
        let index = number.checked_sub(self.first_piece)?;
        self.pieces.get(index as usize)?.as_ref()
    }

    fn piece_mut(&mut self, number: u64) -> Option<&mut Piece> {
        let index = number.checked_sub(self.first_piece)?;
        self.pieces.get_mut(index as usize)?.as_mut()
    }

    fn piece_len(&self, number: u64) -> Option<usize> {
        let piece = self.piece(number)?;
        let message = self.messages.get(piece.message)?;
        Some(piece_range(message, piece.index).len() + MESSAGE_COST)
    }

    /// A piece was acknowledged.
    fn resolve(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.first_piece) else { return };
        let Some(piece) = self.pieces.get_mut(index as usize).and_then(Option::take) else { return };
        self.cancel_resend(number);
        self.trim_pieces();
        self.piece_done(piece.message);
    }

    /// Where a message's pieces wait to be sent again.
    fn resend_class(&self, message: u64) -> usize {
        let adaptive = self.recovery.is_adaptive();
        let message = self.messages.get(message).filter(|_| adaptive);
        message.map_or(0, |m| 2 * m.delivery.priority as usize + usize::from(m.pieces > 1))
    }

    /// Pieces that are to be sent again.
    fn resend_len(&self) -> usize {
        self.resend.made().map_or(0, |classes| classes.iter().map(Numbers::len).sum())
    }

    fn cancel_resend(&mut self, number: u64) {
        if self.resend_len() > 0 {
            self.resend.iter_mut().for_each(|class| class.remove(number));
        }
    }

    fn trim_pieces(&mut self) {
        while let Some(None) = self.pieces.front() {
            self.pieces.pop_front();
            self.first_piece += 1;
        }
        if self.pieces.is_empty() {
            self.first_piece = self.next_number;
        }
    }

    fn piece_done(&mut self, id: u64) {
        let Some(message) = self.messages.get_mut(id) else { return };
        message.unresolved -= 1;
        if message.unresolved == 0 {
            self.finish(id, Outcome::Delivered);
            if mutant!(CompletionTwice) {
                let again = self.outcomes.back().copied();
                self.outcomes.extend(again);
            }
        }
    }

    /// The message timeout passed: all of it goes, what was not sent yet included.
    fn expire(&mut self, id: u64) {
        if mutant!(CompletionLost) || !self.messages.contains(id) {
            return;
        }
        if mutant!(ExpiredLives) {
            let tag = self.messages.get(id).map_or(0, |m| m.tag);
            self.outcomes.push_back((tag, Outcome::Expired));
            return;
        }
        let resent = self.messages.get(id).is_some_and(|m| m.delivery.mode.is_resent() && m.sent > 0);
        let class = self.resend_class(id);
        for (i, slot) in self.pieces.iter_mut().enumerate().filter(|_| resent) {
            if slot.as_ref().is_some_and(|p| p.message == id) {
                *slot = None;
                if let Some(class) = self.resend.get_mut(class) {
                    class.remove(self.first_piece + i as u64);
                }
            }
        }
        self.trim_pieces();
        self.finish(id, Outcome::Expired);
    }

    fn finish(&mut self, id: u64, outcome: Outcome) {
        let Some(message) = self.messages.remove(id) else { return };
        self.queued_bytes -= message.counted;
        self.deadlines.trim(&self.messages);
        for index in message.sent..message.pieces {
            let len = piece_range(&message, index).len();
            self.unsent_bytes = self.unsent_bytes.saturating_sub(len + MESSAGE_COST);
        }
        if message.tag != 0 {
            self.outcomes.push_back((message.tag, outcome));
        }
    }
}
