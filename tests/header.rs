//! include/gamekeeper.h is what cbindgen makes of src/ffi, and the shared library exports what it declares.

mod c_support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use c_support::{self as c, declared};

/// The source files in the order in which the header tells its story.
const SOURCES: [&str; 23] = [
    "version.rs",
    "result.rs",
    "content.rs",
    "events.rs",
    "callbacks.rs",
    "key.rs",
    "context.rs",
    "server.rs",
    "send.rs",
    "send_many.rs",
    "peer.rs",
    "stats.rs",
    "streams.rs",
    "stream_tls.rs",
    "http.rs",
    "dashboard.rs",
    "client_callbacks.rs",
    "client_context.rs",
    "client.rs",
    "conditions.rs",
    "discover.rs",
    "files.rs",
    "file_doors.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join("src/ffi").join(source));
    }
    let mut header = Vec::new();
    builder.generate().expect("src/ffi can be read").write(&mut header);
    String::from_utf8(header).expect("the sources are UTF-8")
}

fn committed() -> String {
    std::fs::read_to_string(root().join("include/gamekeeper.h")).expect("include/gamekeeper.h is there")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = generate();
    if std::env::var_os("GAMEKEEPER_BLESS").is_some() {
        std::fs::write(root().join("include/gamekeeper.h"), &generated).unwrap();
    }
    let committed = committed();
    if committed != generated {
        let first = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
        panic!(
            "include/gamekeeper.h differs from src/ffi, first in line {:?}; \
             `GAMEKEEPER_BLESS=1 cargo test --test header` rewrites it",
            first.map(|line| line + 1)
        );
    }
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(c::shared_library())
        .output()
        .expect("nm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exported: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let declared = declared(&committed());
    assert!(declared.len() > 80, "only {} functions found in the header", declared.len());
    let missing: Vec<_> = declared.difference(&exported).collect();
    let undeclared: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty() && undeclared.is_empty(), "missing {missing:?}, undeclared {undeclared:?}");
}

#[test]
fn every_source_with_exports_is_in_the_header() {
    for entry in std::fs::read_dir(root().join("src/ffi")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let exports =
            text.contains("#[no_mangle]") || text.contains("#[repr(C)]\n#[derive(Clone, Copy)]\npub");
        if exports {
            assert!(SOURCES.contains(&name.as_str()), "{name} is not among the header's sources");
        }
    }
}

/// The comment before each function has its `Thread:` and `Ownership:` lines; each type, constant and field
/// has a comment at all.
#[test]
fn every_item_is_documented() {
    let header = committed();
    let mut comment = String::new();
    let mut functions = 0;
    let mut inside_comment = false;
    for line in header.lines() {
        let text = line.trim();
        if text.starts_with("/**") {
            comment.clear();
            inside_comment = true;
        }
        if inside_comment {
            comment.push_str(text);
            comment.push('\n');
            inside_comment = !text.ends_with("*/");
            continue;
        }
        if line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains("gk_") && line.contains('(') {
            if !line.starts_with("typedef") {
                functions += 1;
                assert!(comment.contains("Thread: "), "no thread line before: {line}\n{comment}");
                assert!(comment.contains("Ownership: "), "no ownership line before: {line}\n{comment}");
            } else {
                for word in ["When: ", "Thread: ", "Borrowed: ", "May call: "] {
                    assert!(comment.contains(word), "no {word:?} before: {line}\n{comment}");
                }
            }
        }
        let item = line.starts_with("typedef") && !line.starts_with("typedef void (*gk_")
            || line.starts_with("#define GK_") && !line.contains("GK_STRINGIFY")
            || line.starts_with("    ") && text.ends_with(';');
        if item {
            assert!(!comment.is_empty(), "no comment before: {line}");
        }
        // A comment is for the one item that follows it. Lines that continue an item need none.
        if text.ends_with(';') || text.starts_with("#define") || text.ends_with('{') {
            comment.clear();
        }
    }
    assert_eq!(functions, declared(&header).len());
}

#[test]
fn objects_list_all_their_functions() {
    let header = committed();
    let declared = declared(&header);
    let lists: String = header
        .lines()
        .filter(|line| line.trim_start().starts_with("* - `gk_"))
        .collect::<Vec<_>>()
        .join("\n");
    // The context's callbacks are listed by their ends.
    let callbacks = [
        "starting",
        "connect",
        "disconnect",
        "message",
        "update",
        "writable",
        "reconcile",
        "shutdown",
        "log",
        "authorise",
        "raw",
    ];
    let ignored = |name: &str| {
        name.ends_with("_init")
            || name.starts_with("gk_version")
            || callbacks.iter().any(|callback| name == format!("gk_context_on_{callback}"))
    };
    for name in declared.iter().filter(|name| !ignored(name)) {
        assert!(lists.contains(&format!("`{name}`")), "{name} is in no object's list");
    }
}

#[test]
fn the_shared_library_has_its_name_and_stays_loaded() {
    let output = Command::new("readelf").arg("-d").arg(c::shared_library()).output().expect("readelf runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Library soname: [libgamekeeper.so.0]"), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}
