//! Each endpoint in turn, as often as its weight says, evenly spread.
//!
//! Endpoints of equal weight form a *class*: its turns come at even distances, and each of its
//! endpoints has one after the other. The classes wait in a queue for their next turn, so that a pick
//! costs the logarithm of the number of different weights: nothing, where all are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext};
use crate::group::{Group, Member};

/// The time between two turns of an endpoint of weight 1.
const PERIOD: u64 = 1 << 40;

/// The queue's clock is set back once it shows this.
const CLOCK_MAX: u64 = 1 << 62;

struct Factory;

#[derive(Default)]
struct RoundRobin {
    core: usize,
    /// By weight.
    classes: Vec<Class>,
    queue: BinaryHeap<Reverse<Due>>,
    /// Members that the current pick has tried and may not pick.
    waiting: Vec<Reverse<Due>>,
    clock: u64,
    picks: u64,
}

/// When it is a class's turn (an index).
type Due = (u64, usize);

struct Class {
    weight: u16,
    period: u64,
    members: Vec<u32>,
    next: usize,
    /// How many members the pick of this number has tried and may not pick.
    in_vain: (u64, usize),
}

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(Factory)
}

impl AlgorithmFactory for Factory {
    fn on_core(self: Arc<Self>, _group: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(RoundRobin { core, ..RoundRobin::default() })
    }
}

impl Algorithm for RoundRobin {
    /// Classes that stay go on where they are, or a group that changes often would always begin with
    /// the same endpoints.
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        let mut due: Vec<u64> = vec![0; self.classes.len()];
        for &Reverse((at, class)) in &self.queue {
            due.get_mut(class).into_iter().for_each(|due| *due = at.saturating_sub(self.clock));
        }
        let before = std::mem::replace(&mut self.classes, classes(group, eligible));
        (self.clock, self.queue) = (0, BinaryHeap::with_capacity(self.classes.len()));
        self.waiting.reserve(self.classes.len());
        for (number, class) in self.classes.iter_mut().enumerate() {
            let (next, at) = match before.binary_search_by_key(&class.weight, |old| old.weight) {
                Ok(old) => (
                    before.get(old).map_or(0, |old| class.position(old)),
                    due.get(old).map_or(0, |&at| at.min(class.period)),
                ),
                Err(_) => (self.core % class.members.len(), class.phase(number, self.core)),
            };
            class.next = next;
            self.queue.push(Reverse((at, number)));
        }
    }

    fn pick(&mut self, _: &Group, _: PickContext, allowed: &mut Filter<'_>) -> Option<usize> {
        self.picks += 1;
        let picked = self.next_allowed(allowed);
        self.queue.extend(self.waiting.drain(..));
        if self.clock > CLOCK_MAX {
            let clock = std::mem::take(&mut self.clock);
            let queue = std::mem::take(&mut self.queue).into_iter();
            self.queue = queue.map(|Reverse((at, class))| Reverse((at - clock, class))).collect();
        }
        picked
    }
}

impl RoundRobin {
    fn next_allowed(&mut self, allowed: &mut Filter<'_>) -> Option<usize> {
        loop {
            let mut first = self.queue.peek_mut()?;
            let Reverse((at, class)) = &mut *first;
            let class = self.classes.get_mut(*class)?;
            self.clock = *at;
            *at += class.period;
            let index = *class.members.get(class.next)? as usize;
            class.next = if class.next + 1 == class.members.len() { 0 } else { class.next + 1 };
            if allowed(index) {
                return Some(index);
            }
            // The turn is lost, or the next of its class would have two.
            if class.count_in_vain(self.picks) == class.members.len() {
                self.waiting.push(PeekMut::pop(first));
            }
        }
    }
}

impl Class {
    /// When its first turn is; cores do not begin with the same class.
    fn phase(&self, number: usize, core: usize) -> u64 {
        let shift = (number as u64 + 1).wrapping_mul(core as u64).wrapping_mul(0x9E37_79B9);
        let part = (0x8000_0000 + shift) & 0xFFFF_FFFF;
        ((u128::from(self.period) * u128::from(part)) >> 32) as u64
    }

    /// Where its next turn is, if it was that of `old` before.
    fn position(&self, old: &Self) -> usize {
        let next = old.members.get(old.next).copied().unwrap_or(0);
        self.members.partition_point(|&index| index < next) % self.members.len().max(1)
    }

    fn count_in_vain(&mut self, pick: u64) -> usize {
        let (of, count) = self.in_vain;
        self.in_vain = (pick, if of == pick { count + 1 } else { 1 });
        self.in_vain.1
    }
}

fn classes(group: &Group, eligible: &[u32]) -> Vec<Class> {
    let weight = |index: &u32| group.weight(*index as usize);
    let mut order: Vec<u32> = eligible.to_vec();
    order.sort_by_key(weight);
    let classes = order.chunk_by(|a, b| weight(a) == weight(b)).map(|members| {
        let weight = members.first().map_or(1, weight);
        let period = PERIOD / (u64::from(weight) * members.len() as u64);
        Class { weight, period, members: members.to_vec(), next: 0, in_vain: (0, 0) }
    });
    classes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{core, group};

    fn picks(weights: &[u16], count: usize, down: &[usize]) -> Vec<usize> {
        let group = group("round-robin", weights);
        let mut algorithm = core(&group, 0);
        let mut allowed = |index: usize| !down.contains(&index);
        (0..count)
            .filter_map(|_| algorithm.pick(&group, PickContext::default(), &mut allowed))
            .collect()
    }

    #[test]
    fn order() {
        #[track_caller]
        fn check(weights: &[u16], down: &[usize], expected: &[usize]) {
            assert_eq!(picks(weights, expected.len().max(1), down), expected);
        }
        check(&[1, 1, 1], &[], &[0, 1, 2, 0, 1, 2]);
        check(&[5, 1, 1], &[], &[0, 1, 0, 0, 0, 2, 0, 0, 1]);
        check(&[10, 20], &[], &[1, 0, 1, 1, 0, 1]);
        check(&[1, 1, 1], &[1], &[0, 2, 0, 2]);
        check(&[1000, 1], &[0], &[1, 1, 1]);
        check(&[1, 1], &[0, 1], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn shares_follow_weights_closely() {
        for weights in [&[1u16, 1000][..], &[3, 5, 7, 11], &[1000; 100], &[999, 1000, 998]] {
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let count = 200_000;
            let picks = picks(weights, count, &[]);
            for (index, &weight) in weights.iter().enumerate() {
                let got = picks.iter().filter(|&&picked| picked == index).count() as f64;
                let expected = count as f64 * f64::from(weight) / total as f64;
                assert!((got - expected).abs() < 2.0, "{weights:?} {index}: {got}");
            }
        }
    }

    #[test]
    fn cores_start_apart() {
        let group = group("round-robin", &[1, 1, 1]);
        let first =
            |number| core(&group, number).pick(&group, PickContext::default(), &mut |_| true);
        assert_eq!([first(0), first(1), first(2)], [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn a_change_does_not_begin_anew() {
        let group = group("round-robin", &[1, 1, 1, 1]);
        let mut algorithm = core(&group, 0);
        let mut next = |eligible: Option<&[u32]>| {
            eligible.into_iter().for_each(|eligible| algorithm.refresh(&group, eligible));
            algorithm.pick(&group, PickContext::default(), &mut |_| true)
        };
        assert_eq!([next(None), next(None)], [Some(0), Some(1)]);
        assert_eq!(next(Some(&[0, 1, 3])), Some(3));
        assert_eq!(next(Some(&[0, 1, 2, 3])), Some(0));
        assert_eq!(next(Some(&[2, 3])), Some(2));
    }

    #[test]
    fn the_clock_is_set_back() {
        // One endpoint of weight 1 takes a whole period per pick.
        let group = group("round-robin", &[1]);
        let mut algorithm = core(&group, 0);
        for _ in 0..(CLOCK_MAX / PERIOD) + 10 {
            assert_eq!(algorithm.pick(&group, PickContext::default(), &mut |_| true), Some(0));
        }
    }
}
