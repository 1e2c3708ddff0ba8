//! gamekeeper: a game server that you embed.
//!
//! The floors, from below: [`protocol`] (pure state machines), [`net`] (sockets and clocks), [`server`]
//! and [`client`] (what a user holds), [`ffi`] (the C ABI). ARCHITECTURE.md has the map.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod client;
pub mod crypto;
pub mod error;
pub mod ffi;
pub(crate) mod hosting;
pub mod http;
pub mod keys;
pub mod metrics;
pub mod net;
pub(crate) mod panic_scope;
pub mod protocol;
pub mod server;

pub use client::discover::{discover, Found};
pub use client::Client;
pub use error::{Error, ErrorKind, Result};
pub use server::Server;
