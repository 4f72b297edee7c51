//! Names of hosts.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Wrong, paths};
use crate::model::{HostPolicy, SiteName};

/// A host name in lower case, without a dot at its end.
pub(super) fn name(text: &str) -> Result<Box<str>, Wrong> {
    let name = any_name(text)?;
    // RFC 3986, section 3.2.2 and the URL standard: a name that ends in a number is an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        let why = "it ends in a number, so it would be an IPv4 address";
        return Err(Wrong::new(format!("`{text}` is not a host name: {why}")));
    }
    Ok(name)
}

/// A host name, which may end in a number.
fn any_name(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a host name: {why}"));
    if !text.is_ascii() {
        return Err(wrong("it contains characters that are not ASCII")
            .hinted("write its encoded form, which starts with xn--"));
    }
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() || bare.len() > 253 {
        return Err(wrong("it must have 1 to 253 characters"));
    }
    for label in bare.split('.') {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if let Some(c) = label.chars().find(|&c| !plain(c)) {
            let what =
                if c == ' ' { "a space".into() } else { format!("`{}`", c.escape_default()) };
            return Err(wrong(&format!("it contains {what}")));
        }
        if label.is_empty() || label.len() > 63 {
            return Err(wrong("each part between dots must have 1 to 63 characters"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(wrong("no part may start or end with `-`"));
        }
    }
    Ok(bare.to_ascii_lowercase().into())
}

/// A host name or an address, as a request's canonical host has it: IPv6 without brackets.
pub(super) fn host(text: &str) -> Result<Box<str>, Wrong> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(ip.to_string().into());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(ip.to_string().into()),
        Err(_) => name(text),
    }
}

/// A name of a site.
pub(super) fn site_name(text: &str) -> Result<SiteName, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a host name: {why}"));
    if text == "*" {
        return Ok(SiteName::Default);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        let why = format!("it begins with `{scheme}://`");
        return Err(wrong(&why).hinted(format!("write the host alone: site \"{host}\"")));
    }
    if let Some((host, path)) = text.split_once('/') {
        let hint = format!("write site \"{host}\", and route \"/{path}\" inside");
        return Err(wrong("it has a path").hinted(hint));
    }
    if let Some((host, port)) = split_port(text) {
        let hint = format!("write site \"{host}\" {{ listen \":{port}\" … }}");
        return Err(wrong("it has a port").hinted(hint));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return match name(suffix) {
            Ok(suffix) => Ok(SiteName::Wildcard(suffix)),
            Err(_) if suffix.contains('*') => Err(wrong("`*` is only allowed at the start")),
            Err(error) => Err(error),
        };
    }
    if text.contains(['{', '}']) {
        return label(text).map_err(|(why, hint)| match hint {
            Some(hint) => wrong(&why).hinted(hint),
            None => wrong(&why),
        });
    }
    if text.contains('*') {
        return Err(wrong(
            "`*` is only allowed alone, or at the start before a dot: \"*.example.com\"",
        ));
    }
    // Names of services such as `web.1` are served; nothing is looked up by them.
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let found = if has_letter && !text.contains(':') { any_name(text) } else { host(text) };
    found.map(SiteName::Exact)
}

/// `{tenant}.example.com`
fn label(text: &str) -> Result<SiteName, (String, Option<String>)> {
    let parts = text.strip_prefix('{').and_then(|rest| rest.split_once("}."));
    let Some((capture, suffix)) = parts.filter(|(_, suffix)| !suffix.contains(['{', '}', '*']))
    else {
        let hint = "such as \"{tenant}.example.com\"; \"*.example.com\" is every host below";
        return Err(("a capture is the whole first part of a name".into(), Some(hint.into())));
    };
    paths::capture_name(capture)?;
    let suffix = name(suffix).map_err(|wrong| (wrong.message, wrong.hint))?;
    Ok(SiteName::Label { capture: capture.into(), suffix })
}

/// `host:port`, unless it is an IPv6 address without port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.parse::<Ipv6Addr>().is_err()).then_some((host, port))
}

/// The Host sent upstream.
pub(super) fn policy(text: &str) -> Result<HostPolicy, Wrong> {
    match text {
        "preserve" => return Ok(HostPolicy::Preserve),
        "endpoint" => return Ok(HostPolicy::Endpoint),
        _ => {}
    }
    let (bare, port) = match split_port(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port == "0") {
        return Err(Wrong::new(format!("`{text}` has an invalid port")));
    }
    if !text.contains(['.', ':']) {
        let words = ["preserve", "endpoint"];
        if let Some(word) = crate::nearest::nearest(text, words.into_iter()) {
            let wrong = Wrong::new(format!("`{text}` is not `preserve`, `endpoint` or a host"));
            return Err(wrong.hinted(format!("did you mean `{word}`?")));
        }
    }
    let host = host(bare)?;
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.into() };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(HostPolicy::Literal(format!("{bracketed}{port}").into()))
}
