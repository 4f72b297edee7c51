//! What is shown of upstreams and their endpoints: the admin interface, the metrics and
//! `bothways upstreams` read it. Plain data; the data plane fills it in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balance::{EndpointFailure, EndpointStatus, GroupUsage};

use super::recent::Recent;

/// How it stands with an upstream.
#[derive(Debug, Clone)]
pub struct UpstreamReport {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it was written inline, in a `to`.
    pub inline: bool,
    /// The line of it, as `file:line`.
    pub place: String,
    /// The algorithm.
    pub algorithm: Box<str>,
    /// What is under way, waits, and is left of the budget of retries.
    pub usage: GroupUsage,
    /// Its endpoints, in the order of the configuration; what was found or added comes behind.
    pub endpoints: Vec<EndpointReport>,
}

/// How it stands with an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointReport {
    /// As written, or as discovery calls it.
    pub name: Arc<str>,
    /// What is set for it.
    pub settings: config::Endpoint,
    /// How it stands.
    pub standing: EndpointStatus,
    /// Since when.
    pub since: SystemTime,
    /// Why, in words.
    pub why: Option<String>,
    /// How much of its share it gets while it starts slowly: above 0, up to 1.
    pub ramp: f32,
    /// Requests under way.
    pub in_flight: u32,
    /// Connections that are being opened.
    pub connecting: u32,
    /// The average time to the first byte that algorithms go by.
    pub latency: Option<Duration>,
    /// How often it was ejected, and for how long it still is.
    pub ejections: u64,
    /// How much of its present ejection is left.
    pub ejected_for: Option<Duration>,
    /// The last failures, the oldest first.
    pub failures: Vec<EndpointFailure>,
    /// Rates and quantiles of the last half minute or so.
    pub recent: Recent,
    /// What its checks say, if it has any.
    pub health: Option<EndpointHealth>,
    /// What discovery has to say of it, such as that its name is not found any more.
    pub remark: Option<String>,
}

/// How it stands with an endpoint by its checks.
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

/// How it stands with an endpoint by one of its checks.
#[derive(Debug, Clone)]
pub struct CheckHealth {
    /// What is done, such as `GET /healthz`, `TCP` or `gRPC my.Service`.
    pub what: Arc<str>,
    /// Whether the endpoint is up by it; `None`: nothing has been proven yet.
    pub up: Option<bool>,
    /// Checks in a row that came out as the last one.
    pub in_row: u32,
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// The last one.
    pub last: Option<LastCheck>,
}

/// One check that was made.
#[derive(Debug, Clone)]
pub struct LastCheck {
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub result: CheckResult,
    /// What came of it in words, such as `GET /healthz answered 503, expected 200-399`.
    pub words: Arc<str>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// The endpoint is well.
    Good,
    /// It is not.
    Bad,
    /// The check could not be made because of us: for want of files, say. It does not count.
    NotMade,
}
