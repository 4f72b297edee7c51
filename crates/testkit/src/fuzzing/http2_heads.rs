//! Heads of HTTP/2: what the guard and then the data plane make of a field block.

use message::{BodyLength, Fields, Known, Method, Request, Response, Scheme, Version};
use proxy::testing::{read_http2_request, read_http2_response};
use wire::http1::{parse_request, parse_response};
use wire::http2::frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind};
use wire::http2::{CARRIER, FieldBlock, Guard, GuardLimits, PackedFields};

use super::{LIMITS, PRINTED_LIMITS, check_request_reading, framing, pass};
use crate::h2raw::hpack;
use crate::naive::Habits;
use crate::print;

/// The most that is read of an input: it must fit into one frame.
const INPUT_BYTES_MAX: usize = 12_000;

/// A head that is accepted means the same over HTTP/1, to us and to lenient readers. The bits of the first byte select
/// whose head it is, and where; each line of the rest is a field, as `:path: /`.
pub fn check(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let fields = data.get(..INPUT_BYTES_MAX).unwrap_or(data);
    let is = |bit: u8| choice >> bit & 1 == 1;
    let ended = is(1);
    let block: Vec<u8> = fields
        .split(|&byte| byte == b'\n')
        .filter_map(field)
        .flat_map(|(name, value)| hpack::literal(name, value))
        .collect();
    match is(0) {
        false => check_request(&block, is(2), is(3), ended),
        true => check_response(&block, is(2), ended),
    }
}

/// Name and value of a line. A name may begin with a colon.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.get(1..)?;
    Some((name, value.strip_prefix(b" ").unwrap_or(value)))
}

fn check_request(block: &[u8], forward: bool, secure: bool, ended: bool) {
    let mut guard = Guard::server(&GuardLimits::default());
    let bytes = [&PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[]), &headers(block, ended)].concat();
    let Ok(passed) = pass(&mut guard, &bytes, 0) else { return };
    let Some(value) = carrier(passed.get(PREFACE.len()..).unwrap_or_default()) else { return };
    let head = match FieldBlock::read(&value).expect("something is carried") {
        FieldBlock::Head(head) => head,
        FieldBlock::Malformed(_) => return,
        FieldBlock::Trailers(_) => panic!("a request's head became trailers"),
    };
    let scheme = if secure { Scheme::Https } else { Scheme::Http };
    let read = |request: &mut Request| {
        read_http2_request(head, (scheme, forward, ended), &LIMITS, request)
    };
    let mut request = Request::default();
    let result = read(&mut request);
    // What the memory held before makes no difference.
    let mut again = Request::default();
    again.fields.push(b"X-Left", b"over");
    again.upgrade = true;
    assert_eq!(read(&mut again), result);
    if result.is_err() {
        return;
    }
    assert_eq!(format!("{again:?}"), format!("{request:?}"));
    assert_eq!(request.version, Version::Http2);
    request.version = Version::Http11;
    own_length(&mut request.fields, request.body);
    let printed = print::request_head(&request);
    let text = String::from_utf8_lossy(&printed);
    let scheme = request.target.scheme();
    let read = parse_request(&printed, &PRINTED_LIMITS, scheme, &mut again);
    assert_eq!(read, Ok(Some(printed.len())), "over HTTP/1 it is refused: {text}");
    assert_eq!(print::request_head(&again), printed, "not canonical: {text}");
    assert_eq!(again.method, request.method);
    assert_eq!(framing(again.body), framing(request.body), "{text}");
    if request.method != Method::Connect {
        assert_eq!(again.target.path(), request.target.path(), "{text}");
    }
    for habits in Habits::all(true) {
        let reading = habits.read(&printed).expect("a lenient reader finds the end too");
        check_request_reading(&reading, printed.len(), framing(request.body), habits);
    }
}

fn check_response(block: &[u8], to_head: bool, ended: bool) {
    let method = if to_head { Method::Head } else { Method::Get };
    let mut guard = Guard::client(&GuardLimits::default());
    guard.sent(PREFACE);
    guard.sent(&frame(kind::SETTINGS, 0, 0, &[]));
    guard.sent(&headers(&hpack::literal(":method", method.as_str()), true));
    let bytes = [frame(kind::SETTINGS, 0, 0, &[]), headers(block, ended)].concat();
    let Ok(passed) = pass(&mut guard, &bytes, 0) else { return };
    let Some(value) = carrier(&passed) else { return };
    let Some(FieldBlock::Head(head)) = FieldBlock::read(&value) else { return };
    let status = status(head);
    let mut response = Response::default();
    if read_http2_response(method, status, head, ended, &mut response).is_err() {
        return;
    }
    assert_eq!((response.status, response.version), (status, Version::Http2));
    assert!((100..1000).contains(&status) && status != 101);
    response.version = Version::Http11;
    own_length(&mut response.fields, response.body);
    let printed = print::response_head(&response);
    let text = String::from_utf8_lossy(&printed);
    let mut again = Response::default();
    let read = parse_response(&printed, &PRINTED_LIMITS, &method, &mut again);
    assert_eq!(read, Ok(Some(printed.len())), "over HTTP/1 it is refused: {text}");
    assert_eq!(again.status, status, "{text}");
}

/// Over HTTP/1 the proxy writes the length itself.
fn own_length(fields: &mut Fields, body: BodyLength) {
    fields.remove(Known::ContentLength);
    if let BodyLength::Exact(length) = body {
        fields.push_known(Known::ContentLength, length.to_string().as_bytes());
    }
}

/// The status of a head; the guard has seen that it has one.
fn status(head: PackedFields<'_>) -> u16 {
    let (_, value) = head.fields().find(|(name, _)| *name == b":status").expect("a status");
    str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).expect("three digits")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame");
    [&FrameHeader { length, kind, flags, stream }.print(), payload].concat()
}

fn headers(block: &[u8], ended: bool) -> Vec<u8> {
    let end = if ended { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flag::END_HEADERS | end, 1, block)
}

/// What the field block that passed the guard carries.
fn carrier(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut block) = (hpack::Decoder::default(), Vec::new());
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let head = FrameHeader::parse(head);
        let (payload, rest) = rest.split_at_checked(head.length as usize)?;
        bytes = rest;
        if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) {
            block.extend_from_slice(payload);
        }
        if head.kind != kind::SETTINGS && head.has(flag::END_HEADERS) {
            let fields = decoder.decode_bytes(&block).expect("a block that can be decoded");
            let (name, value) = fields.into_iter().next_back().expect("the carrier");
            assert_eq!(name, CARRIER.as_bytes());
            return Some(value);
        }
    }
    None
}
