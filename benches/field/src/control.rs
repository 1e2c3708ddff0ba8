//! The lines that the processes of one measurement write to each other.
//!
//! Server: `ready ADDRESS KEY`, and for each `mark` that it reads `mark NAME=VALUE…`. Load: `connected`,
//! which is answered by `go` when the server knows all clients, else by `wait`; `start` and `end`, after each of which
//! it waits for `go`; and `result NAME=VALUE…`, or `lost WORDS` where its library gave clients up, or `failed WORDS`. Both end
//! with their standard input.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::game::Book;

/// Named numbers.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, f64>);

impl Values {
    pub fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    /// NaN where there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    /// The middle and the tail of times in microseconds, in milliseconds.
    pub fn set_times(&mut self, prefix: &str, times: &mut [u32]) {
        times.sort_unstable();
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("longest", 1.0)] {
            let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            let value = times.get(place).map_or(f64::NAN, |time| f64::from(*time) / 1000.0);
            self.set(&format!("{prefix}{name}"), value);
        }
    }

    pub fn parse(text: &str) -> Values {
        let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
        Values(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (name, value) in &self.0 {
            write!(text, " {name}={value}")?;
        }
        f.write_str(text.trim_start())
    }
}

/// The library gave up clients that were connected: no failure of the measurement, but what it found.
#[derive(Clone, Debug)]
pub struct Lost(pub String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lost {}

/// Writes one line, at once.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever does not listen any more has ended this process too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Tells where the server is, and answers marks on a thread of its own until the end of standard input, which ends
/// the process.
pub fn serve(address: SocketAddr, key: &str, book: Arc<Book>) {
    say(&format!("ready {address} {key}"));
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            match line.as_deref() {
                Ok("mark") => say(&format!("mark {}", book.values())),
                _ => break,
            }
        }
        std::process::exit(0);
    });
}

/// Says a line and waits for the answer: whether it is `go`. Without any the process ends.
pub fn ask(line: &str) -> bool {
    say(line);
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(length) if length > 0 => answer.trim() == "go",
        _ => std::process::exit(1),
    }
}

/// Bytes as they stand in a line.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The way back; `None` where it is none.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|place| text.get(place..place + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
