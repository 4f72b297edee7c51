//! Upstream groups: which endpoint gets the next request.
//!
//! An [`Algorithm`] is built from the weights of a group's endpoints and lives on one core, so it
//! takes no lock. [`Algorithm::pick`] is asked once per try, with a predicate that says which
//! endpoints may be taken (those already tried are not). A new algorithm is one file and one row
//! of [`ALGORITHMS`].
//! Not here: connections, retries (`proxy`).

mod round_robin;

/// Chooses endpoints of one group, on one core.
pub trait Algorithm {
    /// The index of the endpoint to take, among those that `usable` answers with true; `None` if
    /// there is none.
    fn pick(&mut self, usable: &mut dyn FnMut(usize) -> bool) -> Option<usize>;
}

/// A row of the table of algorithms.
pub struct AlgorithmRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Makes one for endpoints of these weights (each at least 1). `start` differs from core to
    /// core, so that cores do not all begin with the same endpoint.
    pub build: fn(weights: &[u16], start: usize) -> Box<dyn Algorithm>,
}

/// Every algorithm; the first is the default.
pub static ALGORITHMS: &[AlgorithmRow] = &[AlgorithmRow {
    name: "round-robin",
    summary: "each endpoint in turn, as often as its weight says, evenly spread",
    build: round_robin::build,
}];

/// Builds the algorithm of this name, or the default one if there is none of this name.
pub fn build(name: &str, weights: &[u16], start: usize) -> Box<dyn Algorithm> {
    let named = ALGORITHMS.iter().find(|row| row.name == name);
    match named.or(ALGORITHMS.first()) {
        Some(row) => (row.build)(weights, start),
        None => round_robin::build(weights, start),
    }
}
