//! Whether a stored response answers a request (RFC 9111, section 4).

use std::time::Duration;

use config::Caching;
use message::{Known, Request};

use crate::directives::RequestDirectives;
use crate::lifetime::Lifetime;
use crate::reason::Reason;

/// What becomes of a request for which a response is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The response answers it.
    Fresh,
    /// The response answers it although it is stale, as the client allows (`max-stale`).
    Stale,
    /// The response answers it although it is stale, and a new one is fetched.
    StaleWhileRevalidate,
    /// The origin is asked first.
    Revalidate(Reason),
}

/// Judges a stored response of this age for a request.
pub fn judge_reuse(
    lifetime: &Lifetime,
    age: Duration,
    request: &Request,
    caching: &Caching,
) -> Reuse {
    if lifetime.no_cache {
        return Reuse::Revalidate(Reason::NoCache);
    }
    let client = client_directives(request, caching);
    if client.no_cache {
        return Reuse::Revalidate(Reason::RequestNoCache);
    }
    let is_fresh = lifetime.is_fresh(age);
    // RFC 8246, section 2: what does not change need not be validated; `no-cache` alone insists.
    let is_settled = is_fresh && lifetime.is_immutable;
    if client.max_age.is_some_and(|most| age > seconds(most)) && !is_settled {
        return Reuse::Revalidate(Reason::RequestMaxAge);
    }
    let left = lifetime.fresh_for().saturating_sub(age);
    if client.min_fresh.is_some_and(|least| left < seconds(least)) {
        return Reuse::Revalidate(Reason::RequestMinFresh);
    }
    if is_fresh {
        return Reuse::Fresh;
    }
    let stale_for = age.saturating_sub(lifetime.fresh_for());
    if is_within(stale_for, lifetime.while_revalidate()) {
        return Reuse::StaleWhileRevalidate;
    }
    match client.max_stale {
        Some(most) if !lifetime.must_revalidate && stale_for <= seconds(most) => Reuse::Stale,
        _ => Reuse::Revalidate(Reason::Stale),
    }
}

/// Whether a stored response of this age may answer a request after the origin failed: it could not be reached, or said 500,
/// 502, 503 or 504 (RFC 5861, section 4; RFC 9111, section 4.2.4).
pub fn may_serve_on_error(
    lifetime: &Lifetime,
    age: Duration,
    request: &Request,
    caching: &Caching,
) -> bool {
    let client = client_directives(request, caching);
    if lifetime.no_cache || client.no_cache {
        return false;
    }
    if lifetime.is_fresh(age) {
        return true;
    }
    let stale_for = age.saturating_sub(lifetime.fresh_for());
    let clients = client.stale_if_error.filter(|_| !lifetime.must_revalidate).unwrap_or(0);
    is_within(stale_for, lifetime.on_error().max(seconds(clients)))
}

/// Whether the client takes a stored response or none (RFC 9111, section 5.2.1.7): without one, the answer is 504.
pub fn only_if_cached(request: &Request) -> bool {
    request.fields.has(Known::CacheControl) && RequestDirectives::of(&request.fields).only_if_cached
}

fn client_directives(request: &Request, caching: &Caching) -> RequestDirectives {
    match caching.respect_client {
        true => RequestDirectives::of(&request.fields),
        false => RequestDirectives::default(),
    }
}

/// A window of no time is none, even at its start.
fn is_within(stale_for: Duration, window: Duration) -> bool {
    !window.is_zero() && stale_for <= window
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
