//! TLS towards endpoints: whom we believe, what we show, what is spoken within.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::h2raw::{Connection, data, field, headers, reset};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::secure::{Authority, SecureFront};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{code, flag, kind, setting};

/// A proxy whose upstream is at `to`; `more` stands in the upstream.
fn text(to: &str, more: &str) -> String {
    format!(
        "upstream up {{\n to \"{to}\"\n {more}\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}"
    )
}

fn ca(authority: &Authority, more: &str) -> String {
    format!("tls {{ ca \"{}\"; name \"api.test\"; {more} }}", authority.file().display())
}

#[track_caller]
fn get(client: &mut Peer) -> (u16, String) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    (response.status(), response.text().to_owned())
}

/// Speaks HTTP/2 or HTTP/1.1, as its client begins.
fn either(peer: &mut Peer, settings: &[(u16, u32)]) {
    let Ok(first) = peer.try_read_exact(1) else { return };
    if first == b"P" {
        peer.expect(&b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
        let mut raw = Connection::of(peer);
        raw.expect_kind(kind::SETTINGS);
        raw.send(testkit::h2raw::settings(settings));
        raw.send(testkit::h2raw::frame(kind::SETTINGS, flag::ACK, 0, b""));
        while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
            let fields = raw.fields_of(&head);
            let scheme = field(&fields, ":scheme").unwrap_or_default().to_owned();
            let stream = head.head.stream;
            if field(&fields, ":path") == Some("/http1") {
                raw.send(reset(stream, code::HTTP_1_1_REQUIRED));
                continue;
            }
            raw.send(headers(0, stream, &[(":status", "200")]));
            raw.send(data(flag::END_STREAM, stream, format!("h2 {scheme}")));
        }
        return;
    }
    // The rest of the first request's head, then whole ones.
    while let Ok(head) = peer.try_request() {
        if head.has("Upgrade") {
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
            );
            peer.expect_closed();
            return;
        }
        peer.send(ok("h1"));
    }
}

/// What is logged of a request that fails.
#[track_caller]
fn check_failure(to: &str, upstream: &str, error: &str, words: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}\n{}",
        path.display(),
        text(to, upstream)
    ));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 502, "{words}: {response:?}");
    let status = response.field("Proxy-Status").unwrap();
    assert!(status.contains(&format!("error={error}")), "{words}: {status}");
    let line = line(&path);
    assert!(line.contains(words), "{words}: {line}");
}

#[track_caller]
fn line(path: &Path) -> String {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    wait::until("a line of the log", || read().lines().count() >= 1);
    read()
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = Origin::answering(ok("never"));
    let front = |issued| SecureFront::start(&issued, &[], origin.address());
    let to = |front: &SecureFront| format!("https://{}", front.address());
    let error = "tls_certificate_error";

    let unknown = front(other.issue("good", &["api.test"]));
    check_failure(&to(&unknown), &ca(&authority, ""), error, "unknown issuer");
    let wrong = front(authority.issue("wrong", &["other.test"]));
    check_failure(&to(&wrong), &ca(&authority, ""), error, "other.test");
    let expired = front(authority.issue_expired("expired", &["api.test"]));
    check_failure(&to(&expired), &ca(&authority, ""), error, "expired on 2021-01-01");
    // Nobody is believed by name alone, when the address is what is asked for.
    let named = front(authority.issue("named", &["api.test"]));
    let by_address = format!("tls {{ ca \"{}\"; }}", authority.file().display());
    check_failure(&to(&named), &by_address, error, "127.0.0.1");
    assert_eq!(origin.connections(), 0, "nothing was said to any of them");

    let clear = Origin::start(|peer, _| {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = peer.rest();
    });
    let plain = format!("https://{}", clear.address());
    check_failure(&plain, &ca(&authority, ""), "tls_protocol_error", "TLS");
    let asking = SecureFront::start_asking(
        &authority.issue("asking", &["api.test"]),
        &[],
        Some(&authority),
        origin.address(),
    );
    // The alert comes after our side of the handshake is over (RFC 8446, section 4.4.2.4).
    let server = TestServer::start(&text(&to(&asking), &ca(&authority, "")));
    assert_eq!(get(&mut server.connect()).0, 502);
}

#[test]
fn certificates_are_verified_unless_it_is_said_that_they_are_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = Origin::answering(ok("hello"));
    let check = |issued, more: &str| {
        let front = SecureFront::start(&issued, &[], origin.address());
        let to = format!("https://{}", front.address());
        let server = TestServer::start(&text(&to, more));
        let mut client = server.connect();
        assert_eq!(get(&mut client), (200, "hello".to_owned()), "{more}");
        // And the connection is used again.
        assert_eq!(get(&mut client), (200, "hello".to_owned()), "{more}");
        assert_eq!(front.handshakes().len(), 1, "{more}");
    };
    check(authority.issue("good", &["api.test"]), &ca(&authority, ""));
    check(
        authority.issue("address", &["127.0.0.1"]),
        &format!("tls {{ ca \"{}\"; }}", authority.file().display()),
    );
    check(other.issue("other", &["else.test"]), "tls { verify off; }");
}

#[test]
fn we_show_a_certificate() {
    let authority = Authority::new();
    let ours = authority.issue("ours", &["proxy.test"]);
    let origin = Origin::answering(ok("hello"));
    let front = SecureFront::start_asking(
        &authority.issue("asking", &["api.test"]),
        &[b"http/1.1"],
        Some(&authority),
        origin.address(),
    );
    let own = format!("cert \"{}\"; key \"{}\";", ours.cert.display(), ours.key.display());
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, &own)));
    assert_eq!(get(&mut server.connect()), (200, "hello".to_owned()));
    let facts = front.handshakes().pop().unwrap().unwrap();
    assert_eq!(facts.certificate, Some(ours.der().to_vec()));
}

#[test]
fn the_endpoint_picks_what_is_spoken() {
    #[track_caller]
    fn check(authority: &Authority, protocol: &str, alpn: &[&[u8]], expected: &str, fronts: usize) {
        let origin = Origin::start(|peer, _| either(peer, &[]));
        let front =
            SecureFront::start(&authority.issue("picks", &["api.test"]), alpn, origin.address());
        let to = format!("https://{}", front.address());
        let more = format!("protocol {protocol}\n {}", ca(authority, ""));
        let server = TestServer::start(&text(&to, &more));
        let mut client = server.connect();
        for _ in 0..2 {
            let (status, said) = get(&mut client);
            match expected {
                "" => assert_eq!(status, 502, "{protocol} {alpn:?}"),
                _ => assert_eq!((status, said.as_str()), (200, expected), "{protocol} {alpn:?}"),
            }
        }
        wait::until("handshakes", || front.handshakes().len() >= fronts);
        assert_eq!(front.handshakes().len(), fronts, "{protocol} {alpn:?}");
    }
    let authority = Authority::new();
    let (h2, h1): (&[u8], &[u8]) = (b"h2", b"http/1.1");
    check(&authority, "auto", &[h2, h1], "h2 https", 1);
    check(&authority, "auto", &[h1], "h1", 1);
    check(&authority, "auto", &[], "h1", 1);
    check(&authority, "h1", &[h2, h1], "h1", 1);
    check(&authority, "h2", &[h2, h1], "h2 https", 1);
    check(&authority, "h2", &[h1], "", 2); // no_application_protocol
    check(&authority, "h2", &[], "", 2);
}

#[test]
fn many_that_begin_at_once_share_one_handshake() {
    const CLIENTS: usize = 10;
    let authority = Authority::new();
    let origin = Origin::start(|peer, _| either(peer, &[]));
    let front =
        SecureFront::start(&authority.issue("shared", &["api.test"]), &[b"h2"], origin.address());
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "h2 https");
    }
    assert_eq!(front.handshakes().len(), 1);
}

#[test]
fn a_failure_is_shared_by_those_who_wait() {
    const CLIENTS: usize = 10;
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = Origin::answering(ok("never"));
    let front = SecureFront::start(&other.issue("bad", &["api.test"]), &[b"h2"], origin.address());
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 502);
    }
}

#[test]
fn a_websocket_gets_a_connection_of_its_own_where_http2_takes_none() {
    let authority = Authority::new();
    let origin = Origin::start(|peer, _| either(peer, &[(setting::MAX_CONCURRENT_STREAMS, 10)]));
    let front = SecureFront::start(
        &authority.issue("ws", &["api.test"]),
        &[b"h2".as_slice(), b"http/1.1"],
        origin.address(),
    );
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut client = server.connect();
    assert_eq!(get(&mut client), (200, "h2 https".to_owned()));
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    client.expect("hello");
    let picked: Vec<_> = front.handshakes().into_iter().map(|h| h.unwrap().alpn.unwrap()).collect();
    assert_eq!(picked, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn an_endpoint_may_ask_for_http1() {
    let authority = Authority::new();
    let origin = Origin::start(|peer, _| either(peer, &[]));
    let front = SecureFront::start(
        &authority.issue("asks", &["api.test"]),
        &[b"h2".as_slice(), b"http/1.1"],
        origin.address(),
    );
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut client = server.connect();
    client.send("BREW /http1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().text(), "h1");
    assert_eq!(get(&mut client), (200, "h2 https".to_owned()));
    drop(server);
    let server = TestServer::start(&text(&to, &format!("protocol h2\n{}", ca(&authority, ""))));
    let mut client = server.connect();
    client.send("GET /http1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 502);
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        counted.fetch_add(1, Ordering::SeqCst);
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let front = SecureFront::start(&authority.issue("again", &["api.test"]), &[], origin.address());
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(get(&mut client), (200, "ok".to_owned()));
    }
    let resumed: Vec<bool> = front.handshakes().into_iter().map(|h| h.unwrap().resumed).collect();
    assert_eq!(resumed, [false, true, true]);
    assert_eq!(served.load(Ordering::SeqCst), 3);
}

#[test]
fn a_reload_with_another_context_does_not_use_old_connections() {
    let authority = Authority::new();
    let origin = Origin::answering(ok("hello"));
    let front =
        SecureFront::start(&authority.issue("reload", &["api.test"]), &[], origin.address());
    let to = format!("https://{}", front.address());
    let believing = text(&to, &ca(&authority, ""));
    let server = TestServer::start(&believing);
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 200);
    server.reload(&believing).unwrap();
    assert_eq!(get(&mut client).0, 200);
    assert_eq!(front.handshakes().len(), 1, "nothing has changed");
    let other = Authority::new();
    server.reload(&text(&to, &ca(&other, ""))).unwrap();
    assert_eq!(get(&mut client).0, 502, "it is not believed any more");
}

#[test]
fn a_response_that_is_cut_off_is_not_taken_for_complete() {
    // Without close_notify the end of a body that ends with the connection proves nothing.
    let authority = Authority::new();
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\npart");
        peer.reset();
    });
    let front = SecureFront::start(&authority.issue("cut", &["api.test"]), &[], origin.address());
    let to = format!("https://{}", front.address());
    let server = TestServer::start(&text(&to, &ca(&authority, "")));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    match client.try_response() {
        Err(_) => {}
        Ok(response) => assert_eq!(response.status(), 502, "{response:?}"),
    }
}
