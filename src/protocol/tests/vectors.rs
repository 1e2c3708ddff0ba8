//! The wire against datagrams recorded from the package: each is read, and rebuilt byte for byte.

use serde_json::Value;

use super::pair::settings;
use super::provider::{FixedProvider, TestRoot};
use crate::protocol::connection::mpgameserver::Connection;
use crate::protocol::connection::{Event, Room};
use crate::protocol::crypto::{self, Aead, CryptoError, Point, Provider, SigningKey, TAG_LEN};
use crate::protocol::handshake::mpgameserver::{
    challenge_response, parse_challenge_response, parse_server_hello, put_bytes, put_int, ClientHandshake,
    Established, Hello, Reader, ServerHandshake,
};
use crate::protocol::seq;
use crate::protocol::time::Time;
use crate::protocol::wire::mpgameserver::{
    self as wire, kind, Direction, FragmentHeader, Header, Messages, Outgoing, Sizes, FRAGMENT_HEADER_LEN,
};

const AT: Time = Time::from_micros(1_700_000_000_000_000);

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/mpgameserver/vectors.json")).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a string of hex digits");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

fn key(value: &Value) -> Aead {
    Aead::new(&bytes(&value["key"]).try_into().expect("16 bytes")).expect("any 16 bytes are a key")
}

fn direction(value: &Value) -> Direction {
    match value["direction"].as_str() {
        Some("to_server") => Direction::ToServer,
        Some("to_client") => Direction::ToClient,
        other => panic!("{other:?}"),
    }
}

fn header(value: &Value) -> Header {
    let field = |name: &str| number(&value["header"][name]);
    Header {
        time: field("time") as u32,
        seq: field("seq") as u16,
        ack: field("ack") as u16,
        kind: field("type") as u8,
        count: field("count") as u8,
        ack_bits: field("ack_bits") as u32,
    }
}

fn sealed(all: &Value) -> Vec<Value> {
    let mut list = all["sealed"].as_array().expect("a list").clone();
    list.push(all["handshake"]["challenge_response"].clone());
    assert!(list.len() > 50);
    list
}

#[test]
fn sealed_datagrams() {
    for v in sealed(&vectors()) {
        let (name, datagram, key, direction) = (&v["name"], bytes(&v["datagram"]), key(&v), direction(&v));
        let header = header(&v);
        assert_eq!(Header::parse(&datagram, direction, TAG_LEN), Ok(header), "{name}");
        let mut copy = datagram.clone();
        let payload = wire::open_sealed(&mut copy, &key).expect("opens");
        assert_eq!(payload, bytes(&v["payload"]), "{name}");
        let messages: Vec<_> = Messages::new(&header, payload).map(|m| m.expect("whole")).collect();
        let listed = v["messages"].as_array().expect("a list");
        assert_eq!(messages.len(), listed.len(), "{name}");
        for (message, listed) in messages.iter().zip(listed) {
            assert_eq!(i64::from(message.kind), number(&listed["type"]), "{name}");
            assert_eq!(i64::from(message.msgseq), number(&listed["msgseq"]), "{name}");
            assert_eq!(message.body, bytes(&listed["body"]), "{name}");
        }
        // Rebuilt as the engine builds: a fragment's header and its data apart.
        let parts: Vec<_> = messages
            .iter()
            .map(|m| match FragmentHeader::parse(m.body).filter(|_| m.kind == kind::APP_FRAGMENT) {
                Some((head, data)) => (head.to_bytes().to_vec(), data),
                None => (Vec::new(), m.body),
            })
            .collect();
        let outgoing = messages.iter().zip(&parts).map(|(m, (head, data))| Outgoing {
            kind: m.kind,
            msgseq: m.msgseq,
            head,
            data,
        });
        let mut built = Vec::new();
        wire::write_sealed(header, direction, outgoing, &key, &mut built).expect("seals");
        assert_eq!(built, datagram, "{name}");
    }
}

#[test]
fn a_connection_takes_what_the_package_sealed() {
    let mut taken = 0;
    for v in sealed(&vectors()) {
        // A connection that has just begun knows no numbers of its later life.
        let messages = v["messages"].as_array().expect("a list");
        let late = messages.iter().any(|m| number(&m["msgseq"]) > 30_000) || number(&v["header"]["seq"]) == 0;
        if direction(&v) != Direction::ToServer || late {
            continue;
        }
        let established =
            Established { key: key(&v), token: 1, packets_sent: 1, messages_sent: 1, newest_received: 1 };
        let mut connection = Connection::accepted(AT, settings().into(), established);
        connection.handle_datagram(AT, &mut bytes(&v["datagram"]), &mut Room { ..Room::ENDLESS }).unwrap();
        // A copy can stand in the same datagram.
        let mut apps: Vec<_> =
            messages.iter().filter(|m| number(&m["type"]) == i64::from(kind::APP)).collect();
        apps.dedup_by_key(|app| number(&app["msgseq"]));
        for app in apps {
            taken += 1;
            let Some(Event::Message { sequence, data, .. }) = connection.poll_event() else { panic!("{v}") };
            assert_eq!((i64::from(sequence), data), (number(&app["msgseq"]), bytes(&app["body"])));
        }
    }
    assert!(taken > 20, "{taken}");
}

fn point(value: &Value) -> Point {
    crypto::point_of_spki(&bytes(value)).expect("a P-256 key")
}

/// Signs what was recorded as signed, with the recorded signature.
struct Recorded {
    public: Point,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl SigningKey for Recorded {
    fn public(&self) -> Point {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        assert_eq!(message, self.signed);
        Ok(self.signature.clone())
    }
}

#[test]
fn the_handshake() {
    let all = vectors();
    let h = &all["handshake"];
    let sizes = Sizes::new(1500);
    let provider = |who: &str, random: &Value| FixedProvider {
        scalar: bytes(&h["keys"][who]["scalar"]),
        random: bytes(random),
    };
    let root = point(&h["keys"]["root"]["spki"]);
    assert_eq!(TestRoot::from_scalar(&bytes(&h["keys"]["root"]["scalar"])).public(), root);

    let client = provider("client", &h["client_hello_fields"]["padding"]);
    let mut client = ClientHandshake::new(AT, Some(root), &sizes, &client).unwrap();
    let mut hello = Vec::new();
    assert!(client.poll_transmit(AT, &mut hello));
    assert_eq!(hello, bytes(&h["client_hello"]["datagram"]));

    let (head, payload) = wire::open_clear(&hello, Direction::ToServer).unwrap();
    assert_eq!(head, header(&h["client_hello"]));
    let parsed = Hello::parse(&head, payload, hello.len(), &sizes).unwrap();
    assert_eq!(parsed.client, point(&h["client_hello_fields"]["public_key"]));

    let server = provider("server", &h["salt"]);
    let fields = &h["server_hello_fields"];
    let recorded =
        Recorded { public: root, signed: bytes(&fields["signed"]), signature: bytes(&fields["signature"]) };
    let token = number(&h["token"]) as u32;
    let address = "[::1]:1".parse().unwrap();
    let timeout = settings().handshake_timeout;
    let mut server =
        ServerHandshake::accept(AT, address, &parsed, token, timeout, &recorded, &server).unwrap();
    let mut answer = Vec::new();
    assert!(server.poll_transmit(AT, &mut answer));
    assert_eq!(answer, bytes(&h["server_hello"]["datagram"]));
    let (_, body) = wire::open_clear(&answer, Direction::ToClient).unwrap();
    let said = parse_server_hello(&body[2..], Some(&root)).unwrap();
    assert_eq!((said.token, said.salt, said.root), (token, bytes(&h["salt"]), root));

    let agreed = provider("client", &h["salt"]).ephemeral().unwrap().agree(&said.ephemeral).unwrap();
    assert_eq!(agreed.to_vec(), bytes(&h["shared_x"]));
    let key = crypto::session_key(&agreed, &bytes(&h["salt"])).unwrap();
    assert_eq!(key.to_vec(), bytes(&h["session_key"]));

    let established = client.handle_answer(&answer).unwrap();
    let proof = bytes(&h["challenge_response"]["datagram"]);
    assert!(wire::open_sealed(&mut proof.clone(), &established.key).is_ok());
    assert!(server.proven_by(&proof, &mut Vec::new()));
    let body = bytes(&h["challenge_response"]["messages"][0]["body"]);
    assert_eq!(challenge_response(token), body);
    assert_eq!(parse_challenge_response(&body), Some(token));
}

#[test]
fn what_must_not_be_read() {
    for v in vectors()["negative"].as_array().expect("a list") {
        let mut datagram = bytes(&v["datagram"]);
        let direction = direction(v);
        let read = if v["key"].is_null() {
            wire::open_clear(&datagram, direction).is_ok()
        } else {
            Header::parse(&datagram, direction, TAG_LEN).is_ok()
                && wire::open_sealed(&mut datagram, &key(v)).is_ok()
        };
        assert!(!read, "{}", v["name"]);
    }
    for v in vectors()["malformed"].as_array().expect("a list") {
        let mut datagram = bytes(&v["datagram"]);
        let header = Header::parse(&datagram, direction(v), TAG_LEN).unwrap();
        let payload = wire::open_sealed(&mut datagram, &key(v)).unwrap();
        assert_eq!(payload, bytes(&v["payload"]));
        let wrong = Messages::new(&header, payload).any(|m| match m {
            Ok(m) if m.kind == kind::APP_FRAGMENT => FragmentHeader::parse(m.body).is_none(),
            Ok(m) => m.msgseq == 0 || m.kind == 0 || m.kind > kind::APP_FRAGMENT,
            Err(_) => true,
        });
        // The header's type is of no account where each message has its own.
        assert_eq!(wrong, v["name"] != "count 2, header type is not the first's", "{}", v["name"]);
    }
}

#[test]
fn rings_and_values() {
    let all = vectors();
    let mut compared = 0;
    for row in all["ring"]["diff"].as_array().expect("a list") {
        let [a, b, d] = [0, 1, 2].map(|i| number(&row[i]));
        if a > 0 && b > 0 {
            assert_eq!(i64::from(seq::diff(a as u16, b as u16)), d, "{row}");
            compared += 1;
        }
    }
    assert!(compared > 50);
    for row in all["ring"]["add"].as_array().expect("a list") {
        let [a, n, sum] = [0, 1, 2].map(|i| number(&row[i]));
        if a >= 0 && n > 0 {
            assert_eq!(i64::from(seq::to_wire((a + n) as u64)), sum, "{row}");
        }
    }
    for v in all["values"]["int"].as_array().expect("a list") {
        // Numbers stand as text: some do not fit into JSON's.
        let n = v["value"].as_i64().unwrap_or_else(|| v["value"].as_str().unwrap().parse().unwrap());
        let mut out = Vec::new();
        put_int(n, &mut out);
        assert_eq!(out, bytes(&v["encoded"]), "{n}");
        assert_eq!(Reader(&out).int(), Some(n));
    }
    for v in all["values"]["bytes"].as_array().expect("a list") {
        let data = vec![
            7;
            v["length"].as_i64().unwrap_or_else(|| v["length"].as_str().unwrap().parse().unwrap())
                as usize
        ];
        let mut out = Vec::new();
        put_bytes(&data, &mut out);
        assert!(out.starts_with(&bytes(&v["prefix"])), "{}", v["length"]);
        assert_eq!(Reader(&out).bytes(), Some(&data[..]).filter(|d| d.len() <= 1 << 20));
    }
    assert_eq!(FRAGMENT_HEADER_LEN, 6);
}
