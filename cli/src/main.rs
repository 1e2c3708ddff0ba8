//! The command line of gamekeeper: a server to try clients on, a client to try servers on, a crowd, and keys.
//!
//! Each command is a thin layer over the library: what it can and cannot do is what the library can. Whatever
//! goes wrong is one line on standard error, and an exit code other than 0: 2 for arguments, 1 for the rest.

mod bots;
mod connect;
mod framing;
mod histogram;
mod keys;
mod output;
mod password;
mod receive;
mod remote;
mod send;
mod serve;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// What went wrong, as one sentence for a person.
type Failure = String;

/// Exit code for arguments that are not understood.
const USAGE: u8 = 2;

/// Serves, connects, measures, makes keys.
#[derive(Parser)]
#[command(name = "gamekeeper", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server that sends messages back, or on to everybody else.
    Serve(serve::Serve),
    /// Connect to a server: lines of standard input are sent, messages are printed.
    Connect(connect::Connect),
    /// Connect many clients to an echo server, and measure: latencies are round trips, to within a millisecond or two.
    Bots(bots::Bots),
    /// Send files to a server that receives them; a broken transfer goes on where it was.
    Send(send::Send),
    /// Run a server that takes files into a directory.
    Receive(receive::Receive),
    /// Make a server's root key, and print its public keys.
    Keygen(keys::Keygen),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match &cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Connect(connect) => connect.run(),
        Command::Bots(bots) => bots.run(),
        Command::Send(send) => send.run(),
        Command::Receive(receive) => receive.run(),
        Command::Keygen(keygen) => keygen.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            output::complain(&text);
            ExitCode::FAILURE
        }
    }
}

/// Help and version as they are asked for; of everything else one line instead of clap's several.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        output::say(error.to_string().trim_end());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::complain(
            "a command is wanted: serve, connect, bots, send, receive, keygen; --help tells more",
        );
        return ExitCode::from(USAGE);
    }
    let text = error.to_string();
    // What follows the first empty line are tips and the usage.
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    output::complain(line.strip_prefix("error: ").unwrap_or(&line));
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
