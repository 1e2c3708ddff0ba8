//! The harness tested: each deliberate defect must be caught by the simulation.

use super::native_simulation;
use super::simulation::attempt;
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
