//! How it stands with upstreams and their endpoints, for people: what the admin interface, the
//! metrics and `bothways upstreams` show.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use balance::{Failure, Group, GroupUse, Member, Standing};
use config::UpstreamId;

use crate::health::EndpointHealth;
use crate::observe::{Recent, Registry};
use crate::snapshot::Snapshot;

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
    pub usage: GroupUse,
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
    pub standing: Standing,
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
    pub failures: Vec<Failure>,
    /// Rates and quantiles of the last half minute or so.
    pub recent: Recent,
    /// What its checks say, if it has any.
    pub health: Option<EndpointHealth>,
    /// What discovery has to say of it, such as that its name is not found any more.
    pub remark: Option<String>,
}

impl UpstreamReport {
    /// How it stands with every upstream of a snapshot.
    pub(crate) fn all(
        snapshot: &Snapshot,
        registry: &Registry,
        mut health: Vec<EndpointHealth>,
        remark: impl Fn(&config::Endpoint) -> Option<String>,
    ) -> Vec<Self> {
        let now = Instant::now();
        let groups = (0..).map(UpstreamId).zip(&snapshot.groups);
        let report = |(id, group): (UpstreamId, &Arc<Group>)| {
            let upstream = &group.settings;
            let endpoints = (0..).zip(&group.members).map(|(index, member)| {
                let slot = snapshot.names.endpoint_slot(id.0, index);
                let recent = registry.recent(slot, now);
                let is_it = |h: &EndpointHealth| {
                    h.upstream == upstream.name && h.endpoint == *member.state.name()
                };
                let health = health.iter().position(is_it).map(|at| health.swap_remove(at));
                let remark = remark(&member.settings);
                EndpointReport::new(group, member, (recent, health, remark), now)
            });
            Self {
                name: Arc::clone(&upstream.name),
                inline: upstream.inline,
                place: snapshot.config.locate(upstream.place),
                algorithm: upstream.balance.algorithm.clone(),
                usage: group.usage(now),
                endpoints: endpoints.collect(),
            }
        };
        groups.map(report).collect()
    }
}

impl EndpointReport {
    fn new(
        group: &Group,
        member: &Member,
        (recent, health, remark): (Recent, Option<EndpointHealth>, Option<String>),
        now: Instant,
    ) -> Self {
        let state = &member.state;
        Self {
            name: Arc::clone(state.name()),
            settings: member.settings.clone(),
            standing: member.standing(),
            since: state.since(),
            why: state.why(),
            ramp: state.started(group.settings.slow_start, now),
            in_flight: state.in_flight(),
            connecting: state.connecting(),
            latency: state.latency(now),
            ejections: state.ejections(),
            ejected_for: state.ejected_for(now),
            failures: state.failures(),
            recent,
            health,
            remark,
        }
    }
}
