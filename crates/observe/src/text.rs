//! Bytes of a record that came from outside.

use std::fmt;

/// Bytes kept of a target in a record. Longer ones are cut and marked.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Bytes kept of any other text in a record.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Bytes that came from outside, made to be filled again and again. They need not be UTF-8 or
/// printable: they are escaped when they are written out. What is beyond the limit is dropped, and
/// [`Text::is_cut`] says so.
#[derive(Clone)]
pub struct Text {
    bytes: Vec<u8>,
    /// Bytes at most; a small number, so that a record stays small.
    limit: u32,
    cut: bool,
}

impl Text {
    /// An empty text that keeps at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        // A limit beyond that is none.
        let limit = if limit > u32::MAX as usize { u32::MAX } else { limit as u32 };
        Self { bytes: Vec::new(), limit, cut: false }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.cut = false;
    }

    /// Forgets everything and takes these bytes.
    pub fn set(&mut self, bytes: impl AsRef<[u8]>) {
        self.clear();
        self.push(bytes);
    }

    /// Adds these bytes, as far as there is room.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let room = (self.limit as usize).saturating_sub(self.bytes.len());
        match bytes.get(..room) {
            Some(kept) if bytes.len() > room => {
                self.bytes.extend_from_slice(kept);
                self.cut = true;
            }
            _ => self.bytes.extend_from_slice(bytes),
        }
    }

    /// What there is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True if something was dropped because there was no room.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new(TEXT_BYTES_MAX)
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.bytes), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn what_has_no_room_is_dropped_and_marked() {
        let mut text = Text::new(4);
        text.push("ab");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"ab"[..], false));
        text.push("cd");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"abcd"[..], false));
        text.push("e");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"abcd"[..], true));
        text.set("x");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"x"[..], false));
        assert!(write!(text, "{}{}", 12, 3456).is_ok());
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"x123"[..], true));
    }
}
