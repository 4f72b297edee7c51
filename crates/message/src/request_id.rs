//! The id of a request, which its log line and the servers behind the proxy share.

use std::cell::{Cell, OnceCell};
use std::fmt;

/// The id of a request: the one that a trusted proxy sent, or one that is made when something asks for it first.
/// It lies within, so that it costs no allocation.
#[derive(Clone, Default)]
pub struct RequestId {
    text: OnceCell<IdText>,
    is_used: Cell<bool>,
}

#[derive(Clone, Copy)]
struct IdText {
    bytes: [u8; RequestId::BYTES_MAX],
    length: u8,
}

impl IdText {
    /// A text of at most [`RequestId::BYTES_MAX`] bytes; of a longer one as many.
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; RequestId::BYTES_MAX];
        bytes.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Self { bytes, length: text.len().min(RequestId::BYTES_MAX) as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl RequestId {
    /// The longest id that is taken from others.
    pub const BYTES_MAX: usize = 128;

    /// Takes an id that somebody else has made, if it has 1 to 128 visible ASCII characters and nothing else.
    pub fn take(&mut self, sent: &[u8]) -> bool {
        let is_id = (1..=Self::BYTES_MAX).contains(&sent.len())
            && sent.iter().all(|byte| byte.is_ascii_graphic());
        if is_id {
            self.text = OnceCell::from(IdText::of(sent));
        }
        is_id
    }

    /// True if there is one.
    pub fn is_known(&self) -> bool {
        self.text.get().is_some()
    }

    /// The id; `make` makes one if there is none.
    pub fn get_or_make(&self, make: impl FnOnce() -> [u8; 36]) -> &[u8] {
        self.is_used.set(true);
        self.text.get_or_init(|| IdText::of(&make())).as_bytes()
    }

    /// The id, if something has asked for it.
    pub fn if_used(&self) -> Option<&[u8]> {
        self.text.get().filter(|_| self.is_used.get()).map(IdText::as_bytes)
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.text.take();
        self.is_used.set(false);
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.get().map(IdText::as_bytes).unwrap_or_default();
        fmt::Debug::fmt(&String::from_utf8_lossy(text), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_from_others() {
        #[track_caller]
        fn check(sent: &[u8], expected: bool) {
            let mut id = RequestId::default();
            assert_eq!(id.take(sent), expected, "{sent:?}");
            assert_eq!(id.is_known(), expected);
            assert_eq!(id.if_used(), None);
            let got = id.get_or_make(|| *b"00000000-0000-7000-8000-000000000000").to_vec();
            assert_eq!(got == sent, expected);
            assert_eq!(id.if_used(), Some(&*got));
            id.clear();
            assert!(!id.is_known() && id.if_used().is_none());
        }
        check(b"a", true);
        check(b"Root=1-67891233-abcdef012345678912345678", true);
        check(&[b'~'; 128], true);
        check(&[b'~'; 129], false);
        check(b"", false);
        check(b"a b", false);
        check(b"a\r\nb", false);
        check("\u{e4}".as_bytes(), false);
    }

    #[test]
    fn made_once() {
        let id = RequestId::default();
        assert_eq!(id.get_or_make(|| [b'a'; 36]), [b'a'; 36]);
        assert_eq!(id.get_or_make(|| [b'b'; 36]), [b'a'; 36]);
    }
}
