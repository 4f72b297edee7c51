//! What is checked is in `testkit::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| testkit::fuzzing::caching::byte_range(data));
