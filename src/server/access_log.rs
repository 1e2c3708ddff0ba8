//! One line per connect, refusal and disconnect.
//!
//! A line is `TIME EVENT ADDRESS TOKEN REASON`, separated by single blanks: RFC 3339 in UTC, one of
//! `connect`, `disconnect`, `refuse`, the remote address, the session's token or `-`, and free text to the
//! line's end (or `-`), in which control characters and backslashes are escaped. A line that stands for
//! others that were left out has `-` for its address.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};
use crate::protocol::time::Time;

/// Refusals written per second on average, with bursts of as many. Strangers cause them: those above it
/// are counted, and one line a second at most tells how many there were.
pub const REFUSALS_PER_SECOND: u64 = 100;

/// Longest reason in characters; what is longer is cut.
pub const MAX_REASON_CHARACTERS: usize = 256;

/// Least time between two lines that tell of lines left out.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

/// What one line costs of `AccessLog::credit`, which grows by `REFUSALS_PER_SECOND` a microsecond.
const LINE_COST: u64 = 1_000_000;

const MAX_CREDIT: u64 = REFUSALS_PER_SECOND * LINE_COST;

/// The last second that RFC 3339's four-digit years can show.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// A client proved itself.
    Connect,
    /// A peer left.
    Disconnect,
    /// A stranger was not let in.
    Refuse,
    /// A client goes on from another address.
    Move,
}

impl AccessEvent {
    /// What it is called in a line.
    pub fn name(self) -> &'static str {
        match self {
            AccessEvent::Connect => "connect",
            AccessEvent::Disconnect => "disconnect",
            AccessEvent::Refuse => "refuse",
            AccessEvent::Move => "move",
        }
    }
}

/// The access log's file. Each line is one write, at the file's end, so that a file that is copied and
/// truncated by a log rotation goes on well.
pub struct AccessLog {
    path: PathBuf,
    out: Box<dyn Write + Send>,
    /// The line under construction, kept for its memory.
    buffer: String,
    /// The latest time given.
    latest: Time,
    /// What refusals may still be written.
    credit: u64,
    /// Refusals left out and not told of yet.
    untold: u64,
    /// When refusals left out were last told of.
    told_at: Option<Time>,
    suppressed: u64,
    failed: u64,
    /// The last write failed, maybe with a part of its line written.
    broken_line: bool,
}

impl AccessLog {
    /// Opens the file for appending, and creates it if it is missing. Errors: Io, naming the path.
    pub fn open(path: &Path) -> Result<AccessLog> {
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Ok(AccessLog::new(path, Box::new(file))),
            Err(error) => Err(io_error(path, &error)),
        }
    }

    fn new(path: &Path, out: Box<dyn Write + Send>) -> AccessLog {
        AccessLog {
            path: path.to_owned(),
            out,
            buffer: String::new(),
            latest: Time::default(),
            credit: MAX_CREDIT,
            untold: 0,
            told_at: None,
            suppressed: 0,
            failed: 0,
            broken_line: false,
        }
    }

    /// Writes one line, or counts it when it is a refusal too many. `now` is also its time: it is expected
    /// not to go back. Errors: Io, at the first write that fails; later failures are only counted, since
    /// whoever is told once need not be told a thousand times.
    pub fn line(
        &mut self,
        now: Time,
        what: AccessEvent,
        address: SocketAddr,
        token: Option<u32>,
        reason: &str,
    ) -> Result<()> {
        let told = self.tick(now);
        if what == AccessEvent::Refuse && !self.spend() {
            self.suppressed += 1;
            self.untold += 1;
            return told;
        }
        // Both are tried; of two errors the first is the one to report, and the second is `Ok` anyway.
        told.and(self.write(what, Some(address), token, reason))
    }

    /// Tells of refusals left out, if there are any and it is time. To be called now and then (the reconcile
    /// timer will do), so that the end of a flood is told of even when nothing follows it. Errors: as
    /// [`line`](Self::line).
    pub fn tick(&mut self, now: Time) -> Result<()> {
        let elapsed = now.since(self.latest);
        self.latest = self.latest.max(now);
        let earned =
            u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).saturating_mul(REFUSALS_PER_SECOND);
        self.credit = self.credit.saturating_add(earned).min(MAX_CREDIT);

        let due = self.told_at.is_none_or(|told_at| self.latest.since(told_at) >= SUMMARY_INTERVAL);
        if self.untold == 0 || !due || !self.spend() {
            return Ok(());
        }
        self.tell()
    }

    /// How many refusals were left out because there were too many.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// How many lines could not be written.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Takes the price of one refusal, if it is there.
    fn spend(&mut self) -> bool {
        match self.credit.checked_sub(LINE_COST) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    fn tell(&mut self) -> Result<()> {
        let text = format!("{} more refusals, too many to write", self.untold);
        self.untold = 0;
        self.told_at = Some(self.latest);
        self.write(AccessEvent::Refuse, None, None, &text)
    }

    fn write(
        &mut self,
        what: AccessEvent,
        address: Option<SocketAddr>,
        token: Option<u32>,
        reason: &str,
    ) -> Result<()> {
        self.buffer.clear();
        if self.broken_line {
            self.buffer.push('\n');
        }
        self.format(what, address, token, reason).expect("a String takes all that is written to it");
        let written = self.out.write_all(self.buffer.as_bytes());
        self.broken_line = written.is_err();
        match written {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed += 1;
                if self.failed == 1 {
                    Err(io_error(&self.path, &error))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn format(
        &mut self,
        what: AccessEvent,
        address: Option<SocketAddr>,
        token: Option<u32>,
        reason: &str,
    ) -> std::fmt::Result {
        // humantime panics beyond the year 9999.
        let micros = self.latest.as_micros().min(LAST_SECOND * 1_000_000);
        let time = humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(micros));
        let line = &mut self.buffer;
        write!(line, "{time} {}", what.name())?;
        match address {
            Some(address) => write!(line, " {address}")?,
            None => line.push_str(" -"),
        }
        match token {
            Some(token) => write!(line, " {token} ")?,
            None => line.push_str(" - "),
        }
        line.push_str(if reason.is_empty() { "-" } else { "" });
        for character in reason.chars().take(MAX_REASON_CHARACTERS) {
            // The two separators break lines in some viewers without being control characters.
            if character.is_control() || matches!(character, '\\' | '\u{2028}' | '\u{2029}') {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        Ok(())
    }
}

impl Drop for AccessLog {
    /// Tells of what was left out since the last time.
    fn drop(&mut self) {
        if self.untold > 0 {
            // Nobody is left to be told of a failure.
            let _ = self.tell();
        }
    }
}

fn io_error(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("access log {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A file in memory, whose writes fail after `room` bytes while that is set.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<(Vec<u8>, Option<usize>)>>);

    impl Memory {
        fn log(&self) -> AccessLog {
            AccessLog::new(Path::new("memory"), Box::new(self.clone()))
        }

        fn set_room(&self, room: Option<usize>) {
            self.0.lock().unwrap().1 = room;
        }

        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
            text.lines().map(str::to_owned).collect()
        }
    }

    impl Write for Memory {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let (bytes, room) = &mut *self.0.lock().unwrap();
            let length = room.unwrap_or(usize::MAX).min(data.len());
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.extend_from_slice(&data[..length]);
            *room = room.map(|room| room - length);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn address() -> SocketAddr {
        "192.0.2.1:5000".parse().unwrap()
    }

    fn ms(ms: u64) -> Time {
        Time::from_micros(1_700_000_000_000_000 + ms * 1000)
    }

    fn refuse(log: &mut AccessLog, now: Time) -> Result<()> {
        log.line(now, AccessEvent::Refuse, address(), None, "full")
    }

    #[test]
    fn a_line_has_its_five_parts() {
        let memory = Memory::default();
        let mut log = memory.log();
        log.line(ms(1), AccessEvent::Connect, address(), Some(42), "").unwrap();
        log.line(
            ms(2),
            AccessEvent::Disconnect,
            "[2001:db8::1]:9".parse().unwrap(),
            Some(u32::MAX),
            "said goodbye",
        )
        .unwrap();
        log.line(ms(3), AccessEvent::Refuse, address(), None, "full").unwrap();
        assert_eq!(
            memory.lines(),
            [
                "2023-11-14T22:13:20.001000Z connect 192.0.2.1:5000 42 -",
                "2023-11-14T22:13:20.002000Z disconnect [2001:db8::1]:9 4294967295 said goodbye",
                "2023-11-14T22:13:20.003000Z refuse 192.0.2.1:5000 - full",
            ]
        );
    }

    #[test]
    fn a_reason_cannot_make_a_line_of_its_own() {
        let memory = Memory::default();
        let mut log = memory.log();
        let reason = "a\nb\r\u{85}c\u{2028}d\0e\x1b[31m\\n ünd";
        log.line(ms(0), AccessEvent::Disconnect, address(), Some(1), reason).unwrap();
        log.line(ms(0), AccessEvent::Disconnect, address(), Some(1), &"ä".repeat(100_000)).unwrap();
        let lines = memory.lines();
        assert_eq!(lines.len(), 2);
        let expected = r" 1 a\nb\r\u{85}c\u{2028}d\u{0}e\u{1b}[31m\\n ünd";
        assert!(lines[0].ends_with(expected), "{}", lines[0]);
        assert!(lines[1].ends_with(&"ä".repeat(MAX_REASON_CHARACTERS)));
        assert_eq!(lines[1].chars().filter(|c| *c == 'ä').count(), MAX_REASON_CHARACTERS);
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_told_of() {
        let memory = Memory::default();
        let mut log = memory.log();
        for _ in 0..REFUSALS_PER_SECOND + 50 {
            refuse(&mut log, ms(0)).unwrap();
        }
        assert_eq!(memory.lines().len() as u64, REFUSALS_PER_SECOND);
        assert_eq!(log.suppressed(), 50);
        // What peers do is not limited.
        log.line(ms(0), AccessEvent::Connect, address(), Some(1), "").unwrap();
        assert_eq!(memory.lines().len() as u64, REFUSALS_PER_SECOND + 1);
        // Time earns credit: for the line that tells and for one more.
        refuse(&mut log, ms(20)).unwrap();
        refuse(&mut log, ms(20)).unwrap();
        let lines = memory.lines();
        let end = &lines[lines.len() - 2..];
        assert!(end[0].ends_with("refuse - - 50 more refusals, too many to write"), "{end:?}");
        assert!(end[1].ends_with("refuse 192.0.2.1:5000 - full"), "{end:?}");
        assert_eq!(log.suppressed(), 51);
        // The last one is told of by the timer, once.
        log.tick(ms(500)).unwrap();
        assert_eq!(memory.lines().len(), lines.len());
        log.tick(ms(1020)).unwrap();
        log.tick(ms(5000)).unwrap();
        assert_eq!(memory.lines().len(), lines.len() + 1);
        assert!(memory.lines().last().unwrap().contains(" 1 more refusals"));
    }

    #[test]
    fn a_lasting_flood_writes_at_the_limit_and_every_refusal_is_accounted_for() {
        let memory = Memory::default();
        let mut log = memory.log();
        let (seconds, per_ms) = (10, 5);
        for now in 0..seconds * 1000 {
            for _ in 0..per_ms {
                refuse(&mut log, ms(now)).unwrap();
            }
        }
        let suppressed = log.suppressed();
        drop(log);
        let lines = memory.lines();
        let limit = REFUSALS_PER_SECOND * (seconds + 1) + 1;
        assert!((limit - 5..=limit).contains(&(lines.len() as u64)), "{} lines", lines.len());
        let told: u64 = lines
            .iter()
            .filter_map(|line| line.split_once("refuse - - ")?.1.split(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(told, suppressed, "what is left at the end is told of when the log closes");
        let written = lines.iter().filter(|line| line.ends_with(" full")).count() as u64;
        assert_eq!(written + suppressed, seconds * 1000 * per_ms);
    }

    #[test]
    fn a_write_error_is_returned_once_and_then_counted() {
        let memory = Memory::default();
        let mut log = memory.log();
        memory.set_room(Some(10));
        let error = log.line(ms(0), AccessEvent::Connect, address(), Some(1), "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("memory"), "{error}");
        for _ in 0..3 {
            log.line(ms(0), AccessEvent::Connect, address(), Some(2), "").unwrap();
        }
        assert_eq!(log.failed(), 4);
        memory.set_room(None);
        log.line(ms(0), AccessEvent::Connect, address(), Some(3), "").unwrap();
        let lines = memory.lines();
        assert_eq!(lines.len(), 2, "a line after half a line begins its own: {lines:?}");
        assert!(lines[1].ends_with(" connect 192.0.2.1:5000 3 -"));
    }

    #[test]
    fn any_time_can_be_written() {
        let memory = Memory::default();
        let mut log = memory.log();
        log.line(Time::from_micros(0), AccessEvent::Connect, address(), None, "").unwrap();
        log.line(Time::from_micros(u64::MAX), AccessEvent::Connect, address(), None, "").unwrap();
        log.line(ms(0), AccessEvent::Connect, address(), None, "back").unwrap();
        let lines = memory.lines();
        assert!(lines[0].starts_with("1970-01-01T00:00:00.000000Z "));
        assert!(lines[1].starts_with("9999-12-31T23:59:59.000000Z "));
        assert!(lines[2].ends_with("back"));
    }

    #[test]
    fn a_file_is_created_appended_to_and_named_in_errors() {
        let directory = std::env::temp_dir().join(format!("gamekeeper-access-{}", std::process::id()));
        let path = directory.join("access.log");
        let error = AccessLog::open(&path).err().expect("its directory does not exist yet");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("access.log"), "{error}");
        std::fs::create_dir_all(&directory).unwrap();
        for token in [1, 2] {
            let mut log = AccessLog::open(&path).unwrap();
            log.line(ms(0), AccessEvent::Connect, address(), Some(token), "").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(text.lines().count(), 2);
    }
}
