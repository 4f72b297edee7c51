//! Endpoints that take only so many requests at once, and the requests that wait for them.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{Balance, Breaker, KeyPart, Upstream};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;

/// An endpoint that answers a request each time it is told to, and what tells it.
fn gated() -> (Origin, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let origin = Origin::start(move |peer, _| {
        while let Ok(request) = peer.try_request() {
            if wait.lock().unwrap().recv().is_err() {
                return;
            }
            peer.send(ok(request.target()));
        }
    });
    (origin, go)
}

/// A proxy that sends one request at a time to an endpoint.
fn before(origin: &Origin, edit: impl FnOnce(&mut Upstream)) -> TestServer {
    let text = format!(
        "upstream up {{\n to \"{}\"\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        origin.address()
    );
    TestServer::start_with(&text, |upstream| {
        upstream.endpoints[0].max = Some(1);
        edit(upstream);
    })
}

fn ask(server: &TestServer, path: &str) -> Peer {
    let mut client = server.connect();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

#[track_caller]
fn refused(client: &mut Peer, error: &str) {
    let response = client.response();
    assert_eq!(response.status(), 503);
    assert!(response.has("Retry-After"), "{response:?}");
    let told = response.field("Proxy-Status").unwrap();
    assert!(told.contains("error=connection_limit_reached"), "{told}");
    assert!(response.text().contains(error), "{}", response.text());
}

#[test]
fn a_request_waits_for_its_turn() {
    let (origin, go) = gated();
    let server = before(&origin, |_| {});
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    let mut second = ask(&server, "/2");
    wait::until("the second", || server.server().open_exchanges().exchanges == 2);
    let mut third = ask(&server, "/3");
    wait::until("the third", || server.server().open_exchanges().exchanges == 3);
    for (client, path) in [(&mut first, "/1"), (&mut second, "/2"), (&mut third, "/3")] {
        go.send(()).unwrap();
        assert_eq!(client.response().text(), path);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn those_that_have_no_place_are_turned_away() {
    let (origin, go) = gated();
    let server = before(&origin, |upstream| upstream.queue.max = 1);
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    let mut second = ask(&server, "/2");
    wait::until("the second", || server.server().open_exchanges().exchanges == 2);
    refused(&mut ask(&server, "/3"), "too many requests wait");
    wait::until("the count", || server.metric("bothways_errors_total", "queue_full") == 1.0);
    for (client, path) in [(&mut first, "/1"), (&mut second, "/2")] {
        go.send(()).unwrap();
        assert_eq!(client.response().text(), path);
    }
}

#[test]
fn those_that_wait_too_long_are_turned_away() {
    let (origin, go) = gated();
    let server = before(&origin, |upstream| upstream.queue.wait = Duration::from_millis(200));
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    refused(&mut ask(&server, "/2"), "in time");
    wait::until("the count", || server.metric("bothways_errors_total", "queue_timeout") == 1.0);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
    // There is room again.
    go.send(()).unwrap();
    assert_eq!(ask(&server, "/4").response().text(), "/4");
}

#[test]
fn who_leaves_gives_up_the_place() {
    let (origin, go) = gated();
    let server = before(&origin, |upstream| upstream.queue.max = 1);
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    for _ in 0..3 {
        let mut waiting = ask(&server, "/gone");
        wait::until("the next", || server.server().open_exchanges().exchanges == 2);
        waiting.reset();
        wait::until("its end", || server.server().open_exchanges().exchanges == 1);
    }
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
    assert!(!origin.received().contains("/gone"));
}

#[test]
fn the_time_of_the_exchange_counts_while_it_waits() {
    let (origin, go) = gated();
    let text = format!(
        "site \"*\" {{ listen \"127.0.0.1:0\"; timeouts {{ request \"300ms\"; }}; to \"{}\"; }}",
        origin.address()
    );
    let server = TestServer::start_with(&text, |up| up.endpoints[0].max = Some(1));
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    assert_eq!(ask(&server, "/2").response().status(), 504);
    assert_eq!(first.response().status(), 504);
    drop(go);
}

#[test]
fn an_upstream_that_has_all_it_may_turns_the_next_away_at_once() {
    let (origin, go) = gated();
    let server = before(&origin, |upstream| {
        upstream.endpoints[0].max = None;
        upstream.breaker = Breaker { in_flight: Some(1), connecting: None };
    });
    let mut first = ask(&server, "/1");
    wait::until("the first", || origin.received().contains("/1"));
    refused(&mut ask(&server, "/2"), "as many requests as it may");
    wait::until("the count", || server.metric("bothways_errors_total", "circuit_open") == 1.0);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
}

#[test]
fn a_tunnel_counts_as_long_as_it_lasts() {
    let origin = Origin::start(|peer, _| {
        while let Ok(request) = peer.try_request() {
            if request.has("Upgrade") {
                peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                );
                let _ = peer.rest();
                return;
            }
            peer.send(ok("plain"));
        }
    });
    let server = before(&origin, |_| {});
    let mut tunnel = server.connect();
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    let mut waiting = ask(&server, "/");
    wait::until("it waits", || server.server().open_exchanges().exchanges == 1);
    assert_eq!(waiting.arrived(), 0);
    tunnel.close();
    assert_eq!(waiting.response().text(), "plain");
}

#[test]
fn requests_with_the_same_key_go_to_the_same_endpoint() {
    let origins: Vec<Origin> =
        (0..5).map(|number| Origin::answering(ok(&number.to_string()))).collect();
    let addresses: Vec<String> = origins.iter().map(|o| o.address().to_string()).collect();
    let text = format!(
        "upstream up {{\n to \"{}\"\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        addresses.join("\" \"")
    );
    let keys = [
        KeyPart::Header("X-User".into()),
        KeyPart::Cookie("sid".into()),
        KeyPart::Query("id".into()),
        KeyPart::Path,
    ];
    let requests: [fn(usize) -> String; 4] = [
        |n| format!("GET / HTTP/1.1\r\nHost: a\r\nx-user: {n}\r\n\r\n"),
        |n| format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; sid={n}\r\n\r\n"),
        |n| format!("GET /?x=y&id={n} HTTP/1.1\r\nHost: a\r\n\r\n"),
        |n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (part, request) in keys.into_iter().zip(requests) {
        let server = TestServer::start_with(&text, |upstream| {
            upstream.balance = Balance {
                algorithm: "rendezvous".into(),
                keys: vec![part.clone()],
                bound: None,
                ..Balance::default()
            };
        });
        let mut client = server.connect();
        let mut seen = std::collections::HashSet::new();
        for key in 0..20 {
            let mut got = || {
                client.send(request(key));
                client.response().text().to_owned()
            };
            let first = got();
            assert_eq!((got(), got()), (first.clone(), first.clone()), "{part:?} {key}");
            seen.insert(first);
        }
        assert!(seen.len() > 2, "{part:?}: {seen:?}");
    }
}
