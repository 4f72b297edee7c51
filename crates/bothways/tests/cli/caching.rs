//! `explain` with what the cache would do.

use serde_json::Value;

use super::support::{Outcome, Scratch};

const CONFIG: &str = r#"
site "shop.example.com" {
    listen ":8080"
    cache
    route "/img/*" {
        cache ttl="1h" stale="1d" {
            ttl "1min" status=404
            key { query drop="utm_*"; field "X-Device"; cookie "lang"; }
            bypass field="X-Refresh"
            pass cookie="session*"
        }
        to "127.0.0.1:9001"
    }
    route "/cart/*" { cache off; to "127.0.0.1:9001"; }
    route "/staff/*" { login basic file="users"; to "127.0.0.1:9001"; }
    route "/old" { redirect "/new"; }
    to "127.0.0.1:9001"
}
forward "127.0.0.1:3128" { cache; allow; }
"#;

const IMG: &str = "http://shop.example.com:8080/img/a?utm_source=x&w=1";

fn shop() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("users", "");
    scratch.write("bothways.kdl", CONFIG);
    scratch
}

#[track_caller]
fn explain(scratch: &Scratch, url: &str, arguments: &[&str]) -> Outcome {
    scratch.run(&[&["explain", url], arguments].concat()).ended(0)
}

#[track_caller]
fn cache_json(scratch: &Scratch, url: &str, arguments: &[&str]) -> Value {
    let told = explain(scratch, url, &[arguments, &["--json"]].concat());
    let value: Value = serde_json::from_str(&told.out).unwrap();
    value["cache"].clone()
}

#[test]
fn requests_are_looked_up_under_their_key() {
    let scratch = shop();
    explain(&scratch, IMG, &["-H", "X-Device: phone", "-H", "Cookie: lang=de; a=b"])
        .says("answered from the store, if it has a response")
        .says("<- bothways.kdl:6")
        .says("key: http://shop.example.com:8080/img/a?w=1\n")
        .says("and field X-Device: phone")
        .says("and cookie lang: de");
    let cache = cache_json(&scratch, IMG, &[]);
    assert_eq!(cache["use"], "lookup");
    assert_eq!(cache["key"]["url"], "http://shop.example.com:8080/img/a?w=1");
    assert_eq!(cache["key"]["more"]["cookie lang"], "");
    assert!(cache["response"].is_null());
    // The line that decides is the one that matches.
    explain(&scratch, IMG, &["-H", "X-Refresh: 1"])
        .says("a `bypass` line matches")
        .says("<- bothways.kdl:9");
    explain(&scratch, IMG, &["-H", "Cookie: session_7=x"])
        .says("nothing to do with the request: a `pass` line matches")
        .says("<- bothways.kdl:10");
    explain(&scratch, IMG, &["--method", "POST"])
        .says("what is stored for its URL is used no longer");
    explain(&scratch, IMG, &["--method", "OPTIONS"]).says("its method is not one");
    for url in ["cart/1", "old"] {
        let url = format!("http://shop.example.com:8080/{url}");
        assert!(cache_json(&scratch, &url, &[]).is_null(), "{url}");
        assert!(!explain(&scratch, &url, &[]).out.contains("the cache:"), "{url}");
    }
}

#[test]
fn responses_are_stored_or_not() {
    let scratch = shop();
    let response = |url: &str, status: &str, fields: &[&str]| {
        let mut arguments = vec!["--response-status", status];
        fields.iter().for_each(|field| arguments.extend(["--response-field", *field]));
        cache_json(&scratch, url, &arguments)["response"].clone()
    };
    let page = "http://shop.example.com:8080/page";
    let stored = response(page, "200", &["Cache-Control: max-age=60", "Vary: Accept-Encoding"]);
    assert_eq!(stored["stored"], true, "{stored:#}");
    assert_eq!((&stored["fresh_for"], &stored["freshness_from"]), (&60.into(), &"response".into()));
    assert_eq!(stored["vary"][0], "accept-encoding");
    let stored = response(IMG, "200", &[]);
    assert_eq!(
        (&stored["fresh_for"], &stored["freshness_from"]),
        (&3600.into(), &"configuration".into())
    );
    assert_eq!(stored["stale_on_error"], 86_400);
    assert_eq!(response(IMG, "404", &[])["fresh_for"], 60);
    for (fields, reason) in [
        (&["Cache-Control: private, max-age=60"][..], "private"),
        (&["Cache-Control: no-store"], "no-store"),
        (&["Cache-Control: max-age=60", "Set-Cookie: a=b"], "set-cookie"),
        (&["Cache-Control: max-age=60", "Vary: *"], "vary-star"),
        (&["Content-Type: text/html"], "no-lifetime"),
    ] {
        let refused = response(page, "200", fields);
        assert_eq!(
            (&refused["stored"], &refused["reason"]),
            (&false.into(), &reason.into()),
            "{fields:?}"
        );
    }
    // Who has logged in gets what is for all only if it says so.
    let staff = "http://shop.example.com:8080/staff/x";
    assert_eq!(response(staff, "200", &["Cache-Control: max-age=60"])["reason"], "authorization");
    assert_eq!(response(staff, "200", &["Cache-Control: public, max-age=60"])["stored"], true);
}

#[test]
fn words_for_people() {
    let scratch = shop();
    explain(&scratch, IMG, &["--response-field", "ETag: \"1\""])
        .says("such a response (200 OK) is stored: fresh for 1h, by the configuration; then still sent for 1d while a new one is fetched, and if endpoints fail")
        .says("<- bothways.kdl:6");
    explain(
        &scratch,
        IMG,
        &["--response-field", "Cache-Control: no-cache", "--response-field", "ETag: \"1\""],
    )
    .says("an endpoint is asked each time whether it still holds");
    explain(&scratch, IMG, &["--response-field", "Cache-Control: private"])
        .says("such a response (200 OK) is not stored: it says `private`");
    explain(
        &scratch,
        "http://a.example/x",
        &["--forward", "127.0.0.1:3128", "-H", "Cache-Control: no-store"],
    )
    .says("it says `no-store`");
    scratch
        .run(&["explain", IMG, "--response-status", "700"])
        .ended(64)
        .complains("not the status");
    scratch.run(&["explain", IMG, "--response-field", "x"]).ended(64).complains("not a field");
}

/// Each reason is in the table of `docs/caching.md`, and no other.
#[test]
fn every_reason_is_documented() {
    let page = include_str!("../../../../docs/caching.md");
    let (_, table) = page.split_once("| `cache_reason` |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    let words = |row: &str| -> Vec<String> {
        let first = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default().to_owned();
        first.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut documented: Vec<_> = rows.flat_map(words).collect();
    let mut known: Vec<_> =
        cache::Reason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
}
