//! Whatever a client sends, each place keeps its shape.

use config::{Map, MapMatch, MapRow, Rewrite, Template, TemplatePart, TextKind};
use message::{ClientCertificate, Fields, Known, Request};
use proptest::prelude::*;

use crate::fixtures::{at, pattern, template};
use crate::tests::template::facts_of;
use crate::{
    Captures, Facts, Maps, Rules, TlsFacts, expand, html, location, log, text, upstream_path,
};

/// Every part whose text comes from a client. `{c}` and `{rest}` are captures, `{m}` is a map.
const PARTS: &[&str] = &[
    "{path}",
    "{query}",
    "{uri}",
    "{c}",
    "{rest}",
    "{field:X}",
    "{field:Cookie}",
    "{cookie:c}",
    "{query:q}",
    "{request-id}",
    "{tls-name}",
    "{client-subject}",
    "{client-names}",
    "{m}",
    "{host}",
    "{method}",
    "{client}",
    "{client-port}",
    "{port}",
    "{client-cert}",
];

/// What clients send that mean harm.
const HOSTILE: &[&[u8]] = &[
    b"\r\nX-Evil: y",
    b"\0",
    b"<script>alert(1)</script>",
    b"//evil.example",
    b"..",
    b".",
    b"",
    b"%2e%2e",
    b"%2E.",
    b"%2e%2e%2fadmin",
    b"../../etc/passwd",
    b"..;",
    b"..\\..\\x",
    b"?a=b",
    b"#f",
    b"\xff\xfe",
    b"a b",
    b"\"'`",
    b"&x=1",
    b"%",
    b"%zz",
    b"%00",
    "\u{e9}\u{2028}".as_bytes(),
    b"{host}",
    b"$(x)",
    b"\\\"",
    b"javascript:alert(1)",
    b"@evil.example",
    b":80",
    b"*/</style>",
    b"\t\x1b[31m",
    b"a,b;c=d",
];

/// The facts of a request in which every part is this value.
fn with_value<R>(value: &[u8], then: impl FnOnce(&Facts<'_>) -> R) -> R {
    let mut request = Request::default();
    request.fields.push(b"X", value);
    request.fields.push(b"X", value);
    let cookie = [b"c=", value].concat();
    request.fields.push_known(Known::Cookie, &cookie);
    request.id.take(value);
    let query = [b"q=", value, b"&z=", value].concat();
    // A path of a client has no query in it, and no dot segments (`message::Target`).
    let no_dots = |segment: &[u8]| {
        let dots = segment.to_ascii_lowercase();
        let dots = String::from_utf8_lossy(&dots).replace("%2e", ".");
        !matches!(&*dots, "." | "..")
    };
    let in_path = value.split(|&byte| matches!(byte, b'?' | b'#')).next().unwrap();
    let in_path: Vec<_> = in_path.split(|&byte| byte == b'/').filter(|s| no_dots(s)).collect();
    let in_path = in_path.join(&b'/');
    let path = [b"/a/", &*in_path, b"/r/", &*in_path].concat();
    let uri = [&*path, b"?", &*query].concat();
    let pattern = pattern("/a/{c}/*");
    let lossy = String::from_utf8_lossy(value).into_owned();
    let certificate = ClientCertificate {
        subject: lossy.as_str().into(),
        names: vec![lossy.as_str().into(), lossy.as_str().into()],
        der: value.into(),
        ..ClientCertificate::default()
    };
    let maps = maps();
    let tls = TlsFacts { version: "TLSv1.3", name: Some(&lossy), client: Some(&certificate) };
    then(&Facts {
        path: &path,
        query: Some(&query),
        uri: &uri,
        captures: Captures::of_pattern(&pattern, &path),
        tls: Some(tls),
        maps: maps.maps(),
        ..facts_of(&request)
    })
}

/// `map m "{field:X}"`, whose value is the field again.
fn maps() -> Rules {
    let value =
        Template { written: "{field:X}".into(), parts: vec![TemplatePart::Field("X".into())] };
    let row = MapRow { place: at(2), matches: MapMatch::Prefix("".into()), value: value.clone() };
    let default = Template::default();
    let map = Map { place: at(1), name: "m".into(), input: value, rows: vec![row], default };
    let config = config::Config { maps: vec![map], ..config::Config::default() };
    Rules::compile(std::sync::Arc::new(config))
}

fn made(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// What the templates of all places make of a value, held against what must be so.
fn check(part: &str, value: &[u8]) -> Result<(), String> {
    let shown = String::from_utf8_lossy(value).into_owned();
    let must = |holds: bool, place: &str, out: &[u8]| match holds {
        true => Ok(()),
        false => {
            let out = out.escape_ascii();
            Err(format!("{part} of {shown:?} in {place}: {out}"))
        }
    };
    with_value(value, |facts| {
        let with = |text: &str| template(&text.replace('@', part));
        // A field: one line.
        let out = made(|out| expand(&with("a @ b"), facts, out));
        must(!out.iter().any(u8::is_ascii_control), "a field", &out)?;

        // A log: one line, one quoted text.
        let out = made(|out| log(&with("@"), facts, out));
        must(out.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'"'), "a log", &out)?;

        check_texts(&with("@"), facts, &must)?;
        check_locations(part, &with, facts, &must)?;
        check_paths(part, &with, facts, &must)
    })
}

type Must<'m> = dyn Fn(bool, &str, &[u8]) -> Result<(), String> + 'm;

fn check_texts(template: &Template, facts: &Facts<'_>, must: &Must<'_>) -> Result<(), String> {
    let of = |kind| made(|out| text(template, kind, facts, out));
    let is_text = |out: &[u8]| {
        str::from_utf8(out).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\t'))
    };
    let out = of(TextKind::Plain);
    must(is_text(&out), "plain text", &out)?;
    let out = of(TextKind::Markup);
    let has = |out: &[u8], bytes: &[u8]| out.iter().any(|byte| bytes.contains(byte));
    must(is_text(&out) && !has(&out, b"<>\"'`= "), "HTML", &out)?;
    must(out == made(|out| html(template, facts, out)), "html()", &out)?;
    let out = of(TextKind::Script);
    must(is_text(&out) && !has(&out, b"<>\"'`&$\t"), "a script", &out)?;
    let escapes = out.iter().zip(out.iter().skip(1)).filter(|(byte, _)| **byte == b'\\');
    must(escapes.into_iter().all(|(_, next)| *next == b'u'), "a script", &out)?;
    let out = of(TextKind::Style);
    must(is_text(&out) && !has(&out, b"<>\"'`;{}()*/@"), "a style", &out)
}

fn check_locations(
    part: &str,
    with: &dyn Fn(&str) -> Template,
    facts: &Facts<'_>,
    must: &Must<'_>,
) -> Result<(), String> {
    let of = |text: &str| made(|out| location(&with(text), facts, out));
    let is_uri = |out: &[u8]| out.iter().all(u8::is_ascii_graphic);
    let path_of = |out: &[u8]| {
        let end = out.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(out.len());
        String::from_utf8(out[..end].to_vec()).unwrap()
    };
    let out = of("/x/@/y");
    let path = path_of(&out);
    let is_below = path.starts_with("/x/") && !has_parent(&path);
    must(is_uri(&out) && is_below && !out.contains(&b'#'), "a path", &out)?;
    let is_one = !matches!(part, "{path}" | "{uri}" | "{rest}");
    let segments = path.matches('/').count();
    // A map here is a field.
    let is_value = part.contains(':') || part == "{m}" || part == "{request-id}";
    must(!is_one || !is_value || segments == 3, "one segment", &out)?;
    let out = of("@");
    must(is_uri(&out) && out.starts_with(b"/") && !out.starts_with(b"//"), "a start", &out)?;
    must(!has_parent(&path_of(&out)), "a start", &out)?;
    let out = of("https://a.example@");
    must(
        is_uri(&out) && out.starts_with(b"https://a.example/")
            || part == "{port}"
            || part == "{host}",
        "a host",
        &out,
    )?;
    let out = of("https://@.a.example/z");
    let host = String::from_utf8_lossy(&out).replace("https://", "");
    let host = host.split('/').next().unwrap_or_default();
    must(host.ends_with(".a.example") && !host.contains(['@', ':', '?', '#']), "a name", &out)?;
    let out = of("/q?v=@&end=1");
    let query = out.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
    let parameters = query.split(|byte| *byte == b'&').count();
    let is_whole = part == "{query}" || parameters == 2;
    must(is_uri(&out) && is_whole && !out.contains(&b'#'), "a query", &out)
}

fn check_paths(
    part: &str,
    with: &dyn Fn(&str) -> Template,
    facts: &Facts<'_>,
    must: &Must<'_>,
) -> Result<(), String> {
    for text in ["/x/@/y", "@", "/x@", "/@"] {
        let mut out = Vec::new();
        if upstream_path(&Rewrite::To(with(text)), facts, &mut out).is_err() {
            continue; // 400
        }
        let end = out.iter().position(|byte| *byte == b'?').unwrap_or(out.len());
        let path = String::from_utf8_lossy(&out[..end]).into_owned();
        let is_below = path.starts_with(text.split(['@']).next().unwrap()) || text == "@";
        let decoded =
            path.to_lowercase().replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
        must(path.starts_with('/') && !path.starts_with("//"), "a path sent", &out)?;
        must(is_below && !has_parent(&decoded), "a path sent", &out)?;
        let graphic = out[..end].iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
        must(graphic || part == "{query}", "a path sent", &out)?;
    }
    Ok(())
}

/// Whether a path has a segment `..`, perhaps encoded, perhaps with parameters.
fn has_parent(path: &str) -> bool {
    let path = path.to_lowercase().replace("%2e", ".");
    path.split('/').any(|segment| matches!(segment.split(';').next(), Some("..")))
}

#[test]
fn hostile_values_stay_values() {
    let checked = PARTS.iter().flat_map(|part| HOSTILE.iter().map(move |value| (part, value)));
    let wrong: Vec<_> = checked.filter_map(|(part, value)| check(part, value).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn so_does_anything_else(part in 0..PARTS.len(), value in "[a-z./%2eE;\\\\?#&<>\"'\\x00-\\x20]{0,9}|.{0,6}") {
        if let Err(wrong) = check(PARTS[part], value.as_bytes()) {
            prop_assert!(false, "{}", wrong);
        }
    }
}

#[test]
fn what_fields_and_parameters_say() {
    let mut fields = Fields::new();
    fields.push(b"Accept", b"a");
    fields.push(b"x-own", b"1");
    fields.push(b"accept", b"b");
    fields.push(b"X-Own", b"2");
    fields.push(b"Cookie", b"s=1; t=2");
    let request = Request { fields, ..Request::default() };
    let facts = Facts { query: Some(b"q=1%202&q=3"), ..facts_of(&request) };
    let of = |text: &str| made(|out| expand(&template(text), &facts, out));
    let check = |text: &str, expected: &str| {
        assert_eq!(String::from_utf8(of(text)).unwrap(), expected, "{text}");
    };
    check("{field:accept}", "a, b");
    check("{field:X-Own}", "1, 2");
    check("{field:None}|", "|");
    check("{field:Host}", "A.example:81");
    check("{field:cookie} {cookie:t}{cookie:none}", "s=1; t=2 2");
    check("{query:q}", "1%202");
    check("{port}{client-port}", "80");
}

#[test]
fn an_id_is_made_once_and_noted() {
    let request = Request::default();
    let facts = facts_of(&request);
    assert_eq!(request.id.if_used(), None);
    let out = made(|out| expand(&template("{request-id} {request-id}"), &facts, out));
    let (one, other) = out.split_at(36);
    assert_eq!(one, &other[1..]);
    assert_eq!(request.id.if_used(), Some(one));
}

#[test]
fn rows_of_maps() {
    let row = |matches, value: &str| MapRow { place: at(2), matches, value: template(value) };
    let regex = |text| MapMatch::Regex(config::Regex::new(text).unwrap());
    let map = Map {
        place: at(1),
        name: "m".into(),
        input: template("{path}"),
        rows: vec![
            row(regex("^/r"), "regex"),
            row(MapMatch::Prefix("/a".into()), "short"),
            row(MapMatch::Prefix("/a/b".into()), "long {field:X}"),
            row(MapMatch::Suffix(".php".into()), "suffix"),
            row(MapMatch::Exact("/a/b".into()), "exact"),
            row(regex("."), "any"),
        ],
        default: template("default"),
    };
    let maps = Maps::of(&config::Config { maps: vec![map], ..config::Config::default() });
    let mut request = Request::default();
    request.fields.push(b"X", b"x");
    let template =
        Template { written: "{m}".into(), parts: vec![TemplatePart::Map(config::MapId(0))] };
    let check = |path: &str, expected: &str| {
        let facts = Facts { routed: path, maps: &maps, ..facts_of(&request) };
        let out = made(|out| expand(&template, &facts, out));
        assert_eq!(str::from_utf8(&out), Ok(expected), "{path}");
    };
    check("/a/b", "exact");
    check("/a/b/c", "long x");
    check("/ab", "short");
    check("/a.php", "suffix");
    check("/a/b.php", "long x");
    check("/rx", "regex");
    check("/x", "any");
    check("", "default");
}
