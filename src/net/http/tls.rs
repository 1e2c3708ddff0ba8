//! Certificates of a door, and what becomes of them when their files change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::error::Result;
use crate::net::tls::{server_config, TlsFiles};

/// What tells a file from the one that was there before.
type Stamp = Option<(u64, Option<SystemTime>)>;

/// The certificate that a door shows, as it is now.
pub struct Certificates {
    files: TlsFiles,
    acceptor: Mutex<TlsAcceptor>,
    stamps: Mutex<(Stamp, Stamp)>,
}

impl Certificates {
    /// Reads both files. Errors: Key.
    pub fn load(files: TlsFiles) -> Result<Certificates> {
        let stamps = stamps(&files);
        let acceptor = Mutex::new(acceptor(&files)?);
        Ok(Certificates { files, acceptor, stamps: Mutex::new(stamps) })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().clone()
    }

    /// Looks at the files again. Whether there is a new certificate; errors: Key, and the one before is kept.
    pub fn refresh(&self) -> Result<bool> {
        let now = stamps(&self.files);
        if *self.stamps.lock() == now {
            return Ok(false);
        }
        // A file that is being written is looked at again when it changes again.
        *self.stamps.lock() = now;
        let acceptor = acceptor(&self.files)?;
        *self.acceptor.lock() = acceptor;
        Ok(true)
    }
}

fn stamps(files: &TlsFiles) -> (Stamp, Stamp) {
    let stamp = |path: &Path| fs::metadata(path).ok().map(|data| (data.len(), data.modified().ok()));
    (stamp(&files.certificate), stamp(&files.key))
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let mut config = server_config(files)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
