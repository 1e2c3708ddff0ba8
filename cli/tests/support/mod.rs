//! What the tests of the command line have in common. Each test binary uses a part.
#![allow(dead_code)]

use std::io::BufRead;
use std::process::Child;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_gamekeeper");

/// A process that ends with its test, also when that fails.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The next line that a process says. One that has ended fails the test.
pub fn line_of(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert!(output.read_line(&mut line).expect("it speaks UTF-8") > 0, "it has ended");
    line
}
