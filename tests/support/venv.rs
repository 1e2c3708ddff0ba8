//! The virtual environment of the Python tests: `target/venv`, with the requirements of
//! `bindings/python/tests` and the Python binding around the library that cargo has just built.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The Python of the environment, made or brought up to date once per test program. Other programs that
/// do the same wait for each other: the script behind it holds a lock.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(make)
}

/// The library that cargo builds for a test program lies beside it.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let library = program.with_file_name(format!("{DLL_PREFIX}gamekeeper{DLL_SUFFIX}"));
    assert!(library.is_file(), "cargo has built no {}", library.display());
    library
}

fn make() -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = target_folder().join("venv");
    let output = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
        .arg(checkout.join("tests/support/venv.py"))
        .arg(&venv)
        .arg(library())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("the Python tests need python3: {error}"));
    assert!(output.status.success(), "no virtual environment (on Debian it needs the package python3-venv)");
    let text = String::from_utf8(output.stdout).expect("the script prints a path in UTF-8");
    PathBuf::from(text.lines().last().expect("the script prints a path"))
}

/// Cargo's target folder: the one above the profile's folder, in whose `deps` the test program lies.
pub fn target_folder() -> PathBuf {
    // CARGO_TARGET_TMPDIR is `tmp` in the target folder, whatever its name and place.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("`tmp` lies in a folder").to_owned()
}

/// How many tests run at once: they mostly wait, for an answer or for the clock.
const WORKERS: &str = "3";

/// Runs pytest on a folder or file and prints its closing line on stderr. Panics when a test failed or none ran.
pub fn pytest(tests: &Path, environment: &[(&str, &str)]) {
    let mut command = Command::new(python());
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "--color=no"]).arg(tests);
    command.args(["-n", WORKERS, "--dist", "worksteal"]);
    // From elsewhere: in the binding's own folder its sources would be imported, not what is installed.
    command.current_dir(target_folder()).envs(environment.iter().copied());
    // What is installed brings its own library, and nothing is to be written beside the sources.
    command.env_remove("GAMEKEEPER_LIBRARY").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.stderr(Stdio::inherit()).output().expect("the environment's Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let closing =
        text.lines().rev().find(|line| line.starts_with("===")).unwrap_or("pytest printed no summary");
    if output.status.success() && count(closing, "passed") > 0 {
        // Not by `eprintln!`, which the test harness keeps to itself: the counts are for whoever ran it.
        writeln!(std::io::stderr(), "{closing}").expect("stderr takes a line");
    } else {
        panic!("{text}\npytest on {}: {closing}", tests.display());
    }
}

/// The number before a word: in "== 3 passed, 1 skipped in 2.00s ==" 3 for "passed", and 0 for "failed".
fn count(closing: &str, word: &str) -> u32 {
    let mut words = closing.split_whitespace().map(|word| word.trim_end_matches(','));
    let mut number = 0;
    words
        .find_map(|one| {
            let found = (one == word).then_some(number);
            number = one.parse().unwrap_or(0);
            found
        })
        .unwrap_or(0)
}
