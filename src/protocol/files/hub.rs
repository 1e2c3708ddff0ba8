//! The exchanges of all connections of one server or client, with what they share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use super::{Event, Exchange, FileId, NoSuchFile, Quota, Reply, Request, Target, Totals};
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
    events: VecDeque<(K, Event)>,
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
            self.events.push_back((of, event));
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
        self.about(of, |exchange, totals| exchange.accept(number, target, totals))
    }

    /// See [`Exchange::refuse`].
    pub fn refuse(&mut self, of: K, number: u32, text: &str) -> Result<(), NoSuchFile> {
        self.about(of, |exchange, totals| exchange.refuse(number, text, totals))
    }

    /// See [`Exchange::cancel`].
    pub fn cancel(&mut self, of: K, file: FileId) -> Result<(), NoSuchFile> {
        self.about(of, |exchange, totals| exchange.cancel(file, totals))
    }

    /// The connection has ended; see [`Exchange::close`].
    pub fn close(&mut self, of: K) {
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
        if self.exchanges.contains_key(&of) {
            self.input(of, |exchange, totals| exchange.handle_reply(now, file, reply, totals));
        }
    }

    /// See [`Exchange::handle_timeout`]; to be called every few seconds.
    pub fn handle_timeout(&mut self, now: Time) {
        let all: Vec<K> = self.exchanges.keys().copied().collect();
        for of in all {
            self.input(of, |exchange, totals| exchange.handle_timeout(now, totals));
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

    /// The next request to the disk.
    pub fn poll_request(&mut self) -> Option<(K, FileId, Request)> {
        self.requests.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<(K, Event)> {
        self.events.pop_front()
    }
}
