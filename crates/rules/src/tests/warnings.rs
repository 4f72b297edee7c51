use std::sync::Arc;

use crate::Rules;
use crate::fixtures::{forward, reverse, site};

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
fn colliding_routes_and_sites() {
    #[track_caller]
    fn check(routes: &[&str], expected: &[&str]) {
        assert_eq!(lines(reverse(vec![site(1, &["a"], routes)])), expected, "{routes:?}");
    }
    check(&["/a", "/a/", "/a/*", "/{x}", "GET /a", "POST /a"], &[]);
    check(&["/a/*", "/a/*"], &["3: 2"]);
    check(&["/{x}/a", "/{y}/a"], &["3: 2"]);
    check(&["GET,HEAD /a", "POST /a", "HEAD /a"], &["4: 2"]);
    let sites = vec![
        site(1, &["a", "*.b", "*"], &["/*"]),
        site(5, &["*.a", "b"], &["/*"]),
        site(9, &["*.b"], &["/*"]),
        site(13, &["*"], &["/*"]),
    ];
    assert_eq!(lines(reverse(sites)), ["9: 1", "13: 1"]);
}
