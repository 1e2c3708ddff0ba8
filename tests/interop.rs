//! The real client of the Python package mpgameserver against this library's server: `tests/interop`.

use std::path::Path;

#[path = "support/venv.rs"]
mod venv;

/// The tests host the server with the Python binding. `INTEROP_SERVER=mpgameserver` puts the package's own
/// server in its place, for a comparison.
#[test]
fn real_clients_play_on_this_server() {
    venv::pytest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop"), &[]);
}
