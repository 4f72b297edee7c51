//! Pages that the configuration has for errors and answers, filled in for a response.

use config::{Page, PagePiece};
use message::reason_phrase;
use rules::Facts;

/// Writes a page for a response with this status.
pub(crate) fn write(page: &Page, status: u16, facts: &Facts<'_>, out: &mut Vec<u8>) {
    for piece in &page.pieces {
        match piece {
            PagePiece::Bytes(bytes) => out.extend_from_slice(bytes),
            PagePiece::Text(text) => rules::text(text, page.kind, facts, out),
            PagePiece::Status => {
                out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
            }
            PagePiece::Reason => out.extend_from_slice(reason_phrase(status).as_bytes()),
        }
    }
}
