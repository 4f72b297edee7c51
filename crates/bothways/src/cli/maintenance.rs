//! Arguments and help of `bothways maintenance …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

const MAINTENANCE_EXAMPLES: &str = "\
Examples:
  bothways maintenance status                  which sites can be closed, and which are
  bothways maintenance on shop.example.com     its clients get 503 from now on
  bothways maintenance off shop.example.com
  bothways maintenance on                      every site that has `maintenance`

The site must have the line `maintenance` in the configuration. The command creates and removes the
file that it names, else one in the state directory, so that it outlasts reloads and restarts.";

/// `maintenance`
#[derive(Debug, Args)]
#[command(after_help = MAINTENANCE_EXAMPLES)]
pub(crate) struct Maintenance {
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub task: MaintenanceTask,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceTask {
    /// Close sites: their clients get 503
    On(Sites),
    /// Open them again
    Off(Sites),
    /// Show which are closed
    Status(Sites),
}

/// Sites by name.
#[derive(Debug, Args)]
pub(crate) struct Sites {
    /// The sites, by any of their names [default: all that have `maintenance`]
    #[arg(value_name = "SITE")]
    pub sites: Vec<String>,
}
