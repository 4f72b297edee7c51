//! Canonical targets, rule by rule.

use message::{Form, Method, Scheme, Target, TargetError};
use proptest::prelude::*;

fn parse(method: Method, raw: &str, host: Option<&str>) -> Result<Target, TargetError> {
    let mut target = Target::default();
    target.parse(&method, raw.as_bytes(), host.map(str::as_bytes), Scheme::Http)?;
    Ok(target)
}

#[test]
fn forms() {
    #[track_caller]
    fn check(method: Method, raw: &str, expected: Result<(Form, &str), TargetError>) {
        let parsed = parse(method, raw, Some("a"));
        let found = parsed.map(|target| (target.form(), format!("{target}")));
        let expected = expected.map(|(form, text)| (form, text.to_owned()));
        assert_eq!(found, expected, "{method} {raw:?}");
    }
    let (get, options, connect) = (Method::Get, Method::Options, Method::Connect);
    const FORM: Result<(Form, &str), TargetError> = Err(TargetError::InvalidForm);
    // RFC 9112, section 3.2.1: origin-form.
    check(get, "/", Ok((Form::Origin, "http://a/")));
    check(get, "//b/c", Ok((Form::Origin, "http://a//b/c")));
    check(get, "/http://b/", Ok((Form::Origin, "http://a/http://b/")));
    check(get, "", FORM);
    check(get, "?a", FORM);
    check(get, "a", FORM);
    check(get, "a/b", FORM);
    // Section 3.2.2: absolute-form.
    check(get, "http://b/c?d", Ok((Form::Absolute, "http://b/c?d")));
    check(get, "HTTPS://B:443", Ok((Form::Absolute, "https://b/")));
    check(get, "http://b?c", Ok((Form::Absolute, "http://b/?c")));
    check(get, "http:/b", FORM);
    check(get, "http:b", FORM);
    check(get, "http//b", FORM);
    check(get, "://b/", FORM);
    check(get, "1http://b/", FORM);
    check(get, "ftp://b/", Err(TargetError::UnknownScheme));
    check(get, "ws://b/", Err(TargetError::UnknownScheme));
    check(get, "file:///etc/passwd", Err(TargetError::UnknownScheme));
    check(get, "http:///b", Err(TargetError::InvalidHost));
    check(get, "http://", Err(TargetError::InvalidHost));
    // Section 3.2.3: authority-form, with CONNECT and only there.
    check(connect, "B.example:443", Ok((Form::Authority, "b.example:443")));
    check(connect, "b:80", Ok((Form::Authority, "b:80")));
    check(connect, "[::1]:80", Ok((Form::Authority, "[::1]:80")));
    check(connect, "b", Err(TargetError::InvalidPort));
    check(connect, "b:", Err(TargetError::InvalidPort));
    check(connect, "b:0", Err(TargetError::InvalidPort));
    check(connect, "b:443/", FORM);
    check(connect, "b:443?c", FORM);
    check(connect, "http://b:443", FORM);
    check(connect, "/", FORM);
    check(connect, "*", FORM);
    check(connect, "", Err(TargetError::InvalidHost));
    check(connect, "u:p@b:443", Err(TargetError::Userinfo));
    check(get, "b:443", FORM);
    // Section 3.2.4: asterisk-form, with OPTIONS and only there.
    check(options, "*", Ok((Form::Asterisk, "http://a")));
    check(options, "http://b", Ok((Form::Absolute, "http://b")));
    check(options, "http://b/", Ok((Form::Absolute, "http://b/")));
    check(get, "*", FORM);
    check(options, "**", FORM);
    check(options, "*/", FORM);
}

#[test]
fn parts() {
    let target = parse(Method::Get, "http://Shop.Example.:8080/a/b?c=d?e", None).unwrap();
    assert_eq!((target.scheme(), target.form()), (Scheme::Http, Form::Absolute));
    assert_eq!((target.host(), target.ip()), ("shop.example", None));
    assert_eq!((target.port(), target.explicit_port()), (8080, Some(8080)));
    assert_eq!(target.authority(), "shop.example:8080");
    assert_eq!((target.path(), target.query()), ("/a/b", Some("c=d?e")));
    assert_eq!(target.path_and_query(), "/a/b?c=d?e");

    let target = parse(Method::Get, "/a?", Some("[2001:DB8:0:0::1]")).unwrap();
    assert_eq!((target.host(), target.authority()), ("2001:db8::1", "[2001:db8::1]"));
    assert_eq!(target.ip(), "2001:db8::1".parse().ok());
    assert_eq!((target.port(), target.explicit_port()), (80, None));
    assert_eq!((target.path(), target.query()), ("/a", Some("")));

    let target = parse(Method::Connect, "192.0.2.1:443", None).unwrap();
    assert_eq!((target.host(), target.ip()), ("192.0.2.1", "192.0.2.1".parse().ok()));
    assert_eq!((target.authority(), target.port()), ("192.0.2.1:443", 443));
    assert_eq!((target.path(), target.query(), target.path_and_query()), ("", None, ""));

    let target = parse(Method::Options, "*", Some("a")).unwrap();
    assert_eq!((target.path(), target.query(), target.path_and_query()), ("*", None, "*"));

    let mut target = target;
    target.clear();
    assert_eq!((target.host(), target.authority(), target.path()), ("", "", ""));
}

#[test]
fn hosts() {
    #[track_caller]
    fn check(host: &str, expected: Result<&str, TargetError>) {
        let expected = expected.map(str::to_owned);
        let found = parse(Method::Get, "/", Some(host)).map(|t| t.authority().to_owned());
        assert_eq!(found, expected, "{host:?}");
        // The same in a target; what ends a host there cannot be tested so.
        if !host.contains(['/', '?', '#']) {
            let found = parse(Method::Get, &format!("http://{host}/"), None);
            assert_eq!(found.map(|t| t.authority().to_owned()), expected, "{host:?}");
        }
    }
    const HOST: Result<&str, TargetError> = Err(TargetError::InvalidHost);
    const PORT: Result<&str, TargetError> = Err(TargetError::InvalidPort);
    // RFC 9110, sections 4.2.3 and 7.2; RFC 3986, section 3.2.2.
    check("a", Ok("a"));
    check("A-b_c.EXAMPLE", Ok("a-b_c.example"));
    check("example.com.", Ok("example.com"));
    check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
    check(&"a".repeat(63), Ok(&"a".repeat(63)));
    check(&format!("{}a", "a.".repeat(126)), Ok(&format!("{}a", "a.".repeat(126))));
    check(&"a".repeat(1025), HOST);
    for host in [
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "a b",
        "a,b",
        " a",
        "a ",
        "a\\b",
        "a/b",
        "a?b",
        "a#b",
        "b\u{fc}cher",
        "a\t",
        "a\0",
        "a\"b",
        "a|b",
        "a^b",
        "<a>",
    ] {
        check(host, HOST);
    }
    // RFC 9110, section 4.2.4.
    check("u@a", Err(TargetError::Userinfo));
    check("u:p@a", Err(TargetError::Userinfo));
    check("@a", Err(TargetError::Userinfo));
    check("a:80@b", Err(TargetError::Userinfo));
    check("a@", Err(TargetError::Userinfo));
    check("a\\@b", Err(TargetError::Userinfo));
    // Ports.
    check("a:80", Ok("a"));
    check("a:0080", Ok("a"));
    check("a:", Ok("a"));
    check("a:443", Ok("a:443"));
    check("a:1", Ok("a:1"));
    check("a:65535", Ok("a:65535"));
    for port in ["65536", "99999999999", "-1", "+80", "80a", " 80", "80 ", "8 0", "0x50", "80:80"] {
        check(&format!("a:{port}"), PORT);
    }
    check(":80", HOST);
    // IPv4, strictly; and what a browser or the C library would take for it.
    check("127.0.0.1", Ok("127.0.0.1"));
    check("127.0.0.1.:8080", Ok("127.0.0.1:8080"));
    check("255.255.255.255", Ok("255.255.255.255"));
    check("1.2.3.4.example", Ok("1.2.3.4.example"));
    check("a.1x", Ok("a.1x"));
    check("0xg", Ok("0xg"));
    for host in ["1.2.3.4..", "a..1"] {
        check(host, HOST);
    }
    // IPv6, in canonical text (RFC 5952).
    check("[::1]", Ok("[::1]"));
    check("[::1]:8080", Ok("[::1]:8080"));
    check("[0:0:0:0:0:0:0:1]:80", Ok("[::1]"));
    check("[2001:DB8::0:1]", Ok("[2001:db8::1]"));
    check("[::FFFF:192.0.2.1]", Ok("[::ffff:192.0.2.1]"));
    check("[::ffff:c000:201]", Ok("[::ffff:192.0.2.1]"));
    for host in [
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]a",
        "[::1].",
        "[::1]]",
        "[[::1]]",
        "[127.0.0.1]",
        "[a]",
        "[fe80::1%]",
        "[fe80::1%25/]",
        "[v1.a]",
        "[::1 ]",
        "[:::]",
        "[1::2::3]",
        "[::ffff:0x7f.0.0.1]",
    ] {
        let found = parse(Method::Get, "/", Some(host)).unwrap_err();
        assert!(matches!(found, TargetError::InvalidHost | TargetError::InvalidPort), "{host:?}");
    }
}

#[test]
fn unusual_hosts_serve_but_lead_nowhere() {
    use TargetError::{InvalidForm, InvalidHost, InvalidPort};
    #[track_caller]
    fn check(raw: &str, expected: &str) {
        let target = parse(Method::Get, "/", Some(raw)).unwrap();
        assert_eq!(target.authority(), expected);
        assert!(target.has_unusual_host(), "{raw}");
        let absolute = parse(Method::Get, &format!("http://{raw}/"), None).unwrap();
        assert!(absolute.has_unusual_host() && absolute.authority() == expected, "{raw}");
        let port = if raw.ends_with(":0") { "" } else { ":443" };
        let error = parse(Method::Connect, &format!("{raw}{port}"), None).unwrap_err();
        assert!(matches!(error, InvalidHost | InvalidPort | InvalidForm), "{raw}");
    }
    // Names of services; to browsers and the C library some of them are addresses.
    for name in ["web.1", "1234", "127.1", "2130706433", "017700000001", "0x7f.1", "127.0.0.01"] {
        check(name, name);
    }
    check("0X7F.0.0.1", "0x7f.0.0.1");
    for name in ["127.0.0.256", "1.2.3", "1.2.3.4.5", "0", "a.1", "a.0x1", "example.0x"] {
        check(name, name);
    }
    // RFC 3986, section 3.2.2: nearly everything is a name.
    for name in ["%2fvar%2frun%2fdocker.sock", "a%2eb", "~a!$&'()*+;=b", &"a".repeat(64)] {
        check(name, name);
    }
    check("A.test:0", "a.test:0");
    // RFC 6874, section 4: a zone goes no further.
    check("[fe80::1%25eth0]", "[fe80::1]");
    check("[FE80::1%eth0]:8080", "[fe80::1]:8080");
    for usual in ["a", "a.b:8080", "127.0.0.1", "[::1]", "a-b_c.example."] {
        assert!(!parse(Method::Get, "/", Some(usual)).unwrap().has_unusual_host());
    }
}

#[test]
fn hosts_as_they_were_written() {
    for written in ["Shop.Example.", "a:80", "a:0443", "A:8080", "a", "[::FFFF:1]", "127.0.0.1:"] {
        let target = parse(Method::Get, "/", Some(written)).unwrap();
        assert_eq!(target.written_authority(), written);
        let target = parse(Method::Get, &format!("http://{written}/x"), None).unwrap();
        assert_eq!(target.written_authority(), written);
    }
    assert_eq!(parse(Method::Get, "/", Some("[::1%25a]:80")).unwrap().written_authority(), "[::1]");
    for (one, other, same) in [
        ("a", "A.", true),
        ("a:80", "a:8080", true),
        ("a:443", "a", true),
        ("[::1]", "[0::1]:80", true),
        ("a", "b", false),
        ("a", "a.b", false),
        ("127.0.0.1", "[::ffff:127.0.0.1]", false),
        ("a", "a b", false),
        ("a", "u@a", false),
    ] {
        assert_eq!(Target::is_same_host(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
    }
}

#[test]
fn which_host_counts() {
    #[track_caller]
    fn check(method: Method, raw: &str, host: Option<&str>, expected: &str) {
        let target = parse(method, raw, host).unwrap();
        assert_eq!(target.authority(), expected, "{raw:?} {host:?}");
    }
    let (get, connect, options) = (Method::Get, Method::Connect, Method::Options);
    // RFC 9112, section 3.2.2: a target that names one is all that counts.
    for host in [None, Some("a"), Some("a:8080"), Some("b"), Some(""), Some("a b"), Some("@")] {
        check(get, "http://A:80/", host, "a");
        check(get, "http://a:8080/", host, "a:8080");
        check(options, "http://a", host, "a");
        check(connect, "a:443", host, "a:443");
    }
    // Section 3.2: neither names one, so that the server is meant that was reached.
    for host in [None, Some("")] {
        check(get, "/", host, "");
        check(options, "*", host, "");
        let target = parse(get, "/", host).unwrap();
        assert_eq!((target.host(), target.ip(), target.port()), ("", None, 80));
        assert_eq!(target.explicit_port(), None);
    }
    let wrong = parse(get, "/", Some(":80"));
    assert_eq!(wrong.unwrap_err(), TargetError::InvalidHost);
}

#[test]
fn paths() {
    #[track_caller]
    fn check(raw: &str, expected: Result<&str, TargetError>) {
        let found = parse(Method::Get, raw, Some("a")).map(|t| t.path_and_query().to_owned());
        assert_eq!(found, expected.map(str::to_owned), "{raw:?}");
    }
    // RFC 3986, section 3.3: what a path is made of.
    let usual = "/azAZ09-._~!$&'()*+,;=:@/%20";
    check(usual, Ok(usual));
    check("/a//b///c", Ok("/a//b///c"));
    // Section 6.2.2.1: case of hexadecimal digits.
    check("/%c3%a4%C3%A4", Ok("/%C3%A4%C3%A4"));
    // Reserved bytes but the separators: those who route by paths take both for the same.
    check("/%3a%3A%40%21%24%26%27%28%29%2A%2B%2C%3d", Ok("/::@!$&'()*+,="));
    check("/%3b%2f%3f%23", Ok("/%3B%2F%3F%23"));
    // Section 6.2.2.2: unreserved bytes are decoded.
    check("/%41%7a%30%2D%5f%7E%2e", Ok("/Az0-_~."));
    check("/%61dmin", Ok("/admin"));
    check("/%2561", Ok("/%2561"));
    // Sections 5.2.4 and 6.2.2.3: dot segments, also encoded ones.
    check("/.", Ok("/"));
    check("/..", Ok("/"));
    check("/./a", Ok("/a"));
    check("/../a", Ok("/a"));
    check("/a/.", Ok("/a/"));
    check("/a/..", Ok("/"));
    check("/a/b/..", Ok("/a/"));
    check("/a/b/../", Ok("/a/"));
    check("/a/b/c/./../../g", Ok("/a/g"));
    check("/a//../b", Ok("/a/b"));
    check("/a/../../../b", Ok("/b"));
    check("/a/%2e%2E/b", Ok("/b"));
    check("/a/%2e/b", Ok("/a/b"));
    check("/a/.%2e", Ok("/"));
    check("/a/...", Ok("/a/..."));
    check("/a/..b/.c/d..", Ok("/a/..b/.c/d.."));
    check("/a/..?b", Ok("/?b"));
    check("//..", Ok("/"));
    check("/..//..", Ok("/"));
    // What browsers and tools send raw.
    check("/a|b[c]^{d}`\"<>", Ok("/a%7Cb%5Bc%5D%5E%7Bd%7D%60%22%3C%3E"));
    check("/a\\b", Ok("/a%5Cb"));
    // Section 2.1: malformed encodings; the `%` is one.
    check("/%", Ok("/%25"));
    check("/%zz%4", Ok("/%25zz%254"));
    check("/%%41%a?b", Ok("/%25A%25a?b"));
    check("/%2%66%u0041%-1%+1", Ok("/%252f%25u0041%25-1%25+1"));
    // Bytes beyond ASCII, be they UTF-8 or not.
    check("/\u{e4}", Ok("/%C3%A4"));
    check("/a\u{80}/..\u{e4}", Ok("/a%C2%80/..%C3%A4"));
    let mut latin = Target::default();
    latin.parse(&Method::Get, b"/a\xe4?\xfc", Some(b"a"), Scheme::Http).unwrap();
    assert_eq!(latin.path_and_query(), "/a%E4?%FC");
    assert_eq!((latin.sent(), latin.sent_query()), (&b"/a\xe4?\xfc"[..], Some(&b"\xfc"[..])));
    // RFC 9112, section 3.2.
    for raw in ["/ ", "/\t", "/\0", "/\r", "/\n", "/\u{7f}", "/\u{e4} ", "/?\u{e4}\u{7f}"] {
        check(raw, Err(TargetError::InvalidByte));
    }
    check("/#a", Err(TargetError::Fragment));
    check("/a#", Err(TargetError::Fragment));
    check("/a?b#c", Err(TargetError::Fragment));
}

#[test]
fn queries() {
    #[track_caller]
    fn check(raw: &str, expected: Result<&str, TargetError>) {
        let found = parse(Method::Get, &format!("/a?{raw}"), Some("a"));
        let query = found.map(|target| target.query().map(str::to_owned));
        assert_eq!(query, expected.map(|text| Some(text.to_owned())), "{raw:?}");
    }
    // Kept byte by byte, as far as it is safe.
    check("", Ok(""));
    check("?", Ok("?"));
    check("a=b&c=d/../e/./f//", Ok("a=b&c=d/../e/./f//"));
    check("%2f%2F%41%00", Ok("%2f%2F%41%00"));
    check("a[]=b|c^d{e}\\", Ok("a[]=b|c^d{e}\\"));
    check("\"<>`", Ok("%22%3C%3E%60"));
    check("q=100%&cb=%%MACRO%%&%u2019%", Ok("q=100%&cb=%%MACRO%%&%u2019%"));
    check("a b", Err(TargetError::InvalidByte));
    check("\u{e4}", Ok("%C3%A4"));
    check("a\0", Err(TargetError::InvalidByte));
}

#[test]
fn what_goes_on_is_what_came() {
    #[track_caller]
    fn check(raw: &str, sent: &str) {
        let target = parse(Method::Get, raw, Some("a")).unwrap();
        assert_eq!(String::from_utf8_lossy(target.sent()), sent, "{raw}");
        assert_eq!(String::from_utf8_lossy(target.as_it_came()), raw);
        let again = parse(Method::Get, sent, Some("a")).unwrap();
        assert_eq!(again.path_and_query(), target.path_and_query(), "{raw}");
        let (path, query) = sent.split_once('?').map_or((sent, None), |(p, q)| (p, Some(q)));
        assert_eq!(target.sent_path(), path.as_bytes());
        assert_eq!(target.sent_query(), query.map(str::as_bytes));
    }
    for raw in [
        "/",
        "/a/b?c",
        "/%7Euser/%41?%41",
        "/a%2db//%2F%252f",
        "/a|b{c}\"<>^`[d]?\"q\"<>`|{}",
        "/a\\b;c=d/e;f?\\",
        "/\u{fc}?\u{fc}",
        "/100%/%zz?%",
    ] {
        check(raw, raw);
    }
    // Dot segments apart (RFC 3986, section 5.2.4), whatever their spelling.
    check("/%61/./b/../%63?x/../y", "/%61/%63?x/../y");
    check("/%61/%2e%2E/\u{fc}", "/\u{fc}");
    check("/a|b/.", "/a|b/");
    let target = parse(Method::Get, "http://a?%41|", None).unwrap();
    assert_eq!((target.sent(), target.as_it_came()), (&b"/?%41|"[..], &b"/?%41|"[..]));
}

#[test]
fn errors_are_the_client_s() {
    assert_eq!(TargetError::InvalidHost.status(), 400);
    let text = TargetError::InvalidPort.to_string();
    assert_eq!(text, "the request's port is not a number from 1 to 65535");
}

/// Paths of parts that mean something.
fn nasty_path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/", "/", ".", "..", "a", "B", "%2e", "%2E", "%2f", "%5C", "%25", "%252e", "%41", "%c3",
        "%00", "\\", ";", "|", "[", "\"", "~", "?", "&", "=", "2", "5", "f", "%", " ", "%40",
        "\u{fc}", "%u002f",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    /// RFC 3986, section 6: what is canonical stays as it is.
    #[test]
    fn canonical_paths_stay(raw in nasty_path()) {
        let Ok(target) = parse(Method::Get, &raw, Some("a")) else { return Ok(()) };
        let again = parse(Method::Get, target.path_and_query(), Some(target.authority())).unwrap();
        prop_assert_eq!(again.path_and_query(), target.path_and_query());
        prop_assert_eq!(again.path(), target.path());
        let mut sent = Target::default();
        sent.parse(&Method::Get, target.sent(), Some(b"a"), Scheme::Http).unwrap();
        prop_assert_eq!(sent.path_and_query(), target.path_and_query());
        prop_assert_eq!(sent.sent(), target.sent());
        prop_assert_eq!(target.as_it_came(), raw.as_bytes());
        let segments = target.sent_path().split(|&byte| byte == b'/').count();
        prop_assert_eq!(segments, target.path().split('/').count());
        prop_assert!(target.path().split('/').all(|segment| segment != "." && segment != ".."));
        prop_assert!(target.path_and_query().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    /// The path means the same to somebody who decodes first and removes dot segments then, unless
    /// we say that it may not.
    #[test]
    fn dot_segments_mean_the_same_after_decoding(raw in nasty_path()) {
        let Ok(target) = parse(Method::Get, &raw, Some("a")) else { return Ok(()) };
        prop_assume!(!target.has_other_readings());
        let raw_path = raw.split('?').next().unwrap_or_default();
        prop_assert_eq!(resolve(&decode(raw_path)), decode(target.path()));
    }

    #[test]
    fn canonical_hosts_stay(host in "[aA0x.:%@\\[\\]1-]{0,12}|[0-9a-fA-F:.\\[\\]]{0,20}|[0-9.x]{1,12}(:[0-9]{0,6})?") {
        let Ok(target) = parse(Method::Get, "/", Some(&host)) else { return Ok(()) };
        let again = parse(Method::Get, "/", Some(target.authority())).unwrap();
        prop_assert_eq!(again.authority(), target.authority());
        prop_assert_eq!(again.host(), target.host());
        prop_assert_eq!(again.ip(), target.ip());
        prop_assert_eq!(again.port(), target.port());
    }

    #[test]
    fn any_bytes_are_taken_or_refused(
        raw in prop::collection::vec(any::<u8>(), 0..40),
        host in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
    ) {
        let mut target = Target::default();
        for method in [Method::Get, Method::Connect, Method::Options] {
            let _ = target.parse(&method, &raw, host.as_deref(), Scheme::Https);
        }
    }
}

fn decode(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(value)) if byte == b'%' => {
                out.push(value);
                rest = &after[2..];
            }
            _ => out.push(byte),
        }
    }
    out
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<_> = path.split(|&byte| byte == b'/').skip(1).collect();
    for (index, &segment) in segments.iter().enumerate() {
        let is_dot = matches!(segment, b"." | b"..");
        if segment == b".." {
            kept.pop();
        }
        if !is_dot {
            kept.push(segment);
        } else if index + 1 == segments.len() {
            kept.push(b"");
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}
