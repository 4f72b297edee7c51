//! The endpoint with the least cost, among thousands whose costs change all the time.
//!
//! Each core has its own view of the costs: a *tournament tree* with the least cost at its root. What this core does itself is seen at once. What others do shows in the endpoint that is
//! about to be picked, whose requests are counted again, and in one more at each pick, in rotation;
//! small groups ([`SMALL`]) are looked at whole. Equal figures go by turns, as often as weights say.
//!
//! An endpoint that was tried and may not be picked (it is full, or in slow start and gets less than its share) sits
//! out until its next turn, however low its cost: otherwise it would be tried at each pick, and one in slow start
//! would get more than its part.

use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext};
use crate::endpoint::EndpointState;
use crate::group::Group;

/// Groups up to this size are looked at whole at each pick.
const SMALL: usize = 8;

/// How often the winner is replaced after a second look, before it is picked anyway.
const SECOND_LOOKS_MAX: usize = 3;

/// The time between two turns of an endpoint of weight 1, among equal costs.
const PERIOD: u32 = 1 << 20;

/// The clock of turns is set back once it shows this.
const CLOCK_MAX: u32 = 1 << 31;

/// The cost of an endpoint that sits out: it is tried last.
const SITS_OUT: u32 = u32::MAX - 1;

/// Out of the tournament.
const OUT: u64 = u64::MAX;

/// What an endpoint is chosen by.
pub(crate) trait Cost: Default + Send + Sync + 'static {
    /// The part of the cost that does not depend on the requests in flight.
    fn basis(&mut self, _state: &EndpointState, _now_ms: u64) -> f32 {
        0.0
    }

    /// The cost; the least wins. `part` is 1 divided by the weight.
    fn of(basis: f32, in_flight: u32, part: f32) -> u32;
}

/// The cores share nothing.
pub(crate) struct LeastFactory<F>(std::marker::PhantomData<F>);

impl<F> LeastFactory<F> {
    pub(crate) fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<F: Cost> AlgorithmFactory for LeastFactory<F> {
    fn on_core(self: Arc<Self>, _: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(Least::<F> { begin: core, ..Least::default() })
    }
}

#[derive(Default)]
struct Least<F> {
    figure: F,
    /// The first endpoint; differs between cores and after each change.
    begin: usize,
    /// The eligible endpoints, by their position in the tree.
    contenders: Box<[Contender]>,
    /// Endpoint → position; `u32::MAX` for one that is not eligible.
    positions: Box<[u32]>,
    tree: Tree,
    clock: u32,
    rotation: usize,
    now_ms: u64,
    /// Positions that the current pick has tried and may not pick.
    waiting: Vec<usize>,
}

/// All that a look at an endpoint needs, in one place.
struct Contender {
    state: Arc<EndpointState>,
    index: u32,
    /// 1 divided by its weight.
    part: f32,
    /// When its next turn is, among equals.
    turn: u32,
    /// By its figure, when it was looked at last.
    basis: f32,
    /// Until then it sits out.
    back: u32,
    period: u32,
}

impl<F: Cost> Algorithm for Least<F> {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.positions = vec![u32::MAX; group.members.len()].into();
        for (position, &index) in (0..).zip(eligible) {
            self.positions.get_mut(index as usize).into_iter().for_each(|at| *at = position);
        }
        let (count, begin) = (eligible.len(), self.begin);
        let contender = |(position, &index): (usize, &u32)| {
            let weight = group.weight(index as usize);
            let period = PERIOD / u32::from(weight);
            let place = (position + count - begin % count) % count;
            let turn = u64::from(period) * (2 * place as u64 + 1) / (2 * count as u64);
            let state = Arc::clone(&group.members.get(index as usize)?.state);
            Some(Contender {
                state,
                index,
                part: 1.0 / f32::from(weight),
                turn: turn as u32,
                basis: 0.0,
                back: 0,
                period,
            })
        };
        self.contenders = eligible.iter().enumerate().filter_map(contender).collect();
        self.begin = begin.wrapping_add(1);
        (self.clock, self.rotation) = (0, 0);
        self.waiting.reserve(count);
        self.tree = Tree::new(count);
        self.look_at_all();
    }

    fn pick(&mut self, _: &Group, turn: PickContext, allowed: &mut Filter<'_>) -> Option<usize> {
        self.now_ms = turn.now_ms;
        let small = self.contenders.len() <= SMALL;
        if small {
            self.look_at_all();
        } else {
            self.look_around();
        }
        let looks = if small { 0 } else { SECOND_LOOKS_MAX };
        let picked = self.least_allowed(looks, allowed);
        while let Some(position) = self.waiting.pop() {
            self.sit_out(position);
        }
        let position = picked?;
        self.take_turn(position);
        self.contenders.get(position).map(|contender| contender.index as usize)
    }

    fn released(&mut self, _: &Group, index: usize) {
        if let Some(&position) = self.positions.get(index) {
            self.look_at(position as usize);
        }
    }
}

impl<F: Cost> Least<F> {
    /// The position of the best one that is allowed; the winner is looked at again so many times.
    fn least_allowed(&mut self, mut looks: usize, allowed: &mut Filter<'_>) -> Option<usize> {
        loop {
            let position = self.tree.first()?;
            if looks > 0 && self.glance_at(position) {
                looks -= 1;
                continue;
            }
            let index = self.contenders.get(position)?.index;
            if allowed(index as usize) {
                return Some(position);
            }
            self.tree.set(position, OUT);
            self.waiting.push(position);
        }
    }

    fn rank(&mut self, position: usize) -> u64 {
        let Some(contender) = self.contenders.get_mut(position) else { return OUT };
        contender.basis = self.figure.basis(&contender.state, self.now_ms);
        contender.rank::<F>(self.clock)
    }

    /// Looks at the next one in rotation.
    fn look_around(&mut self) {
        self.rotation =
            if self.rotation + 1 >= self.contenders.len() { 0 } else { self.rotation + 1 };
        self.look_at(self.rotation);
    }

    /// Looks only at how many requests are under way; true if that has changed.
    fn glance_at(&mut self, position: usize) -> bool {
        let rank = self.contenders.get(position).map(|one| one.rank::<F>(self.clock));
        self.tree.set(position, rank.unwrap_or(OUT))
    }

    /// Looks at an endpoint again; true if it has changed.
    fn look_at(&mut self, position: usize) -> bool {
        let rank = self.rank(position);
        self.tree.set(position, rank)
    }

    fn look_at_all(&mut self) {
        for position in 0..self.contenders.len() {
            let rank = self.rank(position);
            self.tree.put(position, rank);
        }
        self.tree.play();
    }

    fn take_turn(&mut self, position: usize) {
        let clock = self.clock;
        let Some(turn) = self.next_turn(position) else { return };
        self.clock = clock.max(turn);
        if self.clock < CLOCK_MAX {
            self.glance_at(position);
            return;
        }
        for contender in &mut self.contenders {
            contender.turn = contender.turn.saturating_sub(self.clock);
            contender.back = contender.back.saturating_sub(self.clock);
        }
        self.clock = 0;
        self.look_at_all();
    }

    /// The turn is lost.
    fn sit_out(&mut self, position: usize) {
        self.next_turn(position);
        if let Some(contender) = self.contenders.get_mut(position) {
            contender.back = contender.turn;
        }
        self.look_at(position);
    }

    /// Goes on to the next turn of an endpoint; returns the one that was.
    fn next_turn(&mut self, position: usize) -> Option<u32> {
        let contender = self.contenders.get_mut(position)?;
        // One that had no turn for long has not saved any.
        let turn = contender.turn.max(self.clock.saturating_sub(contender.period));
        contender.turn = turn.saturating_add(contender.period);
        Some(turn)
    }
}

impl Contender {
    fn rank<F: Cost>(&self, clock: u32) -> u64 {
        let figure = if self.back > clock {
            SITS_OUT
        } else {
            F::of(self.basis, self.state.in_flight(), self.part).min(SITS_OUT - 1)
        };
        u64::from(figure) << 32 | u64::from(self.turn)
    }
}

/// A tournament of fours: the least of a four stands for it in the four above. Four 0 is the last
/// one; those of contenders come at the end.
#[derive(Default)]
struct Tree {
    fours: Box<[[u64; 4]]>,
    /// Where those of contenders begin.
    leaves: usize,
}

impl Tree {
    fn new(count: usize) -> Self {
        let (mut leaves, mut width) = (0, 1);
        while width * 4 < count {
            leaves += width;
            width *= 4;
        }
        Self { fours: vec![[OUT; 4]; leaves + width].into(), leaves }
    }

    fn put(&mut self, position: usize, rank: u64) -> bool {
        let four = self.fours.get_mut(self.leaves + position / 4);
        let place = four.and_then(|four| four.get_mut(position % 4));
        place.is_some_and(|place| std::mem::replace(place, rank) != rank)
    }

    /// After ranks were put: plays all matches again.
    fn play(&mut self) {
        for four in (1..self.fours.len()).rev() {
            self.play_one(four);
        }
    }

    /// Sends the winner of a four up; false if it stays the same.
    fn play_one(&mut self, four: usize) -> bool {
        let Some(&[a, b, c, d]) = self.fours.get(four) else { return false };
        let Some(above) = self.fours.get_mut((four - 1) / 4) else { return false };
        let least = a.min(b).min(c.min(d));
        let place = above.get_mut((four - 1) % 4);
        place.is_some_and(|place| std::mem::replace(place, least) != least)
    }

    /// True if that is a change.
    fn set(&mut self, position: usize, rank: u64) -> bool {
        let changed = self.put(position, rank);
        let mut four = self.leaves + position / 4;
        while changed && four > 0 && self.play_one(four) {
            four = (four - 1) / 4;
        }
        changed
    }

    /// The position of the least rank.
    fn first(&self) -> Option<usize> {
        let mut four = 0;
        loop {
            let &[a, b, c, d] = self.fours.get(four)?;
            let (left, right) = (usize::from(b < a), 2 + usize::from(d < c));
            let (first, last) = (a.min(b), c.min(d));
            let place = if last < first { right } else { left };
            if first.min(last) == OUT {
                return None;
            }
            if four >= self.leaves {
                return Some((four - self.leaves) * 4 + place);
            }
            four = 4 * four + 1 + place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_wins() {
        for count in [1, 2, 4, 5, 16, 17, 1000] {
            let mut tree = Tree::new(count);
            assert_eq!(tree.first(), None);
            let rank = |position: usize| (position as u64 * 7_919) % 10_007;
            (0..count).for_each(|position| {
                tree.put(position, rank(position));
            });
            tree.play();
            let mut order: Vec<_> = (0..count).collect();
            order.sort_by_key(|&position| rank(position));
            for position in order {
                assert_eq!(tree.first(), Some(position), "of {count}");
                assert!(tree.set(position, OUT));
                assert!(!tree.set(position, OUT));
            }
            assert_eq!(tree.first(), None);
        }
    }
}
