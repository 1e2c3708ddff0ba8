//! Files to a server that receives them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

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
    Over,
}

impl Send {
    pub fn run(&self) -> Result<(), Failure> {
        if self.remote.wire() != Wire::Native {
            return Err("files need the native wire: mpgameserver's cannot carry them".into());
        }
        for file in &self.files {
            if !file.is_file() {
                return Err(format!("{} is no file", file.display()));
            }
        }
        let mut config = self.remote.config(false)?;
        config.files = Some(Quota::default());
        let (sender, inputs) = mpsc::channel();
        let teller = Box::new(Teller(sender.clone()));
        // Over streams, where `--tcp` asks for one, the client is started with that door's address; all else is the same.
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
    failed: usize,
    /// Something has arrived since the last session broke.
    moved: Arc<AtomicBool>,
    bars: Bars,
}

impl<'a> Sending<'a> {
    fn new(arguments: &'a Send, inputs: mpsc::Sender<Input>) -> Sending<'a> {
        let states = vec![State::Waiting; arguments.files.len()];
        let moved = Arc::<AtomicBool>::default();
        Sending { arguments, inputs, states, failed: 0, moved, bars: Bars::new(arguments.quiet) }
    }

    fn run(mut self, client: &Client, inputs: &mpsc::Receiver<Input>) -> Result<(), Failure> {
        let (mut tries, mut connected) = (0, false);
        while self.states.iter().any(|state| *state != State::Over) {
            match inputs.recv().map_err(|_| "the client ended")? {
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

    /// Sends what waits, as far as the client takes it.
    fn begin(&mut self, client: &Client) -> Result<(), Failure> {
        for index in 0..self.states.len() {
            if self.states[index] != State::Waiting {
                continue;
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
