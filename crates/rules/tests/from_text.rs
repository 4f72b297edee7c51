//! From the text of a configuration to its expectations, by way of the real decoder.

use std::net::IpAddr;

use rules::{Rules, check_expectations};

const TEXT: &str = r#"
site "shop.example.com" "*.shop.example.com" {
    route "/api/*" method="GET,HEAD" { to "10.0.0.3:9000"; strip-prefix "/api" }
    route "/users/{id}/*" { to "10.0.0.4:9000"; rewrite "/v2/{id}/{rest}" }
    route "/old/*" { redirect "/new/{rest}" status=308 }
    route "/caf\u{e9} noir" { respond "hello" }
    to shop
}

site "*" { listen ":80"; respond "nobody lives here" status=404 }

upstream shop { to "10.0.0.1:8080" weight=3; to "10.0.0.2:8080" }

forward ":3128" {
    deny to="*.facebook.com"
    allow from="10.0.0.0/8"
    allow from="10.0.0.0/8" to="127.0.0.1" port="8000-9000"
}

expect "GET http://shop.example.com/api/x?y" upstream="10.0.0.3:9000" path="/x?y" site="shop.example.com"
expect "POST http://shop.example.com/api/x" upstream="shop"
expect "GET http://a.shop.example.com/users/7/a/b?c=d" path="/v2/7/a/b?c=d"
expect "GET http://shop.example.com/old/a" status=308 location="/new/a"
expect "GET http://shop.example.com/old//evil.example" status=308 location="/new//evil.example"
expect "GET http://shop.example.com/caf%c3%a9%20noir" status=200
expect "GET http://shop.example.com/%61pi/../api/./x" path="/x"
expect "GET http://other.example/" status=404 site="*"
expect "CONNECT www.facebook.com:443" forward=":3128" from="10.0.0.5" denied=#true
expect "CONNECT www.example.com:443" forward=":3128" from="10.0.0.5" denied=#false
expect "CONNECT www.example.com:443" forward=":3128" from="192.0.2.5" denied=#true status=403
expect "GET http://127.0.0.1:8080/" forward=":3128" from="10.0.0.5" denied=#false
expect "GET http://127.0.0.1/" forward=":3128" from="10.0.0.5" denied=#true
expect "GET http://shop.example.com/" upstream="nobody"
"#;

#[test]
fn expectations_of_a_text() {
    let loaded = match config::parse("test.kdl", TEXT) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{}", failure.render(false)),
    };
    let rules = Rules::compile(loaded.config);
    let judged = |ip: IpAddr| {
        let own = ip.is_loopback();
        rules::Address { is_global: !own, is_own: own, ..rules::Address::global(ip) }
    };
    let failures = check_expectations(&rules, &judged);
    let messages: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    let expected = "expected upstream nobody, got sent to upstream shop (10.0.0.1:8080, 10.0.0.2:8080) \
                    as / with Host shop.example.com, decided by test.kdl:7";
    assert_eq!(messages, [expected]);
    assert_eq!(rules.warnings(), []);
}
