//! The key of a request: scheme, authority, path and query, and what the configuration adds.
//!
//! The first part names the resource ([`write_uri`]): all that is invalidated or purged together. What follows is whatever else the origin gets to
//! see that requests for one resource may differ in: the spelling of host, path and query, and the fields and cookies of the configuration.
//! Invariant: two requests that differ in a part of the key have different bytes. Canonical text and fields hold no byte 0, which therefore separates.

use config::{CacheKey, Caching, QueryKey};
use message::{Request, Scheme, Target, cookies};

use crate::vary::write_value;

/// Parameters of a query that are put in order; a query with more stays as it is.
const SORTED_MAX: usize = 64;

/// Writes the key of a request: what [`write_uri`] writes, then a 0 and the rest, if there is any.
pub fn write_key(out: &mut Vec<u8>, request: &Request, caching: &Caching) {
    let key = &caching.key;
    write_uri(out, &request.target, key);
    write_spelling(out, &request.target, key);
    for name in &key.fields {
        out.extend_from_slice(b"\0f");
        write_value(out, name.as_bytes(), &request.fields);
    }
    for wanted in &key.cookies {
        out.extend_from_slice(b"\0c");
        for (name, value) in cookies(&request.fields) {
            if name == wanted.as_bytes() {
                out.push(b'=');
                out.extend_from_slice(value);
                out.push(b';');
            }
        }
    }
}

/// Writes the part of a key that names the resource: scheme, authority, path and query, canonical and as the client asked for them. No byte of it
/// is 0, so that it ends where the key does or where a 0 follows.
pub fn write_uri(out: &mut Vec<u8>, target: &Target, key: &CacheKey) {
    write_parts(out, target.outer_scheme(), target.outer_authority(), target, key);
}

/// As [`write_uri`], for a path and query of a host that is named otherwise.
pub(crate) fn write_parts(
    out: &mut Vec<u8>,
    scheme: Scheme,
    authority: &str,
    target: &Target,
    key: &CacheKey,
) {
    out.extend_from_slice(scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(target.path().as_bytes());
    write_query(out, target.query().map(str::as_bytes), key);
}

/// Writes how the client spells what is canonical in the key, where that differs. The origin gets the client's spelling, and need not read it as
/// we do: what it answers to one spelling is not for those who use another.
fn write_spelling(out: &mut Vec<u8>, target: &Target, key: &CacheKey) {
    if target.outer_authority() != target.written_authority() {
        out.extend_from_slice(b"\0h");
        out.extend_from_slice(target.written_authority().as_bytes());
    }
    if target.outer_scheme() != target.scheme() {
        out.extend_from_slice(b"\0s");
        out.extend_from_slice(target.scheme().as_str().as_bytes());
    }
    if target.sent() == target.path_and_query().as_bytes() {
        return;
    }
    if target.sent_path() != target.path().as_bytes() {
        out.extend_from_slice(b"\0p");
        out.extend_from_slice(target.sent_path());
    }
    if target.sent_query() != target.query().map(str::as_bytes) {
        out.extend_from_slice(b"\0q");
        write_query(out, target.sent_query(), key);
    }
}

/// Writes a `?` and the parameters that count, in the order of the key; nothing if there is no query, or if none of its parameters counts.
///
/// An origin that is asked for a response to be stored should get no other parameters ([`Target::sent_query`] through this): it might print one
/// that the key leaves out, for everyone.
pub fn write_query(out: &mut Vec<u8>, query: Option<&[u8]>, key: &CacheKey) {
    let Some(query) = query else { return };
    let counts = |parameter: &&[u8]| {
        let name = parameter.split(|&byte| byte == b'=').next().unwrap_or_default();
        match &key.query {
            QueryKey::All => true,
            QueryKey::None => false,
            QueryKey::Keep(names) => names.iter().any(|pattern| pattern.has(name)),
            QueryKey::Drop(names) => !names.iter().any(|pattern| pattern.has(name)),
        }
    };
    let parameters = || query.split(|&byte| byte == b'&').filter(counts);
    if key.query == QueryKey::All && !key.sort_query {
        out.push(b'?');
        out.extend_from_slice(query);
        return;
    }
    let (mut sorted, mut count) = ([(&b""[..], 0); SORTED_MAX], 0);
    for parameter in parameters().filter(|_| key.sort_query) {
        let Some(room) = sorted.get_mut(count) else { return write_parameters(out, parameters()) };
        *room = (parameter, count);
        count += 1;
    }
    if !key.sort_query {
        return write_parameters(out, parameters());
    }
    let sorted = sorted.get_mut(..count).unwrap_or_default();
    // Parameters of one name keep their order.
    let name = |parameter: &'_ [u8]| parameter.iter().position(|&byte| byte == b'=');
    sorted.sort_unstable_by(|(one, one_at), (other, other_at)| {
        let one = one.get(..name(one).unwrap_or(one.len()));
        let other = other.get(..name(other).unwrap_or(other.len()));
        one.cmp(&other).then(one_at.cmp(other_at))
    });
    write_parameters(out, sorted.iter().map(|(parameter, _)| *parameter));
}

fn write_parameters<'q>(out: &mut Vec<u8>, parameters: impl Iterator<Item = &'q [u8]>) {
    for (index, parameter) in parameters.enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        out.extend_from_slice(parameter);
    }
}

#[cfg(test)]
mod tests {
    use config::NamePattern;
    use message::Method;

    use super::*;

    fn request(host: &str, target: &str) -> Request {
        let mut request = Request::default();
        let host = Some(host.as_bytes());
        request.target.parse(&Method::Get, target.as_bytes(), host, Scheme::Http).unwrap();
        request
    }

    fn key_of(request: &Request, caching: &Caching) -> String {
        let mut out = Vec::new();
        write_key(&mut out, request, caching);
        String::from_utf8_lossy(&out).replace('\0', " ")
    }

    #[test]
    fn keys() {
        #[track_caller]
        fn check(host: &str, target: &str, expected: &str) {
            assert_eq!(key_of(&request(host, target), &Caching::default()), expected);
        }
        check("a", "/", "http://a/");
        check("a", "/x?y=1&z", "http://a/x?y=1&z");
        check("a", "/x?", "http://a/x?");
        check("a:8080", "/", "http://a:8080/");
        check("A.example:80", "/", "http://a.example/ hA.example:80");
        check("a", "https://b/x", "https://b/x");
        check("a", "/x/../y", "http://a/y");
        // What the origin may read otherwise is apart, below the same resource.
        check("a", "/%78", "http://a/x p/%78");
        check("a", "/x?%79=1", "http://a/x?%79=1"); // a query stays as it is
        check("a", "/x?\u{fc}", "http://a/x?%C3%BC q?\u{fc}");
        check("a", "/x;v=1/y", "http://a/x;v=1/y");
        check("a", "/a%2Fb", "http://a/a%2Fb");
    }

    #[test]
    fn queries() {
        #[track_caller]
        fn check(query: QueryKey, sort_query: bool, target: &str, expected: &str) {
            let key = CacheKey { query, sort_query, ..CacheKey::default() };
            let caching = Caching { key, ..Caching::default() };
            assert_eq!(key_of(&request("a", target), &caching), format!("http://a{expected}"));
        }
        let names = |names: &[&str]| names.iter().map(|name| NamePattern::new(name)).collect();
        check(QueryKey::None, false, "/x?y=1", "/x");
        check(QueryKey::None, true, "/x?y=1", "/x");
        check(QueryKey::All, true, "/x?b=1&a=2&a=1&c", "/x?a=2&a=1&b=1&c");
        check(QueryKey::All, true, "/x?", "/x?");
        check(QueryKey::Keep(names(&["a", "b*"])), false, "/x?ba=1&c=2&a=3&aa=4", "/x?ba=1&a=3");
        check(QueryKey::Keep(names(&["a", "b*"])), true, "/x?ba=1&c=2&a=3&aa=4", "/x?a=3&ba=1");
        check(QueryKey::Keep(names(&["a"])), true, "/x?c=2", "/x");
        check(
            QueryKey::Drop(names(&["utm_*", "fbclid"])),
            false,
            "/x?utm_a=1&b=2&fbclid=3&",
            "/x?b=2&",
        );
        check(QueryKey::Drop(names(&["utm_*"])), false, "/x?utm_a=1", "/x");
        check(QueryKey::Drop(names(&["utm_*"])), false, "/x?utm%5Fa=1", "/x?utm%5Fa=1");
        let many = (0..100).rev().map(|n| format!("p{n:02}=1")).collect::<Vec<_>>().join("&");
        check(QueryKey::All, true, &format!("/x?{many}"), &format!("/x?{many}"));
    }

    #[test]
    fn fields_and_cookies_of_the_key() {
        let key = CacheKey {
            fields: ["X-Device".into()].into(),
            cookies: ["lang".into(), "b".into()].into(),
            ..CacheKey::default()
        };
        let caching = Caching { key, ..Caching::default() };
        let of = |lines: &[(&str, &str)]| {
            let mut request = request("a", "/");
            lines.iter().for_each(|(name, value)| {
                request.fields.push(name.as_bytes(), value.as_bytes());
            });
            key_of(&request, &caching)
        };
        assert_eq!(of(&[]), "http://a/ f c c");
        assert_eq!(of(&[("x-device", "phone"), ("Y", "1")]), "http://a/ f=phone c c");
        assert_eq!(of(&[("X-Device", "")]), "http://a/ f= c c");
        assert_eq!(of(&[("Cookie", "b=2; lang=de; c=3")]), "http://a/ f c=de; c=2;");
        assert_eq!(of(&[("Cookie", "lang=de; lang=en")]), "http://a/ f c=de;=en; c");
    }
}
