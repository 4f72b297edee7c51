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
    let _ = (request, caching);
    if lifetime.no_cache {
        return Reuse::Revalidate(Reason::NoCache);
    }
    match lifetime.is_fresh(age) {
        true => Reuse::Fresh,
        false => Reuse::Revalidate(Reason::Stale),
    }
}

/// Whether a stored response of this age may answer a request after the origin failed: it could not be reached, or said 500,
/// 502, 503 or 504.
pub fn may_serve_on_error(
    lifetime: &Lifetime,
    age: Duration,
    request: &Request,
    caching: &Caching,
) -> bool {
    let _ = (request, caching);
    !lifetime.must_revalidate
        && !lifetime.no_cache
        && lifetime.fresh_for() + lifetime.on_error() > age
}

/// Whether the client takes a stored response or none (RFC 9111, section 5.2.1.7): without one, the answer is 504.
pub fn only_if_cached(request: &Request) -> bool {
    request.fields.has(Known::CacheControl) && RequestDirectives::of(&request.fields).only_if_cached
}
