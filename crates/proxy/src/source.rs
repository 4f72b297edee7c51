//! Bodies of our own: in memory, or in a file.

use message::Fields;
use net::Size;

use crate::body::{ReadError, Source};
use files::FileBody;

/// A body in memory.
pub(crate) struct BytesSource<'a> {
    bytes: &'a [u8],
    taken: u64,
    none: Fields,
}

impl<'a> BytesSource<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, taken: 0, none: Fields::new() }
    }

    /// What is not consumed yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Source for BytesSource<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        Ok(!self.bytes.is_empty())
    }

    fn data(&self) -> &[u8] {
        self.bytes
    }

    fn consume(&mut self, count: usize) {
        self.bytes = self.bytes.get(count..).unwrap_or_default();
        self.taken += count as u64;
    }

    fn is_drained(&self) -> bool {
        self.bytes.is_empty()
    }

    fn is_done(&self) -> bool {
        self.bytes.is_empty()
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

/// A part of a file.
pub(crate) struct FileSource<'a> {
    file: FileBody,
    /// Memory for a piece, and how much of it is filled and consumed.
    piece: &'a mut Vec<u8>,
    filled: usize,
    at: usize,
    read_by: Size,
    taken: u64,
    none: Fields,
}

impl<'a> FileSource<'a> {
    /// `piece` is memory.
    pub(crate) fn new(file: FileBody, piece: &'a mut Vec<u8>, read_by: Size) -> Self {
        Self { file, piece, filled: 0, at: 0, read_by, taken: 0, none: Fields::new() }
    }
}

impl Source for FileSource<'_> {
    async fn ready(&mut self) -> Result<bool, ReadError> {
        if self.at == self.filled {
            let read = self.file.read(self.piece, self.read_by.bytes()).await;
            (self.at, self.filled) = (0, read.map_err(ReadError::Broken)?);
        }
        Ok(self.filled > 0)
    }

    fn data(&self) -> &[u8] {
        self.piece.get(self.at..self.filled).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.filled);
        self.taken += count as u64;
    }

    fn is_drained(&self) -> bool {
        self.at == self.filled
    }

    fn is_done(&self) -> bool {
        self.is_drained() && self.file.is_read()
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

    fn read_by(&mut self, size: Size) {
        self.read_by = size;
    }
}
