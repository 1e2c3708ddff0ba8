//! The last lines of the log.

use std::collections::VecDeque;
use std::fmt::Display;

/// Lines kept; older ones are forgotten.
pub const MAX_TAIL_LINES: usize = 200;
/// Longest line in characters; the rest is cut off.
pub const MAX_TAIL_CHARACTERS: usize = 300;
/// Refusals among the lines of one second; strangers cause them, and could wash everything else away.
pub const MAX_TAIL_REFUSALS: usize = 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was collected, in seconds since 1970.
    pub at_s: u64,
    /// `error`, `warn`, `info`, `debug`, or of the access log `connect`, `disconnect`, `refuse`, `move`.
    pub kind: &'static str,
    /// What it says.
    pub text: String,
}

/// Lines that were not collected yet, at most [`MAX_TAIL_LINES`]. It lives in the core, which knows no time of day.
#[derive(Debug, Default)]
pub struct LogTail {
    lines: VecDeque<(&'static str, String)>,
    refusals: usize,
}

impl LogTail {
    /// Adds a line. The oldest goes when there are too many. A refusal beyond [`MAX_TAIL_REFUSALS`] is counted only: its text
    /// is not even written.
    pub fn push(&mut self, kind: &'static str, text: impl Display) {
        if kind == "refuse" {
            self.refusals += 1;
            if self.refusals > MAX_TAIL_REFUSALS {
                return;
            }
        }
        if self.lines.len() >= MAX_TAIL_LINES {
            self.lines.pop_front();
        }
        let mut text = text.to_string();
        if let Some((end, _)) = text.char_indices().nth(MAX_TAIL_CHARACTERS) {
            text.truncate(end);
        }
        self.lines.push_back((kind, text));
    }

    /// Takes what came since the last time; the caller's lines are kept to [`MAX_TAIL_LINES`].
    pub fn collect(&mut self, at_s: u64, into: &mut VecDeque<LogLine>) {
        let more = self.refusals.saturating_sub(MAX_TAIL_REFUSALS);
        self.refusals = 0;
        into.extend(self.lines.drain(..).map(|(kind, text)| LogLine { at_s, kind, text }));
        if more > 0 {
            into.push_back(LogLine { at_s, kind: "refuse", text: format!("{more} more, left out") });
        }
        into.drain(..into.len().saturating_sub(MAX_TAIL_LINES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let (mut tail, mut kept) = (LogTail::default(), VecDeque::new());
        for i in 0..MAX_TAIL_LINES + 5 {
            tail.push("info", format_args!("line {i}"));
        }
        tail.push("warn", "ü".repeat(10_000));
        tail.collect(7, &mut kept);
        assert_eq!(kept.len(), MAX_TAIL_LINES);
        assert_eq!(kept[0].text, "line 6");
        assert_eq!(kept[MAX_TAIL_LINES - 1].text.chars().count(), MAX_TAIL_CHARACTERS);
        tail.push("info", "last");
        tail.collect(8, &mut kept);
        assert_eq!((kept.len(), kept[MAX_TAIL_LINES - 1].at_s), (MAX_TAIL_LINES, 8));
        tail.collect(9, &mut kept);
        assert_eq!(kept[MAX_TAIL_LINES - 1].text, "last");
    }

    #[test]
    fn what_a_flood_is_refused_for_is_not_even_written() {
        use std::cell::Cell;
        struct Counted<'a>(&'a Cell<usize>);
        impl Display for Counted<'_> {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.set(self.0.get() + 1);
                Ok(())
            }
        }
        let (mut tail, written) = (LogTail::default(), Cell::new(0));
        for _ in 0..10_000 {
            tail.push("refuse", Counted(&written));
        }
        assert_eq!(written.get(), MAX_TAIL_REFUSALS);
    }

    #[test]
    fn refusals_do_not_wash_away_the_rest() {
        let (mut tail, mut kept) = (LogTail::default(), VecDeque::new());
        tail.push("connect", "somebody");
        for _ in 0..10_000 {
            tail.push("refuse", "a stranger");
        }
        tail.collect(1, &mut kept);
        assert_eq!((kept.len(), kept[0].text.as_str()), (MAX_TAIL_REFUSALS + 2, "somebody"));
        assert_eq!(kept[MAX_TAIL_REFUSALS + 1].text, "9980 more, left out");
        // A new second, a new account.
        tail.push("refuse", "another");
        tail.collect(2, &mut kept);
        assert_eq!(kept.back().map(|line| line.text.as_str()), Some("another"));
    }
}
