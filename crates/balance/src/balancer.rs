//! A core's part of a group: picks endpoints, and learns what came of the requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::algorithm::{Algorithm, Turn};
use crate::clock::millis;
use crate::group::Group;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The hash of the request's key, for algorithms that go by one.
    pub key: u64,
    /// The endpoint that the client is bound to.
    pub bound: Option<usize>,
    /// Endpoints that were tried for this request; others come first.
    pub tried: &'a [usize],
    /// The time.
    pub now: Instant,
}

/// Why no endpoint was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPicked {
    /// None is up.
    Down,
    /// Every one that is up was tried.
    Tried,
    /// Every one that is up has as many requests as it may; the request may queue.
    Full,
}

/// What came of a request on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status, its first byte so long after the request was sent.
    Response {
        /// The status.
        status: u16,
        /// The time to the first byte.
        first_byte: Duration,
    },
    /// There was no connection: refused, unreachable, no name, TLS failed.
    Unreachable,
    /// There was none in time.
    ConnectTimeout,
    /// The connection ended, or what came was no HTTP.
    Reset,
    /// No response began in time.
    Timeout,
    /// It said that it did nothing (REFUSED_STREAM, GOAWAY). That is no failure.
    Refused,
}

/// A group on one core.
pub struct Balancer {
    group: Arc<Group>,
    algorithm: RefCell<Box<dyn Algorithm>>,
    /// The version of the group's state that `algorithm` has seen.
    seen: Cell<Option<u64>>,
}

impl Balancer {
    /// A core's part of a group.
    pub fn new(group: Arc<Group>, core: usize) -> Self {
        let algorithm = RefCell::new(Arc::clone(&group.shared).on_core(&group, core));
        Self { group, algorithm, seen: Cell::new(None) }
    }

    /// The group.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Picks an endpoint. The request counts as under way there until the lease is dropped.
    pub fn pick(self: &Rc<Self>, ask: &Ask<'_>) -> Result<Lease, NotPicked> {
        let group = &*self.group;
        let mut algorithm = self.algorithm.borrow_mut();
        let version = group.state.version();
        if self.seen.replace(Some(version)) != Some(version) {
            let eligible: Vec<u32> = (0..group.members.len() as u32).collect();
            algorithm.refresh(group, &eligible);
        }
        let mut full = false;
        let mut allowed = |index: usize| {
            if ask.tried.contains(&index) {
                return false;
            }
            let Some(member) = group.members.get(index) else { return false };
            let entered = member.state.enter(member.settings.max);
            full |= !entered;
            entered
        };
        let turn = Turn { key: ask.key, now_ms: millis(ask.now) };
        match algorithm.pick(group, turn, &mut allowed) {
            Some(index) => Ok(Lease { balancer: Rc::clone(self), index }),
            None if full => Err(NotPicked::Full),
            None if ask.tried.is_empty() => Err(NotPicked::Down),
            None => Err(NotPicked::Tried),
        }
    }
}

/// A request under way on an endpoint, until it is dropped.
pub struct Lease {
    balancer: Rc<Balancer>,
    index: usize,
}

impl Lease {
    /// Which endpoint: counts in [`Group::members`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Tells what came of it. A request whose client left is dropped without.
    pub fn report(&mut self, _outcome: Outcome) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        let group = &*self.balancer.group;
        if let Some(member) = group.members.get(self.index) {
            member.state.leave();
        }
        self.balancer.algorithm.borrow_mut().released(group, self.index);
    }
}
