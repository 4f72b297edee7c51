//! The thread that writes the access logs, for all cores and all of them.
//!
//! A core hands over a [`Chunk`] of whole lines through a bounded channel, and never waits: it
//! may have [`CHUNKS_MAX`] chunks on the way, and drops the next. Orders (another target, the end)
//! go through the same channel, after the chunks that were sent before them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::access_log::AccessLog;
use super::logs::{AccessLogs, LogTargets, Target};
use super::registry::LogCounters;
use super::sink::Sink;

/// Chunks that a core may have on the way to the writer.
pub(crate) const CHUNKS_MAX: usize = 64;
/// Places in the channel beyond those of the chunks, for orders.
const ORDERS_MAX: usize = 16;
/// Emptied chunks that are kept per core to be filled again.
const SPARES_MAX: usize = 8;
/// Memory that a chunk may have to be kept.
const SPARE_BYTES_MAX: usize = 128 * 1024;
/// How long to wait for room in the channel, for an order.
const NAP: Duration = Duration::from_millis(1);

/// Whole lines on their way to the writer.
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) lines: u64,
    /// The logs that the lines are of.
    pub(crate) logs: Arc<AccessLogs>,
    pub(crate) pool: Arc<ChunkPool>,
}

/// Lines of one log that follow each other, after those of the segment before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Which of the snapshot's logs.
    pub(crate) log: u32,
    pub(crate) end: usize,
    pub(crate) lines: u64,
}

/// Emptied chunks of a core, on their way back from the writer.
#[derive(Default)]
pub(crate) struct ChunkPool {
    /// Chunks on the way to the writer.
    pub(crate) under_way: AtomicUsize,
    spares: Mutex<Vec<Spare>>,
}

/// The memory of a chunk.
type Spare = (Vec<u8>, Vec<Segment>);

impl ChunkPool {
    /// An emptied chunk, if there is one and the writer is not just putting one there.
    pub(crate) fn spare(&self) -> Option<Spare> {
        match self.spares.try_lock() {
            Ok(mut spares) => spares.pop(),
            Err(TryLockError::Poisoned(spares)) => spares.into_inner().pop(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn take_back(&self, (mut bytes, mut segments): Spare) {
        bytes.clear();
        segments.clear();
        if bytes.capacity() <= SPARE_BYTES_MAX {
            let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
            if spares.len() < SPARES_MAX {
                spares.push((bytes, segments));
            }
        }
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) enum Message {
    Chunk(Chunk),
    /// Other sinks of targets.
    Sinks(Vec<(Arc<Target>, Sink)>),
    /// Answered when all that was sent before is written.
    Sync(SyncSender<()>),
    Stop,
}

/// The handle of the thread that writes the access logs.
pub struct AccessWriter {
    sender: SyncSender<Message>,
    counters: Arc<LogCounters>,
    targets: Arc<LogTargets>,
    thread: JoinHandle<()>,
    /// Says that the thread is done.
    stopped: Receiver<()>,
}

impl AccessWriter {
    /// Starts the thread, for so many cores. Must not be called on a core's own thread: the new one would stay
    /// on that CPU too.
    pub fn start(cores: usize, counters: Arc<LogCounters>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(cores.max(1) * CHUNKS_MAX + ORDERS_MAX);
        let (stopping, stopped) = sync_channel(1);
        let of_thread = Arc::clone(&counters);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_until_stopped(&receiver, &of_thread);
            // If the caller no longer waits, there is nothing to report.
            let _ = stopping.try_send(());
        })?;
        Ok(Self { sender, counters, targets: Arc::default(), thread, stopped })
    }

    /// The targets that are open.
    pub fn targets(&self) -> &Arc<LogTargets> {
        &self.targets
    }

    /// The log of one more core.
    pub fn core_log(&self) -> AccessLog {
        AccessLog::new(self.sender.clone(), Arc::clone(&self.counters))
    }

    /// Opens files again, after they were moved away. If that fails, lines still go to the old ones.
    pub fn reopen(&self) -> io::Result<()> {
        let (sinks, outcome) = self.targets.opened_again();
        self.order(Message::Sinks(sinks)).and(outcome)
    }

    /// Waits until all that the cores have handed over so far is written, at most `patience`; returns
    /// whether it is.
    pub fn sync(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, waiting) = sync_channel(1);
        self.order_until(Message::Sync(done), deadline).is_ok()
            && waiting.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    /// Writes what the cores have handed over and ends the thread. A target that takes nothing for
    /// `patience` loses the lines, and this returns `false`. The
    /// logs of the cores must have been dropped or flushed before.
    pub fn shutdown(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let is_done = self.order_until(Message::Stop, deadline).is_ok()
            && self
                .stopped
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .is_ok();
        // Joining a thread that is stuck in a write would wait for ever; it ends with the process.
        is_done && self.thread.join().is_ok()
    }

    fn order(&self, order: Message) -> io::Result<()> {
        self.sender.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => io::Error::other("the access log's writer does not keep up"),
            TrySendError::Disconnected(_) => io::Error::other("the access log's writer has ended"),
        })
    }

    fn order_until(&self, mut order: Message, deadline: Instant) -> Result<(), ()> {
        loop {
            match self.sender.try_send(order) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(same)) if Instant::now() < deadline => order = same,
                Err(_) => return Err(()),
            }
            thread::sleep(NAP);
        }
    }
}

fn write_until_stopped(receiver: &Receiver<Message>, counters: &LogCounters) {
    let mut gathered = Vec::new();
    for message in receiver {
        match message {
            Message::Chunk(chunk) => {
                let written = write_chunk(&chunk, &mut gathered);
                counters.written.add(written);
                counters.dropped_write_failed.add(chunk.lines - written.min(chunk.lines));
                chunk.pool.take_back((chunk.bytes, chunk.segments));
            }
            Message::Sinks(sinks) => {
                for (target, sink) in sinks {
                    *target.sink.lock().unwrap_or_else(PoisonError::into_inner) = sink;
                }
            }
            Message::Sync(done) => {
                // The caller may have stopped waiting.
                let _ = done.try_send(());
            }
            Message::Stop => return,
        }
    }
}

/// Writes the lines of a chunk; returns how many of them were written. `gathered` is memory.
fn write_chunk(chunk: &Chunk, gathered: &mut Vec<u8>) -> u64 {
    let write = |log: u32, bytes: &[u8], lines: u64| {
        let Some(target) = chunk.logs.target(log) else { return 0 };
        target.sink.lock().unwrap_or_else(PoisonError::into_inner).write_lines(bytes, lines)
    };
    let [first, others @ ..] = chunk.segments.as_slice() else { return 0 };
    if others.is_empty() {
        return write(first.log, &chunk.bytes, chunk.lines);
    }
    // One write for each log, whose lines stay in their order.
    let starts = std::iter::once(0).chain(chunk.segments.iter().map(|segment| segment.end));
    let mut segments: Vec<_> = starts.zip(&chunk.segments).collect();
    segments.sort_by_key(|(_, segment)| segment.log);
    let groups = segments.chunk_by(|(_, one), (_, other)| one.log == other.log);
    let mut written = 0;
    for group in groups {
        gathered.clear();
        for (start, segment) in group {
            gathered.extend_from_slice(chunk.bytes.get(*start..segment.end).unwrap_or_default());
        }
        let lines = group.iter().map(|(_, segment)| segment.lines).sum();
        let Some((_, first)) = group.first() else { continue };
        written += write(first.log, gathered, lines);
    }
    gathered.shrink_to(SPARE_BYTES_MAX);
    written
}
