//! The harness tested: each deliberate defect must be caught by the simulation.

use std::time::Duration;

use super::network::{Link, Network, Side};
use super::pair::{settings, Pair};
use super::simulation::{attempt, caught};
use super::{native_hostile, native_simulation};
use crate::protocol::connection::{Event, Settings};
use crate::protocol::delivery::Mode;
use crate::protocol::mutants::{with, Mutant};

/// Seeds that a defect may survive. All of them are among those that the simulation passes without one.
const SEEDS: u64 = 150;

/// A sender that stands still in the middle of a long message, for longer than one in parts is waited for while others come:
/// too seldom for the seeds.
fn standstill() -> Result<(), String> {
    let settings = Settings { connection_timeout: Duration::from_secs(12), ..settings() };
    let link = Link::delay(20);
    let network = Network::new(1, link.clone(), link.clone());
    let mut p = Pair::new(1, [settings.clone(), settings], network);
    p.drive(Duration::from_secs(4), |p| p.both_connected());
    p.send(Side::Client, &[7; 130_000], Mode::Guaranteed, 0).map_err(|e| format!("{e:?}"))?;
    p.run_until(p.now + Duration::from_millis(300));
    p.network.links.iter_mut().for_each(|l| l.cut = true);
    p.run_until(p.now + Duration::from_secs(7));
    p.network.links = [link.clone(), link];
    p.run_until(p.now + Duration::from_secs(15));
    let came = p.end_mut(Side::Server).events.iter().any(|(_, e)| matches!(e, Event::Message { .. }));
    came.then_some(()).ok_or("a sender that stands still\nguaranteed but lost".into())
}

/// What lives through all seeds of `attempt`.
fn survivors<R>(mutants: &[Mutant], attempt: impl Fn(u64) -> Result<R, String>) -> Vec<Mutant> {
    let mut survivors = Vec::new();
    for mutant in mutants.iter().copied() {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, with(Some(mutant), || attempt(seed)).err()?)));
        match caught {
            Some((seed, text)) => {
                let first = text.lines().nth(1).unwrap_or(&text).trim().to_string();
                println!("{mutant:?}: seed {seed}: {first}");
            }
            None => survivors.push(mutant),
        }
    }
    survivors
}

#[test]
fn every_defect_is_caught() {
    assert_eq!(standstill(), Ok(()));
    let mut survivors = survivors(&Mutant::ALL, attempt);
    survivors.retain(|mutant| with(Some(*mutant), standstill).is_ok());
    assert!(survivors.is_empty(), "not caught within {SEEDS} seeds: {survivors:?}");
}

#[test]
fn every_defect_of_the_native_wire_is_caught() {
    let survivors = survivors(&Mutant::NATIVE, native_simulation::attempt);
    assert!(survivors.is_empty(), "not caught within {SEEDS} seeds: {survivors:?}");
}

/// Two that need a peer that lies.
#[test]
fn defects_that_only_a_liar_can_use_are_caught() {
    let tests: [(Mutant, fn()); 2] = [
        (Mutant::HeldUnbounded, native_hostile::what_is_held_back_has_a_bound),
        (Mutant::CreditIgnored, native_hostile::an_unproven_address_gets_little),
    ];
    for (mutant, test) in tests {
        let run = || {
            test();
            Ok(())
        };
        assert!(with(Some(mutant), || caught(run)).is_err(), "{mutant:?}");
    }
}
