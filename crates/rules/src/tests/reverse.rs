use std::sync::Arc;

use config::{ListenerId, RouteId, SiteId};
use message::{Fields, Method};
use proptest::prelude::*;

use crate::fixtures::{pattern, reverse, route, site};
use crate::{Captures, RouteRequest, Routing, Rules, StepOutcome, Steps};

const LISTENER: ListenerId = ListenerId(0);

fn method(text: &str) -> Method {
    Method::parse(text.as_bytes()).unwrap()
}

/// A request without query, by a client on loopback.
fn asked<'a>(method: &'a Method, fields: &'a Fields) -> RouteRequest<'a> {
    RouteRequest { method, client: [127, 0, 0, 1].into(), fields, query: None }
}

/// The route that takes a request, as written; or what else comes of it.
fn taken(routes: &[&str], request: &str) -> String {
    let rules = Rules::compile(Arc::new(reverse(vec![site(1, &["*"], routes)])));
    let (verb, path) = request.split_once(' ').unwrap();
    let mut steps = Steps::default();
    let (method, fields) = (method(verb), Fields::new());
    let asked = asked(&method, &fields);
    let routing = rules.route(LISTENER, &asked, "any.example", path, &mut steps);
    assert_eq!(routing, rules.route(LISTENER, &asked, "any.example", path, &mut ()));
    let decided = steps.0.iter().skip(1).filter(|step| step.outcome == StepOutcome::Decided);
    match routing {
        Routing::Route { route: RouteId(index), .. } => {
            assert_eq!(decided.count(), 1, "{steps:?}");
            routes[index as usize].to_owned()
        }
        Routing::NoRoute { .. } => {
            assert_eq!(decided.count(), 0);
            "404".to_owned()
        }
        Routing::MethodNotAllowed { site } => {
            let mut allow = String::new();
            rules.allowed_methods(site, &asked, path, &mut allow);
            format!("405 {allow}")
        }
        Routing::NoSite => "421".to_owned(),
    }
}

#[test]
fn the_most_specific_route_wins() {
    #[track_caller]
    fn check(routes: &[&str], path: &str, expected: &str) {
        let request = format!("GET {path}");
        assert_eq!(taken(routes, &request), expected);
        let turned: Vec<_> = routes.iter().copied().rev().collect();
        assert_eq!(taken(&turned, &request), expected, "the other way round");
    }
    let routes = [
        "/*",
        "/",
        "/a",
        "/a/",
        "/a/*",
        "/a/b/*",
        "/{x}",
        "/{x}/b",
        "/a/{x}/c",
        "/a/{x}/*",
        "/{x}/b/d/*",
    ];
    check(&routes, "/", "/");
    check(&routes, "/a", "/a");
    check(&routes, "/a/", "/a/");
    check(&routes, "/b", "/{x}");
    check(&routes, "/a/b", "/a/b/*"); // a literal on the left beats `/{x}/b`
    check(&routes, "/b/b", "/{x}/b");
    check(&routes, "/a/b/c", "/a/b/*"); // and `/a/{x}/c`
    check(&routes, "/a/z/c", "/a/{x}/c");
    check(&routes, "/a/z/d", "/a/{x}/*");
    check(&routes, "/a/z", "/a/{x}/*");
    check(&routes, "/a//c", "/a/*"); // a capture is never empty
    check(&routes, "/z/b/d/e", "/{x}/b/d/*");
    check(&routes, "/z/b/e", "/*"); // comes back from two captures
    check(&routes, "//", "/*");
    check(&routes, "//a", "/*");
    check(&routes, "/A", "/{x}"); // paths have case
    check(&["/a/*"], "/a", "/a/*");
    check(&["/a/*"], "/a/", "/a/*");
    check(&["/a/*"], "/ab", "404");
    check(&["/a"], "/a/", "404");
    check(&["/a/"], "/a", "404");
    check(&["/a//b"], "/a//b", "/a//b");
    check(&["/a//b"], "/a/b", "404");
    check(&["/*", "/{x}"], "*", "/*"); // OPTIONS *
    check(&["/{x}"], "*", "404");
    check(&["/*"], "", "404"); // CONNECT
    check(&[], "/", "404");
}

#[test]
fn methods() {
    #[track_caller]
    fn check(routes: &[&str], request: &str, expected: &str) {
        assert_eq!(taken(routes, request), expected);
        let turned: Vec<_> = routes.iter().copied().rev().collect();
        if !expected.starts_with("405") {
            assert_eq!(taken(&turned, request), expected, "the other way round");
        }
    }
    check(&["/a", "GET /a"], "GET /a", "GET /a");
    check(&["/a", "GET /a"], "POST /a", "/a");
    check(&["GET,HEAD /a", "GET /a"], "GET /a", "GET /a"); // names fewer
    check(&["GET,HEAD /a", "GET /a"], "HEAD /a", "GET,HEAD /a");
    check(&["/a/b", "GET /a/*"], "GET /a/b", "/a/b"); // the path comes first
    check(&["POST /a/b", "/a/*"], "GET /a/b", "/a/*"); // hides no less specific one
    check(&["GET /a"], "HEAD /a", "GET /a"); // RFC 9110, section 9.3.2
    check(&["GET /a"], "get /a", "405 GET, HEAD"); // section 9.1
    check(&["GET,HEAD /a/b", "POST /a/*", "GET /*"], "PUT /a/b", "405 GET, HEAD, POST");
    check(&["GET,HEAD /a/b"], "PUT /a", "404");
    check(&["PROPFIND /a"], "PROPFIND /a", "PROPFIND /a");
}

#[test]
fn sites_by_host() {
    let sites = vec![
        site(1, &["*.example.com"], &["/*"]),
        site(2, &["*"], &["/*"]),
        site(3, &["example.com", "www.example.com"], &["/*"]),
        site(4, &["*.b.example.com", "192.0.2.1", "2001:db8::1"], &["/*"]),
        site(5, &["{x}.c.example.com", "*.c.example.com", "w.c.example.com"], &["/*"]),
        site(6, &["{x}.w.c.example.com", "{x}.d.example.com"], &["/*"]),
        site(7, &["a.d.example.com"], &["/*"]),
    ];
    let rules = Rules::compile(Arc::new(reverse(sites)));
    let check = |host: &str, line: u32| {
        let site = rules.site(LISTENER, host).map(|SiteId(index)| index + 1);
        assert_eq!(site, Some(line), "{host}");
    };
    check("example.com", 3);
    check("example.com.", 3);
    check("www.example.com", 3);
    check("a.example.com", 1);
    check("a.a.example.com", 1);
    check("b.example.com", 1); // `*.` is not the suffix itself
    check("a.b.example.com", 4);
    check("a.a.b.example.com", 4);
    check("192.0.2.1", 4);
    check("2001:db8::1", 4);
    check("c.example.com", 1);
    check("a.c.example.com", 5); // one label, though `*.example.com` has it too
    check("a.b.c.example.com", 5); // by `*.c`
    check("a.w.c.example.com", 6);
    check("a.a.w.c.example.com", 5);
    check("a.d.example.com", 7);
    check("b.d.example.com", 6);
    check("b.d.example.com.", 6);
    check("b.b.d.example.com", 1);
    check("com", 2);
    check("notexample.com", 2);
    check(".example.com", 1);
    check("", 2);
    assert_eq!(rules.site(ListenerId(7), "example.com"), None);
    let strict = Rules::compile(Arc::new(reverse(vec![site(1, &["a.example"], &["/*"])])));
    let fields = Fields::new();
    let asked = asked(&Method::Get, &fields);
    let routing = strict.route(LISTENER, &asked, "b.example", "/", &mut ());
    assert_eq!(routing, Routing::NoSite);
}

#[test]
fn captures() {
    #[track_caller]
    fn check(text: &str, path: &str, name: &str, expected: Option<&str>) {
        let pattern = pattern(text);
        let captures = Captures::of_pattern(&pattern, path.as_bytes());
        assert_eq!(
            captures.get(name),
            expected.map(str::as_bytes),
            "{{{name}}} of {text} in {path}"
        );
    }
    check("/u/{id}", "/u/7", "id", Some("7"));
    check("/{a}/{b}/*", "/1/2/3/4", "a", Some("1"));
    check("/{a}/{b}/*", "/1/2/3/4", "b", Some("2"));
    check("/{a}/{b}/*", "/1/2/3/4", "rest", Some("3/4"));
    check("/{a}/{b}/*", "/1/2/3/", "rest", Some("3/"));
    check("/{a}/{b}/*", "/1/2/", "rest", Some(""));
    check("/{a}/{b}/*", "/1/2", "rest", Some(""));
    check("/*", "/", "rest", Some(""));
    check("/*", "/a/b", "rest", Some("a/b"));
    check("/a/*", "/a//b", "rest", Some("/b"));
    check("/*", "*", "rest", None);
    check("/a", "/a", "rest", None);
    check("/a/*", "/a", "b", None);
    check("/{rest}/*", "/a/b", "rest", Some("a")); // one's own name wins
    check("/a*", "/a", "rest", Some(""));
    check("/a*", "/ab/c", "rest", Some("b/c"));
    check("/a*", "/a/c", "rest", Some("/c"));
    check("/{x}/b*", "/a/bc", "rest", Some("c"));
    check("*.php", "/a/b.php", "rest", Some("a/b"));
    check("/blog/*.php", "/blog/a/b.php", "rest", Some("a/b"));
    check("/{x}/*.php", "/1/2.php", "x", Some("1"));
    check("~^/u/(?<id>[0-9]+)(?:/(?<rest>.*))?$", "/u/17", "id", Some("17"));
    check("~^/u/(?<id>[0-9]+)(?:/(?<rest>.*))?$", "/u/17/a/b", "rest", Some("a/b"));
    check("~^/u/(?<id>[0-9]+)(?:/(?<rest>.*))?$", "/u/17", "rest", None);
    check("~^/u/(?<id>[0-9]+)", "/u/17", "ix", None);
}

#[test]
fn a_trace_says_why_not() {
    let routes = ["/a/b", "/a/{x}/c", "POST /a/*", "/a/*", "/*", "/a/z/{y}/*"];
    let rules = Rules::compile(Arc::new(reverse(vec![site(1, &["a.example"], &routes)])));
    let mut steps = Steps::default();
    let fields = Fields::new();
    rules.route(LISTENER, &asked(&Method::Get, &fields), "a.example", "/a/z", &mut steps);
    let told: Vec<String> =
        steps.0.iter().map(|s| format!("{} {:?}", s.place.line, s.outcome)).collect();
    let expected = [
        "1 Decided",
        r#"2 Differs("segment 2 of the path is `z`, not `b`")"#,
        r#"3 Differs("the path ends after segment 2")"#,
        r#"4 Differs("the method is GET, not POST")"#,
        "5 Decided",
        r#"6 LessSpecific("route \"/a/*\"")"#,
        r#"7 Differs("the path ends after segment 2")"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_trace_names_sites_and_long_paths() {
    let rules = Rules::compile(Arc::new(reverse(vec![site(1, &["*.b"], &["/a", "/{x}"])])));
    let mut steps = Steps::default();
    let fields = Fields::new();
    rules.route(LISTENER, &asked(&Method::Get, &fields), "a.b", "/a/b", &mut steps);
    let text: Vec<_> = steps.0.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(text, ["site \"*.b\" serves a.b on [::]:80", "route \"/a\"", "route \"/{x}\""]);
    let differs = "the path continues after segment 1; `/{x}/*` takes everything below";
    let differs = StepOutcome::Differs(differs.to_owned());
    assert_eq!(steps.0.last().map(|step| &step.outcome), Some(&differs));
}

/// True if a pattern has a path: the rule, said once more without a tree.
fn has(pattern: &str, path: &str) -> bool {
    let segments = |text: &str| -> Vec<String> {
        let body = text.strip_prefix('/').unwrap();
        if body.is_empty() { vec![] } else { body.split('/').map(str::to_owned).collect() }
    };
    let (body, prefix) = match pattern.strip_suffix("/*") {
        Some("") => ("/", true),
        Some(body) => (body, true),
        None => (pattern, false),
    };
    let (wanted, there) = (segments(body), segments(path));
    (wanted.len() == there.len() || (prefix && wanted.len() < there.len()))
        && wanted.iter().zip(&there).all(|(wanted, there)| match wanted.as_str() {
            "{x}" => !there.is_empty(),
            literal => literal == there,
        })
}

/// What sorts a pattern before another one.
fn rank(pattern: &str) -> Vec<u8> {
    let parts = pattern.split('/').skip(1);
    parts
        .map(|part| match part {
            "{x}" => 1,
            "*" => 3,
            _ => 0,
        })
        .collect()
}

fn some_pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof!["[ab]", Just("{x}".to_owned()), "[ab]"];
    let segments = proptest::collection::vec(segment, 0..4);
    let end = prop_oneof![Just(""), Just("/*"), Just("/")];
    (segments, end).prop_map(|(segments, end)| {
        let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        match (&*text, end) {
            ("", "/*") => "/*".to_owned(),
            ("", _) => "/".to_owned(),
            (text, end) => format!("{text}{end}"),
        }
    })
}

proptest! {
    #[test]
    fn the_order_of_routes_does_not_matter(
        (patterns, turned) in proptest::collection::btree_set(some_pattern(), 0..10)
            .prop_map(Vec::from_iter)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        path in "(/[abc]?){1,4}",
    ) {
        let of = |patterns: &[String]| {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            taken(&patterns, &format!("GET {path}"))
        };
        let first = of(&patterns);
        prop_assert_eq!(&first, &of(&turned));
        // And it is the most specific one of all that have the path.
        let mut having: Vec<_> = patterns.iter().filter(|pattern| has(pattern, &path)).collect();
        // A path that ends where a pattern does is nearer than one that goes on below it.
        having.sort_by_key(|pattern| rank(pattern));
        match having.first() {
            Some(best) => prop_assert_eq!(rank(&first), rank(best), "{} {}", first, best),
            None => prop_assert_eq!(first, "404"),
        }
    }
}

#[test]
fn many_literals_are_hashed() {
    let routes: Vec<String> = (0..1000).map(|n| format!("/r{n}/*")).collect();
    let mut site = site(1, &["*"], &["/*"]);
    site.routes.extend((2..).zip(&routes).map(|(line, text)| route(line, text)));
    let rules = Rules::compile(Arc::new(reverse(vec![site])));
    let fields = Fields::new();
    let asked = asked(&Method::Get, &fields);
    let route_of = |path: &str| match rules.route(LISTENER, &asked, "a", path, &mut ()) {
        Routing::Route { route, .. } => route.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(route_of("/r0/x"), 1);
    assert_eq!(route_of("/r999"), 1000);
    assert_eq!(route_of("/r1000"), 0);
}
