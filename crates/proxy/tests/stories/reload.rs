//! Going over to another configuration, and going down.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use testkit::h2raw::{Connection, headers};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, DEADLINE, Peer};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{flag, kind};

fn site(body: &str) -> String {
    format!("site \"*\" {{ listen \"127.0.0.1:0\"; respond \"{body}\"; }}")
}

#[track_caller]
fn get(client: &mut Peer) -> String {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 200, "{response:?}");
    response.text().to_owned()
}

#[test]
fn a_connection_that_is_open_sees_the_new_routes() {
    let server = TestServer::start(&site("old"));
    let address = server.address();
    let mut client = server.connect();
    assert_eq!(get(&mut client), "old");
    let change = server.reload(&site("new")).unwrap();
    assert_eq!((change.generation, change.listeners_opened.len()), (2, 0));
    assert_eq!(get(&mut client), "new");
    assert_eq!(server.address(), address, "the listener stayed");
    assert_eq!(get(&mut server.connect()), "new");
}

#[test]
fn pools_survive() {
    let origin = Origin::answering(ok("hi"));
    let text = |more: &str| {
        format!("site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; {more}; }}", origin.address())
    };
    let server = TestServer::start(&text("host preserve"));
    let mut client = server.connect();
    for round in 0..5 {
        assert_eq!(get(&mut client), "hi");
        let more = if round % 2 == 0 { "host endpoint" } else { "path-readings merged" };
        server.reload(&text(more)).unwrap();
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn the_pool_of_an_endpoint_that_has_gone_is_closed() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        peer.send(ok("hi"));
        peer.expect_closed();
        tell.lock().unwrap().send(()).unwrap();
    });
    let server = TestServer::reverse(origin.address(), "");
    assert_eq!(get(&mut server.connect()), "hi");
    server.reload(&site("local")).unwrap();
    told.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn an_exchange_under_way_ends_under_the_rules_it_began_with() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        tell.lock().unwrap().send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        peer.send(ok("from the old one"));
    });
    let server = TestServer::reverse(origin.address(), "response { set \"X-By\" \"old\"; }");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv_timeout(DEADLINE).unwrap();
    server.reload(&site("new")).unwrap();
    go.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.text(), response.field("X-By")), ("from the old one", Some("old")));
    assert_eq!(get(&mut client), "new");
}

/// A connection that comes free, or is opened, after its endpoint has gone is nobody's: it is closed.
#[test]
fn exchanges_that_outlive_their_endpoint_leave_no_connection_behind() {
    for http2 in [false, true] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let origin = Origin::start(move |peer, number| {
            let go = || number > 0 || wait.lock().unwrap().recv().is_ok();
            if http2 {
                let mut raw = Connection::server(peer, &[]);
                while let Ok(head) = raw.until(|frame| frame.head.kind == kind::HEADERS) {
                    raw.fields_of(&head);
                    assert!(go());
                    let end = flag::END_STREAM;
                    raw.send(headers(end, head.head.stream, &[(":status", "200")]));
                }
            } else {
                while peer.try_request().is_ok() {
                    assert!(go());
                    peer.send(ok("hi"));
                }
            }
        });
        let protocol = if http2 { "h2c" } else { "h1" };
        let before = format!(
            "upstream up {{\n to \"{}\" max=1\n protocol {protocol}\n}}\n\
             site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}",
            origin.address()
        );
        let server = TestServer::start(&before);
        let ask = || {
            let mut client = server.connect();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        };
        let mut first = ask();
        origin.wait_for_connections(1);
        let mut second = ask();
        wait::until("it waits", || server.server().open_exchanges().exchanges == 2);
        server.reload(&site("new")).unwrap();
        assert_eq!(get(&mut server.connect()), "new");
        go.send(()).unwrap();
        assert_eq!(first.response().status(), 200);
        assert_eq!(second.response().status(), 200);
        server.reload(&before).unwrap();
        for what in ["open", "idle"] {
            let name = format!("bothways_upstream_connections_{what}");
            wait::until(&format!("{what}: 0 ({protocol})"), || server.metric(&name, "") == 0.0);
        }
        assert_eq!(server.metric("bothways_endpoint_in_flight", ""), 0.0);
    }
}

/// One endpoint goes on as the other drains, to and fro: whoever goes by the configuration before is served
/// as well as those who go by the next.
#[test]
fn handing_over_from_one_endpoint_to_another_loses_no_request() {
    let origins = [Origin::answering(ok("hi")), Origin::answering(ok("hi"))];
    let text = |round: usize| {
        let (on, drains) = (origins[round % 2].address(), origins[(round + 1) % 2].address());
        format!(
            "process {{ cores 2; log access=off; }}
             upstream up {{ to \"{on}\"; to \"{drains}\" drain=#true; }}
             site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}"
        )
    };
    let server = TestServer::start(&text(0));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = server.connect();
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(get(&mut client), "hi");
                }
            });
        }
        for round in 1..50 {
            server.reload(&text(round)).unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn tunnels_never_notice() {
    let origin = Origin::start(|peer, _| {
        peer.expect("before");
        peer.send("one");
        peer.expect("after");
        peer.send("two");
        peer.expect_closed();
    });
    let forward = |more: &str| {
        format!("forward \"127.0.0.1:0\" {{ allow to=\"127.0.0.1\" port=\"1-65535\"; {more}; }}")
    };
    let server = TestServer::start(&forward("via \"a\""));
    let mut client = server.connect();
    let authority = origin.address();
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    client.send("before");
    client.expect("one");
    // Even if it would not be allowed any more, or its listener is gone.
    server.reload(&forward("via \"b\"")).unwrap();
    server.reload("forward \"127.0.0.1:0\" { deny; }").unwrap();
    server.reload("site \"*\" { listen \"127.0.0.2:0\"; respond \"x\"; }").unwrap();
    client.send("after");
    client.expect("two");
    client.finish();
    client.expect_closed();
}

#[test]
fn listeners_are_opened_and_closed_by_difference() {
    let server =
        TestServer::start("site \"*\" { listen \"127.0.0.1:0\" \"127.0.0.2:0\"; respond \"x\"; }");
    let (kept, removed) = (server.address_of("127.0.0.1:0"), server.address_of("127.0.0.2:0"));
    let mut stays = Peer::connect(kept);
    let mut goes = Peer::connect(removed);
    assert_eq!((get(&mut stays), get(&mut goes)), ("x".to_owned(), "x".to_owned()));
    let change = server
        .reload("site \"*\" { listen \"127.0.0.1:0\" \"127.0.0.3:0\"; respond \"y\"; }")
        .unwrap();
    assert_eq!(change.listeners_opened, ["127.0.0.3:0"]);
    assert_eq!(change.listeners_closed, ["127.0.0.2:0"]);
    // An idle connection of the listener that has gone is closed, and no new one is taken.
    goes.expect_closed();
    wait::until("the listener to be closed", || std::net::TcpStream::connect(removed).is_err());
    assert_eq!(get(&mut stays), "y");
    assert_eq!(get(&mut Peer::connect(server.address_of("127.0.0.3:0"))), "y");
}

#[test]
fn an_exchange_on_a_listener_that_goes_is_finished() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        tell.lock().unwrap().send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        peer.send(ok("finished"));
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv_timeout(DEADLINE).unwrap();
    server.reload("site \"*\" { listen \"127.0.0.2:0\"; respond \"x\"; }").unwrap();
    go.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.text(), response.field("Connection")), ("finished", Some("close")));
    client.expect_closed();
}

#[test]
fn what_cannot_be_bound_changes_nothing() {
    let server = TestServer::start(&site("old"));
    let mut client = server.connect();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let both = format!(
        "site \"*\" {{ listen \"127.0.0.1:0\" \"127.0.0.4:0\" \"{address}\"; respond \"new\"; }}"
    );
    let error = server.reload(&both).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("story.kdl:"), "{error}");
    assert_eq!(server.server().generation(), 1);
    assert_eq!(server.server().listening().len(), 1);
    assert_eq!(get(&mut client), "old");
    assert_eq!(get(&mut server.connect()), "old");
    // Once there is room, the same text holds.
    drop(taken);
    server.reload(&both).unwrap();
    assert_eq!(get(&mut client), "new");
    assert_eq!(get(&mut Peer::connect(address)), "new");
}

#[test]
fn a_reload_under_load_fails_no_request() {
    const CLIENTS: usize = 4;
    const RELOADS: usize = 25;
    let origin = Origin::answering(ok("hi"));
    let text = |round: usize| {
        format!(
            "process {{ cores 2; log access=off; }}
             site \"*\" {{ listen \"127.0.0.1:0\"; response {{ set \"X-Round\" \"{round}\"; }}; to \"{}\"; }}
             site \"extra{round}.example\" {{ listen \"127.0.0.{}:0\"; respond \"x\"; }}",
            origin.address(),
            2 + round % 2
        )
    };
    let server = TestServer::start(&text(0));
    let address = server.address_of("127.0.0.1:0");
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (stop, served) = (&stop, &served);
            scope.spawn(move || {
                let mut client = Peer::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(get(&mut client), "hi");
                    served.fetch_add(1, Ordering::Relaxed);
                    if number % 2 == 0 {
                        client = Peer::connect(address);
                    }
                }
            });
        }
        for round in 1..=RELOADS {
            let before = served.load(Ordering::Relaxed);
            let change = server.reload(&text(round)).unwrap();
            assert_eq!(change.generation, 1 + round as u64);
            wait::until("requests between reloads", || {
                served.load(Ordering::Relaxed) > before + 20
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn draining_finishes_what_is_under_way_and_closes_the_rest() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, number| {
        peer.request();
        if number == 0 {
            tell.lock().unwrap().send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
        peer.send(ok("finished"));
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "");
    let address: SocketAddr = server.address();
    let mut idle = server.connect();
    let mut fresh = server.connect();
    let mut busy = server.connect();
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(get(&mut idle), "finished");
    assert!(server.server().is_ready());
    let begun = Instant::now();
    server.server().begin_drain();
    assert!(!server.server().is_ready());
    idle.expect_closed();
    fresh.expect_closed();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    wait::until("the listener to be closed", || std::net::TcpStream::connect(address).is_err());
    assert_eq!(server.server().open_exchanges().exchanges, 1);
    go.send(()).unwrap();
    let response = busy.response();
    assert_eq!((response.text(), response.field("Connection")), ("finished", Some("close")));
    busy.expect_closed();
    wait::until("the end", || server.server().open_exchanges().is_nothing());
    server.wait_until_quiet();
}

#[test]
fn what_is_still_open_when_it_stops_is_broken_off() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
        tell.lock().unwrap().send(()).unwrap();
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv_timeout(DEADLINE).unwrap();
    client.head();
    client.expect("hello");
    server.server().begin_drain();
    server.server().stop();
    assert!(matches!(client.ended(), ConnectionEnd::Closed | ConnectionEnd::Reset));
}

#[test]
fn what_ends_with_the_connection_does_not_end_well_when_it_stops() {
    // HTTP/1.0 tells the end of a body by the end of the connection: an ordinary close would make
    // what was cut short look complete.
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        tell.lock().unwrap().send(()).unwrap();
        let _ = peer.rest();
    });
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    told.recv_timeout(DEADLINE).unwrap();
    client.head();
    client.expect("hello");
    server.server().stop();
    assert_eq!(client.ended(), ConnectionEnd::Reset);
}
