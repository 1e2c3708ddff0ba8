//! Tests of this floor as a whole: two ends on a virtual clock, over a network that is as bad as a seed says.

mod handshake;
mod ledger;
mod monitor;
mod mutants;
mod network;
mod pair;
mod provider;
mod scenario;
mod simulation;
