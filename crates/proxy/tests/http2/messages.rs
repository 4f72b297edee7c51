//! Messages and their fields: RFC 9113, section 8, and RFC 8441.

use testkit::h2raw::{data, frame, headers, hpack, request};
use wire::http2::frame::{flag, kind};

use crate::case::Expect::{Answer, Malformed};
use crate::case::{Case, case, run};
use crate::conformance::post;

const END: u8 = flag::END_STREAM;

/// A request of exactly these fields, in their order.
fn exactly(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(END, 1, fields)
}

/// An ordinary request with more fields.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    exactly(&[&request("GET", "http", "a", "/"), fields].concat())
}

/// One with a field of any bytes.
fn with_bytes(name: &[u8], value: &[u8]) -> Vec<u8> {
    let block = [hpack::literals(&request("GET", "http", "a", "/")), hpack::literal(name, value)];
    frame(kind::HEADERS, END | flag::END_HEADERS, 1, block.concat())
}

/// An upload that announces a length, and these pieces of content.
fn upload(lengths: &[&str], pieces: &[&str]) -> Vec<u8> {
    let mut fields = request("POST", "http", "a", "/").to_vec();
    fields.extend(lengths.iter().map(|length| ("content-length", *length)));
    let mut frames = headers(if pieces.is_empty() { END } else { 0 }, 1, &fields);
    for (number, piece) in pieces.iter().enumerate() {
        let flags = if number + 1 == pieces.len() { END } else { 0 };
        frames.extend(data(flags, 1, piece));
    }
    frames
}

#[test]
fn sequences() {
    let trailers = |flags, fields: &[(&str, &str)]| headers(flags, 1, fields);
    run(vec![
        case("8.1", "content", [post(1), data(END, 1, b"abc")], Answer(1, 200)),
        case(
            "8.1",
            "trailers",
            [post(1), data(0, 1, b"abc"), trailers(END, &[("x", "y")])],
            Answer(1, 200),
        ),
        case(
            "8.1",
            "empty trailers",
            [post(1), data(0, 1, b"abc"), trailers(END, &[])],
            Answer(1, 200),
        ),
        case(
            "8.1",
            "trailers without an end",
            [post(1), data(0, 1, b"abc"), trailers(0, &[("x", "y")])],
            Malformed(1),
        ),
        case("8.1", "two heads", [post(1), post(1)], Malformed(1)),
        case(
            "8.1",
            "trailers with a connection field",
            [post(1), data(0, 1, b"abc"), trailers(END, &[("transfer-encoding", "chunked")])],
            Malformed(1),
        ),
        case(
            "8.1",
            "trailers with an upper-case name",
            [post(1), trailers(END, &[("X", "y")])],
            Malformed(1),
        ),
        case(
            "8.1",
            "trailers with a pseudo-field",
            [post(1), data(0, 1, b"abc"), trailers(END, &[(":path", "/")])],
            Malformed(1),
        ),
        case(
            "8.2.1",
            "trailers with a quotation mark",
            [post(1), trailers(END, &[("x\"", "y")])],
            Malformed(1),
        ),
        case(
            "9110, 8.6",
            "a length of 64 bits",
            upload(&["9223372036854775808"], &["abc"]),
            Malformed(1),
        ),
        case("8.1.1", "content as long as announced", upload(&["3"], &["a", "bc"]), Answer(1, 200)),
        case("8.1.1", "no content, and none announced", upload(&["0"], &[]), Answer(1, 200)),
        case("8.1.1", "less than announced", upload(&["4"], &["abc"]), Malformed(1)),
        case(
            "8.1.1",
            "less than announced, in pieces",
            upload(&["4"], &["a", "b", ""]),
            Malformed(1),
        ),
        case("8.1.1", "more than announced", upload(&["2"], &["abc"]), Malformed(1)),
        case(
            "8.1.1",
            "more than announced, in pieces",
            upload(&["2"], &["a", "b", "c"]),
            Malformed(1),
        ),
        case("8.1.1", "some announced, but none there", upload(&["1"], &[]), Malformed(1)),
        case("8.1.1", "none announced, but some there", upload(&["0"], &["a"]), Malformed(1)),
        case(
            "8.1.1",
            "less than announced before trailers",
            [
                headers(
                    0,
                    1,
                    &[&request("POST", "http", "a", "/"), [("content-length", "4")].as_slice()]
                        .concat(),
                ),
                data(0, 1, b"abc"),
                trailers(END, &[("x", "y")]),
            ],
            Malformed(1),
        ),
        case("9110, 8.6", "two lengths", upload(&["3", "4"], &["abc"]), Malformed(1)),
        case(
            "9110, 8.6",
            "a list of lengths that differ",
            upload(&["3, 4"], &["abc"]),
            Malformed(1),
        ),
        case("9110, 8.6", "a signed length", upload(&["+3"], &["abc"]), Malformed(1)),
        case("9110, 8.6", "a negative length", upload(&["-3"], &["abc"]), Malformed(1)),
        case("9110, 8.6", "an empty length", upload(&[""], &["abc"]), Malformed(1)),
        case("9110, 8.6", "a length with a unit", upload(&["3b"], &["abc"]), Malformed(1)),
        case(
            "9110, 8.6",
            "a length beyond 64 bits",
            upload(&["18446744073709551619"], &["abc"]),
            Malformed(1),
        ),
    ]);
}

#[test]
fn names_and_values() {
    let name = |what, name: &[u8]| case("8.2.1", what, with_bytes(name, b"v"), Malformed(1));
    let value = |what, value: &[u8]| case("8.2.1", what, with_bytes(b"x", value), Malformed(1));
    let mut cases = vec![
        name("an upper-case letter", b"x-Y"),
        name("all upper case", b"CONTENT-TYPE"),
        name("no name", b""),
        name("a space", b"x y"),
        name("a trailing space", b"x "),
        name("a colon", b"x:y"),
        name("NUL", b"x\0"),
        name("CR LF", b"x\r\ny"),
        name("TAB", b"x\t"),
        name("DEL", b"x\x7f"),
        name("a byte beyond ASCII", b"x\xc3\xa4"),
        value("NUL", b"a\0b"),
        value("LF", b"a\nb"),
        value("CR", b"a\rb"),
        value("CR LF and a field", b"a\r\ny: z"),
        name("a quotation mark", b"x\""),
        name("a bracket", b"x["),
        // Malformed by the RFC, but everybody takes blanks around a value.
        case("8.2.1", "a leading space", with_bytes(b"x", b" a"), Answer(1, 200)),
        case("8.2.1", "a leading TAB", with_bytes(b"x", b"\ta"), Answer(1, 200)),
        case("8.2.1", "a trailing space", with_bytes(b"x", b"a "), Answer(1, 200)),
        case("8.2.1", "a trailing TAB", with_bytes(b"x", b"a\t"), Answer(1, 200)),
        case("8.2.1", "only a space", with_bytes(b"x", b" "), Answer(1, 200)),
        value("a control character", b"a\x01b"),
        value("DEL", b"a\x7fb"),
        case("8.2.1", "an empty value", with(&[("x", "")]), Answer(1, 200)),
        case("8.2.1", "bytes beyond ASCII", with_bytes(b"x", b"\xc3\xa4"), Answer(1, 200)),
        case("8.2.1", "TAB within a value", with_bytes(b"x", b"a\tb"), Answer(1, 200)),
        case("8.2.2", "TE: trailers", with(&[("te", "trailers")]), Answer(1, 200)),
        case("8.2.2", "TE: gzip", with(&[("te", "gzip")]), Malformed(1)),
        case("8.2.2", "TE: trailers, gzip", with(&[("te", "trailers, gzip")]), Malformed(1)),
        case(
            "8.2.3",
            "crumbs of a cookie",
            with(&[("cookie", "a=b"), ("cookie", "c=d")]),
            Answer(1, 200),
        ),
    ];
    let fields = [
        ("connection", "close"),
        ("connection", "x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
    ];
    cases.extend(fields.map(|field| case("8.2.2", field.0, with(&[field]), Malformed(1))));
    run(cases);
}

#[test]
fn pseudo_fields() {
    let get = request("GET", "http", "a", "/");
    let without = |name: &str| {
        let fields: Vec<_> = get.into_iter().filter(|(other, _)| *other != name).collect();
        exactly(&fields)
    };
    let path = |method, path| exactly(&request(method, "http", "a", path));
    let malformed = |what, sent: Vec<u8>| case("8.3", what, sent, Malformed(1));
    let mut cases: Vec<Case> = get
        .into_iter()
        .map(|field| {
            let twice: Vec<_> = get.into_iter().chain([field]).collect();
            malformed("a pseudo-field twice", exactly(&twice))
        })
        .collect();
    cases.extend(get.into_iter().map(|field| {
        let rest = get.into_iter().filter(|other| *other != field);
        let late: Vec<_> = rest.chain([("x", "y"), field]).collect();
        malformed("a pseudo-field after a field", exactly(&late))
    }));
    cases.extend([
        malformed("an unknown pseudo-field", exactly(&[&get, [(":x", "y")].as_slice()].concat())),
        malformed("an empty pseudo-field", exactly(&[&get, [(":", "y")].as_slice()].concat())),
        malformed("one of responses", exactly(&[&get, [(":status", "200")].as_slice()].concat())),
        malformed(
            "an upper-case one",
            exactly(&[[(":Method", "GET")].as_slice(), &get[1..]].concat()),
        ),
        case("8.3.1", "no :method", without(":method"), Malformed(1)),
        case("8.3.1", "no :scheme", without(":scheme"), Malformed(1)),
        case("8.3.1", "no :path", without(":path"), Malformed(1)),
        case(
            "8.3.1",
            "no :path and no :authority",
            exactly(&[get[0], get[1], ("host", "a")]),
            Malformed(1),
        ),
        case("8.3.1", "neither :authority nor Host", without(":authority"), Malformed(1)),
        case(
            "8.3.1",
            "Host for :authority",
            exactly(&[get[0], get[1], get[3], ("host", "a")]),
            Answer(1, 200),
        ),
        case("8.3.1", "both", with(&[("host", "a")]), Answer(1, 200)),
        case("8.3.1", "both, but they differ", with(&[("host", "b")]), Malformed(1)),
        case("8.3.1", "both, but other ports", with(&[("host", "a:81")]), Answer(1, 200)),
        case("8.3.1", "both, but a dot more", with(&[("host", "A.")]), Answer(1, 200)),
        case("8.3.1", "two Hosts", with(&[("host", "a"), ("host", "a")]), Malformed(1)),
        case("8.3.1", "an empty :path", path("GET", ""), Malformed(1)),
        case("8.3.1", "a :path without a slash", path("GET", "x"), Malformed(1)),
        case("8.3.1", "a whole URI as :path", path("GET", "http://b/"), Malformed(1)),
        case("8.3.1", "a fragment in :path", path("GET", "/a#b"), Malformed(1)),
        case("8.3.1", "a space in :path", path("GET", "/a b"), Malformed(1)),
        case("8.3.1", "CR LF in :path", path("GET", "/a\r\nx: y"), Malformed(1)),
        case("8.3.1", "NUL in :path", path("GET", "/\0"), Malformed(1)),
        case("8.3.1", "* for GET", path("GET", "*"), Malformed(1)),
        case("8.3.1", "* for OPTIONS", path("OPTIONS", "*"), Answer(1, 200)),
        case(
            "8.3.1",
            "user information in :authority",
            exactly(&request("GET", "http", "u:p@a", "/")),
            Malformed(1),
        ),
        case(
            "8.3.1",
            "a path in :authority",
            exactly(&request("GET", "http", "a/b", "/")),
            Malformed(1),
        ),
        case(
            "8.3.1",
            "a space in :authority",
            exactly(&request("GET", "http", "a b", "/")),
            Malformed(1),
        ),
        case(
            "8.3.1",
            "an empty :authority",
            exactly(&request("GET", "http", "", "/")),
            Malformed(1),
        ),
        case("8.3.1", "an empty :method", path("", "/"), Malformed(1)),
        case("8.3.1", "a space in :method", path("GET /x", "/"), Malformed(1)),
        case(
            "8.3.1",
            "CR LF in :method",
            path("GET / HTTP/1.1\r\nx: y\r\n\r\n", "/"),
            Malformed(1),
        ),
        case("8.3.1", "a method of one's own", path("X-MINE", "/"), Answer(1, 200)),
        case(
            "8.3.1",
            "a malformed :scheme",
            exactly(&request("GET", "ht tp", "a", "/")),
            Malformed(1),
        ),
        case("8.3.1", "another :scheme", exactly(&request("GET", "ftp", "a", "/")), Malformed(1)),
    ]);
    run(cases);
}

#[test]
fn connects() {
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    let protocol = (":protocol", "websocket");
    let with = |fields: &[(&str, &str)]| exactly(&[&connect, fields].concat());
    run(vec![
        case("8.5", "CONNECT to a server", exactly(&connect), Malformed(1)),
        case("8.5", "CONNECT with :scheme", with(&[(":scheme", "http")]), Malformed(1)),
        case("8.5", "CONNECT with :path", with(&[(":path", "/")]), Malformed(1)),
        case("8.5", "CONNECT without :authority", exactly(&connect[..1]), Malformed(1)),
        case("8441, 4", "no :scheme and :path", with(&[protocol]), Malformed(1)),
        case("8441, 4", "no :path", with(&[protocol, (":scheme", "http")]), Malformed(1)),
        case("8441, 4", "no :scheme", with(&[protocol, (":path", "/")]), Malformed(1)),
        case(
            "8441, 4",
            ":protocol with GET",
            exactly(&[&request("GET", "http", "a", "/"), [protocol].as_slice()].concat()),
            Malformed(1),
        ),
        case(
            "8441, 4",
            "an unknown protocol",
            with(&[(":protocol", "x"), (":scheme", "http"), (":path", "/")]),
            Malformed(1),
        ),
    ]);
}

#[test]
fn sizes() {
    let long = |count: usize| {
        let value = "v".repeat(1000);
        let name = |number| format!("x-{number}");
        let names: Vec<_> = (0..count).map(name).collect();
        let block: Vec<_> = request("GET", "http", "a", "/")
            .into_iter()
            .chain(names.iter().map(|name| (name.as_str(), value.as_str())))
            .collect();
        let block = hpack::literals(&block);
        let parts: Vec<_> = block.chunks(16_000).collect();
        let last = parts.len() - 1;
        let part = |(number, part): (usize, &&[u8])| {
            let kind = if number == 0 { kind::HEADERS } else { kind::CONTINUATION };
            let begin = if number == 0 { END } else { 0 };
            let flags = if number == last { begin | flag::END_HEADERS } else { begin };
            frame(kind, flags, 1, part)
        };
        parts.iter().enumerate().map(part).collect::<Vec<_>>().concat()
    };
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("x-{number}")).collect();
        with(&names.iter().map(|name| (name.as_str(), "v")).collect::<Vec<_>>())
    };
    let crumbs: Vec<_> = (0..200).map(|_| ("cookie", "a=b")).collect();
    run(vec![
        case("6.5.2", "a list of 12 KiB", long(11), Answer(1, 200)),
        case("6.5.2", "a list of 40 KiB", long(40), Answer(1, 431)),
        case("10.5.1", "90 fields", many(90), Answer(1, 200)),
        case("10.5.1", "150 fields", many(150), Answer(1, 431)),
        // RFC 9113, section 8.2.3: they are one field.
        case("8.2.3", "200 crumbs", with(&crumbs), Answer(1, 200)),
    ]);
}
