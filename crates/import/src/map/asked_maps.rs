//! An `if` about the variable of a `map`: the keys of the map become conditions, or routes.

use crate::kdl::Node;
use crate::nginx::Directive;

use super::Mapper;
use super::answers::Asked;
use super::routes::{PRIORITY_SERVER_LAST, Pattern, Route, path_text};
use super::scope::Scope;
use super::variables::{Missing, Part, Place, escape_regex, field_name, parts, regex};

impl<'t> Mapper<'t> {
    fn map_of(&self, name: &str) -> Option<&'t Directive> {
        self.maps.iter().copied().find(|map| map.word(1).strip_prefix('$') == Some(name))
    }

    /// A condition about a variable of a `map`, such as a list of robots: the keys with such a value become
    /// one regular expression. If the default is such a value, it is the other keys, with `unless`.
    pub(super) fn asked_of_map(
        &mut self,
        name: &str,
        operator: &str,
        value: &str,
    ) -> Result<Asked, Missing> {
        let no = || {
            Missing::refused(format!(
                "`${name}` cannot be asked: fields, cookies, parameters of the query, methods and addresses can"
            ))
        };
        let is_yes = |found: &str| match operator {
            "set" => Some(!found.is_empty() && found != "0"),
            "=" => Some(found == value),
            "!=" => Some(found != value),
            _ => None,
        };
        let map = self.map_of(name).ok_or_else(no)?;
        let (property, part) = compared(map.word(0)).ok_or_else(no)?;
        let default = map.children().iter().find(|entry| entry.name == "default");
        let by_default = is_yes(default.map_or("", |entry| entry.word(0))).ok_or_else(no)?;
        let (mut keys, mut has_others) = (Vec::new(), false);
        for entry in map.children() {
            let found = entry.word(0);
            if matches!(entry.name.as_str(), "default" | "volatile") {
                continue;
            }
            if entry.name == "hostnames" || found.contains('$') {
                return Err(no());
            }
            let (pattern, is_exact) = key_regex(&entry.name)?;
            if is_yes(found) == Some(by_default) {
                has_others = true;
                continue;
            }
            // A key before it may have another value: too much for one expression.
            if !is_exact && has_others {
                return Err(no());
            }
            keys.push(pattern);
        }
        // An empty value is one that is not there, for which no field is compared.
        if keys.is_empty() || keys.iter().any(|key| takes_nothing(key)) {
            return Err(no());
        }
        self.judge_whole(map, "when … matches=");
        let node = Node::new(if by_default { "unless" } else { "when" })
            .property(property, &part)
            .property("matches", &keys.join("|"));
        Ok(Asked { conditions: vec![node], ..Asked::default() })
    }

    /// `if ($new) { return 301 $new; }`, where a `map` has the new path for each old one: a route for each.
    pub(super) fn redirects_of_map(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
        rank: &mut i32,
    ) -> Option<Vec<Route>> {
        let words: Vec<&str> = line
            .texts()
            .map(|word| word.trim_matches(['(', ')']))
            .filter(|w| !w.is_empty())
            .collect();
        let name = match words.as_slice() {
            [name] | [name, "!="] => name.strip_prefix('$')?,
            _ => return None,
        };
        let map = self.map_of(name)?;
        if !matches!(map.word(0), "$uri" | "$document_uri" | "$request_uri") {
            return None;
        }
        let [answer] = line.children() else { return None };
        let (status, target, query) = match (answer.name.as_str(), answer.word(0)) {
            ("return", "301" | "302" | "303" | "307" | "308") => {
                (answer.word(0).to_owned(), answer.word(1), "")
            }
            ("rewrite", "^" | "^/" | ".*" | "^.*$" | "(.*)" | "^(.*)$") => match answer.word(2) {
                "permanent" => ("301".to_owned(), answer.word(1), "?{query}"),
                "redirect" => ("302".to_owned(), answer.word(1), "?{query}"),
                _ => return None,
            },
            _ => return None,
        };
        let is_it = |part: &Part<'_>| matches!(part, Part::Variable(found) if *found == name);
        let parts: Vec<Part<'_>> = parts(target);
        if parts.iter().filter(|part| is_it(part)).count() != 1 || !is_it(parts.last()?) {
            return None;
        }
        let before = target.get(..target.rfind('$')?)?;
        let routes = self.redirects_of(scope, map, before, (&status, query), rank)?;
        self.judge_whole(map, "route … { redirect … }");
        let mut note = "each key is a route; keys are compared with their case".to_owned();
        if map.word(0) == "$request_uri" {
            note.push_str(", and whatever the query is");
        }
        self.ledger.near(map.id, "route … { redirect … }", &note);
        self.judge_whole(line, "route … { redirect … }");
        Some(routes)
    }

    fn redirects_of(
        &mut self,
        scope: &Scope<'t>,
        map: &'t Directive,
        before: &str,
        (status, query): (&str, &str),
        rank: &mut i32,
    ) -> Option<Vec<Route>> {
        let mut routes = Vec::new();
        for entry in map.children() {
            let (key, value) = (entry.name.as_str(), entry.word(0));
            if matches!(key, "volatile") || value.is_empty() || value == "0" {
                // A key that says no would have to stand before those that say yes.
                if key.starts_with('~') {
                    return None;
                }
                continue;
            }
            if matches!(key, "default" | "hostnames") || key.contains('?') && !key.starts_with('~')
            {
                return None;
            }
            let pattern = match key.strip_prefix('~') {
                Some(pattern) => {
                    let (pattern, fold) = folded(pattern);
                    self.captures.extend(super::variables::group_names(pattern));
                    // Above those of locations.
                    *rank = Some(*rank - 1).filter(|rank| *rank > PRIORITY_SERVER_LAST)?;
                    Pattern::Regex { pattern: regex(pattern, fold, true).ok()?, priority: *rank }
                }
                None if key.starts_with('/') && !key.contains(['*', '{', '}']) => {
                    Pattern::Path(path_text(key))
                }
                None => return None,
            };
            let target = self.template(scope, &format!("{before}{value}"), Place::Redirect).ok()?;
            let node = Node::new("redirect")
                .text(&format!("{}{query}", target.text))
                .bare_property("status", status);
            let mut route = Route::new(pattern, vec![node]);
            route.above = entry.above.clone();
            route.beside = entry.beside.clone();
            routes.push(route);
        }
        Some(routes)
    }
}

/// What a map compares, as a property of `when`.
fn compared(source: &str) -> Option<(&'static str, String)> {
    let name = source.strip_prefix('$')?;
    let rest = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    if let Some(field) = rest("http_").filter(|field| *field != "host") {
        Some(("field", field_name(field)))
    } else if let Some(cookie) = rest("cookie_") {
        Some(("cookie", cookie.to_owned()))
    } else {
        rest("arg_").map(|query| ("query", query.to_owned()))
    }
}

fn folded(pattern: &str) -> (&str, bool) {
    match pattern.strip_prefix('*') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    }
}

/// A key as a regular expression, and whether it is a whole text.
fn key_regex(key: &str) -> Result<(String, bool), Missing> {
    match key.strip_prefix('~') {
        Some(pattern) => {
            let (pattern, fold) = folded(pattern);
            let pattern = regex(pattern, false, false)?;
            Ok((if fold { format!("(?i:{pattern})") } else { format!("(?:{pattern})") }, false))
        }
        None => {
            let key = key.strip_prefix('\\').unwrap_or(key);
            Ok((format!("(?i:^{}$)", escape_regex(key)), true))
        }
    }
}

/// True if the key also has the empty text.
fn takes_nothing(key: &str) -> bool {
    regex::bytes::RegexBuilder::new(key).unicode(false).build().is_ok_and(|key| key.is_match(b""))
}
