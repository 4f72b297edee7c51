//! `return`, `rewrite` and `if`.

use crate::kdl::Node;
use crate::nginx::Directive;
use crate::words::Word;

use super::Mapper;
use super::scope::Scope;
use super::site::Context;
use super::variables::{Missing, Place, field_name, group_names, regex};

/// What an `if` asks.
pub(crate) enum Condition {
    /// It always holds in this site.
    True,
    /// It never does.
    False,
    /// It depends on the request.
    Request(Asked),
    /// Whether there is a file.
    File {
        /// `true`: the condition is that there is none.
        missing: bool,
        /// The path, as written.
        path: String,
    },
    /// It cannot be asked here.
    Unknown(Missing),
}

/// Conditions of a route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Methods, with commas.
    pub(crate) method: Option<String>,
    /// `when` and `unless`.
    pub(crate) conditions: Vec<Node>,
    /// A regular expression for the path.
    pub(crate) path: Option<String>,
    pub(crate) note: &'static str,
}

/// What a `rewrite` does.
pub(crate) enum Rewritten {
    /// A redirect, for paths that match.
    Redirect { pattern: String, node: Node },
    /// Another path, and whether locations are chosen again.
    Path { pattern: String, simple: Option<String>, template: String, again: bool },
}

impl<'t> Mapper<'t> {
    /// A `return`.
    pub(crate) fn returned(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
    ) -> Result<Node, Missing> {
        let (first, second) = (line.word(0), line.word(1));
        let (status, text) = match first.parse::<u16>() {
            Ok(status) => (status, second),
            Err(_) => (302, first),
        };
        if matches!(status, 301 | 302 | 303 | 307 | 308) && !text.is_empty() {
            let target = self.template(scope, text, Place::Redirect)?;
            let target = without_empty_query(target);
            let node = Node::new("redirect").text(&target.text).bare_property("status", status);
            match target.notes.is_empty() {
                true => self.ledger.exact(line.id, &node.line()),
                false => self.ledger.near(line.id, &node.line(), &target.notes.join("; ")),
            }
            return Ok(node.from(line.id));
        }
        let mut node = Node::new("respond");
        let mut notes = Vec::new();
        if !text.is_empty() {
            let written = self.template(scope, text, Place::Text)?;
            if written.varies && !self.words.has(Word::RespondParts) {
                return Err(Missing::planned("texts with parts"));
            }
            notes.extend(written.notes);
            // Braces of these languages stay as they are.
            let kind = self.content_type(scope).unwrap_or_default();
            let has_braces = ["json", "css", "javascript"].iter().any(|one| kind.contains(one));
            let written = match self.words.has(Word::RespondParts) && !has_braces {
                true => written.text,
                false => written.text.replace("{{", "{").replace("}}", "}"),
            };
            node = node.text(&written);
        }
        let status = match status {
            444 => {
                notes.push("the connection is not closed without an answer: 403".into());
                403
            }
            other => other,
        };
        if status != 200 || text.is_empty() {
            node = node.bare_property("status", status);
        }
        if !text.is_empty()
            && let Some(kind) = self.content_type(scope)
        {
            node = node.property("type", &kind);
        }
        match notes.is_empty() {
            true => self.ledger.exact(line.id, &node.line()),
            false => self.ledger.near(line.id, &node.line(), &notes.join("; ")),
        }
        Ok(node.from(line.id))
    }

    /// The type of texts, if it is not ours.
    fn content_type(&mut self, scope: &Scope<'t>) -> Option<String> {
        let line = scope.find("default_type")?;
        self.ledger.exact(line.id, "respond type=");
        let kind = line.word(0);
        (!kind.is_empty() && kind != "text/plain" && !kind.contains('$')).then(|| kind.to_owned())
    }

    /// A `rewrite`.
    pub(crate) fn rewritten(
        &mut self,
        scope: &Scope<'t>,
        line: &'t Directive,
    ) -> Result<Rewritten, Missing> {
        let (theirs, replacement, flag) = (line.word(0), line.word(1), line.word(2));
        let pattern = regex(theirs, false, true)?;
        self.captures.extend(group_names(theirs));
        let absolute =
            ["http://", "https://", "$scheme"].iter().any(|start| replacement.starts_with(start));
        let (text, keeps_query) = match replacement.strip_suffix('?') {
            Some(text) => (text, false),
            None => (replacement, true),
        };
        if absolute || matches!(flag, "redirect" | "permanent") {
            let status = if flag == "permanent" { 301 } else { 302 };
            let mut target = self.template(scope, text, Place::Redirect)?;
            if keeps_query {
                let glue = if target.text.contains('?') { '&' } else { '?' };
                if !target.text.ends_with("{query}") && !target.text.ends_with("{uri}") {
                    target.text.push(glue);
                    target.text.push_str("{query}");
                }
            }
            let node = Node::new("redirect")
                .text(&target.text)
                .bare_property("status", status)
                .from(line.id);
            self.ledger.exact(line.id, &node.line());
            return Ok(Rewritten::Redirect { pattern, node });
        }
        let path = text.split('?').next().unwrap_or_default();
        if path != text || !keeps_query {
            self.ledger.near(line.id, "rewrite", "the query of the client is kept as it is");
        }
        let template = self.template(scope, path, Place::Path)?;
        Ok(Rewritten::Path {
            pattern,
            simple: stripped(theirs, path),
            template: template.text,
            again: flag != "break",
        })
    }

    /// What an `if` asks, in a site of this scheme and host.
    pub(crate) fn condition(&mut self, context: &Context, line: &Directive) -> Condition {
        let mut words: Vec<String> = line.texts().map(str::to_owned).collect();
        if let Some(first) = words.first_mut() {
            *first = first.strip_prefix('(').unwrap_or(first).to_owned();
        }
        if let Some(last) = words.last_mut() {
            *last = last.strip_suffix(')').unwrap_or(last).to_owned();
        }
        words.retain(|word| !word.is_empty());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [test @ ("-f" | "-d" | "-e" | "!-f" | "!-d" | "!-e"), path] => {
                Condition::File { missing: test.starts_with('!'), path: (*path).to_owned() }
            }
            [variable] => self.compare(context, variable, "set", ""),
            [variable, operator] => self.compare(context, variable, operator, ""),
            [variable, operator, value] => self.compare(context, variable, operator, value),
            _ => Condition::Unknown(Missing::refused("this condition cannot be read")),
        }
    }

    fn compare(
        &mut self,
        context: &Context,
        variable: &str,
        operator: &str,
        value: &str,
    ) -> Condition {
        let name = variable.trim_start_matches('$').trim_matches(['{', '}']);
        let of_site = match name {
            "scheme" => Some(context.scheme.to_owned()),
            "https" => Some(if context.scheme == "https" { "on".into() } else { String::new() }),
            "server_port" => context.port.map(|port| port.to_string()),
            "host" | "http_host" => context.host.clone(),
            "server_name" => Some(self.server_name.clone()),
            _ => None,
        };
        if let Some(known) = of_site {
            return match holds(&known, operator, value) {
                Some(true) => Condition::True,
                Some(false) => Condition::False,
                None => Condition::Unknown(Missing::refused("this comparison cannot be made here")),
            };
        }
        let is_name = self.names.iter().any(|one| one == value);
        if matches!(name, "host" | "http_host")
            && (!context.is_default && matches!(operator, "=" | "~" | "~*")
                || operator == "=" && is_name)
        {
            // A host of its own has a site of its own.
            return Condition::False;
        }
        match self.asked(name, operator, value) {
            Ok(asked) => Condition::Request(asked),
            Err(missing) => Condition::Unknown(missing),
        }
    }

    fn asked(&mut self, name: &str, operator: &str, value: &str) -> Result<Asked, Missing> {
        let mut asked = Asked::default();
        if matches!(name, "uri" | "document_uri" | "request_uri" | "request_filename")
            && matches!(operator, "~" | "~*")
        {
            asked.path = Some(regex(value, operator == "~*", true)?);
            self.captures.extend(group_names(value));
            return Ok(asked);
        }
        if matches!(name, "uri" | "document_uri" | "request_uri") && operator == "=" {
            asked.path = Some(format!("^{}$", super::variables::escape_regex(value)));
            return Ok(asked);
        }
        let negated = operator.starts_with('!');
        if name == "request_method" {
            let methods = methods(operator, value)?;
            match negated {
                true => asked.conditions.push(Node::new("unless").property("method", &methods)),
                false => asked.method = Some(methods),
            }
            return Ok(asked);
        }
        if !self.words.has(Word::Conditions) {
            return Err(Missing::planned("conditions of routes (`when`, `unless`)"));
        }
        if name == "remote_addr" && matches!(operator, "=" | "!=") {
            let word = if negated { "unless" } else { "when" };
            asked.conditions.push(Node::new(word).property("from", value));
            return Ok(asked);
        }
        let (property, part) = if let Some(field) = name.strip_prefix("http_") {
            ("field", field_name(field))
        } else if let Some(cookie) = name.strip_prefix("cookie_") {
            ("cookie", cookie.to_owned())
        } else if let Some(query) = name.strip_prefix("arg_") {
            ("query", query.to_owned())
        } else if name == "content_type" {
            ("field", "Content-Type".to_owned())
        } else if name == "host" {
            ("field", "Host".to_owned())
        } else {
            return self.asked_of_map(name, operator, value);
        };
        let word = match (operator, value.is_empty()) {
            ("=", true) => "unless",
            ("!=", true) => "when",
            _ if negated => "unless",
            _ => "when",
        };
        let mut node = Node::new(word).property(property, &part);
        match operator {
            "set" => {}
            "=" | "!=" if value.is_empty() => {}
            "=" | "!=" if !value.contains(',') => node = node.property("is", value),
            "=" | "!=" => {
                let exact = format!("^{}$", super::variables::escape_regex(value));
                node = node.property("matches", &exact);
            }
            "~" | "~*" | "!~" | "!~*" => {
                let pattern = regex(value, operator.ends_with('*'), false)?;
                node = node.property("matches", &pattern);
            }
            _ => return Err(Missing::refused("this comparison cannot be made here")),
        }
        asked.conditions.push(node);
        Ok(asked)
    }
}

/// A `?` before an empty query needs no care, but `?{query}` twice does.
fn without_empty_query(mut target: super::variables::Converted) -> super::variables::Converted {
    target.text = target.text.replace("?{query}?{query}", "?{query}");
    target
}

/// Whether a known value compares so.
fn holds(known: &str, operator: &str, value: &str) -> Option<bool> {
    let matched = |fold: bool| super::location::matches(value, fold, known);
    match operator {
        "set" => Some(!known.is_empty() && known != "0"),
        "=" => Some(known == value),
        "!=" => Some(known != value),
        "~" => matched(false),
        "~*" => matched(true),
        "!~" => matched(false).map(|matches| !matches),
        "!~*" => matched(true).map(|matches| !matches),
        _ => None,
    }
}

/// The methods of `POST`, `^(GET|HEAD)$`, with commas.
fn methods(operator: &str, value: &str) -> Result<String, Missing> {
    let no = || Missing::refused("name the methods: `method=\"GET,POST\"`");
    let text = match operator {
        "=" | "!=" => value,
        "~" | "~*" | "!~" | "!~*" => {
            let inner = value.strip_prefix('^').unwrap_or(value);
            let inner = inner.strip_suffix('$').unwrap_or(inner);
            inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner)
        }
        _ => return Err(no()),
    };
    let methods: Vec<_> = text.trim_start_matches("?:").split('|').map(str::trim).collect();
    match methods.iter().all(|one| !one.is_empty() && one.bytes().all(|b| b.is_ascii_alphabetic()))
    {
        true => Ok(methods.join(",").to_ascii_uppercase()),
        false => Err(no()),
    }
}

/// `^/app/(.*)$` to `/$1` takes `/app` away.
fn stripped(pattern: &str, replacement: &str) -> Option<String> {
    let inner = pattern.strip_prefix('^')?;
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let rests = ["/?(.*)", "/(.*)", "(/.*)", "/(.+)", "(.*)"];
    let (prefix, rest) = rests.iter().find_map(|rest| Some((inner.strip_suffix(rest)?, *rest)))?;
    // With the slash within the group, or outside of it.
    let expected = if matches!(rest, "(/.*)" | "(.*)") { "$1" } else { "/$1" };
    let plain = prefix.starts_with('/')
        && prefix.len() > 1
        && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_'));
    (plain && replacement == expected).then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_are_taken_away() {
        assert_eq!(stripped("^/app/(.*)$", "/$1").as_deref(), Some("/app"));
        assert_eq!(stripped("^/app(/.*)$", "$1").as_deref(), Some("/app"));
        assert_eq!(stripped("^/app/?(.*)", "/$1").as_deref(), Some("/app"));
        assert_eq!(stripped("^/app/(.*)$", "/x/$1"), None);
        assert_eq!(stripped("^/a.c/(.*)$", "/$1"), None);
    }

    #[test]
    fn methods_of_conditions() {
        assert_eq!(methods("=", "POST").as_deref(), Ok("POST"));
        assert_eq!(methods("!~", "^(GET|HEAD|POST)$").as_deref(), Ok("GET,HEAD,POST"));
        assert!(methods("~", "P.*").is_err());
    }

    #[test]
    fn comparisons_that_are_known() {
        assert_eq!(holds("http", "=", "http"), Some(true));
        assert_eq!(holds("www.a.example", "~*", "^www\\."), Some(true));
        assert_eq!(holds("a", "!~", "b"), Some(true));
    }
}
