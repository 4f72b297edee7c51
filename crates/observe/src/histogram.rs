//! Histograms of durations with log-linear buckets: two per octave, from 100 µs to 105 s.
//!
//! Bounds are 2ⁿ and 1.5 × 2ⁿ units of 50 µs, so that a bucket is found by two shifts.

use std::time::Duration;

use super::counter::Counter;

/// The unit of the bounds, in microseconds.
const UNIT_MICROS: u64 = 50;
/// Octaves that have two bounds each; the last bound is alone.
const OCTAVES: usize = 20;
/// Bounds of buckets; one more bucket takes what is above the last.
pub(crate) const BOUNDS: usize = 2 * OCTAVES + 1;

/// The upper bound (which is in the bucket) of bucket `index`, in microseconds.
pub(crate) const fn bound_micros(index: usize) -> u64 {
    let octave = index / 2 + 1;
    let units = if index.is_multiple_of(2) { 2 << (octave - 1) } else { 3 << (octave - 1) };
    units * UNIT_MICROS
}

/// The bucket of a duration.
fn bucket(micros: u64) -> usize {
    // The bucket is the number of bounds that are smaller. A bound b is smaller than `micros`
    // exactly if b / unit <= (micros - 1) / unit.
    let units = micros.saturating_sub(1) / UNIT_MICROS;
    if units < 2 {
        return 0;
    }
    let octave = units.ilog2() as usize;
    let upper_half = (units >> (octave - 1) & 1) as usize;
    (2 * (octave - 1) + upper_half + 1).min(BOUNDS)
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000) + u64::from(duration.subsec_micros())
}

/// Counts durations; written by one thread.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Counter; BOUNDS + 1],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { Counter::new() }; BOUNDS + 1], sum_micros: Counter::new() }
    }
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let micros = micros(duration);
        if let Some(bucket) = self.buckets.get(bucket(micros)) {
            bucket.add(1);
        }
        self.sum_micros.add(micros);
    }

    /// Sets all to zero, under the conditions of [`Counter::reset`].
    pub(crate) fn reset(&self) {
        self.buckets.iter().chain([&self.sum_micros]).for_each(Counter::reset);
    }
}

/// The sum of histograms of several cores.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    pub(crate) buckets: [u64; BOUNDS + 1],
    pub(crate) sum_micros: u64,
}

impl Default for HistogramSum {
    fn default() -> Self {
        Self { buckets: [0; BOUNDS + 1], sum_micros: 0 }
    }
}

impl HistogramSum {
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum = sum.wrapping_add(bucket.get());
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.get());
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let bounds: Vec<u64> = (0..BOUNDS).map(bound_micros).collect();
        assert_eq!(bounds.first(), Some(&100));
        assert_eq!(bounds.get(1..7), Some(&[150, 200, 300, 400, 600, 800][..]));
        assert_eq!(bounds.last(), Some(&104_857_600));
        assert!(bounds.is_sorted());
        let near = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        for micros in (0..2_000).chain(near).chain([u64::MAX]) {
            let expected = bounds.iter().filter(|&&bound| bound < micros).count();
            assert_eq!(bucket(micros), expected, "{micros} µs");
        }
    }

    #[test]
    fn sums() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(100));
        histogram.observe(Duration::from_secs(1_000));
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        sum.add(&histogram);
        assert_eq!(sum.count(), 4);
        assert_eq!(sum.buckets.first(), Some(&2));
        assert_eq!(sum.buckets.last(), Some(&2));
        assert_eq!(sum.sum_micros, 2 * 1_000_000_100);
    }
}
