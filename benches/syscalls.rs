//! The inner loops over real sockets, for counting the server's system calls: `cargo bench --bench syscalls -- echo 300` plays so
//! many rounds. The server is polled on the main thread, which alone is to be counted (`strace -c` without `-f`); its clients
//! are on another, and all that they send is in the server's socket before it looks. `.ci/counts` takes two runs and compares
//! their difference with what is recorded. Linux only.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gamekeeper::client::{Client, ClientConfig, ServerKey};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{Handler, Message, PeerId, SendOptions, Takes};
use gamekeeper::Server;

const CLIENTS: usize = 64;
/// Messages of 64 bytes that each client has under way in `echo`; they fit one datagram.
const IN_FLIGHT: usize = 8;
/// Longest time for all to connect, and for one round.
const PATIENCE: Duration = Duration::from_secs(30);

struct Game {
    echoes: bool,
    messages: Arc<AtomicU64>,
}

impl Handler for Game {
    fn takes(&self) -> Takes {
        Takes { message: true, ..Takes::default() }
    }

    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        self.messages.fetch_add(1, Relaxed);
        if self.echoes {
            server.send(peer, &message.data, SendOptions::default()).expect("there is room");
        }
    }
}

/// Plays a round for each word, and says when all is sent; until nobody speaks any more.
fn play(address: SocketAddr, per_round: usize, len: usize, words: &Receiver<()>, sent: &Sender<()>) {
    let open = |_| {
        let config = ClientConfig::new(ServerKey::Any);
        let config = ClientConfig { max_queued_events: 10_000, ..config };
        Client::open(config, Box::new(()), &address.to_string()).expect("a client")
    };
    let clients: Vec<Client> = (0..CLIENTS).map(open).collect();
    let read = |client: &Client| {
        client.poll(Some(Duration::ZERO)).expect("it runs");
        let _read = client.next_events(10_000).expect("a queue");
    };
    loop {
        match words.recv_timeout(Duration::from_millis(1)) {
            Ok(()) => {}
            // They still connect.
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                clients.iter().for_each(read);
                continue;
            }
            Err(_) => return,
        }
        for client in &clients {
            read(client);
            for _ in 0..per_round {
                client
                    .send(&vec![1; len], gamekeeper::client::SendOptions::default())
                    .expect("there is room");
            }
            client.poll(Some(Duration::ZERO)).expect("it runs");
        }
        sent.send(()).expect("somebody listens");
    }
}

fn main() {
    // `cargo bench` puts words of its own in; `cargo test --benches` only wants to know that it runs.
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let echoes = words.first().is_none_or(|word| word == "echo");
    let rounds: u64 = words.get(1).map_or(3, |rounds| rounds.parse().expect("a number of rounds"));
    let (per_round, len) = if echoes { (IN_FLIGHT, 64) } else { (1, 32) };
    let messages = Arc::new(AtomicU64::new(0));
    // Ticks are this program's own, once a round.
    let config = Config { tick_rate_hz: 1.0, ..Config::default() };
    let game = Game { echoes, messages: messages.clone() };
    let server = Server::open(config, Box::new(game), "127.0.0.1:0").expect("a server");
    let (speak, heard) = channel();
    let (say, sent) = channel();
    let address = server.local_address();
    let clients = std::thread::spawn(move || play(address, per_round, len, &heard, &say));
    let deadline = Instant::now() + PATIENCE;
    while server.peers().len() < CLIENTS {
        assert!(Instant::now() < deadline, "they do not connect");
        server.poll(Some(Duration::from_millis(10))).expect("it runs");
    }
    for round in 1..=rounds {
        speak.send(()).expect("they play");
        sent.recv_timeout(PATIENCE).expect("they play");
        let deadline = Instant::now() + PATIENCE;
        let all = round * (CLIENTS * per_round) as u64;
        while messages.load(Relaxed) < all {
            assert!(Instant::now() < deadline, "messages were lost");
            server.poll(Some(Duration::ZERO)).expect("it runs");
        }
        if !echoes {
            server.broadcast(None, &[2; 200], SendOptions::default()).expect("there is room");
            server.poll(Some(Duration::ZERO)).expect("it runs");
        }
    }
    println!("syscalls: {} messages", messages.load(Relaxed));
    drop(speak);
    clients.join().expect("the clients");
}
