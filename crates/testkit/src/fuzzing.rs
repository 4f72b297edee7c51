//! The bodies of the fuzz targets; the ordinary tests replay their corpora. Each function panics if a
//! property does not hold for the given bytes.

use std::mem::MaybeUninit;

use message::{
    BodyLength, Fields, Form, Method, PathSteps, Readings, Request, Response, Scheme, Target,
};
use wire::http1::{
    BodyDecoder, ChunkError, ChunkedDecoder, HeadLimits, LAST_CHUNK, Piece, chunk_header,
    parse_request, parse_response, write_fields,
};
use wire::http2::frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind};
use wire::http2::hpack;
use wire::http2::{CARRIER, FieldBlock, Guard, GuardLimits, GuardMemory, Violation};
use wire::{grpc_health, proxy_protocol};

#[cfg(feature = "caching")]
#[path = "fuzzing/caching.rs"]
pub mod caching;
#[cfg(feature = "logins")]
#[path = "fuzzing/credentials.rs"]
pub mod credentials;
#[cfg(feature = "names")]
#[path = "fuzzing/dns_message.rs"]
pub mod dns_message;
#[cfg(feature = "discovery")]
#[path = "fuzzing/endpoints_json.rs"]
pub mod endpoints_json;
#[cfg(feature = "files")]
#[path = "fuzzing/file_path.rs"]
pub mod file_path;
#[cfg(feature = "heads")]
#[path = "fuzzing/http2_heads.rs"]
pub mod http2_heads;
#[cfg(feature = "language")]
#[path = "fuzzing/kdl_text.rs"]
pub mod kdl_text;
#[cfg(feature = "imports")]
#[path = "fuzzing/nginx_text.rs"]
pub mod nginx_text;
#[path = "fuzzing/scgi.rs"]
pub mod scgi;
#[cfg(feature = "tls")]
#[path = "fuzzing/tls_record.rs"]
pub mod tls_record;

use crate::naive::{self, Framing, Habits, Reading};
use crate::print;

/// Limits that the examples sometimes reach.
pub const LIMITS: HeadLimits = HeadLimits { bytes: 8192, fields: 24, target: 2048 };
/// Limits for printed messages: percent-encoding can make a target longer.
const PRINTED_LIMITS: HeadLimits = HeadLimits { bytes: 65536, fields: 100, target: 16384 };
/// The maximum number of prefixes tried for an input.
const PREFIXES_MAX: usize = 200;

/// A fuzz target: its name and body.
pub type Check = fn(&[u8]);

/// Every fuzz target.
pub const TARGETS: &[(&str, Check)] = &[
    ("http1_request", http1_request),
    ("http1_response", http1_response),
    ("chunked", chunked),
    ("target", target),
    ("proxy_protocol", proxy_protocol),
    ("http2_guard", http2_guard),
    ("http2_fields", http2_fields),
    ("grpc_health", grpc_health),
    ("scgi", scgi::check),
];

/// The fuzz targets of TLS; the tests of `tls` replay their corpora.
#[cfg(feature = "tls")]
pub const TLS_TARGETS: &[(&str, Check)] =
    &[("client_hello", client_hello), ("tls_record", tls_record::check)];

/// A ClientHello: each prefix needs more bytes or gives the result of the whole input, each split into
/// records gives the same result, and the server name is canonical.
#[cfg(feature = "tls")]
pub fn client_hello(data: &[u8]) {
    use tls::ClientHello;
    let check_prefixes = |bytes: &[u8]| {
        let whole = ClientHello::parse(bytes);
        let step = bytes.len() / PREFIXES_MAX + 1;
        for length in (0..bytes.len()).step_by(step) {
            let part = ClientHello::parse(bytes.get(..length).unwrap_or_default());
            assert!(part == Ok(None) || part == whole, "{whole:?} but {part:?} of {length} bytes");
        }
        if let Ok(Some(ClientHello { name: Some(name), .. })) = &whole {
            let is_plain =
                |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            assert!(name.bytes().all(is_plain) && (1..=253).contains(&name.len()), "{name}");
            assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name}");
        }
        whole
    };
    let _ = check_prefixes(data);
    // The same bytes as a message in records; the record headers count for the maximum length.
    let message = data.get(..8192).unwrap_or(data);
    let split = |size: usize| {
        let record = |part: &[u8]| {
            let [high, low] = u16::try_from(part.len()).unwrap_or_default().to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        };
        message.chunks(size).flat_map(record).collect::<Vec<u8>>()
    };
    let whole = check_prefixes(&split(1 << 14));
    for size in [1, 7, 600] {
        assert_eq!(ClientHello::parse(&split(size)), whole, "in records of {size} bytes");
    }
}

/// A request head: each prefix gives the same result or none; an accepted head means the same to all
/// lenient parsers, and printing it and parsing it again gives the same head.
pub fn http1_request(data: &[u8]) {
    let mut request = Request::default();
    let mut scratch = Request::default();
    let whole = parse_request(data, &LIMITS, Scheme::Http, &mut request);
    check_prefixes(data, whole.as_ref().ok().copied(), |prefix| {
        parse_request(prefix, &LIMITS, Scheme::Http, &mut scratch).ok()
    });
    let Ok(Some(length)) = whole else { return };
    let head = data.get(..length).unwrap_or_default();
    check_request_by_httparse(head, &request);
    let framing = framing(request.body);
    for habits in Habits::all(false) {
        // Any bytes may follow.
        let reading = habits.read(data).expect("a lenient reader finds the end too");
        check_request_reading(&reading, length, framing, habits);
    }
    let printed = print::request_head(&request);
    let again = parse_request(&printed, &PRINTED_LIMITS, request.target.scheme(), &mut scratch);
    let text = String::from_utf8_lossy(&printed);
    assert_eq!(again, Ok(Some(printed.len())), "we refuse what we print: {text}");
    assert_eq!(print::request_head(&scratch), printed, "not canonical: {text}");
    assert_eq!((scratch.method, scratch.body), (request.method, request.body), "{text}");
    for habits in Habits::all(true) {
        let reading = habits.read(&printed).expect("a lenient reader finds the end too");
        check_request_reading(&reading, printed.len(), framing, habits);
    }
}

fn check_request_reading(reading: &Reading, length: usize, framing: Framing, habits: Habits) {
    assert_eq!(reading.head_length, length, "{habits:?} sees another end");
    assert_eq!(reading.first_line.len(), 3, "{habits:?} sees other words: {reading:?}");
    assert!(reading.hosts.len() <= 1, "{habits:?} sees several hosts: {reading:?}");
    let body =
        if reading.framing == Framing::Silent { Framing::Length(0) } else { reading.framing };
    assert_eq!(body, framing, "{habits:?} sees another body");
}

fn framing(body: BodyLength) -> Framing {
    match body {
        BodyLength::None => Framing::Length(0),
        BodyLength::Exact(length) => Framing::Length(length),
        BodyLength::Chunked => Framing::Chunked,
        BodyLength::UntilClose => Framing::Silent,
    }
}

/// `httparse` tokenises accepted heads in the same way, except for non-ASCII bytes in a target.
fn check_request_by_httparse(head: &[u8], request: &Request) {
    let line = head.iter().position(|&byte| byte == b'\r').unwrap_or(head.len());
    let mut head = head.to_vec();
    head.iter_mut().take(line).filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'a');
    let head = head.as_slice();
    let mut headers = [const { MaybeUninit::uninit() }; 100];
    let mut other = httparse::Request::new(&mut []);
    let status = other.parse_with_uninit_headers(head, &mut headers);
    assert_eq!(status, Ok(httparse::Status::Complete(head.len())));
    assert_eq!(other.method, Some(request.method.as_str()));
    let mut theirs = Fields::new();
    for header in &*other.headers {
        theirs.push(header.name.as_bytes(), header.value);
    }
    check_fields(&theirs, &request.fields);
}

/// `httparse` tokenises accepted heads in the same way.
fn check_response_by_httparse(head: &[u8], response: &Response) {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut other = httparse::Response::new(&mut headers);
    assert_eq!(other.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_eq!(other.code, Some(response.status));
    let mut theirs = Fields::new();
    for header in &*other.headers {
        theirs.push(header.name.as_bytes(), header.value);
    }
    check_fields(&theirs, &response.fields);
}

/// The same fields, except for `Content-Length`, which we may rewrite.
fn check_fields(theirs: &Fields, ours: &Fields) {
    let all = |fields: &Fields| {
        let kept = fields.iter().filter(|f| f.known != message::Known::ContentLength);
        kept.map(|field| (field.name.to_vec(), field.value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(all(theirs), all(ours));
}

/// A response head: each prefix gives the same result or none; an accepted head, however it was written, is printed
/// in a form that all lenient parsers read alike. The first byte selects the request.
pub fn http1_response(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = [Method::Get, Method::Head, Method::Connect, Method::Post]
        .get(usize::from(choice & 3))
        .copied()
        .unwrap_or_default();
    let mut response = Response::default();
    let mut scratch = Response::default();
    let whole = parse_response(data, &LIMITS, &method, &mut response);
    check_prefixes(data, whole.as_ref().ok().copied(), |prefix| {
        parse_response(prefix, &LIMITS, &method, &mut scratch).ok()
    });
    let Ok(Some(_)) = whole else { return };
    let printed = print::response_head(&response);
    let text = String::from_utf8_lossy(&printed);
    let says_nothing = matches!(response.status, 304) || method == Method::Head;
    for habits in Habits::all(false) {
        let reading = habits.read(&printed).expect("a lenient reader finds the end too");
        assert_eq!(reading.head_length, printed.len(), "{habits:?} sees another end: {text}");
        if says_nothing {
            continue;
        }
        let expected = framing(response.body);
        let is_empty = |framing| matches!(framing, Framing::Silent | Framing::Length(0));
        if response.body == BodyLength::None {
            assert!(is_empty(reading.framing), "{habits:?} sees a body: {text}");
        } else {
            assert_eq!(reading.framing, expected, "{habits:?} sees another body: {text}");
        }
    }
    let again = parse_response(&printed, &PRINTED_LIMITS, &method, &mut scratch);
    assert_eq!(again, Ok(Some(printed.len())), "we refuse what we print: {text}");
    assert_eq!(print::response_head(&scratch), printed, "not canonical: {text}");
    assert_eq!((scratch.status, scratch.body), (response.status, response.body), "{text}");
    check_response_by_httparse(&printed, &scratch);
}

/// Parsing a prefix gives the result of the whole input, once it gives any. `None` is an error,
/// `Some(None)` needs more bytes.
fn check_prefixes(
    data: &[u8],
    whole: Option<Option<usize>>,
    mut parse: impl FnMut(&[u8]) -> Option<Option<usize>>,
) {
    let step = data.len() / PREFIXES_MAX + 1;
    for length in (0..data.len()).step_by(step) {
        let part = parse(data.get(..length).unwrap_or_default());
        match (whole, part) {
            // A message is complete with its last byte, and not before.
            (Some(Some(end)), part) => {
                let expected = if length < end { None } else { Some(end) };
                assert_eq!(part, Some(expected), "of {length} bytes");
            }
            (None, Some(None) | None) | (Some(None), Some(None)) => {}
            _ => panic!("{whole:?} of all, but {part:?} of {length} bytes"),
        }
    }
}

/// A chunked body: each split gives the same result; a naive parser reads the same content; what a strict decoder
/// accepts means the same to a lenient one; and encoding and decoding gives the same content.
pub fn chunked(data: &[u8]) {
    let [strict, lenient] = [false, true].map(|lenient| {
        let whole = unchunk(data, usize::MAX, lenient);
        for size in [1, 2, 7] {
            let parts = unchunk(data, size, lenient);
            assert_eq!(parts, whole, "in parts of {size} bytes");
        }
        if let Ok(Some(body)) = &whole {
            let naive = naive::unchunk(data);
            assert_eq!(naive, Some((body.content.clone(), body.length)), "a naive reader differs");
        }
        whole
    });
    if strict.is_ok() {
        assert_eq!(lenient, strict, "a lenient decoder differs");
    }
    // The same bytes as content, in chunks whose sizes come from the bytes.
    let mut encoded = Vec::new();
    let mut rest = data;
    while let Some(&first) = rest.first() {
        let (chunk, after) = rest.split_at(rest.len().min(1 + usize::from(first)));
        encoded.extend_from_slice(chunk_header(chunk.len(), &mut [0; 18]));
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
        rest = after;
    }
    let mut trailers = Fields::new();
    trailers.push(b"Server-Timing", b"db;dur=53");
    encoded.extend_from_slice(LAST_CHUNK);
    write_fields(&mut encoded, trailers.iter());
    encoded.extend_from_slice(b"\r\nnext");
    for (size, lenient) in [(1, false), (1, true), (5, false), (usize::MAX, false)] {
        let body = unchunk(&encoded, size, lenient);
        let body = body.expect("what we encode is valid").expect("and whole");
        assert_eq!(body.content, data);
        assert_eq!(body.length, encoded.len() - "next".len());
        assert_eq!(body.trailers, [(b"Server-Timing".to_vec(), b"db;dur=53".to_vec())]);
    }
}

/// A decoded chunked body.
#[derive(Debug, PartialEq, Eq)]
struct Unchunked {
    content: Vec<u8>,
    length: usize,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Decodes the input in pieces of `size` bytes; `None` if it is incomplete.
fn unchunk(data: &[u8], size: usize, lenient: bool) -> Result<Option<Unchunked>, ChunkError> {
    let decoder = if lenient { ChunkedDecoder::lenient() } else { ChunkedDecoder::default() };
    let mut decoder = BodyDecoder::Chunked(decoder);
    let mut trailers = Fields::new();
    let mut content = Vec::new();
    let mut length = 0;
    for part in data.chunks(size) {
        let mut unread = part;
        while let Some(piece) = decoder.decode(&mut unread, &mut trailers)? {
            let Piece::Data(bytes) = piece else {
                assert!(decoder.is_done() && decoder.eof().is_ok());
                let trailers = trailers.iter().map(|f| (f.name.to_vec(), f.value.to_vec()));
                let length = length + part.len() - unread.len();
                return Ok(Some(Unchunked { content, length, trailers: trailers.collect() }));
            };
            assert!(!bytes.is_empty());
            content.extend_from_slice(bytes);
        }
        assert!(unread.is_empty(), "bytes left although more are asked for");
        length += part.len();
    }
    assert!(!decoder.is_done() && decoder.eof().is_err());
    Ok(None)
}

/// A target: an accepted target is canonical, and parsing it again gives the same target. The first byte
/// selects the method; a line feed separates target and `Host`.
pub fn target(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = [Method::Get, Method::Options, Method::Connect, Method::Post]
        .get(usize::from(choice & 3))
        .copied()
        .unwrap_or_default();
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let (raw, host) = (parts.next().unwrap_or_default(), parts.next());
    let mut target = Target::default();
    if target.parse(&method, raw, host, Scheme::Http).is_err() {
        return;
    }
    check_canonical(&target);
    let authority = target.authority().as_bytes();
    let mut again = Target::default();
    let origin = match target.form() {
        Form::Authority => target.authority(),
        _ => target.path_and_query(),
    };
    let result = again.parse(&method, origin.as_bytes(), Some(authority), target.scheme());
    assert_eq!(result, Ok(()), "we refuse {target:?}");
    check_same(&again, &target);
    check_what_is_sent(&method, raw, &target);
    if target.form() != Form::Authority && !target.host().is_empty() {
        let uri = target.to_string();
        let result = again.parse(&method, uri.as_bytes(), Some(authority), Scheme::Http);
        assert_eq!(result, Ok(()), "we refuse {uri}");
        check_same(&again, &target);
    }
}

/// The target that is sent means the same as the received one, and the path as written is one of its
/// readings.
fn check_what_is_sent(method: &Method, raw: &[u8], target: &Target) {
    if matches!(target.form(), Form::Authority | Form::Asterisk) || target.path() == "*" {
        return;
    }
    let authority = Some(target.written_authority().as_bytes());
    let mut again = Target::default();
    for sent in [target.sent(), target.as_it_came()] {
        assert!(raw.ends_with(sent) || sent.starts_with(b"/?") || target.sent() == sent);
        assert_eq!(again.parse(method, sent, authority, target.scheme()), Ok(()), "{target:?}");
        assert_eq!(again.path_and_query(), target.path_and_query());
        assert_eq!(again.sent(), target.sent());
    }
    let count = |path: &[u8]| path.split(|&byte| byte == b'/').count();
    assert_eq!(count(target.sent_path()), count(target.path().as_bytes()), "{target:?}");
    let usual = PathSteps::MERGED.with(PathSteps::HOST).with(PathSteps::DECODED);
    for steps in [PathSteps::NONE, usual.with(PathSteps::PARAMETERS)] {
        let mut readings = Readings::default();
        if readings.of(target, steps, "/a").is_err() {
            continue;
        }
        let (mut seen, mut has_own) = (0, false);
        let ended = readings.find(|path, _| {
            seen += 1;
            has_own |= path == target.path();
            assert!(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()), "{path}");
            assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
            None::<()>
        });
        assert_eq!(ended, Ok(None), "{target:?}");
        assert!(has_own, "{target:?}");
        let is_alone = steps.is_none() || !target.has_other_readings();
        assert!(seen == 1 || !is_alone, "{target:?} has {seen} readings");
    }
}

fn check_same(one: &Target, other: &Target) {
    let all = |target: &Target| {
        let place = (target.scheme(), target.authority().to_owned(), target.port(), target.ip());
        let path = target.path_and_query().to_owned();
        (place, target.host().to_owned(), path)
    };
    assert_eq!(all(one), all(other));
}

fn check_canonical(target: &Target) {
    let (host, path) = (target.host(), target.path());
    assert!(target.port() > 0 || target.has_unusual_host(), "{target:?}");
    assert!(!host.contains(['[', ']', '@', '/', '\\', '?', '#']), "{target:?}");
    assert!(!host.contains('%') || target.has_unusual_host(), "{target:?}");
    assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase()), "{target:?}");
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_visible(host) && is_visible(target.path_and_query()), "{target:?}");
    assert!(!target.path_and_query().contains(['#', '"', '<', '>', '`']), "{target:?}");
    assert!(path.starts_with('/') || matches!(path, "" | "*"), "{target:?}");
    assert!(!path.contains('\\'), "{target:?}");
    assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")), "{target:?}");
    let joined = match target.query() {
        None => path.to_owned(),
        Some(query) => format!("{path}?{query}"),
    };
    assert_eq!(joined, target.path_and_query());
}

/// The PROXY protocol: each prefix gives the same result or none, and printing and parsing gives the
/// same header.
pub fn proxy_protocol(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    let length = whole.map(|header| header.map(|(length, _)| length)).ok();
    check_prefixes(data, length, |prefix| {
        proxy_protocol::parse(prefix).map(|header| header.map(|(length, _)| length)).ok()
    });
    let Ok(Some((_, header))) = whole else { return };
    let is_v4_and_v6 = matches!(header, proxy_protocol::Header::Client { source, destination, .. }
        if source.is_ipv4() != destination.is_ipv4());
    assert!(!is_v4_and_v6, "{header:?}");
    for printed in [proxy_protocol::encode_v1(&header), proxy_protocol::encode_v2(&header)] {
        assert_eq!(proxy_protocol::parse(&printed), Ok(Some((printed.len(), header))));
    }
}

/// The HTTP/2 guard: each split gives the same result and state, and the bytes that pass are valid for
/// a reader that gets them all at once. The bits of the first byte select the role of the peer, and
/// whether the required preface precedes the rest.
pub fn http2_guard(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let limits = GuardLimits { block_bytes: 40, continuations: 3, ..GuardLimits::default() };
    let guard = if choice & 1 == 0 { Guard::server(&limits) } else { Guard::client(&limits) };
    let preface = if choice & 1 == 0 { PREFACE.as_slice() } else { b"" };
    let settings = FrameHeader { kind: kind::SETTINGS, ..FrameHeader::default() }.print();
    let begin = if choice & 2 == 0 { [preface, &settings].concat() } else { Vec::new() };
    let all = [begin.as_slice(), data].concat();
    let whole = guarded(guard.clone(), &all, usize::MAX);
    for size in [1, 2, 7, 10, 100] {
        assert_eq!(guarded(guard.clone(), &all, size), whole, "in parts of {size} bytes");
    }
    if let Ok(passed) = &whole.0 {
        check_frames(all.get(preface.len()..).unwrap_or_default(), &limits);
        // The data has no bound except that of the list.
        let limits = GuardLimits { block_bytes: u32::MAX, ..limits };
        check_frames(passed.get(preface.len()..).unwrap_or_default(), &limits);
        check_blocks(passed.get(preface.len()..).unwrap_or_default());
    }
}

/// Field blocks: our decoder and another one give the same fields and keep the same table. Each block
/// has a length prefix.
pub fn http2_fields(data: &[u8]) {
    let (mut ours, mut theirs) =
        (hpack::Decoder::default(), crate::h2raw::hpack::Decoder::default());
    let mut strings = hpack::StringBuffers::default();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (block, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let mut fields = Vec::new();
        let read = ours.decode(block, &mut strings, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
        });
        let expected = theirs.decode_bytes(block);
        assert_eq!(read.ok().map(|()| fields), expected, "{block:x?}");
        if expected.is_none() {
            return; // the connection has ended
        }
    }
}

/// Feeds bytes from the peer to a guard, and returns those that pass to `h2`.
pub fn pass(guard: &mut Guard, bytes: &[u8], now_ms: u64) -> Result<Vec<u8>, Violation> {
    let (mut workspace, mut passed) = (GuardMemory::default(), Vec::new());
    let mut rest = bytes;
    loop {
        let step = guard.inspect(rest, now_ms, &mut workspace, &mut passed)?;
        let (_, after) = rest.split_at(step.taken);
        let (same, after) = after.split_at(step.same);
        passed.extend_from_slice(same);
        if after.is_empty() {
            return Ok(passed);
        }
        assert!(after.len() < rest.len(), "no step is taken");
        rest = after;
    }
}

/// The bytes that pass, and the state afterwards, if the same bytes come from the peer and from us.
fn guarded(mut guard: Guard, all: &[u8], size: usize) -> (Result<Vec<u8>, Violation>, String) {
    // Ours come at once, so that the order of the two directions does not depend on the size.
    let passed: Result<Vec<_>, _> =
        all.chunks(size).map(|part| pass(&mut guard, part, 0)).collect();
    let state = if passed.is_ok() { format!("{guard:?}") } else { String::new() };
    all.chunks(size).for_each(|part| guard.sent(part));
    let passed = passed.map(|parts| parts.concat());
    (passed.and_then(|parts| pass(&mut guard, b"", 0).map(|_| parts)), state)
}

/// The field blocks that passed contain only what `h2` accepts, and nothing that HTTP/1 would read
/// differently.
fn check_blocks(mut bytes: &[u8]) {
    let mut decoder = crate::h2raw::hpack::Decoder::default();
    let mut block = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let head = FrameHeader::parse(head);
        let Some((payload, rest)) = rest.split_at_checked(head.length as usize) else { return };
        bytes = rest;
        if !matches!(head.kind, kind::HEADERS | kind::CONTINUATION) {
            continue;
        }
        block.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            continue;
        }
        let fields = decoder.decode_bytes(&block).expect("a block that can be decoded");
        block.clear();
        let (name, value) = fields.last().expect("the carrier");
        assert_eq!(name, CARRIER.as_bytes());
        match FieldBlock::read(value).expect("something is carried") {
            FieldBlock::Malformed(_) => {}
            FieldBlock::Head(packed) | FieldBlock::Trailers(packed) => {
                let mut pseudo = true;
                for (name, value) in packed.fields() {
                    pseudo &= name.starts_with(b":");
                    let name = name.strip_prefix(b":").filter(|_| pseudo).unwrap_or(name);
                    let is_token = |byte: &u8| {
                        byte.is_ascii_graphic()
                            && !byte.is_ascii_uppercase()
                            && !b"\"(),/:;<=>?@[\\]{}".contains(byte)
                    };
                    assert!(!name.is_empty() && name.iter().all(is_token), "{name:?}");
                    let is_text = |byte: &u8| *byte >= b' ' && *byte != 0x7f || *byte == b'\t';
                    assert!(value.iter().all(is_text), "{value:?}");
                    assert_eq!(value.trim_ascii(), value);
                }
            }
        }
    }
}

/// The frames that passed.
fn check_frames(mut bytes: &[u8], limits: &GuardLimits) {
    let mut block: Option<(u32, usize)> = None;
    let mut finished = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let head = FrameHeader::parse(head);
        assert!(head.length <= limits.frame_bytes, "{head:?}");
        let length = head.length as usize;
        if let Some((stream, so_far)) = block {
            assert_eq!((head.kind, head.stream), (kind::CONTINUATION, stream));
            block = Some((stream, so_far + length));
        } else {
            assert!(!matches!(head.kind, kind::CONTINUATION | kind::PUSH_PROMISE), "{head:?}");
            assert!(head.kind != kind::SETTINGS || head.stream == 0, "{head:?}");
        }
        if matches!(head.kind, kind::DATA | kind::HEADERS) {
            assert!(head.stream % 2 == 1 && !finished.contains(&head.stream), "{head:?}");
            if head.has(flag::END_STREAM) {
                finished.push(head.stream);
            }
        }
        if head.kind == kind::HEADERS {
            block = Some((head.stream, length));
        }
        if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) && head.has(flag::END_HEADERS) {
            block = None;
        }
        assert!(block.is_none_or(|(_, length)| length <= limits.block_bytes as usize));
        bytes = rest.get(length..).unwrap_or_default();
    }
}

/// A response to a gRPC health check: no prefix of a valid one is valid, its first bytes decide, and an
/// unknown field changes nothing.
pub fn grpc_health(data: &[u8]) {
    let serving = grpc_health::decode(data);
    let Ok(serving) = serving else { return };
    assert!(data.len() <= grpc_health::PREFIX_BYTES + grpc_health::MESSAGE_BYTES_MAX);
    let step = data.len() / PREFIXES_MAX + 1;
    for length in (0..data.len()).step_by(step) {
        let part = data.get(..length).unwrap_or_default();
        assert_eq!(grpc_health::decode(part), Err(grpc_health::Error::Short), "{length}");
    }
    let more = [data, &[0]].concat();
    assert_eq!(grpc_health::decode(&more), Err(grpc_health::Error::More));
    let message = data.get(grpc_health::PREFIX_BYTES..).unwrap_or_default();
    // Field 15 as text.
    let unknown = [message, b"\x7a\x02hi"].concat();
    let length = (unknown.len() as u32).to_be_bytes();
    let expected = if unknown.len() <= grpc_health::MESSAGE_BYTES_MAX {
        Ok(serving)
    } else {
        Err(grpc_health::Error::TooLong)
    };
    assert_eq!(grpc_health::decode(&[&[0], length.as_slice(), &unknown].concat()), expected);
}
