//! The receiving direction of a stream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use message::Fields;
use net::{Alarm, Wheel};

use super::fields;
use super::send::SendHalf;
use crate::body::{Bulk, Patience, ReadError, Reset, Source};

/// The body of a message, from a stream.
pub(crate) struct Http2Receiver<'a> {
    /// `None` where there is no body.
    stream: Option<RecvStream>,
    /// The piece that has come and is not consumed yet.
    piece: Bytes,
    done: bool,
    trailers: Fields,
    /// Whether trailers are an error.
    trailers_refused: bool,
    /// The other direction: it notices a reset once this one has ended.
    sending: &'a RefCell<SendHalf>,
    wheel: &'a Wheel,
    alarm: &'a Alarm,
    pub(crate) patience: Patience<'a>,
    received: u64,
    limit: u64,
    /// The error that reading ahead has met, for the next call of `ready`.
    failed: Option<ReadError>,
}

impl<'a> Http2Receiver<'a> {
    pub(crate) fn new(
        stream: Option<RecvStream>,
        sending: &'a RefCell<SendHalf>,
        wheel: &'a Wheel,
        alarm: &'a Alarm,
        patience: Patience<'a>,
    ) -> Self {
        let stream = stream.filter(|stream| !stream.is_end_stream());
        let done = stream.is_none();
        Self {
            stream,
            piece: Bytes::new(),
            done,
            trailers: Fields::new(),
            trailers_refused: false,
            sending,
            wheel,
            alarm,
            patience,
            received: 0,
            limit: u64::MAX,
            failed: None,
        }
    }

    /// The stream, for the tunnel after an upgrade.
    pub(crate) fn into_stream(self) -> Option<RecvStream> {
        self.stream
    }

    /// Makes trailers an error.
    pub(crate) fn refuse_trailers(&mut self) {
        self.trailers_refused = true;
    }

    /// Sets how many bytes are accepted.
    pub(crate) fn limit(&mut self, limit: Option<u64>) {
        self.limit = limit.unwrap_or(u64::MAX);
    }

    /// The whole rest of the body, if it has arrived already.
    pub(crate) fn buffered(&self) -> Option<&[u8]> {
        let ended = self.done || self.stream.as_ref().is_some_and(RecvStream::is_end_stream);
        (ended && self.trailers.is_empty()).then_some(&*self.piece)
    }

    /// Discards it.
    pub(crate) fn skip_buffered(&mut self) {
        self.consume(self.piece.len());
        self.done = true;
        self.stream = None;
    }

    /// Reads what has arrived already, without waiting.
    pub(crate) async fn read_ahead(&mut self) {
        poll_fn(|cx| {
            if !self.done && self.piece.is_empty() && self.failed.is_none() {
                let _ = self.poll_piece(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for the next piece or the end, and stores it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else {
            self.done = true;
            return Poll::Ready(());
        };
        loop {
            match stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => {
                    self.received += piece.len() as u64;
                    self.piece = piece;
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(broken(error));
                    return Poll::Ready(());
                }
                Poll::Ready(None) => break,
            }
        }
        match stream.poll_trailers(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Some(_))) if self.trailers_refused => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "fields in a tunnel");
                self.failed = Some(ReadError::Broken(error));
                return Poll::Ready(());
            }
            Poll::Ready(Ok(Some(trailers))) => {
                if let Err(what) = fields::load_trailers(&trailers, &mut self.trailers) {
                    // RFC 9113, section 8.1.1.
                    self.sending.borrow_mut().reset(Reset::Protocol);
                    self.failed = Some(ReadError::Invalid(what));
                    return Poll::Ready(());
                }
            }
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Err(error)) => {
                self.failed = Some(broken(error));
                return Poll::Ready(());
            }
        }
        self.done = true;
        self.stream = None;
        Poll::Ready(())
    }
}

/// The reason of a peer that reset a stream, if it has the same meaning for the other side.
fn passed_on(error: &h2::Error) -> Option<Reset> {
    match error.reason().filter(|_| error.is_reset() && error.is_remote())? {
        Reason::CANCEL => Some(Reset::Cancelled),
        Reason::ENHANCE_YOUR_CALM => Some(Reset::EnhanceYourCalm),
        Reason::INADEQUATE_SECURITY => Some(Reset::InadequateSecurity),
        _ => None,
    }
}

/// Why a stream ended early: by the peer, or by `h2` because of what came on it.
fn broken(error: h2::Error) -> ReadError {
    match error.is_library() && error.is_reset() {
        true => ReadError::Invalid("its content breaks a rule of HTTP/2 (RFC 9113, 8.1.1)"),
        false => ReadError::Reset(passed_on(&error), io::Error::other(error)),
    }
}

impl Source for Http2Receiver<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        if self.piece.is_empty() && !self.done && self.failed.is_none() {
            let (wheel, alarm) = (self.wheel, self.alarm);
            // Cloned and put back: the wait needs it while `self` is borrowed.
            let patience = self.patience.clone();
            let waited = patience.reading(wheel, alarm, |cx| self.poll_piece(cx)).await;
            self.patience = patience;
            waited?;
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.received > self.limit {
            return Err(ReadError::TooLarge);
        }
        Ok(!self.piece.is_empty())
    }

    fn data(&self) -> &[u8] {
        &self.piece
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.piece.len());
        let _ = self.piece.split_to(count);
        self.patience.received(count as u64);
        if let Some(stream) = &mut self.stream {
            // It fails only for more than has come.
            let _ = stream.flow_control().release_capacity(count);
            if self.piece.is_empty() && stream.is_end_stream() {
                self.done = true;
                self.stream = None;
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.piece.is_empty()
    }

    fn is_done(&self) -> bool {
        self.done && self.piece.is_empty()
    }

    fn trailers(&self) -> &Fields {
        &self.trailers
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.trailers
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        None
    }

    fn moved_past(&mut self, _count: u64) {}

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.borrow_mut().poll_reset(cx)
    }
}
