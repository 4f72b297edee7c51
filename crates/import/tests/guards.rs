//! Nothing that nginx keeps from clients is served: what cannot be written closes what is around it.

use import::Words;

/// Imports the lines of a server, and reads what is written.
fn imported(lines: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.conf");
    std::fs::write(&path, format!("server {{\nlisten 80;\n{lines}\n}}")).unwrap();
    let tree = import::nginx::read(&path).unwrap();
    let text = import::import(&tree, &Words::ask(), &|_| false).text;
    assert!(config::parse("a", &text).is_ok(), "{lines}\n{text}");
    text
}

#[test]
fn what_keeps_clients_out_and_cannot_be_written() {
    const OPEN: &str = "location / { proxy_pass http://127.0.0.1:3000; }";
    for lines in [
        // Expressions that the conversion passes and the language does not take.
        "location ~ ^/a(?#comment)b { deny all; }",
        "location ~ ^/(((a { return 403; }",
        "location ~ ^/a(?#comment)b { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:3000; }",
        "location ~ (?<=x)y { return 404; }",
        "if ($unknown) { return 403; }",
        "ssl_verify_client on; allow nonsense; deny all;",
    ] {
        let text = imported(&format!("{lines}\n{OPEN}"));
        assert!(!text.contains("to \"127.0.0.1:3000\""), "{lines}\n{text}");
        assert!(text.contains("status=503"), "{lines}\n{text}");
    }
}

#[test]
fn a_condition_that_cannot_be_written() {
    let text = imported("if ($http_x ~ (?#c)b) { return 403; } location = /a { return 200; }");
    // Whatever the field is: the exact path too, which comes first.
    for route in [
        "route ~ \"^/\" priority=10 {\n        // not taken",
        "route \"/a\" {\n        // not taken",
    ] {
        let rest = text.split_once(route).unwrap_or_else(|| panic!("{route}\n{text}")).1;
        assert!(rest.split('}').next().unwrap().contains("respond status=503"), "{text}");
    }
}

#[test]
fn what_keeps_clients_out_and_is_written() {
    const OPEN: &str = "location / { proxy_pass http://127.0.0.1:3000; }";
    for (lines, written) in [
        ("location ~ ^/(?!a) { deny all; }", "respond status=403"),
        ("location /a { deny all; }", "route \"/a*\""),
        ("if ($http_x ~ b) { return 403; }", "when field=\"X\" matches=\"b\""),
    ] {
        let text = imported(&format!("{lines}\n{OPEN}"));
        assert!(text.contains(written), "{lines}\n{text}");
        assert!(text.contains("to \"127.0.0.1:3000\""), "{lines}\n{text}");
    }
}

#[test]
fn a_bad_name_does_not_take_the_others_away() {
    let text = imported("server_name a..b www.example.com; return 204;");
    assert!(text.contains("site \"www.example.com\""), "{text}");
}

#[test]
fn ports_that_nginx_assumes() {
    for (target, written) in [
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://app.internal/", "http://app.internal"),
        ("https://app.internal", "https://app.internal"),
        ("http://[::1]", "http://[::1]"),
        ("http://[::1]:81", "[::1]:81"),
        ("http://unix:/run/app.sock", "unix:/run/app.sock"),
    ] {
        let text = imported(&format!("location / {{ proxy_pass {target}; }}"));
        assert!(text.contains(&format!("\"{written}\"")), "{target}\n{text}");
    }
}
