//! Building and running C and C++ programs against the library under test. Each test binary uses a part.
#![allow(dead_code)]
// Programs are real, and so is the time that they take.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A program that takes longer has hung. Under valgrind, on a busy machine, the longest take a minute.
const PROGRAM_TIME: Duration = Duration::from_secs(300);

/// Compiler flags for every program.
const STRICT: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-g"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of this process alone, for test binaries run side by side; each call gives another one.
pub fn temporary(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    directory().join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// The directory of this process. Those that processes before it left behind are removed.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let running = Path::new("/proc").join(entry.file_name()).exists();
            if !running {
                // Another process may be removing it as well.
                let _gone = std::fs::remove_dir_all(entry.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&own).unwrap();
        own
    })
}

/// The shared library of the very build that this test binary was linked with: cargo compiles all crate
/// types of a library in one go, and puts the shared one beside the test binaries.
pub fn shared_library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let library = test.parent().expect("a file has a directory").join("libgamekeeper.so");
    assert!(library.is_file(), "{} is missing", library.display());
    library
}

/// A directory with the library under the two names that linking and running ask for.
fn library_directory() -> &'static Path {
    static LINKS: OnceLock<PathBuf> = OnceLock::new();
    LINKS.get_or_init(|| {
        let links = temporary("lib");
        std::fs::create_dir_all(&links).unwrap();
        for name in ["libgamekeeper.so", "libgamekeeper.so.0"] {
            std::os::unix::fs::symlink(shared_library(), links.join(name)).unwrap();
        }
        links
    })
}

/// A language and its standard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    C99,
    Cpp17,
}

/// Runs the compiler and fails with its words.
fn compile(language: Language, arguments: &[OsString]) {
    let (compiler, standard) = match language {
        Language::C99 => ("gcc", "-std=c99"),
        Language::Cpp17 => ("g++", "-std=c++17"),
    };
    let mut command = Command::new(compiler);
    command.arg(standard).args(STRICT).arg("-I").arg(root().join("include"));
    if let Ok(flags) = std::env::var("GAMEKEEPER_CFLAGS") {
        command.args(flags.split_whitespace());
    }
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("{compiler} does not run: {e}"));
    assert!(
        output.status.success(),
        "{compiler} {arguments:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Compiles a text without linking.
pub fn check_syntax(language: Language, name: &str, source: &str) {
    check_syntax_with(language, name, source, &[]);
}

pub fn check_syntax_with(language: Language, name: &str, source: &str, flags: &[&str]) {
    let extension = if language == Language::C99 { "c" } else { "cpp" };
    let file = temporary(&format!("{name}.{extension}"));
    std::fs::write(&file, source).unwrap();
    let mut arguments: Vec<OsString> = flags.iter().map(OsString::from).collect();
    arguments.extend(["-fsyntax-only".into(), file.into()]);
    compile(language, &arguments);
}

/// What a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Shared,
    Static,
    /// It loads the library itself.
    Nothing,
}

/// Compiles and links one source file against the shared library.
pub fn build(language: Language, source: &Path) -> PathBuf {
    build_with(language, source, Link::Shared)
}

pub fn build_with(language: Language, source: &Path, link: Link) -> PathBuf {
    let stem = source.file_stem().expect("a source has a name").to_string_lossy();
    let program = temporary(&stem);
    let mut arguments: Vec<OsString> = vec![source.into(), "-o".into(), program.clone().into()];
    match link {
        Link::Shared => {
            let directory = library_directory();
            let mut rpath = OsString::from("-Wl,-rpath,");
            rpath.push(directory);
            arguments.extend(["-L".into(), directory.into(), "-lgamekeeper".into(), rpath]);
        }
        Link::Static => {
            let library = shared_library().with_extension("a");
            assert!(library.is_file(), "{} is missing", library.display());
            // What `rustc --print native-static-libs` names.
            arguments.extend([library.into(), "-lgcc_s".into(), "-lutil".into(), "-lrt".into()]);
            arguments.extend(["-lm".into(), "-ldl".into(), "-lc".into()]);
        }
        Link::Nothing => arguments.push("-ldl".into()),
    }
    arguments.push("-lpthread".into());
    compile(language, &arguments);
    program
}

/// A program that runs; killed on drop, by its own id.
pub struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    name: String,
}

impl Program {
    /// Starts it, under the runner in `GAMEKEEPER_RUNNER` if there is one (valgrind, for instance).
    pub fn start(program: &Path, arguments: &[&str]) -> Program {
        let runner = std::env::var("GAMEKEEPER_RUNNER").unwrap_or_default();
        let mut words = runner.split_whitespace();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not run: {e}", program.display()));
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Program { child, stdout, name: program.display().to_string() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output, without the end; fails at the output's end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).unwrap();
        assert!(read > 0, "{} ended its output early: {:?}", self.name, self.child.wait());
        line.trim_end().to_owned()
    }

    /// Reads lines until one starts with `prefix`, and gives the rest of that one.
    pub fn line_after(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Sends a signal to it, by its id.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Closes its input, waits for it, and fails unless it succeeded. Gives the rest of its output.
    pub fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        let watch = Watch::start(self.child.id());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        drop(watch);
        assert!(status.success(), "{} ended with {status}; its output ended with:\n{rest}", self.name);
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a program that hangs, so that its test fails instead of hanging too.
struct Watch {
    done: std::sync::mpsc::Sender<()>,
}

impl Watch {
    fn start(id: u32) -> Watch {
        let (done, ended) = std::sync::mpsc::channel();
        let deadline = Instant::now() + PROGRAM_TIME;
        std::thread::spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
            }
        });
        Watch { done }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.done.send(());
    }
}

/// C code without its comments.
pub fn without_comments(code: &str) -> String {
    let mut rest = code;
    let mut out = String::new();
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        rest = after.find("*/").map_or("", |end| &after[end + 2..]);
    }
    out.push_str(rest);
    out
}

/// Names of all functions that the header declares. A declaration starts a line with a type, a pointer or
/// not, and its name is followed by an opening parenthesis.
pub fn declared(header: &str) -> BTreeSet<String> {
    let code = without_comments(header);
    let mut names = BTreeSet::new();
    for line in code.lines().filter(|line| !line.starts_with(['#', ' ']) && !line.starts_with("typedef")) {
        let Some((before, _)) = line.split_once('(') else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        if name.starts_with("gk_") {
            assert!(names.insert(name.to_owned()), "{name} is declared twice");
        }
    }
    names
}
