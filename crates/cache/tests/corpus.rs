//! Replays the corpora of the fuzz targets, and tries mutations of them. What must hold is in `testkit::fuzzing::caching`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use testkit::fuzzing::caching::{TARGETS, byte_range, cache_control, http_date, vary};

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files = fs::read_dir(folder).expect("a corpus");
    files.map(|file| fs::read(file.expect("a file").path()).expect("readable")).collect()
}

#[test]
fn the_corpora_hold() {
    for (name, check) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.len() >= 12, "the corpus of {name} is nearly empty");
        corpus.iter().for_each(|data| check(data));
    }
}

/// Words of which some make sense, one after the other.
fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(str::as_bytes);
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutations_hold(
        target in 0..TARGETS.len(),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let (name, check) = TARGETS[target];
        let corpus = corpus(name);
        let mut data = at.get(&corpus).clone();
        if !data.is_empty() {
            let place = cut.index(data.len());
            data[place] = byte;
            check(&data);
            check(&data[place..]);
            check(&data[..place]);
        }
    }

    #[test]
    fn directives(data in words(&[
        "max-age", "s-maxage", "no-store", "no-cache", "private", "must-understand", "stale-if-error", "=", "=\"", "\"", "\\",
        ",", ", ", " ", "\n", "!", "5", "60", "a", "-1", ";", "(", ")", "?0", "99999999999",
    ])) {
        cache_control(&data);
    }

    #[test]
    fn variants(first in words(&["Foo", "a", "Accept-Encoding", "Accept-Language", "Cookie", ",", ", ", "*", "Via"]),
        rest in words(&[
            "Foo: ", "a: ", "Accept-Encoding: ", "accept-language:", "Cookie: ", "\n", ",", ";q=0", ";q=1.0", ";q=", "gzip", "br",
            "identity", "*", "en", "EN-gb", "\"", "\\", "=", " ", "\t", "1",
        ])
    ) {
        vary(&[&first[..], b"\n", &rest].concat());
    }

    #[test]
    fn ranges(length: u8, data in words(&[
        "bytes=", "bytes ", "Bytes", "=", "-", ",", ", ", "0", "1", "5", "9", "12", "200", "255", "256", "18446744073709551615", "/", "*",
    ])) {
        byte_range(&[&[length][..], b"bytes=", &data].concat());
        byte_range(&[&[length][..], &data].concat());
    }

    #[test]
    fn dates(data in words(&[
        "Sun", "Sunday", "Thu", "thu", ", ", ",", " ", "-", "06", "6", "31", "Nov", "FEB", "94", "1994", "2050", "08:49:37", "23:59:60", "GMT", "gmt",
    ])) {
        http_date(&data);
    }
}
