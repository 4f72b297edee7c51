//! Streams that become tunnels: CONNECT (RFC 9113, section 8.5) and extended CONNECT (RFC 8441).

use testkit::h2raw::{self, Connection, data, headers};
use testkit::origin::Origin;
use testkit::server::TestServer;
use wire::http2::frame::{code, flag, kind};

const END: u8 = flag::END_STREAM;
/// Lets everything on this machine be reached, at any port.
const ALL: &str = "allow to=\"127.0.0.0/8,::1,localhost\" port=\"1-65535\"";

fn connect(origin: &Origin) -> Vec<u8> {
    let authority = origin.address().to_string();
    headers(0, 1, &[(":method", "CONNECT"), (":authority", &authority)])
}

fn websocket() -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    headers(0, 1, &fields)
}

/// Reads the head of the answer, which must say 200 and that the stream goes on.
#[track_caller]
fn opened(client: &mut Connection) {
    let head = client.expect_kind(kind::HEADERS);
    let fields = client.fields_of(&head);
    assert_eq!(h2raw::field(&fields, ":status"), Some("200"), "{fields:?}");
    assert!(!head.has(END));
    for name in ["content-length", "transfer-encoding", "connection", "upgrade"] {
        assert_eq!(h2raw::field(&fields, name), None);
    }
}

/// Reads this from the stream.
#[track_caller]
fn expect(client: &mut Connection, text: &str) {
    let mut came = Vec::new();
    while came.len() < text.len() {
        came.extend(client.expect_kind(kind::DATA).payload);
    }
    assert_eq!(String::from_utf8_lossy(&came), text);
}

/// Answers a WebSocket's handshake over HTTP/1.1.
fn switch(peer: &mut testkit::peer::Peer) {
    let request = peer.request();
    assert_eq!((request.method(), request.target()), ("GET", "/chat"));
    assert!(request.has("Sec-WebSocket-Key"), "{request:?}");
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    let key = request.field("Sec-WebSocket-Key").expect("a key").to_owned();
    peer.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(&key)
    ));
}

/// RFC 6455, section 1.3, for keys that need not be right: whoever checks them must be told.
fn accept(key: &str) -> String {
    proof::of(key)
}

mod proof {
    //! SHA-1 and base64, as RFC 6455 asks for them.

    pub(super) fn of(key: &str) -> String {
        base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
    }

    fn sha1(text: &[u8]) -> [u8; 20] {
        let mut padded = text.to_vec();
        padded.push(0x80);
        while padded.len() % 64 != 56 {
            padded.push(0);
        }
        padded.extend((text.len() as u64 * 8).to_be_bytes());
        let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        for block in padded.chunks(64) {
            let mut words: Vec<u32> = block
                .chunks(4)
                .map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")))
                .collect();
            for at in 16..80 {
                let word = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
                words.push(word.rotate_left(1));
            }
            let [mut a, mut b, mut c, mut d, mut e] = state;
            for (round, word) in words.into_iter().enumerate() {
                let (mixed, constant) = match round {
                    0..20 => (b & c | !b & d, 0x5a82_7999),
                    20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                    40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                    _ => (b ^ c ^ d, 0xca62_c1d6_u32),
                };
                let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
                let next = next.wrapping_add(constant).wrapping_add(word);
                (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
            }
            for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
                *sum = sum.wrapping_add(word);
            }
        }
        let mut digest = [0; 20];
        for (bytes, word) in digest.chunks_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |group: &[u8]| {
            let at = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            let letter = move |n: usize| {
                if n <= group.len() {
                    char::from(LETTERS[(bits >> (18 - 6 * n) & 63) as usize])
                } else {
                    '='
                }
            };
            (0..4).map(letter).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn example() {
        assert_eq!(of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

#[test]
fn connect_carries_bytes_both_ways_and_ends_by_halves() {
    let origin = Origin::start(|peer, _| {
        peer.expect("first");
        peer.send("hello");
        peer.expect_closed();
        peer.send("still here");
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send(connect(&origin));
    opened(&mut client);
    client.send(data(0, 1, "first"));
    expect(&mut client, "hello");
    client.send(data(END, 1, ""));
    expect(&mut client, "still here");
    assert!(client.expect_kind(kind::DATA).has(END));
    proxy.wait_for_connections(1);
}

/// What is sent right behind the request belongs to the tunnel.
#[test]
fn connect_with_bytes_ahead() {
    let origin = Origin::start(|peer, _| {
        peer.expect("ahead of the answer");
        peer.send("hello");
        peer.expect_closed();
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(0, 1, "ahead of "), data(0, 1, "the answer")].concat());
    opened(&mut client);
    expect(&mut client, "hello");
    client.send(data(END, 1, ""));
    // Closed before that has arrived, the connection would break the tunnel.
    assert!(client.expect_kind(kind::DATA).has(END));
}

/// The same, and nothing more will come.
#[test]
fn connect_with_all_ahead() {
    let origin = Origin::start(|peer, _| {
        peer.expect("all");
        peer.expect_closed();
        peer.send("got it");
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(END, 1, "all")].concat());
    opened(&mut client);
    expect(&mut client, "got it");
}

/// A client that has nothing to say from the beginning.
#[test]
fn connect_that_ends_at_once() {
    let origin = Origin::start(|peer, _| {
        peer.expect_closed();
        peer.send("hello");
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    let authority = origin.address().to_string();
    client.send(headers(END, 1, &[(":method", "CONNECT"), (":authority", &authority)]));
    opened(&mut client);
    expect(&mut client, "hello");
    client.round_trip().expect("a connection that goes on");
}

/// RFC 9113, section 8.5: on such a stream there is nothing but DATA.
#[test]
fn fields_in_a_tunnel_break_it() {
    let origin = Origin::start(|peer, _| {
        peer.expect("first");
        peer.send("hello");
        let (rest, _) = peer.rest();
        assert_eq!(rest, b"");
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(0, 1, "first")].concat());
    opened(&mut client);
    expect(&mut client, "hello");
    client.send(headers(END, 1, &[("x", "y")]));
    let end = client.until(|frame| matches!(frame.head.kind, kind::RST_STREAM | kind::GOAWAY));
    let end = end.expect("a stream error");
    assert_ne!(end.code(), Some(code::NO_ERROR), "{end:?}");
}

/// A broken connection is told by a reset.
#[test]
fn a_far_end_that_breaks_off() {
    let origin = Origin::start(|peer, _| {
        peer.expect("first");
        peer.reset();
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(0, 1, "first")].concat());
    opened(&mut client);
    let end = client.expect_kind(kind::RST_STREAM);
    assert_eq!(end.code(), Some(code::CONNECT_ERROR));
    // Only that stream.
    client.round_trip().expect("a connection that goes on");
}

/// RFC 8441, section 5: for a WebSocket the reset of a connection is CANCEL.
#[test]
fn a_websocket_whose_far_end_breaks_off() {
    let origin = Origin::start(|peer, _| {
        switch(peer);
        peer.expect("first");
        peer.reset();
    });
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([websocket(), data(0, 1, "first")].concat());
    opened(&mut client);
    let end = client.expect_kind(kind::RST_STREAM);
    assert_eq!(end.code(), Some(code::CANCEL));
    client.round_trip().expect("a connection that goes on");
}

/// A tunnel that is silent for too long is nobody's fault.
#[test]
fn a_tunnel_that_idles() {
    let origin = Origin::start(|peer, _| {
        peer.expect("first");
        peer.rest();
    });
    let proxy = TestServer::forward(&format!("{ALL}; timeouts {{ tunnel-idle \"200ms\" }}"));
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(0, 1, "first")].concat());
    opened(&mut client);
    let end = client.expect_kind(kind::RST_STREAM);
    assert_eq!(end.code(), Some(code::CANCEL));
}

/// A reset breaks the connection off.
#[test]
fn a_client_that_resets() {
    let (told, ended) = std::sync::mpsc::channel();
    let origin = Origin::start(move |peer, _| {
        peer.expect("first");
        peer.send("hello");
        told.send(peer.rest().1).expect("somebody to tell");
    });
    let proxy = TestServer::forward(ALL);
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([connect(&origin), data(0, 1, "first")].concat());
    opened(&mut client);
    expect(&mut client, "hello");
    client.send(h2raw::reset(1, code::CANCEL));
    let ended = ended.recv_timeout(testkit::peer::DEADLINE).expect("the end of the tunnel");
    assert_eq!(ended, testkit::peer::ConnectionEnd::Reset);
    client.round_trip().expect("a connection that goes on");
}

#[test]
fn a_websocket_becomes_an_upgrade() {
    let origin = Origin::start(|peer, _| {
        switch(peer);
        peer.send("first from the origin");
        peer.expect("first from the client");
        for _ in 0..10 {
            peer.expect("ping");
            peer.send("pong");
        }
        peer.expect_closed();
        peer.send("last words");
    });
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.send(websocket());
    opened(&mut client);
    expect(&mut client, "first from the origin");
    client.send(data(0, 1, "first from the client"));
    for _ in 0..10 {
        client.send(data(0, 1, "ping"));
        expect(&mut client, "pong");
    }
    client.send(data(END, 1, ""));
    expect(&mut client, "last words");
    assert!(client.expect_kind(kind::DATA).has(END));
    proxy.wait_for_metric("bothways_tunnels_total", "", 1.0);
}

/// What a client sends before the answer waits for it.
#[test]
fn a_websocket_with_bytes_ahead() {
    let origin = Origin::start(|peer, _| {
        switch(peer);
        peer.expect("ahead");
        peer.send("hello");
        peer.expect_closed();
    });
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.send([websocket(), data(0, 1, "ahead")].concat());
    opened(&mut client);
    expect(&mut client, "hello");
    client.send(data(END, 1, ""));
    // Else the end of the connection could overtake that of the stream.
    assert!(client.expect_kind(kind::DATA).has(END));
}

/// An origin that knows no WebSocket says so, and the connection goes on.
#[test]
fn a_websocket_that_is_refused() {
    let origin = Origin::serving(|_| testkit::message_text::response(403, "no"));
    let proxy = TestServer::reverse(origin.address(), "");
    let mut client = Connection::client(proxy.address(), &[]);
    client.send(websocket());
    let answer = client.message(1).expect("an answer");
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    client.get(3, "/");
    assert_eq!(client.message(3).expect("an answer").status(), 403);
}
