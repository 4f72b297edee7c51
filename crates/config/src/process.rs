//! The model of `process`: what holds for the process as a whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::caching::CacheStore;
use crate::logs::{AccessFormat, LogTarget};
use crate::model::Place;

/// Settings of the process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Threads that carry traffic; `None`: one per CPU that the process may run on.
    pub cores: Option<u16>,
    /// Where the admin interface listens.
    pub admin: Option<AdminAddress>,
    /// A file with the token that requests to the admin interface over TCP need; `None`: reading
    /// needs none, and changes need one that is made in the state directory.
    pub admin_token: Option<PathBuf>,
    /// Whether `/metrics` needs no token.
    pub admin_metrics_open: bool,
    /// Where the process stands: endpoints of the same zone are taken first.
    pub zone: Option<Arc<str>>,
    /// Where the access log goes.
    pub access_log: LogTarget,
    /// How a line of the access log looks.
    pub access_format: AccessFormat,
    /// The fields of a line in JSON; `None`: all.
    pub access_fields: Option<Box<[Box<str>]>>,
    /// The line that says where the access log goes.
    pub access_place: Place,
    /// Where the error log goes.
    pub error_log: LogTarget,
    /// The line that says so.
    pub error_place: Place,
    /// The least severe level that is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub error_level: Box<str>,
    /// How long open exchanges may take to finish after SIGTERM.
    pub drain: Duration,
    /// Client connections at most, in the whole process; `None`: from the limit of open files.
    pub connections_max: Option<u32>,
    /// How names are looked up.
    pub resolver: ResolverSettings,
    /// Where what must outlast the process is kept (the internal CA, ACME accounts and
    /// certificates); `None`: `$STATE_DIRECTORY`, else `/var/lib/bothways` for root and
    /// `$XDG_STATE_HOME/bothways` or `~/.local/state/bothways` for others.
    pub state: Option<PathBuf>,
    /// The store of responses.
    pub cache: CacheStore,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            cores: None,
            admin: None,
            admin_token: None,
            admin_metrics_open: false,
            zone: None,
            access_log: LogTarget::Stdout,
            access_format: AccessFormat::Json,
            access_fields: None,
            access_place: Place::default(),
            error_log: LogTarget::Stderr,
            error_place: Place::default(),
            error_level: "info".into(),
            drain: Duration::from_secs(30),
            connections_max: None,
            resolver: ResolverSettings::default(),
            state: None,
            cache: CacheStore::default(),
        }
    }
}

/// Where the admin interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverSettings {
    /// Name servers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one try may take.
    pub timeout: Duration,
    /// How often a name server is asked before giving up.
    pub tries: u32,
    /// Whether `/etc/hosts` is honoured.
    pub hosts: bool,
    /// Shortest time an answer is kept.
    pub ttl_min: Duration,
    /// Longest time an answer is kept.
    pub ttl_max: Duration,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            tries: 2,
            hosts: true,
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(3600),
        }
    }
}
