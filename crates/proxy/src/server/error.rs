//! Why a server cannot start or reload.

use std::fmt;
use std::io;

use config::{Config, Place};
use observe::LogProblem;
use tls::Problem;

/// Why a server cannot start or reload.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind {
        /// The address as written.
        written: String,
        /// The line that names it, as `file:line`.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// Sockets that the process was started with cannot be used.
    Inherited(io::Error),
    /// An access log cannot be opened.
    AccessLog {
        /// The line that names it.
        place: Place,
        /// The same as `file:line`.
        located: String,
        /// Where it goes.
        target: String,
        /// What the system says.
        source: io::Error,
    },
    /// A thread or its runtime cannot be started.
    Thread(io::Error),
    /// The name resolver cannot be set up.
    Resolver(io::Error),
    /// There is no key for sticky cookies.
    StickyKey {
        /// The line that asks for it, as `file:line`.
        place: String,
        /// Why, in words.
        why: String,
    },
    /// A file of users cannot be used.
    UserFile {
        /// The line that names it, as `file:line`.
        place: String,
        /// Why, in words.
        why: String,
    },
    /// Certificates, keys or other settings of TLS cannot be used: the line, as `file:line`, and
    /// the problem.
    Tls(Vec<(String, Problem)>),
}

impl StartError {
    pub(super) fn access_log(config: &Config, problem: LogProblem) -> Self {
        let log = config.logs.get(problem.log.index());
        let place = log.map(|log| log.place).unwrap_or_default();
        let target = log.map(|log| log.target.to_string()).unwrap_or_default();
        Self::AccessLog { place, located: config.locate(place), target, source: problem.error }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { written, place, source } => {
                write!(out, "{place}: cannot listen on `{written}`: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(out, "\nhint: another program listens there; `ss -ltnp` shows which")
                    }
                    io::ErrorKind::PermissionDenied => write!(
                        out,
                        "\nhint: ports below 1024 need root, CAP_NET_BIND_SERVICE or socket activation"
                    ),
                    io::ErrorKind::AddrNotAvailable => {
                        write!(out, "\nhint: no interface of this machine has the address")
                    }
                    _ => Ok(()),
                }
            }
            Self::AccessLog { located, target, source, .. } => write!(
                out,
                "{located}: cannot open the access log {target}: {source}\nhint: its directory must be \
                 there, and the user that bothways runs as must be allowed to write to it"
            ),
            Self::Inherited(error) => write!(out, "cannot use an inherited socket: {error}"),
            Self::Thread(error) => write!(out, "cannot start a thread: {error}"),
            Self::Resolver(error) => write!(out, "cannot set up the resolver: {error}"),
            Self::UserFile { place, why } => write!(out, "{place}: {why}"),
            Self::StickyKey { place, why } => write!(
                out,
                "{place}: {why}\nhint: `head -c 32 /dev/urandom | base64 > FILE` makes one, for the user of bothways alone"
            ),
            Self::Tls(problems) => {
                for (index, (place, problem)) in problems.iter().enumerate() {
                    let end = if index > 0 { "\n" } else { "" };
                    write!(out, "{end}{place}: {}", problem.message)?;
                    if let Some(hint) = &problem.hint {
                        write!(out, "\nhint: {hint}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for StartError {}
