//! A global allocator that counts the allocations of one thread.
//!
//! Only a separate test binary installs it. It watches the thread with a given name, so that the
//! peers of the test may allocate freely.

#![allow(unsafe_code)] // a global allocator is an unsafe trait; it only counts and hands on

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// The system's allocator, with counters for the thread named [`WATCHED_THREAD`].
pub struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);
static TRAPPED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is watched; `None` if not known yet.
    static WATCHED: Cell<Option<bool>> = const { Cell::new(None) };
    /// Set while the name of the thread is read, which may itself allocate.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// The name of the thread that is watched.
pub const WATCHED_THREAD: &str = "core-0";

fn is_watched() -> bool {
    // Without its thread-local variables, the thread is ending: no longer of interest.
    WATCHED
        .try_with(|watched| match watched.get() {
            Some(watched) => watched,
            None if ASKING.get() => false,
            None => {
                ASKING.set(true);
                let is_it = thread_name_is(WATCHED_THREAD.as_bytes());
                ASKING.set(false);
                watched.set(Some(is_it));
                is_it
            }
        })
        .unwrap_or(false)
}

/// Asks the kernel, which does not allocate. A thread has its name before its code runs.
fn thread_name_is(name: &[u8]) -> bool {
    let Ok(read) = std::fs::read("/proc/thread-self/comm") else { return false };
    read.trim_ascii_end() == name
}

fn count(counter: &AtomicU64, more: usize, less: usize) {
    if is_watched() {
        counter.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(more as i64 - less as i64, Ordering::Relaxed);
        if TRAPPED.swap(false, Ordering::Relaxed) {
            // Printing allocates, but the trap is already off.
            eprintln!("an allocation:\n{}", std::backtrace::Backtrace::force_capture());
        }
    }
}

/// The number of allocations and deallocations of the watched thread.
pub fn counted() -> (u64, u64) {
    (ALLOCATIONS.load(Ordering::Relaxed), FREES.load(Ordering::Relaxed))
}

/// The bytes that the watched thread holds: allocated minus deallocated.
pub fn held() -> i64 {
    HELD.load(Ordering::Relaxed)
}

/// Prints where the next allocation of the watched thread comes from.
pub fn trap() {
    TRAPPED.store(true, Ordering::Relaxed);
}

// SAFETY: every call is handed to the system's allocator unchanged, which fulfils the contract;
// counting touches no memory that is handed out.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size(), 0);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(&FREES, 0, layout.size());
        // SAFETY: as above; what is given back came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&ALLOCATIONS, size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
