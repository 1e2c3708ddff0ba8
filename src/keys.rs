//! A server's identity: a P-256 key pair, as PEM and DER.

use crate::error::Result;

/// A P-256 key pair that signs handshakes.
pub struct RootKey(());

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey")
    }
}

#[allow(unused_variables)]
impl RootKey {
    pub fn generate() -> Result<RootKey> {
        todo!()
    }
    /// PKCS#8, PEM ("PRIVATE KEY").
    pub fn from_pem(pem: &str) -> Result<RootKey> {
        todo!()
    }
    /// PKCS#8, DER.
    pub fn from_der(der: &[u8]) -> Result<RootKey> {
        todo!()
    }
    pub fn load(path: &std::path::Path) -> Result<RootKey> {
        todo!()
    }
    /// Writes the private key as PEM, readable by its owner only.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        todo!()
    }
    pub fn private_der(&self) -> &[u8] {
        todo!()
    }
    pub fn private_pem(&self) -> String {
        todo!()
    }
    pub fn public_key(&self) -> PublicKey {
        todo!()
    }
    /// ECDSA over SHA-256, as ASN.1 DER, at most 72 bytes.
    pub fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        todo!()
    }
}

/// The public part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(());

#[allow(unused_variables)]
impl PublicKey {
    /// SubjectPublicKeyInfo, DER, 91 bytes.
    pub fn from_der(der: &[u8]) -> Result<PublicKey> {
        todo!()
    }
    /// SubjectPublicKeyInfo, PEM ("PUBLIC KEY").
    pub fn from_pem(pem: &str) -> Result<PublicKey> {
        todo!()
    }
    /// 0x04, x, y.
    pub fn from_point(point: &[u8; 65]) -> Result<PublicKey> {
        todo!()
    }
    pub fn point(&self) -> &[u8; 65] {
        todo!()
    }
    pub fn to_der(&self) -> [u8; 91] {
        todo!()
    }
    pub fn to_pem(&self) -> String {
        todo!()
    }
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        todo!()
    }
}
