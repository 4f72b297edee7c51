//! Endpoints that speak SCGI: what they get of a request, and what becomes of their responses.

use std::io::Write as _;

use testkit::h2raw::{Connection, headers};
use testkit::message_text::Message;
use testkit::origin::{Origin, refused_address};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;
use wire::http2::frame::flag;

/// A proxy in front of endpoints; `more` stands in the site.
fn before(endpoints: &[String], more: &str) -> TestServer {
    let text = format!(
        "upstream up {{\n to \"{}\"\n protocol scgi\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n {more}\n to up\n}}",
        endpoints.join("\" \"")
    );
    TestServer::start_with(&text, |upstream| {
        upstream.balance.algorithm = "round-robin".into();
        upstream.ejection = None;
        upstream.retry.budget = 100;
    })
}

fn in_front_of(origin: &Origin) -> TestServer {
    before(&[origin.address().to_string()], "")
}

/// Reads the variables of a request, as `NAME=value`; none if the connection ends before.
fn variables(peer: &mut Peer) -> Vec<String> {
    let mut size = String::new();
    loop {
        match peer.try_read_exact(1).as_deref() {
            Ok(b":") => break,
            Ok(digit) => size.push_str(std::str::from_utf8(digit).unwrap()),
            Err(_) => return Vec::new(),
        }
    }
    let content = peer.read_exact(size.parse().unwrap());
    assert_eq!(peer.read_exact(1), b",");
    let content = String::from_utf8(content).unwrap();
    let parts: Vec<&str> = content.strip_suffix('\0').unwrap().split('\0').collect();
    parts.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect()
}

/// The value of a variable.
fn value<'a>(variables: &'a [String], name: &str) -> Option<&'a str> {
    variables.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))
}

/// Reads a request and its body.
fn request(peer: &mut Peer) -> (Vec<String>, String) {
    let variables = variables(peer);
    let length = value(&variables, "CONTENT_LENGTH").unwrap_or("0");
    let body = peer.read_exact(length.parse().unwrap());
    (variables, String::from_utf8(body).unwrap())
}

/// Answers each request with the same bytes, and closes.
fn answering(response: &str) -> Origin {
    let response = response.to_owned();
    Origin::start(move |peer, _| {
        request(peer);
        peer.send(&response);
    })
}

fn get(server: &TestServer) -> Message {
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response()
}

#[test]
fn the_variables_of_a_request() {
    let origin = Origin::start(|peer, _| {
        let (variables, _) = request(peer);
        peer.send(format!("Content-Type: text/plain\n\n{}", variables.join("\n")));
    });
    let server = before(&[origin.address().to_string()], "strip-prefix \"/app\"");
    let mut client = server.connect();
    let (port, listener) = (client.local_address().port(), server.address().port());
    client.send(
        "GET /app/a%20b/%2e%2E/c%2F?x=%201 HTTP/1.1\r\nHost: Shop.test:81\r\nAccept: a\r\nCookie: x=1\r\n\
         ACCEPT: b\r\nCookie: y=2\r\nX_Odd: 1\r\nProxy: http://evil\r\nX-Hop: 1\r\nConnection: X-Hop, Upgrade\r\n\
         Upgrade: websocket\r\nContent-Type: text/x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Empty:\r\n\r\n",
    );
    let response = client.response();
    assert_eq!((response.status(), response.field("Content-Type")), (200, Some("text/plain")));
    let expected = [
        "CONTENT_LENGTH=0",
        "SCGI=1",
        "REQUEST_METHOD=GET",
        "REQUEST_URI=/app/c%2F?x=%201",
        "QUERY_STRING=x=%201",
        "CONTENT_TYPE=text/x",
        "DOCUMENT_URI=/c/",
        "SCRIPT_NAME=",
        "PATH_INFO=/c/",
        "SERVER_PROTOCOL=HTTP/1.1",
        "REQUEST_SCHEME=http",
        "REMOTE_ADDR=127.0.0.1",
        &format!("REMOTE_PORT={port}"),
        "SERVER_NAME=shop.test",
        &format!("SERVER_PORT={listener}"),
        "HTTP_HOST=Shop.test:81",
        "HTTP_ACCEPT=a, b",
        "HTTP_COOKIE=x=1; y=2",
        "HTTP_X_EMPTY=",
        "HTTP_X_FORWARDED_FOR=127.0.0.1",
        "HTTP_X_FORWARDED_PROTO=http",
        "HTTP_X_FORWARDED_HOST=shop.test:81",
        "HTTP_X_FORWARDED_PREFIX=/app",
        "HTTP_VIA=1.1 bothways",
    ];
    let text = response.text().to_owned();
    let mut got: Vec<&str> = text.lines().collect();
    assert_eq!(got[..16], expected[..16]);
    let mut expected = expected.to_vec();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

#[test]
fn a_client_behind_a_trusted_proxy() {
    let origin = Origin::start(|peer, _| {
        let (variables, _) = request(peer);
        peer.send(format!("X: y\n\n{}", variables.join("\n")));
    });
    let text = format!(
        "upstream up {{ to \"{}\"; protocol scgi; }}
         trusted-proxy \"127.0.0.0/8\"
         site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}",
        origin.address()
    );
    let server = TestServer::start(&text);
    let mut client = server.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    let response = client.response();
    let got: Vec<String> = response.text().lines().map(str::to_owned).collect();
    assert_eq!(value(&got, "REMOTE_ADDR"), Some("192.0.2.7"));
    assert_eq!(value(&got, "REMOTE_PORT"), None);
    assert_eq!((value(&got, "HTTPS"), value(&got, "REQUEST_SCHEME")), (Some("on"), Some("https")));
}

#[test]
fn nul_in_a_path_is_refused() {
    let origin = Origin::start(|peer, _| drop(peer.rest()));
    let server = in_front_of(&origin);
    let mut client = server.connect();
    client.send("GET /a%00HTTPS%00on HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert_eq!(origin.received(), "");
}

/// Of a known length it goes on as it comes.
#[test]
fn a_body_of_known_length_streams() {
    let origin = Origin::start(|peer, _| {
        let variables = variables(peer);
        assert_eq!(value(&variables, "CONTENT_LENGTH"), Some("10"));
        peer.expect("hello");
        peer.send("Status: 201 Created\r\nContent-Length: 5\r\n\r\n");
        peer.expect("world");
        peer.send("after");
    });
    let server = in_front_of(&origin);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(client.head().status(), 201);
    client.send("world");
    client.expect("after");
}

/// Of unknown length it is gathered, up to a bound.
#[test]
fn a_body_of_unknown_length_is_gathered() {
    let origin = Origin::start(|peer, _| {
        let (variables, body) = request(peer);
        let Some(said) = value(&variables, "CONTENT_LENGTH") else { return };
        assert_eq!(value(&variables, "HTTP_TRANSFER_ENCODING"), None);
        peer.send(format!("X: y\n\n{said} {}", body.len()));
    });
    let server = in_front_of(&origin);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = server.connect();
    client.send(format!("{head}5\r\nhello\r\n"));
    origin.wait_for_connections(1);
    client.send("6\r\n world\r\n0\r\nX-Trailer: a\r\n\r\n");
    assert_eq!(client.response().text(), "11 11");
    client.send(format!("{head}0\r\n\r\n"));
    assert_eq!(client.response().text(), "0 0");
    let most = "x".repeat(256 * 1024);
    client.send(format!("{head}{:x}\r\n{most}\r\n0\r\n\r\n", most.len()));
    assert_eq!(client.response().text(), "262144 262144");
    drop(client);

    let got = origin.received().len();
    let mut client = server.connect();
    let mut sent = head.as_bytes().to_vec();
    write!(sent, "{:x}\r\n{most}\r\n1\r\nx\r\n", most.len()).unwrap();
    client.send(&sent);
    let response = client.response();
    assert_eq!(response.status(), 413, "{response:?}");
    assert!(response.text().contains("256 KiB"), "{response:?}");
    assert_eq!(origin.received().len(), got, "nothing of it has left");
    assert_eq!(origin.connections(), 4, "it is not tried again");
}

#[test]
fn responses() {
    #[track_caller]
    fn check(response: &str, status: u16, body: &str) {
        let origin = answering(response);
        let answer = get(&in_front_of(&origin));
        assert_eq!((answer.status(), answer.text()), (status, body), "{response:?}");
        assert!(!answer.has("Status"), "{answer:?}");
    }
    check("Content-Type: text/plain\r\n\r\nhi", 200, "hi");
    check("Status: 404 Not Found\n\nhi", 404, "hi");
    check("Status: 204\n\n", 204, "");
    check("Location: /elsewhere\n\n", 302, "");
    check("Content-Length: 2\n\nhi and more", 200, "hi");
    let head = answering("Content-Length: 5\n\n");
    let server = in_front_of(&head);
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").field("Content-Length"), Some("5"));
}

/// No connection is used twice.
#[test]
fn a_connection_for_each() {
    let origin = answering("Content-Length: 2\n\nhi");
    let server = in_front_of(&origin);
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "hi");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn what_cannot_be_read_is_a_bad_gateway() {
    for response in [
        "HTTP/1.1 200 OK\r\n\r\nhi",
        "hello",
        "\n\nhi",
        "Status: 101 Switching Protocols\n\n",
        "Status: 100\n\nX: y\n\n",
        "Transfer-Encoding: chunked\n\n2\r\nhi\r\n0\r\n\r\n",
        "Content-Length: 2\nContent-Length: 3\n\nhi",
        "X: a\0b\n\n",
        "X: y\n",
        "",
    ] {
        let origin = answering(response);
        assert_eq!(get(&in_front_of(&origin)).status(), 502, "{response:?}");
    }
    let long = answering(&format!("X: {}\n\n", "y".repeat(70_000)));
    assert_eq!(get(&in_front_of(&long)).status(), 502);
}

#[test]
fn what_ends_early_is_broken() {
    let origin = answering("Content-Length: 10\n\nhi");
    let server = in_front_of(&origin);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.expect("hi");
    assert_eq!(client.ended(), ConnectionEnd::Reset);
}

#[test]
fn sent_again_to_another_endpoint() {
    // Refused: nothing has left, so whatever it is may be sent again.
    let well = answering("X: y\n\nwell");
    let endpoints = [refused_address().to_string(), well.address().to_string()];
    let server = before(&endpoints, "");
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().text(), "well");
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        );
        assert_eq!(client.response().text(), "well");
    }
    // Closed without a response: only what may be done twice.
    let closing = Origin::start(|peer, _| drop(request(peer)));
    let server = before(&[closing.address().to_string(), well.address().to_string()], "");
    assert_eq!(get(&server).text(), "well");
    let server = before(&[closing.address().to_string(), well.address().to_string()], "");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 502);
}

/// RFC 8441: an answer of success to extended CONNECT would begin a tunnel.
#[test]
fn websockets_over_http2_are_refused() {
    let origin = answering("X: y\n\nhi");
    let server = in_front_of(&origin);
    let mut client = Connection::client(server.address(), &[]);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    client.send(headers(flag::END_HEADERS, 1, &fields));
    let Ok(answer) = client.message(1) else { panic!("no answer") };
    assert_eq!(answer.status(), 501);
    assert_eq!(origin.received(), "");
}
