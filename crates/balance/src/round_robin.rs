//! Each endpoint in turn, as often as its weight says, evenly spread.
//!
//! The order is worked out once, when the group is built: a *schedule*, in which an endpoint of
//! weight `w` stands `w` times (after division by the common divisor) at even distances. A pick is
//! then one step along it. Weights whose schedule would be longer than [`SCHEDULE_MAX`] are scaled
//! down to fit, which is off by less than one part in a thousand.

use std::sync::Arc;

use crate::algorithm::{Algorithm, Allowed, Shared, Turn};
use crate::group::{Group, Member};

/// Entries of a schedule at most.
const SCHEDULE_MAX: u32 = 16 * 1024;

struct RoundRobin {
    schedule: Box<[u16]>,
    next: usize,
}

struct Plain;

/// There is nothing to share: the schedule follows from which endpoints are up.
pub(crate) fn share(_members: &[Member], _settings: &config::Balance) -> Arc<dyn Shared> {
    Arc::new(Plain)
}

impl Shared for Plain {
    fn on_core(self: Arc<Self>, _group: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(RoundRobin { schedule: Box::default(), next: core })
    }
}

impl Algorithm for RoundRobin {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        let members = eligible.iter().filter_map(|&index| group.members.get(index as usize));
        let weights: Vec<u16> = members.map(|member| member.settings.weight).collect();
        self.schedule = schedule(&weights);
        for entry in &mut self.schedule {
            *entry = eligible.get(usize::from(*entry)).map_or(*entry, |&index| index as u16);
        }
        self.next = self.next.checked_rem(self.schedule.len()).unwrap_or(0);
    }

    fn pick(&mut self, _group: &Group, _: Turn, usable: &mut Allowed<'_>) -> Option<usize> {
        for _ in 0..self.schedule.len() {
            let endpoint = usize::from(*self.schedule.get(self.next)?);
            self.next = if self.next + 1 == self.schedule.len() { 0 } else { self.next + 1 };
            if usable(endpoint) {
                return Some(endpoint);
            }
        }
        None
    }
}

/// Spreads the endpoints so that each prefix has them as near to their shares as can be.
fn schedule(weights: &[u16]) -> Box<[u16]> {
    let weights = scaled(weights);
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut lead = vec![0i64; weights.len()];
    let mut order = Vec::with_capacity(total as usize);
    for _ in 0..total {
        lead.iter_mut().zip(&weights).for_each(|(lead, weight)| *lead += i64::from(*weight));
        let mut chosen = 0;
        for (index, ahead) in lead.iter().enumerate() {
            if lead.get(chosen).is_some_and(|best| ahead > best) {
                chosen = index;
            }
        }
        if let Some(lead) = lead.get_mut(chosen) {
            *lead -= total;
        }
        order.push(chosen as u16);
    }
    order.into()
}

fn scaled(weights: &[u16]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |divisor, &weight| common_divisor(divisor, weight)).max(1);
    let weights: Vec<u32> = weights.iter().map(|&w| u32::from(w.max(1) / divisor).max(1)).collect();
    let total: u32 = weights.iter().sum();
    if total <= SCHEDULE_MAX {
        return weights;
    }
    let shrink =
        |weight: u32| (u64::from(weight) * u64::from(SCHEDULE_MAX) / u64::from(total)) as u32;
    weights.into_iter().map(|weight| shrink(weight).max(1)).collect()
}

fn common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
