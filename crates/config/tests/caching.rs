//! `cache`: what holds where.

use std::time::Duration;

use config::{CacheConditionOn, CacheStatuses, Caching, Config, QueryKey, TtlMode};

fn read(text: &str) -> Config {
    match config::parse("x.kdl", text) {
        Ok(loaded) => {
            let warnings: Vec<_> =
                loaded.warnings.iter().map(|warning| warning.render(false)).collect();
            assert_eq!(warnings, [""; 0], "{text}");
            std::sync::Arc::unwrap_or_clone(loaded.config)
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// The caching of a route of the first site, by its number.
fn of_route(config: &Config, route: usize) -> Option<&Caching> {
    config.sites[0].routes[route].settings.caching.as_deref()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_route_inherits_replaces_or_switches_off() {
    let config = read(
        "site \"a\" {
            cache ttl=\"1h\" lock=\"1s\"
            route \"/same\" { to \"a:80\"; }
            route \"/own\" { cache stale=\"1min\"; to \"a:80\"; }
            route \"/off\" { cache off; to \"a:80\"; }
            to \"a:80\"
        }
        site \"b\" { to \"a:80\"; }",
    );
    let same = of_route(&config, 0).unwrap();
    assert_eq!((same.ttl(200).unwrap().time, same.lock), (secs(3600), secs(1)));
    let own = of_route(&config, 1).unwrap();
    assert!(own.ttl(200).is_none(), "a route replaces the site's as a whole");
    assert_eq!((own.stale_while_revalidate, own.lock), (secs(60), secs(5)));
    assert_eq!(own.place.line, 4);
    assert!(of_route(&config, 2).is_none());
    assert!(of_route(&config, 3).is_some());
    assert!(config.sites[1].base.caching.is_none(), "a site that does not say it caches nothing");
}

#[test]
fn defaults_hold_for_sites_without_a_line_of_their_own() {
    let config = read(
        "defaults { cache ttl=\"1h\"; }
        site \"a\" { to \"a:80\"; }
        site \"b\" { cache off; to \"a:80\"; }
        site \"c\" { cache ttl=\"1s\"; to \"a:80\"; }
        site \"d\" { respond; }
        forward \"127.0.0.1:3128\" { allow; }",
    );
    let ttl = |site: usize| {
        let caching = config.sites[site].base.caching.as_ref()?;
        Some(caching.ttl(200)?.time)
    };
    assert_eq!([ttl(0), ttl(1), ttl(2)], [Some(secs(3600)), None, Some(secs(1))]);
    assert!(config.forwards[0].settings.caching.is_none());
}

#[test]
fn the_request_counts_in_forward_alone() {
    let config = read(
        "site \"a\" { cache; to \"a:80\"; }
        forward \"127.0.0.1:3128\" { allow; cache; }
        forward \"127.0.0.1:3129\" { allow; cache respect-client=#false; }",
    );
    let respects = |forward: usize| {
        config.forwards[forward].settings.caching.as_ref().map(|caching| caching.respect_client)
    };
    assert_eq!((respects(0), respects(1)), (Some(true), Some(false)));
    assert!(!of_route(&config, 0).unwrap().respect_client);
}

#[test]
fn the_order_of_times_does_not_matter() {
    let config = read(
        "site \"a\" {
            cache ttl=\"1h\" {
                ttl \"10s\" status=\"4xx,503\"
                ttl \"1min\" status=404
            }
            to \"a:80\"
        }",
    );
    let caching = of_route(&config, 0).unwrap();
    let rows: Vec<_> = caching.ttls.iter().map(|row| (row.statuses, row.time)).collect();
    assert_eq!(
        rows,
        [
            (CacheStatuses::Exact(503), secs(10)),
            (CacheStatuses::Exact(404), secs(60)),
            (CacheStatuses::Class(4), secs(10)),
            (CacheStatuses::All, secs(3600)),
        ]
    );
    let ttl = |status| caching.ttl(status).map(|row| row.time);
    assert_eq!(
        [ttl(200), ttl(404), ttl(418), ttl(503), ttl(502)],
        [Some(secs(3600)), Some(secs(60)), Some(secs(10)), Some(secs(10)), None]
    );
}

#[test]
fn modes_keys_and_conditions() {
    let config = read(
        "site \"a\" {
            route \"/floor\" { cache ttl=\"1h\" if-silent=#false; to \"a:80\"; }
            route \"/override\" { cache ttl=\"1h\" override=#true; to \"a:80\"; }
            route \"/key\" {
                cache {
                    key { query drop=\"utm_*,gclid\" sort=#true; field \"X-A\" \"x-a\"; cookie \"lang\"; cookie \"cur\"; }
                    bypass field=\"X-Refresh\" is=\"1\"
                    pass cookie=\"session*\"
                    purge from=\"10.0.0.0/8\"
                }
                to \"a:80\"
            }
            route \"/none\" { cache { key { query none; }; stale on-error=\"1d\"; }; to \"a:80\"; }
        }",
    );
    let mode = |route| of_route(&config, route).unwrap().ttl_mode;
    assert_eq!([mode(0), mode(1), mode(2)], [TtlMode::Floor, TtlMode::Override, TtlMode::IfSilent]);
    let caching = of_route(&config, 2).unwrap();
    let QueryKey::Drop(names) = &caching.key.query else { panic!("{:?}", caching.key) };
    assert!(names.iter().any(|name| name.has(b"utm_source")) && names[1].has(b"gclid"));
    assert!(!names.iter().any(|name| name.has(b"gclid2")) && caching.key.sort_query);
    assert_eq!(
        (&*caching.key.fields, &*caching.key.cookies),
        (["X-A".into()].as_slice(), ["lang".into(), "cur".into()].as_slice())
    );
    let CacheConditionOn::Cookie(cookie) = &caching.pass[0].what else { panic!() };
    assert!(cookie.has(b"session_7") && caching.bypass.len() == 1 && caching.purge_from.len() == 1);
    let last = of_route(&config, 3).unwrap();
    assert_eq!((&last.key.query, last.stale_on_error), (&QueryKey::None, secs(86_400)));
    assert_eq!(last.stale_while_revalidate, Duration::ZERO);
}

#[test]
fn the_store_of_the_process() {
    assert_eq!(read("site { respond; }").process.cache.memory, 128 << 20);
    let loaded = config::parse(
        "x.kdl",
        "process { cache memory=\"1GiB\" disk=\"/var/cache/x\" max=\"20GiB\"; }
        site \"a\" { cache max-object=\"256MiB\"; to \"a:80\"; }",
    );
    let loaded = loaded.unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| &*warning.message).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("no part on disk in this version"), "{warnings:?}");
    let config = loaded.config;
    let store = &config.process.cache;
    let disk = store.disk.as_ref().unwrap();
    assert_eq!(
        (store.memory, disk.max, disk.path.to_str()),
        (1 << 30, 20 << 30, Some("/var/cache/x"))
    );
}

/// What is shown names every default, and where each value is from.
#[test]
fn what_is_shown() {
    let text = "site \"a\" {
    cache ttl=\"1h\" {
        ttl \"10s\" status=\"5xx\"
        key { query drop=\"utm_*\"; }
        pass cookie=\"session*\"
    }
    route \"/x\" { cache off; to \"a:80\"; }
    to \"a:80\"
}";
    let shown = config::parse("x.kdl", text).unwrap().effective.render(false);
    let squeezed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "cache ttl=\"1h\" \\ // x.kdl:2 if-silent=#true \\ // default",
        "lock=\"5s\" \\ // default",
        "ttl \"10s\" status=\"5xx\" // x.kdl:",
        "key { // x.kdl:4 query drop=\"utm_*\"",
        "pass cookie=\"session*\" // x.kdl:5",
        "cache off // x.kdl:7",
    ] {
        assert!(squeezed.contains(expected), "{expected}\n{shown}");
    }
}
