//! Active checks: who is asked, and whom requests avoid because of the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use observe::EndpointHealth;
use testkit::message_text::{ok, response};
use testkit::names::{NameServer, Reply};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::secure::{Authority, SecureFront};
use testkit::server::TestServer;
use testkit::wait;

/// An origin that answers with its name, and on `/healthz` as it is told.
fn origin(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&well);
    let origin = Origin::start(move |peer, _| {
        while let Ok(request) = peer.try_request() {
            let bad = request.target() == "/healthz" && !says.load(Ordering::SeqCst);
            peer.send(if bad { response(503, "") } else { ok(name) });
        }
    });
    (origin, well)
}

/// A proxy whose upstream has these endpoints; `more` stands in the upstream.
fn text(to: &[String], more: &str) -> String {
    let to = to.iter().map(|to| format!("to \"{to}\"; ")).collect::<String>();
    format!(
        "upstream app {{ {to} balance round-robin; eject off; {more} }}\n\
         site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}"
    )
}

const OFTEN: &str = "every=\"20ms\" every-down=\"20ms\" rise=2 fall=2 timeout=\"5s\"";

#[track_caller]
fn get(client: &mut Peer) -> (u16, String) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    (response.status(), response.text().to_owned())
}

/// How many of 20 requests each of two answers.
#[track_caller]
fn shares(client: &mut Peer) -> (usize, usize) {
    let answers: Vec<_> = (0..20).map(|_| get(client)).collect();
    let of =
        |name: &str| answers.iter().filter(|(code, text)| *code == 200 && text == name).count();
    assert_eq!(of("a") + of("b"), 20, "{answers:?}");
    (of("a"), of("b"))
}

fn state(server: &TestServer, endpoint: usize) -> EndpointHealth {
    server.server().health_states().swap_remove(endpoint)
}

/// The last words of the only check of an endpoint.
#[track_caller]
fn words(server: &TestServer, endpoint: usize) -> String {
    wait::until("a check", || state(server, endpoint).checks[0].last.is_some());
    let last = state(server, endpoint).checks[0].last.clone();
    last.expect("a check").words.to_string()
}

#[test]
fn requests_avoid_what_is_down() {
    let ((a, a_well), (b, b_well)) = (origin("a"), origin("b"));
    let to = [a.address().to_string(), b.address().to_string()];
    let checked = text(&to, &format!("health \"/healthz\" {OFTEN}"));
    let server = TestServer::start(&checked);
    let mut client = server.connect();
    assert_eq!(shares(&mut client), (10, 10));

    a_well.store(false, Ordering::SeqCst);
    wait::until("a is down", || !state(&server, 0).up);
    assert_eq!(words(&server, 0), "GET /healthz answered 503, expected 200-399");
    assert_eq!(shares(&mut client), (0, 20));

    // Both: nobody is left, and that is said at once.
    b_well.store(false, Ordering::SeqCst);
    wait::until("b is down", || !state(&server, 1).up);
    assert_eq!(get(&mut client).0, 503);

    a_well.store(true, Ordering::SeqCst);
    wait::until("a is up", || state(&server, 0).up);
    assert_eq!(shares(&mut client), (20, 0));

    // A reload forgets neither how it stands nor what was counted.
    let before = state(&server, 1).checks[0].bad;
    server.reload(&format!("{checked}\nsite other.test {{ respond hi; }}")).unwrap();
    assert!(!state(&server, 1).up && state(&server, 1).checks[0].bad >= before);
    assert_eq!(shares(&mut client), (20, 0));

    // Without checks nothing speaks against it.
    server.reload(&text(&to, "")).unwrap();
    assert!(server.server().health_states().is_empty());
    assert_eq!(shares(&mut client), (10, 10));
}

#[test]
fn another_port_counts() {
    let ((a, _), (b, _)) = (origin("a"), origin("b"));
    let gone = testkit::origin::refused_address();
    let to = [a.address().to_string()];
    let server = TestServer::start(&text(&to, &format!("health tcp {OFTEN} port={}", gone.port())));
    wait::until("it is down", || !state(&server, 0).up);
    assert_eq!(words(&server, 0), format!("connection refused ({gone})"));
    assert_eq!(get(&mut server.connect()).0, 503);
    server.reload(&text(&to, &format!("health tcp {OFTEN} port={}", b.port()))).unwrap();
    wait::until("it is up", || state(&server, 0).up);
    assert_eq!(get(&mut server.connect()), (200, "a".to_owned()));
}

#[test]
fn a_name_is_well_if_one_of_its_addresses_is() {
    // Nobody listens at the first.
    let names = NameServer::start(|name| match name {
        "app.test" => Reply::Addresses(vec![[127, 0, 0, 77].into(), [127, 0, 0, 1].into()], 60),
        _ => Reply::NoSuchName,
    });
    let (a, _) = origin("a");
    let text = format!(
        "process {{ cores 1; log access=off; resolver {{ server \"{}\"; }}; }}\n\
         upstream app {{ to \"app.test:{}\" addresses=one; health \"/healthz\" {OFTEN}; }}\n\
         site \"*\" {{ listen \"127.0.0.1:0\"; to app; }}",
        names.address(),
        a.port()
    );
    let server = TestServer::start(&text);
    assert_eq!(words(&server, 0), "GET /healthz answered 200");
    let host = format!("app.test:{}", a.port());
    let asked = a.received();
    assert!(asked.contains(&host), "{asked}");
}

#[test]
fn certificates_are_verified() {
    let authority = Authority::new();
    let issued = authority.issue("api", &["api.test"]);
    let (a, _) = origin("a");
    let front = SecureFront::start(&issued, &[b"http/1.1"], a.address());
    let text = |ca: &Authority| {
        let tls = format!("tls {{ ca \"{}\"; name \"api.test\"; }}", ca.file().display());
        let to = [format!("https://{}", front.address())];
        text(&to, &format!("{tls}; health \"/healthz\" {OFTEN}"))
    };
    let server = TestServer::start(&text(&authority));
    assert_eq!(words(&server, 0), "GET /healthz answered 200");
    server.reload(&text(&Authority::new())).unwrap();
    wait::until("it is down", || !state(&server, 0).up);
    let words = words(&server, 0);
    assert!(words.starts_with("certificate: ") && words.contains("issuer"), "{words}");
}
