//! The access logs of a snapshot: which one each site, route and forward listener writes to, and how.
//!
//! [`LogTargets`] opens targets; one that two snapshots name stays open. [`AccessLogs`] belongs to a snapshot and
//! is what a core looks at when an exchange is over.
//! Not here: the thread that writes (`writer`).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use config::{AccessFormat, Config, LogId, LogPart, LogTarget, RouteSettings};

use super::clock::UnixMillis;
use super::format::{self, Stamp};
use super::json::{self, FieldSet};
use super::line::{self, TextPart};
use super::names::Names;
use super::record::{Record, Scope};
use super::sink::Sink;

/// An open target of log lines, shared by all logs that name it.
pub(crate) struct Target {
    /// Only the writer's thread uses it, except to open it again.
    pub(crate) sink: Mutex<Sink>,
}

/// The targets that are open, by what the configuration calls them.
#[derive(Default)]
pub struct LogTargets(Mutex<HashMap<LogTarget, Weak<Target>>>);

/// A log that cannot be opened.
#[derive(Debug)]
pub struct LogProblem {
    /// Which of [`Config::logs`].
    pub log: LogId,
    /// Why.
    pub error: io::Error,
}

impl LogTargets {
    /// Opens the logs of a configuration, except those that are open already.
    pub fn open(&self, config: &Config) -> Result<Arc<AccessLogs>, LogProblem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, target| target.strong_count() > 0);
        let mut logs = Vec::with_capacity(config.logs.len());
        // Until the logs hold them.
        let mut opened = Vec::new();
        for (index, log) in config.logs.iter().enumerate() {
            let known = open.get(&log.target).and_then(Weak::upgrade);
            let target = match (known, &log.target) {
                (_, LogTarget::Off) => None,
                (Some(target), _) => Some(target),
                (None, name) => {
                    let sink = Sink::open(name)
                        .map_err(|error| LogProblem { log: LogId::at(index), error })?;
                    let target = Arc::new(Target { sink: Mutex::new(sink) });
                    open.insert(name.clone(), Arc::downgrade(&target));
                    opened.push(Arc::clone(&target));
                    Some(target)
                }
            };
            logs.push(Log::new(log, target));
        }
        Ok(Arc::new(AccessLogs::new(config, logs)))
    }

    /// Opens the targets again that may have moved away; those that cannot be opened stay as they are.
    pub(crate) fn opened_again(&self) -> (Vec<(Arc<Target>, Sink)>, io::Result<()>) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = Vec::new();
        let mut outcome = Ok(());
        for (name, target) in open.iter() {
            let Some(target) = target.upgrade() else { continue };
            match Sink::open(name) {
                Ok(sink) => opened.push((target, sink)),
                Err(error) => outcome = Err(error),
            }
        }
        (opened, outcome)
    }
}

/// Why a target could not be opened, tried without creating or changing anything; `None`: it could.
pub fn log_problem(target: &LogTarget) -> Option<String> {
    Sink::problem(target)
}

/// The access logs of a snapshot.
pub struct AccessLogs {
    /// By [`LogId`].
    logs: Box<[Log]>,
    sites: Box<[SiteLogs]>,
    forwards: Box<[LogId]>,
    is_on: bool,
    keeps_fields: bool,
}

/// The logs of a site.
struct SiteLogs {
    base: LogId,
    routes: Box<[LogId]>,
}

impl std::fmt::Debug for AccessLogs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AccessLogs").field("logs", &self.logs.len()).finish_non_exhaustive()
    }
}

/// Names of fields: of the request, and of the response.
pub type KeptNames<'a> = (&'a [Box<str>], &'a [Box<str>]);

impl AccessLogs {
    fn new(config: &Config, logs: Vec<Log>) -> Self {
        let of = |settings: &RouteSettings| settings.log;
        let sites = config.sites.iter().map(|site| SiteLogs {
            base: of(&site.base),
            routes: site.routes.iter().map(|route| of(&route.settings)).collect(),
        });
        let is_on = logs.iter().any(|log| log.target.is_some());
        let keeps_fields = logs.iter().any(Log::keeps_fields);
        Self {
            logs: logs.into(),
            sites: sites.collect(),
            forwards: config.forwards.iter().map(|forward| of(&forward.settings)).collect(),
            is_on,
            keeps_fields,
        }
    }

    /// True if lines are written anywhere: otherwise the data plane need not gather what only a log shows.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The names of the fields that the line of an exchange shows, of its request and of its response.
    pub fn kept_fields(&self, scope: Scope) -> Option<KeptNames<'_>> {
        if !self.keeps_fields {
            return None;
        }
        let (_, log) = self.of(scope)?;
        log.keeps_fields().then_some((&log.request_fields, &log.response_fields))
    }

    /// The log of an exchange, and which it is; `None`: it is off.
    pub(crate) fn of(&self, scope: Scope) -> Option<(u32, &Log)> {
        let id = match scope {
            Scope::None => LogId::default(),
            Scope::Site(site, route) => {
                let site = self.sites.get(site.index())?;
                let of_route = route.and_then(|route| site.routes.get(route.index()));
                of_route.copied().unwrap_or(site.base)
            }
            Scope::Forward(forward) => *self.forwards.get(forward.index())?,
        };
        let log = self.logs.get(id.index())?;
        log.target.is_some().then_some((id.0, log))
    }

    /// Where the lines of a log go.
    pub(crate) fn target(&self, log: u32) -> Option<&Target> {
        self.logs.get(log as usize)?.target.as_deref()
    }
}

/// One access log.
pub(crate) struct Log {
    target: Option<Arc<Target>>,
    format: Format,
    request_fields: Box<[Box<str>]>,
    response_fields: Box<[Box<str>]>,
}

/// How its lines look.
enum Format {
    Json(FieldSet),
    Combined,
    VhostCombined,
    Text(Box<[TextPart]>),
    /// Entries of systemd's journal: these fields, and a message.
    Journal(FieldSet, Box<[TextPart]>),
}

/// The message of an entry in the journal, unless a format says another.
const JOURNAL_MESSAGE: &[&str] = &["client", "request", "status", "bytes", "duration"];

impl Log {
    fn new(log: &config::AccessLog, target: Option<Arc<Target>>) -> Self {
        let set = log.fields.as_deref().map_or(FieldSet::ALL, FieldSet::of);
        let (mut request_fields, mut response_fields) = (Vec::new(), Vec::new());
        let mut parts = Vec::new();
        if let AccessFormat::Text(text) = &log.format {
            for part in &text.parts {
                parts.push(match part {
                    LogPart::Literal(text) => TextPart::Literal(text.as_bytes().into()),
                    LogPart::Named(name) => TextPart::named(name),
                    LogPart::Field(name) => TextPart::RequestField(add(&mut request_fields, name)),
                    LogPart::ResponseField(name) => {
                        TextPart::ResponseField(add(&mut response_fields, name))
                    }
                });
            }
        }
        let format = match &log.format {
            _ if log.target == LogTarget::Journald => {
                if parts.is_empty() {
                    parts = line::spaced(JOURNAL_MESSAGE);
                }
                Format::Journal(set, parts.into())
            }
            AccessFormat::Json => Format::Json(set),
            AccessFormat::Combined => Format::Combined,
            AccessFormat::VhostCombined => Format::VhostCombined,
            AccessFormat::Text(_) => Format::Text(parts.into()),
        };
        let (request_fields, response_fields) = (request_fields.into(), response_fields.into());
        Self { target, format, request_fields, response_fields }
    }

    fn keeps_fields(&self) -> bool {
        !self.request_fields.is_empty() || !self.response_fields.is_empty()
    }

    /// Adds a line with its end.
    pub(crate) fn push(
        &self,
        out: &mut Vec<u8>,
        record: &Record,
        names: &Names,
        time: UnixMillis,
        stamp: &mut Stamp,
    ) {
        match &self.format {
            Format::Json(set) => json::json(out, record, names, *set, time, stamp),
            Format::Combined => format::combined(out, record, time, stamp),
            Format::VhostCombined => {
                line::push_vhost(out, record, names);
                format::combined(out, record, time, stamp);
            }
            Format::Text(parts) => {
                line::push_parts(out, parts, record, names, time, stamp);
                out.push(b'\n');
            }
            Format::Journal(set, message) => {
                out.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=bothways\nMESSAGE=");
                line::push_parts(out, message, record, names, time, stamp);
                out.push(b'\n');
                json::journal(out, record, names, *set, time, stamp);
                out.push(super::sink::JOURNAL_END);
            }
        }
    }
}

/// The place of a name in a list, in which it is once.
fn add(names: &mut Vec<Box<str>>, name: &str) -> usize {
    let known = names.iter().position(|known| known.eq_ignore_ascii_case(name));
    known.unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    })
}
