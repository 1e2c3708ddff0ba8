//! What lies between the thread that speaks HTTP and the server's: requests one way, answers the other. Bounded, and
//! neither side ever waits for the other with the lock held.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::http::message::{check_answer_header, check_status, Answer, Request, MAX_ANSWER_HEADERS};

/// Numbers of requests, for all servers of the process: a stale one never means another request.
static NEXT_REQUEST: AtomicU64 = AtomicU64::new(1);

/// A request that has not been answered, or the open WebSocket that came of it.
struct Open {
    request: Arc<Request>,
    route: usize,
    /// Headers of the answer so far.
    headers: Vec<(String, String)>,
    /// Where the answer goes; `None` once it has gone, of a WebSocket.
    reply: Option<oneshot::Sender<Answer>>,
    /// The peer that the WebSocket is; 0 before it is one.
    peer: u64,
    /// Its body's share of all bodies.
    _held: Held,
}

#[derive(Default)]
struct State {
    /// Requests that the host has not seen, in order; none that have gone.
    arrived: BTreeSet<u64>,
    open: HashMap<u64, Open>,
    /// The requests of peers.
    peers: HashMap<u64, u64>,
    /// Those of `peers` whose WebSockets have closed, oldest first.
    closed_peers: VecDeque<u64>,
    /// How many of them have no answer.
    waiting: usize,
    /// Lines for the server's log: whether they are warnings, and their text.
    log: VecDeque<(bool, String)>,
    closed: bool,
}

/// Lines for the log that wait at most; more are left out.
const MAX_LOG_LINES: usize = 64;

/// WebSockets that have closed and whose requests are still known by their peers: the host may hear of a connection only when
/// it has ended.
const MAX_CLOSED_PEERS: usize = 4096;

impl State {
    /// The WebSocket of a peer has closed.
    fn left(&mut self, peer: u64) {
        self.closed_peers.push_back(peer);
        if self.closed_peers.len() > MAX_CLOSED_PEERS {
            if let Some(oldest) = self.closed_peers.pop_front() {
                self.peers.remove(&oldest);
            }
        }
    }
}

/// Counts of bytes.
#[derive(Default)]
struct Bytes(AtomicUsize);

/// The meeting place of the two threads.
pub struct Exchange {
    state: Mutex<State>,
    bodies: Arc<Bytes>,
    max_requests: usize,
    max_body_bytes: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// The server ends.
    Closed,
}

/// A share of the bytes of all bodies.
pub struct Held {
    bytes: usize,
    of: Arc<Bytes>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Exchange {
    /// An empty one; `wake` makes the server's thread look at it.
    pub fn new(max_requests: usize, max_body_bytes: usize, wake: Box<dyn Fn() + Send + Sync>) -> Exchange {
        Exchange { state: Mutex::default(), bodies: Arc::default(), max_requests, max_body_bytes, wake }
    }

    // --- of the HTTP thread -----------------------------------------------------------------------------

    /// A share of no bytes.
    pub fn hold(&self) -> Held {
        Held { bytes: 0, of: Arc::clone(&self.bodies) }
    }

    /// Lets a share grow; whether there is room for it.
    pub fn grow(&self, held: &mut Held, bytes: usize) -> bool {
        let before = self.bodies.0.fetch_add(bytes, Ordering::Relaxed);
        held.bytes += bytes;
        before.saturating_add(bytes) <= self.max_body_bytes
    }

    /// Hands a request over. When the ticket is dropped, the request is forgotten.
    pub fn submit(
        self: &Arc<Self>,
        request: Request,
        route: usize,
        held: Held,
    ) -> std::result::Result<Ticket, Refused> {
        let (reply, answer) = oneshot::channel();
        let id = NEXT_REQUEST.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting >= self.max_requests {
            return Err(Refused::Full);
        }
        state.waiting += 1;
        let request = Arc::new(request);
        state.open.insert(
            id,
            Open { request, route, headers: Vec::new(), reply: Some(reply), peer: 0, _held: held },
        );
        state.arrived.insert(id);
        drop(state);
        (self.wake)();
        Ok(Ticket { id, answer, exchange: Arc::clone(self) })
    }

    /// Says something in the server's log.
    pub fn log(&self, warning: bool, line: String) {
        let mut state = self.state.lock();
        if state.log.len() < MAX_LOG_LINES {
            state.log.push_back((warning, line));
            drop(state);
            (self.wake)();
        }
    }

    // --- of the server's --------------------------------------------------------------------------------

    /// Whether something waits for the server's thread.
    pub fn is_pending(&self) -> bool {
        let state = self.state.lock();
        !state.arrived.is_empty() || !state.log.is_empty()
    }

    /// The next request that the host has not seen, and its route.
    pub fn take(&self) -> Option<(u64, usize)> {
        let mut state = self.state.lock();
        while let Some(id) = state.arrived.pop_first() {
            // A host may have answered it by guessing.
            if let Some(open) = state.open.get(&id) {
                return Some((id, open.route));
            }
        }
        None
    }

    /// The next line for the log.
    pub fn take_log(&self) -> Option<(bool, String)> {
        self.state.lock().log.pop_front()
    }

    /// A request by its number. Errors: Stale.
    pub fn request(&self, id: u64) -> Result<Arc<Request>> {
        self.state.lock().open.get(&id).map(|open| Arc::clone(&open.request)).ok_or_else(stale)
    }

    /// The route that a request came to. Errors: Stale.
    pub fn route(&self, id: u64) -> Result<usize> {
        self.state.lock().open.get(&id).map(|open| open.route).ok_or_else(stale)
    }

    /// Adds a header to a request's answer. Errors: Stale, Argument, WouldBlock (it has [`MAX_ANSWER_HEADERS`]).
    pub fn header(&self, id: u64, name: &str, value: &str) -> Result<()> {
        let mut state = self.state.lock();
        let open = state.open.get_mut(&id).filter(|open| open.reply.is_some()).ok_or_else(stale)?;
        check_answer_header(name, value)?;
        if open.headers.len() >= MAX_ANSWER_HEADERS {
            let text = format!("an answer has {MAX_ANSWER_HEADERS} headers at most");
            return Err(Error::new(ErrorKind::WouldBlock, text));
        }
        open.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Takes the headers of a request's answer back. Errors: Stale.
    pub fn clear_headers(&self, id: u64) -> Result<()> {
        let mut state = self.state.lock();
        let open = state.open.get_mut(&id).filter(|open| open.reply.is_some()).ok_or_else(stale)?;
        open.headers.clear();
        Ok(())
    }

    /// Answers a request, whose number is stale from then on. Errors: Stale, Argument (the status; then it still waits).
    pub fn answer(&self, id: u64, status: u32, body: Vec<u8>) -> Result<()> {
        let mut state = self.state.lock();
        if state.open.get(&id).is_none_or(|open| open.reply.is_none()) {
            return Err(stale());
        }
        let status = check_status(status)?;
        let Some(open) = state.open.remove(&id) else { return Err(stale()) };
        state.waiting -= 1;
        drop(state);
        if let Some(reply) = open.reply {
            // Who asked may leave at any time.
            let _gone = reply.send(Answer { status, headers: open.headers, body });
        }
        Ok(())
    }

    /// Answers a request with 503, since the host has no room for it.
    pub fn turn_away(&self, id: u64) {
        let mut state = self.state.lock();
        let Some(open) = state.open.get_mut(&id) else { return };
        let Some(reply) = open.reply.take() else { return };
        state.open.remove(&id);
        state.waiting -= 1;
        drop(state);
        let _gone = reply.send(Answer::busy());
    }

    /// Opens the WebSocket that a request asks for. Its number stays good as long as that is open. Errors: Stale.
    pub fn upgrade(&self, id: u64) -> Result<()> {
        let mut state = self.state.lock();
        let open = state.open.get_mut(&id).ok_or_else(stale)?;
        let reply = open.reply.take().ok_or_else(stale)?;
        let headers = std::mem::take(&mut open.headers);
        state.waiting -= 1;
        drop(state);
        let _gone = reply.send(Answer { status: 101, headers, body: Vec::new() });
        Ok(())
    }

    /// Answers whatever waits with 503, now and from now on.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.arrived.clear();
        state.waiting = 0;
        let open = std::mem::take(&mut state.open);
        drop(state);
        for reply in open.into_values().filter_map(|open| open.reply) {
            let _gone = reply.send(Answer::of_status(503, "the server is stopping"));
        }
    }

    /// The WebSocket of a request is this peer from now on.
    pub fn seat(&self, id: u64, peer: u64) {
        let mut state = self.state.lock();
        state.peers.insert(peer, id);
        match state.open.get_mut(&id) {
            Some(open) => open.peer = peer,
            // It has closed before it had a seat.
            None => state.left(peer),
        }
    }

    /// The request that opened the WebSocket of a peer; of one that has closed while it is among the last
    /// `MAX_CLOSED_PEERS`.
    pub fn request_of(&self, peer: u64) -> Option<u64> {
        self.state.lock().peers.get(&peer).copied()
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }
}

fn stale() -> Error {
    Error::new(ErrorKind::Stale, "the request was answered, has timed out, or was never one of this server's")
}

/// A request that was handed over, and the way its answer comes back.
pub struct Ticket {
    id: u64,
    answer: oneshot::Receiver<Answer>,
    exchange: Arc<Exchange>,
}

impl Ticket {
    /// The request's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer. It can be given up and asked again.
    pub async fn answer(&mut self) -> Answer {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Answer::of_status(503, "the server is stopping"))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.exchange.state.lock();
        state.arrived.remove(&self.id);
        if let Some(open) = state.open.remove(&self.id) {
            if open.reply.is_some() {
                state.waiting -= 1;
            }
            if open.peer != 0 {
                state.left(open.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            method: "GET".into(),
            path: "/".into(),
            query: String::new(),
            headers: vec![],
            params: vec![],
            body: vec![],
            address: "127.0.0.1:1".parse().unwrap(),
            secure: false,
        }
    }

    fn exchange(max_requests: usize) -> Arc<Exchange> {
        Arc::new(Exchange::new(max_requests, 100, Box::new(|| {})))
    }

    #[test]
    fn a_number_is_good_for_one_answer() {
        let exchange = exchange(2);
        let ticket = exchange.submit(request(), 3, exchange.hold()).unwrap();
        assert_eq!(exchange.take(), Some((ticket.id(), 3)));
        assert_eq!(exchange.take(), None);
        assert_eq!(exchange.answer(ticket.id(), 99, vec![]).unwrap_err().kind(), ErrorKind::Argument);
        exchange.header(ticket.id(), "x", "y").unwrap();
        exchange.answer(ticket.id(), 200, b"a".to_vec()).unwrap();
        assert_eq!(exchange.answer(ticket.id(), 200, vec![]).unwrap_err().kind(), ErrorKind::Stale);
        assert_eq!(exchange.header(ticket.id(), "x", "y").unwrap_err().kind(), ErrorKind::Stale);
        assert_eq!(exchange.request(ticket.id()).unwrap_err().kind(), ErrorKind::Stale);
        assert_eq!(exchange.upgrade(ticket.id()).unwrap_err().kind(), ErrorKind::Stale);
        let mut ticket = ticket;
        let answer = ticket.answer.try_recv().unwrap();
        assert_eq!((answer.status, answer.headers.len(), answer.body), (200, 1, b"a".to_vec()));
        assert_eq!(exchange.waiting(), 0);
    }

    #[test]
    fn who_left_is_forgotten_and_makes_room() {
        let exchange = exchange(1);
        let ticket = exchange.submit(request(), 0, exchange.hold()).unwrap();
        let id = ticket.id();
        assert!(matches!(exchange.submit(request(), 0, exchange.hold()), Err(Refused::Full)));
        drop(ticket);
        assert!(!exchange.is_pending(), "nothing is kept of who has gone");
        assert_eq!(exchange.take(), None);
        assert_eq!(exchange.answer(id, 200, vec![]).unwrap_err().kind(), ErrorKind::Stale);
        assert!(exchange.submit(request(), 0, exchange.hold()).is_ok());
        exchange.close();
        assert!(matches!(exchange.submit(request(), 0, exchange.hold()), Err(Refused::Closed)));
    }

    #[test]
    fn who_is_turned_away_is_told_when_to_come_again() {
        let exchange = exchange(1);
        let mut ticket = exchange.submit(request(), 0, exchange.hold()).unwrap();
        exchange.turn_away(ticket.id());
        let answer = ticket.answer.try_recv().unwrap();
        assert_eq!(
            (answer.status, answer.headers.last().map(|(name, _)| name.as_str())),
            (503, Some("retry-after"))
        );
        assert_eq!((exchange.waiting(), exchange.request(ticket.id()).is_err()), (0, true));
        exchange.turn_away(ticket.id());
        assert_eq!(exchange.waiting(), 0);
    }

    #[test]
    fn a_websockets_request_answers_questions_while_it_is_open() {
        let exchange = exchange(1);
        let ticket = exchange.submit(request(), 0, exchange.hold()).unwrap();
        exchange.upgrade(ticket.id()).unwrap();
        assert_eq!(exchange.waiting(), 0);
        assert!(exchange.request(ticket.id()).is_ok());
        assert_eq!(exchange.answer(ticket.id(), 200, vec![]).unwrap_err().kind(), ErrorKind::Stale);
        let id = ticket.id();
        drop(ticket);
        assert!(exchange.request(id).is_err());
        assert_eq!(exchange.waiting(), 0);
    }

    #[test]
    fn a_websocket_that_has_closed_is_known_by_its_peer_for_a_while() {
        let exchange = exchange(1);
        let open = || {
            let ticket = exchange.submit(request(), 0, exchange.hold()).unwrap();
            exchange.upgrade(ticket.id()).unwrap();
            (ticket.id(), ticket)
        };
        let (first, ticket) = open();
        exchange.seat(first, 7);
        drop(ticket);
        let (second, ticket) = open();
        drop(ticket);
        exchange.seat(second, 8);
        assert_eq!((exchange.request_of(7), exchange.request_of(8)), (Some(first), Some(second)));
        assert!(exchange.request(first).is_err() && exchange.request(second).is_err());
        for peer in 9..9 + MAX_CLOSED_PEERS as u64 {
            exchange.seat(0, peer);
        }
        assert_eq!((exchange.request_of(7), exchange.request_of(8)), (None, None));
        let state = exchange.state.lock();
        assert_eq!((state.peers.len(), state.closed_peers.len()), (MAX_CLOSED_PEERS, MAX_CLOSED_PEERS));
    }

    #[test]
    fn all_bodies_together_are_bounded() {
        let exchange = exchange(1);
        let (mut a, mut b) = (exchange.hold(), exchange.hold());
        assert!(exchange.grow(&mut a, 60) && !exchange.grow(&mut b, 41));
        drop(b);
        assert!(exchange.grow(&mut a, 40));
        drop(a);
        assert_eq!(exchange.bodies.0.load(Ordering::Relaxed), 0);
    }
}
