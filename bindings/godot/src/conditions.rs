//! Bad networks to try a game on.

use gamekeeper::protocol::conditions::{Conditions, DEFAULT_QUEUE_BYTES};
use godot::global::Error;
use godot::prelude::*;

use crate::convert::{report, seconds};

/// A bad network to try a game on: what happens to the datagrams of one direction.
///
/// Give it to [member GamekeeperServer.simulate_send] and its kin in the inspector, or to [method
/// GamekeeperMultiplayerPeer.simulate]. The same [member seed] and the same datagrams at the same times give the same
/// fate. It works in exported games too.
#[derive(GodotClass)]
#[class(init, base = Resource)]
pub struct GamekeeperConditions {
    base: Base<Resource>,
    /// Chance that a datagram is lost, each for itself.
    #[export(range = (0.0, 1.0, 0.001))]
    loss: f32,
    /// Chance that a burst of losses begins with a datagram.
    #[export(range = (0.0, 1.0, 0.001))]
    burst_loss: f32,
    /// Mean length of a burst in datagrams, 1 to 10000.
    #[export(range = (1.0, 10000.0, 1.0))]
    #[init(val = 1.0)]
    burst_length: f32,
    /// Seconds that every datagram travels, up to 60.
    #[export(range = (0.0, 60.0, 0.001, suffix = "s"))]
    delay: f64,
    /// How far the time of each may lie below or above [member delay], in seconds. It reorders.
    #[export(range = (0.0, 60.0, 0.001, suffix = "s"))]
    jitter: f64,
    /// Chance that a datagram arrives twice.
    #[export(range = (0.0, 1.0, 0.001))]
    duplicate: f32,
    /// Chance that a datagram is held back by [member reorder_delay] while later ones pass it.
    #[export(range = (0.0, 1.0, 0.001))]
    reorder: f32,
    /// For how many seconds, up to 60.
    #[export(range = (0.0, 60.0, 0.001, suffix = "s"))]
    reorder_delay: f64,
    /// Bytes per second that pass; 0: without limit.
    #[export]
    rate: i64,
    /// Bytes that wait for [member rate] at most; what does not fit is dropped.
    #[export]
    #[init(val = DEFAULT_QUEUE_BYTES as i64)]
    queue_bytes: i64,
    /// Chance that one bit of a datagram is turned over. Encryption notices: it is a loss.
    #[export(range = (0.0, 1.0, 0.001))]
    corrupt: f32,
    /// Where all chances come from.
    #[export]
    seed: i64,
}

impl GamekeeperConditions {
    /// The same as the library has it, which checks the ranges. The error names a value that it cannot even have.
    pub fn conditions(&self) -> Result<Conditions, String> {
        let below_zero = |name: &str| format!("{name} is below 0");
        Ok(Conditions {
            loss: self.loss,
            burst_loss: self.burst_loss,
            burst_length: self.burst_length,
            delay: seconds("delay", self.delay)?,
            jitter: seconds("jitter", self.jitter)?,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_delay: seconds("reorder_delay", self.reorder_delay)?,
            rate: u64::try_from(self.rate).map_err(|_| below_zero("rate"))?,
            queue_bytes: usize::try_from(self.queue_bytes).map_err(|_| below_zero("queue_bytes"))?,
            corrupt: self.corrupt,
            seed: self.seed.cast_unsigned(),
        })
    }
}

/// Gives one direction of a server or client (`simulate`) the network of a resource; without one, a good network.
pub fn apply(
    of: Option<&Gd<GamekeeperConditions>>,
    simulate: impl FnOnce(Option<Conditions>) -> gamekeeper::Result<()>,
) -> Error {
    let conditions = match of.map(|resource| resource.bind().conditions()).transpose() {
        Ok(conditions) => conditions,
        Err(text) => {
            godot_error!("gamekeeper: no bad network: {text}");
            return Error::ERR_INVALID_PARAMETER;
        }
    };
    simulate(conditions).map_or_else(|error| report("no bad network", &error), |()| Error::OK)
}
