//! A crowd of clients on one thread, each with a socket of its own, against an echo server; and what it measured.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use gamekeeper::client::{ClientConfig, DisconnectReason, Event, RetryMode, SendOptions, Wire};
use gamekeeper::{Client, ErrorKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::histogram::Histogram;
use crate::output::{say, visible};
use crate::remote::Remote;
use crate::Failure;

/// Bytes that every message begins with: when it was sent, and by whom.
const HEAD: usize = 12;
/// How fast clients are opened, per second: below what servers answer to one source for long.
const OPEN_RATE: f64 = 250.0;
/// How often a client that got no answer tries again; a server under a rush drops hellos.
const MAX_ATTEMPTS: u32 = 4;
/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long the end waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the goodbyes may take, all together.
const GOODBYE: Duration = Duration::from_secs(1);
/// Messages that one client sends in one turn at most; what a busy machine is late with beyond that is not sent.
const MAX_BURST: u32 = 16;
/// Events taken from one client in one turn at most, and kept for it between turns.
const MAX_EVENTS: usize = 4096;
/// How long the thread sleeps when a turn is done.
const TURN: Duration = Duration::from_millis(1);
/// Bytes asked of the kernel for each client's buffers: a crowd with the library's default would ask for gigabytes.
const SOCKET_BYTES: usize = 256 << 10;
/// File descriptors of one client: its socket, and what it waits with.
const DESCRIPTORS: u64 = 3;
/// Descriptors that the process has beside those of its clients.
const OTHER_DESCRIPTORS: u64 = 32;

#[derive(Args)]
pub struct Bots {
    #[command(flatten)]
    remote: Remote,
    /// Clients, 1 to 10,000
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Messages per second and client
    #[arg(long, value_name = "HZ", default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// Bytes per message, 12 to 1,000,000
    #[arg(long, value_name = "BYTES", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(HEAD as i64..=1_000_000))]
    size: u32,
    /// How messages are sent, and so come back
    #[arg(long, value_enum, default_value_t = Mode::Unreliable)]
    mode: Mode,
    /// How long messages are sent
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Unreliable,
    /// Native wire
    Sequenced,
    BestEffort,
    Guaranteed,
    /// Native wire
    Ordered,
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.01, 10_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.1, 86_400.0)
}

fn within(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (low..=high).contains(&value).then_some(value).ok_or_else(|| format!("allowed is {low} to {high}"))
}

/// One client of the crowd.
struct Bot {
    client: Client,
    state: State,
    attempts: u32,
    /// When its next message is due.
    due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    /// It never was connected.
    Failed,
    /// It was.
    Lost,
}

struct Crowd<'a> {
    arguments: &'a Bots,
    bots: Vec<Bot>,
    start: Instant,
    message: Vec<u8>,
    sent: u64,
    received: u64,
    /// Messages that found no room in a client's queue.
    refused: u64,
    latencies: Histogram,
    /// Why the first client that failed did.
    failure: Option<String>,
    interrupted: Arc<AtomicBool>,
}

impl Bots {
    pub fn run(&self) -> Result<(), Failure> {
        let needs_native = matches!(self.mode, Mode::Sequenced | Mode::Ordered);
        if needs_native && self.remote.wire() == Wire::Mpgameserver {
            return Err("mpgameserver's wire has no sequenced and no ordered messages".into());
        }
        let config = ClientConfig {
            tick_rate_hz: 1.0,
            handshake_timeout: ATTEMPT,
            max_queued_events: MAX_EVENTS as u32,
            socket_receive_bytes: SOCKET_BYTES,
            socket_send_bytes: SOCKET_BYTES,
            ..self.remote.config(true)?
        };
        check_descriptors(u64::from(self.connections) * DESCRIPTORS + OTHER_DESCRIPTORS)?;
        let interrupted = Arc::<AtomicBool>::default();
        let flag = interrupted.clone();
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
            .map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
        let mut crowd = Crowd::new(self, interrupted);
        let bar = progress();
        crowd.connect(&config, &bar)?;
        let connected = crowd.number(State::Connected);
        if connected == 0 {
            bar.finish_and_clear();
            crowd.leave();
            let why = crowd.failure.as_deref().unwrap_or("interrupted");
            return Err(self.remote.failure(&format!("no client was let in: {why}")));
        }
        let lasted = crowd.measure(&bar);
        bar.finish_and_clear();
        let lost = crowd.number(State::Lost);
        crowd.leave();
        say(&crowd.table(connected, lasted));
        if connected == self.connections as usize && lost == 0 {
            return Ok(());
        }
        let why = crowd.failure.as_deref().unwrap_or("interrupted");
        let missing = self.connections as usize - connected;
        Err(format!("{missing} of {} clients were not let in, {lost} were lost: {why}", self.connections))
    }
}

impl Crowd<'_> {
    fn new(arguments: &Bots, interrupted: Arc<AtomicBool>) -> Crowd<'_> {
        Crowd {
            arguments,
            bots: Vec::new(),
            start: Instant::now(),
            message: vec![0; arguments.size as usize],
            sent: 0,
            received: 0,
            refused: 0,
            latencies: Histogram::new(),
            failure: None,
            interrupted,
        }
    }

    fn number(&self, state: State) -> usize {
        self.bots.iter().filter(|bot| bot.state == state).count()
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Opens all clients, and waits until each is connected or has failed.
    fn connect(&mut self, config: &ClientConfig, bar: &ProgressBar) -> Result<(), Failure> {
        let wanted = self.arguments.connections as usize;
        bar.set_length(wanted as u64);
        bar.set_message("connecting");
        while self.bots.len() < wanted || self.number(State::Connecting) > 0 {
            if self.is_interrupted() {
                break;
            }
            let due = 1 + (self.start.elapsed().as_secs_f64() * OPEN_RATE) as usize;
            while self.bots.len() < due.min(wanted) {
                let client = Client::open(config.clone(), Box::new(()), &self.arguments.remote.address);
                let client = client.map_err(|error| error.to_string())?;
                let due = self.start;
                self.bots.push(Bot { client, state: State::Connecting, attempts: 1, due });
            }
            self.turn()?;
            bar.set_position(self.number(State::Connected) as u64);
        }
        Ok(())
    }

    /// Sends for as long as asked, and waits for the echoes. How long it sent.
    fn measure(&mut self, bar: &ProgressBar) -> Duration {
        let interval = Duration::from_secs_f64(1.0 / self.arguments.rate);
        let (begin, length) = (Instant::now(), Duration::from_secs_f64(self.arguments.seconds));
        let number = self.bots.len() as u32;
        for (index, bot) in (0..).zip(&mut self.bots) {
            // Spread over an interval, as players are.
            bot.due = begin + interval * index / number;
        }
        bar.set_length(length.as_millis() as u64);
        while begin.elapsed() < length && !self.is_interrupted() && self.number(State::Connected) > 0 {
            self.send_due(interval);
            if self.turn().is_err() {
                break;
            }
            bar.set_position(begin.elapsed().as_millis() as u64);
            bar.set_message(format!(
                "{} sent, {} back, p50 {:.1} ms",
                self.sent,
                self.received,
                self.latencies.quantile(0.5).as_secs_f64() * 1e3
            ));
        }
        let lasted = begin.elapsed();
        let deadline = Instant::now() + PATIENCE;
        while self.received < self.sent && Instant::now() < deadline && self.number(State::Connected) > 0 {
            if self.turn().is_err() {
                break;
            }
        }
        lasted
    }

    fn send_due(&mut self, interval: Duration) {
        let now = Instant::now();
        let retry = match self.arguments.mode {
            Mode::Unreliable => RetryMode::None,
            Mode::Sequenced => RetryMode::Sequenced,
            Mode::BestEffort => RetryMode::BestEffort,
            Mode::Guaranteed => RetryMode::OnTimeout,
            Mode::Ordered => RetryMode::Ordered,
        };
        for (index, bot) in (0u32..).zip(&mut self.bots) {
            for _ in 0..MAX_BURST {
                if bot.state != State::Connected || bot.due > now {
                    break;
                }
                bot.due += interval;
                let micros = now.duration_since(self.start).as_micros() as u64;
                let head = micros.to_le_bytes().into_iter().chain(index.to_le_bytes());
                self.message.iter_mut().zip(head).for_each(|(to, from)| *to = from);
                match bot.client.send(&self.message, SendOptions { retry, ..SendOptions::default() }) {
                    Ok(()) => self.sent += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.refused += 1,
                    // There is no session any more: its event says why.
                    Err(_) => break,
                }
            }
            // What was missed is not made up for.
            bot.due = bot.due.max(now);
        }
    }

    /// Runs all clients once, takes what they have, and rests.
    fn turn(&mut self) -> Result<(), Failure> {
        for index in 0..self.bots.len() {
            let Some(bot) = self.bots.get_mut(index) else { break };
            if matches!(bot.state, State::Failed | State::Lost) {
                continue;
            }
            bot.client.poll(Some(Duration::ZERO)).map_err(|error| error.to_string())?;
            for event in bot.client.next_events(MAX_EVENTS).map_err(|error| error.to_string())? {
                self.take(index, event)?;
            }
        }
        std::thread::sleep(TURN);
        Ok(())
    }

    fn take(&mut self, index: usize, event: Event) -> Result<(), Failure> {
        let Some(bot) = self.bots.get_mut(index) else { return Ok(()) };
        match event {
            Event::Connected(_) => bot.state = State::Connected,
            Event::Disconnected(info) => {
                let again = info.reason == DisconnectReason::Timeout && bot.attempts < MAX_ATTEMPTS;
                if bot.state == State::Connecting && again {
                    bot.attempts += 1;
                    return bot.client.reconnect().map_err(|error| error.to_string());
                }
                let connected = bot.state == State::Connected;
                bot.state = if connected { State::Lost } else { State::Failed };
                self.failure.get_or_insert_with(|| visible(&info.text));
            }
            Event::Message(message) => {
                let (head, _) = message.data.split_at_checked(HEAD).unwrap_or_default();
                let (time, from) = head.split_at_checked(8).unwrap_or_default();
                let (Ok(time), Ok(from)) = (time.try_into(), from.try_into()) else { return Ok(()) };
                // Anything else is not an echo: the server says things of its own.
                if u32::from_le_bytes(from) as usize == index {
                    let sent = Duration::from_micros(u64::from_le_bytes(time));
                    self.received += 1;
                    self.latencies.record(self.start.elapsed().saturating_sub(sent));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Says goodbye for all who are connected.
    fn leave(&mut self) {
        for bot in &self.bots {
            // Whoever has gone already needs no goodbye.
            let _gone = bot.client.disconnect();
        }
        let deadline = Instant::now() + GOODBYE;
        while self.number(State::Connected) > 0 && Instant::now() < deadline && self.turn().is_ok() {}
    }

    fn table(&self, connected: usize, lasted: Duration) -> String {
        let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let lost = self.sent.saturating_sub(self.received) as f64 * 100.0 / self.sent.max(1) as f64;
        let rate = |messages: u64| messages as f64 / lasted.as_secs_f64();
        let kilobytes = |messages: u64| rate(messages) * f64::from(self.arguments.size) / 1e3;
        let throughput =
            |messages| format!("{:.0} messages/s, {:.0} kB/s", rate(messages), kilobytes(messages));
        let rows = [
            ("connected", format!("{connected} of {}", self.arguments.connections)),
            ("sent", self.sent.to_string()),
            ("received", self.received.to_string()),
            ("no room", self.refused.to_string()),
            ("loss", format!("{lost:.2} %")),
            ("latency p50", millis(self.latencies.quantile(0.50))),
            ("latency p95", millis(self.latencies.quantile(0.95))),
            ("latency p99", millis(self.latencies.quantile(0.99))),
            ("latency max", millis(self.latencies.max())),
            ("out", throughput(self.sent)),
            ("in", throughput(self.received)),
        ];
        rows.map(|(name, value)| format!("{name:<12} {value}")).join("\n")
    }
}

/// Shown where somebody looks.
fn progress() -> ProgressBar {
    let target = match std::io::stdout().is_terminal() {
        true => ProgressDrawTarget::stdout(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    match ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Raises the limit on open files as far as this user may; if that is not enough, says so.
#[cfg(unix)]
fn check_descriptors(needed: u64) -> Result<(), Failure> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a struct of the kind that the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= needed {
        return Ok(());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max.min(needed), ..limit };
    // SAFETY: `raised` is a whole struct, which the call only reads.
    if raised.rlim_cur >= needed && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        return Ok(());
    }
    Err(format!("so many clients need {needed} open files, allowed are {}: see ulimit -n", limit.rlim_max))
}

#[cfg(not(unix))]
fn check_descriptors(_: u64) -> Result<(), Failure> {
    Ok(())
}
