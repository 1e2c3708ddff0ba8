//! Where a password comes from.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use crate::Failure;

/// Bytes of a password file that are read at most: beyond what any wire carries, so that a longer one is told.
const MAX_FILE_BYTES: u64 = 1024;

/// One of three ways, or none.
#[derive(Args)]
#[group(multiple = false)]
pub struct PasswordArguments {
    /// The server's password; others on this machine can see it in the list of processes
    #[arg(long, value_name = "TEXT")]
    password: Option<String>,
    /// The same from a file, without the line's end
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The same, asked for on the terminal
    #[arg(long)]
    ask_password: bool,
}

impl PasswordArguments {
    /// The password; `None` where none is given.
    pub fn read(&self) -> Result<Option<String>, Failure> {
        let password = if let Some(path) = &self.password_file {
            let failure = |error: std::io::Error| format!("password file {}: {error}", path.display());
            let mut text = String::new();
            let file = File::open(path).map_err(failure)?;
            file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failure)?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Some(line.strip_suffix('\r').unwrap_or(line).to_owned())
        } else if self.ask_password {
            let asked = rpassword::prompt_password("Password: ");
            Some(asked.map_err(|error| format!("no password could be asked for: {error}"))?)
        } else {
            self.password.clone()
        };
        match password {
            Some(password) if password.is_empty() => Err("the password is empty".into()),
            password => Ok(password),
        }
    }
}
