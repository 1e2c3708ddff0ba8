//! What the project depends on: licences that deny.toml allows, and direct dependencies that it gives a reason for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// deny.toml, whose layout is simple enough to be read by lines.
struct Deny {
    licences: BTreeSet<String>,
    /// Direct dependencies and their reasons.
    reasons: BTreeMap<String, String>,
}

impl Deny {
    fn read() -> Deny {
        let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
        let list =
            text.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).expect("allow = […]").0;
        let licences = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        let comments =
            text.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.strip_prefix("# "));
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let reasons = comments
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| is_name(name))
            .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
            .collect();
        Deny { licences, reasons }
    }
}

/// What cargo knows of the packages for this machine. Those of the default members were fetched to build this very
/// test; what `benches/field` and `bindings/godot` need besides is fetched here, once.
fn metadata() -> Value {
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output();
    let version = String::from_utf8(rustc.expect("rustc runs").stdout).expect("rustc writes UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let ask = |more: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]).args(more);
        cargo.current_dir(root()).output().expect("cargo runs")
    };
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Whether a package is one of this workspace.
fn is_own(package: &Value) -> bool {
    ["gamekeeper", "gamekeeper-cli", "gamekeeper-godot", "demo", "field"]
        .iter()
        .any(|name| package["name"] == *name)
}

/// Whether an SPDX expression can be fulfilled with these licences. `/` is an old way to write OR.
fn is_allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let allowed = any(&mut words, licences);
    allowed && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words, licences: &BTreeSet<String>) -> bool {
    let mut allowed = all(words, licences);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all(words, licences);
    }
    allowed
}

fn all(words: &mut Words, licences: &BTreeSet<String>) -> bool {
    let mut allowed = one(words, licences);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words, licences);
    }
    allowed
}

fn one(words: &mut Words, licences: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => any(words, licences) & words.next_if_eq(&")").is_some(),
        Some(name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            licences.contains(&name)
        }
        None => false,
    }
}

#[test]
fn every_licence_is_allowed() {
    let deny = Deny::read();
    assert!(deny.licences.len() > 5, "the list was not read: {:?}", deny.licences);
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 20, "only {} packages", packages.len());
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        assert!(is_allowed(licence, &deny.licences), "{name} is under {licence}: not allowed in deny.toml");
    }
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let own = packages.iter().filter(|package| is_own(package));
    let direct = own.filter_map(|package| package["dependencies"].as_array()).flatten();
    let direct = direct.filter_map(|dependency| dependency["name"].as_str());
    // The other packages depend on the library.
    let direct: BTreeSet<&str> = direct.filter(|name| *name != "gamekeeper").collect();
    let deny = Deny::read();
    let named: BTreeSet<&str> = deny.reasons.keys().map(String::as_str).collect();
    assert_eq!(direct, named, "left: Cargo.toml; right: deny.toml's comments");
    assert!(deny.reasons.values().all(|reason| reason.len() > 5), "{:?}", deny.reasons);
}

#[test]
fn sources_are_the_registry_alone() {
    for package in metadata()["packages"].as_array().expect("a list of packages") {
        let source = package["source"].as_str();
        let right = source.map_or(is_own(package), |source| source.starts_with("registry+"));
        assert!(right, "{} comes from {source:?}", package["name"]);
    }
}

#[test]
fn the_test_itself_tells_good_licences_from_bad_ones() {
    let licences: BTreeSet<String> = ["MIT", "ISC", "A WITH B"].map(str::to_owned).into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND BSD", false),
        ("A WITH B", true),
        ("A", false),
        ("MIT)", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &licences), expected, "{expression}");
    }
}
