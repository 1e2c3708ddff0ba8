//! Noise over snow: two patterns of two messages. Randomness is drawn before and handed in, so that a seed, or a
//! vector, gives the same bytes again.

use curve25519_dalek::montgomery::MontgomeryPoint;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::{NativeKey, Secrets, HELLO_LEN, VERSION};
use crate::protocol::crypto::{CryptoError, Provider};

/// A private key of X25519.
pub(super) type PrivateKey = Zeroizing<[u8; 32]>;

/// The second messages' longest form: what fits into an answer.
const MAX_MESSAGE: usize = HELLO_LEN;

/// Bytes of an authentication tag.
pub(super) const TAG_LEN: usize = 16;

/// What the client knows of the server beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Its key.
    Nk,
    /// Nothing: the server sends its key, and the client believes it.
    Nx,
}

impl Pattern {
    /// From the number in a hello.
    pub(super) fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Pattern::Nk),
            1 => Some(Pattern::Nx),
            _ => None,
        }
    }

    /// The number in a hello.
    pub(super) fn to_wire(self) -> u8 {
        match self {
            Pattern::Nk => 0,
            Pattern::Nx => 1,
        }
    }

    /// Bytes of the first message: an ephemeral key, and in NK a tag that only the right server can check.
    pub(super) const fn hello_message_len(self) -> usize {
        match self {
            Pattern::Nk => 32 + TAG_LEN,
            Pattern::Nx => 32,
        }
    }

    /// Bytes that the second message has besides its payload.
    pub(super) const fn welcome_message_overhead(self) -> usize {
        match self {
            Pattern::Nk => 32 + TAG_LEN,
            Pattern::Nx => 32 + 32 + TAG_LEN + TAG_LEN,
        }
    }

    fn params(self) -> Result<NoiseParams, CryptoError> {
        let name = match self {
            Pattern::Nk => "Noise_NK_25519_ChaChaPoly_SHA256",
            Pattern::Nx => "Noise_NX_25519_ChaChaPoly_SHA256",
        };
        name.parse().map_err(|_| CryptoError)
    }

    /// What both ends must have read alike for the handshake to succeed, beside the messages.
    fn prologue(self) -> Vec<u8> {
        let mut prologue = b"gamekeeper 1".to_vec();
        prologue.extend_from_slice(&VERSION.to_be_bytes());
        prologue.push(self.to_wire());
        prologue
    }
}

/// The public key of a private one.
pub fn public_key(private: &[u8; 32]) -> NativeKey {
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

/// X25519. Where dalek multiplies with vectors, which it does on Edwards' curve alone, the way there and back costs less
/// than that saves. Which way is taken depends on the public point only: half of all numbers are on the curve's twist, which has
/// no such form.
fn agree(private: &[u8; 32], public: MontgomeryPoint) -> MontgomeryPoint {
    let edwards = if cfg!(target_arch = "x86_64") { public.to_edwards(0) } else { None };
    match edwards {
        Some(point) => point.mul_clamped(*private).to_montgomery(),
        None => public.mul_clamped(*private),
    }
}

/// A fresh private key.
pub(super) fn draw(provider: &dyn Provider) -> Result<PrivateKey, CryptoError> {
    let mut private = Zeroizing::new([0; 32]);
    provider.random(&mut *private)?;
    Ok(private)
}

/// A long-lived key. The public part is kept, which costs as much to compute as half an agreement.
pub(super) struct StaticKey {
    /// The private key and behind it the public one, as [`X25519::set`] takes them.
    both: Zeroizing<[u8; 64]>,
    pub(super) public: NativeKey,
}

impl StaticKey {
    pub(super) fn new(private: &[u8; 32]) -> Self {
        let public = public_key(private);
        let mut both = Zeroizing::new([0; 64]);
        both[..32].copy_from_slice(private);
        both[32..].copy_from_slice(&public);
        StaticKey { both, public }
    }
}

/// The server's part: reads the first message and writes the second around `payload`.
pub(super) fn respond(
    pattern: Pattern,
    key: &StaticKey,
    ephemeral: PrivateKey,
    hello: &[u8],
    payload: &[u8],
) -> Result<(Vec<u8>, Secrets), CryptoError> {
    let mut noise = Builder::with_resolver(pattern.params()?, Box::new(Resolver { ephemeral }))
        .prologue(&pattern.prologue())
        .and_then(|builder| builder.local_private_key(&*key.both))
        .and_then(Builder::build_responder)
        .map_err(|_| CryptoError)?;
    let mut message = vec![0; MAX_MESSAGE];
    noise.read_message(hello, &mut message).map_err(|_| CryptoError)?;
    let length = noise.write_message(payload, &mut message).map_err(|_| CryptoError)?;
    message.truncate(length);
    Ok((message, secrets(&mut noise)))
}

/// The client's part.
pub(super) struct Initiator {
    pinned: Option<NativeKey>,
    ephemeral: PrivateKey,
}

/// What the second message says.
pub(super) struct Read {
    pub(super) payload: Vec<u8>,
    pub(super) secrets: Secrets,
    pub(super) server: NativeKey,
}

impl Initiator {
    pub(super) fn new(pinned: Option<NativeKey>, ephemeral: PrivateKey) -> Self {
        Initiator { pinned, ephemeral }
    }

    pub(super) fn pattern(&self) -> Pattern {
        if self.pinned.is_some() {
            Pattern::Nk
        } else {
            Pattern::Nx
        }
    }

    /// The first message. The same at every call. Fails when the pinned key cannot be agreed with.
    pub(super) fn message(&self) -> Result<Vec<u8>, CryptoError> {
        self.begin().map(|(_, message)| message)
    }

    /// Reads the second message. What fails leaves no trace: snow remembers parts of a message that it refused, so
    /// its state is made anew for each.
    pub(super) fn read(&self, welcome: &[u8]) -> Result<Read, CryptoError> {
        if welcome.len() > MAX_MESSAGE {
            return Err(CryptoError);
        }
        let (mut noise, _) = self.begin()?;
        let mut payload = vec![0; MAX_MESSAGE];
        let length = noise.read_message(welcome, &mut payload).map_err(|_| CryptoError)?;
        payload.truncate(length);
        let server = noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(CryptoError)?;
        Ok(Read { payload, secrets: secrets(&mut noise), server })
    }

    fn begin(&self) -> Result<(HandshakeState, Vec<u8>), CryptoError> {
        let pattern = self.pattern();
        let (prologue, resolver) = (pattern.prologue(), Resolver { ephemeral: self.ephemeral.clone() });
        let mut builder = Builder::with_resolver(pattern.params()?, Box::new(resolver))
            .prologue(&prologue)
            .map_err(|_| CryptoError)?;
        if let Some(key) = &self.pinned {
            builder = builder.remote_public_key(key).map_err(|_| CryptoError)?;
        }
        let mut noise = builder.build_initiator().map_err(|_| CryptoError)?;
        // snow wants room for a tag even where none is written.
        let mut message = vec![0; pattern.hello_message_len() + TAG_LEN];
        let length = noise.write_message(&[], &mut message).map_err(|_| CryptoError)?;
        message.truncate(length);
        Ok((noise, message))
    }
}

fn secrets(noise: &mut HandshakeState) -> Secrets {
    // The initiator's key comes first, on both sides.
    let (to_server, to_client) = noise.dangerously_get_raw_split();
    Secrets { to_server, to_client }
}

/// Where snow gets its parts: hash and cipher of ring, the curve of dalek, and of randomness the one ephemeral key.
struct Resolver {
    ephemeral: PrivateKey,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

/// Randomness for one key, and no more: a second key would be the first again.
struct Drawn(Option<PrivateKey>);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let key = self.0.take().filter(|key| key.len() == out.len()).ok_or(snow::Error::Rng)?;
        out.copy_from_slice(&*key);
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: PrivateKey,
    public: NativeKey,
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// From a private key, or one with its public key behind it, which is then not computed.
    fn set(&mut self, key: &[u8]) {
        if let Some((private, public)) = key.split_first_chunk::<32>() {
            *self.private = *private;
            self.public = public.try_into().unwrap_or_else(|_| public_key(private));
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut *self.private)?;
        self.public = public_key(&self.private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    /// Refuses a point of small order, with which everybody agrees on zero.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let (public, _) = public.split_first_chunk::<32>().ok_or(snow::Error::Dh)?;
        let (out, _) = out.split_first_chunk_mut::<32>().ok_or(snow::Error::Dh)?;
        *out = agree(&self.private, MontgomeryPoint(*public)).to_bytes();
        if *out == [0; 32] {
            return Err(snow::Error::Dh);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    fn agree(private: [u8; 32], public: [u8; 32]) -> Result<[u8; 32], snow::Error> {
        let (mut dh, mut out) = (X25519::default(), [0; 32]);
        dh.set(&private);
        dh.dh(&public, &mut out).map(|()| out)
    }

    /// RFC 7748, sections 5.2 and 6.1.
    #[test]
    fn the_curve_is_that_of_the_rfc() {
        let shared = agree(
            hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
            hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        );
        let expected = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(shared.unwrap(), expected);
        let bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let alice = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(public_key(&bob), hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(agree(bob, alice).unwrap(), expected);
    }

    #[test]
    fn both_ways_to_agree_lead_to_the_same_secret() {
        use rand::{rngs::SmallRng, Rng, SeedableRng};
        let mut rng = SmallRng::seed_from_u64(25519);
        let mut twisted = 0;
        for i in 0..200 {
            let (private, mut public): ([u8; 32], [u8; 32]) = (rng.random(), rng.random());
            if i % 8 == 0 {
                // Not reduced, and with the bit that is to be ignored.
                public = [0xff; 32];
                public[0] = 0xed + rng.random_range(0..19);
            }
            let point = MontgomeryPoint(public);
            twisted += usize::from(point.to_edwards(0).is_none());
            assert_eq!(super::agree(&private, point).to_bytes(), point.mul_clamped(private).to_bytes());
        }
        assert!((50..150).contains(&twisted), "both ways were gone: {twisted}");
    }

    #[test]
    fn points_of_small_order_are_refused() {
        // All that there are of orders 1, 2, 4 and 8 on the curve and on its twist, those included that are not reduced: p and p + 1.
        for point in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut point = hex(point);
            for private in [[7; 32], [0x80; 32]] {
                assert!(agree(private, point).is_err(), "{point:?}");
            }
            // The highest bit is to be ignored.
            point[31] |= 0x80;
            assert!(agree([7; 32], point).is_err(), "{point:?}");
        }
    }

    #[test]
    fn a_kept_public_key_is_taken_over_and_a_missing_one_computed() {
        let key = StaticKey::new(&[9; 32]);
        for bytes in [&key.both[..], &key.both[..32]] {
            let mut dh = X25519::default();
            dh.set(bytes);
            assert_eq!((dh.pubkey(), dh.privkey()), (&key.public[..], &[9; 32][..]));
        }
    }

    #[test]
    fn drawn_randomness_is_given_once() {
        let (mut drawn, mut out) = (Drawn(Some(Zeroizing::new([5; 32]))), [0; 32]);
        drawn.try_fill_bytes(&mut out).unwrap();
        assert_eq!(out, [5; 32]);
        assert!(drawn.try_fill_bytes(&mut out).is_err());
    }
}
