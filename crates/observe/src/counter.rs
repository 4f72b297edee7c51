//! Counters that one thread writes and others read, and growing tables of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread alone changes, and any may read.
///
/// A change is a relaxed load and a relaxed store: no locked instruction, a plain `mov` and `add`.
/// Two writers would lose counts, so a handle that writes is not `Sync`.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one. A thread that reads it by [`Self::get_last`] sees all that this thread did before.
    pub(crate) fn add_last(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// What was added by [`Self::add_last`].
    pub(crate) fn get_last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets it to zero. Only if its thread has changed it for the last time, or learns of this before it
    /// does so again.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A number that several threads change, where that is rare.
#[derive(Debug, Default)]
pub(crate) struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Entries of a chunk of a [`Table`].
const CHUNK: usize = 8;

/// A table that grows by chunks while others read it, up to a length fixed at the start. Entries
/// never move and never go away.
#[derive(Debug)]
pub(crate) struct Table<T> {
    chunks: Box<[OnceLock<Box<[T; CHUNK]>>]>,
}

impl<T: Default> Table<T> {
    /// An empty table for at most `length_max` entries.
    pub(crate) fn new(length_max: usize) -> Self {
        Self { chunks: (0..length_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// Makes sure that the entry is there.
    pub(crate) fn ensure(&self, index: u32) {
        if let Some(chunk) = self.chunks.get(index as usize / CHUNK) {
            chunk.get_or_init(|| Box::new(std::array::from_fn(|_| T::default())));
        }
    }

    /// The entry, if it is there.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get()?.get(index as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_by_chunks_up_to_its_length() {
        let table: Table<Counter> = Table::new(10);
        assert!(table.get(9).is_none());
        table.ensure(9);
        table.ensure(400);
        assert!(table.get(0).is_none() && table.get(400).is_none());
        if let Some(counter) = table.get(9) {
            counter.add(2);
            counter.add(3);
        }
        table.ensure(9);
        assert_eq!(table.get(9).map(Counter::get), Some(5));
    }
}
