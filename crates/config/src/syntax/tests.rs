//! The reader against the `kdl` crate, and what it makes of mistakes.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::lexer::{TokenKind, tokens};
use super::parser::parse;
use super::{Node, ValueKind, layout::layout};

/// What a document says, in one way for both readers.
fn described(nodes: &[Node<'_>], out: &mut String) {
    for node in nodes {
        let _ = write!(out, "{:?}", node.name);
        for argument in &node.arguments {
            let _ = write!(out, " {}", value(&argument.kind));
        }
        let mut properties: Vec<_> =
            node.properties.iter().map(|p| (p.name.as_ref(), value(&p.value.kind))).collect();
        properties.sort_by_key(|&(name, _)| name.to_owned());
        for (name, value) in properties {
            let _ = write!(out, " {name:?}={value}");
        }
        if let Some(children) = &node.children {
            out.push_str(" {");
            described(children, out);
            out.push('}');
        }
        out.push(';');
    }
}

fn value(kind: &ValueKind<'_>) -> String {
    match kind {
        ValueKind::Text { text, .. } => format!("{text:?}"),
        ValueKind::Integer(number) => number.to_string(),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Bool(flag) => flag.to_string(),
        ValueKind::Null => "null".into(),
    }
}

fn described_by_oracle(document: &kdl::KdlDocument, out: &mut String) {
    let value = |value: &kdl::KdlValue| match value {
        kdl::KdlValue::String(text) => format!("{text:?}"),
        kdl::KdlValue::Integer(number) => number.to_string(),
        kdl::KdlValue::Float(number) => format!("{number:?}"),
        kdl::KdlValue::Bool(flag) => flag.to_string(),
        kdl::KdlValue::Null => "null".into(),
    };
    for node in document.nodes() {
        let _ = write!(out, "{:?}", node.name().value());
        for entry in node.entries().iter().filter(|entry| entry.name().is_none()) {
            let _ = write!(out, " {}", value(entry.value()));
        }
        let named = node.entries().iter().filter_map(|e| Some((e.name()?.value(), e.value())));
        let mut properties: Vec<_> = named.collect();
        properties.sort_by_key(|&(name, _)| name.to_owned());
        for (name, given) in properties {
            let _ = write!(out, " {name:?}={}", value(given));
        }
        if let Some(children) = node.children() {
            out.push_str(" {");
            described_by_oracle(children, out);
            out.push('}');
        }
        out.push(';');
    }
}

fn ours(text: &str) -> Option<String> {
    let document = parse(text, 0);
    let mut out = String::new();
    described(&document.nodes, &mut out);
    document.errors.is_empty().then_some(out)
}

fn theirs(text: &str) -> Option<String> {
    let mut out = String::new();
    described_by_oracle(&kdl::KdlDocument::parse_v2(text).ok()?, &mut out);
    Some(out)
}

/// Whether the two readers may differ about `text`: where we are stricter than KDL 2, and where
/// the crate refuses what the grammar has (comments behind what `/-` left out, for one).
fn may_differ(text: &str, ours: &Option<String>, theirs: &Option<String>) -> bool {
    match (ours, theirs) {
        // The crate takes a bare `-inf`, which the grammar keeps for a keyword.
        (None, Some(_)) => ["://", "/*", "-inf"].iter().any(|piece| text.contains(piece)),
        (Some(_), None) => text.contains("/-"),
        _ => false,
    }
}

fn canonical(text: &str) -> String {
    let mut errors = Vec::new();
    layout(text, &tokens(text, 0, &mut errors))
}

/// Pieces that make documents, and nearly documents.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        " ",
        " ",
        " ",
        "\n",
        "\n",
        ";",
        "a",
        "b-c",
        "é",
        "\"q\"",
        "\"\\u{e9}\\n\"",
        "\"\"",
        "#\"r\\\"#",
        "\"\"\"\n  x\n    y\n  \"\"\"",
        "1",
        "-2",
        "0x1f",
        "1.5",
        "1e3",
        "1_0",
        "#true",
        "#null",
        "true",
        "=",
        "{",
        "}",
        "{ ",
        " }\n",
        "/-",
        "// c\n",
        "/* b */",
        "/* /* n */ */",
        "\\\n",
        "\\ // c\n",
        "(",
        ")",
        "(t)",
        "k=1",
        "k=\"v\"",
        "--",
        "-",
        ".",
        "+",
        "-.",
        ".5",
        "10s",
        "\\",
        "#",
        "\"",
        "\t",
        "\r\n",
        "inf",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Documents, with everything that may be in one.
fn documents() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "a",
        "\"b c\"",
        "12",
        "1.5",
        "#true",
        "#false",
        "#null",
        "#\"x\"y\"#",
        "(t)1",
        "( t ) x",
        "k=v",
        "k = \"v\"",
        "k=(t)v",
        "k=\\\n v",
        "k /* x */ = 1",
        "/-a",
        "/- k=1",
        "/-\n\n a",
        "/- // c\n a",
        "\"\"\"\n  m\n  \"\"\"",
        "\\\n",
        "\\ // why\n",
        "\\ /* b */\n",
        "/* c */",
    ]);
    let values = prop::collection::vec(value, 0..5).prop_map(|values| values.join(" "));
    let between = prop::sample::select(vec![
        "\n",
        ";",
        "\n\n\n",
        "// c\n",
        " // c\n\n",
        ";// d\n",
        "; /* e */ ",
        "\n/* f\n   g */\n",
        " /* h */\n",
        ";/* i */\n\n\n// j\n",
        "\n/- kdl-version 2\n",
        "\n\\\n",
        "\n\\ // k\n",
        ";\\ /* l */\n",
    ]);
    let name = prop::sample::select(vec![
        "site",
        "/-gone",
        "\"a b\"",
        "(t)node",
        "/- /* x */ out",
        "/-\n// y\nout",
    ]);
    let leaf = (name, values, between)
        .prop_map(|(name, values, between)| format!("{name} {values}{between}"));
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let block = prop::collection::vec(inner, 0..5).prop_map(|nodes| nodes.concat());
        let opens = prop::sample::select(vec![
            "{",
            " {\n",
            " { // c\n",
            " { /* d */\n",
            "{ /* e */ ",
            " \\\n {",
            " /-{ x }",
            " /-{ y;\n}{",
        ]);
        let closes = prop::sample::select(vec![
            "}\n",
            "};",
            "} // c\n",
            "} /* d */\n\n",
            " } /-{ x }\n",
            "}\\ // q\n\n",
        ]);
        (opens, block, closes).prop_map(|(open, block, close)| {
            if open.ends_with("x }") {
                format!("n 1{open}\n{block}")
            } else {
                format!("n 1{open}{block}{close}")
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_readers_agree_on_pieces(text in pieces()) {
        let (ours, theirs) = (ours(&text), theirs(&text));
        if !may_differ(&text, &ours, &theirs) {
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }

    #[test]
    fn both_readers_agree_on_documents(text in documents()) {
        let (ours, theirs) = (ours(&text), theirs(&text));
        prop_assert!(ours.is_some(), "{:?}", text);
        if !may_differ(&text, &ours, &theirs) {
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }

    #[test]
    fn any_text_is_read_to_its_end(text in any::<String>()) {
        let document = parse(&text, 0);
        let mut errors = Vec::new();
        let tokens = tokens(&text, 0, &mut errors);
        let pieces: String = tokens.iter().map(|t| &text[t.span.start as usize..t.span.end as usize]).collect();
        prop_assert_eq!(&pieces, &text);
        for error in document.errors {
            prop_assert!(text.get(error.span.start as usize..error.span.end as usize).is_some());
        }
    }

    #[test]
    fn layout_keeps_what_is_said(text in prop_oneof![documents(), pieces()]) {
        let Some(said) = ours(&text) else { return Ok(()) };
        let formatted = canonical(&text);
        prop_assert_eq!(ours(&formatted), Some(said), "{:?} became {:?}", text, formatted);
        prop_assert_eq!(canonical(&formatted), formatted.clone(), "{:?} became {:?}", text, formatted);
        prop_assert_eq!(kept(&formatted), kept(&text), "{:?} became {:?}", text, formatted);
    }
}

/// What a layout must keep: every word and every comment.
fn kept(text: &str) -> String {
    let mut errors = Vec::new();
    let mut out = String::new();
    for token in tokens(text, 0, &mut errors) {
        let text = &text[token.span.start as usize..token.span.end as usize];
        match token.kind {
            TokenKind::Mark | TokenKind::Space | TokenKind::Newline | TokenKind::Semicolon => {}
            TokenKind::Continuation | TokenKind::LineComment => {
                let comment: String = text.split(['\\', ' ', '\n', '\r', '\t']).collect();
                out.push_str(&comment);
            }
            _ => out.extend(text.split_whitespace()),
        }
    }
    out
}

#[test]
fn nothing_takes_the_stack_or_the_day() {
    let many = 200_000;
    for text in [
        "a{".repeat(many),
        "}".repeat(many),
        "/-{".repeat(many),
        "a /-{".repeat(many),
        format!("/{}/ a", "*".repeat(many)),
        "/*".repeat(many),
        "/*\n".repeat(many),
        "/*".repeat(many) + &"*/".repeat(many),
        "(".repeat(many),
        "a (".repeat(many),
        "\"".repeat(many),
        "#".repeat(many),
        "\\".repeat(many),
        "\\\n".repeat(many),
        "k=".repeat(many),
        "a/".repeat(many),
        "a \"\"\"".repeat(many),
    ] {
        parse(&text, 0);
    }
}

#[test]
fn canonical_layout() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(canonical(text), expected, "{text:?}");
        assert_eq!(canonical(expected), expected, "twice");
    }
    check("", "");
    check("\n\n", "");
    check("a   1  k = 2;b", "a 1 k=2\nb\n");
    check("a { b; c { } }", "a {\n    b\n    c {}\n}\n");
    check("a {\n\n\n b\n\n\n\n c\n\n}", "a {\n    b\n\n    c\n}\n");
    check("\n// top\n\n\n  // two\na // tail\n", "// top\n\n// two\na // tail\n");
    check("a { // why\n b // here\n}// end", "a { // why\n    b // here\n} // end\n");
    check("a 1 /-2 /- k=3 /-{ x; }", "a 1 /-2 /-k=3 /-{\n    x\n}\n");
    check("/- a { b }", "/-a {\n    b\n}\n");
    check("/* x */ a /* y */ 1 /* z */\n/* own */\n", "/* x */ a /* y */ 1 /* z */\n/* own */\n");
    check("a \\\n  1 \\ // one\n 2", "a \\\n    1 \\ // one\n    2\n");
    check("a {\r\n\tb\r\n}\r\n", "a {\n    b\n}\n");
    check("\u{feff}a", "a\n");
    check("a; /* of b */ b; /* of b */\nc", "a\n/* of b */ b /* of b */\nc\n");
    check("a \"\"\"\n      x\n      \"\"\"", "a \"\"\"\n      x\n      \"\"\"\n");
}

#[test]
fn mistakes_are_told_once() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let document = parse(text, 0);
        let told: Vec<_> = document.errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(told, expected, "{text:?}");
    }
    check("timeouts { head 10s }", &["`10s` needs quotes"]);
    check(
        "to 10.0.0.1:80 10.0.0.2:80",
        &["`10.0.0.1:80` needs quotes", "`10.0.0.2:80` needs quotes"],
    );
    check("to [::1]:80", &["`[::1]:80` needs quotes"]);
    check("to http://a:80/x?y#z", &["`http://a:80/x?y#z` needs quotes"]);
    check("to 10.0.0.0/8;b", &["`10.0.0.0/8` needs quotes"]);
    check("route /api/* { to x }", &["`/api/*` needs quotes"]);
    check("route /* { to x }", &["`/*` needs quotes"]);
    check("route /u/{id}/x { to x }", &["`/u/{id}/x` needs quotes"]);
    check("route /u{ to x }", &["`/u` needs quotes"]);
    check(
        "a true; b false; c null",
        &[
            "`true` is not allowed without quotes",
            "`false` is not allowed without quotes",
            "`null` is not allowed without quotes",
        ],
    );
    check("a #yes", &["`#yes` is not known"]);
    check("# as elsewhere\na", &["`#` is not known"]);
    check("a \"b { c }\nd {\n}", &["this string is never closed"]);
    check("a \"b\"c", &["a space is missing before this"]);
    check("a \"\\q\" 1", &["unknown escape"]);
    check("a {\n b {\n}", &["this block is never closed"]);
    check("a }\nb", &["unmatched }"]);
    check("a { b } c", &["a `;` is missing before `c`"]);
    check("a { b } { c }", &["a second block"]);
    check("{ a }", &["this block has no name before it"]);
    check("a k=", &["a value is missing after ="]);
    check("a =1", &["`=` is not allowed here"]);
    check("5 a", &["a node starts with a name"]);
    check("a;;b", &["there is nothing before this ;"]);
    check("a /-\n}", &["nothing follows here", "unmatched }"]);
    check("/* a", &["this comment is never closed"]);
    check("a \u{202e}b", &["the character U+202E is not allowed here"]);
    check("a \"\"\"\n  x\n y\n  \"\"\"", &["a line is indented less than the closing \"\"\""]);
    check(&"a {".repeat(100), &["blocks are nested deeper than 32"]);
}
