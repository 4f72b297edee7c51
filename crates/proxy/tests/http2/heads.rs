//! Heads of HTTP/2 mean the same over HTTP/1. What must hold is in `testkit::fuzzing::http2_heads`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use testkit::fuzzing::http2_heads;

/// Lines of a head, most of them good.
fn lines() -> impl Strategy<Value = String> {
    let usual = vec![
        ":method: GET\n:scheme: https\n:authority: a.example\n:path: /x?y\n",
        ":method: POST\n:scheme: http\n:authority: a.example:8080\n:path: /\n",
        ":method: CONNECT\n:authority: a.example:443\n",
        ":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: a\n:path: /\n",
        ":method: OPTIONS\n:scheme: http\n:authority: [::1]\n:path: *\n",
        ":status: 200\n",
        ":status: 204\n",
        ":status: 304\n",
        ":status: 103\n",
        "",
    ];
    let field = prop_oneof![
        4 => prop::sample::select(vec![
            "content-length: 5", "content-length: 05", "content-length: 0", "content-length: 5, 5", "host: a.example",
            "host: b", "cookie: a=b", "cookie: c", "te: trailers", "te: gzip", "expect: 100-continue", "expect: x",
            "x-a:  b ", "x_b: c", "content_length: 9", "transfer-encoding: chunked", "transfer_encoding: chunked",
            "connection: x", "upgrade: h2c", "http2-settings: a", ":path: /other", ":path: //a/..;/%2e\\", ":method: HEAD",
            ":scheme: ftp", ":authority: A.EXAMPLE.", "via: 1.1 a", "X-Upper: 1", ": empty", "trailer: x-a",
            "proxy-connection: close", "keep-alive: 5",
        ]).prop_map(str::to_owned),
        1 => "[a-z:_ -]{0,8}: [ -~\t]{0,12}".prop_map(|line| line),
        1 => "[\\x00-\\x7f]{0,10}: [\\x00-\\x7f]{0,10}".prop_map(|line| line),
    ];
    (prop::sample::select(usual), prop::collection::vec(field, 0..8))
        .prop_map(|(head, fields)| head.to_owned() + &fields.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2_000 } else { 100_000 }))]

    #[test]
    fn heads_of_lines(choice in any::<u8>(), lines in lines()) {
        http2_heads::check(&[&[choice], lines.as_bytes()].concat());
    }
}

#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/http2_heads");
    let mut count = 0;
    for file in fs::read_dir(corpus).expect("the corpus is readable") {
        let path = file.expect("the corpus is readable").path();
        // Shown only if a check fails.
        println!("{}", path.display());
        http2_heads::check(&fs::read(path).expect("the corpus is readable"));
        count += 1;
    }
    assert!(count >= 10, "the corpus is nearly empty");
}
