//! The client on its own thread or polled, and our server, over loopback: the same tests on each wire.

mod support;

#[path = "support/client_suite.rs"]
mod mpgameserver;

#[path = "support/client_suite.rs"]
mod native;
