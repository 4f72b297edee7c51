//! SCGI: requests against the example of its specification, responses rule by rule (RFC 3875, section 6).

use message::{BodyLength, Method, Response};
use proptest::prelude::*;
use wire::http1::HeadLimits;
use wire::scgi::{
    ContainsNul, finish_head, parse_response, variables, write_decoded_path, write_field,
    write_variable,
};

fn plain(value: &str) -> impl FnOnce(&mut Vec<u8>) {
    move |out| out.extend_from_slice(value.as_bytes())
}

/// The example of the specification.
#[test]
fn the_example_of_the_specification() {
    let mut out = b"before".to_vec();
    for (name, value) in
        [("SCGI", "1"), ("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/deepthought")]
    {
        write_variable(&mut out, name.as_bytes(), plain(value)).unwrap();
    }
    let names: Vec<_> = variables(&out[6..]).map(|(name, _)| name.to_vec()).collect();
    assert_eq!(names, [&b"SCGI"[..], b"REQUEST_METHOD", b"REQUEST_URI"]);
    finish_head(&mut out, 6, 27);
    let expected = "before70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn fields_as_variables() {
    #[track_caller]
    fn check(name: &str, values: &[&str], expected: &str) {
        let mut out = Vec::new();
        let values = values.iter().map(|value| value.as_bytes());
        write_field(&mut out, name.as_bytes(), values).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected}\0"), "{name}");
    }
    check("Accept-Language", &["de"], "HTTP_ACCEPT_LANGUAGE\0de");
    check("x", &[""], "HTTP_X\0");
    check("X-A", &["1", "2"], "HTTP_X_A\x001, 2");
    check("Cookie", &["a=1", "b=2"], "HTTP_COOKIE\0a=1; b=2");
}

#[test]
fn nul_cannot_be_said() {
    let mut out = b"A\x001\0".to_vec();
    assert_eq!(write_variable(&mut out, b"B", plain("x\0HTTPS")), Err(ContainsNul));
    assert_eq!(write_variable(&mut out, b"B\0C", plain("x")), Err(ContainsNul));
    assert_eq!(write_field(&mut out, b"x", [&b"a"[..], b"\0"].into_iter()), Err(ContainsNul));
    assert_eq!(out, b"A\x001\0", "nothing of them is there");
}

#[test]
fn decoded_paths() {
    #[track_caller]
    fn check(path: &str, expected: &[u8]) {
        let mut out = b"before/".to_vec();
        write_decoded_path(&mut out, path.as_bytes());
        assert_eq!(out.strip_prefix(b"before/"), Some(expected), "{path}");
    }
    check("/", b"/");
    check("*", b"*");
    check("/a%20b/%c3%A4", "/a b/ä".as_bytes());
    check("/%", b"/%");
    check("/%2", b"/%2");
    check("/%zz%41", b"/%zzA");
    check("/%2541", b"/%41"); // once
    check("/a%2Fb//c", b"/a/b//c");
    check("/a/%2e%2E/b", b"/b");
    check("/a%2F..%2fb", b"/b");
    check("/../../a", b"/a");
    check("/a/..", b"/");
    check("/a/b/..", b"/a/");
    check("/a/.", b"/a/");
    check("/./a/./b", b"/a/b");
    check("/a/.b/..c/...", b"/a/.b/..c/...");
    check("/a//../b", b"/a/b");
}

const LIMITS: HeadLimits = HeadLimits { bytes: 200, fields: 5, target: 0 };

/// Reads a response; its status, body and fields, or the error's words.
fn read(input: &[u8], method: &Method) -> Result<Option<(usize, String)>, String> {
    let mut response = Response::default();
    let read = parse_response(input, &LIMITS, method, &mut Vec::new(), &mut response);
    let Some(length) = read.map_err(|error| error.to_string())? else { return Ok(None) };
    assert!(!response.keep_alive, "no connection is used again");
    let mut text = format!("{} {:?}", response.status, response.body);
    for field in response.fields.iter() {
        let (name, value) = (field.name, field.value);
        text += &format!(" {}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
    Ok(Some((length, text)))
}

#[test]
fn responses() {
    #[track_caller]
    fn check(head: &str, expected: &str) {
        let input = format!("{head}body");
        let read = read(input.as_bytes(), &Method::Get);
        assert_eq!(read, Ok(Some((head.len(), expected.to_owned()))), "{head:?}");
        for length in 0..head.len() {
            let part = self::read(&input.as_bytes()[..length], &Method::Get);
            assert_eq!(part, Ok(None), "{length} bytes of {head:?}");
        }
    }
    check("Content-Type: text/plain\r\n\r\n", "200 UntilClose Content-Type=text/plain");
    check("Content-Type: text/plain\n\n", "200 UntilClose Content-Type=text/plain");
    check("Status: 404 Not Found\nX: y\r\n\n", "404 UntilClose X=y");
    check("status:500\r\n\r\n", "500 UntilClose");
    check("X: y\r\nStatus : 999 Odd\r\n\r\n", "999 UntilClose X=y");
    check("Status: 204\nContent-Length: 3\n\n", "204 None");
    check("Status: 304\n\n", "304 None");
    check("Content-Length: 4\n\n", "200 Exact(4) Content-Length=4");
    check("Content-Length: 4, 4\n\n", "200 Exact(4) Content-Length=4");
    // Section 6.2.2 to 6.2.4.
    check("Location: /a\n\n", "302 UntilClose Location=/a");
    check("Location: https://a/\nStatus: 303 See\n\n", "303 UntilClose Location=https://a/");
    check("Status: 201\nStatus: 201 Created\n\n", "201 UntilClose");
    // As lenient as HTTP/1 is.
    check("X: a\n b\nno field\n\n", "200 UntilClose X=a b");
    check("X: a\u{1}b\n\n", "200 UntilClose X=a b");
}

#[test]
fn heads_answer_as_http_does() {
    let head = Method::parse(b"HEAD").unwrap();
    let expected = Ok(Some((19, "200 None Content-Length=4".to_owned())));
    assert_eq!(read(b"Content-Length: 4\n\n", &head), expected);
}

#[test]
fn refused_responses() {
    #[track_caller]
    fn check(input: impl AsRef<[u8]>, words: &str) {
        let error = read(input.as_ref(), &Method::Get).expect_err("it is refused");
        assert!(error.contains(words), "{error} of {:?}", input.as_ref().escape_ascii());
    }
    for start in
        ["HTTP/1.1 200 OK\r\n", "\r\n", "\n\n", ": a\n", "\0", "hello world", "a\n", " a: b"]
    {
        check(start, "does not begin with a header field");
    }
    for status in ["", "abc", "101", "100 Continue", "199", "20", "2000", "+200", "-20", "200OK"] {
        check(format!("Status: {status}\n\n"), "Status is not one number");
    }
    check("Status: 200\nStatus: 201\n\n", "Status is not one number");
    check("Transfer-Encoding: chunked\n\n", "Transfer-Encoding");
    check("X: y\ntransfer-encoding : identity\n\n", "Transfer-Encoding");
    check("X: y\nTransfer Encoding: chunked\n\n", "name is malformed");
    check("Content-Length: 4\nContent-Length: 5\n\n", "two different things");
    check("Content-Length: -4\n\n", "malformed Content-Length");
    check("X: a\0b\n\n", "control byte");
    check("X: a\rb\n\n", "carriage return");
    check("X: y\n".repeat(6) + "\n", "too many fields");
    check(format!("X: {}\n\n", "y".repeat(200)), "too long");
    check("X: y\n".repeat(50), "too long");
}

proptest! {
    /// What is written is read again by one who knows netstrings alone.
    #[test]
    fn heads_are_netstrings(
        pairs in prop::collection::vec(("[A-Z_]{1,9}", "[^\0]{0,40}"), 0..9),
        length: u64,
        before in ".{0,5}",
    ) {
        let mut out = before.clone().into_bytes();
        for (name, value) in &pairs {
            write_variable(&mut out, name.as_bytes(), plain(value)).unwrap();
        }
        finish_head(&mut out, before.len(), length);
        let text = String::from_utf8(out).unwrap();
        let (size, rest) = text.strip_prefix(&*before).unwrap().split_once(':').unwrap();
        let content = rest.strip_suffix(',').unwrap();
        prop_assert_eq!(size.parse::<usize>().unwrap(), content.len());
        let mut parts = content.strip_suffix('\0').unwrap().split('\0');
        prop_assert_eq!(parts.next(), Some("CONTENT_LENGTH"));
        prop_assert_eq!(parts.next(), Some(&*length.to_string()));
        for (name, value) in &pairs {
            prop_assert_eq!((parts.next(), parts.next()), (Some(&**name), Some(&**value)));
        }
        prop_assert_eq!(parts.next(), None);
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        testkit::fuzzing::scgi::check(&data);
    }

    /// Lines that readers are known to disagree about.
    #[test]
    fn odd_lines(lines in prop::collection::vec(prop::sample::select(vec![
        "Status: 200", "status:404 x", "Status : 302", "Status:", "Location: /x", "X: y", "X: y\r", " fold",
        "Content-Length: 3", "Content-Length: 4", "Transfer-Encoding: chunked", "Content Length: 3", "no field",
        "", "\r", "Connection: close", "X: \u{1}", "X: \0", "Trans\u{b}fer-Encoding: x",
    ]), 0..8), crlf: bool) {
        let text = lines.join(if crlf { "\r\n" } else { "\n" });
        testkit::fuzzing::scgi::check(text.as_bytes());
    }
}

#[test]
fn a_body_has_no_other_end() {
    let mut response = Response::default();
    let input = b"Connection: keep-alive\nContent-Length: 0\n\n";
    parse_response(input, &LIMITS, &Method::Get, &mut Vec::new(), &mut response).unwrap();
    assert_eq!((response.body, response.keep_alive), (BodyLength::Exact(0), false));
}
