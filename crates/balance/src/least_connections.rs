//! The endpoint with the fewest requests under way, by weight.
//!
//! What counts is requests, not connections: those of HTTP/2 share one, and an idle one costs
//! nothing. The name is the one that operators know.

use std::sync::Arc;

use crate::algorithm::Shared;
use crate::endpoint::EndpointState;
use crate::group::Member;
use crate::least::{Figure, Plain};

#[derive(Default)]
struct InFlight;

/// There is nothing to share.
pub(crate) fn share(_members: &[Member], _settings: &config::Balance) -> Arc<dyn Shared> {
    Arc::new(Plain::<InFlight>::new())
}

impl Figure for InFlight {
    fn of(&mut self, state: &EndpointState, weight: f32, _now_ms: u64) -> u32 {
        // Positive numbers are in the order of their bits.
        (state.in_flight() as f32 / weight).to_bits()
    }
}
