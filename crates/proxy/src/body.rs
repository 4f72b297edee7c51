//! The transfer of bodies: their sources, their sinks, and the one loop that moves them.
//!
//! A [`Source`] yields a body piece by piece, a [`Sink`] takes it; [`pump`] joins them. Both
//! enforce the time-outs of their peer. HTTP/1 has one of each (`http1`), used for clients and
//! upstreams alike; another protocol brings its own, and the loop stays the same.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use message::{Field, Fields};
use net::Size;

pub(crate) use crate::patience::{Bulk, DeliverySample, Flow, Patience, unless_zero};
pub(crate) use crate::transfer::{PumpError, ReadError, Reset, WriteError};

/// Where a body comes from.
pub(crate) trait Source {
    /// Waits until there is data; false once the body has ended.
    async fn ready(&mut self) -> Result<bool, ReadError>;
    /// The data that has arrived.
    fn data(&self) -> &[u8];
    /// Consumes the first `count` bytes of [`Source::data`].
    fn consume(&mut self, count: usize);
    /// True if the next [`Source::ready`] will probably have to wait.
    fn is_drained(&self) -> bool;
    /// True once the body has ended.
    fn is_done(&self) -> bool;
    /// The trailer fields, once the body has ended.
    fn trailers(&self) -> &Fields;
    /// The same, to filter them.
    fn trailers_mut(&mut self) -> &mut Fields;
    /// Bytes of the body that have arrived so far.
    fn received(&self) -> u64;
    /// The rest of the body, if its length is known and large and nothing of it is buffered: it can
    /// bypass us.
    fn bulk(&self) -> Option<Bulk<'_>> {
        None
    }
    /// Notes that this many bytes of it did.
    fn moved_past(&mut self, _count: u64) {}
    /// Limits how much is read in one go from here on, if the source can choose.
    fn read_by(&mut self, _size: Size) {}
    /// Ready once the peer has left. May read ahead, as far as there is room.
    fn poll_peer_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending // there is no peer
    }
}

/// Where a body goes.
pub(crate) trait Sink {
    /// Takes data; may keep some of it until [`Sink::flush`].
    async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError>;
    /// Sends what is kept.
    async fn flush(&mut self) -> Result<(), WriteError>;
    /// Takes the rest directly from its socket, and returns how many bytes those were: fewer if it
    /// ended early, none if this is not possible.
    async fn bulk(&mut self, bulk: Bulk<'_>) -> Result<u64, PumpError>;
    /// How much may be read ahead for this sink.
    fn room(&mut self) -> Size {
        Size::Large
    }
    /// Ends the body, and sends all that is kept.
    async fn finish(&mut self, trailers: &Fields) -> Result<(), WriteError>;
}

/// From this length on, the rest of a body moves from socket to socket within the kernel: below it
/// a pipe costs more than the copies that it saves.
pub(crate) const BULK_BYTES_MIN: u64 = 128 * 1024;

/// Moves a body from its source to its sink, at the pace of the slower one. What one read brought
/// is sent before the next read is awaited, so that events are never held back; so is the head, if
/// no byte of the body has arrived yet.
pub(crate) async fn pump(source: &mut impl Source, sink: &mut impl Sink) -> Result<(), PumpError> {
    pump_sifted(source, sink, |_| true).await
}

/// The same, but only with the trailers that `keeps` accepts.
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
            source.read_by(sink.room());
        }
    }
    if !source.trailers().is_empty() {
        source.trailers_mut().retain(keeps);
    }
    sink.finish(source.trailers()).await.map_err(PumpError::Writing)
}

/// Waits until there is more of the body. If that takes time, the sink is flushed first.
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
