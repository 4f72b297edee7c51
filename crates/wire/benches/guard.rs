//! What the guard of HTTP/2 costs: `cargo bench -p wire --bench guard`.

use std::cell::RefCell;

use divan::{Bencher, black_box, counter::ItemsCount};
use testkit::h2raw::hpack;
use wire::http2::frame::{FrameHeader, PREFACE, flag, kind};
use wire::http2::{Guard, GuardLimits, GuardMemory};

fn main() {
    divan::main();
}

/// Requests in one piece of input.
const REQUESTS: u32 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&FrameHeader { length, kind, flags, stream }.print(), payload].concat()
}

thread_local! {
    static MEMORY: RefCell<(GuardMemory, Vec<u8>)> = RefCell::default();
}

/// Shows a guard all of these bytes.
fn pass(guard: &mut Guard, mut bytes: &[u8]) -> bool {
    MEMORY.with_borrow_mut(|(workspace, out)| {
        out.clear();
        while !bytes.is_empty() {
            let Ok(step) = guard.inspect(bytes, 0, workspace, out) else { return false };
            bytes = bytes.get(step.taken + step.same..).unwrap_or_default();
        }
        true
    })
}

/// The field block of a browser, first with everything in words, then by what was learned.
fn browser() -> (Vec<u8>, Vec<u8>) {
    let fields = [
        (":method", "GET"),
        (":authority", "www.example.com"),
        (":scheme", "https"),
        (":path", "/assets/application-5f0d1c7e.js"),
        ("sec-ch-ua-platform", "\"Linux\""),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
        ),
        (
            "sec-ch-ua",
            "\"Not;A=Brand\";v=\"99\", \"Google Chrome\";v=\"139\", \"Chromium\";v=\"139\"",
        ),
        ("sec-ch-ua-mobile", "?0"),
        ("accept", "*/*"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "script"),
        ("referer", "https://www.example.com/"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ("cookie", "session=0123456789abcdef0123456789abcdef"),
        ("priority", "u=1"),
    ];
    let learned = fields.iter().flat_map(|(name, value)| {
        [vec![0x40], hpack::huffman_string(name), hpack::huffman_string(value)].concat()
    });
    let known = (0..fields.len()).flat_map(|n| hpack::indexed(62 + fields.len() - 1 - n));
    (learned.collect(), known.collect())
}

/// The requests of a browser that come after the first: each field by its number.
#[divan::bench]
fn browser_requests(bencher: Bencher<'_, '_>) {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let (learned, known) = browser();
    let input: Vec<u8> =
        (1..=REQUESTS).flat_map(|n| frame(kind::HEADERS, flags, 2 * n + 1, &known)).collect();
    let begun = || {
        let mut guard = greeted();
        assert!(pass(&mut guard, &frame(kind::HEADERS, flags, 1, &learned)));
        guard
    };
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(begun).bench_refs(|guard| {
        assert!(pass(guard, black_box(&input)));
    });
}

/// The first ones, in the Huffman code.
#[divan::bench]
fn first_requests(bencher: Bencher<'_, '_>) {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let (learned, _) = browser();
    let input: Vec<u8> =
        (0..REQUESTS).flat_map(|n| frame(kind::HEADERS, flags, 2 * n + 1, &learned)).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(greeted).bench_refs(|guard| {
        assert!(pass(guard, black_box(&input)));
    });
}

fn greeted() -> Guard {
    let mut guard = Guard::server(&GuardLimits::default());
    let begin = [PREFACE.as_slice(), &frame(kind::SETTINGS, 0, 0, b"")].concat();
    assert!(pass(&mut guard, &begin));
    guard
}

/// Requests without content, by the request.
#[divan::bench]
fn requests(bencher: Bencher<'_, '_>) {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let one = |n: u32| frame(kind::HEADERS, flags, 2 * n + 1, &[0x82; 60]);
    let input: Vec<u8> = (0..REQUESTS).flat_map(one).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(greeted).bench_refs(|guard| {
        assert!(pass(guard, black_box(&input)));
    });
}

/// Their answers, as we send them: a head and content of 1 KiB.
#[divan::bench]
fn answers(bencher: Bencher<'_, '_>) {
    let one = |n: u32| {
        let head = frame(kind::HEADERS, flag::END_HEADERS, 2 * n + 1, &[0x88; 60]);
        [head, frame(kind::DATA, flag::END_STREAM, 2 * n + 1, &[b'x'; 1024])].concat()
    };
    let input: Vec<u8> = (0..REQUESTS).flat_map(one).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(greeted).bench_refs(|guard| {
        guard.sent(black_box(&input));
    });
}

/// An upload in the longest frames, by the frame.
#[divan::bench]
fn uploads(bencher: Bencher<'_, '_>) {
    let head = frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x83; 60]);
    let input = frame(kind::DATA, 0, 1, &[b'x'; 16_384]).repeat(REQUESTS as usize);
    let begun = || {
        let mut guard = greeted();
        assert!(pass(&mut guard, &head));
        guard
    };
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(begun).bench_refs(|guard| {
        assert!(pass(guard, black_box(&input)));
    });
}
