//! Requests that two servers could read differently: refused, and nothing of them goes upstream.

use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;

/// A proxy before an origin that must not hear anything.
struct Refusing {
    origin: Origin,
    server: TestServer,
}

impl Refusing {
    fn new() -> Self {
        let origin = Origin::answering(ok("never"));
        let server = TestServer::reverse(origin.address(), "");
        Self { origin, server }
    }

    /// Sends bytes, and the beginning of an innocent request behind them.
    #[track_caller]
    fn refuses(&self, request: &str, status: u16) {
        let mut client = self.server.connect();
        let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(smuggled);
        self.answered(&mut client, request, status);
    }

    #[track_caller]
    fn answered(&self, client: &mut Peer, request: &str, status: u16) {
        let response = client.response();
        assert_eq!(response.status(), status, "{request:?}: {response:?}");
        assert_eq!(response.field("Connection"), Some("close"), "{request:?}");
        assert!(
            response.field("Proxy-Status").is_some_and(|s| s.contains("error=")),
            "{request:?}"
        );
        assert_eq!(client.ended(), ConnectionEnd::Closed, "{request:?}");
        assert_eq!(self.origin.connections(), 0, "{request:?}: {}", self.origin.received());
    }
}

#[test]
fn ambiguous_lengths() {
    // RFC 9112, sections 6.1 to 6.3
    let proxy = Refusing::new();
    let check = |fields: &str| {
        proxy.refuses(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n"), 400);
    };
    check("Content-Length: 5\r\nTransfer-Encoding: chunked");
    check("Transfer-Encoding: chunked\r\nContent-Length: 5");
    check("Content-Length: 0\r\nTransfer-Encoding: chunked");
    check("Content-Length: 5\r\nContent-Length: 6");
    check("Content-Length: 5, 6");
    check("Content-Length: 5,");
    check("Content-Length: +5");
    check("Content-Length: -5");
    check("Content-Length: 0x5");
    check("Content-Length: 5 5");
    check("Content-Length:");
    check("Content-Length: \"5\"");
    check("Content-Length: 18446744073709551616");
    check("Content-Length: 99999999999999999999999999");
    check("Transfer-Encoding: chunked, chunked");
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    check("Transfer-Encoding: chunked, identity");
    check("Transfer-Encoding: identity");
    check("Transfer-Encoding: xchunked");
    check("Transfer-Encoding: chunked;q=1");
    check("Transfer-Encoding: \"chunked\"");
    check("Transfer-Encoding:");
    check("Transfer-Encoding: ,chunked");
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity");
    check("Transfer-Encoding:\x0bchunked");
    check("Transfer-Encoding: chunked\x00");
    check("Transfer-Encoding : chunked");
    check("Transfer-Encoding\t: chunked");
    check(" Transfer-Encoding: chunked");
    check("X: y\r\n Transfer-Encoding: chunked");
    check("X: y\nTransfer-Encoding: chunked");
    check("X: y\rTransfer-Encoding: chunked");
    check("Transfer-Encoding\r\n : chunked");
    for length in ["9223372036854775808", "18446744073709551615"] {
        check(&format!("Content-Length: {length}")); // with a sign it is another number
    }
    proxy.refuses("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    // Section 6.1: a coding that is not implemented.
    for coding in ["gzip, chunked", "deflate\r\nTransfer-Encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}");
        proxy.refuses(&format!("{head}\r\n\r\n0\r\n\r\n"), 501);
    }
}

#[test]
fn malformed_heads() {
    let proxy = Refusing::new();
    let check = |head: &str| proxy.refuses(&format!("{head}\r\n\r\n"), 400);
    check("GET / HTTP/1.1"); // no Host
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a");
    check("GET / HTTP/1.1\r\nHost: a, b");
    check("GET / HTTP/1.1\r\nHost: a b");
    check("GET / HTTP/1.1\r\nHost: a/b");
    check("GET / HTTP/1.1\r\nHost: user@a");
    check("GET / HTTP/1.1\r\nHost: a:99999");
    check("GET / HTTP/1.1\r\nHost: a:b");
    check("GET / HTTP/1.1\r\nHost: [::1");
    check("GET / HTTP/1.1\r\nHost: a\r\nX y: z");
    check("GET / HTTP/1.1\r\nHost: a\r\n: z");
    check("GET / HTTP/1.1\r\nHost: a\r\nX: \x01");
    check("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f");
    check("GET / HTTP/1.1\r\nHost: a\r\nX: y\r z");
    check("GET / HTTP/1.1\r\nHost: a\r\nX(y): z");
    check("GET / HTTP/1.1\r\nHost: a\r\nnocolon");
    check("GET  / HTTP/1.1\r\nHost: a");
    check("GET / HTTP/1.1 \r\nHost: a");
    check("GET\t/ HTTP/1.1\r\nHost: a");
    check(" GET / HTTP/1.1\r\nHost: a");
    check("GET / http/1.1\r\nHost: a");
    check("GET / HTTP/1.1x\r\nHost: a");
    check("GET /\r\nHost: a"); // HTTP/0.9
    check("G\u{e4}T / HTTP/1.1\r\nHost: a");
    check("GET /\x00 HTTP/1.1\r\nHost: a");
    check("GET /\x7f HTTP/1.1\r\nHost: a");
    check("GET /#fragment HTTP/1.1\r\nHost: a");
    check("GET a HTTP/1.1\r\nHost: a");
    check("GET http://user@a/ HTTP/1.1\r\nHost: a");
    check("GET http:///x HTTP/1.1\r\nHost: a");
    check("GET ftp://a/ HTTP/1.1\r\nHost: a");
    check("GET * HTTP/1.1\r\nHost: a"); // for OPTIONS only
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: a");
    proxy.refuses("GET / HTTP/1.1\nHost: a\n\n", 400);
    proxy.refuses("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    proxy.refuses("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417);
    proxy.refuses("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400);
    proxy.refuses("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400); // TLS
    proxy.refuses("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn malformed_chunks_end_the_exchange() {
    // RFC 9112, section 7.1. The origin may have heard the head and what was well-formed, but it
    // must not take the request for complete.
    #[track_caller]
    fn check(body: &str) {
        let origin = Origin::start(|peer, _| {
            let broken = peer.try_request().expect_err("the request is never complete");
            let body = String::from_utf8_lossy(&broken.message.body).into_owned();
            assert!(!body.contains("smuggled"), "{body}");
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}\
             GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status(), 400, "{body:?}");
        assert_eq!(response.field("Connection"), Some("close"), "{body:?}");
        assert_eq!(client.ended(), ConnectionEnd::Closed, "{body:?}");
        assert!(origin.connections() < 2, "{body:?}");
        assert!(!origin.received().contains("smuggled"), "{body:?}");
    }
    check("5\r\nhello0\r\n\r\n");
    check("5\r\nhelloXX0\r\n\r\n");
    check("5\nhello\r\n0\r\n\r\n");
    check("5\r\nhello\n0\r\n\r\n");
    check(" 5\r\nhello\r\n0\r\n\r\n");
    check("+5\r\nhello\r\n0\r\n\r\n");
    check("-5\r\nhello\r\n0\r\n\r\n");
    check("0x5\r\nhello\r\n0\r\n\r\n");
    check("5_0\r\nhello\r\n0\r\n\r\n");
    check("\r\nhello\r\n0\r\n\r\n");
    check("10000000000000005\r\nhello\r\n0\r\n\r\n");
    check("5;a\nb\r\nhello\r\n0\r\n\r\n");
    check("5;a\rb\r\nhello\r\n0\r\n\r\n");
    check("0\r\nX : y\r\n\r\n");
    check("0\r\nX: y\n\r\n");
    check("0\r\n folded: y\r\n\r\n");
    check("0\n\r\n");
    check("00000000000000000\r\n\r\n");
    let long = "a".repeat(300);
    check(&format!("5;{long}\r\nhello\r\n0\r\n\r\n"));
    let trailers = "X: y\r\n".repeat(100);
    check(&format!("0\r\n{trailers}\r\n"));
}

#[test]
fn harmless_oddities_pass() {
    let origin = Origin::serving(|request| ok(&format!("{} {}", request.target(), request.text())));
    let server = TestServer::reverse(origin.address(), "");
    let check = |request: &str, expected: &str| {
        let mut client = server.connect();
        client.send(request);
        assert_eq!(client.response().text(), expected, "{request:?}");
    };
    // RFC 9112, section 2.2: an empty line before the request is ignored.
    check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "/ ");
    // RFC 9110, section 8.6: the same length twice is that length.
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nhi", "/ hi");
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "/ hi");
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "/ hi",
    );
    // Section 7.1.1: white space behind a size, which all servers skip.
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \t\r\nhi\r\n0 \r\n\r\n",
        "/ hi",
    );
    // RFC 9110, section 2.5: a higher minor version.
    check("GET /x HTTP/1.2\r\nHost: a\r\n\r\n", "/x ");
    // RFC 9112, section 3.2.2: absolute-form in reverse, with the Host that it names.
    check("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "/x ");
    check("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "/ ");
    check("GET /x HTTP/1.1\r\nHost:   a  \r\nX:\ty\t\r\n\r\n", "/x ");
    check("BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x ");
}
