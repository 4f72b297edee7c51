//! The forward proxy: where its clients may go, and what leaves with them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use testkit::message_text::{Message, ok};
use testkit::names::{NameServer, Reply};
use testkit::origin::{Origin, Unreachable};
use testkit::peer::Peer;
use testkit::server::TestServer;

/// Lets everything on this machine be reached, at any port.
const ALL: &str = "allow to=\"127.0.0.0/8,::1,localhost\" port=\"1-65535\"";

/// What is answered to a request for a whole URI.
#[track_caller]
fn fetch(client: &mut Peer, uri: &str, host: &str, fields: &str) -> Message {
    client.send(format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    client.response()
}

#[track_caller]
fn connect(client: &mut Peer, authority: &str) -> Message {
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    // To a tunnel there is no body, whatever the fields say.
    let head = client.head();
    if head.status() == 200 { head } else { client.body_of(head) }
}

/// An answer that refuses, and says why.
#[track_caller]
fn assert_refused(answer: &Message, status: u16, error: &str, word: &str) {
    assert_eq!(answer.status(), status, "{answer:?}");
    let proxy_status = answer.field("Proxy-Status").unwrap_or_default();
    assert!(proxy_status.contains(&format!("error={error}")), "{answer:?}");
    assert!(answer.text().contains(word), "{word:?} in {answer:?}");
    assert!(answer.field("Content-Type").is_some_and(|t| t.starts_with("text/html")), "{answer:?}");
}

/// A proxy whose names are looked up at `names`; `rules` stand in its block.
fn with_names(names: &NameServer, rules: &str) -> TestServer {
    TestServer::start(&format!(
        "process {{
             cores 1
             log access=off
             resolver {{ server \"{}\"; timeout \"1s\"; tries 1; hosts #false; }}
         }}
         forward \"127.0.0.1:0\" {{
             {rules}
         }}",
        names.address()
    ))
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_ends_by_halves() {
    let origin = Origin::start(|peer, _| {
        peer.expect("right behind the head");
        peer.send("hello");
        peer.expect_closed();
        peer.send("still here");
    });
    let server = TestServer::forward(ALL);
    let mut client = server.connect();
    let authority = origin.address();
    client.send(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\nright behind the head"
    ));
    let answer = client.head();
    // RFC 9110, section 9.3.6: no length, no coding.
    assert_eq!(answer.status(), 200);
    assert!(!answer.has("Content-Length") && !answer.has("Transfer-Encoding"), "{answer:?}");
    client.expect("hello");
    client.finish();
    client.expect("still here");
    client.expect_closed();
    server.wait_until_quiet();
}

#[test]
fn a_tunnel_whose_far_end_finishes_first() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.send("all there is");
        peer.finish();
        peer.expect("thanks");
        peer.expect_closed();
        tell.lock().unwrap().send(()).unwrap();
    });
    let server = TestServer::forward(ALL);
    let mut client = server.connect();
    assert_eq!(connect(&mut client, &origin.address().to_string()).status(), 200);
    client.expect("all there is");
    client.expect_closed();
    client.send("thanks");
    client.finish();
    told.recv_timeout(testkit::peer::DEADLINE).unwrap();
    server.wait_until_quiet();
}

#[test]
fn a_tunnel_that_idles_is_closed() {
    let origin = Origin::start(|peer, _| {
        let _ = peer.rest();
    });
    let server = TestServer::forward(&format!("{ALL}\n timeouts {{ tunnel-idle \"200ms\"; }}"));
    let mut client = server.connect();
    assert_eq!(connect(&mut client, &origin.address().to_string()).status(), 200);
    client.rest();
    server.wait_until_quiet();
    assert_eq!(server.server().open_exchanges().tunnels, 0);
}

#[test]
fn a_whole_uri_is_fetched() {
    let origin = Origin::start(|peer, _| {
        while let Ok(request) = peer.try_request() {
            peer.send(ok(&format!("{request:?}")));
        }
    });
    let other = Origin::answering(ok("the other"));
    let server = TestServer::forward(ALL);
    let mut client = server.connect();
    let host = origin.address().to_string();
    let answer = fetch(
        &mut client,
        &format!("http://{host}/a/../b?c=d"),
        &host,
        "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nCookie: a=b\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nVia: 1.1 before\r\n",
    );
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("Via"), Some("1.1 bothways"));
    let seen = answer.text();
    assert!(seen.starts_with("GET /a/../b?c=d HTTP/1.1\n"), "{seen}");
    assert!(seen.contains(&format!("\nHost: {host}\n")), "{seen}");
    assert!(seen.contains("\nVia: 1.1 before, 1.1 bothways\n"), "{seen}");
    assert!(seen.contains("\nX-Forwarded-For: 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("\nCookie: a=b\n"), "{seen}");
    assert!(!seen.contains("6.6.6.6") && !seen.contains("Proxy-"), "{seen}");
    // The next destination over the same connection may be another.
    let elsewhere = other.address().to_string();
    let answer = fetch(&mut client, &format!("http://{elsewhere}"), &elsewhere, "");
    assert_eq!(answer.text(), "the other");
    for _ in 0..3 {
        assert_eq!(fetch(&mut client, &format!("http://{host}/"), &host, "").status(), 200);
    }
    assert_eq!((origin.connections(), other.connections()), (1, 1));
    // A POST with a body, and an answer by HEAD.
    client.send(format!(
        "POST http://{host}/p HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi"
    ));
    assert!(client.response().text().contains("(2 bytes) hi"));
}

#[test]
fn a_client_of_http_1_0() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::forward(ALL);
    let mut client = server.connect();
    let host = origin.address();
    client.send(format!("GET http://{host}/ HTTP/1.0\r\n\r\n"));
    assert_eq!(client.response().text(), "hi");
    let mut client = server.connect();
    client.send(format!("CONNECT {host} HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.response().text(), "hi");
}

#[test]
fn nothing_that_names_the_client_leaves_an_anonymous_one() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nVia: 1.1 cdn\r\nContent-Length: 2\r\n\r\nhi");
    let server = TestServer::forward(&format!(
        "{ALL}\n anonymous {{ remove \"Referer\" \"User-Agent\" \"From\" \"cookie\" \"X-Own\"; }}"
    ));
    let mut client = server.connect();
    let host = origin.address().to_string();
    let claims = "X-Forwarded-Server: a\r\nX-Forwarded-Ssl: on\r\nx-forwarded: a\r\nX_Forwarded_User: a\r\n\
        X-Original-URL: /\r\nX-Rewrite-URL: /\r\nX-Client-IP: 1.2.3.4\r\ntrue-client-ip: 1.2.3.4\r\n\
        X_Own: y\r\nX-Original-Host: a\r\nCF-Connecting-IP: 1.2.3.4\r\nClient-Ip: 1.2.3.4\r\n\
        X-Envoy-External-Address: 1.2.3.4\r\nWL-Proxy-Client-IP: 1.2.3.4\r\nVia: 1.1 x\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
        X-Forwarded-Host: a\r\nX-Forwarded-Proto: a\r\nX-Forwarded-Port: 1\r\nReferer: http://a/\r\n\
        User-Agent: me\r\nFrom: me@a\r\nCookie: a=b\r\nX-Own: y\r\nAccept: */*\r\n";
    let answer = fetch(&mut client, &format!("http://{host}/"), &host, claims);
    assert!(!answer.all("Via").iter().any(|via| via.contains("bothways")), "{answer:?}");
    let request = Message::of_head(origin.received().as_bytes());
    let names: Vec<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "Accept"], "{request:?}");
}

#[test]
fn refusals_are_readable() {
    let server = TestServer::forward("deny to=\"*.facebook.com,blocked.example\"\n allow");
    let mut client = server.connect();
    for host in
        ["www.facebook.com", "facebook.com", "WWW.FaceBook.COM", "blocked.example", "facebook.com."]
    {
        let named = host.trim_end_matches('.').to_lowercase();
        let answer = fetch(&mut client, &format!("http://{host}/"), host, "");
        assert_refused(&answer, 403, "http_request_denied", &named);
        let answer = connect(&mut client, &format!("{host}:443"));
        assert_refused(&answer, 403, "http_request_denied", &named);
    }
    let json =
        fetch(&mut client, "http://facebook.com/", "facebook.com", "Accept: application/json\r\n");
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value["status"], 403);
}

#[test]
fn addresses_that_are_not_public_are_refused() {
    let server = TestServer::forward("ports any\n allow");
    let mut client = server.connect();
    let special = [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[2002:a00:1::]",
        "[::127.0.0.1]",
        "[fec0::1]",
        "[2001:db8::1]",
    ];
    for host in special {
        let answer =
            fetch(&mut client, &format!("http://{host}:8080/"), &format!("{host}:8080"), "");
        assert_refused(&answer, 403, "destination_ip_prohibited", "8080");
        let answer = connect(&mut client, &format!("{host}:8080"));
        assert_refused(&answer, 403, "destination_ip_prohibited", "8080");
    }
    drop(client);
    // Other spellings of 127.0.0.1 are never taken for something else.
    for host in
        ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "[::1%25lo]", "localhost"]
    {
        let mut client = server.connect();
        let answer =
            fetch(&mut client, &format!("http://{host}:8080/"), &format!("{host}:8080"), "");
        assert!(matches!(answer.status(), 400 | 403 | 502 | 504), "{host}: {answer:?}");
    }
}

#[test]
fn a_private_address_may_be_named() {
    let origin = Origin::answering(ok("hi"));
    let port = origin.port();
    let get = |rules: &str| {
        let server = TestServer::forward(rules);
        let mut client = server.connect();
        let host = format!("127.0.0.1:{port}");
        fetch(&mut client, &format!("http://{host}/"), &host, "").status()
    };
    assert_eq!(get(&format!("allow to=\"127.0.0.1\" port={port}")), 200);
    assert_eq!(get(&format!("allow to=\"127.0.0.0/8\" port={port}")), 200);
    assert_eq!(get("allow to=\"127.0.0.1\""), 403); // not at that port
    assert_eq!(get("ports any"), 403); // not named
    assert_eq!(get("ports any\n allow"), 403);
    assert_eq!(get("ports any\n allow to=\"*\""), 403);
    assert_eq!(get(&format!("deny port={port}\n allow to=\"127.0.0.1\" port={port}")), 403);
    assert_eq!(get(&format!("allow to=\"127.0.0.1\" port={port} method=\"POST\"")), 403);
    assert_eq!(get(&format!("allow to=\"127.0.0.1\" port={port} from=\"10.0.0.0/8\"")), 403);
    assert_eq!(get(&format!("allow to=\"127.0.0.1\" port={port} from=\"127.0.0.0/8\"")), 200);
}

#[test]
fn ports_beside_the_usual_ones_are_refused() {
    let server = TestServer::forward("allow");
    let mut client = server.connect();
    for port in [22, 25, 8080, 444] {
        let answer = connect(&mut client, &format!("192.0.2.1:{port}"));
        assert_eq!(answer.status(), 403);
        assert!(answer.text().contains(&port.to_string()), "{answer:?}");
        let host = format!("www.example.com:{port}");
        let answer = fetch(&mut client, &format!("http://{host}/"), &host, "");
        assert_refused(&answer, 403, "http_request_denied", "port");
    }
}

#[test]
fn loops_are_refused() {
    let server = TestServer::start(&format!(
        "forward \"127.0.0.1:0\" {{ {ALL}; }}
         site \"*\" {{ listen \"127.0.0.2:0\" \":0\"; respond \"own\"; }}"
    ));
    let forward = server.address_of("127.0.0.1:0");
    let everywhere = server.address_of(":0").port();
    let mut targets: Vec<SocketAddr> = vec![forward, server.address_of("127.0.0.2:0")];
    targets.push((Ipv4Addr::new(127, 0, 0, 1), everywhere).into());
    targets.push((Ipv4Addr::new(127, 0, 0, 9), everywhere).into());
    for target in targets {
        let mut client = Peer::connect(forward);
        let answer = connect(&mut client, &target.to_string());
        assert_refused(&answer, 508, "proxy_loop_detected", "itself");
        let host = target.to_string();
        let answer = fetch(&mut client, &format!("http://{host}/"), &host, "");
        assert_refused(&answer, 508, "proxy_loop_detected", "itself");
        let name = format!("localhost:{}", target.port());
        if target.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            // Another of the name's addresses may be somebody else's, but nobody listens there.
            assert!(matches!(connect(&mut client, &name).status(), 502 | 508));
        }
    }
}

#[test]
fn what_is_meant_otherwise_is_answered_with_a_hint() {
    let server = TestServer::forward(ALL);
    let check = |request: &str, word: &str| {
        let mut client = server.connect();
        client.send(format!("{request}\r\n\r\n"));
        let answer = client.response();
        assert_eq!(answer.status(), 400, "{request}: {answer:?}");
        assert!(answer.text().contains(word), "{request}: {answer:?}");
    };
    check("GET https://www.example.com/ HTTP/1.1\r\nHost: www.example.com", "CONNECT");
    check("GET / HTTP/1.1\r\nHost: www.example.com", "forward proxy");
    check("OPTIONS * HTTP/1.1\r\nHost: www.example.com", "forward proxy");
    check("CONNECT www.example.com HTTP/1.1\r\nHost: www.example.com", "");
    check("CONNECT www.example.com:0 HTTP/1.1\r\nHost: www.example.com:0", "");
    check("CONNECT http://www.example.com:443/ HTTP/1.1\r\nHost: www.example.com", "");
    check("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5", "");
    check("GET ftp://a/ HTTP/1.1\r\nHost: a", "");
}

#[test]
fn a_name_is_judged_by_each_of_its_addresses() {
    let origin = Origin::answering(ok("hi"));
    let port = origin.port();
    let names = NameServer::start(|name| {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        match name {
            "rebound.example" => Reply::Addresses(vec![address("127.0.0.1")], 60),
            "mapped.example" => Reply::Addresses(vec![address("::ffff:127.0.0.1")], 60),
            "metadata.example" => Reply::Addresses(vec![address("169.254.169.254")], 60),
            "mixed.example" => {
                Reply::Addresses(vec![address("10.9.9.9"), address("127.0.0.1")], 60)
            }
            "named.example" => Reply::Addresses(vec![address("127.0.0.1")], 60),
            "second.example" => {
                Reply::Addresses(vec![address("127.0.0.99"), address("127.0.0.1")], 60)
            }
            "broken.example" => Reply::Failure,
            "silent.example" => Reply::Silence,
            _ => Reply::NoSuchName,
        }
    });
    let get = |rules: &str, name: &str| {
        let server = with_names(&names, rules);
        let mut client = server.connect();
        let host = format!("{name}:{port}");
        let answer = fetch(&mut client, &format!("http://{host}/"), &host, "");
        let tunnel = connect(&mut server.connect(), &host);
        assert_eq!(answer.status(), tunnel.status(), "{name}: {answer:?} {tunnel:?}");
        answer
    };
    let any = "ports any\n allow";
    for name in ["rebound.example", "mapped.example", "metadata.example"] {
        assert_refused(&get(any, name), 403, "destination_ip_prohibited", name);
    }
    let loopback = format!("allow to=\"127.0.0.0/8\" port={port}");
    assert_eq!(get(&loopback, "rebound.example").status(), 200);
    // Only the addresses that are allowed are dialled; of those the first that answers is taken.
    assert_eq!(get(&loopback, "mixed.example").status(), 200);
    assert_eq!(get(&loopback, "second.example").status(), 200);
    // A name does not lead to this machine, unless the rule says that it may, or the address.
    let by_name = format!("allow to=\"named.example\" port={port}");
    assert_refused(
        &get(&by_name, "named.example"),
        403,
        "destination_ip_prohibited",
        "special=#true",
    );
    let by_name = format!("allow to=\"named.example\" port={port} special=#true");
    assert_eq!(get(&by_name, "named.example").status(), 200);
    assert_eq!(get(&by_name, "rebound.example").status(), 403);
    let all_but =
        format!("deny to=\"127.0.0.0/8\"\n allow to=\"named.example\" port={port} special=#true");
    assert_eq!(get(&all_but, "named.example").status(), 403);
    // A look-up that fails is a refusal.
    assert_refused(&get(any, "nowhere.example"), 502, "dns_error", "name");
    assert_refused(&get(any, "broken.example"), 502, "dns_error", "name");
    assert_refused(&get(any, "silent.example"), 504, "dns_timeout", "name");
}

#[test]
fn a_name_is_not_looked_up_again_for_what_is_already_refused() {
    let names = NameServer::start(|_| Reply::NoSuchName);
    let server = with_names(&names, "deny to=\"secret.example\"\n allow");
    let mut client = server.connect();
    assert_eq!(connect(&mut client, "secret.example:443").status(), 403);
    assert_eq!(connect(&mut client, "other.example:22").status(), 403);
    assert_eq!(names.questions(), 0, "a refused name is nobody's business");
}

#[test]
fn a_destination_that_cannot_be_reached() {
    let dead = testkit::origin::refused_address();
    let server = TestServer::forward(ALL);
    let mut client = server.connect();
    let answer = connect(&mut client, &dead.to_string());
    assert_refused(&answer, 502, "connection_refused", "cannot be reached");
    let host = dead.to_string();
    let answer = fetch(&mut client, &format!("http://{host}/"), &host, "");
    assert_refused(&answer, 502, "connection_refused", "cannot be reached");
}

#[test]
fn strangers_are_refused_by_default() {
    // Without any rule: loopback only. 127.0.0.0/8 is loopback, so this tells by `from`.
    let origin = Origin::answering(ok("hi"));
    let port = origin.port();
    let server =
        TestServer::forward(&format!("allow to=\"127.0.0.1\" port={port} from=\"127.0.0.5\""));
    let host = format!("127.0.0.1:{port}");
    let mut stranger = server.connect();
    let answer = fetch(&mut stranger, &format!("http://{host}/"), &host, "");
    assert_refused(&answer, 403, "http_request_denied", "refused");
    let friend = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
    let mut friend = Peer::connect_from(friend, server.address());
    assert_eq!(fetch(&mut friend, &format!("http://{host}/"), &host, "").status(), 200);
}

#[test]
fn a_client_that_leaves_takes_its_tunnel_with_it() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |peer, _| {
        peer.expect("hello");
        let ended = peer.rest().1;
        peer.close();
        tell.lock().unwrap().send(ended).unwrap();
    });
    let server = TestServer::forward(ALL);
    for leave in [Peer::close, Peer::reset] {
        let mut client = server.connect();
        assert_eq!(connect(&mut client, &origin.address().to_string()).status(), 200);
        client.send("hello");
        leave(&mut client);
        told.recv_timeout(Duration::from_secs(1)).expect("the far end hears of it");
        server.wait_until_quiet();
    }
}

#[test]
fn a_tunnel_is_one_of_its_client_s_upstream_connections() {
    let origin = Origin::start(|peer, _| {
        peer.rest();
    });
    let limit = "limits { upstream-connections-per-client 1; }";
    let server = TestServer::start(&format!("{limit}\nforward \"127.0.0.1:0\" {{ {ALL} }}"));
    let authority = origin.address().to_string();
    for leave in [Peer::close, Peer::reset, Peer::close] {
        let mut client = server.connect();
        assert_eq!(connect(&mut client, &authority).status(), 200);
        let refused = connect(&mut server.connect(), &authority);
        assert_eq!(refused.status(), 503, "{refused:?}");
        let mut other = Peer::connect_from([127, 0, 0, 77].into(), server.address());
        assert_eq!(connect(&mut other, &authority).status(), 200);
        leave(&mut client);
        other.close();
        server.wait_until_quiet();
    }
    server.wait_for_metric("bothways_errors_total", "client_limit_reached", 3.0);
}

#[test]
fn upgrades_and_expectations_work_in_forward_too() {
    let origin = Origin::start(|peer, number| {
        let request = peer.request();
        if number == 0 {
            assert_eq!(request.field("Upgrade"), Some("websocket"));
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
            peer.expect("hi");
            peer.expect_closed();
        } else {
            peer.send(ok(request.text()));
        }
    });
    let server = TestServer::forward(ALL);
    let host = origin.address();
    let mut client = server.connect();
    client.send(format!(
        "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 101);
    client.expect("hello");
    client.send("hi");
    client.finish();
    client.rest();
    let mut client = server.connect();
    client.send(format!(
        "PUT http://{host}/ HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 100);
    client.send("hi");
    assert_eq!(client.response().text(), "hi");
    drop(server);
}

#[test]
fn aliases_of_the_hosts_file_and_short_names() {
    let origin = Origin::answering(ok("hi"));
    let port = origin.port();
    // The name server would answer to anything; the search list is the system's.
    let names = NameServer::start(|name| match name {
        "hr.corp.example" => Reply::Addresses(vec![[127, 0, 0, 1].into()], 60),
        _ => Reply::NoSuchName,
    });
    let server = with_names(
        &names,
        &format!("deny to=\"hr.corp.example\"\n allow to=\"127.0.0.0/8\" port={port}"),
    );
    let mut client = server.connect();
    for (host, status) in
        [("hr.corp.example", 403), ("HR.Corp.Example.", 403), ("hr", 502), ("hr.corp", 502)]
    {
        let host = format!("{host}:{port}");
        assert_eq!(
            fetch(&mut client, &format!("http://{host}/"), &host, "").status(),
            status,
            "{host}"
        );
    }
}

#[test]
fn an_address_that_does_not_answer_does_not_hold_up_the_others() {
    // RFC 8305: the next address is tried after a quarter of a second.
    let origin = Origin::answering(ok("hi"));
    let port = origin.port();
    let unreachable = Unreachable::at(&format!("127.0.0.3:{port}"));
    let names = NameServer::start(|_| {
        Reply::Addresses(vec![[127, 0, 0, 3].into(), [127, 0, 0, 1].into()], 60)
    });
    let server = with_names(&names, &format!("allow to=\"127.0.0.0/8\" port={port}"));
    let mut client = server.connect();
    let begun = Instant::now();
    let host = format!("two.example:{port}");
    assert_eq!(fetch(&mut client, &format!("http://{host}/"), &host, "").text(), "hi");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(unreachable);
}

#[test]
fn the_admin_interface_is_out_of_reach() {
    let admin = Origin::answering(ok("secrets"));
    let other = Origin::answering(ok("apples"));
    let server = TestServer::forward(
        "allow to=\"127.0.0.0/8,0.0.0.0/8,::1,::ffff:0:0/96,localhost\" port=\"1-65535\"",
    );
    let port = admin.address().port();
    server.server().admin_listens(Some(admin.address()));
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]
    {
        let authority = format!("{host}:{port}");
        let tunnel = connect(&mut server.connect(), &authority);
        let plain = fetch(&mut server.connect(), &format!("http://{authority}/"), &authority, "");
        for answer in [tunnel, plain] {
            assert!(matches!(answer.status(), 400 | 403 | 502), "{authority}: {answer:?}");
        }
    }
    let answer = connect(&mut server.connect(), &admin.address().to_string());
    assert_refused(&answer, 403, "destination_ip_prohibited", "admin interface");
    // Other ports of the same address, and other addresses with the same port.
    let authority = other.address().to_string();
    let uri = format!("http://{authority}/");
    assert_eq!(fetch(&mut server.connect(), &uri, &authority, "").status(), 200);
    server.server().admin_listens(Some(([127, 0, 0, 9], port).into()));
    assert_eq!(connect(&mut server.connect(), &admin.address().to_string()).status(), 200);
    server.wait_until_quiet();
}
