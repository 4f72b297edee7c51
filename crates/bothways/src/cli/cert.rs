//! Arguments and help of `bothways cert …` and `bothways ca …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

const CERT_EXAMPLES: &str = "\
Examples:
  bothways cert show shop.example.com:443        the certificate of a server, and what is wrong
  bothways cert show shop.pem --key shop.key     the contents of a file, and whether the key matches
  bothways cert key -o shop.key                  a new key
  bothways cert csr --key shop.key shop.example.com www.shop.example.com -o shop.csr
  bothways cert check shop.example.com           the TLS settings of a site, and what is wrong

To get certificates automatically, write `tls auto` (from a public CA, by ACME) or `tls internal`
(from your own CA) into the site.";

const KEY_EXAMPLES: &str = "\
Examples:
  bothways cert key -o shop.key                  ECDSA P-256: right for nearly everything
  bothways cert key --type rsa2048 -o old.key    for clients without elliptic curves
  bothways cert key > shop.key                   (set umask 077 first)

Only its owner can read the file. An existing file is not overwritten without --force: a lost key
cannot be recovered.";

const CSR_EXAMPLES: &str = "\
Examples:
  bothways cert csr --key shop.key shop.example.com '*.shop.example.com' -o shop.csr
  bothways cert csr --key new.key --new-key shop.example.com -o shop.csr     with a new key
  bothways cert csr --key shop.key 10.0.0.5 api.lan --subject 'CN=api.lan,O=Example,C=DE'
  bothways cert show shop.csr                                                inspect it

Send the request to the CA; the key stays here. Names are DNS names, also '*.example.com', or
addresses. Write the certificate of the CA into the site: tls cert=\"shop.pem\" key=\"shop.key\".";

const SHOW_EXAMPLES: &str = "\
Examples:
  bothways cert show shop.example.com            port 443
  bothways cert show 127.0.0.1:8443 --name shop.example.com      ask this server for this name
  bothways cert show shop.example.com --pem > chain.pem          save its certificates
  bothways cert show shop.pem --key shop.key     whether they match
  bothways cert show shop.csr                    requests and keys too
  bothways cert show api.lan:8443 --ca <(bothways ca root)       trust the internal CA, too

Exit codes: 0 no error, 1 an error. Warnings do not count.";

const CHECK_EXAMPLES: &str = "\
Examples:
  bothways cert check shop.example.com
  bothways cert check shop.example.com --config /etc/bothways/bothways.kdl

`bothways check` checks all sites and the rest of the configuration.";

const CA_EXAMPLES: &str = "\
Examples:
  bothways ca root > bothways-ca.pem             the root that clients must trust
  curl --cacert <(bothways ca root) https://localhost/
  sudo bothways ca root --state /var/lib/bothways
  bothways ca root --make                        create the CA before it is first needed";

/// `cert`
#[derive(Debug, Args)]
#[command(after_help = CERT_EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cert {
    /// What to do.
    #[command(subcommand)]
    pub task: CertTask,
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertTask {
    /// Create a private key
    Key(Key),
    /// Create a certificate request for a CA
    Csr(Csr),
    /// Show a certificate, key or request in a file, or the certificate of a server
    Show(Show),
    /// Check the TLS settings and certificates of a site
    Check(CheckSite),
}

/// `cert key`
#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Key {
    /// Key type
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "ec256")]
    pub kind: KeyType,
    /// Output file [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite an existing file; the old key is lost
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// `cert csr`
#[derive(Debug, Args)]
#[command(after_help = CSR_EXAMPLES)]
pub(crate) struct Csr {
    /// DNS names and addresses that the certificate covers
    #[arg(value_name = "NAME", required_unless_present = "subject")]
    pub names: Vec<String>,
    /// The file with the private key
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// Create the key first; the file must not exist yet
    #[arg(long)]
    pub new_key: bool,
    /// Type of the new key [default: ec256]
    #[arg(short = 't', long = "type", value_name = "TYPE", requires = "new_key")]
    pub kind: Option<KeyType>,
    /// The subject, such as CN=example.com,O=Example,C=DE [default: CN= and the first name]
    #[arg(short, long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Output file for the request [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite an existing request; a key is never overwritten
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// `cert show`
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct Show {
    /// A file, or a server: HOST, HOST:PORT or a URL
    #[arg(value_name = "FILE|HOST:PORT", value_hint = ValueHint::FilePath)]
    pub target: String,
    /// Server name to send, which the certificate must cover [default: HOST]
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// Trust the CAs in this file, in addition to the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// Check whether this key matches the certificate in the file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Print the certificates as PEM
    #[arg(long, conflicts_with = "json")]
    pub pem: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `cert check`
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckSite {
    /// A name of the site
    #[arg(value_name = "SITE")]
    pub site: String,
    /// The file [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    /// ECDSA with P-256: small, fast, supported by every client
    Ec256,
    /// ECDSA with P-384
    Ec384,
    /// RSA, 2048 bits: for old clients
    Rsa2048,
    /// RSA, 4096 bits: slow
    Rsa4096,
    /// Ed25519: no browser supports it yet
    Ed25519,
}

impl From<KeyType> for config::KeyKind {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Ec256 => Self::EcP256,
            KeyType::Ec384 => Self::EcP384,
            KeyType::Rsa2048 => Self::Rsa2048,
            KeyType::Rsa4096 => Self::Rsa4096,
            KeyType::Ed25519 => Self::Ed25519,
        }
    }
}

/// `ca`
#[derive(Debug, Args)]
#[command(after_help = CA_EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Ca {
    /// What to do.
    #[command(subcommand)]
    pub task: CaTask,
}

/// What to do with the internal CA.
#[derive(Debug, Subcommand)]
pub(crate) enum CaTask {
    /// Print the root certificate of `tls internal`, which clients must trust
    Root(CaRoot),
}

/// `ca root`
#[derive(Debug, Args)]
#[command(after_help = CA_EXAMPLES)]
pub(crate) struct CaRoot {
    /// The state directory [default: that of the configuration, else the usual one]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// The configuration file with `state` [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", conflicts_with = "state", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Create the CA if it does not exist yet
    #[arg(long)]
    pub make: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::{Cli, HELP_WIDTH_MAX};

    #[test]
    fn every_task_has_examples() {
        let all = Cli::command();
        for command in ["cert", "ca"] {
            let command = all.find_subcommand(command).unwrap();
            for task in command.get_subcommands() {
                let help = task.get_after_help().map(ToString::to_string).unwrap_or_default();
                let words = format!("bothways {} {}", command.get_name(), task.get_name());
                assert!(help.contains("Examples:") && help.contains(&words), "{words}");
                assert!(task.get_about().is_some(), "{words}");
                let wide = help.lines().find(|line| line.chars().count() > HELP_WIDTH_MAX);
                assert_eq!(wide, None, "{words}: the line would be wrapped");
            }
        }
    }
}
