//! Properties of the parser and of what is written; also the corpus of the fuzz target.

use std::fs;
use std::path::Path;

use import::nginx::parse;
use proptest::prelude::*;
use testkit::fuzzing::nginx_text;

#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/nginx_text");
    let mut count = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        nginx_text::check(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 20, "the corpus is nearly empty");
}

/// Words that mean something, and some that do not.
const WORDS: &[&str] = &[
    "server",
    "location",
    "/a",
    "/a/",
    "/",
    "=",
    "^~",
    "~",
    "~*",
    "\\.php$",
    "proxy_pass",
    "http://a:80/",
    "http://b",
    "upstream",
    "b",
    "listen",
    "80",
    "443 ssl",
    "[::]:80",
    "server_name",
    "a.example",
    "*.b",
    "_",
    "deny",
    "allow",
    "all",
    "10.0.0.0/8",
    "auth_basic",
    "off",
    "return",
    "301",
    "https://$host$request_uri",
    "rewrite",
    "^/(.*)$",
    "/$1",
    "last",
    "break",
    "permanent",
    "if",
    "($host",
    "a.example)",
    "try_files",
    "$uri",
    "@x",
    "=404",
    "root",
    "alias",
    "/srv",
    "add_header",
    "X",
    "\"a b\"",
    "map",
    "$x",
    "$http_y",
    "default",
    "set",
    "error_page",
    "limit_except",
    "GET",
    "client_max_body_size",
    "1m",
    "http",
    "include",
    "'q'",
    "#",
];

fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => proptest::sample::select(WORDS).prop_map(str::to_owned),
        1 => "[ -~]{0,6}".prop_map(|text| text),
    ];
    let separator =
        proptest::sample::select(&[" ", " ", " ", ";\n", ";\n", " {\n", " }\n", "\n"][..]);
    proptest::collection::vec((word, separator), 0..60)
        .prop_map(|parts| parts.into_iter().map(|(word, separator)| word + separator).collect())
}

/// Blocks that are well-formed, so that more of the mapping is reached.
fn site() -> impl Strategy<Value = String> {
    let line = proptest::collection::vec(proptest::sample::select(WORDS), 1..5)
        .prop_map(|words| format!("{};\n", words.join(" ").replace(['#', '\''], "")));
    let lines = proptest::collection::vec(line, 0..5).prop_map(|lines| lines.concat());
    let location = (
        proptest::sample::select(
            &["/", "/a", "/a/", "= /a", "^~ /a/b/", "~ \\.php$", "~* ^/a/(.*)$", "@x"][..],
        ),
        lines.clone(),
    )
        .prop_map(|(head, lines)| format!("location {head} {{\n{lines}}}\n"));
    (lines, proptest::collection::vec(location, 0..5))
        .prop_map(|(lines, locations)| format!("server {{\n{lines}{}}}\n", locations.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text(text in text()) {
        nginx_text::check(text.as_bytes());
    }

    #[test]
    fn any_site(text in proptest::collection::vec(site(), 1..4)) {
        nginx_text::check(text.concat().as_bytes());
    }
}

#[test]
fn depth_and_length_are_bounded() {
    assert!(parse(&"a{".repeat(10_000), 0, 0).unwrap_err().kind.contains("deep"));
    assert!(
        parse(&format!("a {};", "x".repeat(10_000)), 0, 0).unwrap_err().kind.contains("4096 bytes")
    );
    assert!(parse(&"a;".repeat(300_000), 0, 0).unwrap_err().kind.contains("directives"));
}
