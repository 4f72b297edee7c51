//! Keeps clients from flooding the error log.
//!
//! [`log_limited!`](crate::log_limited) is `tracing::event!` behind a gate of its own per call
//! site: some events a second pass, the others are counted, and the next that passes says how
//! many were kept out before it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::counter::SharedCounter;

static SUPPRESSED: SharedCounter = SharedCounter::new();

/// Events that gates of the process have kept out.
pub fn suppressed_total() -> u64 {
    SUPPRESSED.get()
}

/// A gate that lets some events a second pass.
#[derive(Debug)]
pub struct RateLimited {
    per_window: u32,
    window_seconds: u32,
    /// The window's number from 1 in the upper half, the events that passed in it in the lower.
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimited {
    /// Events of one kind that pass in a second, if nothing else is said.
    pub const PER_SECOND: u32 = 10;

    /// A gate that lets so many events a second pass.
    pub const fn per_second(events: u32) -> Self {
        Self::per_window(events, 1)
    }

    /// A gate that lets one event a minute pass.
    pub const fn once_a_minute() -> Self {
        Self::per_window(1, 60)
    }

    const fn per_window(events: u32, window_seconds: u32) -> Self {
        Self {
            per_window: events,
            window_seconds,
            window: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// `Some` if the event passes: with the number of those suppressed since the last one that did.
    pub fn pass(&self) -> Option<u64> {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        self.pass_at(EPOCH.get_or_init(Instant::now).elapsed().as_secs())
    }

    fn pass_at(&self, seconds: u64) -> Option<u64> {
        let now = (seconds / u64::from(self.window_seconds) + 1) & 0xffff_ffff;
        let passed = self.window.try_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
            let (current, used) = (window >> 32, window & 0xffff_ffff);
            if current != now {
                Some(now << 32 | 1)
            } else if used < u64::from(self.per_window) {
                Some(window + 1)
            } else {
                None
            }
        });
        if passed.is_ok() {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        SUPPRESSED.add(1);
        None
    }
}

/// `tracing::event!` for what a client can cause: at most ten a second from each place in the code
/// (or `per_second = N`). The next event that passes has the number of suppressed ones as `suppressed`.
///
/// ```
/// # let client = "192.0.2.1";
/// observe::log_limited!(WARN, %client, "request refused: malformed head");
/// observe::log_limited!(INFO, per_second = 1, "client gone");
/// ```
#[macro_export]
macro_rules! log_limited {
    ($level:ident, per_second = $events:expr, $($event:tt)+) => {{
        static GATE: $crate::RateLimited =
            $crate::RateLimited::per_second($events);
        if $crate::tracing::enabled!($crate::tracing::Level::$level)
            && let Some(suppressed) = GATE.pass()
        {
            // Left out if it is zero.
            let suppressed = (suppressed > 0).then_some(suppressed);
            $crate::tracing::event!(
                $crate::tracing::Level::$level, suppressed, $($event)+
            );
        }
    }};
    ($level:ident, $($event:tt)+) => {
        $crate::log_limited!(
            $level, per_second = $crate::RateLimited::PER_SECOND, $($event)+
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_pass_and_the_others_are_counted() {
        let gate = RateLimited::per_second(3);
        let passed: Vec<_> = (0..10).map(|_| gate.pass_at(5)).collect();
        assert_eq!(passed.get(..4), Some(&[Some(0), Some(0), Some(0), None][..]));
        assert_eq!(gate.pass_at(6), Some(7));
        assert_eq!(gate.pass_at(6), Some(0));
    }

    #[test]
    fn one_a_minute() {
        let gate = RateLimited::once_a_minute();
        assert_eq!(gate.pass_at(0), Some(0));
        assert_eq!(gate.pass_at(59), None);
        assert_eq!(gate.pass_at(60), Some(1));
    }
}
