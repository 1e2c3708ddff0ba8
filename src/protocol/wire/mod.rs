//! Byte layouts.

pub mod mpgameserver;
pub mod native;
pub mod query;
