//! TLS around a TCP connection: rustls as a state machine that is fed from here, with ring as its provider.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, Connection, ServerConfig, ServerConnection};

use crate::error::{Error, ErrorKind, Result};
pub use crate::http::config::TlsFiles;
use crate::net::pipe::{Closing, Incoming, Outgoing, Pipe, Trouble};
use crate::net::stream::{failure, unless_blocked, TcpPipe};
use crate::protocol::connection::Farewell;

pub use client::{ClientTls, StreamTls, TlsTrust};

mod client;

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
        let tls = ServerConnection::new(self.0.clone())
            .map_err(|error| Error::new(ErrorKind::Io, format!("no TLS for a connection: {error}")))?;
        Ok(TlsPipe::new(tcp, tls.into()))
    }
}

/// A TCP connection under TLS. It says [`Incoming::Opened`] when the handshake is done.
#[derive(Debug)]
pub struct TlsPipe {
    tcp: TcpPipe,
    tls: Connection,
    opened: bool,
    socket_ended: bool,
    /// The other side did not prove who it is.
    untrusted: bool,
    /// Its peer has ended, and the socket waits for the rest of the records before it is closed.
    closing: bool,
}

fn broken(what: &dyn std::fmt::Display) -> Incoming<'static> {
    Incoming::Gone(Some(Farewell { text: format!("TLS: {what}"), ..Farewell::default() }))
}

impl TlsPipe {
    fn new(tcp: TcpPipe, mut tls: Connection) -> TlsPipe {
        tls.set_buffer_limit(Some(WRITE_BUFFER));
        TlsPipe { tcp, tls, opened: false, socket_ended: false, untrusted: false, closing: false }
    }

    /// What was opened already, if anything was.
    fn opened_bytes(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(buffer) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the other side sent is no TLS, or not what was to be believed.
    fn refuse(&mut self, error: &rustls::Error) -> Incoming<'static> {
        use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
        self.untrusted = matches!(error, InvalidCertificate(_) | NoCertificatesPresented);
        if matches!(error, InvalidCertificate(CertificateError::ApplicationVerificationFailure)) {
            return broken(&"the certificate is not the one that is pinned");
        }
        broken(error)
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
        if self.tcp.is_connecting() {
            let stands = self.tcp.try_connect();
            if !matches!(stands, Incoming::Opened) {
                return stands;
            }
            // The client speaks first.
            if let Err(error) = self.write_records() {
                return Incoming::Gone(Some(failure(&error)));
            }
        }
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
                return self.refuse(&error);
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

    fn close(&mut self, farewell: &Farewell) -> Closing {
        self.tls.send_close_notify();
        self.closing = true;
        match self.write_records() {
            Ok(false) => Closing::Waits,
            Ok(true) => self.close_socket(farewell),
            Err(_) => Closing::Over,
        }
    }

    fn go_on_closing(&mut self) -> Closing {
        if !self.closing {
            return self.tcp.go_on_closing();
        }
        match self.write_records() {
            Ok(false) => Closing::Waits,
            Ok(true) => self.close_socket(&Farewell::default()),
            Err(_) => Closing::Over,
        }
    }

    fn trouble(&self) -> Trouble {
        if self.untrusted {
            return Trouble::Untrusted;
        }
        self.tcp.trouble()
    }

    fn source(&mut self) -> Option<&mut dyn mio::event::Source> {
        self.tcp.source()
    }
}

impl TlsPipe {
    /// All records have left: now the socket's own end.
    fn close_socket(&mut self, farewell: &Farewell) -> Closing {
        self.closing = false;
        self.tcp.close(farewell)
    }
}
