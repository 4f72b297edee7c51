//! For which host a request is, and what `Host` the next server gets.

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::server::TestServer;

/// What the origin saw of a request with this head.
#[track_caller]
fn seen(server: &TestServer, origin: &Origin, head: &str) -> Message {
    let before = origin.received().len();
    let mut client = server.connect();
    client.send(format!("{head}\r\nConnection: close\r\n\r\n"));
    assert_eq!(client.response().status(), 200, "{head:?}");
    Message::of_head(&origin.received().as_bytes()[before..])
}

#[test]
fn a_request_without_host_is_for_the_default_site() {
    // HTTP/1.0 needs none, and checks of load balancers send none; RFC 9112, section 3.2 for an
    // empty one.
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::reverse(origin.address(), "");
    let endpoint = origin.address().to_string();
    for head in [
        "GET / HTTP/1.0",
        "OPTIONS / HTTP/1.0",
        "OPTIONS * HTTP/1.0",
        "GET / HTTP/1.0\r\nHost:",
        "GET / HTTP/1.1\r\nHost:",
        "GET / HTTP/1.1\r\nHost: ",
    ] {
        let request = seen(&server, &origin, head);
        assert_eq!(request.all("Host"), [&endpoint], "{head:?}");
        assert!(!request.has("X-Forwarded-Host"), "{head:?}");
    }
    // Where no site is the default one, none is meant.
    let named =
        TestServer::start("site \"a.example\" { listen \"127.0.0.1:0\"; respond \"own\"; }");
    let mut client = named.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 421);
}

#[test]
fn a_target_that_names_a_host_replaces_the_field() {
    // RFC 9112, section 3.2.2
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::reverse(origin.address(), "");
    for host in ["shop.example", "other.example", "shop.example:81", "", "a b", "user@a"] {
        let head = format!("GET http://Shop.Example:80/x HTTP/1.1\r\nHost: {host}");
        let request = seen(&server, &origin, &head);
        assert_eq!(request.all("Host").len(), 1, "{host:?}");
        assert_eq!(request.field("Host"), Some("Shop.Example:80"), "{host:?}");
        assert_eq!(request.field("X-Forwarded-Host"), Some("shop.example"), "{host:?}");
    }
    let forward = TestServer::forward("allow to=\"127.0.0.1\" port=\"1-65535\"");
    let at = origin.address().to_string();
    for host in [at.as_str(), "127.0.0.1", "other.example", "", "a b"] {
        let head = format!("GET http://{at}/ HTTP/1.1\r\nHost: {host}");
        assert_eq!(seen(&forward, &origin, &head).all("Host"), [&at], "{host:?}");
    }
    for host in [at.as_str(), "127.0.0.1", "other.example", "", "a b"] {
        let mut client = forward.connect();
        client.send(format!("CONNECT {at} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.head().status(), 200, "{host:?}");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "hi", "{host:?}");
    }
    // Two are refused whatever they say (section 3.2).
    let mut client = forward.connect();
    client.send(format!("GET http://{at}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"));
    assert_eq!(client.response().status(), 400);
}
