//! TLS around a TCP connection: rustls as a state machine that is fed from here, with ring as its provider.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::error::{Error, ErrorKind, Result};
pub use crate::http::config::TlsFiles;
use crate::net::pipe::{Incoming, Outgoing, Pipe};
use crate::net::stream::{failure, unless_blocked, TcpPipe};
use crate::protocol::connection::Farewell;

/// A longer certificate or key file is refused.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// Bytes that TLS keeps for writing; above it the pipe is full.
const WRITE_BUFFER: usize = 64 << 10;
/// Records taken in per read of a pipe, at most: whoever sends many empty ones has the next turn for the rest.
const RECORDS_PER_READ: usize = 32;

/// What a door with TLS needs.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It holds a private key.
        f.write_str("ServerTls")
    }
}

fn bad(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Key, format!("{}: {what}", path.display()))
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(|error| bad(path, &error))?.len();
    if length > MAX_PEM_BYTES {
        return Err(bad(path, &"too long for a certificate or a key"));
    }
    fs::read(path).map_err(|error| bad(path, &error))
}

/// Reads both files into what rustls needs of a server, with ring as its provider. Errors: Key (which names the file).
pub(super) fn server_config(files: &TlsFiles) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(&pem(&files.certificate)?)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| bad(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem(&files.key)?).map_err(|error| bad(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&files.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&files.key, &error))
}

impl ServerTls {
    /// Reads both files. Errors: Key (which names the file).
    pub fn load(files: &TlsFiles) -> Result<ServerTls> {
        Ok(ServerTls(Arc::new(server_config(files)?)))
    }

    /// Puts a connection that was accepted behind TLS. Errors: Io.
    pub fn wrap(&self, tcp: TcpPipe) -> Result<TlsPipe> {
        let mut tls = ServerConnection::new(self.0.clone())
            .map_err(|error| Error::new(ErrorKind::Io, format!("no TLS for a connection: {error}")))?;
        tls.set_buffer_limit(Some(WRITE_BUFFER));
        Ok(TlsPipe { tcp, tls, opened: false, socket_ended: false })
    }
}

/// A TCP connection under TLS. It says [`Incoming::Opened`] when the handshake is done.
#[derive(Debug)]
pub struct TlsPipe {
    tcp: TcpPipe,
    tls: ServerConnection,
    opened: bool,
    socket_ended: bool,
}

fn broken(what: &dyn std::fmt::Display) -> Incoming<'static> {
    Incoming::Gone(Some(Farewell { text: format!("TLS: {what}"), ..Farewell::default() }))
}

impl TlsPipe {
    /// What was opened already, if anything was.
    fn opened_bytes(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(buffer) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes records as far as the socket takes them. Whether none are left.
    fn write_records(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            let (tls, socket) = (&mut self.tls, self.tcp.socket_mut());
            match unless_blocked(|| tls.write_tls(socket))? {
                None => return Ok(false),
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(_) => {}
            }
        }
        Ok(true)
    }
}

impl Pipe for TlsPipe {
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Incoming<'a> {
        for _ in 0..RECORDS_PER_READ {
            if self.opened {
                match self.opened_bytes(buffer) {
                    Ok(None) => {}
                    Ok(Some(0)) => return Incoming::End,
                    Ok(Some(bytes)) => return Incoming::Bytes(buffer.get(..bytes).unwrap_or_default()),
                    // The connection ended without TLS's own goodbye: somebody may have cut it.
                    Err(error) => return Incoming::Gone(Some(failure(&error))),
                }
            }
            if self.socket_ended {
                return broken(&"the connection ended in its handshake");
            }
            let (tls, socket) = (&mut self.tls, self.tcp.socket_mut());
            match unless_blocked(|| tls.read_tls(socket)) {
                Ok(None) => return Incoming::Nothing,
                Ok(Some(0)) => self.socket_ended = true,
                Ok(Some(_)) => {}
                Err(error) => return Incoming::Gone(Some(failure(&error))),
            }
            let taken = self.tls.process_new_packets();
            // Answers of the handshake, or what is wrong, for the other side.
            let written = self.write_records();
            if let Err(error) = taken {
                return broken(&error);
            }
            if let Err(error) = written {
                return Incoming::Gone(Some(failure(&error)));
            }
            if !self.opened && !self.tls.is_handshaking() {
                self.opened = true;
                return Incoming::Opened;
            }
        }
        // It has more, and is asked again.
        Incoming::Bytes(&[])
    }

    fn write(&mut self, out: Outgoing<'_>) -> io::Result<usize> {
        let Outgoing::Bytes(bytes) = out else { return Err(io::ErrorKind::Unsupported.into()) };
        let taken = self.tls.writer().write(bytes)?;
        self.write_records()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<bool> {
        self.write_records()
    }

    fn close(&mut self, farewell: &Farewell) -> bool {
        self.tls.send_close_notify();
        match self.write_records() {
            Ok(false) => false,
            Ok(true) | Err(_) => self.tcp.close(farewell),
        }
    }

    fn source(&mut self) -> Option<&mut dyn mio::event::Source> {
        self.tcp.source()
    }
}
