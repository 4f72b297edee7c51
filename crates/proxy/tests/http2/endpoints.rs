//! Endpoints that speak HTTP/2 and break its rules: what they say wrongly does not reach a client,
//! and the next request is served.

use std::sync::Mutex;

use testkit::h2raw::{Connection, data, frame, headers, hpack, settings};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;
use wire::http2::frame::{flag, kind, setting};

const END: u8 = flag::END_STREAM;
const WHOLE: u8 = flag::END_HEADERS;

/// What a client of HTTP/1.1 gets.
#[derive(Clone, Copy)]
enum Gets {
    /// 502.
    BadGateway,
    /// 502, or a response that breaks off.
    Broken,
    /// Either that, or 502.
    Either(&'static str),
    /// 200 and this content, with no trace of what was wrong.
    Content(&'static str),
}

/// A response with more fields, and this content.
fn with(fields: &[(&str, &str)], content: &str) -> Vec<u8> {
    let head = headers(0, 1, &[&[(":status", "200")], fields].concat());
    [head, data(END, 1, content)].concat()
}

/// A response of exactly these fields.
fn exactly(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(END, 1, fields)
}

/// A response and trailers.
fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    [headers(0, 1, &[(":status", "200")]), data(0, 1, "abc"), headers(END, 1, fields)].concat()
}

fn check(what: &str, frames: Vec<u8>, gets: Gets) -> Result<(), String> {
    let origin = Origin::start(move |peer, number| {
        let mut endpoint = Connection::server(peer, &[]);
        while let Ok(begun) = endpoint.until(|frame| frame.head.kind == kind::HEADERS) {
            endpoint.fields_of(&begun);
            let stream = begun.head.stream;
            if number == 0 && stream == 1 {
                endpoint.send(&frames);
            } else {
                let head = headers(0, stream, &[(":status", "200")]);
                endpoint.send([head, data(END, stream, "honest")].concat());
            }
        }
    });
    let proxy = TestServer::start(&format!(
        "upstream up {{ to \"{}\"; protocol h2c }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to up }}",
        origin.address()
    ));
    let ask = |client: &mut Peer| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let first = client.try_response();
        if first.as_ref().is_ok_and(|response| response.status() < 200) {
            return client.try_response();
        }
        first
    };
    let got = ask(&mut proxy.connect());
    let is_right = match (gets, &got) {
        (Gets::BadGateway | Gets::Broken, Ok(response)) => response.status() == 502,
        (Gets::Broken, Err(_)) => true,
        (Gets::Either(_), Ok(response)) if response.status() == 502 => true,
        (Gets::Content(content) | Gets::Either(content), Ok(response)) => {
            response.status() == 200 && response.text() == content && !response.has("X-Wrong")
        }
        _ => false,
    };
    let next = ask(&mut proxy.connect());
    if !is_right {
        return Err(format!("{what}: {got:?}"));
    }
    match next {
        Ok(response) if response.text() == "honest" => Ok(()),
        other => Err(format!("{what}: the next request gets {other:?}")),
    }
}

#[track_caller]
fn run(rows: Vec<(&'static str, Vec<u8>, Gets)>) {
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (what, frames, gets) in rows {
            let failures = &failures;
            scope.spawn(move || {
                let ran = std::panic::catch_unwind(|| check(what, frames, gets));
                if let Err(failure) = ran.unwrap_or_else(|_| Err(format!("{what}: a panic"))) {
                    failures.lock().expect("no panic with the lock").push(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic with the lock");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn heads() {
    let split = "a\r\nX-Wrong: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let value = |value| with(&[("x", value)], "hi");
    run(vec![
        ("in order", with(&[], "hi"), Gets::Content("hi")),
        ("CR LF in a value", value(split), Gets::BadGateway),
        ("LF in a value", value("a\nX-Wrong: b"), Gets::BadGateway),
        ("CR in a value", value("a\rX-Wrong: b"), Gets::BadGateway),
        ("NUL in a value", value("a\0"), Gets::BadGateway),
        // Everybody takes these; what goes on is clean.
        ("a space before a value", value(" a"), Gets::Content("hi")),
        ("a space after a value", value("a "), Gets::Content("hi")),
        ("a control character", value("a\x1bb"), Gets::Content("hi")),
        ("a quotation mark in a name", with(&[("x\"", "y")], "hi"), Gets::BadGateway),
        ("CR LF in a name", with(&[(split, "x")], "hi"), Gets::BadGateway),
        ("an upper-case name", with(&[("X-Wrong", "x")], "hi"), Gets::BadGateway),
        ("a space in a name", with(&[("x-wrong ", "x")], "hi"), Gets::BadGateway),
        ("a colon in a name", with(&[("x-wrong:", "x")], "hi"), Gets::BadGateway),
        ("Connection", with(&[("connection", "close")], "hi"), Gets::BadGateway),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")], "hi"), Gets::BadGateway),
        ("Upgrade", with(&[("upgrade", "h2c")], "hi"), Gets::BadGateway),
        ("no :status", exactly(&[("x", "y")]), Gets::BadGateway),
        (":status twice", exactly(&[(":status", "200"), (":status", "200")]), Gets::BadGateway),
        (":status late", exactly(&[("x", "y"), (":status", "200")]), Gets::BadGateway),
        (":status in words", exactly(&[(":status", "200 OK")]), Gets::BadGateway),
        (":status with CR LF", exactly(&[(":status", "200\r\nX-Wrong: y")]), Gets::BadGateway),
        (":status of two digits", exactly(&[(":status", "20")]), Gets::BadGateway),
        (":status 101", exactly(&[(":status", "101")]), Gets::BadGateway),
        (":status 099", exactly(&[(":status", "099")]), Gets::BadGateway),
        (":status 1000", exactly(&[(":status", "1000")]), Gets::BadGateway),
        (":path", exactly(&[(":status", "200"), (":path", "/")]), Gets::BadGateway),
        ("an unknown pseudo-field", exactly(&[(":status", "200"), (":x", "/")]), Gets::BadGateway),
        ("an interim response that ends", exactly(&[(":status", "103")]), Gets::BadGateway),
    ]);
}

#[test]
fn bodies() {
    let length = |lengths: &[&str], content| {
        let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        with(&fields, content)
    };
    run(vec![
        ("the right length", length(&["3"], "abc"), Gets::Content("abc")),
        ("less than announced", length(&["4"], "abc"), Gets::Broken),
        ("more than announced", length(&["2"], "abc"), Gets::Broken),
        (
            "none, but announced",
            exactly(&[(":status", "200"), ("content-length", "3")]),
            Gets::Broken,
        ),
        ("two lengths", length(&["3", "4"], "abc"), Gets::BadGateway),
        ("a list of lengths", length(&["3, 3"], "abc"), Gets::BadGateway),
        ("a signed length", length(&["+3"], "abc"), Gets::BadGateway),
        (
            "a reset",
            [headers(0, 1, &[(":status", "200")]), data(0, 1, "ab"), testkit::h2raw::reset(1, 2)]
                .concat(),
            Gets::Broken,
        ),
        ("content before a head", data(END, 1, "abc"), Gets::BadGateway),
        (
            "two heads",
            [headers(0, 1, &[(":status", "200")]), headers(0, 1, &[(":status", "200")])].concat(),
            Gets::Broken,
        ),
        // What is whole may be passed on before the rest is seen, but need not.
        (
            "content after the end",
            [with(&[], "abc"), data(END, 1, "def")].concat(),
            Gets::Either("abc"),
        ),
        ("trailers", trailers(&[("x-sum", "1")]), Gets::Content("abc")),
        ("trailers with a coding", trailers(&[("transfer-encoding", "chunked")]), Gets::Broken),
        ("trailers with CR LF", trailers(&[("x", "a\r\nX-Wrong: b")]), Gets::Broken),
        ("trailers with a length", trailers(&[("content-length", "9")]), Gets::Content("abc")),
        ("trailers with :status", trailers(&[(":status", "500")]), Gets::Broken),
        ("trailers with a quotation mark", trailers(&[("x\"", "y")]), Gets::Broken),
        ("a length of 64 bits", length(&["9223372036854775808"], "abc"), Gets::BadGateway),
        ("the same length twice", length(&["3", "3"], "abc"), Gets::Content("abc")),
    ]);
}

#[test]
fn frames() {
    let promise = [vec![0, 0, 0, 2], hpack::literals(&[(":status", "200")])].concat();
    let then = |first: Vec<u8>| [first, with(&[], "hi")].concat();
    let long: Vec<_> = (0..80).map(|n| (format!("x-{n}"), "v".repeat(1000))).collect();
    let long: Vec<_> = long.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let block = hpack::literals(&[&[(":status", "200")], long.as_slice()].concat());
    let mut blocks = frame(kind::HEADERS, END, 1, block.get(..16_000).expect("a long block"));
    for part in block.get(16_000..).expect("a long block").chunks(16_000) {
        blocks.extend(frame(kind::CONTINUATION, 0, 1, part));
    }
    blocks.extend(frame(kind::CONTINUATION, WHOLE, 1, b""));
    run(vec![
        ("a push", then(frame(kind::PUSH_PROMISE, WHOLE, 1, promise)), Gets::BadGateway),
        ("a stream of its own", then(headers(END, 2, &[(":status", "200")])), Gets::BadGateway),
        ("a stream that is idle", then(data(0, 9, "x")), Gets::BadGateway),
        ("ENABLE_PUSH", then(settings(&[(setting::ENABLE_PUSH, 1)])), Gets::BadGateway),
        (
            "a large window",
            then(settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)])),
            Gets::BadGateway,
        ),
        (
            "an index beyond the tables",
            frame(kind::HEADERS, END | WHOLE, 1, hpack::indexed(99)),
            Gets::BadGateway,
        ),
        ("a frame that is too long", frame(kind::DATA, 0, 1, vec![0; 70_000]), Gets::BadGateway),
        ("fields that are too long", blocks, Gets::BadGateway),
        ("an unknown type", then(frame(0x77, 0, 0, b"x")), Gets::Content("hi")),
    ]);
}

/// An endpoint that floods is left.
#[test]
fn floods() {
    let many = |one: Vec<u8>| one.repeat(20_000);
    run(vec![
        ("PING", many(testkit::h2raw::ping(0, [0; 8])), Gets::BadGateway),
        ("SETTINGS", many(settings(&[])), Gets::BadGateway),
        ("PRIORITY", many(frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 1])), Gets::BadGateway),
        (
            "empty DATA",
            [headers(0, 1, &[(":status", "200")]), many(data(0, 1, b""))].concat(),
            Gets::Broken,
        ),
        (
            "CONTINUATION",
            [frame(kind::HEADERS, 0, 1, b""), many(frame(kind::CONTINUATION, 0, 1, b""))].concat(),
            Gets::BadGateway,
        ),
    ]);
}

/// Content of a response that has none is not the next response of a client's connection.
#[test]
fn content_where_there_is_none() {
    for (method, status) in [("GET", "204"), ("GET", "304"), ("HEAD", "200"), ("HEAD", "404")] {
        let origin = Origin::start(move |peer, _| {
            let mut endpoint = Connection::server(peer, &[]);
            while let Ok(begun) = endpoint.until(|frame| frame.head.kind == kind::HEADERS) {
                let fields = endpoint.fields_of(&begun);
                let stream = begun.head.stream;
                let (status, content) = match testkit::h2raw::field(&fields, ":path") {
                    Some("/next") => ("200", "honest"),
                    _ => (status, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"),
                };
                let head = headers(0, stream, &[(":status", status)]);
                endpoint.send([head, data(END, stream, content)].concat());
            }
        });
        let proxy = TestServer::start(&format!(
            "upstream up {{ to \"{}\"; protocol h2c }}
             site \"*\" {{ listen \"127.0.0.1:0\"; to up }}",
            origin.address()
        ));
        let what = format!("{method} {status}");
        let mut client = proxy.connect();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let first = client.response_to(method);
        // The stream may as well be malformed (RFC 9113, section 8.1.1).
        assert!(
            ["502", status].contains(&first.status().to_string().as_str()),
            "{what}: {first:?}"
        );
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "honest", "{what}");

        let mut client = Connection::client(proxy.address(), &[]);
        let request = testkit::h2raw::request(method, "http", "a", "/");
        client.send(headers(END, 1, &request));
        if let Ok(first) = client.message(1) {
            let text = first.text();
            assert!(text.is_empty() || first.status() == 502, "{what}: {text:?}");
        }
        client.get(3, "/next");
        assert_eq!(client.message(3).expect("an answer").text(), "honest", "{what}");
    }
}
