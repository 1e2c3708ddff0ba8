//! Peers that come in streams: TCP sockets of the standard library against a server over loopback.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gamekeeper::client::{self, ClientConfig, Event as ClientEvent, ServerKey, StreamClient};
use gamekeeper::metrics::server::DropReason;
use gamekeeper::net::pipe::{channel, Arrival};
use gamekeeper::protocol::connection::Farewell;
use gamekeeper::server::block_list::BlockList;
use gamekeeper::server::config::{Config, Framing, StreamDoor};
use gamekeeper::server::events::*;
use gamekeeper::server::password::Password;
use gamekeeper::{Client, ErrorKind, Server};
use support::play::{connect, expect, Recorder, Script, Seen, PATIENCE};

const LOOPBACK: &str = "127.0.0.1:0";

fn config(framing: Framing) -> Config {
    Config { streams: vec![StreamDoor::new(LOOPBACK, framing)], ..Config::default() }
}

fn start(config: Config, handler: Box<dyn Handler>) -> Server {
    Server::start(config, handler, LOOPBACK).expect("a server")
}

fn door(server: &Server) -> SocketAddr {
    server.stream_addresses()[0]
}

fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(door(server)).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn read_exactly(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    stream.read_exact(&mut all).expect("it answers");
    all
}

/// All that comes until the other side has ended; a reset counts as an end.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

fn connected(seen: Seen) -> Option<(PeerId, ConnectInfo)> {
    if let Seen::Connect(peer, info) = seen {
        Some((peer, info))
    } else {
        None
    }
}

fn disconnected(seen: Seen) -> Option<(PeerId, DisconnectInfo)> {
    if let Seen::Disconnect(peer, info) = seen {
        Some((peer, info))
    } else {
        None
    }
}

fn message(seen: Seen) -> Option<Vec<u8>> {
    if let Seen::Message(_, _, data) = seen {
        Some(data)
    } else {
        None
    }
}

/// Waits for what comes about on another thread.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn framed(framing: Framing, data: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Length => [&(data.len() as u32).to_be_bytes()[..], data].concat(),
        Framing::Lines => [data, b"\n"].concat(),
        _ => data.to_vec(),
    }
}

#[test]
fn a_stream_is_a_peer_like_any_other() {
    for framing in [Framing::Raw, Framing::Length, Framing::Lines] {
        let (handler, seen) = Recorder::new(true);
        let server = start(config(framing), handler);
        let mut stream = open(&server);
        let (peer, info) = expect(&seen, connected);
        assert_eq!((info.address, info.door), (stream.local_addr().expect("bound"), Door::Stream));
        for data in [&b"hello"[..], &[7; 4000]] {
            let bytes = framed(framing, data);
            stream.write_all(&bytes).expect("it listens");
            assert_eq!(read_exactly(&mut stream, bytes.len()), bytes, "{framing:?}");
        }
        let known = server.peer_info(peer).expect("a live peer");
        assert_eq!((known.door, known.wire, known.status), (Door::Stream, Wire::Stream, Status::Connected));
        assert_eq!(known.token, info.token);
        until("both directions are counted", || {
            let stats = server.stats();
            stats.bytes_received >= 4005 && stats.bytes_sent >= 4005
        });
        server.set_user_data(peer, 7).expect("a live peer");
        server.group_add("all", peer).expect("a live peer");
        assert_eq!(server.group_send("all", None, b"group", SendOptions::default()).expect("taken").sent, 1);
        let bytes = framed(framing, b"group");
        assert_eq!(read_exactly(&mut stream, bytes.len()), bytes);
        drop(stream);
        let (gone, info) = expect(&seen, disconnected);
        assert_eq!((gone, info.reason), (peer, DisconnectReason::Remote));
        server.stop().expect("stopped");
        TcpStream::connect(door(&server)).expect_err("the port is free");
    }
}

#[test]
fn json_headers_tell_what_the_bytes_are() {
    let (sender, contents) = std::sync::mpsc::channel();
    struct Echo(std::sync::mpsc::Sender<Option<Content>>);
    impl Handler for Echo {
        fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
            let _ = self.0.send(message.content.as_deref().cloned());
            let content = Some(Box::new(Content::of("text/json")));
            let options = SendOptions { content, ..SendOptions::default() };
            server.send(peer, br#"{"result":1}"#, options).expect("room");
        }
    }
    let server = start(config(Framing::Json), Box::new(Echo(sender)));
    let mut stream = open(&server);
    let header = br#"{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": 17}"#;
    let mut bytes = (header.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(br#"{"action":"find"}"#);
    // In pieces, as a network may cut it.
    for piece in bytes.chunks(7) {
        stream.write_all(piece).expect("it listens");
        std::thread::sleep(Duration::from_millis(1));
    }
    let length = u16::from_be_bytes(read_exactly(&mut stream, 2).try_into().expect("two"));
    let header: serde_json::Value =
        serde_json::from_slice(&read_exactly(&mut stream, length.into())).expect("JSON");
    assert_eq!(header["content-type"], "text/json");
    assert_eq!(header["content-encoding"], "utf-8");
    assert_eq!(header["content-length"], 12);
    assert_eq!(read_exactly(&mut stream, 12), br#"{"result":1}"#);
    let told = contents.recv_timeout(PATIENCE).expect("a message");
    assert_eq!(told.map(|c| c.kind).as_deref(), Some("text/json"));
}

#[test]
fn whoever_ends_its_half_still_gets_its_answer() {
    for pulls in [false, true] {
        let (handler, seen) = Recorder::new(!pulls);
        let server = if pulls {
            struct Nothing;
            impl Handler for Nothing {
                fn takes(&self) -> Takes {
                    Takes::default()
                }
            }
            let config = Config { max_queued_events: 1000, ..config(Framing::Lines) };
            start(config, Box::new(Nothing))
        } else {
            start(config(Framing::Lines), handler)
        };
        let mut stream = open(&server);
        stream.write_all(b"question").expect("it listens");
        stream.shutdown(Shutdown::Write).expect("open");
        if pulls {
            let mut answered = false;
            until("the message comes", || {
                for event in server.next_events(100).expect("a queue") {
                    if let Event::Message(peer, message) = event {
                        server.send(peer, &message.data, SendOptions::default()).expect("it still listens");
                        answered = true;
                    }
                }
                answered
            });
        }
        assert_eq!(read_all(&mut stream), b"question\n", "pulls: {pulls}");
        if !pulls {
            assert_eq!(expect(&seen, disconnected).1.reason, DisconnectReason::Remote);
        }
    }
}

#[test]
fn more_messages_than_are_handed_up_at_once_all_come_in_order() {
    struct Numbers(std::sync::mpsc::Sender<u32>);
    impl Handler for Numbers {
        fn message(&mut self, _: &Server, _: PeerId, message: &Message) {
            let number = std::str::from_utf8(&message.data).ok().and_then(|text| text.parse().ok());
            let _over = self.0.send(number.expect("a number"));
        }
    }
    const NUMBERS: u32 = 100_000;
    let (sender, numbers) = std::sync::mpsc::channel();
    let server = start(config(Framing::Lines), Box::new(Numbers(sender)));
    let mut stream = open(&server);
    let text: String = (0..NUMBERS).map(|n| format!("{n}\n")).collect();
    stream.write_all(text.as_bytes()).expect("it listens");
    // What was said before the end of its half is handed up, too.
    stream.shutdown(Shutdown::Write).expect("open");
    for n in 0..NUMBERS {
        assert_eq!(numbers.recv_timeout(PATIENCE), Ok(n));
    }
}

#[test]
fn several_doors_and_the_datagrams_are_one_server() {
    let mut config = config(Framing::Raw);
    config.streams.push(StreamDoor::new(LOOPBACK, Framing::Lines));
    let (handler, seen) = Recorder::new(true);
    let server = start(config, handler);
    let mut raw = open(&server);
    let mut lines = TcpStream::connect(server.stream_addresses()[1]).expect("somebody listens");
    lines.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let player = connect(&server);
    let mut doors: Vec<Door> = (0..3).map(|_| expect(&seen, connected).1.door).collect();
    doors.sort_by_key(|door| *door as i32);
    assert_eq!(doors, [Door::Udp, Door::Stream, Door::Stream]);
    raw.write_all(b"a\nb").expect("it listens");
    lines.write_all(b"one\ntwo\n").expect("it listens");
    assert_eq!(read_exactly(&mut raw, 3), b"a\nb");
    assert_eq!(read_exactly(&mut lines, 8), b"one\ntwo\n");
    assert_eq!((server.peers().len(), server.stats().peers), (3, 3));
    let reach = server.broadcast(None, b"all", SendOptions::default()).expect("taken");
    assert_eq!((reach.sent, reach.refused), (3, 0));
    assert_eq!(read_exactly(&mut lines, 4), b"all\n");
    drop(player);
}

#[test]
fn what_callbacks_queue_leaves_in_the_same_turn() {
    // A polled server: what a poll's callbacks send is there when the poll returns.
    let (handler, seen) = Recorder::new(true);
    let server = Server::open(config(Framing::Lines), handler, LOOPBACK).expect("a server");
    let mut stream = open(&server);
    stream.write_all(b"ping\n").expect("it listens");
    until("the message is handled", || {
        server.poll(Some(Duration::from_millis(100))).expect("it runs");
        seen.try_iter().any(|s| message(s).is_some())
    });
    stream.set_nonblocking(true).expect("an option");
    let mut answer = [0; 5];
    // Over loopback it has arrived when it has been written.
    assert_eq!(stream.read(&mut answer).expect("it is there"), 5);
    assert_eq!(&answer, b"ping\n");
}

#[test]
fn the_first_message_is_the_password() {
    let password = Some(Password::new(b"open sesame").expect("a password"));
    let (handler, seen) = Recorder::new(true);
    let server = start(Config { password, ..config(Framing::Lines) }, handler);
    let mut wrong = open(&server);
    wrong.write_all(b"hello\nhello again\n").expect("it listens");
    assert_eq!(read_all(&mut wrong), b"");
    let mut right = open(&server);
    right.write_all(b"open sesame\nhello\n").expect("it listens");
    assert_eq!(read_exactly(&mut right, 6), b"hello\n");
    let (_, info) = expect(&seen, connected);
    assert_eq!(info.address, right.local_addr().expect("bound"));
    until("the refusal is counted", || server.stats().refusals == 1);
    assert_eq!(server.stats().connects, 1);
}

#[test]
fn a_password_is_not_taken_in_clear_but_where_the_host_says_so() {
    let password = Some(Password::new(b"secret").expect("a password"));
    for (address, in_clear, starts) in [
        ("0.0.0.0:0", false, false),
        ("0.0.0.0:0", true, true),
        (LOOPBACK, false, true),
        ("[::1]:0", false, true),
    ] {
        let door = StreamDoor { password_in_clear: in_clear, ..StreamDoor::new(address, Framing::Lines) };
        let config = Config { password: password.clone(), streams: vec![door], ..Config::default() };
        let (handler, _seen) = Recorder::new(false);
        match Server::start(config, handler, LOOPBACK) {
            Ok(server) => {
                assert!(starts, "{address}");
                server.stop().expect("stopped");
            }
            Err(error) => {
                assert!(!starts, "{address}: {error}");
                assert_eq!(error.kind(), ErrorKind::Argument);
                assert!(error.to_string().contains("password"), "{error}");
            }
        }
    }
}

#[test]
fn bad_doors_are_refused_with_what_is_wrong() {
    let taken = std::net::TcpListener::bind(LOOPBACK).expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    let raw = StreamDoor::new(LOOPBACK, Framing::Raw);
    let held = std::net::TcpListener::bind(&taken);
    for (door, kind, text) in [
        (StreamDoor { read_bytes: 0, ..raw.clone() }, ErrorKind::Argument, "read_bytes"),
        (StreamDoor { stall_timeout: Duration::ZERO, ..raw.clone() }, ErrorKind::Argument, "stall_timeout"),
        (StreamDoor { framing: Framing::Whole, ..raw.clone() }, ErrorKind::Argument, "framing"),
        (StreamDoor { address: "nonsense".into(), ..raw.clone() }, ErrorKind::Address, "nonsense"),
        (StreamDoor { address: taken.clone(), ..raw.clone() }, ErrorKind::AddressInUse, &taken),
    ] {
        let config = Config { streams: vec![door], ..Config::default() };
        let (handler, _seen) = Recorder::new(false);
        let error = Server::start(config, handler, LOOPBACK).err().expect("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    drop(held);
}

#[test]
fn a_full_queue_refuses_tells_when_it_has_room_and_loses_nothing() {
    let (handler, seen) = Recorder::new(false);
    let config = Config { max_queued_bytes: 1 << 20, ..config(Framing::Length) };
    let server = start(config, handler);
    let mut stream = open(&server);
    let (peer, _) = expect(&seen, connected);
    let mut sent = 0u32;
    let refused = loop {
        let mut data = vec![0; 10_000];
        data[..4].copy_from_slice(&sent.to_be_bytes());
        match server.send(peer, &data, SendOptions::default()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100_000, "the queue has no bound");
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let check = |stream: &mut TcpStream, number: u32| {
        let bytes = read_exactly(stream, 10_004);
        assert_eq!(bytes[..8], [&10_000u32.to_be_bytes()[..], &number.to_be_bytes()[..]].concat());
    };
    (0..sent).for_each(|number| check(&mut stream, number));
    expect(&seen, |s| matches!(s, Seen::Writable(p) if p == peer).then_some(()));
    server.send(peer, &[&sent.to_be_bytes()[..], &[0; 9996]].concat(), SendOptions::default()).expect("room");
    check(&mut stream, sent);
}

#[test]
fn a_peer_that_fails_touches_no_other() {
    let (sender, seen) = std::sync::mpsc::channel();
    // An echo that takes no part in a full queue.
    let handler = Box::new(Script(move |server: &Server, event| {
        if let Seen::Message(peer, _, data) = &event {
            let _ = server.send(*peer, data, SendOptions::default());
        }
        let _ = sender.send(event);
    }));
    let config = Config {
        max_message_size: 100_000,
        streams: vec![StreamDoor {
            stall_timeout: Duration::from_millis(300),
            ..StreamDoor::new(LOOPBACK, Framing::Length)
        }],
        ..Config::default()
    };
    let server = start(config, handler);
    let mut good = open(&server);
    let mut ping = |n: u8| {
        good.write_all(&framed(Framing::Length, &[n; 10])).expect("it listens");
        assert_eq!(read_exactly(&mut good, 14)[4..], [n; 10]);
    };
    ping(1);
    // A frame above the bound.
    let mut huge = open(&server);
    huge.write_all(&u32::MAX.to_be_bytes()).expect("it listens");
    assert_eq!(read_all(&mut huge), b"");
    let (_, info) = expect(&seen, disconnected);
    assert_eq!(info.reason, DisconnectReason::Protocol);
    ping(2);
    // A reset in the middle of a message: closing with unread data, or lingering for no time.
    let mut cut = open(&server);
    cut.write_all(&[0, 0, 1, 0, 5, 5, 5]).expect("it listens");
    socket2::SockRef::from(&cut).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(cut);
    let (_, info) = expect(&seen, disconnected);
    assert_eq!(info.reason, DisconnectReason::Remote);
    ping(3);
    // One that sends a byte now and then, and one that says nothing at all: the second is no failure.
    let silent = open(&server);
    let mut slow = open(&server);
    slow.write_all(&1000u32.to_be_bytes()).expect("it listens");
    let writer = {
        let mut slow = slow.try_clone().expect("a handle");
        std::thread::spawn(move || {
            while slow.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let (_, info) = expect(&seen, disconnected);
    assert_eq!(info.reason, DisconnectReason::Timeout);
    writer.join().expect("its connection broke");
    ping(4);
    // One that does not read what it is sent.
    let mut deaf = open(&server);
    let echo = framed(Framing::Length, &[9; 50_000]);
    deaf.set_nonblocking(true).expect("an option");
    let end = Instant::now() + PATIENCE;
    loop {
        match deaf.write(&echo) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => break,
            Ok(_) => {}
        }
        assert!(Instant::now() < end, "whoever does not read is kept for ever");
        ping(5);
    }
    ping(6);
    assert_eq!(server.peers().len(), 2, "the good one and the silent one");
    drop(silent);
}

#[test]
fn the_block_list_the_number_of_peers_and_that_of_connections_hold_for_streams() {
    let (handler, seen) = Recorder::new(false);
    let mut wanted = config(Framing::Raw);
    wanted.max_peers = 3;
    wanted.streams[0].max_connections = 2;
    wanted.streams.push(StreamDoor::new(LOOPBACK, Framing::Raw));
    let server = start(wanted, handler);
    let mut first: Vec<TcpStream> = (0..3).map(|_| open(&server)).collect();
    assert_eq!(read_all(&mut first[2]), b"", "the door has as many as it may");
    until("two are in", || server.stats().peers == 2);
    let other = || {
        let stream = TcpStream::connect(server.stream_addresses()[1]).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    let _third = other();
    until("three are in", || server.stats().peers == 3);
    assert_eq!(read_all(&mut other()), b"", "the server has as many as it may");
    until("both are counted", || server.stats().drops[DropReason::Full as usize] == 2);
    drop(first.pop());
    // A place that became free is taken again.
    drop(first.pop());
    expect(&seen, disconnected);
    let _again = open(&server);
    until("three are in again", || server.stats().connects == 4);
    server.set_block_list(BlockList::parse(["127.0.0.1"]).expect("a list")).expect("it runs");
    assert_eq!(read_all(&mut first[0]), b"");
    until("all are out", || server.stats().peers == 0);
    assert_eq!(read_all(&mut open(&server)), b"");
    until("it is counted", || server.stats().drops[DropReason::Blocked as usize] == 1);
}

#[test]
fn a_host_that_pulls_gets_all_in_order_through_a_short_queue() {
    struct Nothing;
    impl Handler for Nothing {
        fn takes(&self) -> Takes {
            Takes::default()
        }
    }
    let config = Config { max_queued_events: 16, ..config(Framing::Lines) };
    let server = start(config, Box::new(Nothing));
    let mut stream = open(&server);
    const MESSAGES: usize = 20_000;
    let writer = std::thread::spawn(move || {
        for n in 0..MESSAGES {
            stream.write_all(format!("{n}\n").as_bytes()).expect("it listens");
        }
        stream
    });
    let mut next = 0;
    until("all messages come", || {
        for event in server.next_events(1000).expect("a queue") {
            if let Event::Message(_, message) = event {
                assert_eq!(message.data, next.to_string().as_bytes());
                next += 1;
            }
        }
        next == MESSAGES
    });
    drop(writer.join().expect("written"));
}

#[test]
fn a_disconnect_after_delivery_delivers_and_one_at_once_ends() {
    let (handler, seen) = Recorder::new(false);
    let server = start(config(Framing::Lines), handler);
    let mut stream = open(&server);
    let (peer, _) = expect(&seen, connected);
    server.send(peer, &[b'x'; 1_000_000], SendOptions::default()).expect("room");
    let info = || DisconnectInfo::new(DisconnectReason::Kicked, "enough");
    server.disconnect(peer, info(), true).expect("a live peer");
    assert_eq!(read_all(&mut stream).len(), 1_000_001);
    let (_, ended) = expect(&seen, disconnected);
    assert_eq!((ended.reason, ended.text.as_str()), (DisconnectReason::Kicked, "enough"));
    let mut stream = open(&server);
    let (peer, _) = expect(&seen, connected);
    server.disconnect(peer, info(), false).expect("a live peer");
    assert_eq!(read_all(&mut stream), b"");
    assert_eq!(expect(&seen, disconnected).0, peer);
}

#[test]
fn a_host_that_decides_is_asked_about_streams_too() {
    struct Doorman(bool);
    impl Handler for Doorman {
        fn takes(&self) -> Takes {
            Takes { authorise: true, ..Takes::ALL }
        }
        fn authorise(&mut self, _: &Server, _: PeerId, request: &JoinRequest) -> Decision {
            assert_eq!((request.door, request.wire), (Door::Stream, Wire::Stream));
            self.0 = !self.0;
            if self.0 {
                Decision::Accept
            } else {
                Decision::Refuse { code: 1001, text: "the second".into() }
            }
        }
        fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
            server.send(peer, &message.data, SendOptions::default()).expect("room");
        }
    }
    let server = start(config(Framing::Lines), Box::new(Doorman(false)));
    let mut first = open(&server);
    first.write_all(b"hi\n").expect("it listens");
    assert_eq!(read_exactly(&mut first, 3), b"hi\n");
    let mut second = open(&server);
    // It may be refused before this is written.
    let _ = second.write_all(b"hi\n");
    assert_eq!(read_all(&mut second), b"");
}

#[test]
fn another_threads_connections_are_peers_with_text_and_words_at_the_end() {
    let (sender, seen) = std::sync::mpsc::channel();
    struct Chat(std::sync::mpsc::Sender<(Option<String>, Vec<u8>)>);
    impl Handler for Chat {
        fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {
            assert_eq!(info.door, Door::Websocket);
            server.send(peer, b"welcome", SendOptions::default()).expect("room");
        }
        fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
            let kind = message.content.as_ref().map(|c| c.kind.clone());
            let _ = self.0.send((kind, message.data.clone()));
            if message.data == b"bye" {
                let info = DisconnectInfo::new(DisconnectReason::Kicked, "go").with_code(4001);
                server.disconnect(peer, info, true).expect("a live peer");
            }
        }
        fn disconnect(&mut self, _: &Server, _: PeerId, info: &DisconnectInfo) {
            let _ = self.0.send((Some(format!("ended {} {}", info.code, info.text)), Vec::new()));
        }
    }
    let server = start(Config::default(), Box::new(Chat(sender)));
    let arrival = |data: &[u8]| Arrival {
        door: Door::Websocket,
        address: "127.0.0.1:4711".parse().expect("an address"),
        framing: Framing::Whole,
        asks_password: false,
        password: None,
        data: data.to_vec(),
        opens_later: false,
        stall_timeout: Duration::from_secs(30),
        read_bytes: 1,
    };
    let enter = || channel::open(&server.entrance(), arrival(b"/chat"), 4, || ()).expect("taken");
    let (one, two) = (enter(), enter());
    let pop = |remote: &channel::Remote| {
        let mut message = None;
        until("a message comes", || {
            message = remote.pop();
            message.is_some()
        });
        message.expect("it came").0.to_vec()
    };
    assert_eq!((pop(&one), pop(&two)), (b"welcome".to_vec(), b"welcome".to_vec()));
    assert_ne!((one.peer(), one.peer() == two.peer()), (0, true));
    // More than fits at once: none is lost, and they come in order.
    for n in 0..1000 {
        let (mut data, mut tries) = (format!("message {n}").into_bytes(), 0);
        while let Err(channel::Full(back)) = one.push(data, Some(Content::of("text/plain"))) {
            std::thread::sleep(Duration::from_millis(1));
            (data, tries) = (back, tries + 1);
            assert!(tries < 20_000, "it never has room");
        }
    }
    for n in 0..1000 {
        let (kind, data) = seen.recv_timeout(PATIENCE).expect("a message");
        assert_eq!((kind.as_deref(), data), (Some("text/plain"), format!("message {n}").into_bytes()));
    }
    // The outbox is bounded, and what waits comes when there is room.
    let peer = PeerId::from_bits(two.peer());
    for n in 0..50u8 {
        server.send(peer, &[n], SendOptions::default()).expect("room in its queue");
    }
    (0..50u8).for_each(|n| assert_eq!(pop(&two), [n]));
    two.push(b"bye".to_vec(), None).expect("room");
    assert_eq!(seen.recv_timeout(PATIENCE).expect("a message"), (None, b"bye".to_vec()));
    until("it is sent away", || two.ended().is_some());
    let said = two.ended().expect("it ended");
    assert_eq!((said.code, said.text.as_str()), (4001, "go"));
    assert_eq!(seen.recv_timeout(PATIENCE).expect("its end").0.as_deref(), Some("ended 4001 go"));
    one.leave(Farewell { code: 4000, text: "bored".into(), ..Farewell::default() });
    assert_eq!(seen.recv_timeout(PATIENCE).expect("its end").0.as_deref(), Some("ended 4000 bored"));
    server.stop().expect("stopped");
    assert!(channel::open(&server.entrance(), arrival(b""), 4, || ()).is_err());
}

#[test]
fn send_rates_hold_for_streams() {
    let (handler, seen) = Recorder::new(false);
    let config = Config { peer_send_rate: 100_000, ..config(Framing::Raw) };
    let server = start(config, handler);
    let mut stream = open(&server);
    let (peer, _) = expect(&seen, connected);
    let start = Instant::now();
    server.send(peer, &[1; 60_000], SendOptions::default()).expect("room");
    assert_eq!(read_exactly(&mut stream, 60_000), [1; 60_000]);
    // A tenth of a second's worth leaves at once, and the rest takes its time: never less than this.
    assert!(start.elapsed() > Duration::from_millis(350), "{:?}", start.elapsed());
}

#[test]
fn ticks_go_on_through_a_storm_of_connections() {
    let (ticks, told) = std::sync::mpsc::channel();
    let handler = Script(move |server: &Server, seen| {
        if let Seen::Message(peer, _, data) = &seen {
            let _ = server.send(*peer, data, SendOptions::default());
        }
        if let Seen::Update(_) = seen {
            let _ = ticks.send(());
        }
    });
    let server = start(config(Framing::Raw), Box::new(handler));
    // Fifty that write without end, and read never.
    let writers: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = open(&server);
            std::thread::spawn(move || {
                let end = Instant::now() + Duration::from_secs(2);
                while Instant::now() < end && stream.write_all(&[1; 4000]).is_ok() {}
            })
        })
        .collect();
    // While they do, others come and go.
    for _ in 0..200 {
        let _ = open(&server).write_all(b"x");
    }
    let before = told.try_iter().count();
    for _ in 0..30 {
        told.recv_timeout(PATIENCE).expect("a tick");
    }
    assert!(before + 30 > 0);
    server.stop().expect("stopped");
    writers.into_iter().for_each(|w| w.join().expect("it ends with its connection"));
}

/// A client of the library's on a stream, and what it was told.
fn client(address: &str, config: ClientConfig) -> (Client, std::sync::mpsc::Receiver<ClientEvent>) {
    struct Told(std::sync::mpsc::Sender<ClientEvent>);
    impl client::Handler for Told {
        fn connected(&mut self, _: &Client, info: &client::ConnectInfo) {
            let _ = self.0.send(ClientEvent::Connected(info.clone()));
        }
        fn message(&mut self, _: &Client, message: &Message) {
            let _ = self.0.send(ClientEvent::Message(message.clone()));
        }
        fn disconnected(&mut self, _: &Client, info: &client::DisconnectInfo) {
            let _ = self.0.send(ClientEvent::Disconnected(info.clone()));
        }
        fn writable(&mut self, _: &Client) {
            let _ = self.0.send(ClientEvent::Writable);
        }
    }
    let (sender, told) = std::sync::mpsc::channel();
    (Client::start(config, Box::new(Told(sender)), address).expect("a client"), told)
}

fn streaming(framing: Framing) -> ClientConfig {
    let stream = StreamClient { framing, ..StreamClient::default() };
    ClientConfig { wire: client::Wire::Stream, stream, ..ClientConfig::new(ServerKey::Any) }
}

fn told(events: &std::sync::mpsc::Receiver<ClientEvent>) -> ClientEvent {
    events.recv_timeout(PATIENCE).expect("it is told")
}

#[test]
fn a_client_of_the_library_connects_through_a_stream() {
    for framing in [Framing::Length, Framing::Lines, Framing::Json] {
        let (handler, seen) = Recorder::new(true);
        let server = start(config(framing), handler);
        let (client, events) = client(&door(&server).to_string(), streaming(framing));
        assert!(matches!(told(&events), ClientEvent::Connected(i) if i.door == Door::Stream), "{framing:?}");
        for data in [&b"hello"[..], &[7; 300_000]] {
            client.send(data, Default::default()).expect("room");
            assert!(matches!(told(&events), ClientEvent::Message(m) if m.data == data), "{framing:?}");
        }
        let (peer, _) = expect(&seen, connected);
        server.disconnect(peer, DisconnectInfo::new(DisconnectReason::Kicked, ""), false).expect("live");
        let ClientEvent::Disconnected(info) = told(&events) else { panic!("{framing:?}") };
        assert_eq!(info.reason, client::DisconnectReason::Remote);
        // And once more, to end it from this side.
        client.reconnect().expect("it runs");
        assert!(matches!(told(&events), ClientEvent::Connected(_)));
        client.send(b"last words", Default::default()).expect("room");
        client.disconnect_wait(PATIENCE).expect("delivered");
        let words = expect(&seen, |s| message(s).filter(|data| data == b"last words"));
        assert_eq!(words, b"last words");
        client.stop().expect("stopped");
    }
}

#[test]
fn a_client_tells_its_password_first_and_to_nobody_in_clear_by_accident() {
    let password = Some(Password::new(b"open sesame").expect("a password"));
    let (handler, _seen) = Recorder::new(true);
    let server = start(Config { password, ..config(Framing::Length) }, handler);
    for (password, enters) in [(&b"open sesame"[..], true), (b"wrong", false)] {
        let config = ClientConfig { password: Some(password.to_vec()), ..streaming(Framing::Length) };
        let (client, events) = client(&door(&server).to_string(), config);
        assert!(matches!(told(&events), ClientEvent::Connected(_)));
        if enters {
            client.send(b"hi", Default::default()).expect("room");
            assert!(matches!(told(&events), ClientEvent::Message(m) if m.data == b"hi"));
        } else {
            assert!(matches!(told(&events), ClientEvent::Disconnected(_)));
        }
    }
    // An address that is nobody's, for documentation: nothing is sent there.
    let config = ClientConfig { password: Some(b"secret".to_vec()), ..streaming(Framing::Length) };
    let (_client, events) = client("192.0.2.1:9", config);
    let ClientEvent::Disconnected(info) = told(&events) else { panic!("it is told in clear") };
    assert!(info.text.contains("password"), "{}", info.text);
}

#[test]
fn nobody_listens_where_a_client_connects() {
    let address = {
        let listener = std::net::TcpListener::bind(LOOPBACK).expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    let (_client, events) = client(&address, streaming(Framing::Raw));
    let ClientEvent::Disconnected(info) = told(&events) else { panic!("somebody listens") };
    assert_eq!(info.reason, client::DisconnectReason::NobodyListens, "{}", info.text);
}

#[test]
fn a_clients_queue_that_was_full_has_room_again() {
    let listener = std::net::TcpListener::bind(LOOPBACK).expect("a port");
    let config = ClientConfig { max_queued_bytes: 1 << 20, ..streaming(Framing::Raw) };
    let (client, events) = client(&listener.local_addr().expect("bound").to_string(), config);
    let (mut stream, _) = listener.accept().expect("it connects");
    assert!(matches!(told(&events), ClientEvent::Connected(_)));
    let mut sent = 0;
    while client.send(&[3; 10_000], Default::default()).is_ok() {
        sent += 10_000;
        assert!(sent < 1 << 30, "the queue has no bound");
    }
    assert_eq!(read_exactly(&mut stream, sent).len(), sent);
    assert!(matches!(told(&events), ClientEvent::Writable));
    stream.write_all(b"bye").expect("open");
    drop(stream);
    assert!(matches!(told(&events), ClientEvent::Message(m) if m.data == b"bye"));
    assert!(matches!(told(&events), ClientEvent::Disconnected(_)));
}
