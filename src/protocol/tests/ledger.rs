//! The books of one direction: what was sent, what came, what was reported, and whether that may be.

use std::collections::HashMap;
use std::time::Duration;

use crate::protocol::delivery::{Delivery, Mode, Outcome};
use crate::protocol::time::Time;

/// Messages shorter than this carry no number of their own and are counted in pools of equal ones.
const NUMBERED: usize = 9;

struct Entry {
    mode: Mode,
    channel: u8,
    /// Its place among the numbered messages of its channel and mode.
    place: usize,
    deadline: Option<Duration>,
    tag: u64,
    len: usize,
    sent: Time,
    received: Option<Time>,
    outcome: Option<Outcome>,
}

#[derive(Default)]
struct Pool {
    sent: u32,
    guaranteed: u32,
    received: u32,
    delivered: u32,
}

/// One direction's books.
pub struct Ledger {
    name: &'static str,
    seed: u64,
    entries: Vec<Entry>,
    tags: HashMap<u64, usize>,
    pools: HashMap<Vec<u8>, Pool>,
    /// By entry, the pool of a short message.
    short: HashMap<usize, Vec<u8>>,
    /// Of each channel's ordered and sequenced messages: how many were sent, and the place that is due, or was last.
    orders: HashMap<(u8, bool), (usize, usize)>,
    /// How much later than its deadline a message may end: its sender stands still for so long.
    pub slack: Duration,
    pub received: u32,
    pub violations: Vec<String>,
}

/// The bytes of message `id`.
fn body(seed: u64, id: usize, mode: Mode, len: usize) -> Vec<u8> {
    if len < NUMBERED {
        // The mode stands in front so that equal messages have equal promises.
        let word = [mode as u8, (id % 3) as u8, 1, 2, 3, 4, 5, 6];
        return word[..len].to_vec();
    }
    let mut out = Vec::with_capacity(len + 8);
    out.extend_from_slice(&(id as u64).to_be_bytes());
    let mut x = seed ^ (id as u64) << 20 | 1;
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_be_bytes());
    }
    out.truncate(len);
    out
}

impl Ledger {
    pub fn new(name: &'static str, seed: u64) -> Ledger {
        Ledger {
            name,
            seed,
            entries: Vec::new(),
            tags: HashMap::new(),
            pools: HashMap::new(),
            short: HashMap::new(),
            orders: HashMap::new(),
            slack: Duration::MAX,
            received: 0,
            violations: Vec::new(),
        }
    }

    fn wrong(&mut self, text: String) {
        if self.violations.len() < 10 {
            self.violations.push(format!("{}: {text}", self.name));
        }
    }

    /// The next message's bytes and tag. An empty message is always sent once, since all of them are equal.
    pub fn compose(&self, mode: Mode, len: usize, tagged: bool) -> (Vec<u8>, Mode, u64) {
        let id = self.entries.len();
        let mode = if len == 0 { Mode::Once } else { mode };
        // Which of several equal ones was the newest, nobody could tell.
        let len = if mode == Mode::Sequenced { len.max(NUMBERED) } else { len };
        (body(self.seed, id, mode, len), mode, if tagged { id as u64 + 1 } else { 0 })
    }

    /// It was queued.
    pub fn sent(&mut self, now: Time, data: &[u8], delivery: impl Into<Delivery>, tag: u64) {
        let Delivery { mode, channel, deadline, .. } = delivery.into();
        let id = self.entries.len();
        if tag != 0 {
            self.tags.insert(tag, id);
        }
        if data.len() < NUMBERED {
            let pool = self.pools.entry(data.to_vec()).or_default();
            pool.sent += 1;
            pool.guaranteed += u32::from(is_promised(mode));
            self.short.insert(id, data.to_vec());
        }
        let len = data.len();
        let mut place = 0;
        if matches!(mode, Mode::Ordered | Mode::Sequenced) && len >= NUMBERED {
            let sent = &mut self.orders.entry((channel, mode == Mode::Ordered)).or_default().0;
            *sent += 1;
            place = *sent;
        }
        self.entries.push(Entry {
            mode,
            channel,
            place,
            deadline,
            tag,
            len,
            sent: now,
            received: None,
            outcome: None,
        });
    }

    /// A sequenced message is on its way: none that is newer may have been queued before it left.
    pub fn left(&mut self, channel: u8, data: &[u8]) {
        let id = data.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b)) as usize;
        let newest = self.orders.get(&(channel, false)).map_or(0, |(sent, _)| *sent);
        let place = self.entries.get(id).map_or(newest, |e| e.place);
        if data.len() >= NUMBERED && place < newest {
            self.wrong(format!("sequenced message {id} leaves after a newer one was queued"));
        }
    }

    fn check_order(&mut self, id: usize, channel: u8) {
        let Entry { mode, place, channel: expected, .. } = self.entries[id];
        if channel != expected {
            self.wrong(format!("message {id} ({mode:?}) came on channel {channel}, not {expected}"));
        }
        if place == 0 {
            return;
        }
        let last = &mut self.orders.entry((channel, mode == Mode::Ordered)).or_default().1;
        let before = std::mem::replace(last, place);
        if mode == Mode::Ordered && place != before + 1 || place <= before {
            self.wrong(format!("message {id} ({mode:?}, channel {channel}) came as {place} after {before}"));
        }
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// A message came out of the other end.
    pub fn message(&mut self, now: Time, data: &[u8]) {
        self.message_on(now, 0, data);
    }

    /// The same, on a channel.
    pub fn message_on(&mut self, now: Time, channel: u8, data: &[u8]) {
        self.received += 1;
        if data.len() < NUMBERED {
            let pool = self.pools.entry(data.to_vec()).or_default();
            pool.received += 1;
            if pool.received > pool.sent {
                self.wrong(format!("{data:?} came more often than it was sent"));
            }
            return;
        }
        let id = data.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b)) as usize;
        let Some(entry) = self.entries.get_mut(id) else {
            return self.wrong(format!("message {id} was never sent"));
        };
        let (mode, len, again) = (entry.mode, entry.len, entry.received.is_some());
        entry.received = Some(now);
        if again {
            self.wrong(format!("message {id} ({mode:?}, {len} bytes) came twice"));
        }
        if data != body(self.seed, id, mode, len) {
            self.wrong(format!("message {id} ({mode:?}, {len} bytes) came with other bytes"));
        }
        if !again {
            self.check_order(id, channel);
        }
    }

    /// [`outcome`](Self::outcome), where messages that are not promised must end by their deadline.
    pub fn outcome_at(&mut self, now: Time, tag: u64, outcome: Outcome) {
        if let Some(entry) = self.tags.get(&tag).and_then(|id| self.entries.get(*id)) {
            let late = entry.deadline.is_some_and(|d| now.since(entry.sent) > d.saturating_add(self.slack));
            if late && !is_promised(entry.mode) && outcome != Outcome::Cancelled {
                let text = format!("{:?} after {:?}", entry.deadline, now.since(entry.sent));
                self.wrong(format!("tag {tag} ({:?}) ended as {outcome:?} beyond {text}", entry.mode));
            }
        }
        self.outcome(tag, outcome);
    }

    /// An outcome was reported to the sender.
    pub fn outcome(&mut self, tag: u64, outcome: Outcome) {
        let Some(&id) = self.tags.get(&tag) else {
            return self.wrong(format!("an outcome for tag {tag}, which was never given"));
        };
        let entry = &mut self.entries[id];
        let (mode, len, before) = (entry.mode, entry.len, entry.outcome.replace(outcome));
        if let Some(before) = before {
            self.wrong(format!(
                "message {id} ({mode:?}, {len} bytes) ended as {before:?} and as {outcome:?}"
            ));
        }
        if is_promised(mode) && outcome == Outcome::Expired {
            self.wrong(format!("message {id} is guaranteed and expired"));
        }
        // An ordered one can be held back over there, and a sequenced one be overtaken.
        if outcome != Outcome::Delivered || mode == Mode::Ordered {
            return;
        }
        if mode == Mode::Sequenced {
            return self.check_overtaken(id);
        }
        let missing = match self.short.get(&id) {
            Some(data) => {
                let pool = self.pools.entry(data.clone()).or_default();
                pool.delivered += 1;
                pool.delivered > pool.received
            }
            None => self.entries[id].received.is_none(),
        };
        if missing {
            self.wrong(format!("message {id} ({mode:?}, {len} bytes) is Delivered but never came"));
        }
    }

    fn check_overtaken(&mut self, id: usize) {
        let Entry { channel, place, received, .. } = self.entries[id];
        let newest = self.orders.get(&(channel, false)).map_or(0, |(_, last)| *last);
        if received.is_none() && newest < place {
            self.wrong(format!("sequenced message {id} is Delivered, but neither it nor a newer one came"));
        }
    }

    /// Everything had its time: what was guaranteed is there, and every tag has its outcome.
    pub fn check_settled(&mut self) {
        let missing: Vec<_> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| is_promised(e.mode) && e.len >= NUMBERED && e.received.is_none())
            .map(|(id, e)| (id, e.len, e.outcome))
            .take(12)
            .collect();
        if !missing.is_empty() {
            self.wrong(format!("guaranteed but lost: {missing:?}"));
        }
        let short: Vec<_> =
            self.pools.iter().filter(|(_, p)| p.guaranteed > p.received).map(|(d, _)| d.clone()).collect();
        if !short.is_empty() {
            self.wrong(format!("guaranteed but lost, short ones: {short:?}"));
        }
        self.check_outcomes();
    }

    /// Every tag has its outcome.
    pub fn check_outcomes(&mut self) {
        let open: Vec<_> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.tag != 0 && e.outcome.is_none())
            .map(|(id, e)| (id, e.mode, e.len))
            .take(12)
            .collect();
        if !open.is_empty() {
            self.wrong(format!("without an outcome: {open:?}"));
        }
    }

    /// How long guaranteed messages of at most `longest` bytes took, sorted.
    pub fn latencies(&self, longest: usize) -> Vec<Duration> {
        let guaranteed = self.entries.iter().filter(|e| e.mode == Mode::Guaranteed && e.len <= longest);
        let mut all: Vec<_> = guaranteed.filter_map(|e| Some(e.received?.since(e.sent))).collect();
        all.sort();
        all
    }

    /// The share of messages of `mode` that came, of those that carry a number.
    pub fn arrived(&self, mode: Mode) -> f64 {
        let of_mode: Vec<_> = self.entries.iter().filter(|e| e.mode == mode && e.len >= NUMBERED).collect();
        of_mode.iter().filter(|e| e.received.is_some()).count() as f64 / of_mode.len().max(1) as f64
    }
}

fn is_promised(mode: Mode) -> bool {
    matches!(mode, Mode::Guaranteed | Mode::Ordered)
}

/// The value below which the share `q` of sorted values lies.
pub fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let index = (sorted.len() as f64 * q) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
