//! A client in a process of its own that is killed.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gamekeeper::client::driver::{Client, Event, Mode};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::*;
use gamekeeper::Server;
use support::play::{expect, Recorder, Seen, PATIENCE};

/// Tells the child where to connect to.
const ADDRESS: &str = "GAMEKEEPER_TEST_SERVER";

#[test]
fn a_killed_client_times_out() {
    let (handler, seen) = Recorder::new(false);
    let config = Config { connection_timeout: Duration::from_millis(1500), ..Config::default() };
    let server = Server::start(config, handler, "127.0.0.1:0").expect("a server");
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("the test's own path"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(ADDRESS, server.local_address().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let peer = expect(&seen, |s| if let Seen::Connect(peer, _) = s { Some(peer) } else { None });
    expect(&seen, |s| if let Seen::Message(from, _, data) = s { Some((from, data)) } else { None });
    // SIGKILL: it has no time for a goodbye.
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let end =
        expect(&seen, |s| if let Seen::Disconnect(p, info) = s { Some((p, info.reason)) } else { None });
    assert_eq!(end, (peer, DisconnectReason::Timeout));
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    let mut said = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut said).expect("text");
    assert!(!said.contains("FAILED"), "{said}");
    server.stop().expect("stopped");
}

/// The client's process. Started by the test above only.
#[test]
#[ignore = "a part of another test"]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let address = address.parse().expect("an address");
    let mut client = Client::connect(address, None, &Config::default()).expect("a client");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        client.update().expect("the client's socket works");
        while let Some(event) = client.poll_event() {
            match event {
                Event::Connected => client.send(b"here", Mode::Guaranteed, 0).expect("queued"),
                Event::Closed(_) => return,
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
