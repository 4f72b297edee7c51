//! Connections that carry more than one exchange.

use std::time::{Duration, Instant};

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::ConnectionEnd;
use testkit::server::TestServer;

fn path_echo(request: &Message) -> String {
    ok(request.target())
}

#[test]
fn one_connection_carries_many_exchanges_on_both_sides() {
    let origin = Origin::serving(path_echo);
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for number in 0..10 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text(), format!("/{number}"));
        assert!(!response.has("Connection"), "{response:?}");
    }
    assert_eq!(origin.connections(), 1);
    client.finish();
    client.expect_closed();
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may() {
    let origin = Origin::serving(path_echo);
    let server = TestServer::start(&format!(
        "limits {{ requests-per-connection 2; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.response().has("Connection"));
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = client.response();
    assert_eq!((last.text(), last.field("Connection")), ("/2", Some("close")));
    client.expect_closed();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::serving(path_echo);
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    let requests: String =
        (0..100).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests);
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn pipelined_requests_with_bodies_keep_their_borders() {
    let origin = Origin::serving(|request| ok(&format!("{}={}", request.target(), request.text())));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
         POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
         GET /e HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for expected in ["/a=one", "/b=two", "/c=", "/d=", "/e="] {
        assert_eq!(client.response().text(), expected);
    }
    // RFC 9112, section 9.6: nothing after the request that closes is answered.
    client.expect_closed();
    assert!(!origin.received().contains("/never"));
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let origin = Origin::serving(|request| ok(request.text()));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for byte in b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_response_may_come_byte_by_byte() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        {
            peer.send([*byte]);
        }
        peer.request();
        peer.send(ok("again"));
        peer.expect_closed();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "again");
    assert_eq!(origin.connections(), 1);
    drop(server);
}

#[test]
fn a_client_that_asks_to_close_is_told_so_and_the_upstream_is_kept() {
    let origin = Origin::serving(path_echo);
    let server = TestServer::reverse(origin.address(), "");
    for _ in 0..3 {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let response = client.response();
        assert_eq!(response.field("Connection"), Some("close"));
        assert_eq!(client.ended(), ConnectionEnd::Closed);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_origin_that_asks_to_close_is_not_used_again_and_the_client_is_kept() {
    let origin = Origin::start(|peer, number| {
        peer.request();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{number}"
        ));
        peer.expect_closed();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for number in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!(response.text(), number.to_string());
        assert!(!response.has("Connection"), "{response:?}");
    }
}

#[test]
fn an_idle_client_is_closed_after_its_time() {
    let origin = Origin::serving(path_echo);
    let server = TestServer::start(&format!(
        "timeouts {{ client-idle \"600ms\" }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let begun = Instant::now();
    let mut fresh = server.connect();
    fresh.expect_closed();
    // Not the time for a head, of which nothing has come.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut used = server.connect();
    used.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    used.response();
    used.expect_closed();
}
