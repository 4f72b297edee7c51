//! How long an endpoint takes to its first byte: an average that is quick to rise, and that is
//! forgotten with time.
//!
//! One atomic has the average and the time of its last sample. It decays while no sample comes
//! ([`TAU`]), so that an endpoint that was slow and is let alone for it is asked again in time. A
//! sample counts for at least [`FALL`] or, above the average, [`RISE`] of the new one: one slow
//! answer is seen at once, and what chance does is over after a few more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// Within this time the average decays to 1/e.
const TAU: Duration = Duration::from_secs(10);

/// The least weight of a sample above the average.
const RISE: f32 = 1.0 / 4.0;

/// The least weight of one below.
const FALL: f32 = 1.0 / 16.0;

/// A failure counts as a sample of so many times the average.
const FAILURE_FACTOR: f32 = 4.0;

/// And at least as one of so many microseconds.
const FAILURE_MIN: f32 = 10_000.0;

/// The average.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

impl Latency {
    /// A request has taken so long.
    pub(crate) fn record(&self, first_byte: Duration, now: u32) {
        self.update(now, |_| (first_byte.as_secs_f32() * 1e6).max(1.0));
    }

    /// A request has failed.
    pub(crate) fn failed(&self, now: u32) {
        self.update(now, |average| (average * FAILURE_FACTOR).max(FAILURE_MIN));
    }

    /// In microseconds, decayed; `None`: nothing is known, or no longer.
    pub(crate) fn microseconds(&self, now: u32) -> Option<f32> {
        let (average, stamp) = unpack(self.0.load(Ordering::Relaxed));
        let decayed = average * kept(clock::elapsed(stamp, now));
        // Less than this was never measured.
        (decayed >= 0.1).then_some(decayed)
    }

    // A sample that another core's overtakes is lost, which an average bears.
    fn update(&self, now: u32, sample: impl FnOnce(f32) -> f32) {
        let (average, stamp) = unpack(self.0.load(Ordering::Relaxed));
        let sample = sample(average);
        let forgotten = 1.0 - kept(clock::elapsed(stamp, now));
        let weight = match average {
            0.0 => 1.0,
            _ if sample > average => forgotten.max(RISE),
            _ => forgotten.max(FALL),
        };
        let average = average + (sample - average) * weight;
        self.0.store(u64::from(average.to_bits()) << 32 | u64::from(now), Ordering::Relaxed);
    }
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

/// What is left after so many milliseconds: `exp(-t / TAU)` to four terms, which is cheaper and
/// falls as steadily.
fn kept(elapsed: u32) -> f32 {
    let x = elapsed as f32 / TAU.as_millis() as f32;
    1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(samples: &[(u32, u64)], at: u32, expected: Option<f32>) {
        let latency = Latency::default();
        samples.iter().for_each(|&(at, us)| latency.record(Duration::from_micros(us), at));
        match (latency.microseconds(at), expected) {
            (Some(got), Some(expected)) => assert!((got / expected - 1.0).abs() < 0.01, "{got}"),
            (got, expected) => assert_eq!(got, expected),
        }
    }

    #[test]
    fn averages() {
        check(&[], 5, None);
        check(&[(0, 1_000)], 0, Some(1_000.0));
        check(&[(0, 1_000), (0, 9_000)], 0, Some(3_000.0));
        check(&[(0, 1_000), (0, 200)], 0, Some(950.0));
        // After long silence a sample is all that counts.
        check(&[(0, 1_000), (1_000_000, 200)], 1_000_000, Some(200.0));
        check(&[(0, 1_000)], 10_000, Some(1_000.0 / 2.667));
        check(&[(0, 1_000)], 2_000_000_000, None);
    }

    #[test]
    fn a_failure_is_slow() {
        let latency = Latency::default();
        latency.failed(0);
        assert_eq!(latency.microseconds(0), Some(FAILURE_MIN));
        latency.failed(0);
        assert!(latency.microseconds(0) > Some(FAILURE_MIN));
    }
}
