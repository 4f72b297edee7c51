//! Finds the endpoints that do clearly worse than the others, by their counters within a window.
//!
//! *Failures*: the endpoint's rate against that of all others together. Both rates are taken with one
//! success and one failure added (Agresti and Caffo, 2000), which keeps the test honest where numbers
//! are small or a rate is zero. It must be [`Z_MIN`] standard errors above, which chance alone does
//! not reach in years of looking every second, and [`DIFFERENCE_MIN`] above in absolute terms, since
//! with many requests any difference is beyond chance.
//! *Latency*: its mean against the median of the others' means.
//! In both cases the others are those that would remain, so that one bad endpoint of two is found.

use crate::tally::Totals;

/// Standard errors between an endpoint's rate of failures and that of the others.
const Z_MIN: f64 = 5.0;
/// How far a rate must be above the others' at least.
const DIFFERENCE_MIN: f64 = 0.05;

/// Why an endpoint is an outlier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outlier {
    /// Its rate of failures, and that of the others.
    Failures(f64, f64),
    /// Its mean time to the first byte, and the median of the others, in milliseconds.
    Latency(f64, f64),
}

impl std::fmt::Display for Outlier {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failures(own, others) => {
                let (own, others) = (own * 100.0, others * 100.0);
                write!(out, "{own:.1} % of its requests failed, {others:.1} % of the others'")
            }
            Self::Latency(own, others) => write!(
                out,
                "its mean time to the first byte is {own:.1} ms, the others' median {others:.1} ms"
            ),
        }
    }
}

/// What makes an outlier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) failures: bool,
    /// Times the median; 0: latency does not count.
    pub(crate) latency: f32,
    /// Requests that it takes to be compared.
    pub(crate) requests_min: u32,
}

/// The worst outlier of these, by index.
pub(crate) fn worst(counted: &[(usize, Totals)], bounds: Bounds) -> Option<(usize, Outlier)> {
    let worst_of = |found: &mut dyn Iterator<Item = (f64, usize, Outlier)>| {
        found.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, index, outlier)| (index, outlier))
    };
    let by_failures = worst_of(&mut failing(counted, bounds));
    by_failures.or_else(|| worst_of(&mut slow(counted, bounds)))
}

/// With how far they are off.
fn failing(
    counted: &[(usize, Totals)],
    bounds: Bounds,
) -> impl Iterator<Item = (f64, usize, Outlier)> {
    let min = u64::from(bounds.requests_min.max(1));
    let all = counted.iter().fold((0, 0), |(requests, failures), (_, totals)| {
        (requests + totals.requests, failures + totals.failures)
    });
    let counted = if bounds.failures { counted } else { &[] };
    counted.iter().filter_map(move |(index, own)| {
        let others = (all.0 - own.requests, all.1 - own.failures);
        if own.requests < min || others.0 < min {
            return None;
        }
        let (own_rate, own_variance) = rate(own.failures, own.requests);
        let (rate, variance) = rate(others.1, others.0);
        let z = (own_rate - rate) / (own_variance + variance).sqrt();
        let plain = |failures: u64, requests: u64| failures as f64 / requests as f64;
        let outlier =
            Outlier::Failures(plain(own.failures, own.requests), plain(others.1, others.0));
        (z >= Z_MIN && own_rate - rate >= DIFFERENCE_MIN).then_some((z, *index, outlier))
    })
}

/// A rate and its variance, with one success and one failure added.
fn rate(failures: u64, requests: u64) -> (f64, f64) {
    let requests = requests as f64 + 2.0;
    let rate = (failures as f64 + 1.0) / requests;
    (rate, rate * (1.0 - rate) / requests)
}

fn slow(
    counted: &[(usize, Totals)],
    bounds: Bounds,
) -> impl Iterator<Item = (f64, usize, Outlier)> {
    let enough = |totals: &Totals| totals.answers >= u64::from(bounds.requests_min.max(1));
    let mean = |totals: &Totals| totals.first_byte_micros as f64 / totals.answers as f64 / 1000.0;
    let means = counted.iter().filter(|(_, totals)| enough(totals));
    let mut means: Vec<(f64, usize)> =
        means.map(|(index, totals)| (mean(totals), *index)).collect();
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Only the slowest can be further off than all others.
    let slowest = if bounds.latency > 0.0 { means.pop() } else { None };
    slowest.into_iter().filter_map(move |(own, index)| {
        let middle = means.len() / 2;
        let upper = means.get(middle)?.0;
        let lower = means.get(middle.checked_sub(1).unwrap_or(middle))?.0;
        let median = if means.len().is_multiple_of(2) { (lower + upper) / 2.0 } else { upper };
        let times = own / median.max(f64::MIN_POSITIVE);
        (times > f64::from(bounds.latency)).then_some((times, index, Outlier::Latency(own, median)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { failures: true, latency: 3.0, requests_min: 50 };

    fn counted(of: &[(u64, u64, u64)]) -> Vec<(usize, Totals)> {
        let totals = |&(requests, failures, millis): &(u64, u64, u64)| Totals {
            requests,
            failures,
            answers: requests - failures,
            first_byte_micros: (requests - failures) * millis * 1000,
        };
        of.iter().map(totals).enumerate().collect()
    }

    #[test]
    fn the_worst_is_found_and_nobody_else() {
        /// Requests, failures and mean milliseconds of each.
        #[track_caller]
        fn check(of: &[(u64, u64, u64)], expected: Option<usize>) {
            let found = worst(&counted(of), BOUNDS);
            assert_eq!(found.map(|(index, _)| index), expected, "{of:?}: {found:?}");
        }
        check(&[], None);
        check(&[(1000, 1000, 1)], None); // nobody to compare with
        check(&[(1000, 0, 1), (1000, 0, 1), (1000, 100, 1)], Some(2));
        check(&[(1000, 100, 1), (1000, 100, 1), (1000, 110, 1)], None); // all fail alike
        check(&[(1000, 1000, 1), (1000, 1000, 1)], None);
        check(&[(1000, 0, 1), (1000, 500, 1)], Some(1)); // of two
        check(&[(1000, 200, 1), (1000, 900, 1), (1000, 0, 1)], Some(1)); // the worst first
        // Few requests: only what is beyond doubt.
        check(&[(49, 49, 1), (1000, 0, 1)], None);
        check(&[(50, 3, 1), (1000, 0, 1)], None);
        check(&[(50, 25, 1), (1000, 0, 1)], Some(0));
        check(&[(50, 25, 1), (40, 0, 1)], None); // the others are too few
        // Beyond chance, but not by much.
        check(&[(1_000_000, 30_000, 1), (1_000_000, 10_000, 1)], None);
        // Latency.
        check(&[(100, 0, 10), (100, 0, 12), (100, 0, 100)], Some(2));
        check(&[(100, 0, 10), (100, 0, 12), (100, 0, 30)], None);
        check(&[(100, 0, 10), (100, 0, 31)], Some(1));
        check(&[(100, 0, 10), (49, 0, 100)], None);
        check(&[(100, 0, 10)], None);
    }

    #[test]
    fn what_is_off_does_not_count() {
        let failing = counted(&[(1000, 0, 1), (1000, 500, 1)]);
        assert_eq!(worst(&failing, Bounds { failures: false, ..BOUNDS }), None);
        let slow = counted(&[(1000, 0, 1), (1000, 0, 100)]);
        assert_eq!(worst(&slow, Bounds { latency: 0.0, ..BOUNDS }), None);
    }

    /// Ten endpoints that fail alike, looked at as often as in half a day, at several rates.
    #[test]
    fn chance_alone_ejects_nobody() {
        let mut seed = 42u64;
        let mut random = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f64 / (1u64 << 24) as f64
        };
        for (rate, requests, looks) in [(0.3, 50, 2000), (0.02, 50, 4000), (0.5, 200, 500)] {
            for _ in 0..looks {
                let drawn: Vec<(u64, u64, u64)> = (0..10)
                    .map(|_| {
                        (requests, (0..requests).filter(|_| random() < rate).count() as u64, 1)
                    })
                    .collect();
                assert_eq!(worst(&counted(&drawn), BOUNDS), None, "{drawn:?}");
            }
        }
    }
}
