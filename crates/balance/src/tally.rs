//! Counters per core: each is written by one thread and read by any, which costs no more than a plain number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::outcome::{Outcome, Verdict};

/// Moments that a window remembers at most; one that is longer than this many sweeps is cut.
const MARKS_MAX: usize = 120;

/// Adds to a counter that only this thread writes.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// The counters of one core for one endpoint.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    requests: AtomicU64,
    failures: AtomicU64,
    answers: AtomicU64,
    first_byte_micros: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, outcome: Outcome) {
        let verdict = outcome.verdict();
        if verdict == Verdict::Nothing {
            return;
        }
        add(&self.requests, 1);
        if verdict != Verdict::Good {
            add(&self.failures, 1);
        }
        if let Some(first_byte) = outcome.first_byte() {
            add(&self.answers, 1);
            add(&self.first_byte_micros, micros(first_byte));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000) + u64::from(duration.subsec_micros())
}

/// The counters of all cores for an endpoint, since it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Tries that say something of it.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were answered.
    pub answers: u64,
    /// The sum of the times to the first byte of those answers.
    pub first_byte_micros: u64,
}

impl Totals {
    /// What was added since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.wrapping_sub(before.requests),
            failures: self.failures.wrapping_sub(before.failures),
            answers: self.answers.wrapping_sub(before.answers),
            first_byte_micros: self.first_byte_micros.wrapping_sub(before.first_byte_micros),
        }
    }
}

/// The counters of every core.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<Vec<Arc<Tally>>>);

impl Tallies {
    pub(crate) fn of(&self, core: usize) -> Arc<Tally> {
        per_core(&self.0, core)
    }

    pub(crate) fn totals(&self) -> Totals {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        total(tallies.iter().map(|tally| &**tally))
    }
}

/// The sum of the counters of several cores.
pub(crate) fn total<'t>(tallies: impl Iterator<Item = &'t Tally>) -> Totals {
    tallies.fold(Totals::default(), |sum, tally| Totals {
        requests: sum.requests.wrapping_add(tally.requests.load(Ordering::Relaxed)),
        failures: sum.failures.wrapping_add(tally.failures.load(Ordering::Relaxed)),
        answers: sum.answers.wrapping_add(tally.answers.load(Ordering::Relaxed)),
        first_byte_micros: sum
            .first_byte_micros
            .wrapping_add(tally.first_byte_micros.load(Ordering::Relaxed)),
    })
}

/// What was counted within a window that moves along: totals as they were, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<(u64, Totals)>);

impl Window {
    /// What was added within the last `window`, or since [`Window::clear`].
    pub(crate) fn advance(&mut self, totals: Totals, window: Duration, now_ms: u64) -> Totals {
        let begin = u128::from(now_ms).saturating_sub(window.as_millis());
        while self.0.len() > 1 && self.0.front().is_some_and(|(at, _)| u128::from(*at) < begin) {
            self.0.pop_front();
        }
        if self.0.len() >= MARKS_MAX {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(totals, |(_, totals)| *totals);
        self.0.push_back((now_ms, totals));
        totals.since(before)
    }

    /// What was counted until now does not count any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a core has of something that each has one of.
pub(crate) fn per_core<T: Default>(all: &Mutex<Vec<Arc<T>>>, core: usize) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() <= core {
        all.resize_with(core + 1, Arc::default);
    }
    all.get(core).map_or_else(Arc::default, Arc::clone)
}
