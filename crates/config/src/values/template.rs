//! Text with `{name}` parts.

use super::Wrong;
use crate::model::{Template, TemplatePart, Variable};
use crate::nearest::nearest;

/// Names that mean something of the request.
pub(crate) const RESERVED: &[(&str, Variable)] = &[
    ("client", Variable::Client),
    ("host", Variable::Host),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("scheme", Variable::Scheme),
    ("tls-version", Variable::TlsVersion),
    ("tls-name", Variable::TlsName),
    ("client-subject", Variable::ClientSubject),
    ("client-names", Variable::ClientNames),
    ("client-fingerprint", Variable::ClientFingerprint),
];

/// Reads a template; `captures` are the names that the route's pattern has, `rest` included.
pub(crate) fn template(text: &str, captures: &[Box<str>]) -> Result<Template, Wrong> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(behind) = brace.strip_prefix("{{") {
            literal.push('{');
            rest = behind;
        } else if let Some(behind) = brace.strip_prefix("}}") {
            literal.push('}');
            rest = behind;
        } else if let Some((name, behind)) = brace.strip_prefix('{').and_then(|b| b.split_once('}'))
        {
            if !literal.is_empty() {
                parts.push(TemplatePart::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(part(text, name, captures)?);
            rest = behind;
        } else {
            let wrong = Wrong::new(format!("`{text}` has an unmatched brace"));
            return Err(wrong.hinted("`{{` and `}}` mean literal braces"));
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(literal.into()));
    }
    Ok(Template { written: text.into(), parts })
}

fn part(text: &str, name: &str, captures: &[Box<str>]) -> Result<TemplatePart, Wrong> {
    if let Some(&(_, variable)) = RESERVED.iter().find(|(word, _)| *word == name) {
        return Ok(TemplatePart::Variable(variable));
    }
    if captures.iter().any(|capture| **capture == *name) {
        return Ok(TemplatePart::Capture(name.into()));
    }
    let names = || captures.iter().map(AsRef::as_ref).chain(RESERVED.iter().map(|(word, _)| *word));
    let known = names().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
    let wrong = Wrong::new(format!("`{{{name}}}` in `{text}` is not known"));
    Err(match nearest(name, names()) {
        Some(near) => wrong.hinted(format!("did you mean {{{near}}}? (known here: {known})")),
        None => wrong.hinted(format!("known here: {known}")),
    })
}
