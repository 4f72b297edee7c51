//! The data plane as a whole: core threads, listeners, and reloads.
//!
//! [`Server::start`] binds every listener, starts a pinned thread per core and gives each its share
//! of every listening socket. [`Server::reload`] makes a new snapshot, binds what is new, and
//! switches all cores to it; nothing changes if any of that fails. When upstreams get other members
//! (`discovery`), a snapshot that shares everything else with the previous one is installed in the
//! same way.
//! Not here: signals, files, the admin interface (the binary).

mod error;
mod members;
mod prepared;
mod stored;
mod thread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use balance::States;
use config::{Config, Endpoint};
use discovery::Discovery;
use health::Checks;
use net::{RawListener, Resolver};
use observe::{AccessWriter, Caps, EndpointHealth, Exposition, Names, Registry, UpstreamReport};
use tls::{Contexts, Keeper};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

pub use error::StartError;
pub use members::MembersError;
use prepared::{
    BoundAddress, ListeningSockets, OpenedListener, PreparedConfig, Services, contexts,
    for_next_core, resolver_settings, with_members,
};
pub use stored::{Purge, StoredResponse};

use crate::core::{CoreParts, Draining, Shared};
use crate::maintenance::{self, MaintenanceError, MaintenanceState};
use crate::report;
use crate::snapshot::Snapshot;
use crate::sweep;
use crate::user_files::UserFiles;

/// How long a reload waits for the cores to switch.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait for the first checks of endpoints, and how often to look.
const FIRST_CHECKS_TIME_MAX: Duration = Duration::from_secs(5);
const FIRST_CHECKS_PAUSE: Duration = Duration::from_millis(20);
/// How long the writer of the access log may take for its last lines.
const LOG_FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// The data plane. A handle: clones are the same server.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

/// Listening sockets that the process was started with, used for listeners of the same address.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Those of a service manager (socket activation).
    pub listeners: Vec<TcpListener>,
    /// Those that another process of ours has passed on, by the address as it is configured.
    pub passed_on: Vec<(SocketAddr, Vec<TcpListener>)>,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Listeners that were opened, as written.
    pub listeners_opened: Vec<String>,
    /// Listeners that were closed, as written.
    pub listeners_closed: Vec<String>,
    /// Counts the configurations that took effect, from 1.
    pub generation: u64,
}

/// The work that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Connections from clients.
    pub connections: u64,
    /// Exchanges.
    pub exchanges: u64,
    /// Tunnels.
    pub tunnels: u64,
}

impl Open {
    /// True if a stop would interrupt nothing.
    pub fn is_nothing(self) -> bool {
        self.exchanges == 0 && self.tunnels == 0
    }
}

struct Inner {
    services: Services,
    writer: Mutex<Option<AccessWriter>>,
    checks: Checks,
    cores: Vec<CoreHandle>,
    state: Mutex<State>,
    draining: AtomicBool,
    sweeping: OnceLock<AbortHandle>,
    /// Looks at what closes sites for maintenance.
    looking: OnceLock<AbortHandle>,
}

struct CoreHandle {
    commands: UnboundedSender<Command>,
    exchanges: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    /// As written.
    config: Arc<Config>,
    /// The snapshot in use, with the current members of the upstreams.
    snapshot: Arc<Snapshot>,
    generation: u64,
    listening: Vec<BoundAddress>,
    /// Sockets that no core accepts from yet.
    waiting: Vec<OpenedListener>,
}

/// A command for a core.
enum Command {
    Install {
        snapshot: Arc<Snapshot>,
        open: Vec<(SocketAddr, RawListener)>,
        close: Vec<SocketAddr>,
        done: mpsc::Sender<()>,
    },
    Drain(Draining),
    Stop,
}

impl Server {
    /// Binds everything, starts the core threads and accepts connections; all or nothing. Names are looked up
    /// on the tokio runtime that this is called in, which must go on running.
    pub fn start(config: Arc<Config>, inherited: Inherited) -> Result<Self, StartError> {
        let server = Self::prepare(config, inherited)?;
        server.accept();
        Ok(server)
    }

    /// Like [`Self::start`], but accepts no connection before [`Self::accept`]: those that come wait.
    pub fn prepare(config: Arc<Config>, inherited: Inherited) -> Result<Self, StartError> {
        let count = core_count(&config);
        let registry = Registry::new(env!("CARGO_PKG_VERSION"), Caps::default());
        let writer = AccessWriter::start(count, registry.log_counters());
        let writer = writer.map_err(StartError::Thread)?;
        let resolver = Resolver::start(resolver_settings(&config)).map_err(StartError::Resolver)?;
        let checks = Checks::start().map_err(StartError::Thread)?;
        let services = Services {
            keeper: Keeper::start(config.process.state.as_deref()),
            discovery: Arc::new(Discovery::new(resolver.clone())),
            states: States::default(),
            shared: Arc::new(Shared::new(count)),
            log_targets: Arc::clone(writer.targets()),
            switches: Arc::default(),
            user_files: UserFiles::default(),
            registry,
            resolver,
        };
        let sockets = ListeningSockets::new(inherited, count).map_err(StartError::Inherited)?;
        let prepared = PreparedConfig::new(&services, &config, None, count, sockets)?;
        let (snapshot, opened) = prepared.take_effect(&services, &[]);
        let mut cores = Vec::with_capacity(count);
        for index in 0..count {
            let parts = CoreParts {
                index,
                snapshot: Arc::clone(&snapshot),
                registry: Arc::clone(&services.registry),
                access: writer.core_log(),
                resolver: services.resolver.clone(),
                shared: Arc::clone(&services.shared),
                exchanges: Arc::default(),
                challenges: Arc::clone(services.keeper.challenges()),
            };
            cores.push(thread::start(parts).map_err(StartError::Thread)?);
        }
        checks.install(snapshot.endpoints());
        services.registry.configured(1);
        let listening = opened.iter().map(|(listens, _)| listens.clone()).collect();
        let state =
            Mutex::new(State { config, snapshot, generation: 1, listening, waiting: opened });
        let inner = Arc::new(Inner {
            services,
            writer: Mutex::new(Some(writer)),
            checks,
            cores,
            state,
            draining: AtomicBool::new(false),
            sweeping: OnceLock::new(),
            looking: OnceLock::new(),
        });
        let weak = Arc::downgrade(&inner);
        let _ = inner.sweeping.set(sweep::start(move || {
            let Some(inner) = weak.upgrade() else { return ControlFlow::Break(()) };
            inner.services.registry.remember(Instant::now());
            inner.services.user_files.refresh();
            ControlFlow::Continue(inner.snapshot_at_rest())
        }));
        let weak = Arc::downgrade(&inner);
        let _ = inner.looking.set(maintenance::look_regularly(move || {
            weak.upgrade().map(|inner| Arc::clone(&inner.services.switches))
        }));
        let weak = Arc::downgrade(&inner);
        inner.services.discovery.start(move || match weak.upgrade() {
            Some(inner) => {
                Self { inner }.refresh_or_log();
                true
            }
            None => false,
        });
        Ok(Self { inner })
    }

    /// Accepts connections from now on; all cores do when this returns.
    pub fn accept(&self) {
        let mut state = self.state();
        let mut waiting = std::mem::take(&mut state.waiting);
        if !waiting.is_empty() {
            self.inner.install(&state.snapshot, &mut waiting, &[]);
        }
    }

    /// Reloads: listeners are opened and closed by difference, and connections, tunnels and pools
    /// that the change does not concern are not disturbed. On an error nothing has changed.
    pub fn reload(&self, config: Arc<Config>) -> Result<Change, StartError> {
        let changed = self.try_reload(config);
        match &changed {
            Ok(change) => self.inner.services.registry.configured(change.generation),
            Err(_) => self.inner.services.registry.reload_failed(),
        }
        changed
    }

    fn try_reload(&self, config: Arc<Config>) -> Result<Change, StartError> {
        let inner = &*self.inner;
        let mut state = self.state();
        let count = inner.cores.len();
        let Services { discovery, resolver, .. } = &inner.services;
        discovery.wait_for_lookups_blocking(&config);
        let before = (&*state.snapshot, &*state.listening);
        let sockets = ListeningSockets::default();
        let prepared = PreparedConfig::new(&inner.services, &config, Some(before), count, sockets)?;
        let wanted =
            |l: &BoundAddress| config.listeners.iter().any(|wanted| wanted.address == l.address);
        let (mut kept, closed): (Vec<_>, Vec<_>) = state.listening.drain(..).partition(wanted);
        resolver.reconfigure(resolver_settings(&config));
        let (snapshot, mut opened) = prepared.take_effect(&inner.services, &kept);
        let close: Vec<_> = closed.iter().map(|listens| listens.address).collect();
        // Their sockets are closed by the cores, which hold the last handles from here on.
        let closed: Vec<_> = closed.into_iter().map(|listens| listens.written).collect();
        inner.install(&snapshot, &mut opened, &close);
        discovery.settle(&config);
        let opened: Vec<_> = opened.into_iter().map(|(listens, _)| listens).collect();
        kept.extend(opened.iter().cloned());
        let written = |listens: Vec<BoundAddress>| listens.into_iter().map(|l| l.written).collect();
        let generation = state.generation + 1;
        *state = State { config, snapshot, generation, listening: kept, waiting: Vec::new() };
        Ok(Change { listeners_opened: written(opened), listeners_closed: closed, generation })
    }

    /// The keeper of certificates.
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.inner.services.keeper
    }

    /// Sets the address of the admin interface: forward clients never reach it, even if the rules
    /// allow it.
    pub fn admin_listens(&self, address: Option<SocketAddr>) {
        self.inner.services.shared.set_admin(address);
    }

    /// The health of the endpoints that are checked.
    pub fn health_states(&self) -> Vec<EndpointHealth> {
        self.inner.checks.states()
    }

    /// The state of every upstream and its endpoints.
    pub fn upstreams(&self) -> Vec<UpstreamReport> {
        let snapshot = Arc::clone(&self.state().snapshot);
        let remark = |endpoint: &Endpoint| self.inner.services.discovery.remark(endpoint);
        report::upstreams(&snapshot, &self.inner.services.registry, self.health_states(), remark)
    }

    /// The sites that can be closed for maintenance, or those with these names.
    pub fn maintenance(&self, names: &[String]) -> Result<Vec<MaintenanceState>, MaintenanceError> {
        maintenance::states(&self.config(), names)
    }

    /// Closes or opens these sites, or all that can be closed.
    pub fn set_maintenance(
        &self,
        names: &[String],
        closed: bool,
    ) -> Result<Vec<MaintenanceState>, MaintenanceError> {
        let mut states = self.maintenance(names)?;
        maintenance::set(&self.inner.services.switches, &mut states, closed)?;
        Ok(states)
    }

    /// The configuration that is in effect.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state().config)
    }

    /// Counts the configurations that took effect, from 1.
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The metrics as text (Prometheus exposition format).
    pub fn metrics(&self) -> String {
        self.metrics_as(Exposition::Text)
    }

    /// The metrics in the form that a client has negotiated.
    pub fn metrics_as(&self, form: Exposition) -> String {
        self.inner.services.registry.render(form, &self.upstreams())
    }

    /// Counts a reload that failed before it came here: the file could not be read.
    pub fn reload_failed(&self) {
        self.inner.services.registry.reload_failed();
    }

    /// The work that is running now.
    pub fn open_exchanges(&self) -> Open {
        let shared = &self.inner.services.shared;
        let exchanges = self.inner.cores.iter().map(|c| c.exchanges.load(Ordering::Relaxed)).sum();
        Open {
            connections: shared.connections.load(Ordering::Relaxed),
            exchanges,
            tunnels: shared.tunnels.load(Ordering::Relaxed),
        }
    }

    /// Whether connections are still accepted, or wait to be.
    pub fn is_accepting(&self) -> bool {
        self.inner.services.shared.accepting.load(Ordering::Acquire) > 0
    }

    /// How many cores carry traffic.
    pub fn cores(&self) -> usize {
        self.inner.cores.len()
    }

    /// Stops accepting, closes idle connections, and lets everything else finish.
    pub fn begin_drain(&self) {
        self.drain(Draining::Idle);
    }

    /// Stops accepting, because another process accepts from the same sockets, and lets everything finish. Clients of
    /// HTTP/1 that are idle may send one more request.
    pub fn begin_drain_for_successor(&self) {
        self.drain(Draining::AfterNext);
    }

    fn drain(&self, how: Draining) {
        self.inner.draining.store(true, Ordering::Relaxed);
        self.drop_handles();
        self.inner.cores.iter().for_each(|core| drop(core.commands.send(Command::Drain(how))));
    }

    /// From here on the cores hold the last handles of the sockets.
    fn drop_handles(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.listening.iter_mut().for_each(|listens| listens.handles = Arc::default());
    }

    /// Ends everything that is still open, writes the last lines of the log, joins the threads.
    pub fn stop(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        for core in &self.inner.cores {
            let _ = core.commands.send(Command::Stop);
            let thread = core.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A thread that panicked has said so itself.
            let _ = thread.map(JoinHandle::join);
        }
        self.inner.services.discovery.stop();
        self.inner.checks.stop();
        self.inner.services.keeper.stop();
        self.inner.sweeping.get().inspect(|sweeping| sweeping.abort());
        self.inner.looking.get().inspect(|looking| looking.abort());
        if let Some(writer) = self.writer().take()
            && !writer.shutdown(LOG_FLUSH_TIME_MAX)
        {
            tracing::warn!("the last lines of the access log could not be written");
        }
    }

    /// Reopens the access log, after it was moved away.
    pub fn reopen_logs(&self) -> io::Result<()> {
        self.writer().as_ref().map_or(Ok(()), AccessWriter::reopen)
    }

    /// The listeners: as written, and the address with its port.
    pub fn listening(&self) -> Vec<(String, SocketAddr)> {
        let state = self.state();
        state.listening.iter().map(|l| (l.written.clone(), l.actual)).collect()
    }

    /// The sockets of each address, to be passed to another process: the address as configured, and handles.
    pub fn sockets(&self) -> Vec<(SocketAddr, Arc<[TcpListener]>)> {
        let state = self.state();
        state.listening.iter().map(|l| (l.address, Arc::clone(&l.handles))).collect()
    }

    /// Waits a moment for the first checks of endpoints.
    pub async fn checked(&self) {
        let begun = Instant::now();
        let is_waiting = |server: &Self| {
            let states = server.health_states();
            states.iter().any(|endpoint| endpoint.checks.iter().any(|one| one.last.is_none()))
        };
        while is_waiting(self) && begun.elapsed() < FIRST_CHECKS_TIME_MAX {
            tokio::time::sleep(FIRST_CHECKS_PAUSE).await;
        }
    }

    /// True as long as requests are accepted.
    pub fn is_ready(&self) -> bool {
        !self.inner.draining.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Option<AccessWriter>> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The snapshot in use; `None` while it is being replaced.
    fn snapshot_at_rest(&self) -> Option<Arc<Snapshot>> {
        self.state.try_lock().ok().map(|state| Arc::clone(&state.snapshot))
    }

    /// Installs the current members of the upstreams. Connections, tunnels, and pools of endpoints
    /// that stay are not disturbed. On an error nothing has changed.
    fn refresh(&self, state: &mut State) -> Result<(), StartError> {
        let before = Arc::clone(&state.snapshot);
        let members = self.services.discovery.members(&state.config);
        let pairs = members.iter().zip(&before.config.upstreams);
        let changed: Vec<_> = pairs.map(|(now, before)| *now != before.endpoints).collect();
        if !changed.contains(&true) {
            return Ok(());
        }
        let config = with_members(&before.config, members);
        let contexts = if needs_contexts(&config, &before.contexts) {
            let contexts = contexts(&self.services.keeper, &config)?;
            self.services.keeper.install(&contexts);
            Arc::new(contexts)
        } else {
            Arc::clone(&before.contexts)
        };
        let names = Names::new(&config, &self.services.registry);
        let (resolver, states) = (&self.services.resolver, &self.services.states);
        let snapshot = before.with_members(config, &changed, names, contexts, resolver, states);
        state.snapshot = Arc::new(snapshot);
        self.install(&state.snapshot, &mut [], &[]);
        Ok(())
    }

    /// Installs a snapshot on all cores, and waits until they use it.
    fn install(
        &self,
        snapshot: &Arc<Snapshot>,
        opened: &mut [OpenedListener],
        close: &[SocketAddr],
    ) {
        let (done, all_done) = mpsc::channel();
        for core in &self.cores {
            let command = Command::Install {
                snapshot: Arc::clone(snapshot),
                open: for_next_core(opened),
                close: close.to_vec(),
                done: done.clone(),
            };
            // A core that has ended takes no command; it is replaced with the process.
            let _ = core.commands.send(command);
        }
        drop(done);
        for _ in 0..self.cores.len() {
            match all_done.recv_timeout(INSTALL_TIME_MAX) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    tracing::error!("a core has not gone over to the new configuration in time");
                    break;
                }
            }
        }
        self.checks.install(snapshot.endpoints());
    }
}

/// Whether an upstream has got its first endpoint with TLS.
fn needs_contexts(config: &Config, contexts: &Contexts) -> bool {
    let mut pairs = config.upstreams.iter().zip(&contexts.upstreams);
    pairs.any(|(upstream, context)| context.is_none() && upstream.endpoints.iter().any(|e| e.tls))
}

fn core_count(config: &Config) -> usize {
    config.process.cores.map_or_else(net::usable_cores, usize::from).max(1)
}
