//! Configurations that a reload does not take as they are: those of which files have been emptied.
//!
//! A disk that is full, an editor or a copy that broke off leave files that are empty or end between
//! two blocks. Such a file is right by the rules of the language, and would close listeners and sites
//! that nobody meant to close.

use std::path::Path;

use config::{Loaded, Sources};

/// What to do about it.
pub(super) const HINT: &str = "hint: if that is meant, `bothways reload --allow-empty` takes it\n";

/// Why `loaded` is not to follow the configuration that was read from `before`.
pub(super) fn why(before: &Sources, loaded: &Loaded) -> Option<String> {
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
    // Files that come and go are what `include` with `*` is for; but not all at once, while nobody
    // has changed the line.
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

/// Whether nothing but comments stands there.
fn is_blank(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("//"))
}
