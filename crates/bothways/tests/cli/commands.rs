//! Commands that end by themselves.

use std::fs;
use std::path::Path;

use crate::support::Scratch;

const SHOP: &str = r#"
upstream shop {
    to "127.0.0.1:9001" weight=3
    to "127.0.0.1:9002"
}
site "shop.example.com" {
    listen "127.0.0.1:8080"
    route "/old/*" { redirect "/new/{rest}" status=308 }
    request { set "X-Client" "{client}" }
    to shop
}
forward "127.0.0.1:3128" {
    deny to="*.blocked.example"
    allow from="127.0.0.0/8"
}
"#;

const WRONG: &str = r#"
site "a.example" {
    lisen ":8080"
    to nowhere
}
"#;

fn shop() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("bothways.kdl", SHOP);
    scratch
}

#[test]
fn usage_errors_are_64() {
    let scratch = Scratch::new();
    for line in [
        &[][..],
        &["serve"],
        &["run", "--nonsense"],
        &["explain"],
        &["reverse", "--listen", ":8080"],
        &["reload", "--pid", "0"],
        &["forward", "--allow", "10.0.0.0/8", "--print-config"],
    ] {
        let outcome = scratch.run(line).ended(64);
        assert!(outcome.out.is_empty() && !outcome.err.is_empty(), "{line:?}");
    }
}

#[test]
fn help_and_version_are_0() {
    let scratch = Scratch::new();
    scratch.run(&["--help"]).ended(0).says("bothways demo");
    scratch.run(&["--version"]).ended(0).says(env!("CARGO_PKG_VERSION"));
    scratch.run(&["version"]).ended(0).says("target").says("rustc");
    let facts = scratch.run(&["version", "--json"]).ended(0).out;
    assert!(serde_json::from_str::<serde_json::Value>(&facts).unwrap()["version"].is_string());
    for command in [
        "run",
        "reverse",
        "forward",
        "check",
        "fmt",
        "show",
        "explain",
        "reload",
        "maintenance",
        "cert",
        "ca",
        "demo",
        "completions",
        "version",
    ] {
        scratch
            .run(&[command, "--help"])
            .ended(0)
            .says("Examples:")
            .says(&format!("bothways {command}"));
    }
}

#[test]
fn completions_for_shells() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        scratch.run(&["completions", shell]).ended(0).says("explain");
    }
}

#[test]
fn without_a_file_it_says_how_to_start() {
    let outcome = Scratch::new().run(&["run"]);
    // A machine that runs the tests may have one.
    if !Path::new("/etc/bothways/bothways.kdl").exists() {
        outcome.ended(78).complains("bothways reverse --listen");
    }
}

#[test]
fn check_of_a_good_file() {
    shop().run(&["check"]).ended(0).says("bothways.kdl: good, 1 site with 2 routes, 1 upstream");
}

#[test]
fn check_names_every_mistake_at_once() {
    let scratch = Scratch::new();
    let file = scratch.write("wrong.kdl", WRONG);
    let file = file.to_str().unwrap();
    let outcome = scratch.run(&["check", "wrong.kdl"]).ended(78);
    let outcome =
        outcome.complains("wrong.kdl:3:5: ").complains("    lisen \":8080\"").complains("^^^^^");
    let outcome = outcome.complains("did you mean `listen`").complains("wrong.kdl:4:");
    assert!(outcome.err.contains("2 errors in wrong.kdl"), "{}", outcome.err);
    assert!(!outcome.err.contains('\x1b'), "no colours where there is no terminal");
    scratch.run(&["run", "--config", file]).ended(78).complains("2 errors");
    scratch.run(&["show", file]).ended(78);
    scratch.run(&["check", "missing.kdl"]).ended(78).complains("missing.kdl");
}

#[test]
fn check_runs_expectations() {
    let scratch = shop();
    let good = r#"
expect "GET http://shop.example.com:8080/old/a" status=308 location="/new/a"
expect "CONNECT www.blocked.example:443" forward="127.0.0.1:3128" denied=#true
expect "GET http://shop.example.com:8080/x" upstream=shop
"#;
    scratch.write("good.kdl", &format!("{SHOP}{good}"));
    scratch.run(&["check", "good.kdl"]).ended(0).says("3 of 3 expectations hold");
    let bad = r#"expect "GET http://shop.example.com:8080/old/a" status=301"#;
    scratch.write("bad.kdl", &format!("{SHOP}{good}{bad}\n"));
    let outcome = scratch.run(&["check", "bad.kdl"]).ended(78).says("3 of 4 expectations hold");
    // The expectation that fails, and the line that decided otherwise.
    outcome.complains("bad.kdl:20:1: expected status 301").complains("bad.kdl:8:");
}

#[test]
fn check_looks_into_files_of_endpoints_and_keys() {
    let scratch = Scratch::new();
    let text = "upstream app {\n    endpoints \"app.json\"\n    sticky \"BW\" key-file=\"key\"\n}\nsite { to app }\n";
    scratch.write("bothways.kdl", text);
    scratch.write("key", "0123456789abcdef0123456789abcdef");
    scratch.run(&["check"]).ended(0).complains("there is no file `app.json`");
    scratch.write("app.json", "{\"endpoints\": [\n  {\"address\": \"10.0.0.1\"}\n]}\n");
    let outcome = scratch.run(&["check"]).ended(78).complains("bothways.kdl:2:5: `app.json`");
    outcome.complains("line 2, column").complains("a port is missing");
    scratch.write("app.json", "[{\"address\": \"10.0.0.1:80\"}]\n");
    scratch.run(&["check"]).ended(0);
    scratch.write("key", "short");
    scratch.run(&["check"]).ended(78).complains("bothways.kdl:3:5: ").complains("5 bytes");
}

#[test]
fn check_strict_refuses_warnings() {
    let scratch = Scratch::new();
    let rules = "allow from=\"10.0.0.0/8\"\n    deny to=\"a.example\" from=\"10.1.0.0/16\"\n    allow from=\"10.2.0.0/16\"";
    scratch.write("bothways.kdl", &format!("forward \"127.0.0.1:3128\" {{\n    {rules}\n}}\n"));
    scratch.run(&["check"]).ended(0).complains("warning:");
    scratch.run(&["check", "--strict"]).ended(78);
}

#[test]
fn fmt_is_idempotent_and_keeps_comments() {
    let scratch = Scratch::new();
    let untidy = "// why\nsite   \"a.example\"   {\n listen \":8080\"\n      to \"127.0.0.1:1\"  // there\n}\n";
    scratch.write("bothways.kdl", untidy);
    scratch.run(&["fmt", "--check"]).ended(1).says("bothways.kdl");
    assert_eq!(scratch.read("bothways.kdl"), untidy);
    scratch.run(&["fmt"]).ended(0);
    let tidy = scratch.read("bothways.kdl");
    assert!(tidy != untidy && tidy.contains("// why") && tidy.contains("// there"), "{tidy}");
    scratch.run(&["fmt", "--check", "bothways.kdl"]).ended(0);
    assert_eq!(scratch.run_with(&["fmt", "-"], untidy).ended(0).out, tidy);
    scratch.run_with(&["fmt", "-"], "site {{").ended(78).complains("<stdin>:1:");
}

#[test]
fn show_tells_values_and_where_they_come_from() {
    let scratch = shop();
    scratch.run(&["show"]).ended(0).says("bothways.kdl:").says("default").says("drain");
    let json = scratch.run(&["show", "--json", "bothways.kdl"]).ended(0).out;
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok_and(|value| !value.is_null()));
}

#[test]
fn explain_in_reverse() {
    let scratch = shop();
    let outcome = scratch.run(&["explain", "http://shop.example.com:8080/old/a/b"]).ended(0);
    outcome.says("redirected to /new/a/b (308)").says("decided by bothways.kdl:8");
    let outcome =
        scratch.run(&["explain", "shop.example.com:8080/x", "--from", "192.0.2.7"]).ended(0);
    outcome
        .says("upstream shop")
        .says("X-Client: 192.0.2.7")
        .says("Host: shop.example.com:8080")
        .says("X-Forwarded-For: 192.0.2.7");
    let arguments = ["explain", "http://shop.example.com:8080/x", "--json", "--method", "post"];
    let json = scratch.run(&arguments).ended(0).out;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["outcome"]["kind"], "proxied", "{value:#}");
    assert_eq!(value["outcome"]["upstream"], "shop");
    assert_eq!(value["request"], "POST http://shop.example.com:8080/x");
    // What could not be read is refused as the request would be.
    let malformed = |field: &str, words: &str| {
        let url = ["explain", "http://shop.example.com:8080/x", "-H", field];
        scratch.run(&url).ended(0).says(words);
        let json = scratch.run(&[&url[..], &["--json"]].concat()).ended(0).out;
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["outcome"]["kind"], "refused", "{field}: {value:#}");
        assert!(value["head"].is_null() && value["decided_by"].is_null(), "{field}: {value:#}");
    };
    malformed("No Token: 1", "=> refused (400): ");
    malformed("X-A : 1", "=> refused (400): ");
    malformed("X-A: a\u{1}b", "=> refused (400): ");
    malformed("Host: a b", "=> refused (400): ");
    malformed("Transfer-Encoding: gzip, chunked", "=> refused (501): ");
    scratch
        .run(&["explain", "http://shop.example.com:8080/", "-H", "nothing"])
        .ended(64)
        .complains("not a field");
}

#[test]
fn explain_over_tls() {
    let scratch = Scratch::new();
    scratch.write(
        "bothways.kdl",
        r#"
site "shop.example.com" {
    tls internal { client request ca="staff.pem"; }
    request { set "X-Who" "{client-names} by {tls-version} as {tls-name}"; }
    route "/admin/*" {
        client name="ops.example.com"
        to "127.0.0.1:9002"
    }
    to "https://127.0.0.1:9001"
}
site "mail.example.com" { tls passthrough; to "127.0.0.1:9003"; }
"#,
    );
    let http = scratch.run(&["explain", "http://shop.example.com/a?b"]).ended(0);
    http.says("has https://, where shop.example.com on :80 is sent")
        .says("redirected to https://shop.example.com/a?b (308)")
        .says("decided by bothways.kdl:3");
    let trusting = fs::read_to_string(scratch.path("bothways.kdl")).unwrap();
    scratch.write("trusting.kdl", &format!("trusted-proxy \"127.0.0.1\"{trusting}"));
    let secure = ["-H", "X-Forwarded-Proto: https", "-c", "trusting.kdl"];
    let secure = [&["explain", "http://shop.example.com/a?b"], &secure[..]].concat();
    scratch
        .run(&secure)
        .ended(0)
        .says("serves shop.example.com on :80 to clients of trusted proxies that came by https://")
        .says("https://127.0.0.1:9001")
        .says("X-Forwarded-Proto: https");
    let stranger = [&secure[..], &["--from", "192.0.2.1"]].concat();
    scratch.run(&stranger).ended(0).says("redirected to https://shop.example.com/a?b (308)");
    let https = scratch.run(&["explain", "https://shop.example.com/"]).ended(0);
    https.says("https://127.0.0.1:9001").says("X-Who:  by TLSv1.3 as shop.example.com");
    let admin = ["explain", "https://shop.example.com/admin/x"];
    scratch.run(&admin).ended(0).says("refused (403)").says("decided by bothways.kdl:6");
    let shown = [&admin[..], &["--client", "ops.example.com"]].concat();
    scratch.run(&shown).ended(0).says("127.0.0.1:9002").says("X-Who: ops.example.com by TLSv1.3");
    let json = scratch.run(&["explain", "https://mail.example.com/", "--json"]).ended(0).out;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["outcome"]["kind"], "passthrough", "{value:#}");
    let clear = ["explain", "http://shop.example.com/", "--client", "ops"];
    scratch.run(&clear).ended(64).complains("https://");
    scratch.run(&["explain", "http://a/", "--forward", ":1"]).ended(64);
    let wrong = scratch.run(&["explain", "http://mail.example.com:443/"]).ended(64);
    wrong.complains("there is a listener for https://");
    scratch.run(&["explain", "mail.example.com:443/"]).ended(0).says("relayed to upstream");
}

#[test]
fn explain_forward() {
    let scratch = shop();
    let denied = scratch.run(&["explain", "www.blocked.example:443"]).ended(0);
    denied.says("CONNECT www.blocked.example:443").says("denied (403)").says("bothways.kdl:13");
    let forward = ["--forward", "127.0.0.1:3128"];
    let allowed =
        scratch.run(&[&["explain", "http://example.com/"], &forward[..]].concat()).ended(0);
    allowed.says("sent to example.com").says("bothways.kdl:14");
    let inner =
        [&["explain", "http://example.com/", "--address", "10.0.0.1"], &forward[..]].concat();
    scratch.run(&inner).ended(0).says("denied (403)");
    scratch.run(&["explain", "http://a/", "--forward", ":1"]).ended(64).complains("127.0.0.1:3128");
    scratch.run(&["explain", "http://user@a/"]).ended(64);
}

#[test]
fn one_liners_print_configurations_that_hold() {
    let scratch = Scratch::new();
    for line in [
        &["reverse", "--listen", ":8080", "--to", "localhost:3000", "127.0.0.1:1"][..],
        &[
            "reverse",
            "--to",
            "localhost:3000",
            "--site",
            "a.example",
            "*.b.example",
            "--log",
            "off",
        ],
        &["forward", "--listen", ":3128", "--deny", "*.example.com"],
        &[
            "forward",
            "--allow",
            "to=localhost port=8000-8999",
            "--deny",
            "*",
            "--anonymous",
            "--ports",
            "80,443,8000-8999",
            "--admin",
            "127.0.0.1:9900",
        ],
    ] {
        let text = scratch.run(&[line, &["--print-config"]].concat()).ended(0).out;
        scratch.write("printed.kdl", &text);
        scratch.run(&["check", "printed.kdl"]).ended(0);
        assert_eq!(scratch.run_with(&["fmt", "-"], &text).ended(0).out, text, "is formatted");
    }
    let wrong = ["reverse", "--to", "not a host", "--print-config"];
    scratch.run(&wrong).ended(78).complains("<command line>:");
}

#[test]
fn the_example_that_is_shipped_holds() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/example.kdl");
    let scratch = Scratch::new();
    let outcome = scratch.run(&["check", example]).ended(0).says("4 of 4 expectations hold");
    let mut warnings = outcome.err.lines().filter(|line| line.contains("warning: "));
    // It serves files of a directory that is not on every machine.
    assert!(warnings.all(|line| line.contains("/srv/www")), "{}", outcome.err);
    scratch.run(&["fmt", "--check", example]).ended(0);
}

/// The tour of the README: its outputs of `check` and `explain` are those of today.
#[test]
fn the_readme_shows_real_output() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let example = readme.split("```kdl\n").nth(1).unwrap().split("```").next().unwrap();
    let scratch = Scratch::new();
    scratch.write("bothways.kdl", example);
    let checked = scratch.run(&["check"]).ended(0).out;
    let explained = scratch.run(&["explain", "http://shop.localhost:8080/api/7/list"]).ended(0).out;
    let wrong = example.replace("status=308; }", "status=200; }");
    scratch.write("bothways.kdl", &wrong.replacen("    to shop", "    prxoy shop", 1));
    let mistakes = scratch.run(&["check"]).ended(78).err;
    for output in [checked, explained, mistakes] {
        assert!(readme.contains(output.trim()), "the README does not show:\n{output}");
    }
}
