//! Entry points for fuzzing: any bytes in, and nothing may panic. Compiled for `cargo fuzz` and unit tests only;
//! `fuzz/` holds the targets and their corpus, which a unit test replays.

use std::sync::Arc;
use std::time::Duration;

use super::connection::mpgameserver::Connection;
use super::connection::{native as native_connection, Event, Farewell, Room, Settings, State};
use super::crypto::{Aead, CryptoError, EphemeralKey, Provider, Traffic, TAG_LEN};
use super::delivery::{Limits, Mode};
use super::files::message::Message;
use super::files::{
    name, Event as FileEvent, Exchange, Failure, Quota, Reply, Request, Target, Totals,
    MAX_MESSAGE as MAX_FILE_MESSAGE,
};
use super::fragment::Reassembly;
use super::handshake::mpgameserver::{
    parse_challenge_response, parse_client_hello, parse_server_hello, Established, Hello,
};
use super::handshake::native;
use super::time::Time;
use super::wire::mpgameserver::{
    self as wire, kind, Direction, FragmentHeader, Header, Messages, Sizes, HEADER_LEN,
};
use super::wire::native as native_wire;

const KEY: [u8; 16] = [0x5a; 16];
const MAX_REASSEMBLY: usize = 8192;
const MAX_MESSAGE: usize = 20_000;

/// A datagram: its header, then its payload as it would be once opened.
pub fn header_and_messages(datagram: &[u8]) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        for trailer in [wire::CRC_LEN, TAG_LEN] {
            let Ok(header) = Header::parse(datagram, direction, trailer) else { continue };
            let payload = &datagram[HEADER_LEN..datagram.len() - trailer];
            let mut rest = payload.len();
            for message in Messages::new(&header, payload).flatten() {
                rest = rest.checked_sub(message.body.len()).expect("bodies lie in the payload, side by side");
                if let Some((head, data)) = FragmentHeader::parse(message.body) {
                    assert!(!data.is_empty() && (1..=head.count).contains(&head.index));
                }
            }
        }
        if let Ok((header, payload)) = wire::open_clear(datagram, direction) {
            let _hello = Hello::parse(&header, payload, datagram.len(), &Sizes::new(1500));
        }
    }
}

/// Messages about files, each behind a byte with its length, for an end that sends one and takes whatever it is offered. The disk
/// does what it is asked for, or fails where a message is of length 0.
pub fn file_messages(bytes: &[u8]) {
    let (mut exchange, mut totals) = (Exchange::new(Quota::default()), Totals::default());
    exchange.send("a", "a".into());
    let (mut rest, mut now) = (bytes, Time::default());
    while let Some((&len, more)) = rest.split_first() {
        let (message, more) = more.split_at(more.len().min(usize::from(len)));
        rest = more;
        now = now + Duration::from_secs(1);
        exchange.handle_message(now, message, &mut totals);
        exchange.handle_timeout(now, &mut totals);
        for _ in 0..64 {
            if let Some((file, request)) = exchange.poll_request() {
                let reply = match request {
                    _ if len == 0 => Reply::Failed { failure: Failure::Disk, text: String::new() },
                    Request::Open { .. } => Reply::Opened { size: 70_000, digest: [7; 32] },
                    Request::Read { len, .. } => Reply::Read { data: vec![7; len] },
                    Request::Prepare { .. } => Reply::Prepared { offset: 0 },
                    Request::Write { data } => Reply::Written { len: data.len() },
                    Request::Finish => Reply::Finished { path: "a".into() },
                    Request::Drop { .. } => Reply::Dropped,
                    Request::Close => continue,
                };
                exchange.handle_reply(now, file, reply, &mut totals);
            } else if let Some(event) = exchange.poll_event() {
                if let FileEvent::Offered(file, offer) = event {
                    assert_eq!(name::safe(&offer.name), offer.name);
                    let _gone = exchange.accept(file.number, Target::default(), &mut totals);
                }
            } else if let Some(message) = exchange.poll_message() {
                assert!(message.len() <= MAX_FILE_MESSAGE && Message::read(&message).is_some());
            }
        }
        assert!(totals.files <= Quota::default().files_per_peer);
        assert!(exchange.waiting_bytes() <= 16 * MAX_FILE_MESSAGE);
    }
    exchange.close(&mut totals);
    // Places are kept until the disk has let go of what was in them.
    while let Some((file, request)) = exchange.poll_request() {
        if matches!(request, Request::Drop { .. }) {
            exchange.handle_reply(now, file, Reply::Dropped, &mut totals);
        }
    }
    assert_eq!(totals.files, 0);
}

/// The body of a hello, an answer or a proof.
pub fn handshake_bodies(body: &[u8]) {
    let _point = parse_client_hello(body);
    let _answer = parse_server_hello(body, None);
    let _token = parse_challenge_response(body);
}

/// Random bytes that are the same every time: those of the client in the native handshake's golden vectors.
struct Repeating;

impl Provider for Repeating {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.iter_mut().zip(0x60..).for_each(|(byte, value)| *byte = value);
        Ok(())
    }

    fn ephemeral(&self) -> Result<Box<dyn EphemeralKey>, CryptoError> {
        Err(CryptoError)
    }
}

/// The native server of the golden vectors.
fn native_identity() -> native::Identity {
    let root = std::array::from_fn(|i| i as u8 + 1);
    native::Identity::new(&root, &Repeating).expect("a key is derived from any 32 bytes")
}

/// A native hello, as it is and padded, and whatever a server does with it.
pub fn native_hello(datagram: &[u8]) {
    let (identity, now) = (native_identity(), Time::from_micros(1_700_000_000_000_000));
    let address = ([192, 0, 2, 1], 1474).into();
    let mut padded = datagram.to_vec();
    padded.resize(native::HELLO_LEN.max(datagram.len()), 0);
    for datagram in [datagram, &padded] {
        let mut out = Vec::new();
        match native::Hello::parse(datagram) {
            Ok(hello) => {
                let _valid = identity.cookie_valid(now, address, &hello);
                identity.write_cookie(now, address, &hello, &mut out);
                assert!(out.len() < datagram.len());
                let welcome =
                    native::Welcome::parse(&[0; native::Welcome::LEN]).expect("zeros mean something");
                let timeout = Duration::from_secs(2);
                let taken = identity.accept(now, address, &hello, &welcome, timeout, &Repeating);
                out.clear();
                assert!(taken.is_ok_and(|mut taken| taken.poll_transmit(now, &mut out)) != out.is_empty());
            }
            Err(native::HelloError::Version) => native::write_versions(datagram, &mut out),
            Err(native::HelloError::Malformed) => {}
        }
        assert!(out.len() < datagram.len().max(1));
    }
}

/// What a native client gets while it says hello. Whatever it is, the client is welcome or goes on.
pub fn native_answer(datagram: &[u8]) {
    let now = Time::from_micros(1_700_000_000_000_000);
    for pinned in [Some(native_identity().public()), None] {
        let Ok(mut client) = native::ClientHandshake::new(now, pinned, &Repeating) else { continue };
        let mut out = Vec::new();
        client.poll_transmit(now, &mut out);
        let welcome = client.handle(now, datagram).is_ok_and(|established| established.is_some());
        let due = client.poll_timeout();
        assert_eq!(due.is_none(), welcome);
        let due = due.unwrap_or(now);
        assert!(due <= now + Duration::from_secs(2));
        out.clear();
        assert_eq!(client.poll_transmit(due, &mut out), !welcome);
        assert!(welcome || out.len() == native::HELLO_LEN);
    }
}

/// A native data packet: its header, then its frames as they would be once opened.
pub fn native_frames(datagram: &[u8]) {
    for to_server in [true, false] {
        for newest in [0, 1 << 20, native_wire::MAX_PACKET_NUMBER] {
            let header = native_wire::DataHeader::parse(datagram, to_server, newest);
            assert!(header.is_none_or(|h| h.number > 0 && h.number <= native_wire::MAX_PACKET_NUMBER));
        }
    }
    let mut rest = datagram.len();
    let mut errors = 0;
    for frame in native_wire::Frames::new(datagram) {
        assert_eq!(errors, 0, "nothing follows what cannot be read");
        match frame {
            Err(_) => errors += 1,
            Ok(native_wire::Frame::Ack(ack)) => {
                for largest in [1, u64::from(ack.largest), native_wire::MAX_PACKET_NUMBER] {
                    let mut above = largest + 2;
                    for (low, high) in ack.ranges(largest) {
                        assert!(low > 0 && low <= high && high + 1 < above, "ranges do not touch");
                        above = low;
                    }
                }
            }
            Ok(native_wire::Frame::Message(m)) => {
                rest = rest.checked_sub(m.data.len()).expect("bodies lie in the packet, side by side");
                let mut out = Vec::new();
                native_wire::put_message(&mut out, &m, false);
                let again = native_wire::Frames::new(&out).next();
                assert_eq!(again, Some(Ok(native_wire::Frame::Message(m))), "what is read can be written");
            }
            Ok(_) => {}
        }
    }
}

const NATIVE_CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 1474);
const NATIVE_ID: u32 = 0x0102_0304;

/// A server's end that a client of the golden vectors' keys has just reached.
fn native_server(now: Time) -> Option<(native_connection::Connection, Traffic)> {
    let identity = native_identity();
    let mut client = native::ClientHandshake::new(now, Some(identity.public()), &Repeating).ok()?;
    let mut out = Vec::new();
    client.poll_transmit(now, &mut out);
    let hello = native::Hello::parse(&out).ok()?;
    let welcome = native::Welcome { connection_id: NATIVE_ID, ..native::Welcome::default() };
    let (address, timeout) = (NATIVE_CLIENT.into(), Duration::from_secs(2));
    let taken = identity.accept(now, address, &hello, &welcome, timeout, &Repeating).ok()?;
    let secret = Traffic::new(taken.secrets.to_server);
    let connection = native_connection::Connection::accepted(now, settings(), &taken, welcome).ok()?;
    Some((connection, secret))
}

/// A native connection's life, at the server's end. `script` is that of [`connection`]; the bytes of a datagram are taken as they
/// are, or as frames that are sealed first, under the right key or the next one, from one of three addresses.
pub fn native_connection(script: &[u8]) {
    let mut now = Time::from_micros(1_700_000_000_000_000);
    let Some((mut connection, secret)) = native_server(now) else { return };
    let keys = [Some(secret.clone()), secret.next().ok()];
    let [Some(current), Some(next)] = keys.map(|s| s.and_then(|s| native_wire::PacketKey::new(&s).ok()))
    else {
        return;
    };
    let (mut rest, mut number, mut out) = (script, 0_u64, Vec::new());
    while let Some((what, after)) = rest.split_first() {
        rest = after;
        match what % 8 {
            0 => now = now + Duration::from_millis(u64::from(*what) * 4),
            1 => connection.handle_timeout(now),
            2 => {
                let payload = vec![*what; usize::from(*what) * 20].into();
                let mode = [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered]
                    [usize::from(what >> 3) % 5];
                let _full = connection.send(now, payload, mode, u64::from(*what));
            }
            3 if *what == 251 => connection.close(now, false, Farewell::default()),
            3 if *what == 243 => connection.close(now, true, Farewell::default()),
            3 if *what == 235 => number += 100,
            _ => {
                let Some((len, after)) = rest.split_first_chunk::<2>() else { break };
                let len = usize::from(u16::from_be_bytes(*len)).min(1400).min(after.len());
                let (bytes, after) = after.split_at(len);
                rest = after;
                number += 1;
                let mut datagram = match what % 8 {
                    3 => bytes.to_vec(),
                    7 if *what > 200 => native_sealed(&next, true, number, bytes),
                    _ => native_sealed(&current, false, number, bytes),
                };
                let (ip, port) = NATIVE_CLIENT;
                let from = (ip, port + u16::from(what >> 3 == 5) + 2 * u16::from(what >> 3 == 6)).into();
                let mut room =
                    Room { messages: usize::from(*what), bytes: 100_000, buffers: None, sink: None };
                let _reason = connection.handle_datagram(now, from, &mut datagram, &mut room);
            }
        }
        drain_native(&mut connection, now, &mut out);
    }
}

/// Drains the outputs, and checks what must hold whatever came.
fn drain_native(connection: &mut native_connection::Connection, now: Time, out: &mut Vec<u8>) {
    let mut sent = 0;
    loop {
        out.clear();
        while connection.poll_transmit(now, out).is_some() {
            assert!(out.len() <= native_wire::MAX_DATAGRAM);
            out.clear();
            sent += 1;
            assert!(sent < 1000, "sends without end");
        }
        let mut joins = false;
        while let Some(event) = connection.poll_event() {
            joins |= matches!(event, Event::Join { .. });
        }
        if !joins {
            break;
        }
        connection.accept(now);
    }
    // Parts, and as much of what is held back, by a message more.
    let most = Reassembly::most_bytes(MAX_REASSEMBLY, MAX_MESSAGE) + MAX_REASSEMBLY + MAX_MESSAGE + 64;
    assert!(connection.reassembly_bytes() <= most && connection.queued_messages() <= 64);
    let timer = connection.poll_timeout(now);
    assert!(timer.is_some() || connection.state() == State::Closed);
}

fn native_sealed(key: &native_wire::PacketKey, phase: bool, number: u64, frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = native_wire::put_header(&mut out, Some(NATIVE_ID), phase, number, 0);
    out.extend_from_slice(frames);
    match native_wire::seal(&mut out, 0, header, key, number) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// A connection's life. `script` is a row of records: a byte that says what happens, a length of two bytes where
/// it needs one, and the bytes of a datagram, or of a header's end and a payload that are sealed first.
pub fn connection(script: &[u8]) {
    let Ok(key) = Aead::new(&KEY) else { return };
    let established = Established { key, token: 1, packets_sent: 1, messages_sent: 1, newest_received: 1 };
    let mut now = Time::from_micros(1_700_000_000_000_000);
    let mut connection = Connection::accepted(now, settings(), established);
    let (mut rest, mut seq, mut out) = (script, 1u16, Vec::new());
    while let Some((what, after)) = rest.split_first() {
        rest = after;
        match what % 8 {
            0 => now = now + Duration::from_millis(u64::from(*what) * 4),
            1 => connection.handle_timeout(now),
            2 => {
                let payload = vec![*what; usize::from(*what) * 20].into();
                let mode = [Mode::Once, Mode::BestEffort, Mode::Guaranteed][usize::from(what >> 3) % 3];
                let _full = connection.send(now, payload, mode, u64::from(*what));
            }
            3 if *what == 251 => connection.close(now, false, Farewell::default()),
            3 if *what == 243 => connection.close(now, true, Farewell::default()),
            _ => {
                let Some((len, after)) = rest.split_first_chunk::<2>() else { break };
                let len = usize::from(u16::from_be_bytes(*len)).min(2048).min(after.len());
                let (bytes, after) = after.split_at(len);
                rest = after;
                seq = seq.wrapping_add(1).max(1);
                let mut datagram = if what % 8 == 3 { bytes.to_vec() } else { sealed(seq, bytes) };
                let mut room =
                    Room { messages: usize::from(*what), bytes: 100_000, buffers: None, sink: None };
                let _reason = connection.handle_datagram(now, &mut datagram, &mut room);
            }
        }
        out.clear();
        let mut sent = 0;
        while connection.poll_transmit(now, &mut out) {
            sent += 1;
            assert!(sent < 1000, "sends without end");
        }
        while connection.poll_event().is_some() {}
        let most = Reassembly::most_bytes(MAX_REASSEMBLY, MAX_MESSAGE);
        assert!(connection.reassembly_bytes() <= most && connection.queued_messages() <= 64);
        if connection.state() == State::Connected {
            assert!(connection.poll_timeout(now).is_some());
        }
    }
}

/// Eight bytes of `bytes` become the header's ack, type, count and ack bits, the others the payload.
fn sealed(seq: u16, bytes: &[u8]) -> Vec<u8> {
    let Some((head, payload)) = bytes.split_first_chunk::<8>() else { return bytes.to_vec() };
    let mut out = Vec::new();
    out.extend_from_slice(b"FSOS\x65\x53\xf1\x00");
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&head[..2]);
    out.push(kind::CHALLENGE_RESP + head[2] % 5);
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    out.push(head[3]);
    out.extend_from_slice(&head[4..]);
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&out[..12]);
    let mut body = payload.to_vec();
    let tag = Aead::new(&KEY).and_then(|key| key.seal(nonce, &out, &mut body)).unwrap_or_default();
    out.extend_from_slice(&body);
    out.extend_from_slice(&tag);
    out
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        limits: Arc::new(Limits {
            sizes: Sizes::new(1500),
            keep_alive: Duration::from_millis(100),
            message_timeout: Duration::from_secs(1),
            max_messages: 64,
            max_bytes: 100_000,
            max_message: MAX_MESSAGE,
        }),
        connection_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(2),
        send_interval: Duration::from_micros(16_667),
        reassembly_timeout: Duration::from_secs(5),
        max_reassembly_bytes: MAX_REASSEMBLY,
        redundancy: 0,
        files: false,
    })
}
