//! Frames, streams and flow control: RFC 9113, sections 3 to 6.
//!
//! What the `h2` crate (0.4.20) leaves out or answers wrongly, and `wire::http2::Guard` puts right:
//! - It takes any frame for the first one (3.4).
//! - It says PROTOCOL_ERROR where FRAME_SIZE_ERROR is due: SETTINGS, PING, GOAWAY, WINDOW_UPDATE,
//!   RST_STREAM and PRIORITY of a wrong length, HEADERS too short for what their flags promise
//!   (4.2, 6).
//! - It says PROTOCOL_ERROR where STREAM_CLOSED is due: DATA or HEADERS on a stream that the
//!   client has finished (5.1).
//! - It says PROTOCOL_ERROR for a SETTINGS_INITIAL_WINDOW_SIZE that is too large, where
//!   FLOW_CONTROL_ERROR is due (6.5.2).
//! - It resets a stream that depends on itself without decoding its field block, so that the
//!   decoder of the whole connection is out of step, and for a PRIORITY frame resets streams that
//!   are idle (RFC 7540, 5.3.1). The guard ends the connection.
//! - It lets SETTINGS_ENABLE_CONNECT_PROTOCOL be taken back (RFC 8441, 3).
//!
//! What it does that is allowed, but harsher than it could be: WINDOW_UPDATE by 0 on a stream ends
//! the connection (6.9). So does the sixth CONTINUATION of a block (6.10), and the 101st empty DATA
//! frame over the whole life of a connection.

use testkit::h2raw::{self, data, frame, headers, ping, request, reset, settings, window_update};
use wire::http2::frame::{PREFACE, code, flag, kind, setting};

use crate::case::Expect::{Answer, Connection, Nothing, Stream};
use crate::case::{bare, case, run};

/// A request without content.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(flag::END_STREAM, stream, &request("GET", "http", "a", "/"))
}

/// The head of a request with content.
pub(crate) fn post(stream: u32) -> Vec<u8> {
    headers(0, stream, &request("POST", "http", "a", "/"))
}

/// A field block of a request.
fn block() -> Vec<u8> {
    h2raw::hpack::literals(&request("GET", "http", "a", "/"))
}

/// Some bytes of zero.
fn zeros(count: usize) -> Vec<u8> {
    vec![0; count]
}

const ACK: u8 = flag::ACK;
const END: u8 = flag::END_STREAM;
const WHOLE: u8 = flag::END_HEADERS;

#[test]
fn beginnings() {
    let begin = || [PREFACE.as_slice(), &settings(&[])].concat();
    let wrong = Connection(code::PROTOCOL_ERROR);
    run(vec![
        bare("3.4", "preface, SETTINGS and a request at once", [begin(), get(1)], Answer(1, 200)),
        bare(
            "3.4",
            "a request before SETTINGS are acknowledged",
            [begin(), get(1), frame(kind::SETTINGS, ACK, 0, b"")],
            Answer(1, 200),
        ),
        bare("3.4", "no SETTINGS first", [PREFACE.to_vec(), get(1)], wrong),
        bare("3.4", "PING first", [PREFACE.to_vec(), ping(0, [0; 8])], wrong),
        bare("3.4", "ACK first", [PREFACE.to_vec(), frame(kind::SETTINGS, ACK, 0, b"")], wrong),
        bare(
            "3.4",
            "an unknown frame first",
            [PREFACE.to_vec(), frame(0x77, 0, 0, b"x"), settings(&[])],
            wrong,
        ),
    ]);
}

#[test]
fn frames() {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    let mut reserved_ping = ping(0, [7; 8]);
    reserved_ping[5] |= 0x80;
    let long = |kind, stream| frame(kind, 0, stream, zeros(16_385));
    let size = code::FRAME_SIZE_ERROR;
    run(vec![
        case("4.1", "unknown type", [frame(0x16, 0, 0, zeros(8)), get(1)], Answer(1, 200)),
        case("4.1", "unknown type on a stream", [post(1), frame(0x16, 0xff, 1, b"x")], Nothing),
        case("4.1", "unknown type on an idle stream", frame(0x16, 0xff, 9, b"x"), Nothing),
        case("4.1", "unknown flags of PING", ping(0xfe, [1; 8]), Nothing),
        case("4.1", "unknown flags of DATA", [post(1), data(0xf7 & !END, 1, b"x")], Nothing),
        case(
            "4.1",
            "unknown flags of HEADERS",
            frame(kind::HEADERS, 0xd2 | END | WHOLE, 1, block()),
            Answer(1, 200),
        ),
        case("4.1", "the reserved bit of HEADERS", reserved, Answer(1, 200)),
        case("4.1", "the reserved bit of PING", reserved_ping, Nothing),
        case("4.1", "the reserved bit of WINDOW_UPDATE", window_update(0, 0x8000_0001), Nothing),
        case("4.2", "DATA of 16,384 bytes", [post(1), data(END, 1, zeros(16_384))], Answer(1, 200)),
        case("4.2", "DATA of 16,385 bytes", [post(1), long(kind::DATA, 1)], Stream(1, size)),
        case("4.2", "HEADERS of 16,385 bytes", long(kind::HEADERS, 1), Connection(size)),
        case("4.2", "SETTINGS of 16,386 bytes", long(kind::SETTINGS, 0), Connection(size)),
        case("4.2", "an unknown type of 16,385 bytes", long(0x16, 0), Connection(size)),
        case(
            "4.2",
            "CONTINUATION of 16,385 bytes",
            [frame(kind::HEADERS, END, 1, b""), long(kind::CONTINUATION, 1)],
            Connection(size),
        ),
        case(
            "4.3",
            "PRIORITY within a field block",
            [
                frame(kind::HEADERS, END, 1, block()),
                frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 9]),
                frame(kind::CONTINUATION, WHOLE, 1, b""),
            ],
            Connection(code::PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "HEADERS of another stream within a field block",
            [frame(kind::HEADERS, END, 1, block()), get(3)],
            Connection(code::PROTOCOL_ERROR),
        ),
        case(
            "5.5",
            "an unknown type within a field block",
            [frame(kind::HEADERS, END, 1, block()), frame(0x16, 0, 0, b"x")],
            Connection(code::PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn states() {
    let wrong = Connection(code::PROTOCOL_ERROR);
    let closed = |stream| Stream(stream, code::STREAM_CLOSED);
    let priority = |stream| frame(kind::PRIORITY, 0, stream, [0, 0, 0, 0, 9]);
    let continuation = |stream| frame(kind::CONTINUATION, WHOLE, stream, b"");
    let upload = || [post(1), data(END, 1, b"x")].concat();
    let cancelled = || [post(1), reset(1, code::CANCEL)].concat();
    let many: Vec<Vec<u8>> = (0..101).map(|n| post(2 * n + 1)).collect();
    let mut refused = vec![case(
        "5.1.2",
        "one stream more than may be",
        many.concat(),
        Stream(201, code::REFUSED_STREAM),
    )];
    let mut cases = vec![
        case("5.1 idle", "DATA", data(0, 1, b"x"), wrong),
        case("5.1 idle", "RST_STREAM", reset(1, code::CANCEL), wrong),
        case("5.1 idle", "WINDOW_UPDATE", window_update(1, 100), wrong),
        case("5.1 idle", "CONTINUATION", continuation(1), wrong),
        case("5.1 idle", "PRIORITY", [priority(1), get(1)], Answer(1, 200)),
        case("5.1 open", "PRIORITY", [post(1), priority(1), data(END, 1, b"x")], Answer(1, 200)),
        case(
            "5.1 open",
            "WINDOW_UPDATE",
            [post(1), window_update(1, 9), data(END, 1, b"x")],
            Answer(1, 200),
        ),
        case("5.1 open", "RST_STREAM", [cancelled(), get(3)], Answer(3, 200)),
        case("5.1 half-closed", "DATA", [upload(), data(0, 1, b"x")], closed(1)),
        case("5.1 half-closed", "DATA after HEADERS", [get(1), data(END, 1, b"x")], closed(1)),
        case("5.1 half-closed", "HEADERS", [get(1), get(1)], closed(1)),
        case("5.1 half-closed", "trailers twice", [post(1), get(1), get(1)], closed(1)),
        case("5.1 half-closed", "CONTINUATION", [get(1), continuation(1)], wrong),
        case("5.1 half-closed", "WINDOW_UPDATE", [get(1), window_update(1, 9)], Answer(1, 200)),
        case("5.1 half-closed", "PRIORITY", [get(1), priority(1)], Answer(1, 200)),
        case(
            "5.1 half-closed",
            "RST_STREAM",
            [get(1), reset(1, code::CANCEL), get(3)],
            Answer(3, 200),
        ),
        case("5.1 closed", "DATA after RST_STREAM", [cancelled(), data(0, 1, b"x")], closed(1)),
        case("5.1 closed", "HEADERS after RST_STREAM", [cancelled(), get(1)], closed(1)),
        case("5.1 closed", "CONTINUATION after RST_STREAM", [cancelled(), continuation(1)], wrong),
        case("5.1 closed", "PRIORITY", [cancelled(), priority(1), get(3)], Answer(3, 200)),
        case(
            "5.1 closed",
            "WINDOW_UPDATE",
            [cancelled(), window_update(1, 9), get(3)],
            Answer(3, 200),
        ),
        case(
            "5.1 closed",
            "RST_STREAM",
            [cancelled(), reset(1, code::CANCEL), get(3)],
            Answer(3, 200),
        ),
        case("5.1.1", "an even number", get(2), wrong),
        case("5.1.1", "a smaller number", [get(5), get(3)], wrong),
        case("5.1.1", "numbers with gaps", [get(3), get(101)], Answer(101, 200)),
        case("5.1.1", "the last number", get(0x7fff_ffff), Answer(0x7fff_ffff, 200)),
        case("5.1.1", "PRIORITY of a greater one", [priority(99), get(1)], Answer(1, 200)),
        case(
            "7540, 5.3.1",
            "HEADERS that depend on themselves",
            frame(
                kind::HEADERS,
                END | WHOLE | flag::PRIORITY,
                1,
                [[0, 0, 0, 1, 9].as_slice(), &block()].concat(),
            ),
            Stream(1, code::PROTOCOL_ERROR),
        ),
        case(
            "7540, 5.3.1",
            "PRIORITY that depends on itself",
            frame(kind::PRIORITY, 0, 1, [0, 0, 0, 1, 9]),
            Stream(1, code::PROTOCOL_ERROR),
        ),
    ];
    cases.append(&mut refused);
    run(cases);
}

#[test]
fn content_and_heads() {
    let wrong = Connection(code::PROTOCOL_ERROR);
    let size = Connection(code::FRAME_SIZE_ERROR);
    let padded = |padding: u8, content: &[u8], zeros: usize| {
        frame(kind::DATA, flag::PADDED | END, 1, [&[padding], content, &vec![0; zeros]].concat())
    };
    let head = |flags, before: &[u8], after: usize| {
        frame(kind::HEADERS, flags | END | WHOLE, 1, [before, &block(), &vec![0; after]].concat())
    };
    run(vec![
        case("6.1", "DATA on no stream", data(0, 0, b"x"), wrong),
        case("6.1", "padding", [post(1), padded(3, b"abc", 3)], Answer(1, 200)),
        case("6.1", "nothing but padding", [post(1), padded(255, b"", 255)], Answer(1, 200)),
        case("6.1", "padding as long as the payload", [post(1), padded(3, b"ab", 0)], wrong),
        case("6.1", "padding longer than the payload", [post(1), padded(9, b"ab", 0)], wrong),
        case("6.1", "no padding length", [post(1), frame(kind::DATA, 8, 1, b"")], size),
        case("6.1", "an empty end", [post(1), data(END, 1, b"")], Answer(1, 200)),
        case("6.2", "HEADERS on no stream", frame(kind::HEADERS, 5, 0, block()), wrong),
        case("6.2", "padding", head(flag::PADDED, &[4], 4), Answer(1, 200)),
        case("6.2", "too much padding", head(flag::PADDED, &[250], 0), wrong),
        case("6.2", "priority", head(flag::PRIORITY, &[0, 0, 0, 0, 9], 0), Answer(1, 200)),
        case(
            "6.2",
            "priority, exclusive",
            head(flag::PRIORITY, &[128, 0, 0, 3, 9], 0),
            Answer(1, 200),
        ),
        case(
            "6.2",
            "both",
            head(flag::PRIORITY | flag::PADDED, &[2, 0, 0, 0, 0, 9], 2),
            Answer(1, 200),
        ),
        case("6.2", "too short for a priority", frame(kind::HEADERS, 0x25, 1, zeros(4)), size),
        case("6.2", "too short for a padding length", frame(kind::HEADERS, 0xd, 1, b""), size),
        case("6.3", "PRIORITY on no stream", frame(kind::PRIORITY, 0, 0, zeros(5)), wrong),
        case(
            "6.3",
            "PRIORITY of 4 bytes",
            frame(kind::PRIORITY, 0, 1, zeros(4)),
            Stream(1, code::FRAME_SIZE_ERROR),
        ),
        case(
            "6.3",
            "PRIORITY of 6 bytes",
            frame(kind::PRIORITY, 0, 1, zeros(6)),
            Stream(1, code::FRAME_SIZE_ERROR),
        ),
        case("6.4", "RST_STREAM on no stream", reset(0, code::CANCEL), wrong),
        case(
            "6.4",
            "RST_STREAM of 3 bytes",
            [post(1), frame(kind::RST_STREAM, 0, 1, zeros(3))],
            size,
        ),
        case(
            "6.4",
            "RST_STREAM of 5 bytes",
            [post(1), frame(kind::RST_STREAM, 0, 1, zeros(5))],
            size,
        ),
        case("6.4", "an unknown code", [post(1), reset(1, 0x7777), get(3)], Answer(3, 200)),
        case(
            "6.10",
            "several CONTINUATION",
            {
                let mut frames = vec![frame(kind::HEADERS, END, 1, b"")];
                frames.extend(block().chunks(20).map(|part| frame(kind::CONTINUATION, 0, 1, part)));
                frames.push(frame(kind::CONTINUATION, WHOLE, 1, b""));
                frames.concat()
            },
            Answer(1, 200),
        ),
        case(
            "6.10",
            "something else within",
            [frame(kind::HEADERS, END, 1, block()), data(0, 1, b"x")],
            wrong,
        ),
        case(
            "6.10",
            "PING within",
            [frame(kind::HEADERS, END, 1, block()), ping(0, [0; 8])],
            wrong,
        ),
        case(
            "6.10",
            "SETTINGS within",
            [frame(kind::HEADERS, END, 1, block()), settings(&[])],
            wrong,
        ),
        case(
            "6.10",
            "on no stream",
            [frame(kind::HEADERS, END, 1, block()), frame(kind::CONTINUATION, WHOLE, 0, b"")],
            wrong,
        ),
        case(
            "6.10",
            "on another stream",
            [frame(kind::HEADERS, END, 1, block()), frame(kind::CONTINUATION, WHOLE, 3, b"")],
            wrong,
        ),
        case(
            "6.10",
            "after the end of the block",
            [post(1), frame(kind::CONTINUATION, WHOLE, 1, block())],
            wrong,
        ),
        case(
            "6.10",
            "after a CONTINUATION that ends it",
            [
                frame(kind::HEADERS, 0, 1, block()),
                frame(kind::CONTINUATION, WHOLE, 1, b""),
                frame(kind::CONTINUATION, WHOLE, 1, b""),
            ],
            wrong,
        ),
        case(
            "6.10",
            "after DATA",
            [post(1), data(0, 1, b"x"), frame(kind::CONTINUATION, WHOLE, 1, block())],
            wrong,
        ),
    ]);
}

#[test]
fn connection_frames() {
    let wrong = Connection(code::PROTOCOL_ERROR);
    let size = Connection(code::FRAME_SIZE_ERROR);
    let flow = Connection(code::FLOW_CONTROL_ERROR);
    let one = |id, value| settings(&[(id, value)]);
    let any = |kind, stream, length| frame(kind, 0, stream, zeros(length));
    run(vec![
        case("6.5", "ACK with a payload", frame(kind::SETTINGS, ACK, 0, zeros(6)), size),
        case("6.5", "SETTINGS on a stream", any(kind::SETTINGS, 1, 0), wrong),
        case("6.5", "SETTINGS of 5 bytes", any(kind::SETTINGS, 0, 5), size),
        case("6.5", "SETTINGS of 13 bytes", any(kind::SETTINGS, 0, 13), size),
        case("6.5.2", "ENABLE_PUSH 1", one(setting::ENABLE_PUSH, 1), Nothing),
        case("6.5.2", "ENABLE_PUSH 2", one(setting::ENABLE_PUSH, 2), wrong),
        case("6.5.2", "INITIAL_WINDOW_SIZE 2^31", one(setting::INITIAL_WINDOW_SIZE, 1 << 31), flow),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE 2^31 - 1",
            one(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1),
            Nothing,
        ),
        case("6.5.2", "MAX_FRAME_SIZE 16,383", one(setting::MAX_FRAME_SIZE, 16_383), wrong),
        case("6.5.2", "MAX_FRAME_SIZE 2^24", one(setting::MAX_FRAME_SIZE, 1 << 24), wrong),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE 2^24 - 1",
            one(setting::MAX_FRAME_SIZE, (1 << 24) - 1),
            Nothing,
        ),
        case(
            "6.5.2",
            "HEADER_TABLE_SIZE 2^32 - 1",
            [one(setting::HEADER_TABLE_SIZE, u32::MAX), get(1)],
            Answer(1, 200),
        ),
        case(
            "6.5.2",
            "HEADER_TABLE_SIZE 0",
            [one(setting::HEADER_TABLE_SIZE, 0), get(1)],
            Answer(1, 200),
        ),
        case(
            "6.5.2",
            "MAX_CONCURRENT_STREAMS 0",
            [one(setting::MAX_CONCURRENT_STREAMS, 0), get(1)],
            Answer(1, 200),
        ),
        case("6.5.2", "an unknown setting", [one(0xff, u32::MAX), get(1)], Answer(1, 200)),
        case(
            "6.5.3",
            "the last value of one setting counts",
            [
                settings(&[(setting::INITIAL_WINDOW_SIZE, 0), (setting::INITIAL_WINDOW_SIZE, 100)]),
                get(1),
            ],
            Answer(1, 200),
        ),
        case(
            "8441, 3",
            "ENABLE_CONNECT_PROTOCOL 2",
            one(setting::ENABLE_CONNECT_PROTOCOL, 2),
            wrong,
        ),
        case(
            "8441, 3",
            "ENABLE_CONNECT_PROTOCOL taken back",
            [one(setting::ENABLE_CONNECT_PROTOCOL, 1), one(setting::ENABLE_CONNECT_PROTOCOL, 0)],
            wrong,
        ),
        case(
            "6.6, 8.4",
            "PUSH_PROMISE",
            [post(1), frame(kind::PUSH_PROMISE, WHOLE, 1, [zeros(3), vec![2], block()].concat())],
            wrong,
        ),
        case(
            "6.6, 8.4",
            "PUSH_PROMISE on no stream",
            frame(kind::PUSH_PROMISE, WHOLE, 0, [0, 0, 0, 2]),
            wrong,
        ),
        case("6.7", "an answer to no PING", ping(ACK, [9; 8]), Nothing),
        case("6.7", "PING on a stream", any(kind::PING, 1, 8), wrong),
        case("6.7", "PING of 6 bytes", any(kind::PING, 0, 6), size),
        case("6.7", "PING of 9 bytes", any(kind::PING, 0, 9), size),
        case("6.8", "GOAWAY on a stream", any(kind::GOAWAY, 1, 8), wrong),
        case("6.8", "GOAWAY of 7 bytes", any(kind::GOAWAY, 0, 7), size),
        case(
            "6.8",
            "GOAWAY lets streams finish",
            [post(1), any(kind::GOAWAY, 0, 8), data(END, 1, b"x")],
            Answer(1, 200),
        ),
        case("6.8", "GOAWAY that says more", [get(1), any(kind::GOAWAY, 0, 80)], Answer(1, 200)),
        case("6.9", "WINDOW_UPDATE by 0", window_update(0, 0), wrong),
        case(
            "6.9",
            "WINDOW_UPDATE by 0 on a stream",
            [post(1), window_update(1, 0)],
            Stream(1, code::PROTOCOL_ERROR),
        ),
        case("6.9", "WINDOW_UPDATE of 3 bytes", any(kind::WINDOW_UPDATE, 0, 3), size),
        case("6.9", "WINDOW_UPDATE of 5 bytes", [post(1), any(kind::WINDOW_UPDATE, 1, 5)], size),
        case("6.9.1", "a window beyond 2^31 - 1", window_update(0, (1 << 31) - 1), flow),
        case(
            "6.9.1",
            "a window of a stream beyond 2^31 - 1",
            [post(1), window_update(1, (1 << 31) - 1)],
            Stream(1, code::FLOW_CONTROL_ERROR),
        ),
        case(
            "6.9.2",
            "SETTINGS that make a window too large",
            [post(1), window_update(1, 1000), one(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)],
            flow,
        ),
    ]);
}
