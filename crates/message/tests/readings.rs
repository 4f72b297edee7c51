//! The readings of a path, against models of the servers that have them.

use std::collections::BTreeSet;

use message::{Method, PathSteps, Readings, Scheme, Target};
use proptest::prelude::*;

const USUAL: PathSteps =
    PathSteps::MERGED.with(PathSteps::HOST).with(PathSteps::DECODED).with(PathSteps::PARAMETERS);

fn parse(raw: &[u8]) -> Option<Target> {
    let mut target = Target::default();
    target.parse(&Method::Get, raw, Some(b"a"), Scheme::Http).ok()?;
    Some(target)
}

/// Every reading; `None` if there are too many.
fn readings(target: &Target, steps: PathSteps) -> Option<BTreeSet<String>> {
    let mut readings = Readings::default();
    readings.of(target, steps, "").ok()?;
    let mut all = BTreeSet::new();
    let ended = readings.find(|path, _| {
        all.insert(path.to_owned());
        None::<()>
    });
    assert_eq!(ended, Ok(None));
    Some(all)
}

/// A server that somebody attacks, as a function of what it is sent.
type Server = fn(&[u8]) -> Vec<u8>;

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).filter(|d| byte == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| str::from_utf8(digits).ok());
        match value.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => out.push(byte),
        }
    }
    out
}

/// As those do that leave `%2F` alone.
fn decode_but_slashes(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path).replace("%2f", "%252F").replace("%2F", "%252F");
    decode(text.as_bytes())
}

fn decode_unicode(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path).replace("%u002f", "/").replace("%u0061", "a");
    decode(text.as_bytes())
}

fn merge(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out
}

fn dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<_> = path.split(|&byte| byte == b'/').skip(1).collect();
    for (index, &segment) in segments.iter().enumerate() {
        if segment == b".." {
            kept.pop();
        }
        if segment != b"." && segment != b".." {
            kept.push(segment);
        } else if index + 1 == segments.len() {
            kept.push(b"");
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}

fn cut(path: &[u8]) -> Vec<u8> {
    let name = |segment: &[u8]| segment.split(|&b| b == b';').next().unwrap_or_default().to_vec();
    path.split(|&byte| byte == b'/').map(name).collect::<Vec<_>>().join(&b'/')
}

fn slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect()
}

fn without_host(path: &[u8]) -> Vec<u8> {
    if !path.starts_with(b"//") {
        return path.to_vec();
    }
    let name: Vec<u8> = path.iter().copied().skip_while(|&byte| byte == b'/').collect();
    match name.iter().position(|&byte| byte == b'/') {
        Some(end) => name[end..].to_vec(),
        None => b"/".to_vec(),
    }
}

/// The set-ups of which it was found by asking them what they take for `/admin/x`.
const SERVERS: &[(&str, Server)] = &[
    ("nginx, Caddy, lighttpd, WEBrick", |path| dots(&merge(&decode(path)))),
    ("Apache, by default", |path| dots(&merge(&decode_but_slashes(path)))),
    ("Apache, h2o: dot segments first", |path| merge(&dots(&decode(path)))),
    ("Tomcat", |path| dots(&merge(&decode(&cut(path))))),
    ("Tomcat with backslashes", |path| dots(&merge(&slashes(&decode(&cut(path)))))),
    ("Jetty", |path| dots(&decode_unicode(&cut(path)))),
    ("parameters cut last", |path| dots(&merge(&cut(&decode(path))))),
    ("Django, Starlette, Go", decode),
    ("CherryPy", |path| decode_but_slashes(&without_host(path))),
    ("Node's URL", |path| dots(&without_host(&decode_but_slashes(&slashes(path))))),
    ("Node: decode and normalize", |path| dots(&merge(&decode(path)))),
];

/// What a server sees, as canonical text has it; without parameters' semicolons being told apart
/// from encoded ones, which only those who cut them do.
fn canonical(seen: &[u8]) -> String {
    let mut out = String::new();
    for &byte in seen {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/;".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Every server's view of what we send is a reading, or else the path has too many of them.
fn check(raw: &[u8]) {
    let Some(target) = parse(raw) else { return };
    let Some(readings) = readings(&target, USUAL) else { return };
    let plain = |path: &String| path.replace("%3B", ";").replace("%252F", "%2F");
    let readings: BTreeSet<String> = readings.iter().map(plain).collect();
    assert!(readings.contains(&plain(&target.path().to_owned())));
    if !target.has_other_readings() {
        assert_eq!(readings.len(), 1, "{target:?} {readings:?}");
    }
    for (name, server) in SERVERS {
        let seen = plain(&canonical(&server(target.sent_path())));
        let is_dotted = seen.split('/').any(|segment| matches!(segment, "." | ".."));
        assert!(
            is_dotted || readings.contains(&seen),
            "{name} takes {} for {seen}, of {readings:?}",
            String::from_utf8_lossy(raw)
        );
    }
}

/// Spellings of `/admin/x`, most of which some server takes for it.
fn spellings() -> Vec<String> {
    let slashes = [
        "/",
        "//",
        "///",
        "%2f",
        "%2F",
        "/%2f",
        "%2f/",
        "%5c",
        "\\",
        "/\\",
        "%u002f",
        "/./",
        "/%2e/",
        "/;/",
        "/;a/",
        ";a/",
        ";a=b/",
        "/p/../",
        "/p//../",
        "/p/..//",
        "/p/%2e%2e/",
        "/p/..%2f",
        "/p%2f..%2f",
        "/p/..;/",
        "/p/..;a/",
        "/p/.%2e;a=b/",
        "/p\\..\\",
        "/p%5c..%5c",
        "/p;a/../",
        "/%2fp/../",
        "/p/..\\",
        "/p/%2e%2e%2f",
        "/p%2f../",
        "/p/..%5c",
        "/p//..%2f",
    ];
    let starts = ["", "/", "//h", "/\\h", "\\h", "/p/..//h", "/%2fh", "/x/../", "///h"];
    let mut all = Vec::new();
    for start in starts {
        for first in slashes {
            for second in slashes {
                all.push(format!("{start}{first}admin{second}x"));
                all.push(format!("{start}{first}%61dmin{second}x?y/../z"));
            }
        }
    }
    all.retain(|path| path.starts_with('/'));
    all
}

#[test]
fn no_server_sees_what_we_do_not() {
    let all = spellings();
    assert!(all.len() > 10_000);
    all.iter().for_each(|raw| check(raw.as_bytes()));
}

#[test]
fn each_kind_of_spelling_is_one_reading() {
    #[track_caller]
    fn check(raw: &str, steps: PathSteps, expected: &[&str]) {
        let target = parse(raw.as_bytes()).unwrap();
        let readings = readings(&target, steps).unwrap();
        let expected: BTreeSet<String> = expected.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(readings, expected, "{raw}");
        let alone = self::readings(&target, PathSteps::NONE).unwrap();
        assert_eq!(alone, BTreeSet::from([target.path().to_owned()]), "{raw}");
    }
    check("/a/b", USUAL, &["/a/b"]);
    check("/%61/../b%20c%40", USUAL, &["/b%20c@"]);
    check("/f%252Fx", USUAL, &["/f%252Fx"]); // nobody decodes twice
    check("//a/b", PathSteps::MERGED, &["//a/b", "/a/b"]);
    check("//a/b", PathSteps::HOST, &["//a/b", "/b"]);
    check("//a", PathSteps::HOST, &["//a", "/"]);
    check("//a//b", PathSteps::HOST, &["//a//b", "//b"]);
    check("/a//b", USUAL, &["/a//b", "/a/b"]);
    check("/a//../b", PathSteps::MERGED, &["/a/b", "/b"]);
    check("/a/..//b", PathSteps::MERGED, &["//b", "/b"]);
    check("/a%2Fb", USUAL, &["/a%2Fb", "/a/b"]);
    check("/a%2fb", PathSteps::MERGED.with(PathSteps::HOST), &["/a%2Fb"]);
    check("/a%5Cb", USUAL, &["/a%5Cb", "/a/b"]);
    check("/a\\b", USUAL, &["/a%5Cb", "/a/b"]);
    check("/a%u002Fb", USUAL, &["/a%25u002Fb", "/a/b"]);
    check("/a%00b", USUAL, &["/a%00b", "/a"]);
    check("/a;b/c", USUAL, &["/a;b/c", "/a/c"]);
    check("/a/..;b/c", USUAL, &["/a/..;b/c", "/c"]);
    check("/a%3Bb", USUAL, &["/a%3Bb", "/a;b", "/a"]);
    check("/a%2f%2fb", USUAL, &["/a%2F%2Fb", "/a//b", "/a/b"]);
    check("/\\h/a", USUAL, &["/%5Ch/a", "//h/a", "/h/a", "/a"]);
    check("/api/queues/%2F/q", USUAL, &["/api/queues/%2F/q", "/api/queues///q", "/api/queues/q"]);
    assert_eq!(
        PathSteps::MERGED.with(PathSteps::DECODED).to_string(),
        "empty segments merged and encoded separators decoded"
    );
}

#[test]
fn readings_are_bounded() {
    let kinds = ["//", "%2f", "%5c", "\\", "%u002f", "%00", "%3b", ";", "/../", "/..;/", "a%2fb"];
    let worst = format!("/{}", kinds.join("x").repeat(40));
    let target = parse(worst.as_bytes()).unwrap();
    assert!(readings(&target, USUAL).is_none());
    // Many of one kind are not many readings.
    for kind in ["//", "%2f", "\\", ";a/", "/..;/", "%00"] {
        let target = parse(format!("/{}", kind.repeat(2000)).as_bytes()).unwrap();
        assert!(readings(&target, USUAL).is_some(), "{kind}");
    }
}

proptest! {
    #[test]
    fn models_of_servers(
        parts in prop::collection::vec(prop::sample::select(vec![
            "/", "/", ".", "..", "a", "b", "%2e", "%2f", "%5C", "\\", ";", ";x", "%u002f", "%3b",
            "h", "%25", "%41", "%c3", "%u0061",
        ]), 0..12),
    ) {
        check(format!("/{}", parts.concat()).as_bytes());
    }
}
