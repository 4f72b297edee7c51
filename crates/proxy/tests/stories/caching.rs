//! The cache: one request at the origin for many clients, and nobody gets what is not for them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use testkit::message_text::Message;
use testkit::origin::{Origin, refused_address};
use testkit::peer::Peer;
use testkit::server::TestServer;
use testkit::wait;

const FRESH: &str = "max-age=3600";

fn caching(origin: SocketAddr, cache: &str) -> String {
    format!("site \"*\" {{\n listen \"127.0.0.1:0\"\n cache {cache}\n to \"{origin}\"\n}}")
}

/// An origin that answers with the number of the request, and counts them.
fn counting(control: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::serving(move |request| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{} {number}", request.method());
        let length = body.len();
        let body = if request.method() == "HEAD" { String::new() } else { body };
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nETag: \"a\"\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    });
    (origin, count)
}

#[track_caller]
fn ask(client: &mut Peer, start: &str, fields: &str) -> Message {
    client.send(format!("{start} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response_to(start.split(' ').next().unwrap_or_default())
}

/// What our part of `Cache-Status` says.
fn told(answer: &Message) -> &str {
    answer.field("Cache-Status").unwrap_or("nothing")
}

/// An origin whose answers are written by the story, piece by piece, one connection after another.
struct Staged {
    origin: Origin,
    pieces: Sender<Option<String>>,
    asked: Mutex<Receiver<String>>,
}

impl Staged {
    /// Every request gets the pieces that are sent until a `None`.
    fn start() -> Self {
        let (pieces, to_send) = channel::<Option<String>>();
        let (tell, asked) = channel();
        let (to_send, tell) = (Mutex::new(to_send), Mutex::new(tell));
        let origin = Origin::start(move |peer, _| {
            while let Ok(request) = peer.try_request() {
                let _ = tell.lock().unwrap().send(request.target().to_owned());
                let to_send = to_send.lock().unwrap();
                while let Ok(Some(piece)) = to_send.recv() {
                    if peer.try_send(piece).is_err() {
                        return;
                    }
                }
            }
        });
        Self { origin, pieces, asked: Mutex::new(asked) }
    }

    fn send(&self, piece: impl Into<String>) {
        self.pieces.send(Some(piece.into())).unwrap();
    }

    fn end(&self) {
        self.pieces.send(None).unwrap();
    }

    fn wait_for_request(&self) -> String {
        self.asked.lock().unwrap().recv().unwrap()
    }
}

#[test]
fn a_stored_response_answers_without_the_origin() {
    let (origin, count) = counting(FRESH);
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    let first = ask(&mut client, "GET /a?b", "");
    assert_eq!((first.text(), told(&first)), ("GET 1", "bothways; fwd=uri-miss; stored"));
    assert_eq!(first.field("Age"), None, "it is new");
    let second = ask(&mut client, "GET /a?b", "Cookie: mine\r\n");
    assert_eq!(second.text(), "GET 1");
    assert!(told(&second).starts_with("bothways; hit; ttl=3"), "{second:?}");
    assert!(second.has("Age") && second.has("Date"), "{second:?}");
    let head = ask(&mut client, "HEAD /a?b", "");
    assert_eq!((head.field("Content-Length"), head.text()), (Some("5"), ""));
    let unmodified = ask(&mut client, "GET /a?b", "If-None-Match: \"a\"\r\n");
    assert_eq!((unmodified.status(), unmodified.has("Content-Type")), (304, false));
    let part = ask(&mut client, "GET /a?b", "Range: bytes=1-2\r\n");
    assert_eq!((part.status(), part.text()), (206, "ET"));
    assert_eq!(part.field("Content-Range"), Some("bytes 1-2/5"));
    let outside = ask(&mut client, "GET /a?b", "Range: bytes=9-\r\n");
    assert_eq!((outside.status(), outside.field("Content-Range")), (416, Some("bytes */5")));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let other = ask(&mut client, "GET /a?c", "");
    assert_eq!(other.text(), "GET 2");
    server.wait_for_metric("bothways_cache_requests_total", "hit", 5.0);
    server.wait_for_metric("bothways_cache_requests_total", "miss", 2.0);
}

#[test]
fn an_upgrade_has_nothing_to_do_with_it() {
    let (origin, count) = counting(FRESH);
    let server = TestServer::start(&caching(origin.address(), ""));
    ask(&mut server.connect(), "GET /", "");
    let mut client = server.connect();
    let upgraded = ask(
        &mut client,
        "GET /",
        "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    );
    assert_eq!(upgraded.status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn clients_who_ask_at_once_share_one_request() {
    let staged = Staged::start();
    let server = TestServer::start(&caching(staged.origin.address(), ""));
    let mut clients: Vec<Peer> = (0..20).map(|_| server.connect()).collect();
    clients[0].send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(staged.wait_for_request(), "/big");
    for client in &mut clients[1..] {
        client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait::until("all of them wait", || server.server().open_exchanges().exchanges == 20);
    staged.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 6\r\n\r\nabc");
    for client in &mut clients {
        // What has arrived is sent before the rest is there.
        assert_eq!(client.head().status(), 200);
        client.expect("abc");
    }
    staged.send("def");
    staged.end();
    for client in &mut clients {
        client.expect("def");
    }
    assert_eq!(staged.origin.connections(), 1);
    server.wait_for_metric("bothways_cache_requests_total", "collapsed", 19.0);
}

#[test]
fn a_slow_client_holds_up_nobody_who_reads_along() {
    const LENGTH: usize = 8 << 20;
    let staged = Staged::start();
    let server = TestServer::start(&caching(staged.origin.address(), ""));
    let mut slow = Peer::connect_narrow(server.address());
    slow.send("GET /film HTTP/1.1\r\nHost: a\r\n\r\n");
    staged.wait_for_request();
    staged.send(format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    let mut fast = server.connect();
    fast.send("GET /film HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(fast.head().status(), 200);
    (0..LENGTH / 65536).for_each(|_| staged.send("x".repeat(65536)));
    staged.end();
    // The slow one has read nothing yet.
    assert_eq!(fast.read_exact(LENGTH).len(), LENGTH);
    let third = ask(&mut server.connect(), "GET /film", "");
    assert!(told(&third).starts_with("bothways; hit"), "{:?}", third.fields);
    assert_eq!(slow.head().status(), 200);
    assert_eq!(slow.read_exact(LENGTH).len(), LENGTH);
}

#[test]
fn a_client_that_leaves_takes_nothing_from_the_others() {
    let staged = Staged::start();
    let server = TestServer::start(&caching(staged.origin.address(), ""));
    let mut first = server.connect();
    first.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    staged.wait_for_request();
    let mut second = server.connect();
    second.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("both wait", || server.server().open_exchanges().exchanges == 2);
    // Before the head has come, and after it.
    first.reset();
    staged.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 6\r\n\r\nabc");
    assert_eq!(second.head().status(), 200);
    second.expect("abc");
    second.reset();
    staged.send("def");
    staged.end();
    // It is fetched to its end, since little of it is left.
    let mut third = server.connect();
    let answer = ask(&mut third, "GET /a", "");
    assert_eq!(answer.text(), "abcdef");
    assert_eq!(staged.origin.connections(), 1);
}

#[test]
fn those_who_wait_for_what_cannot_be_stored_go_ahead_at_once() {
    let (go, wait_for_go) = channel::<()>();
    let wait_for_go = Mutex::new(wait_for_go);
    let origin = Origin::serving(move |request| {
        if request.field("X-First").is_some() {
            wait_for_go.lock().unwrap().recv().unwrap();
        }
        "HTTP/1.1 200 OK\r\nCache-Control: private, max-age=9\r\nContent-Length: 4\r\n\r\nmine"
            .to_owned()
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut first = server.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\nX-First: 1\r\n\r\n");
    origin.wait_for_connections(1);
    let mut others: Vec<Peer> = (0..5).map(|_| server.connect()).collect();
    for other in &mut others {
        other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait::until("all of them wait", || server.server().open_exchanges().exchanges == 6);
    assert_eq!(origin.connections(), 1);
    go.send(()).unwrap();
    for client in others.iter_mut().chain([&mut first]) {
        let answer = client.response();
        assert_eq!((answer.text(), told(&answer)), ("mine", "bothways; fwd=uri-miss"));
    }
    // The next one waits for nobody, although another is under way: less than `lock` says.
    let began = std::time::Instant::now();
    first.send("GET / HTTP/1.1\r\nHost: a\r\nX-First: 1\r\n\r\n");
    wait::until("it is under way", || server.server().open_exchanges().exchanges == 1);
    assert_eq!(ask(&mut others[0], "GET /", "").text(), "mine");
    assert!(began.elapsed() < std::time::Duration::from_secs(4));
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "mine");
}

#[test]
fn a_response_that_breaks_off_is_not_stored() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::start(move |peer, _| {
        peer.request();
        let whole = calls.fetch_add(1, Ordering::SeqCst) > 0;
        let body = if whole { "abcdef" } else { "abc" };
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 6\r\n\r\n{body}"
        ));
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.expect("abc");
    client.ended();
    let again = ask(&mut server.connect(), "GET /", "");
    assert_eq!((again.text(), told(&again)), ("abcdef", "bothways; fwd=uri-miss; stored"));
}

#[test]
fn a_stale_response_is_sent_while_a_new_one_is_fetched() {
    let (origin, count) = counting("max-age=0, stale-while-revalidate=60");
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /", "").text(), "GET 1");
    let stale = ask(&mut client, "GET /", "");
    assert_eq!((stale.text(), told(&stale)), ("GET 1", "bothways; hit; ttl=0"));
    wait::until("it is fetched again", || count.load(Ordering::SeqCst) == 2);
    wait::until("it is stored", || ask(&mut client, "GET /", "").text() != "GET 1");
    wait::until("all is quiet", || server.server().open_exchanges().exchanges == 0);
}

#[test]
fn a_stale_response_is_better_than_an_error() {
    let (origin, _) = counting("max-age=0, stale-if-error=60");
    let text = |to: SocketAddr| {
        format!(
            "upstream app {{ to \"{to}\"; }}\n\
             site \"*\" {{\n listen \"127.0.0.1:0\"\n cache\n to app\n}}"
        )
    };
    let server = TestServer::start(&text(origin.address()));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /", "").text(), "GET 1");
    // A reload keeps what is stored.
    server.reload(&text(refused_address())).expect("a good configuration");
    let stale = ask(&mut client, "GET /", "");
    assert_eq!((stale.status(), stale.text()), (200, "GET 1"));
    assert!(told(&stale).starts_with("bothways; fwd=stale; ttl=0"), "{stale:?}");
    let other = ask(&mut client, "GET /other", "");
    assert_eq!(other.status(), 502);
    server.wait_for_metric("bothways_cache_requests_total", "stale", 1.0);
}

/// The rest of an error that the client will not be sent is not waited for.
#[test]
fn a_stale_response_does_not_wait_for_the_end_of_an_error() {
    let staged = Staged::start();
    let server = TestServer::start(&caching(staged.origin.address(), ""));
    let mut client = server.connect();
    let control = "Cache-Control: max-age=0, stale-if-error=60";
    staged.send(format!("HTTP/1.1 200 OK\r\n{control}\r\nContent-Length: 4\r\n\r\ngood"));
    staged.end();
    assert_eq!(ask(&mut client, "GET /", "").text(), "good");
    staged.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nbusy");
    let stale = ask(&mut client, "GET /", "");
    assert_eq!((stale.status(), stale.text()), (200, "good"));
    staged.end();
    server.wait_for_metric("bothways_cache_requests_total", "stale", 1.0);
}

#[test]
fn a_response_is_validated_once_for_all_who_wait() {
    let (go, wait_for_go) = channel::<()>();
    let wait_for_go = Mutex::new(wait_for_go);
    let origin = Origin::serving(move |request| {
        match request.field("If-None-Match") {
        Some("\"a\"") => {
            wait_for_go.lock().unwrap().recv().unwrap();
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nX-New: 1\r\nCache-Control: no-cache\r\n\r\n"
                .to_owned()
        }
        _ => "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nCache-Control: no-cache\r\nContent-Length: 4\r\n\r\nbody"
            .to_owned(),
    }
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut clients: Vec<Peer> = (0..8).map(|_| server.connect()).collect();
    assert_eq!(ask(&mut clients[0], "GET /", "").text(), "body");
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    wait::until("all of them wait", || server.server().open_exchanges().exchanges == 8);
    go.send(()).unwrap();
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.text(), answer.field("X-New")), ("body", Some("1")), "{answer:?}");
    }
    assert_eq!(origin.connections(), 1);
    server.wait_for_metric("bothways_cache_requests_total", "revalidated", 1.0);
    server.wait_for_metric("bothways_cache_requests_total", "collapsed", 7.0);
}

#[test]
fn variants_of_a_response_are_kept_apart() {
    let origin = Origin::serving(|request| {
        let language = request.field("Accept-Language").unwrap_or("none");
        format!(
            "HTTP/1.1 200 OK\r\nVary: Accept-Language\r\nCache-Control: max-age=9\r\n\
             Content-Length: {}\r\n\r\n{language}",
            language.len()
        )
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    for (language, expected) in [
        ("de", "bothways; fwd=uri-miss; stored"),
        ("ko", "bothways; fwd=vary-miss; stored"),
        ("de", "bothways; hit; ttl=9"),
        ("ko", "bothways; hit; ttl=9"),
    ] {
        let answer = ask(&mut client, "GET /", &format!("Accept-Language: {language}\r\n"));
        assert_eq!((answer.text(), told(&answer)), (language, expected));
    }
}

#[test]
fn routes_and_spellings_are_kept_apart() {
    let origin = Origin::serving(|request| {
        let text = format!("{} {}", request.target(), request.field("X-Route").unwrap_or("-"));
        let length = text.len();
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: {length}\r\n\r\n{text}"
        )
    });
    let server = TestServer::start(&format!(
        "site \"*\" {{\n listen \"127.0.0.1:0\"\n cache {{ key {{ query drop=\"utm_*\"; }}; }}\n\
         route \"/*\" {{ when field=\"X-Beta\" is=\"1\"; request {{ set \"X-Route\" \"beta\"; }}; to \"{0}\"; }}\n\
         to \"{0}\"\n}}",
        origin.address()
    ));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /a", "").text(), "/a -");
    assert_eq!(ask(&mut client, "GET /a", "X-Beta: 1\r\n").text(), "/a beta");
    assert_eq!(ask(&mut client, "GET /a", "").text(), "/a -");
    // The same path by RFC 3986, but the endpoint may read it in another way.
    assert_eq!(ask(&mut client, "GET /%61", "").text(), "/%61 -");
    assert_eq!(ask(&mut client, "GET /a", "").text(), "/a -");
    // What the key leaves out, the endpoint does not see.
    let tagged = ask(&mut client, "GET /b?utm_source=x&c=d&utm_medium=y", "");
    assert_eq!(tagged.text(), "/b?c=d -");
    let other = ask(&mut client, "GET /b?c=d&utm_source=z", "");
    assert!(told(&other).starts_with("bothways; hit"), "{other:?}");
}

#[test]
fn an_unsafe_request_makes_what_is_stored_invalid() {
    let (origin, _) = counting(FRESH);
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 1");
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.response();
    assert_eq!((answer.text(), told(&answer)), ("POST 2", "bothways; fwd=method"));
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 3");
}

#[test]
fn a_head_tells_whether_what_is_stored_still_holds() {
    let (origin, count) = counting("max-age=0");
    let server = TestServer::start(&caching(origin.address(), "ttl=\"1h\" if-silent=#false"));
    let mut client = server.connect();
    // The floor of the configuration makes it fresh, until a client's own word asks for a new one.
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 1");
    let head = ask(&mut client, "HEAD /a", "");
    assert_eq!((head.status(), head.field("Content-Length")), (200, Some("5")));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let (origin, count) = counting("max-age=0, stale-while-revalidate=0");
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 1");
    // It is stale: the HEAD goes to the origin, which has the same one (and another length).
    let head = ask(&mut client, "HEAD /a", "");
    assert_eq!((head.field("Content-Length"), told(&head)), (Some("6"), "bothways; fwd=stale"));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn conditions_of_a_change_reach_the_origin() {
    let (origin, _) = counting(FRESH);
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nIf-Match: \"b\"\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status(), 200);
    let asked = origin.received();
    assert!(asked.contains("If-Match: \"b\""), "{asked}");
}

#[test]
fn a_route_without_a_cache_and_a_reload() {
    let (origin, _) = counting(FRESH);
    let text = |cache: &str| {
        format!(
            "site \"*\" {{\n listen \"127.0.0.1:0\"\n {cache}\n\
             route \"/cart\" {{ cache off; to \"{0}\"; }}\n to \"{0}\"\n}}",
            origin.address()
        )
    };
    let server = TestServer::start(&text("cache"));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /cart", "").text(), "GET 1");
    let again = ask(&mut client, "GET /cart", "");
    assert_eq!((again.text(), again.has("Cache-Status")), ("GET 2", false));
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 3");
    server.reload(&text("cache off")).expect("a good configuration");
    assert_eq!(ask(&mut client, "GET /a", "").text(), "GET 4");
    server.reload(&text("cache ttl=\"1s\"")).expect("a good configuration");
    let kept = ask(&mut client, "GET /a", "");
    assert!(told(&kept).starts_with("bothways; hit"), "{kept:?}");
    assert_eq!(kept.text(), "GET 3");
}

#[test]
fn parts_are_stored_and_completed() {
    let origin = Origin::serving(|request| {
        let (head, body) = match request.field("Range") {
            Some("bytes=0-3") => ("206 Partial Content\r\nContent-Range: bytes 0-3/10", "0123"),
            Some("bytes=4-") => ("206 Partial Content\r\nContent-Range: bytes 4-9/10", "456789"),
            Some(_) => ("206 Partial Content\r\nContent-Range: bytes 5-6/10", "56"),
            None => ("200 OK", "0123456789"),
        };
        format!(
            "HTTP/1.1 {head}\r\nCache-Control: max-age=9\r\nETag: \"a\"\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    let check = |client: &mut Peer, range: &str, status: u16, text: &str, status_text: &str| {
        let range =
            if range.is_empty() { String::new() } else { format!("Range: bytes={range}\r\n") };
        let answer = ask(client, "GET /film", &range);
        assert_eq!((answer.status(), answer.text(), told(&answer)), (status, text, status_text));
    };
    check(&mut client, "0-3", 206, "0123", "bothways; fwd=uri-miss; stored");
    check(&mut client, "1-2", 206, "12", "bothways; hit; ttl=9");
    check(&mut client, "", 200, "0123456789", "bothways; fwd=partial; stored");
    check(&mut client, "5-6", 206, "56", "bothways; hit; ttl=9");
    check(&mut client, "", 200, "0123456789", "bothways; hit; ttl=9");
    let asked = origin.received();
    assert_eq!(asked.matches("GET /film").count(), 2, "{asked}");
    assert!(asked.contains("Range: bytes=4-\r\nIf-Range: \"a\""), "{asked}");
}

#[test]
fn a_forward_proxy_obeys_its_client() {
    let (origin, count) = counting(FRESH);
    let server = TestServer::forward("cache\n allow to=\"127.0.0.1\" port=\"1-65535\"");
    let mut client = server.connect();
    let url = format!("http://{}/a", origin.address());
    let mut check = |fields: &str, text: &str, status: &str| {
        client.send(format!("GET {url} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", origin.address()));
        let answer = client.response();
        assert_eq!(answer.text(), text);
        assert!(told(&answer).starts_with(status), "{answer:?}");
    };
    check("", "GET 1", "bothways; fwd=uri-miss; stored");
    check("", "GET 1", "bothways; hit");
    check("Cache-Control: only-if-cached\r\n", "GET 1", "bothways; hit");
    check("Cache-Control: no-cache\r\n", "GET 2", "bothways; fwd=request; stored");
    check("", "GET 2", "bothways; hit");
    check("Cache-Control: no-store\r\n", "GET 3", "bothways; fwd=request");
    check("", "GET 2", "bothways; hit");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let missing = format!("http://{}/b", origin.address());
    client.send(format!(
        "GET {missing} HTTP/1.1\r\nHost: {}\r\nCache-Control: only-if-cached\r\n\r\n",
        origin.address()
    ));
    assert_eq!(client.response().status(), 504);
}

#[test]
fn a_post_reaches_the_endpoint_as_it_is() {
    let origin = Origin::serving(move |request| {
        let body =
            format!("{} {}", request.target(), request.field("If-Match").unwrap_or("nothing"));
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    });
    let server = TestServer::start(&caching(origin.address(), "{ key { query none; }; }"));
    let mut client = server.connect();
    let fields = "If-Match: \"v1\"\r\nContent-Length: 0\r\n";
    assert_eq!(ask(&mut client, "POST /a?action=delete", fields).text(), "/a?action=delete \"v1\"");
    assert_eq!(ask(&mut client, "GET /a?action=delete", "").text(), "/a nothing");
}

#[test]
fn a_part_that_is_not_what_it_says_is_not_stored() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::serving(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=9\r\nETag: \"a\"\r\nContent-Range: bytes 0-3/20\r\nContent-Length: 8\r\n\r\n01234567".to_owned()
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    for number in 1..3 {
        let part = ask(&mut client, "GET /a", "Range: bytes=0-3\r\n");
        assert_eq!(told(&part), "bothways; fwd=uri-miss", "{number}");
        assert_eq!(count.load(Ordering::SeqCst), number);
    }
    // One that is shorter is the start of what it says.
    let origin = Origin::answering(
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=9\r\n\
         Content-Range: bytes 4-9/10\r\nContent-Length: 5\r\n\r\n45678",
    );
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    for (range, text, status) in [
        ("4-9", "45678", "bothways; fwd=uri-miss; stored"),
        ("4-9", "45678", "bothways; hit; ttl=9"),
        ("6-7", "67", "bothways; hit; ttl=9"),
        ("6-9", "45678", "bothways; fwd=partial; stored"), // the origin's answer, whatever it was asked
    ] {
        let part = ask(&mut client, "GET /b", &format!("Range: bytes={range}\r\n"));
        assert_eq!((part.text(), told(&part)), (text, status), "{range}");
    }
}

#[test]
fn a_head_has_a_stale_response_fetched_for_all() {
    let (origin, count) = counting("max-age=0, stale-while-revalidate=60");
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /", "").text(), "GET 1");
    assert_eq!(told(&ask(&mut client, "HEAD /", "")), "bothways; hit; ttl=0");
    wait::until("it is fetched again", || count.load(Ordering::SeqCst) == 2);
    wait::until("all is quiet", || server.server().open_exchanges().exchanges == 0);
    let next = ask(&mut client, "GET /", "");
    assert_eq!((next.text(), told(&next)), ("GET 2", "bothways; hit; ttl=0"));
}

#[test]
fn who_asks_after_a_purge_does_not_get_what_was_asked_for_before() {
    let staged = Staged::start();
    let settings = "{ purge from=\"127.0.0.1\"; }";
    let server = TestServer::start(&caching(staged.origin.address(), settings));
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    staged.wait_for_request();
    assert_eq!(ask(&mut second, "PURGE /a", "").status(), 200);
    second.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("it is under way", || server.server().open_exchanges().exchanges == 2);
    let answer = |text: &str| {
        staged.send(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 3\r\n\r\n{text}"
        ));
        staged.end();
    };
    answer("old");
    assert_eq!(first.response().text(), "old");
    staged.wait_for_request();
    answer("new");
    let given = second.response();
    assert_eq!((given.text(), told(&given)), ("new", "bothways; fwd=uri-miss; stored"));
    assert_eq!(ask(&mut first, "GET /a", "").text(), "new");
}

#[test]
fn several_parts_of_what_is_arriving_are_the_whole() {
    let origin = Origin::serving(|_| {
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 10\r\n\r\n0123456789"
            .to_owned()
    });
    let server = TestServer::start(&caching(origin.address(), ""));
    let mut client = server.connect();
    let whole = ask(&mut client, "GET /", "Range: bytes=0-1,4-5\r\n");
    assert_eq!((whole.status(), whole.text()), (200, "0123456789"));
    let parts = ask(&mut client, "GET /", "Range: bytes=0-1,4-5\r\n");
    assert_eq!(parts.status(), 206);
    assert_eq!(parts.text().matches("Content-Range").count(), 2, "{parts:?}");
}

#[test]
fn a_new_response_that_is_too_long_does_not_stop_who_fetches_it() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::serving(move |_| {
        let length = if counted.fetch_add(1, Ordering::SeqCst) == 0 { 3 } else { 600_000 };
        let body = "x".repeat(length);
        let control = "max-age=0, stale-while-revalidate=60";
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    });
    let server = TestServer::start(&caching(origin.address(), "max-object=\"100KiB\""));
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET /", "").text(), "xxx");
    assert_eq!(told(&ask(&mut client, "GET /", "")), "bothways; hit; ttl=0");
    // The fetch has ended, and what it took does not count any more.
    server.wait_for_metric("bothways_cache_bytes", "", 0.0);
    assert_eq!(ask(&mut client, "GET /", "").text().len(), 600_000);
}

#[test]
fn who_has_the_answer_to_a_put_gets_what_is_new() {
    let (origin, count) = counting(FRESH);
    let server = TestServer::start(&caching(origin.address(), ""));
    let (mut client, mut other) = (server.connect(), server.connect());
    for _ in 0..100 {
        ask(&mut other, "GET /a", "");
        let before = count.load(Ordering::SeqCst);
        assert_eq!(ask(&mut client, "PUT /a", "Content-Length: 0\r\n").status(), 200);
        assert_eq!(ask(&mut other, "GET /a", "").text(), format!("GET {}", before + 2));
    }
}
