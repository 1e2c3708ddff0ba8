//! The exchanges of all connections of one server or client, with what they share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use super::plain_transfer::PlainTransfer;
use super::{Event, Exchange, Failure, FileId, NoSuchFile, Quota, Reply, Request, Target, Totals};
use crate::protocol::time::Time;

/// See the module. `K` names a connection, and never two.
#[derive(Debug)]
pub struct Hub<K> {
    quota: Quota,
    totals: Totals,
    exchanges: BTreeMap<K, Exchange>,
    /// Those with messages to send.
    speakers: BTreeSet<K>,
    requests: VecDeque<(K, FileId, Request)>,
    /// Of each file at most one offer, one progress and one end: whoever does not hear of them makes no more of them.
    events: VecDeque<(K, Event)>,
    /// Connections that are a plain file each, and those whose file is over, with why if that is an error.
    plain: BTreeMap<K, PlainTransfer>,
    over: VecDeque<(K, Option<Failure>)>,
}

impl<K: Copy + Ord> Hub<K> {
    /// Without connections.
    pub fn new(quota: Quota) -> Hub<K> {
        Hub {
            quota,
            totals: Totals::default(),
            exchanges: BTreeMap::new(),
            speakers: BTreeSet::new(),
            requests: VecDeque::new(),
            events: VecDeque::new(),
            plain: BTreeMap::new(),
            over: VecDeque::new(),
        }
    }

    /// What all of them receive together.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn input<R>(&mut self, of: K, act: impl FnOnce(&mut Exchange, &mut Totals) -> R) -> R {
        let exchange = self.exchanges.entry(of).or_insert_with(|| Exchange::new(self.quota));
        let result = act(exchange, &mut self.totals);
        self.drain(of, false);
        result
    }

    /// As `input`, for what is about a file: without an exchange there is none. One that was made for it would outlive
    /// its connection.
    fn about(
        &mut self,
        of: K,
        act: impl FnOnce(&mut Exchange, &mut Totals) -> Result<(), NoSuchFile>,
    ) -> Result<(), NoSuchFile> {
        if !self.exchanges.contains_key(&of) {
            return Err(NoSuchFile);
        }
        self.input(of, act)
    }

    fn drain(&mut self, of: K, closed: bool) {
        let Some(exchange) = self.exchanges.get_mut(&of) else { return };
        while let Some((file, request)) = exchange.poll_request() {
            self.requests.push_back((of, file, request));
        }
        while let Some(event) = exchange.poll_event() {
            note(&mut self.events, of, event);
        }
        if exchange.has_message() && !closed {
            self.speakers.insert(of);
        } else {
            self.speakers.remove(&of);
        }
    }

    /// See [`Exchange::send`].
    pub fn send(&mut self, of: K, name: &str, source: PathBuf) -> Option<FileId> {
        self.input(of, |exchange, _| exchange.send(name, source))
    }

    /// See [`Exchange::accept`].
    pub fn accept(&mut self, of: K, number: u32, target: Target) -> Result<(), NoSuchFile> {
        if self.plain.contains_key(&of) {
            return self
                .plain_input(of, |plain, totals| plain.accept(number, target, totals))
                .unwrap_or(Err(NoSuchFile));
        }
        self.about(of, |exchange, totals| exchange.accept(number, target, totals))
    }

    /// See [`Exchange::refuse`].
    pub fn refuse(&mut self, of: K, number: u32, text: &str) -> Result<(), NoSuchFile> {
        if self.plain.contains_key(&of) {
            return self
                .plain_input(of, |plain, totals| plain.refuse(number, totals))
                .unwrap_or(Err(NoSuchFile));
        }
        self.about(of, |exchange, totals| exchange.refuse(number, text, totals))
    }

    /// See [`Exchange::cancel`].
    pub fn cancel(&mut self, of: K, file: FileId) -> Result<(), NoSuchFile> {
        if self.plain.contains_key(&of) {
            return self
                .plain_input(of, |plain, totals| plain.cancel(file, totals))
                .unwrap_or(Err(NoSuchFile));
        }
        self.about(of, |exchange, totals| exchange.cancel(file, totals))
    }

    // --- plain files ----------------------------------------------------------------------------------

    /// A connection that is nothing but a plain file begins.
    pub fn open_plain(&mut self, now: Time, of: K) {
        self.plain.insert(of, PlainTransfer::new(now, self.quota));
    }

    /// What one read of it brought.
    pub fn handle_plain(&mut self, of: K, now: Time, bytes: &[u8]) {
        self.plain_input(of, |plain, totals| plain.handle_read(now, bytes, totals));
    }

    /// Its sender has ended its half.
    pub fn handle_plain_end(&mut self, of: K) {
        self.plain_input(of, |plain, totals| plain.handle_end(totals));
    }

    /// Whether a connection is one.
    pub fn is_plain(&self, of: K) -> bool {
        self.plain.contains_key(&of)
    }

    /// Whether it takes another read now.
    pub fn wants_plain(&self, of: K) -> bool {
        self.plain.get(&of).is_some_and(PlainTransfer::wants_bytes)
    }

    /// The next connection whose plain file is over, with why where it did not arrive: it has nothing more to bring.
    pub fn poll_over(&mut self) -> Option<(K, Option<Failure>)> {
        self.over.pop_front()
    }

    fn plain_input<R>(&mut self, of: K, act: impl FnOnce(&mut PlainTransfer, &mut Totals) -> R) -> Option<R> {
        let plain = self.plain.get_mut(&of)?;
        let result = act(plain, &mut self.totals);
        while let Some(request) = plain.poll_request() {
            self.requests.push_back((of, super::plain_transfer::FILE, request));
        }
        while let Some(event) = plain.poll_event() {
            note(&mut self.events, of, event);
        }
        if let Some(why) = plain.take_over() {
            self.over.push_back((of, why));
        }
        Some(result)
    }

    // --- input ----------------------------------------------------------------------------------------

    /// The connection has ended; see [`Exchange::close`].
    pub fn close(&mut self, of: K) {
        self.plain_input(of, |plain, totals| plain.close(totals));
        self.plain.remove(&of);
        if let Some(exchange) = self.exchanges.get_mut(&of) {
            exchange.close(&mut self.totals);
            self.drain(of, true);
            self.exchanges.remove(&of);
        }
    }

    /// See [`Exchange::handle_message`].
    pub fn handle_message(&mut self, now: Time, of: K, message: &[u8]) {
        self.input(of, |exchange, totals| exchange.handle_message(now, message, totals));
    }

    /// See [`Exchange::handle_reply`].
    pub fn handle_reply(&mut self, now: Time, of: K, file: FileId, reply: Reply) {
        if self.plain.contains_key(&of) {
            self.plain_input(of, |plain, totals| plain.handle_reply(now, reply, totals));
        } else if reply == Reply::Dropped && !self.exchanges.contains_key(&of) {
            // Its connection is gone; its place was kept until now.
            self.totals.files = self.totals.files.saturating_sub(1);
        } else if self.exchanges.contains_key(&of) {
            self.input(of, |exchange, totals| exchange.handle_reply(now, file, reply, totals));
        }
    }

    /// See [`Exchange::handle_timeout`]; to be called every few seconds.
    pub fn handle_timeout(&mut self, now: Time) {
        let all: Vec<K> = self.exchanges.keys().copied().collect();
        for of in all {
            self.input(of, |exchange, totals| exchange.handle_timeout(now, totals));
        }
        let all: Vec<K> = self.plain.keys().copied().collect();
        for of in all {
            self.plain_input(of, |plain, totals| plain.handle_timeout(now, totals));
        }
    }

    /// Whether somebody has something to say.
    pub fn has_speakers(&self) -> bool {
        !self.speakers.is_empty()
    }

    /// Who has something to say, the first behind `after`.
    pub fn next_speaker(&self, after: Option<K>) -> Option<K> {
        match after {
            None => self.speakers.first().copied(),
            Some(after) => {
                use std::ops::Bound::{Excluded, Unbounded};
                self.speakers.range((Excluded(after), Unbounded)).next().copied()
            }
        }
    }

    /// The next message for a connection; see [`Exchange::poll_message`].
    pub fn poll_message(&mut self, of: K) -> Option<Vec<u8>> {
        let message = self.exchanges.get_mut(&of)?.poll_message();
        self.drain(of, false);
        message
    }

    /// See [`Exchange::take_last_words`].
    pub fn take_last_words(&mut self, of: K) -> Vec<Vec<u8>> {
        let words = self.exchanges.get_mut(&of).map(Exchange::take_last_words).unwrap_or_default();
        self.drain(of, false);
        words
    }

    /// Whether the disk is to be asked for something.
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether there is something to tell the host; without `room`: an end.
    pub fn has_events(&self, room: bool) -> bool {
        self.events.iter().any(|(_, event)| room || matches!(event, Event::Ended(..)))
    }

    /// Those that have something to say.
    pub fn speakers(&self) -> impl Iterator<Item = K> + '_ {
        self.speakers.iter().copied()
    }

    /// The next request to the disk.
    pub fn poll_request(&mut self) -> Option<(K, FileId, Request)> {
        self.requests.pop_front()
    }

    /// The next event; without `room` the next end: there are no more of those than of files that the host knows, and what it
    /// keeps for a file waits for that. Its progress that waits is then forgotten.
    pub fn poll_event(&mut self, room: bool) -> Option<(K, Event)> {
        if room {
            return self.events.pop_front();
        }
        let at = self.events.iter().position(|(_, event)| matches!(event, Event::Ended(..)))?;
        let end = self.events.remove(at)?;
        if let (of, Event::Ended(file, _)) = &end {
            self.events.retain(|(whose, event)| {
                whose != of || !matches!(event, Event::Progress { file: its, .. } if its == file)
            });
        }
        Some(end)
    }
}

/// Puts an event behind those that wait. Newer progress takes the place of older, and a file of whose offer the host has not heard
/// leaves no trace when it ends.
fn note<K: Copy + PartialEq>(events: &mut VecDeque<(K, Event)>, of: K, event: Event) {
    match &event {
        Event::Offered(..) => {}
        Event::Progress { file, .. } => {
            let older = |(whose, e): &&mut (K, Event)| {
                *whose == of && matches!(e, Event::Progress { file: its, .. } if its == file)
            };
            if let Some((_, older)) = events.iter_mut().find(older) {
                *older = event;
                return;
            }
        }
        Event::Ended(file, _) => {
            let offer =
                |(whose, e): &(K, Event)| *whose == of && matches!(e, Event::Offered(its, _) if its == file);
            if let Some(at) = events.iter().position(offer) {
                events.remove(at);
                return;
            }
        }
    }
    events.push_back((of, event));
}
