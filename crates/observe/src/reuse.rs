//! Slots of endpoints that are gone, for endpoints that come.
//!
//! Cores count without asking whether a slot is still the one that they mean, so it becomes another's
//! only once nobody can count there: no snapshot's names have it (each has a [`Hold`]), and every
//! connection that was opened for it is closed. That can be told from outside. Connections are counted
//! as opened by those who hold the names; once the last hold has gone, that number is final, and it is
//! equal to the number of those closed exactly if none is left. Both the end of a hold and the count of
//! closed ones are written with `Release` as the last thing that is done, and read with `Acquire`: who
//! sees them may set the counters to zero, though they are other threads'. Those hear of the slot again
//! with the next snapshot that has it, which comes after.
//! Not here: which slot a name has (`registry`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::registry::State;

/// How long the series of an endpoint stay when it is gone, so that scrapes see the last of it; less
/// only if slots run out.
pub(crate) const SERIES_KEPT: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Held {
    slots: Box<[u32]>,
    gone: AtomicBool,
}

/// That a snapshot's names have slots of endpoints.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Held>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
    }
}

/// Who has which slots.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: Vec<Arc<Held>>,
    /// Since when nobody has a slot that is still a name's.
    unused: HashMap<u32, Instant>,
}

impl Holds {
    /// Notes that names have these slots until the hold is dropped.
    pub(crate) fn hold(&mut self, slots: Vec<u32>) -> Hold {
        let held = Arc::new(Held { slots: slots.into(), gone: AtomicBool::new(false) });
        self.held.push(Arc::clone(&held));
        Hold(held)
    }
}

impl State {
    /// Frees the slots of endpoints that nobody has had for `kept`; they begin anew. `taken` are had by
    /// names that are still being made.
    pub(crate) fn free_unused(&mut self, now: Instant, kept: Duration, taken: &[u32]) -> Vec<u32> {
        self.holds.held.retain(|held| !held.gone.load(Ordering::Acquire));
        let mut used = vec![false; self.endpoints.len() as usize];
        let held = self.holds.held.iter().flat_map(|held| &held.slots);
        // What has no slot of its own shares the first.
        for &slot in held.chain(taken).chain(&[0]) {
            if let Some(used) = used.get_mut(slot as usize) {
                *used = true;
            }
        }
        let mut freed = Vec::new();
        for (slot, used) in (0..).zip(used) {
            if used || !self.endpoints.has(slot) || !self.is_closed(slot) {
                self.holds.unused.remove(&slot);
                continue;
            }
            let since = *self.holds.unused.entry(slot).or_insert(now);
            if now.saturating_duration_since(since) >= kept {
                self.holds.unused.remove(&slot);
                self.endpoints.free(slot);
                let cells = self.cores.iter().filter_map(|core| core.endpoints.get(slot));
                cells.for_each(|cells| cells.reset());
                freed.push(slot);
            }
        }
        freed
    }

    /// Whether all connections of a slot that no names have are closed.
    fn is_closed(&self, slot: u32) -> bool {
        let cells = || self.cores.iter().filter_map(|core| core.endpoints.get(slot));
        let opened = cells().fold(0_u64, |sum, cells| sum.wrapping_add(cells.opened.get()));
        let closed = cells().fold(0_u64, |sum, cells| sum.wrapping_add(cells.closed.get_last()));
        opened == closed
    }
}
