//! Bounded loads: an endpoint that a key leads to takes the request only if it has no more than its share of all
//! requests in flight, times a factor; otherwise the key's next endpoint does.
//!
//! So one very popular key does not overload an endpoint. The sum over all endpoints is
//! the core's own view: what it does itself is seen at once, what others do in rotation, one endpoint
//! more at each pick; small groups ([`SMALL`]) are looked at whole.

use std::sync::Arc;

use crate::endpoint::EndpointState;
use crate::group::{Group, Member};

/// Groups up to this size are looked at whole at each pick.
const SMALL: usize = 8;

/// With fewer requests in flight an endpoint always has room: it is not overloaded, and the few requests of one client
/// stay together.
const FREE: u64 = 8;

/// What a core has seen of the load of a group.
#[derive(Default)]
pub(crate) struct LoadBound {
    /// In percent.
    factor: Option<u64>,
    eligible: Box<[u32]>,
    /// By endpoint, also those that are not eligible.
    endpoints: Box<[EndpointLoad]>,
    sum: u64,
    weights: u64,
    rotation: usize,
}

/// All that a look at an endpoint needs, in one place.
struct EndpointLoad {
    state: Arc<EndpointState>,
    weight: u32,
    /// Requests in flight.
    in_flight: u32,
}

impl LoadBound {
    pub(crate) fn new(settings: &config::Balance) -> Self {
        Self { factor: settings.bound.map(u64::from), ..Self::default() }
    }

    pub(crate) fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        if self.factor.is_none() {
            return;
        }
        self.eligible = eligible.into();
        let load_of = |member: &Member| EndpointLoad {
            state: Arc::clone(&member.state),
            weight: u32::from(member.settings.weight.max(1)),
            in_flight: 0,
        };
        self.endpoints = group.members.iter().map(load_of).collect();
        (self.sum, self.rotation) = (0, 0);
        self.weights = eligible.iter().map(|&index| u64::from(group.weight(index as usize))).sum();
        self.look_at_all();
    }

    /// Before a pick.
    #[inline]
    pub(crate) fn look(&mut self) {
        if self.eligible.len() <= SMALL {
            self.look_at_all();
        } else {
            self.rotation =
                if self.rotation + 1 >= self.eligible.len() { 0 } else { self.rotation + 1 };
            self.look_at(self.rotation);
        }
    }

    fn look_at_all(&mut self) {
        for position in 0..self.eligible.len() {
            self.look_at(position);
        }
    }

    fn look_at(&mut self, position: usize) {
        if let Some(&index) = self.eligible.get(position) {
            self.note(index as usize);
        }
    }

    /// After a request of this core has begun or ended on an eligible endpoint.
    #[inline]
    pub(crate) fn note(&mut self, index: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            let now = endpoint.state.in_flight();
            self.sum = (self.sum + u64::from(now)).saturating_sub(u64::from(endpoint.in_flight));
            endpoint.in_flight = now;
        }
    }

    /// Whether an endpoint takes one more: if with it there are no more than its share of all (that
    /// one too), times the factor, rounded up; or if there are few.
    #[inline]
    pub(crate) fn has_room(&self, index: usize) -> bool {
        let (Some(factor), Some(endpoint)) = (self.factor, self.endpoints.get(index)) else {
            return true;
        };
        let share = factor * (self.sum + 1) * u64::from(endpoint.weight);
        let in_flight = u64::from(endpoint.state.in_flight());
        in_flight < FREE || in_flight * 100 * self.weights < share
    }
}
