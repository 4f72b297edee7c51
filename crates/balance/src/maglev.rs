//! The same endpoint for the same key, by a table of even shares: "Maglev: A Fast and Reliable
//! Software Network Load Balancer" (NSDI 2016), section 3.4.
//!
//! Each endpoint has an order of its own in which it wants the places of the table, and they take
//! places in turns, as often as weights say. Shares are exact to one place; for that, a few keys of
//! other endpoints move too when one leaves the configuration. None does when it only goes down.

use std::sync::Arc;

use crate::algorithm::AlgorithmFactory;
use crate::group::Member;
use crate::hash::mix;
use crate::keyed::{KeyedFactory, Point, Table};

/// Places in the table: a prime, so that every step visits all.
const PLACES: u64 = 65_537;

/// No endpoint.
const NONE: u16 = u16::MAX;

struct Maglev {
    places: Box<[u16]>,
}

/// Fills the table.
pub(crate) fn factory(
    members: &[Member],
    _settings: &config::Balance,
) -> Arc<dyn AlgorithmFactory> {
    KeyedFactory::build(members, build)
}

/// An endpoint while the table is filled.
struct Filling {
    index: u16,
    weight: u32,
    /// Turns that it has saved, in parts of the greatest weight.
    credit: u32,
    place: u64,
    step: u64,
}

fn build(endpoints: &[Point]) -> Maglev {
    let mut places = vec![NONE; PLACES as usize];
    let whole = endpoints.iter().map(|endpoint| u32::from(endpoint.weight)).max().unwrap_or(1);
    let mut filling: Vec<Filling> = endpoints
        .iter()
        .map(|endpoint| Filling {
            index: endpoint.index,
            weight: u32::from(endpoint.weight),
            credit: 0,
            place: mix(endpoint.name) % PLACES,
            step: 1 + mix(!endpoint.name) % (PLACES - 1),
        })
        .collect();
    let mut left = if endpoints.is_empty() { 0 } else { PLACES };
    while left > 0 {
        for endpoint in &mut filling {
            endpoint.credit += endpoint.weight;
            if endpoint.credit >= whole && left > 0 {
                endpoint.credit -= whole;
                endpoint.take(&mut places);
                left -= 1;
            }
        }
    }
    Maglev { places: places.into() }
}

impl Filling {
    /// Takes the first free place of its order; there is one.
    fn take(&mut self, places: &mut [u16]) {
        for _ in 0..PLACES {
            let place = self.place as usize;
            self.place = (self.place + self.step) % PLACES;
            if let Some(place) = places.get_mut(place).filter(|place| **place == NONE) {
                *place = self.index;
                return;
            }
        }
    }
}

impl Table for Maglev {
    /// From place to place by a step of the key's own, so that the keys of an endpoint that may not be
    /// taken spread over all others.
    #[inline]
    fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let first = key % PLACES;
        let step = 1 + (key >> 32) % (PLACES - 1);
        let mut place = first;
        let places = (0..PLACES).map(move |_| {
            let here = place;
            place += step;
            place -= if place >= PLACES { PLACES } else { 0 };
            here
        });
        let owner = |place| self.places.get(place as usize).copied();
        places.map_while(owner).take_while(|&index| index != NONE).map(usize::from)
    }
}
