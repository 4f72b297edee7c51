//! The state of one endpoint, shared by all cores and kept over reloads.
//!
//! What every request touches is on a line of its own (`Busy`); the rest is read now and then and
//! written when something changes. Words are behind a mutex that only failures and changes take.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clock::millis;
use crate::evidence::Evidence;
use crate::latency::Latency;
use crate::tally::{Tallies, Tally, Totals, Window};

/// Failures whose words are kept.
const FAILURES_KEPT: usize = 8;
/// Once there are that many, another one is kept at most so often.
const FAILURES_APART: Duration = Duration::from_millis(100);

/// Terms are doubled so often at most.
const TERM_DOUBLINGS_MAX: u32 = 16;
/// After this time the one request of a probation blocks no other: a response may take hours.
const TRIAL_MS: u64 = 5_000;
/// The share of its load that an endpoint in slow start gets at first.
const RAMP_MIN: f32 = 0.1;

/// The status of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointStatus {
    /// It takes requests.
    #[default]
    Up,
    /// Its checks fail.
    Down,
    /// It gets no requests for a while, because requests to it failed.
    Ejected,
    /// It takes only requests that are bound to it.
    Draining,
}

impl EndpointStatus {
    /// As in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

/// A failure that an endpoint showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFailure {
    /// When.
    pub at: SystemTime,
    /// What happened.
    pub words: Box<str>,
}

/// Its checks fail.
pub(crate) const DOWN: u32 = 1;
/// It is ejected.
pub(crate) const EJECTED: u32 = 2;
/// It drains, by a change at run time.
pub(crate) const DRAINING: u32 = 4;

/// It has returned from an ejection, and takes one request at a time until it answers one well.
pub(crate) const PROBATION: u32 = 8;

/// It was ejected as there was no connection to it: one is tried before it returns.
pub(crate) const UNREACHED: u32 = 16;

/// It drains by the configuration. Kept here only to report since when: each snapshot has its own setting
/// (`Member::status`), and the previous one stays in use if the new one is rejected.
pub(crate) const SET_TO_DRAIN: u32 = 32;

/// What every request writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Busy {
    in_flight: AtomicU32,
    /// Failures without a good answer between them.
    streak: AtomicU32,
    latency: Latency,
}

#[derive(Debug, Default)]
struct Notes {
    failures: VecDeque<EndpointFailure>,
    why: Option<Box<str>>,
}

/// The state of one endpoint: a few atomics, written by all cores.
#[derive(Debug)]
pub struct EndpointState {
    busy: Busy,
    name: Arc<str>,
    flags: AtomicU32,
    /// When the standing changed last, in milliseconds of the Unix epoch.
    since_unix_ms: AtomicU64,
    /// When slow start began; 0: it is over, or there is none.
    ramp_ms: AtomicU64,
    /// When the term of an ejection ends.
    until_ms: AtomicU64,
    /// Ejections that are not forgotten yet; each doubles the next term.
    terms: AtomicU32,
    /// When the last term ended, or one of `terms` was forgotten.
    returned_ms: AtomicU64,
    ejections: AtomicU64,
    connecting: AtomicU32,
    notes: Mutex<Notes>,
    tallies: Tallies,
    /// When the one request of a probation began, if it is under way; else 0.
    trial_ms: AtomicU64,
    /// For the sweep.
    window: Mutex<Window>,
    /// Whether its failures are its own fault; touched by failures only.
    evidence: Mutex<Evidence>,
}

impl EndpointState {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            busy: Busy::default(),
            name,
            flags: AtomicU32::new(0),
            since_unix_ms: AtomicU64::new(unix_ms()),
            ramp_ms: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            terms: AtomicU32::new(0),
            returned_ms: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            connecting: AtomicU32::new(0),
            notes: Mutex::default(),
            tallies: Tallies::default(),
            trial_ms: AtomicU64::new(0),
            window: Mutex::default(),
            evidence: Mutex::default(),
        }
    }

    /// As written in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Requests in flight, over all cores.
    pub fn in_flight(&self) -> u32 {
        self.busy.in_flight.load(Ordering::Relaxed)
    }

    /// Its status, except that a `drain` of the configuration does not show here: see
    /// [`Member::status`](crate::Member::status).
    pub fn status(&self) -> EndpointStatus {
        status(self.flags())
    }

    /// Since when it has this status.
    pub fn since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.since_unix_ms.load(Ordering::Relaxed))
    }

    /// Why it has this status, in words.
    pub fn why(&self) -> Option<String> {
        self.notes().why.as_deref().map(str::to_owned)
    }

    /// The last failures, the oldest first.
    pub fn failures(&self) -> Vec<EndpointFailure> {
        self.notes().failures.iter().cloned().collect()
    }

    /// Failures without a good answer between them.
    pub fn failures_in_a_row(&self) -> u32 {
        self.busy.streak.load(Ordering::Relaxed)
    }

    /// The recent time to the first byte: an average that rises faster than it falls.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let micros = self.latency_micros(millis(now))?;
        Some(Duration::from_micros(micros as u64))
    }

    /// The same for algorithms: `now_ms` is [`millis`] of now.
    pub fn latency_micros(&self, now_ms: u64) -> Option<f32> {
        self.busy.latency.micros(now_ms)
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// How long it stays ejected.
    pub fn ejected_for(&self, now: Instant) -> Option<Duration> {
        let ejected = self.flags() & EJECTED != 0;
        let left = self.until_ms.load(Ordering::Relaxed).saturating_sub(millis(now));
        ejected.then_some(Duration::from_millis(left))
    }

    /// Connections that are being opened.
    pub fn connecting(&self) -> u32 {
        self.connecting.load(Ordering::Relaxed)
    }

    pub(crate) fn count_connecting(&self, more: bool) {
        match more {
            true => self.connecting.fetch_add(1, Ordering::Relaxed),
            false => self.connecting.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// The part of its load that it gets in slow start: above 0, up to 1.
    pub(crate) fn ramp(&self, slow_start: Duration, now_ms: u64) -> f32 {
        let begun = self.ramp_ms.load(Ordering::Relaxed);
        if begun == 0 || slow_start.is_zero() {
            return 1.0;
        }
        let elapsed = now_ms.saturating_sub(begun) as f32;
        let part = elapsed / (slow_start.as_millis() as f32).max(1.0);
        (RAMP_MIN + (1.0 - RAMP_MIN) * part).min(1.0)
    }

    /// The same, for reports.
    pub fn ramp_at(&self, slow_start: Duration, now: Instant) -> f32 {
        self.ramp(slow_start, millis(now))
    }

    /// Begins slow start.
    pub(crate) fn begin_ramp(&self, now_ms: u64) {
        self.ramp_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Forgets the latency: it no longer describes the endpoint.
    pub(crate) fn forget_latency(&self) {
        self.busy.latency.reset();
    }

    pub(crate) fn end_ramp(&self) -> bool {
        self.ramp_ms.swap(0, Ordering::Relaxed) != 0
    }

    pub(crate) fn is_ramping(&self) -> bool {
        self.ramp_ms.load(Ordering::Relaxed) != 0
    }

    /// Begins a term of ejection, twice as long as the last.
    pub(crate) fn begin_term(&self, term: Duration, term_max: Duration, now_ms: u64) {
        let doublings = self.terms.fetch_add(1, Ordering::Relaxed).min(TERM_DOUBLINGS_MAX);
        let term = term.saturating_mul(1 << doublings).min(term_max.max(term));
        let until = now_ms.saturating_add(term.as_millis().try_into().unwrap_or(u64::MAX));
        self.until_ms.store(until, Ordering::Relaxed);
    }

    pub(crate) fn term_is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms.load(Ordering::Relaxed)
    }

    /// Whether an unreachable endpoint is due for a probe: once its term is over, and again at intervals
    /// until the result of a probe is reported.
    pub(crate) fn take_probe(&self, again: Duration, now_ms: u64) -> bool {
        let due = self.flags() & UNREACHED != 0 && self.term_is_over(now_ms);
        if due {
            self.until_ms.store(now_ms + again.as_millis() as u64, Ordering::Relaxed);
        }
        due
    }

    pub(crate) fn allow_return(&self, now_ms: u64) {
        self.until_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn end_term(&self, now_ms: u64) {
        self.returned_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Forgets one term for each `window` without a further ejection.
    pub(crate) fn forget_term(&self, window: Duration, now_ms: u64) {
        let terms = self.terms.load(Ordering::Relaxed);
        let since = now_ms.saturating_sub(self.returned_ms.load(Ordering::Relaxed));
        if terms > 0 && u128::from(since) >= window.as_millis() {
            self.terms.store(terms - 1, Ordering::Relaxed);
            self.returned_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Sets and clears flags. True if that changed the status of the endpoint.
    pub(crate) fn set_flags(&self, set: u32, clear: u32, why: &dyn Display) -> bool {
        let mut notes = self.notes();
        let before = self.flags();
        let after = (before & !clear) | set;
        if after == before {
            return false;
        }
        self.flags.store(after, Ordering::Relaxed);
        if set & !before & EJECTED != 0 {
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        if status(before) == status(after) {
            return false;
        }
        self.since_unix_ms.store(unix_ms(), Ordering::Relaxed);
        notes.why = Some(why.to_string().into());
        true
    }

    /// Notes whether the configuration has it drain. True if that is new.
    pub(crate) fn set_to_drain(&self, on: bool, why: &str) -> bool {
        let mut notes = self.notes();
        let before = self.flags();
        let after = if on { before | SET_TO_DRAIN } else { before & !SET_TO_DRAIN };
        if after == before {
            return false;
        }
        self.flags.store(after, Ordering::Relaxed);
        if status(before) != EndpointStatus::Down {
            self.since_unix_ms.store(unix_ms(), Ordering::Relaxed);
            notes.why = Some(why.into());
        }
        true
    }

    /// It answered, and well. True if that ends its probation.
    pub(crate) fn record_success(&self, first_byte: Option<Duration>, now_ms: u64) -> bool {
        if let Some(first_byte) = first_byte {
            self.busy.latency.sample(first_byte, now_ms);
        }
        if self.busy.streak.load(Ordering::Relaxed) != 0 {
            self.busy.streak.store(0, Ordering::Relaxed);
        }
        let ends = self.is_on_probation();
        if ends {
            self.set_flags(0, PROBATION, &"");
        }
        ends
    }

    pub(crate) fn is_on_probation(&self) -> bool {
        self.flags() & PROBATION != 0
    }

    /// The one request of a probation, unless there is one: since when it is, to leave with. It counts
    /// apart from those under way, which may be from before.
    pub(crate) fn enter_trial(&self, now_ms: u64) -> Option<u64> {
        let (before, since) = (self.trial_ms.load(Ordering::Relaxed), now_ms.max(1));
        let is_free = before == 0 || since.saturating_sub(before) >= TRIAL_MS;
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        let entered = is_free && self.trial_ms.compare_exchange(before, since, set, failed).is_ok();
        entered.then_some(since)
    }

    pub(crate) fn leave_trial(&self, since: u64) {
        // Another one may have started in the meantime.
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.trial_ms.compare_exchange(since, 0, set, failed);
    }

    /// It failed. Returns how many times in a row now.
    pub(crate) fn record_failure(&self, words: &dyn Display, now_ms: u64) -> u32 {
        self.busy.latency.failure(now_ms);
        self.note(words);
        self.busy.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Keeps the words of a failure.
    pub(crate) fn note(&self, words: &dyn Display) {
        // Another core that fails at the same moment has words enough.
        if let Ok(mut notes) = self.notes.try_lock() {
            let at = SystemTime::now();
            let recent = |last: &EndpointFailure| {
                at.duration_since(last.at).is_ok_and(|apart| apart < FAILURES_APART)
            };
            let full = notes.failures.len() >= FAILURES_KEPT;
            if !full || !notes.failures.back().is_some_and(recent) {
                if full {
                    notes.failures.pop_front();
                }
                notes.failures.push_back(EndpointFailure { at, words: words.to_string().into() });
            }
        }
    }

    pub(crate) fn set_streak(&self, streak: u32) {
        self.busy.streak.store(streak, Ordering::Relaxed);
        self.evidence().forget();
    }

    /// The evidence of whose fault its failures are.
    pub(crate) fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request more, unless there are `max` already.
    pub(crate) fn enter(&self, max: Option<u32>) -> bool {
        enter(&self.busy.in_flight, max)
    }

    pub(crate) fn leave(&self) {
        // Before the queue is looked at: see `queue`.
        self.busy.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// The counters of one core.
    pub(crate) fn tally(&self, core: usize) -> Arc<Tally> {
        self.tallies.of(core)
    }

    /// What all cores have counted since the endpoint is known.
    pub fn totals(&self) -> Totals {
        self.tallies.totals()
    }

    /// What they have counted within the last `window`.
    pub(crate) fn recent(&self, window: Duration, now_ms: u64) -> Totals {
        self.window().advance(self.totals(), window, now_ms)
    }

    /// What was counted until now says nothing any more.
    pub(crate) fn forget_recent(&self) {
        self.window().clear();
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one more, unless there are `max`. One that is refused is never counted, so that nobody
/// else is refused because of it.
pub(crate) fn enter(count: &AtomicU32, max: Option<u32>) -> bool {
    let Some(max) = max else {
        count.fetch_add(1, Ordering::Relaxed);
        return true;
    };
    let more = |count: u32| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
}

fn status(flags: u32) -> EndpointStatus {
    match flags {
        _ if flags & DOWN != 0 => EndpointStatus::Down,
        _ if flags & DRAINING != 0 => EndpointStatus::Draining,
        _ if flags & EJECTED != 0 => EndpointStatus::Ejected,
        _ => EndpointStatus::Up,
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
