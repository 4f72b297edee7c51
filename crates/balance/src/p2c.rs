//! The better of two endpoints that are drawn by weight ("power of two choices").
//!
//! It needs no view of the whole group, so that many cores and proxies do not all run to the same
//! endpoint, and is nearly as good as the best of all. Better is what costs clearly less: the average
//! time to the first byte, times the requests in flight. Where that is much the same, or not known
//! yet, it is what has fewer requests in flight, by weight; then chance.

use std::sync::Arc;

use crate::algorithm::{Algorithm, AlgorithmFactory, Filter, PickContext};
use crate::draw::WeightedDraw;
use crate::group::{Group, Member};

/// How much more the worse one must cost for the cost to decide.
const CLEARLY: f32 = 1.25;

/// Averages below this, in microseconds, count as this: differences of less are chance (who was
/// scheduled when), and must not overrule weights.
const LATENCY_MIN: f32 = 1000.0;

/// Pairs that are drawn before the others are asked in turn.
const PAIRS_MAX: usize = 4;

/// Draws for the second of a pair; a heavy endpoint may come again and again.
const SECONDS_MAX: usize = 4;

struct Factory;

struct TwoChoices(WeightedDraw);

/// There is nothing to share.
pub(crate) fn factory(
    _members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    Arc::new(Factory)
}

impl AlgorithmFactory for Factory {
    fn on_core(self: Arc<Self>, group: &Arc<Group>, core: usize) -> Box<dyn Algorithm> {
        Box::new(TwoChoices(WeightedDraw::new(group, core)))
    }
}

impl Algorithm for TwoChoices {
    fn refresh(&mut self, group: &Group, eligible: &[u32]) {
        self.0.refresh(group, eligible);
    }

    fn pick(
        &mut self,
        group: &Group,
        turn: PickContext,
        allowed: &mut Filter<'_>,
    ) -> Option<usize> {
        if self.0.len() == 1 {
            return self.0.draw().filter(|&only| allowed(only));
        }
        for _ in 0..PAIRS_MAX {
            let (first, second) = self.pair()?;
            let (better, other) = if beats(group, second, first, turn.now_ms) {
                (second, first)
            } else {
                (first, second)
            };
            if allowed(better) {
                return Some(better);
            }
            if other != better && allowed(other) {
                return Some(other);
            }
        }
        self.0.rest(allowed)
    }
}

impl TwoChoices {
    fn pair(&mut self) -> Option<(usize, usize)> {
        let first = self.0.draw()?;
        let mut second = first;
        for _ in 0..SECONDS_MAX {
            second = self.0.draw()?;
            if second != first {
                break;
            }
        }
        Some((first, second))
    }
}

/// Whether `second` is better than `first`.
fn beats(group: &Group, second: usize, first: usize, now_ms: u64) -> bool {
    let (Some(first), Some(second)) = (group.members.get(first), group.members.get(second)) else {
        return false;
    };
    let load =
        |member: &Member| member.state.in_flight() as f32 / f32::from(member.settings.weight);
    let (first_load, second_load) = (load(first), load(second));
    if let (Some(a), Some(b)) =
        (first.state.latency_micros(now_ms), second.state.latency_micros(now_ms))
    {
        let cost = |latency: f32, load| latency.max(LATENCY_MIN) * (1.0 + load);
        let (a, b) = (cost(a, first_load), cost(b, second_load));
        if a > b * CLEARLY || b > a * CLEARLY {
            return b < a;
        }
    }
    second_load < first_load
}
