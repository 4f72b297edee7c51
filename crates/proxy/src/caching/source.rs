//! Bodies from the store: stored ones, and ones that are arriving.

use std::sync::Arc;

use cache::store::{Content, FillReader};
use message::Fields;

use crate::body::{ReadError, Source};

/// A part of a body from the store.
pub(crate) enum Segment {
    /// These bytes of the content.
    Bytes { start: u64, length: u64 },
    /// Text between such parts.
    Text(Vec<u8>),
}

impl Segment {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes { length, .. } => *length,
            Self::Text(text) => text.len() as u64,
        }
    }
}

/// A stored body, or parts of it.
pub(crate) struct StoredSource<'a> {
    content: &'a Arc<Content>,
    /// The piece that is being read, and where in it.
    piece: usize,
    at: usize,
    /// What is left of the current segment.
    left: u64,
    /// The text that is being read, if it is that.
    text: Option<Vec<u8>>,
    rest: std::vec::IntoIter<Segment>,
    taken: u64,
    none: Fields,
}

impl<'a> StoredSource<'a> {
    /// These bytes.
    pub(crate) fn new(content: &'a Arc<Content>, start: u64, length: u64) -> Self {
        let mut source = Self::of(content, Vec::new());
        source.begin(Segment::Bytes { start, length });
        source
    }

    /// Several segments.
    pub(crate) fn of(content: &'a Arc<Content>, segments: Vec<Segment>) -> Self {
        Self {
            content,
            piece: 0,
            at: 0,
            left: 0,
            text: None,
            rest: segments.into_iter(),
            taken: 0,
            none: Fields::new(),
        }
    }

    fn begin(&mut self, segment: Segment) {
        (self.text, self.left) = match segment {
            Segment::Bytes { start, length } => {
                (self.piece, self.at) = self.content.find(start);
                (None, length)
            }
            Segment::Text(text) => {
                let length = text.len() as u64;
                self.at = 0;
                (Some(text), length)
            }
        };
    }
}

impl Source for StoredSource<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        while self.left == 0 {
            let Some(next) = self.rest.next() else { return Ok(false) };
            self.begin(next);
        }
        Ok(true)
    }

    fn data(&self) -> &[u8] {
        let piece = match &self.text {
            Some(text) => Some(text.as_slice()),
            None => self.content.piece(self.piece).map(|piece| &piece[..]),
        };
        let rest = piece.and_then(|piece| piece.get(self.at..)).unwrap_or_default();
        let length = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        rest.get(..length).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
        self.left = self.left.saturating_sub(count as u64);
        self.taken += count as u64;
        if self.text.is_none()
            && self.content.piece(self.piece).is_some_and(|piece| self.at >= piece.len())
        {
            (self.piece, self.at) = (self.piece + 1, 0);
        }
    }

    fn is_drained(&self) -> bool {
        self.left == 0 && self.rest.as_slice().is_empty()
    }

    fn is_done(&self) -> bool {
        self.is_drained()
    }

    fn trailers(&self) -> &Fields {
        &self.none
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.none
    }

    fn received(&self) -> u64 {
        self.taken
    }
}

/// A body that is arriving, or a part of it.
pub(crate) struct FillSource {
    reader: FillReader,
    /// What is left out in front.
    skip: u64,
    /// What is wanted after that.
    left: u64,
    taken: u64,
    none: Fields,
}

impl FillSource {
    /// `wanted`: start and length, if not all.
    pub(crate) fn new(reader: FillReader, wanted: Option<(u64, u64)>) -> Self {
        let (skip, left) = wanted.unwrap_or((0, u64::MAX));
        Self { reader, skip, left, taken: 0, none: Fields::new() }
    }
}

impl Source for FillSource {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        while self.left > 0 {
            if !self.reader.ready().await.map_err(|_| ReadError::Truncated)? {
                // The end of a part must have come.
                return if self.left == u64::MAX { Ok(false) } else { Err(ReadError::Truncated) };
            }
            if self.skip == 0 {
                return Ok(true);
            }
            let count =
                self.reader.data().len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.reader.consume(count);
            self.skip -= count as u64;
        }
        Ok(false)
    }

    fn data(&self) -> &[u8] {
        let data = self.reader.data();
        let length = data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        data.get(..length).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.taken += count as u64;
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(count as u64);
        }
    }

    fn is_drained(&self) -> bool {
        self.left == 0 || self.reader.is_drained()
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.reader.is_done()
    }

    fn trailers(&self) -> &Fields {
        &self.none
    }

    fn trailers_mut(&mut self) -> &mut Fields {
        &mut self.none
    }

    fn received(&self) -> u64 {
        self.taken
    }
}
