//! Patterns of routes, and paths that are sent or that clients are sent to.

use super::Wrong;
use super::template::is_reserved;
use crate::model::{Pattern, PatternEnd, Segment};

/// Segments of a pattern at most; longer paths are matched by `/*`.
const SEGMENTS_MAX: usize = 64;

/// Which paths a route takes.
pub(super) fn pattern(text: &str) -> Result<Pattern, Wrong> {
    let wrong = |why: String| Wrong::new(format!("`{text}` is not a path of a route: {why}"));
    if let Some(suffix) = text.strip_prefix('*').filter(|suffix| !suffix.is_empty()) {
        let end = suffix_end(suffix).map_err(wrong)?;
        return Ok(Pattern { written: text.into(), segments: Vec::new(), end });
    }
    let Some(inside) = text.strip_prefix('/') else {
        let hint = match text {
            "*" => "write \"/*\"".into(),
            text if text.starts_with(['^', '~']) || text.ends_with('$') => {
                let regex = text.trim_start_matches(['~', '*', ' ']);
                format!("a regular expression is written behind ~: route ~ \"{regex}\"")
            }
            text => format!("write \"/{text}\""),
        };
        return Err(wrong("it must start with `/`".into()).hinted(hint));
    };
    if text.contains(['?', '#']) {
        let hint = "write `when query=\"name\"` in the route; the query is sent upstream unchanged";
        return Err(wrong("it must not have a query".into()).hinted(hint));
    }
    let (base, last) = text.rsplit_once('/').unwrap_or_default();
    let (inside, end) = match (last.strip_prefix('*'), last.strip_suffix('*')) {
        (Some(""), _) => (base.strip_prefix('/'), PatternEnd::Prefix),
        (Some(suffix), _) => (base.strip_prefix('/'), suffix_end(suffix).map_err(wrong)?),
        (None, Some(start)) if !start.contains(['*', '{', '}']) => {
            let start = canonical(start).map_err(wrong)?;
            (base.strip_prefix('/'), PatternEnd::Start(start))
        }
        _ => (Some(inside).filter(|inside| !inside.is_empty()), PatternEnd::Exact),
    };
    let mut segments = Vec::new();
    for part in inside.into_iter().flat_map(|inside| inside.split('/')) {
        segments.push(segment(part, &segments).map_err(|(why, hint)| match hint {
            Some(hint) => wrong(why).hinted(hint),
            None => wrong(why),
        })?);
    }
    if segments.len() > SEGMENTS_MAX {
        return Err(wrong(format!("it has more than {SEGMENTS_MAX} segments")));
    }
    Ok(Pattern { written: text.into(), segments, end })
}

/// The end of a pattern behind a `*`.
fn suffix_end(suffix: &str) -> Result<PatternEnd, String> {
    if suffix.contains(['*', '{', '}', '/']) {
        return Err("what follows a `*` is text, such as `.php`".into());
    }
    canonical(suffix).map(PatternEnd::Suffix)
}

/// Checks the name of a capture.
pub(super) fn capture_name(name: &str) -> Result<(), (String, Option<String>)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        let why = "a capture name has letters, digits, `-` and `_`".to_owned();
        return Err((why, Some("such as {id}".into())));
    }
    if is_reserved(name) {
        let hint = format!("`{{{name}}}` is predefined; choose another name");
        return Err((format!("a capture cannot have the name `{name}`"), Some(hint)));
    }
    Ok(())
}

fn segment(part: &str, before: &[Segment]) -> Result<Segment, (String, Option<String>)> {
    let fail = |why: &str, hint: String| Err((why.to_owned(), Some(hint)));
    if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        capture_name(name)?;
        if before.iter().any(|s| matches!(s, Segment::Capture(other) if **other == *name)) {
            return Err((format!("it captures `{name}` twice"), None));
        }
        return Ok(Segment::Capture(name.into()));
    }
    if part.contains(['{', '}']) {
        let hint = "\"/users/{id}\"; literal braces are %7B and %7D".into();
        return fail("a capture is a whole segment", hint);
    }
    if part.contains('*') {
        let hint = "`/*` at the end matches everything below, `/a*` what begins so, `/*.php` what ends so, `{name}` one segment";
        return fail("`*` is only allowed in the last segment, at one end", hint.into());
    }
    let literal = canonical(part).map_err(|why| (why, None))?;
    if matches!(&*literal, "." | "..") {
        return Err((
            format!("`{part}` never matches, because paths of clients are normalized first"),
            None,
        ));
    }
    Ok(Segment::Literal(literal))
}

/// A segment as it is in a canonical path: see RFC 3986, section 6.2.2, and `message::Target`.
fn canonical(part: &str) -> Result<Box<str>, String> {
    let mut out = String::with_capacity(part.len());
    let bytes = part.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digits =
                    part.get(at..at + 2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let Some(decoded) = decoded else {
                    return Err("`%` is followed by two hexadecimal digits".into());
                };
                at += 2;
                if decoded.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&decoded) {
                    out.push(decoded.into());
                } else {
                    push_encoded(&mut out, decoded);
                }
            }
            byte if byte.is_ascii_control() => {
                return Err("control characters never occur in a path".into());
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte) => {
                out.push(byte.into());
            }
            byte => push_encoded(&mut out, byte),
        }
    }
    Ok(out.into())
}

fn push_encoded(out: &mut String, byte: u8) {
    let digit =
        |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase();
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

/// A path below which others are.
pub(super) fn prefix(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a path: {why}"));
    if !text.starts_with('/') {
        return Err(wrong("it must start with `/`").hinted(format!("write \"/{text}\"")));
    }
    let bare = text.strip_suffix("/*").unwrap_or(text).trim_end_matches('/');
    if bare.is_empty() {
        return Err(wrong("a segment is empty"));
    }
    if bare != text {
        return Err(wrong("it must not end with `/`").hinted(format!("write \"{bare}\"")));
    }
    if text.contains(['?', '#', '*', '{', '}']) {
        return Err(wrong("it must not contain `?`, `#`, `*` or braces"));
    }
    let mut out = String::new();
    for part in text.split('/').skip(1) {
        let part = canonical(part).map_err(|why| wrong(&why))?;
        if matches!(&*part, "." | "..") {
            return Err(wrong("it must not contain `.` or `..` segments"));
        }
        out.push('/');
        out.push_str(&part);
    }
    Ok(out.into())
}

/// A path that may have `{name}` parts.
pub(super) fn path_template(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a path to send: {why}"));
    // What a part at the start writes gets its `/` where it lacks one.
    if !text.starts_with(['/', '{']) {
        return Err(wrong("it must start with `/`"));
    }
    if text.contains(['?', '#']) {
        return Err(
            wrong("it must not have a query").hinted("the client's query is kept unchanged")
        );
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(wrong("it must not contain `.` or `..` segments"));
    }
    plain(text).map_err(|why| wrong(&why))
}

/// A path or URL that may have `{name}` parts.
pub(super) fn url_template(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a redirect target: {why}"));
    let absolute = ["http://", "https://", "{scheme}://"];
    let known = absolute.iter().find_map(|start| text.strip_prefix(start));
    match known {
        None if !text.starts_with(['/', '{']) => {
            let hint = format!("write \"/{text}\" or \"https://{text}\"");
            return Err(wrong("it must start with `/`, `http://` or `https://`").hinted(hint));
        }
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            return Err(wrong("a host is missing"));
        }
        _ => {}
    }
    plain(text).map_err(|why| wrong(&why))
}

fn plain(text: &str) -> Result<Box<str>, String> {
    match text.chars().find(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
        Some(c) => Err(format!("`{}` must be percent-encoded there", c.escape_default())),
        None => Ok(text.into()),
    }
}
