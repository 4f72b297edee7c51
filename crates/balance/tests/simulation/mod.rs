//! A server with a known capacity behind a balancer, in simulated time.
//!
//! The server has workers and a queue in front of them: below `workers / service time` requests a
//! second it answers in about the service time, above it the queue grows. Requests come by chance
//! (Poisson), whatever becomes of those before.

#![allow(dead_code, reason = "each story uses a part of it")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{Balancer, Group, Lease, Outcome, PickRequest, States};
use config::{Adaptive, Endpoint, EndpointAddress, Place, Upstream};

/// What holds from a moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    /// Seconds from the beginning.
    pub(crate) from: f64,
    pub(crate) workers: usize,
    /// Mean seconds of work of a request.
    pub(crate) service: f64,
    /// Requests a second.
    pub(crate) rate: f64,
}

/// What was seen in a tenth of a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slice {
    /// The end of it, in seconds.
    pub(crate) at: f64,
    pub(crate) limit: f64,
    pub(crate) answered: u32,
    pub(crate) refused: u32,
    /// The median of the answers, in seconds.
    pub(crate) latency: f64,
}

pub(crate) const SLICE: f64 = 0.1;

struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }
}

pub(crate) fn upstream(adaptive: Option<(u32, u32)>) -> Upstream {
    let address = EndpointAddress::Ip(([10, 0, 0, 1], 80).into());
    let mut upstream = Upstream::new("app", vec![Endpoint::new("10.0.0.1:80", address)]);
    upstream.adaptive = adaptive.map(|(min, max)| Adaptive { place: Place::default(), min, max });
    upstream
}

/// Runs until `end` seconds, over as many cores.
pub(crate) fn run(upstream: &Upstream, phases: &[Phase], end: f64, cores: usize) -> Vec<Slice> {
    let group: Arc<Group> = States::default().group(upstream);
    let balancers: Vec<_> =
        (0..cores).map(|core| Rc::new(Balancer::new(Arc::clone(&group), core))).collect();
    let origin = Instant::now();
    let at = |seconds: f64| origin + Duration::from_secs_f64(seconds);
    let mut random = Random(20_240_601);
    // Requests in the server's queue, with their work, and how many it works on.
    let mut queue: VecDeque<(usize, f64)> = VecDeque::new();
    let mut busy = 0;
    // Ends of requests, in nanoseconds, the first of which is next.
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut leases: Vec<Option<(Lease, f64)>> = Vec::new();
    let mut latencies: Vec<f64> = Vec::new();
    let mut slices = Vec::new();
    let mut slice = Slice::default();
    let (mut next_arrival, mut next_slice, mut count) = (0.0_f64, SLICE, 0_usize);
    loop {
        let next_end = ends.peek().map_or(f64::MAX, |Reverse((nanos, _))| *nanos as f64 / 1e9);
        let now = next_arrival.min(next_end);
        while next_slice <= now {
            latencies.sort_by(f64::total_cmp);
            slice.at = next_slice;
            slice.limit = group.usage(at(next_slice)).limit.map_or(0.0, f64::from);
            slice.latency = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
            slices.push(std::mem::take(&mut slice));
            latencies.clear();
            next_slice += SLICE;
        }
        if now >= end {
            return slices;
        }
        let phase = phases.iter().rfind(|phase| phase.from <= now).unwrap_or(&phases[0]);
        if next_end <= next_arrival {
            let Some(Reverse((_, request))) = ends.pop() else { continue };
            busy -= 1;
            let Some((mut lease, begun)) = leases[request].take() else { continue };
            let first_byte = Duration::from_secs_f64(now - begun);
            lease.report(Outcome::Response { status: 200, first_byte }, &"", at(now));
            latencies.push(now - begun);
            slice.answered += 1;
        } else {
            next_arrival = now + random.exponential(1.0 / phase.rate);
            count += 1;
            let ask = PickRequest { key: 0, bound: None, tried: &[], now: at(now) };
            match balancers[count % cores].pick(&ask) {
                Ok(lease) => {
                    // Half of the work is always the same, half is by chance.
                    let work = phase.service / 2.0 + random.exponential(phase.service / 2.0);
                    queue.push_back((leases.len(), work));
                    leases.push(Some((lease, now)));
                }
                Err(_) => slice.refused += 1,
            }
        }
        while busy < phase.workers
            && let Some((request, work)) = queue.pop_front()
        {
            busy += 1;
            ends.push(Reverse((((now + work) * 1e9) as u64, request)));
        }
    }
}

/// The mean of something over a span of time.
pub(crate) fn mean(slices: &[Slice], from: f64, to: f64, of: impl Fn(&Slice) -> f64) -> f64 {
    let within: Vec<f64> = slices.iter().filter(|s| s.at > from && s.at <= to).map(of).collect();
    within.iter().sum::<f64>() / within.len().max(1) as f64
}
