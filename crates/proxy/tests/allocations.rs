//! Requests over kept connections cost no memory from the heap, once the first have been served, and connections that
//! wait cost little.
//!
//! A test binary of its own, as the allocator that counts is for the whole process. What the peers
//! of the story do is not counted: only the thread of the proxy's one core is watched.

use std::time::Instant;

use testkit::counting::{CountingAllocator, counted, held, trap};
use testkit::origin::Origin;
use testkit::peer::Peer;
use testkit::secure::{Authority, SecureClient};
use testkit::server::TestServer;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const WARM_UP: usize = 200;
const REQUESTS: usize = 2000;

fn exchange(client: &mut Peer, request: &str, answer_bytes: usize) {
    client.send(request);
    client.read_exact(answer_bytes);
}

/// Counts what the core allocates for so many equal requests, one after another.
#[track_caller]
fn check(
    what: &str,
    configuration: impl Fn(&str) -> String,
    answer: &'static str,
    target: &str,
    fields: &str,
) {
    let origin = Origin::answering(answer);
    let server = TestServer::start(&configuration(&origin.address().to_string()));
    let client = server.connect();
    check_over(what, client, &origin, target, fields);
}

/// The same over TLS.
#[track_caller]
fn check_secure(client: &SecureClient, what: &str, tls: &str, answer: &'static str, fields: &str) {
    let origin = Origin::answering(answer);
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=off; }}
         site \"a\" {{ listen \"127.0.0.1:0\"; tls {tls}; to \"{}\"; }}",
        origin.address(),
    ));
    let client = client.connect(server.address(), "a").into_peer();
    check_over(what, client, &origin, "GET /", fields);
}

#[track_caller]
fn check_over(what: &str, mut client: Peer, origin: &Origin, target: &str, fields: &str) {
    let target = target.replace("ORIGIN", &origin.address().to_string());
    let host = if target.contains("http:") { origin.address().to_string() } else { "a".to_owned() };
    let request = format!("{target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    // The first answer tells how long the others are.
    client.send(&request);
    let first = client.response();
    assert_eq!(first.status(), 200, "{first:?}");
    client.send(&request);
    let head = client.head();
    let chunks = first.chunks.iter().map(|size| format!("{size:x}\r\n\r\n").len() + size);
    let length = head.length().unwrap_or_else(|| chunks.sum::<usize>() + "0\r\n\r\n".len());
    client.read_exact(length);
    let fields: usize = head.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let answer_bytes = head.start.len() + 2 + fields + 2 + length;
    (0..WARM_UP).for_each(|_| exchange(&mut client, &request, answer_bytes));
    let (before, begun) = (counted(), Instant::now());
    if std::env::var_os("TRAP").is_some() {
        trap();
    }
    (0..REQUESTS).for_each(|_| exchange(&mut client, &request, answer_bytes));
    let after = counted();
    let (allocated, freed) = (after.0 - before.0, after.1 - before.1);
    // What metrics and log keep grows by steps. And the core sweeps each second and ticks ten times,
    // the more often for as many requests the busier the machine is.
    println!("{what}: {allocated} allocations, {freed} frees for {REQUESTS} requests");
    let allowed = REQUESTS as u64 / 100 + 16 * begun.elapsed().as_secs();
    assert!(allocated < allowed, "{what}: {allocated} allocations, {freed} frees for {REQUESTS}");
    assert!(before.0 > 0, "the core's thread is watched");
}

/// What a connection takes that waits for its next request.
#[track_caller]
fn check_idle(
    what: &str,
    tls: Option<&str>,
    bytes_max: i64,
    connect: impl Fn(&TestServer) -> Peer,
) {
    const CONNECTIONS: i64 = 100;
    let server = TestServer::start(&format!(
        "process {{ cores 1; log access=off; }}
         site \"a\" {{ listen \"127.0.0.1:0\"; tls {}; respond \"hello\"; }}",
        tls.unwrap_or("off"),
    ));
    let connect = || {
        let mut client = connect(&server);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        client
    };
    let _first = connect(); // pools and tables have their size
    let before = held();
    let clients: Vec<Peer> = (0..CONNECTIONS).map(|_| connect()).collect();
    // Whatever the core does after an answer is done once it has answered somebody else.
    let each = (held() - before) / CONNECTIONS;
    println!("{what}: {each} bytes for each of {} connections", clients.len());
    assert!((1..=bytes_max).contains(&each), "{what}: {each} bytes for an idle connection");
}

const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\nReferer: http://shop.example/\r\n\
    Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n";

const SMALL: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

/// One test, so that nobody else is counted.
#[test]
fn steady_state_allocates_nothing() {
    let reverse = |more: &'static str| {
        move |origin: &str| {
            format!(
                "process {{ cores 1; log access=off; }}
                 site \"*\" {{ listen \"127.0.0.1:0\"; {more}; to \"{origin}\"; }}"
            )
        }
    };
    check("a plain request", reverse("host preserve"), SMALL, "GET /", "");
    check("a browser's request", reverse("host preserve"), SMALL, "GET /a/b?c=d", BROWSER);
    check(
        "edits of request fields",
        reverse("request { set \"X-Client\" \"{client}\"; remove \"Cookie\"; }"),
        SMALL,
        "GET /",
        BROWSER,
    );
    check(
        "edits of response fields",
        reverse("response { set \"X-A\" \"b\"; }"),
        SMALL,
        "GET /",
        BROWSER,
    );
    let named = |origin: &str| {
        format!(
            "process {{ cores 1; log access=\"/dev/null\"; }}
             map agent \"{{field:User-Agent}}\" {{ ~ \"Firefox\" \"fox {{query:c}}\"; }}
             site \"*\" {{
                 listen \"127.0.0.1:0\"
                 request-id on
                 request {{ set \"X-Seen\" \"{{cookie:session}} {{field:Accept}} {{uri}} {{agent}}\"; }}
                 to \"{origin}\"
             }}"
        )
    };
    check("an id, a map, and what a request names", named, SMALL, "GET /a?c=d", BROWSER);
    let body = "Content-Length: 0\r\n";
    check("a POST without a body", reverse("host preserve"), SMALL, "POST /", body);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    check("an answer in chunks", reverse("host preserve"), chunked, "GET /", "");
    check(
        "routes with captures, and a rewritten path",
        reverse(
            "route \"/{a}/*\" { rewrite \"/{rest}/{a}\"; to \"127.0.0.1:1\"; }; strip-prefix \"/x\"",
        ),
        SMALL,
        "GET /",
        "",
    );
    let balanced = |balance: &'static str| {
        move |origin: &str| {
            format!(
                "process {{ cores 1; log access=off; }}
                 upstream up {{
                     to \"{origin}\" max=100
                     {balance}
                     eject consecutive=5
                     retry tries=4 {{ on connect refused reset timeout 502 503; }}
                     hedge p95
                     breaker in-flight=1000 connecting=64
                     deadline field=\"Request-Timeout\"
                 }}
                 site \"*\" {{ listen \"127.0.0.1:0\"; timeouts {{ request \"1min\"; }}; to up; }}"
            )
        }
    };
    check("two choices, and all else on", balanced("balance p2c"), SMALL, "GET /", BROWSER);
    let ring = "balance ring { by cookie=\"session\"; }";
    check("a key, and all else on", balanced(ring), SMALL, "GET /", BROWSER);
    let logged = |origin: &str| {
        format!(
            "process {{ cores 1; log access=\"/dev/null\"; }}
             site \"*\" {{ listen \"127.0.0.1:0\"; to \"{origin}\"; }}"
        )
    };
    check("a line in the access log", logged, SMALL, "GET /", BROWSER);
    let forward = |_: &str| {
        "process { cores 1; log access=off; }
         forward \"127.0.0.1:0\" { allow to=\"127.0.0.1\" port=\"1-65535\"; }"
            .to_owned()
    };
    check("a forward request", forward, SMALL, "GET http://ORIGIN/a", BROWSER);
    let stored = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=9999\r\n\
        Vary: Accept-Encoding\r\nETag: \"abc\"\r\nContent-Length: 5\r\n\r\nhello";
    check("a stored response", reverse("cache"), stored, "GET /a?b=c", BROWSER);
    let local = |_: &str| {
        "process { cores 1; log access=off; }
         site \"*\" { listen \"127.0.0.1:0\"; respond \"hello\"; }"
            .to_owned()
    };
    check("an answer of ours", local, SMALL, "GET /", BROWSER);
    let authority = Authority::new();
    let tls = authority.issue("a", &["a"]).kdl();
    let client = SecureClient::of(&authority);
    check_secure(&client, "TLS 1.3", &tls, SMALL, BROWSER);
    check_secure(&client, "an answer in chunks over TLS", &tls, chunked, "");
    let hsts = format!("{tls} {{ hsts max-age=\"1d\"; }}");
    check_secure(&client, "Strict-Transport-Security", &hsts, SMALL, BROWSER);
    let client = SecureClient::of_tls12(&authority);
    check_secure(&client, "TLS 1.2", &tls, SMALL, BROWSER);
    check_idle("idle", None, 1536, TestServer::connect);
    for (what, client) in [
        ("idle over TLS 1.3", SecureClient::of(&authority)),
        ("idle over TLS 1.2", SecureClient::of_tls12(&authority)),
    ] {
        check_idle(what, Some(&tls), 4 * 1024, |server| {
            client.connect(server.address(), "a").into_peer()
        });
    }
}
