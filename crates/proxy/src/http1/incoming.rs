//! Reading messages: a head, then its body.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use message::{BodyLength, Fields};
use net::{Alarm, BUFFER_BYTES_LARGE, Buffer, Size, Stream, Wheel};
use tokio::time::Instant;
use wire::http1::{BodyDecoder, Piece};

use crate::body::{BULK_BYTES_MIN, Bulk, Patience, ReadError, Source};

/// The receiving direction of a connection.
pub(crate) struct Http1Receiver<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) buffer: Buffer,
    decoder: BodyDecoder,
    /// Decoded bytes at the front of the buffer.
    piece: usize,
    done: bool,
    /// Whether the peer has closed its side.
    closed: bool,
    trailers: Fields,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
    pub(crate) patience: Patience<'a>,
    /// Bytes of the body so far, and at most; and those that are bypassing us, while the kernel moves them.
    pub(crate) received: u64,
    bypassed: Cell<u64>,
    limit: u64,
    /// Every byte read from the connection.
    pub(crate) raw: u64,
    /// What is known of a client that waits for its response.
    side: Side,
    /// Whether it was checked since its request came.
    watched: bool,
    /// Counts the writes to it.
    written: Option<&'a Cell<u64>>,
    /// A response has offered a login that applies to the whole connection.
    pub(crate) offers_login: bool,
    /// Whether the time of the first byte is needed.
    pub(crate) times_first_byte: bool,
    /// How often a head was read from the socket.
    pub(crate) reads: u32,
    /// When the first byte came.
    pub(crate) first_read: Option<std::time::Instant>,
}

/// How long a client that has closed its side may wait for its response before it is taken for
/// gone.
const HALF_CLOSED_MAX: Duration = Duration::from_millis(500);

/// Whether a peer that waits for a response has closed its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    /// Closed; the peer is taken for gone at this time, unless something was written to it since.
    Closed {
        until: Instant,
        written: u64,
    },
    /// Half-closed: the peer still reads its response. If it does not, writing will fail.
    Half,
}

/// How a wait for more of a head ended.
pub(crate) enum HeadEnd {
    /// More bytes have arrived.
    More,
    /// The peer closed the connection.
    Closed,
    /// The connection broke.
    Broken(io::Error),
    /// Time is up.
    Expired,
    /// The buffer is full: the head is too long.
    Full,
}

impl<'a> Http1Receiver<'a> {
    pub(crate) fn new(
        stream: &'a Stream,
        buffer: Buffer,
        wheel: &'a Wheel,
        alarm: &'a Alarm,
        patience: Patience<'a>,
    ) -> Self {
        Self {
            stream,
            buffer,
            decoder: BodyDecoder::None,
            piece: 0,
            done: true,
            closed: false,
            trailers: Fields::new(),
            wheel,
            alarm,
            patience,
            received: 0,
            bypassed: Cell::new(0),
            limit: u64::MAX,
            raw: 0,
            side: Side::Open,
            watched: false,
            written: None,
            offers_login: false,
            times_first_byte: false,
            reads: 0,
            first_read: None,
        }
    }

    /// The same for a client, which may close its side before it has its response. `written` counts the writes
    /// to it.
    pub(crate) fn watching(self, written: &'a Cell<u64>) -> Self {
        Self { written: Some(written), ..self }
    }

    /// Bytes of messages that were consumed, without those that wait in the buffer.
    pub(crate) fn taken(&self) -> u64 {
        self.raw + self.bypassed.get() - self.buffer.filled().len() as u64
    }

    /// True if the message has ended and no byte has come after it.
    pub(crate) fn is_reusable(&self) -> bool {
        self.done && self.buffer.is_empty() && !self.closed
    }

    /// Starts the body that follows the head of a request which has been consumed from the buffer.
    pub(crate) fn begin_body(&mut self, length: BodyLength, limit: Option<u64>) {
        self.begin(BodyDecoder::from(length), limit);
        self.watched = false;
    }

    /// The same for a response.
    pub(crate) fn begin_response_body(&mut self, length: BodyLength) {
        self.begin(BodyDecoder::of_response(length), None);
    }

    fn begin(&mut self, decoder: BodyDecoder, limit: Option<u64>) {
        self.decoder = decoder;
        self.done = self.decoder.is_done();
        self.piece = 0;
        self.trailers.clear();
        self.raw += self.bypassed.take();
        self.received = 0;
        if !self.done {
            // What came with the head counts in the sender's favour.
            self.patience.received(self.buffer.len() as u64);
        }
        self.limit = limit.unwrap_or(u64::MAX);
    }

    /// The whole rest of the body, if it is buffered and its length is known.
    pub(crate) fn buffered_body(&self) -> Option<&[u8]> {
        match self.decoder {
            BodyDecoder::None => Some(&[]),
            BodyDecoder::Exact { left } => {
                let left = usize::try_from(left).ok()?.checked_add(self.piece)?;
                self.buffer.filled().get(..left)
            }
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => None,
        }
    }

    /// Discards it.
    pub(crate) fn skip_buffered_body(&mut self) {
        if let BodyDecoder::Exact { left } = &mut self.decoder {
            self.received += *left;
            let buffered = usize::try_from(*left).unwrap_or(usize::MAX);
            self.buffer.consume(buffered.saturating_add(self.piece));
            *left = 0;
        }
        self.piece = 0;
        self.done = self.decoder.is_done();
    }

    /// Clears the time-out for a head.
    pub(crate) fn clear_alarm(&self) {
        self.alarm.clear();
    }

    /// The rest of a time-out that restarts when bytes of the exchange move.
    pub(crate) fn left_of(&self, time: Duration) -> Option<Duration> {
        self.patience.left_of(time, self.wheel)
    }

    /// Sets the time-out for a head.
    pub(crate) fn set_alarm(&self, after: Duration) {
        self.alarm.set(after);
    }

    /// Reads more of a head, until the alarm that the caller has set fires.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<HeadEnd> {
        if self.buffer.spare() == 0 {
            if self.buffer.capacity() >= BUFFER_BYTES_LARGE {
                return Poll::Ready(HeadEnd::Full);
            }
            self.buffer.grow(BUFFER_BYTES_LARGE);
        }
        match self.buffer.poll_fill(cx, self.stream) {
            Poll::Ready(Ok(0)) => Poll::Ready(HeadEnd::Closed),
            Poll::Ready(Ok(count)) => {
                self.reads += 1;
                if self.raw == 0 && self.times_first_byte {
                    self.first_read = Some(std::time::Instant::now());
                }
                self.raw += count as u64;
                Poll::Ready(HeadEnd::More)
            }
            Poll::Ready(Err(error)) => Poll::Ready(HeadEnd::Broken(error)),
            Poll::Pending if self.alarm.poll_fired(cx).is_ready() => Poll::Ready(HeadEnd::Expired),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The peer has closed its side (RFC 9112, section 9.6): either it has nothing more to send, or it has
    /// left. If it did so together with its request, it waits for the response. If later, it is taken for gone
    /// unless the response comes soon; and it is there as long as it reads one.
    fn poll_gone(&mut self, at_once: bool, cx: &mut Context<'_>) -> Poll<()> {
        let Some(written) = self.written.map(Cell::get) else { return Poll::Ready(()) };
        let now = self.wheel.now();
        match self.side {
            Side::Half => return Poll::Pending,
            Side::Open if at_once => self.side = Side::Half,
            Side::Open => self.side = Side::Closed { until: now + HALF_CLOSED_MAX, written },
            Side::Closed { written: before, .. } if written != before => {
                self.alarm.clear();
                self.side = Side::Half;
            }
            Side::Closed { until, .. } if now >= until => return Poll::Ready(()),
            Side::Closed { .. } => {}
        }
        if let Side::Closed { until, .. } = self.side {
            self.alarm.set(until.saturating_duration_since(now));
            if self.alarm.poll_fired(cx).is_ready() {
                return self.poll_gone(false, cx);
            }
        }
        Poll::Pending
    }

    /// The connection was closed while a message was expected to go on.
    fn at_eof(&mut self) -> Result<bool, ReadError> {
        self.closed = true;
        self.decoder.eof().map_err(|_| ReadError::Truncated)?;
        self.done = true;
        Ok(false)
    }

    async fn fill(&mut self) -> Result<usize, ReadError> {
        let Self { stream, buffer, patience, wheel, alarm, .. } = self;
        let filled = patience.reading(wheel, alarm, |cx| buffer.poll_fill(cx, stream)).await;
        let count = filled.map_err(ReadError::from)?.map_err(ReadError::Broken)?;
        self.patience.received(count as u64);
        self.raw += count as u64;
        Ok(count)
    }

    /// Decodes from what is buffered: `Ok(None)` if more is needed.
    fn decode(&mut self) -> Result<Option<bool>, ReadError> {
        let filled = self.buffer.filled();
        let mut unread = filled;
        let decoded = self.decoder.decode(&mut unread, &mut self.trailers);
        let used = filled.len() - unread.len();
        match decoded.map_err(ReadError::Malformed)? {
            Some(Piece::Data(bytes)) => {
                let length = bytes.len();
                self.buffer.consume(used - length);
                self.piece = length;
                self.received += length as u64;
                if self.received > self.limit {
                    return Err(ReadError::TooLarge);
                }
                Ok(Some(true))
            }
            Some(Piece::End) => {
                self.buffer.consume(used);
                self.done = true;
                Ok(Some(false))
            }
            None => {
                self.buffer.consume(used);
                Ok(None)
            }
        }
    }
}

impl Source for Http1Receiver<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        loop {
            if self.piece > 0 {
                return Ok(true);
            }
            if self.done {
                return Ok(false);
            }
            if let Some(data) = self.decode()? {
                return Ok(data);
            }
            if self.fill().await? == 0 {
                return self.at_eof();
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.buffer.filled().get(..self.piece).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
        self.piece -= count.min(self.piece);
        if self.piece == 0 && self.decoder.is_done() {
            self.done = true;
        }
    }

    fn is_drained(&self) -> bool {
        self.buffer.filled().is_empty()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn trailers(&self) -> &Fields {
        &self.trailers
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.trailers
    }

    fn received(&self) -> u64 {
        self.received + self.bypassed.get()
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        match self.decoder {
            BodyDecoder::Exact { left } if left >= BULK_BYTES_MIN && self.buffer.is_empty() => {
                let (from, patience, moved) = (self.stream, &self.patience, &self.bypassed);
                Some(Bulk { from, length: left, patience, moved })
            }
            _ => None,
        }
    }

    fn moved_past(&mut self, count: u64) {
        self.bypassed.set(0);
        self.received += count;
        self.raw += count;
        if let BodyDecoder::Exact { left } = &mut self.decoder {
            *left = left.saturating_sub(count);
            self.done = *left == 0;
        }
    }

    fn read_by(&mut self, size: Size) {
        self.buffer.prefer(size);
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at_once = !std::mem::replace(&mut self.watched, true);
        if self.side != Side::Open {
            return self.poll_gone(at_once, cx);
        }
        // What comes now is the next request of a client that pipelines. It is read as far as there
        // is room; beyond that the client waits, and its leaving is not noticed.
        while self.buffer.spare() > 0 {
            match self.buffer.poll_fill(cx, self.stream) {
                Poll::Ready(Ok(0)) => return self.poll_gone(at_once, cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => self.raw += count as u64,
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}
