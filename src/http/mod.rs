//! What HTTP means to a server, without a socket: routes, requests, answers, limits. `net::http` speaks it.
//!
//! Pure, like the protocol: no clock, thread, socket or file.

pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod message;
pub mod route;
pub mod text;
