//! `bothways completions`: completion scripts for shells, generated from the definition in `cli`.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::exit::Failure;
use crate::terminal;

/// Prints a completion script.
pub(crate) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "bothways", &mut script);
    Ok(terminal::to_stdout(&String::from_utf8_lossy(&script))?)
}
