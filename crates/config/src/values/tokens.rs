//! Names, tokens of HTTP, values of fields, paths of the file system.

use std::path::PathBuf;

use super::Wrong;
use crate::model::{LogTarget, Regex};

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

pub(super) fn token(text: &str) -> Result<Box<str>, Wrong> {
    match is_token(text) {
        true => Ok(text.into()),
        false => Err(Wrong::new(format!("`{text}` is not an HTTP token"))
            .hinted("use letters, digits, `-`, `_` and `.`")),
    }
}

/// The name of an upstream or a directory.
pub(super) fn name(text: &str) -> Result<Box<str>, Wrong> {
    match is_name(text) {
        true => Ok(text.into()),
        false => Err(Wrong::new(format!("`{text}` is not a name"))
            .hinted("a name starts with a letter and has letters, digits, `-` and `_`")),
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(plain)
}

pub(super) fn text(text: &str) -> Result<Box<str>, Wrong> {
    Ok(text.into())
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    match text {
        "" => Err(Wrong::new("the path is empty")),
        text if text.contains('\0') => Err(Wrong::new("a path cannot contain NUL")),
        text => Ok(text.into()),
    }
}

pub(super) fn log(text: &str) -> Result<LogTarget, Wrong> {
    match text {
        "off" => Ok(LogTarget::Off),
        "stdout" => Ok(LogTarget::Stdout),
        "stderr" => Ok(LogTarget::Stderr),
        text => path(text).map(LogTarget::File),
    }
}

/// A regular expression.
pub(super) fn regex(text: &str) -> Result<Regex, Wrong> {
    Regex::new(text).map_err(|why| {
        let wrong = Wrong::new(format!("`{text}` is not a regular expression: {why}"));
        if why.contains("look-around") || why.contains("backreferences") {
            wrong.hinted("these take time without bound, so they do not exist here")
        } else if why.contains("Unicode") {
            wrong.hinted("it compares bytes; paths have everything beyond ASCII percent-encoded")
        } else {
            wrong.hinted("its syntax is that of the Rust crate `regex`, near that of Perl and RE2")
        }
    })
}

/// RFC 9110, section 5.1.
pub(super) fn field_name(text: &str) -> Result<Box<str>, Wrong> {
    if is_token(text) {
        return Ok(text.into());
    }
    let wrong = Wrong::new(format!("`{text}` is not a field name"));
    Err(match text.trim_end().strip_suffix(':') {
        Some(bare) if is_token(bare) => wrong.hinted(format!("omit the colon: \"{bare}\"")),
        _ => wrong.hinted("use letters, digits and `-`"),
    })
}

/// RFC 9110, section 5.5. Stricter: no spaces around it, as they would not arrive.
pub(super) fn field_value(text: &str) -> Result<Box<str>, Wrong> {
    if let Some(c) = text.chars().find(|&c| c.is_control() && c != '\t') {
        let what = match c {
            '\r' | '\n' => "a line break".to_owned(),
            '\0' => "a NUL".to_owned(),
            c => format!("the control character U+{:04X}", u32::from(c)),
        };
        return Err(Wrong::new(format!("{what} is not allowed in a field value")));
    }
    if text.trim_matches([' ', '\t']) != text {
        return Err(Wrong::new("a field value cannot start or end with a space"));
    }
    Ok(text.into())
}
