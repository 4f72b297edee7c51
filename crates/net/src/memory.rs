//! A stream in memory, for tests: two bounded directions, each with its end and its abort.
//!
//! It behaves as TCP does on Linux: what was written before an end or a reset is still read first, a peer
//! that closed answers later writes with a broken pipe, and closing with unread bytes resets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::delivery::Delivery;

/// What one direction holds at most.
const PIPE_BYTES_MAX: usize = 64 * 1024;

/// How a direction ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Open,
    /// The writer has finished.
    Finished,
    /// The reader is gone.
    Broken,
    /// One of the two was aborted.
    Reset,
}

#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that were read.
    taken: u64,
    ending: Ending,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new() -> Rc<RefCell<Self>> {
        let bytes = VecDeque::new();
        Rc::new(RefCell::new(Self {
            bytes,
            taken: 0,
            ending: Ending::Open,
            reader: None,
            writer: None,
        }))
    }

    fn end(&mut self, ending: Ending) {
        if self.ending != Ending::Reset {
            self.ending = ending;
        }
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

pub(crate) fn pair() -> (MemoryStream, MemoryStream) {
    let (there, back) = (Pipe::new(), Pipe::new());
    let left = MemoryStream { incoming: Rc::clone(&back), outgoing: Rc::clone(&there) };
    (left, MemoryStream { incoming: there, outgoing: back })
}

impl MemoryStream {
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.incoming.borrow_mut();
        if !pipe.bytes.is_empty() || buf.is_empty() {
            let count = buf.len().min(pipe.bytes.len());
            for (to, from) in buf.iter_mut().zip(pipe.bytes.drain(..count)) {
                *to = from;
            }
            pipe.taken += count as u64;
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(count));
        }
        match pipe.ending {
            Ending::Finished | Ending::Broken => Poll::Ready(Ok(0)),
            Ending::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Open => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.outgoing.borrow_mut();
        match pipe.ending {
            Ending::Open => {}
            Ending::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Finished | Ending::Broken => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut count = 0;
        for piece in pieces {
            let room = PIPE_BYTES_MAX - pipe.bytes.len();
            pipe.bytes.extend(piece.iter().take(room));
            count += room.min(piece.len());
        }
        if count == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.incoming.borrow_mut();
        if !pipe.bytes.is_empty() || pipe.ending != Ending::Open {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.bytes.len() < PIPE_BYTES_MAX || pipe.ending != Ending::Open {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let pipe = self.incoming.borrow();
        pipe.bytes.is_empty() && pipe.ending == Ending::Open
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let pipe = self.outgoing.borrow();
        Delivery { acknowledged: pipe.taken, pending: pipe.bytes.len() as u64 }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.ending == Ending::Open {
            pipe.end(Ending::Finished);
        }
        Ok(())
    }

    pub(crate) fn abort(&self) {
        self.outgoing.borrow_mut().end(Ending::Reset);
        self.incoming.borrow_mut().end(Ending::Reset);
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let unread = !self.incoming.borrow().bytes.is_empty();
        if unread {
            self.abort();
            return;
        }
        let _ = self.shutdown_write(); // does not fail
        let mut incoming = self.incoming.borrow_mut();
        if incoming.ending != Ending::Reset {
            incoming.end(Ending::Broken);
        }
    }
}
