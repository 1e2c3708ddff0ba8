//! The dashboard of a running server: what it answers to whom, and its page in a headless Chromium, alone beside a mock
//! server (`tests/dashboard/`) and with the figures of a real one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gamekeeper::client::{ClientConfig, ServerKey, Status};
use gamekeeper::error::ErrorKind;
use gamekeeper::server::config::Config;
use gamekeeper::server::dashboard::{answer, PAGE};
use gamekeeper::server::events::Handler;
use gamekeeper::{Client, Server};
use serde_json::Value;
#[cfg(target_os = "linux")]
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "correct-horse-battery";

/// A host that does nothing.
struct Nothing;

impl Handler for Nothing {}

fn watched() -> Config {
    Config { dashboard: Some("127.0.0.1:0".to_owned()), ..Config::default() }
}

fn start(config: Config) -> (Server, SocketAddr) {
    let server = Server::start(config, Box::new(Nothing), "127.0.0.1:0").expect("a server");
    let address = server.dashboard_address().expect("a dashboard");
    (server, address)
}

fn client_of(server: &Server) -> Client {
    let config = ClientConfig::new(ServerKey::Any);
    let client = Client::start(config, Box::new(()), &server.local_address().to_string()).expect("a client");
    wait("the client is in", || client.status() == Status::Connected);
    client
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request, with these lines in its head: status, head, body.
fn ask(to: SocketAddr, method: &str, path: &str, lines: &[&str]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).expect("the door is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let host = format!("Host: {to}");
    let host = if lines.iter().any(|line| line.starts_with("Host:")) { "" } else { host.as_str() };
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n");
    for line in lines.iter().chain([&host]).filter(|line| !line.is_empty()) {
        head.push_str(line);
        head.push_str("\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

fn get(to: SocketAddr, path: &str) -> Value {
    let (status, head, body) = ask(to, "GET", path, &[]);
    assert_eq!(status, 200, "{body}");
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
    serde_json::from_str(&body).expect("JSON")
}

/// A column of `/peers.json`.
fn column(peers: &Value, name: &str) -> Vec<Value> {
    let columns = peers["columns"].as_array().expect("columns");
    let at = columns.iter().position(|column| column == name).expect("such a column");
    peers["peers"].as_array().expect("rows").iter().map(|row| row[at].clone()).collect()
}

fn script(arguments: &[&str]) -> Option<String> {
    if Command::new("chromium").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "chromium is missing: apt-get install chromium");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard/check.py");
    let output = Command::new("python3").arg(path).args(arguments).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

#[test]
fn figures_are_those_of_the_server() {
    let (server, door) = start(watched());
    let client = client_of(&server);
    client.send_guaranteed(b"hello").expect("queued");
    wait("the peer is shown", || get(door, "/peers.json")["peers"].as_array().map(Vec::len) == Some(1));
    let peers = get(door, "/peers.json");
    assert_eq!(column(&peers, "token"), [client.token()]);
    assert_eq!(
        column(&peers, "address")[0].as_str().and_then(|a| a.rsplit_once(':')).map(|a| a.0),
        Some("127.0.0.1")
    );
    assert_eq!(
        (column(&peers, "door")[0].as_str(), column(&peers, "wire")[0].as_str()),
        (Some("udp"), Some("native"))
    );
    client.disconnect().expect("it leaves");
    wait("nobody is there", || server.stats().disconnects == 1);
    // What the peer that left has counted is not forgotten.
    wait("the figures have come to rest", || {
        let (stats, shown) = (server.stats(), get(door, "/stats.json"));
        shown["server"]["packets_received"] == stats.packets_received
            && shown["server"]["packets_sent"] == stats.packets_sent
            && shown["server"]["disconnects"] == 1
            && shown["packets"]["messages_received"] == 1
            && shown["packets"]["received"].as_u64() > Some(0)
            && shown["packets"]["pending"] == 0
    });
    let (status, head, text) = ask(door, "GET", "/metrics", &[]);
    assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        text.contains("gamekeeper_connects_total 1\n") && text.contains("gamekeeper_peers 0\n"),
        "{text}"
    );
    let log = get(door, "/stats.json")["log"].to_string();
    assert!(
        log.contains("listening on") && log.contains("\"connect\"") && log.contains("\"disconnect\""),
        "{log}"
    );
    server.stop().expect("stopped");
    assert!(TcpStream::connect(door).is_err(), "the port is free when the server has stopped");
    assert!(server.dashboard_address().is_none());
}

#[test]
fn the_page_comes_with_its_policy_and_only_under_names_of_the_loopback() {
    let (server, door) = start(watched());
    let (status, head, body) = ask(door, "GET", "/", &[]);
    assert_eq!((status, body.as_str()), (200, PAGE));
    assert!(head
        .contains(&format!("content-security-policy: {}", answer::content_security_policy().to_lowercase())));
    assert!(
        head.contains("x-content-type-options: nosniff") && head.contains("x-frame-options: deny"),
        "{head}"
    );
    for path in ["/", "/stats.json", "/peers.json", "/metrics"] {
        assert_eq!(ask(door, "GET", path, &["Host: evil.example"]).0, 403, "{path}");
    }
    assert_eq!(ask(door, "HEAD", "/", &[]).2, "");
    assert_eq!(ask(door, "GET", "/none", &[]).0, 404);
    assert_eq!(ask(door, "POST", "/stats.json", &[]).0, 405);
    server.stop().expect("stopped");
}

#[test]
fn actions_part_peers_from_the_server_and_are_nothing_for_other_pages() {
    let (server, door) = start(watched());
    let (first, second) = (client_of(&server), client_of(&server));
    wait("both are shown", || get(door, "/peers.json")["peers"].as_array().map(Vec::len) == Some(2));
    let peers = get(door, "/peers.json");
    let id_of = |token: u32| {
        let at = column(&peers, "token").iter().position(|t| *t == token).expect("its row");
        column(&peers, "id")[at].as_str().expect("a text").to_owned()
    };
    let end = format!("/peers/{}/disconnect", id_of(first.token()));
    let own = format!("Origin: http://{door}");
    // As a proxy that speaks TLS hands it on.
    let behind = format!("Origin: https://{door}");
    for lines in [
        &[][..],
        &["Origin: https://evil.example", "X-Gamekeeper-Action: 1", "X-Forwarded-Host: evil.example"],
        &["Origin: http://evil.example", "X-Gamekeeper-Action: 1"],
        &["Sec-Fetch-Site: cross-site", "X-Gamekeeper-Action: 1"],
        &[&own],
    ] {
        assert_eq!(ask(door, "POST", &end, lines).0, 403, "{lines:?}");
    }
    assert_eq!(server.stats().peers, 2);
    assert_eq!(ask(door, "POST", &end, &[&own, "X-Gamekeeper-Action: 1"]).0, 200);
    wait("the first has left", || first.status() == Status::Disconnected);
    assert_eq!(second.status(), Status::Connected);
    wait("its id is stale", || ask(door, "POST", &end, &["X-Gamekeeper-Action: 1"]).0 == 404);
    let block = format!("/peers/{}/block", id_of(second.token()));
    assert_eq!(ask(door, "POST", &block, &[&behind, "X-Gamekeeper-Action: 1"]).0, 200);
    wait("the second has left", || server.stats().peers == 0);
    let dropped = server.stats().drops[0];
    std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.send_to(&[0; 100], server.local_address()))
        .expect("sent");
    wait("what comes from there is dropped unread", || server.stats().drops[0] > dropped);
    // Who was blocked does not lose the dashboard, which would be the way back.
    assert_eq!(ask(door, "GET", "/metrics", &[]).0, 200);
    server.stop().expect("stopped");
}

#[test]
fn a_token_guards_figures_and_actions() {
    let token = answer::token(TOKEN).expect("long enough");
    let (server, door) = start(Config { dashboard_token: Some(token), ..watched() });
    let right = format!("Authorization: Bearer {TOKEN}");
    for path in ["/stats.json", "/peers.json", "/metrics"] {
        let (status, head, _) = ask(door, "GET", path, &[]);
        assert!(status == 401 && head.contains("www-authenticate: bearer"), "{head}");
        assert_eq!(ask(door, "GET", path, &["Authorization: Bearer correct-horse-batterx"]).0, 401);
        assert_eq!(ask(door, "GET", path, &[&right, "Host: game.example"]).0, 200);
    }
    assert_eq!(ask(door, "GET", "/", &["Host: game.example"]).0, 200);
    assert_eq!(ask(door, "POST", "/peers/1/disconnect", &["X-Gamekeeper-Action: 1"]).0, 401);
    assert_eq!(ask(door, "POST", "/peers/1/disconnect", &["X-Gamekeeper-Action: 1", &right]).0, 404);
    server.stop().expect("stopped");
}

#[test]
fn beyond_the_loopback_nothing_is_shown_without_a_token() {
    for address in ["0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"] {
        let config = Config { dashboard: Some(address.to_owned()), ..Config::default() };
        let error = Server::start(config, Box::new(Nothing), "127.0.0.1:0").map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{address}");
        assert!(error.to_string().contains("token"), "{error}");
    }
    let token = answer::token(TOKEN).expect("long enough");
    let config =
        Config { dashboard: Some("0.0.0.0:0".into()), dashboard_token: Some(token), ..Config::default() };
    start(config).0.stop().expect("stopped");
}

/// Of the places for connections one source can take some, and others have the rest.
#[cfg(target_os = "linux")]
#[test]
fn one_source_leaves_places_for_others() {
    let (server, door) = start(watched());
    let get = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let request = format!("GET /stats.json HTTP/1.1\r\nHost: {door}\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        // Who is closed at once may hear of it in any of the two.
        let _told = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        answer.starts_with("HTTP/1.1 200 ")
    };
    // None of these says a word, as somebody who wants the places only.
    let held: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(door).expect("the door is open")).collect();
    wait("this source has no place left", || !get(&mut TcpStream::connect(door).expect("the door is open")));
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    other.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("the loopback has many addresses");
    other.connect(&door.into()).expect("the door is open");
    assert!(get(&mut other.into()), "another source is answered");
    drop(held);
    wait("places that are given back can be had", || {
        get(&mut TcpStream::connect(door).expect("the door is open"))
    });
    server.stop().expect("stopped");
}

/// Whoever polls a server, or does not for a while, has its dashboard all the same; and one that is let go without a stop
/// takes it along.
#[test]
fn a_server_that_nobody_polls_is_still_watched() {
    let server = Server::open(watched(), Box::new(Nothing), "127.0.0.1:0").expect("a server");
    let door = server.dashboard_address().expect("a dashboard");
    assert_eq!(get(door, "/stats.json")["server"]["ticks"], 0);
    drop(server);
    wait("the door is closed", || TcpStream::connect(door).is_err());
}

#[test]
fn the_page_shows_what_it_should_and_does_what_it_says() {
    script(&["page"]);
}

/// The time of the page's own thread; and that between frames where the machine is not too busy with other programs.
#[test]
fn five_thousand_peers_are_drawn_in_time() {
    if let Some(said) = script(&["frames", "50"]) {
        println!("{said}");
    }
}

#[test]
fn numbers_on_the_page_are_those_of_the_stats() {
    let (server, door) = start(watched());
    let url = format!("http://{door}/");
    let (staying, leaving) = (client_of(&server), client_of(&server));
    leaving.disconnect().expect("it leaves");
    wait("one is left", || server.stats().disconnects == 1);
    if script(&["shape", &url]).is_none() {
        return;
    }
    let before = server.stats();
    let shown: Value = serde_json::from_str(&script(&["numbers", &url]).expect("as before")).expect("JSON");
    let after = server.stats();
    assert_eq!(shown["complaints"].as_array().map(Vec::len), Some(0), "{shown}");
    assert_eq!((shown["peers"].as_str(), shown["server"]["connects"].as_u64()), (Some("1"), Some(2)));
    assert_eq!(shown["server"]["disconnects"], 1);
    assert_eq!(shown["rows"][0][3], staying.token().to_string());
    // A peer that stays is kept alive, so these go on.
    for (name, least, most) in [
        ("packets_sent", before.packets_sent, after.packets_sent),
        ("packets_received", before.packets_received, after.packets_received),
        ("bytes_sent", before.bytes_sent, after.bytes_sent),
        ("ticks", before.ticks, after.ticks),
    ] {
        let number = shown["server"][name].as_u64().expect("a number");
        assert!((least..=most).contains(&number), "{name} is {number}, not {least} to {most}");
    }
    staying.disconnect().expect("it leaves");
    wait("nobody is left", || server.stats().disconnects == 2);
    // Goodbyes are over when nothing changes for as long as the page takes.
    let mut same = false;
    for _ in 0..10 {
        let before = server.stats();
        let shown: Value =
            serde_json::from_str(&script(&["numbers", &url]).expect("as before")).expect("JSON");
        let after = server.stats();
        if (before.packets_sent, before.packets_received) == (after.packets_sent, after.packets_received) {
            for (name, number) in [
                ("packets_sent", after.packets_sent),
                ("packets_received", after.packets_received),
                ("bytes_sent", after.bytes_sent),
                ("bytes_received", after.bytes_received),
                ("connects", after.connects),
                ("disconnects", after.disconnects),
            ] {
                assert_eq!(shown["server"][name], number, "{name}");
            }
            same = true;
            break;
        }
    }
    assert!(same, "the server never came to rest");
    server.stop().expect("stopped");
}
