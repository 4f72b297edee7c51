//! Whatever the text is: no panic, places that are there, and what is accepted has the same meaning in
//! canonical layout and when it is shown and read again. What must hold is in
//! `testkit::fuzzing::kdl_text`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use testkit::fuzzing::kdl_text;

const NAMES: &[&str] = &[
    "include",
    "process",
    "timeouts",
    "limits",
    "trusted-proxy",
    "listen",
    "site",
    "upstream",
    "forward",
    "expect",
    "cores",
    "admin",
    "log",
    "drain",
    "connections",
    "resolver",
    "server",
    "timeout",
    "tries",
    "hosts",
    "ttl-min",
    "proxy-protocol",
    "route",
    "to",
    "redirect",
    "respond",
    "files",
    "index",
    "listing",
    "fallback",
    "strip-prefix",
    "rewrite",
    "request",
    "response",
    "set",
    "add",
    "remove",
    "host",
    "forwarded",
    "underscores",
    "error-page",
    "path-readings",
    "encoded-separators",
    "balance",
    "pool",
    "deny",
    "allow",
    "ports",
    "anonymous",
    "via",
    "head",
    "connect",
    "first-byte",
    "body",
    "slow-rate",
    "tls",
    "acme",
    "directory",
    "challenge",
    "contact",
    "client",
    "versions",
    "early-data",
    "hsts",
    "protocol",
    "http2",
    "redirect-http",
    "verify",
    "ca",
    "srv",
    "endpoints",
    "sticky",
    "spill",
    "slow-start",
    "health",
    "field",
    "eject",
    "panic",
    "retry",
    "on",
    "hedge",
    "queue",
    "breaker",
    "adaptive",
    "deadline",
    "by",
    "split",
    "mirror",
    "zone",
    "foo",
];

const VALUES: &[&str] = &[
    "\":80\"",
    "\":8080\"",
    "\"127.0.0.1:3128\"",
    "\"10.0.0.1:80\"",
    "\"app.internal:80\"",
    "shop",
    "\"10s\"",
    "\"1h30min\"",
    "\"0s\"",
    "\"64KiB\"",
    "80",
    "443",
    "0",
    "-1",
    "1.5",
    "#true",
    "#false",
    "#null",
    "off",
    "any",
    "required",
    "pass",
    "endpoint",
    "round-robin",
    "\"/a\"",
    "\"/a/*\"",
    "\"/{id}\"",
    "\"/{rest}\"",
    "\"{client}\"",
    "\"a.example\"",
    "\"*.a.example\"",
    "\"*\"",
    "\"10.0.0.0/8\"",
    "\"X-A\"",
    "\"v\"",
    "\"GET http://a.example/\"",
    "\"CONNECT a:443\"",
    "\"\"",
    "status=301",
    "status=200",
    "method=GET",
    "to=\"*.x,y\"",
    "from=\"10.0.0.0/8\"",
    "port=80",
    "weight=2",
    "max=3",
    "file=\"Cargo.toml\"",
    "denied=#true",
    "forward=\"127.0.0.1:3128\"",
    "access=off",
    "format=json",
    "level=info",
    "\"é\"",
    "\"a\\nb\"",
    "502",
    "404",
    "auto",
    "internal",
    "passthrough",
    "dns",
    "require",
    "h2",
    "\"1.3\"",
    "\"https://api.internal\"",
    "letsencrypt",
    "name=\"a.example\"",
    "cert=\"a.pem\"",
    "key=\"a.key\"",
    "ca=\"ca.pem\"",
    "client-name=ops",
    "\"5%\"",
    "\"100%\"",
    "p95",
    "tcp",
    "grpc",
    "ring",
    "path",
    "connect",
    "cookie=a",
    "bound=\"150%\"",
    "every=\"1s\"",
    "latency=3.5",
    "share=\"0.5%\"",
    "stay=cookie",
    "tries=2",
    "backup=#true",
    "zone=a",
    "min=1",
    "in-flight=5",
];

fn line() -> impl Strategy<Value = String> {
    let values = prop::collection::vec(prop::sample::select(VALUES), 0..3);
    (prop::sample::select(NAMES), values)
        .prop_map(|(name, values)| format!("{name} {}", values.join(" ")))
}

/// Words of the language in any order.
fn jumble() -> impl Strategy<Value = String> {
    let node = line().prop_map(|line| format!("{line}\n"));
    let nodes = node.prop_recursive(3, 24, 6, |inner| {
        (line(), prop::collection::vec(inner, 0..6))
            .prop_map(|(line, inner)| format!("{line} {{\n{}}}\n", inner.concat()))
    });
    prop::collection::vec(nodes, 0..5).prop_map(|nodes| nodes.concat())
}

/// Configurations that mostly hold.
fn sensible() -> impl Strategy<Value = String> {
    let of = |choices: &'static [&'static str]| prop::sample::select(choices);
    let modifier = of(&[
        "timeouts { first-byte \"7s\"; }",
        "limits { body \"1MiB\"; }",
        "host endpoint",
        "path-readings merged case",
        "path-readings none",
        "forwarded on",
        "underscores drop",
        "request { set \"X-A\" \"{client} {{}}\"; remove \"B\" \"C\"; }",
        "response { add \"X-B\" \"\\u{e9}\"; }",
        "error-page 404 502 file=\"Cargo.toml\"",
        "mirror shop share=\"0.25%\"",
        "mirror off",
        "",
    ]);
    let action = of(&[
        "to shop",
        "to \"10.0.0.1:80\" \"unix:/a\" \"10.0.0.1:80\"",
        "split stay=cookie { to shop \"99.5%\"; to \"10.0.0.2:80\" \"0.5%\"; }",
        "redirect \"/x/{path}?{query}\" status=302",
        "respond \"a\\tb\\\"\" type=\"text/html\"",
        "files \"/\" { index off; fallback \"/x\"; }",
        "respond",
    ]);
    let pattern = of(&["/a", "/a/*", "/b/{id}", "/%7Ec/*", "/", "/d/{x}/{y}/*"]);
    let route =
        (pattern, modifier.clone(), action.clone()).prop_map(|(pattern, modifier, action)| {
            format!("route \"{pattern}\" {{\n{modifier}\n{action}\n}}")
        });
    let listen = of(&[
        "",
        "listen \":80\"",
        "listen \":81\" \"127.0.0.1:82\"",
        "tls internal { client request ca=\"ca.pem\"; hsts; }\nclient name=\"*.x,y\" subject=\"CN=a\"",
        "tls cert=\"a\" key=\"b\" { versions \"1.3\"; }\ntls cert=\"c\" key=\"c\"",
        "listen \":444\"\ntls auto acme=own\nredirect-http \":8080\"",
        "listen \":445\" \":443\"\ntls auto\nredirect-http off",
    ]);
    let site = (any::<u8>(), listen, modifier, prop::collection::vec(route, 0..4), action);
    let site = site.prop_map(|(number, listen, modifier, routes, action)| {
        format!(
            "site \"s{number}.example\" {{\n{listen}\n{modifier}\n{}\n{action}\n}}\n",
            routes.join("\n")
        )
    });
    let other = of(&[
        "timeouts { head \"3s\"; connect \"1s500ms\"; }\n",
        "limits { head-bytes 2000; }\n",
        "trusted-proxy \"10.0.0.0/8\"\n",
        "listen \":80\" { proxy-protocol required; }\n",
        "forward \"127.0.0.1:3128\" { deny to=\"*.x\"; allow; ports any; anonymous; via v; }\n",
        "process { cores 3; log level=warn; resolver { server \"[::1]:53\"; } }\n",
        "expect \"GET http://s1.example/?x\" status=404\n",
        "// a comment\n",
        "/- site { }\n",
    ]);
    let line = of(&[
        "balance ring bound=off { by header=a; by path; }",
        "balance p2c",
        "sticky BW max-age=\"1h\" same-site=none",
        "spill \"10%\"",
        "slow-start \"5s\"",
        "health \"/x\" every=\"1s\" status=\"200,300-301\" { field a b; }",
        "health grpc service=a",
        "eject latency=1.5 share=\"9%\"",
        "eject off",
        "panic spread",
        "retry tries=2 buffer=0 { on reset 500; }",
        "retry off",
        "hedge \"1s\"",
        "queue off",
        "breaker connecting=3",
        "adaptive max=9",
        "deadline field=a",
        "pool min=1 lifetime=\"1min\"",
        "srv \"_a._tcp.b\" tls=#true",
        "endpoints \"a.json\"",
        "to \"https://10.0.0.9\" weight=999",
        "to \"https://b.internal\" zone=a addresses=each max=3 priority=3",
    ]);
    let lines = prop::collection::vec(line, 0..4);
    (prop::collection::vec(site, 0..4), prop::collection::vec(other, 0..4), lines).prop_map(
        |(sites, others, lines)| {
            format!(
                "upstream shop {{ to \"https://10.0.0.9\" weight=2; protocol h2\n{}\n}}\nacme own {{ challenge dns command=x; }}\n{}{}",
                lines.join("\n"),
                others.concat(),
                sites.concat()
            )
        },
    )
}

fn check(text: &str) {
    kdl_text::check(text.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn words_of_the_language(text in jumble()) {
        check(&text);
    }

    #[test]
    fn configurations(text in sensible()) {
        check(&text);
    }
}

#[test]
fn most_of_the_sensible_ones_hold() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = sensible();
    let held = (0..100).filter(|_| {
        let text = strategy.new_tree(&mut runner).unwrap().current();
        config::parse("x.kdl", &text).is_ok()
    });
    assert!(held.count() > 50);
}

/// Replays the corpus of the fuzz target.
#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/kdl_text");
    let mut count = 0;
    for file in fs::read_dir(corpus).expect("a corpus") {
        let path = file.expect("the corpus is readable").path();
        // Shown only if a check fails.
        println!("{}", path.display());
        kdl_text::check(&fs::read(path).expect("the corpus is readable"));
        count += 1;
    }
    assert!(count >= 60, "the corpus is nearly empty");
}
