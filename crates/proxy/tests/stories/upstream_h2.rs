//! Endpoints that speak HTTP/2: streams over few connections, and what becomes of those refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use testkit::h2raw::{Connection, Fields, data, frame, headers, reset, window_update};
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;
use wire::http2::frame::{code, flag, kind, setting};

type Raw<'a> = Connection<&'a mut Peer>;

/// A proxy in front of an endpoint that speaks HTTP/2 in clear.
fn before(origin: &Origin, more: &str) -> TestServer {
    let address = origin.address();
    TestServer::start(&format!(
        "upstream up {{\n to \"{address}\"\n protocol h2c\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n {more}\n}}"
    ))
}

/// The next stream that begins, and its fields.
fn begun(raw: &mut Raw<'_>) -> Result<(u32, bool, Fields), ConnectionEnd> {
    let frame = raw.until(|frame| frame.head.kind == kind::HEADERS)?;
    let fields = raw.fields_of(&frame);
    Ok((frame.head.stream, frame.has(flag::END_STREAM), fields))
}

fn answer(raw: &mut Raw<'_>, stream: u32, text: &str) {
    raw.send(
        [
            headers(0, stream, &[(":status", "200"), ("content-type", "text/plain")]),
            data(flag::END_STREAM, stream, text),
        ]
        .concat(),
    );
}

/// An endpoint that answers each request with the path.
fn echoing(settings: &'static [(u16, u32)]) -> Origin {
    Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, settings);
        while let Ok((stream, _, fields)) = begun(&mut raw) {
            let path = testkit::h2raw::field(&fields, ":path").unwrap_or_default().to_owned();
            answer(&mut raw, stream, &path);
        }
    })
}

#[track_caller]
fn get(client: &mut Peer, path: &str) -> (u16, String) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let response = client.response();
    (response.status(), response.text().to_owned())
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn what_a_request_looks_like() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ended, fields) = begun(&mut raw).unwrap();
        assert!(ended, "nothing follows");
        let value = |name: &str| testkit::h2raw::field(&fields, name);
        assert_eq!(value(":method"), Some("GET"));
        assert_eq!(value(":scheme"), Some("http"));
        assert_eq!(value(":authority"), Some("shop.example"));
        assert_eq!(value(":path"), Some("/a?b=c"));
        assert_eq!(value("cookie"), Some("a=b; c=d"));
        assert_eq!(value("te"), Some("trailers"));
        assert_eq!(value("x-forwarded-for"), Some("127.0.0.1"));
        assert!(value("via").is_some_and(|via| via.ends_with("bothways")), "{fields:?}");
        for gone in ["host", "connection", "keep-alive", "x-hop", "upgrade", "transfer-encoding"] {
            assert_eq!(value(gone), None, "{gone}");
        }
        answer(&mut raw, stream, "good");
        let _ = raw.goodbye();
    });
    let server = before(&origin, "host preserve");
    let mut client = server.connect();
    client.send(
        "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nCookie: a=b; c=d\r\nTE: trailers\r\n\
         Connection: TE, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n",
    );
    let response = client.response();
    assert_eq!((response.status(), response.text()), (200, "good"));
}

#[test]
fn many_requests_share_a_connection() {
    const CLIENTS: usize = 20;
    // Nobody is answered before all have asked.
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let streams: Vec<u32> = (0..CLIENTS).map(|_| begun(&mut raw).unwrap().0).collect();
        streams.into_iter().rev().for_each(|stream| answer(&mut raw, stream, "all"));
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "all");
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(server.metric("bothways_upstream_connections_opened_total", ""), 1.0);
    assert_eq!(server.metric("bothways_upstream_streams_total", ""), CLIENTS as f64);
    testkit::wait::until("the end of all streams", || {
        server.metric("bothways_upstream_streams_open", "") == 0.0
    });
    server.wait_for_metric("bothways_upstream_connections_idle", "", 1.0);
}

#[test]
fn the_endpoints_limit_of_streams_is_kept() {
    const CLIENTS: usize = 8;
    let barrier = Arc::new(Barrier::new(CLIENTS / 2));
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[(setting::MAX_CONCURRENT_STREAMS, 2)]);
        let streams = [begun(&mut raw).unwrap().0, begun(&mut raw).unwrap().0];
        barrier.wait(); // the others have their streams elsewhere
        streams.into_iter().for_each(|stream| answer(&mut raw, stream, "two"));
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "two");
    }
    assert_eq!(origin.connections(), CLIENTS / 2);
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let message = raw.message(1).unwrap();
        assert_eq!(message.text(), "hello world");
        assert_eq!(message.trailers, [("x-sum".to_owned(), "11".to_owned())]);
        assert_eq!(message.field("content-length"), None);
        raw.send(
            [
                headers(0, 1, &[(":status", "103"), ("link", "</a.css>")]),
                headers(0, 1, &[(":status", "200")]),
                data(0, 1, "one"),
                data(0, 1, "two"),
                headers(flag::END_STREAM, 1, &[("grpc-status", "0")]),
            ]
            .concat(),
        );
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         6\r\nhello \r\n5\r\nworld\r\n0\r\nX-Sum: 11\r\n\r\n",
    );
    let hint = client.head();
    assert_eq!((hint.status(), hint.field("link")), (103, Some("</a.css>")));
    let response = client.response();
    assert_eq!((response.status(), response.text()), (200, "onetwo"));
    let trailers = response.trailers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    assert_eq!(trailers.collect::<Vec<_>>(), [("grpc-status", "0")]);
}

#[test]
fn responses_without_a_body() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        while let Ok((stream, _, fields)) = begun(&mut raw) {
            let head = match testkit::h2raw::field(&fields, ":path").unwrap() {
                "/head" => vec![(":status", "200"), ("content-length", "1000")],
                "/304" => vec![(":status", "304"), ("etag", "\"a\"")],
                "/204" => vec![(":status", "204")],
                _ => vec![(":status", "200")],
            };
            raw.send(headers(flag::END_STREAM, stream, &head));
        }
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    let mut check = |method: &str, path: &str, status: u16, length: Option<usize>| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response_to(method);
        assert_eq!((response.status(), response.length()), (status, length), "{path}");
    };
    check("HEAD", "/head", 200, Some(1000));
    check("GET", "/304", 304, None);
    check("GET", "/204", 204, None);
    check("GET", "/empty", 200, Some(0));
}

#[test]
fn a_body_whose_length_is_wrong_is_broken_off() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        raw.send(
            [
                headers(0, stream, &[(":status", "200"), ("content-length", "10")]),
                data(flag::END_STREAM, stream, "short"),
            ]
            .concat(),
        );
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    match client.try_response() {
        Err(_) => {}
        Ok(response) => assert_eq!(response.status(), 502, "{response:?}"),
    }
}

#[test]
fn a_request_that_goaway_leaves_out_goes_over_another_connection() {
    // A POST too: RFC 9113, section 6.8, says that nothing was done about it.
    let origin = Origin::start(|peer, number| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        if number == 0 {
            answer(&mut raw, stream, "first");
            begun(&mut raw).unwrap();
            let goaway = [stream.to_be_bytes(), 0u32.to_be_bytes()].concat();
            raw.send(frame(kind::GOAWAY, 0, 0, goaway));
        } else {
            let message = raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
            assert_eq!(message.payload, b"hello");
            answer(&mut raw, stream, "second");
        }
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/"), (200, "first".to_owned()));
    client.send(POST);
    let response = client.response();
    assert_eq!((response.status(), response.text()), (200, "second"));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_request_that_goaway_takes_is_answered_and_no_other_follows() {
    let origin = Origin::start(|peer, number| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        if number == 0 {
            let goaway = [stream.to_be_bytes(), 0u32.to_be_bytes()].concat();
            raw.send(frame(kind::GOAWAY, 0, 0, goaway));
            answer(&mut raw, stream, "taken");
            assert!(begun(&mut raw).is_err(), "nothing comes any more");
            return;
        }
        answer(&mut raw, stream, "later");
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/"), (200, "taken".to_owned()));
    assert_eq!(get(&mut client, "/"), (200, "later".to_owned()));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_refused_stream_is_tried_again_but_not_for_ever() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let origin = Origin::start(move |peer, number| {
        let mut raw = Connection::server(peer, &[]);
        while let Ok((stream, _, fields)) = begun(&mut raw) {
            let never = testkit::h2raw::field(&fields, ":path") == Some("/never");
            if number == 0 || never {
                counted.fetch_add(1, Ordering::SeqCst);
                raw.send(reset(stream, code::REFUSED_STREAM));
            } else {
                answer(&mut raw, stream, "taken");
            }
        }
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send(POST);
    assert_eq!(client.response().text(), "taken");
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    assert_eq!(get(&mut client, "/never").0, 502);
    assert!(refused.load(Ordering::SeqCst) <= 5, "{refused:?}");
}

#[test]
fn what_may_have_been_acted_on_is_not_sent_again() {
    #[track_caller]
    fn check(request: &'static str, ending: fn(&mut Raw<'_>, u32), status: u16) {
        let origin = Origin::start(move |peer, number| {
            let mut raw = Connection::server(peer, &[]);
            let (stream, ..) = begun(&mut raw).unwrap();
            if number > 0 {
                answer(&mut raw, stream, "again");
                let _ = raw.goodbye();
                return;
            }
            answer(&mut raw, stream, "first");
            let (stream, ..) = begun(&mut raw).unwrap();
            ending(&mut raw, stream);
        });
        let server = before(&origin, "");
        let mut client = server.connect();
        assert_eq!(get(&mut client, "/").0, 200);
        client.send(request);
        assert_eq!(client.response().status(), status, "{request:?}");
    }
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let cut: fn(&mut Raw<'_>, u32) = |raw, _| raw.peer().reset();
    check(GET, cut, 200);
    check(POST, cut, 502);
    let cancelled: fn(&mut Raw<'_>, u32) = |raw, stream| {
        raw.send(reset(stream, code::INTERNAL_ERROR));
        let _ = raw.goodbye();
    };
    check(POST, cancelled, 502);
}

#[test]
fn both_directions_at_once() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ended, _) = begun(&mut raw).unwrap();
        assert!(!ended);
        raw.send(headers(0, stream, &[(":status", "200")]));
        for _ in 0..5 {
            let said = raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
            raw.send(data(0, stream, said.payload));
        }
        raw.send(data(flag::END_STREAM, stream, ""));
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status(), 200);
    for word in ["one", "two", "three", "four", "five"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.chunk().unwrap(), word.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), b"");
}

#[test]
fn a_client_that_leaves_cancels_its_stream_alone() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        tell.lock().unwrap().send(None).unwrap();
        let cancelled = raw.expect_kind(kind::RST_STREAM);
        assert_eq!(cancelled.head.stream, stream);
        tell.lock().unwrap().send(cancelled.code()).unwrap();
        let (stream, ..) = begun(&mut raw).unwrap();
        answer(&mut raw, stream, "goes on");
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(told.recv().unwrap(), None);
    client.close();
    assert_eq!(told.recv().unwrap(), Some(code::CANCEL));
    let mut other = server.connect();
    assert_eq!(get(&mut other, "/"), (200, "goes on".to_owned()));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_upload_waits_for_the_endpoints_window() {
    const BYTES: usize = 300_000;
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        let mut got = 0;
        while got < 65_535 {
            let frame = raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
            got += frame.payload.len();
        }
        // RFC 9113, section 6.9.2: no byte more before it is allowed.
        assert_eq!(got, 65_535);
        raw.round_trip().unwrap();
        assert!(raw.passed().iter().all(|frame| frame.head.kind != kind::DATA));
        raw.send([window_update(0, 1 << 20), window_update(stream, 1 << 20)].concat());
        while got < BYTES {
            got += raw.until(|frame| frame.head.kind == kind::DATA).unwrap().payload.len();
        }
        answer(&mut raw, stream, "whole");
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"));
    client.send(vec![b'x'; BYTES]);
    assert_eq!(client.response().text(), "whole");
}

#[test]
fn an_endpoint_that_stops_taking_is_given_up() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        begun(&mut raw).unwrap();
        let _ = raw.goodbye(); // no window is opened
    });
    let server = before(&origin, "timeouts { stream-idle \"300ms\"; first-byte \"300ms\"; }");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.response().status(), 504);
}

#[test]
fn an_endpoint_that_never_tells_its_settings_is_given_up() {
    let origin = Origin::start(|peer, _| {
        let _ = peer.rest();
    });
    let server = before(&origin, "timeouts { connect \"300ms\"; }");
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/").0, 504);
}

#[test]
fn an_endpoint_that_speaks_http1_is_told_by_words() {
    let origin = Origin::answering(testkit::message_text::ok("hello"));
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 502);
    let status = response.field("Proxy-Status").unwrap();
    assert!(status.contains("error=http_protocol_error"), "{status}");
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn a_websocket_becomes_extended_connect() {
    // RFC 8441, section 5.1
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[(setting::ENABLE_CONNECT_PROTOCOL, 1)]);
        let (stream, ended, fields) = begun(&mut raw).unwrap();
        assert!(!ended);
        let value = |name: &str| testkit::h2raw::field(&fields, name);
        assert_eq!(value(":method"), Some("CONNECT"));
        assert_eq!(value(":protocol"), Some("websocket"));
        assert_eq!(value(":path"), Some("/chat"));
        assert_eq!(value("sec-websocket-version"), Some("13"));
        assert_eq!(value("sec-websocket-key"), None);
        assert_eq!(value("upgrade"), None);
        raw.send(headers(0, stream, &[(":status", "200")]));
        raw.send(data(0, stream, "first from the origin"));
        let said = raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
        assert_eq!(said.payload, b"ping");
        raw.send(data(flag::END_STREAM, stream, "pong"));
        while !raw.until(|frame| frame.head.kind == kind::DATA).unwrap().has(flag::END_STREAM) {}
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send(HANDSHAKE);
    let response = client.head();
    assert_eq!(response.status(), 101, "{response:?}");
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.expect("first from the origin");
    client.send("ping");
    client.expect("pong");
    client.finish();
    client.expect_closed();
    server.wait_until_quiet();
}

#[test]
fn a_websocket_that_the_endpoint_does_not_take() {
    let origin = echoing(&[]);
    let server = before(&origin, "");
    let mut client = server.connect();
    client.send(HANDSHAKE);
    let response = client.response();
    assert_eq!(response.status(), 502);
    let status = response.field("Proxy-Status").unwrap();
    assert!(status.contains("error=http_upgrade_failed"), "{status}");
    // The connection is as good as before.
    assert_eq!(get(&mut client, "/still"), (200, "/still".to_owned()));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn connections_outlive_a_reload_and_idle_ones_are_closed() {
    let origin = echoing(&[]);
    let server = before(&origin, "");
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/a").0, 200);
    let text = |idle: &str| {
        format!(
            "upstream up {{\n to \"{}\"\n protocol h2c\n timeouts {{ upstream-idle \"{idle}\"; }}\n}}\n\
             site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
            origin.address()
        )
    };
    server.reload(&text("1h")).unwrap();
    assert_eq!(get(&mut client, "/b").0, 200);
    assert_eq!(origin.connections(), 1);
    // (On a busy machine so short a time may be over before the next request.)
    server.reload(&text("100ms")).unwrap();
    assert_eq!(get(&mut client, "/c").0, 200);
    testkit::wait::until("the end of an idle connection", || {
        server.metric("bothways_upstream_connections_open", "") == 0.0
    });
    let connections = origin.connections();
    assert_eq!(get(&mut client, "/d").0, 200);
    assert_eq!(origin.connections(), connections + 1);
}

/// A client that speaks HTTP/2 in clear.
fn h2_client(server: &TestServer) -> Connection {
    Connection::client(server.address(), &[])
}

/// What a gRPC client sends at first.
fn call(client: &mut Connection, stream: u32, flags: u8) {
    let request = testkit::h2raw::request("POST", "http", "a", "/pkg.Service/Call");
    let more = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")];
    let fields: Vec<_> = request.into_iter().chain(more).collect();
    client.send(headers(flags, stream, &fields));
}

#[test]
fn a_call_that_fails_at_once_is_a_head_alone() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, _, fields) = begun(&mut raw).unwrap();
        let value = |name: &str| testkit::h2raw::field(&fields, name);
        assert_eq!(value("te"), Some("trailers"));
        let left = value("grpc-timeout").and_then(|left| left.strip_suffix('u')?.parse().ok());
        assert!(left.is_some_and(|left: u32| (1..5_000_000).contains(&left)), "{left:?}");
        assert_eq!(value("content-length"), None);
        let head = [(":status", "200"), ("grpc-status", "5"), ("grpc-message", "no such thing")];
        raw.send(headers(flag::END_STREAM, stream, &head));
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = h2_client(&server);
    call(&mut client, 1, 0);
    client.send(data(0, 1, "request"));
    let head = client.expect_kind(kind::HEADERS);
    assert!(head.has(flag::END_STREAM), "nothing follows: {head:?}");
    let fields = client.fields_of(&head);
    assert_eq!(testkit::h2raw::field(&fields, "grpc-status"), Some("5"));
    assert_eq!(testkit::h2raw::field(&fields, "content-length"), None);
}

#[test]
fn calls_stream_both_ways_with_trailers() {
    let origin = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        raw.send(headers(0, stream, &[(":status", "200"), ("content-type", "application/grpc")]));
        loop {
            let said = raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
            if said.has(flag::END_STREAM) {
                break;
            }
            raw.send(data(0, stream, said.payload));
        }
        raw.send(headers(flag::END_STREAM, stream, &[("grpc-status", "0")]));
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = h2_client(&server);
    call(&mut client, 1, 0);
    for word in ["one", "two", "three"] {
        client.send(data(0, 1, word));
        let echo = client.expect_kind(kind::DATA);
        assert_eq!(echo.payload, word.as_bytes());
    }
    client.send(data(flag::END_STREAM, 1, ""));
    let trailers = client.expect_kind(kind::HEADERS);
    assert!(trailers.has(flag::END_STREAM));
    assert_eq!(client.fields_of(&trailers), [("grpc-status".to_owned(), "0".to_owned())]);
}

#[test]
fn what_a_client_cancels_is_cancelled_at_the_endpoint() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let (stream, ..) = begun(&mut raw).unwrap();
        raw.send(headers(0, stream, &[(":status", "200")]));
        let cancelled = raw.expect_kind(kind::RST_STREAM);
        tell.lock().unwrap().send((cancelled.head.stream == stream, cancelled.code())).unwrap();
        let _ = raw.goodbye();
    });
    let server = before(&origin, "");
    let mut client = h2_client(&server);
    call(&mut client, 1, 0);
    client.expect_kind(kind::HEADERS);
    client.send(reset(1, code::CANCEL));
    assert_eq!(told.recv().unwrap(), (true, Some(code::CANCEL)));
    client.round_trip().expect("the client's connection goes on");
}

#[test]
fn why_an_endpoint_breaks_off_is_passed_on_where_it_means_the_same() {
    for (said, heard) in [
        (code::CANCEL, code::CANCEL),
        (code::ENHANCE_YOUR_CALM, code::ENHANCE_YOUR_CALM),
        (code::INTERNAL_ERROR, code::INTERNAL_ERROR),
        (code::PROTOCOL_ERROR, code::INTERNAL_ERROR),
        (code::REFUSED_STREAM, code::INTERNAL_ERROR), // something was done about it
    ] {
        let origin = Origin::start(move |peer, _| {
            let mut raw = Connection::server(peer, &[]);
            let (stream, ..) = begun(&mut raw).unwrap();
            raw.send([headers(0, stream, &[(":status", "200")]), data(0, stream, "x")].concat());
            raw.until(|frame| frame.head.kind == kind::DATA).unwrap();
            raw.send(reset(stream, said));
            let _ = raw.goodbye();
        });
        let server = before(&origin, "");
        let mut client = h2_client(&server);
        call(&mut client, 1, 0);
        client.expect_kind(kind::DATA);
        client.send(data(0, 1, "go on"));
        assert_eq!(client.expect_kind(kind::RST_STREAM).code(), Some(heard), "{said}");
    }
}

#[test]
fn a_websocket_goes_from_http2_to_http1() {
    // RFC 8441: the client has no key, the endpoint must prove one all the same.
    for proves in [true, false] {
        let origin = Origin::start(move |peer, _| {
            let request = peer.request();
            assert_eq!(request.field("Upgrade"), Some("websocket"));
            let key = request.field("Sec-WebSocket-Key").expect("a key of ours").to_owned();
            assert_eq!(key.len(), 24);
            // The answer to the key of RFC 6455 proves nothing for another.
            let proof = if proves { accept(&key) } else { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into() };
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: {proof}\r\n\r\nhello"
            ));
            if proves {
                peer.expect("ping");
                peer.send("pong");
            }
            peer.expect_closed();
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = h2_client(&server);
        let request = testkit::h2raw::request("CONNECT", "http", "a", "/chat");
        let more = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
        let fields: Vec<_> = request.into_iter().chain(more).collect();
        client.send(headers(0, 1, &fields));
        let head = client.expect_kind(kind::HEADERS);
        let fields = client.fields_of(&head);
        let status = testkit::h2raw::field(&fields, ":status");
        if !proves {
            assert_eq!(status, Some("502"));
            continue;
        }
        assert_eq!(status, Some("200"));
        assert_eq!(testkit::h2raw::field(&fields, "sec-websocket-accept"), None);
        assert_eq!(client.expect_kind(kind::DATA).payload, b"hello");
        client.send(data(0, 1, "ping"));
        assert_eq!(client.expect_kind(kind::DATA).payload, b"pong");
        client.send(data(flag::END_STREAM, 1, ""));
        // The endpoint has seen the end and has ended too: going away earlier would break the stream off.
        assert!(client.expect_kind(kind::DATA).head.flags & flag::END_STREAM != 0);
    }
}

/// RFC 6455, section 4.2.2, by another library than ours.
fn accept(key: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let bits: String = digest.as_ref().iter().map(|byte| format!("{byte:08b}")).collect();
    let letters: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let sextets = bits.as_bytes().chunks(6).map(|bits| {
        let bits = format!("{:0<6}", str::from_utf8(bits).unwrap());
        letters[usize::from_str_radix(&bits, 2).unwrap()]
    });
    sextets.chain(['=']).collect()
}
