//! Applications under a path, pages, maintenance, and the fields of every answer.

use std::time::{Duration, Instant};

use testkit::h2raw::{Connection, headers, request};
use testkit::message_text::{Message, response};
use testkit::origin::{Origin, refused_address};
use testkit::server::TestServer;
use wire::http2::frame::flag;

fn get(server: &TestServer, path: &str, fields: &str) -> Message {
    let mut client = server.connect();
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}Connection: close\r\n\r\n"
    ));
    client.response()
}

/// Answers `/echo` with what it was told of its prefix, and others with a redirect and cookies as an application
/// does that knows nothing of it.
fn application() -> Origin {
    Origin::serving(|request| {
        let told = request.field("X-Forwarded-Prefix").unwrap_or("none").to_owned();
        let host = request.field("Host").unwrap_or_default();
        if request.target() == "/echo" {
            return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
        }
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{host}{}/next\r\nSet-Cookie: a=1; Path=/\r\n\
             Set-Cookie: b=2; HttpOnly\r\nContent-Length: 0\r\n\r\n",
            request.target()
        )
    })
}

#[test]
fn an_application_under_a_path() {
    let origin = application();
    let server = TestServer::start(&format!(
        "site {{
             listen \"127.0.0.1:0\"
             route \"/app/*\" {{ strip-prefix \"/app\"; to \"{0}\"; }}
             route \"/off/*\" {{ strip-prefix \"/off\"; rewrite-responses off; to \"{0}\"; }}
             route \"/own/*\" {{ host endpoint; to \"{0}\"; }}
             route \"/set/*\" {{ strip-prefix \"/set\"; request {{ set \"X-Forwarded-Prefix\" \"/x\"; }}; to \"{0}\"; }}
             to \"{0}\"
         }}",
        origin.address()
    ));
    assert_eq!(get(&server, "/app/echo", "").text(), "/app");
    assert_eq!(get(&server, "/app/echo", "X-Forwarded-Prefix: /evil\r\n").text(), "/app");
    assert_eq!(get(&server, "/app/echo", "X_Forwarded_Prefix: /evil\r\n").text(), "/app");
    assert_eq!(get(&server, "/set/echo", "").text(), "/x");
    assert_eq!(get(&server, "/echo", "X-Forwarded-Prefix: /evil\r\n").text(), "none");
    let moved = get(&server, "/app/a", "");
    assert_eq!(moved.field("Location"), Some("http://shop.example/app/a/next"));
    assert_eq!(moved.all("Set-Cookie"), ["a=1; Path=/app", "b=2; HttpOnly"]);
    let moved = get(&server, "/off/a", "");
    assert_eq!(moved.field("Location"), Some("http://shop.example/a/next"));
    assert_eq!(moved.all("Set-Cookie"), ["a=1; Path=/", "b=2; HttpOnly"]);
    // Without a prefix, the application's own name is the client's all the same.
    let moved = get(&server, "/own/a", "");
    assert_eq!(moved.field("Location"), Some("http://shop.example/own/a/next"));
    assert_eq!(moved.all("Set-Cookie"), ["a=1; Path=/", "b=2; HttpOnly"]);
}

#[test]
fn a_prefix_behind_a_prefix() {
    let origin = application();
    let server = TestServer::start(&format!(
        "trusted-proxy \"127.0.0.1\"
         site {{ listen \"127.0.0.1:0\"; route \"/app/*\" {{ strip-prefix \"/app\"; to \"{0}\"; }}; to \"{0}\"; }}",
        origin.address()
    ));
    assert_eq!(get(&server, "/app/echo", "X-Forwarded-Prefix: /outer/\r\n").text(), "/outer/app");
    assert_eq!(get(&server, "/echo", "X-Forwarded-Prefix: /outer\r\n").text(), "/outer");
    let https = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example:8443\r\n";
    let moved = get(&server, "/app/a", https);
    assert_eq!(moved.field("Location"), Some("https://www.example:8443/app/a/next"));
}

#[test]
fn the_fields_of_a_site_are_on_every_answer() {
    let dead = refused_address();
    let server = TestServer::start(&format!(
        "site \"shop.example\" {{
             listen \"127.0.0.1:0\"
             response {{ set \"X-Site\" \"{{client}}\"; remove \"X-Gone\"; }}
             limits {{ body \"10B\"; }}
             error-page 405 file=\"Cargo.toml\"
             route \"/dead\" {{ to \"{dead}\"; }}
             route \"/only-get\" method=\"GET\" {{ respond \"got\"; }}
             route \"/moved\" {{ redirect \"/x\"; }}
             route \"/api/{{id}}\" {{ response {{ set \"X-Id\" \"{{id}}\"; }}; to \"{dead}\"; }}
             route \"/closed\" {{ maintenance file=\"Cargo.toml\"; respond; }}
             route \"/admin/*\" {{ respond; }}
             route \"/files/*\" {{ strip-prefix \"/files\"; files \"src\"; }}
         }}"
    ));
    let table: &[(u16, &str)] = &[
        (502, "GET /dead HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (502, "GET /dead HTTP/1.0\r\nHost: shop.example\r\n\r\n"),
        (502, "GET /api/7 HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (405, "POST /only-get HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n"),
        (404, "GET /nothing HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (404, "GET /files/nothing HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (308, "GET /moved HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (200, "GET /only-get HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (200, "GET /files/lib.rs HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (503, "GET /closed HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (400, "GET //admin/x HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (413, "POST /only-get HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 11\r\n\r\n"),
        // Refused before the site is known: the only one of the listener counts.
        (400, "GET / HTTP/1.1\r\nHost: shop.example\r\nHost: other\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: shop.example\r\nbad field\r\n\r\n"),
        (505, "GET / HTTP/3.0\r\nHost: shop.example\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: 0\r\n\r\n"),
        (200, "OPTIONS / HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: 0\r\n\r\n"),
    ];
    for (status, text) in table {
        let mut client = server.connect();
        client.send(text);
        let answer = client.response_to(text.split(' ').next().unwrap());
        assert_eq!(answer.status(), *status, "{text}");
        assert_eq!(answer.all("X-Site"), ["127.0.0.1"], "{text}: {answer:?}");
        if text.contains("/api/7") {
            assert_eq!(answer.field("X-Id"), Some("7"), "{answer:?}");
        }
    }
    let long = "x".repeat(40 * 1024);
    for (status, text) in [
        (431, format!("GET / HTTP/1.1\r\nHost: shop.example\r\nX-Long: {long}\r\n\r\n")),
        (414, format!("GET /{} HTTP/1.1\r\nHost: shop.example\r\n\r\n", "x".repeat(9000))),
    ] {
        let mut client = server.connect();
        client.send(&text);
        let answer = client.response();
        assert_eq!((answer.status(), answer.all("X-Site")), (status, vec!["127.0.0.1"]));
    }
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.has("X-Site")), (421, false), "that is no site's");
    // The same over HTTP/2.
    let mut client = Connection::client(server.address(), &[]);
    let mut stream = 1;
    for (status, path) in [(502, "/dead"), (404, "/nothing"), (308, "/moved"), (503, "/closed")] {
        let fields = request("GET", "http", "shop.example", path);
        client.send(headers(flag::END_STREAM, stream, &fields));
        let answer = client.message(stream).unwrap();
        assert_eq!(
            (answer.status(), answer.field("x-site")),
            (status, Some("127.0.0.1")),
            "{path}"
        );
        stream += 2;
    }
}

#[test]
fn pages_for_the_errors_of_an_application() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("sorry.html");
    std::fs::write(&page, "<p>Sorry").unwrap();
    let origin = Origin::serving(|request| {
        let long = "stack trace ".repeat(100);
        let (status, more) = match request.target() {
            "/500" => (500, "Content-Encoding: gzip\r\nETag: \"x\"\r\nRetry-After: 7\r\n"),
            "/grpc" => (500, "Content-Type: application/grpc\r\n"),
            "/404" => (404, "Set-Cookie: a=1\r\n"),
            _ => (200, ""),
        };
        let length = long.len();
        format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {length}\r\n\r\n{long}")
    });
    let server = TestServer::start(&format!(
        "site {{
             listen \"127.0.0.1:0\"
             error-page 500 file=\"{0}\" from=upstream
             error-page 404 file=\"{0}\" from=both
             route \"/none\" method=\"PUT\" {{ respond; }}
             route \"/*\" {{ to \"{1}\"; }}
         }}",
        page.display(),
        origin.address()
    ));
    let answer = get(&server, "/500", "");
    assert_eq!((answer.status(), answer.text()), (500, "<p>Sorry"));
    assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.field("Retry-After"), Some("7"));
    assert!(!answer.has("Content-Encoding") && !answer.has("ETag"), "{answer:?}");
    let answer = get(&server, "/404", "");
    assert_eq!((answer.status(), answer.text()), (404, "<p>Sorry"));
    assert_eq!(answer.field("Set-Cookie"), Some("a=1"));
    assert!(get(&server, "/grpc", "").text().starts_with("stack"));
    assert!(get(&server, "/fine", "").text().starts_with("stack"));
    // What was discarded does not cost the connection to the origin.
    let before = origin.connections();
    let mut client = server.connect();
    for _ in 0..5 {
        client.send("GET /500 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "<p>Sorry");
    }
    client.send("HEAD /500 HTTP/1.1\r\nHost: a\r\n\r\nGET /fine HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!((head.status(), head.length()), (500, Some("<p>Sorry".len())));
    assert!(client.response().text().starts_with("stack"));
    assert!(origin.connections() <= before + 1, "one core needs one");
}

#[test]
fn pages_have_parts() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let page =
        file("sorry.html", "<style>p { x: y }</style>{status} {reason}: {uri} {nobody} {{uri}}");
    let json = file("ok.json", "{\"at\": \"{query:a}\", \"status\": {status}}");
    let origin = Origin::answering(response(500, "trace"));
    let server = TestServer::start(&format!(
        "site {{
             listen \"127.0.0.1:0\"
             error-page 404 500 file=\"{page}\" from=both
             route \"/app\" {{ to \"{}\"; }}
             route \"/json\" {{ respond file=\"{json}\" status=201; }}
         }}",
        origin.address()
    ));
    let answer = get(&server, "/a%3C?\"<x>", "");
    let rest = " {nobody} {uri}";
    let style = "<style>p { x: y }</style>";
    assert_eq!(
        answer.text(),
        format!("{style}404 Not Found: /a%3C?&#34;&lt;x&gt;{rest}"),
        "what a client sends is escaped"
    );
    let answer = get(&server, "/app", "");
    assert_eq!(answer.text(), format!("{style}500 Internal Server Error: /app{rest}"));
    let answer = get(&server, "/json?a=%22\"", "");
    assert_eq!((answer.status(), answer.field("Content-Type")), (201, Some("application/json")));
    assert_eq!(answer.text(), "{\"at\": \"%22\\u0022\", \"status\": 201}");
}

#[test]
fn maintenance_by_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let (file, page) = (directory.path().join("closed"), directory.path().join("down.html"));
    std::fs::write(&page, "<p>Closed").unwrap();
    let origin = Origin::answering(response(200, "open"));
    let server = TestServer::start(&format!(
        "site \"a.example\" {{
             listen \"127.0.0.1:0\"
             maintenance file=\"{0}\" page=\"{1}\" retry-after=\"10min\"
             route \"/always/*\" {{ maintenance off; to \"{2}\"; }}
             route \"/team/*\" {{ maintenance file=\"{0}\" except=\"127.0.0.0/8\"; to \"{2}\"; }}
             to \"{2}\"
         }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{2}\"; }}",
        file.display(),
        page.display(),
        origin.address()
    ));
    let ask = |path: &str| {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        client.response()
    };
    let wait_for = |status: u16| {
        let begun = Instant::now();
        while ask("/").status() != status {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(ask("/").text(), "open");
    std::fs::write(&file, "").unwrap();
    wait_for(503);
    let answer = ask("/");
    assert_eq!((answer.text(), answer.field("Retry-After")), ("<p>Closed", Some("600")));
    assert_eq!(ask("/always/x").text(), "open");
    assert_eq!(ask("/team/x").text(), "open");
    assert_eq!(get(&server, "/", "").text(), "open", "another site");
    server.wait_for_metric("bothways_errors_total", "error=\"maintenance\"", 2.0);
    let opened = server.server().set_maintenance(&["a.example".to_owned()], false).unwrap();
    assert_eq!((opened.len(), opened[0].is_closed, file.exists()), (1, false, false));
    assert_eq!(ask("/").text(), "open", "at once");
    assert!(server.server().set_maintenance(&["*".to_owned()], true).is_err());
    assert!(server.server().set_maintenance(&["b.example".to_owned()], true).is_err());
    // Across a reload it stays closed.
    server.server().set_maintenance(&[], true).unwrap();
    assert_eq!(ask("/").status(), 503);
}
