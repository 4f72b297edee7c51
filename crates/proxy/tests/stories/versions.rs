//! HTTP/1.0 on either side, and responses without a body.

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::ConnectionEnd;
use testkit::server::TestServer;

#[test]
fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    // RFC 9112, section 6.1: no chunks for HTTP/1.0.
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n",
    );
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert!(!response.is_chunked());
    assert_eq!(response.length(), None);
    assert_eq!(response.text(), "hello world");
    assert!(origin.received().starts_with("GET / HTTP/1.1\r\n"), "{}", origin.received());
}

#[test]
fn an_old_client_may_keep_its_connection() {
    let origin = Origin::answering(ok("hello"));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.field("Connection"), Some("keep-alive"));
        assert_eq!(response.text(), "hello");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().field("Connection"), Some("close"));
    client.expect_closed();
}

#[test]
fn an_old_origin_ends_its_body_with_the_connection() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello");
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert!(response.is_chunked());
        assert_eq!(response.text(), "hello");
        assert!(response.start.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_old_origin_with_a_length_is_used_again_only_if_it_says_so() {
    let origin = Origin::start(|peer, number| {
        let keep = if number == 0 { "" } else { "Connection: keep-alive\r\n" };
        while peer.try_request().is_ok() {
            peer.send(format!("HTTP/1.0 200 OK\r\n{keep}Content-Length: 1\r\n\r\n{number}"));
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for expected in ["0", "1", "1", "1"] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), expected);
    }
}

#[test]
fn responses_without_a_body() {
    #[track_caller]
    fn check(method: &str, answer: &str) -> Message {
        let origin = Origin::answering(answer);
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        let mut response = Message::default();
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            response = client.response_to(method);
        }
        assert_eq!(origin.connections(), 1, "the upstream is used again");
        client.finish();
        client.expect_closed();
        response
    }
    // RFC 9110, section 9.3.2 and RFC 9112, section 6.3, item 1: fields as for GET, no body.
    let head = check("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n");
    assert_eq!((head.length(), head.field("ETag")), (Some(1000), Some("\"x\"")));
    let chunked = check("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked.status(), 200);
    check("GET", "HTTP/1.1 204 No Content\r\n\r\n");
    let harmless = check("DELETE", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
    // RFC 9110, section 8.6: none with 204.
    assert_eq!(harmless.length(), None);
    let not_modified = check("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(not_modified.status(), 304);
    check("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_body_until_close_that_is_reset_is_not_taken_for_complete() {
    let origin = Origin::start(|peer, _| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
        // Only once this has arrived, or the reset would overtake it.
        peer.expect("go");
        peer.reset();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    assert!(client.head().is_chunked());
    assert_eq!(client.chunk().unwrap(), b"hello");
    client.send("go");
    assert_eq!(client.rest().1, ConnectionEnd::Reset);
    drop(server);
}
