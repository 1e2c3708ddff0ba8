//! Messages that come back: what the server's processor does for each.

use std::time::{Duration, Instant};

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::message::{self, Part};
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

const CLIENTS: usize = 64;
const BYTES: usize = 64;
/// Messages under way where a client has many.
const MANY: usize = 32;
const BEFORE: Duration = Duration::from_secs(1);
/// An unreliable message that has not come back for this long is lost, and another takes its place.
const LOST_AFTER: Duration = Duration::from_millis(200);

pub const WORKLOAD: Workload = Workload {
    name: "echo",
    about: "64 clients have messages of 64 bytes under way, 32 or one each, and send the next for each that the server \
            sends back. The server's processor time for one message received and sent back; how many it did in a \
            second with the load on one core; how busy its own core was.",
    columns: &[
        Column { title: "server µs per message", digits: 2 },
        Column { title: "messages per s", digits: 0 },
        Column { title: "server's core %", digits: 0 },
        Column { title: "lost ‰", digits: 2 },
    ],
    charted: 0,
    relative: None,
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let seconds = plan.seconds.unwrap_or(if plan.quick { 1.0 } else { 5.0 });
    let case = |name: &str, delivery, in_flight| Case {
        name: name.to_owned(),
        peers: Peer::all_but(|peer| match peer {
            Peer::GamekeeperRedundant | Peer::GamekeeperBusy | Peer::FloorBusy | Peer::FloorHandshake => true,
            // Only where it differs.
            Peer::GamekeeperOrdered | Peer::QuinnOrdered => delivery == Delivery::Unreliable,
            Peer::FloorPacked => in_flight == 1 || delivery == Delivery::Guaranteed,
            Peer::Floor | Peer::FloorBatched => delivery == Delivery::Guaranteed,
            _ => false,
        }),
        options: Options { seconds, in_flight, ..options("echo", delivery, CLIENTS) },
    };
    vec![
        case("unreliable, 32 under way", Delivery::Unreliable, MANY),
        case("guaranteed, 32 under way", Delivery::Guaranteed, MANY),
        case("unreliable, one under way", Delivery::Unreliable, 1),
        case("guaranteed, one under way", Delivery::Guaranteed, 1),
    ]
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.connect(options.clients)?;
    let mut juggler = Juggler {
        options: options.clone(),
        missing: vec![options.in_flight; options.clients],
        heard: vec![Instant::now(); options.clients],
        short: (0..options.clients).collect(),
        received: 0,
        lost: 0,
    };
    juggler.play(load, BEFORE)?;
    load.start();
    let (received, lost) = (juggler.received, juggler.lost);
    juggler.play(load, Duration::from_secs_f64(options.seconds))?;
    load.end();
    let mut values = Values::default();
    values.set("received", (juggler.received - received) as f64);
    values.set("lost", (juggler.lost - lost) as f64);
    Ok(values)
}

/// Keeps as many messages under way as each client is to have.
struct Juggler {
    options: Options,
    /// How many each client has less than it should.
    missing: Vec<usize>,
    /// When each last got one.
    heard: Vec<Instant>,
    /// Clients that miss some; each once.
    short: Vec<usize>,
    received: u64,
    lost: u64,
}

impl Juggler {
    fn play(&mut self, load: &mut Load, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut look = Instant::now() + LOST_AFTER;
        while Instant::now() < end {
            self.throw(load);
            // Where a queue was full it is tried again soon.
            load.turn(if self.short.is_empty() { LOST_AFTER } else { Duration::from_millis(1) })?;
            let now = Instant::now();
            for received in &load.inbox {
                self.received += 1;
                self.heard[received.client] = now;
                if self.missing[received.client] == 0 {
                    self.short.push(received.client);
                }
                // One that was given up may come after all.
                self.missing[received.client] =
                    (self.missing[received.client] + 1).min(self.options.in_flight);
            }
            if self.options.delivery == Delivery::Unreliable && now >= look {
                look = now + LOST_AFTER;
                self.give_up(now);
            }
        }
        Ok(())
    }

    fn throw(&mut self, load: &mut Load) {
        let mut message = [0; BYTES];
        message::stamp(&mut message, Part::Measured);
        let (missing, options) = (&mut self.missing, &self.options);
        self.short.retain(|client| {
            while missing[*client] > 0 && load.crowd.send(*client, &message, options.delivery) {
                missing[*client] -= 1;
            }
            missing[*client] > 0
        });
    }

    fn give_up(&mut self, now: Instant) {
        for (client, heard) in self.heard.iter().enumerate() {
            let under_way = self.options.in_flight - self.missing[client];
            if under_way > 0 && now.duration_since(*heard) > LOST_AFTER {
                self.lost += under_way as u64;
                if self.missing[client] == 0 {
                    self.short.push(client);
                }
                self.missing[client] = self.options.in_flight;
            }
        }
    }
}

fn figures(_: &Options, measured: &Measured) -> Vec<f64> {
    let (messages, wall) = (measured.grown("messages"), measured.grown("wall"));
    vec![
        measured.grown("cpu") / 1e3 / messages,
        messages / (wall / 1e9),
        measured.grown("cpu") / wall * 100.0,
        measured.load.get("lost") / messages * 1000.0,
    ]
}
