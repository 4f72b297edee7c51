//! Connections to upstreams: idle ones kept for reuse, new ones dialled.
//!
//! A connection enters a [`Pool`] by [`Pool::put`] once its response is complete, and leaves by
//! [`Pool::take`] or when it has idled too long, or lived. Each core has its own pools, without locks;
//! a pool belongs to an endpoint's address, so that it outlives a reload of the configuration. What a
//! core does not need goes where any core may take it (`shelf`).
//! Not here: choosing an endpoint (`balance`), when a request is sent again (`exchange`), dialling
//! (`way`), opening connections ahead (`ahead`).
//! Invariant: a pooled connection has no unread bytes. One that does is closed, never pooled. Nobody has logged in over
//! it (`login`).

mod connection;
mod http2;
mod shelf;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::PoolSettings;
use net::{Stream, TICK_DEFAULT};
use observe::{CoreMetrics, EndpointSlot};
use shelf::Shelved;
use tokio::time::Instant;

pub(crate) use connection::{Connection, Ends, Meter};
pub(crate) use http2::{Acquired, Multiplexed, Multiplexer, Spoken, Ticket, Wanted, h2_failed};
pub(crate) use shelf::{Ahead, Shelf};

/// Shortest idle time that is learned from an endpoint that closes early.
const IDLE_LEARNED_MIN: Duration = Duration::from_millis(20);

/// Connections that go from a pool to the shelf within one tick, at most: 2 µs each.
const SHELVED_MAX: usize = 64;
/// Connections to one endpoint that a core opens ahead at once.
const AHEAD_MAX: usize = 8;
/// How long no connection is opened ahead after one failed; twice as long after each further one.
const AHEAD_PAUSE: Duration = Duration::from_secs(1);
const AHEAD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A connection in the pool, which no client has: without what only one in use needs.
struct Idle {
    stream: Stream,
    address: Option<SocketAddr>,
    ends: Ends,
    names_version: u64,
    meter: Option<Meter>,
    since: Instant,
}

impl Idle {
    /// Its client has it no more.
    fn new(connection: Connection, since: Instant) -> Self {
        let Connection { stream, address, ends, names_version, meter, .. } = connection;
        if let Some(meter) = &meter {
            meter.idles(true);
        }
        Self { stream, address, ends, names_version, meter, since }
    }

    fn reuse(self) -> Connection {
        let Self { stream, address, ends, names_version, meter, .. } = self;
        let connection = Connection::fresh(stream, address);
        Connection { reused: true, ends, names_version, meter, ..connection }
    }

    /// An idle connection is in the pool exactly as long as it is counted there.
    fn leaves(&self) {
        if let Some(meter) = &self.meter {
            meter.idles(false);
        }
    }
}

/// What a pool has in common with those of the other cores.
pub(crate) struct Common {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) core: usize,
    pub(crate) cores: usize,
    pub(crate) metrics: Rc<CoreMetrics>,
}

impl Common {
    /// Closes one that was on the shelf.
    fn close(&self, shelved: Shelved) {
        drop(shelved.slot.map(|slot| self.arrived(slot, false)));
        shelved.stream.close();
    }

    /// Counts one here that was on the shelf.
    fn arrived(&self, slot: EndpointSlot, moved: bool) -> Meter {
        self.metrics.upstream_unpooled(slot);
        self.metrics.upstream_unshelved(slot);
        if moved {
            self.metrics.upstream_moved(slot);
        }
        Meter::carried_on(&self.metrics, slot)
    }
}

/// How connections that are opened ahead have fared.
#[derive(Clone, Copy, Default)]
struct Fared {
    /// Failures since the last success.
    failures: u32,
    /// No more are opened before.
    until: Option<Instant>,
    /// Whether the endpoint took requests when it was looked at last.
    was_up: bool,
}

/// Connections of one endpoint on one core: idle ones of HTTP/1, the one used last first, and those
/// of HTTP/2.
pub(crate) struct Pool {
    pub(crate) http2: Multiplexer,
    /// The oldest in front.
    idle: RefCell<VecDeque<Idle>>,
    max: Cell<usize>,
    /// Idle ones wanted on all cores together, whatever comes.
    min: Cell<usize>,
    lifetime: Cell<Duration>,
    /// Whether other cores may take what idles here.
    steal: Cell<bool>,
    /// What other cores know of it; `None` where they need not.
    common: Option<Common>,
    /// Whether nobody comes for its connections any more: no view that begins has it.
    closed: Cell<bool>,
    /// How many idle ones they were told of.
    noted: Cell<usize>,
    fared: Cell<Fared>,
    /// How long a connection may have idled when it is taken, as set.
    allowed: Cell<Duration>,
    /// The same, as the endpoint taught us by closing earlier.
    learned: Cell<Duration>,
}

impl Pool {
    /// One of this core alone.
    pub(crate) fn new() -> Self {
        Self {
            http2: Multiplexer::default(),
            idle: RefCell::default(),
            max: Cell::new(1024),
            min: Cell::new(0),
            lifetime: Cell::new(Duration::ZERO),
            steal: Cell::new(false),
            common: None,
            closed: Cell::new(false),
            noted: Cell::new(0),
            fared: Cell::default(),
            allowed: Cell::new(Duration::from_secs(4)),
            learned: Cell::new(Duration::from_secs(4)),
        }
    }

    /// One with a shelf.
    pub(crate) fn with(common: Common) -> Self {
        Self { common: Some(common), ..Self::new() }
    }

    /// Applies the settings of a new snapshot.
    pub(crate) fn configure(&self, settings: &PoolSettings, allowed: Duration) {
        self.max.set(settings.max as usize);
        self.min.set(settings.min as usize);
        self.lifetime.set(settings.lifetime);
        let is_alone = self.common.as_ref().is_none_or(|common| common.cores < 2);
        self.steal.set(settings.steal && !is_alone);
        if self.allowed.replace(allowed) != allowed {
            self.learned.set(allowed);
        }
    }

    /// When a connection that is opened now is not to be used any more.
    pub(crate) fn ends(&self, now: Instant) -> Ends {
        Ends::within(now, self.lifetime.get())
    }

    /// A connection that can be used now and has idled no longer than `idle_max`. Those found closed or
    /// with unasked-for bytes are dropped.
    pub(crate) fn take(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        self.take_own(now, idle_max).or_else(|| self.take_shelved(now, idle_max))
    }

    fn take_own(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(newest) = idle.pop_back() {
            newest.leaves();
            let age = now.saturating_duration_since(newest.since);
            if age > self.learned.get().min(idle_max) {
                idle.drain(..).for_each(|older| older.leaves());
                return None;
            }
            if newest.ends.is_over(now) {
                continue;
            }
            if newest.stream.is_quiet() {
                return Some(newest.reuse());
            }
            self.closed_early(age);
        }
        None
    }

    /// One that this core or another did not need.
    fn take_shelved(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        let common = self.common.as_ref()?;
        loop {
            let shelved = common.shelf.take()?;
            let age = now.saturating_duration_since(shelved.since);
            if age > self.learned.get().min(idle_max) || shelved.ends.is_over(now) {
                common.close(shelved);
                continue;
            }
            let Shelved { stream, address, names_version, slot, ends, core, since } = shelved;
            let attached = stream.attach();
            let moved = attached.is_ok() && core != common.core;
            let meter = slot.map(|slot| common.arrived(slot, moved));
            match attached {
                Ok(stream) => {
                    let idle = Idle { stream, address, ends, names_version, meter, since };
                    return Some(idle.reuse());
                }
                Err(_) => self.closed_early(age),
            }
        }
    }

    /// Puts on the shelf what has not been needed for a tick. To be called at each.
    pub(crate) fn share(&self, now: Instant) {
        let Some(common) = &self.common else { return };
        let mut idle = self.idle.borrow_mut();
        if self.steal.get() {
            let is_due = |idle: &&Idle| now.saturating_duration_since(idle.since) >= TICK_DEFAULT;
            let due = idle.iter().take(SHELVED_MAX).take_while(is_due).count();
            let mut stay = Vec::new();
            let mut leave = Vec::with_capacity(due);
            idle.drain(..due).for_each(|it| shelve(it, common, &mut leave, &mut stay));
            stay.into_iter().rev().for_each(|it| idle.push_front(it));
            let beyond = common.shelf.put(leave, idle.len(), self.max.get());
            beyond.into_iter().for_each(|shelved| common.close(shelved));
        }
        if self.min.get() > 0 {
            self.note(common, idle.len());
        }
    }

    /// Keeps a connection that was opened ahead.
    pub(crate) fn put_ahead(&self, connection: Connection, now: Instant, ahead: Ahead) {
        self.put(connection, now);
        if let Some(common) = &self.common {
            self.note(common, self.idle.borrow().len());
        }
        drop(ahead); // it is counted before
    }

    /// Tells the other cores how many idle ones there are here.
    fn note(&self, common: &Common, idle: usize) {
        if self.noted.replace(idle) != idle {
            common.shelf.note(common.core, idle);
        }
    }

    /// How many connections are to be opened ahead now. To be called about once a second.
    pub(crate) fn missing(&self, now: Instant, is_up: bool, may_be_http2: bool) -> Vec<Ahead> {
        let Some(common) = &self.common else { return Vec::new() };
        let mut fared = self.fared.get();
        if is_up && !fared.was_up {
            fared = Fared::default();
        }
        fared.was_up = is_up;
        self.fared.set(fared);
        let is_kept = !self.learned.get().is_zero();
        let min = self.min.get().min(self.max.get().saturating_mul(common.cores));
        if min == 0 || !is_up || !is_kept || fared.until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.note(common, self.idle.borrow().len());
        if may_be_http2 && self.http2.spoken.get() != Spoken::Http1 {
            // One carries what many of HTTP/1 do; it serves the core that has it.
            let wanted = common.core < min && self.http2.len() == 0;
            return if wanted { common.shelf.one_ahead(common.core) } else { Vec::new() };
        }
        // After a failure one tells whether it goes on.
        let at_once = if fared.failures > 0 { 1 } else { AHEAD_MAX };
        common.shelf.missing(common.core, min, at_once, self.steal.get())
    }

    /// A connection was opened ahead, or could not be.
    pub(crate) fn fared(&self, now: Instant, well: bool) {
        let before = self.fared.get();
        let failures = if well { 0 } else { before.failures.saturating_add(1) };
        let pause = AHEAD_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(6));
        let until = (!well).then(|| now + pause.min(AHEAD_PAUSE_MAX));
        self.fared.set(Fared { failures, until, ..before });
    }

    /// Keeps a connection whose response is complete.
    pub(crate) fn put(&self, connection: Connection, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let max = self.max.get();
        debug_assert!(!connection.bound, "nobody else may have it");
        let is_kept =
            max > 0 && !connection.bound && !self.closed.get() && !self.learned.get().is_zero();
        if !is_kept || connection.ends.is_over(now) {
            return;
        }
        if idle.len() >= max
            && let Some(oldest) = idle.pop_front()
        {
            oldest.leaves();
        }
        idle.push_back(Idle::new(connection, now));
    }

    /// Learns that the endpoint closed a connection that had idled for `age`.
    pub(crate) fn closed_early(&self, age: Duration) {
        let learned = self.learned.get().min(age.mul_f32(0.8)).max(IDLE_LEARNED_MIN);
        self.learned.set(learned);
    }

    /// Learns from `Keep-Alive: timeout=…`: we stay a second below it.
    pub(crate) fn announced(&self, timeout: Duration) {
        let below = timeout.saturating_sub(Duration::from_secs(1)).max(IDLE_LEARNED_MIN);
        self.learned.set(self.learned.get().min(below));
    }

    /// Drops what idled too long or was closed by the endpoint, and forgets a little of what was
    /// learned, so that one early close does not count for ever. To be called about once a second.
    pub(crate) fn sweep(&self, now: Instant) {
        let learned = self.learned.get();
        let keep = |idle: &Idle| {
            let age = now.saturating_duration_since(idle.since);
            let is_over = idle.ends.is_over(now);
            let keep = age <= learned && !is_over && idle.stream.is_quiet();
            if !keep {
                idle.leaves();
            }
            keep
        };
        self.idle.borrow_mut().retain(keep);
        self.http2.sweep(now, self.allowed.get());
        if let Some(common) = &self.common {
            let fit = |shelved: &Shelved| {
                let age = now.saturating_duration_since(shelved.since);
                age <= learned && !shelved.ends.is_over(now) && shelved.stream.is_quiet()
            };
            common.shelf.sweep(now, fit).into_iter().for_each(|unfit| common.close(unfit));
        }
        let grown = learned.mul_f32(1.05).saturating_add(Duration::from_millis(1));
        self.learned.set(grown.min(self.allowed.get()));
    }

    /// How many connections this core keeps.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len() + self.http2.len()
    }

    /// Closes all, those of HTTP/2 after their last exchange, and those to come: exchanges that began
    /// before may still open some.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.http2.close();
        self.clear();
    }

    /// The same as [`clear`](Self::clear); answers how many there were.
    pub(crate) fn close_idle(&self) -> usize {
        let count = self.idle.borrow().len();
        let shelved = self.common.as_ref().map_or(0, |common| common.shelf.count());
        self.clear();
        count + shelved
    }

    /// Closes idle connections of HTTP/1, those on the shelf too.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().drain(..).for_each(|idle| idle.leaves());
        if let Some(common) = &self.common {
            common.shelf.drain().into_iter().for_each(|shelved| common.close(shelved));
        }
    }
}

/// Takes an idle connection out of this core: it leaves, or stays as it cannot; or it has been closed.
fn shelve(idle: Idle, common: &Common, leave: &mut Vec<Shelved>, stay: &mut Vec<Idle>) {
    let Idle { stream, address, ends, names_version, meter, since } = idle;
    match stream.detach() {
        Ok(stream) => {
            let slot = meter.map(Meter::leave);
            if let Some(slot) = slot {
                common.metrics.upstream_shelved(slot);
            }
            let core = common.core;
            leave.push(Shelved { stream, address, names_version, slot, ends, since, core });
        }
        Err(stream) => {
            let idle = Idle { stream, address, ends, names_version, meter, since };
            if idle.stream.is_quiet() {
                stay.push(idle);
            } else {
                idle.leaves();
            }
        }
    }
}

#[cfg(test)]
mod tests;
