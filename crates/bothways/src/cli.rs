//! The command line: commands, options and their help.
//!
//! The module with the name of a command implements it. The help of each command ends with examples
//! that can be copied (a test checks this).

mod cache;
mod cert;
mod endpoints;
mod import;
mod maintenance;
mod setup;
mod upgrade;
mod upstreams;
mod user;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::exit;

pub(crate) use cache::{Cache, CacheTask, Purge, Warm};
pub(crate) use cert::{
    Ca, CaRoot, CaTask, Cert, CertTask, CheckSite, Csr, Key, Show as ShowCertificate,
};

pub(crate) use endpoints::{Add, EndpointName, UpstreamsTask};
pub(crate) use import::{Import, ImportNginx, ImportTask, ReportForm};
pub(crate) use maintenance::{Maintenance, MaintenanceTask};
pub(crate) use setup::{Healthcheck, Init, Man, Way};
pub(crate) use upgrade::Upgrade;
pub(crate) use upstreams::{Upstreams, UpstreamsView};
pub(crate) use user::{User, UserName, UserTask};

const EXAMPLES: &str = "\
Examples:
  bothways demo                                            a demonstration, needs nothing else
  bothways reverse --listen :8080 --to localhost:3000      in front of a web server
  bothways forward --listen :3128 --deny '*.example.com'   for clients
  bothways check && bothways run                           with ./bothways.kdl

Exit codes: 0 success, 64 wrong usage, 78 wrong configuration, 1 any other failure.";

const RUN_EXAMPLES: &str = "\
Examples:
  bothways run                                   ./bothways.kdl, else /etc/bothways/bothways.kdl
  bothways run --config proxy.kdl --watch        reload whenever the file changes

Signals:
  SIGHUP             reload; if the file is wrong, the old configuration stays active
  SIGUSR1            re-open the log files (after a rotation)
  SIGUSR2            upgrade: start the binary again and hand everything over (bothways upgrade)
  SIGTERM, SIGINT    stop accepting, drain open exchanges (process { drain \"30s\" }), then exit;
                     a second signal stops at once";

const REVERSE_EXAMPLES: &str = "\
Examples:
  bothways reverse --listen :8080 --to localhost:3000
  bothways reverse --listen :80 --to 10.0.0.1:8080 10.0.0.2:8080     spread over both
  bothways reverse --to 10.0.0.1:80 10.0.0.2:80 --health /healthz --balance least-connections
  bothways reverse --listen :80 --site shop.example.com --to localhost:3000 --log off
  bothways reverse --to localhost:3000 --print-config > bothways.kdl     start a configuration file";

const FORWARD_EXAMPLES: &str = "\
Rules are tried in the order as written; the first that matches decides:
  example.com                   a destination by name
  example.com:8443              it, on this port
  '*.example.com'               it and all its subdomains
  'to=*.example.com method=CONNECT port=443 from=10.1.0.0/16'
                                several properties: all must match; commas separate alternatives
Without --allow, only clients on this machine may use the proxy. Private destinations are
refused unless an --allow names them (to=10.0.0.5).

Examples:
  bothways forward --listen :3128 --deny '*.example.com'
  bothways forward --listen :3128 --allow from=192.168.0.0/16
  bothways forward --listen 127.0.0.1:3128 --allow 'to=localhost port=8000-8999' --anonymous
  bothways forward --allow from=10.0.0.0/8 --print-config > bothways.kdl";

const CHECK_EXAMPLES: &str = "\
Examples:
  bothways check                       ./bothways.kdl, else /etc/bothways/bothways.kdl
  bothways check new.kdl && bothways reload

A file can contain expectations; check tests each of them without any traffic:
  expect \"GET http://shop.example.com/old/a\" status=308 location=\"/new/a\"
  expect \"CONNECT www.facebook.com:443\" forward=\":3128\" from=\"10.0.0.5\" denied=#true";

const FMT_EXAMPLES: &str = "\
Examples:
  bothways fmt                          ./bothways.kdl, in place
  bothways fmt a.kdl sites/*.kdl        these, in place
  bothways fmt --check a.kdl            change nothing; exit 1 if a file would change
  bothways fmt - < a.kdl                from standard input to standard output";

const SHOW_EXAMPLES: &str = "\
Examples:
  bothways show                         every effective value, and where it comes from
  bothways show new.kdl | grep timeouts
  bothways show --json";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  bothways explain http://shop.example.com/old/a
  bothways explain http://shop.example.com/api/x --method POST --from 192.0.2.7
  bothways explain www.facebook.com:443 --forward :3128 --from 10.0.0.5     a CONNECT request
  bothways explain http://example.com/ --forward :3128 --json
  bothways explain https://ops.example.com/ --client ann.example.com        a client certificate
  bothways explain http://shop.example.com/ -H 'Cookie: sid=42'             a cookie, or a key
  bothways explain http://shop.example.com/api --field 'X-Version: 2'       a condition of a route
  bothways explain http://a.example/b --response-field 'Cache-Control: max-age=60'  is it cached?";

const RELOAD_EXAMPLES: &str = "\
Examples:
  bothways reload                              at the admin address of the configuration
  bothways reload --admin 127.0.0.1:9900
  bothways reload --admin unix:/run/bothways.sock
  bothways reload --pid /run/bothways.pid      by SIGHUP; the outcome is in its log

The running process reads its file again. This command prints its answer: what changed, or every
mistake in the file; in that case the old configuration stays active.";

const DEMO_EXAMPLES: &str = "\
Examples:
  bothways demo                         then try the commands it prints; Ctrl-C quits
  bothways demo --print-config          its configuration";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  bothways completions bash > /etc/bash_completion.d/bothways
  bothways completions zsh > ~/.zfunc/_bothways
  bothways completions fish > ~/.config/fish/completions/bothways.fish";

const VERSION_EXAMPLES: &str = "\
Examples:
  bothways version
  bothways version --json";

/// The maximum width of help.
const HELP_WIDTH_MAX: usize = 100;

/// One proxy that works both ways: reverse, in front of servers, and forward, in front of clients.
#[derive(Debug, Parser)]
#[command(name = "bothways", version, after_help = EXAMPLES, max_term_width = HELP_WIDTH_MAX)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a configuration file with comments, from three questions
    Init(Init),
    /// Serve a configuration file
    Run(Run),
    /// Run a reverse proxy for one site, without a configuration file
    Reverse(Reverse),
    /// Run a forward proxy, without a configuration file
    Forward(Forward),
    /// Check a file: report mistakes and warnings, test expectations
    Check(Check),
    /// Format files, and keep comments
    Fmt(Fmt),
    /// Show every effective value and where it comes from
    Show(Show),
    /// Explain what would happen to a request: which line decides, which endpoint gets it
    Explain(Explain),
    /// Make the running process reload its configuration
    Reload(Reload),
    /// Close sites of the running process for maintenance, and open them again
    Maintenance(Maintenance),
    /// Show what the cache of the running process holds, purge it, fill it
    Cache(Cache),
    /// Replace the running process by one of a new binary, without losing a connection
    Upgrade(Upgrade),
    /// Show the endpoints of the running process; drain, weight, add and remove them
    Upstreams(Upstreams),
    /// Create keys and certificate requests, inspect certificates
    Cert(Cert),
    /// Print the root certificate of the internal CA (`tls internal`)
    Ca(Ca),
    /// Write a configuration from that of another server (nginx), with a report of each line
    Import(Import),
    /// Add users to a file for `login basic`, set and check their passwords
    User(User),
    /// Run a demonstration on this machine: two servers, a reverse and a forward proxy
    Demo(Demo),
    /// Ask the running process whether it serves: for containers and scripts
    Healthcheck(Healthcheck),
    /// Write man pages
    Man(Man),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the version and how it was built
    Version(Version),
}

/// `run`
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    /// The file [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Reload whenever the file, or one that it includes, changes
    #[arg(long)]
    pub watch: bool,
    /// Write the process ID to this file while the process runs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pid_file: Option<PathBuf>,
}

/// `reverse`
#[derive(Debug, Args)]
#[command(after_help = REVERSE_EXAMPLES)]
pub(crate) struct Reverse {
    /// Address to listen on; may be repeated
    #[arg(short, long, value_name = "ADDR", default_value = ":8080")]
    pub listen: Vec<String>,
    /// Endpoint for requests, as host:port; several endpoints share the requests
    #[arg(short, long, value_name = "ADDR", required = true, num_args = 1..)]
    pub to: Vec<String>,
    /// Serve only these host names [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub site: Vec<String>,
    /// Balancing algorithm, such as p2c, round-robin, least-connections or source [default: p2c]
    #[arg(long, value_name = "ALGORITHM")]
    pub balance: Option<String>,
    /// Health check: a path to request, tcp or grpc [default: none]
    #[arg(long, value_name = "PATH")]
    pub health: Option<String>,
    /// Options of both `reverse` and `forward`.
    #[command(flatten)]
    pub common: Shortcut,
}

/// `forward`
#[derive(Debug, Args)]
#[command(after_help = FORWARD_EXAMPLES)]
pub(crate) struct Forward {
    /// Address to listen on; may be repeated
    #[arg(short, long, value_name = "ADDR", default_value = ":3128")]
    pub listen: Vec<String>,
    /// Allow requests that match; may be repeated
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
    /// Deny requests that match; may be repeated
    #[arg(long, value_name = "RULE")]
    pub deny: Vec<String>,
    /// Send no field that identifies the client: no Via, no forwarding fields
    #[arg(long)]
    pub anonymous: bool,
    /// Ports that clients may reach, such as 80,443,8000-8999, or any [default: 80,443]
    #[arg(long, value_name = "PORTS")]
    pub ports: Option<String>,
    /// Options of both `reverse` and `forward`.
    #[command(flatten)]
    pub common: Shortcut,
    /// The rules in the order of the command line; set by [`parse`].
    #[arg(skip)]
    pub rules: Vec<Rule>,
}

/// One `--allow` or `--deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whether the rule allows.
    pub allow: bool,
    /// As written.
    pub text: String,
}

/// Options of both `reverse` and `forward`.
#[derive(Debug, Args)]
pub(crate) struct Shortcut {
    /// Format of the access log on standard output
    #[arg(long, value_name = "FORMAT", default_value = "combined")]
    pub log: LogChoice,
    /// Address of the admin interface (/metrics, /readyz …): on loopback, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Print the equivalent configuration and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Formats of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogChoice {
    /// No access log
    Off,
    /// Apache's combined format
    Combined,
    /// One JSON object per line
    Json,
}

/// `check`
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// The file [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Same as FILE, as in `run`
    #[arg(short, long, value_name = "FILE", conflicts_with = "file", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// `fmt`
#[derive(Debug, Args)]
#[command(after_help = FMT_EXAMPLES)]
pub(crate) struct Fmt {
    /// The files, or - for standard input [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Change nothing; print the files that would change, and exit 1
    #[arg(long)]
    pub check: bool,
}

/// `show`
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct Show {
    /// The file [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Same as FILE, as in `run`
    #[arg(short, long, value_name = "FILE", conflicts_with = "file", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print secrets, which are masked otherwise
    #[arg(long)]
    pub secrets: bool,
}

/// `explain`
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// The request: a URL, or host:port for CONNECT
    pub url: String,
    /// The file [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub from: IpAddr,
    /// The method [default: GET; CONNECT for host:port]
    #[arg(short, long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Send it to the forward proxy with this address, as written in the file [default: reverse proxy]
    #[arg(short, long, value_name = "LISTENER")]
    pub forward: Option<String>,
    /// Name in the client's TLS certificate
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// The user who has logged in, where `login` asks for that
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Address of the host; may be repeated [default: some public address]
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// A field of the request, as `Name: value`; may be repeated
    #[arg(short = 'H', long, value_name = "FIELD")]
    pub field: Vec<String>,
    /// A field of the response, as `Name: value`: would the cache store it? May be repeated
    #[arg(long, value_name = "FIELD")]
    pub response_field: Vec<String>,
    /// The status of the response [default: 200]
    #[arg(long, value_name = "N")]
    pub response_status: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `reload`
#[derive(Debug, Args)]
#[command(after_help = RELOAD_EXAMPLES)]
pub(crate) struct Reload {
    /// The file with the `admin` address [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["config", "pid"])]
    pub admin: Option<String>,
    /// Send SIGHUP to this process: its ID, or a file with the ID
    #[arg(long, value_name = "FILE|N", conflicts_with = "config")]
    pub pid: Option<String>,
    /// The file with the token, for TCP [default: that of the configuration, else of the state directory]
    #[arg(long, value_name = "FILE", conflicts_with = "pid", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Accept a configuration that serves nothing, or in which a file has become empty
    #[arg(long, conflicts_with = "pid")]
    pub allow_empty: bool,
}

/// `demo`
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct Demo {
    /// Print its configuration and exit
    #[arg(long)]
    pub print_config: bool,
    /// Send the example requests, print what each side sees, and exit
    #[arg(long, hide = true)]
    pub once: bool,
}

/// `completions`
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `version`
#[derive(Debug, Args)]
#[command(after_help = VERSION_EXAMPLES)]
pub(crate) struct Version {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads the command line. `Err` is the exit code once help or a usage error has been printed.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    from_arguments(std::env::args_os()).map_err(|error| {
        let code = if error.use_stderr() { exit::USAGE } else { 0 };
        // Fails if the pipe is closed (`bothways --help | head`), which is no error.
        let _ = error.print();
        ExitCode::from(code)
    })
}

fn from_arguments<I>(arguments: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = std::ffi::OsString>,
{
    use clap::{CommandFactory, FromArgMatches};
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Forward(forward), Some((_, of_forward))) =
        (&mut cli.command, matches.subcommand())
    {
        forward.rules = rules_in_order(of_forward);
    }
    Ok(cli)
}

/// The rules of `--allow` and `--deny` in order: clap collects them separately, but the first rule
/// that matches decides.
fn rules_in_order(matches: &clap::ArgMatches) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, allow) in [("allow", true), ("deny", false)] {
        let Some(texts) = matches.get_many::<String>(name) else { continue };
        let Some(positions) = matches.indices_of(name) else { continue };
        rules.extend(
            positions.zip(texts).map(|(at, text)| (at, Rule { allow, text: text.clone() })),
        );
    }
    rules.sort_by_key(|(at, _)| *at);
    rules.into_iter().map(|(_, rule)| rule).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        from_arguments(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains("Examples:"), "{name}");
            assert!(help.contains(&format!("bothways {name}")), "{name}");
            assert!(command.get_about().is_some(), "{name}");
            let wide = help.lines().find(|line| line.chars().count() > HELP_WIDTH_MAX);
            assert_eq!(wide, None, "{name}: the line would be wrapped");
        }
    }

    #[test]
    fn help_has_the_right_defaults() {
        let process = config::Process::default();
        assert!(RUN_EXAMPLES.contains("drain \"30s\""));
        assert_eq!(process.drain, std::time::Duration::from_secs(30));
        let loaded = config::parse("help", "forward \"127.0.0.1:3128\"\n").unwrap();
        let ports: Vec<_> =
            loaded.config.forwards[0].ports.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(ports, [(80, 80), (443, 443)], "[default: 80,443] of --ports");
    }

    #[test]
    fn rules_keep_their_order() {
        let cli = parsed("bothways forward --deny a --allow b --deny c --listen :1").unwrap();
        let Command::Forward(forward) = cli.command else { panic!("not forward") };
        let texts: Vec<_> =
            forward.rules.iter().map(|rule| (rule.allow, rule.text.as_str())).collect();
        assert_eq!(texts, [(false, "a"), (true, "b"), (false, "c")]);
    }

    #[test]
    fn several_endpoints() {
        let cli = parsed("bothways reverse --to a:1 b:2 --listen :1 --to c:3").unwrap();
        let Command::Reverse(reverse) = cli.command else { panic!("not reverse") };
        assert_eq!(reverse.to, ["a:1", "b:2", "c:3"]);
        assert_eq!(reverse.listen, [":1"]);
    }

    #[test]
    fn refused() {
        for line in [
            "bothways",
            "bothways serve",
            "bothways run extra",
            "bothways reverse --listen :80",
            "bothways reload --admin 127.0.0.1:1 --pid 3",
            "bothways explain",
            "bothways explain http://a/ --from nobody",
            "bothways completions tcsh",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
