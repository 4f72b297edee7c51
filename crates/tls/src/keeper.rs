//! Who looks after certificates: reads them, makes them, renews them, and swaps them while
//! connections go on.
//!
//! A configuration becomes contexts in two steps, so that one that is refused changes nothing:
//! [`Keeper::prepare`] reads and makes everything that is needed, [`Keeper::install`] says that it
//! took effect. From then on a thread of our own watches over the files, issues certificates of the
//! internal CA anew, has ACME renew the others, and warns of those that end soon. It only runs if
//! there is something to look after.
//!
//! A context whose settings and files are the same as before is the same `Arc`, so that sessions
//! can be resumed across reloads.
//! What always holds: a slot that has a certificate never loses it to a worse one.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use config::{CertificateSource, Config, Place, ServerTls, SiteName, SiteTls, UpstreamTls};

use crate::acme::{self, Kept, Manager};
use crate::challenges::Challenges;
use crate::client::Client;
use crate::error::{Problem, Severity};
use crate::files::Stamp;
use crate::inspect::Finding;
use crate::internal::{InternalCa, SharedCa, own_names};
use crate::server::Server;
use crate::slot::Slot;
use crate::source::{Fresh, Kind, Source};
use crate::state::StateDir;
use crate::tickets::Tickets;

/// Looks after certificates; one for the process.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// `None`: nothing says where it is.
    pub(crate) state: Option<StateDir>,
    pub(crate) challenges: Arc<Challenges>,
    tickets: Arc<Tickets>,
    installed: Mutex<Installed>,
    ca: Mutex<Option<SharedCa>>,
    worker: Mutex<Option<crate::watch::Worker>>,
    /// Files that have changed and wait for a reload; each is told once.
    told: Mutex<BTreeSet<PathBuf>>,
    /// Whose certificates come from ACME directories, and who looks after them.
    acme: Option<Manager>,
    ordered: Mutex<Vec<(Arc<Source>, Kept)>>,
}

/// What is in effect.
#[derive(Debug, Default)]
struct Installed {
    sources: Vec<Arc<Source>>,
    servers: Vec<(ServerKey, Arc<Server>)>,
    clients: Vec<(ClientKey, Arc<Client>)>,
}

/// Two servers of equal keys and the same slot are the same.
#[derive(Debug, Clone, PartialEq)]
struct ServerKey {
    settings: ServerTls,
    http2: bool,
    files: Seen,
}

/// Two clients of equal keys are the same.
#[derive(Debug, Clone, PartialEq)]
struct ClientKey {
    settings: UpstreamTls,
    protocol: config::UpstreamProtocol,
    files: Seen,
}

/// The files that a context was made from, and what tells that they are still the same.
#[derive(Debug, Clone, PartialEq)]
struct Seen(Vec<(PathBuf, Stamp)>);

impl Seen {
    fn of<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), Stamp::of(file))).collect())
    }

    fn changed(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter(|(file, was)| Stamp::of(file) != *was).map(|(file, _)| file)
    }
}

/// What a configuration needs for TLS, ready to be used.
#[derive(Debug)]
pub struct Contexts {
    /// For each of [`Config::sites`]; `None` if it does not terminate TLS.
    pub sites: Vec<Option<Arc<Server>>>,
    /// For each of [`Config::forwards`]; `None` if it speaks in clear.
    pub forwards: Vec<Option<Arc<Server>>>,
    /// For each of [`Config::upstreams`]; `None` if no endpoint has TLS.
    pub upstreams: Vec<Option<Arc<Client>>>,
    /// What does not keep it from taking effect, but should be known.
    pub warnings: Vec<Problem>,
    sources: Vec<(Arc<Source>, Option<Fresh>)>,
    servers: Vec<(ServerKey, Arc<Server>)>,
    clients: Vec<(ClientKey, Arc<Client>)>,
}

/// The state of one source's certificate, for metrics and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateState {
    /// The names that it is for; those wanted while there is none.
    pub names: Vec<Box<str>>,
    /// `files`, `acme` or `internal`.
    pub source: &'static str,
    /// The certificate's file, or the name of the ACME directory.
    pub origin: String,
    /// The line that says it, as `file:line`.
    pub configured: String,
    /// When it becomes valid; `None`: there is no certificate yet.
    pub not_before: Option<SystemTime>,
    /// When it ends.
    pub not_after: Option<SystemTime>,
    /// Its key, such as `ECDSA P-256`.
    pub key: String,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
    /// Why the last renewal or reading failed, if it did.
    pub error: Option<String>,
}

impl Keeper {
    /// One that keeps what must outlast the process in this directory, or in the usual one.
    pub fn start(state: Option<&Path>) -> Arc<Self> {
        let (state, challenges) = (StateDir::find(state).ok(), Challenges::new());
        let shared = Shared {
            acme: state.clone().map(|state| Manager::start(state, challenges.clone())),
            ordered: Mutex::default(),
            state,
            challenges,
            tickets: Tickets::new(),
            installed: Mutex::default(),
            ca: Mutex::default(),
            worker: Mutex::default(),
            told: Mutex::default(),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// Reads every file, and makes the internal CA if it is needed. Nothing that serves changes.
    ///
    /// # Errors
    /// Everything that keeps the configuration from taking effect.
    pub fn prepare(&self, config: &Config) -> Result<Contexts, Vec<Problem>> {
        let mut preparing = Preparing::new(&self.shared, config);
        let sites: Vec<_> = config.sites.iter().map(|site| preparing.site(site)).collect();
        let forwards: Vec<_> =
            config.forwards.iter().map(|forward| preparing.forward(forward)).collect();
        let upstreams: Vec<_> =
            config.upstreams.iter().map(|upstream| preparing.upstream(upstream)).collect();
        let Preparing { sources, servers, clients, problems, .. } = preparing;
        let (errors, warnings): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Contexts { sites, forwards, upstreams, warnings, sources, servers, clients })
    }

    /// The configuration took effect: looks after what it needs, and forgets the rest.
    pub fn install(&self, contexts: &Contexts) {
        for (source, fresh) in &contexts.sources {
            if let Some(fresh) = fresh {
                source.take(fresh);
            }
        }
        {
            let mut installed = lock(&self.shared.installed);
            installed.sources = contexts.sources.iter().map(|(source, _)| source.clone()).collect();
            installed.servers.clone_from(&contexts.servers);
            installed.clients.clone_from(&contexts.clients);
        }
        let mut worker = lock(&self.shared.worker);
        if worker.is_none() && !(contexts.sources.is_empty() && contexts.clients.is_empty()) {
            *worker = crate::watch::Worker::start(self.shared.clone());
        } else if let Some(worker) = &*worker {
            worker.wake();
        }
    }

    /// Answers to ACME challenges.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.shared.challenges
    }

    /// The state of every certificate that is looked after.
    pub fn states(&self) -> Vec<CertificateState> {
        self.shared.sources().iter().flat_map(|source| source.states()).collect()
    }

    /// Looks after nothing any more; what serves goes on. Waits for a moment if there are DNS
    /// records to be cleared.
    pub fn stop(&self) {
        // First, so that no look in between begins anew what ends here.
        lock(&self.shared.installed).sources.clear();
        lock(&self.shared.ordered).clear();
        if let Some(acme) = &self.shared.acme {
            acme.wait_until_cleared();
        }
        drop(lock(&self.shared.worker).take());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// What is in effect.
    pub(crate) fn sources(&self) -> Vec<Arc<Source>> {
        lock(&self.installed).sources.clone()
    }

    /// CAs and revocation lists are part of contexts, which only a reload makes anew. Says so where
    /// they have changed.
    pub(crate) fn tell_changed(&self) {
        let changed: BTreeSet<PathBuf> = {
            let installed = lock(&self.installed);
            let servers = installed.servers.iter().flat_map(|(key, _)| key.files.changed());
            let clients = installed.clients.iter().flat_map(|(key, _)| key.files.changed());
            servers.chain(clients).cloned().collect()
        };
        let mut told = lock(&self.told);
        for file in changed.difference(&told) {
            let file = file.display();
            tracing::warn!(%file, "the file has changed; `bothways reload` takes the new one");
        }
        *told = changed;
    }

    /// Has exactly those certificates of ACME directories looked after that are in effect. Within
    /// a tokio runtime.
    pub(crate) fn keep_ordered(&self) {
        let Some(acme) = &self.acme else { return };
        let sources = self.sources();
        let mut ordered = lock(&self.ordered);
        ordered.retain(|(kept, _)| sources.iter().any(|source| Arc::ptr_eq(source, kept)));
        for source in &sources {
            let Kind::Auto { acme: settings, names } = source.kind() else { continue };
            let known = ordered.iter().find(|(kept, _)| Arc::ptr_eq(source, kept));
            match known {
                Some((_, kept)) => source.set_error(kept.status().last_error),
                None => {
                    let kept = acme.keep(settings, names, source.slot().clone());
                    ordered.push((source.clone(), kept));
                }
            }
        }
    }

    /// The internal CA; made on first use.
    pub(crate) fn internal_ca(&self, now: SystemTime) -> Result<SharedCa, Finding> {
        let mut ca = lock(&self.ca);
        if let Some(ca) = &*ca {
            return Ok(ca.clone());
        }
        let nowhere = || {
            let error = crate::state::StateError::Nowhere;
            finding(error.to_string(), error.hint())
        };
        let state = self.state.as_ref().ok_or_else(nowhere)?;
        let made = InternalCa::open_or_make(state, now)
            .map_err(|error| finding(format!("there is no internal CA: {error}"), error.hint()))?;
        Ok(ca.insert(Arc::new(made)).clone())
    }
}

fn finding(message: String, hint: Option<String>) -> Finding {
    Finding { severity: Severity::Error, message, hint }
}

/// A panic of another thread leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One configuration on its way to contexts.
struct Preparing<'c> {
    shared: &'c Shared,
    config: &'c Config,
    now: SystemTime,
    /// Sources by the names of their slots: those in effect, and those that are to be.
    installed: HashMap<String, Vec<Arc<Source>>>,
    prepared: HashMap<String, Vec<Arc<Source>>>,
    sources: Vec<(Arc<Source>, Option<Fresh>)>,
    servers: Vec<(ServerKey, Arc<Server>)>,
    clients: Vec<(ClientKey, Arc<Client>)>,
    problems: Vec<Problem>,
}

impl<'c> Preparing<'c> {
    fn new(shared: &'c Shared, config: &'c Config) -> Self {
        let mut problems = Vec::new();
        let wanted = StateDir::find(config.process.state.as_deref()).ok();
        if wanted != shared.state {
            let message = "another state directory takes effect at the next start";
            problems.push(Problem::warning(Place::default(), message));
        }
        let mut installed: HashMap<String, Vec<Arc<Source>>> = HashMap::new();
        for source in shared.sources() {
            installed.entry(source.slot().name().to_owned()).or_default().push(source);
        }
        Self {
            shared,
            config,
            now: SystemTime::now(),
            installed,
            prepared: HashMap::new(),
            sources: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            problems,
        }
    }

    fn site(&mut self, site: &config::Site) -> Option<Arc<Server>> {
        let Some(SiteTls::Terminate(settings)) = &site.tls else { return None };
        // Where one of its listeners does not speak it, it is offered nowhere.
        let http2 = site.listeners.iter().all(|id| {
            self.config.listeners.get(id.0 as usize).is_some_and(|listener| listener.http2)
        });
        self.server(settings, http2, &site.names)
    }

    fn forward(&mut self, forward: &config::Forward) -> Option<Arc<Server>> {
        let settings = forward.tls.as_ref()?;
        let listener = self.config.listeners.get(forward.listener.0 as usize);
        let http2 = listener.is_some_and(|listener| listener.http2);
        self.server(settings, http2, &[])
    }

    fn server(
        &mut self,
        settings: &ServerTls,
        http2: bool,
        names: &[SiteName],
    ) -> Option<Arc<Server>> {
        let source = self.source(settings, names)?;
        let files = settings.client.ca.iter().chain(&settings.client.crl);
        let key = ServerKey {
            settings: ServerTls {
                place: Place::default(),
                certificates: CertificateSource::Internal { names: Vec::new() },
                ..settings.clone()
            },
            http2,
            files: Seen::of(files),
        };
        // A site with other files keeps its name, but has another slot.
        let is_ours = |(is, server): &&(ServerKey, Arc<Server>)| {
            *is == key && Arc::ptr_eq(server.slot(), source.slot())
        };
        let installed = lock(&self.shared.installed);
        let known = self.servers.iter().chain(&installed.servers).find(is_ours);
        let known = known.map(|(_, server)| server.clone());
        drop(installed);
        let made = known.map_or_else(
            || {
                let (tickets, challenges) = (&self.shared.tickets, &self.shared.challenges);
                let slot = source.slot().clone();
                Server::new(settings, http2, slot, tickets.clone(), challenges.clone())
            },
            Ok,
        );
        match made {
            Ok(server) => {
                self.servers.push((key, server.clone()));
                Some(server)
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn upstream(&mut self, upstream: &config::Upstream) -> Option<Arc<Client>> {
        if !upstream.endpoints.iter().any(|endpoint| endpoint.tls) {
            return None;
        }
        let settings = &upstream.tls;
        let pair = settings.client.iter().flat_map(|client| [&client.cert, &client.key]);
        let files = settings.ca.iter().chain(pair);
        let mut key = ClientKey {
            settings: settings.clone(),
            protocol: upstream.protocol,
            files: Seen::of(files),
        };
        if let Some(client) = &mut key.settings.client {
            client.place = Place::default();
        }
        let installed = lock(&self.shared.installed);
        let known = self.clients.iter().chain(&installed.clients).find(|(is, _)| *is == key);
        let known = known.map(|(_, client)| client.clone());
        drop(installed);
        match known.map_or_else(|| Client::new(settings, upstream.place, upstream.protocol), Ok) {
            Ok(client) => {
                self.clients.push((key, client.clone()));
                Some(client)
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// The source of a site's certificates: the one that is looked after already, or a new one.
    fn source(&mut self, settings: &ServerTls, names: &[SiteName]) -> Option<Arc<Source>> {
        let kind = self.kind(&settings.certificates, names)?;
        let name = kind.slot_name(settings.place, names);
        let same = |source: &&Arc<Source>| *source.kind() == kind;
        let prepared = self.prepared.get(&name).into_iter().flatten().find(same).cloned();
        if prepared.is_some() {
            return prepared;
        }
        let installed = self.installed.get(&name).into_iter().flatten().find(same).cloned();
        let configured = self.config.locate(settings.place);
        let source = match installed {
            Some(source) => {
                source.moved_to(configured);
                source
            }
            None => Arc::new(Source::new(kind, Slot::new(&name), names.to_vec(), configured)),
        };
        self.prepared.entry(name).or_default().push(source.clone());
        if let Kind::Auto { acme, names } = source.kind() {
            let mut problems = acme::check(self.config, acme, settings.place, names);
            // What is stored serves, whatever has become of a hook meanwhile.
            let files = acme::check_files(acme).into_iter();
            problems
                .extend(files.map(|problem| Problem { severity: Severity::Warning, ..problem }));
            let problems = problems.into_iter().filter(|new| !self.problems.contains(new));
            let mut problems: Vec<_> = problems.collect();
            match &self.shared.acme {
                // A new source serves what is stored from the moment that its context is used.
                Some(manager) => manager.serve_stored(acme, names, source.slot()),
                None => {
                    let error = crate::state::StateError::Nowhere;
                    problems.push(finding(error.to_string(), error.hint()).at(settings.place));
                }
            }
            self.problems.extend(problems);
        }
        let ca = match source.kind() {
            Kind::Internal { .. } => match self.shared.internal_ca(self.now) {
                Ok(ca) => Some(ca),
                Err(finding) => {
                    self.problems.push(finding.at(settings.place));
                    return None;
                }
            },
            _ => None,
        };
        let at_source = |problem: Problem| match problem.place.line {
            0 => Problem { place: settings.place, ..problem },
            _ => problem,
        };
        let fresh = match source.fresh(ca.as_deref(), self.now) {
            Ok(fresh) => fresh,
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(at_source));
                return None;
            }
        };
        // What a pair is blamed for does not keep it from being served where there is nothing
        // better.
        let problems = fresh.iter().flat_map(|fresh| fresh.problems.iter().cloned());
        let problems = problems.map(|problem| Problem { severity: Severity::Warning, ..problem });
        self.problems.extend(problems.map(at_source));
        // A new source serves from the moment that its context is used.
        if source.slot().is_empty()
            && let Some(fresh) = &fresh
        {
            source.take(fresh);
        }
        self.sources.push((source.clone(), fresh));
        Some(source)
    }

    fn kind(&mut self, certificates: &CertificateSource, names: &[SiteName]) -> Option<Kind> {
        Some(match certificates {
            CertificateSource::Files(files) => Kind::Files(files.clone()),
            CertificateSource::Internal { names: given } => {
                let names = if given.is_empty() { names_of(names) } else { given.clone() };
                Kind::Internal { names }
            }
            CertificateSource::Auto { acme, names } => {
                let acme = self.config.acme.get(acme.0 as usize)?;
                Kind::Auto { acme: acme.clone(), names: names.clone() }
            }
        })
    }
}

/// What a certificate for these is made for; this machine's own names where there are none.
fn names_of(names: &[SiteName]) -> Vec<Box<str>> {
    let mut all: Vec<Box<str>> = Vec::new();
    for name in names {
        match name {
            SiteName::Exact(host) => all.push(host.clone()),
            SiteName::Wildcard(suffix) => {
                all.extend([format!("*.{suffix}").into(), suffix.clone()]);
            }
            SiteName::Default => all.extend(own_names()),
        }
    }
    if all.is_empty() { own_names() } else { all }
}

#[cfg(test)]
mod tests;
