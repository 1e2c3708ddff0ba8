//! Datagrams that are of no wire, and those who look for servers.
//!
//! Who sends such a datagram has proved nothing, not even its address. So nothing here is longer than what
//! asked for it, and all of it is budgeted: per source, so that one cannot use up what all have, and in
//! total, so that forged sources cannot either.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::server::DropReason;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::Direction;
use crate::protocol::wire::query;
use crate::server::budget::{Budgets, Rate};
use crate::server::config::Config;
use crate::server::events::Event;

/// Raw datagrams and queries taken of one source (an IPv4 address or an IPv6 /64); above it they are dropped.
pub const RAW_PER_SOURCE: Rate = Rate { hz: 20.0, burst: 40.0 };
/// The same for all together.
pub const RAW_TOTAL: Rate = Rate { hz: 1000.0, burst: 2000.0 };
/// Raw datagrams that can still be answered; the oldest are forgotten first.
pub const MAX_RAW_QUESTIONS: usize = 1024;
/// For how long one can be answered.
pub const RAW_ANSWER_TIME: Duration = Duration::from_secs(5);
/// Answers that wait to be sent, in datagrams; above it they are dropped.
const MAX_RAW_ANSWERS: usize = 1024;
/// First byte from which on datagrams are the library's own, and never the host's but for queries.
const FIRST_NATIVE: u8 = 0x80;

/// A raw datagram that can be answered.
#[derive(Debug)]
struct Question {
    from: SocketAddr,
    len: usize,
    at: Time,
}

/// What is known of those who sent datagrams of no wire.
#[derive(Debug)]
pub struct Raw {
    budgets: Budgets,
    /// Whether the host wants them.
    wanted: bool,
    info: Option<Vec<u8>>,
    questions: VecDeque<Question>,
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Raw {
    /// As the configuration says; `takes`: the handler wants raw datagrams.
    pub fn new(now: Time, config: &Config, takes: bool) -> Self {
        Raw {
            budgets: Budgets::new(now, RAW_PER_SOURCE, RAW_TOTAL),
            wanted: takes || config.raw_datagrams,
            info: config.discovery_info.clone(),
            questions: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Whether the datagram is handled here.
    fn is_mine(&self, datagram: &[u8]) -> bool {
        if query::is_query(datagram) {
            return self.wanted || self.info.is_some();
        }
        let of_a_wire = datagram.starts_with(&Direction::ToServer.magic())
            || datagram.first().is_some_and(|first| *first >= FIRST_NATIVE);
        self.wanted && !of_a_wire
    }

    /// Whether an answer waits to be sent.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next answer, appended to `out`.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, answer) = self.answers.pop_front()?;
        out.extend_from_slice(&answer);
        Some(to)
    }

    fn answer(&mut self, to: SocketAddr, answer: Vec<u8>) -> bool {
        let room = self.answers.len() < MAX_RAW_ANSWERS;
        if room {
            self.answers.push_back((to, answer));
        }
        room
    }

    fn ask(&mut self, now: Time, from: SocketAddr, len: usize) {
        self.forget(now);
        if self.questions.len() >= MAX_RAW_QUESTIONS {
            self.questions.pop_front();
        }
        self.questions.push_back(Question { from, len, at: now });
    }

    fn forget(&mut self, now: Time) {
        while self.questions.front().is_some_and(|q| q.at + RAW_ANSWER_TIME <= now) {
            self.questions.pop_front();
        }
    }
}

impl Core {
    /// Takes a datagram that is of no wire, or a query. `None`: it is neither, or nobody wants such.
    pub(super) fn take_raw(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<std::result::Result<(), DropReason>> {
        if !self.raw.is_mine(datagram) {
            return None;
        }
        if self.closing || !self.raw.budgets.take(now, from.ip()) {
            return Some(Err(DropReason::RawBudget));
        }
        if let (true, Some(info)) = (query::is_query(datagram), &self.raw.info) {
            let Some(nonce) = query::parse_query(datagram) else { return Some(Err(DropReason::Malformed)) };
            let mut answer = Vec::new();
            query::write_answer(&nonce, info, &mut answer);
            let sent = answer.len() <= datagram.len() && self.raw.answer(from, answer);
            return Some(if sent { Ok(()) } else { Err(DropReason::RawBudget) });
        }
        let waiting = self.pulled.len() + self.dispatches.len();
        let full = waiting >= self.wants.queue || self.pulled_bytes >= self.wants.queue_bytes;
        if full && !self.wants.takes.raw {
            return Some(Err(DropReason::RawBudget));
        }
        self.raw.ask(now, from, datagram.len());
        self.emit(Event::Raw(from, datagram.to_vec()));
        Some(Ok(()))
    }

    /// See [`crate::Server::send_raw`].
    pub fn send_raw(&mut self, now: Time, to: SocketAddr, answer: &[u8]) -> Result<()> {
        self.raw.forget(now);
        let questions = &self.raw.questions;
        let Some(at) = questions.iter().position(|q| q.from == to && q.len >= answer.len()) else {
            return Err(match questions.iter().filter(|q| q.from == to).map(|q| q.len).max() {
                Some(most) => {
                    let text = format!("{} bytes are more than those asked with, {most}", answer.len());
                    Error::new(ErrorKind::TooLarge, text)
                }
                None => Error::new(ErrorKind::State, format!("{to} has not asked, or was answered")),
            });
        };
        self.raw.questions.remove(at);
        if !self.raw.answer(to, answer.to_vec()) {
            self.drop_datagram(DropReason::RawBudget);
            return Err(Error::new(ErrorKind::WouldBlock, "too many answers wait to be sent"));
        }
        Ok(())
    }

    /// See [`crate::Server::set_discovery_info`].
    pub fn set_discovery_info(&mut self, info: Option<Vec<u8>>) -> Result<()> {
        let len = info.as_ref().map_or(0, Vec::len);
        if len > query::MAX_INFO {
            let text = format!("discovery_info has {len} bytes, allowed are {}", query::MAX_INFO);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        self.raw.info = info;
        Ok(())
    }

    /// What raw datagrams keep, for the books of tests.
    #[cfg(test)]
    pub fn raw_kept(&self) -> (usize, usize) {
        (self.raw.questions.len(), self.raw.answers.len())
    }
}
