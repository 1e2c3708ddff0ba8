//! Files to a server that receives them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use clap::Args;
use gamekeeper::client::{
    ConnectInfo, DisconnectInfo, FileEnd, FileFailure, FileOptions, Handler, Quota, Takes, Wire,
};
use gamekeeper::{Client, ErrorKind};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{complain, say, visible};
use crate::remote::Remote;
use crate::Failure;

/// How long after a broken session the next one is tried.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a receiver was busy it is asked again, the first time and at most, and how often for one file.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
const MAX_BUSY_PAUSE: Duration = Duration::from_secs(5);
const BUSY_TRIES: u32 = 120;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Send {
    #[command(flatten)]
    remote: Remote,
    /// The files; each is offered under its own name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How often a broken connection is made again while nothing arrives; what arrived is not sent again
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    retries: u32,
    /// Nothing but what goes wrong
    #[arg(long)]
    quiet: bool,
}

/// What the main thread waits for.
enum Input {
    Connected,
    Disconnected(String),
    Done(usize, FileEnd),
}

struct Teller(mpsc::Sender<Input>);

impl Handler for Teller {
    fn takes(&self) -> Takes {
        Takes { connected: true, disconnected: true, ..Takes::default() }
    }

    fn connected(&mut self, _: &Client, _: &ConnectInfo) {
        let _gone = self.0.send(Input::Connected);
    }

    fn disconnected(&mut self, _: &Client, info: &DisconnectInfo) {
        let _gone = self.0.send(Input::Disconnected(visible(&info.text)));
    }
}

/// Where a file stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    UnderWay,
    /// The receiver was busy: it waits until then.
    Busy(Instant),
    Over,
}

impl Send {
    pub fn run(&self) -> Result<(), Failure> {
        if self.remote.wire() == Wire::Mpgameserver {
            return Err("files need the native wire or TCP: mpgameserver's wire cannot carry them".into());
        }
        for file in &self.files {
            if !file.is_file() {
                return Err(format!("{} is no file", file.display()));
            }
        }
        let mut config = self.remote.config(false)?;
        config.files = Some(Quota::default());
        config.stream.files = self.remote.wire() == Wire::Stream;
        let (sender, inputs) = mpsc::channel();
        let teller = Box::new(Teller(sender.clone()));
        let client =
            Client::start(config, teller, &self.remote.address).map_err(|error| error.to_string())?;
        let sent = Sending::new(self, sender).run(&client, &inputs);
        if sent.is_ok() {
            // The files have arrived: a goodbye that is not heard changes nothing.
            let _heard = client.disconnect_wait(GOODBYE);
        }
        client.stop().map_err(|error| error.to_string())?;
        sent
    }
}

struct Sending<'a> {
    arguments: &'a Send,
    inputs: mpsc::Sender<Input>,
    states: Vec<State>,
    /// How often the receiver was busy when each was offered.
    refusals: Vec<u32>,
    failed: usize,
    /// Something has arrived since the last session broke.
    moved: Arc<AtomicBool>,
    bars: Bars,
}

impl<'a> Sending<'a> {
    fn new(arguments: &'a Send, inputs: mpsc::Sender<Input>) -> Sending<'a> {
        let states = vec![State::Waiting; arguments.files.len()];
        let moved = Arc::<AtomicBool>::default();
        let refusals = vec![0; arguments.files.len()];
        let bars = Bars::new(arguments.quiet);
        Sending { arguments, inputs, states, refusals, failed: 0, moved, bars }
    }

    fn run(mut self, client: &Client, inputs: &mpsc::Receiver<Input>) -> Result<(), Failure> {
        let (mut tries, mut connected) = (0, false);
        while self.states.iter().any(|state| *state != State::Over) {
            let Some(input) = self.next(inputs)? else {
                self.begin(client)?;
                continue;
            };
            match input {
                Input::Connected => {
                    connected = true;
                    self.begin(client)?;
                }
                Input::Done(index, end) => {
                    self.done(index, &end);
                    self.begin(client)?;
                }
                Input::Disconnected(why) => {
                    if self.moved.swap(false, Ordering::Relaxed) {
                        tries = 0;
                    }
                    // A server that was never there is not waited for.
                    if !connected || tries >= self.arguments.retries {
                        return Err(self.arguments.remote.failure(&why));
                    }
                    tries += 1;
                    std::thread::sleep(PAUSE);
                    client.reconnect().map_err(|error| error.to_string())?;
                }
            }
        }
        match self.failed {
            0 => Ok(()),
            failed => Err(format!("{failed} of {} files were not sent", self.states.len())),
        }
    }

    /// What happens next. `None`: nothing, and a file is due that has found a busy receiver.
    fn next(&self, inputs: &mpsc::Receiver<Input>) -> Result<Option<Input>, Failure> {
        let due = |state: &State| if let State::Busy(until) = state { Some(*until) } else { None };
        let Some(until) = self.states.iter().filter_map(due).min() else {
            return inputs.recv().map(Some).map_err(|_| "the client ended".into());
        };
        match inputs.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(input) => Ok(Some(input)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("the client ended".into()),
        }
    }

    /// Sends what waits, as far as the client takes it.
    fn begin(&mut self, client: &Client) -> Result<(), Failure> {
        let now = Instant::now();
        for index in 0..self.states.len() {
            match self.states[index] {
                State::Waiting => {}
                // Without a session it is due when there is one again.
                State::Busy(until) if until <= now => self.states[index] = State::Waiting,
                _ => continue,
            }
            let path = &self.arguments.files[index];
            let (inputs, bar) = (self.inputs.clone(), self.bars.bar(&path.display().to_string()));
            let (progress, moved) = (bar.clone(), self.moved.clone());
            let options = FileOptions {
                on_progress: Some(Arc::new(move |_, _, done, size| {
                    moved.store(true, Ordering::Relaxed);
                    show(&progress, done, size);
                })),
                on_done: Some(Box::new(move |_, _, end| {
                    bar.finish_and_clear();
                    let _gone = inputs.send(Input::Done(index, end.clone()));
                })),
                ..FileOptions::default()
            };
            match client.send_file(path, options) {
                Ok(_) => self.states[index] = State::UnderWay,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The session has ended again, or the server takes no files.
                Err(error) if client.token() == 0 || error.message().contains("not connected") => {
                    return Ok(())
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn done(&mut self, index: usize, end: &FileEnd) {
        let name = self.arguments.files[index].display();
        self.states[index] = match &end.result {
            Err((FileFailure::Disconnected, _)) => State::Waiting,
            Err((FileFailure::Busy, _)) if self.refusals[index] < BUSY_TRIES => {
                self.refusals[index] += 1;
                let pause = BUSY_PAUSE * self.refusals[index];
                State::Busy(Instant::now() + pause.min(MAX_BUSY_PAUSE))
            }
            Err((_, text)) => {
                self.failed += 1;
                self.bars.suspended(|| complain(&format!("{name}: {text}")));
                State::Over
            }
            Ok(_) => {
                if !self.arguments.quiet {
                    self.bars.suspended(|| say(&format!("sent {name}, {} bytes", end.size)));
                }
                State::Over
            }
        };
    }
}

/// A bar per file, where somebody looks.
pub struct Bars(MultiProgress);

impl Bars {
    pub fn new(quiet: bool) -> Bars {
        let shown = std::io::stderr().is_terminal() && !quiet;
        Bars(MultiProgress::with_draw_target(match shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        }))
    }

    /// A bar for a file that begins.
    pub fn bar(&self, name: &str) -> ProgressBar {
        let bar = ProgressBar::hidden();
        let style = ProgressStyle::with_template(
            "{msg:24!} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        );
        // The template is a constant that a test builds.
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(visible(name));
        self.0.add(bar)
    }

    /// Prints beside the bars.
    pub fn suspended(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
}

/// How far a file is.
pub fn show(bar: &ProgressBar, done: u64, size: u64) {
    bar.set_length(size);
    bar.set_position(done);
}

#[cfg(test)]
mod tests {
    use super::Bars;

    #[test]
    fn the_bars_template_is_right() {
        let template = "{msg:24!} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        indicatif::ProgressStyle::with_template(template).unwrap();
        Bars::new(true).bar("a").finish();
    }
}
