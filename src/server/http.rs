//! HTTP as the host sees it: who answers which route, and the answers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{Error, ErrorKind, Result};
use crate::http::config::{
    DoorConfig, HttpConfig, Kind, Limits, Route, TlsFiles, DEFAULT_MAX_BODY, MAX_DOORS, MAX_ROUTES,
};
use crate::http::message::Request;
use crate::http::route::{Method, Pattern};
use crate::net::address::ListenAddress;
use crate::net::event_loop::Waker;
use crate::net::http::{Doors, Surroundings};
use crate::net::pipe::Entrance;
use crate::protocol::time::Time;
use crate::server::block_list::BlockList;
use crate::server::config::Config;
use crate::server::events::{Event, LogLevel, PeerId};
use crate::server::stream_door::is_loopback;
use crate::server::Server;

/// Requests that the host is called with before the loop looks at its peers and its tick again.
const REQUESTS_PER_TURN: usize = 64;

/// A request that waits for its answer: an integer that is never reused while the process lives. A stale one is answered
/// with [`ErrorKind::Stale`], never with another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The integer, for the C ABI or a log; never 0.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From an integer that [`to_bits`](Self::to_bits) gave. Any integer is safe: one that names no request is stale.
    pub fn from_bits(bits: u64) -> Self {
        RequestId(bits)
    }
}

/// Answers a route; runs on the server's thread. It answers there or later, from any thread.
pub type RouteHandler = Arc<dyn Fn(&Server, RequestId) + Send + Sync>;

/// Who hears of a request.
#[derive(Clone)]
pub enum RouteAction {
    /// A function.
    Call(RouteHandler),
    /// The event queue, with this tag.
    Event(u64),
    /// Nobody: files, and WebSockets that everybody may open.
    Nobody,
}

impl fmt::Debug for RouteAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteAction::Call(_) => f.write_str("Call"),
            RouteAction::Event(tag) => write!(f, "Event({tag})"),
            RouteAction::Nobody => f.write_str("Nobody"),
        }
    }
}

/// The HTTP part of a server's configuration.
#[derive(Clone, Debug)]
pub struct Http {
    pub(crate) config: HttpConfig,
    pub(crate) actions: Vec<RouteAction>,
    max_body: usize,
    route_door: Option<usize>,
    password_in_clear: bool,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            config: HttpConfig::default(),
            actions: Vec::new(),
            max_body: DEFAULT_MAX_BODY,
            password_in_clear: false,
            route_door: None,
        }
    }
}

impl Http {
    /// Adds a door at an address; with `tls` for HTTPS. Errors: Address, Argument ([`MAX_DOORS`]).
    pub fn listen(&mut self, address: &str, tls: Option<TlsFiles>) -> Result<()> {
        ListenAddress::parse(address)?;
        if self.config.doors.len() >= MAX_DOORS {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("a server has {MAX_DOORS} HTTP doors at most"),
            ));
        }
        let (address, password_in_clear) = (address.to_owned(), self.password_in_clear);
        self.config.doors.push(DoorConfig { address, tls, password_in_clear });
        Ok(())
    }

    /// Adds a route, behind those that are there; the first that matches counts. Errors: Argument (the pattern, see
    /// [`Pattern`]; [`MAX_ROUTES`]; [`RouteAction::Nobody`], who answers nothing).
    pub fn route(&mut self, method: Method, pattern: &str, action: RouteAction) -> Result<()> {
        if matches!(action, RouteAction::Nobody) {
            let text = "a route needs somebody who answers: a function, or the event queue";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        self.add(method, pattern, Kind::Host, action)
    }

    /// Adds a route at which WebSockets open. Who hears of the request opens it with [`Server::upgrade`] or refuses it
    /// with an answer; with [`RouteAction::Nobody`] all are opened. Errors: as [`route`](Self::route).
    pub fn route_websocket(&mut self, pattern: &str, action: RouteAction) -> Result<()> {
        self.add(Method::Get, pattern, Kind::WebSocket, action)
    }

    /// Adds a route that gives the files below a directory, by what the pattern's last name stands for. Nothing outside of it
    /// is given, not by `..` and not by symbolic links; nor are names that begin with a dot. Errors: as
    /// [`route`](Self::route).
    pub fn route_files(&mut self, pattern: &str, directory: impl Into<PathBuf>) -> Result<()> {
        self.add(Method::Get, pattern, Kind::Files(directory.into()), RouteAction::Nobody)
    }

    fn add(&mut self, method: Method, pattern: &str, kind: Kind, action: RouteAction) -> Result<()> {
        let pattern = Pattern::parse(pattern)?;
        if self.config.routes.len() >= MAX_ROUTES {
            return Err(Error::new(ErrorKind::Argument, format!("a server has {MAX_ROUTES} routes at most")));
        }
        self.config.routes.push(Route {
            method,
            pattern,
            kind,
            max_body: self.max_body,
            door: self.route_door,
        });
        self.actions.push(action);
        Ok(())
    }

    /// The longest body of a request, in bytes, of routes that are added from now on. Default 5 MiB, range 0 to 1 GiB.
    /// Errors: Argument.
    pub fn set_max_body(&mut self, bytes: usize) -> Result<()> {
        if bytes > 1 << 30 {
            let text = format!("http max_body is {bytes}, allowed is 0 to {}", 1 << 30);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        self.max_body = bytes;
        Ok(())
    }

    /// The door that routes are for which are added from now on, by its place among the doors; `None`: all doors, which is the
    /// default. At any other door such a route does not exist. Errors: Argument (there is no such door yet).
    pub fn set_route_door(&mut self, door: Option<usize>) -> Result<()> {
        let doors = self.config.doors.len();
        if let Some(door) = door.filter(|door| *door >= doors) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("there is no HTTP door {door}, but {doors}"),
            ));
        }
        self.route_door = door;
        Ok(())
    }

    /// Whether doors that are added from now on let WebSockets bring the server's password also where others can read it on
    /// the way: without TLS and not on loopback. Default no: a server that has a password, a route of WebSockets and such a
    /// door does not start.
    pub fn set_password_in_clear(&mut self, on: bool) {
        self.password_in_clear = on;
    }

    /// Takes all doors and routes out again; the bounds stay.
    pub fn clear(&mut self) {
        let limits = std::mem::take(&mut self.config.limits);
        *self = Http { config: HttpConfig { limits, ..HttpConfig::default() }, ..Http::default() };
    }

    /// The bounds.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.config.limits
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.config.limits.validate()
    }
}

/// With a password WebSockets must be opened where nobody listens in, or the door be told that this does not matter.
/// Errors: Argument, Address.
fn check_password(config: &Config) -> Result<()> {
    let http = &config.http.config;
    if config.password.is_none() {
        return Ok(());
    }
    let opens = |door| http.routes.iter().any(|route| route.kind == Kind::WebSocket && route.is_at(door));
    let in_clear = |door: &DoorConfig| door.tls.is_none() && !door.password_in_clear;
    for (_, door) in http.doors.iter().enumerate().filter(|(at, door)| in_clear(door) && opens(*at)) {
        if !is_loopback(ListenAddress::parse(&door.address)?.socket.ip()) {
            let text = format!(
                "WebSockets at {} would bring the password in clear: give the door TLS, let it listen on loopback, or \
                 say that it may (password_in_clear)",
                door.address
            );
            return Err(Error::new(ErrorKind::Argument, text));
        }
    }
    Ok(())
}

/// Opens the doors of a configuration. Errors: Address, AddressInUse, Io, Key (certificate or key), Argument.
pub(crate) fn open(
    config: &Config,
    blocked: &Arc<RwLock<BlockList>>,
    waker: &Waker,
    entrance: Entrance,
) -> Result<Option<Doors>> {
    if config.http.config.doors.is_empty() {
        return Ok(None);
    }
    check_password(config)?;
    let mut answered = config.http.config.routes.iter().zip(&config.http.actions);
    let asks = |(route, action): (&Route, &RouteAction)| {
        route.kind == Kind::Host && matches!(action, RouteAction::Event(_))
    };
    if config.max_queued_events == 0 && answered.any(asks) {
        let text = "routes without a function need an event queue (max_queued_events)";
        return Err(Error::new(ErrorKind::Argument, text));
    }
    let (waker, blocked) = (waker.clone(), Arc::clone(blocked));
    let surroundings = Surroundings {
        wake: Box::new(move || waker.wake()),
        admit: Box::new(move |address| !blocked.read().contains(address)),
        entrance,
        max_message: config.max_message_size,
    };
    Ok(Some(Doors::open(&config.http.config, surroundings)?))
}

impl Server {
    /// The addresses that HTTP doors are bound to, with their real ports, in the order in which they were added.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.0
            .http
            .as_ref()
            .map_or_else(Vec::new, |doors| doors.addresses().iter().map(|(_, address)| *address).collect())
    }

    /// Ends HTTP connections from addresses on the block list.
    pub(crate) fn end_unwanted(&self) {
        if let Some(doors) = &self.0.http {
            doors.end_unwanted();
        }
    }

    fn doors(&self) -> Result<&Doors> {
        let none = || Error::new(ErrorKind::State, "the server has no HTTP door");
        self.0.http.as_ref().ok_or_else(none)
    }

    /// A request that waits for its answer, or whose WebSocket is open. Errors: Stale, State (no HTTP door), Panic.
    pub fn request(&self, id: RequestId) -> Result<Arc<Request>> {
        self.check()?;
        self.doors()?.exchange().request(id.0)
    }

    /// Adds a header to the answer of a request. Errors: Stale, Argument (a name or value that is none, or a header that
    /// the library sets), WouldBlock (the answer has 64), State, Panic.
    pub fn answer_header(&self, id: RequestId, name: &str, value: &str) -> Result<()> {
        self.check()?;
        self.doors()?.exchange().header(id.0, name, value)
    }

    /// Takes the headers of a request's answer back. Errors: Stale, State, Panic.
    pub fn answer_clear(&self, id: RequestId) -> Result<()> {
        self.check()?;
        self.doors()?.exchange().clear_headers(id.0)
    }

    /// Answers a request; its id is stale from then on. Errors: Stale, Argument (the status: 200 to 599), State, Panic.
    pub fn answer(&self, id: RequestId, status: u32, body: impl Into<Vec<u8>>) -> Result<()> {
        self.check()?;
        self.doors()?.exchange().answer(id.0, status, body.into())
    }

    /// Opens the WebSocket that a request asks for; who sent it becomes a peer. The id is good as long as that is
    /// open. Errors: Stale, State (not a route of WebSockets), Panic.
    pub fn upgrade(&self, id: RequestId) -> Result<()> {
        self.check()?;
        let exchange = self.doors()?.exchange();
        let request = exchange.route(id.0)?;
        if !matches!(self.0.routes.get(request), Some((Kind::WebSocket, _))) {
            return Err(Error::new(ErrorKind::State, "the request came to a route that opens no WebSocket"));
        }
        exchange.upgrade(id.0)
    }

    /// The request that opened the WebSocket of a peer, also of one that has closed just now: then the request is stale.
    /// `None`: the peer is none, or has long closed. Errors: Panic.
    pub fn request_of(&self, peer: PeerId) -> Result<Option<RequestId>> {
        self.check()?;
        let doors = self.0.http.as_ref();
        Ok(doors.and_then(|doors| doors.exchange().request_of(peer.to_bits())).map(RequestId))
    }

    /// Hands requests to the host, on the server's thread; behind the first no more once `due` has come, which is the next
    /// tick. Whether there were any.
    pub(crate) fn serve_http(&self, due: Time) -> bool {
        let Some(doors) = &self.0.http else { return false };
        let mut happened = false;
        for _ in 0..REQUESTS_PER_TURN {
            if let Some((warning, line)) = doors.exchange().take_log() {
                let level = if warning { LogLevel::Warn } else { LogLevel::Info };
                self.0.core.lock().log(level, line);
                happened = true;
                continue;
            }
            let Some((id, route)) = doors.exchange().take() else { break };
            happened = true;
            match self.0.routes.get(route) {
                Some((_, RouteAction::Call(function))) => {
                    self.0.life.calling(|| crate::panic_scope::outside(|| function(self, RequestId(id))));
                }
                Some((_, RouteAction::Event(tag))) if self.0.pulls => {
                    let mut core = self.0.core.lock();
                    if core.can_queue_event() {
                        core.emit(Event::Request(RequestId(id), *tag));
                    } else {
                        drop(core);
                        doors.exchange().turn_away(id);
                    }
                }
                // Who asked may have left.
                _ => drop(doors.exchange().upgrade(id)),
            }
            // Unlike datagrams, what is not read now is not lost.
            if self.0.life.clock.now() >= due {
                break;
            }
        }
        happened
    }

    /// Whether [`serve_http`](Self::serve_http) has something to do.
    pub(crate) fn http_is_pending(&self) -> bool {
        self.0.http.as_ref().is_some_and(|doors| doors.exchange().is_pending())
    }
}

impl Http {
    /// What its routes are, and who answers them.
    pub(crate) fn answered(&self) -> Vec<(Kind, RouteAction)> {
        self.config.routes.iter().map(|route| route.kind.clone()).zip(self.actions.iter().cloned()).collect()
    }
}
