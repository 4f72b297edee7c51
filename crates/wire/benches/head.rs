//! What reading a head costs. Throughput is bytes of the head per second; a table of allocations
//! below a row, if any, would be a regression.

use std::fmt;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use message::{Method, Request, Response, Scheme};
use wire::http1::{HeadLimits, parse_request, parse_response};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100, target: 8 * 1024 };

/// What a load generator sends.
const SMALL: &[u8] = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What curl sends, with a few more, eight in all.
const EIGHT_FIELDS: &[u8] = b"GET /api/orders/42?expand=items HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, br\r\n\
    Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
    X-Request-Id: 5f2b9c1e-77a0-4f6e-9d55-0a1b2c3d4e5f\r\n\
    Cache-Control: no-cache\r\n\
    Connection: keep-alive\r\n\r\n";

/// The request head of a desktop browser.
const BROWSER: &[u8] = b"GET /assets/app.9f8e7d.js?v=20261123 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Dest: script\r\n\
    Referer: https://shop.example.com/catalogue/shoes\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6b1d0c2f8e7a4d5c9b3a2f1e0d9c8b7a; theme=dark; _ga=GA1.1.1234567890.1732365296\r\n\r\n";

/// The answer of a usual origin.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Mon, 23 Nov 2026 13:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 612\r\n\
    Last-Modified: Tue, 19 Oct 2021 09:15:21 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"616e8a69-264\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

struct Head {
    name: &'static str,
    bytes: &'static [u8],
}

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

const HEADS: [Head; 3] = [
    Head { name: "small", bytes: SMALL },
    Head { name: "eight fields", bytes: EIGHT_FIELDS },
    Head { name: "browser", bytes: BROWSER },
];

fn main() {
    divan::main();
}

#[divan::bench(args = HEADS)]
fn request(bencher: Bencher<'_, '_>, head: &Head) {
    let head = head.bytes;
    let mut request = Request::default();
    let read = parse_request(head, &LIMITS, Scheme::Http, &mut request);
    assert_eq!(read, Ok(Some(head.len())));
    bencher.counter(BytesCount::new(head.len())).bench_local(|| {
        parse_request(black_box(head), &LIMITS, Scheme::Http, black_box(&mut request))
    });
}

/// What `httparse` alone takes to tokenise the same, leniently, into pointers.
#[divan::bench(args = HEADS)]
fn request_by_httparse(bencher: Bencher<'_, '_>, head: &Head) {
    let head = head.bytes;
    let parse = |head: &[u8]| {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; 100];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(head, &mut headers);
        status.is_ok_and(|status| status.is_complete()).then_some(request.headers.len())
    };
    assert!(parse(head).is_some());
    bencher.counter(BytesCount::new(head.len())).bench_local(|| parse(black_box(head)));
}

#[divan::bench]
fn response(bencher: Bencher<'_, '_>) {
    let mut response = Response::default();
    let read = parse_response(RESPONSE, &LIMITS, &Method::Get, &mut response);
    assert_eq!(read, Ok(Some(RESPONSE.len())));
    bencher.counter(BytesCount::new(RESPONSE.len())).bench_local(|| {
        parse_response(black_box(RESPONSE), &LIMITS, &Method::Get, black_box(&mut response))
    });
}
