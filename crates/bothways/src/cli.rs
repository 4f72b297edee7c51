//! The command line: what can be said, and the help that teaches it.
//!
//! Only words here; every command is done in the module of its name. Each command's help ends in
//! examples that can be copied (a test holds that).

mod cert;
mod members;
mod upstreams;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::exit;

pub(crate) use cert::{
    Ca, CaRoot, CaTask, Cert, CertTask, CheckSite, Csr, Key, Show as ShowCertificate,
};

pub(crate) use members::{Add, MembersTask, Named};
pub(crate) use upstreams::{Look, Upstreams};

const EXAMPLES: &str = "\
Examples:
  bothways demo                                            see it work, nothing else needed
  bothways reverse --listen :8080 --to localhost:3000      in front of a web server, no file
  bothways forward --listen :3128 --deny '*.example.com'   for clients on their way out, no file
  bothways check && bothways run                           with ./bothways.kdl

Exit codes: 0 done, 64 wrong usage, 78 wrong configuration, 1 anything else.";

const RUN_EXAMPLES: &str = "\
Examples:
  bothways run                                   ./bothways.kdl, else /etc/bothways/bothways.kdl
  bothways run --config proxy.kdl --watch        reload whenever the file changes

Signals:
  SIGHUP             reload; a bad file is reported and the old configuration goes on
  SIGUSR1            re-open the log files (after they were rotated)
  SIGTERM, SIGINT    stop accepting, let open exchanges finish (process { drain \"30s\" }), then exit;
                     a second one stops at once";

const REVERSE_EXAMPLES: &str = "\
Examples:
  bothways reverse --listen :8080 --to localhost:3000
  bothways reverse --listen :80 --to 10.0.0.1:8080 10.0.0.2:8080     spread over both
  bothways reverse --to 10.0.0.1:80 10.0.0.2:80 --health /healthz --balance least-connections
  bothways reverse --listen :80 --site shop.example.com --to localhost:3000 --log off
  bothways reverse --to localhost:3000 --print-config > bothways.kdl     grow it into a file";

const FORWARD_EXAMPLES: &str = "\
Rules are tried in the order they are written, the first that matches decides:
  example.com                   a destination by its name
  '*.example.com'               it and everything below
  'to=*.example.com method=CONNECT port=443 from=10.1.0.0/16'
                                several properties; all must match, commas separate alternatives
Without any --allow, only clients on this machine may use the proxy. Private destinations are
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

A file can say what must hold; check decides each line without any traffic:
  expect \"GET http://shop.example.com/old/a\" status=308 location=\"/new/a\"
  expect \"CONNECT www.facebook.com:443\" forward=\":3128\" from=\"10.0.0.5\" denied=#true";

const FMT_EXAMPLES: &str = "\
Examples:
  bothways fmt                          ./bothways.kdl, in place
  bothways fmt a.kdl sites/*.kdl        these, in place
  bothways fmt --check a.kdl            change nothing; exit 1 if something would change
  bothways fmt - < a.kdl                from standard input to standard output";

const SHOW_EXAMPLES: &str = "\
Examples:
  bothways show                         every effective value, and the line or default it comes from
  bothways show new.kdl | grep timeouts
  bothways show --json";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  bothways explain http://shop.example.com/old/a
  bothways explain http://shop.example.com/api/x --method POST --from 192.0.2.7
  bothways explain www.facebook.com:443 --forward :3128 --from 10.0.0.5      a CONNECT
  bothways explain http://example.com/ --forward :3128 --json
  bothways explain https://intranet.example.com/ --client ops.example.com    with a certificate
  bothways explain http://shop.example.com/ -H 'Cookie: sid=42'              where a key or a cookie leads";

const RELOAD_EXAMPLES: &str = "\
Examples:
  bothways reload                              by the admin address in the configuration
  bothways reload --admin 127.0.0.1:9900
  bothways reload --admin unix:/run/bothways.sock
  bothways reload --pid /run/bothways.pid      by SIGHUP; the outcome is in the log of the process

The running process reads its file anew. Its answer is shown here: what changed, or every mistake
in the file, in which case it goes on as it was.";

const DEMO_EXAMPLES: &str = "\
Examples:
  bothways demo                         then try the lines it prints; Ctrl-C ends it
  bothways demo --print-config          the configuration it uses";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  bothways completions bash > /etc/bash_completion.d/bothways
  bothways completions zsh > ~/.zfunc/_bothways
  bothways completions fish > ~/.config/fish/completions/bothways.fish";

const VERSION_EXAMPLES: &str = "\
Examples:
  bothways version
  bothways version --json";

/// One proxy that works both ways: reverse, in front of servers, and forward, in front of clients.
#[derive(Debug, Parser)]
#[command(name = "bothways", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration file says
    Run(Run),
    /// Serve one site in reverse, without a file
    Reverse(Reverse),
    /// Serve clients on their way out, without a file
    Forward(Forward),
    /// Check a file: mistakes, warnings, and what it says must hold
    Check(Check),
    /// Format files, keeping comments
    Fmt(Fmt),
    /// Show every effective value and where it comes from
    Show(Show),
    /// Explain what would happen to a request: which line decides, which endpoint would get it
    Explain(Explain),
    /// Have the running process read its file anew
    Reload(Reload),
    /// Show the endpoints of the running process; drain, weigh, add and remove them
    Upstreams(Upstreams),
    /// Keys, requests and certificates: make them, show them, find what is wrong
    Cert(Cert),
    /// The internal CA, which signs for `tls internal`
    Ca(Ca),
    /// See it work: two servers, a reverse and a forward proxy, on this machine alone
    Demo(Demo),
    /// Print completions for a shell
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
    /// Write the process's number to this file while it runs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pid_file: Option<PathBuf>,
}

/// `reverse`
#[derive(Debug, Args)]
#[command(after_help = REVERSE_EXAMPLES)]
pub(crate) struct Reverse {
    /// Where to listen; may be repeated
    #[arg(short, long, value_name = "ADDR", default_value = ":8080")]
    pub listen: Vec<String>,
    /// Where requests go: host:port or address:port; several share them
    #[arg(short, long, value_name = "ADDR", required = true, num_args = 1..)]
    pub to: Vec<String>,
    /// Serve only these host names [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub site: Vec<String>,
    /// How an endpoint is chosen, such as p2c, round-robin, least-connections or source [default: p2c]
    #[arg(long, value_name = "ALGORITHM")]
    pub balance: Option<String>,
    /// Check endpoints: a path that is asked for, tcp or grpc [default: only requests tell]
    #[arg(long, value_name = "PATH")]
    pub health: Option<String>,
    /// What both one-liners take.
    #[command(flatten)]
    pub common: Shortcut,
}

/// `forward`
#[derive(Debug, Args)]
#[command(after_help = FORWARD_EXAMPLES)]
pub(crate) struct Forward {
    /// Where to listen; may be repeated
    #[arg(short, long, value_name = "ADDR", default_value = ":3128")]
    pub listen: Vec<String>,
    /// Allow what matches; may be repeated
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
    /// Deny what matches; may be repeated
    #[arg(long, value_name = "RULE")]
    pub deny: Vec<String>,
    /// Send nothing that names the client: no Via, no forwarding fields
    #[arg(long)]
    pub anonymous: bool,
    /// Ports that clients may go to, such as 80,443,8000-8999, or any [default: 80,443]
    #[arg(long, value_name = "PORTS")]
    pub ports: Option<String>,
    /// What both one-liners take.
    #[command(flatten)]
    pub common: Shortcut,
    /// The rules in the order they stand on the command line; filled in by [`parse`].
    #[arg(skip)]
    pub rules: Vec<Rule>,
}

/// One `--allow` or `--deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whether it allows.
    pub allow: bool,
    /// As written.
    pub text: String,
}

/// What both one-liners take.
#[derive(Debug, Args)]
pub(crate) struct Shortcut {
    /// How finished exchanges are logged, to standard output
    #[arg(long, value_name = "FORMAT", default_value = "combined")]
    pub log: LogChoice,
    /// Offer /metrics, /healthz, /readyz and /config here: a loopback address, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Print the configuration that this amounts to, and do nothing
    #[arg(long)]
    pub print_config: bool,
}

/// How finished exchanges are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogChoice {
    /// Not at all
    Off,
    /// Apache's combined format
    Combined,
    /// A JSON object a line
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
    /// Change nothing; exit 1 and name the files that would change
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
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// With the values of secrets, which are masked otherwise
    #[arg(long)]
    pub secrets: bool,
}

/// `explain`
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// What the client asks for: a URL, or host:port for CONNECT
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
    /// Ask the forward proxy that listens here, as written in the file [default: in reverse]
    #[arg(short, long, value_name = "LISTENER")]
    pub forward: Option<String>,
    /// The client has shown a good certificate with this name (over TLS)
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// Take the host to have this address; may be repeated [default: a global one]
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// A field of the request, as `Name: value`; may be repeated
    #[arg(short = 'H', long, value_name = "FIELD")]
    pub field: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `reload`
#[derive(Debug, Args)]
#[command(after_help = RELOAD_EXAMPLES)]
pub(crate) struct Reload {
    /// The file whose `admin` address is asked [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The admin address of the process: host:port or unix:PATH
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["config", "pid"])]
    pub admin: Option<String>,
    /// The number of the process, or the file that holds it: SIGHUP is sent
    #[arg(long, value_name = "FILE|N", conflicts_with = "config")]
    pub pid: Option<String>,
    /// The file of the token that it is allowed by over TCP [default: that of the configuration, else that of the state directory]
    #[arg(long, value_name = "FILE", conflicts_with = "pid", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Take a configuration that has no site and no forward, or of which a file was emptied
    #[arg(long, conflicts_with = "pid")]
    pub allow_empty: bool,
}

/// `demo`
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct Demo {
    /// Print the configuration it uses, and do nothing
    #[arg(long)]
    pub print_config: bool,
    /// Make the requests itself, print what each side sees, and end
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
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads the command line. `Err` is the exit code once help or a usage error has been printed.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    from_arguments(std::env::args_os()).map_err(|error| {
        let code = if error.use_stderr() { exit::USAGE } else { 0 };
        // A closed pipe (`bothways --help | head`) is nobody's mistake.
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

/// `--allow` and `--deny` as they follow each other: clap collects each apart, but the first rule
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
    fn every_command_teaches_by_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains("Examples:"), "{name}");
            assert!(help.contains(&format!("bothways {name}")), "{name}");
            assert!(command.get_about().is_some(), "{name}");
        }
    }

    #[test]
    fn help_speaks_of_the_defaults_that_hold() {
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
