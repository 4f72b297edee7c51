//! Time as the shared state has it: milliseconds that fit an atomic.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since this was first called in the process, and one more, so that zero can mean
/// "never".
pub fn millis(now: Instant) -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*ORIGIN.get_or_init(Instant::now));
    since.as_secs() * 1000 + u64::from(since.subsec_millis()) + 1
}
