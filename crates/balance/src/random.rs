//! A random endpoint, in proportion to its weight.

use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext};
use crate::draw::WeightedDraw;
use crate::group::{Group, Member};

/// Draws before the others are tried in turn.
const DRAWS_MAX: usize = 8;

struct Factory;

struct Random(WeightedDraw);

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(Factory)
}

impl AlgorithmFactory for Factory {
    fn on_core(self: Arc<Self>, group: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(Random(WeightedDraw::new(group, core)))
    }
}

impl Algorithm for Random {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.0.refresh(group, eligible);
    }

    fn pick(&mut self, _: &Group, _: PickContext, allowed: &mut Filter<'_>) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let drawn = self.0.draw()?;
            if allowed(drawn) {
                return Some(drawn);
            }
        }
        self.0.rest(allowed)
    }
}
