//! A server and its clients in one process, talking over loopback in all modes, with a line a second.
//!
//!     cargo run --package demo
//!     cargo run --package demo -- 0.0.0.0:1474 --clients 100 --seconds 30
//!
//! It ends by itself, or sooner with Ctrl-C, and says what arrived. Its exit code is 0 only if every
//! message that was promised to arrive did.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gamekeeper::client::driver::{Client, Event, Mode};
use gamekeeper::keys::PublicKey;
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{Handler, Message, PeerId, RetryMode, SendOptions};
use gamekeeper::Server;

/// The long message that the first client sends and that all are sent.
const LONG: usize = 100_000;
/// How long the end waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often each client sends a message of each mode, in messages per second.
const RATES: [(Mode, u32); 3] = [(Mode::Once, 30), (Mode::BestEffort, 10), (Mode::Guaranteed, 5)];

/// Ctrl-C, or the time is over.
static STOP: AtomicBool = AtomicBool::new(false);

/// The game: sends messages back in the mode that their first byte names, and the long one to everybody.
struct Game {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    messages_in: AtomicU64,
    messages_out: AtomicU64,
}

impl Handler for Game {
    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        self.counts.messages_in.fetch_add(1, Ordering::Relaxed);
        let retry = match message.data.first() {
            Some(0) => RetryMode::None,
            Some(1) => RetryMode::BestEffort,
            _ => RetryMode::OnTimeout,
        };
        let options = SendOptions { retry, ..SendOptions::default() };
        let sent = if message.data.len() == LONG {
            server.broadcast(None, &message.data, options).map(|reach| reach.sent)
        } else {
            server.send(peer, &message.data, options).map(|()| 1)
        };
        // What could not be queued is missing at its client in the end, and shows there.
        self.counts.messages_out.fetch_add(sent.unwrap_or(0) as u64, Ordering::Relaxed);
    }
}

struct Options {
    address: String,
    clients: usize,
    seconds: u64,
}

fn options() -> Result<Options, String> {
    let mut options = Options { address: "127.0.0.1:0".into(), clients: 16, seconds: 10 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{argument}: {value:?} is no number"))
        };
        match &argument[..] {
            "--clients" => options.clients = number()?.clamp(1, 4000) as usize,
            "--seconds" => options.seconds = number()?.clamp(1, 3600),
            _ if argument.starts_with('-') => {
                return Err(format!("{argument}? Known are --clients N, --seconds N and an address to bind"));
            }
            _ => options.address = argument,
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let result = options().and_then(|options| run(&options).map_err(|e| e.to_string()));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("demo: {text}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything arrived.
fn run(options: &Options) -> gamekeeper::Result<bool> {
    stop_on_interrupt();
    let counts = Arc::new(Counts::default());
    let game = Game { counts: counts.clone() };
    let server = Server::start(Config::default(), Box::new(game), &options.address)?;
    println!(
        "A server on {} with {} clients, for {} s. Ctrl-C ends it sooner.\n",
        server.local_address(),
        options.clients,
        options.seconds
    );
    let key = PublicKey::from_der(&server.public_key_der())?;
    let (target, number) = (reachable(server.local_address()), options.clients);
    let players = std::thread::spawn(move || play(target, &key, number));
    report(&server, &counts, options.seconds, &players);
    STOP.store(true, Ordering::Relaxed);
    let report = players.join().expect("a player's panic has been printed")?;
    server.stop()?;
    Ok(summary(&report, &server))
}

/// Where clients on this machine reach a server that is bound to `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Prints a line a second until the time is over, Ctrl-C, or the clients' end.
fn report<T>(server: &Server, counts: &Counts, seconds: u64, players: &std::thread::JoinHandle<T>) {
    println!("        clients      messages/s         kB/s     latency  ticks   the server's thread, %");
    println!(
        " second            in      out      in     out        ms     /s   messages update network idle"
    );
    let (mut last, mut last_stats) = ([0; 2], server.stats());
    let start = Instant::now();
    for second in 1..=seconds {
        while start.elapsed() < Duration::from_secs(second) {
            if STOP.load(Ordering::Relaxed) || players.is_finished() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let now = [&counts.messages_in, &counts.messages_out].map(|c| c.load(Ordering::Relaxed));
        let stats = server.stats();
        let latencies: Vec<Duration> =
            server.peers().into_iter().filter_map(|p| server.peer_info(p).ok()).map(|i| i.latency).collect();
        let latency = latencies.iter().sum::<Duration>().as_secs_f64() / latencies.len().max(1) as f64;
        let profile = stats.profile;
        println!(
            "{second:>7} {:>7} {:>7} {:>8} {:>7.0} {:>7.0} {:>9.2} {:>6.0} {:>10.1} {:>6.1} {:>7.1} {:>4.0}",
            stats.peers,
            now[0] - last[0],
            now[1] - last[1],
            (stats.bytes_received - last_stats.bytes_received) as f64 / 1e3,
            (stats.bytes_sent - last_stats.bytes_sent) as f64 / 1e3,
            latency * 1e3,
            stats.tick_rate_hz,
            profile.messages * 100.0,
            profile.update * 100.0,
            profile.network * 100.0,
            profile.idle * 100.0,
        );
        (last, last_stats) = (now, stats);
    }
}

/// What the clients saw.
#[derive(Default)]
struct Played {
    clients: usize,
    connected: usize,
    /// Of each mode.
    sent: [u64; 3],
    back: [u64; 3],
    long: usize,
    lost: usize,
}

impl Played {
    /// Whether nothing that was promised is under way any more.
    fn is_complete(&self) -> bool {
        self.back[2] == self.sent[2] && self.long == self.clients
    }
}

/// Plays all clients on one thread until [`STOP`], then waits for what is missing and says goodbye.
fn play(server: SocketAddr, key: &PublicKey, number: usize) -> gamekeeper::Result<Played> {
    let config = Config::default();
    let mut clients = Vec::new();
    for _ in 0..number {
        clients.push(Client::connect(server, Some(*key), &config)?);
    }
    let mut played = Played { clients: number, ..Played::default() };
    let mut began = None;
    let mut deadline = None;
    while deadline.is_none_or(|at| Instant::now() < at) {
        for client in &mut clients {
            client.update()?;
            while let Some(event) = client.poll_event() {
                take(&mut played, event);
            }
        }
        // All begin together, so that all are there for the long message.
        if played.connected == number && began.is_none() {
            began = Some(Instant::now());
            clients[0].send(&[2; LONG], Mode::Guaranteed, 0)?;
        }
        let stopping = STOP.load(Ordering::Relaxed);
        if let (Some(began), false) = (began, stopping) {
            chat(&mut clients, began, &mut played);
        }
        if played.lost > 0 || stopping && (began.is_none() || played.is_complete()) {
            break;
        }
        if stopping && deadline.is_none() {
            deadline = Some(Instant::now() + PATIENCE);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for client in &mut clients {
        client.close(false);
        client.update()?;
    }
    Ok(played)
}

fn take(played: &mut Played, event: Event) {
    match event {
        Event::Connected => played.connected += 1,
        Event::Message { data, .. } if data.len() == LONG => {
            played.long += usize::from(data.iter().all(|b| *b == 2));
        }
        Event::Message { data, .. } => {
            if let Some(count) = data.first().and_then(|mode| played.back.get_mut(usize::from(*mode))) {
                *count += 1;
            }
        }
        Event::Closed(_) => played.lost += 1,
        Event::Sent { .. } | Event::Writable | Event::Join { .. } => {}
    }
}

/// Sends what is due by now.
fn chat(clients: &mut [Client], began: Instant, played: &mut Played) {
    for (mode, (how, rate)) in RATES.into_iter().enumerate() {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64 * clients.len() as u64;
        while played.sent[mode] < due {
            let turn = (played.sent[mode] % clients.len() as u64) as usize;
            let line = format!("{}message {} of client {turn}", char::from(mode as u8), played.sent[mode]);
            if clients[turn].send(line.as_bytes(), how, 0).is_err() {
                // Its queue is full: the next turn tries again.
                break;
            }
            played.sent[mode] += 1;
        }
    }
}

fn summary(played: &Played, server: &Server) -> bool {
    println!("\n{} of {} clients connected, {} were lost.", played.connected, played.clients, played.lost);
    for (mode, name) in ["sent once", "best effort", "guaranteed"].into_iter().enumerate() {
        println!("{name:>12}: {:>7} sent, {:>7} came back", played.sent[mode], played.back[mode]);
    }
    println!("{:>12}: {:>7} to come, {:>6} came", "100 kB", played.clients, played.long);
    let stats = server.stats();
    println!("{:>12}: {:>7} done, {:>7} missed", "ticks", stats.ticks, stats.ticks_missed);
    let good = played.connected == played.clients && played.lost == 0 && played.is_complete();
    println!("{}", if good { "\nEverything arrived." } else { "\nNOT everything arrived." });
    good
}

#[cfg(unix)]
fn stop_on_interrupt() {
    extern "C" fn interrupted(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = interrupted;
    // SAFETY: the handler only stores to an atomic, which is allowed inside a signal handler.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
}

#[cfg(not(unix))]
fn stop_on_interrupt() {}
