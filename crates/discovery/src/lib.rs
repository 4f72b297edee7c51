//! Which endpoints upstreams have while the process runs.
//!
//! The members of an upstream are the endpoints written, those that its sources find (SRV records, a
//! JSON file), with an endpoint for each address of a name that has several, and what was changed at
//! run time on top (`members`). Any change wakes one task on the control thread, which calls back so
//! that all cores get the new members; changes that come close together make one call.
//! Not here: the status of an endpoint (`balance`), which is kept by its name.

mod edit;
mod json;
mod members;
mod passing;
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

use edit::Current;
pub use edit::{Edit, EditError, EndpointChange};
pub use json::{
    FileChange, JsonError, change_endpoints_json, endpoint_from_json, endpoints_from_json,
    settings_from_json,
};
pub use members::{Changes, EndpointSettings};
pub use passing::{ChangesError, changes_from_json, changes_to_json};
pub use report::{Difference, Origin, Origins, SourceState};
use sources::EndpointFile;
pub use sources::endpoints_file_problem;

/// The time between two changes of members, at least.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// The time between two looks at files.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a new configuration waits for services that were never looked up.
const FIRST_LOOK_TIME: Duration = Duration::from_secs(1);
const FIRST_LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Knows the members of all upstreams.
pub struct Discovery {
    resolver: Resolver,
    state: Mutex<State>,
    /// Wakes the task: there may be files to look at now.
    woken: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct State {
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
        let state = Mutex::default();
        Self { resolver, state, woken: Notify::new(), task: Mutex::default() }
    }

    /// Calls `change` whenever there may be other members, until it returns `false`. Within a tokio
    /// runtime.
    pub fn start(self: &Arc<Self>, change: impl Fn() -> bool + Send + Sync + 'static) {
        let task = tokio::spawn(run(Arc::downgrade(self), Arc::new(change)));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// Ends the task and its look-ups of files.
    pub fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(AbortHandle::abort);
    }

    /// The present members of every upstream of a configuration as it is written. Names, services and files
    /// that are new in it are looked up from now on.
    pub fn members(&self, config: &Config) -> Vec<Vec<Endpoint>> {
        let mut state = self.state();
        let (upstreams, mut hosts) = (config.upstreams.iter(), HashSet::new());
        upstreams.map(|upstream| state.members_of(upstream, &self.resolver, &mut hosts)).collect()
    }

    /// Keeps only what this configuration needs: it has taken effect.
    pub fn settle(&self, config: &Config) {
        let mut state = self.state();
        let mut hosts = HashSet::new();
        for upstream in &config.upstreams {
            state.members_of(upstream, &self.resolver, &mut hosts);
        }
        let (mut services, mut files) = (HashSet::new(), HashSet::new());
        for source in config.upstreams.iter().flat_map(|upstream| &upstream.sources) {
            match &source.kind {
                SourceKind::Srv(name) => drop(services.insert(name)),
                SourceKind::File(path) => drop(files.insert((path, source.tls))),
            }
        }
        let names: HashSet<_> = config.upstreams.iter().map(|upstream| &upstream.name).collect();
        state.names.retain(|host, _| hosts.contains(host));
        state.services.retain(|name, _| services.contains(name));
        state.files.retain(|(path, tls), _| files.contains(&(path, *tls)));
        state.changes.retain(|name, _| names.contains(name));
        drop(state);
        self.woken.notify_one();
    }

    /// The services that a configuration names; they are looked up from now on.
    fn services(&self, config: &Config) -> Vec<Arc<WatchedName<Service>>> {
        let mut state = self.state();
        let sources = config.upstreams.iter().flat_map(|upstream| &upstream.sources);
        let names = sources.filter_map(|source| match &source.kind {
            SourceKind::Srv(name) => Some(name),
            SourceKind::File(_) => None,
        });
        let watched = names.map(|name| state.service(name, &self.resolver));
        watched.collect()
    }

    /// Waits a moment for services that have not been looked up yet.
    pub async fn wait_for_lookups(&self, config: &Config) {
        let all = async {
            for service in self.services(config) {
                service.ready().await;
            }
        };
        // What has no answer by then is served once it has.
        let _ = tokio::time::timeout(FIRST_LOOK_TIME, all).await;
    }

    /// The same, blocking the thread.
    pub fn wait_for_lookups_blocking(&self, config: &Config) {
        let (services, begun) = (self.services(config), Instant::now());
        let is_waiting = |one: &Arc<WatchedName<Service>>| one.state() == WatchState::Waiting;
        while services.iter().any(is_waiting) && begun.elapsed() < FIRST_LOOK_TIME {
            std::thread::sleep(FIRST_LOOK_PAUSE);
        }
    }

    /// What was changed at run time in an upstream.
    pub fn changes(&self, upstream: &str) -> Changes {
        self.state().changes.get(upstream).cloned().unwrap_or_default()
    }

    /// Replaces what was changed at run time in an upstream.
    pub fn set_changes(&self, upstream: &Arc<str>, changes: Changes) {
        let mut state = self.state();
        match changes.is_empty() {
            true => state.changes.remove(upstream),
            false => state.changes.insert(Arc::clone(upstream), changes),
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

    /// Changes an upstream; `upstream` is as written. Returns the earlier changes too, to restore them if
    /// the data plane refuses the new members.
    pub fn edit(
        &self,
        upstream: &Upstream,
        edit: Edit,
    ) -> Result<(EndpointChange, Changes), EditError> {
        let mut state = self.state();
        let before = state.changes.get(&upstream.name).cloned().unwrap_or_default();
        let found = state.found(upstream, &self.resolver);
        let base = members::named(upstream, &found, &Changes::default());
        let mut now = members::named(upstream, &found, &before);
        now.extend(state.members_of(upstream, &self.resolver, &mut HashSet::new()));
        let mut changes = before.clone();
        let edited = edit::edit(&mut changes, &Current { base: &base, now: &now }, edit)?;
        drop(state);
        self.set_changes(&upstream.name, changes);
        Ok((edited, before))
    }

    /// Reads files that have changed; true if endpoints in them have. No lock is held meanwhile.
    pub fn read_changed_files(&self) -> bool {
        let files: Vec<_> = {
            let state = self.state();
            state.files.iter().map(|(key, file)| (key.clone(), file.check())).collect()
        };
        let mut changed = false;
        for (key, look) in files {
            let Some(read) = look.read_if_changed() else { continue };
            if let Some(file) = self.state().files.get_mut(&key) {
                changed |= file.take(read);
            }
        }
        changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The endpoints that the sources of an upstream have found, by source. New names are looked up from
    /// now on; new files are read at once.
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

    /// Adds the names that endpoints are made of to `hosts`.
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

/// Waits for changes of names, services and files.
async fn run(discovery: Weak<Discovery>, change: Arc<impl Fn() -> bool + Send + Sync + 'static>) {
    let Some(mut names) = discovery.upgrade().map(|discovery| discovery.resolver.changes()) else {
        return;
    };
    loop {
        let Some(discovery) = discovery.upgrade() else { return };
        let has_files = !discovery.state().files.is_empty();
        let mut look = false;
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = discovery.woken.notified() => continue,
            () = tokio::time::sleep(LOOK_EVERY), if has_files => look = true,
        }
        // This waits for files and cores: not on this thread.
        let change = Arc::clone(&change);
        let all = move || (look && !discovery.read_changed_files()) || change();
        if !tokio::task::spawn_blocking(all).await.unwrap_or(true) {
            return;
        }
        if !look {
            tokio::time::sleep(CHANGE_EVERY).await;
        }
    }
}
