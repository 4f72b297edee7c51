//! The PROXY protocol, rule by rule; sections are those of HAProxy's `proxy-protocol.txt`.

use wire::proxy_protocol::{Error, Header, encode_v1, encode_v2, parse};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn client(source: &str, destination: &str) -> Header {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Header::Client { source, destination, tls: false }
}

#[test]
fn version_1() {
    #[track_caller]
    fn check(line: &str, expected: Result<Header, Error>) {
        let input = format!("{line}\r\nGET");
        let expected = expected.map(|header| Some((line.len() + 2, header)));
        assert_eq!(parse(input.as_bytes()), expected, "{line:?}");
    }
    const MALFORMED: Result<Header, Error> = Err(Error::MalformedV1);
    // Section 2.1.
    let v4 = client("192.0.2.1:56324", "198.51.100.2:443");
    check("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443", Ok(v4));
    check("PROXY TCP6 2001:db8::1 ::1 1 65535", Ok(client("[2001:db8::1]:1", "[::1]:65535")));
    check("PROXY UNKNOWN", Ok(Header::Local));
    check("PROXY UNKNOWN ffff::1 whatever, 1 2", Ok(Header::Local));
    check("PROXY TCP4 192.0.2.1 198.51.100.2 0 443", Ok(client("192.0.2.1:0", "198.51.100.2:443")));
    check("PROXY ", MALFORMED);
    check("PROXY TCP5 192.0.2.1 198.51.100.2 1 2", MALFORMED);
    check("PROXY UNKNOWNX", MALFORMED);
    check("PROXY  TCP4 192.0.2.1 198.51.100.2 1 2", MALFORMED);
    check("PROXY TCP4  192.0.2.1 198.51.100.2 1 2", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 ", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 1", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2", MALFORMED);
    check("PROXY TCP4 192.0.2.1 198.51.100.2 01 2", MALFORMED);
    check("PROXY TCP4 192.0.2.01 198.51.100.2 1 2", MALFORMED);
    check("PROXY TCP4 ::1 ::1 1 2", MALFORMED);
    check("PROXY TCP6 192.0.2.1 198.51.100.2 1 2", MALFORMED);
    check("PROXY TCP6 [::1] [::1] 1 2", MALFORMED);
    check("PROXY TCP6 fe80::1%eth0 ::1 1 2", MALFORMED);
    check("PROXY tcp4 192.0.2.1 198.51.100.2 1 2", MALFORMED);
    check("proxy TCP4 192.0.2.1 198.51.100.2 1 2", Err(Error::Missing));
    check("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\nGET", MALFORMED);
    check("PROXY TCP4 192.0.2.1\r198.51.100.2 1 2", MALFORMED);
    // 107 bytes with the line's end.
    check(&format!("PROXY UNKNOWN {}", "a".repeat(91)), Ok(Header::Local));
    check(&format!("PROXY UNKNOWN {}", "a".repeat(92)), Err(Error::TooLong));
    check(&format!("PROXY UNKNOWN {}", "a".repeat(93)), Err(Error::TooLong));
    assert_eq!(parse(&[b"PROXY UNKNOWN ", &[b'a'; 93][..]].concat()), Err(Error::TooLong));
}

#[test]
fn what_is_no_header() {
    for input in ["GET / HTTP/1.1\r\n", "PRO GET", "\r\n\r\nGET", "\u{16}\u{3}\u{1}", "\r\nGET"] {
        assert_eq!(parse(input.as_bytes()), Err(Error::Missing), "{input:?}");
    }
    for input in [&b""[..], b"P", b"PROXY", b"PROXY TCP4 1.2.3.4 ", b"\r", b"\r\n\r\n\0", SIGNATURE]
    {
        assert_eq!(parse(input), Ok(None), "{input:?}");
    }
}

#[test]
fn version_2() {
    #[track_caller]
    fn check(start: [u8; 2], length: u16, body: &[u8], expected: Result<Option<Header>, Error>) {
        let input = [SIGNATURE, &start, &length.to_be_bytes(), body, b"GET"].concat();
        let expected = expected.map(|header| header.map(|header| (16 + body.len(), header)));
        assert_eq!(parse(&input), expected, "{start:?} {length} {body:?}");
    }
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb];
    let of_v4 = client("192.0.2.1:56324", "198.51.100.2:443");
    // Section 2.2.
    check([0x21, 0x11], 12, &v4, Ok(Some(of_v4)));
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 80, 81);
    check([0x21, 0x21], 36, &v6, Ok(Some(client("[::1]:80", "[::2]:81"))));
    check([0x21, 0x31], 216, &[b'/'; 216], Ok(Some(Header::Local)));
    // LOCAL: the rest is skipped, whatever it is.
    check([0x20, 0x00], 0, &[], Ok(Some(Header::Local)));
    check([0x20, 0x11], 12, &v4, Ok(Some(Header::Local)));
    check([0x20, 0xff], 3, &[1, 2, 3], Ok(Some(Header::Local)));
    check([0x21, 0x00], 5, &[1, 2, 3, 4, 5], Ok(Some(Header::Local)));
    // Section 2.2.8: extras must fill the header exactly.
    let with = |extras: &[u8]| [&v4, extras].concat();
    check([0x21, 0x11], 18, &with(&[1, 0, 3, b'h', b'/', b'2']), Ok(Some(of_v4)));
    check([0x21, 0x11], 15, &with(&[4, 0, 0]), Ok(Some(of_v4)));
    check([0x21, 0x11], 14, &with(&[4, 0]), Err(Error::MalformedV2));
    check([0x21, 0x11], 16, &with(&[4, 0, 2, 0]), Err(Error::MalformedV2));
    // Section 2.2.6: whether the client speaks TLS.
    let Header::Client { source, destination, .. } = of_v4 else { panic!("no client") };
    let over_tls = Header::Client { source, destination, tls: true };
    check([0x21, 0x11], 20, &with(&[0x20, 0, 5, 1, 0, 0, 0, 0]), Ok(Some(over_tls)));
    check([0x21, 0x11], 20, &with(&[0x20, 0, 5, 6, 0, 0, 0, 0]), Ok(Some(of_v4)));
    check([0x21, 0x11], 15, &with(&[0x20, 0, 0]), Ok(Some(of_v4)));
    check([0x20, 0x11], 20, &with(&[0x20, 0, 5, 1, 0, 0, 0, 0]), Ok(Some(Header::Local)));
    // Lengths that do not fit.
    check([0x21, 0x11], 11, &v4[..11], Err(Error::MalformedV2));
    check([0x21, 0x21], 12, &v4, Err(Error::MalformedV2));
    check([0x21, 0x11], 4080, &[0; 4080], Ok(Some(client("0.0.0.0:0", "0.0.0.0:0"))));
    check([0x21, 0x11], 4081, &v4, Err(Error::TooLong));
    check([0x20, 0x00], 65535, &[], Err(Error::TooLong));
    // Versions, commands and families that are none of a stream.
    check([0x11, 0x11], 12, &v4, Err(Error::Unsupported));
    check([0x31, 0x11], 12, &v4, Err(Error::Unsupported));
    check([0x22, 0x11], 12, &v4, Err(Error::Unsupported));
    check([0x21, 0x12], 12, &v4, Err(Error::Unsupported)); // UDP
    check([0x21, 0x10], 12, &v4, Err(Error::Unsupported));
    check([0x21, 0x41], 12, &v4, Err(Error::Unsupported));
}

#[test]
fn what_is_printed_comes_back() {
    let headers = [
        Header::Local,
        client("192.0.2.1:1", "198.51.100.2:65535"),
        client("[2001:db8::1]:1", "[::ffff:192.0.2.1]:2"),
    ];
    for header in headers {
        for bytes in [encode_v1(&header), encode_v2(&header)] {
            assert_eq!(parse(&bytes), Ok(Some((bytes.len(), header))));
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length]), Ok(None), "{length} of {bytes:?}");
            }
        }
    }
}
