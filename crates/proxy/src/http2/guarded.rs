//! What `h2` reads from and writes to: a stream behind a guard.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use net::{Buffer, Buffers, Delivery, Size, Stream, Wheel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wire::http2::{Guard, GuardMemory, Violation};

thread_local! {
    /// Scratch memory of guards: all of a core share it.
    static WORKSPACE: RefCell<(GuardMemory, Vec<u8>)> = RefCell::default();
}

use crate::body::DeliverySample;

/// What the rest of the proxy sees of a connection that `h2` runs.
#[derive(Default)]
pub(crate) struct GuardState {
    /// The violation that the guard has found; from then on nothing more is read.
    pub(crate) violation: Cell<Option<Violation>>,
    /// Bytes read and written.
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    /// Bytes of content that were handed to `h2`, and how many of them were written.
    pub(crate) handed: Cell<u64>,
    pub(crate) written: Cell<u64>,
    /// Streams that were refused.
    pub(crate) refused: Cell<u64>,
    /// Since when a frame or a field block is incomplete.
    pub(crate) unfinished: Cell<Option<Instant>>,
    /// Whether the socket has no room for the next write.
    is_blocked: Cell<bool>,
}

/// The connection below a stream, to see which of its bytes were delivered.
#[derive(Clone, Copy)]
pub(crate) struct UnderlyingConnection<'a> {
    pub(crate) below: UnderlyingStream<'a>,
    pub(crate) guard_state: &'a GuardState,
}

/// The socket's stream below `h2`.
#[derive(Clone, Copy)]
pub(crate) enum UnderlyingStream<'a> {
    /// A client's: it lives as long as its exchanges.
    Client(&'a Stream),
    /// An endpoint's: it ends with the connection's task.
    Endpoint(&'a Weak<Stream>),
}

impl UnderlyingConnection<'_> {
    /// As long as the socket has no room, a stream waits for all bytes that were written before. Otherwise it
    /// waits for its own window, which only its peer can open.
    pub(crate) fn sample(&self) -> DeliverySample {
        DeliverySample { delivery: self.delivery(), shared: self.guard_state.is_blocked.get() }
    }

    /// The delivery of all bytes of the connection.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        match self.below {
            UnderlyingStream::Client(stream) => stream.delivery(),
            UnderlyingStream::Endpoint(stream) => stream.upgrade()?.delivery(),
        }
    }
}

impl GuardState {
    /// The most content that `h2` may hold: that of reset streams counts until something else is
    /// written.
    pub(crate) fn backlog(&self) -> u64 {
        self.handed.get().saturating_sub(self.written.get())
    }
}

/// A stream in the form that `h2` needs.
pub(crate) struct GuardedStream<S> {
    stream: S,
    /// What was read and not yet handed over; without memory if there is nothing.
    buffer: Buffer,
    /// What is handed to `h2` before that: rarely anything.
    replacement: Vec<u8>,
    /// How much of the buffer the guard has admitted.
    admitted: usize,
    guard: Guard,
    /// The incomplete frame, as the guard counts.
    unfinished: Option<u32>,
    guard_state: Rc<GuardState>,
    wheel: Wheel,
    origin: Instant,
}

impl<S: Deref<Target = Stream>> GuardedStream<S> {
    /// `before`: what was read of it already.
    pub(crate) fn new(stream: S, before: Option<Buffer>, guard: Guard, wheel: &Wheel) -> Self {
        let buffer = before.unwrap_or_else(|| Buffers::of_thread().buffer(Size::Large));
        let (guard_state, wheel, origin) = (Rc::default(), wheel.clone(), wheel.now());
        Self {
            stream,
            buffer,
            replacement: Vec::new(),
            admitted: 0,
            guard,
            unfinished: None,
            guard_state,
            wheel,
            origin,
        }
    }

    pub(crate) fn guard_state(&self) -> Rc<GuardState> {
        Rc::clone(&self.guard_state)
    }

    /// Hands over what the guard has admitted.
    fn hand_over(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.replacement.len().min(out.remaining());
        if count > 0 {
            out.put_slice(self.replacement.get(..count).unwrap_or_default());
            self.replacement.drain(..count);
        }
        if self.replacement.is_empty() {
            self.replacement = Vec::new();
            let count = self.admitted.min(out.remaining());
            // Not read into `out` directly: that would have to be zeroed first, even if nothing
            // comes.
            out.put_slice(self.buffer.filled().get(..count).unwrap_or_default());
            self.buffer.consume(count);
            self.admitted -= count;
        }
        if self.buffer.is_empty() {
            self.buffer.release();
        }
    }

    /// Lets the guard inspect the buffer. What `h2` gets in place of it goes to `out`, as far as
    /// there is room.
    fn inspect(&mut self, out: &mut ReadBuf<'_>) -> Result<(), Violation> {
        let now = self.wheel.now();
        let since = now.saturating_duration_since(self.origin);
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let step = WORKSPACE.with_borrow_mut(|(workspace, made)| {
            made.clear();
            let step = self.guard.inspect(self.buffer.filled(), now_ms, workspace, made)?;
            let (fits, rest) = made.split_at(made.len().min(out.remaining()));
            out.put_slice(fits);
            self.replacement.extend_from_slice(rest);
            Ok(step)
        })?;
        self.buffer.consume(step.taken);
        self.admitted = step.same;
        let unfinished = self.guard.unfinished();
        if unfinished != self.unfinished {
            self.unfinished = unfinished;
            self.guard_state.unfinished.set(unfinished.map(|_| now));
        }
        Ok(())
    }

    fn note_written(&mut self, count: usize) {
        self.guard_state.sent.set(self.guard_state.sent.get() + count as u64);
        self.guard_state.written.set(self.guard.content_sent());
        self.guard_state.refused.set(self.guard.refused());
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.guard_state.violation.get().is_some() {
            return Poll::Pending;
        }
        let before = out.filled().len();
        loop {
            this.hand_over(out);
            let came = out.filled().len() > before;
            if out.remaining() == 0 || came && this.buffer.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.buffer.is_empty() {
                let count = ready!(this.buffer.poll_fill(cx, &this.stream))?;
                if count == 0 {
                    return Poll::Ready(Ok(())); // the end
                }
                this.guard_state.received.set(this.guard_state.received.get() + count as u64);
            }
            if let Err(violation) = this.inspect(out) {
                this.guard_state.violation.set(Some(violation));
                // The task of the connection ends it.
                return if came { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.stream.poll_write(cx, bytes);
        this.guard_state.is_blocked.set(written.is_pending());
        let count = ready!(written)?;
        this.guard.sent(bytes.get(..count).unwrap_or_default());
        this.note_written(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.stream.poll_write_vectored(cx, pieces);
        this.guard_state.is_blocked.set(written.is_pending());
        let count = ready!(written)?;
        let mut left = count;
        for piece in pieces {
            let part = piece.get(..left.min(piece.len())).unwrap_or_default();
            this.guard.sent(part);
            left -= part.len();
        }
        this.note_written(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // nothing is held back
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown_write())
    }
}
