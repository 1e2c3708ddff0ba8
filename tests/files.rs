//! Files between a server and a client of the library, whose hosts hear of messages, too.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

use gamekeeper::client::{self, ClientConfig, ServerKey, StreamClient, Wire};
use gamekeeper::server::config::{Config, Framing, StreamDoor};
use gamekeeper::server::events::*;
use gamekeeper::server::files::{FileEvent, FileTarget, Quota};
use gamekeeper::server::password::Password;
use gamekeeper::{Client, Server};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What either host was told.
#[derive(Debug, PartialEq)]
enum Told {
    Connected,
    Message(Vec<u8>),
    File(PathBuf),
}

/// Takes every file into its directory, and tells of all else.
struct Host {
    directory: PathBuf,
    told: Sender<Told>,
}

impl Host {
    fn file(&self, event: &FileEvent, accept: impl FnOnce(FileTarget)) {
        match event {
            FileEvent::Offered(..) => {
                accept(FileTarget { directory: self.directory.clone(), name: None, replace: false })
            }
            FileEvent::Progress { .. } => {}
            FileEvent::Ended(_, end) => {
                if let Some(path) = end.result.as_ref().expect("nothing goes wrong") {
                    let _over = self.told.send(Told::File(path.clone()));
                }
            }
        }
    }
}

impl Handler for Host {
    fn takes(&self) -> Takes {
        Takes { file: true, ..Takes::ALL }
    }
    fn message(&mut self, _: &Server, _: PeerId, message: &Message) {
        let _over = self.told.send(Told::Message(message.data.clone()));
    }
    fn file(&mut self, server: &Server, peer: PeerId, event: &FileEvent) {
        let accept = |target| {
            if let FileEvent::Offered(file, _) = event {
                server.accept_file(peer, *file, target).expect("it waits");
            }
        };
        Host::file(self, event, accept);
    }
}

impl client::Handler for Host {
    fn takes(&self) -> client::Takes {
        client::Takes { file: true, ..client::Takes::ALL }
    }
    fn connected(&mut self, _: &Client, _: &client::ConnectInfo) {
        let _over = self.told.send(Told::Connected);
    }
    fn message(&mut self, _: &Client, message: &Message) {
        let _over = self.told.send(Told::Message(message.data.clone()));
    }
    fn file(&mut self, client: &Client, event: &FileEvent) {
        let accept = |target| {
            if let FileEvent::Offered(file, _) = event {
                client.accept_file(*file, target).expect("it waits");
            }
        };
        Host::file(self, event, accept);
    }
}

fn host(directory: &Path) -> (Box<Host>, Receiver<Told>) {
    std::fs::create_dir_all(directory).expect("a directory");
    let (told, heard) = channel();
    (Box::new(Host { directory: directory.to_owned(), told }), heard)
}

/// A file and the messages around it have come whole, the messages in order; nothing else has.
fn check(heard: &Receiver<Told>, content: &[u8]) {
    let (mut messages, mut file) = (Vec::new(), None);
    while messages.len() < 20 || file.is_none() {
        match heard.recv_timeout(PATIENCE).expect("all of it comes") {
            Told::Message(data) => messages.push(data),
            Told::File(path) => file = Some(path),
            Told::Connected => {}
        }
    }
    let expected: Vec<Vec<u8>> = (0..20).map(|n| format!("message {n}").into_bytes()).collect();
    assert_eq!(messages, expected);
    assert!(std::fs::read(file.expect("it came")).expect("it is there") == content);
    assert_eq!(
        heard.recv_timeout(Duration::from_millis(200)).ok(),
        None,
        "what is of files is not for the host"
    );
}

#[test]
fn files_and_messages_share_a_connection_both_ways() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{}", std::process::id()));
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (server_host, at_server) = host(&directory.join("server"));
    let (client_host, at_client) = host(&directory.join("client"));
    let source = directory.join("map.bin");
    std::fs::write(&source, &content).expect("room");

    let config = Config { files: Some(Quota::default()), ..Config::default() };
    let server = Server::start(config, server_host, "127.0.0.1:0").expect("a server");
    let config = ClientConfig { files: Some(Quota::default()), ..ClientConfig::new(ServerKey::Any) };
    let client = Client::start(config, client_host, &server.local_address().to_string()).expect("a client");
    assert_eq!(at_client.recv_timeout(PATIENCE), Ok(Told::Connected));
    let peer = server.peers()[0];

    let message = |n: u32| format!("message {n}").into_bytes();
    let ordered = RetryMode::Ordered;
    for n in 0..20 {
        if n == 10 {
            client.send_file(&source, Default::default()).expect("files are enabled");
            server.send_file(peer, &source, Default::default()).expect("files are enabled");
        }
        let retry = SendOptions { retry: ordered, ..Default::default() };
        server.send(peer, &message(n), retry).expect("room");
        client.send(&message(n), client::SendOptions { retry: ordered, ..Default::default() }).expect("room");
    }
    check(&at_server, &content);
    check(&at_client, &content);
    client.stop().expect("it ends");
    server.stop().expect("it ends");
    std::fs::remove_dir_all(&directory).expect("it was made here");
}

/// Calls in when it is dropped: with a lock held, this would wait for ever.
struct Curious<T: Fn()>(T, Sender<()>);

impl<T: Fn()> Drop for Curious<T> {
    fn drop(&mut self) {
        (self.0)();
        let _over = self.1.send(());
    }
}

/// Something that drops one, as a progress callback and as a completion.
fn curious<T: Fn() + Send + Sync + 'static>(call: impl Fn() -> T, dropped: &Sender<()>) -> [Curious<T>; 2] {
    [Curious(call(), dropped.clone()), Curious(call(), dropped.clone())]
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[test]
fn callbacks_are_dropped_where_they_may_call_in() {
    let directory = directory("dropped");
    let (server_host, at_server) = host(&directory.join("server"));
    let (client_host, at_client) = host(&directory.join("client"));
    let source = directory.join("a.bin");
    std::fs::write(&source, b"some bytes").expect("room");
    let config = Config { files: Some(Quota::default()), ..Config::default() };
    let server = Server::start(config, server_host, "127.0.0.1:0").expect("a server");
    let config = ClientConfig { files: Some(Quota::default()), ..ClientConfig::new(ServerKey::Any) };
    let client = Client::start(config, client_host, &server.local_address().to_string()).expect("a client");
    assert_eq!(at_client.recv_timeout(PATIENCE), Ok(Told::Connected));
    let peer = server.peers()[0];
    let (dropped, drops) = channel();
    let asks_server = || {
        let server = server.clone();
        move || drop(server.peers())
    };
    let asks_client = || {
        let client = client.clone();
        move || {
            let _state = client.status();
        }
    };
    let of_server = |with_done: bool| {
        let [progress, done] = curious(asks_server, &dropped);
        FileOptions {
            on_progress: Some(std::sync::Arc::new(move |_, _, _, _, _| {
                let _kept = &progress;
            })),
            on_done: with_done.then(|| Box::new(move |_: &_, _, _, _: &_| drop(done)) as FileDoneCallback),
            ..FileOptions::default()
        }
    };
    let of_client = || {
        let [progress, done] = curious(asks_client, &dropped);
        client::FileOptions {
            on_progress: Some(std::sync::Arc::new(move |_, _, _, _| {
                let _kept = &progress;
            })),
            on_done: Some(Box::new(move |_: &_, _, _: &_| drop(done))),
            ..client::FileOptions::default()
        }
    };
    // What succeeds, with and without a completion, and what fails at once.
    server.send_file(peer, &source, of_server(true)).expect("files are enabled");
    server.send_file(peer, &source, of_server(false)).expect("files are enabled");
    client.send_file(&source, of_client()).expect("files are enabled");
    server.send_file(PeerId::from_bits(77), &source, of_server(true)).expect_err("nobody");
    for _ in 0..8 {
        drops.recv_timeout(PATIENCE).expect("it is dropped, and nothing waits");
    }
    let mut arrived = 0;
    while arrived < 1 {
        arrived += usize::from(matches!(at_server.recv_timeout(PATIENCE), Ok(Told::File(_))));
    }
    client.disconnect().expect("it runs");
    let until = Instant::now() + PATIENCE;
    while client.status() == client::Status::Connected {
        assert!(Instant::now() < until, "it was told to end");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.send_file(&source, of_client()).expect_err("it is not connected");
    for _ in 0..2 {
        drops.recv_timeout(PATIENCE).expect("it is dropped, and nothing waits");
    }
    client.stop().expect("it ends");
    server.stop().expect("it ends");
    std::fs::remove_dir_all(&directory).expect("it was made here");
}

/// A client in a stream with files.
fn stream_client(host: Box<Host>, address: &str) -> Client {
    let stream = StreamClient { framing: Framing::Length, files: true, ..StreamClient::default() };
    let files = Some(Quota::default());
    let config = ClientConfig { wire: Wire::Stream, stream, files, ..ClientConfig::new(ServerKey::Any) };
    Client::start(config, host, address).expect("a client")
}

fn file_door(framing: Framing) -> StreamDoor {
    StreamDoor { files: true, ..StreamDoor::new("127.0.0.1:0", framing) }
}

#[test]
fn files_and_messages_share_a_stream_both_ways_beside_a_plain_program() {
    use std::io::{Read, Write};
    let directory = directory("streams");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (server_host, at_server) = host(&directory.join("server"));
    let (client_host, at_client) = host(&directory.join("client"));
    let source = directory.join("map.bin");
    std::fs::write(&source, &content).expect("room");
    let streams = vec![file_door(Framing::Length)];
    let config = Config { files: Some(Quota::default()), streams, ..Config::default() };
    let server = Server::start(config, server_host, "127.0.0.1:0").expect("a server");
    let address = server.stream_addresses()[0].to_string();

    // A program that knows of lengths alone is sent nothing else, and its own are what they say.
    let mut plain = std::net::TcpStream::connect(&address).expect("it listens");
    plain.write_all(b"\0\0\0\x02hi").expect("room");
    assert_eq!(at_server.recv_timeout(PATIENCE), Ok(Told::Message(b"hi".to_vec())));
    let peer = server.peers()[0];
    let refused = server.send_file(peer, &source, Default::default()).expect_err("it did not ask");
    assert!(refused.message().contains("takes no files"), "{refused}");
    server.send(peer, b"hello", SendOptions::default()).expect("room");
    let mut answer = [0; 9];
    plain.read_exact(&mut answer).expect("it comes");
    assert_eq!(&answer, b"\0\0\0\x05hello");

    let client = stream_client(client_host, &address);
    assert_eq!(at_client.recv_timeout(PATIENCE), Ok(Told::Connected));
    let peer = server.peers().into_iter().find(|other| *other != peer).expect("the client");
    for n in 0..20 {
        if n == 10 {
            client.send_file(&source, Default::default()).expect("both take files");
            server.send_file(peer, &source, Default::default()).expect("both take files");
        }
        let message = format!("message {n}").into_bytes();
        server.send(peer, &message, SendOptions::default()).expect("room");
        client.send(&message, client::SendOptions::default()).expect("room");
    }
    check(&at_server, &content);
    check(&at_client, &content);
    plain.write_all(b"\0\0\0\x03bye").expect("it is still there");
    assert_eq!(at_server.recv_timeout(PATIENCE), Ok(Told::Message(b"bye".to_vec())));
    client.stop().expect("it ends");
    server.stop().expect("it ends");
    std::fs::remove_dir_all(&directory).expect("it was made here");
}

#[test]
fn doors_with_files_are_checked() {
    let quota = Some(Quota::default());
    let wrong = [
        (Config { streams: vec![file_door(Framing::Length)], ..Config::default() }, "not enabled"),
        (
            Config { streams: vec![file_door(Framing::Lines)], files: quota, ..Config::default() },
            "raw and length",
        ),
        (
            Config {
                streams: vec![file_door(Framing::Raw)],
                files: quota,
                password: Some(Password::new(b"secret").expect("in range")),
                ..Config::default()
            },
            "password",
        ),
    ];
    for (config, text) in wrong {
        let error = config.validate().expect_err(text);
        assert!(error.message().contains(text), "{error}");
    }
    let stream = StreamClient { files: true, ..StreamClient::default() };
    let raw = ClientConfig {
        wire: Wire::Stream,
        stream: stream.clone(),
        files: quota,
        ..ClientConfig::new(ServerKey::Any)
    };
    assert!(raw.validate().expect_err("raw").message().contains("with lengths"));
    let stream = StreamClient { framing: Framing::Length, files: true, ..StreamClient::default() };
    let unset = ClientConfig { wire: Wire::Stream, stream, ..ClientConfig::new(ServerKey::Any) };
    assert!(unset.validate().expect_err("no quota").message().contains("not enabled"));
}
