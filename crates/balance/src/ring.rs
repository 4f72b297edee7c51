//! The same endpoint for the same key, by a ring of points.
//!
//! Each endpoint has points on a circle, by hashes of its name and a number, the more the greater its
//! weight. A key goes to the first point from its own place on; if that endpoint may not be taken, to
//! the next. What [ketama](https://www.metabrew.com/article/libketama-consistent-hashing-algo-memcached-clients)
//! does; its points differ. Shares follow weights to about a tenth; `maglev` is more even.

use std::sync::Arc;

use crate::algorithm::Shared;
use crate::group::Member;
use crate::hash::mix;
use crate::keyed::{Keyed, Point, Table};

/// Points of an endpoint of weight 1, as long as there are not too many.
const POINTS: u64 = 128;

/// Points in all, about. Beyond, each endpoint has fewer.
const POINTS_MAX: u64 = 1 << 18;

/// A point: the first 48 bits are its place, the others say whose it is.
type Packed = u64;

const OWNER_BITS: u32 = 16;

struct Ring {
    /// By place.
    points: Box<[Packed]>,
    /// For each beginning of a key: the first point that begins so, or comes after it.
    starts: Box<[u32]>,
    start_shift: u32,
}

/// Places the points.
pub(crate) fn share(members: &[Member], _settings: &config::Balance) -> Arc<dyn Shared> {
    Keyed::share(members, build)
}

fn build(endpoints: &[Point]) -> Ring {
    let weights: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let mut points: Vec<Packed> = Vec::new();
    for endpoint in endpoints {
        let all = u64::from(endpoint.weight) * POINTS;
        let scaled = all * POINTS_MAX / (weights * POINTS).max(POINTS_MAX);
        let place = |number| mix(endpoint.name.wrapping_add(mix(number)));
        let owner = u64::from(endpoint.index);
        points.extend(
            (0..scaled.max(1)).map(|number| place(number) >> OWNER_BITS << OWNER_BITS | owner),
        );
    }
    // Two in the same place do not happen within any configuration's life.
    points.sort_unstable();
    let bits = (points.len().max(2) / 2).next_power_of_two().ilog2().max(1);
    let start_shift = u64::BITS - bits;
    let mut next = 0;
    let first = |begin: u64| {
        while points.get(next).is_some_and(|point| point >> start_shift < begin) {
            next += 1;
        }
        next as u32
    };
    let starts = (0..1 << bits).map(first).collect();
    Ring { points: points.into(), starts, start_shift }
}

impl Table for Ring {
    #[inline]
    fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let mut at =
            self.starts.get((key >> self.start_shift) as usize).map_or(0, |&at| at as usize);
        while self.points.get(at).is_some_and(|&point| point < key) {
            at += 1;
        }
        let (before, after) = self.points.split_at(at.min(self.points.len()));
        after.iter().chain(before).map(|&point| usize::from(point as u16))
    }
}
