//! Templates filled in: values of fields, where a redirect leads, the path sent upstream.
//!
//! What a client sends may end up in a response head, in a Location, in a path, in a text. So there is a function for
//! each place, which encodes what would change the meaning of the text around it:
//! [`expand`] yields no control byte; [`location`] stays on the site unless the template itself
//! names another; [`upstream_path`] yields no path that leads out of what the template wrote; [`text()`] and [`log`]
//! keep their syntax.
//! Paths and captures are those of [`Target::sent_path`]: what the client wrote, segment by segment
//! those by which the route was chosen.
//! Nothing is allocated beyond the room in `out`, but for maps with inputs or values of many parts.

mod parts;
mod text;

use std::net::IpAddr;

use config::{
    Endpoint, EndpointAddress, HostPolicy, Rewrite, Route, Template, TemplatePart, Variable,
};
use message::{ClientCertificate, Fields, Method, Request, RequestId, Scheme, Target};

use crate::captures::Captures;
use crate::maps::Maps;
use parts::{Parts, each_piece};
pub use text::{expand, html, log, text};

/// What templates may name.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its port, if that is known.
    pub client_port: Option<u16>,
    /// The port of the listener.
    pub port: u16,
    /// The method.
    pub method: &'a Method,
    /// The scheme that the client asked by, as far back as proxies are trusted.
    pub scheme: Scheme,
    /// The canonical host that it asked for, as far back, without port.
    pub host: &'a str,
    /// The canonical path.
    pub routed: &'a str,
    /// The path as the client wrote it, without dot segments.
    pub path: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
    /// Path and query as the client wrote them.
    pub uri: &'a [u8],
    /// Host and port as the client wrote them.
    pub authority: &'a str,
    /// The request's fields.
    pub fields: &'a Fields,
    /// The request's id.
    pub id: &'a RequestId,
    /// The captures of the route.
    pub captures: Captures<'a>,
    /// Who the client has proven to be, where a login is asked for.
    pub user: Option<&'a str>,
    /// The facts of the client's connection, if it is TLS.
    pub tls: Option<TlsFacts<'a>>,
    /// What templates may name by the maps of the configuration.
    pub maps: &'a Maps,
}

/// The client of a request, and where it came in.
#[derive(Debug, Clone, Copy)]
pub struct ClientFacts<'a> {
    /// Its address, as far back as proxies are trusted.
    pub address: IpAddr,
    /// Its port, if that is known.
    pub port: Option<u16>,
    /// The port of the listener that it came in by.
    pub listener_port: u16,
    /// Who it has proven to be, where a login is asked for.
    pub user: Option<&'a str>,
    /// The facts of its connection, if it is TLS.
    pub tls: Option<TlsFacts<'a>>,
}

/// The facts of a client's TLS connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsFacts<'a> {
    /// The version: `TLSv1.3`, `TLSv1.2`.
    pub version: &'a str,
    /// The name that the client asked for (SNI).
    pub name: Option<&'a str>,
    /// The certificate that it has shown.
    pub client: Option<&'a ClientCertificate>,
}

impl<'a> Facts<'a> {
    /// The facts of a request that a route took.
    pub fn of(
        client: ClientFacts<'a>,
        request: &'a Request,
        route: Option<&'a Route>,
        maps: &'a Maps,
    ) -> Self {
        let Request { method, target, fields, id, .. } = request;
        let path = target.sent_path();
        Self {
            client: client.address,
            client_port: client.port,
            port: client.listener_port,
            method,
            scheme: target.outer_scheme(),
            host: target.outer_host(),
            routed: target.path(),
            path,
            query: target.sent_query(),
            uri: target.as_it_came(),
            authority: target.written_authority(),
            fields,
            id,
            captures: route.map(|route| Captures::of(route, target)).unwrap_or_default(),
            user: client.user,
            tls: client.tls,
            maps,
        }
    }

    fn certificate(&self) -> Option<&'a ClientCertificate> {
        self.tls.and_then(|tls| tls.client)
    }
}

/// Writes the text of a variable part, percent-encoding each byte that may not `pass`.
fn push_value(
    part: &TemplatePart,
    facts: &Facts<'_>,
    out: &mut Vec<u8>,
    pass: impl Fn(u8) -> bool,
) {
    each_piece(part, facts, &mut |piece| push_encoded(piece, out, &pass));
}

fn push_encoded(bytes: &[u8], out: &mut Vec<u8>, pass: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if pass(byte) {
            out.push(byte);
        } else {
            let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// In which part of a URI (RFC 3986, section 3) a template has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component {
    Start,
    Authority,
    Path,
    /// Or fragment.
    Query,
}

impl Component {
    /// The component after a literal.
    fn after(self, literal: &str) -> Self {
        let mut at = self;
        let mut rest = literal;
        if at == Self::Start {
            match after_scheme(rest) {
                Some(after) => (at, rest) = (Self::Authority, after),
                None if rest.is_empty() => return at,
                None => at = Self::Path,
            }
        }
        if at == Self::Authority && rest.contains('/') {
            at = Self::Path;
        }
        if rest.contains(['?', '#']) { Self::Query } else { at }
    }

    /// True for bytes of a client that may stand here as they are. Percent-encoding passes.
    fn passes(self, byte: u8) -> bool {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
            // Here a percent-encoding could become a delimiter for a server that decodes early.
            _ if self == Self::Authority => false,
            b'%' | b'/' | b':' | b'@' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b',' => true,
            b';' | b'=' => true,
            // They part the members of a form.
            b'&' | b'+' => self != Self::Query,
            _ => false,
        }
    }
}

/// True for bytes that may stand in a URI; what is left must be percent-encoded.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Writes where a redirect leads.
///
/// A template that begins with a path stays on the site: whatever a client put into `{rest}`, the
/// result has one slash at its start (`//evil.example` would lead elsewhere). In a template with
/// a host, what a client sends begins the path or is part of a longer name (`https://{name}.a.b/`):
/// it never completes the host.
pub fn location(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let parts = Parts::of(template, facts);
    let mut at = Component::Start;
    let mut absolute = false;
    for (index, part) in parts.iter().enumerate() {
        match part {
            TemplatePart::Literal(text) => {
                let text = without_empty_query(text, &parts, index, facts);
                push_encoded(text.as_bytes(), out, is_uri_byte);
                absolute |= at == Component::Start && after_scheme(text).is_some();
                at = at.after(text);
            }
            TemplatePart::Variable(Variable::Scheme) if at == Component::Start => {
                out.extend_from_slice(facts.scheme.as_str().as_bytes());
            }
            TemplatePart::Variable(Variable::Host) if at == Component::Authority => {
                push_host(facts.host, out);
            }
            TemplatePart::Variable(Variable::Port) if at == Component::Authority => {
                push_value(part, facts, out, |byte| byte.is_ascii_digit());
            }
            part => {
                let next = parts.get(index + 1);
                let in_name = at == Component::Authority
                    && matches!(next, Some(TemplatePart::Literal(next)) if next.starts_with('.'));
                if !in_name && matches!(at, Component::Start | Component::Authority) {
                    at = Component::Path;
                    if !begins_with_slash(part, facts) {
                        out.push(b'/');
                    }
                }
                at = push_in_uri(part, facts, at, out);
            }
        }
    }
    if !absolute {
        keep_on_site(out, start);
    }
    if parts.iter().any(|part| !matches!(part, TemplatePart::Literal(_))) {
        keep_below(out, start);
    }
}

/// Encodes the dots of segments `..`, so that no reader takes them for the way up: a client must not
/// lead others out of the path that a template wrote. (`%2E` is the same as a dot to browsers, so that it is encoded
/// twice.) Paths of clients have none, but a value of another kind may be one, or parts that are joined.
fn keep_below(out: &mut Vec<u8>, start: usize) {
    let mut at = start;
    while let Some(rest) = out.get(at..) {
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let end = at + length.unwrap_or(rest.len());
        let segment = out.get(at..end).unwrap_or_default();
        if is_parent(segment) {
            let encoded = b"%252E%252E";
            let dots = if segment.starts_with(b".") { 1 } else { 3 };
            let second = segment.get(dots..).unwrap_or_default();
            let dots = dots + if second.starts_with(b".") { 1 } else { 3 };
            let grown = end + encoded.len() - dots;
            out.splice(at..at + dots, *encoded);
            at = grown;
        } else {
            at = end;
        }
        if out.get(at) != Some(&b'/') {
            return;
        }
        at += 1;
    }
}

/// Whether what a part writes into a path begins with a slash.
fn begins_with_slash(part: &TemplatePart, facts: &Facts<'_>) -> bool {
    match part {
        TemplatePart::Variable(Variable::Path | Variable::Uri) => facts.path.starts_with(b"/"),
        TemplatePart::Capture(_) => facts.text(part).is_some_and(|text| text.starts_with(b"/")),
        _ => false,
    }
}

/// A literal without the `?` at its end, if an empty `{query}` is all that would follow.
fn without_empty_query<'a>(
    literal: &'a str,
    parts: &Parts<'_>,
    index: usize,
    facts: &Facts<'_>,
) -> &'a str {
    let is_query = parts.get(index + 1) == Some(&TemplatePart::Variable(Variable::Query));
    let is_empty = is_query && parts.get(index + 2).is_none() && facts.query.is_none();
    literal.strip_suffix('?').filter(|_| is_empty).unwrap_or(literal)
}

/// What follows `//` or `scheme://` at the start of a template.
fn after_scheme(literal: &str) -> Option<&str> {
    let (scheme, after) = literal.split_once("//")?;
    let is_scheme = scheme.ends_with(':') && !scheme.contains(['/', '?', '#']);
    (scheme.is_empty() || is_scheme).then_some(after)
}

/// Writes a part into a component of a URI; gives the component that follows.
///
/// Of what a request says, paths and captures of paths have slashes and percent-encodings that count. Any other part is
/// plain text, or a value within something: in a path it is (a part of) one segment.
fn push_in_uri(
    part: &TemplatePart,
    facts: &Facts<'_>,
    at: Component,
    out: &mut Vec<u8>,
) -> Component {
    let start = out.len();
    match (at, part) {
        (Component::Path, TemplatePart::Variable(Variable::Uri)) => {
            push_value(&TemplatePart::Variable(Variable::Path), facts, out, |byte| at.passes(byte));
            encode_stray_percents(out, start);
            if let Some(query) = facts.query {
                out.push(b'?');
                push_encoded(query, out, |byte| is_uri_byte(byte) && byte != b'#');
                return Component::Query;
            }
        }
        (
            Component::Query,
            TemplatePart::Variable(Variable::Query) | TemplatePart::Parameter(_),
        ) => push_value(part, facts, out, |byte| is_uri_byte(byte) && byte != b'#'),
        (Component::Path, TemplatePart::Parameter(_)) => {
            push_value(part, facts, out, |byte| at.passes(byte) && byte != b'/');
            encode_stray_percents(out, start);
        }
        // The whole of it is one value: what reads it gets it back as it is here.
        (
            _,
            TemplatePart::Field(_)
            | TemplatePart::Cookie(_)
            | TemplatePart::Variable(Variable::Uri | Variable::RequestId),
        ) => push_value(part, facts, out, |byte| Component::Authority.passes(byte)),
        (at, part) => {
            push_value(part, facts, out, |byte| at.passes(byte));
            if at == Component::Path {
                encode_stray_percents(out, start);
            }
        }
    }
    at
}

/// Writes a part of the request into a path.
pub(crate) fn push_in_path(part: &TemplatePart, facts: &Facts<'_>, out: &mut Vec<u8>) {
    push_in_uri(part, facts, Component::Path, out);
}

/// Makes `%25` of each `%` from `start` on without two hexadecimal digits: of such, servers make
/// different things.
fn encode_stray_percents(out: &mut Vec<u8>, start: usize) {
    let mut at = start;
    while let Some(found) = out.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'%')) {
        at += found + 1;
        let digits = out.get(at..at + 2);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            out.splice(at..at, *b"25");
        }
    }
}

fn push_host(host: &str, out: &mut Vec<u8>) {
    // RFC 3986, section 3.2.2: an IPv6 address is in brackets.
    if host.contains(':') {
        out.push(b'[');
        push_encoded(host.as_bytes(), out, |byte| byte == b':' || Component::Path.passes(byte));
        out.push(b']');
    } else {
        push_encoded(host.as_bytes(), out, |byte| Component::Authority.passes(byte));
    }
}

/// Makes what was written from `start` on begin with exactly one slash, or be a mere query.
fn keep_on_site(out: &mut Vec<u8>, start: usize) {
    let written = out.get(start..).unwrap_or_default();
    let slashes = written.iter().take_while(|&&byte| byte == b'/').count();
    match written.first() {
        Some(b'?' | b'#') => {}
        Some(b'/') => {
            out.drain(start + 1..start + slashes);
        }
        _ => out.insert(start, b'/'),
    }
}

/// A path that a template made leads out of what the template itself wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathTraversal;

impl PathTraversal {
    /// In words.
    pub const DETAIL: &str =
        "what the request puts into the rewritten path would lead out of it (`..`)";
}

/// Writes the path and query that are sent upstream; an error if they must not be sent.
///
/// The query is the client's; a template with `?` puts its own before it, one with `{query}`
/// says itself where it goes.
pub fn upstream_path(
    rewrite: &Rewrite,
    facts: &Facts<'_>,
    out: &mut Vec<u8>,
) -> Result<(), PathTraversal> {
    let template = match rewrite {
        Rewrite::Keep => {
            out.extend_from_slice(facts.path);
            push_query(facts, b'?', out);
            return Ok(());
        }
        Rewrite::StripPrefix(prefix) => {
            let count = if strips(facts.routed, prefix) { prefix.matches('/').count() } else { 0 };
            match without_segments(facts.path, count) {
                b"" => out.push(b'/'),
                rest => out.extend_from_slice(rest),
            }
            push_query(facts, b'?', out);
            return Ok(());
        }
        Rewrite::To(template) => template,
    };
    let start = out.len();
    let parts = Parts::of(template, facts);
    let mut at = Component::Path;
    let mut has_query = false;
    for (index, part) in parts.iter().enumerate() {
        has_query |= *part == TemplatePart::Variable(Variable::Query)
            || (at, part) == (Component::Path, &TemplatePart::Variable(Variable::Uri));
        if let TemplatePart::Literal(text) = part {
            let text = without_empty_query(text, &parts, index, facts);
            push_encoded(text.as_bytes(), out, |byte| is_uri_byte(byte) && byte != b'#');
            at = at.after(text);
        } else if (at, part) == (Component::Query, &TemplatePart::Variable(Variable::Query)) {
            out.extend_from_slice(facts.query.unwrap_or_default());
        } else {
            at = push_in_uri(part, facts, at, out);
        }
    }
    // `//name` at the start is a host to some (RFC 3986, section 4.2).
    keep_on_site(out, start);
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
    let path = out.get(start..).unwrap_or_default();
    let length = path.iter().position(|&byte| byte == b'?').unwrap_or(path.len());
    if leads_out(path.get(..length).unwrap_or_default()) {
        return Err(PathTraversal);
    }
    if !has_query {
        push_query(facts, if at == Component::Query { b'&' } else { b'?' }, out);
    }
    Ok(())
}

/// The leading part of a path that an application does not see, as it is cut from this request.
pub fn stripped_prefix<'a>(rewrite: &'a Rewrite, target: &Target) -> Option<&'a str> {
    match rewrite {
        Rewrite::StripPrefix(prefix) if strips(target.path(), prefix) => Some(prefix),
        Rewrite::StripPrefix(_) | Rewrite::Keep | Rewrite::To(_) => None,
    }
}

/// True if a canonical path has this leading part.
pub(crate) fn strips(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What follows the first segments of a path, with its slash.
fn without_segments(path: &[u8], count: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let start = slashes.map(|(at, _)| at).nth(count).unwrap_or(path.len());
    path.get(start..).unwrap_or_default()
}

/// True if a path has a segment `..` by any reading of it (see `message::Readings`). The path of a client has none as
/// written, but parts of it that are joined may.
fn leads_out(path: &[u8]) -> bool {
    let mut segments = path;
    loop {
        let end = (0..segments.len()).find_map(|at| {
            let rest = segments.get(at..)?;
            separator(rest).map(|length| (at, length))
        });
        let (at, length) = end.unwrap_or((segments.len(), 0));
        if is_parent(segments.get(..at).unwrap_or_default()) {
            return true;
        }
        if length == 0 {
            return false;
        }
        segments = segments.get(at + length..).unwrap_or_default();
    }
}

/// The length of a text that some server reads as a slash.
fn separator(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'/' | b'\\', ..] => Some(1),
        [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => Some(3),
        _ => None,
    }
}

/// True for `..`, with parameters or without.
fn is_parent(segment: &[u8]) -> bool {
    let dot = |rest: &'_ [u8]| match rest {
        [b'.', ..] => Some(1),
        [b'%', b'2', b'e' | b'E', ..] => Some(3),
        _ => None,
    };
    let Some(after) = dot(segment).and_then(|length| segment.get(length..)) else { return false };
    let Some(after) = dot(after).and_then(|length| after.get(length..)) else { return false };
    matches!(after, [] | [b';', ..] | [b'%', b'3', b'b' | b'B', ..] | [b'%', b'0', b'0', ..])
}

fn push_query(facts: &Facts<'_>, delimiter: u8, out: &mut Vec<u8>) {
    if let Some(query) = facts.query {
        out.push(delimiter);
        out.extend_from_slice(query);
    }
}

/// The Host sent to an endpoint. A request that names none gets the endpoint's: HTTP/1.1 wants one.
pub fn upstream_host<'a>(
    policy: &'a HostPolicy,
    target: &'a Target,
    endpoint: &'a Endpoint,
) -> &'a str {
    match (policy, &endpoint.address) {
        (HostPolicy::Preserve, _) if !target.authority().is_empty() => target.written_authority(),
        (HostPolicy::Literal(host), _) => host,
        (_, EndpointAddress::Unix(_)) => "localhost",
        (_, _) => without_scheme(&endpoint.written),
    }
}

/// An endpoint's host and port, as they are written.
pub fn written_authority(endpoint: &Endpoint) -> &str {
    without_scheme(&endpoint.written)
}

/// An endpoint's host and port, without what else may be written around them: the scheme, and the
/// one address out of many that discovery has made an endpoint of (`name:port@address`).
pub(crate) fn without_scheme(written: &str) -> &str {
    if written.starts_with("unix:") {
        return written;
    }
    let written = written.split_once('@').map_or(written, |(name, _)| name);
    let Some((_, authority)) = written.split_once("://") else { return written };
    authority.strip_suffix('/').unwrap_or(authority)
}
