//! Who comes in, and what strangers are told: over loopback, by a handler in Rust.

mod support;

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use gamekeeper::client::driver::{Client, CloseReason, Event as ClientEvent};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::server::password::Password;
use gamekeeper::{discover, ErrorKind, Server};
use support::play::{drive, public, PATIENCE};

/// Decides by a function, and tells what it hears.
struct Door<F> {
    decide: F,
    tell: mpsc::Sender<(&'static str, PeerId)>,
}

impl<F: FnMut(&Server, PeerId) -> Decision + Send> Handler for Door<F> {
    fn takes(&self) -> Takes {
        Takes { authorise: true, raw: true, ..Takes::ALL }
    }
    fn authorise(&mut self, server: &Server, peer: PeerId, request: &JoinRequest) -> Decision {
        let info = server.peer_info(peer).expect("it answers questions");
        assert_eq!(
            (info.status, info.token, info.address),
            (Status::Joining, request.token, request.address)
        );
        assert_eq!((request.wire, request.data.len()), (Wire::Mpgameserver, 0));
        let _nobody = self.tell.send(("asked", peer));
        (self.decide)(server, peer)
    }
    fn connect(&mut self, _: &Server, peer: PeerId, _: &ConnectInfo) {
        let _nobody = self.tell.send(("connect", peer));
    }
    fn disconnect(&mut self, _: &Server, peer: PeerId, _: &DisconnectInfo) {
        let _nobody = self.tell.send(("disconnect", peer));
    }
    fn raw(&mut self, server: &Server, from: std::net::SocketAddr, data: &[u8]) {
        let answer: Vec<u8> = data.iter().rev().copied().collect();
        server.send_raw(from, &answer).expect("it has just asked");
        let longer = server.send_raw(from, &[0; 100]).map_err(|e| e.kind());
        assert_eq!(longer, Err(ErrorKind::State), "once");
    }
}

/// A server behind such a door.
fn serve(
    config: Config,
    decide: impl FnMut(&Server, PeerId) -> Decision + Send + 'static,
) -> (Server, mpsc::Receiver<(&'static str, PeerId)>) {
    let (tell, told) = mpsc::channel();
    let server = Server::start(config, Box::new(Door { decide, tell }), "127.0.0.1:0").expect("a server");
    (server, told)
}

fn knock(server: &Server) -> Client {
    Client::connect(server.local_address(), public(server), &Config::default()).expect("a client")
}

fn until_closed(client: &mut Client) {
    drive(&mut [client], |_, e| matches!(e, Some(ClientEvent::Closed(c)) if c.reason == CloseReason::Remote));
}

fn hear(told: &mpsc::Receiver<(&'static str, PeerId)>, what: &str) -> PeerId {
    let (heard, peer) = told.recv_timeout(PATIENCE).expect(what);
    assert_eq!(heard, what);
    peer
}

#[test]
fn a_handler_lets_in_or_refuses() {
    let mut visits = 0;
    // The password has no say where the host decides about those who cannot give one.
    let password = Some(Password::new(b"swordfish").expect("a password"));
    let (server, told) = serve(Config { password, ..Config::default() }, move |_, _| {
        visits += 1;
        match visits {
            1 => Decision::Accept,
            _ => Decision::Refuse { code: 1000, text: "one is enough".into() },
        }
    });
    let (mut first, mut second) = (knock(&server), knock(&server));
    drive(&mut [&mut first], |_, e| matches!(e, Some(ClientEvent::Connected)));
    let peer = hear(&told, "asked");
    assert_eq!(hear(&told, "connect"), peer);
    until_closed(&mut second);
    hear(&told, "asked");
    assert_eq!((server.peers(), server.stats().refusals), (vec![peer], 1));
    server.stop().expect("stopped");
    assert_eq!(hear(&told, "disconnect"), peer);
    assert!(told.try_recv().is_err(), "nothing of whom was refused");
}

#[test]
fn another_thread_decides() {
    let (server, told) = serve(Config::default(), |_, _| Decision::Later);
    let mut client = knock(&server);
    drive(&mut [&mut client], |_, e| matches!(e, Some(ClientEvent::Connected)));
    let peer = hear(&told, "asked");
    server.accept(peer).expect("it waits");
    assert_eq!(hear(&told, "connect"), peer);
    assert_eq!(server.accept(peer).map_err(|e| e.kind()), Err(ErrorKind::State));
    let mut other = knock(&server);
    drive(&mut [&mut other], |_, e| matches!(e, Some(ClientEvent::Connected)));
    let peer = hear(&told, "asked");
    server.refuse(peer, 1001, "no").expect("it waits");
    until_closed(&mut other);
    assert_eq!(server.refuse(peer, 1001, "no").map_err(|e| e.kind()), Err(ErrorKind::Stale));
    server.stop().expect("stopped");
}

#[test]
fn strangers_are_answered() {
    let config = Config { discovery_info: Some(b"first".to_vec()), ..Config::default() };
    let (one, _told) = serve(config, |_, _| Decision::Accept);
    let config = Config { discovery_info: Some(b"second".to_vec()), ..Config::default() };
    let (other, _told) = serve(config, |_, _| Decision::Accept);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket.send_to(b"abc", one.local_address()).expect("sent");
    let mut answer = [0; 16];
    let (length, from) = socket.recv_from(&mut answer).expect("an answer");
    assert_eq!((&answer[..length], from), (&b"cba"[..], one.local_address()));

    // By address the search ends when all have answered.
    let addresses = [one.local_address(), other.local_address()];
    let mut found = discover(&[], &addresses, Duration::from_secs(60)).expect("a search");
    found.sort_by(|a, b| a.info.cmp(&b.info));
    let found: Vec<_> = found.iter().map(|f| (f.address, &f.info[..])).collect();
    assert_eq!(found, [(addresses[0], &b"first"[..]), (addresses[1], b"second")]);

    one.set_discovery_info(None).expect("none");
    let found = discover(&[], &addresses, Duration::from_millis(300)).expect("a search");
    assert_eq!(found.iter().map(|f| f.address).collect::<Vec<_>>(), [addresses[1]]);
    one.stop().expect("stopped");
    other.stop().expect("stopped");
}

/// As on a network, but on the one that never leaves this machine.
#[cfg(target_os = "linux")]
#[test]
fn a_broadcast_finds_whoever_listens() {
    struct Quiet;
    impl Handler for Quiet {}
    let config = Config { discovery_info: Some(b"here".to_vec()), ..Config::default() };
    let server = Server::start(config, Box::new(Quiet), "0.0.0.0:0").expect("a server");
    let everybody: std::net::SocketAddr = ([127, 255, 255, 255], server.local_address().port()).into();
    let found = discover(&[], &[everybody], Duration::from_secs(60)).expect("a search");
    assert_eq!((found.len(), &found[0].info[..]), (1, &b"here"[..]));
    assert!(found[0].address.ip().is_loopback() && found[0].address.port() == everybody.port());
    server.stop().expect("stopped");
}

#[test]
fn servers_are_found_by_ipv6() {
    struct Quiet;
    impl Handler for Quiet {}
    let config = Config { discovery_info: Some(b"six".to_vec()), ..Config::default() };
    let server = Server::start(config, Box::new(Quiet), "[::1]:0").expect("a server");
    let address = server.local_address();
    // At an address, and by its port on this machine.
    let found = discover(&[], &[address], Duration::from_secs(60)).expect("a search");
    assert_eq!(found.iter().map(|f| (f.address, &f.info[..])).collect::<Vec<_>>(), [(address, &b"six"[..])]);
    let found = discover(&[address.port()], &[], Duration::from_millis(500)).expect("a search");
    assert!(found.iter().any(|f| f.address == address), "{found:?}");
    server.stop().expect("stopped");
}

#[test]
fn whoever_wants_to_decide_must_be_able_to_hear_the_question() {
    struct Deaf;
    impl Handler for Deaf {}
    let config = Config { authorise: true, ..Config::default() };
    let refused = Server::open(config.clone(), Box::new(Deaf), "127.0.0.1:0").map_err(|e| e.kind());
    assert!(matches!(refused, Err(ErrorKind::Argument)));
    let queue = Config { max_queued_events: 10, ..config };
    Server::open(queue, Box::new(Deaf), "127.0.0.1:0").expect("a server").stop().expect("stopped");
}
