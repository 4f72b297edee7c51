//! The same endpoint for the same key, by the highest rank ("rendezvous hashing"): when an endpoint
//! leaves, only its keys move, and they spread over all others by weight.
//!
//! Keys fall into [`BUCKETS`]; each has its first few endpoints ([`RANKS`]) in a table. The ranks come
//! from a race: each endpoint throws at the buckets by chance (by a hash of its name), as often as its
//! weight says, and the sooner one hits a bucket, the higher it ranks there. Whose throws hit when
//! depends on no other endpoint.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::group::Member;
use crate::hash::mix;
use crate::keyed::{KeyedFactory, Point, Table};

/// Parts that keys fall into.
const BUCKETS: u64 = 1 << 16;

/// Endpoints that the table has for a bucket, at most.
const RANKS: usize = 8;

/// How often a bucket is hit, on average. One in nine million is not.
const HITS: u64 = 16;

/// Parts of the time between two throws at weight 1.
const TICKS: u64 = 1 << 24;

/// No endpoint.
const NONE: u16 = u16::MAX;

struct Ranks {
    /// The first of each bucket, then the second of each, and so on: what nearly all picks need lies
    /// close together.
    endpoints: Box<[u16]>,
}

/// Works the ranks out.
pub(crate) fn factory(
    members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    KeyedFactory::build(members, build)
}

fn build(endpoints: &[Point]) -> Ranks {
    let weights: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let mut hits = vec![[u64::MAX; RANKS]; BUCKETS as usize];
    for (order, endpoint) in endpoints.iter().enumerate() {
        let weight = u64::from(endpoint.weight);
        let throws = (HITS * BUCKETS * weight).div_ceil(weights.max(1));
        let begin = mix(!endpoint.name) % TICKS;
        for number in 0..throws {
            let time = (number * TICKS + begin) / weight;
            let bucket = mix(endpoint.name.wrapping_add(number)) % BUCKETS;
            if let Some(ranks) = hits.get_mut(bucket as usize) {
                insert(ranks, time << 16 | order as u64);
            }
        }
    }
    let owner = |hit: u64| endpoints.get((hit & 0xFFFF) as usize).map_or(NONE, |point| point.index);
    let rank = |rank| hits.iter().map(move |hits| hits.get(rank).map_or(NONE, |&hit| owner(hit)));
    Ranks { endpoints: (0..RANKS).flat_map(rank).collect() }
}

/// Keeps the hits in order, one of each endpoint.
fn insert(ranks: &mut [u64; RANKS], hit: u64) {
    if ranks.last().is_some_and(|&last| last <= hit) {
        return;
    }
    if ranks.iter().any(|&other| other & 0xFFFF == hit & 0xFFFF && other != u64::MAX) {
        return;
    }
    let at = ranks.partition_point(|&other| other < hit);
    if let Some(after) = ranks.get_mut(at..) {
        after.rotate_right(1);
        after.first_mut().into_iter().for_each(|first| *first = hit);
    }
}

impl Table for Ranks {
    #[inline]
    fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let at = (key % BUCKETS) as usize;
        let ranks =
            (0..RANKS).map_while(move |rank| self.endpoints.get(rank * BUCKETS as usize + at));
        ranks.take_while(|&&index| index != NONE).map(|&index| usize::from(index))
    }
}
