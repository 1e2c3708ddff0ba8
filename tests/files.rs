//! Files between a server and a client of the library, whose hosts hear of messages, too.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use gamekeeper::client::{self, ClientConfig, ServerKey};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::server::files::{FileEvent, FileTarget, Quota};
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
