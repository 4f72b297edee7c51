use std::net::IpAddr;
use std::sync::Arc;

use config::{Destination, Forward, ForwardId, ForwardRule};
use message::Method;
use proptest::prelude::*;

use crate::fixtures::forward;
use crate::{Address, DenyReason, ForwardRequest, Rules, StepOutcome, Steps, Verdict};

const FORWARD: ForwardId = ForwardId(0);

/// Enough of a guard for tests: 10/8, 127/8, 169.254/16, fd00::/8 and ::1 are special; NAT64 and 6to4 carry IPv4.
fn address(text: &str) -> Address {
    let ip: IpAddr = text.parse().unwrap();
    let inside = match ip.to_canonical() {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, .., a, b] | [0x2002, a, b, ..] => {
                Some(std::net::Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b)))
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    };
    let is_own = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    let is_private = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    let own = is_own(ip.to_canonical()) || inside.is_some_and(|ip| is_own(ip.into()));
    Address {
        ip,
        is_global: !own && !is_private && !inside.is_some_and(|ip| ip.is_private()),
        is_own: own,
        inside: [inside, None, None, None],
    }
}

/// `CLIENT METHOD HOST:PORT ADDRESS`, where the address may be left out.
fn judge(rules: &Rules, request: &str) -> String {
    let words: Vec<&str> = request.split(' ').collect();
    let method = Method::parse(words[1].as_bytes()).unwrap();
    let (host, port) = words[2].rsplit_once(':').unwrap();
    let client = words[0].parse().unwrap();
    let request = ForwardRequest {
        client,
        method: &method,
        host,
        port: port.parse().unwrap(),
        certificate: None,
    };
    let address = words.get(3).map(|text| address(text));
    let mut steps = Steps::default();
    let verdict = rules.judge(FORWARD, &request, address, &mut steps);
    assert_eq!(verdict, rules.judge(FORWARD, &request, address, &mut ()));
    let line =
        |rule: Option<usize>| rule.map_or("default".to_owned(), |rule| (rule + 1).to_string());
    match verdict {
        Verdict::Allow { rule, place } => {
            assert_eq!(place.line, rule.map_or(10, |rule| 11 + rule as u32));
            assert_eq!(steps.0.last().map(|step| step.place), Some(place));
            format!("allow {}", line(rule))
        }
        Verdict::Deny { rule, place, reason } => {
            assert_eq!(steps.0.last().map(|step| step.place), Some(place));
            format!("deny {} {}", line(rule), reason.as_str())
        }
        Verdict::NeedsAddresses => "look up".to_owned(),
    }
}

#[track_caller]
fn check(rules: &[&str], request: &str, expected: &str) {
    let compiled = Rules::compile(Arc::new(forward(rules)));
    assert_eq!(judge(&compiled, request), expected, "{request}");
    // The same, with so many rules that the index is used.
    let filler = (0..20).map(|n| format!("deny to=x{n}.invalid"));
    let many: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).chain(filler).collect();
    let compiled = Rules::compile(Arc::new(forward(&many)));
    assert_eq!(judge(&compiled, request), expected, "{request} in a long list");
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = ["deny to=*.facebook.com", "allow from=10.0.0.0/8", "deny to=a.example"];
    check(&rules, "10.1.1.1 GET www.facebook.com:80 1.2.3.4", "deny 1 rule");
    check(&rules, "10.1.1.1 GET facebook.com:80 1.2.3.4", "deny 1 rule"); // the suffix itself too
    check(&rules, "10.1.1.1 GET notfacebook.com:80 1.2.3.4", "allow 2");
    check(&rules, "10.1.1.1 GET facebook.com.:80 1.2.3.4", "deny 1 rule");
    check(&rules, "10.1.1.1 GET a.example:80 1.2.3.4", "allow 2");
    check(&rules, "192.0.2.1 GET a.example:80 1.2.3.4", "deny 3 rule");
    check(&rules, "192.0.2.1 GET b.example:80 1.2.3.4", "deny default no-rule");
    check(&rules, "::ffff:10.1.1.1 GET b.example:80 1.2.3.4", "allow 2"); // on a dual-stack socket
}

#[test]
fn every_property_must_match() {
    let rules = [
        "allow to=a.example,b.example from=10.0.0.0/8,192.168.0.0/16 port=80,8000-8010 method=GET",
    ];
    check(&rules, "10.0.0.1 GET a.example:80 1.2.3.4", "allow 1");
    check(&rules, "192.168.7.1 GET b.example:8010 1.2.3.4", "allow 1");
    check(&rules, "10.0.0.1 POST a.example:80 1.2.3.4", "deny default no-rule");
    check(&rules, "10.0.0.1 GET c.example:80 1.2.3.4", "deny default no-rule");
    check(&rules, "11.0.0.1 GET a.example:80 1.2.3.4", "deny default no-rule");
    check(&rules, "10.0.0.1 GET a.example:8011 1.2.3.4", "deny default port");
}

#[test]
fn ports() {
    // Without ports, an `allow` means the listener's, a `deny` all of them.
    check(&["allow from=10.0.0.0/8"], "10.0.0.1 CONNECT a.example:443 1.2.3.4", "allow 1");
    check(&["allow from=10.0.0.0/8"], "10.0.0.1 CONNECT a.example:22 1.2.3.4", "deny default port");
    check(&["allow from=10.0.0.0/8 port=22"], "10.0.0.1 CONNECT a.example:22 1.2.3.4", "allow 1");
    let rules = ["deny to=a.example", "allow port=1-65535"];
    check(&rules, "10.0.0.1 CONNECT a.example:22 1.2.3.4", "deny 1 rule");
    check(&rules, "10.0.0.1 CONNECT b.example:22 1.2.3.4", "allow 2");
    let mut config = forward(&["allow from=10.0.0.0/8"]);
    config.forwards[0].ports.clear(); // `ports any`
    let rules = Rules::compile(Arc::new(config));
    assert_eq!(judge(&rules, "10.0.0.1 CONNECT a.example:22 1.2.3.4"), "allow 1");
}

#[test]
fn clients_on_loopback() {
    check(&[], "127.0.0.1 GET a.example:80 1.2.3.4", "allow default");
    check(&[], "::1 GET a.example:80 1.2.3.4", "allow default");
    check(&[], "::ffff:127.0.0.1 GET a.example:80 1.2.3.4", "allow default");
    check(&[], "127.0.0.1 GET a.example:80", "look up");
    check(&[], "127.0.0.1 GET a.example:80 10.0.0.1", "deny default special-address");
    check(&[], "127.0.0.1 GET a.example:22 1.2.3.4", "deny default port");
    check(&[], "10.0.0.1 GET a.example:80 1.2.3.4", "deny default no-rule");
    check(&["deny to=a.example"], "127.0.0.1 GET a.example:80 1.2.3.4", "deny 1 rule");
    // An `allow` for others takes nothing from them; one for them or everybody is a list.
    check(&["allow from=10.0.0.0/8"], "127.0.0.1 GET a.example:80 1.2.3.4", "allow default");
    check(&["allow to=b.example"], "127.0.0.1 GET a.example:80 1.2.3.4", "deny default no-rule");
    check(
        &["allow to=b.example from=127.0.0.1"],
        "127.0.0.1 GET a.example:80 1.2.3.4",
        "deny default no-rule",
    );
}

#[test]
fn special_addresses_are_allowed_by_name_only() {
    let wide = ["allow from=10.0.0.0/8"];
    check(&wide, "10.0.0.1 GET 127.0.0.1:80 127.0.0.1", "deny default own-address");
    check(&wide, "10.0.0.1 GET ::ffff:127.0.0.1:80 ::ffff:127.0.0.1", "deny default own-address");
    check(&wide, "10.0.0.1 GET a.example:80 10.0.0.9", "deny default special-address");
    check(&["allow to=*"], "10.0.0.1 GET a.example:80 10.0.0.9", "deny default special-address");
    check(
        &["allow to=0.0.0.0/0"],
        "10.0.0.1 GET a.example:80 10.0.0.9",
        "deny default special-address",
    );
    check(&["allow to=0.0.0.0/0"], "10.0.0.1 GET a.example:80 1.2.3.4", "allow 1");
    check(
        &["allow to=*.example"],
        "10.0.0.1 GET a.example:80 10.0.0.9",
        "deny default special-address",
    );
    check(&["allow to=a.example"], "10.0.0.1 GET a.example:80 10.0.0.9", "allow 1");
    check(&["allow to=10.0.0.0/24"], "10.0.0.1 GET a.example:80 10.0.0.9", "allow 1");
    check(&["allow to=10.0.0.0/24"], "10.0.0.1 GET a.example:80 10.0.1.9", "deny default no-rule");
    // An `allow` that does not name the address leaves it to later rules.
    let rules = ["allow from=10.0.0.0/8", "allow to=127.0.0.1 port=8000-9000"];
    check(&rules, "10.0.0.1 GET 127.0.0.1:8080 127.0.0.1", "allow 2");
    check(&rules, "10.0.0.1 GET 127.0.0.1:80 127.0.0.1", "deny default own-address");
    check(&["allow to=*", "allow to=10.0.0.9"], "10.0.0.1 GET a.example:80 10.0.0.9", "allow 2");
    check(&["deny to=*", "allow to=10.0.0.9"], "10.0.0.1 GET a.example:80 10.0.0.9", "deny 1 rule");
}

/// What is this machine's own, its link's or its cloud's is not reached by somebody's name for it.
#[test]
fn own_addresses_are_allowed_by_address_only() {
    for own in ["127.0.0.1", "169.254.169.254", "::1", "64:ff9b::7f00:1", "2002:7f00:1::"] {
        let to_a = format!("10.0.0.1 GET a.example:80 {own}");
        for wide in [
            "a.example",
            "*.example",
            "*",
            "0.0.0.0/0,::/0",
            "0.0.0.0/1,128.0.0.0/1,::/1",
            "64:ff9b::/96",
        ] {
            check(
                &[&format!("allow to={wide}")],
                &to_a,
                match own {
                    "64:ff9b::7f00:1" | "2002:7f00:1::" | "::1" | "127.0.0.1"
                    | "169.254.169.254"
                        if wide != "64:ff9b::/96" || own.starts_with("64:") =>
                    {
                        "deny default own-address"
                    }
                    _ => "deny default no-rule",
                },
            );
        }
        check(&[&format!("allow to={own}")], &to_a, "allow 1");
        check(&["allow to=a.example special=#true"], &to_a, "allow 1");
        check(&["allow special=#true"], &to_a, "allow 1");
        check(&["allow to=a.example", "allow to=a.example special=#true"], &to_a, "allow 2");
    }
    check(&["allow to=169.254.0.0/16"], "10.0.0.1 GET a.example:80 169.254.169.254", "allow 1");
    check(
        &["allow to=a.example special=#true"],
        "10.0.0.1 GET b.example:80 127.0.0.1",
        "deny default no-rule",
    );
    // This name says itself where it leads.
    check(&["allow to=localhost"], "10.0.0.1 GET localhost:80 127.0.0.1", "allow 1");
    check(
        &["allow to=localhost"],
        "10.0.0.1 GET localhost:80 169.254.169.254",
        "deny default own-address",
    );
    check(&["allow to=*"], "10.0.0.1 GET localhost:80 127.0.0.1", "deny default own-address");
}

#[test]
fn what_ipv6_carries_of_ipv4_is_denied_but_not_allowed() {
    let deny = ["deny to=8.8.8.0/24", "allow"];
    for carrier in ["64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"] {
        check(&deny, &format!("10.0.0.1 GET a.example:80 {carrier}"), "deny 1 rule");
        check(
            &["deny to=8.8.8.8 port=81", "allow"],
            &format!("10.0.0.1 GET a.example:80 {carrier}"),
            "allow 2",
        );
    }
    check(&deny, "10.0.0.1 GET a.example:80 64:ff9b::909:909", "allow 2");
    check(
        &["allow to=8.8.8.0/24"],
        "10.0.0.1 GET a.example:80 64:ff9b::808:808",
        "deny default no-rule",
    );
    check(&["allow to=8.8.8.0/24"], "10.0.0.1 GET a.example:80 ::ffff:8.8.8.8", "allow 1");
    check(&["allow to=64:ff9b::/96"], "10.0.0.1 GET a.example:80 64:ff9b::808:808", "allow 1");
}

#[test]
fn networks_and_names() {
    let rules = ["deny to=1.2.3.0/24", "allow from=10.0.0.0/8"];
    check(&rules, "10.0.0.1 GET 1.2.3.4:80 1.2.3.4", "deny 1 rule");
    check(&rules, "10.0.0.1 GET a.example:80", "look up");
    check(&rules, "10.0.0.1 GET a.example:80 1.2.3.4", "deny 1 rule");
    check(&rules, "10.0.0.1 GET a.example:80 ::ffff:1.2.3.4", "deny 1 rule");
    check(&rules, "10.0.0.1 GET a.example:80 1.2.4.4", "allow 2");
    // Nothing is looked up where no address could help.
    check(&rules, "192.0.2.1 GET a.example:80", "deny default no-rule");
    check(
        &["deny to=a.example", "allow to=1.2.3.0/24"],
        "10.0.0.1 GET a.example:80",
        "deny 1 rule",
    );
    check(&["allow to=1.2.3.0/24", "deny to=a.example"], "10.0.0.1 GET a.example:80", "look up");
    check(&["allow to=1.2.3.0/24 port=81"], "10.0.0.1 GET a.example:80", "deny default port");
    check(
        &["allow to=1.2.3.0/24 from=10.0.0.1"],
        "10.0.0.2 GET a.example:80",
        "deny default no-rule",
    );
    check(&["allow to=::ffff:1.2.3.0/120"], "10.0.0.1 GET a.example:80 1.2.3.4", "allow 1");
    check(&["allow to=a.example"], "10.0.0.1 GET a.example:80", "look up");
}

#[test]
fn a_trace_tells_each_rule() {
    let rules = [
        "deny to=*.b.example",
        "deny method=POST",
        "allow from=192.0.2.0/24",
        "allow port=22",
        "allow to=10.0.0.0/8,a.example",
        "allow",
    ];
    let rules = Rules::compile(Arc::new(forward(&rules)));
    let told = |host: &str, ip: &str| {
        let client = IpAddr::from([10, 0, 0, 1]);
        let request =
            ForwardRequest { client, method: &Method::Get, host, port: 80, certificate: None };
        let mut steps = Steps::default();
        rules.judge(FORWARD, &request, (!ip.is_empty()).then(|| address(ip)), &mut steps);
        let tell = |step: crate::Step| match step.outcome {
            StepOutcome::Decided => format!("{} decided", step.place.line),
            StepOutcome::Differs(why) | StepOutcome::Open(why) => {
                format!("{} {why}", step.place.line)
            }
            StepOutcome::LessSpecific(other) => other,
        };
        steps.0.into_iter().map(tell).collect::<Vec<_>>()
    };
    let start = [
        "11 the destination is c.example",
        "12 the method is GET",
        "13 the client is 10.0.0.1",
        "14 the port is 80",
    ];
    let with = |rest: &[&'static str]| [&start, rest].concat();
    let global = ["15 the destination is c.example at 1.2.3.4", "16 decided"];
    assert_eq!(told("c.example", "1.2.3.4"), with(&global));
    assert_eq!(told("c.example", "10.2.3.4"), with(&["15 decided"]));
    let special = [
        "15 the destination is c.example at 127.0.0.1",
        "16 127.0.0.1 belongs to this machine, its link or its cloud, and the rule names neither the address nor its \
         network, nor has special=#true",
        "10 decided",
    ];
    assert_eq!(told("c.example", "127.0.0.1"), with(&special));
    assert_eq!(told("c.example", "")[4], "15 it depends on the addresses of c.example");
}

#[test]
fn no_listener_allows_nothing() {
    let rules = Rules::compile(Arc::new(forward(&["allow"])));
    let client = IpAddr::from([127, 0, 0, 1]);
    let request =
        ForwardRequest { client, method: &Method::Get, host: "a", port: 80, certificate: None };
    let verdict = rules.judge(ForwardId(9), &request, Some(address("1.2.3.4")), &mut ());
    assert!(matches!(verdict, Verdict::Deny { reason: DenyReason::NoRule, .. }));
}

/// What the rules mean, said once more in the plainest way.
fn oracle(
    forward: &Forward,
    request: &ForwardRequest<'_>,
    address: Address,
) -> Result<Option<usize>, Option<usize>> {
    let ip = address.ip.to_canonical();
    let client = request.client.to_canonical();
    let in_ports = |ports: &[config::PortRange]| {
        ports.is_empty() || ports.iter().any(|r| r.first <= request.port && request.port <= r.last)
    };
    let matches = |rule: &ForwardRule| {
        let host = request.host;
        let to = rule.to.is_empty()
            || rule.to.iter().any(|to| match to {
                Destination::Any => true,
                Destination::Host(name) => **name == *host,
                Destination::Suffix(s) => *host == **s || host.ends_with(&format!(".{s}")),
                Destination::Net(net) => net.contains(&ip),
            });
        let named = rule.to.iter().any(|to| match to {
            Destination::Host(name) => **name == *host && !address.is_own,
            Destination::Net(net) => {
                let least = if address.is_own { 8 } else { 1 };
                net.prefix_len() >= least && net.contains(&ip)
            }
            _ => false,
        });
        let ports = if rule.ports.is_empty() {
            !rule.allow || in_ports(&forward.ports)
        } else {
            in_ports(&rule.ports)
        };
        let method = request.method.as_str();
        to && ports
            && (rule.from.is_empty() || rule.from.iter().any(|net| net.contains(&client)))
            && (rule.methods.is_empty() || rule.methods.iter().any(|m| **m == *method))
            && (!rule.allow || address.is_global || rule.special || named)
    };
    for (number, rule) in forward.rules.iter().enumerate() {
        if matches(rule) {
            return if rule.allow { Ok(Some(number)) } else { Err(Some(number)) };
        }
    }
    let listed = forward.rules.iter().any(|rule| {
        let loopback = |net: &ipnet::IpNet| net.to_string().starts_with("127.");
        rule.allow && (rule.from.is_empty() || rule.from.iter().any(loopback))
    });
    let open = client.is_loopback() && !listed && address.is_global && in_ports(&forward.ports);
    if open { Ok(None) } else { Err(None) }
}

fn some_rule() -> impl Strategy<Value = String> {
    let to = prop_oneof![
        4 => "[ab]\\.(c|d)\\.e",
        3 => "\\*\\.([ab]\\.)?(c|d)\\.e",
        3 => "(1\\.2\\.3\\.[0-3]|1\\.2\\.0\\.0/16|10\\.0\\.0\\.0/8|10\\.0\\.0\\.1|0\\.0\\.0\\.0/0|fd00::/8)",
        1 => Just("*".to_owned()),
    ];
    let to = proptest::collection::vec(to, 0..3);
    let from = prop_oneof![
        4 => Just(""), 1 => Just(" from=10.0.0.0/8"), 1 => Just(" from=10.0.0.1,127.0.0.1")
    ];
    let port = prop_oneof![4 => Just(""), 1 => Just(" port=80"), 1 => Just(" port=81-90,443")];
    let method = prop_oneof![4 => Just(""), 1 => Just(" method=GET"), 1 => Just(" method=CONNECT")];
    (any::<bool>(), to, from, port, method).prop_map(|(allow, to, from, port, method)| {
        let to = if to.is_empty() { String::new() } else { format!(" to={}", to.join(",")) };
        let verb = if allow { "allow" } else { "deny" };
        format!("{verb}{to}{from}{port}{method}")
    })
}

fn some_ip() -> impl Strategy<Value = String> {
    prop_oneof![
        "1\\.2\\.3\\.[0-4]",
        "10\\.0\\.0\\.[12]",
        Just("127.0.0.1".to_owned()),
        Just("9.9.9.9".to_owned()),
        Just("fd00::1".to_owned()),
        Just("2001:db9::1".to_owned()),
        "::ffff:1\\.2\\.3\\.[0-4]",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_index_says_what_a_list_would(
        rules in proptest::collection::vec(some_rule(), 0..30),
        client in prop_oneof![Just("10.0.0.1"), Just("10.0.0.2"), Just("127.0.0.1"), Just("8.8.8.8")],
        host in "([ab]\\.)?[ab]\\.(c|d)\\.e",
        port in prop_oneof![Just(80u16), Just(85), Just(443), Just(22)],
        method in prop_oneof![Just(Method::Get), Just(Method::Connect)],
        ips in proptest::collection::vec(some_ip(), 1..6),
    ) {
        let config = forward(&rules);
        let compiled = Rules::compile(Arc::new(config.clone()));
        let client: IpAddr = client.parse().unwrap();
        let request = ForwardRequest { client, method: &method, host: &host, port, certificate: None };
        let by_name = compiled.judge(FORWARD, &request, None, &mut ());
        for ip in &ips {
            let address = address(ip);
            let expected = oracle(&config.forwards[0], &request, address);
            let mut steps = Steps::default();
            let verdict = compiled.judge(FORWARD, &request, Some(address), &mut steps);
            let got = match verdict {
                Verdict::Allow { rule, .. } => Ok(rule),
                Verdict::Deny { rule, .. } => Err(rule),
                Verdict::NeedsAddresses => panic!("an address was given"),
            };
            prop_assert_eq!(got, expected);
            // The trace says the same: only its last step decides.
            let decided = steps.0.iter().map(|step| step.outcome == StepOutcome::Decided);
            let decided: Vec<bool> = decided.collect();
            prop_assert_eq!(decided.iter().filter(|&&decided| decided).count(), 1);
            prop_assert_eq!(decided.last(), Some(&true));
            // What is refused by name is refused at every address, by a rule no later.
            if matches!(by_name, Verdict::Deny { .. }) {
                prop_assert!(got.is_err());
            }
        }
        // A rule or two for a private destination must be looked up, not refused by name.
        if matches!(by_name, Verdict::Allow { .. }) {
            prop_assert!(false, "a name is not allowed before its addresses are known");
        }
    }
}
