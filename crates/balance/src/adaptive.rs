//! Adaptive concurrency: how many requests an upstream takes at once follows from its latency.
//!
//! Below its capacity a server answers equally fast however many requests it has; above, each
//! further one only makes all wait longer. So the limit follows the ratio of the recent latency to the latency
//! without a queue, the *base*:
//!
//! `limit = limit × min(1, 1.25 × base / latency) + √limit`
//!
//! The root is what it grows by as long as latency stays near the base, and the queue it keeps
//! otherwise. Both latencies are medians over a window, so that like is compared with like.
//!
//! The base is what needs care. It is taken from windows in which the limit was not nearly used; it
//! goes down with the latency; and it is replaced where it cannot be right:
//! - if halving the limit makes answers fewer and not faster, it is the requests that have become
//!   slower and not the queue that is too long;
//! - if nothing near it was seen for [`BASE_AGE_MAX_MS`], it is measured with half the limit.
//!
//! Each core collects samples on its own ([`SampleBatch`]) and hands them over now and then, unless another core does
//! so just then. All times are arguments.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};

use crate::outcome::{Outcome, Verdict};
use crate::quantile::{bucket_of, middle_of};

/// Buckets per octave, as a power of two: a median is told within three percent.
const BITS: u32 = 4;
/// Up to two minutes.
const BUCKETS: usize = 24 << BITS;
/// How much slower than the base answers may be for the limit to grow on.
const TOLERANCE: f64 = 1.25;
/// The limit is not cut to less than this part of itself at once.
const CUT_MAX: f64 = 0.5;
/// Where it begins.
const LIMIT_AT_FIRST: u32 = 20;
/// A window is at least this long, and at least twice as long as an answer takes …
const WINDOW_MS: u64 = 100;
/// … and has so many answers.
const SAMPLES_MIN: u32 = 100;
/// After so long fewer must do …
const WINDOW_MAX_MS: u64 = 5_000;
/// … but not fewer than this.
const SAMPLES_FEW: u32 = 10;
/// A core hands over what it has after so many answers, or so long.
const BATCH_SAMPLES: u32 = 32;
const BATCH_MS: u64 = 25;
/// After this time without a latency near it, the base is measured again.
const BASE_AGE_MAX_MS: u64 = 30_000;
/// What is near: times the base.
const NEAR: f64 = 1.1;
/// How fast the base follows what is seen.
const FOLLOW: f64 = 0.2;
/// Halving the limit was wrong if latency is still above this part, and the answers a second below.
const NO_BETTER: f64 = 0.75;
/// A server that gives this part of the answers that it gave with twice the limit is still busy.
const STILL_BUSY: f64 = 0.9;
/// Windows after which what is seen belongs to a limit that falls, not to the moment before.
const SETTLED: u32 = 3;

type Counts = [u32; BUCKETS];

/// What one core has seen since it handed over last.
#[derive(Debug)]
pub(crate) struct SampleBatch {
    counts: Box<Counts>,
    samples: u32,
    since_ms: u64,
    peak: u32,
}

impl Default for SampleBatch {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), samples: 0, since_ms: 0, peak: 0 }
    }
}

impl SampleBatch {
    /// Counts the outcome of a try, with so many requests in flight. True if it is time to hand over.
    pub(crate) fn count(&mut self, outcome: Outcome, in_flight: u32, now_ms: u64) -> bool {
        let bucket = match (outcome.verdict(), outcome.first_byte()) {
            (Verdict::Good, Some(first_byte)) => bucket_of(first_byte, BITS).min(BUCKETS - 1),
            // It took longer than clients wait. A failure that comes at once says nothing of a queue.
            _ if outcome == Outcome::Timeout => BUCKETS - 1,
            _ => return false,
        };
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        if self.samples == 0 {
            self.since_ms = now_ms;
        }
        self.samples += 1;
        self.peak = self.peak.max(in_flight);
        self.samples >= BATCH_SAMPLES || now_ms.saturating_sub(self.since_ms) >= BATCH_MS
    }
}

/// The limit of a group.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// 0: as at first.
    limit: AtomicU32,
    gradient: Mutex<Gradient>,
}

impl Limiter {
    /// How many requests may be under way.
    pub(crate) fn limit(&self, min: u32, max: u32) -> u32 {
        let limit = match self.limit.load(Ordering::Relaxed) {
            0 => LIMIT_AT_FIRST,
            limit => limit,
        };
        limit.clamp(min.max(1), max.max(min).max(1))
    }

    /// Takes over what a core has seen, unless another one is at it. Returns by how many the limit
    /// has grown.
    pub(crate) fn take(&self, batch: &mut SampleBatch, min: u32, max: u32, now_ms: u64) -> u32 {
        let mut gradient = match self.gradient.try_lock() {
            Ok(gradient) => gradient,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return 0,
        };
        gradient.add(batch, now_ms);
        let before = self.limit(min, max);
        let Some(after) = gradient.step(f64::from(before), now_ms) else { return 0 };
        let after = after.clamp(f64::from(min.max(1)), f64::from(max.max(min).max(1)));
        self.limit.store(after.round() as u32, Ordering::Relaxed);
        (after.round() as u32).saturating_sub(before)
    }
}

/// The base is being measured, with half the limit.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// What the limit is afterwards.
    restore: f64,
    /// Answers per millisecond before.
    rate: f64,
    /// Whether the requests from before have ended.
    settled: bool,
}

/// What was seen in a window, while the limit falls since latency is above what is tolerated.
#[derive(Debug, Clone, Copy)]
struct WindowResult {
    /// For so many windows.
    windows: u32,
    /// The limit, the latency and the answers per millisecond when that had settled, or when the
    /// limit was halved since.
    limit: f64,
    latency: f64,
    rate: f64,
}

/// The window, and what was learnt from those before.
#[derive(Debug)]
struct Gradient {
    counts: Box<Counts>,
    samples: u32,
    begun_ms: u64,
    peak: u32,
    /// In microseconds, as all latencies here.
    base: Option<f64>,
    /// When something near the base was seen last.
    near_ms: u64,
    latest: f64,
    falling: Option<WindowResult>,
    probe: Option<Probe>,
}

impl Default for Gradient {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            samples: 0,
            begun_ms: 0,
            peak: 0,
            base: None,
            near_ms: 0,
            latest: 0.0,
            falling: None,
            probe: None,
        }
    }
}

impl Gradient {
    fn add(&mut self, batch: &mut SampleBatch, now_ms: u64) {
        if self.samples == 0 {
            self.begun_ms = batch.since_ms;
        }
        for (sum, count) in self.counts.iter_mut().zip(batch.counts.iter_mut()) {
            *sum += std::mem::take(count);
        }
        self.samples += std::mem::take(&mut batch.samples);
        self.peak = self.peak.max(std::mem::take(&mut batch.peak));
        batch.since_ms = now_ms;
    }

    /// The new limit, if a window is over.
    fn step(&mut self, limit: f64, now_ms: u64) -> Option<f64> {
        let age = now_ms.saturating_sub(self.begun_ms);
        let late = age >= WINDOW_MAX_MS;
        if late && self.samples < SAMPLES_FEW {
            self.begin();
            return None;
        }
        let long_enough = age >= WINDOW_MS.max((self.latest / 500.0) as u64);
        if !late && (self.samples < SAMPLES_MIN || !long_enough) {
            return None;
        }
        let latency = self.median()?;
        let used = f64::from(self.peak) * 2.0 >= limit;
        let rate = f64::from(self.samples) / age.max(1) as f64;
        self.begin();
        self.latest = latency;
        if let Some(probe) = self.probe {
            return Some(self.end_probe(
                probe,
                WindowResult { windows: 0, limit, latency, rate },
                now_ms,
            ));
        }
        let base = self.learn(latency, used, now_ms);
        if !used {
            // Another limit would change nothing, and nothing could be learned from it.
            return None;
        }
        if now_ms.saturating_sub(self.near_ms) >= BASE_AGE_MAX_MS {
            self.probe = Some(Probe { restore: limit, rate, settled: false });
            return Some(limit / 2.0);
        }
        let base = if latency <= TOLERANCE * base {
            self.falling = None;
            base
        } else {
            self.check_base(base, WindowResult { windows: 0, limit, latency, rate }, now_ms)
        };
        let gradient = (TOLERANCE * base / latency).clamp(CUT_MAX, 1.0);
        Some(limit * gradient + limit.sqrt())
    }

    fn learn(&mut self, latency: f64, used: bool, now_ms: u64) -> f64 {
        let base = match self.base {
            None => latency,
            Some(base) if !used || latency < base => base + (latency - base) * FOLLOW,
            Some(base) => base,
        };
        if self.base.is_none() || latency <= base * NEAR || !used {
            self.near_ms = now_ms;
        }
        self.base = Some(base);
        base
    }

    /// The base, or what is seen instead of it if a limit of half the size has made answers fewer
    /// and not faster.
    fn check_base(&mut self, base: f64, seen: WindowResult, now_ms: u64) -> f64 {
        let Some(before) = self.falling.as_mut().filter(|before| before.windows >= SETTLED) else {
            let windows = self.falling.map_or(0, |falling| falling.windows) + 1;
            self.falling = Some(WindowResult { windows, ..seen });
            return base;
        };
        if seen.latency * NO_BETTER > before.latency {
            // It has become slower meanwhile: nothing follows from what was before.
            *before = WindowResult { windows: 1, ..seen };
            return base;
        }
        if seen.limit * 2.0 > before.limit {
            return base;
        }
        let no_faster = seen.latency > before.latency * NO_BETTER;
        if !no_faster || seen.rate > before.rate * NO_BETTER {
            *before = WindowResult { windows: SETTLED, ..seen };
            return base;
        }
        self.falling = None;
        self.base = Some(seen.latency);
        self.near_ms = now_ms;
        seen.latency
    }

    fn end_probe(&mut self, probe: Probe, seen: WindowResult, now_ms: u64) -> f64 {
        if !probe.settled {
            self.probe = Some(Probe { settled: true, ..probe });
            return seen.limit;
        }
        self.probe = None;
        self.falling = None;
        // As many answers as before: even half the limit keeps a queue, which would be taken for the
        // base.
        let queued = seen.rate >= probe.rate * STILL_BUSY;
        self.base = match self.base {
            Some(base) if queued && base < seen.latency => Some(base),
            _ => Some(seen.latency),
        };
        self.near_ms = now_ms;
        probe.restore
    }

    fn median(&self) -> Option<f64> {
        let mut below = 0;
        let half = self.samples.div_ceil(2);
        let reached = |count: &u32| {
            below += count;
            below >= half
        };
        let bucket = self.counts.iter().position(reached)?;
        Some(middle_of(bucket, BITS))
    }

    fn begin(&mut self) {
        self.counts.fill(0);
        self.samples = 0;
        self.peak = 0;
    }
}
