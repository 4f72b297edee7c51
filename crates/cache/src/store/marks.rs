//! Keys whose last response could not be stored.
//!
//! They are as many as clients can think of, so the memory for them does not grow: a mark that takes the place of another
//! ends that one early. That costs a wait, no more.

use std::sync::atomic::{AtomicU64, Ordering};

use super::object::Moment;

const MARKS: usize = 1 << 15;

/// Marks of keys, by their hashes.
#[derive(Debug)]
pub(super) struct Marks(Box<[AtomicU64]>);

impl Default for Marks {
    fn default() -> Self {
        Self((0..MARKS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Marks {
    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.0.get(hash as usize % MARKS)
    }

    /// Marks a key until then.
    pub(super) fn set(&self, hash: u64, until: Moment) {
        if let Some(place) = self.place(hash) {
            place.store(upper(hash) | seconds(until), Ordering::Relaxed);
        }
    }

    /// Whether a key is marked.
    pub(super) fn has(&self, hash: u64, now: Moment) -> bool {
        let mark = self.place(hash).map_or(0, |place| place.load(Ordering::Relaxed));
        mark & UPPER == upper(hash) && mark & !UPPER > seconds(now)
    }

    /// Takes the mark of a key away.
    pub(super) fn clear(&self, hash: u64) {
        if let Some(place) = self.place(hash)
            && place.load(Ordering::Relaxed) & UPPER == upper(hash)
        {
            place.store(0, Ordering::Relaxed);
        }
    }
}

const UPPER: u64 = !0 << 32;

fn upper(hash: u64) -> u64 {
    hash & UPPER
}

fn seconds(moment: Moment) -> u64 {
    (moment.0 / 1000) & !UPPER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_key_and_ends() {
        let marks = Marks::default();
        let (one, other) = (7, 7 | 1 << 40);
        marks.set(one, Moment(60_000));
        assert!(marks.has(one, Moment(59_000)) && !marks.has(one, Moment(60_000)));
        assert!(!marks.has(other, Moment(1)));
        marks.clear(other);
        assert!(marks.has(one, Moment(1)));
        marks.clear(one);
        assert!(!marks.has(one, Moment(1)));
    }
}
