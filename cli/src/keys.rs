//! Keys: made, shown, read.

use std::path::{Path, PathBuf};

use clap::Args;
use gamekeeper::client::KnownKeys;
use gamekeeper::keys::{native_key_text, parse_native_key, PublicKey, RootKey};

use crate::output::say;
use crate::Failure;

/// Bytes of a key file that are read at most; keys have some hundred.
const MAX_FILE_BYTES: u64 = 64 << 10;

#[derive(Args)]
pub struct Keygen {
    /// Where the root key goes: PEM, readable by its owner only
    file: PathBuf,
    /// Replace the file if there is one: clients that pinned its key will not know the server any more
    #[arg(long)]
    force: bool,
}

impl Keygen {
    pub fn run(&self) -> Result<(), Failure> {
        // A link that leads nowhere is there too.
        if !self.force && self.file.symlink_metadata().is_ok() {
            return Err(format!("{} is there already; --force replaces it", self.file.display()));
        }
        let key = RootKey::generate().map_err(|error| error.to_string())?;
        key.save(&self.file).map_err(|error| error.to_string())?;
        say(&public_keys(&key));
        Ok(())
    }
}

/// Both public keys, for clients to pin.
pub fn public_keys(key: &RootKey) -> String {
    let native = native_key_text(&key.native_public());
    let pem = key.public_key().to_pem();
    format!("native key: {native}\nP-256 key, for mpgameserver's wire:\n{}", pem.trim_end())
}

/// The keys to pin, from 64 hexadecimal digits or from a file: such digits, a P-256 public key, or a root key,
/// which has both.
pub fn known_keys(text: &str) -> Result<KnownKeys, Failure> {
    if let Ok(native) = parse_native_key(text) {
        return Ok(KnownKeys { native: Some(native), root: None });
    }
    let content = read(Path::new(text)).map_err(|error| {
        format!("{text} is no native key (64 hexadecimal digits), and no key file: {error}")
    })?;
    if let Ok(root) = RootKey::from_pem(&content) {
        return Ok(KnownKeys { native: Some(root.native_public()), root: Some(root.public_key()) });
    }
    if let Ok(native) = parse_native_key(&content) {
        return Ok(KnownKeys { native: Some(native), root: None });
    }
    let root = PublicKey::from_pem(&content)
        .map_err(|_| format!("key file {text}: no native key, no P-256 public key and no root key"))?;
    Ok(KnownKeys { native: None, root: Some(root) })
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
