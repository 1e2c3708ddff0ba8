//! The harness tested: each deliberate defect must be caught by the simulation.

use super::simulation::attempt;
use crate::protocol::mutants::{with, Mutant};

/// Seeds that a defect may survive. All of them are among those that the simulation passes without one.
const SEEDS: u64 = 150;

#[test]
fn every_defect_is_caught() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, with(Some(mutant), || attempt(seed)).err()?)));
        match caught {
            Some((seed, text)) => {
                let first = text.lines().nth(1).unwrap_or(&text).trim().to_string();
                println!("{mutant:?}: seed {seed}: {first}");
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "not caught within {SEEDS} seeds: {survivors:?}");
}
