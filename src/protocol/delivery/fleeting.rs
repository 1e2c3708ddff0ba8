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
