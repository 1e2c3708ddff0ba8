//! What a seed makes of a run.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::network::{Link, Side};
use super::pair::{settings, Pace};
use crate::protocol::connection::Settings;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Close(Side),
    CloseAfterDelivery(Side),
    CloseBoth,
    /// Nothing passes any more, in one direction or in both.
    Silence(Option<Side>),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// Random loss alone, at sparse traffic, so that latencies can be judged.
    Plain,
    /// Anything.
    Mixed,
    /// Small bounds, and receivers that have no room for a while.
    Tight,
    /// Many unfinished messages against a small bound of reassembly.
    Crowded,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub class: Class,
    pub settings: Settings,
    pub links: [Link; 2],
    pub pace: Pace,
    pub ending: Ending,
    /// Stop sending after a refusal until the queue has room again.
    pub wait_for_room: bool,
    /// The links stay bad for the ending.
    pub bad_ending: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Scenario {
        let rng = &mut SmallRng::seed_from_u64(seed ^ 0x7363_656e);
        let class = match seed % 5 {
            0 => Class::Plain,
            1 => Class::Tight,
            2 => Class::Crowded,
            _ => Class::Mixed,
        };
        let links = [link(rng, class), link(rng, class)];
        let mut limits = (*settings().limits).clone();
        limits.max_message = 1 << 20;
        let mut settings = Settings { handshake_timeout: Duration::from_secs(8), ..settings() };
        match class {
            Class::Plain => limits.keep_alive = Duration::from_millis(250),
            Class::Mixed => {}
            Class::Tight => {
                let roomy = rng.random_bool(0.4);
                limits.max_messages = if roomy { 2000 } else { rng.random_range(1..60) };
                limits.max_bytes = if roomy { 1 << 20 } else { rng.random_range(2000..40_000) };
                limits.max_message = 130_000;
                settings.max_reassembly_bytes = rng.random_range(2048..60_000);
            }
            Class::Crowded => {
                limits.max_message = 40_000;
                settings.max_reassembly_bytes = rng.random_range(4096..20_000);
            }
        }
        if class == Class::Mixed && rng.random_bool(0.4) {
            // Longer than messages in parts are waited for: a sender can stand still and live on.
            settings.connection_timeout = Duration::from_secs(12);
        }
        if rng.random_bool(0.3) {
            settings.send_interval = Duration::ZERO;
        }
        settings.limits = Arc::new(limits);
        let pace = match rng.random_range(0..5) {
            _ if matches!(class, Class::Plain | Class::Crowded) => Pace::Immediate,
            0 => Pace::Frames(30.0),
            1 => Pace::Frames(60.0),
            _ => Pace::Immediate,
        };
        let side = Side::BOTH[rng.random_range(0..2)];
        let ending = match rng.random_range(0..7) {
            0 | 1 => Ending::Close(side),
            2 | 3 => Ending::CloseAfterDelivery(side),
            4 => Ending::CloseBoth,
            5 => Ending::Silence(None),
            _ => Ending::Silence(Some(side)),
        };
        Scenario {
            seed,
            class,
            settings,
            links,
            pace,
            ending,
            wait_for_room: rng.random_bool(0.5),
            bad_ending: rng.random_bool(0.5),
        }
    }

    /// How long messages flow.
    pub fn traffic(&self) -> Duration {
        Duration::from_secs(if self.class == Class::Plain { 300 } else { 60 })
    }

    /// The length of the next message.
    pub fn length(&self, rng: &mut SmallRng) -> usize {
        let most = self.settings.limits.max_message;
        let long = match self.class {
            Class::Plain => 0.0,
            Class::Crowded => 0.15,
            Class::Mixed => 0.01,
            Class::Tight => 0.02,
        };
        if rng.random_bool(long) {
            return rng
                .random_range(
                    if self.class == Class::Crowded { 20_000..=40_000 } else { 50_000..=130_000 }.clone(),
                )
                .min(most);
        }
        match rng.random_range(0..100) {
            _ if self.class == Class::Plain => rng.random_range(10..400),
            0..4 => 0,
            4..65 => rng.random_range(1..200),
            65..70 => rng.random_range(1430..1440),
            70..90 => rng.random_range(200..1500),
            _ => rng.random_range(1500..5000),
        }
    }
}

pub fn link(rng: &mut SmallRng, class: Class) -> Link {
    let ms = Duration::from_millis;
    let delay = ms(rng.random_range(0..100));
    match (class, rng.random_range(0..5)) {
        (Class::Plain, _) => Link { loss: 0.1, delay: ms(20), ..Link::default() },
        (Class::Crowded, _) => Link { loss: 0.05, delay, jitter: ms(5), ..Link::default() },
        (_, 0) => Link { delay, ..Link::default() },
        (_, 1) => Link { delay, loss: 0.02, jitter: ms(10), duplicate: 0.02, ..Link::default() },
        (_, 2) => Link {
            loss: 0.15,
            burst: (0.002, ms(2500)),
            delay,
            jitter: ms(60),
            duplicate: 0.1,
            reorder: 0.05,
            corrupt: 0.05,
            replay: 0.05,
            ..Link::default()
        },
        (_, 3) => Link {
            loss: 0.05,
            burst: (0.0003, ms(rng.random_range(1000..9000))),
            delay,
            jitter: ms(20),
            duplicate: 0.05,
            replay: 0.1,
            ..Link::default()
        },
        _ => Link {
            delay,
            jitter: ms(10),
            rate: Some(rng.random_range(24_000.0..500_000.0)),
            corrupt: 0.02,
            ..Link::default()
        },
    }
}
