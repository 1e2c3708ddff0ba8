//! Pure state machines: no socket, no clock, no thread, no global, no random number generator.
//!
//! Time comes in as an argument ([`time::Time`]), randomness and keys through [`crypto`]'s traits, so every
//! test of this floor runs on a virtual clock and replays from a seed.

pub mod ack;
pub mod ack_ranges;
pub mod conditions;
pub mod congestion;
pub mod connection;
pub mod crypto;
pub mod dedup;
pub mod delivery;
pub mod files;
pub mod fragment;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod handshake;
mod mutants;
pub mod payload;
pub mod phase;
pub mod replay;
pub mod rtt;
pub mod seq;
pub mod sizes;
pub mod time;
pub mod wire;

#[cfg(test)]
mod tests;

pub(crate) use mutants::mutant;
