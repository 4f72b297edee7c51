//! Which objects go first when there is no room.
//!
//! The queues are S3-FIFO (Yang et al., SOSP 2023): what is new waits in a short queue, and only what is used there
//! again moves on to the long one. The hashes of what went from the short queue are remembered for a while (ghosts):
//! what comes back soon goes to the long queue at once. A use changes one small number in the object, so that a hit has
//! nothing to do with the queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::HashSet;

use super::object::Object;

/// A queue of objects, and the sum of their bytes.
#[derive(Default)]
struct Queue {
    objects: VecDeque<Arc<Object>>,
    bytes: u64,
}

impl Queue {
    fn push(&mut self, object: Arc<Object>) {
        self.bytes += object.bytes;
        self.objects.push_back(object);
    }

    fn pop(&mut self) -> Option<Arc<Object>> {
        let object = self.objects.pop_front()?;
        self.bytes = self.bytes.saturating_sub(object.bytes);
        Some(object)
    }
}

/// The hashes of what went from the short queue.
#[derive(Default)]
struct Ghosts {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Ghosts {
    fn add(&mut self, hash: u64, most: usize) {
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        while self.order.len() > most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.known.remove(&oldest);
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        // Its place in the order stays, and means nothing when it is reached.
        self.known.remove(&hash)
    }
}

/// The share of the bytes that the short queue may have: a tenth.
const SHORT_PART: u64 = 10;
/// Ghosts are kept at least for this many objects.
const GHOSTS_MIN: usize = 64;

/// The queues of a store.
#[derive(Default)]
pub(super) struct Queues {
    short: Queue,
    long: Queue,
    ghosts: Ghosts,
    /// Bytes of objects that are gone, but still in a queue.
    gone_bytes: u64,
}

/// Objects that are gone are taken out of the queues once they are more than this part of the bytes, and this many.
const GONE_PART: u64 = 8;
const GONE_BYTES_MIN: u64 = 1024 * 1024;

impl Queues {
    pub(super) fn push(&mut self, object: Arc<Object>) {
        if self.ghosts.take(object.hash) || object.used.load(Ordering::Relaxed) > 0 {
            self.long.push(object);
        } else {
            self.short.push(object);
        }
    }

    /// Takes out the object that goes next, if there is one.
    pub(super) fn pop(&mut self) -> Option<Arc<Object>> {
        loop {
            let short_is_long = self.short.bytes * SHORT_PART > self.short.bytes + self.long.bytes;
            let from_short = short_is_long || self.long.objects.is_empty();
            let object = if from_short { self.short.pop()? } else { self.long.pop()? };
            if object.is_gone.load(Ordering::Relaxed) {
                self.gone_bytes = self.gone_bytes.saturating_sub(object.bytes);
                continue;
            }
            let used = object.used.load(Ordering::Relaxed);
            match from_short {
                true if used > 1 => {
                    object.used.store(0, Ordering::Relaxed);
                    self.long.push(object);
                }
                true => {
                    self.ghosts.add(object.hash, self.long.objects.len().max(GHOSTS_MIN));
                    return Some(object);
                }
                false if used > 0 => {
                    object.used.store(used - 1, Ordering::Relaxed);
                    self.long.push(object);
                }
                false => return Some(object),
            }
        }
    }

    /// Objects of so many bytes are gone that are still in a queue: from time to time all of those are taken out, so that
    /// they hold little memory and each costs little.
    pub(super) fn note_gone(&mut self, bytes: u64) {
        self.gone_bytes += bytes;
        let all = self.short.bytes + self.long.bytes;
        if self.gone_bytes < GONE_BYTES_MIN.max(all / GONE_PART) {
            return;
        }
        self.gone_bytes = 0;
        for queue in [&mut self.short, &mut self.long] {
            queue.objects.retain(|object| !object.is_gone.load(Ordering::Relaxed));
            queue.bytes = queue.objects.iter().map(|object| object.bytes).sum();
        }
    }
}
