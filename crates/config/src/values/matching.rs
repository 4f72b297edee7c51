//! What requests are compared with: values, fields; and paths of files that are tried.

use super::{Wrong, addresses, tokens};

/// Values with commas.
pub(super) fn values(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    match addresses::parts(text) {
        Ok(parts) => Ok(parts.map(Into::into).collect()),
        Err(wrong) => Err(wrong.hinted(
            "separate several with commas: \"a,b\"; a missing or empty value is asked for by \
             `unless` without `is`",
        )),
    }
}

/// Fields, one a line.
pub(super) fn field_lines(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    let line = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| {
            Wrong::new(format!("`{line}` is not a field")).hinted("write \"Name: value\"")
        })?;
        let (name, value) = (tokens::field_name(name)?, tokens::field_value(value.trim())?);
        Ok(format!("{name}: {value}").into())
    };
    text.lines().map(line).collect()
}

/// A path below a directory, which may have `{name}` parts.
pub(super) fn try_path(text: &str) -> Result<Box<str>, Wrong> {
    let wrong =
        |why: &str| Wrong::new(format!("`{text}` is not a path below the directory: {why}"));
    if text.starts_with('@') {
        return Err(wrong("named locations do not exist here")
            .hinted("write `to app` inside `files`: requests without a file go there"));
    }
    if let Some(status) = text.strip_prefix('=') {
        return Err(wrong("it is a status").hinted(format!("write status={status}")));
    }
    if text.starts_with('$') {
        return Err(wrong("it must start with `/` or a part").hinted("write \"{path}\""));
    }
    if !text.starts_with(['/', '{']) {
        return Err(wrong("it must start with `/` or a part").hinted(format!("write \"/{text}\"")));
    }
    if text.contains(['?', '#']) {
        return Err(wrong("a file has no query"));
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(wrong("it must not contain `.` or `..` segments"));
    }
    tokens::text(text)
}

/// Whether a text is a port alone.
pub(super) fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}
