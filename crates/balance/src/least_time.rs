//! The endpoint that should answer first: its time to the first byte, times the requests in flight
//! there and this one.
//!
//! Times that differ by less than about a third are the same, so that chance does not give all
//! requests to one of several equals. One whose time is not known counts as an average one.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::endpoint::EndpointState;
use crate::group::Member;
use crate::least::{Cost, LeastFactory};

/// How much one more endpoint counts in the average of all.
const SAMPLE: f32 = 1.0 / 16.0;

/// The bits of a figure below the first of its mantissa: two steps from one power of two to the next.
const BELOW_A_STEP: u32 = 22;

#[derive(Default)]
struct Time {
    /// The average over endpoints, in microseconds; zero as long as none is known.
    usual: f32,
}

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(LeastFactory::<Time>::new())
}

impl Cost for Time {
    /// The time to the first byte, in microseconds.
    fn basis(&mut self, state: &EndpointState, now_ms: u64) -> f32 {
        let Some(micros) = state.latency_micros(now_ms) else { return self.usual.max(1.0) };
        let counts = if self.usual > 0.0 { SAMPLE } else { 1.0 };
        self.usual += (micros - self.usual) * counts;
        micros
    }

    fn of(basis: f32, in_flight: u32, part: f32) -> u32 {
        // Positive numbers are in the order of their bits.
        (basis * (1.0 + in_flight as f32 * part)).to_bits() >> BELOW_A_STEP
    }
}
