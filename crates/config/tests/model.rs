//! What a configuration becomes.

mod common;

use std::time::Duration;

use common::same;
use config::{
    Action, Destination, EditVerb, EndpointAddress, HostPolicy, PathReadings, PatternEnd,
    PortRange, ProxyProtocol, Rewrite, Segment, Serves, SiteId, SiteName, TemplatePart, Variable,
};

#[track_caller]
fn parsed(text: &str) -> config::Loaded {
    match config::parse("test.kdl", text) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{failure}"),
    }
}

const FULL: &str = include_str!("full.kdl");

#[test]
fn what_is_shown_says_everything() {
    let loaded = parsed(FULL);
    let shown = loaded.effective.clone().revealed().render(false);
    let again = parsed(&shown);
    same(&loaded.config, &again.config);
    assert!(shown.contains("head \"3s\"    "));
    assert!(shown.lines().any(|line| line.contains("first-byte \"90s\"") && line.ends_with(":24")));
}

#[test]
fn canonical_layout_says_the_same() {
    let formatted = config::format("test.kdl", FULL).unwrap();
    assert_eq!(config::format("test.kdl", &formatted).unwrap(), formatted);
    same(&parsed(&formatted).config, &parsed(FULL).config);
}

#[test]
fn values_have_paths_and_origins() {
    let loaded = parsed("site \"a\" {\n    timeouts { connect \"7s\" }\n    to \"b:80\"\n}\n");
    let values: Vec<_> = loaded.effective.values().collect();
    let find = |path: &[&str]| values.iter().find(|value| value.path == path).unwrap();
    let connect = find(&["site \"a\"", "timeouts", "connect"]);
    assert_eq!((connect.value.as_str(), connect.origin.as_str()), ("\"7s\"", "test.kdl:2"));
    let idle = find(&["site \"a\"", "timeouts", "stream-idle"]);
    assert_eq!((idle.value.as_str(), idle.origin.as_str()), ("\"5min\"", "default"));
    let level = find(&["process", "log", "level"]);
    assert_eq!((level.value.as_str(), level.origin.as_str()), ("info", "default"));
}

#[test]
fn addresses_of_sites_forwards_and_options_are_merged() {
    let config = parsed(FULL).config;
    let written: Vec<_> = config.listeners.iter().map(|l| l.written.to_string()).collect();
    assert_eq!(written, [":80", ":8080", "127.0.0.1:3128", "[::1]:3129"]);
    let [first, second, third, _] = config.listeners.as_slice() else { panic!() };
    assert_eq!(first.address, "[::]:80".parse().unwrap());
    assert_eq!(first.serves, Serves::Sites(vec![SiteId(0), SiteId(1)]));
    assert_eq!(first.timeouts.head, Duration::from_secs(5));
    assert_eq!(second.serves, Serves::Sites(vec![SiteId(0)]));
    assert_eq!(second.proxy_protocol, ProxyProtocol::Required);
    assert_eq!(second.timeouts.head, Duration::from_secs(3));
    assert_eq!(second.limits.head_fields, 50);
    assert_eq!(second.limits.head_bytes, 16 * 1024);
    assert_eq!(second.trusted_proxies.len(), 3);
    assert_eq!(third.timeouts.head, Duration::from_secs(4));
    assert_eq!(third.limits.head_fields, 40);
}

#[test]
fn routes_inherit_from_their_site() {
    let config = parsed(FULL).config;
    let shop = &config.sites[0];
    assert_eq!(
        shop.names,
        [SiteName::Exact("shop.example.com".into()), SiteName::Wildcard("shop.example.com".into())]
    );
    let [api, users, old, hello, assets, own] = shop.routes.as_slice() else { panic!() };

    assert_eq!(api.methods, ["GET".into(), "HEAD".into()]);
    assert_eq!(api.settings.rewrite, Rewrite::StripPrefix("/api".into()));
    assert_eq!(api.settings.host, HostPolicy::Endpoint);
    assert_eq!(api.settings.timeouts.first_byte, Duration::from_secs(90));
    assert_eq!(api.settings.timeouts.connect, Duration::from_secs(2));
    assert_eq!(api.settings.limits.body_bytes, Some(20 << 20));

    assert_eq!(
        users.pattern.segments,
        [
            Segment::Literal("users".into()),
            Segment::Capture("id".into()),
            Segment::Literal("posts".into())
        ]
    );
    assert_eq!(users.settings.limits.body_bytes, None);
    assert_eq!(users.settings.timeouts.first_byte, Duration::from_secs(300));
    assert_eq!(users.settings.host, HostPolicy::Literal("posts.internal:9000".into()));
    let merged_alone = PathReadings { merged: true, ..PathReadings::NONE };
    assert_eq!(users.settings.path_readings, merged_alone);
    assert_eq!(api.settings.path_readings, PathReadings::default());
    // The site's edits come first.
    let edits: Vec<_> =
        users.settings.request_fields.iter().map(|edit| (edit.verb, &*edit.name)).collect();
    assert_eq!(
        edits,
        [(EditVerb::Set, "X-Client"), (EditVerb::Remove, "Cookie"), (EditVerb::Set, "X-User")]
    );
    let parts = &users.settings.request_fields[2].value.parts;
    assert_eq!(
        *parts,
        [TemplatePart::Capture("id".into()), TemplatePart::Literal(" of {all}".into())]
    );

    let Action::Redirect { to, status: 301 } = &old.action else { panic!() };
    assert_eq!(to.parts[1], TemplatePart::Variable(Variable::Host));
    assert!(matches!(&hello.action, Action::Respond { status: 201, .. }));
    assert!(matches!(&assets.action, Action::Files(files) if files.listing));
    // The site's own action is the last route.
    assert!(own.pattern.is_all());
    assert!(matches!(own.action, Action::To(id) if &*config.upstreams[id.index()].name == "shop"));
    assert_eq!(own.place.line, 47);
}

#[test]
fn upstreams_named_and_inline() {
    let config = parsed(FULL).config;
    let names: Vec<_> = config.upstreams.iter().map(|u| (&*u.name, u.inline)).collect();
    assert_eq!(
        names,
        [
            ("shop", false),
            ("10.0.0.3:9000,http://10.0.0.4:9000", true),
            ("posts.internal:9000", true)
        ]
    );
    let shop = &config.upstreams[0];
    assert_eq!(shop.pool.max, 32);
    assert_eq!(shop.timeouts.upstream_idle, Some(Duration::ZERO));
    assert_eq!(shop.timeouts.first_byte, None);
    let weights: Vec<_> = shop.endpoints.iter().map(|endpoint| endpoint.weight).collect();
    assert_eq!(weights, [3, 1, 1]);
    assert_eq!(&*shop.endpoints[1].written, "App.internal:8080");
    let name = EndpointAddress::Name { host: "app.internal".into(), port: 8080 };
    assert_eq!(shop.endpoints[1].address, name);
}

#[test]
fn rules_of_forwards() {
    let config = parsed(FULL).config;
    let [office, open] = config.forwards.as_slice() else { panic!() };
    let [deny, ports, from, last] = office.rules.as_slice() else { panic!() };
    assert_eq!(
        deny.to,
        [Destination::Suffix("facebook.com".into()), Destination::Host("example.net".into())]
    );
    assert_eq!(deny.methods, ["CONNECT".into()]);
    assert_eq!(
        &*deny.written,
        "deny to=\"*.facebook.com,example.net\" method=CONNECT from=\"10.1.0.0/16\" port=443"
    );
    assert_eq!(
        ports.ports,
        [PortRange { first: 8000, last: 9000 }, PortRange { first: 443, last: 443 }]
    );
    assert_eq!(ports.to[0], Destination::Net("127.0.0.1/32".parse().unwrap()));
    assert_eq!(from.ports, [PortRange { first: 1, last: 65535 }]);
    assert!(!last.allow && last.to.is_empty() && last.from.is_empty());
    assert_eq!(office.ports.len(), 3);
    assert_eq!(&*office.via, "office");
    assert_eq!(office.anonymous.as_ref().unwrap().remove.len(), 3);
    assert_eq!(office.settings.timeouts.tunnel_idle, Duration::from_secs(5400));
    assert!(open.ports.is_empty());
    assert_eq!(&*open.via, "bothways");
}

#[test]
fn expectations() {
    let config = parsed(FULL).config;
    let [first, connect, _] = config.expects.as_slice() else { panic!() };
    assert_eq!(first.status, Some(301));
    assert_eq!(first.from, std::net::Ipv4Addr::LOCALHOST);
    assert_eq!(connect.forward.as_deref(), Some("127.0.0.1:3128"));
    assert_eq!(connect.denied, Some(true));
    assert_eq!(&*connect.target, "www.facebook.com:443");
}

#[test]
fn paths_are_kept_as_canonical_paths_are() {
    #[track_caller]
    fn check(pattern: &str, expected: &[&str], prefix: bool) {
        let config = parsed(&format!("site {{ route \"{pattern}\" {{ respond; }} }}")).config;
        let pattern = &config.sites[0].routes[0].pattern;
        let segments: Vec<_> = pattern
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.to_string(),
                Segment::Capture(name) => format!("{{{name}}}"),
            })
            .collect();
        assert_eq!(
            (segments.as_slice(), pattern.end == PatternEnd::Prefix),
            (expected.map_strings().as_slice(), prefix)
        );
    }
    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }
    impl MapStrings for [&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(ToString::to_string).collect()
        }
    }
    check("/", &[], false);
    check("/*", &[], true);
    check("/a", &["a"], false);
    check("/a/", &["a", ""], false);
    check("/a/*", &["a"], true);
    check("/a//*", &["a", ""], true);
    check("//", &["", ""], false);
    check("/a b/é", &["a%20b", "%C3%A9"], false);
    check("/%7ea%2f%41", &["~a%2FA"], false);
    check("/{id}/x", &["{id}", "x"], false);
    check("/a:b@c;d=e", &["a:b@c;d=e"], false);
}
