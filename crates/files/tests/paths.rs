//! Paths of requests never lead out of their directory. What must hold is in `testkit::fuzzing::file_path`.

use proptest::prelude::*;
use testkit::fuzzing::file_path;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2_000 } else { 100_000 }))]

    #[test]
    fn paths_of_odd_parts(parts in prop::collection::vec(part(), 0..12)) {
        file_path::check(parts.concat().as_bytes());
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        file_path::check(&bytes);
    }
}

fn part() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/",
        "/",
        "a",
        "b.c",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%",
        "%4",
        "%25",
        "%252e",
        ".well-known",
        ".git",
        "%20",
        "\u{e4}",
        "%ff",
        "~",
        ";a",
    ])
}
