//! What the guard of HTTP/2 costs: `cargo bench -p wire --bench guard`.

use divan::{Bencher, black_box, counter::ItemsCount};
use wire::http2::frame::{Head, PREFACE, flag, kind};
use wire::http2::{Guard, GuardLimits};

fn main() {
    divan::main();
}

/// Requests in one piece of input.
const REQUESTS: u32 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&Head { length, kind, flags, stream }.print(), payload].concat()
}

fn greeted() -> Guard {
    let mut guard = Guard::server(&GuardLimits::default());
    let begin = [PREFACE.as_slice(), &frame(kind::SETTINGS, 0, 0, b"")].concat();
    assert_eq!(guard.inspect(&begin, 0), Ok(()));
    guard
}

/// Requests without content, by the request.
#[divan::bench]
fn requests(bencher: Bencher<'_, '_>) {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let one = |n: u32| frame(kind::HEADERS, flags, 2 * n + 1, &[0x82; 60]);
    let input: Vec<u8> = (0..REQUESTS).flat_map(one).collect();
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(greeted).bench_refs(|guard| {
        assert_eq!(guard.inspect(black_box(&input), 0), Ok(()));
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
        assert_eq!(guard.inspect(&head, 0), Ok(()));
        guard
    };
    bencher.counter(ItemsCount::new(REQUESTS)).with_inputs(begun).bench_refs(|guard| {
        assert_eq!(guard.inspect(black_box(&input), 0), Ok(()));
    });
}
