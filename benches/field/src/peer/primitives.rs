//! What a handshake of gamekeeper's native wire consists of on the server's side: Noise NK as its resolver has it, with
//! curve25519-dalek and ring, each primitive as often as it is needed and on bytes as long as they are, and no protocol around
//! them. The curve is the price: a key of its own, and two agreements.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, CHACHA20_POLY1305};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

/// Bytes of a client's first message: as a sealed datagram it is about as long as a hello, 1200 bytes.
pub const OPENING: usize = 1150;
/// Bytes of what answers it: about those of a welcome with the transport's cover.
pub const ANSWER: usize = 120;
/// Hashes of a handshake's messages and names: the start, the prologue, the server's key, and of each of the two messages the
/// ephemeral key and the payload.
const HASHES: usize = 7;
/// HMACs of key derivation: three for each of two agreements and for the split (HKDF with two outputs), and for the secrets
/// of both directions each a key, an initial vector, the next secret; and the path's.
const DERIVATIONS: usize = 3 * 3 + 2 * 3 + 1;
/// Sealed bytes of the second message's payload.
const PAYLOAD: usize = 57;

/// The server's long-lived key, and randomness.
pub struct Primitives {
    private: [u8; 32],
    random: SystemRandom,
}

/// X25519, as gamekeeper computes it: over Edwards' curve, where that has vectors and the point has that form.
fn agree(private: [u8; 32], public: MontgomeryPoint) -> [u8; 32] {
    let edwards = if cfg!(target_arch = "x86_64") { public.to_edwards(0) } else { None };
    let shared = edwards.map(|point| point.mul_clamped(private).to_montgomery());
    shared.unwrap_or_else(|| public.mul_clamped(private)).to_bytes()
}

fn key(algorithm: &'static ring::aead::Algorithm, secret: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(algorithm, secret.get(..algorithm.key_len())?).ok().map(LessSafeKey::new)
}

impl Primitives {
    pub fn new() -> Primitives {
        Primitives { private: [5; 32], random: SystemRandom::new() }
    }

    /// A client's first message: a public key of its own, and padding.
    pub fn opening() -> Vec<u8> {
        let mut private = [0; 32];
        // Without randomness all clients have one key, which costs the server the same.
        let _ = SystemRandom::new().fill(&mut private);
        let mut opening = MontgomeryPoint::mul_base_clamped(private).to_bytes().to_vec();
        opening.resize(OPENING, 0);
        opening
    }

    /// All that the server computes for one client. Whether it could.
    pub fn exchange(&self, opening: &[u8]) -> bool {
        let Some(client) = opening.first_chunk::<32>() else { return false };
        self.compute(MontgomeryPoint(*client)).is_some()
    }

    fn compute(&self, client: MontgomeryPoint) -> Option<()> {
        let mut ephemeral = [0; 32];
        self.random.fill(&mut ephemeral).ok()?;
        let public = MontgomeryPoint::mul_base_clamped(ephemeral).to_bytes();
        let shared = [agree(self.private, client), agree(ephemeral, client)];
        let mut hash = [0; 32];
        for _ in 0..HASHES {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(&hash);
            context.update(&public);
            hash.copy_from_slice(context.finish().as_ref());
        }
        let mut secret = shared[0];
        for _ in 0..DERIVATIONS {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), &shared[1]);
            secret.copy_from_slice(tag.as_ref());
        }
        // The hello's tag, and the welcome's payload.
        let chacha = key(&CHACHA20_POLY1305, &secret)?;
        let nonce = || Nonce::assume_unique_for_key([0; 12]);
        let mut empty =
            chacha.seal_in_place_separate_tag(nonce(), Aad::from(hash), &mut []).ok()?.as_ref().to_vec();
        chacha.open_in_place(nonce(), Aad::from(hash), &mut empty).ok()?;
        let mut payload = [0; PAYLOAD];
        let tag = chacha.seal_in_place_separate_tag(nonce(), Aad::from(hash), &mut payload).ok()?;
        // The keys of what follows, one for each direction.
        drop(std::hint::black_box((key(&AES_128_GCM, &secret)?, key(&AES_128_GCM, &hash)?, payload, tag)));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree_and_everybody_has_an_exchange() {
        let (a, b) = ([3; 32], [9; 32]);
        let public = |private| MontgomeryPoint::mul_base_clamped(private);
        assert_eq!(agree(a, public(b)), agree(b, public(a)));
        let opening = Primitives::opening();
        assert_eq!(opening.len(), OPENING);
        assert!(Primitives::new().exchange(&opening));
        assert!(!Primitives::new().exchange(&opening[..31]));
    }
}
