//! A server that takes files, and nothing else.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use clap::Args;
use gamekeeper::keys::RootKey;
use gamekeeper::server::config::{Config, Framing, StreamDoor};
use gamekeeper::server::events::*;
use gamekeeper::server::files::{FileTarget, Quota};
use gamekeeper::server::password::Password;
use gamekeeper::{ErrorKind, Server};
use indicatif::ProgressBar;

use crate::keys::public_keys;
use crate::output::{complain, say, visible};
use crate::password::PasswordArguments;
use crate::send::{show, Bars};
use crate::serve::listen_address;
use crate::Failure;

/// How often it is looked whether the server has ended by itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes that one read of a stream takes.
const READ_BYTES: usize = 64 << 10;
/// How long senders may take to hear that their files have arrived.
const GOODBYE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Receive {
    /// The directory that files go into; it must exist
    directory: PathBuf,
    /// The interface to listen on, as an address; empty: all of them
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The UDP port; 0: a free one
    #[arg(long, default_value_t = 2021)]
    port: u16,
    /// Senders at most, 1 to 1,000,000
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,
    #[command(flatten)]
    password: PasswordArguments,
    /// The root key, PEM, as keygen makes it; without it one is made for this run
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// TCP, too, on the same port, for `send --tcp`; with port 0 a free one of its own
    #[arg(long)]
    tcp: bool,
    /// The password may be told over TCP where others can read it on the way
    #[arg(long, requires = "tcp")]
    password_in_clear: bool,
    /// Plain files over TCP at this HOST:PORT: a name, a space and the file, up to where the sender closes. Nothing but the
    /// stream's end tells whether that was all, and there is no password
    #[arg(long, value_name = "ADDRESS")]
    plain_tcp: Option<String>,
    /// Longest file that is taken; 0: any
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    max_size: u64,
    /// Bytes that are taken in all; 0: any number
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    max_total: u64,
    /// Replace files of the same name; else the new one gets a number
    #[arg(long)]
    replace: bool,
    /// End after so many files, whether they arrived or not; 0: never
    #[arg(long, value_name = "FILES", default_value_t = 0)]
    count: u64,
    /// No line for files that arrive
    #[arg(long)]
    quiet: bool,
}

struct Taker {
    directory: PathBuf,
    replace: bool,
    quiet: bool,
    /// Files that are left to take, if only so many are.
    left: Option<u64>,
    bars: Bars,
    under_way: HashMap<(PeerId, FileId), ProgressBar>,
    over: mpsc::Sender<()>,
}

impl Handler for Taker {
    fn takes(&self) -> Takes {
        Takes { log: true, file: true, ..Takes::default() }
    }

    fn file(&mut self, server: &Server, peer: PeerId, event: &FileEvent) {
        match event {
            FileEvent::Offered(file, offer) => {
                let target =
                    FileTarget { directory: self.directory.clone(), name: None, replace: self.replace };
                self.under_way.insert((peer, *file), self.bars.bar(&offer.name));
                // It may have gone meanwhile; then that is told by itself.
                let _gone = server.accept_file(peer, *file, target);
            }
            FileEvent::Progress { file, done, size } => {
                if let Some(bar) = self.under_way.get(&(peer, *file)) {
                    show(bar, *done, *size);
                }
            }
            FileEvent::Ended(file, end) => {
                if let Some(bar) = self.under_way.remove(&(peer, *file)) {
                    bar.finish_and_clear();
                }
                self.ended(server, peer, end);
            }
        }
    }

    fn log(&mut self, _: &Server, level: LogLevel, text: &str) {
        if level <= LogLevel::Warn {
            self.bars.suspended(|| complain(text));
        }
    }
}

impl Taker {
    fn ended(&mut self, server: &Server, peer: PeerId, end: &FileEnd) {
        let from = server.peer_info(peer).map_or_else(|_| "?".to_owned(), |info| info.address.to_string());
        match &end.result {
            Ok(path) => {
                let path = path.as_ref().map(|path| visible(&path.display().to_string())).unwrap_or_default();
                if !self.quiet {
                    self.bars.suspended(|| say(&format!("received {path}, {} bytes, from {from}", end.size)));
                }
            }
            Err((_, text)) => {
                let name = visible(&end.name);
                self.bars.suspended(|| complain(&format!("{name} from {from}: {text}")));
            }
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let _gone = self.over.send(());
            }
        }
    }
}

impl Receive {
    /// The doors beside that of datagrams.
    fn doors(&self) -> Vec<StreamDoor> {
        let of = |address: &str, framing| StreamDoor {
            files: true,
            read_bytes: READ_BYTES,
            password_in_clear: self.password_in_clear,
            // Many senders may well be on one machine.
            max_connections_per_source: self.max_clients,
            ..StreamDoor::new(address, framing)
        };
        let framed = self.tcp.then(|| of(&listen_address(&self.host, self.port), Framing::Length));
        let plain = self.plain_tcp.as_deref().map(|address| of(address, Framing::Raw));
        framed.into_iter().chain(plain).collect()
    }

    /// What the line with the server's address is followed by.
    fn told_doors(&self, server: &Server) -> String {
        let names = [self.tcp.then_some("TCP"), self.plain_tcp.is_some().then_some("plain TCP")];
        let names = names.into_iter().flatten();
        names.zip(server.stream_addresses()).map(|(name, at)| format!("\n{name} at {at}")).collect()
    }

    pub fn run(&self) -> Result<(), Failure> {
        if !self.directory.is_dir() {
            return Err(format!("{} is no directory", self.directory.display()));
        }
        let key = match &self.key {
            Some(path) => RootKey::load(path),
            None => RootKey::generate(),
        };
        let key = Arc::new(key.map_err(|error| error.to_string())?);
        let password = self.password.read()?.map(|text| Password::new(text.as_bytes())).transpose();
        let quota = Quota { max_file_bytes: self.max_size, bytes_total: self.max_total, ..Quota::default() };
        let config = Config {
            root_key: Some(key.clone()),
            password: password.map_err(|error| error.to_string())?,
            max_peers: self.max_clients,
            files: Some(quota),
            streams: self.doors(),
            ..Config::default()
        };
        let (over, ended) = mpsc::channel();
        let interrupt = over.clone();
        let handler = move || {
            // Nobody waits any more: it ends already.
            let _gone = interrupt.send(());
        };
        ctrlc::set_handler(handler).map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
        let taker = Taker {
            directory: self.directory.clone(),
            replace: self.replace,
            quiet: self.quiet,
            left: (self.count > 0).then_some(self.count),
            bars: Bars::new(self.quiet),
            under_way: HashMap::new(),
            over,
        };
        let address = listen_address(&self.host, self.port);
        let server =
            Server::start(config, Box::new(taker), &address).map_err(|error| match error.kind() {
                ErrorKind::AddressInUse if self.doors().is_empty() => {
                    format!("{address} is in use: another program listens there")
                }
                _ => error.to_string(),
            })?;
        let (at, doors) = (server.local_address(), self.told_doors(&server));
        say(&format!("listening on {at}; Ctrl-C ends it\n{}{doors}", public_keys(&key)));
        while ended.recv_timeout(LOOK_INTERVAL).is_err() && !server.is_stopped() {}
        say_goodbye(&server);
        server.stop().map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Whoever has sent something hears what became of it before the server ends.
fn say_goodbye(server: &Server) {
    for peer in server.peers() {
        let info = DisconnectInfo::new(DisconnectReason::Shutdown, "the receiver has ended");
        // It may have gone meanwhile.
        let _gone = server.disconnect(peer, info, true);
    }
    let until = Instant::now() + GOODBYE;
    while !server.peers().is_empty() && Instant::now() < until && !server.is_stopped() {
        std::thread::sleep(LOOK_INTERVAL / 20);
    }
}
