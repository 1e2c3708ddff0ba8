//! Guaranteed messages over a network that loses datagrams: how late the last ones come, and what that costs in bytes.

use std::time::{Duration, Instant};

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::message::{self, Part};
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

/// Messages per second of each client, and their bytes.
const RATE: f64 = 100.0;
const BYTES: usize = 64;
const CLIENTS: usize = 16;
/// Time before what is measured, in which windows and round trips are learned.
const BEFORE: Duration = Duration::from_secs(2);
/// Time after it, in which clients go on sending, and messages that were lost come at last.
const AFTER: Duration = Duration::from_secs(3);

pub const WORKLOAD: Workload = Workload {
    name: "loss",
    about: "16 clients send a guaranteed message of 64 bytes 100 times a second, through a relay that delays every \
            datagram by 20 ms and loses the given share of them, each way. How long messages were under way one way, \
            and the bytes of UDP payload, both ways together, for each message. What has \
            not arrived three seconds after the last was sent is not among the times.",
    columns: &[
        Column { title: "p50 ms", digits: 1 },
        Column { title: "p99 ms", digits: 1 },
        Column { title: "p99.9 ms", digits: 1 },
        Column { title: "longest ms", digits: 1 },
        Column { title: "messages", digits: 0 },
        Column { title: "not arrived", digits: 0 },
        Column { title: "UDP bytes per message", digits: 1 },
        Column { title: "of gamekeeper's", digits: 2 },
        Column { title: "server µs per message", digits: 2 },
    ],
    charted: 1,
    relative: Some((6, 7)),
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let seconds = plan.seconds.unwrap_or(if plan.quick { 2.0 } else { 20.0 });
    let peers = Peer::all_but(|peer| peer.is_floor() || peer == Peer::GamekeeperBusy);
    let case = |percent: f64| Case {
        name: format!("{percent} % lost each way"),
        peers: peers.clone(),
        options: Options {
            seconds,
            loss: Some(percent / 100.0),
            ..options("loss", Delivery::Guaranteed, CLIENTS)
        },
    };
    [0.0, 1.0, 5.0, 20.0].map(case).into()
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.connect(options.clients)?;
    let mut metronome = Metronome::new(options.clients);
    metronome.play(load, BEFORE, Part::Around)?;
    load.start();
    let before = metronome.sent;
    metronome.play(load, Duration::from_secs_f64(options.seconds), Part::Measured)?;
    let measured = metronome.sent - before;
    metronome.play(load, AFTER, Part::Around)?;
    let all = metronome.sent - before;
    load.end();
    let mut values = Values::default();
    values.set("measured", measured as f64);
    values.set("all", all as f64);
    values.set("refused", metronome.refused as f64);
    Ok(values)
}

/// Sends for all clients in turn, evenly.
struct Metronome {
    clients: usize,
    next: Instant,
    client: usize,
    sent: u64,
    refused: u64,
}

impl Metronome {
    fn new(clients: usize) -> Metronome {
        Metronome { clients, next: Instant::now(), client: 0, sent: 0, refused: 0 }
    }

    fn play(&mut self, load: &mut Load, time: Duration, part: Part) -> Result<()> {
        let pause = Duration::from_secs_f64(1.0 / RATE / self.clients as f64);
        let end = Instant::now() + time;
        while Instant::now() < end {
            while self.next <= Instant::now() {
                let mut message = [0; BYTES];
                message::stamp(&mut message, part);
                let taken = load.crowd.send(self.client, &message, Delivery::Guaranteed);
                let counter = if taken { &mut self.sent } else { &mut self.refused };
                *counter += 1;
                self.client = (self.client + 1) % self.clients;
                self.next += pause;
            }
            load.turn(self.next.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }
}

fn figures(_: &Options, measured: &Measured) -> Vec<f64> {
    let arrived = measured.end.get("measured");
    let all = measured.load.get("all");
    vec![
        measured.end.get("p50"),
        measured.end.get("p99"),
        measured.end.get("p999"),
        measured.end.get("longest"),
        arrived,
        measured.load.get("measured") - arrived,
        (measured.relay.get("up_bytes") + measured.relay.get("down_bytes")) / all,
        f64::NAN,
        measured.grown("cpu") / 1e3 / measured.grown("messages"),
    ]
}
