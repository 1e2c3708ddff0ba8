//! Pure state machines: no socket, no clock, no thread, no global.

pub mod time;
pub mod wire;
