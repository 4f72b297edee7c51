//! A core's side of the access log.
//!
//! [`AccessLog::write`] adds a line to the core's chunk; a full one, or what there is at a tick,
//! goes to the [`AccessWriter`](super::AccessWriter). Chunks come back emptied, so that in steady
//! state nothing is allocated. When the writer does not keep up, the chunk's lines are dropped
//! and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use super::clock::Clock;
use super::format::Stamp;
use super::logs::AccessLogs;
use super::names::Names;
use super::rate_limit::RateLimited;
use super::record::Record;
use super::registry::LogCounters;
use super::writer::{CHUNKS_MAX, Chunk, ChunkPool, Message, Segment};

/// Bytes from which on a chunk is handed over.
const CHUNK_BYTES: usize = 32 * 1024;
/// Memory that a chunk starts with: room for the line that makes it full.
const CHUNK_BYTES_RESERVED: usize = CHUNK_BYTES + 8 * 1024;

/// A core's side of the access log.
pub struct AccessLog {
    sender: SyncSender<Message>,
    counters: Arc<LogCounters>,
    pool: Arc<ChunkPool>,
    /// The logs that the lines are of; all of one snapshot.
    logs: Option<Arc<AccessLogs>>,
    bytes: Vec<u8>,
    /// Which lines are of which log.
    segments: Vec<Segment>,
    lines: u64,
    clock: Clock,
    stamp: Stamp,
}

impl AccessLog {
    pub(crate) fn new(sender: SyncSender<Message>, counters: Arc<LogCounters>) -> Self {
        Self {
            sender,
            counters,
            pool: Arc::default(),
            logs: None,
            bytes: Vec::new(),
            segments: Vec::new(),
            lines: 0,
            clock: Clock::now(),
            stamp: Stamp::default(),
        }
    }

    /// Adds the line of an exchange that is over. `names` and `logs` are those of the snapshot that decided.
    pub fn write(&mut self, record: &Record, names: &Names, logs: &Arc<AccessLogs>) {
        let Some((index, log)) = logs.of(record.scope) else { return };
        if !self.logs.as_ref().is_some_and(|held| Arc::ptr_eq(held, logs)) {
            self.hand_over();
            self.logs = Some(Arc::clone(logs));
        }
        if self.bytes.capacity() == 0 {
            (self.bytes, self.segments) = self.pool.spare().unwrap_or_else(|| {
                (Vec::with_capacity(CHUNK_BYTES_RESERVED), Vec::with_capacity(4))
            });
        }
        let time = self.clock.unix_millis(record.started);
        log.push(&mut self.bytes, record, names, time, &mut self.stamp);
        let end = self.bytes.len();
        match self.segments.last_mut() {
            Some(last) if last.log == index => {
                last.end = end;
                last.lines += 1;
            }
            _ => self.segments.push(Segment { log: index, end, lines: 1 }),
        }
        self.lines += 1;
        if end >= CHUNK_BYTES {
            self.hand_over();
        }
    }

    /// Hands over what there is, and reads the wall clock. To be called at every tick (100 ms).
    pub fn flush(&mut self) {
        self.clock = Clock::now();
        self.hand_over();
        // A snapshot that is gone must not keep its logs open.
        self.logs = None;
    }

    fn hand_over(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let Some(logs) = self.logs.clone() else { return };
        if self.pool.under_way.fetch_add(1, Ordering::AcqRel) >= CHUNKS_MAX {
            self.pool.under_way.fetch_sub(1, Ordering::AcqRel);
            self.bytes.clear();
            self.segments.clear();
            return self.lost(lines);
        }
        let (bytes, segments) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.segments));
        let chunk = Chunk { bytes, segments, lines, logs, pool: self.pool.clone() };
        if let Err(error) = self.sender.try_send(Message::Chunk(chunk)) {
            self.pool.under_way.fetch_sub(1, Ordering::AcqRel);
            drop(error);
            self.lost(lines);
        }
    }

    #[cold]
    fn lost(&self, lines: u64) {
        static GATE: RateLimited = RateLimited::once_a_minute();
        self.counters.dropped_queue_full.add(lines);
        if GATE.pass().is_some() {
            let lines_lost = self.counters.dropped_queue_full();
            tracing::warn!(lines_lost, "the access log's target does not keep up; lines are lost");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.hand_over();
    }
}
