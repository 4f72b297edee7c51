//! Slots of endpoints that come and go.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::fixture;
use super::scrape::scrape;
use crate::counter::Counter;
use crate::metrics::EndpointCells;
use crate::reuse::SERIES_KEPT;
use crate::{Caps, CoreMetrics, Exposition, Names, Recent, Record, Registry};

const REQUESTS: &str = "bothways_upstream_requests_total";
const OPEN: &str = "bothways_upstream_connections_open";

fn registry(endpoints: u32) -> Arc<Registry> {
    Registry::new("0", Caps { endpoints, ..Caps::default() })
}

/// The names of a snapshot in which the upstream has these endpoints.
fn names(registry: &Registry, endpoints: &[&str]) -> Names {
    let mut config = fixture::config();
    let members = &mut config.upstreams[0].endpoints;
    let one = members[0].clone();
    let member = |written: &&str| config::Endpoint { written: (*written).into(), ..one.clone() };
    *members = endpoints.iter().map(member).collect();
    Names::new(&config, registry)
}

/// An exchange with one of the endpoints.
fn exchange(endpoint: u32) -> Record {
    let endpoint = config::EndpointId::new(config::UpstreamId(0), endpoint as usize);
    Record { endpoint: Some(endpoint), ..fixture::reverse(Instant::now()) }
}

/// What a family says of an endpoint: of 2xx, if it goes by status.
fn value(registry: &Registry, family: &str, endpoint: &str) -> Option<f64> {
    let labels = [("upstream", "shop"), ("endpoint", endpoint), ("code", "2xx")];
    let labels = if family == REQUESTS { &labels[..] } else { &labels[..2] };
    scrape(registry, Exposition::Text).value(family, labels)
}

/// Answers by 2xx, connections opened and closed, without what a scrape costs.
fn counted(registry: &Registry, endpoint: &str) -> Option<[u64; 3]> {
    let state = registry.state();
    let (slot, _) = state.endpoints.iter().find(|(_, labels)| &*labels[1] == endpoint)?;
    let cells = || state.cores.iter().filter_map(|core| core.endpoints.get(slot));
    let sum = |counter: fn(&EndpointCells) -> &Counter| cells().map(|c| counter(c).get()).sum();
    Some([sum(|c| &c.requests[2]), sum(|c| &c.opened), sum(|c| &c.closed)])
}

#[test]
fn an_endpoint_that_is_gone_leaves_its_slot_to_another() {
    let registry = registry(10);
    let core = CoreMetrics::new(&registry);
    let start = Instant::now();
    let before = names(&registry, &["a", "b"]);
    let slot = before.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0));
    (0..3).for_each(|_| core.exchange_done(&exchange(0), &before));
    core.upstream_opened(slot);
    let after = names(&registry, &["b"]);
    let kept = |at: Duration| {
        registry.remember(start + at);
        value(&registry, REQUESTS, "a")
    };
    let long = 2 * SERIES_KEPT;
    // An exchange is under way, then what is left of it: a connection.
    assert_eq!(kept(Duration::ZERO), Some(3.0));
    assert_eq!(kept(long), Some(3.0));
    core.exchange_done(&exchange(0), &before);
    drop(before);
    assert_eq!(kept(long * 2), Some(4.0));
    core.upstream_pooled(slot);
    core.upstream_unpooled(slot);
    core.upstream_closed(slot);
    // The last scrapes see the last of it.
    assert_eq!(kept(long * 3), Some(4.0));
    assert_eq!(kept(long * 3 + SERIES_KEPT - Duration::from_secs(1)), Some(4.0));
    assert_eq!(kept(long * 3 + SERIES_KEPT), None);
    assert_eq!(scrape(&registry, Exposition::Text).count(OPEN), 1, "b alone");

    let newer = names(&registry, &["b", "c"]);
    assert_eq!(newer.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 1)), slot);
    assert_eq!(
        newer.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0)),
        after.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0))
    );
    assert_eq!(
        (value(&registry, REQUESTS, "c"), value(&registry, OPEN, "c")),
        (Some(0.0), Some(0.0))
    );
    let recent = registry.recent(slot, start + long * 4);
    assert_eq!(recent, Recent { requests: 0.0, ..Recent::default() });
    core.exchange_done(&exchange(1), &newer);
    assert_eq!(value(&registry, REQUESTS, "c"), Some(1.0));
    assert!(registry.recent(slot, start + long * 4).p50.is_some(), "it begins from nothing");
}

#[test]
fn one_that_comes_back_in_time_goes_on() {
    let registry = registry(10);
    let core = CoreMetrics::new(&registry);
    let start = Instant::now();
    let mut both = names(&registry, &["a", "b"]);
    core.exchange_done(&exchange(1), &both);
    for round in 1..4 {
        let _one = names(&registry, &["a"]);
        drop(both);
        registry.remember(start + SERIES_KEPT * (2 * round));
        registry.remember(start + SERIES_KEPT * (2 * round) + SERIES_KEPT / 2);
        both = names(&registry, &["a", "b"]);
        registry.remember(start + SERIES_KEPT * (2 * round + 1));
        assert_eq!(value(&registry, REQUESTS, "b"), Some(1.0), "{round}");
    }
}

#[test]
fn pods_come_and_go_and_none_is_other() {
    let registry = registry(4);
    let core = CoreMetrics::new(&registry);
    let mut before = names(&registry, &["stays", "pod-0"]);
    // A connection outlives the names of its endpoint by a round.
    let mut open = Vec::new();
    for number in 1..500_u32 {
        let pod = format!("pod-{number}");
        let after = names(&registry, &["stays", &pod]);
        let slot = after.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 1));
        assert!(
            slot.0 > 0
                && slot != before.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 1))
                && !open.contains(&slot)
        );
        core.upstream_opened(slot);
        open.push(slot);
        if open.len() > 2 {
            core.upstream_closed(open.remove(0));
        }
        [0, 1].into_iter().for_each(|index| core.exchange_done(&exchange(index), &after));
        core.exchange_done(&exchange(1), &before);
        assert_eq!(counted(&registry, &pod), Some([1, 1, 0]), "{pod}");
        before = after;
    }
    assert_eq!(counted(&registry, "stays"), Some([499, 0, 0]));
    let other = [("upstream", "other"), ("endpoint", "other"), ("code", "2xx")];
    let others = || scrape(&registry, Exposition::Text).value(REQUESTS, &other);
    assert_eq!(others(), None);
    // What does not fit is still counted there.
    let many = names(&registry, &["stays", "u", "v", "w", "x", "y", "z"]);
    core.exchange_done(&exchange(6), &many);
    assert_eq!(others(), Some(1.0));
}

/// Cores count on without a lock while slots change hands: whatever an endpoint is told to have had
/// is what was counted for it.
#[test]
fn nothing_is_counted_for_another_endpoint() {
    const ROUNDS: u32 = 1000;
    const EACH: u64 = 7;
    let registry = registry(4);
    let (done, is_done) = mpsc::channel();
    let (to_opener, of_opener) = mpsc::channel::<Arc<Names>>();
    let (to_closer, of_closer) = mpsc::channel::<Arc<Names>>();
    let (opener, closer) = (CoreMetrics::new(&registry), CoreMetrics::new(&registry));
    // One core opens connections.
    let opened = done.clone();
    let first = std::thread::spawn(move || {
        for names in of_opener {
            for _ in 0..EACH {
                opener.upstream_opened(
                    names.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0)),
                );
                opener.exchange_done(&exchange(0), &names);
            }
            drop(names);
            let _ = opened.send(());
        }
    });
    // Another closes them, when their endpoint is gone and the next one is there.
    let second = std::thread::spawn(move || {
        let mut left = None;
        for names in of_closer {
            let slot = names.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0));
            for before in left.replace(slot).into_iter().cycle().take(EACH as usize) {
                closer.upstream_pooled(before);
                closer.upstream_unpooled(before);
                closer.upstream_closed(before);
            }
            (0..EACH).for_each(|_| closer.exchange_done(&exchange(0), &names));
            drop(names);
            let _ = done.send(());
        }
        let last = left.into_iter().cycle().take(EACH as usize);
        last.for_each(|slot| closer.upstream_closed(slot));
    });
    let start = Instant::now();
    for round in 0..ROUNDS {
        let pod = format!("pod-{round}");
        let names = Arc::new(names(&registry, &[&pod]));
        assert_ne!(
            names.endpoint_slot(config::EndpointId::new(config::UpstreamId(0), 0)).0,
            0,
            "{pod} has a slot of its own"
        );
        assert_eq!(counted(&registry, &pod), Some([0; 3]));
        to_opener.send(Arc::clone(&names)).unwrap();
        to_closer.send(Arc::clone(&names)).unwrap();
        registry.remember(start + SERIES_KEPT * (2 * round));
        (0..2).for_each(|_| is_done.recv().unwrap());
        assert_eq!(counted(&registry, &pod), Some([2 * EACH, EACH, 0]), "{pod}");
        drop(names);
        registry.remember(start + SERIES_KEPT * (2 * round + 1));
    }
    drop((to_opener, to_closer));
    first.join().unwrap();
    second.join().unwrap();
    registry.remember(start + SERIES_KEPT * (2 * ROUNDS));
    registry.remember(start + SERIES_KEPT * (2 * ROUNDS + 1));
    assert_eq!(scrape(&registry, Exposition::Text).count(REQUESTS), 0, "all have left");
}
