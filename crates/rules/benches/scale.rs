//! What many rules, sites, routes, addresses and rows cost: a decision, and what `check`, a start and a reload do with the text.
//! For each kind, the time with 10 of them and that with 100,000 should be of the same size for a decision, and of the size
//! of the text for a check. Each benchmark checks that it times the decision that is meant.
#![allow(missing_docs)]

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use config::{Action, Config, ForwardId, Loaded, RouteId, SiteId};
use divan::Bencher;
use message::{Fields, Method, Request, Scheme};
use rules::{
    Address, Asker, ClientFacts, Facts, ForwardRequest, RouteRequest, Routing, Rules, Standing,
    Verdict,
};

/// Shows that a decision allocates nothing.
#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const COUNTS: [usize; 3] = [10, 1000, 100_000];

fn main() {
    divan::main();
}

/// What there are many of, and how many.
#[derive(Clone, Copy)]
struct Many(&'static str, usize);

impl fmt::Display for Many {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}", self.0, self.1)
    }
}

fn many(kinds: &[&'static str]) -> Vec<Many> {
    kinds.iter().flat_map(|&kind| COUNTS.map(|count| Many(kind, count))).collect()
}

const FORWARD: &[&str] = &[
    "from",
    "from and port",
    "host",
    "suffix",
    "network",
    "port and from",
    "one host, by from",
    "hosts by from",
    "mixed",
    "one rule by from",
    "one rule by network",
];
const REVERSE: &[&str] = &[
    "sites",
    "routes",
    "routes by field",
    "routes by from",
    "one field, values",
    "access",
    "map",
    "map by beginning",
];
const OTHERS: &[&str] = &["upstreams", "endpoints", "use", "exact paths"];

/// A different address for each number.
fn ip(n: usize) -> String {
    format!("{}.{}.{}.7", 11 + n / 65536, n / 256 % 256, n % 256)
}

/// The text of a configuration with many of a kind.
fn text(Many(kind, count): Many) -> String {
    let root = (count as f64).sqrt() as usize + 1;
    let lines = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let list = |item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
    let port = |n: usize| 1 + n % 65535;
    let rule = |n: usize| match kind {
        "from" => format!("deny from=\"{}\"\n", ip(n)),
        "from and port" => format!("deny from=\"{}\" port=\"{}\"\n", ip(n), port(n)),
        "host" => format!("deny to=\"www.blocked{n}.example\"\n"),
        "suffix" => format!("deny to=\"*.blocked{n}.example\"\n"),
        "network" => format!("deny to=\"{}\"\n", ip(n)),
        "port and from" => format!("deny port=\"{}\" from=\"{}\"\n", port(n), ip(n / 65535)),
        "one host, by from" => format!("deny to=\"shared.example\" from=\"{}\"\n", ip(n)),
        "hosts by from" => {
            format!("deny to=\"host{}.example\" from=\"{}\"\n", n / root, ip(n % root))
        }
        _ => match n % 5 {
            0 => format!("deny from=\"{}\"\n", ip(n)),
            1 => format!("deny to=\"www.blocked{n}.example\"\n"),
            2 => format!("deny to=\"*.blocked{n}.example\" port=\"443\"\n"),
            3 => format!("allow to=\"{}\" from=\"10.0.0.0/8\" port=\"{}\"\n", ip(n), port(n)),
            _ => format!("deny port=\"{}\" from=\"{}\" method=\"GET\"\n", port(n), ip(n)),
        },
    };
    let site =
        |body: String| format!("site \"a.example\" {{\nlisten \"127.0.0.1:80\"\n{body}\n}}\n");
    let forward = |rules: String| {
        format!(
            "forward \"127.0.0.1:3128\" {{\n{rules}allow from=\"10.0.0.0/8\" port=\"443\"\n}}\n"
        )
    };
    match kind {
        "one rule by from" => forward(format!("deny from=\"{}\"\n", list(&ip))),
        "one rule by network" => forward(format!("deny to=\"{}\"\n", list(&ip))),
        "sites" => lines(&|n| {
            format!("site \"s{n}.example\" {{ listen \"127.0.0.1:80\"; respond \"x\"; }}\n")
        }),
        "routes" => site(lines(&|n| format!("route \"/r{n}/*\" {{ respond \"x\"; }}\n"))),
        "exact paths" => site(lines(&|n| format!("route \"/r{n}\" {{ to \"{}:80\"; }}\n", ip(n)))),
        "routes by field" => site(lines(&|n| {
            format!("route \"/*\" {{ when field=\"X-A\" is=\"v{n}\"; respond \"x\"; }}\n")
        })),
        "routes by from" => site(lines(&|n| {
            format!("route \"/*\" {{ when from=\"{}\"; respond \"x\"; }}\n", ip(n))
        })),
        "one field, values" => site(format!(
            "route \"/*\" {{ when field=\"X-A\" is=\"{}\"; respond \"x\"; }}\n",
            list(&|n| format!("v{n}"))
        )),
        "access" => site(lines(&|n| format!("deny from=\"{}\"\n", ip(n))) + "respond \"x\""),
        "map" => {
            let rows = lines(&|n| format!("\"/p{n}\" \"v{n}\"\n"));
            format!("map kind \"{{path}}\" {{\n{rows}default \"none\"\n}}\n")
                + &site("respond \"{kind}\"".to_owned())
        }
        "map by beginning" => {
            let rows = lines(&|n| format!("\"/p{n}/*\" \"v{n}\"\n"));
            format!("map kind \"{{path}}\" {{\n{rows}default \"none\"\n}}\n")
                + &site("respond \"{kind}\"".to_owned())
        }
        "upstreams" => {
            lines(&|n| format!("upstream u{n} {{ to \"{}:80\"; }}\n", ip(n)))
                + &site(lines(&|n| format!("route \"/r{n}/*\" {{ to u{n}; }}\n")))
        }
        "endpoints" => {
            let all = lines(&|n| format!("to \"{}:80\"\n", ip(n)));
            format!("upstream u {{\n{all}}}\n") + &site("to u".to_owned())
        }
        "use" => {
            "define both { response { set X-A \"1\"; }; }\n".to_owned()
                + &site(lines(&|n| format!("route \"/r{n}/*\" {{ use both; respond \"x\"; }}\n")))
        }
        _ => forward(lines(&rule)),
    }
}

fn loaded(many: Many) -> Loaded {
    match config::parse("many.kdl", &text(many)) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{many}: {}", failure.render(false)),
    }
}

fn compiled(many: Many) -> Rules {
    let Loaded { config, .. } = loaded(many);
    Rules::compile(config)
}

/// Text to model.
#[divan::bench(args = many(&[FORWARD, REVERSE, OTHERS].concat()), sample_count = 1, sample_size = 1)]
fn a_parse(bencher: Bencher<'_, '_>, many: Many) {
    let text = text(many);
    bencher.bench_local(|| config::parse("many.kdl", black_box(&text)).unwrap());
}

/// Model to rules.
#[divan::bench(args = many(&[FORWARD, REVERSE, OTHERS].concat()), sample_count = 1, sample_size = 1)]
fn b_compile(bencher: Bencher<'_, '_>, many: Many) {
    let config: Arc<Config> = loaded(many).config;
    bencher.bench_local(|| Rules::compile(Arc::clone(&config)));
}

/// The warnings of the rules.
#[divan::bench(args = many(&[FORWARD, REVERSE, OTHERS].concat()), sample_count = 1, sample_size = 1)]
fn c_warnings(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    bencher.bench_local(|| rules.warnings().len());
}

/// A request of a client and to a host that no rule but the last one speaks of: by its name, and by its address.
#[divan::bench(args = many(FORWARD))]
fn d_forward(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    let host = match many.0 {
        "one host, by from" => "shared.example",
        "hosts by from" => "host2.example",
        _ => "www.other.example",
    };
    let client = IpAddr::from([10, 0, 0, 1]);
    let method = &Method::Connect;
    let request = ForwardRequest { client, method, host, port: 443, certificate: None };
    let address = Address::global(IpAddr::from([203, 0, 113, 9]));
    let decide = || {
        let by_name = rules.judge(ForwardId(0), black_box(&request), None, &mut ());
        (by_name, rules.judge(ForwardId(0), black_box(&request), Some(address), &mut ()))
    };
    assert!(
        matches!(
            decide(),
            (Verdict::Allow { .. } | Verdict::NeedsAddresses, Verdict::Allow { .. })
        ),
        "{:?}",
        decide()
    );
    bencher.bench_local(decide);
}

/// The same that no rule allows, so that the reason is looked for.
#[divan::bench(args = many(FORWARD))]
fn e_forward_denied(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    let (client, method) = (IpAddr::from([10, 0, 0, 1]), &Method::Connect);
    let request =
        ForwardRequest { client, method, host: "www.other.example", port: 70, certificate: None };
    let address = Address::global(IpAddr::from([203, 0, 113, 9]));
    let decide = || rules.judge(ForwardId(0), black_box(&request), Some(address), &mut ());
    assert!(matches!(decide(), Verdict::Deny { .. }), "{:?}", decide());
    bencher.bench_local(decide);
}

/// The route of a request that the last route, or none, takes.
#[divan::bench(args = many(&["sites", "routes", "routes by field", "routes by from", "one field, values"]))]
fn f_route(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    let Many(kind, count) = many;
    let last = count - 1;
    let host = if kind == "sites" { format!("s{last}.example") } else { "a.example".to_owned() };
    let path = format!("/r{last}/x");
    let mut fields = Fields::new();
    fields.push(b"X-A", format!("v{last}").as_bytes());
    let client = match kind {
        "routes by from" => ip(last).parse().unwrap(),
        _ => IpAddr::from([10, 0, 0, 1]),
    };
    let asked = RouteRequest { method: &Method::Get, client, fields: &fields, query: None };
    let listener = config::ListenerId(0);
    let decide = || rules.route(listener, &asked, black_box(&host), black_box(&path), &mut ());
    assert!(matches!(decide(), Routing::Route { .. }), "{:?}", decide());
    bencher.bench_local(decide);
}

/// Whether a site takes a client that none of its lines speaks of.
#[divan::bench(args = many(&["access"]))]
fn g_access(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    let asker = Asker { address: IpAddr::from([10, 0, 0, 1]), certificate: None };
    let decide = || rules.standing(SiteId(0), None, black_box(&asker));
    assert_eq!(decide(), Standing::NotAsked);
    bencher.bench_local(decide);
}

/// The value that a map has for a path, in a text.
#[divan::bench(args = many(&["map", "map by beginning"]))]
fn h_map(bencher: Bencher<'_, '_>, many: Many) {
    let rules = compiled(many);
    let last = many.1 - 1;
    let path = if many.0 == "map" { format!("/p{last}") } else { format!("/p{last}/x") };
    let mut request = Request { method: Method::Get, ..Request::default() };
    let url = format!("http://a.example{path}");
    request.target.parse(&Method::Get, url.as_bytes(), None, Scheme::Http).unwrap();
    let address = IpAddr::from([10, 0, 0, 1]);
    let client = ClientFacts { address, port: None, listener_port: 80, user: None, tls: None };
    let route = rules.route_of(SiteId(0), RouteId(0)).unwrap();
    let Action::Respond { text: template, .. } = &route.action else { panic!("another route") };
    let facts = Facts::of(client, &request, Some(route), rules.maps());
    let mut out = Vec::with_capacity(100);
    let mut fill = || {
        out.clear();
        rules::expand(black_box(template), &facts, &mut out);
        out.len()
    };
    assert_eq!(fill(), format!("v{last}").len());
    bencher.bench_local(fill);
}
