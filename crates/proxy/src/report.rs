//! Fills in what is shown of upstreams and their endpoints ([`UpstreamReport`]), from a snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use balance::{Group, Member};
use config::{EndpointId, UpstreamId};
use observe::{EndpointHealth, EndpointReport, Recent, Registry, UpstreamReport};

use crate::snapshot::Snapshot;

/// Reports on every upstream of a snapshot.
pub(crate) fn upstreams(
    snapshot: &Snapshot,
    registry: &Registry,
    health: Vec<EndpointHealth>,
    remark: impl Fn(&config::Endpoint) -> Option<String>,
) -> Vec<UpstreamReport> {
    let now = Instant::now();
    let health = health.into_iter().map(|one| ((one.upstream.clone(), one.endpoint.clone()), one));
    let mut health: HashMap<_, _> = health.collect();
    let groups = (0..).map(UpstreamId).zip(&snapshot.groups);
    let report = |(id, group): (UpstreamId, &Arc<Group>)| {
        let upstream = &group.settings;
        let endpoints = (0..).zip(&group.members).map(|(index, member)| {
            let slot = snapshot.names.endpoint_slot(EndpointId::new(id, index));
            let recent = registry.recent(slot, now);
            let health =
                health.remove(&(Arc::clone(&upstream.name), Arc::clone(member.state.name())));
            let remark = remark(&member.settings);
            endpoint(group, member, (recent, health, remark), now)
        });
        UpstreamReport {
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

fn endpoint(
    group: &Group,
    member: &Member,
    (recent, health, remark): (Recent, Option<EndpointHealth>, Option<String>),
    now: Instant,
) -> EndpointReport {
    let state = &member.state;
    EndpointReport {
        name: Arc::clone(state.name()),
        settings: member.settings.clone(),
        status: member.status(),
        since: state.since(),
        why: state.why(),
        ramp: state.ramp_at(group.settings.slow_start, now),
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
