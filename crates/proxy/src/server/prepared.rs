//! Preparing a configuration, at the start and for a reload: all that can fail is done before
//! anything changes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use auth::UserFile;
use balance::States;
use cache::store::{Stats, Store};
use config::{Config, Endpoint};
use discovery::Discovery;
use net::{ListenerSet, RawListener, Resolver, ResolverSettings};
use observe::{AccessLogs, CacheReport, LogTargets, Names, Registry};
use tls::{Contexts, Keeper};

use super::{Inherited, StartError};
use crate::core::Shared;
use crate::maintenance::Switches;
use crate::snapshot::{Snapshot, SnapshotParts};
use crate::sticky;
use crate::user_files::UserFiles;

/// Files that are reserved for logs, pipes, names and the admin interface. Half of the others are
/// for upstreams.
const FILES_RESERVED: u64 = 64;

/// The parts that outlive configurations.
pub(super) struct Services {
    pub(super) registry: Arc<Registry>,
    pub(super) resolver: Resolver,
    pub(super) keeper: Arc<Keeper>,
    pub(super) discovery: Arc<Discovery>,
    /// The state of endpoints, across all snapshots.
    pub(super) states: States,
    pub(super) shared: Arc<Shared>,
    /// The targets of access logs.
    pub(super) log_targets: Arc<LogTargets>,
    /// What closes sites for maintenance.
    pub(super) switches: Arc<Switches>,
    pub(super) user_files: UserFiles,
}

/// An address that is listened on.
#[derive(Clone)]
pub(super) struct BoundAddress {
    /// As in the configuration.
    pub(super) address: SocketAddr,
    /// With the port that the system chose, if none is configured.
    pub(super) actual: SocketAddr,
    pub(super) written: String,
    /// Handles of its sockets, to be passed on. A socket listens until its last handle is closed, so they are dropped
    /// before the cores close theirs.
    pub(super) handles: Arc<[TcpListener]>,
}

/// Listening sockets that were opened: those of each core.
pub(super) type OpenedListener = (BoundAddress, std::vec::IntoIter<Vec<RawListener>>);

/// The sockets of the next core.
pub(super) fn for_next_core(opened: &mut [OpenedListener]) -> Vec<(SocketAddr, RawListener)> {
    let next = opened.iter_mut();
    let of_listener = |(listens, sockets): &mut OpenedListener| {
        let address = listens.address;
        sockets.next().unwrap_or_default().into_iter().map(move |socket| (address, socket))
    };
    next.flat_map(of_listener).collect()
}

/// Sockets that listen already, by the address that they are for. Those that are not taken stay open until this is
/// dropped, so that addresses of their ports can be bound.
#[derive(Default)]
pub(super) struct ListeningSockets(Vec<(SocketAddr, ListenerSet)>);

impl ListeningSockets {
    /// The sockets that the process was started with.
    pub(super) fn new(inherited: Inherited, cores: usize) -> std::io::Result<Self> {
        let mut by_address = inherited.passed_on;
        for socket in inherited.listeners {
            let address = socket.local_addr()?;
            match by_address.iter_mut().find(|(known, _)| *known == address) {
                Some((_, sockets)) => sockets.push(socket),
                None => by_address.push((address, vec![socket])),
            }
        }
        let adopt = |(address, sockets): (SocketAddr, Vec<TcpListener>)| {
            let sockets = sockets.into_iter().map(OwnedFd::from).collect();
            ListenerSet::adopt(sockets, cores).map(|set| (address, set))
        };
        by_address.into_iter().map(adopt).collect::<std::io::Result<_>>().map(Self)
    }

    fn take(&mut self, address: SocketAddr) -> Option<ListenerSet> {
        let index = self.0.iter().position(|(known, _)| *known == address)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// A configuration that is ready to take effect.
pub(super) struct PreparedConfig {
    config: Arc<Config>,
    /// The same with the current members of its upstreams.
    served: Arc<Config>,
    contexts: Arc<Contexts>,
    keys: sticky::Keys,
    logs: Arc<AccessLogs>,
    user_files: Vec<Arc<UserFile>>,
    /// The sockets that were opened for it.
    pub(super) opened: Vec<OpenedListener>,
}

impl PreparedConfig {
    /// Does all that can fail. `before`: the current snapshot and its addresses; `sockets`: those to use
    /// for listeners of the same address.
    pub(super) fn new(
        services: &Services,
        config: &Arc<Config>,
        before: Option<(&Snapshot, &[BoundAddress])>,
        cores: usize,
        mut sockets: ListeningSockets,
    ) -> Result<Self, StartError> {
        let served = served(&services.discovery, config);
        let contexts = Arc::new(contexts(&services.keeper, &served)?);
        let keys = sticky::Keys::of(config, before.map(|(snapshot, _)| snapshot.keys()));
        let keys = keys.map_err(|(place, error)| StartError::StickyKey {
            place: config.locate(place),
            why: error.to_string(),
        })?;
        let logs = services.log_targets.open(config);
        let logs = logs.map_err(|problem| StartError::access_log(config, problem))?;
        let user_files = services.user_files.open(config);
        let user_files = user_files.map_err(|bad| StartError::UserFile {
            place: config.locate(bad.place),
            why: bad.why,
        })?;
        if !user_files.is_empty() {
            services.shared.start_verifier(cores).map_err(StartError::Thread)?;
        }
        let open = before.map_or(&[][..], |(_, listening)| listening);
        let is_open = |address| open.iter().any(|listens| listens.address == address);
        let new = config.listeners.iter().filter(|listener| !is_open(listener.address));
        let opened = new.map(|listener| bind(config, listener, cores, &mut sockets));
        let opened = opened.collect::<Result<_, _>>()?;
        for (address, _) in &sockets.0 {
            let address = address.to_string();
            tracing::warn!(
                address,
                "a socket that the process was started with is not used: nothing in the configuration \
                 listens on its address"
            );
        }
        Ok(Self { config: Arc::clone(config), served, contexts, keys, logs, user_files, opened })
    }

    /// Applies it except to the cores; returns the snapshot and the new sockets, which the caller
    /// installs on them.
    pub(super) fn take_effect(
        self,
        services: &Services,
        listening: &[BoundAddress],
    ) -> (Arc<Snapshot>, Vec<OpenedListener>) {
        let Self { config, served, contexts, keys, logs, user_files, opened } = self;
        let files = net::raise_open_files_limit().unwrap_or(1024);
        set_connections_max(&services.shared, &config, files);
        let names = Names::new(&served, &services.registry);
        let new = opened.iter().map(|(listens, _)| listens);
        let own_addresses = listening.iter().chain(new).map(|listens| listens.actual).collect();
        // New sites have their certificates before the first client asks for them.
        services.keeper.install(&contexts);
        let (resolver, states) = (&services.resolver, &services.states);
        let switches = services.switches.flags(&config);
        if config.has_caching() {
            let store = Arc::clone(services.shared.open_store(config.process.cache.memory));
            services.registry.watch_cache(move || report(&store));
        }
        let parts =
            SnapshotParts { names, logs, contexts, keys, switches, user_files, own_addresses };
        let snapshot = Snapshot::compile(served, parts, resolver, states);
        (Arc::new(snapshot), opened)
    }
}

/// The figures of the store.
fn report(store: &Store) -> CacheReport {
    let Stats { objects, bytes, bytes_max, evicted, fills, collapsed: waits, purges } =
        store.stats();
    CacheReport { objects, bytes, bytes_max, evicted, fills, waits, purges }
}

/// A configuration with the current members of its upstreams.
fn served(discovery: &Discovery, config: &Arc<Config>) -> Arc<Config> {
    let members = discovery.members(config);
    let mut pairs = members.iter().zip(&config.upstreams);
    if pairs.all(|(members, upstream)| *members == upstream.endpoints) {
        return Arc::clone(config);
    }
    with_members(config, members)
}

pub(super) fn with_members(config: &Config, members: Vec<Vec<Endpoint>>) -> Arc<Config> {
    let mut config = config.clone();
    for (upstream, members) in config.upstreams.iter_mut().zip(members) {
        upstream.endpoints = members;
    }
    Arc::new(config)
}

/// The TLS contexts of a configuration; nothing in use changes.
pub(super) fn contexts(keeper: &Keeper, config: &Config) -> Result<Contexts, StartError> {
    match keeper.prepare(config) {
        Ok(contexts) => {
            for problem in &contexts.warnings {
                let (place, hint) = (config.locate(problem.place), problem.hint.as_deref());
                tracing::warn!(place, hint, "{}", problem.message);
            }
            Ok(contexts)
        }
        Err(problems) => {
            let located = problems.into_iter().map(|p| (config.locate(p.place), p));
            Err(StartError::Tls(located.collect()))
        }
    }
}

pub(super) fn resolver_settings(config: &Config) -> ResolverSettings {
    let settings = &config.process.resolver;
    ResolverSettings {
        servers: settings.servers.clone(),
        timeout: settings.timeout,
        tries: settings.tries,
        hosts: settings.hosts,
        ttl_min: settings.ttl_min,
        ttl_max: settings.ttl_max,
        ..ResolverSettings::default()
    }
}

/// Each exchange may need a file for its client and one for its upstream.
fn set_connections_max(shared: &Shared, config: &Config, files: u64) {
    let by_files = files.saturating_sub(FILES_RESERVED) / 2;
    let max = config.process.connections_max.map_or(by_files, u64::from);
    if max > by_files {
        let needed = max.saturating_mul(2).saturating_add(FILES_RESERVED);
        tracing::warn!(
            connections = max,
            open_files = files,
            needed,
            "the limit of open files is too low for `process connections`: each may need two files; \
             raise it (`LimitNOFILE=`, `ulimit -n`)"
        );
    }
    shared.connections_max.store(max.max(1), Ordering::Relaxed);
    shared.files.set(files);
}

fn bind(
    config: &Config,
    listener: &config::Listener,
    cores: usize,
    sockets: &mut ListeningSockets,
) -> Result<OpenedListener, StartError> {
    let taken = sockets.take(listener.address).map(Ok);
    let bound = taken.unwrap_or_else(|| ListenerSet::bind(listener.address, cores));
    let with_handles = bound.and_then(|bound| Ok((bound.handles()?.into(), bound)));
    let (handles, bound) = with_handles.map_err(|source| StartError::Bind {
        written: listener.written.to_string(),
        place: config.locate(listener.place),
        source,
    })?;
    let (address, actual) = (listener.address, bound.local_address());
    let written = listener.written.to_string();
    Ok((BoundAddress { address, actual, written, handles }, bound.split().into_iter()))
}
