//! A malformed message is an error of its own stream (RFC 9113, section 8.1.1): the connection and its
//! other streams go on, and what was learned from its fields still holds. One row per rule, for requests
//! and for responses.

use std::sync::mpsc;

use testkit::h2raw::{Connection, data, field, frame, headers, hpack, request};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::{code, flag, kind};

const END: u8 = flag::END_STREAM;

/// A rule, and fields that break it.
struct Row {
    section: &'static str,
    fields: Vec<(&'static [u8], &'static [u8])>,
}

fn row(section: &'static str, fields: &[(&'static str, &'static [u8])]) -> Row {
    Row { section, fields: fields.iter().map(|(name, value)| (name.as_bytes(), *value)).collect() }
}

/// The same fields wrong in a request and in a response, behind the usual ones.
fn additions() -> Vec<Row> {
    vec![
        row("8.2.1, upper case", &[("X-Upper", b"1")]),
        row("8.2.1, a quotation mark", &[("x\"", b"1")]),
        row("8.2.1, a space", &[("x y", b"1")]),
        row("8.2.1, a colon", &[("x:y", b"1")]),
        row("8.2.1, a bracket", &[("x[", b"1")]),
        row("8.2.1, DEL", &[("x\x7f", b"1")]),
        row("8.2.1, beyond ASCII", &[("x\u{e4}", b"1")]),
        row("8.2.1, no name", &[("", b"1")]),
        row("8.2.1, no name and no value", &[("", b"")]),
        row("8.2.1, CR LF in a name", &[("x\r\ny", b"1")]),
        row("8.2.1, NUL", &[("x", b"a\0b")]),
        row("8.2.1, LF", &[("x", b"a\nb")]),
        row("8.2.1, CR", &[("x", b"a\rb")]),
        row("8.2.2, Connection", &[("connection", b"close")]),
        row("8.2.2, Keep-Alive", &[("keep-alive", b"timeout=5")]),
        row("8.2.2, Proxy-Connection", &[("proxy-connection", b"close")]),
        row("8.2.2, Transfer-Encoding", &[("transfer-encoding", b"chunked")]),
        row("8.2.2, Upgrade", &[("upgrade", b"h2c")]),
        row("8.2.2, TE", &[("te", b"gzip")]),
        row("8.3, unknown", &[(":x", b"1")]),
        row("8.3, no name", &[(":", b"1")]),
        row("8.3, late", &[("x", b"1"), (":path", b"/")]),
        row("8.1.1, a length that is none", &[("content-length", b"x")]),
        row("8.1.1, a length of 64 bits", &[("content-length", b"9223372036854775808")]),
        row("8.1.1, two lengths", &[("content-length", b"0"), ("content-length", b"1")]),
        row("8.1.1, a length without content", &[("content-length", b"3")]),
    ]
}

/// Names and values.
type Block<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A block of these fields, of which each is learned.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| hpack::learned(name, value)).collect()
}

fn bytes<'a>(fields: &[(&'a str, &'a str)]) -> Block<'a> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

#[test]
fn requests() {
    let usual = bytes(&request("GET", "http", "a", "/"));
    let mut rows: Vec<(&str, Block<'_>)> = Vec::new();
    let additions = additions();
    rows.extend(
        additions.iter().map(|row| (row.section, [usual.clone(), row.fields.clone()].concat())),
    );
    let added: [(&str, &[(&str, &str)]); 4] = [
        ("8.3, for responses", &[(":status", "200")]),
        ("8.3, twice", &[(":path", "/")]),
        ("8.2.1, a control character", &[("x", "\u{1}")]),
        ("8.5, :protocol without CONNECT", &[(":protocol", "websocket")]),
    ];
    rows.extend(added.map(|(section, more)| (section, [usual.clone(), bytes(more)].concat())));
    let whole: [(&str, &[(&str, &str)]); 10] = [
        ("8.3.1, no :method", &[(":scheme", "http"), (":path", "/"), (":authority", "a")]),
        ("8.3.1, no :scheme", &[(":method", "GET"), (":path", "/"), (":authority", "a")]),
        ("8.3.1, no :path", &[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
        ("8.3.1, an empty :path", &request("GET", "http", "a", "")),
        ("8.3.1, a fragment", &request("GET", "http", "a", "/#x")),
        ("8.3.1, LF in :path", &request("GET", "http", "a", "/\n")),
        ("8.3.1, a space in :authority", &request("GET", "http", "a b", "/")),
        ("8.3.1, NUL in :method", &request("GET\0", "http", "a", "/")),
        ("8.5, CONNECT with :path", &request("CONNECT", "http", "a", "/")),
        ("8.3, no field at all", &[]),
    ];
    rows.extend(whole.map(|(section, fields)| (section, bytes(fields))));
    let origin = Origin::serving(|request| ok(&request.text().to_uppercase()));
    let proxy = TestServer::reverse(origin.address(), "");
    let mut failures = Vec::new();
    for (section, fields) in rows {
        let mut client = Connection::client(proxy.address(), &[]);
        client.send(headers(0, 1, &request("POST", "http", "a", "/")));
        client.send(frame(kind::HEADERS, END | flag::END_HEADERS, 3, block(&fields)));
        // What stood at the end of the malformed block is known from then on; it may be wrong itself.
        let known = [block(&usual), hpack::learned("x-last", "y"), hpack::indexed(62)].concat();
        client.send(frame(kind::HEADERS, END | flag::END_HEADERS, 5, known));
        client.send(data(END, 1, b"abc"));
        let mut reset = None;
        let mut statuses = Vec::new();
        let mut finished = 0;
        while finished < 3 {
            let Ok(frame) = client.next_frame() else { break };
            let stream = frame.head.stream;
            match frame.head.kind {
                kind::RST_STREAM => {
                    reset = Some((stream, frame.code()));
                    finished += 1;
                }
                kind::GOAWAY => break,
                kind::HEADERS => {
                    let fields = client.fields_of(&frame);
                    statuses.push((stream, field(&fields, ":status").map(str::to_owned)));
                    finished += usize::from(frame.has(END));
                }
                kind::DATA => finished += usize::from(frame.has(END)),
                _ => {}
            }
        }
        statuses.sort();
        let fine = Some("200".to_owned());
        let is_right = reset == Some((3, Some(code::PROTOCOL_ERROR)))
            && statuses == [(1, fine.clone()), (5, fine)];
        if !is_right {
            failures.push(format!("{section}: {reset:?}, {statuses:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn responses() {
    let mut rows: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for Row { section, fields } in additions() {
        let head: Vec<(&[u8], &[u8])> = vec![(b":status", b"200")];
        rows.push((section, block(&[head, fields].concat())));
    }
    let others: [(&'static str, &[(&str, &str)]); 8] = [
        ("8.3.2, no :status", &[("x", "y")]),
        ("8.3.2, twice", &[(":status", "200"), (":status", "200")]),
        ("8.3.2, late", &[("x", "y"), (":status", "200")]),
        ("8.3.2, no number", &[(":status", "2x0")]),
        ("8.3.2, two digits", &[(":status", "20")]),
        ("8.3, for requests", &[(":status", "200"), (":path", "/")]),
        ("8.6, 101", &[(":status", "101")]),
        ("8.1, an interim one that ends", &[(":status", "103")]),
    ];
    rows.extend(others.map(|(section, fields)| (section, block(&bytes(fields)))));
    let mut failures = Vec::new();
    for (section, wrong) in rows {
        // The first request waits until the second has its malformed response.
        let (arrives, arrived) = mpsc::channel();
        let origin = Origin::start(move |peer, _| {
            let mut endpoint = Connection::server(peer, &[]);
            let mut first = None;
            while let Ok(came) = endpoint.next_frame() {
                let stream = came.head.stream;
                match came.head.kind {
                    kind::HEADERS if first.is_none() => {
                        endpoint.fields_of(&came);
                        first = Some(stream);
                        let _ = arrives.send(());
                    }
                    kind::HEADERS => {
                        endpoint.fields_of(&came);
                        let whole = END | flag::END_HEADERS;
                        let known =
                            [hpack::learned(":status", "200"), hpack::learned("x-last", "y")];
                        endpoint.send(frame(kind::HEADERS, whole, stream, &wrong));
                        // The connection goes on, with what it has learned.
                        let Some(first) = first else { return };
                        endpoint.send(frame(kind::HEADERS, whole, first, known.concat()));
                    }
                    _ => {}
                }
            }
        });
        let proxy = TestServer::start(&format!(
            "upstream up {{ to \"{}\"; protocol h2c }}
             site \"*\" {{ listen \"127.0.0.1:0\"; to up }}",
            origin.address()
        ));
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let (mut one, mut other) = (proxy.connect(), proxy.connect());
        one.send(post);
        // Both go over one connection, in this order.
        arrived.recv().expect("the first request");
        other.send(post);
        let other = other.try_response().map(|response| response.status());
        let one = one.try_response().map(|response| response.status());
        let is_right = matches!((&one, &other), (Ok(200), Ok(502))) && origin.connections() == 1;
        if !is_right {
            failures.push(format!("{section}: {one:?}, {other:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
