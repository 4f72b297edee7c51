//! How long an exchange may take in all, and how endpoints are told.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use testkit::h2raw::{Connection, Fields, data, field, headers};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{DEADLINE, Peer};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{flag, kind};

#[test]
fn endpoints_are_told_what_is_left() {
    #[track_caller]
    fn check(request: &str, fields: &str, expected: impl Fn(Option<u64>) -> bool) {
        let origin = Origin::serving(|request| ok(request.field("Request-Timeout").unwrap_or("-")));
        let text = format!(
            "site \"*\" {{\n listen \"127.0.0.1:0\"\n timeouts {{ {request} }}\n to \"{}\"\n}}",
            origin.address()
        );
        let server = TestServer::start_with(&text, |upstream| {
            upstream.deadline.field = Some("Request-Timeout".into());
        });
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let told = client.response().text().to_owned();
        assert!(expected(told.parse().ok()), "{request} {fields:?}: {told}");
    }
    check("request \"10s\"", "", |left| left.is_some_and(|left| (1..=10_000).contains(&left)));
    // A caller that has less time has the last word, one that has more has not.
    check("request \"10s\"", "request-timeout: 70\r\n", |left| left == Some(70));
    check("request \"10s\"", "request-timeout: 90000\r\n", |left| left < Some(10_001));
    check("", "request-timeout: 70\r\n", |left| left == Some(70));
    check("", "", |left| left.is_none());
}

/// A proxy before an endpoint of HTTP/2.
fn before(origins: &[&Origin], more: &str) -> TestServer {
    let addresses: Vec<String> = origins.iter().map(|o| o.address().to_string()).collect();
    let text = format!(
        "upstream up {{\n to \"{}\"\n protocol h2c\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n {more}\n}}",
        addresses.join("\" \"")
    );
    TestServer::start_with(&text, |up| up.balance.algorithm = "round-robin".into())
}

fn call(client: &mut Connection, timeout: &str) {
    let request = testkit::h2raw::request("POST", "http", "a", "/pkg.Service/Call");
    let more =
        [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", timeout)];
    let fields: Vec<_> = request.into_iter().chain(more).collect();
    client.send(headers(0, 1, &fields));
    client.send(data(flag::END_STREAM, 1, "call"));
}

/// An endpoint that says nothing, and tells what it was asked.
fn silent() -> (Origin, mpsc::Receiver<Fields>) {
    let (tell, told) = mpsc::channel();
    let tell = Arc::new(Mutex::new(tell));
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
            let fields = raw.fields_of(&head);
            tell.lock().unwrap().send(fields).unwrap();
        }
    });
    (origin, told)
}

#[test]
fn a_call_whose_time_is_over_is_told_so() {
    // The client's time counts if it is the shorter; ours, if that is.
    for (asked, ours) in [("1S", ""), ("1H", "timeouts { request \"1s\"; }")] {
        let (origin, told) = silent();
        let server = before(&[&origin], ours);
        let mut client = Connection::client(server.address(), &[]);
        call(&mut client, asked);
        let left = told.recv_timeout(DEADLINE).expect("a call");
        let left = field(&left, "grpc-timeout").and_then(|left| left.strip_suffix('u'));
        let left: u32 = left.and_then(|left| left.parse().ok()).unwrap();
        assert!((1..1_000_000).contains(&left), "{left}");
        let head = client.expect_kind(kind::HEADERS);
        assert!(head.has(flag::END_STREAM), "nothing follows: {head:?}");
        let fields = client.fields_of(&head);
        assert_eq!(field(&fields, ":status"), Some("200"));
        assert_eq!(field(&fields, "content-type"), Some("application/grpc"));
        assert_eq!(field(&fields, "grpc-status"), Some("4"));
        wait::until("the count", || {
            server.metric("bothways_errors_total", "request_timeout") == 1.0
        });
    }
}

#[test]
fn what_the_tries_before_have_taken_is_not_left() {
    let (first, told_first) = {
        let (tell, told) = mpsc::channel();
        let tell = Arc::new(Mutex::new(tell));
        let origin = Origin::start(move |peer, _| {
            let mut raw = Connection::server(peer, &[]);
            let head = raw.until(|frame| frame.head.kind == kind::HEADERS).unwrap();
            let fields = raw.fields_of(&head);
            tell.lock().unwrap().send(fields).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20)); // it takes its time
            raw.send(testkit::h2raw::reset(
                head.head.stream,
                wire::http2::frame::code::REFUSED_STREAM,
            ));
            let _ = raw.goodbye();
        });
        (origin, told)
    };
    let (second, told_second) = silent();
    let server = before(&[&first, &second], "");
    let mut client = Connection::client(server.address(), &[]);
    call(&mut client, "10S");
    let left = |told: &mpsc::Receiver<Fields>| {
        let fields = told.recv_timeout(DEADLINE).expect("a call");
        let left = field(&fields, "grpc-timeout").and_then(|left| left.strip_suffix('u'));
        left.and_then(|left| left.parse::<u32>().ok()).unwrap()
    };
    let (before, after) = (left(&told_first), left(&told_second));
    assert!(after <= before - 20_000, "{before} {after}");
}

#[test]
fn answers_of_our_own_have_the_same_time() {
    const LENGTH: u64 = 100_000_000;
    let directory = tempfile::tempdir().unwrap();
    for name in ["large", "small"] {
        let file = std::fs::File::create(directory.path().join(name)).unwrap();
        file.set_len(if name == "large" { LENGTH } else { 1000 }).unwrap();
    }
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             timeouts {{ request \"500ms\"; }}
             files \"{}\"
         }}",
        directory.path().display()
    ));
    let mut client = server.connect();
    client.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().body.len(), 1000);
    let mut client = Peer::connect_narrow(server.address());
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut framed = Connection::client(server.address(), &[]);
    framed.get(1, "/large");
    server.wait_for_metric("bothways_errors_total", "request_timeout", 2.0);
    assert!(client.try_response().is_err(), "broken off");
    assert!(framed.message(1).is_err(), "broken off");
}
