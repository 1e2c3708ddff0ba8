//! Figures of many rounds as tables.

use std::fmt::Write as _;

use crate::peer::Peer;
use crate::workload::Workload;

/// The medians of one row.
pub struct Row {
    pub case: String,
    pub peer: Peer,
    /// One figure per column, or why there is none.
    pub figures: Result<Vec<f64>, String>,
    /// Whether there being none is what was found of the library, and no failure of the measurement.
    pub is_found: bool,
}

/// All rows of one workload.
pub struct Table {
    pub workload: &'static Workload,
    pub rows: Vec<Row>,
}

/// The middle one; NaN where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        number if number % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The medians, column by column.
pub fn medians(rounds: &[Vec<f64>], columns: usize) -> Vec<f64> {
    (0..columns)
        .map(|column| median(rounds.iter().filter_map(|r| r.get(column).copied()).collect()))
        .collect()
}

/// Fills column `to` with column `from`, divided by that of the first row.
pub fn relate(rows: &mut [Row], from: usize, to: usize) {
    let first = rows.first().and_then(|row| row.figures.as_ref().ok()?.get(from).copied());
    for figures in rows.iter_mut().filter_map(|row| row.figures.as_mut().ok()) {
        if let (Some(first), Some(value)) = (first, figures.get(from).copied()) {
            figures[to] = value / first;
        }
    }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    format!("{value:.digits$}")
}

impl Table {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.workload.name, self.workload.about);
        let mut rule = "| --- | ---".to_owned();
        text.push_str("| case | library");
        for column in self.workload.columns {
            // Writing to a string cannot fail.
            let _ = write!(text, " | {}", column.title);
            rule.push_str(" | ---:");
        }
        let _ = writeln!(text, " |\n{rule} |");
        for row in &self.rows {
            let _ = write!(text, "| {} | {}", row.case, row.peer.title());
            match &row.figures {
                Ok(figures) => {
                    for (figure, column) in figures.iter().zip(self.workload.columns) {
                        let _ = write!(text, " | {}", number(*figure, column.digits));
                    }
                }
                Err(why) => {
                    let _ = write!(text, " | {why}{}", " |".repeat(self.workload.columns.len() - 1));
                }
            }
            text.push_str(" |\n");
        }
        text
    }
}

/// The page: what was run where, and all tables.
pub fn page(command: &str, load: &str, tables: &[Table]) -> String {
    let mut text = format!(
        "# The field, measured\n\nMade by `{command}` on {}, {}. Before it the machine's \
         load average was {}: what else runs on it shows in the times, least in the shares of processor time. Medians \
         of the rounds; server and load have a core \
         each, and the time of a processor is the server process's alone, the system's part included.\n",
        date(),
        machine(),
        load,
    );
    for table in tables {
        let _ = write!(text, "\n{}", table.markdown());
    }
    text
}

/// How many processes have wanted a core, on average over the last minute.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn date() -> String {
    output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cores} cores of {model}, {}", output("uname", &["-srm"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(vec![3.0, 1.0, f64::NAN, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        assert_eq!(medians(&[vec![1.0, 9.0], vec![3.0, 7.0], vec![2.0, 8.0]], 2), [2.0, 8.0]);
    }

    #[test]
    fn a_column_is_related_to_the_first_row() {
        let row = |value| Row {
            case: String::new(),
            peer: Peer::Gamekeeper,
            figures: Ok(vec![value, f64::NAN]),
            is_found: false,
        };
        let mut rows = [row(2.0), row(5.0)];
        relate(&mut rows, 0, 1);
        assert_eq!(rows.map(|row| row.figures), [Ok(vec![2.0, 1.0]), Ok(vec![5.0, 2.5])]);
    }
}
