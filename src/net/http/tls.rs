//! Certificates of a door, and what becomes of them when their files change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, ErrorKind, Result};
use crate::http::config::TlsFiles;

/// A longer certificate or key file is refused.
const MAX_PEM_BYTES: u64 = 1 << 20;

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

fn read(path: &Path) -> Result<Vec<u8>> {
    let bad =
        |what: &dyn std::fmt::Display| Error::new(ErrorKind::Key, format!("{}: {what}", path.display()));
    let length = fs::metadata(path).map_err(|error| bad(&error))?.len();
    if length > MAX_PEM_BYTES {
        return Err(bad(&"too long for a certificate or key"));
    }
    fs::read(path).map_err(|error| bad(&error))
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let bad = |path: &Path, what: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Key, format!("{}: {what}", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<std::result::Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| bad(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| bad(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| bad(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
