//! Draws random endpoints in proportion to their weights, at the same cost for any number of them.
//!
//! An *alias table* (Vose's method): each endpoint has a slot of the same width, and may cede a part of it to
//! one other endpoint. A draw is a slot and a point in it.

use random::Random;

use crate::algorithm::{Filter, in_turn};
use crate::group::Group;
use crate::hash::{hash, mix};

/// Draws among the eligible endpoints of a group.
pub(crate) struct WeightedDraw {
    slots: Box<[Slot]>,
    eligible: Box<[u32]>,
    random: Random,
}

#[derive(Clone, Copy)]
struct Slot {
    /// Below this (of 2³²) the slot is its own endpoint's.
    own: u32,
    endpoint: u16,
    alias: u16,
}

impl WeightedDraw {
    /// No endpoint yet. Cores draw differently.
    pub(crate) fn new(group: &Group, core: usize) -> Self {
        let seed = mix(hash(group.settings.name.as_bytes()) ^ core as u64);
        Self { slots: Box::default(), eligible: Box::default(), random: Random::seeded(seed) }
    }

    pub(crate) fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.slots = slots(group, eligible);
        self.eligible = eligible.into();
    }

    /// How many there are to draw from.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Draws one.
    #[inline]
    pub(crate) fn draw(&mut self) -> Option<usize> {
        let random = self.random.next();
        let index = ((random >> 32) * self.slots.len() as u64) >> 32;
        let slot = self.slots.get(index as usize)?;
        let own = (random as u32) < slot.own;
        Some(usize::from(if own { slot.endpoint } else { slot.alias }))
    }

    /// Tries all of them in turn, from a random one on.
    pub(crate) fn rest(&mut self, allowed: &mut Filter<'_>) -> Option<usize> {
        let first = self.draw()?;
        let from = self.eligible.partition_point(|&index| (index as usize) < first);
        in_turn(&self.eligible, from, allowed)
    }
}

fn slots(group: &Group, eligible: &[u32]) -> Box<[Slot]> {
    let weight = |&index: &u32| u64::from(group.weight(index as usize));
    let total: u64 = eligible.iter().map(weight).sum();
    let count = eligible.len() as u64;
    // Shares in parts of `total`; each slot holds `total` of them.
    let mut shares: Vec<u64> = eligible.iter().map(|index| weight(index) * count).collect();
    let mut slots: Vec<Slot> = eligible
        .iter()
        .map(|&index| Slot { own: u32::MAX, endpoint: index as u16, alias: index as u16 })
        .collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..shares.len()).partition(|&at| shares.get(at).is_some_and(|&share| share < total));
    while let (Some(from), Some(to)) = (rich.last().copied(), poor.pop()) {
        let alias = slots.get(from).map_or(0, |slot| slot.endpoint);
        let Some(&share) = shares.get(to) else { continue };
        if let Some(slot) = slots.get_mut(to) {
            slot.own = ((share << 32) / total.max(1)).min(u64::from(u32::MAX)) as u32;
            slot.alias = alias;
        }
        if let Some(left) = shares.get_mut(from) {
            *left -= total - share;
            if *left < total {
                rich.pop();
                poor.push(from);
            }
        }
    }
    slots.into()
}
