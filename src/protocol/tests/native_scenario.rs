//! What a seed makes of a run on the native wire.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::network::{Link, Side};
use super::pair::settings;
use super::scenario::{link, Class};
use crate::protocol::connection::Settings;
use crate::protocol::delivery::{Delivery, Mode, Priority};

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Close(Side),
    CloseAfterDelivery(Side),
    CloseBoth,
    /// Nothing passes any more, in one direction or in both.
    Silence(Option<Side>),
    /// The server's host does not let the client in.
    Refusal,
    /// The server is killed and started again.
    Restart,
    /// An end stands still for a minute.
    Stall(Side),
}

#[derive(Clone, Debug)]
pub struct NativeScenario {
    pub seed: u64,
    pub class: Class,
    pub settings: Settings,
    pub links: [Link; 2],
    /// Largest datagram that the network carries whole.
    pub mtu: usize,
    /// When the path becomes narrower, and how narrow.
    pub narrows: Option<(Duration, usize)>,
    pub cookies: bool,
    /// The server forgets who has left, and answers with resets.
    pub forgets: bool,
    /// How long the server's host takes to let a client in.
    pub thinks: Duration,
    pub ending: Ending,
    /// Stop sending after a refusal until the queue has room again.
    pub wait_for_room: bool,
    /// The links stay bad for the ending.
    pub bad_ending: bool,
    /// Probability per thing that the application does.
    pub roaming: f64,
    pub stalling: f64,
    /// Packets per key phase, where it is not the usual million.
    pub phase_every: Option<u64>,
    /// How many modes, channels and priorities the messages use.
    pub one_mode: Option<Mode>,
    pub channels: u8,
    pub priorities: usize,
}

const PRIORITIES: [Priority; 4] = [Priority::Normal, Priority::Urgent, Priority::Low, Priority::Bulk];
const MODES: [Mode; 5] = [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered];

impl NativeScenario {
    pub fn new(seed: u64) -> NativeScenario {
        let rng = &mut SmallRng::seed_from_u64(seed ^ 0x6e61_7469);
        let class = match seed % 6 {
            0 => Class::Plain,
            1 => Class::Tight,
            2 => Class::Crowded,
            _ => Class::Mixed,
        };
        let stray = if rng.random_bool(0.3) { 0.01 } else { 0.0 };
        let links = [Link { stray, ..link(rng, class) }, link(rng, class)];
        let side = Side::BOTH[rng.random_range(0..2)];
        let ending = match rng.random_range(0..20) {
            0..4 => Ending::Close(side),
            4..9 => Ending::CloseAfterDelivery(side),
            9..11 => Ending::CloseBoth,
            11..13 => Ending::Silence(None),
            13..15 => Ending::Silence(Some(side)),
            15 => Ending::Refusal,
            16..18 => Ending::Restart,
            _ => Ending::Stall(side),
        };
        let settings = settings_of(rng, class);
        NativeScenario {
            seed,
            class,
            settings,
            links,
            mtu: [1200, 1280, 1300, 1400, 1472, 1472][rng.random_range(0..6)],
            cookies: rng.random_bool(0.4),
            forgets: rng.random_bool(0.5),
            thinks: Duration::from_millis([0, 0, 30, 400, 1500][rng.random_range(0..5)]),
            ending,
            wait_for_room: rng.random_bool(0.5),
            bad_ending: rng.random_bool(0.5),
            roaming: if rng.random_bool(0.4) { rng.random_range(0.001..0.02) } else { 0.0 },
            stalling: if class == Class::Mixed && rng.random_bool(0.2) { 0.003 } else { 0.0 },
            phase_every: [None, Some(rng.random_range(30..100)), Some(rng.random_range(100..1500))]
                [rng.random_range(0..3)],
            one_mode: match class {
                // Enough of those whose latency is judged.
                Class::Plain if rng.random_bool(0.5) => Some(Mode::Guaranteed),
                _ => rng.random_bool(0.2).then(|| MODES[rng.random_range(0..MODES.len())]),
            },
            channels: [1, 2, 8, 255][rng.random_range(0..4)],
            priorities: [1, 2, 4][rng.random_range(0..3)],
            narrows: (class != Class::Plain && rng.random_bool(0.3)).then(|| {
                let after = Duration::from_millis(rng.random_range(2000..8000));
                (after, rng.random_range(1200..1472))
            }),
        }
    }

    /// How long messages flow.
    pub fn traffic(&self) -> Duration {
        Duration::from_secs(if self.class == Class::Plain { 60 } else { 12 })
    }

    /// Everything about the next message but its bytes.
    pub fn delivery(&self, rng: &mut SmallRng) -> Delivery {
        let mode = self.one_mode.unwrap_or_else(|| MODES[rng.random_range(0..MODES.len())]);
        let channel = match mode {
            Mode::Sequenced | Mode::Ordered => rng.random_range(0..self.channels),
            _ => 0,
        };
        let deadline = rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(40..3000)));
        let priority = PRIORITIES[rng.random_range(0..self.priorities)];
        let redundancy = rng.random_range(0..8_u8).saturating_sub(5);
        let redundancy = if self.class == Class::Plain { 0 } else { redundancy };
        Delivery { mode, channel, priority, deadline, redundancy }
    }

    /// The length of the next message.
    pub fn length(&self, rng: &mut SmallRng) -> usize {
        let most = self.settings.limits.max_message;
        let long = match self.class {
            Class::Plain => 0.0,
            Class::Crowded => 0.15,
            Class::Mixed => 0.02,
            Class::Tight => 0.04,
        };
        if rng.random_bool(long) {
            let lengths = if self.class == Class::Crowded { 10_000..=40_000 } else { 20_000..=130_000 };
            return rng.random_range(lengths).min(most);
        }
        match rng.random_range(0..100) {
            _ if self.class == Class::Plain => rng.random_range(10..400),
            0..4 => 0,
            4..65 => rng.random_range(1..200),
            65..70 => rng.random_range(1120..1180),
            70..90 => rng.random_range(200..1500),
            _ => rng.random_range(1500..5000),
        }
    }
}

fn settings_of(rng: &mut SmallRng, class: Class) -> Settings {
    let mut limits = (*settings().limits).clone();
    limits.max_message = 1 << 20;
    let mut settings = Settings { handshake_timeout: Duration::from_secs(8), ..settings() };
    match class {
        Class::Plain => {}
        Class::Mixed => {
            if rng.random_bool(0.3) {
                settings.connection_timeout = Duration::from_secs(12);
            }
        }
        Class::Tight => {
            let roomy = rng.random_bool(0.4);
            limits.max_messages = if roomy { 2000 } else { rng.random_range(1..60) };
            limits.max_bytes = if roomy { 1 << 20 } else { rng.random_range(2000..40_000) };
            limits.max_message = if rng.random_bool(0.5) { 130_000 } else { 5000 };
            settings.max_reassembly_bytes = rng.random_range(2048..60_000);
        }
        Class::Crowded => {
            limits.max_message = 40_000;
            settings.max_reassembly_bytes = rng.random_range(4096..20_000);
        }
    }
    if class != Class::Plain {
        settings.redundancy = rng.random_range(0..6_u8).saturating_sub(3);
    }
    settings.limits = Arc::new(limits);
    settings
}
