//! Waiting for conditions.

use std::time::{Duration, Instant};

use crate::peer::DEADLINE;

/// Waits until `condition` holds; fails with `what` after the deadline.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "timeout while waiting for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
