//! Requests that are sent again: which, how often, where to. What may have been handled never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::Upstream;
use testkit::h2raw::{Connection, data, frame, headers, reset};
use testkit::message_text::{Message, ok, response};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{code, flag, kind};

/// An address where nobody listens.
fn dead() -> String {
    testkit::origin::refused_address().to_string()
}

/// A proxy in front of endpoints, the first of which gets the first request.
fn before(endpoints: &[&str], edit: impl FnOnce(&mut Upstream)) -> TestServer {
    before_with(endpoints, "", edit)
}

/// The same; `more` stands in the site.
fn before_with(endpoints: &[&str], more: &str, edit: impl FnOnce(&mut Upstream)) -> TestServer {
    let text = format!(
        "upstream up {{\n to \"{}\"\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n {more}\n to up\n}}",
        endpoints.join("\" \"")
    );
    TestServer::start_with(&text, |upstream| {
        upstream.balance.algorithm = "round-robin".into();
        upstream.ejection = None;
        upstream.retry.budget = 100;
        edit(upstream);
    })
}

/// What the well endpoint has got.
type Got = Arc<Mutex<Vec<String>>>;

/// An endpoint that answers everything, and keeps `METHOD body`.
fn well() -> (Origin, Got) {
    let got = Got::default();
    let keeping = Arc::clone(&got);
    let origin = Origin::serving(move |request| {
        keeping.lock().unwrap().push(format!("{} {}", request.method(), request.text()));
        if request.method() == "HEAD" { "HTTP/1.1 200 OK\r\n\r\n".to_owned() } else { ok("well") }
    });
    (origin, got)
}

/// How an endpoint fails.
#[derive(Debug, Clone, Copy)]
enum Fails {
    Unreachable,
    /// It breaks off before it has read the body, or after.
    BehindTheHead,
    BehindAll,
    InTheResponse,
    Silent,
    With(u16),
    /// Over HTTP/2.
    Refusing,
    GoingAway,
    ResettingStreams,
    Closing,
}

/// An endpoint that fails, and how many requests it has got.
fn failing(fails: Fails) -> (Option<Origin>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let script = move |peer: &mut Peer| {
        let got = || counting.fetch_add(1, Ordering::SeqCst);
        match fails {
            Fails::Unreachable => {}
            Fails::BehindTheHead => {
                peer.head();
                got();
                peer.reset();
            }
            Fails::BehindAll => {
                peer.request();
                got();
                peer.reset();
            }
            Fails::InTheResponse => {
                peer.request();
                got();
                peer.send("HTTP/1.1 2");
                peer.reset();
            }
            Fails::Silent => {
                peer.request();
                got();
                let _ = peer.rest();
            }
            Fails::With(status) => {
                while peer.try_request().is_ok() {
                    got();
                    peer.send(response(status, "unwell"));
                }
            }
            Fails::Refusing | Fails::GoingAway | Fails::ResettingStreams | Fails::Closing => {
                let mut raw = Connection::server(peer, &[]);
                while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
                    let stream = head.head.stream;
                    raw.fields_of(&head);
                    got();
                    match fails {
                        Fails::Refusing => raw.send(reset(stream, code::REFUSED_STREAM)),
                        Fails::ResettingStreams => raw.send(reset(stream, code::INTERNAL_ERROR)),
                        Fails::GoingAway => {
                            raw.send(frame(kind::GOAWAY, 0, 0, [0; 8]));
                            let _ = raw.goodbye();
                            return;
                        }
                        _ => return raw.peer().reset(),
                    }
                }
            }
        }
    };
    let origin = match fails {
        Fails::Unreachable => None,
        _ => Some(Origin::start(move |peer, _| script(peer))),
    };
    (origin, count)
}

impl Fails {
    fn is_http2(self) -> bool {
        matches!(self, Self::Refusing | Self::GoingAway | Self::ResettingStreams | Self::Closing)
    }

    /// How long is waited for who is silent. For all others there is time: an endpoint that is well
    /// must not look silent on a busy machine.
    fn timeouts(self) -> &'static str {
        if matches!(self, Self::Silent) { "timeouts { first-byte \"300ms\"; }" } else { "" }
    }
}

/// An endpoint of HTTP/2 that answers everything, and keeps `METHOD body`.
fn well_http2() -> (Origin, Got) {
    let got = Got::default();
    let keeping = Arc::clone(&got);
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
            let stream = head.head.stream;
            let fields = raw.fields_of(&head);
            let method = testkit::h2raw::field(&fields, ":method").unwrap_or_default();
            let mut body = Vec::new();
            let mut ended = head.has(flag::END_STREAM);
            while !ended {
                let frame = raw.expect_kind(kind::DATA);
                body.extend_from_slice(&frame.payload);
                ended = frame.has(flag::END_STREAM);
            }
            let body = String::from_utf8(body).unwrap();
            keeping.lock().unwrap().push(format!("{method} {body}"));
            let end = if method == "HEAD" { flag::END_STREAM } else { 0 };
            raw.send(headers(end, stream, &[(":status", "200")]));
            if end == 0 {
                raw.send(data(flag::END_STREAM, stream, "well"));
            }
        }
    });
    (origin, got)
}

/// A request without a body; with one that is there at once; with one that comes in two chunks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    None,
    Whole,
    Chunked,
}

/// Sends a request to a proxy before an endpoint that fails and one that is well: the status that the
/// client sees, how often it was sent to the failing one, and what the other got.
#[track_caller]
fn observe(fails: Fails, method: &str, body: Body) -> (u16, usize, Vec<String>) {
    let (unwell, count) = failing(fails);
    let (well, got) = if fails.is_http2() { well_http2() } else { well() };
    let unwell = unwell.as_ref().map_or_else(dead, |origin| origin.address().to_string());
    let endpoints = [unwell.as_str(), &well.address().to_string()];
    let server = before_with(&endpoints, fails.timeouts(), |upstream| {
        upstream.retry.statuses = vec![503];
        if fails.is_http2() {
            upstream.protocol = config::UpstreamProtocol::H2c;
        }
    });
    let mut client = server.connect();
    match body {
        Body::None => client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")),
        Body::Whole => {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
        }
        Body::Chunked => {
            let head = "HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.send(format!("{method} / {head}2\r\nhe\r\n"));
            client.send("3\r\nllo\r\n0\r\n\r\n");
        }
    }
    let answer = client.response_to(method);
    if matches!(fails, Fails::Silent) {
        // The time may be over before its script has read what lies there.
        wait::until("the first try", || count.load(Ordering::SeqCst) > 0);
    }
    (answer.status(), count.load(Ordering::SeqCst), got.lock().unwrap().clone())
}

const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];
const OTHERS: [&str; 3] = ["POST", "PATCH", "BREW"];

#[test]
fn what_is_sent_again() {
    // RFC 9110, section 9.2.2
    #[track_caller]
    fn again(fails: Fails, methods: &[&str], body: Body) {
        for method in methods {
            let (status, tried, got) = observe(fails, method, body);
            assert_eq!(status, 200, "{method} {body:?} {fails:?}");
            let expected = if body == Body::None { "" } else { "hello" };
            assert_eq!(got, [format!("{method} {expected}")], "{method} {body:?} {fails:?}");
            let tries = if matches!(fails, Fails::Unreachable) { 0 } else { 1 };
            // The first connection was closed, and the endpoint asked once more over another.
            let more = usize::from(matches!(fails, Fails::GoingAway)) * 3;
            assert!((tries..=tries + more).contains(&tried), "{method} {fails:?}: {tried}");
        }
    }
    #[track_caller]
    fn once(fails: Fails, methods: &[&str], body: Body, status: u16) {
        for method in methods {
            let observed = observe(fails, method, body);
            assert_eq!(observed, (status, 1, Vec::new()), "{method} {body:?} {fails:?}");
        }
    }
    for body in [Body::None, Body::Whole, Body::Chunked] {
        again(Fails::Unreachable, &IDEMPOTENT, body);
        again(Fails::Unreachable, &OTHERS, body);
        again(Fails::BehindAll, &IDEMPOTENT, body);
        once(Fails::BehindAll, &OTHERS, body, 502);
        again(Fails::Silent, &["PUT"], body);
        once(Fails::Silent, &["POST"], body, 504);
        again(Fails::With(503), &["GET", "PUT"], body);
        once(Fails::With(503), &["POST"], body, 503);
        once(Fails::With(500), &["GET", "POST"], body, 500);
        once(Fails::InTheResponse, &["GET", "PUT", "POST"], body, 502);
        again(Fails::Refusing, &["GET", "PUT", "POST"], body);
        again(Fails::GoingAway, &["GET", "PUT", "POST"], body);
        again(Fails::ResettingStreams, &["GET", "PUT"], body);
        once(Fails::ResettingStreams, &OTHERS, body, 502);
        again(Fails::Closing, &["GET", "PUT"], body);
        once(Fails::Closing, &["POST"], body, 502);
    }
    for body in [Body::None, Body::Whole] {
        again(Fails::BehindTheHead, &IDEMPOTENT, body);
        once(Fails::BehindTheHead, &OTHERS, body, 502);
    }
}

#[test]
fn a_body_is_kept_up_to_its_bound() {
    const KEPT: usize = 10_000;
    for (length, status) in [(KEPT, 200), (KEPT + 1, 502)] {
        for chunked in [false, true] {
            let (unwell, _) = failing(Fails::BehindAll);
            let (well, got) = well();
            let unwell = unwell.unwrap();
            let endpoints = [unwell.address().to_string(), well.address().to_string()];
            let server = before(&[&endpoints[0], &endpoints[1]], |upstream| {
                upstream.retry.buffer = KEPT as u32;
            });
            let mut client = server.connect();
            let body = "x".repeat(length);
            // The end comes on its own, so that the body streams.
            let (start, end) = body.split_at(length / 2);
            if chunked {
                client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                for part in [start, end, ""] {
                    client.send(format!("{:x}\r\n{part}\r\n", part.len()));
                }
            } else {
                client
                    .send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
                unwell.wait_for_connections(1);
                client.send(start);
                client.send(end);
            }
            assert_eq!(client.response().status(), status, "{length} {chunked}");
            let expected: &[String] = &[format!("PUT {body}")];
            let expected = if status == 200 { expected } else { &[] };
            assert_eq!(*got.lock().unwrap(), expected);
        }
    }
}

#[test]
fn a_body_that_streams_over_http2_is_sent_again() {
    let (unwell, _) = failing(Fails::BehindAll);
    let (well, got) = well();
    let endpoints = [unwell.unwrap(), well];
    let addresses = endpoints.each_ref().map(|origin| origin.address().to_string());
    let server = before(&[&addresses[0], &addresses[1]], |_| {});
    let mut client = Connection::client(server.address(), &[]);
    let request = testkit::h2raw::request("PUT", "http", "a", "/");
    client.send(headers(0, 1, &request));
    client.send(data(0, 1, "hel"));
    endpoints[0].wait_for_connections(1);
    client.send(data(flag::END_STREAM, 1, "lo"));
    let response = client.message(1).unwrap();
    assert_eq!((response.status(), response.text()), (200, "well".to_owned()));
    assert_eq!(*got.lock().unwrap(), ["PUT hello"]);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_once() {
    let (unwell, _) = failing(Fails::BehindAll);
    let (well, got) = well();
    let endpoints = [unwell.unwrap(), well];
    let addresses = endpoints.each_ref().map(|origin| origin.address().to_string());
    let server = before(&[&addresses[0], &addresses[1]], |_| {});
    let mut client = server.connect();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    assert_eq!(client.response().status(), 200);
    assert_eq!(*got.lock().unwrap(), ["PUT hello"]);
}

#[track_caller]
fn get(client: &mut Peer) -> Message {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response()
}

#[test]
fn tries_are_bounded_and_other_endpoints_come_first() {
    #[track_caller]
    fn check(fails: Fails, endpoints: usize, tries: u8, status: u16, expected: &[usize]) {
        let unwell: Vec<_> = (0..endpoints).map(|_| failing(fails)).collect();
        let addresses: Vec<String> = unwell
            .iter()
            .map(|(origin, _)| origin.as_ref().unwrap().address().to_string())
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let server = before_with(&addresses, fails.timeouts(), |upstream| {
            upstream.retry.tries = tries;
            upstream.retry.statuses = vec![503];
        });
        assert_eq!(get(&mut server.connect()).status(), status, "{fails:?} {endpoints} {tries}");
        let counts = || unwell.iter().map(|(_, count)| count.load(Ordering::SeqCst));
        // Who is silent may read a request only when it is given up.
        wait::until("the tries", || counts().sum::<usize>() >= expected.iter().sum());
        let mut counts: Vec<usize> = counts().collect();
        counts.sort_unstable();
        assert_eq!(counts, expected, "{fails:?} {endpoints} {tries}");
    }
    check(Fails::BehindAll, 4, 3, 502, &[0, 1, 1, 1]);
    check(Fails::BehindAll, 2, 3, 502, &[1, 2]);
    check(Fails::BehindAll, 1, 3, 502, &[3]);
    check(Fails::BehindAll, 3, 1, 502, &[0, 0, 1]);
    check(Fails::With(503), 4, 3, 503, &[0, 1, 1, 1]);
    check(Fails::With(503), 1, 2, 503, &[2]);
    check(Fails::Silent, 3, 2, 504, &[0, 1, 1]);
    // Nobody is asked twice who was silent for so long.
    check(Fails::Silent, 1, 3, 504, &[1]);
}

#[test]
fn a_response_that_is_not_passed_on_leaves_its_connection_for_others() {
    let (unwell, count) = failing(Fails::With(503));
    let (well, _) = well();
    let unwell = unwell.unwrap();
    let addresses = [unwell.address().to_string(), well.address().to_string()];
    let server = before(&[&addresses[0], &addresses[1]], |upstream| {
        upstream.retry.statuses = vec![503];
    });
    let mut client = server.connect();
    (0..20).for_each(|_| assert_eq!(get(&mut client).text(), "well"));
    assert!(count.load(Ordering::SeqCst) >= 10, "{count:?}");
    assert_eq!(unwell.connections(), 1);
}

#[test]
fn endpoints_that_cannot_be_reached_cost_no_tries() {
    let dead: Vec<String> = (0..6).map(|_| dead()).collect();
    let (well, _) = well();
    let well = well.address().to_string();
    let mut endpoints: Vec<&str> = dead.iter().map(String::as_str).collect();
    endpoints.push(&well);
    let server = before(&endpoints, |upstream| upstream.retry.budget = 0);
    let mut client = server.connect();
    (0..14).for_each(|_| assert_eq!(get(&mut client).status(), 200));
    let server = before(&endpoints, |upstream| upstream.retry.tries = 1);
    let mut client = server.connect();
    let failed = (0..14).filter(|_| get(&mut client).status() == 502).count();
    assert_eq!(failed, 12, "nothing is tried again where that is off");
}

#[test]
fn the_time_of_the_exchange_bounds_all_tries() {
    let silent: Vec<_> = (0..3).map(|_| failing(Fails::Silent)).collect();
    let addresses: Vec<String> =
        silent.iter().map(|(origin, _)| origin.as_ref().unwrap().address().to_string()).collect();
    let text = format!(
        "upstream up {{\n to \"{}\"\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n \
         timeouts {{ first-byte \"300ms\"; request \"450ms\"; }}\n to up\n}}",
        addresses.join("\" \"")
    );
    let server = TestServer::start_with(&text, |upstream| upstream.retry.tries = 10);
    let answer = get(&mut server.connect());
    assert_eq!(answer.status(), 504);
    // On a busy machine the first try may have taken all the time. A third there never is.
    let tried: usize = silent.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum();
    assert!(tried < 3, "{tried}");
    wait::until("the count", || server.metric("bothways_errors_total", "request_timeout") == 1.0);
}

#[test]
fn a_try_has_a_time_of_its_own() {
    let (silent, _) = failing(Fails::Silent);
    let (well, _) = well();
    let silent = silent.unwrap();
    let addresses = [silent.address().to_string(), well.address().to_string()];
    let text = format!(
        "upstream up {{\n to \"{}\" \"{}\"\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        addresses[0], addresses[1]
    );
    let server = TestServer::start_with(&text, |upstream| {
        upstream.balance.algorithm = "round-robin".into();
        upstream.retry.try_timeout = Some(Duration::from_millis(500));
    });
    assert_eq!(get(&mut server.connect()).status(), 200);
    assert_eq!(silent.connections(), 1);
}
