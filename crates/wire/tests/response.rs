//! Response heads, rule by rule.

use message::{BodyLength, Known, Method, Response, Version};
use wire::http1::{FramingError, HeadError, HeadLimits, ResponseError, parse_response};

const LIMITS: HeadLimits = HeadLimits { bytes: 512, fields: 8, target: 64 };

fn parse(method: Method, input: &str) -> Result<Option<Response>, ResponseError> {
    let mut response = Response::default();
    let length = parse_response(input.as_bytes(), &LIMITS, &method, &mut response)?;
    if let Some(length) = length {
        assert_eq!(input.get(length - 4..length), Some("\r\n\r\n"), "{input:?}");
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
    check("HTTP/1.1  200 OK", MALFORMED);
    check("HTTP/1.1\t200 OK", MALFORMED);
    check("HTTP/1.1 -20 OK", MALFORMED);
    check("HTTP/1.1 +20 OK", MALFORMED);
    check("http/1.1 200 OK", MALFORMED);
    check("HTTP/1.1 200 O\0K", MALFORMED);
    check("HTTP/1.1 200 O\u{7f}K", MALFORMED);
    check("ICY 200 OK", MALFORMED);
    check("\r\nHTTP/1.1 200 OK", MALFORMED);
    check(" HTTP/1.1 200 OK", MALFORMED);
    check("HTTP/1.1 200 O\rK", Err(HeadError::BareCr.into()));
    check("HTTP/1.1 200 O\nK", Err(HeadError::BareLf.into()));
    check("HTTP/2.0 200 OK", Err(ResponseError::Version));
    check("HTTP/1.2 200 OK", Err(ResponseError::Version));
    // RFC 9110, section 15: others are invalid.
    check("HTTP/1.1 099 OK", Err(ResponseError::Status));
    check("HTTP/1.1 000 OK", Err(ResponseError::Status));
    check("HTTP/1.1 600 OK", Err(ResponseError::Status));
    check("HTTP/1.1 999 OK", Err(ResponseError::Status));
}

#[test]
fn field_lines_are_judged_as_in_requests() {
    #[track_caller]
    fn check(line: &str, expected: HeadError) {
        let parsed = get(&format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(parsed.unwrap_err(), expected.into(), "{line:?}");
    }
    check("A : b", HeadError::SpaceBeforeColon); // RFC 9112, section 5.1
    check("A: b\r\n c", HeadError::Fold); // section 5.2
    check("A: b\nC: d", HeadError::BareLf);
    check("A: b\rC: d", HeadError::BareCr);
    check("A: \0", HeadError::FieldValue);
    check("A", HeadError::FieldName);
    // A head of LF alone is none.
    assert!(get("HTTP/1.1 200 OK\nContent-Length: 0\n\n").is_err());
    // Fields with `_` pass: nobody behind us turns them into variables.
    let response = get("HTTP/1.1 200 OK\r\nA_b: c\r\n\r\n").unwrap().unwrap();
    assert_eq!(response.fields.len(), 1);
}

#[test]
fn partial_heads_and_limits() {
    for part in ["", "H", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1 200 OK\r", "HTTP/1.1 200 OK\r\nA:"]
    {
        assert!(get(part).is_ok_and(|response| response.is_none()), "{part:?}");
    }
    for part in ["X", "HTTQ", "HTTP/\n", "\r\n"] {
        assert_eq!(get(part).unwrap_err(), ResponseError::StatusLine, "{part:?}");
    }
    let long = "a".repeat(512);
    let error = get(&format!("HTTP/1.1 200 {long}")).unwrap_err();
    assert_eq!(error, HeadError::TooLong.into());
    let error = get(&format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n")).unwrap_err();
    assert_eq!(error, HeadError::TooLong.into());
    let error = get(&format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(9))).unwrap_err();
    assert_eq!(error, HeadError::TooManyFields.into());
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
        for fields in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            check(get, status, fields, Err(ResponseError::UnexpectedBody));
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
    check(Method::Head, 200, both, Err(FramingError::LengthAndEncoding.into()));
    check(get, 304, both, Err(FramingError::LengthAndEncoding.into()));
    check(get, 200, "Content-Length: 5, 6", Err(FramingError::DifferingLengths.into()));
    check(get, 200, "Content-Length: 5, 5", Ok(BodyLength::Exact(5)));
    check(get, 200, "Content-Length: -1", Err(FramingError::InvalidLength.into()));
    check(get, 200, "Transfer-Encoding: gzip, chunked", Err(FramingError::InvalidEncoding.into()));
    check(get, 200, "Transfer-Encoding: identity", Err(FramingError::InvalidEncoding.into()));
    // Item 8.
    check(get, 200, "A: b", Ok(BodyLength::UntilClose));
    // Section 6.1.
    let old = body_length_of_old("Transfer-Encoding: chunked");
    assert_eq!(old, Err(FramingError::EncodingInOldVersion.into()));
}

fn body_length_of_old(fields: &str) -> Result<BodyLength, ResponseError> {
    let parsed = get(&format!("HTTP/1.0 200 OK\r\n{fields}\r\n\r\n"));
    parsed.map(|response| response.unwrap_or_default().body)
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
    // It stays where it tells what GET would have got.
    let response = parse(Method::Head, head).unwrap().unwrap();
    assert!(response.fields.has(Known::ContentLength));
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
