//! Byte layouts.

pub mod mpgameserver;
