//! Detects configurations whose files have become empty. A reload refuses them.
//!
//! A full disk, or an interrupted editor or copy, leaves files that are empty or end between two
//! blocks. Such a file is valid, and would close listeners and sites unintentionally.

use std::path::Path;

use config::{Loaded, Sources};

/// What to do if it is intended.
pub(super) const HINT: &str = "hint: if this is intended, use `bothways reload --allow-empty`\n";

/// Why `loaded` must not replace the configuration that was read from `before`; `None` if it may.
pub(super) fn problem(before: &Sources, loaded: &Loaded) -> Option<String> {
    let now = &loaded.sources;
    if loaded.config.sites.is_empty() && loaded.config.forwards.is_empty() {
        let name = now.name(0);
        let what = if is_blank(now.text(0)) { "is empty" } else { "has no site and no forward" };
        return Some(format!("{name} {what}: every listener would be closed"));
    }
    let names = now.names();
    let text_now = |name: &str| {
        let index = names.iter().position(|now| **now == *name)?;
        Some(now.text(u16::try_from(index).ok()?))
    };
    for (index, name) in before.names().iter().enumerate() {
        let Ok(index) = u16::try_from(index) else { break };
        let had = !is_blank(before.text(index));
        if had && text_now(name).is_some_and(is_blank) {
            return Some(format!("{name} is empty, and was not before"));
        }
    }
    // `include` with `*` is for files that come and go; but if all are gone at once while the line is
    // unchanged, something is wrong.
    if before.text(0) != now.text(0) {
        return None;
    }
    let included = before.names();
    let directories = included.iter().skip(1).map(|name| Path::new(&**name).parent());
    let mut gone = directories.filter(|directory| {
        !names.iter().skip(1).any(|name| Path::new(&**name).parent() == *directory)
    });
    let directory = gone.next()?.unwrap_or(Path::new(""));
    Some(format!("every file that was included from {} is gone", directory.display()))
}

/// Whether the text has only comments.
fn is_blank(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("//"))
}
