//! The table of algorithms, and what one is.

use std::sync::Arc;

use crate::group::Group;
use crate::round_robin;

/// Which endpoints may be taken for this try.
pub type Allowed<'a> = dyn FnMut(usize) -> bool + 'a;

/// What an algorithm works out once per snapshot, for all cores, off their threads (a ring, a table).
pub trait Shared: Send + Sync {
    /// The part that one core has. `core` counts from 0, so that cores do not all begin alike.
    fn on_core(self: Arc<Self>, group: &Arc<Group>, core: usize) -> Box<dyn Algorithm>;
}

/// Chooses endpoints of one group, on one core.
pub trait Algorithm {
    /// Which endpoints may be taken at all has changed (one went down, came back, drains; another
    /// zone or priority counts). `eligible` has their indices, in order. O(n) at most.
    fn refresh(&mut self, group: &Group, eligible: &[u32]);

    /// The index of the endpoint to take, among the eligible ones that are `allowed` (not those that
    /// were tried or are full); `None` if there is none. `key` is the hash of the request's key.
    fn pick(&mut self, group: &Group, key: u64, allowed: &mut Allowed<'_>) -> Option<usize>;

    /// A request of this core on this endpoint has ended.
    fn released(&mut self, _group: &Group, _index: usize) {}
}

/// A row of the table of algorithms.
pub struct AlgorithmRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Whether the same key leads to the same endpoint.
    pub by_key: bool,
    /// Works out what all cores share.
    pub share: fn(members: &[crate::Member], settings: &config::Balance) -> Arc<dyn Shared>,
}

/// Every algorithm; the first is the default.
pub static ALGORITHMS: &[AlgorithmRow] = &[AlgorithmRow {
    name: "round-robin",
    summary: "each endpoint in turn, as often as its weight says, evenly spread",
    by_key: false,
    share: round_robin::share,
}];

/// The algorithm of this name, or the default one if there is none of this name.
pub fn algorithm(name: &str) -> &'static AlgorithmRow {
    let named = ALGORITHMS.iter().find(|row| row.name == name);
    named.unwrap_or(const { &ALGORITHMS[0] })
}
