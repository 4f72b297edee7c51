//! What `h2` reads from and writes to: a stream, with a guard before it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use net::{Buffer, Buffers, Size, Stream, Wheel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wire::http2::{Guard, Violation};

/// What is seen of a connection from outside of `h2`.
#[derive(Default)]
pub(crate) struct Watch {
    /// What the guard has found; from then on nothing more is read.
    pub(crate) violation: Cell<Option<Violation>>,
    /// Bytes read and written.
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
}

/// A stream, as `h2` takes one.
pub(crate) struct Guarded<S> {
    stream: S,
    /// What was read and not yet taken; without memory if there is nothing.
    buffer: Buffer,
    /// Whether the guard has seen it.
    is_seen: bool,
    guard: Guard,
    watch: Rc<Watch>,
    wheel: Wheel,
    origin: Instant,
}

impl<S: Deref<Target = Stream>> Guarded<S> {
    /// `before`: what was read of it already.
    pub(crate) fn new(stream: S, before: Option<Buffer>, guard: Guard, wheel: &Wheel) -> Self {
        let buffer = before.unwrap_or_else(|| Buffers::of_thread().buffer(Size::Large));
        let (watch, wheel, origin) = (Rc::default(), wheel.clone(), wheel.now());
        Self { stream, buffer, is_seen: false, guard, watch, wheel, origin }
    }

    pub(crate) fn watch(&self) -> Rc<Watch> {
        Rc::clone(&self.watch)
    }

    /// Reads if there is nothing left, and shows what came to the guard. Zero: the stream has ended.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            let count = ready!(self.buffer.poll_fill(cx, &self.stream))?;
            self.watch.received.set(self.watch.received.get() + count as u64);
            self.is_seen = false;
        }
        if !self.is_seen {
            self.is_seen = true;
            let since = self.wheel.now().saturating_duration_since(self.origin);
            let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            if let Err(violation) = self.guard.inspect(self.buffer.filled(), now) {
                self.watch.violation.set(Some(violation));
                return Poll::Pending; // whoever looks after the connection ends it
            }
        }
        Poll::Ready(Ok(self.buffer.len()))
    }

    fn wrote(&mut self, count: usize) {
        self.watch.sent.set(self.watch.sent.get() + count as u64);
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.violation.get().is_some() {
            return Poll::Pending;
        }
        // Not read into `out` at once: that would have to be zeroed first, whether or not anything comes.
        let count = ready!(this.poll_some(cx))?.min(out.remaining());
        out.put_slice(this.buffer.filled().get(..count).unwrap_or_default());
        this.buffer.consume(count);
        if this.buffer.is_empty() {
            this.buffer.release();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Deref<Target = Stream> + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(this.stream.poll_write(cx, bytes))?;
        this.guard.sent(bytes.get(..count).unwrap_or_default());
        this.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(this.stream.poll_write_vectored(cx, pieces))?;
        let mut left = count;
        for piece in pieces {
            let part = piece.get(..left.min(piece.len())).unwrap_or_default();
            this.guard.sent(part);
            left -= part.len();
        }
        this.wrote(count);
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
