//! Frames and field blocks that do not come whole: held to `head`, whatever else the connection does.
//! Content takes its time.

use std::time::Duration;

use testkit::h2raw::{Connection, data, frame, headers, hpack, request};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::{code, flag, kind};

const END: u8 = flag::END_STREAM;

fn proxy(origin: &Origin) -> TestServer {
    TestServer::start(&format!(
        "timeouts {{ head \"300ms\" }}
         site \"*\" {{ listen \"127.0.0.1:0\"; to \"{}\" }}",
        origin.address()
    ))
}

/// What of an upload's content and other frames is sent, with another stream open all the while.
#[test]
fn what_does_not_come_whole_is_cut() {
    let origin = Origin::serving(|request| ok(request.text()));
    let proxy = proxy(&origin);
    let block = hpack::literals(&request("GET", "http", "a", "/"));
    let whole = frame(kind::HEADERS, END | flag::END_HEADERS, 3, &block);
    let part = |bytes: &[u8], count: usize| bytes.get(..count).expect("so many bytes").to_vec();
    let open = frame(kind::HEADERS, END, 3, part(&block, 9));
    let more = [open.clone(), frame(kind::CONTINUATION, 0, 3, part(&block, 1))].concat();
    let ping = frame(kind::PING, 0, 0, [0; 8]);
    let unknown = frame(0x77, 0, 0, [0; 100]);
    for (what, bytes) in [
        ("a part of a head", part(&whole, 4)),
        ("HEADERS", part(&whole, 20)),
        ("a block", open),
        ("a block in two frames", more),
        ("PING", part(&ping, 12)),
        ("an unknown frame", part(&unknown, 60)),
        ("a part of a head of DATA", part(&data(END, 1, "x"), 8)),
    ] {
        let mut client = Connection::client(proxy.address(), &[]);
        client.send(headers(0, 1, &request("POST", "http", "a", "/")));
        // It comes byte by byte, and never to its end.
        let (last, first) = bytes.split_last().expect("some bytes");
        client.send(first);
        std::thread::sleep(Duration::from_millis(100));
        client.send([*last]);
        let (told, _) = client.goodbye();
        assert_eq!(told.map(|(code, _)| code), Some(code::ENHANCE_YOUR_CALM), "{what}");
    }
    proxy.wait_for_metric("bothways_http2_violations_total", "kind=\"unfinished\"", 7.0);
}

#[test]
fn content_takes_its_time() {
    let origin = Origin::serving(|request| ok(request.text()));
    let proxy = proxy(&origin);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send(headers(0, 1, &request("POST", "http", "a", "/")));
    for bytes in [data(0, 1, "content"), data(END, 1, "s")] {
        let (first, rest) = bytes.split_at(9);
        client.send(first);
        std::thread::sleep(Duration::from_millis(500));
        client.send(rest);
    }
    assert_eq!(client.message(1).expect("an answer").text(), "contents");
    // Frames that are whole may lie between others that take long.
    for number in 1..5 {
        client.get(2 * number + 1, "/");
        assert_eq!(client.message(2 * number + 1).expect("an answer").status(), 200);
        std::thread::sleep(Duration::from_millis(150));
    }
}
