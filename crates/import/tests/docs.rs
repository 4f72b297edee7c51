//! `docs/from-nginx.md` against the mapping: the table of directives, and the example.

use std::fs;
use std::path::{Path, PathBuf};

use import::Words;
use import::nginx::{Tree, parse};

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-nginx.md")
}

#[test]
fn the_table_is_up_to_date() {
    const MARK: &str = "--test docs -->\n";
    let text = fs::read_to_string(page()).unwrap();
    let (before, _) = text.split_once(MARK).unwrap();
    let expected = format!("{before}{MARK}\n{}\n", import::table::markdown().trim_end());
    if std::env::var_os("BOTHWAYS_WRITE_EXPECTED").is_some() {
        fs::write(page(), &expected).unwrap();
        return;
    }
    assert!(text == expected, "BOTHWAYS_WRITE_EXPECTED=1 cargo test -p import --test docs");
}

/// The first block of a language.
fn block(text: &str, language: &str) -> String {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_example_is_what_is_written() {
    if std::env::var_os("BOTHWAYS_WRITE_EXPECTED").is_some() {
        return;
    }
    let text = fs::read_to_string(page()).unwrap();
    let root = parse(&block(&text, "nginx"), 0, 0).unwrap();
    let tree = Tree { root, files: vec!["shop.conf".into()], ..Tree::default() };
    let imported = import::import(&tree, &Words::ask(), &|_| false);
    assert_eq!(imported.text, block(&text, "kdl"));
    assert_eq!(imported.report.text(), block(&text, "text"));
}
