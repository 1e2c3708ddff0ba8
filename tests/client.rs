//! The client on its own thread or polled, and our server, over loopback: the same tests on each wire.

mod support;

// Once for each wire: that is what it is there for.
#[allow(clippy::duplicate_mod)]
#[path = "support/client_suite.rs"]
mod mpgameserver;

#[allow(clippy::duplicate_mod)]
#[path = "support/client_suite.rs"]
mod native;
