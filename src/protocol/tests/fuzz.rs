//! The fuzz targets on stable Rust: their corpus is replayed, and each file in a few hundred changed copies.

use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::protocol::delivery::{Mode, Part};
use crate::protocol::fuzz;
use crate::protocol::wire::native::{self as wire, frame, MessageFrame};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("file_messages", fuzz::file_messages),
    ("http_texts", crate::http::fuzz::texts),
    ("header_and_messages", fuzz::header_and_messages),
    ("handshake_bodies", fuzz::handshake_bodies),
    ("native_hello", fuzz::native_hello),
    ("native_answer", fuzz::native_answer),
    ("connection", fuzz::connection),
    ("native_frames", fuzz::native_frames),
    ("native_connection", fuzz::native_connection),
];

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

/// Changed copies of each file, unless `GAMEKEEPER_COPIES` says otherwise.
const COPIES: u32 = 300;

#[test]
fn the_corpus_and_its_neighbours() {
    let copies = std::env::var("GAMEKEEPER_COPIES").ok().and_then(|n| n.parse().ok()).unwrap_or(COPIES);
    for (name, target) in TARGETS {
        let mut files: Vec<_> =
            std::fs::read_dir(corpus(name)).expect(name).map(|entry| entry.expect(name).path()).collect();
        files.sort();
        assert!(files.len() >= 5, "{name}");
        let mut rng = SmallRng::seed_from_u64(1);
        for file in files {
            let seed = std::fs::read(&file).expect(name);
            target(&seed);
            for _ in 0..copies {
                target(&changed(&seed, &mut rng));
            }
        }
    }
}

/// A few bytes other, some cut off, doubled or put in.
fn changed(seed: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            bytes.push(rng.random());
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 => {
                let again = bytes[at..bytes.len().min(at + 40)].to_vec();
                bytes.extend_from_slice(&again);
            }
            3 => bytes[at] = [0, 1, 0x20, 0x7f, 0x80, 0xff][rng.random_range(0..6)],
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
    bytes
}

/// Writes the corpus from the golden vectors: `cargo test --lib write_the_corpus -- --ignored`.
#[test]
#[ignore = "writes files into fuzz/corpus"]
fn write_the_corpus() {
    write_native_corpus();
    write_frames();
    let text = include_str!("../../../tests/vectors/mpgameserver/vectors.json");
    let all: Value = serde_json::from_str(text).expect("JSON");
    for hello in ["client_hello", "server_hello", "challenge_response"] {
        let v = &all["handshake"][hello];
        write("header_and_messages", hello, &hex(&v["datagram"]));
        write("handshake_bodies", hello, &hex(&v["messages"][0]["body"]));
    }
    write("handshake_bodies", "empty", &[]);
    write("handshake_bodies", "type_alone", &[0, 131]);
    let lists = [&all["sealed"], &all["malformed"]].map(|l| l.as_array().cloned().unwrap_or_default());
    let mut script = Vec::new();
    for (i, v) in lists.concat().iter().enumerate() {
        let (mut datagram, payload) = (hex(&v["datagram"]), hex(&v["payload"]));
        // The ciphertext says nothing to a parser: the plaintext stands in its place.
        datagram[20..20 + payload.len()].copy_from_slice(&payload);
        let name = v["name"].as_str().unwrap_or_default();
        if datagram.len() < 300 || i % 8 == 0 {
            write("header_and_messages", name, &datagram);
        }
        let mut record = vec![4 + (i % 4) as u8 + 8];
        record.extend_from_slice(&(payload.len() as u16 + 8).to_be_bytes());
        record.extend_from_slice(&datagram[10..12]);
        record.extend_from_slice(&[datagram[12].saturating_sub(3), datagram[15]]);
        record.extend_from_slice(&datagram[16..20]);
        record.extend_from_slice(&payload);
        if record.len() < 300 {
            script.extend_from_slice(&record);
            script.extend_from_slice(&[2 + 8 * (i % 30) as u8, 8 * (i % 30) as u8, 1]);
        }
        if i % 10 == 9 {
            write("connection", name, &std::mem::take(&mut script));
        }
    }
    write("connection", "goodbye", &[2 + 16, 13, 0, 10, 0, 1, 2, 1, 0, 0, 0, 0, 0, 2, 80, 1, 200, 1]);
    write("connection", "lingers", &[2 + 16, 243, 240, 1, 240, 1, 251, 240, 1]);
}

fn hex(of: &Value) -> Vec<u8> {
    let text = of.as_str().unwrap_or_default();
    (0..text.len()).step_by(2).filter_map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(corpus(target)).expect("a directory");
    let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    std::fs::write(corpus(target).join(name), bytes).expect("a file");
}

fn write_native_corpus() {
    let text = include_str!("../../../tests/vectors/native/handshake.json");
    let all: Value = serde_json::from_str(text).expect("JSON");
    for (pattern, vector) in all["patterns"].as_object().expect("two patterns") {
        for name in ["hello", "hello_with_cookie"] {
            write("native_hello", &format!("{pattern}_{name}"), &hex(&vector[name]));
        }
        for name in ["cookie", "welcome"] {
            write("native_answer", &format!("{pattern}_{name}"), &hex(&vector[name]));
        }
    }
    write("native_hello", "version_2", &hex(&all["hello_of_version_2"]));
    let mut versions = hex(&all["versions"]);
    write("native_answer", "versions", &versions);
    if let Some(last) = versions.last_mut() {
        *last = 2;
    }
    write("native_answer", "other_versions", &versions);
}

/// Frames of every kind, each alone and behind a header, and lives made of them.
fn write_frames() {
    let mut kinds: Vec<(&str, Vec<u8>)> = vec![
        ("ping", vec![frame::PING, frame::PADDING, frame::PADDING]),
        ("challenge", [&[frame::PATH_CHALLENGE][..], &[1; 8]].concat()),
        ("response", [&[frame::PATH_RESPONSE][..], &[2; 8]].concat()),
        ("closed", vec![frame::CLOSED]),
        ("accept", vec![frame::ACCEPT]),
        ("rubbish", vec![0x1f, 1, 2]),
    ];
    let mut out = Vec::new();
    let mut add = |name, out: &mut Vec<u8>| kinds.push((name, std::mem::take(out)));
    wire::put_close(&mut out, 3, 77, b"good night");
    add("close", &mut out);
    wire::put_join(&mut out, Some(b"open"), b"data", false);
    add("join", &mut out);
    wire::put_time(&mut out, 1000, 500, 16_667_000);
    add("time", &mut out);
    wire::put_ack(&mut out, 4000, [(90, 100), (70, 80), (1, 2)].into_iter(), 100);
    add("ack", &mut out);
    let modes = [Mode::Once, Mode::Sequenced, Mode::BestEffort, Mode::Guaranteed, Mode::Ordered];
    for part in [None, Some(Part { id: 7, index: 1, count: 300 })] {
        for (i, mode) in modes.into_iter().enumerate() {
            let (number, sequence) = (if mode.is_resent() { 9 } else { 0 }, if i == 4 { 1 } else { 0 });
            let m = MessageFrame { mode, number, channel: i as u8, sequence, part, data: b"some data" };
            wire::put_message(&mut out, &m, i % 2 == 0);
        }
        add(if part.is_some() { "parts" } else { "messages" }, &mut out);
    }
    let mut life = Vec::new();
    let record = |life: &mut Vec<u8>, what: u8, bytes: &[u8]| {
        life.push(what);
        life.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        life.extend_from_slice(bytes);
    };
    let joined = kinds.iter().find(|(name, _)| *name == "join").map(|(_, f)| f.clone()).unwrap_or_default();
    record(&mut life, 4, &joined);
    for (name, frames) in &kinds {
        write("native_frames", name, frames);
        let mut packet = Vec::new();
        wire::put_header(&mut packet, Some(0x0102_0304), false, 300, 100);
        packet.extend_from_slice(frames);
        packet.extend_from_slice(&[0; 16]);
        write("native_frames", &format!("{name}_in_packet"), &packet);
        let mut alone = Vec::new();
        record(&mut alone, 4, &joined);
        alone.extend_from_slice(&[26, 42, 16, 1]);
        // From home, from elsewhere, and under the next key.
        for what in [4, 5 * 8 + 5, 6 * 8 + 4, 255 - 48] {
            record(&mut alone, what, frames);
            alone.extend_from_slice(&[40, 1]);
        }
        write("native_connection", name, &alone);
        if !name.starts_with("close") {
            record(&mut life, 12, frames);
            life.extend_from_slice(&[2 + 8 * 3, 24, 1]);
        }
    }
    write("native_connection", "life", &life);
}
