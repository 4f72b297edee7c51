//! Nothing may reach an HTTP/1.1 origin that it could read otherwise than we did: each row says
//! byte for byte what the origin gets of a request, if anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use testkit::h2raw::{Connection, data, frame, headers, hpack, request};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::{flag, kind};

const END: u8 = flag::END_STREAM;

/// What would be a request of its own if it got out of its frame.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n";

/// What the origin gets.
enum Reaches {
    Nothing,
    /// This request line; these lines of fields between `Host: a` and those that we add; these
    /// behind them; this body.
    Whole(&'static str, &'static str, &'static str, String),
    /// An upload with this content, of which the length is told or not.
    Content(String),
    /// A part of a request without its end, on a connection that is then broken off, or nothing.
    Part,
}

struct Row {
    what: &'static str,
    sent: Vec<u8>,
    reaches: Reaches,
}

fn nothing(what: &'static str, sent: Vec<u8>) -> Row {
    Row { what, sent, reaches: Reaches::Nothing }
}

fn part(what: &'static str, sent: Vec<u8>) -> Row {
    Row { what, sent, reaches: Reaches::Part }
}

fn whole(what: &'static str, sent: Vec<u8>, line: &'static str, fields: &'static str) -> Row {
    Row { what, sent, reaches: Reaches::Whole(line, fields, "", String::new()) }
}

/// With a body, as it stands there.
fn body(what: &'static str, sent: Vec<u8>, fields: &'static str, body: String) -> Row {
    Row { what, sent, reaches: Reaches::Whole("POST /", "", fields, body) }
}

/// An upload with this content.
fn content(what: &'static str, sent: Vec<u8>, content: String) -> Row {
    Row { what, sent, reaches: Reaches::Content(content) }
}

/// A request of exactly these fields.
fn exactly(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(END, 1, fields)
}

fn get(path: &str) -> Vec<u8> {
    exactly(&request("GET", "http", "a", path))
}

/// An ordinary request with more fields.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    exactly(&[&request("GET", "http", "a", "/"), fields].concat())
}

/// An upload with more fields and this content.
fn upload(fields: &[(&str, &str)], content: &str) -> Vec<u8> {
    let head = headers(0, 1, &[&request("POST", "http", "a", "/"), fields].concat());
    [head, data(END, 1, content)].concat()
}

/// An upload with trailers.
fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    let head = headers(0, 1, &request("POST", "http", "a", "/"));
    [head, data(0, 1, "abc"), headers(END, 1, fields)].concat()
}

/// A body as we send it if its length is not known.
fn chunked(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n0\r\n\r\n", content.len())
}

/// The lines of fields that we add, by the kind of request.
const OURS: &str = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Host: a\r\nVia: 2.0 bothways\r\n";

/// The request that comes afterwards, as the origin sees it.
fn marker() -> String {
    format!("GET /marker HTTP/1.1\r\nHost: a\r\n{OURS}\r\n")
}

impl Row {
    fn run(&self) -> Result<(), String> {
        let origin = Origin::serving(|_| ok("hi"));
        let proxy = TestServer::reverse(origin.address(), "");
        let mut attacker = Connection::client(proxy.address(), &[]);
        attacker.send(&self.sent);
        let answer = attacker.message(1);
        let mut other = Connection::client(proxy.address(), &[]);
        other.get(1, "/marker");
        let marked = other.message(1).map(|message| message.status());
        if marked != Ok(200) {
            return Err(format!("the next client gets {marked:?}"));
        }
        let received = origin.received();
        let marker = marker();
        let is_right = match &self.reaches {
            Reaches::Nothing => received == marker,
            Reaches::Whole(line, fields, last, body) => {
                received
                    == format!(
                        "{line} HTTP/1.1\r\nHost: a\r\n{fields}{OURS}{last}\r\n{body}{marker}"
                    )
            }
            Reaches::Content(content) => {
                let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{OURS}");
                let length = content.len();
                let told = format!("{head}Content-Length: {length}\r\n\r\n{content}{marker}");
                let chunks = chunked(content);
                let untold = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}{marker}");
                received == told || received == untold
            }
            // Anything may stand on the connection that was broken off, but nothing after it.
            Reaches::Part => {
                received == marker
                    || origin.connections() == 2
                        && origin.received_by(1) == marker.as_bytes()
                        && !String::from_utf8_lossy(&origin.received_by(0)).contains("smuggled")
            }
        };
        if is_right { Ok(()) } else { Err(format!("{received:?}, and {answer:?}")) }
    }
}

#[track_caller]
fn run(rows: &[Row]) {
    let failures = Mutex::new(Vec::new());
    for some in rows.chunks(8) {
        std::thread::scope(|scope| {
            for row in some {
                let failures = &failures;
                scope.spawn(move || {
                    let ran = catch_unwind(AssertUnwindSafe(|| row.run()));
                    if let Ok(Err(failure)) | Err(failure) = ran.map_err(|_| "a panic".to_owned()) {
                        let text = format!("{}: the origin got {failure}", row.what);
                        failures.lock().expect("no panic with the lock").push(text);
                    }
                });
            }
        });
    }
    let failures = failures.into_inner().expect("no panic with the lock");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn lengths_and_codings() {
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    run(&[
        // h2.CL
        part("a length of 0 before content", upload(&[("content-length", "0")], SMUGGLED)),
        part("a length shorter than the content", upload(&[("content-length", "5")], SMUGGLED)),
        part("a length longer than the content", upload(&[("content-length", "5000")], "abc")),
        part("a length without content", with(&[("content-length", "5")])),
        nothing("two lengths", upload(&[("content-length", "3"), ("content-length", "40")], "abc")),
        body(
            "the same length twice",
            upload(&[("content-length", "3"), ("content-length", "3")], "abc"),
            "Content-Length: 3\r\n",
            "abc".to_owned(),
        ),
        nothing("a list of lengths", upload(&[("content-length", "3, 3")], "abc")),
        nothing("a length in hexadecimal", upload(&[("content-length", "0x3")], "abc")),
        nothing("a length with a sign", upload(&[("content-length", "+3")], "abc")),
        nothing("a length with a space", upload(&[("content-length", " 3")], "abc")),
        nothing("no length in its field", upload(&[("content-length", "")], "")),
        body(
            "a length with zeros before",
            upload(&[("content-length", "0003")], "abc"),
            "Content-Length: 3\r\n",
            "abc".to_owned(),
        ),
        body(
            "the length that it is",
            upload(&[("content-length", "3")], "abc"),
            "Content-Length: 3\r\n",
            "abc".to_owned(),
        ),
        body(
            "no content and no length",
            exactly(&request("POST", "http", "a", "/")),
            "Content-Length: 0\r\n",
            String::new(),
        ),
        content("a request as content", upload(&[], SMUGGLED), SMUGGLED.to_owned()),
        // h2.TE
        content("the end of chunks as content", upload(&[], &chunks), chunks.to_owned()),
        nothing("a coding", upload(&[("transfer-encoding", "chunked")], &chunks)),
        nothing(
            "a coding and a length",
            upload(&[("transfer-encoding", "chunked"), ("content-length", "42")], &chunks),
        ),
        nothing("a coding in upper case", upload(&[("Transfer-Encoding", "chunked")], &chunks)),
        nothing(
            "a coding with a space after its name",
            upload(&[("transfer-encoding ", "chunked")], &chunks),
        ),
        nothing(
            "a coding with a space before its name",
            upload(&[(" transfer-encoding", "chunked")], &chunks),
        ),
        nothing("a coding with TAB", upload(&[("transfer-encoding\t", "chunked")], &chunks)),
        nothing("a coding with a colon", upload(&[("transfer-encoding:", "chunked")], &chunks)),
        content(
            "a coding with _",
            upload(&[("transfer_encoding", "chunked")], "abc"),
            "abc".to_owned(),
        ),
        nothing("TE with a coding", upload(&[("te", "trailers, chunked")], "abc")),
        nothing("Connection", with(&[("connection", "content-length")])),
        nothing("Connection for keeping", with(&[("connection", "keep-alive")])),
        nothing("Upgrade", with(&[("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__")])),
        nothing("HTTP2-Settings", with(&[("http2-settings", "AAMAAABkAAQAAP__")])),
    ]);
}

#[test]
fn line_ends() {
    let split = |text: &str| format!("a{text}x: y{text}{text}{SMUGGLED}");
    let mut rows = Vec::new();
    for end in ["\r\n", "\n", "\r", "\0"] {
        let text = split(end);
        let of = |fields: [(&str, &str); 4]| exactly(&fields);
        rows.extend([
            nothing("a line end in a value", with(&[("x", &text)])),
            nothing("a line end in a name", with(&[(&text, "x")])),
            nothing("a line end in a cookie", with(&[("cookie", "a=b"), ("cookie", &text)])),
            nothing(
                "a line end in Host",
                exactly(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/"),
                    ("host", &text),
                ]),
            ),
            nothing("a line end in :method", of(request(&text, "http", "a", "/"))),
            nothing("a line end in :scheme", of(request("GET", &text, "a", "/"))),
            nothing("a line end in :authority", of(request("GET", "http", &text, "/"))),
            nothing("a line end in :path", of(request("GET", "http", "a", &format!("/{text}")))),
            nothing("a line end in a pseudo-field's name", with(&[(&format!(":{text}"), "x")])),
            part("a line end in a trailer's value", trailers(&[("x", &text)])),
            part("a line end in a trailer's name", trailers(&[(&text, "x")])),
        ]);
    }
    // In the Huffman code it is no different.
    let coded = [
        hpack::literals(&request("GET", "http", "a", "/")),
        vec![0],
        hpack::huffman_string("x"),
        hpack::huffman_string(split("\r\n")),
    ];
    let flags = END | flag::END_HEADERS;
    rows.push(nothing("a coded line end", frame(kind::HEADERS, flags, 1, coded.concat())));
    run(&rows);
}

#[test]
fn targets() {
    let authority = |authority| exactly(&request("GET", "http", authority, "/"));
    let method = |method| exactly(&request(method, "http", "a", "/"));
    let long = format!("/{}", "a".repeat(10_000));
    run(&[
        whole("a plain one", get("/a/b?c=d"), "GET /a/b?c=d", ""),
        whole("an empty query", get("/?"), "GET /?", ""),
        whole("two slashes", get("//b/x"), "GET //b/x", ""),
        nothing("a fragment", get("/a#/../b")),
        whole("dots", get("/a/../../b"), "GET /b", ""),
        whole("coded line ends", get("/%0d%0ax:%20y"), "GET /%0d%0ax:%20y", ""),
        nothing("a space and a version", get("/ HTTP/1.1")),
        nothing("TAB", get("/\tx")),
        nothing("a whole URI", get("http://b/")),
        nothing("another host by a relative reference", get("b/x")),
        nothing("a path with an @", get("@b/")),
        nothing("a port", get(":80/")),
        nothing("an empty path", get("")),
        nothing("only a query", get("?x")),
        nothing("*", get("*")),
        nothing("a path that is too long", get(&long)),
        whole("bytes beyond ASCII", get("/\u{2028}"), "GET /\u{2028}", ""),
        nothing("user information", authority("b@a")),
        nothing("a password", authority("b:c@a")),
        nothing("a path", authority("a/b")),
        nothing("a query", authority("a?b")),
        nothing("a fragment", authority("a#b")),
        nothing("a backslash", authority("a\\b")),
        nothing("a list", authority("a,b")),
        nothing("a space", authority("a b")),
        nothing("a bad port", authority("a:b")),
        nothing("a port too large", authority("a:99999")),
        nothing("half an address", authority("[::1")),
        nothing("no authority", authority("")),
        nothing("a URI", authority("http://a")),
        whole("a method in lower case", method("get"), "get /", ""),
        nothing("no method", method("")),
        nothing("a method with a path", method("GET /x")),
        nothing("a method with a line", method("GET /x HTTP/1.1")),
        nothing("CONNECT", exactly(&[(":method", "CONNECT"), (":authority", "b:80")])),
        nothing("CONNECT with a path", method("CONNECT")),
        nothing(
            "TRACE with content",
            [headers(0, 1, &request("TRACE", "http", "a", "/")), data(END, 1, SMUGGLED)].concat(),
        ),
    ]);
}

#[test]
fn fields() {
    let host = |more: &[(&str, &str)]| {
        exactly(
            &[[(":method", "GET"), (":scheme", "http"), (":path", "/")].as_slice(), more].concat(),
        )
    };
    let long = "v".repeat(60_000);
    let long_block = |name: &str, value: &str| {
        let block = hpack::literals(
            &[&request("GET", "http", "a", "/"), [(name, value)].as_slice()].concat(),
        );
        let (first, rest) = block.split_at(16_000);
        let mut frames = frame(kind::HEADERS, END, 1, first);
        for piece in rest.chunks(16_000) {
            frames.extend(frame(kind::CONTINUATION, 0, 1, piece));
        }
        frames.extend(frame(kind::CONTINUATION, flag::END_HEADERS, 1, b""));
        frames
    };
    run(&[
        whole("Host alone", host(&[("host", "a")]), "GET /", ""),
        whole("Host as :authority", with(&[("host", "a")]), "GET /", ""),
        whole("Host in upper case", with(&[("host", "A")]), "GET /", ""),
        nothing("no host", host(&[])),
        nothing("another Host", with(&[("host", "b")])),
        whole("another port in Host", with(&[("host", "a:81")]), "GET /", ""),
        whole("a dot at the end of Host", with(&[("host", "a.")]), "GET /", ""),
        nothing("two Hosts", with(&[("host", "a"), ("host", "b")])),
        nothing("two Hosts alone", host(&[("host", "a"), ("host", "b")])),
        nothing("a list of Hosts", host(&[("host", "a, b")])),
        nothing("an empty Host", host(&[("host", "")])),
        nothing("user information in Host", host(&[("host", "b@a")])),
        nothing("two :path", with(&[(":path", "/b")])),
        nothing("two :authority", with(&[(":authority", "b")])),
        nothing("two :method", with(&[(":method", "POST")])),
        nothing(
            ":path after a field",
            exactly(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                ("x", "y"),
                (":path", "/"),
            ]),
        ),
        nothing("an unknown pseudo-field", with(&[(":x", "y")])),
        nothing(":status", with(&[(":status", "200")])),
        nothing(":protocol", with(&[(":protocol", "websocket")])),
        nothing("upper case", with(&[("X-Y", "z")])),
        nothing("a space in a name", with(&[("x y", "z")])),
        nothing("a colon in a name", with(&[("x:y", "z")])),
        nothing("no name", with(&[("", "z")])),
        // Malformed by RFC 9113, section 8.2.1, but everybody takes it; what goes on is clean.
        whole("a space before a value", with(&[("x", " y")]), "GET /", "x: y\r\n"),
        whole("a space after a value", with(&[("x", "y ")]), "GET /", "x: y\r\n"),
        whole("TAB after a value", with(&[("x", "y\t")]), "GET /", "x: y\r\n"),
        whole("nothing but blanks", with(&[("x", " \t ")]), "GET /", "x: \r\n"),
        nothing("a quotation mark in a name", with(&[("x\"", "y")])),
        nothing("DEL", with(&[("x", "\x7f")])),
        nothing("a value that is too long", long_block("x", &long)),
        nothing("a name that is too long", long_block(&"n".repeat(60_000), "v")),
        whole("an empty value", with(&[("x", "")]), "GET /", "x: \r\n"),
        whole(
            "a name of all that may be",
            with(&[("!#$%&'*+-.^`|~09az", "v")]),
            "GET /",
            "!#$%&'*+-.^`|~09az: v\r\n",
        ),
        whole("_ in a name", with(&[("content_length", "5")]), "GET /", ""),
        Row {
            what: "TE",
            sent: with(&[("te", "trailers")]),
            reaches: Reaches::Whole(
                "GET /",
                "",
                "TE: trailers\r\nConnection: TE\r\n",
                String::new(),
            ),
        },
        whole(
            "crumbs",
            with(&[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")]),
            "GET /",
            "x: y\r\nCookie: a=b; c=d\r\n",
        ),
        whole(
            "empty crumbs",
            with(&[("cookie", ""), ("cookie", "a=b"), ("cookie", ""), ("cookie", "c=d")]),
            "GET /",
            "Cookie: a=b; c=d\r\n",
        ),
        whole(
            "claims",
            with(&[
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("via", "1.1 liar"),
                ("x-real-ip", "6.6.6.6"),
            ]),
            "GET /",
            "",
        ),
    ]);
}

#[test]
fn trailing_fields() {
    let plain = |what, fields: &[(&str, &str)]| content(what, trailers(fields), "abc".to_owned());
    run(&[
        body(
            "a trailer",
            trailers(&[("x-sum", "1")]),
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n".to_owned(),
        ),
        plain("no trailer", &[]),
        plain("a length", &[("content-length", "40")]),
        plain("a host", &[("host", "b")]),
        plain("credentials", &[("authorization", "Basic x")]),
        plain("a cookie", &[("cookie", "a=b")]),
        part("a pseudo-field", trailers(&[(":path", "/smuggled")])),
        part("a quotation mark", trailers(&[("x\"", "y")])),
        body(
            "a space after a value",
            trailers(&[("x-sum", "1 ")]),
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n".to_owned(),
        ),
        part("a coding", trailers(&[("transfer-encoding", "chunked")])),
        part("Connection", trailers(&[("connection", "close")])),
        part("upper case", trailers(&[("X", "y")])),
    ]);
}

/// What is sent on an extended CONNECT (RFC 8441) before it has come about stays with us.
#[test]
fn extended_connect() {
    let connect = |fields: &[(&str, &str)]| {
        let usual =
            [(":method", "CONNECT"), (":scheme", "http"), (":path", "/ws"), (":authority", "a")];
        let head = headers(0, 1, &[&usual, fields].concat());
        [head, data(0, 1, SMUGGLED)].concat()
    };
    let protocol = (":protocol", "websocket");
    run(&[
        nothing("another protocol", connect(&[(":protocol", "h2c")])),
        nothing("a protocol with a line end", connect(&[(":protocol", "websocket\r\nx: y")])),
        nothing("a length", connect(&[protocol, ("content-length", "36")])),
        nothing("an empty protocol", connect(&[(":protocol", "")])),
        nothing("a protocol twice", connect(&[protocol, protocol])),
    ]);
    // An origin that knows of no WebSocket gets the request and nothing else.
    let origin = Origin::serving(|_| ok("hi"));
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.send(connect(&[protocol, ("sec-websocket-version", "13")]));
    let answer = client.message(1);
    let mut other = Connection::client(proxy.address(), &[]);
    other.get(1, "/marker");
    assert_eq!(other.message(1).map(|message| message.status()), Ok(200));
    let received = origin.received();
    assert!(received.starts_with("GET /ws HTTP/1.1\r\nHost: a\r\n"), "{received}, {answer:?}");
    assert!(received.ends_with(&marker()) && !received.contains("smuggled"), "{received}");
    assert_eq!(received.matches(" HTTP/1.1\r\n").count(), 2, "{received}");
}

/// However an upload comes, its content is framed as content.
#[test]
fn uploads_in_pieces() {
    let ends = [("", true), ("", false), ("GET /smuggled HTTP/1.1\r\n\r\n", true)];
    for waits in 0..8 {
        for (last, is_data) in ends {
            let origin = Origin::serving(|request| ok(&request.text().to_uppercase()));
            let proxy = TestServer::reverse(origin.address(), "");
            let mut client = Connection::client(proxy.address(), &[]);
            let mut content = String::new();
            client.send(headers(0, 1, &request("POST", "http", "a", "/")));
            for number in 0..3 {
                if waits >> number & 1 == 1 {
                    client.round_trip().expect("a connection that goes on");
                }
                client.send(data(0, 1, SMUGGLED));
                content.push_str(SMUGGLED);
            }
            content.push_str(last);
            client.send(if is_data { data(END, 1, last) } else { headers(END, 1, &[("x", "y")]) });
            let answer = client.message(1).expect("an answer");
            assert_eq!(answer.text(), content.to_uppercase(), "{waits} {last:?} {is_data}");
        }
    }
}
