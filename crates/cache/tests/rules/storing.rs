//! Which responses are stored, and for how long they are fresh.

use std::time::Duration;

use cache::{Arrival, judge_response};
use config::{CacheStatuses, CacheTtl, Caching, TtlMode};

use super::{described, judged, later, now, request, response};

/// Each row: what `Cache-Control` says and what becomes of a 200 with it. It can be validated, so that it is of use when stale.
#[test]
fn cache_control() {
    let rows = [
        // RFC 9111, section 5.2.2
        ("max-age=60", "60"),
        ("s-maxage=60", "60 must"),
        ("max-age=60, s-maxage=5", "5 must"),
        ("s-maxage=5, max-age=60", "5 must"),
        ("max-age=5, s-maxage=60", "60 must"),
        ("max-age=0, s-maxage=60", "60 must"),
        ("max-age=0", "0"),
        ("public, max-age=60", "60"),
        ("max-age=60, must-revalidate", "60 must"),
        ("max-age=60, proxy-revalidate", "60 must"),
        ("max-age=60, immutable", "60 immutable"),
        ("max-age=60, no-transform", "60"),
        ("no-store", "no-store"),
        ("max-age=60, no-store", "no-store"),
        ("No-StOrE", "no-store"),
        ("no-store=1", "no-store"),
        ("no-store=\"x\"", "no-store"),
        ("private", "private"),
        ("private, max-age=60", "private"),
        ("PRIVATE", "private"),
        ("private=\"\"", "private"),
        ("private=\",\"", "private"),
        ("private=\"a\", max-age=60", "60"),
        ("private=a, max-age=60", "60"),
        ("private=\"a\", private", "private"),
        ("public, private", "private"),
        ("no-cache", "0 no-cache heuristic"),
        ("no-cache, max-age=60", "60 no-cache"),
        ("max-age=60, No-CaChE", "60 no-cache"),
        ("no-cache=\"\", max-age=60", "60 no-cache"),
        ("no-cache=\"a\", max-age=60", "60"),
        ("no-cache=\"a, b\", max-age=60", "60"),
        ("no-cache=\"a\", no-cache, max-age=60", "60 no-cache"),
        ("must-revalidate", "0 must heuristic"),
        ("max-age=60, must-understand", "60"),
        ("max-age=60, no-store, must-understand", "60"),
        // RFC 5861
        ("max-age=60, stale-while-revalidate=10", "60 swr=10"),
        ("max-age=60, stale-if-error=20", "60 sie=20"),
        ("max-age=0, stale-while-revalidate=10, stale-if-error=20", "0 swr=10 sie=20"),
        ("max-age=60, stale-while-revalidate=10, must-revalidate", "60 must"),
        ("max-age=60, stale-if-error=20, proxy-revalidate", "60 must"),
        ("max-age=60, stale-while-revalidate=10, no-cache", "60 no-cache"),
        ("s-maxage=60, stale-while-revalidate=10", "60 swr=10 must"),
        ("max-age=60, stale-while-revalidate=x", "60"),
        ("max-age=60, stale-while-revalidate", "60"),
        // Values: RFC 9111, sections 1.2.2 and 4.2.1
        ("max-age=2147483647", "2147483647"),
        ("max-age=2147483648", "2147483648"),
        ("max-age=2147483649", "2147483649"),
        ("max-age=99999999999", "4294967295"),
        ("max-age=99999999999999999999999999", "4294967295"),
        ("max-age=003600", "3600"),
        ("max-age=\"3600\"", "3600"),
        ("max-age='3600'", "0"),
        ("max-age=-3600", "0"),
        ("max-age=+3600", "0"),
        ("max-age=3600.0", "0"),
        ("max-age=3600.5", "0"),
        ("max-age=3600a", "0"),
        ("max-age=a3600", "0"),
        ("max-age=0x60", "0"),
        ("max-age=1 0", "0"),
        ("max-age=\"3600", "0"),
        ("max-age=", "0"),
        ("max-age", "0"),
        ("max-age= 3600", "0"),
        ("max-age =3600", "0 heuristic"), // another directive
        ("max-age:3600", "0 heuristic"),
        ("s-maxage=x, max-age=60", "0 must"),
        ("MaX-aGe=60", "60"),
        ("S-MAXAGE=60", "60 must"),
        // Twice: the least
        ("max-age=1800, max-age=1", "1"),
        ("max-age=1, max-age=1800", "1"),
        ("max-age=60, max-age=x", "0"),
        // Lists
        ("foobar, max-age=60", "60"),
        ("foo=bar, max-age=60", "60"),
        (",, max-age=60 ,,", "60"),
        ("max-age=60,", "60"),
        ("max-age=60;public", "0"),
        ("max-age=60 public", "0"),
        ("\tmax-age=60\t,\tpublic", "60"),
        ("extension=\"max-age=3600\", max-age=1", "1"),
        ("max-age=1, extension=\"max-age=3600\"", "1"),
        ("extension=\"a, max-age=3600\", max-age=1", "1"),
        ("extension=\"a\\\", max-age=3600\", max-age=1", "1"),
        ("extension=\"a\\\\\", max-age=3600", "3600"),
        ("extension=\"no-store\", max-age=60", "60"),
        ("extension=\"a, no-store\", max-age=60", "60"),
        ("extension=\"open, no-store, max-age=60", "0 heuristic"), // reaches to the end
        ("no-storex, max-age=60", "60"),
        ("xno-store, max-age=60", "60"),
        ("\"no-store\", max-age=60", "60"),
        ("", "0 heuristic"),
    ];
    for (value, expected) in rows {
        let answer = format!("ETag: \"a\" | Date: @0 | Cache-Control: {value}");
        let got = judged("", 200, &answer, &Caching::default());
        assert_eq!(got, expected, "{value}");
    }
}

/// Each row: the fields of a response to GET, its status and what becomes of it.
#[test]
fn responses() {
    let rows: &[(u16, &str, &str)] = &[
        // Several lines
        (200, "Cache-Control: max-age=60 | Cache-Control: no-store", "no-store"),
        (200, "Cache-Control: max-age=60 | Cache-Control: s-maxage=5", "5 must"),
        (200, "Cache-Control: max-age=60 | cache-control: max-age=5", "5"),
        (200, "Cache-Control: a=\"x | Cache-Control: max-age=5", "5"),
        // Nothing to go by
        (200, "", "no-lifetime"),
        (200, "Date: @0", "no-lifetime"),
        (200, "Cache-Control: public", "no-lifetime"),
        (200, "Pragma: no-cache", "no-lifetime"),
        (200, "ETag: \"a\"", "0 heuristic"),
        (200, "Cache-Control: max-age=0", "stale-at-once"),
        (200, "Cache-Control: max-age=0, stale-while-revalidate=5", "0 swr=5"),
        (200, "Cache-Control: no-cache", "no-lifetime"),
        (200, "Cache-Control: no-cache, max-age=60", "stale-at-once"),
        (200, "Cache-Control: max-age=0 | ETag: \"a\"", "0"),
        (200, "Cache-Control: max-age=0 | ETag: a", "0"),
        (200, "Cache-Control: max-age=0 | Last-Modified: @-10", "0"),
        (200, "Cache-Control: max-age=0 | Last-Modified: now", "stale-at-once"),
        // Pragma of a response means nothing (RFC 9111, section 5.4)
        (200, "Cache-Control: max-age=60 | Pragma: no-cache", "60"),
        // Expires: RFC 9111, section 5.3
        (200, "Expires: @60 | Date: @0", "60"),
        (200, "Expires: @60", "60"),
        (200, "Expires: @60 | Date: foo", "60"),
        (200, "Expires: @60 | Date: @0 | Date: @0", "60"),
        (200, "Expires: @0 | Date: @0", "stale-at-once"),
        (200, "Expires: @-60 | Date: @0", "stale-at-once"),
        (200, "Expires: @300 | Date: @400", "stale-at-once"),
        (200, "Expires: @500 | Date: @400", "100"),
        (200, "Expires: @40 | Date: @-10", "50 age=10"),
        (200, "Expires: @10 | Date: @-10 | Age: 25", "stale-at-once"),
        (200, "Expires: @20 | Date: @10 | Age: 15", "stale-at-once"),
        (200, "Expires: 0 | Date: @0", "stale-at-once"),
        (200, "Expires: -1", "stale-at-once"),
        (200, "Expires: ", "stale-at-once"),
        (200, "Expires: @60 | Expires: @60 | Date: @0", "stale-at-once"),
        (200, "Expires: 0 | ETag: \"a\"", "0"),
        (200, "Expires: @60 | Cache-Control: max-age=5", "5"),
        (200, "Expires: @60 | Cache-Control: max-age=0", "stale-at-once"),
        (200, "Expires: @-60 | Cache-Control: max-age=5", "5"),
        (200, "Expires: 0 | Cache-Control: max-age=5", "5"),
        (200, "Expires: @-10 | Cache-Control: max-age=0, s-maxage=5", "5 must"),
        (200, "Expires: @60 | Cache-Control: no-store", "no-store"),
        (200, "Expires: @60 | Cache-Control: public", "60"),
        (200, "Expires: Thu, 18 Aug 2050 02:01:18 UTC | Date: @0", "stale-at-once"),
        (200, "Expires: Thu, 18 Aug 50 02:01:18 GMT | Date: @0", "stale-at-once"),
        (200, "Expires: Thu 18 Aug 2050 02:01:18 GMT | Date: @0", "stale-at-once"),
        (200, "Expires: Thu, 18  Aug  2050 02:01:18 GMT | Date: @0", "stale-at-once"),
        (200, "Expires: Thu, 18-Aug-2050 02:01:18 GMT | Date: @0", "stale-at-once"),
        (200, "Expires: Thu, 18 Aug 2050 2:01:18 GMT | Date: @0", "stale-at-once"),
        (200, "Expires: Thu, 18 Aug 2050 02:01:18 GMT | Date: @0", "744400878"),
        (200, "Expires: THU, 18 AUG 2050 02:01:18 gMT | Date: @0", "744400878"),
        (200, "Expires: Thursday, 18-Aug-50 02:01:18 GMT | Date: @0", "744400878"),
        (200, "Expires: Thu Aug 18 02:01:18 2050 | Date: @0", "744400878"),
        (200, "Expires: Fri, 31 Dec 9999 23:59:59 GMT | Date: @0", "4294967295"),
        // Age: RFC 9111, sections 4.2.3 and 5.1
        (200, "Cache-Control: max-age=3600 | Age: 30", "3600 age=30"),
        (200, "Cache-Control: max-age=3600 | Age: 3600", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 3599", "3600 age=3599"),
        (200, "Cache-Control: max-age=3600 | Age: 7200", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 7200 | ETag: \"a\"", "3600 age=7200"),
        (200, "Cache-Control: max-age=3600 | Age: 2147483647", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 2147483648", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 99999999999", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: abc", "3600"),
        (200, "Cache-Control: max-age=3600 | Age: -7200", "3600"),
        (200, "Cache-Control: max-age=3600 | Age: 7200.0", "3600"),
        (200, "Cache-Control: max-age=3600 | Age: 7200, 0", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 0, 7200", "3600"),
        (200, "Cache-Control: max-age=3600 | Age: 7200 | Age: 0", "stale-at-once"),
        (200, "Cache-Control: max-age=3600 | Age: 0 | Age: 7200", "3600"),
        (200, "Cache-Control: max-age=3600 | Age: 0 | Age: 0", "3600"),
        (200, "Cache-Control: max-age=9999 | Age: 3600 | Age: 3600", "9999 age=3600"),
        (200, "Cache-Control: max-age=60 | Date: @-30", "60 age=30"),
        (200, "Cache-Control: max-age=60 | Date: @-7200", "stale-at-once"),
        (200, "Cache-Control: max-age=60 | Date: @7200", "60"),
        (200, "Cache-Control: max-age=60 | Date: @-30 | Age: 10", "60 age=30"),
        (200, "Cache-Control: max-age=60 | Date: @-10 | Age: 30", "60 age=30"),
        // Heuristics: RFC 9111, section 4.2.2
        (200, "Last-Modified: @-1000 | Date: @0", "100 heuristic"),
        (200, "Last-Modified: @-1000", "100 heuristic"),
        (200, "Last-Modified: @-864000000 | Date: @0", "86400 heuristic"),
        (200, "Last-Modified: @0 | Date: @0", "0 heuristic"),
        (200, "Last-Modified: @1000 | Date: @0", "0 heuristic"),
        (200, "Last-Modified: foo", "no-lifetime"),
        (200, "Last-Modified: @-1000 | Last-Modified: @-1000", "no-lifetime"),
        (200, "Last-Modified: @-1000 | Cache-Control: max-age=5", "5"),
        (200, "Last-Modified: @-1000 | Cache-Control: no-cache", "100 no-cache heuristic"),
        (200, "Last-Modified: @-1000 | Expires: 0", "0"),
        (200, "Last-Modified: @-1000 | Pragma: no-cache", "100 heuristic"),
        (599, "Last-Modified: @-1000", "status"),
        (599, "Last-Modified: @-1000 | Cache-Control: public", "100 heuristic"),
        // Status: RFC 9110, section 15.1; RFC 9111, sections 3 and 5.2.2.3
        (599, "Cache-Control: max-age=60", "60"),
        (299, "Cache-Control: max-age=60", "60"),
        (599, "Cache-Control: max-age=60, must-understand", "status"),
        (599, "Cache-Control: max-age=60, no-store, must-understand", "status"),
        (200, "Cache-Control: max-age=60, no-store, must-understand", "60"),
        (404, "Cache-Control: max-age=60, no-store, must-understand", "60"),
        (404, "ETag: \"a\"", "no-lifetime"), // an error cannot be validated
        (404, "Cache-Control: max-age=0 | ETag: \"a\"", "stale-at-once"),
        (304, "Cache-Control: max-age=60", "status"),
        (101, "Cache-Control: max-age=60", "status"),
        // What is not for all
        (200, "Cache-Control: max-age=60 | Set-Cookie: a=b", "set-cookie"),
        (200, "Cache-Control: max-age=60 | set-cookie: a=b | Set-Cookie: c=d", "set-cookie"),
        (200, "Cache-Control: max-age=60, public | Set-Cookie: a=b", "set-cookie"),
        (200, "Cache-Control: max-age=60, no-cache=\"set-cookie\" | Set-Cookie: a=b", "60"),
        (200, "Cache-Control: max-age=60, private=\"Set-Cookie\" | Set-Cookie: a=b", "60"),
        (200, "Cache-Control: max-age=60, no-cache=\"cookie\" | Set-Cookie: a=b", "set-cookie"),
        (200, "Cache-Control: max-age=60 | Set-Cookie2: a=b", "60"),
        (200, "Cache-Control: max-age=60 | Vary: *", "vary-star"),
        (200, "Cache-Control: max-age=60 | Vary: Accept, *", "vary-star"),
        (200, "Cache-Control: max-age=60 | Vary: Accept | Vary: *", "vary-star"),
        (200, "Cache-Control: max-age=60 | Vary: Accept", "60"),
        (200, "Cache-Control: max-age=60 | Vary: Cookie", "60"),
        (200, "Cache-Control: max-age=60 | Vary: X-Forwarded-For", "vary-client"),
        (200, "Cache-Control: max-age=60 | Vary: X-Forwarded-Proto", "60"),
        // Targeted fields: RFC 9213
        (200, "CDN-Cache-Control: max-age=60 | Cache-Control: max-age=5", "60"),
        (200, "CDN-Cache-Control: max-age=5 | Cache-Control: max-age=60", "5"),
        (200, "CDN-Cache-Control: max-age=60 | Cache-Control: no-store", "60"),
        (200, "CDN-Cache-Control: max-age=60 | Cache-Control: private", "60"),
        (200, "CDN-Cache-Control: max-age=60 | Expires: 0", "60"),
        (200, "CDN-Cache-Control: max-age=60 | Expires: @-10 | Date: @0", "60"),
        (200, "CDN-Cache-Control: max-age=0 | Expires: @60", "stale-at-once"),
        (200, "CDN-Cache-Control: max-age=60 | Age: 90", "stale-at-once"),
        (200, "CDN-Cache-Control: no-store | Cache-Control: max-age=60", "no-store"),
        (200, "CDN-Cache-Control: private | Cache-Control: max-age=60", "private"),
        (
            200,
            "CDN-Cache-Control: no-cache | Cache-Control: max-age=60 | ETag: \"a\"",
            "0 no-cache heuristic",
        ),
        (200, "CDN-Cache-Control: foo | Cache-Control: max-age=60", "no-lifetime"),
        (200, "CDN-Cache-Control: foo | Expires: @60", "no-lifetime"),
        (200, "CDN-Cache-Control: &&& | Cache-Control: max-age=60", "60"),
        (200, "CDN-Cache-Control:  | Cache-Control: max-age=60", "60"),
        (200, "CDN-Cache-Control: max-age=9, &&& | Cache-Control: no-store", "no-store"),
        (200, "CDN-Cache-Control: max-age=\"9\" | Cache-Control: no-store", "stale-at-once"),
        (200, "CDN-Cache-Control: MAX-AGE=9 | Cache-Control: max-age=60", "60"),
        (200, "Bothways-Cache-Control: max-age=7 | CDN-Cache-Control: max-age=60", "7"),
        (
            200,
            "Bothways-Cache-Control: max-age=7, max-age | CDN-Cache-Control: max-age=60",
            "stale-at-once",
        ),
        (200, "Bothways-Cache-Control: &&& | CDN-Cache-Control: max-age=60", "60"),
        (200, "Surrogate-Control: max-age=60", "no-lifetime"),
        // Parts
        (206, "Cache-Control: max-age=60 | Content-Range: bytes 0-4/10", "part"),
        (200, "Cache-Control: max-age=60 | Content-Range: junk", "60"),
    ];
    for (status, answer, expected) in rows {
        let got = judged("", *status, answer, &Caching::default());
        assert_eq!(got, *expected, "{status} {answer}");
    }
}

/// Every status, without and with a word of the origin.
#[test]
fn statuses() {
    // RFC 9110, section 15.1
    let by_heuristics = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    // They speak of one request, one client or one connection.
    let never =
        [206, 304, 401, 407, 408, 412, 413, 416, 417, 421, 425, 426, 428, 429, 431, 505, 511];
    for status in 200..=999 {
        let got = |answer| judged("", status, answer, &Caching::default());
        let (silent, said) = (got("Last-Modified: @-1000"), got("Cache-Control: max-age=60"));
        match status {
            206 => assert_eq!((&*silent, &*said), ("part", "part")),
            _ if never.contains(&status) => {
                assert_eq!((&*silent, &*said), ("status", "status"), "{status}");
            }
            _ if by_heuristics.contains(&status) => {
                assert_eq!((&*silent, &*said), ("100 heuristic", "60"), "{status}");
            }
            _ => assert_eq!((&*silent, &*said), ("status", "60"), "{status}"),
        }
    }
}

/// Each row: a request, the fields of the 200 and what becomes of it.
#[test]
fn requests() {
    let rows = [
        // RFC 9111, section 3.5
        ("Authorization: x", "Cache-Control: max-age=60", "authorization"),
        ("Authorization: x", "Expires: @60", "authorization"),
        ("Authorization: ", "Cache-Control: max-age=60", "authorization"),
        ("Authorization: x", "Cache-Control: max-age=60, public", "60"),
        ("Authorization: x", "Cache-Control: max-age=60, must-revalidate", "60 must"),
        ("Authorization: x", "Cache-Control: s-maxage=60", "60 must"),
        ("Authorization: x", "Cache-Control: max-age=60, proxy-revalidate", "authorization"),
        ("Authorization: x", "Cache-Control: max-age=60, private", "private"),
        (
            "Authorization: x",
            "CDN-Cache-Control: max-age=60 | Cache-Control: public",
            "authorization",
        ),
        ("Authorization: x", "CDN-Cache-Control: max-age=60, public", "60"),
        ("Proxy-Authorization: x", "Cache-Control: max-age=60", "60"),
        ("Cookie: a=b", "Cache-Control: max-age=60", "60"),
        // What a client says is no word of the origin's.
        ("Cache-Control: no-cache", "Cache-Control: max-age=60", "60"),
        ("Cache-Control: max-age=60", "", "no-lifetime"),
        // Methods
        ("HEAD /", "Cache-Control: max-age=60", "method"),
        ("PUT /", "Cache-Control: max-age=60", "method"),
        ("OPTIONS /", "Cache-Control: max-age=60", "method"),
        ("QUERY /", "Cache-Control: max-age=60", "method"),
        ("POST /", "Cache-Control: max-age=60", "method"),
        // RFC 9110, section 9.3.3
        ("POST /x", "Cache-Control: max-age=60 | Content-Location: /x", "60"),
        ("POST /x", "Expires: @60 | Content-Location: http://a.example/x", "60"),
        ("POST /x", "Cache-Control: max-age=60 | Content-Location: /y", "method"),
        ("POST /x", "Cache-Control: max-age=60 | Content-Location: http://b.example/x", "method"),
        ("POST /x", "Last-Modified: @-1000 | Content-Location: /x", "no-lifetime"),
        ("POST /x", "Cache-Control: no-store | Content-Location: /x", "no-store"),
        // Ranges
        ("Range: bytes=0-4", "Cache-Control: max-age=60", "60"),
    ];
    for (asked, answer, expected) in rows {
        let got = judged(asked, 200, answer, &Caching::default());
        assert_eq!(got, expected, "{asked}: {answer}");
    }
}

#[test]
fn answers_to_ranges() {
    let rows: &[(u16, &str, &str)] = &[
        (206, "Cache-Control: max-age=60 | Content-Range: bytes 0-4/10", "60"),
        (206, "Cache-Control: max-age=60 | Content-Range: bytes 0-4/*", "60"),
        (206, "Last-Modified: @-1000 | Content-Range: bytes 0-4/10", "100 heuristic"),
        (206, "Cache-Control: no-store | Content-Range: bytes 0-4/10", "no-store"),
        (206, "Cache-Control: max-age=60", "part"),
        (206, "Cache-Control: max-age=60 | Content-Range: bytes 4-0/10", "part"),
        (206, "Cache-Control: max-age=60 | Content-Type: multipart/byteranges; boundary=x", "part"),
        (416, "Cache-Control: max-age=60 | Content-Range: bytes */10", "part"),
        (400, "Cache-Control: max-age=60", "part"),
        (404, "Cache-Control: max-age=60", "part"),
    ];
    for (status, answer, expected) in rows {
        let got = judged("Range: bytes=0-4", *status, answer, &Caching::default());
        assert_eq!(got, *expected, "{status} {answer}");
    }
}

#[test]
fn users_that_we_know_are_as_good_as_authorization() {
    let judge = |answer: &str| {
        let arrival = Arrival { asked: now(), arrived: now(), has_user: true };
        judge_response(&request(""), &response(200, answer), &Caching::default(), &arrival)
            .map_or_else(|reason| reason.word().to_owned(), |lifetime| described(&lifetime))
    };
    assert_eq!(judge("Cache-Control: max-age=60"), "authorization");
    assert_eq!(judge("Cache-Control: max-age=60, public"), "60");
}

#[test]
fn delays_count_and_parts_of_a_second_of_dates_do_not() {
    let judge = |answer: &str, delay: u64, after: u64| {
        let asked = later(0) + Duration::from_millis(after);
        let arrived = asked + Duration::from_millis(delay);
        let arrival = Arrival { asked, arrived, has_user: false };
        judge_response(&request(""), &response(200, answer), &Caching::default(), &arrival)
            .map_or_else(|reason| reason.word().to_owned(), |lifetime| described(&lifetime))
    };
    assert_eq!(judge("Cache-Control: max-age=60", 1500, 0), "60 age=1.5");
    assert_eq!(judge("Cache-Control: max-age=60 | Age: 4", 1500, 0), "60 age=5.5");
    assert_eq!(judge("Cache-Control: max-age=60 | Date: @0", 0, 999), "60");
    assert_eq!(judge("Cache-Control: max-age=60 | Date: @0", 250, 990), "60 age=1");
    assert_eq!(judge("Cache-Control: max-age=1 | Date: @0", 1000, 0), "stale-at-once");
    // A clock that was set back between the two.
    let arrival = Arrival { asked: later(60), arrived: now(), has_user: false };
    let answer = response(200, "Cache-Control: max-age=60");
    let judged = judge_response(&request(""), &answer, &Caching::default(), &arrival);
    assert_eq!(judged.map(|lifetime| described(&lifetime)), Ok("60".to_owned()));
}

/// Each row: the mode, the fields of the response, and what becomes of it where the configuration says `ttl "10m"`, and `ttl "1m" status=404`
/// and `status="5xx"`.
#[test]
fn times_of_the_configuration() {
    use TtlMode::{Floor, IfSilent, Override};
    let rows: &[(TtlMode, u16, &str, &str)] = &[
        (IfSilent, 200, "", "600 configured"),
        (IfSilent, 200, "ETag: \"a\"", "600 configured"),
        (IfSilent, 200, "Last-Modified: @-1000", "600 configured"),
        (IfSilent, 200, "Cache-Control: max-age=5", "5"),
        (IfSilent, 200, "Cache-Control: max-age=0", "stale-at-once"),
        (IfSilent, 200, "Expires: @5 | Date: @0", "5"),
        (IfSilent, 200, "Expires: 0", "stale-at-once"),
        (IfSilent, 200, "Cache-Control: no-store", "no-store"),
        (IfSilent, 200, "Cache-Control: private", "private"),
        (IfSilent, 200, "Cache-Control: no-cache", "stale-at-once"),
        (IfSilent, 200, "Cache-Control: no-cache | ETag: \"a\"", "600 no-cache configured"),
        (IfSilent, 200, "Cache-Control: public", "600 configured"),
        (IfSilent, 200, "Age: 100", "700 age=100 configured"),
        (IfSilent, 200, "Set-Cookie: a=b", "set-cookie"),
        (IfSilent, 200, "Vary: *", "vary-star"),
        (IfSilent, 404, "", "60 configured"),
        (IfSilent, 500, "", "60 configured"),
        (IfSilent, 503, "", "60 configured"),
        (IfSilent, 410, "", "600 configured"),
        (IfSilent, 302, "", "status"),
        (IfSilent, 403, "", "status"),
        (IfSilent, 505, "", "status"), // it fits 5xx, but speaks of one request
        (Floor, 200, "", "600 configured"),
        (Floor, 200, "Cache-Control: max-age=5", "600 configured"),
        (Floor, 200, "Cache-Control: max-age=900", "900"),
        (Floor, 200, "Cache-Control: max-age=0, must-revalidate", "600 must configured"),
        (Floor, 200, "Expires: 0", "600 configured"),
        (Floor, 200, "Cache-Control: no-store", "no-store"),
        (Floor, 200, "Cache-Control: private", "private"),
        (Floor, 200, "Cache-Control: no-cache, max-age=1 | ETag: \"a\"", "600 no-cache configured"),
        (Floor, 302, "Cache-Control: max-age=5", "5"),
        (Override, 200, "", "600 configured"),
        (Override, 200, "Cache-Control: max-age=900", "600 configured"),
        (Override, 200, "Cache-Control: max-age=5", "600 configured"),
        (
            Override,
            200,
            "Cache-Control: no-cache, no-store, must-revalidate | Expires: 0",
            "600 configured",
        ),
        (Override, 200, "Cache-Control: no-cache, stale-if-error=9", "600 sie=9 configured"),
        // It overrides times, and nothing that says for whom a response is.
        (Override, 200, "Cache-Control: private", "private"),
        (Override, 200, "Set-Cookie: a=b", "set-cookie"),
        (Override, 200, "Vary: *", "vary-star"),
        (Override, 200, "Vary: X-Real-IP", "vary-client"),
        (Override, 401, "", "status"),
        // From now on, whatever its age; that of an endpoint without a good clock too.
        (IfSilent, 200, "Date: @-100000", "100600 age=100000 configured"),
        (Override, 200, "Age: 100", "700 age=100 configured"),
        (Override, 200, "Date: @-100000", "100600 age=100000 configured"),
        (Override, 302, "Cache-Control: no-store", "no-store"),
        (Override, 302, "Cache-Control: max-age=5", "5"),
    ];
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (ttl_mode, status, answer, expected) in rows {
        let ttls = [
            CacheTtl { statuses: CacheStatuses::Exact(404), time: minutes(1) },
            CacheTtl { statuses: CacheStatuses::Class(5), time: minutes(1) },
            CacheTtl { statuses: CacheStatuses::All, time: minutes(10) },
        ];
        let caching = Caching { ttls: ttls.into(), ttl_mode: *ttl_mode, ..Caching::default() };
        let got = judged("", *status, answer, &caching);
        assert_eq!(got, *expected, "{ttl_mode:?} {status} {answer}");
    }
    // What proves who the client is, stays.
    let ttls = [CacheTtl { statuses: CacheStatuses::All, time: minutes(10) }];
    let caching = Caching { ttls: ttls.into(), ttl_mode: Override, ..Caching::default() };
    assert_eq!(judged("Authorization: x", 200, "", &caching), "authorization");
    assert_eq!(judged("POST / | Host: a", 200, "Content-Location: /", &caching), "no-lifetime");
}

#[test]
fn stale_of_the_configuration() {
    let rows = [
        ("Cache-Control: max-age=60", "60 swr=100 sie=200"),
        ("Cache-Control: max-age=60, stale-while-revalidate=5", "60 swr=5 sie=200"),
        ("Cache-Control: max-age=60, stale-while-revalidate=0", "60 sie=200"),
        ("Cache-Control: max-age=60, stale-if-error=5", "60 swr=100 sie=5"),
        ("Cache-Control: max-age=60, must-revalidate", "60 must"),
        ("Cache-Control: max-age=60, proxy-revalidate", "60 must"),
        ("Cache-Control: s-maxage=60", "60 must"),
        ("Cache-Control: s-maxage=60, stale-if-error=5", "60 sie=5 must"),
        ("Cache-Control: max-age=60, no-cache | ETag: \"a\"", "60 no-cache"),
        ("Cache-Control: max-age=0", "0 swr=100 sie=200"),
        ("Last-Modified: @-1000", "100 swr=100 sie=200 heuristic"),
    ];
    let caching = Caching {
        stale_while_revalidate: Duration::from_secs(100),
        stale_on_error: Duration::from_secs(200),
        ..Caching::default()
    };
    for (answer, expected) in rows {
        assert_eq!(judged("", 200, answer, &caching), expected, "{answer}");
    }
}

#[test]
fn cookies_of_the_configuration() {
    let caching = Caching { store_set_cookie: true, ..Caching::default() };
    let judge = |answer| judged("", 200, answer, &caching);
    assert_eq!(judge("Cache-Control: max-age=60 | Set-Cookie: a=b"), "60");
    assert_eq!(judge("Cache-Control: max-age=60, private | Set-Cookie: a=b"), "private");
}
