//! The counters of the whole process.
//!
//! One [`Registry`] lives as long as the process. It assigns slots to names (the same slot for
//! the same name, whatever is reloaded), knows the cells of every core and what is counted by the
//! control thread, and is scraped by [`Registry::render`]. Slots of endpoints that are gone are given
//! out again (`reuse`).
//! Invariant: a family has a bounded number of series. Names beyond a cap share the slot `other`.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::counter::SharedCounter;
use super::exposition::Exposition;
use super::families;
use super::labels::named_values;
use super::metrics::{CoreCells, EndpointSlot, ListenerSlot, ScopeSlot};
use super::recent::{History, Recent};
use super::record::CacheOutcome;
use super::report::{CacheCounts, CacheReport, UpstreamReport};
use super::reuse::{Hold, Holds, SERIES_KEPT};

/// How many names of a kind have series of their own in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Sites and forward listeners.
    pub scopes: u32,
    /// Listening addresses.
    pub listeners: u32,
    /// Endpoints, of all upstreams together.
    pub endpoints: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { scopes: 1000, listeners: 1000, endpoints: 10_000 }
    }
}

named_values! {
    /// How a look-up of a name ended.
    pub enum LookupResult {
        /// With addresses, from a name server.
        Answered = "answered";
        /// With addresses that were known already.
        Cached = "cached";
        /// There is no such name, or it has no address.
        NotFound = "not_found";
        /// No name server answered in time.
        TimedOut = "timed_out";
        /// Anything else.
        Failed = "failed";
    }
}

/// What happened to lines of the access log.
#[derive(Debug, Default)]
pub struct LogCounters {
    pub(crate) written: SharedCounter,
    pub(crate) dropped_queue_full: SharedCounter,
    pub(crate) dropped_write_failed: SharedCounter,
}

impl LogCounters {
    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Lines dropped by a core because the writer had not kept up.
    pub fn dropped_queue_full(&self) -> u64 {
        self.dropped_queue_full.get()
    }

    /// Lines dropped by the writer because they could not be written.
    pub fn dropped_write_failed(&self) -> u64 {
        self.dropped_write_failed.get()
    }
}

/// Names and the slots they have.
#[derive(Debug)]
pub(crate) struct Interner {
    /// By slot; `None` for those that are free.
    labels: Vec<Option<[Box<str>; 2]>>,
    slots: HashMap<[Box<str>; 2], u32>,
    free: Vec<u32>,
    cap: u32,
}

impl Interner {
    fn new(cap: u32) -> Self {
        let other = ["other".into(), "other".into()];
        // Not in `slots`: a name that happens to be `other` gets a slot of its own.
        Self { labels: vec![Some(other)], slots: HashMap::new(), free: Vec::new(), cap }
    }

    /// The slot of a name; the first one if there is none left.
    fn slot(&mut self, first: &str, second: &str) -> u32 {
        let key: [Box<str>; 2] = [first.into(), second.into()];
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.len() > self.cap => return 0,
            None => {
                self.labels.push(None);
                self.len() - 1
            }
        };
        if let Some(labels) = self.labels.get_mut(slot as usize) {
            *labels = Some(key.clone());
        }
        self.slots.insert(key, slot);
        slot
    }

    /// How many slots there are, free ones too.
    pub(crate) fn len(&self) -> u32 {
        self.labels.len() as u32
    }

    /// Whether a slot is a name's.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.labels.get(slot as usize).is_some_and(Option::is_some)
    }

    /// Takes a slot from its name.
    pub(crate) fn free(&mut self, slot: u32) {
        if let Some(labels) = self.labels.get_mut(slot as usize).and_then(Option::take) {
            self.slots.remove(&labels);
            self.free.push(slot);
        }
    }

    /// Every slot that is a name's, with its labels.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[Box<str>; 2])> {
        (0..).zip(&self.labels).filter_map(|(slot, labels)| Some((slot, labels.as_ref()?)))
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) scopes: Interner,
    pub(crate) listeners: Interner,
    pub(crate) endpoints: Interner,
    pub(crate) holds: Holds,
    pub(crate) cores: Vec<Arc<CoreCells>>,
}

/// What is counted rarely enough to be shared.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) panics: SharedCounter,
    pub(crate) reloads_ok: SharedCounter,
    pub(crate) reloads_failed: SharedCounter,
    pub(crate) reload_ok_at_unix: SharedCounter,
    pub(crate) generation: SharedCounter,
    pub(crate) lookups: [SharedCounter; LookupResult::ALL.len()],
}

/// The counters of the whole process.
#[derive(Debug)]
pub struct Registry {
    pub(crate) caps: Caps,
    pub(crate) shared: Shared,
    pub(crate) log: Arc<LogCounters>,
    pub(crate) started: Instant,
    pub(crate) started_unix: f64,
    pub(crate) version: &'static str,
    scrapes: AtomicU64,
    history: History,
    cache: CacheSource,
    state: Mutex<State>,
}

/// Where the numbers of the cache come from, once there is one.
#[derive(Default)]
struct CacheSource(OnceLock<Box<dyn Fn() -> CacheReport + Send + Sync>>);

impl fmt::Debug for CacheSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("CacheSource").field(&self.0.get().is_some()).finish()
    }
}

impl Registry {
    /// An empty registry for a process that starts now. `version` is the program's.
    pub fn new(version: &'static str, caps: Caps) -> Arc<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            scopes: Interner::new(caps.scopes),
            listeners: Interner::new(caps.listeners),
            endpoints: Interner::new(caps.endpoints),
            holds: Holds::default(),
            cores: Vec::new(),
        };
        let registry = Arc::new(Self {
            caps,
            shared: Shared::default(),
            log: Arc::default(),
            started: Instant::now(),
            started_unix: now.as_secs_f64(),
            version,
            scrapes: AtomicU64::new(0),
            history: History::default(),
            cache: CacheSource::default(),
            state: Mutex::new(state),
        });
        registry.shared.reload_ok_at_unix.set(now.as_secs());
        registry
    }

    /// Where the access log counts its lines.
    pub fn log_counters(&self) -> Arc<LogCounters> {
        Arc::clone(&self.log)
    }

    /// Counts a panic that ended a connection.
    pub fn count_panic(&self) {
        self.shared.panics.add(1);
    }

    /// Counts a configuration that took effect; `generation` counts them from 1.
    pub fn configured(&self, generation: u64) {
        if generation > 1 {
            self.shared.reloads_ok.add(1);
        }
        self.shared.generation.set(generation);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.shared.reload_ok_at_unix.set(now.as_secs());
    }

    /// Counts a reload that was refused; the old configuration goes on.
    pub fn reload_failed(&self) {
        self.shared.reloads_failed.add(1);
    }

    /// Counts a look-up.
    pub fn lookup_done(&self, result: LookupResult) {
        if let Some(lookups) = self.shared.lookups.get(result as usize) {
            lookups.add(1);
        }
    }

    /// Remembers the sums of endpoints for [`Self::recent`], and drops the series of endpoints that were
    /// removed five minutes ago. To be called about once a second.
    pub fn remember(&self, now: Instant) {
        let mut state = self.state();
        let freed = state.free_unused(now, SERIES_KEPT, &[]);
        self.history.forget(&freed);
        self.history.remember(&state, now);
    }

    /// Recent rates and quantiles of an endpoint; nothing is known of those beyond the cap.
    pub fn recent(&self, endpoint: EndpointSlot, now: Instant) -> Recent {
        match endpoint.0 {
            0 => Recent::default(),
            slot => self.history.recent(&self.state(), slot, now),
        }
    }

    /// Tells where the numbers of the cache's store come from. There is one store as long as the process lives: a
    /// second call changes nothing.
    pub fn watch_cache(&self, report: impl Fn() -> CacheReport + Send + Sync + 'static) {
        let _ = self.cache.0.set(Box::new(report));
    }

    /// The numbers of the cache's store, if there is one.
    pub fn cache_report(&self) -> Option<CacheReport> {
        self.cache.0.get().map(|report| report())
    }

    /// What the cache did, by site and forward listener; those that it had nothing to do with are left out.
    pub fn cache_counts(&self) -> Vec<CacheCounts> {
        let state = self.state();
        let counts = state.scopes.iter().filter_map(|(slot, [direction, scope])| {
            let (mut outcomes, mut served_bytes) = ([0; CacheOutcome::ALL.len()], 0_u64);
            for cells in state.cores.iter().filter_map(|core| core.scopes.get(slot)) {
                for (sum, counter) in outcomes.iter_mut().zip(&cells.cache) {
                    *sum = u64::wrapping_add(*sum, counter.get());
                }
                served_bytes = served_bytes.wrapping_add(cells.cache_bytes.get());
            }
            let (direction, scope) = (direction.clone(), scope.clone());
            let has_any = outcomes.iter().any(|count| *count > 0);
            has_any.then_some(CacheCounts { direction, scope, outcomes, served_bytes })
        });
        counts.collect()
    }

    /// All metrics as text, in the form that the caller negotiated.
    pub fn render(&self, form: Exposition, upstreams: &[UpstreamReport]) -> String {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        families::render(self, form, upstreams)
    }

    pub(crate) fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_core(&self) -> Arc<CoreCells> {
        let cells = Arc::new(CoreCells::new(self.caps));
        let mut state = self.state();
        (0..state.scopes.len()).for_each(|slot| cells.scopes.ensure(slot));
        (0..state.listeners.len()).for_each(|slot| cells.listeners.ensure(slot));
        (0..state.endpoints.len()).for_each(|slot| cells.endpoints.ensure(slot));
        state.cores.push(Arc::clone(&cells));
        cells
    }

    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots { registry: self, state: self.state(), endpoints: Vec::new(), has_freed: false }
    }
}

/// Assigns slots while a snapshot is compiled.
pub(crate) struct Slots<'r> {
    registry: &'r Registry,
    state: MutexGuard<'r, State>,
    /// Those assigned to endpoints.
    endpoints: Vec<u32>,
    /// Whether unused slots have been freed already.
    has_freed: bool,
}

impl Slots<'_> {
    pub(crate) fn scope(&mut self, direction: &str, name: &str) -> ScopeSlot {
        let slot = self.state.scopes.slot(direction, name);
        self.state.cores.iter().for_each(|core| core.scopes.ensure(slot));
        ScopeSlot(slot)
    }

    pub(crate) fn listener(&mut self, written: &str) -> ListenerSlot {
        let slot = self.state.listeners.slot(written, "");
        self.state.cores.iter().for_each(|core| core.listeners.ensure(slot));
        ListenerSlot(slot)
    }

    pub(crate) fn endpoint(&mut self, upstream: &str, endpoint: &str) -> EndpointSlot {
        let mut slot = self.state.endpoints.slot(upstream, endpoint);
        if slot == 0 && !std::mem::replace(&mut self.has_freed, true) {
            // Present endpoints matter more than the last series of removed ones.
            let freed = self.state.free_unused(Instant::now(), Duration::ZERO, &self.endpoints);
            self.registry.history.forget(&freed);
            slot = self.state.endpoints.slot(upstream, endpoint);
        }
        self.state.cores.iter().for_each(|core| core.endpoints.ensure(slot));
        self.endpoints.push(slot);
        EndpointSlot(slot)
    }

    /// Keeps the slots assigned to endpoints from being freed, until the hold is dropped.
    pub(crate) fn hold(mut self) -> Hold {
        let endpoints = std::mem::take(&mut self.endpoints);
        self.state.holds.hold(endpoints)
    }
}
