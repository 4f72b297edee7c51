//! Finds frame heads in a stream of bytes that comes in pieces of any size.
//!
//! Payloads are skipped by their length, except for the bytes that the caller asks for or takes. Nothing of them is
//! kept.

use super::frame::{FrameHeader, HEADER_BYTES};

/// The most that can be asked for at once: a setting, or padding and priority of HEADERS.
pub(super) const PART_BYTES: usize = 6;

/// What has been found.
#[derive(Debug, Clone, Copy)]
pub(super) enum FrameEvent {
    /// The head of the next frame. Its payload will be skipped unless `ask` is called.
    Header(FrameHeader),
    /// The bytes that were asked for.
    Part([u8; PART_BYTES]),
}

/// The position in the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scanner {
    head: FrameHeader,
    /// Bytes of the payload that are still to come, without those in `part`.
    left: u32,
    /// A head in the making, then the part asked for.
    bytes: [u8; HEADER_BYTES],
    filled: u8,
    /// How many bytes of the payload are wanted; 0: the head is.
    wanted: u8,
}

impl Scanner {
    /// Asks for the next `count` bytes of the payload; fewer if it ends before.
    pub(super) fn ask(&mut self, count: usize) {
        let count = count.min(PART_BYTES).min(usize::try_from(self.left).unwrap_or(PART_BYTES));
        self.wanted = u8::try_from(count).unwrap_or_default();
        self.filled = 0;
        self.bytes = [0; HEADER_BYTES];
    }

    /// Bytes of the payload that have not been looked at.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// Whether the next byte belongs to a frame's head.
    pub(super) fn is_at_head(&self) -> bool {
        self.wanted == 0 && self.left == 0
    }

    /// Whether the first bytes of a head have been seen.
    pub(super) fn has_part_of_head(&self) -> bool {
        self.is_at_head() && self.filled > 0
    }

    /// The head of the frame that is under way, or the last one.
    pub(super) fn frame(&self) -> FrameHeader {
        self.head
    }

    /// The head that was found last, as it came, until bytes are asked for.
    pub(super) fn raw_head(&self) -> [u8; HEADER_BYTES] {
        self.bytes
    }

    /// The type of the next frame, if `input` holds its whole head, and it is at one.
    pub(super) fn peek(input: &[u8]) -> Option<u8> {
        input.first_chunk::<HEADER_BYTES>().map(|head| FrameHeader::parse(head).kind)
    }

    /// Takes as much of the payload as is there, but no more than `most`.
    pub(super) fn take<'a>(&mut self, input: &mut &'a [u8], most: u32) -> &'a [u8] {
        let count = usize::try_from(self.left.min(most)).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(count).unwrap_or_default();
        *input = rest;
        self.left -= u32::try_from(count).unwrap_or(self.left).min(self.left);
        bytes
    }

    /// Whether bytes were asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.wanted > 0
    }

    /// The bytes that were asked for, or as much of the payload is skipped as is there.
    pub(super) fn next_part(&mut self, input: &mut &[u8]) -> Option<[u8; PART_BYTES]> {
        if self.wanted == 0 {
            self.take(input, u32::MAX);
            return None;
        }
        self.collect(input, usize::from(self.wanted))?;
        self.left = self.left.saturating_sub(self.wanted.into());
        self.wanted = 0;
        self.filled = 0;
        let [a, b, c, d, e, f, ..] = self.bytes;
        Some([a, b, c, d, e, f])
    }

    /// The next piece. `None`: all of `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<FrameEvent> {
        if self.wanted > 0 {
            return self.next_part(input).map(FrameEvent::Part);
        }
        self.take(input, u32::MAX);
        if self.left > 0 {
            return None;
        }
        self.collect(input, HEADER_BYTES)?;
        self.filled = 0;
        self.head = FrameHeader::parse(&self.bytes);
        self.left = self.head.length;
        Some(FrameEvent::Header(self.head))
    }

    /// Fills the first `count` bytes; `None` if there are not enough.
    fn collect(&mut self, input: &mut &[u8], count: usize) -> Option<()> {
        let room = self.bytes.get_mut(usize::from(self.filled)..count)?;
        let taken = room.len().min(input.len());
        let (bytes, rest) = input.split_at_checked(taken)?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        *input = rest;
        self.filled += u8::try_from(taken).unwrap_or_default();
        (usize::from(self.filled) == count).then_some(())
    }
}
