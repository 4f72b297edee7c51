//! What the access log and the metrics tell of an exchange.

use std::path::Path;

use serde_json::Value;
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use testkit::wait;

/// Waits for so many lines of a log, and reads them.
#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    wait::until("lines of the log", || read().lines().count() >= count);
    read().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn an_exchange_leaves_one_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let origin = Origin::start(|peer, number| {
        while let Ok(request) = peer.try_request() {
            match request.target() {
                "/die" => {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
                    return;
                }
                "/stale" if number == 0 => return peer.reset(),
                "/wait" => {
                    let _ = peer.rest();
                    return;
                }
                _ => peer.send(ok("hello")),
            }
        }
    });
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         site \"shop.example\" {{
             listen \"127.0.0.1:0\"
             route \"/local\" {{ respond \"hi\"; }}
             to \"{}\"
         }}",
        path.display(),
        origin.address()
    ));
    let mut client = server.connect();
    let ask = |client: &mut testkit::peer::Peer, path: &str| {
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: \"x\"\r\n\r\n"
        ));
    };
    ask(&mut client, "/plain?a=b");
    assert_eq!(client.response().status(), 200);
    ask(&mut client, "/stale");
    assert_eq!(client.response().status(), 200);
    ask(&mut client, "/local");
    assert_eq!(client.response().status(), 200);
    ask(&mut client, "/die");
    assert!(client.try_response().is_err());
    let mut client = server.connect();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let mut client = server.connect();
    ask(&mut client, "/wait");
    wait::until("the request to be under way", || origin.received().contains("/wait"));
    client.reset();
    let lines = lines(&path, 6);
    eprintln!("{lines:#?}");
    let [plain, stale, local, die, nonsense, gone] = &lines[..] else { panic!("six lines") };
    assert_eq!(plain["status"], 200);
    assert_eq!(plain["method"], "GET");
    assert!(plain.to_string().contains("shop.example/plain?a=b"), "{plain}");
    assert!(plain.to_string().contains(&origin.address().to_string()), "{plain}");
    assert_eq!(stale["retries"], 1, "{stale}");
    assert_eq!(local["status"], 200);
    assert!(local.to_string().contains("story.kdl:"), "{local}");
    assert!(die.to_string().contains("http_response_incomplete"), "{die}");
    assert_eq!(nonsense["status"], 400);
    assert_eq!(gone["status"], 499);
    assert!(gone.to_string().contains("client_gone"), "{gone}");
    server.wait_for_metric("bothways_requests_total", "", 6.0);
    server.wait_for_metric("bothways_retries_total", "", 1.0);
}

#[test]
fn the_tries_of_an_exchange_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let refused = testkit::origin::refused_address();
    let breaking = Origin::start(|peer, _| {
        peer.request();
        peer.reset();
    });
    let unwell = Origin::answering(testkit::message_text::response(503, "unwell"));
    let well = Origin::answering(ok("well"));
    let text = format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         upstream up {{
             to \"{refused}\" \"{}\" \"{}\" \"{}\"
             balance round-robin
             retry tries=4 {{ on connect reset 503; }}
         }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}",
        path.display(),
        breaking.address(),
        unwell.address(),
        well.address(),
    );
    let server = TestServer::start(&text);
    let mut client = server.connect();
    let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(ask);
    assert_eq!(client.response().text(), "well");
    let line = lines(&path, 1).remove(0);
    assert_eq!(line["retries"], 3, "{line}");
    assert_eq!(line["endpoint"], well.address().to_string(), "{line}");
    let tries = line["tries"].as_array().expect("tries");
    let told: Vec<_> = tries
        .iter()
        .map(|tried| (&tried["endpoint"], &tried["reason"], &tried["error"], &tried["status"]))
        .map(|(endpoint, reason, error, status)| {
            (endpoint.as_str(), reason.as_str(), error.as_str(), status.as_u64())
        })
        .collect();
    let name = |origin: &Origin| origin.address().to_string();
    let (refused, breaking, unwell) = (refused.to_string(), name(&breaking), name(&unwell));
    let expected = [
        (Some(&*refused), Some("connect"), Some("connection_refused"), None),
        (Some(&*breaking), Some("reset"), Some("connection_terminated"), None),
        (Some(&*unwell), Some("status"), None, Some(503)),
    ];
    assert_eq!(told, expected, "{line}");
    for (reason, count) in [("connect", 1.0), ("reset", 1.0), ("status", 1.0), ("timeout", 0.0)] {
        assert_eq!(server.metric("bothways_upstream_retries_total", reason), count, "{reason}");
    }
}

/// What is refused before it is routed says all the same whose it was and what it asked for.
#[test]
fn what_a_forward_refuses_is_told_as_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         forward \"127.0.0.1:0\" {{ deny to=\"secret.example\"; limits {{ target-bytes \"4KiB\"; }} }}",
        path.display(),
    ));
    let long = format!("GET http://a.example/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8000));
    let table = [
        ("GET /relative HTTP/1.1\r\nHost: a\r\n\r\n", 400, "GET", "http://a/relative"),
        ("PUT http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "PUT", "http://a b/"),
        ("CONNECT nowhere HTTP/1.1\r\nHost: nowhere\r\n\r\n", 400, "CONNECT", "nowhere"),
        (
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: x\r\n\r\n",
            400,
            "POST",
            "http://a.example/",
        ),
        (
            "CONNECT secret.example:443 HTTP/1.1\r\nHost: secret.example:443\r\n\r\n",
            403,
            "CONNECT",
            "secret.example:443",
        ),
        (&long, 414, "GET", "http://a.example/xxx"),
    ];
    for (request, status, ..) in table {
        let mut client = server.connect();
        client.send(request);
        assert_eq!(client.response().status(), status, "{request:.60}");
    }
    let lines = lines(&path, table.len());
    for (line, (request, status, method, target)) in lines.iter().zip(table) {
        assert_eq!((&line["status"], &line["method"]), (&status.into(), &method.into()), "{line}");
        assert_eq!(line["direction"], "forward", "{line}");
        assert!(line["target"].as_str().is_some_and(|is| is.starts_with(target)), "{line}");
        assert!(line.to_string().contains("story.kdl:"), "{request:.60}: {line}");
        assert!(line["sent_bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{line}");
        assert!(line["response_body_bytes"].as_u64().is_some_and(|bytes| bytes > 50), "{line}");
    }
}

/// What moved within the kernel before the end counts as well.
#[test]
fn bytes_of_what_was_broken_off_are_told() {
    const LENGTH: usize = 30_000_000;
    const TAKEN: usize = 8_000_000;
    // What lies in buffers on the way: less than all of it, more than nothing.
    const BETWEEN: usize = 12_000_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let origin = Origin::start(|peer, _| {
        let head = peer.head();
        match head.target() {
            "/up" => {
                peer.read_exact(TAKEN);
                peer.reset();
            }
            _ => {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
                let _ = peer.try_send(vec![b'x'; LENGTH]);
            }
        }
    });
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/late\" {{ to \"{1}\"; timeouts {{ request \"700ms\"; }}; }}
             to \"{1}\"
         }}",
        path.display(),
        origin.address()
    ));
    let mut client = server.connect();
    client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_exact(TAKEN);
    client.reset();
    let mut client = server.connect();
    client.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_exact(TAKEN);
    lines(&path, 2);
    let mut client = server.connect();
    client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let _ = client.try_send(vec![b'x'; LENGTH]);
    for line in lines(&path, 3) {
        let up = line["target"].as_str().is_some_and(|target| target.ends_with("/up"));
        let (body, whole) = match up {
            true => ("request_body_bytes", "received_bytes"),
            false => ("response_body_bytes", "sent_bytes"),
        };
        for bytes in [&line[body], &line[whole]] {
            let bytes = bytes.as_u64().unwrap() as usize;
            assert!((TAKEN - 100_000..TAKEN + BETWEEN).contains(&bytes), "{line}");
        }
    }
    let sent = server.metric("bothways_response_body_bytes_total", "");
    assert!(sent > 2.0 * TAKEN as f64 - 200_000.0, "{sent}");
}

/// What is refused on a stream of HTTP/2 before anything is done stands in the log, with its client.
#[test]
fn refused_streams_leave_records() {
    use testkit::h2raw::{Connection, data, headers, request};
    use wire::http2::frame::{code, flag, kind};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let origin = Origin::start(|peer, _| drop(peer.rest()));
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         limits {{ streams 2; streams-per-client 3 }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" }}",
        path.display(),
        origin.address()
    ));
    let head = |flags, stream| headers(flags, stream, &request("POST", "http", "a", "/x"));
    let connect = || Connection::client(server.address(), &[]);
    let (mut one, mut other) = (connect(), connect());
    one.round_trip().expect("settings");
    other.round_trip().expect("settings");
    one.send([head(0, 1), head(0, 3), head(0, 5)].concat());
    // One connection has all that it may.
    let reset = one.expect_kind(kind::RST_STREAM);
    assert_eq!((reset.head.stream, reset.code()), (5, Some(code::REFUSED_STREAM)));
    // One client has.
    other.send([head(0, 1), head(0, 3)].concat());
    let reset = other.expect_kind(kind::RST_STREAM);
    assert_eq!((reset.head.stream, reset.code()), (3, Some(code::REFUSED_STREAM)));
    server.wait_for_metric("bothways_http2_refused_streams_total", "", 2.0);
    // What ends makes room.
    other.send(testkit::h2raw::reset(1, code::CANCEL));
    other.round_trip().expect("a connection that goes on");
    other.send(headers(
        flag::END_STREAM,
        5,
        &[&request("GET", "http", "a", "/"), [("x\"", "y")].as_slice()].concat(),
    ));
    let reset = other.expect_kind(kind::RST_STREAM);
    assert_eq!((reset.head.stream, reset.code()), (5, Some(code::PROTOCOL_ERROR)));
    other.send(
        [head(0, 7), data(0, 7, "x"), headers(flag::END_STREAM, 7, &[(":path", "/")])].concat(),
    );
    let reset = other.expect_kind(kind::RST_STREAM);
    assert_eq!((reset.head.stream, reset.code()), (7, Some(code::PROTOCOL_ERROR)));
    let lines = lines(&path, 5);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["status"].as_u64(), line["error"].as_str(), line["client"].as_str()))
        .collect();
    println!("{lines:#?}");
    let of = |status, error| (Some(status), Some(error), Some("127.0.0.1"));
    for expected in
        [of(503, "connection_limit_reached"), of(400, "http_request_error"), of(499, "client_gone")]
    {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
    assert_eq!(told.iter().filter(|line| line.0 == Some(503)).count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|line| line.0 == Some(400)).count(), 2, "{told:?}");
}
