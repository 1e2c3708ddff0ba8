//! A game that runs: every client says a little and hears of the world, many times a second.

use std::time::{Duration, Instant};

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::game::TICK_HZ;
use crate::message::{self, Part};
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

/// Bytes that a client says.
const BYTES: usize = 32;
const BEFORE: Duration = Duration::from_secs(2);

pub const WORKLOAD: Workload = Workload {
    name: "tick",
    about: "Clients send 32 bytes 20 times a second, each at its own time; the server sends each of them 200 bytes at \
            each of its 20 ticks a second; all unreliable. The server's processor time per client and tick, the share \
            of messages that arrived, ticks that were left out, and by how much the load was late at most: where that \
            is long, the load was what could not keep up. The package has a case of its own, of as many clients as it keeps up \
            with, beside whoever speaks its wire.",
    columns: &[
        Column { title: "server µs per client-tick", digits: 2 },
        Column { title: "server's core %", digits: 0 },
        Column { title: "arrived up %", digits: 2 },
        Column { title: "arrived down %", digits: 2 },
        Column { title: "ticks missed %", digits: 1 },
        Column { title: "load late ms", digits: 1 },
        Column { title: "of gamekeeper's", digits: 2 },
    ],
    charted: 0,
    relative: Some((0, 6)),
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let seconds = plan.seconds.unwrap_or(if plan.quick { 1.0 } else { 5.0 });
    let case = |clients: usize| Case {
        name: format!("{clients} clients"),
        peers: Peer::all_but(|peer| {
            let is_other_floor = peer.is_floor() && !matches!(peer, Peer::Floor | Peer::FloorBatched);
            let is_elsewhere = peer == Peer::Mpgameserver || peer.max_clients() < clients;
            is_other_floor || peer.is_variant() || is_elsewhere
        }),
        options: Options { seconds, ..options("tick", Delivery::Unreliable, clients) },
    };
    let numbers: &[usize] = if plan.quick { &[100] } else { &[100, 1000, 4000] };
    let mut cases: Vec<Case> = numbers.iter().map(|clients| case(*clients)).collect();
    if !plan.quick {
        let own_wire = |peer| matches!(peer, Peer::GamekeeperMpgameserver | Peer::Mpgameserver | Peer::Floor);
        let clients = Peer::Mpgameserver.max_clients();
        cases.push(Case {
            name: format!("{clients} clients, mpgameserver's wire"),
            peers: Peer::all_but(|peer| !own_wire(peer)),
            options: Options { seconds, ..options("tick", Delivery::Unreliable, clients) },
        });
    }
    cases
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.connect(options.clients)?;
    let mut players = Players::new(options.clients);
    players.play(load, BEFORE)?;
    load.start();
    (players.sent, players.received, players.late) = (0, 0, Duration::ZERO);
    players.play(load, Duration::from_secs_f64(options.seconds))?;
    load.end();
    let mut values = Values::default();
    values.set("sent", players.sent as f64);
    values.set("received", players.received as f64);
    values.set("late", players.late.as_secs_f64() * 1e3);
    Ok(values)
}

/// All clients, evenly over the time between two ticks.
pub struct Players {
    clients: usize,
    client: usize,
    next: Instant,
    pub sent: u64,
    pub received: u64,
    pub late: Duration,
}

impl Players {
    pub fn new(clients: usize) -> Players {
        Players { clients, client: 0, next: Instant::now(), sent: 0, received: 0, late: Duration::ZERO }
    }

    pub fn play(&mut self, load: &mut Load, time: Duration) -> Result<()> {
        let pause = Duration::from_secs_f64(1.0 / TICK_HZ / self.clients as f64);
        let start = Instant::now();
        let end = start + time;
        // The load may have waited for its turn.
        self.next = self.next.max(start);
        while Instant::now() < end {
            self.late = self.late.max(Instant::now().saturating_duration_since(self.next));
            // Nobody is made to send twice between two looks at what came.
            for _ in 0..self.clients {
                if self.next > Instant::now() {
                    break;
                }
                let mut message = [0; BYTES];
                message::stamp(&mut message, Part::Measured);
                self.sent += u64::from(load.crowd.send(self.client, &message, Delivery::Unreliable));
                self.client = (self.client + 1) % self.clients;
                self.next += pause;
            }
            // A quarter of a millisecond at least, or thousands of clients would be looked at one by one.
            let pause = self.next.saturating_duration_since(Instant::now());
            load.turn(pause.max(Duration::from_micros(250)))?;
            self.received += load.inbox.len() as u64;
        }
        Ok(())
    }
}

fn figures(options: &Options, measured: &Measured) -> Vec<f64> {
    let (cpu, wall) = (measured.grown("cpu"), measured.grown("wall"));
    let ticks = wall / 1e9 * TICK_HZ;
    let down = measured.grown("sent") + measured.grown("refused");
    vec![
        cpu / 1e3 / (ticks * options.clients as f64),
        cpu / wall * 100.0,
        (measured.grown("messages") / measured.load.get("sent") * 100.0).min(100.0),
        (measured.load.get("received") / down * 100.0).min(100.0),
        ((1.0 - measured.grown("ticks") / ticks) * 100.0).max(0.0),
        measured.load.get("late"),
        f64::NAN,
    ]
}
