//! What the results of checks amount to: whether an endpoint is up, when it is checked next, and when a
//! change is logged. Clock and random numbers are arguments.

use std::time::Duration;

use config::Health;
use random::Random;
use tokio::time::Instant;

/// No check follows another sooner, whatever is set.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Changes of an endpoint that are logged at once …
const REPORTS_AT_ONCE: u32 = 4;
/// … and how long it takes until one more is.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The results of one check of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// `None`: nothing has been proven yet.
    pub(super) up: Option<bool>,
    last_good: Option<bool>,
    /// Checks in a row with the same result as the last one.
    pub(super) in_row: u32,
}

impl Tally {
    /// Counts a check. The first good one of all proves that it is up; else it takes `rise` or `fall`.
    pub(super) fn note(&mut self, good: bool, health: &Health) {
        self.in_row = if self.last_good == Some(good) { self.in_row.saturating_add(1) } else { 1 };
        self.last_good = Some(good);
        match (self.up, good) {
            (None, true) => self.up = Some(true),
            (Some(false), true) if self.in_row >= health.rise => self.up = Some(true),
            (None | Some(true), false) if self.in_row >= health.fall => self.up = Some(false),
            _ => {}
        }
    }

    /// The time until the next check: longer while the endpoint is down and the last check failed.
    pub(super) fn interval(&self, health: &Health) -> Duration {
        let is_down = self.up == Some(false) && self.last_good != Some(true);
        if is_down { health.every_down } else { health.every }
    }

    /// Whether the last check failed.
    pub(super) fn fails(&self) -> bool {
        self.last_good == Some(false)
    }
}

/// Whether an endpoint is up by all its checks; `before`: whether it was.
pub(super) fn all_up(tallies: impl Iterator<Item = Tally> + Clone, before: bool) -> bool {
    if tallies.clone().any(|tally| tally.up == Some(false)) {
        return false;
    }
    // While something is not proven yet, it stays as it is.
    if tallies.into_iter().all(|tally| tally.up == Some(true)) { true } else { before }
}

/// `time`, longer or shorter by up to so many percent.
pub(super) fn vary(time: Duration, percent: u8, random: &mut Random) -> Duration {
    let share = f64::from(percent.min(100)) / 100.0;
    time.mul_f64(1.0 + share * (2.0 * random.fraction() - 1.0)).max(PAUSE_MIN)
}

/// Which changes are logged. A change that is held back is logged later, if it still holds then.
#[derive(Debug)]
pub(super) struct LogThrottle {
    logged: bool,
    left: u32,
    refilled: Option<Instant>,
    held_back: u32,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self { logged: true, left: REPORTS_AT_ONCE, refilled: None, held_back: 0 }
    }
}

impl LogThrottle {
    /// Counts a change that may have to be held back.
    pub(super) fn changed(&mut self) {
        self.held_back = self.held_back.saturating_add(1);
    }

    /// Whether the state is to be logged now: then how many changes were held back before.
    pub(super) fn due(&mut self, up: bool, now: Instant) -> Option<u32> {
        let since = *self.refilled.get_or_insert(now);
        let more = now.saturating_duration_since(since).as_secs() / REPORT_EVERY.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(REPORTS_AT_ONCE);
            self.left = self.left.saturating_add(more).min(REPORTS_AT_ONCE);
            self.refilled = Some(now);
        }
        if up == self.logged || self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.logged = up;
        Some(std::mem::take(&mut self.held_back).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Check;

    fn health(rise: u32, fall: u32) -> Health {
        let every_down = Duration::from_secs(60);
        Health { rise, fall, every_down, ..Health::new(Check::Tcp) }
    }

    /// `checks`: `+` and `-`; `expected`: after each of them `U` up, `D` down, `?` not proven.
    #[test]
    fn rise_and_fall() {
        #[track_caller]
        fn check(rise: u32, fall: u32, checks: &str, expected: &str) {
            let (mut tally, health) = (Tally::default(), health(rise, fall));
            let states = checks.chars().map(|sign| {
                tally.note(sign == '+', &health);
                match tally.up {
                    Some(true) => 'U',
                    Some(false) => 'D',
                    None => '?',
                }
            });
            assert_eq!(states.collect::<String>(), expected, "{checks}");
        }
        check(2, 3, "+", "U");
        check(2, 3, "---++", "??DDU");
        check(2, 3, "--+--+---", "??UUUUUUD");
        check(2, 3, "---+-++", "??DDDDU");
        check(1, 1, "-+-+", "DUDU");
        // A zero counts as one.
        check(0, 0, "-+", "DU");
    }

    #[test]
    fn what_is_down_is_checked_more_slowly() {
        let (mut tally, health) = (Tally::default(), health(2, 2));
        let mut after = |good| {
            tally.note(good, &health);
            tally.interval(&health).as_secs()
        };
        // Its first good check is followed by the next without delay.
        assert_eq!(
            [false, false, false, true, false, true, true].map(&mut after),
            [5, 60, 60, 5, 60, 5, 5]
        );
    }

    #[test]
    fn every_check_counts() {
        #[track_caller]
        fn check(before: bool, ups: &[Option<bool>], expected: bool) {
            let tallies = ups.iter().map(|&up| Tally { up, ..Tally::default() });
            assert_eq!(all_up(tallies, before), expected, "{ups:?}");
        }
        let (up, down, open) = (Some(true), Some(false), None);
        check(true, &[up, up], true);
        check(false, &[up, up], true);
        check(true, &[up, down], false);
        check(true, &[open, down], false);
        check(true, &[up, open], true);
        check(false, &[up, open], false);
        check(false, &[], true);
    }

    #[test]
    fn intervals_vary_within_their_bounds() {
        let (mut random, time) = (Random::seeded(7), Duration::from_secs(10));
        let times: Vec<_> = (0..1000).map(|_| vary(time, 10, &mut random).as_secs_f64()).collect();
        assert!(times.iter().all(|time| (9.0..=11.0).contains(time)), "{times:?}");
        assert!(times.iter().any(|&time| time < 9.2) && times.iter().any(|&time| time > 10.8));
        let mean = times.iter().sum::<f64>() / 1000.0;
        assert!((mean - 10.0).abs() < 0.1, "{mean}");
        assert_eq!(vary(time, 0, &mut random), time);
        assert_eq!(vary(Duration::ZERO, 10, &mut random), PAUSE_MIN);
    }

    #[test]
    fn flapping_is_said_now_and_again() {
        let start = Instant::now();
        let mut log_throttle = LogThrottle::default();
        assert_eq!(log_throttle.due(true, start), None);
        let mut up = true;
        let mut said = Vec::new();
        // It changes every second, for five minutes.
        for second in 0..300 {
            up = !up;
            log_throttle.changed();
            if let Some(kept) = log_throttle.due(up, start + Duration::from_secs(second)) {
                said.push((second, kept));
            }
        }
        let seconds: Vec<_> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 1, 2, 3, 60, 121, 180, 241], "{said:?}");
        assert_eq!(said.iter().map(|(_, kept)| kept).sum::<u32>() + said.len() as u32, 242);
        // It is stable at last: the state is logged late.
        let (later, was) = (start + Duration::from_secs(600), log_throttle.logged);
        assert_eq!(log_throttle.due(!was, later), Some(57));
        assert_eq!(log_throttle.due(!was, later), None);
    }
}
