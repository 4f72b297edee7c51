//! How often something was asked for that is not stored.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Counters; what is asked for shares one of them with others by chance, which makes it look asked for more often.
const COUNTERS: usize = 1 << 16;
/// After so many requests all counters are halved, so that what is not asked for any more is forgotten.
const HALVED_AFTER: u32 = COUNTERS as u32 * 4;

/// How often things were asked for lately.
#[derive(Debug)]
pub(super) struct Uses {
    counts: Box<[AtomicU8]>,
    requests: AtomicU32,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            counts: (0..COUNTERS).map(|_| AtomicU8::new(0)).collect(),
            requests: AtomicU32::new(0),
        }
    }
}

impl Uses {
    /// Counts a request; how many there were.
    pub(super) fn add(&self, hash: u64) -> u32 {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= HALVED_AFTER {
            self.requests.store(0, Ordering::Relaxed);
            for count in &self.counts {
                count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
        let Some(count) = self.counts.get(hash as usize % COUNTERS) else { return 0 };
        // Two cores at once may count as one.
        let now = count.load(Ordering::Relaxed).saturating_add(1);
        count.store(now, Ordering::Relaxed);
        now.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_often_is_known_and_forgotten_later() {
        let uses = Uses::default();
        assert_eq!([uses.add(7), uses.add(7), uses.add(8)], [1, 2, 1]);
        (0..HALVED_AFTER).for_each(|_| {
            uses.add(9);
        });
        assert_eq!(uses.add(7), 2, "half of two, and one more");
    }
}
