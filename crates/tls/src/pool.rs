//! Buffers for ciphertext, lent by the thread to whichever session moves bytes right now.
//!
//! Last in, first out: the same memory stays in the cache. An idle session holds none.

use std::cell::RefCell;

/// A record of TLS 1.3 at its largest: header, plaintext, expansion (RFC 8446, section 5.2). Of
/// TLS 1.2 we take no longer ones.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 256;
/// One record and a little: what most exchanges need.
const SMALL_BYTES: usize = 17 * 1024;
/// Four records and a control record: what bulk needs.
const LARGE_BYTES: usize = 68 * 1024;
/// Kept for the next, per thread; more are given back to the allocator.
const SMALL_KEPT_MAX: usize = 64;
const LARGE_KEPT_MAX: usize = 16;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { small: Vec::new(), large: Vec::new() }) };
}

struct Pool {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

/// Lent memory with a window of bytes that are in use.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Option<Box<[u8]>>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Buffer {
    /// The bytes in use.
    pub(crate) fn filled(&self) -> &[u8] {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed.
    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        let bytes = self.bytes.as_deref_mut().unwrap_or_default();
        bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// What is free behind them.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let bytes = self.bytes.as_deref_mut().unwrap_or_default();
        bytes.get_mut(self.end..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.as_deref().map_or(0, <[u8]>::len)
    }

    pub(crate) fn is_large(&self) -> bool {
        self.capacity() > SMALL_BYTES
    }

    /// Borrows memory if there is none.
    pub(crate) fn borrow(&mut self, large: bool) {
        if self.bytes.is_none() {
            let size = if large { LARGE_BYTES } else { SMALL_BYTES };
            let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.of(large).0.pop());
            let kept = kept.ok().flatten();
            self.bytes = Some(kept.unwrap_or_else(|| vec![0; size].into_boxed_slice()));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves what is in use into large memory, if it is not there already.
    pub(crate) fn grow(&mut self) {
        if !self.is_large() {
            let mut large = Self::default();
            large.borrow(true);
            large.push(self.filled());
            *self = large;
        }
    }

    /// Moves what is in use to the front.
    pub(crate) fn compact(&mut self) {
        let (start, end) = (self.start, self.end);
        if let Some(bytes) = self.bytes.as_deref_mut()
            && start > 0
            && start <= end
        {
            bytes.copy_within(start..end, 0);
            (self.start, self.end) = (0, end - start);
        }
    }

    /// Appends as much as there is room for, and returns how much.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
            room.copy_from_slice(bytes);
        }
        self.end += count;
        count
    }

    /// Drops bytes at the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Gives the memory back if nothing is in use.
    pub(crate) fn give_back_if_empty(&mut self) {
        if self.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        let Some(bytes) = self.bytes.take() else { return };
        // Past the end of the thread the memory goes to the allocator.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                let (kept, max) = pool.of(bytes.len() > SMALL_BYTES);
                if kept.len() < max {
                    kept.push(bytes);
                }
            }
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Pool {
    fn of(&mut self, large: bool) -> (&mut Vec<Box<[u8]>>, usize) {
        if large { (&mut self.large, LARGE_KEPT_MAX) } else { (&mut self.small, SMALL_KEPT_MAX) }
    }
}
