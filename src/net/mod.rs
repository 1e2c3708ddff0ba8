//! Sockets, clocks, threads: everything that touches the operating system.
// clippy.toml forbids clocks, threads and sockets for the other floors; this is the floor where they belong.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod address;
pub mod batch;
pub mod clock;
pub mod event_loop;
pub mod files;
mod fragmentation;
pub mod http;
pub mod interfaces;
#[cfg(target_os = "linux")]
mod mmsg;
pub mod pipe;
pub mod prefetch;
pub mod resolve;
pub mod stream;
pub mod thread;
pub mod tls;
pub mod udp;
