//! The harness tested: each deliberate defect must be caught by the simulation.

use super::simulation::{attempt, caught};
use super::{native_hostile, native_simulation};
use crate::protocol::mutants::{with, Mutant};

/// Seeds that a defect may survive. All of them are among those that the simulation passes without one.
const SEEDS: u64 = 150;

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
    let survivors = survivors(&Mutant::ALL, attempt);
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
