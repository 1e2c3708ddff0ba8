//! How two ends come to share a key.

pub mod mpgameserver;
pub mod native;
