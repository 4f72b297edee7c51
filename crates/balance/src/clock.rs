//! Milliseconds since the process began, in 32 bits, so that a time and a figure fit one atomic.
//!
//! They wrap after seven weeks; what is compared lies much closer together.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// This time, in milliseconds.
pub(crate) fn milliseconds(now: Instant) -> u32 {
    let since = now.saturating_duration_since(*START);
    (since.as_secs() as u32).wrapping_mul(1000).wrapping_add(since.subsec_millis())
}

/// How long after `earlier` it is at `now`; zero if another core's clock was read a little later.
pub(crate) fn elapsed(earlier: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(earlier);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_wrap() {
        let start = *START;
        assert_eq!(milliseconds(start + Duration::from_millis(1_234)), 1_234);
        assert_eq!(elapsed(5, 12), 7);
        assert_eq!(elapsed(12, 5), 0);
        assert_eq!(elapsed(u32::MAX, 4), 5);
    }
}
