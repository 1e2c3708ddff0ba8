//! Counters and series: what a host can ask about a peer and about the server.

pub mod peer;
pub mod series;
pub mod server;
