//! The table of algorithms, and what one is.

use std::sync::Arc;

use crate::group::Group;
use crate::{
    first, least_connections, least_time, maglev, p2c, random, rendezvous, ring, round_robin,
    source,
};

/// Whether an endpoint may be picked for this try; if so, it is taken: the endpoint for which this returns true must be
/// the result of the pick. False for endpoints that were tried for the request, are full, or are in slow start and get
/// less than their share.
pub type Filter<'a> = dyn FnMut(usize) -> bool + 'a;

/// What a pick depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext {
    /// The hash of the request's key.
    pub key: u64,
    /// The time, in milliseconds since the process began (`millis`).
    pub now_ms: u64,
}

/// What an algorithm computes once per snapshot for all cores, outside their threads (a ring, a table).
pub trait AlgorithmFactory: Send + Sync {
    /// The algorithm for one core. `core` counts from 0, so that cores need not all start with the same endpoint.
    fn on_core(self: Arc<Self>, group: &Arc<Group>, core: usize) -> Box<dyn Algorithm>;
}

/// Chooses endpoints of one group, on one core.
pub trait Algorithm {
    /// The set of eligible endpoints has changed (one went down, came back or drains; another zone or priority
    /// counts). `eligible` has their indices, in order. O(n) at most.
    fn refresh(&mut self, group: &Group, eligible: &[u32]);

    /// Picks the first endpoint, in the order of preference, that is eligible and `allowed`; `None` if there is
    /// none.
    fn pick(&mut self, group: &Group, turn: PickContext, allowed: &mut Filter<'_>)
    -> Option<usize>;

    /// A request of this core on this endpoint has ended.
    fn released(&mut self, _group: &Group, _index: usize) {}
}

/// A row of the table of algorithms; its name is that of one in the schema of `config`, which says
/// what it is for.
pub struct AlgorithmRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Whether the same key leads to the same endpoint.
    pub by_key: bool,
    /// Computes what all cores share.
    pub factory:
        fn(members: &[crate::Member], settings: &config::Balance) -> Arc<dyn AlgorithmFactory>,
}

/// Every algorithm; the first is the default.
pub static ALGORITHMS: &[AlgorithmRow] = &[
    AlgorithmRow { name: "p2c", by_key: false, factory: p2c::factory },
    AlgorithmRow { name: "round-robin", by_key: false, factory: round_robin::factory },
    AlgorithmRow { name: "least-connections", by_key: false, factory: least_connections::factory },
    AlgorithmRow { name: "least-time", by_key: false, factory: least_time::factory },
    AlgorithmRow { name: "random", by_key: false, factory: random::factory },
    AlgorithmRow { name: "first", by_key: false, factory: first::factory },
    AlgorithmRow { name: "source", by_key: true, factory: source::factory },
    AlgorithmRow { name: "ring", by_key: true, factory: ring::factory },
    AlgorithmRow { name: "rendezvous", by_key: true, factory: rendezvous::factory },
    AlgorithmRow { name: "maglev", by_key: true, factory: maglev::factory },
];

/// The algorithm of this name, or the default one if there is none of this name.
pub fn algorithm(name: &str) -> &'static AlgorithmRow {
    let named = ALGORITHMS.iter().find(|row| row.name == name);
    named.unwrap_or(const { &ALGORITHMS[0] })
}

/// The first of these that is allowed, from the one at `from` on and around.
pub(crate) fn in_turn(eligible: &[u32], from: usize, allowed: &mut Filter<'_>) -> Option<usize> {
    let (before, after) = eligible.split_at(from.min(eligible.len()));
    let mut indices = after.iter().chain(before).map(|&index| index as usize);
    indices.find(|&index| allowed(index))
}
