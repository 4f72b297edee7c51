//! Access logs: where lines go, how they look, what stands in them.

use super::Wrong;
use super::tokens;
use crate::model::{AccessFormat, LogPart, LogTarget, LogText};
use crate::nearest::nearest;
use crate::schema::{LOG_FIELDS, LOG_PARTS};

/// Bytes of a written format at most.
const FORMAT_BYTES_MAX: usize = 4096;
/// Parts of a format at most.
const PARTS_MAX: usize = 100;

/// Where lines of an access log go.
pub(super) fn target(text: &str) -> Result<LogTarget, Wrong> {
    let Some(rest) = text.strip_prefix("syslog:") else {
        return match text {
            "journald" => Ok(LogTarget::Journald),
            "syslog" => Err(Wrong::new("`syslog` is the name of a file here")
                .hinted("write \"syslog:\" for the syslog of this machine")),
            text => tokens::log(text),
        };
    };
    match rest {
        "" => Ok(LogTarget::Syslog(None)),
        rest => {
            let wrong = |why: &str| {
                Wrong::new(format!("`{text}` is not a syslog: {why}"))
                    .hinted("write \"syslog:\" or \"syslog:udp:10.0.0.1:514\"")
            };
            let address = rest.strip_prefix("udp:").ok_or_else(|| wrong("only UDP is known"))?;
            let (host, port) =
                address.rsplit_once(':').ok_or_else(|| wrong("a port is missing"))?;
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            let is_bare_v6 = host.contains(':') && !host.starts_with('[');
            match port {
                _ if host.is_empty() || is_bare_v6 => Err(wrong("a host is missing")),
                None => Err(wrong("the port is no number from 1 to 65535")),
                Some(_) => Ok(LogTarget::Syslog(Some(address.into()))),
            }
        }
    }
}

/// How lines look.
pub(super) fn format(text: &str) -> Result<AccessFormat, Wrong> {
    match text {
        "json" => return Ok(AccessFormat::Json),
        "combined" => return Ok(AccessFormat::Combined),
        "vhost-combined" => return Ok(AccessFormat::VhostCombined),
        _ => {}
    }
    if !text.contains(['{', '}']) {
        let wrong = Wrong::new(format!("`{text}` is not a format"));
        return Err(match text.contains('$') {
            true => {
                wrong.hinted("write a part as {status}, not as $status; the reference lists all")
            }
            false => wrong.hinted(
                "known: json, combined, vhost-combined; or a text such as \"{client} {status}\"",
            ),
        });
    }
    if text.len() > FORMAT_BYTES_MAX {
        return Err(Wrong::new(format!("the format is longer than {FORMAT_BYTES_MAX} bytes")));
    }
    parts(text)
        .map(|parts| AccessFormat::Text(LogText { written: text.into(), parts: parts.into() }))
}

fn parts(text: &str) -> Result<Vec<LogPart>, Wrong> {
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
                parts.push(LogPart::Literal(std::mem::take(&mut literal).into()));
            }
            parts.push(part(name)?);
            rest = behind;
        } else {
            let wrong = Wrong::new(format!("`{text}` has an unmatched brace"));
            return Err(wrong.hinted("`{{` and `}}` mean literal braces"));
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(LogPart::Literal(literal.into()));
    }
    if parts.len() > PARTS_MAX {
        return Err(Wrong::new(format!("the format has more than {PARTS_MAX} parts")));
    }
    if literal_has_break(&parts) {
        return Err(Wrong::new("a line of the log cannot contain a line break"));
    }
    Ok(parts)
}

fn literal_has_break(parts: &[LogPart]) -> bool {
    parts.iter().any(|part| match part {
        LogPart::Literal(text) => text.contains(|c: char| c.is_control() && c != '\t'),
        LogPart::Named(_) | LogPart::Field(_) | LogPart::ResponseField(_) => false,
    })
}

fn part(name: &str) -> Result<LogPart, Wrong> {
    if let Some((kind, field)) = name.split_once(':') {
        let field = tokens::field_name(field)?;
        return match kind {
            "field" | "header" => Ok(LogPart::Field(field)),
            "response" => Ok(LogPart::ResponseField(field)),
            _ => Err(Wrong::new(format!("`{{{name}}}` is not a part of a log line"))
                .hinted("write {field:NAME} for a field of the request, {response:NAME} for one of the response")),
        };
    }
    let names = || LOG_FIELDS.iter().chain(LOG_PARTS).map(|row| row.word);
    if let Some(known) = names().find(|known| *known == name) {
        return Ok(LogPart::Named(known));
    }
    let wrong = Wrong::new(format!("`{{{name}}}` is not a part of a log line"));
    Err(match nearest(name, names()) {
        Some(near) => wrong.hinted(format!("did you mean {{{near}}}? The reference lists all")),
        None => wrong.hinted("the reference lists all parts"),
    })
}

/// Names of fields with commas.
pub(super) fn fields(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    let mut fields: Vec<Box<str>> = Vec::new();
    for name in text.split(',').map(str::trim) {
        let Some(row) = LOG_FIELDS.iter().find(|row| row.word == name) else {
            let wrong = Wrong::new(format!("`{name}` is not a field of the log"));
            return Err(match nearest(name, LOG_FIELDS.iter().map(|row| row.word)) {
                Some(near) => wrong.hinted(format!("did you mean `{near}`?")),
                None => wrong.hinted("docs/operations.md lists all fields"),
            });
        };
        if fields.iter().any(|field| **field == *row.word) {
            return Err(Wrong::new(format!("`{name}` appears twice")));
        }
        fields.push(row.word.into());
    }
    Ok(fields)
}
