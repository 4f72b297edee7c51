//! Idle connections of an endpoint that any core may take.
//!
//! Each core keeps its own idle connections, without a lock. One that idles for a tick of the wheel is
//! more than the core needs now: it moves to the endpoint's [`SharedIdle`], and a core that would
//! otherwise open a connection takes it from there. So many cores reuse connections as often as one core
//! would, and none loses those that it uses all the time. Only HTTP/1 connections move, with their TLS;
//! those of HTTP/2 are few per core, and stay. The shared connections belong to a
//! `snapshot::PoolKey`, as pools do, and live as long as any of its pools. No task
//! watches them: whether one is still open and silent is checked when it is taken, and once a second. As
//! all cores count together, this module also decides how many connections are opened ahead (`pool
//! min`).
//! Invariant: the lock is held for a bounded time, and a request that finds an idle connection of its
//! own core never takes it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::DetachedStream;
use observe::EndpointSlot;
use tokio::time::Instant;

use super::connection::Expiry;

/// Connections checked in one go while the lock is held.
const LOOKED_AT_MAX: usize = 64;
/// Within this time only one core sweeps the shared connections.
const SWEPT_AGAIN: Duration = Duration::from_millis(900);

/// An idle connection that belongs to no core.
pub(crate) struct DetachedConnection {
    pub(crate) stream: DetachedStream,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) names_version: u64,
    pub(crate) slot: Option<EndpointSlot>,
    pub(crate) expiry: Expiry,
    pub(crate) since: Instant,
    /// The core that has put it here.
    pub(crate) core: usize,
}

/// The idle connections to one endpoint that all cores share.
pub(crate) struct SharedIdle {
    /// How many there are, to check before locking.
    len: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// Those put here last are at the back.
    detached: VecDeque<DetachedConnection>,
    /// By core.
    cores: Box<[CoreConnections]>,
    swept: Option<Instant>,
}

/// The connections of one core.
#[derive(Clone, Copy, Default)]
struct CoreConnections {
    /// Idle in its own pool, when it was counted last.
    own: usize,
    /// Shared, put here by it.
    detached: usize,
    /// Being opened ahead.
    opening: usize,
}

impl SharedIdle {
    pub(crate) fn new(cores: usize) -> Self {
        let cores = vec![CoreConnections::default(); cores].into();
        let state = State { detached: VecDeque::new(), cores, swept: None };
        Self { len: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the one put here last, if there is any.
    pub(crate) fn take(&self) -> Option<DetachedConnection> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state();
        let taken = state.detached.pop_back()?;
        self.removed(&mut state, &taken);
        Some(taken)
    }

    /// Adds connections, the one used last at the end. All are from the same core, which may have
    /// `max` in all and keeps `own` itself; of the excess, the oldest are returned.
    pub(crate) fn put(
        &self,
        mut new: Vec<DetachedConnection>,
        own: usize,
        max: usize,
    ) -> Vec<DetachedConnection> {
        let Some(core) = new.first().map(|first| first.core) else { return new };
        let mut state = self.state();
        let Some(connections) = state.cores.get_mut(core) else { return new };
        let room = max.saturating_sub(own).saturating_sub(connections.detached).min(new.len());
        let put = new.split_off(new.len() - room);
        connections.detached += put.len();
        state.detached.extend(put);
        self.len.store(state.detached.len(), Ordering::Relaxed);
        new
    }

    fn removed(&self, state: &mut State, detached: &DetachedConnection) {
        if let Some(connections) = state.cores.get_mut(detached.core) {
            connections.detached = connections.detached.saturating_sub(1);
        }
        self.len.store(state.detached.len(), Ordering::Relaxed);
    }

    /// Removes those that are no longer fit, once a second even if several cores call this.
    pub(crate) fn sweep(
        &self,
        now: Instant,
        fit: impl Fn(&DetachedConnection) -> bool,
    ) -> Vec<DetachedConnection> {
        let mut out = Vec::new();
        let mut index = 0;
        loop {
            let mut state = self.state();
            if index == 0 {
                let since = state.swept.map(|swept| now.saturating_duration_since(swept));
                if since.is_some_and(|since| since < SWEPT_AGAIN) || state.detached.is_empty() {
                    return out;
                }
                state.swept = Some(now);
            }
            for _ in 0..LOOKED_AT_MAX {
                match state.detached.get(index) {
                    None => return out,
                    Some(detached) if fit(detached) => index += 1,
                    Some(_) => {
                        let Some(unfit) = state.detached.remove(index) else { return out };
                        self.removed(&mut state, &unfit);
                        out.push(unfit);
                    }
                }
            }
        }
    }

    /// Removes all.
    pub(crate) fn drain(&self) -> Vec<DetachedConnection> {
        let mut state = self.state();
        let all: Vec<DetachedConnection> = state.detached.drain(..).collect();
        all.iter().for_each(|detached| self.removed(&mut state, detached));
        all
    }

    /// About how many there are.
    pub(crate) fn count(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Notes how many idle connections a core has itself.
    pub(crate) fn note(&self, core: usize, own: usize) {
        if let Some(connections) = self.state().cores.get_mut(core) {
            connections.own = own;
        }
    }

    /// The connections that a core has to open now so that there are `min` idle ones: on all cores
    /// together if they are `shared`, else the core's part of them. They count as idle until the
    /// result is dropped.
    pub(crate) fn missing(
        self: &Arc<Self>,
        core: usize,
        min: usize,
        at_once: usize,
        shared: bool,
    ) -> Vec<AheadOpening> {
        let mut state = self.state();
        let cores = state.cores.len();
        let wanted = if shared { min } else { (min + cores - 1 - core.min(cores - 1)) / cores };
        let there = if shared {
            state.cores.iter().map(|it| it.own + it.detached + it.opening).sum()
        } else {
            state.cores.get(core).map_or(0, |it| it.own + it.opening)
        };
        let count = wanted.saturating_sub(there).min(at_once);
        if let Some(connections) = state.cores.get_mut(core) {
            connections.opening += count;
        }
        (0..count).map(|_| AheadOpening { shared_idle: Arc::clone(self), core }).collect()
    }

    /// A connection that a core opens for itself alone, unless it is doing so already.
    pub(crate) fn one_ahead(self: &Arc<Self>, core: usize) -> Vec<AheadOpening> {
        let mut state = self.state();
        match state.cores.get_mut(core) {
            Some(connections) if connections.opening == 0 => {
                connections.opening = 1;
                vec![AheadOpening { shared_idle: Arc::clone(self), core }]
            }
            _ => Vec::new(),
        }
    }
}

/// Counts a connection that is being opened ahead, until it is dropped.
pub(crate) struct AheadOpening {
    shared_idle: Arc<SharedIdle>,
    core: usize,
}

impl Drop for AheadOpening {
    fn drop(&mut self) {
        if let Some(connections) = self.shared_idle.state().cores.get_mut(self.core) {
            connections.opening = connections.opening.saturating_sub(1);
        }
    }
}
