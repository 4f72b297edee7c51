//! The budget of retries: how many of the last ten seconds' requests may be sent again.
//!
//! One per core, written by that core alone; anybody may read it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Seconds that count.
const SECONDS: usize = 10;

#[derive(Debug, Default)]
struct Second {
    /// Which second it is.
    at: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
}

/// What a core has used of its budget.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    seconds: [Second; SECONDS],
}

/// How a budget stands, over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetUsage {
    /// Requests of the last ten seconds.
    pub requests: u64,
    /// Retries among them.
    pub retries: u64,
    /// Retries that were allowed for them.
    pub allowed: u64,
}

impl Budget {
    /// A client's request.
    pub(crate) fn count_request(&self, now_ms: u64) {
        if let Some(second) = self.second(now_ms) {
            bump(&second.requests);
        }
    }

    /// Charges a retry, if `percent` of the requests and `floor` a second allow it.
    pub(crate) fn charge(&self, percent: u8, floor: u32, now_ms: u64) -> bool {
        let used = self.used(percent, floor, now_ms);
        if used.retries >= used.allowed {
            return false;
        }
        if let Some(second) = self.second(now_ms) {
            bump(&second.retries);
        }
        true
    }

    pub(crate) fn used(&self, percent: u8, floor: u32, now_ms: u64) -> BudgetUsage {
        let now = (now_ms / 1000) as u32;
        let recent =
            |second: &&Second| now.wrapping_sub(second.at.load(Ordering::Relaxed)) < SECONDS as u32;
        let (mut requests, mut retries) = (0, 0);
        for second in self.seconds.iter().filter(recent) {
            requests += u64::from(second.requests.load(Ordering::Relaxed));
            retries += u64::from(second.retries.load(Ordering::Relaxed));
        }
        let allowed = requests * u64::from(percent) / 100 + u64::from(floor) * SECONDS as u64;
        BudgetUsage { requests, retries, allowed }
    }

    fn second(&self, now_ms: u64) -> Option<&Second> {
        let now = (now_ms / 1000) as u32;
        let second = self.seconds.get(now as usize % SECONDS)?;
        if second.at.load(Ordering::Relaxed) != now {
            second.at.store(now, Ordering::Relaxed);
            second.requests.store(0, Ordering::Relaxed);
            second.retries.store(0, Ordering::Relaxed);
        }
        Some(second)
    }
}

/// Adds to a counter that only this thread writes.
fn bump(counter: &AtomicU32) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_last_ten_seconds_and_a_floor() {
        let budget = Budget::default();
        let charged =
            |at: u64, floor: u32| (0..1000).filter(|_| budget.charge(20, floor, at)).count();
        assert_eq!(charged(1, 0), 0, "no request, no retry");
        assert_eq!(charged(1, 1), 10, "a floor of one a second");
        for at in 0..100 {
            budget.count_request(20_000 + at * 50);
        }
        assert_eq!(charged(25_000, 0), 20);
        assert_eq!(charged(26_000, 0), 0);
        assert_eq!(charged(26_000, 1), 10);
        assert_eq!(
            budget.used(20, 1, 26_000),
            BudgetUsage { requests: 100, retries: 30, allowed: 30 }
        );
        // Both requests and retries are forgotten.
        assert_eq!(budget.used(20, 0, 36_500), BudgetUsage::default());
    }

    /// Whatever pattern requests and retries come in, there are no more retries than the share.
    #[test]
    fn never_more_than_the_share_however_they_come() {
        let budget = Budget::default();
        let (mut requests, mut retries, mut seed) = (0u64, 0u64, 7u64);
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let now = 1 + requests / 3 + (seed >> 60);
            budget.count_request(now);
            requests += 1;
            for _ in 0..(seed >> 33) % 4 {
                retries += u64::from(budget.charge(20, 0, now));
            }
        }
        assert!(retries * 100 <= requests * 20, "{retries} of {requests}");
        assert!(retries * 100 >= requests * 18, "{retries} of {requests}");
    }
}
