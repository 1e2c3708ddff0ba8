//! Short messages that are sent once, ask for no outcome and have no deadline of their own: most of what games send. They need no
//! place among the messages that may have to be found again; all that is kept of one is its bytes, until it leaves.

use std::collections::VecDeque;

use super::assemble::{Offer, Packet};
use super::{Delivery, Mode, Planned, QueueError, Sender, MESSAGE_COST, PRIORITIES};
use crate::protocol::mutant;
use crate::protocol::payload::Payload;
use crate::protocol::time::Time;

/// One of them.
#[derive(Debug)]
struct Short {
    /// Tells its age, among all messages.
    id: u64,
    /// When it was queued: all have the same time.
    at: Time,
    payload: Payload,
    channel: u8,
}

/// Those that wait, by priority, oldest first.
#[derive(Debug, Default)]
struct Queues {
    by_priority: [VecDeque<Short>; PRIORITIES],
    count: usize,
}

/// The same, made with the first of them: an idle connection has none.
#[derive(Debug, Default)]
pub(super) struct Fleeting(Option<Box<Queues>>);

impl Fleeting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queues| queues.count)
    }

    fn some(&self) -> Option<&Queues> {
        self.0.as_deref().filter(|queues| queues.count > 0)
    }

    /// The id and the length of the oldest of a priority.
    pub(super) fn front(&self, priority: usize) -> Option<(u64, usize)> {
        self.some()?.by_priority.get(priority)?.front().map(|short| (short.id, short.payload.len()))
    }

    /// When the oldest was queued.
    pub(super) fn first(&self) -> Option<Time> {
        self.some()?.by_priority.iter().filter_map(|queue| queue.front()).map(|short| short.at).min()
    }

    /// Forgets all, and gives their memory back.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

impl Sender {
    /// Whether a message need not be kept once it is out: on a wire where such have no numbers, and messages end by their age.
    pub(super) fn is_fleeting(&self, len: usize, delivery: &Delivery, tag: u64) -> bool {
        delivery.mode == Mode::Once
            && tag == 0
            && delivery.deadline.is_none()
            && !self.sizes.numbers_all
            && len <= self.sizes.message.min(self.limits.max_message)
            && self.recovery.expires_by_age()
    }

    pub(super) fn queue_fleeting(
        &mut self,
        now: Time,
        payload: Payload,
        delivery: Delivery,
    ) -> Result<(), QueueError> {
        let len = payload.len();
        self.make_room(len, self.queued_messages(), self.queued_bytes)?;
        let id = self.messages.take_id();
        let queues = self.fleeting.0.get_or_insert_default();
        if let Some(queue) = queues.by_priority.get_mut(delivery.priority as usize) {
            queue.push_back(Short { id, at: now, payload, channel: delivery.channel });
            queues.count += 1;
        }
        self.waiting += 1;
        self.queued_bytes += len;
        self.unsent_bytes += len + MESSAGE_COST;
        self.stats.queued += 1;
        Ok(())
    }

    /// As many of a priority as fit and are older than `before`; whether there was room for all of these.
    pub(super) fn plan_fleeting<F: FnMut(&Offer) -> bool>(
        &mut self,
        packet: &mut Packet<'_, F>,
        priority: usize,
        before: u64,
    ) -> bool {
        let queues = self.fleeting.0.as_mut().filter(|queues| queues.count > 0);
        let Some(queue) = queues.and_then(|queues| queues.by_priority.get_mut(priority)) else { return true };
        let (mut count, mut bytes, mut room) = (0, 0, true);
        while let Some(first) = queue.front().filter(|first| first.id < before) {
            let (len, channel) = (first.payload.len(), first.channel);
            room = (packet.fits)(&Offer { mode: Mode::Once, channel, part: None, len });
            if !room {
                break;
            }
            let Some(short) = queue.pop_front() else { break };
            (count, bytes) = (count + 1, bytes + len);
            packet.out.push(Planned {
                kind: 0,
                mode: Mode::Once,
                channel,
                sequence: 0,
                number: 0,
                fragment: None,
                payload: short.payload,
                range: 0..len,
            });
        }
        self.fleeting_gone(count, bytes);
        room
    }

    /// Gives up those that wait for too long.
    pub(super) fn expire_fleeting(&mut self, now: Time) {
        let queues = self.fleeting.0.as_mut().filter(|queues| queues.count > 0 && !mutant!(DeadlineIgnored));
        let Some(queues) = queues else { return };
        let (mut count, mut bytes) = (0, 0);
        for queue in &mut queues.by_priority {
            while let Some(short) = queue.front().filter(|s| s.at + self.limits.message_timeout <= now) {
                (count, bytes) = (count + 1, bytes + short.payload.len());
                queue.pop_front();
            }
        }
        self.fleeting_gone(count, bytes);
    }

    fn fleeting_gone(&mut self, count: usize, bytes: usize) {
        if let Some(queues) = &mut self.fleeting.0 {
            queues.count -= count;
        }
        self.waiting -= count;
        self.queued_bytes -= bytes;
        self.unsent_bytes = self.unsent_bytes.saturating_sub(bytes + count * MESSAGE_COST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{Limits, Outcome, Priority, Recovery};
    use super::*;
    use crate::protocol::sizes::Sizes;
    use crate::protocol::wire::native;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const START: Time = Time::from_micros(1_000_000);
    /// Room of a packet in which all fits.
    const ROOMY: usize = 1100;

    fn limits() -> Limits {
        Limits {
            sizes: native::sizes(native::BASE_DATAGRAM),
            keep_alive: Duration::from_millis(100),
            message_timeout: TIMEOUT,
            max_messages: 8,
            max_bytes: 1000,
            max_message: 5000,
        }
    }

    fn sender_with(limits: Limits) -> Sender {
        let recovery = Recovery::adaptive(START, native::BASE_DATAGRAM);
        Sender::new(Arc::new(limits), recovery, 1)
    }

    fn sender() -> Sender {
        sender_with(limits())
    }

    /// A message of so many bytes, each of them `name`.
    fn body(name: u8, len: usize) -> Payload {
        vec![name; len].into()
    }

    fn queue(sender: &mut Sender, at: Time, name: u8, delivery: impl Into<Delivery>, tag: u64) {
        sender.queue(at, body(name, 10), delivery.into(), 0, tag).expect("there is room");
    }

    /// What leaves in packet `number` with room for so many bytes: each message's first.
    fn leaves(sender: &mut Sender, number: u64, mut room: usize) -> Vec<u8> {
        let mut planned = Vec::new();
        let fits = |offer: &Offer| {
            let fits = offer.len <= room;
            room -= if fits { offer.len } else { 0 };
            fits
        };
        sender.assemble(START, number, true, fits, &mut planned);
        sender.on_sent(START, number, 100);
        planned.iter().map(|p| p.data()[0]).collect()
    }

    fn outcomes(sender: &mut Sender) -> Vec<(u64, Outcome)> {
        std::iter::from_fn(|| sender.poll_outcome()).collect()
    }

    fn assert_empty(sender: &Sender) {
        assert!(sender.is_idle() && !sender.wants_to_send());
        assert_eq!((sender.queued_messages(), sender.queued_bytes(), sender.unsent_bytes), (0, 0, 0));
        assert_eq!((sender.waiting, sender.fleeting.len(), sender.fleeting.first()), (0, 0, None));
    }

    #[test]
    fn what_may_have_to_be_found_again_is_none() {
        let once = Delivery::from(Mode::Once);
        let longest = limits().sizes.message;
        let is_kept = |sender: &mut Sender, len, delivery, tag| {
            sender.queue(START, body(1, len), delivery, 0, tag).expect("there is room");
            (sender.fleeting.len(), sender.messages.len()) == (0, 1)
        };
        for (delivery, tag, len, kept) in [
            (once, 0, 10, false),
            (once, 0, 0, false),
            (once, 0, longest, false),
            (once, 0, longest + 1, true),
            (once, 1, 10, true),
            (Delivery { deadline: Some(TIMEOUT), ..once }, 0, 10, true),
            (Mode::Sequenced.into(), 0, 10, true),
            (Mode::BestEffort.into(), 0, 10, true),
            (Mode::Guaranteed.into(), 0, 10, true),
            (Mode::Ordered.into(), 0, 10, true),
        ] {
            assert_eq!(is_kept(&mut sender(), len, delivery, tag), kept, "{delivery:?}, {tag}, {len}");
        }
        // On the other wire all have numbers.
        let sizes = Sizes::new(1500);
        let mut other = Sender::new(Arc::new(Limits { sizes, ..limits() }), Recovery::steady(), 1);
        assert!(is_kept(&mut other, 10, once, 0));
        // One that is too long for the host's bound is refused as any other is.
        let mut narrow = sender_with(Limits { max_message: 9, ..limits() });
        assert_eq!(narrow.queue(START, body(1, 10), once, 0, 0), Err(QueueError::TooLarge));
        assert_empty(&narrow);
    }

    #[test]
    fn they_leave_by_priority_and_age_among_those_that_are_kept() {
        let mut sender = sender();
        let low = Delivery { priority: Priority::Low, ..Mode::Once.into() };
        let urgent = Delivery { priority: Priority::Urgent, ..Mode::Once.into() };
        queue(&mut sender, START, 1, low, 0);
        queue(&mut sender, START, 2, Mode::Once, 0);
        queue(&mut sender, START, 3, Mode::Guaranteed, 0);
        queue(&mut sender, START, 4, Mode::Once, 0);
        queue(&mut sender, START, 5, Mode::Once, 7);
        queue(&mut sender, START, 6, Mode::Once, 0);
        queue(&mut sender, START, 7, urgent, 0);
        assert_eq!(sender.waiting_short(), 7);
        assert_eq!(leaves(&mut sender, 1, ROOMY), [7, 2, 3, 4, 5, 6, 1]);
        assert_eq!(sender.fleeting.len(), 0);
        assert!(leaves(&mut sender, 2, ROOMY).is_empty());
    }

    #[test]
    fn one_that_does_not_fit_is_not_overtaken_by_those_behind_it() {
        let mut sender = sender();
        for (name, len) in [(1, 60), (2, 60), (3, 5)] {
            sender.queue(START, body(name, len), Mode::Once.into(), 0, 0).expect("there is room");
        }
        assert_eq!(leaves(&mut sender, 1, 100), [1]);
        assert_eq!((sender.queued_messages(), sender.queued_bytes()), (2, 65));
        assert!(sender.wants_to_send() && !sender.is_idle());
        assert_eq!(leaves(&mut sender, 2, 100), [2, 3]);
        assert_empty(&sender);
    }

    #[test]
    fn they_count_for_the_bounds_until_they_leave() {
        let mut sender = sender();
        for _ in 0..8 {
            queue(&mut sender, START, 1, Mode::Once, 0);
        }
        let refused = sender.queue(START, body(1, 10), Mode::Once.into(), 0, 0);
        assert_eq!((refused, sender.queued_messages()), (Err(QueueError::Full), 8));
        assert!(!sender.take_writable(), "it is as full as before");
        assert_eq!(leaves(&mut sender, 1, 30).len(), 3);
        assert!(!sender.take_writable(), "more than half of it is still there");
        assert_eq!(leaves(&mut sender, 2, 10).len(), 1);
        assert!(sender.take_writable());
        assert_eq!(
            sender.queue(START, body(1, 961), Mode::Once.into(), 0, 0),
            Err(QueueError::Full),
            "bytes"
        );
        assert_eq!(sender.queue(START, body(1, 960), Mode::Once.into(), 0, 0), Ok(()));
        assert_eq!(leaves(&mut sender, 3, ROOMY).len(), 5);
        assert_empty(&sender);
        assert_eq!(sender.stats().queued, 9);
    }

    #[test]
    fn those_that_wait_for_too_long_are_given_up_without_a_word() {
        let mut sender = sender();
        let later = START + Duration::from_millis(300);
        let low = Delivery { priority: Priority::Low, ..Mode::Once.into() };
        queue(&mut sender, START, 1, low, 0);
        queue(&mut sender, later, 2, Mode::Once, 0);
        queue(&mut sender, later, 3, low, 0);
        assert_eq!(sender.poll_timeout(), Some(START + TIMEOUT));
        sender.handle_timeout(START + TIMEOUT - Duration::from_micros(1));
        assert_eq!(sender.queued_messages(), 3);
        sender.handle_timeout(START + TIMEOUT);
        assert_eq!((sender.queued_messages(), sender.queued_bytes()), (2, 20));
        assert_eq!(sender.poll_timeout(), Some(later + TIMEOUT));
        sender.handle_timeout(later + TIMEOUT);
        assert_empty(&sender);
        assert_eq!(sender.poll_timeout(), None);
        assert_eq!(outcomes(&mut sender), []);
        assert!(leaves(&mut sender, 1, ROOMY).is_empty());
    }

    #[test]
    fn one_that_is_lost_is_not_sent_again() {
        let mut sender = sender();
        queue(&mut sender, START, 1, Mode::Once, 0);
        assert_eq!(leaves(&mut sender, 1, ROOMY), [1]);
        for number in 2..=6 {
            queue(&mut sender, START, number as u8, Mode::Guaranteed, 0);
            assert_eq!(leaves(&mut sender, number, ROOMY), [number as u8]);
        }
        // The first is missing, and so is the second, which is one that comes again.
        sender.on_ack(START + Duration::from_millis(50), Duration::ZERO, 3..=6, |_| true);
        assert_eq!(sender.stats().lost, 2);
        assert_eq!(leaves(&mut sender, 7, ROOMY), [2]);
    }

    #[test]
    fn memory_is_given_back_when_none_waits() {
        let mut sender = sender();
        queue(&mut sender, START, 1, Mode::Once, 0);
        sender.shrink();
        assert_eq!(sender.fleeting.len(), 1, "what waits is kept");
        assert_eq!(leaves(&mut sender, 1, ROOMY), [1]);
        assert!(sender.fleeting.0.is_some(), "the next one needs it");
        sender.shrink();
        assert!(sender.fleeting.0.is_none());
        queue(&mut sender, START, 2, Mode::Once, 0);
        sender.close();
        assert_empty(&sender);
        assert!(sender.fleeting.0.is_none());
        assert_eq!(outcomes(&mut sender), []);
    }
}
