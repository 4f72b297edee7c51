//! What belongs to one core: its view of the configuration, its wheel, buffers, workers and pools.
//!
//! A core owns its connections. Nothing in here is shared with another core but what [`Shared`]
//! holds, and requests do not touch that.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use auth::{Logins, Verifier};
use cache::store::Store;
use config::PoolSettings;
use foldhash::HashMap;
use net::{Buffers, Resolver, Wheel};
use observe::{AccessLog, CoreMetrics, Record, Registry};

use crate::account::{Accounts, CoreAccounts};
use crate::http1::Scratch;
use crate::listening::Listening;
use crate::pool::Pool;
use crate::room::Files;
use crate::snapshot::{Pools, SharedPools, Snapshot, View};

/// The most addresses of forward destinations to which idle connections are kept, per core.
const FORWARD_POOLS_MAX: usize = 1024;
/// The most host names of one such address, and idle connections for each.
const FORWARD_NAMES_MAX: usize = 64;
const FORWARD_IDLE_MAX: u32 = 256;

/// Idle connections for one of the host names of an address.
type NamedPool = (Box<str>, Rc<Pool>);

/// What all cores share besides the snapshot; touched once per connection.
pub(crate) struct Shared {
    pub(crate) connections: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    /// Listening sockets that cores accept from.
    pub(crate) accepting: AtomicU64,
    pub(crate) connections_max: AtomicU64,
    /// How many files may be open, and which clients may use the last ones.
    pub(crate) files: Files,
    /// What each client holds.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) shared_pools: Arc<SharedPools>,
    /// The address of our own admin interface, which no client may reach through us.
    admin: RwLock<Option<SocketAddr>>,
    /// Stored responses; made with the first configuration that caches.
    store: OnceLock<Arc<Store>>,
    /// Checks passwords; started with the first configuration that asks for a login.
    verifier: OnceLock<Verifier>,
}

impl Shared {
    /// For so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            connections: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            accepting: AtomicU64::new(0),
            connections_max: AtomicU64::new(u64::MAX),
            files: Files::new(net::open_files_limit()),
            accounts: Arc::new(Accounts::new(cores)),
            shared_pools: Arc::new(SharedPools::new(cores)),
            admin: RwLock::default(),
            store: OnceLock::new(),
            verifier: OnceLock::new(),
        }
    }

    /// Starts the threads that check passwords, unless they run: half as many as cores carry traffic, for a flood of
    /// wrong passwords must not take the machine.
    pub(crate) fn start_verifier(&self, cores: usize) -> io::Result<()> {
        if self.verifier.get().is_none() {
            let _ = self.verifier.set(Verifier::start(cores.div_ceil(2))?);
        }
        Ok(())
    }

    /// Makes the store for so many bytes, or changes its size.
    pub(crate) fn open_store(&self, bytes_max: u64) -> &Arc<Store> {
        let store = self.store.get_or_init(|| Arc::new(Store::new(bytes_max)));
        store.resize(bytes_max);
        store
    }

    /// Stored responses, if a configuration has asked for a cache.
    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.store.get()
    }

    /// What checks passwords, if a configuration has asked for logins.
    pub(crate) fn verifier(&self) -> Option<&Verifier> {
        self.verifier.get()
    }

    /// Sets the address of the admin interface.
    pub(crate) fn set_admin(&self, address: Option<SocketAddr>) {
        *self.admin.write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Whether a connection to this address leads to the admin interface. The lock is taken only for
    /// addresses of this machine: it can be nowhere else.
    pub(crate) fn is_admin(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if !ip.is_loopback() && !ip.is_unspecified() {
            return false;
        }
        let Some(admin) = *self.admin.read().unwrap_or_else(PoisonError::into_inner) else {
            return false;
        };
        // Linux connects to a loopback address if the unspecified one is given.
        let same = ip == admin.ip().to_canonical() || ip.is_unspecified();
        same && address.port() == admin.port()
    }
}

/// The parts that a core is made from.
pub(crate) struct CoreParts {
    /// The index of the core.
    pub(crate) index: usize,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) access: AccessLog,
    pub(crate) resolver: Resolver,
    pub(crate) shared: Arc<Shared>,
    /// Counts its running exchanges.
    pub(crate) exchanges: Arc<AtomicU64>,
    /// Answers to ACME challenges.
    pub(crate) challenges: Arc<tls::Challenges>,
}

/// How a core drains: what becomes of clients without a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draining {
    /// Their connections are closed.
    Idle,
    /// They may send one more request: a close now might meet it under way.
    AfterNext,
}

/// One core.
pub(crate) struct Core {
    view: RefCell<Rc<View>>,
    pools: RefCell<Pools>,
    /// Idle connections to destinations that clients named, by address.
    forward_pools: RefCell<HashMap<SocketAddr, Vec<NamedPool>>>,
    pub(crate) wheel: Wheel,
    pub(crate) buffers: Buffers,
    pub(crate) scratch: Scratch,
    pub(crate) metrics: Rc<CoreMetrics>,
    pub(crate) access: RefCell<AccessLog>,
    pub(crate) resolver: Resolver,
    pub(crate) shared: Arc<Shared>,
    /// What this core's clients hold.
    pub(crate) accounts: CoreAccounts,
    /// Exchanges under way; written by this core alone.
    exchanges: Arc<AtomicU64>,
    pub(crate) registry: Arc<Registry>,
    /// Answers to ACME challenges.
    pub(crate) challenges: Arc<tls::Challenges>,
    /// Set once the process goes.
    pub(crate) draining: Cell<Option<Draining>>,
    /// HTTP/2 connections of clients.
    pub(crate) http2_open: Cell<u32>,
    pub(crate) listening: RefCell<Vec<Rc<Listening>>>,
    /// Passwords that were right a moment ago.
    pub(crate) logins: Logins,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Rc<Self> {
        let CoreParts {
            index,
            snapshot,
            registry,
            access,
            resolver,
            shared,
            exchanges,
            challenges,
        } = parts;
        let metrics = CoreMetrics::new(&registry);
        let metrics = Rc::new(metrics);
        let mut pools = Pools::new(index, &metrics, &shared.shared_pools);
        let view = Rc::new(View::new(snapshot, &mut pools, None));
        Rc::new(Self {
            view: RefCell::new(view),
            pools: RefCell::new(pools),
            forward_pools: RefCell::default(),
            wheel: Wheel::start(),
            buffers: Buffers::of_thread(),
            scratch: Scratch::default(),
            metrics,
            access: RefCell::new(access),
            resolver,
            accounts: CoreAccounts::new(&shared.accounts),
            shared,
            exchanges,
            registry,
            challenges,
            draining: Cell::new(None),
            http2_open: Cell::new(0),
            listening: RefCell::default(),
            logins: Logins::default(),
        })
    }

    /// The current configuration. An exchange keeps the one it began with.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// Looks at the configuration without keeping it.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.borrow())
    }

    /// Whether the process goes, so that connections end after their exchange.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Whether idle connections of clients are closed.
    pub(crate) fn closes_idle(&self) -> bool {
        self.draining.get() == Some(Draining::Idle)
    }

    /// Counts an exchange until the guard is dropped. Only this core writes the number, so no
    /// locked instruction is needed.
    pub(crate) fn enter_exchange(&self) -> ExchangeGuard<'_> {
        self.exchanges.store(self.exchanges.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        ExchangeGuard(&self.exchanges)
    }

    /// Counts an HTTP/2 connection of a client until the guard is dropped.
    pub(crate) fn http2_opened(&self) -> Http2ConnectionGuard<'_> {
        self.http2_open.set(self.http2_open.get() + 1);
        Http2ConnectionGuard(&self.http2_open)
    }

    /// Switches to a new snapshot, between two exchanges.
    pub(crate) fn install(&self, snapshot: Arc<Snapshot>) {
        let before = self.view();
        let mut pools = self.pools.borrow_mut();
        let view = Rc::new(View::new(snapshot, &mut pools, Some(&before)));
        for listening in self.listening.borrow().iter() {
            listening.id.set(view.listener(listening.address));
        }
        *self.view.borrow_mut() = view;
    }

    /// Hands a finished record to the metrics and the access log.
    pub(crate) fn finish(&self, view: &View, record: &mut Record) {
        record.finish(Instant::now());
        self.metrics.exchange_done(record, &view.shared.names);
        self.access.borrow_mut().write(record, &view.shared.names, &view.shared.logs);
    }

    /// The pool of connections to an address, for one host: connections are not shared between
    /// names, as some servers look at the host of the first request only.
    pub(crate) fn forward_pool(&self, address: SocketAddr, host: &str, idle: Duration) -> Rc<Pool> {
        let mut pools = self.forward_pools.borrow_mut();
        if pools.len() >= FORWARD_POOLS_MAX && !pools.contains_key(&address) {
            pools.retain(|_, named| named.iter().any(|(_, pool)| pool.len() > 0));
            if pools.len() >= FORWARD_POOLS_MAX {
                pools.clear();
            }
        }
        let named = pools.entry(address).or_default();
        if let Some((_, pool)) = named.iter().find(|(name, _)| **name == *host) {
            return Rc::clone(pool);
        }
        if named.len() >= FORWARD_NAMES_MAX {
            named.clear();
        }
        let pool = Rc::new(Pool::new());
        let settings = PoolSettings { max: FORWARD_IDLE_MAX, ..PoolSettings::default() };
        pool.configure(&settings, idle);
        named.push((host.into(), Rc::clone(&pool)));
        pool
    }

    /// Closes idle connections to endpoints and destinations, as files are short; returns how many.
    pub(crate) fn close_idle(&self) -> usize {
        let pools = self.pools.borrow();
        let named = self.forward_pools.borrow();
        let named = named.values().flatten().map(|(_, pool)| &**pool);
        pools.iter().chain(named).map(Pool::close_idle).sum()
    }

    /// The work of every tick: shares connections that this core does not need.
    pub(crate) fn share(&self) {
        let now = self.wheel.now();
        self.pools.borrow().iter().for_each(|pool| pool.share(now));
    }

    /// The work of about every second: closes what has idled too long.
    pub(crate) fn sweep(&self) {
        let now = self.wheel.now();
        self.accounts.sweep();
        self.pools.borrow().iter().for_each(|pool| pool.sweep(now));
        let mut forward_pools = self.forward_pools.borrow_mut();
        forward_pools.retain(|_, named| {
            named.retain(|(_, pool)| {
                pool.sweep(now);
                pool.len() > 0
            });
            !named.is_empty()
        });
    }
}

/// Counts an exchange until it is dropped.
pub(crate) struct ExchangeGuard<'a>(&'a AtomicU64);

impl Drop for ExchangeGuard<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

/// Counts an HTTP/2 connection until it is dropped.
pub(crate) struct Http2ConnectionGuard<'a>(&'a Cell<u32>);

impl Drop for Http2ConnectionGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
