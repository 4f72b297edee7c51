//! Requests that wait for an endpoint with room, over all cores: first come, first served.
//!
//! The end of a request calls the first waiter ([`Queue::call`]), which then tries to pick. While there are waiters,
//! new requests queue behind them (`Balancer::pick` checks that with one load). A call is never lost: a waiter that
//! cannot use it, or leaves with it, passes it on.
//!
//! Waiters at the front do not prove that there is no room: they may be bound to an endpoint that is full, or see the
//! members of an older snapshot. So every request tries once, either on entry or, if a waiter in front has been called
//! and goes first, after that one. That holds even if the queue is full; only then is the request refused. A waiter
//! that is bound to one endpoint is not called for room at another.
//!
//! No lock is taken while nobody waits. For that, a request that enters counts itself *before* its last try, and one
//! that ends releases its place *before* it reads the count. All four operations are sequentially consistent, so that
//! one of the two sees the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::endpoint::EndpointState;

/// An endpoint, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointSelector(Option<usize>);

impl EndpointSelector {
    pub(crate) const ANY: Self = Self(None);

    /// Identifies an endpoint by the address of its state: an index is valid in one snapshot only.
    pub(crate) fn at(state: &EndpointState) -> Self {
        Self(Some(std::ptr::from_ref(state).addr()))
    }

    fn suits(self, wanted: Self) -> bool {
        self.0.is_none() || wanted.0.is_none() || self == wanted
    }
}

/// Why a waiter tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// A request has ended: there is room for one more.
    Room(EndpointSelector),
    /// The set of eligible endpoints has changed: every waiter tries, one after another.
    Change,
    /// It has not tried yet, and all in front of it have.
    Turn,
}

#[derive(Debug)]
enum State {
    /// It has not tried yet.
    New(Waker),
    Waiting(Waker),
    Called(WakeReason),
}

#[derive(Debug)]
struct Waiter {
    /// Increases from waiter to waiter.
    ticket: u64,
    /// Where it needs room.
    wanted: EndpointSelector,
    state: State,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    last_ticket: u64,
    /// How many have not tried yet, and how many are called.
    new: usize,
    called: usize,
}

/// The queue of a group.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicU32,
    line: Mutex<Line>,
    waited: AtomicU64,
    turned_away: AtomicU64,
}

impl Queue {
    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many have waited so far.
    pub(crate) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// How many were refused because the queue was full.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Enters the queue, and returns whether to try at once; `None` if the queue is full. `max` waiters have a place;
    /// as many again may wait for their turn to try. `wanted` returns where there must be room at present: that
    /// may change only along with a call of [`Queue::change`].
    pub(crate) fn enter(
        &self,
        max: u32,
        waker: &Waker,
        wanted: impl FnOnce() -> EndpointSelector,
    ) -> Option<(u64, bool)> {
        let mut line = self.line();
        let max = max as usize;
        let tries = line.new == 0 && line.called == 0;
        if max == 0 || (!tries && line.new >= max) {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if line.waiters.len() < max || !tries {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        line.last_ticket += 1;
        let ticket = line.last_ticket;
        line.new += usize::from(!tries);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let state = if tries { State::Waiting } else { State::New }(waker.clone());
        line.waiters.push_back(Waiter { ticket, wanted: wanted(), state });
        Some((ticket, tries))
    }

    /// Whether a waiter whose try failed is among the first `max`.
    pub(crate) fn has_place(&self, ticket: u64, max: u32) -> bool {
        let has_place = self.line().find(ticket).is_some_and(|at| at < max as usize);
        if !has_place {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        has_place
    }

    /// Takes the call for this waiter, if there is one. Later calls use this waker, and are for room where it is
    /// `wanted` now.
    pub(crate) fn answer(
        &self,
        ticket: u64,
        waker: &Waker,
        wanted: impl FnOnce() -> EndpointSelector,
    ) -> Option<WakeReason> {
        let mut line = self.line();
        let waiter = line.get(ticket)?;
        match &mut waiter.state {
            State::New(known) | State::Waiting(known) => {
                known.clone_from(waker);
                None
            }
            State::Called(call) => {
                let call = *call;
                waiter.state = State::Waiting(waker.clone());
                waiter.wanted = wanted();
                line.called -= 1;
                Some(call)
            }
        }
    }

    /// Leaves the line, and hands on the call that it may have got.
    pub(crate) fn leave(&self, ticket: u64) {
        let unused = {
            let mut line = self.line();
            let Some(at) = line.find(ticket) else { return };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            match line.waiters.remove(at).map(|waiter| waiter.state) {
                Some(State::Called(call)) => {
                    line.called -= 1;
                    Some(call)
                }
                Some(State::New(_)) => {
                    line.new -= 1;
                    None
                }
                _ => None,
            }
        };
        match unused {
            Some(call) => self.call_after(ticket, call),
            None => self.call_new(),
        }
    }

    /// There may be room for one more at `at`: calls the first waiter that wants it and is not called yet.
    pub(crate) fn call(&self, at: EndpointSelector) {
        if self.waiting() > 0 {
            self.call_after(0, WakeReason::Room(at));
        }
    }

    /// The set of eligible endpoints has changed: lets every waiter try, one after another.
    pub(crate) fn change(&self) {
        if self.waiting() > 0 {
            self.call_after(0, WakeReason::Change);
        }
    }

    /// Calls the first waiter after this one.
    pub(crate) fn call_after(&self, ticket: u64, call: WakeReason) {
        let at = match call {
            WakeReason::Turn => return self.call_new(),
            WakeReason::Room(at) => at,
            WakeReason::Change => EndpointSelector::ANY,
        };
        self.call_first(call, |waiter| {
            waiter.ticket > ticket
                && at.suits(waiter.wanted)
                && !matches!(waiter.state, State::Called(_))
        });
    }

    /// Calls the first waiter that has not tried yet, unless its turn comes after another one.
    fn call_new(&self) {
        self.call_first(WakeReason::Turn, |waiter| !matches!(waiter.state, State::Waiting(_)));
    }

    fn call_first(&self, call: WakeReason, which: impl Fn(&Waiter) -> bool) {
        let waker = {
            let mut line = self.line();
            if call == WakeReason::Turn && line.new == 0 {
                return;
            }
            let Some(waiter) = line.waiters.iter_mut().find(|waiter| which(waiter)) else { return };
            if matches!(waiter.state, State::Called(_)) {
                return;
            }
            match std::mem::replace(&mut waiter.state, State::Called(call)) {
                State::New(waker) => {
                    line.new -= 1;
                    line.called += 1;
                    waker
                }
                State::Waiting(waker) => {
                    line.called += 1;
                    waker
                }
                State::Called(_) => return,
            }
        };
        // Not under the lock: a waker runs code of others.
        waker.wake();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn find(&self, ticket: u64) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    fn get(&mut self, ticket: u64) -> Option<&mut Waiter> {
        let at = self.find(ticket)?;
        self.waiters.get_mut(at)
    }
}
