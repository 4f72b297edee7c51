//! Bytes from outside, made harmless for a line of the log.

/// True for a byte that a JSON string has as it is: printable ASCII but `"` and `\`.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7f && byte != b'"' && byte != b'\\'
}

/// True if every byte is plain. Looks at all of them without a branch, so that the compiler does
/// many at once; nearly every text is plain.
fn all_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &byte| plain & is_plain(byte))
}

/// Writes bytes as the inside of a JSON string. What is not UTF-8 becomes U+FFFD, as
/// `String::from_utf8_lossy` does it; controls (C1 and the line separators too, which terminals
/// and readers of lines might act on) are escaped.
pub(crate) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        json_slowly(out, bytes);
    }
}

fn json_slowly(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while !rest.is_empty() {
            let plain = rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
            let (run, special) = rest.split_at_checked(plain).unwrap_or((rest, ""));
            out.extend_from_slice(run.as_bytes());
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                json_character(out, character);
            }
            rest = characters.as_str();
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn json_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{2028}' | '\u{2029}' => unicode_escape(out, character),
        _ if character.is_control() => unicode_escape(out, character),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// `\uXXXX`; for characters of the basic plane only.
fn unicode_escape(out: &mut Vec<u8>, character: char) {
    let code = u32::from(character);
    let digits = [12, 8, 4, 0].map(|shift| hex_digit((code >> shift) as u8 & 0xf));
    out.extend_from_slice(b"\\u");
    out.extend_from_slice(&digits);
}

/// Writes bytes as Apache's `ap_escape_logitem` does: printable ASCII as it is, `"` and `\` with a
/// backslash, five controls in C notation, all else as `\xhh`.
pub(crate) fn apache(out: &mut Vec<u8>, bytes: &[u8]) {
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x0b => out.extend_from_slice(b"\\v"),
            _ if is_plain(byte) => out.push(byte),
            _ => {
                let digits = [hex_digit(byte >> 4), hex_digit(byte & 0xf)];
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(&digits);
            }
        }
    }
}

const fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}
