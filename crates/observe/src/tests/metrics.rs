//! What is counted, over cores and reloads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fixture;
use super::scrape::{Scrape, scrape};
use crate::{
    CacheOutcome, CacheReport, Caps, CoreMetrics, ErrorKind, Exposition, LookupResult, Names,
    Record, Refusal, Registry,
};

const SHOP: &[(&str, &str)] = &[("direction", "reverse"), ("scope", "shop.example.com")];

fn with<'l>(labels: &[(&'l str, &'l str)], more: (&'l str, &'l str)) -> Vec<(&'l str, &'l str)> {
    labels.iter().copied().chain([more]).collect()
}

#[test]
fn exchanges_of_all_cores_are_summed() {
    let registry = fixture::registry();
    let names = Names::new(&fixture::config(), &registry);
    let cores = [CoreMetrics::new(&registry), CoreMetrics::new(&registry)];
    let mut record = fixture::reverse(Instant::now());
    (record.request_body_bytes, record.retries) = (10, 2);
    cores[0].exchange_done(&record, &names);
    cores[1].exchange_done(&record, &names);
    record.fail(ErrorKind::ConnectionRefused, "no");
    record.status = 502;
    cores[1].exchange_done(&record, &names);
    let mut tunnel = fixture::forward(Instant::now());
    (tunnel.tunnel, tunnel.status) = (true, 200);
    cores[0].exchange_done(&tunnel, &names);
    cores[0].exchange_done(&Record::new(Instant::now()), &names);

    let text = scrape(&registry, Exposition::Text);
    let value = |name: &str, labels: &[(&str, &str)]| text.value(name, labels);
    assert_eq!(value("bothways_requests_total", &with(SHOP, ("code", "2xx"))), Some(2.0));
    assert_eq!(value("bothways_requests_total", &with(SHOP, ("code", "5xx"))), Some(1.0));
    assert_eq!(value("bothways_requests_total", &with(SHOP, ("code", "4xx"))), None);
    let nowhere = [("direction", "none"), ("scope", "none"), ("code", "none")];
    assert_eq!(value("bothways_requests_total", &nowhere), Some(1.0));
    assert_eq!(value("bothways_request_duration_seconds_count", SHOP), Some(3.0));
    assert_eq!(value("bothways_request_duration_seconds_sum", SHOP), Some(0.006009));
    let bucket =
        |bound| value("bothways_request_duration_seconds_bucket", &with(SHOP, ("le", bound)));
    assert_eq!(
        (bucket("0.0016"), bucket("0.0024"), bucket("+Inf")),
        (Some(0.0), Some(3.0), Some(3.0))
    );
    assert_eq!(value("bothways_first_byte_seconds_count", SHOP), Some(3.0));
    assert_eq!(value("bothways_request_body_bytes_total", SHOP), Some(30.0));
    assert_eq!(value("bothways_response_body_bytes_total", SHOP), Some(3.0 * 2326.0));
    assert_eq!(value("bothways_received_bytes_total", SHOP), Some(540.0));
    assert_eq!(value("bothways_sent_bytes_total", SHOP), Some(7500.0));
    assert_eq!(value("bothways_retries_total", SHOP), Some(6.0));
    let refused = [("error", "connection_refused"), ("blame", "upstream")];
    assert_eq!(value("bothways_errors_total", &refused), Some(1.0));
    let endpoint = [("upstream", "shop"), ("endpoint", "10.0.0.1:8080"), ("code", "2xx")];
    assert_eq!(value("bothways_upstream_requests_total", &endpoint), Some(2.0));
    // A tunnel has no duration that means anything.
    let forward = [("direction", "forward"), ("scope", ":3128")];
    assert_eq!(value("bothways_tunnels_total", &forward), Some(1.0));
    assert_eq!(value("bothways_request_duration_seconds_count", &forward), None);
    assert_eq!(value("bothways_cores", &[]), Some(2.0));
}

#[test]
fn what_the_cache_did_is_counted_by_scope() {
    let registry = fixture::registry();
    let names = Names::new(&fixture::config(), &registry);
    let core = CoreMetrics::new(&registry);
    let mut record = fixture::reverse(Instant::now());
    core.exchange_done(&record, &names);
    let text = scrape(&registry, Exposition::Text);
    assert_eq!(text.count("bothways_cache_requests_total"), 0);
    assert_eq!(text.count("bothways_cache_objects"), 0, "without a store there is nothing to say");
    for outcome in CacheOutcome::ALL {
        record.cache = Some(outcome);
        core.exchange_done(&record, &names);
    }
    let report = CacheReport {
        objects: 3,
        bytes: 4096,
        bytes_max: 1 << 20,
        waits: 2,
        ..CacheReport::default()
    };
    registry.watch_cache(move || report);
    let text = scrape(&registry, Exposition::Text);
    for outcome in CacheOutcome::ALL {
        let labels = with(SHOP, ("result", outcome.name()));
        assert_eq!(text.value("bothways_cache_requests_total", &labels), Some(1.0), "{outcome:?}");
    }
    // Four of the seven came out of it.
    assert_eq!(text.value("bothways_cache_served_bytes_total", SHOP), Some(4.0 * 2326.0));
    assert_eq!(text.value("bothways_cache_objects", &[]), Some(3.0));
    assert_eq!(text.value("bothways_cache_bytes", &[]), Some(4096.0));
    assert_eq!(text.value("bothways_cache_waits_total", &[]), Some(2.0));
}

#[test]
fn connections_and_tunnels() {
    let registry = fixture::registry();
    let names = Names::new(&fixture::config(), &registry);
    let cores = [CoreMetrics::new(&registry), CoreMetrics::new(&registry)];
    let (listener, endpoint) = (
        names.listener_slot(config::ListenerId(0)),
        names.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 1)),
    );
    for core in &cores {
        core.connection_opened(listener);
        core.connection_opened(listener);
        core.upstream_opened(endpoint);
        core.upstream_pooled(endpoint);
        core.tunnel_opened();
    }
    cores[0].connection_closed(listener);
    cores[0].connection_refused(listener, Refusal::ClientLimit);
    cores[0].upstream_unpooled(endpoint);
    cores[0].upstream_reused(endpoint);
    cores[0].upstream_closed(endpoint);
    cores[1].upstream_failed(endpoint);
    cores[1].tunnel_closed();
    registry.count_panic();
    registry.lookup_done(LookupResult::TimedOut);

    let text = scrape(&registry, Exposition::Text);
    let listener = [("listener", ":80")];
    let refused = with(&listener, ("reason", "client_limit"));
    let endpoint = [("upstream", "shop"), ("endpoint", "app.internal:8080")];
    type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], f64);
    let expected: &[Row<'_>] = &[
        ("bothways_connections_accepted_total", &listener, 4.0),
        ("bothways_connections_open", &listener, 3.0),
        ("bothways_connections_refused_total", &refused, 1.0),
        ("bothways_upstream_connections_opened_total", &endpoint, 2.0),
        ("bothways_upstream_connections_failed_total", &endpoint, 1.0),
        ("bothways_upstream_connections_reused_total", &endpoint, 1.0),
        ("bothways_upstream_connections_open", &endpoint, 1.0),
        ("bothways_upstream_connections_idle", &endpoint, 1.0),
        ("bothways_tunnels_open", &[], 1.0),
        ("bothways_panics_total", &[], 1.0),
        ("bothways_dns_lookups_total", &[("result", "timed_out")], 1.0),
    ];
    for (name, labels, value) in expected {
        assert_eq!(text.value(name, labels), Some(*value), "{name}");
    }
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let registry = fixture::registry();
    let before = Names::new(&fixture::config(), &registry);
    registry.configured(1);
    let core = CoreMetrics::new(&registry);
    let record = fixture::reverse(Instant::now());
    core.exchange_done(&record, &before);

    // Another site comes first, the upstream's endpoints change places.
    let mut config = fixture::config();
    let site = config.sites.remove(0);
    config.sites.push(site);
    config.upstreams[0].endpoints.reverse();
    let mut endpoint = config.upstreams[0].endpoints[0].clone();
    endpoint.written = "10.0.0.9:8080".into();
    config.upstreams[0].endpoints.push(endpoint);
    let after = Names::new(&config, &registry);
    registry.configured(2);
    registry.reload_failed();
    core.exchange_done(&record, &before); // began before the reload
    let mut later = record.clone();
    later.scope = crate::Scope::Site(config::SiteId(1), None);
    later.endpoint = Some(config::EndpointId::new(config::UpstreamId(0), 2));
    core.exchange_done(&later, &after);
    assert_eq!(
        before.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0)),
        after.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 1))
    );

    let text = scrape(&registry, Exposition::Text);
    assert_eq!(text.value("bothways_requests_total", &with(SHOP, ("code", "2xx"))), Some(3.0));
    let endpoint = |written| {
        let labels = [("upstream", "shop"), ("endpoint", written), ("code", "2xx")];
        text.value("bothways_upstream_requests_total", &labels)
    };
    assert_eq!((endpoint("10.0.0.1:8080"), endpoint("10.0.0.9:8080")), (Some(2.0), Some(1.0)));
    assert_eq!(text.value("bothways_config_generation", &[]), Some(2.0));
    assert_eq!(text.value("bothways_reloads_total", &[("result", "ok")]), Some(1.0));
    assert_eq!(text.value("bothways_reloads_total", &[("result", "failed")]), Some(1.0));
}

#[test]
fn names_beyond_the_cap_are_counted_as_other() {
    let registry = Registry::new("0", Caps { scopes: 20, listeners: 1, endpoints: 3 });
    let early = CoreMetrics::new(&registry);
    let mut config = fixture::config();
    let endpoint = config.upstreams[0].endpoints[0].clone();
    for number in 0..100_u32 {
        let mut site = config.sites[0].clone();
        site.names = vec![config::SiteName::Exact(format!("s{number}.example").into())];
        config.sites.push(site);
        let written = format!("10.0.1.{number}:80").into();
        config.upstreams[0].endpoints.push(config::Endpoint { written, ..endpoint.clone() });
    }
    let names = Names::new(&config, &registry);
    let late = CoreMetrics::new(&registry);
    let mut record = fixture::reverse(Instant::now());
    for core in [&early, &late] {
        for site in 0..102 {
            record.scope = crate::Scope::Site(config::SiteId(site), None);
            record.endpoint = Some(config::EndpointId::new(config::UpstreamId(0), site as usize));
            core.exchange_done(&record, &names);
        }
    }
    let text = scrape(&registry, Exposition::Text);
    // 20 slots: `none` and 19 sites; the other 83 are one.
    let other = [("direction", "other"), ("scope", "other"), ("code", "2xx")];
    assert_eq!(text.value("bothways_requests_total", &other), Some(166.0));
    assert_eq!(text.count("bothways_requests_total"), 21);
    let other = [("upstream", "other"), ("endpoint", "other"), ("code", "2xx")];
    assert_eq!(text.value("bothways_upstream_requests_total", &other), Some(198.0));
    assert_eq!(text.count("bothways_upstream_requests_total"), 4);
}

#[test]
fn both_forms_follow_their_grammar() {
    let registry = fixture::registry();
    let mut config = fixture::config();
    config.upstreams[0].name = "a\\b\"c\nd é".into();
    let names = Names::new(&config, &registry);
    let core = CoreMetrics::new(&registry);
    let empty = scrape(&registry, Exposition::Text);
    assert_eq!(empty.value("bothways_requests_total", &with(SHOP, ("code", "2xx"))), Some(0.0));
    let mut record = fixture::reverse(Instant::now());
    for kind in ErrorKind::ALL {
        record.fail(*kind, "");
        record.total = Duration::from_micros(1 << (kind.index() % 32));
        core.exchange_done(&record, &names);
    }
    for form in [Exposition::Text, Exposition::OpenMetrics] {
        let text: Scrape = scrape(&registry, form);
        let endpoint =
            [("upstream", "a\\b\"c\nd é"), ("endpoint", "10.0.0.1:8080"), ("code", "2xx")];
        let count = ErrorKind::COUNT as f64;
        assert_eq!(text.value("bothways_upstream_requests_total", &endpoint), Some(count));
        assert_eq!(text.count("bothways_errors_total"), ErrorKind::COUNT);
        assert!(text.value("process_resident_memory_bytes", &[]).is_some_and(|bytes| bytes > 0.0));
    }
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    assert_eq!(Exposition::negotiate(accept), Exposition::OpenMetrics);
    assert_eq!(Exposition::negotiate("*/*"), Exposition::Text);
}

#[test]
fn a_scrape_while_cores_count_sees_what_is_whole() {
    let registry = fixture::registry();
    let names = Arc::new(Names::new(&fixture::config(), &registry));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let core = CoreMetrics::new(&registry);
            let (names, record) = (Arc::clone(&names), fixture::reverse(Instant::now()));
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    core.exchange_done(&record, &names);
                }
            })
        })
        .collect();
    let mut last = 0.0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        let text = scrape(&registry, Exposition::Text); // its grammar says: buckets add up
        let count = text.value("bothways_requests_total", &with(SHOP, ("code", "2xx"))).unwrap();
        assert!(count >= last);
        last = count;
        let _ = Names::new(&fixture::config(), &registry); // a reload
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let text = scrape(&registry, Exposition::Text);
    let count = text.value("bothways_requests_total", &with(SHOP, ("code", "2xx")));
    assert_eq!(count, Some(40_000.0));
}
