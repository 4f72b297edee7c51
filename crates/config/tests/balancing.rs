//! What the lines of upstreams, splits and mirrors become.

mod common;

use std::time::Duration;

use common::same;
use config::{
    Action, Adaptive, Addresses, Balance, Check, Config, EndpointAddress, HedgeAfter, KeyPart,
    Panic, Queue, SameSite, SourceKind, Stay, Upstream,
};

const FULL: &str = include_str!("balancing.kdl");

#[track_caller]
fn parsed(text: &str) -> config::Loaded {
    match config::parse("test.kdl", text) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{failure}"),
    }
}

#[track_caller]
fn upstream(config: &Config, name: &str) -> Upstream {
    let found = config.upstreams.iter().find(|upstream| &*upstream.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}")).clone()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn what_is_shown_says_everything() {
    let loaded = parsed(FULL);
    let shown = loaded.effective.clone().revealed().render(false);
    same(&loaded.config, &parsed(&shown).config);
    let formatted = config::format("test.kdl", FULL).unwrap();
    same(&loaded.config, &parsed(&formatted).config);
}

#[test]
fn each_value_says_where_it_comes_from() {
    let loaded = parsed(
        "upstream app {\n    to \"a:1\"\n    health \"/x\" every=\"2s\"\n    retry tries=2 {\n        on connect\n    }\n    balance maglev {\n        by path\n    }\n}\nsite { to app }\nsite \"b\" { to \"b:1\" }\n",
    );
    let values: Vec<_> = loaded.effective.values().collect();
    let find = |path: &[&str]| {
        let value = values.iter().find(|value| value.path == path);
        let value = value.unwrap_or_else(|| panic!("{path:?}\n{}", loaded.effective.render(false)));
        (value.value.as_str(), value.origin.as_str())
    };
    assert_eq!(find(&["upstream app", "health"]), ("\"/x\"", "test.kdl:3"));
    assert_eq!(find(&["upstream app", "health", "every-down"]), ("\"6s\"", "default"));
    assert_eq!(find(&["upstream app", "retry", "tries"]), ("2", "test.kdl:4"));
    assert_eq!(find(&["upstream app", "retry", "budget"]), ("\"20%\"", "default"));
    assert_eq!(find(&["upstream app", "retry", "on"]), ("connect", "test.kdl:4"));
    assert_eq!(find(&["upstream app", "balance"]), ("maglev", "test.kdl:7"));
    assert_eq!(find(&["upstream app", "balance", "by"]), ("path", "test.kdl:7"));
    assert_eq!(find(&["upstream app", "queue", "wait"]), ("\"5s\"", "default"));
    // What holds for endpoints without an upstream of their own is shown too, once.
    assert_eq!(find(&["/- upstream inline", "balance"]).1, "default");
    assert_eq!(find(&["/- upstream inline", "retry", "tries"]), ("3", "default"));
}

#[test]
fn endpoints_have_their_properties() {
    let config = parsed(FULL).config;
    let app = upstream(&config, "app");
    let [first, name, other, one, auto] = app.endpoints.as_slice() else { panic!() };
    // It stands there twice.
    assert_eq!((first.weight, first.priority, first.max), (5, 2, Some(100)));
    assert_eq!(first.zone.as_deref(), Some("eu-1a"));
    assert!(!first.backup && !first.draining);
    for endpoint in [name, other] {
        assert!(endpoint.backup && endpoint.draining);
        assert_eq!((endpoint.addresses, endpoint.weight), (Addresses::Each, 1));
    }
    assert_eq!((one.addresses, auto.addresses), (Addresses::One, Addresses::Auto));
    assert_eq!(name.place.line, 16);
    let [srv, secure, file] = app.sources.as_slice() else { panic!() };
    assert_eq!(srv.kind, SourceKind::Srv("_http._tcp.app.internal".into()));
    assert!(!srv.tls && secure.tls && file.tls);
    assert!(matches!(&file.kind, SourceKind::File(path) if path.ends_with("Cargo.toml")));
    // Those written inline are merged too.
    let inline = upstream(&config, "10.0.0.7:80,10.0.0.8:80");
    assert!(inline.inline);
    let weights: Vec<_> = inline.endpoints.iter().map(|endpoint| endpoint.weight).collect();
    assert_eq!(weights, [2, 1]);
    assert_eq!(config.process.zone.as_deref(), Some("eu-1a"));
    assert!(config.process.admin_token.is_some());
}

#[test]
fn an_upstream_may_begin_without_endpoints() {
    let config = parsed("upstream app { srv \"_a._tcp.b\"; }\nsite { to app }\n").config;
    let app = upstream(&config, "app");
    assert!(app.endpoints.is_empty());
    assert_eq!(app.sources.len(), 1);
}

#[test]
fn how_an_endpoint_is_chosen() {
    let config = parsed(FULL).config;
    let app = upstream(&config, "app");
    let keys = [
        KeyPart::Header("X-User".into()),
        KeyPart::Cookie("sid".into()),
        KeyPart::Query("id".into()),
        KeyPart::Path,
    ];
    let place = app.balance.place;
    let expected = Balance { place, algorithm: "ring".into(), keys: keys.into(), bound: Some(150) };
    assert_eq!(app.balance, expected);
    assert_eq!((app.spill, app.slow_start, app.panic), (50, secs(30), Panic::Spread));
    assert_eq!(upstream(&config, "shadow").balance.bound, None);
    assert_eq!(upstream(&config, "plain").balance.bound, Some(125));

    let sticky = upstream(&config, "shadow").sticky.unwrap();
    assert_eq!((&*sticky.cookie, &*sticky.path), ("BW", "/shop"));
    assert_eq!((sticky.max_age, sticky.domain.as_deref()), (Some(secs(3600)), Some("example.com")));
    assert_eq!((sticky.secure, sticky.http_only), (Some(true), false));
    assert_eq!(sticky.same_site, SameSite::Strict);
    assert!(sticky.key_file.is_some());
    let sticky = upstream(&config, "plain").sticky.unwrap();
    assert_eq!((sticky.secure, sticky.http_only), (Some(false), true));
    assert_eq!((sticky.max_age, &*sticky.path, sticky.same_site), (None, "/", SameSite::Unset));
}

#[test]
fn how_endpoints_are_checked() {
    let app = upstream(&parsed(FULL).config, "app");
    let [http, body, tcp, grpc] = app.health.as_slice() else { panic!() };
    assert_eq!((http.every, http.every_down, http.timeout), (secs(2), secs(6), secs(1)));
    assert_eq!((http.jitter, http.rise, http.fall, http.port), (20, 1, 4, Some(8081)));
    let Check::Http(check) = &http.check else { panic!() };
    assert_eq!((&*check.method, &*check.path), ("HEAD", "/healthz?a=b"));
    assert_eq!(check.host.as_deref(), Some("x:81"));
    assert_eq!(check.statuses, [(200, 299), (304, 304), (418, 418)]);
    assert_eq!(check.fields[0], ("Authorization".into(), "Bearer \"x\"".into()));
    let Check::Http(check) = &body.check else { panic!() };
    assert_eq!((body.every, body.every_down), (secs(5), secs(60)));
    assert_eq!(check.body.as_deref(), Some("all \"good\""));
    assert_eq!(check.statuses, [(200, 399)]);
    assert_eq!(tcp.check, Check::Tcp);
    assert_eq!((tcp.every, tcp.every_down), (secs(5), secs(15)));
    assert_eq!(grpc.check, Check::Grpc("my.Service".into()));
}

#[test]
fn when_endpoints_are_let_be_and_requests_sent_again() {
    let config = parsed(FULL).config;
    let app = upstream(&config, "app");
    let ejection = app.ejection.unwrap();
    assert_eq!((ejection.consecutive, ejection.failures, ejection.latency), (3, false, 2.5));
    assert_eq!((ejection.requests_min, ejection.window, ejection.share), (20, secs(30), 30));
    assert_eq!((ejection.term, ejection.term_max), (secs(1), secs(60)));
    let retry = &app.retry;
    assert_eq!((retry.tries, retry.budget, retry.budget_min), (5, 30, 10));
    assert_eq!((retry.buffer, retry.try_timeout), (1 << 20, Some(secs(2))));
    assert!(retry.connect && retry.timeout && !retry.refused && !retry.reset);
    assert_eq!(retry.statuses, [503, 500]);
    assert_eq!(app.hedge.unwrap().after, HedgeAfter::Quantile(99));

    let shadow = upstream(&config, "shadow");
    assert!(shadow.ejection.is_none());
    assert_eq!((shadow.retry.tries, shadow.queue.max), (1, 0));
    let plain = upstream(&config, "plain");
    assert_eq!(plain.hedge.unwrap().after, HedgeAfter::Fixed(Duration::from_millis(50)));
    assert_eq!(plain.retry, config::Retry::default());
    assert_eq!(plain.ejection, Some(config::Ejection::default()));
}

#[test]
fn what_is_held_back() {
    let config = parsed(FULL).config;
    let app = upstream(&config, "app");
    assert_eq!(app.queue, Queue { max: 10, wait: secs(1) });
    assert_eq!((app.breaker.in_flight, app.breaker.connecting), (Some(1000), Some(8)));
    assert!(matches!(app.adaptive, Some(Adaptive { min: 2, max: 200, .. })));
    assert_eq!((app.deadline.field.as_deref(), app.deadline.grpc), (Some("X-Time"), false));
    let pool = app.pool;
    assert_eq!((pool.max, pool.min, pool.lifetime, pool.steal), (8, 2, secs(600), false));
    let shadow = upstream(&config, "shadow");
    assert_eq!((shadow.breaker.in_flight, shadow.breaker.connecting), (None, Some(4)));
    assert!(matches!(shadow.adaptive, Some(Adaptive { min: 4, max: 1000, .. })));
    assert_eq!(upstream(&config, "plain").adaptive, None);
}

#[test]
fn splits_and_mirrors() {
    let config = parsed(FULL).config;
    let name = |id: config::UpstreamId| &*config.upstreams[id.index()].name;
    let [api, beta, any, ip, own] = config.sites[0].routes.as_slice() else { panic!() };
    let split = |route: &config::Route| match &route.action {
        Action::Split(split) => split.clone(),
        other => panic!("{other:?}"),
    };
    let parts: Vec<_> = split(api).parts.iter().map(|p| (name(p.upstream), p.share)).collect();
    assert_eq!(parts, [("app", 9500), ("10.0.8.1:80", 499), ("shadow", 1)]);
    assert_eq!(split(api).stay, Stay::Cookie("bw-split".into()));
    assert_eq!(split(beta).stay, Stay::Cookie("beta".into()));
    assert_eq!(split(any).stay, Stay::No);
    assert_eq!(split(own).stay, Stay::Address);

    let mirrors = |route: &config::Route| {
        let mirrors = route.settings.mirrors.iter();
        mirrors.map(|m| (name(m.upstream), m.share, m.body_max, m.in_flight)).collect::<Vec<_>>()
    };
    let of_site = [("shadow", 1250, 1 << 20, 8), ("10.0.9.9:80", 10_000, 64 * 1024, 64)];
    assert_eq!(mirrors(own), of_site);
    assert_eq!(mirrors(ip), of_site);
    assert_eq!(mirrors(api), []);
    assert_eq!(mirrors(beta), [("app", 100, 64 * 1024, 64)]);
    assert_eq!(config.sites[0].base.mirrors.len(), 2);
}

#[test]
fn endpoints_are_read_as_written() {
    let good = |text: &str| config::parse_endpoint(text).unwrap();
    assert_eq!(good("10.0.0.1:80"), (EndpointAddress::Ip("10.0.0.1:80".parse().unwrap()), false));
    assert_eq!(good("https://[::1]"), (EndpointAddress::Ip("[::1]:443".parse().unwrap()), true));
    let name = EndpointAddress::Name { host: "app.internal".into(), port: 8443 };
    assert_eq!(good("https://App.internal:8443"), (name, true));
    assert_eq!(good("unix:/a"), (EndpointAddress::Unix("/a".into()), false));
    let wrong = config::parse_endpoint("10.0.0.1").unwrap_err();
    assert_eq!(wrong, "`10.0.0.1` is not an endpoint: a port is missing: write \"10.0.0.1:80\"");
}

#[cfg(unix)]
#[test]
fn secrets_that_others_can_read_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("admin.token");
    std::fs::write(&file, "secret").unwrap();
    let warnings = |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let text = format!(
            "process {{ admin \"127.0.0.1:9900\" token-file=\"{0}\"; }}\nupstream a {{ to \"a:1\"; sticky \"b\" key-file=\"{0}\"; }}\nsite {{ to a }}\n",
            file.display()
        );
        let warnings = parsed(&text).warnings;
        warnings.iter().map(|warning| warning.place.line).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o644), [1, 2]);
    assert_eq!(warnings(0o600), [] as [u32; 0]);
    assert_eq!(warnings(0o640), [] as [u32; 0]);
}
