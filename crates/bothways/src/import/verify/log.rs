//! Lines of an access log: the combined format, alone or with the host in front.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

/// A request of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) client: IpAddr,
    /// The host, if the log has it.
    pub(super) host: Option<String>,
    /// The port, if the log has it.
    pub(super) port: Option<u16>,
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) referer: String,
    pub(super) agent: String,
}

/// The different requests of a log, and how many lines are none.
pub(super) fn read(text: &str, at_most: usize) -> (Vec<Request>, usize) {
    let (mut requests, mut seen, mut skipped) = (Vec::new(), HashSet::new(), 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match parse(line) {
            Some(request) => {
                if requests.len() < at_most && seen.insert(request.clone()) {
                    requests.push(request);
                }
            }
            None => skipped += 1,
        }
    }
    (requests, skipped)
}

fn parse(line: &str) -> Option<Request> {
    let (before, rest) = line.split_once(" [")?;
    let mut words = before.split(' ');
    let first = words.next()?;
    let ((host, port), client) = match first.parse::<IpAddr>() {
        Ok(ip) => ((None, None), ip),
        Err(_) => (host_and_port(first), words.next()?.parse().ok()?),
    };
    let (_, rest) = rest.split_once("] \"")?;
    let (request, rest) = quoted(rest)?;
    let mut parts = request.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let is_method =
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let is_target = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_method || !is_target || !version.starts_with("HTTP/") || method == "CONNECT" {
        return None;
    }
    let mut fields = rest.split_once('"').map(|(_, rest)| quoted(rest));
    let (referer, rest) = fields.take().flatten().unwrap_or_default();
    let agent = rest.split_once('"').and_then(|(_, rest)| quoted(rest)).map(|(agent, _)| agent);
    let agent = agent.unwrap_or_default();
    let field = |text: String| {
        let text: String = text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        if text == "-" { String::new() } else { text }
    };
    Some(Request {
        client: if client.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { client },
        host,
        port,
        method: method.to_owned(),
        target: target.to_owned(),
        referer: field(referer),
        agent: field(agent),
    })
}

fn host_and_port(text: &str) -> (Option<String>, Option<u16>) {
    let (host, port) = match text.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (text, None),
    };
    (Some(host.to_owned()).filter(|host| host != "-" && !host.is_empty()), port)
}

/// A quoted text from after its first quote, with `\xHH` and `\"` resolved, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((out, text.get(at + 1..).unwrap_or_default())),
            '\\' => match letters.next()?.1 {
                'x' => {
                    let high = letters.next()?.1.to_digit(16)?;
                    let low = letters.next()?.1.to_digit(16)?;
                    out.extend(char::from_u32(high * 16 + low));
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = r#"203.0.113.9 - ann [12/Nov/2026:10:00:00 +0000] "GET /a?b=c HTTP/1.1" 200 5 "https://x/" "curl/8 \x22q\x22""#;
        let request = parse(line).unwrap();
        assert_eq!((&*request.method, &*request.target, request.host), ("GET", "/a?b=c", None));
        assert_eq!((&*request.referer, &*request.agent), ("https://x/", "curl/8 \"q\""));
        let with_host = format!("www.example.com:443 {line}");
        let with_host = parse(&with_host).unwrap();
        assert_eq!(
            (with_host.host.as_deref(), with_host.port),
            (Some("www.example.com"), Some(443))
        );
        let without_port = parse(&format!("www.example.com {line}")).unwrap();
        assert_eq!(
            (without_port.host.as_deref(), without_port.port),
            (Some("www.example.com"), None)
        );
        assert_eq!(parse(&format!("-:80 {line}")).unwrap().host, None);
        let short = r#"203.0.113.9 - - [12/Nov/2026:10:00:00 +0000] "GET / HTTP/1.0" 200 5"#;
        assert_eq!(parse(short).unwrap().agent, "");
    }

    #[test]
    fn what_is_no_request() {
        for line in [
            "",
            "nothing",
            r#"203.0.113.9 - - [x] "\x16\x03\x01" 400 5 "-" "-""#,
            r#"203.0.113.9 - - [x] "-" 400 0 "-" "-""#,
            r#"203.0.113.9 - - [x] "CONNECT a:443 HTTP/1.1" 400 0 "-" "-""#,
            r#"203.0.113.9 - - [x] "GET http://a/ HTTP/1.1" 400 0 "-" "-""#,
            r#"203.0.113.9 - - [x] "GET /"#,
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn equal_requests_count_once() {
        let line = r#"203.0.113.9 - - [x] "GET / HTTP/1.0" 200 5"#;
        let (requests, skipped) = read(&format!("{line}\n{line}\nx\n"), 10);
        assert_eq!((requests.len(), skipped), (1, 1));
    }
}
