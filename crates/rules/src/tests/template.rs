use std::net::IpAddr;

use config::{Endpoint, EndpointAddress, HostPolicy, Rewrite};
use message::{Method, Request, Scheme, Target};
use proptest::prelude::*;

use crate::fixtures::{pattern, template};
use crate::{
    Captures, ClientFacts, Facts, Maps, PathTraversal, TlsFacts, expand, location, upstream_host,
    upstream_path,
};

/// Facts of `GET http://a.example{path}` from 192.0.2.7, whose route has the pattern.
fn with_facts<R>(
    pattern_text: &str,
    path_and_query: &str,
    then: impl FnOnce(&Facts<'_>) -> R,
) -> R {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let pattern = pattern(pattern_text);
    let request = Request::default();
    then(&Facts {
        client: "::ffff:192.0.2.7".parse().unwrap(),
        client_port: Some(40_000),
        port: 8443,
        routed: path,
        path: path.as_bytes(),
        query: query.map(str::as_bytes),
        uri: path_and_query.as_bytes(),
        captures: Captures::of_pattern(&pattern, path.as_bytes()),
        ..facts_of(&request)
    })
}

/// Facts of `GET http://a.example` from 192.0.2.1 with the fields of a request.
pub(super) fn facts_of(request: &Request) -> Facts<'_> {
    let client = ClientFacts {
        address: IpAddr::from([192, 0, 2, 1]),
        port: None,
        listener_port: 80,
        user: None,
        tls: None,
    };
    let facts = Facts::of(client, request, None, Maps::none());
    Facts { scheme: Scheme::Http, host: "a.example", authority: "A.example:81", ..facts }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"kept ".to_vec();
    write(&mut out);
    String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned()
}

#[test]
fn values_of_fields() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = with_facts("/u/{id}/*", "/u/7%20a/b/c?q=1", |facts| {
            written(|out| expand(&template(text), facts, out))
        });
        assert_eq!(got, expected, "{text}");
    }
    check("plain \u{e4}", "plain \u{e4}");
    check("{client} {method}", "192.0.2.7 GET");
    check("{scheme}://{host}{path}?{query}", "http://a.example/u/7%20a/b/c?q=1");
    check("<{id}> {rest} {unknown}.", "<7%20a> b/c .");
    check("a\r\nX: b\0", "a  X: b ");
}

#[test]
fn what_tls_tells() {
    let mut shown = crate::fixtures::certificate();
    shown.names.push("uri:a,b".into());
    let tls = TlsFacts { version: "TLSv1.3", name: Some("a.example"), client: Some(&shown) };
    let text = "{tls-version}|{tls-name}|{client-subject}|{client-names}|{client-fingerprint}";
    let check = |tls: Option<TlsFacts<'_>>, expected: &str| {
        let got = with_facts("/*", "/", |facts| {
            written(|out| expand(&template(text), &Facts { tls, ..*facts }, out))
        });
        assert_eq!(got, expected);
    };
    check(None, "||||");
    check(Some(TlsFacts { client: None, ..tls }), "TLSv1.3|a.example|||");
    let names = "ops.example.com,ops@mail.example.com,10.0.0.1,uri:a%2Cb";
    let fingerprint = "ab".repeat(32);
    check(Some(tls), &format!("TLSv1.3|a.example|CN=ops,O=Example|{names}|{fingerprint}"));
}

#[test]
fn redirects() {
    #[track_caller]
    fn check(pattern: &str, path: &str, text: &str, expected: &str) {
        let got =
            with_facts(pattern, path, |facts| written(|out| location(&template(text), facts, out)));
        assert_eq!(got, expected, "{text} for {path}");
    }
    check("/old/*", "/old/a", "/new/{rest}", "/new/a");
    check("/old/*", "/old", "/new/{rest}", "/new/");
    check("/old/*", "/old/a%20b/c", "/new/{rest}", "/new/a%20b/c");
    check("/*", "/a?x=1&y=2", "https://{host}{path}?{query}", "https://a.example/a?x=1&y=2");
    check("/*", "/a", "https://{host}:8443{path}?{query}", "https://a.example:8443/a");
    check("/*", "/a?", "https://{host}{path}?{query}", "https://a.example/a?"); // it is there
    check("/*", "/a", "/b?x&{query}", "/b?x&");
    check("/*", "/a", "{scheme}://www.{host}{path}", "http://www.a.example/a");
    check("/u/{id}", "/u/a&b+c", "/find?user={id}&in=x", "/find?user=a%26b%2Bc&in=x");
    check("/*", "/a?b#c", "/x?{query}", "/x?b%23c");
    check("/*", "/", "/sch\u{f6}n {x}", "/sch%C3%B6n%20");
    check("/u/{id}", "/u/k", "https://{id}.example.com/", "https://k.example.com/");
    check("/*", "/a", "?to={rest}", "?to=a");
}

#[test]
fn redirects_lead_nowhere_else() {
    #[track_caller]
    fn check(pattern: &str, path: &str, text: &str, expected: &str) {
        let got =
            with_facts(pattern, path, |facts| written(|out| location(&template(text), facts, out)));
        assert_eq!(got, expected, "{text} for {path}");
    }
    // `//evil` would be another host (RFC 3986, section 4.2).
    check("/old/*", "/old//evil.example/x", "/{rest}", "/evil.example/x");
    check("/old/*", "/old////evil.example", "/{rest}", "/evil.example");
    check("/*", "//evil.example", "{path}", "/evil.example");
    check("/*", "/http://evil.example", "{rest}", "/http://evil.example");
    check("/*", "/javascript:alert(1)", "{rest}", "/javascript:alert(1)");
    check("/*", "//evil.example", "//{host}{path}", "//a.example//evil.example");
    // A host is never completed by what a client sends.
    check("/*", "/.evil.example", "https://example.com{rest}", "https://example.com/.evil.example");
    check("/*", "/@evil.example", "https://example.com{rest}", "https://example.com/@evil.example");
    check(
        "/*",
        "/:80@evil.example",
        "https://example.com{path}",
        "https://example.com/:80@evil.example",
    );
    check(
        "/u/{id}",
        "/u/evil.example:80@x",
        "https://{id}.a.b/",
        "https://evil.example%3A80%40x.a.b/",
    );
    check("/u/{id}", "/u/evil.example%2F", "https://{id}.a.b/", "https://evil.example%252F.a.b/");
    check("/u/{id}", "/u/evil.example", "https://{id}", "https:///evil.example");
    // A template of the site does not become one of another host by what stands further on.
    check("/*", "//evil.example", "{path}?next=https://a/", "/evil.example?next=https://a/");
    check(
        "/old/*",
        "/old//evil.example",
        "/{rest}&next=https://a/",
        "/evil.example&next=https://a/",
    );
    // Nor by bytes that some reader would drop or take for a slash.
    check("/old/*", "/old/\\evil.example", "/{rest}", "/%5Cevil.example");
    check("/old/*", "/old/\t/evil.example\r\nX: y", "/{rest}", "/%09/evil.example%0D%0AX:%20y");
}

#[test]
fn paths_sent_upstream() {
    #[track_caller]
    fn check(rewrite: Rewrite, pattern: &str, path: &str, expected: &str) {
        let got = with_facts(pattern, path, |facts| {
            written(|out| upstream_path(&rewrite, facts, out).unwrap())
        });
        assert_eq!(got, expected, "{rewrite:?} of {path}");
    }
    let keep = || Rewrite::Keep;
    let strip = || Rewrite::StripPrefix("/api".into());
    let to = |text: &str| Rewrite::To(template(text));
    check(keep(), "/*", "/a/b?c", "/a/b?c");
    check(keep(), "/*", "/a?", "/a?");
    check(keep(), "/*", "*", "*");
    check(strip(), "/api/*", "/api/x?y", "/x?y");
    check(strip(), "/api/*", "/api?y", "/?y");
    check(strip(), "/api/*", "/api/", "/");
    check(strip(), "/*", "/apix", "/apix");
    check(strip(), "/*", "/x/api", "/x/api");
    check(to("/v2/{rest}"), "/v1/*", "/v1/a/b?c=d", "/v2/a/b?c=d");
    check(to("/v2/{rest}"), "/v1/*", "/v1", "/v2/");
    check(to("{rest}"), "/*", "/a", "/a");
    check(to("/user?id={id}"), "/u/{id}", "/u/a&b?x=1", "/user?id=a%26b&x=1");
    check(to("/q/{query}"), "/*", "/?a=b&c", "/q/a=b&c");
    check(to("/q?{query}"), "/*", "/", "/q");
    check(to("/q?{query}"), "/*", "/?", "/q?");
    check(to("/q?z={query}&y"), "/*", "/?a=b", "/q?z=a=b&y");
    check(to("/a/b/{query}"), "/*", "/?.", "/a/b/.");
    check(to("/.{rest}"), "/*", "/a/b", "/.a/b");
    check(to("/a{rest}"), "/*", "/?x", "/a?x");
    check(to("/a/{query}"), "/*", "/?..a/.../b..", "/a/..a/.../b..");
    check(to("/a?x=/../&{query}"), "/*", "/?../b|", "/a?x=/../&../b|");
    // The client's spelling stays, as far as a path may hold it.
    check(strip(), "/api/*", "/api/%7Ex|{}//y;z?|", "/%7Ex|{}//y;z?|");
    check(to("/v2/{rest}"), "/v1/*", "/v1/%7Ex|%zz%;\u{fc}?|", "/v2/%7Ex%7C%25zz%25;%C3%BC?|");
    // One slash at the start: the second would make a host of what follows (RFC 3986, section 4.2).
    check(to("/{rest}"), "/old/*", "/old//host/admin", "/host/admin");
}

#[test]
fn rewritten_paths_stay_below_what_the_template_wrote() {
    #[track_caller]
    fn check(text: &str, pattern: &str, path: &str) {
        let rewrite = Rewrite::To(template(text));
        let got =
            with_facts(pattern, path, |facts| upstream_path(&rewrite, facts, &mut Vec::new()));
        assert_eq!(got, Err(PathTraversal), "{text} of {path}");
    }
    for query in [
        "../../etc",
        "..",
        "/..",
        "a/../b",
        "%2e%2E",
        ".%2e/x",
        "..%2fx",
        "..%5Cx",
        "..\\x",
        "..;/x",
        "..;a=b",
        "..%3bx",
        "a%2F..",
        "..%00",
    ] {
        check("/safe/{query}", "/*", &format!("/?{query}"));
        check("/safe/{query}/x", "/*", &format!("/?{query}"));
    }
    check("/.{query}/b", "/*", "/?.");
    check("/a/{query}?x=/../", "/*", "/?../b");
    check("/v3/{rest}", "/*", "/..%2f..%2fadmin");
    check("/v3/{rest}", "/*", "/a/..;/b");
    check("/{a}{b}/x", "/{a}/{b}", "/.%2f./.%2f.");
}

#[test]
fn hosts_sent_upstream() {
    let mut target = Target::default();
    target.parse(&Method::Get, b"http://A.example:8080/", None, Scheme::Http).unwrap();
    let endpoint = |written: &str, address| Endpoint::new(written, address);
    let ip = EndpointAddress::Ip("10.0.0.1:80".parse().unwrap());
    let tcp = endpoint("http://10.0.0.1:80", ip);
    let unix = endpoint("unix:/run/app", EndpointAddress::Unix("/run/app".into()));
    let check = |policy: HostPolicy, endpoint: &Endpoint, expected: &str| {
        assert_eq!(upstream_host(&policy, &target, endpoint), expected);
    };
    check(HostPolicy::Preserve, &tcp, "A.example:8080");
    check(HostPolicy::Endpoint, &tcp, "10.0.0.1:80");
    check(HostPolicy::Endpoint, &unix, "localhost");
    let name = EndpointAddress::Name { host: "api.internal".into(), port: 443 };
    check(HostPolicy::Endpoint, &endpoint("https://api.internal/", name), "api.internal");
    check(HostPolicy::Literal("b.example".into()), &unix, "b.example");
}

fn some_template() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-z/.:@?&=%\\x00-\\x1f\\\\ ]{0,4}",
        Just("https://".to_owned()),
        "\\{(client|host|scheme|method|path|query|a|rest)\\}",
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_control_bytes(text in some_template(), path in "(/[a-z.%:\\x00-\\x20@\\\\]{0,3}){1,5}", query in "\\PC{0,6}") {
        let pattern = pattern("/{a}/*");
        let request = Request::default();
        let facts = Facts {
            routed: &path,
            path: path.as_bytes(),
            query: Some(query.as_bytes()),
            captures: Captures::of_pattern(&pattern, path.as_bytes()),
            ..facts_of(&request)
        };
        let template = template(&text);
        let (mut value, mut to) = (Vec::new(), Vec::new());
        expand(&template, &facts, &mut value);
        location(&template, &facts, &mut to);
        prop_assert!(!value.iter().any(u8::is_ascii_control));
        prop_assert!(to.iter().all(u8::is_ascii_graphic));
        if text.starts_with('/') && !text.starts_with("//") || text.starts_with(['{']) && !text.contains("//") {
            prop_assert!(to.first() == Some(&b'/') && to.get(1) != Some(&b'/'), "{:?}", to);
        }
    }

    #[test]
    fn rewritten_paths_lead_nowhere_else(text in some_template(), path in "(/[a-z.]{0,3}){1,5}", query in "[a-z./%2eE]{0,9}") {
        let mut request = Request::default();
        let url = format!("http://a.example{path}?{query}");
        prop_assume!(request.target.parse(&Method::Get, url.as_bytes(), None, Scheme::Http).is_ok());
        let pattern = pattern("/{a}/*");
        let captures = Captures::of_pattern(&pattern, request.target.sent_path());
        let facts = Facts { captures, ..facts_of(&request) };
        let mut out = Vec::new();
        let written = upstream_path(&Rewrite::To(template(&text)), &facts, &mut out);
        prop_assume!(written.is_ok());
        let path = out.split(|&byte| byte == b'?').next().unwrap();
        prop_assert_eq!(path.first(), Some(&b'/'));
        let text = String::from_utf8(path.to_vec()).unwrap().to_lowercase().replace("%2e", ".");
        prop_assert!(!text.split('/').any(|segment| segment == ".."), "{}", text);
        prop_assert!(!text.starts_with("//"), "{}", text);
    }
}
