//! The common part of algorithms that use a key: each has a table, computed once for all cores, with the endpoints
//! of a key in the order of preference.
//!
//! The table has every endpoint of the group, eligible or not, so that an endpoint that comes or goes moves no other
//! key. A core walks along it and skips endpoints that are not eligible or have no room ([`LoadBound`]). The few
//! keys whose walk finds none get the eligible endpoint of the highest rank.

use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext, in_turn};
use crate::bound::LoadBound;
use crate::group::{Group, Member};
use crate::hash::{hash, mix};

/// Steps of a walk at most.
const STEPS_MAX: usize = 4096;

/// Endpoints that a walk tries at most, some of them twice.
const ASKED_MAX: usize = 64;

/// The endpoints of highest rank that are tried before the others are, in turn.
const RANKS_MAX: usize = 8;

/// Endpoints in the order of preference, by key.
pub(crate) trait Table: Send + Sync + 'static {
    /// Those of a key. One may come again.
    fn walk(&self, key: u64) -> impl Iterator<Item = usize>;
}

/// What the cores share: a table, and the names of the endpoints.
pub(crate) struct KeyedFactory<T> {
    table: T,
    /// The hash of each endpoint's name.
    names: Box<[u64]>,
}

impl<T: Table> KeyedFactory<T> {
    /// `build` makes the table of these endpoints.
    pub(crate) fn build(members: &[Member], table: fn(&[Point]) -> T) -> Arc<dyn AlgorithmFactory> {
        let points = Point::of(members);
        let names = members.iter().map(|member| hash(member.settings.written.as_bytes())).collect();
        Arc::new(Self { table: table(&points), names })
    }
}

/// An endpoint as a table sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// The hash of its name.
    pub(crate) name: u64,
    pub(crate) index: u16,
    /// At least 1.
    pub(crate) weight: u16,
}

impl Point {
    /// In an order that follows from the names, not from that of the configuration.
    fn of(members: &[Member]) -> Vec<Self> {
        let point = |(index, member): (usize, &Member)| Self {
            name: hash(member.settings.written.as_bytes()),
            index: index as u16,
            weight: member.settings.weight.max(1),
        };
        let mut points: Vec<Self> = members.iter().enumerate().map(point).collect();
        points.sort_by_key(|point| point.name);
        points
    }
}

impl<T: Table> AlgorithmFactory for KeyedFactory<T> {
    fn on_core(self: Arc<Self>, group: &Arc<Group>, _core: usize) -> Box<dyn Algorithm> {
        let bound = LoadBound::new(&group.settings.balance);
        Box::new(OnCore { shared: self, may: Box::default(), eligible: Box::default(), bound })
    }
}

struct OnCore<T> {
    shared: Arc<KeyedFactory<T>>,
    /// Whether an endpoint is eligible.
    may: Box<[bool]>,
    eligible: Box<[u32]>,
    bound: LoadBound,
}

impl<T: Table> Algorithm for OnCore<T> {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.may = vec![false; group.members.len()].into();
        for &index in eligible {
            self.may.get_mut(index as usize).into_iter().for_each(|may| *may = true);
        }
        self.eligible = eligible.into();
        self.bound.refresh(group, eligible);
    }

    fn pick(
        &mut self,
        group: &Group,
        turn: PickContext,
        allowed: &mut Filter<'_>,
    ) -> Option<usize> {
        self.bound.look();
        let bound = &self.bound;
        let mut with_room = |index: usize| bound.has_room(index) && allowed(index);
        let picked = self.walk(turn.key, &mut with_room);
        let picked = picked.or_else(|| self.ranked(group, turn.key, &mut with_room));
        // Those that have room may not be allowed; the bound does not make a request fail.
        let picked = picked.or_else(|| self.walk(turn.key, allowed));
        let index = picked.or_else(|| self.ranked(group, turn.key, allowed))?;
        self.bound.note(index);
        Some(index)
    }

    fn released(&mut self, _: &Group, index: usize) {
        if self.may.get(index) == Some(&true) {
            self.bound.note(index);
        }
    }
}

impl<T: Table> OnCore<T> {
    #[inline]
    fn walk(&self, key: u64, allowed: &mut Filter<'_>) -> Option<usize> {
        let (mut last, mut asked) = (None, 0);
        for index in self.shared.table.walk(key).take(STEPS_MAX) {
            if last == Some(index) || self.may.get(index) != Some(&true) {
                continue;
            }
            if allowed(index) {
                return Some(index);
            }
            last = Some(index);
            asked += 1;
            if asked == ASKED_MAX {
                break;
            }
        }
        None
    }

    /// Works out the rank of all: only for what the table has no answer to.
    #[cold]
    fn ranked(&self, group: &Group, key: u64, allowed: &mut Filter<'_>) -> Option<usize> {
        let mut before = (f64::MIN, 0);
        for _ in 0..RANKS_MAX {
            let ranks = self.eligible.iter().map(|&index| self.rank(group, key, index));
            let best = ranks
                .filter(|rank| *rank > before)
                .min_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))?;
            before = best;
            if allowed(best.1 as usize) {
                return Some(best.1 as usize);
            }
        }
        let from = mix(key) % self.eligible.len().max(1) as u64;
        in_turn(&self.eligible, from as usize, allowed)
    }

    /// The least is the best: times of exponential distribution, of which the one of an endpoint is
    /// the first with a probability that is its share of the weights.
    fn rank(&self, group: &Group, key: u64, index: u32) -> (f64, u32) {
        let name = self.shared.names.get(index as usize).copied().unwrap_or(0);
        let weight = f64::from(group.weight(index as usize));
        (-ln(mix(name ^ mix(key))) / weight, index)
    }
}

/// The natural logarithm of this many 2⁻⁶⁴ths: not the system's, whose last digits differ from one to
/// the other.
fn ln(value: u64) -> f64 {
    let value = value.max(1);
    let zeros = value.leading_zeros();
    // From 1 up to 2.
    let mantissa = ((value << zeros) >> 11) as f64 / (1u64 << 52) as f64;
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let (square, mut power, mut sum) = (s * s, s, 0.0);
    for divisor in [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0] {
        sum += power / divisor;
        power *= square;
    }
    2.0 * sum - f64::from(zeros + 1) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for value in [1, 2, 3, 1 << 20, u64::MAX / 3, u64::MAX / 2, u64::MAX - 5] {
            let expected = (value as f64 / 2f64.powi(64)).ln();
            assert!((ln(value) - expected).abs() < 1e-6, "{value}: {} {expected}", ln(value));
        }
    }
}
