//! Bounds: sizes of heads and bodies, slow clients, numbers of connections.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use testkit::h2raw::{Connection, settings, window_update};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer, Trickle};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::PREFACE;

#[test]
fn heads_that_are_too_large() {
    let origin = Origin::answering(ok("fine"));
    let server = TestServer::start(&format!(
        "limits {{ head-bytes \"4KiB\"; head-fields 20; target-bytes \"1KiB\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let check = |target: String, fields: String, status: u16| {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.status(), status, "{}", fields.len());
        if status != 200 {
            assert_eq!(response.field("Connection"), Some("close"));
            assert_eq!(client.ended(), ConnectionEnd::Closed);
        }
    };
    let root = || "/".to_owned();
    check(root(), format!("X: {}\r\n", "y".repeat(3500)), 200);
    check(root(), format!("X: {}\r\n", "y".repeat(4500)), 431); // RFC 6585, section 5
    check(root(), "X: y\r\n".repeat(15), 200);
    check(root(), "X: y\r\n".repeat(25), 431);
    check(format!("/{}", "a".repeat(900)), String::new(), 200);
    check(format!("/{}", "a".repeat(1100)), String::new(), 414); // RFC 9112, section 3
    check(format!("/?{}", "a".repeat(1100)), String::new(), 414);
    check(format!("/{}", "a".repeat(100_000)), String::new(), 414);
    check(root(), format!("X: {}\r\n", "y".repeat(200_000)), 431);
    assert_eq!(server.metric("bothways_panics_total", ""), 0.0);
}

#[test]
fn a_head_of_the_usual_size_passes_by_default() {
    let origin = Origin::serving(|request| ok(&request.field("X").unwrap_or("").len().to_string()));
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(30_000)));
    assert_eq!(client.response().text(), "30000");
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(33_000)));
    assert_eq!(client.response().status(), 431);
}

#[test]
fn a_head_that_takes_too_long() {
    let origin = Origin::answering(ok("never"));
    let server = TestServer::start(&format!(
        "timeouts {{ head \"900ms\"; client-idle \"600ms\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.field("Connection")), (408, Some("close")));
    client.expect_closed();
    // Byte by byte is no way to buy time.
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nX: ");
    let _trickle = Trickle::over(&client, "X", Duration::from_millis(20));
    assert_eq!(client.response().status(), 408);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_that_comes_too_slowly() {
    // Long bodies would go from socket to socket; they are held to the same.
    let lengths =
        ["Content-Length: 1000", "Content-Length: 1000000000", "Transfer-Encoding: chunked"];
    for length in lengths {
        let origin = Origin::start(|peer, _| {
            peer.head();
            let _ = peer.rest();
        });
        let server = TestServer::reverse(
            origin.address(),
            "timeouts { slow-rate \"100kB\"; slow-grace \"300ms\"; }",
        );
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n"));
        let _trickle = Trickle::over(&client, "1\r\nx\r\n", Duration::from_millis(20));
        let response = client.response();
        assert_eq!(response.status(), 408, "{length}: {response:?}");
        assert_eq!(response.field("Connection"), Some("close"));
    }
}

#[test]
fn a_body_that_stops_coming() {
    for length in
        ["Content-Length: 1000", "Content-Length: 1000000000", "Transfer-Encoding: chunked"]
    {
        let origin = Origin::start(|peer, _| {
            peer.head();
            let _ = peer.rest();
        });
        let server = TestServer::reverse(origin.address(), "timeouts { stream-idle \"200ms\"; }");
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n5\r\n"));
        assert_eq!(client.response().status(), 408, "{length}");
    }
}

#[test]
fn a_reader_that_is_too_slow_is_cut_off() {
    for chunked in [false, true] {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let origin = Origin::start(move |peer, _| {
            peer.request();
            peer.send(if chunked {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
            });
            let piece = format!("10000\r\n{}\r\n", "x".repeat(65536));
            while peer.try_send(&piece).is_ok() {}
            tell.lock().unwrap().send(()).unwrap();
        });
        let server = TestServer::reverse(
            origin.address(),
            "timeouts { slow-rate \"10MB\"; slow-grace \"300ms\"; }",
        );
        let mut client = Peer::connect_narrow(server.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        told.recv_timeout(testkit::peer::DEADLINE).unwrap();
        assert!(client.try_response().is_err(), "broken off, chunked: {chunked}");
        server.wait_until_quiet();
    }
}

#[test]
fn a_fast_reader_of_a_slow_origin_is_not_to_blame() {
    // The rate is asked of the client, and counts only the time spent on waiting for it.
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let origin = Origin::start({
            move |peer, _| {
                peer.request();
                peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
                for _ in 0..10 {
                    std::thread::sleep(Duration::from_millis(60)); // an origin that takes its time
                    peer.send("1\r\nx\r\n");
                }
                if head.contains("chunked") {
                    peer.send("0\r\n\r\n");
                } else {
                    peer.send(vec![b'x'; 1_000_000 - 60]);
                }
            }
        });
        let server = TestServer::reverse(
            origin.address(),
            "timeouts { slow-rate \"10MB\"; slow-grace \"500ms\"; }",
        );
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), 200, "{head}");
    }
    drop((go, wait));
}

#[test]
fn bytes_that_have_come_earn_time() {
    // Those that have come with the head, too.
    let origin = Origin::serving(|request| ok(&request.body.len().to_string()));
    let server = TestServer::reverse(
        origin.address(),
        "timeouts { slow-rate \"10kB\"; slow-grace \"100ms\"; }",
    );
    let mut client = server.connect();
    let most = "x".repeat(80_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n{most}"));
    std::thread::sleep(Duration::from_millis(700)); // a pause that they have paid for
    client.send([b'x'; 10_000]);
    assert_eq!(client.response().text(), "90000");
}

#[test]
fn who_listens_may_be_silent() {
    // The rate is asked until the response begins; afterwards it is enough that one direction moves.
    let origin = Origin::start(|peer, _| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..12 {
            peer.send("5\r\nevent\r\n");
            std::thread::sleep(Duration::from_millis(100));
        }
        peer.send("0\r\n\r\n");
        let _ = peer.rest();
    });
    let server = TestServer::reverse(
        origin.address(),
        "timeouts { slow-rate \"10MB\"; slow-grace \"200ms\"; stream-idle \"600ms\"; }",
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let response = client.head();
    assert_eq!(response.status(), 200);
    for _ in 0..12 {
        assert_eq!(client.chunk().unwrap(), b"event");
    }
    assert!(client.chunk().unwrap().is_empty());
}

#[test]
fn a_call_may_say_little_before_it_is_answered() {
    for (content_type, status) in [("application/grpc", 200), ("text/plain", 408)] {
        let origin = Origin::start(|peer, _| {
            peer.head();
            std::thread::sleep(Duration::from_millis(900));
            let _ = peer.try_send(ok("answer"));
            let _ = peer.rest();
        });
        let server = TestServer::reverse(
            origin.address(),
            "timeouts { slow-rate \"10MB\"; slow-grace \"200ms\"; }",
        );
        let mut client = server.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        ));
        assert_eq!(client.response().status(), status, "{content_type}");
    }
}

#[test]
fn the_time_for_an_answer_begins_with_the_end_of_the_request() {
    // Not with the last time that it was looked at before.
    let origin = Origin::start(|peer, _| {
        peer.request();
        std::thread::sleep(Duration::from_millis(500));
        peer.send(ok("answer"));
    });
    let server = TestServer::reverse(origin.address(), "timeouts { first-byte \"800ms\"; }");
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    std::thread::sleep(Duration::from_millis(1400));
    client.send("world");
    assert_eq!(client.response().text(), "answer");
}

/// Longer than all of a body that lies in the kernel may be left there by who is idle.
const PAUSE: Duration = Duration::from_millis(1300);

#[test]
fn who_has_not_taken_its_answer_is_not_idle() {
    const LENGTH: usize = 3_000_000;
    let origin = Origin::serving(|_| ok(&"x".repeat(LENGTH)));
    let server = TestServer::start(&format!(
        "timeouts {{ client-idle \"300ms\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut framed = Connection::client(server.address(), &[(4, 1 << 24)]);
    framed.send(window_update(0, 1 << 24));
    framed.get(1, "/");
    std::thread::sleep(PAUSE);
    assert_eq!(client.response().body.len(), LENGTH);
    assert_eq!(framed.message(1).expect("all of it").text().len(), LENGTH);
    // Now both are.
    client.expect_closed();
    assert_eq!(framed.goodbye().1, ConnectionEnd::Closed);
}

#[test]
fn who_never_takes_its_answer_is_cut_off() {
    let origin = Origin::serving(|_| ok(&"x".repeat(3_000_000)));
    let server = TestServer::start(&format!(
        "timeouts {{ client-idle \"200ms\"; stream-idle \"500ms\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = Peer::connect_narrow(server.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut framed = Connection::of(Peer::connect_narrow(server.address()));
    framed.send([PREFACE.as_slice(), &settings(&[(4, 1 << 24)])].concat());
    framed.send(window_update(0, 1 << 24));
    framed.get(1, "/");
    server.wait_for_connections(2);
    server.wait_until_quiet();
    assert!(client.try_response().is_err(), "not all of it");
    assert!(framed.message(1).is_err(), "not all of it");
}

#[test]
fn bodies_that_are_too_large() {
    let origin = Origin::start(|peer, _| {
        while let Ok(request) = peer.try_request() {
            peer.send(ok(&request.body.len().to_string()));
        }
    });
    let server = TestServer::reverse(
        origin.address(),
        "limits { body \"1KiB\"; }
         route \"/more/*\" { to \"127.0.0.1:1\"; limits { body \"2KiB\"; }; }",
    );
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{:1024}", ""));
    assert_eq!(client.response().text(), "1024");
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n{:1025}", ""));
    assert_eq!(client.response().status(), 413);
    // The body was here whole, so nothing need be closed; but it may be.
    let chunk = format!("200\r\n{:512}\r\n", "");
    let mut client = server.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "1024");
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}1\r\nx\r\n0\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!((response.status(), response.field("Connection")), (413, Some("close")));
    let mut client = server.connect();
    client.send(format!(
        "POST /more/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n{:2000}",
        ""
    ));
    assert_eq!(client.response().status(), 502);
}

#[test]
fn connections_of_one_client() {
    let origin = Origin::answering(ok("fine"));
    let server = TestServer::start(&format!(
        "limits {{ connections-per-client 3; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut clients: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
    server.wait_for_connections(3);
    let mut one_too_many = server.connect();
    let (answer, _) = one_too_many.rest();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503"), "{answer:?}");
    // Another address has its own account.
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
    let mut neighbour = Peer::connect_from(other, server.address());
    neighbour.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(neighbour.response().status(), 200);
    // Those that are in are served, and one that leaves makes room.
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
    clients.pop();
    server.wait_for_connections(3);
    let mut next = server.connect();
    next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(next.response().status(), 200);
    server.wait_for_metric("bothways_connections_refused_total", "", 1.0);
}

#[test]
fn upstream_connections_of_one_client() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let held = Arc::new(AtomicUsize::new(0));
    let holding = Arc::clone(&held);
    let origin = Origin::start(move |peer, _| {
        while let Ok(request) = peer.try_request() {
            if request.target() == "/held" {
                holding.fetch_add(1, Ordering::SeqCst);
                let _ = released.lock().unwrap().recv();
                holding.fetch_sub(1, Ordering::SeqCst);
            } else if request.target() == "/never" {
                holding.fetch_add(1, Ordering::SeqCst);
                peer.ended();
                holding.fetch_sub(1, Ordering::SeqCst);
                return;
            } else if request.target() == "/dropped" {
                return;
            }
            if peer.try_send(ok("fine")).is_err() {
                return;
            }
        }
    });
    let server = TestServer::start(&format!(
        "limits {{ upstream-connections-per-client 2; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let ask = |from: u8, path: &str| {
        let mut client = Peer::connect_from([127, 0, 0, from].into(), server.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    // What two requests hold, nobody else of this address has, but all others.
    let hold = |path: &str| {
        let clients = [ask(1, path), ask(1, path)];
        wait::until("two held requests", || held.load(Ordering::SeqCst) == 2);
        let before = server.metric("bothways_errors_total", "client_limit_reached");
        let refused = ask(1, "/").response();
        assert_eq!(refused.status(), 503);
        let why = refused.field("Proxy-Status").unwrap_or_default();
        assert!(why.contains("error=connection_limit_reached"), "{refused:?}");
        server.wait_for_metric("bothways_errors_total", "client_limit_reached", before + 1.0);
        assert_eq!(ask(77, "/").response().status(), 200);
        clients
    };
    for _ in 0..2 {
        let clients = hold("/held");
        (0..2).for_each(|_| release.send(()).unwrap());
        for mut client in clients {
            assert_eq!(client.response().status(), 200);
            // A connection that waits in the pool is nobody's.
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.response().status(), 200);
        }
        server.wait_until_quiet();
    }
    // Whatever ends a request gives back what it held.
    for leave in [Peer::close, Peer::reset, Peer::close] {
        hold("/never").iter_mut().for_each(leave);
        server.wait_until_quiet();
        wait::until("the end of what was held", || held.load(Ordering::SeqCst) == 0);
        assert_eq!(ask(1, "/dropped").response().status(), 502);
        server.wait_until_quiet();
    }
}

#[test]
fn connections_in_all() {
    let server = TestServer::start(
        "process { cores 1; log access=off; connections 2; }
         site \"*\" { listen \"127.0.0.1:0\"; respond \"hi\"; }",
    );
    let clients = [server.connect(), server.connect()];
    server.wait_for_connections(2);
    let mut one_too_many = server.connect();
    let response = one_too_many.response();
    assert_eq!(response.status(), 503);
    assert!(response.has("Proxy-Status") && response.has("Retry-After"), "{response:?}");
    one_too_many.expect_closed();
    drop(clients);
    server.wait_until_quiet();
    wait::until("a place", || {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response().status() == 200
    });
}

#[test]
fn a_refusal_is_read_by_clients_that_send_everything_first() {
    // More than fits into the buffers on the way: it must be read away, or the answer is lost.
    const LENGTH: usize = 32 * 1024 * 1024;
    let origin = Origin::answering(ok("never"));
    let server = TestServer::reverse(origin.address(), "limits { body \"1KiB\"; }");
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.response().status(), 413);
    client.expect_closed();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn times_may_be_switched_off() {
    let origin = Origin::serving(|request| ok(request.text()));
    let server = TestServer::start(&format!(
        "timeouts {{
             first-byte \"0s\"; stream-idle \"0s\"; tunnel-idle \"0s\"; request \"0s\"; slow-rate 0
         }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
        client.send("llo");
        assert_eq!(client.response().text(), "hello");
    }
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    client.send(vec![b'x'; 300_000]);
    assert_eq!(client.response().body.len(), 300_000);
}
