//! What a native handshake costs the server, beside the primitives that it consists of: `cargo bench --bench handshake`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use curve25519_dalek::montgomery::MontgomeryPoint;
use gamekeeper::crypto::RingProvider;
use gamekeeper::keys::RootKey;
use gamekeeper::protocol::handshake::native::{ClientHandshake, Hello, Welcome};
use gamekeeper::protocol::time::Time;

/// The least time of some spans, so that whatever else the machine does counts little.
fn timed(name: &str, mut part: impl FnMut()) -> f64 {
    const SPANS: u32 = 200;
    const ROUNDS: u32 = 20;
    let mut least = Duration::MAX;
    for _ in 0..SPANS {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| part());
        least = least.min(start.elapsed());
    }
    let us = least.as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{name}: {us:.2} µs");
    us
}

fn main() {
    let provider = RingProvider::new();
    let root = RootKey::generate().expect("the system has randomness");
    let identity = root.native_identity(&provider).expect("the system has randomness");
    let now = Time::from_micros(1_700_000_000_000_000);
    let other = MontgomeryPoint::mul_base_clamped([3; 32]);
    let base = timed("dalek: public key", || {
        black_box(MontgomeryPoint::mul_base_clamped(black_box([7; 32])));
    });
    let ladder = timed("dalek: agreement, ladder", || {
        black_box(black_box(other).mul_clamped(black_box([7; 32])));
    });
    let edwards = timed("dalek: agreement, Edwards", || {
        let point = black_box(other).to_edwards(0).expect("on the curve");
        black_box(point.mul_clamped(black_box([7; 32])).to_montgomery());
    });
    use ring::agreement::{agree_ephemeral, EphemeralPrivateKey, UnparsedPublicKey, X25519};
    let rng = ring::rand::SystemRandom::new();
    let pair = || {
        let key = EphemeralPrivateKey::generate(&X25519, &rng).expect("randomness");
        let public = key.compute_public_key().expect("a key");
        (key, public)
    };
    timed("ring: key", || {
        black_box(pair());
    });
    timed("ring: agreement and key", || {
        let (key, _) = pair();
        black_box(agree_ephemeral(key, &UnparsedPublicKey::new(&X25519, other.as_bytes()), |s| s[0]).is_ok());
    });
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM};
    let gcm = || LessSafeKey::new(UnboundKey::new(&AES_128_GCM, black_box(&[7; 16])).expect("16 bytes"));
    let (ready, mut packet) = (gcm(), [0; 64]);
    let mut seal = |key: &LessSafeKey| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut packet).is_ok());
    };
    timed("ring: AES-128-GCM, 64 bytes", || seal(&ready));
    timed("ring: the same with the key's setup", || seal(&gcm()));
    let address = SocketAddr::from(([10, 0, 0, 1], 4000));
    for (name, pinned) in [("NK", Some(identity.public())), ("NX", None)] {
        let mut client = ClientHandshake::new(now, pinned, &provider).expect("randomness");
        let mut hello = Vec::new();
        assert!(client.poll_transmit(now, &mut hello));
        let hello = Hello::parse(&hello).expect("a hello");
        let whole = timed(&format!("{name}: the server's part"), || {
            let welcome = Welcome::default();
            let timeout = Duration::from_secs(5);
            black_box(identity.accept(now, address, &hello, &welcome, timeout, &provider).expect("it can"));
        });
        // One key is made; the client's is agreed with twice, by the ephemeral key and by the static one.
        println!("{name}: {:.2} times its primitives", whole / (base + 2.0 * ladder.min(edwards)));
    }
    timed("mpgameserver: signature", || {
        black_box(root.sign(black_box(&[5; 200])).expect("it can"));
    });
}
