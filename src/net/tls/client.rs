//! A client's half: whom it believes, and how that is checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{bad, pem, TlsPipe};
use crate::error::{Error, ErrorKind, Result};
use crate::net::stream::TcpPipe;

/// How a client speaks TLS in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTls {
    /// Whom it believes.
    pub trust: TlsTrust,
    /// The name or address that the server's certificate must be for, and that the server is told. Default none: the host
    /// of the address that the client connects to.
    pub server_name: Option<String>,
}

/// By what a client recognises a server that speaks TLS. Of the system's own list of authorities nothing is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsTrust {
    /// A server whose certificate leads to one in this PEM file, is for the server's name and valid now.
    Authorities(PathBuf),
    /// A server whose own certificate is one in this PEM file, byte for byte, whatever name and dates stand in it.
    Certificate(PathBuf),
    /// Whoever answers. Only who reads along and does nothing else is kept out: for development.
    Anybody,
}

impl StreamTls {
    /// Believes by this, under the name that the client connects to.
    pub fn new(trust: TlsTrust) -> StreamTls {
        StreamTls { trust, server_name: None }
    }

    /// Whether the server must prove who it is.
    pub fn is_verified(&self) -> bool {
        self.trust != TlsTrust::Anybody
    }
}

/// What a client with TLS needs.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientTls({:?})", self.name)
    }
}

impl ClientTls {
    /// Reads what it is to believe by. `host` is the server as the client was told it: a name, or an address without port.
    /// Errors: Key (which names the file); Argument (a name that no certificate can be for).
    pub fn load(tls: &StreamTls, host: &str) -> Result<ClientTls> {
        let name = tls.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::new(ErrorKind::Argument, format!("server_name: no certificate can be for {name:?}"))
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Key, format!("no TLS: {error}")))?;
        let config = match &tls.trust {
            TlsTrust::Authorities(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| bad(path, &error))?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            TlsTrust::Certificate(path) => {
                let verifier = Known { certificates: Some(certificates(path)?), provider };
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
                builder.with_no_client_auth()
            }
            TlsTrust::Anybody => {
                let verifier = Known { certificates: None, provider };
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
                builder.with_no_client_auth()
            }
        };
        Ok(ClientTls { config: Arc::new(config), name })
    }

    /// Puts a connection that is being made behind TLS. Errors: Io.
    pub fn wrap(&self, tcp: TcpPipe) -> Result<TlsPipe> {
        let tls = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| Error::new(ErrorKind::Io, format!("no TLS for a connection: {error}")))?;
        Ok(TlsPipe::new(tcp, tls.into()))
    }
}

/// The certificates in a file; at least one. Errors: Key.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(&pem(path)?)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| bad(path, &error))?;
    if all.is_empty() {
        return Err(bad(path, &"there is no certificate in it"));
    }
    Ok(all)
}

/// Believes who has the private key of one of these certificates, or of whatever certificate it shows.
#[derive(Debug)]
struct Known {
    certificates: Option<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match &self.certificates {
            Some(known) if !known.iter().any(|one| one == end_entity) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    // That it has the private key is checked whoever is believed: else a pinned certificate, which is no secret, would
    // prove nothing.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
