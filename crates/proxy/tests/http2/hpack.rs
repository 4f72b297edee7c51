//! Field blocks: RFC 7541, as far as a client can break it.

use testkit::h2raw::{frame, hpack, request};
use wire::http2::frame::{code, flag, kind};

use crate::case::Expect::{Answer, Connection, Malformed};
use crate::case::{Case, case, run};

/// RFC 9113, section 4.3.
const COMPRESSION: crate::case::Expect = Connection(code::COMPRESSION_ERROR);

fn block(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, block)
}

/// `:method: GET`, `:scheme: http`, `:path: /`, from the static table, and `:authority: a`.
fn begin() -> Vec<u8> {
    [hpack::indexed(2), hpack::indexed(6), hpack::indexed(4), hpack::named(1, "a")].concat()
}

/// A request of the usual fields and these bytes.
fn with(stream: u32, more: &[u8]) -> Vec<u8> {
    block(stream, &[begin(), more.to_vec()].concat())
}

/// The same, with something before.
fn after(stream: u32, before: &[u8]) -> Vec<u8> {
    block(stream, &[before.to_vec(), begin()].concat())
}

#[test]
fn representations() {
    let coded = [vec![0], hpack::huffman_string("x-coded"), hpack::huffman_string("coded")];
    let never = [vec![0x10], hpack::string("x"), hpack::string("y")];
    let fine = |section, what, sent: Vec<u8>| case(section, what, sent, Answer(1, 200));
    let wrong = |section, what, more: &[u8]| case(section, what, with(1, more), COMPRESSION);
    run(vec![
        fine("6.1", "the static table", with(1, &hpack::indexed(16))),
        fine("6.2.1", "a field that is learned", with(1, &hpack::learned("x", "y"))),
        fine("6.2.2", "a field that is not", with(1, &hpack::literal("x", "y"))),
        fine("6.2.3", "a field that must not be", with(1, &never.concat())),
        fine("5.2", "Huffman", with(1, &coded.concat())),
        fine(
            "2.3.2",
            "a field of this block",
            with(1, &[hpack::learned("x", "y"), hpack::indexed(62)].concat()),
        ),
        wrong("6.1", "index 0", &[0x80]),
        wrong("2.3.3", "an index beyond the tables", &hpack::indexed(62)),
        wrong("2.3.3", "a name's index beyond the tables", &hpack::named(70, "v")),
        wrong("2.3.3", "an index far beyond", &hpack::indexed(100_000)),
        wrong(
            "5.1",
            "an integer without an end",
            &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
        ),
        wrong(
            "5.1",
            "an integer of ten bytes",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        wrong("5.1", "half an integer", &[0xff]),
        wrong("5.2", "half a string", &[0, 5, b'a']),
        wrong("5.2", "no value", &[0, 1, b'a']),
        wrong("5.2", "a string longer than all", &[0, 0x7f, 0xff, 0xff, 0xff, 0x07]),
        wrong("5.2", "padding of zeros", &[0, 1, b'x', 0x81, 0b0001_1000]),
        wrong("5.2", "padding of a byte", &[0, 1, b'x', 0x82, 0b0001_1111, 0xff]),
        wrong("5.2", "the end within a string", &[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        wrong("5.2", "the end within a name", &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'y']),
    ]);
}

#[test]
fn tables() {
    let fine = |section, what, sent: Vec<u8>| case(section, what, sent, Answer(3, 200));
    let learn = || with(1, &hpack::learned("x", "y"));
    let known = || with(3, &hpack::indexed(62));
    let mut cases: Vec<Case> = vec![
        fine("2.3.2", "a field of the block before", [learn(), known()].concat()),
        fine("4.2", "the table emptied", [learn(), after(3, &hpack::table_size(0))].concat()),
        fine(
            "4.2",
            "emptied, and open again",
            [learn(), after(3, &[hpack::table_size(0), hpack::table_size(4096)].concat())].concat(),
        ),
        case(
            "4.2",
            "a field of the emptied table",
            [learn(), after(3, &hpack::table_size(0)), with(5, &hpack::indexed(62))],
            COMPRESSION,
        ),
        case("4.2", "a size after a field", with(1, &hpack::table_size(100)), COMPRESSION),
        case("6.3", "a size beyond what we said", after(1, &hpack::table_size(4097)), COMPRESSION),
        case("6.3", "a size far beyond", after(1, &hpack::table_size(1 << 24)), COMPRESSION),
        fine(
            "4.4",
            "a field larger than the table",
            [
                with(
                    1,
                    &[hpack::learned("a", "b"), hpack::learned("x", "y".repeat(5000))].concat(),
                ),
                with(3, b""),
            ]
            .concat(),
        ),
        case(
            "4.4",
            "what a field too large has pushed out",
            [
                with(
                    1,
                    &[hpack::learned("a", "b"), hpack::learned("x", "y".repeat(5000))].concat(),
                ),
                with(3, &hpack::indexed(62)),
            ],
            COMPRESSION,
        ),
        fine(
            "4.3",
            "fields pushed out one by one",
            [
                with(
                    1,
                    &(0..90)
                        .flat_map(|n| hpack::learned(format!("x-{n}"), "v".repeat(60)))
                        .collect::<Vec<_>>(),
                ),
                with(3, b""),
            ]
            .concat(),
        ),
    ];
    // The table goes on after a message that is malformed, refused or cancelled.
    let pseudo = hpack::literals(&request("GET", "http", "a", "/"));
    let malformed: [(&'static str, Vec<u8>); 4] = [
        ("a connection field", hpack::literal("connection", "close")),
        ("a pseudo-field twice", hpack::literal(":path", "/")),
        ("TE", hpack::literal("te", "gzip")),
        ("Content-Length", hpack::literal("content-length", "7")),
    ];
    for (what, field) in malformed {
        let first = [pseudo.clone(), field.clone(), hpack::learned("x", "y")].concat();
        cases.push(case("2.2", what, [block(1, &first), known()], Answer(3, 200)));
        let second = [pseudo.clone(), hpack::learned("x", "y"), field].concat();
        cases.push(case("2.2", what, [block(1, &second)], Malformed(1)));
    }
    run(cases);
}
