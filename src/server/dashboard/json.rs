//! The figures as JSON.

use std::fmt::Write;

use crate::metrics::series::Second;
use crate::server::dashboard::{door_name, share, status_name, wire_name, Overview, PeerRow, DROP_NAMES};

/// Columns of a row of `/peers.json`, in their order.
pub const PEER_COLUMNS: [&str; 15] = [
    "id",
    "address",
    "door",
    "wire",
    "status",
    "token",
    "latency_us",
    "loss",
    "queued_messages",
    "queued_bytes",
    "age_s",
    "assembled",
    "acked",
    "timeouts",
    "received",
];

/// Text as a JSON string. What could end a script, or a line in one, is escaped too.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' || "\u{7f}<>&\u{2028}\u{2029}".contains(c) => {
                // Writing to a String does not fail.
                let _written = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number with a fraction; what is none is 0, which JSON can say.
fn fraction(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        "0".to_owned()
    }
}

/// Members of an object, one after the other.
struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, first: true }
    }

    fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        let _written = write!(self.name(name), "{}", value.into());
    }

    fn numbers<'n>(&mut self, numbers: impl IntoIterator<Item = (&'n str, u64)>) {
        for (name, value) in numbers {
            self.number(name, value);
        }
    }

    fn fraction(&mut self, name: &str, value: f64) {
        let text = fraction(value, 6);
        self.name(name).push_str(&text);
    }

    fn text(&mut self, name: &str, value: &str) {
        string(self.name(name), value);
    }

    fn list<T: std::fmt::Display>(&mut self, name: &str, values: impl Iterator<Item = T>) {
        let out = self.name(name);
        out.push('[');
        for (at, value) in values.enumerate() {
            let _written = write!(out, "{}{value}", if at > 0 { "," } else { "" });
        }
        out.push(']');
    }

    fn close(self) {
        self.out.push('}');
    }
}

/// `/stats.json`: everything but the peers one by one.
pub fn stats(overview: &Overview) -> String {
    let mut out = String::with_capacity(64 << 10);
    let mut all = Object::open(&mut out);
    all.text("version", env!("CARGO_PKG_VERSION"));
    all.text("address", &overview.address);
    all.number("now_s", overview.now_s);
    all.fraction("uptime_s", overview.uptime.as_secs_f64());
    all.fraction("rate_hz", overview.rate_hz);
    all.number("max_peers", overview.max_peers);
    counts(&mut all, overview);
    packets(&mut all, overview);
    let mut drops = Object::open(all.name("drops"));
    drops.numbers(DROP_NAMES.into_iter().zip(overview.stats.drops));
    drops.close();
    now(&mut all, overview);
    series(&mut all, overview);
    log(&mut all, overview);
    all.close();
    out
}

fn counts(all: &mut Object<'_>, overview: &Overview) {
    let stats = &overview.stats;
    let mut of = Object::open(all.name("server"));
    of.numbers([
        ("peers", stats.peers.into()),
        ("handshakes", stats.handshakes.into()),
        ("joining", stats.joining.into()),
        ("connects", stats.connects),
        ("disconnects", stats.disconnects),
        ("refusals", stats.refusals),
        ("handshake_timeouts", stats.handshake_timeouts),
        ("migrations", stats.migrations),
        ("packets_sent", stats.packets_sent),
        ("packets_received", stats.packets_received),
        ("bytes_sent", stats.bytes_sent),
        ("bytes_received", stats.bytes_received),
        ("ticks", stats.ticks),
        ("ticks_missed", stats.ticks_missed),
        ("log_lines_suppressed", stats.log_lines_suppressed),
        ("queued_messages", overview.queued_messages),
        ("queued_bytes", overview.queued_bytes),
    ]);
    of.close();
}

fn packets(all: &mut Object<'_>, overview: &Overview) {
    let packets = &overview.packets;
    let mut of = Object::open(all.name("packets"));
    of.numbers([
        ("assembled", packets.assembled),
        ("acked", packets.acked),
        ("timeouts", packets.timeouts),
        ("pending", packets.pending),
        ("received", packets.received),
        ("dropped", overview.stats.drops.iter().copied().fold(0, u64::saturating_add)),
        ("messages_sent", packets.sent),
        ("messages_resent", packets.messages_resent),
        ("messages_received", packets.messages_received),
        ("messages_duplicate", packets.messages_duplicate),
        ("messages_malformed", packets.messages_malformed),
        ("messages_refused", packets.messages_refused),
    ]);
    of.fraction("loss", share(packets.timeouts, packets.acked));
    of.close();
}

/// The last whole second.
fn now(all: &mut Object<'_>, overview: &Overview) {
    let quality = overview.quality.last().copied().unwrap_or_default();
    let profile = &overview.stats.profile;
    let mut of = Object::open(all.name("now"));
    of.fraction("tick_rate_hz", overview.stats.tick_rate_hz);
    of.fraction("messages_s", profile.messages);
    of.fraction("update_s", profile.update);
    of.fraction("network_s", profile.network);
    of.fraction("idle_s", profile.idle);
    of.number("latency_p50_us", quality.p50_us);
    of.number("latency_p90_us", quality.p90_us);
    of.number("latency_p99_us", quality.p99_us);
    of.number("latency_max_us", quality.max_us);
    of.fraction("loss", quality.loss.into());
    of.close();
}

fn series(all: &mut Object<'_>, overview: &Overview) {
    let mut of = Object::open(all.name("series"));
    type Column = (&'static str, fn(&Second) -> u32);
    let columns: [Column; 5] = [
        ("packets_sent", |s| s.packets_sent),
        ("packets_received", |s| s.packets_received),
        ("bytes_sent", |s| s.bytes_sent),
        ("bytes_received", |s| s.bytes_received),
        ("latency_us", |s| s.latency_us),
    ];
    for (name, column) in columns {
        of.list(name, overview.series.iter().map(column));
    }
    of.list("ticks", overview.profile.iter().map(|(_, ticks)| ticks));
    of.list("messages_s", overview.profile.iter().map(|(p, _)| fraction(p.messages, 4)));
    of.list("update_s", overview.profile.iter().map(|(p, _)| fraction(p.update, 4)));
    of.list("network_s", overview.profile.iter().map(|(p, _)| fraction(p.network, 4)));
    of.list("idle_s", overview.profile.iter().map(|(p, _)| fraction(p.idle, 4)));
    of.list("p50_us", overview.quality.iter().map(|q| q.p50_us));
    of.list("p90_us", overview.quality.iter().map(|q| q.p90_us));
    of.list("p99_us", overview.quality.iter().map(|q| q.p99_us));
    of.list("loss", overview.quality.iter().map(|q| fraction(q.loss.into(), 5)));
    of.close();
}

fn log(all: &mut Object<'_>, overview: &Overview) {
    let out = all.name("log");
    out.push('[');
    for (at, line) in overview.log.iter().enumerate() {
        let _written = write!(out, "{}[{},", if at > 0 { "," } else { "" }, line.at_s);
        string(out, line.kind);
        out.push(',');
        string(out, &line.text);
        out.push(']');
    }
    out.push(']');
}

/// `/peers.json`: columns, and a row for each peer. Ids are texts, since numbers of scripts end at 2^53.
pub fn peers(rows: &[PeerRow]) -> String {
    let mut out = String::with_capacity(64 + rows.len() * 160);
    let mut all = Object::open(&mut out);
    all.list("columns", PEER_COLUMNS.iter().map(|name| format!("\"{name}\"")));
    let list = all.name("peers");
    list.push('[');
    for (at, row) in rows.iter().enumerate() {
        let (s, comma) = (&row.stats, if at > 0 { "," } else { "" });
        let _written = write!(
            list,
            "{comma}[\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",{},{},{},{},{},{},{},{},{},{}]",
            row.id,
            row.address,
            door_name(row.door),
            wire_name(row.wire),
            status_name(row.status),
            row.token,
            row.latency.as_micros(),
            fraction(row.loss(), 5),
            row.queued_messages,
            row.queued_bytes,
            row.age.as_secs(),
            s.assembled,
            s.acked,
            s.timeouts,
            s.received,
        );
    }
    list.push(']');
    all.close();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::dashboard::log_tail::LogLine;
    use crate::server::dashboard::tests::{overview, peer};
    use serde_json::Value;

    #[test]
    fn whatever_a_log_line_says_is_a_string_and_ends_no_script() {
        let nasty = "</script><script>alert(1)</script>\"\\\n\r\0\u{2028}ü\u{1f600}&";
        let log = vec![LogLine { at_s: 5, kind: "warn", text: nasty.to_owned() }];
        let text = stats(&Overview { log, ..overview() });
        assert!(!text.contains('<') && !text.contains('\u{2028}') && !text.contains('\n'));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["log"][0][2], nasty);
        assert_eq!(value["log"][0][0], 5);
    }

    #[test]
    fn figures_are_those_of_the_stats() {
        let overview = overview();
        let value: Value = serde_json::from_str(&stats(&overview)).expect("JSON");
        assert_eq!(value["server"]["packets_sent"], overview.stats.packets_sent);
        assert_eq!(value["packets"]["assembled"], overview.packets.assembled);
        assert_eq!(value["packets"]["pending"], overview.packets.pending);
        assert_eq!(value["drops"]["hello_budget"], overview.stats.drops[7]);
        assert_eq!(value["packets"]["dropped"], overview.stats.drops.iter().sum::<u64>());
        assert_eq!(value["series"]["bytes_received"].as_array().map(Vec::len), Some(300));
        assert_eq!(value["series"]["loss"].as_array().map(Vec::len), Some(300));
        assert_eq!(value["now"]["latency_p99_us"], overview.quality[299].p99_us);
    }

    #[test]
    fn numbers_that_are_none_are_zero() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(fraction(value, 3), "0");
        }
        assert_eq!(fraction(0.12345, 3), "0.123");
        let empty = stats(&Overview { rate_hz: f64::NAN, ..Overview::default() });
        assert!(serde_json::from_str::<Value>(&empty).is_ok());
    }

    #[test]
    fn peers_have_a_row_each_and_ids_keep_all_their_digits() {
        let rows = [peer(1), PeerRow { id: u64::MAX, ..peer(2) }];
        let value: Value = serde_json::from_str(&peers(&rows)).expect("JSON");
        assert_eq!(value["columns"].as_array().map(Vec::len), Some(PEER_COLUMNS.len()));
        let shown = value["peers"].as_array().expect("rows");
        assert!(shown.iter().all(|row| row.as_array().map(Vec::len) == Some(PEER_COLUMNS.len())));
        assert_eq!(shown[1][0], u64::MAX.to_string());
        assert_eq!(shown[0][1], "[2001:db8::1]:4001");
        assert_eq!(peers(&[]).matches('[').count(), 2);
    }
}
