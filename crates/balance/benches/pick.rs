//! What a choice costs, for every algorithm, in groups of 3 and of 1,000 endpoints.
//!
//! `choice` is the algorithm alone; `lease` is all that a request does here: the choice among those
//! that may be taken, one request more under way, and later one less, with 64 under way at a time.
//! `refresh` and `build` are what a change of standing costs a core, and one of membership the
//! control thread.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{ALGORITHMS, Algorithm, Balancer, Group, Lease, Outcome, PickContext, PickRequest};
use config::{Balance, Endpoint, EndpointAddress, Upstream};
use divan::Bencher;

const SIZES: [u32; 2] = [3, 1000];

fn main() {
    divan::main();
}

fn cases() -> impl Iterator<Item = Case> {
    let names = ALGORITHMS.iter().map(|row| row.name);
    names.flat_map(|name| SIZES.map(|size| Case { name, size }))
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    size: u32,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.size)
    }
}

impl Case {
    /// Weights from 1 to 4.
    fn upstream(self) -> Upstream {
        let endpoints = (0..self.size).map(|number| {
            let address = SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + number), 8080));
            let mut endpoint = Endpoint::new(address.to_string(), EndpointAddress::Ip(address));
            endpoint.weight = 1 + (number % 4) as u16;
            endpoint
        });
        let mut upstream = Upstream::new("app", endpoints.collect());
        upstream.balance = Balance { algorithm: self.name.into(), ..Balance::default() };
        upstream
    }

    /// All have answered, some sooner than others.
    fn group(self, now: Instant) -> Arc<Group> {
        let group = Group::alone(&self.upstream());
        for index in 0..group.members.len() {
            let first_byte = Duration::from_micros(800 + 97 * (index as u64 % 7));
            let outcome = Outcome::Response { status: 200, first_byte };
            group.report(index, outcome, &"", balance::RequestOrigin::default(), now);
        }
        group
    }

    fn algorithm(self, group: &Arc<Group>) -> Box<dyn Algorithm> {
        let row = ALGORITHMS.iter().find(|row| row.name == self.name).unwrap();
        let mut algorithm =
            (row.factory)(&group.members, &group.settings.balance).on_core(group, 0);
        let all: Vec<u32> = (0..self.size).collect();
        algorithm.refresh(group, &all);
        algorithm
    }
}

/// Keys in no order.
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0 ^ (self.0 >> 32)
    }
}

fn ask(key: u64, now: Instant) -> PickRequest<'static> {
    PickRequest { key, bound: None, tried: &[], now }
}

fn busy(balancer: &Rc<Balancer>, keys: &mut Keys, now: Instant) -> VecDeque<Lease> {
    (0..64).map(|_| balancer.pick(&ask(keys.next(), now)).unwrap()).collect()
}

#[divan::bench(args = cases())]
fn choice(bencher: Bencher, case: &Case) {
    let now = Instant::now();
    let group = case.group(now);
    let mut keys = Keys(1);
    let _under_way = busy(&Rc::new(Balancer::new(Arc::clone(&group), 0)), &mut keys, now);
    let mut algorithm = case.algorithm(&group);
    bencher.bench_local(|| {
        let turn = PickContext { key: keys.next(), now_ms: balance::millis(now) };
        let picked = algorithm.pick(&group, turn, &mut |index| index < black_box(usize::MAX));
        picked.unwrap()
    });
}

#[divan::bench(args = cases())]
fn lease(bencher: Bencher, case: &Case) {
    let now = Instant::now();
    let balancer = Rc::new(Balancer::new(case.group(now), 0));
    let mut keys = Keys(1);
    let mut under_way = busy(&balancer, &mut keys, now);
    bencher.bench_local(|| {
        under_way.pop_front();
        under_way.push_back(balancer.pick(&ask(keys.next(), now)).unwrap());
    });
}

#[divan::bench(args = cases())]
fn refresh(bencher: Bencher, case: &Case) {
    let group = Group::alone(&case.upstream());
    let mut algorithm = case.algorithm(&group);
    let all: Vec<u32> = (0..case.size).collect();
    bencher.bench_local(|| algorithm.refresh(&group, black_box(&all)));
}

#[divan::bench(args = cases(), sample_count = 10)]
fn build(bencher: Bencher, case: &Case) {
    let upstream = case.upstream();
    bencher.bench_local(|| Group::alone(black_box(&upstream)));
}
