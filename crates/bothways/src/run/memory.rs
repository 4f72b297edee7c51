//! Gives the memory that a start or a reload has left unused back to the system.
//!
//! The allocator keeps freed pages for a second, as most are needed again at once, and then gives them back when any thread
//! takes or frees a page. In a process with little to do that may be never, and the memory of the configuration before
//! would stay resident beside that of the new one.

use std::hint::black_box;
use std::time::Duration;

/// A little more than the allocator waits, twice, as some pages are freed when others are.
const PAUSE: Duration = Duration::from_millis(1200);
const TIMES: u32 = 3;

/// Bytes that have pages of their own; nothing is written into them.
const PAGE_BYTES: usize = 16 << 20;

/// Does so a little later; for a thread with a runtime.
pub(super) fn give_back_soon() {
    tokio::task::spawn_local(async {
        for _ in 0..TIMES {
            tokio::time::sleep(PAUSE).await;
            drop(black_box(Vec::<u8>::with_capacity(PAGE_BYTES)));
        }
    });
}
