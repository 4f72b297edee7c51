//! Logs: where their lines go, and how they look.

use std::fmt;
use std::path::PathBuf;

use crate::model::Place;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, re-opened on SIGUSR1.
    File(PathBuf),
    /// The journal of systemd.
    Journald,
    /// The syslog of this machine, or that at a host and port behind UDP.
    Syslog(Option<Box<str>>),
}

impl fmt::Display for LogTarget {
    /// For people.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => out.write_str("off"),
            Self::Stdout => out.write_str("stdout"),
            Self::Stderr => out.write_str("stderr"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Journald => out.write_str("journald"),
            Self::Syslog(None) => out.write_str("syslog:"),
            Self::Syslog(Some(address)) => write!(out, "syslog:udp:{address}"),
        }
    }
}

/// An access log: where its lines go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// The line that says where it goes.
    pub place: Place,
    /// Where it goes.
    pub target: LogTarget,
    /// How a line looks.
    pub format: AccessFormat,
    /// The fields of a line in JSON or of an entry of the journal; `None`: all.
    pub fields: Option<Box<[Box<str>]>>,
}

/// How a line of an access log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// Apache's combined format.
    Combined,
    /// The same behind the site's name and the port.
    VhostCombined,
    /// Text with parts.
    Text(LogText),
}

/// The text of a log line, with `{name}` parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogText {
    /// As written.
    pub written: Box<str>,
    /// Its parts.
    pub parts: Box<[LogPart]>,
}

/// A part of the text of a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPart {
    /// Text as it is.
    Literal(Box<str>),
    /// A field of the log, or another part with a name.
    Named(&'static str),
    /// The value of a field of the request.
    Field(Box<str>),
    /// The value of a field of the response.
    ResponseField(Box<str>),
}
