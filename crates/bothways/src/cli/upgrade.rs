//! Arguments and help of `bothways upgrade`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

const UPGRADE_EXAMPLES: &str = "\
Examples:
  bothways upgrade                               after a new binary was installed in its place
  bothways upgrade --binary /opt/bothways-2/bothways
  bothways upgrade --pid /run/bothways.pid       by SIGUSR2, without an admin interface

The running process starts the binary with its own arguments and hands its sockets over. The new
process reads the configuration and serves once it is ready; the old one then accepts nothing more,
lets its connections finish (process { drain }) and ends. No connection is refused or lost. If the
new process does not start, the old one goes on as before, and this command says why.";

/// `upgrade`
#[derive(Debug, Args)]
#[command(after_help = UPGRADE_EXAMPLES)]
pub(crate) struct Upgrade {
    /// The new binary [default: the path by which the running process was started]
    #[arg(long, value_name = "FILE", conflicts_with = "pid", value_hint = ValueHint::ExecutablePath)]
    pub binary: Option<PathBuf>,
    /// How long the new process may take until it is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub within: u64,
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, value_name = "ADDR", conflicts_with = "pid")]
    pub admin: Option<String>,
    /// Send SIGUSR2 to this process: its ID, or a file with the ID, which tells the outcome
    #[arg(long, value_name = "FILE|N", conflicts_with = "config")]
    pub pid: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, value_name = "FILE", conflicts_with = "pid", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}
