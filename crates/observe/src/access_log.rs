//! A core's side of the access log.
//!
//! [`AccessLog::write`] adds a line to the core's chunk; a full one, or what there is at a tick,
//! goes to the [`AccessWriter`](super::AccessWriter). Chunks come back emptied, so that in steady
//! state nothing is allocated. When the writer does not keep up, the chunk's lines are dropped
//! and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use config::AccessFormat;

use super::clock::Clock;
use super::format::{self, Stamp};
use super::json;
use super::names::Names;
use super::rate_limit::RateLimited;
use super::record::Record;
use super::registry::LogCounters;
use super::writer::{CHUNKS_MAX, Chunk, ChunkPool, Message, Settings};

/// Bytes from which on a chunk is handed over.
const CHUNK_BYTES: usize = 32 * 1024;
/// Memory that a chunk starts with: room for the line that makes it full.
const CHUNK_BYTES_RESERVED: usize = CHUNK_BYTES + 8 * 1024;

/// A core's side of the access log.
pub struct AccessLog {
    sender: SyncSender<Message>,
    settings: Arc<Settings>,
    counters: Arc<LogCounters>,
    pool: Arc<ChunkPool>,
    bytes: Vec<u8>,
    lines: u64,
    clock: Clock,
    stamp: Stamp,
}

impl AccessLog {
    pub(crate) fn new(
        sender: SyncSender<Message>,
        settings: Arc<Settings>,
        counters: Arc<LogCounters>,
    ) -> Self {
        Self {
            sender,
            settings,
            counters,
            pool: Arc::default(),
            bytes: Vec::new(),
            lines: 0,
            clock: Clock::now(),
            stamp: Stamp::default(),
        }
    }

    /// True if lines are written at all: otherwise the data plane need not gather what only the
    /// log shows.
    pub fn is_on(&self) -> bool {
        self.settings.format().is_some()
    }

    /// Adds the line of an exchange that is over. `names` are those of the snapshot that decided.
    pub fn write(&mut self, record: &Record, names: &Names) {
        let Some(format) = self.settings.format() else { return };
        if self.bytes.capacity() == 0 {
            self.bytes =
                self.pool.spare().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES_RESERVED));
        }
        let time = self.clock.unix_millis(record.started);
        match format {
            AccessFormat::Json => {
                json::json(&mut self.bytes, record, names, time, &mut self.stamp);
            }
            AccessFormat::Combined => {
                format::combined(&mut self.bytes, record, time, &mut self.stamp);
            }
        }
        self.lines += 1;
        if self.bytes.len() >= CHUNK_BYTES {
            self.hand_over();
        }
    }

    /// Hands over what there is, and reads the wall clock. To be called at every tick (100 ms).
    pub fn flush(&mut self) {
        self.clock = Clock::now();
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if self.pool.under_way.fetch_add(1, Ordering::AcqRel) >= CHUNKS_MAX {
            self.pool.under_way.fetch_sub(1, Ordering::AcqRel);
            self.bytes.clear();
            return self.lost(lines);
        }
        let chunk =
            Chunk { bytes: std::mem::take(&mut self.bytes), lines, pool: self.pool.clone() };
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
