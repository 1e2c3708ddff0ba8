//! The receiving half of a native connection: what is new, what is in order, what is whole.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::connection::{Event, Room};
use crate::protocol::dedup::Dedup;
use crate::protocol::delivery::Mode;
use crate::protocol::fragment::{Fragment, Reassembly, Stored};
use crate::protocol::mutant;
use crate::protocol::time::Time;
use crate::protocol::wire::native::{widen, MessageFrame};

/// Ordered messages held back per peer until older ones come, at most; more are refused, and come again.
pub const MAX_HELD: usize = 4096;
/// What holding one back costs beyond its bytes, for the bound on those.
const HELD_COST: usize = 64;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken over: delivered, kept, or dropped because a newer one came first.
    Accepted,
    /// It was received before.
    Duplicate,
    /// There is no room: not to be acknowledged, so that it comes again.
    Refused,
    /// It contradicts what came before.
    Malformed,
}

/// One channel's ordered messages.
#[derive(Debug)]
struct Ordered {
    /// The next one to deliver, from 1.
    next: u64,
    held: BTreeMap<u64, Vec<u8>>,
}

/// A whole message on its way to the host.
struct Whole {
    mode: Mode,
    channel: u8,
    place: u64,
    number: u64,
    /// The newest packet that brought a part of it.
    packet: u64,
    data: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    dedup: Dedup,
    reassembly: Reassembly,
    ordered: BTreeMap<u16, Ordered>,
    /// The packet of each channel's newest sequenced message.
    sequenced: BTreeMap<u8, u64>,
    held: usize,
    held_bytes: usize,
    max_bytes: usize,
    max_message: usize,
    /// The newest fragmented message, by its sender's counter.
    newest_fragmented: u64,
}

impl Inbox {
    /// Bounds of bytes in reassembly, and as much again of messages held back; of one message; and when an unfinished one is
    /// given up.
    pub fn new(max_bytes: usize, max_message: usize, timeout: Duration) -> Self {
        Inbox {
            dedup: Dedup::default(),
            reassembly: Reassembly::new(max_bytes, max_message, timeout),
            ordered: BTreeMap::new(),
            sequenced: BTreeMap::new(),
            held: 0,
            held_bytes: 0,
            max_bytes,
            max_message,
            newest_fragmented: 0,
        }
    }

    /// Bytes held of messages that cannot be delivered yet, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.reassembly.bytes() + self.held_bytes
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How many unfinished messages were given up since this was last asked.
    pub fn take_left_behind(&mut self) -> u64 {
        self.reassembly.take_left_behind()
    }

    /// Gives up what is unfinished for too long; how many.
    pub fn expire(&mut self, now: Time) -> usize {
        self.reassembly.expire(now)
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn next_expiry(&self) -> Option<Time> {
        self.reassembly.next_expiry()
    }

    /// Gives back what is not needed while nothing comes.
    pub fn shrink(&mut self) {
        self.dedup.shrink();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Inbox::new(0, 0, Duration::ZERO);
    }

    /// A message, or a part of one, came in packet `packet`. What can be delivered goes to `deliver`: at most what `room` has
    /// left, and the messages held back that it sets free.
    #[inline]
    pub fn take(
        &mut self,
        now: Time,
        packet: u64,
        m: &MessageFrame<'_>,
        room: &mut Room,
        deliver: &mut impl FnMut(Event),
    ) -> Taken {
        if m.mode == Mode::Once && m.part.is_none() && room.messages > 0 && room.bytes > 0 {
            // Nothing is known of it before, and nothing is to be remembered.
            if m.data.len() > self.max_message {
                return Taken::Malformed;
            }
            let data = room.copy(m.data);
            hand_over(0, m.channel, m.mode, data, room, deliver);
            return Taken::Accepted;
        }
        let number = if m.mode.is_resent() {
            let Some(number) = widen(u64::from(m.number), 16, self.dedup.newest() + 1) else {
                return Taken::Malformed;
            };
            if self.dedup.contains(number) {
                return Taken::Duplicate;
            }
            number
        } else {
            0
        };
        if room.messages == 0 || room.bytes == 0 {
            // It is this end that makes its sender wait, for all messages in parts alike.
            self.reassembly.touch_all(now);
            return Taken::Refused;
        }
        let taken = self.take_new(now, packet, number, m, room, deliver);
        if taken != Taken::Refused && number > 0 {
            self.dedup.insert(number);
        }
        taken
    }

    fn take_new(
        &mut self,
        now: Time,
        packet: u64,
        number: u64,
        m: &MessageFrame<'_>,
        room: &mut Room,
        deliver: &mut impl FnMut(Event),
    ) -> Taken {
        let place = match m.mode {
            Mode::Ordered | Mode::Files => {
                let next = self.ordered.get(&m.mode.lane(m.channel)).map_or(1, |o| o.next);
                let Some(place) = widen(u64::from(m.sequence), 16, next) else { return Taken::Malformed };
                // What is older was delivered; only a peer that breaks the protocol numbers it anew.
                if place < next {
                    return Taken::Malformed;
                }
                if place > next && !self.may_hold(m.data.len()) {
                    return Taken::Refused;
                }
                place
            }
            _ => 0,
        };
        let whole = |data, packet| Whole { mode: m.mode, channel: m.channel, place, number, packet, data };
        let Some(part) = m.part else {
            if m.data.len() > self.max_message {
                return Taken::Malformed;
            }
            let data = room.copy(m.data);
            self.finish(whole(data, packet), room, deliver);
            return Taken::Accepted;
        };
        let Some(order) = widen(u64::from(part.id), 16, self.newest_fragmented.max(1)) else {
            return Taken::Malformed;
        };
        self.newest_fragmented = self.newest_fragmented.max(order);
        let fragment = Fragment {
            id: part.id,
            index: part.index,
            count: part.count,
            number: order,
            packet,
            promised: matches!(m.mode, Mode::Guaranteed | Mode::Ordered | Mode::Files)
                && !mutant!(PromiseForgotten),
            data: m.data,
        };
        match self.reassembly.insert(now, fragment) {
            Stored::Complete(data, _, newest) => {
                self.finish(whole(data, newest), room, deliver);
                Taken::Accepted
            }
            Stored::Kept => Taken::Accepted,
            Stored::Refused => Taken::Refused,
            Stored::Wrong => Taken::Malformed,
        }
    }

    fn may_hold(&self, len: usize) -> bool {
        self.held < MAX_HELD
            && (self.held_bytes + len + HELD_COST <= self.max_bytes || mutant!(HeldUnbounded))
    }

    /// A message is whole: it is delivered, or held back, or too late.
    fn finish(&mut self, whole: Whole, room: &mut Room, deliver: &mut impl FnMut(Event)) {
        match whole.mode {
            Mode::Ordered | Mode::Files => self.finish_ordered(whole, room, deliver),
            Mode::Sequenced => {
                let newest = self.sequenced.entry(whole.channel).or_insert(0);
                if whole.packet >= *newest || mutant!(SequencedStale) {
                    *newest = whole.packet;
                    hand_over(whole.number, whole.channel, whole.mode, whole.data, room, deliver);
                }
            }
            _ => hand_over(whole.number, whole.channel, whole.mode, whole.data, room, deliver),
        }
    }

    fn finish_ordered(&mut self, whole: Whole, room: &mut Room, deliver: &mut impl FnMut(Event)) {
        let lane = whole.mode.lane(whole.channel);
        let channel = self.ordered.entry(lane).or_insert_with(|| Ordered { next: 1, held: BTreeMap::new() });
        if whole.place != channel.next && !mutant!(OrderIgnored) {
            // Fragments of it may have come while there was room, so this can go beyond the bound by one message.
            self.held += 1;
            self.held_bytes += whole.data.len() + HELD_COST;
            if let Some(old) = channel.held.insert(whole.place, whole.data) {
                self.held -= 1;
                self.held_bytes -= old.len() + HELD_COST;
            }
            return;
        }
        channel.next = channel.next.max(whole.place + 1);
        hand_over(whole.place, whole.channel, whole.mode, whole.data, room, deliver);
        while let Some(data) = channel.held.remove(&channel.next) {
            self.held -= 1;
            self.held_bytes -= data.len() + HELD_COST;
            hand_over(channel.next, whole.channel, whole.mode, data, room, deliver);
            channel.next += 1;
        }
    }
}

#[inline]
fn hand_over(
    number: u64,
    channel: u8,
    mode: Mode,
    data: Vec<u8>,
    room: &mut Room,
    deliver: &mut impl FnMut(Event),
) {
    room.messages = room.messages.saturating_sub(1);
    room.bytes = room.bytes.saturating_sub(data.len());
    deliver(Event::Message { sequence: number as u16, channel, mode: Some(mode), data, content: None });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::delivery::Part;

    struct Reader {
        inbox: Inbox,
        room: Room<'static>,
        got: Vec<(u8, Vec<u8>)>,
    }

    impl Reader {
        fn new(max_bytes: usize) -> Reader {
            Reader {
                inbox: Inbox::new(max_bytes, 1 << 20, Duration::from_secs(5)),
                room: Room::ENDLESS,
                got: Vec::new(),
            }
        }

        fn take(&mut self, packet: u64, m: MessageFrame<'_>) -> Taken {
            let got = &mut self.got;
            let mut deliver = |event| {
                if let Event::Message { channel, data, .. } = event {
                    got.push((channel, data));
                }
            };
            self.inbox.take(Time::from_micros(packet), packet, &m, &mut self.room, &mut deliver)
        }

        fn got(&mut self) -> Vec<u8> {
            self.got.drain(..).flat_map(|(_, data)| data).collect()
        }
    }

    fn ordered(number: u16, channel: u8, sequence: u16, data: &[u8]) -> MessageFrame<'_> {
        MessageFrame { mode: Mode::Ordered, number, channel, sequence, part: None, data }
    }

    #[test]
    fn ordered_messages_wait_for_each_other_by_channel() {
        let mut r = Reader::new(1 << 20);
        assert_eq!(r.take(1, ordered(2, 0, 2, b"b")), Taken::Accepted);
        assert_eq!(r.take(2, ordered(3, 1, 1, b"x")), Taken::Accepted);
        assert_eq!(r.got(), b"x");
        assert_eq!(r.take(3, ordered(5, 0, 4, b"d")), Taken::Accepted);
        assert_eq!(r.take(4, ordered(1, 0, 1, b"a")), Taken::Accepted);
        assert_eq!(r.got(), b"ab");
        assert_eq!(r.take(5, ordered(4, 0, 3, b"c")), Taken::Accepted);
        assert_eq!(r.take(6, ordered(4, 0, 3, b"c")), Taken::Duplicate);
        assert_eq!((r.got(), r.inbox.bytes()), (b"cd".to_vec(), 0));
        assert_eq!(r.take(7, ordered(6, 0, 2, b"?")), Taken::Malformed, "an old place under a new number");
    }

    #[test]
    fn what_is_held_back_is_bounded_and_the_next_one_always_comes_in() {
        let mut r = Reader::new(1000);
        let mut held = 0;
        for i in 2..100_u16 {
            held += usize::from(r.take(u64::from(i), ordered(i, 0, i, &[i as u8; 100])) == Taken::Accepted);
        }
        assert_eq!(held, 6);
        assert!(r.inbox.bytes() <= 1000);
        assert_eq!(r.take(100, ordered(1, 0, 1, &[1; 2000])), Taken::Accepted);
        assert_eq!(r.got().len(), 2000 + 600);
        assert_eq!(r.take(101, ordered(8, 0, 8, b"on")), Taken::Accepted);
        r.room.messages = 0;
        assert_eq!(r.take(102, ordered(9, 0, 9, b"on")), Taken::Refused);
    }

    #[test]
    fn a_newer_sequenced_message_drops_older_ones() {
        let mut r = Reader::new(1000);
        let sequenced = |channel, part, data| MessageFrame {
            mode: Mode::Sequenced,
            number: 0,
            channel,
            sequence: 0,
            part,
            data,
        };
        let part = |index| Some(Part { id: 1, index, count: 2 });
        assert_eq!(r.take(5, sequenced(0, None, b"5")), Taken::Accepted);
        assert_eq!(r.take(3, sequenced(0, None, b"3")), Taken::Accepted);
        assert_eq!(r.take(4, sequenced(1, None, b"4")), Taken::Accepted);
        assert_eq!(r.got(), b"54");
        // One in parts is as new as its newest part.
        r.take(6, sequenced(0, part(0), b"6"));
        r.take(8, sequenced(0, None, b"8"));
        r.take(7, sequenced(0, part(1), b"7"));
        assert_eq!(r.got(), b"8");
    }
}
