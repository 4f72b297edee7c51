//! A group of endpoints, as one snapshot has it, and the state of groups over all snapshots.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::{Config, Upstream};

use crate::adaptive::Limiter;
use crate::algorithm::{AlgorithmFactory, algorithm};
use crate::balancer::PickError;
use crate::budget::{Budget, BudgetUsage};
use crate::clock::millis;
use crate::ejection::{FailedTry, TryContext};
use crate::endpoint::{
    DOWN, DRAINING, EJECTED, EndpointState, EndpointStatus, PROBATION, UNREACHED, enter,
};
use crate::evidence::RequestOrigin;
use crate::outcome::{Outcome, Verdict};
use crate::quantile::FirstBytes;
use crate::queue::Queue;
use crate::tally::{Tally, Totals, per_core, total};
use crate::tiers::{Candidate, Plan, plan};

/// An endpoint of a group: its state, and its settings in the snapshot.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its state.
    pub state: Arc<EndpointState>,
    /// Its settings.
    pub settings: config::Endpoint,
}

impl Member {
    /// Its status.
    pub fn status(&self) -> EndpointStatus {
        match self.state.status() {
            EndpointStatus::Up | EndpointStatus::Ejected if self.settings.draining => {
                EndpointStatus::Draining
            }
            status => status,
        }
    }
}

/// What one core has of a group, over all snapshots.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CoreState {
    pub(crate) budget: Budget,
    pub(crate) first_bytes: FirstBytes,
    /// The outcomes of its requests, over all endpoints.
    pub(crate) tally: Tally,
}

/// A count that all cores write, on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Count(pub(crate) AtomicU32);

/// What all cores share of a group, over all snapshots.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct GroupState {
    version: AtomicU64,
    pub(crate) queue: Queue,
    pub(crate) limiter: Limiter,
    pub(crate) in_flight: Count,
    pub(crate) connecting: Count,
    cores: Mutex<Vec<Arc<CoreState>>>,
    core_count: AtomicU32,
    /// Held while endpoints are ejected, so that two cores together do not eject too many.
    pub(crate) ejecting: Mutex<()>,
}

impl GroupState {
    /// A number that grows whenever the set of eligible endpoints changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst) // see `queue`
    }

    /// Increments the version: the set of eligible endpoints has changed.
    pub fn bump_version(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.queue.change();
    }

    pub(crate) fn core(&self, core: usize) -> Arc<CoreState> {
        self.core_count.fetch_max(core as u32 + 1, Ordering::Relaxed);
        per_core(&self.cores, core)
    }

    /// How many cores there are.
    pub(crate) fn core_count(&self) -> u32 {
        self.core_count.load(Ordering::Relaxed)
    }

    /// What all cores have counted, of all endpoints.
    pub(crate) fn totals(&self) -> Totals {
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        total(cores.iter().map(|core| &core.tally))
    }

    fn cores(&self) -> Vec<Arc<CoreState>> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A group, as one snapshot has it.
pub struct Group {
    /// Its settings.
    pub settings: Upstream,
    /// Its endpoints, in the order of `settings.endpoints`.
    pub members: Box<[Member]>,
    /// What all cores share of it.
    pub state: Arc<GroupState>,
    pub(crate) factory: Arc<dyn AlgorithmFactory>,
    /// Whether the algorithm uses a key.
    pub by_key: bool,
    /// The zone of the process.
    zone: Option<Arc<str>>,
}

/// The use of a group as a whole, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupUsage {
    /// Requests in flight on its endpoints.
    pub in_flight: u32,
    /// How many it takes at once, if that is limited (circuit breaking, adaptive concurrency).
    pub limit: Option<u32>,
    /// Connections that are being opened.
    pub connecting: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that have waited so far.
    pub waited: u64,
    /// Requests that were refused because too many waited.
    pub turned_away: u64,
    /// The budget of retries.
    pub budget: BudgetUsage,
}

/// The state of every group and endpoint, over all snapshots.
#[derive(Debug, Default)]
pub struct States {
    groups: Mutex<HashMap<Arc<str>, Arc<UpstreamState>>>,
    /// The zone of the process, by the last configuration.
    zone: Mutex<Option<Arc<str>>>,
}

#[derive(Debug, Default)]
struct UpstreamState {
    state: Arc<GroupState>,
    endpoints: Mutex<HashMap<Arc<str>, Arc<EndpointState>>>,
    tables: Mutex<Option<Tables>>,
}

/// What an algorithm precomputed, and from what: it stays until one of these changes.
struct Tables {
    algorithm: Box<str>,
    /// Names and weights, in order.
    endpoints: Box<[(Arc<str>, u16)]>,
    factory: Arc<dyn AlgorithmFactory>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl UpstreamState {
    /// Tables can take a while to compute, so the previous ones are reused while they fit.
    fn factory(&self, members: &[Member], settings: &config::Balance) -> Arc<dyn AlgorithmFactory> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint =
            |member: &Member| (Arc::clone(&member.settings.written), member.settings.weight);
        let endpoints: Box<[_]> = members.iter().map(endpoint).collect();
        match &*tables {
            Some(before)
                if before.algorithm == settings.algorithm && before.endpoints == endpoints =>
            {
                Arc::clone(&before.factory)
            }
            _ => {
                let factory = (algorithm(&settings.algorithm).factory)(members, settings);
                let algorithm = settings.algorithm.clone();
                *tables = Some(Tables { algorithm, endpoints, factory: Arc::clone(&factory) });
                factory
            }
        }
    }
}

impl States {
    /// The groups of a configuration, by [`config::UpstreamId`]. The state of groups that it no longer has is
    /// dropped.
    pub fn groups(&self, config: &Config) -> Vec<Arc<Group>> {
        *self.zone() = config.process.zone.clone();
        let mut known = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let names: HashSet<&str> =
            config.upstreams.iter().map(|upstream| &*upstream.name).collect();
        known.retain(|name, _| names.contains(&**name));
        let groups = config.upstreams.iter().map(|upstream| {
            let known = known.entry(Arc::clone(&upstream.name)).or_default();
            Arc::new(Group::new(upstream, known, config.process.zone.clone()))
        });
        groups.collect()
    }

    /// The group of one upstream, after its members have changed.
    pub fn group(&self, upstream: &Upstream) -> Arc<Group> {
        let mut known = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(Arc::clone(&upstream.name)).or_default();
        Arc::new(Group::new(upstream, known, self.zone().clone()))
    }

    fn zone(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    /// A group with a state of its own, for `explain` and tests.
    pub fn alone(upstream: &Upstream) -> Arc<Self> {
        Self::in_zone(upstream, None)
    }

    pub(crate) fn in_zone(upstream: &Upstream, zone: Option<&Arc<str>>) -> Arc<Self> {
        Arc::new(Self::new(upstream, &UpstreamState::default(), zone.cloned()))
    }

    /// The weight of an endpoint, at least 1.
    pub(crate) fn weight(&self, index: usize) -> u16 {
        self.members.get(index).map_or(1, |member| member.settings.weight.max(1))
    }

    fn new(upstream: &Upstream, known: &UpstreamState, zone: Option<Arc<str>>) -> Self {
        let now_ms = millis(Instant::now());
        let mut states = known.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|name, _| upstream.endpoints.iter().any(|e| e.written == *name));
        // An endpoint that joins others starts slowly; endpoints that start together share the load evenly.
        let joins = !states.is_empty();
        let members = upstream.endpoints.iter().map(|endpoint| {
            let name = Arc::clone(&endpoint.written);
            let state = states.entry(Arc::clone(&name)).or_insert_with(|| {
                let state = EndpointState::new(name);
                if joins && !upstream.slow_start.is_zero() {
                    state.begin_ramp(now_ms);
                }
                Arc::new(state)
            });
            Member { state: Arc::clone(state), settings: endpoint.clone() }
        });
        let members: Box<[Member]> = members.collect();
        let row = algorithm(&upstream.balance.algorithm);
        let factory = known.factory(&members, &upstream.balance);
        known.state.bump_version();
        let (settings, state) = (upstream.clone(), Arc::clone(&known.state));
        let group = Self { settings, members, state, factory, by_key: row.by_key, zone };
        for Member { state, settings } in &group.members {
            let on = settings.draining;
            if state.set_to_drain(on, drains(on)) && !on {
                group.readmit(state, 0, now_ms);
            }
        }
        group
    }

    /// Applies the result of active checks: an endpoint is up or down. One that is up again is no longer
    /// ejected either.
    pub fn apply_check(&self, index: usize, up: bool, words: &str) {
        let Some(member) = self.members.get(index) else { return };
        let state = &*member.state;
        let was_down = state.flags() & DOWN != 0;
        if up && !was_down {
            return;
        }
        let (set, clear) = if up { (0, DOWN | EJECTED | UNREACHED | PROBATION) } else { (DOWN, 0) };
        if up {
            self.readmit(state, 0, millis(Instant::now()));
        }
        if state.set_flags(set, clear, &words) {
            self.state.bump_version();
        }
    }

    /// Drains an endpoint, or ends that; no effect if nothing changes.
    pub fn drain(&self, index: usize, on: bool) {
        let Some(member) = self.members.get(index) else { return };
        let (set, clear) = if on { (DRAINING, 0) } else { (0, DRAINING) };
        if member.state.set_flags(set, clear, &drains(on)) {
            if !on {
                self.readmit(&member.state, 0, millis(Instant::now()));
            }
            self.state.bump_version();
        }
    }

    /// Readmits an endpoint, with `streak` failures in a row that still count against it.
    pub(crate) fn readmit(&self, state: &EndpointState, streak: u32, now_ms: u64) {
        state.set_streak(streak);
        state.forget_latency();
        state.forget_recent();
        if !self.settings.slow_start.is_zero() {
            state.begin_ramp(now_ms);
        }
    }

    /// Reports the outcome of a try on an endpoint: `words` say what was wrong, `origin` whose it was.
    pub fn report(
        &self,
        index: usize,
        outcome: Outcome,
        words: &dyn Display,
        origin: RequestOrigin,
        now: Instant,
    ) {
        let try_ = TryContext { origin, steered: self.by_key };
        self.report_try(index, outcome, words, try_, now);
    }

    pub(crate) fn report_try(
        &self,
        index: usize,
        outcome: Outcome,
        words: &dyn Display,
        of: TryContext,
        now: Instant,
    ) {
        let Some(member) = self.members.get(index) else { return };
        let (state, now_ms) = (&*member.state, millis(now));
        let verdict = outcome.verdict();
        match verdict {
            Verdict::Good => {
                if state.record_success(outcome.first_byte(), now_ms) {
                    self.state.bump_version();
                }
            }
            Verdict::Bad | Verdict::Silent | Verdict::Unreached => {
                let streak = state.record_failure(words, now_ms);
                let totals = || (self.state.totals(), state.totals());
                state.evidence().note(of.origin, streak == 1, totals);
                self.eject_if_due(index, streak, FailedTry { verdict, of, words }, now_ms);
            }
            Verdict::Nothing => {}
        }
    }

    /// Its use as a whole.
    pub fn usage(&self, now: Instant) -> GroupUsage {
        let state = &*self.state;
        let cores = state.cores();
        let floor = self.budget_floor();
        let mut budget = BudgetUsage::default();
        for core in &cores {
            let used = core.budget.used(self.settings.retry.budget, floor, millis(now));
            budget.requests += used.requests;
            budget.retries += used.retries;
            budget.allowed += used.allowed;
        }
        GroupUsage {
            in_flight: self.members.iter().map(|member| member.state.in_flight()).sum(),
            limit: self.limit(),
            connecting: self.members.iter().map(|member| member.state.connecting()).sum(),
            waiting: state.queue.waiting(),
            waited: state.queue.waited(),
            turned_away: state.queue.turned_away(),
            budget,
        }
    }

    /// Retries a second that a core may always make.
    pub(crate) fn budget_floor(&self) -> u32 {
        match self.settings.retry.budget_min {
            0 => 0,
            floor => (floor / self.state.core_count().max(1)).max(1),
        }
    }

    /// Whether requests are counted for the group as a whole.
    pub(crate) fn is_limited(&self) -> bool {
        self.settings.breaker.in_flight.is_some() || self.settings.adaptive.is_some()
    }

    /// How many requests it takes at once.
    pub(crate) fn limit(&self) -> Option<u32> {
        let adaptive = self.settings.adaptive.as_ref();
        let adaptive = adaptive.map(|of| self.state.limiter.limit(of.min, of.max));
        match (self.settings.breaker.in_flight, adaptive) {
            (Some(fixed), Some(adaptive)) => Some(fixed.min(adaptive)),
            (fixed, adaptive) => fixed.or(adaptive),
        }
    }

    /// Permits a connection to an endpoint to be opened, and counts it until the permit is dropped. Refused if
    /// too many are being opened already.
    pub fn begin_connecting(self: &Arc<Self>, index: usize) -> Result<ConnectPermit, PickError> {
        if !enter(&self.state.connecting.0, self.settings.breaker.connecting) {
            return Err(PickError::Connecting);
        }
        if let Some(member) = self.members.get(index) {
            member.state.count_connecting(true);
        }
        Ok(ConnectPermit { group: Arc::clone(self), index })
    }

    /// The `Retry-After` for a client that is refused.
    pub fn retry_after(&self, why: PickError) -> Duration {
        let down = why == PickError::Down;
        let checks = self.settings.health.iter().filter(|_| down).map(|health| health.every_down);
        checks.min().unwrap_or_default().max(Duration::from_secs(1))
    }

    /// Which endpoints are eligible now.
    pub(crate) fn plan(&self) -> Plan {
        let far = |zone: &Option<Arc<str>>| match (zone, &self.zone) {
            (Some(zone), Some(own)) => zone != own,
            _ => false,
        };
        let candidate = |member: &Member| Candidate {
            status: member.status(),
            weight: member.settings.weight,
            backup: member.settings.backup,
            priority: member.settings.priority,
            far: far(&member.settings.zone),
        };
        let candidates: Vec<Candidate> = self.members.iter().map(candidate).collect();
        plan(&candidates, self.settings.spill, self.settings.panic)
    }
}

/// Why an endpoint drains, or no longer does.
fn drains(on: bool) -> &'static str {
    if on { "it is set to drain" } else { "it takes part again" }
}

/// A permit to open a connection; counts as one that is being opened until it is dropped.
pub struct ConnectPermit {
    group: Arc<Group>,
    index: usize,
}

impl Drop for ConnectPermit {
    fn drop(&mut self) {
        self.group.state.connecting.0.fetch_sub(1, Ordering::SeqCst);
        if let Some(member) = self.group.members.get(self.index) {
            member.state.count_connecting(false);
        }
    }
}
