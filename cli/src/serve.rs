//! A server that sends messages back, or on to everybody else.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

use clap::{Args, ValueEnum};
use gamekeeper::keys::RootKey;
use gamekeeper::server::config::{Config, StreamDoor, TlsFiles};
use gamekeeper::server::events::*;
use gamekeeper::server::password::Password;
use gamekeeper::{ErrorKind, Server};

use crate::framing::TcpArguments;
use crate::keys::public_keys;
use crate::output::{complain, say, visible};
use crate::password::PasswordArguments;
use crate::Failure;

/// How often it is looked whether the server has ended by itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Messages that wait for a client at most; what finds no room is not echoed. Nothing but the client's own queue, of 4096, holds
/// it back, and here wait those that it has not acknowledged, too.
const MAX_QUEUED_MESSAGES: u32 = 65_536;

#[derive(Args)]
pub struct Serve {
    /// Where messages go
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// The interface to listen on, as an address; empty: all of them
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The UDP port; 0: a free one
    #[arg(long, default_value_t = 2021)]
    port: u16,
    /// Clients at most, 1 to 1,000,000
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,
    #[command(flatten)]
    password: PasswordArguments,
    /// Ticks per second
    #[arg(long, default_value_t = 60.0, value_name = "HZ")]
    tick_rate: f64,
    /// The root key, PEM, as keygen makes it; without it one is made for this run
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    tcp: TcpArguments,
    /// The TCP port; the UDP port's number where it is not said
    #[arg(long, requires = "tcp", value_name = "PORT")]
    tcp_port: Option<u16>,
    /// The certificate, PEM, by which the TCP port speaks TLS
    #[arg(long, requires = "tcp", requires = "cert_key", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, requires = "cert", value_name = "FILE")]
    cert_key: Option<PathBuf>,
    /// TCP connections from one address at most; as many as there can be clients where it is not said
    #[arg(long, requires = "tcp", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tcp_per_source: Option<u32>,
    /// No line for clients that come and go
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Back to whoever sent it
    Echo,
    /// To everybody else
    Relay,
}

/// What came and went.
#[derive(Default)]
struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
    /// Found a full queue, or a client on its way out.
    refused: AtomicU64,
}

struct Game {
    mode: Mode,
    quiet: bool,
    counts: Arc<Counts>,
}

impl Handler for Game {
    fn takes(&self) -> Takes {
        Takes { connect: true, disconnect: true, message: true, log: true, ..Takes::default() }
    }

    fn connect(&mut self, _: &Server, _: PeerId, info: &ConnectInfo) {
        if !self.quiet {
            say(&format!("+ {:08x} {}", info.token, info.address));
        }
    }

    fn disconnect(&mut self, server: &Server, peer: PeerId, info: &DisconnectInfo) {
        if !self.quiet {
            let token = server.peer_info(peer).map_or(0, |info| info.token);
            say(&format!("- {token:08x} {}", visible(&info.text)));
        }
    }

    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        // In the mode in which it came; a wire that does not tell gets the one that loses nothing.
        let retry = message.mode.unwrap_or(RetryMode::OnTimeout);
        let content = message.content.clone();
        let options = SendOptions { retry, channel: message.channel, content, ..SendOptions::default() };
        let reach = match self.mode {
            Mode::Echo => server.send(peer, &message.data, options).map(|()| Reach { sent: 1, refused: 0 }),
            Mode::Relay => server.broadcast(Some(peer), &message.data, options),
        };
        let reach = reach.unwrap_or(Reach { sent: 0, refused: 1 });
        self.counts.received.fetch_add(1, Ordering::Relaxed);
        self.counts.sent.fetch_add(reach.sent as u64, Ordering::Relaxed);
        self.counts.refused.fetch_add(reach.refused as u64, Ordering::Relaxed);
    }

    fn log(&mut self, _: &Server, level: LogLevel, text: &str) {
        if level <= LogLevel::Warn {
            complain(text);
        }
    }
}

impl Serve {
    pub fn run(&self) -> Result<(), Failure> {
        let key = match &self.key {
            Some(path) => RootKey::load(path),
            None => RootKey::generate(),
        };
        let key = Arc::new(key.map_err(|error| error.to_string())?);
        let password = self.password.read()?.map(|text| Password::new(text.as_bytes())).transpose();
        let tls = self.cert.clone().zip(self.cert_key.clone());
        let door = StreamDoor {
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
            password_in_clear: self.tcp.password_in_clear,
            // What it is tried with comes from one machine.
            max_connections_per_source: self.tcp_per_source.unwrap_or(self.max_clients),
            ..StreamDoor::new(
                listen_address(&self.host, self.tcp_port.unwrap_or(self.port)),
                self.tcp.framing.into(),
            )
        };
        let config = Config {
            streams: if self.tcp.tcp { vec![door] } else { Vec::new() },
            root_key: Some(key.clone()),
            password: password.map_err(|error| error.to_string())?,
            max_peers: self.max_clients,
            tick_rate_hz: self.tick_rate,
            max_queued_messages: MAX_QUEUED_MESSAGES,
            ..Config::default()
        };
        let counts = Arc::<Counts>::default();
        let (interrupt, interrupted) = mpsc::channel();
        // Whoever waits for the line with the address may interrupt as soon as it is there.
        let handler = move || {
            // Nobody waits any more: it ends already.
            let _gone = interrupt.send(());
        };
        ctrlc::set_handler(handler).map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
        let game = Game { mode: self.mode, quiet: self.quiet, counts: counts.clone() };
        let address = listen_address(&self.host, self.port);
        let server = Server::start(config, Box::new(game), &address).map_err(|error| match error.kind() {
            ErrorKind::AddressInUse => format!("{address} is in use: another program listens there"),
            _ => error.to_string(),
        })?;
        let reached: String =
            server.addresses().iter().map(|(what, at)| format!("\nothers reach it at {what} {at}")).collect();
        let (at, keys) = (server.local_address(), public_keys(&key));
        say(&format!("listening on {at}; Ctrl-C ends it\n{keys}{reached}"));
        while interrupted.recv_timeout(LOOK_INTERVAL).is_err() && !server.is_stopped() {}
        server.stop().map_err(|error| error.to_string())?;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (received, sent, refused) =
            (count(&counts.received), count(&counts.sent), count(&counts.refused));
        say(&format!("stopped: {received} messages received, {sent} sent, {refused} found a full queue"));
        Ok(())
    }
}

/// As the library reads it: IPv6 in brackets.
pub fn listen_address(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}
