//! The native handshake: both patterns, what is lost, forged, repeated or late, and vectors of another
//! implementation.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::Value;

use super::provider::{FixedProvider, TestProvider};
use crate::metrics::server::DropReason;
use crate::protocol::handshake::native::{
    packet, public_key, write_versions, ClientHandshake, Established, Hello, HelloError, Identity, NativeKey,
    Pattern, ServerHandshake, Welcome, HELLO_LEN, RESET_LEN, VERSION,
};
use crate::protocol::time::Time;

const START: Time = Time::from_micros(1_700_000_000_000_000);
const TIMEOUT: Duration = Duration::from_secs(2);
const ROOT: [u8; 32] = [0x17; 32];

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1474))
}

fn after(ms: u64) -> Time {
    START + Duration::from_millis(ms)
}

fn welcome(identity: &Identity) -> Welcome {
    Welcome {
        connection_id: 0x0102_0304,
        token: 0x4123_4567,
        reset_token: identity.reset_token(0x0102_0304),
        tick_interval_us: 16_667,
        tick: 1000,
        clock_us: 16_667_000,
        timeout_ms: 5000,
        max_message: 8 << 20,
        max_join: 1024,
        wants_password: false,
        files: false,
    }
}

/// A server and a client before their first datagram.
struct Ends {
    provider: TestProvider,
    identity: Identity,
    client: ClientHandshake,
}

impl Ends {
    fn new(seed: u64, pattern: Pattern) -> Ends {
        let provider = TestProvider::new(seed);
        let identity = Identity::new(&ROOT, &provider).unwrap();
        let pinned = (pattern == Pattern::Nk).then(|| identity.public());
        let client = ClientHandshake::new(START, pinned, &provider).unwrap();
        Ends { provider, identity, client }
    }

    fn hello(&mut self, now: Time) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(self.client.poll_transmit(now, &mut out), "no hello is due");
        assert_eq!(out.len(), HELLO_LEN);
        out
    }

    fn accept(&self, hello: &[u8]) -> ServerHandshake {
        let (hello, welcome) = (Hello::parse(hello).unwrap(), welcome(&self.identity));
        self.identity.accept(START, address(), &hello, &welcome, TIMEOUT, &self.provider).unwrap()
    }

    fn cookie(&self, now: Time, hello: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.identity.write_cookie(now, address(), &Hello::parse(hello).unwrap(), &mut out);
        assert!(out.len() < HELLO_LEN);
        out
    }
}

fn answer(handshake: &mut ServerHandshake) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(handshake.poll_transmit(START, &mut out), "no answer is due");
    out
}

fn established(client: &mut ClientHandshake, datagram: &[u8]) -> Established {
    client.handle(START, datagram).unwrap().expect("welcome")
}

#[test]
fn both_patterns_end_with_the_same_secrets_on_both_sides() {
    for pattern in [Pattern::Nk, Pattern::Nx] {
        let mut ends = Ends::new(1, pattern);
        let hello = ends.hello(START);
        assert_eq!(Hello::parse(&hello).unwrap().pattern, pattern);
        let mut server = ends.accept(&hello);
        assert_eq!((server.started, server.expires), (START, START + TIMEOUT));
        assert_eq!((server.connection_id, server.token), (0x0102_0304, 0x4123_4567));
        let client = established(&mut ends.client, &answer(&mut server));
        assert!(client.secrets == server.secrets && server.secrets.to_server != server.secrets.to_client);
        assert_eq!(client.welcome, welcome(&ends.identity));
        assert_eq!((client.server_key, client.pinned), (ends.identity.public(), pattern == Pattern::Nk));
        // It is over: nothing more is said or read.
        assert_eq!(ends.client.poll_timeout(), None);
        assert!(!ends.client.poll_transmit(after(10_000), &mut Vec::new()));
        server.repeated();
        assert_eq!(ends.client.handle(START, &answer(&mut server)).unwrap_err(), DropReason::Unknown);
    }
}

#[test]
fn a_pinned_key_refuses_every_other_server() {
    let mut ends = Ends::new(2, Pattern::Nk);
    let other = Identity::new(&[0x18; 32], &ends.provider).unwrap();
    let hello = Hello::parse(&ends.hello(START)).unwrap();
    let refused =
        other.accept(START, address(), &hello, &welcome(&other), TIMEOUT, &ends.provider).map(|_| ());
    refused.unwrap_err();

    // And an answer of the other pattern, by whoever sits between, to the same ephemeral key.
    let mut datagram = vec![packet::HELLO, 0, 0, 0, 1, 1, 0];
    datagram.extend_from_slice(&hello.client);
    datagram.resize(HELLO_LEN, 0);
    for identity in [&other, &ends.identity] {
        let hello = Hello::parse(&datagram).unwrap();
        let mut forged =
            identity.accept(START, address(), &hello, &welcome(identity), TIMEOUT, &ends.provider).unwrap();
        assert_eq!(ends.client.handle(START, &answer(&mut forged)).unwrap_err(), DropReason::Forged);
    }
}

#[test]
fn a_key_that_nobody_can_have_is_refused() {
    let provider = TestProvider::new(3);
    ClientHandshake::new(START, Some([0; 32]), &provider).unwrap_err();
    let identity = Identity::new(&ROOT, &provider).unwrap();
    let mut datagram = vec![packet::HELLO, 0, 0, 0, 1, 1, 0];
    datagram.resize(HELLO_LEN, 0);
    let hello = Hello::parse(&datagram).unwrap();
    assert_eq!(hello.client, [0; 32]);
    let refused = identity.accept(START, address(), &hello, &welcome(&identity), TIMEOUT, &provider);
    refused.map(|_| ()).unwrap_err();
}

#[test]
fn without_randomness_nothing_begins() {
    let none = FixedProvider { scalar: Vec::new(), random: Vec::new() };
    ClientHandshake::new(START, None, &none).unwrap_err();
    Identity::new(&ROOT, &none).map(|_| ()).unwrap_err();
}

#[test]
fn a_repeated_hello_gets_the_same_welcome_and_never_more_bytes_than_it_brought() {
    for pattern in [Pattern::Nk, Pattern::Nx] {
        let mut ends = Ends::new(4, pattern);
        let hello = ends.hello(START);
        let mut server = ends.accept(&hello);
        let (mut received, mut sent) = (HELLO_LEN, 0);
        let first = answer(&mut server);
        sent += first.len();
        for i in 0..20 {
            assert_eq!(server.poll_timeout(), None);
            assert!(!server.poll_transmit(after(i * 1000), &mut Vec::new()), "an answer to nothing");
            assert_eq!(Hello::parse(&ends.hello(after(i * 3000 + 3000))).unwrap().client, server.client);
            // Many at once are one.
            for _ in 0..=i % 3 {
                server.repeated();
                received += HELLO_LEN;
            }
            assert!(server.poll_timeout().is_some_and(|at| at <= after(i * 1000)));
            let again = answer(&mut server);
            assert_eq!(again, first);
            sent += again.len();
            assert!(sent <= received);
        }
        assert!(established(&mut ends.client, &first).secrets == server.secrets);
    }
}

#[test]
fn hellos_are_said_again_with_longer_pauses() {
    let mut ends = Ends::new(5, Pattern::Nk);
    let (mut now, mut pauses) = (START, Vec::new());
    let first = ends.hello(now);
    for _ in 0..9 {
        let due = ends.client.poll_timeout().unwrap();
        assert!(!ends.client.poll_transmit(due - Duration::from_micros(1), &mut Vec::new()));
        pauses.push(due.since(now).as_millis());
        now = due;
        assert_eq!(ends.hello(now), first);
    }
    assert_eq!(pauses, [250, 375, 562, 843, 1265, 1898, 2000, 2000, 2000]);
}

#[test]
fn a_cookie_is_brought_back_at_once_and_is_good_for_its_hello_alone() {
    for pattern in [Pattern::Nk, Pattern::Nx] {
        let mut ends = Ends::new(6, pattern);
        let hello = ends.hello(START);
        assert!(!Hello::parse(&hello).unwrap().has_cookie());
        assert!(!ends.identity.cookie_valid(START, address(), &Hello::parse(&hello).unwrap()));
        let cookie = ends.cookie(START, &hello);
        assert!(ends.client.handle(after(50), &cookie).unwrap().is_none());
        assert_eq!(ends.client.poll_timeout(), Some(after(50)));
        let datagram = ends.hello(after(50));
        let hello = Hello::parse(&datagram).unwrap();
        assert!(hello.has_cookie());
        let valid = |now, address: SocketAddr, hello: &Hello| ends.identity.cookie_valid(now, address, hello);
        assert!(valid(after(100), address(), &hello));

        assert!(valid(after(10_000), address(), &hello) && !valid(after(11_000), address(), &hello), "age");
        assert!(!valid(START - Duration::from_secs(1), address(), &hello), "from the future");
        for other in ["192.0.2.1:1475", "192.0.2.2:1474", "[::c000:201]:1474"] {
            assert!(!valid(after(100), other.parse().unwrap(), &hello), "{other}");
        }
        // The same IPv4 address as a socket for both families shows it.
        assert!(valid(after(100), "[::ffff:192.0.2.1]:1474".parse().unwrap(), &hello));
        let restarted = Identity::new(&ROOT, &ends.provider).unwrap();
        assert!(!restarted.cookie_valid(after(100), address(), &hello), "another start of the server");

        // Another client's hello with this cookie.
        let mut other = Ends::new(7, pattern);
        other.hello(START);
        let mut stolen = other.hello(after(250));
        stolen.splice(7..7, datagram[7..27].iter().copied());
        stolen.truncate(HELLO_LEN);
        stolen[6] = 20;
        let stolen = Hello::parse(&stolen).unwrap();
        assert!(stolen.has_cookie() && !valid(after(100), address(), &stolen), "another hello");
        for at in 7..27 {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert!(!valid(after(100), address(), &Hello::parse(&changed).unwrap()), "byte {at}");
        }

        let mut server = ends.accept(&datagram);
        assert!(established(&mut ends.client, &answer(&mut server)).secrets == server.secrets);
    }
}

#[test]
fn forged_cookies_cost_a_few_hellos_and_end_nothing() {
    let mut ends = Ends::new(8, Pattern::Nk);
    let hello = ends.hello(START);
    let cookie = ends.cookie(START, &hello);
    let mut rng = SmallRng::seed_from_u64(8);
    let mut prompt = 0;
    for _ in 0..100 {
        let mut forged = cookie.clone();
        rng.fill_bytes(&mut forged[13..]);
        ends.client.handle(after(1), &forged).unwrap();
        prompt += usize::from(ends.client.poll_transmit(after(1), &mut Vec::new()));
    }
    assert_eq!(prompt, 4, "hellos said at once");
    // The right one is used all the same, when the hello is due.
    ends.client.handle(after(2), &cookie).unwrap();
    assert_eq!(ends.client.handle(after(3), &cookie).unwrap_err(), DropReason::Duplicate);
    let due = ends.client.poll_timeout().unwrap();
    assert!(due > after(3) && due <= after(2001), "{due:?}");
    let hello = ends.hello(due);
    assert!(ends.identity.cookie_valid(due, address(), &Hello::parse(&hello).unwrap()));
    // One that is of another hello is not even read.
    let mut other = Ends::new(9, Pattern::Nk);
    let hello = other.hello(START);
    let foreign = other.cookie(START, &hello);
    assert_eq!(ends.client.handle(after(3), &foreign).unwrap_err(), DropReason::Forged);
}

#[test]
fn another_version_is_a_hint_and_no_end() {
    let mut ends = Ends::new(10, Pattern::Nx);
    let hello = ends.hello(START);
    // A client of version 7, met by this server.
    let mut later = hello.clone();
    later[4] = 7;
    later.extend_from_slice(b"longer");
    assert_eq!(Hello::parse(&later), Err(HelloError::Version));
    assert_eq!(Hello::parse(&later[..HELLO_LEN - 1]), Err(HelloError::Malformed));
    let mut answer_to_later = Vec::new();
    write_versions(&later[..HELLO_LEN - 1], &mut answer_to_later);
    assert!(answer_to_later.is_empty(), "what is too short gets no answer");
    write_versions(&later, &mut answer_to_later);
    assert_eq!(answer_to_later, [&[packet::VERSIONS], &hello[7..15], &VERSION.to_be_bytes()[..]].concat());

    // This client, met by a server of versions 2 and 3: no datagram of it ends the attempt.
    let list = |versions: &[u32]| -> Vec<u8> {
        let versions = versions.iter().flat_map(|v| v.to_be_bytes());
        [packet::VERSIONS].into_iter().chain(hello[7..15].iter().copied()).chain(versions).collect()
    };
    let mut foreign = list(&[2, 3]);
    foreign[1] ^= 1;
    for (datagram, reason) in [
        (foreign, DropReason::Forged),
        (list(&[2, VERSION]), DropReason::Malformed),
        (list(&[]), DropReason::Malformed),
        (list(&[2])[..12].to_vec(), DropReason::Malformed),
        (list(&[2])[..5].to_vec(), DropReason::Malformed),
    ] {
        assert_eq!(ends.client.handle(START, &datagram).unwrap_err(), reason);
        assert!(ends.client.versions().is_empty());
    }
    assert!(ends.client.handle(START, &list(&[2, 3])).unwrap().is_none());
    assert_eq!(ends.client.versions(), [2, 3]);
    ends.client.handle(START, &list(&[9; 200])).unwrap();
    assert!(ends.client.versions().len() <= 16, "the list has a bound");
    let again = ends.hello(after(250));
    let mut server = ends.accept(&again);
    established(&mut ends.client, &answer(&mut server));
}

/// Every byte of a hello, changed: none is accepted and then answered so that this client takes it.
#[test]
fn a_changed_hello_connects_nobody() {
    for pattern in [Pattern::Nk, Pattern::Nx] {
        let mut ends = Ends::new(11, pattern);
        let hello = ends.hello(START);
        let mut accepted = 0;
        for at in 0..hello.len() {
            for change in [0x01, 0x80] {
                let mut changed = hello.clone();
                changed[at] ^= change;
                let Ok(parsed) = Hello::parse(&changed) else { continue };
                let welcome = welcome(&ends.identity);
                let taken =
                    ends.identity.accept(START, address(), &parsed, &welcome, TIMEOUT, &ends.provider);
                let Ok(mut server) = taken else { continue };
                accepted += 1;
                let mut datagram = answer(&mut server);
                // The echo put right, as somebody between the two would.
                datagram[5..13].copy_from_slice(&hello[7..15]);
                assert!(!matches!(ends.client.handle(START, &datagram), Ok(Some(_))), "byte {at}");
            }
        }
        // Without a pinned key the server cannot know that the client's key was changed.
        assert!(if pattern == Pattern::Nx { accepted > 30 } else { accepted == 0 }, "{accepted}");
        let mut server = ends.accept(&hello);
        established(&mut ends.client, &answer(&mut server));
    }
}

#[test]
fn a_changed_answer_is_thrown_away_and_the_right_one_still_counts() {
    for pattern in [Pattern::Nk, Pattern::Nx] {
        let mut ends = Ends::new(12, pattern);
        let hello = ends.hello(START);
        let mut server = ends.accept(&hello);
        let right = answer(&mut server);
        let before = ends.client.poll_timeout();
        for at in 0..right.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = right.clone();
                changed[at] ^= change;
                // The top bit of a point is not part of its number, but of what is hashed.
                ends.client.handle(START, &changed).unwrap_err();
            }
            ends.client.handle(START, &right[..at]).unwrap_err();
        }
        ends.client.handle(START, &[&right[..], &[0]].concat()).unwrap_err();
        ends.client.handle(START, &[&right[..], &[0; HELLO_LEN][..]].concat()).unwrap_err();
        assert_eq!(ends.client.poll_timeout(), before, "a forged answer delays no hello");
        assert!(established(&mut ends.client, &right).secrets == server.secrets);
    }
}

/// Random bytes behind the head of every kind of packet, for both ends.
#[test]
fn garbage_connects_nobody() {
    let mut rng = SmallRng::seed_from_u64(13);
    let mut ends = Ends::new(13, Pattern::Nx);
    let hello = ends.hello(START);
    for _ in 0..2000 {
        let mut datagram = vec![0; rng.random_range(0..300)];
        rng.fill_bytes(&mut datagram);
        for (at, byte) in [&[packet::WELCOME, 0, 0, 0, 1], &hello[7..15]].concat().into_iter().enumerate() {
            if let Some(place) = datagram.get_mut(at).filter(|_| at > 0 || rng.random_bool(0.5)) {
                *place = byte;
            }
        }
        assert!(!matches!(ends.client.handle(START, &datagram), Ok(Some(_))));
        datagram.resize(HELLO_LEN, 0);
        if let Some(place) = datagram.first_mut() {
            *place = packet::HELLO;
        }
        let _read = Hello::parse(&datagram);
    }
}

#[test]
fn hellos_of_other_shapes_are_malformed() {
    let mut ends = Ends::new(14, Pattern::Nk);
    let hello = ends.hello(START);
    let with = |at: usize, byte: u8| {
        let mut changed = hello.clone();
        changed[at] = byte;
        changed
    };
    for (what, datagram) in [
        ("a byte shorter", hello[..HELLO_LEN - 1].to_vec()),
        ("a byte longer", [&hello[..], &[0]].concat()),
        ("nothing", Vec::new()),
        ("another packet", with(0, packet::QUERY)),
        ("an unknown pattern", with(5, 2)),
        ("a short cookie", with(6, 19)),
        ("a cookie beyond the end", with(6, 255)),
        ("padding that says something", with(HELLO_LEN - 1, 1)),
        ("padding that says something at once", with(7 + 48, 1)),
    ] {
        assert_eq!(Hello::parse(&datagram), Err(HelloError::Malformed), "{what}");
    }
}

#[test]
fn a_restarted_server_of_the_same_key_is_known_by_key_and_reset_tokens() {
    let provider = TestProvider::new(15);
    let [a, b] = [(); 2].map(|()| Identity::new(&ROOT, &provider).unwrap());
    let other = Identity::new(&[0x18; 32], &provider).unwrap();
    assert_eq!((a.public(), a.reset_token(7)), (b.public(), b.reset_token(7)));
    assert_eq!(Identity::public_of(&ROOT), Ok(a.public()));
    assert_ne!(a.public(), other.public());
    assert_ne!(a.reset_token(7), a.reset_token(8));
    assert_ne!(a.reset_token(7), other.reset_token(7));
    let mut reset = Vec::new();
    a.write_reset(7, &mut reset);
    assert_eq!(reset, [&[packet::RESET], &b.reset_token(7)[..]].concat());
    assert_eq!(reset.len(), RESET_LEN);
}

#[test]
fn secrets_are_not_shown() {
    let mut ends = Ends::new(16, Pattern::Nk);
    let hello = ends.hello(START);
    let mut server = ends.accept(&hello);
    let shown = format!("{:?} {:?}", ends.client, ends.identity);
    let established = established(&mut ends.client, &answer(&mut server));
    let shown = format!("{shown} {server:?} {established:?}");
    let private = server.secrets.to_server;
    assert!(!shown.contains(&format!("{}, {}, {}", private[0], private[1], private[2])), "{shown}");
    assert!(shown.contains("Secrets { .. }"), "{shown}");
}

/// Bytes of hexadecimal digits.
fn hex(of: &Value) -> Vec<u8> {
    let text = of.as_str().expect("hexadecimal text");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn key(of: &Value) -> NativeKey {
    hex(of).try_into().expect("32 bytes")
}

fn fixed(random: &Value) -> FixedProvider {
    FixedProvider { scalar: Vec::new(), random: hex(random) }
}

/// `tests/vectors/make_native_handshake.py` wrote them, which shares no code with this library.
#[test]
fn every_byte_is_as_another_implementation_has_it() {
    let text = include_str!("../../../tests/vectors/native/handshake.json");
    let all: Value = serde_json::from_str(text).expect("the file is JSON");
    let number = |name: &str| all["welcome"][name].as_u64().expect(name);
    let now = Time::from_micros(all["seconds"].as_u64().expect("seconds") * 1_000_000);
    let identity = Identity::new(&key(&all["root"]), &fixed(&all["cookie_key"])).unwrap();
    assert_eq!(identity.public(), key(&all["server_key"]));
    let welcome = Welcome {
        connection_id: number("connection_id") as u32,
        token: number("token") as u32,
        reset_token: hex(&all["reset_token"]).try_into().expect("16 bytes"),
        tick_interval_us: number("tick_interval_us") as u32,
        tick: number("tick"),
        clock_us: number("clock_us"),
        timeout_ms: number("timeout_ms") as u32,
        max_message: number("max_message") as u32,
        max_join: number("max_join") as u16,
        wants_password: all["welcome"]["wants_password"].as_bool().expect("true or false"),
        files: false,
    };
    let mut out = Vec::new();
    welcome.write(&mut out);
    assert_eq!(out, hex(&all["welcome_payload"]));
    assert_eq!(identity.reset_token(welcome.connection_id), welcome.reset_token);
    let mut out = Vec::new();
    identity.write_reset(welcome.connection_id, &mut out);
    assert_eq!(out, hex(&all["reset"]));
    let (mut hello, mut out) = (hex(&all["hello_of_version_2"]), Vec::new());
    hello.resize(HELLO_LEN, 0);
    assert_eq!(Hello::parse(&hello), Err(HelloError::Version));
    write_versions(&hello, &mut out);
    assert_eq!(out, hex(&all["versions"]));

    for (name, pinned) in [("NK", Some(identity.public())), ("NX", None)] {
        let vector = &all["patterns"][name];
        let address: SocketAddr =
            vector["address"].as_str().expect("an address").parse().expect("an address");
        let padded = |name: &str| {
            let mut bytes = hex(&vector[name]);
            bytes.resize(HELLO_LEN, 0);
            bytes
        };
        let mut client = ClientHandshake::new(now, pinned, &fixed(&all["client_ephemeral"])).unwrap();
        let mut out = Vec::new();
        assert!(client.poll_transmit(now, &mut out));
        assert_eq!(out, padded("hello"), "{name}");
        let hello = Hello::parse(&out).unwrap();
        assert_eq!(hello.client, public_key(&key(&all["client_ephemeral"])));

        let mut cookie = Vec::new();
        identity.write_cookie(now, address, &hello, &mut cookie);
        assert_eq!(cookie, hex(&vector["cookie"]), "{name}");
        assert!(client.handle(now, &cookie).unwrap().is_none());
        out.clear();
        assert!(client.poll_transmit(now, &mut out));
        assert_eq!(out, padded("hello_with_cookie"), "{name}");
        let hello = Hello::parse(&out).unwrap();
        assert!(identity.cookie_valid(now, address, &hello));

        let ephemeral = fixed(&all["server_ephemeral"]);
        let mut server = identity.accept(now, address, &hello, &welcome, TIMEOUT, &ephemeral).unwrap();
        let mut out = Vec::new();
        assert!(server.poll_transmit(now, &mut out));
        assert_eq!(out, hex(&vector["welcome"]), "{name}");
        let established = client.handle(now, &out).unwrap().expect("welcome");
        assert_eq!(established.welcome, welcome);
        assert_eq!(established.server_key, identity.public());
        for secrets in [&server.secrets, &established.secrets] {
            assert_eq!(secrets.to_server, key(&vector["to_server"]), "{name}");
            assert_eq!(secrets.to_client, key(&vector["to_client"]), "{name}");
        }
    }
}
