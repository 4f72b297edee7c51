//! Bodies, chunked and not, and trailers.

use message::{BodyLength, Fields, Known};
use wire::http1::{
    BodyDecoder, ChunkError, ChunkedDecoder, HeadError, LAST_CHUNK, Piece, TruncatedBody,
    allowed_trailer, chunk_header, write_field, write_request_line, write_status_line,
};

/// Content, trailers, and how many bytes are left after the end; `None` if the end is missing.
type Decoded = Result<Option<(String, String, usize)>, ChunkError>;

fn decode(input: &str) -> Decoded {
    decode_with(ChunkedDecoder::default(), input)
}

fn decode_with(mut decoder: ChunkedDecoder, input: &str) -> Decoded {
    let mut trailers = Fields::new();
    let mut content = Vec::new();
    let mut unread = input.as_bytes();
    while let Some(piece) = decoder.decode(&mut unread, &mut trailers)? {
        match piece {
            Piece::Data(bytes) => content.extend_from_slice(bytes),
            Piece::End => {
                let content = String::from_utf8_lossy(&content).into_owned();
                return Ok(Some((content, format!("{trailers:?}"), unread.len())));
            }
        }
    }
    Ok(None)
}

#[test]
fn chunked() {
    #[track_caller]
    fn check(input: &str, expected: Result<Option<&str>, ChunkError>) {
        let content = decode(input).map(|body| body.map(|(content, ..)| content));
        assert_eq!(content, expected.map(|body| body.map(str::to_owned)), "{input:?}");
    }
    // RFC 9112, section 7.1.
    check("0\r\n\r\n", Ok(Some("")));
    check("5\r\nhello\r\n0\r\n\r\n", Ok(Some("hello")));
    check("5\r\nhello\r\n6\r\n world\r\n000\r\n\r\nGET", Ok(Some("hello world")));
    check("a\r\n0123456789\r\n0\r\n\r\n", Ok(Some("0123456789")));
    check("A\r\n0123456789\r\n0\r\n\r\n", Ok(Some("0123456789")));
    check("0000000000000001\r\na\r\n0\r\n\r\n", Ok(Some("a")));
    check("00000000000000001\r\na\r\n0\r\n\r\n", Err(ChunkError::SizeTooLarge));
    check("ffffffffffffffff\r\na", Ok(None));
    check("10000000000000000\r\n", Err(ChunkError::SizeTooLarge));
    for part in ["", "5", "5\r", "5\r\n", "5\r\nhello", "5\r\nhello\r", "0\r\n", "0\r\n\r"] {
        check(part, Ok(None));
    }
    // Section 7.1.1 has white space before an extension only; all servers skip it.
    check("5 \t\r\nhello\r\n0 \r\n\r\n", Ok(Some("hello")));
    check("5 \nhello\r\n0\r\n\r\n", Err(ChunkError::LineEnd));
    for size in ["", "x", "-5", "+5", " 5", "\t5", "0x5", "5x", "5 6", "5\0", "5,", "\u{e4}"] {
        check(&format!("{size}\r\nhello\r\n0\r\n\r\n"), Err(ChunkError::Size));
    }
    // Lines and data end with CR LF and nothing else.
    check("5\nhello\r\n0\r\n\r\n", Err(ChunkError::LineEnd));
    check("5\rhello\r\n0\r\n\r\n", Err(ChunkError::LineEnd));
    check("5\r\nhello\n0\r\n\r\n", Err(ChunkError::LineEnd));
    check("5\r\nhello0\r\n\r\n", Err(ChunkError::LineEnd));
    check("5\r\nhello!\r\n0\r\n\r\n", Err(ChunkError::LineEnd));
    check("5\r\nhello\r\r\n0\r\n\r\n", Err(ChunkError::LineEnd));
    check("0\n\n", Err(ChunkError::LineEnd));
    check("0\r\n\n", Err(ChunkError::Trailer(HeadError::BareLf)));
    check("0\r\n\rX", Err(ChunkError::LineEnd));
}

/// Of a response: what nginx, HAProxy, Envoy and Caddy read alike.
#[test]
fn chunks_as_servers_write_them() {
    #[track_caller]
    fn check(input: &str, expected: Result<Option<(&str, &str, usize)>, ChunkError>) {
        let body = decode_with(ChunkedDecoder::lenient(), input);
        let expected = expected.map(|body| body.map(|(a, b, left)| (a.into(), b.into(), left)));
        assert_eq!(body, expected, "{input:?}");
    }
    let plain = Ok(Some(("hello", "{}", 4)));
    check("5\r\nhello\r\n0\r\n\r\nnext", plain);
    check("5\nhello\n0\n\nnext", plain);
    check("5  \nhello\r\n0 ;a\n\r\nnext", plain);
    check(&format!("{}5\r\nhello\r\n0000\r\n\r\nnext", "0".repeat(1000)), plain);
    check(&format!("5;{}\r\nhello\r\n0\r\n\r\nnext", "a".repeat(4000)), plain);
    check("5;\u{1}a=\"\0\"\nhello\n0\n\nnext", plain);
    // No guess about where the body ends.
    check("5\rhello", Err(ChunkError::LineEnd));
    check("5;a\rhello", Err(ChunkError::LineEnd));
    check("5\r\nhello\rX", Err(ChunkError::LineEnd));
    check("5\r\nhello!", Err(ChunkError::LineEnd));
    for size in ["x", " 5", "-5", "0x5", "5 6", "5,", "\r\n5"] {
        check(&format!("{size}\r\nhello"), Err(ChunkError::Size));
    }
    check("10000000000000000\r\n", Err(ChunkError::SizeTooLarge));
    check(&"0".repeat(1025), Err(ChunkError::SizeTooLarge));
    check(&format!("5;{}", "a".repeat(4097)), Err(ChunkError::ExtensionTooLong));
    // Trailers are read as the fields of a head; those that are not to be read are dropped.
    let end = "5\r\nhello\r\n0\r\n";
    let trailer = r#"{"A": "b"}"#;
    let one = Ok(Some(("hello", trailer, 4)));
    for section in [
        "A: b\r\n\r\n",
        "A: b\n\n",
        "A : b\n\r\n",
        "A:\r\n b\r\n\r\n",
        "A: b\u{1}\r\n\r\n",
        "A: b\r\n: c\r\n\r\n",
        "A: b\r\nc\r\n\r\n",
        " X: y\r\nA: b\r\n\r\n",
        "X: \0\r\nA: b\r\n\r\n",
        "X: y\rz\r\nA: b\r\n\r\n",
        "Content-Length: 5\r\nA: b\r\n\r\n",
    ] {
        check(&format!("{end}{section}next"), one);
    }
    for line in [" \r\n", "\r\r\n"] {
        let error = Err(ChunkError::Trailer(HeadError::Fold));
        check(&format!("{end}{line}"), error); // some take it for the end
    }
    check(&format!("{end}{}", "A: b\n".repeat(65)), Err(ChunkError::TooManyTrailers));
    check(&format!("{end}A: {}", "b".repeat(8192)), Err(ChunkError::TooManyTrailers));
    for part in ["5", "5\r", "5\nhello", "5\nhello\r", "0\n", "0\nA: b\n", "0\n\r"] {
        check(part, Ok(None));
    }
}

#[test]
fn chunk_extensions() {
    #[track_caller]
    fn check(extension: &str, expected: Result<(), ChunkError>) {
        let body = decode(&format!("1{extension}\r\na\r\n0\r\n\r\n"));
        assert_eq!(body.map(|body| assert!(body.is_some())), expected, "{extension:?}");
    }
    // RFC 9112, section 7.1.1: read and dropped.
    check(";a", Ok(()));
    check(";a=b;c=\"d;e\"", Ok(()));
    check(" ;a", Ok(()));
    check(" \t; a = b", Ok(()));
    check(";", Ok(()));
    // A line feed inside is where some see a line end and others do not.
    check(";a\nb", Err(ChunkError::LineEnd));
    check(";a=\"\n\"", Err(ChunkError::LineEnd));
    check(";a\rb", Err(ChunkError::LineEnd));
    check(";a\0b", Err(ChunkError::Extension));
    check(";a\u{7f}b", Err(ChunkError::Extension));
    // 256 bytes in total per chunk.
    check(&format!(";{}", "a".repeat(255)), Ok(()));
    check(&format!(";{}", "a".repeat(256)), Err(ChunkError::ExtensionTooLong));
    check(&" ".repeat(257), Err(ChunkError::ExtensionTooLong));
    let each = format!("1;{}\r\na\r\n", "a".repeat(255));
    assert!(decode(&format!("{each}{each}0\r\n\r\n")).is_ok_and(|body| body.is_some()));
}

#[test]
fn trailers() {
    #[track_caller]
    fn check(section: &str, expected: Result<Option<&str>, ChunkError>) {
        let trailers = decode(&format!("1\r\na\r\n0\r\n{section}"))
            .map(|body| body.map(|(_, trailers, left)| (trailers, left)));
        let expected = expected.map(|trailers| trailers.map(|text| (text.to_owned(), 4)));
        assert_eq!(trailers, expected, "{section:?}");
    }
    // RFC 9112, section 7.1.2.
    check("\r\nnext", Ok(Some("{}")));
    check("A: b\r\nC:\r\n\r\nnext", Ok(Some(r#"{"A": "b", "C": ""}"#)));
    check("A: b\r\n", Ok(None));
    check("A: b", Ok(None));
    // RFC 9110, section 6.5.1: what must not come here is dropped.
    let forbidden =
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nA: b\r\nHost: c\r\n\r\nnext";
    check(forbidden, Ok(Some(r#"{"A": "b"}"#)));
    for (line, error) in [
        ("A : b\r\n", HeadError::SpaceBeforeColon),
        (" A: b\r\n", HeadError::Fold),
        ("A: b\n", HeadError::BareLf),
        ("A: b\rc\r\n", HeadError::BareCr),
        ("A: \0\r\n", HeadError::FieldValue),
        ("GET / HTTP/1.1\r\n", HeadError::SpaceBeforeColon),
        (": b\r\n", HeadError::FieldName),
    ] {
        check(&format!("{line}\r\nnext"), Err(ChunkError::Trailer(error)));
    }
    check(&"A: b\r\n".repeat(65), Err(ChunkError::TooManyTrailers));
    check(&format!("A: {}", "b".repeat(8192)), Err(ChunkError::TooManyTrailers));
}

#[test]
fn names_of_trailers() {
    // RFC 9110, section 6.5.1.
    for name in [
        "Server-Timing",
        "ETag",
        "Digest",
        "Content-Digest",
        "Grpc-Status",
        "X-Checksum",
        "x_checksum",
        "user_id",
    ] {
        assert!(allowed_trailer(Known::of(name.as_bytes()), name.as_bytes()), "{name}");
    }
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Trailer",
        "Host",
        "Connection",
        "Keep-Alive",
        "TE",
        "Upgrade",
        "Authorization",
        "Proxy-Authorization",
        "WWW-Authenticate",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "content-encoding",
        "Content-Range",
        "Content-Disposition",
        "Cache-Control",
        "Expires",
        "Age",
        "Vary",
        "Location",
        "Date",
        "Expect",
        "Max-Forwards",
        "Range",
        "If-Match",
        "If-Range",
        "X-Forwarded-For",
        "X-Forwarded-Anything",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-HTTP-Method-Override",
        "Sec-Anything",
        "Access-Control-Allow-Origin",
        "content_length",
        "x_forwarded_for",
        "x_forwarded-server",
        "X_Real_IP",
        "X-Original-URL",
        "x_rewrite_url",
        "Access_Control_Allow_Origin",
        "content_disposition",
        "Set_Cookie",
        "X-Frame-Options",
        "Client-Cert",
        "Proxy",
        "Early-Data",
        "Retry-After",
    ] {
        assert!(!allowed_trailer(Known::of(name.as_bytes()), name.as_bytes()), "{name}");
    }
}

#[test]
fn bodies_end_where_they_should() {
    let mut trailers = Fields::new();
    let mut next = |body: &mut BodyDecoder, input: &mut &'static [u8]| {
        let piece = body.decode(input, &mut trailers).unwrap();
        piece.map(|piece| match piece {
            Piece::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Piece::End => "end".to_owned(),
        })
    };
    // RFC 9112, section 6.3: never a byte beyond the length.
    let mut body = BodyDecoder::from(BodyLength::Exact(5));
    let mut input = &b"abc"[..];
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("abc"));
    assert_eq!(next(&mut body, &mut input), None);
    assert_eq!(body.clone().eof(), Err(TruncatedBody)); // section 8
    input = b"deGET";
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("de"));
    assert!(body.is_done());
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("end"));
    assert_eq!((input, body.eof()), (&b"GET"[..], Ok(())));

    let mut body = BodyDecoder::from(BodyLength::UntilClose);
    input = b"abc";
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("abc"));
    assert_eq!(next(&mut body, &mut input), None);
    assert!(!body.is_done());
    assert_eq!(body.eof(), Ok(()));
    assert!(body.is_done());
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("end"));

    for length in [BodyLength::None, BodyLength::Exact(0)] {
        let mut body = BodyDecoder::from(length);
        input = b"GET";
        assert!(body.is_done());
        assert_eq!(next(&mut body, &mut input).as_deref(), Some("end"));
        assert_eq!((input, body.eof()), (&b"GET"[..], Ok(())));
    }

    let mut body = BodyDecoder::from(BodyLength::Chunked);
    input = b"3\r\nabc\r\n0\r\n";
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("abc"));
    assert_eq!(next(&mut body, &mut input), None);
    assert_eq!(body.eof(), Err(TruncatedBody)); // section 8: the last chunk is not the end
    input = b"\r\nGET";
    assert_eq!(next(&mut body, &mut input).as_deref(), Some("end"));
    assert_eq!((input, body.eof()), (&b"GET"[..], Ok(())));
}

#[test]
fn a_decoder_is_used_again() {
    let mut decoder = ChunkedDecoder::default();
    let mut trailers = Fields::new();
    for _ in 0..2 {
        let mut input = &b"0\r\nA: b\r\n\r\n"[..];
        assert_eq!(decoder.decode(&mut input, &mut trailers), Ok(Some(Piece::End)));
        assert!(decoder.is_done());
        decoder.reset();
    }
    assert_eq!(trailers.len(), 2);
}

#[test]
fn what_is_written() {
    let mut out = Vec::new();
    let version = message::Version::Http11;
    write_request_line(&mut out, &message::Method::Get, b"/a?b", version);
    write_field(&mut out, b"Host", b"a");
    write_status_line(&mut out, 200, version);
    write_status_line(&mut out, 599, message::Version::Http10);
    let text = String::from_utf8_lossy(&out);
    assert_eq!(text, "GET /a?b HTTP/1.1\r\nHost: a\r\nHTTP/1.1 200 OK\r\nHTTP/1.0 599 \r\n");
    for (length, expected) in [(1, "1\r\n"), (0x1a, "1a\r\n"), (65536, "10000\r\n")] {
        assert_eq!(chunk_header(length, &mut [0; 18]), expected.as_bytes());
    }
    assert_eq!(chunk_header(usize::MAX, &mut [0; 18]), b"ffffffffffffffff\r\n");
    assert_eq!(chunk_header(0, &mut [0; 18]), LAST_CHUNK);
}
