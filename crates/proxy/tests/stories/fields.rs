//! Which fields go on: those that the configuration sets, names with `_`, trailers.

use testkit::message_text::{Message, ok};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::secure::Authority;
use testkit::server::TestServer;

/// What the origin saw of a request with these fields.
#[track_caller]
fn seen(server: &TestServer, origin: &Origin, fields: &str) -> Message {
    let mut client = server.connect();
    let before = origin.received().len();
    client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n"));
    assert_eq!(client.response().status(), 200);
    Message::of_head(&origin.received().as_bytes()[before..])
}

#[test]
fn what_the_configuration_sets_is_sent() {
    const SET: [(&str, &str); 9] = [
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Ssl", "on"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "mine"),
        ("X-Original-URL", "/x"),
        ("X-Other", "1"),
        ("X_Under", "2"),
    ];
    let edits = SET.map(|(name, value)| {
        let value = value.replace("127.0.0.1", "{client}").replace("/x", "{path}");
        format!("set \"{name}\" \"{value}\";")
    });
    let origin = Origin::answering(ok("hi"));
    let server =
        TestServer::reverse(origin.address(), &format!("request {{ {} }}", edits.concat()));
    let forged = SET.map(|(name, _)| format!("{name}: 6.6.6.6\r\n")).concat();
    let twins = "X_Real_IP: 6\r\nX_Other: 6\r\nX-Under: 6\r\nx-other: 6\r\nX-Real_IP: 6\r\n";
    for fields in ["", &forged, twins, &format!("{twins}{forged}")] {
        let request = seen(&server, &origin, fields);
        for (name, value) in SET {
            assert_eq!(request.all(name), [value], "{fields:?}: {request:?}");
        }
        assert!(!format!("{request:?}").contains(": 6"), "{fields:?}: {request:?}");
    }
}

#[test]
fn what_is_added_or_removed_has_no_twin() {
    let origin = Origin::answering(ok("hi"));
    let edits = "request { add \"X-Tag\" \"ours\"; remove \"X-Debug\" \"api_key\"; add \"X-Real-IP\" \"9.9.9.9\"; }";
    let server = TestServer::reverse(origin.address(), edits);
    let request = seen(
        &server,
        &origin,
        "X-Tag: mine\r\nX_Tag: 6\r\nX-Debug: 6\r\nx_debug: 6\r\nAPI_KEY: 6\r\napi-key: kept\r\nX-Real-IP: 6\r\n",
    );
    assert_eq!(request.all("X-Tag"), ["mine", "ours"]);
    assert_eq!(request.all("X-Real-IP"), ["9.9.9.9"]);
    assert_eq!(request.field("api-key"), Some("kept"));
    for name in ["X_Tag", "X-Debug", "X_Debug", "api_key"] {
        assert!(!request.has(name), "{name}: {request:?}");
    }
}

#[test]
fn names_with_underscores_pass_unless_they_are_twins_of_ours() {
    let origin = Origin::answering(ok("hi"));
    let plain = "api_key: 1\r\naccess_token: 2\r\nDOWNLOAD_URI: 3\r\n_: 4\r\na__b: 5\r\n";
    let twins = "X_Forwarded_For: 6\r\nx_real-ip: 6\r\nContent_Length: 6\r\nTRANSFER_ENCODING: 6\r\n\
        Host_: 7\r\nProxy_Connection: 6\r\nX_Forwarded_Anything: 6\r\nX_Original_URL: 6\r\nEarly_Data: 6\r\n";
    let reverse = TestServer::reverse(origin.address(), "");
    let forward = TestServer::forward("allow to=\"127.0.0.1\" port=\"1-65535\"");
    let at = origin.address();
    for server in [&reverse, &forward] {
        let before = origin.received().len();
        let mut client = server.connect();
        client.send(format!(
            "GET http://{at}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{plain}{twins}\r\n"
        ));
        assert_eq!(client.response().status(), 200);
        let request = Message::of_head(&origin.received().as_bytes()[before..]);
        for name in ["api_key", "access_token", "DOWNLOAD_URI", "_", "a__b", "Host_"] {
            assert!(request.has(name), "{name}: {request:?}");
        }
        assert!(!format!("{request:?}").contains(": 6"), "{request:?}");
    }
    let dropping = TestServer::reverse(origin.address(), "underscores drop");
    let request = seen(&dropping, &origin, plain);
    assert!(!request.fields.iter().any(|(name, _)| name.contains('_')), "{request:?}");
}

/// Edits in both directions.
const EDITS: &str =
    "request { set \"X-User\" \"{client}\"; remove \"X-Debug\"; add \"X-Tag\" \"1\"; }
    response { remove \"X-Powered-By\"; set \"X-Mark\" \"ours\"; }";

/// Trailers that pass, and others that must not.
const PASS: &str = "X-Sum: 1\r\nmy_meta: 2\r\n";
const REQUEST_TRAILERS: &str = "X-User: 6\r\nx_user: 6\r\nX-Debug: 6\r\nX-Tag: 6\r\nX-Real-IP: 6\r\n\
    X-Forwarded-Server: 6\r\nX_Forwarded_For: 6\r\nAuthorization: 6\r\nContent_Length: 6\r\n";
const RESPONSE_TRAILERS: &str = "X-Powered-By: 6\r\nx_powered_by: 6\r\nX-Mark: 6\r\nSet-Cookie: 6\r\n\
    Strict-Transport-Security: 6\r\nX-Frame-Options: 6\r\nLocation: 6\r\n";

#[test]
fn trailers_carry_nothing_that_is_edited() {
    let origin = Origin::start(|peer, _| {
        let request = peer.request();
        assert_eq!(request.field("X-User"), Some("127.0.0.1"));
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n{PASS}{RESPONSE_TRAILERS}\r\n"
        ));
    });
    let server = TestServer::reverse(origin.address(), EDITS);
    let mut client = server.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n{PASS}{REQUEST_TRAILERS}\r\n"
    ));
    let (answer, _) = client.rest();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    for text in [origin.received(), answer] {
        let trailers = text.rsplit("0\r\n").next().unwrap_or_default();
        assert_eq!(trailers, format!("{PASS}\r\n"), "{text}");
    }
}

#[test]
fn trailers_without_underscores() {
    let origin = Origin::start(|peer, _| {
        peer.request();
        peer.send(ok("hi"));
    });
    let server = TestServer::reverse(origin.address(), "underscores drop");
    let mut client = server.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{PASS}\r\n"
    ));
    assert_eq!(client.response().status(), 200);
    let received = origin.received();
    assert!(received.contains("X-Sum: 1\r\n") && !received.contains("my_meta"), "{received}");
}

/// A proxy that believes who connects from 127.0.0.1, and tells what it knows.
fn believing(origin: &Origin, more: &str) -> TestServer {
    TestServer::start(&format!(
        "trusted-proxy \"127.0.0.1\"
         site \"*\" {{
             listen \"127.0.0.1:0\"
             request {{ set \"X-Knows\" \"{{client}} {{scheme}} {{host}}\"; }}
             {more}
             route \"/go\" {{ redirect \"{{scheme}}://{{host}}/there\"; }}
             to \"{}\"
         }}",
        origin.address()
    ))
}

#[test]
fn both_kinds_of_forwarding_fields_say_the_same() {
    let (origin, other) = (Origin::answering(ok("hi")), Origin::answering(ok("hi")));
    let plain = believing(&origin, "");
    let both = believing(&other, "forwarded on");
    // What came; who asked for what; the chain in either kind.
    const FOR: &str = "9.9.9.9, 127.0.0.1";
    #[rustfmt::skip]
    let rows: [(&str, [&str; 3], &str, &str); 8] = [
        ("", ["127.0.0.1", "http", "a"], "127.0.0.1", "for=127.0.0.1;host=\"a\";proto=http"),
        ("X-Forwarded-For: 9.9.9.9\r\n", ["9.9.9.9", "http", "a"], FOR,
            "for=9.9.9.9;host=\"a\";proto=http, for=127.0.0.1"),
        ("X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n",
            ["9.9.9.9", "https", "shop.test"], FOR,
            "for=9.9.9.9;host=\"shop.test\";proto=https, for=127.0.0.1"),
        ("Forwarded: for=9.9.9.9;proto=https;host=shop.test\r\n",
            ["9.9.9.9", "https", "shop.test"], FOR,
            "for=9.9.9.9;host=\"shop.test\";proto=https, for=127.0.0.1"),
        ("Forwarded: for=\"[2001:db8::1]:80\"\r\nForwarded: for=127.0.0.1;proto=https\r\n",
            ["2001:db8::1", "https", "a"], "2001:db8::1, 127.0.0.1, 127.0.0.1",
            "for=\"[2001:db8::1]\";host=\"a\";proto=https, for=127.0.0.1, for=127.0.0.1"),
        // A client's own word in the other kind.
        ("X-Forwarded-For: 9.9.9.9\r\nForwarded: for=6.6.6.6;proto=https;host=evil\r\n",
            ["9.9.9.9", "http", "a"], FOR, "for=9.9.9.9;host=\"a\";proto=http, for=127.0.0.1"),
        ("X-Forwarded-For: ::ffff:9.9.9.9\r\n", ["9.9.9.9", "http", "a"],
            "::ffff:9.9.9.9, 127.0.0.1", "for=9.9.9.9;host=\"a\";proto=http, for=127.0.0.1"),
        ("Forwarded: proto=https;host=\"a b\"\r\n", ["127.0.0.1", "https", "a"],
            "unknown, 127.0.0.1", "for=unknown;host=\"a\";proto=https, for=127.0.0.1"),
    ];
    for (fields, knows, chain, forwarded) in rows {
        for (server, origin) in [(&plain, &origin), (&both, &other)] {
            let request = seen(server, origin, fields);
            assert_eq!(request.all("X-Knows"), [knows.join(" ")], "{fields:?}");
            assert_eq!(request.all("X-Forwarded-For"), [chain], "{fields:?}");
            assert_eq!(request.all("X-Forwarded-Proto"), [knows[1]], "{fields:?}");
            assert_eq!(request.all("X-Forwarded-Host"), [knows[2]], "{fields:?}");
            assert_eq!(request.field("Host"), Some("a"));
        }
        assert!(!seen(&plain, &origin, fields).has("Forwarded"), "{fields:?}");
        assert_eq!(seen(&both, &other, fields).all("Forwarded"), [forwarded], "{fields:?}");
        let mut client = plain.connect();
        client.send(format!("GET /go HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let location = format!("{}://{}/there", knows[1], knows[2]);
        assert_eq!(client.response().field("Location"), Some(&*location), "{fields:?}");
    }
    // Of somebody else nothing is believed.
    let mut client = Peer::connect_from([127, 0, 0, 2].into(), both.address());
    let before = other.received().len();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=6.6.6.6;proto=https;host=evil\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let request = Message::of_head(&other.received().as_bytes()[before..]);
    assert_eq!(request.all("X-Knows"), ["127.0.0.2 http a"]);
    assert_eq!(request.all("Forwarded"), ["for=127.0.0.2;host=\"a\";proto=http"]);
}

#[test]
fn cookies_are_secure_where_the_client_asked_over_tls() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::start(&format!(
        "trusted-proxy \"127.0.0.1\"
         upstream u {{ to \"{0}\" \"{0}\"; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; split stay=cookie {{ to u \"50%\"; to \"{0}\" \"50%\"; }} }}",
        origin.address()
    ));
    let check = |fields: &str, secure: bool| {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        let cookie = response.field("Set-Cookie").expect("a cookie");
        assert_eq!(cookie.contains("; Secure"), secure, "{fields:?}: {cookie}");
    };
    check("", false);
    check("X-Forwarded-Proto: https\r\n", true);
    check("Forwarded: for=9.9.9.9;proto=https\r\n", true);
    check("X-Forwarded-Proto: http\r\n", false);
}

/// Who came by TLS to a trusted proxy, which goes on in clear, has nowhere else to be sent.
#[test]
fn who_came_by_https_is_not_redirected_there_again() {
    let origin = Origin::answering(ok("hi"));
    let authority = Authority::new();
    let issued = authority.issue("all", &["a.test", "x.b.test", "*.b.test", "c.test"]);
    let (tls, ca) = (issued.kdl(), authority.file().display().to_string());
    let server = TestServer::start(&format!(
        "trusted-proxy \"127.0.0.1\"
         site \"a.test\" {{
             listen \"127.0.0.1:0\"; redirect-http \"127.0.0.2:0\"
             tls {tls} {{ hsts max-age=\"1d\"; client request ca=\"{ca}\"; }}
             route \"/ops/*\" {{ client name=\"ops\"; respond; }}
             to \"{}\"
         }}
         site \"*.b.test\" {{ listen \"127.0.0.1:0\"; redirect-http \"127.0.0.2:0\"; tls {tls}; respond \"any\"; }}
         site \"x.b.test\" {{ listen \"127.0.0.1:0\"; tls {tls}; respond \"x\"; }}
         site \"c.test\" {{
             listen \"127.0.0.1:0\"; redirect-http \"127.0.0.2:0\"
             tls {tls} {{ client require ca=\"{ca}\"; }}
             respond \"never\"
         }}",
        origin.address()
    ));
    let ask = |from: u8, target: &str, host: &str, fields: &str| {
        let address = server.address_of("127.0.0.2:0");
        let mut client = Peer::connect_from([127, 0, 0, from].into(), address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        client.response()
    };
    const SAID: &str = "X-Forwarded-Proto: https\r\n";
    for said in [SAID, "Forwarded: for=9.9.9.9;proto=https\r\n"] {
        let answer = ask(1, "/x", "a.test", said);
        assert_eq!((answer.status(), answer.text()), (200, "hi"), "{said}");
        assert_eq!(answer.field("Strict-Transport-Security"), Some("max-age=86400"));
    }
    assert!(origin.received().contains("\r\nX-Forwarded-Proto: https\r\n"));
    // The site that https:// would lead to, and its rules.
    assert_eq!(ask(1, "/", "y.b.test", SAID).text(), "any");
    assert_eq!(ask(1, "/", "x.b.test", SAID).text(), "x");
    assert_eq!(ask(1, "/ops/x", "a.test", SAID).status(), 403);
    // Everybody else is sent there, whatever they claim.
    let check = |from: u8, target: &str, host: &str, fields: &str| {
        let answer = ask(from, target, host, fields);
        assert_eq!(answer.status(), 308, "127.0.0.{from} {target} {host} {fields}");
        assert!(!answer.has("Strict-Transport-Security"));
    };
    check(1, "/", "a.test", "");
    check(1, "/", "a.test", "X-Forwarded-Proto: http\r\n");
    check(1, "https://a.test/", "a.test", "");
    check(2, "/", "a.test", SAID);
    check(2, "https://a.test/", "a.test", SAID);
    // Without a certificate nobody comes in.
    check(1, "/", "c.test", SAID);
}

#[test]
fn a_proxy_protocol_header_tells_of_tls() {
    let origin = Origin::answering(ok("hi"));
    let server = TestServer::start(&format!(
        "listen \"127.0.0.1:0\" {{ proxy-protocol required; }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\"; }}",
        origin.address()
    ));
    let check = |extras: &[u8], scheme: &str| {
        let addresses = [[198, 51, 100, 7], [192, 0, 2, 1], [4, 210, 0, 80]].concat();
        let length = [0, (addresses.len() + extras.len()) as u8];
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &addresses, extras].concat();
        let before = origin.received().len();
        let mut client = server.connect();
        client.send(
            [&header, &b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..]].concat(),
        );
        assert_eq!(client.response().status(), 200);
        let request = Message::of_head(&origin.received().as_bytes()[before..]);
        assert_eq!(request.field("X-Forwarded-For"), Some("198.51.100.7"));
        assert_eq!(request.field("X-Forwarded-Proto"), Some(scheme), "{extras:?}");
    };
    check(&[], "http");
    check(&[0x20, 0, 5, 1, 0, 0, 0, 0], "https");
    check(&[0x20, 0, 5, 0, 0, 0, 0, 0], "http");
}
