//! Much data to one client.

use std::time::{Duration, Instant};

use super::{options, Case, Column, Load, Measured, Plan, Workload};
use crate::control::Values;
use crate::game::{BULK_MESSAGE, BULK_TOTAL};
use crate::options::{Delivery, Options};
use crate::peer::{Peer, Result};

/// The longest time for all of it.
const PATIENCE: Duration = Duration::from_secs(90);

pub const WORKLOAD: Workload = Workload {
    name: "bulk",
    about: "One client receives 64 MiB in guaranteed messages of 64 KiB, and confirms each, upon which the server queues \
            another; 16 are queued at first. The server's processor time for a MiB.",
    columns: &[
        Column { title: "server ms per MiB", digits: 2 },
        Column { title: "MiB per s", digits: 1 },
        Column { title: "server's core %", digits: 0 },
        Column { title: "MiB received", digits: 1 },
    ],
    charted: 0,
    relative: None,
    cases,
    load,
    figures,
};

fn cases(_: Plan) -> Vec<Case> {
    vec![Case {
        name: "64 MiB".to_owned(),
        peers: Peer::all_but(|peer| {
            peer.is_floor()
                || matches!(peer, Peer::GamekeeperRedundant | Peer::GamekeeperBusy | Peer::Mpgameserver)
        }),
        options: Options { seconds: PATIENCE.as_secs_f64(), ..options("bulk", Delivery::Guaranteed, 1) },
    }]
}

fn load(options: &Options, load: &mut Load) -> Result<Values> {
    load.connect(options.clients)?;
    load.start();
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    let mut request = [0; 16];
    request[9] = 1;
    load.crowd.send(0, &request, Delivery::Guaranteed);
    let mut received = 0;
    while received < BULK_TOTAL && Instant::now() < end {
        load.turn(Duration::from_secs(1))?;
        for place in 0..load.inbox.len() {
            received += load.inbox[place].length;
            load.crowd.send(0, &[0; 16], Delivery::Guaranteed);
        }
    }
    load.end();
    if received < BULK_TOTAL {
        return Err(format!("{received} of {BULK_TOTAL} bytes in messages of {BULK_MESSAGE}").into());
    }
    let mut values = Values::default();
    values.set("received", received as f64);
    Ok(values)
}

fn figures(_: &Options, measured: &Measured) -> Vec<f64> {
    let mib = measured.load.get("received") / f64::from(1 << 20);
    let (cpu, wall) = (measured.grown("cpu"), measured.grown("wall"));
    vec![cpu / 1e6 / mib, mib / (wall / 1e9), cpu / wall * 100.0, mib]
}
