//! Active checks of endpoints: once per process, on the runtime of the control thread.
//!
//! `Checks` has a small task for each check of each endpoint that a snapshot wants (`target`). The
//! task sleeps, opens a connection as a request would (`connect`), asks (`http`, `grpc`), and
//! counts what came (`tally`); [`balance::Group::checked`] hears of changes alone. A reload goes by
//! difference: a check whose settings are the same goes on undisturbed, with its counts.
//! Not here: what requests show of an endpoint (`balance`).
//! Invariant: a check that cannot be made because of us says nothing of the endpoint.

mod connect;
mod failure;
mod grpc;
mod http;
mod secured;
mod sweep;
mod tally;
mod target;
#[cfg(test)]
mod tests;

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
use failure::Failure;
pub use sweep::Sweep;
use tally::{Reports, Tally, all_up, vary};
use target::{Seat, Target, Wanted};

/// Checks under way at once in the process; further ones wait for their turn.
const CHECKS_MAX: usize = 256;
/// Of these so many of endpoints whose last check was bad, so that those that answer nothing leave
/// room for the others.
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

/// The checks of a process. They end with this.
pub struct Checks {
    runtime: Handle,
    checker: Arc<dyn Checker>,
    slots: Arc<Slots>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    endpoints: Vec<Arc<Endpoint>>,
    /// The number of the next check.
    next: u64,
    stopped: bool,
}

type Outcome = Result<String, Failure>;
type Checking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Makes a single check.
trait Checker: Send + Sync + 'static {
    fn check(&self, target: Arc<Target>, stage: Arc<Stage>) -> Checking;
}

/// Over the network.
struct Network;

impl Checker for Network {
    fn check(&self, target: Arc<Target>, stage: Arc<Stage>) -> Checking {
        Box::pin(async move { check(&target, &stage).await })
    }
}

async fn check(target: &Target, stage: &Stage) -> Outcome {
    let link = open(target, stage).await?;
    match &target.health.check {
        Check::Tcp if link.tls.is_empty() => Ok("connected".to_owned()),
        Check::Tcp => Ok(format!("connected by {}", link.tls)),
        Check::Http(asked) => http::check(target, asked, link).await,
        Check::Grpc(service) => grpc::check(target, service, link).await,
    }
}

/// Tries whether an endpoint can be connected to (and shakes hands, if it has TLS), whatever checks it
/// has. In words why not, if it cannot within `limit`.
async fn probe(target: Option<Target>, limit: Duration) -> Result<(), String> {
    let target = target.ok_or_else(|| "there is no such endpoint any more".to_owned())?;
    let stage = Stage::default();
    let opened = timeout(limit, open(&target, &stage)).await;
    match opened {
        // Nothing can be told of the endpoint: it may return.
        Ok(Ok(_) | Err(Failure::Ours(_))) => Ok(()),
        Ok(Err(Failure::Theirs(words))) => Err(words),
        Err(_) => Err(stage.late(limit)),
    }
}

impl Checks {
    /// Checks are made by the runtime that this is called in.
    pub fn start() -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self::with(runtime, Arc::new(Network)))
    }

    fn with(runtime: Handle, checker: Arc<dyn Checker>) -> Self {
        Self { runtime, checker, slots: Arc::default(), known: Mutex::default() }
    }

    /// Checks these endpoints from now on, and no others. A check whose settings did not change goes
    /// on with its counts.
    pub fn install<'a>(&self, upstreams: impl Iterator<Item = Endpoints<'a>>) {
        self.go_over(target::wanted(upstreams));
    }

    /// Ends all checks, for good. How it stands with the endpoints stays as it is.
    pub fn stop(&self) {
        let mut known = lock(&self.known);
        known.stopped = true;
        known.endpoints.drain(..).for_each(|endpoint| lock(&endpoint.standing).checks.clear());
    }

    /// How it stands with every endpoint that is checked, in the order of the configuration.
    pub fn states(&self) -> Vec<EndpointHealth> {
        lock(&self.known).endpoints.iter().map(|endpoint| endpoint.health()).collect()
    }

    fn go_over(&self, wanted: Vec<Wanted>) {
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
        for Wanted { upstream, endpoint: name, seat, targets } in wanted {
            let key = key(&upstream, &name);
            // Upstreams of the same name share how it stands with their endpoints, and their checks.
            if now.contains_key(&key) {
                continue;
            }
            let endpoint = before.remove(&key);
            let endpoint = endpoint.unwrap_or_else(|| {
                Arc::new(Endpoint { upstream, name, standing: Mutex::new(Standing::new(&seat)) })
            });
            let begun = endpoint.go_over(seat, targets, &mut known.next);
            fresh.extend(begun.into_iter().map(|(id, target)| (Arc::clone(&endpoint), id, target)));
            known.endpoints.push(Arc::clone(&endpoint));
            now.insert(key, ());
        }
        before.into_values().for_each(|endpoint| endpoint.retire());
        self.begin(fresh);
    }

    fn begin(&self, fresh: Vec<(Arc<Endpoint>, u64, Arc<Target>)>) {
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX).max(1);
        for (place, (endpoint, id, target)) in (0u32..).zip(fresh) {
            let times = first_and_second(place, count, target.health.every);
            let run = Run {
                endpoint: Arc::clone(&endpoint),
                id,
                target,
                slots: Arc::clone(&self.slots),
                checker: Arc::clone(&self.checker),
            };
            let task = self.runtime.spawn(run.run(times)).abort_handle();
            if let Some(check) = lock(&endpoint.standing).check_mut(id) {
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
    standing: Mutex<Standing>,
}

struct Standing {
    seat: Seat,
    up: bool,
    reports: Reports,
    checks: Vec<Checked>,
}

/// One check of an endpoint. It ends with this.
struct Checked {
    id: u64,
    target: Arc<Target>,
    what: Arc<str>,
    tally: Tally,
    good: u64,
    bad: u64,
    last: Option<LastCheck>,
    task: Option<AbortHandle>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What comes after a check.
struct Next {
    interval: Duration,
    fails: bool,
}

impl Endpoint {
    /// Keeps the checks that are still wanted as they are; answers those that are new.
    fn go_over(&self, seat: Seat, targets: Vec<Target>, next: &mut u64) -> Vec<(u64, Arc<Target>)> {
        let standing = &mut *lock(&self.standing);
        let mut before = std::mem::take(&mut standing.checks);
        let mut fresh = Vec::new();
        standing.seat = seat;
        for target in targets {
            let kept = before.iter().position(|check| check.target.is_same(&target));
            let check = kept.map(|index| before.swap_remove(index)).unwrap_or_else(|| {
                let (id, target) = (*next, Arc::new(target));
                *next += 1;
                fresh.push((id, Arc::clone(&target)));
                Checked::new(id, target)
            });
            standing.checks.push(check);
        }
        standing.settle(self, "a check that failed is not made any more");
        fresh
    }

    /// It is not checked any more: nothing speaks against it.
    fn retire(&self) {
        let standing = &mut *lock(&self.standing);
        standing.checks.clear();
        standing.settle(self, "it is not checked any more");
    }

    /// Counts a check; nothing comes after one that is not wanted any more.
    fn note(&self, id: u64, outcome: Outcome, at: SystemTime, took: Duration) -> Option<Next> {
        let standing = &mut *lock(&self.standing);
        let check = standing.check_mut(id)?;
        let health = &check.target.health;
        let (result, words) = match outcome {
            Ok(words) => (CheckResult::Good, words),
            Err(Failure::Theirs(words)) => (CheckResult::Bad, words),
            Err(Failure::Ours(words)) => (CheckResult::NotMade, words),
        };
        match result {
            CheckResult::Good => {
                check.good += 1;
                check.tally.note(true, health);
            }
            CheckResult::Bad => {
                check.bad += 1;
                check.tally.note(false, health);
            }
            CheckResult::NotMade => {
                let (upstream, endpoint) = (&*self.upstream, &*self.name);
                observe::log_limited!(WARN, per_second = 1, upstream, endpoint, why = %words, "an endpoint cannot be checked");
            }
        }
        let next = Next { interval: check.tally.interval(health), fails: check.tally.fails() };
        let words: Arc<str> = words.into();
        check.last = Some(LastCheck { at, took, result, words: Arc::clone(&words) });
        standing.settle(self, &words);
        Some(next)
    }

    fn health(&self) -> EndpointHealth {
        let standing = lock(&self.standing);
        let checks = standing.checks.iter().map(|check| CheckHealth {
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
            up: standing.up,
            checks: checks.collect(),
        }
    }
}

impl Standing {
    fn new(seat: &Seat) -> Self {
        Self { seat: seat.clone(), up: true, reports: Reports::default(), checks: Vec::new() }
    }

    fn check_mut(&mut self, id: u64) -> Option<&mut Checked> {
        self.checks.iter_mut().find(|check| check.id == id)
    }

    /// Tells whom it concerns if it has changed whether the endpoint is up.
    fn settle(&mut self, endpoint: &Endpoint, words: &str) {
        let up = all_up(self.checks.iter().map(|check| check.tally), self.up);
        if up != self.up {
            self.up = up;
            self.seat.group.apply_check(self.seat.index, up, words);
            self.reports.changed();
        }
        let Some(kept_back) = self.reports.due(up, Instant::now()) else { return };
        let unlogged_changes = (kept_back > 0).then_some(kept_back);
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

impl Checked {
    fn new(id: u64, target: Arc<Target>) -> Self {
        let what = target.what().into();
        Self { id, target, what, tally: Tally::default(), good: 0, bad: 0, last: None, task: None }
    }
}

/// When the first of `count` checks that begin together is due, and how long after it the second: the
/// first ones come soon, and all further ones are to be spread over the whole interval.
fn first_and_second(place: u32, count: u32, every: Duration) -> (Duration, Duration) {
    let share = f64::from(place) / f64::from(count);
    let first = FIRST_CHECKS_WITHIN.min(every).mul_f64(share);
    let shift = every.mul_f64(share).saturating_sub(first);
    // Between half the interval and one and a half.
    (first, if shift > every / 2 { shift } else { every + shift })
}

/// The task of one check.
struct Run {
    endpoint: Arc<Endpoint>,
    id: u64,
    target: Arc<Target>,
    slots: Arc<Slots>,
    checker: Arc<dyn Checker>,
}

impl Run {
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
            let noted = self.endpoint.note(self.id, outcome, at, begun.elapsed());
            let Some(next) = noted else { return };
            fails = next.fails;
            let interval = second.take().unwrap_or(next.interval);
            due = begun + vary(interval, self.target.health.jitter, &mut random);
        }
    }

    async fn check(&self) -> Outcome {
        let (limit, stage) = (self.target.health.timeout, Arc::new(Stage::default()));
        // A task of its own, which ends with this: one that panics fails alone.
        let mut alone = JoinSet::new();
        alone.spawn(self.checker.check(Arc::clone(&self.target), Arc::clone(&stage)));
        match timeout(limit, alone.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(_) => Err(Failure::Ours("the check failed by a mistake of ours".to_owned())),
            Err(_) => Err(Failure::Theirs(stage.late(limit))),
        }
    }
}

/// Room for checks under way.
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
    /// Waits for room, first come, first served. `fails`: whether the last check was bad.
    async fn enter(&self, fails: bool) -> [Option<SemaphorePermit<'_>>; 2] {
        // They are never closed.
        let of_failing = if fails { self.failing.acquire().await.ok() } else { None };
        [of_failing, self.all.acquire().await.ok()]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
