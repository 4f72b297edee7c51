//! The command line of `import`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

const IMPORT_EXAMPLES: &str = "\
Examples:
  bothways import nginx /etc/nginx/nginx.conf                     the file on standard output
  bothways import nginx /etc/nginx/nginx.conf -o bothways.kdl";

const NGINX_EXAMPLES: &str = "\
Each line of nginx is exact, near (with what differs) or refused (with the reason and what to do).
The file goes to standard output or -o, the report to standard error.

Examples:
  bothways import nginx /etc/nginx/nginx.conf -o bothways.kdl
  bothways import nginx /etc/nginx/sites-enabled/shop             one site
  bothways import nginx nginx.conf --report json 2> report.json
  bothways import nginx nginx.conf --verify /var/log/nginx/access.log
                 replays the log through a real nginx and Bothways, both on loopback with
                 recording servers behind them, and shows what differs

Exit codes: 0 success, 3 a line was refused or (--verify) a request differs, 64 wrong usage,
78 the file is not nginx's, 1 any other failure.";

/// `import`
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct Import {
    /// From where.
    #[command(subcommand)]
    pub from: ImportTask,
}

/// From where.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportTask {
    /// From a configuration of nginx, with everything that it includes
    Nginx(ImportNginx),
}

/// `import nginx`
#[derive(Debug, Args)]
#[command(after_help = NGINX_EXAMPLES)]
pub(crate) struct ImportNginx {
    /// nginx's file: nginx.conf, or one of sites-enabled
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Write here instead of to standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite the file
    #[arg(long, requires = "output")]
    pub force: bool,
    /// The form of the report on standard error
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub report: ReportForm,
    /// Replay this access log (combined, or with the host in front) through nginx and Bothways
    #[arg(long, value_name = "ACCESS.LOG", value_hint = ValueHint::FilePath, conflicts_with_all = ["output", "report"])]
    pub verify: Option<PathBuf>,
    /// With --verify: the program
    #[arg(long, value_name = "BINARY", default_value = "nginx", requires = "verify", value_hint = ValueHint::FilePath)]
    pub nginx: PathBuf,
    /// With --verify: different requests of the log to replay at most
    #[arg(long, value_name = "N", default_value_t = 2000, requires = "verify")]
    pub requests: usize,
}

/// Forms of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    /// For people: what is not exact
    Text,
    /// For programs: every line
    Json,
    /// None
    Off,
}
