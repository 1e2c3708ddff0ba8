//! What is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gamekeeper::http::route::Method;
use gamekeeper::server::events::Door;
use gamekeeper::server::http::RouteAction;
use gamekeeper::{ErrorKind, Server};

use crate::world::{get, handshake, world, Line, Seen, PATIENCE};

#[test]
fn requests_reach_the_host_whole() {
    let world = world(|_| {});
    let mut line = world.connect();
    let request = "GET /echo/a%20b?q=1+2&q=3 HTTP/1.1\r\nHost: x\r\nX-Test: one\r\nx-test: two\r\n\r\n";
    let reply = line.send(request).reply().unwrap();
    assert_eq!(
        (reply.status, reply.text()),
        (200, "GET /echo/a%20b \"a b\" Some(\"1 2\") Some(\"one, two\") 0")
    );
    // The same connection, a body in pieces.
    line.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
    let reply = line.send("56789").reply().unwrap();
    assert_eq!(reply.text(), "POST /echo \"-\" None None 10");
    let reply = line.send("HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\n").reply_to("HEAD").unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("28")));
    for (request, status) in [
        (get("/nothing"), 404),
        (get("/echo"), 405),
        ("OPTIONS /echo/a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("get /echo/a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
    ] {
        let reply = line.send(&request).reply().unwrap();
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(reply.header("allow").is_some(), status == 405);
    }
    // What HTTP/1.0 asks is answered, and its connection ends.
    let mut old = world.connect();
    assert_eq!(old.send("GET /echo/a HTTP/1.0\r\n\r\n").reply().unwrap().status, 200);
    assert!(old.is_closed());
}

#[test]
fn a_door_has_its_own_routes_and_those_of_all() {
    let says = |text: &'static str| {
        RouteAction::Call(Arc::new(move |server: &Server, id| server.answer(id, 200, text).unwrap()))
    };
    let world = world(|config| {
        let http = &mut config.http;
        http.listen("127.0.0.1:0", None).unwrap();
        assert_eq!(http.set_route_door(Some(2)).unwrap_err().kind(), ErrorKind::Argument);
        http.set_route_door(Some(0)).unwrap();
        http.route(Method::Get, "/own", says("first")).unwrap();
        http.route(Method::Put, "/first", says("first")).unwrap();
        http.set_route_door(Some(1)).unwrap();
        http.route(Method::Get, "/own", says("second")).unwrap();
        http.route_websocket("/hall", RouteAction::Nobody).unwrap();
        http.set_route_door(None).unwrap();
        http.route(Method::Get, "/all", says("all")).unwrap();
    });
    let addresses = world.server.http_addresses();
    let mut lines = [Line::to(addresses[0]), Line::to(addresses[1])];
    for (door, path, status, text) in [
        (0, "/own", 200, "first"),
        (1, "/own", 200, "second"),
        (0, "/all", 200, "all"),
        (1, "/all", 200, "all"),
        (0, "/first", 405, "no route for this method\n"),
        (1, "/first", 404, "no route for this path\n"),
        (0, "/hall", 404, "no route for this path\n"),
    ] {
        let reply = lines[door].send(get(path)).reply().unwrap();
        assert_eq!((reply.status, reply.text()), (status, text), "{path}");
    }
    let [_, second] = lines;
    second.upgrade("/hall");
    assert_eq!(world.next(), Seen::Connect(Door::Websocket, true));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = world(|_| {});
    let mut line = world.connect();
    line.send((0..20).map(|n| get(&format!("/echo/n{n}"))).collect::<String>());
    for n in 0..20 {
        assert!(line.reply().unwrap().text().contains(&format!("\"n{n}\"")));
    }
}

#[test]
fn answers_come_later_from_another_thread_or_not_in_time() {
    let world = world(|config| config.http.limits_mut().request_timeout = Duration::from_millis(300));
    let mut line = world.connect();
    line.send(get("/later"));
    let id = world.put_off(1);
    let server = world.server.clone();
    let answering = std::thread::spawn(move || {
        server.answer_header(id, "X-Later", "yes").unwrap();
        server.answer(id, 202, "done")
    });
    let reply = line.reply().unwrap();
    // A machine that was busy for too long has given it up: then the answer was stale.
    match answering.join().unwrap() {
        Ok(()) => {
            assert_eq!((reply.status, reply.header("x-later"), reply.text()), (202, Some("yes"), "done"))
        }
        Err(error) => assert_eq!((reply.status, error.kind()), (504, ErrorKind::Stale)),
    }
    assert_eq!(world.server.answer(id, 200, "again").unwrap_err().kind(), ErrorKind::Stale);
    assert_eq!(world.server.request(id).unwrap_err().kind(), ErrorKind::Stale);
    line.send(get("/later"));
    let id = world.put_off(2);
    assert_eq!(line.reply().unwrap().status, 504);
    assert_eq!(world.server.answer(id, 200, "late").unwrap_err().kind(), ErrorKind::Stale);
    // The connection goes on.
    assert_eq!(line.send(get("/echo/x")).reply().unwrap().status, 200);
}

#[test]
fn what_waits_is_bounded_and_told_when_the_server_stops() {
    let world = world(|config| config.http.limits_mut().max_requests = 2);
    let mut lines: Vec<Line> = (0..2).map(|_| world.connect()).collect();
    for line in &mut lines {
        line.send(get("/later"));
    }
    world.put_off(2);
    let mut third = world.connect();
    let reply = third.send(get("/later")).reply().unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    // Who leaves makes room.
    drop(lines.pop());
    let deadline = Instant::now() + PATIENCE;
    while third.send(get("/echo/x")).reply().unwrap().status == 503 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    world.server.stop().unwrap();
    assert_eq!(lines[0].reply().unwrap().status, 503);
    assert!(lines[0].is_closed() && third.is_closed());
}

#[test]
fn texts_are_compressed_for_who_accepts_it_and_unpacked_within_the_limit() {
    let world = world(|_| {});
    let mut line = world.connect();
    let ask = |path: &str, accept: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept}\r\n\r\n")
    };
    let reply = line.send(ask("/text/5000", "br, gzip")).reply().unwrap();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert!(reply.body.len() < 500 && reply.body.starts_with(&[0x1f, 0x8b]));
    let packed = reply.body;
    for (path, accept) in [("/text/5000", "gzip;q=0"), ("/text/10", "gzip")] {
        let reply = line.send(ask(path, accept)).reply().unwrap();
        assert_eq!(reply.header("content-encoding"), None, "{path} {accept}");
    }
    let put = |path: &str, method: &str, encoding: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", packed.len());
        [format!("{head}Content-Encoding: {encoding}\r\n\r\n").as_bytes(), &packed].concat()
    };
    let reply = line.send(put("/echo", "POST", "gzip")).reply().unwrap();
    assert!(reply.text().ends_with(" 5000"), "{}", reply.text());
    // 100 bytes are allowed: the few that come become too many.
    assert!(packed.len() <= 100, "{}", packed.len());
    for (encoding, status) in [("gzip", 413), ("br", 415), ("deflate", 400)] {
        let mut line = world.connect();
        assert_eq!(line.send(put("/small", "PUT", encoding)).reply().unwrap().status, status, "{encoding}");
        assert!(line.is_closed());
    }
    assert_eq!(world.connect().send(put("/small", "PUT", "identity")).reply().unwrap().status, 200);
}

#[test]
fn files_below_a_directory_are_given_and_nothing_else() {
    let base = std::env::temp_dir().join(format!("gamekeeper-http-files-{}", std::process::id()));
    std::fs::create_dir_all(base.join("root/sub")).unwrap();
    std::fs::write(base.join("secret.txt"), "secret").unwrap();
    std::fs::write(base.join("root/index.html"), "<p>index").unwrap();
    std::fs::write(base.join("root/sub/long.js"), vec![b'x'; 300_000]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(base.join("secret.txt"), base.join("root/link.txt")).unwrap();
    let root = base.join("root");
    let world = world(|config| config.http.route_files("/static/:path*", &root).unwrap());
    let mut line = world.connect();
    let reply = line.send(get("/static/")).reply().unwrap();
    assert_eq!((reply.text(), reply.header("content-type")), ("<p>index", Some("text/html; charset=utf-8")));
    let reply = line.send(get("/static/sub/long.js")).reply().unwrap();
    assert_eq!((reply.body.len(), reply.header("x-content-type-options")), (300_000, Some("nosniff")));
    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/sub/../../secret.txt",
        "/static/..%5csecret.txt",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/link.txt",
        "/static/sub",
        "/static/%00",
        "/static/index.html%00.txt",
    ] {
        let reply = line.send(get(path)).reply().unwrap();
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains("secret\u{0}"));
    }
    assert_eq!(
        line.send("POST /static/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").reply().unwrap().status,
        405
    );
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn routes_without_a_function_need_the_event_queue() {
    let mut config = gamekeeper::server::config::Config::default();
    config.http.listen("127.0.0.1:0", None).unwrap();
    config.http.route(gamekeeper::http::route::Method::Get, "/", RouteAction::Event(7)).unwrap();
    struct Nothing;
    impl gamekeeper::server::events::Handler for Nothing {}
    let refused = gamekeeper::Server::open(config.clone(), Box::new(Nothing), "127.0.0.1:0");
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Argument));
    config.max_queued_events = 1000;
    let server = gamekeeper::Server::open(config, Box::new(Nothing), "127.0.0.1:0").unwrap();
    let mut line = Line::to(server.http_addresses()[0]);
    line.send(get("/"));
    let deadline = Instant::now() + PATIENCE;
    'asked: loop {
        assert!(Instant::now() < deadline, "no request came");
        server.poll(Some(Duration::from_millis(50))).unwrap();
        for event in server.next_events(100).unwrap() {
            if let gamekeeper::server::events::Event::Request(id, tag) = event {
                assert_eq!((tag, server.upgrade(id).unwrap_err().kind()), (7, ErrorKind::State));
                server.answer(id, 204, "").unwrap();
                break 'asked;
            }
        }
    }
    assert_eq!(line.reply().unwrap().status, 204);
    server.stop().unwrap();
}

#[test]
fn a_full_event_queue_takes_no_requests() {
    const ROOM: u32 = 8;
    let mut config = gamekeeper::server::config::Config { max_queued_events: ROOM, ..Default::default() };
    config.http.listen("127.0.0.1:0", None).unwrap();
    config.http.route(gamekeeper::http::route::Method::Get, "/", RouteAction::Event(7)).unwrap();
    struct Nothing;
    impl gamekeeper::server::events::Handler for Nothing {}
    let server = gamekeeper::Server::open(config, Box::new(Nothing), "127.0.0.1:0").unwrap();
    // What the start has left there is not what this is about.
    server.poll(Some(Duration::ZERO)).unwrap();
    server.next_events(100).unwrap();
    let (answered, answers) = std::sync::mpsc::channel();
    for _ in 0..3 * ROOM {
        let (mut line, answered) = (Line::to(server.http_addresses()[0]), answered.clone());
        line.send(get("/"));
        std::thread::spawn(move || {
            let reply = line.reply().unwrap();
            answered.send((reply.status, reply.header("retry-after").is_some())).unwrap();
        });
    }
    let deadline = Instant::now() + PATIENCE;
    let mut statuses = Vec::new();
    let mut poll = |least: usize, take: bool| {
        let mut asked = 0;
        while statuses.len() < least {
            assert!(Instant::now() < deadline, "{statuses:?}");
            server.poll(Some(Duration::from_millis(20))).unwrap();
            statuses.extend(answers.try_iter());
            for event in if take { server.next_events(1000).unwrap() } else { Vec::new() } {
                if let gamekeeper::server::events::Event::Request(id, _) = event {
                    asked += 1;
                    server.answer(id, 204, "").unwrap();
                }
            }
        }
        asked
    };
    // While the host takes none there is room for so many, and no more.
    poll(2 * ROOM as usize, false);
    let asked = poll(3 * ROOM as usize, true);
    let busy = statuses.iter().filter(|status| **status == (503, true)).count();
    let served = statuses.iter().filter(|status| **status == (204, false)).count();
    assert_eq!((busy + served, served), (3 * ROOM as usize, asked), "{statuses:?}");
    assert!(busy >= 2 * ROOM as usize && asked > 0, "{statuses:?}");
    server.stop().unwrap();
}

/// An answer that its client does not read has its room until another needs it.
#[test]
fn answers_that_nobody_reads_give_way() {
    const LENGTH: usize = 8 << 20;
    let world = world(|config| config.http.limits_mut().max_body_bytes = LENGTH);
    let mut greedy = world.connect();
    greedy.send(get(&format!("/text/{LENGTH}")));
    // It is there, and being sent.
    assert_eq!(greedy.take(15).unwrap(), b"HTTP/1.1 200 OK");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut line = world.connect();
        let reply = line.send(get("/text/1000000")).reply().unwrap();
        match reply.status {
            200 => break assert_eq!(reply.body.len(), 1_000_000),
            status => assert_eq!((status, reply.header("retry-after")), (503, Some("1"))),
        }
        assert!(Instant::now() < deadline, "the room was never given back");
        std::thread::sleep(Duration::from_millis(20));
    }
    world.logged("read too slowly");
    // Its connection has ended within the answer.
    assert!(greedy.take(LENGTH).is_none());
}

#[test]
fn a_door_is_told_among_the_addresses_and_a_route_has_somebody_who_answers() {
    let world = world(|_| {});
    assert!(world.server.addresses().contains(&("http", world.address)));
    let mut http = gamekeeper::server::http::Http::default();
    let refused = http.route(gamekeeper::http::route::Method::Get, "/", RouteAction::Nobody);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Argument);
}

#[test]
fn a_door_that_is_taken_or_has_no_certificate_fails_the_start() {
    let world = world(|_| {});
    struct Nothing;
    impl gamekeeper::server::events::Handler for Nothing {}
    let open = |address: &str, tls: bool| {
        let mut config = gamekeeper::server::config::Config::default();
        let tls = tls.then(|| gamekeeper::http::config::TlsFiles {
            certificate: "/nonexistent/cert.pem".into(),
            key: "/nonexistent/key.pem".into(),
        });
        config.http.listen(address, tls).unwrap();
        gamekeeper::Server::open(config, Box::new(Nothing), "127.0.0.1:0").err().map(|error| error.kind())
    };
    assert_eq!(open(&world.address.to_string(), false), Some(ErrorKind::AddressInUse));
    assert_eq!(open("127.0.0.1:0", true), Some(ErrorKind::Key));
    assert_eq!(open("192.0.2.1:0", false), Some(ErrorKind::Address));
    assert_eq!(world.connect().send(handshake("/closed")).reply().unwrap().status, 403);
}
