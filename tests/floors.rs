//! The house's walls: dependencies point down only, the protocol touches nothing of the operating system,
//! and `unsafe` stays on its two floors. Looks at the source as text; clippy.toml guards the calls besides.

use std::fs;
use std::path::{Path, PathBuf};

/// A floor or a room, and the words that must not stand in its code. A word ends where a longer name goes
/// on: `crate::net` is not found in `crate::network`.
const WALLS: &[(&str, &[&str])] = &[
    (
        "src/protocol",
        &[
            "Instant",
            "SystemTime",
            "std::thread",
            "std::fs",
            "std::env",
            "std::process",
            "UdpSocket",
            "TcpListener",
            "TcpStream",
            "ToSocketAddrs",
            "SystemRandom",
            "thread_local",
            "static mut",
            "OnceLock",
            "LazyLock",
            "mio",
            "socket2",
            "libc",
            "parking_lot",
            "crate::net",
            "crate::server",
            "crate::client",
            "crate::ffi",
        ],
    ),
    // One delivery engine for every wire: it knows none.
    ("src/protocol/delivery.rs", &["super::wire", "protocol::wire", "super::handshake"]),
    ("src/protocol/delivery", &["super::wire", "protocol::wire", "super::handshake"]),
    ("src/protocol/fragment.rs", &["super::wire", "protocol::wire"]),
    ("src/protocol/dedup.rs", &["super::wire", "protocol::wire"]),
    // As pure as the protocol.
    (
        "src/http",
        &[
            "Instant",
            "SystemTime",
            "std::thread",
            "std::fs",
            "std::env",
            "TcpListener",
            "TcpStream",
            "tokio",
            "hyper",
            "parking_lot",
            "crate::net",
            "crate::server",
            "crate::client",
            "crate::ffi",
            "crate::protocol",
        ],
    ),
    ("src/net", &["crate::server", "crate::client", "crate::ffi"]),
    ("src/server", &["crate::client", "crate::ffi"]),
    // The two ends share their configuration, their words, their ticks and their send rates, and nothing else.
    // What is written down of a server is values; only who watches it knows doors and threads.
    (
        "src/server/dashboard/answer.rs",
        &["crate::net", "crate::http", "crate::server::core", "std::thread", "Instant", "SystemTime"],
    ),
    (
        "src/server/dashboard/history.rs",
        &["crate::net", "crate::http", "crate::server::core", "std::thread", "Instant", "SystemTime"],
    ),
    (
        "src/server/dashboard/json.rs",
        &["crate::net", "crate::http", "crate::server::core", "std::thread", "Instant", "SystemTime"],
    ),
    (
        "src/server/dashboard/log_tail.rs",
        &["crate::net", "crate::http", "crate::server::core", "std::thread", "Instant", "SystemTime"],
    ),
    (
        "src/server/dashboard/prometheus.rs",
        &["crate::net", "crate::http", "crate::server::core", "std::thread", "Instant", "SystemTime"],
    ),
    ("src/client", &["crate::server::core", "crate::server::runner", "crate::server::Server", "crate::ffi"]),
    // What both are hosted by knows neither.
    ("src/hosting.rs", &["crate::server", "crate::client", "crate::ffi", "crate::protocol"]),
    // The side rooms, open to all floors and hence dependent on none but the lowest (for its time and its traits).
    ("src/metrics", &["crate::net", "crate::server", "crate::client", "crate::ffi"]),
    ("src/keys.rs", &["crate::net", "crate::server", "crate::client", "crate::ffi"]),
    ("src/keys", &["crate::net", "crate::server", "crate::client", "crate::ffi"]),
    ("src/error.rs", &["crate::protocol", "crate::net", "crate::server", "crate::client", "crate::ffi"]),
];

/// Where `unsafe` may stand.
const UNSAFE_FLOORS: &[&str] = &["src/ffi", "src/net"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files at or below a path of the repository.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("a directory that opened can be read").path())
        // Modules of unit tests may use whatever they need.
        .filter(|path| !path.ends_with("tests"))
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|path| files(&path))
        .collect();
    found.sort();
    found
}

/// The code of a file: comments, the insides of string literals, and unit tests (which may use whatever they
/// need) are blanked, and paths that `use` nests in braces are spelled out by `imports`.
fn code(text: &str) -> String {
    // Unit tests stand at the end of their file.
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let rest = &text[i..];
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(quoted) = rest.strip_prefix("r#\"") {
            quoted.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with('"') {
            string_length(rest)
        } else {
            0
        };
        if skip > 0 {
            // Lines are kept for the report.
            out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
            out.push(' ');
            i += skip;
        } else {
            let character = rest.chars().next().expect("`i` is below the length and on a character's edge");
            out.push(character);
            i += character.len_utf8();
        }
    }
    out
}

/// Bytes of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (i, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Every full path that the `use` declarations of `code` import, nested braces spelled out, with
/// `super` resolved against nothing: it cannot leave a floor without naming another one.
fn imports(code: &str) -> Vec<String> {
    fn expand(prefix: &str, tree: &str, out: &mut Vec<String>) {
        let tree = tree.trim();
        let Some(open) = tree.find('{') else {
            out.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or(tree).trim()));
            return;
        };
        let prefix = format!("{prefix}{}", &tree[..open]);
        let inner = tree[open + 1..].trim_end().trim_end_matches('}');
        // `}` of deeper levels was trimmed too where they close together; depth counts from the front only.
        let (mut depth, mut start) = (0, 0);
        for (i, character) in inner.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &inner[start..i], out);
                    start = i + 1;
                }
                _ => {}
            }
        }
        if !inner[start..].trim().is_empty() {
            expand(&prefix, &inner[start..], out);
        }
    }
    let mut out = Vec::new();
    for statement in code.split(';') {
        if let Some(at) = find_word(statement, "use") {
            let tree: String = statement[at + 3..].split_whitespace().collect::<Vec<_>>().join(" ");
            expand("", &tree, &mut out);
        }
    }
    out
}

/// Where `word` stands in `text` as a word of its own.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// What `text`, a file of a room with these forbidden words, has of them.
fn breaches(text: &str, forbidden: &[&'static str]) -> Vec<&'static str> {
    let code = code(text);
    let imports = imports(&code).join("\n").replace(":: ", "::");
    let found = |word: &&&str| find_word(&code, word).is_some() || find_word(&imports, word).is_some();
    forbidden.iter().filter(found).copied().collect()
}

#[test]
fn dependencies_point_down_only() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (room, forbidden) in WALLS {
        for file in files(&root().join(room)) {
            seen += 1;
            let text = fs::read_to_string(&file).unwrap();
            wrong.extend(breaches(&text, forbidden).iter().map(|word| format!("{}: {word}", file.display())));
        }
    }
    assert!(seen > 10, "the walls were looked for in the wrong place: {seen} files");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stays_on_its_floors() {
    let allowed = |file: &Path| UNSAFE_FLOORS.iter().any(|floor| file.starts_with(root().join(floor)));
    let (inside, outside): (Vec<_>, Vec<_>) =
        files(&root().join("src")).into_iter().partition(|file| allowed(file));
    assert!(!inside.is_empty() && !outside.is_empty());
    // Unit tests too: what they test is safe.
    let has_unsafe =
        |text: &str| find_word(&code(&text.replace("mod tests", "mod shown")), "unsafe").is_some();
    for file in outside {
        assert!(!has_unsafe(&fs::read_to_string(&file).unwrap()), "unsafe in {}", file.display());
    }
    for file in inside {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!has_unsafe(&text) || text.contains("SAFETY: "), "no SAFETY comment in {}", file.display());
    }
}

#[test]
fn the_test_itself_finds_breaches() {
    let protocol = WALLS[0].1;
    for (text, expected) in [
        ("use std::time::Instant;", vec!["Instant"]),
        ("use std::time::{Duration, Instant as I};", vec!["Instant"]),
        ("use std::{\n    collections::HashMap,\n    thread,\n};", vec!["std::thread"]),
        ("use crate::{error::Error, server::{config::Config, Server}};", vec!["crate::server"]),
        ("use crate::{protocol::{a, b::{c, d}}, net};", vec!["crate::net"]),
        ("fn f() { mio::Poll::new(); }", vec!["mio"]),
        ("pub(crate) use crate::ffi::x;", vec!["crate::ffi"]),
        ("let a = \"quoted \\\" mark\"; crate::net::x()", vec!["crate::net"]),
        ("let a = '\"'; crate::net::x()", vec!["crate::net"]),
        ("use std::net::{IpAddr, UdpSocket};", vec!["UdpSocket"]),
        // And these are none.
        ("use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;", vec![]),
        ("/// As `crate::server` has it, an Instant.\nfn f() {}", vec![]),
        ("let a = \"mio, libc\";", vec![]),
        ("use crate::network::x; let mionic = 1;", vec![]),
        ("fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}", vec![]),
    ] {
        assert_eq!(breaches(text, protocol), expected, "{text}");
    }
    assert_eq!(string_length("\"a\\\"b\" c"), 6);
}
