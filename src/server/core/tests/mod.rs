//! The core on a virtual clock, without sockets: clients are connections in the client role.

mod chatter;
mod host;
mod monkey;
mod simulated;
mod strangers;
mod world;
