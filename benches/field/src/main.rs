//! Compares gamekeeper with the libraries of its field, in one run: `cargo run --release -p field`.
//!
//! `field [WORKLOAD…] [--quick] [--rounds=N] [--seconds=S] [--peers=ID,ID] [--write]` measures. `--write` puts the
//! tables and the chart beside this package. It runs itself as `field server …` and `field load …`.

#[cfg(target_os = "linux")]
mod chart;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod game;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod system;
#[cfg(target_os = "linux")]
mod tour;
#[cfg(target_os = "linux")]
mod workload;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("field: not measured on this system");
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let result = match words.peek().map(String::as_str) {
        Some("server") => serve(words.skip(1)),
        Some("load") => load(words.skip(1)),
        _ => tour::run(words),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("field: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The longest life of a role in seconds.
#[cfg(target_os = "linux")]
const MAX_LIFE: u32 = 600;

#[cfg(target_os = "linux")]
fn serve(words: impl Iterator<Item = String>) -> peer::Result<()> {
    system::pin(system::SERVER_CORE);
    system::limit_life(MAX_LIFE);
    let options = options::Options::parse(words)?;
    options.peer.serve(&options, std::sync::Arc::new(game::Book::new()))
}

#[cfg(target_os = "linux")]
fn load(words: impl Iterator<Item = String>) -> peer::Result<()> {
    system::pin(system::LOAD_CORE);
    system::limit_life(MAX_LIFE);
    let played = workload::play(&options::Options::parse(words)?);
    if let Err(error) = &played {
        let word = if error.is::<control::Lost>() { "lost" } else { "failed" };
        control::say(&format!("{word} {error}"));
    }
    played
}
