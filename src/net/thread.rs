//! Threads.

use std::io;
use std::thread::JoinHandle;

/// Starts a thread. Errors: what the operating system says.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(body)
}
