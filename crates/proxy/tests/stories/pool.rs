//! Connections to upstreams: reuse, the keep-alive race, endpoints that are down.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use testkit::message_text::ok;
use testkit::names::{NameServer, Reply};
use testkit::origin::{Origin, Unreachable};
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;

/// An address where nobody listens.
fn dead_address() -> SocketAddr {
    testkit::origin::refused_address()
}

#[track_caller]
fn get(client: &mut Peer) -> (u16, String) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    (response.status(), response.text().to_owned())
}

/// An origin whose first connection answers once, waits for the second request, and breaks off
/// without a byte: what a connection looks like that was closed under way. Later ones answer.
fn closing_under_the_second_request() -> Origin {
    Origin::start(|peer, number| {
        while let Ok(request) = peer.try_request() {
            let answer = ok(&number.to_string());
            let length = if request.method() == "HEAD" { answer.len() - 1 } else { answer.len() };
            peer.send(&answer[..length]);
            if number == 0 {
                peer.head();
                return peer.reset();
            }
        }
    })
}

#[test]
fn a_stale_connection_is_replaced_where_the_request_can_be_repeated() {
    #[track_caller]
    fn check(request: &str, status: u16, connections: usize) {
        let origin = closing_under_the_second_request();
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        assert_eq!(get(&mut client), (200, "0".to_owned()));
        client.send(request);
        let method = request.split(' ').next().unwrap_or_default();
        let response = client.response_to(method);
        assert_eq!(response.status(), status, "{request:?}");
        assert_eq!(origin.connections(), connections, "{request:?}");
        // And the client's connection goes on in either case.
        assert_eq!(get(&mut client), (200, "1".to_owned()), "{request:?}");
    }
    // RFC 9110, section 9.2.2
    check("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, 2);
    check("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, 2);
    check("DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, 2);
    check("OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, 2);
    check("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200, 2);
    // What was written may have been acted on.
    check("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 502, 1);
    check("POST /x HTTP/1.1\r\nHost: a\r\n\r\n", 502, 1);
    check("PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 502, 1);
    check("BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", 502, 1);
}

#[test]
fn a_put_body_is_repeated_whole() {
    let origin = Origin::start(|peer, number| {
        peer.request();
        peer.send(ok("first"));
        if number == 0 {
            assert_eq!(peer.request().text(), "hello");
            return peer.reset();
        }
        peer.expect_closed();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 200);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status(), 200);
    assert!(String::from_utf8_lossy(&origin.received_by(1)).ends_with("\r\n\r\nhello"));
    drop(server);
}

#[test]
fn a_body_that_has_not_come_yet_does_not_keep_a_request_from_being_repeated() {
    let origin = Origin::start(|peer, number| {
        if number == 0 {
            peer.request();
            peer.send(ok("first"));
            peer.head();
            return peer.reset();
        }
        let request = peer.request();
        peer.send(ok(request.text()));
    });
    for fields in [
        "Content-Length: 5\r\n\r\n|hello",
        "Transfer-Encoding: chunked\r\n\r\n|5\r\nhello\r\n0\r\n\r\n",
    ] {
        let server = TestServer::reverse(origin.address(), "");
        let mut client = server.connect();
        if origin.connections() == 0 {
            assert_eq!(get(&mut client).0, 200);
        }
        let (head, body) = fields.split_once('|').unwrap();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{head}"));
        origin.wait_for_connections(2);
        client.send(body);
        assert_eq!(client.response().text(), "hello");
    }
}

#[test]
fn a_request_is_not_repeated_for_ever() {
    let origin = Origin::start(|peer, number| {
        if number == 0 {
            peer.request();
            peer.send(ok("first"));
        }
        peer.request();
        peer.reset();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 200);
    assert_eq!(get(&mut client).0, 502);
    // The used one, which does not count, and three tries.
    assert_eq!(origin.connections(), 4);
}

#[test]
fn a_response_that_has_begun_is_never_asked_for_again() {
    let origin = Origin::start(|peer, number| {
        peer.request();
        peer.send(ok(&number.to_string()));
        if peer.try_request().is_ok() {
            peer.send("HTTP/1.1 2");
            peer.reset();
        }
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 200);
    assert_eq!(get(&mut client).0, 502);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_with_bytes_that_nobody_asked_for_is_not_used_again() {
    let origin = Origin::start(|peer, number| {
        peer.request();
        // The second answer, to nothing, must never reach anybody.
        peer.send(format!("{}{}", ok(&number.to_string()), ok("poison")));
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for number in 0..5 {
        assert_eq!(get(&mut client), (200, number.to_string()));
    }
}

#[test]
fn an_idle_connection_that_speaks_is_dropped() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (done, said) = mpsc::channel();
    let done = Mutex::new(done);
    let origin = Origin::start(move |peer, number| {
        peer.request();
        peer.send(ok(&number.to_string()));
        if number == 0 {
            wait.lock().unwrap().recv().unwrap();
            peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
            done.lock().unwrap().send(()).unwrap();
        }
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    assert_eq!(get(&mut client), (200, "0".to_owned()));
    go.send(()).unwrap();
    said.recv().unwrap();
    assert_eq!(get(&mut client), (200, "1".to_owned()));
}

/// A client thread of the race: gets as many as told, and counts what is not as it should be.
fn race(address: SocketAddr, requests: usize, wrong: &AtomicUsize) {
    let mut client = Peer::connect(address);
    for number in 0..requests {
        // Whatever may be repeated, with a body or without.
        client.send(match number % 4 {
            0 => format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
            1 => format!("DELETE /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            _ => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        });
        let right = client
            .try_response()
            .is_ok_and(|r| r.status() == 200 && r.body == format!("/{number}").as_bytes());
        if !right {
            wrong.fetch_add(1, Ordering::Relaxed);
            client = Peer::connect(address);
        }
    }
}

#[test]
fn nobody_sees_the_keep_alive_race() {
    // Each connection is closed at a moment of its own: some after a number of answers, at once
    // behind the last, so that the close and the next request meet; some while they idle.
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 400;
    let origin = Origin::start(|peer, number| {
        let answers = 1 + number * 7 % 23;
        for _ in 0..answers {
            let Ok(request) = peer.try_request() else { return };
            peer.send(ok(request.target()));
        }
        if number % 3 == 0 {
            // An idle time, of which the proxy knows nothing.
            std::thread::sleep(Duration::from_micros((number as u64 * 131) % 3000));
        }
        if number % 2 == 0 {
            peer.reset();
        }
    });
    let server = TestServer::start(&format!(
        "process {{ cores 2; log access=off; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let wrong = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| race(server.address(), REQUESTS, &wrong));
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {}", CLIENTS * REQUESTS);
    assert!(origin.connections() > 50, "there was a race: {}", origin.connections());
}

#[test]
fn what_an_origin_announces_is_heeded() {
    // Keep-Alive: timeout=1 leaves us no time to spare, so nothing is kept.
    let origin = Origin::serving(|_| {
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=10\r\nContent-Length: 2\r\n\r\nhi".to_owned()
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert!(!response.has("Keep-Alive"), "{response:?}");
    std::thread::sleep(Duration::from_millis(200)); // longer than is learned, shorter than is set
    assert_eq!(get(&mut client).0, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_idle_upstream_connection_is_closed_after_its_time() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        peer.send(ok("hi"));
        peer.expect_closed();
        let _ = tell.lock().unwrap().send(());
    });
    let server = TestServer::start(&format!(
        "upstream u {{ to \"{}\"; timeouts {{ upstream-idle \"200ms\"; }} }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to u; }}",
        origin.address()
    ));
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 200);
    told.recv_timeout(testkit::peer::DEADLINE).unwrap();
}

#[test]
fn a_pool_of_none_keeps_nothing() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::start(&format!(
        "upstream u {{ to \"{}\"; pool max=0; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to u; }}",
        origin.address()
    ));
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(get(&mut client).0, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_group_shares_the_requests_out() {
    let origins: Vec<Origin> =
        (0..3).map(|number| Origin::answering(ok(&number.to_string()))).collect();
    let [a, b, c] = [0, 1, 2].map(|index: usize| origins[index].address());
    let text = format!(
        "upstream u {{ to \"{a}\" weight=2; to \"{b}\"; to \"{c}\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to u; }}"
    );
    let server =
        TestServer::start_with(&text, |group| group.balance.algorithm = "round-robin".into());
    let mut client = server.connect();
    let mut counts = [0; 3];
    for _ in 0..40 {
        let (_, text) = get(&mut client);
        counts[text.parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(counts, [20, 10, 10]);
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    let alive = Origin::answering(ok("alive"));
    let server = TestServer::reverse(
        alive.address(),
        &format!(
            "route \"/group\" {{ to \"{}\" \"{}\" \"{}\"; }}",
            dead_address(),
            alive.address(),
            dead_address()
        ),
    );
    let mut client = server.connect();
    for _ in 0..10 {
        client.send("POST /group HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().text(), "alive");
    }
}

#[test]
fn a_group_that_is_down_as_a_whole() {
    let server = TestServer::start(&format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" \"{}\"; }}",
        dead_address(),
        dead_address()
    ));
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert!(matches!(response.status(), 502 | 503), "{response:?}");
        let status = response.field("Proxy-Status").unwrap();
        assert!(status.starts_with("bothways; error=connection_refused"), "{status}");
        // The inside is not shown to clients.
        assert!(!response.text().contains("127.0.0.1"), "{response:?}");
        assert!(!status.contains("127.0.0.1"), "{status}");
    }
}

#[test]
fn an_endpoint_by_name_and_one_by_unix_socket() {
    let origin = Origin::answering(ok("tcp"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("origin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(ok("unix").as_bytes()).unwrap();
    });
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             route \"/name\" {{ to \"localhost:{}\"; }}
             route \"/unix\" {{ to \"unix:{}\"; }}
             route \"/nowhere\" {{ to \"does-not-exist.invalid:80\"; }}
         }}",
        origin.port(),
        path.display()
    ));
    let mut client = server.connect();
    client.send("GET /unix HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "unix");
    wait::until("the name to be looked up", || {
        client.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert!(matches!(response.status(), 200 | 502), "{response:?}");
        response.text() == "tcp"
    });
    client.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert!(matches!(response.status(), 502 | 504), "{response:?}");
    assert!(response.field("Proxy-Status").unwrap().contains("error=dns_"), "{response:?}");
}

#[test]
fn an_origin_that_does_not_answer_in_time() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        assert!(peer.try_request().is_err(), "the connection is given up");
    });
    let server = TestServer::reverse(origin.address(), "timeouts { first-byte \"200ms\"; }");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 504);
    assert!(response.field("Proxy-Status").unwrap().contains("error=http_response_timeout"));
}

#[test]
fn an_origin_that_stops_in_mid_body() {
    for head in ["Content-Length: 100", "Content-Length: 100000000", "Transfer-Encoding: chunked"] {
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
            peer.send("5\r\nhello\r\n");
            let _ = peer.rest();
        });
        let server = TestServer::reverse(origin.address(), "timeouts { stream-idle \"200ms\"; }");
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.try_response().is_err(), "{head}");
    }
}

#[test]
fn an_exchange_has_a_time_in_all() {
    let origin = Origin::start(|peer, number| {
        peer.request();
        if number == 1 {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while peer.try_send("5\r\nhello\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(20)); // a source that never stops
            }
        }
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "timeouts { request \"800ms\"; }");
    let mut client = server.connect();
    assert_eq!(get(&mut client).0, 504);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response().is_err(), "an answer that has begun is broken off");
}

#[test]
fn a_reused_connection_serves_any_client() {
    // Many clients one after another over one upstream connection: nothing leaks from one to the
    // next.
    let origin = Origin::serving(|request| {
        ok(&format!("{} {:?}", request.target(), request.field("Cookie")))
    });
    let server = TestServer::reverse(origin.address(), "");
    let origin = Arc::new(origin);
    for number in 0..20 {
        let mut client = server.connect();
        let cookie = if number % 2 == 0 { format!("Cookie: c{number}\r\n") } else { String::new() };
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"));
        let expected = if number % 2 == 0 {
            format!("/{number} Some(\"c{number}\")")
        } else {
            format!("/{number} None")
        };
        assert_eq!(client.response().text(), expected);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_name_that_moves_takes_the_traffic_with_it() {
    let before = Origin::start_at("127.0.0.1:0", |peer, _| {
        while peer.try_request().is_ok() {
            peer.send(ok("before"));
        }
    });
    let port = before.port();
    let after = Origin::start_at(&format!("127.0.0.2:{port}"), |peer, _| {
        while peer.try_request().is_ok() {
            peer.send(ok("after"));
        }
    });
    let moved = Arc::new(AtomicUsize::new(0));
    let names = NameServer::start({
        let moved = Arc::clone(&moved);
        move |_| {
            let last = 1 + moved.load(Ordering::SeqCst) as u8;
            Reply::Addresses(vec![[127, 0, 0, last].into()], 1)
        }
    });
    let server = TestServer::start(&format!(
        "process {{
             cores 1
             log access=off
             resolver {{ server \"{}\"; hosts #false; ttl-max \"1s\"; }}
         }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"app.internal.example:{port}\"; }}",
        names.address()
    ));
    let mut client = server.connect();
    wait::until("the name to be looked up", || get(&mut client).1 == "before");
    moved.store(1, Ordering::SeqCst);
    // A connection that is in use all the time does not hold the traffic back.
    wait::until("the traffic to move", || get(&mut client).1 == "after");
    for _ in 0..20 {
        assert_eq!(get(&mut client).1, "after");
    }
    drop(after);
}

#[test]
fn an_endpoint_that_cannot_be_reached_in_time() {
    let unreachable = Unreachable::at("127.0.0.1:0");
    let alive = Origin::answering(ok("alive"));
    let server = TestServer::start(&format!(
        "site \"*\" {{
             listen \"127.0.0.1:0\"
             timeouts {{ connect \"200ms\"; }}
             route \"/group\" {{ to \"{0}\" \"{1}\"; }}
             to \"{0}\"
         }}",
        unreachable.address(),
        alive.address()
    ));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 504);
    assert!(response.field("Proxy-Status").unwrap().contains("error=connection_timeout"));
    for _ in 0..2 {
        client.send("GET /group HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().text(), "alive");
    }
}

#[test]
fn a_client_that_leaves_while_an_endpoint_is_dialled() {
    let unreachable = Unreachable::at("127.0.0.1:0");
    let server = TestServer::reverse(unreachable.address(), "timeouts { connect \"60s\"; }");
    for leave in [Peer::close, Peer::reset] {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wait::until("the exchange to begin", || server.server().open_exchanges().exchanges == 1);
        leave(&mut client);
        server.wait_until_quiet();
    }
}
