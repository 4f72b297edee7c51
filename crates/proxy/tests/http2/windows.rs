//! What a server has to do by itself: acknowledge, answer, and keep to the client's windows and
//! sizes (RFC 9113, sections 6.5.3, 6.7, 6.9 and 4.2).

use testkit::h2raw::{self, Connection, Frame, data, headers, request, window_update};
use testkit::message_text::ok;
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::{flag, kind, setting};

/// What the answer to `/large` has.
const LARGE_BYTES: usize = 200_000;

struct Served {
    proxy: TestServer,
    _origin: Origin,
}

fn served() -> Served {
    let large = "x".repeat(LARGE_BYTES);
    let origin = Origin::serving(move |request| match request.target() {
        "/large" => ok(&large),
        _ => ok(&String::from_utf8_lossy(&request.body)),
    });
    let proxy = TestServer::reverse(origin.address(), "");
    Served { proxy, _origin: origin }
}

impl Served {
    /// A client with these settings that has been told that they count.
    #[track_caller]
    fn client(&self, settings: &[(u16, u32)]) -> Connection {
        let mut client = Connection::client(self.proxy.address(), settings);
        let is_ack = |frame: &Frame| frame.head.kind == kind::SETTINGS && frame.has(flag::ACK);
        client.until(is_ack).expect("an acknowledgement");
        client
    }
}

/// Content that comes until the server waits for room, on a stream.
#[track_caller]
fn content(client: &mut Connection, stream: u32) -> Vec<usize> {
    // By then it has either been sent, or it waits.
    let before = client.passed().len();
    for _ in 0..3 {
        client.round_trip().expect("a connection that goes on");
    }
    let all = client.passed().iter().skip(before);
    let data = all.filter(|f| f.head.kind == kind::DATA && f.head.stream == stream);
    data.map(|frame| frame.payload.len()).collect()
}

/// Waits for the head of an answer, and for some content if there must be any.
#[track_caller]
fn begun(client: &mut Connection, stream: u32) {
    let is_head = |frame: &Frame| frame.head.kind == kind::HEADERS && frame.head.stream == stream;
    let head = client.until(is_head).expect("the head of an answer");
    client.fields_of(&head);
}

/// Reads DATA of a stream until there are `count` bytes, and no more may have come.
#[track_caller]
fn exactly(client: &mut Connection, stream: u32, count: usize) {
    let mut came = 0;
    while came < count {
        let is_data = |frame: &Frame| frame.head.kind == kind::DATA && frame.head.stream == stream;
        came += client.until(is_data).expect("content").payload.len();
    }
    let more: usize = content(client, stream).iter().sum();
    assert_eq!(came + more, count, "the window was for so much");
}

#[test]
fn settings_are_acknowledged_each_time() {
    let served = served();
    let mut client = served.client(&[]);
    for _ in 0..5 {
        client.send(h2raw::settings(&[(setting::MAX_CONCURRENT_STREAMS, 7)]));
        let ack = client.expect_kind(kind::SETTINGS);
        assert!(ack.has(flag::ACK) && ack.payload.is_empty());
    }
}

#[test]
fn what_a_server_begins_with() {
    let served = served();
    let mut client = Connection::client(served.proxy.address(), &[]);
    let first = client.next_frame().expect("a frame");
    assert_eq!((first.head.kind, first.head.stream, first.head.flags), (kind::SETTINGS, 0, 0));
    let settings = first.settings();
    let value = |id| settings.iter().find(|(other, _)| *other == id).map(|(_, value)| *value);
    assert_eq!(value(setting::MAX_CONCURRENT_STREAMS), Some(100));
    assert_eq!(value(setting::ENABLE_CONNECT_PROTOCOL), Some(1));
    assert!(value(setting::MAX_HEADER_LIST_SIZE).is_some());
    assert!(matches!(value(setting::ENABLE_PUSH), None | Some(0)));
}

#[test]
fn ping_is_answered_with_its_payload() {
    let served = served();
    let mut client = served.client(&[]);
    for payload in [*b"01234567", [0; 8], [255; 8]] {
        client.send(h2raw::ping(0, payload));
        let answer = client.expect_kind(kind::PING);
        assert!(answer.has(flag::ACK));
        assert_eq!((answer.payload.as_slice(), answer.head.stream), (payload.as_slice(), 0));
    }
    // An answer is not answered.
    client.send([h2raw::ping(flag::ACK, *b"answered"), h2raw::ping(0, *b"question")].concat());
    assert_eq!(client.expect_kind(kind::PING).payload, b"question");
}

#[test]
fn a_streams_window_is_kept() {
    let served = served();
    let mut client = served.client(&[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    client.get(1, "/large");
    begun(&mut client, 1);
    exactly(&mut client, 1, 1000);
    client.send(window_update(1, 500));
    exactly(&mut client, 1, 500);
    // Section 6.9.2: more for all streams, then less than was used, which leaves a debt.
    client.send(h2raw::settings(&[(setting::INITIAL_WINDOW_SIZE, 3000)]));
    exactly(&mut client, 1, 2000);
    client.send(h2raw::settings(&[(setting::INITIAL_WINDOW_SIZE, 1000)]));
    client.send(window_update(1, 2000));
    exactly(&mut client, 1, 0);
    client.send(window_update(1, 300));
    exactly(&mut client, 1, 300);
}

#[test]
fn the_connections_window_is_kept() {
    let served = served();
    let mut client = served.client(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    client.get(1, "/large");
    begun(&mut client, 1);
    exactly(&mut client, 1, 65_535);
    // Another stream may begin and end without content.
    client.get(3, "/");
    begun(&mut client, 3);
    client.send(window_update(0, 10_000));
    exactly(&mut client, 1, 10_000);
}

#[test]
fn a_window_of_nothing() {
    let served = served();
    let mut client = served.client(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    client.get(1, "/large");
    begun(&mut client, 1);
    exactly(&mut client, 1, 0);
    client.send(h2raw::settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]));
    client.send(window_update(0, 1 << 20));
    exactly(&mut client, 1, LARGE_BYTES);
}

#[test]
fn frames_are_no_longer_than_the_client_takes() {
    let served = served();
    let wide = (setting::INITIAL_WINDOW_SIZE, 1 << 20);
    for (settings, most) in
        [(vec![wide], 16_384), (vec![wide, (setting::MAX_FRAME_SIZE, 20_000)], 20_000)]
    {
        let mut client = served.client(&settings);
        client.send(window_update(0, 1 << 20));
        client.get(1, "/large");
        let mut came = 0;
        while came < LARGE_BYTES {
            let frame = client.expect_kind(kind::DATA);
            assert!(frame.payload.len() <= most, "{}", frame.payload.len());
            came += frame.payload.len();
        }
    }
}

#[test]
fn room_is_given_for_what_was_taken() {
    let served = served();
    let mut client = served.client(&[]);
    client.send(headers(0, 1, &request("POST", "http", "a", "/")));
    // More than a stream and the connection can hold at once: we go on as room is given.
    let (mut stream_room, mut room) = (65_535_i64, 65_535_i64);
    let mut left = 3_000_000_i64;
    let mut is_known = false;
    while left > 0 {
        let now = stream_room.min(room).min(left).min(16_384);
        if now > 0 {
            let flags = if now == left { flag::END_STREAM } else { 0 };
            client.send(data(flags, 1, vec![b'x'; usize::try_from(now).expect("some bytes")]));
            (stream_room, room, left) = (stream_room - now, room - now, left - now);
            continue;
        }
        let frame = client.next_frame().expect("a frame");
        match (frame.head.kind, frame.head.stream) {
            (kind::WINDOW_UPDATE, 0) => room += i64::from(frame.word(0).expect("an increment")),
            (kind::WINDOW_UPDATE, 1) => {
                stream_room += i64::from(frame.word(0).expect("an increment"));
            }
            (kind::SETTINGS, _) if !frame.has(flag::ACK) && !is_known => {
                is_known = true;
                let of = |(id, value)| (id == setting::INITIAL_WINDOW_SIZE).then_some(value);
                let window = frame.settings().into_iter().find_map(of).unwrap_or(65_535);
                stream_room += i64::from(window) - 65_535;
                client.send(h2raw::frame(kind::SETTINGS, flag::ACK, 0, b""));
            }
            _ => {}
        }
    }
    let answer = client.message(1).expect("an answer");
    assert_eq!(answer.content.len(), 3_000_000);
}

#[test]
fn fields_longer_than_a_frame_are_continued() {
    let long = "v".repeat(20_000);
    let origin = Origin::serving(move |_| {
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\nhi")
    });
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.get(1, "/");
    let answer = client.message(1).expect("an answer");
    assert_eq!(answer.field("x-long").map(str::len), Some(20_000));
}

/// What begins like HTTP/2 and goes on otherwise (RFC 9113, section 3.4) is neither.
#[test]
fn prefaces_that_are_none() {
    let origin = Origin::serving(|_| ok("hi"));
    let proxy = TestServer::reverse(origin.address(), "");
    for begin in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\nx",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        "PRI / HTTP/2.0\r\nHost: a\r\n\r\n",
        "PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(begin);
        client.finish();
        let (said, _) = client.rest();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.starts_with("HTTP/1.1 2"), "{begin:?}: {said:?}");
    }
    assert_eq!(origin.connections(), 0);
}

/// A preface may come in any pieces.
#[test]
fn a_preface_byte_by_byte() {
    let served = served();
    let mut client = Connection::of(served.proxy.connect());
    let begin = [
        wire::http2::frame::PREFACE.as_slice(),
        &h2raw::settings(&[]),
        &headers(flag::END_STREAM, 1, &request("GET", "http", "a", "/")),
    ];
    for byte in begin.concat() {
        client.send([byte]);
    }
    assert_eq!(client.message(1).expect("an answer").status(), 200);
}
