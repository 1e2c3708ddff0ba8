//! Files in streams: the agreement, and what a program that does not ask notices of it.

use std::sync::Arc;

use super::*;
use crate::protocol::connection::stream::{Connection, Terms};
use crate::protocol::connection::{CloseReason, Door, Event as Happened, Room, State};
use crate::protocol::framing::Framing;
use crate::server::config::Config;

const NOW: Time = Time::from_micros(0);
/// The marked message of no bytes.
const MARK: [u8; 4] = [0x80, 0, 0, 0];

fn shared() -> Arc<Settings> {
    Config { files: Some(Quota::default()), ..Config::default() }.protocol_settings()
}

fn terms(framing: Framing, password: bool) -> Terms {
    let (answer_time, stall_timeout) = (Duration::ZERO, Duration::from_secs(30));
    Terms { door: Door::Stream, framing, password, answer_time, stall_timeout }
}

fn server(framing: Framing, password: bool) -> Connection {
    let mut server = Connection::accepted(NOW, shared(), terms(framing, password), 7);
    server.allow_files();
    server.expect_plain_file();
    server.handle_opened(None, Vec::new());
    server
}

fn client(password: Option<&[u8]>) -> Connection {
    let mut client = Connection::opened(NOW, shared(), terms(Framing::Length, false), password).unwrap();
    client.ask_for_files(NOW);
    client.handle_opened(None, Vec::new());
    client
}

fn events(connection: &mut Connection) -> Vec<Happened> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

/// What one end has written goes to the other, in pieces.
fn pass(from: &mut Connection, to: &mut Connection, piece: usize) {
    let mut out = Vec::new();
    loop {
        from.peek_bytes(NOW, &mut out);
        if out.is_empty() {
            return;
        }
        let taken = piece.min(out.len());
        let mut room = Room::ENDLESS;
        to.handle_bytes(NOW, &out[..taken], &mut room);
        from.handle_written(NOW, taken);
    }
}

#[test]
fn two_ends_agree_behind_the_password_and_then_files_flow() {
    for (password, piece) in [(None, 1), (None, 1000), (Some(&b"secret"[..]), 1), (Some(b"secret"), 1000)] {
        let (mut client, mut server) = (client(password), server(Framing::Length, password.is_some()));
        assert_eq!(client.state(), State::Connecting);
        assert_eq!(client.send(NOW, b"x"[..].into(), FILES, 0), Err(SendError::Unsupported));
        pass(&mut client, &mut server, piece);
        assert_eq!(events(&mut server).len(), 1, "the join");
        server.accept();
        let mut room = Room::ENDLESS;
        server.resume(NOW, &mut room);
        assert_eq!(events(&mut server), [Happened::Writable], "from now on");
        assert!(server.takes_files() && !client.takes_files());
        pass(&mut server, &mut client, piece);
        assert_eq!(events(&mut client), [Happened::Connected]);
        assert!(client.takes_files() && client.state() == State::Connected);
        client.send(NOW, b"for the host"[..].into(), Mode::Ordered.into(), 0).unwrap();
        client.send(NOW, vec![1; MAX_MESSAGE].into(), FILES, 0).unwrap();
        pass(&mut client, &mut server, piece * 100);
        let mut modes = Vec::new();
        for event in events(&mut server) {
            if let Happened::Message { mode, data, .. } = event {
                modes.push((mode, data.len()));
            }
        }
        assert_eq!(modes, [(Some(Mode::Ordered), 12), (Some(Mode::Files), MAX_MESSAGE)]);
        let too_long = vec![1; MAX_MESSAGE + 1];
        assert!(client.send(NOW, too_long.into(), FILES, 0).is_err());
    }
}

#[test]
fn who_does_not_ask_notices_nothing() {
    let mut server = server(Framing::Length, false);
    server.accept();
    events(&mut server);
    let mut room = Room::ENDLESS;
    server.handle_bytes(NOW, b"\0\0\0\x02hi", &mut room);
    assert_eq!(server.send(NOW, b"x"[..].into(), FILES, 0), Err(SendError::Unsupported));
    server.send(NOW, b"hello"[..].into(), Mode::Ordered.into(), 0).unwrap();
    let mut out = Vec::new();
    server.peek_bytes(NOW, &mut out);
    assert_eq!(out, b"\0\0\0\x05hello");
    // What is of files before anybody asked is passed over, and asking twice is as asking once.
    let early = [&[0x80, 0, 0, 1, 5][..], &MARK, &MARK].concat();
    server.handle_bytes(NOW, &early, &mut room);
    assert!(server.takes_files());
    assert_eq!(server.stats().messages_malformed, 2);
    server.peek_bytes(NOW, &mut out);
    assert_eq!(out, [&b"\0\0\0\x05hello"[..], &MARK].concat());
}

#[test]
fn a_door_without_files_ends_whoever_asks_and_who_asked_is_told() {
    let mut server = Connection::accepted(NOW, shared(), terms(Framing::Length, false), 7);
    server.handle_opened(None, Vec::new());
    server.accept();
    let mut client = client(None);
    pass(&mut client, &mut server, 1000);
    let closed = |events: Vec<Happened>| {
        events.into_iter().find_map(|e| if let Happened::Closed(closing) = e { Some(closing) } else { None })
    };
    assert_eq!(closed(events(&mut server)).unwrap().reason, CloseReason::Protocol);
    let mut room = Room::ENDLESS;
    client.handle_end(NOW, &mut room);
    let closing = closed(events(&mut client)).unwrap();
    assert_eq!(closing.reason, CloseReason::Remote);
    assert!(closing.farewell.text.contains("agreed to files"));
}

#[test]
fn a_marked_length_is_bounded_and_comes_behind_the_password() {
    let mut unbounded = server(Framing::Length, false);
    unbounded.accept();
    let mut room = Room::ENDLESS;
    unbounded.handle_bytes(NOW, &(0x8000_0000 | (MAX_MESSAGE as u32 + 1)).to_be_bytes(), &mut room);
    assert!(unbounded.is_closed());
    let mut early = server(Framing::Length, true);
    early.handle_bytes(NOW, &MARK, &mut room);
    assert!(early.is_closed(), "a password is never so long");
}

#[test]
fn a_plain_file_is_handed_up_a_read_at_a_time() {
    let mut server = server(Framing::Raw, false);
    server.accept();
    events(&mut server);
    let mut room = Room::ENDLESS;
    server.handle_bytes(NOW, b"name one", &mut room);
    server.handle_bytes(NOW, b"two", &mut room);
    let piece = |data: &[u8]| {
        let (mode, data) = (Some(Mode::Files), data.to_vec());
        vec![Happened::Message { sequence: 0, channel: 0, mode, data, content: None }]
    };
    assert_eq!(events(&mut server), piece(b"name one"));
    assert!(!server.is_waiting_for_room(), "the file has no room, not the host");
    server.handle_end(NOW, &mut room);
    assert_eq!(events(&mut server), []);
    server.resume_plain_file(NOW, &mut room);
    assert_eq!(events(&mut server), piece(b"two"));
    server.resume_plain_file(NOW, &mut room);
    assert_eq!(events(&mut server), piece(b""), "its end");
    server.resume_plain_file(NOW, &mut room);
    assert_eq!(events(&mut server), piece(b""));
    assert!(!server.is_closed());
    server.finish_plain_file(NOW);
    assert!(server.is_closed());
}
