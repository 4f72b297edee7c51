//! Clients of HTTP/2: streams as exchanges, with origins that speak HTTP/1.1.
//!
//! Not here: the rules of the protocol, smuggling, floods (`tests/http2`), HTTP/2 towards upstreams.

use std::sync::mpsc;

use testkit::h2raw::{Connection, Failure, data, headers, request, reset};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;
use wire::http2::frame::{PREFACE, code, flag, kind};

const POST: [(&str, &str); 4] = request("POST", "http", "a", "/");

fn client(server: &TestServer) -> Connection {
    Connection::client(server.address(), &[])
}

#[test]
fn requests_share_a_connection_and_wait_for_nobody() {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |peer, _| {
        while let Ok(request) = peer.try_request() {
            if request.start.contains("/slow") {
                wait.lock().unwrap().recv().unwrap();
            }
            peer.send(ok(request.start.split(' ').nth(1).unwrap()));
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.get(1, "/slow");
    for stream in (3..41).step_by(2) {
        client.get(stream, &format!("/{stream}"));
        let response = client.message(stream).unwrap();
        assert_eq!((response.status(), response.text()), (200, format!("/{stream}")));
    }
    go.send(()).unwrap();
    assert_eq!(client.message(1).unwrap().text(), "/slow");
    server.wait_for_metric("bothways_requests_total", "2xx", 20.0);
}

#[test]
fn the_request_that_an_origin_sees() {
    let origin = Origin::answering(ok("seen"));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    let mut fields = request("GET", "https", "Shop.example:80", "/a/../b?c=d").to_vec();
    // RFC 9113, section 8.2.3: crumbs of a cookie become one field.
    fields.extend([("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2"), ("te", "trailers")]);
    fields.extend([("x_two", "2"), ("x_real_ip", "3")]);
    client.send(headers(flag::END_STREAM, 1, &fields));
    assert_eq!(client.message(1).unwrap().text(), "seen");
    let head = origin.received();
    assert!(head.starts_with("GET /b?c=d HTTP/1.1\r\nHost: Shop.example:80\r\n"), "{head}");
    assert!(
        head.contains("\r\nx-one: 1\r\n") && head.contains("\r\nCookie: a=1; b=2\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nTE: trailers\r\nConnection: TE\r\n"), "{head}");
    assert!(head.contains("\r\nX-Forwarded-Proto: http\r\n"), "our own connection counts: {head}");
    assert!(head.contains("\r\nVia: 2.0 bothways\r\n"), "{head}");
    assert!(head.contains("\r\nx_two: 2\r\n") && !head.contains("x_real_ip"), "{head}");
}

#[test]
fn bodies_in_both_directions_at_once() {
    let origin = Origin::start(|peer, _| {
        let head = peer.head();
        assert!(head.is_chunked(), "{head:?}");
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Ok(chunk) = peer.chunk() {
            if chunk.is_empty() {
                break;
            }
            peer.send(format!("{:x}\r\n", chunk.len() + 1));
            peer.send([b">", chunk.as_slice(), b"\r\n"].concat());
        }
        peer.send("0\r\nX-Sum: 7\r\nContent-Length: 7\r\n\r\n");
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.send(headers(0, 1, &POST));
    for word in ["one", "two", "three"] {
        client.send(data(0, 1, word));
        let answer = client.until(|frame| frame.head.kind == kind::DATA).unwrap();
        assert_eq!(answer.payload, format!(">{word}").as_bytes());
    }
    client.send(data(flag::END_STREAM, 1, ""));
    let end = client.message(1).unwrap();
    assert_eq!(end.fields, [("x-sum".to_owned(), "7".to_owned())], "trailers, and no framing");
}

#[test]
fn a_large_body_goes_as_fast_as_the_client_opens_its_window() {
    const LENGTH: usize = 3 << 20;
    let origin = Origin::answering(ok("x".repeat(LENGTH).as_str()));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.get(1, "/");
    let response = client.message(1).unwrap();
    assert_eq!(response.content.len(), LENGTH);
    assert_eq!(response.field("content-length"), Some(LENGTH.to_string().as_str()));
}

#[test]
fn interim_responses_and_heads_without_content() {
    let origin = Origin::start(|peer, _| {
        while let Ok(request) = peer.try_request() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            match request.start.split(' ').next() {
                Some("HEAD") => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
                _ => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
            }
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.send(headers(flag::END_STREAM, 1, &request("HEAD", "http", "a", "/")));
    let hints = client.expect_kind(kind::HEADERS);
    let hints = client.fields_of(&hints);
    assert_eq!(
        hints,
        [(":status", "103"), ("link", "</a.css>")].map(|(n, v)| (n.into(), v.into()))
    );
    let response = client.message(1).unwrap();
    assert_eq!((response.status(), response.field("content-length")), (200, Some("1000")));
    client.get(3, "/");
    assert_eq!(client.message(3).unwrap().status(), 204);
}

#[test]
fn a_client_that_loses_interest_ends_the_request_upstream() {
    let (left, has_left) = mpsc::channel();
    let (asked, is_asked) = mpsc::channel();
    let origin = Origin::start(move |peer, number| {
        peer.request();
        if number == 0 {
            asked.send(()).unwrap();
            left.send(peer.ended()).unwrap();
        } else {
            peer.send(ok("next"));
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.get(1, "/");
    is_asked.recv().unwrap();
    client.send(reset(1, code::CANCEL));
    assert!(matches!(has_left.recv().unwrap(), ConnectionEnd::Closed | ConnectionEnd::Reset));
    client.get(3, "/");
    assert_eq!(client.message(3).unwrap().text(), "next", "the connection goes on");
}

#[test]
fn a_response_that_is_cut_short_ends_as_a_reset() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive");
        peer.close();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.get(1, "/");
    assert_eq!(client.message(1), Err(Failure::Reset(code::INTERNAL_ERROR)));
}

#[test]
fn a_body_of_another_length_than_promised_does_not_go_upstream_as_whole() {
    // RFC 9113, section 8.1.1
    for (sent, end) in [("four", flag::END_STREAM), ("sixsix", flag::END_STREAM)] {
        let (asked, is_asked) = mpsc::channel();
        let (told, tell) = mpsc::channel();
        let origin = Origin::start(move |peer, _| {
            peer.head();
            asked.send(()).unwrap();
            told.send(peer.rest()).unwrap();
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = client(&server);
        let mut fields = POST.to_vec();
        fields.push(("content-length", "5"));
        client.send(headers(0, 1, &fields));
        is_asked.recv().unwrap();
        client.send(data(end, 1, sent));
        assert_eq!(client.message(1), Err(Failure::Reset(code::PROTOCOL_ERROR)));
        let (body, ended) = tell.recv().unwrap();
        assert!(body.len() < 5, "{body:?}");
        assert!(matches!(ended, ConnectionEnd::Closed | ConnectionEnd::Reset));
    }
}

#[test]
fn web_sockets_take_a_stream() {
    // RFC 8441
    let origin = Origin::start(|peer, index| {
        let request = peer.request();
        if index > 0 {
            return peer.send(ok("the next"));
        }
        assert!(request.start.starts_with("GET /chat HTTP/1.1"), "{request:?}");
        assert_eq!(request.field("Upgrade"), Some("websocket"));
        assert_eq!(request.field("Sec-WebSocket-Version"), Some("13"));
        assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello",
        );
        peer.expect("ping");
        peer.send("pong");
        peer.expect_closed();
        peer.send("last words");
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    let mut fields = request("CONNECT", "http", "a", "/chat").to_vec();
    fields.extend([(":protocol", "websocket"), ("sec-websocket-version", "13")]);
    // RFC 8441, section 5, knows no key; one that is there proves that the answer belongs to it.
    fields.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
    client.send(headers(0, 1, &fields));
    let head = client.expect_kind(kind::HEADERS);
    let settings: Vec<_> = client.passed().iter().flat_map(|frame| frame.settings()).collect();
    assert!(settings.contains(&(8, 1)), "SETTINGS_ENABLE_CONNECT_PROTOCOL: {settings:?}");
    let fields = client.fields_of(&head);
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
    assert!(names.contains(&"sec-websocket-protocol"), "{names:?}");
    assert!(!names.contains(&"sec-websocket-accept") && !names.contains(&"upgrade"), "{names:?}");
    let first = client.expect_kind(kind::DATA);
    assert_eq!(first.payload, b"hello");
    client.send(data(0, 1, "ping"));
    assert_eq!(client.expect_kind(kind::DATA).payload, b"pong");
    client.send(data(flag::END_STREAM, 1, ""));
    let mut rest = Vec::new();
    loop {
        let frame = client.expect_kind(kind::DATA);
        rest.extend_from_slice(&frame.payload);
        if frame.has(flag::END_STREAM) {
            break;
        }
    }
    assert_eq!(rest, b"last words");
    // The connection goes on.
    client.get(3, "/x");
    client.expect_kind(kind::HEADERS);
    assert_eq!(client.expect_kind(kind::DATA).payload, b"the next");
    drop(client);
    server.wait_until_quiet();
    assert_eq!(server.metric("bothways_tunnels_total", ""), 1.0);
}

#[test]
fn a_success_without_an_upgrade_opens_no_web_socket() {
    // RFC 8441, section 5: 2xx opens it.
    let origin = Origin::answering(ok("a page"));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    let mut fields = request("CONNECT", "http", "a", "/chat").to_vec();
    fields.extend([(":protocol", "websocket"), ("sec-websocket-version", "13")]);
    client.send(headers(0, 1, &fields));
    let head = client.expect_kind(kind::HEADERS);
    assert_eq!(client.fields_of(&head)[0], (":status".to_owned(), "502".to_owned()));
}

#[test]
fn connect_is_a_tunnel_on_a_stream() {
    // RFC 9113, section 8.5
    let origin = Origin::start(|peer, _| {
        peer.expect("hello");
        peer.send("hello yourself");
        peer.expect_closed();
    });
    let server = TestServer::forward(&format!("allow to=\"127.0.0.1\" port={}", origin.port()));
    let mut client = client(&server);
    let authority = origin.address().to_string();
    let fields = [(":method", "CONNECT"), (":authority", authority.as_str())];
    client.send(headers(0, 1, &fields));
    let head = client.expect_kind(kind::HEADERS);
    assert_eq!(client.fields_of(&head)[0], (":status".to_owned(), "200".to_owned()));
    client.send(data(0, 1, "hello"));
    assert_eq!(client.expect_kind(kind::DATA).payload, b"hello yourself");
    client.send(data(flag::END_STREAM, 1, ""));
    assert!(client.expect_kind(kind::DATA).has(flag::END_STREAM));
    // A request for a whole URI, on the same connection.
    let other = Origin::answering(ok("plain"));
    let authority = other.address().to_string();
    let refused = request("GET", "http", &authority, "/");
    client.send(headers(flag::END_STREAM, 3, &refused));
    assert_eq!(client.message(3).unwrap().status(), 403);
}

#[test]
fn a_forward_client_names_the_destination_by_pseudo_fields() {
    let origin = Origin::answering(ok("there"));
    let server = TestServer::forward(&format!("allow to=\"127.0.0.1\" port={}", origin.port()));
    let mut client = client(&server);
    let authority = origin.address().to_string();
    client.send(headers(flag::END_STREAM, 1, &request("GET", "http", &authority, "/a?b")));
    assert_eq!(client.message(1).unwrap().text(), "there");
    assert!(origin.received().starts_with(&format!("GET /a?b HTTP/1.1\r\nHost: {authority}\r\n")));
}

#[test]
fn a_drain_lets_streams_end_and_takes_no_new_ones() {
    let (go, wait) = mpsc::channel();
    let (asked, is_asked) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        asked.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        peer.send(ok("to the end"));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = client(&server);
    client.get(1, "/");
    is_asked.recv().unwrap();
    server.server().begin_drain();
    let goodbye = client.expect_kind(kind::GOAWAY);
    assert_eq!(goodbye.code(), Some(code::NO_ERROR));
    go.send(()).unwrap();
    assert_eq!(client.message(1).unwrap().text(), "to the end");
    let (goodbye, ended) = client.goodbye();
    assert!(goodbye.as_ref().is_none_or(|(code, _)| *code == code::NO_ERROR), "{goodbye:?}");
    assert!(matches!(ended, ConnectionEnd::Closed), "{ended:?}");
}

#[test]
fn a_connection_that_has_carried_its_requests_is_told_to_end() {
    let origin = Origin::serving(|request| ok(request.target()));
    let server = TestServer::start(&format!(
        "limits {{ requests-per-connection 2; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = client(&server);
    client.get(1, "/1");
    assert_eq!(client.message(1).unwrap().text(), "/1");
    client.get(3, "/2");
    assert_eq!(client.message(3).unwrap().text(), "/2");
    let (goodbye, ended) = client.goodbye();
    assert!(goodbye.as_ref().is_none_or(|(code, _)| *code == code::NO_ERROR), "{goodbye:?}");
    assert!(matches!(ended, ConnectionEnd::Closed), "{ended:?}");
}

#[test]
fn an_idle_connection_is_told_before_it_is_closed() {
    let origin = Origin::answering(ok("once"));
    let server = TestServer::start(&format!(
        "timeouts {{ client-idle \"600ms\" }}\nsite \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" }}",
        origin.address()
    ));
    let mut client = client(&server);
    client.get(1, "/");
    assert_eq!(client.message(1).unwrap().text(), "once");
    let (goodbye, ended) = client.goodbye();
    assert_eq!(goodbye.map(|(code, _)| code), Some(code::NO_ERROR));
    assert!(matches!(ended, ConnectionEnd::Closed), "{ended:?}");
}

#[test]
fn switched_off_it_is_refused() {
    let origin = Origin::answering(ok("no"));
    let server = TestServer::start(&format!(
        "listen \"127.0.0.1:0\" {{ http2 off }}\nsite \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" }}",
        origin.address()
    ));
    let mut peer = Peer::connect(server.address());
    peer.send(PREFACE);
    assert_eq!(peer.response().status(), 400);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_preface_counts_at_the_start_of_a_connection_only() {
    let origin = Origin::answering(ok("first"));
    let server = TestServer::reverse(origin.address(), "");
    let mut peer = server.connect();
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(peer.response().text(), "first");
    peer.send(PREFACE);
    assert_eq!(peer.response().status(), 400);
}
