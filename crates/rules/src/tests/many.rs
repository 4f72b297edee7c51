//! Many rules: what is found by looking under what a request has is what is found by going through all of them.

use std::net::{IpAddr, Ipv4Addr};

use config::{Config, Forward};
use message::{ClientCertificate, Fields, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::covering::covers;
use crate::fixtures::{forward, site};
use crate::forward::{DialTarget, ForwardIndex};
use crate::routes::RouteTree;
use crate::{Address, ForwardRequest, RouteRequest, Steps, assumed_certificate, canonical};

const NETS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.1",
    "10.1.1.2",
    "10.2.0.0/15",
    "127.0.0.0/8",
    "127.0.0.1",
    "192.0.2.0/25",
    "192.0.2.1",
    "::/0",
    "64:ff9b::/96",
    "fd00::/8",
    "fd00::1",
    "2001:db8::/32",
    "2001:db8::/127",
    "::ffff:10.1.0.0/112",
];
const IPS: &[&str] = &[
    "10.1.1.1",
    "10.1.1.2",
    "10.1.2.1",
    "10.3.0.1",
    "127.0.0.1",
    "192.0.2.1",
    "192.0.2.200",
    "fd00::1",
    "2001:db8::1",
    "64:ff9b::a01:101",
    "::ffff:10.1.1.1",
    "169.254.1.1",
    "::1",
];
const HOSTS: &[&str] = &["e", "a.e", "b.e", "a.b.e", "b.b.e", "c.a.b.e", "localhost"];
const PORTS: &[&str] =
    &["80", "443", "22", "1-1023", "1024-65535", "20-500", "443-8443", "1-65535"];
const METHODS: &[&str] = &["GET", "CONNECT", "HEAD"];
const CLIENTS: &[&str] = &["ops", "dev", "*.example.com", "a.example.com", "A.Example.COM"];

/// ` name=a,b`, or nothing; sometimes long.
fn some(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    let list = |size| {
        vec(select(values), size).prop_map(move |values| format!(" {name}={}", values.join(",")))
    };
    prop_oneof![3 => Just(String::new()), 3 => list(1..2), 1 => list(2..4), 1 => list(9..14)]
}

fn some_to() -> impl Strategy<Value = String> {
    let to = || {
        prop_oneof![
            select(HOSTS).prop_map(ToOwned::to_owned),
            select(HOSTS).prop_map(|host| format!("*.{host}")),
            select(NETS).prop_map(ToOwned::to_owned),
            // So that there are many that only one rule names.
            (0u8..200).prop_map(|n| format!("h{n}.e")),
            (0u8..200).prop_map(|n| format!("10.1.3.{n}")),
        ]
    };
    let list = |size| vec(to(), size).prop_map(|all| format!(" to={}", all.join(",")));
    prop_oneof![3 => Just(String::new()), 1 => Just(" to=*".to_owned()), 4 => list(1..2), 1 => list(2..4), 1 => list(9..14)]
}

fn some_from() -> impl Strategy<Value = String> {
    prop_oneof![some("from", NETS), (0u8..200).prop_map(|n| format!(" from=10.1.3.{n}"))]
}

fn some_rule() -> impl Strategy<Value = String> {
    let parts = (
        any::<bool>(),
        some_to(),
        some_from(),
        some("port", PORTS),
        some("method", METHODS),
        some("client", CLIENTS),
        prop_oneof![5 => Just(""), 1 => Just(" special=#true")],
    );
    parts.prop_map(|(allow, to, from, port, method, client, special)| {
        let verb = if allow { "allow" } else { "deny" };
        format!("{verb}{to}{from}{port}{method}{client}{special}")
    })
}

/// Rules that have much in common, or little.
fn some_rules() -> impl Strategy<Value = Vec<String>> {
    let alike =
        (vec(some_rule(), 1..6), vec((0usize..6, 0u8..40), 1..120)).prop_map(|(kinds, all)| {
            let one = |(kind, n): (usize, u8)| {
                let kind = kinds[kind % kinds.len()].clone();
                match kind.contains(" from=") {
                    true => kind,
                    false => format!("{kind} from=10.1.3.{n}"),
                }
            };
            all.into_iter().map(one).collect()
        });
    prop_oneof![2 => vec(some_rule(), 0..80), 1 => alike]
}

fn address(text: &str) -> Address {
    let ip = canonical(text.parse().unwrap());
    let inside = match ip {
        IpAddr::V6(ip) if ip.segments()[..2] == [0x64, 0xff9b] => {
            Some(Ipv4Addr::from_bits(ip.to_bits() as u32))
        }
        _ => None,
    };
    let is_own = ip.is_loopback() || text.starts_with("169.254.");
    let is_global = !is_own && !text.starts_with("10.") && !text.starts_with("fd");
    Address { ip, is_global, is_own, inside: [inside, None, None, None] }
}

fn certificate(name: &str) -> Option<ClientCertificate> {
    (!name.is_empty()).then(|| assumed_certificate(name))
}

fn only(config: &Config) -> &Forward {
    &config.forwards[0]
}

/// ` | when field=X-A is=v1`, or nothing.
fn some_condition() -> impl Strategy<Value = String> {
    let names = || select(&["field=X-A", "field=x-a", "field=Accept", "query=q", "cookie=c"][..]);
    let value = || (0u8..30).prop_map(|n| format!("v{n}"));
    let values =
        prop_oneof![3 => vec(value(), 1..2), 1 => vec(value(), 2..4), 1 => vec(value(), 9..12)];
    let verb = || prop_oneof![5 => Just("when"), 1 => Just("unless")];
    let from = vec(
        prop_oneof![
            select(NETS).prop_map(ToOwned::to_owned),
            (0u8..30).prop_map(|n| format!("10.1.3.{n}")),
        ],
        1..3,
    );
    prop_oneof![
        2 => Just(String::new()),
        5 => (verb(), names(), values).prop_map(|(verb, name, values)| {
            format!(" | {verb} {name} is={}", values.join(","))
        }),
        2 => (verb(), from).prop_map(|(verb, from)| format!(" | {verb} from={}", from.join(","))),
        1 => Just(" | when field=X-B".to_owned()),
        1 => Just(" | when query=q matches=^v1".to_owned()),
        1 => Just(" | when method=GET path=/a/*".to_owned()),
    ]
}

fn some_route() -> impl Strategy<Value = String> {
    let methods =
        prop_oneof![4 => Just(""), 1 => Just("GET "), 1 => Just("HEAD "), 1 => Just("GET,PUT ")];
    let patterns = select(&["/*", "/a/*", "/{x}/*", "/a", "/*.php", "~^/a"][..]);
    let priority = prop_oneof![6 => Just(""), 1 => Just(" [1]"), 1 => Just(" [-1]")];
    (methods, patterns, priority, some_condition(), some_condition()).prop_map(
        |(methods, pattern, priority, one, two)| format!("{methods}{pattern}{priority}{one}{two}"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_first_rule_is_the_first_of_a_walk(
        rules in some_rules(),
        clients in vec(select(IPS), 1..4),
        hosts in vec(prop_oneof![
            select(HOSTS).prop_map(ToOwned::to_owned), (0u8..200).prop_map(|n| format!("h{n}.e")),
        ], 1..4),
        ports in vec(select(&[80u16, 443, 22, 1, 65535, 1024, 501][..]), 1..3),
        method in select(&[Method::Get, Method::Connect, Method::Head, Method::Put][..]),
        name in select(&["", "ops", "x.example.com", "A.example.com", "other"][..]),
        ips in vec(prop_oneof![
            select(IPS).prop_map(ToOwned::to_owned), (0u8..200).prop_map(|n| format!("10.1.3.{n}")),
        ], 1..4),
    ) {
        let config = forward(&rules);
        let forward = only(&config);
        let (index, walked) = (ForwardIndex::of(forward), ForwardIndex::walked(forward));
        let certificate = certificate(name);
        let targets = ips.iter().map(|ip| DialTarget::Address(address(ip)));
        let targets: Vec<_> = targets.chain([DialTarget::Unknown, DialTarget::AnyGlobal]).collect();
        for (client, host) in clients.iter().flat_map(|client| hosts.iter().map(move |host| (client, host))) {
            for (&port, &target) in ports.iter().flat_map(|port| targets.iter().map(move |target| (port, target))) {
                let client = client.parse().unwrap();
                let certificate = certificate.as_ref();
                let request = ForwardRequest { client, method: &method, host, port, certificate };
                let (mut steps, mut of_walk) = (Steps::default(), Steps::default());
                // The verdict has the line that decided, and the reason.
                let verdict = index.judge_target(forward, &request, target, &mut steps);
                prop_assert_eq!(verdict, walked.judge_target(forward, &request, target, &mut of_walk));
                prop_assert_eq!(verdict, index.judge_target(forward, &request, target, &mut ()));
                prop_assert_eq!(steps, of_walk);
            }
        }
    }

    #[test]
    fn what_covers_a_rule_is_found_as_by_a_walk(rules in some_rules()) {
        let config = forward(&rules);
        let forward = only(&config);
        let index = ForwardIndex::of(forward);
        for (number, later) in forward.rules.iter().enumerate() {
            let walked = forward.rules[..number].iter().position(|earlier| covers(forward, earlier, None, later));
            prop_assert_eq!(index.covering(forward, number), walked, "{}: {}", number, later.written);
        }
    }

    #[test]
    fn the_route_is_that_of_a_walk(
        routes in vec(some_route(), 0..120),
        method in select(&[Method::Get, Method::Head, Method::Put, Method::Post][..]),
        client in select(IPS),
        values in vec((select(&["X-A", "Accept", "X-B", "Cookie"][..]), 0u8..30), 0..24),
        query in prop_oneof![Just(None), (0u8..30).prop_map(|n| Some(format!("q=v{n}&q=%762")))],
        path in select(&["/", "/a", "/A", "/a/x.php", "/b/c"][..]),
    ) {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let site = site(1, &["a.example"], &routes);
        let mut fields = Fields::new();
        for (name, n) in values {
            let value = if name == "Cookie" { format!("b=1; c=v{n}") } else { format!("v{n}") };
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let query = query.as_deref().map(str::as_bytes);
        let asked = RouteRequest { method: &method, client: client.parse().unwrap(), fields: &fields, query };
        let (tree, walked) = (RouteTree::of(&site.routes, true), RouteTree::walked(&site.routes, true));
        prop_assert_eq!(tree.find(&site.routes, &asked, path), walked.find(&site.routes, &asked, path));
        let ignoring_case = tree.find_ignoring_case(&site.routes, &asked, path);
        prop_assert_eq!(ignoring_case, walked.find_ignoring_case(&site.routes, &asked, path));
        let (mut methods, mut of_walk) = (String::new(), String::new());
        tree.allowed_methods(&site.routes, &asked, path, &mut methods);
        walked.allowed_methods(&site.routes, &asked, path, &mut of_walk);
        prop_assert_eq!(methods, of_walk);
    }
}
