//! Templates filled in: values of fields, where a redirect leads, the path sent upstream.
//!
//! What a client sends may end up in a response head, in a Location, in a path. So the three uses
//! have three functions, and each encodes what would change the meaning of what is around it:
//! [`expand`] yields no control byte; [`location`] stays on the site unless the template itself
//! names another; [`upstream_path`] is a canonical path, without dot segments.
//! Nothing is allocated beyond the room in `out`.

use std::io::Write;
use std::net::IpAddr;

use config::{
    Endpoint, EndpointAddress, HostPolicy, Pattern, Rewrite, Route, Segment, Template,
    TemplatePart, Variable,
};
use message::{ClientCertificate, Method, Scheme, Target};

use crate::canonical;

/// What a pattern's captures hold for a path that it has. Nothing is kept: a capture is found
/// again by counting segments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Captures<'a> {
    pattern: Option<&'a Pattern>,
    path: &'a str,
}

impl<'a> Captures<'a> {
    /// The captures of a path that the route took.
    pub fn of(route: &'a Route, path: &'a str) -> Self {
        Self { pattern: Some(&route.pattern), path }
    }

    /// The captures of a path that the pattern has.
    pub fn of_pattern(pattern: &'a Pattern, path: &'a str) -> Self {
        Self { pattern: Some(pattern), path }
    }

    /// What `{name}` stands for; `{rest}` is what `*` took.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let pattern = self.pattern?;
        let of_name = |segment: &Segment| matches!(segment, Segment::Capture(n) if **n == *name);
        match pattern.segments.iter().position(of_name) {
            Some(index) => self.path.strip_prefix('/')?.split('/').nth(index),
            None if name == "rest" => self.rest(),
            None => None,
        }
    }

    /// What the `/*` at a pattern's end took, without the slash before it.
    pub fn rest(&self) -> Option<&'a str> {
        let pattern = self.pattern.filter(|pattern| pattern.prefix)?;
        let segments = self.path.strip_prefix('/')?;
        let rest = segments.splitn(pattern.segments.len() + 1, '/').nth(pattern.segments.len());
        Some(rest.unwrap_or_default())
    }
}

/// What templates may name.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a Method,
    /// The scheme that the client asked by, as far back as proxies are trusted.
    pub scheme: Scheme,
    /// The canonical host that it asked for, as far back, without port.
    pub host: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The captures of the route.
    pub captures: Captures<'a>,
    /// What is known of the client's connection, if it is TLS.
    pub tls: Option<TlsFacts<'a>>,
}

/// What is known of a client's TLS connection.
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
        client: IpAddr,
        method: &'a Method,
        target: &'a Target,
        route: Option<&'a Route>,
        tls: Option<TlsFacts<'a>>,
    ) -> Self {
        let path = target.path();
        Self {
            client,
            method,
            scheme: target.outer_scheme(),
            host: target.outer_host(),
            path,
            query: target.query(),
            captures: route.map(|route| Captures::of(route, path)).unwrap_or_default(),
            tls,
        }
    }

    fn certificate(&self) -> Option<&'a ClientCertificate> {
        self.tls.and_then(|tls| tls.client)
    }

    /// The text of a part; `None` for literals and for what is not text yet.
    fn text(&self, part: &TemplatePart) -> Option<&'a str> {
        match part {
            TemplatePart::Literal(_)
            | TemplatePart::Variable(Variable::Client | Variable::ClientNames) => None,
            TemplatePart::Capture(name) => Some(self.captures.get(name).unwrap_or_default()),
            TemplatePart::Variable(Variable::Host) => Some(self.host),
            TemplatePart::Variable(Variable::Scheme) => Some(self.scheme.as_str()),
            TemplatePart::Variable(Variable::Path) => Some(self.path),
            TemplatePart::Variable(Variable::Query) => Some(self.query.unwrap_or_default()),
            TemplatePart::Variable(Variable::TlsVersion) => self.tls.map(|tls| tls.version),
            TemplatePart::Variable(Variable::TlsName) => self.tls.and_then(|tls| tls.name),
            TemplatePart::Variable(Variable::ClientSubject) => {
                self.certificate().map(|certificate| &*certificate.subject)
            }
            TemplatePart::Variable(Variable::ClientFingerprint) => {
                self.certificate().map(|certificate| &*certificate.fingerprint)
            }
            TemplatePart::Variable(Variable::Method) => None,
        }
    }
}

/// Writes the value of a field. What a client sent is taken over as it is, but for bytes that no
/// field value may hold, which are percent-encoded.
pub fn expand(template: &Template, facts: &Facts<'_>, out: &mut Vec<u8>) {
    for part in &template.parts {
        match part {
            // The decoder refuses them in a literal; a space does no harm.
            TemplatePart::Literal(text) => {
                out.extend(text.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
            }
            part => push_value(part, facts, out, |byte| !byte.is_ascii_control()),
        }
    }
}

/// Writes the text of a variable part, percent-encoding each byte that may not `pass`.
fn push_value(
    part: &TemplatePart,
    facts: &Facts<'_>,
    out: &mut Vec<u8>,
    pass: impl Fn(u8) -> bool,
) {
    match part {
        TemplatePart::Variable(Variable::Client) => {
            let _ = write!(out, "{}", canonical(facts.client)); // writing to memory does not fail
        }
        TemplatePart::Variable(Variable::Method) => {
            push_encoded(facts.method.as_str().as_bytes(), out, pass);
        }
        TemplatePart::Variable(Variable::ClientNames) => {
            let names = facts.certificate().map_or(&[][..], |certificate| &certificate.names);
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    push_encoded(b",", out, &pass);
                }
                // A comma within a name would make two of it.
                push_encoded(name.as_bytes(), out, |byte| byte != b',' && pass(byte));
            }
        }
        part => push_encoded(facts.text(part).unwrap_or_default().as_bytes(), out, pass),
    }
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
            // Here a percent-encoding could become a delimiter for one who decodes early.
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
    let mut at = Component::Start;
    let mut absolute = false;
    for (index, part) in template.parts.iter().enumerate() {
        match part {
            TemplatePart::Literal(text) => {
                let text = without_empty_query(text, &template.parts, index, facts);
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
            part => {
                let next = template.parts.get(index + 1);
                let in_name = at == Component::Authority
                    && matches!(next, Some(TemplatePart::Literal(next)) if next.starts_with('.'));
                if !in_name && matches!(at, Component::Start | Component::Authority) {
                    at = Component::Path;
                    let slash = facts.text(part).is_some_and(|text| text.starts_with('/'));
                    if !slash {
                        out.push(b'/');
                    }
                }
                push_in_uri(part, facts, at, out);
            }
        }
    }
    if !absolute {
        keep_on_site(out, start);
    }
}

/// A literal without the `?` at its end, if an empty `{query}` is all that would follow.
fn without_empty_query<'a>(
    literal: &'a str,
    parts: &[TemplatePart],
    index: usize,
    facts: &Facts<'_>,
) -> &'a str {
    let follows = parts.get(index + 1..).unwrap_or_default();
    let is_empty = follows == [TemplatePart::Variable(Variable::Query)] && facts.query.is_none();
    literal.strip_suffix('?').filter(|_| is_empty).unwrap_or(literal)
}

/// What follows `//` or `scheme://` at the start of a template.
fn after_scheme(literal: &str) -> Option<&str> {
    let (scheme, after) = literal.split_once("//")?;
    let is_scheme = scheme.ends_with(':') && !scheme.contains(['/', '?', '#']);
    (scheme.is_empty() || is_scheme).then_some(after)
}

fn push_in_uri(part: &TemplatePart, facts: &Facts<'_>, at: Component, out: &mut Vec<u8>) {
    if at == Component::Query && *part == TemplatePart::Variable(Variable::Query) {
        push_value(part, facts, out, |byte| is_uri_byte(byte) && byte != b'#');
    } else {
        push_value(part, facts, out, |byte| at.passes(byte));
    }
}

fn push_host(host: &str, out: &mut Vec<u8>) {
    // RFC 3986, section 3.2.2: an IPv6 address stands in brackets.
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

/// Writes the path and query that are sent upstream.
///
/// The query is the client's; a template with `?` puts its own before it, one with `{query}`
/// says itself where it goes.
pub fn upstream_path(rewrite: &Rewrite, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let template = match rewrite {
        Rewrite::Keep => {
            out.extend_from_slice(facts.path.as_bytes());
            return push_query(facts, b'?', out);
        }
        Rewrite::StripPrefix(prefix) => {
            let rest = match facts.path.strip_prefix(&**prefix) {
                Some("") => "/",
                Some(rest) if rest.starts_with('/') => rest,
                _ => facts.path,
            };
            out.extend_from_slice(rest.as_bytes());
            return push_query(facts, b'?', out);
        }
        Rewrite::To(template) => template,
    };
    let start = out.len();
    let mut at = Component::Path;
    for (index, part) in template.parts.iter().enumerate() {
        if let TemplatePart::Literal(text) = part {
            let text = without_empty_query(text, &template.parts, index, facts);
            push_encoded(text.as_bytes(), out, |byte| is_uri_byte(byte) && byte != b'#');
            at = at.after(text);
        } else {
            push_in_uri(part, facts, at, out);
        }
    }
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
    remove_dot_segments(out, start);
    if !template.parts.contains(&TemplatePart::Variable(Variable::Query)) {
        push_query(facts, if at == Component::Query { b'&' } else { b'?' }, out);
    }
}

fn push_query(facts: &Facts<'_>, delimiter: u8, out: &mut Vec<u8>) {
    if let Some(query) = facts.query {
        out.push(delimiter);
        out.extend_from_slice(query.as_bytes());
    }
}

/// The Host sent to an endpoint. A request that names none gets the endpoint's: HTTP/1.1 wants one.
pub fn upstream_host<'a>(
    policy: &'a HostPolicy,
    target: &'a Target,
    endpoint: &'a Endpoint,
) -> &'a str {
    match (policy, &endpoint.address) {
        (HostPolicy::Preserve, _) if !target.authority().is_empty() => target.authority(),
        (HostPolicy::Literal(host), _) => host,
        (_, EndpointAddress::Unix(_)) => "localhost",
        (_, _) => without_scheme(&endpoint.written),
    }
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

/// How many dots a dot segment has; 0 for another segment.
fn dots(segment: &[u8]) -> usize {
    let mut rest = segment;
    let mut count = 0;
    while let Some(after) = match rest {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    } {
        rest = after;
        count += 1;
    }
    if rest.is_empty() && count <= 2 { count } else { 0 }
}

/// Resolves dot segments (RFC 3986, section 5.2.4) in the path that begins with a slash at
/// `start`. Captures are of a canonical path, but put together they may make new ones.
fn remove_dot_segments(out: &mut Vec<u8>, start: usize) {
    let path = out.get(start..).unwrap_or_default();
    let length = path.iter().position(|&byte| byte == b'?').unwrap_or(path.len());
    let segments = path.get(1..length).unwrap_or_default().split(|&byte| byte == b'/');
    if segments.map(dots).all(|dots| dots == 0) {
        return;
    }
    let end = start + length;
    let (mut read, mut write) = (start + 1, start + 1); // both after a slash
    while read <= end {
        let unread = out.get(read..end).unwrap_or_default();
        let segment = unread.iter().position(|&byte| byte == b'/').unwrap_or(unread.len());
        let is_last = segment == unread.len();
        match dots(unread.get(..segment).unwrap_or_default()) {
            0 => {
                let with_slash = segment + usize::from(!is_last);
                out.copy_within(read..read + with_slash, write);
                write += with_slash;
            }
            1 => {}
            _ => {
                let kept = out.get(start..write.saturating_sub(1)).unwrap_or_default();
                let parent = kept.iter().rposition(|&byte| byte == b'/');
                write = start + 1 + parent.unwrap_or(0);
            }
        }
        read += segment + 1;
    }
    out.drain(write..end);
}
