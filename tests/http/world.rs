//! A server with routes, and clients made of bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};

use gamekeeper::http::route::Method;
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::server::http::{RequestId, RouteAction};
use gamekeeper::Server;

/// Nothing that works takes this long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the server's host has seen of its peers.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Connect(Door, bool),
    Disconnect(DisconnectReason, u32, String),
    Message(u8, Vec<u8>),
}

/// A host that sends back what its peers send, on the same channel.
struct Echo(mpsc::Sender<Seen>, Arc<Mutex<Vec<String>>>);

impl Handler for Echo {
    fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {
        let has_request = server.request_of(peer).unwrap().is_some();
        let _over = self.0.send(Seen::Connect(info.door, has_request));
    }

    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        let _over = self.0.send(Seen::Message(message.channel, message.data.clone()));
        if message.data == b"kick me" {
            let info = DisconnectInfo::new(DisconnectReason::Kicked, "as you wish").with_code(4321);
            server.disconnect(peer, info, true).unwrap();
            return;
        }
        let options = SendOptions { channel: message.channel, ..SendOptions::default() };
        // Who has just left cannot be answered.
        let _left = server.send(peer, &message.data, options);
    }

    fn log(&mut self, _: &Server, _: LogLevel, text: &str) {
        self.1.lock().unwrap().push(text.to_owned());
    }

    fn disconnect(&mut self, _: &Server, _: PeerId, info: &DisconnectInfo) {
        let _over = self.0.send(Seen::Disconnect(info.reason, info.wire_code_for_tests(), info.text.clone()));
    }
}

/// The number of a goodbye.
trait Code {
    fn wire_code_for_tests(&self) -> u32;
}

impl Code for DisconnectInfo {
    fn wire_code_for_tests(&self) -> u32 {
        self.code
    }
}

/// A server, and what can be asked of it.
pub struct World {
    pub server: Server,
    pub address: SocketAddr,
    pub seen: Mutex<mpsc::Receiver<Seen>>,
    /// Requests that reached the host.
    pub reached: Arc<AtomicUsize>,
    /// Requests that the host has put off.
    pub waiting: Arc<Mutex<Vec<RequestId>>>,
    /// The server's log.
    logs: Arc<Mutex<Vec<String>>>,
}

impl Drop for World {
    fn drop(&mut self) {
        let stopped = self.server.stop();
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

/// A server with the routes of most tests:
///
/// - `GET /echo/:name` and `POST /echo`: tell what came
/// - `GET /text/:length`: so many letters
/// - `GET /later`, `GET /never`: put off
/// - `PUT /small` takes 100 bytes
/// - `/ws`: opens a WebSocket; `/closed` refuses it
pub fn world(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config { tick_rate_hz: 60.0, ..Config::default() };
    let reached = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let counted = |action: fn(&Server, RequestId)| {
        let reached = Arc::clone(&reached);
        RouteAction::Call(Arc::new(move |server: &Server, id| {
            reached.fetch_add(1, Ordering::SeqCst);
            action(server, id);
        }))
    };
    let later = {
        let waiting = Arc::clone(&waiting);
        RouteAction::Call(Arc::new(move |_: &Server, id| waiting.lock().unwrap().push(id)))
    };
    let http = &mut config.http;
    http.listen("127.0.0.1:0", None).unwrap();
    http.route(Method::Get, "/echo/:name", counted(tell)).unwrap();
    http.route(Method::Post, "/echo", counted(tell)).unwrap();
    http.route(Method::Get, "/text/:length", counted(letters)).unwrap();
    http.route(Method::Get, "/later", later.clone()).unwrap();
    http.set_max_body(100).unwrap();
    http.route(Method::Put, "/small", counted(tell)).unwrap();
    http.route_websocket("/ws", RouteAction::Nobody).unwrap();
    http.route_websocket("/closed", counted(|server, id| server.answer(id, 403, "no").unwrap())).unwrap();
    change(&mut config);
    let (tell, seen) = mpsc::channel();
    let logs = Arc::default();
    let server = Server::start(config, Box::new(Echo(tell, Arc::clone(&logs))), "127.0.0.1:0").unwrap();
    let address = server.http_addresses()[0];
    World { server, address, seen: Mutex::new(seen), reached, waiting, logs }
}

fn tell(server: &Server, id: RequestId) {
    let request = server.request(id).unwrap();
    let text = format!(
        "{} {} {:?} {:?} {:?} {}",
        request.method,
        request.path,
        request.param("name").unwrap_or("-"),
        request.query_parameter("q"),
        request.header("x-test").map(|value| String::from_utf8_lossy(&value).into_owned()),
        request.body.len(),
    );
    server.answer_header(id, "Content-Type", "text/plain").unwrap();
    server.answer(id, 200, text).unwrap();
}

fn letters(server: &Server, id: RequestId) {
    let length = server.request(id).unwrap().param("length").and_then(|l| l.parse().ok()).unwrap_or(0);
    server.answer_header(id, "Content-Type", "text/plain").unwrap();
    server.answer(id, 200, vec![b'a'; length]).unwrap();
}

impl World {
    pub fn connect(&self) -> Line {
        Line::to(self.address)
    }

    pub fn next(&self) -> Seen {
        self.seen.lock().unwrap().recv_timeout(PATIENCE).expect("the host saw something")
    }

    /// Waits until the log has a line with these words.
    pub fn logged(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.logs.lock().unwrap().iter().any(|line| line.contains(words)) {
            assert!(Instant::now() < deadline, "{words:?} is not in {:?}", self.logs.lock().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Requests that reached the host so far.
    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Waits until the host has put off so many requests, and takes the last.
    pub fn put_off(&self, count: usize) -> RequestId {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = self.waiting.lock().unwrap();
            if waiting.len() >= count {
                return *waiting.last().unwrap();
            }
            drop(waiting);
            assert!(Instant::now() < deadline, "{count} requests did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A connection.
pub struct Line {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Line {
    pub fn to(address: SocketAddr) -> Line {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Line { stream, buffer: Vec::new() }
    }

    /// Sends bytes; the other side may have closed already, which shows in what it answers.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Line {
        let _closed = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Gives back the memory of what was read.
    pub fn forget(&mut self) {
        self.buffer.shrink_to_fit();
    }

    /// Reads more; whether there was something.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; before: {:?}", String::from_utf8_lossy(&self.buffer))
            }
            // A reset is an end, too.
            Err(_) => false,
        }
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.more() {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The next answer; `None`: the other side closed.
    pub fn reply(&mut self) -> Option<Reply> {
        self.reply_to("GET")
    }

    pub fn reply_to(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.take(end + 4)?).unwrap();
        let status: u16 = head[9..12].parse().unwrap();
        let reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let empty = method == "HEAD" || status == 101;
        let body = if empty { Vec::new() } else { self.take(length)? };
        Some(Reply { body, ..reply })
    }

    /// Whether the other side has closed, with nothing more to say.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more()
    }

    /// Opens a WebSocket.
    pub fn upgrade(mut self, path: &str) -> Line {
        let head = handshake(path);
        assert_eq!(self.send(head).reply().unwrap().status, 101);
        self
    }
}

pub fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}
