//! What a successful unsafe request makes invalid (RFC 9111, section 4.4).

use config::CacheKey;
use message::{Fields, Known, Method, Request, Response, Target};

use crate::key::{write_parts, write_uri};

/// Calls `each` with the URI part of the keys ([`write_uri`]) that a response to an unsafe request makes invalid: that of the request, and those of `Location` and
/// `Content-Location` if they have the same origin. An error makes nothing invalid.
pub fn invalidated(
    request: &Request,
    response: &Response,
    key: &CacheKey,
    mut each: impl FnMut(&[u8]),
) {
    if request.method.is_safe() || !(200..400).contains(&response.status) {
        return;
    }
    let mut uri = Vec::new();
    write_uri(&mut uri, &request.target, key);
    each(&uri);
    for known in [Known::Location, Known::ContentLocation] {
        for reference in response.fields.get_all(known) {
            if let Some(target) = resolve(&request.target, reference) {
                uri.clear();
                let own = &request.target;
                write_parts(&mut uri, own.outer_scheme(), own.outer_authority(), &target, key);
                each(&uri);
            }
        }
    }
}

/// Whether `Content-Location` names the request's own target: what came is what a GET of it would get (RFC 9110, section 8.7).
pub(crate) fn is_own_content_location(request: &Request, fields: &Fields) -> bool {
    let mut references = fields.get_all(Known::ContentLocation);
    let (Some(reference), None) = (references.next(), references.next()) else { return false };
    resolve(&request.target, reference)
        .is_some_and(|target| target.path_and_query() == request.target.path_and_query())
}

/// The target that a reference in a response to a request for `base` names (RFC 3986, section 5.2), if it has the same origin.
fn resolve(base: &Target, reference: &[u8]) -> Option<Target> {
    let reference = reference.split(|&byte| byte == b'#').next().unwrap_or_default();
    let has_scheme = reference
        .iter()
        .position(|byte| matches!(byte, b':' | b'/' | b'?'))
        .is_some_and(|at| reference.get(at) == Some(&b':'));
    let mut text = Vec::new();
    match reference {
        _ if has_scheme => {}
        [b'/', b'/', ..] => {
            text.extend_from_slice(base.outer_scheme().as_str().as_bytes());
            text.push(b':');
        }
        [b'/', ..] => {}
        [b'?', ..] => text.extend_from_slice(base.path().as_bytes()),
        [] => text.extend_from_slice(base.path_and_query().as_bytes()),
        _ => {
            let path = base.path().as_bytes();
            let directory = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
            text.extend_from_slice(path.get(..directory)?);
        }
    }
    text.extend_from_slice(reference);
    let mut target = Target::default();
    let host = Some(base.authority().as_bytes());
    target.parse(&Method::Get, &text, host, base.scheme()).ok()?;
    let is_inner = target.scheme() == base.scheme() && target.authority() == base.authority();
    let is_outer =
        target.scheme() == base.outer_scheme() && target.authority() == base.outer_authority();
    (is_inner || is_outer).then_some(target)
}

#[cfg(test)]
mod tests {
    use message::Scheme;

    use super::*;

    fn request(method: &str, target: &str) -> Request {
        let mut request =
            Request { method: Method::parse(method.as_bytes()).unwrap(), ..Request::default() };
        let host = Some(&b"a.example"[..]);
        request.target.parse(&Method::Get, target.as_bytes(), host, Scheme::Http).unwrap();
        request
    }

    #[track_caller]
    fn check(method: &str, target: &str, status: u16, fields: &[(&str, &str)], expected: &[&str]) {
        let mut response = Response { status, ..Response::default() };
        for (name, value) in fields {
            response.fields.push(name.as_bytes(), value.as_bytes());
        }
        let mut got = Vec::new();
        invalidated(&request(method, target), &response, &CacheKey::default(), |uri| {
            got.push(String::from_utf8_lossy(uri).into_owned());
        });
        let expected: Vec<_> =
            expected.iter().map(|path| format!("http://a.example{path}")).collect();
        assert_eq!(got, expected, "{method} {target} {status} {fields:?}");
    }

    #[test]
    fn what_becomes_invalid() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
            check(method, "/x", 200, &[], &["/x"]);
            check(method, "/x?y", 204, &[], &["/x?y"]);
            check(method, "/x", 303, &[], &["/x"]);
            check(method, "/x", 404, &[("Location", "/y")], &[]);
            check(method, "/x", 500, &[], &[]);
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            check(method, "/x", 200, &[("Location", "/y")], &[]);
        }
    }

    #[test]
    fn references() {
        for field in ["Location", "Content-Location"] {
            let one = |reference: &str, expected: &str| {
                check("POST", "/d/x?q", 201, &[(field, reference)], &["/d/x?q", expected]);
            };
            one("/y", "/y");
            one("y", "/d/y");
            one("../y", "/y");
            one("./y?z", "/d/y?z");
            one("?z", "/d/x?z");
            one("", "/d/x?q");
            one("#f", "/d/x?q");
            one("y#f", "/d/y");
            one("/y%2e%2E/%7Ez", "/y../~z");
            one("http://a.example/y", "/y");
            one("HTTP://A.example:80/y", "/y");
            one("//a.example/y", "/y");
            one("a/b:c", "/d/a/b:c");
            let none = |reference: &str| {
                check("POST", "/d/x?q", 201, &[(field, reference)], &["/d/x?q"]);
            };
            none("https://a.example/y");
            none("http://b.example/y");
            none("http://a.example:8080/y");
            none("http://a.example.b/y");
            none("http://a.example@b/y");
            none("//b.example/y");
            none("ftp://a.example/y");
            none("mailto:a@a.example");
            none("http:");
            none("http:///y");
            none("/y\u{7f}");
        }
    }

    #[test]
    fn posts_for_get() {
        let own = |target: &str, reference: &str| {
            let mut fields = Fields::new();
            fields.push(b"Content-Location", reference.as_bytes());
            is_own_content_location(&request("POST", target), &fields)
        };
        assert!(own("/x?y", "/x?y") && own("/x", "http://a.example/x") && own("/x", ""));
        assert!(!own("/x?y", "/x") && !own("/x", "/y") && !own("/x", "http://b/x"));
        assert!(!is_own_content_location(&request("POST", "/x"), &Fields::new()));
    }
}
