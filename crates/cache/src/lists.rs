//! Lists whose members may have quoted parts (RFC 9110, section 5.6.1).

/// The members of one line. A comma within quotes ends no member; quotes that are not closed reach to the end.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let pieces = std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.iter().position(|&byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                _ if was_escaped => {}
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b',' => return !is_quoted,
                _ => {}
            }
            false
        });
        let (piece, after) = match end {
            Some(end) => (text.get(..end)?, text.get(end + 1..)),
            None => (text, None),
        };
        rest = after;
        Some(piece.trim_ascii())
    });
    pieces.filter(|piece| !piece.is_empty())
}
