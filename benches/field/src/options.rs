//! What one measurement is made with, as the roles hand it to each other on their command lines.

use std::net::SocketAddr;

use crate::peer::Peer;

/// How a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Unreliable,
    /// Exactly once; in an order or not as the library has it.
    Guaranteed,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Options {
    pub peer: Peer,
    pub workload: String,
    pub delivery: Delivery,
    pub clients: usize,
    /// Messages that a client has under way at once, where the workload has such a number.
    pub in_flight: usize,
    /// How long is measured, where the work itself does not say.
    pub seconds: f64,
    /// Share of the datagrams that the relay loses, each way; `None`: there is no relay.
    pub loss: Option<f64>,
    /// For the load: where the server is, and what it said of its keys.
    pub server: Option<SocketAddr>,
    pub key: String,
}

impl Options {
    /// With everything else as most workloads have it.
    pub fn new(peer: Peer, workload: &str) -> Options {
        Options {
            peer,
            workload: workload.to_owned(),
            delivery: Delivery::Unreliable,
            clients: 1,
            in_flight: 1,
            seconds: 1.0,
            loss: None,
            server: None,
            key: String::new(),
        }
    }

    pub fn to_arguments(&self) -> Vec<String> {
        let mut words = vec![
            format!("--peer={}", self.peer.id()),
            format!("--workload={}", self.workload),
            format!("--clients={}", self.clients),
            format!("--in-flight={}", self.in_flight),
            format!("--seconds={}", self.seconds),
        ];
        if self.delivery == Delivery::Guaranteed {
            words.push("--guaranteed".to_owned());
        }
        if let Some(server) = self.server {
            words.push(format!("--server={server}"));
            words.push(format!("--key={}", self.key));
        }
        words
    }

    pub fn parse(words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::new(Peer::Gamekeeper, "");
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((&word, ""));
            let bad = || format!("{word}: not understood");
            match name {
                "--peer" => options.peer = Peer::of(value).ok_or_else(bad)?,
                "--workload" => options.workload = value.to_owned(),
                "--clients" => options.clients = value.parse().map_err(|_| bad())?,
                "--in-flight" => options.in_flight = value.parse().map_err(|_| bad())?,
                "--seconds" => options.seconds = value.parse().map_err(|_| bad())?,
                "--guaranteed" => options.delivery = Delivery::Guaranteed,
                "--server" => options.server = Some(value.parse().map_err(|_| bad())?),
                "--key" => options.key = value.to_owned(),
                _ => return Err(bad()),
            }
        }
        Ok(options)
    }
}
