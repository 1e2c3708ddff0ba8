//! The client on its own thread or polled, and our server, over loopback: the same tests on each wire.

mod support;

// Once for each wire: that is what it is there for.
#[allow(clippy::duplicate_mod)]
#[path = "support/client_suite.rs"]
mod mpgameserver;

#[allow(clippy::duplicate_mod)]
#[path = "support/client_suite.rs"]
mod native;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use gamekeeper::client::{ClientConfig, DisconnectReason, Event, KnownKeys, ServerKey};
use gamekeeper::keys::RootKey;
use gamekeeper::Client;

/// A cookie of the native wire that answers no hello of ours.
fn forged_cookie() -> Vec<u8> {
    let mut datagram = vec![0xc1, 0, 0, 0, 1];
    datagram.extend([0x55; 8 + 20]);
    datagram
}

#[test]
fn forged_answers_do_not_make_a_wrong_key_on_the_native_wire() {
    let forger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    forger.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
    let native = RootKey::generate().expect("a key").native_public();
    let mut config = ClientConfig::new(ServerKey::Pinned(KnownKeys { native: Some(native), root: None }));
    config.handshake_timeout = Duration::from_millis(500);
    config.max_queued_events = 100;
    let address = forger.local_addr().expect("an address").to_string();
    let client = Client::open(config, Box::new(()), &address).expect("a client");
    client.poll(Some(Duration::ZERO)).expect("the hello leaves");
    let (_, from) = forger.recv_from(&mut [0; 2048]).expect("a hello");
    forger.send_to(&forged_cookie(), from).expect("sent");
    let end = Instant::now() + Duration::from_secs(60);
    let info = loop {
        assert!(Instant::now() < end, "no end");
        client.poll(Some(Duration::from_millis(50))).expect("it runs");
        let ended = client.next_events(100).expect("events").into_iter().find_map(|event| match event {
            Event::Disconnected(info) => Some(info),
            _ => None,
        });
        if let Some(info) = ended {
            break info;
        }
    };
    assert_eq!(info.reason, DisconnectReason::Timeout, "{}", info.text);
    assert!(
        info.text.contains("nobody answered") && info.text.contains("who has the pinned key"),
        "{}",
        info.text
    );
}
