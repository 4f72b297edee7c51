//! Writing messages: a head, then its body, in as few writes as possible.

use std::cell::{Cell, RefCell};
use std::io;

use message::Fields;
use net::{Alarm, Stream, Wheel};
use wire::http1::{LAST_CHUNK, allowed_trailer, chunk_header, write_field};

use crate::body::{Bulk, DeliverySample, Patience, PumpError, Sink, WriteError};

/// Up to this many bytes are copied behind what waits to be written; larger pieces are written from
/// where they are.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Vectors kept for reuse per core, and the memory that each may keep.
const SCRATCH_MAX: usize = 64;
const SCRATCH_BYTES_MAX: usize = 32 * 1024;

/// Memory for output. It is held only from the first byte to the write of the last, so that a core
/// with a thousand running exchanges needs one or two of these, which stay in the cache.
#[derive(Default)]
pub(crate) struct Scratch {
    free: RefCell<Vec<Vec<u8>>>,
}

impl Scratch {
    /// Takes an empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(4096))
    }

    /// Returns a buffer, which is kept unless it has become too large.
    pub(crate) fn give_back(&self, mut bytes: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if (1..=SCRATCH_BYTES_MAX).contains(&bytes.capacity()) && free.len() < SCRATCH_MAX {
            bytes.clear();
            free.push(bytes);
        }
    }
}

/// How the body that is being written is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By nothing: there is none, or its length is in the head, or it ends with the connection.
    Plain,
    /// In chunks.
    Chunked {
        /// Whether trailers may follow.
        trailers: bool,
    },
    /// It is suppressed (the answer to HEAD, 204).
    Suppressed,
}

/// The sending direction of a connection.
pub(crate) struct Http1Sender<'a> {
    stream: &'a Stream,
    /// What waits to be written; without memory if nothing does.
    out: Vec<u8>,
    /// The last chunk in it, which may grow: where it begins, and its bytes of data.
    chunk: Option<(usize, usize)>,
    scratch: &'a Scratch,
    pub(crate) framing: Framing,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
    pub(crate) patience: Patience<'a>,
    /// Bytes of bodies, before framing.
    pub(crate) sent: u64,
    /// Every byte written to the connection.
    pub(crate) raw: u64,
    /// Counts the writes.
    written: Option<&'a Cell<u64>>,
}

impl<'a> Http1Sender<'a> {
    pub(crate) fn new(
        stream: &'a Stream,
        scratch: &'a Scratch,
        wheel: &'a Wheel,
        alarm: &'a Alarm,
        patience: Patience<'a>,
    ) -> Self {
        let (out, framing) = (Vec::new(), Framing::Plain);
        Self {
            stream,
            out,
            chunk: None,
            scratch,
            framing,
            wheel,
            alarm,
            patience,
            sent: 0,
            raw: 0,
            written: None,
        }
    }

    /// The same for a client: counts the writes to it.
    pub(crate) fn counting(mut self, written: &'a Cell<u64>) -> Self {
        self.written = Some(written);
        self
    }

    /// Appends a chunk, or makes the last one longer: many small pieces become few chunks.
    fn push_chunk(&mut self, bytes: &[u8]) {
        let open = self.chunk.take();
        let out = self.out();
        let (mut header, mut old) = ([0; 18], [0; 18]);
        let (at, length) = match open {
            Some((at, length)) => {
                let longer = length + bytes.len();
                let before = chunk_header(length, &mut old).len();
                let now = chunk_header(longer, &mut header);
                out.truncate(out.len() - 2);
                match out.get_mut(at..at + before) {
                    Some(place) if now.len() == before => place.copy_from_slice(now),
                    _ => drop(out.splice(at..at + before, now.iter().copied())),
                }
                (at, longer)
            }
            None => {
                let at = out.len();
                out.extend_from_slice(chunk_header(bytes.len(), &mut header));
                (at, bytes.len())
            }
        };
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        self.chunk = Some((at, length));
    }

    /// The buffer for output.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = self.scratch.take();
        }
        &mut self.out
    }

    /// True if nothing has reached the socket yet.
    pub(crate) fn is_unsent(&self) -> bool {
        self.raw == 0
    }

    /// Writes what waits and then `bytes`.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Self { stream, out, wheel, alarm, patience, raw, .. } = self;
        let total = out.len() + bytes.len();
        let mut written = 0;
        while written < total {
            let waiting = out.get(written..).unwrap_or_default();
            let rest = bytes.get(written.saturating_sub(out.len())..).unwrap_or_default();
            let wrote = patience
                .writing(
                    wheel,
                    alarm,
                    *raw,
                    || DeliverySample::of(stream),
                    |cx| match (waiting.is_empty(), rest.is_empty()) {
                        (false, true) => stream.poll_write(cx, waiting),
                        (true, _) => stream.poll_write(cx, rest),
                        (false, false) => {
                            let both = [io::IoSlice::new(waiting), io::IoSlice::new(rest)];
                            stream.poll_write_vectored(cx, &both)
                        }
                    },
                )
                .await
                .map_err(WriteError::from)?
                .map_err(WriteError::Broken)?;
            if wrote == 0 {
                return Err(WriteError::Broken(io::ErrorKind::WriteZero.into()));
            }
            written += wrote;
            *raw += wrote as u64;
        }
        self.scratch.give_back(std::mem::take(&mut self.out));
        self.chunk = None;
        if let Some(written) = self.written {
            written.set(written.get().wrapping_add(1));
        }
        Ok(())
    }
}

impl Drop for Http1Sender<'_> {
    fn drop(&mut self) {
        self.scratch.give_back(std::mem::take(&mut self.out));
    }
}

impl Sink for Http1Sender<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.is_empty() {
            return Ok(()); // an empty chunk would end the body
        }
        let chunked = match self.framing {
            Framing::Suppressed => return Ok(()),
            Framing::Plain => false,
            Framing::Chunked { .. } => true,
        };
        self.sent += bytes.len() as u64;
        if self.out.len() + bytes.len() <= COPIED_BYTES_MAX {
            match chunked {
                true => self.push_chunk(bytes),
                false => self.out().extend_from_slice(bytes),
            }
            return Ok(());
        }
        if chunked {
            self.out().extend_from_slice(chunk_header(bytes.len(), &mut [0; 18]));
        }
        self.write(bytes).await?;
        if chunked {
            self.out().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.write(&[]).await
    }

    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError> {
        let plain = self.framing == Framing::Plain;
        if !plain || !bulk.from.supports_splice() || !self.stream.supports_splice() {
            return Ok(0);
        }
        self.flush().await.map_err(PumpError::Writing)?;
        let Self { patience, wheel, alarm, stream, sent, raw, written, .. } = self;
        let before = *raw;
        let count = |bytes| {
            *sent += bytes;
            *raw += bytes;
            if let Some(written) = written {
                written.set(written.get().wrapping_add(1));
            }
        };
        patience.relay(wheel, alarm, bulk, stream, before, count).await
    }

    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError> {
        self.chunk = None;
        if let Framing::Chunked { trailers: allowed } = self.framing {
            let out = self.out();
            out.extend_from_slice(LAST_CHUNK);
            if allowed {
                for field in trailers.end_to_end().filter(|f| allowed_trailer(f.known, f.name)) {
                    write_field(out, field.name, field.value);
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        self.flush().await
    }
}
