//! Paths: what is routed, what is sent, and what is refused because servers read it differently.

use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use testkit::wait;

fn echo() -> Origin {
    Origin::serving(|request| ok(&format!("origin {}", request.target())))
}

fn guarded(origin: &Origin, more: &str) -> TestServer {
    TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/secret/*\" {{ respond \"guarded\" status=403; }}
             to \"{}\"
             {more}
         }}",
        origin.address()
    ))
}

#[test]
fn the_path_that_is_routed_is_the_path_that_is_sent() {
    let origin = echo();
    let server = guarded(&origin, "");
    let mut client = server.connect();
    let mut check = |path: &str, expected: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: A.Example:80\r\n\r\n"));
        assert_eq!(client.response().text(), expected, "{path}");
    };
    check("/secret/x", "guarded");
    check("/secret", "guarded");
    check("/%73ecret/x", "guarded");
    check("/a/../secret/x", "guarded");
    check("/a/%2e%2E/secret/x", "guarded");
    check("/./secret/x", "guarded");
    check("/secret/../x", "origin /x");
    check("/../../x", "origin /x");
    check("/a/./b/../c?d=/../%73", "origin /a/c?d=/../%73");
    check("/secretx", "origin /secretx");
    // RFC 9110, section 7.7, as far as a reverse proxy can: what the client wrote.
    for path in [
        "/a//b",
        "//x",
        "/%7Euser/%e4/%41%2d",
        "/a|b/{x}?q=\"x\"|<>`^",
        "/\"<>^`[]",
        "/api/v4/projects/group%2Fproject",
        "/@scope%2fname",
        "/api/queues/%2F/q",
        "/f%252Fx",
        "/a%5Cb\\c",
        "/key;v=1/x?sig=%2f+%20",
        "/100%/%zz",
    ] {
        check(path, &format!("origin {path}"));
    }
    drop(client);
    assert!(!origin.received().contains("guarded"));
    assert!(!origin.received().contains("GET /secret/"), "{}", origin.received());
    assert!(origin.received().contains("Host: A.Example:80\r\n"), "{}", origin.received());
}

#[test]
fn bytes_beyond_ascii_go_on_as_they_came() {
    let origin = Origin::answering(ok("hi"));
    let server = guarded(&origin, "");
    let mut client = server.connect();
    for target in ["/\u{fc}", "/?q=\u{fc}"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().text(), "hi", "{target:?}");
    }
    let received = origin.received();
    assert!(received.contains("GET /\u{fc} HTTP") && received.contains("GET /?q=\u{fc} HTTP"));
}

#[test]
fn what_servers_may_take_for_another_route_is_refused() {
    let origin = echo();
    let server = guarded(&origin, "");
    let paths = [
        "//secret/x",
        "///secret",
        "/x/..//secret/x",
        "/x//../secret/x",
        "//h/secret/x",
        "/secret%2fx",
        "/secret;a/x",
        "/;/secret/x",
        "/a%2F..%2Fsecret",
        "/\\secret/x",
        "/%u002fsecret/x",
        "/a/..;/secret/x",
    ];
    for path in paths {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 400, "{path}");
        // The client does not learn of routes.
        assert!(!response.text().contains("/secret"), "{path}: {}", response.text());
    }
    assert_eq!(origin.received(), "");
    // A site whose servers do nothing of it says so.
    let server = guarded(&origin, "path-readings none");
    let mut client = server.connect();
    for path in paths.iter().filter(|path| !path.contains("..//") && !path.contains("//..")) {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().text(), format!("origin {path}"));
    }
}

#[test]
fn a_refused_path_is_explained_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = TestServer::start(&format!(
        "process {{ log access=\"{}\" format=json; }}
         site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/a/*\" {{ respond \"a\"; }}
             respond \"other\"
         }}",
        path.display()
    ));
    let mut client = server.connect();
    client.send("GET //a/b|c HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    wait::until("a line of the log", || read().ends_with('\n'));
    let log = read();
    assert!(log.contains("with empty segments merged (/a/b%7Cc)"), "{log}");
    assert!(log.contains("path-readings host decoded parameters"), "{log}");
    assert!(log.contains("\"target\":\"http://a//a/b|c\""), "{log}");
}

#[test]
fn a_template_is_not_left_by_what_clients_put_into_it() {
    let origin = echo();
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/q\" {{ rewrite \"/v3/{{query}}\"; to \"{0}\"; }}
             route \"/p/*\" {{ rewrite \"/v3/{{rest}}\"; to \"{0}\"; }}
             route \"/s/*\" {{ strip-prefix \"/s\"; to \"{0}\"; }}
         }}",
        origin.address()
    ));
    let ask = |target: &str| {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        if response.status() == 200 {
            response.text().to_owned()
        } else {
            response.status().to_string()
        }
    };
    assert_eq!(ask("/q?abc"), "origin /v3/abc");
    assert_eq!(ask("/q?a/b=c&d"), "origin /v3/a/b=c&d");
    for query in ["../../admin", "..", "%2e%2e/x", "..%2fx", "/../x", "..;/x", "a/..\\x"] {
        assert_eq!(ask(&format!("/q?{query}")), "400", "{query}");
    }
    assert_eq!(ask("/p/%7Ea//b?c|"), "origin /v3/%7Ea//b?c|");
    assert_eq!(ask("/p/..%2f..%2fx"), "400");
    assert_eq!(ask("/s/%7Ea//b|?c|"), "origin /%7Ea//b|?c|");
    assert_eq!(ask("/s/..%2fx"), "400");
}

#[test]
fn a_forward_proxy_leaves_the_path_alone() {
    // RFC 9110, section 7.7
    let origin = echo();
    let server = TestServer::forward("allow to=\"127.0.0.1\" port=\"1-65535\"");
    for path in [
        "/%7Euser/%41",
        "/a/../b",
        "/a/./b/..",
        "/a|b{x}?q=\"x\"",
        "/%e4%2F%u0041%",
        "//x//y",
        "/..;/x%2f..",
    ] {
        let mut client = server.connect();
        let at = origin.address();
        client.send(format!("GET http://{at}{path} HTTP/1.1\r\nHost: {at}\r\n\r\n"));
        assert_eq!(client.response().text(), format!("origin {path}"));
    }
    // What nothing can be connected to by is refused.
    for host in ["web.1", "127.1", "0x7f.1", "2130706433", "[::1%25lo]", "a%2eb", "127.0.0.1:0"] {
        let mut client = server.connect();
        client.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status(), 400, "{host}");
    }
}

#[test]
fn unusual_hosts_are_served() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::reverse(origin.address(), "");
    let long = "a".repeat(64);
    for host in
        ["web.1", "1234", "[fe80::1%25eth0]", &long, "x.test:0", "%2Fvar%2Frun%2Fdocker.sock", ""]
    {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), "hi", "{host}");
    }
}

#[test]
fn a_route_for_get_takes_head() {
    let server = TestServer::start(
        "site \"*\" {
             listen \"127.0.0.1:0\"
             route \"/x\" method=\"GET\" { respond \"hi\"; }
         }",
    );
    let mut client = server.connect();
    client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.field("Content-Length")), (200, Some("2")));
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.field("Allow")), (405, Some("GET, HEAD")));
}
