//! `bothways completions`: scripts for shells, made from the command line's definition.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::exit::Failure;
use crate::terminal;

/// Prints completions.
pub(crate) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "bothways", &mut script);
    Ok(terminal::to_stdout(&String::from_utf8_lossy(&script))?)
}
