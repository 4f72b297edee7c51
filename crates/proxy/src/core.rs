//! What belongs to one core: its view of the configuration, its wheel, buffers, workers and pools.
//!
//! A core owns its connections. Nothing in here is shared with another core but what
//! [`Shared`] holds, and that is not touched on the way of a request.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use config::{ListenerId, PoolSettings, ProxyProtocol, Timeouts};
use foldhash::HashMap;
use message::Scheme;
use net::{Alarm, Buffers, Resolver, Stream, Wheel};
use observe::{AccessLog, CoreMetrics, ListenerSlot, Refusal, Registry};
use wire::proxy_protocol::Header;

use crate::account::{Account, Accounts, Charge, ClientKey, OfCore, What};
use crate::http1::Scratch;
use crate::login::Bound;
use crate::patience::{Leftover, Manners};
use crate::room::{self, Files};
use crate::secure::TlsFacts;
use crate::snapshot::{Pools, Shelves, Snapshot, View};
use crate::trust;
use crate::upstream::Pool;
use crate::worker::Worker;

/// Workers kept for reuse per core.
const WORKERS_FREE_MAX: usize = 1024;
/// Addresses of forward clients' destinations to which idle connections are kept, per core.
const FORWARD_POOLS_MAX: usize = 1024;
/// Names of one such address, and idle connections for each.
const FORWARD_NAMES_MAX: usize = 64;
const FORWARD_IDLE_MAX: u32 = 256;

/// Idle connections for one of the names that an address has.
type NamedPool = (Box<str>, Rc<Pool>);

/// What all cores share, beside the snapshot: what is touched once a connection.
pub(crate) struct Shared {
    pub(crate) connections: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    pub(crate) connections_max: AtomicU64,
    /// How many files may be open, and who may have the last ones.
    pub(crate) files: Files,
    /// What each client holds.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) shelves: Arc<Shelves>,
    /// Where our own admin interface listens, which nobody reaches through us.
    admin: RwLock<Option<SocketAddr>>,
}

impl Shared {
    /// For so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            connections: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            connections_max: AtomicU64::new(u64::MAX),
            files: Files::new(net::open_files_limit()),
            accounts: Arc::new(Accounts::new(cores)),
            shelves: Arc::new(Shelves::new(cores)),
            admin: RwLock::default(),
        }
    }

    /// The admin interface listens there from now on.
    pub(crate) fn set_admin(&self, address: Option<SocketAddr>) {
        *self.admin.write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Whether a connection to this address leads to the admin interface. The lock is taken only for
    /// addresses of this machine, where alone it can be.
    pub(crate) fn is_admin(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if !ip.is_loopback() && !ip.is_unspecified() {
            return false;
        }
        let Some(admin) = *self.admin.read().unwrap_or_else(PoisonError::into_inner) else {
            return false;
        };
        // Linux connects to a loopback address where the unspecified one is asked for.
        let same = ip == admin.ip().to_canonical() || ip.is_unspecified();
        same && address.port() == admin.port()
    }
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
    pub(crate) accounts: OfCore,
    /// Exchanges under way; written by this core alone.
    exchanges: Arc<AtomicU64>,
    pub(crate) registry: Arc<Registry>,
    /// Answers to ACME challenges.
    pub(crate) challenges: Arc<tls::Challenges>,
    pub(crate) draining: Cell<bool>,
    /// HTTP/2 connections of clients.
    pub(crate) http2_open: Cell<u32>,
    workers: RefCell<Vec<Worker>>,
    pub(crate) listening: RefCell<Vec<Rc<Listening>>>,
}

impl Core {
    #[allow(clippy::too_many_arguments)] // the parts of a core, each made elsewhere
    pub(crate) fn new(
        index: usize,
        snapshot: Arc<Snapshot>,
        metrics: CoreMetrics,
        access: AccessLog,
        resolver: Resolver,
        shared: Arc<Shared>,
        exchanges: Arc<AtomicU64>,
        registry: Arc<Registry>,
        challenges: Arc<tls::Challenges>,
    ) -> Rc<Self> {
        let metrics = Rc::new(metrics);
        let mut pools = Pools::new(index, &metrics, &shared.shelves);
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
            accounts: OfCore::new(&shared.accounts),
            shared,
            exchanges,
            registry,
            challenges,
            draining: Cell::new(false),
            http2_open: Cell::new(0),
            workers: RefCell::default(),
            listening: RefCell::default(),
        })
    }

    /// The configuration as it is now. An exchange keeps the one it began with.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// Looks at the configuration without keeping it.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.borrow())
    }

    /// Counts an exchange, until what this answers is dropped. Only this core writes the number, so
    /// no locked instruction is needed.
    pub(crate) fn enter_exchange(&self) -> UnderWay<'_> {
        self.exchanges.store(self.exchanges.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        UnderWay(&self.exchanges)
    }

    /// Counts an HTTP/2 connection of a client, until what this answers is dropped.
    pub(crate) fn http2_opened(&self) -> Http2Open<'_> {
        self.http2_open.set(self.http2_open.get() + 1);
        Http2Open(&self.http2_open)
    }

    /// Goes over to a new snapshot, between two exchanges.
    pub(crate) fn install(&self, snapshot: Arc<Snapshot>) {
        let before = self.view();
        let mut pools = self.pools.borrow_mut();
        let view = Rc::new(View::new(snapshot, &mut pools, Some(&before)));
        for listening in self.listening.borrow().iter() {
            listening.id.set(view.listener(listening.address));
        }
        *self.view.borrow_mut() = view;
    }

    /// A worker to carry an exchange, the one used last first.
    pub(crate) fn worker(self: &Rc<Self>) -> Worker {
        let free = self.workers.borrow_mut().pop();
        free.unwrap_or_else(|| Worker::new(self))
    }

    /// Takes a worker back that is done.
    pub(crate) fn give_back(&self, worker: Worker) {
        let mut workers = self.workers.borrow_mut();
        if workers.len() < WORKERS_FREE_MAX {
            workers.push(worker);
        }
    }

    /// The pool of connections to an address, for one host: connections are not shared between
    /// names, lest a server that looks at the first request only mixes them up.
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

    /// Closes idle connections to endpoints and destinations, as files are short; answers how many.
    pub(crate) fn close_idle(&self) -> usize {
        let pools = self.pools.borrow();
        let named = self.forward_pools.borrow();
        let named = named.values().flatten().map(|(_, pool)| &**pool);
        pools.iter().chain(named).map(Pool::close_idle).sum()
    }

    /// The work of every tick: what this core does not need, the others may take.
    pub(crate) fn share(&self) {
        let now = self.wheel.now();
        self.pools.borrow().iter().for_each(|pool| pool.share(now));
    }

    /// The work of about every second: closing what has idled too long.
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

/// An exchange that is counted.
pub(crate) struct UnderWay<'a>(&'a AtomicU64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

/// An HTTP/2 connection that is counted.
pub(crate) struct Http2Open<'a>(&'a Cell<u32>);

impl Drop for Http2Open<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// An address that this core listens on, over all snapshots.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// What it is in the present snapshot; `None` once it is not in it any more.
    pub(crate) id: Cell<Option<ListenerId>>,
    pub(crate) slot: ListenerSlot,
    pub(crate) closed: Cell<bool>,
    pub(crate) close: tokio::sync::Notify,
}

impl Listening {
    pub(crate) fn new(address: SocketAddr, id: Option<ListenerId>, slot: ListenerSlot) -> Self {
        let (id, closed) = (Cell::new(id), Cell::new(false));
        Self { address, id, slot, closed, close: tokio::sync::Notify::new() }
    }
}

/// A connection from a client.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) alarm: Alarm,
    pub(crate) listening: Rc<Listening>,
    /// The peer, or whom a PROXY protocol header names.
    pub(crate) address: Cell<SocketAddr>,
    /// Whether a request has been read.
    pub(crate) spoken: Cell<bool>,
    /// Whether the PROXY protocol header, if one is due, has been read.
    pub(crate) introduced: Cell<bool>,
    /// Whether it ends after what is under way, for it may carry no further requests.
    pub(crate) leaving: Cell<bool>,
    /// Whether that says that the client speaks TLS to the proxy in front.
    pub(crate) outer_tls: Cell<bool>,
    /// What the last request's route asks of who takes its answer.
    pub(crate) manners: Cell<Manners>,
    /// What is known of its TLS, if it speaks that.
    pub(crate) tls: Option<Rc<TlsFacts>>,
    /// Connections to endpoints that are this client's alone.
    pub(crate) bound: Bound,
    /// What the client holds, this connection among it; nothing is counted yet of one that a PROXY protocol header is
    /// to name.
    held: RefCell<Held>,
    _admitted: Admitted,
}

/// A connection as it counts on its client.
#[derive(Default)]
struct Held {
    account: Option<Rc<Account>>,
    /// `None` where connections are not counted.
    _connection: Option<Charge>,
}

/// A connection that is counted, as long as this lives.
struct Admitted {
    core: Rc<Core>,
    slot: ListenerSlot,
}

/// What a listener says of who is one client, and how much that may have.
struct Bounds {
    ipv6_prefix: u8,
    /// `None`: connections are not counted, as the peer is a proxy of ours and has many clients.
    connections: Option<u32>,
    /// Whether a PROXY protocol header names the client.
    introduced_later: bool,
}

impl Bounds {
    fn of(core: &Core, listening: &Listening, peer: IpAddr) -> Self {
        let view = core.view.borrow();
        let listeners = &view.config().listeners;
        let listener = listening.id.get().and_then(|id| listeners.get(id.0 as usize));
        let Some(listener) = listener else {
            return Self { ipv6_prefix: 64, connections: None, introduced_later: false };
        };
        let limits = &listener.limits;
        let trusted = trust::is_trusted(peer, &listener.trusted_proxies);
        Self {
            ipv6_prefix: limits.ipv6_prefix,
            connections: (!trusted).then_some(limits.connections_per_client),
            introduced_later: listener.proxy_protocol == ProxyProtocol::Required,
        }
    }
}

impl Held {
    /// `file`: the number of its connection's file.
    fn by(
        core: &Core,
        client: IpAddr,
        file: Option<u64>,
        bounds: &Bounds,
    ) -> Result<Self, Refusal> {
        let account = core.accounts.of(ClientKey::of(client, bounds.ipv6_prefix));
        let charge = |max: u32| account.charge(What::Connections, 1, max.into());
        let connection = match bounds.connections {
            Some(max) => Some(charge(max).ok_or(Refusal::ClientLimit)?),
            None => None,
        };
        if bounds.connections.is_some()
            && file.is_some_and(|number| number >= core.shared.files.of(&account))
        {
            let little = room::has_little(&account);
            return Err(if little { Refusal::ProcessLimit } else { Refusal::ClientLimit });
        }
        Ok(Self { account: Some(account), _connection: connection })
    }
}

impl Client {
    /// Takes a connection in, or refuses it.
    pub(crate) fn admit(
        core: &Rc<Core>,
        listening: &Rc<Listening>,
        stream: Stream,
        peer: SocketAddr,
    ) -> Result<Self, (Stream, Refusal)> {
        let shared = &core.shared;
        let max = shared.connections_max.load(Ordering::Relaxed);
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= max {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            return Err((stream, Refusal::ProcessLimit));
        }
        let address = peer.ip().to_canonical();
        let bounds = Bounds::of(core, listening, address);
        let held = match bounds.introduced_later {
            true => Held::default(),
            false => match Held::by(core, address, stream.file_number(), &bounds) {
                Ok(held) => held,
                Err(refusal) => {
                    shared.connections.fetch_sub(1, Ordering::Relaxed);
                    return Err((stream, refusal));
                }
            },
        };
        core.metrics.connection_opened(listening.slot);
        Ok(Self {
            stream,
            alarm: core.wheel.alarm(),
            listening: Rc::clone(listening),
            address: Cell::new(SocketAddr::new(address, peer.port())),
            spoken: Cell::new(false),
            introduced: Cell::new(false),
            leaving: Cell::new(false),
            outer_tls: Cell::new(false),
            manners: Cell::new(Manners::of(&Timeouts::default())),
            tls: None,
            bound: Bound::default(),
            held: RefCell::new(held),
            _admitted: Admitted { core: Rc::clone(core), slot: listening.slot },
        })
    }

    /// The PROXY protocol header has been read, and names the client if there is one beside the peer. Refused if that
    /// has as many connections as it may.
    pub(crate) fn introduce(&self, core: &Core, header: &Header) -> Result<(), Refusal> {
        if let Header::Client { source, tls, .. } = header {
            self.address.set(SocketAddr::new(source.ip().to_canonical(), source.port()));
            self.outer_tls.set(*tls);
        }
        self.introduced.set(true);
        let address = self.address.get().ip();
        let bounds = Bounds::of(core, &self.listening, address);
        let file = self.stream.file_number();
        *self.held.borrow_mut() = Held::by(core, address, file, &bounds)?;
        Ok(())
    }

    /// What the client holds on this core.
    pub(crate) fn account(&self) -> Rc<Account> {
        let mut held = self.held.borrow_mut();
        let account = held.account.get_or_insert_with(|| {
            // Only where a reload has taken the PROXY protocol away in the meantime.
            let core = &self._admitted.core;
            let address = self.address.get().ip();
            let bounds = Bounds::of(core, &self.listening, address);
            core.accounts.of(ClientKey::of(address, bounds.ipv6_prefix))
        });
        Rc::clone(account)
    }

    /// For what is left to be taken of what was written, with nothing under way.
    pub(crate) fn leftover(&self, now: tokio::time::Instant) -> Leftover {
        Leftover::new(self.manners.get(), now)
    }

    /// The same with TLS on its stream.
    pub(crate) fn secured(self, layer: impl FnOnce(Stream) -> Stream, facts: Rc<TlsFacts>) -> Self {
        Self { stream: layer(self.stream), tls: Some(facts), ..self }
    }

    /// The scheme of the requests that come over it.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.core.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.core.metrics.connection_closed(self.slot);
        if std::thread::panicking() {
            self.core.registry.panicked();
        }
    }
}
