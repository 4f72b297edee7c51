//! The first endpoint that has room, in the order of the configuration: one is filled up to its
//! `max`, then the next, so that as few as can be are in use. One without `max` takes everything as
//! long as it is up.

use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext, in_turn};
use crate::group::{Group, Member};

struct Factory;

#[derive(Default)]
struct First {
    eligible: Box<[u32]>,
    /// Those before this position were full when they were looked at last.
    full: usize,
    rotation: usize,
}

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(Factory)
}

impl AlgorithmFactory for Factory {
    fn on_core(self: Arc<Self>, _: &Arc<Group>, _core: usize) -> Box<dyn Algorithm> {
        Box::new(First::default())
    }
}

impl Algorithm for First {
    fn refresh(&mut self, _: &Group, eligible: &[u32]) {
        self.eligible = eligible.into();
        (self.full, self.rotation) = (0, 0);
    }

    fn pick(&mut self, group: &Group, _: PickContext, allowed: &mut Filter<'_>) -> Option<usize> {
        self.look_back(group);
        while self.eligible.get(self.full).is_some_and(|&index| is_full(group, index)) {
            self.full += 1;
        }
        // Those that are full are asked last: they are if this core's view is old.
        in_turn(&self.eligible, self.full, allowed)
    }

    fn released(&mut self, _: &Group, index: usize) {
        if let Ok(position) = self.eligible.binary_search(&(index as u32)) {
            self.full = self.full.min(position);
        }
    }
}

impl First {
    /// Requests of other cores end too: looks at one of the full ones again, in rotation.
    fn look_back(&mut self, group: &Group) {
        self.rotation = if self.rotation + 1 >= self.full { 0 } else { self.rotation + 1 };
        let again = self.eligible.get(self.rotation).is_some_and(|&index| !is_full(group, index));
        if self.rotation < self.full && again {
            self.full = self.rotation;
        }
    }
}

fn is_full(group: &Group, index: u32) -> bool {
    let member = group.members.get(index as usize);
    member.is_some_and(|member| {
        member.settings.max.is_some_and(|max| member.state.in_flight() >= max)
    })
}
