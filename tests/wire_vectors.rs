//! mpgameserver's wire against vectors recorded from the real package: everything that it sent is read as it
//! was meant, and built again byte for byte.
//!
//! `tests/vectors/make_mpgameserver.py` recorded them.

use gamekeeper::protocol::ack::Acks;
use gamekeeper::protocol::crypto::{self, Aead, CryptoError, Point, SigningKey};
use gamekeeper::protocol::handshake::mpgameserver as handshake;
use gamekeeper::protocol::seq;
use gamekeeper::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, FragmentHeader, Header, Messages, Outgoing, Sizes,
};
use p256::ecdsa::signature::Signer;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/mpgameserver/vectors.json")).expect("the file is JSON")
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().unwrap_or_else(|| panic!("no list {name}"))
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("no text {name} in {of}"))
}

fn number<T: TryFrom<u64>>(of: &Value, name: &str) -> T {
    let n = of[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {of}"));
    T::try_from(n).unwrap_or_else(|_| panic!("{name} is {n}"))
}

fn bytes(of: &Value, name: &str) -> Vec<u8> {
    let hex = text(of, name);
    assert_eq!(hex.len() % 2, 0);
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

fn array<const N: usize>(of: &Value, name: &str) -> [u8; N] {
    bytes(of, name).try_into().unwrap_or_else(|_| panic!("{name} is not {N} bytes"))
}

fn direction(of: &Value) -> Direction {
    match text(of, "direction") {
        "to_server" => Direction::ToServer,
        "to_client" => Direction::ToClient,
        other => panic!("direction {other}"),
    }
}

fn key(of: &Value) -> Option<Aead> {
    of["key"].is_string().then(|| Aead::new(&array(of, "key")).expect("16 bytes"))
}

fn header(of: &Value) -> Header {
    let h = &of["header"];
    Header {
        time: number(h, "time"),
        seq: number(h, "seq"),
        ack: number(h, "ack"),
        kind: number(h, "type"),
        count: number(h, "count"),
        ack_bits: number(h, "ack_bits"),
    }
}

/// The messages as (type, number, body).
fn messages(of: &Value) -> Vec<(u8, u16, Vec<u8>)> {
    list(of, "messages").iter().map(|m| (number(m, "type"), number(m, "msgseq"), bytes(m, "body"))).collect()
}

/// Reads a sealed datagram as the library does: header first, then the payload. `None`: refused.
fn open(datagram: &[u8], direction: Direction, key: &Aead) -> Option<(Header, Vec<u8>)> {
    let header = Header::parse(datagram, direction, crypto::TAG_LEN).ok()?;
    let mut copy = datagram.to_vec();
    let payload = wire::open_sealed(&mut copy, key).ok()?;
    Some((header, payload.to_vec()))
}

fn check_sealed(vector: &Value) {
    let name = text(vector, "name");
    let (datagram, direction) = (bytes(vector, "datagram"), direction(vector));
    let key = key(vector).unwrap_or_else(|| panic!("{name}: no key"));
    let (got, payload) = open(&datagram, direction, &key).unwrap_or_else(|| panic!("{name}: refused"));
    assert_eq!(got, header(vector), "{name}");
    assert_eq!(payload, bytes(vector, "payload"), "{name}");
    let wanted = messages(vector);
    let read: Vec<_> = Messages::new(&got, &payload)
        .map(|m| m.map(|m| (m.kind, m.msgseq, m.body.to_vec())).unwrap_or_else(|e| panic!("{name}: {e:?}")))
        .collect();
    assert_eq!(read, wanted, "{name}");

    let mut built = Vec::new();
    // What the writer derives from the messages must not be taken from the vector.
    let header = Header { kind: 0, count: 0, ..got };
    let outgoing = wanted.iter().map(|(kind, msgseq, body)| {
        let (head, data) = body.split_at(if *kind == kind::APP_FRAGMENT { 6 } else { 0 });
        Outgoing { kind: *kind, msgseq: *msgseq, head, data }
    });
    wire::write_sealed(header, direction, outgoing, &key, &mut built).expect("sealing does not fail");
    assert_eq!(built, datagram, "{name}");
}

#[test]
fn every_sealed_datagram_is_read_and_built_again() {
    let vectors = vectors();
    let all = list(&vectors, "sealed");
    assert!(all.len() >= 60, "{} vectors", all.len());
    for vector in all {
        check_sealed(vector);
    }
    check_sealed(&vectors["handshake"]["challenge_response"]);
}

#[test]
fn acknowledgements_are_told_as_the_package_tells_them() {
    let vectors = vectors();
    let mut seen = 0;
    for vector in list(&vectors, "sealed").iter().filter(|v| v["received"].is_array()) {
        let mut acks = Acks::default();
        for wire in list(vector, "received") {
            let wire = wire.as_u64().and_then(|n| u16::try_from(n).ok()).expect("a number on the ring");
            acks.received(seq::widen(wire, acks.newest()).expect("not before the first"));
        }
        let (name, header) = (text(vector, "name"), header(vector));
        assert_eq!(seq::to_wire(acks.newest()), header.ack, "{name}");
        assert_eq!(acks.bits32(), header.ack_bits, "{name}: {:032b}", acks.bits32());
        seen += 1;
    }
    assert!(seen >= 30, "{seen} patterns");
}

#[test]
fn ring_arithmetic() {
    let vectors = vectors();
    for row in list(&vectors["ring"], "diff") {
        let [a, b, d] = [0, 1, 2].map(|i| row[i].as_i64().expect("a number"));
        assert_eq!(i64::from(seq::diff(a as u16, b as u16)), d, "{a} - {b}");
    }
    for row in list(&vectors["ring"], "add") {
        let [a, n, sum] = [0, 1, 2].map(|i| row[i].as_u64().expect("a number"));
        assert_eq!(u64::from(seq::to_wire(a + n)), sum, "{a} + {n}");
    }
}

fn point(keys: &Value, whose: &str) -> Point {
    crypto::point_of_spki(&bytes(&keys[whose], "spki")).expect("a P-256 key")
}

fn secret(keys: &Value, whose: &str) -> p256::SecretKey {
    p256::SecretKey::from_slice(&bytes(&keys[whose], "scalar")).expect("a scalar")
}

/// Signs as the recording did (RFC 6979), so that the whole answer can be compared.
struct Deterministic(p256::SecretKey);

impl SigningKey for Deterministic {
    fn public(&self) -> Point {
        use p256::elliptic_curve::sec1::ToEncodedPoint;
        self.0.public_key().to_encoded_point(false).as_bytes().try_into().expect("65 bytes")
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(&self.0).sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

#[test]
fn key_agreement() {
    let vectors = vectors();
    let h = &vectors["handshake"];
    for (own, other) in [("client", "server"), ("server", "client")] {
        let theirs = p256::PublicKey::from_sec1_bytes(&point(&h["keys"], other)).expect("on the curve");
        let shared =
            p256::ecdh::diffie_hellman(secret(&h["keys"], own).to_nonzero_scalar(), theirs.as_affine());
        assert_eq!(shared.raw_secret_bytes().to_vec(), bytes(h, "shared_x"));
    }
    assert_eq!(crypto::session_key(&array(h, "shared_x"), &bytes(h, "salt")), Ok(array(h, "session_key")));
    for whose in ["root", "server", "client"] {
        let point = Deterministic(secret(&h["keys"], whose)).public();
        assert_eq!(crypto::spki(&point).to_vec(), bytes(&h["keys"][whose], "spki"));
        // The root key's reader takes the package's own encoding.
        let key = gamekeeper::keys::RootKey::from_der(&bytes(&h["keys"][whose], "pkcs8"));
        assert!(key.is_ok(), "{whose}: {key:?}");
    }
}

#[test]
fn client_hello() {
    let vectors = vectors();
    let h = &vectors["handshake"];
    let (vector, fields) = (&h["client_hello"], &h["client_hello_fields"]);
    let datagram = bytes(vector, "datagram");
    let (head, payload) = wire::open_clear(&datagram, Direction::ToServer).expect("readable");
    assert_eq!(head, header(vector));
    assert_eq!(payload, bytes(vector, "payload"));
    let sizes = Sizes::new(1500);
    assert_eq!(datagram.len(), sizes.hello);
    let hello = handshake::Hello::parse(&head, payload, datagram.len(), &sizes).expect("a hello");
    assert_eq!(hello.client, point(&h["keys"], "client"));
    assert_eq!((hello.seq, hello.bytes), (1, datagram.len()));

    let body = handshake::client_hello(&hello.client, &bytes(fields, "padding"));
    let mut built = Vec::new();
    wire::write_clear(head, Direction::ToServer, 1, &body, &mut built);
    assert_eq!(built, datagram);
}

#[test]
fn server_hello() {
    let vectors = vectors();
    let h = &vectors["handshake"];
    let vector = &h["server_hello"];
    let datagram = bytes(vector, "datagram");
    let (head, payload) = wire::open_clear(&datagram, Direction::ToClient).expect("readable");
    assert_eq!(head, header(vector));
    let (root, stranger) = (point(&h["keys"], "root"), point(&h["keys"], "client"));
    for pinned in [None, Some(&root)] {
        let hello = handshake::parse_server_hello(&payload[2..], pinned).expect("signed by the root key");
        assert_eq!(hello.root, root);
        assert_eq!(hello.ephemeral, point(&h["keys"], "server"));
        assert_eq!(hello.salt, bytes(h, "salt"));
        assert_eq!(hello.token, number::<u32>(h, "token"));
    }
    assert!(handshake::parse_server_hello(&payload[2..], Some(&stranger)).is_err());

    let signer = Deterministic(secret(&h["keys"], "root"));
    let body =
        handshake::server_hello(&signer, &point(&h["keys"], "server"), &bytes(h, "salt"), number(h, "token"))
            .expect("signing does not fail");
    let mut built = Vec::new();
    wire::write_clear(head, Direction::ToClient, 1, &body, &mut built);
    assert_eq!(built, datagram);
}

#[test]
fn challenge_response() {
    let vectors = vectors();
    let h = &vectors["handshake"];
    let body = &bytes(&h["challenge_response"], "payload")[2..];
    assert_eq!(handshake::challenge_response(number(h, "token")), body);
    assert_eq!(handshake::parse_challenge_response(body), Some(number(h, "token")));
    // The same body is where the package's encoding of numbers can be seen from outside.
    for row in list(&vectors["values"], "int") {
        let mut body = vec![0, 132, 0, 3, 1];
        body.extend(bytes(row, "encoded"));
        match text(row, "value").parse::<u32>() {
            Ok(n) => {
                assert_eq!(handshake::challenge_response(n), body);
                assert_eq!(handshake::parse_challenge_response(&body), Some(n));
            }
            Err(_) => assert_eq!(handshake::parse_challenge_response(&body), None, "{row}"),
        }
    }
}

#[test]
fn damaged_datagrams_are_refused() {
    let vectors = vectors();
    let all = list(&vectors, "negative");
    assert!(all.len() >= 40);
    for vector in all {
        let (name, datagram, direction) =
            (text(vector, "name"), bytes(vector, "datagram"), direction(vector));
        match key(vector) {
            Some(key) => assert_eq!(open(&datagram, direction, &key), None, "{name}"),
            None => assert!(wire::open_clear(&datagram, direction).is_err(), "{name}"),
        }
    }
}

/// Rightly sealed nonsense: each is opened, and what is wrong inside is seen.
#[test]
fn malformed_payloads_are_told() {
    let vectors = vectors();
    for vector in list(&vectors, "malformed") {
        let name = text(vector, "name");
        let (datagram, key) = (bytes(vector, "datagram"), key(vector).expect("a key"));
        let (header, payload) = open(&datagram, direction(vector), &key).expect("the tag fits");
        assert_eq!(payload, bytes(vector, "payload"), "{name}");
        let read: Vec<_> = Messages::new(&header, &payload).collect();
        assert!(read.len() <= usize::from(header.count) + 1, "{name}");
        let told = read.iter().any(|m| match m {
            Err(_) => true,
            Ok(m) if m.kind == kind::APP_FRAGMENT => FragmentHeader::parse(m.body).is_none(),
            Ok(m) => m.msgseq == 0 || m.kind == 0 || m.kind > kind::APP_FRAGMENT,
        });
        // Harmless: what each message is stands before it, and the header's type is only the first's copy.
        assert_eq!(told, name != "count 2, header type is not the first's", "{name}: {read:?}");
    }
}
