//! The messages of a sender, found by ids that tell their age; their deadlines; ordered sets of piece numbers. All of them keep
//! their memory, so that a message costs no allocation once there have been as many before.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use super::Message;
use crate::protocol::time::Time;

/// Bits of an id that say where the message is; the rest is its age. More messages than these can tell are never queued:
/// the configuration bounds them below this. 2^43 messages are more than a connection sends.
const PLACE_BITS: u32 = 21;
/// Deadlines of messages that are gone, beside as many as there are messages, above which they are forgotten.
const MAX_STALE: usize = 16;
/// Slots that a sender keeps when its last message is done; of more, none: whoever once had thousands does not keep their memory.
const KEPT_SLOTS: usize = 256;

/// Messages in slots that are used again.
#[derive(Debug, Default)]
pub(super) struct Messages {
    slots: Vec<Option<Message>>,
    free: Vec<u32>,
    /// Messages so far.
    count: u64,
}

fn place(id: u64) -> usize {
    (id & ((1 << PLACE_BITS) - 1)) as usize
}

impl Messages {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An id for what is not kept here, which tells its age as all of them do.
    pub(super) fn take_id(&mut self) -> u64 {
        self.count += 1;
        self.count << PLACE_BITS
    }

    /// Takes a message in and gives it its id, which is greater than those of all before it.
    pub(super) fn insert(&mut self, mut message: Message) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.count += 1;
        message.id = self.count << PLACE_BITS | u64::from(at);
        let id = message.id;
        if let Some(slot) = self.slots.get_mut(at as usize) {
            *slot = Some(message);
        }
        id
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Message> {
        self.slots.get(place(id))?.as_ref().filter(|m| m.id == id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Message> {
        self.slots.get_mut(place(id))?.as_mut().filter(|m| m.id == id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Message> {
        let slot = self.slots.get_mut(place(id))?;
        let message = slot.take_if(|m| m.id == id)?;
        self.free.push(place(id) as u32);
        if self.slots.len() > KEPT_SLOTS {
            self.shrink();
        }
        Some(message)
    }

    /// All of them, oldest first; none is left.
    pub(super) fn take(&mut self) -> Vec<Message> {
        let mut all: Vec<Message> = std::mem::take(&mut self.slots).into_iter().flatten().collect();
        self.free = Vec::new();
        all.sort_unstable_by_key(|m| m.id);
        all
    }

    /// Gives back memory that is not needed now.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }
}

/// When messages are given up, earliest first. The first is always that of a message that is there; those of messages that are
/// gone are forgotten when their turn comes, or when they are many.
#[derive(Debug, Default)]
pub(super) struct Deadlines(VecDeque<(Time, u64)>);

impl Deadlines {
    /// Deadlines come nearly in their order.
    pub(super) fn insert(&mut self, at: Time, id: u64) {
        let in_order = self.0.back().is_none_or(|last| *last < (at, id));
        let place =
            if in_order { self.0.len() } else { self.0.partition_point(|waiting| *waiting < (at, id)) };
        self.0.insert(place, (at, id));
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.0.front().map(|(at, _)| *at)
    }

    /// The message whose deadline has come, taken off.
    pub(super) fn pop(&mut self, now: Time) -> Option<u64> {
        let (_, id) = self.0.front().copied().filter(|(at, _)| *at <= now)?;
        self.0.pop_front();
        Some(id)
    }

    /// Some message went.
    pub(super) fn trim(&mut self, messages: &Messages) {
        while self.0.front().is_some_and(|(_, id)| !messages.contains(*id)) {
            self.0.pop_front();
        }
        if self.0.len() > 2 * messages.len() + MAX_STALE {
            self.0.retain(|(_, id)| messages.contains(*id));
        }
    }

    pub(super) fn shrink(&mut self) {
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }
}

/// An ordered set of numbers that mostly grows at its end and shrinks at its front.
#[derive(Debug, Default)]
pub(super) struct Numbers(VecDeque<u64>);

impl Numbers {
    pub(super) const EMPTY: Numbers = Numbers(VecDeque::new());

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &u64> {
        self.0.iter()
    }

    pub(super) fn insert(&mut self, number: u64) {
        if let Err(at) = self.0.binary_search(&number) {
            self.0.insert(at, number);
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        if self.0.is_empty() {
            return;
        }
        if let Ok(at) = self.0.binary_search(&number) {
            self.0.remove(at);
        }
    }

    /// The least number from `least` on.
    pub(super) fn next(&self, least: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|n| *n < least)).copied()
    }
}

/// Something that most connections have no use for most of the time. Reading finds an empty one; the first change makes it.
#[derive(Debug)]
pub(super) struct Lazy<T: 'static> {
    made: Option<Box<T>>,
    empty: &'static T,
}

impl<T> Lazy<T> {
    pub(super) const fn new(empty: &'static T) -> Self {
        Lazy { made: None, empty }
    }

    /// What was made, if anything was.
    pub(super) fn made(&self) -> Option<&T> {
        self.made.as_deref()
    }

    /// Forgets what it has.
    pub(super) fn clear(&mut self) {
        self.made = None;
    }
}

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.made.as_deref().unwrap_or(self.empty)
    }
}

impl<T: Default> DerefMut for Lazy<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.made.get_or_insert_default()
    }
}
