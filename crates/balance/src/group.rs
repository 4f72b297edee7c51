//! A group of endpoints, as one snapshot has it, and the state of groups over all snapshots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use config::{Config, Upstream};

use crate::algorithm::{Shared, algorithm};
use crate::endpoint::EndpointState;

/// An endpoint of a group: how it stands, and what the snapshot says of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// How it stands.
    pub state: Arc<EndpointState>,
    /// What is set for it.
    pub settings: config::Endpoint,
}

/// What all cores share of a group, over all snapshots.
#[derive(Debug, Default)]
pub struct GroupState {
    version: AtomicU64,
}

impl GroupState {
    /// A number that grows whenever it changes which endpoints may be taken.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Says that it has changed which endpoints may be taken.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// A group, as one snapshot has it.
pub struct Group {
    /// What is set for it.
    pub settings: Upstream,
    /// Its endpoints, in the order of `settings.endpoints`.
    pub members: Box<[Member]>,
    /// What all cores share of it.
    pub state: Arc<GroupState>,
    pub(crate) shared: Arc<dyn Shared>,
}

/// The state of every group and endpoint, over all snapshots.
#[derive(Debug, Default)]
pub struct States {
    groups: Mutex<HashMap<Arc<str>, Arc<Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    state: Arc<GroupState>,
    endpoints: Mutex<HashMap<Arc<str>, Arc<EndpointState>>>,
}

impl States {
    /// The groups of a configuration, by [`config::UpstreamId`]. State of those that it does not
    /// have any more is forgotten.
    pub fn groups(&self, config: &Config) -> Vec<Arc<Group>> {
        let mut known = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| config.upstreams.iter().any(|u| u.name == *name));
        let groups = config.upstreams.iter().map(|upstream| {
            let known = known.entry(Arc::clone(&upstream.name)).or_default();
            Arc::new(Group::new(upstream, known))
        });
        groups.collect()
    }

    /// The group of one upstream, whose members are now others.
    pub fn group(&self, upstream: &Upstream) -> Arc<Group> {
        let mut known = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(Arc::clone(&upstream.name)).or_default();
        Arc::new(Group::new(upstream, known))
    }
}

impl Group {
    /// A group whose state nobody shares, as `explain` and tests need it.
    pub fn alone(upstream: &Upstream) -> Arc<Self> {
        Arc::new(Self::new(upstream, &Known::default()))
    }

    /// The weight of an endpoint, at least 1.
    pub(crate) fn weight(&self, index: usize) -> u16 {
        self.members.get(index).map_or(1, |member| member.settings.weight.max(1))
    }

    fn new(upstream: &Upstream, known: &Known) -> Self {
        let mut states = known.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|name, _| upstream.endpoints.iter().any(|e| e.written == *name));
        let members = upstream.endpoints.iter().map(|endpoint| {
            let name = Arc::clone(&endpoint.written);
            let state = states
                .entry(Arc::clone(&name))
                .or_insert_with(|| Arc::new(EndpointState::new(name)));
            Member { state: Arc::clone(state), settings: endpoint.clone() }
        });
        let members: Box<[Member]> = members.collect();
        let shared = (algorithm(&upstream.balance.algorithm).share)(&members, &upstream.balance);
        known.state.changed();
        Self { settings: upstream.clone(), members, state: Arc::clone(&known.state), shared }
    }
}
