//! Replays the corpus of the fuzz target, and tries mutations of it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use testkit::fuzzing::credentials::check;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/credentials");
    let files = fs::read_dir(folder).expect("a corpus");
    files.map(|file| fs::read(file.expect("a file").path()).expect("readable")).collect()
}

#[test]
fn the_corpus_holds() {
    let corpus = corpus();
    assert!(corpus.len() >= 20, "the corpus is nearly empty");
    corpus.iter().for_each(|data| check(data));
}

proptest! {
    #[test]
    fn mutations_hold(at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), byte: u8) {
        let corpus = corpus();
        let mut data = at.get(&corpus).clone();
        if !data.is_empty() {
            let place = cut.index(data.len());
            data[place] = byte;
            check(&data);
            check(data.get(place..).unwrap_or_default());
        }
    }
}
