//! What HTTP forbids, what is too much, and what is too slow.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gamekeeper::http::route::Method;
use gamekeeper::server::config::Config;
use gamekeeper::server::events::Handler;
use gamekeeper::server::http::RouteAction;
use gamekeeper::Server;

use crate::world::{get, world, Line, World, PATIENCE};

/// The request that must not be seen where it hides behind another.
const SMUGGLED: &str = "GET /echo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// What comes back: the statuses of all answers until the connection is closed.
fn statuses(world: &World, bytes: &[u8]) -> Vec<u16> {
    let mut line = world.connect();
    line.send(bytes);
    // Nothing more will come: what waits for more gets its end.
    line.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut statuses = Vec::new();
    while let Some(reply) = line.reply() {
        assert!(!reply.text().contains("smuggled"), "{}", reply.text());
        statuses.push(reply.status);
        assert!(statuses.len() < 5);
    }
    statuses
}

#[test]
fn malformed_requests_are_refused_and_hide_nothing() {
    let world = world(|config| config.http.limits_mut().head_timeout = Duration::from_secs(5));
    let post = |headers: &str, body: &str| format!("POST /echo HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}");
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}".into(), &[400]),
        ("no version", "GET /echo/x\r\n\r\n".into(), &[400]),
        ("version 2.0", "GET /echo/x HTTP/2.0\r\nHost: x\r\n\r\n".into(), &[400, 505]),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 505]),
        ("no host", "GET /echo/x HTTP/1.1\r\n\r\n".into(), &[400]),
        ("two hosts", "GET /echo/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), &[400]),
        ("a header without a colon", "GET /echo/x HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n".into(), &[400]),
        ("a space before the colon", "GET /echo/x HTTP/1.1\r\nHost : x\r\n\r\n".into(), &[400]),
        ("a folded header", "GET /echo/x HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".into(), &[400]),
        ("a NUL in a header", "GET /echo/x HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n".into(), &[400]),
        ("a bare CR in a header", "GET /echo/x HTTP/1.1\r\nHost: x\r\nA: b\rc: d\r\n\r\n".into(), &[400]),
        ("a space in the path", "GET /echo/x y HTTP/1.1\r\nHost: x\r\n\r\n".into(), &[400]),
        ("an authority's method", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".into(), &[400, 404, 405]),
        // The end of a body, told in two ways.
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 43\r\n", SMUGGLED), &[400]),
        ("two lengths in one", post("Content-Length: 0, 43\r\n", SMUGGLED), &[400]),
        ("a signed length", post("Content-Length: +43\r\n", SMUGGLED), &[400]),
        ("a negative length", post("Content-Length: -1\r\n", SMUGGLED), &[400]),
        ("a length in hex", post("Content-Length: 0x2b\r\n", SMUGGLED), &[400]),
        ("a length beyond all numbers", post("Content-Length: 99999999999999999999\r\n", ""), &[400]),
        ("a space in the length", post("Content-Length: 4 3\r\n", SMUGGLED), &[400]),
        ("a coding that is none", post("Transfer-Encoding: xchunked\r\n", SMUGGLED), &[400, 501]),
        (
            "chunked, and not at the end",
            post("Transfer-Encoding: chunked, identity\r\n", SMUGGLED),
            &[400, 501],
        ),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        ("a coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[400, 501]),
        ("a space before the coding's colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), &[400]),
        ("a tab before the coding's colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), &[400]),
        (
            "chunked in HTTP/1.0",
            "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            &[400],
        ),
        ("a chunk's length that is none", post("Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"), &[400]),
        (
            "a chunk's length beyond all numbers",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            &[400],
        ),
        (
            "a chunk longer than it says",
            post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"),
            &[400],
        ),
        ("a chunked body that ends early", post("Transfer-Encoding: chunked\r\n", "5\r\nab"), &[400]),
        ("a body that ends early", post("Content-Length: 10\r\n", "abc"), &[400]),
    ];
    for (what, bytes, allowed) in cases {
        let before = world.reached();
        let got = statuses(&world, bytes.as_bytes());
        // Where bytes make no sense some are answered by closing alone.
        assert!(got.len() <= 1 && got.iter().all(|status| allowed.contains(status)), "{what}: {got:?}");
        assert_eq!(world.reached(), before, "{what}: it reached the host");
    }
}

/// A body's end told by both headers: RFC 9112 lets a server take the chunks, and wants the connection closed.
#[test]
fn what_follows_a_body_with_two_ends_is_no_request() {
    let world = world(|_| {});
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let before = world.reached();
        let bytes = format!("POST /echo HTTP/1.1\r\nHost: x\r\n{headers}\r\n0\r\n\r\n{SMUGGLED}");
        let got = statuses(&world, bytes.as_bytes());
        assert!(matches!(got[..], [200 | 400]), "{headers}: {got:?}");
        assert!(world.reached() <= before + 1, "{headers}: the hidden one was seen");
    }
    // Honest chunks are read.
    let mut line = world.connect();
    line.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n");
    assert!(line.reply().unwrap().text().ends_with(" 5"));
}

#[test]
fn what_is_too_much_is_refused_before_it_is_kept() {
    let world = world(|_| {});
    let many: String = (0..200).map(|n| format!("A{n}: b\r\n")).collect();
    let long = "a".repeat(64 << 10);
    let deep = format!("/echo/{}", "a".repeat(10 << 10));
    for (what, bytes, allowed) in [
        ("200 headers", format!("GET /echo/x HTTP/1.1\r\nHost: x\r\n{many}\r\n"), &[431][..]),
        ("a long header", format!("GET /echo/x HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"), &[431][..]),
        ("a long path", get(&deep), &[414, 431][..]),
        ("a longer path", get(&format!("/{long}")), &[414, 431][..]),
        (
            "a body that says it is long",
            "PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n".into(),
            &[413][..],
        ),
        (
            "a body that does not say it",
            format!(
                "PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n{}\r\n",
                "a".repeat(128)
            ),
            &[413][..],
        ),
    ] {
        let mut line = world.connect();
        let before = world.reached();
        let reply = line.send(bytes).reply();
        // What is still being sent when it is refused may reset the connection before the answer is read.
        assert!(reply.is_none_or(|reply| allowed.contains(&reply.status)), "{what}");
        assert_eq!(world.reached(), before, "{what}");
    }
    // Who asks first is told before the body is sent.
    let mut line = world.connect();
    line.send("PUT /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(line.reply().unwrap().status, 413);
}

#[test]
fn the_bodies_of_all_are_bounded_together() {
    let world = world(|config| config.http.limits_mut().max_body_bytes = 64 << 10);
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    let deadline = Instant::now() + PATIENCE;
    // Two that are read at once are too much; which of them has no room is a matter of moments.
    loop {
        let (mut first, mut second) = (world.connect(), world.connect());
        first.send(head).send(vec![0; 50_000]);
        second.send(head).send(vec![0; 50_000]);
        first.send(vec![0; 10_000]);
        second.send(vec![0; 10_000]);
        let statuses = [first.reply(), second.reply()].map(|reply| reply.map(|reply| reply.status));
        assert!(statuses.iter().flatten().all(|status| [200, 503].contains(status)), "{statuses:?}");
        if statuses.contains(&Some(503)) {
            break;
        }
        assert!(Instant::now() < deadline, "there was always room");
    }
    // And the room comes back.
    while world.connect().send(head).send(vec![0; 60_000]).reply().map(|reply| reply.status) != Some(200) {
        assert!(Instant::now() < deadline, "the room does not come back");
    }
}

#[test]
fn slow_clients_are_cut_off_and_others_served() {
    let world = world(|config| config.http.limits_mut().head_timeout = Duration::from_millis(400));
    let start = Instant::now();
    let mut silent = world.connect();
    let mut dripping = world.connect();
    let mut answered = world.connect();
    assert_eq!(answered.send(get("/echo/x")).reply().unwrap().status, 200);
    dripping.send("GET /echo/x HTTP/1.1\r\nHost: x\r\n");
    let mut dripped = dripping.stream.try_clone().unwrap();
    let drips = std::thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        while dripped.write_all(b"A: b\r\n").is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(world.connect().send(get("/echo/x")).reply().unwrap().status, 200);
    // Without a word, or with one that says why.
    assert!(silent.reply().is_none_or(|reply| reply.status == 408));
    assert!(dripping.reply().is_none_or(|reply| reply.status == 408 || reply.status == 431));
    assert!(answered.reply().is_none_or(|reply| reply.status == 408));
    assert!(start.elapsed() >= Duration::from_millis(300), "they had their time");
    drips.join().unwrap();
}

#[test]
fn connections_are_bounded() {
    let world = world(|config| {
        config.http.limits_mut().max_connections = 5;
        config.http.limits_mut().max_connections_per_source = 5;
    });
    let mut lines: Vec<Line> = (0..5).map(|_| world.connect()).collect();
    for line in &mut lines {
        assert_eq!(line.send(get("/echo/x")).reply().unwrap().status, 200);
    }
    assert!(world.connect().send(get("/echo/x")).reply().is_none());
    drop(lines.pop());
    let deadline = Instant::now() + PATIENCE;
    while world.connect().send(get("/echo/x")).reply().is_none() {
        assert!(Instant::now() < deadline, "the place that was left stays taken");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// As many idle connections as this process may have both ends of: 10,000 where the limit of descriptors allows it. Meanwhile
/// the game ticks.
#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_idle_connections_cost_little_and_delay_no_tick() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is ours, and lives through both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    let count = usize::try_from(limit.rlim_cur).unwrap().saturating_sub(600) / 2;
    let count = count.min(10_000);
    let world = world(|config| {
        config.http.limits_mut().max_connections = 20_000;
        config.http.limits_mut().max_connections_per_source = 20_000;
        config.http.limits_mut().head_timeout = Duration::from_secs(600);
    });
    let (before, start) = (resident(), Instant::now());
    let ticked = world.server.stats();
    let lines: Vec<_> = (0..count).map(|_| std::net::TcpStream::connect(world.address).unwrap()).collect();
    let mut asking = world.connect();
    assert_eq!(asking.send(get("/echo/x")).reply().unwrap().status, 200);
    let each = resident().saturating_sub(before) / count;
    let stats = world.server.stats();
    let (ticks, missed) = (stats.ticks - ticked.ticks, stats.ticks_missed - ticked.ticks_missed);
    println!(
        "{count} connections in {:?}: {each} bytes each, {ticks} ticks, {missed} missed",
        start.elapsed()
    );
    assert!(each < 32 << 10, "{each} bytes for each of {count}");
    // A busy machine misses ticks whatever we do; a thread that waits for HTTP would miss all.
    assert!(ticks >= missed, "{missed} of {} ticks missed", ticks + missed);
    drop(lines);
}

/// What strangers can do to a door, kind by kind.
fn flood(address: SocketAddr, https: SocketAddr, kind: u8) {
    for round in 0..150 {
        let mut line = Line::to(if kind == 1 { https } else { address });
        match kind {
            0 => line.send([0x16, 3, 1, 255, 255, 1, 2, 3]),
            // The head of a handshake, and what follows is none.
            1 => line.send([&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[round; 600]].concat()),
            2 => line.send("GET /text/200000 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"),
            3 => line.send(vec![b'a'; 20_000]),
            4 => line
                .send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
                .send(vec![round; 2_000_000]),
            _ => line.send(get("/echo/x").repeat(20)),
        };
        drop(line.reply());
    }
}

/// Whose ticks are those of a server that is flooded: compared with those of another one in the same process, at the same time,
/// which has the same doors and is let alone. What the machine does to one it does to the other.
#[test]
fn floods_do_not_keep_the_tick() {
    let files = certificate("floods");
    let open = || {
        let files = files.clone();
        world(move |config| config.http.listen("127.0.0.1:0", Some(files)).unwrap())
    };
    let (flooded, quiet) = (open(), open());
    // Some hundreds that say a letter now and then.
    let slow: Vec<Line> = (0..300)
        .map(|_| {
            let mut line = flooded.connect();
            line.send("GET /echo/x HTTP/1.1\r\nHost: x\r\nA: ");
            line
        })
        .collect();
    let round = || {
        let before = [&flooded, &quiet].map(|world| world.server.stats());
        let start = Instant::now();
        let (address, https) = (flooded.address, flooded.server.http_addresses()[1]);
        let threads: Vec<_> =
            (0..6).map(|kind| std::thread::spawn(move || flood(address, https, kind))).collect();
        while !threads.iter().all(std::thread::JoinHandle::is_finished) {
            for line in &slow {
                // Some have had their time.
                let _closed = (&line.stream).write_all(b"b");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let after = [&flooded, &quiet].map(|world| world.server.stats());
        let [(ticks, missed), (quiet_ticks, quiet_missed)] = [0, 1]
            .map(|at| (after[at].ticks - before[at].ticks, after[at].ticks_missed - before[at].ticks_missed));
        println!(
            "900 connections of garbage in {:?}: {ticks} ticks, {missed} missed; let alone {quiet_ticks}, {quiet_missed} missed",
            start.elapsed()
        );
        assert!(ticks > 0 && quiet_ticks > 0);
        // The threads of a flood are where its server's are, and take turns with them; a loop that waits for HTTP misses most.
        missed <= 3 * quiet_missed + (ticks + missed) / 10
    };
    // A busy machine takes it out of one and not of the other now and then.
    let held = (0..3).any(|_| round());
    std::fs::remove_dir_all(files.key.parent().unwrap()).unwrap();
    assert!(held, "it missed more than the one that was let alone, three times of three");
}

/// A certificate for localhost, and its key, as openssl makes them.
fn certificate(name: &str) -> gamekeeper::http::config::TlsFiles {
    let base = std::env::temp_dir().join(format!("gamekeeper-http-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let (certificate, key) = (base.join("cert.pem"), base.join("key.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    gamekeeper::http::config::TlsFiles { certificate, key }
}

/// A host whose functions take longer than a tick: however many requests wait, a tick that is due comes behind the one that is
/// being answered.
#[test]
fn requests_that_wait_do_not_keep_the_tick() {
    const REQUESTS: usize = 30;
    /// Calls since the last tick, and the most that there were between two.
    struct Ticking(Arc<AtomicUsize>, Arc<AtomicUsize>);
    impl Handler for Ticking {
        fn update(&mut self, _: &Server, _: f64, _: u64) {
            self.1.fetch_max(self.0.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        }
    }
    let (calls, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut config = Config { tick_rate_hz: 100.0, ..Config::default() };
    config.http.listen("127.0.0.1:0", None).unwrap();
    let counted = Arc::clone(&calls);
    let slow = RouteAction::Call(Arc::new(move |server: &Server, id| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(15));
        server.answer(id, 204, "").unwrap();
    }));
    config.http.route(Method::Get, "/slow", slow).unwrap();
    let ticking = Ticking(Arc::clone(&calls), Arc::clone(&most));
    let server = Server::start(config, Box::new(ticking), "127.0.0.1:0").unwrap();
    let mut lines: Vec<Line> = (0..REQUESTS).map(|_| Line::to(server.http_addresses()[0])).collect();
    for line in &mut lines {
        line.send(get("/slow"));
    }
    for line in &mut lines {
        assert_eq!(line.reply().unwrap().status, 204);
    }
    server.stop().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

/// A gzip body of nothing but empty blocks: what comes out of it never reaches a limit.
#[test]
fn bodies_that_unpack_to_nothing_have_an_end() {
    let world = world(|_| {});
    let packed = |blocks: usize| {
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let last = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        [&head[..], &[0, 0, 0, 0xff, 0xff].repeat(blocks), &last].concat()
    };
    for (blocks, taken) in [(10, true), (40_000, false)] {
        let (body, before) = (packed(blocks), world.reached());
        let mut line = world.connect();
        line.send(
            "PUT /small HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        line.send(format!("{:x}\r\n", body.len())).send(&body).send("\r\n0\r\n\r\n");
        let status = line.reply().map(|reply| reply.status);
        // What is still being sent when it is refused may reset the connection before the answer is read.
        assert!(status == Some(if taken { 200 } else { 413 }) || (!taken && status.is_none()), "{status:?}");
        assert_eq!(world.reached() - before, usize::from(taken));
    }
}
