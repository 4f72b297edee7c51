//! Replays the corpora of the fuzz targets.

use std::fs;
use std::path::Path;

use testkit::fuzzing;

#[test]
fn corpora() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, check) in fuzzing::TLS_TARGETS {
        let mut count = 0;
        for file in fs::read_dir(corpora.join(name)).expect("every target has a corpus") {
            let path = file.expect("the corpus is readable").path();
            // Shown only if a check fails.
            println!("{}", path.display());
            check(&fs::read(path).expect("the corpus is readable"));
            count += 1;
        }
        assert!(count >= 10, "the corpus of {name} is nearly empty");
    }
}
