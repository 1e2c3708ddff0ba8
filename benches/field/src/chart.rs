//! The tables' most telling columns as bars, in SVG.

use std::fmt::Write as _;

use crate::report::Table;

/// Lengths in pixels.
const WIDTH: usize = 860;
const LINE: usize = 20;
const NAMES: usize = 300;
const BARS: usize = 440;
/// Gamekeeper's bars, and the others'.
const OWN: &str = "#2f6fb5";
const OTHER: &str = "#9aa5b1";
const FLOOR: &str = "#d4d9de";

/// One picture of all tables. Within a case the longest bar has the whole width.
pub fn svg(tables: &[Table]) -> String {
    let mut body = String::new();
    let mut y = LINE;
    for table in tables {
        let workload = table.workload;
        let title = workload.columns.get(workload.charted).map_or("", |column| column.title);
        y += LINE;
        text(&mut body, 10, y, "title", &format!("{}: {title}", workload.name));
        let mut case = "";
        for row in &table.rows {
            if row.case != case {
                case = &row.case;
                y += LINE + 4;
                text(&mut body, 10, y, "case", case);
            }
            y += LINE;
            text(&mut body, 20, y, "name", row.peer.title());
            let figure = |figures: &Vec<f64>| figures.get(workload.charted).copied().filter(|f| !f.is_nan());
            let Some(value) = row.figures.as_ref().ok().and_then(figure) else {
                text(&mut body, NAMES, y, "name", "not measured");
                continue;
            };
            let same = table.rows.iter().filter(|other| other.case == row.case);
            let longest = same.filter_map(|other| figure(other.figures.as_ref().ok()?)).fold(0.0, f64::max);
            let length = if longest > 0.0 { value / longest * BARS as f64 } else { 0.0 };
            let colour = match row.peer {
                peer if peer.is_own() => OWN,
                peer if peer.is_floor() => FLOOR,
                _ => OTHER,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                body,
                "<rect x=\"{NAMES}\" y=\"{}\" width=\"{length:.1}\" height=\"14\" fill=\"{colour}\"/>",
                y - 12
            );
            let digits = workload.columns.get(workload.charted).map_or(0, |column| column.digits);
            text(&mut body, NAMES + length as usize + 6, y, "name", &format!("{value:.digits$}"));
        }
        y += LINE;
    }
    let style =
        "text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:15px}.case{font-style:italic}";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\">\n<style>{style}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        y + LINE
    )
}

fn text(body: &mut String, x: usize, y: usize, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    // As above.
    let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{words}</text>");
}
