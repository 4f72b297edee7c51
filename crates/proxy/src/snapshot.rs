//! A compiled configuration, and a core's view of it.
//!
//! A [`Snapshot`] is immutable and shared by all cores. One in which only members of upstreams differ
//! ([`Snapshot::with_members`]) shares everything else with the previous one. Each core has a [`View`] of it,
//! with what is not shared: the state of balancing, and the pools of connections, which move from view to view
//! so that a reload closes none that is still needed.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use auth::UserFile;
use balance::{Balancer, States};
use config::{
    Config, Endpoint, EndpointAddress, ListenerId, SiteId, SwitchId, Upstream, UpstreamId,
    UpstreamProtocol,
};
use foldhash::HashMap;
use net::{Resolver, WatchedName};
use observe::{AccessLogs, CoreMetrics, Names};
use rules::Rules;

use crate::hsts;
use crate::maintenance;
use crate::pool::{Pool, PoolSharing, SharedIdle};
use crate::sticky::{self, Stickiness};

/// A compiled configuration.
pub(crate) struct Snapshot {
    /// The configuration as written, with the current members of the upstreams.
    pub(crate) config: Arc<Config>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) names: Names,
    pub(crate) logs: Arc<AccessLogs>,
    /// The contexts for TLS handshakes.
    pub(crate) contexts: Arc<tls::Contexts>,
    /// By [`SiteId`]: the value of `Strict-Transport-Security`.
    hsts: Arc<[Option<Box<[u8]>>]>,
    /// By [`config::SwitchId`]: whether what it closes is closed for maintenance.
    switches: Arc<[maintenance::Flag]>,
    /// The keys of sticky cookies.
    keys: Arc<sticky::Keys>,
    /// By [`UpstreamId`]: the sticky cookies.
    sticky: Vec<Option<Stickiness>>,
    /// By [`UpstreamId`]: the state of an upstream that all cores share.
    pub(crate) groups: Vec<Arc<balance::Group>>,
    /// By [`UpstreamId`], then by endpoint: the watched names of those that have one.
    watched: Vec<Vec<Option<Arc<WatchedName>>>>,
    /// By [`config::LoginId`]: the files of users.
    pub(crate) user_files: Arc<[Arc<UserFile>]>,
    /// The addresses that we listen on, to detect loops.
    pub(crate) own_addresses: Arc<[SocketAddr]>,
}

/// What a snapshot gets that was opened or made for its configuration.
pub(crate) struct SnapshotParts {
    pub(crate) names: Names,
    pub(crate) logs: Arc<AccessLogs>,
    pub(crate) contexts: Arc<tls::Contexts>,
    pub(crate) keys: sticky::Keys,
    pub(crate) switches: Arc<[maintenance::Flag]>,
    pub(crate) user_files: Vec<Arc<UserFile>>,
    pub(crate) own_addresses: Vec<SocketAddr>,
}

impl Snapshot {
    pub(crate) fn compile(
        config: Arc<Config>,
        parts: SnapshotParts,
        resolver: &Resolver,
        states: &States,
    ) -> Self {
        let SnapshotParts { names, logs, contexts, keys, switches, user_files, own_addresses } =
            parts;
        let watched = config.upstreams.iter().map(|upstream| watch(upstream, resolver)).collect();
        let groups = states.groups(&config);
        let rules = Arc::new(Rules::compile(Arc::clone(&config)));
        let hsts = config.sites.iter().map(hsts::of).collect();
        let (keys, own_addresses) = (Arc::new(keys), own_addresses.into());
        let sticky = keys.cookies(&config);
        Self {
            config,
            rules,
            names,
            logs,
            contexts,
            hsts,
            switches,
            keys,
            sticky,
            groups,
            watched,
            user_files: user_files.into(),
            own_addresses,
        }
    }

    /// The same with other members of the upstreams that `changed` marks (by [`UpstreamId`]);
    /// `config` has them.
    pub(crate) fn with_members(
        &self,
        config: Arc<Config>,
        changed: &[bool],
        names: Names,
        contexts: Arc<tls::Contexts>,
        resolver: &Resolver,
        states: &States,
    ) -> Self {
        let parts = self.groups.iter().zip(&self.watched);
        let parts = config.upstreams.iter().zip(parts).zip(changed);
        let parts = parts.map(|((upstream, (group, watched)), changed)| match changed {
            true => (states.group(upstream), watch(upstream, resolver)),
            false => (Arc::clone(group), watched.clone()),
        });
        let (groups, watched) = parts.unzip();
        let sticky = self.keys.cookies(&config);
        Self {
            config,
            rules: Arc::clone(&self.rules),
            names,
            logs: Arc::clone(&self.logs),
            contexts,
            hsts: Arc::clone(&self.hsts),
            switches: Arc::clone(&self.switches),
            keys: Arc::clone(&self.keys),
            sticky,
            groups,
            watched,
            user_files: Arc::clone(&self.user_files),
            own_addresses: Arc::clone(&self.own_addresses),
        }
    }

    /// The value of `Strict-Transport-Security` for a site, if it sends that.
    pub(crate) fn hsts(&self, site: SiteId) -> Option<&[u8]> {
        self.hsts.get(site.index())?.as_deref()
    }

    /// Whether what a switch closes is closed for maintenance.
    pub(crate) fn is_closed(&self, switch: SwitchId) -> bool {
        self.switches.get(switch.index()).is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// The keys of sticky cookies.
    pub(crate) fn keys(&self) -> &sticky::Keys {
        &self.keys
    }

    /// The sticky cookie of an upstream, if it has one.
    pub(crate) fn sticky(&self, upstream: UpstreamId) -> Option<&Stickiness> {
        self.sticky.get(upstream.index())?.as_ref()
    }

    /// The current addresses of an endpoint; none for a name that has not been found yet, or for a
    /// unix socket.
    pub(crate) fn addresses(&self, upstream: UpstreamId, endpoint: usize) -> Vec<SocketAddr> {
        let group = self.config.upstream(upstream);
        let Some(endpoint_config) = group.and_then(|group| group.endpoints.get(endpoint)) else {
            return Vec::new();
        };
        match &endpoint_config.address {
            EndpointAddress::Ip(address) => vec![*address],
            EndpointAddress::Unix(_) => Vec::new(),
            EndpointAddress::Name { port, .. } => {
                self.watched(upstream, endpoint).map_or_else(Vec::new, |watched| {
                    watched.addresses().iter().map(|&ip| SocketAddr::new(ip, *port)).collect()
                })
            }
        }
    }

    /// The watched name of an endpoint, if it has one.
    pub(crate) fn watched(&self, upstream: UpstreamId, endpoint: usize) -> Option<&WatchedName> {
        self.watched.get(upstream.index())?.get(endpoint)?.as_deref()
    }

    /// The endpoints of every upstream, for checks.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = health::Endpoints<'_>> {
        let groups = self.groups.iter().zip(&self.watched).enumerate();
        groups.map(|(index, (group, watched))| {
            let tls = self.contexts.upstreams.get(index).and_then(Option::as_ref);
            health::Endpoints { group, tls, watched }
        })
    }
}

/// The names of an upstream's endpoints, by endpoint.
fn watch(upstream: &Upstream, resolver: &Resolver) -> Vec<Option<Arc<WatchedName>>> {
    let watch = |endpoint: &Endpoint| match &endpoint.address {
        EndpointAddress::Name { host, .. } => Some(resolver.watch(host)),
        EndpointAddress::Ip(_) | EndpointAddress::Unix(_) => None,
    };
    upstream.endpoints.iter().map(watch).collect()
}

/// A core's pools, by address, TLS and protocol.
pub(crate) struct Pools {
    of: HashMap<PoolKey, Rc<Pool>>,
    core: usize,
    metrics: Rc<CoreMetrics>,
    shared_pools: Arc<SharedPools>,
}

impl Pools {
    pub(crate) fn new(
        core: usize,
        metrics: &Rc<CoreMetrics>,
        shared_pools: &Arc<SharedPools>,
    ) -> Self {
        let (metrics, shared_pools) = (Rc::clone(metrics), Arc::clone(shared_pools));
        Self { of: HashMap::default(), core, metrics, shared_pools }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.of.values().map(Rc::as_ref)
    }

    /// The pool for a key: the existing one, or a new one.
    fn pool(&self, key: &PoolKey) -> Rc<Pool> {
        if let Some(pool) = self.of.get(key) {
            return Rc::clone(pool);
        }
        let (core, metrics) = (self.core, Rc::clone(&self.metrics));
        let (shared_idle, cores) = (self.shared_pools.shared_idle(key), self.shared_pools.cores);
        Rc::new(Pool::shared(PoolSharing { shared_idle, core, cores, metrics }))
    }

    /// Replaces the pools by those of a new view, and closes the others.
    fn replace(&mut self, kept: HashMap<PoolKey, Rc<Pool>>) {
        let before = std::mem::replace(&mut self.of, kept);
        let gone = before.into_iter().filter(|(key, _)| !self.of.contains_key(key));
        gone.for_each(|(_, pool)| pool.close());
    }
}

/// What the cores share of their pools, by key.
pub(crate) struct SharedPools {
    cores: usize,
    of: Mutex<HashMap<PoolKey, Weak<SharedIdle>>>,
}

impl SharedPools {
    pub(crate) fn new(cores: usize) -> Self {
        Self { cores, of: Mutex::default() }
    }

    /// The shared connections for a key, as long as any core has a pool for it.
    fn shared_idle(&self, key: &PoolKey) -> Arc<SharedIdle> {
        let mut shared_pools = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared_idle) = shared_pools.get(key).and_then(Weak::upgrade) {
            return shared_idle;
        }
        // Before it grows, not for each key.
        if shared_pools.len() == shared_pools.capacity() {
            shared_pools.retain(|_, shared_idle| shared_idle.strong_count() > 0);
        }
        let shared_idle = Arc::new(SharedIdle::new(self.cores));
        shared_pools.insert(key.clone(), Arc::downgrade(&shared_idle));
        shared_idle
    }
}

/// What the connections of one pool have in common. A reload that changes any of it starts a new
/// pool.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    address: EndpointAddress,
    /// The TLS context, and the server name if that is not the address.
    tls: Option<(u64, Option<Arc<str>>)>,
    protocol: UpstreamProtocol,
}

impl PoolKey {
    fn new(upstream: &Upstream, endpoint: &Endpoint, context: Option<&Arc<tls::Client>>) -> Self {
        let tls = context.filter(|_| endpoint.tls);
        let tls = tls.map(|context| (context.id(), endpoint.host.clone()));
        let protocol = match upstream.protocol {
            UpstreamProtocol::Auto if tls.is_none() => UpstreamProtocol::Http1,
            protocol => protocol,
        };
        Self { address: endpoint.address.clone(), tls, protocol }
    }
}

/// A core's view of a snapshot.
pub(crate) struct View {
    pub(crate) shared: Arc<Snapshot>,
    /// By [`UpstreamId`].
    groups: Vec<Group>,
}

/// A core's state of an upstream.
pub(crate) struct Group {
    pub(crate) balancer: Rc<Balancer>,
    /// The running copies of requests to it.
    pub(crate) mirrored: Rc<Cell<u32>>,
    /// By endpoint.
    pub(crate) pools: Vec<Rc<Pool>>,
}

impl View {
    /// Makes a view with the pools of the previous one, and with the balancers of unchanged
    /// upstreams.
    pub(crate) fn new(shared: Arc<Snapshot>, pools: &mut Pools, before: Option<&Self>) -> Self {
        let mut kept = HashMap::default();
        // The idle time of a route is checked when a connection is taken; until then the longest
        // applies.
        let sites = shared.config.sites.iter();
        let settings = sites.flat_map(|site| site.routes.iter().map(|route| &route.settings));
        let longest = settings.map(|settings| settings.timeouts.upstream_idle).max();
        let default_idle = longest.unwrap_or(config::Timeouts::default().upstream_idle);
        let upstreams = shared.config.upstreams.iter().zip(&shared.groups);
        let groups = upstreams.enumerate().map(|(index, (upstream, group))| {
            let context = shared.contexts.upstreams.get(index).and_then(Option::as_ref);
            let idle = upstream.timeouts.upstream_idle.unwrap_or(default_idle);
            let pool_of = |endpoint: &Endpoint| {
                let key = PoolKey::new(upstream, endpoint, context);
                let before = pools.pool(&key);
                let pool = kept.entry(key).or_insert(before);
                pool.configure(&upstream.pool, idle);
                Rc::clone(pool)
            };
            let of_endpoints = upstream.endpoints.iter().map(pool_of).collect();
            let same = before.and_then(|before| before.groups.get(index));
            let same = same.filter(|before| Arc::ptr_eq(before.balancer.group(), group));
            let balancer = same.map_or_else(
                || Rc::new(Balancer::new(Arc::clone(group), pools.core)),
                |before| Rc::clone(&before.balancer),
            );
            // Running copies continue to count.
            let named = |group: &&Group| group.balancer.group().settings.name == upstream.name;
            let known = before.and_then(|before| before.groups.get(index)).filter(named);
            let mirrored = known.map(|known| Rc::clone(&known.mirrored)).unwrap_or_default();
            Group { balancer, mirrored, pools: of_endpoints }
        });
        let groups = groups.collect();
        pools.replace(kept);
        Self { shared, groups }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn group(&self, upstream: UpstreamId) -> Option<&Group> {
        self.groups.get(upstream.index())
    }

    /// The listener at an address in this snapshot.
    pub(crate) fn listener(&self, address: SocketAddr) -> Option<ListenerId> {
        let index = self.config().listeners.iter().position(|l| l.address == address)?;
        Some(ListenerId(index as u32))
    }
}
