//! gamekeeper for Godot: `GamekeeperMultiplayerPeer` for games that use the engine's remote calls, spawners and
//! synchronizers, `GamekeeperServer` and `GamekeeperClient` for those that send their own messages.
//!
//! The comments on classes, methods and properties are what the editor's help shows.
//!
//! Every server and client runs on a thread of its own and queues its events; nothing of the engine is touched there.
//! The engine's thread takes the events in a frame: so a game that loads for a while keeps its connections.

mod client;
mod conditions;
mod convert;
mod key;
mod peer;
mod running;
mod server;
mod wire;

use godot::prelude::*;

struct Gamekeeper;

// SAFETY: nothing is done here but what the crate does for every extension.
#[gdextension]
unsafe impl ExtensionLibrary for Gamekeeper {}
