//! How values are written.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::effective::quoted;
use crate::values::duration_text;

pub(crate) fn time(time: Duration) -> String {
    quoted(&duration_text(time))
}

pub(crate) fn percent(percent: impl Display) -> String {
    format!("\"{percent}%\"")
}

pub(crate) fn flag(flag: bool) -> String {
    format!("#{flag}")
}

pub(crate) fn on_off(on: bool) -> String {
    if on { "on".into() } else { "off".into() }
}

pub(crate) fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Several with commas; `None`: there are none.
pub(crate) fn joined<T: AsRef<str>>(texts: &[T]) -> Option<String> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    (!texts.is_empty()).then(|| quoted(&texts.join(",")))
}

/// Several in a row; `None`: there are none.
pub(crate) fn list(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}
