//! Algorithms of balancing: how each is written, and what it goes by.
//!
//! What each does is a row of the same name in the crate `balance`; a test compares the two.

use super::WordRow;
use super::rows::word;

/// What an algorithm goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyUse {
    /// No key.
    None,
    /// The client's address.
    Address,
    /// A key that `by` says.
    Chosen,
}

/// An algorithm.
struct AlgorithmRow {
    name: &'static str,
    key: KeyUse,
    doc: &'static str,
}

const fn row(name: &'static str, key: KeyUse, doc: &'static str) -> AlgorithmRow {
    AlgorithmRow { name, key, doc }
}

/// Every algorithm; the first is the default.
const ROWS: &[AlgorithmRow] = &[
    row(
        "p2c",
        KeyUse::None,
        "the better of two endpoints drawn by weight: the faster one, else the one with fewer requests in flight",
    ),
    row(
        "round-robin",
        KeyUse::None,
        "each endpoint in turn, as often as its weight says, evenly spread",
    ),
    row(
        "least-connections",
        KeyUse::None,
        "the endpoint with the fewest requests in flight, by weight",
    ),
    row(
        "least-time",
        KeyUse::None,
        "the endpoint expected to respond first: time to the first byte, times the requests in flight",
    ),
    row("random", KeyUse::None, "a random endpoint, by weight"),
    row(
        "first",
        KeyUse::None,
        "the first endpoint with fewer requests than its `max`, in the order of the configuration",
    ),
    row("source", KeyUse::Address, "the same endpoint for the same client address"),
    row(
        "ring",
        KeyUse::Chosen,
        "the same endpoint for the same key, by a ring of points (like ketama)",
    ),
    row(
        "rendezvous",
        KeyUse::Chosen,
        "the same endpoint for the same key, by the highest rank: the fewest keys move",
    ),
    row("maglev", KeyUse::Chosen, "the same endpoint for the same key, by a table of even shares"),
];

/// The words of `balance`.
pub(crate) static ALGORITHMS: &[WordRow] = &{
    let mut words = [const { word("", "") }; ROWS.len()];
    let mut index = 0;
    while index < ROWS.len() {
        words[index] = word(ROWS[index].name, ROWS[index].doc);
        index += 1;
    }
    words
};

/// Those that go by a key that `by` says.
pub(crate) fn keyed() -> Vec<&'static str> {
    ROWS.iter().filter(|row| row.key == KeyUse::Chosen).map(|row| row.name).collect()
}

/// Those that go by any key, and so know bounded loads.
pub(crate) fn bounded() -> Vec<&'static str> {
    let by_address = ROWS.iter().filter(|row| row.key == KeyUse::Address).map(|row| row.name);
    keyed().into_iter().chain(by_address).collect()
}

/// Whether an algorithm goes by a key.
pub(crate) fn has_key(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name && row.key != KeyUse::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_those_of_the_crate_balance() {
        let ours: Vec<_> = ROWS.iter().map(|row| (row.name, row.key != KeyUse::None)).collect();
        let there = balance::ALGORITHMS.iter().map(|row| (row.name, row.by_key));
        assert_eq!(ours, there.collect::<Vec<_>>());
    }
}
