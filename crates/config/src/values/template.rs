//! Text with `{name}` parts.

use std::fmt;

use super::Wrong;
use super::tokens::{field_name, is_token};
use crate::ids::MapId;
use crate::model::{Template, TemplatePart, Variable};
use crate::nearest::nearest;

/// Names that mean something of the request.
pub(super) const RESERVED: &[(&str, Variable)] = &[
    ("client", Variable::Client),
    ("client-port", Variable::ClientPort),
    ("host", Variable::Host),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("uri", Variable::Uri),
    ("scheme", Variable::Scheme),
    ("port", Variable::Port),
    ("request-id", Variable::RequestId),
    ("tls-version", Variable::TlsVersion),
    ("tls-name", Variable::TlsName),
    ("client-subject", Variable::ClientSubject),
    ("client-names", Variable::ClientNames),
    ("user", Variable::User),
    ("client-fingerprint", Variable::ClientFingerprint),
    ("client-cert", Variable::ClientCert),
];

/// Kinds of parts that have a name of their own, behind a colon.
const NAMED: &[&str] = &["field:NAME", "cookie:NAME", "query:NAME", "env:NAME", "file:PATH"];

/// Whether a name means something in every template.
pub(crate) fn is_reserved(name: &str) -> bool {
    name == "rest" || RESERVED.iter().any(|(word, _)| *word == name)
}

/// What a template may name where it stands.
pub(crate) struct Names<'n> {
    /// The captures of the route's pattern, `rest` included.
    pub(crate) captures: &'n [Box<str>],
    /// Every map, in the order of their ids.
    pub(crate) maps: &'n [Box<str>],
    /// Whether the text has braces of its own: one that opens no known part stays as it is.
    pub(crate) keeps_braces: bool,
}

/// A text from outside of the configuration that a template names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outside<'t> {
    /// `{env:NAME}`
    Environment(&'t str),
    /// `{file:PATH}`
    File(&'t str),
}

/// What stands for the text where it must not be shown. Parentheses need no encoding, wherever they stand.
impl fmt::Display for Outside<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(out, "(env:{name})"),
            Self::File(path) => write!(out, "(file:{path})"),
        }
    }
}

/// What stands between braces.
enum Meaning<'t> {
    Part(TemplatePart),
    Outside(Outside<'t>),
}

/// Collects the parts of a template; what comes from outside becomes one with the text around it.
#[derive(Default)]
struct Builder {
    written: String,
    parts: Vec<TemplatePart>,
    literal: String,
}

impl Builder {
    /// Text that stands for itself, and how it is written.
    fn literal(&mut self, text: &str, written: &str) {
        self.literal.push_str(text);
        self.written.push_str(written);
    }

    fn part(&mut self, part: TemplatePart, name: &str) {
        self.end_literal();
        self.parts.push(part);
        // One spelling for `{header:NAME}` and `{field:NAME}`.
        match name.strip_prefix("header:") {
            Some(name) => self.written.extend(["{field:", name, "}"]),
            None => self.written.extend(["{", name, "}"]),
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.parts.push(TemplatePart::Literal(std::mem::take(&mut self.literal).into()));
        }
    }

    fn end(mut self) -> Template {
        self.end_literal();
        Template { written: self.written.into(), parts: self.parts }
    }
}

/// Reads a template. `load` gives a text from outside.
pub(crate) fn template(
    text: &str,
    names: &Names<'_>,
    mut load: impl FnMut(Outside<'_>) -> Result<String, Wrong>,
) -> Result<Template, Wrong> {
    let mut out = Builder::default();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out.literal(before, before);
        if let Some((name, behind)) = escaped(brace, names) {
            out.literal(&format!("{{{name}}}"), &format!("{{{{{name}}}}}"));
            rest = behind;
            continue;
        }
        let doubled = ["{{", "}}"].into_iter().find(|pair| brace.starts_with(pair));
        if let Some(pair) = doubled.filter(|_| !names.keeps_braces) {
            out.literal(pair.get(1..).unwrap_or_default(), pair);
            rest = brace.get(2..).unwrap_or_default();
            continue;
        }
        let inner = brace.strip_prefix('{').and_then(|brace| brace.split_once('}'));
        match inner.map(|(name, behind)| (name, behind, meaning(name, names, text))) {
            Some((name, behind, Ok(meaning))) => {
                match meaning {
                    Meaning::Part(part) => out.part(part, name),
                    Meaning::Outside(outside) => {
                        out.literal(&load(outside)?, &format!("{{{name}}}"));
                    }
                }
                rest = behind;
            }
            Some((.., Err(wrong))) if !names.keeps_braces => return Err(wrong),
            None if !names.keeps_braces => {
                let wrong = Wrong::new(format!("`{}` has an unmatched brace", beginning(text)));
                return Err(wrong.hinted("`{{` and `}}` mean literal braces"));
            }
            Some(_) | None => {
                let (one, behind) = brace.split_at(1);
                out.literal(one, one);
                rest = behind;
            }
        }
    }
    out.literal(rest, rest);
    Ok(out.end())
}

/// `{{name}}` in a text with braces of its own, where `{name}` would be a part: the name, and what is behind it.
fn escaped<'t>(brace: &'t str, names: &Names<'_>) -> Option<(&'t str, &'t str)> {
    let (name, behind) =
        brace.strip_prefix("{{").filter(|_| names.keeps_braces)?.split_once("}}")?;
    let is_part = !name.contains(['{', '}']) && meaning(name, names, "").is_ok();
    is_part.then_some((name, behind))
}

/// As much of a text as a message can show.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn meaning<'t>(name: &'t str, names: &Names<'_>, text: &str) -> Result<Meaning<'t>, Wrong> {
    if let Some(&(_, variable)) = RESERVED.iter().find(|(word, _)| *word == name) {
        return Ok(Meaning::Part(TemplatePart::Variable(variable)));
    }
    if names.captures.iter().any(|capture| **capture == *name) {
        return Ok(Meaning::Part(TemplatePart::Capture(name.into())));
    }
    if let Some(index) = names.maps.iter().position(|map| **map == *name) {
        return Ok(Meaning::Part(TemplatePart::Map(MapId::at(index))));
    }
    if let Some((kind, own)) = name.split_once(':')
        && let Some(meaning) = named(kind, own)
    {
        return meaning;
    }
    Err(unknown(name, names, text))
}

/// A part with a name of its own; `None`: there is no such kind.
fn named<'t>(kind: &str, name: &'t str) -> Option<Result<Meaning<'t>, Wrong>> {
    let part = |part: fn(Box<str>) -> TemplatePart| Ok(Meaning::Part(part(name.into())));
    let refuse =
        |what: &str| Err(Wrong::new(format!("`{name}` in `{{{kind}:{name}}}` is not {what}")));
    Some(match kind {
        "field" | "header" => field_name(name).and_then(|_| part(TemplatePart::Field)),
        "cookie" if is_token(name) => part(TemplatePart::Cookie),
        "cookie" => refuse("the name of a cookie"),
        "query" if !name.is_empty() && !name.contains(['&', '=', '#']) => {
            part(TemplatePart::Parameter)
        }
        "query" => refuse("the name of a query parameter"),
        "env" if is_variable_name(name) => Ok(Meaning::Outside(Outside::Environment(name))),
        "env" => refuse("the name of an environment variable"),
        "file" if !name.is_empty() => Ok(Meaning::Outside(Outside::File(name))),
        "file" => refuse("a path"),
        _ => return None,
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn unknown(name: &str, names: &Names<'_>, text: &str) -> Wrong {
    let all = || {
        let given = names.captures.iter().chain(names.maps).map(AsRef::as_ref);
        given.chain(RESERVED.iter().map(|(word, _)| *word))
    };
    let known = all().chain(NAMED.iter().copied());
    let known = known.map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
    let (name_shown, text) = (beginning(name), beginning(text));
    let wrong = Wrong::new(format!("`{{{name_shown}}}` in `{text}` is not known"));
    match nearest(name, all()) {
        Some(near) => wrong.hinted(format!("did you mean {{{near}}}? (known here: {known})")),
        None => wrong.hinted(format!("`{{{{` and `}}}}` mean literal braces; known here: {known}")),
    }
}
