//! `location`: which one nginx takes, and the same choice by our routes.

use crate::nginx::Directive;

use super::scope::Scope;
use super::variables::regex;

/// A `location`, taken out of the tree that it stands in.
#[derive(Debug, Clone)]
pub(crate) struct Location<'t> {
    pub(crate) directive: &'t Directive,
    /// What holds in it.
    pub(crate) scope: Scope<'t>,
    pub(crate) kind: Kind,
    /// The prefixes of the locations around it, from the outside.
    pub(crate) within: Vec<String>,
    /// Whether it stands within one that is chosen by a regular expression.
    pub(crate) in_regex: bool,
}

/// How a location is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `= /path`
    Exact(String),
    /// `/path` or `^~ /path`
    Prefix { path: String, no_regex: bool },
    /// `~ regex` or `~* regex`
    Regex { pattern: String, ignore_case: bool },
    /// `@name`
    Named(String),
}

/// Reads the words of a `location`.
pub(crate) fn kind(directive: &Directive) -> Kind {
    let (first, second) = (directive.word(0), directive.word(1));
    if directive.words.len() >= 2 {
        return match first {
            "=" => Kind::Exact(second.into()),
            "^~" => Kind::Prefix { path: second.into(), no_regex: true },
            "~" => Kind::Regex { pattern: second.into(), ignore_case: false },
            "~*" => Kind::Regex { pattern: second.into(), ignore_case: true },
            _ => Kind::Prefix { path: first.into(), no_regex: false },
        };
    }
    if let Some(path) = first.strip_prefix('=') {
        Kind::Exact(path.into())
    } else if let Some(path) = first.strip_prefix("^~") {
        Kind::Prefix { path: path.into(), no_regex: true }
    } else if let Some(pattern) = first.strip_prefix("~*") {
        Kind::Regex { pattern: pattern.into(), ignore_case: true }
    } else if let Some(pattern) = first.strip_prefix('~') {
        Kind::Regex { pattern: pattern.into(), ignore_case: false }
    } else if first.starts_with('@') {
        Kind::Named(first.into())
    } else {
        Kind::Prefix { path: first.into(), no_regex: false }
    }
}

/// Every location of a server, those of a block before those within.
pub(crate) fn flatten<'t>(server: &Scope<'t>) -> Vec<Location<'t>> {
    let mut out = Vec::new();
    collect(server, &[], false, &mut out);
    out
}

fn collect<'t>(scope: &Scope<'t>, within: &[String], in_regex: bool, out: &mut Vec<Location<'t>>) {
    for directive in scope.own().iter().filter(|one| one.name == "location") {
        let kind = kind(directive);
        let inner = scope.within(directive.children());
        let mut deeper = within.to_vec();
        let is_regex = matches!(kind, Kind::Regex { .. });
        if let Kind::Prefix { path, .. } = &kind {
            deeper.push(path.clone());
        }
        out.push(Location {
            directive,
            scope: inner.clone(),
            kind,
            within: within.to_vec(),
            in_regex,
        });
        collect(&inner, &deeper, in_regex || is_regex, out);
    }
}

/// The location that nginx takes for a path: an exact one, else the longest prefix, unless a regular
/// expression of its block, or of the blocks around it, matches first.
pub(crate) fn choose(locations: &[Location<'_>], path: &str) -> Option<usize> {
    choose_in(locations, &[], path)
}

fn choose_in(locations: &[Location<'_>], within: &[String], path: &str) -> Option<usize> {
    let here =
        || locations.iter().enumerate().filter(|(_, one)| one.within == within && !one.in_regex);
    let exact = here().find(|(_, one)| matches!(&one.kind, Kind::Exact(exact) if exact == path));
    if let Some((index, _)) = exact {
        return Some(index);
    }
    let longest = here()
        .filter_map(|(index, one)| match &one.kind {
            Kind::Prefix { path: prefix, no_regex } if path.starts_with(prefix.as_str()) => {
                Some((index, prefix, *no_regex))
            }
            _ => None,
        })
        .max_by_key(|(_, prefix, _)| prefix.len());
    let mut skip_regex = false;
    let mut found = None;
    if let Some((index, prefix, no_regex)) = longest {
        (found, skip_regex) = (Some(index), no_regex);
        let mut deeper = within.to_vec();
        deeper.push(prefix.clone());
        if let Some(inner) = choose_in(locations, &deeper, path) {
            let is_final =
                !matches!(locations.get(inner).map(|one| &one.kind), Some(Kind::Prefix { .. }));
            found = Some(inner);
            if is_final {
                return found;
            }
        }
    }
    if !skip_regex {
        let matching = here().find(|(_, one)| match &one.kind {
            Kind::Regex { pattern, ignore_case } => is_match(pattern, *ignore_case, path),
            _ => false,
        });
        if let Some((index, _)) = matching {
            return Some(index);
        }
    }
    found
}

/// Whether a regular expression of nginx matches a text; `None` if it cannot be read here.
pub(crate) fn matches(pattern: &str, ignore_case: bool, text: &str) -> Option<bool> {
    let pattern = regex(pattern, ignore_case, false).ok()?;
    // As the routes do: bytes, and ASCII alone has two cases.
    let pattern = regex::bytes::RegexBuilder::new(&pattern).unicode(false).build().ok()?;
    Some(pattern.is_match(text.as_bytes()))
}

/// The same, where one that cannot be read matches nothing.
pub(crate) fn is_match(pattern: &str, ignore_case: bool, text: &str) -> bool {
    matches(pattern, ignore_case, text).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        assert_eq!(matches("^/a/", true, "/A/x"), Some(true));
        assert_eq!(matches("^/a/", false, "/A/x"), Some(false));
        assert_eq!(matches(r"\d\w\.php$", false, "/1a.php"), Some(true));
        assert_eq!(matches("(?!a)b", false, "a"), None);
    }
}
