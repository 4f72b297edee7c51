//! Copies bytes from one stream to another without reading them.
//!
//! Between two plain sockets the kernel moves what is large, through a pipe that is taken from this thread's pool
//! when there is something to read and given back as soon as it is empty again, so that a waiting tunnel holds
//! none. Small pieces, and all of them if there is no pipe, pass through a pooled buffer.
//! Invariant: a pipe in the pool is empty. One that still holds bytes when the relay ends is closed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use thiserror::Error;
use tokio::io::Interest;

use crate::buffers::{BUFFER_BYTES_SMALL, Buffer, Buffers, Size};
use crate::stream::Stream;

/// What a pipe holds.
const PIPE_BYTES: usize = 256 * 1024;
/// Empty pipes kept per thread.
const PIPES_FREE_MAX: usize = 32;
/// Pipes in use per thread; relays beyond that use buffers. Pages for pipes are limited per user, too.
const PIPES_USED_MAX: usize = 256;
/// What one relay moves before it lets others run.
const TURN_BYTES_MAX: u64 = 1024 * 1024;

/// Which stream of a relay an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The stream that is read.
    Reading,
    /// The stream that is written.
    Writing,
}

/// A relay that ended before its limit or the end of the stream.
#[derive(Debug, Error)]
#[error("{} failed after {moved} bytes were passed on", match side {
    Side::Reading => "reading",
    Side::Writing => "writing",
})]
pub struct RelayError {
    /// The side that failed.
    pub side: Side,
    /// What went wrong.
    pub source: io::Error,
    /// How many bytes were written before.
    pub moved: u64,
}

/// Copies `from` to `to`, up to `limit` bytes or else to the end of the stream, and returns how many bytes that
/// were: fewer than `limit` if `from` ended first. `progress` is called with the size of each piece once it is written.
/// Nothing beyond the limit is read. Neither stream is shut down.
///
/// If it is dropped in between, bytes that were read and not yet written are lost.
pub async fn relay(
    from: &Stream,
    to: &Stream,
    limit: Option<u64>,
    mut progress: impl FnMut(u64),
) -> Result<u64, RelayError> {
    let mut relay_state = Relay { from, to, left: limit.unwrap_or(u64::MAX), moved: 0, turn: 0 };
    let outcome = match (from.descriptor(), to.descriptor()) {
        (Some(source), Some(sink)) => relay_state.run_spliced(source, sink, &mut progress).await,
        _ => relay_state.run_buffered(&mut progress).await,
    };
    match outcome {
        Ok(()) => Ok(relay_state.moved),
        Err((side, source)) => Err(RelayError { side, source, moved: relay_state.moved }),
    }
}

type SideError = (Side, io::Error);

/// How a read towards a pipe ended.
enum SpliceRead {
    Bytes,
    End,
    /// Nothing to read for now.
    Nothing,
    /// These streams cannot be spliced.
    Unfit,
}

struct Relay<'s> {
    from: &'s Stream,
    to: &'s Stream,
    left: u64,
    moved: u64,
    /// Bytes moved since others could run.
    turn: u64,
}

impl Relay<'_> {
    /// Small pieces pass through a buffer, which takes one system call less for each; where more comes than fits into
    /// it at once, the kernel moves it until there is little again.
    async fn run_spliced(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), SideError> {
        let mut buffer = Buffers::of_thread().buffer(Size::Small);
        let mut comes_in_bulk = self.left != u64::MAX && self.left > BUFFER_BYTES_SMALL as u64;
        while self.left > 0 {
            if !comes_in_bulk {
                match self.pass_on(&mut buffer, progress).await? {
                    0 => return Ok(()),
                    count => comes_in_bulk = count >= BUFFER_BYTES_SMALL,
                }
                continue;
            }
            poll_fn(|cx| self.from.poll_readable(cx)).await.map_err(reading)?;
            let Some(mut pipe) = Pipe::take() else { return self.run_buffered(progress).await };
            let before = self.moved;
            loop {
                match self.draw(source, &mut pipe).map_err(reading)? {
                    SpliceRead::Nothing => break,
                    SpliceRead::End => return Ok(()),
                    SpliceRead::Unfit => return self.run_buffered(progress).await,
                    SpliceRead::Bytes => self.empty(&mut pipe, sink, progress).await?,
                }
                if self.left == 0 {
                    return Ok(());
                }
                self.let_others_run().await;
            }
            comes_in_bulk = self.moved - before >= BUFFER_BYTES_SMALL as u64;
        }
        Ok(())
    }

    /// Moves what there is to read into the pipe, which is empty: so `EAGAIN` can only mean the socket.
    fn draw(&self, source: BorrowedFd<'_>, pipe: &mut Pipe) -> io::Result<SpliceRead> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIPE_BYTES);
        let drawn = self.from.try_io(Interest::READABLE, || {
            Ok(splice(source, None, &pipe.ends.entry, None, want, SPLICE_FLAGS)?)
        });
        match drawn {
            Ok(0) => Ok(SpliceRead::End),
            Ok(count) => {
                pipe.held = count;
                Ok(SpliceRead::Bytes)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(SpliceRead::Nothing),
                io::ErrorKind::InvalidInput => Ok(SpliceRead::Unfit),
                _ => Err(error),
            },
        }
    }

    /// Writes all that the pipe holds.
    async fn empty(
        &mut self,
        pipe: &mut Pipe,
        sink: BorrowedFd<'_>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), SideError> {
        while pipe.held > 0 {
            poll_fn(|cx| self.to.poll_writable(cx)).await.map_err(writing)?;
            let sent = self.to.try_io(Interest::WRITABLE, || {
                Ok(splice(&pipe.ends.exit, None, sink, None, pipe.held, SPLICE_FLAGS)?)
            });
            match sent {
                Ok(0) => return Err(writing(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    pipe.held -= count.min(pipe.held);
                    self.count(count, progress);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Err(writing(error)),
                },
            }
        }
        Ok(())
    }

    async fn run_buffered(&mut self, progress: &mut impl FnMut(u64)) -> Result<(), SideError> {
        let mut buffer = Buffers::of_thread().buffer(Size::Large);
        while self.left > 0 && self.pass_on(&mut buffer, progress).await? > 0 {}
        Ok(())
    }

    /// Reads once and writes all of that: how much, 0 at the end. The buffer is empty before and after.
    async fn pass_on(
        &mut self,
        buffer: &mut Buffer,
        progress: &mut impl FnMut(u64),
    ) -> Result<usize, SideError> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX);
        let read =
            poll_fn(|cx| buffer.poll_fill_at_most(cx, self.from, want)).await.map_err(reading)?;
        while !buffer.is_empty() {
            let count = poll_fn(|cx| buffer.poll_drain(cx, self.to)).await.map_err(writing)?;
            if count == 0 {
                return Err(writing(io::ErrorKind::WriteZero.into()));
            }
            self.count(count, progress);
        }
        self.let_others_run().await;
        Ok(read)
    }

    fn count(&mut self, count: usize, progress: &mut impl FnMut(u64)) {
        let count = count as u64;
        self.moved += count;
        self.turn += count;
        self.left = self.left.saturating_sub(count);
        progress(count);
    }

    async fn let_others_run(&mut self) {
        if self.turn >= TURN_BYTES_MAX {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

fn reading(source: io::Error) -> SideError {
    (Side::Reading, source)
}

fn writing(source: io::Error) -> SideError {
    (Side::Writing, source)
}

const SPLICE_FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// A pipe's two ends.
struct PipeEnds {
    entry: OwnedFd,
    exit: OwnedFd,
}

impl PipeEnds {
    fn open() -> io::Result<Rc<Self>> {
        let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused once the user's pages for pipes are used up; then a buffer serves better than a small pipe.
        fcntl_setpipe_size(&entry, PIPE_BYTES)?;
        Ok(Rc::new(Self { entry, exit }))
    }
}

#[derive(Default)]
struct Pipes {
    free: Vec<Rc<PipeEnds>>,
    used: usize,
}

thread_local!(static PIPES: RefCell<Pipes> = RefCell::default());

/// A pipe taken from the pool, and how many bytes it holds.
struct Pipe {
    ends: Rc<PipeEnds>,
    held: usize,
}

impl Pipe {
    /// An empty pipe; none if too many are in use, or no file can be opened.
    fn take() -> Option<Self> {
        let taken = PIPES.try_with(|pipes| {
            let mut pipes = pipes.borrow_mut();
            if pipes.used >= PIPES_USED_MAX {
                return None;
            }
            let ends = pipes.free.pop().or_else(|| PipeEnds::open().ok())?;
            pipes.used += 1;
            Some(Self { ends, held: 0 })
        });
        taken.ok().flatten()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Without a pool (the thread ends) the pipe is just closed.
        let _ = PIPES.try_with(|pipes| {
            let mut pipes = pipes.borrow_mut();
            pipes.used = pipes.used.saturating_sub(1);
            if self.held == 0 && pipes.free.len() < PIPES_FREE_MAX {
                pipes.free.push(Rc::clone(&self.ends));
            }
        });
    }
}
