//! Routes by suffix, regular expression and condition.

use std::sync::Arc;

use config::{ListenerId, PathReadings, RouteId};
use message::{Fields, Method, Readings, Scheme, Target};

use crate::fixtures::{reverse, site};
use crate::{Captures, Decision, RouteRequest, Routing, Rules, StepOutcome, Steps};

fn rules_of(routes: &[&str]) -> Rules {
    Rules::compile(Arc::new(reverse(vec![site(1, &["*"], routes)])))
}

/// `GET /path?query`, behind it fields as `; Name: value` and the client as `; from ADDRESS`.
fn decide(rules: &Rules, request: &str, steps: &mut Steps) -> Decision {
    let mut parts = request.split("; ");
    let (verb, url) = parts.next().unwrap().split_once(' ').unwrap();
    let mut client = "127.0.0.1";
    let mut fields = Fields::new();
    for part in parts {
        match (part.strip_prefix("from "), part.split_once(": ")) {
            (Some(address), _) => client = address,
            (None, Some((name, value))) => fields.push(name.as_bytes(), value.as_bytes()),
            (None, None) => panic!("{part}"),
        }
    }
    let method = Method::parse(verb.as_bytes()).unwrap();
    let mut target = Target::default();
    target.parse(&method, url.as_bytes(), Some(b"a.example"), Scheme::Http).unwrap();
    let client = client.parse().unwrap();
    let query = target.sent_query();
    let asked = RouteRequest { method: &method, client, fields: &fields, query };
    let quiet = rules.decide(ListenerId(0), &asked, &target, &mut Readings::default(), &mut ());
    let decision = rules.decide(ListenerId(0), &asked, &target, &mut Readings::default(), steps);
    assert_eq!(quiet.routing, decision.routing);
    assert_eq!(quiet.conflict, decision.conflict);
    decision
}

/// The route that takes a request, as written, else the status.
fn taken(routes: &[&str], request: &str) -> String {
    match decide(&rules_of(routes), request, &mut Steps::default()) {
        Decision { conflict: Some(_), .. } => "400".to_owned(),
        Decision { routing: Routing::Route { route: RouteId(index), .. }, .. } => {
            routes[index as usize].to_owned()
        }
        Decision { routing: Routing::NoRoute { .. }, .. } => "404".to_owned(),
        Decision { routing: Routing::MethodNotAllowed { .. }, .. } => "405".to_owned(),
        Decision { routing: Routing::NoSite, .. } => "421".to_owned(),
    }
}

/// The same, which is the same if the routes stand the other way round.
#[track_caller]
fn check(routes: &[&str], request: &str, expected: &str) {
    assert_eq!(taken(routes, request), expected, "{request}");
    let turned: Vec<_> = routes.iter().copied().rev().collect();
    assert_eq!(taken(&turned, request), expected, "{request}, the other way round");
}

#[test]
fn suffixes() {
    let routes =
        ["/*", "*.php", "*.min.js", "*.js", "/blog/*", "/blog/*.php", "/blog/x.php", "/{s}/*.css"];
    check(&routes, "GET /a.php", "*.php");
    check(&routes, "GET /a/b/c.php", "*.php");
    check(&routes, "GET /.php", "*.php");
    check(&routes, "GET /a.php/b", "/*"); // the last segment
    check(&routes, "GET /a.php/", "/*");
    check(&routes, "GET /a.PHP", "/*"); // paths have case
    check(&routes, "GET /a.min.js", "*.min.js"); // the longest
    check(&routes, "GET /a.js", "*.js");
    check(&routes, "GET /blog/a.php", "/blog/*.php"); // the deepest
    check(&routes, "GET /blog/a/b.php", "/blog/*.php");
    check(&routes, "GET /blog/x.php", "/blog/x.php"); // exact
    check(&routes, "GET /blog/a.js", "/blog/*"); // deeper than `*.js`
    check(&routes, "GET /blog/a.css", "/blog/*"); // literals before captures
    check(&routes, "GET /b/a.css", "/{s}/*.css");
    check(&routes, "GET /b/c/a.css", "/{s}/*.css");
    check(&routes, "GET /a.css", "/*");
    check(&["*.php"], "GET /a.%70hp", "*.php"); // one canonical spelling
    check(&["*.php"], "GET /", "404");
    check(&["/blog/*.php"], "GET /blog", "404");
    check(&["GET *.php"], "POST /a.php", "405");
    check(&["GET *.php", "/*"], "POST /a.php", "/*");
}

#[test]
fn what_a_path_begins_with() {
    let routes =
        ["/*", "/ws*", "/wsx*", "/ws/a/*", "/w/*", "/a/b*", "/{x}/c", "*.php", "~^/ws~", "/wsy"];
    check(&routes, "GET /ws", "/ws*");
    check(&routes, "GET /ws/", "/ws*");
    check(&routes, "GET /ws/b", "/ws*");
    check(&routes, "GET /wsb/c/d", "/ws*");
    check(&routes, "GET /wsxy", "/wsx*"); // the longest
    check(&routes, "GET /ws/a/b", "/ws/a/*"); // the deepest
    check(&routes, "GET /wsb/c", "/{x}/c"); // a capture
    check(&routes, "GET /wsy", "/wsy"); // exact
    check(&routes, "GET /ws~", "~^/ws~"); // a regular expression
    check(&routes, "GET /ws.php", "/ws*"); // before what ends so
    check(&routes, "GET /w", "/w/*");
    check(&routes, "GET /WS", "/*"); // paths have case
    check(&routes, "GET /%77s/b", "/ws*"); // one canonical spelling
    check(&routes, "GET /a/bc/d", "/a/b*");
    check(&routes, "GET /a/", "/*");
    check(&["/ws*"], "GET /", "404");
    check(&["/ws*"], "GET /x/ws", "404");
    check(&["GET /ws*"], "POST /wsx", "405");
}

#[test]
fn regular_expressions() {
    let routes = [
        "/*",
        "/a/*",
        "/a/b",
        "/a/{x}",
        "*.php",
        r"~^/a/[0-9]+$",
        r"~\.php$ [5]",
        r"~^/a/c [1]",
        "~^/a/c [2] | when query=x",
    ];
    check(&routes, "GET /a/b", "/a/b"); // exact comes first
    check(&routes, "GET /a/17", "/a/{x}"); // and so do captures
    check(&routes, "GET /a/c/d", "~^/a/c [1]"); // before `/a/*`
    check(&routes, "GET /a/c/d?x=1", "~^/a/c [2] | when query=x");
    check(&routes, "GET /a/c/d.php", r"~\.php$ [5]"); // the highest priority
    check(&routes, "GET /b.php", r"~\.php$ [5]"); // before `*.php`
    check(&routes, "GET /b", "/*");
    check(&["~^/a"], "GET /a/17", "~^/a");
    check(&["~^/b"], "GET /a/17", "404");
    check(&["POST ~^/a"], "GET /a", "405");
    check(&["POST ~^/a", "~^/a"], "GET /a", "~^/a");
    check(&["POST ~^/a", "~^/a"], "POST /a", "POST ~^/a"); // more conditions
    check(&["~^.$"], "OPTIONS *", "404");
    // Of two with the same right, the first.
    assert_eq!(taken(&["~a", "~b"], "GET /ab"), "~a");
    assert_eq!(taken(&["~b", "~a"], "GET /ab"), "~b");
}

#[test]
fn conditions() {
    #[track_caller]
    fn holds(condition: &str, request: &str, expected: bool) {
        let route = format!("/* | {condition}");
        let expected = if expected { &*route } else { "404" };
        check(&[&route], request, expected);
    }
    holds("when field=X-Version is=2", "GET /; x-version: 2", true);
    holds("when field=X-Version is=2", "GET /; x-version: 3", false);
    holds("when field=X-Version is=2", "GET /; x-version: 3; X-Version: 2", true);
    holds("when field=X-Version is=2", "GET /", false);
    holds("when field=X-Version is=1,2", "GET /; x-version: 2", true);
    holds("when field=X-Version", "GET /; x-version: a", true);
    holds("when field=X-Version", "GET /; x-version: ", false);
    holds("when field=X-Version", "GET /; x_version: a", false);
    holds("when field=Accept matches=(?i)JSON", "GET /; Accept: text/html, application/json", true);
    holds("when field=Accept matches=^json", "GET /; Accept: application/json", false);
    holds("unless field=Accept", "GET /; Accept: a", false);
    holds("unless field=Accept", "GET /", true);
    holds("unless field=X-A is=1", "GET /; X-A: 2", true);
    holds("unless field=X-A is=1", "GET /; X-A: 2; X-A: 1", false);
    holds("when query=debug", "GET /?debug=1", true);
    holds("when query=debug", "GET /?a&debug=1", true);
    holds("when query=debug", "GET /?debug", false); // empty
    holds("when query=debug", "GET /?debug=", false);
    holds("when query=debug", "GET /?xdebug=1", false);
    holds("when query=debug", "GET /", false);
    holds("when query=a is=1", "GET /?a=2&a=1", true);
    holds("unless query=admin is=1", "GET /?%61dmin=%31", false);
    holds("when cookie=beta", "GET /; Cookie: a=1; Cookie: beta=1", true);
    holds("when cookie=beta is=1", "GET /; Cookie: beta=2", false);
    holds("when cookie=beta", "GET /; Cookie: Beta=1", false);
    holds("when from=10.0.0.0/8,2001:db8::/32", "GET /; from 10.1.2.3", true);
    holds("when from=10.0.0.0/8,2001:db8::/32", "GET /; from ::ffff:10.1.2.3", true);
    holds("when from=10.0.0.0/8,2001:db8::/32", "GET /; from 2001:db8::1", true);
    holds("when from=10.0.0.0/8,2001:db8::/32", "GET /; from 192.0.2.1", false);
    holds("unless from=10.0.0.0/8", "GET /; from 192.0.2.1", true);
    holds("when method=GET", "HEAD /", true);
    holds("when method=GET", "POST /", false);
    holds("unless method=PUT path=/v1/*", "PUT /v1/a", false);
    holds("unless method=PUT path=/v1/*", "GET /v1/a", true);
    holds("unless method=PUT path=/v1/*", "PUT /v2/a", true);
    for (path, expected) in [
        ("/a", "GET /a"),
        ("/a/*", "GET /a"),
        ("/a/*", "GET /a/b/c"),
        ("/{x}/b", "GET /a/b"),
        ("*.php", "GET /a/b.php"),
        ("/a/*.php", "GET /a/b.php"),
        ("/a*", "GET /a"),
        ("/a*", "GET /ab/c"),
        ("/{x}/b*", "GET /a/b/c"),
        ("/", "GET /"),
        ("/*", "GET /"),
    ] {
        holds(&format!("when path={path}"), expected, true);
        holds(&format!("unless path={path}"), expected, false);
    }
    for (path, other) in [
        ("/a", "GET /a/"),
        ("/a/*", "GET /ab"),
        ("/{x}/b", "GET //b"),
        ("*.php", "GET /a.php/b"),
        ("/a/*.php", "GET /a.php"),
        ("/a*", "GET /b/a"),
        ("/a/b*", "GET /a"),
        ("/a/b*", "GET /a/"),
        ("/", "GET /a"),
    ] {
        holds(&format!("when path={path}"), other, false);
    }
    // All of them.
    check(&["/* | when query=a | when query=b"], "GET /?a=1", "404");
    check(&["/* | when query=a query=b"], "GET /?a=1&b=1", "/* | when query=a query=b");
}

#[test]
fn more_conditions_come_first() {
    let routes = [
        "/a",
        "GET /a",
        "GET,HEAD /a",
        "/a | when field=X",
        "GET /a | when field=X",
        "/a | when field=X | when query=q | unless cookie=c",
        "/a [1] | when field=P",
        "/*",
    ];
    check(&routes, "GET /a", "GET /a");
    check(&routes, "HEAD /a", "GET,HEAD /a");
    check(&routes, "POST /a", "/a");
    check(&routes, "POST /a; X: 1", "/a | when field=X");
    check(&routes, "GET /a; X: 1", "GET /a | when field=X");
    check(&routes, "HEAD /a; X: 1", "GET /a | when field=X");
    check(&routes, "GET /a?q=1; X: 1", "/a | when field=X | when query=q | unless cookie=c");
    check(&routes, "GET /a?q=1; X: 1; Cookie: c=1", "GET /a | when field=X");
    check(&routes, "GET /a?q=1; X: 1; P: 1", "/a [1] | when field=P");
    // What does not hold hides nothing, less specific patterns neither.
    check(&["/a/b | when field=X", "/a/*", "/*"], "GET /a/b", "/a/*");
    check(&["/a/b | when field=X", "/a/* | when field=Y", "/*"], "GET /a/b", "/*");
    // 405 only where a route would have it with another method.
    check(&["GET /a | when field=X"], "POST /a", "404");
    check(&["GET /a | when field=X"], "POST /a; X: 1", "405");
    check(&["GET /a", "HEAD /a | when field=X"], "HEAD /a", "GET /a");
}

#[test]
fn allowed_methods_are_those_of_routes_whose_conditions_hold() {
    let rules = rules_of(&["GET /a | when field=X", "PUT /a", "DELETE ~^/a$", "PATCH /b"]);
    let (method, mut fields) = (Method::Post, Fields::new());
    let allowed = |fields: &Fields| {
        let client = [127, 0, 0, 1].into();
        let asked = RouteRequest { method: &method, client, fields, query: None };
        let mut out = String::new();
        rules.allowed_methods(config::SiteId(0), &asked, "/a", &mut out);
        out
    };
    assert_eq!(allowed(&fields), "PUT, DELETE");
    fields.push(b"X", b"1");
    assert_eq!(allowed(&fields), "GET, HEAD, PUT, DELETE");
}

#[test]
fn every_reading_leads_to_the_same_route() {
    // Suffix, regular expression and path conditions: what some server may see decides too.
    check(&["/*", "*.php"], "GET /a.php;x", "400");
    check(&["/*", "*.php"], "GET /a.php%00.txt", "400");
    check(&["/*", "*.php"], "GET /a/b;c/d.php", "*.php");
    check(&["/*", "~^/admin/"], "GET //admin/x", "400");
    check(&["/*", "~^/admin/"], "GET /a%2F..%2Fadmin/x", "400");
    check(&["/*", "~/admin/"], "GET //admin/x", "400"); // `//name` may be a host
    check(&["/*", "/* | when path=/admin/*"], "GET //admin/x", "400");
    check(&["/*", "/* | unless path=/admin/*"], "GET /p/..;/admin/x", "400");
    check(&["/* | unless path=/admin/*"], "GET /p%2f../admin/x", "400");
    // Conditions on other things are the same for all.
    check(&["/*", "/* | when query=a"], "GET /b//c?a=1", "/* | when query=a");
    check(&["/* | when field=X"], "GET //b;c/d", "404");
}

#[test]
fn servers_that_ignore_case() {
    let passes = |routes: &[&str], path: &str| {
        let mut site = site(1, &["*"], routes);
        for route in &mut site.routes {
            route.settings.path_readings = PathReadings { case: true, ..PathReadings::NONE };
        }
        let rules = Rules::compile(Arc::new(reverse(vec![site])));
        decide(&rules, &format!("GET {path}"), &mut Steps::default()).conflict.is_none()
    };
    assert!(!passes(&["/*", "*.php"], "/a.PHP"));
    assert!(passes(&["/*", "*.php"], "/a.php"));
    assert!(!passes(&["/*", "/admin*"], "/ADMINS"));
    assert!(passes(&["/*", "/admin*"], "/admins"));
    assert!(!passes(&["/*", "/* | when path=/admin*"], "/ADMINS"));
    assert!(!passes(&["/*", "~^/admin"], "/Admin"));
    assert!(passes(&["/*", "~^/admin"], "/admin"));
    assert!(!passes(&["/*", "/* | when path=/admin/*"], "/ADMIN/x"));
    assert!(passes(&["/*", "/* | when path=/admin/*"], "/other"));
}

#[test]
fn a_trace_says_which_condition_fails() {
    let routes = [
        "/*",
        "/* | when field=X-A is=1,2",
        "/* | when query=q matches=^[0-9]+$",
        "/* | unless cookie=c",
        "/* | when from=10.0.0.0/8",
        "/* | when method=PUT",
        "/* | when path=/b/*",
        "~^/c",
        "*.php",
        "/a/*.php",
        "/a/c*",
        "/a",
    ];
    let rules = rules_of(&routes);
    let mut steps = Steps::default();
    decide(&rules, "GET /a/b?q=x; X-A: 3; X-A: 4; Cookie: c=1", &mut steps);
    let told = steps.0.iter().skip(1).map(|step| match &step.outcome {
        StepOutcome::Decided => "yes".to_owned(),
        StepOutcome::Differs(why) => why.clone(),
        other => format!("{other:?}"),
    });
    let expected = [
        "yes",
        "`when field=\"X-A\" is=\"1,2\"` does not hold: the field X-A is `3` and `4`",
        "`when query=\"q\" matches=\"^[0-9]+$\"` does not hold: the parameter q is `x`",
        "`unless cookie=\"c\"` holds",
        "`when from=\"10.0.0.0/8\"` does not hold: the client is 127.0.0.1",
        "`when method=\"PUT\"` does not hold: the method is GET",
        "`when path=\"/b/*\"` does not hold: the path is /a/b",
        "it is not found in /a/b",
        "the last segment does not end with `.php`",
        "the last segment does not end with `.php`",
        "segment 2 of the path is `b`, which does not begin with `c`",
        "the path continues after segment 1; `/a/*` takes everything below",
    ];
    assert_eq!(told.collect::<Vec<String>>(), expected);
    assert_eq!(steps.0[2].text, "route \"/*\" { when field=\"X-A\" is=\"1,2\" }");
    assert_eq!(steps.0[8].text, "route ~ \"^/c\"");
}

#[test]
fn labels_of_the_host_are_captured() {
    let sites = vec![site(1, &["{tenant}.a.example", "b.example"], &["/{x}/*"])];
    let rules = Rules::compile(Arc::new(reverse(sites)));
    let route = rules.route_of(config::SiteId(0), RouteId(0)).unwrap();
    let value = |url: &str, name: &str| {
        let mut target = Target::default();
        target.parse(&Method::Get, url.as_bytes(), None, Scheme::Http).unwrap();
        let value = Captures::of(route, &target).get(name).map(<[u8]>::to_vec);
        value.map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(value("http://T1.a.example/p/q", "tenant").as_deref(), Some("t1"));
    assert_eq!(value("http://t1.a.example./p/q", "tenant").as_deref(), Some("t1"));
    assert_eq!(value("http://t1.a.example/p/q", "x").as_deref(), Some("p"));
    assert_eq!(value("http://t1.a.example/p/q", "rest").as_deref(), Some("q"));
    assert_eq!(value("http://b.example/p/q", "tenant"), None);
    assert_eq!(value("http://x.t1.a.example/p/q", "tenant"), None);
}

#[test]
fn many_networks_and_suffixes_are_indexed() {
    let nets: Vec<String> =
        (0..10_000).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
    let first = format!("/* | when from={}", nets.join(","));
    let suffixes: Vec<String> = (0..10_000).map(|n| format!("*.e{n}")).collect();
    let mut routes = vec![&*first, "/*"];
    routes.extend(suffixes.iter().map(String::as_str));
    let rules = rules_of(&routes);
    let index = |request: &str| match decide(&rules, request, &mut Steps::default()).routing {
        Routing::Route { route, .. } => route.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(index("GET /a; from 10.39.15.1"), 0);
    assert_eq!(index("GET /a; from 10.39.16.1"), 1);
    assert_eq!(index("GET /a/b.e0"), 2);
    assert_eq!(index("GET /a/b.e9999; from 10.0.0.1"), 10_001);
}
