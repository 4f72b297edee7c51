//! A group of endpoints in simulated time.
#![allow(dead_code, reason = "each story uses a part of it")]

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{
    Balancer, EndpointStatus, Group, Lease, Outcome, PickError, PickRequest, RequestOrigin, States,
};
use config::{Endpoint, EndpointAddress, Upstream};

pub(crate) const GOOD: Outcome =
    Outcome::Response { status: 200, first_byte: Duration::from_millis(5) };
pub(crate) const BAD: Outcome =
    Outcome::Response { status: 500, first_byte: Duration::from_millis(1) };

/// Endpoints of these names.
pub(crate) fn upstream(names: &[&str]) -> Upstream {
    let endpoint = |(index, name): (usize, &&str)| {
        let address = ([10, 0, 0, index as u8 + 1], 80).into();
        Endpoint::new(*name, EndpointAddress::Ip(address))
    };
    let mut upstream = Upstream::new("app", names.iter().enumerate().map(endpoint).collect());
    upstream.balance.algorithm = "round-robin".into();
    upstream
}

pub(crate) struct World {
    pub(crate) states: States,
    pub(crate) group: Arc<Group>,
    pub(crate) core: Rc<Balancer>,
    pub(crate) now: Instant,
    sources: Cell<u32>,
}

impl World {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        let states = States::default();
        let group = states.group(upstream);
        let core = Rc::new(Balancer::new(Arc::clone(&group), 0));
        Self {
            states,
            group,
            core,
            now: Instant::now() + Duration::from_secs(1),
            sources: Cell::new(1),
        }
    }

    /// Another snapshot.
    pub(crate) fn reload(&mut self, upstream: &Upstream) {
        self.group = self.states.group(upstream);
        self.core = Rc::new(Balancer::new(Arc::clone(&self.group), 0));
    }

    pub(crate) fn ask<'a>(&self, tried: &'a [usize]) -> PickRequest<'a> {
        PickRequest { key: 0, bound: None, tried, now: self.now }
    }

    pub(crate) fn pick(&self) -> Result<Lease, PickError> {
        self.core.pick(&self.ask(&[]))
    }

    pub(crate) fn pick_bound(&self, index: usize) -> Result<Lease, PickError> {
        self.core.pick(&PickRequest { bound: Some(index), ..self.ask(&[]) })
    }

    /// So many requests, each of which comes to what `outcome` says of its endpoint. How many each
    /// endpoint had.
    pub(crate) fn requests(&self, count: usize, outcome: impl Fn(usize) -> Outcome) -> Vec<usize> {
        let mut had = vec![0; self.group.members.len()];
        for _ in 0..count {
            if let Ok(mut lease) = self.pick() {
                had[lease.index()] += 1;
                lease.report(outcome(lease.index()), &"as the story goes", self.now);
            }
        }
        had
    }

    /// What came of a try on this endpoint.
    pub(crate) fn report(&self, index: usize, outcome: Outcome, times: usize) {
        for _ in 0..times {
            let origin = self.next_source();
            self.group.report(index, outcome, &"as the story goes", origin, self.now);
        }
    }

    /// Another client, which asks for something else.
    fn next_source(&self) -> RequestOrigin {
        let number = self.sources.replace(self.sources.get() + 1);
        RequestOrigin::new(Ipv4Addr::from_bits(number).into(), &number.to_le_bytes())
    }

    /// Time passes, with a sweep every second.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for index in self.group.sweep(self.now) {
                self.group.report_probe(index, Ok(()), self.now);
            }
        }
    }

    /// A letter for each endpoint: `u`p, `d`own, `e`jected, `x` for one that drains.
    pub(crate) fn status(&self) -> String {
        let letter = |status| match status {
            EndpointStatus::Up => 'u',
            EndpointStatus::Down => 'd',
            EndpointStatus::Ejected => 'e',
            EndpointStatus::Draining => 'x',
        };
        self.group.members.iter().map(|member| letter(member.status())).collect()
    }
}
