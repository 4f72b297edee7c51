//! Bodies on their way: chunks, trailers, interim responses, early answers, back-pressure.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;

/// Bytes that show where they come from.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

#[track_caller]
fn assert_same(left: &[u8], right: &[u8]) {
    // Byte by byte takes seconds on a busy machine, time in which connections idle.
    if left == right {
        return;
    }
    let differ = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!((left.len(), differ), (right.len(), None), "length, and where they differ");
}

#[test]
fn chunks_are_made_anew() {
    // RFC 9112, section 7.1.1: extensions are not passed on.
    let origin = Origin::start(|peer, _| {
        let request = peer.request();
        assert_eq!(request.text(), "hello world");
        assert!(!request.has("Trailer"), "{request:?}");
        let names: Vec<&str> = request.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-Sum", "X_Sum"], "only harmless trailers pass");
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        peer.send("5;name=\"value\"\r\nhello\r\n0006  ;x\r\n world\r\n000;y\r\n");
        peer.send(
            "X-Sum: 2\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
        );
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         5;a=b\r\nhello\r\n6\r\n world\r\n0;c\r\n\
         X-Sum: 1\r\nAuthorization: x\r\nHost: b\r\nTransfer-Encoding: chunked\r\nX_Sum: 3\r\nContent_Length: 3\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.text(), "hello world");
    assert_eq!(response.trailers, [("X-Sum".to_owned(), "2".to_owned())]);
    let raw = origin.received();
    assert!(!raw.contains(';') || !raw.contains("a=b"), "{raw}");
}

#[test]
fn trailers_of_a_response_go_only_to_those_who_take_them() {
    // RFC 9110, section 6.5.1
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text(), response.trailers.len()), ("hi", 0));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    assert_eq!(client.response().trailers.len(), 1);
    assert!(origin.received().contains("\r\nTE: trailers\r\nConnection: TE\r\n"));
}

#[test]
fn whoever_expects_to_be_asked_for_the_body_is_asked() {
    // RFC 9110, section 10.1.1
    let origin = Origin::start(|peer, _| {
        let request = peer.request();
        assert!(!request.has("Expect"), "{request:?}");
        peer.send(ok(request.text()));
        let request = peer.request();
        peer.send(ok(request.text()));
        peer.expect_closed();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    // One who does not wait, and one of HTTP/1.0, are not asked.
    client.send(
        "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    );
    assert_eq!(client.response().status(), 200);
    drop(server);
}

#[test]
fn whoever_would_send_too_much_is_not_asked() {
    let origin = Origin::answering(ok("never"));
    let server = TestServer::reverse(origin.address(), "limits { body \"1KiB\"; }");
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.field("Connection")), (413, Some("close")));
    client.expect_closed();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn interim_responses_are_passed_on() {
    let origin = Origin::answering(
        "HTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: y\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    );
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let hints = client.response();
        assert_eq!((hints.status(), hints.field("Link")), (103, Some("</a>")));
        assert!(!hints.has("X-Hop") && !hints.has("Connection"), "{hints:?}");
        assert_eq!(client.response().field("Link"), Some("</b>"));
        assert_eq!(client.response().text(), "hi");
    }
    // RFC 9110, section 15.2: HTTP/1.0 knows none.
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn interim_responses_leave_at_once() {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        wait.lock().unwrap().recv().unwrap();
        peer.send(ok("hi"));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 103);
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "hi");
}

#[test]
fn an_event_arrives_before_the_next_one_is_sent() {
    #[track_caller]
    fn check(head: &'static str, coded: fn(&str) -> String) {
        let (go, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(head);
            while wait.lock().unwrap().recv().is_ok() {
                peer.send(coded("data: x\n\n"));
            }
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.head();
        for _ in 0..5 {
            go.send(()).unwrap();
            if response.is_chunked() {
                assert_eq!(client.chunk().unwrap(), b"data: x\n\n");
            } else {
                client.expect("data: x\n\n");
            }
        }
        drop(go);
    }
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk);
    check("HTTP/1.1 200 OK\r\n\r\n", str::to_owned);
    check("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", str::to_owned);
    // Long enough to go from socket to socket.
    check("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", str::to_owned);
}

#[test]
fn what_is_uploaded_arrives_before_more_is_sent() {
    #[track_caller]
    fn check(fields: &str, coded: fn(&str) -> String) {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let origin = Origin::start(move |peer, _| {
            let head = peer.head();
            tell.lock().unwrap().send(()).unwrap();
            for _ in 0..5 {
                if head.is_chunked() {
                    assert_eq!(peer.chunk().unwrap(), b"hello");
                } else {
                    peer.expect("hello");
                }
                tell.lock().unwrap().send(()).unwrap();
            }
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        // The head does not wait for the body either.
        told.recv_timeout(testkit::peer::DEADLINE).unwrap();
        for _ in 0..5 {
            client.send(coded("hello"));
            told.recv_timeout(testkit::peer::DEADLINE).unwrap();
        }
    }
    check("Transfer-Encoding: chunked", |text| format!("{:x}\r\n{text}\r\n", text.len()));
    check("Content-Length: 1000", str::to_owned);
    check("Content-Length: 1000000000", str::to_owned);
}

#[test]
fn both_directions_stream_at_once() {
    // An echo, piece by piece, within one exchange.
    let origin = Origin::start(|peer, _| {
        assert!(peer.head().is_chunked());
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        loop {
            let chunk = peer.chunk().unwrap();
            peer.send(format!("{:x}\r\n", chunk.len()));
            peer.send(chunk.iter().chain(b"\r\n").copied().collect::<Vec<u8>>());
            if chunk.is_empty() {
                peer.expect("\r\n");
                break;
            }
        }
        peer.request();
        peer.send(ok("next"));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.head().is_chunked());
    for piece in ["a", "bc", "def"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(client.chunk().unwrap(), piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert!(client.chunk().unwrap().is_empty());
    client.expect("\r\n");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "next");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_early_answer_while_the_client_still_sends() {
    let origin = Origin::start(|peer, _| {
        let head = peer.head();
        peer.send(ok("early"));
        // It takes the rest all the same.
        assert_eq!(peer.body_of(head).body.len(), 1_000_000);
        let _ = peer.try_request().map(|_| peer.send(ok("next")));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "early");
    // Whoever sends everything before looking at the answer is not broken off.
    client.send(noise(1_000_000));
    if response.has("Connection") {
        client.expect_closed();
    } else {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "next");
    }
}

#[test]
fn a_refusal_reaches_a_client_that_sends_everything_first() {
    // The origin reads nothing of the body and closes.
    for fields in ["Content-Length: 8000000", "Transfer-Encoding: chunked"] {
        let origin = Origin::start(|peer, _| {
            peer.head();
            peer.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
            peer.finish();
            // Closing with bytes unread would break the connection off and the answer with it.
            let _ = peer.rest();
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        let body = noise(8_000_000);
        if fields.contains("chunked") {
            for piece in body.chunks(100_000) {
                client.send(format!("{:x}\r\n", piece.len()));
                client.send(piece);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        } else {
            client.send(&body);
        }
        let response = client.response();
        assert_eq!((response.status(), response.text()), (403, "no"));
    }
}

#[test]
fn an_answer_of_an_origin_that_breaks_off_the_upload_is_passed_on() {
    let origin = Origin::start(|peer, _| {
        peer.head();
        peer.send(ok("enough"));
        // Unread bytes make this a reset, but the answer is on its way before.
        peer.read_exact(10);
        peer.close();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(noise(20));
    assert_eq!(client.response().text(), "enough");
}

#[test]
fn large_bodies_arrive_unchanged() {
    let body = noise(8 * 1024 * 1024 + 17);
    for (request_chunked, response_chunked) in [(false, false), (true, false), (false, true)] {
        let expected = body.clone();
        let origin = Origin::start(move |peer, _| {
            let request = peer.request();
            assert_same(&request.body, &expected);
            send_body(peer, "HTTP/1.1 200 OK\r\n", &request.body, response_chunked);
            let _ = peer.try_request().map(|_| peer.send(ok("next")));
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        send_body(&mut client, "PUT / HTTP/1.1\r\nHost: a\r\n", &body, request_chunked);
        let response = client.response();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "next");
        assert_same(&response.body, &body);
        assert_eq!(origin.connections(), 1);
    }
}

fn send_body(peer: &mut Peer, head: &str, body: &[u8], chunked: bool) {
    if !chunked {
        peer.send(format!("{head}Content-Length: {}\r\n\r\n", body.len()));
        return peer.send(body);
    }
    peer.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for (index, piece) in body.chunks(77_777).enumerate() {
        let (first, second) = piece.split_at(piece.len().min(index));
        for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
            peer.send(format!("{:X};i={index}\r\n", piece.len()));
            peer.send(piece);
            peer.send("\r\n");
        }
    }
    peer.send("0\r\n\r\n");
}

/// What may be on its way between two ends with a proxy in between: the buffers of four sockets,
/// which the kernel lets grow to several MiB each. What matters is that it ends.
const IN_FLIGHT_MAX: usize = 32 * 1024 * 1024;
const MORE_THAN_FITS: usize = 64 * 1024 * 1024;
const STALLED: Duration = Duration::from_millis(300);

#[test]
fn a_slow_reader_slows_the_origin_down() {
    for chunked in [false, true] {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let origin = Origin::start(move |peer, _| {
            peer.request();
            let mut body = vec![b'x'; MORE_THAN_FITS];
            if chunked {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                body.splice(0..0, format!("{MORE_THAN_FITS:x}\r\n").into_bytes());
                body.extend_from_slice(b"\r\n0\r\n\r\n");
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            }
            let sent = peer.send_until_blocked(&body, STALLED);
            tell.lock().unwrap().send(sent).unwrap();
            peer.send(&body[sent..]);
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = Peer::connect_narrow(server.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let sent = told.recv_timeout(testkit::peer::DEADLINE).unwrap();
        assert!(sent < IN_FLIGHT_MAX, "{sent} bytes went into the proxy, chunked: {chunked}");
        assert_eq!(client.response().body.len(), MORE_THAN_FITS);
    }
}

#[test]
fn a_slow_origin_slows_the_client_down() {
    for chunked in [false, true] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let origin = Origin::start(move |peer, _| {
            let head = peer.head();
            wait.lock().unwrap().recv().unwrap();
            let length = peer.body_of(head).body.len();
            peer.send(ok(&length.to_string()));
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        let mut body = vec![b'x'; MORE_THAN_FITS];
        let fields = if chunked {
            body.splice(0..0, format!("{MORE_THAN_FITS:x}\r\n").into_bytes());
            body.extend_from_slice(b"\r\n0\r\n\r\n");
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        let sent = client.send_until_blocked(&body, STALLED);
        assert!(sent < IN_FLIGHT_MAX, "{sent} bytes went into the proxy, chunked: {chunked}");
        go.send(()).unwrap();
        client.send(&body[sent..]);
        assert_eq!(client.response().text(), MORE_THAN_FITS.to_string());
    }
}

/// Runs an exchange up to a point, has the client leave, and measures until the origin sees it.
#[track_caller]
fn vanishing(request: &str, origin_sends: &'static str, client_leaves: fn(Peer)) {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.head();
        peer.send(origin_sends);
        tell.lock().unwrap().send(None).unwrap();
        let (_, ended) = peer.rest();
        tell.lock().unwrap().send(Some(ended)).unwrap();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(request);
    assert_eq!(told.recv_timeout(testkit::peer::DEADLINE).unwrap(), None);
    if !origin_sends.is_empty() {
        client.head();
    }
    let left = Instant::now();
    client_leaves(client);
    let ended = told.recv_timeout(Duration::from_secs(1));
    assert!(ended.is_ok(), "{request:?} {origin_sends:?}: nothing within {:?}", left.elapsed());
    server.wait_until_quiet();
}

#[test]
fn a_client_that_vanishes_takes_the_exchange_with_it() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello";
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nhello";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for request in [get, post, upload, chunked] {
        for origin_sends in ["", body, large, chunks] {
            vanishing(request, origin_sends, drop);
            vanishing(request, origin_sends, |mut client| client.reset());
        }
    }
}

#[test]
fn an_origin_that_dies_in_mid_body_leaves_no_complete_message() {
    #[track_caller]
    fn check(answer: &'static str, version: &str, dies: fn(&mut Peer)) {
        let (seen, go) = mpsc::channel::<()>();
        let go = std::sync::Mutex::new(go);
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(answer);
            // Only once it was seen, as a reset overtakes what has not been read.
            go.lock().unwrap().recv().unwrap();
            dies(peer);
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"));
        let head = client.head();
        if head.is_chunked() {
            client.expect("5\r\nhello\r\n")
        } else {
            client.expect("hello")
        }
        seen.send(()).unwrap();
        let (rest, ended) = client.rest();
        assert_eq!(ended, ConnectionEnd::Reset, "{answer:?} {version}");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{answer:?}: {rest:?}");
    }
    let exact = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello";
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let inside = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello";
    let last = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    for answer in [exact, large, chunked, inside, last] {
        for version in ["1.1", "1.0"] {
            check(answer, version, Peer::close);
            check(answer, version, Peer::reset);
        }
    }
    // What is malformed in mid-body ends in the same way.
    check(chunked, "1.1", |peer| peer.send("x\r\n"));
    check(chunked, "1.1", |peer| peer.send("0\r\r\n"));
    check(chunked, "1.0", |peer| peer.send("0\r\nX: y\r\n \r\n\r\n"));
}

#[test]
fn responses_that_are_malformed_become_502() {
    // What readers differ about (`origins` has what they read alike): nothing of it reaches the client.
    #[track_caller]
    fn check(answer: &'static str) {
        let origin = Origin::start(move |peer, number| {
            peer.request();
            if number > 0 {
                return peer.send(ok("fine"));
            }
            peer.send(answer);
            // It would take more, if the connection were used again.
            let again = peer.try_request();
            assert!(again.is_err(), "the connection was used again: {again:?}");
        });
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status(), 502, "{answer:?}: {response:?}");
        let status = response.field("Proxy-Status").unwrap_or_default();
        assert!(status.starts_with("bothways; error="), "{answer:?}: {status}");
        assert!(!response.has("X-Evil"), "{response:?}");
        // The client's own connection is in order.
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "fine", "{answer:?}");
    }
    check("nonsense\r\n\r\n");
    check("HTTP/1.1 200 OK\r\n X-Evil: y\r\n\r\n");
    check("HTTP/1.1 200 OK\r\nX-Evil: y\rz\r\n\r\n");
    check("HTTP/1.1 200 OK\r\nX-Evil: \x00\r\n\r\n");
    check("HTTP/1.1 20 OK\r\nX-Evil: y\r\n\r\n");
    check("HTTP/1.1 2000 OK\r\nX-Evil: y\r\n\r\n");
    check("http/1.1 200 OK\r\nX-Evil: y\r\nContent-Length: 0\r\n\r\n");
    check("HTTP/1.1 200 OK\r\nX-Evil: y\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello");
    check("HTTP/1.1 200 OK\r\nX-Evil: y\r\nContent-Length: +5\r\n\r\nhello");
    check(
        "HTTP/1.1 200 OK\r\nX-Evil: y\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    check("HTTP/1.1 200 OK\r\nX-Evil: y\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    check("HTTP/1.1 200 OK\r\nX-Evil: y\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n");
    check(
        "HTTP/1.1 101 Switching Protocols\r\nX-Evil: y\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    );
}

#[test]
fn an_answer_in_pieces_that_never_ends_its_head() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nX-Evil: y\r\n");
        peer.close();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 502);

    let endless = Origin::start(|peer, _| {
        peer.request();
        let _ = peer.try_send("HTTP/1.1 200 OK\r\n");
        while peer.try_send(format!("X: {}\r\n", "y".repeat(1000))).is_ok() {}
    });
    let server = TestServer::reverse(endless.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response: Message = client.response();
    assert_eq!(response.status(), 502);
    assert!(response.field("Proxy-Status").unwrap().contains("header_section_size"));
}

#[test]
fn interim_responses_without_an_end() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        while peer.try_send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok() {}
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut hints = 0;
    while client.response().status() == 103 {
        hints += 1;
        assert!(hints < 100_000, "there is a bound");
    }
}
