//! The figures in Prometheus' text format, version 0.0.4.
//!
//! How many lines there are does not depend on how many peers there are: none is of one peer.

use std::fmt::{Display, Write};

use crate::server::dashboard::{Overview, DROP_NAMES};

/// What the answer's content type is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes one metric after the other.
struct Exposition {
    out: String,
}

impl Exposition {
    /// The two lines before a metric's values.
    fn metric(&mut self, kind: &str, name: &str, help: &str) {
        // A help text's backslashes and line ends would have to be escaped; ours have none. Writing to a String does
        // not fail.
        let _written = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _written = write!(self.out, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            escape(&mut self.out, text);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _written = writeln!(self.out, " {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric("counter", name, help);
        self.value(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("gauge", name, help);
        self.value(name, &[], value);
    }

    /// Counters of a value each: name, help, value.
    fn plain_counters<'a>(&mut self, counters: impl IntoIterator<Item = (&'a str, &'a str, u64)>) {
        counters.into_iter().for_each(|(name, help, value)| self.counter(name, help, value));
    }

    /// A counter with one value per value of a label.
    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.metric("counter", name, help);
        values.into_iter().for_each(|(of, value)| self.value(name, &[(label, of)], value));
    }
}

/// A label's value: backslash, quote and line end are escaped.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// `/metrics`.
pub fn metrics(overview: &Overview) -> String {
    let mut to = Exposition { out: String::with_capacity(16 << 10) };
    to.metric("gauge", "gamekeeper_info", "The library's version, and where the server listens.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("address", overview.address.as_str())];
    to.value("gamekeeper_info", &labels, 1);
    to.gauge("gamekeeper_uptime_seconds", "Time since the server started.", overview.uptime.as_secs_f64());
    peers(&mut to, overview);
    network(&mut to, overview);
    packets(&mut to, overview);
    thread(&mut to, overview);
    quality(&mut to, overview);
    to.out
}

fn peers(to: &mut Exposition, overview: &Overview) {
    let stats = &overview.stats;
    for (name, help, value) in [
        ("gamekeeper_peers", "Peers connected now.", stats.peers),
        ("gamekeeper_max_peers", "Peers at most.", overview.max_peers),
        ("gamekeeper_handshakes", "Handshakes under way now.", stats.handshakes),
        ("gamekeeper_joining", "Clients that wait for a decision now.", stats.joining),
    ] {
        to.gauge(name, help, value);
    }
    to.plain_counters([
        ("gamekeeper_connects_total", "Peers that ever connected.", stats.connects),
        ("gamekeeper_disconnects_total", "Peers that left.", stats.disconnects),
        ("gamekeeper_refusals_total", "Clients that proved themselves and were not let in.", stats.refusals),
        (
            "gamekeeper_handshake_timeouts_total",
            "Handshakes that were not proven in time.",
            stats.handshake_timeouts,
        ),
        (
            "gamekeeper_migrations_total",
            "Times that a client went on from another address.",
            stats.migrations,
        ),
    ]);
}

fn network(to: &mut Exposition, overview: &Overview) {
    let stats = &overview.stats;
    let help = "Datagrams sent and received, those thrown away included.";
    let both = [("sent", stats.packets_sent), ("received", stats.packets_received)];
    to.counters("gamekeeper_datagrams_total", help, "direction", both);
    let both = [("sent", stats.bytes_sent), ("received", stats.bytes_received)];
    to.counters("gamekeeper_datagram_bytes_total", "Bytes of these datagrams.", "direction", both);
    let help = "Datagrams thrown away, by the reason.";
    to.counters(
        "gamekeeper_dropped_datagrams_total",
        help,
        "reason",
        DROP_NAMES.into_iter().zip(stats.drops),
    );
}

fn packets(to: &mut Exposition, overview: &Overview) {
    let packets = &overview.packets;
    to.plain_counters([
        ("gamekeeper_packets_assembled_total", "Packets built for peers.", packets.assembled),
        ("gamekeeper_packets_acked_total", "Packets that their peers acknowledged.", packets.acked),
        ("gamekeeper_packets_timed_out_total", "Packets not acknowledged in time.", packets.timeouts),
        (
            "gamekeeper_messages_sent_total",
            "Messages given to connections; a fragment counts as one.",
            packets.sent,
        ),
        ("gamekeeper_messages_resent_total", "Messages sent again.", packets.messages_resent),
        ("gamekeeper_messages_received_total", "Messages handed to the host.", packets.messages_received),
        ("gamekeeper_messages_duplicate_total", "Messages received again.", packets.messages_duplicate),
        ("gamekeeper_messages_malformed_total", "Messages that were malformed.", packets.messages_malformed),
        ("gamekeeper_messages_refused_total", "Messages refused at a bound.", packets.messages_refused),
    ]);
    let help = "Packets neither acknowledged nor timed out yet.";
    to.gauge("gamekeeper_packets_pending", help, packets.pending);
    to.gauge("gamekeeper_queued_messages", "Messages queued for all peers.", overview.queued_messages);
    to.gauge("gamekeeper_queued_bytes", "Bytes of the messages queued for all peers.", overview.queued_bytes);
}

fn thread(to: &mut Exposition, overview: &Overview) {
    let stats = &overview.stats;
    to.counter("gamekeeper_ticks_total", "Ticks since the server started.", stats.ticks);
    to.counter(
        "gamekeeper_ticks_missed_total",
        "Ticks left out because the one before took too long.",
        stats.ticks_missed,
    );
    let help = "Ticks of the last whole second.";
    to.gauge("gamekeeper_tick_rate_hertz", help, stats.tick_rate_hz);
    let help = "Ticks per second that the host asked for.";
    to.gauge("gamekeeper_configured_tick_rate_hertz", help, overview.rate_hz);
    let name = "gamekeeper_thread_time_ratio";
    to.metric("gauge", name, "Share of the last whole second that the server's thread spent so.");
    for (activity, share) in [
        ("messages", stats.profile.messages),
        ("update", stats.profile.update),
        ("network", stats.profile.network),
        ("idle", stats.profile.idle),
    ] {
        to.value(name, &[("activity", activity)], share);
    }
    let help = "Log lines left out because a stranger caused too many.";
    to.counter("gamekeeper_log_lines_suppressed_total", help, stats.log_lines_suppressed);
}

fn quality(to: &mut Exposition, overview: &Overview) {
    let quality = overview.quality.last().copied().unwrap_or_default();
    let name = "gamekeeper_peer_latency_seconds";
    to.metric(
        "gauge",
        name,
        "One-way latency that so many percent of the peers do not exceed now; 0 where none is known.",
    );
    for (percentile, us) in
        [("50", quality.p50_us), ("90", quality.p90_us), ("99", quality.p99_us), ("100", quality.max_us)]
    {
        to.value(name, &[("percentile", percentile)], f64::from(us) / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::dashboard::tests::overview;
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn label_values_are_escaped() {
        let mut to = Exposition { out: String::new() };
        to.value("a", &[("x", "\\ \" \n"), ("y", "ü")], 1);
        assert_eq!(to.out, "a{x=\"\\\\ \\\" \\n\",y=\"ü\"} 1\n");
    }

    #[test]
    fn every_metric_has_its_help_and_type_once_and_before_its_values() {
        let text = metrics(&overview());
        let (mut types, mut helps, mut seen) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["#", "HELP", name, ..] => assert!(helps.insert((*name).to_owned()), "{name} twice"),
                ["#", "TYPE", name, kind] => {
                    assert!(types.insert((*name).to_owned(), (*kind).to_owned()).is_none(), "{name} twice");
                }
                [value @ .., number] => {
                    let name = value.join(" ").split('{').next().unwrap_or_default().to_owned();
                    assert_eq!(
                        types.get(&name).map(String::as_str) == Some("counter"),
                        name.ends_with("_total")
                    );
                    assert!(helps.contains(&name) && number.parse::<f64>().is_ok(), "{line}");
                    assert!(seen.insert(value.join(" ")), "{line} twice");
                }
                [] => {}
            }
        }
        assert!(seen.len() > 40 && text.ends_with('\n'), "{}", seen.len());
    }

    #[test]
    fn values_are_those_of_the_stats() {
        let text = metrics(&overview());
        for line in [
            "gamekeeper_datagrams_total{direction=\"sent\"} 123456",
            "gamekeeper_datagrams_total{direction=\"received\"} 98765",
            "gamekeeper_dropped_datagrams_total{reason=\"raw_budget\"} 111",
            "gamekeeper_packets_assembled_total 120000",
            "gamekeeper_packets_timed_out_total 1900",
            "gamekeeper_peer_latency_seconds{percentile=\"99\"} 0.080299",
            "gamekeeper_thread_time_ratio{activity=\"idle\"} 0.55",
            "gamekeeper_uptime_seconds 3723",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    /// Prometheus' own checker (Debian's package prometheus) has nothing to say about it. Where the checker is missing
    /// this shows nothing, but under CI that is a failure.
    #[test]
    fn promtool_finds_nothing_wrong() {
        let checker = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut checker) = checker else {
            assert!(std::env::var_os("CI").is_none(), "promtool is missing: apt-get install prometheus");
            return;
        };
        let mut input = checker.stdin.take().expect("a pipe");
        input.write_all(metrics(&overview()).as_bytes()).expect("it reads");
        drop(input);
        let output = checker.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    /// What the example for Grafana asks for is there, with the labels that it asks for.
    #[test]
    fn grafanas_example_names_metrics_that_exist() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana/gamekeeper.json");
        let example: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).expect("the example")).expect("JSON");
        let text = metrics(&overview());
        let names: BTreeSet<&str> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let mut expressions = Vec::new();
        for panel in example["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                expressions.push(target["expr"].as_str().expect("an expression").to_owned());
            }
        }
        assert!(expressions.len() > 10, "{}", expressions.len());
        for expression in expressions {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words: Vec<&str> =
                expression.split(|c| !is_name(c)).filter(|w| w.starts_with("gamekeeper_")).collect();
            assert!(!words.is_empty(), "{expression}");
            for word in words {
                assert!(names.contains(word), "{word} of {expression} is no metric");
            }
            for (label, _) in expression.match_indices("=\"") {
                let name = expression[..label].rsplit(|c| !is_name(c)).next().unwrap_or_default();
                let own = ["job", "instance"].contains(&name);
                assert!(own || text.contains(&format!("{name}=\"")), "{name} of {expression} is no label");
            }
        }
    }
}
