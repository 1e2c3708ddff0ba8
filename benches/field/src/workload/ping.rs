//! One message back and forth: how long the way takes where nobody else is on it.

use std::time::{Duration, Instant};

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::message::{self, Part};
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

const BYTES: usize = 64;
/// Round trips before what is measured.
const BEFORE: usize = 200;
/// Round trips measured at most.
const MOST: usize = 50_000;
/// A message that is not back by then is lost, and the next is sent.
const LOST_AFTER: Duration = Duration::from_secs(1);

pub const WORKLOAD: Workload = Workload {
    name: "ping",
    about: "One client sends 64 bytes, the server sends them back, and only then the next leave. Both ends sleep \
            until something comes, but for the two that are busy: those ask the socket without end.",
    columns: &[
        Column { title: "p50 µs", digits: 1 },
        Column { title: "p99 µs", digits: 1 },
        Column { title: "server µs per message", digits: 2 },
        Column { title: "round trips", digits: 0 },
    ],
    charted: 0,
    relative: None,
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let seconds = plan.seconds.unwrap_or(if plan.quick { 1.0 } else { 4.0 });
    vec![Case {
        name: "unreliable".to_owned(),
        peers: Peer::all_but(|peer| {
            let is_other_floor = peer.is_floor() && !matches!(peer, Peer::Floor | Peer::FloorBusy);
            is_other_floor || (peer.is_variant() && peer != Peer::GamekeeperBusy)
        }),
        options: Options { seconds, ..options("ping", Delivery::Unreliable, 1) },
    }]
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.connect(options.clients)?;
    for _ in 0..BEFORE {
        round_trip(load)?;
    }
    load.start();
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    let mut times = Vec::new();
    while Instant::now() < end && times.len() < MOST {
        if let Some(nanoseconds) = round_trip(load)? {
            times.push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
        }
    }
    load.end();
    let mut values = Values::default();
    values.set("number", times.len() as f64);
    // Nanoseconds go in, and hence microseconds come out.
    values.set_times("", &mut times);
    Ok(values)
}

/// Nanoseconds of one, unless it was lost.
fn round_trip(load: &mut Load) -> Result<Option<u64>> {
    let mut message = [0; BYTES];
    message::stamp(&mut message, Part::Measured);
    load.crowd.send(0, &message, Delivery::Unreliable);
    let end = Instant::now() + LOST_AFTER;
    while Instant::now() < end {
        load.turn(LOST_AFTER)?;
        // One that was given up may come after all: only the last one counts.
        let back = load.inbox.iter().find(|received| received.head[..8] == message[..8]);
        if let Some((nanoseconds, _)) = back.and_then(|received| message::read(&received.head)) {
            return Ok(Some(nanoseconds));
        }
    }
    Ok(None)
}

fn figures(_: &Options, measured: &Measured) -> Vec<f64> {
    vec![
        measured.load.get("p50"),
        measured.load.get("p99"),
        measured.grown("cpu") / 1e3 / measured.grown("messages"),
        measured.load.get("number"),
    ]
}
