//! What people are told of where endpoints come from, and of what was changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use config::{Endpoint, EndpointAddress, SourceKind, Upstream};
use net::{Watched, WatchedState};

use super::members;
use super::{Changes, Discovery};

/// Where an endpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is written in the configuration.
    Written,
    /// A JSON file.
    File(PathBuf),
    /// The `SRV` records of this name.
    Srv(Arc<str>),
    /// It is one of the addresses of the name that is written as this.
    Address(Arc<str>),
    /// It was added at run time.
    Added,
}

/// What an endpoint is otherwise than written or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As written.
    pub name: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// As it is written or found; `None`: it is not.
    pub before: Option<Endpoint>,
    /// As it is now; `None`: it was removed.
    pub after: Option<Endpoint>,
}

/// How it stands with something that endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// What it is: `name`, `srv` or `file`.
    pub kind: &'static str,
    /// The name, or the file's path.
    pub name: String,
    /// How many endpoints or addresses it gives.
    pub found: usize,
    /// Whether it has not been looked up yet.
    pub waiting: bool,
    /// What is wrong with it, and since when; what was found before goes on.
    pub problem: Option<(SystemTime, String)>,
}

impl Discovery {
    /// The names, services and files that an upstream's endpoints come from.
    pub(crate) fn sources(&self, upstream: &Upstream) -> Vec<SourceState> {
        let known = self.known();
        let sources = upstream.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Srv(name) => {
                let watched = known.services.get(name)?;
                Some(of_watched("srv", watched, watched.services().len()))
            }
            SourceKind::File(path) => {
                let file = known.files.get(&(path.clone(), source.tls))?;
                Some(SourceState {
                    kind: "file",
                    name: path.display().to_string(),
                    found: file.endpoints(source.place).len(),
                    waiting: false,
                    problem: file.problem().cloned(),
                })
            }
        });
        let mut all: Vec<_> = sources.collect();
        let hosts = upstream.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Name { host, .. } => Some(host),
            EndpointAddress::Ip(_) | EndpointAddress::Unix(_) => None,
        });
        let watched = hosts.filter_map(|host| known.names.get(host));
        all.extend(watched.map(|watched| of_watched("name", watched, watched.addresses().len())));
        all
    }

    /// What people should know of an endpoint, if there is anything: that its name is not found.
    pub(crate) fn remark(&self, endpoint: &Endpoint) -> Option<String> {
        let host = match (&endpoint.host, &endpoint.address) {
            (Some(host), _) | (None, EndpointAddress::Name { host, .. }) => host,
            (None, EndpointAddress::Ip(_) | EndpointAddress::Unix(_)) => return None,
        };
        let (since, why) = {
            let known = self.known();
            let state = of_watched("name", known.names.get(host)?, 0);
            state.problem?
        };
        let since = httpdate::fmt_http_date(since);
        Some(format!(
            "{host} has not been found since {since} ({why}); its last addresses are used"
        ))
    }

    /// Where an endpoint of an upstream comes from.
    pub(crate) fn origin(&self, upstream: &Upstream, name: &str) -> Option<Origin> {
        let is_it = |endpoint: &Endpoint| &*endpoint.written == name;
        if upstream.endpoints.iter().any(is_it) {
            return Some(Origin::Written);
        }
        let found = self.known().found(upstream, &self.resolver);
        let mut pairs = upstream.sources.iter().zip(found);
        let from = pairs.find(|(_, found)| found.iter().any(is_it));
        if let Some((source, _)) = from {
            return Some(match &source.kind {
                SourceKind::Srv(name) => Origin::Srv(Arc::clone(name)),
                SourceKind::File(path) => Origin::File(path.clone()),
            });
        }
        if self.changes(&upstream.name).added.iter().any(is_it) {
            return Some(Origin::Added);
        }
        let (base, _) = name.split_once('@')?;
        Some(Origin::Address(base.into()))
    }

    /// What of an upstream is otherwise than written or found.
    pub(crate) fn differences(&self, upstream: &Upstream) -> Vec<Difference> {
        let changes = self.changes(&upstream.name);
        let found = self.known().found(upstream, &self.resolver);
        let base = members::named(upstream, &found, &Changes::default());
        let find = |name: &str| base.iter().find(|endpoint| &*endpoint.written == name).cloned();
        // Of one address of a name there is as much to tell as of the name.
        let before_of = |name: &str| {
            find(name).or_else(|| {
                let (of, _) = name.split_once('@')?;
                Some(Endpoint { written: name.into(), ..find(of)? })
            })
        };
        let mut all = Vec::new();
        let mut tell = |name: &Arc<str>, before: Option<Endpoint>, after: Option<Endpoint>| {
            let origin = self.origin(upstream, name).unwrap_or(Origin::Added);
            if before != after {
                all.push(Difference { name: Arc::clone(name), origin, before, after });
            }
        };
        for (name, settings) in &changes.set {
            let before = before_of(name);
            let after = before.clone().map(|mut endpoint| {
                settings.apply(&mut endpoint);
                endpoint
            });
            tell(name, before, after);
        }
        changes.removed.iter().for_each(|name| tell(name, before_of(name), None));
        let added = changes.added.iter().filter(|endpoint| find(&endpoint.written).is_none());
        added.for_each(|endpoint| tell(&endpoint.written, None, Some(endpoint.clone())));
        all
    }
}

fn of_watched<T>(kind: &'static str, watched: &Watched<T>, found: usize) -> SourceState {
    let state = watched.state();
    let problem = match &state {
        WatchedState::Failing(error) => {
            watched.failing_since().map(|since| (since, error.to_string()))
        }
        WatchedState::Waiting | WatchedState::Fresh => None,
    };
    let waiting = state == WatchedState::Waiting;
    SourceState { kind, name: watched.host().to_owned(), found, waiting, problem }
}
