//! Open connections to upstreams: idle ones of HTTP/1, kept for reuse, and those of HTTP/2.
//!
//! A connection enters a [`Pool`] by [`Pool::put`] once its response is complete, and leaves by [`Pool::take`]
//! or when it has idled too long, or lived. Each core has its own pools, without locks; a pool belongs to an
//! endpoint's address, so that it outlives a reload of the configuration. Connections that a core does not
//! need are shared with the others (`shared_idle`).
//! Not here: choosing an endpoint (`balance`), when a request is sent again (`attempt::settle`), dialling and
//! opening connections ahead (`upstream`).
//! Invariant: a pooled connection has no unread bytes. One that does is closed, never pooled. No client has
//! logged in over it (`login`).

mod connection;
mod http2;
mod shared_idle;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::PoolSettings;
use net::{Stream, TICK_DEFAULT};
use observe::{CoreMetrics, EndpointSlot};
use shared_idle::DetachedConnection;
use tokio::time::Instant;

pub(crate) use connection::{Connection, Expiry, Meter};
pub(crate) use http2::{
    Acquisition, Http2Connection, Http2Pool, KnownProtocol, StreamNeeds, StreamPermit, h2_failed,
};
pub(crate) use shared_idle::{AheadOpening, SharedIdle};

/// Shortest idle time that is learned from an endpoint that closes early.
const IDLE_LEARNED_MIN: Duration = Duration::from_millis(20);

/// The most connections that a pool shares within one tick: 2 µs each.
const SHARED_PER_TICK_MAX: usize = 64;
/// Connections to one endpoint that a core opens ahead at once.
const AHEAD_MAX: usize = 8;
/// How long no connection is opened ahead after a failure; it doubles with each further one.
const AHEAD_PAUSE: Duration = Duration::from_secs(1);
const AHEAD_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A connection in the pool, which no client uses: without the fields that only a used one needs.
struct Idle {
    stream: Stream,
    address: Option<SocketAddr>,
    expiry: Expiry,
    names_version: u64,
    meter: Option<Meter>,
    since: Instant,
}

impl Idle {
    /// From a connection whose client is done with it.
    fn new(connection: Connection, since: Instant) -> Self {
        let Connection { stream, address, expiry, names_version, meter, .. } = connection;
        if let Some(meter) = &meter {
            meter.count_idle(true);
        }
        Self { stream, address, expiry, names_version, meter, since }
    }

    fn reuse(self) -> Connection {
        let Self { stream, address, expiry, names_version, meter, .. } = self;
        let connection = Connection::fresh(stream, address);
        Connection { reused: true, expiry, names_version, meter, ..connection }
    }

    /// Counts that the connection leaves the pool.
    fn count_leave(&self) {
        if let Some(meter) = &self.meter {
            meter.count_idle(false);
        }
    }
}

/// What a pool shares with those of the other cores.
pub(crate) struct PoolSharing {
    pub(crate) shared_idle: Arc<SharedIdle>,
    pub(crate) core: usize,
    pub(crate) cores: usize,
    pub(crate) metrics: Rc<CoreMetrics>,
}

impl PoolSharing {
    /// Closes a connection that was shared.
    fn close(&self, detached: DetachedConnection) {
        drop(detached.slot.map(|slot| self.count_unshared(slot, false)));
        detached.stream.close();
    }

    /// Counts a connection on this core that was shared.
    fn count_unshared(&self, slot: EndpointSlot, moved: bool) -> Meter {
        self.metrics.upstream_unpooled(slot);
        self.metrics.upstream_unshared(slot);
        if moved {
            self.metrics.upstream_moved(slot);
        }
        Meter::continued(&self.metrics, slot)
    }
}

/// The results of opening connections ahead.
#[derive(Clone, Copy, Default)]
struct AheadHistory {
    /// Failures since the last success.
    failures: u32,
    /// No connection is opened ahead before this.
    until: Option<Instant>,
    /// Whether the endpoint took requests when it was looked at last.
    was_up: bool,
}

/// The connections of one endpoint on one core: idle ones of HTTP/1, of which the one used last is
/// taken first, and those of HTTP/2.
pub(crate) struct Pool {
    pub(crate) http2: Http2Pool,
    /// The oldest is in front.
    idle: RefCell<VecDeque<Idle>>,
    max: Cell<usize>,
    /// The least idle ones on all cores together.
    min: Cell<usize>,
    lifetime: Cell<Duration>,
    /// Whether other cores may take what idles here.
    steal: Cell<bool>,
    /// What it shares with other cores; `None` if nothing.
    sharing: Option<PoolSharing>,
    /// Whether it takes no more connections, as no new view has it.
    closed: Cell<bool>,
    /// How many idle ones the other cores know of.
    noted: Cell<usize>,
    ahead_history: Cell<AheadHistory>,
    /// How long a connection may have idled when it is taken, as set.
    allowed: Cell<Duration>,
    /// The same, as learned from an endpoint that closes earlier.
    learned: Cell<Duration>,
}

impl Pool {
    /// A pool of this core alone.
    pub(crate) fn new() -> Self {
        Self {
            http2: Http2Pool::default(),
            idle: RefCell::default(),
            max: Cell::new(1024),
            min: Cell::new(0),
            lifetime: Cell::new(Duration::ZERO),
            steal: Cell::new(false),
            sharing: None,
            closed: Cell::new(false),
            noted: Cell::new(0),
            ahead_history: Cell::default(),
            allowed: Cell::new(Duration::from_secs(4)),
            learned: Cell::new(Duration::from_secs(4)),
        }
    }

    /// A pool that shares connections with other cores.
    pub(crate) fn shared(sharing: PoolSharing) -> Self {
        Self { sharing: Some(sharing), ..Self::new() }
    }

    /// Applies the settings of a new snapshot.
    pub(crate) fn configure(&self, settings: &PoolSettings, allowed: Duration) {
        self.max.set(settings.max as usize);
        self.min.set(settings.min as usize);
        self.lifetime.set(settings.lifetime);
        let is_alone = self.sharing.as_ref().is_none_or(|sharing| sharing.cores < 2);
        self.steal.set(settings.steal && !is_alone);
        if self.allowed.replace(allowed) != allowed {
            self.learned.set(allowed);
        }
    }

    /// When a connection that is opened now expires.
    pub(crate) fn expiry(&self, now: Instant) -> Expiry {
        Expiry::within(now, self.lifetime.get())
    }

    /// A connection that can be used now and has idled no longer than `idle_max`. Those found closed or
    /// with unasked-for bytes are dropped.
    pub(crate) fn take(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        self.take_own(now, idle_max).or_else(|| self.take_shared(now, idle_max))
    }

    fn take_own(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(newest) = idle.pop_back() {
            newest.count_leave();
            let age = now.saturating_duration_since(newest.since);
            if age > self.learned.get().min(idle_max) {
                idle.drain(..).for_each(|older| older.count_leave());
                return None;
            }
            if newest.expiry.is_over(now) {
                continue;
            }
            if newest.stream.is_quiet() {
                return Some(newest.reuse());
            }
            self.learn_early_close(age);
        }
        None
    }

    /// Takes a connection that this core or another has shared.
    fn take_shared(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        let sharing = self.sharing.as_ref()?;
        loop {
            let detached = sharing.shared_idle.take()?;
            let age = now.saturating_duration_since(detached.since);
            if age > self.learned.get().min(idle_max) || detached.expiry.is_over(now) {
                sharing.close(detached);
                continue;
            }
            let DetachedConnection { stream, address, names_version, slot, expiry, core, since } =
                detached;
            let attached = stream.attach();
            let moved = attached.is_ok() && core != sharing.core;
            let meter = slot.map(|slot| sharing.count_unshared(slot, moved));
            match attached {
                Ok(stream) => {
                    let idle = Idle { stream, address, expiry, names_version, meter, since };
                    return Some(idle.reuse());
                }
                Err(_) => self.learn_early_close(age),
            }
        }
    }

    /// Shares connections that were not needed for a tick. Called at each tick.
    pub(crate) fn share(&self, now: Instant) {
        let Some(sharing) = &self.sharing else { return };
        let mut idle = self.idle.borrow_mut();
        if self.steal.get() {
            let is_due = |idle: &&Idle| now.saturating_duration_since(idle.since) >= TICK_DEFAULT;
            let due = idle.iter().take(SHARED_PER_TICK_MAX).take_while(is_due).count();
            let mut stay = Vec::new();
            let mut leave = Vec::with_capacity(due);
            idle.drain(..due).for_each(|it| detach(it, sharing, &mut leave, &mut stay));
            stay.into_iter().rev().for_each(|it| idle.push_front(it));
            let beyond = sharing.shared_idle.put(leave, idle.len(), self.max.get());
            beyond.into_iter().for_each(|detached| sharing.close(detached));
        }
        if self.min.get() > 0 {
            self.note(sharing, idle.len());
        }
    }

    /// Keeps a connection that was opened ahead.
    pub(crate) fn put_ahead(&self, connection: Connection, now: Instant, ahead: AheadOpening) {
        self.put(connection, now);
        if let Some(sharing) = &self.sharing {
            self.note(sharing, self.idle.borrow().len());
        }
        drop(ahead); // it is counted before
    }

    /// Tells the other cores how many idle ones there are here.
    fn note(&self, sharing: &PoolSharing, idle: usize) {
        if self.noted.replace(idle) != idle {
            sharing.shared_idle.note(sharing.core, idle);
        }
    }

    /// The connections to open ahead now. Called about once a second.
    pub(crate) fn missing(
        &self,
        now: Instant,
        is_up: bool,
        may_be_http2: bool,
    ) -> Vec<AheadOpening> {
        let Some(sharing) = &self.sharing else { return Vec::new() };
        let mut ahead_history = self.ahead_history.get();
        if is_up && !ahead_history.was_up {
            ahead_history = AheadHistory::default();
        }
        ahead_history.was_up = is_up;
        self.ahead_history.set(ahead_history);
        let is_kept = !self.learned.get().is_zero();
        let min = self.min.get().min(self.max.get().saturating_mul(sharing.cores));
        if min == 0 || !is_up || !is_kept || ahead_history.until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.note(sharing, self.idle.borrow().len());
        if may_be_http2 && self.http2.known_protocol.get() != KnownProtocol::Http1 {
            // One HTTP/2 connection does the work of many of HTTP/1, for the core that has it.
            let wanted = sharing.core < min && self.http2.len() == 0;
            return if wanted { sharing.shared_idle.one_ahead(sharing.core) } else { Vec::new() };
        }
        // After a failure, one attempt shows whether the endpoint is back.
        let at_once = if ahead_history.failures > 0 { 1 } else { AHEAD_MAX };
        sharing.shared_idle.missing(sharing.core, min, at_once, self.steal.get())
    }

    /// Notes that a connection was opened ahead, or could not be.
    pub(crate) fn note_ahead(&self, now: Instant, well: bool) {
        let before = self.ahead_history.get();
        let failures = if well { 0 } else { before.failures.saturating_add(1) };
        let pause = AHEAD_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(6));
        let until = (!well).then(|| now + pause.min(AHEAD_PAUSE_MAX));
        self.ahead_history.set(AheadHistory { failures, until, ..before });
    }

    /// Keeps a connection whose response is complete.
    pub(crate) fn put(&self, connection: Connection, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let max = self.max.get();
        debug_assert!(!connection.bound, "nobody else may have it");
        let is_kept =
            max > 0 && !connection.bound && !self.closed.get() && !self.learned.get().is_zero();
        if !is_kept || connection.expiry.is_over(now) {
            return;
        }
        if idle.len() >= max
            && let Some(oldest) = idle.pop_front()
        {
            oldest.count_leave();
        }
        idle.push_back(Idle::new(connection, now));
    }

    /// Learns that the endpoint closed a connection that had idled for `age`.
    pub(crate) fn learn_early_close(&self, age: Duration) {
        let learned = self.learned.get().min(age.mul_f32(0.8)).max(IDLE_LEARNED_MIN);
        self.learned.set(learned);
    }

    /// Learns from `Keep-Alive: timeout=…`: we stay a second below it.
    pub(crate) fn announce_keep_alive(&self, timeout: Duration) {
        let below = timeout.saturating_sub(Duration::from_secs(1)).max(IDLE_LEARNED_MIN);
        self.learned.set(self.learned.get().min(below));
    }

    /// Drops connections that idled too long or were closed by the endpoint, and forgets a little
    /// of what was learned, so that one early close does not count for ever. Called about once a
    /// second.
    pub(crate) fn sweep(&self, now: Instant) {
        let learned = self.learned.get();
        let keep = |idle: &Idle| {
            let age = now.saturating_duration_since(idle.since);
            let is_over = idle.expiry.is_over(now);
            let keep = age <= learned && !is_over && idle.stream.is_quiet();
            if !keep {
                idle.count_leave();
            }
            keep
        };
        self.idle.borrow_mut().retain(keep);
        self.http2.sweep(now, self.allowed.get());
        if let Some(sharing) = &self.sharing {
            let fit = |detached: &DetachedConnection| {
                let age = now.saturating_duration_since(detached.since);
                age <= learned && !detached.expiry.is_over(now) && detached.stream.is_quiet()
            };
            sharing.shared_idle.sweep(now, fit).into_iter().for_each(|unfit| sharing.close(unfit));
        }
        let grown = learned.mul_f32(1.05).saturating_add(Duration::from_millis(1));
        self.learned.set(grown.min(self.allowed.get()));
    }

    /// How many connections this core keeps.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len() + self.http2.len()
    }

    /// Closes all connections, those of HTTP/2 after their last exchange; also those that running
    /// exchanges may still open.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.http2.close();
        self.clear();
    }

    /// The same as [`clear`](Self::clear); returns how many there were.
    pub(crate) fn close_idle(&self) -> usize {
        let count = self.idle.borrow().len();
        let detached = self.sharing.as_ref().map_or(0, |sharing| sharing.shared_idle.count());
        self.clear();
        count + detached
    }

    /// Closes idle connections of HTTP/1, also the shared ones.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().drain(..).for_each(|idle| idle.count_leave());
        if let Some(sharing) = &self.sharing {
            sharing.shared_idle.drain().into_iter().for_each(|detached| sharing.close(detached));
        }
    }
}

/// Detaches an idle connection from this core. If that cannot be done, it stays, unless it has been
/// closed.
fn detach(
    idle: Idle,
    sharing: &PoolSharing,
    leave: &mut Vec<DetachedConnection>,
    stay: &mut Vec<Idle>,
) {
    let Idle { stream, address, expiry, names_version, meter, since } = idle;
    match stream.detach() {
        Ok(stream) => {
            let slot = meter.map(Meter::leave);
            if let Some(slot) = slot {
                sharing.metrics.upstream_shared(slot);
            }
            let core = sharing.core;
            leave.push(DetachedConnection {
                stream,
                address,
                names_version,
                slot,
                expiry,
                since,
                core,
            });
        }
        Err(stream) => {
            let idle = Idle { stream, address, expiry, names_version, meter, since };
            if idle.stream.is_quiet() {
                stay.push(idle);
            } else {
                idle.count_leave();
            }
        }
    }
}

#[cfg(test)]
mod tests;
