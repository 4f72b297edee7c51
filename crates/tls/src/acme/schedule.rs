//! When a certificate is renewed, and how long to wait after a failure. Pure: time and chance are
//! arguments.
//!
//! The point within a window is taken from the certificate's own fingerprint: evenly spread over
//! many certificates, and the same after a restart.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};

use super::failure::AcmeErrorKind;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a directory is asked for a renewal window at most, and at least (RFC 9773, section
/// 4.3.2, proposes both).
const WINDOW_AGE: (Duration, Duration) = (MINUTE, DAY);

/// When to ask again for a renewal window after that failed (RFC 9773, section 4.3.3).
pub(super) const WINDOW_RETRY: Duration = Duration::from_secs(6 * 60 * 60);

/// A certificate that was just issued is not renewed at once, whatever a directory says.
const RENEWAL_PAUSE: Duration = DAY;

/// When a directory wants a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

/// What the schedule must know of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValidityPeriod<'a> {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) fingerprint: &'a [u8],
}

/// When to renew a certificate without a window of its directory: at two thirds of its life, give
/// or take a thirtieth.
pub(super) fn renew_at(life: &ValidityPeriod<'_>) -> SystemTime {
    let lifetime = life.not_after.duration_since(life.not_before).unwrap_or_default();
    let earliest = lifetime.mul_f64(2.0 / 3.0 - 1.0 / 30.0);
    let spread = lifetime.mul_f64(1.0 / 15.0);
    life.not_before + earliest + spread.mul_f64(point(life.fingerprint, b"life"))
}

/// When to renew a certificate for which the directory suggests `window`.
pub(super) fn renew_within(life: &ValidityPeriod<'_>, window: Window) -> SystemTime {
    // RFC 9773, section 4.2: a window that ends before it begins is not to be used.
    let Ok(length) = window.end.duration_since(window.start) else { return renew_at(life) };
    let start = window.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&start.as_secs().to_be_bytes());
    salt[8..].copy_from_slice(&length.as_secs().to_be_bytes());
    let chosen = window.start + length.mul_f64(point(life.fingerprint, &salt));
    // A directory that always says "now" must not have us order without end.
    let lifetime = life.not_after.duration_since(life.not_before).unwrap_or_default();
    chosen.max(life.not_before + RENEWAL_PAUSE.min(lifetime / 10))
}

/// When to ask for the window again, by the response of the directory.
pub(super) fn window_age(retry_after: Duration) -> Duration {
    retry_after.clamp(WINDOW_AGE.0, WINDOW_AGE.1)
}

/// An even number from 0 to 1 that `fingerprint` and `salt` decide.
fn point(fingerprint: &[u8], salt: &[u8]) -> f64 {
    let hash = digest(&SHA256, &[fingerprint, salt].concat());
    let first = hash.as_ref().iter().take(6).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    first as f64 / (1_u64 << 48) as f64
}

/// How long to wait between the tries for one set of names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How many failures there were since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Another failure: how long to wait. `chance` is an even number from 0 to 1.
    pub(super) fn next(
        &mut self,
        kind: AcmeErrorKind,
        told: Option<Duration>,
        chance: f64,
    ) -> Duration {
        let (first, longest) = match kind {
            AcmeErrorKind::Unreachable => (10 * SECOND, HOUR),
            // Let's Encrypt takes five failures an hour for a name: these are four.
            AcmeErrorKind::Refused | AcmeErrorKind::Local => (5 * MINUTE, 6 * HOUR),
            AcmeErrorKind::RateLimited => (HOUR, DAY),
            // The account that is gone was put away: the next try makes another.
            AcmeErrorKind::NoAccount => (SECOND, HOUR),
            AcmeErrorKind::Busy => (10 * SECOND, 10 * SECOND),
        };
        let doubled = first * 2_u32.saturating_pow(self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(longest);
        // Longer by up to a quarter, so that what failed together does not come back together.
        let wait = wait + (wait / 4).mul_f64(chance.clamp(0.0, 1.0));
        told.map_or(wait, |told| wait.max(told.min(TOLD_MAX)))
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// The longest that a directory may send us away for; the rate limits of Let's Encrypt are a week.
const TOLD_MAX: Duration = Duration::from_secs(8 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn life(fingerprint: &[u8], days: u32) -> ValidityPeriod<'_> {
        let not_before = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        ValidityPeriod { not_before, not_after: not_before + days * DAY, fingerprint }
    }

    #[test]
    fn without_a_window_two_thirds() {
        for n in 0..200_u32 {
            let name = n.to_be_bytes();
            let life = life(&name, 90);
            let after = renew_at(&life).duration_since(life.not_before).unwrap();
            assert!(after >= 57 * DAY && after <= 63 * DAY, "{after:?}");
            assert_eq!(renew_at(&life), renew_at(&life), "the same after a restart");
        }
        // A certificate that ends before it begins is due at once.
        let broken = ValidityPeriod { not_after: SystemTime::UNIX_EPOCH, ..life(b"a", 1) };
        assert_eq!(renew_at(&broken), broken.not_before);
    }

    #[test]
    fn within_a_window_everywhere() {
        let mut quarters = [0; 4];
        for n in 0..400_u32 {
            let name = n.to_be_bytes();
            let life = life(&name, 90);
            let window =
                Window { start: life.not_before + 50 * DAY, end: life.not_before + 54 * DAY };
            let after = renew_within(&life, window).duration_since(window.start).unwrap();
            assert!(after <= 4 * DAY);
            quarters[(after.as_secs() / DAY.as_secs()).min(3) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (60..140).contains(count)), "{quarters:?}");
    }

    #[test]
    fn windows_that_cannot_be() {
        let life = life(b"a", 90);
        let backwards = Window { start: life.not_after, end: life.not_before };
        assert_eq!(renew_within(&life, backwards), renew_at(&life));
        let past = Window { start: SystemTime::UNIX_EPOCH, end: SystemTime::UNIX_EPOCH + DAY };
        assert_eq!(renew_within(&life, past), life.not_before + DAY, "not without end");
        assert_eq!(window_age(Duration::ZERO), MINUTE);
        assert_eq!(window_age(90 * DAY), DAY);
    }

    #[test]
    fn back_off() {
        #[track_caller]
        fn check(kind: AcmeErrorKind, told: Option<Duration>, expected: &[Duration]) {
            let mut backoff = Backoff::default();
            for expected in expected {
                assert_eq!(backoff.next(kind, told, 0.0), *expected, "{kind:?}");
            }
        }
        check(AcmeErrorKind::Unreachable, None, &[10 * SECOND, 20 * SECOND, 40 * SECOND]);
        check(AcmeErrorKind::Refused, None, &[5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE]);
        check(AcmeErrorKind::RateLimited, None, &[HOUR, 2 * HOUR]);
        check(AcmeErrorKind::RateLimited, Some(3 * HOUR), &[3 * HOUR, 3 * HOUR, 4 * HOUR]);
        check(AcmeErrorKind::Refused, Some(400 * DAY), &[TOLD_MAX]);
        let mut long = Backoff { failures: u32::MAX };
        assert_eq!(long.next(AcmeErrorKind::Refused, None, 1.0), 6 * HOUR + 90 * MINUTE);
    }
}
