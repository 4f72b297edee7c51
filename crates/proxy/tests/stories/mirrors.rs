//! Copies of requests for another upstream, which the original never waits for.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use testkit::message_text::ok;
use testkit::origin::{Origin, Unreachable};
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;

type Got = Arc<Mutex<Vec<String>>>;

/// An origin that keeps `METHOD target body X-Forwarded-For X-Tag` of each request.
fn keeping(answer: &'static str) -> (Origin, Got) {
    let got = Got::default();
    let keep = Arc::clone(&got);
    let origin = Origin::serving(move |request| {
        let field = |name| request.field(name).unwrap_or("-").to_owned();
        let line = format!(
            "{} {} {} {} {}",
            request.method(),
            request.target(),
            request.text(),
            field("X-Forwarded-For"),
            field("X-Tag")
        );
        keep.lock().unwrap().push(line);
        ok(answer)
    });
    (origin, got)
}

fn mirrored(origin: &Origin, shadow: std::net::SocketAddr, mirror: &str) -> TestServer {
    TestServer::start(&format!(
        "upstream app {{ to \"{}\"; }}\nupstream shadow {{ to \"{shadow}\"; }}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n request {{ set \"X-Tag\" \"edited\"; }}\n \
         mirror shadow {mirror}\n to app\n}}",
        origin.address()
    ))
}

fn wait_for(got: &Got, count: usize) -> Vec<String> {
    wait::until("the copies", || got.lock().unwrap().len() >= count);
    got.lock().unwrap().clone()
}

#[track_caller]
fn ask(client: &mut Peer, request: &str) {
    client.send(request);
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "original"), "{request:?}");
}

#[test]
fn a_copy_is_what_the_original_is() {
    let (origin, originals) = keeping("original");
    let (shadow, copies) = keeping("of no interest");
    let server = mirrored(&origin, shadow.address(), "");
    let mut client = server.connect();
    for request in [
        "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ] {
        ask(&mut client, request);
    }
    let copies = wait_for(&copies, 3);
    assert_eq!(copies.len(), 3);
    let originals = originals.lock().unwrap().clone();
    for original in &originals {
        assert!(copies.contains(original), "{original} is not in {copies:?}");
    }
    assert!(originals[1].contains(" hello 127.0.0.1 edited"), "{originals:?}");
    wait::until("they are counted", || {
        server.metric("bothways_mirrored_requests_total", "answered") == 3.0
    });
}

#[test]
fn a_body_that_comes_slowly_is_copied_once_it_is_there() {
    let (origin, _) = keeping("original");
    let (shadow, copies) = keeping("");
    let server = mirrored(&origin, shadow.address(), "");
    let mut client = server.connect();
    client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    origin.wait_for_connections(1);
    assert_eq!(shadow.connections(), 0, "nothing is copied yet");
    ask(&mut client, "def");
    assert!(wait_for(&copies, 1)[0].starts_with("POST /p abcdef "));
}

/// The rest of a body that comes while its request waits leaves with the head, and with the copy.
#[test]
fn a_body_that_comes_while_its_request_waits_is_copied_whole() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::serving(move |request| {
        if request.target() == "/first" {
            wait.lock().unwrap().recv().unwrap();
        }
        ok("original")
    });
    let (shadow, copies) = keeping("");
    let server = TestServer::start(&format!(
        "upstream app {{ to \"{}\" max=1; }}\nupstream shadow {{ to \"{}\"; }}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n route \"/here\" {{ respond \"here\"; }}\n \
         route \"/p\" {{ mirror shadow; to app; }}\n to app\n}}",
        origin.address(),
        shadow.address(),
    ));
    let mut first = server.connect();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_connections(1);
    let mut client = server.connect();
    client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    wait::until("it waits", || server.server().open_exchanges().exchanges == 2);
    client.send("def");
    // Whoever is answered after that came after it.
    let mut other = server.connect();
    other.send("GET /here HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.response().text(), "here");
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "original");
    let copies = wait_for(&copies, 1);
    assert!(copies[0].starts_with("POST /p abcdef "), "{copies:?}");
}

#[test]
fn a_long_body_is_not_copied() {
    let (origin, originals) = keeping("original");
    let (shadow, copies) = keeping("");
    let server = mirrored(&origin, shadow.address(), "body=\"4B\"");
    let mut client = server.connect();
    ask(&mut client, "POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    ask(&mut client, &format!("POST /long HTTP/1.1\r\nHost: a\r\n{chunked}"));
    ask(&mut client, "POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhell");
    let copies = wait_for(&copies, 1);
    assert!(copies.iter().all(|copy| copy.starts_with("POST /short hell ")), "{copies:?}");
    assert_eq!(originals.lock().unwrap().len(), 3);
}

#[test]
fn shares_are_kept() {
    let (origin, _) = keeping("original");
    let (shadow, copies) = keeping("");
    let server = mirrored(&origin, shadow.address(), "share=\"10%\"");
    let mut client = server.connect();
    for _ in 0..1_000 {
        ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let of = |result| server.metric("bothways_mirrored_requests_total", result);
    wait::until("all are over", || copies.lock().unwrap().len() as f64 == of("answered"));
    let count = copies.lock().unwrap().len();
    // Five times the standard deviation (9.5) about 100.
    assert!((52..=148).contains(&count), "{count} of 1000");
}

#[test]
fn a_shadow_that_is_down_or_never_answers_is_nobodys_trouble() {
    let (origin, _) = keeping("original");
    let dead = Unreachable::at("127.0.0.1:0");
    let server = mirrored(&origin, dead.address(), "");
    let mut client = server.connect();
    for _ in 0..10 {
        ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    // One that takes requests and says nothing until the story is over.
    let (over, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let silent = Origin::start(move |peer, number| {
        let _ = peer.try_request();
        if number == 0 {
            let _ = ends.lock().unwrap().recv();
        } else {
            let _ = peer.rest();
        }
    });
    let server = mirrored(&origin, silent.address(), "in-flight=3");
    let mut client = server.connect();
    for _ in 0..10 {
        ask(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    server.wait_for_metric("bothways_mirrored_requests_total", "dropped", 7.0);
    drop(over);
}
