//! What is written is read as it was, for thousands of random values; and what is read is written as it was.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::provider::{TestProvider, TestRoot};
use crate::protocol::crypto::{Aead, Provider, SigningKey, TAG_LEN};
use crate::protocol::handshake::mpgameserver::{
    challenge_response, client_hello, parse_challenge_response, parse_client_hello, parse_server_hello,
    put_int, server_hello, token_from, Reader,
};
use crate::protocol::wire::mpgameserver::{
    self as wire, Direction, FragmentHeader, Header, Messages, Outgoing, Sizes, MAX_FRAGMENTS,
};

fn random_header(rng: &mut SmallRng) -> Header {
    Header {
        time: rng.random(),
        seq: rng.random_range(1..=u16::MAX),
        ack: rng.random(),
        kind: rng.random_range(1..=7),
        count: rng.random(),
        ack_bits: rng.random(),
    }
}

fn random_bytes(rng: &mut SmallRng, most: usize) -> Vec<u8> {
    (0..rng.random_range(0..=most)).map(|_| rng.random()).collect()
}

#[test]
fn sealed_datagrams() {
    let mut rng = SmallRng::seed_from_u64(1);
    for round in 0..5000 {
        let key = Aead::new(&rng.random()).unwrap();
        let direction = if rng.random() { Direction::ToServer } else { Direction::ToClient };
        let header = random_header(&mut rng);
        let count = [0, 1, 2, rng.random_range(0..=255)][round % 4];
        let messages: Vec<(u8, u16, Vec<u8>, Vec<u8>)> = (0..count)
            .map(|_| {
                let (head, data) = (random_bytes(&mut rng, 6), random_bytes(&mut rng, 40));
                // The first message's type becomes the header's, which has to be a known one.
                (rng.random_range(1..=7), rng.random(), head, data)
            })
            .collect();
        let outgoing = messages.iter().map(|(kind, msgseq, head, data)| Outgoing {
            kind: *kind,
            msgseq: *msgseq,
            head,
            data,
        });
        let mut out = vec![9; 3];
        wire::write_sealed(header, direction, outgoing, &key, &mut out).unwrap();
        let mut datagram = out.split_off(3);
        assert_eq!(out, [9; 3], "what stood in the buffer stays");
        let read = Header::parse(&datagram, direction, TAG_LEN).unwrap();
        let kind = messages.first().map_or(wire::kind::KEEP_ALIVE, |m| m.0);
        assert_eq!(read, Header { kind, count: count as u8, ..header });
        assert!(Header::parse(&datagram, direction.reverse(), TAG_LEN).is_err());
        let payload = wire::open_sealed(&mut datagram, &key).unwrap();
        let bodies = messages.iter().map(|m| m.2.len() + m.3.len()).sum();
        assert_eq!(payload.len(), wire::payload_len(count, bodies));
        let all: Vec<_> = Messages::new(&read, payload).map(|m| m.unwrap()).collect();
        assert_eq!(all.len(), count);
        for (read, (kind, msgseq, head, data)) in all.iter().zip(&messages) {
            assert_eq!((read.kind, read.msgseq), (*kind, *msgseq));
            assert_eq!(read.body, [&head[..], data].concat());
        }
    }
}

#[test]
fn clear_datagrams_and_fragment_headers() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..5000 {
        let (header, body) = (random_header(&mut rng), random_bytes(&mut rng, 300));
        let (msgseq, mut out) = (rng.random::<u16>(), Vec::new());
        wire::write_clear(header, Direction::ToServer, msgseq, &body, &mut out);
        let (read, payload) = wire::open_clear(&out, Direction::ToServer).unwrap();
        assert_eq!(read, Header { count: 1, ..header });
        assert_eq!(payload, [&msgseq.to_be_bytes(), &body[..]].concat());
        let count = rng.random_range(1..=MAX_FRAGMENTS);
        let head = FragmentHeader { id: rng.random(), index: rng.random_range(1..=count), count };
        let body = [&head.to_bytes()[..], b"data"].concat();
        assert_eq!(FragmentHeader::parse(&body), Some((head, &b"data"[..])));
    }
}

/// Whatever a reader takes, it took all of it: writing it again gives the same bytes.
#[test]
fn what_is_read_is_written_as_it_was() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut read = 0;
    for _ in 0..200_000 {
        let payload = random_payload(&mut rng);
        let header = Header { count: rng.random_range(2..5), ..random_header(&mut rng) };
        let Ok(all) = Messages::new(&header, &payload).collect::<Result<Vec<_>, _>>() else { continue };
        read += 1;
        let mut again = Vec::new();
        for m in all {
            again.extend_from_slice(&(m.body.len() as u16).to_be_bytes());
            again.extend_from_slice(&m.msgseq.to_be_bytes());
            again.push(m.kind);
            again.extend_from_slice(m.body);
        }
        assert_eq!(again, payload);
    }
    assert!(read > 1000, "{read}");
    for _ in 0..100_000 {
        let mut body = random_bytes(&mut rng, 9);
        if body.len() > 1 {
            (body[0], body[1]) = (0, rng.random_range(0..9));
        }
        let mut reader = Reader(&body);
        let Some(n) = reader.int() else { continue };
        let mut again = Vec::new();
        put_int(n, &mut again);
        let used = body.len() - reader.0.len();
        // A number may be written longer than it must be; shorter only the least ones, which the package
        // writes longer than it must.
        let least = [-0x80, -0x8000, -0x8000_0000].contains(&n);
        assert!(least || again.len() < used || again == body[..used], "{n}");
    }
}

/// Several messages, some with a length that is a little off.
fn random_payload(rng: &mut SmallRng) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..rng.random_range(2..5) {
        let body = random_bytes(rng, 5);
        let len = body.len() as u16 + u16::from(rng.random_bool(0.1));
        payload.extend_from_slice(&len.to_be_bytes());
        payload.extend_from_slice(&rng.random::<[u8; 3]>());
        payload.extend_from_slice(&body);
    }
    payload
}

#[test]
fn handshake_bodies() {
    let mut rng = SmallRng::seed_from_u64(4);
    let (root, provider) = (TestRoot::from_seed(4), TestProvider::new(4));
    for _ in 0..50 {
        let public = provider.ephemeral().unwrap().public();
        let padding = random_bytes(&mut rng, 50);
        assert_eq!(parse_client_hello(&client_hello(&public, &padding)), Some(public));
        let (salt, token) = (random_bytes(&mut rng, 200), token_from(rng.random()));
        assert_eq!(token >> 30, 1);
        let body = server_hello(&root, &public, &salt, token).unwrap();
        for pin in [Some(root.public()), None] {
            let read = parse_server_hello(&body, pin.as_ref()).unwrap();
            assert_eq!((read.root, read.ephemeral, read.token), (root.public(), public, token));
            assert_eq!(read.salt, salt);
        }
        assert!(parse_server_hello(&body, Some(&public)).is_err(), "another key is pinned");
        assert_eq!(parse_challenge_response(&challenge_response(token)), Some(token));
    }
}

/// Every length goes into fragments that fit, and out again.
#[test]
fn fragments_cover_every_length() {
    for mtu in [576, 577, 1000, 1280, 1492, 1500] {
        let sizes = Sizes::new(mtu);
        for len in (0..6000).chain([100_000, 1_000_000]) {
            let count = sizes.fragments(len);
            if count == 1 {
                assert!(len <= sizes.message);
                continue;
            }
            let last = len - (count - 1) * sizes.fragment;
            assert!(last > 0 && last <= sizes.last_fragment, "{mtu} {len}: {last}");
        }
    }
}
