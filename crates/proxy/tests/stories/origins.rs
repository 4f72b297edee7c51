//! Responses as origins write them: what is sent on is canonical, or 502.

use testkit::message_text::Message;
use testkit::origin::Origin;
use testkit::peer::ConnectionEnd;
use testkit::server::TestServer;

/// Answers each request by the same bytes, and closes.
fn saying(response: &str) -> Origin {
    let response = response.to_owned();
    Origin::start(move |peer, _| {
        if peer.try_request().is_ok() {
            peer.send(&response);
        }
    })
}

fn ask(origin: &Origin, method: &str) -> Message {
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.response_to(method)
}

#[test]
fn odd_spellings_become_canonical() {
    #[track_caller]
    fn check(response: &str, status: u16, field: Option<&str>) {
        let origin = saying(response);
        let answer = ask(&origin, "GET");
        assert_eq!((answer.status(), answer.text()), (status, "hi"), "{response:?}");
        assert_eq!(answer.field("X-A"), field, "{response:?}");
    }
    let body = "Content-Length: 2\r\n\r\nhi";
    check("HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nhi", 200, Some("b"));
    check(&format!("HTTP/1.1 200 OK\r\nX-A : b\r\n{body}"), 200, Some("b"));
    check(&format!("HTTP/1.1 200 OK\r\nX-A: b;\r\n  c\r\n{body}"), 200, Some("b; c"));
    check(&format!("HTTP/1.1 200 OK\r\nX-A: b\u{1}c\r\n{body}"), 200, Some("b c"));
    check(&format!("HTTP/1.1 200 OK\r\nno field\r\n: x\r\n{body}"), 200, None);
    check(&format!("\r\nHTTP/1.2  200  OK\r\n{body}"), 200, None);
    check(&format!("HTTP/1.1 999 Request denied\r\n{body}"), 999, None);
    for chunks in [
        "2  \r\nhi\r\n0  \r\n\r\n",
        "2\nhi\n0\nX-B: c\n\n",
        "000000000000000000002\r\nhi\r\n00\r\n\r\n",
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let head = format!("{version} 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
            check(&head, 200, None);
        }
    }
}

#[test]
fn what_has_no_body_may_speak_of_one() {
    #[track_caller]
    fn check(method: &str, response: &str, status: u16) {
        let answer = ask(&saying(response), method);
        assert_eq!((answer.status(), answer.text()), (status, ""), "{method} {response:?}");
        assert!(answer.field("Transfer-Encoding").is_none(), "{answer:?}");
    }
    check("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204);
    check("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 15\r\n\r\n", 204);
    check("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304);
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    check("HEAD", both, 200);
    let interim = "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n";
    let answer = ask(&saying(&format!("{interim}HTTP/1.1 204 No Content\r\n\r\n")), "GET");
    assert_eq!((answer.status(), answer.field("Content-Length")), (103, None));
}

/// Nothing has reached the client yet, so it gets a status.
#[test]
fn what_cannot_be_read_is_a_bad_gateway() {
    #[track_caller]
    fn check(response: &str) {
        assert_eq!(ask(&saying(response), "GET").status(), 502, "{response:?}");
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(&format!("{chunked}zz\r\nhi\r\n0\r\n\r\n"));
    check(&format!("{chunked}-2\r\nhi\r\n0\r\n\r\n"));
    check(&format!("{chunked}10000000000000000\r\nhi"));
    check("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhi");
    check("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi");
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    check("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi");
    check("HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nhi");
    check("HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nhi");
    check("HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nhi");
    check("hello");
}

/// What came before a break, in the same flight, is the client's.
#[test]
fn what_came_before_a_break_is_sent_on() {
    #[track_caller]
    fn check(response: &str, rest: &str) {
        let origin = saying(response);
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().status(), 200, "{response:?}");
        client.expect(rest);
        assert_eq!(client.ended(), ConnectionEnd::Reset, "{response:?}");
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi";
    check(&format!("{chunked}\r\nzz\r\n"), "2\r\nhi\r\n");
    check(&format!("{chunked}xx0\r\n\r\n"), "2\r\nhi\r\n");
    check(&format!("{chunked}\r\n"), "2\r\nhi\r\n");
    check("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi", "hi");
}

/// Chunks of one byte go on in as many writes as they came in reads, not each on its own.
#[test]
fn small_chunks_are_joined() {
    let tiny = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(5000));
    let origin = Origin::start(move |peer, _| {
        let request = peer.request();
        assert!(request.chunks.len() < 50, "{:?}", request.chunks);
        assert_eq!(request.body.len(), 5000);
        peer.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{tiny}"));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    let tiny = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(5000));
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{tiny}"));
    let answer = client.response();
    assert_eq!(answer.body.len(), 5000);
    assert!(answer.chunks.len() < 50, "{:?}", answer.chunks);
}
