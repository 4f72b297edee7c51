//! What TLS changes about decisions: which listener, redirects, clients by their certificates.

use std::net::IpAddr;

use rules::{
    EntryPoint, Query, RouteRequest, Rules, StepOutcome, Steps, check_expectations, explain,
    listener_for,
};

const TEXT: &str = r#"
site "shop.example.com" "*.shop.example.com" {
    tls cert="shop.pem" key="shop.key" { client request ca="staff.pem"; }
    route "/admin/*" {
        client name="ops.example.com,*.ops.example.com"
        to "10.0.0.2:80"
    }
    to "https://10.0.0.1:8443"
}
site "api.example.com" {
    listen ":8443"
    redirect-http ":8080"
    tls internal { client require ca="staff.pem"; }
    client name="robot"
    route "/all/*" { client name="*.example.com"; respond; }
    route "/x" method=GET { respond; }
    host endpoint
    to "https://api.internal/"
}
site "mail.example.com" {
    tls passthrough
    to "10.0.0.9:993"
}
site "shop.example.com" "plain.example.com" {
    listen ":80"
    respond status=204
}
site "10.0.0.3" { listen "127.0.0.1:444"; tls internal; redirect-http ":8080"; respond; }
forward ":3129" {
    tls internal name="proxy.lan" { client request ca="staff.pem"; }
    allow client-name="ops.example.com" port=any
    allow to="*.example.com"
}

expect "GET https://shop.example.com/" upstream="10.0.0.1:8443" site="shop.example.com"
expect "GET https://shop.example.com/" upstream="https://10.0.0.1:8443"
expect "GET https://shop.example.com/admin/x" status=403 denied=#true
expect "GET https://shop.example.com/admin/x" client-name="ops.example.com" upstream="10.0.0.2:80"
expect "GET https://shop.example.com/admin/x" client-name="a.ops.example.com" upstream="10.0.0.2:80"
expect "GET https://shop.example.com/admin/x" client-name="dev.example.com" status=403
expect "GET https://shop.example.com/" client-name="dev.example.com" upstream="10.0.0.1:8443"

expect "GET http://shop.example.com/a" status=204
expect "GET http://plain.example.com/a" status=204
expect "GET http://b.shop.example.com/a?b=c" status=308 location="https://b.shop.example.com/a?b=c"
expect "GET http://b.shop.example.com/a?" status=308 location="https://b.shop.example.com/a?"
expect "GET http://b.shop.example.com" status=308 location="https://b.shop.example.com/"
expect "GET http://api.example.com:8080/a" status=308 location="https://api.example.com:8443/a"
expect "GET http://10.0.0.3:8080/" status=308 location="https://10.0.0.3:444/"
expect "GET http://mail.example.com/" status=421

expect "GET https://mail.example.com/" upstream="10.0.0.9:993" site="mail.example.com"
expect "GET https://other.example.com/" status=421
expect "GET https://api.example.com:8443/" status=403
expect "GET https://api.example.com:8443/" client-name="robot" upstream="https://api.internal" path="/"
expect "GET https://api.example.com:8443/all/x" client-name="robot" status=403
expect "GET https://api.example.com:8443/all/x" client-name="a.example.com" status=200
expect "POST https://api.example.com:8443/x" client-name="robot" upstream="api.internal"

expect "CONNECT www.example.com:443" forward=":3129" denied=#false
expect "CONNECT www.example.org:22" forward=":3129" denied=#true
expect "CONNECT www.example.org:22" forward=":3129" client-name="ops.example.com" denied=#false
expect "CONNECT www.example.org:22" forward=":3129" client-name="dev" from="10.0.0.1" denied=#true
"#;

fn rules(text: &str) -> Rules {
    match config::parse("test.kdl", text) {
        Ok(loaded) => Rules::compile(loaded.config),
        Err(failure) => panic!("{}", failure.render(false)),
    }
}

#[test]
fn expectations_of_a_text() {
    let rules = rules(TEXT);
    let failures = check_expectations(&rules, &|ip: IpAddr| {
        let own = ip.is_loopback();
        rules::Address { is_global: !own, is_own: own, ..rules::Address::global(ip) }
    });
    let messages: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(messages, <[&str; 0]>::default());
    assert_eq!(rules.warnings(), []);
}

#[test]
fn what_fails_says_what_is_the_case() {
    #[track_caller]
    fn check(expect: &str, message: &str) {
        let lines = TEXT.lines().filter(|line| !line.starts_with("expect"));
        let text: Vec<&str> = lines.chain([expect]).collect();
        let failures = check_expectations(&rules(&text.join("\n")), &rules::Address::global);
        let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
        assert_eq!(messages, [message]);
    }
    check(
        "expect \"GET https://mail.example.com/\" status=200",
        "expected status 200, got its TLS is relayed to upstream 10.0.0.9:993, without decrypting it, decided by test.kdl:22",
    );
    check(
        "expect \"GET https://shop.example.com/admin/\" upstream=shop",
        "expected upstream shop, got refused (403): a client certificate is required, and the client sent none, decided by test.kdl:5",
    );
    check(
        "expect \"GET https://shop.example.com/admin/\" client-name=dev upstream=shop",
        "expected upstream shop, got refused (403): the client's certificate is not among those that are accepted, decided by test.kdl:5",
    );
    check(
        "expect \"GET http://b.shop.example.com/\" status=200",
        "expected status 200, got redirected to https://b.shop.example.com/ (308), decided by test.kdl:3",
    );
}

#[test]
fn a_redirect_says_whose_it_is() {
    let rules = rules(TEXT);
    let mut request = message::Request::default();
    let (method, target) = (request.method, &mut request.target);
    target.parse(&method, b"http://b.shop.example.com/", None, message::Scheme::Http).unwrap();
    let entry = EntryPoint::Listener(listener_for(&rules, target).unwrap());
    let query = Query {
        request: &request,
        from: IpAddr::from([192, 0, 2, 1]),
        entry,
        addresses: &[],
        classify: &rules::Address::global,
        tls: None,
    };
    let explanation = explain(&rules, &query);
    let first = &explanation.steps[0];
    assert_eq!(
        first.text,
        "site \"*.shop.example.com\" has https://, where b.shop.example.com on :80 is sent"
    );
    assert_eq!(rules.config().locate(first.place), "test.kdl:3");
    let site = &rules.config().sites[explanation.site.unwrap().0 as usize];
    assert_eq!(site.https, Some(config::SiteId(0)));
    let EntryPoint::Listener(listener) = entry else { panic!() };
    let asked = RouteRequest::of(&request, query.from);
    let direct = rules.route(listener, &asked, request.target.host(), "/", &mut Steps::default());
    assert!(matches!(direct, rules::Routing::Route { .. }));
}

#[test]
fn the_line_about_clients_is_a_step() {
    #[track_caller]
    fn check(client: Option<&str>, expected: (&str, &str, Option<u16>)) {
        let rules = rules(TEXT);
        let mut request = message::Request::default();
        let (method, target) = (request.method, &mut request.target);
        let url = b"https://shop.example.com/admin/x";
        target.parse(&method, url, None, message::Scheme::Https).unwrap();
        let entry = EntryPoint::Listener(listener_for(&rules, target).unwrap());
        let certificate = client.map(rules::assumed_certificate);
        let query = Query {
            request: &request,
            from: IpAddr::from([192, 0, 2, 1]),
            entry,
            addresses: &[],
            classify: &rules::Address::global,
            tls: rules::assumed_tls(&rules, entry, &request.target, certificate.as_ref()),
        };
        let explanation = explain(&rules, &query);
        let step = explanation.steps.last().unwrap();
        let outcome = match &step.outcome {
            StepOutcome::Decided => "yes",
            StepOutcome::Differs(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!((&*step.text, outcome, explanation.outcome.status()), expected);
    }
    let name = "client name=\"ops.example.com,*.ops.example.com\"";
    let other = "the client's certificate is not among those that are accepted";
    check(Some("ops.example.com"), (name, "yes", None));
    check(Some("a.example.com"), (name, other, Some(403)));
    let none = "a client certificate is required, and the client sent none";
    check(None, (name, none, Some(403)));
}

#[test]
fn a_url_without_a_listener_of_its_scheme() {
    let rules =
        rules("site \"a\" { listen \":443\"; respond; }\nexpect \"GET https://a/\" status=200");
    let failures = check_expectations(&rules, &rules::Address::global);
    assert_eq!(failures[0].message, "no listener serves sites on port 443 over TLS");
}
