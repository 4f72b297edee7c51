use std::net::IpAddr;
use std::sync::Arc;

use config::{
    Action, Config, Endpoint, EndpointAddress, Expect, FileServing, ForwardId, HostPolicy,
    Listener, ListenerId, Rewrite, Serves, Split, SplitPart, Stay, Upstream, UpstreamId,
};
use message::{Method, Request, Scheme, Target};

use crate::fixtures::{at, forward, listener, reverse, site, template};
use crate::{
    Address, EntryPoint, Explanation, Query, Rules, check_expectations, explain, listener_for,
};

fn judged(ip: IpAddr) -> Address {
    let is_global = matches!(ip, IpAddr::V4(ip) if !ip.is_private() && !ip.is_loopback());
    Address { is_global, is_own: ip.is_loopback(), ..Address::global(ip) }
}

/// A shop in reverse on port 80, and a forward listener on 3128.
fn both_ways() -> Config {
    let routes = ["/api/*", "/old/*", "GET /hello", "/static/*", "/*"];
    let mut config = reverse(vec![site(1, &["shop.example", "*.shop.example"], &routes)]);
    let endpoint = |text: &str| {
        let address = text.trim_start_matches("http://").parse().unwrap();
        Endpoint { place: at(9), ..Endpoint::new(text, EndpointAddress::Ip(address)) }
    };
    let upstream = |name: &str, endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|text| endpoint(text)).collect();
        Upstream { place: at(9), ..Upstream::new(name, endpoints) }
    };
    config.upstreams = vec![
        upstream("shop", &["10.0.0.1:8080", "http://10.0.0.2:8080"]),
        upstream("10.0.0.3:9000", &["10.0.0.3:9000"]),
    ];
    let routes = &mut config.sites[0].routes;
    routes[0].action = Action::To(UpstreamId(1));
    routes[0].settings.rewrite = Rewrite::StripPrefix("/api".into());
    routes[1].action = Action::Redirect { to: template("/new/{rest}"), status: 308 };
    routes[3].action = Action::Files(FileServing::new("/srv/www"));
    routes[4].action = Action::To(UpstreamId(0));
    let mut out = forward(&["deny to=*.facebook.com", "allow from=10.0.0.0/8"]);
    out.forwards[0].listener = ListenerId(1);
    config.listeners.push(Listener { ..listener("[::]:3128", Serves::Forward(ForwardId(0))) });
    config.forwards = out.forwards;
    config
}

fn explained(rules: &Rules, method: &str, target: &str, from: &str) -> Explanation {
    let method = Method::parse(method.as_bytes()).unwrap();
    let mut parsed = Target::default();
    parsed.parse(&method, target.as_bytes(), None, Scheme::Http).unwrap();
    let entry = match from {
        "" => EntryPoint::Listener(listener_for(rules, &parsed).unwrap()),
        _ => EntryPoint::Forward(ForwardId(0)),
    };
    let from = from.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    explain(
        rules,
        &Query {
            request: &Request { method, target: parsed, ..Request::default() },
            from,
            entry,
            addresses: &[],
            classify: &judged,
            tls: None,
        },
    )
}

#[test]
fn outcomes() {
    let rules = Rules::compile(Arc::new(both_ways()));
    let check = |request: &str, from: &str, line: u32, expected: &str| {
        let (method, target) = request.split_once(' ').unwrap();
        let explanation = explained(&rules, method, target, from);
        assert_eq!(explanation.outcome.describe(), expected);
        assert_eq!(explanation.decided_by.line, line);
    };
    check(
        "GET http://shop.example/api/x?y",
        "",
        2,
        "sent to upstream 10.0.0.3:9000 as /x?y with Host shop.example",
    );
    check(
        "GET http://a.shop.example:80/",
        "",
        6,
        "sent to upstream shop (10.0.0.1:8080, http://10.0.0.2:8080) as / with Host a.shop.example:80",
    );
    check("GET http://shop.example/old/a", "", 3, "redirected to /new/a (308)");
    check("GET http://shop.example/hello", "", 4, "answered with 200");
    check("GET http://shop.example/static/a.css", "", 5, "file /static/a.css below /srv/www");
    check("GET http://b.example/", "", 1, "misdirected (421): the listener serves no such host");
    check("CONNECT shop.example:80", "", 1, "not found (404): no route of the site has the path");
    check(
        "GET http://shop.example/a%2Fb",
        "",
        6,
        "sent to upstream shop (10.0.0.1:8080, http://10.0.0.2:8080) as /a%2Fb with Host shop.example",
    );
    check(
        "GET http://shop.example//old%2Fb",
        "",
        6,
        "refused (400): the path leads to `route \"/*\"` as it stands, and to `route \"/old/*\"` with \
         empty segments merged and encoded separators decoded (/old/b); `path-readings host \
         parameters` lets it pass",
    );
    check("CONNECT www.facebook.com:443", "10.0.0.5", 11, "denied (403): a rule denies it");
    check("CONNECT www.example.com:443", "10.0.0.5", 12, "a tunnel to www.example.com port 443");
    check("GET http://www.example.com/a?b", "10.0.0.5", 12, "sent to www.example.com as /a?b");
    check("CONNECT www.example.com:443", "11.0.0.5", 10, "denied (403): no rule allows it");
    check(
        "CONNECT www.example.com:22",
        "10.0.0.5",
        10,
        "denied (403): the port is not among those allowed",
    );
    let special = "denied (403): the address is private or reserved; to allow it, add `allow to=\"10.0.0.0/8\"` (its network), or \
                   the exact host (`*.x` is not enough)";
    check("GET http://10.0.0.1/", "10.0.0.5", 10, special);
    let own = "denied (403): the address belongs to this machine, its link or its cloud; to allow it, add \
               `allow to=\"127.0.0.1\"` (the address or its network), or special=#true";
    check("GET http://localhost/", "10.0.0.5", 10, own);
}

/// The same with `/*` split between both upstreams.
fn split(shares: [u16; 2], stay: Stay) -> Config {
    let mut config = both_ways();
    let part = |upstream: usize, share: u16| SplitPart {
        place: at(7),
        upstream: UpstreamId(upstream as u32),
        share,
    };
    let parts = shares.into_iter().enumerate().map(|(upstream, share)| part(upstream, share));
    config.sites[0].routes[4].action = Action::Split(Split { parts: parts.collect(), stay });
    config
}

#[test]
fn splits_tell_every_part() {
    let check = |shares: [u16; 2], stay: Stay, expected: &str| {
        let rules = Rules::compile(Arc::new(split(shares, stay)));
        let explanation = explained(&rules, "GET", "http://shop.example/x", "");
        assert_eq!(explanation.outcome.describe(), expected);
        assert_eq!(explanation.decided_by.line, 6);
    };
    check(
        [9950, 50],
        Stay::Address,
        "split by the client's address: 99.5% to shop (10.0.0.1:8080, http://10.0.0.2:8080), \
         0.5% to 10.0.0.3:9000; as /x with Host shop.example",
    );
    let parts = "100% to shop (10.0.0.1:8080, http://10.0.0.2:8080), 0% to 10.0.0.3:9000";
    let end = "as /x with Host shop.example";
    check([10_000, 0], Stay::No, &format!("split at random for each request: {parts}; {end}"));
    let stay = Stay::Cookie("bw".into());
    check([10_000, 0], stay, &format!("split by the cookie bw: {parts}; {end}"));
}

#[test]
fn an_expectation_may_name_any_part_that_gets_requests() {
    let holds = |shares: [u16; 2], upstream: &str| {
        let expect = "GET http://shop.example/x";
        let (method, target) = expect.split_once(' ').unwrap();
        let expect = Expect {
            place: at(50),
            method: method.into(),
            target: target.into(),
            from: IpAddr::from([127, 0, 0, 1]),
            client_name: None,
            fields: Vec::new(),
            forward: None,
            status: None,
            denied: None,
            location: None,
            upstream: Some(upstream.into()),
            site: None,
            path: Some("/x".into()),
        };
        let config = Config { expects: vec![expect], ..split(shares, Stay::Address) };
        check_expectations(&Rules::compile(Arc::new(config)), &judged).is_empty()
    };
    assert!(holds([9500, 500], "shop"));
    assert!(holds([9500, 500], "10.0.0.2:8080"));
    assert!(holds([9500, 500], "10.0.0.3:9000"));
    assert!(!holds([10_000, 0], "10.0.0.3:9000"));
    assert!(!holds([10_000, 0], "other"));
}

#[test]
fn an_upstream_may_have_no_endpoint_yet() {
    let mut config = both_ways();
    config.upstreams[0].endpoints.clear();
    let described = |config: &Config| {
        let rules = Rules::compile(Arc::new(config.clone()));
        explained(&rules, "GET", "http://shop.example/x", "").outcome.describe()
    };
    assert_eq!(
        described(&config),
        "sent to upstream shop (no endpoint is known yet) as /x with Host shop.example"
    );
    config.sites[0].routes[4].settings.host = HostPolicy::Endpoint;
    assert!(described(&config).ends_with("with Host (that of the endpoint)"));
    config.sites[0].routes[4].settings.host = HostPolicy::Literal("a:1".into());
    assert!(described(&config).ends_with("with Host a:1"));
}

#[test]
fn the_best_address_decides() {
    let rules = Rules::compile(Arc::new(both_ways()));
    let mut target = Target::default();
    target.parse(&Method::Get, b"http://b.example/", None, Scheme::Http).unwrap();
    let request = Request { target, ..Request::default() };
    let outcome = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let query = Query {
            request: &request,
            from: IpAddr::from([10, 0, 0, 1]),
            entry: EntryPoint::Forward(ForwardId(0)),
            addresses: &addresses,
            classify: &judged,
            tls: None,
        };
        explain(&rules, &query).outcome.status()
    };
    assert_eq!(outcome(&["10.0.0.9"]), Some(403));
    assert_eq!(outcome(&["10.0.0.9", "9.9.9.9"]), None);
}

#[test]
fn expectations() {
    let blank = Expect {
        place: at(50),
        method: "GET".into(),
        target: "http://shop.example/".into(),
        from: IpAddr::from([127, 0, 0, 1]),
        client_name: None,
        fields: Vec::new(),
        forward: None,
        status: None,
        denied: None,
        location: None,
        upstream: None,
        site: None,
        path: None,
    };
    let check = |expect: Expect, expected: Option<&str>| {
        let config = Config { expects: vec![expect], ..both_ways() };
        let failures = check_expectations(&Rules::compile(Arc::new(config)), &judged);
        assert_eq!(failures.first().map(|failure| failure.message.as_str()), expected);
    };
    let old = Expect { target: "http://shop.example/old/a".into(), ..blank.clone() };
    check(Expect { status: Some(308), location: Some("/new/a".into()), ..old.clone() }, None);
    check(
        Expect { status: Some(301), ..old.clone() },
        Some("expected status 301, got redirected to /new/a (308), decided by test.kdl:3"),
    );
    check(
        Expect { location: Some("/x".into()), ..old.clone() },
        Some("expected a redirect to /x, got redirected to /new/a (308), decided by test.kdl:3"),
    );
    let api = Expect { target: "http://shop.example/api/x?y".into(), ..blank.clone() };
    check(
        Expect { upstream: Some("10.0.0.3:9000".into()), path: Some("/x?y".into()), ..api.clone() },
        None,
    );
    check(Expect { upstream: Some("10.0.0.2:8080".into()), ..blank.clone() }, None);
    check(
        Expect {
            upstream: Some("shop".into()),
            site: Some("shop.example".into()),
            ..blank.clone()
        },
        None,
    );
    check(
        Expect { upstream: Some("shop".into()), ..old.clone() },
        Some("expected upstream shop, got redirected to /new/a (308), decided by test.kdl:3"),
    );
    check(
        Expect { site: Some("other".into()), ..blank.clone() },
        Some("expected site other, got site shop.example, decided by test.kdl:6"),
    );
    check(
        Expect { path: Some("/".into()), ..old.clone() },
        Some("expected path / to be sent, got redirected to /new/a (308), decided by test.kdl:3"),
    );
    let out = Expect {
        method: "CONNECT".into(),
        target: "www.facebook.com:443".into(),
        forward: Some(":3128".into()),
        from: IpAddr::from([10, 0, 0, 5]),
        ..blank.clone()
    };
    check(Expect { denied: Some(true), status: Some(403), ..out.clone() }, None);
    check(Expect { denied: Some(true), forward: Some("[::]:3128".into()), ..out.clone() }, None);
    check(
        Expect { denied: Some(false), ..out.clone() },
        Some(
            "expected it not to be denied, got denied (403): a rule denies it, decided by test.kdl:11",
        ),
    );
    check(
        Expect { denied: Some(true), target: "a.example:443".into(), ..out.clone() },
        Some(
            "expected it to be denied, got a tunnel to a.example port 443, decided by test.kdl:12",
        ),
    );
    check(
        Expect { forward: Some(":3129".into()), ..out.clone() },
        Some("there is no `forward \":3129\"`"),
    );
    check(
        Expect { target: "http://shop.example:81/".into(), status: Some(404), ..blank.clone() },
        Some(
            "expected status 404, got sent to upstream shop (10.0.0.1:8080, http://10.0.0.2:8080) as / with Host shop.example:81, decided by test.kdl:6",
        ),
    );
    check(
        Expect { target: "shop.example".into(), ..blank },
        Some("`shop.example`: the request's target has a form that its method does not allow"),
    );
}
