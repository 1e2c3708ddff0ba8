//! How much may be under way to a peer, and how soon the next datagram may follow.
//!
//! The two wires have different narrow places. mpgameserver's client reads one datagram a frame, so
//! [`DelayWindow`] counts packets and watches how late they are read. The native protocol's narrow place is
//! the network: [`Controller`] models its rate and its least round trip.

mod controller;
mod delay_window;
mod delivery;
mod pacer;

#[cfg(test)]
mod tests;

pub use controller::{Acked, Controller, INITIAL_DATAGRAMS, MIN_DATAGRAMS};
pub use delay_window::{DelayWindow, INITIAL_WINDOW, MAX_AGE, MAX_WINDOW, MIN_WINDOW, TARGET_DELAY};
pub use delivery::Rate;
