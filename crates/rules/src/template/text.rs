//! Templates in texts: values of fields, bodies, lines of a log.
//!
//! Each function encodes what a request says for its place; literals stay as they are written.

use std::io::Write;

use config::{Template, TemplatePart, TextKind, Variable};

use super::parts::{Parts, each_piece};
use super::{Facts, push_encoded, push_value};

/// Writes the value of a field. What a client sent is copied, except for bytes that no field value may hold and bytes
/// beyond ASCII in a path or query: these are percent-encoded.
pub fn expand(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    for part in Parts::of(template, facts).iter() {
        match part {
            // The decoder refuses them in a literal; a space does no harm.
            TemplatePart::Literal(text) => {
                out.extend(text.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
            }
            TemplatePart::Capture(_)
            | TemplatePart::Parameter(_)
            | TemplatePart::Variable(Variable::Path | Variable::Query | Variable::Uri) => {
                push_value(part, facts, out, |byte| byte.is_ascii() && !byte.is_ascii_control());
            }
            part => push_value(part, facts, out, |byte| !byte.is_ascii_control()),
        }
    }
}

/// Writes a text of this kind. Parts are encoded so that they remain text in it: within an element or a quoted attribute
/// of HTML, within a string of JSON, JavaScript or CSS. Control characters are percent-encoded; what is not
/// UTF-8 becomes U+FFFD.
pub fn text(template: &Template, kind: TextKind, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let escape = match kind {
        TextKind::Plain => escape_plain,
        TextKind::Markup => escape_markup,
        TextKind::Script => escape_script,
        TextKind::Style => escape_style,
    };
    for part in Parts::of(template, facts).iter() {
        match part {
            TemplatePart::Literal(text) => out.extend_from_slice(text.as_bytes()),
            part => each_piece(part, facts, &mut |piece| push_escaped(piece, escape, out)),
        }
    }
}

/// Writes a text into an HTML page: see [`text()`].
pub fn html(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    text(template, TextKind::Markup, facts, out);
}

/// Writes a part of a line in a log: control bytes, bytes beyond ASCII, quotes and backslashes of a client become
/// `\xHH`, so that it can neither end the line nor a quoted text in it.
pub fn log(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    for part in Parts::of(template, facts).iter() {
        match part {
            TemplatePart::Literal(text) => out.extend_from_slice(text.as_bytes()),
            part => each_piece(part, facts, &mut |piece| push_logged(piece, out)),
        }
    }
}

fn push_logged(piece: &[u8], out: &mut Vec<u8>) {
    for &byte in piece {
        match byte {
            b'"' | b'\\' => write_ignored(out, format_args!("\\x{byte:02X}")),
            b' '..=b'~' => out.push(byte),
            byte => write_ignored(out, format_args!("\\x{byte:02X}")),
        }
    }
}

/// Writes text that may be anything as text of a kind.
fn push_escaped(piece: &[u8], escape: fn(char, &mut Vec<u8>), out: &mut Vec<u8>) {
    for chunk in piece.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                let mut room = [0; 4];
                push_encoded(character.encode_utf8(&mut room).as_bytes(), out, |_| false);
            } else {
                escape(character, out);
            }
        }
        if !chunk.invalid().is_empty() {
            escape(char::REPLACEMENT_CHARACTER, out);
        }
    }
}

fn escape_plain(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// HTML and XML, in elements and attributes. Spaces and `=` too, so that an attribute without quotes does not end.
fn escape_markup(character: char, out: &mut Vec<u8>) {
    match character {
        '<' => out.extend_from_slice(b"&lt;"),
        '>' => out.extend_from_slice(b"&gt;"),
        '&' => out.extend_from_slice(b"&amp;"),
        '"' | '\'' | '`' | '=' | ' ' | '\t' => {
            write_ignored(out, format_args!("&#{};", u32::from(character)));
        }
        character => escape_plain(character, out),
    }
}

/// JSON (RFC 8259, section 7) and JavaScript, in strings. Also what would end a `<script>`.
fn escape_script(character: char, out: &mut Vec<u8>) {
    match character {
        '"' | '\'' | '\\' | '`' | '$' | '<' | '>' | '&' | '\t' | '\u{2028}' | '\u{2029}' => {
            write_ignored(out, format_args!("\\u{:04x}", u32::from(character)));
        }
        character => escape_plain(character, out),
    }
}

/// CSS, in strings and identifiers: an escape ends with a space.
fn escape_style(character: char, out: &mut Vec<u8>) {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => escape_plain(character, out),
        character if !character.is_ascii() => escape_plain(character, out),
        character => write_ignored(out, format_args!("\\{:x} ", u32::from(character))),
    }
}

/// Writing to memory does not fail.
fn write_ignored(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
