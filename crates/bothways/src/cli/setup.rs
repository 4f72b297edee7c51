//! Arguments and help of the commands for the installation: `init`, `man`, `healthcheck`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

const INIT_EXAMPLES: &str = "\
Examples:
  bothways init                                              asks what it needs to know
  bothways init --behind 127.0.0.1:3000 --name shop.example.com --way reverse
  bothways init --way forward --output /etc/bothways/bothways.kdl";

const MAN_EXAMPLES: &str = "\
Examples:
  bothways man /usr/local/share/man/man1
  bothways man . && man ./bothways.kdl.5";

const HEALTHCHECK_EXAMPLES: &str = "\
Examples:
  bothways healthcheck                                   at the admin address of the configuration
  bothways healthcheck --admin unix:/run/bothways/admin.sock";

/// `init`
#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// In front of a server, of clients, or of both
    #[arg(long)]
    pub way: Option<Way>,
    /// What is behind it: host:port, https://host, or a directory
    #[arg(long, value_name = "WHAT")]
    pub behind: Option<String>,
    /// The host name that clients use, or * for every one
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The file; it must not exist
    #[arg(short, long, value_name = "FILE", default_value = "bothways.kdl", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

/// Which way a proxy works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// In front of a server
    Reverse,
    /// In front of clients
    Forward,
    /// Both
    Both,
}

/// `man`
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// The directory; it is created if it does not exist
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// `healthcheck`
#[derive(Debug, Args)]
#[command(after_help = HEALTHCHECK_EXAMPLES)]
pub(crate) struct Healthcheck {
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub admin: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}
