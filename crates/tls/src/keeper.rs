//! The upkeep of certificates: reads, creates and renews them, and replaces them while connections continue.
//!
//! A configuration becomes contexts in two steps, so that one that is refused changes nothing:
//! [`Keeper::prepare`] reads and creates everything that is needed, [`Keeper::install`] puts it into effect. From then on
//! a thread watches the files, renews certificates of the internal CA, lets ACME renew the others, and warns of those
//! that expire soon. It only runs if there is anything to do.
//!
//! A context whose settings and files are the same as before is the same `Arc`, so that sessions
//! can be resumed across reloads.
//! Invariant: a slot that has a certificate never loses it to a worse one.

mod prepare;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use config::{Config, ServerTls, UpstreamTls};

use crate::acme::{Manager, RenewalHandle};
use crate::challenges::Challenges;
use crate::client::Client;
use crate::error::{Problem, Severity};
use crate::files::FileStamp;
use crate::inspect::Finding;
use crate::internal::{InternalCa, SharedCa};
use crate::server::Server;
use crate::source::{Kind, NewCertificates, Source};
use crate::state::StateDir;
use crate::tickets::Tickets;

/// Maintains certificates; one for the process.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<KeeperState>,
}

#[derive(Debug)]
pub(crate) struct KeeperState {
    /// `None`: it is not configured.
    pub(crate) state: Option<StateDir>,
    pub(crate) challenges: Arc<Challenges>,
    tickets: Arc<Tickets>,
    installed: Mutex<InstalledContexts>,
    ca: Mutex<Option<SharedCa>>,
    worker: Mutex<Option<crate::watch::Worker>>,
    /// Files that have changed and need a reload; each is reported once.
    told: Mutex<BTreeSet<PathBuf>>,
    /// The certificates from ACME directories.
    acme: Option<Manager>,
    ordered: Mutex<Vec<(Arc<Source>, RenewalHandle)>>,
}

/// The contexts in effect.
#[derive(Debug, Default)]
struct InstalledContexts {
    sources: Vec<Arc<Source>>,
    servers: Vec<(ServerKey, Arc<Server>)>,
    clients: Vec<(ClientKey, Arc<Client>)>,
}

/// Two servers of equal keys and the same slot are the same.
#[derive(Debug, Clone, PartialEq)]
struct ServerKey {
    settings: ServerTls,
    http2: bool,
    files: FileStamps,
}

/// Two clients of equal keys are the same.
#[derive(Debug, Clone, PartialEq)]
struct ClientKey {
    settings: UpstreamTls,
    protocol: config::UpstreamProtocol,
    files: FileStamps,
}

/// The files that a context was made from, and their stamps, by which changes are noticed.
#[derive(Debug, Clone, PartialEq)]
struct FileStamps(Vec<(PathBuf, FileStamp)>);

impl FileStamps {
    fn of<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), FileStamp::of(file))).collect())
    }

    fn changed(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter(|(file, was)| FileStamp::of(file) != *was).map(|(file, _)| file)
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
    /// Problems that do not prevent it from taking effect.
    pub warnings: Vec<Problem>,
    sources: Vec<(Arc<Source>, Option<NewCertificates>)>,
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
        let shared = KeeperState {
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
        let mut preparing = prepare::ContextBuilder::new(&self.shared, config);
        let sites: Vec<_> = config.sites.iter().map(|site| preparing.site(site)).collect();
        let forwards: Vec<_> =
            config.forwards.iter().map(|forward| preparing.forward(forward)).collect();
        let upstreams: Vec<_> =
            config.upstreams.iter().map(|upstream| preparing.upstream(upstream)).collect();
        let prepare::ContextBuilder { sources, servers, clients, problems, .. } = preparing;
        let (errors, warnings): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Contexts { sites, forwards, upstreams, warnings, sources, servers, clients })
    }

    /// The configuration takes effect: maintains what it needs, and forgets the rest.
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

    /// The state of every certificate.
    pub fn states(&self) -> Vec<CertificateState> {
        self.shared.sources().iter().flat_map(|source| source.states()).collect()
    }

    /// Looks after nothing any more; what serves goes on. Waits for a moment if there are DNS
    /// records to be cleared.
    pub fn stop(&self) {
        // First, so that no look in between restarts what ends here.
        lock(&self.shared.installed).sources.clear();
        lock(&self.shared.ordered).clear();
        if let Some(acme) = &self.shared.acme {
            acme.wait_until_cleared();
        }
        drop(lock(&self.shared.worker).take());
        self.shared.acme.iter().for_each(Manager::unlock);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl KeeperState {
    /// The contexts in effect.
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

#[cfg(test)]
mod tests;
