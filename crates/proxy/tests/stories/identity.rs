//! Who the client is, and what the next server is told of it.

use std::net::{Ipv4Addr, SocketAddr};

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;

/// What the origin saw of a request with these fields.
fn seen(server: &TestServer, origin: &Origin, fields: &str) -> Message {
    let mut client = server.connect();
    let before = origin.received().len();
    client.send(format!(
        "GET /x HTTP/1.1\r\nHost: Shop.Example:80\r\n{fields}Connection: close\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 200);
    Message::of_head(&origin.received().as_bytes()[before..])
}

/// What a liar sends.
const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\n\
    X-Forwarded-Ssl: on\r\nx-forwarded-server: evil\r\nX-Forwarded: a\r\nX-Original-URL: /admin\r\n\
    X-Rewrite-URL: /admin\r\nX_Real_IP: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n\
    Forwarded: for=6.6.6.6;host=evil.example\r\nVia: 1.1 liar\r\n";

#[test]
fn the_clients_own_claims_are_dropped() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::reverse(origin.address(), "");
    for fields in ["", CLAIMS] {
        let request = seen(&server, &origin, fields);
        assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
        assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
        assert_eq!(request.field("X-Forwarded-Host"), Some("shop.example"));
        assert!(!request.has("Forwarded"), "{request:?}");
        assert_eq!(request.field("Via"), Some("1.1 bothways"));
        let told = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "Host"];
        let told = request.fields.iter().all(|(name, _)| told.contains(&name.as_str()));
        assert!(told, "{request:?}");
        assert_eq!(request.field("Host"), Some("Shop.Example:80"));
    }
}

#[test]
fn a_trusted_proxys_fields_are_kept_and_added_to() {
    let origin = Origin::serving(|_| ok("hi"));
    let server = TestServer::start(&format!(
        "trusted-proxy \"127.0.0.0/8\"
         site \"*\" {{
             listen \"127.0.0.1:0\"
             request {{ set \"X-Client\" \"{{client}}\"; }}
             to \"{}\"
         }}",
        origin.address()
    ));
    let request = seen(&server, &origin, CLAIMS);
    assert_eq!(request.field("X-Forwarded-For"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("evil.example"));
    assert_eq!(request.field("X-Forwarded-Port"), Some("443"));
    for name in ["X-Forwarded-Ssl", "X-Forwarded-Server", "X-Original-URL", "X-Rewrite-URL"] {
        assert!(request.has(name), "{name}: {request:?}");
    }
    for name in ["Forwarded", "X_Real_IP", "X-Forwarded_For"] {
        assert!(!request.has(name), "{name}: {request:?}");
    }
    assert_eq!(request.field("Via"), Some("1.1 liar, 1.1 bothways"));
    assert_eq!(request.field("X-Client"), Some("6.6.6.6"));
    // As far back as the proxies in between are trusted, and no further.
    let hops = "X-Forwarded-For: 1.1.1.1, 6.6.6.6\r\nX-Forwarded-For: 127.0.0.9, 127.0.0.8\r\n";
    assert_eq!(seen(&server, &origin, hops).field("X-Client"), Some("6.6.6.6"));
    let garbage = "X-Forwarded-For: 1.1.1.1, nonsense\r\n";
    assert_eq!(seen(&server, &origin, garbage).field("X-Client"), Some("127.0.0.1"));
}

#[test]
fn fields_that_belong_to_one_connection_stay_there() {
    // RFC 9110, section 7.6.1
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=60\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nhi",
    );
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(
        "GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, x-forwarded-for, Cookie, Authorization, Host\r\n\
         Connection: X-Other, Content-Length, via, Forwarded, Cache-Control\r\n\
         X-Hop: 1\r\nX-Other: 2\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eA==\r\nTE: gzip\r\nProxy: http://evil\r\n\
         Cookie: a=b\r\nAuthorization: Basic eA==\r\nCache-Control: no-cache\r\nX-Kept: 1\r\n\
         X_Forwarded_For: 6.6.6.6\r\nContent_Length: 5\r\n\r\n",
    );
    let response = client.response();
    for name in ["X-Hop", "Keep-Alive", "Upgrade", "Connection"] {
        assert!(!response.has(name), "{name}: {response:?}");
    }
    assert!(response.has("X-Kept"));
    let request = Message::of_head(origin.received().as_bytes());
    let gone = [
        "X-Hop",
        "X-Other",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Proxy",
        "Connection",
        "X_Forwarded_For",
        "Content_Length",
    ];
    for name in gone {
        assert!(!request.has(name), "{name}: {request:?}");
    }
    // The security ones resist: whoever could name them away could hide who he is.
    let kept =
        ["X-Forwarded-For", "Via", "Cookie", "Authorization", "Host", "Cache-Control", "X-Kept"];
    for name in kept {
        assert!(request.has(name), "{name}: {request:?}");
    }
}

#[test]
fn names_keep_their_case_and_values_their_bytes() {
    let origin = Origin::answering(
        "HTTP/1.1 200 Fine By Me\r\nx-LOWER: \u{e4}\r\nX-Empty: \r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    );
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-LOWER: \u{e4}\u{f6}\r\nX-Empty:\r\nX-B: 1\r\nx-b: 2\r\n\r\n");
    let response = client.response();
    assert!(response.fields.contains(&("x-LOWER".to_owned(), "\u{e4}".to_owned())), "{response:?}");
    assert_eq!(response.all("Set-Cookie"), ["a", "b"]);
    let received = origin.received();
    assert!(
        received.contains("\r\nx-LOWER: \u{e4}\u{f6}\r\nX-Empty: \r\nX-B: 1\r\nx-b: 2\r\n"),
        "{received}"
    );
}

/// A listener that wants to be told by a PROXY protocol header.
fn behind_balancer(origin: &Origin) -> TestServer {
    TestServer::start(&format!(
        "listen \"127.0.0.1:0\" {{ proxy-protocol required; }}
         timeouts {{ head \"1s\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ))
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn a_proxy_protocol_header_tells_the_client() {
    let origin = Origin::answering(ok("hi"));
    let server = behind_balancer(&origin);
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let check = |header: &[u8], expected: &str| {
        let before = origin.received().len();
        let mut client = server.connect();
        client.send([header, get].concat());
        assert_eq!(client.response().status(), 200, "{header:?}");
        let request = Message::of_head(&origin.received().as_bytes()[before..]);
        assert_eq!(request.field("X-Forwarded-For"), Some(expected), "{header:?}");
    };
    check(b"PROXY TCP4 198.51.100.7 192.0.2.1 1234 80\r\n", "198.51.100.7");
    check(b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 80\r\n", "2001:db8::7");
    check(b"PROXY UNKNOWN\r\n", "127.0.0.1");
    let v4 = [V2, b"\x21\x11\x00\x0c", &[198, 51, 100, 8], &[192, 0, 2, 1], b"\x04\xd2\x00\x50"];
    check(&v4.concat(), "198.51.100.8");
    let local = [V2, b"\x20\x00\x00\x00"].concat();
    check(&local, "127.0.0.1");
    // With extensions behind, which are skipped.
    let tlv = [
        V2,
        b"\x21\x11\x00\x10",
        &[198, 51, 100, 9],
        &[192, 0, 2, 1],
        b"\x04\xd2\x00\x50\x04\x00\x01x",
    ];
    check(&tlv.concat(), "198.51.100.9");
}

#[test]
fn a_proxy_protocol_header_may_come_in_pieces_and_holds_for_the_connection() {
    let origin = Origin::answering(ok("hi"));
    let server = behind_balancer(&origin);
    let mut client = server.connect();
    for byte in b"PROXY TCP4 198.51.100.7 192.0.2.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().status(), 200);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.received().matches("X-Forwarded-For: 198.51.100.7\r\n").count(), 2);
    // Once only: a second one is a malformed request.
    client.send("PROXY TCP4 198.51.100.8 192.0.2.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
}

#[test]
fn without_a_proxy_protocol_header_the_connection_is_closed() {
    let origin = Origin::answering(ok("never"));
    let server = behind_balancer(&origin);
    let check = |bytes: &[u8]| {
        let mut client = server.connect();
        client.send(bytes);
        let (answer, _) = client.rest();
        assert!(answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
    };
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check(b"PROXY TCP4 198.51.100.7 192.0.2.1 1234\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check(b"PROXY TCP4 198.51.100.999 192.0.2.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check(b"PROXY TCP9 198.51.100.7 192.0.2.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check(b"PROXY TCP4 198.51.100.7 192.0.2.1 1234 80\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check(&[V2, b"\x31\x11\x00\x0c"].concat());
    check(b"\x16\x03\x01\x02\x00");
    check(b"PROXY TCP4 198.51."); // and then nothing, until the time for a head is over
    assert_eq!(origin.connections(), 0);
    server.wait_for_metric("bothways_connections_refused_total", "", 8.0);
}

#[test]
fn an_ipv6_client() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else { return };
    drop(probe);
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::start(&format!(
        "site \"*\" {{ listen \"[::1]:0\"; forwarded on; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = Peer::connect(server.address());
    client.send("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let request = Message::of_head(origin.received().as_bytes());
    assert_eq!(request.field("X-Forwarded-For"), Some("::1"));
    let forwarded = "for=\"[::1]\";host=\"[::1]:8080\";proto=http";
    assert_eq!(request.field("Forwarded"), Some(forwarded));
}

#[test]
fn an_ipv4_client_of_a_listener_for_everything() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::start(&format!(
        "listen \":0\" {{ trusted-proxy \"127.0.0.7\"; }}
         site \"*\" {{ listen \":0\"; to \"{}\"; }}",
        origin.address()
    ));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address().port()));
    for (from, expected) in [(1, "127.0.0.1"), (7, "6.6.6.6, 127.0.0.7")] {
        let before = origin.received().len();
        let mut client = Peer::connect_from(Ipv4Addr::new(127, 0, 0, from).into(), address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        let request = Message::of_head(&origin.received().as_bytes()[before..]);
        assert_eq!(request.field("X-Forwarded-For"), Some(expected));
    }
}
