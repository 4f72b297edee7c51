//! Those who wait for an endpoint that has room, over all cores: first come, first served.
//!
//! Whoever ends a request calls the first that waits ([`Queue::call`]), who then tries to pick. As
//! long as anybody waits, newcomers stand in line behind (`Balancer::pick` sees that by one load).
//! A call is never lost: one who cannot use it, or leaves with it, hands it on.
//! That those in front wait does not mean that there is no room: they may be bound to an endpoint that
//! is full, or see the members of an older snapshot. So everybody tries once, either on coming or, if
//! somebody in front has been called and goes first, after that one.
//! No lock is touched while nobody waits. For that, the one who comes counts itself *before* it
//! tries for the last time, and the one who leaves lets go *before* it looks at the count; all four
//! are sequentially consistent, so that one of the two sees the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Why one who waits is to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A request has ended: there is room for one.
    Room,
    /// It has changed who may be taken: everybody tries, one after another.
    Change,
    /// It has not tried yet, and those in front have.
    Turn,
}

#[derive(Debug)]
enum Waiter {
    /// It has not tried yet.
    New(Waker),
    Waiting(Waker),
    Called(Call),
}

#[derive(Debug, Default)]
struct Line {
    /// By ticket, which grow.
    waiters: VecDeque<(u64, Waiter)>,
    last_ticket: u64,
    /// How many have not tried yet.
    new: u32,
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

    /// How many could not, as there were too many.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Stands in line, and says whether to try at once; `None` if there are `max` already.
    pub(crate) fn enter(&self, max: u32, waker: &Waker) -> Option<(u64, bool)> {
        let mut line = self.line();
        if line.waiters.len() >= max as usize {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.waited.fetch_add(1, Ordering::Relaxed);
        line.last_ticket += 1;
        let ticket = line.last_ticket;
        let called = |(_, waiter): &(u64, Waiter)| matches!(waiter, Waiter::Called(_));
        let tries = line.new == 0 && !line.waiters.iter().any(called);
        let waiter = if tries { Waiter::Waiting } else { Waiter::New };
        line.new += u32::from(!tries);
        line.waiters.push_back((ticket, waiter(waker.clone())));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Some((ticket, tries))
    }

    /// Takes the call that this one has got, if any; further ones will come by this waker.
    pub(crate) fn answer(&self, ticket: u64, waker: &Waker) -> Option<Call> {
        let mut line = self.line();
        let waiter = line.get(ticket)?;
        match waiter {
            Waiter::New(known) | Waiter::Waiting(known) => {
                known.clone_from(waker);
                None
            }
            Waiter::Called(call) => {
                let call = *call;
                *waiter = Waiter::Waiting(waker.clone());
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
            match line.waiters.remove(at) {
                Some((_, Waiter::Called(call))) => Some(call),
                Some((_, Waiter::New(_))) => {
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

    /// There may be room for one: calls the first that is not called yet.
    pub(crate) fn call(&self) {
        if self.waiting() > 0 {
            self.call_after(0, Call::Room);
        }
    }

    /// It has changed who may be taken: has everybody try, in turn.
    pub(crate) fn change(&self) {
        if self.waiting() > 0 {
            self.call_after(0, Call::Change);
        }
    }

    /// Calls the first of those who came after this one.
    pub(crate) fn call_after(&self, ticket: u64, call: Call) {
        match call {
            Call::Turn => self.call_new(),
            Call::Room | Call::Change => {
                self.call_first(call, |of, waiter| {
                    of > ticket && !matches!(waiter, Waiter::Called(_))
                });
            }
        }
    }

    /// Calls the first that has not tried yet, unless it will be its turn after another one.
    fn call_new(&self) {
        self.call_first(Call::Turn, |_, waiter| !matches!(waiter, Waiter::Waiting(_)));
    }

    fn call_first(&self, call: Call, which: impl Fn(u64, &Waiter) -> bool) {
        let waker = {
            let mut line = self.line();
            if call == Call::Turn && line.new == 0 {
                return;
            }
            let found = line.waiters.iter_mut().find(|(of, waiter)| which(*of, waiter));
            let Some((_, waiter)) = found else { return };
            if matches!(waiter, Waiter::Called(_)) {
                return;
            }
            match std::mem::replace(waiter, Waiter::Called(call)) {
                Waiter::New(waker) => {
                    line.new -= 1;
                    waker
                }
                Waiter::Waiting(waker) => waker,
                Waiter::Called(_) => return,
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
        self.waiters.binary_search_by_key(&ticket, |(of, _)| *of).ok()
    }

    fn get(&mut self, ticket: u64) -> Option<&mut Waiter> {
        let at = self.find(ticket)?;
        self.waiters.get_mut(at).map(|(_, waiter)| waiter)
    }
}
