//! The delivery engine's sending half: queues, retry modes, fragments, acknowledgements, completions.
//!
//! It knows messages and packets by 64-bit numbers and leaves bytes to the wire: [`Sender::assemble`] says
//! what goes into the next packet, [`Sender::on_ack`] what has arrived. A message travels as one or more
//! *pieces*; a piece keeps its number through all its copies, so that the receiver can tell them.

mod loss;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::congestion::{DelayWindow, MAX_AGE, MAX_WINDOW};
use super::mutant;
use super::rtt::Rtt;
use super::sizes::Sizes;
use super::time::Time;

/// A packet is taken for lost when one this much newer was acknowledged (RFC 9002).
pub const PACKET_THRESHOLD: u64 = 3;
/// Packets remembered for their acknowledgement at most; above it nothing but keep-alives leaves.
pub const MAX_SENT_PACKETS: usize = 4096;
/// How often the retransmission timeout doubles.
const MAX_BACKOFF: u32 = 3;
/// Every so many packets a long message goes before short ones, so that neither starves.
const BULK_TURN: u64 = 4;
/// What a message costs in a packet beside its body, to tell whether a packet's worth waits.
const MESSAGE_COST: usize = 5;

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
    /// When an unacknowledged packet is given up.
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
    /// The piece's number.
    pub number: u64,
    /// Where it stands in its message, of a message in several pieces.
    pub fragment: Option<Part>,
    payload: Arc<[u8]>,
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
    payload: Arc<[u8]>,
    mode: Mode,
    kind: u8,
    tag: u64,
    fragment_id: u16,
    pieces: u16,
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
    pieces: Vec<PieceRef>,
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
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Sender {
    limits: Arc<Limits>,
    messages: BTreeMap<u64, Message>,
    next_message: u64,
    short: VecDeque<u64>,
    long: VecDeque<u64>,
    /// Pieces that can be resent: index 0 is number `first_piece`. At most a number window of them.
    pieces: VecDeque<Option<Piece>>,
    first_piece: u64,
    next_number: u64,
    next_fragment_id: u16,
    resend: BTreeSet<u64>,
    sent: VecDeque<SentPacket>,
    under_way: u32,
    /// No packet with a lesser number is under way: spares looking at thousands that are lost or acknowledged.
    settled: u64,
    /// Retransmission timeouts since the last acknowledgement, at most [`MAX_BACKOFF`].
    backoff: u32,
    largest_acked: u64,
    packets: u64,
    queued_bytes: usize,
    unsent_bytes: usize,
    /// Length of the longest message refused since the queue last told of room.
    refused: Option<usize>,
    outcomes: VecDeque<(u64, Outcome)>,
    rtt: Rtt,
    window: DelayWindow,
    window_limited: bool,
    stats: SenderStats,
}

impl Sender {
    /// An empty one, whose first piece gets number `next_number`.
    pub fn new(limits: Arc<Limits>, next_number: u64) -> Self {
        Sender {
            limits,
            messages: BTreeMap::new(),
            next_message: 1,
            short: VecDeque::new(),
            long: VecDeque::new(),
            pieces: VecDeque::new(),
            first_piece: next_number,
            next_number,
            next_fragment_id: 1,
            resend: BTreeSet::new(),
            sent: VecDeque::new(),
            under_way: 0,
            settled: 0,
            backoff: 0,
            largest_acked: 0,
            packets: 0,
            queued_bytes: 0,
            unsent_bytes: 0,
            refused: None,
            outcomes: VecDeque::new(),
            rtt: Rtt::default(),
            window: DelayWindow::default(),
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
        self.messages.len()
    }

    /// Packets neither acknowledged nor taken for lost.
    pub fn packets_under_way(&self) -> u32 {
        self.under_way
    }

    /// Packets neither acknowledged nor given up.
    pub fn pending_packets(&self) -> usize {
        self.sent.iter().filter(|p| p.state != PacketState::Acked).count()
    }

    /// Round trips measured.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Counts.
    pub fn stats(&self) -> &SenderStats {
        &self.stats
    }

    /// Whether every message was resolved.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a number for a message that the connection writes itself.
    pub fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    // --- commands -------------------------------------------------------------------------------------

    /// Queues a message. `tag` other than 0 asks for an outcome, exactly one.
    pub fn queue(
        &mut self,
        _now: Time,
        payload: Arc<[u8]>,
        delivery: Delivery,
        kind: u8,
        tag: u64,
    ) -> Result<(), QueueError> {
        let len = payload.len();
        let most = usize::from(self.limits.sizes.most_fragments);
        if len > self.limits.max_message || self.limits.sizes.fragments(len) > most {
            return Err(QueueError::TooLarge);
        }
        let crowded = self.messages.len() >= self.limits.max_messages
            || (self.queued_bytes > 0 && self.queued_bytes + len > self.limits.max_bytes);
        if crowded && !mutant!(QueueUnbounded) {
            self.refused = Some(self.refused.map_or(len, |longest| longest.max(len)));
            return Err(QueueError::Full);
        }
        // At most `most_fragments`, see above.
        let pieces = self.limits.sizes.fragments(len) as u16;
        let id = self.next_message;
        self.next_message += 1;
        let message = Message {
            payload,
            mode: delivery.mode,
            kind,
            tag,
            fragment_id: 0,
            pieces,
            sent: 0,
            unresolved: pieces,
            counted: len,
        };
        self.messages.insert(id, message);
        self.queued_bytes += len;
        self.unsent_bytes += len + MESSAGE_COST * usize::from(pieces);
        self.stats.queued += u64::from(pieces);
        if pieces == 1 { &mut self.short } else { &mut self.long }.push_back(id);
        Ok(())
    }

    /// Ends everything: what is left is cancelled.
    pub fn close(&mut self) {
        for (_, message) in std::mem::take(&mut self.messages) {
            if message.tag != 0 && !mutant!(CloseForgets) {
                self.outcomes.push_back((message.tag, Outcome::Cancelled));
            }
        }
        self.short = VecDeque::new();
        self.long = VecDeque::new();
        self.first_piece = self.next_number;
        self.pieces = VecDeque::new();
        self.resend.clear();
        self.sent = VecDeque::new();
        self.under_way = 0;
        self.queued_bytes = 0;
        self.unsent_bytes = 0;
        self.refused = None;
    }

    // --- outputs --------------------------------------------------------------------------------------

    /// The next outcome: a message's tag and what became of it.
    pub fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.pop_front()
    }

    /// Whether the queue has room again after having refused a message. Tells it once; 'room' is half of
    /// the bound, so that a host is not woken for every single message, and enough for what was refused.
    pub fn take_writable(&mut self) -> bool {
        let Some(refused) = self.refused else { return false };
        let room = self.messages.len() <= self.limits.max_messages / 2
            && self.queued_bytes <= self.limits.max_bytes / 2
            && (self.queued_bytes == 0 || self.queued_bytes + refused <= self.limits.max_bytes);
        room && self.refused.take().is_some() && !mutant!(WritableLost)
    }

    /// Whether there is something to send, and the window lets it go.
    pub fn may_send(&self, now: Time) -> bool {
        let full = self.under_way >= self.window.packets() && !mutant!(WindowIgnored);
        if self.sent.len() >= MAX_SENT_PACKETS || full {
            return false;
        }
        !self.resend.is_empty() || (self.fresh_waits() && !self.stale(now))
    }

    /// Whether as much is under way as may be.
    pub fn is_window_full(&self) -> bool {
        self.under_way >= self.window.packets()
    }

    /// Whether a packet that leaves in any case may carry data though the window is full.
    pub fn may_ride(&self, now: Time) -> bool {
        self.sent.len() < MAX_SENT_PACKETS && self.under_way < MAX_WINDOW && !self.stale(now)
    }

    /// Whether what waits fills a packet.
    pub fn full_packet_waits(&self) -> bool {
        let resend: usize = self.resend.iter().filter_map(|n| self.piece_len(*n)).sum();
        resend + if self.fresh_waits() { self.unsent_bytes } else { 0 } >= self.limits.sizes.payload
    }

    /// When the engine has something to do on its own; sending aside.
    pub fn poll_timeout(&self) -> Option<Time> {
        let purge = self.sent.front().map(|p| p.at + self.limits.message_timeout);
        let rto = self.rto();
        let lost = self.oldest_under_way().map(|p| p.at + rto);
        // While new data waits for old packets' age alone, their loss or acknowledgement lets it go.
        [purge, lost.filter(|_| !mutant!(TimerNeverFires))].into_iter().flatten().min()
    }

    fn rto(&self) -> Duration {
        // Doubled for each time that it passed without any acknowledgement: a reader that stands still is not
        // buried under copies.
        let most = self.limits.message_timeout;
        (self.rtt.timeout(most) * (1 << self.backoff)).min(most)
    }

    fn fresh_waits(&self) -> bool {
        (!self.short.is_empty() || !self.long.is_empty()) && self.number_window_open()
    }

    /// The oldest piece that can be resent bounds the newest number.
    fn number_window_open(&self) -> bool {
        self.next_number < self.first_piece + self.limits.sizes.number_window || mutant!(NumberWindowOpen)
    }

    /// Whether what is under way has been so for too long for more to follow.
    fn stale(&self, now: Time) -> bool {
        let limit = MAX_AGE + self.rtt.min().unwrap_or_default();
        self.oldest_under_way().is_some_and(|p| now.since(p.at) > limit)
    }

    /// Chooses what goes into packet `packet` and takes note of it. `fits(count, bytes)` says whether so many
    /// messages with bodies of so many bytes (fragment headers included) fit; `head` is a fragment header's
    /// length. With `data` false the packet carries none. Resent pieces come first, lowest number first.
    pub fn assemble(
        &mut self,
        now: Time,
        packet: u64,
        data: bool,
        head: usize,
        fits: impl Fn(usize, usize) -> bool,
        out: &mut Vec<Planned>,
    ) {
        out.clear();
        self.packets += 1;
        let mut pieces = Vec::new();
        if data {
            let mut bytes = 0;
            self.plan_resends(packet, head, &fits, out, &mut bytes, &mut pieces);
            let bulk_first = self.packets % BULK_TURN == 0;
            if bulk_first {
                self.plan_fresh(packet, head, &fits, true, out, &mut bytes, &mut pieces);
            }
            self.plan_fresh(packet, head, &fits, false, out, &mut bytes, &mut pieces);
            if !bulk_first {
                self.plan_fresh(packet, head, &fits, true, out, &mut bytes, &mut pieces);
            }
        }
        self.under_way += 1;
        self.window_limited = self.under_way >= self.window.packets();
        self.sent.push_back(SentPacket { number: packet, at: now, state: PacketState::UnderWay, pieces });
        if self.sent.len() > MAX_SENT_PACKETS {
            // Only keep-alives get here, at a rate that the message timeout keeps far below the bound.
            self.give_up_front();
        }
    }

    fn plan_resends(
        &mut self,
        packet: u64,
        head: usize,
        fits: &impl Fn(usize, usize) -> bool,
        out: &mut Vec<Planned>,
        bytes: &mut usize,
        pieces: &mut Vec<PieceRef>,
    ) {
        let due: Vec<u64> = self.resend.iter().copied().collect();
        for number in due {
            let Some(planned) = self.planned(number) else {
                self.resend.remove(&number);
                continue;
            };
            let len = planned.range.len() + if planned.fragment.is_some() { head } else { 0 };
            if !fits(out.len() + 1, *bytes + len) {
                continue;
            }
            *bytes += len;
            self.resend.remove(&number);
            if let Some(piece) = self.piece_mut(number) {
                piece.last_packet = packet;
            }
            self.stats.resent += 1;
            pieces.push(PieceRef::Numbered(number));
            out.push(if mutant!(ResendRenumbers) {
                Planned { number: self.take_number(), ..planned }
            } else {
                planned
            });
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn plan_fresh(
        &mut self,
        packet: u64,
        head: usize,
        fits: &impl Fn(usize, usize) -> bool,
        long: bool,
        out: &mut Vec<Planned>,
        bytes: &mut usize,
        pieces: &mut Vec<PieceRef>,
    ) {
        while self.number_window_open() {
            let queue = if long { &mut self.long } else { &mut self.short };
            let Some(&id) = queue.front() else { return };
            let Some(message) = self.messages.get_mut(&id) else {
                // It expired while parts of it waited.
                queue.pop_front();
                continue;
            };
            let index = message.sent;
            let range = piece_range(message, index, &self.limits.sizes);
            let len = range.len() + if message.pieces > 1 { head } else { 0 };
            if !fits(out.len() + 1, *bytes + len) {
                return;
            }
            *bytes += len;
            if message.pieces > 1 && index == 0 {
                message.fragment_id = self.next_fragment_id;
                self.next_fragment_id = self.next_fragment_id.checked_add(1).unwrap_or(1);
            }
            message.sent += 1;
            let whole = message.sent == message.pieces;
            if whole {
                queue.pop_front();
            }
            self.unsent_bytes = self.unsent_bytes.saturating_sub(range.len() + MESSAGE_COST);
            let number = self.next_number;
            self.next_number += 1;
            let planned = plan(message, index, number, range);
            out.push(planned);
            if message.mode == Mode::Once {
                if message.tag != 0 {
                    pieces.push(PieceRef::Once(id));
                }
                self.sent_once(id, whole);
                self.skip_number();
            } else {
                pieces.push(PieceRef::Numbered(number));
                self.pieces.push_back(Some(Piece {
                    message: id,
                    index,
                    first_packet: packet,
                    last_packet: packet,
                }));
            }
        }
    }

    /// A piece that is never resent holds no place in the window.
    fn skip_number(&mut self) {
        if self.pieces.is_empty() {
            self.first_piece = self.next_number;
        } else {
            self.pieces.push_back(None);
        }
    }

    /// A message that is sent once costs nothing more once it is out, but for its outcome.
    fn sent_once(&mut self, id: u64, whole: bool) {
        if !whole {
            return;
        }
        if let Some(message) = self.messages.get_mut(&id) {
            self.queued_bytes -= message.counted;
            message.counted = 0;
            message.payload = Arc::from([]);
            if message.tag == 0 {
                self.messages.remove(&id);
            }
        }
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
        let message = self.messages.get(&piece.message)?;
        Some(piece_range(message, piece.index, &self.limits.sizes).len() + MESSAGE_COST)
    }

    fn planned(&self, number: u64) -> Option<Planned> {
        let piece = self.piece(number)?;
        let message = self.messages.get(&piece.message)?;
        Some(plan(message, piece.index, number, piece_range(message, piece.index, &self.limits.sizes)))
    }

    /// A piece was acknowledged.
    fn resolve(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.first_piece) else { return };
        let Some(piece) = self.pieces.get_mut(index as usize).and_then(Option::take) else { return };
        self.resend.remove(&number);
        self.trim_pieces();
        self.piece_done(piece.message);
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
        let Some(message) = self.messages.get_mut(&id) else { return };
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
        if mutant!(CompletionLost) || !self.messages.contains_key(&id) {
            return;
        }
        if mutant!(ExpiredLives) {
            let tag = self.messages.get(&id).map_or(0, |m| m.tag);
            self.outcomes.push_back((tag, Outcome::Expired));
            return;
        }
        for (i, slot) in self.pieces.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|p| p.message == id) {
                *slot = None;
                self.resend.remove(&(self.first_piece + i as u64));
            }
        }
        self.trim_pieces();
        self.finish(id, Outcome::Expired);
    }

    fn finish(&mut self, id: u64, outcome: Outcome) {
        let Some(message) = self.messages.remove(&id) else { return };
        self.queued_bytes -= message.counted;
        for index in message.sent..message.pieces {
            let len = piece_range(&message, index, &self.limits.sizes).len();
            self.unsent_bytes = self.unsent_bytes.saturating_sub(len + MESSAGE_COST);
        }
        if message.tag != 0 {
            self.outcomes.push_back((message.tag, outcome));
        }
    }
}

fn plan(message: &Message, index: u16, number: u64, range: Range<usize>) -> Planned {
    let fragment =
        (message.pieces > 1).then_some(Part { id: message.fragment_id, index, count: message.pieces });
    Planned { kind: message.kind, number, fragment, payload: message.payload.clone(), range }
}

/// Which bytes of its message a piece carries.
fn piece_range(message: &Message, index: u16, sizes: &Sizes) -> Range<usize> {
    if message.pieces == 1 {
        return 0..message.payload.len();
    }
    let start = usize::from(index) * sizes.fragment;
    let end = if index + 1 == message.pieces { message.payload.len() } else { start + sizes.fragment };
    start..end
}
