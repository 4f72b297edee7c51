use std::sync::Arc;

use crate::Rules;
use crate::fixtures::{access, forward, reverse, site, template};

/// `line: other line` of each warning.
fn lines(config: config::Config) -> Vec<String> {
    let warnings = Rules::compile(Arc::new(config)).warnings();
    let other = |place: Option<config::Place>| place.map_or(0, |place| place.line);
    warnings.iter().map(|w| format!("{}: {}", w.place.line, other(w.other))).collect()
}

#[test]
fn unreachable_rules() {
    #[track_caller]
    fn check(rules: &[&str], expected: &[&str]) {
        assert_eq!(lines(forward(rules)), expected, "{rules:?}");
    }
    check(&["deny to=*.a", "allow to=b.a from=10.0.0.0/8"], &["12: 11"]);
    check(&["deny to=*.b.a", "deny to=*.a"], &[]);
    check(&["deny to=*.a", "deny to=*.b.a"], &["12: 11"]);
    check(&["deny to=a,b", "deny to=a"], &["12: 11"]);
    check(&["deny to=a", "deny to=a,b"], &[]);
    check(&["deny to=a port=80", "deny to=a"], &[]);
    check(&["deny to=a port=80-90", "deny to=a port=81,85-90"], &["12: 11"]);
    check(&["deny to=a method=GET", "deny to=a method=GET,HEAD"], &[]);
    check(&["deny to=a method=GET,HEAD", "deny to=a method=HEAD"], &["12: 11"]);
    check(&["deny from=10.0.0.0/8", "allow from=10.1.0.0/16 to=a"], &["12: 11"]);
    check(&["deny from=10.1.0.0/16", "allow from=10.0.0.0/8 to=a"], &[]);
    check(&["deny to=1.0.0.0/8", "deny to=1.2.3.4"], &["12: 11"]);
    check(&["deny to=::ffff:1.0.0.0/104", "deny to=1.2.3.4"], &["12: 11"]);
    check(&["deny", "deny to=1.2.3.4", "allow to=a"], &["12: 11", "13: 11"]);
    check(&["allow from=10.0.0.0/8", "deny to=a from=10.0.0.0/8 port=80"], &["12: 11"]);
    check(&["allow from=10.0.0.0/8", "deny to=a from=10.0.0.0/8"], &[]); // other ports
    // An `allow` leaves special addresses to those that name them.
    check(&["allow from=10.0.0.0/8", "allow to=a from=10.0.0.0/8"], &[]);
    check(&["allow from=10.0.0.0/8", "allow to=10.0.0.1 from=10.0.0.0/8"], &[]);
    check(&["allow from=10.0.0.0/8", "allow to=*.a from=10.0.0.0/8"], &["12: 11"]);
}

#[test]
fn many_rules_are_compared_quickly() {
    let rules: Vec<String> = (0..10_000).map(|n| format!("deny to=host{n}.example")).collect();
    let again = [rules, vec!["deny to=host77.example".to_owned()]].concat();
    assert_eq!(lines(forward(&again)), ["10011: 88"]);
}

#[test]
fn routes_that_never_match() {
    #[track_caller]
    fn check(route: &str, never: bool) {
        let found = lines(reverse(vec![site(1, &["a"], &[route])]));
        assert_eq!(found.len(), usize::from(never), "{route}: {found:?}");
    }
    check("GET /a | when method=POST", true);
    check("GET /a | when method=GET,POST", false);
    check("HEAD /a | when method=GET", false);
    check("/a/* | when path=/b/*", true);
    check("/a/* | when path=/a/b", false);
    check("/{x}/* | when path=/b/*", false);
    check("/a | when path=*.php", true);
    check("*.php | when path=*.js", true);
    check("/a/* | unless path=/a/*", true);
    check("/a/* | unless path=/a/b/*", false);
    check("/a | when field=X is=1 | when field=X is=2", true);
    check("/a | when field=X is=1 | when field=X is=1,2", false);
    check("/a | when field=X | unless field=X", true);
    check("/a | when field=X | unless field=X method=GET", false);
}

#[test]
fn rules_about_addresses_that_are_never_reached() {
    #[track_caller]
    fn check(rules: &[&str], expected: &[&str]) {
        let mut site = site(1, &["a"], &["/a"]);
        site.base.access = (10..).zip(rules).map(|(line, text)| access(line, text)).collect();
        site.routes[0].settings.access = site.base.access.clone();
        assert_eq!(lines(reverse(vec![site])), expected, "{rules:?}");
    }
    check(&["deny 10.6.6.6", "allow 10.0.0.0/8", "deny"], &[]);
    check(&["allow 10.0.0.0/8", "deny 10.6.6.6"], &["11: 10"]);
    check(&["deny", "allow 10.0.0.0/8"], &["11: 10"]);
    check(&["allow 10.0.0.0/8", "deny 10.6.6.6,192.0.2.1"], &[]);
    check(&["allow ::ffff:10.0.0.0/104", "deny 10.6.6.6"], &["11: 10"]);
    check(&["allow 0.0.0.0/0", "deny ::1"], &[]);
}

#[test]
fn redirects_that_lead_to_themselves() {
    #[track_caller]
    fn check(routes: &[(&str, &str)], expected: &[&str]) {
        let patterns: Vec<_> = routes.iter().map(|(pattern, _)| *pattern).collect();
        let mut site = site(1, &["a.example"], &patterns);
        for (route, (_, to)) in site.routes.iter_mut().zip(routes) {
            if !to.is_empty() {
                route.action = config::Action::Redirect { to: template(to), status: 308 };
            }
        }
        assert_eq!(lines(reverse(vec![site])), expected, "{routes:?}");
    }
    check(&[("/a", "/a")], &["2: 0"]);
    check(&[("/a", "/b")], &[]);
    check(&[("/*", "/login")], &["2: 0"]);
    check(&[("/*", "/login"), ("/login", "")], &[]);
    check(&[("/*", "/new/{rest}")], &["2: 0"]); // longer each time
    check(&[("/old/*", "/new/{rest}")], &[]);
    check(&[("/*", "https://{host}{path}")], &[]); // nothing speaks TLS here
    check(&[("/*", "http://{host}{path}")], &["2: 0"]);
    check(&[("/*", "http://b.example/{rest}")], &[]);
    check(&[("/a | when field=X", "/a")], &[]); // it may have gone
}

#[test]
fn colliding_routes_and_sites() {
    #[track_caller]
    fn check(routes: &[&str], expected: &[&str]) {
        assert_eq!(lines(reverse(vec![site(1, &["a"], routes)])), expected, "{routes:?}");
    }
    check(&["/a", "/a/", "/a/*", "/{x}", "GET /a", "POST /a"], &[]);
    check(&["/a/*", "/a/*"], &["3: 2"]);
    check(&["/{x}/a", "/{y}/a"], &["3: 2"]);
    check(&["GET,HEAD /a", "POST /a", "HEAD /a"], &["4: 2"]);
    check(&["*.php", "/*.php"], &["3: 2"]);
    check(&["*.php", "/a/*.php", "*.js"], &[]);
    check(&["/a*", "/ab*", "/a/*", "/b/a*"], &[]);
    check(&["/a*", "/a*"], &["3: 2"]);
    // Conditions: as many of them, and none that excludes the other.
    check(&["/a | when field=X", "/a | when cookie=c"], &["3: 2"]);
    check(&["/a | when field=X", "/a [1] | when cookie=c"], &[]);
    check(&["/a | when field=X", "/a | when cookie=c | when query=q", "/a"], &[]);
    check(&["/a | when field=X is=1", "/a | when field=x is=2,3"], &[]);
    check(&["/a | when field=X is=1", "/a | when field=X matches=^[0-9]$"], &["3: 2"]);
    check(&["/a | when field=X is=a", "/a | when field=X matches=^[0-9]$"], &[]);
    check(&["/a | when field=X", "/a | unless field=X"], &[]);
    check(&["/a | when from=10.0.0.0/8", "/a | when from=192.168.0.0/16"], &[]);
    check(&["/a | when from=10.0.0.0/8", "/a | when from=10.1.0.0/16"], &["3: 2"]);
    check(&["GET /a | when field=X", "POST /a | when field=X"], &[]);
    check(&["/* | when path=/a/*", "/* | when path=/b/*"], &[]);
    check(&["/a [2]", "/a | when field=X"], &["3: 2"]); // never reached
    // Regular expressions, unless their ends differ.
    check(&["~a", "~b"], &["3: 2"]);
    check(&["~a", "~b [1]"], &[]);
    check(&["~^/a/", "~^/b/"], &[]);
    check(&["~^/a", "~^/ab"], &["3: 2"]);
    check(&[r"~\.php$", r"~\.js$"], &[]);
    check(&[r"~\.php$", r"~hp$"], &["3: 2"]);
    check(&["~^/", "/a/*", "*.php", "/a", "~^/x [1]"], &["3: 2", "4: 2"]);
    let sites = vec![
        site(1, &["a", "*.b", "*"], &["/*"]),
        site(5, &["*.a", "b"], &["/*"]),
        site(9, &["*.b"], &["/*"]),
        site(13, &["*"], &["/*"]),
    ];
    assert_eq!(lines(reverse(sites)), ["9: 1", "13: 1"]);
}
