//! What an application says of itself, put into the client's terms.
//!
//! An application behind the proxy may be asked by another name, port and path than its client uses. Where it
//! names itself in `Location`, `Content-Location`, `Refresh` and `Set-Cookie`, the client needs its own:
//! [`translate`] changes these fields and no other. What the application says of others stays, and so does what
//! it has right already, because it reads `X-Forwarded-Prefix` and its like.
//! Not here: edits of the configuration, which come later and win (`leaving`).
//! Nothing is allocated beyond the room in a buffer of the core.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use config::{Endpoint, EndpointAddress};
use message::{Fields, Known, Request, Response, Scheme};

use crate::http1::Scratch;
use crate::plan::Plan;

/// How the application was asked: where it may name itself.
#[derive(Clone, Copy)]
pub(crate) struct AskedAs<'a> {
    /// The Host that was sent.
    pub(crate) host: &'a str,
    /// The path and query that were sent.
    pub(crate) path: &'a [u8],
    /// The endpoint, if the configuration names it.
    pub(crate) endpoint: Option<&'a Endpoint>,
}

/// Puts a response of an endpoint into the client's terms.
pub(crate) fn translate(
    request: &Request,
    response: &mut Response,
    plan: &Plan<'_>,
    asked: AskedAs<'_>,
    scratch: &Scratch,
) {
    const NAMES: [Known; 4] =
        [Known::Location, Known::ContentLocation, Known::Refresh, Known::SetCookie];
    let fields = &response.fields;
    if !NAMES.iter().any(|&name| fields.has(name)) || plan.settings.keep_responses {
        return;
    }
    // A forward proxy has no route: there the client names the application itself.
    if plan.route.is_some() {
        let application = Application::new(request, plan, asked);
        let mut value = scratch.take();
        application.translate(&mut response.fields, &mut value);
        scratch.give_back(value);
    }
}

/// An application, as it was asked and as its client knows it.
struct Application<'a> {
    /// The leading part of the client's path that the application does not see; empty: it sees all.
    prefix: &'a [u8],
    /// What the application was told of the prefix, in `X-Forwarded-Prefix`.
    told: &'a [u8],
    /// Whether the client's path is the prefix itself: relative references begin beside it, not below.
    is_at_prefix: bool,
    scheme: Scheme,
    asked: AskedAs<'a>,
    client_scheme: Scheme,
    client_host: &'a str,
    /// Host and port; empty if the client has named none.
    client_authority: &'a str,
}

impl<'a> Application<'a> {
    fn new(request: &'a Request, plan: &Plan<'a>, asked: AskedAs<'a>) -> Self {
        let target = &request.target;
        let prefix = rules::stripped_prefix(&plan.settings.rewrite, target).unwrap_or_default();
        let told = request.fields.get(Known::XForwardedPrefix).unwrap_or_default();
        let is_secure = asked.endpoint.is_some_and(|endpoint| endpoint.tls);
        Self {
            prefix: prefix.as_bytes(),
            told: told.trim_ascii_end().strip_suffix(b"/").unwrap_or(told),
            is_at_prefix: target.path() == prefix,
            scheme: if is_secure { Scheme::Https } else { Scheme::Http },
            asked,
            client_scheme: target.outer_scheme(),
            client_host: target.outer_host(),
            client_authority: target.outer_authority(),
        }
    }

    fn translate(&self, fields: &mut Fields, value: &mut Vec<u8>) {
        fields.rewrite_values(value, |field, out| match field.known {
            Known::Location | Known::ContentLocation => self.url(field.value, out),
            Known::Refresh => self.refresh(field.value, out),
            Known::SetCookie => self.cookie(field.value, out),
            _ => false,
        });
    }

    /// Writes a URL reference (RFC 3986, section 4.1) as the client needs it; false: it stays.
    fn url(&self, reference: &[u8], out: &mut Vec<u8>) -> bool {
        if let Some(scheme) = scheme_of(reference) {
            let after = reference.get(scheme.len() + 1..).unwrap_or_default();
            let known = [Scheme::Http, Scheme::Https]
                .into_iter()
                .find(|known| scheme.eq_ignore_ascii_case(known.as_str().as_bytes()));
            // What has another scheme leads to another program.
            let (Some(known), Some(after)) = (known, after.strip_prefix(b"//")) else {
                return false;
            };
            let (authority, rest) = split_authority(after);
            return match self.origin(known, authority) {
                Origin::Other => false,
                Origin::Application => {
                    self.push_origin(true, out);
                    self.push_path(rest, out);
                    true
                }
                Origin::Client => {
                    out.extend_from_slice(scheme);
                    out.extend_from_slice(b"://");
                    out.extend_from_slice(authority);
                    self.push_path(rest, out)
                }
            };
        }
        if let Some(after) = reference.strip_prefix(b"//") {
            let (authority, rest) = split_authority(after);
            let of = |scheme| self.origin(scheme, authority);
            return match (of(self.scheme), of(self.client_scheme)) {
                (_, Origin::Client) | (Origin::Client, _) => {
                    out.extend_from_slice(b"//");
                    out.extend_from_slice(authority);
                    self.push_path(rest, out)
                }
                (Origin::Application, _) | (_, Origin::Application) => {
                    self.push_origin(false, out);
                    self.push_path(rest, out);
                    true
                }
                (Origin::Other, Origin::Other) => false,
            };
        }
        match reference.first() {
            Some(b'/') => self.push_path(reference, out),
            _ => self.relative(reference, out),
        }
    }

    /// Writes the client's scheme, host and port.
    fn push_origin(&self, has_scheme: bool, out: &mut Vec<u8>) {
        // A client that has named no host can still follow a path.
        if self.client_authority.is_empty() {
            return;
        }
        if has_scheme {
            out.extend_from_slice(self.client_scheme.as_str().as_bytes());
            out.push(b':');
        }
        out.extend_from_slice(b"//");
        out.extend_from_slice(self.client_authority.as_bytes());
    }

    /// Writes a path of the application, and what follows it, as the client knows it; true if that differs.
    fn push_path(&self, rest: &[u8], out: &mut Vec<u8>) -> bool {
        let (path, behind) = split_path(rest);
        if self.prefix.is_empty() {
            out.extend_from_slice(rest);
            return false;
        }
        let start = out.len();
        out.extend_from_slice(self.prefix);
        let from = out.len();
        match has_dot_segment(path) {
            true => push_without_dots(b"", path, out),
            false if path.is_empty() => out.push(b'/'),
            false => out.extend_from_slice(path),
        }
        let is_prefixed = out.get(from..).is_some_and(|path| self.has_prefix(path));
        if is_prefixed {
            // The application knows of it, and says it itself.
            out.truncate(start);
            out.extend_from_slice(path);
        }
        out.extend_from_slice(behind);
        !is_prefixed
    }

    /// Whether a path has the prefix already.
    fn has_prefix(&self, path: &[u8]) -> bool {
        is_below(path, self.prefix) || (!self.told.is_empty() && is_below(path, self.told))
    }

    /// Writes a relative reference (RFC 3986, section 4.2) if it means something else to the client than to the
    /// application: one that climbs to the application's root, and each where the client's path is the prefix.
    fn relative(&self, reference: &[u8], out: &mut Vec<u8>) -> bool {
        let (path, behind) = split_path(reference);
        if self.prefix.is_empty() || path.is_empty() {
            return false;
        }
        let (asked, _) = split_path(self.asked.path);
        let length = asked.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
        let directory = asked.get(..length).unwrap_or_default();
        if !self.is_at_prefix && !climbs_out(directory, path) {
            return false;
        }
        out.extend_from_slice(self.prefix);
        push_without_dots(directory, path, out);
        out.extend_from_slice(behind);
        true
    }

    /// Whom an http:// or https:// URL names.
    fn origin(&self, scheme: Scheme, authority: &[u8]) -> Origin {
        // User information is for somebody else: the proxy passes none on.
        if authority.contains(&b'@') {
            return Origin::Other;
        }
        let Some((host, port)) = split_port(authority) else { return Origin::Other };
        let named = port.unwrap_or(scheme.default_port());
        let is = |other: &str, other_scheme: Scheme| {
            split_port(other.as_bytes()).is_some_and(|(other, port)| {
                same_host(host, other) && named == port.unwrap_or(other_scheme.default_port())
            })
        };
        if scheme == self.client_scheme && is(self.client_authority, self.client_scheme) {
            return Origin::Client;
        }
        // The same host by the other scheme, each at its usual port. An application that insists on https:// must
        // not be led back, whatever it is asked by.
        let usual = || {
            let port = split_port(self.client_authority.as_bytes()).and_then(|(_, port)| port);
            named == scheme.default_port()
                && port.is_none_or(|port| port == self.client_scheme.default_port())
                && same_host(host, self.client_host.as_bytes())
        };
        let is_upgrade = (scheme, self.client_scheme) == (Scheme::Https, Scheme::Http);
        if is_upgrade && usual() {
            return Origin::Client;
        }
        let at_endpoint = || match self.asked.endpoint.map(|endpoint| (endpoint, &endpoint.address))
        {
            Some((endpoint, EndpointAddress::Ip(address))) => {
                let is_address = same_ip(host, address.ip()) && named == address.port();
                is_address || is(rules::written_authority(endpoint), self.scheme)
            }
            Some((_, EndpointAddress::Name { host: name, port })) => {
                same_host(host, name.as_bytes()) && named == *port
            }
            Some((_, EndpointAddress::Unix(_))) | None => false,
        };
        if is(self.asked.host, self.scheme) || at_endpoint() {
            return Origin::Application;
        }
        if usual() { Origin::Client } else { Origin::Other }
    }

    /// Writes a value of `Refresh` (HTML, section "shared declarative refresh steps"); false: it stays.
    fn refresh(&self, value: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(range) = refresh_url(value) else { return false };
        let (before, url, behind) = parts(value, &range);
        out.extend_from_slice(before);
        let is_changed = self.url(url, out);
        out.extend_from_slice(behind);
        is_changed
    }

    /// Writes a cookie (RFC 6265, section 5.2) with the path and domain that it needs at the client; false: it
    /// stays.
    fn cookie(&self, value: &[u8], out: &mut Vec<u8>) -> bool {
        let cookie = Cookie::of(value);
        // Such a cookie must have the path `/` and no domain.
        let is_of_host = value.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"__Host-"));
        let is_usable = |path: &Range<usize>| value.get(path.start) == Some(&b'/');
        let path = cookie.path.filter(is_usable);
        let moves = !is_of_host && !self.prefix.is_empty();
        let moved = path.clone().filter(|path| {
            let path = value.get(path.clone()).unwrap_or_default();
            moves && !self.has_prefix(path)
        });
        // Without a path, clients take the directory of their own: that of `/app` is `/`.
        let appends = moves && path.is_none() && self.is_at_prefix;
        let domain = cookie.domain.filter(|(domain, _)| self.is_own_domain(value, domain));
        let domain = domain.map(|(domain, whole)| if self.has_domain() { domain } else { whole });
        if moved.is_none() && domain.is_none() && !appends {
            return false;
        }
        let mut at = 0;
        let mut edits = [moved.map(|path| (path, true)), domain.map(|domain| (domain, false))];
        edits.sort_by_key(|edit| edit.as_ref().map(|(range, _)| range.start));
        for (range, is_path) in edits.into_iter().flatten() {
            let (before, old, _) = parts(value, &range);
            out.extend_from_slice(before.get(at..).unwrap_or_default());
            at = range.end;
            if is_path {
                out.extend_from_slice(self.prefix);
                out.extend_from_slice(if old == b"/" { b"" } else { old });
            } else if self.has_domain() {
                out.extend_from_slice(self.client_host.as_bytes());
            }
        }
        out.extend_from_slice(value.get(at..).unwrap_or_default());
        if appends {
            out.extend_from_slice(b"; Path=");
            out.extend_from_slice(self.prefix);
        }
        true
    }

    /// Whether a cookie's domain is the application's own name, and not the client's for it.
    fn is_own_domain(&self, value: &[u8], domain: &Range<usize>) -> bool {
        let domain = value.get(domain.clone()).unwrap_or_default();
        let domain = domain.strip_prefix(b".").unwrap_or(domain);
        if domain.is_empty() || same_host(domain, self.client_host.as_bytes()) {
            return false;
        }
        let host_of = |authority: &'a str| split_port(authority.as_bytes()).map(|(host, _)| host);
        let endpoint = self
            .asked
            .endpoint
            .filter(|endpoint| !matches!(endpoint.address, EndpointAddress::Unix(_)));
        let own_names = [
            host_of(self.asked.host),
            endpoint.and_then(|endpoint| host_of(rules::written_authority(endpoint))),
        ];
        own_names.into_iter().flatten().any(|name| same_host(domain, name))
    }

    /// Whether the client's host can be the domain of a cookie: clients take none that is an address or has no dot.
    fn has_domain(&self) -> bool {
        let host = self.client_host;
        let is_address = host.contains(':') || host.parse::<Ipv4Addr>().is_ok();
        host.contains('.') && !is_address
    }
}

/// Whom a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The application, as the proxy knows it.
    Application,
    /// The application, as the client knows it.
    Client,
    /// Somebody else.
    Other,
}

/// Where in a cookie its last `Path` and `Domain` are: these count.
#[derive(Default)]
struct Cookie {
    path: Option<Range<usize>>,
    /// The value, and the whole with the semicolon before it.
    domain: Option<(Range<usize>, Range<usize>)>,
}

impl Cookie {
    fn of(value: &[u8]) -> Self {
        let mut cookie = Self::default();
        let mut start = 0;
        // To clients a quote does not keep a semicolon from ending a value.
        for (index, part) in value.split(|&byte| byte == b';').enumerate() {
            let at = start;
            start += part.len() + 1;
            let Some(equals) = part.iter().position(|&byte| byte == b'=').filter(|_| index > 0)
            else {
                continue;
            };
            let (name, text) = part.split_at(equals);
            let text = text.get(1..).unwrap_or_default();
            let from = at + equals + 1 + (text.len() - text.trim_ascii_start().len());
            let mut range = from..from + text.trim_ascii().len();
            if let [b'"', .., b'"'] = text.trim_ascii() {
                range = range.start + 1..range.end - 1;
            }
            let whole = at.saturating_sub(1)..at + part.len();
            match name.trim_ascii() {
                name if name.eq_ignore_ascii_case(b"Path") => cookie.path = Some(range),
                name if name.eq_ignore_ascii_case(b"Domain") => {
                    cookie.domain = Some((range, whole));
                }
                _ => {}
            }
        }
        cookie
    }
}

/// The scheme of a URL with one.
fn scheme_of(reference: &[u8]) -> Option<&[u8]> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let end = reference.iter().position(|byte| !is_part(byte))?;
    let scheme = reference.get(..end)?;
    let is_scheme =
        reference.get(end) == Some(&b':') && scheme.first().is_some_and(u8::is_ascii_alphabetic);
    is_scheme.then_some(scheme)
}

/// The authority at the start, and the rest.
fn split_authority(text: &[u8]) -> (&[u8], &[u8]) {
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'\\');
    text.split_at(text.iter().position(ends).unwrap_or(text.len()))
}

/// The path at the start; query and fragment.
fn split_path(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(text.len()))
}

/// What stands before a range, in it, and behind.
fn parts<'t>(text: &'t [u8], range: &Range<usize>) -> (&'t [u8], &'t [u8], &'t [u8]) {
    let part = |range| text.get(range).unwrap_or_default();
    (part(0..range.start), part(range.clone()), part(range.end..text.len()))
}

/// Host (IPv6 without brackets) and port; `None` if it is not an authority.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, port) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        None => {
            let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    let port = match port {
        // RFC 3986, section 3.2.3: the port may be empty.
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

fn same_host(one: &[u8], other: &[u8]) -> bool {
    let bare = |host: &'_ [u8]| host.len() - usize::from(host.ends_with(b"."));
    let v6 = |host: &[u8]| str::from_utf8(host).ok()?.parse::<Ipv6Addr>().ok();
    let (name, other_name) = (one.get(..bare(one)), other.get(..bare(other)));
    match (name, other_name) {
        (Some(name), Some(other_name)) if name.eq_ignore_ascii_case(other_name) => true,
        _ => one.contains(&b':') && v6(one).is_some_and(|ip| v6(other) == Some(ip)),
    }
}

fn same_ip(host: &[u8], ip: IpAddr) -> bool {
    let host = str::from_utf8(host).ok().and_then(|host| host.parse::<IpAddr>().ok());
    host.is_some_and(|host| host.to_canonical() == ip.to_canonical())
}

/// Whether a path is this one or below it.
fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn is_dot(segment: &[u8]) -> bool {
    segment == b"." || segment.eq_ignore_ascii_case(b"%2e")
}

fn is_double_dot(segment: &[u8]) -> bool {
    let forms: [&[u8]; 4] = [b"..", b".%2e", b"%2e.", b"%2e%2e"];
    forms.iter().any(|form| segment.eq_ignore_ascii_case(form))
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| is_dot(segment) || is_double_dot(segment))
}

/// Whether a relative path leaves the root on its way from a directory.
fn climbs_out(directory: &[u8], path: &[u8]) -> bool {
    let mut depth = directory.iter().filter(|&&byte| byte == b'/').count().saturating_sub(1);
    for segment in path.split(|&byte| byte == b'/') {
        match depth.checked_sub(1) {
            _ if is_dot(segment) => {}
            None if is_double_dot(segment) => return true,
            Some(less) if is_double_dot(segment) => depth = less,
            _ => depth += 1,
        }
    }
    false
}

/// Adds the path that a path means in a directory (RFC 3986, section 5.2.4), which begins with a slash.
fn push_without_dots(directory: &[u8], path: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut ends_in_directory = false;
    let joined = directory.split(|&byte| byte == b'/').skip(1);
    // The last segment of a directory is the empty one behind its slash; the path stands in its place.
    let count = directory.iter().filter(|&&byte| byte == b'/').count().saturating_sub(1);
    let skipped = usize::from(directory.is_empty() && path.starts_with(b"/"));
    let of_path = path.split(|&byte| byte == b'/').skip(skipped);
    for segment in joined.take(count).chain(of_path) {
        ends_in_directory = is_dot(segment) || is_double_dot(segment);
        if is_double_dot(segment) {
            let last = out.get(start..).and_then(|path| path.iter().rposition(|&b| b == b'/'));
            out.truncate(start + last.unwrap_or(0));
        } else if !ends_in_directory {
            out.push(b'/');
            out.extend_from_slice(segment);
        }
    }
    if ends_in_directory || out.len() == start {
        out.push(b'/');
    }
}

/// Where the URL in a value of `Refresh` is.
fn refresh_url(value: &[u8]) -> Option<Range<usize>> {
    let space = |from: usize| {
        let rest = value.get(from..).unwrap_or_default();
        from + (rest.len() - rest.trim_ascii_start().len())
    };
    let is_time = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let digits = value.iter().take_while(is_time).count();
    let mut at = space(digits);
    match value.get(at) {
        Some(b';' | b',') => at = space(at + 1),
        // White space parts them too.
        Some(_) if at > digits => {}
        _ => return None,
    }
    if digits == 0 {
        return None;
    }
    if value.get(at..at + 3).is_some_and(|word| word.eq_ignore_ascii_case(b"url")) {
        let equals = space(at + 3);
        if value.get(equals) == Some(&b'=') {
            at = space(equals + 1);
        }
    }
    let end = match value.get(at) {
        Some(quote @ (b'"' | b'\'')) => {
            at += 1;
            let rest = value.get(at..).unwrap_or_default();
            at + rest.iter().position(|byte| byte == quote).unwrap_or(rest.len())
        }
        _ => value.len(),
    };
    (end > at).then_some(at..end)
}

#[cfg(test)]
mod tests;
