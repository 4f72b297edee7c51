//! nginx's variables and regular expressions in our words.

use crate::kdl::literal;
use crate::nginx::Directive;
use crate::report::Verdict;
use crate::words::Word;

use super::Mapper;
use super::lookahead::excluded;
use super::scope::Scope;

/// Where a text with variables goes: what may stand there differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The value of a field.
    Field,
    /// Where a redirect leads.
    Redirect,
    /// The path sent upstream.
    Path,
    /// The text of an answer.
    Text,
}

/// A text in our words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Converted {
    pub(crate) text: String,
    /// What differs; empty: nothing.
    pub(crate) notes: Vec<String>,
    /// Whether it depends on the request.
    pub(crate) varies: bool,
}

/// Why something cannot be written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) verdict: Verdict,
    pub(crate) why: String,
}

impl Missing {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused, why: why.into() }
    }

    pub(crate) fn planned(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Planned, why: why.into() }
    }
}

/// How deep `set` and `map` may refer to each other.
const DEPTH_MAX: usize = 8;

/// A part of a text of nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// The parts of a text: `$name`, `${name}`, `$1`, and what stands between.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut start = rest;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        let after = after.get(1..).unwrap_or_default();
        let found = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').filter(|(name, _)| name.chars().all(is_name)),
            None => {
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                // `$1x` is `$1` and `x`.
                let end = if after.starts_with(|c: char| c.is_ascii_digit()) { 1 } else { end };
                after.split_at_checked(end)
            }
        };
        let Some((name, after)) = found.filter(|(name, _)| !name.is_empty()) else {
            rest = after;
            continue;
        };
        let whole = start.len() - rest.len() + before.len();
        if whole > 0 {
            out.push(Part::Text(start.get(..whole).unwrap_or_default()));
        }
        out.push(Part::Variable(name));
        rest = after;
        start = after;
    }
    if !start.is_empty() {
        out.push(Part::Text(start));
    }
    out
}

impl<'t> Mapper<'t> {
    /// A text with variables in our words.
    pub(crate) fn template(
        &mut self,
        scope: &Scope<'t>,
        text: &str,
        place: Place,
    ) -> Result<Converted, Missing> {
        let mut out = Converted::default();
        self.expand(scope, text, place, 0, &mut out)?;
        Ok(out)
    }

    fn expand(
        &mut self,
        scope: &Scope<'t>,
        text: &str,
        place: Place,
        depth: usize,
        out: &mut Converted,
    ) -> Result<(), Missing> {
        if depth > DEPTH_MAX {
            return Err(Missing::refused("variables that refer to each other in a loop"));
        }
        let parts = parts(text);
        let mut rest = &parts[..];
        while let Some((part, after)) = rest.split_first() {
            rest = after;
            match part {
                Part::Text(text) => out.text.push_str(&literal(text)),
                Part::Variable("is_args") => match after.split_first() {
                    Some((Part::Variable("args" | "query_string"), after)) => {
                        out.text.push_str("?{query}");
                        out.varies = true;
                        rest = after;
                    }
                    _ => return Err(Missing::refused("`$is_args` without `$args`")),
                },
                Part::Variable(name) => self.variable(scope, name, place, depth, out)?,
            }
        }
        Ok(())
    }

    fn variable(
        &mut self,
        scope: &Scope<'t>,
        name: &str,
        place: Place,
        depth: usize,
        out: &mut Converted,
    ) -> Result<(), Missing> {
        if let Some(value) = self.constant(scope, name)? {
            return self.expand(scope, &value, place, depth + 1, out);
        }
        out.varies = true;
        if name.chars().all(|c| c.is_ascii_digit()) {
            out.text.push_str(&format!("{{c{name}}}"));
            return Ok(());
        }
        if let Some(part) = self.builtin(name, place, out)? {
            out.text.push_str(&part);
            return Ok(());
        }
        if let Some(part) = self.map_variable(scope, name)? {
            out.text.push_str(&part);
            return Ok(());
        }
        if self.captures.iter().any(|known| known == name) {
            out.text.push_str(&format!("{{{name}}}"));
            return Ok(());
        }
        if name == "upstream_cache_status" {
            return Err(Missing::refused(
                "the field `Cache-Status` (RFC 9211) says it, and `{cache}` in the log",
            ));
        }
        Err(Missing::refused(format!("the variable `${name}` has no counterpart")))
    }

    /// The value of a variable that one `set` gives and no `if` changes, or of a name of the server.
    fn constant(&mut self, scope: &Scope<'t>, name: &str) -> Result<Option<String>, Missing> {
        match name {
            "server_name" => return Ok(Some(self.server_name.clone())),
            "document_root" => {
                return Ok(scope.find("root").map(|root| root.word(0).to_owned()));
            }
            _ => {}
        }
        let is_it = |one: &&'t Directive| one.word(0).strip_prefix('$') == Some(name);
        let Some(set) = scope.every("set").find(is_it) else { return Ok(None) };
        let conditional = scope
            .every("if")
            .flat_map(|one| one.children())
            .any(|one| one.name == "set" && one.word(0).strip_prefix('$') == Some(name));
        if conditional {
            return Err(Missing::refused(format!(
                "`${name}` depends on an `if`: write a route with a condition"
            )));
        }
        self.ledger.exact(set.id, "(its value stands where it is used)");
        Ok(Some(set.word(1).to_owned()))
    }

    /// A variable that nginx defines.
    fn builtin(
        &mut self,
        name: &str,
        place: Place,
        out: &mut Converted,
    ) -> Result<Option<String>, Missing> {
        let mut note = |text: &str| {
            if !out.notes.iter().any(|known| known == text) {
                out.notes.push(text.to_owned());
            }
        };
        let fixed = match name {
            "remote_addr" | "realip_remote_addr" => "{client}",
            "host" => "{host}",
            "http_host" => {
                note("`{host}` has no port");
                "{host}"
            }
            "scheme" => "{scheme}",
            "request_method" => "{method}",
            "uri" | "document_uri" => {
                note("`{path}` is the path as the client wrote it, not decoded");
                "{path}"
            }
            "args" | "query_string" => "{query}",
            "request_uri" if self.words.has(Word::Uri) => "{uri}",
            "request_uri" if place == Place::Redirect => "{path}?{query}",
            "ssl_protocol" => "{tls-version}",
            "ssl_server_name" => "{tls-name}",
            "ssl_client_s_dn" => "{client-subject}",
            "server_port" => return self.part(Word::Port, "{port}"),
            "remote_port" => return self.part(Word::ClientPort, "{client-port}"),
            "request_id" => {
                note("the identifier is a UUID");
                return self.part(Word::RequestId, "{request-id}");
            }
            "ssl_client_escaped_cert" => return self.part(Word::ClientCert, "{client-cert}"),
            "remote_user" => return self.part(Word::Login, "{user}"),
            "request_uri" => return self.part(Word::Uri, "{uri}"),
            _ => "",
        };
        if !fixed.is_empty() {
            return Ok(Some(fixed.to_owned()));
        }
        for (prefix, word) in [("http_", "field"), ("cookie_", "cookie"), ("arg_", "query")] {
            if let Some(rest) = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                let rest = match word {
                    "field" => field_name(rest),
                    _ => rest.to_owned(),
                };
                return self.part(Word::Parts, &format!("{{{word}:{rest}}}"));
            }
        }
        Ok(None)
    }

    /// A part that may be missing yet.
    fn part(&self, word: Word, text: &str) -> Result<Option<String>, Missing> {
        match self.words.has(word) {
            true => Ok(Some(text.to_owned())),
            false => Err(Missing::planned(format!("`{text}` is planned"))),
        }
    }
}

/// A field as `$http_…` names it: `user_agent` is `User-Agent`.
pub(crate) fn field_name(variable: &str) -> String {
    let words = variable.split('_').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + &rest.to_ascii_lowercase(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join("-")
}

/// A regular expression of nginx (PCRE) for the crate `regex`. Groups without a name become `c1`,
/// `c2` …, if `named` says so.
pub(crate) fn regex(pattern: &str, ignore_case: bool, named: bool) -> Result<String, Missing> {
    let mut out = String::from(if ignore_case { "(?i)" } else { "" });
    let mut letters = pattern.chars().peekable();
    let (mut in_class, mut group) = (false, 0);
    let mut previous = ' ';
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let next = letters.next().unwrap_or('\\');
                if !in_class
                    && (next.is_ascii_digit() && next != '0'
                        || matches!(next, 'K' | 'Q' | 'g' | 'k' | 'G' | 'R'))
                {
                    return Err(unsupported(&format!("\\{next}")));
                }
                // `regex` takes only escapes that mean something.
                if !next.is_ascii_alphabetic() || "bBdDsSwWnrtfvxAzpPu".contains(next) {
                    out.push('\\');
                }
                out.push(next);
                previous = 'x';
                continue;
            }
            '[' if in_class => out.push_str(if letters.peek() == Some(&':') { "[" } else { "\\[" }),
            '[' => {
                in_class = true;
                out.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if letters.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ']' if in_class && previous != ':' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(letter);
            }
            '(' if !in_class => {
                group += 1;
                let rest: String = letters.clone().take(3).collect();
                if rest.starts_with("?!") {
                    let behind: String = letters.clone().skip(2).collect();
                    let found = excluded(&behind).ok_or_else(|| unsupported("(?!…)"))?;
                    let group = group - 1 + i32::try_from(found.groups).unwrap_or(0) + 1;
                    let start = match (found.is_captured, named) {
                        (false, _) => String::new(),
                        (true, true) => format!("(?<c{group}>"),
                        (true, false) => "(".into(),
                    };
                    let end = if found.is_captured { ")" } else { "" };
                    out.push_str(&format!("{start}{}{end}", found.rest));
                    return Ok(out);
                }
                const OTHERS: &[&str] = &["?=", "?>", "?<=", "?<!", "?|"];
                if let Some(other) = OTHERS.iter().find(|other| rest.starts_with(**other)) {
                    return Err(unsupported(&format!("({other}…)")));
                }
                if rest.starts_with('?') {
                    group -= i32::from(
                        !rest.starts_with("?<")
                            && !rest.starts_with("?P")
                            && !rest.starts_with("?'"),
                    );
                    out.push('(');
                } else if named {
                    out.push_str(&format!("(?<c{group}>"));
                } else {
                    out.push('(');
                }
            }
            '+' if !in_class && matches!(previous, '+' | '*' | '?') => {
                return Err(unsupported("possessive quantifiers"));
            }
            other => out.push(other),
        }
        previous = letter;
    }
    Ok(out)
}

fn unsupported(what: &str) -> Missing {
    Missing::refused(format!(
        "regular expressions here take linear time and have no `{what}`: write it without, or as \
         several routes"
    ))
}

/// The names of the groups of a regular expression.
pub(crate) fn group_names(pattern: &str) -> Vec<String> {
    let mut out = Vec::new();
    for start in ["(?<", "(?P<"] {
        for part in pattern.split(start).skip(1) {
            if let Some((name, _)) = part.split_once('>')
                && !name.starts_with(['=', '!'])
            {
                out.push(name.to_owned());
            }
        }
    }
    out
}

/// A text as a regular expression that matches just it.
pub(crate) fn escape_regex(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if "\\.+*?()|[]{}^$".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_texts() {
        use Part::{Text, Variable};
        assert_eq!(
            parts("https://$host$request_uri"),
            [Text("https://"), Variable("host"), Variable("request_uri")]
        );
        assert_eq!(
            parts("a${b}c$1d"),
            [Text("a"), Variable("b"), Text("c"), Variable("1"), Text("d")]
        );
        assert_eq!(parts("100$"), [Text("100$")]);
        assert_eq!(parts("a$-b"), [Text("a$-b")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn regular_expressions() {
        #[track_caller]
        fn check(pattern: &str, expected: &str) {
            assert_eq!(regex(pattern, false, true).unwrap(), expected);
        }
        check(r"\.php$", r"\.php$");
        check(r"^/a/(.*)$", r"^/a/(?<c1>.*)$");
        check(r"^/(?:a|b)(/.*)?$", r"^/(?:a|b)(?<c1>/.*)?$");
        check(r"^\/a(?<x>.)(.)", r"^\/a(?<x>.)(?<c2>.)");
        check(r"[^/.]+", r"[^/.]+");
        check(r"[[:alpha:]]+", r"[[:alpha:]]+");
        assert_eq!(regex("a", true, false).unwrap(), "(?i)a");
        for pattern in ["^/(?!a)x", "(?<=b)a", r"(a)\1", "a++", "(?>a)"] {
            assert!(regex(pattern, false, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn names_of_fields() {
        assert_eq!(field_name("x_forwarded_for"), "X-Forwarded-For");
        assert_eq!(field_name("user_agent"), "User-Agent");
    }
}
