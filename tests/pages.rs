//! What the pages name exists: files, constants, functions and values of the configuration. What README shows works.

mod c_support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use c_support::{self as c, Language};

const PAGES: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "PROTOCOL.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

/// Folders whose files are the project's, and not made by a build.
const SOURCES: [&str; 9] =
    [".ci", "benches", "bindings", "cli", "examples", "fuzz", "include", "src", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands in backticks on a page, blocks of code left out.
fn quoted(page: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    assert!(!inside, "a block of code has no end");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The blocks of code of one language on a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(of) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if of == language {
                found.push(block.join("\n") + "\n");
            }
        }
    }
    found
}

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.expect("a directory that opened can be read").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The project's own files.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in SOURCES {
        files_below(&root().join(folder), &mut found);
    }
    found
}

/// Whether a quotation is meant as a file: a path, or a name with an ending that files here have.
fn is_file(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/*".contains(c));
    let endings = [".rs", ".md", ".toml", ".h", ".hpp", ".c", ".cpp", ".py", ".json", ".txt", ".lock"];
    let folder = SOURCES.iter().any(|folder| text.starts_with(&format!("{folder}/")));
    plain && (folder || endings.iter().any(|ending| text.ends_with(ending)))
}

/// Whether the project has such a file or folder. A bare name may stand anywhere; `*` is for any name.
fn exists(text: &str, sources: &[PathBuf]) -> bool {
    if let Some((folder, ending)) = text.split_once('*') {
        let in_folder = |path: &&PathBuf| path.parent() == Some(&root().join(folder));
        return sources.iter().filter(in_folder).any(|path| path.to_string_lossy().ends_with(ending));
    }
    root().join(text).exists() || (!text.contains('/') && sources.iter().any(|path| path.ends_with(text)))
}

/// Words of code: what a name on a page can be found among.
fn words(sources: &[PathBuf]) -> BTreeSet<String> {
    let code = sources.iter().filter(|path| {
        let below = |folder: &str| path.starts_with(root().join(folder));
        // The tests of the pages are no proof of what the pages say.
        (below("src") || below("include") || below(".ci") || below("tests"))
            && !path.ends_with("tests/pages.rs")
    });
    let mut found = BTreeSet::new();
    for path in code {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        found.extend(text.split(|c| !is_name(c)).map(str::to_owned));
    }
    found
}

/// Whether a quotation is the name of a constant, a function or a value: `LIKE_THIS`, `gk_like_this`, `like_this`.
fn is_name(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && text.contains('_') && !text.ends_with('_') && !text.starts_with('_')
}

#[test]
fn every_file_that_a_page_names_exists() {
    let sources = sources();
    let (mut seen, mut missing) = (0, Vec::new());
    for page in PAGES {
        for text in quoted(&read(&root().join(page))).iter().filter(|text| is_file(text)) {
            seen += 1;
            if !exists(text.trim_end_matches('/'), &sources) {
                missing.push(format!("{page}: {text}"));
            }
        }
    }
    assert!(seen > 60, "only {seen} files were found on the pages");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_name_that_a_page_uses_is_in_the_code() {
    let words = words(&sources());
    let (mut seen, mut missing) = (0, Vec::new());
    for page in PAGES {
        for text in quoted(&read(&root().join(page))).iter().filter(|text| is_name(text)) {
            seen += 1;
            if !words.contains(text) {
                missing.push(format!("{page}: {text}"));
            }
        }
    }
    assert!(seen > 60, "only {seen} names were found on the pages");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The architecture's map has every source file of the crate.
#[test]
fn the_map_is_whole() {
    let page = read(&root().join("ARCHITECTURE.md"));
    let quoted = quoted(&page);
    for path in sources() {
        let Ok(relative) = path.strip_prefix(root()) else { continue };
        let name = relative.to_string_lossy().into_owned();
        let tests = name.contains("/tests/") || name.ends_with("/tests.rs");
        if !name.starts_with("src/") || tests || !name.ends_with(".rs") {
            continue;
        }
        let is_index = name.ends_with("/mod.rs") && read(&path).lines().count() < 60;
        let file = name.rsplit('/').next().unwrap_or_default();
        let in_ffi = name.starts_with("src/ffi/") && quoted.iter().any(|text| text == file);
        assert!(is_index || in_ffi || quoted.contains(&name), "{name} is not on ARCHITECTURE.md's map");
    }
}

/// The C program is the one in the header, which tests/c_abi.rs runs.
#[test]
fn the_readme_shows_the_headers_example() {
    let shown = blocks(&read(&root().join("README.md")), "c");
    assert_eq!(shown.len(), 1);
    let header = read(&root().join("include/gamekeeper.h"));
    let lines = header.lines().skip_while(|line| !line.contains("#include <gamekeeper.h>"));
    let lines = lines.take_while(|line| *line == " *" || line.starts_with(" *     "));
    let example: Vec<&str> = lines.map(|line| line.get(7..).unwrap_or("")).collect();
    assert_eq!(shown[0].trim(), example.join("\n").trim());
    assert!(example.len() < 40, "{} lines", example.len());
}

#[test]
fn the_readmes_programs_compile() {
    let page = read(&root().join("README.md"));
    let (cpp, python) = (blocks(&page, "cpp"), blocks(&page, "python"));
    assert!(!cpp.is_empty() && !python.is_empty());
    for block in cpp {
        c::check_syntax(Language::Cpp17, "readme", &block);
    }
    for block in python {
        let check = "import sys; compile(sys.argv[1], 'README.md', 'exec')";
        let output = Command::new("python3").args(["-c", check, &block]).output().expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A fresh clone is tried with the first line of each kind: there is no other.
#[test]
fn the_readme_has_one_command_to_run_and_one_to_test() {
    let page = read(&root().join("README.md"));
    let commands = |start: &str| page.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((commands("cargo run"), commands("cargo test")), (1, 1));
}

#[test]
fn the_test_itself_tells_files_and_names_from_words() {
    assert_eq!(quoted("a `b` c\n```\n`no`\n```\n`d/e.rs`"), ["b", "d/e.rs"]);
    for file in ["src/ffi/", "README.md", "src/ffi/*.rs", ".ci/run", "udp.rs"] {
        assert!(is_file(file), "{file}");
    }
    for other in ["send", "poll_*", "Vec<u8>", "cargo run", "GK_OK", "a | b"] {
        assert!(!is_file(other), "{other}");
    }
    let sources = sources();
    assert!(exists("src/ffi/*.rs", &sources) && exists("udp.rs", &sources) && exists("src/net", &sources));
    assert!(
        !exists("src/ffi/*.c", &sources) && !exists("none.rs", &sources) && !exists("src/none", &sources)
    );
    assert!(is_name("MAX_PEERS") && is_name("max_peers") && !is_name("peers") && !is_name("gk_server_*"));
}
