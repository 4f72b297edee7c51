//! What a decision costs, by the number of routes and rules. Each benchmark checks that it times
//! a decision, not a refusal at the first step.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use config::{Config, ForwardId, ListenerId};
use divan::Bencher;
use message::{Fields, Method};
use rules::{Address, ForwardRequest, RouteRequest, Routing, Rules, Verdict};

#[path = "../src/fixtures.rs"]
mod fixtures;

/// Shows that a decision allocates nothing.
#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// The host and the route of a request in reverse, in the middle of `count` routes of one site.
#[divan::bench(args = [1, 100, 10_000])]
fn site_and_route(bencher: Bencher<'_, '_>, count: usize) {
    let routes: Vec<String> = (0..count).map(|n| format!("/service{n}/{{id}}/*")).collect();
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let sites = vec![
        fixtures::site(1, &["other.example.com", "*.example.org"], &["/*"]),
        fixtures::site(2, &["shop.example.com", "*.shop.example.com"], &routes),
    ];
    let rules = Rules::compile(Arc::new(fixtures::reverse(sites)));
    let path = format!("/service{}/4711/details/of/it", count / 2);
    let fields = Fields::new();
    let client = IpAddr::from([10, 0, 0, 1]);
    let asked = RouteRequest { method: &Method::Get, client, fields: &fields, query: None };
    let decide = |path: &str| {
        rules.route(ListenerId(0), &asked, black_box("www.shop.example.com"), path, &mut ())
    };
    assert!(matches!(decide(&path), Routing::Route { route, .. } if route.index() == count / 2));
    bencher.bench_local(|| decide(black_box(&path)));
}

/// A forward listener with `count` rules for hosts, of which none matches, and an `allow`.
fn listed(count: usize) -> Config {
    let hosts = (0..count).map(|n| match n % 4 {
        0 => format!("deny to=*.blocked{n}.example"),
        1 => format!("deny to=198.51.{}.{}/32", n / 256 % 256, n % 256),
        _ => format!("deny to=www.blocked{n}.example"),
    });
    fixtures::forward(&hosts.chain(["allow from=10.0.0.0/8".to_owned()]).collect::<Vec<_>>())
}

/// A name and the address it has, allowed by the last rule.
#[divan::bench(args = [10, 10_000])]
fn forward_allowed(bencher: Bencher<'_, '_>, count: usize) {
    let rules = Rules::compile(Arc::new(listed(count)));
    let request = ForwardRequest {
        client: IpAddr::from([10, 0, 0, 1]),
        method: &Method::Connect,
        host: "www.some.host.example.com",
        port: 443,
        certificate: None,
    };
    let address = Address::global(IpAddr::from([203, 0, 113, 9]));
    let decide = || {
        let by_name = rules.judge(ForwardId(0), black_box(&request), None, &mut ());
        (by_name, rules.judge(ForwardId(0), black_box(&request), Some(address), &mut ()))
    };
    assert!(matches!(decide(), (Verdict::NeedsAddresses, Verdict::Allow { .. })));
    bencher.bench_local(decide);
}

/// A name that a rule in the middle denies.
#[divan::bench(args = [10, 10_000])]
fn forward_denied(bencher: Bencher<'_, '_>, count: usize) {
    let rules = Rules::compile(Arc::new(listed(count)));
    let host = format!("www.blocked{}.example", count / 2 / 4 * 4 + 2);
    let client = IpAddr::from([10, 0, 0, 1]);
    let request = ForwardRequest {
        client,
        method: &Method::Connect,
        host: &host,
        port: 443,
        certificate: None,
    };
    let decide = || rules.judge(ForwardId(0), black_box(&request), None, &mut ());
    assert!(matches!(decide(), Verdict::Deny { .. }));
    bencher.bench_local(decide);
}

/// The whole compilation.
#[divan::bench(args = [10, 10_000], sample_count = 10)]
fn compile_forward(bencher: Bencher<'_, '_>, count: usize) {
    let config = Arc::new(listed(count));
    bencher.bench_local(|| Rules::compile(config.clone()));
}
