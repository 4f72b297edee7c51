//! Active checks of endpoints: once per process, on the runtime of the control thread.
//!
//! [`Checks`] runs a small task for each check of each endpoint (`target`). The task sleeps, opens a
//! connection as a request would (`connect`), sends a request (`http`, `grpc`) and counts the result
//! (`tally`); only a change is reported to [`balance::Group::apply_check`]. A new configuration starts
//! and stops only the checks that differ; the others keep their counts. [`Sweep`] does what is due for
//! the endpoints once a second.
//! Not here: what requests show about an endpoint (`balance`).
//! Invariant: a check that fails for a reason of our own does not count against the endpoint.

mod connect;
mod error;
mod grpc;
mod http;
mod sweep;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod tls_stream;

use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasher;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use balance::Group;
use config::Check;
use net::WatchedName;
use observe::{CheckHealth, CheckResult, EndpointHealth, LastCheck};
use random::Random;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use connect::{Stage, open};
use error::CheckError;
pub use sweep::Sweep;
use tally::{LogThrottle, Tally, all_up, vary};
use target::{EndpointChecks, GroupMember, Target};

/// Checks under way at once in the process; further ones wait in order.
const CHECKS_MAX: usize = 256;
/// How many of these may be of endpoints whose last check failed, so that endpoints that do not answer
/// leave room for the others.
const FAILING_CHECKS_MAX: usize = 128;
/// First checks are spread over this time, or over the interval if that is shorter.
const FIRST_CHECKS_WITHIN: Duration = Duration::from_secs(1);

/// The endpoints of an upstream, and what is needed to connect to them.
#[derive(Clone, Copy)]
pub struct Endpoints<'a> {
    /// The endpoints with their settings and state.
    pub group: &'a Arc<Group>,
    /// The context of TLS, if any of them has TLS.
    pub tls: Option<&'a Arc<tls::Client>>,
    /// By endpoint: the addresses of its name, if it has one.
    pub watched: &'a [Option<Arc<WatchedName>>],
}

/// The checks of a process. They end when this is dropped.
pub struct Checks {
    runtime: Handle,
    checker: Arc<dyn Checker>,
    slots: Arc<Slots>,
    known: Mutex<CheckedEndpoints>,
}

#[derive(Default)]
struct CheckedEndpoints {
    endpoints: Vec<Arc<Endpoint>>,
    /// The number of the next check.
    next: u64,
    stopped: bool,
}

type CheckOutcome = Result<String, CheckError>;
type CheckFuture = Pin<Box<dyn Future<Output = CheckOutcome> + Send>>;

/// Makes a single check.
trait Checker: Send + Sync + 'static {
    fn check(&self, target: Arc<Target>, stage: Arc<Stage>) -> CheckFuture;
}

/// Over the network.
struct NetworkChecker;

impl Checker for NetworkChecker {
    fn check(&self, target: Arc<Target>, stage: Arc<Stage>) -> CheckFuture {
        Box::pin(async move { check(&target, &stage).await })
    }
}

async fn check(target: &Target, stage: &Stage) -> CheckOutcome {
    let connection = open(target, stage).await?;
    match &target.health.check {
        Check::Tcp if connection.tls.is_empty() => Ok("connected".to_owned()),
        Check::Tcp => Ok(format!("connected by {}", connection.tls)),
        Check::Http(asked) => http::check(target, asked, connection).await,
        Check::Grpc(service) => grpc::check(target, service, connection).await,
    }
}

/// Tries to connect to an endpoint, with a TLS handshake if it has TLS, whatever checks it has. The error
/// says in words why that failed, or that it took longer than `limit`.
async fn probe(target: Option<Target>, limit: Duration) -> Result<(), String> {
    let target = target.ok_or_else(|| "there is no such endpoint any more".to_owned())?;
    let stage = Stage::default();
    let opened = timeout(limit, open(&target, &stage)).await;
    match opened {
        // A failure of ours proves nothing: the endpoint may return.
        Ok(Ok(_) | Err(CheckError::Local(_))) => Ok(()),
        Ok(Err(CheckError::Endpoint(words))) => Err(words),
        Err(_) => Err(stage.timeout_message(limit)),
    }
}

impl Checks {
    /// No checks yet. Their tasks will run on the tokio runtime that this is called in.
    pub fn start() -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self::with(runtime, Arc::new(NetworkChecker)))
    }

    fn with(runtime: Handle, checker: Arc<dyn Checker>) -> Self {
        Self { runtime, checker, slots: Arc::default(), known: Mutex::default() }
    }

    /// Checks these endpoints from now on, and no others. A check whose settings did not change goes
    /// on with its counts.
    pub fn install<'a>(&self, upstreams: impl Iterator<Item = Endpoints<'a>>) {
        self.replace(target::endpoint_checks(upstreams));
    }

    /// Ends all checks and starts no others. The state of the endpoints stays as it is.
    pub fn stop(&self) {
        let mut known = lock(&self.known);
        known.stopped = true;
        known.endpoints.drain(..).for_each(|endpoint| lock(&endpoint.state).checks.clear());
    }

    /// The health of every endpoint that is checked, in the order of the configuration.
    pub fn states(&self) -> Vec<EndpointHealth> {
        lock(&self.known).endpoints.iter().map(|endpoint| endpoint.health()).collect()
    }

    fn replace(&self, wanted: Vec<EndpointChecks>) {
        let known = &mut *lock(&self.known);
        if known.stopped {
            return;
        }
        let key = |upstream: &Arc<str>, name: &Arc<str>| (Arc::clone(upstream), Arc::clone(name));
        let before = known.endpoints.drain(..);
        let mut before: HashMap<_, _> =
            before.map(|endpoint| (key(&endpoint.upstream, &endpoint.name), endpoint)).collect();
        let mut now = HashMap::new();
        let mut fresh = Vec::new();
        for EndpointChecks { upstream, endpoint: name, member, targets } in wanted {
            let key = key(&upstream, &name);
            // Upstreams of the same name share the state of their endpoints, and the checks.
            if now.contains_key(&key) {
                continue;
            }
            let endpoint = before.remove(&key);
            let endpoint = endpoint.unwrap_or_else(|| {
                Arc::new(Endpoint {
                    upstream,
                    name,
                    state: Mutex::new(EndpointState::new(&member)),
                })
            });
            let begun = endpoint.replace(member, targets, &mut known.next);
            fresh.extend(begun.into_iter().map(|(id, target)| (Arc::clone(&endpoint), id, target)));
            known.endpoints.push(Arc::clone(&endpoint));
            now.insert(key, ());
        }
        before.into_values().for_each(|endpoint| endpoint.retire());
        self.spawn(fresh);
    }

    fn spawn(&self, fresh: Vec<(Arc<Endpoint>, u64, Arc<Target>)>) {
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX).max(1);
        for (place, (endpoint, id, target)) in (0u32..).zip(fresh) {
            let times = first_delays(place, count, target.health.every);
            let task = CheckTask {
                endpoint: Arc::clone(&endpoint),
                id,
                target,
                slots: Arc::clone(&self.slots),
                checker: Arc::clone(&self.checker),
            };
            let task = self.runtime.spawn(task.run(times)).abort_handle();
            if let Some(check) = lock(&endpoint.state).check_mut(id) {
                check.task = Some(task);
            }
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An endpoint that is checked.
struct Endpoint {
    upstream: Arc<str>,
    name: Arc<str>,
    state: Mutex<EndpointState>,
}

struct EndpointState {
    member: GroupMember,
    up: bool,
    log_throttle: LogThrottle,
    checks: Vec<CheckState>,
}

/// One check of an endpoint. Its task ends when this is dropped.
struct CheckState {
    id: u64,
    target: Arc<Target>,
    what: Arc<str>,
    tally: Tally,
    good: u64,
    bad: u64,
    last: Option<LastCheck>,
    task: Option<AbortHandle>,
}

impl Drop for CheckState {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// When the next check is due, and whether the last one failed.
struct NextCheck {
    interval: Duration,
    fails: bool,
}

impl Endpoint {
    /// Replaces the checks; those with the same target stay. Returns those that are new.
    fn replace(
        &self,
        member: GroupMember,
        targets: Vec<Target>,
        next: &mut u64,
    ) -> Vec<(u64, Arc<Target>)> {
        let state = &mut *lock(&self.state);
        let mut before = std::mem::take(&mut state.checks);
        let mut fresh = Vec::new();
        state.member = member;
        for target in targets {
            let kept = before.iter().position(|check| check.target.is_same(&target));
            let check = kept.map(|index| before.swap_remove(index)).unwrap_or_else(|| {
                let (id, target) = (*next, Arc::new(target));
                *next += 1;
                fresh.push((id, Arc::clone(&target)));
                CheckState::new(id, target)
            });
            state.checks.push(check);
        }
        state.update(self, "a check that failed is no longer made");
        fresh
    }

    /// The endpoint is no longer checked: it counts as up.
    fn retire(&self) {
        let state = &mut *lock(&self.state);
        state.checks.clear();
        state.update(self, "it is no longer checked");
    }

    /// Records the result of a check. `None`: the check has been removed, so there is no next one.
    fn record(
        &self,
        id: u64,
        outcome: CheckOutcome,
        at: SystemTime,
        took: Duration,
    ) -> Option<NextCheck> {
        let state = &mut *lock(&self.state);
        let check = state.check_mut(id)?;
        let health = &check.target.health;
        let (result, words) = match outcome {
            Ok(words) => (CheckResult::Passed, words),
            Err(CheckError::Endpoint(words)) => (CheckResult::Failed, words),
            Err(CheckError::Local(words)) => (CheckResult::NotMade, words),
        };
        match result {
            CheckResult::Passed => {
                check.good += 1;
                check.tally.note(true, health);
            }
            CheckResult::Failed => {
                check.bad += 1;
                check.tally.note(false, health);
            }
            CheckResult::NotMade => {
                let (upstream, endpoint) = (&*self.upstream, &*self.name);
                observe::log_limited!(WARN, per_second = 1, upstream, endpoint, why = %words, "an endpoint cannot be checked");
            }
        }
        let next = NextCheck { interval: check.tally.interval(health), fails: check.tally.fails() };
        let words: Arc<str> = words.into();
        check.last = Some(LastCheck { at, took, result, words: Arc::clone(&words) });
        state.update(self, &words);
        Some(next)
    }

    fn health(&self) -> EndpointHealth {
        let state = lock(&self.state);
        let checks = state.checks.iter().map(|check| CheckHealth {
            what: Arc::clone(&check.what),
            up: check.tally.up,
            in_row: check.tally.in_row,
            good: check.good,
            bad: check.bad,
            last: check.last.clone(),
        });
        EndpointHealth {
            upstream: Arc::clone(&self.upstream),
            endpoint: Arc::clone(&self.name),
            up: state.up,
            checks: checks.collect(),
        }
    }
}

impl EndpointState {
    fn new(member: &GroupMember) -> Self {
        Self {
            member: member.clone(),
            up: true,
            log_throttle: LogThrottle::default(),
            checks: Vec::new(),
        }
    }

    fn check_mut(&mut self, id: u64) -> Option<&mut CheckState> {
        self.checks.iter_mut().find(|check| check.id == id)
    }

    /// Works out whether the endpoint is up, and reports and logs it if that has changed.
    fn update(&mut self, endpoint: &Endpoint, words: &str) {
        let up = all_up(self.checks.iter().map(|check| check.tally), self.up);
        if up != self.up {
            self.up = up;
            self.member.group.apply_check(self.member.index, up, words);
            self.log_throttle.changed();
        }
        let Some(held_back) = self.log_throttle.due(up, Instant::now()) else { return };
        let unlogged_changes = (held_back > 0).then_some(held_back);
        let (upstream, name) = (&*endpoint.upstream, &*endpoint.name);
        if up {
            tracing::info!(
                upstream,
                endpoint = name,
                why = words,
                unlogged_changes,
                "endpoint is up"
            );
        } else {
            tracing::warn!(
                upstream,
                endpoint = name,
                why = words,
                unlogged_changes,
                "endpoint is down"
            );
        }
    }
}

impl CheckState {
    fn new(id: u64, target: Arc<Target>) -> Self {
        let what = target.what().into();
        Self { id, target, what, tally: Tally::default(), good: 0, bad: 0, last: None, task: None }
    }
}

/// When the first of `count` checks that start together is due, and how long after it the second: the
/// first ones come soon, all further ones are spread over the whole interval.
fn first_delays(place: u32, count: u32, every: Duration) -> (Duration, Duration) {
    let share = f64::from(place) / f64::from(count);
    let first = FIRST_CHECKS_WITHIN.min(every).mul_f64(share);
    let shift = every.mul_f64(share).saturating_sub(first);
    // Between half the interval and one and a half.
    (first, if shift > every / 2 { shift } else { every + shift })
}

/// The task of one check.
struct CheckTask {
    endpoint: Arc<Endpoint>,
    id: u64,
    target: Arc<Target>,
    slots: Arc<Slots>,
    checker: Arc<dyn Checker>,
}

impl CheckTask {
    async fn run(self, (first, second): (Duration, Duration)) {
        let (upstream, name) = (&self.endpoint.upstream, &self.endpoint.name);
        let hasher = foldhash::fast::FixedState::default();
        let mut random = Random::seeded(hasher.hash_one((upstream, name, self.target.what())));
        let mut due = Instant::now() + first;
        let mut second = Some(second);
        let mut fails = false;
        loop {
            sleep_until(due).await;
            let room = self.slots.enter(fails).await;
            let (at, begun) = (SystemTime::now(), Instant::now());
            let outcome = self.check().await;
            drop(room);
            let recorded = self.endpoint.record(self.id, outcome, at, begun.elapsed());
            let Some(next) = recorded else { return };
            fails = next.fails;
            let interval = second.take().unwrap_or(next.interval);
            due = begun + vary(interval, self.target.health.jitter, &mut random);
        }
    }

    async fn check(&self) -> CheckOutcome {
        let (limit, stage) = (self.target.health.timeout, Arc::new(Stage::default()));
        // A task of its own, which ends with this: one that panics fails alone.
        let mut alone = JoinSet::new();
        alone.spawn(self.checker.check(Arc::clone(&self.target), Arc::clone(&stage)));
        match timeout(limit, alone.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Err(CheckError::Local("the check failed through a defect of ours".to_owned())),
            Err(_) => Err(CheckError::Endpoint(stage.timeout_message(limit))),
        }
    }
}

/// Limits the checks under way.
struct Slots {
    all: Semaphore,
    failing: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        Self { all: Semaphore::new(CHECKS_MAX), failing: Semaphore::new(FAILING_CHECKS_MAX) }
    }
}

impl Slots {
    /// Waits for a free slot, first come, first served. `fails`: whether the last check failed.
    async fn enter(&self, fails: bool) -> [Option<SemaphorePermit<'_>>; 2] {
        // They are never closed.
        let of_failing = if fails { self.failing.acquire().await.ok() } else { None };
        [of_failing, self.all.acquire().await.ok()]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
