//! How a stored response ages: what the store keeps of the judgement.

use std::time::Duration;

/// How a stored response ages. Times are whole seconds but for the age at the start, which is in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// The age when it was stored (RFC 9111, section 4.2.3: `corrected_initial_age`), in milliseconds.
    pub(crate) initial_age: u64,
    pub(crate) fresh_for: u32,
    pub(crate) while_revalidate: u32,
    pub(crate) on_error: u32,
    /// Never used stale: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    pub(crate) must_revalidate: bool,
    /// Never used without validation: `no-cache`.
    pub(crate) no_cache: bool,
    /// Nothing but the time of the last change says how long it is fresh.
    pub(crate) is_heuristic: bool,
    /// Not changed while it is fresh (RFC 8246).
    pub(crate) is_immutable: bool,
    /// The configuration, not the origin, says how long it is fresh.
    pub(crate) is_configured: bool,
}

impl Lifetime {
    /// The age of a response that has been in the store for so long.
    pub fn age(&self, resident: Duration) -> Duration {
        Duration::from_millis(self.initial_age).saturating_add(resident)
    }

    /// The age when it was stored.
    pub fn initial_age(&self) -> Duration {
        Duration::from_millis(self.initial_age)
    }

    /// Up to which age it is fresh.
    pub fn fresh_for(&self) -> Duration {
        Duration::from_secs(self.fresh_for.into())
    }

    /// Whether it is fresh at this age (RFC 9111, section 4.2).
    pub fn is_fresh(&self, age: Duration) -> bool {
        self.fresh_for() > age
    }

    /// For how many seconds it is fresh yet; negative: since when it is not. As `ttl` of `Cache-Status` has it.
    pub fn ttl(&self, age: Duration) -> i64 {
        i64::from(self.fresh_for) - i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
    }

    /// How long it is used stale while a new one is fetched.
    pub fn while_revalidate(&self) -> Duration {
        Duration::from_secs(self.while_revalidate.into())
    }

    /// How long it is used stale where the origin fails.
    pub fn on_error(&self) -> Duration {
        Duration::from_secs(self.on_error.into())
    }

    /// Whether it must never be used stale.
    pub fn must_revalidate(&self) -> bool {
        self.must_revalidate
    }

    /// Whether it must be validated before each use.
    pub fn is_no_cache(&self) -> bool {
        self.no_cache
    }

    /// Whether nothing but the time of the last change says how long it is fresh.
    pub fn is_heuristic(&self) -> bool {
        self.is_heuristic
    }

    /// Whether it does not change while it is fresh (RFC 8246).
    pub fn is_immutable(&self) -> bool {
        self.is_immutable
    }

    /// Whether the configuration, not the origin, says how long it is fresh.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Up to which age it is of any use without the origin; from then on it can only be validated.
    pub fn usable_for(&self) -> Duration {
        self.fresh_for() + self.while_revalidate().max(self.on_error())
    }

    /// Makes it stale at this age, if it is still fresh: a soft purge. The times that it is used stale begin here.
    pub fn end_freshness(&mut self, age: Duration) {
        self.fresh_for = self.fresh_for.min(u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
    }
}

const _: () = assert!(size_of::<Lifetime>() <= 40);
