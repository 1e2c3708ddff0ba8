//! The tests of the Python binding, in `bindings/python/tests`: unit tests, and the real mpgameserver client
//! on servers that Python hosts.

#[path = "support/venv.rs"]
mod venv;

use std::path::Path;

#[test]
fn python_binding() {
    venv::pytest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/python/tests"), &[]);
}
