//! Whether failures are the fault of the endpoint or of the requests.
//!
//! An application that responds with 500 to one URL does so on every endpoint, and a request that makes a server close
//! its connections does so on all of them. Neither may get endpoints ejected. So failures count against an endpoint if
//! - they are of several clients and several targets ([`Evidence::is_diverse`]), while most other endpoints do well; or
//! - the others did well in the meantime, so that chance alone would hardly have brought all failures to this one
//!   ([`is_beyond_chance`]). A client cannot cause that unless it chooses the endpoint: where a key or a cookie
//!   does, this does not count.
//!
//! Only failures are recorded, within bounds.

use std::net::IpAddr;

use crate::hash::{AddressOctets, hash};
use crate::tally::Totals;

/// Failures that are remembered, by client and target.
const KEPT: usize = 8;
/// The failures must be of at least so many clients and targets.
const CLIENTS_MIN: usize = 2;
const TARGETS_MIN: usize = 3;
/// A probability below this is beyond chance, as a logarithm: one in a million.
const CHANCE_MAX: f64 = -13.8;
/// Failures that are considered; more add nothing.
const OWN_MAX: u64 = 64;

/// Where a request comes from and what it asks for, as far as that distinguishes failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestOrigin {
    client: u32,
    target: u32,
}

impl RequestOrigin {
    /// The origin of a client's request for a path (without its query).
    pub fn new(client: IpAddr, path: &[u8]) -> Self {
        let client = hash(AddressOctets::of(client).as_bytes());
        Self { client: client as u32, target: hash(path) as u32 }
    }
}

/// The recent failures of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    last: [RequestOrigin; KEPT],
    /// How many there were.
    count: usize,
    /// The totals of the group and the endpoint when the row of failures began.
    began: Option<(Totals, Totals)>,
}

impl Evidence {
    /// Another failure; the first of a row if `first`.
    pub(crate) fn note(
        &mut self,
        origin: RequestOrigin,
        first: bool,
        totals: impl FnOnce() -> (Totals, Totals),
    ) {
        if let Some(place) = self.last.get_mut(self.count % KEPT) {
            *place = origin;
        }
        self.count = self.count.wrapping_add(1);
        if first || self.began.is_none() {
            self.began = Some(totals());
        }
    }

    /// Forgets all: the row of failures has ended.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether the last failures, at most `in_a_row` of them, are of several clients and several targets; returns
    /// how many of each.
    pub(crate) fn is_diverse(&self, in_a_row: usize) -> Option<(usize, usize)> {
        let known = self.count.min(KEPT).min(in_a_row);
        let last = (1..=known).filter_map(|back| {
            let at = self.count.wrapping_sub(back) % KEPT;
            self.last.get(at).copied()
        });
        let distinct = |of: fn(&RequestOrigin) -> u32| {
            let mut seen = [0; KEPT];
            let mut count = 0;
            for value in last.clone().map(|origin| of(&origin)) {
                if !seen.iter().take(count).any(|seen| *seen == value)
                    && let Some(place) = seen.get_mut(count)
                {
                    *place = value;
                    count += 1;
                }
            }
            count
        };
        let (clients, targets) =
            (distinct(|origin| origin.client), distinct(|origin| origin.target));
        // Fewer failures cannot have so many targets.
        let targets_min = TARGETS_MIN.min(in_a_row.max(1));
        let clients_min = CLIENTS_MIN.min(in_a_row.max(1));
        (clients >= clients_min && targets >= targets_min).then_some((clients, targets))
    }

    /// The good and bad outcomes of the other endpoints since the row began.
    pub(crate) fn others(&self, group: Totals, own: Totals) -> (u64, u64) {
        let Some((group_began, own_began)) = self.began else { return (0, 0) };
        let (group, own) = (group.since(group_began), own.since(own_began));
        let requests = group.requests.saturating_sub(own.requests);
        let bad = group.failures.saturating_sub(own.failures).min(requests);
        (requests - bad, bad)
    }
}

/// Whether chance alone would hardly bring `own` failures to one endpoint, while the others had so many good and bad
/// outcomes: the probability that the first `own` of all are bad (hypergeometric).
pub(crate) fn is_beyond_chance(own: u64, good: u64, bad: u64) -> bool {
    let one = |n: u64| (((bad + n) as f64) / ((bad + good + n) as f64)).ln();
    (1..=own.min(OWN_MAX)).map(one).sum::<f64>() < CHANCE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance() {
        #[track_caller]
        fn check(own: u64, good: u64, bad: u64, expected: bool) {
            assert_eq!(is_beyond_chance(own, good, bad), expected, "{own} {good} {bad}");
        }
        // One of five that fails, and nobody else does.
        check(5, 20, 0, false);
        check(7, 28, 0, true);
        // One of two.
        check(10, 10, 0, false);
        check(12, 12, 0, true);
        // With many good answers elsewhere.
        check(5, 1000, 0, true);
        check(1, 100_000, 0, false);
        check(2, 1000, 0, false);
        // All fail alike.
        check(12, 0, 48, false);
        check(12, 48, 48, false);
        check(1000, 0, 0, false);
        check(64, 10, 0, true);
    }

    #[test]
    fn diversity() {
        #[track_caller]
        fn check(of: &[(u32, u32)], in_a_row: usize, expected: Option<(usize, usize)>) {
            let mut evidence = Evidence::default();
            for &(client, target) in of {
                evidence.note(RequestOrigin { client, target }, false, Default::default);
            }
            assert_eq!(evidence.is_diverse(in_a_row), expected, "{of:?}");
        }
        check(&[], 5, None);
        check(&[(1, 1); 60], 60, None);
        check(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)], 5, None); // one client
        check(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)], 5, None); // one URL
        check(&[(1, 1), (2, 2), (1, 3), (2, 1), (1, 1)], 5, Some((2, 3)));
        check(&[(1, 1), (2, 2), (1, 3), (1, 1), (1, 1)], 2, None); // only the last count
        let many: Vec<_> = (0..100).map(|n| (n, n)).collect();
        check(&many, 100, Some((8, 8)));
    }
}
