//! What is printed. A reader that has gone away ends nothing, and what others send cannot command the terminal.

use std::io::{stderr, stdout, IsTerminal, Write};

/// One line on standard output, at once. A pipe that nobody reads any more is no error: the command goes on.
pub fn say(text: &str) {
    let mut out = stdout().lock();
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// One line on standard error.
pub fn complain(text: &str) {
    let _gone = writeln!(stderr().lock(), "gamekeeper: {}", visible(text));
}

/// A line of what somebody else sent: as it is into a pipe or a file, harmless on a terminal.
pub fn say_received(data: &[u8]) {
    if stdout().is_terminal() {
        say(&visible(&String::from_utf8_lossy(data)));
        return;
    }
    let mut out = stdout().lock();
    let _gone = out.write_all(data).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Without control characters: they are written as escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() && c != '\t' {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(visible("a\u{1b}[2J\r\nb\tü\u{9b}c"), "a\\u{1b}[2J\\r\\nb\tü\\u{9b}c");
    }
}
