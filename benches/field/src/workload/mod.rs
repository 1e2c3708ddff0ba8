//! What is measured: each workload in a file of its own, with its cases, its load, and its figures.

mod bulk;
mod echo;
mod loss;
mod memory;
mod ping;
mod storm;
mod tick;

use std::time::{Duration, Instant};

use crate::control::{self, Values};
use crate::options::{Delivery, Options};
use crate::peer::{Crowd, Peer, Received, Result};

/// The longest time for all clients to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);
/// Clients whose handshakes are under way at once.
const CONNECTING: usize = 64;
/// Times that the server is asked whether it knows all clients: 20 seconds.
const MAX_ASKS: u32 = 1000;
/// The longest single wait of a load.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether it is only to be seen that everything runs.
    pub quick: bool,
    /// Seconds of each measurement, where one was asked for.
    pub seconds: Option<f64>,
}

/// One row's name within a workload, the same for all libraries.
pub struct Case {
    pub name: String,
    pub peers: Vec<Peer>,
    /// With any library in it: each takes its turn.
    pub options: Options,
}

/// What one measurement brought.
pub struct Measured {
    /// The server's values at both ends of what is measured.
    pub start: Values,
    pub end: Values,
    /// What the load says.
    pub load: Values,
    /// The relay's counts between both ends, where there is one.
    pub relay: Values,
}

impl Measured {
    /// By how much a value of the server grew.
    pub fn grown(&self, name: &str) -> f64 {
        self.end.get(name) - self.start.get(name)
    }
}

/// A column of a table.
pub struct Column {
    pub title: &'static str,
    /// Digits after the point.
    pub digits: usize,
}

/// See the module.
pub struct Workload {
    pub name: &'static str,
    /// One sentence: what is done and what is counted.
    pub about: &'static str,
    pub columns: &'static [Column],
    /// The column that the chart shows.
    pub charted: usize,
    /// Of two columns: the second is the first, divided by that of the case's first row.
    pub relative: Option<(usize, usize)>,
    pub cases: fn(Plan) -> Vec<Case>,
    pub load: fn(&Options, &mut Load) -> Result<Values>,
    /// One figure for each column.
    pub figures: fn(&Options, &Measured) -> Vec<f64>,
}

pub const ALL: &[Workload] = &[
    loss::WORKLOAD,
    echo::WORKLOAD,
    tick::WORKLOAD,
    storm::WORKLOAD,
    ping::WORKLOAD,
    memory::WORKLOAD,
    bulk::WORKLOAD,
];

pub fn of(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}

/// The clients of one measurement, and what came for them last.
pub struct Load {
    pub crowd: Box<dyn Crowd>,
    pub inbox: Vec<Received>,
}

impl Load {
    pub fn new(crowd: Box<dyn Crowd>) -> Load {
        Load { crowd, inbox: Vec::new() }
    }

    /// Connects so many clients. Errors: not all of them got in.
    pub fn connect(&mut self, clients: usize) -> Result<()> {
        let end = Instant::now() + CONNECT_PATIENCE;
        let mut begun = 0;
        while self.crowd.connected() < clients {
            while begun < clients && begun < self.crowd.connected() + CONNECTING {
                self.crowd.connect()?;
                begun += 1;
            }
            self.turn(LOOK_INTERVAL)?;
            if self.crowd.lost() > 0 || Instant::now() > end {
                let (connected, lost) = (self.crowd.connected(), self.crowd.lost());
                return Err(format!("{connected} of {clients} clients connected, {lost} were lost").into());
            }
        }
        self.wait_for_server()
    }

    /// Runs the clients until the server knows all of them too.
    fn wait_for_server(&mut self) -> Result<()> {
        // Nobody answers before; clients wait for milliseconds here, and for as long as their last datagrams get lost.
        for _ in 0..MAX_ASKS {
            if control::ask("connected") {
                return Ok(());
            }
            self.rest(LOOK_INTERVAL)?;
        }
        Err("the server does not know all clients".into())
    }

    /// Runs the clients once, waiting for at most `wait`. What came before is forgotten.
    pub fn turn(&mut self, wait: Duration) -> Result<()> {
        self.inbox.clear();
        self.crowd.turn(wait.min(LOOK_INTERVAL), &mut self.inbox)?;
        Ok(())
    }

    /// Runs the clients for a time, without a word of theirs.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    pub fn start(&self) {
        control::ask("start");
    }

    pub fn end(&self) {
        control::ask("end");
    }
}

/// The load's role: connects, measures, and says what it saw.
pub fn play(options: &Options) -> Result<()> {
    let workload = of(&options.workload).ok_or("no such workload")?;
    let mut load = Load::new(options.peer.crowd(options)?);
    let values = (workload.load)(options, &mut load)?;
    if load.crowd.lost() > 0 {
        let (lost, all) = (load.crowd.lost(), options.clients);
        let text = format!("no figures: the library gave up {lost} of its {all} sessions, as timed out");
        return Err(control::Lost(text).into());
    }
    control::say(&format!("result {values}"));
    Ok(())
}

/// The options of a case.
fn options(workload: &str, delivery: Delivery, clients: usize) -> Options {
    Options { delivery, clients, ..Options::new(Peer::Gamekeeper, workload) }
}
