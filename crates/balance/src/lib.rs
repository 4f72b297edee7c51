//! Upstream groups: which endpoint gets the next request, and the status of each.
//!
//! What all cores and all snapshots share is a few atomics per endpoint ([`EndpointState`]) and per
//! group ([`GroupState`]); they live in the [`States`] by name, so that a reload forgets nothing. A
//! snapshot has a [`Group`] for each upstream: its endpoints as they are now, their settings and
//! what the algorithm precomputes once for all cores. A core has a [`Balancer`] of it, which picks
//! without a lock and returns a [`Lease`]: the request under way, on which its outcome is reported.
//!
//! Whatever changes which endpoints are eligible (a check, an ejection, the end of its term) increments
//! the group's version; each core notices at its next pick and recomputes its tiers.
//!
//! A new algorithm is one file and one row of [`ALGORITHMS`].
//! Not here: connections, dialling, checks and timers (`proxy`).

mod adaptive;
mod algorithm;
mod balancer;
mod bound;
mod budget;
mod clock;
mod draw;
mod ejection;
mod endpoint;
mod evidence;
mod first;
mod group;
mod hash;
mod keyed;
mod latency;
mod least;
mod least_connections;
mod least_time;
mod maglev;
mod outcome;
mod outliers;
mod p2c;
mod preview;
#[cfg(test)]
mod properties;
mod quantile;
mod queue;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
#[cfg(test)]
mod slow_endpoint;
mod source;
mod tally;
#[cfg(test)]
mod testing;
mod tiers;

pub use algorithm::{
    ALGORITHMS, Algorithm, AlgorithmFactory, AlgorithmRow, Filter, PickContext, algorithm,
};
pub use balancer::{Balancer, Lease, PickError, PickRequest, Wait};
pub use budget::BudgetUsage;
pub use clock::millis;
pub use endpoint::{EndpointFailure, EndpointState, EndpointStatus};
pub use evidence::RequestOrigin;
pub use group::{ConnectPermit, Group, GroupState, GroupUsage, Member, States};
pub use hash::{AddressOctets, hash, key};
pub use outcome::Outcome;
pub use preview::{Choice, preview};
pub use tally::Totals;
