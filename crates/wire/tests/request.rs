//! Request heads, rule by rule.

use message::{BodyLength, Known, Method, Request, Scheme, TargetError, Version};
use wire::http1::{FramingError, HeadError, HeadLimits, RequestError, parse_request};

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 8, target: 64 };

fn parse(input: &str) -> Result<Option<Request>, RequestError> {
    let mut request = Request::default();
    let length = parse_request(input.as_bytes(), &LIMITS, Scheme::Http, &mut request)?;
    if let Some(length) = length {
        assert_eq!(input.get(length - 4..length), Some("\r\n\r\n"), "{input:?}");
    }
    Ok(length.map(|_| request))
}

/// A request to `a` with these field lines after `Host`.
fn with_fields(method: &str, fields: &str) -> Result<Request, RequestError> {
    let target = if method == "CONNECT" { "a:443" } else { "/" };
    let request = parse(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))?;
    Ok(request.expect("the head is whole"))
}

#[test]
fn a_usual_request() {
    let head = "GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example.com:8080\r\nUser-Agent: curl/8.5\r\n\
        accept:*/*\r\nX-Empty:\r\nX-Blank: \t \r\nX-Tab:\ta\tb \r\n\r\nGET";
    let mut request = Request::default();
    let length = parse_request(head.as_bytes(), &LIMITS, Scheme::Http, &mut request);
    assert_eq!(length, Ok(Some(head.len() - 3)));
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.version, Version::Http11);
    assert_eq!(request.target.to_string(), "http://shop.example.com:8080/a/b?c=d");
    assert_eq!(
        format!("{:?}", request.fields),
        r#"{"Host": "Shop.Example.com:8080", "User-Agent": "curl/8.5", "accept": "*/*", "#
            .to_owned()
            + r#""X-Empty": "", "X-Blank": "", "X-Tab": "a\tb"}"#
    );
    assert!(request.keep_alive && !request.upgrade && !request.expect_continue);
    assert_eq!(request.body, BodyLength::None);
    // The value is used again for the next request, and nothing of this one stays.
    let next = b"POST / HTTP/1.0\r\nHost: b\r\nContent-Length: 3\r\n\r\n";
    let length = parse_request(next, &LIMITS, Scheme::Https, &mut request);
    assert_eq!(length, Ok(Some(next.len())));
    assert_eq!(request.target.to_string(), "https://b/");
    assert_eq!(request.fields.len(), 2);
    assert!(!request.keep_alive);
}

#[test]
fn request_line() {
    #[track_caller]
    fn check(line: &str, expected: Result<(), RequestError>) {
        let parsed = parse(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(parsed.map(|request| assert!(request.is_some())), expected, "{line:?}");
    }
    const MALFORMED: Result<(), RequestError> = Err(RequestError::RequestLine);
    check("GET / HTTP/1.1", Ok(()));
    check("PROPFIND / HTTP/1.1", Ok(()));
    check("M-SEARCH * HTTP/1.1", Err(TargetError::InvalidForm.into()));
    check("OPTIONS * HTTP/1.1", Ok(()));
    // RFC 9112, section 3: single spaces. What could be read leniently is not.
    check("GET  / HTTP/1.1", MALFORMED);
    check("GET /  HTTP/1.1", MALFORMED);
    check("GET\t/ HTTP/1.1", MALFORMED);
    check(" GET / HTTP/1.1", MALFORMED);
    check("GET / HTTP/1.1 ", MALFORMED);
    check("GET /a b HTTP/1.1", MALFORMED);
    check("GET / ", MALFORMED);
    check("GET /", MALFORMED); // HTTP/0.9
    check("GET", MALFORMED);
    check("G\u{e4}T / HTTP/1.1", MALFORMED);
    check("GET: / HTTP/1.1", MALFORMED);
    check("GET /\0 HTTP/1.1", Err(TargetError::InvalidByte.into()));
    check("GET /\r HTTP/1.1", Err(TargetError::InvalidByte.into()));
    check("GET /\t HTTP/1.1", Err(TargetError::InvalidByte.into()));
    check("GET /#a HTTP/1.1", Err(TargetError::Fragment.into()));
    // RFC 9112, section 2.3: the version has a case, and two digits.
    check("GET / http/1.1", MALFORMED);
    check("GET / HTTP/1.10", MALFORMED);
    check("GET / HTTP/11", MALFORMED);
    check("GET / HTTP/1,1", MALFORMED);
    check("GET / XTTP/1.1", MALFORMED);
    check("GET / HTTP/1.2", Ok(())); // RFC 9110, section 2.5: as the highest that one knows
    check("GET / HTTP/1.10", MALFORMED);
    check("GET / HTTP/0.9", Err(RequestError::Version));
    check("GET / HTTP/2.0", Err(RequestError::Version));
    check("GET / HTTP/3.0", Err(RequestError::Version));
    // RFC 9112, section 3: 501 for a method, 414 for a target that is longer than any we know.
    check("ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1", Err(RequestError::MethodTooLong));
    check(&format!("GET /{} HTTP/1.1", "a".repeat(63)), Ok(()));
    check(&format!("GET /{} HTTP/1.1", "a".repeat(64)), Err(RequestError::TargetTooLong));
}

#[test]
fn other_protocols() {
    // RFC 9113, section 3.4: the preface of HTTP/2.
    let preface = parse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(preface.unwrap_err(), RequestError::Http2Preface);
    // A TLS ClientHello is refused at its first byte.
    assert_eq!(parse("\u{16}").unwrap_err(), RequestError::RequestLine);
    assert_eq!(parse("\u{16}\u{3}\u{1}\u{2}").unwrap_err(), RequestError::RequestLine);
    assert_eq!(parse("\0").unwrap_err(), RequestError::RequestLine);
    assert_eq!(parse("SSH-2.0-OpenSSH_9.2\r\n").unwrap_err(), RequestError::RequestLine);
    // PROXY protocol where it is not expected.
    let line = parse("PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(line.unwrap_err().status(), 400);
    let signature = parse("\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(signature.unwrap_err(), RequestError::RequestLine);
}

#[test]
fn empty_lines_before_the_request() {
    // RFC 9112, section 2.2: one is ignored.
    assert!(parse("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok_and(|request| request.is_some()));
    for head in ["\r\n\r\nGET / HTTP/1.1\r\n", "\nGET / HTTP/1.1\r\n", "\rGET / HTTP/1.1\r\n"] {
        assert_eq!(parse(head).unwrap_err(), RequestError::RequestLine, "{head:?}");
    }
}

#[test]
fn partial_heads() {
    let parts =
        ["", "\r", "\r\n", "G", "GET", "GET ", "GET /", "GET / HTTP/1.1", "GET / HTTP/1.1\r"];
    for head in parts {
        assert!(parse(head).is_ok_and(|request| request.is_none()), "{head:?}");
    }
    let parts = ["\r\n", "\r\nHo", "\r\nHost: a", "\r\nHost: a\r\n", "\r\nHost: a\r\n\r"];
    for part in parts {
        let head = format!("GET / HTTP/1.1{part}");
        assert!(parse(&head).is_ok_and(|request| request.is_none()), "{head:?}");
    }
}

#[test]
fn limits() {
    // Also while the end is not there yet, so that nobody can make us wait and keep.
    let error = |head: &str| parse(head).unwrap_err();
    assert_eq!(error(&format!("GET /{}", "a".repeat(65))), RequestError::TargetTooLong);
    assert_eq!(error(&"A".repeat(25)), RequestError::MethodTooLong);
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let long = HeadError::TooLong.into();
    assert_eq!(error(&format!("{start}{}", "a".repeat(1024))), long);
    assert_eq!(error(&format!("{start}{}\r\n\r\n", "a".repeat(1024))), long);
    let fits = format!("{start}{}\r\n\r\n", "a".repeat(1024 - start.len() - 4));
    assert!(parse(&fits).is_ok_and(|request| request.is_some()));
    assert_eq!(error(&format!("{start}{}", "a\r\nX:".repeat(8))), HeadError::TooManyFields.into());
    // Fields that are dropped count too.
    let dropped = format!("{start}{}", "a\r\nX_:".repeat(8));
    assert_eq!(error(&dropped), HeadError::TooManyFields.into());
    assert_eq!(RequestError::from(HeadError::TooManyFields).status(), 431); // RFC 6585, section 5
    assert_eq!(RequestError::TargetTooLong.status(), 414);
    assert_eq!(RequestError::MethodTooLong.status(), 501);
    assert_eq!(RequestError::Version.status(), 505);
}

#[test]
fn long_heads_are_found_too_long_and_too_slow_ones_are_cheap() {
    // Beyond a few KiB a head is not looked at before it may be whole; the answers stay the same.
    let limits = HeadLimits { bytes: 20_000, fields: 1000, target: 10_000 };
    let mut request = Request::default();
    let mut parse = |head: &str| {
        let length = parse_request(head.as_bytes(), &limits, Scheme::Http, &mut request);
        length.map(|length| length.is_some())
    };
    assert_eq!(parse(&format!("GET /{}", "a".repeat(10_000))), Err(RequestError::TargetTooLong));
    let many = "X: abcdefghijklmnopq\r\n".repeat(900);
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}")), Ok(false));
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Ok(true));
    let long = Err(HeadError::TooLong.into());
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}X: {many}")), long);
    // Whoever sets no limit gets one nevertheless.
    let limits = HeadLimits { bytes: usize::MAX, ..limits };
    let name = "A".repeat(70_000);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\n\r\n");
    let refused = parse_request(head.as_bytes(), &limits, Scheme::Http, &mut request);
    assert_eq!(refused, Err(HeadError::TooLong.into()));
}

#[test]
fn field_lines() {
    #[track_caller]
    fn check(line: &str, expected: Result<usize, HeadError>) {
        let count = with_fields("GET", line).map(|request| request.fields.len());
        assert_eq!(count, expected.map_err(RequestError::from), "{line:?}");
    }
    check("A: b", Ok(2));
    check("!#$%&'*+-.^`|~09azAZ: b", Ok(2)); // RFC 9110, section 5.6.2
    check("A: \u{e4}\u{80}", Ok(2)); // RFC 9110, section 5.5: obs-text
    check("A:b:c", Ok(2));
    // RFC 9112, section 5.1: no white space between name and colon.
    check("A : b", Err(HeadError::SpaceBeforeColon));
    check("A\t: b", Err(HeadError::SpaceBeforeColon));
    check("Transfer-Encoding : chunked", Err(HeadError::SpaceBeforeColon));
    // RFC 9112, section 5.2: obsolete line folding.
    check("A: b\r\n c", Err(HeadError::Fold));
    check("A: b\r\n\tc", Err(HeadError::Fold));
    check(" A: b", Err(HeadError::Fold));
    check(" ", Err(HeadError::Fold));
    // RFC 9112, section 2.2: bare CR, and bare LF.
    check("A: b\rC: d", Err(HeadError::BareCr));
    check("A: b\r\rC: d", Err(HeadError::BareCr));
    check("A\r: b", Err(HeadError::BareCr));
    check("\rA: b", Err(HeadError::BareCr));
    check("A: b\nC: d", Err(HeadError::BareLf));
    check("A: b\n\nC: d", Err(HeadError::BareLf));
    check("A\nC: d", Err(HeadError::BareLf));
    check("\nA: b", Err(HeadError::BareLf));
    // RFC 9110, section 5.1: a name is a token.
    check(": b", Err(HeadError::FieldName));
    check("A", Err(HeadError::FieldName));
    check("A(: b", Err(HeadError::FieldName));
    check("A\0: b", Err(HeadError::FieldName));
    check("A\u{e4}: b", Err(HeadError::FieldName));
    check("\u{b}Transfer-Encoding: chunked", Err(HeadError::FieldName));
    check("\"A\": b", Err(HeadError::FieldName));
    // RFC 9110, section 5.5: no control byte but HTAB in a value.
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        check(&format!("A: b{}c", char::from(byte)), Err(HeadError::FieldValue));
        check(&format!("A: {}", char::from(byte)), Err(HeadError::FieldValue));
        let long = format!("A: 0123456789\tabcdefghijklmnopqrstuvwxyz{}z", char::from(byte));
        check(&long, Err(HeadError::FieldValue));
    }
}

#[test]
fn names_with_underscores_are_names_of_their_own() {
    let request = with_fields("POST", "Content_Length: 5\r\nX_A: b\r\nX-A: c\r\n_: d").unwrap();
    let fields = r#"{"Host": "a", "Content_Length": "5", "X_A": "b", "X-A": "c", "_": "d"}"#;
    assert_eq!(format!("{:?}", request.fields), fields);
    assert_eq!(request.body, BodyLength::None);
}

#[test]
fn host_field() {
    #[track_caller]
    fn check(head: &str, expected: Result<&str, RequestError>) {
        let parsed = parse(&format!("{head}\r\n\r\n"));
        let uri = parsed.map(|request| request.unwrap_or_default().target.to_string());
        assert_eq!(uri, expected.map(str::to_owned), "{head:?}");
    }
    const NO_HOST: RequestError = RequestError::NoHost;
    // RFC 9112, section 3.2: exactly one, and a valid one.
    check("GET / HTTP/1.1\r\nHost: A.example:80", Ok("http://a.example/"));
    check("GET / HTTP/1.1", Err(NO_HOST));
    check("GET http://a/ HTTP/1.1", Err(NO_HOST));
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a", Err(RequestError::RepeatedHost));
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: b", Err(RequestError::RepeatedHost));
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: a", Err(RequestError::RepeatedHost));
    // An empty one is that of a target without authority.
    check("GET / HTTP/1.1\r\nHost:", Ok("http:///"));
    check("GET / HTTP/1.1\r\nHost:\r\nHost:", Err(RequestError::RepeatedHost));
    check("GET / HTTP/1.1\r\nHost: a, b", Err(TargetError::InvalidHost.into()));
    check("GET / HTTP/1.1\r\nHost: a/b", Err(TargetError::InvalidHost.into()));
    check("GET / HTTP/1.1\r\nHost: u@a", Err(TargetError::Userinfo.into()));
    check("GET / HTTP/1.1\r\nHost_: a", Err(NO_HOST));
    // RFC 9112, section 3.2.2: what the target names wins, whatever `Host` says.
    check("GET http://A/ HTTP/1.1\r\nHost: a:80", Ok("http://a/"));
    check("GET http://b/ HTTP/1.1\r\nHost: a", Ok("http://b/"));
    check("GET http://b:81/ HTTP/1.1\r\nHost: b", Ok("http://b:81/"));
    check("GET http://b/ HTTP/1.1\r\nHost:", Ok("http://b/"));
    check("CONNECT b:443 HTTP/1.1\r\nHost: proxy:3128", Ok("b:443"));
    check("GET http://b/ HTTP/1.1\r\nHost: b\r\nHost: a", Err(RequestError::RepeatedHost));
    // HTTP/1.0 may leave it out.
    check("GET http://a/ HTTP/1.0", Ok("http://a/"));
    check("GET / HTTP/1.0\r\nHost: a", Ok("http://a/"));
    check("GET / HTTP/1.0", Ok("http:///"));
    check("OPTIONS * HTTP/1.0", Ok("http://"));
}

#[test]
fn body_length() {
    #[track_caller]
    fn check(fields: &str, expected: Result<BodyLength, FramingError>) {
        let body = with_fields("POST", fields).map(|request| request.body);
        assert_eq!(body, expected.map_err(RequestError::from), "{fields:?}");
    }
    use FramingError::*;
    // RFC 9110, section 8.6.
    check("Content-Length: 5", Ok(BodyLength::Exact(5)));
    check("Content-Length: 0", Ok(BodyLength::Exact(0)));
    check("Content-Length: 0005", Ok(BodyLength::Exact(5)));
    // As large as everybody can count to, with a sign or without.
    check("Content-Length: 9223372036854775807", Ok(BodyLength::Exact(i64::MAX as u64)));
    for value in ["9223372036854775808", "18446744073709551615", "18446744073709551616"] {
        check(&format!("Content-Length: {value}"), Err(InvalidLength));
    }
    check("Content-Length: 99999999999999999999999", Err(InvalidLength));
    for value in
        ["", "+5", "-5", "5.0", "0x5", "5 5", "5a", "a", "5,", ",5", "5,,5", "5;5", "\"5\""]
    {
        check(&format!("Content-Length: {value}"), Err(InvalidLength));
    }
    // RFC 9110, section 8.6; RFC 9112, section 6.3, item 5: repeated values.
    check("Content-Length: 5, 5", Ok(BodyLength::Exact(5)));
    check("Content-Length: 5\r\ncontent-length: 5", Ok(BodyLength::Exact(5)));
    check("Content-Length: 5, 6", Err(DifferingLengths));
    check("Content-Length: 5\r\nContent-Length: 6", Err(DifferingLengths));
    check("Content-Length: 5\r\nContent-Length: +5", Err(InvalidLength));
    // RFC 9112, sections 6.1 and 7: exactly `chunked`, in any case.
    check("Transfer-Encoding: chunked", Ok(BodyLength::Chunked));
    check("transfer-encoding:\tCHUNKED ", Ok(BodyLength::Chunked));
    for value in [
        "",
        "identity",
        "gzip",
        "identity, chunked",
        "gzip, chunked, chunked",
        "chunked;q=1, chunked",
        "g\"zip, chunked",
        "gzip,, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked identity",
        "chun ked",
    ] {
        check(&format!("Transfer-Encoding: {value}"), Err(InvalidEncoding));
    }
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(InvalidEncoding));
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Err(InvalidEncoding));
    // Section 6.1: what ends with it after other codings is not implemented.
    for value in ["gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "a;b=c ,d,\tCHUNKED"] {
        check(&format!("Transfer-Encoding: {value}"), Err(UnknownEncoding));
    }
    assert_eq!(RequestError::from(UnknownEncoding).status(), 501);
    check("Content-Length: 5\r\nTransfer-Encoding: gzip, chunked", Err(LengthAndEncoding));
    // RFC 9112, section 6.3, item 3: never both.
    check("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(LengthAndEncoding));
    check("Transfer-Encoding: chunked\r\nContent-Length: 5", Err(LengthAndEncoding));
    check("Transfer-Encoding: chunked\r\nContent-Length: 0", Err(LengthAndEncoding));
    // Section 6.3, item 7: none at all.
    check("A: b", Ok(BodyLength::None));
    // Section 6.1: HTTP/1.0 does not know the coding.
    let old = parse("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.unwrap_err(), EncodingInOldVersion.into());
}

#[test]
fn content_length_gets_its_usual_spelling() {
    for fields in
        ["Content-Length: 5, 5", "Content-Length: 5\r\nContent-Length: 5", "content-length: 05"]
    {
        let request = with_fields("POST", fields).unwrap();
        let values: Vec<_> = request.fields.get_all(Known::ContentLength).collect();
        assert_eq!(values, [b"5"], "{fields:?}");
    }
}

#[test]
fn methods_without_body() {
    // RFC 9110, sections 9.3.6 and 9.3.8.
    for method in ["TRACE", "CONNECT"] {
        for fields in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
            let error = with_fields(method, fields).unwrap_err();
            assert_eq!(error, RequestError::UnexpectedBody, "{method} {fields}");
        }
        let request = with_fields(method, "Content-Length: 0").unwrap();
        assert_eq!(request.body, BodyLength::None);
        assert!(!request.fields.has(Known::ContentLength));
    }
    // RFC 9110, section 9.3.1: GET may have one; it has no meaning, but it is there.
    assert_eq!(with_fields("GET", "Content-Length: 1").unwrap().body, BodyLength::Exact(1));
}

#[test]
fn persistence() {
    #[track_caller]
    fn check(version: &str, fields: &str, expected: bool) {
        let head = format!("GET / {version}\r\nHost: a\r\n{fields}\r\n");
        let request = parse(&head).unwrap().unwrap();
        assert_eq!(request.keep_alive, expected, "{head:?}");
    }
    // RFC 9112, section 9.3.
    check("HTTP/1.1", "", true);
    check("HTTP/1.1", "Connection: close\r\n", false);
    check("HTTP/1.1", "Connection: Close , x\r\n", false);
    check("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false);
    check("HTTP/1.1", "Connection: keep-alive, close\r\n", false);
    check("HTTP/1.1", "Connection: closed\r\n", true);
    check("HTTP/1.0", "", false);
    check("HTTP/1.0", "Connection: keep-alive\r\n", true);
    check("HTTP/1.0", "Connection: Keep-Alive\r\n", true);
    check("HTTP/1.0", "Connection: keep-alive, close\r\n", false);
    check("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false); // RFC 9112, appendix C.2.2
}

#[test]
fn expectations() {
    #[track_caller]
    fn check(version: &str, fields: &str, expected: Result<bool, RequestError>) {
        let request = parse(&format!("PUT / {version}\r\nHost: a\r\n{fields}\r\n\r\n"));
        let continues = request.map(|request| request.unwrap_or_default().expect_continue);
        assert_eq!(continues, expected, "{version} {fields:?}");
    }
    // RFC 9110, section 10.1.1.
    check("HTTP/1.1", "Content-Length: 5\r\nExpect: 100-continue", Ok(true));
    check("HTTP/1.1", "Transfer-Encoding: chunked\r\nExpect: 100-Continue", Ok(true));
    check("HTTP/1.1", "Content-Length: 0\r\nExpect: 100-continue", Ok(false));
    check("HTTP/1.1", "Expect: 100-continue", Ok(false));
    check("HTTP/1.1", "Content-Length: 5\r\nExpect: tea", Err(RequestError::Expectation));
    let two = "Content-Length: 5\r\nExpect: 100-continue, tea";
    check("HTTP/1.1", two, Err(RequestError::Expectation));
    check("HTTP/1.0", "Content-Length: 5\r\nExpect: 100-continue", Ok(false));
    assert_eq!(RequestError::Expectation.status(), 417);
}

#[test]
fn upgrades() {
    #[track_caller]
    fn check(fields: &str, expected: bool) {
        assert_eq!(with_fields("GET", fields).map(|r| r.upgrade), Ok(expected), "{fields:?}");
    }
    // RFC 9110, section 7.8: `Connection` must name it.
    check("Connection: Upgrade\r\nUpgrade: websocket", true);
    check("Connection: keep-alive, upgrade\r\nUpgrade: websocket", true);
    check("Upgrade: websocket", false);
    check("Connection: upgrade", false);
    // RFC 9113, section 3.1: not passed on, not even among others.
    check("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA", false);
    check("Connection: Upgrade\r\nUpgrade: websocket, H2C", false);
    check("Connection: Upgrade\r\nUpgrade: HTTP/2.0", false);
    // RFC 9110, section 7.8: to be ignored in HTTP/1.0.
    let old = "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(parse(old).is_ok_and(|request| !request.unwrap_or_default().upgrade));
}

#[test]
fn takers_of_trailers() {
    // RFC 9110, section 10.1.4.
    for (fields, expected) in [
        ("TE: trailers", true),
        ("TE: gzip;q=0.5, Trailers", true),
        ("TE: gzip", false),
        ("A: b", false),
    ] {
        assert_eq!(with_fields("GET", fields).map(|r| r.takes_trailers), Ok(expected), "{fields}");
    }
}

#[test]
fn connection_options_are_marked() {
    // RFC 9110, section 7.6.1.
    let request = with_fields("GET", "Connection: x-a, close\r\nX-A: b\r\nX-B: c").unwrap();
    let left: Vec<_> = request.fields.end_to_end().map(|field| field.name.to_vec()).collect();
    assert_eq!(left, [b"Host".to_vec(), b"X-B".to_vec()]);
    assert!(with_fields("GET", &format!("Connection: close{}", ",a".repeat(63))).is_ok());
    let error = with_fields("GET", &format!("Connection: close{}", ",a".repeat(64))).unwrap_err();
    assert_eq!(error, FramingError::TooManyOptions.into());
}
