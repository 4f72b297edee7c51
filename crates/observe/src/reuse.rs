//! Reuses the slots of removed endpoints for new ones.
//!
//! Cores count without asking whether a slot still belongs to the endpoint that they mean. So a slot is
//! freed only once no core can count there: no snapshot's names have it (each has a [`Hold`]), and every
//! connection that was opened for it is closed. Both can be seen from outside. Only holders of the names
//! count a connection as opened; once the last hold is gone, that number is final, and it equals the
//! number of closed ones exactly if none is left. The end of a hold and the count of closed connections
//! are written with `Release` as the last action and read with `Acquire`, so that the reader may set the
//! counters to zero although other threads own them. These threads get the slot again only by a later
//! snapshot.
//! Not here: which slot a name has (`registry`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::registry::State;

/// How long the series of a removed endpoint stay, so that scrapes see its last values; less only if
/// slots run out.
pub(crate) const SERIES_KEPT: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Held {
    slots: Box<[u32]>,
    gone: AtomicBool,
}

/// Keeps slots of endpoints from being freed while a snapshot's names have them.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Held>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
    }
}

/// All holds, and the slots that no hold has.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: Vec<Arc<Held>>,
    /// Since when no hold has a slot that still has its name.
    unused: HashMap<u32, Instant>,
}

impl Holds {
    /// Holds these slots until the hold is dropped.
    pub(crate) fn hold(&mut self, slots: Vec<u32>) -> Hold {
        let held = Arc::new(Held { slots: slots.into(), gone: AtomicBool::new(false) });
        self.held.push(Arc::clone(&held));
        Hold(held)
    }
}

impl State {
    /// Frees and resets the slots of endpoints that no hold has had for `kept`, except those in `taken`,
    /// which belong to names that are still being made. Returns the freed ones.
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
