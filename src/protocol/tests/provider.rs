//! Keys and randomness from a seed, over a second implementation of the curve.

use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use crate::protocol::crypto::{CryptoError, EphemeralKey, Point, Provider, SigningKey};

fn point(public: &p256::PublicKey) -> Point {
    public.to_encoded_point(false).as_bytes().try_into().expect("an uncompressed point has 65 bytes")
}

/// A root key; its signatures are RFC 6979's, so they repeat.
pub struct TestRoot(p256::ecdsa::SigningKey);

impl TestRoot {
    pub fn from_scalar(scalar: &[u8]) -> Self {
        TestRoot(p256::ecdsa::SigningKey::from_slice(scalar).expect("a scalar of the curve"))
    }

    pub fn from_seed(seed: u64) -> Self {
        TestRoot::from_scalar(&scalar(&mut SmallRng::seed_from_u64(seed ^ 0x726f_6f74)))
    }
}

impl SigningKey for TestRoot {
    fn public(&self) -> Point {
        point(&p256::PublicKey::from(self.0.verifying_key()))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature: p256::ecdsa::Signature = self.0.try_sign(message).map_err(|_| CryptoError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

fn scalar(rng: &mut SmallRng) -> [u8; 32] {
    loop {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        // All but one in 2^32 are below the curve's order.
        if p256::SecretKey::from_slice(&bytes).is_ok() {
            return bytes;
        }
    }
}

struct TestKey(p256::SecretKey);

impl EphemeralKey for TestKey {
    fn public(&self) -> Point {
        point(&self.0.public_key())
    }

    fn agree(self: Box<Self>, peer: &Point) -> Result<[u8; 32], CryptoError> {
        let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| CryptoError)?;
        let shared = p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        Ok((*shared.raw_secret_bytes()).into())
    }
}

/// Everything from one seed. Remembers the scalars, so that a test can open what the two ends seal.
pub struct TestProvider {
    rng: Mutex<SmallRng>,
    scalars: Mutex<Vec<[u8; 32]>>,
}

impl TestProvider {
    pub fn new(seed: u64) -> Self {
        TestProvider { rng: Mutex::new(SmallRng::seed_from_u64(seed)), scalars: Mutex::default() }
    }

    /// The shared x coordinate of the newest ephemeral key and `peer`.
    pub fn agreed(&self, peer: &Point) -> Option<[u8; 32]> {
        let scalar = *self.scalars.lock().last()?;
        let key = TestKey(p256::SecretKey::from_slice(&scalar).ok()?);
        Box::new(key).agree(peer).ok()
    }
}

impl Provider for TestProvider {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.rng.lock().fill_bytes(out);
        Ok(())
    }

    fn ephemeral(&self) -> Result<Box<dyn EphemeralKey>, CryptoError> {
        let scalar = scalar(&mut self.rng.lock());
        self.scalars.lock().push(scalar);
        Ok(Box::new(TestKey(p256::SecretKey::from_slice(&scalar).map_err(|_| CryptoError)?)))
    }
}

/// One key, and random bytes as given, for golden vectors.
pub struct FixedProvider {
    pub scalar: Vec<u8>,
    pub random: Vec<u8>,
}

impl Provider for FixedProvider {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.copy_from_slice(self.random.get(..out.len()).ok_or(CryptoError)?);
        Ok(())
    }

    fn ephemeral(&self) -> Result<Box<dyn EphemeralKey>, CryptoError> {
        Ok(Box::new(TestKey(p256::SecretKey::from_slice(&self.scalar).map_err(|_| CryptoError)?)))
    }
}

#[test]
fn two_implementations_agree() {
    let (provider, root) = (TestProvider::new(1), TestRoot::from_seed(1));
    let (a, b) = (provider.ephemeral().unwrap(), provider.ephemeral().unwrap());
    let (pa, pb) = (a.public(), b.public());
    assert_eq!(a.agree(&pb).unwrap(), b.agree(&pa).unwrap());
    let signature = root.sign(b"message").unwrap();
    assert_eq!(signature, root.sign(b"message").unwrap());
    crate::protocol::crypto::verify(&root.public(), b"message", &signature).unwrap();
    crate::protocol::crypto::verify(&root.public(), b"massage", &signature).unwrap_err();
    let mut off_curve = pa;
    off_curve[64] ^= 1;
    provider.ephemeral().unwrap().agree(&off_curve).unwrap_err();
}
