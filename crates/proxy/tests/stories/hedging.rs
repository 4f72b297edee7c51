//! A second try beside a slow one: the first response wins, and nobody notices the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use config::{Hedge, HedgeAfter, Place, Upstream};
use testkit::h2raw::{Connection, data, headers};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{code, flag, kind};

/// A proxy that hedges after 20 ms, and sends the first request to the first endpoint.
fn before(endpoints: &[&Origin], edit: impl FnOnce(&mut Upstream)) -> TestServer {
    let addresses: Vec<String> = endpoints.iter().map(|o| o.address().to_string()).collect();
    let text = format!(
        "upstream up {{\n to \"{}\"\n}}\nsite \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        addresses.join("\" \"")
    );
    TestServer::start_with(&text, |upstream| {
        upstream.balance.algorithm = "round-robin".into();
        upstream.retry.budget = 100;
        upstream.retry.budget_min = 100;
        let after = HedgeAfter::Fixed(Duration::from_millis(20));
        upstream.hedge = Some(Hedge { place: Place::default(), after });
        edit(upstream);
    })
}

/// An endpoint that answers only when it is told to, how often it was asked, and how its connection
/// ended meanwhile.
struct Slow {
    /// (Dropped first, so that the script does not wait for it.)
    go: mpsc::Sender<()>,
    ended: mpsc::Receiver<ConnectionEnd>,
    asked: Arc<AtomicUsize>,
    origin: Origin,
}

fn slow() -> Slow {
    let (go, wait) = mpsc::channel::<()>();
    let (end, ended) = mpsc::channel();
    let (wait, end) = (Arc::new(Mutex::new(wait)), Arc::new(Mutex::new(end)));
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = Arc::clone(&asked);
    let origin = Origin::start(move |peer, _| {
        let Ok(request) = peer.try_request() else { return };
        asking.fetch_add(1, Ordering::SeqCst);
        if request.target() == "/cut" {
            let _ = end.lock().unwrap().send(peer.ended());
            return;
        }
        if wait.lock().unwrap().recv().is_ok() {
            let _ = peer.try_send(ok("slow"));
            let _ = peer.rest();
        }
    });
    Slow { go, ended, asked, origin }
}

#[track_caller]
fn get(client: &mut Peer, path: &str) -> String {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let response = client.response();
    assert_eq!(response.status(), 200);
    response.text().to_owned()
}

#[test]
fn the_second_wins_and_the_first_is_cut() {
    let slow = slow();
    let quick = Origin::answering(ok("quick"));
    let server = before(&[&slow.origin, &quick], |_| {});
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/cut"), "quick");
    // The slow one hears of it at once, not when it answers.
    slow.ended.recv_timeout(Duration::from_secs(10)).expect("the end of the connection");
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
    wait::until("the count", || server.metric("bothways_upstream_hedges_total", "") == 1.0);
    wait::until("the count", || server.metric("bothways_upstream_hedges_won_total", "") == 1.0);
    assert_eq!(server.metric("bothways_retries_total", ""), 0.0);
    // The connection that won serves the next.
    assert_eq!(get(&mut client, "/cut"), "quick");
    assert_eq!(quick.connections(), 1);
}

#[test]
fn the_slow_one_is_cut_while_the_response_still_goes_on() {
    let slow = slow();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let quick = Origin::start(move |peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        wait.lock().unwrap().recv().unwrap();
        peer.send("later");
        let _ = peer.rest();
    });
    let server = before(&[&slow.origin, &quick], |_| {});
    let mut client = server.connect();
    client.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    client.expect("first");
    slow.ended.recv_timeout(Duration::from_secs(10)).expect("the end of the connection");
    go.send(()).unwrap();
    client.expect("later");
    assert_eq!(head.status(), 200);
}

#[test]
fn the_first_may_win_after_all() {
    let first = slow();
    let (asked, second_asked) = mpsc::channel();
    let asked = Mutex::new(asked);
    let second = Origin::start(move |peer, _| {
        peer.request();
        asked.lock().unwrap().send(()).unwrap();
        let _ = peer.rest();
    });
    let server = before(&[&first.origin, &second], |_| {});
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    second_asked.recv_timeout(Duration::from_secs(10)).expect("a second try");
    first.go.send(()).unwrap();
    assert_eq!(client.response().text(), "slow");
    wait::until("the count", || server.metric("bothways_upstream_hedges_total", "") == 1.0);
    assert_eq!(server.metric("bothways_upstream_hedges_won_total", ""), 0.0);
}

#[test]
fn what_is_not_hedged() {
    // What may not be repeated, what has a body, what is quick enough, and what nobody else could
    // answer.
    #[track_caller]
    fn check(request: &str, edit: impl FnOnce(&mut Upstream)) {
        let slow = slow();
        let quick = Origin::answering(ok("quick"));
        let server = before(&[&slow.origin, &quick], edit);
        let mut client = server.connect();
        client.send(request);
        wait::until("the request", || slow.asked.load(Ordering::SeqCst) == 1);
        std::thread::sleep(Duration::from_millis(60)); // three times what a first try may take
        slow.go.send(()).unwrap();
        assert_eq!(client.response().text(), "slow", "{request:?}");
        assert_eq!(quick.connections(), 0, "{request:?}");
    }
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check("POST / HTTP/1.1\r\nHost: a\r\n\r\n", |_| {});
    check("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", |_| {});
    check(GET, |upstream| upstream.hedge = None);
    check(GET, |upstream| {
        let after = HedgeAfter::Fixed(Duration::from_secs(10));
        upstream.hedge = Some(Hedge { place: Place::default(), after });
    });
    check(GET, |upstream| {
        upstream.endpoints.truncate(1);
    });
}

#[test]
fn a_second_try_that_fails_leaves_the_first_alone_and_the_other_way_round() {
    // The second breaks off: the first is waited for.
    let first = slow();
    let breaking = Origin::start(|peer, _| {
        peer.request();
        peer.reset();
    });
    let server = before(&[&first.origin, &breaking], |_| {});
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    breaking.wait_for_connections(1);
    first.go.send(()).unwrap();
    assert_eq!(client.response().text(), "slow");
    // The first breaks off while the second is under way: that one is waited for.
    let (asked, second_asked) = mpsc::channel::<()>();
    let second_asked = Mutex::new(second_asked);
    let (done, first_done) = mpsc::channel::<()>();
    let (asked, done, first_done) = (Mutex::new(asked), Mutex::new(done), Mutex::new(first_done));
    let first = Origin::start(move |peer, _| {
        peer.request();
        second_asked.lock().unwrap().recv().unwrap();
        peer.reset();
        done.lock().unwrap().send(()).unwrap();
    });
    let second = Origin::start(move |peer, _| {
        peer.request();
        asked.lock().unwrap().send(()).unwrap();
        first_done.lock().unwrap().recv().unwrap();
        peer.send(ok("second"));
        let _ = peer.rest();
    });
    let server = before(&[&first, &second], |_| {});
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/"), "second");
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn a_status_that_is_not_wanted_does_not_win() {
    let first = slow();
    let unwell = Origin::answering(testkit::message_text::response(503, "unwell"));
    let server = before(&[&first.origin, &unwell], |upstream| upstream.retry.statuses = vec![503]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    unwell.wait_for_connections(1);
    wait::until("its answer", || unwell.received().contains("GET"));
    first.go.send(()).unwrap();
    assert_eq!(client.response().text(), "slow");
}

#[test]
fn a_client_that_leaves_ends_both() {
    let slow = slow();
    let (end, ended) = mpsc::channel();
    let end = Mutex::new(end);
    let other = Origin::start(move |peer, _| {
        peer.request();
        let _ = end.lock().unwrap().send(peer.ended());
    });
    let server = before(&[&slow.origin, &other], |_| {});
    let mut client = server.connect();
    client.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    other.wait_for_connections(1);
    wait::until("the second try", || other.received().contains("GET"));
    client.reset();
    slow.ended.recv_timeout(Duration::from_secs(10)).expect("the end of the first");
    ended.recv_timeout(Duration::from_secs(10)).expect("the end of the second");
    server.wait_until_quiet();
}

#[test]
fn over_http2_the_slow_stream_is_reset_and_its_connection_stays() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let slow = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        let head = raw.until(|frame| frame.head.kind == kind::HEADERS).unwrap();
        raw.fields_of(&head);
        let reset = raw.until(|frame| frame.head.kind == kind::RST_STREAM).unwrap();
        tell.lock().unwrap().send((reset.head.stream == head.head.stream, reset.code())).unwrap();
        let _ = raw.goodbye();
    });
    let quick = Origin::start(|peer, _| {
        let mut raw = Connection::server(peer, &[]);
        while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
            raw.fields_of(&head);
            let stream = head.head.stream;
            raw.send(headers(0, stream, &[(":status", "200")]));
            raw.send(data(flag::END_STREAM, stream, "quick"));
        }
    });
    let server = before(&[&slow, &quick], |upstream| {
        upstream.protocol = config::UpstreamProtocol::H2c;
    });
    let mut client = Connection::client(server.address(), &[]);
    client.get(1, "/");
    let response = client.message(1).unwrap();
    assert_eq!((response.status(), response.text()), (200, "quick".to_owned()));
    let told = told.recv_timeout(Duration::from_secs(10)).expect("a reset");
    assert_eq!(told, (true, Some(code::CANCEL)));
}

#[test]
fn where_a_second_try_came_to_nothing_the_request_is_not_sent_again() {
    let (done, second_done) = mpsc::channel::<()>();
    let (done, second_done) = (Mutex::new(done), Mutex::new(second_done));
    let first = Origin::start(move |peer, _| {
        peer.request();
        second_done.lock().unwrap().recv().unwrap();
        std::thread::sleep(Duration::from_millis(20)); // the proxy hears of it
        peer.reset();
    });
    let second = Origin::start(move |peer, _| {
        peer.request();
        peer.reset();
        done.lock().unwrap().send(()).unwrap();
    });
    let third = Origin::answering(ok("third"));
    let server = before(&[&first, &second, &third], |upstream| {
        upstream.balance.algorithm = "first".into();
    });
    assert_eq!(get(&mut server.connect(), "/"), "third");
    let asked = [&first, &second, &third].map(Origin::connections);
    assert_eq!(asked, [1, 1, 1]);
}

#[test]
fn where_there_is_nobody_to_hedge_with_the_budget_stays_whole() {
    let slow = Origin::start(|peer, _| {
        while peer.try_request().is_ok() {
            std::thread::sleep(Duration::from_millis(10)); // ten times what a first try may take
            peer.send(ok("late"));
        }
    });
    let server = before(&[&slow], |upstream| {
        (upstream.retry.budget, upstream.retry.budget_min) = (0, 1);
        let after = HedgeAfter::Fixed(Duration::from_millis(1));
        upstream.hedge = Some(Hedge { place: Place::default(), after });
    });
    let mut client = server.connect();
    for _ in 0..5 {
        assert_eq!(get(&mut client, "/"), "late");
    }
    assert_eq!(server.server().upstreams()[0].usage.budget.retries, 0);
}
