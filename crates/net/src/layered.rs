//! A stream over another one: what is read and written passes a [`Layer`], such as TLS.
//!
//! The layer does no I/O; all of that is here. What the layer sends by itself (replies, tickets, alerts) leaves with the
//! next write, or while a reader waits: the reader sends it, unless a writer waits already and will do so.
//! Invariant: `poll_write` returns only once all that it took has been passed to the stream below.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker, ready};

use crate::buffers::{Buffers, Size};
use crate::delivery::Delivery;
use crate::stream::Stream;

/// What one write takes at most. Measured over loopback with 1 MiB in TLS: in pieces of 64 KiB the kernel needs twice
/// the time for a byte that it needs in pieces of 32 KiB.
const PIECE_BYTES_MAX: usize = 32 * 1024;

/// A protocol between a byte stream and its user, without I/O. It may move to another thread ([`Stream::detach`]).
pub trait Layer: Send {
    /// Where received bytes go. Never empty unless the layer has failed.
    fn room(&mut self) -> &mut [u8];

    /// Takes in the bytes at the front of [`room`](Self::room). `0`: nothing was received, so that memory reserved for it
    /// can be freed. After an error there may still be an alert for the peer in [`outgoing`](Self::outgoing).
    fn received(&mut self, count: usize) -> io::Result<()>;

    /// Hands out what has been received.
    fn read(&mut self, out: &mut [u8]) -> LayerRead;

    /// Whether [`read`](Self::read) would return data or the end.
    fn has_plaintext(&self) -> bool;

    /// Whether an incomplete piece was received, which cannot be read yet.
    fn holds_part(&self) -> bool {
        false
    }

    /// Takes some of `plain` to be sent, and returns how much. Zero if [`outgoing`](Self::outgoing) must be sent first,
    /// or, if that is empty, something must be received first.
    fn write(&mut self, plain: &[u8]) -> io::Result<usize>;

    /// The bytes to send on the stream below.
    fn outgoing(&self) -> &[u8];

    /// The first `count` bytes of that were sent.
    fn sent(&mut self, count: usize);

    /// Closes the sending direction.
    fn close(&mut self);
}

/// The result of [`Layer::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerRead {
    /// The number of bytes read.
    Bytes(usize),
    /// Nothing before more is received.
    More,
    /// The peer has closed its sending direction.
    Closed,
}

pub(crate) struct Layered {
    below: Stream,
    state: RefCell<State>,
}

struct State {
    layer: Box<dyn Layer>,
    /// Bytes that a `poll_write` took that has not returned yet.
    taken: usize,
    /// Whether a writer waits for room below.
    writer_waits: bool,
    closing: Closing,
    /// Why nothing more can be read.
    broken: Option<io::ErrorKind>,
}

/// How far the sending direction has been closed.
#[derive(Clone, Copy, PartialEq)]
enum Closing {
    Open,
    /// The closing mark is to be sent, then the stream below is shut down.
    Asked,
    Done,
    /// The connection is to be reset: no mark, or what was cut short would look complete.
    Never,
}

impl std::fmt::Debug for Layered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Layered").field(&self.below).finish()
    }
}

impl Layered {
    pub(crate) fn new(below: Stream, layer: Box<dyn Layer>) -> Self {
        let closing = Closing::Open;
        let state = State { layer, taken: 0, writer_waits: false, closing, broken: None };
        Self { below, state: RefCell::new(state) }
    }

    pub(crate) fn below(&self) -> &Stream {
        &self.below
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.state.borrow_mut();
        loop {
            match state.layer.read(buf) {
                LayerRead::Bytes(count) => {
                    state.say(&self.below, cx);
                    return Poll::Ready(Ok(count));
                }
                LayerRead::Closed => {
                    state.say(&self.below, cx);
                    return Poll::Ready(Ok(0));
                }
                LayerRead::More => {}
            }
            if let Some(kind) = state.broken {
                return Poll::Ready(Err(kind.into()));
            }
            state.say(&self.below, cx);
            ready!(state.poll_receive(&self.below, cx))?;
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.state.borrow_mut();
        if state.taken == 0 {
            if state.closing != Closing::Open {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let piece = buf.get(..PIECE_BYTES_MAX).unwrap_or(buf);
            ready!(state.poll_take(&self.below, cx, piece))?;
        }
        state.poll_sent(&self.below, cx, buf.len())
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        let (first, second) = (filled.next(), filled.next());
        let Some(first) = first else { return Poll::Ready(Ok(0)) };
        if second.is_none() {
            return self.poll_write(cx, first);
        }
        let asked = pieces.iter().map(|piece| piece.len()).sum();
        if self.state.borrow().taken > 0 {
            return self.state.borrow_mut().poll_sent(&self.below, cx, asked);
        }
        // Copying is cheaper than a message of the layer for each piece.
        let mut together = Buffers::of_thread().buffer(Size::Small);
        for piece in pieces {
            let fits = piece.len().min(together.spare());
            if !together.append(piece.get(..fits).unwrap_or_default()) {
                break;
            }
        }
        self.poll_write(cx, together.filled())
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        if state.layer.has_plaintext() || state.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.say(&self.below, cx);
        self.below.poll_readable(cx)
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        ready!(state.poll_flush(&self.below, cx))?;
        self.below.poll_writable(cx)
    }

    /// Takes in what has come without a waiting reader: messages of the layer's own do not make a
    /// connection unfit, everything else does.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if state.layer.has_plaintext() || state.broken.is_some() {
                return false;
            }
            if self.below.is_quiet() {
                return !state.layer.holds_part();
            }
            match state.poll_receive(&self.below, &mut cx) {
                Poll::Ready(Ok(())) => state.say(&self.below, &mut cx),
                Poll::Ready(Err(_)) => return false,
                Poll::Pending => return !state.layer.holds_part(),
            }
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.closing == Closing::Open {
            state.layer.close();
            state.closing = Closing::Asked;
            state.writer_waits = false; // it has given up: what it left is sent by who reads
            state.say(&self.below, &mut Context::from_waker(Waker::noop()));
        }
        Ok(())
    }

    /// Takes the layer out of a stream that is to be carried on elsewhere; what is left says nothing more. `None`, and
    /// nothing has changed, while there is anything under way.
    pub(crate) fn detach(&self) -> Option<Box<dyn Layer>> {
        let mut state = self.state.borrow_mut();
        let is_calm = state.taken == 0
            && state.closing == Closing::Open
            && state.broken.is_none()
            && state.layer.outgoing().is_empty()
            && !state.layer.has_plaintext()
            && !state.layer.holds_part();
        if !is_calm {
            return None;
        }
        state.closing = Closing::Never;
        Some(std::mem::replace(&mut state.layer, Box::new(Gone)))
    }

    /// What is held here is pending, too.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        let held = self.state.borrow().layer.outgoing().len() as u64;
        let below = self.below.delivery()?;
        Some(Delivery { pending: below.pending + held, ..below })
    }

    /// From now on nothing is sent when this is dropped.
    pub(crate) fn forget_close(&self) {
        self.state.borrow_mut().closing = Closing::Never;
    }
}

/// Stands in for a layer that was taken out.
struct Gone;

impl Layer for Gone {
    fn room(&mut self) -> &mut [u8] {
        &mut []
    }

    fn received(&mut self, _count: usize) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn read(&mut self, _out: &mut [u8]) -> LayerRead {
        LayerRead::Closed
    }

    fn has_plaintext(&self) -> bool {
        true
    }

    fn write(&mut self, _plain: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn outgoing(&self) -> &[u8] {
        &[]
    }

    fn sent(&mut self, _count: usize) {}

    fn close(&mut self) {}
}

impl Drop for Layered {
    fn drop(&mut self) {
        // As far as it goes without waiting.
        let _ = self.shutdown_write();
    }
}

impl State {
    /// Reads from below once and passes the bytes to the layer. Ready even if nothing can be read yet.
    fn poll_receive(&mut self, below: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Memory is asked for only once there is something to put there.
        ready!(below.poll_readable(cx))?;
        let room = self.layer.room();
        let received = if room.is_empty() {
            Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
        } else {
            below.poll_read(cx, room)
        };
        let outcome = match received {
            Poll::Ready(Ok(count)) if count > 0 => self.layer.received(count),
            nothing => {
                let freed = self.layer.received(0);
                match nothing {
                    Poll::Pending => {
                        freed?;
                        return Poll::Pending;
                    }
                    // The end without a mark: the stream may have been truncated.
                    Poll::Ready(Ok(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Poll::Ready(Err(error)) => Err(error),
                }
            }
        };
        if let Err(error) = &outcome {
            self.broken = Some(error.kind());
            self.say(below, cx);
        }
        Poll::Ready(outcome)
    }

    /// Hands something of `buf` to the layer, as soon as it takes any.
    fn poll_take(
        &mut self,
        below: &Stream,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            self.taken = self.layer.write(buf)?;
            if self.taken > 0 {
                return Poll::Ready(Ok(()));
            }
            if !self.layer.outgoing().is_empty() {
                ready!(self.poll_flush_as_writer(below, cx))?;
            } else if let Some(kind) = self.broken {
                return Poll::Ready(Err(kind.into()));
            } else {
                ready!(self.poll_receive(below, cx))?;
            }
        }
    }

    fn poll_flush_as_writer(
        &mut self,
        below: &Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let flushed = self.poll_flush(below, cx);
        self.writer_waits = flushed.is_pending();
        flushed
    }

    /// Sends what the layer sends by itself, if there is room; a waiting writer sends it anyway.
    fn say(&mut self, below: &Stream, cx: &mut Context<'_>) {
        if !self.writer_waits && self.has_to_say() {
            // Who reads or writes next will see a broken connection.
            let _ = self.poll_flush(below, cx);
        }
    }

    fn has_to_say(&self) -> bool {
        !self.layer.outgoing().is_empty() || self.closing == Closing::Asked
    }

    fn poll_flush(&mut self, below: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.layer.outgoing().is_empty() {
            let count = ready!(below.poll_write(cx, self.layer.outgoing()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.layer.sent(count);
        }
        if self.closing == Closing::Asked {
            self.closing = Closing::Done;
            below.shutdown_write()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all that was taken of a buffer of `asked` bytes, then answers how much that was.
    fn poll_sent(
        &mut self,
        below: &Stream,
        cx: &mut Context<'_>,
        asked: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush_as_writer(below, cx))?;
        let taken = std::mem::take(&mut self.taken);
        if taken > asked {
            // A different buffer than before: how much of it was sent is unknown.
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        Poll::Ready(Ok(taken))
    }
}
