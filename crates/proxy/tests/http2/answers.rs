//! The other way: what an HTTP/1.1 origin says stays in the answer to its request, and fits HTTP/2.

use testkit::h2raw::{self, Connection, headers, request};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::flag;

/// What an origin says stays in the answer to its request.
#[test]
fn answers() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    let check = |what: &str, method: &'static str, first: &str, status: u16, content: &str| {
        let first = format!("{first}{second}");
        let origin = Origin::start(move |peer, number| {
            while let Ok(request) = peer.try_request() {
                let is_first = number == 0 && request.target() != "/next";
                peer.send(if is_first { first.clone() } else { ok("honest") });
            }
        });
        let proxy = TestServer::reverse(origin.address(), "");
        let mut client = Connection::client(proxy.address(), &[]);
        client.send(headers(flag::END_STREAM, 1, &request(method, "http", "a", "/")));
        let answer = client.message(1).unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        assert_eq!((answer.status(), answer.text().as_str()), (status, content), "{what}");
        client.get(3, "/next");
        let next = client.message(3).unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        assert_eq!(next.text(), "honest", "{what}");
    };
    let length = "Content-Length: 5\r\n\r\n";
    check("HEAD", "HEAD", &format!("HTTP/1.1 200 OK\r\n{length}"), 200, "");
    check("304", "GET", &format!("HTTP/1.1 304 Not Modified\r\n{length}"), 304, "");
    check("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "");
    check("a length", "GET", &format!("HTTP/1.1 200 OK\r\n{length}12345"), 200, "12345");
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    check("chunks", "GET", chunks, 200, "abc");
}

/// Fields of an origin that HTTP/2 has no place for.
#[test]
fn answers_lose_fields_of_the_connection() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
         Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.get(1, "/");
    let answer = client.message(1).expect("an answer");
    assert_eq!(answer.text(), "hi");
    assert_eq!(h2raw::field(&answer.fields, "x-kept"), Some("1"));
    for name in ["connection", "x-hop", "keep-alive", "upgrade", "transfer-encoding"] {
        assert_eq!(h2raw::field(&answer.fields, name), None, "{name}");
    }
    for (name, _) in &answer.fields {
        assert_eq!(*name, name.to_lowercase());
    }
}

/// An answer that breaks off is a broken one for the client.
#[test]
fn answers_that_break_off() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ] {
        let origin = Origin::start(move |peer, _| {
            if peer.try_request().is_ok() {
                peer.send(answer);
            }
        });
        let proxy = TestServer::reverse(origin.address(), "");
        let mut client = Connection::client(proxy.address(), &[]);
        client.get(1, "/");
        let failure = client.message(1).expect_err("no whole answer");
        assert!(matches!(failure, h2raw::Failure::Reset(_)), "{answer:?}: {failure:?}");
        client.round_trip().expect("a connection that goes on");
    }
    // Until the end of the connection, which is whole however it ends.
    let origin = Origin::start(move |peer, _| {
        if peer.try_request().is_ok() {
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
        }
    });
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.get(1, "/");
    assert_eq!(client.message(1).expect("an answer").text(), "all of it");
}
