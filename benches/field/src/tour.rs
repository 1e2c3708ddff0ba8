//! The whole run: all workloads, their cases, the libraries in turn, several rounds; then the report.

use std::path::Path;

use crate::control::Lost;
use crate::peer::{Peer, Result};
use crate::report::{self, Row, Table};
use crate::run;
use crate::system;
use crate::workload::{self, Case, Plan, Workload};

/// Rounds where none are asked for.
const ROUNDS: usize = 3;
/// The fates of the relay's datagrams come from this and the round.
const SEED: u64 = 20_260_101;

struct Wishes {
    workloads: Vec<&'static Workload>,
    plan: Plan,
    rounds: usize,
    peers: Vec<Peer>,
    write: bool,
}

impl Wishes {
    fn parse(words: impl Iterator<Item = String>) -> Result<Wishes> {
        let mut wishes = Wishes {
            workloads: Vec::new(),
            plan: Plan { quick: false, seconds: None },
            rounds: 0,
            peers: Peer::ALL.to_vec(),
            write: false,
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((&word, ""));
            match name {
                "--quick" => wishes.plan.quick = true,
                "--write" => wishes.write = true,
                "--seconds" => wishes.plan.seconds = Some(value.parse()?),
                "--rounds" => wishes.rounds = value.parse()?,
                "--peers" => {
                    let peers = value.split(',').map(|id| Peer::of(id).ok_or(format!("no peer {id}")));
                    wishes.peers = peers.collect::<std::result::Result<_, _>>()?;
                }
                _ => {
                    let workload = workload::of(name).ok_or(format!("no workload is called {name}"))?;
                    wishes.workloads.push(workload);
                }
            }
        }
        if wishes.workloads.is_empty() {
            wishes.workloads = workload::ALL.iter().collect();
        }
        if wishes.rounds == 0 {
            wishes.rounds = if wishes.plan.quick { 1 } else { ROUNDS };
        }
        Ok(wishes)
    }
}

/// Measures what the words ask for, and prints it.
pub fn run(words: impl Iterator<Item = String>) -> Result<()> {
    let words: Vec<String> = words.collect();
    let wishes = Wishes::parse(words.iter().cloned())?;
    for peer in &wishes.peers {
        if let Some(missing) = peer.missing() {
            if std::env::var_os("CI").is_some_and(|value| value == "true") {
                return Err(format!("{}: {missing}", peer.title()).into());
            }
            eprintln!("field: {}: {missing}", peer.title());
        }
    }
    system::pin(system::LOAD_CORE);
    let load = report::load_average();
    let tables: Vec<Table> = wishes.workloads.iter().map(|workload| table(workload, &wishes)).collect();
    let command = ["cargo run --release -p field --".to_owned()].into_iter().chain(words);
    let command = command.collect::<Vec<_>>().join(" ");
    let page = report::page(command.trim_end_matches(" --"), &load, &tables);
    println!("{page}");
    if wishes.write {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::write(folder.join("RESULTS.md"), &page)?;
        std::fs::write(folder.join("results.svg"), crate::chart::svg(&tables))?;
    }
    let failed = tables
        .iter()
        .flat_map(|table| &table.rows)
        .filter(|row| row.figures.is_err() && row.peer.missing().is_none())
        .filter(|row| row.peer.is_own() || !row.is_found);
    match failed.count() {
        0 => Ok(()),
        number => Err(format!("{number} rows have no figures").into()),
    }
}

fn table(workload: &'static Workload, wishes: &Wishes) -> Table {
    let cases = (workload.cases)(wishes.plan);
    let rows = cases.iter().flat_map(|case| rows(workload, case, wishes)).collect();
    Table { workload, rows }
}

/// The rows of one case: the libraries one after the other, and that several times.
fn rows(workload: &'static Workload, case: &Case, wishes: &Wishes) -> Vec<Row> {
    let peers: Vec<Peer> = case.peers.iter().copied().filter(|peer| wishes.peers.contains(peer)).collect();
    let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); peers.len()];
    let mut found = vec![false; peers.len()];
    let mut errors: Vec<Option<String>> = peers.iter().map(|p| p.missing().map(str::to_owned)).collect();
    for round in 0..wishes.rounds {
        for (place, peer) in peers.iter().enumerate() {
            if errors[place].is_some() {
                continue;
            }
            eprintln!("field: {}, {}, {}, round {}", workload.name, case.name, peer.title(), round + 1);
            let options = crate::options::Options { peer: *peer, ..case.options.clone() };
            match run::measure(workload, &options, SEED + round as u64) {
                Ok(measured) => rounds[place].push((workload.figures)(&options, &measured)),
                Err(error) => {
                    found[place] = error.is::<Lost>();
                    errors[place] = Some(error.to_string());
                }
            }
        }
    }
    let columns = workload.columns.len();
    let figures = rounds.iter().zip(errors).map(|(rounds, error)| match error {
        // One round that failed does not take away the others.
        Some(error) if rounds.is_empty() => Err(error),
        _ => Ok(report::medians(rounds, columns)),
    });
    let named = peers.iter().zip(figures).zip(found);
    let row = |((peer, figures), is_found): ((&Peer, _), _)| Row {
        case: case.name.clone(),
        peer: *peer,
        figures,
        is_found,
    };
    let mut rows: Vec<Row> = named.map(row).collect();
    if let Some((from, to)) = workload.relative {
        report::relate(&mut rows, from, to);
    }
    rows
}
