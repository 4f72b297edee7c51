//! Logins that hold for a connection (NTLM, Negotiate): whose connection it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use testkit::message_text::Message;
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::server::TestServer;

/// An origin that takes whatever comes over a connection for the user who has logged in over it.
fn origin() -> Origin {
    Origin::start(|peer, _| {
        let (mut user, mut asked) = (None::<String>, false);
        while let Ok(request) = peer.try_request() {
            let credentials = request.field("Authorization").unwrap_or_default().to_owned();
            let mut words = credentials.split(' ');
            match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
                ("NTLM", "type1") => asked = true,
                ("NTLM", name) if asked => user = Some(name.to_owned()),
                ("Negotiate", name) => user = Some(name.to_owned()),
                _ => {}
            }
            let offer = if asked { "NTLM type2" } else { "NTLM, Negotiate" };
            peer.send(match &user {
                Some(user) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}", user.len())
                }
                None => format!(
                    "HTTP/1.1 401 No\r\nWWW-Authenticate: {offer}\r\nContent-Length: 0\r\n\r\n"
                ),
            });
        }
    })
}

/// The user that the origin takes the client for, if any.
fn ask(client: &mut Peer, target: &str, host: &str, credentials: &str) -> Option<String> {
    let fields = match credentials {
        "" => String::new(),
        credentials => format!("Authorization: {credentials}\r\n"),
    };
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    let answer: Message = client.response();
    (answer.status() == 200).then(|| answer.text().to_owned())
}

fn log_in_and_out(server: &TestServer, origin: &Origin, target: &str, host: &str) {
    let ask = |client: &mut Peer, credentials: &str| ask(client, target, host, credentials);
    let mut alice = server.connect();
    assert_eq!(ask(&mut alice, ""), None);
    assert_eq!(ask(&mut alice, "NTLM type1"), None);
    assert_eq!(ask(&mut alice, "NTLM alice").as_deref(), Some("alice"));
    let mut carol = server.connect();
    assert_eq!(ask(&mut carol, "Negotiate carol").as_deref(), Some("carol")); // in one round
    for _ in 0..3 {
        let mut bob = server.connect();
        assert_eq!(ask(&mut bob, ""), None);
    }
    // The connections stay with those who have logged in.
    let before = origin.connections();
    for _ in 0..3 {
        assert_eq!(ask(&mut alice, "").as_deref(), Some("alice"));
        assert_eq!(ask(&mut carol, "").as_deref(), Some("carol"));
    }
    assert_eq!(origin.connections(), before);
    alice.close();
    carol.close();
    server.wait_until_quiet();
    for _ in 0..3 {
        assert_eq!(ask(&mut server.connect(), ""), None);
    }
}

#[test]
fn a_connection_that_is_logged_in_is_one_clients() {
    let reverse = origin();
    log_in_and_out(&TestServer::reverse(reverse.address(), ""), &reverse, "/", "a");
    let forward = origin();
    let server = TestServer::forward("allow to=\"127.0.0.1\" port=\"1-65535\"");
    let host = forward.address().to_string();
    log_in_and_out(&server, &forward, &format!("http://{host}/"), &host);
}

/// A client stays with the endpoint that knows it.
#[test]
fn a_login_stays_with_its_endpoint() {
    let origins = [origin(), origin(), origin()];
    let [one, two, three] = origins.each_ref().map(Origin::address);
    let server = TestServer::start(&format!(
        "upstream up {{\n to \"{one}\" \"{two}\" \"{three}\"\n balance round-robin\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}"
    ));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "/", "a", ""), None);
    assert_eq!(ask(&mut client, "/", "a", "NTLM type1"), None);
    assert_eq!(ask(&mut client, "/", "a", "NTLM dave").as_deref(), Some("dave"));
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "/", "a", "").as_deref(), Some("dave"));
    }
}

/// The endpoint closes such a connection while it idles: the next request goes over another one.
#[test]
fn a_login_ends_with_its_connection() {
    let served = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let origin = {
        let (served, seen) = (Arc::clone(&served), Arc::clone(&seen));
        Origin::start(move |peer, _| {
            let request = peer.request();
            seen.lock().unwrap().push(request.has("Authorization"));
            served.fetch_add(1, Ordering::SeqCst);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        })
    };
    let server = TestServer::reverse(origin.address(), "");
    let mut client = server.connect();
    for turn in 1..=3 {
        assert_eq!(ask(&mut client, "/", "a", "Negotiate erin").as_deref(), Some("hi"));
        assert_eq!(served.load(Ordering::SeqCst), turn);
    }
    assert_eq!(*seen.lock().unwrap(), [true; 3]);
}
