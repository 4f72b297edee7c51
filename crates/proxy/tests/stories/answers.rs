//! What a site says: routes, edits, and the answers that the proxy makes itself.

use testkit::message_text::{Message, ok, response};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;

#[track_caller]
fn ask(client: &mut Peer, request: &str, fields: &str) -> Message {
    let method = request.split(' ').next().unwrap();
    client.send(format!("{request} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"));
    client.response_to(method)
}

/// Answers with the request line, and the fields that it got.
fn mirror() -> Origin {
    Origin::serving(|request| {
        let fields: String =
            request.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!("{}\n{fields}", request.start);
        format!(
            "HTTP/1.1 200 OK\r\nServer: mirror\r\nX-Old: 1\r\nX-Old: 2\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    })
}

#[test]
fn routes_redirects_and_fixed_answers() {
    let origin = mirror();
    let server = TestServer::start(&format!(
        "site \"shop.example\" {{
             listen \"127.0.0.1:0\"
             route \"/old/*\" {{ redirect \"/new/{{rest}}?{{query}}\"; }}
             route \"/user/{{name}}\" {{ redirect \"https://{{host}}/u?n={{name}}\" status=302; }}
             route \"/robots.txt\" {{ respond \"nothing\" type=\"text/plain\"; }}
             route \"/empty\" {{ respond status=204; }}
             route \"/gone\" {{ respond \"<gone>\" status=410 type=\"text/html\"; }}
             route \"/only-get\" method=\"GET,HEAD\" {{ respond \"got\"; }}
             route \"/api/*\" {{ strip-prefix \"/api\"; to \"{0}\"; }}
             route \"/v1/{{id}}/*\" {{ rewrite \"/v2/{{rest}}/{{id}}\"; to \"{0}\"; }}
             route \"/deep/exact\" {{ respond \"exact\"; }}
             route \"/deep/{{any}}\" {{ respond \"capture\"; }}
             route \"/deep/*\" {{ respond \"prefix\"; }}
         }}",
        origin.address()
    ));
    let mut client = server.connect();
    let moved = ask(&mut client, "GET /old/a/b?c=d", "");
    assert_eq!((moved.status(), moved.field("Location")), (308, Some("/new/a/b?c=d")));
    let moved = ask(&mut client, "GET /user/kim", "");
    assert_eq!(
        (moved.status(), moved.field("Location")),
        (302, Some("https://shop.example/u?n=kim"))
    );
    let text = ask(&mut client, "GET /robots.txt", "");
    assert_eq!((text.text(), text.field("Content-Type")), ("nothing", Some("text/plain")));
    assert!(text.has("Date"));
    let head = ask(&mut client, "HEAD /robots.txt", "");
    assert_eq!((head.status(), head.length()), (200, Some("nothing".len())));
    assert_eq!(ask(&mut client, "GET /empty", "").status(), 204);
    let gone = ask(&mut client, "GET /gone", "");
    assert_eq!((gone.status(), gone.text()), (410, "<gone>"));
    let post = ask(&mut client, "POST /only-get", "Content-Length: 0\r\n");
    assert_eq!(post.status(), 405);
    assert!(post.field("Allow").unwrap().contains("GET"), "{post:?}");
    assert!(post.has("Proxy-Status"), "{post:?}");
    let line = |answer: Message| answer.text().lines().next().unwrap().to_owned();
    assert_eq!(line(ask(&mut client, "GET /api/x?y=z", "")), "GET /x?y=z HTTP/1.1");
    assert_eq!(line(ask(&mut client, "GET /api", "")), "GET / HTTP/1.1");
    assert_eq!(line(ask(&mut client, "GET /v1/7/a/b?q", "")), "GET /v2/a/b/7?q HTTP/1.1");
    for (path, expected) in [("exact", "exact"), ("other", "capture"), ("a/b", "prefix")] {
        assert_eq!(ask(&mut client, &format!("GET /deep/{path}"), "").text(), expected);
    }
    let missing = ask(&mut client, "GET /nothing", "");
    assert_eq!(missing.status(), 404);
    assert!(missing.field("Proxy-Status").unwrap().contains("error=destination_not_found"));
}

#[test]
fn nothing_that_a_client_sends_breaks_out_of_a_redirect() {
    let server = TestServer::start(
        "site \"*\" {
             listen \"127.0.0.1:0\"
             route \"/old/*\" { redirect \"/new/{rest}\"; response { set \"X-Path\" \"{path}\"; }; }
             route \"/to/{name}\" { redirect \"/{name}\"; }
         }",
    );
    let mut client = server.connect();
    for path in [
        "/old/a%0d%0aX-Evil:%20y",
        "/old/a%0D%0A%0D%0A<script>",
        "/to/%0d%0aX-Evil:y",
        "/to/%5cevil.example",
    ] {
        let answer = ask(&mut client, &format!("GET {path}"), "");
        assert!(!answer.has("X-Evil"), "{answer:?}");
        assert!(matches!(answer.status(), 308 | 400), "{answer:?}");
        if answer.status() == 400 {
            client = server.connect();
        }
    }
    // A target that a browser would take for another host's.
    let answer = ask(&mut client, "GET /old//evil.example/", "");
    assert!(answer.field("Location").unwrap().starts_with("/new/"), "{answer:?}");
}

#[test]
fn edits_of_fields() {
    let origin = mirror();
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             request {{ set \"X-Site\" \"{{host}}\"; remove \"Cookie\"; }}
             response {{ remove \"Server\"; set \"X-Old\" \"new\"; add \"X-Add\" \"{{method}}\"; }}
             route \"/{{id}}/x\" {{
                 request {{ set \"X-Id\" \"{{id}}-{{path}}-{{client}}-{{scheme}}\"; add \"Accept\" \"b\"; }}
                 response {{ set \"X-Id\" \"{{id}}\"; }}
                 to \"{0}\"
             }}
             to \"{0}\"
         }}",
        origin.address()
    ));
    let mut client = server.connect();
    let answer =
        ask(&mut client, "GET /7/x", "Cookie: a=b\r\nX-Site: lie\r\nx-site: lie\r\nAccept: a\r\n");
    let text = answer.text();
    assert!(text.contains("\nX-Site: shop.example\n") && !text.contains("lie"), "{text}");
    assert!(text.contains("\nX-Id: 7-/7/x-127.0.0.1-http\n"), "{text}");
    assert!(text.contains("\nAccept: a\n") && text.contains("\nAccept: b\n"), "{text}");
    assert!(!text.contains("Cookie"), "{text}");
    assert!(!answer.has("Server"), "{answer:?}");
    assert_eq!(answer.all("X-Old"), ["new"]);
    assert_eq!((answer.field("X-Add"), answer.field("X-Id")), (Some("GET"), Some("7")));
    assert!(!ask(&mut client, "GET /", "").has("X-Id"));
}

#[test]
fn edits_cannot_break_the_framing() {
    let origin = mirror();
    let server = TestServer::reverse(origin.address(), "request { set \"X-Path\" \"{path}\"; }");
    let mut client = server.connect();
    let answer = ask(&mut client, "GET /a%0d%0aX-Evil:%20y", "");
    assert!(!answer.text().contains("\nX-Evil"), "{answer:?}");
}

#[test]
fn the_host_that_is_sent() {
    let origin = mirror();
    let port = origin.port();
    let host = |policy: &str| {
        let server = TestServer::start(&format!(
            "site \"*\" {{ listen \"127.0.0.1:0\"; host {policy}; to \"127.0.0.1:{port}\"; }}"
        ));
        let mut client = server.connect();
        let answer = ask(&mut client, "GET /", "");
        let text = answer.text();
        assert_eq!(text.matches("\nHost: ").count(), 1, "{text}");
        text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap().to_owned()
    };
    assert_eq!(host("preserve"), "shop.example");
    assert_eq!(host("endpoint"), format!("127.0.0.1:{port}"));
    assert_eq!(host("\"other.example\""), "other.example");
}

#[test]
fn errors_speak_the_clients_language() {
    let server = TestServer::start(
        "site \"*\" { listen \"127.0.0.1:0\"; route \"/a\" method=GET { respond \"a\"; }; }",
    );
    let mut client = server.connect();
    let html = ask(&mut client, "GET /%3Cscript%3E", "");
    assert_eq!(html.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(html.text().contains("404") && !html.text().contains("<script>"), "{html:?}");
    assert_eq!(html.field("Cache-Control"), Some("no-store"));
    let json = ask(&mut client, "GET /b", "Accept: application/json\r\n");
    assert_eq!(json.field("Content-Type"), Some("application/json"));
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value["status"], 404);
    assert_eq!(value["error"], "destination_not_found");
    let problem = ask(&mut client, "GET /b", "Accept: application/problem+json, */*\r\n");
    assert!(serde_json::from_slice::<serde_json::Value>(&problem.body).is_ok(), "{problem:?}");
    let browser = ask(&mut client, "GET /b", "Accept: text/html,application/json;q=0.9\r\n");
    assert_eq!(browser.field("Content-Type"), Some("text/html; charset=utf-8"));
    let head = ask(&mut client, "HEAD /b", "");
    assert_eq!(head.status(), 404);
    // A method that no route has is told in the same way.
    let json = ask(&mut client, "DELETE /a", "Accept: application/json\r\n");
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value["status"], 405);
}

#[test]
fn error_pages_of_a_site() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("down.html");
    std::fs::write(&page, "<p>We are down").unwrap();
    let own = Origin::answering(response(502, "the origin's own"));
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             error-page 404 502 503 504 file=\"{}\"
             route \"/own\" {{ to \"{}\"; }}
             route \"/dead\" {{ to \"127.0.0.1:1\"; }}
         }}",
        page.display(),
        own.address()
    ));
    let mut client = server.connect();
    for (path, status) in [("/dead", 502), ("/missing", 404)] {
        let answer = ask(&mut client, &format!("GET {path}"), "");
        assert_eq!((answer.status(), answer.text()), (status, "<p>We are down"));
        assert!(answer.field("Content-Type").unwrap().starts_with("text/html"), "{answer:?}");
        assert!(answer.has("Proxy-Status"), "{answer:?}");
    }
    // Those of endpoints pass as they are.
    let answer = ask(&mut client, "GET /own", "");
    assert_eq!((answer.status(), answer.text()), (502, "the origin's own"));
    assert!(!answer.has("Proxy-Status"), "{answer:?}");
}

#[test]
fn sites_by_host() {
    let server = TestServer::start(
        "site \"a.example\" \"*.b.example\" { listen \"127.0.0.1:0\"; respond \"ab\"; }
         site \"x.b.example\" { listen \"127.0.0.1:0\"; respond \"x\"; }",
    );
    let check = |host: &str, status: u16, text: &str| {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.response();
        assert_eq!(answer.status(), status, "{host}");
        if status == 200 {
            assert_eq!(answer.text(), text, "{host}");
        }
    };
    check("a.example", 200, "ab");
    check("A.EXAMPLE:8080", 200, "ab");
    check("y.b.example", 200, "ab");
    check("y.z.b.example", 200, "ab");
    check("x.b.example", 200, "x");
    check("b.example", 421, "");
    check("c.example", 421, ""); // RFC 9110, section 15.5.20
    check("127.0.0.1", 421, "");
}

#[test]
fn a_body_for_an_answer_of_ours_is_read_away_or_the_connection_closed() {
    let server = TestServer::start("site \"*\" { listen \"127.0.0.1:0\"; respond \"hi\"; }");
    let mut client = server.connect();
    // Here already: the connection goes on.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "hi");
    assert_eq!(client.response().text(), "hi");
    // Not here: what comes later must never be taken for a request.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.text(), "hi");
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    if answer.field("Connection") == Some("close") {
        client.expect_closed();
    }
    server.wait_for_metric("bothways_requests_total", "", 3.0);
}

#[test]
fn options_of_the_server_as_a_whole() {
    // RFC 9112, section 3.2.4
    let origin = mirror();
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().starts_with("OPTIONS * HTTP/1.1\n"), "{answer:?}");
}

#[test]
fn connect_in_reverse_is_refused() {
    let origin = Origin::answering(ok("never"));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(format!("CONNECT {} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address()));
    let answer = client.response();
    assert!(matches!(answer.status(), 400 | 404 | 405 | 421 | 501), "{answer:?}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn hops_are_counted_down() {
    // RFC 9110, section 7.6.2
    let origin = mirror();
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    let answer = ask(&mut client, "OPTIONS /", "Max-Forwards: 3\r\n");
    assert!(answer.text().contains("\nMax-Forwards: 2\n"), "{answer:?}");
    let answer = ask(&mut client, "GET /", "Max-Forwards: 3\r\n");
    assert!(answer.text().contains("\nMax-Forwards: 3\n"), "{answer:?}");
    let seen = origin.received().len();
    let answer = ask(&mut client, "OPTIONS /", "Max-Forwards: 0\r\n");
    assert!(answer.has("Allow"), "{answer:?}");
    let answer = ask(&mut client, "TRACE /", "Max-Forwards: 0\r\nCookie: secret\r\n");
    assert!(!answer.text().contains("secret"), "{answer:?}");
    assert_eq!(origin.received().len(), seen, "these went no further");
}
