//! Everybody comes at once: what a handshake costs the server.

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

pub const WORKLOAD: Workload = Workload {
    name: "storm",
    about: "1000 clients connect, 64 of them under way at a time, and pin the server's key where the library can. The \
            server's processor time for each, until it knows all of them. ENet exchanges no keys: its row is what a \
            handshake without any cryptography costs. The floor computes what gamekeeper's consists of, and sends and \
            receives as many datagrams. The package does not keep up with so many clients, who say ten times a second that they \
            are there: its case has fewer.",
    columns: &[
        Column { title: "server ms per handshake", digits: 3 },
        Column { title: "handshakes per s", digits: 0 },
        Column { title: "server's core %", digits: 0 },
        Column { title: "of gamekeeper's", digits: 2 },
    ],
    charted: 0,
    relative: Some((0, 3)),
    cases,
    load,
    figures,
};

fn cases(plan: Plan) -> Vec<Case> {
    let clients = if plan.quick { 100 } else { 1000 };
    let case = |name: String, clients, is_in: &dyn Fn(Peer) -> bool| Case {
        name,
        peers: Peer::all_but(|peer| !is_in(peer)),
        options: options("storm", Delivery::Unreliable, clients),
    };
    let few = Peer::Mpgameserver.max_clients().min(clients);
    vec![
        case(format!("{clients} clients"), clients, &|peer| {
            let is_other_floor = peer.is_floor() && peer != Peer::FloorHandshake;
            !is_other_floor && !peer.is_variant() && peer != Peer::Mpgameserver
        }),
        case(format!("{few} clients, mpgameserver's wire"), few, &|peer| {
            matches!(peer, Peer::GamekeeperMpgameserver | Peer::Mpgameserver)
        }),
    ]
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.start();
    load.connect(options.clients)?;
    load.end();
    Ok(Values::default())
}

fn figures(options: &Options, measured: &Measured) -> Vec<f64> {
    let (cpu, wall, clients) = (measured.grown("cpu"), measured.grown("wall"), options.clients as f64);
    vec![cpu / 1e6 / clients, clients / (wall / 1e9), cpu / wall * 100.0, f64::NAN]
}
