//! One of ten endpoints is slow: what the algorithms make of it, with a simulated clock.
//!
//! Requests come by chance (Poisson) to two cores. An endpoint works on [`WORKERS`] at a time, each
//! for a time of exponential distribution around 1 ms; others wait there.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use random::Random;

use crate::balancer::{Balancer, Lease, PickRequest};
use crate::group::Group;
use crate::outcome::Outcome;
use crate::testing::upstream;

const ENDPOINTS: usize = 10;
const WORKERS: usize = 8;
const SECOND: u64 = 1_000_000_000;

/// How much slower the first endpoint is, at a time in nanoseconds.
type Slowness = fn(u64) -> f64;

struct Request {
    begun: u64,
    endpoint: usize,
    lease: Lease,
}

struct Simulation {
    random: Random,
    slowness: Slowness,
    start: Instant,
    cores: [Rc<Balancer>; 2],
    requests: Vec<Option<Request>>,
    waiting: Vec<VecDeque<usize>>,
    working: Vec<usize>,
    /// When which request is answered.
    answers: BinaryHeap<Reverse<(u64, usize)>>,
    /// When which endpoint answered, after how long.
    answered: Vec<(u64, usize, u64)>,
}

impl Simulation {
    fn new(algorithm: &str, slowness: Slowness) -> Self {
        let group = Group::alone(&upstream(algorithm, &[1; ENDPOINTS]));
        let core = |number| Rc::new(Balancer::new(Arc::clone(&group), number));
        Self {
            random: Random::seeded(1),
            slowness,
            start: Instant::now(),
            cores: [core(0), core(1)],
            requests: Vec::new(),
            waiting: vec![VecDeque::new(); ENDPOINTS],
            working: vec![0; ENDPOINTS],
            answers: BinaryHeap::new(),
            answered: Vec::new(),
        }
    }

    /// Exponential distribution.
    fn chance(&mut self, mean: f64) -> u64 {
        let uniform = (self.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        (-(1.0 - uniform).ln() * mean) as u64
    }

    fn run(mut self, per_second: u64, seconds: u64) -> Self {
        let mut next = 0;
        while next < seconds * SECOND {
            match self.answers.peek() {
                Some(&Reverse((at, request))) if at <= next => {
                    self.answers.pop();
                    self.answer(at, request);
                }
                _ => {
                    self.begin(next);
                    next += self.chance(SECOND as f64 / per_second as f64);
                }
            }
        }
        self
    }

    fn begin(&mut self, at: u64) {
        let now = self.start + Duration::from_nanos(at);
        let core = &self.cores[self.requests.len() % 2];
        let lease = core.pick(&PickRequest { key: 0, bound: None, tried: &[], now }).unwrap();
        let endpoint = lease.index();
        self.requests.push(Some(Request { begun: at, endpoint, lease }));
        self.waiting[endpoint].push_back(self.requests.len() - 1);
        self.work(endpoint, at);
    }

    fn work(&mut self, endpoint: usize, at: u64) {
        while self.working[endpoint] < WORKERS
            && let Some(request) = self.waiting[endpoint].pop_front()
        {
            self.working[endpoint] += 1;
            let factor = if endpoint == 0 { (self.slowness)(at) } else { 1.0 };
            let end = at + 1 + self.chance(SECOND as f64 / 1000.0 * factor);
            self.answers.push(Reverse((end, request)));
        }
    }

    fn answer(&mut self, at: u64, request: usize) {
        let Request { begun, endpoint, mut lease } = self.requests[request].take().unwrap();
        let first_byte = Duration::from_nanos(at - begun);
        let now = self.start + Duration::from_nanos(at);
        lease.report(Outcome::Response { status: 200, first_byte }, &"", now);
        drop(lease);
        self.answered.push((at, endpoint, at - begun));
        self.working[endpoint] -= 1;
        self.work(endpoint, at);
    }

    /// The share of each endpoint, in percent, from some second on.
    fn shares(&self, from: u64) -> Vec<f64> {
        let after = self.answered.iter().filter(|(at, ..)| *at >= from * SECOND);
        let endpoints: Vec<usize> = after.map(|&(_, endpoint, _)| endpoint).collect();
        let share = |of| endpoints.iter().filter(|&&e| e == of).count() as f64 * 100.0;
        (0..ENDPOINTS).map(|of| share(of) / endpoints.len() as f64).collect()
    }

    /// The 99th percentile, in milliseconds.
    fn p99(&self) -> f64 {
        let mut times: Vec<u64> = self.answered.iter().map(|&(.., time)| time).collect();
        times.sort_unstable();
        times[times.len() * 99 / 100] as f64 / 1e6
    }
}

#[test]
fn one_slow_endpoint_is_hardly_felt() {
    // From a few requests at a time to about a third of what the endpoints can do.
    for per_second in [2_000, 20_000] {
        for (algorithm, felt) in
            [("p2c", false), ("least-time", false), ("round-robin", true), ("random", true)]
        {
            let well = Simulation::new(algorithm, |_| 1.0).run(per_second, 10);
            let slow = Simulation::new(algorithm, |_| 10.0).run(per_second, 10);
            let (times, share) = (slow.p99() / well.p99(), slow.shares(0)[0]);
            println!(
                "{algorithm:12} {per_second:6}/s: p99 {:.1} ms, {:.1} ms with a slow one ({times:.2}×), \
                 which gets {share:.2} %",
                well.p99(),
                slow.p99()
            );
            match felt {
                true => assert!(times > 2.0 && share > 3.0, "{algorithm} {times} {share}"),
                false => assert!(times < 1.5 && share < 2.5, "{algorithm} {times} {share}"),
            }
        }
    }
}

#[test]
fn equals_stay_even() {
    for per_second in [2_000, 20_000] {
        // Least time goes by small differences, which last for a while.
        let spreads =
            [("p2c", 8.0..12.0), ("least-time", 5.0..15.0), ("least-connections", 8.0..12.0)];
        for (algorithm, spread) in spreads {
            let shares = Simulation::new(algorithm, |_| 1.0).run(per_second, 10).shares(0);
            println!("{algorithm:12} {per_second:6}/s: {shares:.2?}");
            assert!(shares.iter().all(|share| spread.contains(share)), "{algorithm} {shares:?}");
        }
    }
}

/// It is asked again now and then, and gets its share once it is well.
#[test]
fn one_that_recovers_comes_back() {
    let slowness = |at| if at < 10 * SECOND { 10.0 } else { 1.0 };
    for algorithm in ["p2c", "least-time"] {
        let simulation = Simulation::new(algorithm, slowness).run(2_000, 60);
        let share = simulation.shares(50)[0];
        println!("{algorithm:12}: {share:.2} %");
        // Least time goes by small differences, which last for a while.
        assert!((4.0..16.0).contains(&share), "{algorithm} {share}");
    }
}
