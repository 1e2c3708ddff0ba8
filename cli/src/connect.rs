//! One client between a server and this process's standard input and output.

use std::io::{BufRead, Read};
use std::sync::{mpsc, Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use gamekeeper::client::{ConnectInfo, DisconnectInfo, Handler, Message, Takes};
use gamekeeper::{Client, ErrorKind};

use crate::output::{complain, say_received, visible};
use crate::remote::Remote;
use crate::Failure;

/// How long the last lines may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a line waits for room in the queue before it is tried again.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);
/// Lines read ahead of what the client takes; the reader waits above it.
const MAX_LINES: usize = 64;
/// Longest line in bytes; a longer one is refused by the client, whose longest message this is.
const MAX_LINE: u64 = 8 << 20;

#[derive(Args)]
pub struct Connect {
    #[command(flatten)]
    remote: Remote,
    /// How long after the end of the input messages are still printed
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    linger: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.0..=3600.0).contains(&value).then_some(value).ok_or_else(|| "allowed is 0 to 3600".into())
}

/// What the main thread waits for.
enum Input {
    Connected,
    Disconnected,
    Line(Vec<u8>),
    /// Nothing more comes in, or it cannot be read.
    End(Result<(), String>),
}

/// Prints messages where they arrive, and hands on the rest.
struct Printer {
    inputs: mpsc::SyncSender<Input>,
    /// Why the session ended. It stands here, for in front of lines that wait there may be no room.
    ended: Arc<OnceLock<String>>,
}

impl Handler for Printer {
    fn takes(&self) -> Takes {
        Takes { connected: true, disconnected: true, message: true, ..Takes::default() }
    }

    fn connected(&mut self, _: &Client, _: &ConnectInfo) {
        let _gone = self.inputs.send(Input::Connected);
    }

    fn disconnected(&mut self, _: &Client, info: &DisconnectInfo) {
        let _first = self.ended.set(visible(&info.text));
        // Only wakes the main thread; where there is no room it is awake.
        let _full = self.inputs.try_send(Input::Disconnected);
    }

    fn message(&mut self, _: &Client, message: &Message) {
        say_received(&message.data);
    }
}

impl Connect {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.remote.config(false)?;
        let (sender, inputs) = mpsc::sync_channel(MAX_LINES);
        let address = &self.remote.address;
        let ended = Arc::<OnceLock<String>>::default();
        let printer = Printer { inputs: sender.clone(), ended: ended.clone() };
        let client = Client::start(config, Box::new(printer), address).map_err(|error| error.to_string())?;
        if !matches!(inputs.recv(), Ok(Input::Connected)) {
            let why = ended.get().map_or("the client ended", String::as_str);
            return Err(self.remote.failure(why));
        }
        // Lines are read when they can be sent.
        std::thread::spawn(move || read_lines(&sender));
        let read = self.talk(&client, &inputs, &ended);
        if ended.get().is_none() {
            client.disconnect_wait(PATIENCE).map_err(|error| error.to_string())?;
        }
        client.stop().map_err(|error| error.to_string())?;
        read
    }

    /// Sends lines until there are no more of them, or no session.
    fn talk(
        &self,
        client: &Client,
        inputs: &mpsc::Receiver<Input>,
        ended: &OnceLock<String>,
    ) -> Result<(), Failure> {
        let mut end: Option<Instant> = None;
        loop {
            if let Some(text) = ended.get() {
                return Err(format!("disconnected: {text}"));
            }
            let left = end.map_or(PATIENCE, |end| end.saturating_duration_since(Instant::now()));
            match inputs.recv_timeout(left) {
                Ok(Input::Line(line)) => send(client, &line)?,
                Ok(Input::Connected | Input::Disconnected) => {}
                Ok(Input::End(read)) => {
                    read?;
                    end = Some(Instant::now() + Duration::from_secs_f64(self.linger));
                }
                Err(_) if end.is_some_and(|end| end <= Instant::now()) => return Ok(()),
                Err(_) => {}
            }
        }
    }
}

/// Sends a line as soon as there is room for it.
fn send(client: &Client, line: &[u8]) -> Result<(), Failure> {
    loop {
        match client.send_guaranteed(line) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(ROOM_INTERVAL),
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                complain(&format!("a line was not sent: {error}"));
                return Ok(());
            }
            // There is no session any more: the caller says why.
            Err(error) if error.kind() == ErrorKind::State => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Hands on the lines of standard input, without their ends.
fn read_lines(sender: &mpsc::SyncSender<Input>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        let next = match read {
            Ok(0) => Input::End(Ok(())),
            Ok(_) => {
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                Input::Line(text.strip_suffix(b"\r").unwrap_or(text).to_vec())
            }
            Err(error) => Input::End(Err(format!("standard input: {error}"))),
        };
        let last = matches!(next, Input::End(_));
        if sender.send(next).is_err() || last {
            return;
        }
    }
}
