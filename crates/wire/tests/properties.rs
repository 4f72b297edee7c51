//! What holds for messages made of parts that parsers are known to disagree about, and for any
//! bytes. The properties themselves are those of the fuzz targets (`testkit::fuzzing`).

use message::{BodyLength, Known, Method, Request, Scheme};
use proptest::prelude::*;
use testkit::{fuzzing, print};
use wire::http1::{HeadLimits, parse_request, write_field, write_request_line};

/// Field lines of requests and responses, without their ends.
const LINES: &[&str] = &[
    "Host: a",
    "Host: a",
    "Host: b",
    "host:a:80",
    "Host : a",
    "Content-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length: 6",
    "Content-Length:0",
    "content-length: 05",
    "Content-Length: +5",
    "Content-Length: 5 ",
    "Content-Length:\t5",
    "Content-Length : 5",
    "Content-Length: 5\u{b}",
    "Content_Length: 7",
    "Content-Length: 0x5",
    "\0Content-Length: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding:CHUNKED",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "\u{b}Transfer-Encoding: chunked",
    "X: a\rTransfer-Encoding: chunked",
    "X: a\nTransfer-Encoding: chunked",
    "X: a\r\r",
    "X: a\n",
    " chunked",
    "\tfolded: b",
    " Transfer-Encoding: chunked",
    "X:",
    "X: \u{e4}",
    "X-Y: b",
    "Connection: close",
    "Connection: keep-alive, x-y",
    "Connection: content-length",
    "Connection: upgrade",
    "Connection: transfer-encoding",
    "Upgrade: websocket",
    "TE: trailers",
    "Expect: 100-continue",
    "Trailer: A",
    ": b",
    "Transfer-Encoding",
    "Content-Length",
];

/// Those of them that may come in one message that is accepted.
const HARMLESS: &[&str] = &[
    "X:",
    "X: \u{e4}",
    "X-Y: b",
    "Content_Length: 7",
    "Transfer_Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive, x-y",
    "Connection: content-length",
    "TE: trailers",
    "Content-Length:\t5",
    "content-length: 05",
    "Content-Length: 5, 5",
];

fn lines() -> impl Strategy<Value = String> {
    let end = prop_oneof![
        60 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n"), 1 => Just("\n\r\n"),
    ];
    let line = prop_oneof![3 => prop::sample::select(HARMLESS), 1 => prop::sample::select(LINES)];
    prop::collection::vec((line, end), 0..5)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end]).collect())
}

fn request_head() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a HTTP/1.1",
        "POST /a?b HTTP/1.0",
        "CONNECT a:80 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "PUT /%2e%2e/ HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "\r\nGET / HTTP/1.1",
        "\nGET / HTTP/1.1",
    ]);
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let host = prop_oneof![4 => Just("Host: a\r\n"), 1 => Just("")];
    let after =
        prop::sample::select(vec!["", "GET /smuggled HTTP/1.1\r\n\r\n", "0\r\n\r\n", "hello"]);
    (first, end, host, lines(), after).prop_map(|(first, end, host, lines, after)| {
        format!("{first}{end}{host}{lines}\r\n{after}")
    })
}

fn response() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 404",
        "HTTP/1.1 100 ",
    ]);
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let method = prop::sample::select(vec!["\0", "\u{1}", "\u{2}"]);
    (method, first, end, lines())
        .prop_map(|(method, first, end, lines)| format!("{method}{first}{end}{lines}\r\nbody"))
}

fn chunked() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "0",
        "1",
        "5",
        "a",
        "F",
        "00",
        "ffffffffffffffff",
        ";a",
        ";a=\"b\"",
        " ",
        "\t",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "hello",
        "\r\n0\r\n\r\n",
        "A: b",
        "A : b",
        "-1",
        "0x",
        "\0",
    ]);
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

/// Parts of messages of protocol buffers, with a prefix that fits or does not.
fn grpc_health() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &[0x08, 1][..],
        &[0x08, 2],
        &[0x08, 0x82, 0],
        &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        &[0x12, 3, 0x08, 1, 0],
        &[0x12, 255, 255, 3],
        &[0x19, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x25, 1, 2, 3, 4],
        &[0x80, 0x80, 1, 5],
        &[0x0a, 0],
        &[0x13],
        &[0],
    ]);
    let off = prop_oneof![8 => Just(0i32), 1 => Just(-1), 1 => Just(1)];
    let flag = prop_oneof![8 => Just(0u8), 1 => any::<u8>()];
    (flag, off, prop::collection::vec(part, 0..6)).prop_map(|(flag, off, parts)| {
        let message = parts.concat();
        let length = (message.len() as u32).wrapping_add_signed(off).to_be_bytes();
        [&[flag], length.as_slice(), &message].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 20_000 }))]

    #[test]
    fn requests_have_one_reading(head in request_head()) {
        fuzzing::http1_request(head.as_bytes());
    }

    #[test]
    fn responses_have_one_reading(head in response()) {
        fuzzing::http1_response(head.as_bytes());
    }

    #[test]
    fn chunked_bodies_have_one_reading(body in chunked()) {
        fuzzing::chunked(body.as_bytes());
    }

    #[test]
    fn health_of_grpc_is_read_whole(body in grpc_health()) {
        fuzzing::grpc_health(&body);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, check) in fuzzing::TARGETS {
            check(&bytes);
        }
    }

    /// Parsing what was printed gives the message that was printed.
    #[test]
    fn printing_and_parsing_are_inverse(
        method in prop::sample::select(vec!["GET", "POST", "PROPFIND"]),
        path in "/[a-z0-9/_-]{0,20}(\\?[a-z=&%20]{0}[a-z=&]{0,10})?",
        host in "[a-z]{1,10}(\\.[a-z]{1,5}){0,2}(:8[0-9]{3})?",
        fields in prop::collection::vec(("X-[a-zA-Z0-9-]{1,10}", "([!-~]([ -~]{0,20}[!-~])?)?"), 0..10),
        length in prop::option::of(any::<u32>()),
    ) {
        let mut printed = Vec::new();
        let method = Method::parse(method.as_bytes()).unwrap();
        write_request_line(&mut printed, &method, path.as_bytes(), Default::default());
        write_field(&mut printed, b"Host", host.as_bytes());
        for (name, value) in &fields {
            write_field(&mut printed, name.as_bytes(), value.as_bytes());
        }
        if let Some(length) = length {
            write_field(&mut printed, b"Content-Length", length.to_string().as_bytes());
        }
        printed.extend_from_slice(b"\r\n");
        let mut request = Request::default();
        let read = parse_request(&printed, &HeadLimits::default(), Scheme::Http, &mut request);
        prop_assert_eq!(read, Ok(Some(printed.len())));
        prop_assert_eq!(request.target.authority(), host);
        let body = length.map_or(BodyLength::None, |length| BodyLength::Exact(length.into()));
        prop_assert_eq!(request.body, body);
        let kept = request.fields.iter().filter(|field| field.known == Known::Other);
        let kept: Vec<_> = kept.map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
        let sent: Vec<_> = fields.into_iter().map(|(n, v)| (n.into_bytes(), v.into_bytes())).collect();
        prop_assert_eq!(kept, sent);
        prop_assert_eq!(print::request_head(&request), printed);
    }
}
