//! Cargo, the header, the library, the Python package, the Godot extension and the changelog agree on the version.

use std::path::Path;

/// Cargo's word, which the others are held against.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The numbers of "1.2.3".
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().expect("a version is made of numbers")).collect()
}

#[test]
fn the_header_has_it() {
    let header = read("include/gamekeeper.h");
    let value = |name: &str| -> u32 {
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    };
    let parts = ["GK_VERSION_MAJOR", "GK_VERSION_MINOR", "GK_VERSION_PATCH"].map(value);
    assert_eq!(parts.as_slice(), numbers(VERSION));
}

#[test]
fn the_library_says_it() {
    use gamekeeper::ffi::version::{gk_version, gk_version_str};
    // SAFETY: a text of the library's own, which ends with NUL and lives for ever.
    let text = unsafe { std::ffi::CStr::from_ptr(gk_version_str()) };
    assert_eq!(text.to_str(), Ok(VERSION));
    let parts = numbers(VERSION);
    assert_eq!(gk_version(), parts[0] << 16 | parts[1] << 8 | parts[2]);
}

#[test]
fn the_python_package_has_it() {
    let text = read("bindings/python/gamekeeper/_version.py");
    let version = text.lines().find_map(|line| line.strip_prefix("__version__ = ")).expect("__version__");
    assert_eq!(version.trim_matches('"'), VERSION);
}

#[test]
fn the_godot_extension_has_it() {
    let text = read("bindings/godot/Cargo.toml");
    let version = text.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version");
    assert_eq!(version.trim_matches('"'), VERSION);
}

/// The newest release of the changelog is this version, and what is not released stands above it.
#[test]
fn the_changelog_has_it() {
    let text = read("CHANGELOG.md");
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## [")).collect();
    let names: Vec<&str> = headings.iter().filter_map(|heading| heading.split(']').next()).collect();
    assert_eq!(names.first(), Some(&"Unreleased"));
    assert_eq!(names.get(1), Some(&VERSION));
}
