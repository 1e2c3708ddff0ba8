//! What the child processes do: one serves, one plays. They say how it goes, a line each.

use std::time::{Duration, Instant};

use gamekeeper::client::{self, ClientConfig, ServerKey};
use gamekeeper::keys::RootKey;
use gamekeeper::protocol::conditions::{Conditions, Direction};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{DisconnectInfo, Handler, Message, PeerId, RetryMode, SendOptions};
use gamekeeper::{Client, Server};

/// The variable that says which role a process has.
pub const ROLE: &str = "GAMEKEEPER_TEST_ROLE";
/// What the names of the other variables begin with.
pub const PREFIX: &str = "GAMEKEEPER_TEST_";
/// What a line begins with that is meant for the test.
pub const MARK: &str = "@ ";
/// No process outlives its test by more.
const LIFE: Duration = Duration::from_secs(180);
/// A transfer goes in messages of this many bytes.
const CHUNK: usize = 64 * 1024;
const MODES: [RetryMode; 5] =
    [RetryMode::None, RetryMode::BestEffort, RetryMode::OnTimeout, RetryMode::Sequenced, RetryMode::Ordered];

fn say(line: &str) {
    // The harness may have left its cursor in the middle of a line.
    println!("\n{MARK}{line}");
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("{PREFIX}{name}")).ok()
}

fn number(name: &str) -> Option<u64> {
    setting(name).map(|text| text.parse().expect("a number"))
}

/// A process of a test's. Started by the tests only.
#[test]
#[ignore = "a part of other tests"]
fn child() {
    match std::env::var(ROLE).as_deref() {
        Ok("server") => serve(),
        Ok("client") => play(),
        Ok("search") => search(),
        _ => {}
    }
}

/// Sends back what it gets as it came, and tells of moves and ends.
#[derive(Default)]
struct Echo {
    migrations: u64,
}

impl Handler for Echo {
    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        let retry = message.mode.expect("the native wire tells");
        let options = SendOptions { retry, channel: message.channel, ..SendOptions::default() };
        server.send(peer, &message.data, options).expect("the echo is queued");
    }
    fn disconnect(&mut self, _: &Server, _: PeerId, info: &DisconnectInfo) {
        say(&format!("left {:?}", info.reason));
    }
    fn update(&mut self, server: &Server, _: f64, _: u64) {
        let migrations = server.stats().migrations;
        if migrations != self.migrations {
            self.migrations = migrations;
            say(&format!("migrations {migrations}"));
        }
    }
}

fn serve() {
    let mut config = Config::default();
    if let Some(time) = number("TIMEOUT_MS") {
        config.connection_timeout = Duration::from_millis(time);
    }
    if let Some(file) = setting("KEY") {
        config.root_key = Some(RootKey::load(file.as_ref()).expect("a key").into());
    }
    config.discovery_info = setting("INFO").map(String::into_bytes);
    let address = setting("ADDRESS").unwrap_or_else(|| "127.0.0.1:0".into());
    let server = Server::start(config, Box::new(Echo::default()), &address).expect("a server");
    let loss = setting("LOSS").map_or(0.0, |text| text.parse().expect("a chance"));
    let conditions = Conditions { loss, rate: number("RATE").unwrap_or(0), seed: 1, ..Conditions::default() };
    for direction in [Direction::Receive, Direction::Send] {
        server.simulate(direction, Some(conditions.clone())).expect("conditions");
    }
    say(&format!("listening {}", server.local_address()));
    // The test kills it before.
    let _over = server.wait(Some(LIFE));
}

/// Looks for servers on a port until one is found next door by IPv4 or IPv6, and says at which address, and what it tells.
fn search() {
    let port = u16::try_from(number("PORT").expect("a port")).expect("a port");
    let six = number("FAMILY") == Some(6);
    let end = Instant::now() + LIFE;
    while Instant::now() < end {
        let found = gamekeeper::discover(&[port], &[], Duration::from_millis(500)).expect("a search");
        // An interface's address can be used some time after the interface is up.
        if let Some(server) = found.iter().find(|server| server.address.is_ipv6() == six) {
            return say(&format!("found {} {}", server.address, String::from_utf8_lossy(&server.info)));
        }
    }
}

/// A chunk of the transfer, as it is sent and has to come back.
fn chunk(index: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..CHUNK).map(|at| (at * 7 + index * 13) as u8).collect();
    data[..4].copy_from_slice(&u32::try_from(index).expect("few").to_be_bytes());
    data
}

/// What of the client's business has come back.
struct Player {
    modes: [bool; MODES.len()],
    chunks: Vec<bool>,
    pongs: u64,
    connected: bool,
}

impl Player {
    fn message(&mut self, message: &client::Message) {
        match message.data.as_slice() {
            b"ping" => {
                self.pongs += 1;
                say(&format!("pong {}", self.pongs));
            }
            [mode] => {
                let at = usize::from(*mode);
                assert_eq!(message.mode, Some(MODES[at]));
                let news = !std::mem::replace(&mut self.modes[at], true);
                if news && self.modes.iter().all(|came| *came) {
                    say("modes");
                }
            }
            data => {
                let index = u32::from_be_bytes(data[..4].try_into().expect("four bytes")) as usize;
                assert_eq!(data, chunk(index), "chunk {index}");
                assert!(!std::mem::replace(&mut self.chunks[index], true), "chunk {index} came twice");
                let back = self.chunks.iter().filter(|came| **came).count();
                say(&format!("back {}", back * CHUNK));
                if back == self.chunks.len() {
                    say(&format!("all {}", back * CHUNK));
                }
            }
        }
    }

    /// Ten times per second: a ping, and again what may have been lost.
    fn speak(&self, client: &Client) {
        for (at, mode) in MODES.into_iter().enumerate().filter(|(at, _)| !self.modes[*at]) {
            let options = client::SendOptions { retry: mode, channel: 3, ..Default::default() };
            client.send(&[at as u8], options).expect("queued");
        }
        // What waits for a server that is gone fills the queue: then there is enough to be heard.
        let _full = client.send_guaranteed(b"ping");
    }
}

fn play() {
    let mut config = ClientConfig::new(ServerKey::Any);
    config.max_queued_events = 10_000;
    if let Some(time) = number("TIMEOUT_MS") {
        config.connection_timeout = Duration::from_millis(time);
    }
    config.handshake_timeout = Duration::from_secs(30);
    let chunks = number("BYTES").unwrap_or(0) as usize / CHUNK;
    let address = setting("ADDRESS").expect("an address");
    let client = Client::open(config, Box::new(()), &address).expect("a client");
    let mut player =
        Player { modes: [false; MODES.len()], chunks: vec![false; chunks], pongs: 0, connected: false };
    let (end, mut next) = (Instant::now() + LIFE, Instant::now());
    while Instant::now() < end {
        client.poll(Some(Duration::from_millis(10))).expect("a poll");
        for event in client.next_events(1000).expect("events") {
            match event {
                client::Event::Connected(_) => {
                    say("connected");
                    player.connected = true;
                    for index in 0..chunks {
                        client.send_guaranteed(&chunk(index)).expect("queued");
                    }
                }
                client::Event::Message(message) => player.message(&message),
                client::Event::Disconnected(info) => return say(&format!("ended {:?}", info.reason)),
                _ => {}
            }
        }
        if player.connected && Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(100);
            player.speak(&client);
        }
    }
}
