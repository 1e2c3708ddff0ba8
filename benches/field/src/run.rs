//! One measurement: a server and a load, each a process of its own on a core of its own, and the lines between them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::control::{Lost, Values};
use crate::options::Options;
use crate::peer::Result;
use crate::relay::{Relay, Traffic};
use crate::workload::{Measured, Workload};

/// The longest time for a server to start.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// The longest time for all else, beyond what is measured.
const PATIENCE: Duration = Duration::from_secs(240);

/// Measures once.
pub fn measure(workload: &Workload, options: &Options, seed: u64) -> Result<Measured> {
    let patience = PATIENCE + Duration::from_secs_f64(options.seconds);
    let mut server = Role::start("server", options)?;
    let ready = server.hear("ready", START_PATIENCE)?;
    let (address, key) = ready.split_once(' ').unwrap_or((&ready, ""));
    let mut options = Options { server: Some(address.parse()?), key: key.to_owned(), ..options.clone() };
    let relay = match (options.loss, options.server) {
        (Some(loss), Some(server)) => Some(Relay::start(server, loss, seed)?),
        _ => None,
    };
    if let Some(relay) = &relay {
        options.server = Some(relay.address);
    }
    let mut load = Role::start("load", &options)?;
    load.reach("start", &mut server, options.clients, patience)?;
    let start = server.mark()?;
    let before = traffic(relay.as_ref());
    load.say("go")?;
    load.reach("end", &mut server, options.clients, patience)?;
    let end = server.mark()?;
    let after = traffic(relay.as_ref());
    load.say("go")?;
    let load = Values::parse(&load.hear("result", patience)?);
    let mut passed = Values::default();
    for (name, _) in COUNTS {
        passed.set(name, after.get(name) - before.get(name));
    }
    let measured = Measured { start, end, load, relay: passed };
    if std::env::var_os("FIELD_VERBOSE").is_some() {
        eprintln!(
            "{}: {} | {} | {} | {}",
            workload.name, measured.start, measured.end, measured.load, measured.relay
        );
    }
    Ok(measured)
}

type Count = fn(&Traffic) -> &AtomicU64;

const COUNTS: [(&str, Count); 4] = [
    ("up_datagrams", |traffic| &traffic.up_datagrams),
    ("up_bytes", |traffic| &traffic.up_bytes),
    ("down_datagrams", |traffic| &traffic.down_datagrams),
    ("down_bytes", |traffic| &traffic.down_bytes),
];

fn traffic(relay: Option<&Relay>) -> Values {
    let mut values = Values::default();
    for (name, count) in COUNTS {
        let value = relay.map_or(0, |relay| count(&relay.traffic).load(Ordering::Relaxed));
        values.set(name, value as f64);
    }
    values
}

/// A process of ours, which ends with this value.
struct Role {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Role {
    fn start(name: &'static str, options: &Options) -> Result<Role> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(name)
            .args(options.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Role { name, child, input, lines })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    fn next_line(&self, word: &str, patience: Duration) -> Result<String> {
        let line = self.lines.recv_timeout(patience);
        let line =
            line.map_err(|_| format!("the {} ended or fell silent where `{word}` was due", self.name))?;
        match line.split_once(' ') {
            Some(("lost", why)) => Err(Lost(why.to_owned()).into()),
            Some(("failed", why)) => Err(format!("the {}: {why}", self.name).into()),
            _ => Ok(line),
        }
    }

    /// The rest of the next line, which begins with `word`.
    fn hear(&self, word: &str, patience: Duration) -> Result<String> {
        let line = self.next_line(word, patience)?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!("the {} said `{line}` where `{word}` was due", self.name).into()),
        }
    }

    /// As the load: up to a line of it, telling it meanwhile whether the server knows all clients.
    fn reach(&mut self, word: &str, server: &mut Role, clients: usize, patience: Duration) -> Result<()> {
        // The load bounds how often it asks.
        while self.hear_either("connected", word, patience)? {
            let known = server.mark()?.get("peers") >= clients as f64;
            self.say(if known { "go" } else { "wait" })?;
        }
        Ok(())
    }

    /// Whether the next line is the first of two.
    fn hear_either(&self, first: &str, second: &str, patience: Duration) -> Result<bool> {
        let line = self.next_line(second, patience)?;
        if line != first && line != second {
            return Err(format!("the {} said `{line}` where `{second}` was due", self.name).into());
        }
        Ok(line == first)
    }

    fn mark(&mut self) -> Result<Values> {
        self.say("mark")?;
        Ok(Values::parse(&self.hear("mark", START_PATIENCE)?))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
