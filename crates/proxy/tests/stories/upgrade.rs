//! Upgrades: bytes both ways after 101, and never before.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[track_caller]
fn switched(client: &mut Peer) {
    let response = client.response();
    assert_eq!(response.status(), 101, "{response:?}");
    assert!(response.field("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(response.length().is_none() && !response.is_chunked(), "{response:?}");
}

#[test]
fn a_tunnel_begins_with_101() {
    let origin = Origin::start(|peer, _| {
        let request = peer.request();
        assert!(request.field("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
        assert_eq!(request.field("Upgrade"), Some("websocket"));
        assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(request.has("X-Forwarded-For"), "{request:?}");
        // What comes right behind the head belongs to the tunnel.
        peer.send(format!("{SWITCHED}first from the origin"));
        peer.expect("first from the client");
        for _ in 0..10 {
            peer.expect("ping");
            peer.send("pong");
        }
        // Half-close: the other direction goes on.
        peer.expect_closed();
        peer.send("last words");
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(format!("{HANDSHAKE}first from the client"));
    switched(&mut client);
    client.expect("first from the origin");
    for _ in 0..10 {
        client.send("ping");
        client.expect("pong");
    }
    client.finish();
    client.expect("last words");
    client.expect_closed();
    server.wait_until_quiet();
    assert_eq!(server.metric("bothways_tunnels_total", ""), 1.0);
}

#[test]
fn an_upgrade_that_is_not_accepted_is_an_ordinary_exchange() {
    let origin = Origin::answering(ok("no"));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(HANDSHAKE);
        assert_eq!(client.response().text(), "no");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn upgrades_that_are_not_passed_on() {
    let origin = Origin::start(|peer, _| {
        while let Ok(request) = peer.try_request() {
            assert!(!request.has("Upgrade"), "{request:?}");
            assert!(!request.has("HTTP2-Settings"), "{request:?}");
            assert!(!request.has("Connection"), "{request:?}");
            peer.send(ok("plain"));
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    let mut check = |version: &str, fields: &str| {
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(client.response().text(), "plain", "{fields:?}");
    };
    // RFC 9113, section 3.1: behind it requests would bypass every rule.
    check(
        "1.1",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    );
    check("1.1", "Connection: Upgrade\r\nUpgrade: H2C\r\n");
    check("1.1", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n");
    check("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n");
    check("1.1", "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n");
    // RFC 9110, section 7.8: only where Connection names it, and not in HTTP/1.0.
    check("1.1", "Upgrade: websocket\r\n");
    check("1.1", "Connection: Upgrade\r\n");
    check("1.0", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
}

/// RFC 9110, section 7.8; RFC 6455, section 4.1: what is no answer to the request makes no tunnel.
#[test]
fn what_is_no_switch_is_a_bad_gateway() {
    #[track_caller]
    fn check(request: &str, answer: &'static str, expected: u16) {
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(format!("HTTP/1.{answer}\r\n\r\n"));
            let (bytes, _) = peer.rest();
            assert!(expected == 101 || bytes.is_empty(), "{:?}", String::from_utf8_lossy(&bytes));
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.{request}\r\n\r\n"));
        assert_eq!(client.response().status(), expected, "{request:?} {answer:?}");
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        client.close();
        server.wait_until_quiet();
    }
    const PLAIN: &str = "1\r\nHost: a";
    const FOO: &str = "1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo";
    const WEBSOCKET: &str = "1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    const PROOF: &str = "1 101 X\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    check(WEBSOCKET, PROOF, 101);
    check(FOO, "1 101 X\r\nConnection: upgrade\r\nUpgrade: foo", 101);
    check(PLAIN, PROOF, 502);
    check(PLAIN, "1 101 X", 502);
    check(WEBSOCKET, "1 101 X", 502);
    check(WEBSOCKET, "1 101 X\r\nConnection: upgrade\r\nUpgrade: foo", 502);
    check(WEBSOCKET, "1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket", 502);
    let wrong =
        "1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    check(WEBSOCKET, wrong, 502);
    // Of two proofs a client may read either.
    let two = "1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: \
        s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    check(WEBSOCKET, two, 502);
    check(FOO, "1 101 X\r\nUpgrade: bar", 502);
    check(FOO, "1 101 X\r\nUpgrade: foo, h2c", 502);
    check(FOO, "0 101 X\r\nUpgrade: foo", 502);
    check("0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo", "1 101 X\r\nUpgrade: foo", 502);
}

/// `docker exec`: a POST with a body, which the daemon reads before it changes the protocol.
#[test]
fn an_upgrade_with_a_body() {
    let origin = Origin::start(|peer, _| {
        let head = peer.head();
        assert_eq!(head.field("Upgrade"), Some("tcp"), "{head:?}");
        assert!(head.field("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
        if head.target() == "/early" {
            // Before it has all of the body: the client's bytes stay what they are.
            peer.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        }
        let request = peer.body_of(head);
        assert_eq!(request.text(), "{\"Tty\":false}", "{request:?}");
        if request.target() != "/early" {
            peer.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        }
        peer.expect("ping");
        peer.send("pong");
    });
    let server = TestServer::reverse(origin.address(), "");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"T\r\na\r\nty\":false}\r\n0\r\n\r\n";
    for path in ["/exec", "/early"] {
        for body in ["Content-Length: 13\r\n\r\n{\"Tty\":false}", chunked] {
            for at_once in [true, false] {
                let mut client = server.connect();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                );
                let (before, rest) = body.split_at(if at_once { body.len() } else { 30 });
                client.send(format!("{head}{before}"));
                if !at_once {
                    origin.wait_for_connections(1);
                }
                client.send(rest);
                assert_eq!(client.head().status(), 101, "{path} {body:?}");
                client.send("ping");
                client.expect("pong");
            }
        }
    }
}

#[test]
fn a_tunnel_ends_with_either_side() {
    #[track_caller]
    fn check(origin_leaves: Option<fn(&mut Peer)>, client_leaves: Option<fn(&mut Peer)>) {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(SWITCHED);
            peer.expect("hello");
            if let Some(leaves) = origin_leaves {
                return leaves(peer);
            }
            let (_, ended) = peer.rest();
            peer.close();
            tell.lock().unwrap().send(ended).unwrap();
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(HANDSHAKE);
        switched(&mut client);
        client.send("hello");
        if let Some(leaves) = client_leaves {
            leaves(&mut client);
            told.recv_timeout(Duration::from_secs(1)).expect("the origin hears of it");
        } else {
            client.rest();
            client.close();
        }
        server.wait_until_quiet();
        assert_eq!(server.server().open_exchanges().tunnels, 0);
    }
    check(Some(Peer::close), None);
    check(Some(Peer::reset), None);
    check(None, Some(Peer::close));
    check(None, Some(Peer::reset));
}

#[test]
fn a_tunnel_that_idles_is_closed() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send(SWITCHED);
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "timeouts { tunnel-idle \"1s\"; }");
    let mut client = server.connect();
    client.send(HANDSHAKE);
    switched(&mut client);
    // Traffic in one direction keeps it alive beyond its time.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(60)); // a client that speaks now and then
        client.send("x");
    }
    client.rest();
    server.wait_until_quiet();
}

#[test]
fn much_passes_through_a_tunnel_both_ways_at_once() {
    const BYTES: usize = 16 * 1024 * 1024;
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send(SWITCHED);
        let mut writer = peer.duplicate();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.send(vec![b'o'; BYTES]));
            assert!(peer.read_exact(BYTES).iter().all(|&byte| byte == b'c'));
        });
        peer.finish();
        peer.expect_closed();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(HANDSHAKE);
    switched(&mut client);
    let mut writer = client.duplicate();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(vec![b'c'; BYTES]));
        assert!(client.read_exact(BYTES).iter().all(|&byte| byte == b'o'));
    });
    client.expect_closed();
    client.finish();
    server.wait_until_quiet();
}
