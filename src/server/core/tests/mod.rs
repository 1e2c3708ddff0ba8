//! The core on a virtual clock, without sockets: clients are connections in the client role.

mod chatter;
mod files;
mod groups;
mod host;
mod joining;
mod monkey;
mod native;
mod rates;
mod raw;
mod simulated;
mod strangers;
mod world;
