//! The Python package mpgameserver, in a virtual environment under cargo's target folder: `python_server.py` is the
//! server's role, and gamekeeper's clients of that wire are the load's.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Result;
use crate::options::{Delivery, Options};

/// As the interoperation tests have it.
const REQUIREMENT: &str = "mpgameserver==0.2.4";
/// More than these a server in Python does not keep up with: at twice as many a quarter of what they say is lost, and at
/// 1000, each of whom says ten times a second that it is there, not all get in.
pub const MAX_CLIENTS: usize = 100;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/field-venv")
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether the package is there; the first time it is installed.
pub fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let python = folder().join("bin/python");
        let is_there = || {
            succeeds(
                Command::new(&python).args(["-c", "import mpgameserver"]).stderr(std::process::Stdio::null()),
            )
        };
        if is_there() {
            return true;
        }
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT];
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(folder()))
            && succeeds(Command::new(&python).args(pip))
            && is_there()
    })
}

/// Becomes the server.
pub fn serve(options: &Options) -> Result<()> {
    let delivery = if options.delivery == Delivery::Guaranteed { "guaranteed" } else { "unreliable" };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/peer/python_server.py");
    let mut python = Command::new(folder().join("bin/python"));
    python.arg(script).args([&options.workload, delivery]);
    if std::env::var_os("FIELD_VERBOSE").is_none() {
        // The package tells of every datagram of a client that has gone.
        python.stderr(std::process::Stdio::null());
    }
    // Comes back only if there is no such program.
    Err(python.exec().into())
}
