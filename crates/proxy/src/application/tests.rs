//! Tables: what an application says, and what its client gets.

use std::sync::Arc;

use config::{Endpoint, EndpointAddress};
use message::{Fields, Scheme};

use super::{Application, AskedAs};

/// An application behind `https://app.internal:8443` or the like, under `/app`.
fn of(
    client: &'static str,
    asked: &'static str,
    endpoint: &'static Endpoint,
) -> Application<'static> {
    let (scheme, authority) = client.split_once("://").unwrap();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap().0,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    Application {
        prefix: b"/app",
        told: b"/app",
        is_at_prefix: false,
        scheme: if endpoint.tls { Scheme::Https } else { Scheme::Http },
        asked: AskedAs { host: asked, path: b"/shop/cart?x=/y", endpoint: Some(endpoint) },
        client_scheme: if scheme == "https" { Scheme::Https } else { Scheme::Http },
        client_host: host,
        client_authority: authority,
    }
}

fn endpoint(written: &str) -> &'static Endpoint {
    let authority = written.strip_prefix("https://").unwrap_or(written);
    let address = match authority.parse() {
        Ok(address) => EndpointAddress::Ip(address),
        Err(_) => {
            let (host, port) = authority.rsplit_once(':').unwrap();
            EndpointAddress::Name { host: host.into(), port: port.parse().unwrap() }
        }
    };
    let endpoint = Endpoint::new(Arc::<str>::from(written), address);
    let tls = written.starts_with("https://");
    Box::leak(Box::new(Endpoint { tls, ..endpoint }))
}

/// In front of `app.internal:8080`, with the client's Host.
fn usual() -> Application<'static> {
    of("https://shop.example", "shop.example", endpoint("app.internal:8080"))
}

fn whole() -> Application<'static> {
    Application { prefix: b"", told: b"", ..usual() }
}

#[track_caller]
fn check_field(application: &Application<'_>, name: &str, value: &str, expected: &str) {
    let mut fields = Fields::new();
    fields.push(b"X-Before", b"1");
    fields.push(name.as_bytes(), value.as_bytes());
    fields.push(b"X-After", b"2");
    application.translate(&mut fields, &mut Vec::new());
    let got: Vec<_> =
        fields.iter().map(|field| String::from_utf8_lossy(field.value).into_owned()).collect();
    assert_eq!(got, ["1", expected, "2"], "{name}: {value}");
}

#[test]
fn urls_under_a_path() {
    #[track_caller]
    fn check(value: &str, expected: &str) {
        for name in ["Location", "Content-Location"] {
            check_field(&usual(), name, value, expected);
        }
    }
    // Paths.
    check("/", "/app/");
    check("/login", "/app/login");
    check("/login?next=/a#b", "/app/login?next=/a#b");
    check("/?a=1", "/app/?a=1");
    check("//", "//");
    check("/a//b", "/app/a//b");
    check("/a/../b", "/app/b");
    check("/./a", "/app/a");
    check("/%2E%2e/a", "/app/a");
    check("/..", "/app/");
    check("/\\evil.example", "/app/\\evil.example");
    // Those that have the prefix already.
    check("/app", "/app");
    check("/app/", "/app/");
    check("/app/login?a", "/app/login?a");
    check("/app?a", "/app?a");
    check("/app#a", "/app#a");
    check("/application2", "/app/application2");
    check("/APP/x", "/app/APP/x");
    check("/x/app", "/app/x/app");
    check("/app/../admin", "/app/admin");
    check("/x/../app/y", "/x/../app/y");
    // Relative references mean the same to both, unless they leave the root.
    check("edit", "edit");
    check("edit/../x", "edit/../x");
    check("./x", "./x");
    check("../x", "../x");
    check("../../x?a", "/app/x?a");
    check("../../../x/./y/..", "/app/x/");
    check("a/../../../x", "/app/x");
    check("?page=2", "?page=2");
    check("#top", "#top");
    check("", "");
    // Absolute ones with the client's name for it.
    check("https://shop.example/login", "https://shop.example/app/login");
    check("https://shop.example", "https://shop.example/app/");
    check("https://shop.example?a", "https://shop.example/app/?a");
    check("HTTPS://SHOP.Example/login", "HTTPS://SHOP.Example/app/login");
    check("https://shop.example:443/x", "https://shop.example:443/app/x");
    check("https://shop.example./x", "https://shop.example./app/x");
    check("https://shop.example/app/x", "https://shop.example/app/x");
    // With the Host that it was sent, by the scheme that it was spoken to.
    check("http://shop.example/login", "https://shop.example/app/login");
    check("http://Shop.Example:80/app/login", "https://shop.example/app/login");
    // With the endpoint's name.
    check("http://app.internal:8080/login", "https://shop.example/app/login");
    check("http://APP.internal:8080", "https://shop.example/app/");
    check("http://app.internal:8080/app/x", "https://shop.example/app/x");
    check("https://app.internal:8080/x", "https://shop.example/app/x");
    // Somebody else.
    check("http://app.internal/x", "http://app.internal/x");
    check("http://app.internal:8081/x", "http://app.internal:8081/x");
    check("http://other.internal:8080/x", "http://other.internal:8080/x");
    check("https://shop.example:8443/x", "https://shop.example:8443/x");
    check("https://www.shop.example/x", "https://www.shop.example/x");
    check("https://shop.example.evil.example/x", "https://shop.example.evil.example/x");
    check("https://user@shop.example/x", "https://user@shop.example/x");
    check("https://shop.example@evil.example/x", "https://shop.example@evil.example/x");
    check("http://user:pw@app.internal:8080/x", "http://user:pw@app.internal:8080/x");
    check("http://shop.example:x/", "http://shop.example:x/");
    check("http://shop.example:99999/", "http://shop.example:99999/");
    check("http://[::1/x", "http://[::1/x");
    check("mailto:a@shop.example", "mailto:a@shop.example");
    check("app:/x", "app:/x");
    check("http:x", "http:x");
    check("javascript://shop.example/x", "javascript://shop.example/x");
    // Without a scheme.
    check("//shop.example/x", "//shop.example/app/x");
    check("//SHOP.example/app/x", "//SHOP.example/app/x");
    check("//app.internal:8080/x", "//shop.example/app/x");
    check("//cdn.example/x", "//cdn.example/x");
    check("//evil.example:443/app", "//evil.example:443/app");
}

#[test]
fn urls_without_a_prefix() {
    #[track_caller]
    fn check(value: &str, expected: &str) {
        check_field(&whole(), "Location", value, expected);
    }
    check("/login", "/login");
    check("/a/../b", "/a/../b");
    check("../../x", "../../x");
    check("https://shop.example/x", "https://shop.example/x");
    check("http://shop.example/x", "https://shop.example/x");
    check("http://app.internal:8080/x?y#z", "https://shop.example/x?y#z");
    check("http://app.internal:8080", "https://shop.example");
    check("//app.internal:8080/x", "//shop.example/x");
    check("https://login.example/x", "https://login.example/x");
}

#[test]
fn ports_and_schemes() {
    #[track_caller]
    fn check(
        (client, asked, endpoint): (&'static str, &'static str, &'static Endpoint),
        value: &str,
        expected: &str,
    ) {
        check_field(&of(client, asked, endpoint), "Location", value, expected);
    }
    // A client in clear; an application that insists on https:// is not led back.
    let clear = ("http://shop.example", "shop.example", endpoint("10.0.0.1:8080"));
    check(clear, "https://shop.example/x", "https://shop.example/app/x");
    check(clear, "http://shop.example/x", "http://shop.example/app/x");
    check(clear, "http://10.0.0.1:8080/x", "http://shop.example/app/x");
    check(clear, "http://10.0.0.1/x", "http://10.0.0.1/x");
    let secure = ("http://shop.example", "shop.example", endpoint("https://10.0.0.1:443"));
    check(secure, "https://shop.example/x", "https://shop.example/app/x");
    check(secure, "https://10.0.0.1/x", "http://shop.example/app/x");
    check(secure, "http://shop.example/x", "http://shop.example/app/x");
    // Unusual ports.
    let port = ("https://shop.example:8443", "shop.example:8443", endpoint("127.0.0.1:3000"));
    check(port, "http://shop.example:8443/x", "https://shop.example:8443/app/x");
    check(port, "https://shop.example:8443/x", "https://shop.example:8443/app/x");
    check(port, "https://shop.example/x", "https://shop.example/x");
    check(port, "http://127.0.0.1:3000/x", "https://shop.example:8443/app/x");
    check(port, "http://localhost:3000/x", "http://localhost:3000/x");
    // Another Host than the client's.
    let named = ("https://shop.example", "app.internal:9000", endpoint("10.0.0.1:8080"));
    check(named, "http://app.internal:9000/x", "https://shop.example/app/x");
    check(named, "http://app.internal/x", "http://app.internal/x");
    let usual = ("https://shop.example", "app.internal", endpoint("10.0.0.1:8080"));
    check(usual, "http://app.internal/x", "https://shop.example/app/x");
    check(usual, "http://app.internal:80/x", "https://shop.example/app/x");
    check(usual, "https://app.internal/x", "https://app.internal/x");
    // IPv6.
    let v6 = ("http://[2001:db8::7]:8080", "[2001:db8::7]:8080", endpoint("[::1]:3000"));
    check(v6, "http://[2001:DB8:0::7]:8080/x", "http://[2001:DB8:0::7]:8080/app/x");
    check(v6, "http://[::1]:3000/x", "http://[2001:db8::7]:8080/app/x");
    check(v6, "http://[0:0::0:1]:3000/x", "http://[2001:db8::7]:8080/app/x");
    check(v6, "http://[::2]:3000/x", "http://[::2]:3000/x");
    check(v6, "http://[::1]/x", "http://[::1]/x");
}

#[test]
fn clients_that_name_no_host() {
    let nobody = Application { client_host: "", client_authority: "", ..usual() };
    check_field(&nobody, "Location", "http://app.internal:8080/x", "/app/x");
    check_field(&nobody, "Location", "/x", "/app/x");
}

#[test]
fn prefixes_of_several_proxies() {
    let inner = Application { told: b"/outer/app", ..usual() };
    check_field(&inner, "Location", "/outer/app/x", "/outer/app/x");
    check_field(&inner, "Location", "/app/x", "/app/x");
    check_field(&inner, "Location", "/outer/x", "/app/outer/x");
    check_field(&inner, "Set-Cookie", "a=1; Path=/outer/app", "a=1; Path=/outer/app");
}

#[test]
fn the_prefix_itself() {
    // `/app` became `/`: what is relative to that is below `/app` for the client.
    let asked = AskedAs { path: b"/", ..usual().asked };
    let at = Application { is_at_prefix: true, asked, ..usual() };
    check_field(&at, "Location", "login", "/app/login");
    check_field(&at, "Location", "./login?a", "/app/login?a");
    check_field(&at, "Location", "?a", "?a");
    check_field(&at, "Location", "../x", "/app/x");
    check_field(&at, "Set-Cookie", "a=1", "a=1; Path=/app");
    check_field(&at, "Set-Cookie", "a=1; Path=; Secure", "a=1; Path=; Secure; Path=/app");
    check_field(&at, "Set-Cookie", "a=1; Path=x", "a=1; Path=x; Path=/app");
    check_field(&at, "Set-Cookie", "__Host-a=1; Secure", "__Host-a=1; Secure");
}

#[test]
fn refreshes() {
    #[track_caller]
    fn check(value: &str, expected: &str) {
        check_field(&usual(), "Refresh", value, expected);
    }
    check("5", "5");
    check("5;", "5;");
    check("0; url=/login", "0; url=/app/login");
    check("0;URL='/login'", "0;URL='/app/login'");
    check("0; url = \"/login\"; x", "0; url = \"/app/login\"; x");
    check("1.5, url=/a b", "1.5, url=/app/a b");
    check("3 url=/x", "3 url=/app/x");
    check("3;/x", "3;/app/x");
    check("3; url=https://other.example/", "3; url=https://other.example/");
    check("3; url=http://app.internal:8080/x", "3; url=https://shop.example/app/x");
    check("3; url=/app/x", "3; url=/app/x");
    check("3; url=", "3; url=");
    check("x; url=/x", "x; url=/x");
    check("", "");
}

#[test]
fn cookies() {
    #[track_caller]
    fn check(value: &str, expected: &str) {
        check_field(&usual(), "Set-Cookie", value, expected);
    }
    check("a=1", "a=1");
    check("a=1; Path=/", "a=1; Path=/app");
    check("a=1; path=/; HttpOnly", "a=1; path=/app; HttpOnly");
    check("a=1;Path=/shop;Secure", "a=1;Path=/app/shop;Secure");
    check("a=1; Path = /shop ; Secure", "a=1; Path = /app/shop ; Secure");
    check("a=1; Path=/app", "a=1; Path=/app");
    check("a=1; Path=/app/x", "a=1; Path=/app/x");
    check("a=1; Path=/application2", "a=1; Path=/app/application2");
    check("a=1; Path=", "a=1; Path=");
    check("a=1; Path", "a=1; Path");
    check("a=1; Path=shop", "a=1; Path=shop");
    check("a=1; Path=\"/\"; Version=1", "a=1; Path=\"/app\"; Version=1");
    // Only the last one counts; quotes do not keep a value together.
    check("a=1; Path=/x; Path=/y", "a=1; Path=/x; Path=/app/y");
    check("a=\"b; Path=/x\"; Path=/", "a=\"b; Path=/x\"; Path=/app");
    check("a=\"b=/c\"; Path=/", "a=\"b=/c\"; Path=/app");
    check("Path=/", "Path=/");
    check("Path=/; Path=/x", "Path=/; Path=/app/x");
    check("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure");
    check("__host-a=1; Path=/; Secure", "__host-a=1; Path=/; Secure");
    check("__Secure-a=1; Path=/; Secure", "__Secure-a=1; Path=/app; Secure");
    // Domains.
    check("a=1; Domain=app.internal", "a=1; Domain=shop.example");
    check("a=1; Domain=.APP.internal; Path=/", "a=1; Domain=shop.example; Path=/app");
    check("a=1; Path=/; Domain=app.internal", "a=1; Path=/app; Domain=shop.example");
    check("a=1; Domain=internal", "a=1; Domain=internal");
    check("a=1; Domain=shop.example", "a=1; Domain=shop.example");
    check("a=1; Domain=.shop.example", "a=1; Domain=.shop.example");
    check("a=1; Domain=example", "a=1; Domain=example");
    check("a=1; Domain=", "a=1; Domain=");
    check("", "");
    check(";;=;", ";;=;");
    // A client's host that is no domain.
    let local = of("http://localhost:8080", "localhost:8080", endpoint("app.internal:80"));
    check_field(&local, "Set-Cookie", "a=1; Domain=app.internal; Secure", "a=1; Secure");
    let address = of("http://10.0.0.9", "10.0.0.9", endpoint("app.internal:80"));
    check_field(&address, "Set-Cookie", "a=1; Domain=app.internal", "a=1");
}

#[test]
fn several_cookies_keep_their_order() {
    let mut fields = Fields::new();
    fields.push(b"Set-Cookie", b"a=1; Path=/");
    fields.push(b"set-cookie", b"b=2");
    fields.push(b"Location", b"/x");
    fields.push(b"SET-COOKIE", b"c=3; Path=/y");
    usual().translate(&mut fields, &mut Vec::new());
    let expected = r#"{"Set-Cookie": "a=1; Path=/app", "set-cookie": "b=2", "Location": "/app/x", "SET-COOKIE": "c=3; Path=/app/y"}"#;
    assert_eq!(format!("{fields:?}"), expected);
}
