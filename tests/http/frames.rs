//! WebSockets: peers like others, and frames that RFC 6455 forbids.

use std::time::Duration;

use gamekeeper::server::block_list::BlockList;
use gamekeeper::server::events::{DisconnectReason, Door};
use gamekeeper::server::http::RouteAction;

use crate::world::{get, handshake, world, Line, Seen};

/// A frame as a client sends it: masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message as the server sends it: the first byte of a frame that would have it alone, and its payload. `None`: it has closed.
pub fn received(line: &mut Line) -> Option<(u8, Vec<u8>)> {
    let (mut first, mut message) = (None, Vec::new());
    loop {
        let head = line.take(2)?;
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        let length = match head[1] {
            126 => u16::from_be_bytes(line.take(2)?.try_into().unwrap()).into(),
            127 => u64::from_be_bytes(line.take(8)?.try_into().unwrap()),
            length => length.into(),
        };
        assert!(length <= 64 << 10, "a frame of {length} bytes");
        // All behind the first continue it.
        assert_eq!(first.is_some(), head[0] & 0x0f == 0);
        message.extend(line.take(length as usize)?);
        let first = *first.get_or_insert(head[0]);
        if head[0] & 0x80 != 0 {
            return Some((first | 0x80, message));
        }
    }
}

/// The code of the close frame that comes, whatever comes before it; `None`: it closes without one.
fn close_code(line: &mut Line) -> Option<u16> {
    while let Some((first, payload)) = received(line) {
        if first == 0x88 {
            return payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        }
    }
    None
}

#[test]
fn a_websocket_is_a_peer_like_any_other() {
    let world = world(|_| {});
    let mut line = world.connect().upgrade("/ws?x=1");
    assert_eq!(world.next(), Seen::Connect(Door::Websocket, true));
    assert_eq!(world.server.peers().len(), 1);
    line.send(frame(0x81, "grüß".as_bytes()));
    assert_eq!(world.next(), Seen::Message(1, "grüß".into()));
    assert_eq!(received(&mut line), Some((0x81, "grüß".into())));
    // Long ones, of text with a character at every border of a fragment.
    let long = "€".repeat(70_000).into_bytes();
    for (first, channel) in [(0x82, 0), (0x81, 1)] {
        line.send(frame(first, &long));
        assert_eq!(world.next(), Seen::Message(channel, long.clone()));
        assert_eq!(received(&mut line), Some((first, long.clone())));
    }
    // In fragments, with a ping between them.
    line.send([frame(0x01, b"a"), frame(0x89, b"ping"), frame(0x00, b"b"), frame(0x80, b"c")].concat());
    assert_eq!(received(&mut line), Some((0x8a, b"ping".to_vec())));
    assert_eq!(received(&mut line), Some((0x81, b"abc".to_vec())));
    assert_eq!(world.next(), Seen::Message(1, b"abc".to_vec()));
    // Empty messages, and a pong that nobody asked for.
    line.send([frame(0x8a, b"?"), frame(0x81, b"")].concat());
    assert_eq!(received(&mut line), Some((0x81, vec![])));
    assert_eq!(world.next(), Seen::Message(1, vec![]));
    line.send(frame(0x88, b"\x0f\xa0bored"));
    assert_eq!(world.next(), Seen::Disconnect(DisconnectReason::Remote, 4000, "bored".into()));
    assert_eq!(close_code(&mut line), Some(4000));
    assert!(line.is_closed());
}

#[test]
fn the_server_closes_with_its_words_and_blocks_addresses() {
    let world = world(|_| {});
    let mut line = world.connect().upgrade("/ws");
    assert!(matches!(world.next(), Seen::Connect(..)));
    line.send(frame(0x81, b"kick me"));
    assert_eq!(received(&mut line), Some((0x88, b"\x10\xe1as you wish".to_vec())));
    let mut other = world.connect().upgrade("/ws");
    world.server.set_block_list(BlockList::parse(["127.0.0.1"]).unwrap()).unwrap();
    assert_eq!(close_code(&mut other), Some(1008));
    assert!(world.connect().send(get("/echo/x")).reply().is_none(), "it is not even answered");
    world.server.set_block_list(BlockList::default()).unwrap();
    let mut last = world.connect().upgrade("/ws");
    world.server.stop().unwrap();
    assert_eq!(close_code(&mut last), Some(1001));
}

#[test]
fn a_websocket_brings_the_password_in_its_query() {
    let world = world(|config| {
        config.password = Some(gamekeeper::server::password::Password::new(b"open sesame").unwrap());
    });
    let mut right = world.connect().upgrade("/ws?password=open%20sesame");
    assert_eq!(world.next(), Seen::Connect(Door::Websocket, true));
    right.send(frame(0x81, b"in"));
    assert_eq!(received(&mut right), Some((0x81, b"in".to_vec())));
    for path in ["/ws", "/ws?password=wrong"] {
        assert_eq!(close_code(&mut world.connect().upgrade(path)), Some(1008), "{path}");
    }
}

#[test]
fn a_password_in_clear_is_taken_where_nobody_listens_in_or_where_the_host_says_so() {
    struct Nothing;
    impl gamekeeper::server::events::Handler for Nothing {}
    let open = |address: &str, websockets: bool, allowed: bool| {
        let password = Some(gamekeeper::server::password::Password::new(b"open sesame").unwrap());
        let mut config = gamekeeper::server::config::Config { password, ..Default::default() };
        config.http.set_password_in_clear(allowed);
        config.http.listen(address, None).unwrap();
        if websockets {
            config.http.route_websocket("/ws", RouteAction::Nobody).unwrap();
        }
        gamekeeper::Server::open(config, Box::new(Nothing), "127.0.0.1:0").err().map(|error| error.kind())
    };
    assert_eq!(open("0.0.0.0:0", true, false), Some(gamekeeper::ErrorKind::Argument));
    assert_eq!(open("0.0.0.0:0", true, true), None);
    assert_eq!(open("0.0.0.0:0", false, false), None);
    assert_eq!(open("127.0.0.1:0", true, false), None);
    // What opens at one door alone is told at no other.
    for (own, refused) in [(0, Some(gamekeeper::ErrorKind::Argument)), (1, None)] {
        let password = Some(gamekeeper::server::password::Password::new(b"open sesame").unwrap());
        let mut config = gamekeeper::server::config::Config { password, ..Default::default() };
        config.http.listen("0.0.0.0:0", None).unwrap();
        config.http.listen("127.0.0.1:0", None).unwrap();
        config.http.set_route_door(Some(own)).unwrap();
        config.http.route_websocket("/ws", RouteAction::Nobody).unwrap();
        let opened = gamekeeper::Server::open(config, Box::new(Nothing), "127.0.0.1:0");
        assert_eq!(opened.err().map(|error| error.kind()), refused, "door {own}");
    }
}

/// Whoever is on the block list is gone at once, also where nothing is asked at the moment.
#[test]
fn addresses_that_are_blocked_lose_their_open_connections() {
    let world = world(|config| {
        let limits = config.http.limits_mut();
        (limits.head_timeout, limits.request_timeout) =
            (Duration::from_secs(3600), Duration::from_secs(3600));
    });
    let (mut idle, mut asking) = (world.connect(), world.connect());
    assert_eq!(idle.send(get("/echo/x")).reply().unwrap().status, 200);
    asking.send(get("/later"));
    world.put_off(1);
    world.server.block("127.0.0.1".parse().unwrap()).unwrap();
    assert!(idle.is_closed() && asking.reply().is_none());
    world.server.set_block_list(BlockList::default()).unwrap();
    let mut back = world.connect();
    assert_eq!(back.send(get("/echo/x")).reply().unwrap().status, 200);
    world.server.set_block_list(BlockList::parse(["127.0.0.0/8"]).unwrap()).unwrap();
    assert!(back.is_closed());
}

/// More at once than the server's loop takes in in one turn.
#[test]
fn a_crowd_of_websockets_is_let_in_to_the_last() {
    let world = world(|_| {});
    let mut lines: Vec<Line> = (0..200).map(|_| world.connect()).collect();
    for line in &mut lines {
        line.send([handshake("/ws").into_bytes(), frame(0x81, b"here")].concat());
    }
    for line in &mut lines {
        assert_eq!(line.reply().unwrap().status, 101);
        assert_eq!(received(line), Some((0x81, b"here".to_vec())));
    }
    assert_eq!(world.server.peers().len(), 200);
}

#[test]
fn handshakes_that_are_none_are_refused() {
    let world = world(|_| {});
    let right = handshake("/ws");
    for (what, with, status) in [
        ("Upgrade: WebSocket\r\n", "", 426),
        ("Connection: keep-alive, Upgrade\r\n", "", 426),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==\r\n", "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x\r\n", 400),
        ("HTTP/1.1", "HTTP/1.0", 426),
        ("GET", "POST", 405),
        ("/ws", "/closed", 403),
        ("Host: x\r\n", "Host: x\r\nContent-Length: 1\r\n", 400),
        ("Host: x\r\n", "Host: x\r\nTransfer-Encoding: chunked\r\n", 400),
    ] {
        assert!(right.contains(what));
        let mut line = world.connect();
        let reply = line.send(right.replacen(what, with, 1)).reply().unwrap();
        assert_eq!(reply.status, status, "{what} -> {with}");
    }
    let reply = world.connect().send(right).reply().unwrap();
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

/// RFC 6455, case by case: what is sent, and the code that the connection is closed with.
#[test]
fn frames_that_the_standard_forbids_end_their_connection_alone() {
    let world = world(|config| config.max_message_size = 100_000);
    let mut witness = world.connect().upgrade("/ws");
    assert!(matches!(world.next(), Seen::Connect(..)));
    let unmasked = |first: u8| vec![first, 1, b'a'];
    let length = |first: u8, bytes: &[u8]| [&[first][..], bytes, &[0, 0, 0, 0]].concat();
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("5.1: a frame without a mask", unmasked(0x81), &[1002]),
        ("5.1: a control frame without a mask", unmasked(0x89), &[1002]),
        ("5.2: RSV1 without an extension", frame(0xc1, b"a"), &[1002]),
        ("5.2: RSV2", frame(0xa1, b"a"), &[1002]),
        ("5.2: RSV3", frame(0x91, b"a"), &[1002]),
        ("5.2: opcode 3", frame(0x83, b"a"), &[1002]),
        ("5.2: opcode 7", frame(0x87, b"a"), &[1002]),
        ("5.2: opcode 11", frame(0x8b, b"a"), &[1002]),
        ("5.2: opcode 15", frame(0x8f, b"a"), &[1002]),
        (
            "5.2: a length with its highest bit set",
            length(0x82, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 1]),
            &[1002, 1009],
        ),
        (
            "5.2: a frame longer than any message may be",
            length(0x82, &[0xff, 0, 0, 0, 0, 0, 2, 0, 0]),
            &[1009],
        ),
        ("5.4: a continuation of nothing", frame(0x80, b"a"), &[1002]),
        ("5.4: a message inside of another", [frame(0x01, b"a"), frame(0x81, b"b")].concat(), &[1002]),
        ("5.4: a binary one inside of a text", [frame(0x01, b"a"), frame(0x02, b"b")].concat(), &[1002]),
        (
            "5.4: fragments longer than any message may be",
            [frame(0x02, &[0; 60_000]), frame(0x80, &[0; 60_000])].concat(),
            &[1009],
        ),
        ("5.5: a fragmented ping", frame(0x09, b"a"), &[1002]),
        ("5.5: a fragmented close", frame(0x08, b""), &[1002]),
        ("5.5: a ping of 126 bytes", frame(0x89, &[0; 126]), &[1002]),
        ("5.5: a close of 126 bytes", frame(0x88, &[0; 126]), &[1002]),
        ("5.5.1: a close with half a code", frame(0x88, b"\x03"), &[1002]),
        ("7.4.1: code 1005 on the wire", frame(0x88, &1005u16.to_be_bytes()), &[1002]),
        ("7.4.1: code 1006 on the wire", frame(0x88, &1006u16.to_be_bytes()), &[1002]),
        ("7.4.2: code 999", frame(0x88, &999u16.to_be_bytes()), &[1002]),
        ("7.4.2: code 5000", frame(0x88, &5000u16.to_be_bytes()), &[1002]),
        ("8.1: text that is not UTF-8", frame(0x81, b"a\xff"), &[1007]),
        ("8.1: a surrogate", frame(0x81, b"\xed\xa0\x80"), &[1007]),
        ("8.1: an overlong form", frame(0x81, b"\xc0\xaf"), &[1007]),
        ("8.1: half a character at the end", [frame(0x01, b"\xc3"), frame(0x80, b"")].concat(), &[1007]),
        ("8.1: a reason that is not UTF-8", frame(0x88, b"\x03\xe8\xff"), &[1007, 1002]),
    ];
    for (what, bytes, codes) in cases {
        let mut line = world.connect().upgrade("/ws");
        assert!(matches!(world.next(), Seen::Connect(..)), "{what}");
        line.send(&bytes);
        let code = close_code(&mut line);
        assert!(code.is_some_and(|code| codes.contains(&code)), "{what}: {code:?}");
        assert!(line.is_closed(), "{what}");
        let end = world.next();
        assert!(matches!(end, Seen::Disconnect(..)), "{what}: {end:?}");
    }
    // Whoever else is there has noticed nothing.
    witness.send(frame(0x81, b"still here"));
    assert_eq!(received(&mut witness), Some((0x81, b"still here".to_vec())));
    assert_eq!(world.server.peers().len(), 1);
}

#[test]
fn a_split_character_is_whole_in_the_end_and_an_abort_is_an_end() {
    let world = world(|_| {});
    let mut line = world.connect().upgrade("/ws");
    assert!(matches!(world.next(), Seen::Connect(..)));
    // A byte at a time.
    for byte in [frame(0x01, b"\xc3"), frame(0x80, b"\xbc")].concat() {
        line.send([byte]);
    }
    assert_eq!(world.next(), Seen::Message(1, "ü".into()));
    // Gone in the middle of a frame.
    line.send(&frame(0x81, b"half")[..3]);
    drop(line);
    assert!(matches!(world.next(), Seen::Disconnect(..)));
}
