//! Request bodies that can be sent again: what was sent of them is kept, up to a limit.
//!
//! A body that is buffered whole stays in the client's buffer until a response comes, and needs none of
//! this. A streamed body passes through [`ReplayedBody`], which copies what it hands out; the next try
//! reads the copy first and then continues with the client.

use std::cell::Cell;
use std::task::{Context, Poll};

use message::Fields;

use crate::body::{Bulk, ReadError, Source};

/// What is kept of a body, in memory that is reused.
#[derive(Default)]
pub(crate) struct Replay {
    bytes: Vec<u8>,
    /// Whether some of the body was sent without being kept.
    lost: Cell<bool>,
}

/// Memory that stays when the exchange is over.
const KEPT_BYTES_USUAL: usize = 16 * 1024;

impl Replay {
    /// For the next request.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lost.set(false);
    }

    /// Frees memory that an unusual exchange has needed.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to(KEPT_BYTES_USUAL);
    }

    /// Whether the body can be read from its start.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lost.get()
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Keeps a body that leaves in one piece.
    pub(crate) fn keep(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
    }

    /// What is kept: all that was read of the body, if it is whole.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its two parts: for a [`ReplayedBody`] and for checks during the upload whether the body is
    /// still whole.
    pub(crate) fn parts(&mut self) -> (&mut Vec<u8>, &Cell<bool>) {
        (&mut self.bytes, &self.lost)
    }
}

/// A body that is read from its start again in each try.
pub(crate) struct ReplayedBody<'a, S> {
    body: &'a mut S,
    bytes: &'a mut Vec<u8>,
    lost: &'a Cell<bool>,
    /// How much of `bytes` was handed out in this try.
    at: usize,
    /// The most bytes that are kept.
    bytes_max: usize,
}

impl<'a, S: Source> ReplayedBody<'a, S> {
    pub(crate) fn new(
        body: &'a mut S,
        bytes: &'a mut Vec<u8>,
        lost: &'a Cell<bool>,
        bytes_max: usize,
    ) -> Self {
        Self { body, bytes, lost, at: 0, bytes_max }
    }

    fn is_replaying(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn lose(&mut self) {
        self.lost.set(true);
        self.bytes.clear();
        self.at = 0;
    }
}

impl<S: Source> Source for ReplayedBody<'_, S> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        if self.is_replaying() { Ok(true) } else { self.body.ready().await }
    }

    fn data(&self) -> &[u8] {
        match self.bytes.get(self.at..) {
            Some(kept) if !kept.is_empty() => kept,
            _ => self.body.data(),
        }
    }

    fn consume(&mut self, count: usize) {
        if self.is_replaying() {
            self.at += count;
            return;
        }
        if !self.lost.get() {
            let data = self.body.data();
            let data = data.get(..count).unwrap_or(data);
            if self.bytes.len() + data.len() <= self.bytes_max {
                self.bytes.extend_from_slice(data);
                self.at = self.bytes.len();
            } else {
                self.lose();
            }
        }
        self.body.consume(count);
    }

    fn is_drained(&self) -> bool {
        !self.is_replaying() && self.body.is_drained()
    }

    fn is_done(&self) -> bool {
        !self.is_replaying() && self.body.is_done()
    }

    fn trailers(&self) -> &Fields {
        self.body.trailers()
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        self.body.trailers_mut()
    }

    fn received(&self) -> u64 {
        self.body.received()
    }

    fn bulk(&self) -> Option<Bulk<'_>> {
        let kept = self.bytes_max > 0 && !self.lost.get();
        if kept || self.is_replaying() { None } else { self.body.bulk() }
    }

    fn moved_past(&mut self, count: u64) {
        if count > 0 {
            self.lose();
        }
        self.body.moved_past(count);
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_peer_gone(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{PumpError, Sink, WriteError, pump};

    /// A body in pieces.
    struct Pieces {
        pieces: Vec<&'static [u8]>,
        none: Fields,
    }

    impl Source for Pieces {
        async fn ready(&mut self) -> Result<bool, ReadError> {
            Ok(!self.pieces.is_empty())
        }
        fn data(&self) -> &[u8] {
            self.pieces.first().copied().unwrap_or_default()
        }
        fn consume(&mut self, count: usize) {
            if let Some(first) = self.pieces.first_mut() {
                *first = &first[count..];
            }
            self.pieces.retain(|piece| !piece.is_empty());
        }
        fn is_drained(&self) -> bool {
            true
        }
        fn is_done(&self) -> bool {
            self.pieces.is_empty()
        }
        fn trailers(&self) -> &Fields {
            &self.none
        }
        fn trailers_mut(&mut self) -> &mut Fields {
            &mut self.none
        }
        fn received(&self) -> u64 {
            0
        }
        fn bulk(&self) -> Option<Bulk<'_>> {
            None
        }
        fn moved_past(&mut self, _count: u64) {}
        fn poll_peer_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    /// A sink that takes so many pieces and then fails.
    struct LimitedSink {
        taken: Vec<u8>,
        pieces_max: usize,
    }

    impl Sink for LimitedSink {
        async fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
            let Some(left) = self.pieces_max.checked_sub(1) else {
                return Err(WriteError::Idle);
            };
            self.pieces_max = left;
            self.taken.extend_from_slice(bytes);
            Ok(())
        }
        async fn flush(&mut self) -> Result<(), WriteError> {
            Ok(())
        }
        async fn bulk(&mut self, _bulk: Bulk<'_>) -> Result<u64, PumpError> {
            Ok(0)
        }
        async fn finish(&mut self, _trailers: &Fields) -> Result<(), WriteError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_body_is_read_from_its_start_as_long_as_it_is_kept() {
        async fn check(bytes_max: usize, fails_after: &[usize], whole: &[bool], last: &str) {
            let pieces = vec![&b"one"[..], b"two", b"three"];
            let mut body = Pieces { pieces, none: Fields::new() };
            let mut replay = Replay::default();
            for (pieces_max, whole) in fails_after.iter().zip(whole) {
                let mut sink = LimitedSink { taken: Vec::new(), pieces_max: *pieces_max };
                let (bytes, lost) = replay.parts();
                let mut kept = ReplayedBody::new(&mut body, bytes, lost, bytes_max);
                assert!(pump(&mut kept, &mut sink).await.is_err());
                assert_eq!(replay.is_whole(), *whole, "{bytes_max} {fails_after:?}");
            }
            let mut sink = LimitedSink { taken: Vec::new(), pieces_max: 100 };
            let (bytes, lost) = replay.parts();
            let mut kept = ReplayedBody::new(&mut body, bytes, lost, bytes_max);
            pump(&mut kept, &mut sink).await.unwrap();
            assert_eq!(String::from_utf8(sink.taken).unwrap(), last);
        }
        check(100, &[], &[], "onetwothree").await;
        check(100, &[0, 1, 0, 1, 2], &[true; 5], "onetwothree").await;
        check(11, &[2, 1], &[true, true], "onetwothree").await;
        // What was not kept is not there, which is known.
        check(5, &[1, 2], &[true, false], "three").await;
        check(0, &[0], &[true], "onetwothree").await;
        check(0, &[1], &[false], "twothree").await;
    }
}
