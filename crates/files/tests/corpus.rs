//! Replays the corpus of the fuzz target.

use std::fs;
use std::path::Path;

use testkit::fuzzing::file_path;

#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/file_path");
    let mut count = 0;
    for file in fs::read_dir(corpus).expect("a corpus") {
        let path = file.expect("the corpus is readable").path();
        // Shown only if a check fails.
        println!("{}", path.display());
        file_path::check(&fs::read(path).expect("the corpus is readable"));
        count += 1;
    }
    assert!(count >= 10, "the corpus is nearly empty");
}
