//! Reports on where endpoints come from, and on what was changed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use config::{Endpoint, EndpointAddress, SourceKind, Upstream};
use net::{WatchState, WatchedName};

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

/// How an endpoint differs from what is written or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As written.
    pub name: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// As written or found; `None`: it is neither.
    pub before: Option<Endpoint>,
    /// Now; `None`: it was removed.
    pub after: Option<Endpoint>,
}

/// The state of a source of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// `name`, `srv` or `file`.
    pub kind: &'static str,
    /// The name, or the file's path.
    pub name: String,
    /// How many endpoints or addresses it has.
    pub found: usize,
    /// Whether it has not been looked up yet.
    pub waiting: bool,
    /// Since when it fails, and why; what was found before stays in use.
    pub problem: Option<(SystemTime, String)>,
}

impl Discovery {
    /// The names, services and files that an upstream's endpoints come from.
    pub fn sources(&self, upstream: &Upstream) -> Vec<SourceState> {
        let state = self.state();
        let sources = upstream.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Srv(name) => {
                let watched = state.services.get(name)?;
                Some(of_watched("srv", watched, watched.services().len()))
            }
            SourceKind::File(path) => {
                let file = state.files.get(&(path.clone(), source.tls))?;
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
        let watched = hosts.filter_map(|host| state.names.get(host));
        all.extend(watched.map(|watched| of_watched("name", watched, watched.addresses().len())));
        all
    }

    /// A remark on an endpoint, if there is one: that its name is not found.
    pub fn remark(&self, endpoint: &Endpoint) -> Option<String> {
        let host = match (&endpoint.host, &endpoint.address) {
            (Some(host), _) | (None, EndpointAddress::Name { host, .. }) => host,
            (None, EndpointAddress::Ip(_) | EndpointAddress::Unix(_)) => return None,
        };
        let (since, why) = {
            let state = self.state();
            let state = of_watched("name", state.names.get(host)?, 0);
            state.problem?
        };
        let since = httpdate::fmt_http_date(since);
        Some(format!(
            "{host} has not been found since {since} ({why}); its last addresses are used"
        ))
    }

    /// Where the endpoints of an upstream come from, by how they are written, without those that are one
    /// address of a name.
    pub fn origins(&self, upstream: &Upstream) -> Origins {
        let mut by_name = HashMap::new();
        let mut are = |endpoints: &[Endpoint], origin: &Origin| {
            for endpoint in endpoints {
                by_name.entry(Arc::clone(&endpoint.written)).or_insert_with(|| origin.clone());
            }
        };
        are(&upstream.endpoints, &Origin::Written);
        let found = self.state().found(upstream, &self.resolver);
        for (source, found) in upstream.sources.iter().zip(&found) {
            let origin = match &source.kind {
                SourceKind::Srv(name) => Origin::Srv(Arc::clone(name)),
                SourceKind::File(path) => Origin::File(path.clone()),
            };
            are(found, &origin);
        }
        are(&self.changes(&upstream.name).added, &Origin::Added);
        Origins(by_name)
    }

    /// How the endpoints of an upstream differ from what is written or found.
    pub fn differences(&self, upstream: &Upstream) -> Vec<Difference> {
        let (changes, origins) = (self.changes(&upstream.name), self.origins(upstream));
        let found = self.state().found(upstream, &self.resolver);
        let base = members::named(upstream, &found, &Changes::default());
        let base: HashMap<_, _> = base.into_iter().map(|e| (Arc::clone(&e.written), e)).collect();
        // A single address of a name has the settings of the name.
        let before_of = |name: &str| {
            base.get(name).cloned().or_else(|| {
                let (of, _) = name.split_once('@')?;
                Some(Endpoint { written: name.into(), ..base.get(of)?.clone() })
            })
        };
        let mut all = Vec::new();
        let mut tell = |name: &Arc<str>, before: Option<Endpoint>, after: Option<Endpoint>| {
            if before != after {
                let origin = origins.of(name).unwrap_or(Origin::Added);
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
        let added = changes.added.iter().filter(|endpoint| !base.contains_key(&endpoint.written));
        added.for_each(|endpoint| tell(&endpoint.written, None, Some(endpoint.clone())));
        all
    }
}

/// Where the endpoints of an upstream come from.
#[derive(Debug, Clone, Default)]
pub struct Origins(HashMap<Arc<str>, Origin>);

impl Origins {
    /// Where an endpoint comes from, by how it is written.
    pub fn of(&self, name: &str) -> Option<Origin> {
        self.0.get(name).cloned().or_else(|| {
            let (base, _) = name.split_once('@')?;
            Some(Origin::Address(base.into()))
        })
    }
}

fn of_watched<T>(kind: &'static str, watched: &WatchedName<T>, found: usize) -> SourceState {
    let state = watched.state();
    let problem = match &state {
        WatchState::Failing(error) => {
            watched.failing_since().map(|since| (since, error.to_string()))
        }
        WatchState::Waiting | WatchState::Fresh => None,
    };
    let waiting = state == WatchState::Waiting;
    SourceState { kind, name: watched.host().to_owned(), found, waiting, problem }
}
