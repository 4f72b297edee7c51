//! Methods, and requests that `expect` names.

use std::net::IpAddr;

use super::{Wrong, hosts, tokens};

/// Methods with commas, in upper case.
pub(super) fn methods(text: &str) -> Result<Vec<Box<str>>, Wrong> {
    text.split(',').map(|part| method(part.trim())).collect()
}

fn method(text: &str) -> Result<Box<str>, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a method"));
    if !tokens::is_token(text) {
        return Err(wrong().hinted("write methods as \"GET\" or \"GET,HEAD\""));
    }
    // RFC 9110, section 9.1: methods are case-sensitive. All that are in use are in upper case, so
    // another one is a slip.
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(wrong().hinted(format!("write methods in upper case: \"{upper}\"")));
    }
    Ok(text.into())
}

/// `GET http://host/path` or `CONNECT host:port`: the method and the target.
pub(super) fn request_line(text: &str) -> Result<(Box<str>, Box<str>), Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not a request: {why}"));
    let Some((first, target)) = text.split_once(' ') else {
        return Err(wrong("it needs a method and a URL")
            .hinted("such as \"GET http://shop.example.com/\" or \"CONNECT example.com:443\""));
    };
    let method = method(first)?;
    if let Some(c) = target.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong(&format!("`{}` is not allowed in a URL", c.escape_default())));
    }
    if &*method == "CONNECT" {
        return match target.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
                hosts::host(host).map(|_| (method, target.into()))
            }
            _ => {
                Err(wrong("CONNECT needs a host and a port").hinted("such as \"example.com:443\""))
            }
        };
    }
    let (scheme, rest) = match target.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((scheme, _)) => return Err(wrong(&format!("`{scheme}` is not a known scheme here"))),
        None => return Err(wrong("the URL must start with http:// or https://")),
    };
    if target.contains('#') {
        return Err(wrong("a fragment is not sent"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    check_authority(authority)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((method, format!("{scheme}://{authority}{slash}{path}").into()))
}

fn check_authority(authority: &str) -> Result<(), Wrong> {
    let bracketed = authority.starts_with('[') && authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some(split) if !bracketed => split,
        _ => (authority, "80"),
    };
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(Wrong::new(format!("`{port}` is not a port")));
    }
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return Err(Wrong::new(format!("`{host}` needs brackets")));
    }
    hosts::host(host).map(|_| ())
}
