//! Bodies on their way: where they come from, where they go, and the one loop that moves them.
//!
//! A [`Source`] yields a body piece by piece, a [`Sink`] takes it; [`pump`] joins them. Both keep
//! the patience that their peer deserves. HTTP/1 has one of each (`http1`), used towards clients
//! and upstreams alike; another protocol brings its own and the loop stays the same.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use config::Timeouts;
use message::{Field, Fields};
use net::{Alarm, Side, Stream, Wheel, relay};
use tokio::time::Instant;
use wire::http1::ChunkError;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection ended in the middle of the message")]
    Truncated,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("malformed chunked body: {0}")]
    Malformed(ChunkError),
    #[error("the message is malformed: {0}")]
    Invalid(&'static str),
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("no byte came for too long")]
    Idle,
    #[error("the body came slower than allowed")]
    TooSlow,
}

/// Why bytes could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("no byte was taken for too long")]
    Idle,
    #[error("the bytes were taken slower than allowed")]
    TooSlow,
}

/// Which end of a [`pump`] failed.
#[derive(Debug)]
pub(crate) enum PumpError {
    Reading(ReadError),
    Writing(WriteError),
}

/// Where a body comes from.
pub(crate) trait Source {
    /// Waits until there is data; false once the body has ended.
    async fn ready(&mut self) -> Result<bool, ReadError>;
    /// The data that is there.
    fn data(&self) -> &[u8];
    /// Gives up the first `count` bytes of [`Source::data`].
    fn consume(&mut self, count: usize);
    /// True if the next [`Source::ready`] will probably have to wait.
    fn is_drained(&self) -> bool;
    /// True once the body has ended.
    fn is_done(&self) -> bool;
    /// The trailer fields, once the body has ended.
    fn trailers(&self) -> &Fields;
    /// The same, to be sifted.
    fn trailers_mut(&mut self) -> &mut Fields;
    /// Bytes of the body that have come so far.
    fn received(&self) -> u64;
    /// What is left, if its length is known and large, and nothing of it is buffered: then it may
    /// bypass us.
    fn bulk(&self) -> Option<Bulk<'_>>;
    /// So much of it did.
    fn moved_past(&mut self, count: u64);
    /// Ready once the peer has gone. May read ahead, within the room that there is.
    fn poll_vanished(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The rest of a body that can go from socket to socket.
pub(crate) struct Bulk<'a> {
    pub(crate) from: &'a Stream,
    pub(crate) length: u64,
    /// How slow its sender may be.
    pub(crate) patience: &'a Patience,
}

/// Where a body goes.
pub(crate) trait Sink {
    /// Takes data; may keep some of it until [`Sink::flush`].
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError>;
    /// Sends what is kept.
    async fn flush(&mut self) -> Result<(), WriteError>;
    /// Takes the rest straight from its socket, and tells how many bytes those were: fewer if it
    /// ended before, none if this cannot be done.
    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError>;
    /// Ends the body, and sends all.
    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError>;
}

/// From this length on, what is left of a body goes from socket to socket within the kernel: below
/// it a pipe costs more than the copies it saves.
pub(crate) const BULK_BYTES_MIN: u64 = 128 * 1024;

/// Moves a body from its source to its sink, at the pace of the slower one. What one read brought
/// leaves before the next read is waited for, so that events are never held back; so does the head,
/// if nothing of the body is there yet.
pub(crate) async fn pump(source: &mut impl Source, sink: &mut impl Sink) -> Result<(), PumpError> {
    pump_sifted(source, sink, |_| true).await
}

/// The same, with those trailers alone that are kept.
pub(crate) async fn pump_sifted(
    source: &mut impl Source,
    sink: &mut impl Sink,
    keeps: impl FnMut(Field<'_>) -> bool,
) -> Result<(), PumpError> {
    while ready_or_flushed(source, sink).await? {
        let count = source.data().len();
        sink.data(source.data()).await.map_err(PumpError::Writing)?;
        source.consume(count);
        if source.is_drained() && !source.is_done() {
            if let Some(bulk) = source.bulk() {
                let moved = sink.bulk(bulk).await?;
                source.moved_past(moved);
            }
            sink.flush().await.map_err(PumpError::Writing)?;
        }
    }
    if !source.trailers().is_empty() {
        source.trailers_mut().retain(keeps);
    }
    sink.finish(source.trailers()).await.map_err(PumpError::Writing)
}

/// Waits until there is more of the body; but if that takes time, what the sink keeps goes first.
async fn ready_or_flushed(
    source: &mut impl Source,
    sink: &mut impl Sink,
) -> Result<bool, PumpError> {
    let mut ready = pin!(source.ready());
    let at_once = poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await;
    let more = match at_once {
        Poll::Ready(more) => more,
        Poll::Pending => {
            sink.flush().await.map_err(PumpError::Writing)?;
            ready.await
        }
    };
    more.map_err(PumpError::Reading)
}

/// How long a peer is waited for: never `idle` without a byte, and in all no longer than a grace
/// time and what its bytes take at the lowest rate allowed. Only time spent waiting for this peer
/// counts, so that nobody pays for the slowness of the other side.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    idle: Duration,
    /// Bytes a second, and the grace; 0: any rate will do.
    rate: u64,
    grace: Duration,
    waited: Duration,
    bytes: u64,
}

/// What a peer has overdone.
pub(crate) enum Impatience {
    Idle,
    TooSlow,
}

impl Patience {
    /// For a client, who must keep up a rate.
    pub(crate) fn for_client(timeouts: &Timeouts) -> Self {
        Self {
            idle: unless_zero(timeouts.stream_idle),
            rate: timeouts.slow_rate,
            grace: timeouts.slow_grace,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// For an upstream, who may think as long as `idle`.
    pub(crate) fn for_upstream(idle: Duration) -> Self {
        Self {
            idle: unless_zero(idle),
            rate: 0,
            grace: Duration::ZERO,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// For a side of a tunnel, which is watched as a whole.
    pub(crate) fn endless() -> Self {
        Self::for_upstream(Duration::ZERO)
    }

    /// Counts bytes in the peer's favour.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// How long the peer may be waited for now.
    fn allowance(&self) -> Duration {
        if self.rate == 0 {
            return self.idle;
        }
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / self.rate);
        self.idle.min((self.grace.saturating_add(earned)).saturating_sub(self.waited))
    }

    /// Polls until ready, for as long as the peer may take. The alarm is not touched unless there
    /// is something to wait for.
    pub(crate) async fn wait<T>(
        &mut self,
        wheel: &Wheel,
        alarm: &Alarm,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Impatience> {
        let mut since: Option<Instant> = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx) {
                if let Some(since) = since {
                    alarm.clear();
                    self.waited += wheel.now().saturating_duration_since(since);
                }
                return Poll::Ready(Ok(value));
            }
            if since.is_none() {
                since = Some(wheel.now());
                alarm.set(self.allowance());
            }
            if alarm.poll_fired(cx).is_ready() {
                let idle = self.allowance() >= self.idle;
                return Poll::Ready(Err(if idle { Impatience::Idle } else { Impatience::TooSlow }));
            }
            Poll::Pending
        })
        .await
    }

    /// Moves bytes from socket to socket, for as long as both peers may take; the one that takes
    /// them is this one. What passes by itself is looked at once in a while, and whoever let the
    /// other wait for all that time is held to the rate.
    pub(crate) async fn relay(
        &mut self,
        wheel: &Wheel,
        alarm: &Alarm,
        bulk: Bulk<'_>,
        to: &Stream,
        progress: Option<&Cell<u64>>,
    ) -> Result<u64, PumpError> {
        let Bulk { from, length, patience: sender } = bulk;
        let moved = Cell::new(0u64);
        let relaying = relay(from, to, Some(length), |count| {
            moved.set(moved.get() + count);
            if let Some(progress) = progress {
                progress.set(progress.get().wrapping_add(1));
            }
        });
        let mut relaying = pin!(relaying);
        let window = self.window().min(sender.window());
        let (mut seen, mut quiet_since) = (0, wheel.now());
        alarm.set(window);
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = relaying.as_mut().poll(cx) {
                return Poll::Ready(Ok(ended));
            }
            while alarm.poll_fired(cx).is_ready() {
                let progress = moved.get() - seen;
                seen = moved.get();
                if progress > 0 {
                    quiet_since = wheel.now();
                }
                let quiet = wheel.now().saturating_duration_since(quiet_since);
                // Bytes that wait to be taken tell whose slowness it is.
                let writing = !from.is_quiet();
                let blamed = if writing { &*self } else { sender };
                if let Some(impatience) = blamed.after(window, progress, quiet) {
                    return Poll::Ready(Err(if writing {
                        PumpError::Writing(impatience.into())
                    } else {
                        PumpError::Reading(impatience.into())
                    }));
                }
                alarm.set(window);
            }
            Poll::Pending
        });
        let ended = ended.await;
        alarm.clear();
        ended?.map_err(|error| match error.side {
            Side::Reading => PumpError::Reading(ReadError::Broken(error.source)),
            Side::Writing => PumpError::Writing(WriteError::Broken(error.source)),
        })
    }

    /// How long a relay goes on unwatched.
    fn window(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(100);
        let window = if self.rate == 0 { self.idle } else { self.idle.min(self.grace) };
        window.max(SHORTEST)
    }

    /// What a peer has overdone in a window of which it was waited for.
    fn after(&self, window: Duration, progress: u64, quiet: Duration) -> Option<Impatience> {
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        if progress < self.rate.saturating_mul(window) / 1000 {
            return Some(Impatience::TooSlow);
        }
        (quiet >= self.idle).then_some(Impatience::Idle)
    }
}

/// A time of zero stands for none at all: a century.
pub(crate) fn unless_zero(time: Duration) -> Duration {
    if time.is_zero() { Duration::from_secs(3_155_760_000) } else { time }
}

impl From<Impatience> for ReadError {
    fn from(impatience: Impatience) -> Self {
        match impatience {
            Impatience::Idle => Self::Idle,
            Impatience::TooSlow => Self::TooSlow,
        }
    }
}

impl From<Impatience> for WriteError {
    fn from(impatience: Impatience) -> Self {
        match impatience {
            Impatience::Idle => Self::Idle,
            Impatience::TooSlow => Self::TooSlow,
        }
    }
}
