//! Response heads, rule by rule.

use message::{BodyLength, Known, Method, Response, Version};
use wire::http1::{FramingError, HeadError, HeadLimits, ResponseError, parse_response};

const LIMITS: HeadLimits = HeadLimits { bytes: 512, fields: 8, target: 64 };

fn parse(method: Method, input: &str) -> Result<Option<Response>, ResponseError> {
    let mut response = Response::default();
    let length = parse_response(input.as_bytes(), &LIMITS, &method, &mut response)?;
    if let Some(length) = length {
        assert!(matches!(input.get(length - 2..length), Some("\r\n" | "\n\n")), "{input:?}");
    }
    Ok(length.map(|_| response))
}

fn get(input: &str) -> Result<Option<Response>, ResponseError> {
    parse(Method::Get, input)
}

#[test]
fn status_line() {
    #[track_caller]
    fn check(line: &str, expected: Result<u16, ResponseError>) {
        let parsed = get(&format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(parsed.map(|r| r.unwrap_or_default().status), expected, "{line:?}");
    }
    const MALFORMED: Result<u16, ResponseError> = Err(ResponseError::StatusLine);
    // RFC 9112, section 4.
    check("HTTP/1.1 200 OK", Ok(200));
    check("HTTP/1.0 404 Not Found", Ok(404));
    check("HTTP/1.1 599 ", Ok(599));
    check("HTTP/1.1 200", Ok(200));
    check("HTTP/1.1 200 \t Alles \u{fc}ber \u{80}", Ok(200));
    check("HTTP/1.1 200OK", MALFORMED);
    check("HTTP/1.1 2000", MALFORMED);
    check("HTTP/1.1 20 OK", MALFORMED);
    check("HTTP/1.1 -20 OK", MALFORMED);
    check("HTTP/1.1 +20 OK", MALFORMED);
    check("http/1.1 200 OK", MALFORMED);
    check("HTTP/1 200 OK", MALFORMED);
    check("HTTP/1.10 200 OK", MALFORMED);
    check("HTTP/1.1", MALFORMED);
    check("ICY 200 OK", MALFORMED);
    check(" HTTP/1.1 200 OK", MALFORMED);
    check("hello\r\nHTTP/1.1 200 OK", MALFORMED);
    check("HTTP/1.1 200 O\rK", Err(HeadError::BareCr.into()));
    // What nginx and HAProxy read alike, too.
    check("HTTP/1.1  200  OK", Ok(200));
    check("HTTP/1.1\t200\tOK", Ok(200));
    check("HTTP/1.1 403.1 Forbidden", Ok(403)); // IIS
    check("HTTP/1.1 200 O\u{1}K", Ok(200)); // nobody reads the reason
    check("HTTP/1.1 200 O\0K", Ok(200));
    check("HTTP/1.1 200 O\u{7f}K", Ok(200));
    check("HTTP/1.1 200 OK\r", Ok(200));
    check("\r\n\n\r\nHTTP/1.1 200 OK", Ok(200));
    check(&format!("{}HTTP/1.1 200 OK", "\r\n".repeat(9)), MALFORMED);
    check("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK", Ok(200)); // IIS, says nginx
    // RFC 9110, section 2.5: as the highest version that one knows.
    check("HTTP/1.2 200 OK", Ok(200));
    check("HTTP/1.9 200 OK", Ok(200));
    check("HTTP/2.0 200 OK", Ok(200));
    check("HTTP/0.9 200 OK", Ok(200));
    // RFC 9110, section 15: others are invalid, and passed on as far as they have a class.
    check("HTTP/1.1 600 OK", Ok(600));
    check("HTTP/1.1 999 Request denied", Ok(999));
    check("HTTP/1.1 099 OK", Err(ResponseError::Status));
    check("HTTP/1.1 000 OK", Err(ResponseError::Status));
}

#[test]
fn versions() {
    #[track_caller]
    fn check(version: &str, expected: Version, keep_alive: bool) {
        let response = get(&format!("{version} 200 OK\r\nContent-Length: 0\r\n\r\n"));
        let response = response.unwrap().unwrap();
        assert_eq!((response.version, response.keep_alive), (expected, keep_alive), "{version}");
    }
    check("HTTP/1.1", Version::Http11, true);
    check("HTTP/1.2", Version::Http11, true);
    check("HTTP/1.0", Version::Http10, false);
    check("HTTP/0.9", Version::Http10, false);
    check("HTTP/2.0", Version::Http11, false); // which this is not
}

/// What becomes of field lines: the fields, or why the response is refused.
#[test]
fn field_lines_become_canonical() {
    #[track_caller]
    fn check(lines: &str, expected: Result<&str, HeadError>) {
        for end in ["\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n"] {
            let parsed = get(&format!("HTTP/1.1 200 OK\r\n{lines}{end}"));
            let fields =
                parsed.map(|response| format!("{:?}", response.unwrap_or_default().fields));
            assert_eq!(
                fields,
                expected.map(str::to_owned).map_err(Into::into),
                "{lines:?} {end:?}"
            );
        }
    }
    check("A: b", Ok(r#"{"A": "b"}"#));
    check("A:b", Ok(r#"{"A": "b"}"#));
    check("A: \t b \t", Ok(r#"{"A": "b"}"#));
    check("A_b: c", Ok(r#"{"A_b": "c"}"#)); // nobody behind us makes variables of them
    // RFC 9112, section 2.2.
    check("A: b\nC: d", Ok(r#"{"A": "b", "C": "d"}"#));
    check("A: b\r\r\nC: d", Ok(r#"{"A": "b", "C": "d"}"#));
    check("A: b\rC: d", Err(HeadError::BareCr));
    check("A\r: b", Err(HeadError::BareCr));
    check("A: b\r\n\r\r\nC: d", Err(HeadError::BareCr)); // for some the head ends here
    // Section 5.1: to be removed.
    check("A : b", Ok(r#"{"A": "b"}"#));
    check("A \t : b", Ok(r#"{"A": "b"}"#));
    check("Content-Length : 5", Ok(r#"{"Content-Length": "5"}"#));
    // Section 5.2: to be replaced by spaces.
    check("A: b\r\n c", Ok(r#"{"A": "b c"}"#));
    check("A: b \t\r\n\t  c\n d\r\nE: f", Ok(r#"{"A": "b c d", "E": "f"}"#));
    check("A:\r\n b", Ok(r#"{"A": "b"}"#));
    check("A: b\r\n \r\n c", Ok(r#"{"A": "b c"}"#));
    check("Content-Length:\r\n 5", Ok(r#"{"Content-Length": "5"}"#));
    check(" A: b", Err(HeadError::Fold)); // section 2.2: some take it for a field
    // RFC 9110, section 5.5.
    check("A: b\u{1}c\u{7f}\u{b}d", Ok(r#"{"A": "b c  d"}"#));
    check("A: b\u{1}", Ok(r#"{"A": "b"}"#));
    check("A: b\r\n \u{1}c", Ok(r#"{"A": "b  c"}"#));
    check("A: \0", Err(HeadError::FieldValue));
    check("A\0: b", Err(HeadError::FieldValue));
    check("Content-Length: 5\u{b}", Err(HeadError::FieldValue));
    check("Transfer-Encoding: \u{b}chunked", Err(HeadError::FieldValue));
    // What is no field is dropped.
    check("A\r\nB: c", Ok(r#"{"B": "c"}"#));
    check("A b c\r\n d: e\r\nB: c", Ok(r#"{"B": "c"}"#));
    check(": b\r\nB: c", Ok(r#"{"B": "c"}"#));
    check("A(: b\r\nB: c", Ok(r#"{"B": "c"}"#));
    check("\"A\": b\r\nB: c", Ok(r#"{"B": "c"}"#));
    check("A b: c\r\nB: c", Ok(r#"{"B": "c"}"#));
    check("A\u{e4}: b\r\nB: c", Ok(r#"{"B": "c"}"#));
    // But not what others may find the end of the body in.
    check("Content-Length", Err(HeadError::FieldName));
    check("Content-Length 5", Err(HeadError::FieldName));
    check("Content Length: 5", Err(HeadError::FieldName));
    check("\u{b}Transfer-Encoding: chunked", Err(HeadError::FieldName));
    check("(content-length): 5", Err(HeadError::FieldName));
    check("A\r\n Transfer-Encoding: chunked", Err(HeadError::FieldName));
}

#[test]
fn partial_heads_and_limits() {
    for part in ["", "H", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1 200 OK\r", "HTTP/1.1 200 OK\r\nA:"]
    {
        assert!(get(part).is_ok_and(|response| response.is_none()), "{part:?}");
    }
    for part in ["\r", "\r\n", "\n\r", "HTTP/1.1 200 OK\nA: b\n", "HTTP/1.1 200 OK\r\nA: b\r\n "] {
        assert!(get(part).is_ok_and(|response| response.is_none()), "{part:?}");
    }
    for part in ["X", "HTTQ", "HTTP/\n", "\rX", "\r\nX"] {
        assert_eq!(get(part).unwrap_err(), ResponseError::StatusLine, "{part:?}");
    }
    let long = "a".repeat(512);
    let error = get(&format!("HTTP/1.1 200 {long}")).unwrap_err();
    assert_eq!(error, HeadError::TooLong.into());
    let error = get(&format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n")).unwrap_err();
    assert_eq!(error, HeadError::TooLong.into());
    let error = get(&format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(9))).unwrap_err();
    assert_eq!(error, HeadError::TooManyFields.into());
    let error = get(&format!("HTTP/1.1 200 OK\n{}\n", "A: b\n".repeat(9))).unwrap_err();
    assert_eq!(error, HeadError::TooManyFields.into());
    let error = get(&format!("HTTP/1.1 200 OK\nA: {long}\n\n")).unwrap_err();
    assert_eq!(error, HeadError::TooLong.into());
}

/// Long heads are not read before their end is there, whatever ends their lines.
#[test]
fn long_heads() {
    const LIMITS: HeadLimits = HeadLimits { bytes: 60_000, fields: 500, target: 0 };
    for end in ["\r\n", "\n"] {
        let lines = format!("A: {}{end}", "b".repeat(90)).repeat(100);
        let head = format!("HTTP/1.1 200 OK{end}{lines}{end}");
        let mut response = Response::default();
        let mut parse =
            |input: &str| parse_response(input.as_bytes(), &LIMITS, &Method::Get, &mut response);
        assert_eq!(parse(head.get(..head.len() - 1).unwrap()), Ok(None), "{end:?}");
        assert_eq!(parse(&head), Ok(Some(head.len())), "{end:?}");
    }
}

#[test]
fn body_length() {
    #[track_caller]
    fn check(
        method: Method,
        status: u16,
        fields: &str,
        expected: Result<BodyLength, ResponseError>,
    ) {
        let parsed = parse(method, &format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n"));
        let body = parsed.map(|response| response.unwrap_or_default().body);
        assert_eq!(body, expected, "{method} {status} {fields:?}");
    }
    let get = Method::Get;
    // RFC 9112, section 6.3, in its order.
    // Item 1: HEAD, 1xx, 204, 304.
    check(Method::Head, 200, "Content-Length: 5", Ok(BodyLength::None));
    check(Method::Head, 200, "Transfer-Encoding: chunked", Ok(BodyLength::None));
    check(Method::Head, 404, "A: b", Ok(BodyLength::None));
    check(get, 304, "Content-Length: 5", Ok(BodyLength::None));
    check(get, 304, "Transfer-Encoding: chunked", Ok(BodyLength::None));
    check(get, 100, "A: b", Ok(BodyLength::None));
    check(get, 103, "Link: </a>", Ok(BodyLength::None));
    check(get, 101, "Connection: upgrade\r\nUpgrade: websocket", Ok(BodyLength::None));
    check(get, 204, "A: b", Ok(BodyLength::None));
    check(get, 204, "Content-Length: 0", Ok(BodyLength::None));
    for status in [100, 101, 103, 204] {
        for fields in ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: x"] {
            check(get, status, fields, Ok(BodyLength::None));
        }
    }
    // Item 2: a tunnel.
    check(Method::Connect, 200, "Content-Length: 5", Ok(BodyLength::None));
    check(Method::Connect, 299, "Transfer-Encoding: chunked", Ok(BodyLength::None));
    check(Method::Connect, 407, "Content-Length: 5", Ok(BodyLength::Exact(5)));
    // Items 3 to 6.
    check(get, 200, "Transfer-Encoding: chunked", Ok(BodyLength::Chunked));
    check(get, 200, "Content-Length: 5", Ok(BodyLength::Exact(5)));
    check(get, 205, "Content-Length: 0", Ok(BodyLength::Exact(0)));
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked";
    check(get, 200, both, Err(FramingError::LengthAndEncoding.into()));
    check(Method::Head, 200, both, Ok(BodyLength::None));
    check(get, 304, both, Ok(BodyLength::None));
    check(get, 200, "Content-Length: 5, 6", Err(FramingError::DifferingLengths.into()));
    check(get, 200, "Content-Length: 5, 5", Ok(BodyLength::Exact(5)));
    check(get, 200, "Content-Length: -1", Err(FramingError::InvalidLength.into()));
    let most = i64::MAX as u64;
    check(get, 200, &format!("Content-Length: {most}"), Ok(BodyLength::Exact(most)));
    let more = format!("Content-Length: {}", most + 1);
    check(get, 200, &more, Err(FramingError::InvalidLength.into()));
    check(get, 200, "Content-Length:", Err(FramingError::InvalidLength.into()));
    check(get, 200, "Transfer-Encoding: gzip, chunked", Err(FramingError::UnknownEncoding.into()));
    check(get, 200, "Transfer-Encoding: gzip", Err(FramingError::InvalidEncoding.into()));
    check(get, 200, "Transfer-Encoding: identity", Err(FramingError::InvalidEncoding.into()));
    // Item 8.
    check(get, 200, "A: b", Ok(BodyLength::UntilClose));
    check(get, 999, "Content-Length: 5", Ok(BodyLength::Exact(5)));
    // Section 6.1: to be read, and the connection closed.
    for connection in ["A: b", "Connection: keep-alive"] {
        let head = format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n{connection}\r\n\r\n");
        let response = parse(get, &head).unwrap().unwrap();
        assert_eq!((response.body, response.keep_alive), (BodyLength::Chunked, false));
    }
}

#[test]
fn fields_that_mean_nothing_are_dropped() {
    // RFC 9110, section 9.3.6: in a successful answer to CONNECT.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    let response = parse(Method::Connect, head).unwrap().unwrap();
    assert!(!response.fields.has(Known::ContentLength));
    // Section 8.6: in 204.
    let response = get("HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap();
    assert!(response.fields.is_empty());
    // Whether a body comes that must not is not known: nothing is read behind it.
    for fields in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let response = get(&format!("HTTP/1.1 204 OK\r\n{fields}\r\n\r\n")).unwrap().unwrap();
        assert!(!response.fields.has(Known::ContentLength) && !response.keep_alive);
    }
    // It stays where it tells what GET would have got, if it does.
    let response = parse(Method::Head, head).unwrap().unwrap();
    assert!(response.fields.has(Known::ContentLength) && response.keep_alive);
    for fields in ["Content-Length: x", "Content-Length: 5\r\nTransfer-Encoding: chunked"] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let response = parse(Method::Head, &head).unwrap().unwrap();
        assert!(!response.fields.has(Known::ContentLength) && !response.keep_alive);
    }
}

#[test]
fn persistence() {
    #[track_caller]
    fn check(head: &str, expected: bool) {
        let response = get(&format!("{head}\r\n\r\n")).unwrap().unwrap();
        assert_eq!(response.keep_alive, expected, "{head:?}");
    }
    // RFC 9112, section 9.3.
    check("HTTP/1.1 200 OK\r\nContent-Length: 5", true);
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close", false);
    check("HTTP/1.1 304 Not Modified", true);
    check("HTTP/1.1 200 OK", false); // the close is the end of the body
    check("HTTP/1.0 200 OK\r\nContent-Length: 5", false);
    check("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive", true);
    check("HTTP/1.0 200 OK\r\nConnection: keep-alive", false);
    let response = get("HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
    assert_eq!(response.version, Version::Http10);
}
