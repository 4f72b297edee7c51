//! Clients by address, and what else is asked of them.

use std::sync::Arc;

use config::{RouteId, Satisfy, SiteId};

use crate::fixtures::{access, at, certificate, client, reverse, site};
use crate::{Asker, ClientRefusal, RefusalReason, Rules, Standing};

/// The line that takes a client, or `-LINE` of the one that refuses it; 0 if nothing is asked.
fn line(standing: Standing) -> i32 {
    match standing {
        Standing::NotAsked => 0,
        Standing::Met(place) => place.line as i32,
        Standing::Unmet(refusal) => -(refusal.place.line as i32),
    }
}

fn rules(of_site: &[&str], of_route: &[&str], edit: impl Fn(&mut config::RouteSettings)) -> Rules {
    let mut site = site(1, &["*"], &["/a"]);
    let lines = |first: u32, texts: &[&str]| -> Arc<[config::AccessRule]> {
        (first..).zip(texts).map(|(line, text)| access(line, text)).collect()
    };
    site.base.access = lines(10, of_site);
    site.routes[0].settings.access = match of_route {
        [] => site.base.access.clone(),
        own => lines(20, own),
    };
    edit(&mut site.base);
    edit(&mut site.routes[0].settings);
    Rules::compile(Arc::new(reverse(vec![site])))
}

#[test]
fn the_first_that_has_the_address_decides() {
    #[track_caller]
    fn check(lines: &[&str], address: &str, expected: i32) {
        let address = address.parse().unwrap();
        let asker = Asker { address, certificate: None };
        let found = rules(lines, &[], |_| {}).standing(SiteId(0), None, &asker);
        assert_eq!(line(found), expected, "{lines:?} {address}");
        // As many networks that this is not in are indexed.
        let others: Vec<String> = (0..50).map(|n| format!("198.51.{n}.0/24")).collect();
        let padded = format!("deny {}", others.join(","));
        let all: Vec<&str> = lines.iter().copied().chain([&*padded]).collect();
        let found = rules(&all, &[], |_| {}).standing(SiteId(0), None, &asker);
        assert_eq!(line(found), expected, "{lines:?} {address}, indexed");
    }
    check(&["allow 10.0.0.0/8"], "10.1.1.1", 10);
    check(&["allow 10.0.0.0/8"], "192.0.2.1", -10);
    check(&["deny 10.0.0.0/8"], "10.1.1.1", -10);
    check(&["deny 10.0.0.0/8"], "192.0.2.1", 0);
    check(&["deny 10.6.6.6", "allow 10.0.0.0/8"], "10.6.6.6", -10);
    check(&["deny 10.6.6.6", "allow 10.0.0.0/8"], "10.6.6.7", 11);
    check(&["allow 10.0.0.0/8", "deny 10.6.6.6"], "10.6.6.6", 10); // the order counts
    check(&["allow 10.0.0.0/8", "deny"], "192.0.2.1", -11);
    check(&["deny 10.0.0.0/8", "allow"], "192.0.2.1", 11);
    check(&["deny", "allow 10.0.0.0/8"], "10.0.0.1", -10);
    check(&["allow 10.0.0.0/8,2001:db8::/32"], "2001:db8::1", 10);
    check(&["allow 10.0.0.0/8"], "::ffff:10.0.0.1", 10);
    check(&["allow ::ffff:10.0.0.0/104"], "10.0.0.1", 10);
}

#[test]
fn a_routes_lines_replace_those_of_the_site() {
    let asker = Asker { address: [10, 0, 0, 1].into(), certificate: None };
    let both = rules(&["deny 10.0.0.0/8"], &["allow 10.0.0.0/8"], |_| {});
    assert_eq!(line(both.standing(SiteId(0), None, &asker)), -10);
    assert_eq!(line(both.standing(SiteId(0), Some(RouteId(0)), &asker)), 20);
    let inherited = rules(&["deny 10.0.0.0/8"], &[], |_| {});
    assert_eq!(line(inherited.standing(SiteId(0), Some(RouteId(0)), &asker)), -10);
}

#[test]
fn all_or_any_of_what_is_asked() {
    #[track_caller]
    fn check(satisfy: Satisfy, lines: &[&str], address: &str, shows: bool, expected: i32) {
        let certificate = certificate();
        let asker = Asker {
            address: address.parse().unwrap(),
            certificate: Some(&certificate).filter(|_| shows),
        };
        let rules = rules(lines, &[], |settings| {
            settings.satisfy = satisfy;
            settings.clients = vec![client("ops")];
        });
        let found = rules.standing(SiteId(0), Some(RouteId(0)), &asker);
        assert_eq!(line(found), expected, "{satisfy:?} {lines:?} {address} {shows}");
    }
    let lines = ["allow 10.0.0.0/8"];
    check(Satisfy::All, &lines, "10.0.0.1", true, 10);
    check(Satisfy::All, &lines, "10.0.0.1", false, -40);
    check(Satisfy::All, &lines, "192.0.2.1", true, -10);
    check(Satisfy::Any, &lines, "10.0.0.1", true, 10);
    check(Satisfy::Any, &lines, "10.0.0.1", false, 10);
    check(Satisfy::Any, &lines, "192.0.2.1", true, 40);
    check(Satisfy::Any, &lines, "192.0.2.1", false, -40);
    // Not to be denied is no proof of anything.
    check(Satisfy::Any, &["deny 10.0.0.0/8"], "192.0.2.1", false, -40);
    check(Satisfy::Any, &["deny 10.0.0.0/8"], "10.0.0.1", true, 40);
    check(Satisfy::All, &["deny 10.0.0.0/8"], "192.0.2.1", true, 40);
}

#[test]
fn one_more_thing_that_is_asked() {
    let met = Standing::Met(at(1));
    let unmet = |line| {
        Standing::Unmet(ClientRefusal { place: at(line), reason: RefusalReason::NoCertificate })
    };
    for (first, satisfy, is_open) in [
        (Standing::NotAsked, Satisfy::All, true),
        (Standing::NotAsked, Satisfy::Any, true),
        (met, Satisfy::All, true),
        (met, Satisfy::Any, false),
        (unmet(1), Satisfy::All, false),
        (unmet(1), Satisfy::Any, true),
    ] {
        assert_eq!(first.is_open(satisfy), is_open, "{first:?} {satisfy:?}");
        for other in [Standing::NotAsked, Standing::Met(at(2)), unmet(2)] {
            // Where it is not open, nothing changes what comes of it.
            let joined = line(first.and(satisfy, other));
            assert!(is_open || joined == line(first), "{first:?} {satisfy:?} {other:?}");
        }
    }
    assert_eq!(line(unmet(1).and(Satisfy::Any, unmet(2))), -2); // the last one asks
    assert_eq!(line(unmet(1).and(Satisfy::All, unmet(2))), -1);
    assert_eq!(line(met.and(Satisfy::All, unmet(2))), -2);
}
