//! A file that is sent: read, hashed, and seen to stay as it is.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use ring::digest::{Context, SHA256};

use super::Failed;
use crate::protocol::files::{Failure, Reply};

/// See the module.
pub(super) struct Source {
    file: File,
    size: u64,
    /// When it was changed last; not all systems tell.
    changed: Option<SystemTime>,
    hash: Context,
    hashed: u64,
}

fn vanished(why: impl ToString) -> Failed {
    (Failure::Vanished, why.to_string())
}

impl Source {
    /// Opens a regular file: others may never end, or wait for somebody before they even open.
    pub(super) fn open(path: &Path) -> Result<Source, Failed> {
        if !fs::metadata(path).map_err(vanished)?.is_file() {
            return Err(vanished("not a file"));
        }
        let file = File::open(path).map_err(vanished)?;
        let about = file.metadata().map_err(vanished)?;
        let (size, changed) = (about.len(), about.modified().ok());
        Ok(Source { file, size, changed, hash: Context::new(&SHA256), hashed: 0 })
    }

    /// Hashes the next step; at the end the file can be offered.
    pub(super) fn hash_on(&mut self, buffer: &mut [u8]) -> Result<Option<Reply>, Failed> {
        if self.hashed < self.size {
            let most = usize::try_from(self.size - self.hashed).unwrap_or(usize::MAX).min(buffer.len());
            let buffer = buffer.get_mut(..most).unwrap_or_default();
            let len = self.file.read(buffer).map_err(vanished)?;
            if len == 0 {
                return Err(vanished("it became shorter"));
            }
            self.hash.update(buffer.get(..len).unwrap_or_default());
            self.hashed += len as u64;
            return Ok(None);
        }
        self.check()?;
        let digest = self.hash.clone().finish();
        let digest = digest.as_ref().try_into().unwrap_or_default();
        Ok(Some(Reply::Opened { size: self.size, digest }))
    }

    /// A piece.
    pub(super) fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, Failed> {
        self.check()?;
        let mut data = vec![0; len];
        self.file.seek(SeekFrom::Start(offset)).map_err(vanished)?;
        self.file.read_exact(&mut data).map_err(vanished)?;
        Ok(data)
    }

    /// What was offered is what is sent: better an end now than a hash that does not fit after all of it.
    fn check(&self) -> Result<(), Failed> {
        let about = self.file.metadata().map_err(vanished)?;
        if about.len() != self.size || about.modified().ok() != self.changed {
            return Err(vanished("it changed while it was sent"));
        }
        Ok(())
    }
}
