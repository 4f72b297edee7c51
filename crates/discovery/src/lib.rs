//! Which endpoints upstreams have while the process runs.
//!
//! The members of an upstream are the endpoints written, those that its sources find (SRV records, a
//! JSON file), with an endpoint for each address of a name that has several, and what was changed at
//! run time on top ([`members`]). Whatever changes any of that wakes one task on the control
//! thread, which has all cores go over to the new members by a snapshot that shares the rest with
//! the one before; changes that come at once make one snapshot.
//! Not here: how it stands with an endpoint (`balance`), which is kept by its name.

mod edit;
mod json;
mod members;
mod report;
mod sources;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use config::model::Source;
use config::{Config, Endpoint, SourceKind, Upstream};
use net::{Resolver, Service, WatchState, WatchedName};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use edit::Present;
pub use edit::{Edit, EditError, Edited};
pub use json::{
    FileChange, JsonError, change_endpoints_json, endpoint_from_json, endpoints_from_json,
    settings_from_json,
};
pub use members::{Changes, Settings};
pub use report::{Difference, Origin, Origins, SourceState};
use sources::EndpointFile;
pub use sources::endpoints_file_problem;

/// From one change of members to the next.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long services that were never looked up are waited for, before a configuration serves.
const FIRST_LOOK_TIME: Duration = Duration::from_secs(1);
const FIRST_LOOK_PAUSE: Duration = Duration::from_millis(5);

/// What knows the members of all upstreams.
pub struct Discovery {
    resolver: Resolver,
    known: Mutex<Known>,
    /// There may be files to look at now.
    woken: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Known {
    /// By the upstream's name.
    changes: HashMap<Arc<str>, Changes>,
    /// Names of which endpoints are made, by host.
    names: HashMap<Arc<str>, Arc<WatchedName>>,
    /// Names of services.
    services: HashMap<Arc<str>, Arc<WatchedName<Service>>>,
    /// Files, and whether their endpoints have TLS.
    files: HashMap<(PathBuf, bool), EndpointFile>,
}

impl Discovery {
    /// Nothing is looked up before [`Self::members`] names it.
    pub fn new(resolver: Resolver) -> Self {
        let known = Mutex::default();
        Self { resolver, known, woken: Notify::new(), task: Mutex::default() }
    }

    /// Has `change` called whenever there may be other members, until it says that all is over.
    /// Within a tokio runtime.
    pub fn start(self: &Arc<Self>, change: impl Fn() -> bool + Send + Sync + 'static) {
        let task = tokio::spawn(run(Arc::downgrade(self), Arc::new(change)));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// Looks for nothing any more.
    pub fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(AbortHandle::abort);
    }

    /// The members of every upstream of a configuration as it is written, as they are now. What is
    /// new in it is looked for from now on.
    pub fn members(&self, config: &Config) -> Vec<Vec<Endpoint>> {
        let mut known = self.known();
        let (upstreams, mut hosts) = (config.upstreams.iter(), HashSet::new());
        upstreams.map(|upstream| known.members_of(upstream, &self.resolver, &mut hosts)).collect()
    }

    /// A configuration has taken effect: what others wanted is no longer looked for.
    pub fn settle(&self, config: &Config) {
        let mut known = self.known();
        let mut hosts = HashSet::new();
        for upstream in &config.upstreams {
            known.members_of(upstream, &self.resolver, &mut hosts);
        }
        let sources = || config.upstreams.iter().flat_map(|upstream| &upstream.sources);
        known.names.retain(|host, _| hosts.contains(host));
        known.services.retain(|name, _| {
            sources().any(|source| matches!(&source.kind, SourceKind::Srv(is) if is == name))
        });
        known.files.retain(|(path, tls), _| {
            sources().any(|source| {
                matches!(&source.kind, SourceKind::File(is) if is == path) && source.tls == *tls
            })
        });
        known.changes.retain(|name, _| config.upstreams.iter().any(|one| one.name == *name));
        drop(known);
        self.woken.notify_one();
    }

    /// The services that a configuration names, which are looked up from now on.
    fn services(&self, config: &Config) -> Vec<Arc<WatchedName<Service>>> {
        let mut known = self.known();
        let sources = config.upstreams.iter().flat_map(|upstream| &upstream.sources);
        let names = sources.filter_map(|source| match &source.kind {
            SourceKind::Srv(name) => Some(name),
            SourceKind::File(_) => None,
        });
        let watched = names.map(|name| known.service(name, &self.resolver));
        watched.collect()
    }

    /// Waits a moment for services that have not been looked up yet.
    pub async fn looked_up(&self, config: &Config) {
        let all = async {
            for service in self.services(config) {
                service.ready().await;
            }
        };
        // Who has not answered by then is waited for while everything else is served.
        let _ = tokio::time::timeout(FIRST_LOOK_TIME, all).await;
    }

    /// The same on a thread that may block.
    pub fn look_up(&self, config: &Config) {
        let (services, begun) = (self.services(config), Instant::now());
        let is_waiting = |one: &Arc<WatchedName<Service>>| one.state() == WatchState::Waiting;
        while services.iter().any(is_waiting) && begun.elapsed() < FIRST_LOOK_TIME {
            std::thread::sleep(FIRST_LOOK_PAUSE);
        }
    }

    /// What was changed at run time in an upstream.
    pub fn changes(&self, upstream: &str) -> Changes {
        self.known().changes.get(upstream).cloned().unwrap_or_default()
    }

    /// Puts other changes in their place.
    pub fn set_changes(&self, upstream: &Arc<str>, changes: Changes) {
        let mut known = self.known();
        match changes.is_empty() {
            true => known.changes.remove(upstream),
            false => known.changes.insert(Arc::clone(upstream), changes),
        };
    }

    /// Forgets what was changed of these endpoints.
    pub fn forget(&self, upstream: &Arc<str>, endpoints: &[Arc<str>]) {
        let mut changes = self.changes(upstream);
        changes.added.retain(|endpoint| !endpoints.contains(&endpoint.written));
        changes.removed.retain(|name| !endpoints.contains(name));
        changes.set.retain(|name, _| !endpoints.contains(name));
        self.set_changes(upstream, changes);
    }

    /// Changes an upstream, which is as it is written. What was changed before is given back, for
    /// the case that the cores cannot go over to it.
    pub fn edit(&self, upstream: &Upstream, edit: Edit) -> Result<(Edited, Changes), EditError> {
        let mut known = self.known();
        let before = known.changes.get(&upstream.name).cloned().unwrap_or_default();
        let found = known.found(upstream, &self.resolver);
        let base = members::named(upstream, &found, &Changes::default());
        let mut now = members::named(upstream, &found, &before);
        now.extend(known.members_of(upstream, &self.resolver, &mut HashSet::new()));
        let mut changes = before.clone();
        let edited = edit::edit(&mut changes, &Present { base: &base, now: &now }, edit)?;
        drop(known);
        self.set_changes(&upstream.name, changes);
        Ok((edited, before))
    }

    /// Looks at all files; true if endpoints in them have changed. Nobody else waits for the disk.
    pub fn look_at_files(&self) -> bool {
        let files: Vec<_> = {
            let known = self.known();
            known.files.iter().map(|(key, file)| (key.clone(), file.look())).collect()
        };
        let mut changed = false;
        for (key, look) in files {
            let Some(read) = look.read_if_changed() else { continue };
            if let Some(file) = self.known().files.get_mut(&key) {
                changed |= file.take(read);
            }
        }
        changed
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What the sources of an upstream have found, by source. Those that are new are looked up from
    /// now on; files are read at once.
    fn found(&mut self, upstream: &Upstream, resolver: &Resolver) -> Vec<Arc<[Endpoint]>> {
        let mut of_source = |source: &Source| match &source.kind {
            SourceKind::Srv(name) => {
                sources::endpoints_of(&self.service(name, resolver).services(), source)
            }
            SourceKind::File(path) => {
                let file = self.files.entry((path.clone(), source.tls));
                let file = file.or_insert_with(|| EndpointFile::open(path, source.tls));
                file.endpoints(source.place)
            }
        };
        upstream.sources.iter().map(&mut of_source).collect()
    }

    fn service(&mut self, name: &Arc<str>, resolver: &Resolver) -> Arc<WatchedName<Service>> {
        let watched = self.services.entry(Arc::clone(name));
        Arc::clone(watched.or_insert_with(|| resolver.watch_services(name)))
    }

    /// Those names that endpoints are made of are added to `hosts`.
    fn members_of(
        &mut self,
        upstream: &Upstream,
        resolver: &Resolver,
        hosts: &mut HashSet<Arc<str>>,
    ) -> Vec<Endpoint> {
        let found = self.found(upstream, resolver);
        let none = Changes::default();
        let changes = self.changes.get(&upstream.name).unwrap_or(&none);
        let mut addresses = |host: &Arc<str>| {
            hosts.insert(Arc::clone(host));
            let watched = self.names.entry(Arc::clone(host));
            watched.or_insert_with(|| resolver.watch(host)).addresses()
        };
        let named = members::named(upstream, &found, changes);
        members::members(named, changes, &mut addresses)
    }
}

/// Waits for what may change members.
async fn run(discovery: Weak<Discovery>, change: Arc<impl Fn() -> bool + Send + Sync + 'static>) {
    let Some(mut names) = discovery.upgrade().map(|discovery| discovery.resolver.changes()) else {
        return;
    };
    loop {
        let Some(discovery) = discovery.upgrade() else { return };
        let has_files = !discovery.known().files.is_empty();
        let mut look = false;
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = discovery.woken.notified() => continue,
            () = tokio::time::sleep(LOOK_EVERY), if has_files => look = true,
        }
        // Files and cores are waited for: not on this thread.
        let change = Arc::clone(&change);
        let all = move || (look && !discovery.look_at_files()) || change();
        if !tokio::task::spawn_blocking(all).await.unwrap_or(true) {
            return;
        }
        if !look {
            tokio::time::sleep(CHANGE_EVERY).await;
        }
    }
}
