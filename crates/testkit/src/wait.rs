//! Waiting for what must come about.

use std::time::{Duration, Instant};

use crate::peer::DEADLINE;

/// Waits until `condition` holds; fails with `what` when the deadline is over.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
