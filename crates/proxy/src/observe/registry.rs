//! The counters of the whole process.
//!
//! One [`Registry`] lives as long as the process. It gives out slots for names (the same slot for
//! the same name, whatever is reloaded), knows the cells of every core and what is counted by the
//! control thread, and is scraped by [`Registry::render`].
//! Invariant: a family has a bounded number of series. Names beyond a cap share the slot `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::counter::SharedCounter;
use super::exposition::Exposition;
use super::families;
use super::metrics::{CoreCells, EndpointSlot, ListenerSlot, ScopeSlot};
use super::recent::{History, Recent};
use crate::report::UpstreamReport;

/// How many names of a kind are told apart in the metrics.
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

/// How a look-up of a name ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupResult {
    /// With addresses, from a name server.
    Answered,
    /// With addresses that were known already.
    Cached,
    /// There is no such name, or it has no address.
    NotFound,
    /// No name server answered in time.
    TimedOut,
    /// Anything else.
    Failed,
}

impl LookupResult {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] =
        [Self::Answered, Self::Cached, Self::NotFound, Self::TimedOut, Self::Failed];

    /// As in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cached => "cached",
            Self::NotFound => "not_found",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
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
    labels: Vec<[Box<str>; 2]>,
    slots: HashMap<[Box<str>; 2], u32>,
    cap: u32,
}

impl Interner {
    fn new(cap: u32) -> Self {
        let other = ["other".into(), "other".into()];
        // Not in `slots`: a name that happens to be `other` gets a slot of its own.
        Self { labels: vec![other], slots: HashMap::new(), cap }
    }

    fn slot(&mut self, first: &str, second: &str) -> u32 {
        let key: [Box<str>; 2] = [first.into(), second.into()];
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let slot = self.labels.len() as u32;
        if slot > self.cap {
            return 0;
        }
        self.labels.push(key.clone());
        self.slots.insert(key, slot);
        slot
    }

    /// Every slot with its labels.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[Box<str>; 2])> {
        (0..).zip(&self.labels)
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) scopes: Interner,
    pub(crate) listeners: Interner,
    pub(crate) endpoints: Interner,
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
    state: Mutex<State>,
}

impl Registry {
    /// An empty registry for a process that starts now. `version` is the program's.
    pub fn new(version: &'static str, caps: Caps) -> Arc<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            scopes: Interner::new(caps.scopes),
            listeners: Interner::new(caps.listeners),
            endpoints: Interner::new(caps.endpoints),
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
    pub fn panicked(&self) {
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

    /// Remembers how much has been counted for endpoints, if it is time to. To be called about once a
    /// second.
    pub fn remember(&self, now: Instant) {
        self.history.remember(&self.state(), now);
    }

    /// What the endpoint of a slot has been like of late; nothing is known of those beyond the cap.
    pub fn recent(&self, endpoint: EndpointSlot, now: Instant) -> Recent {
        match endpoint.0 {
            0 => Recent::default(),
            slot => self.history.recent(&self.state(), slot, now),
        }
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
        (0..state.scopes.labels.len()).for_each(|slot| cells.scopes.ensure(slot as u32));
        (0..state.listeners.labels.len()).for_each(|slot| cells.listeners.ensure(slot as u32));
        (0..state.endpoints.labels.len()).for_each(|slot| cells.endpoints.ensure(slot as u32));
        state.cores.push(Arc::clone(&cells));
        cells
    }

    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots { state: self.state() }
    }
}

/// Gives out slots while a snapshot is compiled.
pub(crate) struct Slots<'r> {
    state: MutexGuard<'r, State>,
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
        let slot = self.state.endpoints.slot(upstream, endpoint);
        self.state.cores.iter().for_each(|core| core.endpoints.ensure(slot));
        EndpointSlot(slot)
    }
}
