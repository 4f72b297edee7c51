//! `bothways demo`.

use crate::support::Scratch;

#[test]
fn shows_what_each_side_sees() {
    let outcome = Scratch::new().run(&["demo", "--once"]).ended(0);
    let out = &outcome.out;
    for words in [
        "curl -i http://127.0.0.1:",
        "apples",
        "pears",
        "X-Forwarded-For: 127.0.0.1",
        "got: HTTP/1.1 308",
        "ocation: /new/page",
        "(nothing that identifies the client)",
        "got: HTTP/1.1 403",
    ] {
        assert!(out.contains(words), "{words:?} is not in:\n{out}");
    }
}

#[test]
fn prints_a_configuration_that_holds() {
    let scratch = Scratch::new();
    let text = scratch.run(&["demo", "--print-config"]).ended(0).out;
    scratch.write("demo.kdl", &text);
    assert!(text.contains("log access=\"stdout\""), "{text}");
    scratch.run(&["check", "demo.kdl"]).ended(0);
}
