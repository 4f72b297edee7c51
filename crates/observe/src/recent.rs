//! Recent rates of endpoints, and quantiles of their time to the first byte.
//!
//! Counters only ever grow, so that a few remembered sums are enough to compute what came since. The
//! control thread takes them; a request pays nothing for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::{BOUNDS, HistogramSum, bound_micros};
use super::metrics::CODE_CLASSES;
use super::registry::State;

/// The time between two remembered sums.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);
/// How many sums are kept: rates are of the last 30 to 40 seconds.
const REMEMBERED_MAX: usize = 4;

/// Recent rates and quantiles of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recent {
    /// Requests per second.
    pub requests: f64,
    /// Requests with a status of 5xx and connections that could not be opened, per second.
    pub failures: f64,
    /// The time from the request sent to the first byte of its response that half of them did not
    /// exceed; `None` if there was no response.
    pub p50: Option<Duration>,
    /// The same for nine of ten.
    pub p90: Option<Duration>,
    /// The same for 99 of 100.
    pub p99: Option<Duration>,
}

/// Sums of an endpoint since the start of the process.
#[derive(Debug, Clone, Default)]
struct Sums {
    requests: u64,
    failures: u64,
    first_byte: HistogramSum,
}

#[derive(Debug)]
struct Remembered {
    at: Instant,
    /// By slot.
    sums: Vec<Sums>,
}

/// Sums of all endpoints at a few times in the past.
#[derive(Debug, Default)]
pub(crate) struct History {
    remembered: Mutex<VecDeque<Remembered>>,
}

impl History {
    /// Remembers the present sums if the last ones are old enough. To be called about once a second.
    pub(crate) fn remember(&self, state: &State, now: Instant) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.back().is_some_and(|last| now.duration_since(last.at) < REMEMBER_EVERY) {
            return;
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.pop_front();
        }
        let sums = (0..state.endpoints.len()).map(|slot| sums(state, slot)).collect();
        remembered.push_back(Remembered { at: now, sums });
    }

    /// Forgets the sums of slots that were freed.
    pub(crate) fn forget(&self, slots: &[u32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for past in remembered.iter_mut() {
            for &slot in slots {
                if let Some(sums) = past.sums.get_mut(slot as usize) {
                    *sums = Sums::default();
                }
            }
        }
    }

    /// Rates and quantiles of the endpoint of a slot since the oldest remembered sum.
    pub(crate) fn recent(&self, state: &State, slot: u32, now: Instant) -> Recent {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = remembered.front() else { return Recent::default() };
        let seconds = now.saturating_duration_since(first.at).as_secs_f64();
        if seconds < 0.1 {
            return Recent::default(); // too short for a rate
        }
        let (now, none) = (sums(state, slot), Sums::default());
        // An endpoint that is newer than the sum began with nothing.
        let before = first.sums.get(slot as usize).unwrap_or(&none);
        let first_byte = now.first_byte.since(&before.first_byte);
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Recent {
            requests: per_second(now.requests, before.requests),
            failures: per_second(now.failures, before.failures),
            p50: first_byte.quantile(0.5),
            p90: first_byte.quantile(0.9),
            p99: first_byte.quantile(0.99),
        }
    }
}

fn sums(state: &State, slot: u32) -> Sums {
    const FAILED: usize = CODE_CLASSES.len() - 1;
    let mut sums = Sums::default();
    for cells in state.cores.iter().filter_map(|core| core.endpoints.get(slot)) {
        let by_class = cells.requests.iter().map(|count| count.get());
        sums.requests += by_class.sum::<u64>();
        sums.failures += cells.requests.get(FAILED).map_or(0, |count| count.get());
        sums.failures += cells.failed.get();
        sums.first_byte.add(&cells.first_byte);
    }
    sums
}

impl HistogramSum {
    /// What was added since.
    fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (now, before) in since.buckets.iter_mut().zip(&before.buckets) {
            *now = now.saturating_sub(*before);
        }
        since.sum_micros = since.sum_micros.saturating_sub(before.sum_micros);
        since
    }

    /// The duration that this share of those counted do not exceed, taken as evenly spread within its
    /// bucket; `None` if there are none.
    fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = (count as f64 * share).max(1.0);
        let mut below = 0;
        for (index, &bucket) in self.buckets.iter().enumerate() {
            if bucket > 0 && (below + bucket) as f64 >= rank {
                let lower = index.checked_sub(1).map_or(0, bound_micros) as f64;
                // Above the last bound nothing is known but that.
                let upper = bound_micros(index.min(BOUNDS - 1)) as f64;
                let part = (rank - below as f64) / bucket as f64;
                let micros = lower + (upper - lower).max(0.0) * part;
                return Some(Duration::from_micros(micros as u64));
            }
            below += bucket;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::*;

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let histogram = Histogram::default();
        (0..90).for_each(|_| histogram.observe(Duration::from_micros(350)));
        (0..10).for_each(|_| histogram.observe(Duration::from_millis(7)));
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        let within = |share, from, to| {
            let micros = sum.quantile(share).unwrap().as_micros();
            assert!((from..=to).contains(&micros), "{share}: {micros} µs");
        };
        within(0.5, 300, 400);
        within(0.9, 300, 400);
        within(0.99, 6_400, 9_600);
        within(1.0, 6_400, 9_600);
        assert_eq!(HistogramSum::default().quantile(0.5), None);
    }

    #[test]
    fn only_what_came_since_counts() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(3));
        let mut before = HistogramSum::default();
        before.add(&histogram);
        histogram.observe(Duration::from_micros(100));
        let mut now = HistogramSum::default();
        now.add(&histogram);
        let since = now.since(&before);
        assert_eq!((since.count(), since.sum_micros), (1, 100));
        assert!(since.quantile(0.99).unwrap() <= Duration::from_micros(100));
    }
}
