//! Directives as text that nginx reads as the same directives.

use super::{Block, Word};

/// The text of a block's directives, without comments.
pub fn print(block: &Block) -> String {
    let mut out = String::new();
    write(block, 0, &mut out);
    out
}

/// The depth to which blocks can be nested in a tree; deeper ones are not printed.
const DEPTH_MAX: usize = 2 * super::parser::DEPTH_MAX;

fn write(block: &Block, depth: usize, out: &mut String) {
    if depth > DEPTH_MAX {
        return;
    }
    for directive in &block.directives {
        out.extend(std::iter::repeat_n("    ", depth));
        out.push_str(&word(&Word { text: directive.name.clone(), quoted: false }));
        for one in &directive.words {
            out.push(' ');
            out.push_str(&word(one));
        }
        match &directive.block {
            None => out.push_str(";\n"),
            Some(inner) => {
                out.push_str(" {\n");
                write(inner, depth + 1, out);
                out.extend(std::iter::repeat_n("    ", depth));
                out.push_str("}\n");
            }
        }
    }
}

/// A word, in quotes if it needs them.
pub(super) fn word(word: &Word) -> String {
    let text = &word.text;
    let special =
        |c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}' | '"' | '\'' | '\\' | '#');
    if !word.quoted && !text.is_empty() && !text.contains(special) {
        return text.clone();
    }
    let mut out = String::from("\"");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => out.push_str("\\\""),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            // A backslash that begins no escape stays what it is, and is easier to read alone.
            '\\' => match letters.peek() {
                None | Some('"' | '\'' | '\\' | 't' | 'r' | 'n') => out.push_str("\\\\"),
                Some(_) => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
