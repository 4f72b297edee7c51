//! The thread that writes the access log, for all cores.
//!
//! A core hands over a [`Chunk`] of whole lines through a bounded channel, and never waits: it
//! may have [`CHUNKS_MAX`] chunks on the way, and drops the next. Orders (another target, the end)
//! go through the same channel, after the chunks that were sent before them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use config::{AccessFormat, LogTarget};

use super::access_log::AccessLog;
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
    pub(crate) lines: u64,
    pub(crate) pool: Arc<ChunkPool>,
}

/// Emptied chunks of a core, on their way back from the writer.
#[derive(Default)]
pub(crate) struct ChunkPool {
    /// Chunks on the way to the writer.
    pub(crate) under_way: AtomicUsize,
    spares: Mutex<Vec<Vec<u8>>>,
}

impl ChunkPool {
    /// An emptied chunk, if there is one and the writer is not just putting one there.
    pub(crate) fn spare(&self) -> Option<Vec<u8>> {
        match self.spares.try_lock() {
            Ok(mut spares) => spares.pop(),
            Err(TryLockError::Poisoned(spares)) => spares.into_inner().pop(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn take_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= SPARE_BYTES_MAX {
            let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
            if spares.len() < SPARES_MAX {
                spares.push(bytes);
            }
        }
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) enum Message {
    Chunk(Chunk),
    Target(Box<Sink>),
    /// Answered when all that was sent before is written.
    Sync(SyncSender<()>),
    Stop,
}

/// What the cores look at before they format a line.
#[derive(Debug)]
pub(crate) struct Settings {
    is_on: AtomicBool,
    is_json: AtomicBool,
}

impl Settings {
    /// How lines look, if they are wanted.
    pub(crate) fn format(&self) -> Option<AccessFormat> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let is_json = self.is_json.load(Ordering::Relaxed);
        Some(if is_json { AccessFormat::Json } else { AccessFormat::Combined })
    }

    fn set(&self, target: &LogTarget, format: AccessFormat) {
        self.is_json.store(format == AccessFormat::Json, Ordering::Relaxed);
        self.is_on.store(*target != LogTarget::Off, Ordering::Relaxed);
    }
}

/// The handle of the thread that writes the access log.
pub struct AccessWriter {
    sender: SyncSender<Message>,
    settings: Arc<Settings>,
    counters: Arc<LogCounters>,
    target: Mutex<LogTarget>,
    thread: JoinHandle<()>,
    stopped: Receiver<()>,
}

impl AccessWriter {
    /// Opens the target and starts the thread, for so many cores. Must not be called on a core's
    /// own thread: the new one would stay on that CPU too.
    pub fn start(
        target: &LogTarget,
        format: AccessFormat,
        cores: usize,
        counters: Arc<LogCounters>,
    ) -> io::Result<Self> {
        Self::start_with(Sink::open(target)?, target, format, cores, counters)
    }

    pub(super) fn start_with(
        sink: Sink,
        target: &LogTarget,
        format: AccessFormat,
        cores: usize,
        counters: Arc<LogCounters>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(cores.max(1) * CHUNKS_MAX + ORDERS_MAX);
        let (stopping, stopped) = sync_channel(1);
        let settings = Settings { is_on: AtomicBool::new(false), is_json: AtomicBool::new(false) };
        settings.set(target, format);
        let of_thread = Arc::clone(&counters);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_until_stopped(&receiver, sink, &of_thread);
            // If the caller no longer waits, there is nothing to report.
            let _ = stopping.try_send(());
        })?;
        Ok(Self {
            sender,
            settings: Arc::new(settings),
            counters,
            target: Mutex::new(target.clone()),
            thread,
            stopped,
        })
    }

    /// The log of one more core.
    pub fn core_log(&self) -> AccessLog {
        AccessLog::new(self.sender.clone(), Arc::clone(&self.settings), Arc::clone(&self.counters))
    }

    /// Opens the file again, after it was moved away. If that fails, lines still go to the old one.
    pub fn reopen(&self) -> io::Result<()> {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        match *target {
            LogTarget::Off => Ok(()),
            LogTarget::Stdout | LogTarget::Stderr | LogTarget::File(_) => {
                self.order(Message::Target(Box::new(Sink::open(&target)?)))
            }
        }
    }

    /// Takes another target and format. Nothing changes if the target cannot be opened.
    pub fn reconfigure(&self, target: &LogTarget, format: AccessFormat) -> io::Result<()> {
        let mut current = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != *target {
            self.order(Message::Target(Box::new(Sink::open(target)?)))?;
            current.clone_from(target);
        }
        self.settings.set(target, format);
        Ok(())
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

fn write_until_stopped(receiver: &Receiver<Message>, mut sink: Sink, counters: &LogCounters) {
    for message in receiver {
        match message {
            Message::Chunk(chunk) => {
                if !sink.is_off() {
                    let written = sink.write_lines(&chunk.bytes, chunk.lines);
                    counters.written.add(written);
                    counters.dropped_write_failed.add(chunk.lines - written);
                }
                chunk.pool.take_back(chunk.bytes);
            }
            Message::Target(other) => sink = *other,
            Message::Sync(done) => {
                // The caller may have stopped waiting.
                let _ = done.try_send(());
            }
            Message::Stop => return,
        }
    }
}
