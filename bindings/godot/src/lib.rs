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
mod node;
mod peer;
mod running;
mod server;
mod wire;

use godot::prelude::*;

struct Gamekeeper;

// SAFETY: nothing is done here but what the crate does for every extension.
#[gdextension]
unsafe impl ExtensionLibrary for Gamekeeper {}

#[cfg(all(test, feature = "documentation"))]
mod tests {
    /// What the editor's help is told, for the tests with the engine, which hold it against what the engine knows of the
    /// classes: `GAMEKEEPER_GODOT_DOCS` is the folder that it is written to, one file per class.
    #[test]
    fn documentation_is_there_for_every_class() {
        let folder = std::env::var_os("GAMEKEEPER_GODOT_DOCS").map(std::path::PathBuf::from);
        let mut seen = 0;
        for text in godot::docs::__gather_xml_docs() {
            let (_, rest) = text.split_once("<class name=\"").expect("a class");
            let (name, _) = rest.split_once('"').expect("its name");
            assert!(name.starts_with("Gamekeeper"), "{name}");
            assert!(!text.contains("<brief_description></brief_description>"), "{name} has no text");
            if let Some(folder) = &folder {
                std::fs::write(folder.join(format!("{name}.xml")), &text)
                    .expect("the folder can be written to");
            }
            seen += 1;
        }
        assert_eq!(seen, 5);
    }
}
