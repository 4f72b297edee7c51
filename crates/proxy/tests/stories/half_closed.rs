//! Clients that close their side before they have their answer (RFC 9112, section 9.6).

use std::time::Duration;

use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends and closes its side: in one flight, or soon after.
fn ask(server: &TestServer, request: &str, pause: Duration) -> Peer {
    let mut client = server.connect();
    client.send(request);
    std::thread::sleep(pause); // a client that thinks for so long
    client.finish();
    client
}

#[test]
fn a_request_in_one_flight_with_its_end_is_answered() {
    let origin = Origin::serving(|request| ok(request.target()));
    let server = TestServer::reverse(origin.address(), "route \"/own\" { respond \"own\"; }");
    for pause in [Duration::ZERO, Duration::from_millis(30)] {
        for _ in 0..5 {
            let mut client = ask(&server, GET, pause);
            assert_eq!(client.response().text(), "/");
            assert_eq!(client.ended(), ConnectionEnd::Closed);
            let mut client = ask(&server, &GET.replace(" / ", " /own "), pause);
            assert_eq!(client.response().text(), "own");
            assert_eq!(client.ended(), ConnectionEnd::Closed);
            let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
            assert_eq!(ask(&server, post, pause).response().text(), "/");
            let mut client = ask(&server, &GET.repeat(3), pause);
            for _ in 0..3 {
                assert_eq!(client.response().text(), "/");
            }
            assert_eq!(client.ended(), ConnectionEnd::Closed);
        }
    }
    // Half a request is none.
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi";
    assert!(ask(&server, upload, Duration::ZERO).try_response().is_err());
    server.wait_until_quiet();
}

/// An answer that is on its way goes on, however long it takes.
#[test]
fn a_long_answer_goes_on() {
    const PARTS: usize = 12;
    let origin = Origin::start(|peer, _| {
        let request = peer.request();
        let length = if request.target() == "/" { PARTS * 10 } else { 4 << 20 };
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        for _ in 0..PARTS {
            std::thread::sleep(Duration::from_millis(80)); // a slow endpoint
            peer.send(vec![b'x'; length / PARTS]);
        }
        let _ = peer.try_send(vec![b'x'; length % PARTS]);
    });
    let server = TestServer::reverse(origin.address(), "");
    for target in ["/", "/large"] {
        let request = GET.replace(" / ", &format!(" {target} "));
        for pause in [Duration::ZERO, Duration::from_millis(200)] {
            let answer = ask(&server, &request, pause).response();
            assert!(answer.body.len() >= PARTS * 10, "{target} {pause:?}");
        }
    }
}
