//! What a peer costs in memory.

use std::time::Duration;

use super::tick::Players;
use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

/// How long the clients stay, so that buffers and queues are as they stay too.
const STAY: Duration = Duration::from_secs(3);

pub const WORKLOAD: Workload = Workload {
    name: "memory",
    about: "4000 clients are connected, and are silent or play as in `tick`. Bytes of the server's process in memory \
            beyond what it had before the library was started, for each of them; the kernel's buffers are not in it.",
    columns: &[
        Column { title: "bytes per peer", digits: 0 },
        Column { title: "MiB in all", digits: 1 },
    ],
    charted: 0,
    relative: None,
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let clients = if plan.quick { 200 } else { 4000 };
    let case = |name: &str, in_flight| Case {
        name: format!("{clients} {name}"),
        peers: Peer::all_but(|peer| peer.is_floor() || peer.is_variant() || peer.max_clients() < clients),
        options: Options { in_flight, ..options("memory", Delivery::Unreliable, clients) },
    };
    vec![case("silent", 0), case("playing", 1)]
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.start();
    load.connect(options.clients)?;
    if options.in_flight > 0 {
        Players::new(options.clients).play(load, STAY)?;
    } else {
        load.rest(STAY)?;
    }
    load.end();
    Ok(Values::default())
}

fn figures(options: &Options, measured: &Measured) -> Vec<f64> {
    let bytes = measured.end.get("resident") - measured.end.get("base");
    vec![bytes / options.clients as f64, bytes / f64::from(1 << 20)]
}
