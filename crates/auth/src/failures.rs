//! Slows down who guesses passwords.
//!
//! A failure counts for the user at that address, and for the address as a whole. Some are free; after those each one doubles
//! the time until the next password is looked at. Time forgives: half of the failures are forgotten in ten minutes. A guess
//! at one user from many addresses is not slowed down: else anybody could lock out anybody.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures of a user at an address that cost nothing.
const FREE_OF_USER: f32 = 5.0;
/// Failures of all users at an address that cost nothing: an office may be behind it.
const FREE_OF_ADDRESS: f32 = 100.0;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// In this time half of the failures are forgotten.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// Users and addresses that are remembered at most; then those with the fewest failures are forgotten.
const ENTRIES_MAX: usize = 16 * 1024;

/// Failed logins of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// By a hash with a key that nobody knows.
    of: HashMap<u64, Entry>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Failures that are not forgotten, at `last`.
    count: f32,
    last: Instant,
}

impl Entry {
    /// Failures that are not forgotten.
    fn count_at(&self, now: Instant) -> f32 {
        let halves =
            now.saturating_duration_since(self.last).as_secs_f32() / HALF_LIFE.as_secs_f32();
        self.count * (-halves).exp2()
    }

    /// How long no password is looked at.
    fn wait(&self, free: f32, now: Instant) -> Duration {
        // A little of each failure is forgotten before the next one.
        let beyond = self.count - free;
        if beyond < -0.5 {
            return Duration::ZERO;
        }
        let wait = Duration::from_secs_f32(beyond.clamp(0.0, 8.0).exp2()).min(WAIT_MAX);
        wait.saturating_sub(now.saturating_duration_since(self.last))
    }
}

impl Failures {
    fn keys(&self, user: &str, address: IpAddr) -> [(u64, f32); 2] {
        let of_user = self.hasher.hash_one((address, Some(user)));
        let of_address = self.hasher.hash_one((address, None::<&str>));
        [(of_user, FREE_OF_USER), (of_address, FREE_OF_ADDRESS)]
    }

    /// How long this user at this address must wait before a password is looked at; zero: not at all.
    pub(crate) fn wait(&self, user: &str, address: IpAddr, now: Instant) -> Duration {
        let waits = self.keys(user, address).into_iter().map(|(key, free)| {
            self.of.get(&key).map_or(Duration::ZERO, |entry| entry.wait(free, now))
        });
        waits.max().unwrap_or_default()
    }

    /// A password was wrong.
    pub(crate) fn failed(&mut self, user: &str, address: IpAddr, now: Instant) {
        for (key, _) in self.keys(user, address) {
            if self.of.len() >= ENTRIES_MAX && !self.of.contains_key(&key) {
                self.make_room(now);
            }
            let entry = self.of.entry(key).or_insert(Entry { count: 0.0, last: now });
            *entry = Entry { count: entry.count_at(now) + 1.0, last: now };
        }
    }

    /// A password was right: the user's failures there are forgotten.
    pub(crate) fn succeeded(&mut self, user: &str, address: IpAddr) {
        let [(of_user, _), _] = self.keys(user, address);
        self.of.remove(&of_user);
    }

    /// Forgets a half: those with the fewest failures.
    fn make_room(&mut self, now: Instant) {
        let mut counts: Vec<f32> = self.of.values().map(|entry| entry.count_at(now)).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable_by(middle, f32::total_cmp);
        let median = *median;
        let mut surplus = self.of.len().saturating_sub(ENTRIES_MAX / 2);
        self.of.retain(|_, entry| {
            let goes = surplus > 0 && entry.count_at(now) <= median;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn waits_double_and_end() {
        let (mut failures, mut now) = (Failures::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..13 {
            let wait = failures.wait("ann", ADDRESS, now);
            waits.push(wait.as_secs_f32().round() as u32);
            now += wait;
            assert_eq!(failures.wait("ann", ADDRESS, now), Duration::ZERO);
            failures.failed("ann", ADDRESS, now);
        }
        // Some of the failures are forgotten meanwhile.
        assert_eq!(waits.get(..5), Some(&[0; 5][..]), "{waits:?}");
        assert_eq!(waits.get(5..9), Some(&[1, 2, 4, 8][..]), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 60), "{waits:?}");
        assert_eq!(failures.wait("bob", ADDRESS, now), Duration::ZERO);
        assert_eq!(failures.wait("ann", OTHER, now), Duration::ZERO);
        failures.succeeded("ann", ADDRESS);
        assert_eq!(failures.wait("ann", ADDRESS, now), Duration::ZERO);
    }

    #[test]
    fn an_address_that_tries_many_users_waits() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for user in 0..100 {
            assert_eq!(failures.wait("ann", ADDRESS, now), Duration::ZERO);
            failures.failed(&user.to_string(), ADDRESS, now);
        }
        assert!(failures.wait("ann", ADDRESS, now) > Duration::ZERO);
        assert_eq!(failures.wait("ann", ADDRESS, now + WAIT_MAX), Duration::ZERO);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_worst_stay() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for _ in 0..10 {
            failures.failed("ann", ADDRESS, now);
        }
        for user in 0..100_000u32 {
            failures.failed(&user.to_string(), IpAddr::V4(user.into()), now);
            assert!(failures.of.len() <= ENTRIES_MAX);
        }
        assert!(failures.wait("ann", ADDRESS, now) > Duration::ZERO);
    }
}
