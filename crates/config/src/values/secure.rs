//! What certificates and directories are named by.

use super::addresses::parts;
use super::{Wrong, hosts, tokens};

/// Host names and addresses with commas, in lower case.
pub(super) fn hosts(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    parts(text)?.map(hosts::host).collect()
}

/// Names in certificates with commas: hosts, `*.suffix`, mail addresses, URIs, common names.
pub(super) fn certificate_names(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    let name = |text: &str| match text.strip_prefix("*.") {
        Some(suffix) => hosts::name(suffix).map(|suffix| format!("*.{suffix}").into()),
        None if text.contains('*') => Err(Wrong::new(format!("`{text}` is not a name"))
            .hinted("`*` is only allowed at the start, before a dot: \"*.example.com\"")),
        None if text.contains(char::is_control) => Err(Wrong::new("it has a control character")),
        None => Ok(text.into()),
    };
    parts(text)?.map(name).collect()
}

/// SHA-256 of certificates with commas, in lower case without colons.
pub(super) fn fingerprints(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    parts(text)?.map(fingerprint).collect()
}

fn fingerprint(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: String| {
        Wrong::new(format!("`{text}` is not the SHA-256 of a certificate: {why}"))
            .hinted("`bothways cert show FILE` prints it")
    };
    let digits = text.replace(':', "").to_ascii_lowercase();
    if let Some(c) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(wrong(format!("`{}` is not a hexadecimal digit", c.escape_default())));
    }
    match digits.len() {
        64 => Ok(digits.into()),
        40 => Err(wrong("it has 40 digits, like a SHA-1".into())),
        count => Err(wrong(format!("it has {count} digits, not 64"))),
    }
}

/// A subject as RFC 4514 writes it, without the spaces that people put behind commas.
pub(super) fn subject(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = || {
        Wrong::new(format!("`{text}` is not the subject of a certificate"))
            .hinted("write it as RFC 4514 does: \"CN=ops,O=Example\"")
    };
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    let mut behind_comma = true;
    for c in text.chars() {
        if c.is_control() {
            return Err(wrong());
        }
        if !(behind_comma && c == ' ') {
            out.push(c);
            behind_comma = c == ',' && !escaped;
        }
        escaped = c == '\\' && !escaped;
    }
    // RFC 4514, section 3: each part is a type, `=` and a value.
    if out.is_empty() || !out.contains('=') {
        return Err(wrong());
    }
    Ok(out.into())
}

/// Directories that have a word.
const DIRECTORIES: &[(&str, &str)] = &[
    ("letsencrypt", LETSENCRYPT),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

/// The directory where nothing is said.
pub(crate) const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The URL of an ACME directory.
pub(super) fn directory(text: &str) -> Result<Box<str>, Wrong> {
    if let Some((_, url)) = DIRECTORIES.iter().find(|(word, _)| *word == text) {
        return Ok((*url).into());
    }
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a directory: {why}"));
    // RFC 8555, section 6.1: ACME is spoken over HTTPS.
    let Some(rest) = text.strip_prefix("https://") else {
        let words = DIRECTORIES.iter().map(|(word, _)| *word);
        return Err(match crate::nearest::nearest(text, words) {
            Some(near) => {
                wrong("it is not an https:// URL").hinted(format!("did you mean `{near}`?"))
            }
            None => wrong("it is not an https:// URL")
                .hinted("write `letsencrypt`, `letsencrypt-staging` or \"https://…/directory\""),
        });
    };
    if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong(&format!("`{}` is not allowed in a URL", c.escape_default())));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) if !authority.ends_with(']') => return Err(wrong("its port is invalid")),
        _ => authority,
    };
    hosts::host(host).map(|_| text.into())
}

/// A mail address, as the `mailto:` URL that ACME wants (RFC 8555, section 7.3).
pub(super) fn mail(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a mail address: {why}"));
    let bare = text.strip_prefix("mailto:").unwrap_or(text);
    let Some((local, host)) = bare.rsplit_once('@') else { return Err(wrong("it has no `@`")) };
    if !tokens::is_token(local) || local.contains('%') {
        return Err(wrong("the part before `@` is not a name"));
    }
    hosts::name(host).map(|host| format!("mailto:{local}@{host}").into())
}
