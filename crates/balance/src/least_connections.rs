//! The endpoint with the fewest requests in flight, by weight.
//!
//! What counts is requests, not connections: those of HTTP/2 share one, and an idle one costs
//! nothing. The name is the one that operators know.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::group::Member;
use crate::least::{Cost, LeastFactory};

/// Figures that differ in these bits at most are equal but for rounding, …
const BELOW_EQUAL: u32 = 4;

/// … after this has lifted those that were rounded down.
const UP: f32 = 1.0 + 2.0 * f32::EPSILON;

#[derive(Default)]
struct InFlight;

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(LeastFactory::<InFlight>::new())
}

impl Cost for InFlight {
    fn of(_basis: f32, in_flight: u32, part: f32) -> u32 {
        // Positive numbers are in the order of their bits.
        (in_flight as f32 * part * UP).to_bits() >> BELOW_EQUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many requests as its weight are the same for each.
    #[test]
    fn rounding_does_not_matter() {
        for requests in [1, 2, 3, 7] {
            let figures = (1..=1000u16).map(|weight| {
                InFlight::of(0.0, requests * u32::from(weight), 1.0 / f32::from(weight))
            });
            let figures: std::collections::HashSet<u32> = figures.collect();
            assert_eq!(figures.len(), 1, "{figures:?}");
        }
    }
}
