//! Doors for streams: how connections end, who gets a place, and clients that speak TLS.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gamekeeper::client::{
    self, ClientConfig, Event as ClientEvent, ServerKey, StreamClient, StreamTls, TlsTrust,
};
use gamekeeper::metrics::server::DropReason;
use gamekeeper::server::config::{Config, Framing, StreamDoor, TlsFiles};
use gamekeeper::server::events::*;
use gamekeeper::server::password::Password;
use gamekeeper::{Client, ErrorKind, Server};
use support::play::{expect, Recorder, Script, Seen, PATIENCE};

const LOOPBACK: &str = "127.0.0.1:0";

fn config(framing: Framing) -> Config {
    Config { streams: vec![StreamDoor::new(LOOPBACK, framing)], ..Config::default() }
}

fn start(config: Config, handler: Box<dyn Handler>) -> Server {
    Server::start(config, handler, LOOPBACK).expect("a server")
}

fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.stream_addresses()[0]).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn connected(seen: Seen) -> Option<PeerId> {
    if let Seen::Connect(peer, _) = seen {
        Some(peer)
    } else {
        None
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// --- ends ---------------------------------------------------------------------------------------------------

#[test]
fn what_was_sent_before_a_reset_is_handed_up() {
    const LINES: usize = 3000;
    let (handler, seen) = Recorder::new(false);
    let server = start(config(Framing::Lines), handler);
    let mut stream = open(&server);
    let peer = expect(&seen, connected);
    let text: String = (0..LINES).map(|n| format!("{n}\n")).collect();
    stream.write_all(text.as_bytes()).expect("it listens");
    // Over loopback it has arrived when it has been written. Now a reset, and something that cannot be written any more.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(stream);
    let _gone = server.send(peer, b"too late", SendOptions::default());
    for n in 0..LINES {
        let data = expect(&seen, |seen| match seen {
            Seen::Message(_, _, data) => Some(data),
            Seen::Disconnect(..) => panic!("it ended before line {n}"),
            _ => None,
        });
        assert_eq!(data, n.to_string().as_bytes());
    }
    let info = expect(&seen, |seen| if let Seen::Disconnect(_, info) = seen { Some(info) } else { None });
    assert_eq!(info.reason, DisconnectReason::Remote);
}

#[test]
fn last_words_reach_whoever_goes_on_sending() {
    const WORDS: usize = 2_000_000;
    let (handler, seen) = Recorder::new(false);
    let server = start(config(Framing::Raw), handler);
    let mut stream = open(&server);
    let peer = expect(&seen, connected);
    let writer = {
        let mut stream = stream.try_clone().expect("a handle");
        std::thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end && stream.write_all(&[7; 10_000]).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    expect(&seen, |seen| matches!(seen, Seen::Message(..)).then_some(()));
    server.send(peer, &[1; WORDS], SendOptions::default()).expect("room");
    let info = DisconnectInfo::new(DisconnectReason::Kicked, "enough");
    server.disconnect(peer, info, true).expect("a live peer");
    // A slow reader: all of it has left before most of it was read.
    let (mut all, mut buffer) = (0, [0; 65_536]);
    loop {
        std::thread::sleep(Duration::from_millis(2));
        match stream.read(&mut buffer).expect("no reset before the end") {
            0 => break,
            bytes => all += bytes,
        }
    }
    assert_eq!(all, WORDS);
    drop(stream);
    writer.join().expect("its connection ended");
}

#[test]
fn a_long_answer_comes_whole_to_whoever_has_ended_its_half() {
    const PIECES: u32 = 200;
    struct Answers {
        next: u32,
    }
    impl Answers {
        fn go_on(&mut self, server: &Server, peer: PeerId) {
            while self.next < PIECES {
                let mut piece = vec![0; 50_000];
                piece[..4].copy_from_slice(&self.next.to_be_bytes());
                match server.send(peer, &piece, SendOptions::default()) {
                    Ok(()) => self.next += 1,
                    Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
        }
    }
    impl Handler for Answers {
        fn message(&mut self, server: &Server, peer: PeerId, _: &Message) {
            self.go_on(server, peer);
        }
        fn writable(&mut self, server: &Server, peer: PeerId) {
            self.go_on(server, peer);
        }
    }
    let config = Config { max_queued_bytes: 1 << 20, ..config(Framing::Length) };
    let server = start(config, Box::new(Answers { next: 0 }));
    let mut stream = open(&server);
    stream.write_all(b"\0\0\0\x03ask").expect("it listens");
    stream.shutdown(Shutdown::Write).expect("open");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("no reset");
    assert_eq!(all.len(), PIECES as usize * 50_004);
    for (n, piece) in (0u32..).zip(all.chunks(50_004)) {
        assert_eq!(piece[..8], [&50_000u32.to_be_bytes()[..], &n.to_be_bytes()[..]].concat());
    }
}

// --- places -------------------------------------------------------------------------------------------------

#[test]
fn one_source_gets_its_share_of_a_door_and_no_more() {
    let mut config = config(Framing::Raw);
    config.streams[0].max_connections_per_source = 3;
    let (handler, _seen) = Recorder::new(true);
    let server = start(config, handler);
    let mut first: Vec<TcpStream> = (0..3).map(|_| open(&server)).collect();
    let mut fourth = open(&server);
    assert_eq!(fourth.read(&mut [0; 8]).unwrap_or(0), 0, "it has no place");
    until("it is counted", || server.stats().drops[DropReason::Full as usize] == 1);
    assert_eq!(server.stats().peers, 3);
    // A place that became free is taken again.
    drop(first.pop());
    until("one has left", || server.stats().peers == 2);
    let mut again = open(&server);
    again.write_all(b"hi").expect("it listens");
    let mut back = [0; 2];
    again.read_exact(&mut back).expect("it answers");
}

#[test]
fn silent_newcomers_give_their_places_to_others() {
    let password = Some(Password::new(b"open sesame").expect("a password"));
    let mut config = Config { password, ..config(Framing::Lines) };
    config.streams[0].max_connections = 4;
    let (handler, seen) = Recorder::new(true);
    let server = start(config, handler);
    let enter = || {
        let mut stream = open(&server);
        stream.write_all(b"open sesame\n").expect("it listens");
        expect(&seen, connected);
        stream
    };
    let mut player = enter();
    let mut silent: Vec<TcpStream> = (0..3).map(|_| open(&server)).collect();
    until("all have come", || server.stats().joining == 3);
    let mut second = enter();
    // The one that was silent for longest has gone, and no other.
    assert_eq!(silent[0].read(&mut [0; 8]).unwrap_or(0), 0);
    silent[1].set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let error = silent[1].read(&mut [0; 8]).expect_err("it is still there");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
    for stream in [&mut player, &mut second] {
        let mut back = [0; 3];
        stream.write_all(b"hi\n").expect("it listens");
        stream.read_exact(&mut back).expect("whoever has come in keeps the place");
    }
    // Where all have said who they are nobody gives way.
    silent.truncate(1);
    until("only players are there", || server.stats().joining == 0);
    let _players = [enter(), enter()];
    assert_eq!(open(&server).read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(server.stats().peers, 4);
}

// --- clients with TLS -----------------------------------------------------------------------------------------

/// A directory with what openssl made, which goes with it.
struct Certificates(PathBuf);

impl Drop for Certificates {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

impl Certificates {
    /// An authority, a certificate of it for localhost and 127.0.0.1, and somebody else's authority.
    fn make(name: &str) -> Certificates {
        let directory = std::env::temp_dir().join(format!("gamekeeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let all = Certificates(directory);
        let authority = |name: &str| {
            let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
            let rest =
                ["-days", "2", "-subj", "/CN=authority", "-keyout", &format!("{name}.key"), "-out", name];
            all.openssl(&[&new[..], &rest[..]].concat());
        };
        authority("ca.pem");
        authority("other.pem");
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
        all.openssl(&[&new[..], &["-keyout", "key.pem", "-out", "request.pem"]].concat());
        std::fs::write(all.path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
        all.openssl(&[
            "x509",
            "-req",
            "-in",
            "request.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.pem.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "cert.pem",
        ]);
        all
    }

    fn openssl(&self, arguments: &[&str]) {
        let made = Command::new("openssl").current_dir(&self.0).args(arguments).output();
        let made = made.expect("openssl is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new(&self.0).join(file)
    }

    fn door(&self, framing: Framing) -> StreamDoor {
        let tls = TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem") };
        StreamDoor { tls: Some(tls), ..StreamDoor::new(LOOPBACK, framing) }
    }
}

struct Told(mpsc::Sender<ClientEvent>);

impl client::Handler for Told {
    fn connected(&mut self, _: &Client, info: &client::ConnectInfo) {
        let _over = self.0.send(ClientEvent::Connected(info.clone()));
    }
    fn message(&mut self, _: &Client, message: &Message) {
        let _over = self.0.send(ClientEvent::Message(message.clone()));
    }
    fn disconnected(&mut self, _: &Client, info: &client::DisconnectInfo) {
        let _over = self.0.send(ClientEvent::Disconnected(info.clone()));
    }
}

fn client(address: &str, stream: StreamClient) -> gamekeeper::Result<(Client, mpsc::Receiver<ClientEvent>)> {
    let (sender, told) = mpsc::channel();
    let config = ClientConfig { wire: client::Wire::Stream, stream, ..ClientConfig::new(ServerKey::Any) };
    Ok((Client::start(config, Box::new(Told(sender)), address)?, told))
}

fn trusting(trust: TlsTrust) -> StreamClient {
    StreamClient { framing: Framing::Length, tls: Some(StreamTls::new(trust)), ..StreamClient::default() }
}

fn told(events: &mpsc::Receiver<ClientEvent>) -> ClientEvent {
    events.recv_timeout(PATIENCE).expect("it is told")
}

#[test]
fn a_client_speaks_tls_with_whom_it_is_told_to_believe_and_nobody_else() {
    let files = Certificates::make("trust");
    let (handler, _seen) = Recorder::new(true);
    let server = start(Config { streams: vec![files.door(Framing::Length)], ..Config::default() }, handler);
    let address = server.stream_addresses()[0];
    let (by_number, by_name) = (address.to_string(), format!("localhost:{}", address.port()));
    let named = |name: &str| {
        let tls = StreamTls {
            server_name: Some(name.into()),
            ..StreamTls::new(TlsTrust::Authorities(files.path("ca.pem")))
        };
        StreamClient { framing: Framing::Length, tls: Some(tls), ..StreamClient::default() }
    };
    for (at, stream) in [
        (&by_number, trusting(TlsTrust::Authorities(files.path("ca.pem")))),
        (&by_name, trusting(TlsTrust::Authorities(files.path("ca.pem")))),
        (&by_number, named("localhost")),
        (&by_number, trusting(TlsTrust::Certificate(files.path("cert.pem")))),
        (&by_number, trusting(TlsTrust::Anybody)),
    ] {
        let shown = format!("{at} {stream:?}");
        let (client, events) = client(at, stream).expect("a client");
        assert!(matches!(told(&events), ClientEvent::Connected(_)), "{shown}");
        for data in [&b"hello"[..], &[7; 500_000]] {
            client.send(data, Default::default()).expect("room");
            assert!(matches!(told(&events), ClientEvent::Message(m) if m.data == data), "{shown}");
        }
        client.stop().expect("stopped");
    }
    let peers_before = server.stats().connects;
    for (stream, word) in [
        (trusting(TlsTrust::Authorities(files.path("other.pem"))), "certificate"),
        (named("example.org"), "certificate"),
        (trusting(TlsTrust::Certificate(files.path("ca.pem"))), "pinned"),
    ] {
        let shown = format!("{stream:?}");
        let (_client, events) = client(&by_number, stream).expect("a client");
        let ClientEvent::Disconnected(info) = told(&events) else { panic!("it believed: {shown}") };
        assert_eq!(info.reason, client::DisconnectReason::Key, "{shown}: {}", info.text);
        assert!(info.text.contains(word), "{shown}: {}", info.text);
    }
    assert_eq!(server.stats().connects, peers_before, "none of them came in");
}

#[test]
fn files_and_names_that_will_not_do_are_said_at_the_start() {
    let files = Certificates::make("bad-trust");
    std::fs::write(files.path("empty.pem"), "nothing\n").expect("a file");
    let name = |name: &str| {
        let trust = TlsTrust::Authorities(files.path("ca.pem"));
        let tls = Some(StreamTls { server_name: Some(name.into()), ..StreamTls::new(trust) });
        StreamClient { tls, ..StreamClient::default() }
    };
    for (stream, kind, word) in [
        (trusting(TlsTrust::Authorities(files.path("absent.pem"))), ErrorKind::Key, "absent.pem"),
        (trusting(TlsTrust::Certificate(files.path("empty.pem"))), ErrorKind::Key, "empty.pem"),
        (name("not a name"), ErrorKind::Argument, "not a name"),
        (StreamClient { read_bytes: 0, ..StreamClient::default() }, ErrorKind::Argument, "read_bytes"),
        (
            StreamClient { stall_timeout: Duration::ZERO, ..StreamClient::default() },
            ErrorKind::Argument,
            "stall_timeout",
        ),
    ] {
        let error = client("127.0.0.1:9", stream).err().expect("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn what_speaks_no_tls_ends_a_client_that_does() {
    let listener = std::net::TcpListener::bind(LOOPBACK).expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (_client, events) = client(&address, trusting(TlsTrust::Anybody)).expect("a client");
    let (mut stream, _) = listener.accept().expect("it connects");
    stream.write_all(b"220 no TLS here\r\n").expect("open");
    let ClientEvent::Disconnected(info) = told(&events) else { panic!("it connected") };
    assert_eq!(info.reason, client::DisconnectReason::Unreachable, "{}", info.text);
    assert!(info.text.contains("TLS"), "{}", info.text);
}

#[test]
fn the_longest_message_of_a_raw_stream_is_what_the_client_reads_at_once() {
    let listener = std::net::TcpListener::bind(LOOPBACK).expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let stream = StreamClient { read_bytes: 10, ..StreamClient::default() };
    let (_client, events) = client(&address, stream).expect("a client");
    let (mut stream, _) = listener.accept().expect("it connects");
    assert!(matches!(told(&events), ClientEvent::Connected(_)));
    stream.write_all(&[5; 1000]).expect("open");
    let mut all = 0;
    while all < 1000 {
        let ClientEvent::Message(message) = told(&events) else { panic!("it ended") };
        assert!((1..=10).contains(&message.data.len()), "{} bytes", message.data.len());
        all += message.data.len();
    }
}

// --- content --------------------------------------------------------------------------------------------------

#[test]
fn headers_are_told_in_full_and_ones_that_are_too_long_refused() {
    let (sender, contents) = mpsc::channel();
    let server = start(
        config(Framing::Json),
        Box::new(Script(move |server: &Server, seen| {
            if let Seen::Message(peer, _, data) = seen {
                let long = Content { encoding: "x".repeat(256), ..Content::default() };
                let options = SendOptions { content: Some(Box::new(long)), ..SendOptions::default() };
                let error = server.send(peer, &data, options).expect_err("no header can tell it");
                let _over = sender.send(error);
                let big = Content { byte_order: "big".into(), ..Content::of("binary/numbers") };
                let options = SendOptions { content: Some(Box::new(big)), ..SendOptions::default() };
                server.send(peer, &data, options).expect("room");
            }
        })),
    );
    let stream = StreamClient { framing: Framing::Json, ..StreamClient::default() };
    let (client, events) = client(&server.stream_addresses()[0].to_string(), stream).expect("a client");
    assert!(matches!(told(&events), ClientEvent::Connected(_)));
    client.send(b"\0\x01", Default::default()).expect("room");
    let error = contents.recv_timeout(PATIENCE).expect("a message");
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("content"), "{error}");
    let ClientEvent::Message(message) = told(&events) else { panic!("it ended") };
    let content = message.content.expect("a header");
    let told = (content.kind.as_str(), content.encoding.as_str(), content.byte_order.as_str());
    assert_eq!(told, ("binary/numbers", "binary", "big"));
}
