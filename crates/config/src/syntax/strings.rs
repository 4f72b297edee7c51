//! What words and strings stand for.

use std::borrow::Cow;
use std::ops::Range;

use super::ValueKind;
use super::lexer::{is_newline, is_space, is_word};

/// Whether `word` is text without quotes.
pub(super) fn is_identifier(word: &str) -> bool {
    if matches!(word, "" | "true" | "false" | "null" | "nan" | "inf" | "-inf") {
        return false;
    }
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let undotted = unsigned.strip_prefix('.').unwrap_or(unsigned);
    word.chars().all(is_word) && !undotted.starts_with(|c: char| c.is_ascii_digit())
}

/// The number that `word` is.
pub(super) fn number<'t>(word: &str) -> Option<ValueKind<'t>> {
    let (sign, digits) = match word.strip_prefix(['+', '-']) {
        Some(digits) => (word.get(..1)?, digits),
        None => ("", word),
    };
    let radix = match digits.get(..2).unwrap_or_default() {
        "0x" | "0X" => 16,
        "0o" | "0O" => 8,
        "0b" | "0B" => 2,
        _ => 10,
    };
    let digits = if radix == 10 { digits } else { digits.get(2..)? };
    let first = digits.chars().next()?;
    if !first.is_digit(radix) {
        return None;
    }
    if digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        let plain = format!("{sign}{}", digits.replace('_', ""));
        return i128::from_str_radix(&plain, radix).ok().map(ValueKind::Integer);
    }
    (radix == 10 && is_float(digits))
        .then(|| word.replace('_', "").parse().ok().map(ValueKind::Float))
        .flatten()
}

/// `integer ('.' integer)? (('e' | 'E') sign? integer)?`
fn is_float(digits: &str) -> bool {
    let integer = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit())
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let exponent = exponent.is_none_or(|e| integer(e.strip_prefix(['+', '-']).unwrap_or(e)));
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => integer(whole) && integer(fraction),
        None => integer(mantissa),
    };
    exponent && mantissa
}

/// What is wrong in a string, and which of its bytes, counted from its first quote or hash.
pub(super) struct StringError {
    pub(super) range: Range<usize>,
    pub(super) message: &'static str,
    pub(super) hint: &'static str,
}

impl StringError {
    fn new(range: Range<usize>, message: &'static str, hint: &'static str) -> Self {
        Self { range, message, hint }
    }
}

/// The text that a string in quotes, `literal`, stands for.
pub(super) fn content(literal: &str) -> Result<Cow<'_, str>, StringError> {
    let hashes = literal.bytes().take_while(|&byte| byte == b'#').count();
    let quoted = literal.get(hashes..literal.len() - hashes).unwrap_or_default();
    let several = quoted.len() >= 6 && quoted.starts_with("\"\"\"");
    let margin = if several { 3 } else { 1 };
    let inside = quoted.get(margin..quoted.len() - margin).unwrap_or_default();
    let raw = hashes > 0;
    match (several, raw) {
        (false, true) => Ok(Cow::Borrowed(inside)),
        (false, false) if !inside.contains('\\') => Ok(Cow::Borrowed(inside)),
        (false, false) => unescape(inside, margin).map(Cow::Owned),
        (true, true) => dedent(inside, literal.len()).map(Cow::Owned),
        (true, false) => {
            let joined = join_escaped_lines(inside);
            let dedented = dedent(&joined, literal.len())?;
            let whole = |error| StringError { range: 0..literal.len(), ..error };
            unescape(&dedented, 0).map(Cow::Owned).map_err(whole)
        }
    }
}

/// Without the backslashes at the ends of lines and the spaces behind them.
fn join_escaped_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let space = |&c: &char| is_space(c) || is_newline(c);
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
        } else if chars.peek().is_some_and(space) {
            while chars.next_if(space).is_some() {}
        } else {
            out.push(c);
            out.extend(chars.next());
        }
    }
    out
}

/// Takes the margin, which is what stands before the closing quotes, from every line.
fn dedent(text: &str, length: usize) -> Result<String, StringError> {
    let fail = |message, hint| Err(StringError::new(0..length, message, hint));
    let text = text.replace("\r\n", "\n").replace(is_newline, "\n");
    let Some(text) = text.strip_prefix('\n') else {
        return fail("text between \"\"\" starts on a new line", "break the line after \"\"\"");
    };
    let (body, margin) = text.rsplit_once('\n').unwrap_or(("", text));
    if !margin.chars().all(is_space) {
        return fail(
            "the closing \"\"\" must be on a separate line",
            "break the line before \"\"\"",
        );
    }
    if !text.contains('\n') {
        return Ok(String::new());
    }
    let mut lines = Vec::new();
    for line in body.split('\n') {
        match line.strip_prefix(margin) {
            _ if line.chars().all(is_space) => lines.push(""),
            Some(line) => lines.push(line),
            None => {
                return fail(
                    "a line is indented less than the closing \"\"\"",
                    "every line must start with the white space before the closing quotes",
                );
            }
        }
    }
    Ok(lines.join("\n"))
}

/// Resolves escapes; `offset` is added to the places of mistakes.
fn unescape(text: &str, offset: usize) -> Result<String, StringError> {
    const KNOWN: &str =
        "known: \\n \\r \\t \\s \\b \\f \\\\ \\\" \\u{…}; a backslash itself is \\\\";
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some((next_at, next)) = chars.next() else { break };
        let end = offset + next_at + next.len_utf8();
        match next {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            's' => out.push(' '),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '\\' | '"' => out.push(next),
            'u' => {
                let rest = text.get(next_at + 1..).unwrap_or_default();
                let Some((digits, scalar)) = unicode_escape(rest) else {
                    let hint = "write 1 to 6 hexadecimal digits in braces: \\u{e9}";
                    return Err(StringError::new(
                        offset + at..end,
                        "this character does not exist",
                        hint,
                    ));
                };
                out.push(scalar);
                while chars.next_if(|&(at, _)| at < next_at + 3 + digits).is_some() {}
            }
            c if is_space(c) || is_newline(c) => {
                while chars.next_if(|&(_, c)| is_space(c) || is_newline(c)).is_some() {}
            }
            _ => return Err(StringError::new(offset + at..end, "unknown escape", KNOWN)),
        }
    }
    Ok(out)
}

/// `{e9}` at the start of `text`: how many digits, and the character.
fn unicode_escape(text: &str) -> Option<(usize, char)> {
    let digits = text.strip_prefix('{')?.split('}').next()?;
    let closed = text.get(digits.len() + 1..)?.starts_with('}');
    let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let scalar = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    (closed && plain).then_some((digits.len(), scalar))
}
