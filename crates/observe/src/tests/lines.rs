//! Lines of the access log, golden and hostile.

use std::time::{Duration, Instant};

use message::{Method, Version};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture;
use crate::format::{self, Stamp};
use crate::json::{self, FieldSet};
use crate::{Direction, ErrorKind, Record};

/// 10 October 2000, 13:55:36.042 UTC: the day of the example in Apache's manual.
const TIME: u64 = 971_186_136_042;

fn json_line(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let names = fixture::names();
    json::json(&mut out, record, &names, FieldSet::ALL, TIME, &mut Stamp::default());
    out
}

fn combined_line(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    format::combined(&mut out, record, TIME, &mut Stamp::default());
    out
}

#[track_caller]
fn check_json(record: &Record, expected: Value) {
    let line = json_line(record);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    let parsed: Value = serde_json::from_slice(&line).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&line));
    });
    assert_eq!(parsed, expected);
}

#[track_caller]
fn check_combined(record: &Record, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&combined_line(record)), format!("{expected}\n"));
}

#[test]
fn an_ordinary_exchange() {
    let record = fixture::reverse(Instant::now());
    // The bytes too: the order of keys is what people get used to.
    let expected = concat!(
        r#"{"time":"2000-10-10T13:55:36.042Z","client":"192.0.2.7","port":51234,"#,
        r#""direction":"reverse","listener":":80","scope":"shop.example.com","route":"/api/*","#,
        r#""decided":"etc/\"both\"ways.kdl:12","method":"GET","#,
        r#""target":"http://shop.example.com/api/cart?id=7","version":"HTTP/1.1","status":200,"#,
        r#""request_body_bytes":0,"response_body_bytes":2326,"received_bytes":180,"#,
        r#""sent_bytes":2500,"queue_us":42,"first_byte_us":1500,"total_us":2003,"#,
        r#""upstream":"shop","endpoint":"10.0.0.1:8080","dialled":"10.0.0.1:8080","#,
        r#""reused":true,"referer":"http://shop.example.com/","user_agent":"curl/8.0"}"#,
        "\n",
    );
    assert_eq!(String::from_utf8_lossy(&json_line(&record)), expected);
    check_combined(
        &record,
        "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /api/cart?id=7 HTTP/1.1\" 200 2326 \
         \"http://shop.example.com/\" \"curl/8.0\"",
    );
}

#[test]
fn a_refused_tunnel() {
    let mut record = fixture::forward(Instant::now());
    record.fail(ErrorKind::HttpRequestDenied, format_args!("rule {}: \"no\"", 3));
    check_json(
        &record,
        json!({
            "time": "2000-10-10T13:55:36.042Z", "client": "2001:db8::7", "port": 40000,
            "via": "10.0.0.9", "direction": "forward", "listener": ":3128", "scope": ":3128",
            "decided": "etc/\"both\"ways.kdl:33", "method": "CONNECT",
            "target": "www.example.net:443", "version": "HTTP/1.1", "status": 403,
            "request_body_bytes": 0, "response_body_bytes": 0, "received_bytes": 0,
            "sent_bytes": 0, "total_us": 90, "error": "http_request_denied", "blame": "policy",
            "detail": "rule 3: \"no\"",
        }),
    );
    check_combined(
        &record,
        "2001:db8::7 - - [10/Oct/2000:13:55:36 +0000] \
         \"CONNECT www.example.net:443 HTTP/1.1\" 403 - \"-\" \"-\"",
    );
}

#[test]
fn a_request_that_was_none() {
    let mut record = Record::new(Instant::now());
    record.listener = config::ListenerId(99);
    record.status = 400;
    check_json(
        &record,
        json!({
            "time": "2000-10-10T13:55:36.042Z", "client": "0.0.0.0", "direction": "reverse",
            "status": 400, "request_body_bytes": 0, "response_body_bytes": 0,
            "received_bytes": 0, "sent_bytes": 0, "total_us": 0,
        }),
    );
    check_combined(&record, "0.0.0.0 - - [10/Oct/2000:13:55:36 +0000] \"-\" 400 - \"-\" \"-\"");
}

#[test]
fn everything_else_there_is() {
    let mut record = fixture::reverse(Instant::now());
    record.client = "[::ffff:192.0.2.8]:1".parse().unwrap();
    record.version = Version::Http10;
    record.method = Method::parse(b"PROPFIND").unwrap();
    record.endpoint = Some(config::EndpointId::new(config::UpstreamId(0), 1));
    record.dialled = "[2001:db8::1]:8080".parse().ok();
    record.connect = Some(Duration::from_secs(5_000));
    (record.retries, record.reused, record.tunnel) = (2, false, true);
    let line: Value = serde_json::from_slice(&json_line(&record)).unwrap();
    let expected = json!({
        "client": "192.0.2.8", "version": "HTTP/1.0", "method": "PROPFIND",
        "endpoint": "app.internal:8080", "dialled": "[2001:db8::1]:8080",
        "connect_us": 5_000_000_000_u64, "retries": 2, "reused": false, "tunnel": true,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(key), Some(value), "{key}");
    }
}

#[test]
fn userinfo_is_left_out() {
    #[track_caller]
    fn check(direction: Direction, target: &str, in_json: &str, in_combined: &str) {
        let mut record = Record::new(Instant::now());
        record.direction = direction;
        record.target.set(target);
        record.referer.set(target);
        let line: Value = serde_json::from_slice(&json_line(&record)).unwrap();
        assert_eq!(line["target"], in_json);
        assert_eq!(line["referer"], in_json);
        let line = String::from_utf8(combined_line(&record)).unwrap();
        let request = line.split('"').nth(1).unwrap();
        assert_eq!(request, format!("GET {in_combined} HTTP/1.1"));
    }
    use Direction::{Forward, Reverse};
    check(Forward, "http://kim:secret@a.example/x", "http://a.example/x", "http://a.example/x");
    check(Reverse, "http://kim:secret@a.example/x", "http://a.example/x", "/x");
    check(Reverse, "http://a@b:c@d?q", "http://d?q", "?q");
    check(Forward, "kim:secret@a.example:443", "a.example:443", "a.example:443");
    // An `@` elsewhere is no userinfo.
    check(Reverse, "http://a.example/@x?y=@", "http://a.example/@x?y=@", "/@x?y=@");
    check(Forward, "/r?to=http://a@b", "/r?to=http://a@b", "/r?to=http://a@b");
}

#[test]
fn long_texts_are_cut_and_marked() {
    let mut record = fixture::reverse(Instant::now());
    record.user_agent.set("x".repeat(2_000));
    record.target.set([b"http://h/".as_slice(), &[b'y'; 10_000]].concat());
    let line: Value = serde_json::from_slice(&json_line(&record)).unwrap();
    assert_eq!(line["user_agent"], "x".repeat(1024) + "…");
    assert_eq!(line["target"], format!("http://h/{}…", "y".repeat(8192 - 9)));
    let line = String::from_utf8(combined_line(&record)).unwrap();
    assert!(line.ends_with("xxx...\"\n") && line.contains("yyy... HTTP/1.1\""));
}

#[test]
fn escapes_of_apache() {
    // `ap_escape_logitem` of Apache's server/util.c
    #[track_caller]
    fn check(text: &[u8], expected: &str) {
        let mut record = Record::new(Instant::now());
        record.user_agent.set(text);
        let line = String::from_utf8(combined_line(&record)).unwrap();
        let expected = format!("\"-\" \"{expected}\"\n");
        assert!(line.ends_with(&expected), "{line} {expected}");
    }
    check(b"a\"b\\c", r#"a\"b\\c"#);
    check(b"\x08\n\r\t\x0b", r"\b\n\r\t\v");
    check(b"\x00\x07\x0c\x1b\x7f\x80\xff", r"\x00\x07\x0c\x1b\x7f\x80\xff");
    check("é".as_bytes(), r"\xc3\xa9");
    check(b"' ~`<", "' ~`<");
}

#[test]
fn escapes_of_json() {
    #[track_caller]
    fn check(text: &[u8], expected: &str) {
        let mut record = Record::new(Instant::now());
        record.user_agent.set(text);
        let line = String::from_utf8(json_line(&record)).unwrap();
        assert!(line.ends_with(&format!("\"user_agent\":\"{expected}\"}}\n")), "{line}");
    }
    check(b"a\"b\\c/", r#"a\"b\\c/"#);
    check(b"\n\r\t\x00\x1f\x7f", r"\n\r\t\u0000\u001f\u007f");
    check("é€😀".as_bytes(), "é€😀");
    check("\u{9b}\u{2028}\u{2029}".as_bytes(), r"\u009b\u2028\u2029");
    check(b"a\xffb\xf0\x9f\x98", "a\u{fffd}b\u{fffd}");
    // A character that was cut in two at the limit
    let long = [b"x".repeat(1023).as_slice(), "é".as_bytes()].concat();
    check(&long, &format!("{}\u{fffd}…", "x".repeat(1023)));
}

/// Undoes Apache's escapes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'b') => 0x08,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(b'x') => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            Some(other @ (b'"' | b'\\')) => other,
            other => panic!("no escape: {other:?}"),
        });
    }
    out
}

/// Bytes that an attacker would choose, and any others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "\"",
            "\\",
            "\n",
            "\r\n",
            "\\u",
            "\",\"a\":1}",
            "\u{2028}",
            "@",
            "://",
            "é"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn hostile_bytes_never_break_a_line(
        target in hostile(), referer in hostile(), agent in hostile(), detail in hostile(),
        forward: bool,
    ) {
        let mut record = fixture::reverse(Instant::now());
        record.direction = if forward { Direction::Forward } else { Direction::Reverse };
        record.target.set(&target);
        record.referer.set(&referer);
        record.user_agent.set(&agent);
        record.detail.set(&detail);

        let line = json_line(&record);
        let parsed: Value = serde_json::from_slice(&line).unwrap();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let expected = (!agent.is_empty()).then(|| Value::from(lossy(&agent)));
        prop_assert_eq!(parsed.get("user_agent"), expected.as_ref());
        let expected = (!detail.is_empty()).then(|| Value::from(lossy(&detail)));
        prop_assert_eq!(parsed.get("detail"), expected.as_ref());
        prop_assert_eq!(parsed.get("status"), Some(&Value::from(200)));
        let text = str::from_utf8(&line).unwrap();
        let (body, end) = text.split_at(text.len() - 1);
        prop_assert_eq!(end, "\n");
        let ends_a_line = |c: char| c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c);
        prop_assert!(!body.chars().any(ends_a_line));

        let line = combined_line(&record);
        let (end, body) = line.split_last().unwrap();
        prop_assert_eq!(*end, b'\n');
        prop_assert!(body.iter().all(|byte| (0x20..0x7f).contains(byte)));
        // Quotes that are not escaped: three quoted parts.
        let mut parts = vec![Vec::new()];
        let mut is_escaped = false;
        for &byte in body {
            match byte {
                b'"' if !is_escaped => parts.push(Vec::new()),
                _ => parts.last_mut().unwrap().push(byte),
            }
            is_escaped = byte == b'\\' && !is_escaped;
        }
        prop_assert_eq!(parts.len(), 7);
        if !agent.is_empty() && !agent.contains(&b'@') {
            prop_assert_eq!(unescape(&parts[5]), agent);
        }
    }
}
