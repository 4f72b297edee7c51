//! What is sent over the wire to servers of all kinds, and how their answers are judged.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use config::{Check, EndpointAddress, HttpCheck, Place, UpstreamProtocol, UpstreamTls};
use http::{HeaderMap, Request, Response};
use testkit::secure::{Authority, SecureFront};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::super::connect::Stage;
use super::super::{check, lock};
use super::{at, get, target};

/// A check's end, in words.
async fn words(target: &super::Target) -> String {
    let stage = Stage::default();
    let limit = target.health.timeout;
    match tokio::time::timeout(limit, check(target, &stage)).await {
        Ok(Ok(words)) => format!("good: {words}"),
        Ok(Err(failure)) => format!("{failure:?}").replace("\\\"", "'").replace('"', ""),
        Err(_) => format!("late: {}", stage.timeout_message(limit)),
    }
}

/// A server that serves each connection so.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    each: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    address
}

/// One that answers every request of HTTP/1 with these bytes, and what it was asked.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Mutex<String>>) {
    let (answer, asked) = (answer.into(), Arc::new(Mutex::new(String::new())));
    let heard = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        let (answer, heard) = (answer.clone(), Arc::clone(&heard));
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            *lock(&heard) = String::from_utf8(head).expect("text");
            let _ = stream.write_all(&answer).await;
        }
    });
    (address.await, asked)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn tcp() {
    let address = serve(|_| async {}).await;
    assert_eq!(words(&at(address, Check::Tcp)).await, "good: connected");
    let gone = testkit::origin::refused_address();
    assert_eq!(words(&at(gone, Check::Tcp)).await, "Endpoint(connection refused)");
    let mut other = at(address, Check::Tcp);
    other.health.port = Some(gone.port());
    other.address = EndpointAddress::Ip(gone);
    assert_eq!(words(&other).await, format!("Endpoint(connection refused ({gone}))"));
}

#[tokio::test]
async fn unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let address = EndpointAddress::Unix(path.clone());
    let check = config::Health::new(Check::Http(get("/healthz")));
    let target = target(&address, check);
    assert_eq!(words(&target).await, "Endpoint(no such file or directory)");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let count = stream.read(&mut head).await.unwrap();
        assert!(String::from_utf8_lossy(&head[..count]).contains("\r\nhost: localhost\r\n"));
        stream.write_all(ok("").as_bytes()).await.unwrap();
    });
    assert_eq!(words(&target).await, "good: GET /healthz answered 200");
}

#[tokio::test]
async fn what_is_asked() {
    let (address, asked) = answering(ok("")).await;
    let plain = at(address, Check::Http(get("/healthz?deep=1")));
    assert_eq!(words(&plain).await, "good: GET /healthz?deep=1 answered 200");
    let agent = concat!("bothways/", env!("CARGO_PKG_VERSION"), " health");
    let expected = format!(
        "GET /healthz?deep=1 HTTP/1.1\r\nuser-agent: {agent}\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(*lock(&asked), expected);

    let field = |name: &str, value: &str| (name.into(), value.into());
    let own = HttpCheck {
        method: "OPTIONS".into(),
        host: Some("app.example".into()),
        fields: vec![
            field("Authorization", "Basic eA=="),
            field("User-Agent", "x"),
            field("Connection", "keep-alive"),
        ],
        ..get("/")
    };
    assert_eq!(words(&at(address, Check::Http(own))).await, "good: OPTIONS / answered 200");
    assert_eq!(
        *lock(&asked),
        "OPTIONS / HTTP/1.1\r\nauthorization: Basic eA==\r\nuser-agent: x\r\nhost: app.example\r\nconnection: close\r\n\r\n"
    );
    // It would be wrong to blame the endpoint for what we cannot send.
    let bad = HttpCheck { fields: vec![field("A B", "x")], ..get("/") };
    let bad = words(&at(address, Check::Http(bad))).await;
    assert!(bad.starts_with("Local(GET / cannot be sent: "), "{bad}");
}

#[tokio::test]
async fn statuses_and_bodies() {
    async fn check(answer: &str, asked: HttpCheck, expected: &str) {
        let (address, _) = answering(answer).await;
        assert_eq!(words(&at(address, Check::Http(asked))).await, expected, "{answer}");
    }
    let some = |statuses: &[(u16, u16)]| HttpCheck { statuses: statuses.to_vec(), ..get("/") };
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    check(busy, get("/"), "Endpoint(GET / answered 503, expected 200-399)").await;
    check(busy, some(&[(200, 399), (503, 503)]), "good: GET / answered 503").await;
    let expected = "Endpoint(GET / answered 503, expected 200,204-299)";
    check(busy, some(&[(200, 200), (204, 299)]), expected).await;
    // What is informational is no answer.
    let early = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{busy}");
    check(&early, some(&[(100, 199)]), "Endpoint(GET / answered 503, expected 100-199)").await;

    let text = |text: &str| HttpCheck { body: Some(text.into()), ..get("/") };
    check(&ok("all is ready"), text("ready"), "good: GET / answered 200").await;
    let expected = "Endpoint(GET / answered 200, but 'ready' is not in its body)";
    check(&ok("not yet"), text("ready"), expected).await;
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n";
    check(chunked, text("ready"), "good: GET / answered 200").await;
    // As servers write them.
    let odd = "HTTP/1.1 200 OK\nA : b\n  c\nno field\nContent-Length: 5\n\nready";
    check(odd, text("ready"), "good: GET / answered 200").await;
    // To the end of the connection.
    let until_end = "HTTP/1.0 200 OK\r\n\r\nready";
    check(until_end, text("ready"), "good: GET / answered 200").await;
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot re";
    let expected = "Endpoint(GET /: it closed the connection before its answer was complete)";
    check(cut, text("ready"), expected).await;
    let head = HttpCheck { method: "HEAD".into(), ..get("/") };
    check("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", head, "good: HEAD / answered 200")
        .await;
    // Only the first 64 KiB count.
    let long = ok(&format!("{}ready", "-".repeat(70_000)));
    let expected =
        "Endpoint(GET / answered 200, but 'ready' is not in the first 64 KiB of its body)";
    check(&long, text("ready"), expected).await;
}

#[tokio::test]
async fn what_is_no_answer() {
    async fn check(answer: &[u8], expected: &str) {
        let (address, _) = answering(answer).await;
        let found = words(&at(address, Check::Http(get("/")))).await;
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(answer));
    }
    let closed = "Endpoint(GET /: it closed the connection before its answer was complete)";
    check(b"", closed).await;
    check(b"HTTP/1.1 200", closed).await;
    check(b"HTTP/1.1 200 OK\r\nA: b\r\n", closed).await;
    let garbage = "Endpoint(GET /: what it answered is no HTTP/1.1)";
    check(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", garbage).await;
    check(b"\x15\x03\x03\x00\x02\x02\x32", garbage).await;
    check(b"HTTP/1.1 two hundred\r\n\r\n", garbage).await;
    check("HTTP/1.1 200 OK\r\n".repeat(10).as_bytes(), closed).await; // lines that are no field are passed over
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
    check(fields.as_bytes(), garbage).await;
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(200_000));
    check(endless.as_bytes(), garbage).await;
}

#[tokio::test]
async fn a_body_without_end() {
    let endless = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'-'; 4096]).await.is_ok() {}
    });
    let endless = endless.await;
    // Nobody looks at it, or in vain.
    assert_eq!(words(&at(endless, Check::Http(get("/")))).await, "good: GET / answered 200");
    let looked = HttpCheck { body: Some("ok".into()), ..get("/") };
    let expected = "Endpoint(GET / answered 200, but 'ok' is not in the first 64 KiB of its body)";
    assert_eq!(words(&at(endless, Check::Http(looked))).await, expected);
    // One that does not end, but of which nothing comes.
    let silent = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nok").await;
        std::future::pending().await
    });
    assert_eq!(words(&at(silent.await, Check::Http(get("/")))).await, "good: GET / answered 200");
}

#[tokio::test]
async fn what_comes_too_late() {
    let silent = serve(|stream| async move {
        let _stream = stream;
        std::future::pending().await
    });
    let silent = silent.await;
    let mut target = at(silent, Check::Http(get("/")));
    target.health.timeout = Duration::from_millis(50);
    assert_eq!(words(&target).await, "late: no answer within 50ms");
    let authority = Authority::new();
    target.tls = Some(client(&authority, UpstreamProtocol::Auto));
    assert_eq!(words(&target).await, "late: no TLS connection within 50ms");
}

fn client(authority: &Authority, protocol: UpstreamProtocol) -> Arc<tls::Client> {
    let settings = UpstreamTls { ca: Some(authority.file()), ..UpstreamTls::default() };
    tls::Client::new(&settings, Place::default(), protocol).expect("a context")
}

#[tokio::test]
async fn tls() {
    let authority = Authority::new();
    let issued = authority.issue("localhost", &["localhost"]);
    let (plain, asked) = answering(ok("ready")).await;
    let front = SecureFront::start(&issued, &[b"http/1.1"], plain);
    let client = |authority: &Authority| Some(client(authority, UpstreamProtocol::Auto));
    let mut target = at(front.address(), Check::Tcp);
    target.tls = client(&authority);
    for _ in 0..3 {
        assert_eq!(words(&target).await, "good: connected by TLSv1.3");
    }
    let body = HttpCheck { body: Some("ready".into()), ..get("/healthz") };
    target.health.check = Check::Http(body);
    assert_eq!(words(&target).await, "good: GET /healthz answered 200");
    assert!(lock(&asked).starts_with("GET /healthz HTTP/1.1\r\n"));
    // The tickets that requests get by and by are left to them; answers bring new ones.
    assert_eq!(words(&target).await, "good: GET /healthz answered 200");
    target.health.check = Check::Tcp;
    assert_eq!(words(&target).await, "good: connected by TLSv1.3");
    // The server notes them in its own time.
    testkit::wait::until("all handshakes", || front.handshakes().len() == 6);
    let resumed = front.handshakes().into_iter().filter(|facts| facts.as_ref().unwrap().resumed);
    assert_eq!(resumed.count(), 1);
    target.health.check = Check::Http(get("/healthz"));

    target.host = "other.test".into();
    let expected = words(&target).await;
    assert!(
        expected.starts_with("Endpoint(certificate: ") && expected.contains("localhost"),
        "{expected}"
    );
    target.host = "localhost".into();
    target.tls = client(&Authority::new());
    let expected = words(&target).await;
    assert!(
        expected.starts_with("Endpoint(certificate: ") && expected.contains("issuer"),
        "{expected}"
    );
    let expired = authority.issue_expired("expired", &["localhost"]);
    let front = SecureFront::start(&expired, &[], plain);
    target.tls = client(&authority);
    target.address = EndpointAddress::Ip(front.address());
    let expected = words(&target).await;
    assert!(
        expected.starts_with("Endpoint(certificate: ") && expected.contains("expired"),
        "{expected}"
    );
    // No TLS there at all.
    let talks = serve(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 4096]).await;
    });
    target.address = EndpointAddress::Ip(talks.await);
    let expected = words(&target).await;
    assert!(expected.starts_with("Endpoint(") && expected.contains("TLS"), "{expected}");
    let closes = serve(|_| async {});
    target.address = EndpointAddress::Ip(closes.await);
    let expected = words(&target).await;
    assert!(expected.starts_with("Endpoint(it ") && expected.contains("connection"), "{expected}");
}

/// A server of HTTP/2 that answers every request so: its status and fields, its body, its trailers.
async fn http2(
    answer: impl Fn(&Request<()>, &[u8]) -> (Response<()>, Vec<u8>, HeaderMap) + Send + Sync + 'static,
) -> SocketAddr {
    let answer = Arc::new(answer);
    serve(move |stream| {
        let answer = Arc::clone(&answer);
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let (head, mut body) = request.into_parts();
                    let mut received = Vec::new();
                    while let Some(Ok(bytes)) = body.data().await {
                        let _ = body.flow_control().release_capacity(bytes.len());
                        received.extend_from_slice(&bytes);
                    }
                    let (response, body, trailers) =
                        answer(&Request::from_parts(head, ()), &received);
                    let ends = body.is_empty() && trailers.is_empty();
                    let Ok(mut stream) = respond.send_response(response, ends) else { return };
                    if !ends {
                        let _ = stream.send_data(Bytes::from(body), trailers.is_empty());
                        if !trailers.is_empty() {
                            let _ = stream.send_trailers(trailers);
                        }
                    }
                });
            }
        }
    })
    .await
}

#[tokio::test]
async fn h2c_and_h2() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let server = http2(move |request, _| {
        let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
        assert!(!request.headers().contains_key("connection"));
        lock(&heard).push(format!("{} {} {agent}", request.method(), request.uri()));
        let found = request.uri().path() == "/healthz";
        let response = Response::builder().status(if found { 200 } else { 404 }).body(()).unwrap();
        (response, b"it is ready".to_vec(), HeaderMap::new())
    });
    let server = server.await;
    let body = HttpCheck { body: Some("ready".into()), ..get("/healthz") };
    let mut target = at(server, Check::Http(body));
    target.protocol = UpstreamProtocol::H2c;
    assert_eq!(words(&target).await, "good: GET /healthz answered 200");
    target.health.check = Check::Http(get("/other"));
    assert_eq!(words(&target).await, "Endpoint(GET /other answered 404, expected 200-399)");
    let agent = super::super::http::AGENT;
    assert_eq!(
        *lock(&asked),
        [
            format!("GET http://{server}/healthz {agent}"),
            format!("GET http://{server}/other {agent}")
        ]
    );

    // By ALPN.
    let authority = Authority::new();
    let issued = authority.issue("localhost", &["localhost"]);
    let front = SecureFront::start(&issued, &[b"h2", b"http/1.1"], server);
    let mut target = at(front.address(), Check::Http(get("/healthz")));
    for protocol in [UpstreamProtocol::Auto, UpstreamProtocol::H2] {
        target.tls = Some(client(&authority, protocol));
        target.protocol = protocol;
        assert_eq!(words(&target).await, "good: GET /healthz answered 200");
    }
    assert!(lock(&asked).last().unwrap().starts_with("GET https://"));
    let front = SecureFront::start(&issued, &[b"http/1.1"], server);
    target.address = EndpointAddress::Ip(front.address());
    target.tls = Some(client(&authority, UpstreamProtocol::Auto));
    target.protocol = UpstreamProtocol::H2;
    assert_eq!(words(&target).await, "Endpoint(it does not speak HTTP/2)");
}

#[tokio::test]
async fn what_is_no_http2() {
    let (http1, _) = answering("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    let mut target = at(http1, Check::Http(get("/")));
    target.protocol = UpstreamProtocol::H2c;
    assert_eq!(words(&target).await, "Endpoint(GET /: what it answered is no HTTP/2)");
    target.address = EndpointAddress::Ip(serve(|_| async {}).await);
    let expected = words(&target).await;
    assert!(
        expected.starts_with("Endpoint(GET /: it ") && expected.contains("connection"),
        "{expected}"
    );
    // One that refuses every stream.
    let refuses = serve(|stream| async {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    });
    target.address = EndpointAddress::Ip(refuses.await);
    assert_eq!(words(&target).await, "Endpoint(GET /: it gave up by REFUSED_STREAM)");
}

/// A server with services: one that serves, one that does not, one that answers nonsense.
async fn grpc() -> SocketAddr {
    http2(|request, message| {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.method(), "POST");
        for (name, value) in
            [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "20000m")]
        {
            assert_eq!(request.headers()[name], value);
        }
        let trailers = |fields: &[(&'static str, &str)]| {
            fields.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
        };
        let response = Response::builder().header("content-type", "application/grpc");
        let plain = response.body(()).unwrap();
        let done = trailers(&[("grpc-status", "0")]);
        match message {
            b"\0\0\0\0\0" => (plain, b"\0\0\0\0\x02\x08\x01".to_vec(), done),
            b"\0\0\0\0\x06\x0a\x04down" => (plain, b"\0\0\0\0\x02\x08\x02".to_vec(), done),
            b"\0\0\0\0\x06\x0a\x04mute" => (plain, b"\0\0\0\0\0".to_vec(), done),
            b"\0\0\0\0\x06\x0a\x04long" => {
                (plain, [&[0, 0, 1, 0, 0], [0; 100_000].as_slice()].concat(), done)
            }
            b"\0\0\0\0\x06\x0a\x04html" => (plain, b"<html>".to_vec(), HeaderMap::new()),
            // All in one block of fields, as such answers come.
            _ => {
                let mut only = plain;
                *only.headers_mut() =
                    trailers(&[("grpc-status", "5"), ("grpc-message", "unknown service")]);
                (only, Vec::new(), HeaderMap::new())
            }
        }
    })
    .await
}

#[tokio::test]
async fn grpc_health() {
    let server = grpc().await;
    for (service, expected) in [
        ("", "good: gRPC answered SERVING"),
        ("down", "Endpoint(gRPC down answered NOT_SERVING, expected SERVING)"),
        ("mute", "Endpoint(gRPC mute answered UNKNOWN, expected SERVING)"),
        (
            "long",
            "Endpoint(gRPC long answered what cannot be read: the message has more than 4 KiB)",
        ),
        ("html", "Endpoint(gRPC html answered without a status of gRPC)"),
        (
            "none",
            "Endpoint(gRPC none answered NOT_FOUND: the server does not know that service (unknown service))",
        ),
    ] {
        let target = at(server, Check::Grpc(service.into()));
        assert_eq!(words(&target).await, expected);
    }
    let authority = Authority::new();
    let issued = authority.issue("localhost", &["localhost"]);
    let front = SecureFront::start(&issued, &[b"h2"], server);
    let mut target = at(front.address(), Check::Grpc("".into()));
    target.tls = Some(client(&authority, UpstreamProtocol::Auto));
    assert_eq!(words(&target).await, "good: gRPC answered SERVING");
    let other = http2(|_, _| {
        let response = Response::builder().status(404).body(()).unwrap();
        (response, Vec::new(), HeaderMap::new())
    });
    let target = at(other.await, Check::Grpc("".into()));
    assert_eq!(words(&target).await, "Endpoint(gRPC answered status 404, no gRPC)");
}
