//! A core's part of a group: picks endpoints, and learns what came of the requests.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use config::HedgeAfter;
use random::Random;

use crate::adaptive::SampleBatch;
use crate::algorithm::{Algorithm, PickContext};
use crate::clock::millis;
use crate::ejection::TryContext;
use crate::endpoint::{EndpointState, EndpointStatus, enter};
use crate::evidence::RequestOrigin;
use crate::group::{CoreState, Group, Member};
use crate::hash::mix;
use crate::outcome::Outcome;
use crate::queue::{EndpointSelector, WakeReason};
use crate::tally::Tally;
use crate::tiers::WHOLE;

/// What a pick is for.
#[derive(Debug, Clone, Copy)]
pub struct PickRequest<'a> {
    /// The hash of the request's key, for algorithms that use one.
    pub key: u64,
    /// The endpoint that the client is bound to.
    pub bound: Option<usize>,
    /// Endpoints that were tried for this request already; they are not picked.
    pub tried: &'a [usize],
    /// The time.
    pub now: Instant,
}

/// Why no endpoint was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// No endpoint is up.
    Down,
    /// Every endpoint that is up was tried.
    Tried,
    /// Every endpoint that is up has its maximum of requests; the request may queue.
    Full,
    /// The upstream has as many requests as its latency allows; the request may queue.
    Limited,
    /// The upstream has its maximum of requests.
    InFlight,
    /// Too many connections to the upstream are being opened.
    Connecting,
    /// The queue is full.
    QueueFull,
}

impl PickError {
    /// Whether the request may wait in the queue.
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Full | Self::Limited)
    }

    /// The reason in words, for operators.
    pub fn words(self) -> &'static str {
        match self {
            Self::Down => "no endpoint is up",
            Self::Tried => "every endpoint that is up was tried",
            Self::Full => "every endpoint has as many requests as it may",
            Self::Limited => "the upstream has as many requests as its latency allows",
            Self::InFlight => "the upstream has as many requests as it may",
            Self::Connecting => "too many connections to the upstream are being opened",
            Self::QueueFull => "too many requests wait for the upstream",
        }
    }
}

/// An algorithm and its part of the load.
struct Tier {
    up_to: u32,
    algorithm: Box<dyn Algorithm>,
}

/// The eligible endpoints, as this core last saw them.
#[derive(Default)]
struct Candidates {
    tiers: Vec<Tier>,
    /// Picked only if no endpoint of the tiers can be.
    spare: Vec<Vec<u32>>,
    /// Whether any of them is in slow start or on probation.
    wary: bool,
}

/// A group on one core.
pub struct Balancer {
    group: Arc<Group>,
    core_index: usize,
    core: Arc<CoreState>,
    /// By member: the counters of this core.
    tallies: Box<[Arc<Tally>]>,
    candidates: RefCell<Candidates>,
    /// The version of the group's state that `candidates` was made by.
    seen: Cell<Option<u64>>,
    random: RefCell<Random>,
    /// Samples for the adaptive limit, if there is one.
    batch: Option<RefCell<SampleBatch>>,
}

impl Balancer {
    /// The balancer of one core.
    pub fn new(group: Arc<Group>, core: usize) -> Self {
        let tallies = group.members.iter().map(|member| member.state.tally(core)).collect();
        let seed = (core as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            core_index: core,
            core: group.state.core(core),
            tallies,
            candidates: RefCell::default(),
            seen: Cell::new(None),
            random: RefCell::new(Random::seeded(seed)),
            batch: group.settings.adaptive.as_ref().map(|_| RefCell::default()),
            group,
        }
    }

    /// The group.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Picks an endpoint. The request counts as under way there until the lease is dropped.
    ///
    /// While others wait, a new request must wait too; a retry need not.
    pub fn pick(self: &Rc<Self>, ask: &PickRequest<'_>) -> Result<Lease, PickError> {
        if ask.tried.is_empty() && self.group.state.queue.waiting() > 0 {
            return Err(PickError::Full);
        }
        self.take(ask)
    }

    /// Waits in the queue, in order over all cores, until there is room: for a pick that failed with an error
    /// that [`PickError::may_wait`]. The caller limits the time; dropping the future leaves the queue.
    pub fn wait<'a>(self: &Rc<Self>, ask: &PickRequest<'a>) -> Wait<'a> {
        Wait { balancer: Rc::clone(self), ask: *ask, ticket: None }
    }

    /// Counts a client's request; the budget of retries is a share of these.
    pub fn count_request(&self, now: Instant) {
        self.core.budget.count_request(millis(now));
    }

    /// Whether a request may be retried (or hedged); if so, charges the budget.
    pub fn may_retry(&self, now: Instant) -> bool {
        let floor = self.group.budget_floor();
        self.core.budget.charge(self.group.settings.retry.budget, floor, millis(now))
    }

    /// The recent time in which `percent` of the requests on this core were answered; `None` until there are
    /// enough samples.
    pub fn first_byte_quantile(&self, percent: u8) -> Option<Duration> {
        self.core.first_bytes.quantile(percent)
    }

    fn take(self: &Rc<Self>, ask: &PickRequest<'_>) -> Result<Lease, PickError> {
        let group = &*self.group;
        let counted = group.is_limited();
        if counted && !enter(&group.state.in_flight.0, group.limit()) {
            return Err(self.limit_error());
        }
        let chosen = match ask.bound.map_or(Ok(None), |index| self.pick_bound(index, ask)) {
            Ok(Some(index)) => Ok((index, None)),
            Ok(None) => self.choose(ask),
            Err(why) => Err(why),
        };
        match chosen {
            Ok((index, trial)) => {
                let (balancer, unreported) = (Rc::clone(self), Some(ask.now));
                let of = TryContext {
                    origin: RequestOrigin::default(),
                    steered: group.by_key || ask.bound == Some(index),
                };
                Ok(Lease { balancer, index, counted, trial, unreported, of })
            }
            Err(why) => {
                if counted {
                    group.state.in_flight.0.fetch_sub(1, Ordering::SeqCst);
                    // Another request may have queued because of this one.
                    if !why.may_wait() {
                        group.state.queue.call(EndpointSelector::ANY);
                    }
                }
                Err(why)
            }
        }
    }

    /// Counts a try that was abandoned before its response began, most often because a hedge won. It would have
    /// taken longer still; if it did not count, the quantile after which hedges are sent would fall further and
    /// further. A try that was abandoned earlier, or never sent, says nothing.
    fn count_abandoned(&self, after: Duration, hedged: &HedgeAfter) {
        if let HedgeAfter::Quantile(percent) = hedged
            && self.first_byte_quantile(*percent).is_some_and(|quantile| after >= quantile)
        {
            self.core.first_bytes.sample(after);
        }
    }

    fn adapt(&self, batch: &mut SampleBatch, outcome: Outcome, now_ms: u64) {
        let group = &*self.group;
        let in_flight = group.state.in_flight.0.load(Ordering::Relaxed);
        let Some(adaptive) = &group.settings.adaptive else { return };
        if batch.count(outcome, in_flight, now_ms) {
            let more = group.state.limiter.take(batch, adaptive.min, adaptive.max, now_ms);
            (0..more).for_each(|_| group.state.queue.call(EndpointSelector::ANY));
        }
    }

    fn limit_error(&self) -> PickError {
        let in_flight = self.group.state.in_flight.0.load(Ordering::Relaxed);
        match self.group.settings.breaker.in_flight {
            Some(max) if in_flight >= max => PickError::InFlight,
            _ => PickError::Limited,
        }
    }

    /// The endpoint that the client is bound to, if it is there.
    fn bound_member(&self, index: usize, ask: &PickRequest<'_>) -> Option<&Member> {
        let member = self.group.members.get(index)?;
        let there = matches!(member.status(), EndpointStatus::Up | EndpointStatus::Draining);
        (there && !ask.tried.contains(&index)).then_some(member)
    }

    /// Where a waiting request needs room.
    fn wanted(&self, ask: &PickRequest<'_>) -> EndpointSelector {
        // A change of an endpoint's status is followed by a change of the version.
        let _ = self.group.state.version();
        let bound = ask.bound.and_then(|index| self.bound_member(index, ask));
        bound.map_or(EndpointSelector::ANY, |member| EndpointSelector::at(&member.state))
    }

    /// Picks the endpoint that the client is bound to. Waiting for it is better than another one, which knows
    /// nothing of the client.
    fn pick_bound(&self, index: usize, ask: &PickRequest<'_>) -> Result<Option<usize>, PickError> {
        let Some(member) = self.bound_member(index, ask) else { return Ok(None) };
        match member.state.enter(member.settings.max) {
            true => Ok(Some(index)),
            false => Err(PickError::Full),
        }
    }

    /// Picks an endpoint. Also returns the token for `leave_trial` if the request is the one of a probation.
    fn choose(&self, ask: &PickRequest<'_>) -> Result<(usize, Option<u64>), PickError> {
        let group = &*self.group;
        let mut candidates = self.candidates.borrow_mut();
        let candidates = &mut *candidates;
        let version = group.state.version();
        if self.seen.get() != Some(version) {
            self.seen.set(Some(version));
            self.refresh(candidates);
        }
        let (slow_start, now_ms) = (group.settings.slow_start, millis(ask.now));
        let turn = PickContext { key: ask.key, now_ms };
        let mut full = false;
        let mut wary = candidates.wary;
        let mut trial = None;
        let mut allowed = |index: usize, wary: bool| {
            if ask.tried.contains(&index) {
                return false;
            }
            let Some(member) = group.members.get(index) else { return false };
            let state = &*member.state;
            if wary && !self.is_drawn(ask.key, index, state.ramp(slow_start, now_ms)) {
                return false;
            }
            trial = None;
            if wary && state.is_on_probation() {
                trial = state.enter_trial(now_ms);
                if trial.is_none() {
                    return false;
                }
            }
            let entered = state.enter(member.settings.max);
            if let (Some(since), false) = (trial, entered) {
                state.leave_trial(since);
            }
            full |= !entered;
            entered
        };
        loop {
            let mut allow = |index| allowed(index, wary);
            let drawn = match candidates.tiers.len() {
                0 | 1 => 0,
                _ => {
                    let at = self.draw(ask.key);
                    candidates.tiers.iter().position(|tier| at < tier.up_to).unwrap_or(0)
                }
            };
            let (before, after) = candidates.tiers.split_at_mut(drawn);
            for tier in after.iter_mut().chain(before) {
                if let Some(index) = tier.algorithm.pick(group, turn, &mut allow) {
                    return Ok((index, trial));
                }
            }
            if !std::mem::take(&mut wary) {
                break;
            }
        }
        for tier in &candidates.spare {
            let start = self.next_random() as usize % tier.len().max(1);
            let (before, after) = tier.split_at(start);
            let mut turn = after.iter().chain(before).map(|&index| index as usize);
            if let Some(index) = turn.find(|&index| allowed(index, false)) {
                return Ok((index, None));
            }
        }
        match () {
            () if full => Err(PickError::Full),
            () if candidates.tiers.is_empty() => Err(PickError::Down),
            () => Err(PickError::Tried),
        }
    }

    /// Recomputes which endpoints are eligible.
    fn refresh(&self, candidates: &mut Candidates) {
        let group = &self.group;
        let plan = group.plan();
        let mut before = std::mem::take(&mut candidates.tiers).into_iter();
        for tier in plan.tiers {
            let before = before.next().map(|tier| tier.algorithm);
            let made = || Arc::clone(&group.factory).on_core(group, self.core_index);
            let mut algorithm = before.unwrap_or_else(made);
            algorithm.refresh(group, &tier.eligible);
            candidates.tiers.push(Tier { up_to: tier.up_to, algorithm });
        }
        candidates.spare = plan.spare;
        let slow = !group.settings.slow_start.is_zero();
        let wary = |state: &EndpointState| slow && state.is_ramping() || state.is_on_probation();
        candidates.wary = group.members.iter().any(|member| wary(&member.state));
    }

    /// Whether an endpoint that gets this share of its load gets this request. With a key, the same requests
    /// return to it first.
    fn is_drawn(&self, key: u64, index: usize, share: f32) -> bool {
        let salt = (index as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
        share >= 1.0 || (self.draw(key ^ salt) as f32) < share * WHOLE as f32
    }

    /// A number below [`WHOLE`]: always the same for a key, if the algorithm uses one.
    fn draw(&self, key: u64) -> u32 {
        let bits = if self.group.by_key { mix(key) } else { self.next_random() };
        (bits >> 48) as u32
    }

    fn next_random(&self) -> u64 {
        self.random.borrow_mut().next()
    }
}

/// A request under way on an endpoint, until it is dropped.
pub struct Lease {
    balancer: Rc<Balancer>,
    index: usize,
    /// Whether it counts against the limit of the group.
    counted: bool,
    /// The token for `leave_trial`, if it is the one request of a probation.
    trial: Option<u64>,
    /// When it was picked, until an outcome is reported.
    unreported: Option<Instant>,
    /// Whose request it is.
    of: TryContext,
}

impl Lease {
    /// Which endpoint: counts in [`Group::members`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sets where the request comes from and what it asks for: failures of one client or one target do not
    /// count against an endpoint.
    pub fn set_origin(&mut self, origin: RequestOrigin) {
        self.of.origin = origin;
    }

    /// Reports the outcome of a try: `words` say what was wrong, and are formatted only if they are kept. If the
    /// client left, nothing is reported.
    pub fn report(&mut self, outcome: Outcome, words: &dyn Display, now: Instant) {
        self.unreported = None;
        let balancer = &*self.balancer;
        if let Some(tally) = balancer.tallies.get(self.index) {
            tally.count(outcome);
        }
        balancer.core.tally.count(outcome);
        if let Some(first_byte) = outcome.first_byte() {
            balancer.core.first_bytes.sample(first_byte);
        }
        if let Some(batch) = &balancer.batch {
            balancer.adapt(&mut batch.borrow_mut(), outcome, millis(now));
        }
        balancer.group.report_try(self.index, outcome, words, self.of, now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let group = &*self.balancer.group;
        if let (Some(picked), Some(hedge)) = (self.unreported, &group.settings.hedge) {
            self.balancer.count_abandoned(picked.elapsed(), &hedge.after);
        }
        if self.counted {
            group.state.in_flight.0.fetch_sub(1, Ordering::SeqCst);
        }
        let mut room = EndpointSelector::ANY;
        if let Some(member) = group.members.get(self.index) {
            if !self.counted {
                room = EndpointSelector::at(&member.state);
            }
            if let Some(since) = self.trial {
                member.state.leave_trial(since);
            }
            member.state.leave();
        }
        group.state.queue.call(room);
        for tier in &mut self.balancer.candidates.borrow_mut().tiers {
            tier.algorithm.released(group, self.index);
        }
    }
}

/// A request that waits for an endpoint with room; resolves to a lease, or to why there is none.
pub struct Wait<'a> {
    balancer: Rc<Balancer>,
    ask: PickRequest<'a>,
    ticket: Option<u64>,
}

impl Wait<'_> {
    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.balancer.group.state.queue.leave(ticket);
        }
    }
}

impl Future for Wait<'_> {
    type Output = Result<Lease, PickError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { balancer, ask, ticket } = &mut *self;
        ask.now = ask.now.max(Instant::now());
        let queue = &balancer.group.state.queue;
        let max = balancer.group.settings.queue.max;
        let wanted = || balancer.wanted(ask);
        let (at, call) = match *ticket {
            Some(at) => match queue.answer(at, cx.waker(), wanted) {
                Some(call) => (at, Some(call)),
                None => return Poll::Pending,
            },
            None => match queue.enter(max, cx.waker(), wanted) {
                Some((at, tries)) => {
                    *ticket = Some(at);
                    if !tries {
                        return Poll::Pending;
                    }
                    (at, None)
                }
                None => return Poll::Ready(Err(PickError::QueueFull)),
            },
        };
        let taken = balancer.take(ask);
        match call {
            Some(WakeReason::Change) => queue.call_after(at, WakeReason::Change),
            Some(call) if taken.is_err() => queue.call_after(at, call),
            _ => {}
        }
        let decided = match taken {
            Err(why) if why.may_wait() && queue.has_place(at, max) => return Poll::Pending,
            Err(why) if why.may_wait() => Err(PickError::QueueFull),
            decided => decided,
        };
        self.leave();
        Poll::Ready(decided)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
