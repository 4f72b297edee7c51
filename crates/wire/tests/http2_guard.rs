//! What the guard refuses, by the sections of RFC 9113, and what it lets through.

use testkit::fuzzing;
use wire::http2::frame::{FrameHeader, PREFACE, code, flag, kind, setting};
use wire::http2::{Guard, GuardLimits, Violation, ViolationKind};

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&FrameHeader { length, kind, flags, stream }.print(), payload].concat()
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let bytes = settings.iter().flat_map(|(id, value)| {
        [id.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat()
    });
    frame(kind::SETTINGS, 0, 0, &bytes.collect::<Vec<_>>())
}

/// A request without content; the block is `:method: GET`.
fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, b"\x82")
}

/// The head of a request with content.
fn post(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, b"\x83")
}

fn data(flags: u8, stream: u32, length: usize) -> Vec<u8> {
    frame(kind::DATA, flags, stream, &vec![b'x'; length])
}

fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &reason.to_be_bytes())
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// Shows bytes, of which it does not matter here what goes on.
fn inspect(guard: &mut Guard, bytes: &[u8], now_ms: u64) -> Result<(), Violation> {
    fuzzing::pass(guard, bytes, now_ms).map(drop)
}

fn server() -> Guard {
    Guard::server(&GuardLimits::default())
}

/// What a guard says to a client's preface, empty SETTINGS, and these frames.
fn from_client(frames: &[Vec<u8>]) -> Result<(), Violation> {
    inspect(&mut server(), &[PREFACE.as_slice(), &settings(&[]), &frames.concat()].concat(), 0)
}

/// Refused because of a broken rule, with this error code.
#[track_caller]
fn broken(section: &str, reason: u32, frames: &[Vec<u8>]) {
    let found = from_client(frames);
    let expected = |v: &Violation| v.reason == reason && matches!(v.kind, ViolationKind::Frame(_));
    assert!(found.is_err_and(|v| expected(&v)), "section {section}: {found:?}");
}

/// Left to `h2`, or in order.
#[track_caller]
fn passed(section: &str, frames: &[Vec<u8>]) {
    assert_eq!(from_client(frames), Ok(()), "section {section}");
}

#[test]
fn beginnings() {
    let check = |bytes: &[u8], is_right: bool| {
        assert_eq!(inspect(&mut server(), bytes, 0).is_ok(), is_right, "{bytes:?}");
    };
    check(b"", true);
    check(b"PRI", true);
    check(PREFACE, true);
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", false);
    check(b"GET / HTTP/1.1\r\n", false);
    check(&[PREFACE.as_slice(), &settings(&[])].concat(), true);
    check(&[PREFACE.as_slice(), &get(1)].concat(), false);
    check(&[PREFACE.as_slice(), &frame(kind::SETTINGS, flag::ACK, 0, b"")].concat(), false);
    check(&[PREFACE.as_slice(), &frame(0x77, 0, 0, b"")].concat(), false);
    // A server has no preface of its own.
    let mut client = Guard::client(&GuardLimits::default());
    assert_eq!(inspect(&mut client, &settings(&[]), 0), Ok(()));
    let mut client = Guard::client(&GuardLimits::default());
    assert!(inspect(&mut client, PREFACE, 0).is_err());
}

#[test]
fn sizes() {
    let any = |kind, stream, length| vec![frame(kind, 0, stream, &vec![0; length])];
    let with =
        |first: Vec<u8>, kind, stream, length| [vec![first], any(kind, stream, length)].concat();
    let wrong = code::FRAME_SIZE_ERROR;
    broken("4.2", wrong, &[post(1), data(0, 1, 16_385)]);
    passed("4.2", &[post(1), data(0, 1, 16_384)]);
    broken("4.2", wrong, &any(0x42, 0, 16_385));
    broken("6.1", wrong, &[post(1), data(flag::PADDED, 1, 0)]);
    broken("6.2", wrong, &[frame(kind::HEADERS, flag::PADDED, 1, b"")]);
    broken("6.2", wrong, &[frame(kind::HEADERS, flag::PRIORITY, 1, &[0; 4])]);
    broken("6.2", wrong, &[frame(kind::HEADERS, flag::PRIORITY | flag::PADDED, 1, &[0; 5])]);
    broken("6.3", wrong, &any(kind::PRIORITY, 1, 4));
    broken("6.3", wrong, &any(kind::PRIORITY, 1, 6));
    broken("6.4", wrong, &with(post(1), kind::RST_STREAM, 1, 3));
    broken("6.4", wrong, &with(post(1), kind::RST_STREAM, 1, 5));
    broken("6.5", wrong, &any(kind::SETTINGS, 0, 5));
    broken("6.5", wrong, &any(kind::SETTINGS, 0, 7));
    broken("6.5", wrong, &[frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])]);
    broken("6.7", wrong, &any(kind::PING, 0, 7));
    broken("6.7", wrong, &any(kind::PING, 0, 9));
    broken("6.8", wrong, &any(kind::GOAWAY, 0, 7));
    passed("6.8", &any(kind::GOAWAY, 0, 8));
    passed("6.8", &any(kind::GOAWAY, 0, 80));
    broken("6.9", wrong, &any(kind::WINDOW_UPDATE, 0, 3));
    broken("6.9", wrong, &any(kind::WINDOW_UPDATE, 0, 5));
}

#[test]
fn places() {
    let any = |kind, stream, length| vec![frame(kind, 0, stream, &vec![0; length])];
    let wrong = code::PROTOCOL_ERROR;
    broken("6.1", wrong, &any(kind::DATA, 0, 1));
    broken("6.2", wrong, &any(kind::HEADERS, 0, 1));
    broken("6.3", wrong, &any(kind::PRIORITY, 0, 5));
    broken("6.4", wrong, &any(kind::RST_STREAM, 0, 4));
    broken("6.5", wrong, &any(kind::SETTINGS, 1, 0));
    broken("6.6", wrong, &[post(1), frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82])]);
    broken("6.7", wrong, &any(kind::PING, 1, 8));
    broken("6.8", wrong, &any(kind::GOAWAY, 1, 8));
    broken("6.10", wrong, &any(kind::CONTINUATION, 0, 1));
    broken("6.10", wrong, &[post(1), frame(kind::CONTINUATION, 4, 1, b"")]);
    let begun = frame(kind::HEADERS, 0, 1, b"\x82");
    broken("6.10", wrong, &[begun.clone(), frame(kind::CONTINUATION, 4, 3, b"")]);
    broken("6.10", wrong, &[begun.clone(), data(0, 1, 1)]);
    broken("6.10", wrong, &[begun.clone(), frame(kind::PING, 0, 0, &[0; 8])]);
    broken("4.3", wrong, &[begun.clone(), frame(0x77, 0, 1, b"")]);
    passed("6.10", &[begun.clone(), frame(kind::CONTINUATION, 4, 1, b"\x84"), data(0, 1, 20)]);
    // Unknown types and settings must be ignored (4.1, 6.5.2), reserved bits too.
    passed("4.1", &[frame(0x77, 0xff, 0, b"x"), frame(0x77, 0xff, 1, b"x")]);
    passed("6.5.2", &[settings(&[(0x0, 1), (0x7, 7), (0x9, 1), (0xffff, u32::MAX)])]);
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    passed("4.1", &[reserved, frame(kind::PING, 0xfe, 0, &[0; 8])]);
}

#[test]
fn states() {
    let wrong = code::PROTOCOL_ERROR;
    broken("5.1 idle", wrong, &[data(0, 1, 20)]);
    broken("5.1 idle", wrong, &[reset(1, 8)]);
    broken("5.1 idle", wrong, &[window_update(1, 100)]);
    passed("5.1 idle", &[frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9])]);
    broken("5.1.1", wrong, &[get(2)]);
    broken("5.1.1", wrong, &[get(5), get(3)]);
    broken("5.1.1", wrong, &[get(5), data(0, 3, 20)]);
    passed("5.1.1", &[get(5), window_update(3, 100), reset(3, 8)]);
    let closed = code::STREAM_CLOSED;
    broken("5.1 half-closed", closed, &[get(1), data(0, 1, 20)]);
    broken("5.1 half-closed", closed, &[get(1), get(1)]);
    broken("5.1 half-closed", closed, &[post(1), data(flag::END_STREAM, 1, 9), data(0, 1, 20)]);
    broken("5.1 half-closed", closed, &[post(1), get(1), get(1)]);
    broken(
        "5.1 half-closed",
        closed,
        &[
            frame(kind::HEADERS, flag::END_STREAM, 1, b"\x82"),
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"\x84"),
            data(0, 1, 20),
        ],
    );
    broken("5.1 closed", closed, &[post(1), reset(1, 8), data(0, 1, 20)]);
    broken("5.1 closed", closed, &[post(1), reset(1, 8), get(1)]);
    passed(
        "5.1 half-closed",
        &[
            get(1),
            window_update(1, 100),
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
            reset(1, 8),
            reset(1, 8),
        ],
    );
    passed("8.1 trailers", &[post(1), data(0, 1, 20), get(1)]);
    // Of a stream older than the newest 128, `h2` decides.
    let newer: Vec<_> = (0..128).map(|n| get(3 + 2 * n)).collect();
    passed("5.1", &[vec![post(1)], newer, vec![data(0, 1, 20)]].concat());
}

#[test]
fn values() {
    let wrong = code::PROTOCOL_ERROR;
    let one = |id, value| vec![settings(&[(setting::HEADER_TABLE_SIZE, 0), (id, value)])];
    broken("6.5.2", wrong, &one(setting::ENABLE_PUSH, 2));
    passed("6.5.2", &one(setting::ENABLE_PUSH, 1));
    broken("6.5.2", code::FLOW_CONTROL_ERROR, &one(setting::INITIAL_WINDOW_SIZE, 1 << 31));
    passed("6.5.2", &one(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1));
    broken("6.5.2", wrong, &one(setting::MAX_FRAME_SIZE, (1 << 14) - 1));
    broken("6.5.2", wrong, &one(setting::MAX_FRAME_SIZE, 1 << 24));
    passed("6.5.2", &one(setting::MAX_FRAME_SIZE, (1 << 24) - 1));
    let connect = setting::ENABLE_CONNECT_PROTOCOL;
    broken("8441, 3", wrong, &one(connect, 2));
    broken("8441, 3", wrong, &[settings(&[(connect, 1)]), settings(&[(connect, 0)])]);
    passed("8441, 3", &[settings(&[(connect, 0)]), settings(&[(connect, 1), (connect, 1)])]);
    broken("6.9", wrong, &[window_update(0, 0)]);
    broken("6.9", wrong, &[window_update(0, 1 << 31)]);
    broken("6.9", wrong, &[get(1), window_update(1, 0)]);
    broken("6.1", wrong, &[post(1), frame(kind::DATA, flag::PADDED, 1, &[2, 0, 0][..2])]);
    passed("6.1", &[post(1), frame(kind::DATA, flag::PADDED, 1, &[1, 0])]);
    // RFC 7540, section 5.3.1.
    broken("5.3.1", wrong, &[frame(kind::PRIORITY, 0, 3, &[0x80, 0, 0, 3, 9])]);
    let flags = flag::PRIORITY | flag::END_HEADERS;
    broken("5.3.1", wrong, &[frame(kind::HEADERS, flags, 3, &[0, 0, 0, 3, 9, 0x82])]);
    let padded = flags | flag::PADDED;
    broken("5.3.1", wrong, &[frame(kind::HEADERS, padded, 3, &[1, 0, 0, 0, 3, 9, 0x82, 0])]);
    passed("5.3.1", &[frame(kind::HEADERS, padded, 3, &[3, 0, 0, 0, 1, 9, 0x82, 0, 0, 0])]);
}

/// How many of these frames, numbered, a client may send at one moment, and as what the next one
/// counts.
#[track_caller]
fn flood(first: &[Vec<u8>], next: impl Fn(u32) -> Vec<u8>) -> (u32, &'static str) {
    let mut guard = server();
    let begin = [PREFACE.as_slice(), &settings(&[]), &first.concat()].concat();
    assert_eq!(inspect(&mut guard, &begin, 7), Ok(()));
    for number in 0..1_000_000 {
        if let Err(violation) = inspect(&mut guard, &next(number), 7) {
            assert!(matches!(violation.kind, ViolationKind::Frame(_)) || violation.reason == 11);
            assert_eq!(inspect(&mut guard, b"", 1_000_000), Err(violation), "it does not last");
            return (number, violation.kind.name());
        }
    }
    panic!("no end of it");
}

#[test]
fn floods() {
    let cheap = |kind, stream, length| frame(kind, 0, stream, &vec![0; length]);
    let odd = |number| 2 * number + 1;
    // Each of them opened a stream before.
    let opened = flood(&[], |n| [get(odd(n)), reset(odd(n), 8)].concat());
    assert_eq!(opened, (200, "rapid_reset"));
    assert_eq!(flood(&[], |_| cheap(kind::PING, 0, 8)), (100, "ping"));
    let pong = frame(kind::PING, flag::ACK, 0, &[0; 8]);
    assert_eq!(flood(&[], |_| pong.clone()), (100, "ping"));
    assert_eq!(flood(&[], |_| settings(&[])), (29, "settings"));
    let large = settings(&[(0x99, 0); 64]);
    assert_eq!(flood(&[], |_| large.clone()), (9, "settings"));
    assert_eq!(flood(&[post(1)], |_| data(0, 1, 0)), (100, "empty_data"));
    let padding = frame(kind::DATA, flag::PADDED, 1, &[&[200], [0; 200].as_slice()].concat());
    assert_eq!(flood(&[post(1)], |_| padding.clone()), (100, "empty_data"));
    assert_eq!(flood(&[post(1)], |_| data(0, 1, 1)), (50_000, "empty_data"));
    let priority = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 9, 9]);
    assert_eq!(flood(&[], |_| priority.clone()), (200, "priority"));
    let update = frame(kind::PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1]);
    assert_eq!(flood(&[], |_| update.clone()), (200, "priority"));
    assert_eq!(flood(&[], |_| window_update(0, 1000)), (1000, "window_update"));
    let opened = |n| [get(odd(n)), window_update(0, 1)].concat();
    assert_eq!(flood(&[], opened), (1000, "window_update"));
    let tiny = settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
    assert_eq!(flood(&[], |_| tiny.clone()), (25, "small_window"));
    assert_eq!(flood(&[], |_| cheap(0x77, 3, 1)), (100, "unknown"));
    let begun = frame(kind::HEADERS, 0, 1, b"\x82");
    let more = frame(kind::CONTINUATION, 0, 1, b"\x82");
    assert_eq!(flood(std::slice::from_ref(&begun), |_| more.clone()), (20, "continuation"));
    let long = cheap(kind::CONTINUATION, 1, 16_384);
    assert_eq!(flood(&[begun], |_| long.clone()), (3, "header_list"));
    let empty = |n| {
        let stream = odd(n);
        let end = frame(kind::CONTINUATION, flag::END_HEADERS, stream, b"\x82");
        [cheap(kind::HEADERS, stream, 0), end].concat()
    };
    assert_eq!(flood(&[], empty), (20, "continuation"));
}

/// Nothing of the kind ends the connection, however long it goes on.
#[test]
fn honest_peers() {
    let guard = || {
        let mut guard = server();
        let begin = [PREFACE.as_slice(), &settings(&[])].concat();
        assert_eq!(inspect(&mut guard, &begin, 0), Ok(()));
        guard
    };
    // Eight bursts a second of requests that are all answered, two updates of windows for each,
    // and every second one cancelled too late.
    let mut busy = guard();
    let answer =
        [frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x88"), data(flag::END_STREAM, 1, 100)];
    for number in 0..100_000_u32 {
        let stream = 2 * number + 1;
        let request = [get(stream), window_update(stream, 100), window_update(0, 100)].concat();
        let now = u64::from(number / 100) * 125;
        assert_eq!(inspect(&mut busy, &request, now), Ok(()), "request {number}");
        busy.sent(&answer.concat());
        if number % 2 == 0 {
            assert_eq!(inspect(&mut busy, &reset(stream, 8), now), Ok(()), "request {number}");
        }
    }
    // A chat of small messages, and a sign of life each second.
    let mut chat = guard();
    assert_eq!(inspect(&mut chat, &post(1), 0), Ok(()));
    for number in 0..100_000 {
        assert_eq!(inspect(&mut chat, &data(0, 1, 7), number), Ok(()));
        if number % 1000 == 0 {
            assert_eq!(inspect(&mut chat, &frame(kind::PING, 0, 0, &[0; 8]), number), Ok(()));
        }
    }
    // One that measures its bandwidth by PING with every frame it gets.
    let mut measuring = guard();
    for number in 0..10_000 {
        measuring.sent(&data(0, 1, 16_000));
        assert_eq!(
            inspect(&mut measuring, &frame(kind::PING, 0, 0, &[0; 8]), 0),
            Ok(()),
            "{number}"
        );
    }
}

#[test]
fn own_resets() {
    let check = |reason, expected: Option<u32>| {
        let mut guard = server();
        let begin = [PREFACE.as_slice(), &settings(&[])].concat();
        assert_eq!(inspect(&mut guard, &begin, 0), Ok(()));
        let found = (0..1000).find(|number| {
            // In pieces, as they may be written.
            for piece in reset(2 * number + 1, reason).chunks(5) {
                guard.sent(piece);
            }
            inspect(&mut guard, b"", 0).is_err_and(|v| v.kind == ViolationKind::MadeYouReset)
        });
        assert_eq!(found, expected, "of reason {reason}");
    };
    for provoked in [1, 3, 5, 6, 7, 9, 11] {
        check(provoked, Some(100));
    }
    // Early answers, failing upstreams, cancelled work.
    for ours in [0, 2, 8, 10, 13] {
        check(ours, None);
    }
}

#[test]
fn upstreams() {
    let mut guard = Guard::client(&GuardLimits::default());
    guard.sent(&[PREFACE.as_slice(), &settings(&[]), &get(1), &get(3)].concat());
    let response = frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x88");
    assert_eq!(inspect(&mut guard, &[settings(&[]), response].concat(), 0), Ok(()));
    assert_eq!(inspect(&mut guard, &data(flag::END_STREAM, 1, 20), 0), Ok(()));
    let check = |frames: &[Vec<u8>], reason: u32| {
        let found = inspect(&mut guard.clone(), &frames.concat(), 0).map_err(|v| v.reason);
        assert_eq!(found, Err(reason), "{frames:?}");
    };
    check(&[data(0, 1, 20)], code::STREAM_CLOSED);
    check(&[get(5)], code::PROTOCOL_ERROR);
    check(&[get(2)], code::PROTOCOL_ERROR);
    check(&[frame(kind::PUSH_PROMISE, 4, 3, &[0, 0, 0, 2, 0x82])], code::PROTOCOL_ERROR);
    check(&[settings(&[(setting::ENABLE_PUSH, 1)])], code::PROTOCOL_ERROR);
    // It may refuse whatever we ask for.
    for number in 2..5_000 {
        guard.sent(&get(2 * number + 1));
        assert_eq!(inspect(&mut guard, &reset(2 * number + 1, code::REFUSED_STREAM), 0), Ok(()));
    }
    // It may do more than a client, but not everything.
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    let pings = (0..10_000).take_while(|_| inspect(&mut guard, &ping, 0).is_ok());
    assert_eq!(pings.count(), 1_000);
}

/// Any split gives the same; the property is that of the fuzz target.
mod splits {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let one = (0..12_u8, any::<u8>(), 0..8_u32, prop::collection::vec(0..9_u8, 0..24));
        let one = one.prop_map(|(kind, flags, stream, payload)| {
            let payload = match kind {
                kind::PING => &[0; 8],
                kind::RST_STREAM | kind::WINDOW_UPDATE => payload.get(..4).unwrap_or(&payload),
                _ => payload.as_slice(),
            };
            frame(kind, flags, stream, payload)
        });
        prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
    }

    proptest! {
        #[test]
        fn same_answer(choice in any::<u8>(), frames in frames()) {
            fuzzing::http2_guard(&[&[choice], frames.as_slice()].concat());
        }
    }
}

#[test]
fn a_client_that_gives_back_what_small_answers_took_does_no_harm() {
    let mut guard = server();
    inspect(&mut guard, &[PREFACE.as_slice(), &settings(&[])].concat(), 0).expect("a preface");
    for number in 0..50_000 {
        let stream = 2 * number + 1;
        inspect(&mut guard, &get(stream), 0).expect("a request");
        guard.sent(&frame(kind::HEADERS, flag::END_HEADERS, stream, b"\x88"));
        guard.sent(&data(flag::END_STREAM, stream, 5));
        inspect(&mut guard, &window_update(0, 5), 0).expect("an update of the size of the answer");
    }
}
