//! Endpoints changed while the process runs: by the admin interface, and by `bothways upstreams`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Answer, Scratch, ask, free_address, get, origin};

const TOKEN: &str = "a-token-of-some-length";

/// A change, with these fields.
fn change(admin: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    ask(
        admin,
        &format!(
            "{method} /upstreams/app/{path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

#[test]
fn who_may_change_what_over_tcp() {
    let scratch = Scratch::new();
    let (admin, at) = (free_address(), origin("apples"));
    let text = |token: &str| {
        format!(
            "process {{\n    admin \"{admin}\" {token}\n}}\nsite \"*\" {{\n    listen \"127.0.0.1:0\"\n    \
             to app\n}}\nupstream app {{\n    to \"{at}\"\n}}\n"
        )
    };
    scratch.write("bothways.kdl", &text(""));
    let running = scratch.start(&[]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let endpoint = format!("endpoints/{at}");
    let weigh = |fields: &str| change(admin, "PATCH", &endpoint, fields, r#"{"weight":3}"#);
    let refused = weigh(&bearer(TOKEN));
    // One was made, which the command line finds.
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("token-file"), "{refused:?}");
    scratch.run(&["upstreams", "weight", "app", &at.to_string(), "2"]).ended(0);
    scratch.run(&["upstreams", "revert", "app"]).ended(0);
    // Without a token-file, what only shows is for every process of this machine.
    assert_eq!(get(admin, "/upstreams/app/diff").status, 200);

    let token = scratch.write("token", &format!("{TOKEN}\n"));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    scratch.write("bothways.kdl", &text("token-file=\"token\""));
    assert_eq!(scratch.run(&["reload", "--admin", &admin.to_string()]).code, Some(0));
    assert_eq!(weigh("").status, 401);
    assert_eq!(weigh(&bearer("a-token-of-another-length")).status, 401);
    assert_eq!(weigh(&bearer(TOKEN)).status, 200);
    // What pages of browsers could send is refused in any case.
    assert_eq!(weigh(&(bearer(TOKEN) + "Origin: http://evil.example\r\n")).status, 403);

    let with = bearer(TOKEN);
    let table: &[(&str, &str, &str, u16, &str)] = &[
        (
            "PATCH",
            &endpoint,
            r#"{"weight":0}"#,
            422,
            "line 1, column 11: weight: must be a number from 1 to 1000",
        ),
        ("PATCH", &endpoint, r#"{"colour":1}"#, 422, "colour: is not known here"),
        ("PATCH", &endpoint, "nonsense", 422, "line 1, column 2"),
        ("PATCH", "endpoints/10.0.0.1:1", r#"{"weight":1}"#, 404, "no such endpoint"),
        ("DELETE", "endpoints/10.0.0.1:1", "", 404, "no such endpoint"),
        (
            "POST",
            "endpoints",
            r#"{"address":"10.0.0.1"}"#,
            422,
            "address: `10.0.0.1` is not an endpoint",
        ),
        ("POST", "endpoints", r#"{"address":"10.0.0.1:80","max":0}"#, 422, "max: must be a number"),
        ("PUT", "endpoints", "", 405, "GET or POST only"),
        ("POST", "diff", "", 405, "GET only"),
        ("POST", "nothing", "", 404, "no such page"),
    ];
    for (method, path, body, status, words) in table {
        let answer = change(admin, method, path, &with, body);
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer:?}");
        assert!(answer.body.contains(words), "{method} {path} {body}: {answer:?}");
    }
    let long = change(admin, "POST", "endpoints", &with, &"x".repeat(100_000));
    assert_eq!(long.status, 413);
    assert_eq!(
        change(admin, "POST", "endpoints", &with, &json!({"address": at.to_string()}).to_string())
            .status,
        409
    );
    let log = running.stop();
    let done: Vec<_> =
        log.iter().filter(|event| event["msg"] == "upstream changed at run time").collect();
    assert_eq!(done.len(), 3, "{log:?}");
    let done = done.get(2..).unwrap();
    assert!(done[0]["who"].as_str().unwrap().starts_with("tcp 127.0.0.1:"));
    assert!(done[0]["after"].as_str().unwrap().ends_with(" weight=3"));
    assert!(!log.iter().any(|event| event.to_string().contains(TOKEN)));
}

#[test]
fn endpoints_are_changed_shown_saved_and_reverted() {
    let scratch = Scratch::new();
    let (apples, pears) = (origin("apples"), origin("pears"));
    let admin = scratch.path("admin.sock");
    let text = format!(
        "process {{\n    admin \"unix:{}\"\n}}\nsite \"*\" {{\n    listen \"127.0.0.1:0\"\n    to app\n}}\n\
         // Fruit.\nupstream app {{\n    to \"{apples}\" // the first\n}}\n",
        admin.display()
    );
    scratch.write("bothways.kdl", &text);
    let mut running = scratch.start(&[]);
    let upstreams =
        |words: &[&str]| scratch.run(&[&["upstreams", "-c", "bothways.kdl"], words].concat());
    let (one, two) = (apples.to_string(), pears.to_string());
    upstreams(&["diff", "app"]).ended(0);
    upstreams(&["add", "app", &two, "--weight", "3"]).ended(0).says(&two);
    upstreams(&["drain", "app", &one, "--wait"]).ended(0).says("is drained");
    let event = running.wait_for("the endpoint is drained");
    assert_eq!(event["endpoint"], one.as_str());
    assert_eq!(get(running.address(0), "/").body, "pears");
    let diff = upstreams(&["diff", "app"]).ended(0);
    let expected = format!(
        "--- app, as written\n+++ app, as it runs\n@@ bothways.kdl:10 @@\n-to \"{one}\"\n+to \"{one}\" drain=#true\n\
         @@ bothways.kdl:9 @@\n+to \"{two}\" weight=3\n"
    );
    assert_eq!(diff.out, expected);
    let told: Value =
        serde_json::from_str(&upstreams(&["diff", "app", "--json"]).ended(0).out).unwrap();
    assert_eq!(told["changes"][1]["after"]["weight"], 3);

    // A reload keeps them, a file that has changed since is left alone.
    scratch.write("bothways.kdl", &format!("{text}\n"));
    upstreams(&["save", "app"]).ended(1).complains("has changed since it was read");
    scratch.run(&["reload"]).ended(0);
    assert_eq!(upstreams(&["diff", "app"]).ended(0).out, expected);

    upstreams(&["save", "app"]).ended(0).says("2 endpoints saved in bothways.kdl");
    let saved = scratch.read("bothways.kdl");
    assert!(saved.contains(&format!("to \"{one}\" drain=#true // the first\n")), "{saved}");
    assert!(saved.contains(&format!("to \"{two}\" weight=3\n")), "{saved}");
    assert_eq!(upstreams(&["diff", "app"]).ended(0).out, "");
    assert_eq!(get(running.address(0), "/").body, "pears");

    upstreams(&["remove", "app", &two]).ended(0);
    upstreams(&["undrain", "app", &one]).ended(0);
    assert_eq!(get(running.address(0), "/").body, "apples");
    upstreams(&["revert", "app"]).ended(0).says("2 changes reverted");
    assert_eq!(get(running.address(0), "/").body, "pears");
    upstreams(&["weight", "app", "10.0.0.1:1", "3"]).ended(1).complains("no such endpoint");
    upstreams(&["weight", "other", &one, "3"]).ended(1).complains("no such upstream");
    running.stop();
}

#[test]
fn a_file_of_endpoints_is_written_back() {
    let scratch = Scratch::new();
    let (apples, pears) = (origin("apples"), origin("pears"));
    let admin = scratch.path("admin.sock");
    scratch.write(
        "bothways.kdl",
        &format!(
            "process {{\n    admin \"unix:{}\"\n}}\nsite \"*\" {{\n    listen \"127.0.0.1:0\"\n    to app\n}}\n\
             upstream app {{\n    endpoints \"app.json\"\n}}\n",
            admin.display()
        ),
    );
    let file =
        |first: &str, more: &str| format!("{{\n  \"endpoints\": [\n    {first}{more}\n  ]\n}}\n");
    let plain = format!("{{\"address\":\"{apples}\"}}");
    scratch.write("app.json", &file(&plain, ""));
    let running = scratch.start(&[]);
    let upstreams =
        |words: &[&str]| scratch.run(&[&["upstreams", "-c", "bothways.kdl"], words].concat());
    assert_eq!(get(running.address(0), "/").body, "apples");
    upstreams(&["add", "app", &pears.to_string()]).ended(0);
    upstreams(&["save", "app"]).ended(0).says("app.json");
    let added = format!(",\n    {{\"address\": \"{pears}\"}}");
    assert_eq!(scratch.read("app.json"), file(&plain, &added));
    upstreams(&["max", "app", &apples.to_string(), "9"]).ended(0);
    upstreams(&["drain", "app", &apples.to_string()]).ended(0);
    upstreams(&["save", "app"]).ended(0);
    let changed = format!("{{\"address\": \"{apples}\", \"max\": 9, \"drain\": true}}");
    assert_eq!(scratch.read("app.json"), file(&changed, &added));
    assert_eq!(get(running.address(0), "/").body, "pears");
    upstreams(&["remove", "app", &apples.to_string()]).ended(0);
    upstreams(&["save", "app"]).ended(0);
    assert_eq!(upstreams(&["diff", "app"]).ended(0).out, "");
    assert_eq!(get(running.address(0), "/").body, "pears");
    running.stop();
}

#[test]
fn the_same_inline_endpoint_is_one_upstream() {
    let scratch = Scratch::new();
    let (admin, at) = (free_address(), origin("apples"));
    let sites: String = (0..3)
        .map(|n| {
            let route = format!("    route \"/{n}/*\" {{ to \"{at}\"; }}\n");
            format!(
                "site \"s{n}.test\" {{\n    listen \"127.0.0.1:0\"\n{route}    to \"{at}\"\n}}\n"
            )
        })
        .collect();
    scratch.write("bothways.kdl", &format!("process {{ admin \"{admin}\"; }}\n{sites}"));
    let running = scratch.start(&[]);
    for host in ["s0.test", "s1.test", "s2.test"] {
        for path in ["/", "/0/a", "/1/a", "/2/a"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
            assert_eq!(ask(running.address(0), &head).status, 200);
        }
    }
    let metrics = get(admin, "/metrics").body;
    let counts = |line: &&str| {
        line.starts_with("bothways_upstream_requests_total{") && !line.ends_with(" 0")
    };
    let counted: Vec<_> = metrics.lines().filter(counts).collect();
    assert!(matches!(&counted[..], [one] if one.ends_with(" 12")), "{counted:?}");
    let json = scratch.run(&["upstreams", "--json"]).ended(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["upstreams"].as_array().map(Vec::len), Some(1), "{json}");
    running.stop();
}
