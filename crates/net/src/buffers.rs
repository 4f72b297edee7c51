//! Buffers that connections read into, kept for reuse.
//!
//! Each thread has its own pool; what was given back last is taken first, while it is still in the cache.
//! A [`Buffer`] holds no memory while it has no bytes and waits for some, so that an idle connection costs
//! only the handle. Memory is zeroed once, when it is first allocated.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::stream::Stream;

/// The bytes in a small buffer: a request head and a small body.
pub const BUFFER_BYTES_SMALL: usize = 16 * 1024;
/// The bytes in a large buffer: for bodies.
pub const BUFFER_BYTES_LARGE: usize = 64 * 1024;
/// Free buffers kept of the small size, per pool (4 MiB).
const FREE_SMALL_MAX: usize = 256;
/// Free buffers kept of the large size, per pool (4 MiB).
const FREE_LARGE_MAX: usize = 64;

/// How much memory a [`Buffer`] takes when it first needs some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// [`BUFFER_BYTES_SMALL`].
    Small,
    /// [`BUFFER_BYTES_LARGE`].
    Large,
}

impl Size {
    /// How much that is.
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => BUFFER_BYTES_SMALL,
            Self::Large => BUFFER_BYTES_LARGE,
        }
    }
}

#[derive(Debug, Default)]
struct Free {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

/// A thread's pool of buffers; cloning makes another handle of the same pool.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    free: Rc<RefCell<Free>>,
}

impl Buffers {
    /// A pool of its own, empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pool of this thread.
    pub fn of_thread() -> Self {
        thread_local!(static POOL: Buffers = Buffers::new());
        // A thread that is about to end has lost its pool; it gets one that dies with its buffers.
        POOL.try_with(Self::clone).unwrap_or_default()
    }

    /// A buffer that takes memory of this size when it is first needed.
    pub fn buffer(&self, size: Size) -> Buffer {
        Buffer { pool: self.clone(), memory: Box::default(), start: 0, end: 0, size }
    }

    fn take(&self, bytes: usize) -> Box<[u8]> {
        let kept = match bytes {
            BUFFER_BYTES_SMALL => self.free.borrow_mut().small.pop(),
            BUFFER_BYTES_LARGE => self.free.borrow_mut().large.pop(),
            _ => None,
        };
        kept.unwrap_or_else(|| vec![0; bytes].into_boxed_slice())
    }

    fn give_back(&self, memory: Box<[u8]>) {
        let mut free = self.free.borrow_mut();
        let (list, max) = match memory.len() {
            BUFFER_BYTES_SMALL => (&mut free.small, FREE_SMALL_MAX),
            BUFFER_BYTES_LARGE => (&mut free.large, FREE_LARGE_MAX),
            _ => return,
        };
        if list.len() < max {
            list.push(memory);
        }
    }
}

/// Bytes that were read and not yet consumed, in memory from a pool. Dropping it gives the memory back.
#[derive(Debug)]
pub struct Buffer {
    pool: Buffers,
    /// Empty while there is nothing to hold.
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    size: Size,
}

impl Buffer {
    /// The bytes read and not yet consumed.
    pub fn filled(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are filled.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True if no byte is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `count` filled bytes out (all, if there are fewer).
    pub fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes everything out; the memory stays.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// How many bytes it can hold: those it has memory for, or else will take memory for.
    pub fn capacity(&self) -> usize {
        if self.memory.is_empty() { self.size.bytes() } else { self.memory.len() }
    }

    /// How many more bytes it can hold, after [`compact`](Self::compact) perhaps.
    pub fn spare(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Moves the filled bytes to the front, so that all the spare room lies behind them.
    pub fn compact(&mut self) {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Gives the memory back if nothing is filled; it is taken again when needed.
    pub fn release(&mut self) {
        if self.is_empty() && !self.memory.is_empty() {
            (self.start, self.end) = (0, 0);
            self.pool.give_back(std::mem::take(&mut self.memory));
        }
    }

    /// Takes memory of this size when it needs some again; bytes that are filled stay where they are.
    pub fn prefer(&mut self, size: Size) {
        if self.size != size {
            self.size = size;
            self.release();
        }
    }

    /// True if it has memory at the moment.
    pub fn holds_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// Makes room for `capacity` bytes in all, keeping the filled ones. It never shrinks.
    pub fn grow(&mut self, capacity: usize) {
        if capacity <= self.capacity() {
            return;
        }
        let bytes = if capacity <= BUFFER_BYTES_LARGE { BUFFER_BYTES_LARGE } else { capacity };
        let mut larger = self.pool.take(bytes);
        let filled = self.filled();
        let count = filled.len();
        if let Some(front) = larger.get_mut(..count) {
            front.copy_from_slice(filled);
        }
        self.pool.give_back(std::mem::replace(&mut self.memory, larger));
        (self.start, self.end) = (0, count);
    }

    /// Moves the filled bytes and their memory into a buffer of their own, and leaves this one empty.
    pub fn take(&mut self) -> Self {
        let fresh = self.pool.buffer(self.size);
        std::mem::replace(self, fresh)
    }

    /// The spare room behind the filled bytes, to write into; [`commit`](Self::commit) says how much was.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.make_room();
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts the first `count` bytes of [`spare_mut`](Self::spare_mut) as filled.
    pub fn commit(&mut self, count: usize) {
        self.end += count.min(self.memory.len() - self.end);
    }

    /// Appends `bytes`, or answers false and leaves everything as it was if they do not fit.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.spare() {
            return false;
        }
        self.make_room();
        if self.memory.len() - self.end < bytes.len() {
            self.compact();
        }
        let Some(place) = self.memory.get_mut(self.end..self.end + bytes.len()) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// Reads once from `stream` behind the filled bytes: how many, 0 at the end of the stream. While it has
    /// to wait with nothing filled, it holds no memory. An error if there is no spare room.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<usize>> {
        self.poll_fill_at_most(cx, stream, usize::MAX)
    }

    /// [`poll_fill`](Self::poll_fill), with no more than `limit` bytes read.
    pub fn poll_fill_at_most(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        if self.memory.is_empty() {
            ready!(stream.poll_readable(cx))?;
        }
        let mut spare = self.spare_mut();
        if spare.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        if limit < spare.len() {
            spare = spare.get_mut(..limit).unwrap_or_default();
        }
        match stream.poll_read(cx, spare) {
            Poll::Ready(Ok(count)) => {
                self.commit(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.release();
                Poll::Pending
            }
        }
    }

    /// [`poll_fill`](Self::poll_fill), awaited.
    pub async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, stream)).await
    }

    /// Writes once from the filled bytes to `stream` and consumes what was written.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<usize>> {
        let count = ready!(stream.poll_write(cx, self.filled()))?;
        self.consume(count);
        Poll::Ready(Ok(count))
    }

    /// Takes memory if there is none, and compacts where that costs little for what it gains: when the room
    /// behind has become short and no more is to be moved than has been consumed (so never twice the same).
    fn make_room(&mut self) {
        if self.memory.is_empty() {
            self.memory = self.pool.take(self.size.bytes());
            return;
        }
        let behind = self.memory.len() - self.end;
        if behind == 0 || (behind < self.memory.len() / 4 && self.start >= self.len()) {
            self.compact();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.memory.is_empty() {
            self.pool.give_back(std::mem::take(&mut self.memory));
        }
    }
}
