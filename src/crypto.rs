//! The production source of randomness and keys: ring.

use ring::agreement::{agree_ephemeral, EphemeralPrivateKey, UnparsedPublicKey, ECDH_P256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::keys::RootKey;
use crate::protocol::crypto::{CryptoError, EphemeralKey, Point, Provider, SigningKey};

/// ring's randomness and P-256.
#[derive(Debug)]
pub struct RingProvider(SystemRandom);

#[allow(clippy::new_without_default)]
impl RingProvider {
    /// Over the operating system's randomness.
    pub fn new() -> Self {
        RingProvider(SystemRandom::new())
    }
}

impl Provider for RingProvider {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.fill(out).map_err(|_| CryptoError)
    }

    fn ephemeral(&self) -> Result<Box<dyn EphemeralKey>, CryptoError> {
        let key = EphemeralPrivateKey::generate(&ECDH_P256, &self.0).map_err(|_| CryptoError)?;
        let public = key.compute_public_key().map_err(|_| CryptoError)?;
        let public = public.as_ref().try_into().map_err(|_| CryptoError)?;
        Ok(Box::new(RingEphemeral { key, public }))
    }
}

struct RingEphemeral {
    key: EphemeralPrivateKey,
    public: Point,
}

impl EphemeralKey for RingEphemeral {
    fn public(&self) -> Point {
        self.public
    }

    fn agree(self: Box<Self>, peer: &Point) -> Result<[u8; 32], CryptoError> {
        agree_ephemeral(self.key, &UnparsedPublicKey::new(&ECDH_P256, peer), |shared| {
            shared.try_into().map_err(|_| CryptoError)
        })
        .map_err(|_| CryptoError)?
    }
}

impl SigningKey for RootKey {
    fn public(&self) -> Point {
        *self.public_key().point()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        RootKey::sign(self, message).map_err(|_| CryptoError)
    }
}
