//! How long requests of a group take to be answered, by share: a small histogram that forgets.
//!
//! One per core, written by that core alone. Four buckets per octave, so that a quantile is told
//! within a fifth, and always too high rather than too low.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets: four per octave of microseconds, up to two minutes.
const BUCKETS: usize = 27 << BITS;
/// Buckets per octave, as a power of two.
const BITS: u32 = 2;
/// When there are so many samples all counts are halved.
const SAMPLES_MAX: u32 = 2048;
/// Fewer samples tell nothing.
const SAMPLES_MIN: u32 = 64;

/// Recent times to the first byte.
#[derive(Debug)]
pub(crate) struct FirstBytes {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
    /// The quantile that was asked for last (its percent in the low byte), as of the last samples.
    known: AtomicU32,
}

impl Default for FirstBytes {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; BUCKETS],
            total: AtomicU32::new(0),
            known: AtomicU32::new(0),
        }
    }
}

/// The bucket of a time, where each octave of microseconds has `1 << bits`. The first one also has
/// what is shorter.
pub(crate) fn bucket_of(time: Duration, bits: u32) -> usize {
    let micros = time.as_micros().clamp(1 << bits, u128::from(u32::MAX)) as u32;
    let octave = micros.ilog2() - bits;
    // The bits after the leading one say which part of its octave it is in.
    ((octave << bits) + (micros >> octave) - (1 << bits)) as usize
}

/// The middle of such a bucket, in microseconds.
pub(crate) fn middle_of(bucket: usize, bits: u32) -> f64 {
    let (octave, part) = (bucket >> bits, bucket & ((1 << bits) - 1));
    (((1 << bits) + part) as f64 + 0.5) * (1u64 << octave) as f64
}

fn bucket(time: Duration) -> usize {
    bucket_of(time, BITS).min(BUCKETS - 1)
}

/// The end of a bucket.
fn end(bucket: usize) -> Duration {
    let (octave, quarter) = (bucket >> BITS, bucket as u64 & 3);
    Duration::from_micros((5 + quarter) << octave)
}

impl FirstBytes {
    pub(crate) fn sample(&self, time: Duration) {
        if let Some(count) = self.counts.get(bucket(time)) {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        let total = self.total.load(Ordering::Relaxed) + 1;
        self.total.store(total, Ordering::Relaxed);
        if total.is_multiple_of(SAMPLES_MIN) {
            self.known.store(0, Ordering::Relaxed);
        }
        if total >= SAMPLES_MAX {
            self.forget_half();
        }
    }

    fn forget_half(&self) {
        let mut total = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            total += half;
        }
        self.total.store(total, Ordering::Relaxed);
    }

    /// The time in which `percent` of the requests were answered.
    pub(crate) fn quantile(&self, percent: u8) -> Option<Duration> {
        let known = self.known.load(Ordering::Relaxed);
        if known & 0xff == u32::from(percent) + 1 {
            return Some(end((known >> 8) as usize));
        }
        let total = self.total.load(Ordering::Relaxed);
        if total < SAMPLES_MIN {
            return None;
        }
        let wanted = (u64::from(total) * u64::from(percent.min(100))).div_ceil(100).max(1);
        let counts = self.counts.iter().map(|count| u64::from(count.load(Ordering::Relaxed)));
        let mut below = 0;
        let reached = |count| {
            below += count;
            below >= wanted
        };
        let bucket = counts.map(reached).position(|reached| reached)?;
        self.known.store((bucket as u32) << 8 | (u32::from(percent) + 1), Ordering::Relaxed);
        Some(end(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another() {
        for micros in 4..200_000u64 {
            let time = Duration::from_micros(micros);
            let bucket = bucket(time);
            assert!(end(bucket) > time, "{micros}");
            assert!(end(bucket).as_micros() <= u128::from(micros) * 5 / 4 + 1, "{micros}");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_within_a_quarter_and_the_past_is_forgotten() {
        let times = FirstBytes::default();
        for index in 0..63 {
            times.sample(Duration::from_millis(index));
        }
        assert_eq!(times.quantile(95), None, "too few");
        for _ in 0..40 {
            for index in 1..=100u64 {
                times.sample(Duration::from_millis(index));
            }
        }
        let check = |percent, expected: u64| {
            let found = times.quantile(percent).unwrap().as_millis() as u64;
            assert!((expected..=expected * 5 / 4 + 1).contains(&found), "p{percent}: {found} ms");
        };
        check(95, 95);
        check(50, 50);
        check(95, 95);
        for _ in 0..20_000 {
            times.sample(Duration::from_millis(500));
        }
        check(50, 500);
        check(5, 500);
    }
}
