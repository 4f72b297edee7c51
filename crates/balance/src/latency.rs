//! How long an endpoint takes to begin a response: one atomic, written by all cores.
//!
//! A moving average that rises faster than it falls, so that trouble shows at once and good news
//! have to be confirmed. A failure counts as a slow answer, or an endpoint that fails at once would
//! look like the fastest. Without answers it fades, so that an endpoint which was slow is tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After so long without a sample the average is down to two fifths.
const FADE_MS: f32 = 10_000.0;
/// The weight of a sample above the average.
const RISE: f32 = 1.0 / 8.0;
/// The weight of a sample below it, if it came right after another; later ones weigh more.
const FALL: f32 = 1.0 / 32.0;
/// A failure counts as an answer that took so many times the average …
const FAILURE_FACTOR: f32 = 10.0;
/// … but at least this long, in microseconds …
const FAILURE_MIN: f32 = 10_000.0;
/// … and, if the average is below it, no longer than this.
const FAILURE_MAX: f32 = 1_000_000.0;
/// Units per microsecond of what is stored.
const SCALE: f32 = 16.0;

/// The average, in sixteenths of a microsecond (low half; zero: unknown), and when the last sample
/// came, in milliseconds (high half; it wraps).
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

/// What is left after so long: close to `exp(-t)`.
fn faded(elapsed_ms: u32) -> f32 {
    let t = elapsed_ms as f32 * (1.0 / FADE_MS);
    1.0 / (1.0 + t + 0.5 * t * t)
}

fn elapsed(stamp: u32, now_ms: u64) -> u32 {
    let elapsed = (now_ms as u32).wrapping_sub(stamp);
    // Cores read their clocks at different moments: a stamp may be a little ahead.
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

impl Latency {
    /// The average now, in microseconds.
    pub(crate) fn micros(&self, now_ms: u64) -> Option<f32> {
        let packed = self.0.load(Ordering::Relaxed);
        let (value, stamp) = (packed as u32, (packed >> 32) as u32);
        (value > 0).then(|| value as f32 / SCALE * faded(elapsed(stamp, now_ms)))
    }

    pub(crate) fn sample(&self, first_byte: Duration, now_ms: u64) {
        self.learn(now_ms, |_| first_byte.as_secs_f32() * 1e6);
    }

    pub(crate) fn failure(&self, now_ms: u64) {
        self.learn(now_ms, |average| {
            (average * FAILURE_FACTOR).clamp(FAILURE_MIN, FAILURE_MAX.max(average))
        });
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// A sample lost to another core at the same moment is no loss.
    fn learn(&self, now_ms: u64, sample: impl FnOnce(f32) -> f32) {
        let packed = self.0.load(Ordering::Relaxed);
        let (value, stamp) = (packed as u32, (packed >> 32) as u32);
        let average = value as f32 / SCALE;
        let sample = sample(average);
        let weight = match value {
            0 => 1.0,
            _ if sample > average => RISE.max(1.0 - faded(elapsed(stamp, now_ms))),
            _ => FALL.max(1.0 - faded(elapsed(stamp, now_ms))),
        };
        let average = ((average + (sample - average) * weight) * SCALE).max(1.0) as u32;
        let packed = u64::from(now_ms as u32) << 32 | u64::from(average);
        self.0.store(packed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_fast_falls_slowly_and_fades() {
        let latency = Latency::default();
        assert_eq!(latency.micros(5), None);
        for now in 1..=1000 {
            latency.sample(Duration::from_millis(1), now);
        }
        let near = |now, expected: f32| {
            let micros = latency.micros(now).unwrap();
            assert!((micros / expected - 1.0).abs() < 0.05, "{micros} instead of {expected}");
        };
        near(1000, 1000.0);
        // One answer that is ten times slower is a clear difference.
        latency.sample(Duration::from_millis(10), 1001);
        near(1001, 2125.0);
        // It takes more than twenty good ones to forget it.
        for now in 0..20 {
            latency.sample(Duration::from_millis(1), 1002 + now);
        }
        near(1022, 1600.0);
        near(1022 + 10_000, 640.0);
        assert!(latency.micros(1022 + 100_000).unwrap() < 30.0);
    }

    #[test]
    fn one_that_fails_fast_does_not_look_fast() {
        let latency = Latency::default();
        latency.sample(Duration::from_millis(1), 1);
        for _ in 0..10 {
            latency.sample(Duration::from_micros(100), 2);
            latency.failure(2);
        }
        assert!(latency.micros(2).unwrap() > 2_500.0);
        for _ in 0..200 {
            latency.failure(3);
        }
        assert!(latency.micros(3).unwrap() < 1_000_001.0, "an end to it");
    }

    #[test]
    fn a_stamp_from_ahead_and_one_that_wraps() {
        let latency = Latency::default();
        latency.sample(Duration::from_millis(8), 1000);
        assert_eq!(latency.micros(990), Some(8000.0));
        let late = u64::from(u32::MAX);
        latency.reset();
        latency.sample(Duration::from_millis(8), late);
        assert!(latency.micros(late + 10).unwrap() > 7900.0);
    }
}
