//! An endpoint by chance, as often as its weight says.

use std::sync::Arc;

use crate::algorithm::{Algorithm, Allowed, Shared, Turn};
use crate::draw::Draw;
use crate::group::{Group, Member};

/// Draws before the others are asked in turn.
const DRAWS_MAX: usize = 8;

struct Plain;

struct Random(Draw);

/// There is nothing to share.
pub(crate) fn share(_members: &[Member], _settings: &config::Balance) -> Arc<dyn Shared> {
    Arc::new(Plain)
}

impl Shared for Plain {
    fn on_core(self: Arc<Self>, group: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(Random(Draw::new(group, core)))
    }
}

impl Algorithm for Random {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.0.refresh(group, eligible);
    }

    fn pick(&mut self, _: &Group, _: Turn, allowed: &mut Allowed<'_>) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let drawn = self.0.draw()?;
            if allowed(drawn) {
                return Some(drawn);
            }
        }
        self.0.rest(allowed)
    }
}
