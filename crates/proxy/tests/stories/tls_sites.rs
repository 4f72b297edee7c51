//! Sites that share a listener of TLS: clients that name none, connections that carry requests for several, and what
//! a reload means for those that are open.

use testkit::h2raw::{Connection, headers, request, settings};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::secure::{Authority, CertificateFiles, SecureClient};
use testkit::server::TestServer;
use wire::http2::frame::{PREFACE, flag};

/// A site that answers with its own name.
fn site(name: &str, issued: &CertificateFiles, more: &str) -> String {
    format!(
        "site \"{name}\" {{ listen \"127.0.0.1:0\"; tls {} {{ {more} }}; respond \"{name}\"; }}\n",
        issued.kdl(),
    )
}

/// The status, and the answer if that is 200.
#[track_caller]
fn ask(client: &mut Peer, host: &str) -> (u16, String) {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.response();
    let status = response.status();
    (status, if status == 200 { response.text().to_owned() } else { String::new() })
}

/// HTTP/2 over a connection.
struct H2(Connection<Peer>, u32);

impl H2 {
    fn of(peer: Peer) -> Self {
        let mut connection = Connection::of(peer);
        connection.send([PREFACE.as_slice(), &settings(&[])].concat());
        Self(connection, 1)
    }

    #[track_caller]
    fn ask(&mut self, host: &str) -> (u16, String) {
        let fields = request("GET", "https", host, "/");
        self.0.send(headers(flag::END_STREAM, self.1, &fields));
        let answer = self.0.message(self.1).expect("an answer");
        self.1 += 2;
        (answer.status(), if answer.status() == 200 { answer.text() } else { String::new() })
    }
}

fn h2(authority: &Authority) -> SecureClient {
    SecureClient::of(authority).alpn(&[b"h2"])
}

/// RFC 9110, section 7.4, and RFC 9113, section 9.1.1.
#[test]
fn a_connection_carries_requests_for_sites_that_are_alike() {
    let authority = Authority::new();
    let both = authority.issue("both", &["a.test", "b.test", "asks.test", "new.test"]);
    let copy = |name: &str| {
        let copied = authority.issue(name, &["x.test"]);
        std::fs::copy(&both.cert, &copied.cert).expect("a copy");
        std::fs::copy(&both.key, &copied.key).expect("a copy");
        copied
    };
    let asks = format!("client request ca=\"{}\"", authority.file().display());
    let server = TestServer::start(
        &[
            site("a.test", &both, ""),
            site("b.test", &copy("copy"), "hsts max-age=\"1d\"; tickets #false"),
            site("asks.test", &both, &asks),
            site("new.test", &both, "versions \"1.3\""),
            site("own.test", &authority.issue("own", &["own.test", "a.test"]), ""),
        ]
        .concat(),
    );
    for (asked, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.test:443", 200),
        ("a.test", "b.test", 200), // other files, the same certificate
        ("b.test", "a.test", 200),
        ("a.test", "asks.test", 421),
        ("asks.test", "a.test", 421),
        ("asks.test", "asks.test", 200),
        ("a.test", "new.test", 421),
        ("new.test", "a.test", 421),
        ("a.test", "own.test", 421), // another certificate
        ("own.test", "a.test", 421),
        ("a.test", "unknown.test", 421),
    ] {
        for client in [SecureClient::of(&authority), SecureClient::of_tls12(&authority)] {
            let Ok(mut client) = client.try_connect(server.address(), asked) else { continue };
            let expected = (status, host.split(':').next().unwrap_or_default().to_lowercase());
            let found = ask(&mut client, host);
            assert_eq!(found.0, expected.0, "{asked} then {host}");
            assert!(status != 200 || found.1 == expected.1, "{asked} then {host}: {found:?}");
            assert_eq!(ask(&mut client, asked).0, 200, "{asked}, {host} and again");
        }
        let mut client = H2::of(h2(&authority).connect(server.address(), asked).into_peer());
        assert_eq!(client.ask(host).0, status, "{asked} then {host}, by HTTP/2");
        assert_eq!(client.ask(asked).0, 200);
    }
}

/// An address in place of a name means none (RFC 6066, section 3).
#[test]
fn who_names_no_site_gets_a_default_one() {
    let authority = Authority::new();
    let issue = |name: &str| authority.issue(name, &[name, "127.0.0.1"]);
    let asks = format!("client request ca=\"{}\"", authority.file().display());
    let (a, b, any) = (issue("a.test"), issue("b.test"), issue("any.test"));
    // The sites, and the hosts that a client without a name gets answers for.
    for (sites, hosts) in [
        (vec![("a.test", &a, ""), ("b.test", &b, "")], vec!["a.test", "b.test"]),
        (vec![("a.test", &a, &*asks), ("b.test", &b, "")], vec!["b.test"]),
        (vec![("a.test", &a, ""), ("*", &any, "")], vec!["*", "a.test"]),
        (vec![("a.test", &a, ""), ("*", &any, &*asks)], vec!["a.test"]),
        (vec![("a.test", &a, &*asks)], vec!["a.test"]),
        (vec![("a.test", &a, &*asks), ("*", &any, &*asks)], vec!["*", "a.test"]),
        (vec![("a.test", &a, &*asks), ("b.test", &b, &*asks)], vec![]),
    ] {
        let text: String =
            sites.iter().map(|(name, issued, more)| site(name, issued, more)).collect();
        let server = TestServer::start(&text);
        let client = SecureClient::of(&authority);
        let Ok(mut nameless) = client.try_connect(server.address(), "127.0.0.1") else {
            assert!(hosts.is_empty(), "{text}");
            server.wait_for_metric("bothways_tls_handshakes_total", "no_site", 1.0);
            continue;
        };
        assert!(!hosts.is_empty(), "{text}");
        let shown = nameless.facts.certificate.clone().expect("a certificate");
        let first = sites.iter().find(|(name, ..)| *name == hosts[0]).expect("a site").1;
        assert_eq!(shown, first.der().to_vec(), "{text}");
        for (name, ..) in &sites {
            let host = if *name == "*" { "other.test" } else { name };
            let expected =
                if hosts.contains(name) { (200, (*name).to_owned()) } else { (421, String::new()) };
            assert_eq!(ask(&mut nameless, host), expected, "{host} of {text}");
        }
        // A name that nobody has is another matter.
        let refused = client.try_connect(server.address(), "stranger.test").err();
        let refused = refused.expect("a certificate for other names, or none").to_string();
        let has_default = sites.iter().any(|(name, ..)| *name == "*");
        assert_eq!(refused.contains("UnrecognisedName"), !has_default, "{refused}");
    }
}

/// The next request of a connection whose client's certificate is not believed any more ends it.
#[test]
fn a_reload_ends_connections_of_clients_that_are_not_believed_any_more() {
    let (authority, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let shown = authority.issue("a", &["a.test", "b.test"]);
    let origin = testkit::origin::Origin::serving(|_| testkit::message_text::ok("hi"));
    let text = |policy: &str, ca: &[&Authority]| {
        let ca = ca.iter().map(|ca| std::fs::read_to_string(ca.file()).expect("a file"));
        std::fs::write(authority.file().with_file_name("clients.pem"), ca.collect::<String>())
            .expect("a file");
        let (shown, origin) = (shown.kdl(), origin.address());
        let ca = authority.file().with_file_name("clients.pem");
        let tls = format!("{shown} {{ client {policy} ca=\"{}\"; }}", ca.display());
        format!(
            "site \"a.test\" {{ listen \"127.0.0.1:0\"; tls {tls}; to \"{origin}\"; }}
             site \"b.test\" {{ listen \"127.0.0.1:0\"; tls {tls}; respond \"b\"; }}"
        )
    };
    for policy in ["require", "request"] {
        let server = TestServer::start(&text(policy, &[&first, &second]));
        let of = |ca: &Authority, alpn: &[u8]| {
            let client = SecureClient::showing(&authority, &ca.issue("client", &["client.test"]));
            client.alpn(&[alpn]).connect(server.address(), "a.test").into_peer()
        };
        let mut alice = of(&first, b"http/1.1");
        let mut alices = H2::of(of(&first, b"h2"));
        let mut bob = of(&second, b"http/1.1");
        let mut bobs = H2::of(of(&second, b"h2"));
        assert_eq!((ask(&mut alice, "a.test").0, ask(&mut bob, "a.test").0), (200, 200));
        let mut others = of(&first, b"http/1.1");
        assert_eq!(ask(&mut others, "b.test").0, 200, "of a site that is alike");
        assert_eq!((alices.ask("a.test").0, bobs.ask("a.test").0), (200, 200));
        server.reload(&text(policy, &[&second])).expect("a configuration");
        assert_eq!((ask(&mut bob, "a.test").0, bobs.ask("a.test").0), (200, 200));
        for host in ["b.test", "a.test", "b.test"] {
            assert_eq!((ask(&mut bob, host).0, bobs.ask(host).0), (200, 200), "{host}");
        }
        for (client, host) in [(&mut alice, "a.test"), (&mut others, "b.test")] {
            assert_eq!(ask(client, host).0, 421, "{host}");
            client.expect_closed();
        }
        assert_eq!(alices.ask("a.test").0, 421);
        // GOAWAY comes before the answer, which then passes over it, or after it.
        assert_eq!(alices.0.goodbye().1, ConnectionEnd::Closed);
        assert_eq!((ask(&mut bob, "a.test").0, bobs.ask("a.test").0), (200, 200));
        // And back: who connects now is believed.
        server.reload(&text(policy, &[&first, &second])).expect("a configuration");
        assert_eq!(ask(&mut of(&first, b"http/1.1"), "a.test").0, 200);
        assert_eq!((ask(&mut bob, "a.test").0, bobs.ask("a.test").0), (200, 200));
    }
}

#[test]
fn http_1_0_by_alpn_is_http_1() {
    let authority = Authority::new();
    let server = TestServer::start(&site("a.test", &authority.issue("a", &["a.test"]), ""));
    for (offered, picked) in [
        (vec![&b"http/1.0"[..]], Some(&b"http/1.0"[..])),
        (vec![b"http/1.0", b"http/1.1"], Some(b"http/1.1")),
        (vec![b"http/0.9", b"http/1.0", b"zz"], Some(b"http/1.0")),
        (vec![b"http/1.0", b"h2"], Some(b"h2")),
        (vec![], None),
    ] {
        let client = SecureClient::of(&authority).alpn(&offered);
        let mut client = client.connect(server.address(), "a.test");
        assert_eq!(client.facts.alpn.as_deref(), picked);
        if picked != Some(b"h2") {
            assert_eq!(ask(&mut client, "a.test"), (200, "a.test".to_owned()));
        }
    }
    // RFC 7301, section 3.2: nothing in common is an error; who wants another protocol gets none of ours.
    let other = SecureClient::of(&authority).alpn(&[b"imap", b"ftp"]);
    assert!(other.try_connect(server.address(), "a.test").is_err());
}
