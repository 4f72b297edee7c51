//! `bothways cert …` and `bothways ca …`: the everyday tasks around keys and certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

const CERT_EXAMPLES: &str = "\
Examples:
  bothways cert show shop.example.com:443        what a server shows, and what is wrong with it
  bothways cert show shop.pem --key shop.key     what is in a file, and whether the key fits
  bothways cert key -o shop.key                  a new key
  bothways cert csr --key shop.key shop.example.com www.shop.example.com -o shop.csr
  bothways cert check shop.example.com           what the configuration says, and what is wrong

A certificate without any of this: write `tls auto` (from a public CA, by ACME) or `tls internal`
(from a CA of one's own) into the site.";

const KEY_EXAMPLES: &str = "\
Examples:
  bothways cert key -o shop.key                  ECDSA P-256: right for nearly everything
  bothways cert key --type rsa2048 -o old.key    for clients that know no elliptic curves
  bothways cert key > shop.key                   (set umask 077 first)

The file can be read by its owner alone. A file that is there already is never overwritten without
--force: a lost key cannot be had again.";

const CSR_EXAMPLES: &str = "\
Examples:
  bothways cert csr --key shop.key shop.example.com '*.shop.example.com' -o shop.csr
  bothways cert csr --key new.key --new-key shop.example.com -o shop.csr       key and request at once
  bothways cert csr --key shop.key 10.0.0.5 api.lan --subject 'CN=api.lan,O=Example,C=DE'
  bothways cert show shop.csr                                                  look at it

The file goes to the CA, the key stays here. Names are DNS names, also '*.example.com', or
addresses. What the CA gives back is written into the site: tls cert=\"shop.pem\" key=\"shop.key\".";

const SHOW_EXAMPLES: &str = "\
Examples:
  bothways cert show shop.example.com            port 443
  bothways cert show 127.0.0.1:8443 --name shop.example.com      ask this server for that name
  bothways cert show shop.example.com --pem > chain.pem          save what it shows
  bothways cert show shop.pem --key shop.key     whether they belong together
  bothways cert show shop.csr                    requests and keys too
  bothways cert show api.lan:8443 --ca <(bothways ca root)       believe the internal CA too

Exit codes: 0 nothing is wrong, 1 something is. Warnings do not count.";

const CHECK_EXAMPLES: &str = "\
Examples:
  bothways cert check shop.example.com
  bothways cert check shop.example.com --config /etc/bothways/bothways.kdl

`bothways check` looks at all sites, and at everything else.";

const CA_EXAMPLES: &str = "\
Examples:
  bothways ca root > bothways-ca.pem             what clients must trust
  curl --cacert <(bothways ca root) https://localhost/
  sudo bothways ca root --state /var/lib/bothways
  bothways ca root --make                        make it before it is first needed";

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
    /// Make a private key
    Key(Key),
    /// Make a certificate request, for a CA to sign
    Csr(Csr),
    /// Show a certificate, key or request, of a file or of a server
    Show(Show),
    /// Check what a site has configured
    Check(CheckSite),
}

/// `cert key`
#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Key {
    /// Its kind
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "ec256")]
    pub kind: KeyType,
    /// Where it is written [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite the file if it is there; the old key is lost
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// `cert csr`
#[derive(Debug, Args)]
#[command(after_help = CSR_EXAMPLES)]
pub(crate) struct Csr {
    /// What it is for: DNS names, addresses
    #[arg(value_name = "NAME", required_unless_present = "subject")]
    pub names: Vec<String>,
    /// The file with the private key
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// Make the key first; the file must not be there yet
    #[arg(long)]
    pub new_key: bool,
    /// The kind of the new key [default: ec256]
    #[arg(short = 't', long = "type", value_name = "TYPE", requires = "new_key")]
    pub kind: Option<KeyType>,
    /// The subject, such as CN=example.com,O=Example,C=DE [default: CN= and the first name]
    #[arg(short, long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Where the request is written [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite the request if it is there; a key never is
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
    /// The name to ask the server for, and that the certificate must be for [default: HOST]
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// Believe the CAs in this file too, beside the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// Whether this key belongs to the certificate in the file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Print the certificates in PEM
    #[arg(long, conflicts_with = "json")]
    pub pem: bool,
    /// As JSON
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
    /// ECDSA over P-256: small, fast, known to every client
    Ec256,
    /// ECDSA over P-384
    Ec384,
    /// RSA, 2048 bits: for old clients
    Rsa2048,
    /// RSA, 4096 bits: slow
    Rsa4096,
    /// Ed25519: no browser takes it yet
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
    /// Print the certificate of the CA behind `tls internal`, which clients must trust
    Root(CaRoot),
}

/// `ca root`
#[derive(Debug, Args)]
#[command(after_help = CA_EXAMPLES)]
pub(crate) struct CaRoot {
    /// The state directory [default: as the configuration says, else the usual one]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// The file that may set it [default: ./bothways.kdl, else /etc/bothways/bothways.kdl]
    #[arg(short, long, value_name = "FILE", conflicts_with = "state", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Make the CA if there is none yet
    #[arg(long)]
    pub make: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_task_teaches_by_example() {
        let all = Cli::command();
        for command in ["cert", "ca"] {
            let command = all.find_subcommand(command).unwrap();
            for task in command.get_subcommands() {
                let help = task.get_after_help().map(ToString::to_string).unwrap_or_default();
                let words = format!("bothways {} {}", command.get_name(), task.get_name());
                assert!(help.contains("Examples:") && help.contains(&words), "{words}");
                assert!(task.get_about().is_some(), "{words}");
            }
        }
    }
}
