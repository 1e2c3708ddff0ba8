//! Root keys.

use std::path::PathBuf;
use std::sync::Arc;

use gamekeeper::keys::native_key_text;
use gamekeeper::keys::RootKey;
use godot::classes::ProjectSettings;
use godot::global::Error;
use godot::prelude::*;

use crate::convert::{outcome, report};

/// The private key that proves a server's identity to its clients.
///
/// Make one once, keep the file on the server, and ship its [method get_public_key] with the game: a client that pins it
/// talks to the holder of the file and nobody else.
///
/// ```gdscript
/// var key := GamekeeperKey.load_file("user://server.pem")
/// if key == null:
///     key = GamekeeperKey.generate()
///     key.save_file("user://server.pem")
/// print("clients pin ", key.get_public_key())
/// ```
#[derive(GodotClass)]
#[class(no_init, base = RefCounted)]
pub struct GamekeeperKey {
    key: Arc<RootKey>,
}

/// Where a path of the engine, such as `user://server.pem`, lies in the file system.
pub fn file_path(path: &GString) -> PathBuf {
    PathBuf::from(ProjectSettings::singleton().globalize_path(path).to_string())
}

impl GamekeeperKey {
    /// The key itself.
    pub fn key(&self) -> Arc<RootKey> {
        self.key.clone()
    }

    fn of(key: RootKey) -> Gd<Self> {
        Gd::from_object(GamekeeperKey { key: Arc::new(key) })
    }
}

#[godot_api]
impl GamekeeperKey {
    /// Makes a new random key. Returns [code]null[/code] where the system gives no random bytes.
    #[func]
    fn generate() -> Option<Gd<Self>> {
        match RootKey::generate() {
            Ok(key) => Some(Self::of(key)),
            Err(error) => {
                report("no key", &error);
                None
            }
        }
    }

    /// Reads a key from a PEM file, for instance one that [code]gamekeeper keygen[/code] wrote. Returns
    /// [code]null[/code] where there is no such file, and where it holds no key, which is reported.
    #[func]
    fn load_file(path: GString) -> Option<Gd<Self>> {
        let path = file_path(&path);
        if !path.exists() {
            return None;
        }
        RootKey::load(&path).map_err(|error| report("no key", &error)).ok().map(Self::of)
    }

    /// Reads a key from a PEM text. Returns [code]null[/code] where it is none, which is reported.
    #[func]
    fn from_pem(pem: GString) -> Option<Gd<Self>> {
        RootKey::from_pem(&pem.to_string()).map_err(|error| report("no key", &error)).ok().map(Self::of)
    }

    /// Writes the key as PEM, readable by its owner alone. What stood at [param path] is replaced as a whole or not at all.
    #[func]
    fn save_file(&self, path: GString) -> Error {
        self.key.save(&file_path(&path)).map_or_else(|error| report("key not saved", &error), |()| Error::OK)
    }

    /// What clients pin: 64 hexadecimal digits. It is no secret.
    #[func]
    fn get_public_key(&self) -> GString {
        GString::from(&native_key_text(&self.key.native_public()))
    }

    /// The private key as PEM. Whoever has it is the server.
    #[func]
    fn get_private_pem(&self) -> GString {
        GString::from(&self.key.private_pem())
    }

    /// Whether a text can be pinned as a server's public key.
    #[func]
    fn is_public_key(text: GString) -> bool {
        outcome(gamekeeper::keys::parse_native_key(&text.to_string()).map(|_| ())) == Error::OK
    }
}
