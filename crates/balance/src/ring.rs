//! The same endpoint for the same key, by a ring of points.
//!
//! Each endpoint has points on a circle, by hashes of its name and a number, the more the greater its
//! weight. A key goes to the first point from its own place on; if that endpoint may not be taken, to
//! the next. What [ketama](https://www.metabrew.com/article/libketama-consistent-hashing-algo-memcached-clients)
//! does; its points differ. Shares follow weights to about a tenth; `maglev` is more even.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::group::Member;
use crate::hash::mix;
use crate::keyed::{KeyedFactory, Point, Table};

/// Points of an endpoint of weight 1, as long as there are not too many.
const POINTS: u64 = 128;

/// Points in all, about. Beyond, each endpoint has fewer.
const POINTS_MAX: u64 = 1 << 18;

/// Points of an arc, on average: with four bytes each, they lie on a line or two of the cache.
const ARC_POINTS: usize = 8;

/// The circle, cut into arcs of equal length. All of a thousand endpoints fits a core's cache.
struct Ring {
    /// In the order of their places: 16 bits of the place within the arc, and 16 that say whose it is.
    points: Box<[u32]>,
    /// The first point of each arc, and the end of the last.
    arcs: Box<[u32]>,
    /// How many bits of a place say in which arc it is.
    arc_bits: u32,
}

/// Places the points.
pub(crate) fn factory(
    members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    KeyedFactory::build(members, build)
}

fn build(endpoints: &[Point]) -> Ring {
    let weights: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let mut places: Vec<(u64, u16)> = Vec::new();
    for endpoint in endpoints {
        let all = u64::from(endpoint.weight) * POINTS;
        let count = all * POINTS_MAX / (weights * POINTS).max(POINTS_MAX);
        let place = |number| mix(endpoint.name.wrapping_add(mix(number)));
        places.extend((0..count.max(1)).map(|number| (place(number), endpoint.index)));
    }
    places.sort_unstable();
    let arc_bits = (places.len() / ARC_POINTS).next_power_of_two().ilog2().max(1);
    let mut next = 0;
    let first = |arc: u64| {
        let before = |&(place, _): &(u64, u16)| place >> (u64::BITS - arc_bits) < arc;
        while places.get(next).is_some_and(before) {
            next += 1;
        }
        next as u32
    };
    let arcs = (0..=1 << arc_bits).map(first).collect();
    let point = |&(place, owner): &(u64, u16)| within(place, arc_bits) << 16 | u32::from(owner);
    Ring { points: places.iter().map(point).collect(), arcs, arc_bits }
}

/// The place within its arc.
fn within(place: u64, arc_bits: u32) -> u32 {
    (place << arc_bits >> 48) as u32
}

impl Table for Ring {
    #[inline]
    fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let arc = (key >> (u64::BITS - self.arc_bits)) as usize;
        let (begin, end) = match self.arcs.get(arc..arc + 2) {
            Some(&[begin, end]) => (begin as usize, end as usize),
            _ => (0, 0),
        };
        let key = within(key, self.arc_bits);
        let arc = self.points.get(begin..end).unwrap_or_default();
        let at = begin + arc.iter().filter(|&&point| point >> 16 < key).count();
        let (before, after) = self.points.split_at(at.min(self.points.len()));
        after.iter().chain(before).map(|&point| usize::from(point as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table gives what a look at all points gives, as finely as it tells places apart.
    #[test]
    fn the_next_point_around() {
        for count in [1, 3, 200] {
            let endpoint = |index| Point { name: mix(u64::from(index)), index, weight: 1 };
            let endpoints: Vec<Point> = (0..count).map(endpoint).collect();
            let ring = build(&endpoints);
            let place = |point: &Point, number| mix(point.name.wrapping_add(mix(number)));
            let points =
                |point: &Point| (0..POINTS).map(|n| (place(point, n), point.index)).collect();
            let points: Vec<(u64, u16)> =
                endpoints.iter().flat_map(|p| -> Vec<_> { points(p) }).collect();
            let keys = (0..2_000).map(mix).chain([0, 1, u64::MAX, u64::MAX >> 1]);
            for key in keys {
                let key = key & !(u64::MAX >> (16 + ring.arc_bits));
                let next = points.iter().min_by_key(|(place, _)| place.wrapping_sub(key));
                assert_eq!(ring.walk(key).next(), next.map(|&(_, index)| usize::from(index)));
                assert_eq!(ring.walk(key).count(), points.len());
            }
        }
    }
}
