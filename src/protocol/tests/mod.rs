//! Tests of this floor as a whole: two ends on a virtual clock, over a network that is as bad as a seed says.

mod figures;
mod files;
mod fuzz;
mod handshake;
mod hold;
mod hostile;
mod ledger;
mod monitor;
mod mutants;
mod native;
mod native_capture;
mod native_figures;
mod native_handshake;
mod native_hostile;
mod native_monitor;
mod native_scenario;
mod native_simulation;
mod network;
mod pair;
mod provider;
mod roundtrip;
mod scenario;
mod simulation;
mod stream;
mod vectors;
mod wrap;
