//! Reports on upstreams and their endpoints, for the admin interface, the metrics and
//! `bothways upstreams`. Plain data; the data plane fills it in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balance::{EndpointFailure, EndpointStatus, GroupUsage};

use super::recent::Recent;
use super::record::CacheOutcome;

/// The state of the store of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheReport {
    /// Responses that are stored.
    pub objects: u64,
    /// Bytes in use in memory, book-keeping counted in.
    pub bytes: u64,
    /// Bytes that may be in use.
    pub bytes_max: u64,
    /// Responses that left to make room.
    pub evicted: u64,
    /// Responses that began to be stored.
    pub fills: u64,
    /// Requests that waited for a response that another one had asked for.
    pub waits: u64,
    /// Purges.
    pub purges: u64,
}

/// What the cache did for the requests of a site or forward listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCounts {
    /// `reverse` or `forward`.
    pub direction: Box<str>,
    /// The site's first name, or the forward listener.
    pub scope: Box<str>,
    /// In the order of [`CacheOutcome::ALL`].
    pub outcomes: [u64; CacheOutcome::ALL.len()],
    /// Bytes of bodies that came out of the cache.
    pub served_bytes: u64,
}

/// The state of an upstream.
#[derive(Debug, Clone)]
pub struct UpstreamReport {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it was written inline, in a `to`.
    pub inline: bool,
    /// Where it is written, as `file:line`.
    pub place: String,
    /// The algorithm.
    pub algorithm: Box<str>,
    /// Requests in flight and waiting, and the retry budget.
    pub usage: GroupUsage,
    /// Its endpoints: those of the configuration in its order, then those found or added.
    pub endpoints: Vec<EndpointReport>,
}

/// The state of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointReport {
    /// As written, or as discovery calls it.
    pub name: Arc<str>,
    /// Its settings.
    pub settings: config::Endpoint,
    /// Whether it is up, down, ejected or draining.
    pub status: EndpointStatus,
    /// When that began.
    pub since: SystemTime,
    /// Why, in words.
    pub why: Option<String>,
    /// The part of its share that it gets during a slow start: above 0, up to 1.
    pub ramp: f32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Connections that are being opened.
    pub connecting: u32,
    /// The average time to the first byte, as balance algorithms use it.
    pub latency: Option<Duration>,
    /// How often it was ejected.
    pub ejections: u64,
    /// The rest of its present ejection.
    pub ejected_for: Option<Duration>,
    /// The last failures, oldest first.
    pub failures: Vec<EndpointFailure>,
    /// Rates and quantiles of about the last half minute.
    pub recent: Recent,
    /// The results of its checks, if it has any.
    pub health: Option<EndpointHealth>,
    /// A remark of discovery, such as that its name is no longer found.
    pub remark: Option<String>,
}

/// The health of an endpoint by its checks.
#[derive(Debug, Clone)]
pub struct EndpointHealth {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The endpoint, as written.
    pub endpoint: Arc<str>,
    /// Whether it is up: not down by any of its checks.
    pub up: bool,
    /// Each of its checks, in the order of the configuration.
    pub checks: Vec<CheckHealth>,
}

/// The health of an endpoint by one check.
#[derive(Debug, Clone)]
pub struct CheckHealth {
    /// What the check does, such as `GET /healthz`, `TCP` or `gRPC my.Service`.
    pub what: Arc<str>,
    /// Whether the endpoint is up by this check; `None`: not known yet.
    pub up: Option<bool>,
    /// Checks in a row with the same result as the last one.
    pub in_row: u32,
    /// Checks that passed.
    pub good: u64,
    /// Checks that failed.
    pub bad: u64,
    /// The last check.
    pub last: Option<LastCheck>,
}

/// The last check.
#[derive(Debug, Clone)]
pub struct LastCheck {
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The result.
    pub result: CheckResult,
    /// The result in words, such as `GET /healthz answered 503, expected 200-399`.
    pub words: Arc<str>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The endpoint is healthy.
    Passed,
    /// It is not.
    Failed,
    /// The check could not be made for a reason of our own, such as a lack of open files. It does not
    /// count.
    NotMade,
}
