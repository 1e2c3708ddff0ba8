//! What the integration tests share: a server whose handler records, and clients that are driven together.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use gamekeeper::client::driver::{Client, Event as ClientEvent};
use gamekeeper::keys::PublicKey;
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{ConnectInfo, DisconnectInfo, Handler, LogLevel, Message, PeerId};
use gamekeeper::Server;

/// What the recording handler saw.
#[derive(Debug)]
pub enum Seen {
    Starting,
    Connect(PeerId, ConnectInfo),
    Disconnect(PeerId, DisconnectInfo),
    Message(PeerId, u16, Vec<u8>),
    Update(f64),
    Writable(PeerId),
    Reconcile,
    Shutdown,
    Log(LogLevel, String),
}

/// Sends all it sees, updates aside, through a channel; echoes messages where asked to.
pub struct Recorder {
    pub seen: mpsc::Sender<Seen>,
    pub echo: bool,
    pub updates: bool,
}

impl Recorder {
    pub fn new(echo: bool) -> (Box<Recorder>, mpsc::Receiver<Seen>) {
        let (seen, receiver) = mpsc::channel();
        (Box::new(Recorder { seen, echo, updates: false }), receiver)
    }

    fn tell(&self, seen: Seen) {
        // A test that has seen enough may have dropped its end.
        let _nobody = self.seen.send(seen);
    }
}

impl Handler for Recorder {
    fn starting(&mut self, _: &Server) {
        self.tell(Seen::Starting);
    }
    fn connect(&mut self, _: &Server, peer: PeerId, info: &ConnectInfo) {
        self.tell(Seen::Connect(peer, info.clone()));
    }
    fn disconnect(&mut self, _: &Server, peer: PeerId, info: &DisconnectInfo) {
        self.tell(Seen::Disconnect(peer, info.clone()));
    }
    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        if self.echo {
            server.send(peer, &message.data, Default::default()).expect("the echo is queued");
        }
        self.tell(Seen::Message(peer, message.sequence, message.data.clone()));
    }
    fn update(&mut self, _: &Server, seconds: f64, _: u64) {
        if self.updates {
            self.tell(Seen::Update(seconds));
        }
    }
    fn writable(&mut self, _: &Server, peer: PeerId) {
        self.tell(Seen::Writable(peer));
    }
    fn reconcile(&mut self, _: &Server) {
        self.tell(Seen::Reconcile);
    }
    fn shutdown(&mut self, _: &Server) {
        self.tell(Seen::Shutdown);
    }
    fn log(&mut self, _: &Server, level: LogLevel, text: &str) {
        self.tell(Seen::Log(level, text.into()));
    }
}

/// Hands all it sees to a closure, which may call the server.
pub struct Script<F: FnMut(&Server, Seen) + Send>(pub F);

impl<F: FnMut(&Server, Seen) + Send> Handler for Script<F> {
    fn starting(&mut self, server: &Server) {
        (self.0)(server, Seen::Starting);
    }
    fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {
        (self.0)(server, Seen::Connect(peer, info.clone()));
    }
    fn disconnect(&mut self, server: &Server, peer: PeerId, info: &DisconnectInfo) {
        (self.0)(server, Seen::Disconnect(peer, info.clone()));
    }
    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        (self.0)(server, Seen::Message(peer, message.sequence, message.data.clone()));
    }
    fn update(&mut self, server: &Server, seconds: f64, _: u64) {
        (self.0)(server, Seen::Update(seconds));
    }
    fn writable(&mut self, server: &Server, peer: PeerId) {
        (self.0)(server, Seen::Writable(peer));
    }
    fn reconcile(&mut self, server: &Server) {
        (self.0)(server, Seen::Reconcile);
    }
    fn shutdown(&mut self, server: &Server) {
        (self.0)(server, Seen::Shutdown);
    }
    fn log(&mut self, server: &Server, level: LogLevel, text: &str) {
        (self.0)(server, Seen::Log(level, text.into()));
    }
}

/// How long a test waits for anything: far longer than it takes, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The next thing seen that `wanted` takes; panics when it does not come.
pub fn expect<T>(seen: &mpsc::Receiver<Seen>, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match seen.recv_timeout(left) {
            Ok(event) => {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            Err(e) => panic!("what was waited for did not come: {e}"),
        }
    }
}

/// Drives clients until `done` says so; panics when it does not.
pub fn drive(clients: &mut [&mut Client], mut done: impl FnMut(usize, Option<ClientEvent>) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        for (i, client) in clients.iter_mut().enumerate() {
            client.update().expect("the client's socket works");
            while let Some(event) = client.poll_event() {
                if done(i, Some(event)) {
                    client.update().expect("the client's socket works");
                    return;
                }
            }
            if done(i, None) {
                return;
            }
        }
        assert!(Instant::now() < end, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The key that a server's clients pin.
pub fn public(server: &Server) -> Option<PublicKey> {
    Some(PublicKey::from_der(&server.public_key_der()).expect("the server's own key"))
}

/// A client that is connected.
pub fn connect(server: &Server) -> Client {
    let mut client =
        Client::connect(server.local_address(), public(server), &Config::default()).expect("a client");
    drive(&mut [&mut client], |_, event| event == Some(ClientEvent::Connected));
    client
}
