//! TLS in front: which site a connection is for, what is refused, what is told of it.

use std::time::Duration;

use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer, Trickle};
use testkit::secure::{Authority, SecureClient, SecureFront};
use testkit::server::TestServer;
use testkit::wait;

#[track_caller]
fn ask(client: &mut Peer, host: &str) -> (u16, String) {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.response();
    (response.status(), response.text().to_owned())
}

/// A site that answers with its own name.
fn site(authority: &Authority, names: &[&str], more: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let first = names[0].replace('*', "any");
    let covered: Vec<&str> =
        names.iter().map(|&n| if n == "*" { "other.test" } else { n }).collect();
    let issued = authority.issue(&first, &covered);
    format!(
        "site {} {{ listen \"127.0.0.1:0\"; tls {} {{ {more} }}; respond \"{first}\"; }}\n",
        quoted.join(" "),
        issued.kdl(),
    )
}

#[test]
fn a_connection_is_for_the_site_that_it_asks_for() {
    let authority = Authority::new();
    let server = TestServer::start(
        &[
            site(&authority, &["a.test"], ""),
            site(&authority, &["*.b.test"], ""),
            site(&authority, &["*"], ""),
        ]
        .concat(),
    );
    let client = SecureClient::of(&authority);
    let tls12 = SecureClient::of_tls12(&authority);
    for (asked, host, answer) in [
        ("a.test", "a.test", (200, "a.test")),
        ("A.test", "a.test", (200, "a.test")),
        ("x.b.test", "x.b.test", (200, "any.b.test")),
        ("x.b.test", "y.b.test", (200, "any.b.test")), // one site, one certificate
        ("other.test", "other.test", (200, "any")),
        ("other.test", "a.test", (421, "")),
        ("a.test", "x.b.test", (421, "")),
        ("a.test", "unknown.test", (421, "")),
    ] {
        for client in [&client, &tls12] {
            let mut client = client.connect(server.address(), asked);
            let (status, text) = ask(&mut client, host);
            assert_eq!(status, answer.0, "{asked} then {host}");
            assert!(text.contains(answer.1), "{asked} then {host}: {text}");
            // A refusal is no reason to close: the client may have other requests.
            assert_eq!(ask(&mut client, asked).0, 200);
        }
    }
    let done = |label: &str| server.metric("bothways_tls_handshakes_total", label);
    assert!(done("TLSv1.3") > 0.0 && done("TLSv1.2") > 0.0 && done("resumed=\"true\"") > 0.0);
}

#[test]
fn without_a_default_site_other_names_are_refused() {
    let authority = Authority::new();
    let client = SecureClient::of(&authority);
    let server = TestServer::start(&site(&authority, &["a.test", "127.0.0.1"], ""));
    let refused = client.try_connect(server.address(), "b.test").err().expect("a refusal");
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    // Who asks for no name gets the only site there is.
    let mut nameless = client.connect(server.address(), "127.0.0.1");
    assert_eq!(ask(&mut nameless, "a.test"), (200, "a.test".to_owned()));
    server.wait_for_metric("bothways_tls_handshakes_total", "no_site", 1.0);
}

#[test]
fn upstreams_are_told_of_the_connection() {
    let authority = Authority::new();
    let ops = authority.issue("ops", &["ops.test", "mail.test"]);
    let origin = Origin::serving(|request| {
        let told = |name: &str| request.field(name).unwrap_or("-").to_owned();
        let names = ["X-Forwarded-Proto", "X-V", "X-N", "X-S", "X-Names", "X-F"];
        ok(&names.map(told).join("|"))
    });
    let server = TestServer::start(&format!(
        "site \"a.test\" {{
             listen \"127.0.0.1:0\"
             tls {} {{ client request ca=\"{}\"; hsts max-age=\"1d\" subdomains=#true; }}
             request {{
                 set \"X-V\" \"{{tls-version}}\"; set \"X-N\" \"{{tls-name}}\"; set \"X-S\" \"{{client-subject}}\"
                 set \"X-Names\" \"{{client-names}}\"; set \"X-F\" \"{{client-fingerprint}}\"
             }}
             route \"/ops\" {{ client name=\"ops.test\"; respond \"for ops\"; }}
             to \"{}\"
         }}",
        authority.issue("a", &["a.test"]).kdl(),
        authority.file().display(),
        origin.address(),
    ));
    let mut plain = SecureClient::of(&authority).connect(server.address(), "a.test");
    assert_eq!(ask(&mut plain, "a.test"), (200, "https|TLSv1.3|a.test|||".to_owned()));
    plain.send("GET /ops HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let response = plain.response();
    assert_eq!(response.status(), 403, "no certificate was shown");
    assert_eq!(response.all("strict-transport-security"), ["max-age=86400; includeSubDomains"]);

    let client = SecureClient::showing(&authority, &ops);
    // The second one resumes the session, and is the same client.
    for _ in 0..2 {
        let mut client = client.connect(server.address(), "a.test");
        let (status, text) = ask(&mut client, "a.test");
        let start = "https|TLSv1.3|a.test|CN=ops.test|ops.test,mail.test|";
        assert!(
            status == 200 && text.starts_with(start) && text.len() == start.len() + 64,
            "{text}"
        );
        client.send("GET /ops HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().text(), "for ops");
    }
    let stranger = Authority::new();
    let stranger = SecureClient::showing(&authority, &stranger.issue("ops", &["ops.test"]));
    // In TLS 1.3 the client is done before its certificate is looked at.
    let refused = match stranger.try_connect(server.address(), "a.test") {
        Ok(mut client) => client.rest().1 == ConnectionEnd::Reset,
        Err(_) => true,
    };
    assert!(refused, "a certificate of another authority");
    wait::until("a failed handshake", || {
        server.metric("bothways_tls_handshakes_total", "client_certificate") == 1.0
    });
}

#[test]
fn strict_transport_security_is_said_once() {
    let authority = Authority::new();
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n",
    );
    let server = TestServer::start(&format!(
        "site \"a.test\" {{
             listen \"127.0.0.1:0\"; tls {} {{ hsts max-age=\"1h\" preload=#true; }}
             route \"/own\" {{ respond \"x\"; }}
             to \"{}\"
         }}",
        authority.issue("a", &["a.test"]).kdl(),
        origin.address(),
    ));
    let mut client = SecureClient::of(&authority).connect(server.address(), "a.test");
    for path in ["/", "/own", "/%2f"] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n"));
        let response = client.response();
        let said = response.all("strict-transport-security");
        assert_eq!(said, ["max-age=3600; preload"], "{path}: {response:?}");
    }
}

#[test]
fn http_in_clear_on_a_port_of_tls_is_told_so() {
    let authority = Authority::new();
    let server = TestServer::start(&site(&authority, &["a.test"], ""));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 400);
    assert!(response.text().contains("https://"), "{response:?}");
    client.expect_closed();
    let mut client = server.connect();
    client.send(b"\x00\x01\x02garbage");
    assert!(client.rest().0.is_empty());
    server.wait_for_metric("bothways_tls_handshakes_total", "not_tls", 2.0);
    server.wait_until_quiet();
}

#[test]
fn slow_and_broken_handshakes_end_in_time() {
    let authority = Authority::new();
    let server = TestServer::start(&format!(
        "listen \"127.0.0.1:0\" {{ timeouts {{ head \"1s\"; }}; }}\n{}",
        site(&authority, &["a.test"], "")
    ));
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send([22, 3, 1]);
    let _trickle = Trickle::over(&slow, "\u{1}", Duration::from_millis(50));
    silent.rest();
    slow.rest();
    // A record that is a ClientHello by its head alone.
    let mut broken = server.connect();
    broken.send([22, 3, 1, 0, 8, 1, 0, 0, 4, 3, 3, 0, 0]);
    let (alert, _) = broken.rest();
    assert!(alert.starts_with(&[21, 3]), "an alert, not {alert:?}");
    server.wait_until_quiet();
    let failed = |why: &str| server.metric("bothways_tls_handshakes_total", why);
    assert_eq!((failed("timed_out"), failed("protocol")), (2.0, 1.0));
}

#[test]
fn a_hello_in_small_pieces_is_a_hello() {
    let authority = Authority::new();
    let server = TestServer::start(&site(&authority, &["a.test"], ""));
    let long = [b'x'; 250];
    let many = vec![&long[..]; 20];
    let mut protocols = vec![&b"http/1.1"[..]];
    protocols.extend(many); // 5 KiB of them
    let client = SecureClient::of(&authority).alpn(&protocols).in_pieces_of(1);
    let mut client = client.connect(server.address(), "a.test");
    assert_eq!(client.facts.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(ask(&mut client, "a.test").0, 200);
}

#[test]
fn a_new_certificate_leaves_connections_alone() {
    let authority = Authority::new();
    let text = site(&authority, &["a.test"], "");
    let server = TestServer::start(&text);
    let client = SecureClient::of(&authority);
    let mut old = client.connect(server.address(), "a.test");
    assert_eq!(ask(&mut old, "a.test").0, 200);
    let before = old.facts.certificate.clone().expect("a certificate");
    let text = site(&authority, &["a.test"], ""); // the same files, written anew
    server.reload(&text).expect("a configuration");
    let mut new = SecureClient::of(&authority).connect(server.address(), "a.test");
    assert_ne!(new.facts.certificate.clone(), Some(before), "the new certificate");
    assert_eq!(ask(&mut new, "a.test").0, 200);
    assert_eq!(ask(&mut old, "a.test").0, 200, "the old connection goes on");
    // A pair that does not fit changes nothing.
    let other = authority.issue("other", &["a.test"]);
    let wrong = text.replace("a.test.key\"", "other.key\"");
    assert_ne!(wrong, text);
    let refused = server.reload(&wrong).expect_err("a refusal").to_string();
    assert!(refused.contains("story.kdl:") && refused.contains("other.key"), "{refused}");
    assert!(other.key.exists());
    assert_eq!(ask(&mut old, "a.test").0, 200);
    assert_eq!(ask(&mut client.connect(server.address(), "a.test"), "a.test").0, 200);
}

#[test]
fn a_port_that_goes_over_to_tls_serves_nothing_in_clear() {
    let authority = Authority::new();
    let server =
        TestServer::start("site \"a.test\" { listen \"127.0.0.1:0\"; respond \"clear\"; }");
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "a.test").0, 200);
    server.reload(&site(&authority, &["a.test"], "")).expect("a configuration");
    assert_eq!(ask(&mut client, "a.test").0, 421);
    client.expect_closed();
    let mut client = SecureClient::of(&authority).connect(server.address(), "a.test");
    assert_eq!(ask(&mut client, "a.test").0, 200);
}

#[test]
fn sessions_are_resumed_on_any_core_but_not_at_another_site() {
    let authority = Authority::new();
    let server = TestServer::start(&format!(
        "process {{ cores 2; log access=off; }}\n{}{}",
        site(&authority, &["a.test"], ""),
        site(&authority, &["b.test"], "tickets #false"),
    ));
    for client in [SecureClient::of(&authority), SecureClient::of_tls12(&authority)] {
        let mut first = client.connect(server.address(), "a.test");
        assert!(!first.facts.resumed);
        assert_eq!(ask(&mut first, "a.test").0, 200); // the tickets have come, too
        // Of so many connections each core gets some.
        for _ in 0..8 {
            let mut again = client.connect(server.address(), "a.test");
            assert!(again.facts.resumed);
            assert_eq!(ask(&mut again, "a.test").0, 200);
        }
        for _ in 0..2 {
            let mut other = client.connect(server.address(), "b.test");
            assert!(!other.facts.resumed);
            assert_eq!(ask(&mut other, "b.test").0, 200);
        }
    }
}

#[test]
fn ends_are_told_apart() {
    let authority = Authority::new();
    let origin = Origin::start(|peer, _| {
        let Ok(request) = peer.try_request() else { return };
        if request.target() == "/close" {
            return peer.send("HTTP/1.1 200 OK\r\n\r\nwhole");
        }
        peer.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        peer.reset();
    });
    let server = TestServer::start(&format!(
        "site \"a.test\" {{ listen \"127.0.0.1:0\"; tls {}; to \"{}\"; }}",
        authority.issue("a", &["a.test"]).kdl(),
        origin.address(),
    ));
    let client = SecureClient::of(&authority);
    let get = |path: &str| {
        let mut client = client.connect(server.address(), "a.test");
        client.send(format!("GET {path} HTTP/1.0\r\nHost: a.test\r\n\r\n"));
        client.rest()
    };
    let (whole, ended) = get("/close");
    assert!(whole.ends_with(b"whole") && ended == ConnectionEnd::Closed, "a close_notify");
    let (_, ended) = get("/reset");
    assert_eq!(ended, ConnectionEnd::Reset, "no close_notify after what was cut short");
    // A client that is cut off in the middle of its body has not sent it whole.
    let mut cut = client.connect(server.address(), "a.test");
    cut.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    cut.reset();
    server.wait_until_quiet();
}

#[test]
fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let origin = Origin::serving(|request| ok(request.text()));
    let server = TestServer::start(&format!(
        "site \"a.test\" {{ listen \"127.0.0.1:0\"; tls {}; to \"{}\"; }}",
        authority.issue("a", &["a.test"]).kdl(),
        origin.address(),
    ));
    for client in [SecureClient::of(&authority), SecureClient::of_tls12(&authority)] {
        let mut client = client.connect(server.address(), "a.test");
        for length in [1, 16 * 1024, 70_000, 3_000_000] {
            let body: String =
                (0..length).map(|at: u32| char::from(b'a' + (at % 23) as u8)).collect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"
            ));
            client.send(&body);
            assert!(client.response().text() == body, "{length} bytes");
        }
    }
}

#[test]
fn early_data_is_for_what_changes_nothing() {
    let authority = Authority::new();
    let origin = Origin::serving(|request| {
        ok(&format!("{} {}", request.method(), request.field("early-data").unwrap_or("-")))
    });
    let server = TestServer::start(&format!(
        "site \"a.test\" {{ listen \"127.0.0.1:0\"; tls {} {{ early-data #true; }}; to \"{}\"; }}",
        authority.issue("a", &["a.test"]).kdl(),
        origin.address(),
    ));
    let client = SecureClient::of(&authority);
    let mut first = client.connect(server.address(), "a.test");
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\nEarly-Data: 1\r\n\r\n");
    assert_eq!(first.response().text(), "GET -", "only we know that");
    let get = client.clone().early("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut early = get.connect(server.address(), "a.test");
    assert!(early.facts.early);
    assert_eq!(early.response().text(), "GET 1");
    early.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(early.response().text(), "POST -", "the handshake is over");
    let post = client.early("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let mut early = post.connect(server.address(), "a.test");
    assert!(early.facts.early);
    assert_eq!(early.response().status(), 425);
}

#[test]
fn a_header_of_the_proxy_protocol_comes_before_tls() {
    let authority = Authority::new();
    let origin = Origin::serving(|request| ok(request.field("x-forwarded-for").unwrap_or("-")));
    let server = TestServer::start(&format!(
        "listen \"127.0.0.1:0\" {{ proxy-protocol required; }}
         site \"a.test\" {{ listen \"127.0.0.1:0\"; tls {}; to \"{}\"; }}",
        authority.issue("a", &["a.test"]).kdl(),
        origin.address(),
    ));
    assert!(SecureClient::of(&authority).try_connect(server.address(), "a.test").is_err());
    let mut first = server.connect();
    first.send("PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n");
    let client = SecureClient::of(&authority).after("PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n");
    let mut client = client.connect(server.address(), "a.test");
    assert_eq!(ask(&mut client, "a.test"), (200, "192.0.2.7".to_owned()));
    server.wait_for_metric("bothways_connections_refused_total", "proxy_protocol", 1.0);
}

#[test]
fn challenges_are_answered_before_anything_else() {
    let server = TestServer::start(
        "site \"a.test\" { listen \"127.0.0.1:0\"; redirect \"https://a.test/\"; }",
    );
    let get = |path: &str| {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: b.test\r\n\r\n"));
        let response = client.response();
        (response.status(), response.text().to_owned())
    };
    let path = "/.well-known/acme-challenge/abc_-9";
    assert_eq!(get(path).0, 421);
    server.server().keeper().challenges().set_http("abc_-9", "abc_-9.thumb");
    assert_eq!(get(path), (200, "abc_-9.thumb".to_owned()));
    assert_eq!(get("/.well-known/acme-challenge/other").0, 421);
    server.server().keeper().challenges().clear_http("abc_-9");
    assert_eq!(get(path).0, 421);
}

#[test]
fn the_log_tells_of_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let authority = Authority::new();
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}\n{}",
        path.display(),
        site(
            &authority,
            &["a.test"],
            &format!("client request ca=\"{}\"", authority.file().display())
        ),
    ));
    let ops = authority.issue("ops", &["ops.test"]);
    let mut client = SecureClient::showing(&authority, &ops).connect(server.address(), "a.test");
    assert_eq!(ask(&mut client, "a.test").0, 200);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    wait::until("a line of the log", || read().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(read().trim()).expect("JSON");
    assert_eq!(line["tls"], "TLSv1.3");
    assert_eq!(line["cipher"], "TLS_AES_128_GCM_SHA256");
    assert_eq!(line["sni"], "a.test");
    assert_eq!(line["client_subject"], "CN=ops.test");
    assert_eq!(line["target"], "https://a.test/");
}

#[test]
fn the_log_tells_of_handshakes_that_fail() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let authority = Authority::new();
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}\n{}",
        path.display(),
        site(
            &authority,
            &["a.test"],
            &format!("client require ca=\"{}\"", authority.file().display())
        ),
    ));
    let mut number = 0;
    let mut next = || {
        number += 1;
        let lines = || std::fs::read_to_string(&path).unwrap_or_default();
        wait::until("a line of the log", || lines().matches('\n').count() == number);
        let line: serde_json::Value =
            serde_json::from_str(lines().lines().last().unwrap()).expect("JSON");
        assert_eq!((&line["client"], &line["direction"]), (&"127.0.0.1".into(), &"reverse".into()));
        assert!(line["port"].is_number() && line["listener"].is_string(), "{line}");
        assert!(line.get("target").is_none() && line.get("method").is_none(), "{line}");
        assert_eq!(
            (&line["error"], &line["blame"]),
            (&"client_tls_error".into(), &"client".into())
        );
        line
    };
    // A probe says nothing, and nothing is said of it.
    server.connect().close();
    let client = SecureClient::of(&authority);
    assert!(client.try_connect(server.address(), "b.test").is_err());
    let line = next();
    assert_eq!(
        (&line["sni"], line.get("scope"), line.get("status")),
        (&"b.test".into(), None, None)
    );
    assert!(line["detail"].as_str().is_some_and(|why| why.contains("b.test")), "{line}");
    // Without the certificate that is asked for.
    if let Ok(mut client) = client.try_connect(server.address(), "a.test") {
        client.rest();
    }
    let line = next();
    assert_eq!((&line["sni"], &line["scope"]), (&"a.test".into(), &"a.test".into()));
    let mut clear = server.connect();
    clear.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(clear.response().status(), 400);
    assert_eq!(next()["status"], 400);
    let mut gone = server.connect();
    gone.send([22, 3, 1]);
    gone.close();
    next();
    server.wait_for_metric("bothways_errors_total", "client_tls_error", 4.0);
    assert_eq!(server.metric("bothways_requests_total", ""), 0.0);
}

#[test]
fn a_forward_proxy_speaks_tls() {
    let authority = Authority::new();
    let origin = Origin::serving(|request| ok(request.target()));
    let ops = authority.issue("ops", &["ops.test"]);
    let server = TestServer::start(&format!(
        "forward \"127.0.0.1:0\" {{
             tls {} {{ client request ca=\"{}\"; }}
             allow to=\"127.0.0.1\" port=\"1-65535\" client-name=\"ops.test\"
         }}",
        authority.issue("proxy", &["proxy.test"]).kdl(),
        authority.file().display(),
    ));
    let asked = |client: &mut Peer| {
        client.send(format!("GET http://{0}/x HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address()));
        client.response()
    };
    let mut stranger = SecureClient::of(&authority).connect(server.address(), "proxy.test");
    assert_eq!(asked(&mut stranger).status(), 403);
    let client = SecureClient::showing(&authority, &ops);
    let mut client = client.connect(server.address(), "proxy.test");
    assert_eq!(asked(&mut client).text(), "/x");
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address()));
    assert_eq!(client.head().status(), 200);
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "/tunnel");
}

#[test]
fn connections_pass_through_by_name() {
    let authority = Authority::new();
    let issued = authority.issue("inside", &["inside.test"]);
    let plain = Origin::serving(|request| ok(request.target()));
    let inside = SecureFront::start(&issued, &[b"http/1.1"], plain.address());
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=off; }}
         site \"inside.test\" {{ listen \"127.0.0.1:0\"; tls passthrough; to inside; }}
         upstream inside {{ to \"{}\" \"127.0.0.1:1\"; balance round-robin; }}
         {}",
        inside.address(),
        site(&authority, &["a.test"], ""),
    ));
    let long = [b'x'; 250];
    let mut protocols = vec![&b"http/1.1"[..]];
    protocols.extend(vec![&long[..]; 20]); // a hello of 5 KiB
    let client = SecureClient::of(&authority).alpn(&protocols).in_pieces_of(1);
    let mut through = client.connect(server.address(), "inside.test");
    assert_eq!(through.facts.certificate.as_deref(), Some(&*issued.der()));
    through.send("GET /through HTTP/1.1\r\nHost: inside.test\r\n\r\n");
    assert_eq!(through.response().text(), "/through");
    // The second endpoint refuses: the first is tried in its place.
    let mut again = SecureClient::of(&authority).connect(server.address(), "inside.test");
    again.send("GET /again HTTP/1.1\r\nHost: inside.test\r\nConnection: close\r\n\r\n");
    assert_eq!(again.response().text(), "/again");
    assert_eq!(server.metric("bothways_tunnels_open", ""), 2.0);
    again.finish();
    through.finish();
    server.wait_until_quiet();
    assert_eq!(server.metric("bothways_tunnels_total", "inside.test"), 2.0);
    assert_eq!(server.metric("bothways_upstream_connections_failed_total", "127.0.0.1:1"), 1.0);
    let bytes = |name: &str| server.metric(&format!("bothways_{name}_bytes_total"), "inside.test");
    assert!(bytes("received") > 5000.0);
    assert_eq!(bytes("received"), bytes("request_body"), "all of it is the tunnel's");
    // Sites that end TLS here are beside it on the same port.
    let mut here = SecureClient::of(&authority).connect(server.address(), "a.test");
    assert_eq!(ask(&mut here, "a.test").0, 200);
}

/// A connection that is made ends a row of those that could not be.
#[test]
fn endpoints_that_connections_pass_through_to_are_judged_by_those() {
    // An address of this story alone, where somebody listens now and then.
    let free = std::net::TcpListener::bind("127.0.0.43:0").expect("an address");
    let address = free.local_addr().expect("its address").to_string();
    drop(free);
    let other = Origin::start(|_, _| {});
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=off; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; tls passthrough; to up; }}
         upstream up {{ to \"{address}\" \"{}\"; balance first; eject consecutive=2; }}",
        other.address(),
    ));
    let connect = || drop(SecureClient::of(&Authority::new()).try_connect(server.address(), "x"));
    let ejections = || server.metric("bothways_endpoint_ejections_total", "");
    connect();
    let origin = Origin::start_at(&address, |_, _| {});
    connect();
    assert_eq!(origin.connections(), 1);
    drop(origin);
    connect();
    assert_eq!(ejections(), 0.0);
    connect();
    assert_eq!(ejections(), 1.0);
}

#[test]
fn without_an_upstream_there_is_nothing_to_pass_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=\"{}\" format=json; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; tls passthrough; to \"127.0.0.1:1\"; }}",
        path.display(),
    ));
    let client = SecureClient::of(&Authority::new());
    let refused = client.try_connect(server.address(), "x.test").err().expect("a refusal");
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    wait::until("a line of the log", || read().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(read().trim()).expect("JSON");
    assert_eq!(line["error"], "connection_refused");
    assert_eq!(line["sni"], "x.test");
    assert_eq!(line["status"], 502);
}

#[test]
fn a_record_that_drips_is_no_sign_of_life() {
    let authority = Authority::new();
    let text = format!(
        "timeouts {{ head \"700ms\"; client-idle \"700ms\"; }}\n{}",
        site(&authority, &["a.test"], "")
    );
    let server = TestServer::start(&text);
    for begun in ["", "GET / HT"] {
        let mut client = SecureClient::of(&authority).connect(server.address(), "a.test");
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n{begun}"));
        assert_eq!(client.response().text(), "a.test");
        let mut below = client.below().duplicate();
        below.send([23, 3, 3, 64, 0]); // the head of a record of 16 KiB
        let _trickle = Trickle::over(&below, "x", Duration::from_millis(30));
        let (rest, _) = client.rest();
        let rest = String::from_utf8_lossy(&rest);
        assert_eq!(rest.contains(" 408 "), !begun.is_empty(), "{rest}");
    }
}
