//! What the protocol needs of cryptography, as traits, so that golden vectors and seeded runs are exact.
//!
//! Keys and randomness are injected; sealing, opening, key derivation and signature checks are pure
//! functions of their arguments and call ring directly.

use std::fmt;

use ring::{aead, hkdf, signature};
use zeroize::Zeroizing;

/// An uncompressed point of P-256: 0x04, x, y.
pub type Point = [u8; 65];

/// The bytes before the point in a SubjectPublicKeyInfo of P-256.
pub const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Bytes of a P-256 public key as SubjectPublicKeyInfo.
pub const SPKI_LEN: usize = 91;

/// Bytes of an AES-GCM tag.
pub const TAG_LEN: usize = 16;

/// An operation failed: a bad key, a bad tag, or no randomness. Deliberately says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptoError;

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cryptographic operation failed")
    }
}

impl std::error::Error for CryptoError {}

/// A source of randomness and of ephemeral keys.
pub trait Provider: Send + Sync {
    /// Fills `out` with random bytes.
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError>;
    /// A fresh P-256 key for one agreement.
    fn ephemeral(&self) -> Result<Box<dyn EphemeralKey>, CryptoError>;
}

/// A P-256 key that agrees once.
pub trait EphemeralKey: Send + Sync {
    /// The public part.
    fn public(&self) -> Point;
    /// The x coordinate of the shared point. Refuses a point that is not on the curve.
    fn agree(self: Box<Self>, peer: &Point) -> Result<[u8; 32], CryptoError>;
}

/// A P-256 key that signs.
pub trait SigningKey: Send + Sync {
    /// The public part.
    fn public(&self) -> Point;
    /// ECDSA over SHA-256, ASN.1 DER.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// Whether `signature` (ECDSA over SHA-256, ASN.1 DER) fits.
pub fn verify(public: &Point, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, public)
        .verify(message, signature)
        .map_err(|_| CryptoError)
}

/// The point as SubjectPublicKeyInfo.
pub fn spki(point: &Point) -> [u8; SPKI_LEN] {
    let mut der = [0; SPKI_LEN];
    der[..26].copy_from_slice(&SPKI_PREFIX);
    der[26..].copy_from_slice(point);
    der
}

/// The point of a SubjectPublicKeyInfo of P-256; `None` for anything else. Whether it is on the curve is
/// checked where it is used.
pub fn point_of_spki(der: &[u8]) -> Option<Point> {
    let point = der.strip_prefix(&SPKI_PREFIX)?;
    if point.first() != Some(&4) {
        return None;
    }
    point.try_into().ok()
}

/// The session key of mpgameserver's wire: HKDF-SHA256 of the shared x coordinate.
pub fn session_key(shared: &[u8; 32], salt: &[u8]) -> Result<[u8; 16], CryptoError> {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            16
        }
    }
    let mut key = [0; 16];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(shared)
        .expand(&[b"01-secp256r1-sha256-aesgcm128-server-client"], Len)
        .and_then(|okm| okm.fill(&mut key))
        .map_err(|_| CryptoError)?;
    Ok(key)
}

/// An AES-128-GCM key.
pub struct Aead(aead::LessSafeKey);

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead")
    }
}

impl Aead {
    /// From 16 bytes.
    pub fn new(key: &[u8; 16]) -> Result<Self, CryptoError> {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).map_err(|_| CryptoError)?;
        Ok(Aead(aead::LessSafeKey::new(key)))
    }

    /// Encrypts `body` in place and returns the tag. The caller never uses a nonce twice.
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Result<[u8; TAG_LEN], CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag =
            self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body).map_err(|_| CryptoError)?;
        tag.as_ref().try_into().map_err(|_| CryptoError)
    }

    /// Decrypts `body`, which ends with the tag, in place; the plaintext is its front. On an error `body`
    /// holds nothing of use.
    pub fn open<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, aead::Aad::from(aad), body).map_err(|_| CryptoError)
    }
}

/// Whether two are the same; takes as long whatever differs.
pub fn is_equal<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Bytes of a traffic secret.
pub const SECRET_LEN: usize = 32;

/// The secret behind one direction's keys in one phase of a native connection.
/// It is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Traffic(Zeroizing<[u8; SECRET_LEN]>);

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic")
    }
}

impl Traffic {
    /// Of the first phase, as the handshake gives it.
    pub fn new(secret: [u8; SECRET_LEN]) -> Self {
        Traffic(Zeroizing::new(secret))
    }

    /// The phase's AES-128-GCM key.
    pub fn key(&self) -> Result<Zeroizing<[u8; 16]>, CryptoError> {
        self.expand(b"key").map(Zeroizing::new)
    }

    /// The phase's initial vector.
    pub fn iv(&self) -> Result<[u8; 12], CryptoError> {
        self.expand(b"iv")
    }

    /// The secret of the phase after this.
    pub fn next(&self) -> Result<Traffic, CryptoError> {
        self.expand(b"next").map(Traffic::new)
    }

    /// The secret that path challenges are made from.
    pub fn challenges(&self) -> Result<Traffic, CryptoError> {
        self.expand(b"path").map(Traffic::new)
    }

    /// The challenge of this step.
    pub fn challenge(&self) -> Result<[u8; 8], CryptoError> {
        self.expand(b"challenge")
    }

    /// HKDF-Expand of SHA-256.
    fn expand<const N: usize>(&self, label: &[u8]) -> Result<[u8; N], CryptoError> {
        struct Len(usize);
        impl hkdf::KeyType for Len {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut out = [0; N];
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &*self.0)
            .expand(&[label], Len(N))
            .and_then(|okm| okm.fill(&mut out))
            .map_err(|_| CryptoError)?;
        Ok(out)
    }
}
