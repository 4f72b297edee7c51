//! Arguments and help of `bothways upstreams …`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::endpoints::UpstreamsTask;

pub(super) const UPSTREAMS_EXAMPLES: &str = "\
Examples:
  bothways upstreams                                     a table, updated every second
  bothways upstreams --once -u app                       once, for one upstream
  bothways upstreams --json                              everything, for programs
  bothways upstreams drain app 10.0.0.1:8080 --wait      no new clients; returns when it is idle
  bothways upstreams undrain app 10.0.0.1:8080
  bothways upstreams weight app 10.0.0.1:8080 5
  bothways upstreams add app 10.0.0.9:8080 --weight 2
  bothways upstreams remove app 10.0.0.9:8080
  bothways upstreams diff app                            how it differs from the configuration
  bothways upstreams save app                            write it into the file
  bothways upstreams revert app                          or discard the changes

Changes apply at once, and stay over reloads and upgrades until they are saved or reverted, or the
process ends.
They use the admin interface: a unix socket, or TCP with the token of process { admin }.";

/// `upstreams`
#[derive(Debug, Args)]
#[command(after_help = UPSTREAMS_EXAMPLES)]
pub(crate) struct Upstreams {
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub view: UpstreamsView,
    /// What to do
    #[command(subcommand)]
    pub task: Option<UpstreamsTask>,
}

/// Options of the table.
#[derive(Debug, Args)]
pub(crate) struct UpstreamsView {
    /// Print the table once
    #[arg(long)]
    pub once: bool,
    /// Print everything as JSON, once
    #[arg(long)]
    pub json: bool,
    /// Show only this upstream
    #[arg(short, long, value_name = "NAME")]
    pub upstream: Option<String>,
}
