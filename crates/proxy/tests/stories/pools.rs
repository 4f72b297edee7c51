//! Idle connections over several cores, opened ahead, and at the end of their life.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc;

use testkit::h2raw::{Connection, data, headers};
use testkit::message_text::ok;
use testkit::names::{NameServer, Reply};
use testkit::origin::{Origin, Unreachable};
use testkit::peer::Peer;
use testkit::secure::{Authority, SecureFront};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{flag, kind};

/// What is idle stays.
const KEPT: &str = "timeouts { upstream-idle \"1h\"; }";

/// A proxy on so many cores; `upstream` stands in its upstream.
fn on(cores: usize, upstream: &str) -> String {
    format!(
        "process {{ cores {cores}; log access=off; }}
         upstream up {{ {upstream}; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}"
    )
}

#[track_caller]
fn get(client: &mut Peer) -> String {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 200);
    response.text().to_owned()
}

fn connections(server: &TestServer, which: &str) -> usize {
    server.metric(&format!("bothways_upstream_connections_{which}"), "") as usize
}

#[track_caller]
fn wait_for(server: &TestServer, which: &str, count: usize) {
    wait::until(which, || connections(server, which) == count);
}

fn hello() -> Origin {
    Origin::answering(ok("hello"))
}

/// Clients that come one after another, each to whichever core the kernel picks.
#[track_caller]
fn one_by_one(server: &TestServer, clients: usize) {
    for _ in 0..clients {
        wait::until("an idle connection for all", || {
            connections(server, "open") == connections(server, "shared")
        });
        get(&mut server.connect());
    }
}

#[test]
fn reuse_does_not_fall_with_the_number_of_cores() {
    const CLIENTS: usize = 6;
    for cores in [1, 2, 8] {
        let origin = hello();
        let server = TestServer::start(&on(cores, &format!("to \"{}\"", origin.address())));
        if cores == 1 {
            (0..CLIENTS).for_each(|_| drop(get(&mut server.connect())));
        } else {
            one_by_one(&server, CLIENTS);
        }
        assert_eq!(origin.connections(), 1, "{cores} cores");
        assert_eq!(connections(&server, "opened_total"), 1);
        assert_eq!(connections(&server, "reused_total"), CLIENTS - 1);
    }
}

#[test]
fn a_core_takes_over_what_another_does_not_need() {
    let origin = hello();
    let server = TestServer::start(&on(8, &format!("to \"{}\"", origin.address())));
    wait::until("a connection that has moved", || {
        one_by_one(&server, 1);
        connections(&server, "moved_total") >= 2
    });
    assert_eq!(origin.connections(), 1);
    wait_for(&server, "shared", 1);
    assert_eq!((connections(&server, "open"), connections(&server, "idle")), (1, 1));

    // Without that each core opens one.
    let text = on(8, &format!("to \"{}\"; pool steal=#false", origin.address()));
    let server = TestServer::start(&text);
    wait::until("a second connection", || {
        get(&mut server.connect());
        origin.connections() >= 3
    });
    assert_eq!(connections(&server, "moved_total"), 0);
}

#[test]
fn tls_moves_along() {
    let (authority, plain) = (Authority::new(), hello());
    let issued = authority.issue("origin", &["api.test"]);
    let front = SecureFront::start(&issued, &[b"http/1.1"], plain.address());
    let upstream = format!(
        "to \"https://{}\"; tls {{ ca \"{}\"; name \"api.test\"; }}",
        front.address(),
        authority.file().display(),
    );
    let server = TestServer::start(&on(8, &upstream));
    wait::until("a connection that has moved", || {
        one_by_one(&server, 1);
        connections(&server, "moved_total") >= 2
    });
    assert_eq!(front.handshakes().len(), 1, "{:?}", front.handshakes());
}

#[test]
fn responses_are_never_mixed_up_however_connections_move() {
    const CLIENTS: usize = 12;
    // Some connections end after a few requests, as those of servers do, and say so.
    let origin = Origin::start(|peer, number| {
        for count in 0.. {
            let Ok(request) = peer.try_request() else { return };
            let answer = ok(request.target());
            if number % 3 == 0 && count == 4 {
                return peer.send(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
            }
            peer.send(answer);
        }
    });
    let server = TestServer::start(&on(4, &format!("to \"{}\"", origin.address())));
    for round in 0..4 {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let server = &server;
                scope.spawn(move || {
                    for visit in 0..5 {
                        let mut peer = server.connect();
                        for request in 0..4 {
                            let path = format!("/{round}/{client}/{visit}/{request}");
                            peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                            assert_eq!(peer.response().text(), path);
                        }
                    }
                });
            }
        });
        wait::until("all connections to lie there for all", || {
            connections(&server, "open") == connections(&server, "shared")
        });
    }
    assert!(connections(&server, "moved_total") > 0);
    assert_eq!(connections(&server, "open"), connections(&server, "idle"));
    let (opened, reused) =
        (connections(&server, "opened_total"), connections(&server, "reused_total"));
    assert!(opened + reused >= 4 * CLIENTS * 5 * 4, "{opened} + {reused}");
    assert_eq!(opened, origin.connections());
}

#[test]
fn a_connection_that_was_closed_while_nobody_had_it_is_not_used() {
    let (close, closes) = mpsc::channel::<()>();
    let closes = Mutex::new(closes);
    let origin = Origin::start(move |peer, number| {
        while peer.try_request().is_ok() {
            peer.send(ok(&number.to_string()));
            if number == 0 {
                return closes.lock().unwrap().recv().unwrap();
            }
        }
    });
    let server = TestServer::start(&on(2, &format!("to \"{}\"", origin.address())));
    assert_eq!(get(&mut server.connect()), "0");
    wait_for(&server, "shared", 1);
    close.send(()).unwrap();
    wait_for(&server, "open", 0);
    assert_eq!(get(&mut server.connect()), "1");
    assert_eq!(server.metric("bothways_retries_total", ""), 0.0);
}

/// Waits for so many idle connections; the origin has seen no others.
#[track_caller]
fn wait_for_idle(server: &TestServer, origin: &Origin, count: usize) {
    wait_for(server, "idle", count);
    origin.wait_for_connections(count);
    assert_eq!(origin.connections(), count);
}

#[test]
fn connections_are_opened_ahead_for_all_cores() {
    for (cores, steal) in [(1, true), (4, true), (4, false)] {
        let origin = hello();
        let upstream = format!("to \"{}\"; pool min=6 steal=#{steal}; {KEPT}", origin.address());
        let server = TestServer::start(&on(cores, &upstream));
        wait_for_idle(&server, &origin, 6);
        if cores > 1 && steal {
            wait_for(&server, "shared", 6);
        }
        assert_eq!(get(&mut server.connect()), "hello");
        assert_eq!(connections(&server, "reused_total"), 1, "{cores} {steal}");
    }
}

#[test]
fn what_was_opened_ahead_is_replaced() {
    // Each connection is closed once its idle time is over: the first second or so.
    let origin = hello();
    let upstream =
        format!("to \"{}\"; pool min=2; timeouts {{ upstream-idle \"100ms\"; }}", origin.address());
    let server = TestServer::start(&on(2, &upstream));
    origin.wait_for_connections(4);
    wait_for(&server, "idle", 2);
    drop(server);

    // And the same if the endpoint closes them.
    let origin = Origin::start(|peer, number| {
        if number >= 2 {
            let _ = peer.rest();
        }
    });
    let upstream = format!("to \"{}\"; pool min=2", origin.address());
    let server = TestServer::start(&on(1, &upstream));
    origin.wait_for_connections(4);
    wait_for(&server, "open", 2);
}

#[test]
fn an_endpoint_that_comes_late_gets_its_connections_too() {
    // At an IP address of its own, where nobody else takes the port in between.
    let address: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.231:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = TestServer::start(&on(2, &format!("to \"{address}\"; pool min=1")));
    wait::until("a failure", || connections(&server, "failed_total") >= 1);
    assert_eq!(connections(&server, "open"), 0);
    let origin = Origin::start_at(&address.to_string(), |peer, _| drop(peer.rest()));
    origin.wait_for_connections(1);
    wait_for(&server, "idle", 1);
}

#[test]
fn a_reload_opens_what_is_lacking_and_leaves_the_rest() {
    let (origin, added) = (hello(), hello());
    let upstream = |more: &str| on(1, &format!("to \"{}\" {more}", origin.address()));
    let server = TestServer::start(&upstream(""));
    get(&mut server.connect());
    wait_for(&server, "idle", 1);
    // Another endpoint: the first one's connection stays.
    server.reload(&upstream(&format!("; to \"{}\" drain=#true", added.address()))).unwrap();
    assert_eq!(connections(&server, "open"), 1);
    // Those that drain get none ahead.
    server
        .reload(&upstream(&format!("; to \"{}\" drain=#true; pool min=3; {KEPT}", added.address())))
        .unwrap();
    wait_for_idle(&server, &origin, 3);
    assert_eq!(added.connections(), 0);
    // One endpoint less: its connections are closed, the others stay.
    let both = format!("; to \"{}\"; pool min=3; {KEPT}", added.address());
    server.reload(&upstream(&both)).unwrap();
    wait_for(&server, "idle", 6);
    server.reload(&upstream(&format!("; pool min=3; {KEPT}"))).unwrap();
    wait_for(&server, "open", 3);
    added.wait_for_connections(3);
    assert_eq!((origin.connections(), added.connections()), (3, 3));
}

/// An endpoint of HTTP/2 that answers each request, once it is whole, with the connection's number.
fn numbered() -> Origin {
    Origin::start(|peer, number| {
        let mut raw = Connection::server(peer, &[]);
        let is_of_request = |kind| kind == kind::HEADERS || kind == kind::DATA;
        while let Ok(frame) = raw.until(|frame| is_of_request(frame.head.kind)) {
            if frame.has(flag::END_STREAM) {
                raw.send(headers(0, frame.head.stream, &[(":status", "200")]));
                raw.send(data(flag::END_STREAM, frame.head.stream, number.to_string()));
            }
        }
    })
}

#[test]
fn http2_is_opened_ahead_once_per_core() {
    let origin = numbered();
    let upstream = format!("to \"{}\"; protocol h2c; pool min=2; {KEPT}", origin.address());
    let server = TestServer::start(&on(2, &upstream));
    wait_for_idle(&server, &origin, 2);
}

#[test]
fn what_tls_lets_an_endpoint_choose_is_found_out_ahead() {
    let authority = Authority::new();
    let issued = authority.issue("origin", &["api.test"]);
    // Two cores have one of HTTP/2 each; of HTTP/1.1 there are as many as are wanted.
    for (alpn, plain, count) in [("h2", numbered(), 2), ("http/1.1", hello(), 5)] {
        let front = SecureFront::start(&issued, &[alpn.as_bytes()], plain.address());
        let upstream = format!(
            "to \"https://{}\"; tls {{ ca \"{}\"; name \"api.test\"; }}; pool min=5; {KEPT}",
            front.address(),
            authority.file().display(),
        );
        let server = TestServer::start(&on(2, &upstream));
        wait_for_idle(&server, &plain, count);
        if alpn != "h2" {
            wait_for(&server, "shared", count);
        }
        (0..4).for_each(|_| drop(get(&mut server.connect())));
        assert_eq!(connections(&server, "reused_total"), 4, "{alpn}");
        assert_eq!(front.handshakes().len(), count, "{alpn}");
    }
}

#[test]
fn a_connection_of_http1_lives_no_longer_than_it_may() {
    let origin = Origin::start(|peer, number| {
        while peer.try_request().is_ok() {
            peer.send(ok(&number.to_string()));
        }
    });
    let upstream = format!("to \"{}\"; pool lifetime=\"300ms\"", origin.address());
    let server = TestServer::start(&on(1, &upstream));
    let mut client = server.connect();
    wait::until("a third connection", || get(&mut client) == "2");
    assert_eq!(connections(&server, "failed_total"), 0);
    wait::until("the end of the first ones", || connections(&server, "open") <= 1);
}

#[test]
fn a_connection_of_http2_ends_with_the_last_stream_that_began_in_time() {
    let origin = numbered();
    let upstream =
        format!("to \"{}\"; protocol h2c; pool lifetime=\"300ms\"; {KEPT}", origin.address());
    let server = TestServer::start(&on(1, &upstream));
    let (mut early, mut late) = (server.connect(), server.connect());
    early.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    origin.wait_for_connections(1);
    wait::until("a second connection", || get(&mut late) == "1");
    early.send("hello");
    assert_eq!(early.response().text(), "0");
    wait::until("the end of the first", || connections(&server, "open") <= 1);
}

#[test]
fn connections_being_opened_are_bounded() {
    let nowhere = Unreachable::at("127.0.0.1:0");
    let upstream = format!("to \"{}\"; breaker connecting=1; retry off", nowhere.address());
    let server = TestServer::start(&on(1, &upstream));
    let (mut waiting, mut refused) = (server.connect(), server.connect());
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("the exchange", || server.server().open_exchanges().exchanges == 1);
    refused.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.response().status(), 503);
    // The first one's place is free once its client has gone.
    drop(waiting);
    wait::until("the end of the first", || server.server().open_exchanges().exchanges == 0);
    refused.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("another attempt", || server.server().open_exchanges().exchanges == 1);
}

#[test]
fn tls_asks_for_the_name_that_an_address_was_found_by() {
    let names = NameServer::start(|_| Reply::Addresses(vec![[127, 0, 0, 1].into()], 60));
    let (authority, plain) = (Authority::new(), hello());
    let good = authority.issue("good", &["api.internal"]);
    let other = authority.issue("other", &["other.internal"]);
    for (issued, status) in [(good, 200), (other, 502)] {
        let front = SecureFront::start(&issued, &[b"http/1.1"], plain.address());
        let server = TestServer::start(&format!(
            "process {{ cores 1; log access=off; resolver {{ server \"{}\"; }} }}
             upstream up {{
                 to \"https://api.internal:{}\" addresses=each; tls {{ ca \"{}\"; }}
             }}
             site \"*\" {{ listen \"127.0.0.1:0\"; to up; }}",
            names.address(),
            front.address().port(),
            authority.file().display(),
        ));
        wait::until("an endpoint for the address", || {
            let groups = server.server().groups();
            groups[0].members.iter().any(|member| member.settings.written.contains('@'))
        });
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), status);
    }
}
